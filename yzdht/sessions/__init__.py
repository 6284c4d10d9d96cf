"""Every session of one process: dialling, accepting, timers, and which session serves a peer."""

import logging

from yzdht.sessions.clock import Clock, SystemClock
from yzdht.sessions.hub import Sessions
from yzdht.sessions.world import SessionsSink


# As a library, say nothing unless the program has set logging up.
logging.getLogger("yzdht").addHandler(logging.NullHandler())

__all__ = ["Clock", "Sessions", "SessionsSink", "SystemClock"]

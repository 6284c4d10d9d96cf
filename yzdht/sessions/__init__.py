"""Every session of one process: dialling, accepting, timers, and which session serves a peer."""

from yzdht.sessions.clock import Clock, SystemClock
from yzdht.sessions.hub import Sessions, SessionsSink


__all__ = ["Clock", "Sessions", "SessionsSink", "SystemClock"]

"""Log lines: to stderr, one a line, times in UTC, fields rather than prose."""

from __future__ import annotations

import logging
import time


LEVELS = ("debug", "info", "warning", "error")

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure(level: str) -> None:
    """Send the package's log lines of this level and above to stderr; of other packages only warnings."""
    handler = logging.StreamHandler()
    lines = logging.Formatter(_FORMAT)
    lines.converter = time.gmtime
    lines.default_time_format = "%Y-%m-%dT%H:%M:%S"
    lines.default_msec_format = "%s.%03dZ"
    handler.setFormatter(lines)
    number = logging.getLevelName(level.upper())
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    logging.getLogger("yzdht").setLevel(number)


def is_debugging() -> bool:
    """True if tracebacks are wanted."""
    return logging.getLogger("yzdht").isEnabledFor(logging.DEBUG)

"""Log lines: to stderr, one a line, times in UTC, fields rather than prose, as text or as JSON.

A call of this package reads `log.info("joined node=%s known=%d", …)`: what happened, then its fields. That makes both
forms; a value cannot forge a field or a line, whatever a peer put into it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, NamedTuple


if TYPE_CHECKING:
    from typing import Literal


LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_FIELD = re.compile(r" ([a-z_]+)=(%(?:s|d|\.\d+f))")
_PLAIN = re.compile(r"[!#-~]+")


class _Line(NamedTuple):
    """What happened, and its fields: name, how the text shows it, value."""

    event: str
    fields: list[tuple[str, str, object]]


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO yzdht.node joined node=12ab34cd known=7`; values with spaces are quoted."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format: str | None = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__()
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of a traceback below it."""
        event, fields = _split(record)
        words = [self.formatTime(record), record.levelname, record.name, _printable(event)]
        words += [f"{name}={_quoted(how % (value,))}" for name, how, value in fields]
        lines = [" ".join(words)]
        if record.exc_info:
            lines += map(_printable, self.formatException(record.exc_info).splitlines())
        return "\n".join(lines)


class JsonLines(TextLines):
    """One object a line: `at`, `level`, `logger`, `event`, the fields, and `trace` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        event, fields = _split(record)
        view: dict[str, object] = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        view |= {name: value if isinstance(value, int | float) else str(value) for name, _, value in fields}
        if record.exc_info:
            view["trace"] = self.formatException(record.exc_info)
        return json.dumps(view)


def configure(level: str, format: Literal["text", "json"] = "text") -> None:  # noqa: A002 - as the flag is called
    """Send the package's log lines of this level and above to stderr; of other packages only warnings.

    Args:
        level: One of LEVELS, in any case.
        format: One of FORMATS.

    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    number = logging.getLevelName(level.upper())
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    logging.getLogger("yzdht").setLevel(number)


def is_debugging() -> bool:
    """True if tracebacks are wanted."""
    return logging.getLogger("yzdht").isEnabledFor(logging.DEBUG)


def _split(record: logging.LogRecord) -> _Line:
    """Take a line of this package apart; one of another package is all event."""
    if isinstance(record.msg, str) and isinstance(record.args, tuple):
        found = _FIELD.findall(record.msg)
        if found and len(found) == len(record.args):
            event = record.msg[: _FIELD.search(record.msg).start()]  # type: ignore[union-attr] # it was just found
            return _Line(
                event, [(name, how, value) for (name, how), value in zip(found, record.args, strict=True)]
            )
    return _Line(record.getMessage(), [])


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

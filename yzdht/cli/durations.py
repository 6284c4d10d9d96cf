"""How people write a span of time: `90`, `90s`, `15m`, `12h`, `7d`, `4w`."""

from __future__ import annotations

import re

from yzdht.errors import UsageError
from yzdht.limits import DAY_S, HOUR_S, MINUTE_S, PUBLISH_TIMEOUT_S_MAX, RECORD_LIFE_S_MAX


_DURATION = re.compile(r"(?P<count>[0-9]{1,9})(?P<unit>[smhdw]?)")
_UNITS_S = {"": 1, "s": 1, "m": MINUTE_S, "h": HOUR_S, "d": DAY_S, "w": 7 * DAY_S}
_HINT = "write seconds, or a number with s, m, h, d or w: 90s, 15m, 12h, 7d, 4w"


def parse_ttl(text: str) -> int:
    """Seconds that a value lives, 1 to 30 days.

    Raises:
        UsageError: It is written in another way, or out of that range.

    """
    ttl_s = parse_duration(text, "ttl")
    if not 1 <= ttl_s <= RECORD_LIFE_S_MAX:
        raise UsageError(f"the ttl {text} is not between 1 second and 30 days", hint=_HINT)
    return ttl_s


def parse_timeout(text: str) -> int:
    """Seconds for which something is tried, 1 to a day.

    Raises:
        UsageError: It is written in another way, or out of that range.

    """
    timeout_s = parse_duration(text, "timeout")
    if not 1 <= timeout_s <= PUBLISH_TIMEOUT_S_MAX:
        raise UsageError(f"the timeout {text} is not between 1 second and a day", hint=_HINT)
    return timeout_s


def parse_duration(text: str, what: str) -> int:
    """Seconds, 0 or more.

    Args:
        text: What a person wrote.
        what: What it is for; for errors.

    Raises:
        UsageError: It is written in another way.

    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"the {what} {text[:40]!r} is not a duration", hint=_HINT)
    return int(match["count"]) * _UNITS_S[match["unit"]]

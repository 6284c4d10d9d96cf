"""Sizes, times and strangers' text as people read them on a terminal."""

from __future__ import annotations

from yzdht.cli.screen import printable


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1_024
_ROUND_FROM = 100
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_PARTS_MAX = 2


def show_bytes(size: float | None) -> str:
    """A size: `1.5 MiB`."""
    if size is None:
        return "unknown"
    step = 0
    while size >= _STEP and step < len(_UNITS) - 1:
        size, step = size / _STEP, step + 1
    return f"{size:.0f} {_UNITS[step]}" if not step or size >= _ROUND_FROM else f"{size:.1f} {_UNITS[step]}"


def show_span(seconds: float) -> str:
    """A time in its two largest units: `2 h 5 min`."""
    left = int(max(0, seconds))
    parts: list[str] = []
    for size, unit in _SPANS:
        if left >= size and len(parts) < _PARTS_MAX:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts) or "0 s"


def show_ago(seconds: float) -> str:
    """How long ago; what lies ahead is now, clocks differ."""
    return "just now" if seconds < 1 else f"{show_span(seconds)} ago"


def show_ms(ms: float | None) -> str:
    """A round trip."""
    if ms is None:
        return "?"
    return f"{ms:.1f} ms" if ms < _ROUND_FROM else f"{ms:.0f} ms"


def plain(text: str) -> str:
    """A stranger's text on one line, with everything escaped that could steer a terminal or forge a line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def show_count(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""Sizes and times as people read them, on the page and on a terminal."""

from __future__ import annotations


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1_024
_ROUND_FROM = 100
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def show_bytes(size: float | None) -> str:
    """A size for people: `1.5 MiB`."""
    if size is None:
        return "unknown"
    step = 0
    while size >= _STEP and step < len(_UNITS) - 1:
        size, step = size / _STEP, step + 1
    return f"{size:.0f} {_UNITS[step]}" if not step or size >= _ROUND_FROM else f"{size:.1f} {_UNITS[step]}"


def show_span(seconds: float) -> str:
    """A time for people, in its two largest units: `2 h 5 min`."""
    left = int(max(0, seconds))
    parts: list[str] = []
    for size, unit in _SPANS:
        if left >= size and len(parts) < 2:  # noqa: PLR2004 - as said above
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts) or "0 s"


def show_ms(ms: float | None) -> str:
    """A round trip for people."""
    if ms is None:
        return "unknown"
    return f"{ms:.1f} ms" if ms < _ROUND_FROM else f"{ms:.0f} ms"

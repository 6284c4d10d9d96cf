"""Times, counts and strangers' text as people read them on a terminal; sizes and spans are as on the page."""

from __future__ import annotations

from yzdht.cli.screen import on_one_line
from yzdht.http.units import show_span


def show_ago(seconds: float) -> str:
    """How long ago; what lies ahead is now, clocks differ."""
    return "just now" if seconds < 1 else f"{show_span(seconds)} ago"


def plain(text: str) -> str:
    """A stranger's text on one line, with everything escaped that could steer a terminal or forge a line."""
    return on_one_line(text)


def show_count(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

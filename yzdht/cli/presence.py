"""Who is in a chat: whose program was heard lately and has not said that it leaves."""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import CHAT_GONE_S, CHAT_SEATS_MAX


if TYPE_CHECKING:
    from yzdht.ids import PublicKey
    from yzdht.wire.holdings import Series


HERE, LEAVES = b"here", b"left"
"""What a program says of itself: once a minute, and when it ends."""


class Whereabouts(StrEnum):
    """What became of somebody."""

    HERE = "here"
    LEFT = "left"


class Change(NamedTuple):
    """Somebody came or went."""

    person: PublicKey
    whereabouts: Whereabouts


class Presence:
    """The runs of programs that were heard; a person is there as long as one of theirs is."""

    def __init__(self) -> None:
        self._heard: OrderedDict[Series, float] = (
            OrderedDict()
        )  # Unix seconds; the one heard last is the last

    def hear(self, series: Series, word: bytes, wall: float) -> Change | None:
        """A program said HERE or LEAVES; anything else, of a later version, means that it is there.

        Args:
            series: Whose program.
            word: What it said.
            wall: When, in Unix seconds.

        """
        was_here = self._is_here(series.sender)
        if word == LEAVES:
            self._heard.pop(series, None)
            return (
                Change(series.sender, Whereabouts.LEFT) if self._has_left(series, was_here=was_here) else None
            )
        self._heard[series] = wall
        self._heard.move_to_end(series)
        if len(self._heard) > CHAT_SEATS_MAX:
            self._heard.popitem(last=False)
        return None if was_here else Change(series.sender, Whereabouts.HERE)

    def expire(self, wall: float) -> list[Change]:
        """Who was not heard for CHAT_GONE_S has left."""
        silent = [series for series, heard_at in self._heard.items() if heard_at < wall - CHAT_GONE_S]
        for series in silent:
            del self._heard[series]
        people = dict.fromkeys(series.sender for series in silent)
        return [Change(person, Whereabouts.LEFT) for person in people if not self._is_here(person)]

    def _is_here(self, person: PublicKey) -> bool:
        return any(series.sender == person for series in self._heard)

    def _has_left(self, series: Series, *, was_here: bool) -> bool:
        return was_here and not self._is_here(series.sender)

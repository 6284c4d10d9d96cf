"""Things that take different times to get ready, done in the order in which they were begun."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar


if TYPE_CHECKING:
    from collections.abc import Hashable


Key = TypeVar("Key", bound="Hashable")


class Lines(Generic[Key]):
    """A line for each key, of the running loop.

    Args:
        room: How many may stand in all of them together.

    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lines: dict[Key, OrderedDict[Place[Key], None]] = {}
        self._standing = 0

    @property
    def has_room(self) -> bool:
        """True if one more may join."""
        return self._standing < self._room

    def join(self, key: Key) -> Place[Key]:
        """Stand at the end of a line; there has to be room."""
        assert self.has_room, "looked at before"
        place = Place(self, key)
        self._lines.setdefault(key, OrderedDict())[place] = None
        self._standing += 1
        return place

    def first(self, key: Key) -> Place[Key]:
        """Whose turn it is; somebody has to stand there."""
        return next(iter(self._lines[key]))

    def leave(self, place: Place[Key]) -> None:
        """It is done, or gives up; whoever is first then has their turn."""
        line = self._lines[place.key]
        del line[place]
        self._standing -= 1
        if line:
            self.first(place.key).call()
        else:
            del self._lines[place.key]


class Place(Generic[Key]):
    """One who stands in a line: `with lines.join(key) as place: …; await place.turn(10); …`.

    Attributes:
        key: Of the line.

    """

    def __init__(self, lines: Lines[Key], key: Key) -> None:
        self.key = key
        self._lines = lines
        self._called: asyncio.Future[None] | None = None

    async def turn(self, within_s: float) -> bool:
        """Wait until everybody before has left; at once if nobody is there. False if that takes longer."""
        if self._lines.first(self.key) is self:
            return True
        self._called = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._called
        return self._lines.first(self.key) is self

    def call(self) -> None:
        """It is first."""
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._lines.leave(self)

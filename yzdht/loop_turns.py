"""Whose work is gone on with next, where more of a kind comes than can be done at once.

A crowd that is within all its rates may send hundreds of requests for a connection, or of messages of handshakes, within
one turn of the loop: answered as they come, whoever has a session already would wait for all of them. So a turn of the
loop takes so many of each kind, and then the sockets are looked at again. Whoever waits is not read meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


Comer = TypeVar("Comer")


class LoopTurns(Generic[Comer]):
    """First come, first served, some in each turn of the loop.

    Args:
        loop: Its turns are counted.
        per_turn: How many are served in one, 1 or more.
        go_on: Is told whose turn it is now, of those that waited.

    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, per_turn: int, go_on: Callable[[Comer], None]
    ) -> None:
        self._loop = loop
        self._per_turn = per_turn
        self._go_on = go_on
        self._line: OrderedDict[Comer, None] = OrderedDict()
        self._left = per_turn
        self._is_armed = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    def __contains__(self, comer: Comer) -> bool:
        """True for one that waits."""
        return comer in self._line

    def is_now(self, comer: Comer) -> bool:
        """True if it may be served now; otherwise it is in line, once, and `go_on` is told when it is its turn."""
        if not self._is_armed:
            self._is_armed = True
            self._loop.call_soon(self._next)
        if self._left > 0 and not self._line:
            self._left -= 1
            return True
        self._line.setdefault(comer)
        return False

    def forget(self, comer: Comer) -> None:
        """It waits no longer; a no-op for others."""
        self._line.pop(comer, None)

    def _next(self) -> None:
        self._is_armed = bool(self._line)
        self._left = self._per_turn
        if self._is_armed:
            self._loop.call_soon(self._next)
        while self._line and self._left > 0:
            self._left -= 1
            self._go_on(self._line.popitem(last=False)[0])

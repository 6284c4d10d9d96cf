"""What all sessions together hold for others, and who has to go when that is too much.

One session alone may hold about 22 MiB: 256 open requests of 64 KiB, a message of 1 MiB that is being put together, 4 MiB
unsent, 1 MiB of a read that waits. Times 5,000 that is more than any machine has, so there is a bound for all of them,
and whoever holds most pays for it. limits/sessions.py has the sum of what a node holds at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import HELD_BYTES_MAX


if TYPE_CHECKING:
    from yzdht.sessions.connection import Connection


class Ledger:
    """Adds up what connections hold.

    Args:
        bytes_max: In all.

    """

    def __init__(self, bytes_max: int = HELD_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held: dict[Connection, int] = {}
        self.total = 0
        """Bytes as last weighed; what was sent since is still counted."""

    def weigh(self, connection: Connection, held: int) -> None:
        """A connection holds so many bytes now."""
        self.total += held - self._held.get(connection, 0)
        if held:
            self._held[connection] = held
        else:
            self._held.pop(connection, None)

    def greediest(self) -> Connection | None:
        """Whoever holds most if all together hold too much, struck off; None if they do not.

        What was sent or taken meanwhile is weighed first.
        """
        if self.total <= self._bytes_max:
            return None
        for connection in list(self._held):
            self.weigh(connection, connection.held_bytes)
        if self.total <= self._bytes_max:
            return None
        most = max(self._held, key=lambda c: self._held[c])
        self.weigh(most, 0)
        return most

    def is_over_its_part(self, connection: Connection) -> bool:
        """True if half of the bound is used, and that connection holds more of this half than its part."""
        half = self._bytes_max // 2
        held = self._held.get(connection, 0)
        return self.total > half and held * len(self._held) > half

"""Every link of a process, whatever its session is doing: how many there are, what they carried, and when the last is gone.

A link outlives its session until its socket is free, and whoever closes slowly keeps it: that must not cost others a place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.sessions.connection import Connection


class Links:
    """The links of a process.

    Args:
        links_max: So many may be in use; one more cuts off whoever has been closing longest.

    """

    def __init__(self, links_max: int) -> None:
        self._links_max = links_max
        self._all: set[Connection] = set()
        self._closing: dict[Connection, None] = {}  # links whose session ended, the oldest first
        self._cut_off: set[Connection] = set()  # of these, who is gone at the next turn of the loop
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._carried: Counter[tuple[str, str]] = Counter()  # by links that are gone

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._all

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all))

    def add(self, connection: Connection) -> None:
        """A link is open."""
        self._all.add(connection)
        self._none_left.clear()

    def ended(self, connection: Connection) -> None:
        """Its session ended; the link closes, or did."""
        if connection in self._all:
            self._closing[connection] = None

    def gone(self, connection: Connection) -> None:
        """It is closed for good: its socket is free."""
        self._all.discard(connection)
        self._closing.pop(connection, None)
        self._cut_off.discard(connection)
        self._carried["in", connection.road] += connection.bytes_in
        self._carried["out", connection.road] += connection.bytes_out
        if not self._all:
            self._none_left.set()

    def in_use(self) -> int:
        """How many links there are; when there are too many, whoever has been closing longest is cut off and not counted.

        A peer may take LINK_CLOSE_S_MAX to answer a close frame: refused ones that do would keep everybody else out.
        """
        in_use = len(self._all) - len(self._cut_off)
        if in_use >= self._links_max and self._closing:
            slowest = next(iter(self._closing))
            del self._closing[slowest]
            self._cut_off.add(slowest)
            slowest.link.abort()
            in_use -= 1
        return in_use

    def traffic(self) -> dict[tuple[str, str], int]:
        """Bytes carried so far, by direction (`in`, `out`) and road (`tcp`, `tls`, `ws`, `wss`, `memory`); never fewer than before."""
        carried = self._carried.copy()
        for connection in self._all:
            carried["in", connection.road] += connection.bytes_in
            carried["out", connection.road] += connection.bytes_out
        return dict(carried)

    async def none_left(self, patience_s: float) -> None:
        """Wait until every link is closed for good, so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none_left.wait(), patience_s)

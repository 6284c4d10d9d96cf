"""Whose handshake is gone on with next, where more messages of handshakes come than can be answered at once.

Each costs a key exchange or two, and a crowd that is within all its rates may send hundreds within one turn of the loop:
answered as they come, whoever has a session already would wait for all of them. So a turn of the loop takes so many, and then
the sockets are looked at again. The others are not read meanwhile.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from yzdht.limits import HANDSHAKE_MESSAGES_PER_LOOP_TURN


if TYPE_CHECKING:
    import asyncio

    from yzdht.sessions.connection import Connection


class HandshakeTurns:
    """First come, first served, some in each turn of the loop.

    Args:
        loop: Its turns are counted.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: deque[Connection] = deque()  # at most one entry for each handshake that is under way
        self._left = HANDSHAKE_MESSAGES_PER_LOOP_TURN
        self._is_armed = False

    def is_now(self, connection: Connection) -> bool:
        """True if a message may be answered now; otherwise its connection is in line, and told when it is its turn."""
        if not self._is_armed:
            self._is_armed = True
            self._loop.call_soon(self._next)
        if self._left > 0 and not self._line:
            self._left -= 1
            return True
        self._line.append(connection)
        return False

    def _next(self) -> None:
        self._is_armed = bool(self._line)
        self._left = HANDSHAKE_MESSAGES_PER_LOOP_TURN
        if self._is_armed:
            self._loop.call_soon(self._next)
        while self._line and self._left > 0:
            self._left -= 1
            self._line.popleft().hear_early()

"""A detour that delays every byte by the same time, each way: what is set up over it takes as many delays as it has turns."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


HOST = "127.0.0.1"


class _Half(asyncio.Protocol):
    """One connection of the two."""

    def __init__(self, delay_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay_s = delay_s
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self.other: _Half

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        for data in self._early:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._loop.call_later(self._delay_s, self.other.write, data)

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._loop.call_later(self._delay_s, self.other.close)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def slowed(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port that leads to another one of this machine, so many seconds later; connecting itself is not delayed."""
    loop = asyncio.get_running_loop()
    dials: set[asyncio.Task[object]] = set()

    def near() -> _Half:
        here, there = _Half(delay_s), _Half(delay_s)
        here.other, there.other = there, here
        dials.add(loop.create_task(loop.create_connection(lambda: there, HOST, port)))
        return here

    server = await loop.create_server(near, HOST, 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()

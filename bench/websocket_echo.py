"""CPU per 1 KiB echo of a server, in microseconds: our raw and WebSocket links, a bare TCP echo, the library's coroutines.

Each server is a process of its own on uvloop and tells what its process has used; one client serves them all, with frames
made beforehand. Contenders take turns within a round, and the median of the rounds is shown: ratios mean something,
single microseconds do not.

    python bench/websocket_echo.py
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import statistics
import sys
from typing import TYPE_CHECKING, Any

import uvloop
import websockets.asyncio.server
import websockets.exceptions
from websockets.frames import Frame, Opcode

from yzdht.transport.tcp import TcpTransport
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.ports import Link


MESSAGE = bytes(1_024)
ROUNDS = 5
COUNTS = {1: 4_000, 64: 16_000}  # echoes per round, by how many are in flight
OPENING = (
    b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# Servers


class TcpEcho(asyncio.Protocol):
    """The floor: bytes back as they come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class LinkEcho:
    """Owner of one of our links."""

    def __init__(self, link: Link) -> None:
        self.on_message = link.send

    def on_writable(self) -> None:
        pass

    def on_closed(self, reason: str) -> None:
        pass


async def serve_tcp() -> int:
    server = await asyncio.get_running_loop().create_server(TcpEcho, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def serve_links() -> int:
    return (await WebSocketTransport().listen("127.0.0.1", 0, LinkEcho)).endpoints[0].port


async def serve_raw_links() -> int:
    return (await TcpTransport().listen("127.0.0.1", 0, LinkEcho)).endpoints[0].port


async def serve_coroutines() -> int:
    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        with contextlib.suppress(
            websockets.exceptions.ConnectionClosed
        ):  # the client leaves without a close frame
            async for message in connection:
                await connection.send(message)

    server = await websockets.asyncio.server.serve(echo, "127.0.0.1", 0, compression=None, ping_interval=None)
    return int(next(iter(server.sockets)).getsockname()[1])


SERVERS: dict[str, Callable[[], Awaitable[int]]] = {
    "bare TCP": serve_tcp,
    "yzdht raw links": serve_raw_links,
    "yzdht WebSocket links": serve_links,
    "websockets coroutines": serve_coroutines,
}


def used_us() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round((usage.ru_utime + usage.ru_stime) * 1e6)


async def run_server(start: Callable[[], Awaitable[int]], control: socket.socket) -> None:
    """Tell the port, then answer each `?` with the CPU used so far, until another byte comes."""
    loop = asyncio.get_running_loop()
    control.setblocking(False)  # noqa: FBT003 -- the standard library takes it by position
    control.send(f"{await start()}\n".encode())
    while await loop.sock_recv(control, 1) == b"?":
        control.send(f"{used_us()}\n".encode())


class Server:
    """One contender in a forked process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._control, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            uvloop.run(run_server(SERVERS[name], theirs))
            os._exit(0)
        theirs.close()
        self._answers = self._control.makefile()
        self.port = int(self._answers.readline())

    def used_us(self) -> int:
        self._control.send(b"?")
        return int(self._answers.readline())

    def stop(self) -> None:
        self._control.send(b"!")
        self._answers.close()
        self._control.close()
        os.waitpid(self.pid, 0)


# Client


class Client(asyncio.Protocol):
    """Keeps so many echoes in flight until so many have come back."""

    def __init__(self, *, is_websocket: bool, is_raw: bool) -> None:
        raw = len(MESSAGE).to_bytes(2, "big") + MESSAGE if is_raw else MESSAGE
        self._frame = Frame(Opcode.BINARY, MESSAGE).serialize(mask=True) if is_websocket else raw
        self._answer_bytes = (
            len(Frame(Opcode.BINARY, MESSAGE).serialize(mask=False)) if is_websocket else len(raw)
        )
        self._is_open = not is_websocket
        self._loop = asyncio.get_running_loop()
        self.opened = self._loop.create_future()
        self._done: asyncio.Future[None]
        self._got_bytes = self._sent = self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        if self._is_open:
            self.opened.set_result(None)
        else:
            self._transport.write(OPENING)

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            assert data.startswith(b"HTTP/1.1 101 ")
            self._is_open = True
            self.opened.set_result(None)
            return
        before = self._got_bytes // self._answer_bytes
        self._got_bytes += len(data)
        got = self._got_bytes // self._answer_bytes
        if got >= self._wanted:
            self._done.set_result(None)
            return
        more = min(got - before, self._wanted - self._sent)
        self._sent += more
        if more:
            self._transport.write(self._frame * more)

    async def echo(self, in_flight: int, count: int) -> None:
        self._got_bytes, self._sent, self._wanted = 0, in_flight, count
        self._done = self._loop.create_future()
        self._transport.write(self._frame * in_flight)
        await self._done

    def close(self) -> None:
        self._transport.close()


async def measure(server: Server, in_flight: int) -> float:
    """CPU of the server per echo, in microseconds; opening and a warm-up are not counted."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: Client(is_websocket="websocket" in server.name.lower(), is_raw="raw" in server.name),
        "127.0.0.1",
        server.port,
    )
    await client.opened
    await client.echo(in_flight, 10 * in_flight)
    before = server.used_us()
    await client.echo(in_flight, COUNTS[in_flight])
    after = server.used_us()
    client.close()
    return (after - before) / COUNTS[in_flight]


async def compete(servers: list[Server]) -> dict[tuple[str, int], list[float]]:
    costs: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for in_flight in COUNTS:
            for server in servers:
                costs.setdefault((server.name, in_flight), []).append(await measure(server, in_flight))
    return costs


def main() -> None:
    servers = [Server(name) for name in SERVERS]  # forked before this process has a loop
    try:
        costs = uvloop.run(compete(servers))
    finally:
        for server in servers:
            server.stop()
    print(
        f"server CPU per 1 KiB echo, us, median (least) of {ROUNDS}; Python {sys.version.split()[0]}, uvloop"
    )
    print(f"{'':24}" + "".join(f"{f'{in_flight} in flight':>20}" for in_flight in COUNTS))
    for name in SERVERS:
        cells = [costs[name, in_flight] for in_flight in COUNTS]
        print(
            f"{name:24}"
            + "".join(f"{f'{statistics.median(cell):.1f} ({min(cell):.1f})':>20}" for cell in cells)
        )


if __name__ == "__main__":
    main()

"""The HTTP server beside a node: uvicorn's HTTP/1.1 protocol on sockets of ours, inside the node's own loop.

Of uvicorn only the protocol is used. Its `Server` would take the process's signals, poll ten times a second and wait
without an end for slow clients. Every connection serves one request and lives HTTP_CONNECTION_S_MAX at most, whatever
its client does, and there are HTTP_CONNECTIONS_MAX at most. Beyond that the oldest that keeps the pages waiting makes room
for a new one, so that nobody shuts others out by holding connections open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from yzdht.errors import ListenFailed
from yzdht.http.app import Pages
from yzdht.http.readiness import ReadyCheck
from yzdht.http.views import url_of
from yzdht.limits import (
    HTTP_CONNECTION_S_MAX,
    HTTP_CONNECTIONS_MAX,
    HTTP_GOODBYE_S_MAX,
    HTTP_HEADER_BYTES_MAX,
    HTTP_PORTS_TRIED_MAX,
    LISTEN_BACKLOG,
)
from yzdht.transport.sockets import bind, explain_bind


if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from yzdht.node import Node


DEFAULT_HOST = "127.0.0.1"

_PORT_MAX = 65_535
_CROWD_HINT = "programs of this machine hold them open: see which with ss -tnp"
_PORT_HINT = "choose another --http-port, 0 for a free one, or --no-http"

# What clients do wrong is no news of this node; what its pages do wrong is.
_server_log = logging.getLogger(f"{__name__}.protocol")
_server_log.setLevel(logging.ERROR)


async def bind_http(host: str, port: int | None, node_port: int) -> list[socket.socket]:
    """Take the port of the pages, and listen: of two sockets bound to one port only the listening one has it.

    Args:
        host: Address to listen on.
        port: 0 picks a free one; None is the node's port + 1, or the next free one after it.
        node_port: The node's port.

    Raises:
        ListenFailed: The port is taken, or so are all that were tried.

    """
    tried = range(node_port + 1, min(node_port + HTTP_PORTS_TRIED_MAX, _PORT_MAX) + 1)
    for number in tried if port is None else (port,):
        try:
            return _listening(host, number, await bind(host, number))
        except ListenFailed as error:
            if port is not None:
                raise ListenFailed(f"the status page: {error}", hint=_PORT_HINT) from error
    raise ListenFailed(f"the status page: no port after {node_port} is free on {host}", hint=_PORT_HINT)


def _listening(host: str, port: int, sockets: list[socket.socket]) -> list[socket.socket]:
    try:
        for sock in sockets:
            sock.listen(LISTEN_BACKLOG)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise explain_bind(host, port, error) from error
    return sockets


class HttpServer:
    """The pages of a running node; `async with HttpServer(node) as http: http.url`.

    Args:
        node: It was started; the pages may outlast it, and then say so.
        host: Address to listen on.
        port: As for `bind_http`.
        sockets: What `bind_http` took for that host and port already.

    Attributes:
        port: Where it listens; 0 before it does.

    """

    def __init__(
        self,
        node: Node,
        host: str = DEFAULT_HOST,
        port: int | None = None,
        sockets: list[socket.socket] | None = None,
    ) -> None:
        self._node = node
        self._host = host
        self._wanted_port = port
        self._sockets = sockets or []
        self.port = 0
        self._check = ReadyCheck(node)
        self._state = ServerState()
        self._crowd = _Crowd(node)
        self._servers: list[asyncio.Server] = []

    @property
    def url(self) -> str:
        """Where the pages are."""
        return url_of("http", self._host, self.port)

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            ListenFailed: The port is taken.

        """
        if not self._sockets:
            self._sockets = await bind_http(self._host, self._wanted_port, self._node.port)
        self.port = self._sockets[0].getsockname()[1]
        pages = Pages(self._node, self._check, self.url)
        config = Config(
            pages.app(self._host),
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=HTTP_HEADER_BYTES_MAX,
        )
        config.load()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            server = await loop.create_server(
                lambda: _Connection(config, self._state, loop, self._crowd), sock=sock, backlog=LISTEN_BACKLOG
            )
            self._servers.append(server)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> list[_Connection]:
        return [c for c in self._state.connections if isinstance(c, _Connection)]

    async def close(self) -> None:
        """Stop listening; answers under way have HTTP_GOODBYE_S_MAX."""
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()
        await self._check.close()
        for connection in self._open():
            if not connection.transport.is_closing():
                connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=HTTP_GOODBYE_S_MAX)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in self._open():
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HTTP_GOODBYE_S_MAX):
                for connection in self._open():
                    await connection.gone.wait()


class _Crowd:
    """Who has a place, the oldest first; HTTP_CONNECTIONS_MAX at most.

    Args:
        node: Counts and remembers who was cut off or refused.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._placed: dict[_Connection, None] = {}

    def enter(self, newcomer: _Connection) -> bool:
        """Give a place, if need be that of whoever keeps the pages waiting longest; False if all are being answered."""
        if len(self._placed) < HTTP_CONNECTIONS_MAX:
            self._placed[newcomer] = None
            return True
        self._count()
        slow = next(filter(_Connection.is_asking, self._placed), None)
        slow = slow or next(filter(_Connection.is_taking, self._placed), None)
        if slow is None:
            return False
        self.leave(slow)
        slow.transport.abort()
        self._placed[newcomer] = None
        return True

    def leave(self, connection: _Connection) -> None:
        """Free its place, if it has one."""
        self._placed.pop(connection, None)

    def _count(self) -> None:
        telemetry = self._node.telemetry
        telemetry.add("rate_limited", "status_page")
        what = f"the status page was asked over more than {HTTP_CONNECTIONS_MAX} connections at once"
        telemetry.error(what, self._node.now().wall, _CROWD_HINT)


class _Connection(H11Protocol):
    """One connection, one request, an end in time."""

    def __init__(
        self, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop, crowd: _Crowd
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.logger = _server_log
        self._crowd = crowd
        self._head_bytes = 0
        self.gone = asyncio.Event()
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Take a client in, if there is room."""
        super().connection_made(transport)
        if not self._crowd.enter(self):
            transport.abort()
            return
        self._end = self.loop.call_later(HTTP_CONNECTION_S_MAX, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._end is not None:
            self._end.cancel()
        self._crowd.leave(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        """Take in what came; h11 measures a request only while it has no end, and one segment may hold it whole."""
        if self.is_asking():
            room = HTTP_HEADER_BYTES_MAX - self._head_bytes
            head, data = data[:room], data[room:]
            self._head_bytes += len(head)
            super().data_received(head)
            if data and self.is_asking() and not self.transport.is_closing():
                self.send_400_response(f"Headers longer than {HTTP_HEADER_BYTES_MAX} bytes.")
        if data and not self.transport.is_closing():
            super().data_received(data)

    def is_asking(self) -> bool:
        """True until its request is whole."""
        return self.cycle is None

    def is_taking(self) -> bool:
        """True while its client does not read what it was answered."""
        return self.transport.get_write_buffer_size() > 0

    def _should_upgrade(self) -> bool:
        """There is nothing to upgrade to."""
        return False

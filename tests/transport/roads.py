"""What the tests of every transport share: an owner of links that remembers, and a way to connect two of them."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Protocol

from yzdht.errors import DialFailed
from yzdht.ports import Endpoint, Link, Listener, Transport
from yzdht.transport.memory import MemoryNetwork, MemoryTransport
from yzdht.transport.one_port import OnePort
from yzdht.transport.tcp import TcpTransport
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.nginx.front import Nginx
    from tests.transport.authority import Authority
    from yzdht.transport.bounds import LinkBounds


PATIENCE_S = 20.0  # only a failing test waits so long


class MeasuredLink(Link, Protocol):
    """A link that tells what it holds; both implementations do."""

    @property
    def unsent_bytes(self) -> int: ...


class Owner:
    """A LinkHandler that remembers what it was told."""

    def __init__(self, link: MeasuredLink, on_message: Callable[[Owner], None] | None = None) -> None:
        self.link = link
        self.messages: list[bytes] = []
        self.reasons: list[str] = []
        self.writable = 0
        self.react = on_message
        self._changed = asyncio.Event()

    def on_message(self, message: bytes) -> None:
        assert type(message) is bytes
        assert self.reasons == []
        self.messages.append(message)
        self._changed.set()
        if self.react is not None:
            self.react(self)

    def on_writable(self) -> None:
        self.writable += 1
        self._changed.set()

    def on_closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def take(self, count: int) -> list[bytes]:
        """Wait for so many messages in all."""
        await self.until(lambda: len(self.messages) >= count)
        return self.messages

    async def closed(self) -> str:
        """Wait for the end; its reason."""
        await self.until(lambda: bool(self.reasons))
        return self.reasons[0]


class Owners:
    """An accept callback that keeps who it made."""

    def __init__(self, on_message: Callable[[Owner], None] | None = None) -> None:
        self.made: asyncio.Queue[Owner] = asyncio.Queue()
        self.count = 0
        self._on_message = on_message

    def __call__(self, link: Link) -> Owner:
        owner = Owner(link, self._on_message)  # every link of ours is measured
        self.count += 1
        self.made.put_nowait(owner)
        return owner

    async def next(self) -> Owner:
        async with asyncio.timeout(PATIENCE_S):
            return await self.made.get()


class Road:
    """One kind of transport with a place to listen.

    Args:
        kind: `memory`, `tcp`, `ws`, `tls`, which is wss to this project's own TLS, or `wss`, to nginx.
        authority: Of `tls` and `wss`.
        nginx: Of `wss`.

    """

    def __init__(self, kind: str, authority: Authority | None = None, nginx: Nginx | None = None) -> None:
        self.kind = kind
        self._nginx = nginx
        self.far_scheme = "ws" if kind == "wss" else "wss" if kind == "tls" else kind
        self.scheme = "wss" if kind == "tls" else kind
        self._authority = authority
        self._network = MemoryNetwork()
        self._listeners: list[Listener] = []
        self._owners: list[Owner] = []

    def transport(self, bounds: LinkBounds | None = None) -> Transport:
        if self.kind == "memory":
            return MemoryTransport(self._network, bounds=bounds)
        if self.kind == "tcp":
            return TcpTransport(bounds=bounds)
        if self._nginx is not None and self._authority is not None:
            return WebSocketTransport(ssl_context=self._authority.trust, bounds=bounds)
        if self._authority is not None:
            served = self._authority.served()
            return OnePort(trust=self._authority.trust, tls=lambda: served, bounds=bounds)
        return WebSocketTransport(bounds=bounds)

    async def listen(
        self,
        accept: Callable[[Link], Owner | None],
        transport: Transport | None = None,
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> tuple[Listener, str]:
        """Listen somewhere free; the listener and the url to dial."""
        transport = transport or self.transport()
        if self._nginx is not None:
            number, at = self._nginx.next_node()
            listener = await transport.listen("127.0.0.1", int(at.rpartition(":")[2]), accept, admit)
            self._listeners.append(listener)
            return listener, self._nginx.url(number)
        host = "node" if self.kind == "memory" else "127.0.0.1"
        listener = await transport.listen(host, 0, accept, admit)
        self._listeners.append(listener)
        place = listener.endpoints[0]
        return listener, f"{self.scheme}://{place.host}" + (f":{place.port}" if place.port else "")

    async def is_refused(self, transport: Transport, url: str) -> bool:
        """Dial where nobody is wanted: a raw connection is only closed, every other kind fails to open."""
        near = Owners()
        if self.kind == "tcp":
            await transport.dial(url, near, PATIENCE_S)
            return await (await near.next()).closed() in {"closed by peer", "reset"}
        try:
            await transport.dial(url, near, PATIENCE_S)
        except DialFailed as failure:
            why = "closed the connection" if self._nginx is None else "HTTP 502"
            return why in str(failure) and bool(failure.hint) and near.count == 0
        return False

    def is_there(self, remote: Endpoint) -> bool:
        """Whether who dialled sees the other end where it dialled."""
        if self._nginx is not None:
            return remote == Endpoint(self._nginx.host, self._nginx.port, "wss")
        return remote[:2] == self._listeners[0].endpoints[0][:2]

    async def connect(self, bounds: LinkBounds | None = None) -> tuple[Owner, Owner]:
        """Open a link; who owns the end that dialled, and who the other."""
        near, far = Owners(), Owners()
        transport = self.transport(bounds)
        _, url = await self.listen(far, transport)
        await transport.dial(url, near, PATIENCE_S)
        self._owners += await near.next(), await far.next()
        return self._owners[-2], self._owners[-1]

    async def stop(self) -> None:
        """Close everything, and see that each owner was told once."""
        for listener in self._listeners:
            await listener.close()
        for owner in self._owners:
            owner.link.abort()
        for owner in self._owners:
            owner.link.resume_reading()
            await owner.closed()
        await turns(3)
        for owner in self._owners:
            assert len(owner.reasons) == 1


def send_no_more(owner: Owner) -> None:
    """Close the sending half of an end's socket under its link, which goes on reading and says nothing of it."""
    transport: asyncio.Transport = owner.link._transport  # type: ignore[attr-defined]  # of every road but `memory`
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        same.shutdown(socket.SHUT_WR)


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned


async def congest_for_good(owner: Owner, message: bytes) -> None:
    """Send whenever the link takes something, until it has ended: what lies between may hold much."""
    while not owner.reasons:
        if not owner.link.is_congested:
            owner.link.send(message)
        await turns(1)


async def congest(owner: Owner, message: bytes) -> int:
    """Send until the link is congested; how many messages it took."""
    count = 0
    while not owner.link.is_congested:
        owner.link.send(message)
        count += 1
        if count % 16 == 0:
            await turns(1)
        assert count < 20_000
    return count

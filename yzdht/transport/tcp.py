"""Raw TCP channels: a message is its length in two bytes and itself, and nothing opens a channel but the connection.

The default between nodes. Source: PROTOCOL.md section 4.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from yzdht.errors import DialFailed
from yzdht.limits import OPENING_TIMEOUT_S
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.first_bytes import Kind
from yzdht.transport.host_dials import Dialled, dial_each
from yzdht.transport.openings import Openings, ignore_refusal, listen as open_listener
from yzdht.transport.sockets import endpoint_of
from yzdht.transport.stream_link import override
from yzdht.transport.tcp_link import TcpLink


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ports import Endpoint, Link, LinkHandler
    from yzdht.transport.host_dials import Tries
    from yzdht.transport.openings import StreamListener


SCHEME = "tcp"


class TcpTransport:
    """Channels over TCP; implements `yzdht.ports.Transport`.

    Whoever listens with it takes nothing but raw connections, and looks at no byte of them; a port that tells them from others
    is one_port.py's.

    Args:
        on_refused: Told of every incoming connection that did not become a link, once; one that `accept` or `admit`
            refused is not among them.
        bounds: What each link may hold and for how long.

    """

    def __init__(
        self,
        *,
        on_refused: Callable[[Endpoint, str], None] = ignore_refusal,
        bounds: LinkBounds | None = None,
    ) -> None:
        self._on_refused = on_refused
        self._bounds = bounds or LinkBounds()

    @property
    def schemes(self) -> frozenset[str]:
        """URL schemes that it dials."""
        return frozenset({SCHEME})

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> TcpLink:
        """Open a channel; the addresses of the host are tried one a little after the other.

        Whether the other end wants it is seen later, by its closing.

        Args:
            url: `tcp://host:port`.
            accept: Called once with the open link, before any message is delivered; returns its handler.
            timeout_s: Seconds for the whole opening, name resolution included.
            hosts: IP addresses to dial for its name, looked up and judged before. Empty: it is looked up here.
            avoid: IP addresses that are not dialled though the name leads there.

        Raises:
            NoOtherAddress: The name leads to those alone.
            DialFailed: The url is none, or the host refused, is unreachable or timed out.

        """
        host, port = parse_address(url)
        dialled = Dialled(url, host, port, hosts, avoid)
        return await dial_each(dialled, timeout_s, lambda ip, tries: self._dial_one(ip, port, accept, tries))

    async def _dial_one(
        self, address: str, port: int, accept: Callable[[Link], LinkHandler], tries: Tries
    ) -> TcpLink:
        _, early = await asyncio.get_running_loop().create_connection(Early, address, port)
        if early.is_lost:
            raise ConnectionResetError
        if not tries.claim():
            early.transport.abort()
            raise ConnectionAbortedError
        remote = endpoint_of(early.transport.get_extra_info("peername") or ("", 0), SCHEME)
        link = TcpLink(early.transport, remote, self._bounds)
        try:
            link.start(accept(link), early.heard)
            await asyncio.sleep(0)  # whoever was asked to accept may have given the dial up
        except asyncio.CancelledError:
            link.abort()
            raise
        return link

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> StreamListener:
        """Accept channels.

        Args:
            host: Address or name to bind; `0.0.0.0` is IPv4 only, `::` takes both.
            port: 0 picks a free one.
            accept: Called for every connection; None drops it.
            admit: Asked for every connection before that; False drops it.

        Raises:
            ListenFailed: The address is taken, forbidden or not this machine's.

        """
        kinds = frozenset({Kind.RAW})
        openings = Openings(accept, self._on_refused, OPENING_TIMEOUT_S, self._bounds, admit, kinds)
        return await open_listener(host, port, SCHEME, openings)


class Early(asyncio.Protocol):
    """An outgoing connection in the moment until it is a link, not before the loop has handed it over.

    Attributes:
        transport: The connection.
        heard: What has come meanwhile: what one turn of the loop reads.
        is_lost: True if it is gone already.

    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.heard = b""
        self.is_lost = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be connected."""
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        """Keep what the other end says first."""
        self.heard += data

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Be gone."""
        self.is_lost = True


def parse_address(url: str) -> tuple[str, int]:
    """Host and port of a tcp url.

    Raises:
        DialFailed: It is none, or names more than these.

    """
    why = f"{url[:80]!r} is not a TCP address"
    hint = "write it like tcp://host:8083"
    if not url.isprintable() or " " in url:
        raise DialFailed(why, hint=hint)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # a port or an IPv6 literal that is none
        raise DialFailed(why, hint=hint) from error
    is_more = bool(parts.path.strip("/") or parts.query or parts.fragment) or "@" in parts.netloc
    if parts.scheme != SCHEME or not host or not port or is_more:
        raise DialFailed(why, hint=hint)
    return host, port

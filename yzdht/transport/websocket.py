"""WebSocket channels: dialling ws and wss, listening for ws (a proxy in front brings TLS).

Owns addresses, sockets and listeners; the opening handshake is websocket_opening.py, the open channel
websocket_link.py. No extension and no subprotocol is offered or taken; any Origin may come, because the session handshake
inside authenticates. Source: RFC 6455; PROTOCOL.md sections 4 and 6.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from websockets.exceptions import InvalidURI
from websockets.uri import WebSocketURI, parse_uri

from yzdht.errors import DialFailed
from yzdht.limits import OPENING_TIMEOUT_S
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.first_bytes import Kind
from yzdht.transport.host_dials import Dialled, dial_each
from yzdht.transport.openings import Openings, ignore_refusal, listen as open_listener
from yzdht.transport.sockets import explain_dial
from yzdht.transport.tls_channel import TlsDial, hardened
from yzdht.transport.websocket_opening import ClientOpening


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ports import Endpoint, Link, LinkHandler
    from yzdht.transport.host_dials import Tries
    from yzdht.transport.openings import StreamListener
    from yzdht.transport.websocket_link import WebSocketLink


class WebSocketTransport:
    """Channels over WebSocket; implements `yzdht.ports.Transport`.

    Args:
        ssl_context: Which certificates wss dialling trusts; the system's authorities when None.
        on_refused: Told of every incoming connection that did not become a link, once: "timed out", "opening too
            large", "wrong path", "not a WebSocket request", "closed early", "reset", "crowded out" or "not listening". A link that
            `accept` refused, or a connection that `admit` did, is not among them.
        opening_s: Seconds that an incoming connection has for its opening handshake.
        bounds: What each link may hold and for how long.

    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        on_refused: Callable[[Endpoint, str], None] = ignore_refusal,
        opening_s: float = OPENING_TIMEOUT_S,
        bounds: LinkBounds | None = None,
    ) -> None:
        self._ssl_context = ssl_context
        self._on_refused = on_refused
        self._opening_s = opening_s
        self._bounds = bounds or LinkBounds()

    @property
    def schemes(self) -> frozenset[str]:
        """URL schemes that it dials."""
        return frozenset({"ws", "wss"})

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> WebSocketLink:
        """Open a channel; the addresses of the host are tried one a little after the other.

        Args:
            url: ws:// or wss:// with a host, and optionally a port, a path (default `/`) and a query.
            accept: Called once with the open link, before any message is delivered; returns its handler.
            timeout_s: Seconds for the whole opening, name resolution included.
            hosts: IP addresses to dial for its name, looked up and judged before. Empty: it is looked up here.
            avoid: IP addresses that are not dialled though the name leads there.

        Raises:
            NoOtherAddress: The name leads to those alone.
            DialFailed: The url is none, or the host refused, is unreachable, timed out or is no WebSocket server.

        """
        uri = parse_address(url)
        dialled = Dialled(url, uri.host, uri.port, hosts, avoid)

        async def dial_one(address: str, tries: Tries) -> WebSocketLink:
            opening = ClientOpening(url, uri, accept, self._bounds, tries.claim)
            return await self._dial_one(opening, uri, address, tries)

        return await dial_each(dialled, timeout_s, dial_one)

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> StreamListener:
        """Accept channels on the paths `/` and `/ws`.

        Args:
            host: Address or name to bind; `0.0.0.0` is IPv4 only, `::` takes both.
            port: 0 picks a free one.
            accept: Called for every link whose opening handshake is done; None drops it, and the dialler fails.
            admit: Asked for every connection when it is made, before its request is read; False drops it.

        Raises:
            ListenFailed: The address is taken, forbidden or not this machine's.

        """
        kinds = frozenset({Kind.HTTP})
        openings = Openings(accept, self._on_refused, self._opening_s, self._bounds, admit, kinds)
        return await open_listener(host, port, "ws", openings)

    async def _dial_one(
        self, opening: ClientOpening, uri: WebSocketURI, address: str, tries: Tries
    ) -> WebSocketLink:
        protocol: asyncio.Protocol = opening
        if uri.secure:
            protocol = TlsDial(
                self._trust(), uri.host, opening, lambda error: opening.fail(explain_dial(opening.url, error))
            )
        below: asyncio.Transport | None = None
        try:
            below, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, address, uri.port)
            tries.connected(address)
            return await opening.opened
        except (asyncio.CancelledError, OSError, DialFailed):
            opening.give_up()
            if below is not None:
                below.abort()
            raise

    def _trust(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = hardened(ssl.create_default_context())
        return self._ssl_context


def parse_address(url: str) -> WebSocketURI:
    """Parse a ws or wss url.

    Raises:
        DialFailed: It is none, or names a user, a fragment or port 0.

    """
    why = f"{url[:80]!r} is not a WebSocket address"
    hint = "write it like ws://host:8083 or wss://host/path"
    if not url.isprintable() or " " in url:
        raise DialFailed(why, hint=hint)
    try:
        uri = parse_uri(url)
        is_port_zero = urlsplit(url).port == 0  # which the library takes for none
    except (InvalidURI, ValueError) as error:  # ValueError: a port, an IPv6 literal or a name that is none
        raise DialFailed(why, hint=hint) from error
    if is_port_zero or uri.username is not None:
        raise DialFailed(why, hint=hint)
    return uri

"""Everything that nodes speak on one port: raw TCP, WebSocket, and both inside TLS, told apart by the first bytes.

What a node listens with. Dialling is that of the transports it is made of. Source: PROTOCOL.md section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import OPENING_TIMEOUT_S
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.forwarded import NO_PROXIES, Proxies
from yzdht.transport.openings import Openings, ignore_refusal, listen as open_listener
from yzdht.transport.tcp import SCHEME, TcpTransport
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ports import Endpoint, Link, LinkHandler
    from yzdht.transport.openings import StreamListener


class OnePort:
    """Channels over TCP, plain or as WebSockets; implements `yzdht.ports.Transport`.

    Args:
        trust: Which certificates wss dialling trusts; the system's authorities when None.
        tls: The present certificate of this end; None where TLS is not served.
        on_refused: Told of every incoming connection that did not become a link, once: "unknown protocol", "TLS is not
            served", "TLS failed", or what a WebSocketTransport says.
        opening_s: Seconds that an incoming connection has until it is a link, TLS included.
        bounds: What each link may hold and for how long.
        proxies: Who stands in front of what is listened on.

    """

    def __init__(
        self,
        *,
        trust: ssl.SSLContext | None = None,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
        on_refused: Callable[[Endpoint, str], None] = ignore_refusal,
        opening_s: float = OPENING_TIMEOUT_S,
        bounds: LinkBounds | None = None,
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._tls = tls
        self._on_refused = on_refused
        self._opening_s = opening_s
        self._bounds = bounds or LinkBounds()
        self._proxies = proxies
        self._tcp = TcpTransport(bounds=self._bounds)
        self._websocket = WebSocketTransport(ssl_context=trust, bounds=self._bounds)

    @property
    def schemes(self) -> frozenset[str]:
        """URL schemes that it dials."""
        return self._tcp.schemes | self._websocket.schemes

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> Link:
        """Open a channel, as `TcpTransport.dial` and `WebSocketTransport.dial`.

        Raises:
            DialFailed: As they.

        """
        transport = self._tcp if url.partition(":")[0] == SCHEME else self._websocket
        return await transport.dial(url, accept, timeout_s, hosts, avoid)

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> StreamListener:
        """Accept channels of every kind.

        Args:
            host: Address or name to bind; `0.0.0.0` is IPv4 only, `::` takes both.
            port: 0 picks a free one.
            accept: Called for every link whose opening is done; None drops it.
            admit: Asked for every connection when it is made, before anything is read, and once more, with the protocol
                `tls`, when one begins TLS, before anything is computed for it; False drops it.

        Raises:
            ListenFailed: The address is taken, forbidden or not this machine's.

        """
        openings = Openings(
            accept,
            self._on_refused,
            self._opening_s,
            self._bounds,
            admit,
            tls=self._tls,
            proxies=self._proxies,
        )
        return await open_listener(host, port, SCHEME, openings)

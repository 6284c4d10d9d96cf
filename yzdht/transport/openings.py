"""Incoming connections until they are links, whatever they speak.

Owns what a stranger may send before a link exists: bytes, seconds, connections at once, and how many of them are answered
in one turn of the loop. These bounds hold for raw connections, WebSockets and TLS together, and before anything of that
is judged a connection is admitted or not. An opening ends in a link or in a refusal that is reported.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from yzdht.limits import (
    ACCEPTS_PER_LOOP_TURN,
    LISTEN_BACKLOG,
    OPENING_BYTES_MAX,
    OPENINGS_MAX,
    OPENINGS_PER_LOOP_TURN,
)
from yzdht.loop_turns import LoopTurns
from yzdht.transport.first_bytes import EVERY_KIND, Kind, has_tls_record, kind_of
from yzdht.transport.forwarded import NO_PROXIES, Proxies
from yzdht.transport.sockets import bind, endpoint_of
from yzdht.transport.stream_link import override
from yzdht.transport.tcp_link import TcpLink
from yzdht.transport.tls_channel import TlsChannel
from yzdht.transport.tls_places import TlsPlaces
from yzdht.transport.websocket_link import WebSocketLink
from yzdht.transport.websocket_opening import ServerHandshake


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ports import Endpoint, Link, LinkHandler
    from yzdht.transport.bounds import LinkBounds
    from yzdht.transport.websocket_opening import Answer


_ONLY_RAW = frozenset({Kind.RAW})
_ONLY_HTTP = frozenset({Kind.HTTP})
_PROTOCOLS = {
    (Kind.RAW, False): "tcp",
    (Kind.RAW, True): "tls",
    (Kind.HTTP, False): "ws",
    (Kind.HTTP, True): "wss",
}


def ignore_refusal(_remote: Endpoint, _reason: str) -> None:
    """Count nothing: the default of `on_refused`."""


@dataclass(slots=True)
class Openings:
    """The incoming connections of one listener that are not links yet, and what becomes of them.

    Attributes:
        accept: Called for every link.
        on_refused: Called for every connection that did not become one, with a reason.
        opening_s: Seconds that each has.
        bounds: What each link may hold.
        admit: Asked for every connection before anything else, and again when it begins TLS; False drops it, unreported.
            None admits all.
        kinds: What is served; where that is one, nothing is told apart.
        tls: The present certificate; None where TLS is not served.
        proxies: Who stands in front; `admit` is asked about whom they name, too.
        pending: Oldest first.
        turns: Who has sent something and waits for its turn to be answered.
        tls_places: Whose TLS handshake is under way.

    """

    accept: Callable[[Link], LinkHandler | None]
    on_refused: Callable[[Endpoint, str], None]
    opening_s: float
    bounds: LinkBounds
    admit: Callable[[Endpoint], bool] | None = None
    kinds: frozenset[Kind] = EVERY_KIND
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    proxies: Proxies = NO_PROXIES
    pending: dict[ServerOpening, None] = field(default_factory=dict)
    turns: LoopTurns[ServerOpening] = field(init=False)
    tls_places: TlsPlaces[ServerOpening] = field(default_factory=TlsPlaces)

    def __post_init__(self) -> None:
        self.turns = LoopTurns(asyncio.get_running_loop(), OPENINGS_PER_LOOP_TURN, ServerOpening.go_on)

    def add(self, opening: ServerOpening) -> None:
        """Take one in; above OPENINGS_MAX the oldest goes, because an honest one takes a round trip.

        Who only waits for its turn here is spared where it can be.
        """
        if len(self.pending) >= OPENINGS_MAX:
            oldest = next(iter(self.pending))
            next((each for each in self.pending if each not in self.turns), oldest).drop("crowded out")
        self.pending[opening] = None

    def remove(self, opening: ServerOpening) -> None:
        """It is a link, or gone; a no-op for others."""
        self.pending.pop(opening, None)
        self.turns.forget(opening)
        self.tls_places.leave(opening)

    def drop_all(self) -> None:
        """Drop them: the listener closes."""
        for opening in list(self.pending):
            opening.drop("not listening")


class ServerOpening(asyncio.Protocol):
    """One incoming connection until it is a link or gone.

    Args:
        openings: Where it is counted and what becomes of it.

    """

    def __init__(self, openings: Openings) -> None:
        self._openings = openings
        self._head = b""  # until it is known what it speaks
        self._http: ServerHandshake | None = None
        self._tls: TlsChannel | None = None
        self._unread = b""  # what came before its turn
        self._transport: asyncio.Transport
        self._remote: Endpoint
        self._timer: asyncio.TimerHandle | None = None
        self._bytes_taken = 0
        self._is_settled = False

    # What the socket says

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, if it may come in."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        if peername is None:  # gone before it could be asked
            self._is_settled = True
            self._transport.abort()
            return
        openings = self._openings
        self._remote = endpoint_of(peername, "ws" if openings.kinds == _ONLY_HTTP else "tcp")
        if openings.admit is not None and not openings.admit(self._remote):
            self._is_settled = True
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(openings.opening_s, self.drop, "timed out")
        openings.add(self)
        if openings.kinds == _ONLY_RAW:
            self._open_raw(b"")

    @override
    def data_received(self, data: bytes) -> None:
        """Take a part of what opens a link when it is its turn."""
        if self._is_settled:  # turned away: read on, because closing with bytes unread would reset
            return
        self._bytes_taken += len(data)
        if self._bytes_taken > OPENING_BYTES_MAX:
            self.drop("opening too large")
        elif self._openings.turns.is_now(self):
            self._take(data)
        else:
            self._unread += data
            self._transport.pause_reading()

    def go_on(self) -> None:
        """It is its turn."""
        data, self._unread = self._unread, b""
        if not self._transport.is_closing():
            self._transport.resume_reading()  # before a link takes over, which may not want to be read
            self._take(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Be gone, which is a refusal unless there was one before."""
        self._settle("closed early" if exc is None else "reset")
        self._forget()

    def drop(self, reason: str) -> None:
        """Close it at once, with no answer."""
        self._settle(reason)
        self._forget()
        self._transport.abort()

    # What it speaks

    def _take(self, data: bytes) -> None:
        """Go on with what came."""
        if self._tls is None:
            self._take_plain(data)
            return
        try:
            plain = self._tls.feed(data)
        except ssl.SSLError:
            self._turn_away("TLS failed")
            return
        if self._tls.is_open:
            self._openings.tls_places.leave(self)
        if plain:
            self._take_plain(plain)
        if self._tls.has_ended and not self._tls.tell_end() and not self._is_settled:
            self.drop("closed early")

    def _take_plain(self, data: bytes) -> None:
        if self._http is not None:
            self._read_request(self._http, data)
            return
        self._head += data
        match self._kind():
            case Kind.HTTP:
                self._http = ServerHandshake(self._openings.bounds.message_bytes_max, self._may_come)
                self._read_request(self._http, self._take_head())
            case Kind.RAW:
                self._open_raw(self._take_head())
            case Kind.TLS:
                self._hear_tls()
            case Kind.UNKNOWN:
                self.drop("unknown protocol")
            case None:
                """Wait for more of it."""

    def _kind(self) -> Kind | None:
        kinds = self._openings.kinds
        if kinds == _ONLY_HTTP:
            return Kind.HTTP
        kind = kind_of(self._head)
        is_unserved = kind is not None and kind not in kinds
        return Kind.UNKNOWN if is_unserved else kind

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _hear_tls(self) -> None:
        context = None if self._tls is not None else self._openings.tls()  # TLS in TLS is nobody's
        if context is None:
            self.drop("TLS is not served")
        elif has_tls_record(self._head):
            self._begin_tls(context)

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        """Go on to what costs a signature, if this one may now, and another goes for it where they are too many."""
        openings = self._openings
        if openings.admit is not None and not openings.admit(self._remote._replace(protocol="tls")):
            self._is_settled = True
            self._forget()
            self._transport.abort()
            return
        if (gives_way := openings.tls_places.enter(self, self._remote.host)) is not None:
            gives_way.drop("crowded out")
        self._tls = TlsChannel(self._transport, context)
        self._take(self._take_head())

    def _may_come(self, forwarded: Sequence[str], dialled: str) -> bool:
        """Find who is behind a trusted proxy, and ask about him as about others before they are read."""
        remote = self._openings.proxies.behind(self._remote, forwarded, dialled)
        if remote == self._remote:
            return True
        self._remote = remote
        admit = self._openings.admit
        self._is_settled = admit is not None and not admit(remote)  # unreported, as all that are not admitted
        return not self._is_settled

    # What becomes of it

    def _read_request(self, http: ServerHandshake, data: bytes) -> None:
        answer = http.take(data)
        if answer is None:
            return
        if answer.frames is not None:
            self._open_websocket(answer)
        elif answer.written:
            self._turn_away(answer.refusal, answer.written)
        else:
            self.drop(answer.refusal)

    def _open_websocket(self, answer: Answer) -> None:
        assert answer.frames is not None
        remote = self._leave_as(Kind.HTTP)
        link = WebSocketLink(self._tls or self._transport, answer.frames, remote, self._openings.bounds)
        handler = self._openings.accept(link)
        if handler is None:
            link.refuse()
        else:
            link.start(handler, ())

    def _open_raw(self, data: bytes) -> None:
        remote = self._leave_as(Kind.RAW)
        link = TcpLink(self._tls or self._transport, remote, self._openings.bounds)
        handler = self._openings.accept(link)
        if handler is None:
            link.refuse()
        else:
            link.start(handler, data)

    def _leave_as(self, kind: Kind) -> Endpoint:
        """It is a link from now on, seen there."""
        self._is_settled = True
        self._forget()
        return self._remote._replace(protocol=_PROTOCOLS[kind, self._tls is not None])

    def _turn_away(self, reason: str, written: bytes = b"") -> None:
        """Answer and half-close; the timer that runs ends it if the other end does not."""
        self._settle(reason)
        road = self._tls or self._transport
        if written:
            road.write(written)
        road.write_eof()

    def _settle(self, reason: str) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._openings.on_refused(self._remote, reason)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._openings.remove(self)


async def listen(host: str, port: int, protocol: str, openings: Openings) -> StreamListener:
    """Take connections at every address of a host.

    Args:
        host: Address or name to bind; `0.0.0.0` is IPv4 only, `::` takes both.
        port: 0 picks a free one.
        protocol: As which the listener shows its endpoints.
        openings: What becomes of each connection.

    Raises:
        ListenFailed: The address is taken, forbidden or not this machine's.

    """
    sockets = await bind(host, port)
    endpoints = [endpoint_of(sock.getsockname(), protocol) for sock in sockets]
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: ServerOpening(openings), sock=sock, backlog=ACCEPTS_PER_LOOP_TURN)
        for sock in sockets
    ]
    for sock in sockets:  # asyncio accepts as many at once as it was given for the backlog; uvloop, one
        sock.listen(LISTEN_BACKLOG)
    return StreamListener(endpoints, servers, openings)


class StreamListener:
    """An address that is being listened on; implements `yzdht.ports.Listener`."""

    def __init__(
        self, endpoints: Sequence[Endpoint], servers: Sequence[asyncio.AbstractServer], openings: Openings
    ) -> None:
        self._endpoints = endpoints
        self._servers = servers
        self._openings = openings

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Where it listens, with the real port; one per address of the host."""
        return self._endpoints

    async def close(self) -> None:
        """Stop accepting and drop what is half open; links already open stay open. Idempotent."""
        for server in self._servers:
            server.close()  # wait_closed() would wait for the links, on Python 3.12 and later
        self._openings.drop_all()
        for _ in range(2):  # uvloop closes the socket one turn later
            await asyncio.sleep(0)

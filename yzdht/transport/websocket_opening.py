"""The opening handshake of a WebSocket connection, at both ends.

Owns what a stranger may send before a link exists: bytes, seconds, connections at once, and how many of them are answered
in one turn of the loop. HTTP is the `websockets` library's.
An opening ends in a WebSocketLink, in a refusal that is reported, or in a DialFailed. Source: RFC 6455 section 4.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from yzdht.errors import DialFailed
from yzdht.limits import HTTP_OPENING_BYTES_MAX, OPENINGS_MAX, OPENINGS_PER_LOOP_TURN
from yzdht.loop_turns import LoopTurns
from yzdht.transport.sockets import endpoint_of
from yzdht.transport.websocket_link import WebSocketLink, override


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from websockets.protocol import Event
    from websockets.uri import WebSocketURI

    from yzdht.ports import Endpoint, Link, LinkHandler
    from yzdht.transport.bounds import LinkBounds


PATHS: Final = frozenset({"/", "/ws"})
PROXY_CANNOT_REACH_IT: Final = frozenset({502, 503, 504})

# At DEBUG the library logs the frames it carries, at INFO a line per connection: neither belongs into our logs.
_silent = logging.getLogger("yzdht.transport.websocket.library")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(slots=True)
class Openings:
    """The incoming connections of one listener that are not links yet, and what becomes of them.

    Attributes:
        accept: Called for every link.
        on_refused: Called for every connection that did not become one, with a reason.
        opening_s: Seconds that each has.
        bounds: What each link may hold.
        admit: Asked for every connection before anything else; False drops it, unreported. None admits all.
        pending: Oldest first.
        turns: Who has sent something and waits for its turn to be answered.

    """

    accept: Callable[[Link], LinkHandler | None]
    on_refused: Callable[[Endpoint, str], None]
    opening_s: float
    bounds: LinkBounds
    admit: Callable[[Endpoint], bool] | None = None
    pending: dict[ServerOpening, None] = field(default_factory=dict)
    turns: LoopTurns[ServerOpening] = field(init=False)

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
        self._websocket: ServerProtocol | None = None  # until something is said: many say nothing
        self._unread = b""  # what came before its turn
        self._transport: asyncio.Transport
        self._remote: Endpoint
        self._timer: asyncio.TimerHandle | None = None
        self._bytes_taken = 0
        self._is_settled = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, if it may come in."""
        self._transport = cast("asyncio.Transport", transport)
        peername = transport.get_extra_info("peername")
        if peername is None:  # gone before it could be asked
            self._is_settled = True
            self._transport.abort()
            return
        self._remote = endpoint_of(peername, "ws")
        admit = self._openings.admit
        if admit is not None and not admit(self._remote):
            self._is_settled = True
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(self._openings.opening_s, self.drop, "timed out")
        self._openings.add(self)

    @override
    def data_received(self, data: bytes) -> None:
        """Take a part of the request when it is its turn."""
        if self._is_settled:  # turned away: read on, because closing with bytes unread would reset
            return
        self._bytes_taken += len(data)
        if self._bytes_taken > HTTP_OPENING_BYTES_MAX:
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

    def _take(self, data: bytes) -> None:
        """Parse a part of the request; answer when it is whole."""
        websocket = self._websocket
        if websocket is None:
            bytes_max = self._openings.bounds.message_bytes_max
            websocket = self._websocket = ServerProtocol(max_size=bytes_max, logger=_silent)
        websocket.receive_data(data)
        events = websocket.events_received()
        if websocket.handshake_exc is not None:
            self._turn_away(websocket, "not a WebSocket request")
        elif events:
            self._answer(websocket, events)

    def _answer(self, websocket: ServerProtocol, events: Sequence[Event]) -> None:
        request = events[0]
        assert isinstance(request, Request)
        is_early = len(events) > 1 or websocket.eof_sent or bool(websocket.reader.buffer)
        if is_early:  # frames, or a part of one, before our answer: RFC 6455 section 4.1 forbids them
            self.drop("not a WebSocket request")
            return
        is_known = request.path.partition("?")[0] in PATHS
        if is_known:
            response = websocket.accept(request)
        else:
            response = websocket.reject(HTTPStatus.NOT_FOUND, "The WebSocket is at / and at /ws.\n")
        websocket.send_response(response)
        if websocket.state is State.OPEN:
            self._open(websocket.data_to_send())
        else:
            self._turn_away(websocket, "not a WebSocket request" if is_known else "wrong path")

    def _open(self, answer: list[bytes]) -> None:
        self._is_settled = True
        self._forget()
        link = WebSocketLink(self._transport, self._frames(answer), self._remote, self._openings.bounds)
        handler = self._openings.accept(link)
        if handler is None:
            link.refuse()
        else:
            link.start(handler, ())

    def _frames(self, answer: list[bytes]) -> Protocol:
        """What follows the handshake, its answer first: the protocol that made it would keep the request for ever."""
        frames = Protocol(Side.SERVER, max_size=self._openings.bounds.message_bytes_max, logger=_silent)
        frames.writes += answer
        return frames

    def _turn_away(self, websocket: ServerProtocol, reason: str) -> None:
        """Answer in HTTP and half-close; the timer that runs ends it if the other end does not."""
        self._settle(reason)
        self._transport.write(b"".join(websocket.data_to_send()))
        self._transport.write_eof()

    def _settle(self, reason: str) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._openings.on_refused(self._remote, reason)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._openings.remove(self)


class ClientOpening(asyncio.Protocol):
    """One outgoing connection until it is a link or failed.

    Args:
        url: As dialled; for errors.
        uri: The same, parsed.
        accept: Called once with the open link.
        bounds: What the link may hold.

    Attributes:
        opened: The open link, or DialFailed.

    """

    def __init__(
        self, url: str, uri: WebSocketURI, accept: Callable[[Link], LinkHandler], bounds: LinkBounds
    ) -> None:
        self.opened: asyncio.Future[WebSocketLink] = asyncio.get_running_loop().create_future()
        self._url = url
        self._protocol = "wss" if uri.secure else "ws"
        self._accept = accept
        self._bounds = bounds
        self._websocket = ClientProtocol(uri, max_size=bounds.message_bytes_max, logger=_silent)
        self._transport: asyncio.Transport | None = None
        self._bytes_taken = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)
        self._websocket.send_request(self._websocket.connect())
        self._transport.write(b"".join(self._websocket.data_to_send()))

    @override
    def data_received(self, data: bytes) -> None:
        """Take a part of the answer, and what follows it in the same read."""
        if self.opened.done():
            return
        self._bytes_taken += len(data)
        self._websocket.receive_data(data)
        self._look()
        if not self.opened.done() and self._bytes_taken > HTTP_OPENING_BYTES_MAX:
            self._fail("not a WebSocket server (its answer is too long)")

    @override
    def eof_received(self) -> None:
        """End an answer whose length is not given otherwise."""
        if self._bytes_taken:  # otherwise it only closed, and connection_lost() says so
            self._websocket.receive_eof()
            self._look()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Fail unless it was answered before."""
        self._fail("closed the connection while it was being opened" + ("" if exc is None else f" ({exc})"))

    def give_up(self) -> None:
        """Undo the dial, a link that nobody will hear of included."""
        if not self.opened.cancel() and not self.opened.cancelled() and self.opened.exception() is None:
            self.opened.result().abort()
        elif self._transport is not None:
            self._transport.abort()

    def _look(self) -> None:
        """See what the library made of the answer so far."""
        if self.opened.done():
            return
        events = self._websocket.events_received()
        error = self._websocket.handshake_exc
        if isinstance(error, InvalidStatus):
            self._fail(explain_status(error.response.status_code))
        elif error is not None:
            self._fail("not a WebSocket server")
        elif events:
            self._open(events[1:])

    def _open(self, events: Sequence[Event]) -> None:
        assert self._transport is not None
        remote = endpoint_of(self._transport.get_extra_info("peername") or ("", 0), self._protocol)
        link = WebSocketLink(self._transport, self._websocket, remote, self._bounds)
        self.opened.set_result(link)
        link.start(self._accept(link), events)

    def _fail(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(DialFailed(f"{self._url}: {why}"))


def explain_status(code: int) -> str:
    """Say what an HTTP status in place of 101 means."""
    if code in PROXY_CANNOT_REACH_IT:
        return f"unreachable, the proxy in front of it answers HTTP {code}"
    return f"not a WebSocket server (HTTP {code})"

"""The opening handshake of a WebSocket connection, at both ends.

HTTP is the `websockets` library's. What a stranger may send and for how long is the business of openings.py. The dialling
end finishes in a WebSocketLink or in a DialFailed. Source: RFC 6455 section 4.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from yzdht.errors import DialFailed
from yzdht.limits import OPENING_BYTES_MAX
from yzdht.transport.forwarded import DIALLED, HEADER
from yzdht.transport.sockets import endpoint_of
from yzdht.transport.stream_link import override
from yzdht.transport.websocket_link import WebSocketLink


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from websockets.protocol import Event
    from websockets.uri import WebSocketURI

    from yzdht.ports import Link, LinkHandler
    from yzdht.transport.bounds import LinkBounds


PATHS: Final = frozenset({"/", "/ws"})
PROXY_CANNOT_REACH_IT: Final = frozenset({502, 503, 504})

_NO_REQUEST = "not a WebSocket request"

# At DEBUG the library logs the frames it carries, at INFO a line per connection: neither belongs into our logs.
_silent = logging.getLogger("yzdht.transport.websocket.library")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a request.

    Attributes:
        written: HTTP to answer with; empty where that is no use.
        frames: What follows the handshake, its answer queued first; None for a refusal.
        refusal: Why; empty if there is none.

    """

    written: bytes = b""
    frames: Protocol | None = None
    refusal: str = ""


class ServerHandshake:
    """One request, part by part, until it is answered.

    Args:
        message_bytes_max: Largest message that the link will take.
        may_come: Told what the request says in X-Forwarded-For and in Yz-Dialled; where it says no, HTTP says 429.

    """

    def __init__(self, message_bytes_max: int, may_come: Callable[[Sequence[str], str], bool]) -> None:
        self._message_bytes_max = message_bytes_max
        self._may_come = may_come
        self._websocket = ServerProtocol(max_size=message_bytes_max, logger=_silent)

    def take(self, data: bytes) -> Answer | None:
        """Take a part; the answer once the request is whole."""
        websocket = self._websocket
        websocket.receive_data(data)
        events = websocket.events_received()
        if websocket.handshake_exc is not None:
            return self._refuse(_NO_REQUEST)
        return self._answer(events) if events else None

    def _answer(self, events: Sequence[Event]) -> Answer:
        websocket, request = self._websocket, events[0]
        assert isinstance(request, Request)
        is_early = len(events) > 1 or websocket.eof_sent or bool(websocket.reader.buffer)
        if is_early:  # frames, or a part of one, before our answer: RFC 6455 section 4.1 forbids them
            return Answer(refusal=_NO_REQUEST)
        is_known = request.path.partition("?")[0] in PATHS
        if not self._may_come(request.headers.get_all(HEADER), ",".join(request.headers.get_all(DIALLED))):
            response = websocket.reject(
                HTTPStatus.TOO_MANY_REQUESTS, "Too many connections from your network.\n"
            )
        elif is_known:
            response = websocket.accept(request)
        else:
            response = websocket.reject(HTTPStatus.NOT_FOUND, "The WebSocket is at / and at /ws.\n")
        websocket.send_response(response)
        if websocket.state is State.OPEN:
            return Answer(frames=self._frames())
        return self._refuse(_NO_REQUEST if is_known else "wrong path")

    def _frames(self) -> Protocol:
        """What follows the handshake: the protocol that made it would keep the request for ever."""
        frames = Protocol(Side.SERVER, max_size=self._message_bytes_max, logger=_silent)
        frames.writes += self._websocket.data_to_send()
        return frames

    def _refuse(self, why: str) -> Answer:
        return Answer(b"".join(self._websocket.data_to_send()), refusal=why)


class ClientOpening(asyncio.Protocol):
    """One outgoing connection until it is a link or failed.

    Args:
        url: As dialled; for errors.
        uri: The same, parsed.
        accept: Called once with the open link.
        bounds: What the link may hold.
        claim: Asked before there is a link, once; False where another address of the host was faster.

    Attributes:
        url: As dialled.
        opened: The open link, or DialFailed.

    """

    def __init__(
        self,
        url: str,
        uri: WebSocketURI,
        accept: Callable[[Link], LinkHandler],
        bounds: LinkBounds,
        claim: Callable[[], bool] = lambda: True,
    ) -> None:
        self.opened: asyncio.Future[WebSocketLink] = asyncio.get_running_loop().create_future()
        self.url = url
        self._claim = claim
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
        request = self._websocket.connect()
        request.headers[DIALLED] = request.headers["Host"]
        self._websocket.send_request(request)
        self._transport.write(b"".join(self._websocket.data_to_send()))

    @override
    def data_received(self, data: bytes) -> None:
        """Take a part of the answer, and what follows it in the same read."""
        if self.opened.done():
            return
        self._bytes_taken += len(data)
        self._websocket.receive_data(data)
        self._look()
        if not self.opened.done() and self._bytes_taken > OPENING_BYTES_MAX:
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

    def fail(self, failure: DialFailed) -> None:
        """There will be no link; a no-op once there is one, or another reason."""
        if not self.opened.done():
            self.opened.set_exception(failure)

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
        if not self._claim():
            self._fail("another of its addresses was faster")
            return
        remote = endpoint_of(self._transport.get_extra_info("peername") or ("", 0), self._protocol)
        link = WebSocketLink(self._transport, self._websocket, remote, self._bounds)
        self.opened.set_result(link)
        link.start(self._accept(link), events)

    def _fail(self, why: str) -> None:
        self.fail(DialFailed(f"{self.url}: {why}"))


def explain_status(code: int) -> str:
    """Say what an HTTP status in place of 101 means."""
    if code in PROXY_CANNOT_REACH_IT:
        return f"unreachable, the proxy in front of it answers HTTP {code}"
    return f"not a WebSocket server (HTTP {code})"

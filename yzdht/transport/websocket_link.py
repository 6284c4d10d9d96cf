"""One open WebSocket connection as a Link.

The framing is the `websockets` library's sans-I/O protocol, which the opening handshake (websocket_opening.py) hands
over; here its events become messages. What all links do alike is stream_link.py's.

Refused: text messages (1003), messages above the bound, whole or in fragments (1009), and whatever the library refuses
(1002). Cut off: who sends many pings, which the library answers by itself, or a message in very many fragments; these are
work, and what answers them is held here, before the owner of the link hears of anything. Source: RFC 6455; PROTOCOL.md
section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from yzdht.limits import (
    WEBSOCKET_FRAGMENTS_MAX,
    WEBSOCKET_PARSE_BYTES,
    WEBSOCKET_PING_EVERY_S,
    WEBSOCKET_PINGS_AT_ONCE,
)
from yzdht.transport.stream_link import StreamLink, override


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from websockets.protocol import Event, Protocol

    from yzdht.ports import Endpoint, LinkHandler
    from yzdht.transport.bounds import LinkBounds


# Bound once: read for every frame, and an attribute of an enum costs as much as the comparison.
BINARY = Opcode.BINARY
CONT = Opcode.CONT
TEXT = Opcode.TEXT
CLOSE = Opcode.CLOSE
OPEN = State.OPEN


class WebSocketLink(StreamLink):
    """One end of an open WebSocket connection; implements `yzdht.ports.Link`.

    To the reasons of a StreamLink it adds "protocol error", "text message", "too many pings" and "too many fragments".

    Args:
        transport: The connected socket, whose protocol this link becomes, or TLS on it.
        websocket: The library's protocol, opening handshake done.
        remote: The other end.
        bounds: What the link may hold and for how long.

    """

    __slots__ = ("_fragments", "_partial", "_pings_paid_at", "_websocket")

    def __init__(
        self, transport: asyncio.Transport, websocket: Protocol, remote: Endpoint, bounds: LinkBounds
    ) -> None:
        self._websocket = websocket
        self._partial: bytearray | None = None
        self._fragments = 0
        self._pings_paid_at = 0.0  # when all pings so far have had their time
        super().__init__(transport, remote, bounds)

    def start(self, handler: LinkHandler, events: Sequence[Event]) -> None:
        """Begin: the owner is known, and these events followed the opening handshake in the same read."""
        self._handler = handler
        self._handle(events)

    def send(self, message: bytes) -> None:
        """Queue one binary message; a no-op on a link that is closing."""
        if self._is_open:
            self._websocket.send_binary(message)
            self._queue(len(message))

    # What the socket says

    @override
    def data_received(self, data: bytes) -> None:
        """Take what one read held."""
        self.bytes_in += len(data)
        if len(data) > WEBSOCKET_PARSE_BYTES:
            self._receive_much(data)
            return
        self._websocket.receive_data(data)
        self._handle(self._websocket.events_received())

    def _receive_much(self, data: bytes) -> None:
        for start in range(0, len(data), WEBSOCKET_PARSE_BYTES):
            self._websocket.receive_data(data[start : start + WEBSOCKET_PARSE_BYTES])
            self._handle(self._websocket.events_received())
            if self._is_aborted:
                return

    @override
    def eof_received(self) -> None:
        """The peer sends no more; the socket closes by itself when this returns."""
        self._websocket.receive_eof()
        self._handle(())

    # Messages in

    def _handle(self, events: Sequence[Event]) -> None:
        """Deliver what one read held, then write what that caused."""
        if self._is_open and self._websocket.state is not OPEN:
            self._reason = self._reason_of_end()
            self._begin_closing()
        self._is_busy = True
        try:
            self._take(cast("Sequence[Frame]", events))  # requests and responses come only while opening
        finally:
            self._is_busy = False
        self._flush()

    def _take(self, frames: Sequence[Frame]) -> None:
        if self._is_deaf:
            self._count_unheard(len(frames))
        for frame in frames:
            opcode = frame.opcode
            if opcode is BINARY and frame.fin:
                self._deliver(_taken(frame))
            elif opcode is TEXT:
                self._refuse_text()
                return
            elif opcode is BINARY or opcode is CONT:
                self._join(frame)
            elif opcode is not CLOSE:
                self._count_ping()

    def _count_ping(self) -> None:
        """Cut off who pings too often; a pong that nobody asked for counts too. While closing they are answered as well."""
        now = self._loop.time()
        self._pings_paid_at = max(self._pings_paid_at, now) + WEBSOCKET_PING_EVERY_S
        if self._pings_paid_at > now + WEBSOCKET_PINGS_AT_ONCE * WEBSOCKET_PING_EVERY_S:
            self._abort("too many pings")

    def _join(self, frame: Frame) -> None:
        """Add one fragment. The library bounds their sum; one bytearray bounds what many empty ones cost."""
        if self._is_deaf:
            return
        if self._partial is None:
            self._partial, self._fragments = bytearray(), 0
        self._partial += _taken(frame)
        self._fragments += 1
        if frame.fin:
            message, self._partial = self._partial, None
            self._deliver(message)
        elif self._fragments >= WEBSOCKET_FRAGMENTS_MAX:
            self._abort("too many fragments")

    # What the framing says

    @property
    @override
    def _partial_bytes(self) -> int:
        return 0 if self._partial is None else len(self._partial)

    @property
    @override
    def _is_all_said(self) -> bool:
        return self._websocket.eof_sent

    @override
    def _take_out(self) -> Sequence[bytes]:
        return self._websocket.data_to_send()

    @override
    def _say_goodbye(self) -> None:
        self._websocket.send_close(CloseCode.NORMAL_CLOSURE)

    # The end

    def _reason_of_end(self) -> str:
        """Why the library left the open state: its parser refused something, or the peer closed."""
        error = self._websocket.parser_exc
        if error is None or isinstance(error, EOFError):
            return "closed by peer"
        return "message too large" if isinstance(error, PayloadTooBig) else "protocol error"

    def _refuse_text(self) -> None:
        if self._is_deaf:
            return
        if self._websocket.state is OPEN:
            self._websocket.fail(CloseCode.UNSUPPORTED_DATA)
        self._reason = "text message"
        if self._is_open:
            self._begin_closing()


def _taken(frame: Frame) -> bytes | bytearray | memoryview:
    """What a frame carried; it carries nothing after that: the library's parser keeps it until the next one comes."""
    data, frame.data = frame.data, b""
    return data

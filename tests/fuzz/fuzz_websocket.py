"""The opening of a WebSocket and the frames behind it, at both ends, in pieces of any size (RFC 6455)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri
from websockets.utils import accept_key

from tests.fuzz.engine import Pieces, joined, run
from yzdht.limits import OPENING_BYTES_MAX
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.first_bytes import Kind
from yzdht.transport.openings import Openings, ServerOpening
from yzdht.transport.websocket_opening import ClientOpening


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.transport.websocket_opening.ServerHandshake.take",
    "yzdht.transport.websocket_opening.ClientOpening.data_received",
    "yzdht.transport.websocket_link.WebSocketLink.data_received",
)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_key(KEY)}\r\n\r\n"
).encode()
BOUNDS = LinkBounds()
LOOP = asyncio.new_event_loop()


class Wire(asyncio.Transport):
    """The operating system's end: takes what is written, and says that it was lost once it is closed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.protocol: asyncio.BaseProtocol | None = None
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Nobody reads it."""

    def write_eof(self) -> None:
        """Nobody reads it."""

    def can_write_eof(self) -> bool:
        return True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Bytes come all the same: some were on their way."""

    def resume_reading(self) -> None:
        """As above."""

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.is_closed = True


class Owner:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def on_message(self, message: bytes) -> None:
        assert len(message) <= BOUNDS.message_bytes_max
        assert not self.reasons

    def on_closed(self, reason: str) -> None:
        self.reasons.append(reason)

    def on_writable(self) -> None:
        """Nothing is sent."""


def seeds() -> Iterator[bytes]:
    hello = Frame(Opcode.BINARY, b"hello").serialize(mask=True)
    rest = Frame(Opcode.PING, b"p").serialize(mask=True) + Frame(Opcode.CLOSE, b"\x03\xe8").serialize(
        mask=True
    )
    yield b"\0" + joined(REQUEST, hello, rest)
    yield b"\0" + joined(REQUEST[:60], REQUEST[60:], Frame(Opcode.TEXT, b"t").serialize(mask=True))
    yield b"\0" + joined(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
    parts = [Frame(Opcode.BINARY, b"he", fin=False), Frame(Opcode.CONT, b"llo")]
    yield b"\1" + joined(ANSWER, *(part.serialize(mask=False) for part in parts))
    yield b"\1" + joined(ANSWER + Frame(Opcode.BINARY, b"x" * 200).serialize(mask=False))
    yield b"\1" + joined(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


def one(data: bytes) -> None:
    LOOP.run_until_complete(_one(data))


async def _one(data: bytes) -> None:
    pieces = Pieces(data)
    is_client = pieces.byte() & 1
    owner, wire, refused = Owner(), Wire(), []
    opening: ServerOpening | ClientOpening
    if is_client:
        opening = ClientOpening(
            "ws://node", parse_uri("ws://node/ws"), lambda _link: cast("Any", owner), BOUNDS
        )
        opening._websocket.key = KEY
    else:
        openings = Openings(
            lambda _link: cast("Any", owner),
            lambda _end, why: refused.append(why),
            60.0,
            BOUNDS,
            kinds=frozenset({Kind.HTTP}),
        )
        opening = ServerOpening(openings)
    wire.protocol = opening
    opening.connection_made(wire)
    while not pieces.is_empty and not wire.is_closed:
        protocol = cast("asyncio.Protocol", wire.protocol)
        protocol.data_received(pieces.short())
        if isinstance(protocol, ServerOpening) and protocol in protocol._openings.turns:
            await asyncio.sleep(0)
    protocol = cast("asyncio.Protocol", wire.protocol)
    if not wire.is_closed:
        protocol.eof_received()
    protocol.connection_lost(None)
    if isinstance(opening, ClientOpening):
        assert opening.opened.done()
        opening.opened.exception()
    else:
        assert not opening._openings.pending
        assert len(refused) <= 1
        assert opening._bytes_taken <= OPENING_BYTES_MAX + len(data)
    assert len(owner.reasons) <= 1


if __name__ == "__main__":
    run(one, seeds())

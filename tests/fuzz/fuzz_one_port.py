"""The first bytes on a port, and what follows them: raw messages, a request, a TLS handshake; in pieces of any size."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, cast

from tests.fuzz.engine import Pieces, joined, run
from tests.fuzz.fuzz_websocket import BOUNDS, LOOP, REQUEST, Owner, Wire
from yzdht.errors import DialFailed
from yzdht.limits import OPENING_BYTES_MAX
from yzdht.transport.openings import Openings, ServerOpening
from yzdht.transport.tcp import parse_address


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.transport.first_bytes.kind_of",
    "yzdht.transport.openings.ServerOpening.data_received",
    "yzdht.transport.tcp.parse_address",
    "yzdht.transport.tcp_link.TcpLink.data_received",
    "yzdht.transport.tls_channel.TlsChannel.feed",
)
HELLO = b"\x00\x27\x01" + bytes(38)
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
"""Without a certificate: a handshake that is in order fails late."""


def seeds() -> Iterator[bytes]:
    yield b"\0" + joined(HELLO, b"\x00\x05hello\x00\x00")
    yield b"\0" + joined(HELLO[:1], HELLO[1:2], HELLO[2:], b"\xff\xff")
    yield b"\0" + joined(REQUEST[:1], REQUEST[1:])
    yield b"\0" + joined(_client_hello())
    yield b"\0" + joined(b"\x16\x03\x01\x00\x05hello")
    yield b"\1" + b"tcp://[2001:db8::1]:8083"
    yield b"\1" + b"tcp://node.example:8083/"


def _client_hello() -> bytes:
    said = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    dialling = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="node.example")
    try:
        dialling.do_handshake()
    except ssl.SSLWantReadError:
        return said.read()
    raise AssertionError("nobody answered it")


def one(data: bytes) -> None:
    if data[:1] == b"\1":
        _parse(data[1:].decode(errors="replace"))
    else:
        LOOP.run_until_complete(_open(Pieces(data[1:])))


def _parse(text: str) -> None:
    try:
        host, port = parse_address(text)
    except DialFailed:
        return
    assert host
    assert 0 < port < 65_536


async def _open(pieces: Pieces) -> None:
    owner, wire, refused, taken = Owner(), Wire(), [], 0
    openings = Openings(
        lambda _link: cast("Any", owner),
        lambda _end, why: refused.append(why),
        60.0,
        BOUNDS,
        tls=lambda: TLS,
    )
    opening = ServerOpening(openings)
    wire.protocol = opening
    opening.connection_made(wire)
    while not pieces.is_empty and not wire.is_closed:
        protocol, piece = cast("asyncio.Protocol", wire.protocol), pieces.short()
        taken += len(piece)
        protocol.data_received(piece)
        if isinstance(protocol, ServerOpening) and protocol in openings.turns:
            await asyncio.sleep(0)
    protocol = cast("asyncio.Protocol", wire.protocol)
    if not wire.is_closed:
        protocol.eof_received()
    protocol.connection_lost(None)
    assert not openings.pending
    assert len(refused) + len(owner.reasons) <= 1
    assert opening._bytes_taken <= OPENING_BYTES_MAX + taken


if __name__ == "__main__":
    run(one, seeds())

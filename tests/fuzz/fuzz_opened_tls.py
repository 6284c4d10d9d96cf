"""What comes on TLS that is open: whatever a peer seals into it, in records of any size, cut anywhere, or changed on the way.

Keys and nonces are OpenSSL's own: a find is shown again by its input, though no byte on the wire is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tests.fuzz.engine import Pieces, joined, run
from tests.fuzz.fuzz_websocket import BOUNDS, LOOP, REQUEST, Owner, Wire
from tests.transport.authority import Authority
from yzdht.limits import OPENING_BYTES_MAX
from yzdht.transport.openings import Openings, ServerOpening


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.transport.tls_channel.TlsChannel.data_received",
    "yzdht.transport.tls_channel.TlsChannel.feed",
    "yzdht.transport.openings.ServerOpening.data_received",
)


class Step(IntEnum):
    """What the peer does next."""

    SEALED = 0
    CHANGED = 1
    RAW = 2
    GOODBYE = 3


HELLO = b"\x00\x27\x01" + bytes(38)
with tempfile.TemporaryDirectory() as _folder:
    _authority = Authority(Path(_folder))
    SERVED, TRUST = _authority.served(), _authority.trust


def seeds() -> Iterator[bytes]:
    yield _said((Step.SEALED, HELLO), (Step.SEALED, b"\x00\x05hello\x00\x00"))
    yield _said((Step.SEALED, HELLO[:1]), (Step.SEALED, HELLO[1:] + b"\xff\xff"))
    yield _said((Step.SEALED, REQUEST), (Step.SEALED, b"\x82\x85\0\0\0\0hello"), (Step.GOODBYE, b""))
    yield _said((Step.SEALED, HELLO), (Step.CHANGED, b"\x00\x05hello"), (Step.SEALED, b"more"))
    yield _said((Step.RAW, b"\x17\x03\x03\x00\x20" + bytes(32)))
    yield _said((Step.SEALED, HELLO), (Step.RAW, b"\x15\x03\x03\x00\x02\x01\x00"))
    yield _said((Step.SEALED, b""), (Step.RAW, b"\x16\x03\x03"), (Step.GOODBYE, b""), (Step.RAW, b"rest"))
    yield _said((Step.SEALED, HELLO + b"\x3e\x80" + bytes(3_000)), (Step.SEALED, bytes(1_000)))


def _said(*steps: tuple[Step, bytes]) -> bytes:
    """Each step: what to do with what follows, and into how many pieces what comes of it is cut."""
    return b"".join(bytes((kind, 1)) + joined(said) for kind, said in steps)


def one(data: bytes) -> None:
    LOOP.run_until_complete(_one(Pieces(data)))


class _Writing(Wire):
    """Keeps what this end answers until the handshake is done."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data


class _Peer:
    """The other end, an honest OpenSSL to which it is said what to seal."""

    def __init__(self) -> None:
        self._heard, self._said = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = TRUST.wrap_bio(self._heard, self._said, server_hostname="localhost")

    def shake(self, answer: bytes) -> bytes:
        self._heard.write(answer)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._said.read()

    def seal(self, plain: bytes) -> bytes:
        if plain:
            self._tls.write(plain)
        return self._said.read()

    def part(self) -> bytes:
        with contextlib.suppress(ssl.SSLError):  # it also wants the answer
            self._tls.unwrap()
        return self._said.read()


async def _one(pieces: Pieces) -> None:
    owner, wire, refused, peer = Owner(), _Writing(), [], _Peer()
    openings = Openings(
        lambda _link: cast("Any", owner), lambda _end, why: refused.append(why), 60.0, BOUNDS, tls=lambda: SERVED
    )  # fmt: skip
    opening = ServerOpening(openings)
    wire.protocol = opening
    opening.connection_made(wire)
    opening.data_received(peer.shake(b""))
    opening.data_received(peer.shake(bytes(wire.written)))
    assert not openings.tls_places, "the handshake is done"
    await _hear(pieces, peer, wire, openings)
    protocol = cast("asyncio.Protocol", wire.protocol)
    if not wire.is_closed:
        protocol.eof_received()
    protocol.connection_lost(None)
    assert not openings.pending
    assert len(refused) + len(owner.reasons) <= 1
    assert opening._bytes_taken <= 2 * OPENING_BYTES_MAX


def _sent(peer: _Peer, step: Step, bit: int, said: bytes) -> bytes:
    match step:
        case Step.SEALED:
            return peer.seal(said)
        case Step.CHANGED:
            sealed = bytearray(peer.seal(said))
            if sealed:
                sealed[len(said) % len(sealed)] ^= 1 << bit - 1
            return bytes(sealed)
        case Step.GOODBYE:
            return peer.part()
        case Step.RAW:
            return said


async def _hear(pieces: Pieces, peer: _Peer, wire: _Writing, openings: Openings) -> None:
    is_over = False
    while not pieces.is_empty and not wire.is_closed:
        step, parts, said = Step(pieces.byte() % 4), 1 + pieces.byte() % 8, pieces.short()
        if is_over and step is not Step.RAW:
            continue  # a peer that said goodbye seals nothing more
        is_over = is_over or step is Step.GOODBYE
        sent = _sent(peer, step, parts, said)
        size = max(1, -(-len(sent) // parts))
        for at in range(0, len(sent), size):
            if wire.is_closing():
                return
            protocol = cast("asyncio.Protocol", wire.protocol)
            protocol.data_received(sent[at : at + size])
            if isinstance(protocol, ServerOpening) and protocol in openings.turns:
                await asyncio.sleep(0)


if __name__ == "__main__":
    run(one, seeds())

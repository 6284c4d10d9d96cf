"""A session's messages: sealed records of any content, and what is no sealed record at all (PROTOCOL.md sections 4, 5)."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from os import urandom
from typing import TYPE_CHECKING

from tests.fuzz.engine import Pieces, joined, run
from tests.rpc.pair import at
from tests.vectors.golden import KEY_A, KEY_B, NETWORK
from yzdht.crypto.handshake import Credentials, Initiator, Responder
from yzdht.crypto.session import RecordLayer
from yzdht.crypto.signing import KeySigner
from yzdht.errors import CryptoError, WireError
from yzdht.ids import Target
from yzdht.rpc.session import Session, State
from yzdht.wire.frame import Caps, RecordType, encode_inner
from yzdht.wire.rpc import FindNode, Method, encode_body, encode_request, encode_response


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.crypto.handshake import Established


DECODERS = ("yzdht.crypto.session.RecordLayer.open",)


def seeds() -> Iterator[bytes]:
    ready = encode_inner(RecordType.READY, b"")
    body = encode_body(FindNode(Target(bytes(32)), 20))
    request = encode_inner(RecordType.REQUEST, encode_request(7, Method.FIND_NODE, body), pad=3)
    pieces = [
        encode_inner(RecordType.REQUEST, request[:20], more=True),
        encode_inner(RecordType.REQUEST, request[20:]),
    ]
    answer = encode_inner(RecordType.RESPONSE, encode_response(1, 0, b"\x90"))
    update = encode_inner(RecordType.KEY_UPDATE, b"")
    yield b"\0" + joined(request, encode_inner(RecordType.PING, b"abc"))
    yield b"\1" + joined(ready, answer, update)
    yield b"\0" + joined(*pieces, encode_inner(RecordType.PONG, b""), encode_inner(RecordType.CLOSE, b""))
    yield b"\2" + joined(bytes(40), request)
    yield b"\0" + joined(encode_inner(RecordType.ALERT, b"\0\1"))


def _established() -> Established:
    caps = Caps.ALWAYS | Caps.ROUTING
    dials = Initiator(Credentials(KeySigner(KEY_A), NETWORK, caps))
    dialled = Responder(Credentials(KeySigner(KEY_B), NETWORK, caps))
    proof = dials.receive_welcome(dialled.receive_hello(dials.hello()))
    return dialled.receive_proof(proof)


DIALLED = _established()


def one(data: bytes) -> None:
    pieces = Pieces(data)
    mode = pieces.byte() % 3
    session = Session(Responder(Credentials(KeySigner(KEY_B), NETWORK, Caps.ALWAYS)), at(0))
    ours, theirs = urandom(32), urandom(32)  # of this input alone: counters begin at 0 with each
    session._open(replace(DIALLED, secret_out=ours, secret_in=theirs), at(0))
    session.state = State.AWAITING_READY if mode == 1 else State.OPEN
    far = RecordLayer(theirs, ours, 0.0)
    near = RecordLayer(ours, theirs, 0.0)
    for call in range(1, 4):
        session.call(call, Method.FIND_NODE, FindNode(Target(bytes(32)), 20), 5.0, at(0))
    while not pieces.is_empty:
        piece = pieces.short()
        message = piece if mode == 2 else far._seal(piece)
        session.receive(message, at(1))  # it raises nothing, whatever comes
        with contextlib.suppress(WireError, CryptoError):
            near.open(message)
        session.take_outgoing()
        session.take_events()
        session.handle_timer(at(2))


if __name__ == "__main__":
    run(one, seeds())

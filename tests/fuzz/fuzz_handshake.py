"""Handshake messages (PROTOCOL.md section 3): the first byte says to whom, and whether the claim inside is sealed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEM_1, KEM_2, KEY_A, KEY_B, NETWORK
from yzdht.crypto.handshake import (
    Credentials,
    Initiator,
    Responder,
    _decode_claim,
    _decode_hello,
    _split_proof,
    _split_welcome,
)
from yzdht.crypto.primitives import Aead
from yzdht.crypto.signing import KeySigner
from yzdht.errors import CryptoError, HandshakeFailed, WireError
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


DECODERS = (
    "yzdht.crypto.handshake._decode_hello",
    "yzdht.crypto.handshake._split_welcome",
    "yzdht.crypto.handshake._split_proof",
    "yzdht.crypto.handshake._decode_claim",
)
A = Credentials(KeySigner(KEY_A, deterministic=True), NETWORK, Caps.ALWAYS)
B = Credentials(KeySigner(KEY_B, deterministic=True), NETWORK, Caps.ALWAYS)
HELLO = Initiator(A, ephemeral=KEM_1).hello()


def initiator() -> Initiator:
    hand = Initiator(A, ephemeral=KEM_1)
    hand.hello()
    return hand


def responder() -> Responder:
    return Responder(B, ephemeral=KEM_2)


def seeds() -> Iterator[bytes]:
    dialled, dials = responder(), initiator()
    welcome = dialled.receive_hello(HELLO)
    proof = dials.receive_welcome(welcome)
    for number, message in enumerate((HELLO, welcome, proof)):
        yield bytes((number,)) + message
    pending = responder()
    pending.receive_hello(HELLO)
    assert pending._pending is not None
    yield b"\x03" + Aead(pending._pending.proof).open(bytes(12), proof[1:], pending._pending.th3)
    yield b"\x04" + HELLO[:-2] + b"\x00\x07\x01\x00\x04abcd"


def one(data: bytes) -> None:
    if not data:
        return
    message = data[1:]
    match data[0] % 5:
        case 0:
            _refused(responder().receive_hello, message)
        case 1:
            _refused(initiator().receive_welcome, message)
        case 2 | 3 as which:
            pending = responder()
            pending.receive_hello(HELLO)
            keys = pending._pending
            assert keys is not None
            if which == 3:  # a claim that is sealed as it should be
                message = b"\x03" + Aead(keys.proof).seal(bytes(12), message, keys.th3)
            _refused(pending.receive_proof, message)
        case _:
            for split in (_decode_hello, _split_welcome, _split_proof, _decode_claim):
                try:
                    split(message)
                except (WireError, CryptoError):
                    continue


def _refused(receive: Callable[[bytes], object], message: bytes) -> None:
    """Whatever comes, only HandshakeFailed leaves, and after it nothing else is taken."""
    try:
        receive(message)
    except HandshakeFailed:
        try:
            receive(message)
        except HandshakeFailed:
            return
        raise AssertionError("a handshake went on after a refusal") from None


if __name__ == "__main__":
    run(one, seeds())

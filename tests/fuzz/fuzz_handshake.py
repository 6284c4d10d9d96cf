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
from yzdht.crypto.primitives import Aead, PrivateKey, hmac_sha256, sha256
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
CLAIM = KEY_A.public_key + Caps.ALWAYS.to_bytes(4)
HELLO = Initiator(A, ephemeral=KEM_1).hello()


def initiator() -> Initiator:
    hand = Initiator(A, ephemeral=KEM_1)
    hand.hello()
    return hand


def responder(ephemeral: PrivateKey = KEM_2) -> Responder:
    return Responder(B, ephemeral)


def claimed(claim: bytes) -> tuple[Responder, bytes]:
    """A responder that awaits Proof, and one that A signs and seals around any claim.

    The keys of the run follow from the claim: they seal nothing else, and a find is found again.
    """
    other = responder(PrivateKey.from_scalar(sha256(claim)))
    other.receive_hello(HELLO)
    keys = other._pending
    assert keys is not None
    th4 = sha256(keys.th3 + claim)
    signature = A.signer.sign("yz1 hs init", NETWORK, th4 + hmac_sha256(keys.mac_initiator, th4))
    return other, b"\x03" + Aead(keys.proof).seal(bytes(12), claim + signature, keys.th3)


def seeds() -> Iterator[bytes]:
    dialled, dials = responder(), initiator()
    welcome = dialled.receive_hello(HELLO)
    proof = dials.receive_welcome(welcome)
    for number, message in enumerate((HELLO, welcome, proof)):
        yield bytes((number,)) + message
    yield b"\x03" + CLAIM + b"\x00\x00"
    yield b"\x03" + CLAIM + b"\x00\x07\x20\x00\x04abcd"
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
        case 2:
            pending = responder()
            pending.receive_hello(HELLO)
            _refused(pending.receive_proof, message)
        case 3:
            pending, proof = claimed(message)
            _refused(pending.receive_proof, proof)
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

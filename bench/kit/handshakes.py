"""Handshakes side by side, both ends in one thread and without a socket: ours, mutual TLS 1.3 and Noise XX.

Counted is what each end computes from nothing until it can send and receive, record keys included. Ends meet for the first
time: nothing is resumed, and no key of the other end is known or loaded before. Certificates are P-256, one step below an
authority that both ends have loaded; tickets are off, which would be made and sent after the handshake. Noise proves
possession of static keys and no more: whose they are would be another signature.
"""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection

from bench.kit.road_traffic import credentials
from yzdht.crypto.handshake import Initiator, Responder
from yzdht.crypto.session import RecordLayer
from yzdht.wire.frame import RecordType


if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.kit.roads import Papers
    from yzdht.crypto.handshake import Established


_NOISE = b"Noise_XX_25519_AESGCM_SHA256"
_NAME = "localhost"


class Shaken(NamedTuple):
    """One handshake.

    Attributes:
        initiator_us: CPU of the end that dials.
        responder_us: CPU of the other.
        bytes_there: What the end that dials sent.
        bytes_back: What the other did.

    """

    initiator_us: float
    responder_us: float
    bytes_there: int
    bytes_back: int

    @property
    def both_us(self) -> float:
        """CPU of both ends."""
        return self.initiator_us + self.responder_us


class _Watch:
    """CPU of one thread, told apart by whose work it is."""

    def __init__(self) -> None:
        self.spent_us = [0.0, 0.0]

    def of(self, end: int, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
        began = time.thread_time()
        result = work()
        self.spent_us[end] += (time.thread_time() - began) * 1e6
        return result


_I, _R = 0, 1


def ours() -> Shaken:
    """PROTOCOL.md section 3, Ready included."""
    near, far = credentials(), credentials()
    watch = _Watch()
    initiator = watch.of(_I, lambda: Initiator(near))
    responder = watch.of(_R, lambda: Responder(far))
    hello = watch.of(_I, initiator.hello)
    welcome = watch.of(_R, lambda: responder.receive_hello(hello))
    proof = watch.of(_I, lambda: initiator.receive_welcome(welcome))
    layer = watch.of(_I, lambda: _records(initiator.established))
    ready = watch.of(_R, lambda: _records(responder.receive_proof(proof)).seal(RecordType.READY, b""))
    watch.of(_I, lambda: layer.open(ready))
    return Shaken(*watch.spent_us, len(hello) + len(proof), len(welcome) + len(ready))


def _records(established: Established) -> RecordLayer:
    return RecordLayer(established.secret_out, established.secret_in, 0.0)


class MutualTls:
    """TLS 1.3 of OpenSSL with certificates at both ends.

    Args:
        papers: Of both ends.
        curve: Of the key exchange; None for OpenSSL's own choice, X25519.

    """

    def __init__(self, papers: Papers, curve: str | None = None) -> None:
        self._near = ssl.create_default_context(cafile=papers.authority)
        self._near.load_cert_chain(papers.certificate, papers.key)
        self._far = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=papers.authority)
        self._far.load_cert_chain(papers.certificate, papers.key)
        self._far.verify_mode = ssl.CERT_REQUIRED
        self._far.num_tickets = 0
        for context in (self._near, self._far):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            if curve is not None:
                context.set_ecdh_curve(curve)

    def __call__(self) -> Shaken:
        watch = _Watch()
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        near = watch.of(_I, lambda: self._near.wrap_bio(back, there, server_hostname=_NAME))
        far = watch.of(_R, lambda: self._far.wrap_bio(there, back, server_side=True))
        sent = [0, 0]
        for end, session, out in ((_I, near, there), (_R, far, back), (_I, near, there), (_R, far, back)):
            before = out.pending
            watch.of(end, lambda session=session: _step(session))  # type: ignore[misc] # called at once
            sent[end] += out.pending - before
        assert near.version() == far.version() == "TLSv1.3"
        assert far.getpeercert() is not None
        return Shaken(*watch.spent_us, *sent)


def _step(session: ssl.SSLObject) -> None:
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()


def noise() -> Shaken:
    """Noise XX as the package `noiseprotocol` does it."""
    statics = [X25519PrivateKey.generate().private_bytes_raw() for _ in (_I, _R)]
    watch = _Watch()
    near = watch.of(_I, lambda: _noise_end(statics[_I], is_initiator=True))
    far = watch.of(_R, lambda: _noise_end(statics[_R], is_initiator=False))
    sent = [0, 0]
    for end, writer, reader in ((_I, near, far), (_R, far, near), (_I, near, far)):
        message = watch.of(end, lambda writer=writer: bytes(writer.write_message()))  # type: ignore[misc] # called at once
        sent[end] += len(message)
        watch.of(1 - end, lambda reader=reader, message=message: reader.read_message(message))  # type: ignore[misc] # as above
    assert near.handshake_finished
    assert far.handshake_finished
    return Shaken(*watch.spent_us, *sent)


def _noise_end(static: bytes, *, is_initiator: bool) -> Any:  # noqa: ANN401 - an untyped package
    end = NoiseConnection.from_name(_NOISE)
    if is_initiator:
        end.set_as_initiator()
    else:
        end.set_as_responder()
    end.set_keypair_from_private_bytes(Keypair.STATIC, static)
    end.start_handshake()
    return end

"""The session handshake, SIGMA-I with the MAC under the signature, sans-I/O (PROTOCOL.md section 3).

Owns Hello, Welcome and Proof on all roads but UDP. One machine serves one attempt: the first refusal ends it, its keys
are dropped, and nothing about the cause goes further than one plain sentence. Timeouts, quotas and the Ready record
belong to the shell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from yzdht.crypto.naming import NETWORK_ID_BYTES, kdf, node_id_of
from yzdht.crypto.primitives import IV_BYTES, KEY_BYTES, Aead, PrivateKey, hmac_sha256, sha256
from yzdht.crypto.signing import verify_message
from yzdht.errors import CryptoError, HandshakeFailed, UsageError, WireError, WrongNodeId
from yzdht.ids import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, NodeId, PublicKey, SessionId
from yzdht.limits import HANDSHAKE_MESSAGE_BYTES_MAX, HELLO_BYTES_MAX, OFFERS_MAX
from yzdht.wire.codec import Reader, lp
from yzdht.wire.frame import CAPS_IN_USE, Caps
from yzdht.wire.token import TOKEN_BYTES


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from yzdht.ids import NetworkId
    from yzdht.ports import Signer


Offer = tuple[int, int]
"""Version and suite, one byte each; never mixed (sections 1 and 3)."""

KNOWN_OFFERS: tuple[Offer, ...] = ((0x01, 0x01),)

_HELLO = 0x01
_WELCOME = 0x02
_PROOF = 0x03
_NO_EXTENSIONS = b"\0\0"
_TOKEN = 0x20  # the type of the extension in which p2 and p3 show one
_IV = bytes(IV_BYTES)  # each handshake key seals exactly one message
_SESSION_ID_BYTES = 16

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one end brings to a handshake.

    Args:
        signer: Its identity key.
        network: NET, 8 bytes.
        caps: Capability bits; bit 0 set, bits 1 to 3 and 13 to 31 zero (section 3.7).
        psk: Key of a private network, 32 bytes, or None.
        binding: Empty, or 32 bytes that name the WebRTC channel.
        token: What it shows to whoever is at the other end, 176 bytes of section 12; None for nothing.

    Raises:
        UsageError: One of them is not as said.

    """

    signer: Signer
    network: NetworkId
    caps: int
    psk: bytes | None = field(default=None, repr=False)
    binding: bytes = b""
    token: bytes | None = None

    def __post_init__(self) -> None:
        if len(self.network) != NETWORK_ID_BYTES:
            raise UsageError("a network id has 8 bytes")
        if not self.caps & Caps.ALWAYS or self.caps & ~CAPS_IN_USE:
            raise UsageError("capability bit 0 is always set, bits 1 to 3 and 13 to 31 never")
        if self.psk is not None and len(self.psk) != KEY_BYTES:
            raise UsageError("a network key has 32 bytes")
        if len(self.binding) not in (0, KEY_BYTES):
            raise UsageError("a channel binding has 0 or 32 bytes")
        if self.token is not None and len(self.token) != TOKEN_BYTES:
            raise UsageError("a token has 176 bytes")


@dataclass(frozen=True, slots=True)
class Established:
    """What a completed handshake yields.

    Attributes:
        peer_key: Identity key of the other end, proved.
        peer_id: Its node id.
        peer_caps: Its capability bits; those that section 3.7 ignores are cleared.
        secret_out: 32 bytes for the record layer, sending.
        secret_in: 32 bytes for the record layer, receiving.
        session_id: First 16 bytes of `exporter`; the same at both ends.
        exporter: 32 bytes bound to this session, for keys of other purposes.
        shown: The token that the other end showed, at most 176 bytes, not looked at; None if it showed none.

    """

    peer_key: PublicKey
    peer_id: NodeId
    peer_caps: int
    secret_out: bytes = field(repr=False)
    secret_in: bytes = field(repr=False)
    session_id: SessionId
    exporter: bytes = field(repr=False)
    shown: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    """k_R ‖ k_I ‖ m_R ‖ m_I ‖ ms of section 3."""

    welcome: bytes
    proof: bytes
    mac_responder: bytes
    mac_initiator: bytes
    master: bytes


class _Claim(NamedTuple):
    """p2 or p3 with its signature, not verified yet."""

    public_key: PublicKey
    caps: int
    body: bytes
    signature: bytes
    shown: bytes | None


@dataclass(frozen=True, slots=True, repr=False)
class _Pending:
    """What the responder keeps between Welcome and Proof."""

    th3: bytes
    proof: bytes
    mac_initiator: bytes
    master: bytes


class _Phase(Enum):
    NEW = auto()
    WAITING = auto()
    DONE = auto()
    FAILED = auto()


class _End:
    """One end of one attempt: its phase, and the promise that the first failure is the last."""

    __slots__ = ("_credentials", "_ephemeral", "_pending", "_phase")

    def __init__(self, credentials: Credentials, ephemeral: PrivateKey | None) -> None:
        self._credentials = credentials
        self._ephemeral = ephemeral
        self._pending: _Pending | None = None
        self._phase = _Phase.NEW

    def _advance(self, before: _Phase, after: _Phase, step: Callable[[], _T]) -> _T:
        """Run one step; whatever goes wrong in it ends this machine."""
        is_due, self._phase = self._phase is before, _Phase.FAILED
        try:
            result = step() if is_due else self._refuse()
            self._phase = after
        except HandshakeFailed:
            raise
        except (WireError, CryptoError):
            raise HandshakeFailed("the other end did not prove who it is") from None
        finally:
            if self._phase is not _Phase.WAITING:  # drop every key of the attempt
                self._ephemeral = self._pending = None
        return result

    def _refuse(self) -> NoReturn:
        raise HandshakeFailed("this handshake is over")

    def _derive(self, ephemeral: PrivateKey, peer_ephemeral: bytes, th1: bytes) -> _Keys:
        if peer_ephemeral == ephemeral.public_key:
            raise HandshakeFailed("the other end sent our own key back")
        shared = ephemeral.exchange(peer_ephemeral) + (self._credentials.psk or b"")
        raw = kdf(shared, th1, "yz1 hs", b"", 5 * KEY_BYTES)
        return _Keys(*(raw[at : at + KEY_BYTES] for at in range(0, len(raw), KEY_BYTES)))

    def _first_hash(self, hello: bytes, opening: bytes) -> bytes:
        """th1; `opening` is c2, the clear part of Welcome."""
        mine = self._credentials
        return sha256(
            b"".join(
                (
                    lp("yz1 handshake"),
                    mine.network,
                    lp(mine.binding),
                    len(hello).to_bytes(2),
                    hello,
                    len(opening).to_bytes(2),
                    opening,
                )
            )
        )

    def _own_claim(self) -> bytes:
        mine = self._credentials
        return mine.signer.public_key + mine.caps.to_bytes(4) + _encode_extensions(mine.token)

    def _check(self, claim: _Claim, label: str, transcript: bytes, mac_key: bytes) -> NodeId:
        """Verify the other end's claim first, then ask whether it is one that we talk to."""
        proved = transcript + hmac_sha256(mac_key, transcript)
        verify_message(claim.public_key, label, self._credentials.network, proved, claim.signature)
        if claim.public_key == self._credentials.signer.public_key:
            raise HandshakeFailed("the other end has our own identity")
        if not claim.caps & Caps.ALWAYS:
            raise HandshakeFailed("the other end lacks capability bit 0")
        return node_id_of(claim.public_key)

    def _sign(self, label: str, transcript: bytes, mac_key: bytes) -> bytes:
        mine = self._credentials
        return mine.signer.sign(label, mine.network, transcript + hmac_sha256(mac_key, transcript))


class Initiator(_End):
    """The end that dials: Hello out, Welcome in, Proof out.

    Args:
        credentials: Who dials, in which network.
        expected: Node id that was dialled; None if it is not known.
        ephemeral: A key for vectors and tests; a fresh one when None.
        offers: Version and suite pairs, the most wanted first, 1 to 8; only KNOWN_OFFERS are ever agreed on.

    Attributes:
        established: The session's keys, once `receive_welcome` has passed.

    """

    __slots__ = ("_expected", "_hello", "_offers", "established")

    def __init__(
        self,
        credentials: Credentials,
        expected: NodeId | None = None,
        ephemeral: PrivateKey | None = None,
        offers: Sequence[Offer] = KNOWN_OFFERS,
    ) -> None:
        super().__init__(credentials, ephemeral)
        assert 1 <= len(offers) <= OFFERS_MAX
        self._expected = expected
        self._offers = tuple(offers)
        self._hello = b""
        self.established: Established | None = None

    def hello(self) -> bytes:
        """Return Hello, 39 bytes with one offer.

        Raises:
            HandshakeFailed: It was called before.

        """
        return self._advance(_Phase.NEW, _Phase.WAITING, self._make_hello)

    def receive_welcome(self, message: bytes) -> bytes:
        """Check Welcome and return Proof, 120 bytes, 299 with a token; records may be sent right after it.

        Raises:
            WrongNodeId: A node answered, but not the one that was dialled.
            HandshakeFailed: Welcome was refused, or did not come in turn.

        """
        return self._advance(_Phase.WAITING, _Phase.DONE, lambda: self._take_welcome(message))

    def _make_hello(self) -> bytes:
        self._ephemeral = self._ephemeral or PrivateKey.generate()
        offers = b"".join(bytes(offer) for offer in self._offers)
        start = bytes((_HELLO, len(self._offers)))
        self._hello = start + offers + self._ephemeral.public_key + _NO_EXTENSIONS
        return self._hello

    def _take_welcome(self, message: bytes) -> bytes:
        assert self._ephemeral is not None
        offer, peer_ephemeral, opening, sealed = _split_welcome(message)
        if offer not in self._offers or offer not in KNOWN_OFFERS:
            raise HandshakeFailed("the other end chose a version that was not offered")
        th1 = self._first_hash(self._hello, opening)
        keys = self._derive(self._ephemeral, peer_ephemeral, th1)
        claim = _decode_claim(Aead(keys.welcome).open(_IV, sealed, th1))
        th2 = sha256(th1 + claim.body)
        peer_id = self._check(claim, "yz1 hs resp", th2, keys.mac_responder)
        if self._expected is not None and peer_id != self._expected:
            raise WrongNodeId("another node answered than the one that was dialled")
        th3 = sha256(th2 + claim.signature)
        body = self._own_claim()
        th4 = sha256(th3 + body)
        signature = self._sign("yz1 hs init", th4, keys.mac_initiator)
        self.established = _establish(claim, peer_id, keys.master, sha256(th4 + signature), is_initiator=True)
        return bytes((_PROOF,)) + Aead(keys.proof).seal(_IV, body + signature, th3)


class Responder(_End):
    """The end that is dialled: Hello in, Welcome out, Proof in. Nothing about the other end is known before Proof.

    Args:
        credentials: Who is dialled, in which network.
        ephemeral: A key for vectors and tests; a fresh one when None.

    """

    __slots__ = ()

    def __init__(self, credentials: Credentials, ephemeral: PrivateKey | None = None) -> None:
        super().__init__(credentials, ephemeral)

    def receive_hello(self, message: bytes) -> bytes:
        """Check Hello and return Welcome, 157 bytes, 336 with a token.

        Raises:
            HandshakeFailed: Hello was refused, or did not come in turn.

        """
        return self._advance(_Phase.NEW, _Phase.WAITING, lambda: self._take_hello(message))

    def receive_proof(self, message: bytes) -> Established:
        """Check Proof; from here the other end is known.

        Raises:
            HandshakeFailed: Proof was refused, or did not come in turn.

        """
        return self._advance(_Phase.WAITING, _Phase.DONE, lambda: self._take_proof(message))

    def _take_hello(self, message: bytes) -> bytes:
        offers, peer_ephemeral = _decode_hello(message)
        offer = next((offer for offer in offers if offer in KNOWN_OFFERS), None)
        if offer is None:
            raise HandshakeFailed("the other end offers no version that is known here")
        ephemeral = self._ephemeral or PrivateKey.generate()
        self._ephemeral = None
        opening = bytes((_WELCOME, *offer)) + ephemeral.public_key + _NO_EXTENSIONS
        th1 = self._first_hash(message, opening)
        keys = self._derive(ephemeral, peer_ephemeral, th1)
        body = self._own_claim()
        th2 = sha256(th1 + body)
        signature = self._sign("yz1 hs resp", th2, keys.mac_responder)
        self._pending = _Pending(sha256(th2 + signature), keys.proof, keys.mac_initiator, keys.master)
        return opening + Aead(keys.welcome).seal(_IV, body + signature, th1)

    def _take_proof(self, message: bytes) -> Established:
        waiting = self._pending
        assert waiting is not None
        claim = _decode_claim(Aead(waiting.proof).open(_IV, _split_proof(message), waiting.th3))
        th4 = sha256(waiting.th3 + claim.body)
        peer_id = self._check(claim, "yz1 hs init", th4, waiting.mac_initiator)
        return _establish(claim, peer_id, waiting.master, sha256(th4 + claim.signature), is_initiator=False)


def _establish(
    claim: _Claim, peer_id: NodeId, master: bytes, th5: bytes, *, is_initiator: bool
) -> Established:
    """s_I ‖ s_R ‖ exp ‖ res of section 3; `res` has no use in version 1."""
    raw = kdf(master, th5, "yz1 app", b"", 4 * KEY_BYTES)
    by_initiator, by_responder = raw[:KEY_BYTES], raw[KEY_BYTES : 2 * KEY_BYTES]
    exporter = raw[2 * KEY_BYTES : 3 * KEY_BYTES]
    return Established(
        peer_key=claim.public_key,
        peer_id=peer_id,
        peer_caps=claim.caps & CAPS_IN_USE,
        secret_out=by_initiator if is_initiator else by_responder,
        secret_in=by_responder if is_initiator else by_initiator,
        session_id=SessionId(exporter[:_SESSION_ID_BYTES]),
        exporter=exporter,
        shown=claim.shown,
    )


def _open_message(message: bytes, kind: int, bytes_max: int) -> Reader:
    if len(message) > bytes_max:
        raise WireError("a handshake message is too long")
    reader = Reader(message)
    if reader.u8() != kind:
        raise WireError("a handshake message came out of turn")
    return reader


def _encode_extensions(token: bytes | None) -> bytes:
    """The ext block of p2 or p3; of who shows nothing it is empty."""
    if token is None:
        return _NO_EXTENSIONS
    ext = bytes((_TOKEN,)) + len(token).to_bytes(2) + token
    return len(ext).to_bytes(2) + ext


def _walk_extensions(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """The TLVs of an ext block, which they must fill exactly; those of unknown types have no meaning."""
    inner = Reader(reader.take(reader.u16()))
    while inner.remaining:
        yield inner.u8(), inner.take(inner.u16())


def _skip_extensions(reader: Reader) -> None:
    """Walk the ext block of a clear message, where no type has a meaning yet."""
    for _ in _walk_extensions(reader):
        pass


def _token_of(reader: Reader) -> bytes | None:
    """Walk the ext block of p2 or p3; the token in it, if there is one."""
    shown = [body for kind, body in _walk_extensions(reader) if kind == _TOKEN]
    if len(shown) > 1:
        raise WireError("a token was shown twice")
    if shown and len(shown[0]) > TOKEN_BYTES:
        raise WireError("what was shown is longer than a token")
    return shown[0] if shown else None


def _decode_hello(message: bytes) -> tuple[list[Offer], bytes]:
    reader = _open_message(message, _HELLO, HELLO_BYTES_MAX)
    count = reader.u8()
    if not 1 <= count <= OFFERS_MAX:
        raise WireError("a Hello has 1 to 8 offers")
    offers = [(reader.u8(), reader.u8()) for _ in range(count)]
    ephemeral = reader.take(PUBLIC_KEY_BYTES)
    _skip_extensions(reader)
    reader.end()
    return offers, ephemeral


def _split_welcome(message: bytes) -> tuple[Offer, bytes, bytes, bytes]:
    """Offer, eR33, c2 and the ciphertext."""
    reader = _open_message(message, _WELCOME, HANDSHAKE_MESSAGE_BYTES_MAX)
    offer = (reader.u8(), reader.u8())
    ephemeral = reader.take(PUBLIC_KEY_BYTES)
    _skip_extensions(reader)
    return offer, ephemeral, message[: reader.offset], reader.rest()


def _split_proof(message: bytes) -> bytes:
    return _open_message(message, _PROOF, HANDSHAKE_MESSAGE_BYTES_MAX).rest()


def _decode_claim(plaintext: bytes) -> _Claim:
    reader = Reader(plaintext)
    public_key = PublicKey(reader.take(PUBLIC_KEY_BYTES))
    caps = reader.u32()
    shown = _token_of(reader)
    body = plaintext[: reader.offset]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return _Claim(public_key, caps, body, signature, shown)

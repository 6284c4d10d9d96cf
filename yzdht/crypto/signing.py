"""Signatures under a label and a network, and the checks every record passes (PROTOCOL.md sections 1 and 8).

Owns `sig` and `ver` of section 1. Refuses high-S signatures, keys that are not compressed points, and anything signed
under another label or for another network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.crypto.naming import immutable_target, move_tag, multi_target, mutable_target, node_id_of
from yzdht.crypto.primitives import sha256, verify
from yzdht.errors import LifetimeRefused, WrongTarget
from yzdht.ids import Target
from yzdht.limits import CLOCK_SKEW_S, RECORD_LIFE_S_MAX, SEQ_MAX, VERIFIED_CACHE_ENTRIES
from yzdht.wire.codec import lp
from yzdht.wire.record import EXPIRES_NEVER, Readers, Record, decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.ids import NetworkId, PublicKey, Signature


RECORD_LABEL = "yz1 rec"
REVOKED_PAYLOAD = b"\x90"  # [], what a move record of a revoked identity carries


def sign_message(
    key: PrivateKey, label: str, network: NetworkId, message: bytes, *, deterministic: bool = False
) -> Signature:
    """Sign lp(label) ‖ NET ‖ message (section 1, `sig`).

    Args:
        key: An ECDSA key.
        label: One of section 1's labels, `yz1 …`.
        network: NET, 8 bytes.
        message: Any length.
        deterministic: RFC 6979 nonces; only in vectors.

    """
    return key.sign(lp(label) + network + message, deterministic=deterministic)


def verify_message(
    public_key: bytes, label: str, network: NetworkId, message: bytes, signature: bytes
) -> None:
    """Check a signature over lp(label) ‖ NET ‖ message (section 1, `ver`).

    Raises:
        InvalidKey: `public_key` is not a compressed P-256 point.
        InvalidSignature: Wrong length, out of range, high-S, or it does not verify.

    """
    verify(public_key, lp(label) + network + message, signature)


class KeySigner:
    """A `Signer` over a private key that this process holds.

    Args:
        key: An ECDSA key.
        deterministic: RFC 6979 nonces; only in vectors.

    """

    __slots__ = ("_deterministic", "_key")

    def __init__(self, key: PrivateKey, *, deterministic: bool = False) -> None:
        self._key = key
        self._deterministic = deterministic

    @property
    def public_key(self) -> PublicKey:
        """The public half, 33 bytes."""
        return self._key.public_key

    def sign(self, label: str, network: NetworkId, message: bytes) -> Signature:
        """Sign lp(label) ‖ NET ‖ message (section 1)."""
        return sign_message(self._key, label, network, message, deterministic=self._deterministic)


def target_of(record: Record, network: NetworkId) -> Target:
    """Where a record belongs (section 7).

    Raises:
        InvalidKey: An identity record's publisher is not on the curve.

    """
    match record.kind:
        case Kind.IMMUTABLE:
            return immutable_target(network, record.raw)
        case Kind.MUTABLE:
            return mutable_target(network, record.publisher, record.tag)
        case Kind.MULTI:
            return multi_target(network, record.tag)
        case Kind.IDENTITY:
            return Target(node_id_of(record.publisher))


def is_move_record(record: Record, network: NetworkId) -> bool:
    """True for whatever is in the slot where an identity announces its move or revocation (section 13)."""
    return record.kind is Kind.MUTABLE and record.tag == move_tag(network)


def check_last_word(record: Record, network: NetworkId) -> None:
    """Keep the last seq of a move slot for revocations (section 13).

    Whoever stole a key could otherwise take it with something else, which holders would keep in place of the
    revocation, and which would win every read.

    Raises:
        WrongTarget: A move record with that seq says anything but that its identity is revoked.

    """
    if record.seq != SEQ_MAX or not is_move_record(record, network):
        return
    is_plain = record.readers is Readers.PUBLIC and not record.is_tombstone
    if not is_plain or record.payload != REVOKED_PAYLOAD:
        raise WrongTarget("only a revocation has the last seq of a move slot")


def check_times(record: Record, wall_now: float, network: NetworkId) -> None:
    """Check created and expires as a storing node does (section 8); immutables carry neither.

    Args:
        record: Any record.
        wall_now: Unix seconds.
        network: NET; a move record is exempt and never expires.

    Raises:
        LifetimeRefused: Created over 10 min ahead, expired, or expires over 30 d after created or over 30 d 10 min ahead.

    """
    if record.kind is Kind.IMMUTABLE:
        return
    if is_move_record(record, network):
        if record.expires != EXPIRES_NEVER:
            raise LifetimeRefused("a move record never expires")
        return
    if record.created > wall_now + CLOCK_SKEW_S:
        raise LifetimeRefused("the record was created in the future")
    if record.expires <= wall_now:
        raise LifetimeRefused("the record has expired")
    life_s = record.expires - record.created
    if life_s > RECORD_LIFE_S_MAX or record.expires > wall_now + RECORD_LIFE_S_MAX + CLOCK_SKEW_S:
        raise LifetimeRefused("the record lives for more than 30 days")


class RecordChecks:
    """A `RecordVerifier` that checks each distinct record's signature once.

    Attributes:
        verified: Signatures that were checked and are good.
        cache_hits: Records whose signature was known to be good.

    """

    __slots__ = ("_known", "_network", "cache_hits", "verified")

    def __init__(self, network: NetworkId) -> None:
        self._network = network
        self._known: dict[bytes, None] = {}  # hash of all bytes, signature too; least recently used first
        self.verified = 0
        self.cache_hits = 0

    def verify(self, record: bytes, target: Target) -> None:
        """Check layout, target and signature.

        Raises:
            WireError: The record does not parse.
            WrongTarget: It is a record of another target.
            InvalidKey: Its publisher is not on the curve.
            InvalidSignature: The signature does not verify.

        """
        self.verify_record(decode_record(record), target)

    def verify_record(self, record: Record, target: Target) -> None:
        """Check target and signature of a record that was decoded before; raises as `verify`."""
        self.check_target(record, target)
        if record.kind is Kind.IMMUTABLE:
            return  # its address is its proof
        key = sha256(record.raw)
        if key in self._known:
            del self._known[key]
            self.cache_hits += 1
        else:
            verify_message(record.publisher, RECORD_LABEL, self._network, record.signed, record.signature)
            self.verified += 1
            if len(self._known) >= VERIFIED_CACHE_ENTRIES:
                del self._known[next(iter(self._known))]
        self._known[key] = None

    def check_target(self, record: Record, target: Target) -> None:
        """Check that a record belongs under a target; costs two hashes, no signature.

        Raises:
            WrongTarget: It is a record of another target, or of none: see `check_last_word`.
            InvalidKey: Its publisher is not on the curve.

        """
        if target_of(record, self._network) != target:
            raise WrongTarget("the record belongs under another target")
        check_last_word(record, self._network)

    def is_move(self, record: Record) -> bool:
        """True for a move record of this network."""
        return is_move_record(record, self._network)

    def check_times(self, record: Record, wall_now: float) -> None:
        """Check created and expires in this network; raises as the function `check_times`."""
        check_times(record, wall_now, self._network)

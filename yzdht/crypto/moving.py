"""How an identity says that it moved to another key, or is revoked (PROTOCOL.md section 13).

Owns the move record: a public record under a tag of its own, that never expires and whose payload names the successor
and carries its signature, so that nobody can be named who does not want to. Refuses a revocation that could be
superseded, and a move that could not: whoever stole a key must not have the last word by it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.crypto.naming import move_tag
from yzdht.crypto.primitives import check_public_key
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.crypto.signing import REVOKED_PAYLOAD, RecordChecks, is_move_record, target_of, verify_message
from yzdht.errors import UsageError, WireError
from yzdht.ids import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey, Signature, looks_compressed
from yzdht.limits import SEQ_MAX
from yzdht.wire.record import EXPIRES_NEVER, Readers, Record, decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.ids import NetworkId
    from yzdht.ports import Signer


MOVE_LABEL = "yz1 move"
REVOCATION_SEQ = SEQ_MAX

_MOVED = struct.Struct(
    f">3s{PUBLIC_KEY_BYTES}s2s{SIGNATURE_BYTES}s"
)  # [bin 33, bin 64], the only shortest form
_MOVED_HEAD, _MOVED_MIDDLE = b"\x92\xc4\x21", b"\xc4\x40"


@dataclass(frozen=True, slots=True)
class Moved:
    """The identity goes on under another key.

    Attributes:
        successor: The key that takes over, 33 bytes.
        signature: The successor's, over the old key and its own.

    """

    successor: PublicKey
    signature: Signature


@dataclass(frozen=True, slots=True)
class Revoked:
    """The identity is nobody's any more: nothing signed by it counts."""


def encode_move(move: Moved | Revoked) -> bytes:
    """The payload of a move record: 102 bytes, or 1 of a revocation."""
    if isinstance(move, Revoked):
        return REVOKED_PAYLOAD
    assert len(move.successor) == PUBLIC_KEY_BYTES
    assert len(move.signature) == SIGNATURE_BYTES
    return _MOVED.pack(_MOVED_HEAD, move.successor, _MOVED_MIDDLE, move.signature)


def decode_move(payload: bytes) -> Moved | Revoked:
    """Parse the payload of a move record; the successor's signature is not checked.

    Raises:
        WireError: It is neither `[new pk33, signature]` nor `[]`.

    """
    if payload == REVOKED_PAYLOAD:
        return Revoked()
    if len(payload) != _MOVED.size:
        raise WireError("a move record names a key and its signature, or nothing")
    head, successor, middle, signature = _MOVED.unpack(payload)
    if (head, middle) != (_MOVED_HEAD, _MOVED_MIDDLE) or not looks_compressed(successor):
        raise WireError("a move record names a key and its signature, or nothing")
    return Moved(PublicKey(successor), Signature(signature))


def consent(successor: Signer, old: PublicKey, network: NetworkId) -> Moved:
    """What a successor signs to take over from `old`.

    Raises:
        UsageError: It is the same key.

    """
    new = successor.public_key
    if new == old:
        raise UsageError("an identity does not move to itself", hint="make a new identity first")
    return Moved(new, successor.sign(MOVE_LABEL, network, old + new))


def sign_move(author: Author, move: Moved | Revoked, created: int, seq: int) -> bytes:
    """Build the record by which an identity moves or is revoked.

    Args:
        author: The identity that ends.
        move: Where it goes; a revocation is made with the identity and kept apart, for when its key is lost.
        created: Unix seconds, u32.
        seq: Of a move, as of any record (section 8) and below REVOCATION_SEQ; of a revocation, REVOCATION_SEQ.

    Raises:
        UsageError: `created` or `seq` is out of range.

    """
    if (seq == REVOCATION_SEQ) != isinstance(move, Revoked):
        raise UsageError("the last seq of all is a revocation's, and only a revocation's")
    draft = RecordDraft(Kind.MUTABLE, created, EXPIRES_NEVER, seq, move_tag(author.network))
    return seal_record(draft, encode_move(move), Public(), author, b"")


def sign_revocation(author: Author) -> bytes:
    """Build the record by which an identity is revoked, created at time 0.

    So all revocations that an identity makes are one record, whose copies prolong each other at its holders.
    """
    return sign_move(author, Revoked(), 0, REVOCATION_SEQ)


def verify_revocation(raw: bytes, network: NetworkId) -> Record:
    """Read a revocation that was kept apart from its keys.

    Args:
        raw: The whole record.
        network: NET; one that was made for another network does not verify.

    Raises:
        WireError: It does not parse, or is no revocation.
        CryptoError: It is not signed by its identity for this network.

    """
    record = decode_record(raw)
    if record.kind is not Kind.MUTABLE or record.seq != REVOCATION_SEQ:
        raise WireError("not a revocation")
    RecordChecks(network).verify_record(record, target_of(record, network))
    if not isinstance(read_move(record, network), Revoked):
        raise WireError("not a revocation")
    return record


def read_move(record: Record, network: NetworkId) -> Moved | Revoked:
    """Read a move record whose target and signature are verified.

    A revocation is heeded whatever its seq, and a move to a successor that did not consent is none.

    Raises:
        WireError: It is no move record, it is a tombstone, or it is a move with the seq of revocations.
        InvalidKey: The successor is not on the curve.
        InvalidSignature: The successor did not sign.

    """
    if not is_move_record(record, network) or record.expires != EXPIRES_NEVER:
        raise WireError("not a move record")
    if record.readers is not Readers.PUBLIC or record.is_tombstone:
        raise WireError("a move record is public, and is never deleted")
    move = decode_move(record.payload)
    if isinstance(move, Revoked):
        return move
    if record.seq == REVOCATION_SEQ:
        raise WireError("a move has the seq of a revocation")
    old = PublicKey(record.publisher)
    new = check_public_key(move.successor)
    if new == old:
        raise WireError("a move leads to where it began")
    verify_message(new, MOVE_LABEL, network, old + new, move.signature)
    return move

"""Who signs in a simulated network: keys from numbers, records, and a verifier that costs one hash.

Everything here follows from its arguments, so that a seed replays to the byte.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from yzdht.crypto.naming import move_tag, network_id, node_id_of, public_tag
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_immutable, seal_record, tombstone
from yzdht.crypto.signing import KeySigner, RecordChecks, target_of
from yzdht.errors import InvalidSignature
from yzdht.ids import NetworkId, NodeId, PublicKey, Signature, Target
from yzdht.kad.write import Draft
from yzdht.limits import DAY_S, NODE_IDENTITY_LIFE_S
from yzdht.wire.address import IdentityPayload, KemEntry, NodeType, address_of, encode_identity_payload
from yzdht.wire.record import EXPIRES_NEVER, IDENTITY_TAG, Record, decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.ports import Signer


NET = network_id("sim")
WALL = 1_700_000_000
"""Unix seconds at which every simulated network begins."""


@cache
def key(number: int) -> PrivateKey:
    """The identity key of that number."""
    return PrivateKey.from_scalar(sha256(b"sim key %d" % number).digest())


class NullSigner:
    """Signs with a hash that anybody could compute: for networks too large for real signatures."""

    def __init__(self, public_key: PublicKey) -> None:
        self.public_key = public_key

    def sign(self, _label: str, _network: NetworkId, message: bytes) -> Signature:
        return _null_signature(self.public_key, message)


def _null_signature(public_key: bytes, message: bytes) -> Signature:
    digest = sha256(public_key + message).digest()
    return Signature(digest + digest)


class NullChecks(RecordChecks):
    """Everything that real checks do, over NullSigner's signatures."""

    def verify_record(self, record: Record, target: Target) -> None:
        self.check_target(record, target)
        if record.kind is not Kind.IMMUTABLE and record.signature != _null_signature(
            record.publisher, record.signed
        ):
            raise InvalidSignature("the null signature does not verify")


class Note(NamedTuple):
    """A record and where it belongs."""

    target: Target
    record: Record

    @property
    def raw(self) -> bytes:
        return self.record.raw

    @property
    def seq(self) -> int:
        return self.record.seq

    def draft(self, cas: int | None = None, keep_until: int = 0) -> Draft:
        return Draft(self.target, self.raw, cas, keep_until)


def note_of(raw: bytes) -> Note:
    record = decode_record(raw)
    return Note(target_of(record, NET), record)


class Pen:
    """Writes one person's or node's records.

    Args:
        number: Whose.
        is_signed: Real signatures, or null ones.

    """

    def __init__(self, number: int, *, is_signed: bool = False) -> None:
        self.public_key = key(number).public_key
        self.node_id: NodeId = node_id_of(self.public_key)
        signer: Signer = (
            KeySigner(key(number), deterministic=True) if is_signed else NullSigner(self.public_key)
        )
        self._author = Author(signer, bytes(32), NET)

    def mutable(self, name: str, seq: int, value: bytes = b"", **changes: Any) -> Note:
        return self._write(Kind.MUTABLE, name, seq, value, **changes)

    def multi(self, name: str, seq: int, value: bytes = b"", **changes: Any) -> Note:
        return self._write(Kind.MULTI, name, seq, value, **changes)

    def _write(self, kind: Kind, name: str, seq: int, value: bytes, **changes: Any) -> Note:
        draft = self._draft(kind, seq, tag=public_tag(NET, name), **changes)
        return note_of(seal_record(draft, value, Public(), self._author, b""))

    def tombstone(self, name: str, seq: int, **changes: Any) -> Note:
        draft = self._draft(Kind.MUTABLE, seq, tag=public_tag(NET, name), **changes)
        return note_of(tombstone(draft, self._author))

    def immutable(self, value: bytes) -> Note:
        return note_of(seal_immutable(value, Public(), self._author, b""))

    def move(self, seq: int, value: bytes = b"") -> Note:
        draft = self._draft(Kind.MUTABLE, seq, tag=move_tag(NET), expires=EXPIRES_NEVER)
        return note_of(seal_record(draft, value, Public(), self._author, b""))

    def identity(self, urls: Sequence[str], caps: int, **changes: Any) -> Note:
        kem = (KemEntry(1, self.public_key, EXPIRES_NEVER),)
        payload = IdentityPayload(NodeType.COMMUNITY.value, tuple(address_of(url) for url in urls), caps, kem)
        created = changes.pop("created", WALL)
        changes = {"created": created, "life_s": NODE_IDENTITY_LIFE_S} | changes
        draft = self._draft(Kind.IDENTITY, created * 1_000, tag=IDENTITY_TAG, **changes)
        return note_of(seal_record(draft, encode_identity_payload(payload), Public(), self._author, b""))

    @staticmethod
    def _draft(
        kind: Kind, seq: int, *, tag: Any, created: int = WALL, life_s: int = DAY_S, expires: int = 0
    ) -> RecordDraft:
        return RecordDraft(kind, created, expires or created + life_s, seq, tag)


def forged(note: Note) -> bytes:
    """The same record with a signature that is not its publisher's."""
    return note.raw[:-1] + bytes((note.raw[-1] ^ 1,))

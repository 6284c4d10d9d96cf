"""One slot of the DHT: its state, what may be written to it, and what answers a write that may not.

PROTOCOL.md section 8, "Storing node" and "Order". Pure: stores call `judge` inside their transaction, engines call it
before to refuse early.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from yzdht.ids import NodeId, Publisher, RecordHash, Target


class Kind(IntEnum):
    """What a record is (PROTOCOL.md section 8)."""

    IMMUTABLE = 0
    MUTABLE = 1
    MULTI = 2
    IDENTITY = 3


@dataclass(frozen=True, slots=True)
class Head:
    """State of one slot at a holder.

    Attributes:
        kind: Kind of the record.
        seq: Sequence number; 0 for immutables.
        hash: Hash of the record.
        created: Unix seconds.
        expires: Unix seconds; for immutables the same as keep_until.
        keep_until: Unix seconds; immutables and move records only, else 0.
        expires_max: Largest `expires` ever accepted here; the slot remembers (seq, hash) until then.
        size: Bytes of the body; 0 once it is gone.
        has_body: False when the record expired and only its memory is left.
        is_pinned: True for what this node's own user put through it.

    """

    kind: Kind
    seq: int
    hash: RecordHash
    created: int
    expires: int
    keep_until: int
    expires_max: int
    size: int
    has_body: bool
    is_pinned: bool

    def is_live(self, wall_now: float) -> bool:
        """True while the record counts as stored."""
        return self.has_body and self.expires > wall_now


@dataclass(frozen=True, slots=True)
class Write:
    """A record on its way into a slot; layout, target, times and signature are already verified.

    Attributes:
        target: Where it belongs.
        publisher: Who signed it; empty for immutables.
        kind: Kind of the record.
        seq: Sequence number; 0 for immutables.
        hash: Hash of the record.
        created: Unix seconds; 0 for immutables.
        expires: Unix seconds; for immutables the same as keep_until.
        body: The whole record.
        cas: Sequence number that must be stored now, 0 for nothing, None for any.
        keep_until: Unix seconds; immutables and move records only, else 0.
        stored_by: Node id of the session that brought it; empty for this node's own user.
        is_pinned: True for what this node's own user put through it: no quota counts it.
        wall_now: Unix seconds at which it was accepted.

    """

    target: Target
    publisher: Publisher
    kind: Kind
    seq: int
    hash: RecordHash
    created: int
    expires: int
    body: bytes
    cas: int | None
    keep_until: int
    stored_by: NodeId | bytes
    is_pinned: bool
    wall_now: float


@dataclass(frozen=True, slots=True)
class Stored:
    """The record is durable."""


@dataclass(frozen=True, slots=True)
class SeqTooLow:
    """A newer record is stored, or was until lately (status 302)."""

    seq: int
    hash: RecordHash


@dataclass(frozen=True, slots=True)
class CasRefused:
    """Not the expected record is stored (status 301); seq 0 and no hash when nothing is."""

    seq: int
    hash: RecordHash | bytes


@dataclass(frozen=True, slots=True)
class Equivocation:
    """The same seq with another body is stored (status 409); the holder keeps its own."""

    seq: int
    hash: RecordHash


@dataclass(frozen=True, slots=True)
class OverQuota:
    """The publisher or the storing peer has used up its share (status 104)."""


@dataclass(frozen=True, slots=True)
class StoreBroken:
    """The disk refused the write; nothing was stored (status 106)."""


Verdict = Stored | SeqTooLow | CasRefused | Equivocation | OverQuota | StoreBroken


def judge(head: Head | None, write: Write) -> Verdict:
    """Decide whether `write` may replace `head`; quota is the store's own matter.

    The order of tests is the protocol's: same hash, then seq, then cas, then equivocation. A slot remembers (seq,
    hash) until `expires_max`, so nothing deleted or superseded comes back; a record that expired counts as nothing
    stored for cas.
    """
    if head is not None and head.expires_max <= write.wall_now and not head.has_body:
        head = None
    if head is None:
        return Stored() if write.cas in (None, 0) else CasRefused(0, b"")
    is_live = head.is_live(write.wall_now)
    if head.hash == write.hash and is_live:
        return Stored()
    if write.seq < head.seq:
        return SeqTooLow(head.seq, head.hash)
    if write.cas is not None and write.cas != (head.seq if is_live else 0):
        return CasRefused(head.seq, head.hash) if is_live else CasRefused(0, b"")
    if write.seq == head.seq and write.hash != head.hash:
        return Equivocation(head.seq, head.hash)
    return Stored()

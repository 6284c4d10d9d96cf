"""One slot of the DHT: its state, what may be written to it, and what answers a write that may not.

PROTOCOL.md section 8, "Storing node" and "Order". Pure: stores call `judge` and `head_after` inside their transaction,
engines call `judge` before to refuse early.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING

from yzdht.limits import RECORD_LIFE_S_MAX


if TYPE_CHECKING:
    from yzdht.ids import NodeId, Publisher, RecordHash, Target


PAYER_STRANGERS_BYTES = 16
"""Shorter than a node id, so that no store takes one for the other."""


def payer_of_strangers(group: str) -> bytes:
    """Under which name a store counts what the strangers of one public prefix, or of one other address, brought."""
    return sha256(group.encode()).digest()[:PAYER_STRANGERS_BYTES]


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
        expires_max: The slot remembers (seq, hash) until then: the largest `expires` ever accepted here, of a move
            record its keep_until and 30 days.
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

    @property
    def kept_until(self) -> int:
        """Unix seconds until which the body is kept: `expires`, or the earlier `keep_until` of a move record."""
        return min(self.expires, self.keep_until) if self.keep_until else self.expires

    def is_live(self, wall_now: float) -> bool:
        """True while the record counts as stored."""
        return self.has_body and self.kept_until > wall_now

    def is_remembered(self, wall_now: float) -> bool:
        """True while (seq, hash) still binds what may be written, with or without the body."""
        return self.expires_max > wall_now

    def holds(self, write: Write) -> bool:
        """True if this very record is stored, so that storing it again only prolongs it."""
        return self.hash == write.hash and self.is_live(write.wall_now)


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
        stored_by: Who pays for it beside the publisher: the node id of the session that brought it, for strangers
            `payer_of_strangers`; empty for this node's own user.
        is_pinned: True for what this node's own user put through it: no quota counts it.
        wall_now: Unix seconds at which it was accepted.
        is_from_table: True if the session that brought it is of a node of the table, which may hand over what it holds.

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
    is_from_table: bool = False


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
    stored for cas. After that it is as if nothing had ever been there, whether or not the store has swept it up.
    """
    if head is None or not head.is_remembered(write.wall_now):
        return Stored() if write.cas in (None, 0) else CasRefused(0, b"")
    if head.holds(write):
        return Stored()
    is_live = head.is_live(write.wall_now)
    if write.seq < head.seq:
        return SeqTooLow(head.seq, head.hash)
    if write.cas is not None and write.cas != (head.seq if is_live else 0):
        return CasRefused(head.seq, head.hash) if is_live else CasRefused(0, b"")
    if write.seq == head.seq and write.hash != head.hash:
        return Equivocation(head.seq, head.hash)
    return Stored()


def head_after(head: Head | None, write: Write) -> Head:
    """State of a slot once `judge` has said Stored.

    The same record again raises `keep_until` only. The pin is sticky while the slot is remembered: whoever relays a
    newer record of a pinned slot brings what its publisher signed, and the node's own user still counts on that name.
    """
    if head is not None and not head.is_remembered(write.wall_now):
        head = None
    if head is not None and head.holds(write):
        return _prolonged(head, write)
    return Head(
        kind=write.kind,
        seq=write.seq,
        hash=write.hash,
        created=write.created,
        expires=write.expires,
        keep_until=write.keep_until,
        expires_max=_memory_end(write) if head is None else max(head.expires_max, _memory_end(write)),
        size=len(write.body),
        has_body=True,
        is_pinned=write.is_pinned or (head is not None and head.is_pinned),
    )


def _memory_end(write: Write) -> int:
    """Unix seconds until which a slot must remember a record that it accepted.

    As long as the record could be stored again by its times alone. A move record always could: its `expires` is
    2**32 - 1, and a holder that remembered it until then would never get the slot back, so that whoever makes keys could
    fill it for good. So it is forgotten 30 days after its `keep_until`: any other record lives no longer.
    """
    if write.keep_until and write.kind is not Kind.IMMUTABLE:
        return min(write.expires, write.keep_until + RECORD_LIFE_S_MAX)
    return write.expires


def _prolonged(head: Head, write: Write) -> Head:
    expires = max(
        head.expires, write.expires
    )  # differs for immutables only: a hash covers all other `expires`
    return replace(
        head,
        expires=expires,
        keep_until=max(head.keep_until, write.keep_until),
        expires_max=max(head.expires_max, _memory_end(write)),
        is_pinned=head.is_pinned or write.is_pinned,
    )

"""What stores decide beyond one slot: who is charged for a record, how much fits, which entry of a full target leaves.

PROTOCOL.md sections 7, 8 and 16. Pure; MemoryStore and the SQLite writer share it, so that they cannot differ.

A slot is charged to its publisher, an immutable one to the peer that first brought it. What only memory is left of
(seq and hash, until `expires_max`) still counts as a record but no longer as bytes: otherwise short-lived records with
a long past would cost their publisher nothing. Pinned slots, and what this node's own user stored, are charged to
nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    MULTI_ENTRIES_MAX,
    QUOTA_PUBLISHER_BYTES,
    QUOTA_PUBLISHER_RECORDS,
    QUOTA_STORING_PEER_BYTES,
    QUOTA_STORING_PEER_RECORDS,
    QUOTA_TOTAL_BYTES,
    QUOTA_TOTAL_RECORDS,
)


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import Publisher
    from yzdht.ports import StoredRecord
    from yzdht.wire.slot import Head, Write


NOBODY = b""
"""The owner of slots that no quota counts."""

EVERYBODY = b"*"
"""The owner under which the sum of all others is kept; no key and no node id is one byte long."""


class Usage(NamedTuple):
    """What one owner takes: slots (memory of expired records included) and bytes of bodies."""

    slots: int
    bytes: int


class Totals(NamedTuple):
    """What a store holds: records with a body, and the bytes of those bodies."""

    records: int
    bytes: int


NOTHING = Usage(0, 0)


def owner_of(write: Write, *, is_pinned: bool) -> bytes:
    """Who is charged for a slot that `write` fills; NOBODY when the slot is pinned or the record is our user's."""
    if is_pinned:
        return NOBODY
    return bytes(write.publisher or write.stored_by)


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much strangers may store; pinned records are outside of all of it.

    Attributes:
        publisher_bytes: Bytes of bodies per publisher.
        publisher_records: Slots per publisher.
        peer_bytes: Bytes of immutable bodies per storing peer.
        peer_records: Immutable slots per storing peer.
        total_bytes: Bytes of all bodies together.
        total_records: All slots together.

    """

    publisher_bytes: int = QUOTA_PUBLISHER_BYTES
    publisher_records: int = QUOTA_PUBLISHER_RECORDS
    peer_bytes: int = QUOTA_STORING_PEER_BYTES
    peer_records: int = QUOTA_STORING_PEER_RECORDS
    total_bytes: int = QUOTA_TOTAL_BYTES
    total_records: int = QUOTA_TOTAL_RECORDS

    def admit(self, write: Write, mine: Charge, everybody: Charge) -> bool:
        """True if what `write` adds fits into its owner's share and into the whole.

        Args:
            write: What would fill the slot; its owner is not NOBODY.
            mine: What its owner takes, and what the write adds to that.
            everybody: What all owners take, and what the write adds to that.

        """
        if write.publisher:
            share = Usage(self.publisher_records, self.publisher_bytes)
        else:
            share = Usage(self.peer_records, self.peer_bytes)
        return mine.fits(share) and everybody.fits(Usage(self.total_records, self.total_bytes))


class Charge(NamedTuple):
    """What an owner takes now, and what a write would add to it."""

    used: Usage
    growth: Usage

    def fits(self, share: Usage) -> bool:
        """True if it stays within `share`; what does not grow always fits."""
        used, growth = self
        return (growth.slots <= 0 or used.slots + growth.slots <= share.slots) and (
            growth.bytes <= 0 or used.bytes + growth.bytes <= share.bytes
        )


def growth_of(write: Write, counted: Head | None) -> Usage:
    """What a write adds for an owner; a replacement counts only its growth.

    Args:
        write: What fills the slot.
        counted: The slot's state now, if it is charged to the same owner; else None.

    """
    if counted is None:
        return Usage(1, len(write.body))
    return Usage(0, len(write.body) - counted.size)


class Entry(NamedTuple):
    """One entry of a target that several publishers share, in the order in which entries leave."""

    expires: int
    seq: int
    publisher: Publisher


def entries_that_leave(others: Iterable[Entry], incoming: Entry) -> list[Entry] | None:
    """Which entries make room for `incoming` in a shared target (section 7).

    Expired entries that still have a body are among the smallest, so they leave first and change nothing for readers.

    Args:
        others: All other entries with a body.
        incoming: The entry that wants in, live.

    Returns:
        The entries that lose their body, mostly none; None when the smallest is the incoming one.

    """
    ordered = sorted(others)
    leaving = ordered[: max(0, len(ordered) + 1 - MULTI_ENTRIES_MAX)]
    return None if leaving and incoming < leaving[-1] else leaving


def due_of(head: Head) -> int:
    """Unix seconds at which a sweep has work with this slot: its body expires, or its memory does."""
    return head.kept_until if head.has_body else head.expires_max


def shown(records: list[StoredRecord], wall_now: float) -> list[StoredRecord]:
    """What a reader sees of the records under one target: live ones, newest first, at most MULTI_ENTRIES_MAX."""
    live = [record for record in records if record.head.is_live(wall_now)]
    if len(live) > 1:
        live.sort(key=_stay_order, reverse=True)
        live = live[:MULTI_ENTRIES_MAX]
        live.sort(key=_age_order, reverse=True)
    return live


def _stay_order(record: StoredRecord) -> Entry:
    return Entry(record.head.expires, record.head.seq, record.publisher)


def _age_order(record: StoredRecord) -> tuple[int, int, bytes]:
    return record.head.seq, record.head.expires, record.head.hash

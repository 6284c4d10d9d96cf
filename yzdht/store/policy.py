"""What stores decide beyond one slot: who is charged for a record, how much fits, which entry of a full target leaves.

PROTOCOL.md sections 7, 8 and 16. Pure; MemoryStore and the SQLite writer share it, so that they cannot differ.

A slot is charged to two: its publisher, and who brought what is in it. Keys are free, so that a publisher's share alone
would bind nobody; a bringer's alone would let one publisher fill what all of them may bring. Ids are free as well:
strangers of one public prefix, or other address, are one bringer. An immutable slot has no publisher and is charged to
its bringer. A node of the table is a bringer itself and may bring more: hand-over and repair are charged to who forwards. Who brings a newer version takes the slot over from who brought the
older; who brings the same record again does not. What only memory is left of (seq and hash, until `expires_max`) still
counts as a record but no longer as bytes: otherwise short-lived records with a long past would cost nothing. Pinned
slots, what this node's own user stored, are charged to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from yzdht.limits import (
    DISPLACING_PART,
    MULTI_ENTRIES_MAX,
    QUOTA_PEER_PART,
    QUOTA_PUBLISHER_BYTES,
    QUOTA_PUBLISHER_PART,
    QUOTA_PUBLISHER_RECORDS,
    QUOTA_STORING_PEER_BYTES,
    QUOTA_STORING_PEER_RECORDS,
    QUOTA_TOTAL_BYTES,
    QUOTA_TOTAL_RECORDS,
    STORE_PREFIX_ALLOWANCE,
    STORED_BYTES_PER_SLOT,
    TABLE_PEER_ALLOWANCE,
)
from yzdht.wire.slot import PAYER_STRANGERS_BYTES


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NodeId, Publisher
    from yzdht.wire.slot import Head, Write


NOBODY = b""
"""The payer of slots that no quota counts."""

EVERYBODY = b"*"
"""The payer under which the sum of all slots that anybody pays for is kept."""


class Usage(NamedTuple):
    """What one payer takes: slots (memory of expired records included) and bytes of bodies."""

    slots: int
    bytes: int


class Totals(NamedTuple):
    """What a store holds: records with a body, and the bytes of those bodies."""

    records: int
    bytes: int


NOTHING = Usage(0, 0)


def payers_of(publisher: Publisher, stored_by: NodeId | bytes, *, is_pinned: bool) -> list[bytes]:
    """Under which names a slot is counted: its publisher, who brought it, and EVERYBODY; or NOBODY.

    No two kinds of name are equal: a key has 33 bytes, a node id 32, strangers 16, the two words 1 and 0.
    """
    if is_pinned:
        return [NOBODY]
    return [payer for payer in (bytes(publisher), bytes(stored_by), EVERYBODY) if payer]


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much strangers may store; pinned records are outside of all of it.

    Attributes:
        publisher_bytes: Bytes of bodies per publisher.
        publisher_records: Slots per publisher.
        peer_bytes: Bytes of bodies per peer that brought them; strangers of one prefix have some times that together.
        peer_records: Slots per peer that brought what is in them, as those.
        total_bytes: Bytes of all bodies together.
        total_records: All slots together.
        own_id: The node's: a full store gives up what is farthest from it; empty, and it refuses instead.

    """

    publisher_bytes: int = QUOTA_PUBLISHER_BYTES
    publisher_records: int = QUOTA_PUBLISHER_RECORDS
    peer_bytes: int = QUOTA_STORING_PEER_BYTES
    peer_records: int = QUOTA_STORING_PEER_RECORDS
    total_bytes: int = QUOTA_TOTAL_BYTES
    total_records: int = QUOTA_TOTAL_RECORDS
    own_id: NodeId | bytes = b""

    @classmethod
    def within(cls, total_bytes: int, own_id: NodeId | bytes = b"") -> Quotas:
        """What strangers may store of so many bytes: in a small store nobody may fill it alone."""
        total_records = min(QUOTA_TOTAL_RECORDS, max(1, total_bytes // STORED_BYTES_PER_SLOT))
        return cls(
            publisher_bytes=min(QUOTA_PUBLISHER_BYTES, max(1, total_bytes // QUOTA_PUBLISHER_PART)),
            publisher_records=min(QUOTA_PUBLISHER_RECORDS, max(1, total_records // QUOTA_PUBLISHER_PART)),
            peer_bytes=min(QUOTA_STORING_PEER_BYTES, max(1, total_bytes // QUOTA_PEER_PART)),
            peer_records=min(QUOTA_STORING_PEER_RECORDS, max(1, total_records // QUOTA_PEER_PART)),
            total_bytes=total_bytes,
            total_records=total_records,
            own_id=own_id,
        )

    def admit(self, write: Write, filled: Filled | None, used: Used) -> bool:
        """True if what `write` adds fits into its publisher's share and its bringer's.

        Args:
            write: What would fill a slot that is not pinned, nor will be.
            filled: What is in the slot now.
            used: What those who would pay take now.

        """
        counted = None if filled is None or filled.head.is_pinned else filled.head
        is_taken_over = filled is None or filled.stored_by != write.stored_by
        growth = growth_of(write, counted)
        growth_of_bringer = growth_of(write, None if is_taken_over else counted)
        return (not write.publisher or self._publisher_share.holds(used.publisher, growth)) and (
            not write.stored_by or self._share_of_bringer(write).holds(used.bringer, growth_of_bringer)
        )

    def excess(self, write: Write, filled: Filled | None, used: Used) -> Usage:
        """By how much the whole would be too much with `write`; nothing positive if it fits. Arguments as `admit`."""
        growth = growth_of(write, None if filled is None or filled.head.is_pinned else filled.head)
        slots = used.everybody.slots + growth.slots - self.total_records if growth.slots > 0 else 0
        size = used.everybody.bytes + growth.bytes - self.total_bytes if growth.bytes > 0 else 0
        return Usage(max(0, slots), max(0, size))

    def claim(self, write: Write, filled: Filled | None, used: Used) -> Usage | None:
        """What the bringer takes once `write` is stored, in parts of what it may; None where nobody has to give way.

        Whoever has published much here already displaces nobody: what a small publisher was told is stored is not
        given up for it. Arguments as `admit`.
        """
        counted = None if filled is None or filled.head.is_pinned else filled.head
        is_taken_over = filled is None or filled.stored_by != write.stored_by
        by_publisher = _sum(used.publisher, growth_of(write, counted))
        small = self._small_publisher
        if write.publisher and (by_publisher.slots > small.slots or by_publisher.bytes > small.bytes):
            return None
        return part_of(
            write.stored_by, _sum(used.bringer, growth_of(write, None if is_taken_over else counted))
        )

    @property
    def _small_publisher(self) -> Share:
        share = self._publisher_share
        return Share(max(1, share.slots // DISPLACING_PART), share.bytes // DISPLACING_PART)

    @property
    def _publisher_share(self) -> Share:
        return Share(self.publisher_records, self.publisher_bytes)

    def _share_of_bringer(self, write: Write) -> Share:
        """A node of the table has TABLE_PEER_ALLOWANCE times a peer's, strangers of one prefix STORE_PREFIX_ALLOWANCE times.

        But no more than a part of the whole, so that one of them does not fill a small store.
        """
        if write.is_from_table:
            times = TABLE_PEER_ALLOWANCE
        else:
            times = STORE_PREFIX_ALLOWANCE if _is_of_strangers(write.stored_by) else 1
        return Share(
            _raised(self.peer_records, times, self.total_records),
            _raised(self.peer_bytes, times, self.total_bytes),
        )


def _is_of_strangers(bringer: NodeId | bytes) -> bool:
    return len(bringer) == PAYER_STRANGERS_BYTES


def _raised(share: int, times: int, total: int) -> int:
    return max(share, min(times * share, total // QUOTA_PEER_PART))


class Filled(NamedTuple):
    """What is in a slot, and who brought it."""

    head: Head
    stored_by: NodeId | bytes


class Used(NamedTuple):
    """What those who pay for a write take before it; of a payer that it has not got, anything."""

    publisher: Usage
    bringer: Usage
    everybody: Usage


class Share(NamedTuple):
    """What one payer may take."""

    slots: int
    bytes: int

    def holds(self, used: Usage, growth: Usage) -> bool:
        """True if `used` and `growth` together stay within; what does not grow always does."""
        return (growth.slots <= 0 or used.slots + growth.slots <= self.slots) and (
            growth.bytes <= 0 or used.bytes + growth.bytes <= self.bytes
        )


def part_of(bringer: NodeId | bytes, taken: Usage) -> Usage:
    """What a bringer takes, in parts of what it may: comparable between nodes of the table and strangers of a prefix."""
    times = STORE_PREFIX_ALLOWANCE if _is_of_strangers(bringer) else TABLE_PEER_ALLOWANCE
    return Usage(-(-taken.slots // times), -(-taken.bytes // times))


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(one.slots + other.slots, one.bytes + other.bytes)


def growth_of(write: Write, counted: Head | None) -> Usage:
    """What a write adds for a payer; a replacement counts only its growth.

    Args:
        write: What fills the slot.
        counted: The slot's state now, if the same payer is charged for it; else None.

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


class _Held(Protocol):
    @property
    def head(self) -> Head: ...
    @property
    def publisher(self) -> Publisher: ...


_HeldT = TypeVar("_HeldT", bound=_Held)


def shown(records: list[_HeldT], wall_now: float) -> list[_HeldT]:
    """What a reader sees of the records under one target: live ones, newest first, at most MULTI_ENTRIES_MAX."""
    live = [record for record in records if record.head.is_live(wall_now)]
    if len(live) > 1:
        live.sort(key=_stay_order, reverse=True)
        live = live[:MULTI_ENTRIES_MAX]
        live.sort(key=_age_order, reverse=True)
    return live


def _stay_order(record: _Held) -> Entry:
    return Entry(record.head.expires, record.head.seq, record.publisher)


def _age_order(record: _Held) -> tuple[int, int, bytes]:
    return record.head.seq, record.head.expires, record.head.hash

"""Slots read through nodes that are not trusted: which of the records shown is the slot's (PROTOCOL.md section 8, Reader).

Every record is verified, its publisher and tag compared with what was asked for, and nothing older than this home has
seen is returned. Reaches the network through `Access`, the disk through `Marks`; reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.crypto.primitives import sha256
from yzdht.errors import CryptoError, NotFound, ReadQuorumFailed, StaleRecord, WireError, WrongTarget
from yzdht.ids import Target
from yzdht.limits import CLOCK_SKEW_S
from yzdht.ports import Mark
from yzdht.wire.record import decode_record, order_key
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yzdht.access import Access, Reading
    from yzdht.ids import NodeId, PublicKey, Tag
    from yzdht.ports import Marks, RecordVerifier
    from yzdht.wire.record import Record


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one publisher keeps one record.

    Attributes:
        publisher: Whose.
        tag: Its blinded name; 0³² for an identity record.
        target: Where it lies; of an entry beside those of others.
        kind: Mutable, multi for an entry, or identity.

    """

    publisher: PublicKey
    tag: Tag
    target: Target
    kind: Kind = Kind.MUTABLE

    @property
    def key(self) -> Target:
        """Under which this home remembers the slot: its target, and an entry's with its publisher."""
        if self.kind is not Kind.MULTI:
            return self.target
        return Target(sha256(self.target + self.publisher))


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest valid record of a slot that the nodes showed.

    Attributes:
        record: Verified, and no older than what was seen before.
        is_conflict: True when another body with the same seq was shown too, or seen before.

    """

    record: Record
    is_conflict: bool


class SlotReader:
    """Reads slots for one home in one network.

    Args:
        access: The way to the replicas.
        marks: What this home has seen.
        checks: Verifies records.

    """

    def __init__(self, access: Access, marks: Marks, checks: RecordVerifier) -> None:
        self._access = access
        self._marks = marks
        self._checks = checks

    async def read(self, slot: Slot, paths: int = 1) -> Seen | None:
        """The newest record of a slot, a tombstone too; None for not found.

        Args:
            slot: Which.
            paths: Disjoint paths of the read, 1 to READ_PATHS_MAX.

        Raises:
            StaleRecord: The nodes showed an older record than this home has seen.
            ReadQuorumFailed: Too few replicas answered.
            CryptoError: Every node asked showed forged or foreign records.
            WireError: Or what is no record.
            NoNode: No node could be reached.

        """
        [readings] = await self._access.read([slot.target], paths)
        return self.newest(slot, readings)

    def newest(self, slot: Slot, readings: list[Reading]) -> Seen | None:
        """The same of what was read already; arguments and errors as of `read`."""
        records = self.shown(slot, readings)
        if records:
            return self._against_mark(slot, records)
        self._check_hidden(slot)
        return None

    def shown(self, slot: Slot, readings: list[Reading]) -> list[Record]:
        """Every record of a slot that holds, old ones too; raises as `read`, StaleRecord apart."""
        return self._believed(readings, lambda reading: self._verified(slot, reading))

    def _believed(self, readings: list[Reading], verified: Callable[[Reading], list[Record]]) -> list[Record]:
        """What holds of all that was shown; nothing, if a quorum has nothing.

        Raises:
            CryptoError, WireError: Of the last, if everybody showed what does not hold.
            ReadQuorumFailed: Too few replicas stand behind there being nothing.

        """
        records: list[Record] = []
        honest: list[Reading] = []
        fault: WireError | CryptoError | None = None
        for reading in readings:
            try:
                records.extend(verified(reading))
                honest.append(reading)
            except (WireError, CryptoError) as error:
                self._access.count("rejected_records")
                fault = error
        if fault is not None and not honest:
            raise fault
        if not records and not any(reading.is_quorum for reading in honest):
            raise _too_few(honest)
        return records

    async def resolve_node_id(self, node_id: NodeId) -> PublicKey:
        """The public key behind a node id, from its identity record.

        Raises:
            NotFound: No identity record is stored.
            ReadQuorumFailed: Too few replicas answered.
            NoNode: No node could be reached.

        """
        target: Target = node_id  # type: ignore[assignment] # an identity record lies at its node id
        [readings] = await self._access.read([target])
        for raw in (raw for reading in readings for raw in reading.records):
            try:
                record = decode_record(raw)
                self._checks.verify_record(record, target)
            except (WireError, CryptoError):
                self._access.count("rejected_records")
                continue
            if record.kind is Kind.IDENTITY:
                self._marks.met(publisher_of(record))
                return publisher_of(record)
        if not any(reading.is_quorum for reading in readings):
            raise _too_few(readings)
        raise NotFound("no identity record is stored for this node id")

    def has_something(self, slot: Slot, readings: list[Reading]) -> bool:
        """True if there is something to delete, as far as the nodes show it or this home knows.

        Raises:
            As `read`, StaleRecord apart.

        """
        try:
            seen = self.newest(slot, readings)
        except StaleRecord:
            seen = None  # this home knows better what is there
        if seen is not None:
            return not seen.record.is_tombstone
        return self._is_known(self._marks.get(slot.key))

    def mark(self, slot: Slot) -> Mark | None:
        """The newest of a slot that this home has seen."""
        return self._marks.get(slot.key)

    async def entries(self, tag: Tag, target: Target, paths: int = 1) -> list[Seen]:
        """The newest entry of each publisher under a multi target, newest first.

        Tombstones are left out, and so is an entry that is older than this home has seen of its publisher, which is counted.

        Raises:
            As `read`, StaleRecord apart.

        """
        newest = self.newest_entries(tag, target, await self.entries_shown(tag, target, paths))
        return [each for each in newest if not each.record.is_tombstone]

    async def entries_shown(self, tag: Tag, target: Target, paths: int = 1) -> dict[PublicKey, list[Record]]:
        """Every entry under a multi target that holds, tombstones and old ones too, by publisher; nothing is remembered.

        Raises:
            As `read`, StaleRecord apart.

        """
        [readings] = await self._access.read([target], paths)
        by_publisher: dict[PublicKey, list[Record]] = {}
        for record in self._believed(readings, lambda reading: self._entries_of(tag, target, reading)):
            by_publisher.setdefault(publisher_of(record), []).append(record)
        return by_publisher

    def newest_entries(
        self, tag: Tag, target: Target, by_publisher: Mapping[PublicKey, list[Record]]
    ) -> list[Seen]:
        """Of each publisher the newest of what was shown, newest first, tombstones too; it is remembered.

        One that is older than this home has seen of its publisher is left out, and counted.
        """
        seen = []
        for publisher, records in by_publisher.items():
            try:
                seen.append(self._against_mark(Slot(publisher, tag, target, Kind.MULTI), records))
            except StaleRecord:  # of one, who may have brought it about: the others are shown
                self._access.count("stale_entries")
        seen.sort(key=lambda each: order_key(each.record), reverse=True)
        return seen

    async def immutable(self, target: Target, paths: int = 1) -> Record | None:
        """The immutable record at a target; None for not found.

        Raises:
            As `read`, StaleRecord apart.

        """
        [readings] = await self._access.read([target], paths)
        records = self._believed(readings, lambda reading: self._immutables_of(target, reading))
        return records[0] if records else None

    def _immutables_of(self, target: Target, reading: Reading) -> list[Record]:
        records = [decode_record(raw) for raw in reading.records]
        for record in records:
            self._checks.check_target(record, target)
            if record.kind is not Kind.IMMUTABLE:  # its address would be no proof
                raise WrongTarget("a node showed a record that can change")
        return records

    def _entries_of(self, tag: Tag, target: Target, reading: Reading) -> list[Record]:
        entries = []
        for raw in reading.records:
            record = decode_record(raw)
            self._checks.verify_record(record, target)
            if record.tag != tag:
                raise WrongTarget("a node showed a record of another name")
            if not self._has_expired(record):
                entries.append(record)
        return entries

    def remember(self, slot: Slot, record: Record) -> None:
        """Never take an older one than this for the slot's."""
        self._marks.raise_to(slot.key, Mark(record.seq, record.hash, record.expires, record.is_tombstone))

    def _check_hidden(self, slot: Slot) -> None:
        """Nothing is shown of what this home knows to be there: that must not pass for not found.

        Of a private slot least of all: the older public value of the same name would be returned in its place.
        """
        mark = self._marks.get(slot.key)
        if mark is not None and self._is_known(mark):
            raise StaleRecord(0, mark.seq)

    def lives(self, mark: Mark) -> bool:
        """True if what was seen, a tombstone too, has to be there still."""
        return mark.expires > self._access.now().wall

    def _is_known(self, mark: Mark | None) -> bool:
        return mark is not None and not mark.is_tombstone and self.lives(mark)

    def _verified(self, slot: Slot, reading: Reading) -> list[Record]:
        verified = []
        for raw in reading.records:
            record = decode_record(raw)
            self._checks.verify_record(record, slot.target)
            if record.publisher != slot.publisher and slot.kind is Kind.MULTI:
                continue  # an entry beside this one
            if record.publisher != slot.publisher or record.tag != slot.tag:
                raise WrongTarget("a node showed somebody else's record")
            if not self._has_expired(record):
                verified.append(record)
        return verified

    def _has_expired(self, record: Record) -> bool:
        return record.expires + CLOCK_SKEW_S < self._access.now().wall

    def _against_mark(self, slot: Slot, records: list[Record]) -> Seen:
        best = max(records, key=order_key)
        is_conflict = any(r.seq == best.seq and r.hash != best.hash for r in records)
        mark = self._marks.get(slot.key)
        if mark is not None:
            if best.seq < mark.seq:
                raise StaleRecord(best.seq, mark.seq)
            is_conflict = is_conflict or (best.seq == mark.seq and best.hash != mark.hash)
        self.remember(slot, best)
        self._marks.met(slot.publisher)
        return Seen(best, is_conflict)


def publisher_of(record: Record) -> PublicKey:
    """Who signed a record that is not immutable."""
    return record.publisher  # type: ignore[return-value] # only immutables have none


def _too_few(readings: list[Reading]) -> ReadQuorumFailed:
    best = max(readings, key=lambda reading: reading.answered)
    return ReadQuorumFailed(best.answered, best.needed, max(best.answered, best.needed))

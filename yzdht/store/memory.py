"""Records in memory, with the semantics of the store on disk: for tests, the simulator and nodes without a disk."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import STORE_BATCH_WRITES_MAX, STORE_QUEUE_WRITES_MAX, SWEEP_ROWS_MAX
from yzdht.ports import StoredRecord
from yzdht.store.policy import (
    EVERYBODY,
    NOBODY,
    NOTHING,
    Charge,
    Entry,
    Quotas,
    Totals,
    Usage,
    due_of,
    entries_that_leave,
    growth_of,
    owner_of,
    shown,
)
from yzdht.wire.slot import Kind, OverQuota, StoreBroken, Stored, head_after, judge


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import Publisher, Target
    from yzdht.wire.slot import Head, Verdict, Write

    Schedule = Callable[[Callable[[], None]], object]
    Sink = Callable[[list[tuple[int, Verdict]]], None]

    Key = tuple[Target, Publisher]


_DUE_SLACK = 1_024


class _Slot(NamedTuple):
    """One slot: its state and who is charged for it."""

    head: Head
    owner: bytes


class MemoryStore:
    """A RecordStore without a disk; `submit` decides at once, the verdict comes later as from the other.

    Args:
        sink: Takes the verdicts of one batch.
        schedule: Runs a function soon, never at once: `loop.call_soon`.
        quotas: What strangers may store.

    """

    def __init__(self, sink: Sink, schedule: Schedule, quotas: Quotas | None = None) -> None:
        self._sink = sink
        self._schedule = schedule
        self._quotas = quotas or Quotas()
        self._slots: dict[Key, _Slot] = {}
        self._records: dict[Target, dict[Publisher, StoredRecord]] = {}
        self._usage: dict[bytes, Usage] = {}
        self._due: list[tuple[int, Target, Publisher]] = []  # a heap; entries may be out of date
        self._answers: list[tuple[int, Verdict]] = []
        self._is_closed = False

    # Reads

    def head(self, target: Target, publisher: Publisher) -> Head | None:
        """State of one slot, tombs of expired records included; None if never seen."""
        slot = self._slots.get((target, publisher))
        return None if slot is None else slot.head

    def get(self, target: Target, wall_now: float) -> list[StoredRecord]:
        """Records under a target that have not expired, newest first; at most MULTI_ENTRIES_MAX."""
        records = self._records.get(target)
        return shown(list(records.values()), wall_now) if records else []

    def targets(self, after: Target | None, limit: int) -> list[tuple[Target, Publisher, Head]]:
        """One page of the slots that have a body, by target, as SqliteStore.targets; reads every target."""
        wanted = heapq.nsmallest(limit, (target for target in self._records if target > (after or b"")))
        page: list[tuple[Target, Publisher, Head]] = []
        for target in wanted:
            if len(page) >= limit:
                break
            page += [(target, publisher, record.head) for publisher, record in self._records[target].items()]
        return page

    def totals(self) -> Totals:
        """Records with a body, expired ones not yet swept included, and their bytes."""
        return Totals(
            sum(map(len, self._records.values())),
            self._used(NOBODY).bytes + self._used(EVERYBODY).bytes,
        )

    # Writes

    def submit(self, op: int, write: Write) -> None:
        """Decide a write now and hand its verdict to the sink later, with the same `op`.

        When STORE_QUEUE_WRITES_MAX verdicts wait already, or the store is closed, the verdict is StoreBroken ("busy").
        """
        is_refused = self._is_closed or not self.has_room()
        if not self._answers:
            self._schedule(self._tell)
        self._answers.append((op, StoreBroken() if is_refused else self._decide(write)))

    def has_room(self) -> bool:
        """False while STORE_QUEUE_WRITES_MAX verdicts wait."""
        return len(self._answers) < STORE_QUEUE_WRITES_MAX

    def sweep(self, wall_now: float) -> None:
        """Drop bodies of expired records and forgotten slots, SWEEP_ROWS_MAX per turn of the loop."""
        for _ in range(SWEEP_ROWS_MAX):
            if not self._due or self._due[0][0] > wall_now:
                return
            due, target, publisher = heapq.heappop(self._due)
            slot = self._slots.get((target, publisher))
            if slot is None or due_of(slot.head) != due:
                continue
            if slot.head.expires_max <= wall_now:
                self._forget((target, publisher))
            else:
                self._drop_body((target, publisher))
        self._schedule(lambda: self.sweep(wall_now))

    async def close(self) -> None:
        """Hand out the verdicts that wait, then refuse further writes. Idempotent."""
        self._is_closed = True
        while self._answers:
            self._tell()

    def _tell(self) -> None:
        batch, self._answers = self._answers[:STORE_BATCH_WRITES_MAX], self._answers[STORE_BATCH_WRITES_MAX:]
        if self._answers:
            self._schedule(self._tell)
        if batch:
            self._sink(batch)

    # Decisions

    def _decide(self, write: Write) -> Verdict:
        key = (write.target, write.publisher)
        slot = self._slots.get(key)
        head = slot.head if slot else None
        verdict = judge(head, write)
        if not isinstance(verdict, Stored):
            return verdict
        after = head_after(head, write)
        if slot and slot.head.holds(write):
            self._fill(key, _Slot(after, NOBODY if after.is_pinned else slot.owner), write.body)
            return verdict
        owner = owner_of(write, is_pinned=after.is_pinned)
        if owner != NOBODY and not self._has_quota(write, slot, owner):
            return OverQuota()
        if write.kind is Kind.MULTI and not self._make_room(write):
            return OverQuota()
        self._fill(key, _Slot(after, owner), write.body)
        return verdict

    def _has_quota(self, write: Write, slot: _Slot | None, owner: bytes) -> bool:
        counted = slot.head if slot and slot.owner != NOBODY else None
        mine = slot.head if slot and slot.owner == owner else None
        return self._quotas.admit(
            write,
            mine=Charge(self._used(owner), growth_of(write, mine)),
            everybody=Charge(self._used(EVERYBODY), growth_of(write, counted)),
        )

    def _make_room(self, write: Write) -> bool:
        others = [
            Entry(record.head.expires, record.head.seq, publisher)
            for publisher, record in self._records.get(write.target, {}).items()
            if publisher != write.publisher
        ]
        leaving = entries_that_leave(others, Entry(write.expires, write.seq, write.publisher))
        if leaving is None:
            return False
        for entry in leaving:
            self._drop_body((write.target, entry.publisher))
        return True

    # Slots and their sums

    def _fill(self, key: Key, slot: _Slot, body: bytes) -> None:
        self._put(key, slot)
        target, publisher = key
        self._records.setdefault(target, {})[publisher] = StoredRecord(slot.head, publisher, body)

    def _drop_body(self, key: Key) -> None:
        head, owner = self._slots[key]
        self._put(key, _Slot(replace(head, size=0, has_body=False), owner))
        self._drop_record(key)

    def _forget(self, key: Key) -> None:
        slot = self._slots.pop(key)
        self._count(slot, -1)
        if slot.head.has_body:
            self._drop_record(key)

    def _drop_record(self, key: Key) -> None:
        target, publisher = key
        records = self._records[target]
        del records[publisher]
        if not records:
            del self._records[target]

    def _put(self, key: Key, slot: _Slot) -> None:
        before = self._slots.get(key)
        if before is not None:
            self._count(before, -1)
        self._count(slot, 1)
        self._slots[key] = slot
        heapq.heappush(self._due, (due_of(slot.head), *key))
        if len(self._due) > 2 * len(self._slots) + _DUE_SLACK:
            self._due = [(due_of(each.head), *name) for name, each in self._slots.items()]
            heapq.heapify(self._due)

    def _used(self, owner: bytes) -> Usage:
        return self._usage.get(owner, NOTHING)

    def _count(self, slot: _Slot, sign: int) -> None:
        for owner in {slot.owner, EVERYBODY if slot.owner != NOBODY else NOBODY}:
            used = self._used(owner)
            changed = Usage(used.slots + sign, used.bytes + sign * slot.head.size)
            if changed.slots:
                self._usage[owner] = changed
            else:
                del self._usage[owner]

"""Records in memory, with the semantics of the store on disk: for tests, the simulator and nodes without a disk."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from dataclasses import replace
from typing import TYPE_CHECKING

from yzdht.limits import STORE_BATCH_WRITES_MAX, STORE_QUEUE_WRITES_MAX, SWEEP_ROWS_MAX
from yzdht.ports import StoredHead, StoredRecord
from yzdht.store.eviction import Eviction
from yzdht.store.policy import (
    EVERYBODY,
    NOBODY,
    NOTHING,
    Entry,
    Filled,
    Quotas,
    Totals,
    Usage,
    Used,
    due_of,
    entries_that_leave,
    payers_of,
    shown,
)
from yzdht.wire.slot import Kind, OverQuota, StoreBroken, Stored, head_after, judge


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yzdht.ids import Publisher, RecordHash, Target
    from yzdht.wire.slot import Head, Verdict, Write

    Schedule = Callable[[Callable[[], None]], object]
    Sink = Callable[[list[tuple[int, Verdict]]], None]

    Key = tuple[Target, Publisher]


_DUE_SLACK = 1_024
_AFTER_ALL = b"\xff" * 34
"""Greater than any publisher."""


class MemoryStore:
    """A RecordStore without a disk; `submit` decides at once, the verdict comes later as from the other.

    Args:
        sink: Takes the verdicts of one batch.
        schedule: Runs a function soon, never at once: `loop.call_soon`.
        quotas: What strangers may store.

    Attributes:
        evicted: Targets whose records it gave up so far, being full.

    """

    def __init__(self, sink: Sink, schedule: Schedule, quotas: Quotas | None = None) -> None:
        self._sink = sink
        self._schedule = schedule
        self._quotas = quotas or Quotas()
        self._slots: dict[Key, Filled] = {}
        self._records: dict[Target, dict[Publisher, StoredRecord]] = {}
        self._order: list[Target] = []  # the targets of _records, ascending
        self._keys: list[Key] = []  # those of _slots, ascending
        self._brought: dict[bytes, list[Key]] = {}  # those of each bringer that pays, ascending
        self._usage: dict[bytes, Usage] = {}
        self._eviction = Eviction(self._quotas.own_id)
        self.evicted = 0
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

    def heads(self, target: Target, wall_now: float) -> list[StoredHead]:
        """What `get` returns, without bodies."""
        return [StoredHead(record.head, record.publisher) for record in self.get(target, wall_now)]

    def body(self, target: Target, publisher: Publisher, record_hash: RecordHash) -> bytes | None:
        """The record of a slot, if it is still that one."""
        record = self._records.get(target, {}).get(publisher)
        return record.body if record is not None and record.head.hash == record_hash else None

    def targets(self, after: Target | None, limit: int) -> list[tuple[Target, Publisher, Head]]:
        """One page of the slots that have a body, by target, as SqliteStore.targets."""
        page: list[tuple[Target, Publisher, Head]] = []
        start = bisect_right(self._order, after) if after is not None else 0
        for target in self._order[start : start + limit]:
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

    def protect(self, radius: int) -> None:
        """Give up no record whose distance from the own id is below that, however full."""
        self._eviction.protect(radius)

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
            self._fill(key, Filled(after, slot.stored_by), write.body)
            return verdict
        if not after.is_pinned and not self._admit(write, slot):
            return OverQuota()
        if write.kind is Kind.MULTI and not self._make_room(write):
            return OverQuota()
        self._fill(key, Filled(after, write.stored_by), write.body)
        return verdict

    def _admit(self, write: Write, slot: Filled | None) -> bool:
        used = self._used_by(write)
        if not self._quotas.admit(write, slot, used):
            return False
        excess = self._quotas.excess(write, slot, used)
        if excess == NOTHING:
            return True
        return self._eviction.make_room(write.target, excess, self, self._quotas.claim(write, slot, used))

    # Shelves

    def first(
        self, low: Target, high: Target, *, is_whole: bool, bringer: bytes | None = None
    ) -> Target | None:
        """The first target of a range that can be given up."""
        keys = self._keys_of(bringer)
        start, end = _range(keys, low, high)
        return next(self._leaving(keys, range(start, end), is_whole=is_whole), None)

    def last(
        self, low: Target, high: Target, *, is_whole: bool, bringer: bytes | None = None
    ) -> Target | None:
        """The last one."""
        keys = self._keys_of(bringer)
        start, end = _range(keys, low, high)
        return next(self._leaving(keys, range(end - 1, start - 1, -1), is_whole=is_whole), None)

    def _keys_of(self, bringer: bytes | None) -> list[Key]:
        return self._keys if bringer is None else self._brought.get(bringer, [])

    def _leaving(self, keys: list[Key], places: range, *, is_whole: bool) -> Iterator[Target]:
        for place in places:
            head = self._slots[keys[place]].head
            if not head.is_pinned and (is_whole or head.has_body):
                yield keys[place][0]

    def greediest(self, *, is_whole: bool) -> list[tuple[bytes, Usage]]:
        """Who brought most, of each kind of bringer."""
        most: dict[int, bytes] = {}
        for bringer in self._brought:
            known = most.setdefault(len(bringer), bringer)
            if self._rank(bringer, is_whole=is_whole) > self._rank(known, is_whole=is_whole):
                most[len(bringer)] = bringer
        return [(bringer, self._used(bringer)) for bringer in most.values()]

    def _rank(self, bringer: bytes, *, is_whole: bool) -> tuple[int, bytes]:
        taken = self._used(bringer)
        return taken.slots if is_whole else taken.bytes, bringer

    def drop(self, target: Target, *, is_whole: bool, bringer: bytes | None = None) -> Usage:
        """Give up the bodies under a target, or its whole slots."""
        before = self._used(EVERYBODY)
        keys = self._keys_of(bringer)
        start, end = _range(keys, target, target)
        for key in keys[start:end]:
            head = self._slots[key].head
            if head.is_pinned:
                continue
            if is_whole:
                self._forget(key)
            elif head.has_body:
                self._drop_body(key)
        self.evicted += 1
        after = self._used(EVERYBODY)
        return Usage(before.slots - after.slots, before.bytes - after.bytes)

    def _used_by(self, write: Write) -> Used:
        return Used(self._used(write.publisher), self._used(write.stored_by), self._used(EVERYBODY))

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

    def _fill(self, key: Key, slot: Filled, body: bytes) -> None:
        self._put(key, slot)
        target, publisher = key
        records = self._records.get(target)
        if records is None:
            records = self._records[target] = {}
            insort(self._order, target)
        records[publisher] = StoredRecord(slot.head, publisher, body)

    def _drop_body(self, key: Key) -> None:
        head, stored_by = self._slots[key]
        self._put(key, Filled(replace(head, size=0, has_body=False), stored_by))
        self._drop_record(key)

    def _forget(self, key: Key) -> None:
        slot = self._slots.pop(key)
        del self._keys[bisect_left(self._keys, key)]
        self._count(key, slot, -1)
        if slot.head.has_body:
            self._drop_record(key)

    def _drop_record(self, key: Key) -> None:
        target, publisher = key
        records = self._records[target]
        del records[publisher]
        if not records:
            del self._records[target]
            del self._order[bisect_left(self._order, target)]

    def _put(self, key: Key, slot: Filled) -> None:
        before = self._slots.get(key)
        if before is not None:
            self._count(key, before, -1)
        else:
            insort(self._keys, key)
        self._count(key, slot, 1)
        self._slots[key] = slot
        heapq.heappush(self._due, (due_of(slot.head), *key))
        if len(self._due) > 2 * len(self._slots) + _DUE_SLACK:
            self._due = [(due_of(each.head), *name) for name, each in self._slots.items()]
            heapq.heapify(self._due)

    def _used(self, payer: bytes) -> Usage:
        return self._usage.get(payer, NOTHING)

    def _count(self, key: Key, slot: Filled, sign: int) -> None:
        _, publisher = key
        for payer in payers_of(publisher, slot.stored_by, is_pinned=slot.head.is_pinned):
            used = self._used(payer)
            changed = Usage(used.slots + sign, used.bytes + sign * slot.head.size)
            if changed.slots:
                self._usage[payer] = changed
            else:
                del self._usage[payer]
        if slot.stored_by and not slot.head.is_pinned:
            self._count_brought(key, slot.stored_by, sign)

    def _count_brought(self, key: Key, bringer: bytes, sign: int) -> None:
        keys = self._brought.setdefault(bringer, [])
        if sign > 0:
            insort(keys, key)
            return
        del keys[bisect_left(keys, key)]
        if not keys:
            del self._brought[bringer]


def _range(keys: list[Key], low: Target, high: Target) -> tuple[int, int]:
    return bisect_left(keys, (low, b"")), bisect_right(keys, (high, _AFTER_ALL))

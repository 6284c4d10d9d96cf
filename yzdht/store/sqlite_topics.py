"""Histories of topics in the SQLite file of the records: one writer thread and one transaction serve both.

Owns what the event loop does: reads over the connection that cannot write, and the overlay of waiting changes. What is kept
and what leaves is decided by `TopicWriter`. PROTOCOL.md section 11.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from yzdht.limits import ENVELOPES_PER_ANSWER_MAX, HISTORY_QUEUE_BYTES_MAX, HISTORY_QUEUE_WRITES_MAX
from yzdht.store.history_policy import TopicTotals
from yzdht.store.rows import sum_of
from yzdht.store.topic_overlay import TopicOverlay
from yzdht.store.topic_rows import (
    SELECT_ENVELOPES,
    SELECT_FLOOR,
    SELECT_HELD,
    SELECT_MESSAGE_ID,
    SELECT_TOPIC_TOTALS,
    SELECT_TOPICS,
)
from yzdht.wire.history import TopicWrite
from yzdht.wire.holdings import Held, Holdings, Series, Span


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from yzdht.ids import MessageId, TopicId
    from yzdht.wire.history import Bringer, TopicChange
    from yzdht.wire.rpc import Range


class Desk(NamedTuple):
    """What these histories need of the store whose file they are in.

    Attributes:
        rows: Runs a statement that reads; a row at a time. It, and the iterator, raise StoreError.
        queue: Hands a change to the writer thread; False if it takes none any more.
        refuse: Tells the sink, soon, that a change could not be taken.
        drop_damaged: Told the row of an envelope that the disk changed.

    """

    rows: Callable[[str, Sequence[object]], Iterator[tuple[Any, ...]]]
    queue: Callable[[int, TopicChange], bool]
    refuse: Callable[[int], None]
    drop_damaged: Callable[[int], None]


class SqliteTopics:
    """A TopicStore on disk; every method belongs to the event loop's thread, and those that read raise StoreError."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._overlay = TopicOverlay()

    # Reads

    def topics(self, after: TopicId | None, limit: int) -> list[TopicId]:
        """One page of the topics, in their order as bytes; see the port."""
        found: list[TopicId] = []
        last: TopicId | bytes = after or b""
        while len(found) < limit:
            wanted = limit - len(found)
            rows: list[TopicId] = [row[0] for row in self._desk.rows(SELECT_TOPICS, (last, wanted))]
            found += [topic for topic in rows if not self._is_gone(topic)]
            if len(rows) < wanted:
                break
            last = rows[-1]
        return self._with_new_ones(found, after or b"")[:limit]

    def _with_new_ones(self, found: list[TopicId], after: bytes) -> list[TopicId]:
        known = set(found)
        for topic, pending in self._overlay:
            if topic > after and topic not in known and pending.fold()[1]:
                insort(found, topic)
        return found

    def _is_gone(self, topic: TopicId) -> bool:
        pending = self._overlay.find(topic)
        if pending is None:
            return False
        is_forgotten, writes = pending.fold()
        return is_forgotten and not writes

    def holdings(self, topic: TopicId) -> Holdings:
        """What is held of a topic, the caller's own from now on; the series that got a message last is the newest."""
        is_forgotten, writes = self._pending(topic)
        holdings = Holdings() if is_forgotten else self._committed(topic)
        for series, indexes in writes.items():
            for index in indexes:
                holdings.add(series, index)
        return holdings

    def _committed(self, topic: TopicId) -> Holdings:
        found: list[tuple[int, Series, Held]] = []
        gappy: dict[int, tuple[int, Series, int, list[int]]] = {}
        rows = self._desk.rows(SELECT_HELD, (topic,))
        for number, sender, session, floor, changed, runs, first, to, index in rows:
            if runs <= 1:
                held = Held.of_runs(floor, [Span(first, to)] if runs else [])
                found.append((changed, Series(sender, session), held))
            elif number in gappy:
                gappy[number][3].append(index)
            else:
                gappy[number] = (changed, Series(sender, session), floor, [index])
        found += [
            (changed, series, Held.of(floor, sorted(indexes)))
            for changed, series, floor, indexes in gappy.values()
        ]
        holdings = Holdings()
        for _, series, held in sorted(found, key=itemgetter(0)):
            holdings.put(series, held)
        return holdings

    def envelopes(self, topic: TopicId, ranges: Sequence[Range], bytes_max: int) -> tuple[list[bytes], bool]:
        """Envelopes of a topic, in the order of the ranges, within each by index; see the port."""
        found: list[bytes] = []
        room = bytes_max
        is_forgotten, writes = self._pending(topic)
        asked = {Series(wanted.sender, wanted.session) for wanted in ranges}
        waiting = {
            series: self._waiting(topic, series, writes[series], is_forgotten=is_forgotten)
            for series in asked
            if series in writes
        }
        for wanted in ranges:
            above = _within(waiting.get(Series(wanted.sender, wanted.session), []), wanted)
            for envelope in _merged(() if is_forgotten else self._kept(topic, wanted), above):
                if found and (len(envelope) > room or len(found) == ENVELOPES_PER_ANSWER_MAX):
                    return found, True
                found.append(envelope)
                room -= len(envelope)
        return found, False

    def _kept(self, topic: TopicId, wanted: Range) -> Iterator[tuple[int, bytes]]:
        """What is committed of a range, by index."""
        key = (topic, wanted.sender, wanted.session, wanted.start, wanted.to)
        for index, envelope, written, number in self._desk.rows(SELECT_ENVELOPES, key):
            if sum_of(envelope) == written:
                yield index, envelope
            else:
                self._desk.drop_damaged(number)

    def _waiting(
        self, topic: TopicId, series: Series, writes: dict[int, TopicWrite], *, is_forgotten: bool
    ) -> list[tuple[int, bytes]]:
        """What waits of a series, by index; what is over is left out, for it will be refused."""
        floor = 0 if is_forgotten else self._floor_of(topic, series)
        return sorted((index, write.envelope) for index, write in writes.items() if index >= floor)

    def _floor_of(self, topic: TopicId, series: Series) -> int:
        row = next(self._desk.rows(SELECT_FLOOR, (topic, *series)), None)
        return 0 if row is None else int(row[0])

    def message_id(self, topic: TopicId, series: Series, index: int) -> MessageId | None:
        """Which message is held under an index; None if none is."""
        is_forgotten, writes = self._pending(topic)
        if not is_forgotten:
            row = next(self._desk.rows(SELECT_MESSAGE_ID, (topic, *series, index)), None)
            if row is not None:
                found: MessageId = row[0]
                return found
        write = writes.get(series, {}).get(index)
        if write is None or (not is_forgotten and index < self._floor_of(topic, series)):
            return None
        return write.id

    def totals(self) -> TopicTotals:
        """How much is held, waiting changes left out."""
        row = next(self._desk.rows(SELECT_TOPIC_TOTALS, ()), None)
        return TopicTotals(0, 0, 0) if row is None else TopicTotals(*row)

    def _pending(self, topic: TopicId) -> tuple[bool, dict[Series, dict[int, TopicWrite]]]:
        pending = self._overlay.find(topic)
        return (False, {}) if pending is None else pending.fold()

    # Changes

    def submit(self, op: int, change: TopicChange) -> None:
        """Queue a durable change; its verdict reaches the sink later, with the same `op`; see the port."""
        assert not isinstance(change, TopicWrite) or change.bringer
        bringer = change.bringer if isinstance(change, TopicWrite) else None
        if not self.has_room(bringer) or not self._desk.queue(op, change):
            self._desk.refuse(op)
            return
        self._overlay.add(change)

    def has_room(self, bringer: Bringer | None = None) -> bool:
        """Whether one more change may wait; see the port."""
        overlay = self._overlay
        places = HISTORY_QUEUE_WRITES_MAX - overlay.waiting
        bytes_left = HISTORY_QUEUE_BYTES_MAX - overlay.waiting_bytes
        count, size = (0, 0) if bringer is None else overlay.waiting_of(bringer)
        return places > count and bytes_left > size

    def settle(self, changes: Sequence[TopicChange]) -> None:
        """These changes were decided, and are committed or were refused; for the store whose thread did it."""
        self._overlay.settle(changes)


def _within(waiting: list[tuple[int, bytes]], wanted: Range) -> list[tuple[int, bytes]]:
    """The part of what waits that lies in a range."""
    return waiting[bisect_left(waiting, (wanted.start, b"")) : bisect_left(waiting, (wanted.to, b""))]


def _merged(kept: Iterable[tuple[int, bytes]], waiting: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """Both by index; what is kept goes before what waits under the same index, which will be refused."""
    last = -1
    for index, envelope in heapq.merge(kept, waiting, key=_index_of):
        if index != last:
            yield envelope
        last = index


def _index_of(item: tuple[int, bytes]) -> int:
    return item[0]

"""Records, and histories of topics, in one SQLite file: durable before acknowledged, one writer thread, group commit.

Owns the thread, its queue and the overlay of waiting writes. What may be stored is decided by `Writer` inside its
transaction; reads go over a second connection that cannot write. PROTOCOL.md sections 8 and 13, HOUSE.md "Durable
before acknowledged".
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from contextlib import closing, suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from yzdht.errors import StoreError
from yzdht.limits import (
    STORE_BATCH_WRITES_MAX,
    STORE_COMMITS_KEPT_MAX,
    STORE_QUEUE_BYTES_MAX,
    STORE_QUEUE_WRITES_MAX,
)
from yzdht.ports import StoredHead, StoredRecord
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.log import check_log
from yzdht.store.overlay import Overlay
from yzdht.store.policy import Quotas, Totals, shown
from yzdht.store.rows import (
    HEAD_COLUMNS,
    RECORDS_SCHEMA,
    SELECT_HEAD,
    SELECT_HEADS_UNDER_TARGET,
    SELECT_PAGE,
    SELECT_RECORD,
    SELECT_REST_OF_PAGE,
    SELECT_TOTALS,
    SELECT_UNDER_TARGET,
    head_of,
    sum_of,
)
from yzdht.store.schema import as_store_error, check_integrity, open_database, open_for_reading
from yzdht.store.sqlite_topics import Desk, SqliteTopics
from yzdht.store.write_lines import DropDamaged, DropDamagedEnvelope, Order, Sweep, WriteLines
from yzdht.store.writer import Writer
from yzdht.wire.slot import StoreBroken, Write


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from yzdht.ids import Publisher, RecordHash, Target
    from yzdht.store.overlay import PendingSlot
    from yzdht.store.write_lines import Submission
    from yzdht.wire.history import TopicChange, TopicVerdict
    from yzdht.wire.slot import Head, Verdict

    Schedule = Callable[[Callable[[], None]], object]
    Sink = Callable[[list[tuple[int, Verdict]]], None]
    TopicSink = Callable[[list[tuple[int, TopicVerdict]]], None]
    OnUnreadable = Callable[[StoreError], None]


_CHANGED_HINT = "check the disk; the record comes again from other nodes"


class Commit(NamedTuple):
    """One transaction of the writer, for telemetry.

    Attributes:
        writes: How many writes it decided.
        seconds: How long it took, the disk included.
        failure: Why the disk refused it; None if it is durable.

    """

    writes: int
    seconds: float
    failure: StoreError | None = None


class _Connections(NamedTuple):
    writing: sqlite3.Connection  # the thread's, from the moment it starts
    reading: sqlite3.Connection


class _Listeners(NamedTuple):
    sink: Sink
    schedule: Schedule
    on_unreadable: OnUnreadable
    topic_sink: TopicSink


class _Limits(NamedTuple):
    records: Quotas
    topics: HistoryQuotas


class Histories(NamedTuple):
    """What a store is told of topics when it is opened.

    Attributes:
        sink: Takes the verdicts of one committed batch, on the loop; in the same turn as that of records.
        quotas: How much is kept.

    """

    sink: TopicSink
    quotas: HistoryQuotas = HistoryQuotas()


class SqliteStore:
    """A RecordStore on disk. Use `open`; every method belongs to the event loop's thread.

    Attributes:
        histories: A TopicStore in the same file; what is written to both at once is durable at once.

    """

    def __init__(self, path: Path, connections: _Connections, limits: _Limits, listeners: _Listeners) -> None:
        self._path = path
        self._writing, self._reading = connections
        self._sink, self._schedule, self._on_unreadable, self._topic_sink = listeners
        self._writer = Writer(self._writing, *limits)
        self._overlay = Overlay()
        self._queue = WriteLines()
        self._turn: list[Submission] = []  # changes of topics of this turn of the loop
        self._commits: deque[Commit] = deque(maxlen=STORE_COMMITS_KEPT_MAX)
        self._damaged: set[tuple[Target, Publisher] | int] = set()
        self.histories = SqliteTopics(
            Desk(self._rows, self._queue_change, self._refuse_change, self._drop_envelope)
        )
        self._is_sweeping = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="yzdht-store", daemon=True)

    @classmethod
    def open(
        cls,
        path: Path,
        sink: Sink,
        schedule: Schedule,
        quotas: Quotas | None = None,
        on_unreadable: OnUnreadable = lambda _failure: None,
        histories: Histories | None = None,
    ) -> SqliteStore:
        """Open or create the file and start its writer thread.

        Args:
            path: The file; its folder exists.
            sink: Takes the verdicts of one committed batch, on the loop.
            schedule: Runs a function on the loop, from any thread: `loop.call_soon_threadsafe`.
            quotas: What strangers may store.
            on_unreadable: Told, on the loop, of each read that failed.
            histories: Who is told of what becomes of topics, and how much is kept of them; None where nobody asks.

        Raises:
            NewerFormat: A newer version of yzdht wrote the file.
            UnsafeFile: Others can write it.
            StoreError: The file cannot be opened, is damaged or belongs to another program.

        """
        check_log(path)
        writing = open_database(path, RECORDS_SCHEMA)
        try:
            check_integrity(writing, path)
            reading = open_for_reading(path)
        except BaseException:
            writing.close()
            raise
        histories = histories or Histories(lambda _answers: None)
        store = cls(
            path,
            _Connections(writing, reading),
            _Limits(quotas or Quotas(), histories.quotas),
            _Listeners(sink, schedule, on_unreadable, histories.sink),
        )
        store._thread.start()
        return store

    # Reads, on the loop

    def head(self, target: Target, publisher: Publisher) -> Head | None:
        """State of one slot, tombs of expired records included; None if never seen.

        Raises:
            StoreError: The disk cannot be read.

        """
        slot = self._overlay.find(target, publisher)
        if slot is None:
            return self._committed_head(target, publisher)
        return slot.predict(partial(self._committed_head, target, publisher))[0]

    def get(self, target: Target, wall_now: float) -> list[StoredRecord]:
        """Records under a target that have not expired, newest first; at most MULTI_ENTRIES_MAX.

        Raises:
            StoreError: The disk cannot be read.

        """
        rows = self._read(SELECT_UNDER_TARGET, (target,))
        records = [record for row in rows if (record := self._record_of(target, row)) is not None]
        pending = self._overlay.under(target)
        if pending:
            records = self._overlaid(target, records, pending)
        return shown(records, wall_now)

    def heads(self, target: Target, wall_now: float) -> list[StoredHead]:
        """What `get` returns, without reading a body; one that the disk changed is not noticed.

        Raises:
            StoreError: The disk cannot be read.

        """
        rows = self._read(SELECT_HEADS_UNDER_TARGET, (target,))
        heads = [StoredHead(head_of(row), row[HEAD_COLUMNS]) for row in rows]
        pending = self._overlay.under(target)
        if pending:
            by_publisher = {held.publisher: held for held in heads}
            for record in self._supplied(target, pending):
                by_publisher[record.publisher] = StoredHead(record.head, record.publisher)
            heads = list(by_publisher.values())
        return shown(heads, wall_now)

    def body(self, target: Target, publisher: Publisher, record_hash: RecordHash) -> bytes | None:
        """The record of a slot, if it is still that one, and what was written.

        Raises:
            StoreError: The disk cannot be read.

        """
        slot = self._overlay.find(target, publisher)
        if slot is not None:
            head, body = slot.predict(partial(self._committed_head, target, publisher))
            if body is not None:
                return body if head is not None and head.hash == record_hash else None
        rows = self._read(SELECT_RECORD, (target, publisher, record_hash))
        record = self._record_of(target, rows[0]) if rows else None
        return None if record is None else record.body

    def targets(self, after: Target | None, limit: int) -> list[tuple[Target, Publisher, Head]]:
        """One page of the committed slots that have a body, by target; expired ones may be among them.

        Args:
            after: The last target of the page before; None for the first page.
            limit: Rows wanted, at least 1; all entries of the last target are added, at most MULTI_ENTRIES_MAX.

        Returns:
            Empty when there is nothing after `after`.

        Raises:
            StoreError: The disk cannot be read.

        """
        rows = self._read(SELECT_PAGE, (after or b"", limit))
        if len(rows) == limit:
            last = rows[-1][HEAD_COLUMNS]
            rows = [row for row in rows if row[HEAD_COLUMNS] != last] + self._read(
                SELECT_REST_OF_PAGE, (last,)
            )
        return [(row[HEAD_COLUMNS], row[HEAD_COLUMNS + 1], head_of(row)) for row in rows]

    def totals(self) -> Totals:
        """Records with a body, expired ones not yet swept included, and their bytes.

        Raises:
            StoreError: The disk cannot be read.

        """
        records, size = self._read(SELECT_TOTALS, ())[0]
        return Totals(int(records), int(size))

    def take_commits(self) -> list[Commit]:
        """What the writer did since the last call; at most the newest STORE_COMMITS_KEPT_MAX."""
        commits = list(self._commits)
        self._commits.clear()
        return commits

    def _committed_head(self, target: Target, publisher: Publisher) -> Head | None:
        rows = self._read(SELECT_HEAD, (target, publisher))
        return head_of(rows[0]) if rows else None

    def _record_of(self, target: Target, row: Sequence[Any]) -> StoredRecord | None:
        """None if the body is not what was written: it proves nothing to anybody, and is given up to get another."""
        publisher, body, written = row[HEAD_COLUMNS:]
        if written is None or sum_of(body) == written:
            return StoredRecord(head_of(row), publisher, body)
        if not self._is_closing and (target, publisher) not in self._damaged:
            self._damaged.add((target, publisher))
            self._queue.order(DropDamaged(target, publisher))
            self._on_unreadable(
                StoreError(f"{self._path} holds a record that the disk changed", hint=_CHANGED_HINT)
            )
        return None

    def _read(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._reading.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            failure = as_store_error(error, self._path)
            self._on_unreadable(failure)
            raise failure from error

    def _rows(self, statement: str, parameters: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        """As `_read`, a row at a time: what a history holds is more than one answer takes."""
        try:
            with closing(self._reading.execute(statement, parameters)) as cursor:
                yield from cursor
        except sqlite3.Error as error:
            failure = as_store_error(error, self._path)
            self._on_unreadable(failure)
            raise failure from error

    def _overlaid(
        self, target: Target, records: list[StoredRecord], pending: Mapping[Publisher, PendingSlot]
    ) -> list[StoredRecord]:
        by_publisher = {record.publisher: record for record in records}
        by_publisher |= {record.publisher: record for record in self._supplied(target, pending)}
        return list(by_publisher.values())

    def _supplied(self, target: Target, pending: Mapping[Publisher, PendingSlot]) -> Iterator[StoredRecord]:
        """What waiting writes will put in place of what is committed."""
        for publisher, slot in pending.items():
            head, body = slot.predict(partial(self._committed_head, target, publisher))
            if head is not None and body is not None:
                yield StoredRecord(head, publisher, body)

    # Writes, handed to the thread

    def submit(self, op: int, write: Write) -> None:
        """Queue a durable write; its verdict reaches the sink later, with the same `op`.

        When so many wait already that there is no room, or the store is closing, the verdict is StoreBroken ("busy").
        """
        if self._is_closing or not self.has_room():
            self._schedule(lambda: self._sink([(op, StoreBroken())]))
            return
        self._overlay.add(write)
        self._queue.put([(op, write)])

    def _queue_change(self, op: int, change: TopicChange) -> bool:
        if not self._is_closing:
            if not self._turn:
                self._schedule(self._end_turn)
            self._turn.append((op, change))
        return not self._is_closing

    def _end_turn(self) -> None:
        """Wake the thread only now: it takes Python's lock away from the loop, which has subscribers to tell of the messages."""
        turn, self._turn = self._turn, []
        self._queue.put(turn)

    def _refuse_change(self, op: int) -> None:
        self._schedule(lambda: self._topic_sink([(op, StoreBroken())]))

    def _drop_envelope(self, number: int) -> None:
        if not self._is_closing and number not in self._damaged:
            self._damaged.add(number)
            self._queue.order(DropDamagedEnvelope(number))
            self._on_unreadable(
                StoreError(f"{self._path} holds a message that the disk changed", hint=_CHANGED_HINT)
            )

    def has_room(self) -> bool:
        """False while STORE_QUEUE_WRITES_MAX writes wait, or STORE_QUEUE_BYTES_MAX bytes of them."""
        overlay = self._overlay
        return overlay.waiting < STORE_QUEUE_WRITES_MAX and overlay.waiting_bytes < STORE_QUEUE_BYTES_MAX

    def sweep(self, wall_now: float) -> None:
        """Have bodies of expired records and forgotten slots dropped, between the batches; a no-op while one runs."""
        if not self._is_sweeping and not self._is_closing:
            self._is_sweeping = True
            self._queue.order(Sweep(wall_now))

    def protect(self, radius: int) -> None:
        """Give up no record whose distance from the own id is below that, however full."""
        self._writer.eviction.protect(radius)

    @property
    def evicted(self) -> int:
        """Targets whose records it gave up so far, being full."""
        return self._writer.evicted

    async def close(self) -> None:
        """Commit what is queued, hand out its verdicts, fold the log into the file, end the thread. Idempotent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._end_turn()
        self._queue.close()
        await _ended(self._thread)
        self._reading.close()
        self._writing.close()

    # The thread

    def _work(self) -> None:
        while (item := self._queue.take(STORE_BATCH_WRITES_MAX)) is not None:
            if isinstance(item, list):
                self._commit_batch(item)
            else:
                self._obey(item)
        self._writer.checkpoint()

    def _obey(self, order: Order) -> None:
        match order:
            case Sweep():
                self._sweep_some(order)
            case DropDamaged():
                self._writer.drop_damaged(*order)
                self._tell(lambda: self._damaged.discard((order.target, order.publisher)))
            case DropDamagedEnvelope():
                self._writer.drop_damaged_envelope(order.number)
                self._tell(lambda: self._damaged.discard(order.number))

    def _commit_batch(self, batch: list[Submission]) -> None:
        started = perf_counter()
        verdicts = self._writer.commit([write for _, write in batch])
        error = self._writer.failure
        failure = None if error is None else as_store_error(error, self._path)
        commit = Commit(len(batch), perf_counter() - started, failure)
        self._tell(lambda: self._settle(commit, batch, verdicts))

    def _sweep_some(self, sweep: Sweep) -> None:
        if self._writer.sweep(sweep.wall_now) and not self._is_closing:
            self._queue.order(sweep)  # a batch goes before
        else:
            self._tell(self._end_sweep)

    def _tell(self, on_loop: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed without close(): nobody is left to be told
            self._schedule(on_loop)

    # Back on the loop

    def _settle(
        self, commit: Commit, batch: list[Submission], verdicts: Sequence[Verdict | TopicVerdict]
    ) -> None:
        self._commits.append(commit)
        records: list[tuple[int, Verdict]] = []
        of_topics: list[tuple[int, TopicVerdict]] = []
        for (op, write), verdict in zip(batch, verdicts, strict=True):
            # A verdict is of the kind that its write is of.
            (records if isinstance(write, Write) else of_topics).append((op, verdict))  # type: ignore[arg-type]
        self._overlay.settle([write for _, write in batch if isinstance(write, Write)])
        self.histories.settle([change for _, change in batch if not isinstance(change, Write)])
        if records:
            self._sink(records)
        if of_topics:
            self._topic_sink(of_topics)

    def _end_sweep(self) -> None:
        self._is_sweeping = False


async def _ended(thread: threading.Thread) -> None:
    """Wait for a thread on one more: those of the loop's pool may all wait for names that resolve slowly."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def join() -> None:
        thread.join()
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=join, name="yzdht-store-end", daemon=True).start()
    await ended.wait()

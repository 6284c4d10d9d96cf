"""What the writer thread does to the database: decides a batch of writes in one transaction, and sweeps.

Synchronous and without a thread of its own, so that tests can drive it. PROTOCOL.md section 8, "Storing node".
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from yzdht.ids import Target
from yzdht.limits import SWEEP_ROWS_MAX
from yzdht.store.eviction import Eviction
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.policy import (
    NOTHING,
    Entry,
    Filled,
    Quotas,
    Usage,
    Used,
    due_of,
    entries_that_leave,
)
from yzdht.store.rows import (
    BRINGER_BYTES,
    DROP_BODIES,
    DROP_BODY,
    DROP_SLOTS,
    HEAD_COLUMNS,
    INSERT_SLOT,
    PROLONG_SLOT,
    REPLACE_SLOT,
    SELECT_BODY,
    SELECT_ENTRIES,
    SELECT_FIRST_BODY,
    SELECT_FIRST_BODY_OF,
    SELECT_FIRST_SLOT,
    SELECT_FIRST_SLOT_OF,
    SELECT_GREEDIEST_BY_BYTES,
    SELECT_GREEDIEST_BY_SLOTS,
    SELECT_LAST_BODY,
    SELECT_LAST_BODY_OF,
    SELECT_LAST_SLOT,
    SELECT_LAST_SLOT_OF,
    SELECT_LEAVING,
    SELECT_LEAVING_BODIES,
    SELECT_SLOT,
    SEQ_BIAS,
    SWEEP_BODIES,
    SWEEP_SLOTS,
    columns_of,
    head_of,
    sum_of,
)
from yzdht.store.topic_writer import TopicWriter
from yzdht.wire.slot import Kind, OverQuota, StoreBroken, Stored, Write, head_after, judge


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import Publisher
    from yzdht.wire.history import TopicChange, TopicVerdict
    from yzdht.wire.slot import Head, Verdict


class Writer:
    """Decides writes on one connection that nobody else writes to.

    Args:
        connection: As `open_database` returns it.
        quotas: What strangers may store.
        of_topics: How much is kept of topics.

    Attributes:
        eviction: What a full store gives up.
        evicted: Targets whose records it gave up so far.
        failure: Why the disk refused the last transaction; None if it took it.

    """

    def __init__(
        self, connection: sqlite3.Connection, quotas: Quotas, of_topics: HistoryQuotas | None = None
    ) -> None:
        self._connection = connection
        self._quotas = quotas
        self._topics = TopicWriter(connection, of_topics or HistoryQuotas(), self._begin)
        self.eviction = Eviction(quotas.own_id)
        self.evicted = 0
        self.failure: sqlite3.Error | None = None

    def commit(self, writes: Sequence[Write | TopicChange]) -> list[Verdict | TopicVerdict]:
        """Decide and store writes, of records and topics, in one transaction; they are on the disk when this returns.

        Returns:
            One verdict per write, in order; StoreBroken for all if the disk refused.

        """
        verdicts: list[Verdict | TopicVerdict] = []

        def decide_all() -> None:
            verdicts.extend(
                [
                    self._decide(write) if isinstance(write, Write) else self._topics.decide(write)
                    for write in writes
                ]
            )

        # One write alone mostly ends in one statement, which SQLite makes a transaction of its own: BEGIN and COMMIT would
        # double the times that this thread gives Python's lock away and waits for it.
        if self._transact(decide_all, is_begun=len(writes) > 1):
            return verdicts
        return [StoreBroken()] * len(writes)

    def sweep(self, wall_now: float) -> bool:
        """Drop at most SWEEP_ROWS_MAX bodies that expired and as many slots whose memory ended.

        Returns:
            True if there may be more. A disk that refuses ends the sweep; the next one tries again.

        """
        changed: list[int] = []

        def sweep_once() -> None:
            changed.extend(
                self._connection.execute(statement, (wall_now, SWEEP_ROWS_MAX)).rowcount
                for statement in (SWEEP_BODIES, SWEEP_SLOTS)
            )

        return self._transact(sweep_once) and max(changed) >= SWEEP_ROWS_MAX

    def drop_damaged(self, target: Target, publisher: Publisher) -> bool:
        """Give up a body that is not what was written, and keep its seq and hash: others bring the record again.

        Returns:
            True if it was damaged still.

        """
        damaged: list[int] = []

        def drop() -> None:
            row = self._connection.execute(SELECT_BODY, (target, publisher)).fetchone()
            if row is not None and row[2] is not None and sum_of(row[1]) != row[2]:
                self._connection.execute(DROP_BODY, (row[0],))
                damaged.append(row[0])

        return self._transact(drop) and bool(damaged)

    def drop_damaged_envelope(self, number: int) -> bool:
        """Give up an envelope that is not what was written; True if it was damaged still."""
        damaged: list[bool] = []
        return self._transact(lambda: damaged.append(self._topics.drop_damaged(number))) and damaged[0]

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file; what cannot be folded stays safe in the log."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _transact(self, work: Callable[[], None], *, is_begun: bool = True) -> bool:
        """Do some work in one transaction; False if the disk refused, and nothing of it was done.

        Args:
            work: Reads, and changes at most by one statement unless it calls `_begin`.
            is_begun: Whether the transaction begins before it, or when `_begin` is called.

        """
        try:
            if is_begun or self._connection.in_transaction:  # one left open is refused
                self._connection.execute("BEGIN IMMEDIATE")
            work()
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.rollback()  # does nothing if SQLite rolled back by itself
            self.failure = error
            return False
        self.failure = None
        return True

    def _begin(self) -> None:
        """From here on there is more than one change to come: all of them happen, or none."""
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def _decide(self, write: Write) -> Verdict:
        row = self._connection.execute(
            SELECT_SLOT, (write.target, write.publisher, write.stored_by)
        ).fetchone()
        row_id, stored_by = row[HEAD_COLUMNS : HEAD_COLUMNS + 2]
        head = None if row_id is None else head_of(row)
        verdict = judge(head, write)
        if not isinstance(verdict, Stored):
            return verdict
        after = head_after(head, write)
        if head and head.holds(write):
            self._prolong(row_id, after, write)
            return verdict
        filled = Filled(head, stored_by) if head else None
        if not after.is_pinned and not self._admit(write, filled, _used_of(row[HEAD_COLUMNS + 2 :])):
            return OverQuota()
        if write.kind is Kind.MULTI and not self._make_room(write):
            return OverQuota()
        self._save(row_id, after, write)
        return verdict

    def _admit(self, write: Write, filled: Filled | None, used: Used) -> bool:
        if not self._quotas.admit(write, filled, used):
            return False
        excess = self._quotas.excess(write, filled, used)
        if excess == NOTHING:
            return True
        return self.eviction.make_room(write.target, excess, self, self._quotas.claim(write, filled, used))

    # Shelves

    def first(
        self, low: Target, high: Target, *, is_whole: bool, bringer: bytes | None = None
    ) -> Target | None:
        """The first target of a range that can be given up."""
        if bringer is None:
            return self._one_of(SELECT_FIRST_SLOT if is_whole else SELECT_FIRST_BODY, low, high)
        return self._one_of(SELECT_FIRST_SLOT_OF if is_whole else SELECT_FIRST_BODY_OF, low, high, bringer)

    def last(
        self, low: Target, high: Target, *, is_whole: bool, bringer: bytes | None = None
    ) -> Target | None:
        """The last one."""
        if bringer is None:
            return self._one_of(SELECT_LAST_SLOT if is_whole else SELECT_LAST_BODY, low, high)
        return self._one_of(SELECT_LAST_SLOT_OF if is_whole else SELECT_LAST_BODY_OF, low, high, bringer)

    def _one_of(self, statement: str, *parameters: bytes) -> Target | None:
        row = self._connection.execute(statement, parameters).fetchone()
        return None if row is None else Target(row[0])

    def greediest(self, *, is_whole: bool) -> list[tuple[bytes, Usage]]:
        """Who brought most, of each kind of bringer."""
        statement = SELECT_GREEDIEST_BY_SLOTS if is_whole else SELECT_GREEDIEST_BY_BYTES
        rows = [self._connection.execute(statement, (size,)).fetchone() for size in BRINGER_BYTES]
        return [(row[0], Usage(row[1], row[2])) for row in rows if row is not None]

    def drop(self, target: Target, *, is_whole: bool, bringer: bytes | None = None) -> Usage:
        """Give up the bodies under a target, or its whole slots."""
        self._begin()
        leaving = SELECT_LEAVING if is_whole else SELECT_LEAVING_BODIES
        slots, size = self._connection.execute(leaving, (target, bringer)).fetchone()
        self._connection.execute(DROP_SLOTS if is_whole else DROP_BODIES, (target, bringer))
        self.evicted += 1
        return Usage(slots, int(size))

    def _make_room(self, write: Write) -> bool:
        rows = self._connection.execute(SELECT_ENTRIES, (write.target, write.publisher)).fetchall()
        ids = {Entry(expires, seq + SEQ_BIAS, publisher): row_id for expires, seq, publisher, row_id in rows}
        leaving = entries_that_leave(ids, Entry(write.expires, write.seq, write.publisher))
        if leaving is None:
            return False
        for entry in leaving:
            self._begin()
            self._connection.execute(DROP_BODY, (ids[entry],))
        return True

    def _prolong(self, row_id: int, after: Head, write: Write) -> None:
        self._connection.execute(
            PROLONG_SLOT,
            (
                after.expires,
                after.keep_until,
                after.expires_max,
                after.is_pinned,
                due_of(after),
                write.wall_now,
                row_id,
            ),
        )

    def _save(self, row_id: int | None, after: Head, write: Write) -> None:
        columns = (
            *columns_of(after),
            due_of(after),
            write.wall_now,
            write.stored_by,
            write.body,
            sum_of(write.body),
        )
        if row_id is None:
            self._connection.execute(INSERT_SLOT, (*columns, write.target, write.publisher))
        else:
            self._connection.execute(REPLACE_SLOT, (*columns, row_id))


def _used_of(sums: Sequence[int | None]) -> Used:
    """What SELECT_SLOT tells of the payers; one that has nothing has no row."""
    by_publisher, publisher_bytes, by_bringer, bringer_bytes, by_all, all_bytes = (each or 0 for each in sums)
    return Used(
        Usage(by_publisher, publisher_bytes), Usage(by_bringer, bringer_bytes), Usage(by_all, all_bytes)
    )

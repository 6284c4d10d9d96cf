"""What the writer thread does to the database: decides a batch of writes in one transaction, and sweeps.

Synchronous and without a thread of its own, so that tests can drive it. PROTOCOL.md section 8, "Storing node".
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import SWEEP_ROWS_MAX
from yzdht.store.policy import (
    NOBODY,
    Charge,
    Entry,
    Quotas,
    Usage,
    due_of,
    entries_that_leave,
    growth_of,
    owner_of,
)
from yzdht.store.rows import (
    DROP_BODY,
    HEAD_COLUMNS,
    INSERT_SLOT,
    PROLONG_SLOT,
    REPLACE_SLOT,
    SELECT_ENTRIES,
    SELECT_SLOT,
    SEQ_BIAS,
    SWEEP_BODIES,
    SWEEP_SLOTS,
    columns_of,
    head_of,
)
from yzdht.wire.slot import Kind, OverQuota, StoreBroken, Stored, head_after, judge


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.wire.slot import Head, Verdict, Write


class _Slot(NamedTuple):
    """A slot that exists, as the transaction sees it."""

    head: Head
    id: int
    owner: bytes


class Writer:
    """Decides writes on one connection that nobody else writes to.

    Args:
        connection: As `open_database` returns it.
        quotas: What strangers may store.

    """

    def __init__(self, connection: sqlite3.Connection, quotas: Quotas) -> None:
        self._connection = connection
        self._quotas = quotas

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Decide and store writes in one transaction; they are on the disk when this returns.

        Returns:
            One verdict per write, in order; StoreBroken for all if the disk refused.

        """
        verdicts: list[Verdict] = []

        def decide_all() -> None:
            verdicts.extend([self._decide(write) for write in writes])

        if self._transact(decide_all):
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

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file; what cannot be folded stays safe in the log."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _transact(self, work: Callable[[], None]) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            work()
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._connection.rollback()  # does nothing if SQLite rolled back by itself
            return False
        return True

    def _decide(self, write: Write) -> Verdict:
        wanted_owner = owner_of(write, is_pinned=write.is_pinned)
        row = self._connection.execute(SELECT_SLOT, (write.target, write.publisher, wanted_owner)).fetchone()
        slot = (
            _Slot(head_of(row), *row[HEAD_COLUMNS : HEAD_COLUMNS + 2])
            if row[HEAD_COLUMNS] is not None
            else None
        )
        head = slot.head if slot else None
        verdict = judge(head, write)
        if not isinstance(verdict, Stored):
            return verdict
        after = head_after(head, write)
        if slot and slot.head.holds(write):
            self._prolong(slot, after, write)
            return verdict
        owner = NOBODY if after.is_pinned else wanted_owner
        if owner != NOBODY and not self._has_quota(write, slot, owner, row[HEAD_COLUMNS + 2 :]):
            return OverQuota()
        if write.kind is Kind.MULTI and not self._make_room(write):
            return OverQuota()
        self._save(slot, after, write, owner)
        return verdict

    def _has_quota(self, write: Write, slot: _Slot | None, owner: bytes, sums: Sequence[int | None]) -> bool:
        mine_slots, mine_bytes, all_slots, all_bytes = (each or 0 for each in sums)
        counted = slot.head if slot and slot.owner != NOBODY else None
        mine = slot.head if slot and slot.owner == owner else None
        return self._quotas.admit(
            write,
            mine=Charge(Usage(mine_slots, mine_bytes), growth_of(write, mine)),
            everybody=Charge(Usage(all_slots, all_bytes), growth_of(write, counted)),
        )

    def _make_room(self, write: Write) -> bool:
        rows = self._connection.execute(SELECT_ENTRIES, (write.target, write.publisher)).fetchall()
        ids = {Entry(expires, seq + SEQ_BIAS, publisher): row_id for expires, seq, publisher, row_id in rows}
        leaving = entries_that_leave(ids, Entry(write.expires, write.seq, write.publisher))
        if leaving is None:
            return False
        for entry in leaving:
            self._connection.execute(DROP_BODY, (ids[entry],))
        return True

    def _prolong(self, slot: _Slot, after: Head, write: Write) -> None:
        self._connection.execute(
            PROLONG_SLOT,
            (
                after.expires,
                after.keep_until,
                after.expires_max,
                after.is_pinned,
                due_of(after),
                write.wall_now,
                NOBODY if after.is_pinned else slot.owner,
                slot.id,
            ),
        )

    def _save(self, slot: _Slot | None, after: Head, write: Write, owner: bytes) -> None:
        columns = (*columns_of(after), due_of(after), write.wall_now, write.stored_by, owner, write.body)
        if slot:
            self._connection.execute(REPLACE_SLOT, (*columns, slot.id))
        else:
            self._connection.execute(INSERT_SLOT, (*columns, write.target, write.publisher))

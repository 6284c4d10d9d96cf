from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store.writes import LATER, immutable, mutable, peer
from yzdht.ids import NodeId
from yzdht.limits import SWEEP_ROWS_MAX
from yzdht.store.policy import Quotas
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.schema import open_database
from yzdht.store.writer import Writer
from yzdht.wire.slot import SeqTooLow, StoreBroken, Stored


if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "records.sqlite", RECORDS_SCHEMA)
    yield opened
    opened.close()


@pytest.fixture
def writer(connection: sqlite3.Connection) -> Writer:
    return Writer(connection, Quotas())


def one(connection: sqlite3.Connection, columns: str) -> object:
    return connection.execute(f"SELECT {columns} FROM records").fetchone()


def test_writes_of_one_batch_see_each_other(writer: Writer) -> None:
    verdicts = writer.commit([mutable(seq=2), mutable(seq=1), mutable(seq=3, cas=2)])

    assert verdicts == [Stored(), SeqTooLow(2, mutable(seq=2).hash), Stored()]


def test_row_tells_who_brought_it_and_when_it_was_last_stored(
    writer: Writer, connection: sqlite3.Connection
) -> None:
    writer.commit([immutable(stored_by=peer(1), wall_now=1_000.5)])
    assert one(connection, "stored_by, last_stored, due") == (peer(1), 1_000.5, LATER)

    writer.commit([immutable(stored_by=peer(2), wall_now=1_001.5, keep_until=LATER + 9)])
    assert one(connection, "stored_by, last_stored, due") == (peer(1), 1_001.5, LATER + 9)


def test_broken_batch_leaves_nothing_behind(writer: Writer, connection: sqlite3.Connection) -> None:
    writer.commit([mutable(1)])
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")

    verdicts = writer.commit([mutable(1, seq=2), mutable(2, body=bytes(60_000))])

    assert verdicts == [StoreBroken(), StoreBroken()]
    assert not connection.in_transaction
    assert connection.execute("SELECT seq + 9223372036854775807 + 1 FROM records").fetchall() == [(1,)]


def test_transaction_that_cannot_begin_breaks_the_batch(
    writer: Writer, connection: sqlite3.Connection
) -> None:
    connection.execute("BEGIN")

    assert writer.commit([mutable(1)]) == [StoreBroken()]


def test_a_write_alone_is_one_statement_beside_what_it_reads(
    writer: Writer, connection: sqlite3.Connection
) -> None:
    said: list[str] = []
    connection.set_trace_callback(said.append)

    assert writer.commit([mutable(1)]) == [Stored()]

    assert {statement.split()[0] for statement in said} == {"SELECT", "INSERT"}  # a trigger's are among them


def test_what_a_write_alone_gives_up_and_what_it_stores_are_one_transaction(
    connection: sqlite3.Connection,
) -> None:
    full = Writer(connection, Quotas(total_records=1, own_id=NodeId(bytes(32))))
    full.commit([mutable(200)])
    said: list[str] = []
    connection.set_trace_callback(said.append)

    assert full.commit([mutable(1)]) == [Stored()]

    words = [statement.split()[0] for statement in said]
    assert (words[0], words[-1]) == ("SELECT", "COMMIT")
    assert words.index("BEGIN") < words.index("DELETE") < words.index("INSERT")
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (1,)


def test_sweep_is_bounded_and_says_when_there_is_more(writer: Writer, connection: sqlite3.Connection) -> None:
    writer.commit([mutable(slot) for slot in range(SWEEP_ROWS_MAX + 1)])

    assert writer.sweep(LATER)
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (1,)
    assert not writer.sweep(LATER)
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (0,)


def test_sweep_leaves_what_is_live(writer: Writer, connection: sqlite3.Connection) -> None:
    writer.commit([mutable(1), mutable(2, expires=LATER + 1)])

    assert not writer.sweep(LATER)

    assert connection.execute("SELECT expires FROM records").fetchall() == [(LATER + 1,)]


def test_checkpoint_empties_the_log(writer: Writer, tmp_path: Path) -> None:
    writer.commit([mutable(1)])
    log = tmp_path / "records.sqlite-wal"
    assert log.stat().st_size > 0

    writer.checkpoint()

    assert log.stat().st_size == 0

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store.messages import bringer, message, run, series
from tests.store.writes import mutable
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.policy import Quotas
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.schema import open_database
from yzdht.store.writer import Writer
from yzdht.wire.history import ForgetTopic, Kept, KnownAlready
from yzdht.wire.slot import OverQuota, StoreBroken, Stored


if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "records.sqlite", RECORDS_SCHEMA)
    yield opened
    opened.close()


def writer_of(connection: sqlite3.Connection, quotas: HistoryQuotas | None = None) -> Writer:
    return Writer(connection, Quotas(), quotas)


def said_by(connection: sqlite3.Connection) -> list[str]:
    """The first word of what is told to SQLite from now on, without what triggers do."""
    said: list[str] = []
    connection.set_trace_callback(
        lambda text: None if text.startswith("--") else said.append(text.split()[0])
    )
    return said


def count(connection: sqlite3.Connection, table: str) -> int:
    found: tuple[int] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return found[0]


def test_changes_of_one_batch_see_each_other_and_records_stand_among_them(
    connection: sqlite3.Connection,
) -> None:
    writer = writer_of(connection)

    verdicts = writer.commit([message(0), mutable(1), message(0), ForgetTopic(message(0).topic), message(0)])

    assert verdicts[:3] == [Kept(), Stored(), KnownAlready()]
    assert verdicts[4] == Kept()


def test_a_message_alone_in_a_known_series_is_one_statement_beside_what_it_reads(
    connection: sqlite3.Connection,
) -> None:
    writer = writer_of(connection)
    writer.commit([message(0)])
    said = said_by(connection)

    assert writer.commit([message(1)]) == [Kept()]

    assert (said[0], "BEGIN" in said, "COMMIT" in said) == ("SELECT", False, False)


def test_first_message_of_a_topic_is_one_transaction_with_its_topic_and_series(
    connection: sqlite3.Connection,
) -> None:
    said = said_by(connection)

    assert writer_of(connection).commit([message(0)]) == [Kept()]

    words = [word for word in said if word in {"BEGIN", "COMMIT"}]
    assert words == ["BEGIN", "COMMIT"]
    assert said[-1] == "COMMIT"


def test_message_and_what_it_pushes_out_are_one_transaction(connection: sqlite3.Connection) -> None:
    writer = writer_of(connection, HistoryQuotas(messages=2, series=4))
    writer.commit(run(0, 2))
    said = said_by(connection)

    assert writer.commit([message(2)]) == [Kept(((series(), 0),))]

    assert [word for word in said if word in {"BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"}] == [
        "BEGIN",
        "SAVEPOINT",
        "RELEASE",
        "COMMIT",
    ]


def test_what_does_not_fit_leaves_no_trace_beside_what_does(connection: sqlite3.Connection) -> None:
    writer = writer_of(connection, HistoryQuotas(bytes=20))

    verdicts = writer.commit([message(0, size=15), message(1, size=21), message(0, by=2, of=2, size=30)])

    assert verdicts == [Kept(), OverQuota(), OverQuota()]
    assert [count(connection, table) for table in ("topics", "series", "messages")] == [1, 1, 1]


def test_broken_batch_leaves_nothing_behind(connection: sqlite3.Connection) -> None:
    writer = writer_of(connection, HistoryQuotas(messages=2, series=4))
    writer.commit([message(0)])
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")

    verdicts = writer.commit([message(1), message(2, size=60_000), mutable(1, body=bytes(60_000))])

    assert verdicts == [StoreBroken()] * 3
    assert not connection.in_transaction
    assert (count(connection, "messages"), count(connection, "records")) == (1, 0)


def test_every_full_history_looks_at_as_few_rows_however_large_it_is(
    connection: sqlite3.Connection,
) -> None:
    """Counted in steps of SQLite's machine, which do not depend on the machine below."""
    writer = writer_of(connection, HistoryQuotas(messages=2_000, series=4_000))
    writer.commit([message(0, of=1, by=by, bringer=bringer(by % 50)) for by in range(1, 2_001)])
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    connection.set_progress_handler(step, 100)

    assert isinstance(writer.commit([message(0, by=5_000, bringer=bringer(9))])[0], Kept)

    connection.set_progress_handler(None, 0)
    assert steps[0] < 30

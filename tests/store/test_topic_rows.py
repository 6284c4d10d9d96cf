from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.store.messages import NOW, bringer, host, message
from yzdht.store import topic_rows
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.policy import Quotas
from yzdht.store.rows import RECORDS_SCHEMA
from yzdht.store.schema import Schema, open_database
from yzdht.store.writer import Writer
from yzdht.wire.history import ForgetBefore, ForgetTopic, account_of


if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from yzdht.wire.history import TopicChange


AT_OPENING = {"SELECT_LAST_NUMBERS"}
STATEMENTS = [
    name
    for name, text in vars(topic_rows).items()
    if name[0] != "_" and isinstance(text, str) and name.isupper()
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "records.sqlite", RECORDS_SCHEMA)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name not in AT_OPENING])
def test_no_statement_scans_a_table_or_sorts(connection: sqlite3.Connection, name: str) -> None:
    statement = getattr(topic_rows, name)
    numbered = max((number for number in range(1, 9) if f"?{number}" in statement), default=0)
    parameters = [b""] * (numbered or statement.count("?"))

    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    scans = [step for step in plan if step.startswith("SCAN")]
    assert [step for step in scans if "CONSTANT" not in step and "subquery" not in step] == []
    assert [step for step in plan if "TEMP B-TREE" in step] == []


def sums(connection: sqlite3.Connection) -> dict[Any, Any]:
    rows = connection.execute("SELECT topic_id, bringer, sender, messages, bytes, topics FROM shares")
    return {row[:3]: row[3:] for row in rows}


def sums_of_rows(connection: sqlite3.Connection) -> dict[Any, Any]:
    """What `shares` must hold, from the rows alone."""
    expected: dict[Any, Any] = {}

    def add(key: tuple[int, bytes, bytes], *more: int) -> None:
        there = expected.get(key, (0, 0, 0))
        expected[key] = tuple(a + b for a, b in zip(there, more, strict=True))

    joined = (
        "SELECT messages.topic_id, bringer, sender, size FROM messages JOIN series ON series.id = series_id"
    )
    for of, by, sender, size in connection.execute(joined):
        payer = account_of(by)
        for key in ((of, payer, sender), (of, payer, b""), (of, b"", b""), (0, by, b""), (0, b"", b"")):
            add(key, 1, size, 0)
    for (by,) in connection.execute("SELECT opened_by FROM topics"):
        for name in (b"", by):
            add((0, name, b""), 0, 0, 1)
    return expected


def lines(connection: sqlite3.Connection) -> list[Any]:
    """What triggers say of each series."""
    return connection.execute(
        "SELECT id, topic_id, held, runs, next, low_bringer FROM series ORDER BY id"
    ).fetchall()


def lines_of_rows(connection: sqlite3.Connection) -> list[Any]:
    found = []
    for number, of in connection.execute("SELECT id, topic_id FROM series ORDER BY id").fetchall():
        rows = connection.execute(
            "SELECT idx, bringer FROM messages WHERE series_id = ? ORDER BY idx", (number,)
        ).fetchall()
        indexes = {index for index, _ in rows}
        runs = sum(1 for index in indexes if index - 1 not in indexes)
        found.append(
            (number, of, len(rows), runs, *((rows[-1][0] + 1, account_of(rows[0][1])) if rows else (0, None)))
        )
    return found


def test_sums_of_a_file_of_the_version_before_go_on(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    before = Schema(RECORDS_SCHEMA.application_id, RECORDS_SCHEMA.steps[:-1])
    quotas = HistoryQuotas(messages=6, series=8)
    with closing(open_database(path, before)) as connection:
        Writer(connection, Quotas(), quotas).commit([message(index) for index in range(4)])
    with closing(open_database(path, RECORDS_SCHEMA)) as connection:
        writer = Writer(connection, Quotas(), quotas)
        writer.commit([message(index, by=2, bringer=host(1 + index % 2)) for index in range(4)])

        assert sums(connection) == sums_of_rows(connection)
        assert lines(connection) == lines_of_rows(connection)


changes: st.SearchStrategy[TopicChange] = st.one_of(
    st.builds(
        message,
        st.integers(0, 7),
        by=st.integers(1, 3),
        of=st.integers(1, 2),
        size=st.integers(1, 30),
        bringer=st.one_of(st.integers(1, 3).map(bringer), st.integers(1, 2).map(host)),
        received=st.integers(NOW, NOW + 9),
    ),
    st.builds(ForgetBefore, st.integers(NOW, NOW + 9)),
    st.builds(ForgetTopic, st.just(message(of=1).topic)),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(changes, min_size=1, max_size=4), max_size=15))
def test_triggers_say_what_the_rows_say_whatever_happened(batches: list[list[TopicChange]]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_database(Path(folder) / "records.sqlite", RECORDS_SCHEMA)) as connection,
    ):
        connection.execute("PRAGMA synchronous=OFF")
        writer = Writer(connection, Quotas(), HistoryQuotas(messages=6, bytes=100, series=8))
        for batch in batches:
            writer.commit(batch)
            assert sums(connection) == sums_of_rows(connection)
            assert lines(connection) == lines_of_rows(connection)
            counts = connection.execute(
                "SELECT series, (SELECT count(*) FROM series WHERE topic_id = topics.id) FROM topics"
            )
            assert [row for row in counts if row[0] != row[1] or not row[0]] == []

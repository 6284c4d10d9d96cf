from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from tests.store.writes import LATER, NOW, immutable, mutable, peer, publisher
from yzdht.ids import RecordHash
from yzdht.store.policy import Quotas, payers_of
from yzdht.store.rows import (
    DROP_BODIES,
    HEAD_COLUMNS,
    RECORDS_SCHEMA,
    SELECT_ENTRIES,
    SELECT_HEAD,
    SELECT_HEADS_UNDER_TARGET,
    SELECT_LEAVING_BODIES,
    SELECT_PAGE,
    SELECT_RECORD,
    SELECT_SLOT,
    SELECT_UNDER_TARGET,
    SWEEP_BODIES,
    SWEEP_SLOTS,
    columns_of,
    head_of,
)
from yzdht.store.schema import open_database
from yzdht.store.writer import Writer
from yzdht.wire.slot import Head, Kind, Write


if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


u32 = st.integers(0, 2**32 - 1)
heads = st.builds(
    lambda head: replace(head, has_body=head.size > 0),
    st.builds(
        Head,
        kind=st.sampled_from(Kind),
        seq=st.integers(0, 2**64 - 1),
        hash=st.binary(min_size=32, max_size=32).map(RecordHash),
        created=u32,
        expires=u32,
        keep_until=u32,
        expires_max=u32,
        size=st.integers(0, 65_536),
        has_body=st.booleans(),
        is_pinned=st.booleans(),
    ),
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "records.sqlite", RECORDS_SCHEMA)
    yield opened
    opened.close()


@given(heads)
def test_head_survives_its_row(head: Head) -> None:
    columns = columns_of(head)

    assert len(columns) == HEAD_COLUMNS
    assert head_of(columns) == head
    assert all(-(2**63) <= value < 2**63 for value in columns if isinstance(value, int))


@pytest.mark.parametrize(
    "statement",
    [
        SELECT_HEAD,
        SELECT_HEADS_UNDER_TARGET,
        SELECT_PAGE,
        SELECT_RECORD,
        SELECT_SLOT,
        SELECT_UNDER_TARGET,
        SELECT_ENTRIES,
        SELECT_LEAVING_BODIES,
        DROP_BODIES,
        SWEEP_BODIES,
        SWEEP_SLOTS,
    ],
)
def test_no_statement_scans_the_table(connection: sqlite3.Connection, statement: str) -> None:
    numbered = max((number for number in (1, 2, 3) if f"?{number}" in statement), default=0)
    parameters = [b""] * (numbered or statement.count("?"))

    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    assert [
        step for step in plan if step.startswith("SCAN") and "CONSTANT" not in step and "subquery" not in step
    ] == []
    assert [step for step in plan if "TEMP B-TREE" in step] == []


def usage(connection: sqlite3.Connection) -> dict[bytes, tuple[int, int, int]]:
    return {row[0]: row[1:] for row in connection.execute("SELECT payer, slots, records, bytes FROM usage")}


def sums_of_rows(connection: sqlite3.Connection) -> dict[bytes, tuple[int, int, int]]:
    """What `usage` must hold, from the rows and `payers_of` alone."""
    sums: dict[bytes, tuple[int, int, int]] = {}
    for by, stored_by, pinned, size in connection.execute(
        "SELECT publisher, stored_by, pinned, size FROM records"
    ):
        for payer in payers_of(by, stored_by, is_pinned=bool(pinned)):
            slots, records, total = sums.get(payer, (0, 0, 0))
            sums[payer] = (slots + 1, records + (size > 0), total + size)
    return sums


def test_triggers_keep_the_sums(connection: sqlite3.Connection) -> None:
    writer = Writer(connection, Quotas())

    writer.commit(
        [mutable(1, body=bytes(5)), immutable(2, body=bytes(7)), mutable(3, body=bytes(9), is_pinned=True)]
    )
    assert usage(connection)[b"*"] == (2, 2, 12)
    assert usage(connection)[b""] == (1, 1, 9)

    writer.commit([mutable(1, seq=2, body=bytes(6)), immutable(2, is_pinned=True, body=bytes(7))])
    assert usage(connection)[b"*"] == (1, 1, 6)
    assert usage(connection)[b""] == (2, 2, 16)

    writer.sweep(LATER)
    assert usage(connection) == {}


def test_slot_is_charged_to_its_publisher_and_its_bringer(connection: sqlite3.Connection) -> None:
    writer = Writer(connection, Quotas())

    writer.commit(
        [mutable(1, body=bytes(5), stored_by=peer(1)), mutable(2, body=bytes(7), stored_by=peer(1))]
    )
    assert usage(connection)[publisher(1)] == (1, 1, 5)
    assert usage(connection)[peer(1)] == (2, 2, 12)

    writer.commit([mutable(1, seq=2, body=bytes(6), stored_by=peer(2))])
    assert usage(connection)[publisher(1)] == (1, 1, 6)
    assert usage(connection)[peer(1)] == (1, 1, 7)
    assert usage(connection)[peer(2)] == (1, 1, 6)


drafts = st.builds(
    mutable,
    st.integers(1, 2),
    st.integers(1, 6),
    body=st.integers(1, 3).map(bytes),
    stored_by=st.sampled_from([b"", peer(1), peer(2)]),
    is_pinned=st.sampled_from([False, False, True]),
    expires=st.integers(NOW + 1, NOW + 9),
) | st.builds(
    immutable,
    st.just(3),
    st.integers(NOW + 1, NOW + 9),
    stored_by=st.sampled_from([b"", peer(1), peer(2)]),
    is_pinned=st.sampled_from([False, False, True]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(drafts, st.integers(0, 2), st.booleans()), max_size=15))
def test_sums_are_those_of_the_rows_whatever_happened(steps: list[tuple[Write, int, bool]]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_database(Path(folder) / "records.sqlite", RECORDS_SCHEMA)) as connection,
    ):
        connection.execute("PRAGMA synchronous=OFF")
        writer = Writer(connection, Quotas())
        now = NOW
        for write, seconds, is_swept in steps:
            now += seconds
            writer.commit([replace(write, wall_now=now)])
            if is_swept:
                writer.sweep(now)
            assert usage(connection) == sums_of_rows(connection)

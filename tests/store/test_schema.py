from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from yzdht.errors import NewerFormat, StoreError, UnsafeFile
from yzdht.store import schema
from yzdht.store.schema import Schema, as_store_error, check_integrity, open_database, open_for_reading


if TYPE_CHECKING:
    from pathlib import Path


FIRST = ("CREATE TABLE birds (name TEXT)",)
SECOND = (
    "ALTER TABLE birds ADD COLUMN legs INTEGER NOT NULL DEFAULT 2",
    "CREATE INDEX by_legs ON birds (legs)",
)
NOW = Schema(application_id=77, steps=(FIRST, SECOND))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "birds.sqlite"


def versions(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as other:
        return (
            other.execute("PRAGMA application_id").fetchone()[0],
            other.execute("PRAGMA user_version").fetchone()[0],
        )


def make_by_hand(path: Path, application_id: int, version: int, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        for statement in (
            *statements,
            f"PRAGMA application_id={application_id}",
            f"PRAGMA user_version={version}",
        ):
            other.execute(statement)
        other.commit()


def test_new_file_has_the_current_version(path: Path) -> None:
    with closing(open_database(path, NOW)) as connection:
        connection.execute("INSERT INTO birds (name) VALUES ('wren')")

    assert versions(path) == (77, 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_log_of_a_new_file_is_for_its_owner_only_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(open_database(path, NOW)):
            modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 0o600)


def create_between_reads(path: Path, statement: str) -> None:
    """What another process does that creates the same file while this one is looking at it."""
    if "user_version" not in statement:
        return
    with closing(sqlite3.connect(path, timeout=0)) as other, suppress(sqlite3.OperationalError):
        other.execute("BEGIN IMMEDIATE")
        for each in (*FIRST, *SECOND, "PRAGMA application_id=77", "PRAGMA user_version=2"):
            other.execute(each)
        other.execute("COMMIT")


def test_file_that_another_process_is_creating_is_seen_whole(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.set_trace_callback(lambda statement: create_between_reads(path, statement))

        schema._refuse_foreign(connection, path, NOW)

    open_database(path, NOW).close()
    assert versions(path) == (77, 2)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_can_change_is_refused_untouched(path: Path, mode: int) -> None:
    open_database(path, NOW).close()
    before = path.read_bytes()
    path.chmod(mode)

    with pytest.raises(UnsafeFile, match=f"{mode:04o}") as caught:
        open_database(path, NOW)

    assert caught.value.hint == f"run: chmod 600 {path}"
    assert path.read_bytes() == before


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_log_that_others_can_change_is_refused_untouched(path: Path, end: str) -> None:
    open_database(path, NOW).close()
    log = path.with_name(path.name + end)
    log.write_bytes(b"theirs")
    log.chmod(0o666)

    with pytest.raises(UnsafeFile) as caught:
        open_database(path, NOW)

    assert caught.value.hint == f"run: chmod 600 {log}"
    assert log.read_bytes() == b"theirs"


def test_file_that_others_can_only_read_is_opened(path: Path) -> None:
    open_database(path, NOW).close()
    path.chmod(0o644)

    open_database(path, NOW).close()


def test_empty_file_is_as_good_as_none(path: Path) -> None:
    path.write_bytes(b"")

    open_database(path, NOW).close()

    assert versions(path) == (77, 2)


def test_older_file_is_migrated_with_what_is_in_it(path: Path) -> None:
    make_by_hand(path, 77, 1, *FIRST, "INSERT INTO birds VALUES ('wren')")

    with closing(open_database(path, NOW)) as connection:
        assert connection.execute("SELECT name, legs FROM birds").fetchall() == [("wren", 2)]

    assert versions(path) == (77, 2)


def test_failed_migration_changes_nothing(path: Path) -> None:
    make_by_hand(path, 77, 1, *FIRST)
    broken = Schema(
        77, (FIRST, ("ALTER TABLE birds ADD COLUMN legs INTEGER", "ALTER TABLE fish ADD COLUMN x"))
    )

    with pytest.raises(StoreError):
        open_database(path, broken)

    assert versions(path) == (77, 1)
    open_database(path, NOW).close()


def test_newer_file_is_refused_untouched(path: Path) -> None:
    make_by_hand(path, 77, 3, *FIRST)
    before = path.read_bytes()

    with pytest.raises(NewerFormat, match="format 3"):
        open_database(path, NOW)

    assert path.read_bytes() == before


@pytest.mark.parametrize(("application_id", "version"), [(0, 0), (0, 1), (78, 1), (78, 0)])
def test_file_of_another_program_is_refused_untouched(path: Path, application_id: int, version: int) -> None:
    make_by_hand(path, application_id, version, "CREATE TABLE theirs (x)")
    before = path.read_bytes()

    with pytest.raises(StoreError, match="another program"):
        open_database(path, NOW)

    assert path.read_bytes() == before


def test_commits_wait_for_the_disk(path: Path) -> None:
    with closing(open_database(path, NOW)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_names_that_look_like_addresses_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "what?mode=memory#here %41.sqlite"

    with closing(open_database(path, NOW)), closing(open_for_reading(path)) as reading:
        assert reading.execute("SELECT count(*) FROM birds").fetchone() == (0,)

    assert path.exists()


def test_second_connection_needs_the_file(path: Path) -> None:
    with pytest.raises(StoreError):
        open_for_reading(path)


def test_sound_file_passes_the_check(path: Path) -> None:
    with closing(open_database(path, NOW)) as connection:
        check_integrity(connection, path)


def test_damaged_page_is_found(path: Path) -> None:
    with closing(open_database(path, NOW)) as connection:
        connection.executemany("INSERT INTO birds (name) VALUES (?)", [("x" * 3_000,)] * 20)
    raw = bytearray(path.read_bytes())
    raw[4_096 : 4_096 * 3] = b"\xff" * 8_192
    path.write_bytes(raw)

    with pytest.raises(StoreError, match="damaged"), closing(open_database(path, NOW)) as connection:
        check_integrity(connection, path)


def test_busy_file_is_named_as_such(path: Path) -> None:
    open_database(path, NOW).close()
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as one,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as two,
    ):
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            two.execute("BEGIN IMMEDIATE")

    assert "another process" in str(as_store_error(caught.value, path))

from __future__ import annotations

import shutil
import sqlite3
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from yzdht.errors import StoreError
from yzdht.store import log
from yzdht.store.log import check_log


if TYPE_CHECKING:
    from pathlib import Path


HEADER, FRAME = 32, 24 + 4_096
TRANSACTIONS = 6


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a killed process leaves it: TRANSACTIONS of one frame each in its log."""
    folder = tmp_path_factory.mktemp("killed")
    path = folder / "live.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(TRANSACTIONS):
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", folder / f"killed.sqlite{end}")
    connection.close()
    assert wal(folder / "killed.sqlite").stat().st_size == HEADER + TRANSACTIONS * FRAME
    return folder / "killed.sqlite"


@pytest.fixture
def path(killed: Path, tmp_path: Path) -> Path:
    for end in ("", "-wal"):
        shutil.copy(f"{killed}{end}", tmp_path / f"db{end}")
    return tmp_path / "db"


def wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    count: int = connection.execute("SELECT count(*) FROM t").fetchone()[0]
    connection.close()
    return count


def test_what_a_killed_process_leaves_is_sound(path: Path) -> None:
    check_log(path)

    assert rows(path) == TRANSACTIONS


@pytest.mark.parametrize("size", [0, 1, HEADER, HEADER + 100, HEADER + FRAME - 1, HEADER + 3 * FRAME + 50])
def test_a_log_that_ends_early_is_what_a_crash_leaves(path: Path, size: int) -> None:
    wal(path).write_bytes(wal(path).read_bytes()[:size])

    check_log(path)


def test_no_log_at_all_is_sound(tmp_path: Path) -> None:
    check_log(tmp_path / "db")


def test_a_crash_in_the_last_transaction_is_no_damage(path: Path) -> None:
    flip(wal(path), HEADER + (TRANSACTIONS - 1) * FRAME + 1_000)

    check_log(path)

    assert rows(path) == TRANSACTIONS - 1


@pytest.mark.parametrize("frame", range(TRANSACTIONS - 2))
def test_transactions_behind_a_wrong_frame_would_be_lost_in_silence(path: Path, frame: int) -> None:
    flip(wal(path), HEADER + frame * FRAME + 1_000)
    before = wal(path).read_bytes()

    with pytest.raises(StoreError, match=f"{TRANSACTIONS - frame} transactions") as caught:
        check_log(path)

    assert "other nodes have copies" in caught.value.hint
    assert wal(path).read_bytes() == before
    assert rows(path) == frame  # what SQLite makes of it


@pytest.mark.parametrize("at", [0, 9, 17, 25])
def test_a_wrong_header_hides_everything(path: Path, at: int) -> None:
    flip(wal(path), at)

    with pytest.raises(StoreError, match="-wal is damaged"):
        check_log(path)


def test_leftovers_of_an_earlier_generation_are_none_of_it(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    connection.execute("INSERT INTO t VALUES (99)")
    left = wal(path).read_bytes()
    assert len(left) == HEADER + TRANSACTIONS * FRAME
    other = path.with_name("other")
    shutil.copy(path, other)
    wal(other).write_bytes(left)
    connection.close()

    check_log(other)

    assert rows(other) == TRANSACTIONS + 1


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_log_without_its_database_is_refused(path: Path, is_empty: object) -> None:
    path.unlink()
    if is_empty:
        path.touch()

    with pytest.raises(StoreError, match="is missing") as caught:
        check_log(path)

    assert "move the log away as well" in caught.value.hint


@given(st.binary(max_size=20_000))
def test_anything_else_is_refused_or_passed_and_nothing_more(raw: bytes) -> None:
    if len(raw) >= HEADER:
        assert log._lost_transactions(BytesIO(raw)) is None

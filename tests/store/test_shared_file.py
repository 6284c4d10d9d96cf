"""A small file that processes of one home share."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from yzdht.errors import StoreError
from yzdht.store.schema import Schema
from yzdht.store.shared_file import SharedFile


if TYPE_CHECKING:
    from pathlib import Path


SCHEMA = Schema(application_id=0x595A5454, steps=(("CREATE TABLE things (name TEXT PRIMARY KEY)",),))
INSERT, SELECT = "INSERT INTO things (name) VALUES (?)", "SELECT name FROM things ORDER BY name"


def put(file: SharedFile, *names: str) -> None:
    def work() -> None:
        for name in names:
            file.connection.execute(INSERT, (name,))

    file.transact(work)


def test_what_one_process_wrote_another_reads(tmp_path: Path) -> None:
    one, other = SharedFile(tmp_path / "things", SCHEMA), SharedFile(tmp_path / "things", SCHEMA)

    put(one, "b", "a")

    assert other.all(SELECT) == [("a",), ("b",)]
    assert other.first(SELECT) == ("a",)
    assert other.first(f"{SELECT} LIMIT 0") is None
    one.close()
    other.close()
    other.close()


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_raises_half_way_changes_nothing(tmp_path: Path, *, is_kept: bool) -> None:
    file = SharedFile(tmp_path / "things" if is_kept else None, SCHEMA)

    def work() -> None:
        file.connection.execute(INSERT, ("a",))
        raise KeyError

    with pytest.raises(KeyError):
        file.transact(work)
    assert file.all(SELECT) == []
    assert file.transact(lambda: 7) == 7
    file.close()


def test_a_file_that_is_not_used_is_not_made(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "things", SCHEMA)

    file.close()

    assert list(tmp_path.iterdir()) == []


def test_what_the_database_refuses_names_the_file(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "things", SCHEMA)
    put(file, "a")

    with pytest.raises(StoreError, match="things"):
        put(file, "b", "a")
    assert file.all(SELECT) == [("a",)]
    with pytest.raises(sqlite3.Error):
        put(SharedFile(None, SCHEMA), "a", "a")
    file.close()

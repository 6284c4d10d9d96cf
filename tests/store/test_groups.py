from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yzdht.errors import NewerFormat, StoreError, UnsafeFile, UsageError
from yzdht.ids import NetworkId
from yzdht.limits import GROUPS_KEPT_MAX
from yzdht.store.groups import GROUPS_SCHEMA, SqliteGroups
from yzdht.store.schema import Schema, open_database


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
NET = NetworkId(bytes(8))
OTHER = NetworkId(b"12345678")
OLD, NEW = b"old" * 10_000, b"new" * 10_000
COUNTER = """
import sys
from pathlib import Path
from yzdht.ids import NetworkId
from yzdht.store.groups import SqliteGroups
groups = SqliteGroups(Path(sys.argv[1]))
for _ in range(50):
    groups.change(NetworkId(bytes(8)), "team", lambda stored: b"%d" % (int(stored) + 1))
groups.close()
"""
STOPPED = """
import sys
from pathlib import Path
from yzdht.ids import NetworkId
from yzdht.store.groups import SqliteGroups
where = sys.argv[2]
groups = SqliteGroups(Path(sys.argv[1]))
def stop():
    print("here", flush=True)
    sys.stdin.read()
def make(stored):
    if where == "inside":
        stop()
    return b"new" * 10_000
groups.change(NetworkId(bytes(8)), "team", make)
stop()
"""


@pytest.fixture(params=["memory", "file"])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteGroups]:
    kept = SqliteGroups(None if request.param == "memory" else tmp_path / "groups.sqlite")
    yield kept
    kept.close()


def test_what_is_kept_is_found_by_its_name_in_any_case(groups: SqliteGroups) -> None:
    groups.add(NET, " Stra\u00dfe ", b"sealed")

    assert groups.get(NET, "STRASSE") == groups.get(NET, "stra\u00dfe") == b"sealed"
    assert groups.names(NET) == ["Stra\u00dfe"]
    assert groups.get(NET, "other") is None


def test_every_network_has_its_own_groups(groups: SqliteGroups) -> None:
    groups.add(NET, "team", b"one")
    groups.add(OTHER, "team", b"two")
    groups.remove(NET, "team")

    assert (groups.get(NET, "team"), groups.get(OTHER, "team")) == (None, b"two")
    assert (groups.names(NET), groups.names(OTHER)) == ([], ["team"])


def test_a_name_is_taken_once(groups: SqliteGroups) -> None:
    groups.add(NET, "team", b"one")

    for name in ("team", "TEAM", " team"):
        with pytest.raises(UsageError, match="already") as caught:
            groups.add(NET, name, b"two")
        assert caught.value.hint
        with pytest.raises(UsageError):
            groups.check_new(NET, name)
    assert groups.get(NET, "team") == b"one"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65, "-f", "\ud800"])
def test_what_is_no_name_is_refused(groups: SqliteGroups, name: str) -> None:
    with pytest.raises(UsageError):
        groups.add(NET, name, b"")
    assert groups.get(NET, name) is None
    assert groups.names(NET) == []


def test_a_home_keeps_so_many_groups_and_no_more(groups: SqliteGroups) -> None:
    for number in range(GROUPS_KEPT_MAX):
        groups.add(NET, f"group {number}", b"")

    with pytest.raises(UsageError, match=str(GROUPS_KEPT_MAX)) as caught:
        groups.add(NET, "one more", b"")

    assert "yz group leave" in caught.value.hint
    groups.remove(NET, "group 7")
    groups.add(NET, "one more", b"")
    groups.add(OTHER, "elsewhere", b"")


def test_a_change_sees_what_is_there_and_makes_no_group(groups: SqliteGroups) -> None:
    groups.add(NET, "team", b"1")
    groups.change(NET, "TEAM", lambda stored: stored + b"2")
    groups.change(NET, "nobody", lambda stored: stored)

    assert groups.get(NET, "team") == b"12"
    assert groups.names(NET) == ["team"]


def test_a_change_that_fails_changes_nothing(groups: SqliteGroups) -> None:
    groups.add(NET, "team", b"1")

    with pytest.raises(ZeroDivisionError):
        groups.change(NET, "team", lambda stored: b"%d" % (1 // (len(stored) - 1)))

    assert groups.get(NET, "team") == b"1"
    groups.change(NET, "team", lambda _: b"2")
    assert groups.get(NET, "team") == b"2"


# The file


def test_a_home_without_groups_has_no_file(tmp_path: Path) -> None:
    SqliteGroups(tmp_path / "groups.sqlite").close()

    assert list(tmp_path.iterdir()) == []


def test_groups_are_there_after_a_restart_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(SqliteGroups(path)) as groups:
        groups.add(NET, "team", b"sealed")

    with closing(SqliteGroups(path)) as groups:
        assert groups.get(NET, "team") == b"sealed"
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(SqliteGroups(path)) as groups:
        groups.add(NET, "team", b"sealed")
    path.chmod(0o666)

    with closing(SqliteGroups(path)) as groups, pytest.raises(UnsafeFile):
        groups.names(NET)


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    path.write_bytes(b"no database" * 1_000)
    path.chmod(0o600)

    with closing(SqliteGroups(path)) as groups:
        for work in (
            lambda: groups.names(NET),
            lambda: groups.get(NET, "team"),
            lambda: groups.add(NET, "team", b""),
            lambda: groups.change(NET, "team", lambda stored: stored),
            lambda: groups.remove(NET, "team"),
        ):
            with pytest.raises(StoreError) as caught:
                work()
            assert caught.value.hint
    assert path.read_bytes() == b"no database" * 1_000


def test_pages_that_the_disk_changed_are_told(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(SqliteGroups(path)) as groups:
        groups.add(NET, "team", OLD)
    raw = bytearray(path.read_bytes())
    raw[4_096:] = b"\xff" * (len(raw) - 4_096)
    path.write_bytes(raw)

    with closing(SqliteGroups(path)) as groups, pytest.raises(StoreError):
        groups.get(NET, "team")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    step = ("CREATE TABLE later (a INTEGER)",)
    newer = Schema(GROUPS_SCHEMA.application_id, (*GROUPS_SCHEMA.steps, step))
    open_database(path, newer).close()

    with closing(SqliteGroups(path)) as groups, pytest.raises(NewerFormat):
        groups.names(NET)


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE groups (a INTEGER)")
        connection.commit()
    path.chmod(0o600)

    with closing(SqliteGroups(path)) as groups, pytest.raises(StoreError):
        groups.names(NET)


# Several processes


@pytest.mark.process
def test_processes_that_change_one_group_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(SqliteGroups(path)) as groups:
        groups.add(NET, "team", b"0")
        processes = [subprocess.Popen([sys.executable, "-c", COUNTER, path], cwd=ROOT) for _ in range(3)]
        assert [process.wait(60) for process in processes] == [0, 0, 0]

        assert groups.get(NET, "team") == b"150"


@pytest.mark.process
@pytest.mark.parametrize(("where", "left"), [("inside", OLD), ("behind", NEW)])
def test_a_process_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path, where: str, left: bytes) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(SqliteGroups(path)) as groups:
        groups.add(NET, "team", OLD)
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, path, where], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        os.kill(process.pid, signal.SIGKILL)

    with closing(SqliteGroups(path)) as groups:
        assert groups.get(NET, "team") == left
        groups.change(NET, "team", lambda stored: stored[::-1])
        assert groups.get(NET, "team") == left[::-1]


def test_what_another_one_changes_is_seen_at_once_and_so_is_what_was_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "groups.sqlite"
    with closing(SqliteGroups(path)) as ours, closing(SqliteGroups(path)) as theirs:
        ours.add(NET, "team", b"0")
        for change in range(1, 4):
            assert theirs.get(NET, "team") == b"%d" % (change - 1)
            (ours if change % 2 else theirs).change(NET, "Team", lambda _, made=b"%d" % change: made)  # type: ignore[misc]
            assert ours.get(NET, "team") == ours.get(NET, "TEAM") == theirs.get(NET, "team") == b"%d" % change

        def fail(_stored: bytes) -> bytes:
            raise UsageError("no")

        with pytest.raises(UsageError):
            ours.change(NET, "team", fail)

        def look_and_fail() -> None:
            ours._file.connection.execute("UPDATE groups SET sealed = x'00'")
            assert ours.get(NET, "team") == b"\0"
            raise UsageError("no")

        with pytest.raises(UsageError):
            ours._file.transact(look_and_fail)
        assert ours.get(NET, "team") == b"3"
        theirs.remove(NET, "team")
        assert ours.get(NET, "team") is None
        assert ours.get(OTHER, "team") is None
        ours.add(NET, "team", b"new")
        assert (ours.get(NET, "team"), theirs.get(NET, "team")) == (b"new", b"new")

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yzdht.errors import DataLocked, NewerFormat, StoreError, UnsafeFile
from yzdht.limits import STATE_BYTES_MAX
from yzdht.store.folder import DataFolder


ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from yzdht.store.folder import DataFolder
folder = DataFolder.open(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_new_folder_is_for_its_owner_only_and_nearly_empty(tmp_path: Path) -> None:
    path = tmp_path / "data"

    with DataFolder.open(path) as folder:
        assert path.stat().st_mode & 0o777 == 0o700
        assert names(path) == {"version", "lock"}
        assert (path / "version").read_bytes() == b"1\n"
        assert [each.name for each in (folder.key_path, folder.records_path, folder.state_path)] == [
            "node.key",
            "records.sqlite",
            "state",
        ]


def test_folder_opens_again_after_it_was_closed(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    folder.close()
    folder.close()

    DataFolder.open(tmp_path).close()


def test_second_opener_is_told_who_holds_it(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path), pytest.raises(DataLocked, match=f"process {os.getpid()} "):
        DataFolder.open(tmp_path)


@pytest.mark.process
def test_lock_holds_between_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataLocked, match=f"process {holder.pid} ") as caught:
            DataFolder.open(tmp_path)
        assert "--data" in caught.value.hint
        holder.kill()

    DataFolder.open(tmp_path).close()


def test_newer_folder_is_refused_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "version").write_bytes(b"2\n")

    for _ in range(2):
        with pytest.raises(NewerFormat):
            DataFolder.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"0\n", b"one\n", b"-1", b"\xff", b"1" * 17])
def test_damaged_version_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "version").write_bytes(content)

    with pytest.raises(StoreError):
        DataFolder.open(tmp_path)


def test_where_a_node_runs_is_told_until_the_folder_is_closed(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    run = tmp_path / "run.json"

    folder.write_run(b"{}")
    assert run.read_bytes() == b"{}"
    assert run.stat().st_mode & 0o777 == 0o600
    folder.write_run(b'{"pid": 1}')
    assert run.read_bytes() == b'{"pid": 1}'
    folder.close()
    assert not run.exists()

    with DataFolder.open(tmp_path):  # somebody else's by now
        run.write_bytes(b"theirs")
        folder.close()
        assert run.read_bytes() == b"theirs"


def test_what_a_killed_node_said_of_itself_is_removed(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    (tmp_path / "run.json").write_bytes(b"{}")
    (tmp_path / f".run.json.{'0' * 16}.tmp").write_bytes(b"{")

    with DataFolder.open(tmp_path):
        assert names(tmp_path) == {"version", "lock"}


def test_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_bytes(b"")

    with pytest.raises(StoreError, match=r"thesis\.txt"):
        DataFolder.open(tmp_path)

    assert names(tmp_path) == {"thesis.txt"}


def test_folder_that_was_given_a_key_beforehand_is_taken(tmp_path: Path) -> None:
    (tmp_path / "node.key").write_bytes(b"")
    (tmp_path / "lost+found").mkdir()

    DataFolder.open(tmp_path).close()


def test_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StoreError) as caught:
        DataFolder.open(tmp_path / "file")

    assert "name a folder" in caught.value.hint


def test_state_is_read_back(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        assert folder.read_state() is None
        folder.write_state(b"first")
        folder.write_state(b"second")

        assert folder.read_state() == b"second"
        assert names(tmp_path) == {"version", "lock", "state"}


def test_state_that_grew_beyond_reason_is_refused(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        with folder.state_path.open("wb") as file:
            file.truncate(STATE_BYTES_MAX + 1)

        with pytest.raises(StoreError, match="longer"):
            folder.read_state()


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (".state.0123456789abcdef.tmp", ".node.key.0123456789abcdef.tmp", "keep.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "version").write_bytes(b"1\n")

    with DataFolder.open(tmp_path):
        assert names(tmp_path) == {"version", "lock", "keep.tmp"}


def test_lock_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()

    with pytest.raises(StoreError):
        DataFolder.open(tmp_path)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_folder_that_others_can_write_is_refused_before_anything_is_made_in_it(
    tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)

    with pytest.raises(UnsafeFile) as caught:
        DataFolder.open(tmp_path)

    assert caught.value.hint == f"run: chmod 700 {tmp_path}"
    assert names(tmp_path) == set()


def test_folder_that_others_can_only_read_is_opened(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    DataFolder.open(tmp_path).close()


def test_state_that_others_can_change_is_not_read(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        folder.write_state(b"state")
        folder.state_path.chmod(0o622)

        with pytest.raises(UnsafeFile) as caught:
            folder.read_state()

    assert caught.value.hint == f"run: chmod 600 {folder.state_path}"

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from yzdht.errors import StoreError, UnsafeFile
from yzdht.store.files import (
    as_store_error,
    create_file,
    held_lock,
    is_leftover,
    make_folder,
    read_file,
    read_own_file,
    refuse_unsafe_file,
    refuse_unsafe_folder,
    replace_file,
)


if TYPE_CHECKING:
    from pathlib import Path


def test_created_file_is_for_its_owner_only_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"

    assert create_file(path, b"bytes")

    assert path.read_bytes() == b"bytes"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_creating_never_touches_a_file_that_exists(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    assert not create_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_creating_does_not_follow_a_dangling_link(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to(tmp_path / "elsewhere")

    assert not create_file(path, b"new")
    assert not (tmp_path / "elsewhere").exists()


def test_replacing_swaps_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644), "wb") as old:  # noqa: PTH123 - an explicit mode
        old.write(b"a longer old content")

    replace_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_failed_replacement_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()

    with pytest.raises(StoreError) as caught:
        replace_file(path, b"new")

    assert "not a folder" in caught.value.hint
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [create_file, replace_file])
def test_folder_that_is_not_there_is_a_store_error(tmp_path: Path, write: object) -> None:
    assert callable(write)
    with pytest.raises(StoreError):
        write(tmp_path / "nowhere" / "file", b"")


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    assert read_file(path, 5) == b"12345"
    with pytest.raises(StoreError, match="longer than 4"):
        read_file(path, 4)


def test_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert read_file(tmp_path / "file", 5) is None


def test_reading_a_folder_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_file(tmp_path, 5)


def test_made_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    make_folder(tmp_path / "above" / "folder")

    assert (tmp_path / "above" / "folder").stat().st_mode & 0o777 == 0o700


def test_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    make_folder(tmp_path)

    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_file_in_the_place_of_a_folder_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError) as caught:
            make_folder(path)
        assert "name a folder" in caught.value.hint


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EMFILE, "LimitNOFILE="),
        (errno.ENFILE, "fs.file-max"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may write"),
        (errno.EIO, "disk"),
    ],
)
def test_hint_fits_the_error(tmp_path: Path, number: int, hint: str) -> None:
    error = as_store_error(OSError(number, os.strerror(number)), tmp_path)

    assert hint in error.hint
    assert os.strerror(number) in str(error)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (".state.0123456789abcdef.tmp", True),
        (".other.0123456789abcdef.tmp", False),
        (".state.0123.tmp", False),
        ("state", False),
        ("state.0123456789abcdef.tmp", False),
    ],
)
def test_leftovers_are_known_by_their_names(name: str, is_one: object) -> None:
    assert is_leftover(name, "state".__eq__) is is_one


def status(mode: int, uid: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644])
def test_file_that_only_its_owner_can_change_is_safe(tmp_path: Path, mode: int) -> None:
    refuse_unsafe_file(status(stat.S_IFREG | mode, os.geteuid()), tmp_path / "file")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UnsafeFile, match=f"{mode:04o}") as caught:
        refuse_unsafe_file(status(stat.S_IFREG | mode, os.geteuid()), tmp_path / "file")

    assert caught.value.hint == f"run: chmod 600 {tmp_path / 'file'}"


def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    another = os.geteuid() + 1

    with pytest.raises(UnsafeFile, match=f"user {another}") as caught:
        refuse_unsafe_file(status(stat.S_IFREG | 0o600, another), tmp_path / "file")

    assert "chown" in caught.value.hint


def test_file_of_root_is_safe_since_root_can_do_everything_anyway(tmp_path: Path) -> None:
    refuse_unsafe_file(status(stat.S_IFREG | 0o600, 0), tmp_path / "file")


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a file"):
        refuse_unsafe_file(status(stat.S_IFIFO | 0o600, os.geteuid()), tmp_path / "file")


def test_file_that_others_can_change_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "file").chmod(0o622)

    with pytest.raises(UnsafeFile):
        read_own_file(tmp_path / "file", 5)


def test_named_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(StoreError, match="not a file"):
        read_own_file(tmp_path / "pipe", 5)


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)

    with pytest.raises(UnsafeFile, match=f"{mode:04o}") as caught:
        refuse_unsafe_folder(tmp_path)

    assert caught.value.hint == f"run: chmod 700 {tmp_path}"


def test_folder_that_others_can_only_read_is_safe(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    refuse_unsafe_folder(tmp_path)


def test_checked_folder_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        refuse_unsafe_folder(tmp_path / "none")


def test_own_file_is_read_as_any_other(tmp_path: Path) -> None:
    assert read_own_file(tmp_path / "file", 5) is None
    create_file(tmp_path / "file", b"bytes")

    assert read_own_file(tmp_path / "file", 5) == b"bytes"
    with pytest.raises(StoreError, match="longer"):
        read_own_file(tmp_path / "file", 4)


def test_file_of_somebody_is_read_whatever_its_mode(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "file").chmod(0o666)

    assert read_file(tmp_path / "file", 5) == b"bytes"


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held: list[str] = []

    def hold() -> None:
        with held_lock(path):
            held.append("second")

    second = threading.Thread(target=hold)
    with held_lock(path):
        second.start()
        second.join(0.05)
        held.append("first")
    second.join()

    assert held == ["first", "second"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError), held_lock(tmp_path / "lock"):
        raise AssertionError("it was locked")
    assert not (tmp_path / "elsewhere").exists()

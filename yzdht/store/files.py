"""Small files, written whole or not at all, for their owner's eyes only.

A file is written under a temporary name beside its place, synced, then linked (a new file) or renamed (a replaced one),
and the folder is synced: whoever looks sees the old bytes or the new ones, after a crash too.

Refuses what others could have changed: whoever can write the marks, the records or the folder they are in can make
this user see old values as new ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from yzdht.errors import StoreError, UnsafeFile


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO


_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.tmp")

_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0

_SPACE_HINT = "free some space on this disk"
_ACCESS_HINT = "check that the disk is not read-only and that this user may write there"
_FILES_HINT = "let the process have more files: LimitNOFILE= in the unit, or ulimit -n"
_FOLDER_HINT = "name a folder, not a file"
_LINK_HINT = "choose a folder on a disk that has hard links"
_HINTS = {
    errno.ENOSPC: _SPACE_HINT,
    errno.EDQUOT: _SPACE_HINT,
    errno.EROFS: _ACCESS_HINT,
    errno.EACCES: _ACCESS_HINT,
    errno.EPERM: _ACCESS_HINT,
    errno.ENOTDIR: _FOLDER_HINT,
    errno.EEXIST: _FOLDER_HINT,
    errno.EISDIR: "name a file, not a folder",
    errno.ENOENT: "check the path",
    errno.EOPNOTSUPP: _LINK_HINT,
    errno.EMFILE: _FILES_HINT,
    errno.ENFILE: "more files are open on this machine than fs.file-max allows: close some, or raise it",
}


def as_store_error(error: OSError, path: Path) -> StoreError:
    """Say what an OSError means for the people who run this."""
    hint = _HINTS.get(error.errno or 0, "check the disk")
    return StoreError(f"{path}: {error.strerror or error}", hint=hint)


def make_folder(path: Path) -> None:
    """Create a folder with mode 0700, and what is missing above it; one that exists keeps its mode.

    Raises:
        StoreError: It cannot be created, or something else is there.

    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise as_store_error(error, path) from error


def create_file(path: Path, data: bytes) -> bool:
    """Create a file that must not exist yet, mode 0600, durable when this returns.

    Returns:
        False if something is there already, which stays as it is: of two processes that create at once one wins.

    Raises:
        StoreError: It cannot be written.

    """
    try:
        temporary = _write_temporary(path, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise as_store_error(error, path) from error
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Create or replace a file, mode 0600, durable when this returns.

    Raises:
        StoreError: It cannot be written; what was there stays.

    """
    try:
        temporary = _write_temporary(path, data)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise as_store_error(error, path) from error


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold the lock that a file stands for, waiting for whoever has it; the file stays, empty, mode 0600.

    Raises:
        StoreError: The file cannot be made or locked.

    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise as_store_error(error, path) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise as_store_error(error, path) from error
        yield
    finally:
        os.close(lock)


def read_file(path: Path, bytes_max: int) -> bytes | None:
    """Return a file's bytes, None if there is no such file.

    Raises:
        StoreError: It cannot be read, or is longer than `bytes_max`.

    """
    return _read(lambda: path.open("rb"), path, bytes_max)


def read_own_file(path: Path, bytes_max: int) -> bytes | None:
    """Return the bytes of a file that only this program writes, None if there is no such file.

    Raises:
        UnsafeFile: Others can write it.
        StoreError: It cannot be read, or is longer than `bytes_max`.

    """
    return _read(lambda: _open_own(path), path, bytes_max)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_unsafe_file(status: os.stat_result, path: Path) -> None:
    """Refuse a file that others can change, or that another user owns.

    Root's are accepted: root can change every file anyway.

    Args:
        status: Of the file as it was opened, since what is at `path` could change in between.
        path: For the error.

    Raises:
        UnsafeFile: Group or others can write it, or neither this user nor root owns it.
        StoreError: It is not a file.

    """
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a file", hint="check the path")
    if status.st_mode & _WRITTEN_BY_OTHERS:
        raise UnsafeFile(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others can change it",
            hint=f"run: chmod 600 {path}",
        )
    refuse_foreign_file(status, path)


def refuse_foreign_file(status: os.stat_result, path: Path) -> None:
    """Refuse a file or folder that neither this user nor root owns; arguments as for `refuse_unsafe_file`.

    Raises:
        UnsafeFile: Another user owns it.

    """
    if status.st_uid not in {os.geteuid(), _ROOT}:
        raise UnsafeFile(
            f"{path} belongs to user {status.st_uid}, who can change it",
            hint=f"run this as that user, or: chown {os.geteuid()} {path}",
        )


def refuse_unsafe_folder(path: Path) -> None:
    """Refuse a folder in which others can put files in the place of ours; for root, one whose owner would be shut out.

    Raises:
        UnsafeFile: Group or others can write it, sticky bit or not, or neither this user nor root owns it.
        StoreError: It is not there.

    """
    try:
        status = path.stat()
    except OSError as error:
        raise as_store_error(error, path) from error
    if status.st_mode & _WRITTEN_BY_OTHERS:
        raise UnsafeFile(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others can replace what is in it",
            hint=f"run: chmod 700 {path}",
        )
    refuse_foreign_file(status, path)


def is_leftover(name: str, is_of: Callable[[str], bool]) -> bool:
    """True for the name of a temporary file, left by a process that was killed, of a file of which `is_of` is true."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and is_of(match["name"])


def _open_own(path: Path) -> BinaryIO:
    # A named pipe must not hang us.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    try:
        refuse_unsafe_file(os.fstat(file.fileno()), path)
    except StoreError:
        file.close()
        raise
    return file


def _read(open_it: Callable[[], BinaryIO], path: Path, bytes_max: int) -> bytes | None:
    try:
        with open_it() as file:
            data = file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise as_store_error(error, path) from error
    if len(data) > bytes_max:
        raise StoreError(f"{path} is longer than {bytes_max:,} bytes", hint="restore it from a copy")
    return data


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        temporary.unlink()
        raise
    return temporary

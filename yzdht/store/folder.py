"""A node's data folder: what is in it, which version, and that one process at a time has it.

Holds `version`, `lock`, `node.key`, `records.sqlite` with its log, `state`, and while a node runs `run.json`; of a closed
network `membership-…`, `revoked-…`, and its issuer's `invites.sqlite`; nothing else. PROTOCOL.md section 13 for the modes; a folder or file that others can change is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING

from yzdht.errors import DataLocked, NewerFormat, StoreError
from yzdht.limits import RECORD_BYTES_MAX, RUN_BYTES_MAX, STATE_BYTES_MAX
from yzdht.store.files import (
    as_store_error,
    create_file,
    is_leftover,
    make_folder,
    read_own_file,
    refuse_unsafe_folder,
    replace_file,
)
from yzdht.store.memberships import is_membership


if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from yzdht.ids import Target


FOLDER_VERSION = 1

_VERSION = "version"
_LOCK = "lock"
_KEY = "node.key"
_RECORDS = "records.sqlite"
_STATE = "state"
_RUN = "run.json"
_LEDGER = "invites.sqlite"
_REVOKED = re.compile(r"revoked-[0-9a-f]{16}")
_WRITTEN_WHOLE = frozenset({_VERSION, _KEY, _STATE, _RUN})
_DATABASES = (_RECORDS, _LEDGER)
_KNOWN = frozenset({*_WRITTEN_WHOLE, _LOCK, *_DATABASES, "lost+found"})
_KNOWN |= {f"{name}-{log}" for name in _DATABASES for log in ("wal", "shm")}
_VERSION_BYTES_MAX = 16
_PID_BYTES_MAX = 20


class DataFolder:
    """A data folder that this process holds until `close`. Use `open`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create the folder if needed, lock it, check its version, remove what a killed process left behind.

        Raises:
            DataLocked: Another process holds it.
            NewerFormat: A newer version of yzdht wrote it.
            UnsafeFile: Group or others can write it.
            StoreError: It cannot be created or written, or holds the files of something else.

        """
        make_folder(path)
        refuse_unsafe_folder(path)
        _refuse_foreign(path)
        folder = cls(path, _take_lock(path / _LOCK))
        with contextlib.ExitStack() as undo:
            undo.callback(folder.close)
            _check_version(path / _VERSION)
            _remove_leftovers(path)
            _remove(path / _RUN)
            undo.pop_all()
        return folder

    @property
    def key_path(self) -> Path:
        """Where the node's keyfile is."""
        return self.path / _KEY

    @property
    def records_path(self) -> Path:
        """Where the records are."""
        return self.path / _RECORDS

    @property
    def ledger_path(self) -> Path:
        """Where the invites are that the node's own key issued."""
        return self.path / _LEDGER

    @property
    def state_path(self) -> Path:
        """Where the node's saved state is."""
        return self.path / _STATE

    def read_state(self) -> bytes | None:
        """What `write_state` wrote last; None if it never did.

        Raises:
            UnsafeFile: Others can write it.
            StoreError: It cannot be read, or is longer than STATE_BYTES_MAX.

        """
        return read_own_file(self.state_path, STATE_BYTES_MAX)

    def write_state(self, state: bytes) -> None:
        """Replace the saved state, wholly or not at all; waits for the disk.

        Args:
            state: Opaque bytes, at most STATE_BYTES_MAX.

        Raises:
            StoreError: It cannot be written; the state before it stays.

        """
        assert len(state) <= STATE_BYTES_MAX
        replace_file(self.state_path, state)

    def read_revoked(self, slot: Target) -> bytes | None:
        """The revocation list that `write_revoked` wrote last for a slot; None if it never did.

        Raises:
            UnsafeFile: Others can write it.
            StoreError: It cannot be read.

        """
        return read_own_file(self.path / _revoked(slot), RECORD_BYTES_MAX)

    def write_revoked(self, slot: Target, record: bytes) -> None:
        """Replace the revocation list of a slot, wholly or not at all.

        Raises:
            StoreError: It cannot be written; the one before it stays.

        """
        replace_file(self.path / _revoked(slot), record)

    def write_run(self, run: bytes) -> None:
        """Say where the process that holds the folder is found; `close` takes that back.

        Args:
            run: JSON, at most RUN_BYTES_MAX bytes.

        Raises:
            StoreError: It cannot be written.

        """
        assert len(run) <= RUN_BYTES_MAX
        replace_file(self.path / _RUN, run)

    def close(self) -> None:
        """Let another process have the folder. Idempotent."""
        if self._lock is not None:
            with contextlib.suppress(
                StoreError
            ):  # it names a process that is gone; the next opener removes it
                _remove(self.path / _RUN)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _take_lock(path: Path) -> int:
    """Lock the file for as long as the descriptor returned is open; it also dies with the process."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(lock, _PID_BYTES_MAX, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise DataLocked(f"process {holder or 'unknown'} holds the data folder {path.parent}") from None
        except OSError:
            os.close(lock)
            raise
    except OSError as error:
        raise as_store_error(error, path) from error
    return lock


def _check_version(path: Path) -> None:
    raw = read_own_file(path, _VERSION_BYTES_MAX)
    if raw is None:
        create_file(path, b"%d\n" % FOLDER_VERSION)
        return
    text = raw.strip()
    if not text.isdigit() or int(text) == 0:
        raise StoreError(f"{path} does not hold a version", hint="restore the data folder from a copy")
    if int(text) > FOLDER_VERSION:
        raise NewerFormat(f"{path.parent} has version {int(text)}, this yzdht knows {FOLDER_VERSION}")


def _refuse_foreign(path: Path) -> None:
    """A folder without a version must be empty but for files of ours: a mistyped path is caught before it is written."""
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise as_store_error(error, path) from error
    strangers = sorted(name for name in names - _KNOWN if not _is_ours(name))
    if _VERSION not in names and strangers:
        raise StoreError(
            f"{path} is not a data folder: it holds {strangers[0]!r}",
            hint="name an empty folder, or a new one",
        )


def is_revocation_list(name: str) -> bool:
    """True for the name of a file that `DataFolder.write_revoked` writes."""
    return _REVOKED.fullmatch(name) is not None


def _revoked(slot: Target) -> str:
    return f"revoked-{slot[:8].hex()}"


def _is_written_whole(name: str) -> bool:
    return name in _WRITTEN_WHOLE or is_revocation_list(name) or is_membership(name)


def _is_ours(name: str) -> bool:
    return _is_written_whole(name) or is_leftover(name, _is_written_whole)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise as_store_error(error, path) from error


def _remove_leftovers(path: Path) -> None:
    try:
        for entry in path.iterdir():
            if is_leftover(entry.name, _is_written_whole):
                entry.unlink()
    except OSError as error:
        raise as_store_error(error, path) from error

"""How every SQLite file of yzdht is opened: whose it is, which version, durable before a commit returns.

Owns `application_id`, `user_version` and forward migrations. Refuses files of other programs, of newer versions,
damaged ones and those that others can write; never changes a file that it refuses.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING

from yzdht.errors import NewerFormat, StoreError
from yzdht.limits import QUICK_CHECK_BYTES_MAX
from yzdht.store.files import as_store_error as as_file_error, refuse_unsafe_file


if TYPE_CHECKING:
    from pathlib import Path


BUSY_TIMEOUT_S = 10.0
_BUSY_PAUSE_S = 0.01
_SYNCHRONOUS_FULL = 2
_SHARED_BYTES = 32_768
_LOG_ENDS = ("-wal", "-shm", "-journal")  # what is in them becomes part of the file


@dataclass(frozen=True, slots=True)
class Schema:
    """The form of one kind of file.

    Attributes:
        application_id: Marks the file as this kind; a positive 32-bit number.
        steps: Statements that lead from version n to n + 1; the first step creates the tables.

    """

    application_id: int
    steps: tuple[tuple[str, ...], ...]

    @property
    def version(self) -> int:
        """The version that this program writes."""
        return len(self.steps)


def open_database(path: Path, schema: Schema) -> sqlite3.Connection:
    """Open or create a file for writing: WAL, `synchronous=FULL`, migrated to the current version.

    The connection is in autocommit mode and may be handed to another thread, which then owns it.

    Raises:
        NewerFormat: A newer version wrote it.
        UnsafeFile: Others can write it, or its log.
        StoreError: It cannot be opened, belongs to another program or is damaged.

    """
    try:
        _make_or_check(path)
    except OSError as error:
        raise as_file_error(error, path) from error
    connection: sqlite3.Connection | None = None
    try:
        connection = _connect(path, mode="rw")
        _prepare(connection, path, schema)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise as_store_error(error, path) from error
    except StoreError:
        if connection is not None:
            connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a second connection, which cannot write, to a file that `open_database` has open.

    Raises:
        StoreError: It cannot be opened.

    """
    try:
        return _connect(path, mode="ro")
    except sqlite3.Error as error:
        raise as_store_error(error, path) from error


def check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage; files above QUICK_CHECK_BYTES_MAX are left out, since every page is read.

    Raises:
        StoreError: The file is damaged.

    """
    try:
        if path.stat().st_size > QUICK_CHECK_BYTES_MAX:
            return
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise as_store_error(error, path) from error
    if verdict != "ok":
        raise StoreError(f"{path} is damaged", hint=_DAMAGED_HINT)


def as_store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """Say what an error of SQLite means for the people who run this."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return StoreError(f"{path} is damaged or not a database", hint=_DAMAGED_HINT)
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _is_disk_full(path)):
        return StoreError(f"{path} cannot grow: the disk is full", hint="free some space on this disk")
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreError(
            f"{path} is in use by another process", hint="stop the other process, then try again"
        )
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return StoreError(f"{path} cannot be written: {error}", hint=_ACCESS_HINT)
    return StoreError(f"{path} cannot be read or written: {error}", hint="check the disk")


def _is_disk_full(path: Path) -> bool:
    """True if there is no room for the memory that SQLite shares: it calls that an error of the disk."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _SHARED_BYTES


_ACCESS_HINT = (
    "check that the folder exists, that the disk is not read-only and that this user may write there"
)
_DAMAGED_HINT = (
    "restore it from a backup, or move the file away, with its -wal, and go on without what it held: a node's records have "
    "copies on other nodes, a home loses its memory of which versions are the newest"
)


def _make_or_check(path: Path) -> None:
    """Make a file with mode 0600, whose log SQLite then makes alike; or see who else can write the one that is there."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        refuse_unsafe_file(os.fstat(descriptor), path)
    finally:
        os.close(descriptor)
    for end in _LOG_ENDS:
        log = path.with_name(path.name + end)
        with suppress(FileNotFoundError):
            refuse_unsafe_file(log.stat(), log)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _prepare(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    _refuse_foreign(connection, path, schema)
    _enter_wal(connection, path)
    connection.execute("PRAGMA synchronous=FULL")
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == _SYNCHRONOUS_FULL
    with connection:  # which commits, or takes it all back
        connection.execute("BEGIN IMMEDIATE")
        _migrate(connection, path, schema)


def _enter_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to the write-ahead log; SQLite does not wait for its busy timeout when two processes do so at once."""
    give_up_at = monotonic() + BUSY_TIMEOUT_S
    mode = ""
    while not mode:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > give_up_at:
                raise
            sleep(_BUSY_PAUSE_S)
    if mode != "wal":
        raise StoreError(f"{path} is on a disk without shared memory", hint="choose a folder on a local disk")


def _refuse_foreign(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Look before anything is changed; in one snapshot, since another process may be creating the same file."""
    connection.execute("BEGIN")
    try:
        _check_kind(connection, path, schema)
    finally:
        connection.rollback()


def _check_kind(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    """Return the version of a file that is ours or still empty; only inside a transaction, three things are read."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application_id != schema.application_id and not (is_empty and application_id == version == 0):
        raise StoreError(f"{path} belongs to another program", hint="choose another folder or file name")
    if version > schema.version:
        raise NewerFormat(f"{path} has format {version}, this version of yzdht knows {schema.version}")
    return version


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    version = _check_kind(
        connection, path, schema
    )  # again, inside the transaction: another process may migrate too
    for step in schema.steps[version:]:
        for statement in step:
            connection.execute(statement)
    if version < schema.version:
        connection.execute(f"PRAGMA application_id={schema.application_id}")
        connection.execute(f"PRAGMA user_version={schema.version}")

"""What `yz doctor` sees of a data folder: who may write it, the key, the saved state, the database, the disk.

Reads only; SQLite may leave an empty log beside a database that it read. Whatever is in the folder may be damaged or somebody else's: every check ends in findings, never in an error.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from yzdht.cli.findings import ok, problem, problem_of, unknown, warning
from yzdht.cli.local_node import VERSION_NAME, as_owner, foreign_owner
from yzdht.errors import CryptoError, StoreError, WireError
from yzdht.http.units import show_bytes
from yzdht.limits import DATABASE_CHECK_S_MAX, KEYFILE_BYTES_MAX, STATE_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.cli.findings import Finding
    from yzdht.state import SavedPeer


_KEY_NAME, _STATE_NAME, _RECORDS_NAME = "node.key", "state", "records.sqlite"
_VERSION_BYTES_MAX = 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FREE_BYTES_LOW = 1 << 30
_FREE_BYTES_NONE = 64 << 20
_OPCODES_PER_LOOK = 100_000


def check_folder(path: Path) -> Iterator[Finding]:
    """Mode, owner, version, key and saved state of a data folder."""
    from yzdht.store.files import refuse_unsafe_folder  # noqa: PLC0415 - loads the library

    here = shlex.quote(str(path))
    owner = foreign_owner(path)
    if owner is not None:
        yield unknown(
            "data folder",
            f"{path} belongs to {owner}, so its files were not looked at",
            as_owner(owner, f"yz doctor --data {here}"),
        )
        return
    try:
        refuse_unsafe_folder(path)
        status = path.stat()
        names = {entry.name for entry in path.iterdir()}
        is_read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except StoreError as error:
        yield problem_of("data folder", error)
        return
    except OSError as error:
        yield problem(
            "data folder", f"{path}: {error.strerror}", "run this as the user of the node, or check the disk"
        )
        return
    if is_read_only or not os.access(path, os.W_OK | os.X_OK):
        yield problem(
            "data folder",
            f"{path} cannot be written by this user",
            "run this as the user of the node; check that the disk is not read-only",
        )
    elif status.st_mode & _OTHERS:
        yield warning(
            "data folder",
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others can look into it",
            f"run: chmod 700 {here}",
        )
    elif VERSION_NAME not in names:
        yield warning("data folder", f"{path} holds no node yet", f"start one with: yz-node --data {here}")
    else:
        yield ok("data folder", f"{path}, for this user alone")
    yield from _check_version(path)
    yield from _check_key(path)
    yield from _check_state(path)


def _check_version(path: Path) -> Iterator[Finding]:
    from yzdht.store.files import read_own_file  # noqa: PLC0415 - as above
    from yzdht.store.folder import FOLDER_VERSION  # noqa: PLC0415 - as above

    try:
        raw = read_own_file(path / VERSION_NAME, _VERSION_BYTES_MAX)
    except StoreError as error:
        yield problem_of("data folder", error)
        return
    if raw is None:
        return
    text = raw.strip()
    if not text.isdigit() or int(text) == 0:
        yield problem(
            "data folder", f"{path / VERSION_NAME} does not hold a version", "restore the folder from a copy"
        )
    elif int(text) > FOLDER_VERSION:
        yield problem(
            "data folder",
            f"{path} has version {int(text)}, this yzdht knows {FOLDER_VERSION}",
            "upgrade yzdht; older versions never touch newer files",
        )


def _check_key(path: Path) -> Iterator[Finding]:
    from yzdht.crypto.keyfile import needs_passphrase  # noqa: PLC0415 - loads the cryptography
    from yzdht.store.files import read_own_file  # noqa: PLC0415 - as above
    from yzdht.store.keyfile import Identity  # noqa: PLC0415 - as above

    key = path / _KEY_NAME
    try:
        raw = read_own_file(key, KEYFILE_BYTES_MAX)
        if raw is None:
            return
        is_protected = needs_passphrase(raw)
        if not is_protected:
            Identity.load(key)
    except (WireError, CryptoError) as error:
        yield problem(
            "node key",
            f"{key} is damaged: {error}",
            "restore it from a backup; or move it away and start the node, which is a new node then",
        )
    except StoreError as error:
        yield problem_of("node key", error)
    else:
        yield ok("node key", f"{key}, under {'a' if is_protected else 'no'} passphrase")


def saved_peers(path: Path) -> tuple[SavedPeer, ...]:
    """Whom the node of a folder knew when it was last saved; nobody if that cannot be read."""
    from yzdht.state import decode_state  # noqa: PLC0415 - loads the library
    from yzdht.store.files import read_own_file  # noqa: PLC0415 - as above

    try:
        raw = read_own_file(path / _STATE_NAME, STATE_BYTES_MAX)
    except StoreError:
        return ()
    return () if raw is None else decode_state(raw)


def _check_state(path: Path) -> Iterator[Finding]:
    from yzdht.state import is_damaged  # noqa: PLC0415 - as above
    from yzdht.store.files import read_own_file  # noqa: PLC0415 - as above

    try:
        raw = read_own_file(path / _STATE_NAME, STATE_BYTES_MAX)
    except StoreError as error:
        yield problem_of("saved peers", error)
        return
    if raw is None:
        return
    peers = saved_peers(path)
    if is_damaged(raw):
        yield warning(
            "saved peers",
            f"{path / _STATE_NAME} is damaged",
            "nothing: the node makes it anew; until then it needs its bootstrap addresses",
        )
    else:
        yield ok("saved peers", f"{len(peers)} of the nodes that it knew are remembered")


def check_database(path: Path) -> Iterator[Finding]:
    """Look for damage in the records; only where no node runs, since that takes the disk's time."""
    records = path / _RECORDS_NAME
    if foreign_owner(path) is not None:
        return
    try:
        size = records.stat().st_size
    except FileNotFoundError:
        return
    except OSError as error:
        yield problem("database", f"{records}: {error.strerror}", "check the disk")
        return
    try:
        yield _quick_check(records, size)
    except StoreError as error:
        yield problem_of("database", error)


def _quick_check(path: Path, size: int) -> Finding:
    """Raises StoreError if it cannot be read."""
    from yzdht.store.files import refuse_unsafe_file  # noqa: PLC0415 - as above
    from yzdht.store.log import check_log  # noqa: PLC0415 - as above
    from yzdht.store.rows import RECORDS_SCHEMA  # noqa: PLC0415 - as above
    from yzdht.store.schema import as_store_error, open_for_reading  # noqa: PLC0415 - as above

    refuse_unsafe_file(path.stat(), path)
    check_log(path)
    connection = open_for_reading(path)
    give_up_at = time.monotonic() + DATABASE_CHECK_S_MAX
    connection.set_progress_handler(lambda: time.monotonic() > give_up_at, _OPCODES_PER_LOOK)
    try:
        kind = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise as_store_error(error, path) from error
        return unknown(
            "database",
            f"{path}, {show_bytes(size)}, could not be checked within {DATABASE_CHECK_S_MAX:.0f} s",
            f"check it in peace with: sqlite3 -readonly {shlex.quote(str(path))} 'PRAGMA quick_check'",
        )
    except sqlite3.Error as error:
        raise as_store_error(error, path) from error
    finally:
        connection.close()
    if verdict != "ok":
        return problem(
            "database",
            f"{path} is damaged",
            "restore it from a backup, or move it away: its records have copies on other nodes",
        )
    if kind not in (RECORDS_SCHEMA.application_id, 0):
        return problem("database", f"{path} belongs to another program", "name another folder with --data")
    if version > RECORDS_SCHEMA.version:
        return problem(
            "database",
            f"{path} has format {version}, this yzdht knows {RECORDS_SCHEMA.version}",
            "upgrade yzdht; older versions never touch newer files",
        )
    return ok("database", f"{path}, {show_bytes(size)}, is sound")


def check_disk(path: Path) -> Iterator[Finding]:
    """Room on the disk where a folder is or will be."""
    place = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    try:
        free = shutil.disk_usage(place).free
        files_free = os.statvfs(place).f_favail
        has_files = bool(os.statvfs(place).f_files)
    except OSError as error:
        yield unknown("disk space", f"{place}: {error.strerror}")
        return
    fact = f"{show_bytes(free)} are free at {place}"
    if free < _FREE_BYTES_NONE or (has_files and not files_free):
        fact = fact if free < _FREE_BYTES_NONE else f"no more files can be made at {place}"
        yield problem(
            "disk space", fact, "free some space: without it the node refuses what others want to store"
        )
    elif free < _FREE_BYTES_LOW:
        yield warning("disk space", fact, "free some space, or keep the node's share down with --max-storage")
    else:
        yield ok("disk space", fact)

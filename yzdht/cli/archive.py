"""The file of a backup: a tar of a manifest and the files that it lists, each with its length and SHA-256.

Written whole or not at all, mode 0600. Databases are copied by SQLite's backup API, within one read transaction, so that
a node may go on writing. What is read back is a stranger's until its sums were checked: nothing is ever unpacked under a
name that stands in the archive.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import sqlite3
import tarfile
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from yzdht.cli.tar_members import TarMembers
from yzdht.errors import NewerFormat, StoreError
from yzdht.limits import BACKUP_MANIFEST_BYTES_MAX, BACKUP_MEMBERS_MAX, BACKUP_PAGES_PER_STEP
from yzdht.store.files import as_store_error, refuse_unsafe_file, sync_folder
from yzdht.store.schema import as_store_error as as_database_error, check_integrity, open_for_reading


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from yzdht.cli.tar_members import Content


FORMAT = 1
MANIFEST_NAME = "backup.json"
_CHUNK_BYTES = 1 << 20
_MODE = 0o600
_DAMAGED_HINT = "name a file that `yz backup` wrote, or use another copy of it"


class Entry(Struct, frozen=True, rename="camel"):
    """One file in a backup."""

    name: Annotated[str, Meta(max_length=64)]
    bytes: Annotated[int, Meta(ge=0, le=2**50)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(Struct, frozen=True, rename="camel"):
    """What a backup holds, and of what."""

    format: Annotated[int, Meta(ge=1, le=2**31)]
    version: Annotated[str, Meta(max_length=64)]
    created_at: Annotated[int, Meta(ge=0, le=2**40)]
    files: Annotated[tuple[Entry, ...], Meta(max_length=BACKUP_MEMBERS_MAX)]
    data: Annotated[str, Meta(max_length=4_096)] | None = None
    home: Annotated[str, Meta(max_length=4_096)] | None = None


class Source(NamedTuple):
    """One file to save.

    Attributes:
        name: Its name in the backup.
        path: Where it is, complete and at rest.

    """

    name: str
    path: Path


# Writing


@contextlib.contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder for this user alone beside a file, gone afterwards.

    Raises:
        StoreError: It cannot be made.

    """
    path = beside.with_name(f".{beside.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise as_store_error(error, beside.parent) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def copy_database(source: Path, target: Path) -> None:
    """Copy a database while others write it.

    Raises:
        UnsafeFile: Others can write it.
        StoreError: It cannot be read, is damaged, or the copy cannot be written.

    """
    try:
        refuse_unsafe_file(source.stat(), source)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
    except OSError as error:
        raise as_store_error(error, source) from error
    reading = open_for_reading(source)
    try:
        writing = sqlite3.connect(target, isolation_level=None)
        try:
            reading.execute("BEGIN")  # one snapshot: otherwise every commit of the node would start it anew
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
            reading.backup(writing, pages=BACKUP_PAGES_PER_STEP, progress=_step)
            check_integrity(writing, target)
        finally:
            writing.close()
    except sqlite3.Error as error:
        raise as_database_error(error, source) from error
    finally:
        reading.close()


def _step(_status: int, _remaining: int, _total: int) -> None:
    """Between two steps Python looks whether Ctrl-C came."""


def write_archive(target: Path, sources: Sequence[Source], about: Manifest, *, is_forced: bool) -> Manifest:
    """Write a backup.

    Args:
        target: Its file.
        sources: What it holds.
        about: The manifest but for its files.
        is_forced: True replaces a file that exists.

    Returns:
        The manifest as written.

    Raises:
        StoreError: The file exists, there is too much, or something cannot be read or written; nothing is left behind then.

    """
    if len(sources) > BACKUP_MEMBERS_MAX:
        raise StoreError(
            f"a backup holds {BACKUP_MEMBERS_MAX} files, and here are {len(sources)}",
            hint="save the node and the home apart with --only; remove files membership-… of networks that you left",
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        manifest = msgspec.structs.replace(about, files=tuple(map(_entry_of, sources)))
        try:
            _write_tar(temporary, sources, manifest)
            _put_in_place(temporary, target, is_forced=is_forced)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except FileExistsError as error:
        raise StoreError(f"{target} exists already", hint="choose another FILE, or use --force") from error
    except OSError as error:
        raise as_store_error(error, target) from error
    return manifest


def _put_in_place(temporary: Path, target: Path, *, is_forced: bool) -> None:
    if not is_forced:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:
            if os.path.lexists(target):
                raise
        else:
            return
    temporary.replace(target)  # also for disks without hard links, as USB sticks are


def _entry_of(source: Source) -> Entry:
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Entry(source.name, file.tell(), digest)


def _write_tar(path: Path, sources: Sequence[Source], manifest: Manifest) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            raw = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
            tar.addfile(_member(MANIFEST_NAME, len(raw), manifest.created_at), io.BytesIO(raw))
            for source, entry in zip(sources, manifest.files, strict=True):
                with source.path.open("rb") as content:
                    tar.addfile(_member(entry.name, entry.bytes, manifest.created_at), content)
        file.flush()
        os.fsync(descriptor)


def _member(name: str, size: int, created_at: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, created_at, _MODE
    return member


# Reading


@contextlib.contextmanager
def open_archive(path: Path, is_known: Callable[[str], bool]) -> Iterator[Archive]:
    """Open a backup.

    Args:
        path: Its file.
        is_known: True for a file that a backup may hold, `part/name`; any other is refused.

    Raises:
        NewerFormat: A newer version wrote it.
        StoreError: It cannot be read or is not a backup.

    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise as_store_error(error, path) from error
    with file:
        yield Archive(path, file, is_known)


class Archive:
    """A backup that is open; `open_archive` makes it.

    Attributes:
        manifest: What it holds.

    """

    def __init__(self, path: Path, file: IO[bytes], is_known: Callable[[str], bool]) -> None:
        self._path = path
        with self._as_damage():
            self._tar = TarMembers(file)
        self.manifest = self._read_manifest()
        listed = [entry.name for entry in self.manifest.files]
        if len(set(listed)) != len(listed) or not all(map(is_known, listed)):
            raise self._damaged()

    def unpack(self, places: Mapping[str, Path]) -> list[Path]:
        """Write the files of some parts.

        Args:
            places: The folder of each part that is wanted, empty; what is in it is of use only if this returns.

        Returns:
            What was written.

        Raises:
            StoreError: A file is missing, damaged, or cannot be written.

        """
        written: list[Path] = []
        for entry in self.manifest.files:
            part, _, name = entry.name.partition("/")
            content = self._next(entry.name)
            if part in places:
                path = places[part] / name
                try:
                    self._unpack_one(entry, content, path)
                except OSError as error:
                    raise as_store_error(error, path) from error
                written.append(path)
        return written

    def _unpack_one(self, entry: Entry, content: Content, path: Path) -> None:
        digest, left = hashlib.sha256(), entry.bytes
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            while left and (chunk := self._read(content, min(left, _CHUNK_BYTES))):
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
            file.flush()
            os.fsync(descriptor)
        if left or self._read(content, 1) or digest.hexdigest() != entry.sha256:
            raise self._damaged()

    def _read(self, content: Content, count: int) -> bytes:
        with self._as_damage():
            return content.read(count)

    def _read_manifest(self) -> Manifest:
        raw = self._read(self._next(MANIFEST_NAME), BACKUP_MANIFEST_BYTES_MAX + 1)
        try:
            manifest = msgspec.json.decode(raw[:BACKUP_MANIFEST_BYTES_MAX], type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._damaged() from None
        if manifest.format > FORMAT:
            raise NewerFormat(f"{self._path} has format {manifest.format}, this yzdht knows {FORMAT}")
        return manifest

    def _next(self, name: str) -> Content:
        """The next file of the tar, which must be this one."""
        with self._as_damage():
            member = self._tar.next()
        if member is None or member[0] != name.encode():
            raise self._damaged()
        return member[1]

    @contextlib.contextmanager
    def _as_damage(self) -> Iterator[None]:
        """What comes of bytes that are no tar, or of a pipe in the place of a file."""
        try:
            yield
        except ValueError as error:
            raise self._damaged() from error
        except OSError as error:
            raise as_store_error(error, self._path) from error

    def _damaged(self) -> StoreError:
        return StoreError(f"{self._path} is not a backup, or is damaged", hint=_DAMAGED_HINT)


def install_folder(source: Path, target: Path) -> None:
    """Move a whole folder to a place where there is none, or an empty one.

    Raises:
        StoreError: Something is there, or it cannot be moved.

    """
    try:
        sync_folder(source)
        source.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise as_store_error(error, target) from error


def install_files(sources: Sequence[Path], folder: Path) -> None:
    """Link files into a folder in which they must not exist yet; all of them or none.

    Raises:
        StoreError: One exists, or cannot be made.

    """
    made: list[Path] = []
    try:
        try:
            for source in sources:
                os.link(source, folder / source.name)
                made.append(folder / source.name)
            sync_folder(folder)
        except OSError:
            for path in made:
                path.unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise StoreError(
            f"{folder} holds an identity already", hint="name another --home DIR, or move it away"
        ) from error
    except OSError as error:
        raise as_store_error(error, folder) from error

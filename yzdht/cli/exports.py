"""Identities in files: exports under a phrase, and keyfiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.errors import StoreError, UsageError, WireError
from yzdht.limits import KEYFILE_BYTES_MAX


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.store.keyfile import Identity


def read_export(path: Path, phrase: str | None) -> Identity:
    """The identity in a file: an export, or a keyfile that others cannot read.

    Raises:
        UsageError: There is no such file.
        StoreError: It is neither, or cannot be read.
        WrongPassphrase: It needs a phrase, or another one.

    """
    from yzdht.crypto.keyfile import needs_passphrase  # noqa: PLC0415 - loads the cryptography
    from yzdht.store.keyfile import Identity  # noqa: PLC0415 - as above

    data = read_keyfile(path)
    try:
        if needs_passphrase(data):  # others may see it: its phrase is long
            return Identity.import_bytes(data, phrase)
    except WireError as error:
        raise StoreError(f"{path} is not an export of an identity: {error}", hint="check the path") from error
    return Identity.load(path)


def read_keyfile(path: Path) -> bytes:
    """The bytes of a keyfile or an export.

    Raises:
        UsageError: There is no such file.
        StoreError: It cannot be read, or is too long.

    """
    from yzdht.store.files import read_file  # noqa: PLC0415 - loads the library

    data = read_file(path, KEYFILE_BYTES_MAX)
    if data is None:
        raise UsageError(f"there is no file {path}", hint="check the path")
    return data

"""The files of a tar as `yz backup` writes it: a header of 512 bytes each, then the content, padded to the next 512.

The tar is a stranger's. Of all that a tar may hold only this is read: plain files under a name of 100 bytes at most, which
lie inside the tar. Long names, extended headers, links and sparse files, whose readers use memory or recursion as
the tar tells them to, are refused.
"""

from __future__ import annotations

import os
import re
from typing import IO, NamedTuple


_BLOCK_BYTES = 512
_NAME = slice(0, 100)
_SIZE = slice(124, 136)
_SUM = slice(148, 156)
_KIND = 156
_PLAIN = (b"0", b"\0")
_OCTAL = re.compile(rb" *([0-7]{1,12})[ \0]*")
_BINARY = 0x80
"""First byte of a number above eight octal digits: the others are it, big end first."""


class NoTarError(ValueError):
    """These bytes are no tar, or none that is read here."""


class Header(NamedTuple):
    """What is said of one file.

    Attributes:
        name: As it stands there.
        size: Bytes of its content, not negative.

    """

    name: bytes
    size: int


def decode_header(block: bytes) -> Header | None:
    """Read one header.

    Args:
        block: 512 bytes.

    Returns:
        None for zeros, which end a tar.

    Raises:
        NoTarError: It is something else, or that of anything but a plain file.

    """
    if len(block) != _BLOCK_BYTES:
        raise NoTarError("the tar ends too early")
    if not any(block):
        return None
    total = sum(block) - sum(block[_SUM]) + len(block[_SUM]) * ord(" ")
    if _number(block[_SUM]) != total:
        raise NoTarError("the sum of a header is wrong")
    if block[_KIND : _KIND + 1] not in _PLAIN:
        raise NoTarError("it holds something else than a plain file")
    return Header(block[_NAME].partition(b"\0")[0], _number(block[_SIZE]))


def _number(field: bytes) -> int:
    if field[0] == _BINARY:
        return int.from_bytes(field[1:])
    digits = _OCTAL.fullmatch(field)
    if digits is None:
        raise NoTarError("a number is none")
    return int(digits[1], 8)


class Content:
    """What one file of a tar holds; of use until the next one is asked for.

    Args:
        file: The tar, where the content begins.
        size: Bytes of it.

    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, count: int) -> bytes:
        """The next bytes, `count` at most; none at the end."""
        chunk = self._file.read(min(count, self._left))
        self._left -= len(chunk)
        return chunk


class TarMembers:
    """The files of a tar, one after the other.

    Args:
        file: The tar, open and seekable.

    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = file.seek(0, os.SEEK_END)
        self._at = 0

    def next(self) -> tuple[bytes, Content] | None:
        """Name and content of the next file; None behind the last.

        Raises:
            NoTarError: There is something else.
            OSError: It cannot be read.

        """
        self._file.seek(self._at)
        header = decode_header(self._file.read(_BLOCK_BYTES))
        if header is None:
            return None
        begin = self._at + _BLOCK_BYTES
        if begin + header.size > self._end:
            raise NoTarError("a file does not end inside the tar")
        self._at = begin + -(-header.size // _BLOCK_BYTES) * _BLOCK_BYTES
        return header.name, Content(self._file, header.size)

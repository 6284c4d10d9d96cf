"""What SQLite would pass over in silence: a write-ahead log that is damaged.

SQLite reads a log up to the first frame whose sum is wrong and takes the rest for the remains of a crash. That is right
for one transaction, the last, which nobody was told of. If more have ended behind that frame, they were on the disk and
acknowledged, and are lost: then the file is refused before SQLite opens it, and stays as it is. A log without its
database is refused likewise. Format: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import StoreError
from yzdht.limits import QUICK_CHECK_BYTES_MAX
from yzdht.store.files import as_store_error


if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


_HEADER = struct.Struct(">IIIIIIII")
_FRAME = struct.Struct(">IIIIII")
_SUMMED_OF_HEADER = 24
_SUMMED_OF_FRAME = 8
_MAGIC = 0x377F0682  # the lowest bit says that sums are of big-endian words
_WORD = 0xFFFFFFFF
_PAGE_BYTES_MIN, _PAGE_BYTES_MAX = 512, 65_536
_TORN_MAX = 1
_HINT = (
    "restore it with its database from a backup, or move it away and go on without what was last written: other "
    "nodes have copies"
)


class _Log(NamedTuple):
    """A log's header.

    Attributes:
        page_bytes: Of each frame, without its own header.
        salts: Of every frame of this generation; older ones are leftovers.
        sums: Where the sum of the first frame begins.
        is_big: True if sums are of big-endian words.

    """

    page_bytes: int
    salts: tuple[int, int]
    sums: tuple[int, int]
    is_big: bool


def check_log(database: Path) -> None:
    """Refuse a database whose log is damaged; only while no process has it open. Logs above QUICK_CHECK_BYTES_MAX pass.

    Raises:
        StoreError: Transactions that were acknowledged cannot be read, or the database itself is missing.

    """
    path = database.with_name(f"{database.name}-wal")
    try:
        size = path.stat().st_size
        if size > _HEADER.size + _FRAME.size and (not database.exists() or not database.stat().st_size):
            raise StoreError(
                f"{database} is missing, its log {path.name} is not",
                hint="put it back, or move the log away as well",
            )
        if not _HEADER.size + _FRAME.size < size <= QUICK_CHECK_BYTES_MAX:
            return
        with path.open("rb") as file:
            lost = _lost_transactions(file)
    except FileNotFoundError:
        return
    except OSError as error:
        raise as_store_error(error, path) from error
    if lost is None:
        raise StoreError(f"{path} is damaged", hint=_HINT)
    if lost > _TORN_MAX:
        raise StoreError(f"{path} is damaged: {lost} transactions in it cannot be read", hint=_HINT)


def _lost_transactions(file: BinaryIO) -> int | None:
    """How many ended at or behind the first frame that is wrong; None if the header is."""
    log = _header_of(file.read(_HEADER.size))
    if log is None:
        return None
    lost, is_sound, sums = 0, True, log.sums
    while len(raw := file.read(_FRAME.size + log.page_bytes)) == _FRAME.size + log.page_bytes:
        _, ends, *salts, first, second = _FRAME.unpack_from(raw)
        if is_sound:
            sums = _sum(raw[:_SUMMED_OF_FRAME] + raw[_FRAME.size :], sums, is_big=log.is_big)
            is_sound = tuple(salts) == log.salts and sums == (first, second)
        if not is_sound and tuple(salts) == log.salts and ends:
            lost += 1
    return lost


def _header_of(raw: bytes) -> _Log | None:
    """None if it is wrong: it is on the disk before any frame is."""
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack(raw)
    if magic & ~1 != _MAGIC or not _PAGE_BYTES_MIN <= page_bytes <= _PAGE_BYTES_MAX:
        return None
    is_big = bool(magic & 1)
    sums = _sum(raw[:_SUMMED_OF_HEADER], (0, 0), is_big=is_big)
    return _Log(page_bytes, (salts[0], salts[1]), sums, is_big) if sums == (first, second) else None


def _sum(data: bytes, sums: tuple[int, int], *, is_big: bool) -> tuple[int, int]:
    words = array("I", data)
    if is_big != (sys.byteorder == "big"):
        words.byteswap()
    one, two = sums
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & _WORD
        two = (two + odd + one) & _WORD
    return one, two

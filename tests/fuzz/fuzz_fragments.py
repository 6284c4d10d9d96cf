"""Pieces of long messages (PROTOCOL.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import Pieces, run
from yzdht.errors import WireError
from yzdht.limits import MESSAGE_BYTES_MAX
from yzdht.rpc.fragments import Assembler
from yzdht.wire.frame import RecordType


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.rpc.fragments.Assembler.add",)
TYPES = (RecordType.REQUEST, RecordType.RESPONSE)
_ZOOM = 4_000
"""One byte of input stands for so many of a piece: otherwise no input would reach 1 MiB."""


def seeds() -> Iterator[bytes]:
    yield bytes((0x80, 4, 0x80, 4, 0, 1))
    yield bytes((0x81, 4)) * 70 + bytes((1, 0))
    yield bytes((0x80, 1, 1, 1))
    yield bytes((0x80, 0))


def one(data: bytes) -> None:
    pieces, assembler, sent = Pieces(data), Assembler(), 0
    while not pieces.is_empty:
        head = pieces.byte()
        piece = bytes(pieces.byte() * _ZOOM)
        try:
            whole = assembler.add(TYPES[head & 1], piece, more=bool(head & 0x80))
        except WireError:
            return  # the session ends
        sent += len(piece)
        assert len(assembler._held) <= MESSAGE_BYTES_MAX
        if whole is not None:
            assert len(whole) == sent
            sent = 0


if __name__ == "__main__":
    run(one, seeds())

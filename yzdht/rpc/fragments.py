"""Cutting long messages into records and putting them together again (PROTOCOL.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.errors import FrameTooLarge, WireError
from yzdht.limits import MESSAGE_BYTES_MAX, RECORD_DATA_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.wire.frame import RecordType


def cut(message: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield (piece, more) for each record of a message; the last has more = False.

    Raises:
        FrameTooLarge: The message is over MESSAGE_BYTES_MAX.

    """
    if len(message) > MESSAGE_BYTES_MAX:
        raise FrameTooLarge(f"a message of {len(message)} bytes is over 1 MiB")
    if len(message) <= RECORD_DATA_BYTES_MAX:
        yield message, False
        return
    for start in range(0, len(message), RECORD_DATA_BYTES_MAX):
        piece = message[start : start + RECORD_DATA_BYTES_MAX]
        yield piece, start + len(piece) < len(message)


class Assembler:
    """Puts one direction's pieces together; holds at most MESSAGE_BYTES_MAX bytes."""

    __slots__ = ("_held", "_type")

    def __init__(self) -> None:
        self._held = (
            bytearray()
        )  # not a list of pieces: a million pieces of one byte would cost far more than 1 MiB
        self._type: RecordType | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._held)

    def add(self, record_type: RecordType, piece: bytes, *, more: bool) -> bytes | None:
        """Take one piece in; return the message once it is whole.

        Raises:
            WireError: Pieces of two messages are interleaved, or a piece that is not the last is empty.
            FrameTooLarge: The message grew over MESSAGE_BYTES_MAX.

        """
        if self._type is None:
            if not more:
                return piece
            self._type = record_type
        elif record_type is not self._type:
            raise WireError("pieces of two messages are interleaved")
        if more and not piece:
            raise WireError("an empty piece is not the last")
        if len(self._held) + len(piece) > MESSAGE_BYTES_MAX:
            raise FrameTooLarge("a message is over 1 MiB")
        self._held += piece
        if more:
            return None
        message = bytes(self._held)
        self._held, self._type = bytearray(), None
        return message

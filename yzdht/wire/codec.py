"""A bounded reader over bytes, and length-prefixed strings (PROTOCOL.md section 1)."""

from __future__ import annotations

from yzdht.errors import WireError


class Reader:
    """Read big-endian fields from the front of `data`; every shortage is a WireError.

    Args:
        data: The whole message; never copied as a whole.

    """

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._offset

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    def take(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        end = self._offset + size
        if size < 0 or end > len(self._data):
            raise WireError("message ends too early")
        piece = self._data[self._offset : end]
        self._offset = end
        return piece

    def u8(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Read two bytes."""
        return int.from_bytes(self.take(2))

    def u32(self) -> int:
        """Read four bytes."""
        return int.from_bytes(self.take(4))

    def u64(self) -> int:
        """Read eight bytes."""
        return int.from_bytes(self.take(8))

    def rest(self) -> bytes:
        """Read everything that is left."""
        return self.take(self.remaining)

    def end(self) -> None:
        """Refuse trailing bytes."""
        if self.remaining:
            raise WireError("message has trailing bytes")


def lp(text: str | bytes) -> bytes:
    """Encode one length byte followed by the text (at most 255 bytes of UTF-8)."""
    raw = text.encode() if isinstance(text, str) else text
    assert len(raw) <= 255, "labels and bindings are short"  # noqa: PLR2004 - one length byte
    return bytes((len(raw),)) + raw

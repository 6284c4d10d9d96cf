"""The inside of a sealed record: data, type, padding (PROTOCOL.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from yzdht.errors import WireError
from yzdht.wire.frame import RecordType, decode_inner, encode_inner


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.wire.frame.decode_inner",)


def seeds() -> Iterator[bytes]:
    yield encode_inner(RecordType.PING, b"abc")
    yield encode_inner(RecordType.REQUEST, b"request", pad=7)
    yield encode_inner(RecordType.RESPONSE, b"piece", more=True)
    yield encode_inner(RecordType.ALERT, b"\0\1")
    yield encode_inner(RecordType.CLOSE, b"")


def one(data: bytes) -> None:
    try:
        record_type, inner, more = decode_inner(data)
    except WireError:
        return
    assert encode_inner(record_type, inner, more=more).rstrip(b"\0") == data.rstrip(b"\0")


if __name__ == "__main__":
    run(one, seeds())

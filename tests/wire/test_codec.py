from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from yzdht.errors import WireError
from yzdht.wire.codec import Reader, lp


if TYPE_CHECKING:
    from collections.abc import Callable

INTEGERS: list[tuple[Callable[[Reader], int], int]] = [
    (Reader.u8, 1),
    (Reader.u16, 2),
    (Reader.u32, 4),
    (Reader.u64, 8),
]


@pytest.mark.parametrize(("read", "size"), INTEGERS)
def test_integers_are_big_endian(read: Callable[[Reader], int], size: int) -> None:
    assert read(Reader(bytes(range(1, size + 1)))) == int.from_bytes(bytes(range(1, size + 1)), "big")
    assert read(Reader(b"\xff" * size)) == 256**size - 1


@pytest.mark.parametrize(("read", "size"), INTEGERS)
def test_an_integer_cut_short_is_refused_and_nothing_is_read(
    read: Callable[[Reader], int], size: int
) -> None:
    reader = Reader(bytes(size - 1))

    with pytest.raises(WireError):
        read(reader)
    assert (reader.offset, reader.remaining) == (0, size - 1)


@given(st.lists(st.binary(max_size=40)), st.binary(max_size=5))
def test_pieces_come_out_as_they_went_in(pieces: list[bytes], tail: bytes) -> None:
    reader = Reader(b"".join(pieces) + tail)

    assert [reader.take(len(piece)) for piece in pieces] == pieces
    assert reader.offset == sum(map(len, pieces))
    assert reader.rest() == tail
    assert reader.remaining == 0
    reader.end()


@given(st.binary(max_size=20), st.integers(-3, 25))
def test_take_gives_exactly_that_many_bytes_or_refuses(data: bytes, size: int) -> None:
    reader = Reader(data)
    if 0 <= size <= len(data):
        assert reader.take(size) == data[:size]
    else:
        with pytest.raises(WireError):
            reader.take(size)


def test_trailing_bytes_are_refused() -> None:
    reader = Reader(b"ab")
    reader.u8()

    with pytest.raises(WireError):
        reader.end()


@given(st.binary(max_size=255))
def test_a_length_prefixed_string_reads_back(raw: bytes) -> None:
    reader = Reader(lp(raw))

    assert reader.take(reader.u8()) == raw
    reader.end()


def test_the_length_counts_bytes_not_letters() -> None:
    assert lp("é") == b"\x02\xc3\xa9"
    assert lp("") == b"\x00"


def test_longer_than_one_length_byte_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        lp(bytes(256))

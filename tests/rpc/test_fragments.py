from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, strategies as st

from yzdht.errors import FrameTooLarge, WireError
from yzdht.limits import MESSAGE_BYTES_MAX, RECORD_DATA_BYTES_MAX
from yzdht.rpc.fragments import Assembler, cut
from yzdht.wire.frame import RecordType


REQUEST, RESPONSE = RecordType.REQUEST, RecordType.RESPONSE


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, [0]),
        (1, [1]),
        (RECORD_DATA_BYTES_MAX, [RECORD_DATA_BYTES_MAX]),
        (RECORD_DATA_BYTES_MAX + 1, [RECORD_DATA_BYTES_MAX, 1]),
        (2 * RECORD_DATA_BYTES_MAX, [RECORD_DATA_BYTES_MAX] * 2),
        (MESSAGE_BYTES_MAX, [RECORD_DATA_BYTES_MAX] * 65 + [MESSAGE_BYTES_MAX - 65 * RECORD_DATA_BYTES_MAX]),
    ],
)
def test_messages_are_cut_into_full_pieces(size: int, pieces: list[int]) -> None:
    given_pieces = list(cut(bytes(size)))

    assert [len(piece) for piece, _ in given_pieces] == pieces
    assert [more for _, more in given_pieces] == [True] * (len(pieces) - 1) + [False]


def test_a_message_over_1_mib_is_not_cut() -> None:
    with pytest.raises(FrameTooLarge):
        next(cut(bytes(MESSAGE_BYTES_MAX + 1)))


@given(st.lists(st.tuples(st.sampled_from((REQUEST, RESPONSE)), st.integers(0, 50_000)), max_size=6))
def test_what_was_cut_comes_together_again(messages: list[tuple[RecordType, int]]) -> None:
    assembler = Assembler()
    for number, (record_type, size) in enumerate(messages):
        message = bytes((number,)) * size
        whole = [assembler.add(record_type, piece, more=more) for piece, more in cut(message)]
        assert whole == [None] * (len(whole) - 1) + [message]


@pytest.mark.parametrize("more", [True, False])
def test_pieces_of_two_messages_may_not_be_interleaved(*, more: bool) -> None:
    assembler = Assembler()
    assembler.add(REQUEST, b"a", more=True)

    with pytest.raises(WireError):
        assembler.add(RESPONSE, b"b", more=more)


@pytest.mark.parametrize("before", [[], [b"a"]])
def test_an_empty_piece_is_refused_unless_it_is_the_last(before: list[bytes]) -> None:
    assembler = Assembler()
    for piece in before:
        assembler.add(REQUEST, piece, more=True)

    with pytest.raises(WireError):
        assembler.add(REQUEST, b"", more=True)


def test_an_empty_last_piece_ends_the_message() -> None:
    assembler = Assembler()
    assembler.add(REQUEST, b"a", more=True)

    assert assembler.add(REQUEST, b"", more=False) == b"a"


@pytest.mark.parametrize("more", [True, False])
def test_exactly_1_mib_passes_and_one_byte_more_does_not(*, more: bool) -> None:
    assembler = Assembler()
    assembler.add(REQUEST, bytes(MESSAGE_BYTES_MAX - 1), more=True)
    assert assembler.add(REQUEST, b"a", more=more) == (None if more else bytes(MESSAGE_BYTES_MAX - 1) + b"a")

    full = Assembler()
    full.add(REQUEST, bytes(MESSAGE_BYTES_MAX), more=True)
    with pytest.raises(FrameTooLarge):
        full.add(REQUEST, b"a", more=more)


def test_the_next_message_may_be_of_another_type() -> None:
    assembler = Assembler()
    assembler.add(REQUEST, b"a", more=True)
    assembler.add(REQUEST, b"b", more=False)

    assert assembler.add(RESPONSE, b"c", more=False) == b"c"


def test_many_small_pieces_cost_no_more_than_few_large_ones() -> None:
    assembler = Assembler()
    tracemalloc.start()
    for _ in range(20_000):
        assembler.add(REQUEST, bytes(3), more=True)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 3 * 60_000


def test_what_is_held_of_a_message_is_told_until_it_is_whole() -> None:
    assembler = Assembler()
    assembler.add(RecordType.REQUEST, bytes(700), more=True)
    assert assembler.held_bytes == 700

    assembler.add(RecordType.REQUEST, bytes(1), more=False)
    assert assembler.held_bytes == 0

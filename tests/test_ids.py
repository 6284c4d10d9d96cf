from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.ids import ID_BYTES, NodeId, Target, distance, looks_compressed, shorten


points = st.binary(min_size=ID_BYTES, max_size=ID_BYTES).map(Target)


def test_distance_is_xor_with_the_first_byte_on_top() -> None:
    a, b = NodeId(bytes(32)), NodeId(b"\x80" + bytes(30) + b"\x01")

    assert distance(a, b) == 2**255 + 1


@given(points, points)
def test_distance_is_symmetric_and_zero_only_to_oneself(a: Target, b: Target) -> None:
    assert distance(a, b) == distance(b, a)
    assert distance(a, a) == 0
    assert (distance(a, b) == 0) == (a == b)


@given(points, points, points)
def test_distance_obeys_the_triangle_inequality(a: Target, b: Target, c: Target) -> None:
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(points, st.integers(0, 2**256 - 1))
def test_exactly_one_point_lies_at_each_distance(a: Target, away: int) -> None:
    other = Target((int.from_bytes(a) ^ away).to_bytes(ID_BYTES))

    assert distance(a, other) == away


def test_ids_are_shortened_to_eight_digits_in_logs() -> None:
    assert shorten(bytes.fromhex("00ff12abcd")) == "00ff12ab"


def test_a_public_key_has_33_bytes_and_a_sign_in_front() -> None:
    assert looks_compressed(b"\x02" + bytes(32))
    assert looks_compressed(b"\x03" + b"\xff" * 32)
    for other in (b"", b"\x02", b"\x02" + bytes(31), b"\x02" + bytes(33), b"\x04" + bytes(32), bytes(33)):
        assert not looks_compressed(other)

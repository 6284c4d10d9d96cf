from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.kad.neighbours import Neighbours


POINTS = st.sets(st.one_of(st.integers(0, 255), st.integers(0, 2**256 - 1)), max_size=60)


def test_nearest_by_xor_not_by_difference() -> None:
    assert Neighbours([1, 2, 4, 7, 8]).nearest(3, 3) == [2, 1, 7]


def test_fewer_than_asked_for_are_all_of_them() -> None:
    assert Neighbours([9, 8]).nearest(8, 5) == [8, 9]
    assert Neighbours([]).nearest(8, 5) == []


def test_far_ids_at_the_ends_of_the_range() -> None:
    near = Neighbours([0, 1, 2**256 - 1, 2**255])

    assert near.nearest(2**256 - 2, 3) == [2**256 - 1, 2**255, 0]
    assert near.nearest(0, 1) == [0]


@given(POINTS, st.integers(0, 2**256 - 1) | st.integers(0, 300), st.integers(1, 20))
def test_agrees_with_brute_force(points: set[int], target: int, count: int) -> None:
    assert Neighbours(points).nearest(target, count) == sorted(points, key=target.__xor__)[:count]

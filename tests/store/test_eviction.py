"""The farthest of many, and how far a full store goes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.store.writes import target
from yzdht.limits import EVICTIONS_PER_WRITE_MAX
from yzdht.store.eviction import Eviction, farthest_of
from yzdht.store.policy import NOTHING, Usage


if TYPE_CHECKING:
    from yzdht.ids import Target


class Row:
    """Targets in order, each of one slot and ten bytes."""

    def __init__(self, *points: int) -> None:
        self.targets = sorted(target(point) for point in set(points))
        self.asked = 0

    def first(
        self, low: Target, high: Target, *, is_whole: bool = False, bringer: bytes | None = None
    ) -> Target | None:
        del is_whole, bringer
        self.asked += 1
        found = self.targets[bisect_left(self.targets, low) : bisect_right(self.targets, high)]
        return found[0] if found else None

    def last(
        self, low: Target, high: Target, *, is_whole: bool = False, bringer: bytes | None = None
    ) -> Target | None:
        del is_whole, bringer
        self.asked += 1
        found = self.targets[bisect_left(self.targets, low) : bisect_right(self.targets, high)]
        return found[-1] if found else None

    def greediest(self, *, is_whole: bool) -> list[tuple[bytes, Usage]]:
        return [(bytes(32), Usage(len(self.targets) if is_whole else 0, 10 * len(self.targets)))]

    def drop(self, which: Target, *, is_whole: bool, bringer: bytes | None = None) -> Usage:
        del bringer
        self.targets.remove(which)
        return Usage(int(is_whole), 10)


POINTS = st.one_of(st.integers(0, 40), st.integers(0, 2**256 - 1))


@given(POINTS, st.lists(POINTS, max_size=60))
def test_the_farthest_is_the_farthest(own: int, points: list[int]) -> None:
    row = Row(*points)
    expected = max(points, key=own.__xor__, default=None)

    assert farthest_of(own, row.first, row.last) == (None if expected is None else target(expected))


def test_few_questions_find_it_among_many() -> None:
    step = 2**256 // 1_000
    row = Row(*(number * step for number in range(1_000)))
    farthest_of(12_345 * step // 100, row.first, row.last)

    assert row.asked < 15


def test_nothing_is_given_up_where_no_id_was_named_or_nothing_is_there() -> None:
    assert not Eviction(b"").make_room(target(1), Usage(0, 5), Row(9))
    assert not Eviction(bytes(32)).make_room(target(1), Usage(0, 5), Row())


def test_nothing_is_given_up_for_nothing() -> None:
    row = Row(9)

    assert Eviction(bytes(32)).make_room(target(1), NOTHING, row)
    assert row.targets == [target(9)]


def test_one_write_makes_only_so_many_leave() -> None:
    row = Row(*range(100, 300))

    assert not Eviction(bytes(32)).make_room(target(1), Usage(0, 2_000), row)
    assert len(row.targets) == 200 - EVICTIONS_PER_WRITE_MAX


def test_what_is_protected_stays_and_the_rest_may_leave() -> None:
    eviction, row = Eviction(bytes(32)), Row(4, 15, 16)
    eviction.protect(16)

    assert eviction.make_room(target(1), Usage(0, 10), row)
    assert not eviction.make_room(target(1), Usage(0, 10), row)
    assert row.targets == [target(4), target(15)]


def test_what_is_protected_is_given_up_for_who_takes_much_less() -> None:
    eviction, row = Eviction(bytes(32)), Row(*range(4, 14))
    eviction.protect(16)

    assert not eviction.make_room(target(1), Usage(0, 10), row, Usage(1, 3))
    assert not eviction.make_room(target(16), Usage(0, 10), row, Usage(1, 2))  # not in the range itself
    assert eviction.make_room(target(1), Usage(0, 10), row, Usage(1, 2))
    assert row.targets == [target(point) for point in range(4, 13)]

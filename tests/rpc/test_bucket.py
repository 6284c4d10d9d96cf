from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.limits import SHARE_S
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate


RATE = Rate(per_s=2.0, burst=10.0)


def test_a_full_bucket_gives_its_burst_and_no_more() -> None:
    buckets = Buckets(8)

    assert buckets.take("a", 10, RATE, 0.0) == 0.0
    assert buckets.take("a", 1, RATE, 0.0) == 0.5


def test_what_was_refused_is_not_taken() -> None:
    buckets = Buckets(8)
    buckets.take("a", 9, RATE, 0.0)

    assert buckets.take("a", 3, RATE, 0.0) == 1.0
    assert buckets.take("a", 1, RATE, 0.0) == 0.0


def test_tokens_flow_in_with_time_up_to_the_burst() -> None:
    buckets = Buckets(8)
    buckets.take("a", 10, RATE, 0.0)

    assert buckets.take("a", 4, RATE, 2.0) == 0.0
    assert buckets.take("a", 11, RATE, 1_000.0) == 0.5


def test_the_wait_told_is_the_wait_needed() -> None:
    buckets = Buckets(8)
    buckets.take("a", 10, RATE, 0.0)
    wait_s = buckets.take("a", 3, RATE, 0.0)

    assert buckets.take("a", 3, RATE, wait_s) == 0.0


def test_keys_do_not_share() -> None:
    buckets = Buckets(8)
    buckets.take("a", 10, RATE, 0.0)

    assert buckets.take("b", 10, RATE, 0.0) == 0.0


def test_the_least_recently_used_key_leaves_first() -> None:
    buckets = Buckets(2)
    buckets.take("a", 10, RATE, 0.0)
    buckets.take("b", 10, RATE, 0.0)
    buckets.take("a", 1, RATE, 0.0)
    buckets.take("c", 10, RATE, 0.0)

    assert buckets.take("a", 1, RATE, 0.0) > 0
    assert buckets.take("b", 10, RATE, 0.0) == 0.0


def test_keys_are_bounded() -> None:
    buckets = Buckets(3)
    for key in range(100):
        buckets.take(key, 1, RATE, 0.0)

    assert len(buckets._levels) == 3


def test_a_bucket_that_is_full_again_is_forgotten_when_another_key_comes() -> None:
    buckets = Buckets(100)
    for minute in range(1_000):
        buckets.take(minute, 10, RATE, 60.0 * minute)
    assert list(buckets._levels) == [999]

    buckets.overdraw("owes", 10, RATE, 60_000.0)
    buckets.overdraw("owes", 10, RATE, 60_000.0)
    buckets.take("other", 1, RATE, 60_004.0)
    assert buckets.take("owes", 1, RATE, 60_004.0) > 0, "what is owed is not forgotten"


def test_a_better_rate_fills_the_same_bucket_higher() -> None:
    buckets = Buckets(8)
    buckets.take("a", 10, RATE, 0.0)

    assert RATE.times(10) == Rate(20.0, 100.0)
    assert buckets.take("a", 60, RATE.times(10), 3.0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 12)), max_size=60))
def test_no_sender_ever_gets_more_than_burst_and_flow(asks: list[tuple[float, float]]) -> None:
    buckets, now, taken = Buckets(4), 0.0, 0.0
    for pause, tokens in asks:
        now += pause
        wait_s = buckets.take("a", tokens, RATE, now)
        assert wait_s >= 0
        taken += 0 if wait_s else tokens

    assert taken <= RATE.burst + now * RATE.per_s + 1e-6


@pytest.mark.parametrize("tokens", [0, 0.0])
def test_nothing_is_always_there(tokens: float) -> None:
    buckets = Buckets(1)
    buckets.take("a", 10, RATE, 0.0)

    assert buckets.take("a", tokens, RATE, 0.0) == 0.0


def test_an_overdrawn_bucket_owes_what_was_taken_and_no_more_than_a_burst() -> None:
    buckets = Buckets(8)
    buckets.take("a", 9, RATE, 0.0)
    buckets.overdraw("a", 5, RATE, 0.0)
    assert buckets.take("a", 1, RATE, 0.0) == 2.5

    for _ in range(9):
        buckets.overdraw("a", 5, RATE, 0.0)
    assert buckets.take("a", 1, RATE, 0.0) == 5.5
    assert buckets.take("a", 1, RATE, 5.5) == 0.0


def test_what_a_member_is_charged_afterwards_takes_nothing_from_who_asks_seldom() -> None:
    buckets = FairBuckets(8)
    for _ in range(9):
        buckets.charge("group", "a", SHARED.burst, SHARED, 0.0)

    assert buckets.take("group", "a", 1, SHARED, 0.0) == SHARED.burst / SHARED.per_s
    assert taken_by(buckets, "b", 99) == 10, "its share of the half that is left"


def test_a_member_that_costs_more_than_it_said_gets_no_more_than_twice_the_rate_in_the_end() -> None:
    buckets = FairBuckets(8)
    cost = 0
    for tick in range(10_000):
        if buckets.take("group", "a", 1, SHARED, tick / 100) == 0.0:
            buckets.charge("group", "a", 3, SHARED, tick / 100)
            cost += 4

    assert 100 * SHARED.per_s <= cost <= 2 * 100 * SHARED.per_s + SHARED.burst


def test_who_owes_is_served_again_when_it_has_flowed_in() -> None:
    buckets = FairBuckets(8)
    buckets.charge("group", "a", SHARED.burst, SHARED, 0.0)
    wait_s = buckets.take("group", "a", 1, SHARED, 0.0)
    assert wait_s == SHARED.burst / 2 / SHARED.per_s

    assert buckets.take("group", "a", 1, SHARED, wait_s) == 0.0


def test_what_was_put_back_can_be_taken_again() -> None:
    buckets, shared = Buckets(8), FairBuckets(8)
    for _ in range(9):
        assert buckets.take("a", 7, RATE, 0.0) == 0.0
        buckets.put_back("a", 7)
        assert shared.take("group", "a", 40, SHARED, 0.0) == 0.0
        shared.put_back("group", "a", 40)

    assert buckets.take("a", 10, RATE, 0.0) == 0.0
    assert taken_by(shared, "a", 99) == 50


def test_who_was_forgotten_meanwhile_is_put_back_nothing() -> None:
    buckets, shared = Buckets(1), FairBuckets(1)
    for key in ("a", "b"):
        buckets.take(key, 10, RATE, 0.0)
        shared.take(key, key, 1, SHARED, 0.0)
    buckets.put_back("a", 10)
    shared.put_back("a", "a", 1)
    shared.put_back("b", "a", 1)

    assert list(buckets._levels) == ["b"]
    assert list(shared._groups) == ["b"]


# Shared buckets

SHARED = Rate(per_s=10.0, burst=100.0)


def taken_by(buckets: FairBuckets, member: str, tries: int, mono: float = 0.0) -> int:
    return sum(buckets.take("group", member, 1, SHARED, mono) == 0.0 for _ in range(tries))


def test_one_member_alone_takes_half_of_the_burst_at_once_and_then_the_group_s_rate() -> None:
    buckets = FairBuckets(8)

    assert taken_by(buckets, "greedy", 1_000) == 50
    assert taken_by(buckets, "greedy", 1_000, 1.0) == 10


def test_a_greedy_member_leaves_the_others_what_they_need() -> None:
    buckets = FairBuckets(8)
    taken_by(buckets, "modest", 1)
    for second in range(1, 60):
        taken_by(buckets, "greedy", 1_000, float(second))

        assert taken_by(buckets, "modest", 2, float(second)) == 2


def test_a_crowd_of_greedy_members_takes_no_more_than_the_group_s_rate() -> None:
    buckets = FairBuckets(1_000)
    crowd = [f"greedy {number}" for number in range(100)]
    taken = sum(taken_by(buckets, member, 10, float(second)) for second in range(60) for member in crowd)

    assert taken <= SHARED.burst + 60 * SHARED.per_s


def test_a_crowd_cannot_take_the_share_of_one_who_asks_seldom() -> None:
    buckets = FairBuckets(1_000)
    crowd = [f"greedy {number}" for number in range(19)]
    served = 0
    for second in range(60):
        for member in crowd:
            taken_by(buckets, member, 10, float(second))
        if second % 10 == 9:
            served += taken_by(buckets, "modest", 1, float(second))

    assert served == 6


def test_a_member_that_has_been_quiet_has_no_part_in_the_share() -> None:
    buckets = FairBuckets(8)
    for member in ("a", "b", "c", "d"):
        taken_by(buckets, member, 25)
    later = 2 * SHARE_S

    assert taken_by(buckets, "a", 1_000, later) == 50


def test_the_wait_told_to_a_member_is_worth_a_try() -> None:
    buckets = FairBuckets(8)
    taken_by(buckets, "greedy", 1_000)
    wait_s = buckets.take("group", "greedy", 1, SHARED, 0.0)

    assert wait_s > 0
    assert buckets.take("group", "greedy", 1, SHARED, wait_s) == 0.0


def test_a_group_that_is_quiet_and_full_again_is_forgotten_with_its_members() -> None:
    buckets = FairBuckets(100)
    buckets.take("a", 1, 1, RATE, 0.0)
    buckets.take("b", 1, 1, RATE, SHARE_S / 2)
    assert list(buckets._groups) == ["a", "b"], "who asked lately has a part in the share"
    buckets.take("c", 1, 10, RATE, SHARE_S + 1)
    assert list(buckets._groups) == ["b", "c"]
    buckets.take("d", 1, 1, RATE, 2 * SHARE_S)
    assert list(buckets._groups) == ["c", "d"]
    assert buckets._members == 2


def test_groups_and_members_that_are_remembered_are_bounded() -> None:
    buckets = FairBuckets(8)
    for number in range(100):
        buckets.take(f"group {number}", "member", 1, SHARED, 0.0)
    for number in range(100):
        buckets.take("one", f"member {number}", 1, SHARED, 0.0)

    assert len(buckets._groups) <= 8
    assert sum(len(group.members) for group in buckets._groups.values()) <= 8


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 20), st.floats(0, 2), st.floats(0.1, 5)), max_size=200
    )
)
def test_whatever_is_asked_a_group_stays_within_its_rate(
    asks: list[tuple[int, int, float, float]],
) -> None:
    buckets, mono, taken = FairBuckets(8), 0.0, 0.0
    for _, member, pause_s, tokens in asks:
        mono += pause_s
        if buckets.take("group", member, tokens, SHARED, mono) == 0.0:
            taken += tokens

        assert taken <= SHARED.burst + mono * SHARED.per_s + 1e-6
        assert buckets._members == sum(len(group.members) for group in buckets._groups.values())

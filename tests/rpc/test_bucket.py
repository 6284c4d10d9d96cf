from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.rpc.bucket import Buckets, Rate


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

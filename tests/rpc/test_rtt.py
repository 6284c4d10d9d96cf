from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.limits import SOFT_DEADLINE_S_MIN, SOFT_DEADLINE_S_UNKNOWN
from yzdht.rpc.rtt import RoundTrip


def after(*samples: float) -> RoundTrip:
    rtt = RoundTrip()
    for sample in samples:
        rtt.add(sample)
    return rtt


def test_an_unknown_peer_is_waited_for_250_ms() -> None:
    assert after().smoothed_s is None
    assert after().expected_s() == SOFT_DEADLINE_S_UNKNOWN == 0.25


def test_the_first_sample_counts_fully_and_half_of_it_deviates() -> None:
    assert after(0.1).smoothed_s == 0.1
    assert after(0.1).expected_s() == pytest.approx(0.1 + 4 * 0.05)


def test_the_next_sample_moves_by_an_eighth_and_the_deviation_by_a_quarter() -> None:
    rtt = after(0.1, 0.2)

    assert rtt.smoothed_s == pytest.approx(0.1125)
    assert rtt.expected_s() == pytest.approx(0.1125 + 4 * (0.05 + (0.1 - 0.05) / 4))


def test_a_fast_peer_still_gets_50_ms() -> None:
    assert after(*[0.000_1] * 50).expected_s() == SOFT_DEADLINE_S_MIN == 0.05


def test_a_steady_peer_is_expected_at_its_time() -> None:
    assert after(*[0.2] * 100).expected_s() == pytest.approx(0.2, rel=1e-3)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=50))
def test_the_smoothed_time_stays_among_the_samples(samples: list[float]) -> None:
    rtt = after(*samples)

    assert rtt.smoothed_s is not None
    assert min(samples) - 1e-9 <= rtt.smoothed_s <= max(samples) + 1e-9
    assert rtt.expected_s() >= max(SOFT_DEADLINE_S_MIN, rtt.smoothed_s)

"""The clock by which histories age: jumps, sleeps, drift."""

from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.limits import CLOCK_SKEW_S, DAY_S, HISTORY_CLOCK_BELIEVED_S
from yzdht.ports import Now
from yzdht.pubsub.history_clock import HistoryClock


WALL = 1_700_000_000


def read(clock: HistoryClock, mono: float, off_s: float = 0.0) -> int:
    """What it shows beside a clock that was never set, in seconds."""
    return clock.read(Now(mono, WALL + mono + off_s)) - WALL - int(mono)


def test_it_shows_what_the_wall_clock_shows() -> None:
    clock = HistoryClock()

    assert [read(clock, mono, 5.0 * DAY_S) for mono in (0.0, 60.0, 1e6)] == [5 * DAY_S] * 3


def test_a_clock_that_is_set_and_set_back_changes_nothing() -> None:
    for off_s in (2.0 * DAY_S, -2.0 * DAY_S):
        clock = HistoryClock()
        read(clock, 0.0)
        assert read(clock, 60.0, off_s) == 0
        assert read(clock, HISTORY_CLOCK_BELIEVED_S + 59, off_s) == 0
        assert read(clock, HISTORY_CLOCK_BELIEVED_S + 60) == 0


def test_what_has_lasted_is_believed() -> None:
    clock = HistoryClock()
    read(clock, 0.0)
    read(clock, 60.0, 2.0 * DAY_S)

    assert read(clock, 60.0 + HISTORY_CLOCK_BELIEVED_S, 2.0 * DAY_S) == 2 * DAY_S
    assert read(clock, 61.0 + HISTORY_CLOCK_BELIEVED_S, 2.0 * DAY_S) == 2 * DAY_S


def test_a_clock_that_is_set_again_is_to_last_again() -> None:
    clock = HistoryClock()
    read(clock, 0.0)
    read(clock, 60.0, 2.0 * DAY_S)

    assert read(clock, 60.0 + HISTORY_CLOCK_BELIEVED_S, 9.0 * DAY_S) == 0


@given(st.lists(st.floats(-CLOCK_SKEW_S / 2, CLOCK_SKEW_S / 2), max_size=20))
def test_a_clock_that_drifts_is_followed(steps: list[float]) -> None:
    clock = HistoryClock()
    read(clock, 0.0)
    off_s = 0.0
    for number, step in enumerate(steps):
        off_s += step
        assert abs(read(clock, number + 1.0, off_s) - off_s) <= 1

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_feed import held, series
from yzdht.limits import (
    FEED_GAP_LOOK_S,
    GAP_AGAIN_MAX,
    GAP_GIVE_UP_S,
    GAP_GIVE_UP_S_MAX,
    GAP_LOOK_EVERY_S,
    GAP_STOPPED_S,
    PULL_SERIES_MAX,
)
from yzdht.pubsub.gaps import Gaps
from yzdht.wire.holdings import Held, Series, Span


if TYPE_CHECKING:
    from collections.abc import Callable


ONE = series(1)


def gaps(*indexes: int) -> tuple[Gaps, dict[Series, Held]]:
    here = {ONE: held(*indexes)}
    found = Gaps(lambda name: here.get(name, Held()))
    found.look(ONE, 0.0)
    return found, here


def nobody(_name: Series) -> list[Span]:
    return []


def until(
    of: Gaps, mono: float, hoped_for: Callable[[Series], list[Span]] = nobody
) -> list[tuple[Series, Span]]:
    """What is given up up to a time, where it is looked whenever that is due."""
    found: list[tuple[Series, Span]] = []
    while (due := of.next_time()) is not None and due <= mono:
        found += of.unfillable(hoped_for, due)
    return found


def test_nothing_is_missing_where_all_is_here() -> None:
    of, _ = gaps(0, 1, 2)

    assert not of.are_open
    assert of.next_time() is None


def test_a_gap_is_given_up_once_and_after_its_time() -> None:
    of, _ = gaps(0, 3)

    assert of.next_time() == FEED_GAP_LOOK_S
    assert until(of, GAP_GIVE_UP_S - 0.1) == []
    assert until(of, GAP_GIVE_UP_S) == [(ONE, Span(1, 3))]
    assert until(of, GAP_GIVE_UP_S + 1) == []
    assert not of.are_open


def test_what_some_source_may_send_is_waited_for_longer_but_not_for_ever() -> None:
    of, _ = gaps(0, 4)

    assert until(of, GAP_GIVE_UP_S, lambda _: [Span(2, 3)]) == [(ONE, Span(1, 2)), (ONE, Span(3, 4))]
    assert until(of, GAP_GIVE_UP_S_MAX, lambda _: [Span(2, 3)]) == [(ONE, Span(2, 3))]


def test_a_gap_that_is_filled_in_part_keeps_its_age_and_a_new_one_begins() -> None:
    of, here = gaps(0, 4)
    here[ONE].add(2)
    here[ONE].add(7)
    of.look(ONE, 10.0)

    assert until(of, GAP_GIVE_UP_S) == [(ONE, Span(1, 2)), (ONE, Span(3, 4))]
    assert until(of, GAP_GIVE_UP_S + 10) == [(ONE, Span(5, 7))]


def test_a_gap_that_is_filled_is_none() -> None:
    of, here = gaps(0, 2)
    here[ONE].add(1)

    assert until(of, GAP_GIVE_UP_S) == []
    assert of.next_time() is None


def test_what_was_given_up_in_an_earlier_run_is_not_told_again() -> None:
    of, here = gaps()
    of.give_up(ONE, [Span(0, 3)])
    here[ONE].add(3)
    here[ONE].add(5)
    of.look(ONE, 0.0)

    assert until(of, GAP_GIVE_UP_S) == [(ONE, Span(4, 5))]


def test_what_is_missing_of_a_series_that_is_forgotten_is_given_up_once() -> None:
    of, here = gaps(1, 3)
    del here[ONE]

    assert until(of, GAP_GIVE_UP_S, lambda _: [Span(2, 3)]) == [(ONE, Span(0, 1))]
    assert until(of, GAP_GIVE_UP_S + 1) == [(ONE, Span(2, 3))]
    assert (of.are_open, of.next_time()) == (False, None)
    assert until(of, GAP_GIVE_UP_S_MAX) == []
    here[ONE] = held(1)
    of.look(ONE, GAP_GIVE_UP_S_MAX)
    assert of.are_open, "it is a series like any other when something of it comes again"


def test_parts_of_what_is_missing_of_a_series_that_is_forgotten_are_given_up_once() -> None:
    of, here = gaps(100)
    del here[ONE]
    told = until(of, GAP_GIVE_UP_S_MAX + 9, lambda _: [Span(40, 42)])

    assert told == [(ONE, Span(0, 40)), (ONE, Span(42, 100)), (ONE, Span(40, 42))]


def test_series_with_gaps_are_bounded() -> None:
    here = {series(n): held(1) for n in range(PULL_SERIES_MAX + 3)}
    of = Gaps(here.__getitem__)
    for name in here:
        of.look(name, 0.0)

    assert len(of._series) == PULL_SERIES_MAX
    assert of.next_time() == GAP_LOOK_EVERY_S
    first = [series(n) for n in range(3)]
    assert until(of, 1.0) == [(name, Span(0, 1)) for name in first]  # else they waited for ever
    assert len(until(of, GAP_GIVE_UP_S)) == PULL_SERIES_MAX


def test_who_may_send_is_asked_about_a_series_once_however_many_gaps_it_has() -> None:
    of, _ = gaps(*range(0, 100, 2))
    asked: list[Series] = []

    def hoped_for(name: Series) -> list[Span]:
        asked.append(name)
        return [Span(0, 100)]

    assert until(of, GAP_GIVE_UP_S, hoped_for) == []
    assert asked == [ONE]


@pytest.mark.parametrize("away_s", [40.0, 130.0, 10_000.0])
def test_after_nobody_was_there_to_ask_it_is_looked_from_the_beginning(away_s: float) -> None:
    of, _ = gaps(0, 2)
    assert until(of, GAP_GIVE_UP_S - 1) == []
    of.pause(GAP_GIVE_UP_S - 1)
    back = GAP_GIVE_UP_S - 1 + away_s
    of.go_on(back)

    assert until(of, back + GAP_GIVE_UP_S - 0.1) == []
    assert until(of, back + GAP_GIVE_UP_S) == [(ONE, Span(1, 2))]


@pytest.mark.parametrize("stopped_s", [40.0, 130.0, 10_000.0])
@pytest.mark.parametrize("claimed", [[], [Span(0, 5)]])
def test_after_the_process_was_stopped_it_is_looked_from_the_beginning(
    stopped_s: float, claimed: list[Span]
) -> None:
    last_s = GAP_GIVE_UP_S_MAX if claimed else GAP_GIVE_UP_S
    of, here = gaps(0, 2)
    assert until(of, last_s - 1, lambda _: claimed) == []
    woken = last_s - 1 + stopped_s
    here[ONE].add(4)
    of.look(ONE, woken - 0.5)  # what lay in its sockets comes before its timers ring

    assert of.unfillable(lambda _: claimed, woken) == []
    assert until(of, woken + last_s - 0.1, lambda _: claimed) == []
    assert (ONE, Span(1, 2)) in until(of, woken + last_s, lambda _: claimed)


def test_a_timer_that_is_a_little_late_changes_nothing() -> None:
    of, _ = gaps(0, 2)
    late_s = GAP_STOPPED_S - 0.1
    assert of.unfillable(nobody, FEED_GAP_LOOK_S + late_s) == []
    assert of.unfillable(nobody, 2 * FEED_GAP_LOOK_S + late_s) == []
    assert of.unfillable(nobody, GAP_GIVE_UP_S + late_s) == [(ONE, Span(1, 2))]


def test_who_was_stopped_before_it_saw_that_all_sources_are_gone_was_not_looking_meanwhile() -> None:
    of, _ = gaps(0, 2)
    for hour in range(1, GAP_AGAIN_MAX + 3):
        of.pause(hour * 3_600.0)
        of.go_on(hour * 3_600.0 + 1)

    assert of.unfillable(nobody, (GAP_AGAIN_MAX + 2) * 3_600.0 + 2) == []


def test_what_was_looked_for_from_the_beginning_often_enough_is_looked_for_from_where_it_was() -> None:
    of, _ = gaps(0, 2)
    for _ in range(GAP_AGAIN_MAX):
        of.pause(0.0)
        of.go_on(0.0)
    assert until(of, GAP_GIVE_UP_S - 10) == []
    of.pause(GAP_GIVE_UP_S - 10)
    of.go_on(500.0)

    assert of.unfillable(nobody, 500.0) == []
    assert until(of, 510.0 - GAP_LOOK_EVERY_S - 0.1) == []
    assert until(of, 510.0 - GAP_LOOK_EVERY_S) == [(ONE, Span(1, 2))]


@pytest.mark.parametrize("there_s", [0.0, 1.0, 9.0, 29.0, 119.0])
@pytest.mark.parametrize("is_claimed", [False, True])
def test_sources_that_come_and_go_keep_nothing_open_for_ever(there_s: float, *, is_claimed: bool) -> None:
    of, _ = gaps(0, 2)
    last_s = GAP_GIVE_UP_S_MAX if is_claimed else GAP_GIVE_UP_S
    mono, times = 0.0, 0
    told: list[tuple[Series, Span]] = []
    while not told:
        of.pause(mono)
        mono += 60.0
        of.go_on(mono)
        told = until(of, mono + there_s, lambda _: [Span(1, 2)] if is_claimed else [])
        mono += there_s
        times += 1
        assert times <= GAP_AGAIN_MAX + 1 + last_s / (there_s + GAP_LOOK_EVERY_S)

    assert told == [(ONE, Span(1, 2))]


def test_a_process_that_is_stopped_again_and_again_keeps_nothing_open_for_ever() -> None:
    of, _ = gaps(0, 2)
    mono, looks = 0.0, 0
    while of.are_open:
        mono += 60.0
        of.unfillable(lambda _: [Span(1, 2)], mono)
        looks += 1
        assert looks <= GAP_AGAIN_MAX + GAP_GIVE_UP_S_MAX / GAP_LOOK_EVERY_S
    assert looks >= GAP_AGAIN_MAX + GAP_GIVE_UP_S_MAX / (FEED_GAP_LOOK_S + GAP_LOOK_EVERY_S)

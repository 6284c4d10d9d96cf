from __future__ import annotations

from tests.pubsub.kit_feed import held, series
from yzdht.limits import GAP_GIVE_UP_S, GAP_GIVE_UP_S_MAX, GAP_LOOK_EVERY_S, PULL_SERIES_MAX
from yzdht.pubsub.gaps import Gaps
from yzdht.wire.holdings import Held, Series, Span


ONE = series(1)


def gaps(*indexes: int) -> tuple[Gaps, dict[Series, Held]]:
    here = {ONE: held(*indexes)}
    found = Gaps(lambda name: here.get(name, Held()))
    found.look(ONE, 0.0)
    return found, here


def nobody(_name: Series) -> list[Span]:
    return []


def test_nothing_is_missing_where_all_is_here() -> None:
    of, _ = gaps(0, 1, 2)

    assert not of.are_open
    assert of.next_time() is None


def test_a_gap_is_given_up_once_and_after_its_time() -> None:
    of, _ = gaps(0, 3)

    assert of.next_time() == GAP_GIVE_UP_S
    assert of.unfillable(nobody, GAP_GIVE_UP_S - 0.1) == []
    assert of.unfillable(nobody, GAP_GIVE_UP_S) == [(ONE, Span(1, 3))]
    assert of.unfillable(nobody, GAP_GIVE_UP_S + 1) == []
    assert not of.are_open


def test_what_some_source_may_send_is_waited_for_longer_but_not_for_ever() -> None:
    of, _ = gaps(0, 4)

    assert of.unfillable(lambda _: [Span(2, 3)], GAP_GIVE_UP_S) == [(ONE, Span(1, 2)), (ONE, Span(3, 4))]
    assert of.unfillable(lambda _: [Span(2, 3)], GAP_GIVE_UP_S_MAX) == [(ONE, Span(2, 3))]


def test_a_gap_that_is_filled_in_part_keeps_its_age_and_a_new_one_begins() -> None:
    of, here = gaps(0, 4)
    here[ONE].add(2)
    here[ONE].add(7)
    of.look(ONE, 10.0)

    assert of.unfillable(nobody, GAP_GIVE_UP_S) == [(ONE, Span(1, 2)), (ONE, Span(3, 4))]
    assert of.unfillable(nobody, GAP_GIVE_UP_S + 10) == [(ONE, Span(5, 7))]


def test_a_gap_that_is_filled_is_none() -> None:
    of, here = gaps(0, 2)
    here[ONE].add(1)

    assert of.unfillable(nobody, GAP_GIVE_UP_S) == []
    assert of.next_time() is None


def test_what_was_given_up_in_an_earlier_run_is_not_told_again() -> None:
    of, here = gaps()
    of.give_up(ONE, [Span(0, 3)])
    here[ONE].add(3)
    here[ONE].add(5)
    of.look(ONE, 0.0)

    assert of.unfillable(nobody, GAP_GIVE_UP_S) == [(ONE, Span(4, 5))]


def test_what_is_missing_of_a_series_that_is_forgotten_is_given_up_once() -> None:
    of, here = gaps(1, 3)
    del here[ONE]

    assert of.unfillable(lambda _: [Span(2, 3)], GAP_GIVE_UP_S) == [(ONE, Span(0, 1))]
    assert of.unfillable(nobody, GAP_GIVE_UP_S + 1) == [(ONE, Span(2, 3))]
    assert (of.are_open, of.next_time()) == (False, None)
    assert of.unfillable(nobody, GAP_GIVE_UP_S_MAX) == []
    here[ONE] = held(1)
    of.look(ONE, GAP_GIVE_UP_S_MAX)
    assert of.are_open, "it is a series like any other when something of it comes again"


def test_parts_of_what_is_missing_of_a_series_that_is_forgotten_are_given_up_once() -> None:
    of, here = gaps(100)
    del here[ONE]
    told: list[tuple[Series, Span]] = []
    for second in range(int(GAP_GIVE_UP_S), int(GAP_GIVE_UP_S_MAX) + 9):
        told += of.unfillable(lambda _: [Span(40, 42)], float(second))

    assert told == [(ONE, Span(0, 40)), (ONE, Span(42, 100)), (ONE, Span(40, 42))]


def test_series_with_gaps_are_bounded() -> None:
    here = {series(n): held(1) for n in range(PULL_SERIES_MAX + 3)}
    of = Gaps(here.__getitem__)
    for name in here:
        of.look(name, 0.0)

    assert len(of._series) == PULL_SERIES_MAX
    assert of.next_time() == GAP_LOOK_EVERY_S
    first = [series(n) for n in range(3)]
    assert of.unfillable(nobody, 1.0) == [(name, Span(0, 1)) for name in first]  # else they waited for ever
    assert len(of.unfillable(nobody, GAP_GIVE_UP_S)) == PULL_SERIES_MAX


def test_who_may_send_is_asked_about_a_series_once_however_many_gaps_it_has() -> None:
    of, _ = gaps(*range(0, 100, 2))
    asked: list[Series] = []

    def hoped_for(name: Series) -> list[Span]:
        asked.append(name)
        return [Span(0, 100)]

    assert of.unfillable(hoped_for, GAP_GIVE_UP_S) == []
    assert asked == [ONE]

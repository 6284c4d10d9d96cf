"""What is held of a topic: every answer against a set of indexes and a floor, the plainest way to say the same."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from yzdht.ids import PublicKey, SendSession
from yzdht.limits import CUT_ROWS_BELOW_MAX, HOLES_MAX, RUNS_PER_SESSION_MAX, SUMMARY_ROWS_MAX
from yzdht.wire.holdings import Held, Holdings, Series, Span, claimed, lacking, widened
from yzdht.wire.rpc import Range, SummaryRow


if TYPE_CHECKING:
    from collections.abc import Iterable


TOP = 40

indexes = st.integers(0, TOP)
spans = st.tuples(indexes, indexes).map(lambda ends: Span(*sorted(ends)))
changes = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "discard", "floor"]), indexes), max_size=60
)


def series(number: int, session: int = 0) -> Series:
    return Series(PublicKey(b"\x02" + number.to_bytes(32)), SendSession(session.to_bytes(8)))


class Model:
    """A set, and a floor."""

    def __init__(self) -> None:
        self.floor = 0
        self.held: set[int] = set()

    def apply(self, what: str, index: int) -> bool | None:
        if what == "add":
            is_new = index >= self.floor and index not in self.held
            self.held |= {index} if is_new else set()
            return is_new
        if what == "discard":
            self.held.discard(index)
        else:
            self.floor = max(self.floor, index)
            self.held = {i for i in self.held if i >= self.floor}
        return None


def apply(held: Held, what: str, index: int) -> bool | None:
    if what == "add":
        return held.add(index)
    if what == "discard":
        held.discard(index)
    else:
        held.raise_floor(index)
    return None


def all_in(spans: Iterable[Span]) -> set[int]:
    return {index for span in spans for index in range(span.start, span.to)}


def held_of(indexes: Iterable[int], floor: int = 0) -> Held:
    held = Held(floor)
    for index in indexes:
        held.add(index)
    return held


def row_of(indexes: Iterable[int], floor: int = 0) -> SummaryRow:
    holdings = Holdings()
    holdings.open(series(1), floor)
    for index in indexes:
        holdings.add(series(1), index)
    return holdings.row(series(1))


# One series


@given(changes)
def test_held_answers_as_a_set_and_a_floor_would(steps: list[tuple[str, int]]) -> None:
    held, model = Held(), Model()
    for what, index in steps:
        assert apply(held, what, index) == model.apply(what, index)

        assert held.floor == model.floor
        assert {i for i in range(TOP + 1) if i in held} == all_in(held.runs) == model.held
        assert held.is_empty == (not model.held)
        assert held.next == max((i + 1 for i in model.held), default=model.floor)
        assert all_in(held.gaps()) == set(range(model.floor, held.next)) - model.held
        for some in (held.runs, held.gaps()):
            assert all(span.start < span.to for span in some)
            assert all(one.to < two.start for one, two in pairwise(some))


@given(st.sets(indexes), indexes, spans)
def test_what_is_lacking_of_a_span_is_neither_held_nor_over(some: set[int], floor: int, there: Span) -> None:
    held = held_of(some, floor)

    found = lacking(held, there)

    assert all_in(found) == {i for i in range(there.start, there.to) if i not in held and i >= floor}
    assert found == sorted(found)
    assert all(span.start < span.to for span in found)
    inside = {i for i in range(there.start, there.to) if i in held}
    assert inside <= all_in(held.runs_in(there))
    assert set(held.runs_in(there)) <= set(held.runs)
    assert there.start == there.to or all(all_in([run]) & inside for run in held.runs_in(there))


@given(st.sets(st.integers(0, 6)), st.integers(0, 3), st.integers(0, 6))
def test_there_is_more_than_one_message_if_another_is_held_or_was(
    some: set[int], floor: int, index: int
) -> None:
    held = held_of(some, floor)

    assert held.has_more_than(index) == bool(floor or some - {index})


def test_a_floor_never_sinks_and_what_is_below_is_never_held() -> None:
    held = held_of([3, 4, 9])

    held.raise_floor(5)
    held.raise_floor(2)

    assert held.floor == 5
    assert not held.add(4)
    assert held.runs == [Span(9, 10)]
    assert held.gaps() == [Span(5, 9)]
    held.raise_floor(20)
    assert (held.is_empty, held.next, held.gaps()) == (True, 20, [])


def test_one_gap_more_than_the_bound_gives_up_the_lowest_run() -> None:
    every_other = range(0, 2 * RUNS_PER_SESSION_MAX, 2)
    held = held_of(every_other)
    assert (held.floor, len(held.runs)) == (0, RUNS_PER_SESSION_MAX)

    assert held.add(2 * RUNS_PER_SESSION_MAX + 7)

    assert (held.floor, len(held.runs)) == (2, RUNS_PER_SESSION_MAX)
    assert not held.add(0)
    assert not held.add(1)
    assert held.add(3)


def test_what_is_below_everything_of_a_full_one_is_taken_once_and_over_at_once() -> None:
    held = held_of(range(10, 10 + 2 * RUNS_PER_SESSION_MAX, 2))

    assert held.add(4)

    assert 4 not in held
    assert held.floor == 10
    assert not held.add(4)


def test_dropping_from_the_midst_of_runs_keeps_the_bound() -> None:
    held = held_of(range(4 * RUNS_PER_SESSION_MAX))

    for index in range(1, 4 * RUNS_PER_SESSION_MAX, 2):
        held.discard(index)
        assert len(held.runs) <= RUNS_PER_SESSION_MAX

    assert held.next == 4 * RUNS_PER_SESSION_MAX - 1
    assert held.floor > 0


@given(changes)
def test_what_was_kept_as_runs_comes_back_as_it_was(steps: list[tuple[str, int]]) -> None:
    held = Held()
    for step in steps:
        apply(held, *step)

    again = Held.of_runs(held.floor, held.runs)

    assert (again.floor, again.runs, again.gaps()) == (held.floor, held.runs, held.gaps())
    assert all(again.add(index) == held.add(index) for index in range(TOP + 1))


def test_the_last_index_that_there_is_has_a_next_one() -> None:
    held = held_of([2**32 - 2])

    assert held.next == 2**32 - 1
    assert held.gaps() == [Span(0, 2**32 - 2)]


# Summaries


@given(st.sets(indexes), indexes)
def test_a_row_says_what_is_held(some: set[int], floor: int) -> None:
    held = held_of(some, floor)

    row = row_of(some, floor)

    assert all_in(claimed(row)) == all_in(held.runs)
    assert (row.first, row.next) == (floor, held.next)


def test_a_row_with_too_many_holes_tells_of_its_upper_part_alone() -> None:
    for gap in (1, 3, HOLES_MAX - 1, HOLES_MAX, HOLES_MAX + 1, 10 * HOLES_MAX):
        some = range(0, 400 * (gap + 1), gap + 1)[:400]
        row = row_of(some)

        assert len(row.holes) <= HOLES_MAX
        assert list(row.holes) == sorted(set(row.holes))
        assert all_in(claimed(row)) == {i for i in some if i >= row.first}
        assert row.next == some[-1] + 1
        assert len(row.holes) == HOLES_MAX or gap > HOLES_MAX


def test_a_row_whose_holes_just_fit_tells_of_everything() -> None:
    row = row_of(range(0, 2 * HOLES_MAX + 1, 2))

    assert (row.first, len(row.holes)) == (0, HOLES_MAX)
    more = row_of(range(0, 2 * HOLES_MAX + 3, 2))
    assert (more.first, len(more.holes)) == (2, HOLES_MAX)


def test_one_far_index_costs_no_more_than_a_row() -> None:
    row = row_of([0, 2**32 - 2])

    assert row.next == 2**32 - 1
    assert row.first == 2**32 - 2 - HOLES_MAX
    assert claimed(row) == [Span(2**32 - 2, 2**32 - 1)]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**32 - 1), max_size=64))
def test_a_row_of_nonsense_claims_nothing_outside_of_itself(first: int, to: int, holes: list[int]) -> None:
    spans = claimed(SummaryRow(*series(1), first, to, tuple(holes)))

    assert all(first <= span.start < span.to <= to for span in spans)
    assert not any(span.start <= hole < span.to for span in spans for hole in holes)
    assert sum(span.to - span.start for span in spans) == max(
        0, to - first - len({hole for hole in holes if first <= hole < to})
    )


# A topic


def test_the_series_that_changed_last_is_the_newest_and_comes_first_in_a_summary() -> None:
    holdings = Holdings()
    for number in (1, 2, 3):
        assert holdings.add(series(number), 0)
    assert holdings.add(series(1), 5)
    assert not holdings.add(series(2), 0)
    holdings.open(series(4), floor=7)

    assert list(holdings) == [series(2), series(3), series(1), series(4)]
    assert [row.sender for row in holdings.rows()] == [series(n).sender for n in (1, 3, 2, 4)]
    assert holdings.rows()[0] == SummaryRow(*series(1), 0, 6, (1, 2, 3, 4))
    assert holdings.rows()[3] == SummaryRow(*series(4), 7, 7)


def test_series_of_which_nothing_is_held_any_more_come_after_all_others_in_a_summary() -> None:
    holdings = Holdings()
    holdings.add(series(0), 0)
    for number in range(1, 3 * SUMMARY_ROWS_MAX):
        holdings.open(series(number), floor=1)

    assert holdings.rows()[0] == SummaryRow(*series(0), 0, 1)
    assert len(
        {row for skip in (0, SUMMARY_ROWS_MAX, 2 * SUMMARY_ROWS_MAX) for row in holdings.rows(skip)}
    ) == len(holdings)


def test_summaries_of_many_series_come_in_pages() -> None:
    holdings = Holdings()
    for number in range(SUMMARY_ROWS_MAX + 10):
        holdings.add(series(number), 0)

    first, second = holdings.rows(), holdings.rows(SUMMARY_ROWS_MAX)

    assert (len(first), len(second), holdings.rows(10_000)) == (SUMMARY_ROWS_MAX, 10, ())
    assert len({row.sender for row in (*first, *second)}) == len(holdings) == SUMMARY_ROWS_MAX + 10


def test_one_sender_has_a_series_for_each_of_its_sessions() -> None:
    holdings = Holdings()
    holdings.add(series(1, session=1), 0)
    holdings.add(series(1, session=2), 3)

    assert len(holdings) == 2
    assert holdings.of(series(1, session=2)).gaps() == [Span(0, 3)]
    holdings.forget(series(1, session=1))
    holdings.forget(series(9))
    assert list(holdings) == [series(1, session=2)]


def test_asking_for_an_unknown_series_does_not_make_it_known() -> None:
    holdings = Holdings()

    assert holdings.of(series(1)).is_empty
    assert holdings.row(series(1)) == SummaryRow(*series(1), 0, 0)
    assert series(1) not in holdings
    assert len(holdings) == 0


def test_a_series_that_is_opened_again_keeps_its_floor() -> None:
    holdings = Holdings()
    held = holdings.open(series(1), floor=5)

    assert not holdings.add(series(1), 4)
    assert holdings.open(series(1), floor=9) is held
    assert held.floor == 5


def test_a_series_that_is_put_takes_the_place_of_what_was_known_of_it_and_is_the_newest() -> None:
    holdings = Holdings()
    for number in (1, 2):
        holdings.add(series(number), 0)

    holdings.put(series(1), Held.of_runs(3, [Span(5, 7)]))

    assert list(holdings) == [series(2), series(1)]
    assert holdings.row(series(1)) == SummaryRow(*series(1), 3, 7, (3, 4))


@given(st.sets(indexes), st.sets(indexes), indexes)
def test_what_is_missing_of_a_summary_makes_both_hold_the_same(
    mine: set[int], theirs: set[int], floor: int
) -> None:
    holdings = Holdings()
    holdings.open(series(1), floor)
    for index in mine:
        holdings.add(series(1), index)

    missing = holdings.missing([row_of(theirs)])

    wanted = {i for i in theirs - mine if i >= floor}
    assert all_in(Span(each.start, each.to) for each in missing) == wanted
    assert missing == sorted(missing, key=lambda each: each.start)
    for index in wanted:
        assert holdings.add(series(1), index)
    assert holdings.missing([row_of(theirs)]) == []


def test_of_an_unknown_series_everything_is_missing() -> None:
    row = SummaryRow(*series(1), 5, 9, (6,))

    assert Holdings().missing([row]) == [Range(*series(1), 5, 6), Range(*series(1), 7, 9)]


def test_a_summary_that_names_one_series_over_and_over_counts_once() -> None:
    row = SummaryRow(*series(1), 0, 2**32 - 1)
    other = SummaryRow(*series(2), 0, 3)

    assert Holdings().missing([row, *[row] * 254, other]) == [
        Range(*series(1), 0, 2**32 - 1),
        Range(*series(2), 0, 3),
    ]


def test_a_row_with_as_many_holes_as_fit_is_perhaps_the_upper_part_alone() -> None:
    whole = SummaryRow(*series(1), 5_000, 6_000, tuple(range(5_001, 5_001 + HOLES_MAX - 1)))
    assert widened(whole) == whole

    cut = SummaryRow(*series(1), 5_000, 6_000, tuple(range(5_001, 5_001 + HOLES_MAX)))
    assert widened(cut) == SummaryRow(*series(1), 5_000 - CUT_ROWS_BELOW_MAX, 6_000, cut.holes)
    low = SummaryRow(*series(1), 7, 6_000, cut.holes)
    assert widened(low).first == 0

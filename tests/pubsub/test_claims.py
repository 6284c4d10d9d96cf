from __future__ import annotations

from hypothesis import given, strategies as st

from tests.pubsub.kit_feed import held, row, series
from yzdht.limits import (
    PULL_BROKEN_MAX,
    PULL_BROKEN_S,
    PULL_GRACES_MAX,
    PULL_KNOWN_MAX,
    PULL_SERIES_MAX,
    PULL_SPANS_MAX,
)
from yzdht.pubsub.claims import Claims, shared, without
from yzdht.wire.holdings import Held, Series, Span


ONE = series(1)


def claims(*indexes: int) -> tuple[Claims, dict[Series, Held]]:
    here = {ONE: held(*indexes)}
    return Claims(lambda name: here.get(name, Held())), here


def test_of_a_row_counts_what_is_missing_here() -> None:
    of, _ = claims(0, 1, 4)

    assert of.hear(row(ONE, 0, 8, 6), 0.0)
    assert of.of(ONE) == [Span(2, 4), Span(5, 6), Span(7, 8)]


def test_a_source_whose_messages_are_all_here_costs_nothing() -> None:
    of, here = claims(0, 1)
    assert not of.hear(row(ONE, 0, 2), 0.0)
    of.hear(row(ONE, 0, 3), 0.0)
    here[ONE].add(2)

    assert of.of(ONE) == []
    assert len(of) == 0


def test_a_row_counts_in_place_of_the_one_before() -> None:
    of, _ = claims()
    of.hear(row(ONE, 0, 9), 0.0)
    of.hear(row(ONE, 5, 9), 0.0)

    assert of.of(ONE) == [Span(5, 9)]


def test_what_was_not_sent_is_not_believed_for_a_while_even_if_it_is_said_again() -> None:
    of, _ = claims()
    of.hear(row(ONE, 0, 9), 0.0)
    for index in (3, 4, 5):
        of.break_off(ONE, index, 0.0)
    assert of.of(ONE) == [Span(0, 3), Span(6, 9)]

    of.hear(row(ONE, 0, 9), PULL_BROKEN_S - 1)
    assert of.of(ONE) == [Span(0, 3), Span(6, 9)]
    of.hear(row(ONE, 0, 9), PULL_BROKEN_S)
    assert of.of(ONE) == [Span(0, 9)]


def test_what_was_not_sent_in_one_go_is_remembered_as_one() -> None:
    of, _ = claims()
    for index in range(10 * PULL_BROKEN_MAX):
        of.break_off(ONE, index, 0.0)
    of.hear(row(ONE, 0, 10 * PULL_BROKEN_MAX + 1), 0.0)

    assert of.of(ONE) == [Span(10 * PULL_BROKEN_MAX, 10 * PULL_BROKEN_MAX + 1)]


def test_series_of_which_something_was_not_sent_come_last_until_something_of_them_is() -> None:
    of, _ = claims()
    names = [series(number) for number in range(1, 4)]
    for name in names:
        of.hear(row(name, 0, 9), 0.0)
    of.break_off(names[0], 0, 0.0)
    assert list(of) == [names[1], names[2], names[0]]
    of.break_off(names[2], 0, 0.0)
    of.hear(row(names[2], 0, 10), 0.0)  # to say so again is not enough
    assert list(of) == [names[1], names[0], names[2]]
    assert [of.doubts(name) for name in names] == [True, False, True]

    of.take_off(names[0], 1)
    assert list(of) == [names[0], names[1], names[2]]
    of.clear()
    assert list(of) == []


def test_more_series_than_a_history_has_are_not_kept() -> None:
    of, _ = claims()
    for number in range(PULL_SERIES_MAX + 5):
        of.hear(row(series(number), 0, 1), 0.0)

    assert len(of) == PULL_SERIES_MAX
    assert of.of(series(0)) == []


def test_a_series_of_which_much_is_claimed_does_not_make_place_for_many_that_said_little() -> None:
    of, _ = claims()
    of.hear(row(ONE, 0, 120), 0.0)
    for number in range(2 * PULL_SERIES_MAX):
        of.hear(row(series(1_000 + number), 0, 1), 0.0)

    assert len(of) == PULL_SERIES_MAX
    assert of.of(ONE) == [Span(0, 120)]


def test_a_series_of_which_something_is_here_goes_before_thousands_of_others() -> None:
    of, here = claims(0, 1)
    others = [series(1_000 + number) for number in range(2 * PULL_SERIES_MAX)]
    for name in others[:-1]:
        of.hear(row(name, 0, 1), 0.0)
    of.hear(row(ONE, 0, 3), 0.0)
    of.hear(row(others[-1], 0, 1), 0.0)
    assert next(iter(of)) == ONE

    for name in others:
        of.hear(row(name, 0, 1), 1.0)
    assert next(iter(of)) == ONE
    assert len(of) == PULL_SERIES_MAX
    for name in others:
        of.hear(row(name, 0, 3, 1), 1.0)
    assert next(iter(of)) == ONE
    assert len(of) < PULL_SERIES_MAX, "they have too many runs"

    of.break_off(ONE, 2, 1.0)
    of.hear(row(ONE, 0, 4), 1.0)
    assert list(of)[-1] == ONE, "what is not sent comes last all the same"
    here[ONE].add(3)
    assert of.of(ONE) == []
    assert ONE not in list(of)


def test_who_makes_up_series_of_which_something_is_here_has_no_more_than_a_part() -> None:
    here = {series(number): held(0) for number in range(2 * PULL_SERIES_MAX)}
    of = Claims(lambda name: here.get(name, Held()))
    for name in here:
        of.hear(row(name, 0, 2), 0.0)
    of.hear(row(series(9_999), 0, 1), 0.0)
    of.hear(row(next(iter(here)), 0, 1), 0.0)  # all of it is here

    assert len(of) == PULL_SERIES_MAX
    assert list(of)[: 2 * PULL_KNOWN_MAX : 2] == list(here)[-PULL_KNOWN_MAX:]


def test_of_series_that_are_new_here_as_many_are_asked_for_as_of_others() -> None:
    here = {series(number): held(0) for number in range(10)}
    of = Claims(lambda name: here.get(name, Held()))
    new = [series(100 + number) for number in range(20)]
    for name in new:
        of.hear(row(name, 0, 1), 0.0)
    for name in here:
        of.hear(row(name, 0, 2), 0.0)

    assert list(of)[:20:2] == list(here)
    assert list(of)[1:20:2] + list(of)[20:] == new
    for name in new[5:]:
        here[name] = held(0)
        assert of.of(name) == []
    assert list(of)[1:10:2] == new[:5]
    assert set(list(of)[10:]) < set(here)


def test_of_what_is_asked_for_half_is_of_series_of_which_something_is_here() -> None:
    strangers = {series(100 + number): [Span(0, 1)] for number in range(256)}
    wants = strangers | {ONE: [Span(1, 300)]}
    got = shared(wants, {}, 64, {ONE})

    assert got.pop(ONE) == [Span(1, 33)]
    assert len(got) == 32
    few = {name: strangers[name] for name in list(strangers)[:10]}
    assert shared(few | {ONE: [Span(1, 300)]}, {}, 64, {ONE}) == few | {ONE: [Span(1, 55)]}
    assert len(shared(strangers | {ONE: [Span(1, 3)]}, {}, 64, {ONE})) == 63


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 40), st.integers(0, 9))
def test_nothing_of_a_room_is_left_whatever_is_known(sizes: list[int], room: int, known: int) -> None:
    wants = {series(n): [Span(0, size)] for n, size in enumerate(sizes)}
    got = shared(wants, {}, room, set(list(wants)[:known]))
    parts = [sum(to - start for start, to in got.get(name, ())) for name in wants]

    assert sum(parts) == min(room, sum(sizes))
    assert sum(parts[:known]) >= min(room // 2, sum(sizes[:known]))
    assert sum(parts[known:]) >= min(room // 2, sum(sizes[known:]))
    assert list(got) == [name for name in wants if name in got]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 40))
def test_a_room_is_shared_and_nothing_of_it_left_while_somebody_wants_more(
    sizes: list[int], room: int
) -> None:
    wants = {series(n): [Span(2 * i, 2 * i + 1) for i in range(size)] for n, size in enumerate(sizes)}
    got = shared(wants, {}, room)
    parts = [sum(to - start for start, to in got.get(name, ())) for name in wants]

    assert sum(parts) == min(room, sum(sizes))
    assert all(part >= min(size, room // len(sizes)) for part, size in zip(parts, sizes, strict=True))
    assert all(spans == wants[name][: len(spans)] for name, spans in got.items())


def test_what_is_wanted_less_has_a_quarter_and_what_is_left_over() -> None:
    much, little = {ONE: [Span(0, 1_000)]}, {series(2): [Span(5, 900)]}
    assert shared(much, little, 40) == {ONE: [Span(0, 30)], series(2): [Span(5, 15)]}
    assert shared({ONE: [Span(3, 5)]}, little, 40) == {ONE: [Span(3, 5)], series(2): [Span(5, 43)]}
    assert shared({}, little, 40) == {series(2): [Span(5, 45)]}
    assert shared(much, {series(2): [Span(5, 6)]}, 40) == {ONE: [Span(0, 39)], series(2): [Span(5, 6)]}


def test_who_speaks_for_three_hosts_may_have_what_each_of_them_has() -> None:
    of = Claims(lambda _series: Held(), hosts=3)
    for number in range(3 * PULL_SERIES_MAX):
        of.hear(row(series(number), 0, 1), 0.0)

    assert all(of.of(series(number)) for number in range(3 * PULL_SERIES_MAX))
    assert len(of) == 3 * PULL_SERIES_MAX


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=5),
    st.integers(0, 40),
    st.integers(1, 10),
)
def test_spans_less_another_are_what_sets_say(pairs: list[tuple[int, int]], start: int, length: int) -> None:
    spans = [Span(a, a + size) for a, size in pairs]
    taken = Span(start, start + length)

    left = without(spans, taken)

    indexes = [i for span in spans for i in range(*span) if not taken.start <= i < taken.to]
    assert [i for span in left for i in range(*span)] == indexes
    assert all(span.start < span.to for span in left)


def test_what_may_come_by_itself_is_due_after_its_time() -> None:
    of, _ = claims(0)
    of.hear(row(ONE, 0, 3), 0.0, ask_at=1.0)
    of.hear(row(ONE, 0, 5), 0.6, ask_at=1.6)
    assert of.due(ONE) == []
    assert of.of(ONE) == [Span(1, 5)]
    assert of.next_ripe() == 1.0

    of.ripen(1.0)
    assert of.due(ONE) == [Span(1, 3)]
    assert of.next_ripe() == 1.6
    of.ripen(1.6)
    assert of.due(ONE) == [Span(1, 5)]
    assert of.next_ripe() is None
    assert not of.waits(ONE)


def test_what_was_said_again_waits_no_longer() -> None:
    of, _ = claims(0)
    of.hear(row(ONE, 0, 3), 0.0, ask_at=1.0)
    of.hear(row(ONE, 0, 3), 0.9, ask_at=1.9)
    of.ripen(1.0)

    assert of.due(ONE) == [Span(1, 3)]
    assert of.next_ripe() is None


def test_what_a_later_message_has_overtaken_does_not_wait() -> None:
    of, here = claims(0)
    of.hear(row(ONE, 0, 5), 0.0, ask_at=1.0)
    assert of.waits(ONE)
    here[ONE].add(3)

    assert of.due(ONE) == [Span(1, 3)]


def test_what_was_asked_for_already_does_not_wait_for_what_is_announced_after() -> None:
    of, _ = claims()
    of.hear(row(ONE, 0, 100), 0.0)
    of.hear(row(ONE, 0, 105), 0.1, ask_at=0.6)
    assert of.due(ONE) == [Span(0, 100)]

    of.hear(row(ONE, 0, 105), 0.2)
    assert of.due(ONE) == [Span(0, 105)]


def test_if_nothing_comes_by_itself_all_is_due() -> None:
    of, _ = claims()
    of.hear(row(ONE, 0, 5), 0.0, ask_at=1.0)
    of.hurry()

    assert of.due(ONE) == [Span(0, 5)]
    assert of.next_ripe() is None


def test_announcements_that_wait_are_bounded() -> None:
    of, here = claims()
    for to in range(1, 10 * PULL_GRACES_MAX):
        of.hear(row(ONE, 0, to), 0.0, ask_at=to)
    assert len(of._graces[ONE].later) == PULL_GRACES_MAX
    of.ripen(PULL_GRACES_MAX)
    assert of.due(ONE) == [Span(0, 10 * PULL_GRACES_MAX - 1)]

    for number in range(2, PULL_SERIES_MAX + 9):
        of.hear(row(series(number), 0, 9), 0.0, ask_at=1.0)
    assert len(of._graces) == PULL_SERIES_MAX
    for name in of:
        here[name] = held(*range(10 * PULL_GRACES_MAX))
        of.of(name)
    assert of._graces == {}


def test_of_very_many_runs_the_series_named_first_are_forgotten() -> None:
    of, _ = claims()
    for number in range(2 * PULL_SPANS_MAX // 33):
        of.hear(row(series(number), 0, 65, *range(1, 64, 2)), 0.0)

    assert sum(len(of.of(name)) for name in of) <= PULL_SPANS_MAX
    assert len(of.of(series(2 * PULL_SPANS_MAX // 33 - 1))) == 33
    assert of.of(series(0)) == []

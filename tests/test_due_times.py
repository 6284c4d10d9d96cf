"""When each of many is due."""

from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.due_times import DueTimes


def taken(times: DueTimes[str], mono: float) -> list[str]:
    """Everybody who is due."""
    found = []
    while (key := times.take(mono)) is not None:
        found.append(key)
    return found


def test_each_is_due_at_its_own_time_and_taken_once() -> None:
    times: DueTimes[str] = DueTimes()
    times.set("late", 2.0)
    times.set("early", 1.0)
    times.set("never", None)
    assert (times.next(), len(times)) == (1.0, 2)
    assert taken(times, 0.5) == []
    assert taken(times, 1.0) == ["early"]
    assert taken(times, 9.0) == ["late"]
    assert (times.next(), taken(times, 9.0), len(times)) == (None, [], 0)


def test_of_equal_times_the_first_that_was_set_comes_first() -> None:
    times: DueTimes[str] = DueTimes()
    for key in "bac":
        times.set(key, 1.0)
    assert taken(times, 1.0) == ["b", "a", "c"]


def test_a_time_that_is_set_anew_is_the_only_one() -> None:
    times: DueTimes[str] = DueTimes()
    for at in (1.0, 5.0, 3.0, 5.0):
        times.set("one", at)
        assert times.next() == at
    assert taken(times, 4.0) == []
    assert taken(times, 5.0) == ["one"]
    assert taken(times, 9.0) == []


def test_who_is_forgotten_or_has_no_time_any_more_is_not_due() -> None:
    times: DueTimes[str] = DueTimes()
    times.set("one", 1.0)
    times.set("other", 1.0)
    times.forget("one")
    times.forget("nobody")
    times.set("other", None)
    assert (taken(times, 9.0), times.next()) == ([], None)


def test_what_is_out_of_date_takes_no_room() -> None:
    times: DueTimes[int] = DueTimes()
    times.set(0, 0.5)
    for number in range(1, 1_000):
        times.set(number, 1_000.0 - number)
        times.forget(number)
    for again in range(1_000):
        times.set(0, 1.0 + again % 2)
    assert len(times._heap) < 100
    assert (times.next(), len(times)) == (2.0, 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9), st.booleans()), max_size=400))
def test_it_behaves_as_a_table_that_is_searched(steps: list[tuple[int, int | None, bool]]) -> None:
    times: DueTimes[int] = DueTimes()
    table: dict[int, float] = {}
    for key, at, is_taken in steps:
        if is_taken:
            first = min(table.values(), default=None)
            due = times.take(at or 0)
            is_due = first is not None and first <= (at or 0)
            assert (table.pop(due) if due is not None else None) == (first if is_due else None)
        else:
            times.set(key, at)
            table.pop(key, None)
            if at is not None:
                table[key] = at
        assert (times.next(), len(times)) == (min(table.values(), default=None), len(table))

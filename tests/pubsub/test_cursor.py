from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, strategies as st

from tests.pubsub.kit_feed import TOPIC, WALL, row, series
from yzdht.errors import UsageError
from yzdht.ids import MessageId, TopicId
from yzdht.limits import (
    CURSOR_BYTES_MAX,
    CURSOR_RUNS_MAX,
    CURSOR_SERIES_MAX,
    FORGOTTEN_BEHIND_S,
    FORGOTTEN_TOGETHER_PART,
    REPLAY_KEPT_S,
    REPLAY_WINDOW,
    SENDER_SESSIONS_MAX,
)
from yzdht.pubsub.cursor import Cursor, Window, decode_cursor
from yzdht.pubsub.events import Begins, Event, Filled, Gap, Lost, Message, RefusalReason, Refused, WantsEpochs
from yzdht.wire.holdings import Series, Span


ONE = series(1)


def message(index: int, of: Series = ONE, received: int = WALL, created: int = WALL) -> Message:
    return Message(of, index, MessageId(bytes(20)), created, 0, b"", received)


def after(*events: Event) -> Cursor:
    cursor = Cursor(TOPIC)
    for event in events:
        cursor.take(event)
    return cursor


def again(cursor: Cursor) -> Cursor:
    return decode_cursor(cursor.encode(), TOPIC)


def state(cursor: Cursor, of: Series = ONE) -> tuple[int, int, list[Span], int]:
    window = cursor.get(of)
    assert window is not None
    return window.told.floor, window.due, window.told.runs, window.seen_at


def test_a_cursor_follows_what_was_told() -> None:
    cursor = after(message(0), message(1), Gap(ONE, Span(2, 4)), Lost(ONE, Span(2, 4)), message(4))

    assert state(cursor) == (0, 5, [Span(0, 2), Span(4, 5)], WALL)
    assert cursor.holdings().row(ONE) == row(ONE, 0, 5, 2, 3)


def test_a_late_message_fills_its_place() -> None:
    cursor = after(Lost(ONE, Span(0, 2)), message(2), message(1))

    assert state(cursor) == (0, 3, [Span(1, 3)], WALL)


def test_what_was_refused_is_not_wanted_again() -> None:
    cursor = after(Refused(ONE, 0, RefusalReason.UNREADABLE), message(1))

    assert state(cursor) == (0, 2, [Span(0, 2)], WALL)


def test_what_lies_below_a_beginning_is_over() -> None:
    cursor = after(Begins(ONE, 7, WALL))

    assert state(cursor) == (7, 7, [], 0)


def test_other_events_say_nothing_of_where_one_is() -> None:
    assert state(after(Gap(ONE, Span(0, 1)), Filled(ONE, Span(0, 1)), WantsEpochs(b""))) == (0, 0, [], 0)
    assert len(after(Filled(ONE, Span(0, 1)), WantsEpochs(b""))) == 0


def test_a_cursor_comes_back_as_it_was() -> None:
    cursor = after(Begins(ONE, 3, WALL), message(3), Lost(ONE, Span(4, 9)), message(9), message(0, series(2)))

    assert list(again(cursor)) == list(cursor) == [ONE, series(2)]
    assert state(again(cursor)) == state(cursor)
    assert again(cursor).encode() == cursor.encode()


def test_below_the_replay_window_all_is_over() -> None:
    cursor = after(message(0), Lost(ONE, Span(1, 5_000)), message(5_000))
    window = cursor.get(ONE)
    assert window is not None

    assert window.told.floor == 5_001 - REPLAY_WINDOW
    assert window.is_over(5_000 - REPLAY_WINDOW)
    assert not window.is_over(5_001 - REPLAY_WINDOW)


def test_the_window_of_who_was_silent_for_a_day_is_forgotten_and_nothing_before_is_told_again() -> None:
    cursor = after(message(0), Lost(ONE, Span(1, 3)), message(3))
    cursor.tidy(WALL + REPLAY_KEPT_S)
    assert state(cursor)[0] == 0

    cursor.tidy(WALL + REPLAY_KEPT_S + 1)
    assert state(cursor) == (4, 4, [], WALL)


def marks(cursor: Cursor) -> dict[Series, int]:
    """Up to when what a session says that is opened now may have been told; one of a sender, one of nobody known."""
    strangers = (series(1, 2**60), series(2, 2**60), series(2**60))
    found = {one: cursor.open(one).suspect for one in strangers}
    return {one: until for one, until in found.items() if until}


def test_of_one_sender_as_many_sessions_are_remembered_as_hosts_can_hold() -> None:
    cursor = after(
        *(
            message(0, series(1, n), created=WALL + n % 7, received=WALL + 6)
            for n in range(SENDER_SESSIONS_MAX)
        )
    )
    assert len(cursor) == SENDER_SESSIONS_MAX == 3_000
    cursor.take(message(1, series(1, 0)))
    cursor.take(message(0, series(2)))
    before = again(cursor)
    cursor.open(series(1, 9_999))

    gone = set(before) - set(cursor)
    assert gone == {series(1, n) for n in range(1, 1 + SENDER_SESSIONS_MAX // FORGOTTEN_TOGETHER_PART)}
    assert marks(again(cursor)) == marks(cursor) == {series(1, 2**60): WALL + 6}


def test_where_there_are_too_many_the_sender_of_most_has_the_oldest_forgotten() -> None:
    cursor = after(message(0, series(1, 1)), message(0, series(2, 1)))
    for number in range(SENDER_SESSIONS_MAX):
        cursor.take(message(0, series(3, number), created=WALL - 100))
    for number in range(SENDER_SESSIONS_MAX // 2):
        cursor.take(message(0, series(4, number)))
    while len(cursor) < CURSOR_SERIES_MAX:
        cursor.take(message(0, series(1_000 + len(cursor)), created=WALL - 7))
    before = again(cursor)
    cursor.open(series(5, 1))

    gone = set(before) - set(cursor)
    assert gone == {series(3, n) for n in range(CURSOR_SERIES_MAX // FORGOTTEN_TOGETHER_PART)}
    assert cursor.open(series(3, 9_999)).suspect == WALL - 100
    assert marks(cursor) == {}


def test_of_senders_of_one_session_each_those_heard_longest_ago_are_forgotten() -> None:
    cursor = after(
        *(
            message(0, series(n), created=WALL + n % 5, received=WALL + 4)
            for n in range(CURSOR_SERIES_MAX + 1)
        )
    )

    gone = CURSOR_SERIES_MAX // FORGOTTEN_TOGETHER_PART
    assert list(cursor) == [series(n) for n in range(gone, CURSOR_SERIES_MAX + 1)]
    assert list(again(cursor)) == list(cursor)
    assert set(marks(again(cursor)).values()) == {WALL + 4}
    assert series(1, 2**60) in marks(cursor)  # nothing is remembered of its sender


def test_a_window_that_was_opened_after_its_series_was_forgotten_says_so_when_it_is_forgotten_itself() -> (
    None
):
    cursor = after(*(message(0, series(n)) for n in range(CURSOR_SERIES_MAX + 1)))
    cursor.take(Refused(series(0), 0, RefusalReason.FORGOTTEN))
    assert cursor.open(series(0)).suspect == WALL
    cursor.forget([series(0)])

    assert again(cursor).open(series(0)).suspect == WALL


@pytest.mark.parametrize("ahead_s", [1, 60, WALL])
def test_a_sender_whose_clock_is_ahead_does_not_have_others_forgotten(ahead_s: int) -> None:
    cursor = after(message(0, series(1), created=WALL + ahead_s))
    cursor.forget([series(1)])

    assert set(marks(cursor).values()) == {WALL}


@pytest.mark.parametrize("ahead_s", [1, 5, 60])
def test_what_a_sender_said_whose_clock_is_ahead_is_known_once_its_time_has_come(ahead_s: int) -> None:
    later = WALL + ahead_s + FORGOTTEN_BEHIND_S
    cursor = after(
        message(0, series(1), created=WALL + ahead_s), message(0, series(2), created=WALL, received=later)
    )
    cursor.forget([series(1)])

    assert again(cursor).open(series(1)).suspect == WALL + ahead_s


def test_what_is_awaited_no_more_is_forgotten_as_all_is() -> None:
    cursor = after(message(0), Gap(ONE, Span(1, 2)))
    cursor.await_nothing()
    for number in range(CURSOR_SERIES_MAX):
        cursor.take(message(0, series(100 + number)))

    assert cursor.get(ONE) is None


def test_of_a_sender_whose_clock_is_ahead_and_that_is_remembered_its_own_sessions_are_known() -> None:
    cursor = after(*(message(0, series(1, n), created=WALL + 30) for n in range(2)))
    cursor.forget([series(1, 0)])

    assert cursor.open(series(1, 0)).suspect == WALL + 30
    assert cursor.open(series(2)).suspect == 0


@pytest.mark.parametrize(
    "events",
    [
        (message(0), Gap(ONE, Span(1, 2)), Gap(ONE, Span(3, 4))),
        (Gap(ONE, Span(0, 2)), Gap(ONE, Span(3, 4)), message(0)),
    ],
)
def test_a_series_of_which_something_is_awaited_is_forgotten_last(events: tuple[Event, ...]) -> None:
    cursor = after(*events)
    for number in range(2 * CURSOR_SERIES_MAX):
        cursor.take(message(0, series(100 + number)))
    assert state(cursor)[1] == 1

    for index in (1, 2):
        cursor.take(message(index))
    for number in range(2 * CURSOR_SERIES_MAX):
        cursor.take(message(0, series(100_000 + number)))
    assert state(cursor)[1] == 3

    cursor.take(Lost(ONE, Span(3, 4)))
    for number in range(CURSOR_SERIES_MAX):
        cursor.take(message(0, series(200_000 + number)))
    assert cursor.get(ONE) is None


def test_what_lay_before_a_beginning_is_not_told_after_its_window_was_forgotten() -> None:
    cursor = after(Begins(ONE, 7, WALL))
    cursor.forget([ONE])

    assert cursor.open(ONE).suspect == WALL


def test_a_window_in_tatters_is_kept_in_its_upper_part() -> None:
    events = [event for n in range(0, 400, 2) for event in (message(n), Lost(ONE, Span(n + 1, n + 2)))]
    floor, due, runs, _ = state(again(after(*events)))

    assert len(runs) == CURSOR_RUNS_MAX
    assert due == 400
    assert floor == runs[0].start == 400 - 2 * CURSOR_RUNS_MAX


def test_the_largest_cursor_is_not_too_large_to_be_read() -> None:
    cursor = Cursor(TOPIC)
    for number in range(CURSOR_SERIES_MAX):
        window = cursor.open(series(number))
        window.suspect = WALL
        window.begin_at(2**32 - 300, WALL)
        for index in range(2**32 - 300, 2**32 - 100, 2):
            window.tell(index, WALL, WALL)
    cursor.mark(WALL, [(series(number).sender, WALL) for number in range(CURSOR_SERIES_MAX)])

    encoded = cursor.encode()
    assert len(encoded) <= CURSOR_BYTES_MAX
    assert len(decode_cursor(encoded, TOPIC)) == CURSOR_SERIES_MAX


def test_a_cursor_of_another_topic_is_refused() -> None:
    with pytest.raises(UsageError, match="another topic"):
        decode_cursor(Cursor(TOPIC).encode(), TopicId(bytes(16)))


def rows(*changed: object, version: int = 2, marks: tuple[object, ...] = ()) -> bytes:
    return msgspec.msgpack.encode([version, TOPIC, list(changed), 0, list(marks)])


def test_a_cursor_is_read() -> None:
    cursor = decode_cursor(rows([*ONE, 7, 8, 9, 5, 1, [2, 4]], marks=((ONE.sender, 3),)), TOPIC)

    assert cursor.get(ONE) == Window(cursor.open(ONE).told, 5, seen_at=7, newest=8, suspect=9)
    assert state(cursor) == (1, 5, [Span(2, 4)], 7)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x90",
        b"x" * (CURSOR_BYTES_MAX + 1),
        rows(version=1),
        rows([*ONE, 0, 0, 0, 5, 0, []], [*ONE, 0, 0, 0, 5, 0, []]),  # twice
        rows([b"\4" * 33, ONE.session, 0, 0, 0, 5, 0, []]),  # no key
        rows([*ONE, 0, 0, 0, 5, 0, [1]]),  # half a run
        rows([*ONE, 0, 0, 0, 5, 0, [2, 2]]),  # an empty one
        rows([*ONE, 0, 0, 0, 5, 0, [1, 3, 3, 4]]),  # that touch
        rows([*ONE, 0, 0, 0, 5, 0, [3, 4, 1, 2]]),  # in disorder
        rows([*ONE, 0, 0, 0, 5, 0, [1, 6]]),  # beyond what is due
        rows([*ONE, 0, 0, 0, 5, 2, [1, 3]]),  # below the floor
        rows([*ONE, 0, 0, 0, 5, 6, []]),  # a floor beyond what is due
        rows([*ONE, 0, 0, 0, 2 * REPLAY_WINDOW, 0, []]),  # more than a window
        rows([*ONE, 0, 0, 0, 2**32 + 1, 2**32 + 1, []]),
        rows(*([ONE.sender, n.to_bytes(8), 0, 0, 0, 1, 0, []] for n in range(SENDER_SESSIONS_MAX + 1))),
        rows(marks=((ONE.sender, 3),)),  # of nobody
        rows([*ONE, 0, 0, 0, 5, 0, []], marks=((ONE.sender, 3), (ONE.sender, 4))),
    ],
)
def test_what_is_no_cursor_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="no cursor"):
        decode_cursor(data, TOPIC)


@given(st.binary(max_size=200))
def test_whatever_is_said_to_be_a_cursor_is_one_or_refused(data: bytes) -> None:
    try:
        cursor = decode_cursor(data, TOPIC)
    except UsageError:
        return
    assert decode_cursor(cursor.encode(), TOPIC).encode() == cursor.encode()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_a_cursor_that_was_written_down_at_any_moment_knows_what_was_told(
    steps: list[tuple[int, bool]],
) -> None:
    cursor, told, due = Cursor(TOPIC), set[int](), 0
    for skipped, is_kept in steps:
        if skipped:
            cursor.take(Lost(ONE, Span(due, due + skipped)))
        due += skipped
        cursor.take(message(due))
        told.add(due)
        due += 1
        cursor = again(cursor) if is_kept else cursor

    window = cursor.open(ONE)
    assert window.due == due
    assert {i for i in range(due) if window.is_over(i)} == told

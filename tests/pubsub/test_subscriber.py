from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_feed import KID, LATER_KID, TOPIC, WALL, Keys, World, at, number_of, raw, series
from yzdht.limits import (
    CURSOR_SERIES_MAX,
    EPOCH_GIVE_UP_S,
    FORGOTTEN_BEHIND_S,
    FORGOTTEN_SKEW_S,
    GAP_GIVE_UP_S,
    HISTORY_MESSAGES_MAX,
    LIVE_S,
    REPLAY_KEPT_S,
    REPLAY_WINDOW,
    SENDER_SESSIONS_MAX,
    WAITING_BYTES_MAX,
    WAITING_MESSAGES_MAX,
    WANTS_EPOCHS_EVERY_S,
)
from yzdht.pubsub.cursor import Cursor, decode_cursor
from yzdht.pubsub.events import (
    Begins,
    Filled,
    Gap,
    LossReason,
    Lost,
    Message,
    RefusalReason,
    Refused,
    WantsEpochs,
)
from yzdht.pubsub.feed import Start
from yzdht.pubsub.subscriber import Mailbox, Subscriber
from yzdht.wire.holdings import Span
from yzdht.wire.pubsub import INDEX_MAX, decode_envelope


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import PublicKey
    from yzdht.ports import Now
    from yzdht.pubsub.events import Event
    from yzdht.wire.holdings import Series


ONE, TWO = series(1), series(2)
DAY_S = 86_400


class Desk:
    """A subscriber that is handed envelopes by the test."""

    def __init__(
        self,
        *kids: bytes,
        cursor: bytes | None = None,
        is_member: Callable[[PublicKey], bool] = lambda _: True,
        may_tell: Callable[[PublicKey], bool] = lambda _: True,
        began: float = WALL,
    ) -> None:
        self.keys = Keys(*kids)
        self.cursor = decode_cursor(cursor, TOPIC) if cursor is not None else Cursor(TOPIC)
        self.taken = decode_cursor(cursor, TOPIC) if cursor is not None else Cursor(TOPIC)
        self.events: list[Event] = []
        self.subscriber = Subscriber(Mailbox(self.keys, is_member, self._tell, may_tell), self.cursor, began)

    def _tell(self, event: Event, _now: Now) -> None:
        self.events.append(event)
        self.taken.take(event)

    def come(
        self,
        *indexes: int,
        of: Series = ONE,
        is_live: bool = True,
        now: float = 0.0,
        created: int = WALL,
        kid: bytes = bytes(8),
        data: bytes = b"",
    ) -> None:
        if not self.subscriber.listener.is_wanted(of.sender):
            return  # a feed asks first
        for index in indexes:
            self.subscriber.on_envelope(decode_envelope(raw(of, index, created, data, kid)), is_live, at(now))

    def tick(self, now: float) -> None:
        self.subscriber.handle_timer(at(now))

    @property
    def told(self) -> list[int]:
        return [event.index for event in self.events if isinstance(event, Message)]

    @property
    def others(self) -> list[Event]:
        return [event for event in self.events if not isinstance(event, Message)]


# Order


def test_messages_of_a_sender_are_told_in_order() -> None:
    desk = Desk()
    desk.come(2, 0, 1, 3)

    assert desk.told == [0, 1, 2, 3]
    assert desk.others == [Gap(ONE, Span(0, 2)), Filled(ONE, Span(0, 2))]
    assert desk.subscriber.waiting == 0


def test_a_gap_of_one_sender_holds_up_no_other() -> None:
    desk = Desk()
    desk.come(1)
    desk.come(0, 1, of=TWO)

    assert [(e.series, e.index) for e in desk.events if isinstance(e, Message)] == [(TWO, 0), (TWO, 1)]
    assert desk.subscriber.waiting == 1


def test_a_gap_is_told_at_once_and_ends_in_a_loss_and_what_comes_then_is_late() -> None:
    desk = Desk()
    desk.come(0, 3)
    assert desk.others == [Gap(ONE, Span(1, 3))]

    desk.subscriber.on_lost(ONE, Span(1, 3), at(30))
    assert desk.others[1:] == [Lost(ONE, Span(1, 3))]
    desk.come(2, now=40)

    told = [event for event in desk.events if isinstance(event, Message)]
    assert [(message.index, message.is_late) for message in told] == [(0, False), (3, False), (2, True)]


def test_a_gap_that_is_filled_in_part_loses_the_rest() -> None:
    desk = Desk()
    desk.come(0, 5)
    desk.come(2)
    desk.subscriber.on_lost(ONE, Span(3, 5), at(30))
    desk.subscriber.on_lost(ONE, Span(1, 2), at(31))

    assert desk.told == [0, 2, 5]
    assert desk.others == [Gap(ONE, Span(1, 5)), Lost(ONE, Span(1, 2)), Lost(ONE, Span(3, 5))]


def test_a_loss_that_was_told_is_not_told_again() -> None:
    desk = Desk()
    desk.come(3)
    for _ in range(3):
        desk.subscriber.on_lost(ONE, Span(0, 3), at(30))

    assert desk.others == [Gap(ONE, Span(0, 3)), Lost(ONE, Span(0, 3))]


def test_a_series_begins_where_the_feed_says() -> None:
    desk = Desk()
    desk.subscriber.on_series(ONE, 7, at(0))
    desk.come(3, 7)

    assert desk.events[0] == Begins(ONE, 7, WALL)
    assert desk.told == [7]
    assert desk.others == [Begins(ONE, 7, WALL)]


# Tests of section 11


def test_who_is_no_member_is_not_heard() -> None:
    desk = Desk(is_member=lambda sender: sender == TWO.sender)
    desk.come(0)
    desk.come(0, of=TWO)

    assert desk.events == [event for event in desk.events if isinstance(event, Message)]
    assert [event.series for event in desk.events if isinstance(event, Message)] == [TWO]
    assert ONE not in list(desk.cursor)


def test_a_message_is_told_once() -> None:
    desk = Desk()
    desk.come(0, 0, 2, 2, 1, 0, 1, 2)

    assert desk.told == [0, 1, 2]


def test_a_replay_is_refused_over_a_restart() -> None:
    desk = Desk()
    desk.come(0, 1, 2)
    again = Desk(cursor=desk.taken.encode())
    again.come(0, 1, 2, 3)

    assert again.told == [3]


def test_what_lies_below_the_replay_window_is_refused() -> None:
    desk = Desk()
    desk.come(2 * REPLAY_WINDOW)
    desk.subscriber.on_lost(ONE, Span(0, 2 * REPLAY_WINDOW), at(30))
    desk.come(REPLAY_WINDOW, REPLAY_WINDOW + 1, now=31)

    assert desk.told == [2 * REPLAY_WINDOW, REPLAY_WINDOW + 1]


def test_a_live_message_of_a_session_never_seen_is_history_unless_it_is_new() -> None:
    for created, is_history in (
        (WALL - LIVE_S, False),
        (WALL + LIVE_S, False),
        (WALL - LIVE_S - 1, True),
        (WALL + LIVE_S + 1, True),
    ):
        desk = Desk()
        desk.come(0, created=int(created))
        [message] = desk.events
        assert isinstance(message, Message)
        assert message.is_history == is_history


def test_a_session_that_was_seen_may_have_a_clock_of_its_own() -> None:
    desk = Desk()
    desk.come(0)
    desk.come(1, created=int(WALL - LIVE_S))
    desk.come(2, created=WALL + DAY_S)

    assert [e.is_history for e in desk.events if isinstance(e, Message)] == [False, False, False]


def test_what_is_older_than_the_subscription_is_history_whoever_pushes_it() -> None:
    before = Desk(began=WALL - 3 * DAY_S)
    before.come(0, now=-3 * DAY_S, created=WALL - 3 * DAY_S)
    desk = Desk(cursor=before.taken.encode())
    desk.come(1, created=int(WALL - LIVE_S) - 1)
    desk.come(2, created=WALL - 2 * DAY_S)
    desk.come(3)

    assert [e.is_history for e in desk.events if isinstance(e, Message)] == [True, True, False]


def test_a_whole_session_that_is_replayed_is_history_until_its_sender_says_something_new() -> None:
    desk = Desk()
    desk.come(0, 1, 2, created=WALL - 3_600)
    desk.come(3, created=WALL)
    desk.come(4, created=WALL + DAY_S)

    marked = [e.is_history for e in desk.events if isinstance(e, Message)]
    assert marked == [True, True, True, False, False]


def test_a_session_never_seen_is_refused_if_its_window_may_be_forgotten() -> None:
    desk = Desk()
    desk.come(0, created=WALL - REPLAY_KEPT_S, is_live=False)
    desk.come(0, of=TWO, created=WALL - REPLAY_KEPT_S - 1, is_live=False)

    assert desk.told == [0]
    assert desk.others == [Refused(TWO, 0, RefusalReason.TOO_OLD)]


def test_what_does_not_open_is_refused_and_the_series_goes_on() -> None:
    desk = Desk(KID)
    desk.come(0, kid=KID, data=b"junk")
    desk.come(1, kid=KID)

    assert desk.told == [1]
    assert desk.others == [Refused(ONE, 0, RefusalReason.UNREADABLE)]
    desk.come(0)  # another one under the same index is none
    assert desk.told == [1]


# Epochs


def test_a_message_of_an_unknown_epoch_waits_for_it_and_those_after_it_wait_too() -> None:
    desk = Desk(KID)
    desk.come(0, kid=KID)
    desk.come(1, 2, kid=LATER_KID, now=1)
    assert desk.told == [0]
    assert desk.others == [WantsEpochs(LATER_KID)]

    desk.keys.kids.add(LATER_KID)
    desk.subscriber.on_epochs(at(5))
    assert desk.told == [0, 1, 2]
    assert desk.subscriber.waiting == 0


def test_epochs_are_wanted_after_a_while_again() -> None:
    desk = Desk()
    for moment in range(0, 200, 5):
        desk.come(moment, kid=KID, now=moment)

    assert len([e for e in desk.events if isinstance(e, WantsEpochs)]) == 1 + int(195 / WANTS_EPOCHS_EVERY_S)


def test_what_nobody_gives_a_key_for_is_lost_and_the_series_goes_on() -> None:
    desk = Desk(KID)
    desk.come(0, kid=LATER_KID)
    desk.come(1, kid=KID)
    assert desk.subscriber.next_timer() == 0.0
    desk.tick(1)
    while (at_s := desk.subscriber.next_timer()) is not None and at_s < EPOCH_GIVE_UP_S:
        desk.tick(at_s)
        assert desk.told == []
    desk.tick(EPOCH_GIVE_UP_S)

    assert desk.told == [1]
    wanted = [event for event in desk.others if isinstance(event, WantsEpochs)]
    assert len(wanted) == EPOCH_GIVE_UP_S / WANTS_EPOCHS_EVERY_S
    assert desk.others[-1] == Lost(ONE, Span(0, 1), LossReason.NO_KEY)


def test_what_came_in_any_order_is_given_up_in_one_piece() -> None:
    desk = Desk()
    for index in reversed(range(WAITING_MESSAGES_MAX - 1)):
        desk.come(index, kid=LATER_KID)
    desk.come(0, of=TWO, kid=LATER_KID)
    desk.events.clear()
    desk.tick(EPOCH_GIVE_UP_S)

    assert desk.events == [
        Lost(ONE, Span(0, WAITING_MESSAGES_MAX - 1), LossReason.NO_KEY),
        Lost(TWO, Span(0, 1), LossReason.NO_KEY),
    ]
    assert desk.subscriber.waiting == 0


def test_a_message_that_waits_for_a_key_and_for_an_earlier_one_needs_both() -> None:
    desk = Desk(KID)
    desk.come(1, kid=LATER_KID)
    desk.keys.kids.add(LATER_KID)
    desk.subscriber.on_epochs(at(1))
    assert desk.told == []

    desk.come(0, kid=KID, now=2)
    assert desk.told == [0, 1]


# Bounds


def test_messages_without_a_key_are_bounded() -> None:
    desk = Desk()
    for number in range(WAITING_MESSAGES_MAX + 10):
        desk.come(0, of=series(number), kid=KID)

    assert desk.subscriber.waiting == WAITING_MESSAGES_MAX
    lost = [event for event in desk.events if isinstance(event, Lost)]
    assert [event.series for event in lost] == [series(number) for number in range(10)]


def test_of_messages_without_a_key_the_sender_of_most_pays_in_however_many_sessions() -> None:
    desk = Desk(KID)
    desk.come(0, kid=KID)
    desk.come(1, 2, kid=LATER_KID)
    for index in range(WAITING_MESSAGES_MAX):
        desk.come(index % 2, of=series(2, index // 2), kid=b"made%04d" % index)
    lost = [event for event in desk.events if isinstance(event, Lost)]
    assert lost == [Lost(series(2, 0), Span(n, n + 1), LossReason.NO_KEY) for n in range(2)]

    desk.keys.kids.add(LATER_KID)
    desk.subscriber.on_epochs(at(5))
    assert [e.index for e in desk.events if isinstance(e, Message) and e.series == ONE] == [0, 1, 2]


def test_a_whole_history_waits_for_its_epoch() -> None:
    desk = Desk()
    desk.come(*range(HISTORY_MESSAGES_MAX), kid=KID)
    desk.come(*range(HISTORY_MESSAGES_MAX), of=TWO, kid=KID)
    assert desk.others == [WantsEpochs(KID)]

    desk.keys.kids.add(KID)
    desk.subscriber.on_epochs(at(5))
    assert len(desk.told) == 2 * HISTORY_MESSAGES_MAX
    assert desk.subscriber.waiting == 0


def test_a_crowd_of_throw_away_senders_does_not_have_one_that_was_heard_before_go_on_without_what_it_waits_for() -> (
    None
):
    desk = Desk()
    desk.come(0)
    for number in range(WAITING_MESSAGES_MAX - 2):
        desk.come(1, of=series(100 + number))
    desk.come(2, 3)
    for number in range(50):
        desk.come(1, of=series(100_000 + number))
    assert desk.subscriber.waiting == WAITING_MESSAGES_MAX
    desk.come(1)

    of_one = [event for event in desk.events if not isinstance(event, WantsEpochs) and event.series == ONE]
    assert not any(isinstance(event, Lost) for event in of_one)
    told = [(event.index, event.is_late) for event in of_one if isinstance(event, Message)]
    assert told == [(0, False), (1, False), (2, False), (3, False)]


def test_a_crowd_with_much_each_pays_before_a_newcomer_though_it_was_heard() -> None:
    desk = Desk()
    for number in range(66):
        desk.come(0, of=series(100 + number))
        desk.come(*range(2, 64), of=series(100 + number))
    desk.come(1, 2)
    desk.come(2, of=series(99))
    desk.come(2, of=series(98))
    desk.come(0)

    lost = [event for event in desk.events if isinstance(event, Lost)]
    assert all(event.series.sender in [series(100 + number).sender for number in range(66)] for event in lost)
    told = [event.index for event in desk.events if isinstance(event, Message) and event.series == ONE]
    assert told == [0, 1, 2]


def test_who_was_heard_in_another_session_was_heard() -> None:
    desk = Desk()
    desk.come(0, of=series(1, 1))
    desk.come(1, of=series(1, 2))
    for number in range(WAITING_MESSAGES_MAX):
        desk.come(1, of=series(100 + number))

    lost = [event for event in desk.events if isinstance(event, Lost)]
    assert len(lost) == 1
    assert lost[0].series.sender != ONE.sender


def test_who_leaves_gaps_in_many_sessions_has_these_given_up() -> None:
    desk = Desk()
    desk.come(*range(1, 101))
    for number in range(WAITING_MESSAGES_MAX // 2):
        desk.come(0, 2, 3, of=series(2, number))

    assert {e.series.sender for e in desk.events if isinstance(e, Lost)} == {TWO.sender}
    assert WAITING_MESSAGES_MAX - 2 <= desk.subscriber.waiting <= WAITING_MESSAGES_MAX
    desk.come(0)
    assert [e.index for e in desk.events if isinstance(e, Message) and e.series == ONE] == list(range(101))


def test_who_sends_the_largest_pays_where_bytes_are_too_many() -> None:
    desk = Desk()
    desk.come(*range(1, 1_001))
    size = 60_000
    for index in range(1, WAITING_BYTES_MAX // size + 2):
        desk.come(index, of=TWO, data=index.to_bytes(4) + bytes(size))

    assert [e for e in desk.events if isinstance(e, Lost)] == [Lost(TWO, Span(0, 1), LossReason.NO_ROOM)]


def test_who_made_room_for_others_has_what_is_older_given_up_in_time() -> None:
    desk = Desk()
    desk.come(0, of=TWO, kid=KID)
    for index in range(3):
        desk.come(index, kid=LATER_KID, now=1)
    desk.tick(EPOCH_GIVE_UP_S)

    assert [e for e in desk.events if isinstance(e, Lost)] == [Lost(TWO, Span(0, 1), LossReason.NO_KEY)]


def test_messages_that_wait_for_an_earlier_one_are_bounded() -> None:
    desk = Desk()
    for index in range(1, WAITING_MESSAGES_MAX + 2):
        desk.come(index)

    assert desk.told == list(range(1, WAITING_MESSAGES_MAX + 2))
    assert desk.others == [Gap(ONE, Span(0, 1)), Lost(ONE, Span(0, 1), LossReason.NO_ROOM)]


def test_their_bytes_are_bounded_and_the_sender_of_most_goes_on() -> None:
    desk = Desk()
    desk.come(1, of=TWO)
    size = 60_000
    for index in range(1, WAITING_BYTES_MAX // size + 2):
        desk.come(index, data=index.to_bytes(4) + bytes(size))

    assert desk.told[:2] == [1, 2]
    assert [e for e in desk.events if isinstance(e, Lost)] == [Lost(ONE, Span(0, 1), LossReason.NO_ROOM)]
    assert desk.subscriber.waiting == 1


def test_a_sender_that_begins_anew_for_each_message_is_told_once_over_restarts() -> None:
    """As `yz pub` from cron."""
    desk = Desk()
    for number in range(HISTORY_MESSAGES_MAX):
        desk.come(0, of=series(1, number))
    assert len(desk.told) == HISTORY_MESSAGES_MAX

    again = Desk(cursor=desk.taken.encode())
    for number in range(HISTORY_MESSAGES_MAX):
        again.come(0, of=series(1, number), is_live=False)
    assert again.events == []


def test_throw_away_senders_do_not_have_a_message_of_others_told_twice() -> None:
    desk = Desk(cursor=stranded(Desk()).encode())
    assert ONE not in list(desk.cursor)

    desk.come(0, 1, is_live=False)
    assert desk.events == [Refused(ONE, index, RefusalReason.FORGOTTEN) for index in range(2)]
    again = Desk(cursor=desk.taken.encode())
    again.come(0, 1, is_live=False)
    again.come(2, created=WALL + 1)
    assert again.told == [2]
    assert again.others == []


def stranded(desk: Desk) -> Cursor:
    """Where a subscriber is that heard one sender, and then more strangers than it remembers."""
    desk.come(0, 1)
    for number in range(CURSOR_SERIES_MAX):
        desk.come(0, of=series(1_000 + number))
    return desk.taken


def test_what_a_series_says_anew_is_told_though_its_window_was_forgotten() -> None:
    desk = Desk(cursor=stranded(Desk()).encode())
    desk.come(2, created=WALL + 1)
    desk.come(0, 1, is_live=False)

    assert desk.told == [2]
    assert desk.others == [
        Gap(ONE, Span(0, 2)),
        Refused(ONE, 0, RefusalReason.FORGOTTEN),
        Filled(ONE, Span(0, 2)),
        Refused(ONE, 1, RefusalReason.FORGOTTEN),
    ]


def test_what_was_lost_of_a_series_that_was_forgotten_stays_so() -> None:
    late = Desk(cursor=stranded(Desk()).encode())
    late.come(2, created=WALL + 1)
    late.subscriber.on_lost(ONE, Span(0, 2), at(30))
    late = Desk(cursor=late.taken.encode())
    late.come(0, 1, now=40, is_live=False)
    assert late.told == []


def test_what_waits_in_a_series_that_is_forgotten_is_given_up_aloud() -> None:
    desk = Desk(KID)
    desk.come(0, 2, 4, kid=KID)
    desk.come(3, 5, kid=LATER_KID)
    desk.subscriber.on_lost(ONE, Span(7, 9), at(0))
    for number in range(SENDER_SESSIONS_MAX):  # what these wait for does not come, either
        desk.come(1, of=series(1, 1_000 + number))

    assert ONE not in list(desk.cursor)
    assert [e.index for e in desk.events if isinstance(e, Message) and e.series == ONE] == [0, 2, 4]
    lost = [(*e.span, e.reason) for e in desk.events if isinstance(e, Lost) and e.series == ONE]
    assert lost == [
        (1, 2, LossReason.NO_ROOM),
        (3, 4, LossReason.NO_ROOM),
        (5, 7, LossReason.NO_ROOM),
        (7, 9, LossReason.NOBODY_HAS_IT),
    ]
    desk.tick(EPOCH_GIVE_UP_S)
    desk.subscriber.on_epochs(at(EPOCH_GIVE_UP_S))


def test_strangers_whose_clocks_are_ahead_do_not_keep_who_begins_from_being_heard() -> None:
    desk = Desk()
    for number in range(CURSOR_SERIES_MAX + 1):
        desk.come(0, of=series(1_000 + number), created=WALL + 60)
    desk.events.clear()
    desk.come(0, of=ONE, now=1, created=WALL + 1)

    assert [type(event) for event in desk.events] == [Message]


def test_strangers_whose_clocks_are_ahead_do_not_keep_who_is_slow_to_begin_from_being_heard() -> None:
    desk = Desk()
    for number in range(2 * CURSOR_SERIES_MAX):  # 100 a second
        second = number // 100
        desk.come(0, of=series(1_000 + number), created=WALL + second + 60, now=second)
    desk.events.clear()
    end = 2 * CURSOR_SERIES_MAX // 100
    desk.come(0, of=ONE, now=end, created=WALL + end - FORGOTTEN_BEHIND_S + 1)

    assert [type(event) for event in desk.events] == [Message]


@pytest.mark.parametrize("ahead_s", [0, 1, FORGOTTEN_SKEW_S])
def test_strangers_have_nothing_told_again_of_whose_clock_is_ahead(ahead_s: int) -> None:
    desk = Desk()
    desk.come(0, 1, created=WALL + ahead_s)
    for number in range(CURSOR_SERIES_MAX):
        second = number // 1_000
        desk.come(0, of=series(1_000 + number), created=WALL - 500 + second, now=second)
    later = Desk(cursor=desk.taken.encode())
    later.come(0, 1, created=WALL + ahead_s, now=9, is_live=False)

    assert later.told == []


def test_what_is_awaited_is_told_after_a_restart_however_many_strangers_spoke() -> None:
    desk = Desk()
    desk.come(0, 2)
    for number in range(2 * CURSOR_SERIES_MAX):
        desk.come(0, of=series(1_000 + number))
    later = Desk(cursor=desk.taken.encode())
    later.come(1, 2, is_live=False)

    assert later.told == [1, 2]


def test_strangers_who_say_one_thing_each_have_nobody_forgotten_of_whom_something_is_awaited() -> None:
    desk = Desk()
    desk.come(0, 2)
    for number in range(2 * CURSOR_SERIES_MAX):
        desk.come(0, of=series(1_000 + number))
    desk.come(1, 3)

    assert [e.index for e in desk.events if isinstance(e, Message) and e.series == ONE] == [0, 1, 2, 3]
    assert not any(isinstance(e, Lost) for e in desk.events)


def test_the_window_of_a_silent_sender_is_forgotten_in_time() -> None:
    desk = Desk()
    desk.come(0, 2)
    desk.subscriber.on_lost(ONE, Span(1, 2), at(30))
    desk.tick(REPLAY_KEPT_S + 1)
    desk.come(1, now=REPLAY_KEPT_S + 2)
    assert desk.told == [0, 2]

    desk.come(3, now=REPLAY_KEPT_S + 3)
    assert desk.told == [0, 2, 3]


# Lists of owners


def test_what_waits_of_a_writer_who_is_listed_no_more_is_not_told() -> None:
    listed = {ONE.sender}
    desk = Desk(is_member=listed.__contains__, may_tell=listed.__contains__)
    desk.come(1)
    listed.clear()
    desk.subscriber.on_lost(ONE, Span(0, 1), at(30))

    assert desk.told == []
    assert desk.others[-1] == Refused(ONE, 1, RefusalReason.NO_WRITER)
    assert desk.subscriber.waiting == 0


def test_what_waits_of_a_member_who_is_removed_is_told() -> None:
    members = {ONE.sender}
    desk = Desk(is_member=members.__contains__)
    desk.come(1)
    members.clear()
    desk.subscriber.on_lost(ONE, Span(0, 1), at(30))

    assert desk.told == [1]


# With a feed


def test_a_key_that_comes_late_loses_nothing() -> None:
    world = World(1, 2, 3)
    ear = world.listen(keys=Keys(KID))
    world.run(1)
    world.publish(ONE, range(3), kid=KID)
    world.publish(ONE, range(3, 6), kid=LATER_KID)
    world.run(10)
    assert ear.indexes == [0, 1, 2]

    ear.keys.kids.add(LATER_KID)
    ear.subscriber.on_epochs(world.now)
    assert ear.indexes == list(range(6))


def test_an_old_message_that_a_host_replays_as_live_is_not_told_as_live() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, [0], number_of(ear.feed.pusher) or 0, created=WALL - 3_600)
    world.run(1)

    assert [message.is_history for message in ear.messages] == [True]


def test_a_sender_who_begins_a_session_for_each_message_of_a_history_is_told_once_over_a_restart() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    for number in range(HISTORY_MESSAGES_MAX):
        world.publish(series(1, number), [0])
    world.run(5)
    assert len(ear.messages) == HISTORY_MESSAGES_MAX
    cursor = ear.cursor.encode()
    ear.stop()

    again = world.listen(cursor)
    world.run(5)
    assert again.messages == []


def test_a_series_whose_window_was_forgotten_goes_on_where_it_was() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, range(3))
    world.run(1)
    ear.subscriber._cursor.forget([ONE])  # as where too many sessions came after it
    world.publish(ONE, range(3, 6), created=WALL + 1)
    world.run(1)

    assert ear.indexes == list(range(6))
    assert ear.gaps == ear.lost == []


def test_what_waited_in_a_series_whose_window_was_forgotten_is_told_and_what_was_missing_comes_late() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, [0, 1, 4, 5])
    world.run(1)
    assert ear.indexes == [0, 1]
    ear.subscriber._give_up(ONE, world.now)
    ear.subscriber._cursor.forget([ONE])
    assert (ear.indexes, ear.lost) == ([0, 1, 4, 5], [Span(2, 4)])
    world.publish(ONE, [2, 3, 6], created=WALL + 1)
    world.run(5)

    assert ear.indexes == [0, 1, 4, 5, 2, 3, 6]
    assert [message.index for message in ear.messages if message.is_late] == [2, 3]
    assert ear.lost == [Span(2, 4)]


def test_who_is_seen_to_be_a_member_only_after_the_beginning_goes_on_where_hosts_were() -> None:
    members = {TWO.sender}
    world = World(1, 2, 3)
    world.publish(ONE, range(7))
    ear = world.listen(Start.LIVE, is_member=members.__contains__)
    world.run(3)
    members.add(ONE.sender)
    ear.feed.look_again(world.now)
    world.publish(ONE, [7, 8])
    world.run(3)

    assert ear.indexes == [7, 8]
    assert ear.gaps == ear.lost == []
    cursor = ear.cursor.encode()
    ear.stop()
    again = world.listen(cursor)
    world.run(3)
    assert again.messages == []


def test_a_whole_history_and_what_is_said_meanwhile_arrive_in_order_over_slow_roads() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(HISTORY_MESSAGES_MAX))
    world.delay = lambda: 0.3
    ear = world.listen()
    for index in range(HISTORY_MESSAGES_MAX, HISTORY_MESSAGES_MAX + 200):
        world.publish(ONE, [index])
        world.run(0.02)
    world.run(60)

    assert ear.indexes == sorted(ear.indexes)
    begins = next(event.index for event in ear.events if isinstance(event, Begins))
    lost = sum(span.to - span.start for span in ear.lost)  # hosts had no room for it any more
    assert len(ear.indexes) + lost + begins == HISTORY_MESSAGES_MAX + 200
    assert ear.indexes[-HISTORY_MESSAGES_MAX:] == list(range(200, HISTORY_MESSAGES_MAX + 200))


def test_a_member_whose_index_jumps_harms_its_own_series_alone() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, [INDEX_MAX])
    world.publish(TWO, range(3))
    world.run(1)
    assert [m.index for m in ear.messages] == [0, 1, 2]

    world.run(GAP_GIVE_UP_S + 5)
    assert ear.lost == [Span(0, INDEX_MAX)]
    assert ear.indexes == [0, 1, 2, INDEX_MAX]

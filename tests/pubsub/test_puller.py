from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_feed import TOPIC, at, contact, forged, raw, row, series
from yzdht.errors import StoreError
from yzdht.ids import TopicId
from yzdht.limits import (
    FEED_GAP_LOOK_S,
    GAP_AGAIN_MAX,
    GAP_GIVE_UP_S,
    HOLES_MAX,
    PULL_DOUBTED_MAX,
    PULL_GUESSES_MAX,
    PULL_LATE_S,
    PULL_MESSAGES_MAX,
    PULL_RETRY_S_MIN,
    PULLS_PER_SOURCE_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.puller import Puller
from yzdht.rpc.engine import Answer, Call, Cancel, Failed, FailReason
from yzdht.wire.holdings import Holdings, Series, Span
from yzdht.wire.rpc import Backlog, BacklogPage, Body, Method, Range, Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Now
    from yzdht.wire.address import Contact
    from yzdht.wire.holdings import Held
    from yzdht.wire.pubsub import PubsubEnvelope


ONE = series(1)
TIMEOUT = Failed(FailReason.TIMEOUT)


class Desk:
    """A puller whose requests a test answers by hand, and an owner that takes what is genuine."""

    def __init__(self, hosts_per_source: int = 1) -> None:
        self.holdings = Holdings()
        self.is_unreadable = False
        self.outbox = Outbox()
        self.came: list[tuple[int, int]] = []
        self.unfillable: list[Span] = []
        self.open: list[Call] = []
        self.puller = Puller(
            TOPIC, self._held, self.outbox, self._take, self._note, hosts_per_source=hosts_per_source
        )

    def _held(self, name: Series) -> Held:
        if self.is_unreadable:
            raise StoreError("the disk is gone")
        return self.holdings.of(name)

    def _take(self, envelope: PubsubEnvelope, source: Contact, _now: Now) -> bool:
        name = Series(envelope.sender, envelope.session)
        if envelope.raw != raw(name, envelope.index):
            return False
        self.came.append((int.from_bytes(source.node_id), envelope.index))
        self.holdings.add(name, envelope.index)
        return True

    def _note(self, _name: Series, span: Span, _now: Now) -> None:
        self.unfillable.append(span)

    def look(self) -> list[Call]:
        for item in self.outbox.take():
            if isinstance(item, Call):
                self.open.append(item)
            elif isinstance(item, Cancel):
                self.open = [call for call in self.open if call.call != item.call]
        return self.open

    def asked(self) -> list[tuple[int, list[tuple[int, int]]]]:
        return [(int.from_bytes(call.contact.node_id), spans(call)) for call in self.look()]

    def answer(self, outcome: Answer | Failed, now: float, which: int = 0) -> None:
        call = self.look().pop(which)
        self.outbox.on_answer(call.call, outcome, at(now))

    def send(self, now: float, *indexes: int, more: bool = False, which: int = 0) -> None:
        self.answer(page(*(raw(ONE, index) for index in indexes), more=more), now, which)

    def run(self, mono: float) -> None:
        """Let the time come, as far as something is due until then."""
        while (due := self.puller.next_timer()) is not None and due <= mono:
            self.puller.handle_timer(at(due))


def spans(call: Call) -> list[tuple[int, int]]:
    assert isinstance(call.body, Backlog)
    assert call.method is Method.BACKLOG
    return [(r.start, r.to) for r in call.body.ranges]


def page(*envelopes: bytes, more: bool = False) -> Answer:
    return Answer(Status.OK, BacklogPage(envelopes, more))


def test_what_a_source_claims_and_is_missing_is_asked_of_it() -> None:
    desk = Desk()
    desk.holdings.add(ONE, 1)

    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(0))

    assert desk.asked() == [(5, [(0, 1), (2, 4)])]
    desk.send(0.1, 0, 2, 3)
    assert desk.came == [(5, 0), (5, 2), (5, 3)]
    assert desk.asked() == []
    assert desk.puller.is_idle


def test_one_message_is_asked_of_one_source_at_a_time() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 6)], at(0))

    assert desk.asked() == [(5, [(0, 4)]), (6, [(4, 6)])]


def test_a_long_history_is_asked_of_all_sources_a_part_of_each() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 3 * PULL_MESSAGES_MAX)], at(0))
    desk.puller.hear(contact(7), [row(ONE, 0, 3 * PULL_MESSAGES_MAX)], at(0))

    n = PULL_MESSAGES_MAX
    assert desk.asked() == [(6, [(0, n)]), (6, [(n, 2 * n)]), (7, [(2 * n, 3 * n)])]


def test_no_source_is_asked_more_than_twice_at_once() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 10 * PULL_MESSAGES_MAX)], at(0))

    assert len(desk.asked()) == PULLS_PER_SOURCE_MAX


def test_of_each_series_a_like_part_is_asked_for_and_more_of_one_where_others_have_less() -> None:
    desk = Desk()
    two, three = series(2), series(3)
    desk.puller.hear(contact(5), [row(two, 0, 1_000_000), row(ONE, 0, 200), row(three, 0, 6)], at(0))

    part = PULL_MESSAGES_MAX // 3
    call = desk.look()[0]
    assert isinstance(call.body, Backlog)
    assert call.body.ranges == (
        Range(*two, 0, PULL_MESSAGES_MAX - part - 6),
        Range(*ONE, 0, part),
        Range(*three, 0, 6),
    )


@pytest.mark.parametrize("liars", [1, 200, 700])
def test_what_somebody_claims_and_nobody_has_does_not_hold_up_the_rest(liars: int) -> None:
    desk = Desk()
    claimed = [*(row(series(9, number), 0, 1_000_000) for number in range(liars)), row(ONE, 0, 300)]
    desk.puller.hear(contact(5), claimed, at(0))
    now = 0.0
    while len(desk.came) < 300:
        now = desk.puller.next_timer() or now if not desk.look() else now + 0.1
        assert now < 10.0
        desk.puller.handle_timer(at(now))
        for call in list(desk.look()):
            assert isinstance(call.body, Backlog)
            there = [
                i
                for r in call.body.ranges
                if Series(r.sender, r.session) == ONE
                for i in range(r.start, r.to)
            ]
            desk.send(now, *there)


def test_one_of_many_more_series_than_are_asked_of_at_once_does_not_take_the_place_of_the_others() -> None:
    desk = Desk()
    greedy = [row(series(9, number), 0, 1_000_000) for number in range(3 * PULL_MESSAGES_MAX)]
    desk.puller.hear(contact(5), greedy, at(0))

    (call, *_) = desk.look()

    assert isinstance(call.body, Backlog)
    assert [r.to - r.start for r in call.body.ranges] == [1] * PULL_MESSAGES_MAX


def test_who_no_longer_has_thousands_of_messages_pauses_once() -> None:
    desk = Desk()
    gone = [row(series(9, number), 0, 1) for number in range(20 * PULL_MESSAGES_MAX)]
    desk.puller.hear(contact(5), gone, at(0))
    while desk.look():
        desk.send(0.1)

    assert desk.puller.next_timer() == pytest.approx(0.1 + PULL_RETRY_S_MIN)


def test_requests_that_fail_together_are_one_failure() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 10 * PULL_MESSAGES_MAX)], at(0))
    while desk.look():
        desk.answer(TIMEOUT, 10.0)

    assert desk.puller.next_timer() == pytest.approx(10.0 + PULL_RETRY_S_MIN)


def test_who_is_busy_and_limits_rates_in_turn_is_left_alone_for_as_long() -> None:
    desk, now, asked = Desk(), 0.0, 0
    desk.puller.hear(contact(5), [row(ONE, 0, 10 * PULL_MESSAGES_MAX)], at(0))
    while now < 30.0:
        while desk.look():
            asked += 1
            refusal = Answer(Status.RATE_LIMITED if asked % 2 else Status.BUSY, Refusal(1))
            desk.answer(refusal, now)
        timer = desk.puller.next_timer()
        assert timer is not None
        now = max(now, timer)
        desk.puller.handle_timer(at(now))

    assert asked < 40


def test_what_was_not_sent_is_asked_for_again_a_little_at_a_time_and_all_of_it_in_turn() -> None:
    desk = Desk()
    bogus = [series(9, number) for number in range(2 * PULL_DOUBTED_MAX)]
    desk.puller.hear(contact(5), [row(name, 0, 1_000_000) for name in bogus], at(0))
    for _ in range(PULLS_PER_SOURCE_MAX):
        desk.send(0.1)
    desk.puller.hear(contact(5), [row(ONE, 0, 10_000)], at(5.0))

    asked = set()
    for _ in range(2 * PULLS_PER_SOURCE_MAX):
        call = desk.look()[0]
        assert isinstance(call.body, Backlog)
        first, *rest = call.body.ranges
        assert (first.sender, first.session) == ONE
        assert first.to - first.start == PULL_MESSAGES_MAX * 3 // 4
        assert len(rest) == PULL_DOUBTED_MAX
        asked |= {Series(r.sender, r.session) for r in rest}
        desk.send(5.1, *range(first.start, first.to))
    assert asked == set(bogus)


def test_what_a_node_with_more_hosts_left_out_is_asked_of_it_again() -> None:
    desk = Desk(hosts_per_source=3)
    desk.puller.hear(contact(1), [row(ONE, 0, 5)], at(0))
    desk.send(0.1, 3, more=True)  # one of its hosts has only that, the others did not answer
    assert desk.asked() == [(1, [(0, 3), (4, 5)])]
    desk.send(0.2, 0, 1, 2, 4)

    assert [index for _, index in desk.came] == [3, 0, 1, 2, 4]
    assert desk.puller.is_idle


def test_a_request_names_no_more_ranges_than_it_may() -> None:
    desk = Desk()
    rows = [row(series(2, n), 0, 200, *range(1, 128, 2)) for n in range(5)]
    desk.puller.hear(contact(5), rows, at(0))

    for call in desk.look():
        assert isinstance(call.body, Backlog)
        assert len(call.body.ranges) <= SUMMARY_ROWS_MAX
        assert sum(r.to - r.start for r in call.body.ranges) <= PULL_MESSAGES_MAX


def test_a_page_that_was_cut_is_gone_on_with() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(0))
    desk.send(0.1, 0, 1, more=True)

    assert desk.asked() == [(5, [(2, 4)])]


def test_what_a_source_left_out_of_a_cut_page_counts_as_withheld() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(0))
    desk.send(0.1, 0, 2, more=True)

    assert desk.asked() == [(5, [(3, 4)])]


def test_what_one_source_withholds_is_asked_of_another() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 4)], at(0))
    desk.send(0.1, 0, 1, 3)

    assert desk.asked() == [(6, [(2, 3)])]
    desk.puller.hear(contact(5), [row(ONE, 0, 5)], at(0.2))  # it says so again
    desk.send(0.3, 2)
    assert (6, 2) in desk.came


def test_who_sends_nothing_is_left_alone_for_a_while() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(0))
    desk.send(0.1)
    desk.puller.hear(contact(5), [row(ONE, 0, 9)], at(0.2))

    assert desk.asked() == []
    assert desk.puller.next_timer() == 0.1 + PULL_RETRY_S_MIN
    desk.puller.handle_timer(at(0.1 + PULL_RETRY_S_MIN))
    assert desk.asked() == [(5, [(4, 9)])]


def test_who_did_not_send_one_thing_is_asked_for_another_at_once() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(series(9), 0, 1_000_000)], at(0))
    now = asks = 0.0
    while now < 300.0:
        while desk.look():
            desk.send(now + 0.1)
            asks += 1
        now = desk.puller.next_timer() or 300.0
        desk.puller.handle_timer(at(now))
    assert asks < 30  # that, it is asked for ever more seldom
    while desk.look():
        desk.send(now)

    desk.puller.hear(contact(5), [row(ONE, 0, 4)], at(now + 0.2))
    assert desk.asked() == [(5, [(0, 4)])]


def test_a_call_that_fails_goes_to_another_and_is_tried_again_later() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 1)], at(0))
    desk.answer(TIMEOUT, 0.1)

    assert desk.asked() == [(6, [(0, 1)])]
    desk.puller.handle_timer(at(1.0))
    assert desk.asked() == [(6, [(0, 1)]), (5, [(1, 2)])]


def test_a_slow_source_does_not_hold_up_what_another_has_too() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 2)], at(0))
    assert desk.puller.next_timer() == PULL_LATE_S

    desk.puller.handle_timer(at(PULL_LATE_S))

    assert desk.asked() == [(5, [(0, 2)]), (6, [(0, 2)])]
    desk.send(2, 0, 1, which=1)
    desk.send(3, 0, 1)
    assert desk.came == [(6, 0), (6, 1), (5, 0), (5, 1)]  # the owner knows what it has


def test_who_says_that_it_is_asked_too_much_is_asked_when_it_says() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(0))
    desk.answer(Answer(Status.RATE_LIMITED, Refusal(7_000)), 1.0)

    assert desk.puller.next_timer() == 8.0
    desk.puller.handle_timer(at(8.0))
    assert desk.asked() == [(5, [(0, 2)])]


@pytest.mark.parametrize("status", [Status.REFUSED, Status.NOT_FOUND, Status.UNKNOWN_METHOD])
def test_who_is_no_host_any_more_claims_nothing(status: Status) -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(0))
    desk.answer(Answer(status, Refusal()), 0.1)
    desk.puller.handle_timer(at(100))

    assert desk.asked() == []
    assert desk.puller.is_idle


def test_what_a_source_that_is_gone_was_asked_for_is_asked_of_another() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 2)], at(0))
    desk.puller.drop(contact(5).node_id, at(0.1))

    assert desk.asked() == [(6, [(0, 2)])]
    assert desk.puller.sources == (contact(6).node_id,)


def test_after_something_forged_nothing_more_is_taken_of_an_answer() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 3)], at(0))
    desk.puller.hear(contact(6), [row(ONE, 0, 3)], at(0))
    desk.answer(page(raw(ONE, 0), forged(raw(ONE, 1)), raw(ONE, 2)), 0.1)

    assert desk.came == [(5, 0)]
    assert desk.asked() == [(6, [(1, 3)])]


def test_what_was_not_asked_for_is_not_handed_on() -> None:
    others = TopicId(bytes(16))
    for stray in (raw(ONE, 9), raw(series(7), 0), raw(ONE, 0, topic=others), b"junk"):
        desk = Desk()
        desk.puller.hear(contact(5), [row(ONE, 0, 3)], at(0))
        desk.answer(page(stray, raw(ONE, 1)), 0.1)

        assert desk.came == []


def test_a_source_that_claims_four_billion_messages_is_asked_ever_more_seldom() -> None:
    desk = Desk()
    now, calls = 0.0, 0
    desk.puller.hear(contact(5), [row(ONE, 0, 2**32 - 1)], at(0))
    while now < 600 and calls < 1_000:
        while desk.look():
            calls += 1
            desk.send(now)
        timer = desk.puller.next_timer()
        assert timer is not None
        now = max(now, timer)
        desk.puller.handle_timer(at(now))

    assert calls < 40


def test_a_gap_that_nobody_can_fill_is_told_once() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [], at(0))
    desk.holdings.add(ONE, 2)
    desk.puller.look(ONE, at(1))
    assert desk.puller.has_gaps
    assert desk.puller.next_timer() == 1 + FEED_GAP_LOOK_S

    desk.run(1 + GAP_GIVE_UP_S - 0.1)
    assert desk.unfillable == []
    desk.run(60)

    assert desk.unfillable == [Span(0, 2)]
    assert not desk.puller.has_gaps


def test_no_gap_is_given_up_while_there_is_nobody_to_ask() -> None:
    desk = Desk()
    desk.holdings.add(ONE, 2)
    desk.puller.look(ONE, at(1))
    desk.puller.handle_timer(at(500))

    assert desk.unfillable == []
    assert desk.puller.next_timer() is None


def one_that_lacks_a_message() -> Desk:
    """Of the source 5, since a second."""
    desk = Desk()
    desk.puller.hear(contact(5), [], at(0))
    for index in (0, 2):
        desk.holdings.add(ONE, index)
    desk.puller.look(ONE, at(1))
    return desk


AWAY_S = pytest.mark.parametrize("away_s", [5.0, 40.0, 130.0])


@AWAY_S
def test_what_a_source_has_that_comes_back_after_another_is_asked_of_it_before_it_is_given_up(
    away_s: float,
) -> None:
    desk = one_that_lacks_a_message()
    desk.puller.drop(contact(5).node_id, at(2))
    assert desk.puller.next_timer() is None
    back = 2 + away_s

    desk.puller.hear(contact(5), [], at(back))
    desk.run(back + 2)
    assert desk.puller.has_gaps
    desk.puller.hear(contact(6), [row(ONE, 0, 3)], at(back + 2))
    desk.send(back + 3, 1)

    assert desk.came == [(6, 1)]
    desk.run(back + 300)
    assert desk.unfillable == []


@AWAY_S
def test_what_a_source_has_is_asked_of_it_before_it_is_given_up_in_a_process_that_was_stopped(
    away_s: float,
) -> None:
    desk = one_that_lacks_a_message()
    woken = 2 + away_s

    desk.puller.hear(contact(6), [], at(woken))
    desk.puller.handle_timer(at(woken))
    desk.run(woken + 2)
    desk.puller.hear(contact(7), [row(ONE, 0, 3)], at(woken + 2))
    desk.send(woken + 3, 1)

    assert desk.came == [(7, 1)]
    assert desk.unfillable == []


def test_a_source_that_comes_while_another_is_there_makes_no_gap_younger() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [], at(0))
    desk.holdings.add(ONE, 1)
    desk.puller.look(ONE, at(0))
    desk.run(20)
    desk.puller.hear(contact(6), [], at(20))
    desk.puller.drop(contact(5).node_id, at(21))
    desk.run(GAP_GIVE_UP_S)

    assert desk.unfillable == [Span(0, 1)]


def test_sources_that_come_and_go_keep_no_gap_open_for_ever() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [], at(0))
    desk.holdings.add(ONE, 1)
    desk.puller.look(ONE, at(0))
    mono = 0.0
    for _ in range(GAP_AGAIN_MAX + 1):
        desk.run(mono + GAP_GIVE_UP_S - 2)
        desk.puller.drop(contact(5).node_id, at(mono + GAP_GIVE_UP_S - 2))
        mono += 100
        desk.puller.hear(contact(5), [], at(mono))
    assert desk.unfillable == []
    desk.run(mono + 2)

    assert desk.unfillable == [Span(0, 1)]


def test_what_is_claimed_beyond_all_that_is_here_is_no_gap() -> None:
    """Whoever lies about messages that never were must not have them declared lost."""
    desk = Desk()
    desk.holdings.add(ONE, 0)
    desk.puller.hear(contact(5), [row(ONE, 0, 1_000)], at(0))
    desk.send(0.1)
    desk.puller.handle_timer(at(500))

    assert desk.unfillable == []


def test_what_comes_after_it_was_given_up_is_fetched_all_the_same() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [], at(0))
    desk.holdings.add(ONE, 1)
    desk.puller.look(ONE, at(0))
    desk.run(GAP_GIVE_UP_S)
    assert desk.unfillable == [Span(0, 1)]

    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(90))
    desk.send(91, 0)

    assert desk.came == [(5, 0)]


def test_a_node_that_asks_itself_has_a_long_answer_without_a_deep_stack() -> None:
    holdings, came = Holdings(), list[int]()

    class Home:
        def call(
            self,
            contact: Contact,
            method: Method,
            body: Body,
            deadline_s: float,
            then: Callable[[Answer | Failed, Now], None],
        ) -> int:
            assert isinstance(body, Backlog)
            first: Range = body.ranges[0]
            then(page(raw(ONE, first.start), more=first.to - first.start > 1), at(0))
            return 1

        def cancel(self, call: int) -> None:
            raise AssertionError

    def take(envelope: PubsubEnvelope, _source: Contact, _now: Now) -> bool:
        came.append(envelope.index)
        return holdings.add(ONE, envelope.index)

    puller = Puller(TOPIC, holdings.of, Home(), take, lambda *_: None)
    puller.hear(contact(5), [row(ONE, 0, 1_000)], at(0))

    assert came == list(range(1_000))


def test_an_owner_who_cannot_say_what_it_has_is_asked_again_and_fetching_goes_on() -> None:
    desk = Desk()
    for number in (5, 6):
        desk.puller.hear(contact(number), [row(ONE, 0, 2)], at(0))
    assert desk.asked() == [(5, [(0, 2)])]
    desk.is_unreadable = True
    with pytest.raises(StoreError):
        desk.puller.drop(contact(5).node_id, at(1))
    desk.is_unreadable = False
    desk.puller.handle_timer(at(2))
    assert desk.asked() == [(6, [(0, 2)])]
    desk.send(2, 0, 1)

    assert desk.holdings.of(ONE).next == 2


def test_nothing_is_asked_or_told_after_the_end() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [row(ONE, 0, 2)], at(0))
    desk.puller.stop()

    assert desk.asked() == []
    desk.puller.handle_timer(at(900))
    assert desk.puller.next_timer() is None


CUT = row(ONE, 1_000, 1_200, *range(1_001, 1_001 + HOLES_MAX))


def test_what_a_row_with_all_holes_may_leave_out_is_asked_for_and_nobody_is_blamed_for_it() -> None:
    desk = Desk()
    desk.puller.hear(contact(5), [CUT], at(0), asks_below=True)
    asked, now = set[int](), 0.0
    while desk.look():
        wanted = {index for start, to in spans(desk.open[0]) for index in range(start, to)}
        asked |= wanted
        now += 0.01
        upper = range(1_065, 1_200)
        desk.send(now, *sorted(wanted & {1_000, 40, 41, *upper}))
    assert asked == set(range(1_200)) - set(CUT.holes)
    assert (5, 40) in desk.came
    assert now < 1.0  # nobody was left alone for a while

    desk = Desk()
    desk.puller.hear(contact(5), [CUT], at(0))
    assert desk.asked()[0][1][0] == (1_000, 1_001)


def test_series_that_are_asked_for_below_what_was_told_are_bounded() -> None:
    desk = Desk()
    many = [row(series(n), 1_000, 1_100, *CUT.holes) for n in range(1, 100)]
    desk.puller.hear(contact(5), many, at(0), asks_below=True)
    assert len(desk.puller._sources[contact(5).node_id].guesses) == PULL_GUESSES_MAX

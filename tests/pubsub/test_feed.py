from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_feed import (
    TOPIC,
    WALL,
    World,
    at,
    contact,
    forged,
    held,
    listener,
    number_of,
    ranked,
    raw,
    row,
    series,
)
from yzdht.limits import (
    ANNOUNCE_EVERY_S,
    FEED_EARLY_MAX,
    FEED_SERIES_MAX,
    FEED_SETTLE_FEW_S,
    FEED_SETTLE_S,
    GAP_GIVE_UP_S,
    HISTORY_MESSAGES_MAX,
    HOLES_MAX,
    PULL_GRACE_S,
    PULL_MESSAGES_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.pubsub.events import Begins
from yzdht.pubsub.feed import Feed, FeedCounts, Start
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.sources import Surroundings
from yzdht.wire.holdings import Holdings, Span
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Method, Status


if TYPE_CHECKING:
    from tests.pubsub.kit_feed import Ear, Host
    from yzdht.ids import NodeId
    from yzdht.ports import Now
    from yzdht.wire.pubsub import PubsubEnvelope


ONE, TWO = series(1), series(2)


def pusher(ear: Ear) -> int:
    number = number_of(ear.feed.pusher)
    assert number is not None
    return number


def test_what_is_pushed_is_told_and_live() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, range(3))
    world.run(0.02)

    assert ear.indexes == [0, 1, 2]
    assert not any(message.is_history for message in ear.messages)
    assert ear.feed.counts == FeedCounts(pushed=3)


def test_a_late_joiner_has_the_history_and_it_is_marked() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(HISTORY_MESSAGES_MAX))
    ear = world.listen(Start.ALL)
    world.run(5)

    assert ear.indexes == list(range(HISTORY_MESSAGES_MAX))
    assert all(message.is_history for message in ear.messages)


def test_a_live_subscriber_is_told_nothing_of_what_hosts_had() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5))
    ear = world.listen(Start.LIVE)
    world.run(2)
    assert ear.events == [Begins(ONE, 5, WALL)]

    world.publish(ONE, [5])
    world.publish(TWO, [0])
    world.run(2)
    assert [(m.series, m.index, m.is_history) for m in ear.messages] == [(ONE, 5, False), (TWO, 0, False)]
    assert ear.lost == ear.gaps == []


def test_it_is_known_from_where_on_a_series_was_pushed_though_hosts_lie_of_what_they_had() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5), 2, 3)
    ear = world.listen(Start.ALL)
    world.hosts[1].lies = (row(ONE, 0, 1_000_000),)
    world.run(3)
    assert ear.indexes == [0, 1, 2, 3, 4]
    assert ear.feed.pushed_from == {}, "all of it was fetched"

    world.publish(ONE, range(5, 8))
    world.run(3)
    assert ear.indexes == list(range(8))
    assert ear.feed.pushed_from == {ONE: 5}


def test_series_of_which_it_is_known_from_where_on_they_were_pushed_are_bounded() -> None:
    world = World(1)
    ear = world.listen(Start.ALL)
    world.run(3)
    for number in range(FEED_SERIES_MAX + 5):
        world.publish(series(number + 10), [0])
        world.run(0.02)

    assert len(ear.feed.pushed_from) <= FEED_SERIES_MAX


def test_a_live_subscriber_begins_where_most_hosts_are() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5), 1)
    world.publish(ONE, range(9), 2, 3)
    ear = world.listen(Start.LIVE)
    world.run(5)

    assert ear.messages == []
    world.publish(ONE, [9], 2)
    world.run(5)
    assert ear.indexes == [9]


def test_a_host_that_names_a_number_far_ahead_silences_nobody() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5))
    world.hosts[2].lies = (row(ONE, 2**31, 2**31 + 5),)
    ear = world.listen(Start.LIVE)
    world.run(5)
    world.publish(ONE, [5])
    world.run(5)

    assert ear.indexes == [5]
    assert ear.lost == ear.gaps == []


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
@pytest.mark.parametrize("to", [2**31, 2**31 + 5])
def test_a_host_that_alone_names_a_series_silences_it_not(start: Start, to: int) -> None:
    world = World(1, 2, 3)
    world.hosts[2].lies = (row(ONE, 2**31, to),)
    ear = world.listen(start)
    world.run(5)
    world.publish(ONE, range(3))
    world.run(5)

    assert ear.indexes == [0, 1, 2]
    assert ear.lost == ear.gaps == []


def test_a_host_that_alone_names_a_series_has_who_comes_back_skip_nothing_of_it() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.publish(ONE, range(3))
    world.run(5)
    cursor = ear.cursor.encode()
    later = World(1, 2, 3)  # nothing of the series is left
    later.hosts[2].lies = (row(ONE, 2**31, 2**31),)
    again = later.listen(cursor)
    later.run(5)
    later.publish(ONE, range(3, 6))
    later.run(5)

    assert again.indexes == [3, 4, 5]
    assert again.lost == []
    later.hosts[2].lies = None
    once_more = later.listen(again.cursor.encode())
    later.publish(ONE, [6, 7])
    later.run(5)
    assert once_more.indexes == [6, 7]


def one_that_lies_with_those_that_it_names() -> World:
    """Of two series; 1 and 2, which are found as it is, have the beginning of one."""
    world = World(1, 2, 3, 4, 5, 6)
    world.publish(ONE, range(5), 1, 2)
    world.hosts[3].names = [4, 5, 6]
    for number in (3, 4, 5, 6):
        world.hosts[number].is_found = number == 3
        world.hosts[number].lies = (row(ONE, 2**31, 2**31), row(TWO, 2**31, 2**31))
    return world


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_hosts_that_a_host_names_have_no_say_in_where_a_series_begins(start: Start) -> None:
    world = one_that_lies_with_those_that_it_names()
    world.hosts[1].answers_after_s = 0.5  # until then all others have
    ear = world.listen(start)
    world.run(5)
    assert len(ear.feed.sources) == 6
    assert ear.feed.found_sources == tuple(contact(number).node_id for number in (1, 2, 3))
    world.publish(ONE, [5])
    world.publish(TWO, [0])
    world.run(5)

    heard = {one: [m.index for m in ear.messages if m.series == one] for one in (ONE, TWO)}
    assert heard == {ONE: [*range(0 if start is Start.ALL else 5, 6)], TWO: [0]}
    assert ear.lost == []


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_a_host_that_answers_long_before_the_others_has_not_the_only_say(start: Start) -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5), 1, 2)
    world.hosts[3].lies = (row(ONE, 2**31, 2**31), row(TWO, 2**31, 2**31))
    world.hosts[1].answers_after_s = FEED_SETTLE_S + 1
    world.hosts[2].is_silent = True
    ear = world.listen(start)
    world.run(FEED_SETTLE_S + 0.5)
    before = ear.feed.is_settled
    world.run(FEED_SETTLE_FEW_S)
    assert (before, ear.feed.is_settled) == (False, True)
    world.publish(ONE, [5])
    world.publish(TWO, [0])
    world.run(5)

    heard = {one: [m.index for m in ear.messages if m.series == one] for one in (ONE, TWO)}
    assert heard == {ONE: [*range(0 if start is Start.ALL else 5, 6)], TWO: [0]}


def test_what_a_host_tells_on_a_later_page_counts_where_a_series_begins() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5))
    for number in range(SUMMARY_ROWS_MAX):
        world.publish(series(10 + number), [0], 2)
    for number in (1, 3):
        world.hosts[number].forget(ONE, below=3)
        world.hosts[number].answers_after_s = 0.35
    world.hosts[2].answers_after_s = 0.3
    ear = world.listen(Start.ALL)
    world.run(5)

    assert [m.index for m in ear.messages if m.series == ONE] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_while_hosts_are_slow_one_that_is_not_has_not_the_only_say(start: Start) -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(3))  # told last
    for number in range(3 * SUMMARY_ROWS_MAX):
        world.publish(series(10 + number), [0], 2, 3)
    world.publish(TWO, range(5), 2, 3)  # told first
    world.hosts[1].lies = (row(ONE, 2**31, 2**31), row(TWO, 2**31, 2**31))
    world.hosts[2].answers_after_s = world.hosts[3].answers_after_s = 1.0
    ear = world.listen(start)
    world.run(FEED_SETTLE_FEW_S + 0.2)
    assert ear.feed.is_settled
    world.publish(ONE, [3], 2)
    world.publish(TWO, [5], 2)
    world.run(30)

    heard = {one: [m.index for m in ear.messages if m.series == one] for one in (ONE, TWO)}
    assert heard == {ONE: [0, 1, 2, 3], TWO: [*range(0 if start is Start.ALL else 5, 6)]}


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_while_hosts_refuse_one_that_does_not_has_not_the_only_say(start: Start) -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(3), 2, 3)
    world.hosts[1].lies = (row(ONE, 2**31, 2**31),)
    world.hosts[1].answers_after_s = 0.1
    world.hosts[2].refuses = world.hosts[3].refuses = Status.BUSY
    ear = world.listen(start)
    world.run(1)
    world.hosts[2].refuses = world.hosts[3].refuses = Status.OK
    world.run(5)
    world.publish(ONE, [3])
    world.run(1)

    assert ear.indexes == [*range(0 if start is Start.ALL else 3, 4)]


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_who_names_others_and_leaves_has_them_not_decide(start: Start) -> None:
    world = one_that_lies_with_those_that_it_names()
    world.hosts[1].answers_after_s = world.hosts[2].answers_after_s = FEED_SETTLE_S + 0.5
    ear = world.listen(start)
    world.run(0.5)
    world.hosts[3].die()
    world.run(5)
    world.publish(ONE, [5], 1, 2)
    world.run(5)

    assert ear.indexes == [*range(0 if start is Start.ALL else 5, 6)]


def test_where_the_hosts_are_found_no_more_those_that_were_named_have_their_say() -> None:
    world = World(1, 2)
    world.hosts[1].names = [2]
    world.hosts[2].is_found = False
    ear = world.listen(Start.LIVE)
    world.run(5)
    world.hosts[1].die()
    world.run(1)

    assert ear.feed.sources == ear.feed.found_sources == (contact(2).node_id,)


def test_what_is_pushed_before_all_hosts_answered_is_not_lost_to_a_live_subscriber() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5))
    ear = world.listen(Start.LIVE)
    world.hosts[3].is_silent = True
    world.run(0.05)
    assert ear.events == []
    world.publish(ONE, [5, 6])
    world.run(FEED_SETTLE_S)

    assert ear.feed.is_settled
    assert ear.indexes == [5, 6]


def test_what_is_pushed_too_early_is_bounded_and_fetched_after() -> None:
    world = World(1, 2)
    ear = world.listen(Start.ALL)
    world.hosts[2].is_silent = True
    world.run(0.05)
    world.publish(ONE, range(2 * FEED_EARLY_MAX))
    world.run(20)

    assert ear.indexes == list(range(2 * FEED_EARLY_MAX))
    assert ear.feed.counts.pulled >= FEED_EARLY_MAX


def test_a_host_that_hangs_does_not_hold_up_the_beginning_for_long() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(3))
    world.hosts[2].is_silent = True
    ear = world.listen()
    world.run(FEED_SETTLE_S + 0.2)

    assert ear.indexes == [0, 1, 2]


def test_a_client_begins_with_what_one_of_its_nodes_says_where_the_other_is_gone() -> None:
    world = World(1, 2)
    world.publish(ONE, range(5), 1)
    world.hosts[1].answers_after_s = 0.1
    world.hosts[2].refuses = Status.BUSY
    ear = world.listen(Start.LIVE, is_delegated=True)
    world.run(0.2)

    assert ear.feed.is_settled
    assert ear.events == [Begins(ONE, 5, WALL)]


def test_where_only_one_of_the_hosts_answers_it_begins_in_a_moment_more() -> None:
    world = World(1, 2)
    world.publish(ONE, range(3, 6), 1)
    world.hosts[1].forget(ONE, below=3)
    world.hosts[2].is_silent = True
    ear = world.listen()
    world.run(FEED_SETTLE_FEW_S - 0.1)
    assert ear.events == []
    world.run(0.3)

    assert ear.indexes == [3, 4, 5]
    assert ear.events[0] == Begins(ONE, 3, WALL + 3)


def test_with_the_whole_history_nothing_is_missed_that_no_host_has_any_more() -> None:
    world = World(1, 2)
    world.publish(ONE, range(20))
    world.hosts[1].forget(ONE, below=12)
    world.hosts[2].forget(ONE, below=10)
    ear = world.listen(Start.ALL)
    world.run(5)

    assert ear.indexes == list(range(10, 20))
    assert ear.lost == []
    assert ear.events[0] == Begins(ONE, 10, WALL)


def test_who_comes_back_goes_on_where_it_was() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, range(5))
    world.run(1)
    cursor = ear.cursor.encode()
    ear.stop()
    world.publish(ONE, range(5, 9))
    world.publish(TWO, range(2))
    world.run(3_600)

    again = world.listen(cursor)
    world.run(2)
    assert [(m.series, m.index) for m in again.messages if m.series == ONE] == [(ONE, n) for n in range(5, 9)]
    assert [m.index for m in again.messages if m.series == TWO] == [0, 1]
    assert all(m.is_history for m in again.messages)
    assert again.gaps == again.lost == []


def test_what_lies_below_a_gap_that_is_too_long_for_a_summary_is_told_to_who_comes_back() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(50))
    ear = world.listen()
    world.run(2)
    cursor = ear.cursor.encode()
    ear.stop()
    world.publish(ONE, range(50, 100))
    world.publish(ONE, range(300, 320))  # no host took those between
    assert len(world.hosts[1].held.row(ONE).holes) == HOLES_MAX

    again = world.listen(cursor)
    world.run(GAP_GIVE_UP_S + 10)
    assert again.indexes == [*range(50, 100), *range(300, 320)]
    assert again.lost == [Span(100, 300)]


def test_what_lies_below_many_gaps_is_told_to_who_joins_late() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(0, 400, 2))
    ear = world.listen(Start.ALL)
    world.run(GAP_GIVE_UP_S + 10)

    assert ear.indexes == list(range(0, 400, 2))
    assert Method.BACKLOG in world.hosts[1].asked
    before = sum(host.asked.count(Method.BACKLOG) for host in world.hosts.values())
    world.publish(ONE, range(400, 500))
    world.run(60)
    assert ear.indexes == [*range(0, 400, 2), *range(400, 500)]
    again = sum(host.asked.count(Method.BACKLOG) for host in world.hosts.values()) - before
    assert again <= len(world.hosts) * -(-200 // PULL_MESSAGES_MAX)


def test_who_was_away_for_two_days_is_told_what_is_gone() -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(5))
    ear = world.listen()
    world.run(2)
    cursor = ear.cursor.encode()
    ear.stop()
    world.publish(ONE, range(5, 40), created=WALL + 2 * 86_400 - 3_600)
    world.publish(TWO, range(5, 8), created=WALL + 2 * 86_400 - 3_600)
    for host in world.hosts.values():
        host.forget(ONE, below=30)
    world.run(2 * 86_400)

    again = world.listen(cursor)
    world.run(2)
    assert again.lost == [Span(5, 30)]
    assert [m.index for m in again.messages if m.series == ONE] == list(range(30, 40))
    world.run(GAP_GIVE_UP_S + 5)
    assert [m.index for m in again.messages if m.series == TWO] == [5, 6, 7]
    assert again.lost == [Span(5, 30), Span(0, 5)]


def test_what_nobody_pushed_is_pulled_from_who_announces_it() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.hosts[pusher(ear)].withholds = lambda _index: True
    world.publish(ONE, range(4))
    world.run(1.2)
    assert ear.indexes == []  # it may be on its way

    world.run(PULL_GRACE_S)
    assert ear.indexes == [0, 1, 2, 3]
    assert ear.feed.counts == FeedCounts(pulled=4)


def test_what_is_on_its_way_from_the_pusher_is_not_pulled_when_others_announce_it() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    slow = pusher(ear)
    push, quick = world.push, world.delay

    def push_late(host: Host, to: NodeId, envelope: bytes) -> None:
        world.delay = (lambda: PULL_GRACE_S * 0.8) if host.number == slow else quick
        push(host, to, envelope)
        world.delay = quick

    world.push = push_late  # type: ignore[method-assign] # a slow road
    for index in range(20):
        world.publish(ONE, [index])
        world.run(0.3)
    world.run(5)

    assert ear.indexes == list(range(20))
    assert ear.feed.counts == FeedCounts(pushed=20)


def test_what_the_pusher_says_it_has_is_pulled_at_once() -> None:
    world = World(1, 2)
    ear = world.listen()
    world.run(1)
    by = world.hosts[pusher(ear)]
    by.withholds = lambda index: index == 0
    world.publish(ONE, [0])
    by.withholds = lambda _index: False
    world.announce(by, contact(99).node_id, (row(ONE, 0, 1),))  # as after congestion
    world.run(0.05)

    assert ear.indexes == [0]


def test_a_client_waits_a_moment_for_what_any_of_its_nodes_says_hosts_have() -> None:
    world = World(1, 2)
    ear = world.listen(is_delegated=True)
    world.run(1)
    by = world.hosts[pusher(ear)]
    world.announce(by, contact(99).node_id, (row(ONE, 0, 1),))  # it is on its way to that node
    world.run(0.05)
    world.publish(ONE, [0])
    world.run(5)

    assert ear.feed.counts == FeedCounts(pushed=1)


def test_who_was_asked_to_push_and_sends_nothing_has_the_next_one_asked() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    mute = pusher(ear)
    world.hosts[mute].withholds = lambda _index: True
    for index in range(10):
        world.publish(ONE, [index])
        world.run(1)
    assert pusher(ear) != mute
    assert contact(99).node_id in world.hosts[mute].subscribers
    before = ear.feed.counts.pulled
    for index in range(10, 40):
        world.publish(ONE, [index])
        world.run(0.05)
    assert ear.indexes == list(range(40))
    assert ear.feed.counts.pulled == before


def test_a_host_to_which_nobody_brings_anything_has_another_push_to_it() -> None:
    world = World(1, 2, 3)
    ear = world.listen(number=1)
    world.run(1)
    own = world.hosts[1]
    assert pusher(ear) == 1
    own.withholds = lambda _index: True
    for index in range(10):
        world.publish(ONE, [index])
        world.run(1.8)
        world.announce(own, contact(1).node_id, (row(ONE, 0, index + 1),))  # as what it fetched from others

    assert pusher(ear) != 1
    assert ear.indexes == list(range(10))


def test_who_pushes_and_lacks_what_others_fetched_from_the_past_goes_on_pushing() -> None:
    world = World(1, 2, 3)
    ear = world.listen(Start.ALL)
    world.run(1)
    by = pusher(ear)
    other = next(number for number in world.hosts if number != by)
    world.publish(ONE, range(300), other)
    world.run(5)
    assert ear.indexes == list(range(300))
    assert pusher(ear) == by


def test_where_nobody_else_can_push_who_withholds_is_not_left() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    ear.feed._sources.pass_over(world.now)
    world.run(1)
    world.publish(ONE, [0])
    world.run(0.05)

    assert ear.indexes == [0]
    assert pusher(ear) == 1


def test_what_a_pusher_that_goes_did_not_send_is_pulled_at_once() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    by = world.hosts[pusher(ear)]
    by.withholds = lambda _index: True
    world.publish(ONE, range(3))
    world.run(ANNOUNCE_EVERY_S + 0.1)
    assert ear.indexes == []
    by.die()
    world.run(0.05)

    assert ear.indexes == [0, 1, 2]


def test_a_message_that_a_later_one_has_overtaken_is_pulled_at_once() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.hosts[pusher(ear)].withholds = lambda index: index == 0
    world.publish(ONE, [0])
    world.run(ANNOUNCE_EVERY_S + 0.1)
    assert ear.indexes == []
    world.publish(ONE, [1])
    world.run(0.05)

    assert ear.indexes == [0, 1]


def test_a_withheld_message_is_a_gap_until_another_host_gives_it() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.hosts[pusher(ear)].withholds = lambda index: index == 1
    world.publish(ONE, range(4))
    world.run(0.05)
    assert ear.indexes == [0]
    assert ear.gaps == [Span(1, 2)]
    assert ear.feed.has_gaps

    world.run(1.2)
    assert ear.indexes == [0, 1, 2, 3]
    assert ear.lost == []


def test_what_was_told_is_told_once_however_often_it_comes() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, [0])
    world.run(1)
    for host in world.hosts.values():
        for _ in range(3):
            world.push(host, contact(99).node_id, raw(ONE, 0))
    world.run(1)

    assert ear.indexes == [0]
    assert ear.feed.counts.duplicates == 9
    assert ear.verifier.verified == 1


def test_a_duplicate_costs_no_signature_and_neither_does_who_is_no_member() -> None:
    world = World(1)
    ear = world.listen(is_member=lambda sender: sender == ONE.sender)
    world.run(1)
    world.publish(TWO, range(50))
    world.run(5)

    assert ear.messages == []
    assert ear.verifier.verified == 0
    assert Method.BACKLOG not in world.hosts[1].asked


def test_who_became_a_member_is_heard_after_another_look() -> None:
    members = {ONE.sender}
    world = World(1, 2)
    ear = world.listen(is_member=members.__contains__)
    world.run(1)
    world.publish(TWO, range(3))
    world.run(2)
    assert ear.messages == []

    members.add(TWO.sender)
    ear.feed.look_again(world.now)
    world.run(1)
    assert ear.indexes == [0, 1, 2]


def test_what_is_forged_is_never_told_and_the_genuine_one_is() -> None:
    world = World(1, 2, 3)
    ear = world.listen()
    world.run(1)
    world.hosts[pusher(ear)].spoils = forged
    world.publish(ONE, range(3))
    world.run(5)

    assert ear.indexes == [0, 1, 2]
    assert [m.data for m in ear.messages] == [b"0", b"1", b"2"]


def test_what_strangers_push_is_not_looked_at() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    ear.feed.on_pushed(contact(77).node_id, decode_envelope(raw(ONE, 0)), world.now)
    ear.feed.on_announced(contact(77).node_id, [row(ONE, 0, 9)], world.now)
    world.run(1)

    assert ear.messages == []
    assert ear.verifier.verified == 0


def test_what_comes_while_no_host_was_there_is_no_live_message() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    world.hosts[1].die()
    world.publish(ONE, [0])  # reaches nobody
    world.hosts[1].take(raw(ONE, 0))
    world.run(1_800)
    world.hosts[1].live()
    world.run(120)
    world.publish(ONE, [1], created=int(world.now.wall))
    world.run(2)

    assert [(m.index, m.is_history) for m in ear.messages] == [(0, True), (1, False)]


def test_throw_away_senders_do_not_fill_the_memory_nor_push_out_who_says_much() -> None:
    told: list[object] = []
    world = World(1)
    world.publish(ONE, [0])
    around = Surroundings(contact(99).node_id, Outbox(), world, lambda *_: [])
    feed = Feed(TOPIC, Start.ALL, around, Anybody(), listener(told))
    for index in range(4):
        feed._take(decode_envelope(raw(ONE, index)), at(0), is_pushed=True)
    for number in range(FEED_SERIES_MAX + 100):
        feed._take(decode_envelope(raw(series(3, number), 0)), at(0), is_pushed=True)

    assert len(feed._holdings) <= FEED_SERIES_MAX
    assert ONE in feed._holdings
    assert len(told) == FEED_SERIES_MAX + 104


class Anybody:
    def verify(self, envelope: object) -> None:
        """All is genuine."""

    def know(self, envelope: object) -> None:
        """As all others."""


def test_what_was_handed_on_can_be_summed_up() -> None:
    world = World(1)
    ear = world.listen()
    world.run(1)
    world.publish(ONE, [0, 1, 3])
    world.run(1)

    assert ear.feed.rows() == (row(ONE, 0, 4, 2),)


def test_where_a_cursor_left_gaps_they_are_fetched_and_not_told_again() -> None:
    world = World(1)
    world.publish(ONE, [0, 2])
    ear = world.listen()
    world.run(GAP_GIVE_UP_S + 5)
    assert ear.lost == [Span(1, 2)]
    cursor = ear.cursor.encode()
    ear.stop()
    world.run(60)

    again = world.listen(cursor)
    world.run(GAP_GIVE_UP_S + 100)
    assert again.events == []
    world.publish(ONE, [1])
    world.run(2)
    assert [(m.index, m.is_late) for m in again.messages] == [(1, True)]


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_one_host_is_enough(start: Start) -> None:
    world = World(1)
    ear = world.listen(start)
    world.run(1)
    world.publish(ONE, range(3))
    world.run(1)

    assert ear.indexes == [0, 1, 2]


@pytest.mark.parametrize("start", [Start.LIVE, Start.ALL])
def test_whoever_is_told_may_stop_the_feed_at_once_and_is_told_nothing_more(start: Start) -> None:
    world = World(1, 2, 3)
    world.publish(ONE, range(20))
    ear = world.listen(start)
    came: list[int] = []

    def hear(envelope: PubsubEnvelope, _is_live: bool, _now: Now) -> None:  # noqa: FBT001 - as a feed tells
        came.append(envelope.index)
        if len(came) == 3:
            ear.feed.stop()

    ear.feed._listener = ear.feed._listener._replace(on_envelope=hear)
    world.run(2)
    world.publish(ONE, range(20, 40))
    world.run(400)

    assert len(came) == 3
    assert all(host.subscribers == {} for host in world.hosts.values())
    assert ear.feed.next_timer() is None


def test_a_feed_that_was_stopped_tells_nothing() -> None:
    told: list[object] = []
    world = World(1)
    around = Surroundings(contact(99).node_id, Outbox(), world, lambda *_: [])
    holdings = Holdings()
    holdings.put(ONE, held(0, 2))
    feed = Feed(TOPIC, holdings, around, Anybody(), listener(told))
    feed.start(world.now)
    feed.stop()
    feed.on_pushed(contact(1).node_id, decode_envelope(raw(ONE, 1)), world.now)
    feed.on_announced(contact(1).node_id, [row(ONE, 0, 3)], world.now)
    feed.on_down(contact(1).node_id, world.now)
    feed.handle_timer(at(1e6))
    world.run(1)

    assert told == []


def test_a_feed_that_was_stopped_wants_nothing_though_it_waited_for_something() -> None:
    world = World(1, 2, 3)
    unsettled = world.listen(Start.LIVE)
    world.hosts[2].is_silent = world.hosts[3].is_silent = True
    world.run(0.05)
    assert not unsettled.feed.is_settled
    assert unsettled.feed.next_timer() is not None
    unsettled.feed.stop()
    assert unsettled.feed.next_timer() is None

    gapped = world.listen(Start.ALL)
    world.run(5)
    world.publish(ONE, [0, 2])
    world.run(1)
    assert gapped.feed.has_gaps
    gapped.feed.stop()
    assert gapped.feed.next_timer() is None


def with_a_gap(world: World) -> Ear:
    """Who listens lacks what the one that pushes lacks, too, and has not heard yet that others have it.

    That one answers before them.
    """
    number = next(own for own in range(99, 200) if ranked(1, 2, 3, own=own)[0] == 1)
    ear = world.listen(Start.ALL, number=number)
    world.run(5)
    world.publish(ONE, [0, 2], 1)
    world.publish(ONE, [1], 2, 3)
    world.run(0.1)
    assert (ear.indexes, ear.gaps) == ([0], [Span(1, 2)])
    return ear


@pytest.mark.parametrize("away_s", [5, 40, 130, 1_000])
def test_what_was_missing_when_all_hosts_went_is_fetched_in_order_when_they_are_back(away_s: int) -> None:
    world = World(1, 2, 3)
    ear = with_a_gap(world)
    for host in world.hosts.values():
        host.die()
    world.run(away_s)
    for host in world.hosts.values():
        host.live()
    world.run(70)

    assert ear.lost == []
    assert [(m.index, m.is_late) for m in ear.messages] == [(0, False), (1, False), (2, False)]


@pytest.mark.parametrize("stopped_s", [5, 40, 130, 1_000])
def test_what_was_missing_when_the_process_was_stopped_is_fetched_in_order_when_it_goes_on(
    stopped_s: int,
) -> None:
    world = World(1, 2, 3)
    ear = with_a_gap(world)
    world.mono += stopped_s
    ear.feed.handle_timer(world.now)
    world.run(2)

    assert ear.lost == []
    assert ear.indexes == [0, 1, 2]


def test_who_did_not_send_what_it_holds_is_asked_once_more_before_that_is_given_up() -> None:
    world = World(1)
    ear = world.listen(Start.ALL)
    world.run(5)
    world.hosts[1].withholds = lambda index: index == 1
    world.publish(ONE, range(3))
    world.run(GAP_GIVE_UP_S / 3)
    assert ear.indexes == [0]
    world.hosts[1].withholds = lambda _index: False
    world.run(GAP_GIVE_UP_S / 2)

    assert ear.indexes == [0, 1, 2]
    assert ear.lost == []

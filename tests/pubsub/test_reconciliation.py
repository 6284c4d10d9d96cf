"""Rounds and when they come; with whole hosts in test_host_sync.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.pubsub.kit_host import HOSTING, TOPIC, Author, HostNode, World, peer, topic
from yzdht.limits import (
    SUMMARY_ROWS_MAX,
    SYNC_EVERY_S,
    SYNC_IDLE_EVERY_S,
    SYNC_PAGES_MAX,
    SYNCS_AT_ONCE_MAX,
)
from yzdht.pubsub.reconciliation import holds_all
from yzdht.rpc.engine import Answer, Up
from yzdht.wire.holdings import Holdings, Series, claimed
from yzdht.wire.rpc import Method, Status, SummaryRow, TopicSync, TopicSynced


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import Body


ALICE = peer(101)
TOPIC_OF_OTHERS = topic(999)
SERIES = [Author(number).series for number in range(3)]


def holdings(held: dict[int, set[int]]) -> Holdings:
    made = Holdings()
    for number, indexes in held.items():
        for index in indexes:
            made.add(SERIES[number], index)
    return made


_Held = st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 12)))


@given(_Held, _Held, st.dictionaries(st.integers(0, 2), st.integers(0, 8)))
def test_who_holds_all_lacks_nothing_above_what_is_over_there(
    here: dict[int, set[int]], there: dict[int, set[int]], floors: dict[int, int]
) -> None:
    theirs = Holdings()
    for number, floor in floors.items():
        theirs.open(SERIES[number], floor)
    for number, indexes in there.items():
        for index in indexes:
            theirs.add(SERIES[number], index)
    rows = theirs.rows()

    said = {
        (Series(row.sender, row.session), index)
        for row in rows
        for index in (*range(row.first), *(i for span in claimed(row) for i in range(*span)))
    }
    lacked = {(SERIES[n], i) for n, indexes in here.items() for i in indexes} - said
    assert holds_all(rows, holdings(here)) is (not lacked)


def test_who_says_nothing_holds_nothing() -> None:
    assert holds_all((), holdings({}))
    assert not holds_all((), holdings({0: {1}}))


def test_a_host_that_is_alone_asks_nobody() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.publish(Author().envelope())
    world.run(1_000.0)

    assert not host.asks
    assert host.host.is_quiet


def test_a_topic_is_compared_with_each_other_host_once_in_a_while() -> None:
    world = World()
    host = world.host(1)
    for number in (2, 3):
        world.host(number)
    host.on_neighbourhood([2, 3])
    world.run(5.0)
    host.subscribe(ALICE)
    world.run(10 * SYNC_EVERY_S)
    idle = host.asks[Method.TOPIC_SYNC] / 2
    host.publish(Author().envelope())
    world.run(10 * SYNC_EVERY_S)

    assert 1 <= idle <= 2
    assert 8 <= host.asks[Method.TOPIC_SYNC] / 2 - idle <= 14


class Talker(HostNode):
    """Always has one page more."""

    def on_request(self, who: Peer, body: Body, on_reply: Callable[[Answer], None]) -> None:
        if isinstance(body, TopicSync):
            rows = (SummaryRow(*SERIES[0], 0, 0),) * SUMMARY_ROWS_MAX
            on_reply(Answer(Status.OK, TopicSynced((), rows)))


def test_a_host_that_always_has_more_to_say_is_not_heard_to_the_end() -> None:
    world = World()
    host = world.host(1)
    world.hosts[2] = Talker(world, 2, host.disk.after_crash())
    host.on_neighbourhood([2])
    host.subscribe(ALICE)
    world.run(SYNC_EVERY_S / 2)

    assert host.asks[Method.TOPIC_SYNC] == SYNC_PAGES_MAX
    assert host.host.is_quiet


def test_so_many_topics_are_compared_at_once() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood([2])  # which never answers
    for number in range(10 * SYNCS_AT_ONCE_MAX):
        host.subscribe(ALICE, topic(number))
    world.run(2.0)

    assert host.asks[Method.TOPIC_SYNC] == SYNCS_AT_ONCE_MAX


def test_who_does_not_answer_for_one_topic_is_not_waited_for_in_all_of_them() -> None:
    world = World()
    host, other = world.host(1), world.host(3)
    author = Author()
    for number in range(20 * SYNCS_AT_ONCE_MAX):
        other.publish(author.envelope(of=topic(number)))
    world.run(1.0)
    host.on_neighbourhood([2, 3])  # 2 never answers
    for number in range(20 * SYNCS_AT_ONCE_MAX):
        host.subscribe(ALICE, topic(number))
    world.run(30.0)

    held = [host.holds(author, topic(number)) for number in range(20 * SYNCS_AT_ONCE_MAX)]
    assert held == [[0]] * len(held)


def test_who_is_back_is_asked_at_once() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood([2])
    host.subscribe(ALICE)
    world.run(8.0)
    world.host(2)
    host.host.on_link(peer(2, HOSTING), Up(None), world.now)
    before = host.asks[Method.TOPIC_SYNC]
    host.subscribe(ALICE, topic(1))
    world.run(1.0)

    assert host.asks[Method.TOPIC_SYNC] > before


def test_a_host_that_never_answers_is_asked_ever_more_seldom() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood([2])
    host.subscribe(ALICE)
    world.run(60.0)
    first = host.asks[Method.TOPIC_SYNC]
    world.run(600.0)

    assert 3 <= first <= 7
    assert host.asks[Method.TOPIC_SYNC] - first <= 600.0 / SYNC_EVERY_S


def test_a_host_is_quiet_when_it_has_all_there_is() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author = Author()
    for index in range(600):
        one.publish(author.envelope(index))
        one.write()
    world.meet(1, 2)
    world.run(3 * SYNC_EVERY_S)

    assert len(two.holds(author, TOPIC)) == 600
    assert two.host.is_quiet


def test_topics_that_cannot_be_read_take_no_round_from_the_others_and_are_tried_ever_more_seldom() -> None:
    world = World()
    one, _ = world.host(1), world.host(2)
    world.meet(1, 2)
    damaged = [topic(number) for number in range(2 * SYNCS_AT_ONCE_MAX)]
    for of in (*damaged, TOPIC_OF_OTHERS):
        one.subscribe(ALICE, of)
        one.publish(Author().envelope(of=of))
    world.run(SYNC_EVERY_S)
    world.faults.fails = lambda _number, of: of in damaged
    one.host._topics.reread()
    asks = one.asks[Method.TOPIC_SYNC]
    world.run(10 * SYNC_EVERY_S)

    assert 7 <= one.asks[Method.TOPIC_SYNC] - asks <= 14
    assert one.counts["store_errors"] <= 30 * len(damaged)  # the other one asks, too
    world.faults.fails = lambda _number, _topic: False
    asks = one.asks[Method.TOPIC_SYNC]
    world.run(2 * SYNC_EVERY_S)
    assert one.asks[Method.TOPIC_SYNC] - asks >= len(damaged) + 1


def test_what_nobody_foresaw_in_one_round_does_not_end_all_others() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    world.meet(1, 2)
    for of in (TOPIC, TOPIC_OF_OTHERS):
        one.subscribe(ALICE, of)
    world.faults.error = ArithmeticError()
    world.faults.fails = lambda _number, of: of == TOPIC
    one.host._topics.reread()
    with pytest.raises(ArithmeticError):
        world.run(SYNC_IDLE_EVERY_S)
    author = Author()
    two.publish(author.envelope(of=TOPIC_OF_OTHERS))
    one.host._reconciliation.handle_timer(world.now)
    one.settle()
    world.run(SYNC_IDLE_EVERY_S)

    assert one.holds(author, TOPIC_OF_OTHERS) == [0]

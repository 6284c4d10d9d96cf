"""A host under floods: bounded, and the others unharmed."""

from __future__ import annotations

import pytest

from tests.pubsub.kit_host import ASKING, HOSTING, PUBLISHER, TOPIC, Author, World, peer, topic
from yzdht.limits import (
    ANNOUNCEMENT_BYTES_MAX,
    HISTORY_MESSAGES_MAX,
    HOSTED_TOPICS_MAX,
    PUBLISH_BURST,
    PUBLISHES_PER_S,
    SUBSCRIBERS_PER_TOPIC_MAX,
    SYNC_BURST,
    SYNC_EVERY_S,
    SYNCS_PER_S,
    TOPICS_PER_ANNOUNCEMENT_MAX,
    TOPICS_PER_SESSION_MAX,
)
from yzdht.wire.pubsub import Announcement, decode_push
from yzdht.wire.rpc import Method, Status, Subscribe, SummaryRow, TopicSync


ALICE, BOB = peer(101), peer(102)


def test_a_topic_that_is_flooded_takes_no_more_than_its_flooder_may_and_another_one_nothing() -> None:
    world = World()
    host = world.host(1)
    flooder, quiet = Author(), Author()
    refused = 0
    for index in range(int(PUBLISH_BURST + PUBLISHES_PER_S)):
        asked = host.publish(flooder.envelope(index % 50))
        refused += asked.is_answered and asked.status is Status.RATE_LIMITED
        host.write()
    other = host.publish(quiet.envelope(of=topic(1)), ALICE)
    world.run(1.0)

    assert refused == PUBLISHES_PER_S
    assert other.status is Status.OK


def test_throw_away_senders_of_one_bringer_cannot_push_a_history_out() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    for index in range(600):
        host.publish(author.envelope(index), ALICE)
    world.run(1.0)
    for _ in range(2 * HISTORY_MESSAGES_MAX):
        host.publish(Author().envelope())
        host.write()

    assert host.holds(author) == list(range(600))
    assert host.store.totals().messages == HISTORY_MESSAGES_MAX


def test_ids_of_one_prefix_are_one_bringer() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    for index in range(600):
        host.publish(author.envelope(index), ALICE)
    world.run(1.0)
    for number in range(2 * HISTORY_MESSAGES_MAX):
        who = peer(1_000 + number, ASKING, prefix="203.0.113.0/24")
        host.publish(Author().envelope(), who)
        host.write()

    assert host.holds(author) == list(range(600))


@pytest.mark.parametrize("prefixes", [1, 3])
def test_who_brings_something_else_to_each_host_has_half_of_the_histories_at_most(prefixes: int) -> None:
    world = World()
    hosts = [world.host(number, messages_max=80) for number in (1, 2, 3)]
    world.meet(1, 2, 3)
    author = Author()
    for index in range(80):
        for host in hosts:
            host.publish(author.envelope(index), ALICE)
    world.run(5.0)
    for _ in range(4):
        for number, host in enumerate(hosts):
            who = peer(1_000 + number, ASKING, prefix=f"203.0.{number % prefixes}.0/24")
            for _ in range(30):
                host.publish(Author().envelope(), who)
        world.run(2 * SYNC_EVERY_S)

    assert [host.holds(author) for host in hosts] == [list(range(40, 80))] * 3


def test_a_new_host_has_the_whole_history_and_what_comes_after_that() -> None:
    world = World()
    hosts = [world.host(number, messages_max=40) for number in (1, 2)]
    world.meet(1, 2)
    author = Author()
    for index in range(40):
        for host in hosts:
            host.publish(author.envelope(index), ALICE)
    world.run(5.0)
    hosts.append(world.host(3, messages_max=40))
    world.meet(1, 2, 3)
    world.run(2 * SYNC_EVERY_S)
    fetched = hosts[2].holds(author)
    for index in range(40, 60):
        for host in hosts:
            host.publish(author.envelope(index), ALICE)
    world.run(2 * SYNC_EVERY_S)

    assert fetched == list(range(40))
    assert [host.holds(author) for host in hosts] == [list(range(20, 60))] * 3


def test_a_subscriber_that_does_not_read_costs_a_number_for_each_topic() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(BOB)
    for number in range(300):
        host.subscribe(ALICE, topic(number))
    host.congested.add(ALICE.node_id)
    authors = [Author() for _ in range(4)]
    for index in range(3):
        for number in range(300):
            host.publish(authors[index].envelope(of=topic(number)), peer(300 + index))
    world.run(10.0)
    silent = [push for push in host.sent if push.peer == ALICE]
    host.congested.clear()
    world.run(10.0)

    told = host.announced(ALICE)
    assert silent == []
    assert len(host.pushed(BOB)) == 3
    assert [len(a.changes) for a in told] == [TOPICS_PER_ANNOUNCEMENT_MAX, 300 - TOPICS_PER_ANNOUNCEMENT_MAX]
    assert all(len(rows) == 3 for a in told for _, rows in a.changes)


def test_an_announcement_is_as_large_as_it_may_be_and_the_rest_comes_after() -> None:
    world = World()
    host = world.host(1)
    many = [Author() for _ in range(900)]
    for number in range(8):
        host.subscribe(ALICE, topic(number), push=False)
        for author in many:
            host.publish(author.envelope(of=topic(number)), peer(300 + number))
            host.write()
    world.run(60.0)

    told = [decode_push(push.data) for push in host.sent]
    rows = [row for a in told if isinstance(a, Announcement) for _, rows in a.changes for row in rows]
    assert len(rows) == 8 * 900
    assert all(len(push.data) <= ANNOUNCEMENT_BYTES_MAX for push in host.sent)


def test_ten_thousand_topics_are_served_and_synced_at_a_bounded_pace() -> None:
    world = World()
    host = world.host(1)
    world.host(2)
    world.meet(1, 2)
    world.run(5.0)
    for number in range(10_000):
        host.subscribe(peer(300 + number // TOPICS_PER_SESSION_MAX), topic(number))
    author = Author()
    world.run(10.0)
    began = host.asks[Method.TOPIC_SYNC]
    asked = host.publish(author.envelope(of=topic(4_711)))
    world.run(1.0)

    assert host.host.topics == 10_000
    assert SYNCS_PER_S <= began <= SYNC_BURST + 11 * SYNCS_PER_S
    assert asked.status is Status.OK
    assert len(host.pushed(peer(301))) == 1


def test_ten_thousand_topics_that_nobody_writes_to_do_not_keep_others_from_being_compared() -> None:
    world = World()
    host, other = world.host(1), world.host(2)
    world.meet(1, 2)
    world.run(5.0)
    for number in range(10_000):
        host.subscribe(peer(300 + number // TOPICS_PER_SESSION_MAX), topic(number))
    world.run(200.0)
    author = Author()
    missed = topic(20_000)
    host.publish(author.envelope(of=missed))
    world.run(2 * SYNC_EVERY_S)
    before = host.asks[Method.TOPIC_SYNC]
    world.run(60.0)

    assert other.holds(author, missed) == [0]
    assert host.asks[Method.TOPIC_SYNC] - before < 60.0 * SYNCS_PER_S / 2


def test_what_one_host_alone_got_is_told_soon_to_who_listens_at_another() -> None:
    world = World()
    host, other = world.host(1), world.host(2)
    world.meet(1, 2)
    host.subscribe(ALICE)
    world.run(2 * 3_600.0)
    author = Author()
    other.publish(author.envelope())
    world.run(2 * SYNC_EVERY_S)

    assert host.holds(author) == [0]
    assert host.announced(ALICE)


def test_ten_thousand_topics_are_looked_at_and_the_host_answers_between() -> None:
    world = World()
    host = world.host(1)
    for number in range(10_000):
        host.subscribe(peer(300 + number // TOPICS_PER_SESSION_MAX), topic(number))
    looks = host.neighbourhood.looks
    host.on_neighbourhood([2, 3])
    world.run(1.5)
    soon = host.neighbourhood.looks - looks
    world.run(30.0)

    assert 0 < soon < 2_000
    assert host.neighbourhood.looks - looks == 10_000


def test_topics_that_nobody_writes_to_leave_room_for_others() -> None:
    host = World().host(1)
    now = World().now
    for number in range(HOSTED_TOPICS_MAX):
        who = peer(1_000 + number // TOPICS_PER_SESSION_MAX, ASKING, prefix="203.0.113.0/24")
        host.host.on_request(number, who, Subscribe(topic(number)), now)
    host.outbox.take()

    assert host.host.topics == HOSTED_TOPICS_MAX // 4
    assert host.ask(BOB, Subscribe(topic(10**9))).status is Status.OK


def test_a_topic_has_so_many_subscribers_and_no_more() -> None:
    host = World().host(1)
    now = World().now
    for number in range(SUBSCRIBERS_PER_TOPIC_MAX):
        host.host.on_request(number, peer(1_000 + number), Subscribe(TOPIC), now)
    host.outbox.take()

    assert host.ask(BOB, Subscribe(TOPIC)).status is Status.OVER_QUOTA
    assert host.host.subscriptions == SUBSCRIBERS_PER_TOPIC_MAX


def test_one_prefix_cannot_take_all_places_of_a_topic() -> None:
    host = World().host(1)
    now = World().now
    for number in range(SUBSCRIBERS_PER_TOPIC_MAX):
        who = peer(1_000 + number, ASKING, prefix="203.0.113.0/24")
        host.host.on_request(number, who, Subscribe(TOPIC), now)
    host.outbox.take()

    assert host.host.subscriptions == SUBSCRIBERS_PER_TOPIC_MAX // 2
    assert host.ask(BOB, Subscribe(TOPIC)).status is Status.OK


def test_a_node_that_claims_everything_of_every_topic_is_asked_at_a_bounded_pace() -> None:
    world = World()
    host = world.host(1)
    host.on_neighbourhood([2])
    world.host(2)
    row = SummaryRow(*Author().series, 0, 2**32 - 1)
    for number in range(500):
        host.ask(peer(2, HOSTING), TopicSync(topic(number), (row,)))
    world.run(SYNC_EVERY_S)

    assert host.asks[Method.BACKLOG] < 2_000
    assert host.asks[Method.TOPIC_SYNC] < 30 * SYNCS_PER_S


def test_a_message_to_a_thousand_subscribers_is_encoded_once() -> None:
    world = World()
    host = world.host(1)
    for number in range(1_000):
        host.subscribe(peer(1_000 + number))
    envelope = Author().envelope(0, bytes(1_024))
    host.publish(envelope, PUBLISHER)

    assert len({id(push.data) for push in host.sent}) == 1
    assert len(host.sent) == 1_000

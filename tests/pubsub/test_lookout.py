"""A host's walks over its topics: paced, and only while there is something to walk for."""

from __future__ import annotations

from tests.pubsub.kit_host import Author, World, peer, topic
from yzdht.limits import (
    HISTORY_S,
    HOSTED_TOPICS_PAGE,
    HOSTS_LOOK_AFTER_S,
    HOSTS_LOOK_EVERY_S,
    HOSTS_LOOKS_PER_TURN,
)
from yzdht.wire.rpc import Method


ALICE = peer(101)


def test_all_topics_on_disk_are_known_after_a_restart_page_by_page() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    number = 2 * HOSTED_TOPICS_PAGE + 1
    for of in range(number):
        host.publish(author.envelope(of=topic(of)))
    world.run(1.0)

    again = world.restart(1)
    at_once = again.host.topics
    world.run(0.01)
    first = again.host.topics
    world.run(1.0)

    assert (at_once, first, again.host.topics) == (0, HOSTED_TOPICS_PAGE, number)


def test_a_topic_that_came_before_its_page_is_not_read_over_it() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    host.publish(author.envelope())
    world.run(1.0)
    again = world.restart(1)
    again.subscribe(ALICE)
    world.run(1.0)
    envelope = author.envelope(1)
    again.publish(envelope)

    assert again.pushed(ALICE) == [envelope]


def test_the_hosts_are_looked_at_soon_after_a_change_and_seldom_without_one() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    looks = host.neighbourhood.looks
    world.run(3 * HOSTS_LOOK_EVERY_S + 1.0)
    seldom = host.neighbourhood.looks - looks
    host.on_neighbourhood([2])
    world.run(HOSTS_LOOK_AFTER_S + 0.01)

    assert seldom == 3
    assert host.neighbourhood.looks - looks == 4


def test_a_change_within_a_walk_begins_another_one_after_it() -> None:
    world = World()
    host = world.host(1)
    for number in range(3 * HOSTS_LOOKS_PER_TURN):
        host.subscribe(ALICE, topic(number))
    looks = host.neighbourhood.looks
    host.on_neighbourhood([2])
    world.run(HOSTS_LOOK_AFTER_S + 0.01)
    within = host.neighbourhood.looks - looks
    host.on_neighbourhood([2, 3])
    world.run(10.0)

    assert within == HOSTS_LOOKS_PER_TURN
    assert host.neighbourhood.looks - looks == 6 * HOSTS_LOOKS_PER_TURN


def test_what_cannot_be_read_at_the_start_is_tried_again_ever_more_seldom() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    number = HOSTED_TOPICS_PAGE + 1
    for of in range(number):
        host.publish(author.envelope(of=topic(of)))
    world.run(1.0)
    pages = world.faults.pages
    world.faults.fails = lambda _number, of: of is None and world.faults.pages > pages + 1
    again = world.restart(1)
    world.run(3 * HOSTS_LOOK_EVERY_S)

    assert again.host.topics == HOSTED_TOPICS_PAGE
    assert 10 <= again.counts["store_errors"] <= 14
    world.faults.fails = lambda _number, _topic: False
    world.run(HOSTS_LOOK_EVERY_S)
    assert again.host.topics == number
    pages = world.faults.pages
    world.run(3 * HOSTS_LOOK_EVERY_S)
    assert world.faults.pages == pages


def test_while_it_cannot_be_read_which_topics_there_are_those_that_are_known_are_looked_after() -> None:
    world = World()
    world.faults.fails = lambda _number, of: of is None
    host = world.host(1)
    host.subscribe(ALICE)
    world.run(1.0)
    looks = host.neighbourhood.looks
    host.on_neighbourhood([2])
    world.run(HOSTS_LOOK_AFTER_S + 0.01)

    assert host.neighbourhood.looks == looks + 1
    assert host.asks[Method.TOPIC_SYNC] == 1


def test_a_topic_of_which_it_cannot_be_read_whether_anything_is_left_is_not_forgotten() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.publish(Author().envelope())
    world.run(1.0)
    world.faults.fails = lambda _number, of: of is not None
    host.leaves(ALICE)
    world.run(3 * HISTORY_S)
    assert host.host.topics == 1

    world.faults.fails = lambda _number, _topic: False
    world.run(HOSTS_LOOK_EVERY_S)
    assert host.host.topics == 0


def test_a_topic_with_a_subscriber_is_never_idle() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    world.run(3 * HISTORY_S)

    assert host.host.topics == 1

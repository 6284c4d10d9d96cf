"""Floods among real engines: what one peer takes is bounded, and others have their messages all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.authors import key
from tests.sim.listening import Author, Ear, Place, check_bounds, check_complete, check_told, envelope_of
from tests.sim.topics import TopicWorld
from yzdht.ids import SendSession, TopicId
from yzdht.limits import (
    HISTORY_MESSAGES_MAX,
    HISTORY_PART_OF_ONE_BRINGER,
    PUBLISH_BURST_BYTES,
    PUBLISH_BYTES_PER_S,
    PUSH_BESIDE_BYTES_MAX,
    TOPIC_HOSTS,
)
from yzdht.pubsub.feed import Start
from yzdht.rpc.engine import Answer
from yzdht.wire.holdings import Series
from yzdht.wire.rpc import Method, Publish, Status


if TYPE_CHECKING:
    from tests.sim.topics import TopicNode
    from yzdht.ports import Now
    from yzdht.rpc.engine import Failed
    from yzdht.wire.pubsub import PubsubEnvelope


TOPIC = TopicId(b"a flooded topic.")
OTHER = TopicId(b"another topic...")
LARGE_BYTES = 60_000
SMALLEST_BYTES = 201
"""Of an envelope: what is fixed, one block and the signature."""


def throw_away(number: int, topic: TopicId, size: int = 0) -> PubsubEnvelope:
    """The one message of a sender that nobody knows."""
    place = Place(Series(key(20_000 + number).public_key, SendSession(bytes(8))), 0)
    return envelope_of(place, topic, 1_700_000_000, bytes(size))


def bring(node: TopicNode, host: TopicNode, envelope: PubsubEnvelope) -> list[Status]:
    """Have a node publish something at one host, past its own engine; the status comes into the list."""
    found: list[Status] = []

    def told(outcome: Answer | Failed, _now: Now) -> None:
        if isinstance(outcome, Answer):
            found.append(outcome.status)

    node.pubsub._outbox.call(host.contact, Method.PUBLISH, Publish(envelope.raw), 10.0, told)
    node.pump()
    return found


def test_throw_away_senders_push_no_history_out_that_fills_no_more_than_its_part() -> None:
    """Hosts fetch from each other what they lack, so that a flood comes on the account of each of them, too."""
    with TopicWorld(1) as world:
        world.add_network(8)
        hosts, rest = world.hosts_of(TOPIC)[:TOPIC_HOSTS], world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        authors = [Author(node, TOPIC, number) for number, node in enumerate(rest[:3])]
        part = HISTORY_MESSAGES_MAX // HISTORY_PART_OF_ONE_BRINGER
        for _ in range(part // len(authors)):
            for author in authors:
                author.publish()
            world.run_for(0.02)
        flooders = [world.add_node(host=f"8.8.4.{number}") for number in range(1, 3)]
        for number in range(part + 30):
            for place, host in enumerate(hosts):
                bring(flooders[number % 2], host, throw_away(number * TOPIC_HOSTS + place, TOPIC))
            world.run_for(0.1)
        world.run_for(60)

        check_bounds(world)
        written = [sent.envelope for author in authors for sent in author.sent]
        for host in hosts:
            assert host.histories.totals().messages == HISTORY_MESSAGES_MAX
            assert all(map(host.holds, written))
        late = Ear(rest[4], TOPIC, Start.ALL)
        world.run_for(20)
        check_told_by(late, authors)


def check_told_by(ear: Ear, authors: list[Author]) -> None:
    """Of these authors it was told everything, and in order."""
    assert all(sent.is_accepted for author in authors for sent in author.sent)
    for author in authors:
        series = author.sent[0].place.series
        assert ear.indexes(series) == list(range(len(author.sent)))


def test_a_subscriber_that_does_not_read_costs_little_and_misses_nothing_once_it_reads() -> None:
    with TopicWorld(2) as world:
        world.add_network(6)
        rest = world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        author = Author(rest[0], TOPIC, 0)
        deaf, other = Ear(rest[1], TOPIC, Start.LIVE), Ear(rest[2], TOPIC, Start.LIVE)
        world.run_for(5)
        deaf.node.is_deaf = True
        unread = 0
        for _ in range(800):
            author.publish()
            world.run_for(0.05)
            sessions = deaf.node.sessions.values()
            unread = max(unread, *(world.unread_by(deaf.node, s) for s in sessions))
        world.run_for(3)
        assert unread <= world.congested_at + 2 + PUSH_BESIDE_BYTES_MAX // SMALLEST_BYTES
        check_told_by(other, [author])
        assert not deaf.messages

        deaf.node.is_deaf = False
        world.run_for(10)
        check_told(deaf, [author])
        check_told_by(deaf, [author])
        assert not deaf.lost


def test_a_topic_that_is_flooded_is_slowed_down_and_another_one_at_its_hosts_goes_on() -> None:
    with TopicWorld(3) as world:
        world.add_network(3)
        nodes = world.topic_nodes
        author = Author(world.add_client(nodes[0]), OTHER, 0)
        ear = Ear(nodes[1], OTHER, Start.LIVE)
        world.run_for(5)
        flooder = world.add_node(host="8.8.4.1")
        began, answers = world.now.mono, []
        for number in range(600):
            answers.append(bring(flooder, nodes[2], throw_away(number, TOPIC, LARGE_BYTES)))
            if number % 20 == 0:
                author.publish()
            world.run_for(0.01)
        world.run_for(5)

        statuses = [status for found in answers for status in found]
        assert Status.RATE_LIMITED in statuses
        passed = (PUBLISH_BURST_BYTES + PUBLISH_BYTES_PER_S * (world.now.mono - began)) / LARGE_BYTES
        assert statuses.count(Status.OK) <= passed
        assert all(sent.is_accepted for sent in author.sent)
        check_told_by(ear, [author])
        assert check_complete(ear, [author], lambda _envelope: True) == 0
        check_bounds(world)

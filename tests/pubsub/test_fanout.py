"""To whom a message goes; with announcements and sessions around it in test_host.py."""

from __future__ import annotations

from tests.pubsub.kit_host import TOPIC, Author, World, peer, topic
from yzdht.limits import (
    CHANGES_REMEMBERED_MAX,
    CHANGES_REMEMBERED_MIN,
    CHANGES_REMEMBERED_OF_ALL_MAX,
    HOSTED_TOPICS_MAX,
    LINK_UNSENT_BYTES_HIGH,
    PUSH_BESIDE_BYTES_MAX,
    PUSH_BESIDE_PARTS,
    PUSH_BESIDE_SERIES_MAX,
    TOPICS_PER_SESSION_MAX,
)
from yzdht.pubsub.fanout import changes_of_each
from yzdht.wire.rpc import SummaryRow


ALICE, BOB, CAROL = peer(101), peer(102), peer(103)


def test_it_is_sent_to_who_asked_for_it_and_told_to_the_others() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.subscribe(BOB, push=False)
    host.subscribe(CAROL)
    author = Author()
    envelope = author.envelope()
    host.publish(envelope)
    world.run(2.0)

    assert host.pushed(ALICE) == host.pushed(CAROL) == [envelope]
    assert host.pushed(BOB) == []
    assert not host.announced(ALICE)
    assert not host.announced(CAROL)
    assert [a.changes for a in host.announced(BOB)] == [((TOPIC, (SummaryRow(*author.series, 0, 1),)),)]


def test_what_is_remembered_of_all_topics_together_is_bounded_however_many_there_are() -> None:
    for topics in (0, 1, 100, 10_000, HOSTED_TOPICS_MAX):
        part = changes_of_each(topics)

        assert CHANGES_REMEMBERED_MIN <= part <= CHANGES_REMEMBERED_MAX
        assert part * topics <= max(CHANGES_REMEMBERED_OF_ALL_MAX, CHANGES_REMEMBERED_MIN * topics)
    assert changes_of_each(100) == CHANGES_REMEMBERED_MAX


def test_where_there_are_many_topics_fewer_changes_of_each_are_remembered() -> None:
    world = World()
    host = world.host(1)
    for number in range(TOPICS_PER_SESSION_MAX):
        host.subscribe(ALICE, topic(number), push=False)
        host.subscribe(BOB, topic(TOPICS_PER_SESSION_MAX + number), push=False)
    host.congested.add(ALICE.node_id)
    for _ in range(2 * changes_of_each(2 * TOPICS_PER_SESSION_MAX)):
        host.publish(Author().envelope())

    hosted = host.host._topics.get(TOPIC)
    assert hosted is not None
    assert len(hosted.series or ()) == changes_of_each(2 * TOPICS_PER_SESSION_MAX)


def test_who_publishes_is_sent_its_own_message_if_it_is_subscribed() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    envelope = Author().envelope()
    host.publish(envelope, ALICE)

    assert host.pushed(ALICE) == [envelope]


def test_who_missed_one_is_told_of_that_and_of_what_it_was_sent_after_it() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    one, two = Author(), Author()
    first, second = one.envelope(), two.envelope()
    host.congested.add(ALICE.node_id)
    host.publish(first)
    host.congested.clear()
    host.publish(second)
    world.run(2.0)

    assert host.pushed(ALICE) == [second]
    [told] = host.announced(ALICE)
    rows = (SummaryRow(*one.series, 0, 1), SummaryRow(*two.series, 0, 1))
    assert told.changes == ((TOPIC, rows),)


def test_who_does_not_keep_up_is_sent_what_known_senders_say_and_told_of_strangers() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    known, stranger = Author(), Author()
    envelopes = [known.envelope()]
    host.publish(envelopes[0])
    host.congested.add(ALICE.node_id)
    host.publish(stranger.envelope())
    envelopes.append(known.envelope(1))
    host.publish(envelopes[1])
    host.congested.clear()
    world.run(2.0)

    assert host.pushed(ALICE) == envelopes
    [told] = host.announced(ALICE)
    assert SummaryRow(*stranger.series, 0, 1) in told.changes[0][1]


def test_what_is_sent_to_who_does_not_keep_up_is_bounded_until_it_does() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    authors, text = [Author() for _ in range(2 * PUSH_BESIDE_PARTS)], b"x" * 4_000
    size = len(authors[0].envelope(0, text).raw)
    of_each, of_all = PUSH_BESIDE_BYTES_MAX // PUSH_BESIDE_PARTS // size, PUSH_BESIDE_BYTES_MAX // size
    for author in authors:
        host.publish(author.envelope())
    host.congested.add(ALICE.node_id)
    before = len(host.pushed(ALICE))
    for index in range(1, 12):
        host.publish(authors[0].envelope(index, text))
    assert len(host.pushed(ALICE)) == before + of_each

    host.publish(authors[0].envelope(12))
    assert len(host.pushed(ALICE)) == before + of_each, "a small one does not pass a large one of its series"

    for index in range(1, 12):
        for author in authors[1:]:
            host.publish(author.envelope(index, text))
    assert of_all - PUSH_BESIDE_PARTS <= len(host.pushed(ALICE)) - before <= of_all

    host.congested.clear()
    host.publish(authors[1].envelope(12))
    before = len(host.pushed(ALICE))
    host.congested.add(ALICE.node_id)
    host.publish(authors[0].envelope(13, text))
    assert len(host.pushed(ALICE)) == before + 1


def test_a_large_message_of_one_who_said_something_before_takes_no_room_of_others() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    honest, stranger = Author(), Author()
    host.publish(honest.envelope())
    host.publish(stranger.envelope())
    host.congested.add(ALICE.node_id)
    before = len(host.pushed(ALICE))
    host.publish(stranger.envelope(1, b"x" * 65_000))
    for index in range(1, 30):
        host.publish(honest.envelope(index))

    assert len(host.pushed(ALICE)) == before + 29


def test_who_has_read_as_much_as_was_sent_beside_it_is_sent_more() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    author, other, text = Author(), Author(), b"x" * 4_000
    host.publish(author.envelope())
    host.publish(other.envelope())
    host.congested.add(ALICE.node_id)
    for index in range(1, 9):
        host.publish(author.envelope(index, text))
    before = len(host.pushed(ALICE))
    host.unsent[ALICE.node_id] = LINK_UNSENT_BYTES_HIGH - PUSH_BESIDE_BYTES_MAX + 1
    host.publish(author.envelope(9))
    assert len(host.pushed(ALICE)) == before

    host.unsent[ALICE.node_id] = LINK_UNSENT_BYTES_HIGH - PUSH_BESIDE_BYTES_MAX
    host.publish(author.envelope(10))
    host.unsent[ALICE.node_id] = LINK_UNSENT_BYTES_HIGH
    for index in range(11, 20):
        host.publish(author.envelope(index, text))
        host.publish(other.envelope(index, text))
    sent = sum(len(envelope.raw) for envelope in host.pushed(ALICE)[before:])
    assert PUSH_BESIDE_BYTES_MAX // PUSH_BESIDE_PARTS < sent <= PUSH_BESIDE_BYTES_MAX


def test_series_that_have_room_at_who_does_not_keep_up_are_bounded() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    authors = [Author() for _ in range(PUSH_BESIDE_SERIES_MAX + 5)]
    for author in authors:
        host.publish(author.envelope())
    host.congested.add(ALICE.node_id)
    before = len(host.pushed(ALICE))
    for author in authors:
        host.publish(author.envelope(1))
    host.publish(authors[0].envelope(2))

    assert len(host.pushed(ALICE)) == before + PUSH_BESIDE_SERIES_MAX + 1


def test_who_was_told_what_it_was_not_sent_keeps_up_again() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    author, text = Author(), b"x" * 9_000
    host.congested.add(ALICE.node_id)
    for index in range(12):
        host.publish(author.envelope(index, text))
    assert 0 < len(host.pushed(ALICE)) < 12
    host.congested.clear()
    world.run(2.0)
    before = len(host.pushed(ALICE))
    host.congested.add(ALICE.node_id)
    host.publish(author.envelope(12, text))

    assert len(host.pushed(ALICE)) == before + 1


def test_what_was_sent_is_not_told_later() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    one, two = Author(), Author()
    host.publish(one.envelope())
    host.congested.add(ALICE.node_id)
    host.publish(two.envelope())
    host.congested.clear()
    world.run(2.0)

    [told] = host.announced(ALICE)
    assert told.changes == ((TOPIC, (SummaryRow(*two.series, 0, 1),)),)

"""What subscribers are told, and when; the whole host around it is in test_host.py."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.pubsub.kit_disk import Faults, FaultyTopics
from tests.pubsub.kit_host import (
    WALL,
    Author,
    Neighbourhood,
    contact,
    memory,
    node_id,
    peer,
    target_of,
    topic,
)
from yzdht.ids import SendSession
from yzdht.limits import (
    ANNOUNCE_AFTER_S,
    ANNOUNCE_EVERY_S,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENT_ROWS_PER_TURN,
    HOLES_MAX,
    SUMMARY_ROWS_MAX,
    TOPICS_PER_ANNOUNCEMENT_MAX,
)
from yzdht.ports import Now
from yzdht.pubsub.announcements import Announcements, rows_bytes
from yzdht.pubsub.hosted import Topics
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.subscriptions import Subscriptions
from yzdht.rpc.engine import Push
from yzdht.wire.holdings import Held, Series, Span
from yzdht.wire.pubsub import Announcement, decode_push, encode_announcement
from yzdht.wire.rpc import SummaryRow


if TYPE_CHECKING:
    from yzdht.ids import TopicId
    from yzdht.pubsub.subscriptions import Subscriber


ALICE = peer(101)
AUTHORS = [Author() for _ in range(3)]


class Desk:
    """Announcements with one subscriber, and topics whose changes are made by hand."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.faults = Faults()
        store = FaultyTopics(memory(), self.faults)
        self.topics = Topics(node_id(1), store, Neighbourhood(contact(1)), target_of)
        self.subscriptions = Subscriptions()
        self.is_congested = False
        self.announcements = Announcements(
            self.topics, self.subscriptions, self.outbox, lambda _peer: self.is_congested
        )
        self.mono = 0.0
        self.told: list[tuple[float, Announcement]] = []

    @property
    def now(self) -> Now:
        return Now(self.mono, WALL + self.mono)

    def subscribe(self, of: TopicId) -> Subscriber:
        if self.topics.get(of) is None:
            self.topics.open(of, (), self.now)
        self.subscriptions.add(ALICE, b"a", of, 0, is_pushed=False, is_further=False)
        [subscriber] = self.subscriptions.of(of)
        return subscriber

    def change(self, of: TopicId, author: Author = AUTHORS[0]) -> None:
        hosted = self.topics.get(of)
        assert hosted is not None
        held = self.topics.holdings(of)
        held.add(author.series, held.of(author.series).next)
        hosted.changed(author.series, is_told=True)
        for subscriber in self.subscriptions.of(of):
            self.announcements.changed(subscriber, of, self.now)

    def run(self, seconds: float) -> None:
        end = self.mono + seconds
        while (at := self.announcements.next_timer()) is not None and at <= end:
            assert at >= self.mono
            self.mono = at
            self.announcements.handle_timer(self.now)
            for item in self.outbox.take():
                assert isinstance(item, Push)
                push = decode_push(item.data)
                assert isinstance(push, Announcement)
                self.told.append((self.mono, push))
        self.mono = end


def test_the_first_word_comes_soon_and_the_next_a_second_later() -> None:
    desk = Desk()
    desk.subscribe(topic())
    for _ in range(4):
        desk.change(topic())
        desk.run(0.4)

    assert [at for at, _ in desk.told] == [ANNOUNCE_AFTER_S, ANNOUNCE_AFTER_S + ANNOUNCE_EVERY_S]


def test_nothing_is_due_while_nothing_changes() -> None:
    desk = Desk()
    desk.subscribe(topic())
    desk.change(topic())
    desk.run(10.0)

    assert len(desk.told) == 1
    assert desk.announcements.next_timer() is None


def test_who_does_not_read_is_asked_after_once_a_second() -> None:
    desk = Desk()
    desk.subscribe(topic())
    desk.is_congested = True
    desk.change(topic())
    desk.run(10.0)
    silence = list(desk.told)
    desk.is_congested = False
    desk.run(ANNOUNCE_EVERY_S)

    assert silence == []
    assert len(desk.told) == 1


def test_of_many_subscribers_that_are_due_at_once_some_wait_a_moment() -> None:
    desk = Desk()
    desk.topics.open(topic(), (), desk.now)
    count = 3 * ANNOUNCEMENT_ROWS_PER_TURN // SUMMARY_ROWS_MAX
    for number in range(count):
        desk.subscriptions.add(peer(200 + number), b"a", topic(), 0, is_pushed=False, is_further=False)
    for author in [Author() for _ in range(SUMMARY_ROWS_MAX)]:
        desk.change(topic(), author)
    desk.run(1.0)

    turns = Counter(at for at, _ in desk.told)
    assert turns.total() == count
    assert list(turns.values()) == [ANNOUNCEMENT_ROWS_PER_TURN // SUMMARY_ROWS_MAX] * 3


def test_who_is_gone_is_told_nothing() -> None:
    desk = Desk()
    desk.subscribe(topic())
    desk.change(topic())
    desk.subscriptions.drop(ALICE)
    desk.subscribe(topic())
    desk.run(10.0)

    assert desk.told == []


def test_a_topic_that_is_forgotten_is_not_told_of() -> None:
    desk = Desk()
    subscriber = desk.subscribe(topic())
    desk.change(topic())
    desk.topics.drop(topic())
    desk.run(10.0)

    assert desk.told == []
    assert not subscriber.changed


def test_what_cannot_be_read_of_one_topic_is_told_later_and_the_others_at_once() -> None:
    desk = Desk()
    topics = [topic(number) for number in range(1, 4)]
    for of in topics:
        desk.subscribe(of)
        desk.change(of)
    desk.topics.reread()
    before = desk.faults.reads
    desk.faults.fails = lambda _number, of: of == topics[0]
    desk.run(3.0)
    reads = desk.faults.reads - before
    desk.faults.fails = lambda _number, _topic: False
    desk.run(3.0)

    assert [[of for of, _ in push.changes] for _, push in desk.told] == [topics[1:], topics[:1]]
    assert reads <= 6


def test_topics_that_cannot_be_read_take_no_place_in_what_is_told() -> None:
    desk = Desk()
    for number in range(TOPICS_PER_ANNOUNCEMENT_MAX + 1):
        desk.subscribe(topic(number))
        desk.change(topic(number))
    last = topic(TOPICS_PER_ANNOUNCEMENT_MAX)
    desk.topics.reread()
    desk.faults.fails = lambda _number, of: of != last
    desk.run(3.0)

    assert [[of for of, _ in push.changes] for _, push in desk.told] == [[last]]


def test_rows_are_counted_by_their_holes() -> None:
    row = SummaryRow(*AUTHORS[0].series, 0, 9)
    holes = SummaryRow(*AUTHORS[0].series, 0, 9, (3, 4))

    assert 0 < rows_bytes([row]) < rows_bytes([holes]) < rows_bytes([row, row])


def test_a_record_is_as_large_as_it_may_be_and_the_rest_comes_a_second_later() -> None:
    desk = Desk()
    runs = [Span(2**31 + 2 * place, 2**31 + 2 * place + 1) for place in range(HOLES_MAX + 1)]
    sessions = [Series(AUTHORS[0].public_key, SendSession(number.to_bytes(8))) for number in range(200)]
    for number in range(20):
        desk.subscribe(topic(number))
        hosted = desk.topics.get(topic(number))
        assert hosted is not None
        for series in sessions:
            desk.topics.holdings(topic(number)).put(series, Held.of_runs(runs[0].start, runs))
            hosted.changed(series, is_told=True)
        desk.announcements.changed(desk.subscribe(topic(number)), topic(number), desk.now)
    desk.run(60.0)

    sizes = [len(encode_announcement(push.changes)) for _, push in desk.told]
    assert max(sizes) <= ANNOUNCEMENT_BYTES_MAX
    assert min(sizes[:-1]) > ANNOUNCEMENT_BYTES_MAX * 2 // 3
    heard = [(of, row.session) for _, push in desk.told for of, rows in push.changes for row in rows]
    assert len(heard) == len(set(heard)) == 20 * len(sessions)
    assert all(len(rows[0].holes) == HOLES_MAX for _, push in desk.told for _, rows in push.changes)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 2), st.booleans()), max_size=40))
def test_in_the_end_a_subscriber_was_told_of_all_that_is_held(
    changes: list[tuple[int, int, float, bool]],
) -> None:
    desk = Desk()
    for number in range(4):
        desk.subscribe(topic(number))
    for number, author, pause_s, is_congested in changes:
        desk.is_congested = is_congested
        desk.change(topic(number), AUTHORS[author])
        desk.run(pause_s)
    desk.is_congested = False
    desk.run(10.0)

    heard = {
        (of, Series(row.sender, row.session)): row.next
        for _, announcement in desk.told
        for of, rows in announcement.changes
        for row in rows
    }
    held = {
        (topic(number), series): desk.topics.holdings(topic(number)).of(series).next
        for number in range(4)
        for series in desk.topics.holdings(topic(number))
    }
    times = [at for at, _ in desk.told]
    assert heard == held
    assert all(b - a >= ANNOUNCE_EVERY_S - 1e-9 for a, b in pairwise(times))

"""A disk that cannot be read for a moment, or of one topic for good, costs a host what was being read, and nothing after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.pubsub.kit_disk import Faults
from tests.pubsub.kit_host import HOSTING, Author, HostNode, World, peer, topic
from yzdht.limits import SYNC_EVERY_S
from yzdht.pubsub import hosted
from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import (
    Backlog,
    BacklogPage,
    Publish,
    Refusal,
    Status,
    Subscribe,
    Subscribed,
    SummaryRow,
    TopicSync,
    Unsubscribe,
)


if TYPE_CHECKING:
    import pytest

    from yzdht.ids import TopicId


A_WHILE_S = 3 * SYNC_EVERY_S
ALICE, BEN = peer(101), peer(102)
TOPICS = [topic(number) for number in range(3)]
DAMAGED, WHOLE = topic(8), topic(9)


class Story:
    """Two hosts that lack of each other, one that comes back, and peers that ask; `fails_at` is the read that fails."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.world = World()
        self.world.faults = Faults(lambda number, _topic: number == fails_at)
        self.author = Author()
        self.busy = 0
        self.one, self.two = self.world.host(1), self.world.host(2)

    def ask(self, host: HostNode, body: Publish | Subscribe | Unsubscribe | Backlog) -> Answer:
        """A peer that comes again if a host is busy."""
        asked = host.ask(ALICE, body)
        self.world.run(0.05)
        assert asked.answer is not None
        if asked.status is not Status.BUSY:
            return asked.answer
        self.busy += 1
        assert self.busy == 1
        return self.ask(host, body)

    def say(self, host: HostNode, index: int) -> None:
        for of in TOPICS:
            answer = self.ask(host, Publish(self.author.envelope(index, of=of).raw))
            assert answer.status is Status.OK

    def tell(self) -> None:
        for index in range(4):
            self.say((self.one, self.two)[index % 2], index)
        for of in TOPICS:
            assert isinstance(self.ask(self.one, Subscribe(of, push=False)).body, Subscribed)
        self.world.meet(1, 2)
        self.world.run(A_WHILE_S)
        self.say(self.one, 1)  # it has that already
        self.before = self.two
        self.world.crash(2)
        self.say(self.one, 4)
        self.two = self.world.restart(2)
        self.two.on_neighbourhood([1])
        self.world.run(A_WHILE_S)
        for of in TOPICS:
            page = self.ask(self.two, Backlog(of, (self.author.range(0, 5),), 1 << 16)).body
            assert isinstance(page, BacklogPage)
            assert len(page.envelopes) == 5
        self.ask(self.one, Unsubscribe(TOPICS[0]))
        self.say(self.two, 5)
        self.world.run(2 * A_WHILE_S)

    def told(self, of: TopicId) -> int:
        """Up to which message Alice was told of a topic."""
        changes = [change for announcement in self.one.announced(ALICE) for change in announcement.changes]
        return max(row.next for of_row, rows in changes for row in rows if of_row == of)

    def is_quiet(self, host: HostNode) -> bool:
        """True if what it does of its own accord ends."""
        for _ in range(100):
            if host.host.is_quiet:
                return True
            self.world.run(0.01)
        return False

    def failures(self) -> int:
        """How many reads that failed were counted, by hosts that are gone, too."""
        return sum(host.counts["store_errors"] for host in (self.one, self.two, self.before))


def test_whichever_read_fails_everybody_is_answered_and_every_host_has_all_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosted, "HOLDINGS_CACHED_MAX", 1)  # it reads again and again
    well = Story()
    well.tell()
    reads = well.world.faults.reads
    assert reads > 50
    for at in range(1, reads + 1):
        story = Story(at)
        story.tell()
        for host in (story.one, story.two):
            assert [host.holds(story.author, of) for of in TOPICS] == [list(range(6))] * 3, at
            assert host.host.topics == 3, at
            assert story.is_quiet(host), at
        assert [story.told(of) for of in TOPICS[1:]] == [6, 6], at
        assert story.failures() == 1, at


def test_of_a_topic_that_stays_unreadable_everybody_is_told_to_come_later_and_the_others_are_served() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author = Author()
    for of in (DAMAGED, WHOLE):
        one.publish(author.envelope(0, of=of))
        one.subscribe(ALICE, of)
    world.meet(1, 2)
    world.run(1.0)
    world.faults.fails = lambda _number, of: of == DAMAGED
    for host in (one, two):
        host.host._topics.reread()
    asks = (
        (BEN, Subscribe(DAMAGED)),
        (BEN, Backlog(DAMAGED, (author.range(0, 1),), 1_000)),
        (BEN, Publish(author.envelope(1, of=DAMAGED).raw)),
        (peer(2, HOSTING), TopicSync(DAMAGED, (SummaryRow(*author.series, 0, 2),))),
    )
    for who, body in asks:
        assert one.ask(who, body).answer == Answer(Status.BUSY, Refusal())
    assert one.ask(ALICE, Unsubscribe(DAMAGED)).status is Status.OK
    assert one.publish(author.envelope(1, of=WHOLE), BEN).answer is None  # it waits for the disk
    assert [envelope.topic for envelope in one.pushed(ALICE)] == [WHOLE]
    assert one.pushed(BEN) == []

    wakes = one.wakes
    world.run(600.0)
    assert one.wakes - wakes < 300
    assert two.holds(author, WHOLE) == [0, 1]


def test_who_is_told_to_come_later_is_not_subscribed_and_what_it_opened_is_compared_or_goes() -> None:
    world = World()
    one, two = world.host(1), world.host(2)
    author = Author()
    two.publish(author.envelope(of=DAMAGED))
    world.run(1.0)
    one.on_neighbourhood([2])
    world.faults.fails = lambda _number, of: of is not None
    for of in (DAMAGED, WHOLE):
        assert one.ask(ALICE, Subscribe(of)).status is Status.BUSY
    assert one.publish(author.envelope(of=topic(7))).status is Status.BUSY
    assert (one.host.subscriptions, one.host.topics) == (0, 3)

    world.faults.fails = lambda _number, _topic: False
    world.run(A_WHILE_S)
    assert one.holds(author, DAMAGED) == [0]
    assert one.host.topics == 1

"""What a host takes in, verdict by verdict; the answers as peers get them are in test_host.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_host import (
    TOPIC,
    WALL,
    Author,
    Neighbourhood,
    Verifier,
    contact,
    forged,
    memory,
    node_id,
    resigned,
    target_of,
)
from yzdht.errors import StoreError
from yzdht.ids import MessageId, TopicId
from yzdht.limits import CHANGES_REMEMBERED_MAX
from yzdht.ports import Now
from yzdht.pubsub.announcements import Announcements
from yzdht.pubsub.fanout import FanOut
from yzdht.pubsub.hosted import Topics
from yzdht.pubsub.intake import Intake
from yzdht.pubsub.keeping import Keeping
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.ports import Surroundings
from yzdht.pubsub.subscriptions import Subscriptions
from yzdht.rpc.engine import Answer, Keep
from yzdht.wire.history import (
    Bringer,
    Conflicting,
    Forgotten,
    Kept,
    KnownAlready,
    Over,
    TopicVerdict,
    TopicWrite,
)
from yzdht.wire.pubsub import INDEX_MAX, PubsubEnvelope, decode_envelope
from yzdht.wire.rpc import Published, Refusal, Status
from yzdht.wire.slot import OverQuota, StoreBroken


if TYPE_CHECKING:
    from yzdht.wire.holdings import Holdings, Series


NOW = Now(7.0, WALL)
BRINGER = Bringer(b"bringer!")
OTHER = MessageId(bytes(20))


class Desk:
    """An intake whose store a test answers for."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.store = memory()
        self.verifier = Verifier()
        neighbourhood = Neighbourhood(contact(1))
        self.topics = Topics(node_id(1), self.store, neighbourhood, target_of)
        self.hosted = self.topics.open(TOPIC, (), NOW._replace(mono=0.0))
        self.keeping = Keeping(self.outbox, self.topics)
        around = Surroundings(neighbourhood, self.verifier, target_of, lambda _: False, lambda _: None)
        subscriptions = Subscriptions()
        announcements = Announcements(self.topics, subscriptions, self.outbox, lambda _: False)
        fan_out = FanOut(subscriptions, announcements, self.outbox, around, lambda: CHANGES_REMEMBERED_MAX)
        self.intake = Intake(self.topics, self.store, self.keeping, fan_out, around)
        self.answers: list[Answer] = []

    def take(self, envelope: PubsubEnvelope) -> bool:
        return self.intake.take(envelope, self.hosted, BRINGER, self.hear, NOW)

    def hear(self, answer: Answer, _now: Now) -> None:
        self.answers.append(answer)

    def writes(self) -> list[tuple[int, TopicWrite]]:
        items = [item for item in self.outbox.take() if isinstance(item, Keep)]
        return [(item.op, item.change) for item in items if isinstance(item.change, TopicWrite)]


def test_for_a_message_of_a_new_index_no_disk_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    read: list[int] = []
    message_id = desk.store.message_id

    def counted(topic: TopicId, series: Series, index: int) -> MessageId | None:
        read.append(index)
        return message_id(topic, series, index)

    monkeypatch.setattr(desk.store, "message_id", counted)
    author = Author()
    desk.take(author.envelope(0))
    desk.take(author.envelope(1))
    desk.take(author.envelope(0))

    assert read == [0], "only what is held can be another one"


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (Kept(), Answer(Status.OK, Published(1, 1))),
        (KnownAlready(), Answer(Status.OK, Published(1, 1))),
        (Over(), Answer(Status.SEQ_TOO_LOW, Refusal(0))),
        (Conflicting(OTHER), Answer(Status.EQUIVOCATION, Refusal(3, OTHER))),
        (OverQuota(), Answer(Status.OVER_QUOTA, Refusal())),
        (StoreBroken(), Answer(Status.BUSY, Refusal())),
        (Forgotten(0), Answer(Status.BUSY, Refusal())),
    ],
)
def test_each_verdict_has_its_answer(verdict: TopicVerdict, answer: Answer) -> None:
    desk = Desk()
    is_genuine = desk.take(Author().envelope(3))
    [(op, _)] = desk.writes()
    before = list(desk.answers)
    desk.keeping.on_stored(op, verdict, NOW)

    assert is_genuine
    assert before == []
    assert desk.answers == [answer]


def test_whoever_waits_is_answered_though_it_cannot_be_read_since_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.take(Author().envelope(3))
    [(op, _)] = desk.writes()

    def unreadable(_topic: TopicId) -> Holdings:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(desk.store, "holdings", unreadable)
    desk.keeping.on_stored(op, Over(), NOW)

    assert desk.answers == [Answer(Status.BUSY, Refusal())]


def test_what_is_written_is_the_message_as_it_came() -> None:
    desk = Desk()
    author = Author()
    envelope = author.envelope(3)
    desk.take(envelope)

    [(_, write)] = desk.writes()
    assert write == TopicWrite(TOPIC, *author.series, 3, envelope.id, envelope.raw, int(WALL), BRINGER)


def test_a_message_is_held_and_its_topic_active_from_when_it_was_found_genuine() -> None:
    desk = Desk()
    author = Author()
    desk.hosted.forget_at = 99.0
    desk.take(author.envelope())

    assert 0 in desk.topics.holdings(TOPIC).of(author.series)
    assert (desk.hosted.tick, desk.hosted.active_at) == (1, NOW.mono)
    assert desk.hosted.forget_at is None


@pytest.mark.parametrize("verdict", [OverQuota(), StoreBroken(), Over()])
def test_what_was_not_kept_is_not_held(verdict: TopicVerdict) -> None:
    desk = Desk()
    author = Author()
    desk.take(author.envelope())
    [(op, _)] = desk.writes()
    desk.keeping.on_stored(op, verdict, NOW)

    assert desk.topics.holdings(TOPIC).of(author.series).is_empty


def test_what_a_message_pushed_out_is_over() -> None:
    desk = Desk()
    author = Author()
    for index in range(3):
        desk.take(author.envelope(index))
    op = desk.writes()[-1][0]
    desk.keeping.on_stored(op, Kept(((author.series, 0), (author.series, 1))), NOW)

    assert desk.topics.holdings(TOPIC).of(author.series).floor == 2


def test_nobody_has_a_message_written_with_another_signature_while_the_genuine_one_is_on_its_way_to_disk() -> (
    None
):
    desk = Desk()
    envelope = Author().envelope(3)
    desk.take(envelope)
    [(op, write)] = desk.writes()
    desk.store.submit(op, write)

    assert not desk.take(resigned(envelope))
    assert desk.answers == [Answer(Status.BAD_SIGNATURE, Refusal())]
    assert desk.writes() == []


def test_what_is_over_is_refused_without_a_look_at_its_signature() -> None:
    desk = Desk()
    author = Author()
    desk.topics.holdings(TOPIC).open(author.series, 5)

    assert desk.take(author.envelope(4))
    assert desk.answers == [Answer(Status.SEQ_TOO_LOW, Refusal(5))]
    assert desk.writes() == []
    assert desk.verifier.looks == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (forged(Author().envelope(3)), Status.BAD_SIGNATURE),
        (Author().envelope(INDEX_MAX).raw, Status.BAD_REQUEST),
    ],
)
def test_what_is_not_genuine_is_told_and_changes_nothing(raw: bytes, status: Status) -> None:
    desk = Desk()

    assert not desk.take(decode_envelope(raw))
    assert desk.answers == [Answer(status, Refusal())]
    assert desk.writes() == []
    assert desk.hosted.tick == 0


def test_the_same_message_twice_in_one_turn_is_written_twice_and_passed_on_once() -> None:
    desk = Desk()
    envelope = Author().envelope()
    desk.take(envelope)
    desk.take(envelope)

    assert len(desk.writes()) == 2
    assert desk.hosted.tick == 1

"""Who publishes and who listens in a simulated network, and what must hold of what they were told."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.sim.authors import key
from tests.sim.topics import null_signature
from yzdht.crypto.topics import MessagePlace
from yzdht.ids import SendSession
from yzdht.limits import CURSOR_BYTES_MAX, LIVE_S, UNSETTLED_PER_TOPIC_MAX, WAITING_MESSAGES_MAX
from yzdht.pubsub.cursor import Cursor, decode_cursor
from yzdht.pubsub.events import Begins, Lost, Message, WantsEpochs
from yzdht.pubsub.feed import Start
from yzdht.pubsub.subscriber import Mailbox, Subscriber
from yzdht.wire.holdings import Series, Span
from yzdht.wire.pubsub import (
    NO_KID,
    Mode,
    PubsubMessage,
    decode_envelope,
    decode_message,
    encode_fixed,
    encode_message,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.sim.circle import Circle, Fellow
    from tests.sim.topics import TopicNode, TopicWorld
    from yzdht.ids import MessageId, PublicKey, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.events import Event
    from yzdht.pubsub.feed import Feed
    from yzdht.pubsub.publisher import PublishResult
    from yzdht.wire.pubsub import PubsubEnvelope


_AUTHORS_FROM = 10_000


class Place(NamedTuple):
    """Where a message is."""

    series: Series
    at: int


def envelope_of(place: Place, topic: TopicId, created: int, data: bytes) -> PubsubEnvelope:
    """A public message, signed with what stands for a signature."""
    fixed = encode_fixed(Mode.PUBLIC, topic, NO_KID, *place.series, place.at)
    signed = fixed + encode_message(PubsubMessage(created, 0, data))
    return decode_envelope(signed + null_signature(signed))


@dataclass(slots=True)
class Sent:
    """One message that was published.

    Attributes:
        envelope: It.
        at: The world's monotonic seconds.
        is_accepted: True once its publisher knows that a majority has it.
        said: What it says, if it is sealed.
        epoch: In which it is sealed; 0 in public.

    """

    envelope: PubsubEnvelope
    at: float
    is_accepted: bool = False
    said: bytes | None = None
    epoch: int = 0

    @property
    def place(self) -> Place:
        return Place(Series(self.envelope.sender, self.envelope.session), self.envelope.index)

    @property
    def data(self) -> bytes:
        """What it says."""
        return decode_message(self.envelope.body).data if self.said is None else self.said


def author_key(number: int) -> PublicKey:
    """Of the author of that number."""
    return key(_AUTHORS_FROM + number).public_key


class Author:
    """Publishes to one topic; each life of its node is another run, with another session.

    Args:
        node: Through which.
        topic: 16 bytes.
        number: Each has another one.
        circle: The group for which it seals, and in which it is; None in public.

    Attributes:
        sent: All its messages, of all runs.

    """

    def __init__(self, node: TopicNode, topic: TopicId, number: int, circle: Circle | None = None) -> None:
        self.node = node
        self.topic = topic
        self.public_key = author_key(number)
        self.fellow = circle.fellow(self.public_key) if circle is not None else None
        self.sent: list[Sent] = []
        self._life = self._next = 0
        self._unsettled: OrderedDict[MessageId, Sent] = OrderedDict()

    def publish(self, size: int = 0) -> Sent | None:
        """One message more, and with it what no majority took before; None while its node is down."""
        if not self.node.is_up:
            return None
        if self._life != self.node.life:
            self._life, self._next = self.node.life, 0
            self._unsettled.clear()
        unsettled, self._unsettled = list(self._unsettled.values()), OrderedDict()
        for sent in unsettled:
            self._bring(sent)
        place = Place(Series(self.public_key, SendSession(self._life.to_bytes(8))), self._next)
        self._next += 1
        data = b"%d" % len(self.sent) + bytes(size)
        sent = self._write(place, data)
        self.sent.append(sent)
        self._bring(sent)
        return sent

    def _write(self, place: Place, data: bytes) -> Sent:
        at, created = self.node.world.now.mono, int(self.node.now().wall)
        if self.fellow is None:
            return Sent(envelope_of(place, self.topic, created, data), at)
        message_place = MessagePlace(self.topic, *place.series, place.at)
        signed = self.fellow.channel.build(message_place, PubsubMessage(created, 0, data))
        envelope = decode_envelope(signed + null_signature(signed))
        return Sent(envelope, at, said=data, epoch=self.fellow.epoch)

    def _bring(self, sent: Sent) -> None:
        life = self.node.life

        def told(result: PublishResult, _now: Now) -> None:
            if result.is_accepted:
                sent.is_accepted = True
            elif life == self._life:
                self._unsettled[sent.envelope.id] = sent
                if len(self._unsettled) > UNSETTLED_PER_TOPIC_MAX:
                    self._unsettled.popitem(last=False)

        assert self.node.pubsub.publish(sent.envelope, told, self.node.now())
        self.node.pump()


class Ear:
    """Listens to one topic at a node; a later life of the node goes on from the cursor.

    Args:
        node: At which.
        topic: 16 bytes.
        start: From where.
        fellow: What it knows of the group whose messages it reads; None in public.

    Attributes:
        events: All that was told, of all lives.

    """

    def __init__(
        self, node: TopicNode, topic: TopicId, start: Start = Start.ALL, fellow: Fellow | None = None
    ) -> None:
        self.node = node
        self.fellow = fellow
        self.topic = topic
        self.begun_at = node.world.now.mono
        self.events: list[Event] = []
        self.told_at: list[float] = []  # by the clock of its node
        self.began_at: list[float] = []  # the life in which it was told; by the same clock
        self.world_at: list[float] = []
        self._taken = Cursor(topic)
        self._life = 0
        self._began = 0.0
        self.subscriber: Subscriber
        self.feed: Feed
        if fellow is not None:
            fellow.on_news = self._on_news
        self._listen(start)

    def __repr__(self) -> str:
        return f"ear at {self.node}"

    def go_on(self) -> None:
        """After a restart of its node: what was told before is not told again."""
        if self.node.is_up and self._life != self.node.life:
            self._listen(None)

    def stop(self) -> None:
        """Listen no more."""
        self.node.pubsub.unsubscribe(self.topic, self.feed, self.node.now())
        self.node.pump()

    def _listen(self, start: Start | None) -> None:
        self._life = self.node.life
        encoded = self._taken.encode()
        assert len(encoded) <= CURSOR_BYTES_MAX
        cursor = decode_cursor(encoded, self.topic)
        now = self.node.now()
        self._began = now.wall
        opener, is_member = (
            (self, _is_anybody) if self.fellow is None else (self.fellow.channel, self.fellow.is_member)
        )
        self.subscriber = Subscriber(Mailbox(opener, is_member, self._tell), cursor, self._began)
        feed = self.node.pubsub.subscribe(self.topic, start or cursor.holdings(), self.subscriber, now)
        assert feed is not None
        self.feed = feed
        self.node.pump()

    def open(self, envelope: PubsubEnvelope) -> PubsubMessage:
        """As in public."""
        return decode_message(envelope.body)

    def _on_news(self, are_more_wanted: bool) -> None:  # noqa: FBT001 - a fellow's callback
        if self.node.is_up and self._life == self.node.life:
            self.node.pubsub.renew(self.feed, self.node.now(), are_more_wanted=are_more_wanted)
            self.node.pump()

    def _tell(self, event: Event, now: Now) -> None:
        if isinstance(event, WantsEpochs):
            if self.fellow is not None:
                self.fellow.look_soon()
            return
        self._taken.take(event)
        self.events.append(event)
        self.told_at.append(now.wall)
        self.began_at.append(self._began)
        self.world_at.append(self.node.world.now.mono)
        assert self.subscriber.waiting <= WAITING_MESSAGES_MAX

    # What it was told

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    @property
    def came(self) -> list[tuple[Message, float]]:
        """Each with the world's monotonic seconds at which it was told."""
        pairs = zip(self.events, self.world_at, strict=True)
        return [(event, at) for event, at in pairs if isinstance(event, Message)]

    def indexes(self, series: Series) -> list[int]:
        """Of one series, in the order in which they were told."""
        return [message.index for message in self.messages if message.series == series]

    @property
    def begins(self) -> dict[Series, int]:
        """From where it was to be told of a series that was there before."""
        found: dict[Series, int] = {}
        for event in self.events:
            if isinstance(event, Begins):
                found.setdefault(event.series, event.index)
        return found

    @property
    def lost(self) -> dict[Series, list[Span]]:
        """What was given up; some of it may have come late."""
        found: dict[Series, list[Span]] = {}
        for event in self.events:
            if isinstance(event, Lost):
                found.setdefault(event.series, []).append(event.span)
        return found


def _is_anybody(_sender: PublicKey) -> bool:
    return True


# What must hold


def check_told(ear: Ear, authors: Iterable[Author]) -> None:
    """Nothing forged, nothing twice, all in order, nothing old as live.

    Raises:
        AssertionError: Something does not hold.

    """
    genuine = {sent.envelope.id: sent for author in authors for sent in author.sent}
    seen: set[Place] = set()
    last: dict[Series, int] = {}
    for event, wall, began in zip(ear.events, ear.told_at, ear.began_at, strict=True):
        if not isinstance(event, Message):
            continue
        place = Place(event.series, event.index)
        assert event.id in genuine, f"{ear} was told what nobody wrote: {place}"
        sent = genuine[event.id]
        assert place == sent.place
        assert event.data == sent.data
        assert place not in seen, f"{ear} was told {place} twice"
        seen.add(place)
        is_first = event.series not in last
        if not event.is_late:
            assert last.get(event.series, -1) < event.index, f"{ear}: {place} came after {last[event.series]}"
            last[event.series] = event.index
        assert event.received <= wall
        strange_s = min(
            abs(event.created - at) for at in (event.received, wall)
        )  # it may have waited for another
        is_strange = is_first and strange_s > LIVE_S
        if is_strange or event.created < began - LIVE_S:
            assert event.is_history, (
                f"{ear} was told {place} as live, which is {wall - event.created:.0f} s old"
            )


def check_complete(
    ear: Ear, authors: Iterable[Author], is_held: Callable[[PubsubEnvelope], bool], since: float = 0.0
) -> int:
    """What a majority has acknowledged was told; what nobody has any more was declared lost. Returns how many were lost.

    Args:
        ear: Who listened.
        authors: Who wrote.
        is_held: True for a message that a node has.
        since: Messages from then on are meant, in the world's monotonic seconds, wherever hosts said that they begin;
            0 for all, from where it began.

    Raises:
        AssertionError: A message is missing and was not declared lost, or was though somebody has it.

    """
    told = {Place(message.series, message.index) for message in ear.messages}
    lost, begins = ear.lost, {} if since else ear.begins
    top: dict[Series, int] = {}
    for place in told:
        top[place.series] = max(top.get(place.series, 0), place.at)
    count = 0
    for sent in (sent for author in authors for sent in author.sent):
        series, index = sent.place
        if not sent.is_accepted or sent.at < since or sent.place in told or index < begins.get(series, 0):
            continue
        assert not is_held(sent.envelope), f"{ear} was not told {sent.place}, which is there"
        is_declared = any(span.start <= index < span.to for span in lost.get(series, ()))
        assert is_declared or index > top.get(series, -1), f"{ear} was not told that {sent.place} is lost"
        count += 1
    return count


def check_bounds(world: TopicWorld) -> None:
    """Every node carries what its pubsub engine waits for, and holds what it may.

    Raises:
        AssertionError: One does not.

    """
    for node in world.topic_nodes:
        if node.is_up:
            node.check_topics()

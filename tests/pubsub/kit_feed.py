"""A tiny world: hosts that are a few lines each and may misbehave, processes that listen, messages on their way.

Time passes only in `World.run`; what is under way is delivered in order of its time.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from yzdht.errors import CryptoError, InvalidSignature
from yzdht.ids import NodeId, PublicKey, SendSession, TopicId
from yzdht.limits import ANNOUNCE_EVERY_S, HISTORY_MESSAGES_MAX
from yzdht.ports import Now
from yzdht.pubsub.cursor import Cursor, decode_cursor
from yzdht.pubsub.events import Event, Gap, Lost, Message, UnknownEpoch
from yzdht.pubsub.feed import Feed, Listener, Start
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.sources import Surroundings
from yzdht.pubsub.subscriber import Mailbox, Subscriber
from yzdht.rpc.engine import Answer, Call, Cancel, Failed, FailReason
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.holdings import Held, Holdings, Series, Span
from yzdht.wire.pubsub import (
    FIXED_BYTES,
    NO_KID,
    Mode,
    PubsubEnvelope,
    PubsubMessage,
    decode_envelope,
    decode_message,
    encode_fixed,
    encode_message,
)
from yzdht.wire.rpc import (
    Backlog,
    BacklogPage,
    Empty,
    Method,
    Refusal,
    Status,
    Subscribe,
    Subscribed,
    SummaryRow,
    WireContact,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


WALL = 1_700_000_000
TOPIC = TopicId(b"t" * 16)
HOSTING = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING | Caps.PUBSUB
KID = b"epoch__1"
LATER_KID = b"epoch__2"


def at(mono: float) -> Now:
    return Now(mono, WALL + mono)


def ranked(*numbers: int, own: int = 99) -> list[int]:
    """By section 11: the first of these pushes to a subscriber that is none of them."""
    own_id = contact(own).node_id
    return sorted(numbers, key=lambda n: sha256(contact(n).node_id + own_id + TOPIC).digest(), reverse=True)


def contact(number: int) -> Contact:
    return Contact(NodeId(number.to_bytes(32)), PublicKey(b"\2" + number.to_bytes(32)), (), HOSTING)


def number_of(node_id: NodeId | None) -> int | None:
    return None if node_id is None else int.from_bytes(node_id)


def series(sender: int = 1, session: int = 1) -> Series:
    return Series(PublicKey(b"\3" + sender.to_bytes(32)), SendSession(session.to_bytes(8)))


def row(of: Series, first: int, to: int, *holes: int) -> SummaryRow:
    return SummaryRow(of.sender, of.session, first, to, holes)


@cache
def raw(
    of: Series,
    index: int,
    created: int = WALL,
    data: bytes = b"",
    kid: bytes = NO_KID,
    topic: TopicId = TOPIC,
) -> bytes:
    """An envelope that the Verifier here takes for genuine; with a kid, "sealed" for a group."""
    mode = Mode.PUBLIC if kid == NO_KID else Mode.GROUP
    message = encode_message(PubsubMessage(created, 0, data or b"%d" % index))
    tag = b"" if mode is Mode.PUBLIC else bytes(16)
    signed = encode_fixed(mode, topic, kid, of.sender, of.session, index) + message + tag
    return signed + sha256(signed).digest() * 2


def forged(envelope: bytes) -> bytes:
    return envelope[:-1] + bytes((envelope[-1] ^ 1,))


class Verifier:
    """Of signatures that anybody could make, and counts them."""

    def __init__(self) -> None:
        self.verified = 0

    def verify(self, envelope: PubsubEnvelope) -> None:
        self.verified += 1
        if envelope.signature != sha256(envelope.signed).digest() * 2:
            raise InvalidSignature("forged")

    def know(self, envelope: PubsubEnvelope) -> None:
        """It is checked all the same."""


class Keys:
    """Opens what is public, and the epochs that it was given."""

    def __init__(self, *kids: bytes) -> None:
        self.kids = set(kids)

    def open(self, envelope: PubsubEnvelope) -> PubsubMessage | UnknownEpoch:
        if envelope.mode is Mode.PUBLIC:
            return decode_message(envelope.body)
        if envelope.kid not in self.kids:
            return UnknownEpoch()
        message = decode_message(envelope.raw[FIXED_BYTES:-80])
        if message.data == b"junk":
            raise CryptoError("does not open")
        return message


class Host:
    """A topic's host. What it does wrong is set from outside."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.contact = contact(number)
        self.number = number
        self.held = Holdings()
        self.messages: dict[tuple[Series, int], bytes] = {}
        self.subscribers: dict[NodeId, bool] = {}
        self.asked: list[Method] = []
        self.is_up = True
        self.is_found = True
        self.is_silent = False
        self.answers_after_s = 0.0
        self.refuses = Status.OK
        self.never_pushes = False
        self.withholds: Callable[[int], bool] = lambda _index: False
        self.spoils: Callable[[bytes], bytes] = lambda envelope: envelope
        self.names: list[int] = []
        self.lies: tuple[SummaryRow, ...] | None = None
        self._changed: dict[Series, None] = {}
        self._announces = False

    @property
    def node_id(self) -> NodeId:
        return self.contact.node_id

    def take(self, envelope: bytes) -> None:
        """A publisher or another host brings a message."""
        parsed = decode_envelope(envelope)
        name = Series(parsed.sender, parsed.session)
        if not self.held.add(name, parsed.index):
            return
        self.messages[name, parsed.index] = envelope
        if len(self.messages) > HISTORY_MESSAGES_MAX:
            self._evict()
        for subscriber, is_pushed in self.subscribers.items():
            if is_pushed and not self.withholds(parsed.index):
                self.world.push(self, subscriber, self.spoils(envelope))
        self._changed[name] = None
        if not self._announces:
            self._announces = True
            self.world.after(ANNOUNCE_EVERY_S, self._announce)

    def _evict(self) -> None:
        name, index = next(iter(self.messages))
        del self.messages[name, index]
        self.held.of(name).raise_floor(index + 1)

    def forget(self, name: Series, below: int) -> None:
        self.held.open(name).raise_floor(below)
        self.messages = {k: v for k, v in self.messages.items() if k[0] != name or k[1] >= below}

    def _announce(self) -> None:
        self._announces = False
        rows = tuple(self.held.row(name) for name in self._changed)
        self._changed.clear()
        for subscriber, is_pushed in self.subscribers.items():
            if not is_pushed:
                self.world.announce(self, subscriber, rows)

    def answer(self, asker: NodeId, method: Method, body: object) -> Answer | None:
        self.asked.append(method)
        if self.is_silent:
            return None
        if self.refuses:
            return Answer(self.refuses, Refusal(2_000))
        if isinstance(body, Subscribe):
            self.subscribers[asker] = body.push and not self.never_pushes
            named = tuple(WireContact(contact(n).public_key, (), int(HOSTING)) for n in self.names)
            rows = self.held.rows(body.skip) if self.lies is None else self.lies
            answer = Subscribed(named, self.subscribers[asker], rows)
            return Answer(Status.OK, answer)
        if isinstance(body, Backlog):
            return Answer(Status.OK, self._page(body))
        self.subscribers.pop(asker, None)
        return Answer(Status.OK, Empty())

    def _page(self, body: Backlog) -> BacklogPage:
        found: list[bytes] = []
        size = 0
        for asked in body.ranges:
            for index in range(asked.start, asked.to):
                envelope = self.messages.get((Series(asked.sender, asked.session), index))
                if envelope is None or self.withholds(index):
                    continue
                if size + len(envelope) > body.bytes_max:
                    return BacklogPage(tuple(found), more=True)
                size += len(envelope)
                found.append(self.spoils(envelope))
        return BacklogPage(tuple(found))

    def die(self) -> None:
        self.is_up = False
        self.subscribers.clear()
        self.world.closed(self)

    def live(self) -> None:
        self.is_up = True


@dataclass(slots=True, eq=False)
class Open:
    """A call under way."""

    ear: Ear
    host: Host | None
    call: Call


@dataclass
class Ear:
    """A process that listens to the topic."""

    world: World
    feed: Feed
    subscriber: Subscriber
    outbox: Outbox
    verifier: Verifier
    keys: Keys
    number: int
    cursor: Cursor  # follows what was told
    events: list[Event] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    is_stopped: bool = False

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    @property
    def indexes(self) -> list[int]:
        return [message.index for message in self.messages]

    @property
    def lost(self) -> list[Span]:
        return [event.span for event in self.events if isinstance(event, Lost)]

    @property
    def gaps(self) -> list[Span]:
        return [event.span for event in self.events if isinstance(event, Gap)]

    def stop(self) -> None:
        self.is_stopped = True
        self.feed.stop()
        self.world.pump(self)
        self.world.ears.remove(self)


class World:
    """Hosts, listeners, and what is on its way between them."""

    def __init__(self, *hosts: int) -> None:
        self.mono = 0.0
        self.hosts = {number: Host(self, number) for number in hosts}
        self.ears: list[Ear] = []
        self.delay: Callable[[], float] = lambda: 0.01
        self.are_found = True
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._open: list[Open] = []
        self._reached: dict[NodeId, float] = {}  # when the last request arrives at a host
        self._last = 0

    @property
    def now(self) -> Now:
        return at(self.mono)

    def host_of(self, node_id: NodeId) -> Host | None:
        return self.hosts.get(int.from_bytes(node_id))

    # Listening

    def listen(
        self,
        start: Start | bytes = Start.ALL,
        *,
        number: int = 99,
        keys: Keys | None = None,
        is_member: Callable[[PublicKey], bool] = lambda _sender: True,
        is_delegated: bool = False,
    ) -> Ear:
        outbox, verifier, keys = Outbox(), Verifier(), keys or Keys()
        resumed = start if isinstance(start, bytes) else None
        cursor = decode_cursor(resumed, TOPIC) if resumed is not None else Cursor(TOPIC)
        taken = decode_cursor(resumed, TOPIC) if resumed is not None else Cursor(TOPIC)
        events: list[Event] = []

        def tell(event: Event, _now: Now) -> None:
            events.append(event)
            taken.take(event)

        subscriber = Subscriber(Mailbox(keys, is_member, tell), cursor, self.now.wall)
        around = Surroundings(contact(number).node_id, outbox, self, usable, is_delegated)
        begin = start if isinstance(start, Start) else cursor.holdings()
        feed = Feed(TOPIC, begin, around, verifier, subscriber.listener)
        subscriber.follow(feed.handed_on)
        ear = Ear(self, feed, subscriber, outbox, verifier, keys, number, taken, events)
        self.ears.append(ear)
        feed.start(self.now)
        self.pump(ear)
        return ear

    def find(self, topic: TopicId, then: Callable[[tuple[Contact, ...], Now], None], now: Now) -> None:
        def found() -> None:
            hosts = [host.contact for host in self.hosts.values() if host.is_up and host.is_found]
            then(tuple(hosts[:3]) if self.are_found else (), self.now)

        self.after(self.delay(), found)

    def doubt(self, topic: TopicId) -> None:
        """Nothing is remembered here."""

    # What is on its way

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._last += 1
        heapq.heappush(self._queue, (self.mono + delay_s, self._last, what))

    def push(self, host: Host, to: NodeId, envelope: bytes) -> None:
        def arrive() -> None:
            for ear in self._ears_of(to):
                if host.is_up:
                    ear.feed.on_pushed(host.node_id, decode_envelope(envelope), self.now)

        self.after(self.delay(), arrive)

    def announce(self, host: Host, to: NodeId, rows: tuple[SummaryRow, ...]) -> None:
        def arrive() -> None:
            for ear in self._ears_of(to):
                if host.is_up:
                    ear.feed.on_announced(host.node_id, rows, self.now)

        self.after(self.delay(), arrive)

    def _ears_of(self, node_id: NodeId) -> list[Ear]:
        return [ear for ear in self.ears if contact(ear.number).node_id == node_id]

    def closed(self, host: Host) -> None:
        """Its sessions end."""
        for opened in [o for o in self._open if o.host is host]:
            self._end(opened, Failed(FailReason.CLOSED))
        for ear in list(self.ears):
            ear.feed.on_down(host.node_id, self.now)
            self.pump(ear)

    def pump(self, ear: Ear) -> None:
        for item in ear.outbox.take():
            if isinstance(item, Call):
                self._send(ear, item)
            elif isinstance(item, Cancel):
                self._open = [o for o in self._open if o.ear is not ear or o.call.call != item.call]

    def _send(self, ear: Ear, call: Call) -> None:
        host = self.host_of(call.contact.node_id)
        opened = Open(ear, host, call)
        self._open.append(opened)
        self.after(call.deadline_s, lambda: self._end(opened, Failed(FailReason.TIMEOUT)))

        def arrive() -> None:
            if host is None or not host.is_up:
                self._end(opened, Failed(FailReason.UNREACHABLE))
                return
            answer = host.answer(contact(ear.number).node_id, call.method, call.body)
            if answer is not None:
                self.after(self.delay() + host.answers_after_s, lambda: self._end(opened, answer))

        self._in_turn(call.contact.node_id, arrive)

    def _in_turn(self, at_host: NodeId, what: Callable[[], None]) -> None:
        """Requests of a session arrive in the order in which they were sent."""
        at = self._reached[at_host] = max(self.mono + self.delay(), self._reached.get(at_host, 0.0))
        self._last += 1
        heapq.heappush(self._queue, (at, self._last, what))

    def _end(self, opened: Open, outcome: Answer | Failed) -> None:
        if opened in self._open:
            self._open.remove(opened)
            opened.ear.outbox.on_answer(opened.call.call, outcome, self.now)

    # Time

    def run(self, seconds: float) -> None:
        end = self.mono + seconds
        while True:
            for ear in list(self.ears):
                self.pump(ear)
            timers = [
                t
                for ear in self.ears
                for t in (ear.feed.next_timer(), ear.subscriber.next_timer())
                if t is not None
            ]
            if self._queue:
                timers.append(self._queue[0][0])
            if not timers or min(timers) > end:
                break
            next_at = max(self.mono, min(timers))
            is_event = bool(self._queue) and self._queue[0][0] <= next_at
            assert is_event or next_at > self.mono or self._timers_ran < 100, "a timer that is never served"
            self._timers_ran = 0 if is_event or next_at > self.mono else self._timers_ran + 1
            self.mono = next_at
            if is_event:
                heapq.heappop(self._queue)[2]()
            for ear in list(self.ears):
                for part in (ear.feed, ear.subscriber):
                    due = part.next_timer()
                    if due is not None and due <= self.mono:
                        part.handle_timer(self.now)
        self.mono = end

    _timers_ran = 0

    # Messages

    def publish(self, of: Series, indexes: Iterable[int], *hosts: int, **how: Any) -> None:
        """Bring messages to some hosts, to all that are up if none is named."""
        for index in indexes:
            envelope = raw(of, index, **how)
            for number in hosts or self.hosts:
                if self.hosts[number].is_up:
                    self.hosts[number].take(envelope)

    def reconcile(self) -> None:
        """What one live host has, all have."""
        for host in self.hosts.values():
            for envelope in list(host.messages.values()) if host.is_up else ():
                for other in self.hosts.values():
                    if other.is_up:
                        other.take(envelope)


def usable(named: tuple[WireContact, ...], _namer: NodeId) -> list[Contact]:
    return [contact(int.from_bytes(c.public_key[1:])) for c in named]


def listener(told: list[object], wanted: Callable[[PublicKey], bool] = lambda _sender: True) -> Listener:
    """That notes what a feed tells."""
    return Listener(
        lambda name, index, _now: told.append((name, index)),
        lambda envelope, is_live, _now: told.append((envelope.index, is_live)),
        lambda _name, span, _now: told.append(span),
        wanted,
    )


def held(*indexes: int, floor: int = 0) -> Held:
    found = Held(floor)
    for index in indexes:
        found.add(index)
    return found

"""Hosts in one thread: a clock, a network that delivers after a while, disks that do so too, and peers that a test speaks for."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from tests.pubsub.kit_disk import Faults, FaultyTopics
from tests.vectors.golden import NETWORK
from yzdht.crypto.primitives import PrivateKey, verify
from yzdht.crypto.topic_policy import PolicyChecks
from yzdht.ids import NodeId, PublicKey, SendSession, SessionId, Target, TopicId
from yzdht.limits import HISTORY_MESSAGES_MAX, LINK_UNSENT_BYTES_HIGH
from yzdht.ports import Now
from yzdht.pubsub.host import TopicHost
from yzdht.pubsub.hosts import hosts_among
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.policies import Policies
from yzdht.pubsub.ports import Surroundings
from yzdht.rpc.engine import (
    Answer,
    Call,
    Cancel,
    Down,
    Failed,
    FailReason,
    Keep,
    Peer,
    Push,
    Reply,
)
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.memory_topics import MemoryTopics
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.holdings import Series
from yzdht.wire.pubsub import (
    Announcement,
    Delivery,
    Mode,
    PubsubEnvelope,
    PubsubMessage,
    decode_envelope,
    decode_push,
    encode_fixed,
    encode_message,
)
from yzdht.wire.rpc import (
    Method,
    Publish,
    Range,
    Status,
    Subscribe,
    Subscribed,
    WireContact,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from yzdht.rpc.engine import Outgoing
    from yzdht.wire.history import TopicChange, TopicVerdict
    from yzdht.wire.rpc import Body


HOSTING = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING | Caps.PUBSUB
ASKING = Caps.ALWAYS | Caps.CLIENT
WALL = 1_700_000_000.0
LATENCY_S = 0.01
DISK_S = 0.005


def topic(number: int = 0) -> TopicId:
    return TopicId(number.to_bytes(16))


def target_of(_topic: TopicId) -> Target:
    """All topics are at the same place, where a node's number is its distance."""
    return Target(bytes(32))


def node_id(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


def contact(number: int, caps: Caps = HOSTING) -> Contact:
    return Contact(
        node_id(number), PublicKey(b"\2" + number.to_bytes(32)), (f"tcp://10.0.0.{number}:1",), caps
    )


def peer(number: int, caps: Caps = ASKING, *, prefix: str | None = None, run: int = 0) -> Peer:
    session = SessionId(number.to_bytes(8) + run.to_bytes(8))
    return Peer(node_id(number), contact(number).public_key, caps, session, f"10.0.0.{number}", prefix)


PUBLISHER = peer(201)
TOPIC = topic()


class Author:
    """Signs messages of one run of a process; each is as large as its text."""

    def __init__(self, run: int = 0) -> None:
        self._key = PrivateKey.generate()
        self.session = SendSession(run.to_bytes(8))

    @property
    def public_key(self) -> PublicKey:
        return self._key.public_key

    @property
    def series(self) -> Series:
        return Series(self._key.public_key, self.session)

    def envelope(self, index: int = 0, text: bytes = b"x", of: TopicId = TOPIC) -> PubsubEnvelope:
        fixed = encode_fixed(Mode.PUBLIC, of, bytes(8), self._key.public_key, self.session, index)
        signed = fixed + encode_message(PubsubMessage(1, 0, text))
        return decode_envelope(signed + self._key.sign(signed))

    def range(self, start: int, to: int) -> Range:
        return Range(*self.series, start, to)


def forged(envelope: PubsubEnvelope) -> bytes:
    """The same with one bit of its message turned; what it signs is another message."""
    raw = bytearray(envelope.raw)
    raw[80] ^= 1
    return bytes(raw)


def resigned(envelope: PubsubEnvelope) -> PubsubEnvelope:
    """The same message, and so the same id, with one bit of its signature turned."""
    raw = bytearray(envelope.raw)
    raw[-1] ^= 1
    return decode_envelope(bytes(raw))


class Verifier:
    """Checks what it has not found genuine before."""

    def __init__(self) -> None:
        self.looks = 0
        self._genuine: set[bytes] = set()

    def verify(self, envelope: PubsubEnvelope) -> None:
        if envelope.raw in self._genuine:
            return
        self.looks += 1
        verify(envelope.sender, envelope.signed, envelope.signature)
        self._genuine.add(envelope.raw)

    def know(self, envelope: PubsubEnvelope) -> None:
        """It is checked all the same."""


@dataclass
class Neighbourhood:
    """A table that a test fills."""

    own: Contact
    known: list[Contact] = field(default_factory=list)
    looks: int = 0

    def hosts(self, target: Target, count: int) -> Sequence[Contact]:
        self.looks += 1
        return hosts_among((self.own, *self.known), target, count)

    def shown(self, contacts: Sequence[Contact], _peer: Peer) -> tuple[WireContact, ...]:
        return tuple(WireContact(c.public_key, c.urls, c.caps) for c in contacts)


@dataclass
class Asked:
    """A request of a peer that a test speaks for."""

    answer: Answer | None = None

    @property
    def is_answered(self) -> bool:
        return self.answer is not None

    @property
    def status(self) -> Status:
        assert self.answer is not None
        return self.answer.status

    @property
    def body(self) -> Body:
        assert self.answer is not None
        return self.answer.body


def memory() -> MemoryTopics:
    """A store whose verdicts nobody hears."""
    return MemoryTopics(lambda _verdicts: None, lambda _soon: None)


class Disk:
    """The store, and what of it a crash leaves: the changes that were committed, made again."""

    def __init__(self, quotas: HistoryQuotas, log: Iterable[TopicChange] = ()) -> None:
        self._quotas = quotas
        self._log: list[TopicChange] = []
        self._waiting: list[TopicChange] = []
        self._verdicts: list[tuple[int, TopicVerdict]] = []
        self._soon: list[Callable[[], None]] = []
        self.topics = MemoryTopics(self._verdicts.extend, self._soon.append, quotas)
        for change in log:
            self.submit(0, change)
            self.commit()

    def submit(self, op: int, change: TopicChange) -> None:
        self._waiting.append(change)
        self.topics.submit(op, change)

    def commit(self) -> list[tuple[int, TopicVerdict]]:
        """What waits is on the disk."""
        while self._soon:
            self._soon.pop(0)()
        self._log += self._waiting
        done = list(self._verdicts)
        self._waiting.clear()
        self._verdicts.clear()
        return done

    def after_crash(self) -> Disk:
        return Disk(self._quotas, self._log)


class HostNode:
    """One host, its disk and what it knows.

    Attributes:
        sent: What went to peers that a test speaks for.

    """

    def __init__(self, world: World, number: int, disk: Disk) -> None:
        self._world = world
        self.contact = contact(number)
        self.disk = disk
        self.store = disk.topics
        self.outbox = Outbox()
        self.verifier = Verifier()
        self.neighbourhood = Neighbourhood(self.contact)
        self.congested: set[NodeId] = set()
        self.unsent: dict[NodeId, int] = {}
        self.counts: Counter[str] = Counter()
        self.disk_s = DISK_S
        self.wakes = 0
        self.is_down = False
        self.sent: list[Push] = []
        self.asks: Counter[Method] = Counter()
        self._requests: dict[int, Callable[[Answer], None]] = {}
        self._calls: set[int] = set()
        self._last = 0
        self._is_writing = False
        self._wakes_at: float | None = None
        surroundings = Surroundings(
            self.neighbourhood,
            self.verifier,
            target_of,
            self._is_congested,
            self._count,
            policies=Policies(PolicyChecks(NETWORK)),
            unsent_bytes=lambda peer: self.unsent.get(peer.node_id, LINK_UNSENT_BYTES_HIGH),
        )
        store = FaultyTopics(self.store, world.faults)
        self.host = TopicHost(self.contact, store, self.outbox, surroundings, bytes(32))

    def _is_congested(self, peer: Peer) -> bool:
        return peer.node_id in self.congested

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    # A peer of the test

    def ask(self, who: Peer, body: Body) -> Asked:
        """Hand in a request now; the answer may come later."""
        asked = Asked()

        def on_reply(answer: Answer) -> None:
            asked.answer = answer

        self.on_request(who, body, on_reply)
        return asked

    def publish(self, envelope: PubsubEnvelope, who: Peer = PUBLISHER, policy: bytes = b"") -> Asked:
        return self.ask(who, Publish(envelope.raw, policy=policy))

    def subscribe(self, who: Peer, of: TopicId = TOPIC, *, push: bool = True, skip: int = 0) -> Subscribed:
        body = self.ask(who, Subscribe(of, push=push, skip=skip)).body
        assert isinstance(body, Subscribed)
        return body

    def leaves(self, who: Peer) -> None:
        """The session of a peer ends."""
        self.host.on_link(who, Down("closed"), self._world.now)
        self.settle()

    def pushed(self, who: Peer) -> list[PubsubEnvelope]:
        """Messages that a peer was sent, in order."""
        pushes = [decode_push(push.data) for push in self.sent if push.peer == who]
        raws = [raw for push in pushes if isinstance(push, Delivery) for raw in push.envelopes]
        return [decode_envelope(raw) for raw in raws]

    def announced(self, who: Peer) -> list[Announcement]:
        """What a peer was told, in order."""
        pushes = [decode_push(push.data) for push in self.sent if push.peer == who]
        return [push for push in pushes if isinstance(push, Announcement)]

    def holds(self, author: Author, of: TopicId = TOPIC) -> list[int]:
        """Which messages of an author are here, by index."""
        return [i for run in self.store.holdings(of).of(author.series).runs for i in range(*run)]

    # The world

    def on_request(self, who: Peer, body: Body, on_reply: Callable[[Answer], None]) -> None:
        self._last += 1
        self._requests[self._last] = on_reply
        self.host.on_request(self._last, who, body, self._world.now)
        self.settle()

    def on_neighbourhood(self, known: Iterable[int]) -> None:
        """Other nodes are known from now on."""
        self.neighbourhood.known = [contact(number) for number in known]
        self.host.on_neighbourhood(self._world.now)
        self.settle()

    def start(self) -> None:
        self.host.start(self._world.now)
        self.settle()

    def settle(self) -> None:
        """Carry out what it wants done."""
        for item in self.outbox.take():
            self._carry_out(item)
        at = self.host.next_timer()
        if at is not None and (self._wakes_at is None or at < self._wakes_at):
            self._wakes_at = at
            self._world.later(at, self._wake)

    def _wake(self) -> None:
        if self.is_down or self._wakes_at is None or self._wakes_at > self._world.now.mono:
            return
        self._wakes_at = None
        self.wakes += 1
        self.host.handle_timer(self._world.now)
        self.settle()
        at = self.host.next_timer()
        assert at is None or at > self._world.now.mono, "it would never sleep"

    def _carry_out(self, item: Outgoing) -> None:
        match item:
            case Call():
                self.asks[item.method] += 1
                self._calls.add(item.call)
                self._world.call(self, item)
            case Cancel(call):
                self._calls.discard(call)
            case Reply(request, status, body):
                self._requests.pop(request)(Answer(status, body))
            case Push():
                self.sent.append(item)
            case Keep(op, change):
                self.disk.submit(op, change)
                if not self._is_writing:
                    self._is_writing = True
                    self._world.later(self._world.now.mono + self.disk_s, self.write)
            case _:
                raise AssertionError(item)

    def write(self) -> None:
        """What waits is on the disk; it is by itself in a moment."""
        self._is_writing = False
        if not self.is_down:
            for op, verdict in self.disk.commit():
                self.host.on_stored(op, verdict, self._world.now)
            self.settle()

    def on_answer(self, call: int, outcome: Answer | Failed) -> None:
        if call in self._calls and not self.is_down:
            self._calls.remove(call)
            self.outbox.on_answer(call, outcome, self._world.now)
            self.settle()


class World:
    """Hosts by number, a node's number being its distance from every topic."""

    def __init__(self, latency_s: float = LATENCY_S) -> None:
        self.now = Now(0.0, WALL)
        self._latency_s = latency_s  # one way
        self.off_s = 0.0  # by what wall clocks are wrong
        self.faults = Faults()
        self.hosts: dict[int, HostNode] = {}
        self.cut: set[frozenset[NodeId]] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def host(self, number: int, *, messages_max: int = HISTORY_MESSAGES_MAX) -> HostNode:
        """One more, which is alone until it is told whom it knows."""
        quotas = HistoryQuotas(messages=messages_max)
        node = self.hosts[number] = HostNode(self, number, Disk(quotas))
        node.start()
        return node

    def meet(self, *numbers: int) -> None:
        """These know each other, and nobody else, from now on."""
        for number in numbers:
            self.hosts[number].on_neighbourhood(n for n in numbers if n != number)

    def crash(self, number: int) -> None:
        """It is gone, with all that is not on its disk."""
        self.hosts[number].is_down = True

    def restart(self, number: int) -> HostNode:
        """Again, on the same disk; it knows nobody."""
        self.crash(number)
        node = self.hosts[number] = HostNode(self, number, self.hosts[number].disk.after_crash())
        node.start()
        return node

    def later(self, at: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), what))

    def call(self, caller: HostNode, call: Call) -> None:
        """Bring a request to another host, and its answer back; what is lost times out."""
        deadline = self.now.mono + call.deadline_s
        self.later(deadline, lambda: caller.on_answer(call.call, Failed(FailReason.TIMEOUT)))
        there = next((h for h in self.hosts.values() if h.contact.node_id == call.contact.node_id), None)
        if there is None or frozenset((caller.contact.node_id, call.contact.node_id)) in self.cut:
            return
        own = caller.contact
        who = Peer(own.node_id, own.public_key, own.caps, SessionId(own.node_id[16:]), "10.0.0.1", None)

        def back(answer: Answer) -> None:
            self.later(self.now.mono + self._latency_s, lambda: caller.on_answer(call.call, answer))

        def arrive() -> None:
            if not there.is_down:
                there.on_request(who, call.body, back)

        self.later(self.now.mono + self._latency_s, arrive)

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now.mono + seconds
        while self._events and self._events[0][0] <= end:
            at, _, what = heapq.heappop(self._events)
            mono = max(at, self.now.mono)
            self.now = Now(mono, WALL + mono + self.off_s)
            what()
        self.now = Now(end, WALL + end + self.off_s)

"""Topics under way on real nodes: who publishes what, who hears what, who dies when, and whether all of that fits."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.process.fleet import kill_all, start_all
from yzdht import Client, Node, NoNode
from yzdht.crypto.naming import network_id
from yzdht.crypto.topics import public_topic, topic_host_target
from yzdht.errors import PublishFailed
from yzdht.limits import TOPIC_HOSTS
from yzdht.pubsub.events import Filled, Gap, Lost, Message


if TYPE_CHECKING:
    import random  # noqa: TID251 - the type of what a test drew from its seed
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tests.process.fleet import NodeProcess
    from yzdht.ids import NodeId, PublicKey, Target, TopicId
    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Since, Subscription
    from yzdht.topics import Published


NETWORK = network_id("main")


@dataclass(slots=True)
class Topic:
    """A topic, and all that was published to it.

    Attributes:
        name: Of the topic.
        said: Every message by what it says: by whom, and which of theirs, from 0.
        sent: The same: when, on the monotonic clock.
        acked: Those that a majority of the hosts has.
        failures: What came of the others.
        ack_s: How long each publish took that succeeded.

    """

    name: str
    said: dict[bytes, tuple[PublicKey, int]] = field(default_factory=dict)
    sent: dict[bytes, float] = field(default_factory=dict)
    acked: list[bytes] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ack_s: list[float] = field(default_factory=list)
    _counts: Counter[PublicKey] = field(default_factory=Counter)

    async def publish(
        self, dht: Client | Node, group: str | None = None, data: bytes | None = None
    ) -> Published | None:
        """Publish one message, which is told apart from all others; None if no majority of the hosts took it."""
        data = data or secrets.token_bytes(16)
        me = dht._records().identity.public_key
        self.said[data] = (me, self._counts[me])
        self._counts[me] += 1
        began = self.sent[data] = time.monotonic()
        try:
            published = await dht.publish(self.name, data, group=group)
        except (PublishFailed, NoNode) as error:
            self.failures.append(str(error))
            return None
        self.acked.append(data)
        self.ack_s.append(time.monotonic() - began)
        return published

    def acknowledged_of(self, sender: PublicKey) -> int:
        """How many messages of one sender a majority of the hosts has."""
        return sum(self.said[data][0] == sender for data in self.acked)


@dataclass(slots=True)
class Hearer:
    """One subscription, and all that it told.

    Attributes:
        name: Of whom it is.
        topic: What it hears.
        group: What its home calls the group.
        messages: What it was told, in this order, over all its subscriptions.
        gaps: How often it was told of a gap, of one that was filled, and of a loss.
        late_s: From the publish of each message that it heard live until it had it.
        begun: What was published before this place of `topic.sent` need not come: it listened later.

    """

    name: str
    topic: Topic
    group: str | None = None
    messages: list[Message] = field(default_factory=list)
    gaps: Counter[str] = field(default_factory=Counter)
    lost: list[Lost] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    begun: float = 0.0
    _cursor: bytes | None = None
    _open: contextlib.AsyncExitStack | None = None
    _task: asyncio.Task[None] | None = None
    _subscription: Subscription[Heard] | None = None

    async def listen(self, dht: Client | Node, since: Since = None) -> None:
        """Subscribe; in the place where it was if it did before."""
        subscription = dht.subscribe(
            self.topic.name, group=self.group, since=self._cursor or since, gaps=True, size=10_000
        )
        self._open = contextlib.AsyncExitStack()
        self._subscription = await self._open.enter_async_context(subscription)
        if not self.begun and since is None:
            self.begun = time.monotonic()
        self._task = asyncio.create_task(self._hear(subscription))

    async def _hear(self, subscription: Subscription[Heard]) -> None:
        async for event in subscription:
            self.take(event)

    def take(self, event: Heard) -> None:
        """It was told something."""
        if isinstance(event, Message):
            self.messages.append(event)
            if not event.is_history and event.data in self.topic.sent:
                self.late_s.append(time.monotonic() - self.topic.sent[event.data])
        elif isinstance(event, Gap | Filled | Lost):
            self.gaps[type(event).__name__.lower()] += 1
            if isinstance(event, Lost):
                self.lost.append(event)

    async def rest(self) -> None:
        """Unsubscribe, and know where it was."""
        assert self._task is not None
        assert self._subscription is not None
        assert self._open is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._cursor = self._subscription.cursor
        await self._open.aclose()

    # What must be true

    def due(self) -> set[bytes]:
        """What it must have been told."""
        return {data for data in self.topic.acked if self.topic.sent[data] >= self.begun}

    def missing(self) -> set[bytes]:
        return self.due() - {message.data for message in self.messages}

    def check(self) -> None:
        """Everything that was acknowledged was told once and in the order of its sender, and nothing that nobody said."""
        told: dict[bytes, Message] = {}
        for message in self.messages:
            assert message.data not in told, (self.name, message, told[message.data])
            told[message.data] = message
            assert message.data in self.topic.said, (self.name, message)
            assert self.topic.said[message.data][0] == message.series.sender
        assert self.missing() == set(), self._about_missing()
        last: dict[PublicKey, int] = {}
        acked = set(self.topic.acked)
        for message in self.messages:
            sender, number = self.topic.said[message.data]
            if message.is_late:
                assert message.data not in acked, (self.name, message)
                continue
            assert number > last.get(sender, -1), (self.name, message, number, last)
            last[sender] = number

    def _about_missing(self) -> str:
        rows = sorted((self.topic.sent[data], self.topic.said[data][1]) for data in self.missing())
        return f"{self.name} lacks {len(rows)} of {len(self.due())}: {rows[:5]}, was told of {self.lost[:5]} {self.gaps}"


@dataclass(slots=True)
class Speakers:
    """Who publishes at a steady pace until it is over.

    Attributes:
        topic: To which.
        dhts: Each with what its home calls the group.
        every_s: From one message of each to the next, at least.
        most: What all of them publish together at most: all of it is to be in the history in the end.

    """

    topic: Topic
    dhts: Sequence[tuple[Client | Node, str | None]]
    every_s: float
    most: int
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _is_over: bool = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._speak(number)) for number in range(len(self.dhts))]
        return self

    async def _speak(self, number: int) -> None:
        dht, group = self.dhts[number]
        at = time.monotonic() + self.every_s * number / len(self.dhts)
        while not self._is_over and len(self.topic.said) < self.most:
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            at = max(at + self.every_s, time.monotonic())
            await self.topic.publish(dht, group)

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        if error is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            return
        await asyncio.gather(*self._tasks)


@dataclass(slots=True)
class Reaper:
    """Kills hosts of topics and starts them again, one or all of a topic at a time, or lets one stand still, as a seed has it.

    Attributes:
        nodes: Who may die.
        topics: 16 bytes each: whose hosts it looks for.
        rng: From the seed.
        kills: How many died.
        freezes: How many stood still for a while.

    """

    nodes: Sequence[NodeProcess]
    topics: Sequence[TopicId]
    rng: random.Random
    kills: int = 0
    freezes: int = 0

    async def reap(self, until: float) -> None:
        """Go on until so late on the monotonic clock; all of them run at the end, and all must run now."""
        hosts = [hosts_of(topic, self.nodes) for topic in self.topics]
        while time.monotonic() < until:
            chosen = self.rng.sample(self.rng.choice(hosts), self.rng.choice((1, 1, 2, TOPIC_HOSTS)))
            if self.rng.random() < 0.2:
                chosen = [self.rng.choice(self.nodes)]
            away_s = self.rng.uniform(0.1, 3.0)
            if self.rng.random() < 0.3:
                await self._freeze(chosen[:1], 2 * away_s)
            else:
                await self._kill(chosen, away_s)
            await asyncio.sleep(self.rng.uniform(0.1, 1.0))

    async def _kill(self, nodes: Sequence[NodeProcess], away_s: float) -> None:
        self.kills += len(nodes)
        await kill_all(nodes)
        await asyncio.sleep(away_s)
        await start_all(nodes)

    async def _freeze(self, nodes: Sequence[NodeProcess], away_s: float) -> None:
        """Its connections stay, and nobody answers."""
        self.freezes += len(nodes)
        for node in nodes:
            node.send(signal.SIGSTOP)
        await asyncio.sleep(away_s)
        for node in nodes:
            node.send(signal.SIGCONT)


def target_of(topic: TopicId) -> Target:
    return topic_host_target(topic, NETWORK)


def hosts_of(
    topic: TopicId, nodes: Sequence[NodeProcess], further: Sequence[NodeId] = ()
) -> list[NodeProcess]:
    """The nodes nearest to a topic, unless others are nearer."""
    target = int.from_bytes(target_of(topic))
    by_id = {node.node_id: node for node in nodes}
    ids = sorted([*by_id, *further], key=lambda node_id: int.from_bytes(node_id) ^ target)
    return [by_id[node_id] for node_id in ids[:TOPIC_HOSTS] if node_id in by_id]


def drawn_topic(
    topic_of: Callable[[str], TopicId], nodes: Sequence[NodeProcess], further: Sequence[NodeId] = ()
) -> str:
    """A name whose hosts are all among these nodes, and not among the further ones."""
    while True:
        name = f"topic-{secrets.token_hex(12)}"
        if len(hosts_of(topic_of(name), nodes, further)) == min(TOPIC_HOSTS, len(nodes)):
            return name


def drawn_public(nodes: Sequence[NodeProcess], further: Sequence[NodeId] = ()) -> str:
    """The same of a public topic."""
    return drawn_topic(lambda name: public_topic(NETWORK, name), nodes, further)

"""Homes that publish and subscribe through one node, which is alone and hosts every topic."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from tests.pubsub.kit_host import HOSTING, Neighbourhood, contact, peer
from tests.test_records import NET
from yzdht.crypto.topics import EnvelopeChecks, topic_host_target
from yzdht.errors import TooManyMessages
from yzdht.in_order import Lines
from yzdht.pubsub.engine import Hosting, PubsubEngine
from yzdht.pubsub.ports import Surroundings
from yzdht.pubsub.publisher import PublishResult
from yzdht.store.entropy import SystemRng
from yzdht.store.memory_topics import MemoryTopics
from yzdht.subscription import Subscription, Terms
from yzdht.telemetry import Counters
from yzdht.topic_pump import TopicPump
from yzdht.topics import Topics


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.sessions.kit import Time
    from tests.test_records import Person
    from yzdht.in_order import Place
    from yzdht.ports import Now
    from yzdht.pubsub.events import Heard
    from yzdht.sessions import Clock
    from yzdht.subscription import Overflow, Since
    from yzdht.topics import ChannelKey
    from yzdht.wire.history import TopicVerdict
    from yzdht.wire.pubsub import PubsubEnvelope


OWN = 99
TAKEN = PublishResult(2, 3)


def lonely_node(clock: Clock, *, is_reached: bool = True) -> TopicPump:
    """Its topics, which have begun; it hosts them if others reach it."""
    own, counters = contact(OWN), Counters()

    def tell(answers: list[tuple[int, TopicVerdict]]) -> None:
        pump.on_verdicts(answers)

    surroundings = Surroundings(
        Neighbourhood(own),
        EnvelopeChecks(NET),
        lambda topic: topic_host_target(topic, NET),
        lambda _peer: False,
        counters.add,
    )
    store = MemoryTopics(tell, asyncio.get_running_loop().call_soon)
    hosting = Hosting(peer(OWN, HOSTING), store, bytes(32), lambda: is_reached)
    engine = PubsubEngine(own, surroundings, lambda _named, _namer: [], hosting)
    pump = TopicPump(engine, clock, counters, lambda _target, _count, then: then([]), store)
    tasks: set[asyncio.Task[None]] = set()
    pump.background = lambda work: tasks.add(asyncio.create_task(work))
    pump.begin()
    return pump


def topics_of(person: Person, pump: TopicPump) -> Topics:
    records = person.records
    topics = Topics(person.identity, NET, records.known_groups, pump, SystemRng())
    topics.heed(records.moves)
    return topics


def subscription(
    topics: Topics,
    pump: TopicPump,
    topic: str = "news",
    *,
    group: str | None = None,
    since: Since = None,
    overflow: Overflow = "wait",
    size: int = 1_000,
    gaps: bool = False,
) -> Subscription[Heard]:
    return Subscription(topics, pump, topic, Terms(group, since, overflow, size, gaps))


class Hosts:
    """A `TopicAccess` to hosts that say what a test tells them to.

    Attributes:
        sent: What was brought to them, in order.
        says: What comes of the next; of the others that they were taken.
        has_room: False while too much is under way.
        holding: What comes of a message waits for this, if it is there.

    """

    def __init__(self, clock: Time) -> None:
        self._clock = clock
        self.sent: list[PubsubEnvelope] = []
        self.says: deque[PublishResult] = deque()
        self.has_room = True
        self.holding: asyncio.Event | None = None
        self.begun: set[asyncio.Task[None]] = set()
        self.paused_s = self.patience_s = 0.0
        self._lines: Lines[ChannelKey] = Lines(1_000)

    def now(self) -> Now:
        return self._clock.now()

    def check_room(self) -> None:
        if not self.has_room:
            raise TooManyMessages("full")

    def join(self, key: ChannelKey) -> Place[ChannelKey]:
        self.check_room()
        return self._lines.join(key)

    async def pause(self, seconds: float) -> None:
        self.paused_s += seconds
        await self._clock.advance(seconds)

    async def publish(self, envelope: PubsubEnvelope, patience_s: float = 10.0) -> PublishResult:
        self.check_room()
        self.patience_s = patience_s
        self.sent.append(envelope)
        if self.holding is not None:
            await self.holding.wait()
        return self.says.popleft() if self.says else TAKEN

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, do)

    def start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.begun.add(task)

    async def settled(self) -> None:
        """What was begun in the background is over."""
        while self.begun:
            done, self.begun = self.begun, set()
            await asyncio.gather(*done)

"""Honest clients who use topics at a node that is flooded: what they lose, how long they wait, what the node takes of its machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.process.broadcast import Hearer, Topic, drawn_public
from tests.process.company import NETWORK
from tests.process.fleet import POLL_S, percentiles, until
from tests.process.honest import VISIT_AGAIN_S, VISIT_TRIES
from tests.process.vitals import MIB, fetch, look, smaps
from yzdht import Client, Identity, NoNode
from yzdht.crypto.topics import public_topic
from yzdht.limits import DAY_S, TOPIC_HOSTS
from yzdht.pubsub.events import Message


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tests.process.fleet import NodeProcess
    from tests.process.vitals import Vitals
    from yzdht.ids import TopicId
    from yzdht.pubsub.events import Heard


COME_TO_S_MAX = 180.0
HEARD_S_MAX = 60.0
LOOK_EVERY_S = 0.2
UNREAD = "unread"
_FIGURE = re.compile(rb"^(yz_(?:hosted|topic_subscriptions)[^ ]*) ([0-9.e+]+)$", re.MULTILINE)


@dataclass(slots=True)
class Amid(Hearer):
    """Who listens to a topic to which strangers publish, too.

    Attributes:
        strange: How many messages of theirs it was told.

    """

    strange: int = 0

    def take(self, event: Heard) -> None:
        """It was told something; what becomes of strangers' messages is not looked at."""
        if any(event.sender == sender for sender, _ in self.topic.said.values()):
            Hearer.take(self, event)
        elif isinstance(event, Message):
            self.strange += 1


@dataclass(frozen=True, slots=True)
class Mark:
    """How far everybody was at some time."""

    at: float
    cpu_s: float
    acks: list[int]
    heard: list[int]


@dataclass(frozen=True, slots=True)
class Watched:
    """What happened within some time.

    Attributes:
        cores: Used by the node.
        pss: Its memory at the peak, in bytes.
        ack_s: How long publishes took, to all topics.
        late_s: How long messages took to be heard.

    """

    cores: float
    pss: int
    ack_s: list[float]
    late_s: list[float]

    def shown(self) -> str:
        return (
            f"{self.cores:.2f} cores, {self.pss / MIB:.0f} MiB; publish {percentiles(self.ack_s)};"
            f" heard {percentiles(self.late_s)}"
        )


@dataclass(slots=True)
class Siege:
    """The node that is flooded, and who uses it meanwhile.

    Attributes:
        nodes: The first is flooded; the first TOPIC_HOSTS are the hosts of all topics.
        people: Who publishes and listens.
        topics: To which they do.
        hearers: Of these.

    """

    nodes: Sequence[NodeProcess]
    people: Sequence[Client]
    topics: list[Topic] = field(default_factory=list)
    hearers: list[Hearer] = field(default_factory=list)

    @property
    def victim(self) -> NodeProcess:
        return self.nodes[0]

    @property
    def hosts(self) -> Sequence[NodeProcess]:
        return self.nodes[:TOPIC_HOSTS]

    # Who uses it

    @contextlib.asynccontextmanager
    async def topic(self) -> AsyncIterator[Topic]:
        """A new topic, to which all of them listen meanwhile; in the end nothing is missing there."""
        drawn = Topic(drawn_public(self.hosts, [node.node_id for node in self.nodes[TOPIC_HOSTS:]]))
        hearers = [Amid(f"{drawn.name[:10]} {number}", drawn) for number in range(len(self.people))]
        await asyncio.gather(*(h.listen(dht) for h, dht in zip(hearers, self.people, strict=True)))
        self.topics.append(drawn)
        self.hearers += hearers
        yield drawn
        await all_heard(hearers)
        self.topics.remove(drawn)
        for hearer in hearers:
            self.hearers.remove(hearer)
            await hearer.rest()
            hearer.check()

    async def comes_late(self, topic: Topic, address: str, node: NodeProcess) -> float:
        """Somebody comes from an address, through a node, and must have the history; how long that took, in seconds."""
        due, hearer, began = len(topic.acked), Amid(f"late {address}", topic), time.monotonic()
        async with arrived(address, node) as dht:
            await hearer.listen(dht, DAY_S)
            await all_heard([hearer], topic.acked[:due])
            took_s = time.monotonic() - began
            await hearer.rest()
        return took_s

    async def begins(self, address: str, node: NodeProcess) -> float:
        """Somebody comes to a topic that nobody knows yet, and hears what they publish; how long that took, in seconds."""
        topic, began = Topic(drawn_public(self.hosts)), time.monotonic()
        hearer = Hearer(f"new {address}", topic)
        async with arrived(address, node) as dht:
            await hearer.listen(dht)
            assert await topic.publish(dht), topic.failures
            await all_heard([hearer])
            await hearer.rest()
        return time.monotonic() - began

    # Watching

    def mark(self) -> Mark:
        """How far they are."""
        acks, heard = (
            [len(topic.ack_s) for topic in self.topics],
            [len(hearer.late_s) for hearer in self.hearers],
        )
        return Mark(time.monotonic(), self.victim.cpu_s(), acks, heard)

    async def watch(self, seconds: float, wanted: Mapping[str, int] | None = None) -> Watched:
        """Watch it for a while, and until the node says of topics what is wanted: so much more than now."""
        mark, peak, looked = self.mark(), 0, 0.0
        before = await self.figures() if wanted else {}
        is_over = not wanted
        while time.monotonic() < mark.at + seconds or not is_over:
            assert time.monotonic() < mark.at + seconds + COME_TO_S_MAX, await self.figures()
            peak = max(peak, pss_bytes(self.victim))
            if wanted and not is_over and time.monotonic() > looked + LOOK_EVERY_S:
                looked, now = time.monotonic(), await self.figures()
                is_over = all(now.get(name, 0) - before.get(name, 0) >= more for name, more in wanted.items())
            await asyncio.sleep(POLL_S)
        cores = (self.victim.cpu_s() - mark.cpu_s) / (time.monotonic() - mark.at)
        ack_s = [s for topic, n in zip(self.topics, mark.acks, strict=True) for s in topic.ack_s[n:]]
        late_s = [s for hearer, n in zip(self.hearers, mark.heard, strict=True) for s in hearer.late_s[n:]]
        return Watched(cores, peak, ack_s, late_s)

    async def figures(self) -> dict[str, int]:
        """What the flooded node says of topics."""
        reply = await fetch(self.victim, "/metrics")
        assert reply.status == 200, reply.text
        said = {name.decode(): int(float(value)) for name, value in _FIGURE.findall(reply.body)}
        return said | {UNREAD: unread_bytes(self.victim.port)}

    async def vitals(self) -> Vitals:
        """What the flooded node takes now."""
        return await look(self.victim)


@contextlib.asynccontextmanager
async def arrived(address: str, node: NodeProcess) -> AsyncIterator[Client]:
    """Somebody new comes from an address; who is not let in comes again."""
    async with contextlib.AsyncExitStack() as stack:
        yield await _enter(stack, f"ws://{address}:{node.port}", VISIT_TRIES)


async def _enter(stack: contextlib.AsyncExitStack, url: str, tries: int) -> Client:
    try:
        return await stack.enter_async_context(Client.connect(url, identity=Identity.generate()))
    except NoNode:
        if tries <= 1:
            raise
    await asyncio.sleep(VISIT_AGAIN_S)
    return await _enter(stack, url, tries - 1)


async def all_heard(hearers: Sequence[Hearer], wanted: Sequence[bytes] = ()) -> None:
    """Wait until none of them lacks anything, or anything of what is wanted."""

    async def is_heard() -> bool:
        return not any(hearer.missing() & set(wanted or hearer.topic.acked) for hearer in hearers)

    with contextlib.suppress(AssertionError):
        await until(is_heard, "all is heard", HEARD_S_MAX)
    for hearer in hearers:
        missing = hearer.missing() & set(wanted or hearer.topic.acked)
        assert not missing, hearer._about_missing()


def pss_bytes(node: NodeProcess) -> int:
    """Its memory now; what is shared counts in parts."""
    return smaps(Path(f"/proc/{node.pid}/smaps_rollup").read_text())["Pss"]


def unread_bytes(port: int) -> int:
    """What was sent from a port of this thread's network and not read: so much of it as lies in the kernel's buffers."""
    rows = (line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:])
    return sum(
        int(row[4].partition(":")[0], 16) for row in rows if int(row[1].rpartition(":")[2], 16) == port
    )


def aimed_at(topic: Topic) -> str:
    """What attackers call it."""
    found: TopicId = public_topic(NETWORK, topic.name)
    return found.hex()

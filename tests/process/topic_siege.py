"""Who uses a node whose topics are flooded: what they lose, how long others wait, what the node takes of its machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.process.broadcast import Hearer, Topic, drawn_public
from tests.process.company import NETWORK
from tests.process.fleet import POLL_S, percentiles, until
from tests.process.honest import arrived
from tests.process.others import DEEDS, all_heard
from tests.process.vitals import MIB, fetch, look, smaps
from yzdht.crypto.topics import public_topic
from yzdht.limits import DAY_S, TOPIC_HOSTS
from yzdht.pubsub.events import Message


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tests.process.fleet import NodeProcess
    from tests.process.honest import Deed, Honest
    from tests.process.vitals import Vitals
    from yzdht import Client
    from yzdht.ids import PublicKey, TopicId
    from yzdht.pubsub.events import Heard


COME_TO_S_MAX = 180.0
LOOK_EVERY_S = 0.2
UNSURE_S = 10.0
UNREAD = "unread"
_FIGURE = re.compile(rb"^(yz_(?:hosted|topic_subscriptions)[^ ]*) ([0-9.e+]+)$", re.MULTILINE)


@dataclass(slots=True)
class Amid(Hearer):
    """Who listens to a topic to which strangers publish, too.

    Attributes:
        strange: How many messages of theirs it was told.
        unsure: What this one says need not come.

    """

    strange: int = 0
    unsure: PublicKey | None = None

    def take(self, event: Heard) -> None:
        """It was told something; what becomes of strangers' messages is not looked at."""
        if any(event.sender == sender for sender, _ in self.topic.said.values()):
            Hearer.take(self, event)
        elif isinstance(event, Message):
            self.strange += 1

    def due(self) -> set[bytes]:
        """What it must have been told."""
        return {data for data in Hearer.due(self) if self.topic.said[data][0] != self.unsure}

    def lacks(self) -> int:
        """How much it was not told, whether it had to be or not."""
        return len(Hearer.due(self) - {message.data for message in self.messages})


@dataclass(frozen=True, slots=True)
class Watched:
    """What happened within some time.

    Attributes:
        cores: Used by the node.
        idle: Cores of the machine that nobody used.
        pss: Its memory at the peak, in bytes.
        deeds: Of those who use other topics.

    """

    cores: float
    idle: float
    pss: int
    deeds: Sequence[Deed]

    def took_s(self, what: str) -> list[float]:
        """In ascending order."""
        return sorted(deed.took_s for deed in self.deeds if deed.what == what and not deed.error)

    def errors(self) -> Counter[str]:
        return Counter(f"{deed.what}: {deed.error}" for deed in self.deeds if deed.error)

    def shown(self) -> str:
        times = "; ".join(f"{what} {percentiles(self.took_s(what))}" for what in DEEDS)
        return f"{self.cores:.2f} cores, {self.idle:.2f} idle, {self.pss / MIB:.0f} MiB; {times}"


@dataclass(slots=True)
class Siege:
    """The node that is flooded, and who uses it meanwhile.

    Attributes:
        nodes: The first is flooded; the first TOPIC_HOSTS are the hosts of all topics.
        people: Who publishes to flooded topics and listens there.
        others: Who uses other topics.
        lacked: How much each of the people was not told in the last topic, of what need not have come.

    """

    nodes: Sequence[NodeProcess]
    people: Sequence[Client]
    others: Honest
    lacked: Sequence[int] = ()

    @property
    def victim(self) -> NodeProcess:
        return self.nodes[0]

    @property
    def hosts(self) -> Sequence[NodeProcess]:
        return self.nodes[:TOPIC_HOSTS]

    # Who uses it

    @contextlib.asynccontextmanager
    async def topic(self, unsure: Client | None = None) -> AsyncIterator[Topic]:
        """A new topic, to which all of them listen meanwhile; in the end nothing is missing there, unless this one said it."""
        drawn = Topic(drawn_for(self.nodes))
        name, whose = drawn.name[:10], None if unsure is None else unsure._records().identity.public_key
        hearers = [Amid(f"{name} {number}", drawn, unsure=whose) for number in range(len(self.people))]
        await asyncio.gather(*(h.listen(dht) for h, dht in zip(hearers, self.people, strict=True)))
        yield drawn
        await all_heard(hearers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNSURE_S):
                while any(hearer.lacks() for hearer in hearers):  # noqa: ASYNC110 - no event tells of it
                    await asyncio.sleep(LOOK_EVERY_S)
        self.lacked = [hearer.lacks() for hearer in hearers]
        for hearer in hearers:
            await hearer.rest()
            hearer.check()

    async def comes_late(self, topic: Topic, address: str, node: NodeProcess) -> None:
        """Somebody comes from an address, through a node, and must have the history."""
        hearer = Amid(f"late {address}", topic)
        async with arrived(f"ws://{address}:{node.port}") as dht:
            await hearer.listen(dht, DAY_S)
            await all_heard([hearer])
            await hearer.rest()

    # Watching

    async def watch(self, seconds: float, wanted: Mapping[str, int] | None = None) -> Watched:
        """Watch it for a while, and until the node says of topics what is wanted: so much more than now."""
        since, cpu_s, idle_s, peak, looked = time.monotonic(), self.victim.cpu_s(), idle_cores_s(), 0, 0.0
        before = await self.figures() if wanted else {}
        is_over = not wanted
        while time.monotonic() < since + seconds or not is_over:
            assert time.monotonic() < since + seconds + COME_TO_S_MAX, await self.figures()
            peak = max(peak, pss_bytes(self.victim))
            if wanted and not is_over and time.monotonic() > looked + LOOK_EVERY_S:
                looked, now = time.monotonic(), await self.figures()
                is_over = all(now.get(name, 0) - before.get(name, 0) >= more for name, more in wanted.items())
            await asyncio.sleep(POLL_S)
        until_ = time.monotonic()
        cores = (self.victim.cpu_s() - cpu_s) / (until_ - since)
        idle = (idle_cores_s() - idle_s) / (until_ - since)
        await until(lambda: self._are_done(until_), "the others did what they had begun", COME_TO_S_MAX)
        return Watched(cores, idle, peak, self.others.within(since, until_))

    async def _are_done(self, since: float) -> bool:
        """Somebody has begun and ended something of each kind since then; what another one began before may still be under way, and is left out."""
        return all(
            any(deed.what == what and deed.began > since for deed in self.others.deeds[::-1])
            for what in DEEDS
        )

    async def figures(self) -> dict[str, int]:
        """What the flooded node says of topics."""
        reply = await fetch(self.victim, "/metrics")
        assert reply.status == 200, reply.text
        said = {name.decode(): int(float(value)) for name, value in _FIGURE.findall(reply.body)}
        return said | {UNREAD: unread_bytes(self.victim.port)}

    async def vitals(self) -> Vitals:
        """What the flooded node takes now."""
        return await look(self.victim)


def drawn_for(nodes: Sequence[NodeProcess]) -> str:
    """A topic whose hosts are the first of these nodes."""
    return drawn_public(nodes[:TOPIC_HOSTS], [node.node_id for node in nodes[TOPIC_HOSTS:]])


def idle_cores_s() -> float:
    """Seconds that the cores of this machine had nothing to do, all together."""
    times = psutil.cpu_times()
    return float(times.idle + times.iowait)


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

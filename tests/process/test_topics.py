"""Topics on real nodes while their hosts are killed: what was acknowledged is not missing, not twice, and in order.

Ten publish at a steady pace, in public and in a group, through clients; clients and nodes listen. The hosts of both topics die,
one, two or all at once, as a seed has it, and come back within seconds; or one stands still. The group has new secrets now and
then. Some subscribers come late, and must have the history; some go and come back with a cursor, through other nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random  # noqa: TID251 - who is killed when, from a seed that the test prints
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.process.broadcast import Hearer, Reaper, Speakers, Topic, drawn_topic
from tests.process.company import NETWORK
from tests.process.fleet import percentiles, until
from yzdht import Client, Identity, Node, NoNode, YzError
from yzdht.crypto.topics import group_topic, public_topic
from yzdht.limits import DAY_S, HISTORY_MESSAGES_MAX
from yzdht.wire.group_state import Member as Listed


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess
    from yzdht.ids import TopicId


pytestmark = pytest.mark.process

SEEDS = 10
SPEAKERS = 10
SPOKEN_MAX = HISTORY_MESSAGES_MAX - 2 * SPEAKERS
GROUP = "ours"
GROWN_S_MAX = 300.0
ROTATIONS = 10
"""Of the group's secrets in a run, evenly; fewer where the nodes that hold its state are dead for long."""
HEARD_S_MAX = 180.0
"""After the end: what no majority took may be missing, and is looked for that long before what follows is told."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large.

    Attributes:
        nodes: Processes.
        seconds: How long nodes are killed.
        every_s: From one message of a speaker to each topic to the next.
        listening_nodes: Nodes in this process.
        clients: That only listen.
        hearers: Of the public topic, spread over all clients and nodes.
        members: How many of the clients that listen are members of the group, beside all who speak.

    """

    nodes: int
    seconds: float
    every_s: float
    listening_nodes: int
    clients: int
    hearers: int
    members: int


SHORT = Scale(12, 30.0, 0.5, 2, 8, 20, 5)
LONG = Scale(60, 300.0, 4.0, 10, 80, 200, 20)


@dataclass(slots=True)
class World:
    """Everybody of one run.

    Attributes:
        scale: How large.
        nodes: The processes.
        urls: Theirs.
        rng: From the seed, for who connects to whom.
        folder: Where the homes are.
        stack: Closes what was opened.
        speakers: Clients that publish; each is a member of the group.
        listening: Clients and nodes that only listen; the first of the clients are members as well.
        hearers: All subscriptions.
        hosted: Both topics, 16 bytes each.
        rotations: New epochs of the group while messages were on their way.

    """

    scale: Scale
    nodes: list[NodeProcess]
    urls: list[str]
    rng: random.Random
    folder: Path
    stack: contextlib.AsyncExitStack
    speakers: list[Client] = field(default_factory=list)
    listening: list[Client | Node] = field(default_factory=list)
    hearers: list[Hearer] = field(default_factory=list)
    hosted: list[TopicId] = field(default_factory=list)
    rotations: int = 0

    async def client(self, name: str = "") -> Client:
        """One of two of the nodes; with a name it has a home."""
        home = self.folder / name if name else None
        identity = None if name else Identity.generate()
        while True:
            with contextlib.suppress(NoNode):  # both are dead: it tries two others
                dht = Client.connect(*self.rng.sample(self.urls, 2), home=home, identity=identity)
                return await self.stack.enter_async_context(dht)

    async def node(self) -> Node:
        urls = self.rng.sample(self.urls, 2)
        node = Node(0, host="127.0.0.1", bootstrap=urls, identity=Identity.generate())
        return await self.stack.enter_async_context(node)

    async def gather(self) -> None:
        """Have everybody connect, and the group made."""
        for number in range(SPEAKERS):
            self.speakers.append(await self.client(f"speaker{number}"))
        for number in range(self.scale.clients):
            is_member = number < self.scale.members
            self.listening.append(await self.client(f"hearer{number}" if is_member else ""))
        admin, *others = [*self.speakers, *self.members]
        await admin.records.groups.create(GROUP)
        for other in others:
            identity = other.identity
            await admin.records.groups.add(GROUP, Listed(identity.public_key, identity.kem[0].key.public_key))
        key = admin.records.groups.group_key(GROUP)
        for other in others:
            await other.records.groups.adopt(GROUP, key)
        for _ in range(self.scale.listening_nodes):
            self.listening.append(await self.node())

    @property
    def members(self) -> list[Client]:
        """Those of them that only listen."""
        return [dht for dht in self.listening[: self.scale.members] if isinstance(dht, Client)]

    async def draw_topics(self) -> tuple[Topic, Topic]:
        """One in public and one of the group, both hosted by processes that can be killed."""
        further = [dht.node_id for dht in self.listening if isinstance(dht, Node)]
        kept = await self.speakers[0].records.known_groups.current(GROUP)
        secret = kept.state.name_secret
        public = drawn_topic(lambda name: public_topic(NETWORK, name), self.nodes, further)
        private = drawn_topic(lambda name: group_topic(secret, NETWORK, name), self.nodes, further)
        self.hosted = [public_topic(NETWORK, public), group_topic(secret, NETWORK, private)]
        return Topic(public), Topic(private)

    async def listen(self, public: Topic, private: Topic) -> None:
        """Have everybody subscribe."""
        for number in range(self.scale.hearers):
            dht = self.listening[number % len(self.listening)]
            await self.hear(Hearer(f"public {number} {type(dht).__name__}", public), dht)
        for number, member in enumerate([*self.speakers, *self.members]):
            await self.hear(Hearer(f"group {number}", private, GROUP), member)

    async def rotate(self, until_mono: float) -> None:
        """New secrets all the time; members that miss epochs between them are handed what was said in these."""
        while time.monotonic() < until_mono:
            await asyncio.sleep(self.scale.seconds / ROTATIONS)
            with contextlib.suppress(YzError):  # the nodes that hold its state may be dead
                await self.speakers[0].records.groups.rotate(GROUP)
                self.rotations += 1

    async def hear(self, hearer: Hearer, dht: Client | Node, since: float | None = None) -> Hearer:
        await hearer.listen(dht, since)
        self.hearers.append(hearer)
        return hearer


@contextlib.asynccontextmanager
async def world_of(fleet: Fleet, folder: Path, scale: Scale, seed: int) -> AsyncIterator[World]:
    """Everybody, connected and subscribed to nothing yet."""
    nodes = await fleet.grow(scale.nodes, patience_s=GROWN_S_MAX)
    async with contextlib.AsyncExitStack() as stack:
        world = World(scale, nodes, [node.url for node in nodes], random.Random(seed), folder, stack)
        await world.gather()
        yield world
        await asyncio.gather(*(hearer.rest() for hearer in world.hearers))


async def prove(fleet: Fleet, folder: Path, note: Note, scale: Scale, seed: int) -> None:
    async with world_of(fleet, folder, scale, seed) as world:
        public, private = await world.draw_topics()
        await world.listen(public, private)
        reaper = Reaper(world.nodes, world.hosted, random.Random(seed))
        until_mono = time.monotonic() + scale.seconds
        async with (
            Speakers(public, [(dht, None) for dht in world.speakers], scale.every_s, SPOKEN_MAX),
            Speakers(private, [(dht, GROUP) for dht in world.speakers], scale.every_s, SPOKEN_MAX),
        ):
            await asyncio.gather(
                reaper.reap(until_mono),
                come_and_go(world, public, private, until_mono),
                world.rotate(until_mono),
            )
        await all_heard(world.hearers)
        await asyncio.gather(*(hearer.rest() for hearer in world.hearers))
        show(
            note,
            f"seed {seed}: {reaper.kills} kills, {reaper.freezes} freezes, {world.rotations} rotations",
            [public, private],
            world.hearers,
        )
        for hearer in world.hearers:
            hearer.check()
        world.hearers.clear()


async def come_and_go(world: World, public: Topic, private: Topic, until_mono: float) -> None:
    """While it goes on some come late and must have the history, some go and come back elsewhere."""
    member = world.speakers[0]
    going = [h for h in world.hearers if h.topic is public][::10]
    while time.monotonic() < until_mono:
        await world.hear(Hearer("late", public), await world.client(), DAY_S)
        await world.hear(Hearer("late in the group", private, GROUP), member, DAY_S)
        for hearer in going:
            await hearer.rest()
        await asyncio.sleep(world.rng.uniform(0.1, 5.0))
        for hearer in going:
            await hearer.listen(await world.client())
        await asyncio.sleep(world.scale.seconds / 5)


async def all_heard(hearers: Sequence[Hearer]) -> None:
    """Wait until nobody lacks anything; what lacks then is told by the check."""

    async def is_heard() -> bool:
        return not any(hearer.missing() for hearer in hearers)

    with contextlib.suppress(AssertionError):
        await until(is_heard, "all is heard", HEARD_S_MAX, 0.5)


def show(note: Note, what: str, topics: Sequence[Topic], hearers: Sequence[Hearer]) -> None:
    for topic in topics:
        those = [hearer for hearer in hearers if hearer.topic is topic]
        told = {name: sum(h.gaps[name] for h in those) for name in ("gap", "filled", "lost")}
        note(
            f"{what}: {len(topic.said)} published, {len(topic.acked)} acknowledged, {len(topic.failures)} not;"
            f" {sum(len(h.messages) for h in those)} deliveries to {len(those)} subscribers, {told}"
        )
        note(f"publish: {percentiles(topic.ack_s)}")
        note(f"delivered live: {percentiles(s for h in those for s in h.late_s)}")


def drawn_seed() -> int:
    """Another one in every run, so that many runs try all of them; YZ_TOPICS_SEED repeats one."""
    return int(os.environ.get("YZ_TOPICS_SEED") or secrets.randbelow(SEEDS))


async def test_everybody_hears_everything_once_and_in_order_while_hosts_are_killed(
    fleet: Fleet, tmp_path: Path, note: Note
) -> None:
    await prove(fleet, tmp_path, note, SHORT, drawn_seed())


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_everybody_hears_everything_with_each_seed(
    fleet: Fleet, tmp_path: Path, note: Note, seed: int
) -> None:
    await prove(fleet, tmp_path, note, SHORT, seed)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_two_hundred_hear_everything_once_and_in_order_while_hosts_of_sixty_are_killed(
    fleet: Fleet, tmp_path: Path, note: Note
) -> None:
    await prove(fleet, tmp_path, note, LONG, drawn_seed())

"""Sixty nodes on one machine: a third dies at once, all start again together, a third leaves in peace.

The short forms run a dozen nodes and assert nothing of time, but within a minute all have to be well again, with little
work, and then at rest. They print what they measured. The long ones assert it, less what the cores, which sixty
processes share, let a trivial request wait at the same moment (`Yardstick`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random  # noqa: TID251 - which nodes die and what is read, from a seed that the test prints
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import kill_all, percentiles, start_all, steady_port, through, until
from tests.process.library import Library, SteadyReaders
from tests.process.yardstick import Yardstick
from yzdht import Client, Identity
from yzdht.errors import NoNode
from yzdht.limits import REPLICAS
from yzdht.state import decode_state


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess
    from tests.process.yardstick import Timed


pytestmark = pytest.mark.process

SEED = 20_261_121
GET_S_MAX = 1.0
HEALTHY_S_MAX = 60.0
GROWN_S_MAX = 240.0
IDLE_SHARE_MAX = 0.01
"""Of one core, for each node that nobody asks for anything."""
WELL_CPU_S_MAX = 6.0
"""Seconds of CPU in which a node starts and is well again, on average; it needs a tenth. Work, not time: load does not
change it much, and a livelock exceeds it however slowly."""
IDLE_CORES_MAX = 0.5
"""Used by all nodes together once they are well; whoever spins uses a core, or what others leave of it."""
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a test is.

    Attributes:
        nodes: Processes.
        gone: How many of them are killed, or leave.
        records: Stored before that.
        sample: How many of them are read through each node.
        readers: Clients that read while it happens.
        reads: Gets before it, and at least as many after it.
        idle_s: How long the nodes are watched when nothing happens.
        is_timed: Whether time is asserted on.

    """

    nodes: int
    gone: int
    records: int
    sample: int
    readers: int = 4
    reads: int = 300
    idle_s: float = 1.0
    is_timed: bool = False


LONG = (pytest.mark.soak, pytest.mark.timeout(1_500))
KILLED = (
    pytest.param(Scale(12, 4, records=40, sample=40), id="12"),
    pytest.param(Scale(60, 18, 400, 50, readers=8, reads=4_000, is_timed=True), id="60", marks=LONG),
)
RESTARTED = (
    pytest.param(Scale(12, 12, records=20, sample=20, idle_s=2.0), id="12"),
    pytest.param(Scale(60, 60, 200, 20, idle_s=30.0, is_timed=True), id="60", marks=LONG),
)
LEAVING = (
    # Of the eight replicas of a record in twelve, two at most stay: without hand-over one record in eleven has none.
    pytest.param(Scale(12, 10, records=60, sample=60), id="12"),
    pytest.param(Scale(60, 20, 400, 50, readers=8, is_timed=True), id="60", marks=LONG),
)


@dataclass(frozen=True, slots=True)
class Gauge:
    """Says what gets and puts took, beside the yardstick."""

    scale: Scale
    yardstick: Yardstick
    note: Note

    def show(self, what: str, works: Sequence[Timed]) -> None:
        """Print the figures; in the long form none may be over GET_S_MAX by itself."""
        since, until_ = min(w.began for w in works), max(w.began + w.took_s for w in works)
        echoes = [e.took_s for e in self.yardstick.echoes if since <= e.began <= until_]
        slow = [work for work in works if work.took_s > GET_S_MAX]
        own = self.yardstick.over(GET_S_MAX, works)
        self.note(f"{what}: {percentiles(work.took_s for work in works)}; echo {percentiles(echoes)}")
        if slow:
            self.note(f"{what}: {len(slow)} over {GET_S_MAX} s, {len(own)} of them by themselves")
        assert not (self.scale.is_timed and own), own


def expected_lost(scale: Scale) -> float:
    """How many records lose all their replicas, as arithmetic has it."""
    return scale.records * math.comb(scale.gone, REPLICAS) / math.comb(scale.nodes, REPLICAS)


async def read_through_each(
    nodes: Iterable[NodeProcess], identity: Identity, library: Library, names: Sequence[str]
) -> dict[str, str]:
    """What is not as it should be through any of the nodes."""
    wrong: dict[str, str] = {}
    for node in nodes:
        async with through(node, identity) as dht:
            wrong |= await library.wrong(dht, names)
    return wrong


async def enough(works: Sequence[object], more: int) -> None:
    goal = len(works) + more

    async def is_enough() -> bool:
        return len(works) >= goal

    await until(is_enough, f"{more} gets")


async def readers_of(
    stack: contextlib.AsyncExitStack, lists: Iterable[Sequence[NodeProcess]], identity: Identity
) -> list[Client]:
    """A client for each list of nodes; connected to the first two of the list."""
    return [
        await stack.enter_async_context(Client.connect(*(n.url for n in nodes), identity=identity))
        for nodes in lists
    ]


@pytest.mark.parametrize("scale", KILLED)
async def test_when_a_third_is_killed_at_once_what_has_a_holder_is_found(
    fleet: Fleet, note: Note, scale: Scale
) -> None:
    rng, identity, library, later = random.Random(SEED), Identity.generate(), Library(), Library()
    nodes = await fleet.grow(scale.nodes, patience_s=GROWN_S_MAX)
    dead = rng.sample(nodes, scale.gone)
    alive = [node for node in nodes if node not in dead]
    half = scale.readers // 2
    async with contextlib.AsyncExitStack() as stack:
        gauge = Gauge(scale, await stack.enter_async_context(Yardstick()), note)
        # Half of the readers are connected to nodes that will die, the others to one that survives.
        lists = [[dead[i], dead[-1 - i], alive[i]] for i in range(half)] + [[node] for node in alive[-half:]]
        clients = await readers_of(stack, lists, identity)
        await library.fill(clients[-1], scale.records, "before")
        gauge.show("put before", library.puts)
        async with SteadyReaders(library, clients, rng.choice) as readers:
            await enough(library.gets, scale.reads)
            gauge.show("get before", library.gets)
            killed_at = time.perf_counter()
            await kill_all(dead)
            await later.fill(clients[-1], scale.records // 4, "after")
            await enough(library.gets, scale.reads)
        gauge.show("put right after", later.puts)
        gauge.show("get since the kill", [g for g in library.gets if g.began + g.took_s >= killed_at])

        library.gets.clear()
        names = sorted(library.expected)
        wrong = readers.wrong | await read_through_each(
            alive, identity, library, rng.sample(names, scale.sample)
        )
        wrong |= await library.wrong(clients[0])
        gauge.show(f"get through each of {len(alive)} survivors", library.gets)
        await later.check(clients[0])
        lost = {
            name
            for name in wrong
            if name in library.seqs and not await library.holders(clients[0], name, alive)
        }
    note(
        f"seed {SEED}: {scale.gone} of {scale.nodes} killed; of {scale.records} records {len(lost)} had no holder left, arithmetic expects {expected_lost(scale):.4f}"
    )
    assert {name: what for name, what in wrong.items() if name not in lost} == {}


@pytest.mark.parametrize("scale", RESTARTED)
async def test_when_all_are_killed_and_started_at_once_all_are_well_again_without_a_bootstrap_node(
    fleet: Fleet, note: Note, scale: Scale
) -> None:
    identity, library = Identity.generate(), Library()
    nodes = await fleet.grow(scale.nodes, patience_s=GROWN_S_MAX)
    async with through(nodes[0], identity) as dht:
        await library.fill(dht, scale.records, "old")
    await until(lambda: all_have_saved(nodes), "everybody is in every state file")
    dead = f"ws://127.0.0.1:{steady_port()}"
    for bootstrap in (None, [dead], []) if scale.is_timed else ([dead], []):
        for node in nodes:
            node.spec.bootstrap = node.spec.bootstrap if bootstrap is None else bootstrap
        await kill_all(nodes)
        began = time.perf_counter()
        await start_all(nodes)
        ready_s = time.perf_counter() - began
        until_healthy = partial(
            will_work, identity=identity, library=library, scale=scale, give_up_at=began + HEALTHY_S_MAX
        )
        await each_at_once(nodes, until_healthy)
        await fleet.settle(nodes)
        healthy_s = time.perf_counter() - began
        cpu_s = sum(node.cpu_s() for node in nodes)
        idle = await idle_shares(nodes, scale.idle_s)
        where = (
            "no bootstrap address" if bootstrap == [] else f"bootstrap {'dead' if bootstrap else 'reachable'}"
        )
        note(
            f"{where}: {scale.nodes} ready after {ready_s:.1f} s, healthy after {healthy_s:.1f} s and {cpu_s:.1f} s of CPU;"
            f" then idle {100 * sum(idle) / len(idle):.2f} % of a core each, {100 * max(idle):.2f} % at most"
        )
        assert cpu_s <= WELL_CPU_S_MAX * scale.nodes
        assert sum(idle) <= IDLE_CORES_MAX
        if scale.is_timed:
            assert healthy_s <= HEALTHY_S_MAX
            assert max(idle) <= IDLE_SHARE_MAX


async def all_have_saved(nodes: Sequence[NodeProcess]) -> bool:
    """Everybody has written down everybody: what a node does not know when it is killed, it cannot know later."""
    states = [node.data / "state" for node in nodes]
    return all(path.exists() and len(decode_state(path.read_bytes())) == len(nodes) - 1 for path in states)


async def works(node: NodeProcess, identity: Identity, library: Library, scale: Scale) -> None:
    """A store and a get through this node succeed, and what was stored before is there."""
    names = sorted(library.expected)
    async with through(node, identity) as dht:
        await dht.store(f"of {node.spec.name}", str(node.starts).encode())
        assert (await dht.get(f"of {node.spec.name}")).data == str(node.starts).encode()
        await library.check(dht, names[:: len(names) // scale.sample])


async def will_work(
    node: NodeProcess, *, identity: Identity, library: Library, scale: Scale, give_up_at: float
) -> None:
    """It does by then; while all of them start at once, one that has no time for a newcomer is asked again."""
    while True:
        try:
            return await works(node, identity, library, scale)
        except NoNode:
            if time.perf_counter() >= give_up_at:
                raise


async def each_at_once(nodes: Iterable[NodeProcess], job: Callable[[NodeProcess], Awaitable[None]]) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(node: NodeProcess) -> None:
        async with room:
            await job(node)

    await asyncio.gather(*(one(node) for node in nodes))


async def idle_shares(nodes: Sequence[NodeProcess], seconds: float) -> list[float]:
    """Which share of a core each node uses while nobody asks it for anything."""
    before, began = [node.cpu_s() for node in nodes], time.perf_counter()
    await asyncio.sleep(seconds)
    passed_s = time.perf_counter() - began
    return [(node.cpu_s() - used_s) / passed_s for node, used_s in zip(nodes, before, strict=True)]


@pytest.mark.parametrize("scale", LEAVING)
async def test_when_nodes_leave_one_after_the_other_nothing_is_missing_meanwhile_or_afterwards(
    fleet: Fleet, note: Note, scale: Scale
) -> None:
    rng, identity, library = random.Random(SEED), Identity.generate(), Library()
    nodes = await fleet.grow(scale.nodes, patience_s=GROWN_S_MAX)
    leaving = rng.sample(nodes, scale.gone)
    staying = [node for node in nodes if node not in leaving]
    left_s: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        gauge = Gauge(scale, await stack.enter_async_context(Yardstick()), note)
        lists = [
            [leaving[i], leaving[-1 - i], staying[i % len(staying)]] if i % 2 else [staying[i % len(staying)]]
            for i in range(scale.readers)
        ]
        clients = await readers_of(stack, lists, identity)
        await library.fill(clients[0], scale.records, "kept")
        async with SteadyReaders(library, clients, rng.choice) as readers:
            await enough(library.gets, scale.reads)
            gauge.show("get before", library.gets)
            library.gets.clear()
            for node in leaving:
                began = time.perf_counter()
                await node.stop()
                left_s.append(time.perf_counter() - began)
            await enough(library.gets, scale.reads)
        note(
            f"seed {SEED}: {scale.gone} of {scale.nodes} left one after the other, each within: {percentiles(left_s)}"
        )
        gauge.show("get while they leave and right after", library.gets)
        names = rng.sample(sorted(library.seqs), min(scale.sample, len(library.seqs)))
        held = [len(await library.holders(clients[0], name, staying)) for name in names]
        note(
            f"holders of a record among the {len(staying)} that stay: {min(held)} at least, {sum(held) / len(held):.1f} on average"
        )
        assert readers.wrong == {}
        await library.check(clients[0])
        assert await read_through_each(staying, identity, library, names) == {}

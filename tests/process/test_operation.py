"""Real nodes for an hour: others come, go and are replaced, clients and browsers use them, and nothing piles up.

Some nodes are never restarted; these are looked at every minute. The short form is the same in seconds, and asserts what
needs no hour: that every record acknowledged is read, and that sessions, descriptors and tasks are what they were once
everybody is gone. The long form asserts that memory stays flat: the median of the last quarter beside that of the second.
YZ_HOURS sets how long that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random  # noqa: TID251 - who ends when and what is read, from a seed that the test prints
import resource
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import psutil
import pytest

from tests.process.fleet import Spec, percentiles, steady_port, through, until
from tests.process.library import Library
from tests.process.vitals import MIB, History, fetch, look, page_port, request_of, row
from yzdht import Client, Identity
from yzdht.errors import YzError


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess
    from tests.process.vitals import Vitals


pytestmark = pytest.mark.process

_T = TypeVar("_T")

SEED = 20_261_122
HOURS = float(os.environ.get("YZ_HOURS", "1"))
PATHS = ("/", "/metrics", "/status.json", "/peers.json", "/readyz", "/healthz", "/node.json")
ENDS = ("killed", "replaced", "stopped", "left for good", "restarted")
"""How a node ends, in turn. After "replaced", which is a kill, and "left for good" another one comes in its place."""

TRIES = 60
TRY_AGAIN_S = 0.5
"""Of one call: whoever is connected to a node that just died goes on through another, or comes again."""

GROWN_MAX = {
    "rss": 3 * MIB,
    "pss": 3 * MIB,
    "descriptors": 3,
    "threads": 0,
    "tasks": 3,
    "database": 2 * MIB,
    "log": 4 * MIB,
    "files": 0,
}
"""What the last quarter may have more than the second: in an hour's run, half an hour apart."""

VERIFIED_BYTES = 192
"""Of one entry of the cache of verified records. It has VERIFIED_CACHE_ENTRIES, which at the rate of these clients takes
more than an hour to fill; what it took meanwhile is no leak."""

LOG_BYTES_MAX = 16 * MIB
"""Of the write-ahead log at any time; it is begun anew after some thousand pages."""

LEFT_OVER_MAX = {"descriptors": 2, "threads": 0, "tasks": 2, "files": 1}
"""What there may be more than at the start, once everybody is gone: a dial is under way, and its state is saved now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how large.

    Attributes:
        nodes: At a time.
        steady: How many of them are never restarted.
        seconds: Of operation.
        look_every_s: Between two looks at the steady nodes.
        end_every_s: Between two ends of others.
        away_s: How long whoever is killed or stopped stays away, at most.
        names: Records in use.
        residents: Clients that stay.
        visitors: Clients at a time that come and go.
        pause_s: Between two calls of one client, on average.
        browse_every_s: Between two looks at a page of one steady node.
        is_long: Whether growth is judged.

    """

    nodes: int
    steady: int
    seconds: float
    look_every_s: float
    end_every_s: float
    away_s: float
    names: int
    residents: int
    visitors: int
    pause_s: float
    browse_every_s: float
    is_long: bool = False


SHORT = Plan(
    6,
    2,
    6,
    look_every_s=0.75,
    end_every_s=0.5,
    away_s=0.5,
    names=24,
    residents=2,
    visitors=2,
    pause_s=0.2,
    browse_every_s=0.5,
)
LONG = Plan(
    12,
    4,
    HOURS * 3_600,
    look_every_s=60 * min(1.0, HOURS),
    end_every_s=15,
    away_s=40,
    names=240,
    residents=4,
    visitors=4,
    pause_s=1.0,
    browse_every_s=5,
    is_long=True,
)


class Operation:
    """Nodes in operation, and whoever uses them.

    Args:
        fleet: Theirs.
        plan: How long and how large.
        rng: Decides everything but time.

    """

    def __init__(self, fleet: Fleet, plan: Plan, rng: random.Random) -> None:
        self.fleet = fleet
        self.plan = plan
        self.rng = rng
        self.identity = Identity.generate()
        self.library = Library()
        self.steady: list[NodeProcess] = []
        self.others: list[NodeProcess] = []
        self.histories: list[History] = []
        self.ends: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.trouble: Counter[str] = Counter()
        self.looked_at: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}
        self.until = 0.0
        self._numbers = count(plan.nodes)
        self._labels = count(1)
        self._free: set[str] = set()
        self._cpu_began = 0.0

    @property
    def nodes(self) -> list[NodeProcess]:
        """All that are in the network or will soon be again."""
        return [*self.steady, *self.others]

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        await asyncio.sleep(max(0.0, min(seconds, self.until - time.monotonic())))

    # Begin

    async def begin(self) -> None:
        """Start the nodes, and store everything once."""
        nodes = await self.fleet.grow(self.plan.nodes, self._flags)
        self.steady, self.others = nodes[: self.plan.steady], nodes[self.plan.steady :]
        self.histories = [History(node.spec.name) for node in self.steady]
        async with through(self.steady[0], self.identity) as dht:
            await self.library.fill(dht, self.plan.names, "record")
        self._free = set(self.library.expected)
        self._cpu_began = self.cpu_s()

    @property
    def _flags(self) -> list[str]:
        return ["--http", "--http-port", "0"]

    def cpu_s(self) -> float:
        """Seconds of CPU of all nodes so far, those that ended included."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime + sum(_cpu_s(node) for node in self.nodes if node.is_running)

    # Work

    async def run(self) -> None:
        """Let time pass with everything going on."""
        plan = self.plan
        self.until = time.monotonic() + plan.seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._end_nodes())
            for number in range(plan.residents):
                group.create_task(self._reside(number))
            for _ in range(plan.visitors):
                group.create_task(self._visit())
            for node in self.steady:
                group.create_task(self._browse(node))

    async def _watch(self) -> None:
        began = time.monotonic()
        while not self.is_over:
            looks = await asyncio.gather(*map(look, self.steady))
            for history, one in zip(self.histories, looks, strict=True):
                history.looks.append(one)
            if self.plan.is_long:
                self._tell((time.monotonic() - began) / 60, looks)
            await self.pause(self.plan.look_every_s)

    def _tell(self, minute: float, looks: Sequence[Vitals]) -> None:
        own = psutil.Process().memory_info().rss / MIB
        spent = self.cpu_s() - self._cpu_began
        took = f"get {percentiles(self.library.get_s)}; put {percentiles(self.library.put_s)}"
        print(row(minute, looks), flush=True)  # noqa: T201 - an hour's run is watched
        print(f"  {took}; nodes used {spent:.0f} s of CPU; clients {own:.0f} MiB", flush=True)  # noqa: T201 - as above
        self.library.gets.clear()
        self.library.puts.clear()

    async def _end_nodes(self) -> None:
        """One node after the other ends; whoever is to come again is back before the next one ends."""
        for number in count():
            await self.pause(self.plan.end_every_s)
            if self.is_over:
                return
            place = number % len(self.others)
            how = ENDS[number % len(ENDS)]
            self.ends[how] += 1
            await self._end(place, how)

    async def _end(self, place: int, how: str) -> None:
        node = self.others[place]
        if how in ("killed", "replaced"):
            await node.kill()
        else:
            await node.stop()
        if how in ("killed", "stopped"):
            await self.pause(self.rng.uniform(0, self.plan.away_s))
        if how in ("replaced", "left for good"):
            shutil.rmtree(node.data)
            node = self.others[place] = self.fleet.add(
                Spec(f"n{next(self._numbers)}", self._flags, steady_port(), bootstrap=[self.steady[0].url])
            )
        await node.start()

    async def _reside(self, number: int) -> None:
        """A client that stays, connected to a steady node and to one that is restarted or dies."""
        steady = self.steady[number % len(self.steady)]
        other = self.others[number % len(self.others)]
        async with Client.connect(other.url, steady.url, identity=self.identity) as dht:
            while not self.is_over:
                await self._call(dht)

    async def _visit(self) -> None:
        """Clients that come, make some calls and go; one of five goes without a word."""
        while not self.is_over:
            with contextlib.suppress(_GoneWithoutAWord):
                async with contextlib.AsyncExitStack() as stack:
                    dht = await self._insist(partial(self._come, stack))
                    self.calls["visit"] += 1
                    for _ in range(self.rng.randrange(1, 8)):
                        await self._call(dht)
                    if self.rng.random() < 0.2:
                        raise _GoneWithoutAWord

    async def _come(self, stack: contextlib.AsyncExitStack) -> Client:
        urls = [node.url for node in self.rng.sample(self._up(), 2)]
        urls.append(self.rng.choice(self.steady).url)
        return await stack.enter_async_context(Client.connect(*urls, identity=self.identity))

    def _up(self) -> list[NodeProcess]:
        return [node for node in self.nodes if node.is_running and node.events]

    async def _call(self, dht: Client) -> None:
        """Put, overwrite, get or delete something that nobody else is busy with."""
        await self.pause(self.rng.expovariate(1 / self.plan.pause_s))
        if self.is_over:
            return
        name = self.rng.choice(sorted(self._free))
        self._free.remove(name)
        try:
            draw = self.rng.random()
            if draw < 0.65:
                self.calls["get"] += 1
                await self._insist(lambda: self._get(dht, name))
            elif draw < 0.9 or self.library.expected[name] is None:
                self.calls["put"] += 1
                text = f"{next(self._labels)} " + "." * self.rng.randrange(3_000)
                await self._insist(lambda: self.library.overwrite(dht, [name], text))
            else:
                self.calls["delete"] += 1
                await self._insist(lambda: self.library.delete(dht, [name]))
        finally:
            self._free.add(name)

    async def _get(self, dht: Client, name: str) -> None:
        for what, how in (await self.library.wrong(dht, [name])).items():
            self.wrong[what] = f"{how[:200]} after {self.ends}"

    async def _insist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """What fails is tried again, as a person would."""
        for _ in range(TRIES):
            try:
                return await call()
            except YzError as error:
                self.trouble[type(error).__name__] += 1
            await asyncio.sleep(TRY_AGAIN_S)
        return await call()

    async def _browse(self, node: NodeProcess) -> None:
        """Somebody has the page open, something reads the metrics, and now and then one leaves before the answer."""
        for turn in count():
            await self.pause(self.plan.browse_every_s * self.rng.uniform(0.5, 1.5))
            if self.is_over:
                return
            paths = ("/", "/metrics", PATHS[turn % len(PATHS)])
            for path in paths:
                status = (await fetch(node, path)).status
                self.looked_at[f"{'ready ' if path == '/readyz' else ''}{status}"] += 1
            if turn % 4 == 3:
                await _hang_up(node)
                self.looked_at["hung up"] += 1

    # End

    async def check(self) -> None:
        """Every record is read through every node."""
        for node in self.nodes:
            async with through(node, self.identity) as dht:
                self.wrong |= await self.library.wrong(dht)

    async def rest(self, before: Sequence[Vitals]) -> list[Vitals]:
        """Wait until the steady nodes hold no more than before all this; the last looks."""

        after: list[Vitals] = []

        async def is_at_rest() -> bool:
            nonlocal after
            after = await asyncio.gather(*map(look, self.steady))
            return not left_over(before, after)

        try:
            await until(is_at_rest, "descriptors and tasks are what they were", every_s=0.5)
        except AssertionError as error:
            error.add_note(str(left_over(before, after)))
            raise
        return after


def _cpu_s(node: NodeProcess) -> float:
    try:
        return node.cpu_s()
    except psutil.Error:
        return 0.0  # it has just ended: then it counts as such


class _GoneWithoutAWord(Exception):
    """A program that ends does not wait for what it left in the background."""


async def _hang_up(node: NodeProcess) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", page_port(node))
    writer.write(request_of("/"))
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def left_over(before: Sequence[Vitals], after: Sequence[Vitals]) -> list[str]:
    """What there is more than before, by node and measure."""
    return [
        f"node {number}: {measure} {getattr(old, measure)} before, {getattr(new, measure)} after"
        for number, (old, new) in enumerate(zip(before, after, strict=True))
        for measure, more in LEFT_OVER_MAX.items()
        if getattr(new, measure) > getattr(old, measure) + more
    ]


def _cached(history: History, measure: str) -> float:
    return VERIFIED_BYTES * history.growth("verified") if measure in ("rss", "pss") else 0.0


def grown(histories: Sequence[History]) -> list[str]:
    """What grew beyond its bound, by node and measure."""
    too_much = [
        f"{history.name}: {measure} grew by {history.growth(measure):.0f}, bound {bound}"
        for history in histories
        for measure, most in GROWN_MAX.items()
        if history.growth(measure) > (bound := most + _cached(history, measure))
    ]
    too_much += [
        f"{history.name}: a log of {max(history.series('log')):.0f} B"
        for history in histories
        if max(history.series("log")) > LOG_BYTES_MAX
    ]
    return too_much


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(SHORT, id="seconds"),
        pytest.param(LONG, id="hour", marks=(pytest.mark.soak, pytest.mark.timeout(HOURS * 3_600 + 1_200))),
    ],
)
async def test_nodes_in_operation_keep_what_they_are_given_and_nothing_else(
    fleet: Fleet, note: Note, plan: Plan
) -> None:
    operation = Operation(fleet, plan, random.Random(SEED))
    await operation.begin()
    before = await asyncio.gather(*map(look, operation.steady))
    began = time.monotonic()
    await operation.run()
    seconds = time.monotonic() - began
    cores = (operation.cpu_s() - operation._cpu_began) / seconds
    note(f"seed {SEED}: {seconds:.0f} s, {cores:.2f} cores for all nodes; ends: {dict(operation.ends)}")
    note(
        f"calls {dict(operation.calls)}, tried again {dict(operation.trouble)}, pages {dict(operation.looked_at)}"
    )
    for history in operation.histories:
        note("\n".join(history.table()))

    await operation.check()
    after = await operation.rest(before)
    for history, old, new in zip(operation.histories, before, after, strict=True):
        note(f"{history.name} before: {old}")
        note(f"{history.name} after:  {new}")
    assert operation.wrong == {}
    assert set(operation.looked_at) <= {"200", "ready 200", "ready 503", "hung up"}
    for node in operation.nodes:
        await node.stop()  # none of its tasks failed
    assert not plan.is_long or grown(operation.histories) == []

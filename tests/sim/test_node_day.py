"""A day of real nodes in a loop that skips the waiting: sessions, sockets, pump, telemetry and pages included.

Some nodes outlive the day, others are replaced; clients come, store, read and go; pages are looked at. What a node leads
to is measured every half hour, as in test_day, once all has been quiet for some minutes. Timers, tasks and sessions are
in the end what they were when the network had settled. The short form is half an hour.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - who comes and goes and what is read, from a seed
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.http.kit import get
from tests.sim.holdings import grown, left_of_slots, lengths_of, shorten_lives, shrink_memories
from tests.sim.skipping import SkippingLoop
from yzdht import Client, Identity, Node
from yzdht.errors import YzError
from yzdht.http.server import HttpServer
from yzdht.limits import HOUR_S


if TYPE_CHECKING:
    from tests.conftest import Figures


pytestmark = pytest.mark.net

HOST = "127.0.0.1"
SEED = 20_261_123
MEASURED_PER_H = 2
MEASURED_EVERY_S = HOUR_S / MEASURED_PER_H
REST_S = 600.0  # of the loop, which skips it
SETTLED_H = (4, 8)
LATE_H = (20, 24)
REMEMBERED = 8
"""As many nodes are replaced in three hours."""

SPARE = 24
"""Of all steady nodes together: so many more of something small mean nothing."""


@dataclass(frozen=True)
class Plan:
    """How large a story is.

    Attributes:
        hours: Of virtual time.
        nodes: At a time.
        steady: How many of them stay; they have pages.
        visit_every_s: Between two clients, on average.
        replaced_every: After so many clients a node is replaced.

    """

    hours: float
    nodes: int
    steady: int
    visit_every_s: float
    replaced_every: int


SHORT = Plan(0.5, 4, 2, visit_every_s=60, replaced_every=8)
LONG = Plan(24, 8, 3, visit_every_s=60, replaced_every=15)


class Day:
    """Nodes in one loop, and who uses them.

    Args:
        plan: How long and how large.
        loop: Theirs.
        stack: Ends what was begun.

    """

    def __init__(self, plan: Plan, loop: SkippingLoop, stack: AsyncExitStack) -> None:
        self.plan = plan
        self.loop = loop
        self.rng = random.Random(SEED)
        self.identity = Identity.generate()
        self.nodes: list[Node] = []
        self.pages: list[HttpServer] = []
        self.expected: dict[str, bytes] = {}
        self.wrong: list[str] = []
        self.trouble: Counter[str] = Counter()
        self.sizes: list[Counter[str]] = []
        self._stack = stack

    async def begin(self) -> None:
        """Start the nodes, and wait until they know each other."""
        for number in range(self.plan.nodes):
            self.nodes.append(await self._start())
            if number < self.plan.steady:
                page = HttpServer(self.nodes[-1], HOST, 0)
                self.pages.append(await self._stack.enter_async_context(page))
        await self.rest()

    async def _start(self) -> Node:
        through = [self._url(self.nodes[0])] if self.nodes else []
        return await self._stack.enter_async_context(Node(0, host=HOST, bootstrap=through, clock=self.loop))

    @staticmethod
    def _url(node: Node) -> str:
        return f"ws://{HOST}:{node.port}"

    async def rest(self) -> None:
        """Let what is under way end."""
        await asyncio.sleep(REST_S)

    async def run(self) -> None:
        """Let the day pass."""
        ends_at = self.loop.time() + self.plan.hours * HOUR_S
        measured_at = self.loop.time() + MEASURED_EVERY_S
        visits = 0
        while self.loop.time() < ends_at:
            await asyncio.sleep(self.rng.expovariate(1 / self.plan.visit_every_s))
            visits += 1
            await self._visit(visits)
            if visits % self.plan.replaced_every == 0:
                await self._replace()
            if self.loop.time() >= measured_at:
                measured_at += MEASURED_EVERY_S
                await self.rest()
                self.measure()

    async def _visit(self, number: int) -> None:
        url = self._url(self.rng.choice(self.nodes))
        try:
            async with Client([url], identity=self.identity, clock=self.loop) as dht:
                for _ in range(3):
                    await self._call(dht, number)
        except YzError as error:
            self.trouble[type(error).__name__] += 1
        page = self.rng.choice(self.pages)
        for path in ("/", "/metrics", "/readyz", "/peers.json"):
            reply = await get(page, path)
            assert reply.status in (200, 503), reply.text

    async def _call(self, dht: Client, number: int) -> None:
        name = f"name {self.rng.randrange(20)}"
        if self.rng.random() < 0.4:
            value = b"value %d" % number
            await dht.store(name, value)
            self.expected[name] = value
            return
        shown = await dht.get(name, default=None)
        if (shown.data if shown is not None else None) != self.expected.get(name):
            self.wrong.append(f"{name}: {shown} instead of {self.expected.get(name)!r}")

    async def _replace(self) -> None:
        number = self.rng.randrange(self.plan.steady, self.plan.nodes)
        await self.nodes[number].stop()
        self.nodes[number] = await self._start()

    def measure(self) -> None:
        """Take the sizes of the steady nodes now."""
        sizes: Counter[str] = Counter()
        for node, page in zip(self.nodes[: self.plan.steady], self.pages, strict=True):
            sizes += lengths_of(node, page)
        self.sizes.append(sizes + Counter({"timers": self.loop.timers, "tasks": len(asyncio.all_tasks())}))

    def grown(self) -> list[str]:
        """What is larger in the last hours than it was once the network had settled."""
        return grown(_of_hours(self.sizes, SETTLED_H), _of_hours(self.sizes, LATE_H), SPARE)

    def left(self) -> list[str]:
        """What the steady nodes kept of slots that were gone, at whatever time."""
        return [found for sizes in self.sizes for found in left_of_slots(sizes, self.plan.steady)]

    def course(self, name: str) -> str:
        """All sizes of that name."""
        return " ".join(str(sizes[name]) for sizes in self.sizes)

    def lines(self) -> list[str]:
        """The largest sizes, at the ends of the quarters."""
        part = max(1, len(self.sizes) // 4)
        shown = self.sizes[part - 1 :: part]
        names = sorted(shown[-1], key=lambda name: -shown[-1][name])[:45]
        return [f"  {name:<30} " + " ".join(f"{sizes[name]:8d}" for sizes in shown) for name in names]


def _of_hours(measured: list[Counter[str]], hours: tuple[int, int]) -> list[Counter[str]]:
    """What was measured after the first of these hours, and no later than the second."""
    first, last = (hour * MEASURED_PER_H for hour in hours)
    return measured[first:last]


def _of_sessions(sizes: Counter[str]) -> set[str]:
    """Names of tasks, timers and all that belongs to sessions."""
    names = {"tasks", "timers", "Session", "Connection", "WebSocketLink", "Peer", "RoundTrip", "RecordLayer"}
    names |= {
        name
        for name in sizes
        if name.partition(".")[0] in ("Sessions", "Places", "Doorway", "Pump", "Session")
    }
    return names - {"Sessions._carried"}  # two numbers for each road


def left_over(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    """Of tasks, timers and all that belongs to sessions: what there is more than before."""
    spare = {"timers": 12, "tasks": 1}
    return {
        name: (before[name], after[name])
        for name in _of_sessions(after)
        if after[name] > before[name] + spare.get(name, 0)
    }


def added_up(measured: list[Counter[str]]) -> list[str]:
    """Of the same: what there is more in the last hours of a day than once the network had settled.

    What fluctuates goes up and down from one measurement to the next, and is not farther from where it began after
    sixteen hours than after one: as much as the largest step between the hours compared is no news. What leaks, little as
    it may be, adds up over all these steps.
    """
    early, late = _of_hours(measured, SETTLED_H), _of_hours(measured, LATE_H)
    between = _of_hours(measured, (SETTLED_H[1], LATE_H[0]))
    found = []
    for name in sorted({name for sizes in late for name in _of_sessions(sizes)}):
        before, after = (median(sizes[name] for sizes in some) for some in (early, late))
        step = max(abs(one[name] - other[name]) for one, other in pairwise(between))
        if after > before + step:
            found.append(f"{name}: {before:.0f}, then {after:.0f}; at most {step} from one time to the next")
    return found


async def live(plan: Plan, loop: SkippingLoop, figures: Figures) -> None:
    async with AsyncExitStack() as stack:
        day = Day(plan, loop, stack)
        await day.begin()
        day.measure()
        before = day.sizes.pop()
        await day.run()
        await day.rest()
        day.measure()
        figures(f"seed {SEED}: {plan.hours} h, tried in vain {dict(day.trouble)}", *day.lines())
        figures(
            *(f"  {name}, every half hour: {day.course(name)}" for name in ("timers", "tasks", "Session"))
        )
        assert day.wrong == []
        assert day.left() == []
        if plan is LONG:
            assert added_up(day.sizes) == []
            assert day.grown() == []
        else:
            assert left_over(before, day.sizes[-1]) == {}


def test_what_adds_up_is_told_from_what_goes_up_and_down() -> None:
    rng = random.Random(SEED)
    steady = [Counter(timers=150 + rng.randrange(-15, 16), Session=21) for _ in range(48)]
    leaking = [sizes + Counter(timers=2 * number) for number, sizes in enumerate(steady)]
    kept = [sizes + Counter(Session=number // 40) for number, sizes in enumerate(steady)]

    assert added_up(steady) == []
    assert [found.partition(":")[0] for found in added_up(leaking)] == ["timers"]
    assert added_up(kept) == ["Session: 21, then 22; at most 0 from one time to the next"]


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(SHORT, id="half an hour"),
        pytest.param(LONG, id="day", marks=(pytest.mark.soak, pytest.mark.timeout(3_500))),
    ],
)
def test_real_nodes_hold_no_more_of_their_sessions_than_there_are(
    plan: Plan, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_memories(monkeypatch, REMEMBERED)
    shorten_lives(monkeypatch)
    loop = SkippingLoop()
    try:
        loop.run_until_complete(live(plan, loop, figures))
    finally:
        loop.close()

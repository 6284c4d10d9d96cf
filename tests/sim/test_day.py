"""A day of a network that lives: nodes come and go, people and clients use it, and what a node remembers levels off.

Some nodes outlive the day. All containers that they lead to are measured every hour, by name: the engine's, the store's,
those of the shell around it. A name whose sizes in the last hours exceed those after the sixth is a leak: memories
that would fill up for days are made smaller here. When nobody calls any more, nothing is left pending. The long form looks at what is
allocated, too. The short form is two hours of fewer nodes. A failure prints the seed.
"""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.sim.churn import ChurnWorld, Climate, Estate, Population
from tests.sim.holdings import lengths_of, shrink_memories
from tests.sim.world import CLIENT, seeds
from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.limits import ANSWER_BODIES_BYTES_MAX, HOUR_S
from yzdht.rpc.engine import Peer
from yzdht.wire.rpc import Get, Got, Method, Put, PutDone, Status


if TYPE_CHECKING:
    from tests.conftest import Figures
    from tests.sim.node import SimNode
    from yzdht.wire.rpc import Body


IS_SOAK = os.environ.get("YZ_SOAK") == "1"
SETTLED_AT = 6
"""Hours after which nothing may grow any more."""

GROWN_MAX = 1.25
"""Sizes of the last six hours beside those of the six after SETTLED_AT; people write when they like."""

SPARE = 16
"""Per node: so many more of something small mean nothing."""

SPARE_BYTES = 512 * 1_024
"""Of all nodes, in one file."""


KEPT_OF_THE_DEAD = frozenset({"number", "node_id", "point", "url", "host", "place", "side", "life", "is_up"})
WRITTEN_KEPT = 8
"""Of one slot: nobody is shown something older."""


class Town(Population):
    """A population of which the first few nodes stay."""

    def __init__(self, world: ChurnWorld, size: int, climate: Climate, steady: int) -> None:
        self.count = steady
        super().__init__(world, size, climate)

    @property
    def steady(self) -> list[SimNode]:
        """Those that outlive the story."""
        return self.world.nodes[: self.count]

    def _plan_end(self, node: SimNode) -> None:
        if node.number >= self.count:
            super()._plan_end(node)

    def _bury(self, node: SimNode) -> None:
        self.world.after(60, _forget_wholly, node)

    def tidy(self, estate: Estate) -> None:
        """Forget what only a story remembers, so that what grows is a node's."""
        for node in self.live:
            node.store.sweep(node.now().wall)  # as the shell does, every minute
            node.sent.clear()
            for node_id in node.rtts.keys() - node.sessions.keys():
                del node.rtts[node_id]
        for slot in estate.slots:
            for seq in sorted(slot.written)[:-WRITTEN_KEPT]:
                del slot.written[seq]


def _forget_wholly(node: SimNode) -> None:
    for name in vars(node).keys() - KEPT_OF_THE_DEAD:
        delattr(node, name)


@dataclass
class Visitors:
    """Clients that come once, read something of the estate through a node, write something small and are not seen again.

    Attributes:
        town: Whose nodes they ask.
        estate: What they read.
        answered: Of what they asked, by method and status.
        silent: Requests that were never answered, though the node lived on.

    """

    town: Town
    estate: Estate
    answered: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    _came: int = 0

    def come(self, every_s: float) -> None:
        """Come from now on, as long as nodes do."""
        world = self.town.world
        if not self.town.is_moving:
            return
        self._came += 1
        node = world.random.choice(self.town.live)
        slot = world.random.choice(self.estate.slots)
        self._ask(node, Method.GET, Get(slot.target, (), ANSWER_BODIES_BYTES_MAX, 1))
        own = self.estate.slots[self._came % len(self.estate.slots)].pen
        seq = int(world.now.wall * 1_000)
        note = own.mutable("visited", seq, world.random.randbytes(60), created=int(world.now.wall))
        self._ask(node, Method.PUT, Put(note.target, note.raw, None, 0))
        world.after(every_s, self.come, every_s)

    def _ask(self, node: SimNode, method: Method, body: Body) -> None:
        rng = self.town.world.random
        ident = rng.randbytes(32)
        host = f"198.51.{rng.randrange(256)}.{rng.randrange(256)}"
        key = PublicKey(b"\x02" + ident)
        peer = Peer(
            NodeId(ident), key, CLIENT, SessionId(ident[:16]), host, f"{host.rpartition('.')[0]}.0/24"
        )
        answers = node.ask(peer, method, body)
        self.town.world.after(60, self._hear, node, node.life, method, answers)

    def _hear(self, node: SimNode, life: int, method: Method, answers: list[tuple[Status, Body]]) -> None:
        if node.life != life:
            return  # it died meanwhile
        if not answers:
            self.silent += 1
            return
        status, body = answers[0]
        is_whole = (isinstance(body, Got) and body.answered >= body.needed) or (
            isinstance(body, PutDone) and body.accepted >= body.needed
        )
        self.answered[f"{method.name} {status.name}{'' if is_whole else ', no quorum'}"] += 1


class Book:
    """What was measured, hour by hour.

    Args:
        town: Its steady nodes are measured.

    Attributes:
        hours: Sizes by name, of all steady nodes together.
        allocated: Bytes by file of the package, if allocations are traced.

    """

    def __init__(self, town: Town) -> None:
        self.town = town
        self.hours: list[Counter[str]] = []
        self.allocated: list[Counter[str]] = []

    def measure(self) -> None:
        """Take the sizes now."""
        world = self.town.world
        sizes: Counter[str] = Counter()
        for node in self.town.steady:
            sizes += self.of(node)
        sizes["events of the world, per node"] = len(world._events) // len(self.town.live) * self.town.count
        self.hours.append(sizes)
        if tracemalloc.is_tracing():
            self.allocated.append(allocations())

    @staticmethod
    def of(node: SimNode) -> Counter[str]:
        """The sizes of one node: its engine, and the shell's tables around it."""
        sizes = lengths_of(node.engine, node.pauses)
        sizes |= {f"SimNode.{name}": len(getattr(node, name)) for name in SHELL}
        return +sizes

    def grown(self) -> list[str]:
        """What is larger in the last hours than it was once the network had settled."""
        early, late = self.hours[SETTLED_AT : SETTLED_AT + 6], self.hours[-6:]
        found = []
        for name in sorted({name for sizes in late for name in sizes}):
            before, after = (median(sizes[name] for sizes in hours) for hours in (early, late))
            if after > GROWN_MAX * before + SPARE * self.town.count:
                found.append(f"{name} grew from {before:.0f} to {after:.0f}")
        return found + self._more_allocated()

    def _more_allocated(self) -> list[str]:
        if not self.allocated:
            return []
        early, late = self.allocated[SETTLED_AT], self.allocated[-1]
        return [
            f"{file} allocated {early[file]} bytes, then {late[file]}"
            for file in sorted(late)
            if late[file] > GROWN_MAX * early[file] + SPARE_BYTES
        ]

    def lines(self) -> list[str]:
        """The largest sizes, at the hours 1, 6, 12, 18 and 24, per node."""
        shown = [number for number in (0, 5, 11, 17, 23) if number < len(self.hours)]
        count = self.town.count
        names = sorted(self.hours[-1], key=lambda name: -self.hours[-1][name])
        lines = [
            f"  {name:<34} " + " ".join(f"{self.hours[number][name] / count:8.1f}" for number in shown)
            for name in names[:40]
        ]
        lines += [
            f"  allocated, KiB: {file:<30} "
            + " ".join(f"{self.allocated[number][file] / 1_024:8.0f}" for number in shown)
            for file, _ in (self.allocated[-1].most_common(12) if self.allocated else [])
        ]
        return [f"  per node, at the ends of hours {[number + 1 for number in shown]}", *lines]


SHELL = ("sessions", "flights", "dials", "doomed", "requests", "_deadlines")
PENDING = (
    "Operations._running",
    "MeasuredOperations._running",
    "MeasuredOperations._calls",
    "MeasuredOperations._writes",
    "KadEngine._errands",
    "KadEngine._deferred",
    "KadEngine._requests_to_store",
    "KadEngine._outgoing",
    "KadEngine._notices",
    "SimNode.flights",
    "SimNode.dials",
    "SimNode.doomed",
    "SimNode.requests",
)
"""What must be empty between two things that a node does of its own accord."""


def allocations() -> Counter[str]:
    """Bytes by file of the package."""
    taken = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(inclusive=True, filename_pattern="*/yzdht/*")]
    )
    return Counter(
        {s.traceback[0].filename.rpartition("/yzdht/")[2]: s.size for s in taken.statistics("filename")}
    )


def pending(node: SimNode) -> Counter[str]:
    """What a node waits for."""
    sizes = Book.of(node)
    return Counter({name: sizes[name] for name in PENDING if sizes[name]})


def is_at_rest(node: SimNode) -> bool:
    return not pending(node)


@dataclass(frozen=True)
class Plan:
    """How large a story is.

    Attributes:
        nodes: At a time.
        steady: How many of them stay.
        records: In the estate.
        hours: How long nodes come and go.
        visit_every_s: Between two visitors.

    """

    nodes: int
    steady: int
    records: int
    hours: int
    visit_every_s: float


SHORT = Plan(14, 3, 24, 2, visit_every_s=60)
LONG = Plan(40, 8, 80, 24, visit_every_s=20)


def live(seed: int, plan: Plan) -> tuple[Book, Estate, Visitors]:
    """Let the hours pass, then wait until nothing is pending."""
    with ChurnWorld(seed) as world:
        town = Town(world, plan.nodes, Climate(), plan.steady)
        estate = Estate(town, plan.records)
        estate.plant()
        visitors, book = Visitors(town, estate), Book(town)
        town.move()
        estate.live(reads_per_h=2 * plan.records, writes_per_h=plan.records)
        visitors.come(plan.visit_every_s)
        for _ in range(plan.hours):
            world.run_for(HOUR_S)
            town.tidy(estate)
            book.measure()
        town.rest()
        world.run_for(5 * 60)
        estate.collect()
        for node in town.steady:
            try:
                world.run_until(partial(is_at_rest, node), 600)
            except AssertionError as error:
                error.add_note(f"{node} waits for {dict(pending(node))}")
                raise
        assert estate.waiting == [], "an operation of a living node never ended"
    return book, estate, visitors


def check_use(estate: Estate, visitors: Visitors) -> None:
    """What was acknowledged was read, and every request was answered."""
    tally = estate.tally
    assert (tally.lost, tally.given_up, tally.behind, tally.missing) == (0, 0, 0, 0)
    assert visitors.silent == 0, "a client was not answered within a minute"
    whole = visitors.answered["GET OK"] + visitors.answered["PUT OK"]
    assert whole >= 0.95 * visitors.answered.total(), dict(visitors.answered)


@pytest.fixture(autouse=True)
def _small_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_memories(monkeypatch)


@pytest.mark.parametrize("seed", seeds(1)[:3])
def test_in_a_network_that_lives_nothing_is_left_pending_once_nobody_calls(
    seed: int, figures: Figures
) -> None:
    book, estate, visitors = live(seed, SHORT)
    check_use(estate, visitors)
    figures(
        f"seed {seed}: {dict(estate.population.ended)}; clients {dict(visitors.answered)}", *book.lines()[:12]
    )
    assert book.hours[-1]["KadEngine"] == SHORT.steady


@pytest.mark.soak
@pytest.mark.timeout(3_500)
@pytest.mark.parametrize("seed", range(3))
def test_what_a_node_remembers_levels_off_within_a_day(seed: int, figures: Figures) -> None:
    if seed == 0:
        tracemalloc.start()
    try:
        book, estate, visitors = live(seed, LONG)
    finally:
        tracemalloc.stop()
    figures(
        f"seed {seed}: {LONG.nodes} nodes, {LONG.hours} h; {dict(estate.population.ended)}",
        f"  clients {dict(visitors.answered)}; {estate.tally}",
        f"  {estate.world.cpu_s:.0f} s of CPU",
        *book.lines(),
    )
    check_use(estate, visitors)
    assert book.grown() == []

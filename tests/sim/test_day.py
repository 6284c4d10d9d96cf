"""A day of a network that lives: nodes come and go, people and clients use it, and what a node remembers levels off.

Some nodes outlive the day. All containers that they lead to are measured every hour, by name: the engine's, the store's,
those of the shell around it. A name whose sizes in the last hours exceed those after the sixth is a leak: memories that
would fill up for days are made smaller here, and identity records live for hours, so that as many records come as go.
Where they live for two days as they do outside, what is kept for records may grow as the records do, and nothing else.
At no hour is anything left of a slot that is gone. When nobody calls any more, nothing is left pending. A network that
is small enough is looked at for what is allocated, too. The short form is two hours of few nodes. A failure prints the seed.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper, partial
from typing import TYPE_CHECKING

import pytest

from tests.sim import authors
from tests.sim.churn import ChurnWorld, Climate, Estate, Population
from tests.sim.holdings import (
    PER_RECORD,
    grown,
    left_of_slots,
    lengths_of,
    shorten_lives,
    shrink_memories,
)
from tests.sim.world import CLIENT, seeds
from yzdht.crypto import primitives
from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.limits import ANSWER_BODIES_BYTES_MAX, HOUR_S
from yzdht.rpc.engine import Peer
from yzdht.wire import address
from yzdht.wire.rpc import Get, Got, Method, Put, PutDone, Status


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Figures
    from tests.sim.node import SimNode
    from yzdht.wire.rpc import Body


SETTLED_AT = 6
"""Hours after which nothing may grow any more; the last six are compared with the six that follow."""

SPARE = 16
"""Per node: so many more of something small mean nothing."""

ALLOCATED_EVERY = 3
"""Hours between two looks at all that is allocated, each of which takes a while."""

ALLOCATED_MAX = 1.1
"""Medians of bytes, late beside early."""

SPARE_BYTES = 48 * 1_024
"""Of all nodes, in one file."""

VISITED = 24
"""So many different visitors write, each a record of its own every hour."""

VISITED_LIFE_S = HOUR_S

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
            node._publish_to_self()  # as the shell does, after a quarter of its life
            node.store.sweep(node.now().wall)  # and this every minute
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
        own = self.estate.slots[self._came % VISITED].pen
        wall = world.now.wall
        value, seq = world.random.randbytes(60), int(wall * 1_000)
        name = f"visited in hour {wall // HOUR_S:.0f}"
        note = own.mutable(name, seq, value, created=int(wall), life_s=VISITED_LIFE_S)
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
        is_whole = (isinstance(body, PutDone) and body.accepted >= body.needed) or (
            isinstance(body, Got)
            and (bool(body.records) or body.answered >= body.needed)  # an immutable needs no quorum
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
        sizes["slots that should be forgotten"] = sum(map(overdue, self.town.steady))
        self.hours.append(+sizes)
        if tracemalloc.is_tracing() and len(self.hours) % ALLOCATED_EVERY == 0:
            self.allocated.append(allocations())

    @staticmethod
    def of(node: SimNode) -> Counter[str]:
        """The sizes of one node: its engine, and the shell's tables around it."""
        sizes = lengths_of(node.engine, node.pauses)
        sizes |= {f"SimNode.{name}": len(getattr(node, name)) for name in SHELL}
        return +sizes

    def grown(self, by_record: frozenset[str]) -> list[str]:
        """What is larger in the last hours than it was once the network had settled.

        Args:
            by_record: Names that may grow as the records do.

        """
        early, late = self.hours[SETTLED_AT : SETTLED_AT + 6], self.hours[-6:]
        return grown(early, late, SPARE * self.town.count, by_record) + self._more_allocated()

    def left(self) -> list[str]:
        """What was kept of slots that were gone, in whatever hour."""
        return [
            f"hour {number}: {found}"
            for number, sizes in enumerate(self.hours, 1)
            for found in left_of_slots(sizes, self.town.count)
        ] + [
            f"hour {number}: {sizes[name]} {name}"
            for number, sizes in enumerate(self.hours, 1)
            if sizes[name := "slots that should be forgotten"]
        ]

    def _more_allocated(self) -> list[str]:
        settled = SETTLED_AT // ALLOCATED_EVERY
        early, late = self.allocated[settled : settled + 2], self.allocated[-2:]
        found = []
        for file in sorted({file for sizes in late for file in sizes}):
            before, after = (sum(sizes[file] for sizes in some) / 2 for some in (early, late))
            if after > ALLOCATED_MAX * before + SPARE_BYTES:
                found.append(f"{file} allocated {before:.0f} bytes, then {after:.0f}")
        return found

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
            + " ".join(f"{sizes[file] / 1_024:8.0f}" for sizes in self.allocated)
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


def overdue(node: SimNode) -> int:
    """How many slots a node holds, though the time of their memory is over."""
    wall = node.now().wall
    return sum(slot.head.expires_max <= wall for slot in node.store._slots.values())


def allocations() -> Counter[str]:
    """Bytes by file of the package, but for its caches of functions, which are bounded and take days to fill."""
    for module in (authors, primitives, address):
        for one in vars(module).values():
            if isinstance(one, _lru_cache_wrapper):
                one.cache_clear()
    gc.collect()
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
TRACED = Plan(14, 3, 24, 24, visit_every_s=60)
LONG = Plan(30, 6, 60, 24, visit_every_s=30)


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
    assert whole >= 0.98 * visitors.answered.total(), dict(visitors.answered)


@pytest.fixture(autouse=True)
def _small_memories(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_memories(monkeypatch)


@pytest.fixture
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_lives(monkeypatch)


@pytest.fixture
def tracing() -> Iterator[None]:
    """Have allocations traced."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def check_day(seed: int, plan: Plan, figures: Figures, by_record: frozenset[str] = frozenset()) -> None:
    """Let a day pass in which nothing grows but, if it may, what is kept for each record."""
    book, estate, visitors = live(seed, plan)
    figures(
        f"seed {seed}: {plan.nodes} nodes, {plan.hours} h; {dict(estate.population.ended)}",
        f"  clients {dict(visitors.answered)}; {estate.tally}",
        f"  {estate.world.cpu_s:.0f} s of CPU",
        *book.lines(),
    )
    check_use(estate, visitors)
    assert book.left() == []
    assert book.grown(by_record) == []


@pytest.mark.parametrize("seed", seeds(1)[:3])
def test_in_a_network_that_lives_nothing_is_left_pending_once_nobody_calls(
    seed: int, figures: Figures
) -> None:
    book, estate, visitors = live(seed, SHORT)
    check_use(estate, visitors)
    figures(
        f"seed {seed}: {dict(estate.population.ended)}; clients {dict(visitors.answered)}", *book.lines()[:12]
    )
    assert book.left() == []
    assert book.hours[-1]["KadEngine"] == SHORT.steady


@pytest.mark.soak
@pytest.mark.timeout(3_500)
@pytest.mark.usefixtures("_short_lives")
def test_what_a_node_remembers_levels_off_within_a_day(figures: Figures) -> None:
    check_day(1, LONG, figures)


@pytest.mark.soak
@pytest.mark.timeout(3_500)
def test_where_identities_live_for_two_days_only_what_is_kept_for_records_grows_as_they_do(
    figures: Figures,
) -> None:
    check_day(2, LONG, figures, PER_RECORD)


@pytest.mark.soak
@pytest.mark.timeout(3_500)
@pytest.mark.usefixtures("_short_lives", "tracing")
def test_what_is_allocated_levels_off_within_a_day(figures: Figures) -> None:
    check_day(0, TRACED, figures)

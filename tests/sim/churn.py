"""Nodes that come and go, records that must outlive them, and what looking after them costs.

A `ChurnWorld` counts what is sent for which purpose. A `Population` keeps its size while its members die, leave and
come back with old disks. An `Estate` is what people keep in it: it writes, overwrites, deletes and reads, and knows
of each record what was acknowledged, who holds it, and when its holders died.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from math import log
from typing import TYPE_CHECKING

from tests.sim.authors import Pen
from tests.sim.world import World
from yzdht.kad.lookup import Lookup
from yzdht.kad.offer import Offer
from yzdht.kad.quorum import quorum_of
from yzdht.kad.read import Read
from yzdht.limits import HOUR_S, RECORD_LIFE_S_MAX, REPLICAS
from yzdht.store.memory import MemoryStore
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.sim.authors import Note
    from tests.sim.node import Session, SimNode
    from yzdht.ids import Publisher, Target
    from yzdht.kad.read import ReadResult
    from yzdht.kad.write import WriteResult
    from yzdht.rpc.engine import Call
    from yzdht.wire.rpc import Status


CARE = frozenset({"refresh", "hand over"})
"""Purposes that are care of records."""

LIFE_S = RECORD_LIFE_S_MAX - HOUR_S
_RETRY_S = 20.0
_RETRIES_MAX = 8
_DISKS_KEPT = 24
_BOOTSTRAPS = 3


def purpose_of(node: SimNode, call: Call) -> str:
    """What an engine sends a call for."""
    engine = node.engine
    errand = engine._errands.get(call.call)
    if errand is not None:
        return errand.kind
    pending = engine._operations._calls.get(call.call)
    running = engine._operations._running.get(pending.number) if pending is not None else None
    if running is None:
        return "other"
    operation = running.operation
    if isinstance(operation, Read):
        return "refresh" if operation.plan.is_thorough else "read"
    if isinstance(operation, Offer):
        return "hand over"
    return "lookup" if isinstance(operation, Lookup) else "write"


class ChurnWorld(World):
    """A world that counts requests by purpose and bytes by method, and tells who is killed.

    Attributes:
        requests: Sent, by purpose and method.
        carried: Bytes that arrived, by method; requests and answers.
        on_kill: Told of each node before it ends.

    """

    def __init__(self, seed: int = 0, *, is_connected: bool = True) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.carried: Counter[str] = Counter()
        self.on_kill: Callable[[SimNode], None] = lambda _node: None
        super().__init__(seed, is_connected=is_connected)

    def call(self, node: SimNode, call: Call) -> None:
        self.requests[purpose_of(node, call), call.method.name] += 1
        super().call(node, call)

    def kill(self, *nodes: SimNode) -> None:
        for node in nodes:
            self.on_kill(node)
        super().kill(*nodes)

    def _arrive(
        self, session: Session, node: SimNode, other: SimNode, life: int, call: Call, data: bytes
    ) -> None:
        self.carried[call.method.name] += len(data)
        super()._arrive(session, node, other, life, call, data)

    def _come_back(
        self, session: Session, asker: SimNode, life: int, call: Call, status: Status, data: bytes
    ) -> None:
        self.carried[call.method.name] += len(data)
        super()._come_back(session, asker, life, call, status, data)

    def _note(self, sender: SimNode, receiver: SimNode, data: bytes) -> None:
        self.delivered += 1  # no trace: a week has too many messages for it


# Nodes


@dataclass(frozen=True)
class Climate:
    """How nodes come and go.

    Attributes:
        life_median_s: Lives are exponential.
        leaving: Share of ends that are graceful.
        returning: Share of the ended that come back with their disk.
        away_s: Median and sigma of the logarithm of how long they stay away.

    """

    life_median_s: float = float(HOUR_S)
    leaving: float = 0.2
    returning: float = 0.25
    away_s: tuple[float, float] = (1_800.0, 1.2)


class Population:
    """So many nodes that live and die; their clocks are wrong.

    Args:
        world: Where.
        size: How many.
        climate: How they come and go.

    Attributes:
        live: Those that are up.
        away: Those that will come back.
        disks: Some that were never to come back; `return_disks` has them come back all the same.
        ended: How many lives ended by kill, leaving, and return.

    """

    def __init__(self, world: ChurnWorld, size: int, climate: Climate) -> None:
        self.world = world
        self.size = size
        self.climate = climate
        self.is_moving = False
        self.ended: Counter[str] = Counter()
        self.away: list[SimNode] = []
        self.disks: list[SimNode] = []
        world.spoil_clocks()
        self.live: list[SimNode] = world.add_network(size)
        self.witnesses: list[Callable[[SimNode], None]] = []
        world.on_kill = self._ends

    def move(self) -> None:
        """Let them begin to die."""
        self.is_moving = True
        for node in self.live:
            self._plan_end(node)

    def rest(self) -> None:
        """Nobody comes or goes any more."""
        self.is_moving = False

    def _plan_end(self, node: SimNode) -> None:
        life_s = self.world.random.expovariate(log(2) / self.climate.life_median_s)
        self.world.after(life_s, self._end, node, node.life)

    def _end(self, node: SimNode, life: int) -> None:
        if not self.is_moving or node.life != life or not node.is_up:
            return
        if self.world.random.random() < self.climate.leaving:
            self.ended["left"] += 1
            self.world.leave(node)
        else:
            self.ended["killed"] += 1
            self.world.kill(node)

    def _ends(self, node: SimNode) -> None:
        """A node is about to end: somebody will take its place."""
        for witness in self.witnesses:
            witness(node)
        if node not in self.live:
            return
        self.live.remove(node)
        if not self.is_moving:
            return
        rng = self.world.random
        if rng.random() < self.climate.returning:
            median_s, sigma = self.climate.away_s
            self.away.append(node)
            self.world.after(median_s * rng.lognormvariate(0, sigma), self._come_back, node)
        else:
            self._bury(node)
        self.world.after(rng.uniform(0, 60), self._arrive)

    def _bury(self, node: SimNode) -> None:
        """Keep its disk for later, or give its memory back once what is under way for it has passed."""
        if len(self.disks) < _DISKS_KEPT and self.world.random.random() < 0.1:
            self.disks.append(node)
        else:
            self.world.after(60, _forget, node)

    def _bootstraps(self) -> list[SimNode]:
        return self.world.random.sample(self.live, min(_BOOTSTRAPS, len(self.live)))

    def _arrive(self) -> None:
        if self.is_moving and len(self.live) < self.size:  # who came back may have taken the place
            node = self.world.add_node()
            node.join(*self._bootstraps())
            self._lives(node)

    def _come_back(self, node: SimNode) -> None:
        self.away.remove(node)
        if self.is_moving:
            self.ended["came back"] += 1
            self._restart(node)

    def _restart(self, node: SimNode) -> None:
        self.world.restart(node, through=self._bootstraps())
        self._lives(node)

    def _lives(self, node: SimNode) -> None:
        self.live.append(node)
        if self.is_moving:
            self._plan_end(node)

    def return_disks(self) -> int:
        """Start all nodes whose disks are still there; how many they are."""
        old = [*self.away, *self.disks]
        self.disks.clear()
        for node in old:
            self._restart(node)
        return len(old)


def _forget(node: SimNode) -> None:
    """Give back the memory of a node that will never run again."""
    node.store = MemoryStore(node._on_verdicts, lambda _run: None)
    node.__dict__.pop("engine", None)
    node.sent.clear()
    node.results.clear()
    node.rtts.clear()
    node.flights.clear()


# Records


@dataclass(eq=False)
class Slot:
    """One record's story.

    Attributes:
        pen: Its author.
        kind: What kind of record.
        name: Under which name.
        role: What happens to it: kept, overwritten or deleted.
        written: All that was ever sent for it, by seq.
        latest: The newest that was acknowledged.
        deaths: When holders of the latest ended, of late.
        is_lost: True once nobody who is up holds the latest.

    """

    pen: Pen
    kind: Kind
    name: str
    role: str
    target: Target
    publisher: Publisher
    written: dict[int, Note] = field(default_factory=dict)
    latest: Note | None = None
    deaths: deque[float] = field(default_factory=deque)
    is_lost: bool = False

    def is_held_by(self, node: SimNode) -> bool:
        """True if a node holds the latest that was acknowledged, or something newer."""
        head = node.store.head(self.target, self.publisher)
        return head is not None and head.has_body and self.latest is not None and head.seq >= self.latest.seq


@dataclass
class Tally:
    """What readers and writers met with."""

    reads: int = 0
    failed: int = 0
    missing: int = 0
    stale: int = 0
    behind: int = 0
    interrupted: int = 0
    writes: int = 0
    refused: int = 0
    given_up: int = 0
    lost: int = 0
    excused: int = 0
    swaps: int = 0
    swapped: int = 0


class Estate:
    """What people keep in a network, and how they use it.

    Args:
        population: Whose nodes they use.
        size: How many slots.
        readers: How many readers, each with marks of what it saw.
        repair_s: A record is excused if most of its holders ended within so many seconds.

    """

    def __init__(
        self, population: Population, size: int, *, readers: int = 8, repair_s: float = 120.0
    ) -> None:
        self.population = population
        self.world = population.world
        self.repair_s = repair_s
        self.tally = Tally()
        self.fewest = 99
        self.marks: list[dict[tuple[Target, Publisher], int]] = [{} for _ in range(readers)]
        self.waiting: list[tuple[SimNode, int, int, Callable[[object], None], Callable[[], None]]] = []
        self.slots = [self._slot(number) for number in range(size)]
        population.witnesses.append(self._mourn)

    def _slot(self, number: int) -> Slot:
        pen = Pen(1_000_000 + number)
        role = ("kept", "overwritten", "kept", "deleted", "overwritten")[number % 5]
        name = f"name {number}"
        kind = Kind.MUTABLE
        if number % 5 == 2:
            kind = Kind.IMMUTABLE if number % 2 else Kind.MULTI
        if kind is Kind.MULTI:
            name = f"place {number // 40}"  # four publishers share a target
        note = self._compose(pen, kind, name, number, self._seq())
        return Slot(pen, kind, name, role, note.target, note.record.publisher)

    def _seq(self) -> int:
        return int(self.world.now.wall * 1_000)

    def _compose(self, pen: Pen, kind: Kind, name: str, number: int, seq: int) -> Note:
        value = b"value %d" % number + self.world.random.randbytes(200)
        created = int(self.world.now.wall)
        if kind is Kind.IMMUTABLE:
            return pen.immutable(b"chunk %d" % number)
        write = pen.multi if kind is Kind.MULTI else pen.mutable
        return write(name, seq, value, created=created, life_s=LIFE_S)

    # Writing

    def plant(self) -> None:
        """Write everything once."""
        for number, slot in enumerate(self.slots):
            self.world.after(
                number * 0.2, self.write, slot, self._compose(slot.pen, slot.kind, slot.name, number, 1)
            )
        self.world.run_for(len(self.slots) * 0.2 + 30)
        self.collect()
        assert all(slot.latest is not None for slot in self.slots), "not everything was written"

    def overwrite(self, slot: Slot) -> None:
        self.write(slot, self._compose(slot.pen, slot.kind, slot.name, 0, self._seq()))

    def delete(self, slot: Slot) -> None:
        created = int(self.world.now.wall)
        self.write(slot, slot.pen.tombstone(slot.name, self._seq(), created=created, life_s=LIFE_S))

    def write(self, slot: Slot, note: Note, retries: int = _RETRIES_MAX) -> None:
        """Have a record stored through any node; once more through another if that fails."""
        if slot.latest is not None and slot.latest.seq > note.seq:
            return
        slot.written[note.seq] = note
        keep_until = int(self.world.now.wall) + LIFE_S if slot.kind is Kind.IMMUTABLE else 0
        node = self._any_node()
        self.tally.writes += 1

        def again() -> None:
            if retries:
                self.tally.refused += 1
                self.world.after(_RETRY_S, self.write, slot, note, retries - 1)
            else:
                self.tally.given_up += 1

        def take(result: WriteResult) -> None:
            if result.accepted < result.needed:
                again()
            elif slot.latest is None or slot.latest.seq < note.seq:
                slot.latest = note
                slot.deaths.clear()
                slot.is_lost = False

        self._expect(node, node.put(note.draft(keep_until=keep_until)), take, again)

    # Reading

    def read(self, slot: Slot, reader: int, node: SimNode | None = None) -> None:
        """Have a reader look at a slot through any node."""
        node = node or self._any_node()
        expected = {
            (s.target, s.publisher): s for s in self.slots if s.target == slot.target and s.latest is not None
        }
        least = {key: s.latest.seq for key, s in expected.items() if s.latest is not None}
        self.tally.reads += 1

        def take(result: ReadResult) -> None:
            if result.answered < result.needed and not result.records:
                self.tally.failed += 1
                return
            seen = {(slot.target, r.publisher): r for r in result.records}
            for key, of_slot in expected.items():
                record = seen.get(key)
                if record is None:
                    self.tally.missing += not of_slot.is_lost
                    continue
                written = of_slot.written.get(record.seq)
                assert written is not None, "a reader saw what nobody wrote"
                assert written.record.hash == record.hash, "a reader saw what nobody wrote"
                self.tally.stale += record.seq < least[key]
                self.tally.behind += record.seq < self.marks[reader].get(key, 0)
                self.marks[reader][key] = max(record.seq, self.marks[reader].get(key, 0))

        def give_up() -> None:
            self.tally.interrupted += 1

        self._expect(node, node.get(slot.target), take, give_up)

    def _any_node(self) -> SimNode:
        return self.world.random.choice(self.population.live)

    def _expect(self, node: SimNode, op: int, take: Callable[..., None], give_up: Callable[[], None]) -> None:
        self.waiting.append((node, node.life, op, take, give_up))

    def collect(self) -> None:
        """Take in the results that are there."""
        still = []
        for one in self.waiting:
            node, life, op, take, give_up = one
            if node.life != life or not node.is_up:
                give_up()
            elif op in node.results:
                take(node.results.pop(op))
            else:
                still.append(one)
        self.waiting = still

    # Death

    def _mourn(self, node: SimNode) -> None:
        """A node is about to end: is it the last that holds something?"""
        mono = self.world.now.mono
        for slot in self.slots:
            if slot.latest is None or not slot.is_held_by(node):
                continue
            slot.deaths.append(mono)
            while slot.deaths[0] < mono - self.repair_s:
                slot.deaths.popleft()
            left = sum(slot.is_held_by(n) for n in self.population.live if n is not node)
            self.fewest = min(self.fewest, left)
            if not left and not slot.is_lost:
                slot.is_lost = True
                is_excused = len(slot.deaths) >= quorum_of(REPLICAS).write
                self.tally.excused += is_excused
                self.tally.lost += not is_excused

    def holders(self, slot: Slot) -> int:
        """How many nodes that are up hold the latest of a slot."""
        return sum(slot.is_held_by(node) for node in self.population.live)

    # Everyday life

    def live(self, *, reads_per_h: float, writes_per_h: float, every_s: float = 10.0) -> None:
        """Begin to read and write at these rates; goes on for as long as the population moves."""
        self._pass_time(reads_per_h * every_s / HOUR_S, writes_per_h * every_s / HOUR_S, every_s)

    def _pass_time(self, reads: float, writes: float, every_s: float) -> None:
        self.collect()
        if not self.population.is_moving:
            return
        rng = self.world.random
        for _ in range(_draw(rng.random(), reads)):
            self.read(rng.choice(self.slots), rng.randrange(len(self.marks)))
        for _ in range(_draw(rng.random(), writes)):
            slot = rng.choice(self.slots)
            if slot.role == "overwritten" and slot.kind is not Kind.IMMUTABLE:
                self.overwrite(slot)
            elif slot.role == "deleted" and rng.random() < 0.2:
                self.delete(slot)
        self.world.after(every_s, self._pass_time, reads, writes, every_s)

    def read_everything(self, nodes: Iterable[SimNode]) -> Tally:
        """Read every slot through each of these nodes, and return what came of it."""
        before, self.tally = self.tally, Tally()
        for node in nodes:
            for slot in self.slots:
                self.read(slot, 0, node)
                self.world.run_for(0.05)
            self.world.run_for(5)
            self.collect()
        after, self.tally = self.tally, before
        return after


def _draw(chance: float, wanted: float) -> int:
    """`wanted` on average, as a whole number."""
    return int(wanted) + (chance < wanted - int(wanted))


# Traffic


@dataclass
class Hour:
    """What was sent in one hour."""

    nodes: float
    requests: Counter[tuple[str, str]]
    carried: Counter[str]

    def per_node(self, purposes: frozenset[str] | None = None) -> float:
        """Requests per node."""
        some = (n for (p, _), n in self.requests.items() if purposes is None or p in purposes)
        return sum(some) / self.nodes

    @property
    def bytes_per_node(self) -> float:
        return sum(self.carried.values()) / self.nodes


class Meter:
    """Counts hour by hour.

    Args:
        population: Whose traffic.

    """

    def __init__(self, population: Population) -> None:
        self.population = population
        self.hours: list[Hour] = []
        self._requests: Counter[tuple[str, str]] = Counter()
        self._carried: Counter[str] = Counter()
        self._tick()

    def _tick(self) -> None:
        world = self.population.world
        self._requests, self._carried = world.requests.copy(), world.carried.copy()
        world.after(HOUR_S, self._hour)

    def _hour(self) -> None:
        world = self.population.world
        live = self.population.live
        self.hours.append(Hour(len(live), world.requests - self._requests, world.carried - self._carried))
        for node in live:
            node.sent.clear()
        self._tick()

    def mean(self, hours: list[Hour], measure: Callable[[Hour], float]) -> float:
        return sum(map(measure, hours)) / len(hours)

    def halves(self, measure: Callable[[Hour], float], skip: int = 1) -> tuple[float, float]:
        """Means of the first and of the second half, without the first hours."""
        hours = self.hours[skip:]
        middle = len(hours) // 2
        return self.mean(hours[:middle], measure), self.mean(hours[middle:], measure)

    def lines(self) -> list[str]:
        """Requests and bytes per node and hour."""
        total: Counter[tuple[str, str]] = Counter()
        carried: Counter[str] = Counter()
        node_hours = sum(hour.nodes for hour in self.hours)
        for hour in self.hours:
            total += hour.requests
            carried += hour.carried
        lines = [
            f"  {purpose:>10} {method:<10} {n / node_hours:9.1f} requests per node and hour"
            for (purpose, method), n in total.most_common()
        ]
        return lines + [
            f"  {method:>10} {n / node_hours / 1024:9.1f} KiB per node and hour"
            for method, n in carried.most_common()
        ]


care_of = partial(Hour.per_node, purposes=CARE)

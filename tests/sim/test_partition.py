"""Halves of a network that write without each other for hours, and then become one again.

Invariants. After healing all nodes end with the newest of what either half wrote, without any reader's help and within
hours; nothing that was acknowledged is lost unless it was superseded; of two writers who expected the same record with
cas one succeeds at most. All clocks are wrong by up to minutes and drift. The short form runs 10 seeds, and 8 of the
races for cas; the long form 200 of each (YZ_SEEDS).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import Pen
from tests.sim.world import World, seeds
from yzdht.limits import CAS_REMEMBERS_S, DEPARTED_RETRY_S_MAX, HOUR_S, REPLICAS


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Figures
    from tests.sim.authors import Note
    from tests.sim.node import SimNode
    from yzdht.ids import Target
    from yzdht.kad.read import ReadResult
    from yzdht.kad.write import WriteResult


PEN = Pen(100)
SLOTS = 8
LIFE_S = 20 * 24 * HOUR_S
LOOK_EVERY_S = 300.0
ORDER_WITHIN_S = 3 * HOUR_S
SIZES = (12, 15)
HOURS = (0.4, 0.7)


@dataclass
class Attempt:
    """One write of one slot."""

    note: Note
    cas: int | None
    is_acknowledged: bool = False


@dataclass(eq=False)
class Doing:
    """An operation under way."""

    node: SimNode
    life: int
    op: int
    on_result: Callable[..., None]


class Halves:
    """Writers on both sides of a cut.

    Args:
        world: An empty one; its seed decides what happens.
        size: How many nodes.

    """

    def __init__(self, world: World, size: int) -> None:
        self.world = world
        self.random = world.random
        world.spoil_clocks()
        self.nodes = world.add_network(size)
        self.attempts: list[list[Attempt]] = [[] for _ in range(SLOTS)]
        self.doing: list[Doing] = []
        self.sides: tuple[list[SimNode], ...] = ()
        for slot in range(SLOTS):
            self.put(slot, self.random.choice(self.nodes))
            world.run_for(1)
        self.collect()

    def target(self, slot: int) -> Target:
        return self.attempts[slot][0].note.target

    # Writing

    def seq(self, slot: int) -> int:
        """As the protocol has it, but never equal: two bodies of one seq divide readers until their owner rewrites."""
        seq = int(self.world.now.wall * 1_000)
        while seq in {attempt.note.seq for attempt in self.attempts[slot]}:
            seq += 1
        return seq

    def put(self, slot: int, node: SimNode) -> None:
        self.write(slot, node, self.compose(slot))

    def delete(self, slot: int, node: SimNode) -> None:
        created = int(self.world.now.wall)
        note = PEN.tombstone(f"slot {slot}", self.seq(slot), created=created, life_s=LIFE_S)
        self.write(slot, node, note)

    def compose(self, slot: int) -> Note:
        value, created = self.random.randbytes(8), int(self.world.now.wall)
        return PEN.mutable(f"slot {slot}", self.seq(slot), value, created=created, life_s=LIFE_S)

    def swap(self, slot: int, node: SimNode) -> None:
        """Read, then replace what was read."""

        def replace(read: ReadResult) -> None:
            if read.answered >= read.needed:
                expected = read.records[0].seq if read.records else 0
                self.write(slot, node, self.compose(slot), expected)

        self.begin(node, node.get(self.target(slot)), replace)

    def race(self, slot: int, one: SimNode, other: SimNode) -> None:
        """Two writers who expect what one of them reads."""

        def replace(read: ReadResult) -> None:
            if read.answered >= read.needed:
                expected = read.records[0].seq if read.records else 0
                for node in (one, other):
                    if node.is_up:
                        self.write(slot, node, self.compose(slot), expected)

        self.begin(one, one.get(self.target(slot)), replace)

    def write(self, slot: int, node: SimNode, note: Note, cas: int | None = None) -> None:
        attempt = Attempt(note, cas)
        self.attempts[slot].append(attempt)

        def acknowledge(result: WriteResult) -> None:
            attempt.is_acknowledged = result.accepted >= result.needed

        self.begin(node, node.put(note.draft(cas=cas)), acknowledge)

    def begin(self, node: SimNode, op: int, on_result: Callable[..., None]) -> None:
        self.doing.append(Doing(node, node.life, op, on_result))

    def collect(self) -> None:
        doing, self.doing = self.doing, []
        for one in doing:
            if one.node.life == one.life and one.node.is_up:
                if one.op in one.node.results:
                    one.on_result(one.node.results.pop(one.op))
                else:
                    self.doing.append(one)

    # Time

    def part(self) -> None:
        """Cut the network into halves."""
        self.world.heal()
        shuffled = self.random.sample(self.nodes, len(self.nodes))
        middle = len(shuffled) // 2
        self.sides = (shuffled[:middle], shuffled[middle:])
        self.world.partition(*self.sides)

    def write_on_both_sides(self, hours: float, every_s: tuple[float, float] = (1, 600)) -> None:
        until = self.world.now.mono + hours * HOUR_S
        while self.world.now.mono < until:
            self.step()
            self.world.run_for(self.random.uniform(*every_s))
            self.collect()

    def step(self) -> None:
        """One operation anywhere."""
        slot = self.random.randrange(SLOTS)
        one, other = (self.random.choice([n for n in side if n.is_up]) for side in self.sides)
        what = self.random.random()
        if what < 0.3:
            self.put(slot, one if self.random.random() < 0.5 else other)
        elif what < 0.45:
            self.delete(slot, one if self.random.random() < 0.5 else other)
        elif what < 0.7:
            self.swap(slot, one if self.random.random() < 0.5 else other)
        else:
            self.race(slot, *self.random.sample([one, other], 2))

    def race_anywhere(self) -> None:
        self.race(self.random.randrange(2), *self.random.choices(self.world.up(), k=2))

    def fail(self, moves: list[Callable[[], None]]) -> None:
        self.random.choice([self.kill, self.restart, *moves])()

    def kill(self) -> None:
        up = self.world.up()
        if len(up) > 4:
            self.world.kill(self.random.choice(up))

    def restart(self) -> None:
        down = [node for node in self.nodes if not node.is_up]
        if down:
            self.world.restart(self.random.choice(down), through=self.random.sample(self.world.up(), 2))

    def arrive(self) -> None:
        """A new node, on the side of the one through which it comes."""
        through = self.random.choice([n for n in self.world.up() if n.engine.is_joined])
        node = self.world.add_node()
        node.side = through.side
        node.join(through)
        self.nodes.append(node)

    def lose(self) -> None:
        self.world.weather.loss = self.random.choice([0.0, 0.1, 0.3])
        self.world.weather.spread = self.random.choice([0.4, 1.2])

    def mend(self) -> None:
        self.world.heal()

    def heal(self) -> None:
        self.world.weather.loss = 0.0
        self.world.heal()
        self.world.run_until(lambda: self.world.is_complete, 2 * DEPARTED_RETRY_S_MAX)
        self.collect()

    # What came of it

    def newest(self, slot: int) -> int:
        """The newest that is stored anywhere."""
        return max(node.held_seq(self.target(slot)) or 0 for node in self.world.up())

    def is_in_order(self, slot: int) -> bool:
        """True if the n nearest hold the newest and nobody holds anything else."""
        up, newest = self.world.up(), self.newest(slot)
        held = [node.held_seq(self.target(slot)) for node in up]
        nearest = self.world.nearest(self.target(slot), REPLICAS, up)
        return {h for h in held if h} == {newest} and all(n.held_seq(self.target(slot)) for n in nearest)

    def settle(self, within_s: float) -> float:
        """Let time pass until everything is in order; hours that it took."""
        began = self.world.now.mono
        while not all(self.is_in_order(slot) for slot in range(SLOTS)):
            assert self.world.now.mono < began + within_s, "the halves have not become one in time"
            self.world.run_for(LOOK_EVERY_S)
        return (self.world.now.mono - began) / HOUR_S

    def check_nothing_lost(self) -> None:
        for slot, attempts in enumerate(self.attempts):
            acknowledged = max(a.note.seq for a in attempts if a.is_acknowledged)
            assert self.newest(slot) >= acknowledged, "what was acknowledged is lost"

    def check_cas(self) -> None:
        for attempts in self.attempts:
            won = [a.cas for a in attempts if a.is_acknowledged and a.cas is not None]
            assert len(won) == len(set(won)), "two writers replaced the same record"

    def check_reads(self) -> None:
        for slot in range(SLOTS):
            newest = self.newest(slot)
            for node in self.random.sample(self.world.up(), 3):
                seen = [r.seq for r in self.world.get(node, self.target(slot)).records]
                assert seen == [newest], "a reader missed the newest"

    def check_read_at_once(self, slots: range) -> None:
        """As soon as the halves know each other a read shows nothing that was superseded."""
        for slot in slots:
            acknowledged = max(a.note.seq for a in self.attempts[slot] if a.is_acknowledged)
            for node in self.random.sample(self.nodes, 3):
                seen = [r.seq for r in self.world.get(node, self.target(slot)).records]
                assert len(seen) == 1
                assert seen[0] >= acknowledged, "a read shows what was superseded"


@pytest.mark.parametrize("seed", seeds(10))
def test_halves_that_wrote_for_hours_end_in_one_order_without_a_reader(seed: int, figures: Figures) -> None:
    """Half of the slots are read at once, so that a read is seen to suffice; nobody reads the others."""
    with World(seed) as world:
        story = Halves(world, world.random.randrange(*SIZES))
        story.part()
        story.write_on_both_sides(world.random.uniform(*HOURS), (1, 300))
        story.heal()
        story.check_read_at_once(range(SLOTS // 2))
        hours = story.settle(ORDER_WITHIN_S)
        story.check_nothing_lost()
        story.check_cas()
        story.check_reads()
    figures(f"seed {seed}: {len(story.nodes)} nodes are in one order after {hours:.1f} h")


@pytest.mark.parametrize("has_arrivals", [False, True], ids=["cut", "churn"])
@pytest.mark.parametrize("seed", seeds(8))
def test_two_writers_with_cas_never_both_succeed(seed: int, has_arrivals: bool) -> None:  # noqa: FBT001 - a case
    """Whatever fails: cuts, loss, kills and restarts; or, without a cut, kills, restarts and new nodes.

    Not both: nodes that join both sides of a cut outvote those who were there before, and nobody can tell.
    """
    with World(seed) as world:
        story = Halves(world, world.random.randrange(4, 16))
        moves = [story.arrive, story.lose] if has_arrivals else [story.part, story.mend, story.lose]
        fail: Callable[[], None] = partial(story.fail, moves)
        for _ in range(40):
            world.random.choice([story.race_anywhere, story.race_anywhere, fail])()
            world.run_for(world.random.choice([0, 0.02, 0.1, 0.5, 3, 20]))
            story.collect()
        story.mend()
        world.run_for(30)  # what is under way ends
        story.collect()
        story.check_cas()
        assert world.now.mono < CAS_REMEMBERS_S

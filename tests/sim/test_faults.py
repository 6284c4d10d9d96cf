"""Three devices of one person write five slots while everything that can fail does; then the network heals.

Invariants. At any time a reader sees only what somebody wrote, and of two writes that expected the same record with
cas one succeeds at most. After healing, once every node has read every slot, all readers agree; what they see is no
older than anything that was acknowledged, so nothing acknowledged is lost unless it was superseded, and nothing
deleted returns. The short form runs a few seeds; YZ_SEEDS sets how many.
All clocks are wrong by up to minutes and drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import Pen
from tests.sim.world import SKEW_S, World, seeds
from yzdht.limits import CAS_REMEMBERS_S, DEPARTED_RETRY_S_MAX


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from tests.sim.node import SimNode
    from yzdht.kad.read import ReadResult
    from yzdht.wire.record import Record


PEN = Pen(100)
SLOTS = [f"slot {number}" for number in range(5)]
TARGETS = [PEN.mutable(name, 1).target for name in SLOTS]
STEPS = 80


@dataclass
class Attempt:
    """One write of one slot."""

    note: Note
    cas: int | None
    is_acknowledged: bool = False


@dataclass
class Waiting:
    """An operation under way, and what to do with its result."""

    node: SimNode
    life: int
    op: int
    on_result: Callable[[object], None]


class Story:
    """Writers, readers and faults from one seed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        world.spoil_clocks()
        self.nodes = world.add_network(8)
        self.attempts: dict[int, list[Attempt]] = {slot: [] for slot in range(len(SLOTS))}
        self.marks = [[0] * len(SLOTS) for _ in range(3)]
        self.waiting: list[Waiting] = []

    # Time

    def run(self) -> None:
        for _ in range(STEPS):
            self.random.choice([self.put, self.delete, self.cas, self.cas, self.read, self.fail])()
            self.world.run_for(self.random.choice([0, 0.02, 0.1, 0.5, 3]))
            self.collect()

    def collect(self) -> None:
        for waiting in list(self.waiting):
            if waiting.op in waiting.node.results and waiting.node.life == waiting.life:
                self.waiting.remove(waiting)
                waiting.on_result(waiting.node.results.pop(waiting.op))

    def expect(self, node: SimNode, op: int, on_result: Callable[[object], None]) -> None:
        self.waiting.append(Waiting(node, node.life, op, on_result))

    # Writers: writer i runs on node i

    def draw(self) -> tuple[int, SimNode, int]:
        writer = self.random.randrange(3)
        return writer, self.nodes[writer], self.random.randrange(len(SLOTS))

    def next_seq(self, writer: int, slot: int) -> int:
        """As the protocol has it, but never equal: two bodies of one seq divide readers until their owner rewrites."""
        seq = max(self.marks[writer][slot] + 1, int(self.world.now.wall * 1_000))
        while seq in {attempt.note.seq for attempt in self.attempts[slot]}:
            seq += 1
        self.marks[writer][slot] = seq
        return seq

    def put(self) -> None:
        writer, node, slot = self.draw()
        self.write(
            node, slot, PEN.mutable(SLOTS[slot], self.next_seq(writer, slot), self.random.randbytes(8))
        )

    def delete(self) -> None:
        writer, node, slot = self.draw()
        self.write(node, slot, PEN.tombstone(SLOTS[slot], self.next_seq(writer, slot)))

    def cas(self) -> None:
        writer, node, slot = self.draw()
        if not node.is_up:
            return

        def swap(result: object) -> None:
            read: ReadResult = result  # type: ignore[assignment] # of a get
            self.check(slot, read)
            if read.answered < read.needed:
                return
            expected = read.records[0].seq if read.records else 0
            self.marks[writer][slot] = max(self.marks[writer][slot], expected)
            seq = self.next_seq(writer, slot)
            self.write(node, slot, PEN.mutable(SLOTS[slot], seq, self.random.randbytes(8)), expected)

        self.expect(node, node.get(TARGETS[slot]), swap)

    def write(self, node: SimNode, slot: int, note: Note, cas: int | None = None) -> None:
        if not node.is_up:
            return
        attempt = Attempt(note, cas)
        self.attempts[slot].append(attempt)

        def acknowledge(result: object) -> None:
            attempt.is_acknowledged = result.accepted >= result.needed  # type: ignore[attr-defined] # of a put

        self.expect(node, node.put(note.draft(cas=cas)), acknowledge)

    def read(self) -> None:
        node = self.random.choice(self.nodes)
        slot = self.random.randrange(len(SLOTS))
        if node.is_up:
            self.expect(node, node.get(TARGETS[slot]), lambda result: self.check(slot, result))  # type: ignore[arg-type] # of a get

    # Faults

    def fail(self) -> None:
        self.random.choice([self.kill, self.restart, self.cut, self.silence, self.lose, self.mend])()

    def kill(self) -> None:
        up = [node for node in self.nodes if node.is_up]
        if len(up) > 4:
            self.world.kill(*self.random.sample(up, self.random.randint(1, 2)))

    def restart(self) -> None:
        down = [node for node in self.nodes if not node.is_up]
        if down:
            self.world.restart(self.random.choice(down), through=[n for n in self.nodes if n.is_up][:1])

    def cut(self) -> None:
        self.world.partition(self.random.sample(self.nodes, self.random.randint(1, 4)))

    def silence(self) -> None:
        self.world.silence(self.random.choice(self.nodes))

    def lose(self) -> None:
        self.world.weather.loss = self.random.choice([0.05, 0.3])
        self.world.weather.spread = self.random.choice([0.4, 1.2])

    def mend(self) -> None:
        self.world.heal()
        self.world.weather.loss = 0.0

    # The end

    def heal(self) -> None:
        self.mend()
        for node in self.nodes:
            if not node.is_up:
                self.world.restart(node)
        self.world.run_until(lambda: self.world.is_complete, 2 * DEPARTED_RETRY_S_MAX)
        self.world.run_for(SKEW_S + 20)  # who thinks that a record was written just now repairs nobody
        self.collect()

    def read_all(self) -> list[set[Record]]:
        """What the nodes see in each slot, one read after another."""
        seen: list[set[Record]] = [set() for _ in SLOTS]
        for node in self.nodes:
            for slot, target in enumerate(TARGETS):
                result = self.world.get(node, target)
                self.check(slot, result)
                seen[slot].update(result.records)
        self.world.run_for(1)
        return seen

    # Invariants

    def check(self, slot: int, result: ReadResult) -> None:
        written = {attempt.note.record for attempt in self.attempts[slot]}
        assert written.issuperset(result.records), "a reader saw what nobody wrote"

    def check_cas(self) -> None:
        for attempts in self.attempts.values():
            won = [a.cas for a in attempts if a.is_acknowledged and a.cas is not None]
            assert len(won) == len(set(won)), "two writers replaced the same record"

    def check_agreement(self, seen: list[set[Record]]) -> None:
        for slot, records in enumerate(seen):
            acknowledged = [a.note.seq for a in self.attempts[slot] if a.is_acknowledged]
            assert len(records) <= 1, "readers disagree"
            newest = max((record.seq for record in records), default=0)
            assert newest >= max(acknowledged, default=0), (
                "what was acknowledged is lost, or the deleted is back"
            )


@pytest.mark.parametrize("seed", seeds(20))
def test_random_faults_lose_nothing_that_was_acknowledged(seed: int) -> None:
    with World(seed) as world:
        story = Story(world)
        story.run()
        story.heal()
        story.check_cas()
        story.read_all()
        story.read_all()
        story.check_agreement(story.read_all())
        assert world.now.mono < CAS_REMEMBERS_S


def test_the_faults_leave_enough_to_be_lost() -> None:
    """The sweep above would prove nothing if nothing was acknowledged, refused or under way when nodes died."""
    acknowledged = swapped = given_up = 0
    for seed in range(4):
        with World(seed) as world:
            story = Story(world)
            story.run()
            story.heal()
        attempts = [attempt for some in story.attempts.values() for attempt in some]
        acknowledged += sum(a.is_acknowledged for a in attempts)
        swapped += sum(a.is_acknowledged and a.cas is not None for a in attempts)
        given_up += sum(not a.is_acknowledged for a in attempts)

    assert acknowledged > 40
    assert swapped > 8
    assert given_up > 20

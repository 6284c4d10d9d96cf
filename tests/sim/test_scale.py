"""Large networks: nodes whose tables are as those of a network at rest, a part of whom dies at once.

A record has `holders`: the nodes whose store held it when others were killed. What has one holder left must be found
by a read from anywhere; how many have none left is arithmetic. The short form has 1,000 nodes and 10 seeds, the long
form 10,000 and YZ_SEEDS; every seed continues one built world in a fork.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import pytest

from tests.sim.authors import Pen
from tests.sim.forks import tell
from tests.sim.world import World, seeds
from yzdht.ids import Target
from yzdht.limits import REPLICAS


if TYPE_CHECKING:
    from tests.sim.authors import Note
    from tests.sim.forks import Told
    from tests.sim.node import SimNode


PEN = Pen(1_000_000)
RECORDS = 300
FINDS = 40
NEW_RECORDS = 30
PAUSE_S = 0.05
LOSS = 0.02
CHECK_EVERY = 997


class Scale(World):
    """A network at rest with records in it."""

    def __init__(self, size: int) -> None:
        super().__init__(0, is_connected=False)
        self.weather.is_stable, self.weather.spread = True, 0.1
        self.check_every = CHECK_EVERY
        self.add_converged(size)
        self.notes = [PEN.mutable(f"name {number}", 1, b"value") for number in range(RECORDS)]
        self.put_all(self.notes)
        self.run_for(15)

    def put_all(self, notes: list[Note]) -> list[Any]:
        """Write records, each through a random live node, one shortly after another."""
        live = self.up()
        ops = []
        for note in notes:
            node = self.random.choice(live)
            ops.append((node, node.put(note.draft())))
            self.run_for(PAUSE_S)
        return self.gather(ops)

    def get_all(self, notes: list[Note]) -> list[tuple[Any, float]]:
        """Read records, each from a random live node; results, and in how many median round trips they came."""
        live = self.up()
        ops: list[tuple[SimNode, int, float]] = []
        for note in notes:
            node = self.random.choice(live)
            ops.append((node, node.get(note.target), self.now.mono))
            self.run_for(PAUSE_S)
        results = self.gather([(node, op) for node, op, _ in ops])
        took = [(node.ended_at[op] - began) / self.weather.rtt_s for node, op, began in ops]
        return list(zip(results, took, strict=True))

    def holders(self) -> list[list[SimNode]]:
        """Who holds each of the records now."""
        held: dict[Target, list[SimNode]] = {note.target: [] for note in self.notes}
        for node in self.nodes:
            for target, _, _ in node.store.targets(None, 1_000_000):
                if target in held:
                    held[target].append(node)
        return list(held.values())


@dataclass
class Tally:
    """What a story counted, and what was wrong."""

    records: int = 0
    orphans: int = 0
    expected: float = 0.0
    found: int = 0
    wanted: int = 0
    took: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)


def chance_of_none(holders: int, killed: int, size: int) -> float:
    """How likely all of so many holders are among the killed, drawn without replacement."""
    return prod((killed - i) / (size - i) for i in range(holders))


def mass_death(world: Scale, share: float) -> dict[str, Any]:
    """Kill a share of the nodes at once; read everything, look up points, write again."""
    size, killed = len(world.nodes), round(len(world.nodes) * share)
    holders = world.holders()
    tally = Tally(len(world.notes), expected=sum(chance_of_none(len(h), killed, size) for h in holders))
    world.kill(*world.random.sample(world.nodes, killed))
    world.weather.loss = LOSS
    read_everything(world, holders, tally)
    look_up(world, tally)
    write_again(world, tally)
    return vars(tally)


def read_everything(world: Scale, holders: list[list[SimNode]], tally: Tally) -> None:
    left = [sum(node.is_up for node in some) for some in holders]
    tally.orphans = left.count(0)
    for number, (result, took) in enumerate(world.get_all(world.notes)):
        tally.took.append(took)
        if left[number] and [record.seq for record in result.records] != [1]:
            tally.lost.append(f"record {number} with {left[number]} of {len(holders[number])}: {result}")


def look_up(world: Scale, tally: Tally) -> None:
    live = world.up()
    ops, truths = [], []
    for _ in range(FINDS):
        target = Target(world.random.randbytes(32))
        node = world.random.choice(live)
        ops.append((node, node.find(target, REPLICAS)))
        near = [other.node_id for other in world.nearest(target, REPLICAS + 1, live) if other is not node]
        truths.append(set(near[:REPLICAS]))
        world.run_for(PAUSE_S)
    for found, true in zip(world.gather(ops), truths, strict=True):
        tally.wanted += REPLICAS
        tally.found += len(true & {contact.node_id for contact in found})


def write_again(world: Scale, tally: Tally) -> None:
    """What is written after the deaths reaches its quorum, and another node reads it."""
    notes = [PEN.mutable(f"late {number}", 1, b"value") for number in range(NEW_RECORDS)]
    for note, result in zip(notes, world.put_all(notes), strict=True):
        if result.accepted < result.needed:
            tally.unwritten.append(f"{note.target.hex()[:8]} was not written: {result}")
    for note, (read, _) in zip(notes, world.get_all(notes), strict=True):
        if [record.seq for record in read.records] != [1]:
            tally.unwritten.append(f"{note.target.hex()[:8]} was not read: {read}")


def judge(size: int, share: float, told: Told) -> None:
    """Print the figures, then check them."""
    tallies = [Tally(**result) for _, result in sorted(told.results.items())]
    records = sum(t.records for t in tallies)
    orphans, expected = sum(t.orphans for t in tallies), sum(t.expected for t in tallies)
    of_eight = records * chance_of_none(REPLICAS, round(size * share), size)
    recall = sum(t.found for t in tallies) / sum(t.wanted for t in tallies)
    cuts = quantiles([took for t in tallies for took in t.took], n=100)
    lost = [
        f"seed {seed}: {line}"
        for seed, t in zip(sorted(told.results), tallies, strict=True)
        for line in t.lost
    ]
    unwritten = [line for t in tallies for line in t.unwritten]
    print(  # noqa: T201 - the figures that the run is for
        f"{size} nodes, {share:.0%} killed at once, {LOSS:.0%} loss, {len(tallies)} seeds: {records} records, "
        f"{orphans} without a holder left (expected {expected:.1f}; with 8 holders each {of_eight:.1f}), "
        f"{len(lost)} others not found; recall of the {REPLICAS} nearest {recall:.4f}; gets in median round trips: "
        f"p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}; {len(unwritten)} of {len(tallies) * NEW_RECORDS} puts afterwards "
        f"failed; {told.cpu_s:.0f} s of CPU"
    )
    assert not lost, "\n".join(lost[:10])
    assert recall >= 0.99
    assert not unwritten, "\n".join(unwritten[:10])


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_thousand_nodes_lose_many_at_once_and_no_record_that_has_a_holder(share: float) -> None:
    told = tell(lambda: Scale(1_000), lambda world: mass_death(world, share), seeds(10))
    judge(1_000, share, told)


@pytest.mark.soak
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_ten_thousand_nodes_lose_many_at_once_and_no_record_that_has_a_holder(share: float) -> None:
    told = tell(lambda: Scale(10_000), lambda world: mass_death(world, share), seeds(200), within_s=3_500)
    judge(10_000, share, told)

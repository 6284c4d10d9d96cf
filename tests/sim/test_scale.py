"""Large networks: nodes whose tables are as those of a network at rest, a part of whom dies at once.

A record has `holders`: the nodes whose store held it when others were killed. What has one holder left must be found
by a read from anywhere; how many have none left is arithmetic. From then on messages get lost, come twice and overtake
each other; in about half of the stories a connection costs two round trips, which changes nothing of what is found.
The short form has 1,000 nodes and 10 seeds; the long form has 10,000 nodes and every second of 200 seeds (YZ_SEEDS):
100 for each share of the dead, 200 stories in all. Every seed continues one built world in a fork.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
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
    from collections.abc import Iterable, Sequence

    from tests.conftest import Figures
    from tests.sim.authors import Note
    from tests.sim.node import SimNode


PEN = Pen(1_000_000)
RECORDS = 300
SHARES = (0.3, 0.5)
PAUSE_S = 0.02
LOSS = DOUBLING = OVERTAKING = 0.02
DIAL_RTTS = 2.0
RECALL_MIN = 0.99
RECALL_OF_SOME_MIN = 0.98
"""Of the stories of one share with dialling, or without: in the short form these are few."""
SHORT_S = 600
"""Real seconds for the short form, which needs a minute or two of CPU: much, for a machine that is busy."""


class Scale(World):
    """A network at rest with records in it."""

    def __init__(self, size: int) -> None:
        super().__init__(0, is_connected=False)
        self.weather.is_stable, self.weather.spread = True, 0.1
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


@dataclass(frozen=True)
class Effort:
    """How much a story does: records read (those with the fewest holders left), points looked up, records written."""

    reads: int
    finds: int
    writes: int


EFFORT = Effort(100, 25, 10)


@dataclass
class Tally:
    """What a story counted, and what was wrong."""

    dial_rtts: float
    records: int = 0
    read: int = 0
    written: int = 0
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


def has_to_dial(seed: int) -> bool:
    """In every second pair of seeds a connection to whoever has not spoken lately takes time."""
    return seed // 2 % 2 == 1


def mass_death(world: Scale, share: float, effort: Effort) -> dict[str, Any]:
    """Kill a share of the nodes at once; read records, look up points, write others."""
    world.weather.dial_rtts = DIAL_RTTS if has_to_dial(world.seed) else 0.0
    size, killed = len(world.nodes), round(len(world.nodes) * share)
    holders = world.holders()
    tally = Tally(
        world.weather.dial_rtts,
        len(holders),
        expected=sum(chance_of_none(len(h), killed, size) for h in holders),
    )
    world.kill(*world.random.sample(world.nodes, killed))
    world.weather.loss, world.weather.doubling, world.weather.overtaking = LOSS, DOUBLING, OVERTAKING
    read_records(world, holders, effort.reads, tally)
    look_up(world, effort.finds, tally)
    write_again(world, effort.writes, tally)
    return vars(tally)


def read_records(world: Scale, holders: list[list[SimNode]], count: int, tally: Tally) -> None:
    left = [sum(node.is_up for node in some) for some in holders]
    tally.orphans, tally.read = left.count(0), count
    weakest = sorted(range(len(left)), key=left.__getitem__)[:count]
    read = world.get_all([world.notes[number] for number in weakest])
    for number, (result, took) in zip(weakest, read, strict=True):
        tally.took.append(took)
        if left[number] and [record.seq for record in result.records] != [1]:
            tally.lost.append(f"record {number} with {left[number]} of {len(holders[number])}: {result}")


def look_up(world: Scale, count: int, tally: Tally) -> None:
    live = world.up()
    ops, truths = [], []
    for _ in range(count):
        target = Target(world.random.randbytes(32))
        node = world.random.choice(live)
        ops.append((node, node.find(target, REPLICAS)))
        near = [other.node_id for other in world.nearest(target, REPLICAS + 1, live) if other is not node]
        truths.append(set(near[:REPLICAS]))
        world.run_for(PAUSE_S)
    for found, true in zip(world.gather(ops), truths, strict=True):
        tally.wanted += REPLICAS
        tally.found += len(true & {contact.node_id for contact in found})


def write_again(world: Scale, count: int, tally: Tally) -> None:
    """What is written after the deaths reaches its quorum, and another node reads it."""
    notes = [PEN.mutable(f"late {number}", 1, b"value") for number in range(count)]
    tally.written = count
    for note, result in zip(notes, world.put_all(notes), strict=True):
        if result.accepted < result.needed:
            tally.unwritten.append(f"{note.target.hex()[:8]} was not written: {result}")
    for note, (read, _) in zip(notes, world.get_all(notes), strict=True):
        if [record.seq for record in read.records] != [1]:
            tally.unwritten.append(f"{note.target.hex()[:8]} was not read: {read}")


def judge(size: int, share: float, tallies: dict[int, Tally], figures: Figures) -> list[str]:
    """Record the figures of some stories of one share; what is wrong with them."""
    all_of = tallies.values()
    records = sum(t.records for t in all_of)
    of_eight = records * chance_of_none(REPLICAS, round(size * share), size)
    recall = recall_of(all_of)
    cuts = quantiles([took for t in all_of for took in t.took], n=100)
    lost = [f"seed {seed}: {line}" for seed, t in tallies.items() for line in t.lost]
    unwritten = [f"seed {seed}: {line}" for seed, t in tallies.items() for line in t.unwritten]
    figures(
        f"{size} nodes, {share:.0%} killed at once, {LOSS:.0%} loss, {len(tallies)} seeds, "
        f"{next(iter(all_of)).dial_rtts:.0f} round trips to dial:",
        f"  of {records} records {sum(t.orphans for t in all_of)} had no holder left, "
        f"arithmetic expects {sum(t.expected for t in all_of):.1f}; of 8 holders {of_eight:.1f}",
        f"  {sum(t.read for t in all_of)} read, {len(lost)} that had a holder not found, "
        f"in median round trips: p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}",
        f"  recall of the {REPLICAS} nearest {recall:.4f}; "
        f"{len(unwritten)} of {sum(t.written for t in all_of)} puts afterwards failed",
    )
    few = [f"recall {recall:.4f} of {share:.0%}"] if recall < RECALL_OF_SOME_MIN else []
    return lost + unwritten + few


def recall_of(tallies: Iterable[Tally]) -> float:
    looked_up = [(t.found, t.wanted) for t in tallies]
    return sum(found for found, _ in looked_up) / sum(wanted for _, wanted in looked_up)


def survive(size: int, effort: Effort, seeds: Sequence[int], within_s: float, figures: Figures) -> None:
    """Every seed lets every share die; the figures are recorded, and what is wrong fails."""
    stories = [partial(mass_death, share=share, effort=effort) for share in SHARES]
    told = tell(partial(Scale, size), stories, seeds, within_s=within_s)
    wrong: list[str] = []
    for share, results in zip(SHARES, told.results, strict=True):
        tallies = {seed: Tally(**result) for seed, result in sorted(results.items())}
        for is_dialling in (False, True):
            some = {seed: tally for seed, tally in tallies.items() if has_to_dial(seed) is is_dialling}
            wrong += judge(size, share, some, figures) if some else []
        recall = recall_of(tallies.values())
        wrong += [f"recall {recall:.4f} of {share:.0%}"] if recall < RECALL_MIN else []
    figures(f"{told.cpu_s:.0f} s of CPU")
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.timeout(SHORT_S + 100)
def test_a_thousand_nodes_lose_many_at_once_and_no_record_that_has_a_holder(figures: Figures) -> None:
    survive(1_000, EFFORT, seeds(10)[:10], SHORT_S, figures)


@pytest.mark.soak
def test_ten_thousand_nodes_lose_many_at_once_and_no_record_that_has_a_holder(figures: Figures) -> None:
    """Half of the seeds for each share: a story of this size costs seconds."""
    survive(10_000, EFFORT, seeds(200)[::2], 3_500, figures)

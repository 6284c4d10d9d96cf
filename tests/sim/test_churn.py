"""Nodes live an hour and die without goodbye, for hours or for a week: records, traffic, and what was deleted.

The short form has 20 nodes for 4 hours. The long forms are 24 nodes for a week and 60 nodes for a night of 12 hours. A
restart of everybody has 24 nodes, in the long form 60. A failure prints the seed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.sim.churn import ChurnWorld, Climate, Estate, Hour, Meter, Population, care_of
from tests.sim.world import seeds
from yzdht.limits import HOUR_S


if TYPE_CHECKING:
    from tests.conftest import Figures
    from tests.sim.node import SimNode


IS_SOAK = os.environ.get("YZ_SOAK") == "1"
QUIET_S = 2 * HOUR_S if IS_SOAK else HOUR_S
RATIO_MAX = 1.3
EXCUSED_MAX = 1
"""Records all of whose holders died, most of them within minutes: bad luck, which is rare."""

STALE_MAX = 0.01
"""Share of reads that show something older than what was acknowledged, while nodes come and go."""


def live(
    seed: int, size: int, hours: float, records: int, figures: Figures, *, ratio_max: float = RATIO_MAX
) -> None:
    """A network whose nodes live an hour each, then a quiet one, then one in which old disks come back."""
    with ChurnWorld(seed) as world:
        population = Population(world, size, Climate())
        estate = Estate(population, records)
        estate.plant()
        meter = Meter(population)
        population.move()
        estate.live(reads_per_h=2 * records, writes_per_h=records)
        world.run_for(hours * HOUR_S)
        figures(*lines_of(seed, population, estate, meter))
        check_traffic(meter, ratio_max)

        population.rest()
        world.run_for(QUIET_S)
        estate.collect()
        old = population.return_disks()
        world.run_for(QUIET_S)
        after = estate.read_everything(world.random.sample(population.live, 3))
        figures(f"  {old} old disks came back, then of {after.reads} reads {after.stale} were stale")

        tally = estate.tally
        assert tally.excused <= EXCUSED_MAX, "records lose most of their holders too often"
        assert tally.stale <= STALE_MAX * tally.reads, "readers are shown what was superseded"
        assert tally.lost == 0, "a record is lost though its holders turned over one at a time"
        assert tally.given_up == 0, "a write failed for minutes"
        assert tally.behind == 0, "a reader was shown less than it had seen"
        assert tally.missing == 0, "a reader found nothing where something is held"
        assert (after.failed, after.missing, after.stale, after.interrupted) == (0, 0, 0, 0)


def check_traffic(meter: Meter, ratio_max: float) -> None:
    """Nothing grows with time."""
    for measure in (Hour.per_node, care_of, lambda hour: hour.bytes_per_node):
        first, second = meter.halves(measure)
        assert second <= ratio_max * first, "traffic grows"


def lines_of(seed: int, population: Population, estate: Estate, meter: Meter) -> list[str]:
    tally = estate.tally
    first, second = meter.halves(care_of)
    hours, records = len(meter.hours), len(estate.slots)
    return [
        f"seed {seed}: {population.size} nodes, {hours} h, {records} records; {dict(population.ended)}",
        f"  records: {tally.lost} lost, {tally.excused} excused, at the least {estate.fewest} holders left",
        f"  {tally.reads} reads: {tally.stale} older than the newest acknowledged, {tally.behind} older than seen,",
        f"  {tally.missing} found nothing, {tally.failed} had no quorum, {tally.interrupted} were interrupted",
        f"  {tally.writes} writes, {tally.refused} of them repeated",
        f"  care of records: {first:.0f} requests per node and hour in the first half, {second:.0f} in the second",
        *meter.lines(),
        f"  {population.world.cpu_s:.0f} s of CPU",
    ]


@pytest.mark.parametrize("seed", seeds(1)[:10])
def test_records_outlive_their_holders(seed: int, figures: Figures) -> None:
    live(seed, 20, 4, 30, figures, ratio_max=2.0)


@pytest.mark.soak
def test_records_outlive_their_holders_for_a_week(figures: Figures) -> None:
    live(0, 24, 7 * 24, 120, figures)


@pytest.mark.soak
def test_records_of_sixty_nodes_outlive_their_holders_for_a_night(figures: Figures) -> None:
    live(1, 60, 12, 240, figures, ratio_max=1.5)


def restart_all(world: ChurnWorld, nodes: list[SimNode]) -> float:
    """Kill everybody and start everybody again; requests per node in the ten minutes after it."""
    world.kill(*nodes)
    world.run_for(30)
    world.requests.clear()
    for node in nodes:
        world.restart(node)
    world.run_until(lambda: world.is_complete, 60)
    world.run_for(600)
    return sum(world.requests.values()) / len(nodes)


@pytest.mark.parametrize("seed", seeds(1)[:10])
def test_a_mass_restart_is_no_storm(seed: int, figures: Figures) -> None:
    with ChurnWorld(seed) as world:
        size = 60 if IS_SOAK else 24
        population = Population(world, size, Climate())
        estate = Estate(population, 60)
        estate.plant()
        asked = restart_all(world, list(population.live))
        figures(f"seed {seed}: {asked:.0f} requests per node in ten minutes after all {size} restarted")
        population.live.extend(world.nodes)
        after = estate.read_everything(population.live[:2])

        assert asked < 40 * size
        assert (after.failed, after.missing, after.stale) == (0, 0, 0)

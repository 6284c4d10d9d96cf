"""Deaths, leaving, joining and churn where no node knows everybody: records are looked after all the same.

Nodes have no sessions, so that a death is noticed when the dead are next asked or probed. The short form of the story has
280 nodes and some minutes; the long one 1,000 nodes and two hours, and 300 nodes that live an hour each for two.
Each seed continues one built world in a fork. A failure prints the seed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.sim.churn import CARE, ChurnWorld, Climate, Estate, Meter, Population, care_of
from tests.sim.converged import begin_laps, converge, converge_as_grown
from tests.sim.forks import tell
from tests.sim.world import replay_of, seeds
from yzdht.limits import HOUR_S, IDLE_PROBE_S, REPLICAS
from yzdht.wire.rpc import Empty, Method, Status, encode_answer


if TYPE_CHECKING:
    from tests.sim.churn import Slot
    from tests.sim.node import SimNode
    from yzdht.rpc.engine import Call


MINUTE_S = 60.0
LOSS = 0.01
KEPT_MIN = 6
"""Of the REPLICAS nearest, so many hold a record once its caretakers had time."""

KEPT_SOON_MIN = 4
"""As many while some of the dead are not yet noticed: who was heard of is not probed for ten minutes."""

LACKING_MAX = 0.1
"""Share of what is theirs that newcomers may still lack after some minutes."""

STALE_MAX = 0.01
"""Share of reads that show something older than what was acknowledged, while nodes come and go."""

_CHECK_EVERY = 997
_GROWN_MAX = 600
"""Networks up to this size have tables as if just grown: larger ones fill no more than their buckets anyway."""


_PONG = encode_answer(Status.OK, Empty())


class LargeWorld(ChurnWorld):
    """A network without sessions whose tables are filled at the start.

    Args:
        seed: Decides everything.
        age_s: How long ago nodes have seen each other at the start, in seconds.

    """

    def __init__(self, seed: int = 0, age_s: tuple[float, float] = (0.0, 300.0)) -> None:
        super().__init__(seed, is_connected=False)
        self.weather.is_stable, self.weather.spread = True, 0.1
        self.check_every = _CHECK_EVERY
        self.age_s = age_s

    def add_network(self, size: int) -> list[SimNode]:
        nodes = [self.add_node() for _ in range(size)]
        if size <= _GROWN_MAX:
            converge_as_grown(self, self.age_s)
        else:
            converge(self)
        begin_laps(self)
        return nodes

    def _send_straight(self, node: SimNode, call: Call) -> None:
        target = self._by_id.get(call.contact.node_id)
        if target is not None and not target.is_up:
            node.fly(call, None)  # nothing comes of it: most calls after many deaths are such
        elif target is not None and call.method is Method.PING and self._do_know(node, target):
            node.fly(call, None)
            if self.random.random() >= self.weather.loss:
                self.after(
                    2 * self.delay(node, target), self._pong, node, node.life, target, target.life, call
                )
        else:
            super()._send_straight(node, call)

    @staticmethod
    def _do_know(node: SimNode, target: SimNode) -> bool:
        _part(node, target)
        _part(target, node)
        return node.has_met(target) and target.has_met(node)

    def _pong(self, asker: SimNode, life: int, target: SimNode, target_life: int, call: Call) -> None:
        """A probe between two that know each other changes nothing in who answers it: most of all traffic."""
        if asker.is_up and asker.life == life and target.is_up and target.life == target_life:
            asker.on_answer(call.call, Status.OK, _PONG)
            asker.forget_session(target)

    def _arrive_straight(self, node: SimNode, life: int, target: SimNode, call: Call, data: bytes) -> None:
        _part(target, node)
        super()._arrive_straight(node, life, target, call, data)

    def _come_back_straight(
        self, asker: SimNode, life: int, answerer: SimNode, call: Call, status: Status, data: bytes
    ) -> None:
        _part(asker, answerer)
        super()._come_back_straight(asker, life, answerer, call, status, data)


def _part(node: SimNode, other: SimNode) -> None:
    """Who is forgotten is met anew: the session of the time before is long closed."""
    engine, node_id = node.engine, other.node_id
    table = engine.table
    if node_id in table._entries or node_id in table._waiting or node_id in table._departed:
        return
    if engine._strangers.peer_of(node_id) is None:
        node.met.pop(other.number, None)


@dataclass(frozen=True)
class Plan:
    """How long each part of the story is, in seconds.

    Attributes:
        size: Nodes.
        records: Records.
        killed: Share of the nodes that die at once.
        moving: Share of those that are left who leave; as many join.
        quiet_s: Before the deaths, and at the end; for the traffic.
        care_s: After the deaths.
        leave_every_s: Between two that leave.
        settle_s: After the last has left, and after the last has joined.
        ratio_max: How much more care of records there may be per node and hour at the end than at the beginning; None
            where that is too short to tell.
        kept_min: Of the REPLICAS nearest, so many hold each record after each part.
        readers: Each reads everything.

    """

    size: int
    records: int
    killed: float
    moving: float
    quiet_s: float
    care_s: float
    leave_every_s: float
    settle_s: float
    ratio_max: float | None = None
    kept_min: int = KEPT_MIN
    readers: int = 1


class Story:
    """A network with an estate in it, and what was seen of it.

    Args:
        plan: How much of everything.
        age_s: How long ago nodes have seen each other at the start, in seconds.

    """

    def __init__(self, world: LargeWorld, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.population = Population(world, plan.size, Climate())
        self.estate = Estate(self.population, plan.records)
        self.lines: list[str] = []
        self.wrong: list[str] = []

    def claim(self, *, holds: bool, text: str) -> None:
        if not holds:
            self.wrong.append(text)

    # What is looked at

    def near(self, slot: Slot) -> list[SimNode]:
        """The true nearest of those that are up."""
        return self.world.nearest(slot.target, REPLICAS, self.population.live)

    def spread(self, label: str, fewest: int) -> None:
        """Tell how many of the nearest hold each record that is held at all."""
        held = [s for s in self.estate.slots if self.estate.holders(s)]
        counts = Counter(sum(slot.is_held_by(node) for node in self.near(slot)) for slot in held)
        told = ", ".join(f"{count} by {of}" for of, count in sorted(counts.items()))
        lost = len(self.estate.slots) - len(held)
        self.lines.append(f"{label}: of {REPLICAS} nearest, records are held: {told}; {lost} have no holder")
        self.claim(
            holds=min(counts) >= fewest, text=f"{label}: a record is held by {min(counts)} of the nearest"
        )

    def superseded(self) -> tuple[int, int]:
        """How many of the nearest, and of all others, hold something older than the newest."""
        near = far = 0
        for slot in self.estate.slots:
            assert slot.latest is not None
            nearest = self.near(slot)
            for node in self.population.live:
                head = node.store.head(slot.target, slot.publisher)
                if head is not None and head.seq < slot.latest.seq:
                    near += node in nearest
                    far += node not in nearest
        return near, far

    def read(self, label: str) -> None:
        """Read everything through some nodes."""
        tally = self.estate.read_everything(self.world.random.sample(self.population.live, self.plan.readers))
        near, far = self.superseded()
        bad = (tally.failed, tally.missing, tally.stale, tally.behind, tally.interrupted)
        self.lines.append(
            f"{label}: {tally.reads} reads; failed, missing, stale, behind, interrupted: {bad}; older ones are held "
            f"by {near} of the nearest and {far} others"
        )
        self.claim(holds=not any(bad), text=f"{label}: reads went wrong: {bad}")
        self.claim(holds=not near, text=f"{label}: {near} of the nearest hold what was superseded or deleted")

    def pass_time(self, label: str, seconds: float) -> float:
        """Let time pass; care of records, in requests per node and hour."""
        before = self.world.requests.copy()
        self.world.run_for(seconds)
        self.estate.collect()
        sent = self.world.requests - before
        node_hours = len(self.population.live) * seconds / HOUR_S
        purposes: Counter[str] = Counter()
        for (purpose, _), count in sent.items():
            purposes[purpose] += count
        care = sum(purposes[purpose] for purpose in CARE) / node_hours
        told = ", ".join(f"{purpose} {count / node_hours:.1f}" for purpose, count in purposes.most_common())
        self.lines.append(f"{label}: requests per node and hour: {told}")
        return care

    # What happens

    def plant(self) -> None:
        """Write everything; then write some once more, and delete some."""
        estate = self.estate
        estate.plant()
        for slot in estate.slots:
            if slot.role == "overwritten":
                estate.overwrite(slot)
            elif slot.role == "deleted":
                estate.delete(slot)
            self.world.run_for(0.05)
        self.world.run_for(30)
        estate.collect()
        assert not estate.waiting
        assert estate.tally.given_up == 0
        self.world.weather.loss = LOSS

    def die(self) -> None:
        live = self.population.live
        self.world.kill(*self.world.random.sample(live, round(self.plan.killed * len(live))))

    def leave(self) -> int:
        """Some leave, one after the other."""
        live = self.population.live
        leaving = self.world.random.sample(live, round(self.plan.moving * len(live)))
        for node in leaving:
            self.world.leave(node)
            self.world.run_for(self.plan.leave_every_s)
        return len(leaving)

    def join(self, count: int) -> list[SimNode]:
        """As many join, each through some that are there."""
        world, live = self.world, self.population.live
        new = []
        for _ in range(count):
            node = world.add_node()
            node.join(*world.random.sample(live, 3))
            live.append(node)
            new.append(node)
            world.run_for(1)
        return new

    def tell_gifts(self, label: str, new: list[SimNode]) -> None:
        """How much of what is theirs those who came have."""
        theirs = [(slot, node) for slot in self.estate.slots for node in new if node in self.near(slot)]
        lacking = sum(not slot.is_held_by(node) for slot, node in theirs)
        self.lines.append(
            f"{label}: {len(new)} new nodes lack {lacking} of {len(theirs)} records that are theirs"
        )
        is_given = lacking <= LACKING_MAX * len(theirs)
        self.claim(holds=is_given, text=f"{label}: {lacking} records were not handed over")


def through_everything(world: LargeWorld, plan: Plan) -> dict[str, Any]:
    """Many die at once, some leave, some join; nobody reads meanwhile."""
    story = Story(world, plan)
    story.plant()
    story.spread("written", REPLICAS)
    before = story.pass_time("quiet before", plan.quiet_s)

    story.die()
    story.spread("killed", 0)
    story.pass_time("after the deaths", plan.care_s)
    story.spread("after the deaths", plan.kept_min)
    story.read("after the deaths")

    count = story.leave()
    story.spread(f"{count} left", plan.kept_min)
    story.pass_time("after leaving", plan.settle_s)
    story.spread("after leaving", plan.kept_min)

    new = story.join(count)
    story.pass_time("after joining", plan.settle_s)
    story.tell_gifts("after joining", new)
    story.spread("after joining", plan.kept_min)

    if plan.ratio_max is not None:
        after = story.pass_time("quiet after", plan.quiet_s)
        story.lines.append(
            f"care of records: {before:.1f} requests per node and hour before, {after:.1f} after"
        )
        story.claim(holds=after <= plan.ratio_max * before, text="care of records costs more than before")
    story.read("at the end")
    return {"lines": story.lines, "wrong": story.wrong}


def churn(world: LargeWorld, plan: Plan, hours: float) -> dict[str, Any]:
    """Nodes live an hour each, people read and write; then nobody comes or goes."""
    story = Story(world, plan)
    story.plant()
    estate, population = story.estate, story.population
    meter = Meter(population)
    population.move()
    estate.live(reads_per_h=2 * plan.records, writes_per_h=plan.records)
    for number in range(round(2 * hours)):
        story.pass_time(f"half hour {number + 1}", HOUR_S / 2)
        story.spread(f"half hour {number + 1}", 1)
    population.rest()
    story.pass_time("at rest", plan.settle_s)
    story.spread("at rest", KEPT_MIN)

    tally = estate.tally
    story.lines += [
        f"{dict(population.ended)}",
        f"records: {tally.lost} lost, {tally.excused} excused, at the least {estate.fewest} holders left",
        f"{tally.reads} reads: {tally.stale} older than the newest acknowledged, {tally.behind} older than seen,",
        f"{tally.missing} found nothing, {tally.failed} had no quorum, {tally.interrupted} were interrupted",
        f"{tally.writes} writes, {tally.refused} of them repeated, {tally.given_up} given up",
        *meter.lines(),
    ]
    first, *_, last = (care_of(hour) for hour in meter.hours)
    story.lines.append(
        f"care of records: {first:.1f} requests per node in the first hour, {last:.1f} in the last"
    )
    story.claim(holds=plan.ratio_max is None or last <= plan.ratio_max * first, text="care of records grows")
    story.claim(holds=tally.lost == tally.excused == 0, text="a record is lost")
    story.claim(holds=tally.stale <= STALE_MAX * tally.reads, text="readers are shown what was superseded")
    story.claim(holds=tally.behind == 0, text="a reader was shown less than it had seen")
    story.claim(holds=tally.missing == 0, text="a reader found nothing where something is held")
    story.claim(holds=tally.given_up == 0, text="a write failed for minutes")
    story.read("at the end")
    return {"lines": story.lines, "wrong": story.wrong}


def judge(results: dict[int, Any], cpu_s: float) -> None:
    """Print what the stories were like; what is wrong fails."""
    wrong = []
    for seed, result in sorted(results.items()):
        lines = "\n  ".join(result["lines"])
        print(f"seed {seed}\n  {lines}")  # noqa: T201 - the figures that the run is for
        wrong += [f"{text}; {replay_of(seed)}" for text in result["wrong"]]
    print(f"{cpu_s:.0f} s of CPU")  # noqa: T201 - as above
    assert not wrong, "\n".join(wrong)


SHORT = Plan(
    280,
    80,
    0.3,
    0.03,
    quiet_s=0.5 * MINUTE_S,
    care_s=5.5 * MINUTE_S,
    leave_every_s=5,
    settle_s=1.5 * MINUTE_S,
    kept_min=KEPT_SOON_MIN,
)
AGE_S = (IDLE_PROBE_S - 320, IDLE_PROBE_S - 120)
"""In the short form everybody is due for a probe within three minutes after the deaths, and then not for long."""

LONG = Plan(
    1_000,
    300,
    0.3,
    0.1,
    quiet_s=20 * MINUTE_S,
    care_s=40 * MINUTE_S,
    leave_every_s=5,
    settle_s=10 * MINUTE_S,
    ratio_max=5,
    readers=3,
)
"""What was just written is left alone for its first hour, and who was moved out looks once after what it keeps: the
minutes before the deaths are the cheapest there are. Besides, fewer nodes hold as many records afterwards.
"""

CHURN = Plan(
    300, 150, 0, 0, quiet_s=0, care_s=0, leave_every_s=0, settle_s=20 * MINUTE_S, ratio_max=2, readers=3
)


@pytest.mark.timeout(700)
def test_records_of_a_large_network_outlive_deaths_leaving_and_joining() -> None:
    told = tell(
        lambda: LargeWorld(0, AGE_S), [partial(through_everything, plan=SHORT)], seeds(1)[:3], within_s=600
    )
    judge(told.results[0], told.cpu_s)


@pytest.mark.soak
def test_records_of_a_thousand_nodes_outlive_deaths_leaving_and_joining() -> None:
    told = tell(LargeWorld, [partial(through_everything, plan=LONG)], seeds(1)[:1], within_s=3_500)
    judge(told.results[0], told.cpu_s)


@pytest.mark.soak
def test_records_of_three_hundred_nodes_outlive_holders_that_live_an_hour() -> None:
    told = tell(LargeWorld, [partial(churn, plan=CHURN, hours=2)], seeds(1)[:1], within_s=3_500)
    judge(told.results[0], told.cpu_s)

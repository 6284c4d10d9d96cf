from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import Pen
from tests.sim.forks import tell
from tests.sim.world import World, seeds
from yzdht.ids import Target
from yzdht.limits import (
    BUCKET_SIZE,
    DEPARTED_RETRY_S_MAX,
    DISCOVERY_SOON_S,
    IDLE_PROBE_S,
    JOIN_WAIT_S_MAX,
    REPLICAS,
    SMALL_AGAIN_NODES_MAX,
    SMALL_NETWORK_NODES_MAX,
)
from yzdht.wire.rpc import FoundNodes, Method, Status, WireContact


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Figures
    from tests.sim.node import SimNode
    from yzdht.ids import NodeId


TWELVE = 12
SIXTY = 60
NOTE = Pen(100).mutable("name", 1, b"value")


@pytest.mark.parametrize("seed", seeds(5))
def test_twelve_nodes_join_through_one_and_everybody_knows_everybody(seed: int) -> None:
    with World(seed) as world:
        nodes = [world.add_node() for _ in range(TWELVE)]
        for node in nodes[1:]:
            node.join(nodes[0])
        world.run_until(lambda: all(node.joined_at for node in nodes), JOIN_WAIT_S_MAX)

        assert world.is_complete


@pytest.mark.parametrize("seed", seeds(3))
def test_nodes_that_come_one_by_one_know_everybody_too(seed: int) -> None:
    with World(seed) as world:
        first, *others = [world.add_node() for _ in range(TWELVE)]
        for node in others:
            node.join(first)
            world.run_for(1)

        assert world.is_complete


@pytest.mark.parametrize("seed", seeds(3))
def test_loss_delays_joining_and_does_not_prevent_it(seed: int) -> None:
    with World(seed) as world:
        world.weather.loss = 0.1
        first, *others = [world.add_node() for _ in range(TWELVE)]
        for node in others:
            node.join(first)
        world.run_until(lambda: world.is_complete, 200)


def test_all_nodes_find_each_other_after_all_restarted_at_once() -> None:
    with World() as world:
        nodes = world.add_network(TWELVE)
        world.kill(*nodes)
        world.run_for(5)
        for node in nodes:
            world.restart(node)
        world.run_until(lambda: world.is_complete, JOIN_WAIT_S_MAX)


def test_two_networks_that_meet_become_one() -> None:
    with World() as world:
        left = [world.add_node() for _ in range(4)]
        right = [world.add_node() for _ in range(4)]
        for group in (left, right):
            for node in group[1:]:
                node.join(group[0])
        world.run_for(5)
        left[2].join(right[3])
        world.run_until(lambda: world.is_complete, 60)


def test_discovery_completes_and_then_rests() -> None:
    with World() as world:
        nodes = world.add_network(TWELVE)
        world.run_for(900)
        assert all(node.joined_at for node in nodes)
        before = world.delivered
        world.run_for(3_600)

        lookups_an_hour = (world.delivered - before) / 2 / (TWELVE - 1) / TWELVE
        assert lookups_an_hour <= 12  # four rounds, two lookups each, some drawn early


def test_a_node_that_died_is_forgotten_by_all() -> None:
    with World() as world:
        nodes = world.add_network(5)
        world.kill(nodes[2])
        world.run_until(lambda: world.is_complete, 20)


def test_a_dead_node_that_returns_alone_is_found_by_the_others_too() -> None:
    with World() as world:
        nodes = world.add_network(5)
        world.kill(nodes[2])
        world.run_for(60)
        nodes[2].engine.table._departed.clear()  # it lost its memory
        nodes[2].engine.table._entries.clear()
        world.restart(nodes[2])
        world.run_until(lambda: world.is_complete, 60)


@pytest.mark.parametrize("cut_s", [20, 40, 100, 1_000])
def test_a_healed_partition_finds_itself(cut_s: int) -> None:
    """Twenty seconds are too short to end sessions and long enough to leave tables."""
    with World() as world:
        nodes = world.add_network(TWELVE)
        world.partition(nodes[:6])
        for node in nodes:
            node.get(NOTE.target)
        world.run_for(cut_s)
        assert not world.is_complete
        world.heal()
        world.run_until(lambda: world.is_complete, 1.5 * DEPARTED_RETRY_S_MAX)


def test_after_a_long_partition_the_first_who_meet_tell_the_others() -> None:
    with World() as world:
        nodes = world.add_network(TWELVE)
        world.partition(nodes[:6])
        world.run_for(5_000)
        assert [len(node.engine.table) for node in nodes] == [5] * TWELVE
        world.heal()
        world.run_for(60)

        assert sum(len(node.engine.table) for node in nodes) >= 0.85 * TWELVE * (TWELVE - 1)


def test_operations_started_while_joining_see_the_whole_network() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.put(nodes[0], NOTE.draft())
        late = world.add_node()
        late.join(nodes[3])
        result = world.get(late, NOTE.target)

        assert (result.asked, [r.seq for r in result.records]) == (8, [1])


def test_a_node_that_reaches_nobody_serves_itself_after_five_seconds() -> None:
    with World() as world:
        alone, dead = world.add_node(), world.add_node()
        world.kill(dead)
        alone.join(dead)
        began = world.now.mono
        result = world.put(alone, NOTE.draft())

        assert (result.accepted, result.asked) == (1, 1)
        assert world.now.mono - began <= JOIN_WAIT_S_MAX + 0.1


def test_a_liar_that_names_dead_neighbours_changes_no_lookup() -> None:
    with World() as world:
        nodes = world.add_network(TWELVE)
        target = Target(b"\x55" * 32)
        dead = [Pen(1_000 + number) for number in range(20)]
        named = tuple(
            WireContact(pen.public_key, (f"ws://10.9.9.{number + 1}:1",), int(nodes[0].caps))
            for number, pen in enumerate(dead)
        )

        def lie(_peer: object, method: Method, _body: object) -> tuple[Status, FoundNodes] | None:
            return (Status.OK, FoundNodes(named)) if method is Method.FIND_NODE else None

        for liar in nodes[:4]:
            liar.responder = lie
        for reader in nodes[4:]:
            found = world.find(reader, target, 8)
            others = [node for node in nodes if node is not reader]
            assert [c.node_id for c in found] == [n.node_id for n in world.nearest(target, 8, others)]
        assert not any(pen.node_id in {e.node_id for e in n.engine.table} for pen in dead for n in nodes)


@pytest.mark.parametrize("seed", seeds(3))
def test_find_is_exact(seed: int) -> None:
    with World(seed) as world:
        nodes = world.add_network(TWELVE)
        for _ in range(5):
            target = Target(world.random.randbytes(32))
            reader = world.random.choice(nodes)
            others = [node for node in nodes if node is not reader]
            found = world.find(reader, target, 5)

            assert [c.node_id for c in found] == [n.node_id for n in world.nearest(target, 5, others)]


# Larger networks


def join_at_once(world: World, size: int) -> list[SimNode]:
    """So many nodes who all dial the first at the same instant."""
    nodes = [world.add_node() for _ in range(size)]
    for node in nodes[1:]:
        node.join(nodes[0])
    return nodes


@pytest.mark.parametrize("seed", seeds(1)[:10])
def test_sixty_that_join_through_one_at_once_know_each_other_soon_and_without_a_flood(seed: int) -> None:
    with World(seed) as world:
        join_at_once(world, SIXTY)
        world.run_until(lambda: world.is_complete, 20)
        world.run_for(2 * DISCOVERY_SOON_S[1])

        assert world.is_complete
        assert world.delivered <= 500 * SIXTY


def test_sixty_that_join_at_once_in_bad_weather_miss_nobody_for_long() -> None:
    with World() as world:
        world.weather.loss = 0.05
        join_at_once(world, SIXTY)
        world.run_until(lambda: world.is_complete, 120)


def test_sixty_that_restart_at_once_find_each_other_soon_and_without_a_flood() -> None:
    with World() as world:
        nodes = world.add_network(SIXTY)
        world.kill(*nodes)
        world.run_for(5)
        before = world.delivered
        for node in nodes:
            world.restart(node)
        world.run_until(lambda: world.is_complete, 20)
        world.run_for(2 * DISCOVERY_SOON_S[1])

        assert world.is_complete
        assert world.delivered - before <= 500 * SIXTY


def test_one_who_joins_sixty_costs_each_of_them_little() -> None:
    with World() as world:
        nodes = world.add_network(SIXTY)
        world.run_for(2 * DISCOVERY_SOON_S[1])
        late = world.add_node()
        before = world.delivered
        late.join(nodes[7])
        world.run_until(lambda: world.is_complete, 10)
        world.run_for(2 * DISCOVERY_SOON_S[1])

        assert world.delivered - before <= 120 * SIXTY


def test_two_networks_of_thirty_that_meet_by_one_link_become_one() -> None:
    with World() as world:
        left, right = join_at_once(world, 30), join_at_once(world, 30)
        world.run_for(60)
        assert not world.is_complete
        left[2].join(right[3])
        world.run_until(lambda: world.is_complete, 120)


@pytest.mark.soak
@pytest.mark.parametrize("seed", seeds(1)[:2])
def test_two_hundred_and_fifty_that_join_at_once_all_know_each_other(seed: int) -> None:
    with World(seed) as world:
        join_at_once(world, 250)
        world.run_until(lambda: world.is_complete, 120)


def assert_tables_serve(nodes: list[SimNode]) -> None:
    """In a large network everybody knows its nearest, and of each bucket enough."""
    points = [int.from_bytes(node.node_id) for node in nodes]
    places = filled = 0
    for node, own in zip(nodes, points, strict=True):
        known = {entry.point for entry in node.engine.table}
        nearest = sorted((p for p in points if p != own), key=lambda p: p ^ own)[: BUCKET_SIZE // 2]
        assert set(nearest) <= known
        has = Counter(256 - (point ^ own).bit_length() for point in known)
        for index, there in Counter(256 - (p ^ own).bit_length() for p in points if p != own).items():
            places += min(there, BUCKET_SIZE)
            filled += min(has[index], BUCKET_SIZE)
    assert filled >= 0.99 * places


@pytest.mark.soak
@pytest.mark.parametrize("size", [300, 400])
def test_in_a_large_network_the_nearest_are_known_and_buckets_are_full(size: int) -> None:
    with World(is_connected=False) as world:
        nodes = join_at_once(world, size)
        world.run_for(120)

        assert_tables_serve(nodes)


@pytest.mark.soak
def test_a_network_that_shrinks_from_three_hundred_to_a_hundred_is_complete_again() -> None:
    with World(is_connected=False) as world:
        nodes = join_at_once(world, 300)
        world.run_for(60)
        world.kill(*nodes[100:])
        world.run_until(lambda: world.is_complete, 3_600)


# Over the border of small networks, and back


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a network that grows out of the small mode and shrinks back into it.

    Attributes:
        small_max: Up to so many known nodes a table is small.
        small_again: Down to so many it is small again.
        before: Nodes at first.
        coming: Who join, one after the other.
        leaving: Who then leave in peace, so that there are fewer than small_max and more than small_again.
        dying: Who then die at once, so that there are fewer than small_again.

    """

    small_max: int
    small_again: int
    before: int
    coming: int
    leaving: int
    dying: int


REAL = Sizes(SMALL_NETWORK_NODES_MAX, SMALL_AGAIN_NODES_MAX, before=240, coming=40, leaving=50, dying=70)
QUARTER = Sizes(64, 48, before=60, coming=10, leaving=12, dying=18)
"""Cheap enough for every run: what crossing costs goes with the square of the size."""

GROWN_WITHIN_S = 90
SHRUNK_WITHIN_S = 3 * IDLE_PROBE_S
LOOK_S = 1.0
COUNT_EVERY = 10
WITHIN_S, LONG_S = 110.0, 1_500.0
"""Real seconds; much more than it needs, for a machine that is busy."""
KEPT, LOOKED_UP = 60, 40


class Border(World):
    """A network at rest in which everybody knows everybody, with records in it."""

    def __init__(self, size: int) -> None:
        super().__init__(0, is_connected=False)
        self.weather.is_stable, self.weather.spread = True, 0.1
        self.add_converged(size)
        self.notes = [Pen(100).mutable(f"name {number}", 1, b"value") for number in range(KEPT)]
        self.put_all()
        self.modes: dict[SimNode, bool] = {}
        self.flips: Counter[SimNode] = Counter()
        self.looks = 0
        self.known: dict[SimNode, set[NodeId]] = {}

    def put_all(self) -> None:
        ops = [(node, node.put(n.draft())) for n in self.notes for node in [self.random.choice(self.nodes)]]
        assert all(result.accepted >= result.needed for result in self.gather(ops))

    def live(self, seconds: float, is_done: Callable[[], bool]) -> float:
        """Let time pass until something holds, and look on; seconds that it took."""
        began = self.now.mono
        while not is_done():
            assert self.now.mono < began + seconds, f"{self.large()} of {len(self.up())} tables are large"
            self.run_for(LOOK_S)
            self.look()
        return self.now.mono - began

    def look(self) -> None:
        """Count whose table changed its mode; now and then see whether one has lost somebody who lives."""
        for node in self.up():
            is_small = node.engine.table.is_small
            self.flips[node] += is_small is not self.modes.get(node, True)
            self.modes[node] = is_small
        self.looks += 1
        if self.looks % COUNT_EVERY == 0:
            up = {node.node_id for node in self.up()}
            known = {node: {entry.node_id for entry in node.engine.table} for node in self.up()}
            for node, knows in known.items():
                lost = (self.known.get(node, set()) - knows) & up
                assert not lost, f"{node} has thrown out {len(lost)} that live"
            self.known = known

    def large(self) -> int:
        return sum(not node.engine.table.is_small for node in self.up())

    def recall(self) -> float:
        """Share of the true nearest that lookups find."""
        live = self.up()
        ops, true = [], []
        for _ in range(LOOKED_UP):
            target, node = Target(self.random.randbytes(32)), self.random.choice(live)
            ops.append((node, node.find(target, REPLICAS)))
            near = self.nearest(target, REPLICAS + 1, live)
            true.append([other.node_id for other in near if other is not node][:REPLICAS])
        found = [{contact.node_id for contact in contacts} for contacts in self.gather(ops)]
        hits = sum(len(f.intersection(t)) for f, t in zip(found, true, strict=True))
        return hits / (REPLICAS * LOOKED_UP)

    def check_records(self) -> None:
        """What somebody holds is found by anybody."""
        live = self.up()
        held = [note for note in self.notes if any(node.held_seq(note.target) for node in live)]
        assert len(held) >= KEPT - 1
        ops = [(node, node.get(note.target)) for note in held for node in [self.random.choice(live)]]
        assert all([r.seq for r in result.records] == [1] for result in self.gather(ops))


def over_and_back(world: Border, sizes: Sizes) -> dict[str, float]:
    """Grow until every table is large, shrink, shrink until every table is small; seconds, and recalls."""
    told: dict[str, float] = {}
    old = list(world.nodes)
    new = [world.add_node() for _ in range(sizes.coming)]
    for number, node in enumerate(new):
        world.after(number * LOOK_S, node.join, world.random.choice(old))
    told["grown after s"] = world.live(GROWN_WITHIN_S, lambda: world.large() == len(world.nodes))
    assert all(node.joined_at is not None for node in new)
    told["recall when large"] = world.recall()
    world.check_records()

    gone = world.random.sample(world.nodes, sizes.leaving + sizes.dying)
    for node in gone[: sizes.leaving]:
        world.leave(node)
        world.run_for(LOOK_S)
    forgotten_at = world.now.mono + 1.2 * IDLE_PROBE_S
    world.live(SHRUNK_WITHIN_S, lambda: world.now.mono >= forgotten_at)
    assert world.large() == len(world.up()), "a table is small again too early"
    world.kill(*gone[sizes.leaving :])
    told["recall among the dead"] = world.recall()
    world.check_records()
    told["shrunk after s"] = world.live(SHRUNK_WITHIN_S, lambda: not world.large())
    world.live(SHRUNK_WITHIN_S, lambda: world.is_complete)
    told["recall when small again"] = world.recall()
    world.check_records()
    assert {world.flips[node] for node in world.up()} == {2}, "a table flaps"
    assert {world.flips[node] for node in gone} == {1}, "a table flaps"
    return told


def cross(sizes: Sizes, seeds: list[int], within_s: float, figures: Figures) -> None:
    stories = [partial(over_and_back, sizes=sizes)]
    told = tell(partial(Border, sizes.before), stories, seeds, within_s=within_s)
    for seed, result in sorted(told.results[0].items()):
        line = ", ".join(f"{what} {figure:.4g}" for what, figure in result.items())
        figures(f"seed {seed}: {sizes.before} nodes, {sizes.coming} come: {line}")
    for result in told.results[0].values():
        assert result["recall when large"] == result["recall when small again"] == 1.0
        assert result["recall among the dead"] >= 0.95
    figures(f"{told.cpu_s:.0f} s of CPU")


def test_nobody_is_lost_on_the_way_to_a_large_network_and_back(
    monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    """With the border at a quarter of what it is."""
    monkeypatch.setattr("yzdht.kad.table.SMALL_NETWORK_NODES_MAX", QUARTER.small_max)
    monkeypatch.setattr("yzdht.kad.table.SMALL_AGAIN_NODES_MAX", QUARTER.small_again)
    monkeypatch.setattr("yzdht.kad.upkeep.DISCOVERY_NODES_MAX", 2 * QUARTER.small_max)
    cross(QUARTER, seeds(1)[:10], WITHIN_S, figures)


@pytest.mark.soak
@pytest.mark.timeout(LONG_S + 100)
def test_nobody_is_lost_on_the_way_over_two_hundred_and_fifty_six_nodes_and_back(figures: Figures) -> None:
    cross(REAL, seeds(1)[:5], LONG_S, figures)

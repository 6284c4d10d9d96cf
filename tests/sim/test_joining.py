from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import Pen
from tests.sim.world import World, seeds
from yzdht.ids import Target
from yzdht.limits import BUCKET_SIZE, DEPARTED_RETRY_S_MAX, DISCOVERY_SOON_S, JOIN_WAIT_S_MAX
from yzdht.wire.rpc import FoundNodes, Method, Status, WireContact


if TYPE_CHECKING:
    from tests.sim.node import SimNode


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

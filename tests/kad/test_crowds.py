from __future__ import annotations

from random import Random  # noqa: TID251 - a network follows from its seed

import pytest

from tests.kad.kit import entry, node_id
from tests.sim.world import seeds
from yzdht.ids import Target
from yzdht.kad.crowds import Crowd, Density
from yzdht.kad.table import Table
from yzdht.limits import BUCKET_SIZE, REACHES_REMEMBERED_MAX, REACHES_WANTED, REPLICAS


SPACE = 1 << 256
SIZE = 1_000
USUAL = SPACE * REPLICAS // SIZE
"""The distance within which REPLICAS of SIZE nodes are to be expected."""


class Network:
    """Random ids, and how dense the node with the first of them takes them to be."""

    def __init__(self, seed: int, size: int = SIZE) -> None:
        self.random = Random(seed)
        self.own, *self.points = (self.random.getrandbits(256) for _ in range(size))
        self.table = Table(node_id(self.own))
        for point in self.random.sample(self.points, len(self.points)):
            self.meet(point)
        self.density = Density(node_id(self.own), self.table)

    def meet(self, point: int) -> None:
        known = entry(point)
        known.host, known.has_session = "10.0.0.1", True
        self.table.admit(known)

    def nearest(self, point: int, wanted: int = REPLICAS) -> list[int]:
        return sorted(self.points, key=lambda p: p ^ point)[:wanted]

    def crowd_at(self, point: int) -> Crowd | None:
        return self.density.crowd_in(target(point), map(node_id, self.nearest(point)))

    def grind(self, point: int, count: int) -> list[int]:
        """Ids within the thousandth part of the space around a point."""
        ground = [point ^ self.random.randrange(SPACE // SIZE) for _ in range(count)]
        self.points += ground
        return ground


def target(point: int) -> Target:
    return Target(point.to_bytes(32))


@pytest.mark.parametrize("seed", seeds(20)[:200])
def test_the_radius_is_that_of_the_network(seed: int) -> None:
    assert USUAL / 2 < Network(seed).density.radius() < USUAL * 4


@pytest.mark.parametrize("seed", seeds(20)[:200])
def test_ids_ground_around_a_node_do_not_make_its_network_look_dense(seed: int) -> None:
    network = Network(seed)
    for point in network.grind(network.own, 500):
        network.meet(point)

    assert network.density.radius() > USUAL / 2


def test_what_lookups_of_its_own_found_is_believed_rather_than_the_table() -> None:
    network = Network(1)
    far = network.own ^ (SPACE // 2)
    by_table = network.density.radius()
    for reach in (USUAL, USUAL * 9):
        network.density.reached(target(far), node_id(far ^ reach))
    assert network.density.radius() == by_table

    network.density.reached(target(far), node_id(far ^ (USUAL * 2)))
    assert network.density.radius() == USUAL * 2
    for _ in range(REACHES_REMEMBERED_MAX):
        network.density.reached(target(far), node_id(far ^ USUAL))
    assert network.density.radius() == USUAL


@pytest.mark.parametrize(("bits", "counts"), [(0, True), (2, True), (3, False), (20, False)])
def test_lookups_near_itself_tell_nothing(bits: int, *, counts: bool) -> None:
    network = Network(1)
    by_table = network.density.radius()
    point = network.own ^ (SPACE >> (1 + bits))
    for _ in range(REACHES_WANTED):
        network.density.reached(target(point), node_id(point ^ 1))

    assert network.density.radius() == (1 if counts else by_table)


def test_a_place_that_somebody_waits_for_does_not_make_a_bucket_sparse() -> None:
    table = Table(node_id(0))
    for number in range(BUCKET_SIZE - 1):
        table.admit(entry(SPACE // 2 + number))
    for number in range(BUCKET_SIZE - 5):
        table.admit(entry(SPACE // 4 + number))
    for number in range(1, 1 + BUCKET_SIZE):
        table.admit(entry(number))
    sizes = table.bucket_sizes()
    table.bucket_sizes = lambda: [(0, BUCKET_SIZE - 1, 3), *sizes[1:]]  # type: ignore[method-assign] # dead, not yet known so

    assert Density(node_id(0), table).radius() == SPACE // 4 * REPLICAS // (BUCKET_SIZE - 5)


def test_a_crowd_is_nearly_whole_if_at_most_one_of_the_nearest_but_oneself_is_not_of_it() -> None:
    density = Density(node_id(99), Table(node_id(99)))
    crowd = Crowd(0, 8)

    def is_nearly_whole(*near: int) -> bool:
        return density.is_nearly_whole(crowd, map(node_id, near))

    assert is_nearly_whole(1, 2, 3, 4, 5, 6, 7)
    assert is_nearly_whole(1, 2, 3, 4, 5, 6, 7, 50)
    assert is_nearly_whole(1, 2, 3, 4, 5, 6, 7, 0, 50, 51), "the ninth is none of the nearest"
    assert is_nearly_whole(1, 2, 99, 50)
    assert not is_nearly_whole(1, 2, 3, 4, 50, 51)
    assert not is_nearly_whole(99, 1)
    assert not is_nearly_whole()


def test_a_node_that_knows_nobody_takes_half_the_space_for_usual() -> None:
    density = Density(node_id(1), Table(node_id(1)))

    assert density.radius() == SPACE // 2


def test_a_bucket_with_room_tells_how_many_are_in_its_range() -> None:
    table = Table(node_id(0))
    for number in range(10):
        table.admit(entry(SPACE // 2 + number))
    for number in range(1, 1 + BUCKET_SIZE):
        table.admit(entry(number))

    assert Density(node_id(0), table).radius() == SPACE // 2 * REPLICAS // 10


def test_a_bucket_that_is_nearly_empty_by_chance_counts_for_no_less_than_the_full_one_before() -> None:
    table = Table(node_id(0))
    for number in range(BUCKET_SIZE):
        table.admit(entry(SPACE // 2 + number))
    table.admit(entry(SPACE // 4))
    for number in range(1, 1 + BUCKET_SIZE):
        table.admit(entry(number))

    assert Density(node_id(0), table).radius() == SPACE // 2 * REPLICAS // BUCKET_SIZE


def test_chance_looks_like_a_crowd_in_few_places() -> None:
    met = tried = 0
    for seed in range(10):
        network = Network(seed)
        for _ in range(100):
            tried += 1
            met += network.crowd_at(network.random.getrandbits(256)) is not None

    assert 0 < met <= tried * 5 // 100


@pytest.mark.parametrize("seed", seeds(20)[:200])
@pytest.mark.parametrize("away", [0, SPACE // SIZE, 2 * SPACE // SIZE])
def test_ground_ids_are_a_crowd_at_their_target_and_beside_it(seed: int, away: int) -> None:
    network = Network(seed)
    attacked = network.random.getrandbits(256)
    ground = network.grind(attacked, 100)
    point = attacked ^ away
    if not set(network.nearest(point)) <= set(ground):
        return  # honest nodes are nearer there

    crowd = network.crowd_at(point)

    assert crowd is not None
    assert all(crowd.holds(node_id(p)) for p in network.nearest(point))


def test_a_minority_is_no_crowd() -> None:
    network = Network(1)
    dense = network.density.radius() >> 3
    point = network.own ^ (SPACE >> 3)
    near = [point ^ (n * dense // 4) for n in range(1, 4)]
    far = [point ^ (n << 252) for n in range(1, 9)]

    assert network.density.crowd_in(target(point), map(node_id, near + far)) is None
    assert network.density.crowd_in(target(point), map(node_id, [*near, point, point ^ 1, *far])) == (
        point,
        2 * dense,
    )


def test_as_many_as_can_refuse_a_write_are_one_if_they_are_denser_still() -> None:
    network = Network(1)
    radius = network.density.radius()
    point = network.own ^ (SPACE >> 3)
    far = [point ^ (n << 252) for n in range(1, 9)]
    near = [point ^ (radius // 8) ^ n for n in range(4)]

    assert network.density.crowd_in(target(point), map(node_id, near + far)) == (near[0], 2 * (radius >> 3))
    assert network.density.crowd_in(target(point), map(node_id, near[:3] + far)) is None


def test_only_as_many_as_hold_a_record_are_looked_at() -> None:
    network = Network(1)
    point = network.own ^ (SPACE >> 3)
    far = [point ^ (n << 252) for n in range(1, 6)]
    near = [point ^ n for n in range(REPLICAS)]

    assert network.density.crowd_in(target(point), map(node_id, far + near)) is None


@pytest.mark.parametrize("seed", seeds(20)[:200])
def test_the_nearest_outside_a_crowd_are_found_from_the_points_around(seed: int) -> None:
    network = Network(seed)
    attacked = network.random.getrandbits(256)
    network.grind(attacked, 100)
    crowd = network.crowd_at(attacked)
    assert crowd is not None
    outside = [p for p in network.points if not crowd.holds(node_id(p))]
    right = sorted(outside, key=lambda p: p ^ attacked)[:REPLICAS]

    found = {
        point
        for around in network.density.points_around(target(attacked))
        for point in sorted(outside, key=lambda p: p ^ int.from_bytes(around))[:REPLICAS]
    }

    assert len(found & set(right)) >= REPLICAS - 1


def test_points_beside_a_target_lie_at_the_distance_of_its_holders() -> None:
    network = Network(1)
    point = network.random.getrandbits(256)
    radius = network.density.radius()
    first, second = (int.from_bytes(p) ^ point for p in network.density.points_beside(target(point), 2))

    assert (first.bit_count(), second.bit_count()) == (1, 1)
    assert radius / 3 < first < radius
    assert second == first // 2


@pytest.mark.parametrize("radius", [0, SPACE - 1])
def test_points_exist_at_any_density(radius: int) -> None:
    density = Density(node_id(1), Table(node_id(1)))
    density.radius = lambda: radius  # type: ignore[method-assign] # what no table of this world leads to

    assert 1 <= len(density.points_around(target(5))) <= 3
    assert target(5) not in density.points_beside(target(5), 2)


def test_a_node_nearer_than_the_edge_is_of_the_crowd() -> None:
    crowd = Crowd(16, 4)

    assert [n for n in range(32) if crowd.holds(node_id(n))] == [16, 17, 18, 19]

"""Tables as a network has them that has run for long, without the cost of simulating how it grew.

A shortcut past the engine: entries are handed to `engine.table.admit` as `on_link` does it, with the addresses that the
identity answer would have brought and the round trip that many answers would have shown; then the engine is told that
it has joined. What a node knows is what Kademlia promises of a network at rest: of each bucket up to BUCKET_SIZE
nodes, drawn at random, and all of those buckets that have no more; others of a full bucket wait in its cache, which
makes the table one of a large network. In a network of at most SMALL_NETWORK_NODES_MAX everybody has a place.
"""

from __future__ import annotations

import gc
import random  # noqa: TID251 - the simulator is a shell
from bisect import bisect_left
from typing import TYPE_CHECKING

from yzdht.kad.table import Entry
from yzdht.limits import (
    BUCKET_SIZE,
    DISCOVERY_EVERY_S,
    DISCOVERY_YOUNG_S,
    REPUBLISH_EVERY_S,
    SMALL_NETWORK_NODES_MAX,
)
from yzdht.wire.address import address_of


if TYPE_CHECKING:
    from tests.sim.node import SimNode
    from tests.sim.world import World
    from yzdht.wire.address import Address


_BITS = 256
_AGE_S_MAX = 300.0
"""The last sign of life of an entry is not longer ago: nobody is due for a probe at once."""
_FEW = 2_000
_WAITING_IN_MANY = 8
"""How many wait for each full bucket in networks above _FEW, to save memory; in smaller ones BUCKET_SIZE."""


def converge(world: World) -> None:
    """Fill the tables of all nodes of a world."""
    is_collecting = gc.isenabled()
    gc.disable()  # millions of objects that all stay
    try:
        _fill(world)
    finally:
        if is_collecting:
            gc.enable()


def _fill(world: World) -> None:
    nodes = sorted(world.nodes, key=lambda n: n.point)
    points = [node.point for node in nodes]
    addresses = {node.number: (address_of(node.url),) for node in nodes}
    for node in nodes:
        rng = random.Random(f"{world.seed}/{node.number}/table")
        mono = node.now().mono
        table = node.engine.table
        placed, waiting = _known_to(node, nodes, points, rng)
        for other in placed:
            table.admit(
                _entry(world, node, other, addresses[other.number], mono - rng.uniform(0, _AGE_S_MAX))
            )
        for other in waiting:
            entry = _entry(world, node, other, addresses[other.number], mono - rng.uniform(0, _AGE_S_MAX))
            table._keep_waiting(entry, table._bucket_of(entry.point))
        if waiting:
            table._is_small = False
        for other in (*placed, *waiting):
            node.met[other.number] = other.life
            other.met[node.number] = node.life
        table.take_changes()  # nothing is to be handed over to those who have been here for long
        _settle(node, rng)
        node.pump()


def _entry(
    world: World, node: SimNode, other: SimNode, addresses: tuple[Address, ...], seen_at: float
) -> Entry:
    peer = other.peer()
    entry = Entry(
        other.node_id,
        peer.public_key,
        other.point,
        other.caps,
        addresses,
        other.url,
        other.host,
        peer.prefix,
        seen_at,
    )
    entry.expected_s = world.weather.usual_s(node, other)
    return entry


def converge_as_grown(world: World, age_s: tuple[float, float] = (0.0, _AGE_S_MAX)) -> None:
    """Fill the tables of all nodes of a world as those are of a network that grew node by node.

    The first SMALL_NETWORK_NODES_MAX that a node met have a place, and BUCKET_SIZE of each bucket; of the others those
    that it met last wait. Nobody has room for many, so that nobody goes out to meet more as in `converge`.

    Args:
        world: With more than SMALL_NETWORK_NODES_MAX nodes.
        age_s: How long ago, in seconds, an entry gave a sign of life: from this to that.

    """
    addresses = {node.number: (address_of(node.url),) for node in world.nodes}
    for node in world.nodes:
        rng = random.Random(f"{world.seed}/{node.number}/grown")
        mono, table = node.now().mono, node.engine.table
        others = [other for other in world.nodes if other is not node]
        rng.shuffle(others)
        waiting: list[Entry] = []
        for other in others:
            entry = _entry(world, node, other, addresses[other.number], mono - rng.uniform(*age_s))
            if table.wants(other.point):
                table.admit(entry)
            else:
                waiting.append(entry)
            node.met[other.number] = other.life
        for entry in waiting:
            table._keep_waiting(entry, table._bucket_of(entry.point))
        table.take_changes()  # as in `converge`
        _settle(node, rng)
        node.pump()


def begin_laps(world: World) -> None:
    """Let all nodes begin to go through their records, each at a random instant of the hour to come."""
    for node in world.up():
        care = node.engine._caretaker._replication
        care._lap_at = node.now().mono + world.random.uniform(0, REPUBLISH_EVERY_S)
        node.pump()


def _known_to(
    node: SimNode, nodes: list[SimNode], points: list[int], rng: random.Random
) -> tuple[list[SimNode], list[SimNode]]:
    """Who has a place in its table, and who waits for one; the farthest bucket first."""
    placed: list[SimNode] = []
    waiting: list[SimNode] = []
    if len(nodes) <= SMALL_NETWORK_NODES_MAX:
        return [other for other in nodes if other is not node], waiting
    wait_max = BUCKET_SIZE if len(nodes) <= _FEW else _WAITING_IN_MANY
    for shared in range(_BITS):
        size = 1 << (_BITS - 1 - shared)
        low = (node.point ^ size) & -size
        begin, end = bisect_left(points, low), bisect_left(points, low + size)
        drawn = rng.sample(range(begin, end), min(end - begin, BUCKET_SIZE + wait_max))
        placed += (nodes[i] for i in drawn[:BUCKET_SIZE])
        waiting += (nodes[i] for i in drawn[BUCKET_SIZE:])
        own_low = node.point & -size
        if bisect_left(points, own_low + size) - bisect_left(points, own_low) == 1:
            break
    return placed, waiting


def _settle(node: SimNode, rng: random.Random) -> None:
    """Have the engine believe that it joined a while ago; its buckets are due for a refresh at any time."""
    engine, now = node.engine, node.now()
    engine._is_joined = True
    discovery = engine._discovery
    discovery._born_at = now.mono - DISCOVERY_YOUNG_S - rng.uniform(0, DISCOVERY_EVERY_S)
    discovery._soon_at = None
    discovery._was_small = engine.table.is_small
    discovery.is_complete = True
    discovery._settle_home(discovery._reach_bits(node.point), now)
    discovery._due = [now.mono + rng.uniform(0, DISCOVERY_EVERY_S) for _ in discovery._due]
    discovery._plan()
    node.joined_at = now.mono

"""Tables as a network has them that has run for long, without the cost of simulating how it grew.

A shortcut past the engine, the only one of the simulator: entries are handed to `engine.table.admit` as `on_link` does
it, with the addresses that the identity answer would have brought and the round trip that many answers would have
shown; then the engine is told that it has joined. What a node knows is what Kademlia promises of a network at rest:
of each bucket up to BUCKET_SIZE nodes, drawn at random, and all of those buckets that have no more; in a network
of at most SMALL_NETWORK_NODES_MAX everybody.
"""

from __future__ import annotations

import gc
import random  # noqa: TID251 - the simulator is a shell
from bisect import bisect_left
from typing import TYPE_CHECKING

from yzdht.kad.table import Entry
from yzdht.limits import BUCKET_SIZE, DISCOVERY_EVERY_S, DISCOVERY_YOUNG_S, SMALL_NETWORK_NODES_MAX
from yzdht.wire.address import address_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sim.node import SimNode
    from tests.sim.world import World


_BITS = 256
_AGE_S_MAX = 540.0
"""The last sign of life of an entry is not longer ago: nobody is due for a probe at once."""


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
    mono = world.now.mono
    for node in nodes:
        rng = random.Random(f"{world.seed}/{node.number}/table")
        for other in _known_to(node, nodes, points, rng):
            entry = Entry(
                other.node_id,
                other.pen.public_key,
                other.point,
                other.caps,
                addresses[other.number],
                other.url,
                other.host,
                other.peer().prefix,
                mono - rng.uniform(0, _AGE_S_MAX),
            )
            entry.expected_s = world.weather.usual_s(node, other)
            node.engine.table.admit(entry)
            node.met[other.number] = other.life
            other.met[node.number] = node.life
        _settle(node, rng)
        node.pump()


def _known_to(
    node: SimNode, nodes: list[SimNode], points: list[int], rng: random.Random
) -> Iterator[SimNode]:
    """Whom a node knows, the farthest bucket first."""
    if len(nodes) <= SMALL_NETWORK_NODES_MAX:
        yield from (other for other in nodes if other is not node)
        return
    for shared in range(_BITS):
        size = 1 << (_BITS - 1 - shared)
        low = (node.point ^ size) & -size
        begin, end = bisect_left(points, low), bisect_left(points, low + size)
        numbers = range(begin, end)
        yield from (
            nodes[i] for i in (rng.sample(numbers, BUCKET_SIZE) if end - begin > BUCKET_SIZE else numbers)
        )
        own_low = node.point & -size
        if bisect_left(points, own_low + size) - bisect_left(points, own_low) == 1:
            return


def _settle(node: SimNode, rng: random.Random) -> None:
    """Have the engine believe that it joined a while ago."""
    engine, now = node.engine, node.now()
    engine._is_joined = True
    discovery = engine._discovery
    discovery._born_at = now.mono - DISCOVERY_YOUNG_S - rng.uniform(0, DISCOVERY_EVERY_S)
    discovery.is_complete = True
    discovery._next_at = now.mono + rng.uniform(0, DISCOVERY_EVERY_S)
    node.joined_at = now.mono

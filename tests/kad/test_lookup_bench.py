"""The world of bench/lookup.py, made small: virtual time and fixed seeds, the same figures on every machine."""

from __future__ import annotations

import random  # noqa: TID251 - the bench draws its own world, from fixed seeds
from functools import cache

from bench.lookup import BITS, Machine, Ours, Plain, Walk, World, percentile, walk
from yzdht.kad.strangers import Strangers


LOOKUPS = 150


@cache
def walks(name: str) -> list[Walk]:
    """The same lookups in the same world of 2,000 nodes, a fifth of them dead."""
    world, strangers, chosen = World(2_000, 0.2), Strangers(), random.Random(2)
    made = []
    for _ in range(LOOKUPS):
        node, target = chosen.choice(world.live), chosen.getrandbits(BITS)
        machine: Machine = Plain(world, node, target, is_rounds=False)
        if name == "ours":
            machine = Ours(world, strangers, node, target)
        made.append(walk(world, node, target, machine))
    return made


def trips(name: str, share: float) -> float:
    """Median round trips within which that share of the lookups had ended."""
    return percentile([w.end_s for w in walks(name)], share)


def reached(name: str) -> int:
    return sum(w.closest_s is not None for w in walks(name))


def test_a_lookup_among_a_fifth_of_dead_nodes_ends_within_a_few_round_trips() -> None:
    assert trips("ours", 0.5) <= 3
    assert trips("ours", 0.99) <= 8


def test_a_lookup_ends_no_later_than_a_plain_window_and_sends_no_more() -> None:
    assert trips("ours", 0.5) <= trips("window", 0.5)
    assert trips("ours", 0.99) <= trips("window", 0.99)
    assert sum(w.messages for w in walks("ours")) <= sum(w.messages for w in walks("window"))


def test_all_four_closest_answer_to_nearly_every_lookup() -> None:
    assert reached("ours") >= 0.99 * LOOKUPS
    assert reached("ours") >= reached("window") - 1

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.kad.crowd import Crowd
from tests.kad.kit import at, entry, node_id, peer
from tests.sim.authors import Pen
from yzdht.ids import Target
from yzdht.kad.delegation import Delegation
from yzdht.kad.table import Table
from yzdht.limits import (
    DELEGATED_BURST_REQUESTS,
    DELEGATED_LOCAL_ALLOWANCE,
    DELEGATED_PREFIX_ALLOWANCE,
    DELEGATED_REQUESTS_PER_PATH,
    DELEGATED_REQUESTS_PER_S,
    PREFIXES_TRACKED_MAX,
    READ_PATHS_MAX,
    REPLICAS,
)
from yzdht.wire.rpc import Get, Put, Status


SOMEWHERE = Target(bytes(32))
BURST = int(DELEGATED_BURST_REQUESTS)
GET = Get(SOMEWHERE)
WIDE = Get(SOMEWHERE, paths=READ_PATHS_MAX)


def small(nodes: int, *, is_storing: bool = True) -> Delegation:
    table = Table(node_id(999))
    for number in range(1, nodes + 1):
        table.admit(entry(number))
    return Delegation(table, is_storing=is_storing)


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd(1)


def large(crowd: Crowd) -> Delegation:
    return Delegation(crowd.table, is_storing=True)


def gets(delegation: Delegation, body: Get = GET, mono: float = 0.0, number: int = 1) -> int:
    """How many are done for one peer before it is refused."""
    asker = peer(number)
    for done in range(BURST + 1):
        if delegation.charge_get(asker, body, at(mono)) is not None:
            return done
    raise AssertionError("it is never refused")


def test_a_get_in_a_large_network_is_charged_by_its_paths(crowd: Crowd) -> None:
    assert gets(large(crowd)) == BURST // DELEGATED_REQUESTS_PER_PATH
    assert gets(large(crowd), WIDE) == BURST // DELEGATED_REQUESTS_PER_PATH // READ_PATHS_MAX


@pytest.mark.parametrize("paths", range(1, READ_PATHS_MAX + 1))
def test_what_is_charged_for_a_get_is_about_what_it_sends(paths: int) -> None:
    crowd = Crowd(2)
    note = Pen(100).mutable("name", 5, b"value")
    crowd.searches.write(note.draft(), b"", lambda _result, _at: None, at(0.0))
    crowd.run()
    crowd.asked.clear()
    crowd.searches.read(note.target, lambda _result, _at: None, at(0.0), paths)
    crowd.run()

    assert len(crowd.asked) <= paths * DELEGATED_REQUESTS_PER_PATH * 1.25


@pytest.mark.parametrize(
    ("nodes", "is_storing", "cost"), [(0, True, 1), (0, False, 1), (2, True, 3), (7, True, 8), (12, True, 8)]
)
def test_a_get_in_a_small_network_is_charged_by_the_holders(
    nodes: int, cost: int, *, is_storing: bool
) -> None:
    assert gets(small(nodes, is_storing=is_storing)) == BURST // cost


def test_further_paths_are_walks_in_a_small_network_too() -> None:
    assert gets(small(7), WIDE) == BURST // DELEGATED_REQUESTS_PER_PATH // READ_PATHS_MAX


@pytest.mark.parametrize(("cas", "cost"), [(None, REPLICAS), (0, 2 * REPLICAS)])
def test_a_put_in_a_small_network_is_charged_by_the_holders(cas: int | None, cost: int) -> None:
    delegation = small(12)
    put = Put(SOMEWHERE, b"", cas)
    refusals = [delegation.charge_put(peer(1), put, at(0.0)) for _ in range(BURST // cost + 1)]

    assert [r is None for r in refusals] == [True] * (BURST // cost) + [False]


@pytest.mark.parametrize("cas", [None, 0])
def test_a_put_in_a_large_network_is_charged_as_a_walk_and_its_stores(crowd: Crowd, cas: int | None) -> None:
    delegation = large(crowd)
    done = BURST // (DELEGATED_REQUESTS_PER_PATH + REPLICAS)
    put = Put(SOMEWHERE, b"", cas)
    refusals = [delegation.charge_put(peer(1), put, at(0.0)) for _ in range(done + 1)]

    assert [r is None for r in refusals] == [True] * done + [False]


def test_who_is_refused_is_told_when_to_try_again_and_is_then_served(crowd: Crowd) -> None:
    delegation = large(crowd)
    gets(delegation)
    refused = delegation.charge_get(peer(1), GET, at(0.0))
    assert refused is not None
    assert refused.status is Status.RATE_LIMITED
    assert refused.detail.number == int(1000 * DELEGATED_REQUESTS_PER_PATH / DELEGATED_REQUESTS_PER_S) + 1

    assert delegation.charge_get(peer(1), GET, at(refused.detail.number / 1000)) is None


def test_peers_do_not_pay_for_each_other(crowd: Crowd) -> None:
    delegation = large(crowd)
    first = gets(delegation)

    assert gets(delegation, number=2) == first


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_asks_from_this_machine_may_ask_for_more_and_not_for_everything(crowd: Crowd, host: str) -> None:
    delegation, asker = large(crowd), peer(1, host=host)
    allowed = DELEGATED_LOCAL_ALLOWANCE * BURST // DELEGATED_REQUESTS_PER_PATH
    refusals = [delegation.charge_get(asker, GET, at(0.0)) for _ in range(allowed + 1)]

    assert [r is None for r in refusals] == [True] * allowed + [False]


@pytest.mark.parametrize("where", [{"prefix": "8.8.8.0/24"}, {"host": "127.0.0.1"}])
def test_ids_that_cost_nothing_share_what_their_address_has_and_leave_some_for_the_next(
    crowd: Crowd, where: dict[str, Any]
) -> None:
    delegation = large(crowd)
    fleet = [replace(peer(n), **where) for n in range(2 * DELEGATED_PREFIX_ALLOWANCE)]
    each = BURST // DELEGATED_REQUESTS_PER_PATH
    done = [sum(delegation.charge_get(p, GET, at(0.0)) is None for _ in range(each)) for p in fleet]
    sibling = replace(peer(99), **where)
    neighbour = replace(peer(100), prefix="8.8.9.0/24")

    assert DELEGATED_PREFIX_ALLOWANCE * each / 2 <= sum(done) < DELEGATED_PREFIX_ALLOWANCE * each
    assert min(done) > 10
    assert all(delegation.charge_get(sibling, GET, at(0.0)) is None for _ in range(10))
    assert all(delegation.charge_get(neighbour, GET, at(0.0)) is None for _ in range(each))


def test_what_one_peer_is_refused_does_not_count_against_its_neighbours(crowd: Crowd) -> None:
    delegation = large(crowd)
    greedy = replace(peer(1), prefix="8.8.8.0/24")
    for _ in range(DELEGATED_PREFIX_ALLOWANCE * BURST // DELEGATED_REQUESTS_PER_PATH):
        delegation.charge_get(greedy, GET, at(0.0))

    assert delegation.charge_get(replace(peer(2), prefix="8.8.8.0/24"), GET, at(0.0)) is None


def test_buckets_are_bounded_and_the_latest_are_kept() -> None:
    delegation = small(7)
    gets(delegation)
    for number in range(2, PREFIXES_TRACKED_MAX + 1):
        delegation.charge_get(peer(number), GET, at(0.0))
    assert delegation.charge_get(peer(1), GET, at(0.0)) is not None

    assert len(delegation._buckets._levels) == PREFIXES_TRACKED_MAX

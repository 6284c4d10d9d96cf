from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.kad.crowd import Crowd
from tests.kad.kit import at, entry, node_id, peer
from tests.sim.authors import Pen
from yzdht.ids import Target
from yzdht.kad.delegation import _ALL, Delegation
from yzdht.kad.table import Table
from yzdht.limits import (
    DELEGATED_BURST_OF_ALL,
    DELEGATED_BURST_REQUESTS,
    DELEGATED_BYTES_PER_REQUEST,
    DELEGATED_PATHS_AROUND,
    DELEGATED_PREFIX_ALLOWANCE,
    DELEGATED_REQUESTS_PER_PATH,
    DELEGATED_REQUESTS_PER_S,
    PREFIXES_TRACKED_MAX,
    READ_PATHS_MAX,
    RECORD_BYTES_MAX,
    REPLICAS,
)
from yzdht.wire.rpc import Get, Put, Status


if TYPE_CHECKING:
    from yzdht.rpc.engine import Peer


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


def asking(number: int) -> Peer:
    """A peer at a public prefix of its own."""
    return replace(peer(number), prefix=f"8.{number}.0.0/24")


def gets(delegation: Delegation, body: Get = GET, number: int = 1) -> int:
    """How many are done for one peer before it is refused."""
    return gets_of(delegation, asking(number), body)


def gets_of(delegation: Delegation, asker: Peer, body: Get = GET) -> int:
    for done in range(BURST + 1):
        if delegation.charge_get(asker, body, at(0.0)) is not None:
            return done
    raise AssertionError("it is never refused")


def puts(delegation: Delegation, body: Put) -> int:
    for done in range(BURST + 1):
        if delegation.charge_put(asking(1), body, at(0.0)) is not None:
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
    refusals = [delegation.charge_put(asking(1), put, at(0.0)) for _ in range(BURST // cost + 1)]

    assert [r is None for r in refusals] == [True] * (BURST // cost) + [False]


@pytest.mark.parametrize("cas", [None, 0])
def test_a_put_in_a_large_network_is_charged_as_a_walk_and_its_stores(crowd: Crowd, cas: int | None) -> None:
    delegation = large(crowd)
    done = BURST // (DELEGATED_REQUESTS_PER_PATH + REPLICAS)
    put = Put(SOMEWHERE, b"", cas)
    refusals = [delegation.charge_put(asking(1), put, at(0.0)) for _ in range(done + 1)]

    assert [r is None for r in refusals] == [True] * done + [False]


def test_going_around_a_crowd_is_charged_too_and_may_be_owed(crowd: Crowd) -> None:
    delegation = large(crowd)
    for _ in range(BURST // DELEGATED_REQUESTS_PER_PATH // (1 + DELEGATED_PATHS_AROUND)):
        assert delegation.charge_get(asking(1), GET, at(0.0)) is None
        delegation.charge_around(asking(1), at(0.0))
    assert delegation.charge_get(asking(1), GET, at(0.0)) is not None
    delegation.charge_around(asking(1), at(0.0))

    assert gets(delegation, number=2) == BURST // DELEGATED_REQUESTS_PER_PATH
    owing = delegation.charge_get(asking(1), GET, at(0.0))
    owed = DELEGATED_PATHS_AROUND * DELEGATED_REQUESTS_PER_PATH
    assert owing is not None
    assert owing.detail.number >= 1_000 * owed / DELEGATED_REQUESTS_PER_S


def test_who_is_refused_is_told_when_to_try_again_and_is_then_served(crowd: Crowd) -> None:
    delegation = large(crowd)
    gets(delegation)
    refused = delegation.charge_get(asking(1), GET, at(0.0))
    assert refused is not None
    assert refused.status is Status.RATE_LIMITED
    assert refused.detail.number == int(1000 * DELEGATED_REQUESTS_PER_PATH / DELEGATED_REQUESTS_PER_S) + 1

    assert delegation.charge_get(asking(1), GET, at(refused.detail.number / 1000)) is None


def test_peers_do_not_pay_for_each_other(crowd: Crowd) -> None:
    delegation = large(crowd)
    first = gets(delegation)

    assert gets(delegation, number=2) == first


def test_a_large_record_is_charged_by_what_the_holders_are_sent(crowd: Crowd) -> None:
    small_put, large_put = Put(SOMEWHERE, bytes(400)), Put(SOMEWHERE, bytes(RECORD_BYTES_MAX))
    parts = RECORD_BYTES_MAX // DELEGATED_BYTES_PER_REQUEST

    assert puts(large(crowd), small_put) == BURST // (DELEGATED_REQUESTS_PER_PATH + REPLICAS)
    assert puts(large(crowd), large_put) == BURST // (DELEGATED_REQUESTS_PER_PATH + REPLICAS * parts)
    assert puts(small(12), large_put) == BURST // (REPLICAS * parts)
    assert puts(small(12), Put(SOMEWHERE, large_put.record, 0)) == BURST // (REPLICAS * (parts + 1))


# Peers that share


PREFIX: dict[str, Any] = {"prefix": "8.8.8.0/24"}
ONE_ADDRESS: list[dict[str, Any]] = [PREFIX, {"host": "127.0.0.1"}, {"host": "::1"}, {"host": "192.168.0.7"}]
EACH = BURST // DELEGATED_REQUESTS_PER_PATH
ALL = int(DELEGATED_BURST_OF_ALL) // DELEGATED_REQUESTS_PER_PATH


def served(delegation: Delegation, asker: Peer, tries: int, mono: float = 0.0) -> int:
    return sum(delegation.charge_get(asker, GET, at(mono)) is None for _ in range(tries))


@pytest.mark.parametrize("where", ONE_ADDRESS)
def test_ids_that_cost_nothing_share_what_their_address_has_and_leave_some_for_the_next(
    crowd: Crowd, where: dict[str, Any]
) -> None:
    delegation = large(crowd)
    fleet = [replace(peer(n), **where) for n in range(2 * DELEGATED_PREFIX_ALLOWANCE)]
    done = [served(delegation, asker, EACH) for asker in fleet]
    sibling = replace(peer(99), **where)
    neighbour = replace(peer(100), prefix="8.8.9.0/24")

    assert DELEGATED_PREFIX_ALLOWANCE * EACH / 2 <= sum(done) < DELEGATED_PREFIX_ALLOWANCE * EACH
    assert min(done) > 10
    assert served(delegation, sibling, 10) == 10
    assert served(delegation, neighbour, EACH) == EACH


@pytest.mark.parametrize("where", ONE_ADDRESS)
def test_a_fleet_behind_one_address_is_served_while_one_of_them_asks_for_everything(
    crowd: Crowd, where: dict[str, Any]
) -> None:
    delegation = large(crowd)
    greedy, *fleet = [replace(peer(n), **where) for n in range(100)]
    for second in range(1, 30):
        served(delegation, greedy, 1_000, float(second))
        assert [served(delegation, browser, 2, float(second)) for browser in fleet] == [2] * len(fleet)


def test_one_program_alone_on_this_machine_may_ask_for_more_and_not_for_everything(crowd: Crowd) -> None:
    delegation, program = large(crowd), peer(1, host="127.0.0.1")

    assert served(delegation, program, ALL) == DELEGATED_PREFIX_ALLOWANCE * EACH // 2
    assert served(delegation, program, ALL, 1.0) == int(
        DELEGATED_PREFIX_ALLOWANCE * DELEGATED_REQUESTS_PER_S / DELEGATED_REQUESTS_PER_PATH
    )


@pytest.mark.parametrize("where", ONE_ADDRESS)
def test_behind_a_proxy_each_identity_has_its_part_and_all_what_an_address_has(
    crowd: Crowd, where: dict[str, Any]
) -> None:
    delegation = large(crowd)
    done = [served(delegation, replace(peer(n), **where, is_proxied=True), 2 * EACH) for n in range(30)]

    assert done[0] == EACH
    assert DELEGATED_PREFIX_ALLOWANCE * EACH / 2 <= sum(done) < DELEGATED_PREFIX_ALLOWANCE * EACH
    assert min(done) > 0


def test_however_many_ids_and_prefixes_ask_the_node_does_no_more_than_its_bound(crowd: Crowd) -> None:
    delegation, seconds = large(crowd), 5
    fleet = [replace(peer(n), prefix=f"8.8.{n % 30}.0/24") for n in range(300)]
    done = sum(served(delegation, asker, 40, float(s)) for s in range(seconds + 1) for asker in fleet)
    per_s = DELEGATED_PREFIX_ALLOWANCE * DELEGATED_REQUESTS_PER_S / DELEGATED_REQUESTS_PER_PATH

    assert ALL / 2 < done <= ALL + seconds * per_s
    assert served(delegation, replace(peer(999), prefix="9.9.9.0/24"), 10, float(seconds)) > 0


def test_a_peer_that_its_neighbours_have_refused_has_paid_nothing(crowd: Crowd) -> None:
    delegation, asker = large(crowd), replace(peer(1), **PREFIX)
    served(delegation, asker, 1)
    for number in range(2, 4 * DELEGATED_PREFIX_ALLOWANCE):
        served(delegation, replace(peer(number), **PREFIX), EACH)
    before = served(delegation, asker, 2 * EACH)
    moved = replace(asker, prefix="8.8.9.0/24")  # its own bucket is the same, that of the new prefix is full

    assert before < EACH / 2
    assert served(delegation, moved, EACH) == EACH - 1 - before


def test_what_all_together_have_refused_is_paid_by_nobody(crowd: Crowd) -> None:
    delegation = large(crowd)
    asker = replace(peer(1), **PREFIX)
    served(delegation, asker, 1)
    delegation._all.take(None, "others", DELEGATED_BURST_OF_ALL - DELEGATED_REQUESTS_PER_PATH, _ALL, 0.0)
    assert served(delegation, asker, EACH) == 0
    delegation._all.put_back(None, "others", DELEGATED_BURST_OF_ALL)

    assert served(delegation, asker, EACH) == EACH - 1


@pytest.mark.parametrize("where", [PREFIX, {"host": "127.0.0.1"}])
def test_a_put_that_is_put_back_has_cost_nothing(crowd: Crowd, where: dict[str, Any]) -> None:
    delegation, asker = large(crowd), replace(peer(1), **where)
    put = Put(SOMEWHERE, bytes(RECORD_BYTES_MAX), 0)
    for _ in range(EACH):
        assert delegation.charge_put(asker, put, at(0.0)) is None
        delegation.put_back(asker, put)

    assert served(delegation, asker, EACH) == EACH


def test_buckets_are_bounded_and_the_latest_are_kept() -> None:
    delegation = small(7)
    first = replace(peer(1), **PREFIX)
    gets_of(delegation, first)
    for number in range(2, PREFIXES_TRACKED_MAX + 1):
        delegation.charge_get(replace(peer(number), **PREFIX), GET, at(0.0))
    assert delegation.charge_get(first, GET, at(0.0)) is not None

    assert len(delegation._peers._levels) == PREFIXES_TRACKED_MAX

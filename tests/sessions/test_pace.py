"""How many requests a peer may send, alone and beside others."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.limits import (
    REQUESTS_BURST_OF_TABLE,
    REQUESTS_BURST_PER_GROUP,
    REQUESTS_BURST_STRANGER,
    REQUESTS_PER_S_OF_STRANGERS,
    REQUESTS_PER_S_OF_TABLE,
    REQUESTS_PER_S_PER_GROUP,
    REQUESTS_PER_S_STRANGER,
    TABLE_PEER_ALLOWANCE,
)
from yzdht.rpc.engine import Peer
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.pace import RequestPace
from yzdht.wire.address import limit_prefix
from yzdht.wire.frame import Caps


def peer(number: int, host: str = "8.8.8.8", *, is_proxied: bool = False) -> Peer:
    node_id = NodeId(number.to_bytes(32))
    return Peer(node_id, PublicKey(bytes(33)), Caps.ALWAYS, SessionId(bytes(16)), host, None, is_proxied)


def pace(*known: int) -> RequestPace:
    friends = {peer(number).node_id for number in known}
    return RequestPace(friends.__contains__, limit_prefix)


def served(pace: RequestPace, asker: Peer, requests: int, mono: float = 0.0) -> int:
    return sum(pace.take(asker, mono) == 0.0 for _ in range(requests))


def test_a_stranger_has_a_burst_and_then_so_many_per_second() -> None:
    paced, stranger = pace(), peer(1)

    assert served(paced, stranger, 10_000) == REQUESTS_BURST_STRANGER
    assert served(paced, stranger, 10_000, 1.0) == REQUESTS_PER_S_STRANGER


def test_a_node_of_the_table_has_ten_times_as_much() -> None:
    paced, friend = pace(1), peer(1)
    burst = int(TABLE_PEER_ALLOWANCE * REQUESTS_BURST_STRANGER)

    assert served(paced, friend, 2 * burst) == burst


def test_a_program_on_this_machine_has_what_its_address_has() -> None:
    paced, program = pace(), peer(1, "127.0.0.1")

    assert served(paced, program, 50_000) == REQUESTS_BURST_PER_GROUP / 2
    assert served(paced, program, 50_000, 1.0) == REQUESTS_PER_S_PER_GROUP


@pytest.mark.parametrize("host", ["8.8.8.8", "127.0.0.1"])
def test_behind_a_proxy_each_identity_has_what_a_stranger_has_and_all_what_an_address_has(host: str) -> None:
    bounds = SessionBounds(trusted_proxies=(ip_network("8.8.8.8"), ip_network("127.0.0.1")))
    paced = RequestPace(lambda _: False, bounds.prefix_of)
    twice = 2 * int(REQUESTS_BURST_STRANGER)
    done = [served(paced, peer(number, host, is_proxied=True), twice) for number in range(30)]

    assert done[0] == REQUESTS_BURST_STRANGER
    assert REQUESTS_BURST_PER_GROUP / 2 <= sum(done) <= REQUESTS_BURST_PER_GROUP
    assert min(done) > 0


@pytest.mark.parametrize("host", ["8.8.8.8", "127.0.0.1", "10.0.0.1"])
def test_a_thousand_identities_behind_one_address_get_what_the_address_has_and_an_honest_one_its_part(
    host: str,
) -> None:
    paced, honest = pace(), peer(0, host)
    flood = [peer(number, host) for number in range(1, 1_001)]
    done = honest_done = 0
    for second in range(5):
        done += sum(served(paced, each, 25, float(second)) for each in flood)
        honest_done += served(paced, honest, 1, float(second))

    assert done <= REQUESTS_BURST_PER_GROUP + 5 * REQUESTS_PER_S_PER_GROUP
    assert honest_done == 5


def test_a_thousand_prefixes_get_what_strangers_have_and_an_honest_one_its_part() -> None:
    paced, honest = pace(), peer(0, "9.9.9.9")
    flood = [peer(number, f"8.{number // 250}.{number % 250}.1") for number in range(1, 1_001)]
    done = honest_done = 0
    for second in range(4):
        done += sum(served(paced, each, 45, float(second)) for each in flood)
        honest_done += served(paced, honest, 2, float(second))

    assert done <= 2 * REQUESTS_BURST_PER_GROUP + 4 * REQUESTS_PER_S_OF_STRANGERS
    assert honest_done == 8


def test_liars_in_the_table_leave_the_others_there_their_part() -> None:
    paced, honest = pace(*range(101)), peer(0, "127.0.0.1")
    liars = [peer(number, "127.0.0.1") for number in range(1, 101)]
    done = 0
    for second in range(3):
        done += sum(served(paced, liar, 700, float(second)) for liar in liars)
        assert served(paced, honest, 20, float(second)) == 20

    assert done <= REQUESTS_BURST_OF_TABLE + 3 * REQUESTS_PER_S_OF_TABLE


def test_the_wait_told_is_worth_a_try() -> None:
    paced, stranger = pace(), peer(1)
    served(paced, stranger, 10_000)

    assert paced.take(stranger, paced.take(stranger, 0.0)) == 0.0


def test_what_the_prefix_refuses_costs_the_peer_nothing() -> None:
    paced, asker = pace(), peer(0)
    flood = [peer(number) for number in range(1, 101)]
    for each in flood:
        served(paced, each, 300)
    while paced.take(asker, 0.0) == 0.0:
        pass
    left = paced._peers._levels[asker.node_id].tokens

    assert served(paced, asker, 1_000) == 0
    assert paced._peers._levels[asker.node_id].tokens == left


def test_a_peer_of_no_prefix_that_is_refused_gains_nothing() -> None:
    paced, program = pace(), peer(1, "127.0.0.1")
    served(paced, program, 50_000)

    assert served(paced, program, 50_000) == 0


def test_what_all_strangers_may_is_not_forgotten_however_many_come() -> None:
    paced = pace()
    flood = [peer(number, f"8.{number // 250}.{number % 250}.1") for number in range(12_000)]
    done = sum(served(paced, each, 5) for each in flood)
    for _ in range(3):  # refused by now, they ask on
        done += sum(served(paced, each, 5) for each in flood)

    assert done <= 2 * REQUESTS_BURST_PER_GROUP


def test_what_the_table_may_is_not_forgotten_whatever_strangers_do() -> None:
    paced, friend = pace(0), peer(0)
    burst = served(paced, friend, 2 * int(TABLE_PEER_ALLOWANCE * REQUESTS_BURST_STRANGER))
    for number in range(1, 12_001):
        paced.take(peer(number, f"8.{number // 250}.{number % 250}.1"), 0.0)

    assert burst > 0
    assert paced._table._groups[None].tokens == REQUESTS_BURST_OF_TABLE - burst

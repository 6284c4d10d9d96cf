"""What peers may bring and fetch, and under which names it is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.pubsub.kit_host import ASKING, HOSTING, WALL, node_id, peer
from yzdht.limits import (
    BACKLOG_BURST_BYTES,
    BACKLOG_GROUP_ALLOWANCE,
    PUBLISH_BURST,
    PUBLISH_BURST_BYTES,
    PUBLISH_CHARGE_BYTES_MIN,
    PUBLISH_COPIES_PER_MESSAGE,
    PUBLISH_GROUP_ALLOWANCE,
    PUBSUB_ENVELOPE_BYTES_MAX,
)
from yzdht.ports import Now
from yzdht.pubsub.rates import Bringers, Rates
from yzdht.wire.history import fetched_from


if TYPE_CHECKING:
    from yzdht.rpc.engine import Peer


ALICE, BOB = peer(101), peer(102)
PREFIX = "203.0.113.0/24"


def at(mono: float) -> Now:
    return Now(mono, WALL + mono)


NEAR = tuple(peer(number, ASKING, prefix=PREFIX) for number in range(110, 130))


def brought(rates: Rates, who: Peer = ALICE, size: int = 100) -> int:
    """How many messages a peer may bring at once."""
    number = 0
    while not rates.bring(who, size, at(0.0)):
        number += 1
    return number


def test_a_peer_brings_a_burst_of_messages_and_then_so_many_a_second() -> None:
    rates = Rates(node_id(1))

    number = brought(rates)
    wait_s = rates.bring(ALICE, 100, at(0.0))

    assert number == PUBLISH_BURST
    assert 0 < wait_s < 1
    assert not rates.bring(ALICE, 100, at(wait_s))
    assert not rates.bring(BOB, 100, at(0.0))


def test_large_messages_are_charged_by_their_bytes() -> None:
    number = brought(Rates(node_id(1)), size=PUBSUB_ENVELOPE_BYTES_MAX)

    assert number == PUBLISH_BURST_BYTES // PUBSUB_ENVELOPE_BYTES_MAX


def test_small_messages_are_charged_as_a_kilobyte() -> None:
    assert PUBLISH_BURST * PUBLISH_CHARGE_BYTES_MIN <= PUBLISH_BURST_BYTES


def test_large_messages_to_many_subscribers_cost_what_all_of_them_are_sent() -> None:
    rates = Rates(node_id(1))
    number = 0
    while not rates.bring(ALICE, PUBSUB_ENVELOPE_BYTES_MAX, at(0.0)):
        rates.copied(ALICE, 10 * PUBLISH_COPIES_PER_MESSAGE, PUBSUB_ENVELOPE_BYTES_MAX, at(0.0))
        number += 1

    assert number == PUBLISH_BURST_BYTES // (11 * PUBSUB_ENVELOPE_BYTES_MAX) + 1
    assert not rates.bring(BOB, PUBSUB_ENVELOPE_BYTES_MAX, at(0.0))


def test_peers_of_one_prefix_bring_no_more_together_than_a_few() -> None:
    rates = Rates(node_id(1))

    number = sum(brought(rates, who) for who in NEAR)

    assert PUBLISH_BURST < number <= PUBLISH_GROUP_ALLOWANCE * PUBLISH_BURST


def test_messages_to_many_subscribers_cost_more() -> None:
    rates = Rates(node_id(1))
    number = 0
    while not rates.bring(ALICE, 100, at(0.0)):
        rates.copied(ALICE, 10 * PUBLISH_COPIES_PER_MESSAGE, 100, at(0.0))
        number += 1

    assert PUBLISH_BURST / 11 <= number <= PUBLISH_BURST / 11 + 1


def test_a_forged_message_is_charged_though_nothing_is_left() -> None:
    rates = Rates(node_id(1))
    brought(rates, size=PUBSUB_ENVELOPE_BYTES_MAX)
    before = rates.bring(ALICE, PUBSUB_ENVELOPE_BYTES_MAX, at(0.0))
    rates.punish(ALICE, at(0.0))

    assert rates.bring(ALICE, PUBSUB_ENVELOPE_BYTES_MAX, at(0.0)) > before


def test_a_peer_fetches_a_burst_and_then_waits() -> None:
    rates = Rates(node_id(1))
    first = rates.may_fetch(ALICE, at(0.0))
    rates.fetched(ALICE, int(BACKLOG_BURST_BYTES), at(0.0))
    wait_s = rates.may_fetch(ALICE, at(0.0))

    assert first == 0.0
    assert wait_s > 0.0
    assert not rates.may_fetch(ALICE, at(wait_s + 0.001))
    assert not rates.may_fetch(BOB, at(0.0))


def test_peers_of_one_prefix_fetch_no_more_together_than_a_few() -> None:
    rates = Rates(node_id(1))
    number = 0
    for who in NEAR:
        while not rates.may_fetch(who, at(0.0)):
            rates.fetched(who, int(BACKLOG_BURST_BYTES) // 16, at(0.0))
            number += 1

    assert 16 < number <= BACKLOG_GROUP_ALLOWANCE * 16 + len(NEAR)
    assert not rates.may_fetch(BOB, at(0.0))


def test_the_node_itself_is_charged_nothing() -> None:
    own = peer(1, HOSTING)
    rates = Rates(own.node_id)
    for _ in range(int(2 * PUBLISH_BURST)):
        assert not rates.bring(own, PUBSUB_ENVELOPE_BYTES_MAX, at(0.0))
    rates.punish(own, at(0.0))
    rates.fetched(own, int(10 * BACKLOG_BURST_BYTES), at(0.0))

    assert not rates.may_fetch(own, at(0.0))


def test_ids_of_one_prefix_are_one_bringer_and_others_each_their_own() -> None:
    bringers = Bringers(bytes(32))
    hidden = replace(ALICE, is_proxied=True)
    names = [bringers.of_peer(who) for who in (NEAR[0], NEAR[1], ALICE, BOB, hidden)]

    assert names[0] == names[1]
    assert len({*names}) == 4
    assert all(len(name) == 8 for name in names)
    assert bringers.of_host(ALICE.node_id) == names[2]
    assert bringers.of_fetched_from(ALICE.node_id) == fetched_from(names[2])


def test_who_brought_what_is_told_by_the_key_alone() -> None:
    one, other = Bringers(bytes(32)), Bringers(bytes(31) + b"\1")

    assert one.of_peer(ALICE) == Bringers(bytes(32)).of_peer(ALICE)
    assert one.of_peer(ALICE) != other.of_peer(ALICE)

"""Whose handshake is given up for a newcomer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sessions.proved import connection
from yzdht.limits import HALF_OPEN_MAX, HALF_OPEN_PER_PREFIX_MAX
from yzdht.sessions.half_open import HalfOpen
from yzdht.wire.address import limit_prefix


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.sessions.connection import Connection


def entered(half_open: HalfOpen, hosts: Iterable[str]) -> list[Connection]:
    connections = [connection(host) for host in hosts]
    for each in connections:
        half_open.enter(each)
    return connections


async def test_the_oldest_of_the_largest_group_gives_way() -> None:
    half_open = HalfOpen(limit_prefix)
    _, first, *_ = entered(half_open, ["9.9.9.9", "8.8.8.8", "8.8.8.9", "7.7.7.7"])

    assert half_open.other("1.1.1.1") is first
    assert half_open.other("7.7.7.8") is first


async def test_nobody_gives_way_to_who_has_as_many() -> None:
    half_open = HalfOpen(limit_prefix)
    entered(half_open, ["9.9.9.9", "8.8.8.8"])

    assert half_open.other("9.9.9.10") is None


async def test_of_single_ones_the_oldest_gives_way() -> None:
    half_open = HalfOpen(limit_prefix)
    oldest, *_ = entered(half_open, [f"8.8.{number}.8" for number in range(200)])

    assert half_open.other("9.9.9.9") is oldest


async def test_addresses_that_are_not_public_count_each_for_itself() -> None:
    half_open = HalfOpen(limit_prefix)
    first, *_ = entered(half_open, ["10.0.0.1", "10.0.0.1", "10.0.0.2"])

    assert half_open.other("10.0.0.2") is first
    assert half_open.other("10.0.0.1") is None


async def test_in_a_crowded_prefix_the_address_that_has_most_gives_way() -> None:
    half_open = HalfOpen(limit_prefix)
    hosts = ["8.8.8.8", "8.8.8.7", *["8.8.8.8"] * (HALF_OPEN_PER_PREFIX_MAX - 2)]
    first, *_ = entered(half_open, ["9.9.9.9", *hosts])[1:]

    assert half_open.is_crowded("8.8.8.0/24")
    assert half_open.neighbour("8.8.8.0/24", "8.8.8.6") is first
    assert half_open.neighbour("8.8.8.0/24", "8.8.8.8") is None


async def test_who_left_is_counted_no_more() -> None:
    half_open = HalfOpen(limit_prefix)
    crowd = entered(half_open, ["8.8.8.8"] * HALF_OPEN_MAX)
    assert half_open.is_full

    for each in crowd:
        half_open.leave(each)
        half_open.leave(each)

    assert (len(half_open), half_open.is_full, half_open.is_crowded("8.8.8.0/24")) == (0, False, False)
    assert half_open.other("9.9.9.9") is None

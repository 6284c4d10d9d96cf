"""A node's own record when clocks are set and disks fail; when it is renewed by age stands in test_node.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, until
from yzdht import Node
from yzdht.limits import DAY_S, MACHINE_LOOK_EVERY_S


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.own_identity import OwnIdentity


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


@pytest.fixture
async def clock() -> Time:
    return Time()


def own(node: Node) -> OwnIdentity:
    assert node._own_identity is not None
    return node._own_identity


async def test_a_clock_that_comes_back_gets_a_record_of_its_time_above_the_one_of_tomorrow(
    clock: Time, tmp_path: Path
) -> None:
    async with Node(0, host=HOST, data=tmp_path, clock=clock) as node:
        first = own(node).record

        clock.set_wall_ahead(DAY_S)
        own(node).renew()
        tomorrow = own(node).record
        assert tomorrow.created >= first.created + DAY_S
        await until(lambda: node.store_of_records.totals().records == 1)
        clock.set_wall_ahead(-DAY_S)
        own(node).renew()

        today = own(node).record
        assert first.created <= today.created < tomorrow.created
        assert today.seq > tomorrow.seq
        assert not own(node).is_published


async def test_a_record_that_is_fresh_stays(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        first = own(node).record
        own(node).renew()
        assert own(node).record is first


async def test_others_say_that_a_clock_is_ahead_and_agree_once_it_is_right(clock: Time) -> None:
    ahead = Time()
    ahead.set_wall_ahead(DAY_S)
    async with (
        Node(0, host=HOST, clock=clock) as right,
        Node(0, host=HOST, bootstrap=[f"ws://{HOST}:{right.port}"], clock=ahead) as wrong,
    ):
        await until(wrong.telemetry.errors)
        assert wrong.telemetry.errors()[0].what == "this machine's clock is ahead of those of others"
        assert not own(wrong).is_published

        ahead.set_wall_ahead(-DAY_S)
        await clock.advance(2 * MACHINE_LOOK_EVERY_S, steps=4)

        await until(lambda: own(wrong).is_published)

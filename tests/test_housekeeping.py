"""The rounds of a node; when records are renewed, swept and saved stands in test_node.py, through a whole node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, turns, until
from yzdht import Node
from yzdht.limits import DAY_S, MACHINE_LOOK_EVERY_S, STATE_SAVE_EVERY_S


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


@pytest.fixture
async def clock() -> Time:
    return Time()


async def test_a_round_comes_by_itself_and_at_once_when_the_clock_was_set(
    clock: Time, tmp_path: Path
) -> None:
    async with Node(0, host=HOST, data=tmp_path, clock=clock) as node:
        assert node._own_identity is not None
        first = node._own_identity.record

        clock.set_wall_ahead(DAY_S)
        await clock.advance(MACHINE_LOOK_EVERY_S + 1)

        own = node._own_identity
        await until(lambda: own.record is not first)
        assert own.record.created >= first.created + DAY_S


async def test_a_round_without_cause_leaves_the_record_as_it_is(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        assert node._own_identity is not None
        first = node._own_identity.record

        await clock.advance(2 * STATE_SAVE_EVERY_S, steps=4)
        await turns(10)

        assert node._own_identity.record is first

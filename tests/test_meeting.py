"""Whom a node meets, through real nodes on loopback."""

from __future__ import annotations

import pytest

from tests.sessions.kit import Time, turns, until
from yzdht import Node
from yzdht.limits import DIAL_PAUSE_S_MAX


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


def url_of(node: Node) -> str:
    return f"tcp://{HOST}:{node.port}"


@pytest.fixture
async def clock() -> Time:
    return Time()


async def test_who_has_nobody_to_meet_waits_for_nobody(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        node._meeting.begin_again_if_alone()
        assert node._joining is not None
        assert not node._joining.is_trying


async def test_who_is_not_alone_does_not_begin_again(clock: Time) -> None:
    async with (
        Node(0, host=HOST, clock=clock, allow_private=True) as first,
        Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock, allow_private=True) as second,
    ):
        await until(lambda: len(second.engine.table) == 1)
        second._meeting.begin_again_if_alone()
        await turns(3)
        assert second._joining is not None
        assert not second._joining.is_trying


async def test_who_lost_everybody_begins_again_where_it_began(clock: Time) -> None:
    first = Node(0, host=HOST, clock=clock, allow_private=True)
    await first.start()
    port = first.port
    async with Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock, allow_private=True) as second:
        await until(lambda: len(second.engine.table) == 1)
        await first.stop()
        await until(lambda: len(second.engine.table) == 0)
        second._meeting.begin_again_if_alone()
        assert second._joining is not None
        await until(lambda: second._joining is not None and second._joining.is_trying)
        second._meeting.begin_again_if_alone()  # once is enough

        async with Node(port, host=HOST, clock=clock, allow_private=True):
            for _ in range(20):
                await clock.advance(DIAL_PAUSE_S_MAX)
                await turns(50)
            await until(lambda: len(second.engine.table) == 1)
            await until(lambda: second._joining is not None and not second._joining.is_trying)

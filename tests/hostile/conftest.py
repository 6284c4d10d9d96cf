"""Time that a test moves on, liars, and an honest node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.liar import Liar
from tests.sessions.kit import Time
from yzdht import Node


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def liar(clock: Time) -> AsyncIterator[Liar]:
    liar = Liar(clock)
    await liar.listen()
    yield liar
    await liar.sessions.close()
    assert liar.failed_tasks == []


@pytest.fixture
async def node(clock: Time) -> AsyncIterator[Node]:
    async with Node(0, host="127.0.0.1", clock=clock) as node:
        yield node
    assert node.counters.get("task_failures") == 0


@pytest.fixture
def url(node: Node) -> str:
    return f"ws://127.0.0.1:{node.port}"

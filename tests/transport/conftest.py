"""Every asynchronous test below runs on both event loops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.nginx.front import Nginx, names_lead_to
from tests.process.fleet import steady_port
from tests.transport.authority import Authority
from tests.transport.roads import Road


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def ws() -> AsyncIterator[Road]:
    road = Road("ws")
    yield road
    await road.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def nginx(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """In front of ports where a test may listen."""
    nodes = {number: f"127.0.0.1:{steady_port()}" for number in range(1, 100)}
    with names_lead_to("127.0.0.1"), Nginx(tmp_path_factory.mktemp("nginx") / "it", authority, nodes) as it:
        yield it

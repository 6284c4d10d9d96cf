from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.sim.skipping import SkippingLoop


if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[SkippingLoop]:
    made = SkippingLoop()
    yield made
    made.close()


def test_a_week_of_waiting_takes_no_time_and_the_clock_shows_it(loop: SkippingLoop) -> None:
    week_s, before, began = 7 * 86_400, loop.now(), time.monotonic()
    loop.run_until_complete(asyncio.sleep(week_s))
    after = loop.now()
    assert after.mono - before.mono >= week_s
    assert after.wall - before.wall == pytest.approx(after.mono - before.mono)
    assert time.monotonic() - began < week_s


def test_what_was_sent_arrives_before_time_goes_on(loop: SkippingLoop) -> None:
    async def echo() -> list[bytes]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        heard = []
        async with server:
            for _ in range(20):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"ping")
                heard.append(await asyncio.wait_for(reader.read(), 3_600))
                writer.close()
        return heard

    assert loop.run_until_complete(echo()) == [b"ping"] * 20


def test_timers_that_wait_are_counted(loop: SkippingLoop) -> None:
    handles = [loop.call_later(60, print) for _ in range(3)]
    assert loop.timers == 3
    handles[1].cancel()
    assert loop.timers == 2
    for handle in handles:
        handle.cancel()
    assert loop.timers == 0

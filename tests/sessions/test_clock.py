"""The one place that reads clocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from yzdht.sessions.clock import SystemClock


async def test_the_monotonic_time_is_the_loop_s_and_the_other_the_wall_s() -> None:
    loop = asyncio.get_running_loop()

    mono_before, wall_before = loop.time(), datetime.now(UTC).timestamp()
    now = SystemClock().now()

    assert mono_before <= now.mono <= loop.time()
    assert abs(now.wall - wall_before) < 60


def test_monotonic_time_does_not_go_back() -> None:
    clock = SystemClock()
    instants = [clock.now().mono for _ in range(100)]

    assert instants == sorted(instants)

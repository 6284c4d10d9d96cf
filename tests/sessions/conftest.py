"""Time that a test moves on, and parties over memory links."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, Village


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def village(clock: Time) -> AsyncIterator[Village]:
    village = Village(clock)
    yield village
    await village.close()

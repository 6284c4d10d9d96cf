"""Tries that are begun one a little after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, turns, until
from yzdht.staggered import UNTIL_ANOTHER_ENDS, Staggered


if TYPE_CHECKING:
    from collections.abc import Callable

GAP_S = 100.0
"""Real time passes too, but never so much."""


class Tries:
    """Ways that work or fail when a test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.spare: list[str] = []
        self._ends: dict[str, asyncio.Future[str | None]] = {}

    async def attempt(self, way: str) -> str | None:
        self.begun.append(way)
        self._ends[way] = asyncio.get_running_loop().create_future()
        try:
            return await self._ends[way]
        finally:
            self.ended.append(way)

    def end(self, way: str, found: str | None) -> None:
        self._ends[way].set_result(found)

    def fail(self, way: str, error: Exception) -> None:
        self._ends[way].set_exception(error)

    def is_cancelled(self, way: str) -> bool:
        return self._ends[way].cancelled()

    def first(
        self, ways: str, at_once_max: int = 2, wait_s: Callable[[str], float | None] = lambda _way: 0.0
    ) -> asyncio.Task[str | None]:
        staggered = Staggered(
            ways, self.attempt, gap_s=GAP_S, at_once_max=at_once_max, wait_s=wait_s, discard=self.spare.append
        )
        return asyncio.get_running_loop().create_task(staggered.first())


@pytest.fixture
async def clock() -> Time:
    return Time()


async def test_the_next_is_begun_a_little_after_the_one_before(clock: Time) -> None:
    tries = Tries()
    first = tries.first("abc", 3)

    await until(lambda: tries.begun == ["a"])
    await clock.advance(GAP_S / 2)
    assert tries.begun == ["a"]
    await clock.advance(GAP_S / 2 + 1)
    assert tries.begun == ["a", "b"]
    await clock.advance(GAP_S + 1)
    assert tries.begun == ["a", "b", "c"]
    tries.end("b", "found")

    assert await first == "found"
    assert sorted(tries.ended) == ["a", "b", "c"], "nothing goes on"


async def test_after_a_failure_the_next_begins_at_once() -> None:
    tries = Tries()
    first = tries.first("abc")
    for count, way in enumerate("abc", 1):
        await turns(5)
        assert len(tries.begun) == count
        tries.end(way, None)

    assert await first is None


async def test_so_many_are_under_way_at_a_time(clock: Time) -> None:
    tries = Tries()
    first = tries.first("abcd", 2)
    await clock.advance(10 * GAP_S, steps=10)
    assert tries.begun == ["a", "b"]

    tries.end("a", None)
    await until(lambda: tries.begun == ["a", "b", "c"])
    tries.end("c", "found")

    assert await first == "found"


async def test_a_way_that_must_wait_is_overtaken_and_asked_again(clock: Time) -> None:
    tries = Tries()
    wait_of: dict[str, float | None] = {"a": GAP_S, "b": 0.0, "c": None, "d": UNTIL_ANOTHER_ENDS}
    first = tries.first("abcd", 4, wait_of.__getitem__)
    await until(lambda: tries.begun == ["b"])

    wait_of["a"] = 0.0
    await clock.advance(GAP_S + 1)
    assert tries.begun == ["b", "a"]
    tries.end("b", None)
    await turns(5)
    wait_of["d"] = 0.0
    tries.end("a", None)
    await until(lambda: tries.begun == ["b", "a", "d"])
    tries.end("d", "found")

    assert await first == "found"
    assert "c" not in tries.begun


async def test_it_waits_for_the_only_way_and_not_for_one_that_nothing_would_free(clock: Time) -> None:
    tries = Tries()
    wait_of: dict[str, float | None] = {"a": GAP_S, "b": UNTIL_ANOTHER_ENDS}
    first = tries.first("ab", 2, wait_of.__getitem__)
    await turns(5)
    assert not tries.begun

    wait_of["a"] = 0.0
    await clock.advance(GAP_S + 1)
    await until(lambda: tries.begun == ["a"])
    tries.end("a", None)

    assert await first is None


@pytest.mark.parametrize("wait_s", [None, UNTIL_ANOTHER_ENDS])
async def test_no_way_is_no_way(wait_s: float | None) -> None:
    tries = Tries()

    assert await tries.first("") is None
    assert await tries.first("ab", 2, lambda _way: wait_s) is None
    assert tries.begun == []


async def test_what_is_found_at_the_same_time_or_too_late_is_let_go(clock: Time) -> None:
    tries = Tries()
    first = tries.first("ab")
    await turns(5)
    await clock.advance(GAP_S + 1)
    tries.end("a", "one")
    tries.end("b", "other")

    found = await first

    assert [found, *tries.spare] in (["one", "other"], ["other", "one"])


async def test_an_error_ends_all_and_is_raised(clock: Time) -> None:
    tries = Tries()
    first = tries.first("ab")
    await turns(5)
    await clock.advance(GAP_S + 1)

    tries.fail("a", ValueError("a fault"))

    with pytest.raises(ValueError, match="a fault"):
        await first
    assert sorted(tries.ended) == ["a", "b"]


async def test_who_is_cancelled_cancels_all(clock: Time) -> None:
    tries = Tries()
    first = tries.first("ab")
    await turns(5)
    await clock.advance(GAP_S + 1)

    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert sorted(tries.ended) == ["a", "b"]


async def test_what_was_found_is_let_go_if_who_asked_is_cancelled_before_they_have_it(clock: Time) -> None:
    tries = Tries()
    first = tries.first("ab")
    await turns(5)
    await clock.advance(GAP_S + 1)
    tries.end("a", "found")
    await until(lambda: tries.is_cancelled("b"))
    assert not first.done(), "the end of the other is waited for"
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert tries.spare == ["found"]

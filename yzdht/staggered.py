"""The first of several tries that succeeds, each begun a little after the one before: happy eyeballs (RFC 8305)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable


Way = TypeVar("Way")
Found = TypeVar("Found")

UNTIL_ANOTHER_ENDS = float("inf")


def at_once(_way: object) -> float:
    """No way has to wait."""
    return 0.0


def let_go(_found: object) -> None:
    """What is found too late needs no end."""


class Staggered(Generic[Way, Found]):
    """Tries ways until one works; the others are cancelled, and have ended when `first` returns.

    The next is begun `gap_s` after the last, or as soon as one has failed; it is the first that need not wait.

    Args:
        ways: In order of preference.
        attempt: None for a way that does not work. What it raises ends all, and `first` raises it.
        gap_s: Seconds, 0 or more.
        at_once_max: Under way at a time, 1 or more.
        wait_s: How long a way that could begin must wait, which is asked again then: 0 for not at all,
            UNTIL_ANOTHER_ENDS, or None to leave it out.
        discard: Given what was found too late.

    """

    def __init__(
        self,
        ways: Iterable[Way],
        attempt: Callable[[Way], Coroutine[Any, Any, Found | None]],
        *,
        gap_s: float,
        at_once_max: int,
        wait_s: Callable[[Way], float | None] = at_once,
        discard: Callable[[Found], object] = let_go,
    ) -> None:
        self._left = list(ways)
        self._attempt = attempt
        self._gap_s = gap_s
        self._at_once_max = at_once_max
        self._wait_s = wait_s
        self._discard = discard
        self._loop = asyncio.get_running_loop()
        self._next_at = float("-inf")
        self._under_way: set[asyncio.Task[Found | None]] = set()

    async def first(self) -> Found | None:
        """What the first way that works finds; None if none does. Once only."""
        found: Found | None = None
        try:
            found = await self._look()
        finally:
            try:
                await self._end()
            except asyncio.CancelledError:
                if found is not None:
                    self._discard(found)
                raise
        return found

    async def _look(self) -> Found | None:
        while (pause_s := self._begin()) is not None:
            await self._pause(pause_s)
            for task in [t for t in self._under_way if t.done()]:
                self._under_way.discard(task)
                self._next_at = float("-inf")
                if (found := task.result()) is not None:
                    return found
        return None

    def _begin(self) -> float | None:
        """Begin what may begin; the seconds until to look again, None if there is nothing to wait for."""
        while self._left and len(self._under_way) < self._at_once_max:
            early_s = self._next_at - self._loop.time()
            if self._under_way and early_s > 0:
                return early_s
            wait_s = self._begin_one()
            if wait_s is not None:
                is_stuck = wait_s == UNTIL_ANOTHER_ENDS and not self._under_way
                return None if is_stuck else wait_s
        return UNTIL_ANOTHER_ENDS if self._under_way else None

    def _begin_one(self) -> float | None:
        """Begin the first that need not wait; if there is none, for how long that is so."""
        soonest: float | None = None
        for way in list(self._left):
            wait_s = self._wait_s(way)
            if not wait_s:
                self._left.remove(way)
            if wait_s == 0:
                self._under_way.add(self._loop.create_task(self._attempt(way)))
                self._next_at = self._loop.time() + self._gap_s
                return None
            if wait_s is not None:
                soonest = wait_s if soonest is None else min(soonest, wait_s)
        return soonest

    async def _pause(self, seconds: float) -> None:
        timeout_s = None if seconds == UNTIL_ANOTHER_ENDS else seconds
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    async def _end(self) -> None:
        for task in self._under_way:
            task.cancel()
        try:
            if self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            for task in self._under_way:
                with suppress(asyncio.CancelledError, Exception):  # one that matters was raised by `first`
                    if (late := task.result()) is not None:
                        self._discard(late)

"""Work that nobody waits for: begun for a caller who goes on at once, and given a moment to end with its owner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Background:
    """Tasks of a node's or client's person.

    Args:
        on_fault: Task guard: given every task that ended.

    """

    def __init__(self, on_fault: Callable[[asyncio.Task[None]], None]) -> None:
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Begin something."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._on_fault(task)

    async def finish(self, patience_s: float) -> None:
        """Wait so many seconds for what was begun, then give up the rest."""
        try:
            if self._tasks:
                await asyncio.wait(set(self._tasks), timeout=patience_s)
        finally:
            for task in set(self._tasks):
                task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

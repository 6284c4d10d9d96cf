"""An event loop whose time jumps to the next timer whenever nothing is ready: a day of real nodes takes minutes.

Sockets are real, over loopback, where what was sent is there at once. Threads are not waited for: whoever runs in this
loop keeps its records in memory.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING

from yzdht.ports import Now


if TYPE_CHECKING:
    from selectors import SelectorKey


class _Selector(selectors.DefaultSelector):
    """Attributes: skipped: Seconds that were not waited for so far."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self.skipped += max(timeout, 0.0)
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop; also the clock of the nodes in it."""

    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)
        self._wall_ahead = time.time() - self.time()  # noqa: TID251 - the simulator is a shell

    def time(self) -> float:
        """Seconds, those that were skipped included."""
        return super().time() + self._skipping.skipped

    def now(self) -> Now:
        """The present, as a clock says it."""
        mono = self.time()
        return Now(mono, mono + self._wall_ahead)

    @property
    def timers(self) -> int:
        """How many timers wait; those that are cancelled are dropped by the loop when it likes, and do not count."""
        waiting: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined] # as asyncio has it since 3.4
        return sum(not handle.cancelled() for handle in waiting)

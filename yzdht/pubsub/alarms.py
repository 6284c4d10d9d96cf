"""When what a process listens to is to be looked after: thousands of topics, of which few have something to do.

After something has happened to a feed its time is asked for anew; nobody asks the others. Who was forgotten is not looked after any
more, whatever happens to it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from yzdht.ports import Now


_STALE_ENTRIES_MIN = 64
"""So many times that are out of date are kept, and as many as there are of those that count."""


class Timed(Protocol):
    """Something that wants to be looked after at times."""

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        ...

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        ...


class Alarms:
    """The times of many."""

    def __init__(self) -> None:
        self._touched: dict[Timed, None] = {}
        self._at: dict[Timed, float | None] = {}  # of all that are looked after
        self._heap: list[tuple[float, int, Timed]] = []
        self._last = 0

    def __len__(self) -> int:
        return len(self._at)

    def add(self, timed: Timed) -> None:
        """Look after it from now on."""
        self._at.setdefault(timed, None)
        self._touched[timed] = None

    def touch(self, timed: Timed) -> None:
        """Something happened to it: its time may be another one."""
        if timed in self._at:
            self._touched[timed] = None

    def forget(self, timed: Timed) -> None:
        """It is over."""
        self._touched.pop(timed, None)
        self._at.pop(timed, None)

    def next_timer(self) -> float | None:
        """When `ring` is wanted."""
        self._ask()
        while self._heap:
            at, _, timed = self._heap[0]
            if self._at.get(timed) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def _ask(self) -> None:
        for timed in self._touched:
            at = timed.next_timer()
            if self._at[timed] != at:
                self._at[timed] = at
                self._push(timed)
        self._touched.clear()
        if len(self._heap) > 2 * len(self._at) + _STALE_ENTRIES_MIN:
            self._heap.clear()
            for timed in self._at:
                self._push(timed)

    def _push(self, timed: Timed) -> None:
        at = self._at[timed]
        if at is not None:
            self._last += 1
            heapq.heappush(self._heap, (at, self._last, timed))

    def ring(self, now: Now) -> None:
        """Look after all whose time has come, each once."""
        due: list[Timed] = []
        while (at := self.next_timer()) is not None and at <= now.mono:
            _, _, timed = heapq.heappop(self._heap)
            self._at[timed] = None
            due.append(timed)
        for timed in due:
            if timed in self._at:  # else another one's turn was its end
                timed.handle_timer(now)
                self.touch(timed)

"""When each of many things is to be looked after, and which of them is the next.

A time that is set anew leaves the old one in the heap until its turn comes, where it counts for nothing: setting costs the same
however many there are.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar


Key = TypeVar("Key")

_STALE_ENTRIES_MIN = 64
"""So many times that are out of date are kept, and as many as there are of those that count."""


class DueTimes(Generic[Key]):
    """The times of many, monotonic seconds; of equal ones the first that was set comes first."""

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._last = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: Key) -> bool:
        return key in self._at

    def set(self, key: Key, at: float | None) -> None:
        """Look after it at this time and no other; None for never."""
        if at is None:
            self._at.pop(key, None)
        elif self._at.get(key) != at:
            self._at[key] = at
            self._last += 1
            heapq.heappush(self._heap, (at, self._last, key))
            if len(self._heap) > 2 * len(self._at) + _STALE_ENTRIES_MIN:
                self._tidy()

    def forget(self, key: Key) -> None:
        """It is over."""
        self._at.pop(key, None)

    def next(self) -> float | None:
        """When the first is due; None for never."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._at.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def take(self, mono: float) -> Key | None:
        """Who is due first, whose time is over then; None if nobody is."""
        at = self.next()
        if at is None or at > mono:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._at[key]
        return key

    def _tidy(self) -> None:
        """Leave what counts, each once: a time that was left and set again stands there twice."""
        counting = {entry[2]: entry for entry in self._heap if self._at.get(entry[2]) == entry[0]}
        self._heap = list(counting.values())
        heapq.heapify(self._heap)

"""When whom to probe: a heap whose items are judged again when their time comes."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId


_SPARE = 64


class Probes:
    """Times at which nodes may be due.

    Nearly all times only move later (each answer is a sign of life), so a node's item stays where it is and finds its
    new place when it comes to the top: an answer costs nothing here. A time that moves earlier is told by `at`.

    Args:
        due_of: When a node is really due, monotonic seconds; None for not at all.

    """

    def __init__(self, due_of: Callable[[NodeId], float | None]) -> None:
        self._due_of = due_of
        self._heap: list[tuple[float, NodeId]] = []
        self._times: dict[NodeId, float] = {}  # of the one item of a node that counts

    def at(self, node_id: NodeId, mono: float) -> None:
        """Look at a node at this time, or before."""
        known = self._times.get(node_id)
        if known is None or mono < known:
            self._times[node_id] = mono
            heapq.heappush(self._heap, (mono, node_id))
            if len(self._heap) > _SPARE + 2 * len(self._times):
                self._tidy()

    def forget(self, node_id: NodeId) -> None:
        """A node is not known any more."""
        self._times.pop(node_id, None)

    def next(self) -> float | None:
        """When somebody is due; None for never."""
        while self._heap:
            time, node_id = self._heap[0]
            due = self._due_of(node_id) if self._times.get(node_id) == time else None
            if due is not None and due <= time:
                return time
            self._pop()
            if due is not None:
                self.at(node_id, due)
        return None

    def take(self, mono: float) -> list[NodeId]:
        """Everybody who is due; told again only after another `at`."""
        taken = []
        while (time := self.next()) is not None and time <= mono:
            taken.append(self._heap[0][1])
            self._pop()
        return taken

    def _tidy(self) -> None:
        """Take out the items that do not count: who comes and goes leaves one behind each time."""
        self._heap = [(time, node_id) for node_id, time in self._times.items()]
        heapq.heapify(self._heap)

    def _pop(self) -> None:
        time, node_id = heapq.heappop(self._heap)
        if self._times.get(node_id) == time:
            del self._times[node_id]

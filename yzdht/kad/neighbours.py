"""Which nodes are nearest to many targets in turn: ids in order, so that each costs a few bisections.

A table answers for one target by looking at everybody; a pass over a store asks for a hundred thousand.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable


class Neighbours:
    """Nodes by their points.

    Args:
        points: Their ids as integers, in any order, no two equal.

    """

    def __init__(self, points: Iterable[int]) -> None:
        self._points = sorted(points)

    def nearest(self, target: int, count: int) -> list[int]:
        """The exact `count` nearest to a target by XOR, nearest first; all of them if there are not so many."""
        points = self._points
        if len(points) > count:
            points = self._subtree(target, count)
        return sorted(points, key=target.__xor__)[:count]

    def _subtree(self, target: int, count: int) -> list[int]:
        """The smallest subtree around a target that holds at least `count` nodes: in order, it is one run of them."""
        points = self._points
        middle = bisect_left(points, target)
        around = points[max(0, middle - count) : middle + count]
        depth = sorted((point ^ target).bit_length() for point in around)[count - 1]
        low = target >> depth << depth
        return points[bisect_left(points, low) : bisect_left(points, low + (1 << depth))]

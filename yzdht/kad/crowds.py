"""Crowds: more nodes near a point than this network's density explains, and where to look around them.

An id is a hash of a key, so whoever wants many ids near a target tries keys until they fall there. Such ids become the
nearest nodes of the target, and of others nearby, and can swallow what is stored and hide what is read. What they cannot
do is look like chance: of N honest nodes about one is among the N-th part of the space around a point, and theirs are
all there. A write that meets a crowd stores around it as well, and a read looks there.

The same holders are found around a crowd by everybody, as long as they see about the same density: the nearest outside
it, in the subtrees beside the target at the depths where honest holders are (Kademlia paper, section 2.1).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from math import log2
from typing import TYPE_CHECKING, NamedTuple

from yzdht.ids import ID_BYTES, Target
from yzdht.limits import BUCKET_SIZE, REACHES_REMEMBERED_MAX, REACHES_WANTED, REPLICAS


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NodeId
    from yzdht.kad.table import Table


_ID_BITS = 8 * ID_BYTES

_MEMBERS = REPLICAS // 2 + 1
"""So many of the n nearest are a majority: what they alone accept they can swallow."""

_DENSE_BITS = 3
"""Nodes so many bits nearer to a point than holders should be are few, unless somebody ground their ids."""

_BLOCKERS = REPLICAS - _MEMBERS + 1
"""So many of the n nearest can refuse what all others accept."""

_DENSER_BITS = 6
"""The same for these: they are fewer, so chance brings them together more often."""

_FAR_BITS = 3

_DEPTHS_AROUND = (-1, 0, 1)
"""Subtrees to look at around a crowd, by depth: twice, once and half as wide as the holders' distance."""


class Crowd(NamedTuple):
    """Nodes nearer than `edge` to `middle`."""

    middle: int
    edge: int

    def wider(self) -> Crowd:
        """The same with an edge twice as far away."""
        return Crowd(self.middle, 2 * self.edge)

    def holds(self, node_id: NodeId) -> bool:
        """True if a node is of it."""
        return int.from_bytes(node_id) ^ self.middle < self.edge


class Density:
    """How dense the network is, and what is denser.

    Args:
        own_id: This node.
        table: Whom it knows.

    """

    def __init__(self, own_id: NodeId, table: Table) -> None:
        self._own_id = own_id
        self._table = table
        self._reaches: deque[int] = deque(maxlen=REACHES_REMEMBERED_MAX)

    def reached(self, target: Target | NodeId, farthest: NodeId) -> None:
        """A lookup at a point of this node's own choice found REPLICAS nodes or more; that was the REPLICAS-th.

        Only what lies in the farthest _FAR_BITS buckets counts: ids ground around this node are not there, and have it look
        up many points among them.
        """
        point = int.from_bytes(target)
        if (point ^ int.from_bytes(self._own_id)) >> (_ID_BITS - _FAR_BITS):
            self._reaches.append(int.from_bytes(farthest) ^ point)

    def radius(self) -> int:
        """The distance within which REPLICAS nodes are to be expected.

        By what lookups found at far points that this node chose to refresh its table: others have no hand in these. Before
        there are REACHES_WANTED of them, by its table: by the nodes nearest to itself, or, if that is less dense, by the
        farthest bucket that all nodes of its range have a place in; ids ground around this node are not there.
        """
        if len(self._reaches) >= REACHES_WANTED:
            return sorted(self._reaches)[len(self._reaches) // 2]
        own = int.from_bytes(self._own_id)
        near = self._table.closest(self._own_id, BUCKET_SIZE)
        here = (near[-1].point ^ own) * REPLICAS // len(near) if near else 1 << (_ID_BITS - 1)
        return max(here, self._by_bucket())

    def _by_bucket(self) -> int:
        """What the farthest bucket with room tells; few by chance, they count for no less than the full one before does."""
        most = 0
        for bits, size, waiting in self._table.bucket_sizes():
            radius = (REPLICAS << (_ID_BITS - 1 - bits)) // size if size else most
            if size < BUCKET_SIZE and not waiting:
                return min(radius, most) if most else radius
            most = radius
        return 0

    def crowd_at(self, target: Target) -> Crowd:
        """What paths beside a target pass by: there should be about one node, and whoever attacks it is there."""
        return Crowd(int.from_bytes(target), self.radius() >> _DENSE_BITS)

    def crowd_in(self, target: Target, nearest: Iterable[NodeId]) -> Crowd | None:
        """The crowd that decides what the nearest to a target do; None if they look like chance.

        A majority that is dense, or as many as can refuse a write that are denser still.

        Its middle is the target itself, or one of them where ids were ground for another target nearby. Its edge is
        drawn twice as wide as they were found to be.

        Args:
            target: The target.
            nearest: Its nearest nodes, nearest first; REPLICAS of them are looked at.

        """
        points = [int.from_bytes(node_id) for node_id in islice(nearest, REPLICAS)]
        radius = self.radius()
        dense = radius >> _DENSE_BITS
        for count, edge in ((_MEMBERS, dense), (_BLOCKERS, radius >> _DENSER_BITS)):
            for middle in (int.from_bytes(target), *points):
                if sum(point ^ middle < edge for point in points) >= count:
                    return Crowd(middle, 2 * dense)
        return None

    def is_nearly_whole(self, crowd: Crowd, nearest: Iterable[NodeId]) -> bool:
        """True if a crowd is all of the nearest but this node, or all but one more, who may be one of it elsewhere."""
        others = [node_id for node_id in islice(nearest, REPLICAS) if node_id != self._own_id]
        return len(others) - sum(map(crowd.holds, others)) <= 1 < len(others)

    def points_beside(self, target: Target, count: int) -> list[Target]:
        """Points in the subtrees beside a target that hold the farther half, quarter, … of its nearest nodes."""
        return self._turned(target, range(count))

    def points_around(self, target: Target) -> list[Target]:
        """Points from which the nearest nodes outside a crowd at the target are found."""
        return self._turned(target, _DEPTHS_AROUND)

    def _turned(self, target: Target, depths: Iterable[int]) -> list[Target]:
        """The same point with one bit turned over, at the depth of a subtree of the radius, so many bits deeper.

        Fewer than there are depths where these lie beyond the first bit or the last.
        """
        depth = round(_ID_BITS - log2(self.radius() + 1))
        point = int.from_bytes(target)
        bits = dict.fromkeys(min(max(depth + n, 0), _ID_BITS - 1) for n in depths)
        return [Target((point ^ (1 << (_ID_BITS - 1 - bit))).to_bytes(ID_BYTES)) for bit in bits]

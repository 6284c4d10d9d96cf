"""Which records a full store gives up: those farthest from the node's own id first (PROTOCOL.md section 16).

A record is looked for where it is near, so the farthest is the one that is missed least; and one that is stored again
by whoever cares is refused here then, since it is the farthest still. Never given up: what this node's own user stored,
and, but for one case, what lies in the range that `protect` named and anything that is not farther than what comes in.

The one case: everything that is left lies in that range, and so does what comes in. In a small network that is every
record, and otherwise ids are ground to lie there; whoever had filled it would keep everybody else out for as long as
records live. Then the bringer that takes most gives up its farthest, if it takes DISPLACING_PART times what the
newcomer's bringer would. Bringers are compared in parts of what each may: ids are free, but strangers of one prefix are one
bringer, and a table takes in few of one prefix, so that many ids neither displace much nor hide who takes it.

What leaves for its bytes leaves its memory (seq and hash), so that nothing deleted or superseded comes back. Only where
the memory itself is what there is too much of does the farthest slot go with it: whoever fills a store with slots that
have expired would otherwise keep it shut for a month, and the n nearest nodes remember as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from yzdht.ids import Target
from yzdht.limits import DISPLACING_PART, EVICTIONS_PER_WRITE_MAX
from yzdht.store.policy import Usage, part_of


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId


_LAST = (1 << 256) - 1


class Shelves(Protocol):
    """What can be given up."""

    def first(
        self, low: Target, high: Target, *, is_whole: bool, bringer: bytes | None = None
    ) -> Target | None:
        """The first target of a range, both ends included, with something that can; None if there is none.

        Args:
            low: The lowest.
            high: The highest.
            is_whole: True if slots without a body count as well.
            bringer: Whose slots count; None for all.

        """
        ...

    def last(
        self, low: Target, high: Target, *, is_whole: bool, bringer: bytes | None = None
    ) -> Target | None:
        """The last one, as `first`."""
        ...

    def drop(self, target: Target, *, is_whole: bool, bringer: bytes | None = None) -> Usage:
        """Give up the bodies under a target, or its whole slots, of one bringer or of all; return what that freed."""
        ...

    def greediest(self, *, is_whole: bool) -> list[tuple[bytes, Usage]]:
        """Who brought most, by bytes or, if `is_whole`, by slots: of the nodes one, and of the groups of strangers."""
        ...


class Eviction:
    """Makes room in a full store.

    Args:
        own_id: The node's; empty if a full store just refuses.

    """

    def __init__(self, own_id: NodeId | bytes) -> None:
        self._own = int.from_bytes(own_id) if own_id else None
        self._radius = 0

    def protect(self, radius: int) -> None:
        """Give up nothing whose distance from the own id is below that; may be called from any thread."""
        self._radius = radius

    def make_room(
        self, incoming: Target, excess: Usage, shelves: Shelves, claim: Usage | None = None
    ) -> bool:
        """Give up what is farther than `incoming` until so many slots and bytes are free.

        What was given up stays so even if it was not enough: the next write finds that room.

        Args:
            incoming: Where the newcomer belongs.
            excess: What has to be freed.
            shelves: What can be.
            claim: What the newcomer's bringer takes with it, as `Quotas.claim`; None if it displaces nobody.

        """
        for _ in range(EVICTIONS_PER_WRITE_MAX):
            if excess.slots <= 0 and excess.bytes <= 0:
                return True
            is_whole = excess.slots > 0
            freed = self._give_up_farthest(incoming, shelves, is_whole=is_whole)
            if freed is None and claim is not None:
                freed = self._displace(incoming, shelves, claim, is_whole=is_whole)
            if freed is None:
                return False
            excess = Usage(excess.slots - freed.slots, excess.bytes - freed.bytes)
        return excess.slots <= 0 and excess.bytes <= 0

    def _give_up_farthest(self, incoming: Target, shelves: Shelves, *, is_whole: bool) -> Usage | None:
        farthest = self._farthest(shelves, is_whole=is_whole)
        if farthest is None or not self._may_leave(farthest, incoming):
            return None
        return shelves.drop(farthest, is_whole=is_whole)

    def _displace(self, incoming: Target, shelves: Shelves, claim: Usage, *, is_whole: bool) -> Usage | None:
        """Give up the farthest of who takes most, if that is much more than the newcomer's bringer would take."""
        if self._own is None or self._distance(incoming) >= self._radius:
            return None
        field = 0 if is_whole else 1
        parts = [
            (part_of(bringer, taken)[field], bringer)
            for bringer, taken in shelves.greediest(is_whole=is_whole)
        ]
        most, bringer = max(parts, default=(0, b""))
        if most < DISPLACING_PART * max(1, claim[field]):
            return None
        farthest = self._farthest(shelves, is_whole=is_whole, bringer=bringer)
        if farthest is None or farthest == incoming:  # the slot that is written is not given up for itself
            return None
        return shelves.drop(farthest, is_whole=is_whole, bringer=bringer)

    def _may_leave(self, farthest: Target, incoming: Target) -> bool:
        distance = self._distance(farthest)
        return distance > self._distance(incoming) and distance >= self._radius

    def _distance(self, target: Target) -> int:
        assert self._own is not None
        return int.from_bytes(target) ^ self._own

    def _farthest(self, shelves: Shelves, *, is_whole: bool, bringer: bytes | None = None) -> Target | None:
        if self._own is None:
            return None
        return farthest_of(
            self._own,
            lambda low, high: shelves.first(low, high, is_whole=is_whole, bringer=bringer),
            lambda low, high: shelves.last(low, high, is_whole=is_whole, bringer=bringer),
        )


def farthest_of(
    own: int,
    first: Callable[[Target, Target], Target | None],
    last: Callable[[Target, Target], Target | None],
) -> Target | None:
    """The target farthest from an id by XOR, found by halving: as many queries as the targets have bits that matter.

    Args:
        own: The id.
        first: The first target of a range, both ends included.
        last: The last one.

    """
    low, high = first(_target(0), _target(_LAST)), last(_target(0), _target(_LAST))
    while low is not None and high is not None and low != high:
        a, b = int.from_bytes(low), int.from_bytes(high)
        bit = (a ^ b).bit_length() - 1
        split = b >> bit << bit  # a lies below, b does not
        if own >> bit & 1:
            high = last(low, _target(split - 1))
        else:
            low = first(_target(split), high)
    return low


def _target(point: int) -> Target:
    return Target(point.to_bytes(32))

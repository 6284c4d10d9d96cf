"""Places that bringers share: one of them has a part at most, so that the others always find some."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from yzdht.limits import EDGE_PART_OF_ONE_BRINGER


if TYPE_CHECKING:
    from yzdht.wire.history import Bringer


class Shares:
    """Who has how many.

    Args:
        places: How many there are; one bringer has a quarter of them at most.

    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._part = places // EDGE_PART_OF_ONE_BRINGER
        self._taken: Counter[Bringer] = Counter()
        self._count = 0

    def __len__(self) -> int:
        """How many are taken."""
        return self._count

    def has_room(self, bringer: Bringer) -> bool:
        """True if there is one more for a bringer."""
        return self._count < self._places and self.has_part(bringer)

    def has_part(self, bringer: Bringer) -> bool:
        """True if a bringer has less than its part: it may take one over."""
        return self._taken[bringer] < self._part

    def take(self, bringer: Bringer) -> bool:
        """Take one; False if there is none for this bringer."""
        if not self.has_room(bringer):
            return False
        self._taken[bringer] += 1
        self._count += 1
        return True

    def give_back(self, bringer: Bringer) -> None:
        """One is free again."""
        self._count -= 1
        self._taken[bringer] -= 1
        if not self._taken[bringer]:
            del self._taken[bringer]

    def pass_on(self, bringer: Bringer, to: Bringer) -> None:
        """What one had is another's now, be it more than its part."""
        self._taken[to] += 1
        self._count += 1
        self.give_back(bringer)

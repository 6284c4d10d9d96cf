"""Who left the table: remembered for a day for writes with cas, and tried again for a month (PROTOCOL.md section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.ids import NodeId
from yzdht.limits import (
    CAS_REMEMBERS_S,
    DEPARTED_KEPT_S,
    DEPARTED_MAX,
    DEPARTED_RETRY_S_MAX,
    DEPARTED_RETRY_S_MIN,
    DEPARTED_SPACING_S,
)


if TYPE_CHECKING:
    from yzdht.kad.bucket import Entry


_SHARES = 1 << 16


@dataclass(slots=True)
class Gone:
    """A node that left: when to try it again, and how long the pause before that was."""

    entry: Entry
    retry_at: float
    pause_s: float = DEPARTED_RETRY_S_MIN

    @property
    def stay_s(self) -> float:
        """How long it was in the table; for ever, if that was before a restart."""
        return float("inf") if self.entry.since is None else self.entry.seen_at - self.entry.since


class Departed(dict[NodeId, Gone]):
    """Those who left, at most DEPARTED_MAX.

    Args:
        own_point: This node's id as an integer.

    """

    def __init__(self, own_point: int) -> None:
        super().__init__()
        self._own_point = own_point

    def add(self, entry: Entry, mono: float, retry_at: float) -> Gone:
        """Remember a node; where there is no room, one is forgotten that a write with cas would not count.

        If all are of the last day, the one with the shortest stay: who comes and goes with one id after the other
        makes nobody forgotten who was here for long.
        """
        if len(self) >= DEPARTED_MAX and entry.node_id not in self:
            day = mono - CAS_REMEMBERS_S
            least = min(self.values(), key=lambda g: (g.entry.seen_at >= day, g.stay_s, g.entry.seen_at))
            del self[least.entry.node_id]
        gone = self[entry.node_id] = Gone(entry, retry_at)
        return gone

    def tried(self, gone: Gone, mono: float) -> bool:
        """It is time to try a node; False if it is forgotten instead."""
        if gone.entry.seen_at < mono - DEPARTED_KEPT_S:
            del self[gone.entry.node_id]
            return False
        gone.retry_at = mono + gone.pause_s
        return True

    def postpone(self, gone: Gone, mono: float) -> None:
        """Try a node again after twice the pause; of many, one after the other.

        Whoever of them is met first tells of the others, so it is their common rate that finds a healed cut.
        """
        pause_s_max = max(DEPARTED_RETRY_S_MAX, DEPARTED_SPACING_S * len(self))
        gone.pause_s = min(2 * gone.pause_s, pause_s_max)
        gone.retry_at = mono + gone.pause_s * self._share(gone.entry)

    def _share(self, entry: Entry) -> float:
        """Which part of a pause to wait, 0.5 to 1, another one for every pair of nodes.

        All nodes across a cut leave at once. Spread out, the first pair to meet after it is healed tells the others.
        """
        return 0.5 + (entry.point ^ self._own_point) % _SHARES / (2 * _SHARES)

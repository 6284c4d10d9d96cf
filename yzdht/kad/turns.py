"""What a holder remembers of a record between two laps: that another one looked after it, and that it is out of range.

Both memories are bounded; what does not fit costs a request more or a day's delay, never a record.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.limits import (
    REPUBLISH_NOTICED_AGAIN_S,
    REPUBLISH_NOTICES_MAX,
    REPUBLISH_SKIPS_MAX,
    REPUBLISH_STRAY_LAPS,
    REPUBLISH_STRAYS_MAX,
)


if TYPE_CHECKING:
    from yzdht.ids import Target
    from yzdht.ports import Rng


@dataclass(slots=True)
class _Notice:
    at: float
    skips: int


class Turns:
    """Which records other holders looked after, and how often in a row this node left it at that.

    Args:
        rng: Sets holders apart that would otherwise skip in step, and all act in the same hour.

    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._notices: OrderedDict[Target, _Notice] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notices)

    def is_fresh(self, target: Target, mono: float) -> bool:
        """True if this was noted so lately that noting it again changes nothing."""
        notice = self._notices.get(target)
        return notice is not None and notice.at + REPUBLISH_NOTICED_AGAIN_S > mono

    def note(self, target: Target, mono: float) -> None:
        """Another holder looks after a record; the one longest ago is forgotten."""
        notice = self._notices.get(target)
        if notice is None:
            skips = int(self._rng.uniform(0, REPUBLISH_SKIPS_MAX))
            self._notices[target] = _Notice(mono, skips)
            if len(self._notices) > REPUBLISH_NOTICES_MAX:
                self._notices.popitem(last=False)
        else:
            notice.at = mono
            self._notices.move_to_end(target)

    def is_done_since(self, target: Target, since: float) -> bool:
        """True if another holder has looked after a record since that monotonic second."""
        notice = self._notices.get(target)
        return notice is not None and notice.at >= since

    def skip(self, target: Target, since: float) -> bool:
        """True if another holder has looked after a record, and may be relied on once more.

        Not for ever: whoever only pretends to look after it would talk all others out of doing so.
        """
        notice = self._notices.get(target)
        if notice is None:
            return False
        if notice.at >= since and notice.skips < REPUBLISH_SKIPS_MAX:
            notice.skips += 1
            return True
        notice.skips = 0
        return False


class Strays:
    """Which records were out of range in this lap or the one before."""

    def __init__(self) -> None:
        self._laps = 0
        self._seen: set[int] = set()
        self._seen_before: set[int] = set()

    def __len__(self) -> int:
        return len(self._seen) + len(self._seen_before)

    def is_due(self, target: Target, *, is_daily: bool) -> bool:
        """True if a record out of range is seen for the first time, or its lap of the day has come.

        What no memory is left for counts as seen, so that traffic stays flat however many old copies there are.
        """
        key = int.from_bytes(target[-8:])  # its end: what is near this node begins alike
        is_known = key in self._seen or key in self._seen_before
        has_room = len(self._seen) < REPUBLISH_STRAYS_MAX
        if has_room:
            self._seen.add(key)
        is_its_lap = is_daily and (key + self._laps) % REPUBLISH_STRAY_LAPS == 0
        return is_its_lap or (has_room and not is_known)

    def end_lap(self, *, is_daily: bool) -> None:
        """A lap is over; `is_daily` if it counts as one of the day's."""
        self._laps += is_daily
        self._seen_before, self._seen = self._seen, set()

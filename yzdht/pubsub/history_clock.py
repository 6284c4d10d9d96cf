"""By which clock a host counts the age of messages: the wall clock, of which a jump is believed only once it has lasted.

A clock that is set two days ahead by mistake, and back again, would else cost a host all its histories, for good: what was over is not
fetched again. A machine that slept counts its messages as younger than they are for as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import CLOCK_SKEW_S, HISTORY_CLOCK_BELIEVED_S


if TYPE_CHECKING:
    from yzdht.ports import Now


class HistoryClock:
    """Of one run of a host; what the wall clock shows at first is believed."""

    def __init__(self) -> None:
        self._wall: float | None = None
        self._mono = 0.0
        self._ahead_s = 0.0
        self._jumped_at: float | None = None

    def read(self, now: Now) -> int:
        """Unix seconds, as this clock has them; to be asked once in a while."""
        went = now.wall if self._wall is None else self._wall + max(0.0, now.mono - self._mono)
        self._mono = now.mono
        self._wall = now.wall if self._is_believed(now.wall - went, now.mono) else went
        return int(self._wall)

    def _is_believed(self, ahead_s: float, mono: float) -> bool:
        """True for a wall clock that is off by so much, if that is little or has been so for long."""
        if abs(ahead_s) <= CLOCK_SKEW_S:
            self._jumped_at = None
            return True
        if self._jumped_at is None or abs(ahead_s - self._ahead_s) > CLOCK_SKEW_S:
            self._jumped_at, self._ahead_s = mono, ahead_s
        is_believed = mono - self._jumped_at >= HISTORY_CLOCK_BELIEVED_S
        if is_believed:
            self._jumped_at = None
        return is_believed

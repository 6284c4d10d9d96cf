"""Smoothed round-trip time of one peer (the estimator of RFC 6298, without its timer back-off)."""

from __future__ import annotations

from yzdht.limits import SOFT_DEADLINE_S_MIN, SOFT_DEADLINE_S_UNKNOWN


_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4
_DEVIATIONS = 4


class RoundTrip:
    """How long a peer usually takes to answer.

    Its expected time is what a lookup waits before it stops letting the peer block a slot (PROTOCOL.md section 9).
    """

    __slots__ = ("_deviation", "_smoothed")

    def __init__(self) -> None:
        self._smoothed: float | None = None
        self._deviation = 0.0

    @property
    def smoothed_s(self) -> float | None:
        """Smoothed seconds; None before the first sample."""
        return self._smoothed

    def add(self, sample_s: float) -> None:
        """Take one measurement in, seconds."""
        if self._smoothed is None:
            self._smoothed = sample_s
            self._deviation = sample_s / 2
            return
        self._deviation += _DEVIATION_GAIN * (abs(sample_s - self._smoothed) - self._deviation)
        self._smoothed += _GAIN * (sample_s - self._smoothed)

    def expected_s(self) -> float:
        """Smoothed time plus four deviations, at least 50 ms; 250 ms when unknown."""
        if self._smoothed is None:
            return SOFT_DEADLINE_S_UNKNOWN
        return max(SOFT_DEADLINE_S_MIN, self._smoothed + _DEVIATIONS * self._deviation)

"""Which topics are asked about far more than others lately, so that whoever asks about another one need not wait behind them.

Strangers who flood a topic come in as many sessions as they like, each of which asks no more than an honest one: what tells their requests
apart is what these are about. Topics nobody asked about lately are one flow together, since who makes up topics asks about each but once.
"""

from __future__ import annotations

from math import inf

from yzdht.limits import FLOW_REQUESTS_LIGHT, FLOW_WINDOW_S, FLOWS_MAX


class Flows:
    """Counts requests by what they are about, in this window and the one before."""

    def __init__(self) -> None:
        self._now: dict[bytes, int] = {}
        self._before: dict[bytes, int] = {}
        self._new = self._new_before = 0
        self._ends_at = -inf

    def is_busy(self, about: bytes, mono: float) -> bool:
        """Count a request; True if there are too many such to serve it before others.

        Args:
            about: What it is about.
            mono: Monotonic seconds.

        """
        if mono >= self._ends_at:
            self._turn_over(mono)
        count, before = self._now.get(about, 0) + 1, self._before.get(about, 0)
        if count > 1 or len(self._now) < FLOWS_MAX:
            self._now[about] = count
        if count == 1 and not before:
            self._new += 1
            return self._new + self._new_before > FLOW_REQUESTS_LIGHT
        return count + before > FLOW_REQUESTS_LIGHT

    def _turn_over(self, mono: float) -> None:
        is_next = mono < self._ends_at + FLOW_WINDOW_S
        self._before, self._new_before = (self._now, self._new) if is_next else ({}, 0)
        self._now, self._new = {}, 0
        self._ends_at = mono + FLOW_WINDOW_S

"""Which topics are asked about far more than others lately, so that whoever asks about another one need not wait behind them.

Strangers who flood a topic come in as many sessions as they like, each of which asks no more than an honest one: what tells their requests
apart is what these are about. Topics nobody asked about lately are one flow together. Who asks about some hundreds of topics, about each
a few times a second, is not told from others.
"""

from __future__ import annotations

from math import inf

from yzdht.limits import FLOW_REQUESTS_LIGHT, FLOW_WINDOW_S, FLOWS_MAX


class Flows:
    """Counts the requests that are served by what they are about, in this window and the one before."""

    def __init__(self) -> None:
        self._now: dict[bytes, int] = {}
        self._before: dict[bytes, int] = {}
        self._new = self._new_before = 0
        self._ends_at = -inf

    def is_busy(self, about: bytes, mono: float) -> bool:
        """True if too many requests about the same were served lately to serve another one before those about something else.

        Args:
            about: What it is about.
            mono: Monotonic seconds.

        """
        self._turn_over(mono)
        count = self._now.get(about, 0) + self._before.get(about, 0)
        return (count or self._new + self._new_before) >= FLOW_REQUESTS_LIGHT

    def count(self, about: bytes, mono: float) -> None:
        """A request is served; arguments as of `is_busy`."""
        self._turn_over(mono)
        count = self._now.get(about, 0)
        is_known = count or about in self._before
        # Who makes up new ones does not have known ones forgotten.
        room = FLOWS_MAX if is_known else FLOWS_MAX // 2
        if count or len(self._now) < room:
            self._now[about] = count + 1
        if not is_known:
            self._new += 1

    def _turn_over(self, mono: float) -> None:
        if mono < self._ends_at:
            return
        is_next = mono < self._ends_at + FLOW_WINDOW_S
        self._before, self._new_before = (self._now, self._new) if is_next else ({}, 0)
        self._now, self._new = {}, 0
        self._ends_at = mono + FLOW_WINDOW_S

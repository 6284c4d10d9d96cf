"""How a simulated network treats messages: latency, loss, doubling, overtaking, and the disks behind it."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, hypot
from typing import TYPE_CHECKING

from yzdht.limits import SOFT_DEADLINE_S_MIN


if TYPE_CHECKING:
    import random  # noqa: TID251 - the simulator is a shell

    from tests.sim.node import SimNode


SPEAKING_S = 120.0
"""Two nodes that spoke within so many seconds need no new connection."""
_MEDIAN_DISTANCE = 0.3989
"""Of two random points of a torus with sides of 1: half of all pairs are nearer."""
_NEAREST = 0.1
"""Round trip of two nodes at one place, as a share of the median."""
_MEAN_DEVIATION = 0.8
"""Mean absolute deviation of a lognormal variable, in its median times sigma; good enough for small sigmas."""


@dataclass(slots=True)
class Weather:
    """How the network treats messages; may be changed at any time.

    Attributes:
        rtt_s: Median round trip.
        spread: Sigma of its logarithm: of every message, or with `is_stable` of the jitter around a pair's own.
        loss: Share of calls of which the request or the answer is lost.
        disk_s: Seconds until a write is durable.
        is_stable: True if nodes live at places of a torus and a pair has its own latency; False draws every message
            anew, independent of who speaks.
        doubling: Share of messages that arrive twice; only between nodes without sessions.
        overtaking: Share of messages held up by 1 to 4 round trips; only between nodes without sessions.
        dial_rtts: Round trips before the first message of two that have not spoken for SPEAKING_S; 2 is TCP, WebSocket
            and handshake as far as they do not overlap. Only between nodes without sessions.

    """

    rtt_s: float = 0.06
    spread: float = 0.4
    loss: float = 0.0
    disk_s: float = 0.002
    is_stable: bool = False
    doubling: float = 0.0
    overtaking: float = 0.0
    dial_rtts: float = 0.0

    def one_way_s(self, rng: random.Random, one: SimNode | None, other: SimNode | None) -> float:
        """Seconds of one message's way; of a pair that is not known if one of them is None."""
        if not self.is_stable:
            return self.rtt_s / 2 * rng.lognormvariate(0, self.spread)
        stretch = 1.0 if one is None or other is None else _stretch(one, other)
        return self.rtt_s / 2 * stretch * exp(rng.gauss(0, self.spread))

    def usual_s(self, one: SimNode, other: SimNode) -> float:
        """What `RoundTrip.expected_s` comes to for a pair that has spoken often."""
        rtt_s = self.rtt_s * (_stretch(one, other) if self.is_stable else 1.0)
        return max(SOFT_DEADLINE_S_MIN, rtt_s * (1 + 4 * _MEAN_DEVIATION * self.spread / 2**0.5))


def _stretch(one: SimNode, other: SimNode) -> float:
    """A pair's round trip as a multiple of the median, by their distance on the torus."""
    (x1, y1), (x2, y2) = one.place, other.place
    dx, dy = abs(x1 - x2), abs(y1 - y2)
    distance = hypot(min(dx, 1 - dx), min(dy, 1 - dy))
    return _NEAREST + (1 - _NEAREST) * distance / _MEDIAN_DISTANCE

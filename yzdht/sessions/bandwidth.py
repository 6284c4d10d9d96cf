"""How much all links together carry, where an operator has set a bound.

The rule: every byte counts, in each direction for itself, handshakes and own requests included. Who has been read while
more was carried than may be is not read again until that is made up for. What is not read is not served, so that answers
stay within the bound too, and the sender feels it as a slow line. Nobody is kept from proving who he is, and what this node
asks by itself is not delayed: it makes the others wait instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import BANDWIDTH_DEBT_S_MAX, BANDWIDTH_REST_S_MAX


if TYPE_CHECKING:
    from yzdht.rpc.bucket import Rate


class _Account:
    """A bucket that may be overdrawn."""

    def __init__(self, rate: Rate, mono: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._at = mono

    def spend(self, size: int, mono: float) -> float:
        """Take bytes whether or not they are there; return the seconds until the debt is made up for."""
        rate = self._rate
        level = min(rate.burst, self._level + (mono - self._at) * rate.per_s) - size
        self._level = max(level, -BANDWIDTH_DEBT_S_MAX * rate.per_s)
        self._at = mono
        return max(0.0, -self._level / rate.per_s)


class Meter:
    """Counts what is carried.

    Args:
        rate: Bytes per second in each direction, and how many may come at once.
        mono: The present, monotonic seconds.

    """

    def __init__(self, rate: Rate, mono: float) -> None:
        self._in = _Account(rate, mono)
        self._out = _Account(rate, mono)

    def carried(self, taken: int, given: int, mono: float) -> float:
        """So many bytes came and went; returns for how many seconds whoever sent them is not read, 0.0 if at all."""
        return min(max(self._in.spend(taken, mono), self._out.spend(given, mono)), BANDWIDTH_REST_S_MAX)

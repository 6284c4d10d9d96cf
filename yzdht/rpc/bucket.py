"""Token buckets: how much one sender may ask for."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket allows.

    Attributes:
        per_s: Tokens that flow in per second.
        burst: Tokens that fit.

    """

    per_s: float
    burst: float

    def times(self, factor: float) -> Rate:
        """The same rate, `factor` times as large."""
        return Rate(self.per_s * factor, self.burst * factor)


@dataclass(slots=True)
class _Level:
    tokens: float
    at: float


class Buckets:
    """A bucket per key; at most `keys_max` of them, the least recently used leaves first.

    A key that was forgotten starts with a full bucket, so `keys_max` must be large beside the keys that an attacker
    can hold at once.
    """

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._levels: OrderedDict[Hashable, _Level] = OrderedDict()

    def take(self, key: Hashable, tokens: float, rate: Rate, mono: float) -> float:
        """Take tokens if they are there.

        Returns:
            0.0 when they were taken, else the seconds after which they would be.

        """
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = _Level(rate.burst, mono)
            if len(self._levels) > self._keys_max:
                self._levels.popitem(last=False)
        else:
            self._levels.move_to_end(key)
            level.tokens = min(rate.burst, level.tokens + (mono - level.at) * rate.per_s)
            level.at = mono
        if level.tokens < tokens:
            return (tokens - level.tokens) / rate.per_s
        level.tokens -= tokens
        return 0.0

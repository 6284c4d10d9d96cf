"""What waits of each sender at one subscriber, and who has to make room where too much does."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.limits import (
    WAITING_BYTES_MAX,
    WAITING_FEW,
    WAITING_HEARD_MAX,
    WAITING_MESSAGES_MAX,
)


if TYPE_CHECKING:
    from yzdht.ids import PublicKey
    from yzdht.wire.holdings import Series


_WEIGHT_MIN = WAITING_BYTES_MAX // WAITING_MESSAGES_MAX
_STALE_MAX = 64


@dataclass(slots=True)
class _Part:
    """Of one sender.

    Attributes:
        series: Of which something waits, and how many messages; those that have waited longest first.
        weight: Bytes of all, each of _WEIGHT_MIN at least.

    """

    series: dict[Series, int] = field(default_factory=dict)
    weight: int = 0


class WaitingRoom:
    """Full at WAITING_MESSAGES_MAX, or sooner where these are large; finds who pays in a time that does not grow with what waits."""

    def __init__(self) -> None:
        self._parts: dict[PublicKey, _Part] = {}
        self._most: list[tuple[int, int, PublicKey]] = []  # a heap; what is old in it is passed over
        self._heard: OrderedDict[PublicKey, None] = (
            OrderedDict()
        )  # of whom something was told, lately the last
        self._messages = self._weight = 0

    def __len__(self) -> int:
        """How many messages wait."""
        return self._messages

    @property
    def is_over(self) -> bool:
        """True if somebody has to make room."""
        return self._weight > WAITING_BYTES_MAX

    def enter(self, series: Series, size: int) -> None:
        """A message of so many bytes waits."""
        part = self._parts.setdefault(series.sender, _Part())
        weight = max(size, _WEIGHT_MIN)
        self._messages += 1
        self._weight += weight
        part.series[series] = part.series.get(series, 0) + 1
        part.weight += weight
        if len(self._most) > 2 * len(self._parts) + _STALE_MAX:
            self._most = [self._entry(sender) for sender in self._parts]
            heapq.heapify(self._most)
        else:
            heapq.heappush(self._most, self._entry(series.sender))

    def leave(self, series: Series, size: int) -> None:
        """It waits no more."""
        part = self._parts[series.sender]
        weight = max(size, _WEIGHT_MIN)
        self._messages -= 1
        self._weight -= weight
        part.weight -= weight
        part.series[series] -= 1
        if not part.series[series]:
            del part.series[series]
        if not part.series:
            del self._parts[series.sender]

    def heard(self, sender: PublicKey) -> None:
        """Something of a sender is told, or was."""
        self._heard[sender] = None
        self._heard.move_to_end(sender)
        if len(self._heard) > WAITING_HEARD_MAX:
            self._heard.popitem(last=False)

    def payer(self) -> Series:
        """The series that goes on without what it waits for; something has to wait.

        That of the sender with most. Where all have few there are very many of them, and those go first of whom nothing was told lately.
        Not by series: who makes up epochs, or leaves gaps, may do so in many of them.
        """
        while True:
            *_, sender = entry = self._most[0]
            if sender not in self._parts:
                heapq.heappop(self._most)
            elif entry != (now := self._entry(sender)):
                heapq.heapreplace(self._most, now)
            else:
                return next(iter(self._parts[sender].series))

    def _entry(self, sender: PublicKey) -> tuple[int, int, PublicKey]:
        part = self._parts[sender]
        turn = 0 if part.weight > WAITING_FEW * _WEIGHT_MIN else 1 + (sender in self._heard)
        return turn, -part.weight, sender

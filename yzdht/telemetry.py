"""What a node counts, measures and remembers of what went wrong; for its own use and for whoever shows it.

Cheap where it is fed: plain dictionaries, integers and lists, no locks (everything happens on the event loop) and no
metrics library. Names are fixed words of this program; labels come from closed sets, never from a peer's bytes, or a
stranger could make a node remember without bound.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from yzdht.limits import ERRORS_REMEMBERED_MAX, LOOP_LAG_EVERY_S
from yzdht.wire.rpc import Method, Status


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yzdht.rpc.engine import FailReason


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

BOUNDS: dict[str, Sequence[float]] = {
    "operation_seconds": _SECONDS,
    "operation_asked": (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    "operation_hops": (0, 1, 2, 3, 4, 5, 6, 8, 10, 15),
    "loop_lag_seconds": _SECONDS,
    "commit_seconds": _SECONDS,
    "commit_writes": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "topic_publish_seconds": _SECONDS,
    "topic_push_seconds": _SECONDS,
    "topic_fan_out": (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000),
}
"""Upper ends of the steps of each histogram, rising; what is above the last is counted too."""

_STATUS_BITS = 16


class Counters:
    """Counters by name and label; names are fixed words, labels are few."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count something."""
        self._counts[name, label] = self._counts.get((name, label), 0) + amount

    def get(self, name: str, label: str | None = None) -> int:
        """One counter, or the sum over its labels when `label` is None."""
        counts = self._all()
        if label is not None:
            return counts.get((name, label), 0)
        return sum(count for (n, _), count in counts.items() if n == name)

    def labels(self, name: str) -> dict[str, int]:
        """The counts of one name by label, sorted."""
        return {label: count for (n, label), count in sorted(self._all().items()) if n == name}

    def names(self) -> list[str]:
        """Names that were counted, sorted."""
        return sorted({name for name, _ in self._all()})

    def as_dict(self) -> dict[str, int]:
        """All counters, `name` or `name:label`, sorted."""
        return {f"{n}:{label}" if label else n: c for (n, label), c in sorted(self._all().items())}

    def _all(self) -> Mapping[tuple[str, str], int]:
        return self._counts


class Histogram:
    """How often which values were seen, in fixed steps.

    Args:
        bounds: Upper ends of the steps, rising; a value equal to one belongs to its step.

    Attributes:
        count: Values seen.
        sum: Their sum.

    """

    __slots__ = ("_counts", "bounds", "count", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.count = 0
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Take one value in."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.count += 1
        self.sum += value

    def cumulative(self) -> list[int]:
        """Of each bound how many values were not above it, and last how many there are."""
        return list(accumulate(self._counts))


@dataclass(frozen=True, slots=True)
class RememberedError:
    """Something an operator should see.

    Attributes:
        what: The fact, in a few words of this program.
        at: Unix seconds of the last time.
        hint: What to do about it; empty if there is nothing.
        times: How often it was seen since it was last forgotten.

    """

    what: str
    at: float
    hint: str = ""
    times: int = 1


class Telemetry(Counters):
    """Everything that one node counts and measures."""

    def __init__(self) -> None:
        super().__init__()
        self._served: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}
        self._errors: OrderedDict[str, RememberedError] = OrderedDict()

    def served(self, method: Method, status: Status) -> None:
        """Count a request of a peer under `rpc_served`, label `find_node/ok`."""
        # This and `answered` are done for every request: sums of integers cost a third of what tuples of enums do.
        key = method << _STATUS_BITS | status
        self._served[key] = self._served.get(key, 0) + 1

    def answered(self, method: Method, status: Status) -> None:
        """Count a request to a peer that was answered under `rpc_sent`, label `find_node/ok`."""
        key = method << _STATUS_BITS | status
        self._answered[key] = self._answered.get(key, 0) + 1

    def failed(self, method: Method, reason: FailReason) -> None:
        """Count a request to a peer that was not answered under `rpc_sent`, label `find_node/timeout`."""
        self.add("rpc_sent", f"{method.name.lower()}/{reason.value}")

    def _all(self) -> Mapping[tuple[str, str], int]:
        counts = dict(self._counts)
        for name, requests in (("rpc_served", self._served), ("rpc_sent", self._answered)):
            for key, count in requests.items():
                method, status = Method(key >> _STATUS_BITS), Status(key & (1 << _STATUS_BITS) - 1)
                label = f"{method.name}/{status.name}".lower()
                counts[name, label] = counts.get((name, label), 0) + count  # a session answers some by itself
        return counts

    def observe(self, name: str, value: float, label: str = "") -> None:
        """Take a value into a histogram.

        Args:
            name: One of BOUNDS; it says the unit.
            value: At least 0.
            label: One of few.

        """
        histogram = self._histograms.get((name, label))
        if histogram is None:
            histogram = self._histograms[name, label] = Histogram(BOUNDS[name])
        histogram.add(value)

    def histograms(self) -> list[tuple[str, str, Histogram]]:
        """Name, label and histogram of all that took a value in, sorted."""
        return [(name, label, self._histograms[name, label]) for name, label in sorted(self._histograms)]

    def error(self, what: str, wall: float, hint: str = "") -> None:
        """Remember an error; one that comes again takes no second place, so that it cannot hide the others.

        Args:
            what: A few words, no ids, no payload; one text for one kind of error.
            wall: Unix seconds.
            hint: What to do, imperative.

        """
        known = self._errors.pop(what, None)
        self._errors[what] = RememberedError(what, wall, hint, 1 if known is None else known.times + 1)
        if len(self._errors) > ERRORS_REMEMBERED_MAX:
            self._errors.popitem(last=False)

    def errors(self) -> list[RememberedError]:
        """The last ERRORS_REMEMBERED_MAX kinds of error, newest first."""
        return list(reversed(self._errors.values()))


async def watch_loop(telemetry: Telemetry) -> None:
    """Observe for ever how late the running loop comes to what is due, every LOOP_LAG_EVERY_S seconds."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOP_LAG_EVERY_S
        await asyncio.sleep(LOOP_LAG_EVERY_S)
        telemetry.observe("loop_lag_seconds", max(0.0, loop.time() - due))

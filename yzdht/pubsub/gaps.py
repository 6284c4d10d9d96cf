"""What is missing of a topic below messages that are here: since when, and what was given up.

Time in which there was nobody to ask, or in which the process was stopped, does not count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    FEED_GAP_LOOK_S,
    GAP_AGAIN_MAX,
    GAP_GIVE_UP_S,
    GAP_GIVE_UP_S_MAX,
    GAP_LOOK_EVERY_S,
    GAP_STOPPED_S,
    PULL_SERIES_MAX,
)
from yzdht.pubsub.claims import without_all


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from yzdht.wire.holdings import Held, Series, Span


class _Gap(NamedTuple):
    """What is missing, and not given up.

    Attributes:
        span: Which.
        since: When it was seen first, or is to count as seen first.
        again: So often it may be looked for from the beginning again.

    """

    span: Span
    since: float
    again: int


@dataclass(slots=True)
class _Missing:
    open: list[_Gap] = field(default_factory=list)
    given_up: list[Span] = field(default_factory=list)


class Gaps:
    """Of one topic.

    Args:
        held: What is here of a series.

    """

    def __init__(self, held: Callable[[Series], Held]) -> None:
        self._held = held
        self._series: OrderedDict[Series, _Missing] = OrderedDict()
        self._pushed_out: list[tuple[Series, Span]] = []
        self._looked_at = 0.0
        self._asked_until = float("-inf")

    @property
    def are_open(self) -> bool:
        """True if something is missing and not given up."""
        return any(missing.open for missing in self._series.values())

    def look(self, series: Series, mono: float) -> None:
        """See which gaps a series has now."""
        held = self._held(series)
        gaps = held.gaps()
        missing = self._series.get(series)
        if missing is None:
            if not gaps:
                return
            missing = self._series[series] = _Missing()
            if len(self._series) > PULL_SERIES_MAX:
                other, gone = self._series.popitem(last=False)
                self._pushed_out.extend((other, gap.span) for gap in gone.open)
        elif not gaps:
            if not held.is_empty:  # else what was given up is no gap yet
                del self._series[series]
            return
        pieces = without_all(gaps, missing.given_up)
        missing.given_up = without_all(gaps, pieces)  # what has come since is a gap no more
        missing.open = _with_times(pieces, missing.open, mono)

    def give_up(self, series: Series, spans: Iterable[Span]) -> None:
        """Count some as told."""
        self._series.setdefault(series, _Missing()).given_up.extend(spans)

    def pause(self, mono: float) -> None:
        """There is nobody to ask any more."""
        self._asked_until = self._ran_until(mono)

    def go_on(self, mono: float) -> None:
        """There is somebody to ask, the first after nobody was; whoever has what is missing may come after that one."""
        self._begin_again(self._asked_until, mono)
        self._looked_at = mono - GAP_LOOK_EVERY_S  # the next look may follow at once

    def _begin_again(self, asked_until: float, mono: float) -> None:
        """Nobody was asked for a while: look for all from the beginning, or, for what had that often enough, from where it was.

        That makes it one look older: whoever has hosts come and go, however briefly, keeps nothing open for ever.
        """
        for missing in self._series.values():
            for place, (span, since, again) in enumerate(missing.open):
                age_s = 0.0 if again else asked_until - since + GAP_LOOK_EVERY_S
                missing.open[place] = _Gap(span, mono - age_s, max(0, again - 1))

    def _ran_until(self, mono: float) -> float:
        """The present; if this process was stopped, since when at the earliest."""
        due = self._next_look()
        return mono if due is None or mono < due + GAP_STOPPED_S else due

    def _next_look(self) -> float | None:
        first = min((gap.since for m in self._series.values() for gap in m.open), default=None)
        if first is None:
            return None
        due = min(first + GAP_GIVE_UP_S, max(first, self._looked_at) + FEED_GAP_LOOK_S)
        return max(due, self._looked_at + GAP_LOOK_EVERY_S)

    def unfillable(self, hoped_for: Callable[[Series], list[Span]], mono: float) -> list[tuple[Series, Span]]:
        """What is to be given up now: nobody has it, or said for very long that they do, or too many miss something."""
        if (ran_until := self._ran_until(mono)) < mono:
            self._begin_again(ran_until, mono)
        self._looked_at = mono
        found, self._pushed_out = self._pushed_out, []
        for series in list(self._series):
            self.look(series, mono)
            if (missing := self._series.get(series)) is None:
                continue
            ended = [gap.span for gap in missing.open if mono >= gap.since + GAP_GIVE_UP_S_MAX]
            due = [
                gap.span
                for gap in missing.open
                if gap.since + GAP_GIVE_UP_S <= mono < gap.since + GAP_GIVE_UP_S_MAX
            ]
            if due:
                ended.extend(without_all(due, hoped_for(series)))
            found.extend((series, span) for span in ended)
            if not ended:
                continue
            missing.given_up.extend(ended)
            if not self._held(series).is_empty:
                self.look(series, mono)
                continue
            left = without_all([gap.span for gap in missing.open], ended)
            missing.open = _with_times(left, missing.open, mono)
            if not left:  # the series was forgotten, and with it what was missing
                del self._series[series]
        return found

    def next_time(self) -> float | None:
        """When `unfillable` is wanted, while there is somebody to ask; if it is called much later the process was stopped."""
        return self._looked_at + GAP_LOOK_EVERY_S if self._pushed_out else self._next_look()

    def clear(self) -> None:
        """Forget all."""
        self._series.clear()
        self._pushed_out.clear()


def _with_times(pieces: Iterable[Span], before: Sequence[_Gap], mono: float) -> list[_Gap]:
    """When each gap was seen first: gaps become smaller and fewer, or appear above all others. Both are in order."""
    starts = [gap.span.start for gap in before]
    found: list[_Gap] = []
    for piece in pieces:
        at = bisect_right(starts, piece.start) - 1
        is_known = at >= 0 and piece.start < before[at].span.to
        found.append(before[at]._replace(span=piece) if is_known else _Gap(piece, mono, GAP_AGAIN_MAX))
    return found

"""What is missing of a topic below messages that are here: since when, and what was given up."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.limits import GAP_GIVE_UP_S, GAP_GIVE_UP_S_MAX, GAP_LOOK_EVERY_S, PULL_SERIES_MAX
from yzdht.pubsub.claims import without_all


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from yzdht.wire.holdings import Held, Series, Span


@dataclass(slots=True)
class _Missing:
    open: list[tuple[Span, float]] = field(default_factory=list)
    """Each with the time at which it was seen first."""
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
                self._pushed_out.extend((other, piece) for piece, _ in gone.open)
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

    def unfillable(self, hoped_for: Callable[[Series], list[Span]], mono: float) -> list[tuple[Series, Span]]:
        """What is to be given up now: nobody has it, or said for very long that they do, or too many miss something."""
        self._looked_at = mono
        found, self._pushed_out = self._pushed_out, []
        for series in list(self._series):
            self.look(series, mono)
            if (missing := self._series.get(series)) is None:
                continue
            ended = [piece for piece, since in missing.open if mono >= since + GAP_GIVE_UP_S_MAX]
            due = [p for p, s in missing.open if s + GAP_GIVE_UP_S <= mono < s + GAP_GIVE_UP_S_MAX]
            if due:
                ended.extend(without_all(due, hoped_for(series)))
            found.extend((series, span) for span in ended)
            if not ended:
                continue
            missing.given_up.extend(ended)
            if not self._held(series).is_empty:
                self.look(series, mono)
                continue
            left = without_all([piece for piece, _ in missing.open], ended)
            missing.open = _with_times(left, missing.open, mono)
            if not left:  # the series was forgotten, and with it what was missing
                del self._series[series]
        return found

    def next_time(self) -> float | None:
        """When `unfillable` is wanted."""
        if self._pushed_out:
            return self._looked_at + GAP_LOOK_EVERY_S
        first = min((since for m in self._series.values() for _, since in m.open), default=None)
        return None if first is None else max(first + GAP_GIVE_UP_S, self._looked_at + GAP_LOOK_EVERY_S)

    def clear(self) -> None:
        """Forget all."""
        self._series.clear()
        self._pushed_out.clear()


def _with_times(
    pieces: Iterable[Span], before: Sequence[tuple[Span, float]], mono: float
) -> list[tuple[Span, float]]:
    """When each gap was seen first: gaps become smaller and fewer, or appear above all others. Both are in order."""
    starts = [span.start for span, _ in before]
    found: list[tuple[Span, float]] = []
    for piece in pieces:
        at = bisect_right(starts, piece.start) - 1
        is_known = at >= 0 and piece.start < before[at][0].to
        found.append((piece, before[at][1] if is_known else mono))
    return found

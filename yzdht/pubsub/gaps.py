"""What is missing of a topic below messages that are here: since when, and what was given up."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.limits import GAP_GIVE_UP_S, GAP_GIVE_UP_S_MAX, GAP_LOOK_EVERY_S, PULL_SERIES_MAX
from yzdht.pubsub.claims import without_all


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
                self._series.popitem(last=False)
        elif not gaps:
            if not held.is_empty:  # else what was given up is no gap yet
                del self._series[series]
            return
        pieces = without_all(gaps, missing.given_up)
        missing.given_up = without_all(gaps, pieces)  # what has come since is a gap no more
        missing.open = [(piece, _since(piece, missing.open, mono)) for piece in pieces]

    def give_up(self, series: Series, spans: Iterable[Span]) -> None:
        """Count some as told."""
        self._series.setdefault(series, _Missing()).given_up.extend(spans)

    def unfillable(self, hoped_for: Callable[[Series], list[Span]], mono: float) -> list[tuple[Series, Span]]:
        """What is to be given up now: nobody has it, or said for very long that they do. Each is named once."""
        self._looked_at = mono
        found: list[tuple[Series, Span]] = []
        for series in list(self._series):
            self.look(series, mono)
            if (missing := self._series.get(series)) is None:
                continue
            ended: list[Span] = []
            for piece, since in missing.open:
                if mono >= since + GAP_GIVE_UP_S_MAX:
                    ended.append(piece)
                elif mono >= since + GAP_GIVE_UP_S:
                    ended.extend(without_all([piece], hoped_for(series)))
            missing.given_up.extend(ended)
            found.extend((series, span) for span in ended)
            self.look(series, mono)
        return found

    def next_time(self) -> float | None:
        """When `unfillable` is wanted."""
        first = min((since for m in self._series.values() for _, since in m.open), default=None)
        return None if first is None else max(first + GAP_GIVE_UP_S, self._looked_at + GAP_LOOK_EVERY_S)

    def clear(self) -> None:
        """Forget all."""
        self._series.clear()


def _since(piece: Span, before: Iterable[tuple[Span, float]], mono: float) -> float:
    """When a gap was seen first: gaps become smaller and fewer, or appear above all others."""
    return next((since for span, since in before if span.start <= piece.start < span.to), mono)

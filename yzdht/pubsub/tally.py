"""What one subscription hears, as counters show it: every gap once, however often it is found again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from yzdht.limits import WAITING_MESSAGES_MAX
from yzdht.pubsub.events import Begins, Filled, Gap, Lost, Message, Refused


if TYPE_CHECKING:
    from yzdht.pubsub.events import Event
    from yzdht.wire.holdings import Series, Span


class Count(Protocol):
    """Counts something, under a name and a label."""

    def __call__(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count it."""
        ...


@dataclass(slots=True)
class _Open:
    """A gap that was counted and is not over."""

    span: Span
    is_hurt: bool = False  # some of it is lost


class Tally:
    """Of one subscription. One that hears nothing for a while finds its gaps again after that: they are counted already.

    Args:
        count: Told `topic_gaps` (`found`, then `filled`, or `lost` if not all of it came) and `topic_lost` and
            `topic_refused`, messages by reason.

    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._open: OrderedDict[Series, list[_Open]] = OrderedDict()
        self._gaps = 0  # in all series

    def take(self, event: Event) -> None:
        """Take what was told, in order."""
        if isinstance(event, Message):
            if self._open and not event.is_late:  # what was missing below came in its turn
                self._end(event.series, 0, event.index)
            return
        match event:
            case Gap(series, span):
                self._found(series, span)
            case Filled(series, span):
                self._end(series, span.start, span.to)
            case Lost(series, span, reason):
                self._count("topic_lost", reason.name.lower(), event.count)
                self._hurt(series, span)
                self._end(series, 0, span.to)
            case Refused(_, _, reason):
                self._count("topic_refused", reason.name.lower())
            case Begins(series):
                self._forget(series)
            case _:
                pass

    def _found(self, series: Series, span: Span) -> None:
        gaps = self._open.setdefault(series, [])
        if any(gap.span.start < span.to and span.start < gap.span.to for gap in gaps):
            return
        gaps.append(_Open(span))
        self._gaps += 1
        self._count("topic_gaps", "found")
        while self._gaps > WAITING_MESSAGES_MAX:
            self._forget(next(iter(self._open)))

    def _hurt(self, series: Series, span: Span) -> None:
        for gap in self._open.get(series, ()):
            gap.is_hurt = gap.is_hurt or (gap.span.start < span.to and span.start < gap.span.to)

    def _end(self, series: Series, start: int, to: int) -> None:
        """Whatever lies in this span is over."""
        gaps = self._open.get(series, [])
        over = [gap for gap in gaps if start <= gap.span.start and gap.span.to <= to]
        for gap in over:
            gaps.remove(gap)
            self._count("topic_gaps", "lost" if gap.is_hurt else "filled")
        self._gaps -= len(over)
        if not gaps:
            self._open.pop(series, None)

    def _forget(self, series: Series) -> None:
        self._gaps -= len(self._open.pop(series, ()))

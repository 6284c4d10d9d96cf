"""The messages of one series, put in order: what comes too early waits, what is missing is a gap until it is filled or lost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from yzdht.pubsub.claims import without, without_all
from yzdht.wire.holdings import Span


if TYPE_CHECKING:
    from yzdht.pubsub.events import LossReason


T = TypeVar("T")


class Skipped(NamedTuple):
    """A series goes on after messages that are lost."""

    span: Span
    reason: LossReason


@dataclass(slots=True)
class _Gap:
    """A gap as it was told, and what of it has neither come nor been lost."""

    span: Span
    missing: list[Span]


def _start(span: Span) -> int:
    return span.start


def _to(span: Span) -> int:
    return span.to


def _start_of(each: Skipped | _Gap) -> int:
    return each.span.start


def _to_of(each: Skipped | _Gap) -> int:
    return each.span.to


def _cut(spans: list[Span], taken: Span) -> None:
    """Take a span off others that are in order and do not touch; looks at few of them."""
    first = bisect_right(spans, taken.start, key=_to)
    last = bisect_left(spans, taken.to, lo=first, key=_start)
    spans[first:last] = without(spans[first:last], taken)


def _joined(skipped: list[Skipped]) -> list[Skipped]:
    """The same with one in the place of two that touch and have one reason."""
    joined: list[Skipped] = []
    for each in skipped:
        if joined and (joined[-1].span.to, joined[-1].reason) == (each.span.start, each.reason):
            joined[-1] = Skipped(Span(joined[-1].span.start, each.span.to), each.reason)
        else:
            joined.append(each)
    return joined


class Ordering(Generic[T]):
    """Of one series. What comes, is lost or goes on takes no longer with many gaps and losses than with few.

    Args:
        due: The index that goes on first.

    Attributes:
        due: The index that goes on next.

    """

    def __init__(self, due: int) -> None:
        self.due = due
        self._top = due  # one above the highest that came
        self._waiting: dict[int, T] = {}
        self._gaps: list[_Gap] = []  # in order, none of another
        self._lost: list[Skipped] = []  # the same, and not below due

    def __contains__(self, index: int) -> bool:
        return index in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """True if nothing waits and nothing is to be skipped."""
        return not self._waiting and not self._lost

    def put(self, index: int, item: T) -> tuple[Span | None, list[Span]]:
        """Something came that is not below `due` and not here yet.

        Returns:
            The gap that is known by it, if any, and gaps that are over with it, as they were told.

        """
        assert index >= self.due
        assert index not in self._waiting
        self._waiting[index] = item
        itself = Span(index, index + 1)
        first, last = self._lost_in(itself)
        self._lost[first:last] = [
            Skipped(left, reason)
            for span, reason in self._lost[first:last]
            for left in without([span], itself)
        ]
        found = Span(self._top, index) if index > self._top else None
        filled = self._shrink(itself)
        if found is not None:
            self._gaps.append(_Gap(found, [found]))
        self._top = max(self._top, index + 1)
        return found, filled

    def lose(self, span: Span, reason: LossReason) -> None:
        """What of a span is neither below `due` nor here is given up."""
        span = Span(max(span.start, self.due), span.to)
        if span.start >= span.to:
            return
        if span.to - span.start < len(self._waiting):
            here = [index for index in range(span.start, span.to) if index in self._waiting]
        else:
            here = [index for index in self._waiting if span.start <= index < span.to]
        first, last = self._lost_in(span)
        known = self._lost[first:last]
        pieces = without_all([span], [*(lost.span for lost in known), *(Span(i, i + 1) for i in here)])
        first, last = max(0, first - 1), last + 1  # those beside it as well: they may touch
        lost = [*self._lost[first:last], *(Skipped(piece, reason) for piece in pieces)]
        self._lost[first:last] = _joined(sorted(lost, key=_start_of))
        self._shrink(span)

    def _lost_in(self, span: Span) -> tuple[int, int]:
        """Which losses a span touches: from the first place to the one before the second."""
        first = bisect_right(self._lost, span.start, key=_to_of)
        return first, bisect_left(self._lost, span.to, lo=first, key=_start_of)

    def _shrink(self, span: Span) -> list[Span]:
        first = bisect_right(self._gaps, span.start, key=_to_of)
        last = bisect_left(self._gaps, span.to, lo=first, key=_start_of)
        touched = self._gaps[first:last]
        for gap in touched:
            _cut(gap.missing, span)
        self._gaps[first:last] = [gap for gap in touched if gap.missing]
        return [gap.span for gap in touched if not gap.missing]

    def skip(self) -> Skipped | None:
        """Go over what is due and lost, if it is."""
        if not self._lost or self._lost[0].span.start > self.due:
            return None
        lost = self._lost.pop(0)
        self._advance(lost.span.to)  # nothing waits in what is lost
        return lost

    def go_to(self, index: int) -> None:
        """Nothing below is waited for any more."""
        self._advance(index)
        self._lost[: bisect_right(self._lost, self.due, key=_to_of)] = []
        if self._lost and self._lost[0].span.start < self.due:
            span, reason = self._lost[0]
            self._lost[0] = Skipped(Span(self.due, span.to), reason)
        for waiting in [i for i in self._waiting if i < self.due]:
            del self._waiting[waiting]

    def _advance(self, index: int) -> None:
        self.due = max(self.due, index)
        self._top = max(self._top, self.due)
        self._shrink(Span(0, self.due))

    def get(self, index: int) -> T | None:
        """What waits at an index."""
        return self._waiting.get(index)

    def waiting(self) -> list[tuple[int, T]]:
        """What waits, with its index."""
        return list(self._waiting.items())

    def remove(self, index: int) -> T | None:
        """Have what waits at an index not come."""
        return self._waiting.pop(index, None)

    def peek(self) -> T | None:
        """What is due now, if it is here."""
        return self._waiting.get(self.due)

    def take(self) -> T | None:
        """What is due now, if it is here; it is not any more."""
        item = self._waiting.pop(self.due, None)
        if item is not None:
            self.due += 1
        return item

    @property
    def ahead(self) -> Span:
        """From what is due up to the highest that came or is lost."""
        return Span(self.due, max(self._top, self._lost[-1].span.to if self._lost else 0))

    @property
    def first_gap(self) -> Span | None:
        """What holds up the lowest that waits."""
        first = min(self._waiting, default=None)
        return Span(self.due, first) if first is not None and first > self.due else None

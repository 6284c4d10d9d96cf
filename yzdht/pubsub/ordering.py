"""The messages of one series, put in order: what comes too early waits, what is missing is a gap until it is filled or lost."""

from __future__ import annotations

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


class Ordering(Generic[T]):
    """Of one series.

    Args:
        due: The index that goes on first.

    Attributes:
        due: The index that goes on next.

    """

    def __init__(self, due: int) -> None:
        self.due = due
        self._top = due  # one above the highest that came
        self._waiting: dict[int, T] = {}
        self._gaps: list[_Gap] = []
        self._lost: list[Skipped] = []  # not below due, in no order

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
        self._lost = [
            Skipped(left, reason) for span, reason in self._lost for left in without([span], itself)
        ]
        found = Span(self._top, index) if index > self._top else None
        filled = self._shrink(itself)
        if found is not None:
            self._gaps.append(_Gap(found, [found]))
        self._top = max(self._top, index + 1)
        return found, filled

    def lose(self, span: Span, reason: LossReason) -> None:
        """What of a span is neither below `due` nor here is given up."""
        left = [Span(max(span.start, self.due), span.to)] if span.to > self.due else []
        here = (Span(i, i + 1) for i in self._waiting if span.start <= i < span.to)
        left = without_all(left, [*(lost.span for lost in self._lost), *here])
        self._lost.extend(Skipped(piece, reason) for piece in left)
        for piece in left:
            self._shrink(piece)

    def _shrink(self, span: Span) -> list[Span]:
        over: list[Span] = []
        for gap in self._gaps:
            gap.missing = without(gap.missing, span)
            if not gap.missing:
                over.append(gap.span)
        self._gaps = [gap for gap in self._gaps if gap.missing]
        return over

    def skip(self) -> Skipped | None:
        """Go over what is due and lost, if it is."""
        for lost in self._lost:
            if lost.span.start == self.due:
                self._lost.remove(lost)
                self.go_to(lost.span.to)
                return lost
        return None

    def go_to(self, index: int) -> None:
        """Nothing below is waited for any more."""
        self.due = max(self.due, index)
        self._top = max(self._top, self.due)
        below = Span(0, self.due)
        self._lost = [Skipped(left, why) for span, why in self._lost for left in without([span], below)]
        self._shrink(below)
        for waiting in [i for i in self._waiting if i < self.due]:
            del self._waiting[waiting]

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
        return Span(self.due, max([self._top, *(lost.span.to for lost in self._lost)]))

    @property
    def first_gap(self) -> Span | None:
        """What holds up the lowest that waits."""
        first = min(self._waiting, default=None)
        return Span(self.due, first) if first is not None and first > self.due else None

"""Which messages of a topic somebody has, by sender and session: what a summary says, and what one lacks of another's.

For each session of a sender: runs of indexes that are held, and a floor. What lies below the floor is over: a host dropped it for
want of room, a subscriber did not ask for it or gave it up. Nothing below it is missed, added or said to be held.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import CUT_ROWS_BELOW_MAX, HOLES_MAX, RUNS_PER_SESSION_MAX, SUMMARY_ROWS_MAX
from yzdht.wire.rpc import Range, SummaryRow


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from yzdht.ids import PublicKey, SendSession


class Series(NamedTuple):
    """The messages of one run of a sender's process: they have one count.

    Attributes:
        sender: Whose key signed them, 33 bytes.
        session: Which run, 8 bytes.

    """

    sender: PublicKey
    session: SendSession


class Span(NamedTuple):
    """Indexes from `start` up to `to`, which is not one of them.

    Attributes:
        start: The first.
        to: One above the last.

    """

    start: int
    to: int


class Held:
    """What is held of one series.

    Args:
        floor: Everything below is over.

    Attributes:
        floor: As above; it only rises.

    """

    __slots__ = ("_starts", "_tos", "floor")

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self._starts: list[int] = []
        self._tos: list[int] = []

    @classmethod
    def of_runs(cls, floor: int, runs: Sequence[Span]) -> Held:
        """What holds these: in order, above the floor, no two touching."""
        held = cls(floor)
        held._starts = [run.start for run in runs]
        held._tos = [run.to for run in runs]
        return held

    @classmethod
    def of(cls, floor: int, indexes: Iterable[int]) -> Held:
        """What is held of these indexes, which ascend from the floor on, of RUNS_PER_SESSION_MAX runs at most."""
        held = cls(floor)
        starts, tos, last = held._starts, held._tos, -1
        for index in indexes:
            if index == last:
                tos[-1] = last = index + 1
            else:
                starts.append(index)
                last = index + 1
                tos.append(last)
        return held

    def __contains__(self, index: int) -> bool:
        if not self._tos or index >= self._tos[-1]:  # almost always, where it is new
            return False
        at = bisect_right(self._starts, index) - 1
        return at >= 0 and index < self._tos[at]

    @property
    def next(self) -> int:
        """One above the highest index held; the floor if there is none."""
        return self._tos[-1] if self._tos else self.floor

    @property
    def runs(self) -> list[Span]:
        """What is held, in order; no two touch."""
        return list(map(Span, self._starts, self._tos))

    def runs_in(self, there: Span) -> list[Span]:
        """Those runs, whole, of which a part lies in a span."""
        first, end = bisect_right(self._tos, there.start), bisect_left(self._starts, there.to)
        return list(map(Span, self._starts[first:end], self._tos[first:end]))

    @property
    def is_empty(self) -> bool:
        """True if nothing is held."""
        return not self._starts

    def has_more_than(self, index: int) -> bool:
        """True if something of the series is held besides that one, or was."""
        is_alone = len(self._starts) == 1 and self._starts[0] == index and self._tos[0] == index + 1
        return self.floor > 0 or not (is_alone or self.is_empty)

    def gaps(self) -> list[Span]:
        """What is missing from the floor up to `next`, in order."""
        if len(self._starts) == 1 and self._starts[0] == self.floor:
            return []
        starts = [self.floor, *self._tos[:-1]]
        return [Span(a, b) for a, b in zip(starts, self._starts, strict=True) if a < b] if self._tos else []

    def add(self, index: int) -> bool:
        """Hold one more; False if it is held, or over.

        Of what has more than RUNS_PER_SESSION_MAX runs the lowest run is over, with the gap above it; it may be the one just
        added.
        """
        if self._tos and index == self._tos[-1]:  # almost always
            self._tos[-1] = index + 1
            return True
        if index < self.floor or index in self:
            return False
        at = bisect_left(self._starts, index)
        joins_left = at > 0 and self._tos[at - 1] == index
        joins_right = at < len(self._starts) and self._starts[at] == index + 1
        if joins_left and joins_right:
            self._tos[at - 1] = self._tos.pop(at)
            del self._starts[at]
        elif joins_left:
            self._tos[at - 1] = index + 1
        elif joins_right:
            self._starts[at] = index
        else:
            self._starts.insert(at, index)
            self._tos.insert(at, index + 1)
        self._bound()
        return True

    def discard(self, index: int) -> None:
        """Hold one less: it is missing again, unless nothing above it is held."""
        at = bisect_right(self._starts, index) - 1
        if at < 0 or index >= self._tos[at]:
            return
        start, to = self._starts[at], self._tos[at]
        parts = [Span(a, b) for a, b in ((start, index), (index + 1, to)) if a < b]
        self._starts[at : at + 1] = [part.start for part in parts]
        self._tos[at : at + 1] = [part.to for part in parts]
        self._bound()

    def raise_floor(self, floor: int) -> None:
        """Everything below is over from now on; nothing happens if it was."""
        if floor <= self.floor:
            return
        self.floor = floor
        at = bisect_right(self._tos, floor)
        del self._starts[:at], self._tos[:at]
        if self._starts:
            self._starts[0] = max(self._starts[0], floor)

    def _bound(self) -> None:
        if len(self._starts) > RUNS_PER_SESSION_MAX:  # by one at most
            self.raise_floor(self._starts[1])


class Holdings:
    """What is held of one topic, series by series; the one that changed last is the newest."""

    def __init__(self) -> None:
        self._series: dict[Series, Held] = {}

    def __contains__(self, key: Series) -> bool:
        return key in self._series

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Series]:
        """The series, the newest last."""
        return iter(self._series)

    def of(self, key: Series) -> Held:
        """What is held of one series; nothing of an unknown one, which stays unknown."""
        return self._series.get(key) or Held()

    def open(self, key: Series, floor: int = 0) -> Held:
        """The series, made with this floor if it was unknown; it is the newest now."""
        held = self._series.pop(key, None) or Held(floor)
        self._series[key] = held
        return held

    def put(self, key: Series, held: Held) -> None:
        """Hold this of a series from now on; it is the newest now."""
        self._series.pop(key, None)
        self._series[key] = held

    def add(self, key: Series, index: int) -> bool:
        """Hold one more message; False if it is held, or over."""
        held = self._series.get(key) or Held()
        if not held.add(index):
            return False
        self._series.pop(key, None)
        self._series[key] = held
        return True

    def forget(self, key: Series) -> None:
        """Drop a series."""
        self._series.pop(key, None)

    def row(self, key: Series) -> SummaryRow:
        """What a summary says of one series."""
        return _row(key, self.of(key))

    def rows(self, skip: int = 0) -> tuple[SummaryRow, ...]:
        """A summary: SUMMARY_ROWS_MAX at most, after so many that are left out.

        The newest come first, but for those of which nothing is held: there may be many of senders that were thrown away, and who
        reads a few pages is to learn of all that is held.
        """
        newest = list(reversed(self._series))
        newest.sort(key=lambda key: self._series[key].is_empty)
        return tuple(_row(key, self._series[key]) for key in newest[skip : skip + SUMMARY_ROWS_MAX])

    def missing(self, rows: Iterable[SummaryRow]) -> list[Range]:
        """What somebody's summary says they hold and this does not; of one series in order, and by its first row alone."""
        first_rows: dict[Series, SummaryRow] = {}
        for row in rows:
            first_rows.setdefault(Series(row.sender, row.session), row)
        return [
            Range(row.sender, row.session, span.start, span.to)
            for row in first_rows.values()
            for span in self._missing_of(row)
        ]

    def _missing_of(self, row: SummaryRow) -> Iterator[Span]:
        held = self.of(Series(row.sender, row.session))
        return (span for there in claimed(row) for span in lacking(held, there))


def usual_next(ends: Collection[int]) -> int:
    """Where half of the hosts are at least, by the `next` of each: one that names a number far ahead must not silence a sender."""
    return sorted(ends)[(len(ends) - 1) // 2] if ends else 0


def claimed(row: SummaryRow) -> list[Span]:
    """What a row says is held, in order; what makes no sense in it counts for nothing."""
    inner = sorted({hole for hole in row.holes if row.first <= hole < row.next})
    starts = [row.first, *(hole + 1 for hole in inner)]
    return [Span(a, b) for a, b in zip(starts, [*inner, row.next], strict=True) if a < b]


def widened(row: SummaryRow) -> SummaryRow:
    """As if all below had been told, too, if a row may be the upper part of a series alone; asking shows what of that is held."""
    if len(row.holes) < HOLES_MAX:
        return row
    first = max(0, row.first - CUT_ROWS_BELOW_MAX)
    return SummaryRow(row.sender, row.session, first, row.next, row.holes)


def lacking(held: Held, there: Span) -> list[Span]:
    """The part of a span that is neither held nor over."""
    at = max(there.start, held.floor)
    found = []
    for run in held.runs_in(Span(at, there.to)):
        if at < run.start:
            found.append(Span(at, run.start))
        at = max(at, run.to)
    if at < there.to:
        found.append(Span(at, there.to))
    return found


def _row(key: Series, held: Held) -> SummaryRow:
    """With HOLES_MAX holes; of a series with more, its upper part alone, since a row says that all else is held."""
    first = held.floor
    holes: list[int] = []
    for gap in reversed(held.gaps()):
        room = HOLES_MAX - len(holes)
        holes.extend(range(gap.to - 1, max(gap.start, gap.to - room) - 1, -1))
        if gap.to - gap.start > room:
            first = (
                gap.to - room
            )  # in the midst of holes; what is held below is told of once some of them are filled
            break
    return SummaryRow(key.sender, key.session, first, held.next, tuple(reversed(holes)))

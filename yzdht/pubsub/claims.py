"""What one source says it holds of a topic and this process lacks, and what it said and did not keep.

Series of which something is here have every other place, and half of what is asked for, and are forgotten last: who makes up a sender for each message has thousands
of series named, behind which those of everybody else would wait until no host has them any more.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from yzdht.limits import (
    HISTORY_MESSAGES_MAX,
    PULL_BROKEN_MAX,
    PULL_BROKEN_S,
    PULL_GRACES_MAX,
    PULL_KNOWN_MAX,
    PULL_SERIES_MAX,
    PULL_SERIES_WEIGHED,
    PULL_SPANS_MAX,
)
from yzdht.wire.holdings import Series, Span, claimed, lacking


if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from yzdht.wire.holdings import Held
    from yzdht.wire.rpc import SummaryRow


@dataclass(slots=True)
class _Grace:
    """Of one series: what may still come by itself.

    Attributes:
        ripe: What lies below may be asked for now.
        later: What lies below each of these indexes may be asked for from that time on; both ascend.

    """

    ripe: int
    later: list[tuple[int, float]] = field(default_factory=list)


class Claims:
    """Of one source; holds only what is of use, so that a source whose messages are all here costs nothing.

    Args:
        held: What this process has of a series.
        hosts: For so many hosts the source may speak.

    """

    def __init__(self, held: Callable[[Series], Held], hosts: int = 1) -> None:
        self._held = held
        self._series_max, self._spans_max = hosts * PULL_SERIES_MAX, hosts * PULL_SPANS_MAX
        self._spans: OrderedDict[Series, list[Span]] = OrderedDict()
        self._broken: OrderedDict[tuple[Series, Span], float] = OrderedDict()
        # Of those in _spans: of which something is here, and of which something was not sent, the last one last.
        self._known: OrderedDict[Series, None] = OrderedDict()
        self._doubtful: dict[Series, None] = {}
        self._count = 0  # of spans
        self._graces: dict[Series, _Grace] = {}  # of some of those in _spans
        self._ripe_at: float | None = None  # not after the first of them

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Series]:
        """Every other one is one of which something is here; last come those of which something was not sent, and nothing since."""
        known, doubtful = self._known, self._doubtful
        here = [series for series in known if series not in doubtful]
        others = [series for series in self._spans if series not in known and series not in doubtful]
        both = zip(here, others, strict=False)
        rest = max(here, others, key=len)[min(len(here), len(others)) :]
        return iter([*chain.from_iterable(both), *rest, *doubtful])

    def doubts(self, series: Series) -> bool:
        """True if it did not send something of a series that it said it has, and nothing since."""
        return series in self._doubtful

    def knows(self, series: Series) -> bool:
        """True if something of a series is here, as far as that is remembered."""
        return series in self._known

    def hear(self, row: SummaryRow, mono: float, ask_at: float | None = None) -> bool:
        """Believe a row in place of the one before of that series; True if it names something of use.

        Args:
            row: What is said.
            mono: The present.
            ask_at: When what is new in it is asked for, unless it has come by then; None for at once.

        """
        series = Series(row.sender, row.session)
        self._wait(series, row.next, ask_at)
        said = claimed(row)
        for (other, span), until in self._broken.items():
            if other == series and until > mono:
                said = without(said, span)
        self._put(series, None)
        self._put(series, said)
        is_of_use = bool(self.of(series))
        while len(self._spans) > self._series_max:
            self._forget(min(islice(self._unknown(), PULL_SERIES_WEIGHED), key=self._worth))
        while self._count > self._spans_max:
            self._forget(next(self._unknown(), None) or next(iter(self._spans)))
        return is_of_use

    def _worth(self, series: Series) -> int:
        """How many messages are claimed of it; no more than a history has."""
        return min(_size(self._spans[series]), HISTORY_MESSAGES_MAX)

    def _put(self, series: Series, said: list[Span] | None) -> None:
        """It has this of a series, which stays where it is among them, or nothing."""
        self._count += len(said or ()) - len(self._spans.get(series, ()))
        if said is None:
            self._spans.pop(series, None)
            self._known.pop(series, None)
        else:
            self._spans[series] = said

    def _unknown(self) -> Iterator[Series]:
        """Those heard of first go first; no more than PULL_KNOWN_MAX are passed over."""
        return (series for series in self._spans if series not in self._known)

    def _know(self, series: Series) -> None:
        self._known[series] = None
        if len(self._known) > PULL_KNOWN_MAX:
            self._known.popitem(last=False)

    def _forget(self, series: Series) -> None:
        self._put(series, None)
        self._graces.pop(series, None)
        self._doubtful.pop(series, None)

    def _wait(self, series: Series, to: int, ask_at: float | None) -> None:
        if ask_at is None:
            self._graces.pop(series, None)
            return
        grace = self._graces.get(series)
        if grace is None:
            asked_for = self.of(series)  # what could be asked for already can be still
            grace = self._graces[series] = _Grace(asked_for[-1].to if asked_for else 0)
        known = grace.later[-1][0] if grace.later else grace.ripe
        if to <= known:
            return
        if len(grace.later) == PULL_GRACES_MAX:
            grace.later[-1] = to, grace.later[-1][1]
        else:
            grace.later.append((to, ask_at))
            self._ripe_at = ask_at if self._ripe_at is None else min(ask_at, self._ripe_at)

    # What may still come by itself

    def next_ripe(self) -> float | None:
        """When `ripen` is wanted."""
        return self._ripe_at if self._graces else None

    def ripen(self, mono: float) -> None:
        """Time has passed: some has waited long enough."""
        if self._ripe_at is None or mono < self._ripe_at:
            return
        for grace in self._graces.values():
            while grace.later and grace.later[0][1] <= mono:
                grace.ripe = grace.later.pop(0)[0]
        waiting = (grace.later[0][1] for grace in self._graces.values() if grace.later)
        self._ripe_at = min(waiting, default=None)

    def hurry(self) -> None:
        """Nothing comes by itself any more."""
        self._graces.clear()
        self._ripe_at = None

    def waits(self, series: Series) -> bool:
        """True if something of a series is not asked for yet since it may come."""
        grace = self._graces.get(series)
        return grace is not None and bool(grace.later)

    # What it has

    def due(self, series: Series) -> list[Span]:
        """As `of`, but for what may still come by itself. What a later message has overtaken does not."""
        useful = self.of(series)
        grace = self._graces.get(series)
        if grace is None:
            return useful
        below = max(grace.ripe, self._held(series).next)
        return [Span(start, min(to, below)) for start, to in useful if start < below]

    def of(self, series: Series) -> list[Span]:
        """What it has of a series that is missing here, in order."""
        said = self._spans.get(series)
        if said is None:
            return []
        held = self._held(series)
        if held.is_empty and not held.floor:
            useful = said  # an unknown series; there may be many
            self._known.pop(series, None)
        else:
            useful = [span for there in said for span in lacking(held, there)]
            if useful:
                self._know(series)
        if useful:
            self._put(series, useful)
        else:
            self._forget(series)
        return useful

    def take_off(self, series: Series, index: int) -> None:
        """It sent this one."""
        said = self._spans.get(series)
        self._doubtful.pop(series, None)
        if said is not None:
            self._put(series, without(said, Span(index, index + 1)))

    def break_off(self, series: Series, index: int, mono: float) -> None:
        """It did not send what it said it has: for PULL_BROKEN_S it is not believed to have that."""
        self.take_off(series, index)
        self.doubt(series)
        until = mono + PULL_BROKEN_S
        last = next(reversed(self._broken), None)
        if last is not None and last[0] == series and last[1].to == index:
            del self._broken[last]
            self._broken[series, Span(last[1].start, index + 1)] = until
        else:
            self._broken[series, Span(index, index + 1)] = until
        while len(self._broken) > PULL_BROKEN_MAX:
            self._broken.popitem(last=False)

    def doubt(self, series: Series) -> None:
        """It did not send something of a series, and may yet: others go before."""
        if series in self._spans:
            self._doubtful[series] = None

    def clear(self) -> None:
        """It says nothing any more."""
        self._spans.clear()
        self._known.clear()
        self._doubtful.clear()
        self._count = 0
        self._graces.clear()


def shared(
    wants: dict[Series, list[Span]],
    less: dict[Series, list[Span]],
    room: int,
    known: Container[Series] = (),
) -> dict[Series, list[Span]]:
    """A room for so many messages, in the order in which they are named.

    Those of `less` have a quarter, and what is left over; of the rest those that are `known` have half, the others the other half, and
    each of the two what the other leaves over. Each series has a like part of what there is for its kind.
    """
    to_share = room - min(room // 4, _count(less))
    here = {series: spans for series, spans in wants.items() if series in known}
    new = {series: spans for series, spans in wants.items() if series not in here}
    found = _parts(here, max(to_share // 2, to_share - _count(new)))
    found |= _parts(new, to_share - _count(found))
    ordered = {series: found[series] for series in wants if series in found}
    return ordered | _parts(less, room - _count(ordered))


def _count(wants: dict[Series, list[Span]]) -> int:
    return sum(map(_size, wants.values()))


def _parts(wants: dict[Series, list[Span]], room: int) -> dict[Series, list[Span]]:
    """Of each series as many as of the others, and more of those named first where others have less."""
    sizes = {series: _size(spans) for series, spans in wants.items()}
    part = max(1, room // max(1, len(wants)))
    counts: dict[Series, int] = {}
    for series, size in sizes.items():
        counts[series] = min(part, size, room)
        room -= counts[series]
    for series, size in sizes.items():
        more = min(room, size - counts[series])
        counts[series] += more
        room -= more
    return {series: _first(spans, counts[series]) for series, spans in wants.items() if counts[series]}


def _size(spans: Iterable[Span]) -> int:
    return sum(to - start for start, to in spans)


def _first(spans: Iterable[Span], count: int) -> list[Span]:
    found: list[Span] = []
    for start, to in spans:
        if count <= 0:
            break
        found.append(Span(start, min(to, start + count)))
        count -= to - start
    return found


def joined(spans: Iterable[Span]) -> list[Span]:
    """All that lies in some of these, which come in any order: in order, no two touching, none empty."""
    found: list[Span] = []
    for start, to in sorted(spans):
        if start >= to:
            continue
        if found and start <= found[-1].to:
            found[-1] = Span(found[-1].start, max(found[-1].to, to))
        else:
            found.append(Span(start, to))
    return found


def without(spans: Iterable[Span], taken: Span) -> list[Span]:
    """Some spans, in order, less another."""
    parts = (
        part
        for span in spans
        for part in (Span(span.start, min(span.to, taken.start)), Span(max(span.start, taken.to), span.to))
    )
    return [part for part in parts if part.start < part.to]


def without_all(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Some spans, in order, less others in any order; in one pass, since both may be many."""
    parts: list[Span] = []
    away = sorted(taken)
    first = 0
    for start, to in spans:
        while first < len(away) and away[first].to <= start:
            first += 1
        at = start
        for gone in islice(away, first, None):
            if gone.start >= to:
                break
            if at < gone.start:
                parts.append(Span(at, gone.start))
            at = max(at, gone.to)
        if at < to:
            parts.append(Span(at, to))
    return parts

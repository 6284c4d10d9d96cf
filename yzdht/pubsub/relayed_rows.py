"""What the hosts of a topic say they hold, as a node tells it to its clients: one row a series for all of them (section 11).

What each host said is kept apart: what one has dropped, or is not asked any more, or never had though it said so, ends with its own row.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from yzdht.ids import NodeId
from yzdht.limits import EDGE_ORDER_S, EDGE_ROWS_MAX, FEED_HOSTS_MAX, HISTORY_MESSAGES_MAX, HOLES_MAX
from yzdht.pubsub.claims import joined
from yzdht.wire.holdings import Held, Holdings, Series, Span, claimed, usual_next
from yzdht.wire.rpc import SummaryRow


if TYPE_CHECKING:
    from collections.abc import Collection

    from yzdht.wire.pubsub import PubsubEnvelope


_ROOM_PART = 8
_PUSHED = NodeId(b"")
"""In place of a host: what came by, so that some host has it."""


class Beginning(NamedTuple):
    """What who begins to listen is told.

    Attributes:
        rows: Each up to an index that half of the hosts are at, or that came by: a listener may take it for where the series is, and one
            host that names a number far ahead must not silence a sender.
        further: Those of which a host says more, with all of it: to be told after that.

    """

    rows: tuple[SummaryRow, ...]
    further: tuple[SummaryRow, ...]


class RelayedRows:
    """Of one topic.

    Attributes:
        has_dropped: True if a host said once that it has dropped something.

    """

    def __init__(self) -> None:
        self._series: OrderedDict[Series, dict[NodeId, SummaryRow]] = OrderedDict()
        self._worth: dict[Series, tuple[int, int]] = {}
        self._count = 0
        self.has_dropped = False
        self._order: dict[Series, None] = {}  # in which they are told
        self._ordered_at = -inf
        self._is_order_old = True

    def __len__(self) -> int:
        return len(self._series)

    @property
    def messages(self) -> int:
        """About how many are said to be held."""
        return self._count

    def hear(self, host: NodeId, row: SummaryRow) -> bool:
        """Take note of what a host says it holds; True if that is more than any said before."""
        series = Series(row.sender, row.session)
        rows = self._series.setdefault(series, {})
        top = max((known.next for known in rows.values()), default=0)
        at_top = {node_id: len(known.holes) for node_id, known in rows.items() if known.next == top}
        if len(at_top) > 1:
            at_top.pop(_PUSHED, None)  # who says so itself knows better
        holes = min(at_top.values(), default=0)
        is_more = row.next > top or (row.next == top and len(row.holes) < holes)
        self._order.setdefault(series)
        self._is_order_old = self._is_order_old or rows.get(host) != row
        rows.pop(host, None)
        rows[host] = row
        if len(rows) > FEED_HOSTS_MAX + 1:
            del rows[next(iter(rows))]
        self.has_dropped = self.has_dropped or (host != _PUSHED and row.first > 0)
        self._count -= self._worth.get(series, (0, 0))[1]
        self._worth[series] = _worth(rows)
        self._count += self._worth[series][1]
        if is_more:
            self._series.move_to_end(series)
        if len(self._series) > EDGE_ROWS_MAX:
            self.make_room()
        return is_more

    def make_room(self) -> int:
        """Forget an eighth, and how many that is: those of which the fewest hosts have anything, and of these the fewest messages.

        What an honest sender said, most hosts have; whoever throws senders away has many that said little.
        """
        richest = self._by_worth()
        poorest = richest[len(richest) - -(-len(richest) // _ROOM_PART) :]
        for series in poorest:
            self._count -= self._worth[series][1]
            del self._series[series], self._worth[series]
            self._order.pop(series, None)
        return len(poorest)

    def _by_worth(self) -> list[Series]:
        """Those of which most hosts have something first, of these those with most messages, of these the newest."""
        richest = list(reversed(self._series))
        richest.sort(key=self._worth.__getitem__, reverse=True)
        return richest

    def came(self, envelope: PubsubEnvelope) -> None:
        """A message came by."""
        sender, session, index = envelope.sender, envelope.session, envelope.index
        rows = self._series.get(Series(sender, session), {})
        known = rows.get(_PUSHED) or SummaryRow(sender, session, index, index)
        if index < known.next:
            return
        holes = (*known.holes, *range(known.next, index)) if index - known.next <= HOLES_MAX else None
        if holes is None or len(holes) > HOLES_MAX:
            self.hear(_PUSHED, SummaryRow(sender, session, index, index + 1))
        else:
            self.hear(_PUSHED, SummaryRow(sender, session, known.first, index + 1, holes))

    def row(self, series: Series, hosts: Collection[NodeId], found: Collection[NodeId]) -> SummaryRow | None:
        """What one of these hosts has of a series, or did when it said something; None if nothing was said."""
        rows = self._series.get(series)
        return None if rows is None else _merged(series, rows, hosts, found)

    def richest(
        self, hosts: Collection[NodeId], found: Collection[NodeId], skip: int, count: int, mono: float
    ) -> Beginning:
        """A summary for who begins to listen, after so many that are left out.

        Args:
            hosts: Those that are listened to now.
            found: Of these the ones by which it is judged where a series is.
            skip: So many series are left out.
            count: So many are told at most.
            mono: The present.

        What most hosts have most of comes first, and what is new last until EDGE_ORDER_S are over: in the order of time
        a series changes its place between one page and the next, while hosts tell of thousands of senders that were thrown
        away, and is told in neither. Only what makes place for others can still move the rest, and that is the poorest, and last.
        """
        if skip >= len(self._series):
            return Beginning((), ())
        if skip == 0 and self._is_order_old and mono >= self._ordered_at + EDGE_ORDER_S:
            self._order = dict.fromkeys(self._by_worth())
            self._ordered_at, self._is_order_old = mono, False
        names = list(islice(self._order, skip, skip + count))
        known = [
            (_merged(series, rows, hosts, found), rows)
            for series in names
            for rows in (self._series[series],)
        ]
        agreed = [_cut(row, _agreed(rows, found)) for row, rows in known]
        further = [row for (row, _), cut in zip(known, agreed, strict=True) if row is not cut]
        return Beginning(tuple(agreed), tuple(further))


def _worth(rows: dict[NodeId, SummaryRow]) -> tuple[int, int]:
    """How many hosts have something of a series, and about how many messages; what one claims counts as a history at most."""
    having = [row for row in rows.values() if row.next - row.first > len(row.holes)]
    if not having:
        return 0, 0
    first, to = min(row.first for row in having), max(row.next for row in having)
    return len(having), min(to - first - min(len(row.holes) for row in having), HISTORY_MESSAGES_MAX)


def _merged(
    series: Series, rows: dict[NodeId, SummaryRow], hosts: Collection[NodeId], found: Collection[NodeId]
) -> SummaryRow:
    """What they say together; where holes are too many, less of what lies above where half of the hosts are.

    One that claims what lies far above would hide all that the others have.
    """
    said = [row for host, row in rows.items() if host in hosts]
    pushed = rows.get(_PUSHED)
    if said and pushed is not None:
        told = [*said, _above(pushed, min(row.next for row in said)) if len(said) == len(hosts) else pushed]
    else:
        told = said or list(rows.values())
    floor = min(row.first for row in said or told)
    held = Holdings()
    spans = (span for row in told for span in claimed(row))
    above = (Span(max(start, floor), to) for start, to in spans)
    runs = joined(above)
    held.put(series, Held.of_runs(floor, runs))
    row = held.row(series)
    if row.first == floor:
        return row
    agreed = _agreed(rows, found)
    if floor < agreed <= row.holes[-1]:
        held.put(series, Held.of_runs(floor, joined(Span(start, min(to, agreed)) for start, to in runs)))
        return held.row(series)
    are_others = not set(hosts) <= set(found) and any(host in rows for host in found)
    return _merged(series, rows, found, found) if agreed <= floor and are_others else row


def _above(pushed: SummaryRow, known: int) -> SummaryRow:
    """What came by above where all hosts were: below, they said themselves what they have, and dropped."""
    first = max(pushed.first, min(known, pushed.next))
    holes = tuple(hole for hole in pushed.holes if hole >= first)
    return SummaryRow(pushed.sender, pushed.session, first, pushed.next, holes)


def _agreed(rows: dict[NodeId, SummaryRow], found: Collection[NodeId]) -> int:
    """Where half of the hosts that were found are at least, or more if a message came by.

    While there is none what those said counts who were hosts before.
    """
    if found:
        said = [rows[host].next if host in rows else 0 for host in found]
    else:
        said = [row.next for host, row in rows.items() if host != _PUSHED]
    pushed = rows.get(_PUSHED)
    return max(usual_next(said), 0 if pushed is None else pushed.next)


def _cut(row: SummaryRow, to: int) -> SummaryRow:
    """The same row if it names nothing from that index on."""
    if row.next <= to:
        return row
    holes = tuple(hole for hole in row.holes if hole < to)
    return SummaryRow(row.sender, row.session, min(row.first, to), to, holes)

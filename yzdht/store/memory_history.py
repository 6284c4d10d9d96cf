"""The history of one topic in memory, with what its writer does to it; every change can be taken back.

All state is in mappings whose values do not change, so that one function records how to undo. To find who pays looks at
each bringer and at each sender of one of them, at most as many as the history has messages.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from yzdht.limits import RUNS_PER_SESSION_MAX
from yzdht.store.history_policy import Part, Victim
from yzdht.wire.history import account_of
from yzdht.wire.holdings import Held, Holdings, Series


if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from yzdht.ids import MessageId, PublicKey
    from yzdht.store.history_policy import Measure
    from yzdht.wire.history import Bringer, TopicWrite


_K = TypeVar("_K")
_V = TypeVar("_V")

NOTHING = Part(0, 0)
_SLACK = 64


class Undo:
    """How to take back what was changed since the last `forget`."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []

    def put(self, mapping: MutableMapping[_K, _V], key: _K, value: _V | None) -> None:
        """Set an entry of a mapping, or remove it."""
        before = mapping.get(key)
        self._steps.append(lambda: _put(mapping, key, before))
        _put(mapping, key, value)

    def add(self, step: Callable[[], None]) -> None:
        """Remember how to take back something else."""
        self._steps.append(step)

    def run(self) -> None:
        """Take everything back."""
        while self._steps:
            self._steps.pop()()

    def forget(self) -> None:
        """It stays as it is."""
        self._steps.clear()


def _put(mapping: MutableMapping[_K, _V], key: _K, value: _V | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


class Message(NamedTuple):
    """One message: `number` counts all that were ever put in, the rest is that of its TopicWrite."""

    number: int
    id: MessageId
    envelope: bytes
    received: int
    bringer: Bringer


class Line(NamedTuple):
    """One series.

    Attributes:
        number: Counts all series that ever began.
        floor: Everything below is over.
        changed: The number of the message that it got last.
        received: Unix seconds at which the last came.
        indexes: What is held, ascending; this list alone is changed in place.

    """

    number: int
    floor: int
    changed: int
    received: int
    indexes: list[int]


class _Share(NamedTuple):
    part: Part
    since: int


class MemoryHistory:
    """A `history_policy.Shelf`.

    Args:
        opened_by: Who brought the first message.
        undo: Where every change is recorded.

    Attributes:
        opened_by: As above.
        lines: The series.
        messages: By series and index.
        new: The series of the message that was put in last.

    """

    def __init__(self, opened_by: Bringer, undo: Undo) -> None:
        self.opened_by = opened_by
        self.lines: dict[Series, Line] = {}
        self.messages: dict[tuple[Series, int], Message] = {}
        self.new: Series | None = None
        self._undo = undo
        self._whole = {b"": NOTHING}
        self._bringers: dict[Bringer, _Share] = {}
        self._senders: dict[Bringer, dict[PublicKey, _Share]] = {}
        self._low: dict[tuple[Bringer, PublicKey], tuple[int, ...]] = {}  # series by number
        self._named: dict[int, Series] = {}
        self._ended: list[tuple[int, Series]] = []  # a heap by `changed`; entries may be out of date

    @property
    def whole(self) -> Part:
        """What it takes."""
        return self._whole[b""]

    def part_of(self, bringer: Bringer) -> Part:
        """What a bringer takes of it."""
        share = self._bringers.get(account_of(bringer))
        return share.part if share else NOTHING

    def holdings(self) -> Holdings:
        """What is held."""
        holdings = Holdings()
        for series, line in sorted(self.lines.items(), key=lambda item: item[1].changed):
            holdings.put(series, Held.of(line.floor, line.indexes))
        return holdings

    # Changes

    def put_in(self, write: TopicWrite, number: int, series_number: int) -> None:
        """Hold one more message; its series begins with it if it is new."""
        series = self.new = write.series
        line = self.lines.get(series) or Line(series_number, 0, 0, 0, [])
        if not line.changed:
            self._undo.put(self._named, line.number, series)
        elif not line.indexes:
            self._undo.add(partial(self._has_ended, series))
        message = Message(number, write.id, write.envelope, write.received, write.bringer)
        self._undo.put(self.messages, (series, write.index), message)
        self._change(series, line, lambda: self._insert(line.indexes, write.index))
        received = max(line.received, write.received)
        self._undo.put(self.lines, series, line._replace(changed=number, received=received))
        self._count(series, message, 1)

    def _insert(self, indexes: list[int], index: int) -> None:
        insort(indexes, index)
        self._undo.add(lambda: indexes.remove(index))

    def drop(self, victim: Victim) -> None:
        """Drop the lowest message of a series and raise its floor above it."""
        self.take_out(victim.series, victim.at)
        self.raise_floor(victim.series, victim.at + 1)

    def take_out(self, series: Series, index: int) -> Message:
        """Drop a message; its series stays, and so does the floor."""
        line, message = self.lines[series], self.messages[series, index]
        self._change(series, line, lambda: self._remove(line.indexes, index))
        self._undo.put(self.messages, (series, index), None)
        self._count(series, message, -1)
        if not line.indexes:
            self._has_ended(series)
        return message

    def _remove(self, indexes: list[int], index: int) -> None:
        indexes.remove(index)
        self._undo.add(lambda: insort(indexes, index))

    def raise_floor(self, series: Series, floor: int) -> None:
        """Everything below is over; nothing below is held."""
        line = self.lines[series]
        self._undo.put(self.lines, series, line._replace(floor=max(line.floor, floor)))

    def forget(self, series: Series) -> None:
        """Drop a series of which nothing is held, and its floor."""
        self._undo.put(self._named, self.lines[series].number, None)
        self._undo.put(self.lines, series, None)

    def forget_first_ended(self) -> None:
        """Drop the floor of the series, of those without messages, that got its last message first."""
        while self._ended:
            changed, series = heapq.heappop(self._ended)
            line = self.lines.get(series)
            if line is not None and line.changed == changed and not line.indexes:
                self._undo.add(partial(self._has_ended, series))
                self.forget(series)
                return
        raise AssertionError("there are more series than messages")

    def _has_ended(self, series: Series) -> None:
        heapq.heappush(self._ended, (self.lines[series].changed, series))
        if len(self._ended) > 2 * len(self.lines) + _SLACK:
            self._ended = [(line.changed, each) for each, line in self.lines.items() if not line.indexes]
            heapq.heapify(self._ended)

    def _change(self, series: Series, line: Line, change: Callable[[], None]) -> None:
        """Change which messages a series has, and remember who brought its lowest."""
        before = self._low_bringer(series, line)
        change()
        after = self._low_bringer(series, line)
        if before == after:
            return
        if before is not None:
            key = (before, series.sender)
            left = tuple(number for number in self._low[key] if number != line.number)
            self._undo.put(self._low, key, left or None)
        if after is not None:
            key = (after, series.sender)
            self._undo.put(self._low, key, tuple(sorted((*self._low.get(key, ()), line.number))))

    def _low_bringer(self, series: Series, line: Line) -> Bringer | None:
        return account_of(self.messages[series, line.indexes[0]].bringer) if line.indexes else None

    def _count(self, series: Series, message: Message, sign: int) -> None:
        size, bringer = sign * len(message.envelope), account_of(message.bringer)
        self._undo.put(self._whole, b"", _more(self.whole, sign, size))
        if bringer not in self._senders:
            self._undo.put(self._senders, bringer, {})
        senders = self._senders[bringer]
        self._count_share(senders, series.sender, message, sign)
        self._count_share(self._bringers, bringer, message, sign)
        if not senders:
            self._undo.put(self._senders, bringer, None)

    def _count_share(self, shares: dict[_K, _Share], key: _K, message: Message, sign: int) -> None:
        share = shares.get(key) or _Share(NOTHING, message.number)
        part = _more(share.part, sign, sign * len(message.envelope))
        self._undo.put(shares, key, _Share(part, share.since) if part.messages else None)

    # Shelf

    def greediest(self, measure: Measure) -> Bringer:
        """Who brought most of it; of equals who came first."""
        return max(self._bringers, key=lambda bringer: _rank(self._bringers[bringer], measure))

    def own_lowest(self, bringer: Bringer, measure: Measure) -> Victim | None:
        """What a bringer loses of the series whose lowest message it brought; None if there are none."""
        senders = self._senders[bringer]
        ranks = [
            (_rank(share, measure), sender)
            for sender, share in senders.items()
            if (bringer, sender) in self._low
        ]
        return self._lowest(self._named[self._low[bringer, max(ranks)[1]][0]]) if ranks else None

    def lowest_of_greatest(self, bringer: Bringer, measure: Measure) -> Victim:
        """The lowest message of the sender of which a bringer brought most."""
        senders = self._senders[bringer]
        greatest = max(senders, key=lambda sender: _rank(senders[sender], measure))
        held = ((line.number, series) for series, line in self.lines.items() if line.indexes)
        return self._lowest(min((number, series) for number, series in held if series.sender == greatest)[1])

    def lowest_of_its_series(self) -> Victim:
        """The lowest message of the series that the new one is in."""
        assert self.new is not None
        return self._lowest(self.new)

    def _lowest(self, series: Series) -> Victim:
        line = self.lines[series]
        index = line.indexes[0]
        message = self.messages[series, index]
        return Victim(line.number, series, index, len(message.envelope), message.bringer)

    # Reads

    def within(self, series: Series, start: int, to: int) -> list[int]:
        """The indexes held of a range."""
        line = self.lines.get(series)
        if line is None:
            return []
        return line.indexes[bisect_left(line.indexes, start) : bisect_left(line.indexes, to)]

    def runs_too_many(self, series: Series) -> list[int]:
        """What is held of the lowest run of a series that has more than RUNS_PER_SESSION_MAX of them; else nothing."""
        indexes = self.lines[series].indexes
        if indexes[-1] - indexes[0] + 1 - len(indexes) < RUNS_PER_SESSION_MAX:
            return []
        starts = [at for at in range(1, len(indexes)) if indexes[at] != indexes[at - 1] + 1]
        return indexes[: starts[0]] if len(starts) + 1 > RUNS_PER_SESSION_MAX else []


def _more(part: Part, count: int, size: int) -> Part:
    return Part(part.messages + count, part.bytes + size)


def _rank(share: _Share, measure: Measure) -> tuple[int, int]:
    """Most is greatest; of equals who came first."""
    return share.part.of(measure), -share.since

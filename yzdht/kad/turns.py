"""What a holder remembers of a record between two laps: who looked after it, who had no room, that it is out of range.

All memories are bounded; what does not fit costs a request more or a day's delay, never a record.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    REPLICATION_NO_ROOM_MAX,
    REPLICATION_NO_ROOM_S,
    REPUBLISH_NOTICED_AGAIN_S,
    REPUBLISH_NOTICES_KEPT_S,
    REPUBLISH_NOTICES_MAX,
    REPUBLISH_SKIPS_MAX,
    REPUBLISH_STRAY_LAPS,
    REPUBLISH_STRAY_TRIES,
    REPUBLISH_STRAYS_MAX,
)


if TYPE_CHECKING:
    from yzdht.ids import NodeId, RecordHash, Target
    from yzdht.ports import Rng


class Others(NamedTuple):
    """Who else must have looked after a record, so that this node need not.

    Attributes:
        since: From when on, in monotonic seconds.
        number: How many different nodes, 1 or 2.

    """

    since: float
    number: int = 1


@dataclass(slots=True)
class _Notice:
    """Who looked after it last and when, and when the last one before did who was somebody else."""

    by: NodeId
    at: float
    skips: int
    other_at: float = -inf

    def at_of(self, number: int) -> float:
        return self.at if number == 1 else self.other_at


class Turns:
    """Which records other holders looked after, and how often in a row this node left it at that.

    Args:
        rng: Sets holders apart that would otherwise skip in step, and all act in the same hour.

    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._notices: OrderedDict[Target, _Notice] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notices)

    def is_fresh(self, target: Target, holder: NodeId, mono: float) -> bool:
        """True if this holder, or two others, were noted so lately that noting it changes nothing."""
        notice = self._notices.get(target)
        if notice is None:
            return False
        noted_at = notice.at if notice.by == holder else notice.other_at
        return noted_at + REPUBLISH_NOTICED_AGAIN_S > mono

    def note(self, target: Target, holder: NodeId, mono: float) -> None:
        """Another holder looks after a record; the one longest ago is forgotten."""
        notice = self._notices.get(target)
        if notice is None:
            skips = int(self._rng.uniform(0, REPUBLISH_SKIPS_MAX))
            self._notices[target] = _Notice(holder, mono, skips)
            if len(self._notices) > REPUBLISH_NOTICES_MAX:
                self._notices.popitem(last=False)
        else:
            if notice.by != holder:
                notice.by, notice.other_at = holder, notice.at
            notice.at = mono
            self._notices.move_to_end(target)

    def end_lap(self, mono: float) -> None:
        """A lap is over: what others did several laps ago is of no account any more, and that record may be gone."""
        while self._notices:
            oldest = next(iter(self._notices))
            if self._notices[oldest].at + REPUBLISH_NOTICES_KEPT_S > mono:
                return
            del self._notices[oldest]

    def skip(self, target: Target, others: Others) -> bool:
        """True if so many others have looked after a record since then, and are relied on once more.

        Not for ever: whoever only pretends to look after it would talk all others out of doing so. It takes this node
        to act itself before others are relied on again.
        """
        notice = self._notices.get(target)
        if (
            notice is None
            or notice.at_of(others.number) < others.since
            or notice.skips >= REPUBLISH_SKIPS_MAX
        ):
            return False
        notice.skips += 1
        return True

    def acted(self, target: Target) -> None:
        """This node looks after a record itself now."""
        notice = self._notices.get(target)
        if notice is not None:
            notice.skips = 0


class NoRoom:
    """Who said lately that it has no room for which record: to offer it every hour would be the same bytes each time.

    It has room for others: a share that is used up may be that of one publisher.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def note(self, node_id: NodeId, record: RecordHash, mono: float) -> None:
        """A node answered OVER_QUOTA; the one longest ago is forgotten."""
        key = node_id[-16:] + record[-16:]
        self._until[key] = mono + REPLICATION_NO_ROOM_S
        self._until.move_to_end(key)
        if len(self._until) > REPLICATION_NO_ROOM_MAX:
            self._until.popitem(last=False)

    def holds(self, node_id: NodeId, record: RecordHash, mono: float) -> bool:
        """True if the record need not be offered to that node now."""
        return self._until.get(node_id[-16:] + record[-16:], mono) > mono


_CROWDED = -1


class Strays:
    """Which records were out of range in this lap or the one before, and how often their refresh has missed somebody.

    A refresh of one is worth a day if all of the nearest were heard. One that missed some of them, because they are
    behind a cut or not yet known to be gone, may have settled nothing: it is tried again in the next laps, and counts
    for a day after REPUBLISH_STRAY_TRIES, so that a neighbour that answers nobody cannot keep all of them busy.
    """

    def __init__(self) -> None:
        self._laps = 0
        self._seen: dict[int, int] = {}
        self._seen_before: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._seen) + len(self._seen_before)

    def is_due(self, target: Target, *, is_daily: bool) -> bool:
        """True if a record out of range is seen for the first time, is to be tried again, or has its lap of the day.

        What no memory is left for counts as seen, so that traffic stays flat however many old copies there are.
        """
        key = _key(target)
        missed = self._seen.get(key, self._seen_before.get(key))
        has_room = len(self._seen) < REPUBLISH_STRAYS_MAX
        if has_room:
            self._seen[key] = missed or 0
        if missed == _CROWDED or (is_daily and (key + self._laps) % REPUBLISH_STRAY_LAPS == 0):
            return True
        return has_room if missed is None else 0 < missed < REPUBLISH_STRAY_TRIES

    def refreshed(self, target: Target, *, is_complete: bool) -> None:
        """A record was refreshed, known as out of range or not; `is_complete` if all of the nearest were heard."""
        key = _key(target)
        for seen in (self._seen, self._seen_before):
            if key in seen:
                seen[key] = 0 if is_complete else min(max(seen[key], 0) + 1, REPUBLISH_STRAY_TRIES)

    def crowded(self, target: Target) -> None:
        """The nearest are a crowd, which may hold nothing: until they are none, it is due in each lap."""
        key = _key(target)
        for seen in (self._seen, self._seen_before):
            if key in seen:
                seen[key] = _CROWDED

    def forget(self, target: Target) -> None:
        """Something new was stored: if it is out of range, that is seen for the first time."""
        key = _key(target)
        self._seen.pop(key, None)
        self._seen_before.pop(key, None)

    def end_lap(self, *, is_daily: bool) -> None:
        """A lap is over; `is_daily` if it counts as one of the day's."""
        self._laps += is_daily
        self._seen_before, self._seen = self._seen, {}


def _key(target: Target) -> int:
    return int.from_bytes(target[-8:])  # its end: what is near this node begins alike

"""How far a subscriber is: the replay windows of its senders, from which a later one goes on (PROTOCOL.md section 11).

Of each series: up to where it was told, and which messages below that were. So a message is told once, over restarts too.
A cursor that follows what an application has taken goes by the events alone.

It has room for more series than hosts can hold messages. Where it must forget one all the same it keeps up to when that was written,
for its sender or, if nothing else of that one is known, for all: what an unknown session says from before may have been told.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from yzdht.errors import UsageError, WireError
from yzdht.ids import PublicKey, SendSession, TopicId, looks_compressed
from yzdht.limits import (
    CURSOR_BYTES_MAX,
    CURSOR_RUNS_MAX,
    CURSOR_SERIES_MAX,
    FORGOTTEN_BEHIND_S,
    FORGOTTEN_SKEW_S,
    FORGOTTEN_TOGETHER_PART,
    MINUTE_S,
    REPLAY_KEPT_S,
    REPLAY_WINDOW,
    SENDER_SESSIONS_MAX,
)
from yzdht.pubsub.events import Begins, Gap, Lost, Message, Refused
from yzdht.wire.holdings import Held, Holdings, Series, Span
from yzdht.wire.pubsub import INDEX_MAX
from yzdht.wire.rpc import decode_body, encode_body


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yzdht.pubsub.events import Event


VERSION = 2
_Index = Annotated[int, Meta(ge=0, le=INDEX_MAX + 1)]
_Wall = Annotated[int, Meta(ge=0, le=2**40)]


@dataclass(slots=True)
class Window:
    """Of one series.

    Attributes:
        told: Messages that were told, or refused. What lies below its floor is over.
        due: The index that is told next; what lies below and was not told is lost.
        seen_at: Unix seconds of the last message; 0 if none was ever seen.
        newest: Unix seconds, by the sender's clock if that is not more than a minute ahead: what was told, or passed over, was written
            up to then.
        suspect: What was written up to then may have been told when an earlier window of the series was there.

    """

    told: Held
    due: int
    seen_at: int = 0
    newest: int = 0
    suspect: int = 0

    def is_over(self, index: int) -> bool:
        """True if it was told, or lies below the window."""
        return index < self.told.floor or index in self.told

    def tell(self, index: int, received: int, created: int) -> None:
        """This one is told."""
        self.refuse(index)
        self.seen_at = max(self.seen_at, received)
        self.newest = max(self.newest, min(created, received + int(MINUTE_S)))

    def refuse(self, index: int) -> None:
        """This one is not told, now or later."""
        self.told.add(index)
        if index >= self.due:
            self.due = index + 1
            self.told.raise_floor(self.due - REPLAY_WINDOW)

    def pass_over(self, span: Span) -> None:
        """All of these are over."""
        for index in range(max(span.start, span.to - REPLAY_WINDOW), span.to):
            self.refuse(index)

    def skip_to(self, index: int) -> None:
        """Everything below that was not told is lost."""
        if index > self.due:
            self.due = index
            self.told.raise_floor(self.due - REPLAY_WINDOW)

    def begin_at(self, index: int, wall: int) -> None:
        """Everything below is over, and was written before now."""
        self.due = max(self.due, index)
        self.told.raise_floor(index)
        self.newest = max(self.newest, wall)


class Cursor:
    """Of one topic.

    Args:
        topic: Which.

    """

    def __init__(self, topic: TopicId) -> None:
        self.topic = topic
        self._windows: OrderedDict[Series, Window] = OrderedDict()  # the one used last is the last
        self._sessions: Counter[PublicKey] = Counter()
        self._forgotten: dict[PublicKey, int] = {}  # up to when, of a sender of whom others are remembered
        self._all_forgotten = 0
        self._awaited: dict[Series, int] = {}  # of those with windows: one above what is missing

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._windows)

    def get(self, series: Series) -> Window | None:
        """The window of a series, if there is one."""
        return self._windows.get(series)

    def use(self, series: Series) -> Window | None:
        """The same, which is used."""
        window = self._windows.get(series)
        if window is not None:
            self._windows.move_to_end(series)
        return window

    def open(self, series: Series) -> Window:
        """The window of a series, which is used, made if there was none; others are forgotten if there is no room."""
        window = self.use(series)
        if window is not None:
            return window
        if self.in_the_way_of(series):
            for awaited in self._awaited:  # what it waits for is on its way
                self._windows.move_to_end(awaited)
            self.forget(self.in_the_way_of(series))
        suspect = max(self._all_forgotten, self._forgotten.get(series.sender, 0))
        window = self._windows[series] = Window(Held(), 0, suspect=suspect)
        self._sessions[series.sender] += 1
        return window

    def in_the_way_of(self, series: Series) -> list[Series]:
        """Those to be forgotten before this one is opened, of each sender what was used longest ago: mostly none.

        A sender of too many sessions pays itself; where there are too many of all those who have most pay.
        """
        if series in self._windows:
            return []
        if self._sessions[series.sender] >= SENDER_SESSIONS_MAX:
            own = (other for other in self._windows if other.sender == series.sender)
            return list(islice(own, SENDER_SESSIONS_MAX // FORGOTTEN_TOGETHER_PART))
        return self._of_the_greatest() if len(self._windows) >= CURSOR_SERIES_MAX else []

    def _of_the_greatest(self) -> list[Series]:
        left, found = Counter(self._sessions), dict[Series, None]()
        while len(found) < CURSOR_SERIES_MAX // FORGOTTEN_TOGETHER_PART:
            kept = max(left.values()) // 2
            for series in self._windows:
                if left[series.sender] > kept and series not in found:
                    found[series] = None
                    left[series.sender] -= 1
        return list(found)[: CURSOR_SERIES_MAX // FORGOTTEN_TOGETHER_PART]

    def forget(self, many: Iterable[Series]) -> None:
        """Remember no more of these than up to when they were written.

        What is kept for all lies some time behind now, or when something of them came: a sender may write any time, and strangers whose
        clocks are ahead would have all who begin refused up to then.
        """
        many = list(many)
        latest = self._latest() if many else 0  # mostly nothing is forgotten
        for series in many:
            window = self._windows.pop(series)
            self._awaited.pop(series, None)
            self._sessions[series.sender] -= 1
            until = max(window.newest, self._forgotten.get(series.sender, 0))
            if self._sessions[series.sender]:
                self._forgotten[series.sender] = until
            else:
                del self._sessions[series.sender]
                self._forgotten.pop(series.sender, None)
                came = window.seen_at or until
                soon = min(came + FORGOTTEN_SKEW_S, latest - FORGOTTEN_SKEW_S)
                until = min(until, max(came, soon, latest - FORGOTTEN_BEHIND_S))
                self._all_forgotten = max(self._all_forgotten, until)

    def _latest(self) -> int:
        """When something came last, of those that are remembered."""
        return max((window.seen_at or window.newest for window in self._windows.values()), default=0)

    def take(self, event: Event) -> None:
        """Follow what a subscriber told: in the order in which it did."""
        if isinstance(event, Message):
            self.open(event.series).tell(event.index, event.received, event.created)
        elif isinstance(event, Refused):
            self.open(event.series).refuse(event.index)
        elif isinstance(event, Begins):
            self.open(event.series).begin_at(event.index, event.at)
        elif isinstance(event, Lost):
            self.open(event.series).skip_to(event.span.to)
        else:
            if isinstance(event, Gap) and self.open(event.series).due < event.span.to:
                self._awaited[event.series] = max(event.span.to, self._awaited.get(event.series, 0))
            return
        if event.series in self._awaited and self._windows[event.series].due >= self._awaited[event.series]:
            del self._awaited[event.series]

    def await_nothing(self) -> None:
        """What was missing is not looked for any more, or gaps are told anew."""
        self._awaited.clear()

    def tidy(self, wall: float) -> None:
        """Forget the windows of who was silent for REPLAY_KEPT_S: all that came before is over then, and stays so."""
        for window in self._windows.values():
            if window.seen_at and window.seen_at < wall - REPLAY_KEPT_S:
                window.told.raise_floor(window.due)

    def holdings(self) -> Holdings:
        """What a feed begins with: it fetches nothing that is over or was told."""
        found = Holdings()
        for series, window in self._windows.items():
            found.put(series, Held.of_runs(window.told.floor, window.told.runs))
        return found

    def encode(self) -> bytes:
        """As bytes, for `decode_cursor`; at most CURSOR_BYTES_MAX."""
        rows = [_row(series, window) for series, window in self._windows.items()]
        marks = self._all_forgotten, tuple(self._forgotten.items())
        encoded = encode_body(_Cursor(VERSION, self.topic, tuple(rows), *marks))
        if len(encoded) <= CURSOR_BYTES_MAX:
            return encoded
        return encode_body(_Cursor(VERSION, self.topic, tuple(map(_without_runs, rows)), *marks))

    def add(self, row: _Row) -> None:
        """Remember a row of an encoded one.

        Raises:
            WireError: It makes no sense, or there is no room for it.

        """
        series = Series(row.sender, row.session)
        if series in self._windows or self.in_the_way_of(series):
            raise WireError("a series twice in a cursor, or too many of a sender")
        self._windows[series] = _window(row)
        self._sessions[series.sender] += 1

    def mark(self, everywhere: int, senders: Iterable[tuple[PublicKey, int]]) -> None:
        """Take up the marks of what an encoded one had forgotten.

        Raises:
            WireError: They make no sense.

        """
        self._all_forgotten = everywhere
        for sender, until in senders:
            if sender in self._forgotten or sender not in self._sessions:
                raise WireError("a mark of a cursor was refused")
            self._forgotten[sender] = until


_Sender = Annotated[PublicKey, Meta(min_length=33, max_length=33)]


class _Row(Struct, frozen=True, array_like=True, gc=False):
    sender: _Sender
    session: Annotated[SendSession, Meta(min_length=8, max_length=8)]
    seen_at: _Wall
    newest: _Wall
    suspect: _Wall
    due: _Index
    floor: _Index
    runs: Annotated[tuple[_Index, ...], Meta(max_length=2 * CURSOR_RUNS_MAX)]


class _Cursor(Struct, frozen=True, array_like=True, gc=False):
    version: int
    topic: Annotated[TopicId, Meta(min_length=16, max_length=16)]
    rows: Annotated[tuple[_Row, ...], Meta(max_length=CURSOR_SERIES_MAX)]
    all_forgotten: _Wall
    forgotten: Annotated[tuple[tuple[_Sender, _Wall], ...], Meta(max_length=CURSOR_SERIES_MAX)]


def _row(series: Series, window: Window) -> _Row:
    runs = window.told.runs
    floor = window.told.floor
    if len(runs) > CURSOR_RUNS_MAX:
        runs = runs[-CURSOR_RUNS_MAX:]
        floor = runs[0].start
    flat = tuple(index for run in runs for index in run)
    return _Row(*series, window.seen_at, window.newest, window.suspect, window.due, floor, flat)


def _without_runs(row: _Row) -> _Row:
    return replace(row, floor=row.due, runs=())


def _window(row: _Row) -> Window:
    if not looks_compressed(row.sender) or len(row.runs) % 2:
        raise WireError("a row of a cursor was refused")
    runs = list(map(Span, row.runs[::2], row.runs[1::2]))
    before = row.floor - 1
    for start, to in runs:
        if not before < start < to <= row.due:
            raise WireError("a run of a cursor was refused")
        before = to
    if row.floor > row.due or row.due - row.floor > REPLAY_WINDOW:
        raise WireError("a window of a cursor was refused")
    return Window(Held.of_runs(row.floor, runs), row.due, row.seen_at, row.newest, row.suspect)


def decode_cursor(data: bytes, topic: TopicId) -> Cursor:
    """Read a cursor.

    Raises:
        UsageError: It is no cursor, or one of another topic.

    """
    try:
        cursor = _decode(data)
    except WireError:
        raise UsageError("this is no cursor", hint="subscribe without it, or since a time") from None
    if cursor.topic != topic:
        raise UsageError("this is the cursor of another topic", hint="subscribe to that topic, or without it")
    return cursor


def _decode(data: bytes) -> Cursor:
    if len(data) > CURSOR_BYTES_MAX:
        raise WireError("a cursor is at most 2 MiB")
    body = decode_body(data, _Cursor)
    if body.version != VERSION:
        raise WireError("another version of cursors")
    cursor = Cursor(TopicId(body.topic))
    for row in body.rows:
        cursor.add(row)
    cursor.mark(body.all_forgotten, body.forgotten)
    return cursor

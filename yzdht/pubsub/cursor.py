"""How far a subscriber is: the replay windows of its senders, from which a later one goes on (PROTOCOL.md section 11).

Of each series: up to where it was told, and which messages below that were. So a message is told once, over restarts too.
A cursor that follows what an application has taken goes by the events alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from yzdht.errors import UsageError, WireError
from yzdht.ids import PublicKey, SendSession, TopicId, looks_compressed
from yzdht.limits import (
    CURSOR_BYTES_MAX,
    CURSOR_RUNS_MAX,
    CURSOR_SERIES_MAX,
    REPLAY_KEPT_S,
    REPLAY_WINDOW,
    SENDER_SESSIONS_MAX,
)
from yzdht.pubsub.events import Begins, Lost, Message, Refused
from yzdht.wire.holdings import Held, Holdings, Series, Span
from yzdht.wire.pubsub import INDEX_MAX
from yzdht.wire.rpc import decode_body, encode_body


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.pubsub.events import Event


VERSION = 1
_Index = Annotated[int, Meta(ge=0, le=INDEX_MAX + 1)]
_Wall = Annotated[int, Meta(ge=0, le=2**40)]


@dataclass(slots=True)
class Window:
    """Of one series.

    Attributes:
        told: Messages that were told, or refused. What lies below its floor is over.
        due: The index that is told next; what lies below and was not told is lost.
        seen_at: Unix seconds of the last message; 0 if none was ever seen.

    """

    told: Held
    due: int
    seen_at: int = 0

    def is_over(self, index: int) -> bool:
        """True if it was told, or lies below the window."""
        return index < self.told.floor or index in self.told

    def tell(self, index: int, wall: int) -> None:
        """This one is told."""
        self.told.add(index)
        self.due = max(self.due, index + 1)
        self.seen_at = max(self.seen_at, wall)
        self.told.raise_floor(self.due - REPLAY_WINDOW)

    def skip_to(self, index: int) -> None:
        """Everything below that was not told is lost."""
        if index > self.due:
            self.due = index
            self.told.raise_floor(self.due - REPLAY_WINDOW)

    def begin_at(self, index: int) -> None:
        """Everything below is over."""
        self.due = max(self.due, index)
        self.told.raise_floor(index)


class Cursor:
    """Of one topic.

    Args:
        topic: Which.

    """

    def __init__(self, topic: TopicId) -> None:
        self.topic = topic
        self._windows: OrderedDict[Series, Window] = OrderedDict()  # the one used last is the last
        self._sessions: Counter[PublicKey] = Counter()

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._windows)

    def get(self, series: Series) -> Window | None:
        """The window of a series, if there is one."""
        return self._windows.get(series)

    def open(self, series: Series) -> tuple[Window, Series | None]:
        """The window of a series, made if there was none, and the series that was forgotten for it."""
        window = self._windows.get(series)
        if window is not None:
            self._windows.move_to_end(series)
            return window, None
        forgotten = None
        if self._sessions[series.sender] >= SENDER_SESSIONS_MAX:
            forgotten = next(other for other in self._windows if other.sender == series.sender)
        elif len(self._windows) >= CURSOR_SERIES_MAX:
            forgotten = next(iter(self._windows))
        if forgotten is not None:
            self._forget(forgotten)
        window = self._windows[series] = Window(Held(), 0)
        self._sessions[series.sender] += 1
        return window, forgotten

    def _forget(self, series: Series) -> None:
        del self._windows[series]
        self._sessions[series.sender] -= 1
        if not self._sessions[series.sender]:
            del self._sessions[series.sender]

    def take(self, event: Event) -> None:
        """Follow what a subscriber told: in the order in which it did."""
        if isinstance(event, Message):
            self.open(event.series)[0].tell(event.index, event.received)
        elif isinstance(event, Refused):
            self.open(event.series)[0].tell(event.index, 0)
        elif isinstance(event, Begins):
            self.open(event.series)[0].begin_at(event.index)
        elif isinstance(event, Lost):
            self.open(event.series)[0].skip_to(event.span.to)

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
        encoded = encode_body(_Cursor(VERSION, self.topic, tuple(rows)))
        if len(encoded) <= CURSOR_BYTES_MAX:
            return encoded
        return encode_body(_Cursor(VERSION, self.topic, tuple(map(_without_runs, rows))))


class _Row(Struct, frozen=True, array_like=True, gc=False):
    sender: Annotated[PublicKey, Meta(min_length=33, max_length=33)]
    session: Annotated[SendSession, Meta(min_length=8, max_length=8)]
    seen_at: _Wall
    due: _Index
    floor: _Index
    runs: Annotated[tuple[_Index, ...], Meta(max_length=2 * CURSOR_RUNS_MAX)]


class _Cursor(Struct, frozen=True, array_like=True, gc=False):
    version: int
    topic: Annotated[TopicId, Meta(min_length=16, max_length=16)]
    rows: Annotated[tuple[_Row, ...], Meta(max_length=CURSOR_SERIES_MAX)]


def _row(series: Series, window: Window) -> _Row:
    runs = window.told.runs
    floor = window.told.floor
    if len(runs) > CURSOR_RUNS_MAX:
        runs = runs[-CURSOR_RUNS_MAX:]
        floor = runs[0].start
    flat = tuple(index for run in runs for index in run)
    return _Row(series.sender, series.session, window.seen_at, window.due, floor, flat)


def _without_runs(row: _Row) -> _Row:
    return _Row(row.sender, row.session, row.seen_at, row.due, row.due, ())


def decode_cursor(data: bytes, topic: TopicId) -> Cursor:
    """Read a cursor.

    Raises:
        UsageError: It is no cursor, or one of another topic.

    """
    try:
        cursor = _decode(data)
    except WireError:
        raise UsageError("this is no cursor", hint="subscribe without it, or with --since") from None
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
        _add(cursor, row)
    return cursor


def _add(cursor: Cursor, row: _Row) -> None:
    series = Series(row.sender, row.session)
    if cursor.get(series) is not None or not looks_compressed(row.sender) or len(row.runs) % 2:
        raise WireError("a row of a cursor was refused")
    runs = list(map(Span, row.runs[::2], row.runs[1::2]))
    before = row.floor - 1
    for start, to in runs:
        if not before < start < to <= row.due:
            raise WireError("a run of a cursor was refused")
        before = to
    if row.floor > row.due or row.due - row.floor > REPLAY_WINDOW:
        raise WireError("a window of a cursor was refused")
    window, forgotten = cursor.open(series)
    if forgotten is not None:
        raise WireError("too many sessions of one sender in a cursor")
    window.told, window.due, window.seen_at = Held.of_runs(row.floor, runs), row.due, row.seen_at

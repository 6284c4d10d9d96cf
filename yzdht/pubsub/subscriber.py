"""One subscription with keys: what a feed hands on is tested, opened, put in order and told (PROTOCOL.md section 11).

Tests in the order of section 11: member, replay window, kid, opening; size, duplicates and signature were the feed's. Owns the
cursor. What cannot be opened yet waits for the epoch; everything that waits is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.errors import CryptoError, WireError
from yzdht.limits import (
    EPOCH_GIVE_UP_S,
    LIVE_S,
    MINUTE_S,
    REPLAY_KEPT_S,
    WANTS_EPOCHS_EVERY_S,
)
from yzdht.pubsub.claims import without
from yzdht.pubsub.events import (
    Begins,
    Filled,
    Gap,
    LossReason,
    Lost,
    Message,
    RefusalReason,
    Refused,
    UnknownEpoch,
    WantsEpochs,
)
from yzdht.pubsub.feed import Listener
from yzdht.pubsub.ordering import Ordering
from yzdht.pubsub.waiting_room import WaitingRoom
from yzdht.wire.holdings import Held, Series, Span


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import PublicKey
    from yzdht.ports import Now
    from yzdht.pubsub.cursor import Cursor, Window
    from yzdht.pubsub.events import Event
    from yzdht.wire.pubsub import PubsubEnvelope, PubsubMessage


class Opener(Protocol):
    """Holds the keys of the epochs that are known."""

    def open(self, envelope: PubsubEnvelope) -> PubsubMessage | UnknownEpoch:
        """Open an envelope whose signature was verified.

        Raises:
            CryptoError: It does not open.
            WireError: What is in it is no message.

        """
        ...


class Mailbox(NamedTuple):
    """What a subscriber works with.

    Attributes:
        opener: Opens envelopes.
        is_member: True for who may write; in public for everybody.
        tell: Told every event, in order.
        may_tell: Asked when a message is told: False for whose messages are not to be told even if they came before.

    """

    opener: Opener
    is_member: Callable[[PublicKey], bool]
    tell: Callable[[Event, Now], None]
    may_tell: Callable[[PublicKey], bool] = lambda _sender: True


@dataclass(slots=True)
class _Item:
    """One message that came."""

    envelope: PubsubEnvelope
    received: int
    message: PubsubMessage | RefusalReason | None = None  # None while its epoch is unknown
    is_history: bool = False


class Subscriber:
    """Of one topic.

    Args:
        mailbox: Keys, members, and who is told.
        cursor: How far an earlier one was; a new one of the topic if there was none.
        began: Unix seconds at which an application began to listen.

    """

    def __init__(self, mailbox: Mailbox, cursor: Cursor, began: float) -> None:
        self._mailbox = mailbox
        self._cursor = cursor
        self._began = began
        self._orders: dict[Series, Ordering[_Item]] = {}
        self._unopened: OrderedDict[tuple[Series, int], float] = OrderedDict()  # since when
        self._doubtful: set[Series] = set()  # of which all that was opened may be a replay; each has a window
        self._room = WaitingRoom()
        self._wanted_epochs_at: float | None = None
        self._tidied_at: float | None = None
        self._handed_on: Callable[[Series], Held] = lambda _series: Held()

    def follow(self, handed_on: Callable[[Series], Held]) -> None:
        """Know what the feed has handed on of a series, that which is on its way included; to be called before it does."""
        self._handed_on = handed_on

    @property
    def listener(self) -> Listener:
        """What a feed tells."""
        return Listener(self.on_series, self.on_envelope, self.on_lost, self._mailbox.is_member)

    @property
    def waiting(self) -> int:
        """How many messages wait for an earlier one, or for a key."""
        return len(self._room)

    # What the feed tells

    def on_series(self, series: Series, index: int, now: Now) -> None:
        """What lies below this index is not of interest."""
        window = self._window(series, now)
        if index > window.due:
            order = self._order(series, window)
            for waiting, item in order.waiting():
                if waiting < index:
                    self._leave(item)
            window.begin_at(index, int(now.wall))
            order.go_to(index)
            self._tell(Begins(series, index, int(now.wall)), now)
            self._go_on(series, now)

    def on_envelope(self, envelope: PubsubEnvelope, is_live: bool, now: Now) -> None:  # noqa: FBT001 - a feed's callback
        """A genuine envelope that was not handed on before, of somebody of whom messages are wanted, as the feed asked."""
        series, index = envelope.series, envelope.index
        window = self._cursor.use(series)
        if window is None:
            self._begin(series, Span(index, index + 1), now)
            window = self._window(series, now)
        is_next = index == window.due and series not in self._orders  # almost always
        if not is_next and (window.is_over(index) or index in self._order(series, window)):
            return
        item = _Item(envelope, int(now.wall), is_history=not is_live)
        self._open(item, window, now)
        if is_next and item.message is not None:
            self._tell_item(item, window, now)
            return
        order = self._order(series, window)
        if index < window.due:
            self._tell_late(item, window, now)
        else:
            if window.seen_at:
                self._room.heard(series.sender)
            self._put(series, order, item, now)
        self._go_on(series, now)
        self._make_room(now)

    def on_lost(self, series: Series, span: Span, now: Now) -> None:
        """Nobody has these."""
        if self._cursor.get(series) is None:
            self._begin(series, span, now)
        self._lose(series, span, LossReason.NOBODY_HAS_IT, now)

    def _begin(self, series: Series, coming: Span, now: Now) -> None:
        """Begin a series of which more than what comes now may have been handed on: its window was forgotten, or the sender no member.

        That does not come again, so that nothing waits for it; all of a window was told, or given up, before it was forgotten.
        """
        held = self._handed_on(series)
        before = without(held.runs, coming)
        if not before and not held.floor:
            return
        is_begun = bool(before) and before[0].start == held.floor
        self.on_series(series, before[0].to if is_begun else held.floor, now)
        window = self._window(series, now)
        for span in before:
            window.pass_over(span)

    def on_epochs(self, now: Now) -> None:
        """Other epochs, or members, are known now."""
        for series, index in list(self._unopened):
            order = self._orders.get(series)
            item = order.get(index) if order is not None else None
            if item is None:
                continue
            self._open(item, self._window(series, now), now)
            if item.message is not None:
                del self._unopened[series, index]
                self._go_on(series, now)

    # Opening

    def _open(self, item: _Item, window: Window, now: Now) -> None:
        try:
            opened = self._mailbox.opener.open(item.envelope)
        except (CryptoError, WireError):
            item.message = RefusalReason.UNREADABLE
            return
        if isinstance(opened, UnknownEpoch):
            self._want_epochs(item.envelope.kid, now)
            return
        item.message = opened
        if opened.created < self._began - LIVE_S:  # whoever pushes it, and if its session was seen before
            item.is_history = True
        if opened.created <= window.suspect:
            item.message = RefusalReason.FORGOTTEN
            return
        series = item.envelope.series
        if window.seen_at and series not in self._doubtful:
            return
        if abs(opened.created - now.wall) > LIVE_S:  # a session never seen live: it may be a replay
            item.is_history = True
            self._doubtful.add(series)
        else:
            self._doubtful.discard(series)
        if not window.seen_at and opened.created < now.wall - REPLAY_KEPT_S:  # its window may be forgotten
            item.message = RefusalReason.TOO_OLD

    def _want_epochs(self, kid: bytes, now: Now) -> None:
        last = self._wanted_epochs_at
        if last is None or now.mono >= last + WANTS_EPOCHS_EVERY_S:
            self._wanted_epochs_at = now.mono
            self._tell(WantsEpochs(kid), now)

    # Order

    def _put(self, series: Series, order: Ordering[_Item], item: _Item, now: Now) -> None:
        index = item.envelope.index
        found, filled = order.put(index, item)
        self._room.enter(series, len(item.envelope.raw))
        if item.message is None:
            self._unopened[series, index] = now.mono
        if found is not None:
            self._tell(Gap(series, found), now)
        for span in filled:
            self._tell(Filled(series, span), now)

    def _go_on(self, series: Series, now: Now) -> None:
        """Tell what is due, and the losses on the way."""
        window = self._window(series, now)
        order = self._orders.get(series)
        while order is not None:
            skipped = order.skip()
            if skipped is not None:
                window.skip_to(order.due)
                self._tell(Lost(series, skipped.span, skipped.reason), now)
                continue
            item = order.peek()
            if item is None or item.message is None:
                break
            order.take()
            self._leave(item)
            self._tell_what_waited(item, window, now)
        if order is not None and order.is_idle:
            self._orders.pop(series, None)

    def _leave(self, item: _Item) -> None:
        envelope = item.envelope
        self._unopened.pop((envelope.series, envelope.index), None)
        self._room.leave(envelope.series, len(envelope.raw))

    def _tell_what_waited(self, item: _Item, window: Window, now: Now) -> None:
        """Who may write is asked again: it may have changed meanwhile."""
        if not self._mailbox.may_tell(item.envelope.sender):
            item.message = RefusalReason.NO_WRITER
        self._tell_item(item, window, now)

    def _tell_item(self, item: _Item, window: Window, now: Now, *, is_late: bool = False) -> None:
        envelope, message = item.envelope, item.message
        series = envelope.series
        assert message is not None
        if isinstance(message, RefusalReason):
            window.refuse(envelope.index)
            self._tell(Refused(series, envelope.index, message), now)
            return
        window.tell(envelope.index, item.received, message.created)
        self._room.heard(series.sender)
        told = Message(series, envelope.index, envelope.id, *message, item.received, item.is_history, is_late)
        self._tell(told, now)

    def _tell_late(self, item: _Item, window: Window, now: Now) -> None:
        """It was lost; if it cannot be opened it stays so."""
        if item.message is not None:
            self._tell_item(item, window, now, is_late=True)

    def _lose(self, series: Series, span: Span, reason: LossReason, now: Now) -> None:
        window = self._window(series, now)
        self._order(series, window).lose(span, reason)
        self._go_on(series, now)

    # Bounds

    def _window(self, series: Series, now: Now) -> Window:
        window = self._cursor.use(series)
        if window is not None:
            return window
        if self._cursor.in_the_way_of(series):
            for waiting in self._orders:  # what they wait for is on its way
                self._cursor.use(waiting)
        forgotten = self._cursor.in_the_way_of(series)
        for other in forgotten:
            self._give_up(other, now)
        self._cursor.forget(forgotten)
        return self._cursor.open(series)

    def _order(self, series: Series, window: Window) -> Ordering[_Item]:
        order = self._orders.get(series)
        if order is None:
            order = self._orders[series] = Ordering(window.due)
        return order

    def _give_up(self, series: Series, now: Now) -> None:
        """Go on without what a series waits for, now."""
        self._doubtful.discard(series)
        order = self._orders.get(series)
        if order is None:
            return
        for index, item in order.waiting():
            if item.message is None:
                order.remove(index)
                self._leave(item)
        self._lose(series, order.ahead, LossReason.NO_ROOM, now)

    def _make_room(self, now: Now) -> None:
        """Where too much waits, somebody goes on without what they wait for."""
        while self._room.is_over:
            series = self._room.payer()
            gap = self._orders[series].first_gap
            if gap is not None:
                self._lose(series, gap, LossReason.NO_ROOM, now)
            else:
                self._give_up_key(series, self._orders[series].due, now)

    def _first_unopened(self) -> _Item:
        series, index = next(iter(self._unopened))
        item = self._orders[series].get(index)
        assert item is not None, "what waits for a key waits in its series"
        return item

    def _give_up_keys(self, now: Now) -> None:
        """Give up what has waited too long, all of a series at once."""
        over: dict[Series, list[int]] = {}
        for (series, index), since in self._unopened.items():  # the oldest first
            if since + EPOCH_GIVE_UP_S > now.mono:
                break
            over.setdefault(series, []).append(index)
        for series, indexes in over.items():
            order = self._orders.get(series)
            if order is None:
                continue  # it was forgotten meanwhile
            for index in indexes:
                item = order.remove(index)
                if item is not None:
                    self._leave(item)
                order.lose(Span(index, index + 1), LossReason.NO_KEY)
            self._go_on(series, now)

    def _give_up_key(self, series: Series, index: int, now: Now) -> None:
        item = self._orders[series].remove(index)
        if item is not None:
            self._leave(item)
        self._lose(series, Span(index, index + 1), LossReason.NO_KEY, now)

    # Time

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        since = next(iter(self._unopened.values()), None)
        tidy_at = self._tidied_at + MINUTE_S if self._tidied_at is not None else 0.0
        if since is None:
            return tidy_at
        wants_at = (self._wanted_epochs_at or 0.0) + WANTS_EPOCHS_EVERY_S
        return min(tidy_at, since + EPOCH_GIVE_UP_S, wants_at)

    def handle_timer(self, now: Now) -> None:
        """Give up what stays unreadable; forget old windows."""
        self._give_up_keys(now)
        if self._unopened:
            self._want_epochs(self._first_unopened().envelope.kid, now)
        if self._tidied_at is None or now.mono >= self._tidied_at + MINUTE_S:
            self._tidied_at = now.mono
            self._cursor.tidy(now.wall)

    def _tell(self, event: Event, now: Now) -> None:
        self._mailbox.tell(event, now)

"""One topic as a process listens to it: every genuine message handed on once, whichever way it came (PROTOCOL.md section 11).

Owns what is held and where it began. Does not open messages and does not order them. What a host pushes, what others say they
have and what is pulled from them comes together here; a series that nobody had named at the beginning begins at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import InvalidSignature
from yzdht.limits import (
    FEED_EARLY_MAX,
    FEED_GAP_LOOK_S,
    FEED_HOSTS_MAX,
    FEED_PAGES_MAX,
    FEED_SERIES_MAX,
    FEED_SETTLE_FEW_S,
    FEED_SETTLE_S,
    FEED_WITHHELD_MAX,
    FEED_WITHHELD_S,
    PULL_GRACE_S,
    TOPIC_HOSTS,
)
from yzdht.pubsub.puller import Puller
from yzdht.pubsub.sources import Sources
from yzdht.wire.holdings import Holdings, Series, Span, usual_next, widened


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import NodeId, PublicKey, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.ports import EnvelopeVerifier
    from yzdht.pubsub.sources import Surroundings
    from yzdht.wire.address import Contact
    from yzdht.wire.holdings import Held
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import SummaryRow


_FIRST_ROWS_MAX = 2 * FEED_HOSTS_MAX * FEED_PAGES_MAX


class Start(Enum):
    """Where to begin, if not at a cursor."""

    LIVE = auto()
    ALL = auto()


class Listener(NamedTuple):
    """Who is told what comes.

    Attributes:
        on_series: A series begins at an index that is not 0, or was known before: the first thing told of it.
        on_envelope: One that was not told before, verified; True if it is live: pushed, or newer than what hosts had
            when this began.
        on_lost: Nobody has these.
        is_wanted: False for a sender whose messages are not to be looked at.
        on_rows: What a host says it holds, the newest last, and which host; of senders who are not wanted, too.
        on_settled: It is known where to begin; told again whenever all hosts that were asked have said what they hold.

    """

    on_series: Callable[[Series, int, Now], None]
    on_envelope: Callable[[PubsubEnvelope, bool, Now], None]
    on_lost: Callable[[Series, Span, Now], None]
    is_wanted: Callable[[PublicKey], bool] = lambda _sender: True
    on_rows: Callable[[NodeId, Iterable[SummaryRow], Now], None] = lambda _host, _rows, _now: None
    on_settled: Callable[[], None] = lambda: None


@dataclass(slots=True)
class FeedCounts:
    """What a feed has seen."""

    pushed: int = 0
    pulled: int = 0
    duplicates: int = 0
    forged: int = 0

    def plus(self, other: FeedCounts) -> FeedCounts:
        """Both together."""
        return FeedCounts(
            self.pushed + other.pushed,
            self.pulled + other.pulled,
            self.duplicates + other.duplicates,
            self.forged + other.forged,
        )


class Feed:
    """Of one topic.

    Args:
        topic: Which.
        start: Where to begin; what a cursor holds if there is one.
        around: What the process has for all topics.
        verifier: Checks signatures.
        listener: Who is told.

    Attributes:
        counts: What it has seen.
        pushed_from: The lowest index that was pushed of each series of which any was, FEED_SERIES_MAX at most: what lies above was said
            since this began. Empty where that is all that is told.

    """

    def __init__(
        self,
        topic: TopicId,
        start: Start | Holdings,
        around: Surroundings,
        verifier: EnvelopeVerifier,
        listener: Listener,
    ) -> None:
        self.counts = FeedCounts()
        self._topic = topic
        self._start = start
        self._is_delegated = around.is_delegated
        self._verifier = verifier
        self._listener = listener
        self._holdings = start if isinstance(start, Holdings) else Holdings()
        self._puller = Puller(
            topic,
            self._holdings.of,
            around.calls,
            self._on_pulled,
            self._on_unfillable,
            hosts_per_source=TOPIC_HOSTS if around.is_delegated else 1,
        )
        self._own_id = around.own_id
        self._sources = Sources(topic, around, self._on_rows, self._on_answered, self._on_gone)
        self.pushed_from: dict[Series, int] = {}
        self._had: dict[Series, int] = {}  # one above what hosts had when this began
        self._answered: set[NodeId] = set()
        # until it is settled:
        self._first_rows: list[tuple[Contact, tuple[SummaryRow, ...]]] = []
        self._early_rows: list[tuple[Contact, tuple[SummaryRow, ...]]] = []
        self._early: list[tuple[Contact, PubsubEnvelope]] = []
        self._answered_at: float | None = None  # the first of them
        self._gap_look_at: float | None = None
        self._withheld = 0  # messages that others sent since the one that pushes said anything
        self._withheld_since = 0.0
        self._is_settled = self._is_stopped = self._is_early_cut = False

    def start(self, now: Now) -> None:
        """Look for hosts; never given up until `stop`."""
        for series in self._holdings:
            self._puller.lost(series, self._holdings.of(series).gaps())
        self._sources.look(now)

    # What may be asked

    @property
    def is_settled(self) -> bool:
        """True once it is known where to begin: what is published from then on is handed on."""
        return self._is_settled

    @property
    def settle_at(self) -> float | None:
        """When it begins even though somebody has not answered; None once it has begun, and while nobody has.

        Where few have answered it is later: one that lies of a series would be alone with it.
        """
        if self._is_settled or self._answered_at is None or not self._answered:
            return None
        are_most = self._sources.are_most(self._answered)
        return self._answered_at + (FEED_SETTLE_S if are_most else FEED_SETTLE_FEW_S)

    @property
    def sources(self) -> tuple[NodeId, ...]:
        """Where it is subscribed."""
        return self._sources.subscribed

    @property
    def found_sources(self) -> tuple[NodeId, ...]:
        """By whom it is judged where a series is: those of `sources` that the own search found, or all if it found none of them."""
        return self._sources.found(self.sources)

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """The same, the pusher first."""
        found = (self._sources.contact(node_id) for node_id in self.sources)
        return tuple(sorted((c for c in found if c is not None), key=lambda c: c.node_id != self.pusher))

    @property
    def pusher(self) -> NodeId | None:
        """Which of them pushes."""
        return self._sources.pusher

    def take_over(self, node_id: NodeId) -> bool:
        """Have it end what another one of this process subscribed to at a node, if it listens there or has asked to; False if not."""
        return self._sources.take_over(node_id)

    @property
    def has_gaps(self) -> bool:
        """True if something is missing and not given up."""
        return self._puller.has_gaps

    def handed_on(self, series: Series) -> Held:
        """What was handed on of a series, and where it began; to be looked at only."""
        return self._holdings.of(series)

    def rows(self, skip: int = 0) -> tuple[SummaryRow, ...]:
        """What was handed on, as a summary."""
        return self._holdings.rows(skip)

    # What the engine tells

    def on_pushed(self, node_id: NodeId, envelope: PubsubEnvelope, now: Now) -> None:
        """A node delivered this unasked."""
        source = self._sources.contact(node_id)
        if source is None or self._is_stopped:
            return
        self._hear_from(node_id)
        if self._is_settled:
            self._pushed(source, envelope, now)
        elif len(self._early) < FEED_EARLY_MAX:
            self._early.append((source, envelope))
        else:
            self._is_early_cut = True

    def on_announced(self, node_id: NodeId, rows: Iterable[SummaryRow], now: Now) -> None:
        """A node said what changed of what it holds."""
        source = self._sources.contact(node_id)
        if source is None or self._is_stopped:
            return
        # This node itself is never congested: what it only tells of it had to fetch.
        if node_id != self._own_id:
            self._hear_from(node_id)
        rows = tuple(rows)
        self._listener.on_rows(node_id, rows, now)
        if self._is_settled:
            # A node tells its clients what hosts say they have, which is on its way to that node, too.
            may_come = self._is_delegated or node_id != self.pusher
            self._hear(source, rows, now, may_come=may_come)
        elif len(self._early_rows) < FEED_EARLY_MAX:
            self._early_rows.append((source, rows))
        else:
            self._is_early_cut = True

    def on_down(self, node_id: NodeId, now: Now) -> None:
        """The session with a node ended."""
        if not self._is_stopped:
            self._sources.on_down(node_id, now)
            self._settle_if_due(now)

    def on_up(self, node_id: NodeId, now: Now) -> None:
        """There is another session with a node."""
        if not self._is_stopped:
            self._sources.on_up(node_id, now)

    def distrust(self, node_id: NodeId, now: Now) -> None:
        """A host sent something that is forged."""
        if not self._is_stopped:
            self._sources.distrust(node_id, now)

    def look_again(self, now: Now, *, is_brief: bool = False) -> None:
        """Have hosts say what they hold now; of series that changed last alone if that is to be brief."""
        self._sources.refresh(now, is_brief=is_brief)

    # Beginning

    def _on_rows(self, source: Contact, rows: tuple[SummaryRow, ...], now: Now) -> None:
        self._listener.on_rows(source.node_id, rows[::-1], now)
        if not self._is_settled:
            if self._answered_at is None:
                self._answered_at = now.mono
            if source.node_id not in self._answered and len(self._first_rows) < _FIRST_ROWS_MAX:
                self._first_rows.append((source, rows))
            return
        if self._sources.subscribed == (source.node_id,):  # nobody told what happened until now
            self._note_had(rows)
        self._hear(source, rows, now, may_come=source.node_id != self.pusher, is_summary=True)

    def _hear(
        self,
        source: Contact,
        rows: Iterable[SummaryRow],
        now: Now,
        *,
        may_come: bool = False,
        is_summary: bool = False,
    ) -> None:
        """Have fetched what a host says it has; after a moment what the one that pushes is about to send perhaps."""
        grace_s = PULL_GRACE_S if may_come and self.pusher is not None else None
        self._puller.hear(source, self._wanted(rows), now, grace_s=grace_s, asks_below=is_summary)

    def _on_answered(self, node_id: NodeId, now: Now) -> None:
        if not self._is_settled:
            self._answered.add(node_id)
            self._settle_if_due(now)
        else:
            self._tell_refreshed()

    def _tell_refreshed(self) -> None:
        if self._is_settled and not self._sources.is_refreshing:
            self._listener.on_settled()

    @property
    def _is_waiting(self) -> bool:
        """True while it is worth waiting: somebody has not said all that it holds, or hosts that did not answer may answer yet."""
        have_all = self._answered.issuperset(self._sources.subscribed)
        return self._sources.is_waiting or not have_all or not self._sources.are_most(self._answered)

    def _settle_if_due(self, now: Now) -> None:
        at = self.settle_at
        if at is None or (now.mono < at and self._is_waiting):
            return
        self._is_settled = True
        for _, rows in self._first_rows:
            self._note_had(rows)
        told = dict.fromkeys(source.node_id for source, _ in self._first_rows)
        hosts = set(self._sources.found(told))
        by_series: dict[Series, dict[NodeId, SummaryRow]] = {}
        for source, rows in self._first_rows:
            for row in rows if source.node_id in hosts else ():
                by_series.setdefault(Series(row.sender, row.session), {})[source.node_id] = row
        for series, of_hosts in by_series.items():
            self._begin(series, list(of_hosts.values()), len(hosts - set(of_hosts)), now)
        self._listener.on_settled()
        self._go_on(now)

    def _go_on(self, now: Now) -> None:
        """Take what came before it was known where to begin."""
        rows_heard, early = self._first_rows + self._early_rows, self._early
        self._first_rows, self._early_rows, self._early = [], [], []
        for source, envelope in early:
            if not self._is_stopped:
                self._pushed(source, envelope, now)
        for source, rows in rows_heard:
            if self._sources.contact(source.node_id) is not None:
                self._hear(source, rows, now, is_summary=True)
        if self._is_early_cut:
            self._sources.refresh(now)

    def _begin(self, series: Series, rows: list[SummaryRow], silent: int, now: Now) -> None:
        """Find the index at which a series begins that hosts had when this began, but for so many that know nothing of it.

        These have it begin at 0, and are right unless more know of it.
        """
        first = min(widened(row).first for row in rows) if len(rows) > silent else 0
        if self._start is Start.LIVE:
            pushed = [e.index for _, e in self._early if e.series == series]
            usual = usual_next([row.next for row in rows] + [0] * silent)
            self._open(series, min([usual, *pushed]), now)
        elif self._start is Start.ALL:
            self._open(series, first, now)
        else:
            held = self._holdings.open(series)
            if held.next < first and self._listener.is_wanted(
                series.sender
            ):  # all hosts that know of it agree that it is over
                lost = Span(held.next, first)
                self._puller.lost(series, [lost])
                self._listener.on_lost(series, lost, now)

    def _open(self, series: Series, floor: int, now: Now) -> None:
        self._holdings.open(series, floor)
        if floor > 0 and self._listener.is_wanted(series.sender):
            self._listener.on_series(series, floor, now)

    def _note_had(self, rows: Iterable[SummaryRow]) -> None:
        for row in rows:
            series = Series(row.sender, row.session)
            if len(self._had) < FEED_SERIES_MAX or series in self._had:
                self._had[series] = max(row.next, self._had.get(series, 0))

    # Messages

    def _pushed(self, source: Contact, envelope: PubsubEnvelope, now: Now) -> None:
        is_genuine = self._take(envelope, now, is_pushed=True)
        if self._is_stopped:
            return
        if not is_genuine:
            self._sources.distrust(source.node_id, now)
        self._puller.look(envelope.series, now)
        self._watch_gaps(now)

    def _hear_from(self, node_id: NodeId) -> None:
        if self._withheld and node_id == self.pusher:
            self._withheld = 0

    def _note_withheld(self, source: NodeId, now: Now) -> None:
        """Another one than who pushes sent something new."""
        if self.pusher is None or source == self.pusher:
            return
        if not self._withheld:
            self._withheld_since = now.mono
        self._withheld += 1
        if self._withheld >= FEED_WITHHELD_MAX and now.mono >= self._withheld_since + FEED_WITHHELD_S:
            self._withheld = 0
            self._sources.pass_over(now)

    def _on_pulled(self, envelope: PubsubEnvelope, source: Contact, now: Now) -> bool:
        before = self.counts.pulled
        is_genuine = self._take(envelope, now, is_pushed=False)
        if self._is_stopped:
            return is_genuine
        if not is_genuine:
            self._sources.distrust(source.node_id, now)
        elif self.counts.pulled > before:
            self._note_withheld(source.node_id, now)
        return is_genuine

    def _take(self, envelope: PubsubEnvelope, now: Now, *, is_pushed: bool) -> bool:
        """Hand one on if it is new; False if it is forged. The order of tests is that of section 11."""
        series, index = envelope.series, envelope.index
        held = self._holdings.of(series)
        if index in held or index < held.floor:
            self.counts.duplicates += 1
            return True
        if not self._listener.is_wanted(series.sender):
            return True
        try:
            self._verifier.verify(envelope)
        except InvalidSignature:
            self.counts.forged += 1
            return False
        is_live = is_pushed or index >= self._had.get(series, 0)
        self._hold(series, index, held, now)
        if is_pushed:
            self.counts.pushed += 1
            if self._start is not Start.LIVE:
                self._note_pushed(series, index)
        else:
            self.counts.pulled += 1
        self._listener.on_envelope(envelope, is_live, now)
        return True

    def _note_pushed(self, series: Series, index: int) -> None:
        lowest = self.pushed_from.get(series)
        if index < lowest if lowest is not None else len(self.pushed_from) < FEED_SERIES_MAX:
            self.pushed_from[series] = index

    def _hold(self, series: Series, index: int, held: Held, now: Now) -> None:
        if len(self._holdings) >= FEED_SERIES_MAX and series not in self._holdings:
            self._make_room()
        floor = held.floor
        self._holdings.add(series, index)
        if held.floor > floor:  # too many gaps; of a new series there are none
            self._listener.on_lost(series, Span(floor, held.floor), now)

    def _make_room(self) -> None:
        """Forget an eighth of the series, those with the fewest messages: whoever throws senders away has such."""
        sizes = {
            series: sum(run.to - run.start for run in self._holdings.of(series).runs)
            for series in self._holdings
        }
        for series in sorted(sizes, key=lambda s: sizes[s])[: FEED_SERIES_MAX // 8]:
            self._holdings.forget(series)
            self._had.pop(series, None)
            self.pushed_from.pop(series, None)

    def _wanted(self, rows: Iterable[SummaryRow]) -> list[SummaryRow]:
        return [row for row in rows if self._listener.is_wanted(row.sender)]

    def _on_unfillable(self, series: Series, span: Span, now: Now) -> None:
        self._listener.on_lost(series, span, now)

    def _on_gone(self, node_id: NodeId, now: Now) -> None:
        self._puller.drop(node_id, now)
        if self.pusher is None:
            self._puller.hurry(now)
        if not self._is_settled:
            self._first_rows = [told for told in self._first_rows if told[0].node_id != node_id]
            self._answered.discard(node_id)
            if not self._answered:
                self._answered_at = None
        self._tell_refreshed()

    # Time

    def _watch_gaps(self, now: Now) -> None:
        if self._gap_look_at is None and self._puller.has_gaps:
            self._gap_look_at = now.mono + FEED_GAP_LOOK_S

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        if self._is_stopped:
            return None
        times = (self._sources.next_timer(), self._puller.next_timer(), self.settle_at, self._gap_look_at)
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        if self._is_stopped:
            return
        self._sources.handle_timer(now)
        self._settle_if_due(now)
        self._puller.handle_timer(now)
        if self._gap_look_at is not None and self._gap_look_at <= now.mono:
            self._gap_look_at = None
            if self._puller.has_gaps:
                self._sources.refresh(now)
        self._watch_gaps(now)

    def stop(self, *, is_silent: bool = False) -> None:
        """Listen no more; without a word to the hosts if somebody else of this process listens to the topic there."""
        self._is_stopped = True
        self._sources.stop(is_silent=is_silent)
        self._puller.stop()
        self._early.clear()

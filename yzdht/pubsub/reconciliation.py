"""Hosts of a topic tell each other what they hold and fetch what they lack; who is no host any more sees to it that the hosts have all.

PROTOCOL.md section 11. A round asks every other host of a topic once, page by page; so many topics have one at a time. What it shows to
be missing here is fetched beside it (`fetching`).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.errors import StoreError
from yzdht.limits import (
    HANDED_OVER_KEPT_S,
    SUMMARY_ROWS_MAX,
    SYNC_BURST,
    SYNC_DEADLINE_S,
    SYNC_EVERY_S,
    SYNC_IDLE_EVERY_S,
    SYNC_PAGES_MAX,
    SYNC_SILENT_S,
    SYNC_SOON_S,
    SYNCS_AT_ONCE_MAX,
    SYNCS_PER_S,
    TOPIC_ACTIVE_S,
)
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.rpc.engine import Answer
from yzdht.wire.holdings import Series, claimed
from yzdht.wire.rpc import Method, TopicSync, TopicSynced


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.fetching import Fetching
    from yzdht.pubsub.hosted import Hosted, Topics
    from yzdht.pubsub.outbox import Outbox
    from yzdht.rpc.engine import Failed
    from yzdht.wire.address import Contact
    from yzdht.wire.holdings import Holdings, Span
    from yzdht.wire.rpc import SummaryRow


_PACE = Rate(SYNCS_PER_S, SYNC_BURST)
_PAUSE_S = 0.01  # at least, or rounding would have the same instant come again and again
_TRIES_COUNTED_MAX = 8
_JITTER = 0.25


def holds_all(rows: Iterable[SummaryRow], held: Holdings) -> bool:
    """True if who tells these rows holds all that is held, or has had it and dropped it."""
    theirs = {Series(row.sender, row.session): row for row in rows}
    return all(_covers(theirs.get(series), run) for series in held for run in held.of(series).runs)


def _covers(row: SummaryRow | None, run: Span) -> bool:
    if row is None:
        return False
    at = max(run.start, row.first)
    for span in claimed(row):
        if span.start <= at < span.to:
            at = span.to
    return at >= run.to


@dataclass(slots=True)
class _Round:
    """One topic's hosts are asked.

    Attributes:
        hosted: The topic.
        hosts: Who its hosts are, this node left out.
        tick: Its changes at the beginning.
        waiting: How many have not answered to the end.
        has_failed: True if one did not answer as it should, or what is held here could not be read.
        holds_all: True while each that answered holds what is held here.

    """

    hosted: Hosted
    hosts: tuple[Contact, ...]
    tick: int
    waiting: int
    has_failed: bool = False
    holds_all: bool = True


@dataclass(slots=True)
class _Exchange:
    """One host is asked, page by page; `rows` is what it holds so far."""

    round: _Round
    contact: Contact
    skip: int = 0
    rows: list[SummaryRow] = field(default_factory=list)


class Reconciliation:
    """Of all topics of a host.

    Args:
        own_id: This node's.
        topics: What is held.
        outbox: Where calls go.
        fetching: Told what others hold.
        is_wanted: True if somebody is subscribed to a topic.
        forget: Drops a topic whose hosts have what was held here.

    """

    def __init__(
        self,
        own_id: NodeId,
        topics: Topics,
        outbox: Outbox,
        fetching: Fetching,
        is_wanted: Callable[[TopicId], bool],
        forget: Callable[[TopicId], None],
    ) -> None:
        self._own_id = own_id
        self._topics = topics
        self._outbox = outbox
        self._fetching = fetching
        self._is_wanted = is_wanted
        self._forget = forget
        self._queue: list[tuple[float, TopicId]] = []
        self._syncing = 0
        self._pace = Buckets(1)
        self._paused_until = float("-inf")
        self._is_beginning = False
        self._silent_until: dict[NodeId, float] = {}

    @property
    def is_quiet(self) -> bool:
        """True if nobody is asked."""
        return not self._syncing

    # When

    def soon(self, hosted: Hosted, now: Now) -> None:
        """Its hosts have changed, or may lack what is here: they are asked as soon as it is its turn."""
        hosted.forget_at = None
        hosted.tries = 0
        self._schedule(hosted, now.mono)

    def again(self, hosted: Hosted, now: Now) -> None:
        """What its hosts have could not be fetched now."""
        self._schedule(hosted, now.mono + SYNC_SOON_S)

    def touched(self, hosted: Hosted, now: Now) -> None:
        """A message came: its hosts are compared in time, and soon where this node is none of them."""
        after_s = self._every_s(hosted) if self._topics.is_host(hosted) else SYNC_SOON_S
        self._schedule(hosted, now.mono + after_s)

    def _schedule(self, hosted: Hosted, at: float) -> None:
        if hosted.sync_at is None or at < hosted.sync_at:
            hosted.sync_at = at
            heapq.heappush(self._queue, (at, hosted.topic))

    def _every_s(self, hosted: Hosted) -> float:
        """The same topics come up at other times at other nodes, and one after the other at this one."""
        share = (hosted.topic[0] ^ self._own_id[0]) / 255
        return SYNC_EVERY_S * (1 - _JITTER + 2 * _JITTER * share)

    def _next(self) -> tuple[float, Hosted] | None:
        while self._queue:
            at, topic = self._queue[0]
            hosted = self._topics.get(topic)
            if hosted is not None and hosted.sync_at == at and not hosted.is_syncing:
                return at, hosted
            heapq.heappop(self._queue)
        return None

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        if self._syncing >= SYNCS_AT_ONCE_MAX or (due := self._next()) is None:
            return None
        return max(due[0], self._paused_until)

    def handle_timer(self, now: Now) -> None:
        """Begin the rounds that are due."""
        self._begin_due(now)

    def _begin_due(self, now: Now) -> None:
        if self._is_beginning:  # a round ended as it began: the loop that began it goes on
            return
        self._is_beginning = True
        try:
            self._begin_all_due(now)
        finally:
            self._is_beginning = False

    def _begin_all_due(self, now: Now) -> None:
        while self._syncing < SYNCS_AT_ONCE_MAX and now.mono >= self._paused_until:
            due = self._next()
            if due is None or due[0] > now.mono:
                return
            wait_s = self._pace.take("all", 1, _PACE, now.mono)
            if wait_s:
                self._paused_until = now.mono + max(wait_s, _PAUSE_S)
                return
            heapq.heappop(self._queue)
            due[1].sync_at = None
            self._begin(due[1], now)

    # Rounds

    def _begin(self, hosted: Hosted, now: Now) -> None:
        others = tuple(c for c in hosted.hosts if c.node_id != self._own_id)
        if not others:
            return
        hosted.is_syncing = True
        self._syncing += 1
        turn = _Round(hosted, others, hosted.tick, len(others))
        for contact in others:
            if self._silent_until.get(contact.node_id, now.mono) > now.mono:
                self._fail(turn, now)
            else:
                self._ask(_Exchange(turn, contact), now)

    def _ask(self, exchange: _Exchange, now: Now) -> None:
        topic = exchange.round.hosted.topic
        try:
            rows = self._topics.holdings(topic).rows(exchange.skip)
        except StoreError:  # it is tried again, as with a host that does not answer
            self._fail(exchange.round, now)
            return
        self._outbox.call(
            exchange.contact,
            Method.TOPIC_SYNC,
            TopicSync(topic, rows, exchange.skip),
            SYNC_DEADLINE_S,
            lambda outcome, at: self._on_answer(exchange, len(rows), outcome, at),
        )

    def _on_answer(self, exchange: _Exchange, told: int, outcome: Answer | Failed, now: Now) -> None:
        turn = exchange.round
        hosted = turn.hosted
        if self._topics.get(hosted.topic) is not hosted:
            self._end_one(turn, now)  # forgotten meanwhile
            return
        if not isinstance(outcome, Answer) or not isinstance(outcome.body, TopicSynced):
            self._note_silence(exchange.contact, outcome, now)
            self._fail(turn, now)
            return
        self._silent_until.pop(exchange.contact.node_id, None)
        try:
            is_more = self._hear(exchange, told, outcome.body.summary, now)
        except StoreError:
            self._fail(turn, now)
            return
        if is_more:
            self._ask(exchange, now)
        else:
            self._end_one(turn, now)

    def _hear(self, exchange: _Exchange, told: int, rows: tuple[SummaryRow, ...], now: Now) -> bool:
        """A page came for one of so many rows; True if another one is to be asked for."""
        turn = exchange.round
        exchange.rows.extend(rows)
        self._fetching.hear(turn.hosted, exchange.contact, rows, now)
        exchange.skip += SUMMARY_ROWS_MAX
        is_more = max(told, len(rows)) >= SUMMARY_ROWS_MAX
        if is_more and exchange.skip < SYNC_PAGES_MAX * SUMMARY_ROWS_MAX:
            return True
        turn.holds_all &= holds_all(exchange.rows, self._topics.holdings(turn.hosted.topic))
        return False

    def _note_silence(self, contact: Contact, outcome: Answer | Failed, now: Now) -> None:
        silent = self._silent_until
        silent.pop(contact.node_id, None)
        if not isinstance(outcome, Answer):
            silent[contact.node_id] = now.mono + SYNC_SILENT_S
        while silent and next(iter(silent.values())) <= now.mono:  # the earliest stand first
            del silent[next(iter(silent))]

    def came(self, node_id: NodeId) -> None:
        """A session with a node began: it is worth asking."""
        self._silent_until.pop(node_id, None)

    def _fail(self, turn: _Round, now: Now) -> None:
        turn.has_failed = True
        self._end_one(turn, now)

    def _end_one(self, turn: _Round, now: Now) -> None:
        turn.waiting -= 1
        if turn.waiting:
            return
        self._syncing -= 1
        hosted = turn.hosted
        hosted.is_syncing = False
        if self._topics.get(hosted.topic) is hosted:
            self._plan(turn, hosted, now)
            if not turn.has_failed or hosted.tries == _TRIES_COUNTED_MAX:
                self._fetching.compared(hosted.topic)
        self._begin_due(now)

    def _plan(self, turn: _Round, hosted: Hosted, now: Now) -> None:
        """When its hosts are asked again."""
        if hosted.sync_at is not None:  # it was put off while this went on
            at, hosted.sync_at = hosted.sync_at, None
            self._schedule(hosted, at)
        is_host = self._topics.is_host(hosted)
        is_done = not turn.has_failed and (is_host or (turn.holds_all and turn.tick == hosted.tick))
        if not is_done:
            hosted.forget_at = None
            hosted.tries = min(hosted.tries + 1, _TRIES_COUNTED_MAX)
            self._schedule(hosted, now.mono + min(SYNC_EVERY_S, SYNC_SOON_S * 2.0 ** (hosted.tries - 1)))
            return
        hosted.tries = 0
        if not is_host:
            if hosted.forget_at is not None and hosted.forget_at <= now.mono:
                self._forget(hosted.topic)
                return
            hosted.forget_at = hosted.forget_at or now.mono + HANDED_OVER_KEPT_S
            self._schedule(hosted, hosted.forget_at)
        is_active = now.mono - hosted.active_at < TOPIC_ACTIVE_S
        if is_active and (is_host or self._is_wanted(hosted.topic)):
            self._schedule(hosted, now.mono + self._every_s(hosted))
        elif self._is_wanted(hosted.topic):
            self._schedule(hosted, now.mono + SYNC_IDLE_EVERY_S)

    def stop(self) -> None:
        """Ask nothing any more."""
        self._queue.clear()

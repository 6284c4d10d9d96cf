"""What an infrastructure node does for its clients: one subscription per topic, passed on to all of them (section 11, `delegate`).

Holds no keys and no history: what a client missed is fetched from the hosts for it. A client is told what the hosts say they hold, as
if this node held it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    EDGE_ANSWER_S,
    EDGE_LINGER_S,
    EDGE_LOOK_S,
    EDGE_LOOKERS_MAX,
    EDGE_LOOKS_PER_S,
    EDGE_PART_OF_ONE_BRINGER,
    EDGE_ROWS_ALL_MAX,
    EDGE_ROWS_FRESH_S,
    EDGE_ROWS_MAX,
    EDGE_TOPICS_MAX,
    EDGE_WAITING_MAX,
    HISTORY_BYTES_MAX,
    HISTORY_MESSAGES_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.pubsub.announcements import Announcements, rows_bytes
from yzdht.pubsub.fanout import FanOut, changes_of_each
from yzdht.pubsub.feed import Listener, Start
from yzdht.pubsub.hosted import Changes, Hosted
from yzdht.pubsub.pauses import limited
from yzdht.pubsub.relayed_backlogs import RelayedBacklogs
from yzdht.pubsub.relayed_rows import RelayedRows
from yzdht.pubsub.shares import Shares
from yzdht.pubsub.subscriptions import Subscriptions
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.rpc.engine import Answer, Push, Reply
from yzdht.wire.frame import RecordType
from yzdht.wire.history import Bringer
from yzdht.wire.holdings import Series
from yzdht.wire.pubsub import encode_announcement
from yzdht.wire.rpc import Refusal, Status, Subscribed, SummaryRow


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.feed import Feed
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.ports import Surroundings
    from yzdht.pubsub.rates import Bringers, Rates
    from yzdht.rpc.engine import Peer
    from yzdht.wire.holdings import Span
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Backlog, Subscribe


_LOOKS = Rate(EDGE_LOOKS_PER_S, 2 * EDGE_LOOKS_PER_S)
_LOOKS_OF_ONE = Rate(EDGE_LOOKS_PER_S / EDGE_PART_OF_ONE_BRINGER, EDGE_LOOKS_PER_S)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A subscription that is answered once the hosts have said what they hold."""

    request: int
    peer: Peer
    bringer: Bringer
    body: Subscribe
    until: float
    is_answered: bool = False


@dataclass(slots=True, eq=False)
class _Relayed:
    """One topic.

    Attributes:
        feed: Listens to it.
        hosted: Which series changed, and when.
        bringer: On whose account it is: of who is subscribed the first, or of who was the last.
        rows: What hosts say they hold.
        waiting: Who waits for the first of that, or for news of it, the longest first.
        has_news: True if messages came by since hosts were asked what they hold.
        is_asking: True while they are asked again.
        asked_at: Monotonic seconds at which they were.
        came: How many messages came by, and how many bytes.

    """

    feed: Feed
    hosted: Hosted
    bringer: Bringer
    rows: RelayedRows = field(default_factory=RelayedRows)
    waiting: deque[_Waiting] = field(default_factory=deque)
    has_news: bool = False
    is_asking: bool = False
    asked_at: float = 0.0
    came: tuple[int, int] = (0, 0)

    @property
    def is_perhaps_full(self) -> bool:
        """True if hosts may have dropped messages for those that came by, as large as these are as a rule."""
        count, size = self.came
        known = self.rows.messages
        is_large = known * size > count * HISTORY_BYTES_MAX // 2
        return self.rows.has_dropped or known >= HISTORY_MESSAGES_MAX or is_large


class Ears(NamedTuple):
    """How a node listens for others.

    Attributes:
        listen: Makes a feed of a topic, which is not started.
        close: Ends one.

    """

    listen: Callable[[TopicId, Start, Listener], Feed]
    close: Callable[[TopicId, Feed], None]


class Edge:
    """Of one node.

    Args:
        outbox: Where all that it wants done goes.
        surroundings: The node that it is part of.
        bringers: Names with whom a client shares what there is room for.
        rates: What clients may fetch.
        ears: Makes and ends feeds.

    """

    def __init__(
        self,
        outbox: Outbox,
        surroundings: Surroundings,
        bringers: Bringers,
        rates: Rates,
        ears: Ears,
    ) -> None:
        self._outbox = outbox
        self._bringers = bringers
        self._rates = rates
        self._ears = ears
        self._count = surroundings.count
        self._relayed: dict[TopicId, _Relayed] = {}
        self._rows = 0  # of all of them
        self._rows_max = EDGE_ROWS_ALL_MAX
        self._places = Shares(EDGE_TOPICS_MAX)
        self._waits = Shares(EDGE_WAITING_MAX)
        self._subscriptions = Subscriptions()
        self._announcements = Announcements(self, self._subscriptions, outbox, surroundings.is_congested)
        heard, told = self._subscriptions, self._announcements
        self._fan_out = FanOut(heard, told, outbox, surroundings, self._remembered, "clients")
        self._backlogs = RelayedBacklogs(outbox, rates, bringers, surroundings)
        self._looks = Buckets(EDGE_LOOKERS_MAX)
        self._settled: list[TopicId] = []  # since `look` was called last
        # of all topics, the longest first; some are answered
        self._waiting: deque[_Waiting] = deque()
        self._asking: deque[_Waiting] = deque()
        self._idle: OrderedDict[TopicId, float] = OrderedDict()  # since when, the longest first

    # What announcements ask

    def get(self, topic: TopicId) -> Hosted | None:
        """A topic that is listened to."""
        relayed = self._relayed.get(topic)
        return None if relayed is None else relayed.hosted

    def changes(self, hosted: Hosted, tick: int) -> Changes:
        """What is to be told of a topic to somebody who was told up to a tick."""
        since = hosted.since(tick)
        if not since:
            return Changes((), hosted.tick, is_all=True)
        relayed = self._relayed[hosted.topic]
        hosts, found = relayed.feed.sources, relayed.feed.found_sources
        said = (relayed.rows.row(series, hosts, found) for series, _ in since)
        rows = tuple(row for row in said if row is not None)
        return Changes(rows, since[-1][1], is_all=since[-1][1] == hosted.tick)

    # What it has

    @property
    def topics(self) -> int:
        """How many it listens to."""
        return len(self._relayed)

    @property
    def subscriptions(self) -> int:
        """How many it serves, of all sessions and topics."""
        return len(self._subscriptions)

    def has(self, peer: Peer, topic: TopicId) -> bool:
        """True if a client is subscribed to a topic through this node."""
        return self._subscriptions.is_subscribed(peer, topic)

    # SUBSCRIBE

    def subscribe(self, request: int, peer: Peer, body: Subscribe, now: Now) -> None:
        """A client wants to hear of a topic through this node."""
        if wait_s := self._rates.may_fetch(peer, now):
            self._reply(request, limited(wait_s))
            return
        waiting = _Waiting(request, peer, self._bringers.of_peer(peer), body, now.mono + EDGE_ANSWER_S)
        refusal = self._refusal(waiting)
        if refusal is not None:
            self._reply(request, Answer(refusal, Refusal()))
            return
        is_new = body.topic not in self._relayed
        relayed = self._open(body.topic, waiting.bringer, now) if is_new else self._relayed[body.topic]
        if not self._add(waiting, relayed):
            if is_new:
                self._close(body.topic)
            self._reply(request, Answer(Status.OVER_QUOTA, Refusal()))
            return
        if relayed.feed.is_settled and not self._has_to_ask(relayed, waiting, now):
            self._answer(relayed, waiting, now)
            return
        self._waits.take(waiting.bringer)
        relayed.waiting.append(waiting)
        if relayed.feed.is_settled:
            waiting.until = now.mono + EDGE_LOOK_S
            self._asking.append(waiting)
        else:
            self._waiting.append(waiting)
        if is_new:
            relayed.feed.start(now)
        elif relayed.feed.is_settled and not relayed.is_asking:
            relayed.is_asking, relayed.has_news, relayed.asked_at = True, False, now.mono
            relayed.feed.look_again(now, is_brief=True)

    def _has_to_ask(self, relayed: _Relayed, waiting: _Waiting, now: Now) -> bool:
        """True if hosts are asked first what they hold: a client looks long for what is said to be there and was dropped."""
        if waiting.body.skip or not relayed.feed.sources or not self._waits.has_room(waiting.bringer):
            return False
        if relayed.is_asking:
            return True
        is_old = relayed.has_news and now.mono >= relayed.asked_at + EDGE_ROWS_FRESH_S
        return is_old and relayed.is_perhaps_full and self._may_look(waiting.bringer, now)

    def _may_look(self, bringer: Bringer, now: Now) -> bool:
        if self._looks.take(bringer, 1.0, _LOOKS_OF_ONE, now.mono):
            return False
        if self._looks.take(None, 1.0, _LOOKS, now.mono):
            self._looks.put_back(bringer, 1.0)
            return False
        return True

    def _refusal(self, waiting: _Waiting) -> Status | None:
        """Why there is no room for one more, if there is none."""
        bringer, topic = waiting.bringer, waiting.body.topic
        relayed = self._relayed.get(topic)
        if relayed is None:
            has_place = self._places.has_room(bringer)
        else:
            has_place = (
                topic not in self._idle or relayed.bringer == bringer or self._places.has_part(bringer)
            )
        if not has_place:
            return Status.OVER_QUOTA
        is_answered_at_once = relayed is not None and relayed.feed.is_settled
        return None if is_answered_at_once or self._waits.has_room(bringer) else Status.BUSY

    def _add(self, waiting: _Waiting, relayed: _Relayed) -> bool:
        peer, bringer, body, tick = waiting.peer, waiting.bringer, waiting.body, relayed.hosted.tick
        if not self._subscriptions.add(
            peer, bringer, body.topic, tick, is_pushed=body.push, is_further=body.skip > 0
        ):
            return False
        if self._idle.pop(body.topic, None) is not None:
            self._pass_on(relayed, bringer)
        return True

    def _pass_on(self, relayed: _Relayed, bringer: Bringer) -> None:
        self._places.pass_on(relayed.bringer, bringer)
        relayed.bringer = bringer

    def _close(self, topic: TopicId) -> None:
        relayed = self._relayed.pop(topic)
        self._rows -= len(relayed.rows)
        self._places.give_back(relayed.bringer)
        self._ears.close(topic, relayed.feed)

    def _open(self, topic: TopicId, bringer: Bringer, now: Now) -> _Relayed:
        listener = Listener(
            lambda _series, _index, _now: None,
            lambda envelope, _is_live, at: self._on_envelope(topic, envelope, at),
            _nobody_waits,
            on_rows=lambda host, rows, at: self._on_rows(topic, host, rows, at),
            on_settled=lambda: self._settled.append(topic),
        )
        feed = self._ears.listen(topic, Start.LIVE, listener)
        self._relayed[topic] = relayed = _Relayed(feed, Hosted(topic, (), now.mono), bringer)
        self._places.take(bringer)
        return relayed

    def _answer(self, relayed: _Relayed, waiting: _Waiting, now: Now) -> None:
        hosts, found = relayed.feed.sources, relayed.feed.found_sources
        told = relayed.rows.richest(hosts, found, waiting.body.skip, SUMMARY_ROWS_MAX, now.mono)
        self._rates.fetched(waiting.peer, rows_bytes(told.rows) + rows_bytes(told.further), now)
        self._reply(waiting.request, Answer(Status.OK, Subscribed((), waiting.body.push, told.rows)))
        if told.further:
            announcement = encode_announcement(((waiting.body.topic, told.further),))
            self._outbox.put(Push(waiting.peer, RecordType.PUBSUB, announcement))

    def _reply(self, request: int, answer: Answer) -> None:
        self._outbox.put(Reply(request, answer.status, answer.body))

    def unsubscribe(self, peer: Peer, topic: TopicId, now: Now) -> None:
        """A client has heard enough."""
        self._subscriptions.remove(peer, topic)
        self._left(topic, now)

    def drop(self, peer: Peer, now: Now) -> None:
        """A client's session has ended."""
        for topic in self._subscriptions.drop(peer):
            self._left(topic, now)

    def _left(self, topic: TopicId, now: Now) -> None:
        """One has gone: who stays longest pays for the topic, or it is left after a while."""
        relayed = self._relayed.get(topic)
        if relayed is None or topic in self._idle:
            return
        first = next(iter(self._subscriptions.of(topic)), None)
        if first is None:
            self._idle[topic] = now.mono
        else:
            self._pass_on(relayed, Bringer(first.account))

    # What the feed tells

    def _on_envelope(self, topic: TopicId, envelope: PubsubEnvelope, now: Now) -> None:
        relayed = self._relayed.get(topic)
        if relayed is not None:
            known = len(relayed.rows)
            count, size = relayed.came
            relayed.has_news, relayed.came = True, (count + 1, size + len(envelope.raw))
            relayed.rows.came(envelope)
            self._bound_rows(len(relayed.rows) - known)
            is_known = relayed.feed.handed_on(envelope.series).has_more_than(envelope.index)
            self._fan_out.pass_on(envelope, relayed.hosted, now, is_pushed=True, is_known=is_known)

    def _on_rows(self, topic: TopicId, host: NodeId, rows: Iterable[SummaryRow], now: Now) -> None:
        relayed = self._relayed.get(topic)
        if relayed is None:
            return
        is_told = self._subscriptions.has(topic)
        known = len(relayed.rows)
        grown = [row for row in rows if relayed.rows.hear(host, row)]
        self._bound_rows(len(relayed.rows) - known)
        for row in grown:
            series = Series(row.sender, row.session)
            relayed.hosted.changed(series, is_told=is_told, most=self._remembered())
        for subscriber in self._subscriptions.of(topic) if grown else ():
            self._announcements.changed(subscriber, topic, now)

    def _remembered(self) -> int:
        """Of how many series it is remembered that they changed: who reads page after page is told of all that change their places."""
        return changes_of_each(len(self._relayed), EDGE_ROWS_MAX)

    def _bound_rows(self, more: int) -> None:
        """What hosts say of all topics takes so much and no more: the topic with most gives some up."""
        self._rows += more
        while self._rows > self._rows_max:
            most = max(self._relayed.values(), key=lambda relayed: len(relayed.rows))
            self._rows -= most.rows.make_room()

    # BACKLOG

    def backlog(self, request: int, peer: Peer, body: Backlog, now: Now) -> None:
        """A client fetches what it missed."""
        relayed = self._relayed.get(body.topic)
        if relayed is None:
            self._reply(request, Answer(Status.NOT_FOUND, Refusal()))
            return
        hosts, distrust = list(relayed.feed.contacts), relayed.feed.distrust
        self._backlogs.fetch(request, peer, body, hosts, distrust, now)

    # Time

    def look(self, now: Now) -> None:
        """Answer who waited for the hosts, where these have answered; to be called after every event."""
        settled, self._settled = self._settled, []
        for topic in settled:
            if (relayed := self._relayed.get(topic)) is not None:
                relayed.is_asking = False
                self._answer_all(relayed, now)

    def _answer_all(self, relayed: _Relayed, now: Now, until: float = float("inf")) -> None:
        while relayed.waiting and relayed.waiting[0].until <= until:
            waiting = relayed.waiting.popleft()
            waiting.is_answered = True
            self._waits.give_back(waiting.bringer)
            settle_at = relayed.feed.settle_at
            if settle_at is None:
                self._answer(relayed, waiting, now)
            else:  # the hosts that have answered are too few to say where a series is
                self.unsubscribe(waiting.peer, waiting.body.topic, now)
                self._reply(waiting.request, limited(max(0.0, settle_at - now.mono)))

    def _first_waiting(self) -> _Waiting | None:
        """Who has waited long enough first."""
        for line in (self._waiting, self._asking):
            while line and line[0].is_answered:
                line.popleft()
        firsts = [line[0] for line in (self._waiting, self._asking) if line]
        return min(firsts, key=lambda waiting: waiting.until, default=None)

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        waiting = self._first_waiting()
        times = [] if waiting is None else [waiting.until]
        times += [since + EDGE_LINGER_S for since in islice(self._idle.values(), 1)]
        announced = self._announcements.next_timer()
        return min([*times, announced] if announced is not None else times, default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        self._announcements.handle_timer(now)
        while (waiting := self._first_waiting()) is not None and waiting.until <= now.mono:
            relayed = self._relayed[waiting.body.topic]
            relayed.is_asking = False
            self._answer_all(relayed, now, until=now.mono)
        while self._idle and next(iter(self._idle.values())) + EDGE_LINGER_S <= now.mono:
            topic, _ = self._idle.popitem(last=False)
            self._close(topic)


def _nobody_waits(_series: Series, _span: Span, _now: Now) -> None:
    """Clients find their gaps themselves."""

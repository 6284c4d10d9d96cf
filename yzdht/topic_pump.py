"""The pump of topics: carries out what the pubsub engine wants, hands it what happened, keeps its one timer.

Moves requests, answers, pushes and messages between that engine, the sessions and the store, of a node and of a client alike.
Decides nothing of its own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import CryptoError, FrameTooLarge, TooManyMessages, UsageError, WireError
from yzdht.in_order import Lines
from yzdht.limits import (
    PUBLISH_DEADLINE_S,
    PUBLISHES_MAX,
    SERVED_ITSELF_PER_LOOP_TURN,
    TOPIC_TIMER_SET_AFTER_S,
)
from yzdht.rpc.engine import Answer, Call, Cancel, Drop, Find, Keep, Persist, Push, Reply
from yzdht.wire.frame import RecordType
from yzdht.wire.pubsub import join_deliveries
from yzdht.wire.rpc import Method, Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yzdht.ids import NodeId, SessionId, Target, TopicId
    from yzdht.in_order import Place
    from yzdht.ports import Now, TopicStore
    from yzdht.pubsub.engine import PubsubEngine
    from yzdht.pubsub.feed import Feed, FeedCounts, Start
    from yzdht.pubsub.publisher import PublishResult
    from yzdht.pubsub.subscriber import Subscriber
    from yzdht.rpc.engine import Down, Failed, Outgoing, Peer, Up
    from yzdht.sessions import Clock, Sessions
    from yzdht.sessions.connection import Connection
    from yzdht.telemetry import Counters
    from yzdht.topics import ChannelKey
    from yzdht.wire.address import Contact
    from yzdht.wire.history import TopicVerdict
    from yzdht.wire.holdings import Holdings
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body


TOPIC_METHODS = frozenset(
    {Method.SUBSCRIBE, Method.UNSUBSCRIBE, Method.PUBLISH, Method.BACKLOG, Method.TOPIC_SYNC}
)
_CALLS_FROM = 1 << 60
"""The calls of this engine are numbered from here on, beside those of others in the same sessions."""


def is_of_topics(call: int) -> bool:
    """True for the number of a call that `TopicPump` made."""
    return call >= _CALLS_FROM


class TopicFigures(NamedTuple):
    """What a process does with topics.

    Attributes:
        hosted: Topics that it keeps for others, or has subscribers of.
        messages: That it keeps.
        bytes: Of these messages.
        of_hosted: Subscriptions to topics that it hosts: of nodes, this one itself included where it listens, and of clients that
            ask it as a host.
        of_clients: Subscriptions that it has for clients, wherever the topics are hosted.
        own: Subscriptions of its own user.
        heard: What came of all that it listens to.

    """

    hosted: int
    messages: int
    bytes: int
    of_hosted: int
    of_clients: int
    own: int
    heard: FeedCounts


class TopicPump:
    """Drives the pubsub engine inside the running loop.

    Args:
        engine: What decides.
        clock: Whose monotonic time is the event loop's.
        counters: Where requests and refusals are counted.
        search: Finds the nodes nearest to a point; nobody where none is given.
        store: Keeps messages; None where this process hosts no topics.

    Attributes:
        sessions: Through which the engine calls and pushes; to be set before anything happens.
        background: Keeps what no caller waits for; likewise.
        observe: Told figures, by name, if somebody looks.

    """

    sessions: Sessions

    def __init__(
        self,
        engine: PubsubEngine,
        clock: Clock,
        counters: Counters,
        search: Callable[[Target, int, Callable[[list[Contact]], None]], None] | None = None,
        store: TopicStore | None = None,
    ) -> None:
        self.background: Callable[[Coroutine[None, None, None]], None] = _nobody
        self.observe: Callable[[str, float], None] = lambda _name, _value: None
        self._engine = engine
        self._clock = clock
        self._counters = counters
        self._search = search
        self._store = store
        self._requests: dict[int, tuple[Connection, int, Method]] = {}
        self._calls: dict[int, tuple[Method, NodeId]] = {}
        self._last_request = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._look: asyncio.TimerHandle | None = None  # at which the timer is set anew
        self._is_pumping = False
        self._is_stopped = False
        self._is_turn_due = False
        self._pushes: dict[SessionId, list[Push]] = {}
        self._passed_on: list[float] = []  # when what is sent in this turn came
        self._after: asyncio.Future[None] | None = None
        self._listeners: set[Callable[[], None]] = set()
        self._lines: Lines[ChannelKey] = Lines(PUBLISHES_MAX)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do something that no caller waits for."""
        self.background(work)

    def begin(self) -> None:
        """Take up what is on disk; the sessions are there."""
        now = self._clock.now()
        self._engine.start(now)
        self._engine.handle_timer(now)  # what is too old is dropped before anybody can ask for it
        self.run()

    def on_neighbourhood(self) -> None:
        """The table of nodes has changed, perhaps."""
        self._engine.on_neighbourhood(self._clock.now())
        self.run()

    def count(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count something that happened to a subscription."""
        self._counters.add(name, label, amount)

    def figures(self) -> TopicFigures:
        """What this process does with topics.

        Raises:
            StoreError: The disk cannot be read.

        """
        engine = self._engine
        host, edge = engine.host, engine.edge
        kept = None if self._store is None else self._store.totals()
        return TopicFigures(
            0 if host is None else host.topics,
            0 if kept is None else kept.messages,
            0 if kept is None else kept.bytes,
            0 if host is None else host.subscriptions,
            0 if edge is None else edge.subscriptions,
            engine.subscriptions,
            engine.heard(),
        )

    def now(self) -> Now:
        """The present."""
        return self._clock.now()

    def is_congested(self, peer: Peer) -> bool:
        """True while a peer does not read what is pushed to it, and once it is gone."""
        return self.sessions.is_congested(peer)

    def unsent_bytes(self, peer: Peer) -> int:
        """Bytes that wait to be sent to a peer."""
        return self.sessions.unsent_bytes(peer)

    def passed_on(self, came: Now) -> None:
        """A message that came at this time is among what is sent to subscribers at the end of the turn."""
        self._passed_on.append(came.mono)

    def stop(self) -> None:
        """Give up what is under way; no timer rings any more."""
        if not self._is_stopped:
            self._is_stopped = True
            for timer in (self._timer, self._look):
                if timer is not None:
                    timer.cancel()
            self._timer = self._look = None
            self._engine.stop(self._clock.now())
            self.run()
            self._push()
            for tell in list(self._listeners):
                tell()

    def on_stop(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have somebody told when this stops; returns what ends that."""
        self._listeners.add(tell)
        return lambda: self._listeners.discard(tell)

    # Commands

    def _check_running(self) -> None:
        if self._is_stopped:
            raise UsageError("this node or client has stopped", hint="publish and subscribe while it runs")

    def check_room(self) -> None:
        """See that a message can be begun.

        Raises:
            TooManyMessages: Too many are on their way.
            UsageError: It has stopped.

        """
        self._check_running()
        if not self._engine.has_room:
            raise _no_room()

    def learn_policy(self, topic: TopicId, record: bytes) -> None:
        """A topic's policy was read: hosts are shown it with the messages; one that does not hold is passed over."""
        with suppress(WireError, CryptoError):
            self._engine.learn_policy(topic, record, self._clock.now())

    def join(self, key: ChannelKey) -> Place[ChannelKey]:
        """Stand in the line of those who publish to a topic; raises as `check_room`."""
        self.check_room()
        if not self._lines.has_room:
            raise TooManyMessages("too many messages are made ready")
        return self._lines.join(key)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after a while, for which nobody waits."""
        asyncio.get_running_loop().call_later(seconds, do)

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def publish(
        self, envelope: PubsubEnvelope, patience_s: float = PUBLISH_DEADLINE_S
    ) -> PublishResult:
        """Bring a message to the hosts of its topic, and wait for a majority of them, for so long at the most; raises as `check_room`."""
        self._check_running()
        future: asyncio.Future[PublishResult] = asyncio.get_running_loop().create_future()

        def told(result: PublishResult, _now: Now) -> None:
            if not future.done():
                future.set_result(result)

        if not self._engine.publish(envelope, told, self._clock.now(), patience_s):
            raise _no_room()
        self.run()
        return await future

    def listen(self, topic: TopicId, start: Start | Holdings, subscriber: Subscriber) -> Feed:
        """Listen to a topic.

        Raises:
            UsageError: That is one too many, or it has stopped.

        """
        self._check_running()
        feed = self._engine.subscribe(topic, start, subscriber, self._clock.now())
        if feed is None:
            raise UsageError("this process listens to too many topics", hint="end other subscriptions")
        self.run()
        return feed

    def unlisten(self, topic: TopicId, feed: Feed) -> None:
        """Listen no more."""
        self._engine.unsubscribe(topic, feed, self._clock.now())
        self.run()

    def renew(self, feed: Feed, *, are_more_wanted: bool) -> None:
        """More can be opened of what it is listened to, and perhaps more senders are wanted."""
        self._engine.renew(feed, self._clock.now(), are_more_wanted=are_more_wanted)
        self.run()

    def after(self) -> asyncio.Future[None]:
        """Done when something has happened; whoever waits looks whether it is what it waits for."""
        if self._after is None or self._after.done():
            self._after = asyncio.get_running_loop().create_future()
        return self._after

    # What happens in the sessions

    def on_link(self, peer: Peer, change: Up | Down) -> None:
        """A node came or went."""
        self._engine.on_link(peer, change, self._clock.now())
        self.run()

    def on_client_gone(self, peer: Peer) -> None:
        """A client's session ended."""
        self._engine.on_client_gone(peer, self._clock.now())
        self.run()

    def on_request(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        """A peer asks something of TOPIC_METHODS."""
        assert connection.peer is not None
        self._last_request += 1
        self._requests[self._last_request] = (connection, number, method)
        self._engine.on_request(self._last_request, connection.peer, method, body, self._clock.now())
        self.run()

    def on_answer(self, call: int, outcome: Answer | Failed) -> None:
        """A call of this engine ended."""
        asked = self._calls.pop(call, None)
        if asked is None:
            return  # it was taken back
        method, node_id = asked
        if isinstance(outcome, Answer):
            self._counters.add("rpc_sent", f"{method.name.lower()}/{outcome.status.name.lower()}")
        else:
            self._counters.add("rpc_sent", f"{method.name.lower()}/{outcome.reason.value}")
        self._engine.on_answer(call - _CALLS_FROM, outcome, self._clock.now())
        if method in (Method.SUBSCRIBE, Method.UNSUBSCRIBE):
            self.sessions.need(node_id, is_needed=self._engine.is_heard(node_id))
        self.run()

    def on_push(self, peer: Peer, data: bytes) -> None:
        """A message of record type 0x12."""
        self._engine.on_push(peer, RecordType.PUBSUB, data, self._clock.now())
        self.run()

    def on_verdicts(self, answers: list[tuple[int, TopicVerdict]]) -> None:
        """Messages are durable, or were refused."""
        now = self._clock.now()
        for op, verdict in answers:
            self._engine.on_kept(op, verdict, now)
        self.run()

    # The pump

    def run(self) -> None:
        """Carry out what the engine wants until it wants nothing; what ends this turn of the loop follows, and its timer is set anew."""
        if self._is_pumping:
            return
        self._is_pumping = True
        if not self._is_turn_due and not self._is_stopped:
            self._is_turn_due = True  # ahead of the store: subscribers do not wait for its thread
            asyncio.get_running_loop().call_soon(self._end_turn)
        try:
            self._carry_out_all()
        finally:
            self._is_pumping = False
        if self._after is not None and not self._after.done():
            self._after.set_result(None)

    def _carry_out_all(self) -> None:
        while outgoing := self._engine.take_outgoing():
            for item in outgoing:
                self._carry_out(item)

    def _end_turn(self) -> None:
        """Done once for all that happened in a turn of the loop: what one peer is sent goes in one record."""
        self._is_turn_due = False
        if self._engine.has_something_for_itself:
            asyncio.get_running_loop().call_soon(self._serve_itself)  # once links have written what they have
        if self._look is None and not self._is_stopped:
            self._look = asyncio.get_running_loop().call_later(TOPIC_TIMER_SET_AFTER_S, self._arm)
        self._push()

    def _push(self) -> None:
        pushes, self._pushes = self._pushes, {}
        known: dict[tuple[bytes, ...], list[bytes]] = {}  # most are sent the same as others
        for items in pushes.values():
            if len(items) == 1:
                self.sessions.push(items[0].peer, items[0].record_type, items[0].data)
                continue
            bodies = tuple(item.data for item in items)
            joined = known.get(bodies)
            if joined is None:
                joined = known[bodies] = join_deliveries(bodies)
            for body in joined:
                self.sessions.push(items[-1].peer, RecordType.PUBSUB, body)
        if self._passed_on:
            passed_on, self._passed_on = self._passed_on, []
            sent = self._clock.now().mono
            for came in passed_on:
                self.observe("topic_push_seconds", sent - came)

    def _serve_itself(self) -> None:
        """Have the node take some of what it publishes and pushes to itself; the end of the turn that follows sees to the rest."""
        try:
            for _ in range(SERVED_ITSELF_PER_LOOP_TURN):
                if not self._engine.serve_itself(self._clock.now()):
                    break
                self.run()
        finally:
            self.run()
            self._push()

    def _carry_out(self, item: Outgoing) -> None:
        match item:
            case Call():
                call = item.call + _CALLS_FROM
                self._calls[call] = (item.method, item.contact.node_id)
                self.sessions.call(call, item.contact, item.method, item.body, item.deadline_s)
            case Cancel():
                if self._calls.pop(item.call + _CALLS_FROM, None) is not None:
                    self.sessions.cancel(item.call + _CALLS_FROM)
            case Reply():
                self._reply(item)
            case Push():
                self._pushes.setdefault(item.peer.session, []).append(item)
            case Find():
                self._find(item)
            case Keep():
                assert self._store is not None, "who keeps no messages hosts no topic"
                self._store.submit(item.op, item.change)
            case Persist() | Drop():
                raise AssertionError("the pubsub engine keeps no records and drops nobody")

    def _reply(self, item: Reply) -> None:
        connection, number, method = self._requests.pop(item.request)
        status = item.status
        try:
            connection.reply(number, status, item.body)
        except FrameTooLarge:  # a fault of this node's, and of no one whose calls and answers come after it
            status = Status.BUSY
            connection.reply(number, status, Refusal())
        self._counters.add("rpc_served", f"{method.name.lower()}/{status.name.lower()}")

    def _find(self, item: Find) -> None:
        def found(contacts: list[Contact]) -> None:
            self._engine.on_found(item.op, contacts, self._clock.now())
            self.run()

        if self._search is None:
            asyncio.get_running_loop().call_soon(found, [])
        else:
            self._search(item.target, item.count, found)

    def _arm(self) -> None:
        """Set the timer anew, once for all that happened lately."""
        self._look = None
        at = self._engine.next_timer()
        if at is None or self._is_stopped or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._clock.now().mono), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._engine.handle_timer(self._clock.now())
        self.run()


def _no_room() -> TooManyMessages:
    return TooManyMessages("too many messages are on their way")


def _nobody(work: Coroutine[None, None, None]) -> None:
    work.close()
    raise AssertionError("nobody keeps what is done in the background")

"""The pubsub engine of a process: what it listens to, what it publishes, and, at a node, what it hosts and relays (section 11).

Joins the parts and routes what comes to them. A node that hosts a topic asks itself like any other host, without a network.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import WireError
from yzdht.limits import FEEDS_MAX, LOCAL_ROUNDS_MAX, PUBLISH_DEADLINE_S, PUBLISHES_MAX
from yzdht.pubsub.alarms import Alarms
from yzdht.pubsub.delegating import Delegating, NodeFinder
from yzdht.pubsub.edge import Ears, Edge
from yzdht.pubsub.feed import Feed, FeedCounts
from yzdht.pubsub.feed_calls import FeedCalls
from yzdht.pubsub.host import TopicHost
from yzdht.pubsub.hosts import HostFinder
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.publisher import Publisher, PublishResult
from yzdht.pubsub.rates import Bringers
from yzdht.pubsub.relayed_publishes import RelayedPublishes
from yzdht.pubsub.sources import Surroundings as Around
from yzdht.rpc.engine import Answer, Call, Push, Reply, Up
from yzdht.wire.frame import RecordType
from yzdht.wire.history import BRINGER_BYTES, Bringer
from yzdht.wire.pubsub import Announcement, decode_envelope, decode_push
from yzdht.wire.rpc import (
    Backlog,
    Publish,
    Refusal,
    Status,
    Subscribe,
    Unsubscribe,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now, TopicStore
    from yzdht.pubsub.feed import Listener, Start
    from yzdht.pubsub.ports import Surroundings
    from yzdht.pubsub.sources import Finder
    from yzdht.pubsub.subscriber import Subscriber
    from yzdht.rpc.engine import Down, Failed, Outgoing, Peer
    from yzdht.wire.address import Contact
    from yzdht.wire.history import TopicVerdict
    from yzdht.wire.holdings import Holdings
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body, Method, WireContact


_OWN_BRINGER = Bringer(bytes(BRINGER_BYTES))
"""Of what this process itself found: the hash of nobody's."""


class Hosting(NamedTuple):
    """What it takes to host topics.

    Attributes:
        own: This node, as it asks itself.
        store: Histories.
        bringer_key: 32 secret bytes, kept with the store.
        is_reached: False while others do not reach this node: it hosts nothing then.

    """

    own: Peer
    store: TopicStore
    bringer_key: bytes
    is_reached: Callable[[], bool] = lambda: True


class PubsubEngine:
    """Of one process: of a node, which hosts, or of a client, which has its nodes do everything for it.

    Whoever drives it carries out what `take_outgoing` says, then has it `serve_itself`, until both have nothing more.

    Args:
        own: This end.
        surroundings: The process that it is part of.
        usable: Of contacts that a node named those that may be dialled.
        hosting: What it takes to host topics; None for a client.

    """

    def __init__(
        self,
        own: Contact,
        surroundings: Surroundings,
        usable: Callable[[tuple[WireContact, ...], NodeId], list[Contact]],
        hosting: Hosting | None = None,
    ) -> None:
        self._own = own
        self._verifier = surroundings.verifier
        self._count = surroundings.count
        self._policies = surroundings.policies
        self._observe = surroundings.observe
        self._outbox = Outbox()
        self._feeds: dict[TopicId, list[Feed]] = {}
        self._subscribers: dict[Feed, Subscriber] = {}
        self._heard_before = FeedCounts()  # by feeds that are over
        self._alarms = Alarms()
        self._usable = usable
        self._own_peer: Peer | None = None
        self._for_itself: deque[Callable[[Now], None]] = deque()  # what it publishes, and pushes, to itself
        self._is_stopped = False
        self.host: TopicHost | None = None
        self.edge: Edge | None = None
        self._publisher: Publisher | Delegating  # of the own user
        self._publishers: tuple[Publisher | Delegating, ...]
        self._finder: Finder
        if hosting is None:
            self._finder = NodeFinder(self._outbox, surroundings.target_of)
            self._publisher = Delegating(self._outbox, self._finder, self._policies)
            self._publishers = (self._publisher,)
            return
        finder = HostFinder(own, self._outbox, surroundings.target_of, hosting.is_reached)
        self._finder = finder
        self._own_peer = hosting.own
        self.host = TopicHost(own, hosting.store, self._outbox, surroundings, hosting.bringer_key)
        at_home = self._take_at_home
        self._publisher = Publisher(own.node_id, self._outbox, finder, at_home, self._policies)
        for_clients = Publisher(own.node_id, self._outbox, finder, at_home, self._policies)
        self._publishers = (self._publisher, for_clients)
        rates, bringers = self.host.rates, Bringers(hosting.bringer_key)
        self._relayed_publishes = RelayedPublishes(
            self._outbox, surroundings, bringers, rates, partial(self._publish, for_clients)
        )
        self.edge = Edge(self._outbox, surroundings, bringers, rates, Ears(self._feed, self._close))

    # Commands

    def start(self, now: Now) -> None:
        """Take up what is on disk."""
        if self.host is not None:
            self.host.start(now)

    @property
    def has_room(self) -> bool:
        """True if one more message can be begun."""
        return len(self._publisher) < PUBLISHES_MAX

    def learn_policy(self, topic: TopicId, record: bytes, now: Now) -> None:
        """Take note of a topic's policy that this process has read, to show it to hosts, and to go by it as one.

        Raises:
            WireError, CryptoError: It does not hold.

        """
        self._policies.learn(record, topic, _OWN_BRINGER, now)

    def publish(
        self,
        envelope: PubsubEnvelope,
        then: Callable[[PublishResult, Now], None],
        now: Now,
        patience_s: float = PUBLISH_DEADLINE_S,
    ) -> bool:
        """Bring a message that this process signed to the hosts of its topic.

        Args:
            envelope: It is not checked again where this node hosts the topic, or listens to it.
            then: Told once.
            now: The present.
            patience_s: How long it is tried.

        Returns:
            False if too many are under way: nothing began.

        """
        self._verifier.know(envelope)
        is_begun = self._publish(self._publisher, envelope, then, now, patience_s)
        self._settle(now)
        return is_begun

    def _publish(
        self,
        publisher: Publisher | Delegating,
        envelope: PubsubEnvelope,
        then: Callable[[PublishResult, Now], None],
        now: Now,
        patience_s: float = PUBLISH_DEADLINE_S,
    ) -> bool:
        def told(result: PublishResult, at: Now) -> None:
            self._count("topic_accepted" if result.is_accepted else "topic_not_accepted")
            self._observe("topic_publish_seconds", max(0.0, at.mono - now.mono))
            then(result, at)

        return publisher.publish(envelope, told, now, patience_s)

    def subscribe(
        self, topic: TopicId, start: Start | Holdings, subscriber: Subscriber, now: Now
    ) -> Feed | None:
        """Listen to a topic for somebody of this process; None if that is one too many."""
        if sum(map(len, self._feeds.values())) >= FEEDS_MAX:
            return None
        feed = self._feed(topic, start, subscriber.listener)
        subscriber.follow(feed.handed_on)
        self._subscribers[feed] = subscriber
        self._alarms.add(subscriber)
        feed.start(now)
        self._settle(now)
        return feed

    def _feed(self, topic: TopicId, start: Start | Holdings, listener: Listener) -> Feed:
        calls = FeedCalls(self._outbox, self._finder, self._touch, lambda feed: self._others(topic, feed))
        around = Around(self._own.node_id, calls, calls, self._usable, is_delegated=self.host is None)
        calls.feed = feed = Feed(topic, start, around, self._verifier, listener)
        self._feeds.setdefault(topic, []).append(feed)
        self._alarms.add(feed)
        return feed

    def _others(self, topic: TopicId, feed: Feed) -> list[Feed]:
        return [other for other in self._feeds.get(topic, ()) if other is not feed]

    def renew(self, feed: Feed, now: Now, *, are_more_wanted: bool) -> None:
        """More can be opened than before, and perhaps messages of more senders are wanted, which hosts are asked for."""
        subscriber = self._subscribers.get(feed)
        if subscriber is None:
            return
        subscriber.on_epochs(now)
        if are_more_wanted:
            feed.look_again(now)
        self._touch(feed)
        self._settle(now)

    def unsubscribe(self, topic: TopicId, feed: Feed, now: Now) -> None:
        """Listen no more."""
        self._close(topic, feed)
        self._settle(now)

    def _close(self, topic: TopicId, feed: Feed) -> None:
        feeds = self._feeds.get(topic, [])
        if feed not in feeds:
            return
        feeds.remove(feed)
        feed.stop()
        self._heard_before = self._heard_before.plus(feed.counts)
        self._alarms.forget(feed)
        if (subscriber := self._subscribers.pop(feed, None)) is not None:
            self._alarms.forget(subscriber)
        if not feeds:
            del self._feeds[topic]

    def _touch(self, feed: Feed) -> None:
        self._alarms.touch(feed)
        if (subscriber := self._subscribers.get(feed)) is not None:
            self._alarms.touch(subscriber)

    def is_heard(self, node_id: NodeId) -> bool:
        """True while it is listened to something at a node."""
        return any(node_id in feed.sources for feed in self._all_feeds())

    # What it has

    @property
    def subscriptions(self) -> int:
        """What this process listens to for itself."""
        return len(self._subscribers)

    def heard(self) -> FeedCounts:
        """What came of topics that this process listens to, for itself and for its clients, so far."""
        total = self._heard_before
        for feed in self._all_feeds():
            total = total.plus(feed.counts)
        return total

    # Events

    def on_neighbourhood(self, now: Now) -> None:
        """The table has changed."""
        if self.host is not None:
            self.host.on_neighbourhood(now)
            self._settle(now)

    def on_link(self, peer: Peer, change: Up | Down, now: Now) -> None:
        """A session with a node began, which is perhaps another one of it, or the last one ended."""
        if self.host is not None:
            self.host.on_link(peer, change, now)
        if self.edge is not None and not isinstance(change, Up):
            self.edge.drop(peer, now)
        for feed in self._all_feeds():
            if isinstance(change, Up):
                feed.on_up(peer.node_id, now)
            else:
                feed.on_down(peer.node_id, now)
                self._touch(feed)
        self._settle(now)

    def on_client_gone(self, peer: Peer, now: Now) -> None:
        """A client's session ended."""
        if self.host is not None and self.edge is not None:
            self.host.on_gone(peer)
            self.edge.drop(peer, now)
            self._settle(now)

    def on_request(self, request: int, peer: Peer, _method: Method, body: Body, now: Now) -> None:
        """A peer asks something of methods 0x20 to 0x24."""
        host, edge = self.host, self.edge
        if host is None or edge is None:
            self._outbox.put(Reply(request, Status.REFUSED, Refusal()))
        elif isinstance(body, Subscribe) and body.delegate:
            edge.subscribe(request, peer, body, now)
        elif isinstance(body, Publish) and body.delegate:
            self._relayed_publishes.publish(request, peer, body, now)
        elif isinstance(body, Backlog) and edge.has(peer, body.topic):
            edge.backlog(request, peer, body, now)
        else:
            if isinstance(body, Unsubscribe):
                edge.unsubscribe(peer, body.topic, now)
            host.on_request(request, peer, body, now)
        self._settle(now)

    def on_answer(self, call: int, outcome: Answer | Failed, now: Now) -> None:
        """A call ended."""
        self._outbox.on_answer(call, outcome, now)
        self._settle(now)

    def on_found(self, op: int, contacts: list[Contact], now: Now) -> None:
        """A search ended."""
        self._outbox.on_found(op, contacts, now)
        self._settle(now)

    def on_kept(self, op: int, verdict: TopicVerdict, now: Now) -> None:
        """A message is on disk, or was refused."""
        if self.host is not None:
            self.host.on_stored(op, verdict, now)
            self._settle(now)

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes, now: Now) -> None:
        """A peer says something unasked."""
        if record_type is RecordType.PUBSUB:
            self._hear(peer.node_id, data, now)
            self._settle(now)

    def _hear(self, node_id: NodeId, data: bytes, now: Now) -> None:
        try:
            push = decode_push(data)
            if isinstance(push, Announcement):
                for topic, rows in push.changes:
                    for feed in list(self._feeds.get(topic, ())):
                        feed.on_announced(node_id, rows, now)
                        self._touch(feed)
                return
            for raw in push.envelopes:
                envelope = decode_envelope(raw)
                for feed in list(self._feeds.get(envelope.topic, ())):
                    feed.on_pushed(node_id, envelope, now)
                    self._touch(feed)
        except WireError:
            self._count("pubsub_pushes_unreadable")

    # Time

    def _all_feeds(self) -> list[Feed]:
        return [feed for feeds in self._feeds.values() for feed in feeds]

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        if self._is_stopped:
            return None
        times = [self._alarms.next_timer(), *(publisher.next_timer() for publisher in self._publishers)]
        if self.host is not None and self.edge is not None:
            times += [self.host.next_timer(), self.edge.next_timer()]
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        for publisher in self._publishers:
            publisher.handle_timer(now)
        self._alarms.ring(now)
        if self.host is not None and self.edge is not None:
            self.host.handle_timer(now)
            self.edge.handle_timer(now)
        self._settle(now)

    # Out

    def _settle(self, now: Now) -> None:
        """Let this node answer what it asks itself, and the edge those who waited."""
        for _ in range(LOCAL_ROUNDS_MAX):
            if self.edge is not None:
                self.edge.look(now)
            own = [] if self._own_peer is None else self._outbox.take_own(self._own_peer)
            if not own:
                return
            for item in own:
                self._answer_itself(item, now)
        raise AssertionError("a node goes on asking itself")

    def _answer_itself(self, item: Call | Reply | Push, now: Now) -> None:
        assert self._own_peer is not None
        assert self.host is not None
        match item:
            case Call():
                self.host.on_request(-item.call, self._own_peer, item.body, now)
            case Reply():
                self._outbox.on_answer(-item.request, Answer(item.status, item.body), now)
            case Push():
                self._for_itself.append(partial(self._hear, self._own.node_id, item.data))

    def _take_at_home(self, envelope: PubsubEnvelope, then: Callable[[Answer, Now], None], _now: Now) -> None:
        self._for_itself.append(partial(self._publish_at_home, envelope, then))

    def _publish_at_home(
        self, envelope: PubsubEnvelope, then: Callable[[Answer, Now], None], now: Now
    ) -> None:
        assert self.host is not None
        self.host.take_own(envelope, then, now)

    @property
    def has_something_for_itself(self) -> bool:
        """True if `serve_itself` is wanted."""
        return bool(self._for_itself)

    def serve_itself(self, now: Now) -> bool:
        """Take the next of what this node publishes, and pushes, to itself; False if there is nothing.

        Wanted once what others are sent is on its way; what comes of each is to be carried out before the next.
        """
        if not self._for_itself:
            return False
        try:
            self._for_itself.popleft()(now)
        finally:
            self._settle(now)
        return True

    def take_outgoing(self) -> list[Outgoing]:
        """What to do, in order; empties the list."""
        return self._outbox.take()

    def stop(self, now: Now) -> None:
        """Give up everything under way; nothing is due any more."""
        self._is_stopped = True
        for publisher in self._publishers:
            publisher.stop(now)
        for feed in self._all_feeds():
            feed.stop(is_silent=True)  # sessions end, and what is subscribed in them
        self._feeds.clear()
        self._subscribers.clear()
        self._for_itself.clear()
        self._alarms = Alarms()
        if self.host is not None:
            self.host.stop()
        self._outbox.stop()

"""A topic host: takes messages in, keeps them, passes them on, shows what it holds (PROTOCOL.md section 11, methods 0x20 to 0x24).

Joins the parts: who may bring how much (`rates`), what is taken (`intake`), who is told (`subscriptions`, `announcements`), what other hosts
have (`reconciliation`, `fetching`), and which topics belong here (`hosted`, `lookout`). What clients have done for them (`delegate`) is not its matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.errors import StoreError, WireError
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    BACKLOG_CHARGE_BYTES_PER_RANGE,
    PUBSUB_ENVELOPE_BYTES_MAX,
    TOPIC_ACTIVE_S,
)
from yzdht.pubsub.announcements import Announcements, rows_bytes
from yzdht.pubsub.fanout import FanOut, changes_of_each
from yzdht.pubsub.fetching import Fetching
from yzdht.pubsub.hosted import Hosted, Topics
from yzdht.pubsub.intake import Intake, learn_policy
from yzdht.pubsub.keeping import Keeping
from yzdht.pubsub.lookout import Lookout
from yzdht.pubsub.pauses import limited
from yzdht.pubsub.rates import Bringers, Rates
from yzdht.pubsub.reconciliation import Reconciliation
from yzdht.pubsub.subscriptions import Subscriptions
from yzdht.rpc.engine import Answer, Down, Reply, Up
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.history import ForgetTopic
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import (
    Backlog,
    BacklogPage,
    Empty,
    Publish,
    Refusal,
    Status,
    Subscribe,
    Subscribed,
    TopicSync,
    TopicSynced,
    Unsubscribe,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import TopicId
    from yzdht.ports import Now, TopicStore
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.ports import Surroundings
    from yzdht.rpc.engine import Peer
    from yzdht.wire.history import Bringer, TopicVerdict
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body


_NOTHING = Refusal()


class TopicHost:
    """One node's.

    Args:
        own: This node; it hosts topics if its neighbourhood says so.
        store: Histories.
        outbox: Where all that it wants done goes.
        surroundings: The node that it is part of.
        bringer_key: 32 secret bytes, kept with the store: names who brought what.

    """

    def __init__(
        self,
        own: Contact,
        store: TopicStore,
        outbox: Outbox,
        surroundings: Surroundings,
        bringer_key: bytes,
    ) -> None:
        self._own_id = own.node_id
        self._outbox = outbox
        self._neighbourhood = surroundings.neighbourhood
        self._count = surroundings.count
        self._policies = surroundings.policies
        self._bringers = Bringers(bringer_key)
        self._rates = Rates(own.node_id)
        self._topics = Topics(
            own.node_id, store, surroundings.neighbourhood, surroundings.target_of, surroundings.count
        )
        self._subscriptions = Subscriptions()
        self._announcements = Announcements(
            self._topics, self._subscriptions, outbox, surroundings.is_congested
        )
        fan_out = FanOut(
            self._subscriptions,
            self._announcements,
            outbox,
            surroundings,
            lambda: changes_of_each(len(self._topics)),
        )
        self._keeping = Keeping(outbox, self._topics)
        self._intake = Intake(self._topics, store, self._keeping, fan_out, surroundings)
        wanted = self._subscriptions.has
        self._fetching = Fetching(
            self._topics, outbox, self._take_pulled, self._again, surroundings.policies, self._drop_if_unused
        )
        self._reconciliation = Reconciliation(
            own.node_id, self._topics, outbox, self._fetching, wanted, self._forget
        )
        self._lookout = Lookout(self._topics, self._reconciliation, wanted, self._forget)

    # What it has

    @property
    def rates(self) -> Rates:
        """What peers may bring and fetch, of this host and through its node."""
        return self._rates

    @property
    def topics(self) -> int:
        """How many it knows."""
        return len(self._topics)

    @property
    def subscriptions(self) -> int:
        """How many it serves, of all sessions and topics."""
        return len(self._subscriptions)

    @property
    def is_quiet(self) -> bool:
        """True while it neither compares nor fetches."""
        return self._reconciliation.is_quiet and self._fetching.is_quiet

    # Events

    def start(self, now: Now) -> None:
        """Take up what is on disk."""
        self._lookout.start(now)
        self._keeping.start(now)

    def on_neighbourhood(self, now: Now) -> None:
        """The table has changed."""
        self._lookout.changed(now)

    def on_link(self, peer: Peer, change: Up | Down, now: Now) -> None:
        """A session began, which is perhaps another one of the same node, or the last one ended."""
        if isinstance(change, Up):
            self._subscriptions.moved(peer)
            self._reconciliation.came(peer.node_id)
        else:
            self._fetching.gone(peer.node_id, now)
            self.on_gone(peer)

    def on_gone(self, peer: Peer) -> None:
        """The last session of a node, or a session of a client, has ended."""
        for topic in self._subscriptions.drop(peer):
            self._drop_if_unused(topic)

    def on_stored(self, op: int, verdict: TopicVerdict, now: Now) -> None:
        """A write is on disk, or was refused."""
        self._keeping.on_stored(op, verdict, now)

    def on_request(self, request: int, peer: Peer, body: Body, now: Now) -> None:
        """A peer asks; the answer to a PUBLISH waits for the disk."""
        try:
            self._serve(request, peer, body, now)
        except StoreError:  # nothing was answered: all that is shown is read before
            self._reply(request, _refused(Status.BUSY))

    def _serve(self, request: int, peer: Peer, body: Body, now: Now) -> None:
        match body:
            case Publish():
                self._publish(request, peer, body, now)
            case Subscribe():
                self._reply(request, self._subscribe(peer, body, now))
            case Unsubscribe():
                self._subscriptions.remove(peer, body.topic)
                self._drop_if_unused(body.topic)
                self._reply(request, Answer(Status.OK, Empty()))
            case Backlog():
                self._reply(request, self._backlog(peer, body, now))
            case TopicSync():
                self._reply(request, self._sync(peer, body, now))
            case _:
                self._reply(request, _refused(Status.UNKNOWN_METHOD))

    def _reply(self, request: int, answer: Answer) -> None:
        self._outbox.put(Reply(request, answer.status, answer.body))

    # Which topics

    def _admit(self, topic: TopicId, now: Now) -> Hosted | Answer:
        """A topic that belongs here; why not, else."""
        hosted = self._topics.get(topic)
        near = self._topics.near(topic) if hosted is None else hosted.near
        if not self._topics.is_in(near):
            return _refused(Status.REFUSED)
        if hosted is not None:
            return hosted
        return _refused(Status.OVER_QUOTA) if self._topics.is_full else self._topics.open(topic, near, now)

    def _drop_if_unused(self, topic: TopicId) -> None:
        """What nobody is subscribed to and nothing is held of is not remembered, unless some of it is on its way."""
        if (
            self._topics.get(topic) is None
            or self._subscriptions.has(topic)
            or self._fetching.is_fetching(topic)
        ):
            return
        if self._topics.is_empty(topic):
            self._forget(topic)

    def _forget(self, topic: TopicId) -> None:
        """It goes from here, and from the disk with all that was over."""
        if self._topics.get(topic) is None:
            return
        if not self._topics.is_empty(topic):
            self._keeping.submit(ForgetTopic(topic), _unheard)
        self._fetching.drop(topic)
        self._subscriptions.forget(topic)
        self._topics.drop(topic)
        self._count("pubsub_topics_forgotten")

    # PUBLISH

    def _publish(self, request: int, peer: Peer, body: Publish, now: Now) -> None:
        raw = body.envelope
        if len(raw) > PUBSUB_ENVELOPE_BYTES_MAX:
            self._reply(request, _refused(Status.TOO_LARGE))
        elif wait_s := self._rates.bring(peer, len(raw) + len(body.policy), now):
            self._reply(request, limited(wait_s))
        else:
            self._take_what_came(request, peer, body, now)

    def _take_what_came(self, request: int, peer: Peer, body: Publish, now: Now) -> None:
        try:
            envelope = decode_envelope(body.envelope)
        except WireError:
            self._reply(request, _refused(Status.BAD_REQUEST))
            return

        def then(answer: Answer, _at: Now) -> None:
            self._reply(request, answer)

        if self._take(envelope, self._bringers.of_peer(peer), then, now, body.policy):
            copies = self._subscriptions.count(envelope.topic)
            self._rates.copied(peer, copies, len(body.envelope), now)
        else:
            self._rates.punish(peer, now)

    def take_own(self, envelope: PubsubEnvelope, then: Callable[[Answer, Now], None], now: Now) -> None:
        """Take a message of this node's own user, or of a client of it; `then` is told once it is on disk, or why not."""
        self._take(envelope, self._bringers.of_host(self._own_id), then, now)

    def _take(
        self,
        envelope: PubsubEnvelope,
        bringer: Bringer,
        then: Callable[[Answer, Now], None],
        now: Now,
        policy: bytes = b"",
    ) -> bool:
        hosted = self._admit(envelope.topic, now)
        if isinstance(hosted, Answer):
            then(hosted, now)
            return True
        if policy and (refusal := learn_policy(self._policies, policy, envelope.topic, bringer, now)):
            then(refusal, now)
            self._drop_if_unused(envelope.topic)
            return False

        def told(answer: Answer, at: Now) -> None:
            then(answer, at)
            if answer.status is not Status.OK:
                self._drop_if_unused(envelope.topic)

        try:
            is_genuine = self._intake.take(envelope, hosted, bringer, told, now)
        except StoreError:  # other hosts may take it, and this one later
            told(_refused(Status.BUSY), now)
            is_genuine = True
        if is_genuine:
            self._reconciliation.touched(hosted, now)
        return is_genuine

    # SUBSCRIBE

    def _subscribe(self, peer: Peer, body: Subscribe, now: Now) -> Answer:
        if wait_s := self._rates.may_fetch(peer, now):
            return limited(wait_s)
        is_new = self._topics.get(body.topic) is None
        hosted = self._admit(body.topic, now)
        if isinstance(hosted, Answer):
            return hosted
        if is_new:  # it has perhaps a history at the others
            hosted.active_at -= TOPIC_ACTIVE_S
            self._reconciliation.soon(hosted, now)
        rows = self._topics.holdings(body.topic).rows(body.skip)
        account = self._bringers.of_peer(peer)
        if not self._subscriptions.add(
            peer, account, body.topic, hosted.tick, is_pushed=body.push, is_further=body.skip > 0
        ):
            self._drop_if_unused(body.topic)
            return _refused(Status.OVER_QUOTA)
        self._rates.fetched(peer, rows_bytes(rows), now)
        hosts = self._neighbourhood.shown(hosted.hosts, peer)
        return Answer(Status.OK, Subscribed(hosts, body.push, rows))

    # BACKLOG

    def _backlog(self, peer: Peer, body: Backlog, now: Now) -> Answer:
        """What is on disk is shown, whether or not this node is still a host."""
        if wait_s := self._rates.may_fetch(peer, now):
            return limited(wait_s)
        bytes_max = min(body.bytes_max, ANSWER_BODIES_BYTES_MAX)
        envelopes, more = self._topics.envelopes(body.topic, body.ranges, bytes_max)
        looked_for = BACKLOG_CHARGE_BYTES_PER_RANGE * len(body.ranges)
        self._rates.fetched(peer, max(looked_for, sum(map(len, envelopes))), now)
        if not envelopes and self._topics.get(body.topic) is None:
            return _refused(Status.NOT_FOUND)
        return Answer(Status.OK, BacklogPage(tuple(envelopes), more))

    # TOPIC_SYNC

    def _sync(self, peer: Peer, body: TopicSync, now: Now) -> Answer:
        if wait_s := self._rates.may_fetch(peer, now):
            return limited(wait_s)
        may_bring = bool(peer.caps & Caps.PUBSUB) and not peer.caps & Caps.CLIENT
        hosted = self._topics.get(body.topic)
        if hosted is None:
            near = self._topics.near(body.topic)
            if not self._topics.is_host_of(near):
                return _refused(Status.REFUSED)
            if not may_bring or not body.summary:  # there is nothing to take on
                return Answer(Status.OK, TopicSynced())
            if self._topics.is_full:
                return _refused(Status.OVER_QUOTA)
            hosted = self._topics.open(body.topic, near, now)
            self._reconciliation.touched(hosted, now)
        rows = self._topics.holdings(body.topic).rows(body.skip)
        self._rates.fetched(peer, rows_bytes(rows) + rows_bytes(body.summary), now)
        if may_bring and peer.node_id != self._own_id:
            source, account = self._source(hosted, peer)
            self._fetching.hear(hosted, source, body.summary, now, account)
            self._drop_if_unused(body.topic)  # what nothing can be fetched of now; it will be named again
        return Answer(Status.OK, TopicSynced((), rows))

    def _source(self, hosted: Hosted, peer: Peer) -> tuple[Contact, Bringer | None]:
        """A peer to fetch from, whose session is open; and who pays for it, unless it is near the topic."""
        for contact in hosted.near:
            if contact.node_id == peer.node_id:
                return contact, None
        return Contact(peer.node_id, peer.public_key, (), peer.caps), self._bringers.of_peer(peer)

    def _again(self, hosted: Hosted, now: Now) -> None:
        self._reconciliation.again(hosted, now)

    def _take_pulled(
        self, envelope: PubsubEnvelope, hosted: Hosted, source: Contact, account: Bringer | None, now: Now
    ) -> bool:
        """Take what was fetched: on the account of the host that sent it, or as a stranger's if it is not near the topic."""
        bringer = account or self._bringers.of_fetched_from(source.node_id)
        self._count("pubsub_pulled")

        def told(answer: Answer, _at: Now) -> None:
            if answer.status is not Status.OK:
                self._drop_if_unused(envelope.topic)

        return self._intake.take(envelope, hosted, bringer, told, now, is_pushed=False)

    # Time

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        parts = (self._announcements, self._reconciliation, self._fetching, self._lookout, self._keeping)
        return min((at for part in parts if (at := part.next_timer()) is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        self._announcements.handle_timer(now)
        self._lookout.handle_timer(now)
        self._keeping.handle_timer(now)
        self._reconciliation.handle_timer(now)
        self._fetching.handle_timer(now)

    def stop(self) -> None:
        """Ask and answer nothing any more."""
        self._reconciliation.stop()
        self._fetching.stop()
        self._keeping.stop()


def _unheard(_verdict: TopicVerdict, _now: Now) -> None:
    """What is forgotten twice is forgotten."""


def _refused(status: Status) -> Answer:
    return Answer(status, _NOTHING)

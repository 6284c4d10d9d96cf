"""Who is subscribed to which topics of a host: soft state of sessions, gone with them (PROTOCOL.md section 11)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from yzdht.limits import (
    SUBSCRIBERS_PER_TOPIC_MAX,
    SUBSCRIPTIONS_MAX,
    SUBSCRIPTIONS_PER_BRINGER_MAX,
    TOPICS_PER_SESSION_MAX,
)
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import TopicId
    from yzdht.rpc.engine import Peer
    from yzdht.wire.holdings import Series


def session_key(peer: Peer) -> bytes:
    """Whom a subscription belongs to: a node, whatever its session, or one session of a client, which may have several."""
    return peer.session if peer.caps & Caps.CLIENT else peer.node_id


class Subscriber:
    """One session with subscriptions.

    Attributes:
        peer: As it was seen last; pushes go there.
        account: With whom it shares what there is room for.
        told: For each topic that it is subscribed to, up to which change of it the peer was told.
        pushed: Topics of which it wants the messages themselves.
        changed: Topics of which it is to be told more, in the order in which they changed.
        announced_at: When it was told last, monotonic seconds.
        is_due: True while a time is set at which it is told.
        beside_bytes: So much it was sent since it does not keep up with what it is sent.
        beside: Of it of each series; of those of which something had no room more than any has.

    """

    __slots__ = (
        "account",
        "announced_at",
        "beside",
        "beside_bytes",
        "changed",
        "is_due",
        "peer",
        "pushed",
        "told",
    )

    def __init__(self, peer: Peer, account: bytes) -> None:
        self.peer = peer
        self.account = account
        self.told: dict[TopicId, int] = {}
        self.pushed: set[TopicId] = set()
        self.changed: dict[TopicId, None] = {}
        self.announced_at = float("-inf")
        self.is_due = False
        self.beside_bytes = 0
        self.beside: dict[Series, int] = {}

    def keeps_up(self) -> None:
        """It reads what it is sent, or was told what it was not sent: there is room for more."""
        self.beside_bytes = 0
        self.beside.clear()


class Subscriptions:
    """All of a host, both ways round."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Subscriber] = {}
        self._topics: dict[TopicId, dict[bytes, Subscriber]] = {}
        self._accounts: Counter[bytes] = Counter()
        self._count = 0

    def __len__(self) -> int:
        """Subscriptions, of all topics."""
        return self._count

    @property
    def sessions(self) -> int:
        """Sessions that have any."""
        return len(self._sessions)

    def of(self, topic: TopicId) -> Iterable[Subscriber]:
        """Who is subscribed to a topic."""
        return self._topics.get(topic, {}).values()

    def has(self, topic: TopicId) -> bool:
        """True if anybody is subscribed to it."""
        return topic in self._topics

    def count(self, topic: TopicId) -> int:
        """How many are subscribed to a topic."""
        return len(self._topics.get(topic, ()))

    def is_subscribed(self, peer: Peer, topic: TopicId) -> bool:
        """True if a session is subscribed to a topic."""
        return session_key(peer) in self._topics.get(topic, ())

    def subscriber(self, key: bytes) -> Subscriber | None:
        """The session of that key, if it is subscribed to anything."""
        return self._sessions.get(key)

    def add(
        self, peer: Peer, account: bytes, topic: TopicId, told: int, *, is_pushed: bool, is_further: bool
    ) -> bool:
        """Subscribe a session, or change how it is; False if there is no room.

        Args:
            peer: Whose it is.
            account: With whom it shares what there is room for.
            topic: To what.
            told: Up to which change of the topic the answer tells.
            is_pushed: True if the messages themselves are wanted.
            is_further: True if the answer is a later page, which tells nothing of what changed last.

        """
        key = session_key(peer)
        subscriber = self._sessions.get(key)
        is_new = subscriber is None or topic not in subscriber.told
        if is_new and self._is_full(subscriber, account, topic):
            return False
        subscriber = self._sessions.setdefault(key, subscriber or Subscriber(peer, account))
        if is_new:
            self._topics.setdefault(topic, {})[key] = subscriber
            self._count += 1
            self._accounts[subscriber.account] += 1
        if is_new or not is_further:
            subscriber.told[topic] = told
            subscriber.changed.pop(topic, None)
        (subscriber.pushed.add if is_pushed else subscriber.pushed.discard)(topic)
        return True

    def _is_full(self, subscriber: Subscriber | None, account: bytes, topic: TopicId) -> bool:
        return (
            self._count >= SUBSCRIPTIONS_MAX
            or self._accounts[account] >= SUBSCRIPTIONS_PER_BRINGER_MAX
            or (subscriber is not None and len(subscriber.told) >= TOPICS_PER_SESSION_MAX)
            or self._is_full_for(account, self._topics.get(topic, {}))
        )

    def _is_full_for(self, account: bytes, members: dict[bytes, Subscriber]) -> bool:
        """One account has a topic's places while half are free, and then a quarter of them: ids are free."""
        if len(members) < SUBSCRIBERS_PER_TOPIC_MAX // 2:
            return False
        own = sum(member.account == account for member in members.values())
        return own >= SUBSCRIBERS_PER_TOPIC_MAX // 4 or len(members) >= SUBSCRIBERS_PER_TOPIC_MAX

    def moved(self, peer: Peer) -> None:
        """A node has another session now; its subscriptions go on there."""
        subscriber = self._sessions.get(session_key(peer))
        if subscriber is not None:
            subscriber.peer = peer

    def remove(self, peer: Peer, topic: TopicId) -> None:
        """End one subscription; nothing happens if there is none."""
        key = session_key(peer)
        subscriber = self._sessions.get(key)
        if subscriber is not None and topic in subscriber.told:
            self._remove(key, subscriber, topic)

    def drop(self, peer: Peer) -> list[TopicId]:
        """A session ended: so do its subscriptions. Returns to which topics they were."""
        key = session_key(peer)
        subscriber = self._sessions.get(key)
        topics = [] if subscriber is None else list(subscriber.told)
        for topic in topics:
            assert subscriber is not None
            self._remove(key, subscriber, topic)
        return topics

    def forget(self, topic: TopicId) -> None:
        """A topic is not hosted any more."""
        for key, subscriber in list(self._topics.get(topic, {}).items()):
            self._remove(key, subscriber, topic)

    def _remove(self, key: bytes, subscriber: Subscriber, topic: TopicId) -> None:
        del subscriber.told[topic]
        subscriber.pushed.discard(topic)
        subscriber.changed.pop(topic, None)
        if not subscriber.told:
            del self._sessions[key]
        members = self._topics[topic]
        del members[key]
        if not members:
            del self._topics[topic]
        self._count -= 1
        self._accounts[subscriber.account] -= 1
        if not self._accounts[subscriber.account]:
            del self._accounts[subscriber.account]

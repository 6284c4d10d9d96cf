"""What changed in topics, told to subscribers who were not sent the messages: seldom, and all topics in one record (section 11).

For each subscription only a number is kept, up to which change it was told; so ten thousand topics that change while a subscriber does
not read cost nothing but that.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Protocol

from yzdht.errors import StoreError
from yzdht.limits import (
    ANNOUNCE_AFTER_S,
    ANNOUNCE_EVERY_S,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENT_ROWS_PER_TURN,
    TOPICS_PER_ANNOUNCEMENT_MAX,
)
from yzdht.pubsub.hosted import Changes
from yzdht.pubsub.subscriptions import session_key
from yzdht.rpc.engine import Push
from yzdht.wire.frame import RecordType
from yzdht.wire.pubsub import encode_announcement


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.hosted import Hosted
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.subscriptions import Subscriber, Subscriptions
    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import SummaryRow


_ROW_BYTES = 60
_HOLE_BYTES = 5
_TOPIC_BYTES = 24
_PAUSE_S = 0.01  # between turns, when one does not suffice


def rows_bytes(rows: Iterable[SummaryRow]) -> int:
    """So many bytes go over the wire for a summary at most, and seldom many fewer."""
    return sum(_ROW_BYTES + _HOLE_BYTES * len(row.holes) for row in rows)


class Changing(Protocol):
    """Topics of which there is something to tell: those of a host, or those that a node listens to for its clients."""

    def get(self, topic: TopicId) -> Hosted | None:
        """A topic that is known."""
        ...

    def changes(self, hosted: Hosted, tick: int) -> Changes:
        """What is to be told of a topic to somebody who was told up to a tick; raises StoreError if that cannot be read."""
        ...


class Announcements:
    """Tells subscribers what changed.

    Args:
        topics: What there is to tell.
        subscriptions: Whom.
        outbox: Where it goes.
        is_congested: True if a peer does not read what it is sent.

    """

    def __init__(
        self,
        topics: Changing,
        subscriptions: Subscriptions,
        outbox: Outbox,
        is_congested: Callable[[Peer], bool],
    ) -> None:
        self._topics = topics
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._is_congested = is_congested
        self._due: list[tuple[float, int, bytes, Subscriber]] = []
        self._last = 0

    def changed(self, subscriber: Subscriber, topic: TopicId, now: Now) -> None:
        """A subscriber is to be told of a topic."""
        subscriber.changed[topic] = None
        if not subscriber.is_due:
            at = max(now.mono + ANNOUNCE_AFTER_S, subscriber.announced_at + ANNOUNCE_EVERY_S)
            self._schedule(subscriber, at)

    def _schedule(self, subscriber: Subscriber, at: float) -> None:
        subscriber.is_due = True
        self._last += 1
        heapq.heappush(self._due, (at, self._last, session_key(subscriber.peer), subscriber))

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return self._due[0][0] if self._due else None

    def handle_timer(self, now: Now) -> None:
        """Tell whom it is time to tell, so many rows at most in one turn."""
        rows_left = ANNOUNCEMENT_ROWS_PER_TURN
        while self._due and self._due[0][0] <= now.mono:
            _, _, key, subscriber = heapq.heappop(self._due)
            subscriber.is_due = False
            if self._subscriptions.subscriber(key) is not subscriber or not subscriber.changed:
                continue
            if rows_left <= 0:
                self._schedule(subscriber, now.mono + _PAUSE_S)
            elif self._is_congested(subscriber.peer):
                self._schedule(subscriber, now.mono + ANNOUNCE_EVERY_S)
            else:
                subscriber.keeps_up()
                rows_left -= self._tell(subscriber, now)

    def _tell(self, subscriber: Subscriber, now: Now) -> int:
        """Send one record; returns how many rows it has."""
        changes: list[tuple[TopicId, tuple[SummaryRow, ...]]] = []
        room = ANNOUNCEMENT_BYTES_MAX
        for topic in list(subscriber.changed)[:TOPICS_PER_ANNOUNCEMENT_MAX]:
            try:
                rows, tick, is_all = self._changes(subscriber, topic)
            except StoreError:  # it is told of later, after the others
                subscriber.changed[topic] = subscriber.changed.pop(topic)
                continue
            room -= rows_bytes(rows) + _TOPIC_BYTES if rows else 0
            if room < 0 and changes:
                break
            subscriber.told[topic] = tick
            if is_all:
                del subscriber.changed[topic]
            if rows:
                changes.append((topic, rows))
        if changes:
            subscriber.announced_at = now.mono
            self._outbox.put(Push(subscriber.peer, RecordType.PUBSUB, encode_announcement(changes)))
        if subscriber.changed:
            self._schedule(subscriber, now.mono + ANNOUNCE_EVERY_S)
        return sum(len(rows) for _, rows in changes)

    def _changes(self, subscriber: Subscriber, topic: TopicId) -> Changes:
        told = subscriber.told[topic]
        hosted = self._topics.get(topic)
        return Changes((), told, is_all=True) if hosted is None else self._topics.changes(hosted, told)

"""A new message on its way to the subscribers of its topic: sent to who asked for that and keeps up, told to the others (section 11).

A subscriber that does not keep up is told of what strangers say once, each of them, and fetches it later. What somebody says who said
something before is sent all the same, within PUSH_BESIDE_BYTES_MAX, and a quarter of that for each series: until the subscriber asks
for it the strangers may have pushed it out of a history. There is as much room again once it has read as much of what waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import (
    CHANGES_REMEMBERED_MAX,
    CHANGES_REMEMBERED_MIN,
    CHANGES_REMEMBERED_OF_ALL_MAX,
    LINK_UNSENT_BYTES_HIGH,
    PUSH_BESIDE_BYTES_MAX,
    PUSH_BESIDE_PARTS,
    PUSH_BESIDE_SERIES_MAX,
)
from yzdht.rpc.engine import Push
from yzdht.wire.frame import RecordType
from yzdht.wire.pubsub import encode_delivery


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Now
    from yzdht.pubsub.announcements import Announcements
    from yzdht.pubsub.hosted import Hosted
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.ports import Surroundings
    from yzdht.pubsub.subscriptions import Subscriber, Subscriptions
    from yzdht.wire.pubsub import PubsubEnvelope


_HAS_READ_BYTES = LINK_UNSENT_BYTES_HIGH - PUSH_BESIDE_BYTES_MAX
"""With no more than that unsent there is room for what is sent beside it, below what a session that keeps up may have unsent."""


def changes_of_each(topics: int, most: int = CHANGES_REMEMBERED_MAX) -> int:
    """Of how many series of each topic it is remembered that they changed, where there are so many topics, and no more are known of one."""
    part = CHANGES_REMEMBERED_OF_ALL_MAX // max(1, topics)
    return min(most, max(CHANGES_REMEMBERED_MIN, part))


class FanOut:
    """Of one host.

    Args:
        subscriptions: To whom it goes.
        announcements: Through which those learn of it who are not sent it.
        outbox: Where it goes.
        surroundings: Says who does not read what it is sent.
        remembered: Of how many series of each topic it is remembered that they changed.
        of: Whose subscribers they are, as figures name them: of topics that are `hosted`, or `clients`.

    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        announcements: Announcements,
        outbox: Outbox,
        surroundings: Surroundings,
        remembered: Callable[[], int],
        of: str = "hosted",
    ) -> None:
        self._subscriptions = subscriptions
        self._announcements = announcements
        self._outbox = outbox
        self._is_congested = surroundings.is_congested
        self._unsent_bytes = surroundings.unsent_bytes
        self._observe = surroundings.observe
        self._passed_on = surroundings.passed_on
        self._remembered = remembered
        self._of = of

    def pass_on(
        self, envelope: PubsubEnvelope, hosted: Hosted, now: Now, *, is_pushed: bool, is_known: bool = False
    ) -> None:
        """Pass one on.

        Args:
            envelope: It is genuine, and was not held before.
            hosted: Its topic.
            now: The present.
            is_pushed: False if nobody is sent it: all are told.
            is_known: True if something of its series came before.

        """
        topic = hosted.topic
        series = envelope.series
        hosted.changed(series, is_told=self._subscriptions.has(topic), most=self._remembered())
        delivery: bytes | None = None
        sent = 0
        for subscriber in self._subscriptions.of(topic):
            is_sent = is_pushed and topic in subscriber.pushed
            if not (is_sent and self._has_room(subscriber, envelope, is_known=is_known)):
                self._announcements.changed(subscriber, topic, now)
                continue
            delivery = delivery or encode_delivery((envelope.raw,))
            self._outbox.put(Push(subscriber.peer, RecordType.PUBSUB, delivery))
            sent += 1
            if topic not in subscriber.changed:  # else it is still to be told of earlier ones
                subscriber.told[topic] = hosted.tick
        if is_pushed:
            self._observe("topic_fan_out", sent, self._of)
        if sent:
            self._passed_on(now)

    def _has_room(self, subscriber: Subscriber, envelope: PubsubEnvelope, *, is_known: bool) -> bool:
        """Whether a message is to be sent to a subscriber."""
        if not self._is_congested(subscriber.peer):
            subscriber.keeps_up()
            return True
        if subscriber.beside and self._unsent_bytes(subscriber.peer) <= _HAS_READ_BYTES:
            subscriber.keeps_up()
        sent, series, size = subscriber.beside, envelope.series, len(envelope.raw)
        if not is_known or (series not in sent and len(sent) >= PUSH_BESIDE_SERIES_MAX):
            return False
        of_series = sent.get(series, 0) + size
        has_room = (
            of_series <= PUSH_BESIDE_BYTES_MAX // PUSH_BESIDE_PARTS
            and subscriber.beside_bytes + size <= PUSH_BESIDE_BYTES_MAX
        )
        if has_room:
            subscriber.beside_bytes += size
        sent[series] = (
            of_series if has_room else PUSH_BESIDE_BYTES_MAX
        )  # after one that has no room none goes before it
        return has_room

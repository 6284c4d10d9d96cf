"""What one feed asks of others, beside the other feeds of the same topic in one process (PROTOCOL.md section 11).

A host knows one subscription of a node to a topic, however many listen there: what one of them says to it must not end, nor weaken, what
the others hear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from yzdht.wire.rpc import Subscribe, Unsubscribe


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.feed import Feed
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.sources import Finder
    from yzdht.rpc.engine import Answer, Failed
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body, Method


NO_CALL = 0
"""Was answered at once; nothing is under way."""


class FeedCalls:
    """Of one feed.

    Args:
        outbox: Where requests go.
        finder: Knows the hosts of topics.
        touch: Told that something has happened to the feed.
        others: The other feeds of its topic.

    Attributes:
        feed: The one; to be set before anything happens.

    """

    feed: Feed

    def __init__(
        self,
        outbox: Outbox,
        finder: Finder,
        touch: Callable[[Feed], None],
        others: Callable[[Feed], Iterable[Feed]],
    ) -> None:
        self._outbox = outbox
        self._finder = finder
        self._touch = touch
        self._others = others

    def call(
        self,
        contact: Contact,
        method: Method,
        body: Body,
        deadline_s: float,
        then: Callable[[Answer | Failed, Now], None],
    ) -> int:
        """Ask a node; what would take from the other feeds what they have is not said."""

        def answered(outcome: Answer | Failed, now: Now) -> None:
            self._touch(self.feed)
            then(outcome, now)

        self._touch(self.feed)
        if isinstance(body, Unsubscribe) and self._is_taken_over_at(contact.node_id):
            return NO_CALL
        if isinstance(body, Subscribe) and not body.push and self._is_pushed_by(contact.node_id):
            body = replace(body, push=True)
        return self._outbox.call(contact, method, body, deadline_s, answered)

    def _is_taken_over_at(self, node_id: NodeId) -> bool:
        """True if another listens there, or has asked to: requests arrive in order, so that a goodbye would end what it asked for."""
        return any(other.take_over(node_id) for other in self._others(self.feed))

    def _is_pushed_by(self, node_id: NodeId) -> bool:
        return any(other.pusher == node_id for other in self._others(self.feed))

    def cancel(self, call: int) -> None:
        """An answer is not wanted any more."""
        self._outbox.cancel(call)

    def find(self, topic: TopicId, then: Callable[[tuple[Contact, ...], Now], None], now: Now) -> None:
        """Tell the hosts of a topic."""

        def found(contacts: tuple[Contact, ...], at: Now) -> None:
            self._touch(self.feed)
            then(contacts, at)

        self._finder.find(topic, found, now)

    def doubt(self, topic: TopicId) -> None:
        """A host failed."""
        self._finder.doubt(topic)

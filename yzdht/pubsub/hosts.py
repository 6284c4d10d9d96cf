"""Which nodes host a topic: found once, believed for a while, found again when one of them fails (PROTOCOL.md section 11)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import HOST_CANDIDATES, TOPIC_HOSTS, TOPIC_HOSTS_KEPT_S, TOPIC_HOSTS_KNOWN_MAX
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import Target, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.outbox import Outbox
    from yzdht.wire.address import Contact


class _Known(NamedTuple):
    hosts: tuple[Contact, ...]
    at: float


class HostFinder:
    """Finds the hosts of topics, for everybody in one process who wants to know.

    Args:
        own: This node; a host itself where it is near enough and its capabilities say that it hosts topics.
        outbox: Through which nodes are searched.
        target_of: The point of a topic near which its hosts are.
        is_hosting: False while others do not reach this node, so that it hosts nothing.

    """

    def __init__(
        self,
        own: Contact,
        outbox: Outbox,
        target_of: Callable[[TopicId], Target],
        is_hosting: Callable[[], bool] = lambda: True,
    ) -> None:
        self._own = own
        self._is_hosting = is_hosting
        self._outbox = outbox
        self._target_of = target_of
        self._known: OrderedDict[TopicId, _Known] = OrderedDict()
        self._waiting: dict[TopicId, list[Callable[[tuple[Contact, ...], Now], None]]] = {}

    def find(self, topic: TopicId, then: Callable[[tuple[Contact, ...], Now], None], now: Now) -> None:
        """Tell the hosts of a topic, nearest first; at once if they are known. None if no node near it hosts anything."""
        known = self._known.get(topic)
        if known is not None and now.mono - known.at < TOPIC_HOSTS_KEPT_S:
            self._known.move_to_end(topic)
            then(known.hosts, now)
            return
        waiting = self._waiting.setdefault(topic, [])
        waiting.append(then)
        if len(waiting) == 1:
            target = self._target_of(topic)
            self._outbox.find(
                target, HOST_CANDIDATES, lambda contacts, at: self._found(topic, target, contacts, at)
            )

    def doubt(self, topic: TopicId) -> None:
        """A host failed: whoever asks next has them looked up again."""
        self._known.pop(topic, None)

    def _found(self, topic: TopicId, target: Target, contacts: Iterable[Contact], now: Now) -> None:
        others = [contact for contact in contacts if contact.node_id != self._own.node_id]
        hosts = hosts_among((self._own, *others) if self._is_hosting() else others, target)
        self._known[topic] = _Known(hosts, now.mono)
        while len(self._known) > TOPIC_HOSTS_KNOWN_MAX:
            self._known.popitem(last=False)
        for then in self._waiting.pop(topic, ()):
            then(hosts, now)


def hosts_among(contacts: Iterable[Contact], target: Target, count: int = TOPIC_HOSTS) -> tuple[Contact, ...]:
    """The nearest of some nodes that host topics, nearest first."""
    able = {c.node_id: c for c in contacts if c.caps & Caps.PUBSUB and not c.caps & Caps.CLIENT}
    point = int.from_bytes(target)
    nearest = sorted(able, key=lambda node_id: int.from_bytes(node_id) ^ point)
    return tuple(able[node_id] for node_id in nearest[:count])

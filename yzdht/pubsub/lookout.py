"""A host's walks over its topics: read from disk at the start, looked at when the neighbourhood changes, forgotten when idle.

PROTOCOL.md section 11. Walks are paced: so many topics in one turn, however many there are.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from yzdht.errors import StoreError
from yzdht.limits import (
    HISTORY_S,
    HOSTED_TOPICS_PAGE,
    HOSTS_LOOK_AFTER_S,
    HOSTS_LOOK_EVERY_S,
    HOSTS_LOOK_PAUSE_S,
    HOSTS_LOOKS_PER_TURN,
    TOPIC_ACTIVE_S,
)
from yzdht.pubsub.pauses import doubled_s


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.hosted import Hosted, Topics
    from yzdht.pubsub.reconciliation import Reconciliation


class Lookout:
    """Of one host.

    Args:
        topics: What is hosted.
        reconciliation: Told of topics whose hosts have changed.
        is_wanted: True if somebody is subscribed to a topic.
        forget: Drops a topic of which nothing is left.

    """

    def __init__(
        self,
        topics: Topics,
        reconciliation: Reconciliation,
        is_wanted: Callable[[TopicId], bool],
        forget: Callable[[TopicId], None],
    ) -> None:
        self._topics = topics
        self._reconciliation = reconciliation
        self._is_wanted = is_wanted
        self._forget = forget
        self._to_look: deque[TopicId] = deque()
        self._read_to: TopicId | None = None
        self._read_at: float | None = None
        self._failures = 0
        self._next_at: float | None = None
        self._is_changed = False

    def start(self, now: Now) -> None:
        """Read which topics are on disk."""
        self._read_at = now.mono

    def changed(self, now: Now) -> None:
        """The neighbourhood is another one: who hosts what is looked at soon."""
        self._is_changed = True
        if not self._to_look and (self._next_at is None or self._next_at > now.mono + HOSTS_LOOK_AFTER_S):
            self._next_at = now.mono + HOSTS_LOOK_AFTER_S

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return min((at for at in (self._read_at, self._next_at) if at is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Go on with a walk, or begin one."""
        if self._read_at is not None and self._read_at <= now.mono:
            self._read(now)
            if self._next_at is None:
                self._next_at = now.mono + HOSTS_LOOK_EVERY_S
        if self._next_at is None or self._next_at > now.mono:
            return
        self._walk(now)
        if self._to_look:
            self._next_at = now.mono + HOSTS_LOOK_PAUSE_S
        else:
            self._next_at = now.mono + (HOSTS_LOOK_AFTER_S if self._is_changed else HOSTS_LOOK_EVERY_S)

    def _read(self, now: Now) -> None:
        """Take up one page; what cannot be read is tried again ever more seldom, and what is known is looked at meanwhile."""
        try:
            page = self._topics.page(self._read_to, HOSTED_TOPICS_PAGE)
        except StoreError:
            self._failures += 1
            self._read_at = now.mono + doubled_s(HOSTS_LOOK_AFTER_S, HOSTS_LOOK_EVERY_S, self._failures)
            return
        self._failures = 0
        for topic in page:
            if self._topics.get(topic) is None and not self._topics.is_full:
                hosted = self._topics.open(topic, self._topics.near(topic), now)
                hosted.active_at -= TOPIC_ACTIVE_S  # nobody knows
                self._reconciliation.soon(hosted, now)
        self._read_at = now.mono + HOSTS_LOOK_PAUSE_S if len(page) == HOSTED_TOPICS_PAGE else None
        self._read_to = page[-1] if page else None

    def _walk(self, now: Now) -> None:
        if not self._to_look:
            self._to_look.extend(self._topics)
            self._is_changed = False
        for _ in range(min(HOSTS_LOOKS_PER_TURN, len(self._to_look))):
            hosted = self._topics.get(self._to_look.popleft())
            if hosted is not None:
                self._look(hosted, now)

    def _look(self, hosted: Hosted, now: Now) -> None:
        if self._is_idle(hosted, now):
            self._forget(hosted.topic)
            return
        before = {contact.node_id for contact in hosted.hosts}
        hosted.near = self._topics.near(hosted.topic)
        if {contact.node_id for contact in hosted.hosts} != before:
            self._reconciliation.soon(hosted, now)

    def _is_idle(self, hosted: Hosted, now: Now) -> bool:
        """True if nobody wrote for as long as a history lasts, nobody listens, and nothing is left."""
        if now.mono - hosted.active_at <= HISTORY_S or self._is_wanted(hosted.topic):
            return False
        self._topics.reread(hosted.topic)  # floors go without a word
        return self._topics.is_empty(hosted.topic)

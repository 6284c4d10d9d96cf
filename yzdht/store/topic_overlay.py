"""Changes of topics that are submitted and not yet committed, laid over what the database shows.

Quotas, full histories and ForgetBefore are the writer's own matter: what it will refuse or drop for those may show until the
verdict arrives.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from yzdht.wire.history import ForgetBefore, ForgetTopic, TopicWrite


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yzdht.ids import TopicId
    from yzdht.wire.history import TopicChange
    from yzdht.wire.holdings import Series


class PendingTopic:
    """The waiting changes of one topic and what they will make of it.

    Attributes:
        changes: Those, the oldest first.

    """

    __slots__ = ("_folded", "_is_forgotten", "_writes", "changes")

    def __init__(self) -> None:
        self.changes: deque[TopicWrite | ForgetTopic] = deque()
        self._folded = 0
        self._is_forgotten = False
        self._writes: dict[Series, dict[int, TopicWrite]] = {}

    def fold(self) -> tuple[bool, dict[Series, dict[int, TopicWrite]]]:
        """Whether what is committed will be forgotten, and what will be written; the first under an index stays.

        Each change is folded once, not once per read.
        """
        for change in islice(self.changes, self._folded, None):
            if isinstance(change, ForgetTopic):
                self._is_forgotten, self._writes = True, {}
            else:
                self._writes.setdefault(change.series, {}).setdefault(change.index, change)
        self._folded = len(self.changes)
        return self._is_forgotten, self._writes

    def settle_oldest(self) -> None:
        """Forget the oldest change, and what followed from it."""
        self.changes.popleft()
        self._folded = 0
        self._is_forgotten, self._writes = False, {}


class TopicOverlay:
    """All topics that have waiting changes."""

    __slots__ = ("_by_topic", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self._by_topic: dict[TopicId, PendingTopic] = {}
        self.waiting = 0
        self.waiting_bytes = 0

    def add(self, change: TopicChange) -> None:
        """A change was submitted."""
        self.waiting += 1
        if isinstance(change, ForgetBefore):
            return
        self._by_topic.setdefault(change.topic, PendingTopic()).changes.append(change)
        if isinstance(change, TopicWrite):
            self.waiting_bytes += len(change.envelope)

    def settle(self, changes: Iterable[TopicChange]) -> None:
        """These changes, the oldest of their topics, were decided."""
        for change in changes:
            self.waiting -= 1
            if isinstance(change, ForgetBefore):
                continue
            if isinstance(change, TopicWrite):
                self.waiting_bytes -= len(change.envelope)
            pending = self._by_topic[change.topic]
            pending.settle_oldest()
            if not pending.changes:
                del self._by_topic[change.topic]

    def find(self, topic: TopicId) -> PendingTopic | None:
        """The waiting changes of one topic."""
        return self._by_topic.get(topic)

    def __iter__(self) -> Iterator[tuple[TopicId, PendingTopic]]:
        """All of them."""
        return iter(self._by_topic.items())

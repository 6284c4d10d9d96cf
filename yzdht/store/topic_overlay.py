"""Changes of topics that are submitted and not yet committed, laid over what the database shows.

Quotas, full histories and ForgetBefore are the writer's own matter: what it will refuse or drop for those may show until the
verdict arrives.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from yzdht.wire.history import ForgetBefore, ForgetTopic, TopicWrite


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yzdht.ids import TopicId
    from yzdht.wire.history import Bringer, TopicChange
    from yzdht.wire.holdings import Series


class PendingTopic:
    """The waiting changes of one topic and what they will make of it.

    Attributes:
        changes: Those, each under its `id`, the oldest first.

    """

    __slots__ = ("_folded", "_is_forgotten", "_is_plain", "_writes", "changes")

    def __init__(self) -> None:
        self.changes: dict[int, TopicWrite | ForgetTopic] = {}
        self._start_over()

    def _start_over(self) -> None:
        self._folded = 0
        self._is_forgotten = False
        self._is_plain = True  # no change hides another one
        self._writes: dict[Series, dict[int, TopicWrite]] = {}

    def fold(self) -> tuple[bool, dict[Series, dict[int, TopicWrite]]]:
        """Whether what is committed will be forgotten, and what will be written; the first under an index stays.

        Each change is folded once, not once per read.
        """
        for change in islice(self.changes.values(), self._folded, None):
            if isinstance(change, ForgetTopic):
                self._is_forgotten, self._is_plain, self._writes = True, False, {}
            elif self._writes.setdefault(change.series, {}).setdefault(change.index, change) is not change:
                self._is_plain = False
        self._folded = len(self.changes)
        return self._is_forgotten, self._writes

    def settle(self, change: TopicWrite | ForgetTopic) -> None:
        """Forget a change, and what followed from it; those of one bringer come in their order, others between them."""
        del self.changes[id(change)]
        if self._folded < len(self.changes) + 1 or not self._is_plain or isinstance(change, ForgetTopic):
            self._start_over()
            return
        self._folded -= 1
        of_series = self._writes[change.series]
        del of_series[change.index]
        if not of_series:
            del self._writes[change.series]


class TopicOverlay:
    """All topics that have waiting changes."""

    __slots__ = ("_by_topic", "_counts", "_sizes", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self._by_topic: dict[TopicId, PendingTopic] = {}
        self._counts: Counter[Bringer] = Counter()
        self._sizes: Counter[Bringer] = Counter()
        self.waiting = 0
        self.waiting_bytes = 0

    def waiting_of(self, bringer: Bringer) -> tuple[int, int]:
        """How many of its messages wait, and how many bytes they have."""
        return self._counts[bringer], self._sizes[bringer]

    def add(self, change: TopicChange) -> None:
        """A change was submitted."""
        self.waiting += 1
        if isinstance(change, ForgetBefore):
            return
        self._by_topic.setdefault(change.topic, PendingTopic()).changes[id(change)] = change
        if isinstance(change, TopicWrite):
            self.waiting_bytes += len(change.envelope)
            self._counts[change.bringer] += 1
            self._sizes[change.bringer] += len(change.envelope)

    def settle(self, changes: Iterable[TopicChange]) -> None:
        """These changes were decided."""
        for change in changes:
            self.waiting -= 1
            if isinstance(change, ForgetBefore):
                continue
            if isinstance(change, TopicWrite):
                self.waiting_bytes -= len(change.envelope)
                self._give_back(change)
            pending = self._by_topic[change.topic]
            pending.settle(change)
            if not pending.changes:
                del self._by_topic[change.topic]

    def _give_back(self, write: TopicWrite) -> None:
        bringer = write.bringer
        self._counts[bringer] -= 1
        self._sizes[bringer] -= len(write.envelope)
        if not self._counts[bringer]:
            del self._counts[bringer], self._sizes[bringer]

    def find(self, topic: TopicId) -> PendingTopic | None:
        """The waiting changes of one topic."""
        return self._by_topic.get(topic)

    def __iter__(self) -> Iterator[tuple[TopicId, PendingTopic]]:
        """All of them."""
        return iter(self._by_topic.items())

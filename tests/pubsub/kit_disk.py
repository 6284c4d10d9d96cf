"""A disk of which a test says which reads fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.errors import StoreError


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import MessageId, TopicId
    from yzdht.ports import TopicStore
    from yzdht.ports.topics import TopicTotals
    from yzdht.wire.history import Bringer, TopicChange
    from yzdht.wire.holdings import Holdings, Series
    from yzdht.wire.rpc import Range


@dataclass
class Faults:
    """Of all disks of a test.

    Attributes:
        fails: Asked of each read, by its number, from 1 on, and its topic, None for that of which topics there are.
        error: What a read that fails raises.
        reads: How often one was read.
        pages: How often of that it was which topics there are.

    """

    fails: Callable[[int, TopicId | None], bool] = lambda _number, _topic: False
    error: Exception = field(default_factory=lambda: StoreError("the disk is gone"))
    reads: int = 0
    pages: int = 0

    def read(self, topic: TopicId | None = None) -> None:
        self.reads += 1
        self.pages += topic is None
        if self.fails(self.reads, topic):
            raise self.error


class FaultyTopics:
    """A store of topics, and what goes wrong as it is read."""

    def __init__(self, store: TopicStore, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def topics(self, after: TopicId | None, limit: int) -> list[TopicId]:
        self._faults.read()
        return self._store.topics(after, limit)

    def holdings(self, topic: TopicId) -> Holdings:
        self._faults.read(topic)
        return self._store.holdings(topic)

    def envelopes(self, topic: TopicId, ranges: Sequence[Range], bytes_max: int) -> tuple[list[bytes], bool]:
        self._faults.read(topic)
        return self._store.envelopes(topic, ranges, bytes_max)

    def message_id(self, topic: TopicId, series: Series, index: int) -> MessageId | None:
        self._faults.read(topic)
        return self._store.message_id(topic, series, index)

    def totals(self) -> TopicTotals:
        return self._store.totals()

    def submit(self, op: int, change: TopicChange) -> None:
        self._store.submit(op, change)

    def has_room(self, bringer: Bringer | None = None) -> bool:
        return self._store.has_room(bringer)

"""A store of topics under test, with verdicts that can be awaited."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING

from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.memory_topics import MemoryTopics
from yzdht.store.sqlite import Histories, SqliteStore
from yzdht.store.write_lines import line_of


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from yzdht.ids import TopicId
    from yzdht.store.sqlite_topics import SqliteTopics
    from yzdht.wire.history import TopicChange, TopicVerdict
    from yzdht.wire.slot import Verdict


class TopicShelf:
    """Opens a store and collects its verdicts in the order in which the sink got them."""

    def __init__(self, kind: str, folder: Path, quotas: HistoryQuotas | None = None) -> None:
        self.path = folder / "records.sqlite"
        self.batches: list[list[tuple[int, TopicVerdict]]] = []
        self.verdicts: dict[int, TopicVerdict] = {}
        self.of_records: dict[int, Verdict] = {}
        self._changed = asyncio.Event()
        self._ops = 0
        self.sqlite: SqliteStore | None = None
        loop = asyncio.get_running_loop()
        self.store: MemoryTopics | SqliteTopics
        if kind == "memory":
            self.store = MemoryTopics(self._sink, loop.call_soon, quotas)
            self.close: Callable[[], Awaitable[None]] = self.store.close
        else:
            histories = Histories(self._sink, quotas or HistoryQuotas())
            self.sqlite = SqliteStore.open(
                self.path, self._record_sink, loop.call_soon_threadsafe, histories=histories
            )
            self.store = self.sqlite.histories
            self.close = self.sqlite.close

    def _sink(self, batch: list[tuple[int, TopicVerdict]]) -> None:
        self.batches.append(batch)
        self.verdicts.update(batch)
        self._changed.set()

    def _record_sink(self, batch: list[tuple[int, Verdict]]) -> None:
        self.of_records.update(batch)
        self._changed.set()

    def submit(self, *changes: TopicChange) -> list[int]:
        ops = []
        for change in changes:
            self._ops += 1
            ops.append(self._ops)
            self.store.submit(self._ops, change)
        return ops

    async def settled(self, ops: list[int]) -> list[TopicVerdict]:
        while not all(op in self.verdicts for op in ops):
            self._changed.clear()
            await self._changed.wait()
        return [self.verdicts[op] for op in ops]

    async def settled_records(self, ops: list[int]) -> list[Verdict]:
        while not all(op in self.of_records for op in ops):
            self._changed.clear()
            await self._changed.wait()
        return [self.of_records[op] for op in ops]

    async def put(self, *changes: TopicChange) -> list[TopicVerdict]:
        """Have changes made in this order: those that stand in different lines one after the other."""
        verdicts: list[TopicVerdict] = []
        for _, group in groupby(changes, line_of):
            verdicts += await self.settled(self.submit(*group))
        return verdicts

    async def put_one(self, change: TopicChange) -> TopicVerdict:
        return (await self.put(change))[0]

    def held(self, of: TopicId) -> dict[tuple[int, int], tuple[int, list[int]]]:
        """What is held of a topic, in its order: by sender and session as numbers, the floor and the indexes."""
        holdings = self.store.holdings(of)
        return {
            (int.from_bytes(key.sender[1:]), int.from_bytes(key.session)): (
                holdings.of(key).floor,
                [index for span in holdings.of(key).runs for index in range(*span)],
            )
            for key in holdings
        }

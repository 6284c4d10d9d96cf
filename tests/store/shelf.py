"""A store under test, with verdicts that can be awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yzdht.store.memory import MemoryStore
from yzdht.store.sqlite import SqliteStore


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.store.policy import Quotas
    from yzdht.wire.slot import Verdict, Write


class Shelf:
    """Opens a store and collects its verdicts in the order in which the sink got them."""

    def __init__(self, kind: str, folder: Path, quotas: Quotas | None = None) -> None:
        self.path = folder / "records.sqlite"
        self.batches: list[list[tuple[int, Verdict]]] = []
        self.verdicts: dict[int, Verdict] = {}
        self._changed = asyncio.Event()
        self._ops = 0
        loop = asyncio.get_running_loop()
        self.store: MemoryStore | SqliteStore
        if kind == "memory":
            self.store = MemoryStore(self._sink, loop.call_soon, quotas)
        else:
            self.store = SqliteStore.open(self.path, self._sink, loop.call_soon_threadsafe, quotas)

    def _sink(self, batch: list[tuple[int, Verdict]]) -> None:
        self.batches.append(batch)
        self.verdicts.update(batch)
        self._changed.set()

    def submit(self, *writes: Write) -> list[int]:
        ops = []
        for write in writes:
            self._ops += 1
            ops.append(self._ops)
            self.store.submit(self._ops, write)
        return ops

    async def settled(self, ops: list[int]) -> list[Verdict]:
        while not all(op in self.verdicts for op in ops):
            self._changed.clear()
            await self._changed.wait()
        return [self.verdicts[op] for op in ops]

    async def put(self, *writes: Write) -> list[Verdict]:
        return await self.settled(self.submit(*writes))

    async def put_one(self, write: Write) -> Verdict:
        return (await self.put(write))[0]

    async def sweep(self, wall_now: float) -> None:
        """Sweep to the end: what is submitted behind it is decided behind it, but for the memory store's turns."""
        self.store.sweep(wall_now)
        while isinstance(self.store, SqliteStore) and self.store._is_sweeping:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)

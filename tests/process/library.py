"""Records of every sort with what must be found under their names, and a check of all of them through any node."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht import NotFound, Origin, Public


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht import Client, Value


_AT_ONCE = 16


@dataclass(slots=True)
class Library:
    """What one identity has stored.

    Attributes:
        expected: Name to value; None for what was deleted.
        public: The names whose values are public.
        get_s: Seconds that each get took.
        put_s: Seconds that each put took.

    """

    expected: dict[str, bytes | None] = field(default_factory=dict)
    public: set[str] = field(default_factory=set)
    get_s: list[float] = field(default_factory=list)
    put_s: list[float] = field(default_factory=list)

    async def fill(self, dht: Client, count: int, label: str) -> None:
        """Store so many records; every third is public, every third then overwritten, every fifth deleted."""
        names = [f"{label}/{number}" for number in range(count)]
        self.public |= set(names[::3])
        await self._each(self._put(dht, name, f"old {name}".encode()) for name in names)
        await self.overwrite(dht, names[1::3], "new")
        await self.delete(dht, names[::5])

    async def overwrite(self, dht: Client, names: Iterable[str], label: str) -> None:
        """Store something newer under names."""
        await self._each(self._put(dht, name, f"{label} {name}".encode()) for name in names)

    async def delete(self, dht: Client, names: Iterable[str]) -> None:
        """Delete what is under names."""
        await self._each(self._delete(dht, name) for name in names)

    async def check(self, dht: Client, names: Iterable[str] | None = None) -> None:
        """Everything is as it should be, as this client sees it."""
        wanted = self.expected if names is None else {name: self.expected[name] for name in names}
        wrong: list[str] = []
        await self._each(self._look(dht, name, value, wrong) for name, value in wanted.items())
        assert wrong == []

    async def _each(self, jobs: Iterable[object]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(job: object) -> None:
            assert asyncio.iscoroutine(job)
            async with room:
                await job

        await asyncio.gather(*(one(job) for job in jobs))

    async def _put(self, dht: Client, name: str, value: bytes) -> None:
        started = time.perf_counter()
        await dht.store(name, value, readers=Public() if name in self.public else None)
        self.put_s.append(time.perf_counter() - started)
        self.expected[name] = value

    async def _delete(self, dht: Client, name: str) -> None:
        await dht.delete(name)
        self.expected[name] = None

    async def _look(self, dht: Client, name: str, expected: bytes | None, wrong: list[str]) -> None:
        started = time.perf_counter()
        try:
            value: Value | None = await dht.get(name)
        except NotFound:
            value = None
        self.get_s.append(time.perf_counter() - started)
        shown = value.data if value is not None else None
        if shown != expected:
            wrong.append(f"{name}: {shown!r} instead of {expected!r}")
        elif value is not None:
            wanted_origin = Origin.SIGNED if name in self.public else Origin.SEALED
            if value.origin is not wanted_origin or value.is_conflict:
                wrong.append(f"{name}: {value.origin}, conflict {value.is_conflict}")

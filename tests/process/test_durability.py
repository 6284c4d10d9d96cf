"""Nothing that was acknowledged is lost, whichever node is killed, and when.

Writers overwrite their own names again and again through whatever node answers, and note each acknowledged value in a
file, on disk before the next write begins. Meanwhile one node after the other is killed with kill -9 and started again.
At the end all are killed at once and started again, and every name must show what was acknowledged last, or what was
tried after that and never acknowledged. (kill -9 leaves the page cache alone: test_fdatasync.py is about the disk.)
"""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251 - which node dies next, from a seed that is printed
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import POLL_S, percentiles, until
from yzdht import Client, Identity, LookupFailed
from yzdht.store.sqlite import SqliteStore


if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

WRITES_BETWEEN_KILLS = 20
_FULL = 2


@dataclass(slots=True)
class Writer:
    """Writes 1, 2, 3, … under a few names of its own, and keeps a log of what was acknowledged."""

    label: str
    log_path: Path
    names: int
    tried: dict[str, int] = field(default_factory=dict)
    put_s: list[float] = field(default_factory=list)
    failures: int = 0
    count: int = 0

    async def write_until(self, is_over: asyncio.Event, urls: list[str], identity: Identity) -> None:
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while not is_over.is_set():
                await self._write_through(is_over, urls, identity, descriptor)
        finally:
            os.close(descriptor)

    async def _write_through(
        self, is_over: asyncio.Event, urls: list[str], identity: Identity, log: int
    ) -> None:
        """One client's life: until a write fails; the next one begins at another node."""
        first = (self.count + self.failures) % len(urls)
        try:
            async with Client.connect(*urls[first:], *urls[:first], identity=identity) as dht:
                while not is_over.is_set():
                    await self._write_one(dht, log)
        except LookupFailed:
            self.failures += 1
            await asyncio.sleep(POLL_S)

    async def _write_one(self, dht: Client, log: int) -> None:
        self.count += 1
        name, number = f"{self.label}/{self.count % self.names}", self.count
        self.tried[name] = number
        started = time.perf_counter()
        receipt = await dht.store(name, str(number).encode())
        self.put_s.append(time.perf_counter() - started)
        os.write(log, f"{name} {number} {receipt.seq}\n".encode())
        os.fsync(log)

    def acknowledged(self) -> dict[str, tuple[int, int]]:
        """Name to the number and seq that were acknowledged last."""
        lines = (line.split() for line in self.log_path.read_text().splitlines())
        return {name: (int(number), int(seq)) for name, number, seq in lines}


async def kill_in_a_loop(
    nodes: list[NodeProcess], writers: list[Writer], kills: int, rng: random.Random
) -> None:
    for _ in range(kills):
        goal = sum(len(w.put_s) for w in writers) + WRITES_BETWEEN_KILLS

        async def has_written(goal: int = goal) -> bool:
            return sum(len(w.put_s) for w in writers) >= goal

        await until(has_written, "the writers go on")
        node = rng.choice(nodes)
        await node.kill()
        await node.start()
        if len(nodes) > 1:
            await node.event("joined")


async def lost(nodes: list[NodeProcess], writers: list[Writer], identity: Identity) -> list[str]:
    """What any node shows that is older than what was acknowledged."""
    missing = []
    for node in nodes:
        async with Client.connect(node.url, identity=identity) as dht:
            for writer in writers:
                for name, (number, seq) in writer.acknowledged().items():
                    value = await dht.get(name)
                    if not number <= int(value.data) <= writer.tried[name] or value.seq < seq:
                        missing.append(f"{node.spec.name} {name}: {value.data!r} instead of {number}")
    return missing


async def prove_durability(fleet: Fleet, note: Note, *, nodes: int, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    grown = await fleet.grow(nodes)
    identity = Identity.generate()
    writers = [Writer(f"writer{i}", fleet.folder / f"acknowledged{i}", names=5) for i in range(4)]
    is_over = asyncio.Event()
    urls = [node.url for node in grown]
    writing = [asyncio.create_task(w.write_until(is_over, urls, identity)) for w in writers]
    try:
        await kill_in_a_loop(grown, writers, kills, rng)
    finally:
        is_over.set()
        await asyncio.gather(*writing)
    for node in grown:
        node.send(signal.SIGKILL)
    await asyncio.gather(*(node.ended() for node in grown))
    await asyncio.gather(*(node.start() for node in grown))
    await fleet.settle(grown)
    assert await lost(grown, writers, identity) == []
    acknowledged = sum(len(w.put_s) for w in writers)
    failures = sum(w.failures for w in writers)
    assert acknowledged > kills
    note(
        f"{nodes} nodes, {kills} kills, seed {seed}: {acknowledged} writes acknowledged, {failures} failed, none lost"
    )
    note(f"put: {percentiles(s for w in writers for s in w.put_s)}")


async def test_nothing_acknowledged_is_lost_by_kills(fleet: Fleet, note: Note) -> None:
    await prove_durability(fleet, note, nodes=5, kills=6, seed=1)


async def test_nothing_acknowledged_is_lost_by_kills_of_the_only_node(fleet: Fleet, note: Note) -> None:
    await prove_durability(fleet, note, nodes=1, kills=4, seed=2)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(("nodes", "kills"), [(5, 200), (3, 200), (1, 50)])
async def test_nothing_acknowledged_is_lost_by_hundreds_of_kills(
    fleet: Fleet, note: Note, nodes: int, kills: int
) -> None:
    await prove_durability(fleet, note, nodes=nodes, kills=kills, seed=3)


async def test_the_writer_connection_waits_for_the_disk(tmp_path: Path) -> None:
    store = SqliteStore.open(
        tmp_path / "records.sqlite",
        lambda _answers: None,
        asyncio.get_running_loop().call_soon_threadsafe,
    )
    try:
        writing: sqlite3.Connection = store._writer._connection
        assert writing.execute("PRAGMA synchronous").fetchone() == (_FULL,)
        assert writing.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        await store.close()

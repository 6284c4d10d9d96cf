"""Records of every sort with what must be found under their names, and a check of all of them through any node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.process.fleet import ask
from tests.process.yardstick import Timed, timed
from yzdht import Origin, Public
from yzdht.crypto.naming import mutable_target, network_id
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import FindValue, FoundValue, Method


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from tests.process.fleet import NodeProcess
    from yzdht import Client, Value
    from yzdht.ids import Target


_AT_ONCE = 16
_READERS_PAUSE_S = 0.02
"""Between the gets of a steady reader: what is measured is an answer, not how long a queue grows."""


@dataclass(slots=True)
class Library:
    """What one identity has stored.

    Attributes:
        expected: Name to value; None for what was deleted.
        public: The names whose values are public.
        seqs: Of a name whose value lives, the seq that its store returned.
        gets: How long each get took, and when.
        puts: The same of each put.

    """

    expected: dict[str, bytes | None] = field(default_factory=dict)
    public: set[str] = field(default_factory=set)
    seqs: dict[str, int] = field(default_factory=dict)
    gets: list[Timed] = field(default_factory=list)
    puts: list[Timed] = field(default_factory=list)

    @property
    def get_s(self) -> list[float]:
        """Seconds that each get took."""
        return [get.took_s for get in self.gets]

    @property
    def put_s(self) -> list[float]:
        """Seconds that each put took."""
        return [put.took_s for put in self.puts]

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
        wrong = await self.wrong(dht, names)
        if wrong:
            raise AssertionError(f"wrong: {wrong}")  # outside of a test assert tells nothing

    async def wrong(self, dht: Client, names: Iterable[str] | None = None) -> dict[str, str]:
        """What is not as it should be, as this client sees it: name to what is wrong."""
        wanted = self.expected if names is None else {name: self.expected[name] for name in names}
        wrong: dict[str, str] = {}
        await self._each(self._look(dht, name, value, wrong) for name, value in wanted.items())
        return wrong

    async def holders(self, dht: Client, name: str, nodes: Iterable[NodeProcess]) -> list[NodeProcess]:
        """Those of the nodes that hold what was last stored under a name, each asked itself."""
        target = self._target(dht, name)
        asked = list(nodes)
        answers = await asyncio.gather(
            *(ask(dht, node, Method.FIND_VALUE, FindValue(target)) for node in asked)
        )
        return [
            node
            for node, answer in zip(asked, answers, strict=True)
            if isinstance(answer.body, FoundValue) and self.seqs[name] in _seqs(answer.body)
        ]

    def _target(self, dht: Client, name: str) -> Target:
        own_tag, public_tag = dht.records.tags_of(name)
        tag = public_tag if name in self.public else own_tag
        return mutable_target(network_id("main"), dht.identity.public_key, tag)

    async def _each(self, jobs: Iterable[object]) -> None:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(job: object) -> None:
            assert asyncio.iscoroutine(job)
            async with room:
                await job

        await asyncio.gather(*(one(job) for job in jobs))

    async def _put(self, dht: Client, name: str, value: bytes) -> None:
        with timed(self.puts):
            receipt = await dht.store(name, value, readers=Public() if name in self.public else None)
        self.expected[name] = value
        self.seqs[name] = receipt.seq

    async def _delete(self, dht: Client, name: str) -> None:
        await dht.delete(name)
        self.expected[name] = None
        del self.seqs[name]

    async def _look(self, dht: Client, name: str, expected: bytes | None, wrong: dict[str, str]) -> None:
        with timed(self.gets):
            value: Value | None = await dht.get(name, default=None)
        shown = value.data if value is not None else None
        if shown != expected:
            wrong[name] = f"{shown!r} instead of {expected!r}"
        elif value is not None:
            wanted_origin = Origin.SIGNED if name in self.public else Origin.SEALED
            if value.origin is not wanted_origin or value.is_conflict:
                wrong[name] = f"{value.origin}, conflict {value.is_conflict}"


def _seqs(found: FoundValue) -> set[int]:
    return {decode_record(raw).seq for raw in found.records if isinstance(raw, bytes)}


class SteadyReaders:
    """Read one name after the other, each through a client of its own, as long as this is entered.

    Args:
        library: Says what must be found.
        clients: Each reads beside the others.
        pick: Which of the names to read next.

    Attributes:
        wrong: What was not as it should be.

    """

    def __init__(
        self, library: Library, clients: Sequence[Client], pick: Callable[[Sequence[str]], str]
    ) -> None:
        self.wrong: dict[str, str] = {}
        self._library = library
        self._clients = clients
        self._pick = pick
        self._is_over = False
        self._group = asyncio.TaskGroup()  # a reader that fails ends what is measured

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        for client in self._clients:
            self._group.create_task(self._read(client))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        await self._group.__aexit__(kind, error, trace)

    async def _read(self, client: Client) -> None:
        names = sorted(self._library.expected)
        while not self._is_over:
            self.wrong |= await self._library.wrong(client, [self._pick(names)])
            await asyncio.sleep(_READERS_PAUSE_S)

"""The way to the replicas for a node's own user: the node's own quorum reads and writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from yzdht.access import Reading, Writing
from yzdht.kad.write import Draft


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from yzdht.background import Background
    from yzdht.ids import PublicKey, Target
    from yzdht.ports import Now
    from yzdht.pump import Pump
    from yzdht.sessions.clock import Clock
    from yzdht.telemetry import Counters
    from yzdht.wire.rpc import RedeemAnswer


_T = TypeVar("_T")


class OwnAccess:
    """What `records.Access` asks for, through this node's engine.

    Args:
        pump: Reads and writes.
        background: Keeps what no caller waits for.
        clock: The present.
        counters: Where to count.

    """

    def __init__(self, pump: Pump, background: Background, clock: Clock, counters: Counters) -> None:
        self._pump = pump
        self._background = background
        self._clock = clock
        self._counters = counters

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        """Read every target."""
        if len(targets) == 1:  # as nearly always: no task is needed beside the caller's
            results = [await self._pump.get(targets[0], paths)]
        else:
            results = await asyncio.gather(*(self._pump.get(t, paths) for t in targets))
        return [[Reading(tuple(r.raw for r in x.records), x.answered, x.needed)] for x in results]

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        """Store one record."""
        done = await self._pump.put(Draft(target, record, cas, keep_until))
        return Writing(done.accepted, done.asked, done.needed, done.refusal, done.detail.number)

    async def redeem(self, issuer: PublicKey, redemption: bytes, urls: Sequence[str]) -> RedeemAnswer | None:
        """A node's own user redeems by record: the node may have no session with the issuer."""
        return None

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do something that no caller waits for."""
        self._background.start(work)

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Do something that takes long in a thread."""
        return await asyncio.to_thread(work)

    def now(self) -> Now:
        """The present."""
        return self._clock.now()

    def count(self, name: str) -> None:
        """Count something that a node did wrong."""
        self._counters.add(name)

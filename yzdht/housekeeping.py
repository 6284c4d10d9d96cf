"""What a node does all the time beside serving: its identity record, its store, whom it knows, the machine it runs on.

Owns no task: `node` starts both loops and cancels them. Decides nothing of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.kad.holder import sure_range
from yzdht.limits import MACHINE_LOOK_EVERY_S, REPLICAS, STATE_SAVE_EVERY_S


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.alarms import ClockAlarm, DiskAlarm
    from yzdht.ids import NodeId
    from yzdht.kad.engine import KadEngine
    from yzdht.own_identity import OwnIdentity
    from yzdht.ports import Now
    from yzdht.pump import Pump
    from yzdht.saved_peers import SavedPeers
    from yzdht.sessions import Clock
    from yzdht.store.memory import MemoryStore
    from yzdht.store.sqlite import SqliteStore
    from yzdht.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class House:
    """What is kept in order.

    Attributes:
        node_id: The node's.
        engine: Knows the neighbours.
        store: The records it keeps.
        pump: Tells when the network is joined.
        peers: Whom it knows, for the next start.
        clock: The present.
        telemetry: Where is counted what the store gave up.
        disk: Says whether the disk refuses.
        time: Says whether the clock was set, and how far it is believed.

    """

    node_id: NodeId
    engine: KadEngine
    store: SqliteStore | MemoryStore
    pump: Pump
    peers: SavedPeers
    clock: Clock
    telemetry: Telemetry
    disk: DiskAlarm
    time: ClockAlarm


class Housekeeping:
    """The upkeep of one run of a node.

    Args:
        house: What is kept in order.
        own: Its identity record.
        rounds: Also done in every round, in this order.

    """

    def __init__(self, house: House, own: OwnIdentity, rounds: Sequence[Callable[[], None]]) -> None:
        self._house = house
        self._own = own
        self._rounds = rounds
        self._clock_was_set = asyncio.Event()

    async def go_round(self) -> None:
        """Publish the identity record once joined and every 12 h, sweep, and save who is known."""
        house = self._house
        while True:
            with contextlib.suppress(TimeoutError):  # wait_for of Python 3.11 can lose a cancellation
                async with asyncio.timeout(STATE_SAVE_EVERY_S):
                    await house.pump.joined.wait()
            self._own.renew()
            if house.pump.joined.is_set():
                await self._own.publish()
            self._look_after_store(house.clock.now())
            house.peers.save(house.clock.now())
            for look in self._rounds:
                look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATE_SAVE_EVERY_S):
                    await self._clock_was_set.wait()
            self._clock_was_set.clear()

    async def watch_machine(self) -> None:
        """See when somebody sets the clock, and try a disk again that refuses."""
        while True:
            await asyncio.sleep(MACHINE_LOOK_EVERY_S)
            if self._house.time.has_jumped(self._house.clock.now()):
                self._clock_was_set.set()
            if self._house.disk.is_refusing:
                self._own.keep()  # what others ask for first; a commit shows that there is room again

    def _look_after_store(self, now: Now) -> None:
        """Have it forget what expired, and tell it what it must not give up when it is full."""
        house = self._house
        store, counters = house.store, house.telemetry
        nearest = house.engine.table.closest(house.node_id, REPLICAS, only_storing=True)
        store.protect(sure_range(house.node_id, [entry.node_id for entry in nearest]))
        house.time.look_at_refusals(now.wall)
        store.sweep(house.time.sweep_before(now))
        given_up = store.evicted - counters.get("targets_given_up")
        if given_up:
            counters.add("targets_given_up", amount=given_up)

"""Whom a node meets: those that it knew, its bootstrap addresses, and these again once nobody is left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import JOIN_WAIT_S_MAX


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yzdht.joining import Joining
    from yzdht.kad.engine import KadEngine
    from yzdht.pump import Pump
    from yzdht.saved_peers import SavedPeers
    from yzdht.sessions import Clock, Sessions


_HINT = "check --bootstrap, that this machine reaches it, and the network name and key"


class Company(NamedTuple):
    """What a node meets others with.

    Attributes:
        engine: Whom it knows.
        pump: Drives it.
        peers: Whom it knew.
        sessions: Its own.
        clock: The present.
        spawn: Keeps a task of the node's.
        on_trouble: Told what is wrong, and what to do about it.

    """

    engine: KadEngine
    pump: Pump
    peers: SavedPeers
    sessions: Sessions
    clock: Clock
    spawn: Callable[[Coroutine[None, None, None]], None]
    on_trouble: Callable[[str, str], None]


class Meeting:
    """Of one node.

    Args:
        joining: Dials its bootstrap addresses.
        company: Everybody else.

    """

    def __init__(self, joining: Joining, company: Company) -> None:
        self._joining = joining
        self._company = company
        self._has_begun = False

    async def begin(self) -> None:
        """Dial whom it knew, and its bootstrap addresses."""
        self._has_begun = True
        engine, pump, peers, sessions, clock, *_ = self._company
        has_peers_to_meet = peers.recall(clock.now())
        if has_peers_to_meet or self._joining.tried:
            engine.expect_peers(clock.now())
        pump.run()
        await self._bootstrap()
        if not self._joining.joined and not has_peers_to_meet and not len(sessions):
            engine.stop_waiting(clock.now())
            pump.run()

    async def _bootstrap(self) -> None:
        """Dial every bootstrap address once; if none answered, go on trying in the background."""
        if not self._joining.tried:
            return
        if await self._joining.try_once():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(JOIN_WAIT_S_MAX):
                    await self._company.pump.joined.wait()
        else:
            self._company.spawn(self._keep_trying())

    async def _keep_trying(self) -> None:
        self._company.on_trouble("no bootstrap address answers", _HINT)
        await self._joining.keep_trying(lambda: len(self._company.engine.table) > 0)

    def begin_again_if_alone(self) -> None:
        """Whoever lost everybody, for days perhaps, begins again where it began; not before it has begun."""
        joining = self._joining
        if (
            self._has_begun
            and joining.tried
            and not joining.is_trying
            and not len(self._company.engine.table)
        ):
            self._company.spawn(self._keep_trying())

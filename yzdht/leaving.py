"""The end of a node as others see it, or its end as a holder: what it keeps goes to whoever takes its place.

In a bounded time each.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from yzdht.limits import GOODBYE_S_MAX, LEAVE_S_MAX, LEAVE_TOLD_AFTER_S, STEP_DOWN_S_MAX


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.background import Background
    from yzdht.kad.engine import KadEngine
    from yzdht.pump import Pump


log = logging.getLogger(__name__)


async def hand_over(
    pump: Pump,
    background: Background,
    ending: Background,
    engine: KadEngine,
    on_event: Callable[[dict[str, object]], None],
) -> None:
    """Hand over what a node keeps, LEAVE_S_MAX at most; its sessions are up meanwhile.

    Args:
        pump: Drives the engine.
        background: What calls have left to be done; GOODBYE_S_MAX are enough for it.
        ending: What is to be taken back elsewhere, which has as long as handing over.
        engine: Knows what was handed over.
        on_event: Hears `leaving` if it takes longer than LEAVE_TOLD_AFTER_S.

    """
    leaving: dict[str, object] = {"event": "leaving", "endsInS": LEAVE_S_MAX - LEAVE_TOLD_AFTER_S}
    told = asyncio.get_running_loop().call_later(LEAVE_TOLD_AFTER_S, on_event, leaving)
    try:
        await asyncio.gather(_hand_over(pump, background, engine), ending.finish(LEAVE_S_MAX))
    finally:
        told.cancel()


async def _hand_over(pump: Pump, background: Background, engine: KadEngine) -> None:
    try:
        async with asyncio.timeout(LEAVE_S_MAX):
            await asyncio.gather(pump.leave(), background.finish(GOODBYE_S_MAX))
    except TimeoutError:
        done = engine.handed_over()
        log.warning("left before everything was handed over handed_over=%d missed=%d unread=%d", *done)


async def step_down(pump: Pump, engine: KadEngine) -> None:
    """Hand over what a node keeps that goes on as a client, STEP_DOWN_S_MAX at most: others wait for nothing.

    Args:
        pump: Drives the engine.
        engine: Knows what was handed over.

    """
    try:
        async with asyncio.timeout(STEP_DOWN_S_MAX):
            await pump.leave()
    except TimeoutError:
        done = engine.handed_over()
        log.warning("client before everything was handed over handed_over=%d missed=%d unread=%d", *done)
    finally:
        pump.stay()

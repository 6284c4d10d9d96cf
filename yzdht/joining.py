"""Joining through bootstrap addresses, and joining again when nobody is left."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from yzdht.errors import DialFailed
from yzdht.limits import (
    BOOTSTRAP_PAUSE_S_MAX,
    BOOTSTRAP_PAUSE_S_MIN,
    DIAL_TIMEOUT_S,
    HANDSHAKE_TIMEOUT_S,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.config import Bootstrap
    from yzdht.ports import Rng
    from yzdht.sessions import Sessions


log = logging.getLogger(__name__)


class Joining:
    """Dials what the operator typed.

    Args:
        bootstraps: Where, and who must answer.
        sessions: Dials.
        rng: For jitter, so that a fleet that lost its bootstrap node does not come back in step.
        on_event: Hears `bootstrap` events.

    Attributes:
        joined: How many addresses answered at the last try.
        trouble: Why the first that did not answer then did not, for people; empty for none.
        is_trying: True while it goes on until an address answers.

    """

    def __init__(
        self,
        bootstraps: list[Bootstrap],
        sessions: Sessions,
        rng: Rng,
        on_event: Callable[[dict[str, object]], None],
    ) -> None:
        self.joined = 0
        self.trouble = ""
        self.is_trying = False
        self._bootstraps = bootstraps
        self._sessions = sessions
        self._rng = rng
        self._on_event = on_event

    @property
    def tried(self) -> int:
        """How many addresses there are."""
        return len(self._bootstraps)

    async def try_once(self) -> int:
        """Dial every address at once; how many answered."""
        troubles = await asyncio.gather(*(self._dial(b) for b in self._bootstraps))
        self.joined = troubles.count("")
        self.trouble = next(filter(None, troubles), "")
        return self.joined

    async def keep_trying(self, is_joined: Callable[[], bool]) -> None:
        """Try until an address answers, or until `is_joined`: others may have found this node meanwhile."""
        self.is_trying = True
        try:
            await self._try_again(is_joined)
        finally:
            self.is_trying = False

    async def _try_again(self, is_joined: Callable[[], bool]) -> None:
        pause_s = BOOTSTRAP_PAUSE_S_MIN
        while True:
            self._tell(retryInS=round(pause_s, 1))
            await asyncio.sleep(pause_s * self._rng.uniform(0.75, 1.25))
            if await self.try_once():
                self._tell()
                return
            if is_joined():
                return  # a `joined` event has said so
            pause_s = min(2 * pause_s, BOOTSTRAP_PAUSE_S_MAX)

    def _tell(self, **more: object) -> None:
        self._on_event({"event": "bootstrap", "tried": self.tried, "joined": self.joined, **more})

    async def _dial(self, bootstrap: Bootstrap) -> str:
        """What went wrong, with the address; empty if it answered."""
        url = bootstrap.url
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S + HANDSHAKE_TIMEOUT_S):
                await self._sessions.dial(url, bootstrap.node_id)
        except (DialFailed, TimeoutError) as error:
            reason = str(error) or "timed out"
            log.warning("bootstrap failed url=%s reason=%s", url, reason)
            return reason if url in reason else f"{url}: {reason}"
        return ""

"""Whose request is served next, where more come than a turn of the loop can serve.

A hundred sessions may each send a window full of requests at once, and read none of the answers. Served as they come,
everybody else would wait for all of them: half a second, where the answers are large. So a turn of the loop serves so many
requests, of one session a few, and then the sockets are looked at again. Sessions that asked little go before those that
have had their share, as fq_codel (RFC 8290, section 4.2) has new flows go before old ones; these have a share of their own in each
turn, so that nobody waits for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from yzdht.limits import (
    REQUESTS_OF_HEAVY_PER_LOOP_TURN,
    REQUESTS_PER_LOOP_TURN,
    REQUESTS_PER_SESSION_AND_LOOP_TURN,
)


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


Comer = TypeVar("Comer")


class RequestTurns(Generic[Comer]):
    """Two lines: of sessions that asked little, and of those that have had their share.

    Args:
        loop: Its turns are counted.
        serve: Serves one request of a session that waited; it calls `wait` if there are more.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop, serve: Callable[[Comer], None]) -> None:
        self._loop = loop
        self._serve = serve
        self._light: OrderedDict[Comer, None] = OrderedDict()
        self._heavy: OrderedDict[Comer, None] = OrderedDict()
        self._served: dict[Comer, int] = {}  # in this turn; a Counter computes what is missing in Python
        self._left = REQUESTS_PER_LOOP_TURN
        self._is_armed = False

    def __len__(self) -> int:
        """How many sessions wait."""
        return len(self._light) + len(self._heavy)

    def is_now(self, comer: Comer) -> bool:
        """True if a request of a session that does not wait is served now; otherwise the session waits from now on."""
        self._arm()
        if (
            self._left > 0
            and not self._light
            and comer not in self._heavy
            and self._served.get(comer, 0) < REQUESTS_PER_SESSION_AND_LOOP_TURN
        ):
            self._note(comer)
            return True
        self.wait(comer)
        return False

    def wait(self, comer: Comer, *, is_heavy: bool = False) -> None:
        """Have `serve` called when it is its turn; once, however often it is called before that.

        Args:
            comer: A session.
            is_heavy: True if it has had its share: it was not served because it did not read.

        """
        self._arm()
        if comer in self._light or comer in self._heavy:
            return
        has_had_its_share = is_heavy or self._served.get(comer, 0) >= REQUESTS_PER_SESSION_AND_LOOP_TURN
        (self._heavy if has_had_its_share else self._light)[comer] = None

    def forget(self, comer: Comer) -> None:
        """It waits no longer; a no-op for others."""
        self._light.pop(comer, None)
        self._heavy.pop(comer, None)

    def _note(self, comer: Comer) -> None:
        self._left -= 1
        self._served[comer] = self._served.get(comer, 0) + 1

    def _arm(self) -> None:
        if not self._is_armed:
            self._is_armed = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._served.clear()
        self._left = REQUESTS_PER_LOOP_TURN
        self._is_armed = False
        if len(self):
            self._arm()
        for _ in range(REQUESTS_OF_HEAVY_PER_LOOP_TURN):
            if not self._heavy:
                break
            comer, _ = self._heavy.popitem(last=False)
            self._left -= 1
            self._served[comer] = (
                REQUESTS_PER_SESSION_AND_LOOP_TURN  # what more it has waits in the same line
            )
            self._serve(comer)
        while self._light and self._left > 0:
            comer, _ = self._light.popitem(last=False)
            self._note(comer)
            self._serve(comer)

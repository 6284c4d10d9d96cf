"""Whose request is served next, where more come than a turn of the loop can serve.

A hundred sessions may each send a window full of requests at once, and read none of the answers. Served as they come,
everybody else would wait for all of them: half a second, where the answers are large. So a turn of the loop serves so many
requests, of one session a few, and then the sockets are looked at again. Sessions that asked little go before those that
have had their share, as fq_codel (RFC 8290, section 4.2) has new flows go before old ones; and requests about what too much is asked
about (flows.py) go after others. Both have a share of their own in each turn, so that nobody waits for ever.

While both wait, every other request about it is one of a node of the routing table, nodes in turn: one session brings what all clients
of a node publish, and would have no more than each of the strangers who flood a topic in hundreds of sessions. Who says it is a node is
in the table soon: prefixes bound how many (kad/table.py).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from yzdht.limits import (
    REQUESTS_OF_BUSY_PER_LOOP_TURN,
    REQUESTS_OF_HEAVY_PER_LOOP_TURN,
    REQUESTS_PER_LOOP_TURN,
    REQUESTS_PER_SESSION_AND_LOOP_TURN,
    TURNS_WITHOUT_LIGHT,
)


if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


Comer = TypeVar("Comer")
ComerT_contra = TypeVar("ComerT_contra", contravariant=True)


class Serve(Protocol[ComerT_contra]):
    """Serves one request of a session."""

    def __call__(self, comer: ComerT_contra, /, *, is_busy: bool) -> None:
        """One about what too much is asked about, or another."""
        ...


class RequestTurns(Generic[Comer]):
    """Four lines: of sessions that asked little, of those that had their share, and two of both with what too much is asked about.

    A session may wait in one of the first two and in one of the others at once.

    Args:
        loop: Its turns are counted.
        serve: Serves one request of a session that waited; it calls `wait` if there are more.
        is_known: True for a session of a node of the routing table; without it for none.

    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        serve: Serve[Comer],
        is_known: Callable[[Comer], bool] = lambda _comer: False,
    ) -> None:
        self._loop = loop
        self._serve = serve
        self._is_known = is_known
        self._light: OrderedDict[Comer, None] = OrderedDict()
        self._busy: OrderedDict[Comer, None] = OrderedDict()
        self._busy_known: OrderedDict[Comer, None] = OrderedDict()
        self._heavy: OrderedDict[Comer, None] = OrderedDict()
        self._served: dict[Comer, int] = {}  # in this turn; a Counter computes what is missing in Python
        self._left = REQUESTS_PER_LOOP_TURN
        self._turns_without_light = 0
        self._is_armed = False

    def __len__(self) -> int:
        """In how many places sessions wait."""
        return len(self._light) + len(self._busy) + len(self._busy_known) + len(self._heavy)

    def is_now(self, comer: Comer, *, is_busy: bool = False) -> bool:
        """True if a request of a session that has no other such waiting is served now; otherwise the session waits from now on.

        Args:
            comer: A session.
            is_busy: True if too much is asked about the same.

        """
        self._arm()
        least = REQUESTS_PER_LOOP_TURN // 2 if is_busy else 0
        is_overtaking = bool(self._light or (is_busy and (self._busy or self._busy_known)))
        is_heavy = comer in self._heavy or self._served.get(comer, 0) >= REQUESTS_PER_SESSION_AND_LOOP_TURN
        if self._left > least and not is_overtaking and not is_heavy:
            self._note(comer, is_busy=is_busy)
            return True
        self.wait(comer, is_busy=is_busy)
        return False

    def wait(self, comer: Comer, *, is_busy: bool = False, is_heavy: bool = False) -> None:
        """Have `serve` called when it is its turn; once, however often it is called before that.

        Args:
            comer: A session.
            is_busy: True if it waits with what too much is asked about.
            is_heavy: True if it has had its share: it was not served because it did not read.

        """
        self._arm()
        if is_busy:
            if comer not in self._busy and comer not in self._busy_known:
                (self._busy_known if self._is_known(comer) else self._busy)[comer] = None
        elif comer not in self._heavy and comer not in self._light:
            has_had_its_share = is_heavy or self._served.get(comer, 0) >= REQUESTS_PER_SESSION_AND_LOOP_TURN
            (self._heavy if has_had_its_share else self._light)[comer] = None

    def forget(self, comer: Comer) -> None:
        """It waits no longer; a no-op for others."""
        for line in (self._light, self._busy, self._busy_known, self._heavy):
            line.pop(comer, None)

    def _note(self, comer: Comer, *, is_busy: bool) -> None:
        if not is_busy:
            self._turns_without_light = 0
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
            self._serve(comer, is_busy=False)
        while self._light and self._left > 0:
            self._serve_first(self._light)
        self._turns_without_light += 1
        # A turn is as long as what is served in it, and who asks a node for something takes several.
        is_alone = self._turns_without_light > TURNS_WITHOUT_LIGHT
        count = (
            max(self._left, REQUESTS_OF_BUSY_PER_LOOP_TURN) if is_alone else REQUESTS_OF_BUSY_PER_LOOP_TURN
        )
        first, second = self._busy_known, self._busy
        for _ in range(count):
            if not (first or second):
                break
            self._serve_first(first or second)
            first, second = second, first

    def _serve_first(self, line: OrderedDict[Comer, None]) -> None:
        comer, _ = line.popitem(last=False)
        is_busy = line is not self._light
        if is_busy:
            self._left -= 1  # it has its share of the others all the same
        else:
            self._note(comer, is_busy=False)
        self._serve(comer, is_busy=is_busy)

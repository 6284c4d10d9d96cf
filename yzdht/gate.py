"""Where the calls of a client to one node wait when it says that it does too much for this client already.

While nobody is refused all calls pass at once. After a refusal (103) they pass one by one, the oldest first, as fast as
the node seems to take them: a pause grows when one is refused, and shrinks when one is served.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush

from yzdht.limits import CALLS_WAITING_MAX, CLIENT_PATIENCE_S, DELEGATED_PAUSE_S_MIN, DELEGATED_TIMEOUT_S


_PAUSE_S_LEAST = 0.001
_SLOWER, _FASTER = 1.25, 0.8


class Gate:
    """Lets calls to one node pass; of the running loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []  # a heap
        self._timer: asyncio.TimerHandle | None = None
        self._opens_at = 0.0
        self._pause_s = 0.0
        self._waited_s = 0.0
        self._round = 0

    async def enter(self, call: int) -> int | None:
        """Wait until it is this call's turn.

        Args:
            call: Its number; lower numbers pass first.

        Returns:
            What to name to `served` or `refused`; None if the node serves nobody, or too many wait.

        """
        loop = asyncio.get_running_loop()
        if not self._waiting and loop.time() >= self._opens_at:
            self._opens_at = loop.time() + self._pause_s
            return self._round
        if len(self._waiting) >= CALLS_WAITING_MAX:
            return None
        turn: asyncio.Future[bool] = loop.create_future()
        heappush(self._waiting, (call, turn))
        self._arm()
        return self._round if await turn else None

    def served(self, entered: int) -> None:
        """A call was answered otherwise than by 103."""
        self._waited_s = 0.0
        if entered == self._round:
            self._pause_s *= _FASTER
            if self._pause_s < _PAUSE_S_LEAST:
                self._pause_s = _PAUSE_S_LEAST if self._waiting else 0.0

    def refused(self, entered: int, told_s: float) -> bool:
        """A call was answered 103.

        Args:
            entered: What `enter` returned.
            told_s: After how many seconds the node wants to be asked again.

        Returns:
            True if the call may enter again.

        """
        if told_s > CLIENT_PATIENCE_S:
            return False
        if entered != self._round:
            return True  # it was sent before the last refusal: that says nothing new
        self._round += 1
        slower = 2 if self._waited_s else _SLOWER
        self._pause_s = max(DELEGATED_PAUSE_S_MIN, told_s, slower * self._pause_s)
        self._waited_s += self._pause_s
        if self._waited_s > DELEGATED_TIMEOUT_S:
            self.close()
            return False
        self._opens_at = asyncio.get_running_loop().time() + self._pause_s
        self._arm()
        return True

    def close(self) -> None:
        """Send away all that wait, and begin anew."""
        waiting, self._waiting = self._waiting, []
        for _, turn in waiting:
            if not turn.done():
                turn.set_result(False)
        self._opens_at = self._pause_s = self._waited_s = 0.0
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._opens_at, self._let_pass)

    def _let_pass(self) -> None:
        """It is the oldest call's turn; those whose callers went away are passed over."""
        while self._waiting:
            _, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(True)
                self._opens_at = asyncio.get_running_loop().time() + self._pause_s
                break
        self._arm()

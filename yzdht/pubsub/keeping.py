"""Changes of histories on their way to the disk, and who is told what came of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import HISTORY_LOOK_EVERY_S, HISTORY_S
from yzdht.pubsub.history_clock import HistoryClock
from yzdht.rpc.engine import Keep
from yzdht.wire.history import ForgetBefore, Forgotten


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Now
    from yzdht.pubsub.hosted import Topics
    from yzdht.pubsub.outbox import Outbox
    from yzdht.wire.history import TopicChange, TopicVerdict


class Keeping:
    """Of one host; drops besides what a history has had for its time.

    Args:
        outbox: Where changes go.
        topics: Told when something was dropped.

    """

    def __init__(self, outbox: Outbox, topics: Topics) -> None:
        self._outbox = outbox
        self._topics = topics
        self._waiting: dict[int, Callable[[TopicVerdict, Now], None]] = {}
        self._last = 0
        self._look_at: float | None = None
        self._clock = HistoryClock()

    def wall(self, now: Now) -> int:
        """Unix seconds by which messages age."""
        return self._clock.read(now)

    def submit(self, change: TopicChange, then: Callable[[TopicVerdict, Now], None]) -> None:
        """Have a change made; `then` is told the verdict once it is durable. The store says beforehand if it has no room."""
        self._last += 1
        self._waiting[self._last] = then
        self._outbox.put(Keep(self._last, change))

    def on_stored(self, op: int, verdict: TopicVerdict, now: Now) -> None:
        """A change is durable, or was refused."""
        then = self._waiting.pop(op, None)
        if then is not None:
            then(verdict, now)

    def start(self, now: Now) -> None:
        """Drop what is too old, from now on."""
        self._look_at = now.mono

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return self._look_at

    def handle_timer(self, now: Now) -> None:
        """Drop what is too old, a page at a time, the next when one is done."""
        if self._look_at is not None and self._look_at <= now.mono:
            self._look_at = None
            self._forget(now)

    def _forget(self, now: Now) -> None:
        self.submit(ForgetBefore(self.wall(now) - HISTORY_S), self._forgot)

    def _forgot(self, verdict: TopicVerdict, now: Now) -> None:
        has_more = False
        if isinstance(verdict, Forgotten):
            has_more = verdict.has_more
            if verdict.messages:
                self._topics.reread()
        if has_more:
            self._forget(now)
        else:
            self._look_at = now.mono + HISTORY_LOOK_EVERY_S

    def stop(self) -> None:
        """Nobody is told anything any more."""
        self._waiting.clear()
        self._look_at = None

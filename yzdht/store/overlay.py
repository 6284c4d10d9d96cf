"""Writes that are submitted and not yet committed, laid over what the database shows.

Owns the promise of HOUSE.md that `head` and `get` see such writes. The outcome is predicted by the same `judge` that
the writer uses, in the order of submission; quotas and full targets are the writer's own matter, so a write that it
will refuse for those may show until its verdict arrives.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from yzdht.wire.slot import Stored, head_after, judge


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from yzdht.ids import Publisher, Target
    from yzdht.wire.slot import Head, Write


class PendingSlot:
    """The waiting writes of one slot and what they will make of it."""

    __slots__ = ("_body", "_folded", "_head", "writes")

    def __init__(self) -> None:
        self.writes: deque[Write] = deque()
        self._folded = 0
        self._head: Head | None = None
        self._body: bytes | None = None

    def predict(self, read_head: Callable[[], Head | None]) -> tuple[Head | None, bytes | None]:
        """Head and body that the slot will have.

        Each write is folded once, not once per read: thousands may wait for one slot.

        Args:
            read_head: Reads the committed head. A write that is already committed does no harm when judged again:
                it is the same record, or older than what is there.

        Returns:
            The head, and the body if one of the waiting writes supplied it; None means the committed body.

        """
        if self._folded == 0:
            self._head, self._body = read_head(), None
        for write in islice(self.writes, self._folded, None):
            if isinstance(judge(self._head, write), Stored):
                self._head, self._body = head_after(self._head, write), write.body
        self._folded = len(self.writes)
        return self._head, self._body

    def settle_oldest(self) -> None:
        """Forget the oldest write, and what was predicted from it."""
        self.writes.popleft()
        self._folded = 0


class Overlay:
    """All slots that have waiting writes."""

    __slots__ = ("_by_target", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self._by_target: dict[Target, dict[Publisher, PendingSlot]] = {}
        self.waiting = 0
        self.waiting_bytes = 0

    def add(self, write: Write) -> None:
        """A write was submitted."""
        slots = self._by_target.setdefault(write.target, {})
        slot = slots.get(write.publisher)
        if slot is None:
            slot = slots[write.publisher] = PendingSlot()
        slot.writes.append(write)
        self.waiting += 1
        self.waiting_bytes += len(write.body)

    def settle(self, writes: Iterable[Write]) -> None:
        """These writes, the oldest of their slots, were decided."""
        for write in writes:
            slots = self._by_target[write.target]
            slot = slots[write.publisher]
            slot.settle_oldest()
            self.waiting -= 1
            self.waiting_bytes -= len(write.body)
            if not slot.writes:
                del slots[write.publisher]
                if not slots:
                    del self._by_target[write.target]

    def find(self, target: Target, publisher: Publisher) -> PendingSlot | None:
        """The waiting writes of one slot."""
        slots = self._by_target.get(target)
        return None if slots is None else slots.get(publisher)

    def under(self, target: Target) -> Mapping[Publisher, PendingSlot] | None:
        """The waiting writes under one target, by publisher."""
        return self._by_target.get(target)

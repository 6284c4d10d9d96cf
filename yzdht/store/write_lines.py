"""Writes on their way to the writer thread: whoever brings some stands in a line of its own, and a batch takes from all lines in turn.

In one line a stranger who sends messages as fast as they are answered would have all others wait for a thousand of his
commits. Within a line the order stays, and a topic that is to be forgotten stands behind all that came before it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import Condition
from typing import TYPE_CHECKING, NamedTuple, assert_never

from yzdht.wire.history import ForgetBefore, ForgetTopic, TopicWrite
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import Publisher, Target
    from yzdht.wire.history import TopicChange


Submission = tuple[int, "Write | TopicChange"]
"""A change, and the number under which its verdict is told."""


class Sweep(NamedTuple):
    """Drop what expired.

    Attributes:
        wall_now: Unix seconds.

    """

    wall_now: float


class DropDamaged(NamedTuple):
    """Drop a record that the disk changed; its key, as the store names it."""

    target: Target
    publisher: Publisher


class DropDamagedEnvelope(NamedTuple):
    """Drop a message that the disk changed, by its row."""

    number: int


Order = Sweep | DropDamaged | DropDamagedEnvelope


class _Lines:
    """One of records, whose turn is every other, and of everybody who brings messages one for each of his topics."""

    def __init__(self) -> None:
        self._records: deque[Submission] = deque()
        self._by_bringer: OrderedDict[bytes, OrderedDict[bytes, deque[Submission]]] = OrderedDict()
        self._is_record_next = False

    def __bool__(self) -> bool:
        """True if something waits."""
        return bool(self._records or self._by_bringer)

    def add(self, submission: Submission) -> None:
        """Put it at the end of its line."""
        line = line_of(submission[1])
        if line is None:
            self._records.append(submission)
        else:
            bringer, topic = line
            self._by_bringer.setdefault(bringer, OrderedDict()).setdefault(topic, deque()).append(submission)

    def pop(self) -> Submission:
        """Take the first of the line whose turn it is."""
        self._is_record_next = not self._is_record_next
        if self._records and (self._is_record_next or not self._by_bringer):
            return self._records.popleft()
        bringer, topics = self._by_bringer.popitem(last=False)
        topic, line = topics.popitem(last=False)
        submission = line.popleft()
        if line:
            topics[topic] = line
        if topics:
            self._by_bringer[bringer] = topics
        return submission


class WriteLines:
    """What waits for the one thread that writes; filled by another one."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._stretches: deque[_Lines] = deque([_Lines()])
        self._drops: deque[Order] = deque()  # ahead of a write of the same thing, which would find it there
        self._sweeps: deque[Order] = deque()
        self._is_sweep_next = False
        self._is_closed = False

    def put(self, submissions: Iterable[Submission]) -> None:
        """Have changes made."""
        with self._changed:
            for submission in submissions:
                if isinstance(submission[1], ForgetTopic):
                    self._stretches += [_Lines(), _Lines()]
                    self._stretches[-2].add(submission)
                else:
                    self._stretches[-1].add(submission)
            self._changed.notify()

    def order(self, order: Order) -> None:
        """Have something done between the batches: what is damaged goes before the next one."""
        with self._changed:
            (self._sweeps if isinstance(order, Sweep) else self._drops).append(order)
            self._changed.notify()

    def close(self) -> None:
        """End the thread when nothing waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def take(self, most: int) -> list[Submission] | Order | None:
        """Wait for something to do: changes, so many at most, or an order; None when it is closed and nothing waits."""
        with self._changed:
            while True:
                while len(self._stretches) > 1 and not self._stretches[0]:
                    self._stretches.popleft()
                if self._drops:
                    return self._drops.popleft()
                is_batch = bool(self._stretches[0])
                if self._sweeps and (self._is_sweep_next or not is_batch):
                    self._is_sweep_next = False
                    return self._sweeps.popleft()
                if is_batch:
                    self._is_sweep_next = True
                    return self._batch(most)
                if self._is_closed:
                    return None
                self._changed.wait()

    def _batch(self, most: int) -> list[Submission]:
        batch: list[Submission] = []
        while len(batch) < most:
            if self._stretches[0]:
                batch.append(self._stretches[0].pop())
            elif len(self._stretches) > 1:
                self._stretches.popleft()
            else:
                break
        return batch


def line_of(change: Write | TopicChange) -> tuple[bytes, bytes] | None:
    """Who brings it, and to which topic; None for records. They share one line: each is small beside what a peer may store, and the next write of a slot must not pass the one before."""
    match change:
        case Write() | ForgetBefore():
            return None
        case ForgetTopic():
            return b"", change.topic
        case TopicWrite():
            return change.bringer, change.topic
    assert_never(change)

"""Writes on their way to the writer thread: everybody's stand in a line for each of his topics, and a batch takes from all lines in turn.

In one line a stranger who sends messages as fast as they are answered would have all others wait for a thousand of his
commits. Every other message is of the topic whose turn it is, whoever brings to it: strangers who flood a topic are as many as they
like; the others are of who has his turn, for topics can be made up as well. And of one topic a batch has a part, so that what is written
to another one does not wait for a long transaction, or in it. Within a line the order stays, and a topic that is to be forgotten stands
behind all that came before it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from itertools import islice
from threading import Condition
from typing import TYPE_CHECKING, NamedTuple, assert_never

from yzdht.limits import (
    STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX,
    STORE_BATCH_OF_TOPIC_MAX,
    STORE_BATCH_WRITES_MAX,
)
from yzdht.wire.history import ForgetBefore, ForgetTopic, TopicWrite
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Container, Iterable

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
        self._lines: dict[tuple[bytes, bytes], deque[Submission]] = {}  # by bringer and topic; none is empty
        self._by_topic: OrderedDict[bytes, OrderedDict[bytes, None]] = OrderedDict()  # its bringers
        self._by_bringer: OrderedDict[bytes, OrderedDict[bytes, None]] = OrderedDict()  # his topics
        self._passed_over: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()  # of these: who lost a turn
        self._is_record_next = self._is_bringer_next = False

    def __bool__(self) -> bool:
        """True if something waits."""
        return bool(self._records or self._lines)

    @property
    def is_of_one_topic(self) -> bool:
        """True if what waits is all of the same topic."""
        return not self._records and len(self._by_topic) <= 1

    def add(self, submission: Submission) -> None:
        """Put it at the end of its line."""
        line = line_of(submission[1])
        if line is None:
            self._records.append(submission)
            return
        bringer, topic = line
        self._lines.setdefault(line, deque()).append(submission)
        self._by_topic.setdefault(topic, OrderedDict()).setdefault(bringer)
        self._by_bringer.setdefault(bringer, OrderedDict()).setdefault(topic)

    def begin_batch(self) -> None:
        """Have those first who lost their turn, since so much went to their topic: in the order in which they did, a few in each batch."""
        for bringer, topic in reversed(
            list(islice(self._passed_over, STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX))
        ):
            self._by_bringer.move_to_end(bringer, last=False)
            self._by_bringer[bringer].move_to_end(topic, last=False)

    def pop(self, full: Container[bytes]) -> Submission | None:
        """Take the first of the line whose turn it is; None if all that wait are of topics that are full."""
        self._is_record_next = not self._is_record_next
        line = None if self._records and self._is_record_next else self._next_line(full)
        if line is not None:
            return self._first_of(line)
        return self._records.popleft() if self._records else None

    def _next_line(self, full: Container[bytes]) -> tuple[bytes, bytes] | None:
        self._is_bringer_next = not self._is_bringer_next
        if self._is_bringer_next:
            for bringer in list(islice(self._by_bringer, STORE_BATCH_WRITES_MAX)):
                topics = self._by_bringer[bringer]
                topic = next(iter(topics))
                if topic not in full:
                    return bringer, topic
                self._passed_over.setdefault((bringer, topic))
                topics.move_to_end(topic)  # his turn is over; of his next topic something goes then
                self._by_bringer.move_to_end(bringer)
        for topic, bringers in self._by_topic.items():  # those that are full had their turn lately
            if topic not in full:
                return next(iter(bringers)), topic
        return None

    def _first_of(self, line: tuple[bytes, bytes]) -> Submission:
        waiting = self._lines[line]
        submission = waiting.popleft()
        bringer, topic = line
        self._passed_over.pop(line, None)
        if not waiting:
            del self._lines[line]
        _had_its_turn(self._by_topic, topic, bringer, is_over=not waiting)
        _had_its_turn(self._by_bringer, bringer, topic, is_over=not waiting)
        return submission


def _had_its_turn(
    rows: OrderedDict[bytes, OrderedDict[bytes, None]], name: bytes, within: bytes, *, is_over: bool
) -> None:
    """Have a row, and who was served in it, come last; who waits with nothing more leaves."""
    row = rows[name]
    if is_over:
        del row[within]
    else:
        row.move_to_end(within)
    if row:
        rows.move_to_end(name)
    else:
        del rows[name]


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
        counts: Counter[bytes] = Counter()
        full: set[bytes] = set()
        self._stretches[0].begin_batch()
        part = STORE_BATCH_OF_TOPIC_MAX
        if not self._stretches[0].is_of_one_topic:
            part = STORE_BATCH_OF_TOPIC_BESIDE_OTHERS_MAX
        while len(batch) < most:
            submission = self._stretches[0].pop(full)
            if submission is not None:
                batch.append(submission)
                line = line_of(submission[1])
                if line is not None:
                    counts[line[1]] += 1
                    if counts[line[1]] == part:
                        full.add(line[1])
            elif not self._stretches[0] and len(self._stretches) > 1:
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

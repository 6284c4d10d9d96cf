from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tests.store.writes import LATER, NOW, multi, mutable, publisher, target
from yzdht.limits import STORE_BATCH_WRITES_MAX
from yzdht.store.memory import _DUE_SLACK, MemoryStore
from yzdht.store.policy import EVERYBODY, Totals
from yzdht.wire.slot import StoreBroken, Stored


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.wire.slot import Verdict


class Turns:
    """A loop that turns when told to."""

    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()
        self.batches: list[list[tuple[int, Verdict]]] = []
        self.store = MemoryStore(self.batches.append, self.queue.append)

    def run(self) -> None:
        while self.queue:
            self.queue.popleft()()


def test_verdicts_of_one_turn_come_as_one_batch() -> None:
    turns = Turns()
    turns.store.submit(1, mutable(1))
    turns.store.submit(2, mutable(2))

    assert turns.batches == []
    turns.run()
    assert turns.batches == [[(1, Stored()), (2, Stored())]]


def test_batches_are_no_larger_than_those_of_the_disk() -> None:
    turns = Turns()
    for op in range(STORE_BATCH_WRITES_MAX + 1):
        turns.store.submit(op, mutable(op))

    turns.run()

    assert [len(batch) for batch in turns.batches] == [STORE_BATCH_WRITES_MAX, 1]


def test_write_from_inside_the_sink_is_answered_in_a_later_batch() -> None:
    turns = Turns()

    def sink(batch: list[tuple[int, Verdict]]) -> None:
        turns.batches.append(batch)
        if batch[0][0] == 1:
            turns.store.submit(2, mutable(2))

    turns.store = MemoryStore(sink, turns.queue.append)
    turns.store.submit(1, mutable(1))
    turns.run()

    assert turns.batches == [[(1, Stored())], [(2, Stored())]]


async def test_close_hands_out_verdicts_and_refuses_what_follows() -> None:
    turns = Turns()
    turns.store.submit(1, mutable(1))

    await turns.store.close()
    turns.store.submit(2, mutable(2))
    turns.run()

    assert turns.batches == [[(1, Stored())], [(2, StoreBroken())]]


def test_rewriting_one_slot_does_not_grow_the_list_of_what_is_due() -> None:
    turns = Turns()
    for seq in range(1, 4 * _DUE_SLACK):
        turns.store.submit(seq, mutable(seq=seq, expires=LATER + seq % 7))
        turns.run()

    assert len(turns.store._due) <= _DUE_SLACK + 2


def test_nothing_is_left_of_what_was_forgotten() -> None:
    turns = Turns()
    for by in range(40):
        turns.store.submit(by, multi(by, seq=by + 1))
    turns.store.submit(99, mutable(1))
    turns.run()

    turns.store.sweep(LATER)
    turns.run()

    assert turns.store.totals() == Totals(0, 0)
    assert (
        turns.store._slots,
        turns.store._records,
        turns.store._usage,
        turns.store._due,
        turns.store._order,
    ) == (
        {},
        {},
        {},
        [],
        [],
    )


def test_sums_follow_pinning() -> None:
    turns = Turns()
    turns.store.submit(1, mutable(1))
    assert EVERYBODY in turns.store._usage

    turns.store.submit(2, mutable(1, is_pinned=True))

    assert EVERYBODY not in turns.store._usage
    assert turns.store.totals().records == 1
    assert turns.store.get(target(1), NOW)[0].publisher == publisher(1)

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.messages import NOW, message, run, topic
from yzdht.limits import FLOOR_KEPT_S, STORE_BATCH_WRITES_MAX
from yzdht.store.history_policy import HistoryQuotas
from yzdht.store.memory_topics import _SLACK, MemoryTopics
from yzdht.wire.history import ForgetBefore, ForgetTopic, Forgotten, Kept


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.wire.history import TopicChange, TopicVerdict


class World:
    """A store whose turns of the loop the test makes."""

    def __init__(self, quotas: HistoryQuotas | None = None) -> None:
        self.turns: list[Callable[[], None]] = []
        self.batches: list[list[tuple[int, TopicVerdict]]] = []
        self.store = MemoryTopics(self.batches.append, self.turns.append, quotas)

    def turn(self) -> None:
        while self.turns:
            self.turns.pop(0)()


def test_verdicts_come_in_batches() -> None:
    world = World()
    for index in range(STORE_BATCH_WRITES_MAX + 1):
        world.store.submit(index, message(index))

    world.turn()

    assert [len(batch) for batch in world.batches] == [STORE_BATCH_WRITES_MAX, 1]


def test_what_is_remembered_of_what_left_long_ago_is_bounded() -> None:
    world = World(HistoryQuotas(messages=4, series=8))
    store = world.store
    for number in range(3 * _SLACK):
        store.submit(number, message(0, by=number))
        world.turn()

    assert len(store._received) <= 2 * 4 + _SLACK + 1
    assert len(store._ended) <= 2 * 8 + _SLACK + 1


def test_topics_that_are_forgotten_leave_nothing_behind() -> None:
    world = World()
    store = world.store
    gone: list[TopicChange] = [ForgetTopic(topic(1)), ForgetBefore(NOW + 1 + FLOOR_KEPT_S)]
    changes: list[TopicChange] = [*run(0, 5), message(0, of=2), *gone]
    for number, change in enumerate(changes):
        store.submit(number, change)
    world.turn()

    assert world.batches[-1][-2:] == [(6, Forgotten(5)), (7, Forgotten(1))]
    assert (store._histories, store._order, store._shares, store._messages) == ({}, [], {}, 0)
    assert (store._received, store._ended) == ([], [])


def test_same_numbers_of_messages_go_on_after_one_was_refused() -> None:
    world = World(HistoryQuotas(bytes=20))
    for number, size in enumerate((10, 21, 10, 10)):
        world.store.submit(number, message(number, size=size))
    world.turn()

    assert world.batches[-1][-1][1] == Kept(((message(0).series, 0),))

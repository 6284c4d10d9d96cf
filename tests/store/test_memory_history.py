from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given, strategies as st

from tests.store.messages import bringer, message, series
from yzdht.store.history_policy import Measure, Part
from yzdht.store.memory_history import MemoryHistory, Undo


def state_of(history: MemoryHistory) -> Any:
    return deepcopy(
        (
            history.lines,
            history.messages,
            history._whole,
            history._bringers,
            history._senders,
            history._low,
            history._named,
        )
    )


def filled(*indexes: int) -> tuple[MemoryHistory, Undo]:
    undo = Undo()
    history = MemoryHistory(bringer(1), undo)
    for number, index in enumerate(indexes, 1):
        history.put_in(message(index, bringer=bringer(index)), number, 1)
    undo.forget()
    return history, undo


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 3), st.integers(1, 3)),
        max_size=12,
        unique_by=lambda x: x[:2],
    ),
    st.integers(0, 12),
    st.integers(0, 6),
)
def test_everything_since_the_last_time_can_be_taken_back(
    writes: list[tuple[int, int, int]], stays: int, drops: int
) -> None:
    undo = Undo()
    history = MemoryHistory(bringer(1), undo)
    before = state_of(history)
    for number, (index, by, brought_by) in enumerate(writes, 1):
        history.put_in(message(index, by=by, bringer=bringer(brought_by)), number, number)
        if number <= stays:
            undo.forget()
            before = state_of(history)
    for _ in range(min(drops, len(history.messages))):
        greatest = history.greediest(Measure.MESSAGES)
        history.drop(
            history.own_lowest(greatest, Measure.MESSAGES)
            or history.lowest_of_greatest(greatest, Measure.MESSAGES)
        )

    undo.run()

    assert state_of(history) == before


def test_bringer_of_the_lowest_message_changes_as_that_leaves_and_comes() -> None:
    history, _ = filled(4, 6)
    assert history.own_lowest(bringer(6), Measure.BYTES) is None

    history.take_out(series(), 4)
    lowest = history.own_lowest(bringer(6), Measure.BYTES)
    history.put_in(message(5, bringer=bringer(5)), 3, 1)

    assert lowest is not None
    assert lowest.at == 6
    assert history.own_lowest(bringer(6), Measure.BYTES) is None
    assert history.lowest_of_its_series().at == 5


def test_what_a_bringer_takes_is_counted() -> None:
    history, _ = filled(4, 6)
    size = len(message(4).envelope)

    assert history.whole == Part(2, 2 * size)
    assert history.part_of(bringer(4)) == Part(1, size)
    assert history.part_of(bringer(9)) == Part(0, 0)


def test_range_that_is_held_is_found() -> None:
    history, _ = filled(4, 6, 7, 9)

    assert history.within(series(), 5, 9) == [6, 7]
    assert history.within(series(2), 0, 9) == []

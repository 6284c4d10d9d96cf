from __future__ import annotations

from hypothesis import given, strategies as st

from tests.kad.kit import node_id
from yzdht.ids import NodeId
from yzdht.kad.probes import Probes


class Due(dict[NodeId, float]):
    """When nodes are really due, and the probes that ask for it."""

    def __init__(self) -> None:
        super().__init__()
        self.probes = Probes(self.get)

    def set(self, number: int, mono: float) -> None:
        self[node_id(number)] = mono
        self.probes.at(node_id(number), mono)


def test_nodes_are_told_once_when_they_are_due() -> None:
    due = Due()
    for number in (3, 1, 2):
        due.set(number, number)

    assert due.probes.next() == 1
    assert due.probes.take(2.0) == [node_id(1), node_id(2)]
    assert due.probes.take(2.0) == []
    assert due.probes.next() == 3


def test_a_time_that_moved_later_is_found_by_itself() -> None:
    due = Due()
    due.set(1, 1.0)
    due[node_id(1)] = 5.0

    assert due.probes.next() == 5.0
    assert due.probes.take(4.0) == []


def test_a_time_that_moved_earlier_is_told() -> None:
    due = Due()
    due.set(1, 5.0)
    due.set(1, 2.0)

    assert due.probes.take(9.0) == [node_id(1)]
    assert due.probes.next() is None


def test_who_is_not_due_any_more_or_forgotten_is_not_told() -> None:
    due = Due()
    due.set(1, 1.0)
    due.set(2, 1.0)
    del due[node_id(1)]
    due.probes.forget(node_id(2))

    assert due.probes.next() is None


def test_those_who_come_and_go_leave_nothing_behind() -> None:
    due = Due()
    for number in range(10_000):
        due.set(number, number)
        due.probes.forget(node_id(number))

    assert len(due.probes._heap) < 100


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=60))
def test_each_is_told_at_its_time(steps: list[tuple[int, int, bool]]) -> None:
    """Times move later in silence, and earlier by being told."""
    due, mono = Due(), 0.0
    for number, delay, is_time in steps:
        if is_time:
            mono += delay
            ready = {i for i, at in due.items() if at <= mono}
            assert set(due.probes.take(mono)) == ready
            for told in ready:
                del due[told]
        elif node_id(number) in due and mono + delay >= due[node_id(number)]:
            due[node_id(number)] = mono + delay
        else:
            due.set(number, mono + delay)
        assert due.probes.next() == min(due.values(), default=None)

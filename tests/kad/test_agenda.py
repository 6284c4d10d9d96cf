from __future__ import annotations

from hypothesis import given, strategies as st

from tests.kad.kit import entry, node_id
from yzdht.ids import Target
from yzdht.kad.agenda import Agenda, Budget, HandOver, Refresh, Task
from yzdht.kad.turns import Others
from yzdht.limits import (
    LEAVE_TASKS_IN_FLIGHT_MAX,
    REPLICATION_BURST_BYTES,
    REPLICATION_BURST_REQUESTS,
    REPLICATION_BYTES_PER_S,
    REPLICATION_REQUESTS_PER_S,
    REPLICATION_TASKS_IN_FLIGHT_MAX,
    REPLICATION_TASKS_WAITING_MAX,
)
from yzdht.rpc.bucket import Rate


def target(number: int) -> Target:
    return Target(number.to_bytes(32))


def agenda(*table: int) -> Agenda:
    entries = {node_id(n): entry(n) for n in table}
    return Agenda(entries.get, lambda of, others: of == target(99) and others.since <= 5.0)


def test_tasks_come_when_they_are_due() -> None:
    waiting = agenda()
    waiting.add(5.0, target(1))
    waiting.add(3.0, target(2))

    assert waiting.next_time() == 3.0
    assert waiting.take(4.0) == [Refresh(target(2))]
    assert waiting.take(5.0) == [Refresh(target(1))]
    assert waiting.next_time() is None


def test_a_hand_over_carries_the_contact_of_the_table() -> None:
    waiting = agenda(7)
    waiting.add(0.0, target(1), node_id(7))

    assert waiting.take(0.0) == [HandOver(target(1), entry(7).contact())]


def test_a_hand_over_to_who_has_left_is_dropped() -> None:
    waiting = agenda()
    waiting.add(0.0, target(1), node_id(7))

    assert waiting.take(0.0) == []
    assert waiting.is_idle


def test_what_somebody_else_did_meanwhile_is_dropped() -> None:
    waiting = agenda()
    waiting.add(9.0, target(99), unless=Others(4.0))
    assert waiting.take(9.0) == []
    assert waiting.is_idle

    waiting.add(9.0, target(99), unless=Others(6.0))
    waiting.add(9.0, target(98), unless=Others(4.0))
    assert waiting.take(9.0) == [Refresh(target(99)), Refresh(target(98))]


def test_what_waits_or_is_under_way_is_not_added_again() -> None:
    waiting = agenda()
    for _ in range(2):
        waiting.add(0.0, target(1))
    (task,) = waiting.take(0.0)
    waiting.add(0.0, target(1))
    assert waiting.take(0.0) == []

    waiting.finished(task, 1, 1, 0.0)
    waiting.add(0.0, target(1))
    assert waiting.take(0.0) == [task]


def test_so_many_are_in_flight_and_one_that_ends_makes_room() -> None:
    waiting = agenda()
    for number in range(REPLICATION_TASKS_IN_FLIGHT_MAX + 1):
        waiting.add(0.0, target(number))
    tasks = waiting.take(0.0)
    assert len(tasks) == REPLICATION_TASKS_IN_FLIGHT_MAX
    assert waiting.next_time() is None

    waiting.finished(tasks[0], 1, 1, 0.0)
    assert len(waiting.take(0.0)) == 1


def test_a_task_that_nobody_started_frees_nothing() -> None:
    waiting = agenda()
    waiting.add(0.0, target(1))
    (task,) = waiting.take(0.0)
    waiting.finished(task, 1, 1, 0.0)
    waiting.finished(task, 1, 1, 0.0)
    waiting.finished(Refresh(target(2)), 1, 1, 0.0)

    for number in range(REPLICATION_TASKS_IN_FLIGHT_MAX + 2):
        waiting.add(0.0, target(number))
    assert len(waiting.take(0.0)) == REPLICATION_TASKS_IN_FLIGHT_MAX


def spend(waiting: Agenda, requests: int, size: int) -> None:
    waiting.add(0.0, target(1))
    (task,) = waiting.take(0.0)
    waiting.finished(task, requests, size, 0.0)
    waiting.add(0.0, target(2))


def test_requests_beyond_the_budget_make_the_next_task_wait() -> None:
    waiting = agenda()
    spend(waiting, int(REPLICATION_BURST_REQUESTS + REPLICATION_REQUESTS_PER_S) - 1, 0)

    assert waiting.take(0.9) == []
    assert waiting.next_time() == 1.0
    assert waiting.take(1.0) == [Refresh(target(2))]


def test_bytes_beyond_the_budget_make_the_next_task_wait() -> None:
    waiting = agenda()
    spend(waiting, 0, REPLICATION_BURST_BYTES + 2 * REPLICATION_BYTES_PER_S - 1)

    assert waiting.next_time() == 2.0


def test_less_than_the_usual_share_of_the_line_makes_tasks_wait_longer() -> None:
    waiting = agenda()
    waiting.limit(REPLICATION_BYTES_PER_S / 4)
    spend(waiting, 0, REPLICATION_BURST_BYTES // 4 + REPLICATION_BYTES_PER_S - 1)

    assert waiting.next_time() == 4.0


def test_more_than_the_usual_share_of_the_line_changes_nothing() -> None:
    waiting = agenda()
    waiting.limit(REPLICATION_BYTES_PER_S * 4)
    spend(waiting, 0, REPLICATION_BURST_BYTES + 2 * REPLICATION_BYTES_PER_S - 1)

    assert waiting.next_time() == 2.0


def test_in_a_hurry_what_waits_is_forgotten_and_no_budget_counts() -> None:
    waiting = agenda()
    spend(waiting, 1_000_000, 1 << 40)
    waiting.hurry()
    assert waiting.is_idle

    for number in range(100):
        waiting.add(0.0, target(number))
    assert len(waiting.take(0.0)) == LEAVE_TASKS_IN_FLIGHT_MAX


def test_room_is_what_is_left_of_the_bound() -> None:
    waiting = agenda()
    waiting.add(0.0, target(1))

    assert waiting.room == REPLICATION_TASKS_WAITING_MAX - 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=40))
def test_nothing_is_lost_however_dear_tasks_are(costs: list[tuple[int, int]]) -> None:
    waiting = agenda()
    for number in range(len(costs)):
        waiting.add(float(number % 3), target(number))
    mono, done = 0.0, list[Task]()
    while not waiting.is_idle:
        at = waiting.next_time()
        assert at is not None
        mono = max(mono, at)
        for task in waiting.take(mono):
            requests, seconds = costs[len(done)]
            done.append(task)
            mono += seconds
            waiting.finished(task, 20 * requests, 0, mono)

    assert {task.target for task in done} == set(map(target, range(len(costs))))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30))
def test_a_budget_is_ready_when_it_says(steps: list[tuple[float, float]]) -> None:
    budget = Budget(Rate(10.0, 20.0))
    mono = spent = 0.0
    for tokens, pause_s in steps:
        mono = max(mono + pause_s, budget.ready_at)
        budget.spend(tokens, mono)
        spent += tokens
        assert spent <= 20.0 + 10.0 * mono + 100 + 1e-6
        at = budget.ready_at
        budget.spend(0.0, at)
        assert budget.ready_at <= at

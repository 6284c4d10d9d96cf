from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from tests.kad.kit import NODE, entry, node_id, number_of
from tests.sim.authors import WALL
from tests.sim.node import SimRng
from tests.store.writes import mutable, target
from yzdht.errors import StoreError
from yzdht.kad.replication import HandOver, Refresh, Replication, Task
from yzdht.kad.table import Entry, Table
from yzdht.limits import (
    DAY_S,
    HANDOVER_AGAIN_S,
    HANDOVER_CHANGES_MAX,
    HANDOVER_EVERY_S,
    HANDOVER_STAGGER_S,
    LEAVE_TASKS_IN_FLIGHT_MAX,
    MISSED_PROBES_MAX,
    NODE_IDENTITY_LIFE_S,
    REPLICAS,
    REPLICATION_REQUESTS_PER_S,
    REPLICATION_TASKS_IN_FLIGHT_MAX,
    REPLICATION_TASKS_WAITING_MAX,
    REPUBLISH_EVERY_S,
    REPUBLISH_HURRIED_S,
    REPUBLISH_JITTER,
    REPUBLISH_SKIPS_MAX,
    REPUBLISH_STRAY_LAPS,
)
from yzdht.ports import Now
from yzdht.store.memory import MemoryStore
from yzdht.wire.frame import Caps
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import Publisher, Target
    from yzdht.wire.slot import Head


HOUR = REPUBLISH_EVERY_S
QUIET = 120.0
"""Within it a pass has begun, gone through a small store, and everything it found is done."""


class Moved(NamedTuple):
    entry: Entry
    is_arrival: bool


class FlakyStore(MemoryStore):
    """A disk that can fail."""

    is_broken = False

    def targets(self, after: Target | None, limit: int) -> list[tuple[Target, Publisher, Head]]:
        if self.is_broken:
            raise StoreError("the disk is gone")
        return super().targets(after, limit)


class Keeper:
    """A node that looks after records; nodes and targets are numbers."""

    def __init__(self, own: int, others: Iterable[int], records: Iterable[int], seed: int = 0) -> None:
        self.own = own
        self.mono = 0.0
        self.skew = 0.0
        self.store = FlakyStore(lambda _: None, lambda _: None)
        self.keep(records)
        self.table = Table(node_id(own))
        self.replication = Replication(node_id(own), self.store, self.table, SimRng(f"keeper {own} {seed}"))
        self.done: list[tuple[float, Task]] = []
        self.is_answering = True
        self.news: set[int] = set()
        self.unreachable: set[int] = set()
        self.is_cut_off = False
        self.cost = (7, 700)
        if others := list(others):
            self.arrive(*others)

    def keep(self, records: Iterable[int]) -> None:
        for number in records:
            write = mutable(number, expires=WALL + 365 * DAY_S, wall_now=WALL, created=WALL)
            self.store.submit(number, write)
            self.store._tell()

    def move(self, *, arrived: Iterable[int] = (), departed: Iterable[int] = (), caps: Caps = NODE) -> None:
        changes = []
        for number in departed:
            left = self.table.get(node_id(number))
            assert left is not None
            for _ in range(MISSED_PROBES_MAX):
                self.table.probe_ended(node_id(number), self.mono, is_missed=True)
            assert self.table.get(node_id(number)) is None
            changes.append(Moved(left, is_arrival=False))
        for number in arrived:
            admitted = self.table.admit(entry(number, caps))
            assert admitted is not None
            changes.append(Moved(admitted, is_arrival=True))
        self.replication.changed(changes, self.now)

    def arrive(self, *numbers: int) -> None:
        self.move(arrived=numbers)

    def depart(self, *numbers: int) -> None:
        self.move(departed=numbers)

    @property
    def now(self) -> Now:
        return Now(self.mono, WALL + self.mono + self.skew)

    def run_for(self, seconds: float) -> list[tuple[float, Task]]:
        """Let time pass; every task takes no time and costs `cost`."""
        until = self.mono + seconds
        before = len(self.done)
        self.answer()
        while (timer := self.replication.next_timer()) is not None and timer <= until:
            self.mono = max(self.mono, timer)
            self.replication.handle_timer(self.now)
            self.answer()
        self.mono = until
        return self.done[before:]

    def answer(self) -> None:
        while self.is_answering and (tasks := self.replication.take_tasks()):
            for task in tasks:
                self.done.append((self.mono, task))
                is_newer_there = is_failed = False
                if isinstance(task, HandOver):
                    is_newer_there = number_of_target(task.target) in self.news
                    is_failed = number_of(task.contact) in self.unreachable
                else:
                    is_failed = self.is_cut_off
                self.replication.finished(
                    task, *self.cost, self.now, is_newer_there=is_newer_there, is_failed=is_failed
                )

    def settle(self) -> None:
        """Get over the arrival of those it began with."""
        self.run_for(QUIET)
        self.done.clear()

    def notice(self, record: int, asker: int) -> None:
        self.replication.noticed(target(record), node_id(asker), self.now)


def number_of_target(of: Target) -> int:
    return int.from_bytes(of)


def refreshed(done: Iterable[tuple[float, Task]]) -> list[int]:
    return [number_of_target(task.target) for _, task in done if isinstance(task, Refresh)]


def handed(done: Iterable[tuple[float, Task]]) -> list[tuple[int, int]]:
    return [
        (number_of_target(task.target), number_of(task.contact))
        for _, task in done
        if isinstance(task, HandOver)
    ]


def nearest(point: int, nodes: Iterable[int], count: int = REPLICAS) -> list[int]:
    return sorted(nodes, key=point.__xor__)[:count]


# Republish


def test_a_node_alone_has_nothing_to_do() -> None:
    keeper = Keeper(1, [], range(10, 20))

    assert keeper.replication.next_timer() is None
    assert keeper.run_for(10 * HOUR) == []


def test_every_record_in_range_is_refreshed_once_an_hour() -> None:
    keeper = Keeper(1, [2, 3], range(10, 20))
    keeper.settle()
    keeper.run_for(HOUR)
    laps = [refreshed(keeper.run_for(HOUR)) for _ in range(20)]

    counts = Counter(record for lap in laps for record in lap)
    assert set(counts) == set(range(10, 20))
    assert all(20 / REPUBLISH_JITTER[1] - 1 <= n <= 20 / REPUBLISH_JITTER[0] + 1 for n in counts.values())
    assert handed(keeper.done) == []


def test_records_of_one_lap_are_spread_over_it() -> None:
    keeper = Keeper(1, [2, 3], range(10, 20))
    keeper.settle()
    keeper.run_for(HOUR)
    times = [mono for mono, _ in keeper.run_for(HOUR)]

    assert all(later - earlier >= HOUR / 20 for earlier, later in itertools.pairwise(times))


def test_nodes_do_not_act_at_the_same_time() -> None:
    firsts = []
    for own in range(1, 9):
        keeper = Keeper(own, (n for n in range(1, 9) if n != own), [100])
        keeper.settle()
        firsts.append(next(mono for mono, _ in keeper.run_for(2 * HOUR)))

    assert max(firsts) - min(firsts) > HOUR / 2
    assert len({round(mono / 60) for mono in firsts}) >= 7


def test_a_record_that_another_holder_looked_after_is_left_alone() -> None:
    keeper = Keeper(1, [2, 3], [10])
    keeper.settle()
    keeper.notice(10, 2)

    assert keeper.run_for(0.8 * HOUR) == []


def test_who_is_not_among_the_nearest_cannot_talk_a_holder_out_of_it() -> None:
    keeper = Keeper(0, [*range(1, 9), 0x80], [8])
    keeper.settle()
    keeper.notice(8, 0x80)  # 8 nodes are nearer to 8
    keeper.notice(8, 0)  # itself
    keeper.notice(8, 99)  # unknown

    assert set(refreshed(keeper.run_for(HOUR))) == {8}


def test_one_that_stores_nothing_cannot_either() -> None:
    keeper = Keeper(1, [2, 3], [10])
    keeper.move(arrived=[11], caps=Caps.ALWAYS | Caps.ROUTING)
    keeper.settle()
    keeper.notice(10, 11)

    assert set(refreshed(keeper.run_for(HOUR))) == {10}


def test_a_liar_that_always_asks_stops_a_holder_for_some_hours_at_most() -> None:
    keeper = Keeper(1, [2, 3], [10])
    keeper.settle()
    times = []
    for _ in range(40 * 6):
        keeper.notice(10, 2)
        times += [mono for mono, _ in keeper.run_for(HOUR / 6)]

    assert len(times) >= 8
    longest = (REPUBLISH_SKIPS_MAX + 1) * HOUR * REPUBLISH_JITTER[1]
    assert all(later - earlier <= longest for earlier, later in itertools.pairwise(times))


def test_a_liar_gains_nothing_where_tasks_have_to_wait() -> None:
    """It asks all the time; while the budget is overdrawn that would be after the task was added, each time."""
    keeper = Keeper(1, [2, 3], [10, 20, 30])
    keeper.settle()
    keeper.cost = (int(1.5 * HOUR * REPLICATION_REQUESTS_PER_S), 0)
    for _ in range(40 * 60):
        keeper.notice(10, 2)
        keeper.run_for(HOUR / 60)

    assert refreshed(keeper.done).count(10) >= 3


def test_holders_take_turns() -> None:
    """Eight nodes with the same records, each of which hears the others: far from eight times the work."""
    nodes = list(range(1, 9))
    keepers = [Keeper(own, (n for n in nodes if n != own), range(100, 120)) for own in nodes]
    for keeper in keepers:
        keeper.settle()
    per_hour = []
    for _ in range(24):
        done = 0
        for _ in range(60):
            for keeper in keepers:
                for record in refreshed(keeper.run_for(60)):
                    done += 1
                    for other in keepers:
                        if other is not keeper:
                            other.notice(record, keeper.own)
        per_hour.append(done)

    assert min(per_hour[1:]) >= 20 * 0.8
    assert sum(per_hour[1:]) / 23 < 3.5 * 20
    for keeper in keepers:
        assert len(set(refreshed(keeper.done))) == 20  # nobody relies on the others for ever


def test_a_full_page_of_a_large_store_is_walked_through_in_an_hour() -> None:
    keeper = Keeper(1, [2, 3], range(10_000, 12_000))
    keeper.cost = (1, 1)
    keeper.run_for(3 * HOUR)
    done = Counter(refreshed(keeper.run_for(HOUR)))

    assert 1_700 < sum(done.values()) < 2_300
    assert max(done.values()) <= 2


def test_a_lap_that_began_with_a_nearly_empty_store_takes_no_longer() -> None:
    keeper = Keeper(1, [2, 3], [9])
    keeper.settle()
    while not keeper.done:
        keeper.run_for(60)
    keeper.keep(range(100, 1_100))
    keeper.cost = (1, 1)

    assert set(refreshed(keeper.run_for(2 * HOUR))) >= set(range(100, 1_100))


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 2**256 - 1), min_size=1, max_size=400), st.integers(0, 1_000))
def test_a_lap_visits_every_record_once(records: set[int], seed: int) -> None:
    keeper = Keeper(1, [2, 3], records, seed)
    keeper.cost = (0, 0)
    keeper.settle()
    first = refreshed(keeper.run_for(HOUR * 3))

    assert set(first) == records
    lap_s = HOUR * REPUBLISH_JITTER[0]
    by_record: dict[int, list[float]] = {}
    for mono, task in keeper.done:
        by_record.setdefault(number_of_target(task.target), []).append(mono)
    for times in by_record.values():
        assert all(later - earlier > lap_s / 2 for earlier, later in itertools.pairwise(times))


# Out of range

NEAR = range(16, 24)
"""Eight nodes nearer to the targets 16 to 23 than node 1."""


def far(count: int) -> list[int]:
    """Records that those eight are nearest to."""
    return [n * 4_096 + NEAR[n % 8] for n in range(count)]


def test_a_record_out_of_range_is_refreshed_when_that_is_seen_then_once_a_day() -> None:
    keeper = Keeper(1, NEAR, [16, 17])
    keeper.settle()
    first = refreshed(keeper.run_for(2 * HOUR))
    assert sorted(first) == [16, 17]

    times = [mono for mono, _ in keeper.run_for(5 * DAY_S)]
    assert 8 <= len(times) <= 12


def test_a_refresh_out_of_range_that_missed_one_of_the_nearest_is_repeated_in_the_next_lap() -> None:
    """One made just after the network was cut must not count for a day: the cut may be gone within the hour."""
    keeper = Keeper(1, NEAR, [16])
    keeper.settle()
    keeper.is_cut_off = True
    while not keeper.done:
        keeper.run_for(60)
    keeper.is_cut_off = False

    assert refreshed(keeper.run_for(1.2 * HOUR)) == [16]
    assert refreshed(keeper.run_for(3 * HOUR)) in ([], [16])  # its lap of the day may be among them


def test_what_another_node_stored_out_of_range_is_refreshed_in_the_next_lap() -> None:
    keeper = Keeper(1, NEAR, [16])
    keeper.settle()
    keeper.run_for(3 * HOUR)
    keeper.replication.brought(target(16))

    assert 16 in refreshed(keeper.run_for(1.2 * HOUR))


def test_traffic_stays_flat_however_many_old_copies_there_are() -> None:
    keeper = Keeper(1, [*NEAR, *range(2, 9)], [*range(4_096 + 16, 4_096 + 24), *range(160 * 16, 161 * 16)])
    keeper.settle()
    keeper.run_for(3 * HOUR)
    old = len(keeper.run_for(24 * HOUR))
    more = range(16, 24)
    keeper.keep(n * 4_096 + m for n in range(2, 40) for m in more)
    keeper.run_for(3 * HOUR)
    new = len(keeper.run_for(24 * HOUR))

    assert new - old <= 1.3 * 38 * 8


def test_the_identity_record_of_another_node_is_its_own_affair_and_a_persons_is_not() -> None:
    keeper = Keeper(0, range(1, 4), [])
    for number, life_s in (
        (0, NODE_IDENTITY_LIFE_S),
        (5, NODE_IDENTITY_LIFE_S),
        (6, NODE_IDENTITY_LIFE_S + 1),
    ):
        note = mutable(number, kind=Kind.IDENTITY, created=WALL, expires=WALL + life_s, wall_now=WALL)
        keeper.store.submit(number, note)
        keeper.store._tell()
    done = keeper.run_for(2 * HOUR)

    assert set(refreshed(done)) == {0, 6}


def test_what_comes_into_range_again_is_looked_after_again() -> None:
    keeper = Keeper(1, NEAR, [16])
    keeper.settle()
    keeper.run_for(3 * HOUR)
    keeper.depart(23)
    keeper.run_for(QUIET)

    assert 4 <= len(refreshed(keeper.run_for(6 * HOUR))) <= 8


# Hand-over


def test_an_arrival_is_handed_what_it_is_near_to() -> None:
    near = range(17, 24)
    keeper = Keeper(16, near, [16, 0x80])
    keeper.move(arrived=range(0x80, 0x88))
    keeper.settle()
    keeper.arrive(24)

    # 0x80 has its eight; of 16 the newcomer is the ninth
    assert handed(keeper.run_for(QUIET)) == []
    keeper.depart(23)
    assert handed(keeper.run_for(QUIET)) == [(16, 24)]


def test_the_nearest_three_holders_hand_over_one_after_the_other() -> None:
    nodes = [1, 2, 3, 4, 5]
    times = {}
    for own in nodes:
        keeper = Keeper(own, (n for n in nodes if n != own), [0])
        keeper.settle()
        keeper.arrive(6)
        done = keeper.run_for(QUIET)
        times[own] = [mono for mono, _ in done]
        assert handed(done) == [(0, 6)] * (own <= 3)

    assert all(HANDOVER_STAGGER_S * (own - 1) <= times[own][0] - QUIET for own in (1, 2, 3))


def test_the_newcomer_is_not_counted_among_the_holders() -> None:
    keeper = Keeper(3, [1, 2, 4, 5], [0])
    keeper.settle()
    keeper.move(arrived=[0])

    assert handed(keeper.run_for(QUIET)) == [(0, 0)]


def test_a_departure_hands_to_the_node_that_moved_up() -> None:
    keeper = Keeper(1, range(2, 11), [0])
    keeper.settle()
    keeper.depart(5)

    assert handed(keeper.run_for(QUIET)) == [(0, 9)]


def test_a_departure_out_of_range_changes_nothing() -> None:
    keeper = Keeper(1, range(2, 11), [0])
    keeper.settle()
    keeper.depart(9)

    assert keeper.run_for(QUIET) == []


def test_where_most_left_one_read_reaches_all_who_moved_up() -> None:
    keeper = Keeper(1, range(2, 20), [0])
    keeper.settle()
    keeper.depart(2, 3, 4, 5, 6)

    assert [task for _, task in keeper.run_for(QUIET)] == [Refresh(target(0))]


def test_nodes_that_all_came_back_at_once_take_turns() -> None:
    nodes = range(1, 9)
    keepers = [Keeper(own, (n for n in nodes if n != own), range(100, 150)) for own in nodes]
    done = 0
    for _ in range(200):
        for keeper in keepers:
            for record in refreshed(keeper.run_for(0.5)):
                done += 1
                for other in keepers:
                    other.notice(record, keeper.own)

    assert 100 <= done <= 150


def test_the_last_copy_is_spread_though_its_holder_was_never_near() -> None:
    keeper = Keeper(0x100, range(1, 20), [0])
    keeper.settle()
    keeper.run_for(2 * HOUR)
    keeper.depart(*range(1, 9))

    assert refreshed(keeper.run_for(QUIET)) == [0]


def test_changes_are_dealt_with_in_one_pass_and_one_a_minute() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.arrive(4)
    keeper.arrive(5)
    done = keeper.run_for(20.0)
    assert sorted(handed(done)) == [(0, 4), (0, 5)]
    keeper.arrive(6)
    keeper.run_for(1.0)
    keeper.arrive(7)

    assert keeper.run_for(HANDOVER_EVERY_S - 21 - 2 * HANDOVER_STAGGER_S) == []
    assert sorted(handed(keeper.run_for(60.0))) == [(0, 6), (0, 7)]


def test_who_came_and_went_is_handed_nothing() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.arrive(4)
    keeper.depart(4)

    assert keeper.run_for(QUIET) == []


def test_who_went_and_came_back_may_have_lost_everything() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.run_for(HANDOVER_AGAIN_S + QUIET)
    keeper.done.clear()
    keeper.depart(3)
    keeper.arrive(3)

    assert handed(keeper.run_for(QUIET)) == [(0, 3)]


def test_a_node_that_flaps_is_handed_to_once_in_minutes() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    start = keeper.mono
    for _ in range(20):
        keeper.arrive(4)
        keeper.run_for(30.0)
        keeper.depart(4)
        keeper.run_for(30.0)
    times = [mono - start for mono, task in keeper.done if isinstance(task, HandOver)]

    assert 1 <= len(times) <= 20 * 60 / HANDOVER_AGAIN_S + 1
    assert all(later - earlier > HANDOVER_AGAIN_S / 2 for earlier, later in itertools.pairwise(times))


def test_a_hand_over_that_meets_something_newer_is_followed_by_a_refresh() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.news = {0}
    keeper.arrive(4)
    done = keeper.run_for(QUIET)

    assert (handed(done), refreshed(done)) == ([(0, 4)], [0])


def test_nodes_that_store_nothing_change_nothing() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.move(arrived=[4, 5], caps=Caps.ALWAYS | Caps.ROUTING)

    assert keeper.run_for(QUIET) == []


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(0, 255), min_size=3, max_size=30),
    st.sets(st.integers(0, 255), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(0, 255),
)
def test_whoever_moves_in_is_given_everything_by_those_that_stay(
    nodes: set[int], newcomers: set[int], leave: int, record: int
) -> None:
    newcomers -= nodes
    leaving = set(nearest(record, nodes)[1 : 1 + leave])
    staying = nodes - leaving
    holders = [n for n in nearest(record, nodes) if n in staying]
    reached: set[int] = set()
    for own in holders[:3]:
        keeper = Keeper(own, nodes - {own}, [record])
        keeper.settle()
        keeper.move(arrived=newcomers, departed=leaving)
        done = keeper.run_for(QUIET)
        if refreshed(done):
            reached |= set(nearest(record, staying | newcomers))
        reached |= {number for _, number in handed(done)}

    assert set(nearest(record, staying | newcomers)) - set(holders) <= reached


# Many at once


def test_very_many_changes_become_a_lap_of_some_minutes() -> None:
    keeper = Keeper(1, [2, 3], range(1_000, 1_050))
    keeper.settle()
    keeper.move(arrived=range(0x10_000, 0x10_000 + HANDOVER_CHANGES_MAX + 1))
    done = keeper.run_for(REPUBLISH_HURRIED_S + 120.0)

    assert sorted(refreshed(done)) == list(range(1_000, 1_050))
    assert done[-1][0] - done[0][0] > REPUBLISH_HURRIED_S / 2


def test_in_a_hurry_only_the_nearest_three_act_and_not_after_one_another() -> None:
    nodes = range(1, 9)
    for own in nodes:
        keeper = Keeper(own, (n for n in nodes if n != own), [0])
        keeper.settle()
        keeper.move(arrived=range(0x10_000, 0x10_000 + HANDOVER_CHANGES_MAX + 1))
        assert len(keeper.run_for(15.0)) == 0
        if own == 3:
            keeper.notice(0, 1)
            keeper.notice(0, 2)

        assert bool(refreshed(keeper.run_for(70.0))) == (own in (1, 2))


def test_one_that_always_asks_holds_up_no_lap_in_a_hurry() -> None:
    keeper = Keeper(1, range(2, 9), [0])
    keeper.settle()
    keeper.move(arrived=range(0x10_000, 0x10_000 + HANDOVER_CHANGES_MAX + 1))
    done = []
    for _ in range(70):
        keeper.notice(0, 2)
        done += refreshed(keeper.run_for(1.0))

    assert done == [0]


def test_one_that_always_asks_holds_up_no_repair_where_most_left() -> None:
    keeper = Keeper(1, range(2, 20), [0])
    keeper.settle()
    keeper.depart(2, 3, 4, 5, 6)
    done = []
    for _ in range(int(QUIET)):
        keeper.notice(0, 7)
        done += refreshed(keeper.run_for(1.0))

    assert done == [0]


def test_laps_come_to_their_end_however_much_changes() -> None:
    keeper = Keeper(1, [2, 3], range(1_000, 1_200))
    keeper.settle()
    crowd = range(0x10_000, 0x10_000 + HANDOVER_CHANGES_MAX + 1)
    for _ in range(60):
        keeper.arrive(*crowd)
        keeper.run_for(30.0)
        keeper.depart(*crowd)
        keeper.run_for(30.0)
    counts = Counter(refreshed(keeper.done))

    assert set(counts) == set(range(1_000, 1_200))
    assert max(counts.values()) <= 8


# Bounds


def test_out_of_budget_it_waits_and_loses_nothing() -> None:
    keeper = Keeper(1, [2, 3], range(1_000, 1_300))
    keeper.settle()
    keeper.cost = (1_000, 1_000)  # ten seconds of budget each
    keeper.arrive(4)
    done = keeper.run_for(60.0)
    assert 6 <= len(done) <= 20

    done += keeper.run_for(1.1 * 3_000)
    assert set(handed(done)) == {(n, 4) for n in range(1_000, 1_300)}


@pytest.mark.parametrize("is_leaving", [False, True])
def test_little_is_under_way_and_little_waits_while_nothing_is_answered(*, is_leaving: bool) -> None:
    keeper = Keeper(1, [2, 3], range(1_000, 6_000))
    keeper.is_answering = False
    keeper.run_for(QUIET)
    if is_leaving:
        keeper.replication.leave(keeper.now)
    keeper.run_for(2 * HOUR)
    in_flight = len(keeper.replication.take_tasks())

    assert in_flight == REPLICATION_TASKS_IN_FLIGHT_MAX + is_leaving * LEAVE_TASKS_IN_FLIGHT_MAX - (
        is_leaving * REPLICATION_TASKS_IN_FLIGHT_MAX
    )
    assert 0 <= keeper.replication._agenda.room < REPLICATION_TASKS_WAITING_MAX


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NOTICES_MAX", 50), ("STRAYS_MAX", 40)):
        monkeypatch.setattr(f"yzdht.kad.turns.REPUBLISH_{name}", value)
    monkeypatch.setattr("yzdht.kad.replication.HANDOVER_NODES_REMEMBERED_MAX", 20)
    keeper = Keeper(1, [*NEAR, 2, 3], far(200))
    for record in range(200):
        keeper.notice(record * 4_096 + 1, 2)
    assert len(keeper.replication._turns) == 50
    for number in range(30):
        keeper.arrive(0x10_000 + number)
        keeper.run_for(HANDOVER_EVERY_S)
    keeper.run_for(4 * HOUR)
    replication = keeper.replication

    assert len(replication._turns) == 0
    assert len(replication._strays) <= 80
    assert len(replication._handed) == 20
    assert replication._moves == {}


def test_strays_beyond_the_memory_are_seen_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.kad.turns.REPUBLISH_STRAYS_MAX", 10)
    keeper = Keeper(1, NEAR, far(240))
    keeper.settle()
    keeper.run_for(2 * HOUR)
    hours = [len(keeper.run_for(HOUR)) for _ in range(24)]

    assert sum(hours) == pytest.approx(240, rel=0.2)
    assert max(hours) <= 40


def test_traffic_of_a_constant_store_is_flat() -> None:
    records = [*range(1_000, 1_100), *far(100)]
    keeper = Keeper(1, [*NEAR, 2, 3, 4], records)
    keeper.settle()
    keeper.run_for(3 * HOUR)
    hours = [len(keeper.run_for(HOUR)) for _ in range(REPUBLISH_STRAY_LAPS)]

    assert max(hours) <= 1.6 * min(hours)


# Leaving


def has_left(keeper: Keeper) -> bool:
    return keeper.replication.has_left


def test_who_takes_its_place_is_given_what_is_in_range() -> None:
    keeper = Keeper(1, range(2, 11), [0, 0x10_000])
    keeper.settle()
    keeper.replication.leave(keeper.now)
    keeper.run_for(0.0)

    expected = [(r, nearest(r, range(2, 11))[-1]) for r in (0, 0x10_000) if 1 in nearest(r, range(1, 11))]
    assert handed(keeper.done) == expected
    assert has_left(keeper)


def test_who_cannot_take_its_place_is_replaced_twice() -> None:
    keeper = Keeper(1, range(2, 20), [0])
    keeper.settle()
    keeper.unreachable = {9, 10, 11}
    keeper.replication.leave(keeper.now)
    keeper.run_for(0.0)

    assert handed(keeper.done) == [(0, 9), (0, 10), (0, 11)]
    assert has_left(keeper)


def test_of_few_that_stay_nobody_is_replaced() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.unreachable = {2, 3}
    keeper.replication.leave(keeper.now)
    keeper.run_for(0.0)

    assert handed(keeper.done) == [(0, 2), (0, 3)]
    assert has_left(keeper)


def test_where_nobody_takes_its_place_all_others_should_have_everything() -> None:
    few, more = Keeper(1, [2, 3], [0]), Keeper(1, [2, 3, 4, 5], [0])
    for keeper in (few, more):
        keeper.settle()
        keeper.replication.leave(keeper.now)
        keeper.run_for(0.0)

    assert handed(few.done) == [(0, 2), (0, 3)]
    assert refreshed(more.done) == [0]


def test_many_records_leave_at_once_and_unpaced() -> None:
    keeper = Keeper(1, [2], range(1_000, 3_500))
    keeper.cost = (1_000, 1 << 20)
    keeper.settle()
    keeper.replication.leave(keeper.now)
    tasks = keeper.replication.take_tasks()
    assert len(tasks) == LEAVE_TASKS_IN_FLIGHT_MAX
    for task in tasks:
        keeper.replication.finished(task, 1, 1, keeper.now)
    keeper.run_for(0.0)

    assert len(handed(keeper.done)) == 2_500 - LEAVE_TASKS_IN_FLIGHT_MAX
    assert has_left(keeper)
    assert keeper.replication.next_timer() is None


def test_it_has_left_only_when_all_is_answered() -> None:
    keeper = Keeper(1, [2], [0])
    keeper.settle()
    keeper.replication.leave(keeper.now)
    (task,) = keeper.replication.take_tasks()
    assert not has_left(keeper)
    keeper.replication.leave(keeper.now)
    assert keeper.replication.take_tasks() == []

    keeper.replication.finished(task, 1, 1, keeper.now, is_newer_there=True)
    assert has_left(keeper)
    keeper.depart(2)
    assert keeper.run_for(2 * HOUR) == []


def test_a_node_with_nobody_or_nothing_has_left_at_once() -> None:
    for keeper in (Keeper(1, [], [0]), Keeper(1, [2], [])):
        assert not has_left(keeper)
        keeper.replication.leave(keeper.now)
        assert has_left(keeper)


def test_how_far_leaving_went_is_told() -> None:
    keeper = Keeper(1, [2], range(1_000, 7_000))
    keeper.settle()
    assert keeper.replication.handed_over() == (0, 0, 0)
    keeper.replication.leave(keeper.now)
    for task in keeper.replication.take_tasks()[:10]:
        keeper.replication.finished(task, 1, 1, keeper.now)
    handed_over, missed, unread = keeper.replication.handed_over()
    assert handed_over == 10
    assert min(missed, unread) > 0
    assert missed + unread == 6_000 - 10

    for task in keeper.replication.take_tasks():
        keeper.replication.finished(task, 1, 1, keeper.now)
    keeper.replication.finished(Refresh(target(0)), 1, 1, keeper.now)
    assert sum(keeper.replication.handed_over()) == 6_000


def test_what_nobody_took_is_told_as_missed() -> None:
    for others, unreachable in ((range(2, 20), {9, 10, 11}), ([2, 3], {2}), ([2, 3], {2, 3})):
        keeper = Keeper(1, others, [0])
        keeper.settle()
        keeper.unreachable = unreachable
        keeper.replication.leave(keeper.now)
        keeper.run_for(0.0)
        assert keeper.replication.handed_over() == (0, 1, 0)

    keeper = Keeper(1, [2, 3, 4, 5], [0])
    keeper.settle()
    keeper.is_cut_off = True
    keeper.replication.leave(keeper.now)
    keeper.run_for(0.0)
    assert keeper.replication.handed_over() == (0, 1, 0)


def test_who_could_not_read_its_disk_has_handed_over_nothing() -> None:
    keeper = Keeper(1, [2], [0])
    keeper.settle()
    keeper.store.is_broken = True
    keeper.replication.leave(keeper.now)
    keeper.run_for(1.0)

    assert keeper.replication.handed_over() == (0, 0, 1)


# The world's faults


def test_a_disk_that_fails_is_tried_again() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.store.is_broken = True
    keeper.arrive(4)
    assert keeper.run_for(2 * HOUR) == []

    keeper.store.is_broken = False
    done = keeper.run_for(HOUR)
    assert handed(done) == [(0, 4)]
    assert set(refreshed(done)) == {0}


def test_leaving_outlasts_a_disk_that_fails() -> None:
    keeper = Keeper(1, [2], [0])
    keeper.settle()
    keeper.store.is_broken = True
    keeper.replication.leave(keeper.now)
    keeper.run_for(5.0)
    assert not has_left(keeper)

    keeper.store.is_broken = False
    keeper.run_for(5.0)
    assert has_left(keeper)


def test_a_clock_that_jumps_changes_nothing() -> None:
    steady, jumping = Keeper(1, [2, 3], range(10)), Keeper(1, [2, 3], range(10))
    for hour in range(10):
        jumping.skew = (-1) ** hour * 20.0 * DAY_S
        steady.run_for(HOUR)
        jumping.run_for(HOUR)

    assert steady.done == jumping.done


def test_what_has_expired_is_not_looked_after() -> None:
    keeper = Keeper(1, [2, 3], [0])
    keeper.settle()
    keeper.skew = 400.0 * DAY_S

    assert keeper.run_for(3 * HOUR) == []

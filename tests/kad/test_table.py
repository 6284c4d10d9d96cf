from __future__ import annotations

import random  # noqa: TID251 - the same spread each time

import pytest
from hypothesis import given, strategies as st

from tests.kad.kit import NODE, entry, node_id
from yzdht.ids import Target
from yzdht.kad.table import Entry, Table
from yzdht.limits import (
    BUCKET_SIZE,
    CAS_REMEMBERS_S,
    DEPARTED_KEPT_S,
    DEPARTED_MAX,
    DEPARTED_RETRY_S_MAX,
    DEPARTED_RETRY_S_MIN,
    IDLE_PROBE_S,
    LONG_STANDING_S,
    MISSED_PROBES_MAX,
    NODES_PER_PREFIX_MAX,
    NODES_PER_PREFIX_PER_BUCKET_MAX,
    PROBE_AGAIN_S,
    PROBE_EVERY_S,
    REFUSED_REMEMBERED_MAX,
    SHRUNK_S,
    SMALL_AGAIN_NODES_MAX,
    SMALL_NETWORK_NODES_MAX,
    TABLE_CHANGES_MAX,
    WAITING_PROBE_S,
)
from yzdht.wire.address import address_of
from yzdht.wire.frame import Caps


OWN = node_id(0)
PREFIX = "203.0.113.0/24"
FULL_BUCKETS = SMALL_NETWORK_NODES_MAX // BUCKET_SIZE + 1
POINTS = st.integers(1, 2**256 - 1)
TARGETS = st.binary(min_size=32, max_size=32).map(Target)


def table_of(*numbers: int) -> Table:
    table = Table(OWN)
    for number in numbers:
        assert table.admit(entry(number)) is not None
    return table


def far(number: int, bucket: int = 0) -> int:
    """A point in a bucket of the node whose id is 0."""
    return 1 << (255 - bucket) | number


def large_table() -> Table:
    """BUCKET_SIZE nodes in each of the farthest buckets, just more than a small network has."""
    return table_of(*(far(n, bucket) for bucket in range(FULL_BUCKETS) for n in range(BUCKET_SIZE)))


def held(table: Table, number: int) -> Entry:
    found = table.get(node_id(number))
    assert found is not None
    return found


def meet(table: Table, number: int, host: str, prefix: str | None, seen_at: float = 0.0) -> Entry | None:
    return table.admit(entry(number, host=host, prefix=prefix, seen_at=seen_at))


def probed(table: Table, mono: float) -> list[int]:
    return [e.point for e in table.probes_due(mono)]


def leave(table: Table, number: int, mono: float = 0.0) -> None:
    for _ in range(MISSED_PROBES_MAX):
        table.probe_ended(node_id(number), mono, is_missed=True)


def test_one_missed_probe_is_enough_against_a_node_that_said_goodbye() -> None:
    table = table_of(1, 2)
    table.session_ended(node_id(1), 5.0, is_goodbye=True)
    table.session_ended(node_id(2), 5.0)
    assert len(table.probes_due(5.0)) == 2
    assert table.probe_ended(node_id(1), 5.0, is_missed=True)
    assert not table.probe_ended(node_id(2), 5.0, is_missed=True)


def test_a_node_that_said_goodbye_and_answers_stays_as_any_other() -> None:
    table = table_of(1)
    table.session_ended(node_id(1), 5.0, is_goodbye=True)
    table.alive(node_id(1), 6.0)
    assert not table.probe_ended(node_id(1), 7.0, is_missed=True)


# Who is near


@given(st.sets(POINTS, max_size=60), TARGETS, st.integers(1, 25))
def test_the_k_closest_are_exact(points: set[int], target: Target, count: int) -> None:
    table = table_of(*points)

    found = [e.point for e in table.closest(target, count)]

    assert found == sorted(points, key=lambda p: p ^ int.from_bytes(target))[:count]


@given(st.dictionaries(POINTS, st.booleans(), max_size=40), TARGETS, st.integers(1, 25))
def test_the_k_closest_storage_nodes_are_exact(nodes: dict[int, bool], target: Target, count: int) -> None:
    table = Table(OWN)
    for number, is_storing in nodes.items():
        table.admit(entry(number, NODE if is_storing else NODE & ~Caps.STORAGE))
    storing = [number for number, is_storing in nodes.items() if is_storing]

    found = [e.point for e in table.closest(target, count, only_storing=True)]

    assert found == sorted(storing, key=lambda p: p ^ int.from_bytes(target))[:count]
    assert table.storing() == len(storing)


# Who may enter


@pytest.mark.parametrize("caps", [NODE | Caps.CLIENT, NODE & ~Caps.ROUTING])
def test_clients_and_nodes_that_do_not_route_never_enter(caps: Caps) -> None:
    table = Table(OWN)

    assert table.admit(entry(1, caps)) is None
    assert len(table) == 0


def test_a_node_that_returns_as_a_client_leaves() -> None:
    table = table_of(1)

    assert table.admit(entry(1, NODE | Caps.CLIENT)) is None
    assert len(table) == 0


def test_a_node_that_returns_shows_its_new_capabilities() -> None:
    table = table_of(1)

    kept = table.admit(entry(1, NODE & ~Caps.STORAGE))

    assert kept is table.get(node_id(1))
    assert kept is not None
    assert not kept.is_storing
    assert not kept.contact().caps & Caps.STORAGE


def test_oneself_never_enters() -> None:
    assert Table(OWN).admit(entry(0)) is None


def test_who_left_keeps_its_addresses_when_it_returns() -> None:
    table = table_of(1)
    known = table.get(node_id(1))
    assert known is not None
    known.learn((address_of("ws://10.0.0.1:1"),), NODE)
    leave(table, 1)

    back = table.admit(entry(1))

    assert back is not None
    assert [a.url for a in back.addresses] == ["ws://10.0.0.1:1"]


# Probes


def test_three_missed_probes_end_a_stay() -> None:
    table = table_of(1)
    node = table.get(node_id(1))
    table.probe_soon(node_id(1), 10.0)

    left = []
    for now in (10.0, 20.0, 40.0):
        assert table.probes_due(now) == [node]
        left.append(table.probe_ended(node_id(1), now, is_missed=True))
    assert left == [False, False, True]
    assert len(table) == 0


def test_a_missed_probe_is_repeated_later_and_later_though_a_session_is_open() -> None:
    table = table_of(1)
    node = table.get(node_id(1))
    assert node is not None
    node.has_session = True

    table.probe_ended(node_id(1), 10.0, is_missed=True)
    assert table.next_probe() == 10.0 + PROBE_AGAIN_S
    table.probe_ended(node_id(1), 20.0, is_missed=True)
    assert table.next_probe() == 20.0 + 2 * PROBE_AGAIN_S


def test_one_probe_of_a_node_is_under_way_at_a_time() -> None:
    table = table_of(1)
    table.probe_soon(node_id(1), 10.0)
    assert len(table.probes_due(10.0)) == 1
    table.probe_soon(node_id(1), 10.1)

    assert table.probes_due(11.0) == []
    table.probe_ended(node_id(1), 13.0, is_missed=True)
    assert len(table.probes_due(13.0 + PROBE_AGAIN_S)) == 1


def test_a_probe_that_came_to_nothing_is_repeated_without_counting() -> None:
    table = table_of(1)
    table.probe_soon(node_id(1), 10.0)
    table.probes_due(10.0)

    assert not table.probe_ended(node_id(1), 11.0, is_missed=False)

    node = table.get(node_id(1))
    assert node is not None
    assert node.missed == 0
    assert table.next_probe() == 11.0 + PROBE_AGAIN_S


def test_a_sign_of_life_ends_probing_and_forgives_what_was_missed() -> None:
    table = table_of(1)
    table.probe_soon(node_id(1), 10.0)
    table.probes_due(10.0)
    table.probe_ended(node_id(1), 11.0, is_missed=True)

    assert table.alive(node_id(1), 12.0) is None

    node = table.get(node_id(1))
    assert node is not None
    assert (node.missed, node.seen_at, table.next_probe()) == (0, 12.0, 12.0 + IDLE_PROBE_S)


def test_who_left_returns_with_its_first_answer() -> None:
    """A session can outlast a stay in the table: then nothing but an answer tells that the node is back."""
    table = table_of(1)
    leave(table, 1, 10.0)

    back = table.alive(node_id(1), 20.0)

    assert back is table.get(node_id(1))
    assert back is not None
    assert (back.missed, back.has_session, back.seen_at) == (0, True, 20.0)
    assert table.next_probe() is None


def test_a_stranger_does_not_enter_by_answering() -> None:
    table = Table(OWN)

    assert table.alive(node_id(1), 1.0) is None
    assert len(table) == 0


# Who left


def test_who_left_is_tried_again_with_growing_pauses() -> None:
    table = table_of(1)
    leave(table, 1, 100.0)
    now, pauses = 100.0, []
    for _ in range(9):
        due = table.next_probe()
        assert due is not None
        pauses.append(due - now)
        now = due
        assert [e.node_id for e in table.probes_due(now)] == [node_id(1)]
        table.probe_ended(node_id(1), now, is_missed=True)

    full = [DEPARTED_RETRY_S_MIN * 2**i for i in range(1, 4)]
    assert pauses[0] == DEPARTED_RETRY_S_MIN
    assert all(pause / 2 <= p <= pause for p, pause in zip(pauses[1:], full, strict=False))
    assert DEPARTED_RETRY_S_MAX / 2 <= pauses[-1] <= DEPARTED_RETRY_S_MAX


def test_those_who_left_together_are_tried_again_one_by_one() -> None:
    table = table_of(*range(1, 9))
    for number in range(1, 9):
        leave(table, number)
    for due in table.probes_due(DEPARTED_RETRY_S_MIN):
        table.probe_ended(due.node_id, DEPARTED_RETRY_S_MIN, is_missed=True)

    assert len({departed.retry_at for departed in table._departed.values()}) == 8


def test_a_write_with_cas_counts_nodes_of_the_last_day() -> None:
    table = table_of(1, 2, 3)
    leave(table, 2, 10.0)

    def counted(mono: float) -> list[int]:
        return [e.point for e in table.closest_of_a_day(Target(bytes(32)), 8, mono)]

    assert counted(CAS_REMEMBERS_S - 1) == [1, 2, 3]
    assert counted(CAS_REMEMBERS_S + 1) == [1, 3]


def test_who_was_known_before_a_restart_is_tried_at_once() -> None:
    table = Table(OWN)
    table.remember(entry(1, seen_at=5.0), 5.0)
    table.remember(entry(0), 5.0)

    assert [e.point for e in table.probes_due(5.0)] == [1]
    assert [e.point for e in table.known()] == [1]
    assert len(table) == 0


def test_the_memory_of_those_who_left_is_bounded() -> None:
    table = Table(OWN)
    for number in range(1, DEPARTED_MAX + 2):
        table.remember(entry(number, seen_at=float(number)), 0.0)

    known = {e.point for e in table.known()}
    assert len(known) == DEPARTED_MAX
    assert 1 not in known


# Small and large


def test_a_small_network_is_known_whole_whatever_its_buckets_hold() -> None:
    table = table_of(*(far(n) for n in range(SMALL_NETWORK_NODES_MAX)))

    assert table.is_small
    assert table.bucket_sizes() == [(0, SMALL_NETWORK_NODES_MAX, 0)]


def test_the_first_node_too_many_waits_and_nobody_leaves_for_it() -> None:
    table = table_of(*(far(n) for n in range(SMALL_NETWORK_NODES_MAX)))

    assert table.admit(entry(far(999))) is None

    assert not table.is_small
    assert table.bucket_sizes() == [(0, SMALL_NETWORK_NODES_MAX, 1)]
    assert table.get(node_id(far(999))) is None


def test_the_first_node_too_many_enters_where_there_is_room() -> None:
    table = table_of(*(far(n) for n in range(SMALL_NETWORK_NODES_MAX)))

    assert table.admit(entry(1)) is not None

    assert not table.is_small
    assert len(table) == SMALL_NETWORK_NODES_MAX + 1


def test_a_large_table_is_small_again_only_when_it_has_shrunk_by_far() -> None:
    table = large_table()
    table.admit(entry(far(999)))

    sizes_when_large = []
    for number in [far(n, bucket) for bucket in range(1, FULL_BUCKETS) for n in range(BUCKET_SIZE)]:
        if not table.is_small:
            sizes_when_large.append(len(table.known()) - len(table._departed))
            leave(table, number)

    assert min(sizes_when_large) == SMALL_AGAIN_NODES_MAX + 1
    assert far(999) in probed(table, 0.0)
    assert table.alive(node_id(far(999)), 1.0) is held(table, far(999))
    assert table.bucket_sizes()[0] == (0, BUCKET_SIZE + 1, 0)


def spread(size: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.getrandbits(256) for _ in range(size)]


@pytest.mark.parametrize("size", [0, 19, 20, 60, 250])
def test_a_table_of_a_small_network_knows_everybody(size: int) -> None:
    assert table_of(*spread(size, seed=1)).knows_everybody


def test_a_dense_neighbourhood_tells_that_others_are_not_known() -> None:
    """Of 2,000 nodes 20 of each bucket are fewer than make a table large."""
    table = Table(OWN)
    for point in spread(2_000, seed=1):
        index = min(256 - (point ^ int.from_bytes(OWN)).bit_length(), 255)
        if dict(size[:2] for size in table.bucket_sizes()).get(index, 0) < BUCKET_SIZE:
            table.admit(entry(point))

    assert len(table) < SMALL_AGAIN_NODES_MAX
    assert table.is_small
    assert not table.knows_everybody


def test_a_table_that_lost_nearly_all_knows_everybody_again() -> None:
    points = spread(60, seed=1)
    table = table_of(*points)
    for number in sorted(points)[:50]:
        table.admit(entry(1 << 200 | number % 1000))
    assert not table.knows_everybody

    for node in list(table):
        if node.point < 1 << 201:
            leave(table, node.point)
    assert table.knows_everybody


def test_a_table_that_was_large_is_believed_to_know_everybody_only_by_and_by() -> None:
    points = spread(SMALL_NETWORK_NODES_MAX + 20, seed=1)
    table = Table(OWN)
    for point in points:
        table.admit(entry(point))
    assert modes(table) == (False, False)

    for point in points:
        if modes(table) == (False, False):
            leave(table, point, 10.0)
    assert modes(table) == (True, False)

    table.admit(entry(1 << 254, seen_at=10.0 + SHRUNK_S))
    assert modes(table) == (True, True)


def modes(table: Table) -> tuple[bool, bool]:
    """Is it small, and does it know everybody?"""
    return table.is_small, table.knows_everybody


def test_the_table_wants_whom_it_has_room_for() -> None:
    table = large_table()

    assert not table.wants(far(999))
    assert not table.wants(far(999, FULL_BUCKETS - 1))
    assert table.wants(far(999, FULL_BUCKETS))
    assert not table.wants(0)


def test_a_small_table_wants_anybody() -> None:
    table = table_of(*(far(n) for n in range(SMALL_NETWORK_NODES_MAX - 1)))
    assert table.wants(far(999))

    table.admit(entry(far(999)))
    assert not table.wants(far(1_000))
    assert table.wants(1)


def test_buckets_are_told_by_the_bits_shared_with_the_own_id() -> None:
    table = table_of(far(1), far(2), far(1, 4), 1)

    assert table.bucket_sizes() == [(0, 2, 0), (4, 1, 0), (255, 1, 0)]


@given(st.sets(POINTS, min_size=2, max_size=40), POINTS, TARGETS)
def test_the_closest_are_exact_whatever_the_own_id(points: set[int], own: int, target: Target) -> None:
    points.discard(own)
    table = Table(node_id(own))
    for point in points:
        table.admit(entry(point))

    for aim in (target, Target(node_id(own))):
        nearest = sorted(points, key=int.from_bytes(aim).__xor__)
        assert [e.point for e in table.closest(aim, 8)] == nearest[:8]
        assert [e.point for e in table.closest(aim, 99)] == nearest


# Who waits


def test_a_free_place_is_offered_to_the_one_seen_last() -> None:
    table = large_table()
    for number in (101, 102, 103):
        table.admit(entry(far(number)))
        table.session_ended(node_id(far(number)), number)

    leave(table, far(0), 200.0)

    assert [point for point in probed(table, 200.0) if point > far(100)] == [far(103)]
    assert table.alive(node_id(far(103)), 201.0) is held(table, far(103))
    assert (0, BUCKET_SIZE, 2) in table.bucket_sizes()


def test_a_free_place_is_offered_to_one_at_a_time_until_somebody_answers() -> None:
    table = large_table()
    for number in (101, 102, 103):
        table.admit(entry(far(number)))
    leave(table, far(0))

    asked = []
    while waiting := [point for point in probed(table, 1.0) if point > far(100)]:
        asked += waiting
        table.probe_ended(node_id(waiting[0]), 1.0, is_missed=True)

    assert asked == [far(101), far(102), far(103)]
    assert (0, BUCKET_SIZE - 1, 0) in table.bucket_sizes()


def test_who_waits_and_is_only_busy_keeps_its_turn_three_times() -> None:
    table = large_table()
    table.admit(entry(far(101)))
    leave(table, far(0))

    mono, asked = 0.0, 0
    while far(101) in probed(table, mono):
        asked += 1
        table.probe_ended(node_id(far(101)), mono, is_missed=False)
        mono += PROBE_AGAIN_S

    assert asked == MISSED_PROBES_MAX


def test_who_waits_does_not_enter_a_full_bucket_by_answering() -> None:
    table = large_table()
    table.admit(entry(far(101)))

    assert table.alive(node_id(far(101)), 1.0) is None
    assert (0, BUCKET_SIZE, 1) in table.bucket_sizes()


def test_who_left_waits_if_its_place_is_taken_and_is_counted_by_cas() -> None:
    table = large_table()
    leave(table, far(0), 10.0)
    table.admit(entry(far(101)))

    assert table.alive(node_id(far(0)), 20.0) is None

    assert (0, BUCKET_SIZE, 1) in table.bucket_sizes()
    assert far(0) in [e.point for e in table.closest_of_a_day(Target(OWN), 500, 20.0)]
    assert far(0) in [e.point for e in table.known()]


def test_who_had_a_place_and_waits_in_vain_is_among_those_who_left() -> None:
    table = large_table()
    leave(table, far(0), 10.0)
    table.admit(entry(far(101)))
    table.alive(node_id(far(0)), 20.0)
    table.probe_ended(node_id(far(0)), 30.0, is_missed=True)

    assert (0, BUCKET_SIZE, 0) in table.bucket_sizes()
    assert far(0) in probed(table, 30.0 + DEPARTED_RETRY_S_MIN)


def test_one_who_waits_and_turns_into_a_client_waits_no_longer() -> None:
    table = large_table()
    table.admit(entry(far(101)))
    table.admit(entry(far(101), NODE | Caps.CLIENT))

    assert (0, BUCKET_SIZE, 0) in table.bucket_sizes()


def test_a_comer_has_the_least_recently_seen_probed_and_nobody_seen_just_now() -> None:
    table = large_table()
    for number in range(BUCKET_SIZE):
        table.alive(node_id(far(number)), 1_000.0 + number)
    table.alive(node_id(far(3)), 1_025.0)
    held(table, far(0)).has_session = True

    table.admit(entry(far(101), seen_at=1_001.0 + PROBE_EVERY_S))
    table.admit(entry(far(102), seen_at=1_001.0 + PROBE_EVERY_S))

    assert [e.point for e in table if e.probe_at is not None] == [far(1)]


def test_whoever_comes_and_goes_crowds_out_nobody_who_stays() -> None:
    """An attacker that connects with one new id after the other."""
    table = large_table()
    for number in range(100, 100 + BUCKET_SIZE - 1):
        table.admit(entry(far(number)))
    for number in range(1_000, 1_100):
        table.admit(entry(far(number)))
        table.session_ended(node_id(far(number)), number)

    waiting = [e.point for e in table.known()[len(table) :]]
    assert waiting == [*(far(n) for n in range(100, 119)), far(1_099)]


def test_who_waits_without_a_session_is_asked_once_a_day() -> None:
    table = large_table()
    table.admit(entry(far(101)))
    table.session_ended(node_id(far(101)), 50.0)
    for node in table:
        node.has_session = True

    assert table.next_probe() == 50.0 + WAITING_PROBE_S


# Diversity


def test_two_of_a_prefix_enter_a_bucket_and_ten_the_table() -> None:
    table = Table(OWN)
    entered = [
        meet(table, far(number, bucket), "203.0.113.9", PREFIX) is not None
        for bucket in range(8)
        for number in range(3)
    ]

    pair = [True, True, False]
    assert entered == [*(pair * 5), *([False] * 9)]
    assert len(table) == NODES_PER_PREFIX_MAX
    assert table.bucket_sizes()[0] == (0, NODES_PER_PREFIX_PER_BUCKET_MAX, 0)


def test_nodes_without_a_public_prefix_and_exempt_ones_are_not_counted() -> None:
    table = Table(OWN, PREFIX.__eq__)

    for number in range(40):
        assert meet(table, far(number), "203.0.113.9", PREFIX)
        assert meet(table, far(100 + number), "10.0.0.1", None)


def test_whom_diversity_refused_is_not_wanted_until_somebody_leaves() -> None:
    table = Table(OWN)
    for number in range(3):
        meet(table, far(number), "203.0.113.9", PREFIX)
    assert not table.wants(far(2))
    assert table.wants(far(3))

    leave(table, far(0))

    assert table.wants(far(2))
    assert meet(table, far(2), "203.0.113.9", PREFIX)


def test_the_memory_of_whom_diversity_refused_is_bounded() -> None:
    table = Table(OWN)
    for number in range(REFUSED_REMEMBERED_MAX + 3):
        meet(table, far(number), "203.0.113.9", PREFIX)

    assert table.wants(far(2))
    assert not table.wants(far(3))


def test_one_that_moves_to_a_crowded_prefix_gives_up_its_place() -> None:
    table = Table(OWN)
    for number in range(2):
        meet(table, far(number), "203.0.113.9", PREFIX)
    meet(table, far(2), "198.51.100.1", "198.51.100.0/24")

    assert meet(table, far(2), "203.0.113.9", PREFIX) is None

    assert len(table) == 2
    assert [change.is_arrival for change in table.take_changes()] == [True, True, True, False]


def test_one_of_long_standing_may_move_anywhere_and_is_counted_there() -> None:
    table = Table(OWN)
    meet(table, far(0), "203.0.113.9", PREFIX)
    meet(table, far(2), "198.51.100.1", "198.51.100.0/24")
    meet(table, far(1), "203.0.113.9", PREFIX)
    table.alive(node_id(far(2)), LONG_STANDING_S)

    assert meet(table, far(2), "203.0.113.9", PREFIX) is held(table, far(2))

    assert (held(table, far(2)).host, held(table, far(2)).prefix) == ("203.0.113.9", PREFIX)
    leave(table, far(0))
    assert meet(table, far(5), "203.0.113.9", PREFIX) is None


def test_one_that_shows_no_host_keeps_the_one_it_showed() -> None:
    table = Table(OWN)
    meet(table, far(0), "203.0.113.9", PREFIX)
    table.admit(entry(far(0)))

    assert held(table, far(0)).prefix == PREFIX


def test_one_prefix_does_not_fill_a_cache_and_its_last_comer_waits() -> None:
    table = large_table()
    for number in (101, 102, 103):
        meet(table, far(number), "203.0.113.9", PREFIX)
        table.session_ended(node_id(far(number)), 1.0)

    assert [e.point for e in table.known()[len(table) :]] == [far(102), far(103)]


def test_one_prefix_does_not_fill_all_caches() -> None:
    table = large_table()
    for bucket in range(FULL_BUCKETS):
        for number in (101, 102):
            meet(table, far(number, bucket), "203.0.113.9", PREFIX)

    assert len(table.known()) - len(table) == NODES_PER_PREFIX_MAX


def test_who_waits_and_moved_to_a_crowded_prefix_is_passed_over() -> None:
    table = large_table()
    for number in (0, 1):
        meet(table, far(number), "203.0.113.9", PREFIX)
    meet(table, far(101), "10.0.0.1", None)
    meet(table, far(102), "10.0.0.1", None)

    assert meet(table, far(101), "203.0.113.9", PREFIX) is None

    leave(table, far(5))
    assert probed(table, 0.0) == [far(102)]


def test_five_hundred_ids_of_one_prefix_hold_ten_places_however_they_come() -> None:
    """They enter through borrowed addresses and move together afterwards."""
    table = Table(OWN)
    for number in range(500):
        prefix = f"198.51.{number // 2}.0/24"
        if meet(table, number + 1, "198.51.100.1", prefix) is not None:
            meet(table, number + 1, "203.0.113.9", PREFIX)

    assert sum(1 for e in table if e.prefix == PREFIX) <= NODES_PER_PREFIX_MAX


def test_who_left_and_answers_from_a_crowded_prefix_is_tried_later_and_later() -> None:
    table = Table(OWN)
    meet(table, far(0), "203.0.113.9", PREFIX)
    leave(table, far(0), 100.0)
    for number in (1, 2):
        meet(table, far(number), "203.0.113.9", PREFIX)
    for node in table:
        node.has_session = True

    for mono in (200.0, 300.0):
        assert probed(table, mono) == [far(0)]
        assert table.alive(node_id(far(0)), mono) is None
        due = table.next_probe()
        assert due is not None
        assert due >= mono + DEPARTED_RETRY_S_MIN
    assert table._departed[node_id(far(0))].pause_s == 4 * DEPARTED_RETRY_S_MIN


def test_who_left_and_was_not_seen_for_a_month_is_not_tried_again() -> None:
    table = table_of(1)
    leave(table, 1)

    assert probed(table, DEPARTED_KEPT_S + 1.0) == []
    assert table.next_probe() is None


# Idle probes


def test_one_without_a_session_is_probed_when_it_was_silent_for_long() -> None:
    table = table_of(1, 2, 3)
    table.alive(node_id(1), 100.0)
    table.alive(node_id(2), 50.0)
    held(table, 3).has_session = True

    assert table.next_probe() == 50.0 + IDLE_PROBE_S
    assert probed(table, 100.0 + IDLE_PROBE_S) == [2, 1]
    table.alive(node_id(2), 800.0)
    assert table.next_probe() == 800.0 + IDLE_PROBE_S


def test_whose_session_ended_is_probed_at_once() -> None:
    table = table_of(1)
    held(table, 1).has_session = True
    assert table.next_probe() is None

    table.session_ended(node_id(1), 7.0)

    assert table.next_probe() == 7.0


def test_whose_session_was_closed_for_its_place_alone_is_as_live_as_before() -> None:
    table = table_of(1)
    held(table, 1).has_session = True

    table.session_ended(node_id(1), 7.0, is_parting=True)

    assert table.next_probe() == 7.0 + IDLE_PROBE_S
    assert held(table, 1).missed == 0


# Changes


def test_changes_are_told_once_and_in_order() -> None:
    table = table_of(1, 2)
    leave(table, 1)
    table.admit(entry(2))
    table.admit(entry(2, NODE | Caps.CLIENT))
    table.alive(node_id(1), 5.0)

    told = [(change.entry.point, change.is_arrival) for change in table.take_changes()]
    assert told == [(1, True), (2, True), (1, False), (2, False), (1, True)]
    assert table.take_changes() == []


def test_changes_that_nobody_takes_are_bounded() -> None:
    table = Table(OWN)
    for _ in range(TABLE_CHANGES_MAX):
        table.admit(entry(1))
        table.admit(entry(1, NODE | Caps.CLIENT))

    assert len(table.take_changes()) == TABLE_CHANGES_MAX

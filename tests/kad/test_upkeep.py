from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.kad.kit import at, contact, entry, node_id
from tests.sim.node import SimRng
from yzdht.ids import NodeId, Target
from yzdht.kad.upkeep import Discovery, Hearsay
from yzdht.limits import (
    ALPHA,
    BUCKET_SIZE,
    CONTACTS_HEARD_MAX,
    DISCOVERY_DEPTH_MAX,
    DISCOVERY_EVERY_S,
    DISCOVERY_EVERY_S_YOUNG,
    DISCOVERY_LOOKUPS_MAX,
    DISCOVERY_NEWCOMERS_MAX,
    DISCOVERY_QUIET_LOOKUPS,
    DISCOVERY_SOON_S,
    DISCOVERY_SWEEP_BITS,
    DISCOVERY_YOUNG_S,
    HEARD_AGAIN_S,
    HEARD_AGAIN_S_MIN,
    HEARD_CALLS_IN_FLIGHT_MAX,
    HEARD_PER_NAMER_MAX,
)


if TYPE_CHECKING:
    from yzdht.kad.table import Entry

OWN = node_id(0)
SPACE = 1 << 256


class Known:
    """A ground whose nodes a test puts there."""

    def __init__(self, *points: int, is_small: bool = True) -> None:
        self.entries = [entry(point) for point in points]
        self.is_small = is_small

    def closest(self, target: Target | NodeId, count: int) -> list[Entry]:
        point = int.from_bytes(target)
        return nsmallest(count, self.entries, key=lambda e: e.point ^ point)


def spread(count: int, seed: int = 1) -> list[int]:
    """Points all over the space, the same for the same seed."""
    rng = SimRng(f"points {seed}")
    return [int.from_bytes(rng.token(32)) for _ in range(count)]


POINTS = spread(400)


def born(ground: Known | None = None, mono: float = 0.0, hearsay: Hearsay | None = None) -> Discovery:
    discovery = Discovery(OWN, SimRng("discovery"), ground or Known(), hearsay)
    discovery.trigger(at(mono))
    return discovery


def run_round(discovery: Discovery, mono: float, new: int = 0) -> list[int]:
    """The points of one round's lookups, each of which names `new` new contacts."""
    points = []
    while (target := discovery.next_target(at(mono))) is not None:
        points.append(int.from_bytes(target))
        if discovery.finished(new, at(mono)):
            break
    return points


def timer(discovery: Discovery) -> float:
    at = discovery.next_timer()
    assert at is not None
    return at


# Joining


def test_nothing_is_looked_up_before_anybody_is_met() -> None:
    discovery = Discovery(OWN, SimRng("discovery"), Known())

    assert discovery.next_timer() is None
    assert discovery.next_target(at(5.0)) is None


def test_the_first_lookup_is_for_oneself_and_finds_a_whole_bucket() -> None:
    discovery = born()

    assert discovery.next_target(at(0.0)) == Target(OWN)
    assert discovery.wanted == BUCKET_SIZE


def test_a_network_that_one_lookup_shows_costs_one_lookup_and_those_that_name_nobody_new() -> None:
    discovery = born(Known(*spread(BUCKET_SIZE - 1)))

    assert len(run_round(discovery, 0.0)) == DISCOVERY_QUIET_LOOKUPS
    assert discovery.is_complete


def test_a_round_ends_however_many_new_nodes_are_named() -> None:
    discovery = born()

    assert len(run_round(discovery, 0.0, new=1)) == 1 + DISCOVERY_LOOKUPS_MAX
    assert discovery.is_complete


def test_one_lookup_is_under_way_at_a_time() -> None:
    discovery = born()
    assert discovery.next_target(at(0.0)) is not None
    discovery.trigger(at(0.1), node_id(1))

    assert discovery.next_target(at(0.1)) is None
    assert discovery.next_timer() is None


@pytest.mark.parametrize(("seed", "size"), [(1, 20), (2, 21), (3, 40), (4, 100), (5, 250)])
def test_in_a_small_network_the_nearest_of_every_lookup_are_together_everybody(seed: int, size: int) -> None:
    ground = Known(*spread(size, seed))
    seen: set[int] = set()
    points = run_round(born(ground), 0.0)
    for point in points:
        seen |= {e.point for e in ground.closest(Target(point.to_bytes(32)), BUCKET_SIZE)}

    assert seen == {e.point for e in ground.entries}
    assert len(points) <= DISCOVERY_QUIET_LOOKUPS + 4 + size // 8


@pytest.mark.parametrize("seed", range(4))
def test_in_a_large_network_one_point_of_every_bucket_outside_the_home_is_looked_up(seed: int) -> None:
    ground = Known(*spread(1_000, seed), is_small=False)
    points = run_round(born(ground), 0.0, new=1)
    reach = ground.closest(Target(OWN), BUCKET_SIZE)[-1].point.bit_length()

    assert points[0] == 0
    assert [p.bit_length() for p in points[1:]] == list(range(reach, 257))


def test_lookups_for_other_points_ask_few() -> None:
    discovery = born(Known(*spread(250)))
    discovery.next_target(at(0.0))
    discovery.finished(9, at(0.0))
    discovery.next_target(at(0.0))

    assert discovery.wanted == ALPHA


def test_a_crowd_of_invented_ids_does_not_make_a_round_long() -> None:
    hearsay = Hearsay()
    ground = Known(*spread(100))
    discovery = born(ground, hearsay=hearsay)
    lookups = 0
    while (target := discovery.next_target(at(0.0))) is not None:
        point, lookups = int.from_bytes(target), lookups + 1
        for near in range(1, 2 * BUCKET_SIZE):
            hearsay.hear(contact(point ^ near), 0.0, node_id(1_000 + lookups))
        discovery.finished(1, at(0.0))

    assert lookups <= 2**DISCOVERY_SWEEP_BITS + DISCOVERY_LOOKUPS_MAX + 1


def test_a_crowd_of_ids_around_oneself_does_not_make_a_join_long() -> None:
    discovery = born(Known(*range(1, 100), is_small=False))

    assert len(run_round(discovery, 0.0)) <= DISCOVERY_DEPTH_MAX + DISCOVERY_QUIET_LOOKUPS + 1


# Newcomers


def test_a_newcomer_is_looked_at_soon_and_not_at_once() -> None:
    discovery = born()
    run_round(discovery, 0.0)
    discovery.trigger(at(1.0), node_id(7))
    soon = timer(discovery)

    assert 1.0 + DISCOVERY_SOON_S[0] <= soon <= 1.0 + DISCOVERY_SOON_S[1]
    assert discovery.next_target(at(soon - 0.01)) is None
    points = run_round(discovery, soon)
    assert points[0] == 7
    assert len(points) == DISCOVERY_QUIET_LOOKUPS


def test_many_arrivals_share_one_round_that_looks_everywhere() -> None:
    ground = Known(*spread(200))
    discovery = born(ground)
    run_round(discovery, 0.0)
    for number in range(DISCOVERY_NEWCOMERS_MAX + 1):
        discovery.trigger(at(1.0 + number / 10), node_id(number + 1))
    points = run_round(discovery, timer(discovery))

    assert points[0] == 0
    assert len(points) > 10
    assert timer(discovery) >= 0.75 * DISCOVERY_EVERY_S_YOUNG


def test_who_comes_during_a_round_is_looked_at_after_it() -> None:
    discovery = born()
    discovery.next_target(at(0.0))
    discovery.trigger(at(0.1), node_id(7))
    discovery.finished(0, at(0.2))
    run_round(discovery, 0.2)

    assert run_round(discovery, 0.1 + DISCOVERY_SOON_S[1])[0] == 7


def test_whom_a_lookup_named_is_no_newcomer_but_may_be_the_first() -> None:
    discovery = Discovery(OWN, SimRng("discovery"), Known())
    discovery.trigger(at(0.0), node_id(1), was_named=True)
    assert len(run_round(discovery, 0.0)) == DISCOVERY_QUIET_LOOKUPS
    before = discovery.next_timer()
    discovery.trigger(at(1.0), node_id(2), was_named=True)

    assert discovery.next_timer() == before


def test_in_a_large_network_newcomers_are_left_to_refreshing() -> None:
    discovery = born(Known(*spread(300), is_small=False))
    run_round(discovery, 0.0)
    before = discovery.next_timer()
    discovery.trigger(at(1.0), node_id(7))

    assert discovery.next_timer() == before


def test_a_dense_neighbourhood_tells_of_a_large_network_though_the_table_holds_few() -> None:
    far = [point for point in spread(2_000) if point.bit_length() > 250]
    ground = Known(*(point for point in spread(2_000) if point not in far), *far[:20])
    discovery = born(ground)
    run_round(discovery, 0.0)
    before = discovery.next_timer()
    discovery.trigger(at(1.0), node_id(7))

    assert discovery.next_timer() == before


def test_a_network_that_became_small_is_looked_at_as_a_whole() -> None:
    ground = Known(*spread(300), is_small=False)
    discovery = born(ground)
    run_round(discovery, 0.0)
    del ground.entries[100:]
    ground.is_small = True
    assert discovery.next_target(at(1.0)) is None
    soon = timer(discovery)

    assert soon <= 1.0 + DISCOVERY_SOON_S[1]
    assert len(run_round(discovery, soon)) > 5


# Refreshing


def test_a_network_that_one_lookup_shows_is_refreshed_by_one_lookup() -> None:
    discovery = born()
    run_round(discovery, 0.0)
    soon = timer(discovery)

    assert 0.75 * DISCOVERY_EVERY_S_YOUNG <= soon <= 1.25 * DISCOVERY_EVERY_S_YOUNG
    assert run_round(discovery, soon) == [0]


def test_refreshes_are_rarer_when_the_node_is_no_longer_young() -> None:
    discovery = born()
    run_round(discovery, 0.0)
    old = DISCOVERY_YOUNG_S + 1
    run_round(discovery, old)

    assert 0.75 * DISCOVERY_EVERY_S <= timer(discovery) - old <= 1.25 * DISCOVERY_EVERY_S


def refreshed(discovery: Discovery, until: float) -> list[tuple[float, int]]:
    """When which point is refreshed; and no lookup before its time."""
    done = []
    while (soon := timer(discovery)) <= until:
        target = discovery.next_target(at(soon))
        if target is not None:
            done.append((soon, int.from_bytes(target)))
            discovery.finished(0, at(soon))
    return done


def test_every_bucket_is_refreshed_in_its_turn_and_the_home_by_a_lookup_for_oneself() -> None:
    discovery = born(Known(*spread(500), is_small=False))
    joined = run_round(discovery, 0.0, new=1)
    done = refreshed(discovery, 1.25 * DISCOVERY_EVERY_S_YOUNG)

    assert {p.bit_length() for p in joined} == {p.bit_length() for _, p in done}
    assert len({moment for moment, _ in done}) == len(done)


def test_a_bucket_that_was_approached_is_fresh() -> None:
    discovery = born(Known(*spread(500), is_small=False))
    run_round(discovery, 0.0)
    far = 1 << 255
    discovery.looked_up(Target(far.to_bytes(32)), at(40.0))
    refreshes = refreshed(discovery, 40.0 + 0.75 * DISCOVERY_EVERY_S_YOUNG - 0.1)

    assert 256 not in {p.bit_length() for _, p in refreshes}
    assert 255 in {p.bit_length() for _, p in refreshes}


def test_a_read_near_oneself_does_not_spare_the_lookup_for_oneself() -> None:
    discovery = born(Known(*spread(500), is_small=False))
    run_round(discovery, 0.0)
    discovery.looked_up(Target((1).to_bytes(32)), at(40.0))

    assert 0 in {p for _, p in refreshed(discovery, 1.25 * DISCOVERY_EVERY_S_YOUNG)}


def test_a_lookup_that_nobody_answered_is_repeated_soon_however_old_the_node() -> None:
    discovery = born()
    run_round(discovery, 0.0)
    old = DISCOVERY_YOUNG_S + 1
    discovery.next_target(at(old))
    discovery.finished(0, at(old), is_answered=False)

    assert timer(discovery) <= old + 1.25 * DISCOVERY_EVERY_S_YOUNG


@given(
    st.lists(st.tuples(st.sampled_from(["come", "look", "wait", "read"]), st.integers(0, 400)), max_size=50),
    st.integers(0, 400),
)
def test_something_is_always_due_and_the_timer_never_spins(steps: list[tuple[str, int]], size: int) -> None:
    ground = Known(*POINTS[:size], is_small=size % 2 == 0)
    discovery = born(ground)
    mono = 0.0
    for kind, number in steps:
        match kind:
            case "come":
                discovery.trigger(at(mono), node_id(number))
            case "read":
                discovery.looked_up(Target(node_id(number << 245)), at(mono))
            case "look":
                run_round(discovery, mono, new=number % 3)
            case _:
                mono += number
                ground.is_small = number % 2 == 0
        if discovery.next_target(at(mono)) is None:
            assert timer(discovery) > mono
        else:
            discovery.finished(number % 2, at(mono), is_answered=number % 3 > 0)


# Hearsay


def test_a_contact_is_dialled_once_however_often_it_is_named() -> None:
    hearsay = Hearsay()
    assert hearsay.hear(contact(1), 0.0)
    assert not hearsay.hear(contact(1), 0.0)
    assert hearsay.take() == [contact(1)]
    assert not hearsay.hear(contact(1), 0.0)
    assert hearsay.take() == []


def fail(hearsay: Hearsay, number: int, mono: float) -> None:
    assert hearsay.hear(contact(number), mono)
    assert hearsay.take() == [contact(number)]
    hearsay.ended(node_id(number), mono, is_reached=False)


def test_a_contact_that_could_not_be_reached_rests_longer_each_time() -> None:
    hearsay = Hearsay()
    mono, pause_s = 0.0, HEARD_AGAIN_S_MIN
    for _ in range(10):
        fail(hearsay, 1, mono)
        assert not hearsay.hear(contact(1), mono + pause_s - 0.1)
        mono += pause_s
        pause_s = min(2 * pause_s, HEARD_AGAIN_S)

    assert pause_s == HEARD_AGAIN_S


def test_who_was_named_with_a_wrong_address_is_tried_at_the_right_one() -> None:
    hearsay = Hearsay()
    wrong = contact(1)
    right = type(wrong)(wrong.node_id, wrong.public_key, ("ws://10.0.0.77:1",), wrong.caps)
    fail(hearsay, 1, 0.0)

    assert hearsay.hear(right, 0.1)


def test_dials_under_way_are_bounded() -> None:
    hearsay = Hearsay()
    for number in range(1, 40):
        hearsay.hear(contact(number), 0.0)
    taken = hearsay.take()
    assert len(taken) == HEARD_CALLS_IN_FLIGHT_MAX
    assert hearsay.take() == []
    hearsay.ended(taken[0].node_id, 1.0, is_reached=True)

    assert len(hearsay.take()) == 1


def test_one_namer_has_only_so_many_waiting() -> None:
    hearsay = Hearsay()
    heard = [hearsay.hear(contact(n), 0.0, node_id(9_000)) for n in range(1, HEARD_PER_NAMER_MAX + 2)]

    assert heard == [True] * HEARD_PER_NAMER_MAX + [False]


def test_contacts_that_wait_are_bounded_and_whoever_named_most_gives_way() -> None:
    hearsay = Hearsay()
    namers = CONTACTS_HEARD_MAX // HEARD_PER_NAMER_MAX
    for number in range(CONTACTS_HEARD_MAX):
        assert hearsay.hear(contact(number + 1), 0.0, node_id(9_000 + number % namers))

    assert not hearsay.hear(contact(5_000), 0.0, node_id(9_000))
    assert hearsay.hear(contact(5_000), 0.0, node_id(8_000))
    assert len(list(hearsay.points())) == CONTACTS_HEARD_MAX


def test_namers_take_turns() -> None:
    hearsay = Hearsay()
    for number in range(1, 101):
        hearsay.hear(contact(number), 0.0, node_id(9_000))
    hearsay.hear(contact(200), 0.0, node_id(9_001))

    assert contact(200) in hearsay.take()[:2]


def test_who_was_met_is_not_dialled() -> None:
    hearsay = Hearsay()
    hearsay.hear(contact(1), 0.0)
    assert hearsay.met(node_id(1))
    assert not hearsay.met(node_id(2))

    assert hearsay.take() == []
    assert hearsay.is_idle


def test_whom_the_table_does_not_want_is_counted_and_not_dialled() -> None:
    room = {1, 2}
    hearsay = Hearsay(room.__contains__)
    assert [hearsay.hear(contact(n), 0.0) for n in (1, 2, 3)] == [True, True, False]
    room.remove(2)

    assert hearsay.take() == [contact(1)]
    assert (hearsay.heard, hearsay.unwanted) == (2, 2)


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 3), st.booleans()), max_size=60))
def test_every_contact_is_dialled_or_rests_and_idle_means_neither(steps: list[tuple[int, int, bool]]) -> None:
    hearsay = Hearsay()
    under_way: list[int] = []
    for moment, (number, namer, is_reached) in enumerate(steps):
        hearsay.hear(contact(number), float(moment), node_id(9_000 + namer))
        under_way += [int.from_bytes(c.node_id) for c in hearsay.take()]
        assert len(set(under_way)) == len(under_way)
        assert set(hearsay.points()) == set(under_way)
        if len(under_way) > 3:
            hearsay.ended(node_id(under_way.pop(0)), float(moment), is_reached=is_reached)

    assert hearsay.is_idle == (not under_way)

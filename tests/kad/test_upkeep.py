from __future__ import annotations

from hypothesis import given, strategies as st

from tests.kad.kit import at, contact, node_id
from tests.sim.node import SimRng
from yzdht.ids import Target
from yzdht.kad.upkeep import Discovery, Hearsay
from yzdht.limits import (
    CONTACTS_HEARD_MAX,
    DISCOVERY_EVERY_S,
    DISCOVERY_EVERY_S_YOUNG,
    DISCOVERY_LOOKUPS_MAX,
    DISCOVERY_QUIET_LOOKUPS,
    DISCOVERY_SOON_S,
    DISCOVERY_YOUNG_S,
    HEARD_AGAIN_S,
    HEARD_CALLS_IN_FLIGHT_MAX,
)


OWN = node_id(0)


def born(mono: float = 0.0) -> Discovery:
    discovery = Discovery(OWN, SimRng("discovery"))
    discovery.trigger(at(mono))
    return discovery


def run_round(discovery: Discovery, mono: float, new: int = 0) -> list[Target]:
    """Lookups of one round, each of which names `new` new contacts."""
    targets = []
    while (target := discovery.next_target(at(mono))) is not None:
        targets.append(target)
        discovery.finished(new, at(mono))
    return targets


# Discovery


def test_nothing_is_looked_up_before_anybody_is_met() -> None:
    discovery = Discovery(OWN, SimRng("discovery"))

    assert discovery.next_timer() is None
    assert discovery.next_target(at(5.0)) is None


def test_the_first_lookup_is_for_oneself() -> None:
    targets = run_round(born(), 0.0)

    assert targets[0] == Target(OWN)
    assert len(set(targets)) == len(targets)


def test_a_round_ends_when_lookups_name_nobody_new() -> None:
    discovery = born()

    assert len(run_round(discovery, 0.0)) == DISCOVERY_QUIET_LOOKUPS
    assert discovery.is_complete


def test_a_round_ends_however_many_new_nodes_are_named() -> None:
    discovery = born()

    assert len(run_round(discovery, 0.0, new=1)) == DISCOVERY_LOOKUPS_MAX
    assert discovery.is_complete


def test_one_lookup_is_under_way_at_a_time() -> None:
    discovery = born()
    assert discovery.next_target(at(0.0)) is not None
    assert discovery.is_running
    discovery.trigger(at(0.1))

    assert discovery.next_target(at(0.1)) is None
    assert discovery.next_timer() is None


def test_rounds_are_rarer_when_the_node_is_no_longer_young() -> None:
    discovery = born()
    run_round(discovery, 0.0)
    soon = discovery.next_timer()
    assert soon is not None
    assert 0.75 * DISCOVERY_EVERY_S_YOUNG <= soon <= 1.25 * DISCOVERY_EVERY_S_YOUNG
    old = DISCOVERY_YOUNG_S + 1
    run_round(discovery, old)
    late = discovery.next_timer()

    assert late is not None
    assert 0.75 * DISCOVERY_EVERY_S <= late - old <= 1.25 * DISCOVERY_EVERY_S


def test_many_arrivals_share_one_round() -> None:
    discovery = born()
    run_round(discovery, 0.0)
    for moment in range(10):
        discovery.trigger(at(1.0 + moment / 10))
    soon = discovery.next_timer()

    assert soon is not None
    assert 1.0 + DISCOVERY_SOON_S[0] <= soon <= 2.0 + DISCOVERY_SOON_S[1]
    assert discovery.next_target(at(soon - 0.01)) is None
    assert len(run_round(discovery, soon)) == DISCOVERY_QUIET_LOOKUPS


# Hearsay


def test_a_contact_is_dialled_once_however_often_it_is_named() -> None:
    hearsay = Hearsay()
    assert hearsay.hear(contact(1), 0.0)
    assert not hearsay.hear(contact(1), 0.0)
    assert hearsay.take() == [contact(1)]
    assert not hearsay.hear(contact(1), 0.0)
    assert hearsay.take() == []


def test_a_contact_that_could_not_be_reached_rests() -> None:
    hearsay = Hearsay()
    hearsay.hear(contact(1), 0.0)
    hearsay.take()
    hearsay.ended(node_id(1), 1.0, is_reached=False)

    assert not hearsay.hear(contact(1), HEARD_AGAIN_S)
    assert hearsay.hear(contact(1), 1.0 + HEARD_AGAIN_S)


def test_dials_under_way_are_bounded() -> None:
    hearsay = Hearsay()
    for number in range(1, 40):
        hearsay.hear(contact(number), 0.0)
    taken = hearsay.take()
    assert len(taken) == HEARD_CALLS_IN_FLIGHT_MAX
    assert hearsay.take() == []
    hearsay.ended(taken[0].node_id, 1.0, is_reached=True)

    assert len(hearsay.take()) == 1


def test_contacts_that_wait_are_bounded() -> None:
    hearsay = Hearsay()
    heard = [hearsay.hear(contact(number), 0.0) for number in range(1, CONTACTS_HEARD_MAX + 2)]

    assert heard == [True] * CONTACTS_HEARD_MAX + [False]


def test_who_was_met_is_not_dialled() -> None:
    hearsay = Hearsay()
    hearsay.hear(contact(1), 0.0)
    hearsay.met(node_id(1))

    assert hearsay.take() == []
    assert hearsay.is_idle


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=60))
def test_every_contact_is_dialled_or_rests_and_idle_means_neither(steps: list[tuple[int, bool]]) -> None:
    hearsay = Hearsay()
    under_way: list[int] = []
    for moment, (number, is_reached) in enumerate(steps):
        hearsay.hear(contact(number), float(moment))
        under_way += [int.from_bytes(c.node_id) for c in hearsay.take()]
        assert len(set(under_way)) == len(under_way)
        if len(under_way) > 3:
            hearsay.ended(node_id(under_way.pop(0)), float(moment), is_reached=is_reached)

    assert hearsay.is_idle == (not under_way)

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.kad.kit import NODE, entry, node_id
from yzdht.ids import Target
from yzdht.kad.table import Table
from yzdht.limits import (
    CAS_REMEMBERS_S,
    DEPARTED_MAX,
    DEPARTED_RETRY_S_MAX,
    DEPARTED_RETRY_S_MIN,
    MISSED_PROBES_MAX,
    PROBE_AGAIN_S,
    SMALL_NETWORK_NODES_MAX,
)
from yzdht.wire.address import ClientType, address_of
from yzdht.wire.frame import Caps


OWN = node_id(0)
POINTS = st.integers(1, 2**256 - 1)
TARGETS = st.binary(min_size=32, max_size=32).map(Target)


def table_of(*numbers: int) -> Table:
    table = Table(OWN)
    for number in numbers:
        assert table.admit(entry(number)) is not None
    return table


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


def test_nobody_enters_a_full_table() -> None:
    table = table_of(*range(1, SMALL_NETWORK_NODES_MAX + 1))

    assert table.is_full
    assert table.admit(entry(1_000)) is None
    assert table.admit(entry(7)) is table.get(node_id(7))


def test_who_left_keeps_its_addresses_when_it_returns() -> None:
    table = table_of(1)
    known = table.get(node_id(1))
    assert known is not None
    known.learn((address_of("ws://10.0.0.1:1"),), NODE)
    leave(table, 1)

    back = table.admit(entry(1))

    assert back is not None
    assert [a.url for a in back.addresses] == ["ws://10.0.0.1:1"]


def test_who_left_is_remembered_when_the_table_is_full() -> None:
    table = table_of(1)
    leave(table, 1)
    for number in range(2, SMALL_NETWORK_NODES_MAX + 2):
        table.admit(entry(number))

    assert table.admit(entry(1)) is None
    assert node_id(1) in [e.node_id for e in table.closest_of_a_day(Target(bytes(32)), 500, 0.0)]


# Contacts


def test_the_address_that_worked_is_dialled_first_and_never_shown() -> None:
    node = entry(1)
    node.learn((address_of("ws://10.0.0.1:1"), address_of("wss://a.example")), NODE)
    node.reached("ws://10.9.9.9:1", "10.9.9.9", None)

    assert node.contact().urls == ("ws://10.9.9.9:1", "ws://10.0.0.1:1", "wss://a.example:443")
    assert node.wire_contact(ClientType.PYTHON).urls == ("ws://10.0.0.1:1", "wss://a.example:443")
    assert node.wire_contact(ClientType.BROWSER).urls == ("wss://a.example:443",)


def test_what_a_node_learns_replaces_what_it_showed() -> None:
    node = entry(1)
    assert node.wire_contact(ClientType.PYTHON).urls == ()
    node.learn((address_of("ws://10.0.0.1:1"),), NODE)
    assert node.wire_contact(ClientType.PYTHON).urls == ("ws://10.0.0.1:1",)


# Probes


def test_three_missed_probes_end_a_stay() -> None:
    table = table_of(1)
    node = table.get(node_id(1))
    assert node is not None
    node.probe_at = 10.0

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
    assert (node.missed, node.seen_at, table.next_probe()) == (0, 12.0, None)


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

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.kad.kit import (
    GONE,
    ORIGIN,
    TIMEOUT,
    asked,
    at,
    contact,
    entry,
    node_id,
    nodes_answer,
    number_of,
    refuses,
)
from yzdht.ids import Target
from yzdht.kad.candidates import Candidates
from yzdht.kad.lookup import Aim, Lookup
from yzdht.limits import ALPHA, CONTACTS_PER_ANSWER_MAX, DOUBTED_AFTER, SOFT_DEADLINE_S_UNKNOWN
from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import FoundNodes, Method, Status, WireContact


if TYPE_CHECKING:
    from yzdht.ids import NodeId
    from yzdht.wire.address import Contact


OWN = node_id(999)
LATE = SOFT_DEADLINE_S_UNKNOWN


def usable(contacts: tuple[WireContact, ...], _namer: NodeId) -> list[Contact]:
    return [contact(int.from_bytes(c.public_key[1:])) for c in contacts]


def names(*numbers: int) -> Answer:
    return Answer(Status.OK, FoundNodes(tuple(WireContact(contact(n).public_key, (), 0) for n in numbers)))


def begun(count: int, *known: int, target: Target = ORIGIN) -> Lookup:
    lookup = Lookup(Aim(target, count), Candidates(target, [entry(n) for n in known]), OWN, usable)
    lookup.start(at(0.0))
    return lookup


def found(lookup: Lookup) -> list[int]:
    return [number_of(c) for c in lookup.closest()]


def test_the_nearest_are_asked_first_and_alpha_at_once() -> None:
    lookup = begun(20, *range(1, 21))
    asks = lookup.take_asks()

    assert asked(asks) == list(range(1, ALPHA + 1))
    assert {ask.method for ask in asks} == {Method.FIND_NODE}


def test_an_answer_frees_a_slot_at_once() -> None:
    lookup = begun(20, *range(1, 21))
    lookup.take_asks()
    lookup.on_answer(node_id(3), 0, nodes_answer(), at(0.1))

    assert asked(lookup.take_asks()) == [ALPHA + 1]


def test_nobody_farther_than_the_wanted_is_asked() -> None:
    lookup = begun(2, 1, 2, 3, 4)

    assert asked(lookup.take_asks()) == [1, 2]


def test_a_nearer_contact_that_an_answer_names_is_asked_and_found() -> None:
    lookup = begun(2, 10, 20)
    lookup.take_asks()
    lookup.on_answer(node_id(10), 0, names(1), at(0.1))
    assert asked(lookup.take_asks()) == [1]
    lookup.on_answer(node_id(20), 0, nodes_answer(), at(0.1))
    assert found(lookup) == [10, 20]
    lookup.on_answer(node_id(1), 0, nodes_answer(), at(0.1))

    assert lookup.is_finished
    assert found(lookup) == [1, 10]


def test_a_failed_node_is_replaced() -> None:
    lookup = begun(2, 1, 2, 3)
    lookup.take_asks()
    lookup.on_answer(node_id(1), 0, GONE, at(0.1))
    assert asked(lookup.take_asks()) == [3]
    lookup.on_answer(node_id(2), 0, refuses(Status.BUSY), at(0.1))
    lookup.on_answer(node_id(3), 0, nodes_answer(), at(0.2))

    assert lookup.is_finished
    assert found(lookup) == [3]


def test_a_late_node_is_replaced_and_not_waited_for() -> None:
    lookup = begun(2, 1, 2, 3)
    lookup.take_asks()
    lookup.on_answer(node_id(2), 0, nodes_answer(), at(0.1))
    assert lookup.next_timer() == LATE
    lookup.handle_timer(at(LATE))
    assert asked(lookup.take_asks()) == [3]
    lookup.on_answer(node_id(3), 0, nodes_answer(), at(LATE + 0.1))
    assert asked(lookup.take_asks()) == [1]  # a message can be lost
    lookup.handle_timer(at(2 * LATE + 0.1))

    assert lookup.is_finished
    assert found(lookup) == [2, 3]


def test_a_node_whose_answer_was_lost_is_found_by_the_second_request() -> None:
    lookup = begun(2, 1, 2, 3)
    lookup.take_asks()
    lookup.on_answer(node_id(2), 0, nodes_answer(), at(0.1))
    lookup.handle_timer(at(LATE))
    lookup.take_asks()
    lookup.on_answer(node_id(3), 0, nodes_answer(), at(LATE + 0.1))
    lookup.on_answer(node_id(1), 0, TIMEOUT, at(LATE + 0.1))  # of the first request
    lookup.on_answer(node_id(1), 0, nodes_answer(), at(LATE + 0.2))

    assert lookup.is_finished
    assert found(lookup) == [1, 2]


def test_a_late_answer_counts() -> None:
    lookup = begun(2, 1, 2, 3)
    lookup.take_asks()
    lookup.on_answer(node_id(2), 0, nodes_answer(), at(0.1))
    lookup.handle_timer(at(LATE))
    lookup.on_answer(node_id(1), 0, nodes_answer(), at(LATE + 0.1))

    assert lookup.is_finished
    assert found(lookup) == [1, 2]


def test_any_number_of_late_nodes_hides_nobody_behind_them() -> None:
    lookup = begun(2, *range(1, 11))
    silent = range(1, 9)
    now = 0.0
    while not lookup.is_finished:
        asks = lookup.take_asks()
        for number in asked(asks):
            if number not in silent:
                lookup.on_answer(node_id(number), 0, nodes_answer(), at(now))
        timer = lookup.next_timer()
        if timer is not None:
            now = timer
            lookup.handle_timer(at(now))

    assert found(lookup) == [9, 10]


def test_a_lookup_without_candidates_ends_at_once() -> None:
    lookup = begun(3)

    assert lookup.is_finished
    assert found(lookup) == []


def test_answers_that_nobody_waits_for_are_ignored() -> None:
    lookup = begun(2, 1, 2)
    lookup.on_answer(node_id(7), 0, names(3), at(0.1))
    lookup.on_answer(node_id(1), 0, nodes_answer(), at(0.1))
    lookup.on_answer(node_id(1), 0, names(3), at(0.1))

    assert found(lookup) == [1]


@given(
    st.sets(st.integers(1_000, 2**256 - 1), min_size=1, max_size=CONTACTS_PER_ANSWER_MAX),
    st.binary(min_size=32, max_size=32).map(Target),
    st.integers(1, 20),
    st.data(),
)
def test_a_lookup_finds_the_exact_nearest_live_nodes_of_a_connected_network(
    numbers: set[int], target: Target, count: int, data: st.DataObject
) -> None:
    """Everybody knows everybody; some are dead, but not so many that who names them is taken for a liar; any order."""
    order = sorted(numbers, key=lambda n: n ^ int.from_bytes(target))
    dead = data.draw(st.sets(st.sampled_from(order), max_size=DOUBTED_AFTER - 1))
    known = data.draw(st.sets(st.sampled_from(order), min_size=1))
    lookup = begun(count, *known, target=target)
    waiting: list[int] = []
    while not lookup.is_finished:
        waiting += asked(lookup.take_asks())
        number = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        lookup.on_answer(node_id(number), 0, TIMEOUT if number in dead else names(*order), at(0.1))

    reachable = order if known - dead else []
    assert found(lookup) == [n for n in reachable if n not in dead][:count]

from __future__ import annotations

from tests.kad.kit import GONE, ORIGIN, at, candidates, contact, entry, node_id, nodes_answer, shows
from tests.kad.test_operations import NOTE, OWN, STORED, Desk
from yzdht.kad.candidates import Candidates
from yzdht.kad.lookup import Aim, Lookup
from yzdht.kad.measures import MeasuredOperations, hops_in
from yzdht.kad.quorum import quorum_of
from yzdht.kad.read import Plan, Read


class MeasuredDesk(Desk):
    """Operations of node 50, and what they took."""

    def __init__(self) -> None:
        super().__init__()
        self.measures: list[tuple[str, float, str]] = []
        self.operations = MeasuredOperations(
            node_id(OWN), self.operations._holder, self.sent.append, lambda *told: self.measures.append(told)
        )

    def take(self) -> dict[tuple[str, str], float]:
        taken = {(name, kind): value for name, value, kind in self.measures}
        assert len(taken) == len(self.measures), "an operation is measured once"
        self.measures.clear()
        return taken


def test_a_read_tells_once_its_seconds_how_many_it_asked_and_its_hops() -> None:
    desk = MeasuredDesk()
    desk.read(1, 2, 3, own=True)
    assert desk.take() == {}

    for number in (1, 2, 3):
        desk.answer(number, shows())

    assert len(desk.reports) == 1
    assert desk.take() == {
        ("operation_seconds", "read"): 0.1,
        ("operation_asked", "read"): 3,
        ("operation_hops", "read"): 1,
    }


def test_a_holder_s_read_of_what_it_holds_is_told_apart_from_a_person_s() -> None:
    desk = MeasuredDesk()
    plan = Plan(NOTE.target, quorum_of(1), is_thorough=True)
    desk.start(Read(plan, candidates(1), node_id(OWN), desk.checks, lambda _c, _n: []))

    desk.answer(1, shows())

    assert {kind for _, kind in desk.take()} == {"care"}


def test_a_write_has_no_hops() -> None:
    desk = MeasuredDesk()
    desk.write(1, 2, 3)

    for number in (1, 2, 3):
        desk.answer(number, STORED)

    assert desk.take() == {("operation_seconds", "write"): 0.1, ("operation_asked", "write"): 3}


def test_a_lookup_counts_who_led_to_the_nearest_that_answered() -> None:
    desk = MeasuredDesk()
    aim = Aim(ORIGIN, 1)
    named = {8: [4], 4: [2], 2: []}
    desk.start(
        Lookup(
            aim,
            candidates(8),
            node_id(OWN),
            lambda _contacts, namer: [contact(number) for number in named[int.from_bytes(namer)]],
        )
    )

    for number in named:
        desk.answer(number, nodes_answer())

    took = desk.take()
    assert took["operation_hops", "lookup"] == 3
    assert took["operation_asked", "lookup"] == 3


def test_nobody_s_answer_is_no_hop() -> None:
    desk = MeasuredDesk()
    desk.start(Lookup(Aim(ORIGIN, 1), candidates(8), node_id(OWN), lambda _c, _n: []))

    desk.operations.on_answer(desk.calls()[8].call, GONE, at(0.1))

    assert desk.take()["operation_hops", "lookup"] == 0


def test_nodes_that_vouch_for_each_other_in_a_ring_do_not_hold_it_up() -> None:
    ring = Candidates(ORIGIN, [entry(9)])
    ring.hear([contact(1)], node_id(OWN), node_id(2))
    ring.hear([contact(2)], node_id(OWN), node_id(1))
    for number in (1, 2):
        node = ring.get(node_id(number))
        assert node is not None
        ring.ask(node, 0.0)
        ring.answered(node, 0.1)

    assert hops_in(ring, node_id(OWN)) > 1

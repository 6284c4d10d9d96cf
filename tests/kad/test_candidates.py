from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st

from tests.kad.kit import ORIGIN, candidates, contact, entry, node_id, number_of
from yzdht.ids import Target
from yzdht.kad.candidates import Candidates, Standing
from yzdht.limits import CONTACTS_PER_ANSWER_MAX, LOOKUP_CANDIDATES_MAX


OWN = node_id(99)
NUMBERS = st.integers(1, 2**256 - 1)


def numbers(them: Candidates) -> list[int]:
    return [number_of(c.contact) for c in them]


@given(st.sets(NUMBERS, max_size=20), st.sets(NUMBERS, max_size=20), NUMBERS)
def test_candidates_are_in_order_of_distance_wherever_they_come_from(
    known: set[int], heard: set[int], point: int
) -> None:
    them = Candidates(Target(point.to_bytes(32)), [entry(n) for n in known])
    them.hear([contact(n) for n in sorted(heard)], OWN)

    assert numbers(them) == sorted(known | heard - {99}, key=lambda n: n ^ point)


def test_oneself_takes_its_place() -> None:
    assert numbers(candidates(1, 3, own=2)) == [1, 2, 3]


def test_hearsay_counts_only_once_it_has_answered() -> None:
    them = candidates(10, 20)
    them.hear([contact(1)], OWN)
    heard = them.get(node_id(1))
    assert heard is not None

    assert [c.distance for c in them.nearest(2)] == [10, 20]
    heard.standing = Standing.ANSWERED
    assert [c.distance for c in them.nearest(2)] == [1, 10]


def test_a_failed_node_leaves_its_place_to_the_next() -> None:
    them = candidates(1, 2, 3)
    first = them.get(node_id(1))
    assert first is not None
    first.standing = Standing.FAILED

    assert [c.distance for c in them.nearest(2)] == [2, 3]


def test_a_late_node_keeps_its_place() -> None:
    them = candidates(1, 2, 3)
    first = them.get(node_id(1))
    assert first is not None
    first.standing = Standing.LATE

    assert [c.distance for c in them.nearest(2)] == [1, 2]


def test_one_answer_adds_twenty_contacts_at_most() -> None:
    them = candidates()

    assert them.hear([contact(n) for n in range(1, 40)], OWN) == CONTACTS_PER_ANSWER_MAX


def test_candidates_are_bounded() -> None:
    them = candidates()
    for start in range(1, 2_000, CONTACTS_PER_ANSWER_MAX):
        them.hear([contact(n + 1_000) for n in range(start, start + CONTACTS_PER_ANSWER_MAX)], OWN)

    assert len(list(them)) == LOOKUP_CANDIDATES_MAX


def test_hearsay_adds_neither_oneself_nor_the_known_nor_those_without_an_address() -> None:
    them = candidates(1)

    assert them.hear([contact(99), contact(1), replace(contact(2), urls=())], OWN) == 0
    assert numbers(them) == [1]


def test_hearsay_is_waited_for_while_it_is_nearer_and_in_time() -> None:
    them = Candidates(ORIGIN, [])
    them.hear([contact(n) for n in (1, 2, 3, 4, 9)], OWN)
    for number, standing in ((2, Standing.ASKED), (3, Standing.LATE), (4, Standing.FAILED)):
        heard = them.get(node_id(number))
        assert heard is not None
        heard.standing = standing

    assert [c.distance for c in them.heard_within(9)] == [1, 2]


def test_who_is_late_is_marked_once() -> None:
    them = candidates(1, 2)
    for number, late_at in ((1, 5.0), (2, 7.0)):
        candidate = them.get(node_id(number))
        assert candidate is not None
        candidate.standing, candidate.late_at = Standing.ASKED, late_at

    assert them.next_late() == 5.0
    assert not them.mark_late(4.9)
    assert them.mark_late(5.0)
    assert not them.mark_late(5.0)
    assert (them.next_late(), them.in_flight(), them.has_open()) == (7.0, 1, True)

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, strategies as st

from tests.kad.kit import GONE, NODE, ORIGIN, candidates, contact, entry, node_id, number_of
from yzdht.ids import NodeId, Target
from yzdht.kad.candidates import Candidate, Candidates, Standing
from yzdht.kad.strangers import Strangers
from yzdht.limits import (
    ALPHA,
    CONTACTS_PER_ANSWER_MAX,
    DOUBTED_AFTER,
    IN_FLIGHT_MAX,
    LOOKUP_CANDIDATES_MAX,
    SOFT_DEADLINE_S_UNKNOWN,
)
from yzdht.wire.frame import Caps


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


def crowded(namer: int) -> Candidates:
    """As many as there may be, most of them named by one node."""
    them = candidates(1, 1 << 250)
    for start in range(1_000, 1_600, CONTACTS_PER_ANSWER_MAX):
        named = [contact(n) for n in range(start, start + CONTACTS_PER_ANSWER_MAX)]
        them.hear(named, OWN, node_id(namer))
    assert len(list(them)) == LOOKUP_CANDIDATES_MAX
    return them


def test_the_farthest_that_nobody_asked_gives_way_to_a_nearer_one() -> None:
    them = crowded(1)
    farthest = numbers(them)[-2]
    asked = them.get(node_id(farthest))
    assert asked is not None
    asked.standing = Standing.ASKED

    assert them.hear([contact(500)], OWN, node_id(2)) == 1
    assert them.hear([contact(2_000)], OWN, node_id(2)) == 0
    assert len(list(them)) == LOOKUP_CANDIDATES_MAX
    assert {500, farthest, 1 << 250} <= set(numbers(them))
    assert not {farthest - 1, 2_000} & set(numbers(them))
    assert them.get(node_id(farthest - 1)) is None


def test_what_a_liar_named_gives_way_to_whoever_is_named_next() -> None:
    them = crowded(1)
    for candidate in list(them)[1 : 1 + DOUBTED_AFTER]:
        them.ask(candidate, 0.0)
        them.failed(candidate, GONE)

    assert them.hear([contact(2_000)], OWN, node_id(2)) == 1
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


# Approaching a far target


def stranger(them: Candidates, number: int) -> Candidate:
    candidate = them.get(node_id(number))
    assert candidate is not None
    return candidate


def ask_all(them: Candidates, *numbers: int) -> None:
    for number in numbers:
        them.ask(stranger(them, number), 0.0)


def to_ask(them: Candidates, wanted: int) -> list[int]:
    return [number_of(c.contact) for c in them.to_ask(them.front(wanted, is_late_kept=False))]


def test_late_hearsay_holds_nobody_up_and_a_late_known_node_only_where_it_counts() -> None:
    them = candidates(10, 20)
    them.hear([contact(1)], OWN)
    ask_all(them, 1, 10)
    them.mark_late(99.0)

    assert [c.distance for c in them.front(3, is_late_kept=True)] == [10, 20]
    assert [c.distance for c in them.front(3, is_late_kept=False)] == [20]


def test_who_named_only_the_dead_is_not_waited_for_until_somebody_else_names_the_same() -> None:
    them = candidates(1_000, 2_000)
    them.hear([contact(n) for n in range(1, DOUBTED_AFTER + 3)], OWN, node_id(1_000))
    ask_all(them, *range(1, DOUBTED_AFTER + 1))
    assert [c.distance for c in them.front(99, is_late_kept=False)][:9] == list(range(1, 10))
    them.mark_late(99.0)
    assert [c.distance for c in them.front(99, is_late_kept=False)] == [1_000, 2_000]

    them.hear([contact(DOUBTED_AFTER + 1)], OWN, node_id(2_000))

    assert [c.distance for c in them.front(99, is_late_kept=False)] == [DOUBTED_AFTER + 1, 1_000, 2_000]


def test_one_answer_clears_its_namer() -> None:
    them = candidates(1_000)
    them.hear([contact(n) for n in range(1, DOUBTED_AFTER + 3)], OWN, node_id(1_000))
    ask_all(them, *range(1, DOUBTED_AFTER + 2))
    them.answered(stranger(them, 1), 0.1)
    them.mark_late(99.0)

    assert [c.distance for c in them.front(2, is_late_kept=False)] == [1, DOUBTED_AFTER + 2]


def test_beside_the_needed_those_that_make_progress_are_asked() -> None:
    assert to_ask(candidates(*range(1, 40)), 2) == list(range(1, ALPHA + 1))


def test_who_makes_no_progress_is_asked_only_if_needed() -> None:
    them = candidates(*range(1, 9))
    ask_all(them, 3)
    them.answered(stranger(them, 3), 0.1)

    assert to_ask(them, 4) == [1, 2, 4]


def test_a_quick_peer_goes_before_a_slow_one_that_is_hardly_nearer() -> None:
    slow, quick = entry(1 << 200, expected_s=2.0), entry((1 << 200) + 1, expected_s=0.05)
    for each in (slow, quick):
        each.has_session = True

    assert to_ask(Candidates(ORIGIN, [slow, quick]), 2) == [(1 << 200) + 1, 1 << 200]


def test_a_peer_far_nearer_goes_before_a_quicker_one() -> None:
    near, quick = entry(1 << 100, expected_s=1.0), entry(1 << 250, expected_s=0.05)
    for each in (near, quick):
        each.has_session = True

    assert to_ask(Candidates(ORIGIN, [near, quick]), 2) == [1 << 100, 1 << 250]


def test_who_is_no_longer_needed_takes_no_slot_and_all_together_are_bounded() -> None:
    them = candidates(*range(1_000, 1_020))
    ask_all(them, *range(1_000, 1_000 + ALPHA))
    assert to_ask(them, 8) == []

    them.hear([contact(n) for n in range(1, 20)], OWN, node_id(1_000))

    assert to_ask(them, 8) == list(range(1, IN_FLIGHT_MAX - ALPHA + 1))


def test_disjoint_paths_never_ask_the_same_node() -> None:
    claims: dict[NodeId, Candidates] = {}
    one, other = (Candidates(ORIGIN, [entry(n) for n in range(1, 5)], claims=claims) for _ in range(2))
    ask_all(one, 1, 3)

    assert to_ask(other, 4) == [2, 4]


def test_only_who_keeps_records_is_heard_of_where_records_are_wanted() -> None:
    them = candidates()
    them.is_for_storage = True

    assert them.hear([contact(1, NODE & ~Caps.STORAGE), contact(2)], OWN) == 1


def test_those_that_live_are_carried_over() -> None:
    them = candidates(1, 2, 3, own=None)
    them.hear([contact(4), contact(5), contact(6)], OWN, node_id(1))
    ask_all(them, 1, 2, 4, 5)
    them.answered(stranger(them, 4), 0.1)
    them.failed(stranger(them, 1), GONE)
    them.mark_late(99.0)
    ask_all(them, 6)

    after = them.carried_over(contact(7))

    assert numbers(after) == [2, 3, 4, 6, 7]
    assert all(c.is_known and c.standing is Standing.FRESH for c in after)


def test_answers_of_strangers_teach_how_long_strangers_take() -> None:
    strangers = Strangers()
    them = Candidates(ORIGIN, [], None, strangers)
    for number in range(1, 30):
        them.hear([contact(number)], OWN)
        ask_all(them, number)
        them.answered(stranger(them, number), 0.1)

    assert 0.1 <= strangers.expected_s < SOFT_DEADLINE_S_UNKNOWN

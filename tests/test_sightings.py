"""Where peers see a node: who is believed, and what one liar or an hour of silence changes."""

from __future__ import annotations

from yzdht.limits import REACH_KEPT_S
from yzdht.sightings import Sightings


HOME, ELSEWHERE, SIX = "11.0.0.1", "12.0.0.9", "2a01:9::1"


def after(sightings: Sightings, *said: str, at: float = 0.0) -> tuple[str, ...]:
    """A round in which each of some peers names a host; where the node is then."""
    sightings.begin()
    for number, host in enumerate(said):
        sightings.saw(f"11.{number}.0.0/24", host)
    sightings.settle(at, lambda _host: True)
    return sightings.hosts


def test_two_that_agree_are_believed_and_one_is_not() -> None:
    sightings = Sightings()

    assert after(sightings, HOME) == ()
    assert after(sightings, HOME, ELSEWHERE) == ()
    assert after(sightings, HOME, HOME, SIX, SIX) == (HOME, SIX)


def test_one_liar_one_peer_alone_or_nobody_takes_no_agreed_place_away() -> None:
    sightings = Sightings()
    after(sightings, HOME, HOME, SIX, SIX)

    for said in ([HOME, ELSEWHERE], [HOME], [ELSEWHERE], [], [SIX, SIX], [ELSEWHERE, ELSEWHERE, HOME, HOME]):
        assert after(sightings, *said) == (HOME, SIX)


def test_a_place_stays_for_hours_after_somebody_saw_the_node_there_last() -> None:
    sightings = Sightings()
    after(sightings, HOME, HOME)

    assert after(sightings, HOME, at=REACH_KEPT_S) == (HOME,)
    assert after(sightings, ELSEWHERE, at=2 * REACH_KEPT_S) == (HOME,)
    assert after(sightings, at=2 * REACH_KEPT_S + 1) == ()


def test_a_new_place_that_most_agree_on_replaces_the_old_one() -> None:
    sightings = Sightings()
    after(sightings, HOME, HOME, SIX, SIX)

    assert after(sightings, ELSEWHERE, ELSEWHERE, HOME) == (ELSEWHERE, SIX)


def test_neighbours_see_another_place_than_the_internet_and_both_are_right() -> None:
    assert after(Sightings(), HOME, HOME, "192.168.1.2", "192.168.1.2") == (HOME, "192.168.1.2")


def test_a_place_that_cannot_be_the_nodes_is_not_believed() -> None:
    sightings = Sightings()
    after(sightings, HOME, HOME)
    for group in ("one", "two", "three"):
        sightings.saw(group, ELSEWHERE)
    sightings.settle(0.0, lambda host: host == SIX)

    assert sightings.hosts == ()


def test_what_is_no_address_of_anybody_is_left_out() -> None:
    assert after(Sightings(), *["not an address"] * 3, *["0.0.0.0"] * 3) == ()


def is_enough(sightings: Sightings, *said: str) -> bool:
    sightings.begin()
    for number, host in enumerate(said):
        sightings.saw(str(number), host)
    return sightings.are_enough(is_ipv6=False)


def test_of_a_new_place_three_are_asked_and_of_a_known_one_two_and_more_where_they_disagree() -> None:
    sightings = Sightings()
    assert is_enough(sightings)
    assert not is_enough(sightings, HOME, HOME)
    assert is_enough(sightings, HOME, HOME, HOME)
    assert is_enough(sightings, HOME, HOME, HOME, SIX)
    assert not is_enough(sightings, HOME, HOME, ELSEWHERE)

    after(sightings, HOME, HOME, HOME)
    assert is_enough(sightings, HOME, HOME)
    assert not is_enough(sightings, HOME, HOME, ELSEWHERE)
    assert is_enough(sightings, HOME, HOME, ELSEWHERE, HOME)

from __future__ import annotations

from tests.kad.kit import entry, node_id
from yzdht.kad.departed import Departed
from yzdht.limits import (
    CAS_REMEMBERS_S,
    DEPARTED_KEPT_S,
    DEPARTED_MAX,
    DEPARTED_RETRY_S_MAX,
    DEPARTED_RETRY_S_MIN,
    DEPARTED_SPACING_S,
)


NOW = 10 * CAS_REMEMBERS_S


def departed_with(*stays: tuple[int, float, float]) -> Departed:
    """Of each: its number, when it entered, when it was seen last."""
    departed = Departed(0)
    for number, since, seen_at in stays:
        departed.add(entry(number, since=since, seen_at=seen_at), NOW, NOW)
    return departed


def test_pauses_grow_and_those_of_many_are_longer() -> None:
    departed = Departed(0)
    few = departed.add(entry(1), 0.0, 0.0)
    pauses = []
    for _ in range(9):
        departed.postpone(few, 0.0)
        pauses.append(few.pause_s)
    assert pauses[:3] == [DEPARTED_RETRY_S_MIN * 2**n for n in (1, 2, 3)]
    assert pauses[-1] == DEPARTED_RETRY_S_MAX

    for number in range(2, DEPARTED_MAX + 1):
        departed.add(entry(number), 0.0, 0.0)
    for _ in range(9):
        departed.postpone(few, 0.0)
    assert few.pause_s <= DEPARTED_SPACING_S * DEPARTED_MAX
    assert few.pause_s > DEPARTED_RETRY_S_MAX


def test_whoever_comes_and_goes_makes_nobody_forgotten_who_was_here_for_long() -> None:
    """An attacker that enters and leaves with one id after the other."""
    departed = departed_with((1, NOW - 9_000, NOW - 50))
    for number in range(1_000, 1_600):
        departed.add(entry(number, since=NOW - 30, seen_at=NOW - 10), NOW, NOW)

    assert node_id(1) in departed
    assert len(departed) == DEPARTED_MAX


def test_those_whom_no_write_with_cas_counts_are_forgotten_first() -> None:
    departed = departed_with((1, 0.0, NOW - CAS_REMEMBERS_S - 1))
    for number in range(1_000, 1_000 + DEPARTED_MAX):
        departed.add(entry(number, since=NOW - 30, seen_at=NOW - 10), NOW, NOW)

    assert node_id(1) not in departed
    assert len(departed) == DEPARTED_MAX


def test_one_that_is_here_already_pushes_nobody_out() -> None:
    departed = departed_with(*((n, NOW - 30, NOW) for n in range(DEPARTED_MAX)))

    departed.add(entry(0, since=NOW - 30, seen_at=NOW), NOW, NOW)

    assert len(departed) == DEPARTED_MAX


def test_who_was_not_seen_for_a_month_is_forgotten() -> None:
    departed = departed_with((1, 0.0, NOW), (2, 0.0, NOW + 5))

    assert departed.tried(departed[node_id(2)], NOW + DEPARTED_KEPT_S + 1)
    assert not departed.tried(departed[node_id(1)], NOW + DEPARTED_KEPT_S + 1)
    assert list(departed) == [node_id(2)]

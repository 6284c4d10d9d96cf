from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.node import SimRng
from yzdht.ids import Target
from yzdht.kad.turns import Strays, Turns
from yzdht.limits import REPUBLISH_NOTICED_AGAIN_S, REPUBLISH_SKIPS_MAX, REPUBLISH_STRAY_LAPS


if TYPE_CHECKING:
    import pytest


def target(number: int) -> Target:
    return Target(number.to_bytes(32))


def turns(seed: str = "turns") -> Turns:
    return Turns(SimRng(seed))


def skips(of: Turns, times: int) -> list[bool]:
    """Whether it was relied on, lap for lap, another holder looking after it before each."""
    relied = []
    for lap in range(times):
        of.note(target(1), float(lap))
        relied.append(of.skip(target(1), float(lap)))
    return relied


def test_what_nobody_looked_after_is_not_skipped() -> None:
    assert not turns().skip(target(1), 0.0)


def test_what_was_looked_after_before_is_not_skipped() -> None:
    noted = turns()
    noted.note(target(1), 5.0)

    assert noted.skip(target(1), 5.0)
    assert not noted.skip(target(1), 5.1)
    assert not noted.skip(target(2), 0.0)


def test_others_are_relied_on_so_often_in_a_row_and_no_more() -> None:
    relied = skips(turns(), 40)
    first = relied.index(False)

    assert 1 <= first <= REPUBLISH_SKIPS_MAX
    cycle = [False, *[True] * REPUBLISH_SKIPS_MAX]
    assert relied[first:] == (cycle * 40)[: 40 - first]


def test_holders_do_not_all_act_in_the_same_lap() -> None:
    assert len({skips(turns(f"holder {n}"), 8).index(False) for n in range(20)}) == REPUBLISH_SKIPS_MAX


def test_done_since_an_instant() -> None:
    noted = turns()
    noted.note(target(1), 5.0)

    assert noted.is_done_since(target(1), 5.0)
    assert not noted.is_done_since(target(1), 5.1)
    assert not noted.is_done_since(target(2), 0.0)


def test_what_was_just_noted_is_fresh() -> None:
    noted = turns()
    assert not noted.is_fresh(target(1), 0.0)
    noted.note(target(1), 5.0)

    assert noted.is_fresh(target(1), 5.0)
    assert not noted.is_fresh(target(1), 5.0 + REPUBLISH_NOTICED_AGAIN_S)


def test_the_notice_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.kad.turns.REPUBLISH_NOTICES_MAX", 2)
    noted = turns()
    for mono, number in enumerate((1, 2, 1, 3)):
        noted.note(target(number), float(mono))

    assert len(noted) == 2
    assert [noted.is_done_since(target(n), 0.0) for n in (1, 2, 3)] == [True, False, True]


def lap(strays: Strays, *numbers: int, is_daily: bool = True) -> list[int]:
    due = [n for n in numbers if strays.is_due(target(n), is_daily=is_daily)]
    strays.end_lap(is_daily=is_daily)
    return due


def test_a_stray_is_due_when_first_seen_then_once_a_day() -> None:
    strays = Strays()
    assert lap(strays, 1, 2) == [1, 2]
    laps = [lap(strays, 1, 2) for _ in range(2 * REPUBLISH_STRAY_LAPS)]

    assert sorted(n for due in laps for n in due) == [1, 1, 2, 2]


def test_a_lap_in_a_hurry_is_none_of_the_day_s() -> None:
    strays = Strays()
    lap(strays, 1, 2)

    assert [lap(strays, 1, 2, is_daily=False) for _ in range(2 * REPUBLISH_STRAY_LAPS)] == [[]] * 48


def test_what_was_in_range_for_a_lap_is_seen_anew() -> None:
    strays = Strays()
    lap(strays, 1)
    lap(strays)
    lap(strays)

    assert lap(strays, 1) == [1]


def test_what_does_not_fit_counts_as_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.kad.turns.REPUBLISH_STRAYS_MAX", 2)
    strays = Strays()
    laps = [lap(strays, 1, 2, 3, 4) for _ in range(1 + REPUBLISH_STRAY_LAPS)]

    assert laps[0] == [1, 2]
    assert sorted(n for due in laps[1:] for n in due) == [1, 2, 3, 4]
    assert len(strays) <= 4

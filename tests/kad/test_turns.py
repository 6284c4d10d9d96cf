from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kad.kit import node_id
from tests.sim.node import SimRng
from yzdht.ids import RecordHash, Target
from yzdht.kad.turns import NoRoom, Others, Strays, Turns
from yzdht.limits import (
    REPLICATION_NO_ROOM_S,
    REPUBLISH_NOTICED_AGAIN_S,
    REPUBLISH_NOTICES_KEPT_S,
    REPUBLISH_SKIPS_MAX,
    REPUBLISH_STRAY_LAPS,
    REPUBLISH_STRAY_TRIES,
)


if TYPE_CHECKING:
    import pytest


HOLDER, OTHER, THIRD = (node_id(n) for n in (1, 2, 3))


def target(number: int) -> Target:
    return Target(number.to_bytes(32))


def turns(seed: str = "turns") -> Turns:
    return Turns(SimRng(seed))


def skips(of: Turns, times: int) -> list[bool]:
    """Whether it was relied on, lap for lap, another holder looking after it before each; if not, this one acted."""
    relied = []
    for lap in range(times):
        of.note(target(1), HOLDER, float(lap))
        relied.append(of.skip(target(1), Others(float(lap))))
        if not relied[-1]:
            of.acted(target(1))
    return relied


def test_what_nobody_looked_after_is_not_skipped() -> None:
    assert not turns().skip(target(1), Others(0.0))


def test_what_was_looked_after_before_is_not_skipped() -> None:
    noted = turns()
    noted.note(target(1), HOLDER, 5.0)

    assert noted.skip(target(1), Others(5.0))
    assert not noted.skip(target(1), Others(5.1))
    assert not noted.skip(target(2), Others(0.0))


def test_others_are_relied_on_so_often_in_a_row_and_no_more() -> None:
    relied = skips(turns(), 40)
    first = relied.index(False)

    assert 1 <= first <= REPUBLISH_SKIPS_MAX
    cycle = [False, *[True] * REPUBLISH_SKIPS_MAX]
    assert relied[first:] == (cycle * 40)[: 40 - first]


def test_holders_do_not_all_act_in_the_same_lap() -> None:
    assert len({skips(turns(f"holder {n}"), 8).index(False) for n in range(20)}) == REPUBLISH_SKIPS_MAX


def test_after_the_last_turn_left_to_others_none_is_until_this_one_acted() -> None:
    noted = turns()
    noted.acted(target(1))
    noted.note(target(1), HOLDER, 5.0)
    asked = [noted.skip(target(1), Others(5.0)) for _ in range(3 * REPUBLISH_SKIPS_MAX)]
    assert 1 <= asked.index(False) <= REPUBLISH_SKIPS_MAX
    assert not any(asked[REPUBLISH_SKIPS_MAX:])

    noted.acted(target(1))
    assert [noted.skip(target(1), Others(5.0)) for _ in range(4)] == [True, True, True, False]


def test_two_are_heard_only_if_they_are_two() -> None:
    noted = turns()
    for mono in (5.0, 6.0, 7.0):
        noted.note(target(1), HOLDER, mono)
    assert not noted.skip(target(1), Others(5.0, 2))

    noted.note(target(1), OTHER, 8.0)
    assert noted.skip(target(1), Others(7.0, 2))
    assert not noted.skip(target(1), Others(7.1, 2))


def test_one_that_always_asks_hides_no_other() -> None:
    noted = turns()
    for mono, holder in enumerate((HOLDER, OTHER, HOLDER, HOLDER)):
        noted.note(target(1), holder, float(mono))

    assert noted.skip(target(1), Others(1.0, 2))
    assert not noted.skip(target(1), Others(1.1, 2))


def test_who_was_just_noted_is_fresh_and_a_third_after_two() -> None:
    noted = turns()
    noted.note(target(1), HOLDER, 5.0)
    assert not noted.is_fresh(target(1), OTHER, 5.0)
    noted.note(target(1), OTHER, 6.0)

    assert all(noted.is_fresh(target(1), who, 6.0) for who in (HOLDER, OTHER, THIRD))
    assert not noted.is_fresh(target(1), HOLDER, 5.0 + REPUBLISH_NOTICED_AGAIN_S)


def test_what_was_just_noted_is_fresh() -> None:
    noted = turns()
    assert not noted.is_fresh(target(1), HOLDER, 0.0)
    noted.note(target(1), HOLDER, 5.0)

    assert noted.is_fresh(target(1), HOLDER, 5.0)
    assert not noted.is_fresh(target(1), HOLDER, 5.0 + REPUBLISH_NOTICED_AGAIN_S)


def test_the_notice_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.kad.turns.REPUBLISH_NOTICES_MAX", 2)
    noted = turns()
    for mono, number in enumerate((1, 2, 1, 3)):
        noted.note(target(number), HOLDER, float(mono))

    assert len(noted) == 2
    assert [noted.is_fresh(target(n), HOLDER, 3.0) for n in (1, 2, 3)] == [True, False, True]


def test_notices_of_some_laps_ago_are_forgotten_when_a_lap_ends() -> None:
    noted = turns()
    for mono, number in enumerate((1, 2, 1)):
        noted.note(target(number), HOLDER, float(mono))

    noted.end_lap(0.5 + REPUBLISH_NOTICES_KEPT_S)
    assert len(noted) == 2

    noted.end_lap(1.5 + REPUBLISH_NOTICES_KEPT_S)
    assert len(noted) == 1
    assert noted.is_fresh(target(1), HOLDER, 2.0)

    noted.end_lap(2.0 + REPUBLISH_NOTICES_KEPT_S)
    assert len(noted) == 0


def test_a_stray_among_a_crowd_is_due_in_each_lap_until_it_is_among_none() -> None:
    strays = Strays()
    assert strays.is_due(target(1), is_daily=False)
    strays.refreshed(target(1), is_complete=True)
    strays.crowded(target(1))
    for _ in range(5):
        strays.end_lap(is_daily=True)
        assert strays.is_due(target(1), is_daily=False)
        strays.refreshed(target(1), is_complete=True)
        strays.crowded(target(1))

    strays.refreshed(target(1), is_complete=True)
    strays.end_lap(is_daily=False)
    assert not strays.is_due(target(1), is_daily=False)


def test_a_refresh_that_missed_somebody_beside_a_crowd_is_tried_again() -> None:
    strays = Strays()
    strays.is_due(target(1), is_daily=False)
    strays.crowded(target(1))
    strays.refreshed(target(1), is_complete=False)

    assert strays.is_due(target(1), is_daily=False)


def test_a_crowd_around_what_is_no_stray_is_not_remembered() -> None:
    strays = Strays()
    strays.crowded(target(1))

    assert len(strays) == 0


def record(number: int) -> RecordHash:
    return RecordHash(number.to_bytes(32))


def test_who_has_no_room_for_one_record_has_it_for_others() -> None:
    full = NoRoom()
    full.note(HOLDER, record(1), 5.0)

    assert full.holds(HOLDER, record(1), 5.0)
    assert not full.holds(HOLDER, record(1), 5.0 + REPLICATION_NO_ROOM_S)
    assert not full.holds(HOLDER, record(2), 5.0)
    assert not full.holds(OTHER, record(1), 5.0)


def test_who_had_no_room_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.kad.turns.REPLICATION_NO_ROOM_MAX", 2)
    full = NoRoom()
    for number in (1, 2, 1, 3):
        full.note(HOLDER, record(number), 5.0)

    assert len(full) == 2
    assert [full.holds(HOLDER, record(n), 5.0) for n in (1, 2, 3)] == [True, False, True]


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


def test_a_refresh_that_missed_somebody_is_repeated_and_then_waits_for_its_day() -> None:
    strays = Strays()
    laps = 0
    for _ in range(REPUBLISH_STRAY_LAPS):
        if strays.is_due(target(12), is_daily=True):
            strays.refreshed(target(12), is_complete=False)
            laps += 1
        strays.end_lap(is_daily=True)

    assert laps == REPUBLISH_STRAY_TRIES + 1


def test_what_was_heard_by_all_at_last_is_not_repeated() -> None:
    strays = Strays()
    lap(strays, 2)
    strays.refreshed(target(2), is_complete=False)
    assert lap(strays, 2) == [2]
    strays.refreshed(target(2), is_complete=True)

    assert lap(strays, 2) == []


def test_what_is_forgotten_is_seen_anew() -> None:
    strays = Strays()
    lap(strays, 2)
    assert lap(strays, 2) == []
    strays.forget(target(2))
    strays.forget(target(3))

    assert lap(strays, 2) == [2]


def test_what_is_in_range_is_remembered_by_no_refresh() -> None:
    strays = Strays()
    strays.refreshed(target(1), is_complete=False)

    assert len(strays) == 0


def test_what_does_not_fit_counts_as_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.kad.turns.REPUBLISH_STRAYS_MAX", 2)
    strays = Strays()
    laps = [lap(strays, 1, 2, 3, 4) for _ in range(1 + REPUBLISH_STRAY_LAPS)]

    assert laps[0] == [1, 2]
    assert sorted(n for due in laps[1:] for n in due) == [1, 2, 3, 4]
    assert len(strays) <= 4

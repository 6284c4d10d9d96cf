from __future__ import annotations

from tests.sim.authors import WALL
from yzdht.kad.settled import is_past_writing
from yzdht.limits import REPAIR_AFTER_S, WRITE_TIMEOUT_S


def test_a_record_is_past_writing_once_a_write_of_it_has_timed_out() -> None:
    assert is_past_writing(WALL, WALL + REPAIR_AFTER_S)
    assert not is_past_writing(WALL, WALL + REPAIR_AFTER_S - 0.1)
    assert REPAIR_AFTER_S > WRITE_TIMEOUT_S


def test_an_immutable_always_is() -> None:
    assert is_past_writing(0, WALL)


def test_a_record_from_the_future_is_not() -> None:
    assert not is_past_writing(WALL + 100, WALL)

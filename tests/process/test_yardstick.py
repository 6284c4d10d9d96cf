from __future__ import annotations

import pytest

from tests.process.fleet import until
from tests.process.yardstick import Timed, Yardstick, timed


def test_a_get_beside_quick_echoes_took_its_time_itself() -> None:
    yardstick = Yardstick([Timed(0.0, 0.01), Timed(1.0, 0.01), Timed(9.0, 5.0)])
    slow = Timed(0.5, 1.5)
    assert yardstick.own_s(slow) == pytest.approx(1.48)
    assert yardstick.over(1.0, [slow, Timed(0.5, 0.9)]) == [slow]


def test_a_get_beside_a_slow_echo_waited_for_its_turn() -> None:
    yardstick = Yardstick([Timed(0.0, 0.7)])
    assert yardstick.over(1.0, [Timed(0.5, 1.5)]) == []
    assert yardstick.over(1.0, [Timed(0.8, 1.5)]) == [Timed(0.8, 1.5)]
    assert yardstick.own_s(Timed(0.1, 0.2)) == 0.0


def test_a_block_that_raises_is_not_kept() -> None:
    kept: list[Timed] = []

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"), timed(kept):
        fail()
    assert kept == []
    with timed(kept):
        pass
    assert len(kept) == 1


async def test_echoes_are_timed_and_the_process_that_echoes_ends() -> None:
    async with Yardstick() as yardstick:
        process = yardstick._process

        async def has_echoed() -> bool:
            return len(yardstick.echoes) >= 3

        await until(has_echoed, "three echoes")
    assert process is not None
    assert process.returncode == 0
    assert all(echo.took_s > 0 for echo in yardstick.echoes)

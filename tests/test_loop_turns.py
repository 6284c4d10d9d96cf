"""Turns of the loop: so many of a kind in each, the others in line."""

from __future__ import annotations

import asyncio

from yzdht.loop_turns import LoopTurns


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def line_of(per_turn: int) -> tuple[LoopTurns[int], list[int]]:
    """A line, and whose turn came after waiting."""
    served: list[int] = []
    return LoopTurns(asyncio.get_running_loop(), per_turn, served.append), served


async def test_so_many_go_on_in_one_turn_of_the_loop_and_the_others_in_the_next() -> None:
    line, served = line_of(3)

    assert [line.is_now(comer) for comer in range(7)] == [True] * 3 + [False] * 4
    assert (served, len(line)) == ([], 4)
    await turns(1)
    assert served == [3, 4, 5]
    assert not line.is_now(7)  # the turn is used up
    await turns(1)
    assert served == [3, 4, 5, 6, 7]
    await turns(2)
    assert line.is_now(8)


async def test_nobody_overtakes_who_waits() -> None:
    line, served = line_of(2)
    for comer in range(3):
        line.is_now(comer)
    await turns(1)

    assert served == [2]
    assert line.is_now(3)  # one is left of this turn, and nobody waits
    assert not line.is_now(4)


async def test_who_asks_again_while_it_waits_waits_once() -> None:
    line, served = line_of(1)
    assert line.is_now(0)

    assert not line.is_now(1)
    assert not line.is_now(2)
    assert not line.is_now(1)
    assert len(line) == 2
    await turns(5)
    assert served == [1, 2]


async def test_who_is_forgotten_is_told_nothing_and_takes_nobody_s_turn() -> None:
    line, served = line_of(1)
    for comer in range(4):
        line.is_now(comer)
    assert 1 in line

    line.forget(1)
    line.forget(1)
    line.forget(0)

    assert 1 not in line
    await turns(1)
    assert served == [2]
    await turns(1)
    assert served == [2, 3]


async def test_one_that_is_served_may_forget_the_next() -> None:
    served: list[int] = []

    def go_on(comer: int) -> None:
        served.append(comer)
        line.forget(comer + 1)

    line = LoopTurns(asyncio.get_running_loop(), 2, go_on)
    for comer in range(6):
        line.is_now(comer)
    await turns(3)

    assert served == [2, 4]
    assert len(line) == 0

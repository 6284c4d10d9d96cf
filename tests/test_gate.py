from __future__ import annotations

import asyncio

import pytest

from tests.sessions.kit import Time, live_timers, turns
from yzdht.gate import Gate
from yzdht.limits import CALLS_WAITING_MAX, CLIENT_PATIENCE_S, DELEGATED_PAUSE_S_MIN, DELEGATED_TIMEOUT_S


@pytest.fixture
async def clock() -> Time:
    return Time()


class Asking:
    """Calls that stand at one gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.passed: list[int] = []
        self.sent_away: list[int] = []
        self.entered = 0
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def ask(self, *calls: int) -> None:
        for call in calls:
            self.tasks[call] = asyncio.create_task(self._enter(call))
        await turns(2)

    async def _enter(self, call: int) -> None:
        entered = await self.gate.enter(call)
        if entered is None:
            self.sent_away.append(call)
        else:
            self.entered = entered
            self.passed.append(call)


async def test_calls_pass_at_once_while_nobody_is_refused() -> None:
    asking = Asking()
    await asking.ask(*range(1_000))
    for _ in range(1_000):
        asking.gate.served(0)
    await asking.ask(1_000, 1_001)

    assert len(asking.passed) == 1_002


async def test_after_a_refusal_they_pass_one_by_one_and_the_oldest_first(clock: Time) -> None:
    asking = Asking()
    await asking.ask(1, 2)
    assert asking.gate.refused(0, 0.5)
    assert asking.gate.refused(0, 0.5), "it was sent before"
    await asking.ask(4, 3, 2, 1)
    assert asking.passed == [1, 2]
    for number in range(1, 5):
        await clock.advance(0.5)
        assert asking.passed[2:] == list(range(1, number + 1))

    assert live_timers() == []


@pytest.mark.parametrize("told_s", [0.0, 0.001])
async def test_a_pause_is_never_nothing(clock: Time, told_s: float) -> None:
    asking = Asking()
    await asking.ask(1)
    assert asking.gate.refused(0, told_s)
    await asking.ask(1)
    assert asking.passed == [1]
    await clock.advance(DELEGATED_PAUSE_S_MIN)

    assert asking.passed == [1, 1]


async def test_it_gets_faster_while_calls_are_served_and_slower_when_one_is_refused(clock: Time) -> None:
    gate, paces = Gate(), []
    assert gate.refused(0, 0.5)
    for is_served in (True, True, False, True, True):
        if is_served:
            gate.served(gate._round)
        else:
            assert gate.refused(gate._round, 0.001)
        paces.append(round(gate._pause_s, 6))

    assert paces == [0.4, 0.32, 0.4, 0.32, 0.256]
    for _ in range(40):
        gate.served(gate._round)
    await clock.advance(1)
    asking = Asking()
    asking.gate = gate
    await asking.ask(*range(99))
    assert len(asking.passed) == 99


async def test_who_serves_nobody_is_given_up_and_all_that_wait_are_told(clock: Time) -> None:
    asking = Asking()
    await asking.ask(0)
    paused_s = 1.0
    assert asking.gate.refused(0, 1.0)
    await asking.ask(*range(1, 100))
    while True:
        await clock.advance(paused_s)
        paused_s *= 2
        if not asking.gate.refused(asking.entered, 1.0):
            break

    await turns(2)
    assert paused_s > DELEGATED_TIMEOUT_S
    assert len(asking.passed) == 5
    assert len(asking.passed) + len(asking.sent_away) == 100
    assert live_timers() == []
    await asking.ask(100)
    assert asking.passed[-1] == 100, "it begins anew"


async def test_a_call_that_is_told_to_wait_for_long_is_given_up_and_holds_up_nobody() -> None:
    asking = Asking()
    assert not asking.gate.refused(0, CLIENT_PATIENCE_S + 0.001)
    await asking.ask(1, 2)

    assert asking.passed == [1, 2]


async def test_those_that_wait_are_bounded() -> None:
    asking = Asking()
    assert asking.gate.refused(0, 1.0)
    await asking.ask(*range(CALLS_WAITING_MAX + 2))
    assert asking.sent_away == [CALLS_WAITING_MAX, CALLS_WAITING_MAX + 1]

    asking.gate.close()
    await asyncio.gather(*asking.tasks.values())
    assert asking.passed == []


async def test_a_turn_of_a_caller_that_went_away_is_the_next_one_s(clock: Time) -> None:
    asking = Asking()
    assert asking.gate.refused(0, 1.0)
    await asking.ask(1, 2, 3)
    asking.tasks[1].cancel()
    asking.tasks[3].cancel()
    await clock.advance(1.0)
    assert asking.passed == [2]
    await clock.advance(1.0)

    assert live_timers() == []
    asking.gate.close()

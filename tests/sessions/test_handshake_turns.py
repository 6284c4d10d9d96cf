"""Handshakes in turns: some in each turn of the loop, and what comes early waits unread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sessions.kit import Party, turns
from tests.sessions.proved import connection
from yzdht.limits import HANDSHAKE_MESSAGES_PER_LOOP_TURN
from yzdht.rpc.engine import Answer
from yzdht.sessions.handshake_turns import HandshakeTurns
from yzdht.transport.memory import MemoryTransport


if TYPE_CHECKING:
    from tests.sessions.kit import Time, Village
    from yzdht.sessions.connection import Connection


async def test_so_many_go_on_in_one_turn_of_the_loop_and_the_others_in_the_next() -> None:
    heard: list[Connection] = []
    line = HandshakeTurns(asyncio.get_running_loop())
    comers = [connection("8.8.8.8", number) for number in range(2 * HANDSHAKE_MESSAGES_PER_LOOP_TURN + 1)]
    for comer in comers:
        comer.hear_early = lambda comer=comer: heard.append(comer)  # type: ignore[method-assign, misc] # what is told

    assert [line.is_now(comer) for comer in comers].count(True) == HANDSHAKE_MESSAGES_PER_LOOP_TURN
    assert heard == []
    await turns(1)
    assert heard == comers[HANDSHAKE_MESSAGES_PER_LOOP_TURN : 2 * HANDSHAKE_MESSAGES_PER_LOOP_TURN]
    assert not line.is_now(comers[0])
    await turns(3)
    assert heard == [*comers[HANDSHAKE_MESSAGES_PER_LOOP_TURN:], comers[0]]
    assert line.is_now(comers[0])


async def test_many_that_come_at_once_all_get_in_and_may_ask_before_they_are_told_so(
    village: Village, clock: Time
) -> None:
    node = await village.party("node")
    comers = [
        Party(clock, MemoryTransport(village.network, f"8.8.{number}.8"))
        for number in range(3 * HANDSHAKE_MESSAGES_PER_LOOP_TURN)
    ]
    village.parties += comers
    calls = [[comer.ask(node.contact) for _ in range(3)] for comer in comers]

    for comer, numbers in zip(comers, calls, strict=True):
        for number in numbers:
            assert isinstance(await comer.answer_to(number), Answer)
    assert len(node.sessions) == len(comers)


async def test_who_leaves_before_its_turn_is_forgotten(village: Village, clock: Time) -> None:
    node = await village.party("node")
    comers = [
        Party(clock, MemoryTransport(village.network, f"8.8.{number}.8"))
        for number in range(3 * HANDSHAKE_MESSAGES_PER_LOOP_TURN)
    ]
    village.parties += comers
    for comer in comers:
        comer.ask(node.contact)
    await turns(2)
    for comer in comers:
        await comer.sessions.close()
    await turns(20)

    assert len(node.sessions) == 0
    assert node.failed_tasks == []

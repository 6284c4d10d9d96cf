"""Ready means: other nodes store and show. Real nodes on loopback, and hand-made ones that refuse."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.http.kit import HOST, a_node, url_of
from tests.sessions.kit import Party, Time, until
from yzdht.http.readiness import ReadyCheck, needed_of
from yzdht.kad.quorum import quorum_of
from yzdht.limits import (
    READY_CHECK_AGAIN_S,
    READY_CHECK_EVERY_S,
    READY_CHECK_JITTER,
    READY_CHECK_S_MAX,
    READY_RECORD_LIFE_S,
    REPLICAS,
)
from yzdht.rpc.engine import Failed, FailReason
from yzdht.wire.record import Readers, decode_record
from yzdht.wire.rpc import Empty, FindValue, FoundNodes, FoundValue, Method, Refusal, Status, Store
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yzdht import Node
    from yzdht.ids import Target
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body


pytestmark = pytest.mark.net

SLACK_S = 5.0
"""What a poller adds that asks every so many seconds."""


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def node(clock: Time) -> AsyncIterator[Node]:
    async with a_node(clock=clock) as node:
        yield node


class Holder(Party):
    """A hand-made node that keeps what it is given, or does as it is told."""

    def __init__(self, clock: Time) -> None:
        super().__init__(clock)
        self.kept: dict[Target, bytes] = {}
        self.stores = 0
        self.store_answer: tuple[Status, Body] | None = (Status.OK, Empty())
        self.is_showing = self.is_keeping = True
        self.on_asked = self._answer

    def _answer(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        if isinstance(body, Store) and decode_record(body.record).kind is Kind.IDENTITY:
            connection.reply(number, Status.OK, Empty())  # the node publishes itself; no part of a check
        elif isinstance(body, Store):
            self.stores += 1
            if self.store_answer is not None:
                if self.is_keeping:
                    self.kept[body.target] = body.record
                connection.reply(number, *self.store_answer)
        elif isinstance(body, FindValue):
            found = self.kept.get(body.target) if self.is_showing else None
            connection.reply(number, Status.OK, FoundValue(() if found is None else (found,)))
        else:
            connection.reply(number, Status.OK, FoundNodes() if method is Method.FIND_NODE else Empty())


async def with_holders(node: Node, clock: Time, count: int, stack: AsyncExitStack) -> list[Holder]:
    holders = [Holder(clock) for _ in range(count)]
    for holder in holders:
        await holder.listen(HOST)
        await holder.sessions.dial(url_of(node), node.node_id)
        stack.push_async_callback(holder.sessions.close)
    await until(lambda: node.is_joined and len(node.engine.table) == count)
    return holders


@pytest.fixture
async def holders(node: Node, clock: Time) -> AsyncIterator[list[Holder]]:
    async with AsyncExitStack() as stack:
        yield await with_holders(node, clock, 3, stack)


# How many


@pytest.mark.parametrize(
    ("others", "stores", "shows"), [(1, 1, 1), (2, 1, 1), (3, 2, 1), (7, 4, 3), (8, 5, 4)]
)
def test_others_must_do_what_a_quorum_needs_beside_this_node(others: int, stores: int, shows: int) -> None:
    assert needed_of(others) == (stores, shows)


@pytest.mark.parametrize("others", range(1, 4 * REPLICAS))
def test_no_check_asks_for_more_than_a_write_or_for_nothing(others: int) -> None:
    needed, quorum = needed_of(others), quorum_of(others + 1)

    assert 1 <= needed.stores <= min(others, quorum.write)
    assert 1 <= needed.shows <= min(needed.stores, quorum.read)


# A network


async def test_ready_means_that_others_store_and_show_a_small_public_record(
    node: Node, holders: list[Holder]
) -> None:
    result = await ReadyCheck(node).result()

    assert (result.is_ready, result.is_alone, result.through) == (True, False, 2)
    assert result.reason == "2 other nodes stored a record and showed it again"
    asked = [holder for holder in holders if holder.stores]
    assert len(asked) == 2
    record = decode_record(next(iter(asked[0].kept.values())))
    assert record.publisher == node.identity.public_key
    assert record.readers is Readers.PUBLIC
    assert record.expires - record.created == READY_RECORD_LIFE_S
    assert record.payload == b""
    assert all(not node.store_of_records.get(target, 0.0) for target in asked[0].kept)


async def test_every_check_writes_a_newer_record_into_one_slot(
    node: Node, holders: list[Holder], clock: Time
) -> None:
    check = ReadyCheck(node)
    seqs = []
    for _ in range(3):
        assert (await check.result()).is_ready
        [raw] = {raw for holder in holders for raw in holder.kept.values()}
        seqs.append(decode_record(raw).seq)
        await clock.advance(READY_CHECK_EVERY_S * READY_CHECK_JITTER[1] + 1)
        clock.set_wall_ahead(-3_600)  # a clock that is set back must not make every later record too old

    assert seqs == sorted(set(seqs))
    assert len({target for holder in holders for target in holder.kept}) == 1


async def test_all_who_ask_at_once_or_soon_after_share_one_check(
    node: Node, holders: list[Holder], clock: Time
) -> None:
    check = ReadyCheck(node)
    results = await asyncio.gather(*(check.result() for _ in range(100)))
    for _ in range(10):
        await clock.advance(READY_CHECK_EVERY_S * READY_CHECK_JITTER[0] / 11)
        results.append(await check.result())

    assert len(set(map(id, results))) == 1
    assert sum(holder.stores for holder in holders) == 2


async def test_who_is_not_waited_for_gets_what_is_known_and_a_check_begins(
    node: Node, holders: list[Holder], clock: Time
) -> None:
    check = ReadyCheck(node)
    assert (await check.latest()).is_ready
    for holder in holders:
        holder.store_answer = None
    await clock.advance(READY_CHECK_EVERY_S * READY_CHECK_JITTER[1])

    assert (await check.latest()).is_ready
    assert check._checking is not None
    assert not check._checking.done()
    await check.close()


# Others that refuse


async def test_who_refuses_is_replaced(node: Node, holders: list[Holder]) -> None:
    holders[0].store_answer = (Status.BUSY, Refusal())

    assert (await ReadyCheck(node).result()).through == 2


async def test_a_record_that_nobody_shows_is_not_stored(node: Node, holders: list[Holder]) -> None:
    for holder in holders:
        holder.is_showing = False

    result = await ReadyCheck(node).result()

    assert not result.is_ready
    assert result.reason == "0 other nodes showed a record, 1 must (record not shown)"


async def test_a_record_of_before_is_no_answer(node: Node, holders: list[Holder], clock: Time) -> None:
    check = ReadyCheck(node)
    await check.result()
    for holder in holders:
        holder.is_keeping = False
    await clock.advance(READY_CHECK_EVERY_S * READY_CHECK_JITTER[1])

    result = await check.result()

    assert result.reason == "0 other nodes showed a record, 1 must (record not shown)"


async def test_a_wrong_clock_is_named_with_how_wrong_it_is(node: Node, holders: list[Holder]) -> None:
    day_ago = int(node.now().wall) - 86_400
    for holder in holders:
        holder.store_answer = (Status.BAD_LIFETIME, Refusal(day_ago))

    result = await ReadyCheck(node).result()

    assert "this machine's clock is about 24 hours fast" in result.reason
    assert result.hint == "set this machine's clock"


async def test_others_that_are_full_are_named(node: Node, holders: list[Holder]) -> None:
    for holder in holders:
        holder.store_answer = (Status.OVER_QUOTA, Refusal())

    result = await ReadyCheck(node).result()

    assert "(over quota)" in result.reason
    assert "full" in result.hint


# Cut off


async def test_silence_of_all_others_is_noticed_within_half_a_minute_and_so_is_their_return(
    node: Node, holders: list[Holder], clock: Time
) -> None:
    """Nothing tells that a cable was pulled: the sessions stay up. In the worst case a check has just begun to count."""
    check = ReadyCheck(node)
    assert (await check.result()).is_ready
    for holder in holders:
        holder.store_answer = None
    cut_at = clock.now().mono
    await clock.advance(READY_CHECK_EVERY_S * READY_CHECK_JITTER[1])

    asking = asyncio.ensure_future(check.result())
    while not asking.done():
        await clock.advance(0.25)
    assert not asking.result().is_ready
    assert asking.result().reason == "no other node answers: 3 asked, 2 must (timeout)"
    assert clock.now().mono - cut_at + SLACK_S < 30
    assert READY_CHECK_EVERY_S * READY_CHECK_JITTER[1] + READY_CHECK_S_MAX + SLACK_S < 30

    for holder in holders:
        holder.store_answer = (Status.OK, Empty())
    assert not (await check.result()).is_ready
    await clock.advance(READY_CHECK_AGAIN_S * READY_CHECK_JITTER[1])
    assert (await check.result()).is_ready


async def test_a_node_that_lost_every_session_is_not_ready_at_the_next_question_and_ready_again_with_them(
    clock: Time,
) -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(a_node(clock=clock))
        other = await stack.enter_async_context(a_node(url_of(node), clock=clock))
        await until(lambda: node.is_joined and other.is_joined)
        check = ReadyCheck(node)
        assert (await check.result()).is_ready
        await other.listener.close()
        for connection, _ in other.sessions.open_connections():
            connection.link.abort()  # as if it had been killed
        other.sessions._is_closing = True
        await until(lambda: not node.sessions.nodes)
        await clock.advance(READY_CHECK_AGAIN_S)

        result = await check.result()

        assert (result.is_ready, result.is_alone) == (False, False)
        await stack.enter_async_context(a_node(url_of(node), clock=clock))
        await until(lambda: node.sessions.nodes)
        await clock.advance(READY_CHECK_AGAIN_S * READY_CHECK_JITTER[1])
        assert (await check.result()).is_ready


async def test_who_had_company_and_lost_it_is_not_alone(clock: Time) -> None:
    async with a_node(clock=clock) as node:
        check = ReadyCheck(node)
        assert (await check.result()).is_alone
        async with a_node(url_of(node), clock=clock) as other:
            await until(lambda: node.is_joined and other.is_joined)
        await until(lambda: not node.sessions.nodes)
        await clock.advance(60, steps=60)
        await until(lambda: not len(node.engine.table))

        result = await check.result()

    assert (result.is_ready, result.is_alone) == (False, False)
    assert result.reason == "everybody it knew is gone"


async def test_who_cannot_be_dialled_now_is_silent_not_overloaded(node: Node) -> None:
    check = ReadyCheck(node)
    why = check._why(Failed(FailReason.BUSY))

    result = check._refused("stored", 0, 1, Counter({why: 1, "timeout": 1}))

    assert result.reason.startswith("no other node answers: 2 asked, 1 must")
    assert "check the network of this machine" in result.hint


async def test_who_may_not_join_is_told_by_whom_and_why(node: Node, clock: Time) -> None:
    async with a_node(url_of(node), clock=clock, network_key=bytes(32)) as stranger:
        result = await ReadyCheck(stranger).result()

    assert not result.is_ready
    assert url_of(node) in result.reason
    assert "did not prove who it is" in result.reason
    assert "the network key" in result.hint


async def test_who_knew_others_before_a_restart_is_not_alone_however_often_it_restarts(
    clock: Time, tmp_path: Path
) -> None:
    async with a_node(clock=clock, data=tmp_path) as node, a_node(url_of(node), clock=clock) as other:
        await until(lambda: node.is_joined and other.is_joined)
        await other.stop()
    for _ in range(2):
        async with a_node(clock=clock, data=tmp_path) as node:
            await until(lambda: not len(node.engine.table))
            result = await ReadyCheck(node).result()

            assert (result.is_ready, result.is_alone) == (False, False)
            assert result.reason == "none of the nodes that it knew before its start answers"
            assert "--bootstrap" in result.hint


async def test_a_check_under_way_ends_with_its_server(node: Node, holders: list[Holder]) -> None:
    for holder in holders:
        holder.store_answer = None
    check = ReadyCheck(node)
    asking = asyncio.ensure_future(check.result())
    await until(lambda: any(holder.stores for holder in holders))

    await check.close()
    await asyncio.wait((asking,))

    assert asking.cancelled()
    assert not node._pump._asked

"""Handing over at the end, in a bounded time; what else a node does as it leaves stands in test_node.py."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.igd import ROUTER, Igd
from tests.sessions.kit import Time, live_timers, turns, until
from yzdht import Node
from yzdht.kad.engine import KadEngine
from yzdht.leaving import step_down
from yzdht.limits import GOODBYE_S_MAX, LEAVE_S_MAX, LEAVE_TOLD_AFTER_S, STEP_DOWN_S_MAX
from yzdht.port_mapping import PortMapping
from yzdht.store.entropy import SystemRng


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


@pytest.fixture
async def clock() -> Time:
    return Time()


async def test_a_node_that_is_alone_leaves_at_once_and_says_nothing(clock: Time) -> None:
    events: list[dict[str, object]] = []
    async with Node(0, host=HOST, on_event=events.append, clock=clock) as node:
        await node.store("note", b"hello")
        before = clock.now().mono

    assert clock.now().mono - before < LEAVE_TOLD_AFTER_S
    assert events == []
    assert live_timers() == []


async def test_a_node_hands_over_for_so_long_and_says_so_after_a_second(
    clock: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        KadEngine, "leave", lambda _engine, _now: None
    )  # there is more than there is time for
    events: list[dict[str, object]] = []
    node = Node(0, host=HOST, on_event=events.append, clock=clock)
    await node.start()

    stopping = asyncio.ensure_future(node.stop())
    await until(lambda: not node._is_started)  # and handing over has begun in the same step
    assert events == []
    await clock.advance(LEAVE_TOLD_AFTER_S)
    assert events == [{"event": "leaving", "endsInS": LEAVE_S_MAX - LEAVE_TOLD_AFTER_S}]
    assert not stopping.done()
    with caplog.at_level(logging.WARNING, logger="yzdht.leaving"):
        await clock.advance(LEAVE_S_MAX)
        await until(stopping.done)

    assert "left before everything was handed over" in caplog.text
    assert "handed_over=0 missed=0 unread=0" in caplog.text
    assert len(events) == 1


async def mapped(node: Node, igd: Igd) -> None:
    """Have a port forwarded to a node."""
    router = PortMapping(node.port, SystemRng(), igd.ssdp_port)
    object.__setattr__(node.reach._look, "router", router)  # it asks for none on loopback
    nobody = 9  # speaks PCP there
    assert await router.keep((ROUTER, nobody)) is not None
    igd.gate.clear()


async def test_what_a_slow_router_was_asked_for_is_taken_back_at_the_end(clock: Time) -> None:
    events: list[dict[str, object]] = []
    async with Igd() as igd:
        node = Node(0, host=HOST, on_event=events.append, clock=clock)
        await node.start()
        await mapped(node, igd)

        stopping = asyncio.ensure_future(node.stop())
        await until(lambda: not node._is_started)
        await clock.advance(GOODBYE_S_MAX + 1, steps=10)
        assert not stopping.done()
        assert igd.table == {node.port: (ROUTER, node.port)}
        igd.gate.set()
        await until(stopping.done)

        assert igd.table == {}
        assert [event["event"] for event in events] == ["leaving"]


@pytest.mark.parametrize("is_hurried", [True, False])
async def test_a_router_that_says_nothing_at_the_end_is_left_in_time(
    clock: Time, caplog: pytest.LogCaptureFixture, *, is_hurried: bool
) -> None:
    async with Igd() as igd:
        node = Node(0, host=HOST, clock=clock)
        await node.start()
        await mapped(node, igd)
        stopping = asyncio.ensure_future(node.stop())
        await until(lambda: not node._is_started)

        if is_hurried:
            await node.stop()
        else:
            await clock.advance(LEAVE_S_MAX, steps=10)
        await until(stopping.done)

        assert stopping.exception() is None
        assert "handed_over" not in caplog.text
        assert live_timers() == []
        igd.gate.set()


async def test_a_node_that_steps_down_hands_over_and_goes_on_and_can_leave_later(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as one:
        await one.store("note", b"hello")
        async with Node(0, host=HOST, clock=clock) as two:
            await one.sessions.dial(f"ws://{HOST}:{two.port}", two.node_id)
            await until(lambda: one.engine.table.get(two.node_id) is not None)
            before = two.store_of_records.totals().records

            await step_down(one._pump, one.engine)

            assert two.store_of_records.totals().records > before
            assert one.engine.next_timer() is not None  # it looks after records again
            assert (await one.get("note")).data == b"hello"
            await one.stop()
            assert not one.is_running


async def test_stepping_down_ends_in_time_whatever_there_is_to_hand_over(
    clock: Time, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="yzdht.leaving"):
            patch.setattr(KadEngine, "leave", lambda _engine, _now: None)
            stepping = asyncio.ensure_future(step_down(node._pump, node.engine))
            await turns(3)
            await clock.advance(STEP_DOWN_S_MAX)
            await until(stepping.done)

    assert "client before everything was handed over" in caplog.text

"""How much all links together carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.sessions.kit import Party, Time, Village, turns, until
from yzdht.ids import Target
from yzdht.limits import BANDWIDTH_DEBT_S_MAX, BANDWIDTH_REST_S_MAX, SESSION_SILENT_S_MAX
from yzdht.rpc.bucket import Rate
from yzdht.rpc.engine import Answer
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.bandwidth import Meter
from yzdht.transport.memory import MemoryTransport
from yzdht.wire.rpc import Method, Store


if TYPE_CHECKING:
    from yzdht.sessions.connection import Connection


LINE = Rate(1_000.0, 1_000.0)


def test_a_burst_is_free_and_what_is_over_it_must_be_made_up_for() -> None:
    meter = Meter(LINE, 0.0)

    assert meter.carried(1_000, 1_000, 0.0) == 0.0
    assert meter.carried(500, 0, 0.0) == 0.5
    assert meter.carried(0, 0, 0.5) == 0.0


def test_each_direction_counts_for_itself() -> None:
    meter = Meter(LINE, 0.0)
    meter.carried(0, 2_000, 0.0)

    assert meter.carried(900, 0, 0.0) == 1.0


def test_nobody_is_unread_for_so_long_that_the_link_seems_dead() -> None:
    meter = Meter(LINE, 0.0)

    assert meter.carried(10**9, 0, 0.0) == BANDWIDTH_REST_S_MAX < SESSION_SILENT_S_MAX / 2


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=100))
def test_whoever_rests_as_told_keeps_the_rate(sizes: list[int]) -> None:
    meter, mono, carried = Meter(LINE, 0.0), 0.0, 0
    for size in sizes:
        mono += meter.carried(size, 0, mono)
        carried += size

        assert carried <= LINE.burst + mono * LINE.per_s + 1e-6


def test_a_debt_is_forgotten_at_some_point() -> None:
    meter = Meter(LINE, 0.0)
    meter.carried(10**9, 0, 0.0)

    assert meter.carried(0, 0, BANDWIDTH_DEBT_S_MAX) == pytest.approx(0.0)


async def test_who_sends_more_than_the_line_carries_waits_and_nothing_is_lost(
    village: Village, clock: Time
) -> None:
    server = await village.party("server", bounds=SessionBounds(bandwidth_bytes_per_s=200_000))
    greedy = await village.party("greedy")
    await greedy.answer_to(greedy.ask(server.contact))
    began = clock.now().mono
    body = Store(Target(bytes(32)), bytes(60_000))

    calls = [greedy.ask(server.contact, Method.STORE, body, timeout_s=600.0) for _ in range(20)]
    while not all(call in greedy.answers for call in calls):
        await clock.advance(0.05)
        await turns(5)

    assert all(isinstance(greedy.answers[call], Answer) for call in calls)
    assert clock.now().mono - began > (20 * 60_000 - 2 * 200_000) / 200_000
    assert server.counters.get("rate_limited", "bandwidth") > 0
    assert len(server.sessions) == 1


async def test_a_newcomer_is_proved_and_served_while_the_line_is_full(village: Village, clock: Time) -> None:
    server = await village.party("server", bounds=SessionBounds(bandwidth_bytes_per_s=50_000))
    greedy = await village.party("greedy")
    body = Store(Target(bytes(32)), bytes(60_000))
    for _ in range(20):
        greedy.ask(server.contact, Method.STORE, body, timeout_s=600.0)
    await until(lambda: server.counters.get("rate_limited", "bandwidth"))
    newcomer = Party(clock, MemoryTransport(village.network, "newcomer"))
    village.parties.append(newcomer)

    opened: Connection = await newcomer.sessions.dial(server.url)
    call = newcomer.ask(server.contact, timeout_s=60.0)
    while call not in newcomer.answers:
        await clock.advance(0.1)
        await turns(5)

    assert opened.peer is not None
    assert isinstance(newcomer.answers[call], Answer)

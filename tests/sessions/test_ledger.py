"""What all sessions hold together, and who has to go."""

from __future__ import annotations

import pytest

from tests.sessions.kit import Village, session_with, turns, until
from tests.sessions.proved import connection
from tests.sessions.test_connection import ASK, answer_much
from yzdht.ids import Target
from yzdht.limits import (
    HALF_OPEN_MAX,
    HELD_BYTES_MAX,
    HELD_BYTES_PER_GET,
    HELD_BYTES_STEP,
    HISTORY_QUEUE_BYTES_MAX,
    IDLE_SESSION_BYTES,
    LINK_UNSENT_BYTES_MAX,
    LINKS_WAITING_MAX,
    MESSAGE_BYTES_MAX,
    OPENING_BYTES_MAX,
    OPENINGS_MAX,
    SESSION_SILENT_S_MAX,
    SESSIONS_MAX,
    SESSIONS_MAX_COMMUNITY,
    STORE_QUEUE_BYTES_MAX,
    TLS_LINK_BYTES,
    WEBSOCKET_MESSAGE_BYTES_MAX,
    WEBSOCKET_PING_EVERY_S,
    WEBSOCKET_PINGS_AT_ONCE,
    WEBSOCKET_PONG_BYTES_MAX,
)
from yzdht.rpc.engine import Answer
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.ledger import Ledger
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import Get, Method, Status, Store


@pytest.mark.parametrize(("sessions", "megabytes"), [(SESSIONS_MAX, 590), (SESSIONS_MAX_COMMUNITY, 330)])
def test_the_sum_of_all_bounds_is_what_a_small_machine_has(sessions: int, megabytes: int) -> None:
    unproved = HALF_OPEN_MAX + LINKS_WAITING_MAX + OPENINGS_MAX
    pongs = WEBSOCKET_PONG_BYTES_MAX * (
        WEBSOCKET_PINGS_AT_ONCE + SESSION_SILENT_S_MAX / WEBSOCKET_PING_EVERY_S
    )
    total = (
        sessions * (IDLE_SESSION_BYTES + HELD_BYTES_STEP)
        + sessions * (WEBSOCKET_MESSAGE_BYTES_MAX + pongs)
        + unproved * (IDLE_SESSION_BYTES + OPENING_BYTES_MAX)
        + HELD_BYTES_MAX
        + LINK_UNSENT_BYTES_MAX
        + MESSAGE_BYTES_MAX
        + STORE_QUEUE_BYTES_MAX
        + HISTORY_QUEUE_BYTES_MAX
    )

    assert total < megabytes * 1_000_000


@pytest.mark.parametrize(("sessions", "megabytes"), [(SESSIONS_MAX, 329), (SESSIONS_MAX_COMMUNITY, 113)])
def test_what_tls_adds_to_that_is_bounded_too(sessions: int, megabytes: int) -> None:
    links = sessions + HALF_OPEN_MAX + LINKS_WAITING_MAX + OPENINGS_MAX

    assert links * TLS_LINK_BYTES < megabytes * 1_000_000


# The sum


async def test_whoever_holds_most_goes_once_all_together_hold_too_much() -> None:
    ledger = Ledger(1_000)
    small, large = connection("8.8.8.8"), connection("9.9.9.9")
    small._open_bytes, large._open_bytes = 300, 700
    ledger.weigh(small, 300)
    ledger.weigh(large, 700)
    assert ledger.greediest() is None

    small._open_bytes = 301
    ledger.weigh(small, 301)

    assert ledger.greediest() is large
    assert ledger.total == 301


async def test_what_was_sent_meanwhile_counts_no_more() -> None:
    ledger = Ledger(1_000)
    ledger.weigh(connection("8.8.8.8"), 2_000)

    assert ledger.greediest() is None
    assert ledger.total == 0


async def test_who_has_no_more_than_its_part_is_never_over_it() -> None:
    ledger = Ledger(1_000)
    small, large = connection("8.8.8.8"), connection("9.9.9.9")
    ledger.weigh(small, 200)
    assert not ledger.is_over_its_part(small)

    ledger.weigh(large, 400)

    assert ledger.is_over_its_part(large)
    assert not ledger.is_over_its_part(small)


# On sessions


async def test_messages_that_are_never_finished_cost_their_senders_the_session_and_nobody_else(
    village: Village,
) -> None:
    bound = 4 * MESSAGE_BYTES_MAX
    server = await village.party("server", bounds=SessionBounds(held_bytes_max=bound))
    honest = await village.party("honest")
    crowd = [await village.party(f"liar {number}") for number in range(8)]
    for liar in crowd:
        await liar.answer_to(liar.ask(server.contact))
        near = session_with(liar.sessions, server.node_id)
        assert near is not None
        assert near.session is not None
        for _ in range(60):
            near.session._send_record(RecordType.REQUEST, bytes(16_000), near._clock.now().mono, more=True)
        near._pump()
        await turns(5)
        assert server.sessions.held_bytes <= bound
        assert isinstance(await honest.answer_to(honest.ask(server.contact)), Answer)

    assert server.counters.get("rate_limited", "memory_shed") >= 3
    await until(lambda: sum(len(liar.sessions) for liar in crowd) <= 5)


async def test_peers_that_do_not_read_are_refused_and_shed_before_they_hold_too_much(
    village: Village,
) -> None:
    bound = 2 << 20
    server = await village.party("server", bounds=SessionBounds(held_bytes_max=bound))
    server.on_asked = answer_much
    honest = await village.party("honest")
    await honest.answer_to(honest.ask(server.contact))
    for number in range(12):
        slow = await village.party(f"slow {number}")
        await slow.answer_to(slow.ask(server.contact))
        near = session_with(slow.sessions, server.node_id)
        assert near is not None
        near.link.pause_reading()
        for _ in range(20):
            slow.ask(server.contact, Method.FIND_VALUE, ASK, timeout_s=600.0)
        await turns(10)
        assert server.sessions.held_bytes <= bound

        assert isinstance(await honest.answer_to(honest.ask(server.contact)), Answer)


async def test_open_requests_are_refused_to_who_has_many_while_others_are_served(village: Village) -> None:
    server = await village.party("server", bounds=SessionBounds(held_bytes_max=40 * HELD_BYTES_PER_GET))
    server.on_asked = lambda *_: None  # it takes long
    greedy, honest = await village.party("greedy"), await village.party("honest")

    calls = [greedy.ask(server.contact, Method.GET, Get(Target(bytes(32)))) for _ in range(60)]
    await until(lambda: len(greedy.answers) > 30)
    await turns(10)

    refusals = [greedy.answers[call] for call in calls if call in greedy.answers]
    assert {r.status for r in refusals if isinstance(r, Answer)} == {Status.BUSY}
    assert server.counters.get("rate_limited", "memory") == len(refusals)
    assert len(greedy.sessions) == 1
    honest.ask(server.contact, Method.STORE, Store(Target(bytes(32)), bytes(60_000)))
    await until(lambda: any(method is Method.STORE for _, _, method, _ in server.requests))

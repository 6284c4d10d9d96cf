"""One channel and the session on it, above all with a peer that does not read."""

from __future__ import annotations

import asyncio
import tracemalloc
from math import inf
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import CLIENT, NODE, Party, Time, Village, session_with, turns, until
from yzdht.errors import StoreError
from yzdht.ids import PublicKey, SendSession, Target, TopicId
from yzdht.limits import (
    CALLS_IN_FLIGHT_MAX,
    CALLS_WAITING_MAX,
    DEFERRED_REQUESTS_BYTES_MAX,
    DEFERRED_REQUESTS_MAX,
    FLOW_REQUESTS_LIGHT,
    HANDSHAKE_MESSAGES_PER_LOOP_TURN,
    HANDSHAKE_TIMEOUT_S,
    HELD_BYTES_PER_GET,
    HELD_BYTES_PER_REQUEST,
    RECORD_BYTES_MAX,
    REQUESTS_OPEN_MAX,
)
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.memory import MemoryLink, MemoryTransport
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.rpc import (
    Backlog,
    Body,
    Empty,
    FindValue,
    FoundValue,
    Get,
    Method,
    Publish,
    Range,
    Status,
    Store,
    Subscribe,
    Subscribed,
    SummaryRow,
    TopicSync,
    Unsubscribe,
    decode_body,
    encode_body,
    encode_request,
    held_bytes_of,
)


if TYPE_CHECKING:
    from yzdht.sessions.connection import Connection


BIG = FoundValue((b"r" * 60_000,))
ASK = FindValue(Target(bytes(32)))
STALLED_S = 20.0


def answer_much(connection: Connection, number: int, method: Method, _body: Body) -> None:
    connection.reply(number, Status.OK, BIG if method is Method.FIND_VALUE else Empty())


async def connected(village: Village) -> tuple[Party, Party, Connection, Connection]:
    """Who asks, who answers much, and their two connections."""
    asker, server = await village.pair()
    server.on_asked = answer_much
    await asker.answer_to(asker.ask(server.contact))
    near = session_with(asker.sessions, server.node_id)
    far = session_with(server.sessions, asker.node_id)
    assert near is not None
    assert far is not None
    return asker, server, near, far


def unsent(connection: Connection) -> int:
    assert isinstance(connection.link, MemoryLink)
    return connection.link.unsent_bytes


async def test_a_peer_that_asks_and_does_not_read_is_served_no_more_until_it_does(village: Village) -> None:
    asker, server, near, far = await connected(village)
    bounds = LinkBounds()
    near.link.pause_reading()

    calls = [asker.ask(server.contact, Method.FIND_VALUE, ASK, timeout_s=60.0) for _ in range(100)]
    await turns(20)

    assert far.link.is_congested
    assert unsent(far) < bounds.unsent_bytes_high + 100_000
    served = len(server.requests)
    assert served < 10

    near.link.resume_reading()
    outcomes = [await asker.answer_to(call) for call in calls]
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert len(server.requests) == 101


async def test_reads_that_wait_weigh_as_much_as_was_sent_and_what_they_may_find_only_when_they_are_served(
    village: Village,
) -> None:
    asker, server, near, far = await connected(village)
    near.link.pause_reading()
    while not far.link.is_congested:
        asker.ask(server.contact, Method.FIND_VALUE, ASK, timeout_s=60.0)
        await turns(1)
    server.on_asked = lambda *_: None  # it takes long
    before = far.held_bytes

    for _ in range(50):
        asker.ask(server.contact, Method.GET, Get(ASK.target), timeout_s=60.0)
    await until(lambda: len(far._deferred) >= 50)
    assert far.held_bytes - before <= 51 * HELD_BYTES_PER_REQUEST

    near.link.resume_reading()
    await until(lambda: not len(far._deferred))
    assert far.held_bytes >= 50 * HELD_BYTES_PER_GET


async def test_what_a_session_asks_about_one_topic_too_often_is_overtaken_by_the_rest_and_all_of_it_is_served(
    village: Village,
) -> None:
    asker, server, _, _ = await connected(village)
    flooded, other = TopicId(b"f" * 16), TopicId(b"o" * 16)
    server.on_asked = lambda connection, number, _method, _body: connection.reply(
        number, Status.OK, Subscribed()
    )

    def ask(topic: TopicId, number: int) -> int:
        return asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(topic, skip=number))

    for number in range(FLOW_REQUESTS_LIGHT):
        await asker.answer_to(ask(flooded, number))
    calls = [ask(flooded, FLOW_REQUESTS_LIGHT + number) for number in range(50)]
    calls.append(ask(other, 0))
    for call in calls:
        assert isinstance(await asker.answer_to(call), Answer)

    served = [(body.topic, body.skip) for *_, body in server.requests if isinstance(body, Subscribe)]
    assert served.index((other, 0)) < FLOW_REQUESTS_LIGHT + 25
    served.remove((other, 0))
    assert served == [(flooded, number) for number in range(FLOW_REQUESTS_LIGHT + 50)]


async def test_requests_about_one_topic_stay_in_order_when_it_is_no_longer_asked_about_too_often(
    village: Village,
) -> None:
    asker, server, _, far = await connected(village)
    flooded = TopicId(b"f" * 16)
    server.on_asked = lambda connection, number, *_: connection.reply(number, Status.OK, Empty())
    flows = server.sessions._flows
    for _ in range(FLOW_REQUESTS_LIGHT):
        flows.count(flooded, village.clock.now().mono)

    asks: list[tuple[Method, Body]] = [
        (Method.SUBSCRIBE, Subscribe(flooded, skip=number)) for number in range(40)
    ]
    asks[20:20] = [(Method.UNSUBSCRIBE, Unsubscribe(flooded))]
    calls = [asker.ask(server.contact, method, body) for method, body in asks[:30]]
    await until(lambda: len(far._deferred) > 10)
    flows._ends_at = -inf  # two windows are over
    assert not flows.is_busy(flooded, village.clock.now().mono)
    calls += [asker.ask(server.contact, method, body) for method, body in asks[30:]]
    for call in calls:
        assert isinstance(await asker.answer_to(call), Answer)

    assert [(method, body) for _, _, method, body in server.requests if method is not Method.PING] == asks


async def test_who_asks_much_about_many_things_has_what_goes_after_others_served_as_well(
    village: Village,
) -> None:
    asker, server, _, _ = await connected(village)
    flooded = TopicId(b"f" * 16)
    server.on_asked = lambda connection, number, *_: connection.reply(number, Status.OK, Empty())
    for _ in range(FLOW_REQUESTS_LIGHT):
        server.sessions._flows.count(flooded, village.clock.now().mono)

    late = [asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded)) for _ in range(10)]
    for _ in range(100):
        for _ in range(6):
            asker.ask(server.contact)
        await turns(1)
    assert all(call in asker.answers for call in late)


async def flooded_server(village: Village, topic: TopicId) -> tuple[Party, Party, Connection]:
    """Who asks, a server at which a crowd waits that asks about a topic on and on, and its connection with the first."""
    asker, server, _, far = await connected(village)
    server.on_asked = lambda connection, number, *_: connection.reply(number, Status.OK, Empty())
    flows = server.sessions._flows
    for _ in range(FLOW_REQUESTS_LIGHT):
        flows.count(topic, village.clock.now().mono)
    return asker, server, far


async def test_too_much_about_a_flooded_topic_is_answered_busy_and_the_rest_of_the_session_goes_on(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooded, other = TopicId(b"f" * 16), TopicId(b"o" * 16)
    asker, server, far = await flooded_server(village, flooded)
    server.sessions._flows.count(other, village.clock.now().mono)
    lines = server.sessions.request_turns
    is_now = lines.is_now
    monkeypatch.setattr(
        lines, "is_now", lambda comer, *, is_busy=False: not is_busy and is_now(comer, is_busy=is_busy)
    )  # the crowd never ends, and none of its turns is this session's
    flood = [
        asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded, skip=number), timeout_s=600.0)
        for number in range(CALLS_IN_FLIGHT_MAX - 10)
    ]
    leaving = asker.ask(server.contact, Method.UNSUBSCRIBE, Unsubscribe(flooded), timeout_s=600.0)
    await until(lambda: len(far._deferred) == DEFERRED_REQUESTS_MAX + 1)
    calls = [asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(other)), server.ask(asker.contact)]
    assert isinstance(await asker.answer_to(calls[0]), Answer)
    assert isinstance(await server.answer_to(calls[1]), Answer)

    busy = [call for call in flood if call in asker.answers]
    assert busy == flood[DEFERRED_REQUESTS_MAX:]
    for call in busy:
        outcome = asker.answers[call]
        assert isinstance(outcome, Answer)
        assert outcome.status is Status.BUSY
    assert leaving not in asker.answers
    monkeypatch.undo()
    for _ in range(DEFERRED_REQUESTS_MAX + 1):
        far.serve_next(is_busy=True)
    for call in (*flood[:DEFERRED_REQUESTS_MAX], leaving):
        outcome = await asker.answer_to(call)
        assert isinstance(outcome, Answer)
        assert outcome.status is Status.OK


@pytest.mark.parametrize(("is_known", "caps"), [(True, NODE), (False, NODE), (True, CLIENT)])
async def test_only_what_a_node_of_the_table_asks_about_a_flooded_topic_goes_before_most_of_a_crowd(
    village: Village, *, is_known: bool, caps: Caps
) -> None:
    flooded = TopicId(b"f" * 16)
    server = await village.party("server")
    asker = await village.party("asker", caps=caps)
    crowd = [await village.party(f"crowd {number}") for number in range(30)]
    for each in (asker, *crowd):
        assert isinstance(await each.answer_to(each.ask(server.contact)), Answer)
    server.known = {asker.node_id} if is_known else set()
    server.requests.clear()
    for _ in range(FLOW_REQUESTS_LIGHT):
        server.sessions._flows.count(flooded, village.clock.now().mono)

    for _ in range(10):
        for each in crowd:
            each.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded))
    calls = [asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded)) for _ in range(5)]
    for call in calls:
        await asker.answer_to(call)
    before = [connection.peer for connection, *_ in server.requests]
    last = max(place for place, peer in enumerate(before) if peer and peer.node_id == asker.node_id)
    is_favoured = is_known and caps == NODE
    assert (last < 2 * len(crowd)) is is_favoured, last


async def test_a_node_that_dials_again_and_again_has_one_place_among_the_nodes_of_the_table(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooded = TopicId(b"f" * 16)
    asker, server, far = await flooded_server(village, flooded)
    server.known = {asker.node_id}
    lines = server.sessions.request_turns
    monkeypatch.setattr(lines, "is_now", lambda _comer, *, is_busy=False: not is_busy)
    assert server.sessions._is_known(far)
    for _ in range(3):
        asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded), timeout_s=60.0)
    await until(lambda: len(far._deferred) == 3)

    again = await village.party("again", identity=asker.identity)
    again.ask(server.contact)
    await until(lambda: far.is_retired)
    of_asker = [each for each in server.sessions._all if each.peer and each.peer.node_id == asker.node_id]
    assert far in of_asker
    assert [each.is_retired for each in of_asker if server.sessions._is_known(each)] == [False]


async def test_large_summaries_about_a_flooded_topic_wait_unread_where_too_much_of_it_waits(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooded = TopicId(b"f" * 16)
    asker, server, far = await flooded_server(village, flooded)
    monkeypatch.setattr(server.sessions.request_turns, "is_now", lambda _comer, *, is_busy=False: not is_busy)
    rows = tuple(
        SummaryRow(
            PublicKey(bytes(33)), SendSession(number.to_bytes(8)), 0, 70_000, tuple(range(1_000, 1_064))
        )
        for number in range(256)
    )
    calls = [
        asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded, rows), timeout_s=60.0)
        for _ in range(20)
    ]
    await turns(100)

    assert not any(call in asker.answers for call in calls)
    assert 2 <= len(far._deferred) < 8  # what came with the same read
    waiting = len(far._deferred)
    far.serve_next(is_busy=True)
    await turns(50)
    assert len(far._deferred) <= waiting + 1
    for _ in range(40):
        far.serve_next(is_busy=True)
        await turns(10)
    assert all(call in asker.answers for call in calls)


async def test_who_floods_a_topic_and_does_not_read_is_not_read_and_told_nothing(village: Village) -> None:
    flooded = TopicId(b"f" * 16)
    asker, server, far = await flooded_server(village, flooded)
    server.on_asked = answer_much
    near = session_with(asker.sessions, server.node_id)
    assert near is not None
    near.link.pause_reading()
    while not far.link.is_congested:
        asker.ask(server.contact, Method.FIND_VALUE, ASK, timeout_s=60.0)
        await turns(1)
    assert near.session is not None
    before = unsent(far)
    for number in range(4 * CALLS_IN_FLIGHT_MAX):
        near.session._send_message(
            *request(number + 1_000, Method.SUBSCRIBE, Subscribe(flooded)), near._clock.now().mono
        )
        near._pump()
        await turns(1)

    assert DEFERRED_REQUESTS_MAX <= len(far._deferred) <= REQUESTS_OPEN_MAX
    assert unsent(far) <= before + 60_000  # of what was under way


@pytest.mark.parametrize("is_flooded", [False, True])
async def test_a_session_that_ends_while_its_requests_wait_leaves_nothing(
    village: Village, *, is_flooded: bool
) -> None:
    topic = TopicId(b"f" * 16)
    asker, server, far = await flooded_server(village, topic)
    near = session_with(asker.sessions, server.node_id)
    assert near is not None
    if not is_flooded:
        server.sessions._flows._now.clear()
    for number in range(60):
        asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(topic, skip=number))
    await until(lambda: len(far._deferred) > 20)
    near.link.abort()
    await until(lambda: not len(server.sessions))

    assert len(far._deferred) == far.held_bytes == 0
    assert len(server.sessions.request_turns) == 0


def weighed(*, rows: int, holes: int) -> int:
    """Bytes that a summary of these takes once it is decoded, as Python counts them."""
    summary = tuple(
        SummaryRow(
            PublicKey(bytes(29) + number.to_bytes(4)),
            SendSession(number.to_bytes(8)),
            1_000,
            70_000,
            tuple(range(1_000 + 1_000 * number, 1_000 + 1_000 * number + holes)),
        )
        for number in range(rows)
    )
    data = encode_body(Subscribe(TopicId(bytes(16)), summary))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        body = decode_body(data, Subscribe)
        assert body.summary == summary
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("rows", "holes"), [(0, 0), (256, 0), (256, 64), (1, 64)])
def test_what_waits_is_charged_what_it_takes(rows: int, holes: int) -> None:
    summary = (SummaryRow(PublicKey(bytes(33)), SendSession(bytes(8)), 0, 1, tuple(range(holes))),) * rows
    for body in (Subscribe(TopicId(bytes(16)), summary), TopicSync(TopicId(bytes(16)), summary)):
        assert held_bytes_of(body) >= 0.95 * weighed(rows=rows, holes=holes)
        assert held_bytes_of(body) <= HELD_BYTES_PER_REQUEST + 1.5 * weighed(rows=rows, holes=holes)


def test_messages_records_and_ranges_that_wait_are_charged_too() -> None:
    topic = TopicId(bytes(16))
    ranges = (Range(PublicKey(bytes(33)), SendSession(bytes(8)), 0, 1),) * 256
    assert held_bytes_of(Publish(bytes(60_000), policy=bytes(500))) == HELD_BYTES_PER_REQUEST + 60_500
    assert held_bytes_of(Store(ASK.target, bytes(60_000))) == HELD_BYTES_PER_REQUEST + 60_000
    assert held_bytes_of(Backlog(topic, ranges)) > 256 * 250
    assert held_bytes_of(Unsubscribe(topic)) == HELD_BYTES_PER_REQUEST


async def test_a_session_with_large_summaries_that_wait_is_not_read_on(village: Village) -> None:
    asker, server, far = await flooded_server(village, TopicId(b"f" * 16))
    near = session_with(asker.sessions, server.node_id)
    assert near is not None
    server.on_asked = answer_much
    near.link.pause_reading()
    while not far.link.is_congested:
        asker.ask(server.contact, Method.FIND_VALUE, ASK, timeout_s=60.0)
        await turns(1)
    rows = tuple(
        SummaryRow(
            PublicKey(bytes(33)), SendSession(number.to_bytes(8)), 0, 70_000, tuple(range(1_000, 1_064))
        )
        for number in range(256)
    )
    for _ in range(20):
        asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(TopicId(b"o" * 16), rows), timeout_s=60.0)
        await turns(5)

    assert DEFERRED_REQUESTS_BYTES_MAX <= far._deferred._others.size < 4 * DEFERRED_REQUESTS_BYTES_MAX
    assert far.held_bytes > DEFERRED_REQUESTS_BYTES_MAX


async def test_a_peer_that_never_reads_is_closed_as_stalled_and_others_are_served_meanwhile(
    village: Village, clock: Time
) -> None:
    asker, server, near, far = await connected(village)
    other = await village.party("other")
    near.link.pause_reading()
    for _ in range(50):
        asker.ask(server.contact, Method.FIND_VALUE, ASK, timeout_s=600.0)
    await turns(20)
    assert far.link.is_congested

    for _ in range(4):
        await clock.advance(STALLED_S / 4)
        outcome = await other.answer_to(other.ask(server.contact, Method.FIND_VALUE, ASK))
        assert isinstance(outcome, Answer)
    await until(lambda: len(server.sessions) == 1)

    near.link.resume_reading()
    await until(lambda: len(asker.sessions) == 0)
    assert server.downs() == 1


async def test_a_peer_that_floods_and_does_not_read_costs_bounded_memory(village: Village) -> None:
    _, server, near, far = await connected(village)
    assert near.session is not None
    near.link.pause_reading()
    bounds = LinkBounds()
    most = 0
    body = Store(Target(bytes(32)), bytes(RECORD_BYTES_MAX))

    for number in range(4 * CALLS_IN_FLIGHT_MAX):
        # More requests than an honest end has in flight.
        near.session._send_message(*request(number + 1_000, Method.FIND_VALUE, ASK), near._clock.now().mono)
        near.session._send_message(*request(number + 9_000, Method.STORE, body), near._clock.now().mono)
        near._pump()
        await turns(1)
        most = max(most, far._deferred._others.size)

    assert most >= DEFERRED_REQUESTS_BYTES_MAX
    assert most < DEFERRED_REQUESTS_BYTES_MAX + REQUESTS_OPEN_MAX * 256 + RECORD_BYTES_MAX + 256
    assert len(far._deferred) <= REQUESTS_OPEN_MAX
    assert unsent(far) <= bounds.unsent_bytes_max
    assert len(server.requests) < 20


def request(number: int, method: Method, body: Body) -> tuple[RecordType, bytes]:
    return RecordType.REQUEST, encode_request(number, method, encode_body(body))


async def test_calls_to_a_peer_that_does_not_read_wait_bounded_then_fail_as_busy(village: Village) -> None:
    asker, server, near, far = await connected(village)
    far.link.pause_reading()
    big = Store(Target(bytes(32)), bytes(RECORD_BYTES_MAX))
    sent = []
    while not near.link.is_congested:
        sent.append(asker.ask(server.contact, Method.STORE, big, timeout_s=60.0))
    waiting = [asker.ask(server.contact, timeout_s=60.0) for _ in range(CALLS_WAITING_MAX)]

    refused = asker.ask(server.contact)
    assert await asker.answer_to(refused) == Failed(FailReason.BUSY)
    assert not near.is_idle
    given_up = waiting.pop()
    asker.sessions.cancel(given_up)

    far.link.resume_reading()
    for call in sent:
        assert isinstance(await asker.answer_to(call), Answer)
    await until(lambda: all(call in asker.answers for call in waiting))
    assert given_up not in asker.answers
    outcomes = [asker.answers[call] for call in waiting]
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) >= CALLS_IN_FLIGHT_MAX
    assert {o.reason for o in outcomes if isinstance(o, Failed)} <= {FailReason.BUSY}


async def test_calls_that_wait_for_a_peer_to_read_fail_when_it_goes(village: Village) -> None:
    asker, server, near, far = await connected(village)
    far.link.pause_reading()
    big = Store(Target(bytes(32)), bytes(RECORD_BYTES_MAX))
    calls = []
    while not near.link.is_congested:
        calls.append(asker.ask(server.contact, Method.STORE, big, timeout_s=60.0))
    calls += [asker.ask(server.contact, timeout_s=60.0) for _ in range(10)]

    far.link.abort()

    for call in calls:
        assert await asker.answer_to(call) == Failed(FailReason.CLOSED)
    assert len(asker.sessions) == 0


async def test_more_calls_than_fit_in_flight_wait_and_are_all_answered(village: Village) -> None:
    asker, server, _, _ = await connected(village)
    calls = [asker.ask(server.contact, timeout_s=60.0) for _ in range(4 * CALLS_IN_FLIGHT_MAX)]

    for call in calls:
        assert isinstance(await asker.answer_to(call), Answer)


async def test_a_call_that_waits_for_others_fails_at_its_own_deadline(village: Village, clock: Time) -> None:
    asker, server, _, _ = await connected(village)
    server.on_asked = lambda *_: None
    for _ in range(CALLS_IN_FLIGHT_MAX):
        asker.ask(server.contact, timeout_s=60.0)
    waiting = asker.ask(server.contact, timeout_s=3.0)
    await clock.advance(3.0)

    assert await asker.answer_to(waiting) == Failed(FailReason.TIMEOUT)


async def test_more_calls_than_may_wait_fail_as_busy(village: Village) -> None:
    asker, server, _, _ = await connected(village)
    server.on_asked = lambda *_: None
    calls = [
        asker.ask(server.contact, timeout_s=60.0) for _ in range(CALLS_IN_FLIGHT_MAX + CALLS_WAITING_MAX + 1)
    ]

    assert await asker.answer_to(calls[-1]) == Failed(FailReason.BUSY)
    assert not any(call in asker.answers for call in calls[:-1])


async def test_a_call_without_an_answer_fails_at_its_deadline(village: Village, clock: Time) -> None:
    asker, server, _, _ = await connected(village)
    server.on_asked = lambda *_: None
    quick = asker.ask(server.contact, timeout_s=3.0)
    slow = asker.ask(server.contact, timeout_s=9.0)

    await clock.advance(3.0)

    assert await asker.answer_to(quick) == Failed(FailReason.TIMEOUT)
    assert slow not in asker.answers
    await clock.advance(6.0)
    assert await asker.answer_to(slow) == Failed(FailReason.TIMEOUT)
    assert len(asker.sessions) == 1


async def test_a_late_answer_is_dropped(village: Village, clock: Time) -> None:
    asker, server, near, far = await connected(village)
    server.on_asked = lambda *_: None
    call = asker.ask(server.contact, timeout_s=3.0)
    await until(lambda: len(server.requests) == 2)
    await clock.advance(3.0)
    await asker.answer_to(call)

    far.reply(server.requests[1][1], Status.OK, Empty())
    server.on_asked = answer_much
    await asker.answer_to(asker.ask(server.contact))

    assert near.session is not None
    assert near.session.late_answers == 1
    assert asker.answers[call] == Failed(FailReason.TIMEOUT)


async def test_an_answer_from_within_the_request_s_own_event_is_sent(village: Village) -> None:
    """Sending from within an event must not enter the pump twice, nor lose what was said."""
    asker, server, _, _ = await connected(village)
    nested: list[int] = []

    def ask_back(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        nested.append(server.ask(asker.contact))
        connection.reply(number, Status.OK, Empty())

    server.on_asked = ask_back

    assert isinstance(await asker.answer_to(asker.ask(server.contact)), Answer)
    assert isinstance(await server.answer_to(nested[0]), Answer)


async def test_a_silent_peer_is_pinged_and_given_up(village: Village, clock: Time) -> None:
    _, server, near, far = await connected(village)
    near.link.pause_reading()

    await clock.advance(25.0)
    assert len(server.sessions) == 1
    await clock.advance(35.0)

    await until(lambda: len(server.sessions) == 0)
    assert far.is_idle
    near.link.resume_reading()


async def test_an_idle_session_is_kept_alive_by_pings(village: Village, clock: Time) -> None:
    asker, server, near, _ = await connected(village)
    asker.known.add(server.node_id)

    for _ in range(40):
        await clock.advance(25.0)
        await turns(10)

    assert len(asker.sessions) == len(server.sessions) == 1
    assert session_with(asker.sessions, server.node_id) is near


async def test_a_link_without_a_session_is_aborted(village: Village, clock: Time) -> None:
    low, _ = await village.pair()
    stranger = MemoryTransport(village.network, "stranger")
    reasons: list[str] = []

    class Deaf:
        def on_message(self, message: bytes) -> None:
            raise AssertionError("nothing was said to it")

        def on_writable(self) -> None:
            pass

        def on_closed(self, reason: str) -> None:
            reasons.append(reason)

    await stranger.dial(low.url, lambda _link: Deaf(), 1.0)
    await turns(3)
    assert len(low.sessions) == 1

    await clock.advance(HANDSHAKE_TIMEOUT_S)
    await until(lambda: reasons)

    assert low.counters.get("sessions_faulted", "handshake") == 1
    assert len(low.sessions) == 0


@pytest.mark.parametrize("message", [b"", b"\x01", b"x" * 39, bytes(5_000), b"\x03" + bytes(119)])
async def test_a_stranger_s_first_message_that_is_no_hello_ends_it_without_a_word(
    village: Village, message: bytes
) -> None:
    low, _ = await village.pair()
    heard: list[bytes] = []
    gone = asyncio.Event()

    class Rude:
        def on_message(self, message: bytes) -> None:
            heard.append(message)

        def on_writable(self) -> None:
            pass

        def on_closed(self, reason: str) -> None:
            gone.set()

    link = await MemoryTransport(village.network, "stranger").dial(low.url, lambda _link: Rude(), 1.0)
    link.send(message)
    await gone.wait()

    assert heard == []
    assert low.counters.get("sessions_faulted", "handshake") == 1


# Handshakes in turns


def strangers(village: Village, clock: Time) -> list[Party]:
    """More than one turn of the loop shakes hands with."""
    comers = [
        Party(clock, MemoryTransport(village.network, f"8.8.{number}.8"))
        for number in range(3 * HANDSHAKE_MESSAGES_PER_LOOP_TURN)
    ]
    village.parties += comers
    return comers


async def test_many_that_come_at_once_all_get_in_and_may_ask_before_they_are_told_so(
    village: Village, clock: Time
) -> None:
    node = await village.party("node")
    comers = strangers(village, clock)
    calls = [[comer.ask(node.contact) for _ in range(3)] for comer in comers]

    for comer, numbers in zip(comers, calls, strict=True):
        for number in numbers:
            assert isinstance(await comer.answer_to(number), Answer)
    assert len(node.sessions) == len(comers)


async def test_who_leaves_before_its_turn_is_forgotten(village: Village, clock: Time) -> None:
    node = await village.party("node")
    comers = strangers(village, clock)
    for comer in comers:
        comer.ask(node.contact)
    await turns(2)
    for comer in comers:
        await comer.sessions.close()
    await turns(20)

    assert len(node.sessions) == 0
    assert node.failed_tasks == []


async def test_what_goes_wrong_with_one_request_that_waited_does_not_keep_those_behind_it(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooded = TopicId(b"f" * 16)
    asker, server, far = await flooded_server(village, flooded)
    monkeypatch.setattr(server.sessions.request_turns, "is_now", lambda _comer, *, is_busy=False: not is_busy)
    calls = [asker.ask(server.contact, Method.SUBSCRIBE, Subscribe(flooded, skip=skip)) for skip in range(3)]
    await until(lambda: len(far._deferred) == 3)
    answer = server.on_asked

    def fail(*_: object) -> None:
        raise StoreError("the disk is gone")

    server.on_asked = fail
    with pytest.raises(StoreError):
        far.serve_next(is_busy=True)
    server.on_asked = answer
    for call in calls[1:]:
        assert isinstance(await asker.answer_to(call), Answer)

"""An engine, a store and sessions over memory links, joined by nothing but the pump."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import NODE, Party, Time, Village, live_timers, turns, until
from tests.sim.authors import WALL, NullChecks, Pen
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.ids import Target, TopicId
from yzdht.kad.contacts import Own
from yzdht.kad.engine import KadEngine
from yzdht.limits import OWN_OPERATIONS_AT_ONCE
from yzdht.pump import Pump
from yzdht.rpc.engine import Answer
from yzdht.sessions import Sessions
from yzdht.sessions.world import World
from yzdht.store.entropy import SystemRng
from yzdht.store.keyfile import Identity
from yzdht.store.memory import MemoryStore
from yzdht.telemetry import Telemetry
from yzdht.transport.memory import MemoryNetwork, MemoryTransport
from yzdht.wire.address import Contact
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    Body,
    Empty,
    FindNode,
    FoundNodes,
    FoundValue,
    Get,
    Got,
    Method,
    Publish,
    Redeem,
    Status,
    Subscribe,
    Unsubscribe,
    WhoAmI,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.sessions.connection import Connection
    from yzdht.wire.slot import Verdict


NOTE = Pen(1).mutable("note", 7, b"hello")
URL = "memory://pumped"


class Pumped:
    """What a node is, without files, sockets and tasks."""

    def __init__(self, clock: Time, network: MemoryNetwork) -> None:
        identity = Identity.generate()
        self.node_id = identity.node_id
        self.contact = Contact(identity.node_id, identity.public_key, (URL,), NODE)
        self.counters = Telemetry()
        self.known: list[int] = []
        self.store = MemoryStore(self._on_verdicts, asyncio.get_running_loop().call_soon)
        checks = NullChecks(network_id("sim"))
        self.engine = KadEngine(Own(self.contact), self.store, checks, SystemRng())
        self.pump = Pump(self.engine, self.store, clock, self.counters, self.known.append)
        credentials = Credentials(identity.signer, network_id("main"), NODE)
        world = World(credentials, [MemoryTransport(network, "pumped")], clock, self.counters)
        self.sessions = self.pump.sessions = Sessions(world, self.pump)

    def _on_verdicts(self, answers: list[tuple[int, Verdict]]) -> None:
        self.pump.on_verdicts(answers)


@pytest.fixture
async def clock() -> Time:
    clock = Time()
    clock.set_wall_ahead(WALL - clock.now().wall)
    return clock


@pytest.fixture
async def village(clock: Time) -> AsyncIterator[Village]:
    village = Village(clock)
    yield village
    await village.close()


@pytest.fixture
async def pumped(clock: Time, village: Village) -> AsyncIterator[Pumped]:
    pumped = Pumped(clock, village.network)
    await pumped.sessions.listen("memory", "pumped", 0)
    yield pumped
    pumped.pump.stop()
    await pumped.sessions.close()
    await pumped.store.close()


@pytest.fixture
async def stranger(village: Village, pumped: Pumped) -> Party:
    """Another node, hand-made, that has a session with this one and knows nobody and nothing."""
    party = await village.party("stranger")
    party.on_asked = know_nothing
    await party.sessions.dial(URL, pumped.node_id)
    return party


def know_nothing(connection: Connection, number: int, method: Method, _body: Body) -> None:
    bodies = {Method.FIND_NODE: FoundNodes(), Method.FIND_VALUE: FoundValue()}
    connection.reply(number, Status.OK, bodies.get(method, Empty()))


async def ask(stranger: Party, pumped: Pumped, method: Method, body: Body) -> Answer:
    answer = await stranger.answer_to(stranger.ask(pumped.contact, method, body))
    assert isinstance(answer, Answer)
    return answer


async def test_alone_it_stores_and_reads_what_its_own_store_keeps(pumped: Pumped) -> None:
    done = await pumped.pump.put(NOTE.draft())
    read = await pumped.pump.get(NOTE.target)

    assert (done.accepted, done.needed) == (1, 1)
    assert [record.raw for record in read.records] == [NOTE.raw]
    assert await pumped.pump.find(NOTE.target, 20) == []


async def test_requests_of_peers_reach_the_engine_and_its_answers_the_peer(
    pumped: Pumped, stranger: Party
) -> None:
    await pumped.pump.put(NOTE.draft())

    got = await ask(stranger, pumped, Method.GET, Get(NOTE.target))
    found = await ask(stranger, pumped, Method.FIND_NODE, FindNode(NOTE.target))

    assert isinstance(got.body, Got)
    assert got.body.records == (NOTE.raw,)
    assert found.body == FoundNodes()


async def test_calls_of_the_engine_reach_peers_and_their_answers_the_engine(
    pumped: Pumped, stranger: Party
) -> None:
    await until(lambda: pumped.known)

    done = await pumped.pump.put(NOTE.draft())

    assert (done.accepted, done.asked) == (2, 2)
    assert [body.record for _, _, _, body in stranger.requests if hasattr(body, "record")] == [NOTE.raw]
    found = await pumped.pump.find(Target(stranger.node_id), 1)
    assert [contact.node_id for contact in found] == [stranger.node_id]


async def test_joining_is_told_once_with_the_number_of_nodes_known(pumped: Pumped, stranger: Party) -> None:
    assert not pumped.pump.joined.is_set()

    await until(pumped.pump.joined.is_set)

    assert stranger.links
    assert pumped.known == [1]


async def test_where_a_peer_is_seen_is_answered_without_the_engine(pumped: Pumped, stranger: Party) -> None:
    answer = await ask(stranger, pumped, Method.WHOAMI, Empty())

    assert answer.body == WhoAmI("stranger", 0, "memory")


async def test_a_node_that_issues_no_invites_redeems_none(pumped: Pumped, stranger: Party) -> None:
    answer = await ask(stranger, pumped, Method.REDEEM, Redeem(bytes(225)))

    assert answer.status is Status.NOT_FOUND


async def test_a_node_without_topics_says_that_it_knows_nothing_of_them(
    pumped: Pumped, stranger: Party
) -> None:
    for method, body in (
        (Method.SUBSCRIBE, Subscribe(TopicId(bytes(16)))),
        (Method.PUBLISH, Publish(bytes(201))),
        (Method.UNSUBSCRIBE, Unsubscribe(TopicId(bytes(16)))),
    ):
        assert (await ask(stranger, pumped, method, body)).status is Status.UNKNOWN_METHOD


async def test_what_the_engine_counts_and_what_nobody_takes_is_counted(
    pumped: Pumped, stranger: Party
) -> None:
    refused = await ask(stranger, pumped, Method.DIAL_BACK, Empty())
    [connection] = pumped.sessions._all
    assert connection.peer is not None
    pumped.pump.on_push(connection.peer, RecordType.PUBSUB, b"news")

    assert refused.status is Status.UNKNOWN_METHOD
    assert pumped.counters.get("refused", "unknown_method") == 1
    assert pumped.counters.get("pushes_dropped", "pubsub") == 1


async def test_one_node_is_asked_past_the_engine(pumped: Pumped, stranger: Party) -> None:
    answer = await pumped.pump.ask(stranger.contact, Method.FIND_NODE, FindNode(NOTE.target), 5.0)

    assert isinstance(answer, Answer)
    assert answer.body == FoundNodes()
    assert stranger.requests[-1][2:] == (Method.FIND_NODE, FindNode(NOTE.target))


async def test_who_no_longer_waits_for_one_node_has_its_call_cancelled(
    pumped: Pumped, stranger: Party
) -> None:
    await until(lambda: pumped.known)
    stranger.on_asked = lambda *_request: None
    asking = asyncio.ensure_future(pumped.pump.ask(stranger.contact, Method.PING, Empty(), 600.0))
    await until(lambda: stranger.requests and stranger.requests[-1][2] is Method.PING)

    asking.cancel()
    await asyncio.wait((asking,))

    assert not pumped.pump._asked
    assert not any(call < 0 for call in pumped.sessions._calls)


async def test_requests_are_counted_by_method_and_what_came_of_them(pumped: Pumped, stranger: Party) -> None:
    await until(lambda: pumped.known)
    before = pumped.counters.get("rpc_sent", "find_value/ok")
    await ask(stranger, pumped, Method.FIND_NODE, FindNode(NOTE.target))
    await ask(stranger, pumped, Method.DIAL_BACK, Empty())
    await ask(stranger, pumped, Method.WHOAMI, Empty())
    await pumped.pump.get(NOTE.target)

    assert pumped.counters.labels("rpc_served") == {
        "dial_back/unknown_method": 1,
        "find_node/ok": 1,
        "whoami/ok": 1,
    }
    assert pumped.counters.get("rpc_sent", "find_value/ok") == before + 1
    assert pumped.pump._calls == {}
    assert pumped.pump._requests == {}


async def test_a_call_that_has_no_answer_is_counted_by_why(
    pumped: Pumped, stranger: Party, clock: Time
) -> None:
    await until(lambda: pumped.known)
    stranger.on_asked = lambda *_request: None
    reading = asyncio.ensure_future(pumped.pump.get(NOTE.target))
    await until(lambda: pumped.pump._calls)
    for _ in range(8):
        await clock.advance(1.0)
    await reading

    assert pumped.counters.get("rpc_sent", "find_value/timeout") >= 1


async def test_what_reads_writes_and_lookups_took_is_measured(pumped: Pumped) -> None:
    await pumped.pump.put(NOTE.draft())
    await pumped.pump.get(NOTE.target)
    await pumped.pump.find(NOTE.target, 20)

    taken = {(name, label): histogram.count for name, label, histogram in pumped.counters.histograms()}
    assert taken["operation_seconds", "write"] == 1
    assert taken["operation_seconds", "read"] == 1
    assert taken["operation_hops", "lookup"] >= 1


async def test_leaving_ends_when_the_engine_says_so(pumped: Pumped) -> None:
    await pumped.pump.leave()

    assert pumped.pump.left.is_set()


async def test_a_stopped_pump_answers_who_waits_and_rings_no_more(pumped: Pumped, stranger: Party) -> None:
    stranger.on_asked = lambda *_request: None
    await until(lambda: len(pumped.engine.table))
    reading = asyncio.ensure_future(pumped.pump.get(NOTE.target))
    await until(lambda: pumped.pump._gets and pumped.pump._timer)

    pumped.pump.stop()
    pumped.pump.stop()

    assert (await reading).answered <= 1
    assert pumped.pump._timer is None
    pumped.pump.run()
    assert pumped.pump._timer is None
    assert not any("Pump._ring" in repr(timer) for timer in live_timers())


async def test_so_many_operations_of_its_own_run_at_once_and_the_others_wait_until_it_stops(
    pumped: Pumped, stranger: Party
) -> None:
    stranger.on_asked = lambda *_request: None
    await until(lambda: len(pumped.engine.table))
    reading = [asyncio.ensure_future(pumped.pump.get(NOTE.target)) for _ in range(3 * OWN_OPERATIONS_AT_ONCE)]
    await until(lambda: len(pumped.pump._gets) == OWN_OPERATIONS_AT_ONCE)
    await turns(10)
    assert len(pumped.pump._gets) == OWN_OPERATIONS_AT_ONCE

    pumped.pump.stop()

    assert all(read.answered <= 1 for read in await asyncio.gather(*reading))
    assert not pumped.pump._gets

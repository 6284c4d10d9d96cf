"""A node over real sockets: its start, its life in a network, and that nothing of it is left after its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import weakref
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.sessions.kit import Party, Time, live_timers, session_with, turns, until
from yzdht import (
    Client,
    ConfigError,
    DataLocked,
    Identity,
    Node,
    NotFound,
    Public,
    UsageError,
)
from yzdht.errors import ListenFailed, StoreError, WrongPassphrase
from yzdht.ids import Target
from yzdht.kad.engine import KadEngine
from yzdht.limits import (
    BOOTSTRAP_PAUSE_S_MIN,
    GOODBYE_S_MAX,
    HOUR_S,
    HTTP_GOODBYE_S_MAX,
    JOIN_WAIT_S_MAX,
    LEAVE_S_MAX,
    NODE_IDENTITY_LIFE_S,
    NODE_IDENTITY_RENEW_S,
    STATE_SAVE_EVERY_S,
)
from yzdht.rpc.engine import Answer
from yzdht.store.folder import DataFolder
from yzdht.store.memory import MemoryStore
from yzdht.store.sqlite import Commit
from yzdht.wire.address import Contact, decode_identity_payload
from yzdht.wire.frame import RecordType
from yzdht.wire.record import Record, decode_record
from yzdht.wire.rpc import (
    Empty,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Get,
    Method,
    Refusal,
    Status,
    Store,
    WhoAmI,
)
from yzdht.wire.slot import Kind
from yzdht.wire.text import encode_node_id


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


def url_of(node: Node) -> str:
    return f"ws://{HOST}:{node.port}"


def contact_of(node: Node) -> Contact:
    own = node.identity
    return Contact(own.node_id, own.public_key, (url_of(node),), node.engine._own.contact.caps)


def a_free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def known_to(node: Node) -> set[bytes]:
    return {entry.node_id for entry in node.engine.table.known()}


def fds() -> int:
    return int(psutil.Process(os.getpid()).num_fds())


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def stranger(clock: Time) -> AsyncIterator[Party]:
    """Another node, hand-made, that asks."""
    party = Party(clock)
    await party.listen()
    yield party
    await party.sessions.close()


async def ask(stranger: Party, node: Node, method: Method, body: Body) -> Answer:
    answer = await stranger.answer_to(stranger.ask(contact_of(node), method, body))
    assert isinstance(answer, Answer)
    return answer


# Start


async def test_a_node_that_has_started_has_joined_and_knows_everybody(clock: Time) -> None:
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(6):
            node = Node(0, host=HOST, bootstrap=[url_of(n) for n in nodes[:2]], clock=clock)
            nodes.append(await stack.enter_async_context(node))
            assert (node.bootstrap_tried, node.bootstrap_joined) == (len(nodes[:-1][:2]),) * 2
            assert known_to(node) == {n.node_id for n in nodes[:-1]}
            assert node.is_joined is (len(nodes) > 1)
        everybody = {n.node_id for n in nodes}
        await until(lambda: all(known_to(n) == everybody - {n.node_id} for n in nodes))


async def test_a_node_alone_stores_and_reads(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        receipt = await node.store("note", b"hello")

        assert (receipt.accepted, receipt.asked, receipt.needed) == (1, 1, 1)
        assert (await node.get("note")).data == b"hello"
        await node.delete("note")
        assert await node.get("note", default=None) is None
        with pytest.raises(NotFound):
            await node.get("note")


async def test_the_person_of_a_node_that_stops_at_once_is_known_all_the_same(clock: Time) -> None:
    person = Identity.generate()
    async with Node(0, host=HOST, clock=clock) as first:
        async with Node(0, host=HOST, bootstrap=[url_of(first)], identity=person, clock=clock) as second:
            await second.store("note", b"hello")

        assert await first.records.resolve_node_id(person.node_id) == person.public_key


async def test_values_are_read_through_every_node(clock: Time) -> None:
    person = Identity.generate()
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(12):
            node = Node(0, host=HOST, bootstrap=[url_of(n) for n in nodes[:1]], identity=person, clock=clock)
            nodes.append(await stack.enter_async_context(node))

        receipt = await nodes[0].store("note", b"hello", readers=Public())

        assert receipt.accepted >= receipt.needed == 5
        values = await asyncio.gather(*(node.get("note", publisher=person.public_key) for node in nodes))
        assert [v.data for v in values] == [b"hello"] * len(nodes)


async def test_a_bootstrap_address_may_say_who_must_answer(clock: Time) -> None:
    events: list[dict[str, object]] = []
    async with Node(0, host=HOST, clock=clock) as node:
        right, wrong = encode_node_id(node.node_id), encode_node_id(Identity.generate().node_id)
        async with Node(0, host=HOST, bootstrap=[f"{url_of(node)}#{right}"], clock=clock) as joining:
            assert joining.bootstrap_joined == 1
        async with Node(
            0, host=HOST, bootstrap=[f"{url_of(node)}#{wrong}"], on_event=events.append, clock=clock
        ) as joining:
            assert (joining.bootstrap_tried, joining.bootstrap_joined) == (1, 0)
            assert known_to(joining) == set()
            await until(lambda: events)
            assert events[0]["joined"] == 0


async def test_a_node_whose_bootstrap_is_dead_starts_all_the_same_and_keeps_trying(clock: Time) -> None:
    port = a_free_port()
    events: list[dict[str, object]] = []
    node = Node(0, host=HOST, bootstrap=[f"ws://{HOST}:{port}"], on_event=events.append, clock=clock)
    async with node:
        assert node.bootstrap_joined == 0
        assert (await node.store("note", b"alone")).accepted == 1
        await until(lambda: events)
        assert events[0]["event"] == "bootstrap"
        assert (events[0]["tried"], events[0]["joined"]) == (1, 0)
        await clock.advance(1.5 * BOOTSTRAP_PAUSE_S_MIN)
        await until(lambda: len(events) == 2)

        async with Node(port, host=HOST, clock=clock) as late:
            await clock.advance(3 * BOOTSTRAP_PAUSE_S_MIN)
            await until(lambda: node.bootstrap_joined == 1)
            await until(lambda: node.is_joined)

            assert known_to(node) == {late.node_id}
            assert {"event": "joined", "known": 1} in events
            assert {"event": "bootstrap", "tried": 1, "joined": 1} in events
            count = len(events)
            await clock.advance(HOUR_S)
            assert [e for e in events[count:] if e["event"] == "bootstrap"] == []


async def test_a_node_bootstrapped_at_itself_refuses_counts_and_goes_on(clock: Time) -> None:
    port = a_free_port()
    async with Node(port, host=HOST, bootstrap=[f"ws://{HOST}:{port}"], clock=clock) as node:
        assert (node.bootstrap_tried, node.bootstrap_joined) == (1, 0)
        await until(lambda: len(node.sessions) == 0)
        assert node.counters.get("sessions_faulted", "handshake") >= 1
        assert known_to(node) == set()
        await clock.advance(BOOTSTRAP_PAUSE_S_MIN * 2)

        async with Node(0, host=HOST, bootstrap=[url_of(node)], clock=clock) as other:
            assert other.bootstrap_joined == 1
            await until(lambda: node.is_joined)


async def test_the_engine_is_told_which_prefixes_the_operator_trusts(clock: Time) -> None:
    typed = f"ws://{HOST}:{a_free_port()}"
    async with Node(0, host=HOST, trusted_prefixes=["8.8.0.0/16"], bootstrap=[typed], clock=clock) as node:
        is_exempt = node.engine._own.is_exempt

        assert is_exempt("8.8.8.0/24")
        assert not is_exempt("8.9.8.0/24")


async def test_whoever_trusts_everybody_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    async with Node(0, host=HOST, trusted_prefixes=["8.8.0.0/16", "0.0.0.0/0", "::/0"]):
        pass
    warned = [r.getMessage() for r in caplog.records if "trusted block too wide" in r.getMessage()]

    assert ["prefix=0.0.0.0/0 " in warned[0], "prefix=::/0 " in warned[1]] == [True, True]
    assert len(warned) == 2
    assert all("one stranger there can take every place of the routing table" in line for line in warned)


async def test_its_type_is_said_to_all_and_what_it_may_take_reaches_who_enforces_it(tmp_path: Path) -> None:
    async with Node(0, host=HOST) as home, Node(0, host=HOST, type="infrastructure") as server:
        assert [node.json_view()["nodeType"] for node in (home, server)] == ["community", "infrastructure"]
        assert home.json_view()["capabilities"] == server.json_view()["capabilities"]
    for data in (None, tmp_path):
        async with Node(
            0, host=HOST, data=data, max_sessions=7, max_bandwidth=1 << 20, max_storage=1 << 30,
            trusted_proxies=["192.0.2.0/24"],
        ) as node:  # fmt: skip
            given, store = node.sessions._world.bounds, node.store_of_records
            assert (given.sessions_max, given.bandwidth_bytes_per_s) == (7, 1 << 20)
            assert given.trusted_proxies == node.config.capacity.trusted_proxies
            quotas = store._quotas if isinstance(store, MemoryStore) else store._writer._quotas
            assert quotas.total_bytes == 1 << 30


async def test_the_engine_is_told_which_names_the_operator_typed(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as first:
        typed = [url_of(first), f"ws://localhost:{first.port}"]
        async with Node(0, host=HOST, bootstrap=typed, clock=clock) as second:
            assert second.engine._own.typed_names == {f"ws://localhost:{first.port}"}
            await until(lambda: second.engine._reached == {f"ws://localhost:{first.port}": ""})


async def test_the_nodes_of_a_private_network_meet_and_nobody_else_does(clock: Time) -> None:
    key = bytes(range(32))
    async with Node(0, host=HOST, network_key=key, clock=clock) as first:
        for options in (
            {"network_key": key, "network": "other"},
            {"network_key": bytes(32)},
            {},
        ):
            async with Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock, **options) as other:
                assert other.bootstrap_joined == 0
        async with Node(0, host=HOST, bootstrap=[url_of(first)], network_key=key, clock=clock) as second:
            assert second.bootstrap_joined == 1
            await until(lambda: first.is_joined)
            assert (await second.store("note", b"x")).accepted == 2


# The identity record


def identity_of(answer: Answer) -> Record:
    assert isinstance(answer.body, FoundValue)
    [raw] = answer.body.records
    assert isinstance(raw, bytes)
    return decode_record(raw)


async def test_a_node_serves_its_identity_record_from_the_first_moment(clock: Time, stranger: Party) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        record = identity_of(await ask(stranger, node, Method.FIND_VALUE, FindValue(Target(node.node_id))))

        assert (record.kind, record.publisher) == (Kind.IDENTITY, node.identity.public_key)
        assert record.expires - record.created == NODE_IDENTITY_LIFE_S
        payload = decode_identity_payload(record.payload)
        assert payload.addresses == node.addresses
        place = url_of(node).removeprefix("ws")
        assert [a.url for a in payload.addresses] == [f"tcp{place}", f"ws{place}"]
        view = node.json_view()
        assert view["nodeId"] == encode_node_id(node.node_id)
        assert view["seq"] == record.seq
        assert view["capabilities"] == ["storage", "routing", "pubsub"]


async def test_nodes_that_hear_of_each_other_meet_over_tcp(clock: Time) -> None:
    async with (
        Node(0, host=HOST, clock=clock) as first,
        Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock) as second,
        Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock) as third,
    ):
        await until(lambda: session_with(third.sessions, second.node_id))

        met, joined = (session_with(third.sessions, node.node_id) for node in (second, first))
        assert met is not None
        assert joined is not None
        assert (met.road, joined.road) == ("tcp", "ws"), "as heard; as typed"


async def test_a_node_that_is_dialled_again_is_met_over_tcp_where_ws_was_typed(clock: Time) -> None:
    async with (
        Node(0, host=HOST, clock=clock) as first,
        Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock) as second,
    ):
        await until(lambda: (entry := second.engine.table.get(first.node_id)) and entry.addresses)
        typed = session_with(second.sessions, first.node_id)
        assert typed is not None
        typed.close()
        await until(lambda: session_with(second.sessions, first.node_id) is None)

        contact = second.engine.table.get(first.node_id)
        assert contact is not None
        assert isinstance(await second.ask(contact.contact(), Method.PING, Empty(), 5.0), Answer)

        again = session_with(second.sessions, first.node_id)
        assert again is not None
        assert again.road == "tcp"


async def test_the_identity_record_is_stored_in_the_network(clock: Time) -> None:
    async with (
        Node(0, host=HOST, clock=clock) as first,
        Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock) as second,
    ):
        for node, other in ((first, second), (second, first)):
            await until(partial(held_at, other, node))
            assert decode_record(held_at(other, node)).publisher == node.identity.public_key


def held_at(holder: Node, node: Node) -> bytes:
    """The identity record of a node that another one holds; empty if it holds none."""
    stored = holder.store_of_records.get(Target(node.node_id), holder._clock.now().wall)
    return stored[0].body if stored else b""


async def test_the_identity_record_is_made_anew_every_twelve_hours(clock: Time) -> None:
    async with (
        Node(0, host=HOST, clock=clock) as first,
        Node(0, host=HOST, bootstrap=[url_of(first)], clock=clock) as second,
    ):

        def held() -> int:
            return decode_record(held_at(second, first)).seq

        await until(lambda: held_at(second, first))
        seq = held()
        await clock.advance(NODE_IDENTITY_RENEW_S / 2)
        await clock.advance(STATE_SAVE_EVERY_S)
        assert held() == seq

        await clock.advance(NODE_IDENTITY_RENEW_S / 2)
        await clock.advance(2 * STATE_SAVE_EVERY_S, steps=4)

        await until(lambda: held() > seq)


async def test_a_node_that_is_alone_for_long_has_a_fresh_identity_record_for_its_first_peer(
    clock: Time, stranger: Party
) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        await clock.advance(NODE_IDENTITY_LIFE_S + HOUR_S)
        await clock.advance(2 * STATE_SAVE_EVERY_S, steps=4)

        record = identity_of(await ask(stranger, node, Method.FIND_VALUE, FindValue(Target(node.node_id))))

        assert record.expires > clock.now().wall + NODE_IDENTITY_LIFE_S - HOUR_S


async def test_an_identity_record_that_found_no_quorum_is_published_again(
    clock: Time, stranger: Party
) -> None:
    """The one other node is full when this one joins."""
    is_full = True

    def serve(connection: Connection, number: int, method: Method, _body: Body) -> None:
        if method is Method.STORE and is_full:
            connection.reply(number, Status.OVER_QUOTA, Refusal())
        elif method is Method.FIND_NODE:
            connection.reply(number, Status.OK, FoundNodes())
        elif method is Method.FIND_VALUE:
            connection.reply(number, Status.OK, FoundValue())
        else:
            connection.reply(number, Status.OK, Empty())

    def stored() -> list[bytes]:
        return [body.record for _, _, _, body in stranger.requests if isinstance(body, Store)]

    stranger.on_asked = serve
    async with Node(0, host=HOST, bootstrap=[stranger.url], clock=clock) as node:
        await until(stored)
        await turns(20)
        assert len(stored()) == 1
        is_full = False

        await clock.advance(2 * STATE_SAVE_EVERY_S, steps=4)
        await until(lambda: len(stored()) >= 2)

        assert decode_record(stored()[-1]).publisher == node.identity.public_key


# Serving


async def test_a_read_along_more_paths_than_there_can_be_is_a_bad_request(
    clock: Time, stranger: Party
) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        target = Target(bytes(32))
        assert (await ask(stranger, node, Method.GET, Get(target, paths=3))).status is Status.OK
        answer = await ask(stranger, node, Method.GET, Get(target, paths=4))

        assert answer.status is Status.BAD_REQUEST


async def test_a_node_reads_along_disjoint_paths_for_its_own_person(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        await node.store("note", b"hello")

        assert (await node.get("note", disjoint=3)).data == b"hello"


async def test_a_node_tells_an_asker_where_it_sees_it(clock: Time, stranger: Party) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        seen = (await ask(stranger, node, Method.WHOAMI, Empty())).body

        assert isinstance(seen, WhoAmI)
        assert (seen.host, seen.protocol) == (HOST, "ws")
        assert seen.port > 0


async def test_neither_asker_nor_answerer_is_among_the_nearest_nodes(clock: Time, stranger: Party) -> None:
    async with (
        Node(0, host=HOST, clock=clock) as node,
        Node(0, host=HOST, bootstrap=[url_of(node)], clock=clock) as other,
    ):
        found = (await ask(stranger, node, Method.FIND_NODE, FindNode(Target(bytes(32))))).body

        assert isinstance(found, FoundNodes)
        assert [c.public_key for c in found.contacts] == [other.identity.public_key]


async def test_pushes_of_types_that_are_not_served_and_such_as_make_no_sense_are_dropped_and_counted(
    clock: Time, stranger: Party
) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        await ask(stranger, node, Method.PING, Empty())
        connection = session_with(stranger.sessions, node.node_id)
        assert connection is not None
        assert connection.session is not None
        for record_type in (RecordType.PUBSUB, RecordType.STREAM, RecordType.SIGNAL, RecordType.RELAY_DATA):
            connection.session.push(record_type, b"news", clock.now())
        connection._pump()

        await ask(stranger, node, Method.PING, Empty())

        assert node.counters.get("pushes_dropped") == 3
        assert node.counters.get("pubsub_pushes_unreadable") == 1


async def test_who_left_without_a_word_is_noticed_and_asked_no_more(clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock) as node:
        other = Node(0, host=HOST, bootstrap=[url_of(node)], clock=clock)
        await other.start()
        await until(lambda: known_to(node))
        await other.stop()

        for _ in range(8):
            await clock.advance(HOUR_S / 60, steps=4)
        await until(lambda: not node.engine.table.storing())

        assert (await node.store("note", b"x")).asked == 1


# Restart


async def test_a_restarted_node_finds_its_peers_without_its_bootstrap(clock: Time, tmp_path: Path) -> None:
    dead = f"ws://{HOST}:{a_free_port()}"
    person = Identity.generate()
    async with (
        Node(0, host=HOST, identity=person, clock=clock) as other,
        Node(0, host=HOST, bootstrap=[url_of(other)], clock=clock) as third,
    ):
        first = Node(0, host=HOST, bootstrap=[url_of(other)], data=tmp_path, identity=person, clock=clock)
        async with first:
            node_id = first.node_id
            await until(lambda: known_to(first) == {other.node_id, third.node_id})
            await until(lambda: all(e.addresses or e.worked_url for e in first.engine.table.known()))
        await other.store("note", b"stored while it was away")
        events: list[dict[str, object]] = []

        again = Node(
            0,
            host=HOST,
            bootstrap=[dead],
            data=tmp_path,
            identity=person,
            on_event=events.append,
            clock=clock,
        )
        async with again:
            assert again.node_id == node_id
            reading = asyncio.ensure_future(again.get("note"))
            assert (await reading).data == b"stored while it was away"
            await until(lambda: again.is_joined)
            assert known_to(again) == {other.node_id, third.node_id}


async def test_a_whole_network_that_restarts_at_once_needs_no_bootstrap(clock: Time, tmp_path: Path) -> None:
    ports = [a_free_port() for _ in range(3)]
    person = Identity.generate()

    async def start_all(stack: AsyncExitStack, bootstrap: list[str]) -> list[Node]:
        return [
            await stack.enter_async_context(
                Node(
                    port,
                    host=HOST,
                    bootstrap=bootstrap if port != ports[0] else (),
                    data=tmp_path / str(port),
                    identity=person,
                    clock=clock,
                )
            )
            for port in ports
        ]

    async with AsyncExitStack() as stack:
        nodes = await start_all(stack, [f"ws://{HOST}:{ports[0]}"])
        await until(lambda: all(len(known_to(node)) == 2 for node in nodes))
        await until(lambda: all(e.addresses for node in nodes for e in node.engine.table))
        await nodes[0].store("note", b"hello")

    async with AsyncExitStack() as stack:
        nodes = await start_all(stack, [])
        await patiently(clock, lambda: all(len(known_to(node)) == 2 for node in nodes))
        await patiently(clock, lambda: all(node.is_joined for node in nodes))

        for node in nodes:
            assert (await node.get("note")).data == b"hello"


async def patiently(clock: Time, holds: Callable[[], bool]) -> None:
    """Let time go by until something holds: who was not up yet is tried again later."""
    for _ in range(200):
        if holds():
            return
        await clock.advance(0.5)
        await turns(20)
    await until(holds)


async def test_a_restarted_node_still_has_its_records(clock: Time, tmp_path: Path) -> None:
    person = Identity.generate()
    async with Node(0, host=HOST, data=tmp_path, identity=person, clock=clock) as node:
        await node.store("note", b"hello")

    async with Node(0, host=HOST, data=tmp_path, identity=person, clock=clock) as node:
        assert (await node.get("note")).data == b"hello"


async def test_a_node_whose_remembered_peers_are_gone_serves_after_a_while(
    clock: Time, tmp_path: Path
) -> None:
    person = Identity.generate()
    async with (
        Node(0, host=HOST, clock=clock) as other,
        Node(0, host=HOST, bootstrap=[url_of(other)], data=tmp_path, clock=clock) as node,
    ):
        await until(lambda: all(e.worked_url for e in node.engine.table.known()))

    async with Node(0, host=HOST, data=tmp_path, identity=person, clock=clock) as node:
        reading = asyncio.ensure_future(node.get("note", default=None))
        for _ in range(40):
            await turns(10)
            await clock.advance(JOIN_WAIT_S_MAX / 4)
        await until(reading.done)


async def test_a_damaged_state_file_costs_nothing_but_the_memory(clock: Time, tmp_path: Path) -> None:
    async with Node(0, host=HOST, data=tmp_path, clock=clock):
        pass
    (tmp_path / "state").write_bytes(b"\xff" * 100)

    async with Node(0, host=HOST, data=tmp_path, clock=clock) as node:
        assert known_to(node) == set()


# What cannot be


async def test_a_data_folder_has_one_node(clock: Time, tmp_path: Path) -> None:
    async with Node(0, host=HOST, data=tmp_path, clock=clock):
        with pytest.raises(DataLocked):
            await Node(0, host=HOST, data=tmp_path, clock=clock).start()
    async with Node(0, host=HOST, data=tmp_path, clock=clock):
        pass


async def test_a_start_that_fails_at_the_port_gives_everything_back(clock: Time, tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    async with Node(0, host=HOST, clock=clock) as node:
        before = fds()
        with pytest.raises(ListenFailed):
            await Node(node.port, host=HOST, data=tmp_path, clock=clock).start()
        assert fds() == before
        DataFolder.open(tmp_path).close()
    assert asyncio.all_tasks() == tasks


async def test_a_start_with_the_wrong_passphrase_gives_everything_back(clock: Time, tmp_path: Path) -> None:
    async with Node(0, host=HOST, data=tmp_path, passphrase="correct horse", clock=clock):
        pass
    before = fds()

    for passphrase in ("wrong", None):
        with pytest.raises(WrongPassphrase):
            await Node(0, host=HOST, data=tmp_path, passphrase=passphrase, clock=clock).start()

    assert fds() == before
    DataFolder.open(tmp_path).close()


async def test_a_start_with_damaged_records_gives_everything_back(clock: Time, tmp_path: Path) -> None:
    async with Node(0, host=HOST, data=tmp_path, clock=clock):
        pass
    (tmp_path / "records.sqlite").write_bytes(b"no database" * 100)
    before = fds()

    with pytest.raises(StoreError):
        await Node(0, host=HOST, data=tmp_path, clock=clock).start()

    assert fds() == before
    DataFolder.open(tmp_path).close()


async def test_a_start_that_is_cancelled_gives_everything_back(clock: Time, tmp_path: Path) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()
        gone.set()

    reached, gone = asyncio.Event(), asyncio.Event()
    silent = await asyncio.start_server(hold, HOST, 0)
    port = silent.sockets[0].getsockname()[1]
    before, tasks = fds(), asyncio.all_tasks()
    starting = asyncio.ensure_future(
        Node(0, host=HOST, data=tmp_path, bootstrap=[f"ws://{HOST}:{port}"], clock=clock).start()
    )
    await reached.wait()

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    DataFolder.open(tmp_path).close()
    await gone.wait()
    await turns(5)
    assert asyncio.all_tasks() == tasks
    assert fds() == before
    silent.close()
    await silent.wait_closed()


async def test_a_node_with_a_data_folder_has_a_person_only_if_it_is_told_whose(
    clock: Time, tmp_path: Path
) -> None:
    async with Node(0, host=HOST, data=tmp_path / "data", clock=clock) as node:
        for work in (node.store("note", b""), node.get("note"), node.delete("note")):
            with pytest.raises(UsageError, match="person"):
                await work
    async with Node(0, host=HOST, data=tmp_path / "data", home=tmp_path / "home", clock=clock) as node:
        await node.store("note", b"hello")
        assert node.records.identity.node_id != node.node_id
    async with Node(0, host=HOST, data=tmp_path / "data", home=tmp_path / "home", clock=clock) as node:
        assert (await node.get("note")).data == b"hello"


async def test_a_node_that_does_not_run_says_so(clock: Time) -> None:
    node = Node(0, host=HOST, clock=clock)
    with pytest.raises(UsageError):
        await node.get("note")
    async with node:
        await node.store("note", b"hello")
    with pytest.raises(UsageError):
        await node.get("note")


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65_536},
        {"bootstrap": ["http://127.0.0.1"]},
        {"bootstrap": ["ws://127.0.0.1:1#abc"]},
        {"network": ""},
        {"network_key": b"short"},
        {"public_addresses": ["nonsense"]},
        {"trusted_prefixes": ["8.8.8.8/24"]},
        {"trusted_prefixes": "8.8.8.0/24"},
        {"public_addresses": ["ws://0.0.0.0:8083"]},
        {"public_addresses": ["ws://[::]:8083"]},
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Node(**options)  # type: ignore[arg-type] # options of several types


# The end


async def test_a_stopped_node_leaves_no_task_no_timer_no_socket_and_no_memory(
    clock: Time, tmp_path: Path
) -> None:
    person = Identity.generate()
    tasks, before = asyncio.all_tasks(), fds()
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for number in range(4):
            node = Node(
                0,
                host=HOST,
                bootstrap=[url_of(n) for n in nodes[:1]],
                data=tmp_path / str(number),
                identity=person,
                clock=clock,
            )
            nodes.append(await stack.enter_async_context(node))
            del node
        async with Client([url_of(n) for n in nodes[:2]], clock=clock) as dht:
            await dht.store("note", b"hello")
        await nodes[3].store("note", b"hello")

    assert asyncio.all_tasks() == tasks
    assert fds() == before
    assert live_timers() == []
    ghosts = [weakref.ref(node) for node in nodes]
    nodes.clear()
    del stack
    gc.collect()
    assert [ghost() for ghost in ghosts] == [None] * 4


async def test_stopping_twice_is_harmless(clock: Time, tmp_path: Path) -> None:
    node = Node(0, host=HOST, data=tmp_path, clock=clock)
    await node.start()
    await node.stop()
    await node.stop()
    await Node(0, host=HOST, clock=clock).stop()


# Leaving


async def begin_to_stop(node: Node) -> asyncio.Future[None]:
    stopping = asyncio.ensure_future(node.stop())
    await until(lambda: not node._is_started)  # and handing over has begun in the same step
    return stopping


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that have more to hand over than there is time for."""
    monkeypatch.setattr(KadEngine, "leave", lambda _engine, _now: None)


async def test_what_one_node_stored_alone_is_with_the_others_once_it_has_left(clock: Time) -> None:
    person = Identity.generate()
    first = Node(0, host=HOST, identity=person, clock=clock)
    await first.start()
    await first.store("note", b"hello")
    async with (
        Node(0, host=HOST, bootstrap=[url_of(first)], identity=person, clock=clock) as second,
        Node(0, host=HOST, bootstrap=[url_of(first)], identity=person, clock=clock) as third,
    ):
        await until(lambda: len(known_to(first)) == 2)

        await first.stop()

        for node in (second, third):
            assert (await node.get("note")).data == b"hello"


def test_the_bounds_of_leaving_leave_a_second_of_ten_for_the_disk() -> None:
    assert LEAVE_S_MAX + GOODBYE_S_MAX + 2 * HTTP_GOODBYE_S_MAX <= 9.0


@pytest.mark.usefixtures("endless")
async def test_requests_are_served_while_a_node_leaves(clock: Time, stranger: Party) -> None:
    node = Node(0, host=HOST, clock=clock)
    await node.start()
    await ask(stranger, node, Method.PING, Empty())

    stopping = await begin_to_stop(node)

    assert (await ask(stranger, node, Method.FIND_NODE, FindNode(Target(bytes(32))))).status is Status.OK
    assert not stopping.done()
    await clock.advance(LEAVE_S_MAX)
    await stopping
    assert stranger.downs() == 1


@pytest.mark.usefixtures("endless")
async def test_a_second_stop_puts_an_end_to_handing_over(clock: Time, tmp_path: Path) -> None:
    node = Node(0, host=HOST, data=tmp_path, clock=clock)
    await node.start()
    stopping = await begin_to_stop(node)

    await node.stop()
    await stopping

    DataFolder.open(tmp_path).close()


@pytest.mark.usefixtures("endless")
async def test_a_stop_that_is_cancelled_closes_everything_all_the_same(clock: Time, tmp_path: Path) -> None:
    before, tasks = fds(), asyncio.all_tasks()
    node = Node(0, host=HOST, data=tmp_path, clock=clock)
    await node.start()
    stopping = await begin_to_stop(node)

    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping

    DataFolder.open(tmp_path).close()
    assert fds() == before
    assert asyncio.all_tasks() == tasks


async def test_what_waits_for_an_answer_when_a_node_stops_gets_one(clock: Time, stranger: Party) -> None:
    stranger.on_asked = lambda connection, number, method, _body: (
        connection.reply(number, Status.OK, Empty()) if method is not Method.STORE else None
    )
    person = Identity.generate()
    node = Node(0, host=HOST, bootstrap=[stranger.url], identity=person, clock=clock)
    await node.start()
    writing = asyncio.ensure_future(node.store("note", b"hello"))
    await until(lambda: any(method is Method.STORE for _, _, method, _ in stranger.requests))

    stopping = await begin_to_stop(node)
    await clock.advance(LEAVE_S_MAX)
    await stopping

    await until(writing.done)
    assert writing.exception() is not None


async def test_a_task_that_fails_is_logged_and_counted(clock: Time, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with Node(0, host=HOST, clock=clock) as node:
        with caplog.at_level(logging.ERROR, logger="yzdht"):
            node._spawn(fail())
            await until(lambda: node.counters.get("task_failures"))

        assert "ZeroDivisionError" in caplog.text
        assert isinstance(node._failure, ZeroDivisionError)
        await node.store("note", b"it goes on")


async def test_nodes_of_several_networks_live_in_one_process(clock: Time) -> None:
    async with (
        Node(0, host=HOST, network="a", clock=clock) as a,
        Node(0, host=HOST, network="b", clock=clock) as b,
        Node(0, host=HOST, network="a", bootstrap=[url_of(a)], clock=clock) as c,
        Node(0, host=HOST, network="a", bootstrap=[url_of(b)], clock=clock) as d,
    ):
        assert (c.bootstrap_joined, d.bootstrap_joined) == (1, 0)
        assert known_to(b) == set()


async def test_what_goes_wrong_is_remembered_for_the_operator_with_what_to_do(clock: Time) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with Node(0, host=HOST, bootstrap=[f"ws://{HOST}:{a_free_port()}"], clock=clock) as node:
        await until(node.telemetry.errors)
        node._spawn(fail())
        await until(lambda: len(node.telemetry.errors()) == 2)
        newest, oldest = node.telemetry.errors()

    assert newest.what == "a task failed: this is a bug"
    assert oldest.what == "no bootstrap address answers"
    assert "--bootstrap" in oldest.hint
    assert abs(oldest.at - clock.now().wall) < HOUR_S


async def test_commits_of_the_disk_are_measured_and_refusals_of_the_disk_remembered(
    clock: Time, tmp_path: Path
) -> None:
    async with Node(0, host=HOST, data=tmp_path, clock=clock) as node:
        await until(lambda: any(name == "commit_seconds" for name, _, _ in node.telemetry.histograms()))
        node._disk.committed(
            Commit(1, 0.01, StoreError("the disk is full", hint="free some space")), clock.now().wall
        )

    assert node.counters.get("commits_failed") == 1
    assert [error.what for error in node.telemetry.errors()] == ["the disk refused records: the disk is full"]

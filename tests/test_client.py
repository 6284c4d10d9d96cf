"""A client of honest nodes: fail-over, its life, and what it tells of its nodes. Of hostile nodes: tests/hostile."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.sessions.kit import Party, Time, turns, until
from yzdht import (
    CasMismatch,
    Client,
    CryptoError,
    Group,
    Identity,
    Node,
    NoNode,
    NotAReader,
    NotFound,
    Origin,
    Public,
    PublisherRevoked,
    UsageError,
    ValueTooLarge,
    WriteQuorumFailed,
)
from yzdht.crypto.moving import sign_revocation
from yzdht.crypto.naming import network_id
from yzdht.crypto.sealing import Author, RecordDraft, Self, seal_record
from yzdht.crypto.signing import target_of
from yzdht.ids import Target
from yzdht.invitee import Waiting
from yzdht.invites import Offer
from yzdht.limits import (
    CLIENT_PATIENCE_S,
    DAY_S,
    DELEGATED_TIMEOUT_S,
    DELEGATED_TRIES_MAX,
    DIAL_PAUSE_S_MAX,
    GOODBYE_S_MAX,
    TURNED_AWAY_S_MIN,
    VALUE_BYTES_MAX,
)
from yzdht.ports import Now
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.rpc.engine import Answer
from yzdht.store.entropy import SystemRng
from yzdht.wire.invite_link import decode_invite_link
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import (
    Empty,
    Get,
    Got,
    Method,
    Put,
    PutDone,
    Redeem,
    RedeemAnswer,
    Refusal,
    Status,
)
from yzdht.wire.slot import Kind
from yzdht.wire.text import decode_slot_link


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body


pytestmark = pytest.mark.net


def url_of(node: Node) -> str:
    return f"ws://127.0.0.1:{node.port}"


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def nodes(clock: Time) -> AsyncIterator[list[Node]]:
    """Two nodes that know each other."""
    async with (
        Node(0, host="127.0.0.1", clock=clock) as first,
        Node(0, host="127.0.0.1", bootstrap=[url_of(first)], clock=clock) as second,
    ):
        await until(lambda: first.is_joined and second.is_joined)
        yield [first, second]


@pytest.fixture
def urls(nodes: list[Node]) -> list[str]:
    return [url_of(node) for node in nodes]


async def test_what_one_client_stores_another_reads_through_another_node(urls: list[str]) -> None:
    anna = Identity.generate()
    async with Client.connect(urls[0], identity=anna) as dht:
        receipt = await dht.store("note", b"private")
        await dht.store("board", b"public", readers=Public())
        assert (receipt.accepted, receipt.asked, receipt.needed) == (2, 2, 2)

    async with Client.connect(urls[1], identity=anna) as dht:
        value = await dht.get("note")
        assert (value.data, value.origin, value.seq) == (b"private", Origin.SEALED, receipt.seq)
    async with Client.connect(urls[1]) as dht:
        assert (await dht.get("board", publisher=anna.public_key)).data == b"public"
        with pytest.raises(NotFound):
            await dht.get("note")
        with pytest.raises(NotAReader):
            await dht.records.get_slot(*decode_slot_link(receipt.link))
        assert await dht.records.resolve_node_id(anna.node_id) == anna.public_key


async def test_a_node_is_told_along_how_many_paths_to_read(clock: Time) -> None:
    node = Party(clock)
    node.on_asked = lambda connection, number, _method, _body: connection.reply(
        number, Status.OK, Got((), 1, 1)
    )
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        await dht.get("note", default=None)
        await dht.get("note", disjoint=3, default=None)

    assert [body.paths for _, _, _, body in node.requests if isinstance(body, Get)] == [1, 1, 3, 3]
    await node.sessions.close()


def busy(clock: Time, wait_ms: int, times: int) -> Party:
    """A node that says so many times that it does too much for this client already; then it has nothing."""
    node = Party(clock)

    def serve(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        if len(node.requests) <= times:
            connection.reply(number, Status.RATE_LIMITED, Refusal(wait_ms))
        else:
            connection.reply(number, Status.OK, Got((), 1, 1))

    node.on_asked = serve
    return node


def refused(dht: Client, times: int) -> bool:
    return dht.counters.get("calls_failed", "rate_limited") == times


async def test_a_client_that_asked_for_too_much_waits_as_long_as_it_is_told(clock: Time) -> None:
    node = busy(clock, wait_ms=1, times=3)
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        assert await dht.get("note", default=None) is None

    assert len(node.requests) == 3 + 2  # the private slot, and the public one
    await node.sessions.close()


async def test_a_client_that_is_told_to_wait_for_long_asks_no_more(clock: Time) -> None:
    node = busy(clock, wait_ms=int(1000 * CLIENT_PATIENCE_S) + 1, times=1)
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        with pytest.raises(NoNode, match="rate_limited") as caught:
            await dht.get("note")

    assert "try again in some seconds" in caught.value.hint
    assert len(node.requests) == 1
    await node.sessions.close()


async def test_a_client_that_is_always_told_to_wait_gives_up(clock: Time) -> None:
    node = busy(clock, wait_ms=1_000, times=99)
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        getting = asyncio.ensure_future(dht.get("note"))
        for number, pause_s in enumerate(
            (1, 2, 4, 8), start=1
        ):  # longer each time: others were told the same
            await until(partial(refused, dht, number))
            await clock.advance(pause_s)
        with pytest.raises(NoNode, match="rate_limited"):
            await getting

    assert len(node.requests) == 5
    await node.sessions.close()


@pytest.mark.parametrize("body", [Refusal(0), Empty()])
async def test_a_client_that_is_told_not_to_wait_waits_and_gives_up(clock: Time, body: Body) -> None:
    node = Party(clock)
    node.on_asked = lambda connection, number, _method, _body: connection.reply(
        number, Status.RATE_LIMITED, body
    )
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        getting = asyncio.ensure_future(dht.get("note"))
        while not getting.done():
            await clock.advance(0.05)
            assert len(node.requests) <= DELEGATED_TRIES_MAX
        with pytest.raises(NoNode, match="rate_limited"):
            await getting

    await node.sessions.close()


async def test_calls_of_a_client_that_asks_for_much_queue_and_are_all_served_in_order(clock: Time) -> None:
    node, buckets, served = Party(clock), Buckets(1), []
    rate = Rate(per_s=10.0, burst=50.0)

    def serve(connection: Connection, number: int, _method: Method, body: Body) -> None:
        wait_s = buckets.take("", 1, rate, clock.now().mono)
        if wait_s:
            connection.reply(number, Status.RATE_LIMITED, Refusal(int(1_000 * wait_s) + 1))
        else:
            assert isinstance(body, Get)
            served.append(int.from_bytes(body.target))
            connection.reply(number, Status.OK, Got((), 1, 1))

    node.on_asked = serve
    await node.listen()
    count = 60 + int(10 * DELEGATED_TIMEOUT_S)
    async with Client([node.url], clock=clock) as dht:
        assert dht._nodes is not None
        calls = [
            asyncio.ensure_future(dht._nodes.call(node.url, Method.GET, Get(Target(number.to_bytes(32)))))
            for number in range(count)
        ]
        with clock.standing_still():
            while not all(call.done() for call in calls):
                await clock.advance(0.02)
                await turns(100)  # the node answers a few requests in each
        outcomes = [call.result() for call in calls]

    assert all(isinstance(outcome, Answer) and outcome.status is Status.OK for outcome in outcomes)
    assert sorted(served) == list(range(count))
    assert max(abs(place - number) for place, number in enumerate(served)) <= 8, "about in order"
    assert len(node.requests) < 4 * count
    await node.sessions.close()


def _show_no_move(dht: Client, connection: Connection, number: int, _method: Method, body: Body) -> None:
    """Answer what is asked before a write, and keep silent about the identity record."""
    if isinstance(body, Get) and body.target != Target(dht.identity.node_id):
        connection.reply(number, Status.OK, Got((), 1, 1))


async def test_nobody_waits_for_the_identity_record_but_the_end_a_little(clock: Time) -> None:
    def serve(connection: Connection, number: int, method: Method, body: Body) -> None:
        if isinstance(body, Put) and decode_record(body.record).kind is not Kind.IDENTITY:
            connection.reply(number, Status.OK, PutDone(1, 1, 1))
        _show_no_move(dht, connection, number, method, body)

    node = Party(clock)
    node.on_asked = serve
    await node.listen()
    dht = Client([node.url], clock=clock)
    await dht.__aenter__()

    assert (await dht.store("note", b"hello")).accepted == 1

    await until(lambda: len(node.requests) == 3)
    closing = asyncio.ensure_future(dht.__aexit__(None, None, None))
    await clock.advance(GOODBYE_S_MAX / 2)
    assert not closing.done()
    await clock.advance(GOODBYE_S_MAX)
    await closing
    await node.sessions.close()


async def test_who_is_told_that_a_publisher_is_revoked_stores_that_again_before_it_ends(clock: Time) -> None:
    anna = Identity.generate()
    revocation = sign_revocation(Author(anna.signer, anna.self_key, network_id("main")))
    target = target_of(decode_record(revocation), network_id("main"))

    def serve(connection: Connection, number: int, _method: Method, body: Body) -> None:
        if isinstance(body, Get):
            records = (revocation,) if body.target == target else ()
            connection.reply(number, Status.OK, Got(records, 1, 1))
        else:
            connection.reply(number, Status.OK, PutDone(1, 1, 1))

    node = Party(clock)
    node.on_asked = serve
    await node.listen()

    with pytest.raises(PublisherRevoked):
        async with Client([node.url], clock=clock) as dht:
            await dht.get("news", publisher=anna.public_key)

    assert [body.record for _, _, _, body in node.requests if isinstance(body, Put)] == [revocation]
    await node.sessions.close()


async def test_a_client_that_fails_ends_at_once(clock: Time) -> None:
    node = Party(clock)
    node.on_asked = lambda *request: _show_no_move(dht, *request)
    await node.listen()
    dht = Client([node.url], clock=clock)
    await dht.__aenter__()
    storing = asyncio.ensure_future(dht.store("note", b"hello"))
    await until(lambda: len(node.requests) == 3)
    before = clock.now().mono

    await dht.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)

    assert clock.now().mono - before < GOODBYE_S_MAX
    await asyncio.gather(storing, return_exceptions=True)
    await node.sessions.close()


async def test_disjoint_reads_find_what_is_there(urls: list[str]) -> None:
    async with Client.connect(*urls) as dht:
        await dht.store("note", b"hello")

        assert (await dht.get("note", disjoint=3)).data == b"hello"


async def test_a_client_goes_on_with_the_node_that_is_left(
    nodes: list[Node], urls: list[str], clock: Time
) -> None:
    async with Client(urls, clock=clock) as dht:
        await dht.store("note", b"1")
        await nodes[0].stop()

        assert (await dht.get("note")).data == b"1"
        assert (await dht.get("note")).data == b"1"


async def test_one_of_the_addresses_may_be_dead_from_the_beginning(urls: list[str]) -> None:
    async with Client.connect("ws://127.0.0.1:1", *urls) as dht:
        await dht.store("note", b"1")

        assert (await dht.get("note")).data == b"1"


async def test_a_session_that_was_lost_is_opened_again(nodes: list[Node], urls: list[str]) -> None:
    async with Client.connect(urls[0]) as dht:
        await dht.store("note", b"1")
        for connection in list(nodes[0].sessions._all):
            if connection.peer is not None and connection.peer.node_id == dht.identity.node_id:
                connection.link.abort()
        await until(lambda: dht._nodes is not None and len(dht._nodes._asking.sessions) == 0)

        assert (await dht.get("note")).data == b"1"


async def test_without_any_node_a_client_says_whom_it_tried_and_why(clock: Time) -> None:
    with pytest.raises(NoNode, match=r"ws://127\.0\.0\.1:1: ") as caught:
        async with Client(["ws://127.0.0.1:1", "ws://127.0.0.1:2"], clock=clock):
            pass

    assert "ws://127.0.0.1:2: " in str(caught.value)


async def test_a_client_that_is_turned_away_at_the_door_is_not_told_to_start_a_node(clock: Time) -> None:
    crowded = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{crowded.sockets[0].getsockname()[1]}"
    async with crowded:
        with pytest.raises(NoNode, match="closed the connection") as caught:
            async with Client([url], clock=clock):
                pass

    assert "try again in some seconds" in caught.value.hint


async def test_a_client_that_found_no_place_asks_again_before_it_gives_up(clock: Time) -> None:
    node = Party(clock)

    def serve(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        if len(node.requests) == 1:
            connection.part()
        else:
            connection.reply(number, Status.OK, Got((), 1, 1))

    node.on_asked = serve
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        with pytest.raises(NoNode, match="closed") as caught:
            await dht.get("note")
        assert "try again in some seconds" in caught.value.hint
        again = asyncio.ensure_future(dht.get("note", default=None))
        await until(lambda: bool(dht.counters.get("calls_failed", "busy")))
        await clock.advance(TURNED_AWAY_S_MIN)

        assert await again is None
    await node.sessions.close()


async def test_a_node_that_comes_back_is_used_again(clock: Time, tmp_path: Path) -> None:
    data = tmp_path / "data"
    node = Node(0, host="127.0.0.1", data=data, clock=clock)
    await node.start()
    port = node.port
    async with Client([url_of(node)], clock=clock) as dht:
        await dht.store("note", b"1")
        await node.stop()
        with pytest.raises(NoNode):
            await dht.get("note")

        async with Node(port, host="127.0.0.1", data=data, clock=clock):
            await clock.advance(DIAL_PAUSE_S_MAX)
            assert (await dht.get("note")).data == b"1"


async def test_a_conditional_write_repeated_through_another_node_meets_itself(urls: list[str]) -> None:
    """The first node may have stored it and died before it could say so; that it won nobody can know by then."""
    async with Client.connect(*urls) as dht:
        stored = await dht.store("note", b"1")
        _, tag = decode_slot_link(stored.link)
        identity, nodes = dht.identity, dht._nodes
        assert nodes is not None
        net = dht._network
        draft = RecordDraft(
            Kind.MUTABLE, int(nodes.now().wall), int(nodes.now().wall) + DAY_S, stored.seq + 1, tag
        )
        author = Author(identity.signer, identity.self_key, net)
        raw = seal_record(draft, b"2", Self(), author, SystemRng().token(24))
        target = dht.records._own_slot("note").target

        writings = [await nodes.write(target, raw, stored.seq, 0) for _ in range(2)]

        assert [w.is_quorum for w in writings] == [True, False]
        assert (writings[1].refusal, writings[1].number) == (Status.CAS_MISMATCH, decode_record(raw).seq)
        assert (await dht.get("note")).data == b"2"
        with pytest.raises(CasMismatch):
            await dht.store("note", b"3", if_seq=stored.seq)


async def test_a_ping_tells_who_answers_and_who_does_not(nodes: list[Node], urls: list[str]) -> None:
    async with Client.connect(*urls, "ws://127.0.0.1:1") as dht:
        first, second, dead = await dht.ping()

    assert [p.node_id for p in (first, second, dead)] == [nodes[0].node_id, nodes[1].node_id, None]
    assert first.seen_at == "127.0.0.1"
    assert first.took_s is not None
    assert first.took_s >= 0
    assert (first.error, dead.took_s, dead.seen_at) == ("", None, None)
    assert dead.error


async def test_another_network_or_network_key_does_not_connect(clock: Time) -> None:
    async with Node(0, host="127.0.0.1", network="private", network_key=b"k" * 32, clock=clock) as node:
        for options in ({}, {"network": "private"}, {"network_key": b"k" * 32}):
            with pytest.raises(NoNode):
                async with Client([url_of(node)], clock=clock, **options):
                    pass
        async with Client([url_of(node)], network="private", network_key=b"k" * 32, clock=clock) as dht:
            await dht.store("note", b"1")
        assert node.counters.get("handshakes_abandoned") == 3


async def test_the_largest_value_goes_through_the_network_and_one_byte_more_does_not(urls: list[str]) -> None:
    largest = os.urandom(VALUE_BYTES_MAX)
    person = Identity.generate()
    async with (
        Client.connect(urls[0], identity=person) as writer,
        Client.connect(urls[1], identity=person) as reader,
    ):
        for readers in (Self(), Public()):
            name = type(readers).__name__
            await writer.store(name, largest, readers=readers)
            assert (await reader.get(name)).data == largest
            with pytest.raises(ValueTooLarge, match="61,436"):
                await writer.store(name, largest + b"x", readers=readers)


@pytest.mark.parametrize(("ahead_s", "words"), [(4_000, "s fast"), (-40 * DAY_S, "s slow")])
async def test_a_clock_that_is_off_is_told_by_the_nodes(
    urls: list[str], clock: Time, ahead_s: int, words: str
) -> None:
    class Wrong:
        def now(self) -> Now:
            mono, wall = clock.now()
            return Now(mono, wall + ahead_s)

    async with Client(urls, clock=Wrong()) as dht:
        with pytest.raises(WriteQuorumFailed, match=words) as caught:
            await dht.store("note", b"1")

    found = re.search(r"your clock is (\d+) s", str(caught.value))
    assert found is not None
    assert abs(int(found[1]) - abs(ahead_s)) <= 2
    assert "clock" in caught.value.hint


# Its life


async def test_a_home_keeps_the_identity(urls: list[str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with Client.connect(urls[0], home=home, passphrase="correct horse") as dht:
        node_id = dht.identity.node_id
        await dht.store("note", b"1")

    async with Client.connect(urls[0], home=str(home), passphrase="correct horse") as dht:
        assert dht.identity.node_id == node_id
        assert (await dht.get("note")).data == b"1"
    with pytest.raises(CryptoError):
        async with Client.connect(urls[0], home=home, passphrase="wrong"):
            pass


@pytest.mark.parametrize("urls", [(), ("http://127.0.0.1",), ("ws://",), ("ws://127.0.0.1:1#abc",)])
async def test_what_is_no_address_is_refused_before_anything_is_opened(urls: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Client.connect(*urls)


async def test_a_client_that_is_not_connected_says_so() -> None:
    client = Client.connect("ws://127.0.0.1:1")
    for work in (client.get("note"), client.store("note", b""), client.delete("note"), client.ping()):
        with pytest.raises(UsageError):
            await work
    with pytest.raises(UsageError):
        _ = client.records


async def test_a_client_that_has_ended_says_so(urls: list[str]) -> None:
    async with Client.connect(urls[0]) as dht:
        pass

    with pytest.raises(UsageError):
        await dht.get("note")


async def test_a_client_leaves_nothing_behind(urls: list[str], tmp_path: Path) -> None:
    tasks, fds = asyncio.all_tasks(), psutil.Process(os.getpid()).num_fds()
    async with Client.connect(*urls, home=tmp_path / "home") as dht:
        await dht.records.people.publish()  # which the end of a client would wait for
        await dht.store("note", b"1")
        reading = asyncio.ensure_future(dht.get("note"))
    with pytest.raises(NoNode):
        await reading

    assert asyncio.all_tasks() == tasks
    assert psutil.Process(os.getpid()).num_fds() <= fds


async def test_calls_at_once_share_the_sessions(nodes: list[Node], urls: list[str]) -> None:
    async with Client.connect(*urls) as dht:
        await asyncio.gather(*(dht.store(f"note {n}", b"%d" % n) for n in range(20)))
        values = await asyncio.gather(*(dht.get(f"note {n}") for n in range(20)))

        assert [v.data for v in values] == [b"%d" % n for n in range(20)]
        assert dht.counters.get("sessions_opened") == 2
        for node in nodes:
            clients = [c for c, _ in node.sessions.open_connections() if c.node_id == dht.identity.node_id]
            assert len(clients) == 1


# Invites


def redeeming(clock: Time, *answers: RedeemAnswer | Refusal) -> Party:
    """A node that answers redemptions, one after the other, and finds nothing else."""
    node, waiting = Party(clock), list(answers)

    def serve(connection: Connection, number: int, method: Method, _body: Body) -> None:
        if method is not Method.REDEEM:
            connection.reply(number, Status.OK, Got((), 1, 1))
            return
        answer = waiting.pop(0)
        status = Status.NOT_FOUND if isinstance(answer, Refusal) else Status.OK
        connection.reply(number, status, answer)

    node.on_asked = serve
    return node


def redemptions(node: Party) -> list[bytes]:
    return [body.redemption for _, _, _, body in node.requests if isinstance(body, Redeem)]


async def test_a_redemption_goes_to_the_issuer_and_to_no_other_node(clock: Time) -> None:
    issuer, other = redeeming(clock, RedeemAnswer(9)), redeeming(clock)
    for node in (issuer, other):
        await node.listen()
    async with Client([other.url, issuer.url], clock=clock) as dht:
        assert dht._nodes is not None
        assert await dht._nodes.redeem(issuer.identity.public_key, bytes(225), []) == RedeemAnswer(9)
        assert await dht._nodes.redeem(dht.identity.public_key, bytes(225), []) is None

    assert redemptions(issuer) == [bytes(225)]
    assert redemptions(other) == []
    for node in (issuer, other):
        await node.sessions.close()


async def test_an_issuer_that_redeems_nothing_is_as_good_as_none(clock: Time) -> None:
    node = redeeming(clock, Refusal())
    await node.listen()
    async with Client([node.url], clock=clock) as dht:
        assert dht._nodes is not None
        assert await dht._nodes.redeem(node.identity.public_key, bytes(225), []) is None
    await node.sessions.close()


async def test_an_issuer_is_found_where_it_says_it_is_if_that_is_no_door_into_another_network(
    clock: Time,
) -> None:
    near, issuer = redeeming(clock), redeeming(clock, RedeemAnswer(0))
    for node in (near, issuer):
        await node.listen()
    async with Client([near.url], clock=clock) as dht:
        assert dht._nodes is not None
        assert await dht._nodes.redeem(issuer.identity.public_key, bytes(225), ["ws://10.0.0.1:9"]) is None
        heard = [issuer.url]
        assert await dht._nodes.redeem(issuer.identity.public_key, bytes(225), heard) == RedeemAnswer(0)
    for node in (near, issuer):
        await node.sessions.close()


async def test_a_client_issues_and_joins(urls: list[str], tmp_path: Path) -> None:
    async with (
        Client.connect(urls[0], home=tmp_path / "anna") as anna,
        Client.connect(urls[1], home=tmp_path / "ben") as ben,
    ):
        await anna.groups.create("family")
        issued = await anna.invites.invite_group("family", Offer())

        async def served(_: float) -> None:
            await anna.invites.serve_once()

        link = decode_invite_link(issued.link)
        joined = await ben.invites.join(link, "ours", Waiting(60.0, 1.0, served))

        assert joined.name == "ours"
        await anna.store("plan", b"at nine", readers=Group("family"))
        assert (await ben.get("plan", group="ours")).data == b"at nine"
        await anna.groups.remove("family", ben.identity.public_key)
        assert [s.row.revoked_at is None for s in anna.invites.standings()] == [False]
    assert (tmp_path / "anna" / "invites.sqlite").exists()

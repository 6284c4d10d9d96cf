"""DIAL_BACK over real sockets: what an asker learns, and that nobody else can be scanned or flooded by it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self

import pytest

from tests.sessions.kit import CLIENT, Party, Time, session_with, until
from yzdht import Node
from yzdht.limits import DIAL_BACK_S_MAX, DIAL_BACKS_BURST_PER_PREFIX, DIAL_TIMEOUT_S
from yzdht.reachability import Word
from yzdht.rpc.engine import Answer
from yzdht.wire.address import Contact
from yzdht.wire.rpc import DialBack, DialledBack, FindNode, FoundNodes, Method, Status


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.net

HOST = "127.0.0.1"
ELSEWHERE = "127.0.0.2"


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def node(clock: Time) -> AsyncIterator[Node]:
    async with Node(0, host=HOST, clock=clock, allow_private=True) as node:
        yield node


@pytest.fixture
async def asker(clock: Time) -> AsyncIterator[Party]:
    party = Party(clock)
    await party.listen()
    yield party
    await party.sessions.close()


class Bystander:
    """Somebody who has nothing to do with it, and counts who comes."""

    def __init__(self) -> None:
        self.met = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, ELSEWHERE, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _meet(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        writer.close()


def contact_of(node: Node) -> Contact:
    own = node.identity
    return Contact(own.node_id, own.public_key, (f"ws://{HOST}:{node.port}",), node.engine._own.contact.caps)


async def answer_of(asker: Party, node: Node, *urls: str) -> Answer:
    answer = await asker.answer_to(
        asker.ask(contact_of(node), Method.DIAL_BACK, DialBack(urls), 4 * DIAL_BACK_S_MAX)
    )
    assert isinstance(answer, Answer)
    return answer


async def words_of(asker: Party, node: Node, *urls: str) -> list[tuple[bool, str]]:
    answer = await answer_of(asker, node, *urls)
    assert isinstance(answer.body, DialledBack)
    return [(result.is_reachable, result.error) for result in answer.body.results]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


async def test_who_can_be_dialled_hears_so_and_sees_the_ping_of_a_session_of_its_own(
    node: Node, asker: Party
) -> None:
    await asker.answer_to(asker.ask(contact_of(node)))
    standing = session_with(asker.sessions, node.node_id)
    changes = len(asker.links)

    assert await words_of(asker, node, asker.url) == [(True, "")]

    [(connection, _, method, _)] = [r for r in asker.requests if r[0] is not standing]
    assert method is Method.PING
    assert (connection.is_initiator, connection.is_client) == (False, True)
    assert connection.node_id == node.node_id
    assert session_with(asker.sessions, node.node_id) is standing
    assert len(asker.links) == changes
    assert len([c for c in node.sessions._all if c.node_id == asker.node_id]) == 1


async def test_a_node_that_is_a_client_for_want_of_reach_is_dialled_back_too(node: Node, clock: Time) -> None:
    client = Party(clock, caps=CLIENT)
    await client.listen()

    assert await words_of(client, node, client.url) == [(True, "")]

    await client.sessions.close()


async def test_a_port_where_nobody_listens_is_refused(node: Node, asker: Party) -> None:
    assert await words_of(asker, node, f"ws://{HOST}:{closed_port()}") == [(False, Word.REFUSED)]


async def test_a_place_where_another_node_answers_is_not_the_askers_and_nothing_is_learnt_of_it(
    node: Node, asker: Party, clock: Time
) -> None:
    async with Node(0, host=HOST, clock=clock) as other:
        url = f"ws://{HOST}:{other.port}"

        assert await words_of(asker, node, url) == [(False, Word.ANOTHER)]

        assert node.engine.table.get(other.node_id) is None
        assert other.engine.table.get(node.node_id) is None
        answer = await asker.answer_to(
            asker.ask(contact_of(node), Method.FIND_NODE, FindNode(bytes(32)))  # type: ignore[arg-type] # any target
        )
        assert isinstance(answer, Answer)
        assert isinstance(answer.body, FoundNodes)
        assert other.identity.public_key not in [c.public_key for c in answer.body.contacts]


async def test_an_address_that_the_request_did_not_come_from_is_never_dialled(
    node: Node, asker: Party
) -> None:
    async with Bystander() as bystander:
        words = await words_of(asker, node, f"ws://{ELSEWHERE}:{bystander.port}")

        assert words == [(False, Word.NOT_YOURS)]
        assert bystander.met == 0


async def test_a_name_is_dialled_only_if_it_leads_to_the_asker_alone(
    node: Node, asker: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_to(monkeypatch, [HOST])

    assert await words_of(asker, node, f"ws://asker.example:{port_of(asker)}") == [(True, "")]


async def test_a_name_that_leads_elsewhere_is_not_dialled(
    node: Node, asker: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bystander() as bystander:
        lead_to(monkeypatch, [ELSEWHERE])

        words = await words_of(asker, node, f"ws://asker.example:{bystander.port}")

        assert words == [(False, Word.NOT_YOURS)]
        assert bystander.met == 0


async def test_a_name_that_leads_elsewhere_by_the_time_it_is_dialled_is_not_dialled(
    node: Node, asker: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bystander() as bystander:
        lead_to(monkeypatch, [HOST], [ELSEWHERE])

        [(is_reachable, _)] = await words_of(asker, node, f"ws://asker.example:{bystander.port}")

        assert not is_reachable
        assert bystander.met == 0


async def test_of_a_name_with_several_addresses_only_the_askers_is_dialled(
    node: Node, asker: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bystander() as bystander:
        lead_to(monkeypatch, [ELSEWHERE, HOST])

        words = await words_of(
            asker, node, f"ws://asker.example:{port_of(asker)}", f"ws://asker.example:{bystander.port}"
        )

        assert words == [(True, ""), (False, Word.REFUSED)]
        assert bystander.met == 0


@pytest.mark.parametrize(
    "url",
    [
        f"ws://{HOST}:22",
        f"ws://{HOST}:25",
        f"ws://{HOST}:9999/delete?all=1",
        f"ws://{HOST}:9999/a.php",
        f"ws://{HOST}:9999/a/b/c",
        f"ws://{HOST}:9999/..",
        f"udp://{HOST}:9999",
        "nonsense",
    ],
)
async def test_services_of_the_system_and_speaking_paths_are_not_dialled(
    node: Node, asker: Party, url: str
) -> None:
    assert await words_of(asker, node, url) == [(False, Word.NOT_DIALLED)]


async def test_a_peer_is_dialled_back_once_a_minute(node: Node, asker: Party, clock: Time) -> None:
    await words_of(asker, node, asker.url)

    again = await answer_of(asker, node, asker.url)
    assert again.status is Status.RATE_LIMITED
    assert node.counters.get("rate_limited", "dial_backs") == 1

    await clock.advance(60.0)
    assert (await answer_of(asker, node, asker.url)).status is Status.OK


async def test_many_identities_at_one_address_do_not_have_it_dialled_more_often(
    node: Node, clock: Time
) -> None:
    askers = [Party(clock, caps=CLIENT) for _ in range(int(DIAL_BACKS_BURST_PER_PREFIX) + 2)]
    statuses = [(await answer_of(asker, node, f"ws://{HOST}:{closed_port()}")).status for asker in askers]
    for asker in askers:
        await asker.sessions.close()

    assert Status.RATE_LIMITED in statuses
    assert statuses.count(Status.OK) <= DIAL_BACKS_BURST_PER_PREFIX


async def test_one_request_of_a_peer_is_under_way_at_a_time_and_a_silent_host_holds_no_place_for_long(
    node: Node, asker: Party, clock: Time
) -> None:
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        url = f"ws://{HOST}:{silent.getsockname()[1]}"
        first = asker.ask(contact_of(node), Method.DIAL_BACK, DialBack((url,)), 600.0)
        dialler = node._pump.back_dialler
        assert dialler is not None
        await until(lambda: dialler._under_way)

        for _ in range(4):
            await clock.advance(max(DIAL_TIMEOUT_S, DIAL_BACK_S_MAX) / 2)
        answer = await asker.answer_to(first)

        assert isinstance(answer, Answer)
        assert isinstance(answer.body, DialledBack)
        assert answer.body.results[0].error == Word.SILENT
        assert not dialler._under_way


async def test_what_a_trusted_proxy_forwards_has_nobody_dial_the_proxy(asker: Party, clock: Time) -> None:
    async with Node(0, host=HOST, clock=clock, allow_private=True, trusted_proxies=["127.0.0.0/8"]) as behind:
        assert await words_of(asker, behind, asker.url) == [(False, Word.NOT_DIALLED)]


class Relay:
    """Stands in front of a node as a proxy does, and says in the opening for whom it speaks."""

    def __init__(self, node: Node, speaks_for: str) -> None:
        self._node = node
        self._header = f"X-Forwarded-For: {speaks_for}\r\n\r\n".encode()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = await reader.readuntil(b"\r\n\r\n")
        inner, outer = await asyncio.open_connection(HOST, self._node.port)
        self._writers += [writer, outer]
        outer.write(opening[:-2] + self._header)
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(_carry(reader, outer)), loop.create_task(_carry(inner, writer))]


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


async def words_through(relay: Relay, asker: Party, node: Node, *urls: str) -> list[tuple[bool, str]]:
    own = node.identity
    at_relay = (f"ws://{HOST}:{relay.port}",)
    contact = Contact(own.node_id, own.public_key, at_relay, node.engine._own.contact.caps)
    call = asker.ask(contact, Method.DIAL_BACK, DialBack(urls), 4 * DIAL_BACK_S_MAX)
    answer = await asker.answer_to(call)
    assert isinstance(answer, Answer)
    assert isinstance(answer.body, DialledBack)
    return [(result.is_reachable, result.error) for result in answer.body.results]


async def test_behind_a_trusted_proxy_the_forwarded_address_is_dialled_and_the_proxys_is_not(
    clock: Time,
) -> None:
    asker = Party(clock)
    await asker.listen(ELSEWHERE)
    async with (
        Node(0, host=HOST, clock=clock, allow_private=True, trusted_proxies=[HOST]) as behind,
        Relay(behind, ELSEWHERE) as relay,
    ):
        words = await words_through(relay, asker, behind, asker.url, f"ws://{HOST}:{relay.port}")

        assert words == [(True, ""), (False, Word.NOT_YOURS)]
        await asker.sessions.close()


async def test_an_address_that_a_stranger_claims_in_a_header_is_not_dialled(clock: Time) -> None:
    asker = Party(clock)
    async with (
        Bystander() as bystander,
        Node(0, host=HOST, clock=clock, allow_private=True) as plain,
        Relay(plain, ELSEWHERE) as relay,
    ):
        words = await words_through(relay, asker, plain, f"ws://{ELSEWHERE}:{bystander.port}")

        assert words == [(False, Word.NOT_YOURS)]
        assert bystander.met == 0
        await asker.sessions.close()


async def test_loopback_is_not_dialled_unless_private_addresses_are_allowed(
    asker: Party, clock: Time
) -> None:
    async with Node(0, host=HOST, clock=clock) as plain:
        assert await words_of(asker, plain, asker.url) == [(False, Word.NOT_DIALLED)]
        assert [r for r in asker.requests if r[2] is Method.PING and not r[0].is_initiator] == []


def port_of(party: Party) -> int:
    return int(party.url.rpartition(":")[2])


def lead_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Have the system's resolver give these answers for names, one after another, the last for ever."""
    real = socket.getaddrinfo
    left = list(answers)

    def find(host: str, port: int, *args: object, **kwargs: object) -> object:
        if not host.endswith(".example"):
            return real(host, port, *args, **kwargs)  # type: ignore[arg-type] # handed on as they are
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", find)

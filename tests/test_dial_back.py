"""DIAL_BACK over real sockets: what an asker learns, and that nobody else can be scanned or flooded by it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import pytest

from tests.sessions.kit import CLIENT, NODE, Party, Time, session_with, turns, until
from tests.transport.authority import Authority
from yzdht import Node
from yzdht.background import Background
from yzdht.config import Tls
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.dial_back import BackDialler, word_of_failure
from yzdht.errors import DialFailed
from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.limits import (
    DIAL_BACK_S_HURRIED,
    DIAL_BACK_S_MAX,
    DIAL_BACKS_AT_ONCE_MAX,
    DIAL_BACKS_AT_ONCE_PER_PREFIX_MAX,
    DIAL_BACKS_BURST_PER_PREFIX,
    DIAL_BACKS_PER_S,
    DIAL_TIMEOUT_S,
    SILENT_PREFIX_S,
)
from yzdht.reachability import Word
from yzdht.rpc.engine import Answer, Peer
from yzdht.sessions.world import World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters, Telemetry
from yzdht.transport.one_port import OnePort
from yzdht.wire.address import Contact, limit_prefix, public_prefix
from yzdht.wire.rpc import DialBack, DialledBack, FindNode, FoundNodes, Method, Status


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from yzdht.ports import Endpoint, Link, LinkHandler, Listener
    from yzdht.wire.rpc import Body


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


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else is given meanwhile."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


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
    with closed_port() as port:
        assert await words_of(asker, node, f"ws://{HOST}:{port}") == [(False, Word.REFUSED)]


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


async def test_a_name_that_leads_to_the_asker_is_dialled(
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

        words = await words_of(asker, node, f"ws://asker.example:{bystander.port}")

        assert words == [(False, Word.REFUSED)]  # of the asker's own address
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


async def test_of_a_wss_name_with_several_addresses_the_askers_is_dialled_under_that_name(
    clock: Time, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    served = authority.served("asker", ("asker.example",))
    asker = Party(clock, OnePort(tls=lambda: served))
    await asker.listen()
    lead_to(monkeypatch, [ELSEWHERE, HOST])
    async with (
        Bystander() as bystander,
        Node(0, host=HOST, clock=clock, allow_private=True, tls=Tls(ca=authority.ca)) as trusting,
        Node(0, host=HOST, clock=clock, allow_private=True) as other,
    ):
        names = [f"wss://{name}.example:{port_of(asker)}" for name in ("asker", "another")]
        assert await words_of(asker, trusting, *names) == [(True, ""), (False, Word.UNTRUSTED)]
        assert await words_of(asker, other, names[0]) == [(False, Word.UNTRUSTED)]
        assert bystander.met == 0
        await asker.sessions.close()


def test_a_failed_dial_is_told_by_its_cause() -> None:
    def failed(cause: Exception | None, text: str = "") -> DialFailed:
        error = DialFailed(text)
        error.__cause__ = cause
        return error

    told = {
        Word.REFUSED: failed(ConnectionRefusedError()),
        Word.REJECTED: failed(OSError(errno.EHOSTUNREACH, "no route")),
        Word.SILENT: failed(TimeoutError()),
        Word.UNTRUSTED: failed(ssl.SSLCertVerificationError()),
        Word.NO_NODE: failed(None, "closed the connection while it was being opened"),
    }

    assert {word: word_of_failure(error) for word, error in told.items()} == {word: word for word in told}
    assert word_of_failure(failed(None, "the handshake timed out")) is Word.SILENT


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE", "ENOBUFS", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EPERM"])
def test_what_keeps_the_prober_from_dialling_anybody_is_no_denial(number: str) -> None:
    error = DialFailed("failed")
    error.__cause__ = OSError(getattr(errno, number), "of this machine")

    assert word_of_failure(error) is Word.NOT_DIALLED


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
    with closed_port() as port:
        statuses = [(await answer_of(asker, node, f"ws://{HOST}:{port}")).status for asker in askers]
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


class Wasteland:
    """A transport: what is dialled below 12.0.0.0 never answers, and everything else refuses."""

    schemes = frozenset({"tcp"})

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> Link:
        if url.startswith("tcp://11."):
            await asyncio.Future()
        raise DialFailed("refused") from ConnectionRefusedError()

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> Listener:
        raise AssertionError("nobody listens here")


@dataclass
class Line:
    """The session of an asker at some public address, as far as DIAL_BACK looks at it."""

    peer: Peer
    statuses: list[Status] = field(default_factory=list)

    words: list[str] = field(default_factory=list)

    def reply(self, _number: int, status: Status, body: Body) -> None:
        self.statuses.append(status)
        if isinstance(body, DialledBack):
            self.words += [result.error for result in body.results]


class Answerer:
    """The answering end alone, among as many prefixes as a test wants."""

    def __init__(self, clock: Time) -> None:
        self.background = Background(lambda _task: None)
        credentials = Credentials(Identity.generate().signer, network_id("main"), NODE, None)
        world = World(credentials, [Wasteland()], clock, Counters())
        self.dialler = BackDialler(world, self.background, Telemetry())
        self._key = Identity.generate().public_key
        self._ids = iter(range(1, 1 << 20))

    def line(self, host: str) -> Line:
        """A new identity at an address."""
        node_id = NodeId(next(self._ids).to_bytes(32))
        return Line(
            Peer(node_id, PublicKey(self._key), NODE, SessionId(bytes(16)), host, public_prefix(host))
        )

    def ask(self, line: Line) -> Line:
        body = DialBack((f"tcp://{line.peer.host}:8083",))
        self.dialler.serve(line, 1, body)  # type: ignore[arg-type] # of a connection it uses no more
        return line


async def test_attackers_from_a_dozen_prefixes_do_not_keep_an_honest_asker_from_an_answer_for_two_rounds(
    clock: Time,
) -> None:
    answerer = Answerer(clock)
    rounds: list[int] = []
    asker, asked = answerer.line("12.0.0.1"), 0
    with clock.standing_still():
        for second in range(360):
            for prefix in range(12):
                for _ in range(DIAL_BACKS_AT_ONCE_PER_PREFIX_MAX + 1):
                    answerer.ask(answerer.line(f"11.{prefix}.0.1"))
            if second % 30 == 0:
                answerer.ask(asker)
                asked += 1
                await until(lambda: len(asker.statuses) == asked)  # noqa: B023 - of this very round
                if asker.statuses[-1] is Status.OK:
                    rounds.append(asked)
                    asker, asked = answerer.line(f"12.0.{second}.1"), 0
            await clock.advance(1.0)
    await answerer.background.finish(0)

    assert len(rounds) >= 6
    assert max(rounds) <= 2


async def test_a_prefix_has_a_part_of_the_places_and_is_charged_nothing_where_it_has_none(
    clock: Time,
) -> None:
    answerer = Answerer(clock)
    with clock.standing_still():
        lines = [answerer.ask(answerer.line(f"11.0.0.{n}")) for n in range(1, 5)]
        assert [line.statuses for line in lines] == [[]] * 2 + [[Status.BUSY]] * 2

        await turns(3)
        await clock.advance(DIAL_BACK_S_MAX)
        await until(lambda: not answerer.dialler._under_way)
        again = [answerer.ask(line) for line in lines[2:]]
        await turns(3)
        await clock.advance(DIAL_BACK_S_HURRIED)
        await until(lambda: not answerer.dialler._under_way)

    assert [line.statuses for line in again] == [[Status.BUSY, Status.OK]] * 2
    await answerer.background.finish(0)


async def test_whoever_did_not_answer_lately_holds_a_place_for_a_moment_and_half_of_them_are_held_no_longer(
    clock: Time,
) -> None:
    answerer = Answerer(clock)
    with clock.standing_still():
        lines = [answerer.ask(answerer.line(f"11.{n}.0.1")) for n in range(DIAL_BACKS_AT_ONCE_MAX)]
        assert answerer.ask(answerer.line("12.0.0.1")).statuses == [Status.BUSY]

        await turns(3)
        await clock.advance(DIAL_BACK_S_HURRIED)
        await until(lambda: len(answerer.dialler._under_way) == DIAL_BACKS_AT_ONCE_MAX // 2)
        assert [line.statuses for line in lines[DIAL_BACKS_AT_ONCE_MAX // 2 :]] == [[Status.OK]] * 4
        assert [line.words for line in lines[DIAL_BACKS_AT_ONCE_MAX // 2 :]] == [[Word.NOT_DIALLED]] * 4
        await turns(3)
        await clock.advance(DIAL_BACK_S_MAX)
        await until(lambda: not answerer.dialler._under_way)

        again = answerer.ask(answerer.line("11.0.0.1"))
        await turns(3)
        await clock.advance(DIAL_BACK_S_HURRIED)
        await until(lambda: again.statuses)
        assert [line.words for line in (lines[0], again)] == [[Word.SILENT], [Word.NOT_DIALLED]]
        # What was hurried shows no silence: the next one after a while has its full time again.
        await clock.advance(SILENT_PREFIX_S - DIAL_BACK_S_HURRIED)
        assert answerer.dialler._time_s(limit_prefix("11.0.0.1") or "") == DIAL_BACK_S_MAX
    await answerer.background.finish(0)


def test_the_places_that_are_held_for_a_moment_cannot_all_be_taken_at_the_rate_of_all() -> None:
    assert DIAL_BACKS_PER_S * DIAL_BACK_S_HURRIED < DIAL_BACKS_AT_ONCE_MAX / 2

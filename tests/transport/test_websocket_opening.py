"""The opening handshake, against strangers at either end."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from typing import TYPE_CHECKING, Self

import pytest
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.utils import accept_key

from tests.transport.roads import PATIENCE_S, Owners, turns
from tests.transport.strangers import Stranger, frame, request
from yzdht.errors import DialFailed
from yzdht.limits import (
    ACCEPTS_PER_LOOP_TURN,
    OPENING_BYTES_MAX,
    OPENINGS_PER_LOOP_TURN,
)
from yzdht.transport import openings as openings_module
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.first_bytes import Kind
from yzdht.transport.openings import Openings, ServerOpening
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.transport.roads import Owner
    from yzdht.ports import Endpoint, Link, Listener


class Door:
    """A listener, who came in and who did not."""

    def __init__(self, opening_s: float) -> None:
        self.owners = Owners()
        self.refused: asyncio.Queue[tuple[Endpoint, str]] = asyncio.Queue()
        self.transport = WebSocketTransport(
            on_refused=lambda remote, reason: self.refused.put_nowait((remote, reason)), opening_s=opening_s
        )
        self.listener: Listener
        self.asked: list[Endpoint] = []
        self.is_admitting = True
        self.strangers: list[Stranger] = []

    async def open(self) -> None:
        self.listener = await self.transport.listen("127.0.0.1", 0, self.owners, self.admit)

    def admit(self, remote: Endpoint) -> bool:
        self.asked.append(remote)
        return self.is_admitting

    async def knock(self) -> Stranger:
        self.strangers.append(await Stranger.call(self.listener.endpoints[0].port))
        return self.strangers[-1]

    async def refusal(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            remote, reason = await self.refused.get()
        assert remote.host == "127.0.0.1"
        assert remote.protocol == "ws"
        return reason

    async def shut(self) -> None:
        await self.listener.close()
        while not self.owners.made.empty():
            owner = self.owners.made.get_nowait()
            owner.link.abort()
            await owner.closed()
        for stranger in self.strangers:
            await stranger.hang_up()
        await turns(3)


@pytest.fixture
async def make_door() -> AsyncIterator[Callable[[float], Door]]:
    doors: list[Door] = []

    def make(opening_s: float) -> Door:
        doors.append(Door(opening_s))
        return doors[-1]

    yield make
    for door in doors:
        await door.shut()


@pytest.fixture
async def door(make_door: Callable[[float], Door]) -> Door:
    door = make_door(PATIENCE_S)
    await door.open()
    return door


# Listening


@pytest.mark.parametrize("path", ["/", "/ws", "/?session=1", "/ws?x=/y"])
async def test_both_paths_open_with_or_without_a_query(door: Door, path: str) -> None:
    stranger = await door.knock()
    stranger.say(request(path))

    assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
    stranger.say(frame(Opcode.BINARY, b"hello"))

    assert await (await door.owners.next()).take(1) == [b"hello"]
    assert door.refused.empty()


@pytest.mark.parametrize("path", ["/nothing", "/ws/", "/WS", "//", "/../ws", "http://node/ws", "*"])
async def test_other_paths_are_not_found(door: Door, path: str) -> None:
    stranger = await door.knock()
    stranger.say(request(path))

    assert (await stranger.hear_head()).startswith("HTTP/1.1 404 ")
    await stranger.hear_rest()
    assert await door.refusal() == "wrong path"
    assert door.owners.count == 0


async def test_a_plain_get_is_told_to_upgrade(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")

    head = await stranger.hear_head()

    assert head.startswith("HTTP/1.1 426 ")
    assert "Upgrade: websocket" in head
    assert b"WebSocket" in await stranger.hear_rest()
    assert await door.refusal() == "not a WebSocket request"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (request().replace(b"GET", b"POST", 1), "405"),
        (request().replace(b"HTTP/1.1", b"HTTP/1.0", 1), "505"),
        (request().replace(b"Version: 13", b"Version: 8"), "400"),
        (request().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), "400"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", "414"),
        (request(more="X: y\r\n" * 200), "431"),
        (request(more="X: " + "y" * 9_000 + "\r\n"), "431"),
    ],
)
async def test_a_request_that_cannot_open_is_answered_in_http(door: Door, said: bytes, status: str) -> None:
    stranger = await door.knock()
    stranger.say(said)

    assert (await stranger.hear_head()).split()[1] == status
    await stranger.hear_rest()
    assert await door.refusal() == "not a WebSocket request"
    assert door.owners.count == 0


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\n",
        b"SSH-2.0-x\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_closed(door: Door, said: bytes) -> None:
    stranger = await door.knock()
    stranger.say(said)

    assert await stranger.hear_rest() == b""
    assert await door.refusal() == "not a WebSocket request"


async def test_an_opening_that_does_not_finish_is_closed_and_reported(
    make_door: Callable[[float], Door],
) -> None:
    door = make_door(0.03)
    await door.open()
    stranger = await door.knock()
    stranger.say(b"GET / HTTP/1.1\r\nHost: no")

    assert await stranger.hear_rest() == b""
    assert await door.refusal() == "timed out"
    assert door.owners.count == 0


async def test_a_silent_connection_is_closed_and_reported(make_door: Callable[[float], Door]) -> None:
    door = make_door(0.03)
    await door.open()
    stranger = await door.knock()

    assert await stranger.hear_rest() == b""
    assert await door.refusal() == "timed out"


async def test_who_stays_after_a_refusal_is_closed_and_reported_once(
    make_door: Callable[[float], Door],
) -> None:
    door = make_door(0.03)
    await door.open()
    stranger = await door.knock()
    stranger.say(request("/nothing"))
    await stranger.hear_head()
    await stranger.hear_rest()
    stranger.say(b"still here")

    async with asyncio.timeout(PATIENCE_S):
        await door.listener.close()
        while door.listener._openings.pending:  # type: ignore[attr-defined]  # no other way to see it from outside
            await turns(1)

    assert await door.refusal() == "wrong path"
    assert door.refused.empty()


async def test_an_opened_connection_is_no_longer_timed(make_door: Callable[[float], Door]) -> None:
    door = make_door(0.05)
    await door.open()
    first = await door.knock()
    first.say(request())
    await first.hear_head()
    second = await door.knock()
    assert await second.hear_rest() == b""  # whose time began later, and is over

    first.say(frame(Opcode.BINARY, b"still here"))

    assert await (await door.owners.next()).take(1) == [b"still here"]


async def test_a_request_above_the_bound_is_closed(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(b"GET / HTTP/1.1\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * (OPENING_BYTES_MAX // 32))

    await stranger.hear_rest()
    assert await door.refusal() in {"opening too large", "not a WebSocket request"}
    assert door.owners.count == 0


async def test_long_lines_within_the_library_s_bounds_meet_ours(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(request(more=("X: " + "y" * 6_000 + "\r\n") * 3))

    assert await stranger.hear_rest() == b""
    assert await door.refusal() == "opening too large"


async def test_who_leaves_early_is_reported(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(b"GET / HT")
    await stranger.hang_up()

    assert await door.refusal() == "closed early"


async def test_frames_before_the_answer_are_refused(door: Door) -> None:
    whole = (frame(Opcode.CLOSE), frame(Opcode.BINARY, b"x"), frame(Opcode.PING), b"\xff\xff\xff\xff")
    for early in (*whole, b"\x82", frame(Opcode.BINARY, b"half")[:-1]):
        stranger = await door.knock()
        stranger.say(request() + early)

        assert await stranger.hear_rest() == b""
        assert await door.refusal() == "not a WebSocket request"
    assert door.owners.count == 0


async def test_the_oldest_opening_makes_room(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings_module, "OPENINGS_MAX", 2)
    oldest, *others = [await door.knock() for _ in range(3)]

    assert await oldest.hear_rest() == b""
    assert await door.refusal() == "crowded out"
    for stranger in others:
        stranger.say(request())
        assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
    assert door.refused.empty()


async def test_closing_the_listener_drops_what_is_half_open(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(request()[:-2])
    probe = await door.knock()
    probe.say(request())
    await probe.hear_head()  # so the one before it was seen too

    await door.listener.close()

    assert await stranger.hear_rest() == b""
    assert await door.refusal() == "not listening"


async def test_no_extension_and_no_subprotocol_is_taken_from_any_origin(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(
        request(
            more="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            "Sec-WebSocket-Protocol: chat\r\nOrigin: https://elsewhere.example\r\n"
        )
    )

    head = await stranger.hear_head()

    assert head.startswith("HTTP/1.1 101 ")
    assert "Extensions" not in head
    assert "Protocol:" not in head


async def test_an_open_link_keeps_nothing_of_its_request(door: Door) -> None:
    stranger = await door.knock()
    stranger.say(request(more="X-Padding: a header that a proxy added\r\n"))
    await stranger.hear_head()
    gc.collect()

    assert [kept for kept in gc.get_objects() if isinstance(kept, Request)] == []


async def test_a_link_that_accept_refuses_hears_nothing(make_door: Callable[[float], Door]) -> None:
    door = make_door(PATIENCE_S)
    door.listener = await door.transport.listen("127.0.0.1", 0, lambda _link: None)
    stranger = await door.knock()
    stranger.say(request())

    assert await stranger.hear_rest() == b""
    assert door.refused.empty()


async def test_who_is_not_admitted_is_closed_before_anything_is_read_and_not_reported(door: Door) -> None:
    door.is_admitting = False
    stranger = await door.knock()
    assert await stranger.hear_rest() == b""
    assert len(door.asked) == 1
    assert door.owners.count == 0

    door.is_admitting = True
    friend = await door.knock()
    assert len(door.asked) <= 2
    friend.say(request())
    assert (await friend.hear_head()).startswith("HTTP/1.1 101 ")
    assert len(door.asked) == 2  # once for a connection, not again for its request
    assert door.refused.empty()


async def test_many_that_ask_at_once_are_all_answered(door: Door) -> None:
    strangers = [await door.knock() for _ in range(3 * OPENINGS_PER_LOOP_TURN)]
    for stranger in strangers:
        stranger.say(request())

    for stranger in strangers:
        assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
        stranger.say(frame(Opcode.BINARY, b"hello"))
    for _ in strangers:
        owner = await door.owners.next()
        assert await owner.take(1) == [b"hello"]
        owner.link.abort()
        await owner.closed()


async def test_a_burst_of_connections_is_accepted_in_turns(make_door: Callable[[float], Door]) -> None:
    door = make_door(PATIENCE_S)
    at: list[int] = []
    turn = 0

    def admit(_remote: Endpoint) -> bool:
        at.append(turn)
        return True

    door.listener = await door.transport.listen("127.0.0.1", 0, door.owners, admit)
    address = ("127.0.0.1", door.listener.endpoints[0].port)
    callers = [socket.create_connection(address) for _ in range(3 * ACCEPTS_PER_LOOP_TURN)]
    async with asyncio.timeout(PATIENCE_S):
        while len(at) < len(callers):
            turn += 1
            await asyncio.sleep(0)
    for caller in callers:
        caller.close()

    assert max(Counter(at).values()) <= ACCEPTS_PER_LOOP_TURN


# In turns, without any network


class Wire(asyncio.Transport):
    """A transport that carries nothing: what is written to it is kept."""

    def __init__(self, port: int) -> None:
        super().__init__({"peername": ("8.8.8.8", port)})
        self.written = b""
        self.is_paused = False
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def write_eof(self) -> None:
        """Nobody is there."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Nothing is read."""

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


class Line:
    """Openings that came within one turn of the loop, with or without a request."""

    def __init__(self, opening_s: float = PATIENCE_S) -> None:
        self.refused: list[tuple[int, str]] = []
        self.accepted: list[int] = []
        kinds = frozenset({Kind.HTTP})
        self.openings = Openings(self._accept, self._on_refused, opening_s, LinkBounds(), kinds=kinds)
        self.wires: list[Wire] = []
        self.members: list[ServerOpening] = []

    def _accept(self, link: Link) -> Owner:
        self.accepted.append(link.remote.port)
        return Owners()(link)

    def _on_refused(self, remote: Endpoint, reason: str) -> None:
        self.refused.append((remote.port, reason))

    def come(self, count: int, said: bytes = b"") -> None:
        for _ in range(count):
            self.members.append(ServerOpening(self.openings))
            self.wires.append(Wire(len(self.wires)))
            self.members[-1].connection_made(self.wires[-1])
            if said:
                self.members[-1].data_received(said)


async def test_so_many_requests_are_answered_in_one_turn_of_the_loop_in_order() -> None:
    line, each = Line(), OPENINGS_PER_LOOP_TURN

    line.come(3 * each, request())

    assert line.accepted == list(range(each))
    assert [wire.is_paused for wire in line.wires] == [False] * each + [True] * 2 * each
    await asyncio.sleep(0)
    assert line.accepted == list(range(2 * each))
    await asyncio.sleep(0)
    assert line.accepted == list(range(3 * each))
    assert all(wire.written.startswith(b"HTTP/1.1 101 ") for wire in line.wires)
    assert not any(wire.is_paused for wire in line.wires)
    assert len(line.openings.pending) == len(line.openings.turns) == 0


async def test_a_link_that_begins_paused_stays_so() -> None:
    line = Line()
    line.openings.accept = lambda link: (link.pause_reading(), Owners()(link))[1]  # type: ignore[func-returns-value] # both
    line.come(OPENINGS_PER_LOOP_TURN + 1, request())

    await turns(1)

    assert line.wires[-1].written.startswith(b"HTTP/1.1 101 ")
    assert line.wires[-1].is_paused


async def test_who_leaves_while_in_line_is_forgotten() -> None:
    line = Line()
    line.come(OPENINGS_PER_LOOP_TURN + 2, request())

    line.members[-2].connection_lost(None)
    await turns(1)

    assert line.accepted == [*range(OPENINGS_PER_LOOP_TURN), OPENINGS_PER_LOOP_TURN + 1]
    assert line.refused == [(OPENINGS_PER_LOOP_TURN, "closed early")]
    assert len(line.openings.pending) == len(line.openings.turns) == 0


async def test_who_is_dropped_while_in_line_is_reported_once_and_not_answered() -> None:
    line = Line()
    line.come(OPENINGS_PER_LOOP_TURN + 1, request())

    line.members[-1].drop("timed out")  # as its timer does
    line.members[-1].connection_lost(None)
    await turns(2)

    assert line.refused == [(OPENINGS_PER_LOOP_TURN, "timed out")]
    assert line.wires[-1].written == b""
    assert line.wires[-1].is_aborted


async def test_who_is_in_line_is_timed() -> None:
    line = Line(opening_s=0.0)

    line.come(2 * OPENINGS_PER_LOOP_TURN, request()[:-2])
    async with asyncio.timeout(PATIENCE_S):
        while line.openings.pending:
            await turns(1)

    assert line.refused == [(number, "timed out") for number in range(2 * OPENINGS_PER_LOOP_TURN)]
    assert len(line.openings.turns) == 0


async def test_whose_transport_closes_before_its_turn_is_not_answered() -> None:
    line = Line()
    line.come(OPENINGS_PER_LOOP_TURN + 1, request())

    line.wires[-1].is_aborted = True
    await turns(1)

    assert line.wires[-1].written == b""
    line.members[-1].connection_lost(None)
    assert line.refused == [(OPENINGS_PER_LOOP_TURN, "closed early")]


async def test_what_comes_on_while_in_line_is_kept_within_the_bound_of_a_request() -> None:
    line, half = Line(), OPENING_BYTES_MAX // 2
    line.come(OPENINGS_PER_LOOP_TURN, request())
    line.come(2)
    whole, flood = line.members[-2:]
    said = request(more="X: " + "y" * 6_000 + "\r\n")

    whole.data_received(said[:3_000])
    whole.data_received(said[3_000:])
    flood.data_received(bytes(half))
    flood.data_received(bytes(half))
    assert sum(len(member._unread) for member in (whole, flood)) == len(said) + 2 * half
    flood.data_received(b"x")
    await turns(1)

    assert line.accepted[-1] == OPENINGS_PER_LOOP_TURN
    assert line.refused == [(OPENINGS_PER_LOOP_TURN + 1, "opening too large")]


async def test_who_waits_for_a_turn_is_not_crowded_out_by_who_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openings_module, "OPENINGS_MAX", 2)
    line, each = Line(), OPENINGS_PER_LOOP_TURN
    line.come(each + 1, request())  # the last of them waits
    line.come(1)
    line.come(1)
    assert line.refused == [(each + 1, "crowded out")]

    line.members[-1].data_received(request())
    line.come(1)  # all others wait
    assert line.refused[1:] == [(each, "crowded out")]
    await turns(1)
    assert line.accepted == [*range(each), each + 2]


async def test_the_parser_is_made_with_the_first_byte() -> None:
    line = Line()
    line.come(1)
    gc.collect()

    assert line.members[0]._http is None
    line.members[0].data_received(b"G")
    assert line.members[0]._http is not None


async def test_closing_the_listener_empties_the_line() -> None:
    line = Line()
    line.come(OPENINGS_PER_LOOP_TURN + 2, request())

    line.openings.drop_all()
    await turns(1)

    assert [reason for _, reason in line.refused] == ["not listening"] * 2
    assert len(line.accepted) == OPENINGS_PER_LOOP_TURN


# Dialling


class Host:
    """A server that says what it is told to."""

    def __init__(self, answer: Callable[[str], bytes] | None, *, hangs_up: bool = True) -> None:
        self._answer = answer
        self._hangs_up = hangs_up
        self.heads: list[str] = []
        self.url = ""
        self.strangers: list[Stranger] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for stranger in self.strangers:
            await stranger.hang_up()
        await turns(3)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stranger = Stranger(reader, writer)
        self.strangers.append(stranger)
        self.heads.append(await stranger.hear_head())
        if self._answer is not None:
            stranger.say(self._answer(self.heads[-1]))
        if self._hangs_up:
            writer.close()


def welcome(head: str, more: str = "") -> bytes:
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n{more}\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", r"not a WebSocket server \(HTTP 404\)"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>until the end", r"not a WebSocket server \(HTTP 200\)"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"<p>" * 8_000, r"not a WebSocket server"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", r"unreachable, the proxy .* HTTP 502"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", r"not a WebSocket server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", r"not a WebSocket server"),
        (b"", r"closed the connection"),
    ],
)
async def test_a_host_that_is_no_websocket_server_fails_the_dial(answer: bytes, why: str) -> None:
    owners = Owners()
    async with Host(lambda _head: answer) as host:
        with pytest.raises(DialFailed, match=why) as failure:
            await WebSocketTransport().dial(host.url, owners, PATIENCE_S)

    assert failure.value.hint
    assert owners.count == 0


async def test_an_answer_without_end_fails_the_dial() -> None:
    async with Host(lambda _head: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000, hangs_up=False) as host:
        with pytest.raises(DialFailed, match="too long"):
            await WebSocketTransport().dial(host.url, Owners(), PATIENCE_S)


@pytest.mark.parametrize(
    "change",
    [
        lambda head: welcome(head).replace(b"Accept: ", b"Accept: x"),
        lambda head: welcome(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        lambda head: welcome(head, "Sec-WebSocket-Protocol: chat\r\n"),
    ],
    ids=["wrong key", "extension", "subprotocol"],
)
async def test_a_wrong_101_fails_the_dial(change: Callable[[str], bytes]) -> None:
    async with Host(change) as host:
        with pytest.raises(DialFailed, match="not a WebSocket server"):
            await WebSocketTransport().dial(host.url, Owners(), PATIENCE_S)


async def test_a_host_that_never_answers_times_out() -> None:
    async with Host(None, hangs_up=False) as host:
        with pytest.raises(DialFailed, match="timed out"):
            await WebSocketTransport().dial(host.url, Owners(), 0.03)

        await turns(3)
        assert await host.strangers[0].hear_rest() == b""


async def test_messages_in_the_same_read_as_the_answer_are_delivered_after_accept() -> None:
    owners = Owners()
    frames = b"".join(frame(Opcode.BINARY, bytes([number]), mask=False) for number in range(3))

    async with Host(lambda head: welcome(head) + frames, hangs_up=False) as host:
        link = await WebSocketTransport().dial(host.url, owners, PATIENCE_S)
        owner = await owners.next()

        assert owner.link is link
        assert await owner.take(3) == [b"\x00", b"\x01", b"\x02"]
        link.abort()
        await owner.closed()


async def test_the_request_names_path_query_and_host_and_offers_nothing() -> None:
    async with Host(lambda _head: b"") as host:
        with pytest.raises(DialFailed):
            await WebSocketTransport().dial(f"{host.url}/node7/ws?a=b", Owners(), PATIENCE_S)
        with pytest.raises(DialFailed):
            await WebSocketTransport().dial(host.url, Owners(), PATIENCE_S)

    assert host.heads[0].startswith("GET /node7/ws?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert host.heads[1].startswith("GET / HTTP/1.1\r\n")
    assert "Sec-WebSocket-Extensions" not in host.heads[0]
    assert "Sec-WebSocket-Protocol" not in host.heads[0]


async def test_a_cancelled_dial_leaves_nothing_behind() -> None:
    owners = Owners()
    async with Host(None, hangs_up=False) as host:
        task = asyncio.create_task(WebSocketTransport().dial(host.url, owners, PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            while not host.heads:
                await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await host.strangers[0].hear_rest() == b""
    assert owners.count == 0


async def test_a_link_opened_in_the_moment_of_cancelling_is_aborted() -> None:
    tasks: list[asyncio.Task[object]] = []
    owners = Owners()

    def accept_late(link: Link) -> Owner:
        tasks[0].cancel()
        return owners(link)

    async with Host(welcome, hangs_up=False) as host:
        tasks.append(asyncio.create_task(WebSocketTransport().dial(host.url, accept_late, PATIENCE_S)))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]

        assert await (await owners.next()).closed() == "aborted"

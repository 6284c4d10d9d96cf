"""The server beside a node: its port, clients that behave badly, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.http.kit import HOST, a_node, alone, exchange, get, parsed
from tests.sessions.kit import Time, live_timers, until
from yzdht.errors import ListenFailed
from yzdht.http.readiness import Readiness, ReadyCheck
from yzdht.http.server import HttpServer, bind_http
from yzdht.limits import HTTP_CONNECTION_S_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX


if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


pytestmark = pytest.mark.net


async def open_to(http: HttpServer) -> tuple[StreamReader, StreamWriter]:
    return await asyncio.open_connection(HOST, http.port)


async def end_of(reader: StreamReader) -> bytes:
    """What comes until the other end closes, whether it does so politely or not."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


# The port


async def test_the_port_is_the_one_after_the_nodes_or_the_next_free_one() -> None:
    with socket.create_server((HOST, 0)) as node:
        node_port = node.getsockname()[1]
        taken = await bind_http(HOST, None, node_port)
        again = await bind_http(HOST, None, node_port)
    ports = [sock.getsockname()[1] for sock in (*taken, *again)]
    for sock in (*taken, *again):
        sock.close()

    assert node_port < ports[0] < ports[1] <= node_port + 21


async def test_a_named_port_that_is_taken_is_refused_with_what_to_do() -> None:
    with (
        socket.create_server((HOST, 0)) as other,
        pytest.raises(ListenFailed, match=r"status page: .* is in use") as caught,
    ):
        await bind_http(HOST, other.getsockname()[1], 1)

    assert "--http-port" in caught.value.hint
    assert "--no-http" in caught.value.hint


async def test_behind_the_last_port_there_is_no_default() -> None:
    with pytest.raises(ListenFailed, match="no port after 65535"):
        await bind_http(HOST, None, 65_535)


async def test_port_0_picks_a_free_one() -> None:
    async with a_node() as node, HttpServer(node, port=0) as http:
        assert http.url == f"http://{HOST}:{http.port}"
        assert (await get(http, "/healthz")).text == "ok\n"


async def test_two_nodes_in_one_process_have_pages_of_their_own() -> None:
    async with alone() as (one, first), alone() as (two, second):
        ids = [(await get(http, "/node.json")).object["nodeId"] for http in (first, second)]

    assert ids == [one.node_id.hex(), two.node_id.hex()]
    assert first.port != second.port


# Clients


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_headers_that_are_too_long_are_refused_with_an_end_and_without(end: bytes) -> None:
    async with alone() as (_, http):
        refused = parsed(await exchange(http.port, HEAD + b"x" * 70_000 + end))

        assert refused.status == 400
        assert (await get(http, "/healthz")).status == 200


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 400)])
async def test_the_bound_of_headers_is_exact_however_they_come(more: int, status: int) -> None:
    length = HTTP_HEADER_BYTES_MAX - len(HEAD) - 4 + more
    raw = HEAD + b"x" * length + b"\r\n\r\n"
    async with alone() as (_, http):
        assert parsed(await exchange(http.port, raw)).status == status
        reader, writer = await open_to(http)
        for begin in range(0, len(raw), 1_000):
            writer.write(raw[begin : begin + 1_000])
            await asyncio.sleep(0)
        assert parsed(await end_of(reader)).status == status
        writer.close()


async def test_what_follows_the_headers_does_not_count_as_headers() -> None:
    async with alone() as (_, http):
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
        assert parsed(await exchange(http.port, head + b"x" * 60_000)).status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n: nameless\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    ],
)
async def test_garbage_is_answered_once_and_logged_nowhere(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with alone() as (_, http):
        assert parsed(await exchange(http.port, garbage)).status == 400

    assert not [r for r in caplog.records if r.name.startswith(("uvicorn", "yzdht.http"))]


async def test_an_upgrade_is_no_news_and_a_body_is_not_read() -> None:
    async with alone() as (_, http):
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        assert parsed(await exchange(http.port, head + upgrade + b"\r\n")).status == 200
        body = b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000
        assert parsed(await exchange(http.port, head + body)).status == 200


async def test_a_second_request_on_one_connection_is_not_served() -> None:
    async with alone() as (_, http):
        raw = await exchange(http.port, 2 * b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert raw.count(b"HTTP/1.1 200") == 1


async def test_clients_that_take_their_time_are_cut_off() -> None:
    clock = Time()
    async with a_node(clock=clock) as node, HttpServer(node) as http:
        silent, quiet = await open_to(http)
        slow, writer = await open_to(http)
        writer.write(b"GET / HTTP/1.1\r\nHo")
        await until(lambda: len(http._state.connections) == 2)

        await clock.advance(HTTP_CONNECTION_S_MAX + 1)

        assert [await end_of(reader) for reader in (silent, slow)] == [b"", b""]
        for each in (quiet, writer):
            each.close()
        await until(lambda: not http._state.connections)


async def crowd_of(http: HttpServer, begun: bytes) -> list[tuple[StreamReader, StreamWriter]]:
    """As many clients as there is room for; each says the same and no more."""
    opened = []
    for _ in range(HTTP_CONNECTIONS_MAX):
        opened.append(await open_to(http))
        opened[-1][1].write(begun)
        await until(lambda: len(http._state.connections) == len(opened))
    return opened


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc"])
async def test_who_never_ends_a_request_shuts_nobody_out(begun: bytes) -> None:
    async with alone() as (node, http):
        opened = await crowd_of(http, begun)
        statuses = [(await get(http, "/healthz")).status for _ in range(3)]
        oldest, newest = opened[0][0], opened[-1][0]

        assert statuses == [200, 200, 200]
        assert await end_of(oldest) == b""
        assert not newest.at_eof()
        assert node.telemetry.get("rate_limited", "status_page") >= 1
        [error] = [e for e in node.telemetry.errors() if "status page" in e.what]
        assert "ss -tnp" in error.hint
        for _, each in opened:
            each.close()
        await until(lambda: not http._state.connections)


async def test_whoever_is_being_answered_keeps_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may_end = [], asyncio.Event()

    async def slow(_self: ReadyCheck) -> Readiness:
        asked.append(1)
        await may_end.wait()
        return Readiness(is_ready=True, is_alone=True, through=0, reason="slow", checked_at=1.0)

    monkeypatch.setattr(ReadyCheck, "result", slow)
    async with alone() as (_, http):
        opened = await crowd_of(http, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: len(asked) == HTTP_CONNECTIONS_MAX)
        reader, writer = await open_to(http)
        assert await end_of(reader) == b""
        writer.close()

        may_end.set()
        assert [parsed(await end_of(reader)).status for reader, _ in opened] == [200] * HTTP_CONNECTIONS_MAX
        for _, each in opened:
            each.close()


# The end


async def test_closing_waits_for_no_client_and_leaves_nothing() -> None:
    clock = Time()
    async with a_node(clock=clock) as node:
        async with HttpServer(node) as http:
            _, silent = await open_to(http)
            reader, slow = await open_to(http)
            slow.write(b"GET /healthz HTTP/1.1\r\n")
            await until(lambda: len(http._state.connections) == 2)
            port = http.port
        assert not http._state.connections
        assert not http._state.tasks
        assert not [timer for timer in live_timers() if "uvicorn" in repr(timer) or "abort" in repr(timer)]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)
        assert await end_of(reader) == b""
        for each in (silent, slow):
            each.close()


async def test_signals_are_left_to_whoever_has_them() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with alone() as (_, http):
        await get(http, "/")
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before

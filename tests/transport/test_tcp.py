"""Addresses of raw TCP channels, and how they open."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from tests.transport.roads import PATIENCE_S, Owner, Owners, turns
from yzdht.errors import DialFailed
from yzdht.transport.tcp import TcpTransport, parse_address


if TYPE_CHECKING:
    from yzdht.ports import Link


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("tcp://node:8083", "node", 8083),
        ("tcp://NODE:8083/", "node", 8083),
        ("tcp://[::1]:1", "::1", 1),
        ("tcp://127.0.0.1:65535", "127.0.0.1", 65_535),
    ],
)
def test_an_address_is_taken_apart(url: str, host: str, port: int) -> None:
    assert parse_address(url) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "node:8083",
        "tcp://",
        "tcp://node",
        "tcp://:8083",
        "tcp://node:0",
        "tcp://node:65536",
        "tcp://node:x",
        "tcp://[::1",
        "tcp://user@node:8083",
        "tcp://node:8083/path",
        "tcp://node:8083?a=b",
        "tcp://node:8083#part",
        "tcp://no de:8083",
        "tcp://node:8083\r\n",
        "ws://node:8083",
    ],
)
def test_what_is_no_address_fails_with_a_hint_and_its_text_quoted(url: str) -> None:
    with pytest.raises(DialFailed, match="is not a TCP address") as failure:
        parse_address(url)

    assert failure.value.hint == "write it like tcp://host:8083"
    assert str(failure.value).isprintable()


async def test_a_name_is_tried_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    far, near = Owners(), Owners()
    transport = TcpTransport()
    listener = await transport.listen("127.0.0.1", 0, far)

    def getaddrinfo(_host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"tcp://node.example:{listener.endpoints[0].port}"
    link = await transport.dial(url, near, PATIENCE_S)

    assert link.remote == listener.endpoints[0]
    assert near.count == 1
    await listener.close()
    link.abort()
    await (await near.next()).closed()
    await (await far.next()).closed()


async def test_both_ends_send_without_delay() -> None:
    far, near = Owners(), Owners()
    transport = TcpTransport()
    listener = await transport.listen("127.0.0.1", 0, far)
    link = await transport.dial(f"tcp://127.0.0.1:{listener.endpoints[0].port}", near, PATIENCE_S)
    there = await far.next()

    for end in (link, there.link):
        sock: socket.socket = end._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # the socket's own word
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    await listener.close()
    link.abort()
    await there.closed()
    await (await near.next()).closed()


async def test_a_link_opened_in_the_moment_of_cancelling_is_aborted() -> None:
    far, owners = Owners(), Owners()
    transport = TcpTransport()
    listener = await transport.listen("127.0.0.1", 0, far)
    tasks: list[asyncio.Task[object]] = []

    def accept_late(link: Link) -> Owner:
        tasks[0].cancel()
        return owners(link)

    url = f"tcp://127.0.0.1:{listener.endpoints[0].port}"
    tasks.append(asyncio.create_task(transport.dial(url, accept_late, PATIENCE_S)))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]

    assert await (await owners.next()).closed() == "aborted"
    await listener.close()
    await turns(3)
    while not far.made.empty():  # it may have been gone before it was seen
        await far.made.get_nowait().closed()

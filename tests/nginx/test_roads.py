"""What nginx lets through, to whom, and as whose; in front of listeners of this process."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.nginx.front import DOMAIN, Nginx, name_of, names_lead_to
from tests.transport.authority import Authority
from tests.transport.roads import PATIENCE_S, Owners, turns
from tests.transport.strangers import request
from yzdht.errors import DialFailed
from yzdht.ports import Endpoint
from yzdht.transport.forwarded import NO_PROXIES, Proxies
from yzdht.transport.one_port import OnePort
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from yzdht.ports import Link, Listener


NUMBERS = (1, 2, 9, 10, 60, 99)
LIE = (
    "X-Forwarded-For: 8.8.8.8\r\nForwarded: for=8.8.8.8\r\nX-Real-IP: 8.8.8.8\r\nx-forwarded-for: 9.9.9.9\r\n"
)


class Street:
    """A listener for each number behind one nginx."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.houses = {number: Owners() for number in NUMBERS}
        self.listeners: dict[int, Listener] = {}
        self.near: list[Link] = []
        self.nginx: Nginx

    async def open(self, proxies: Proxies) -> dict[int, str]:
        """Listen; where each number leads."""
        transport = OnePort(proxies=proxies)
        for number, owners in self.houses.items():
            self.listeners[number] = await transport.listen("127.0.0.1", 0, owners)
        return {n: f"127.0.0.1:{listener.endpoints[0].port}" for n, listener in self.listeners.items()}

    async def dial(self, url: str) -> Owners:
        owners = Owners()
        await WebSocketTransport(ssl_context=self.authority.trust).dial(url, owners, PATIENCE_S)
        return owners

    async def ask(self, text: bytes, host: str = name_of(1)) -> bytes:
        """What nginx answers to some bytes, all of it, or as long as its head if it goes on."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.nginx.port, ssl=self.authority.trust, server_hostname=host
        )
        writer.write(text)
        async with asyncio.timeout(PATIENCE_S):
            heard = await reader.readuntil(b"\r\n\r\n")
            if b"101 Switching" not in heard:
                heard += await reader.read()
        writer.close()
        return heard

    async def shut(self) -> None:
        for listener in self.listeners.values():
            await listener.close()
        for owners in self.houses.values():
            while not owners.made.empty():
                owner = owners.made.get_nowait()
                owner.link.abort()
                await owner.closed()
        await turns(3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _names() -> Iterator[None]:
    with names_lead_to("127.0.0.1"):
        yield


@pytest.fixture
async def street(authority: Authority, tmp_path: Path) -> AsyncIterator[Street]:
    made = Street(authority)
    nodes = await made.open(Proxies(lambda host: host == "127.0.0.1"))
    with Nginx(tmp_path / "nginx", authority, nodes) as made.nginx:
        yield made
        await made.shut()


async def test_each_name_leads_to_the_node_of_its_number(street: Street) -> None:
    for number in NUMBERS:
        near = await (await street.dial(street.nginx.url(number))).next()
        far = await street.houses[number].next()
        near.link.send(b"%d" % number)

        assert await far.take(1) == [b"%d" % number]
        assert [n for n, owners in street.houses.items() if owners.count] == [
            n for n in NUMBERS if n <= number
        ]


@pytest.mark.parametrize("name", ["node3", "node98"])
async def test_a_number_that_no_node_has_leads_nowhere(street: Street, name: str) -> None:
    with pytest.raises(DialFailed, match="HTTP 404"):
        await street.dial(f"wss://{name}.{DOMAIN}:{street.nginx.port}/ws")


@pytest.mark.parametrize("name", ["node0", "node007", "node01", "node100", "node", "node1x", "xnode1", "www"])
async def test_a_name_that_is_no_node_is_not_even_shown_the_certificate(street: Street, name: str) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        await street.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", f"{name}.{DOMAIN}")


async def test_who_asks_for_another_host_than_the_certificate_was_shown_for_is_sent_away(
    street: Street,
) -> None:
    assert (await street.ask(b"GET / HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n")).startswith(
        b"HTTP/1.1 421 "
    )


async def test_people_find_a_page_and_nothing_else(street: Street) -> None:
    head = f"Host: {name_of(1)}\r\nConnection: close\r\n\r\n"

    page = await street.ask(f"GET / HTTP/1.1\r\n{head}".encode())
    other = await street.ask(f"GET /status.json HTTP/1.1\r\n{head}".encode())

    assert page.startswith(b"HTTP/1.1 200 ")
    assert b"Upgrade" not in page
    assert page.endswith(f"wss://{name_of(1)}/ws\n".encode())
    assert other.startswith(b"HTTP/1.1 404 ")
    assert not any(owners.count for owners in street.houses.values())


async def test_the_node_is_told_who_is_there(street: Street) -> None:
    near = await (await street.dial(street.nginx.url(1))).next()
    remote = (await street.houses[1].next()).link.remote

    assert remote == Endpoint("127.0.0.1", 0, "ws", "127.0.0.1")
    assert near.link.remote.protocol == "wss"


@pytest.mark.parametrize("lie", ["", LIE], ids=["honest", "spoofed"])
async def test_what_a_stranger_says_of_himself_does_not_come_through(street: Street, lie: str) -> None:
    asked = request("/ws", lie).replace(b"Host: node\r\n", f"Host: {name_of(1)}\r\n".encode())

    assert (await street.ask(asked)).startswith(b"HTTP/1.1 101 ")
    assert (await street.houses[1].next()).link.remote == Endpoint("127.0.0.1", 0, "ws", "127.0.0.1")


async def test_without_the_proxys_address_a_node_knows_the_proxy_only(
    authority: Authority, tmp_path: Path
) -> None:
    street = Street(authority)
    nodes = await street.open(NO_PROXIES)
    with Nginx(tmp_path / "nginx", authority, nodes) as street.nginx:
        await street.dial(street.nginx.url(1))
        remote = (await street.houses[1].next()).link.remote

        assert (remote.host, remote.proxy) == ("127.0.0.1", "")
        await street.shut()


async def test_a_node_that_is_down_is_told_from_one_that_never_was(street: Street) -> None:
    await street.listeners[2].close()

    with pytest.raises(DialFailed, match="the proxy in front of it answers HTTP 502"):
        await street.dial(street.nginx.url(2))
    await street.dial(street.nginx.url(1))


async def test_a_reload_takes_in_a_node_that_is_new(street: Street) -> None:
    place = f"127.0.0.1:{street.listeners[1].endpoints[0].port}"
    near = await (await street.dial(street.nginx.url(1))).next()

    street.nginx.name_nodes({1: place, 42: place})
    await street.nginx.reload()

    assert await near.closed()  # what was open ends with the workers of before
    await street.dial(street.nginx.url(42))

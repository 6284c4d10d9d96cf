"""Connections that a trusted proxy brings: whose they are, and who may not come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.transport.roads import PATIENCE_S, Owners, turns
from tests.transport.strangers import Stranger, request
from yzdht.ports import Endpoint
from yzdht.transport.forwarded import NO_PROXIES, Proxies
from yzdht.transport.one_port import OnePort
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.ports import Listener


FORWARDED = "X-Forwarded-For: {}\r\n"


@dataclass(slots=True)
class Door:
    """A listener in front of which this machine's loopback is a proxy, or is none."""

    owners: Owners = field(default_factory=Owners)
    asked: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unwanted: frozenset[str] = frozenset()
    strangers: list[Stranger] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)

    async def open(self, proxies: Proxies) -> None:
        transport = OnePort(
            on_refused=lambda remote, why: self.refused.append((remote.host, why)), proxies=proxies
        )
        self.listeners.append(await transport.listen("127.0.0.1", 0, self.owners, self.admit))

    def admit(self, remote: Endpoint) -> bool:
        self.asked.append(remote.host)
        return remote.host not in self.unwanted

    async def knock(self, *forwarded: str, path: str = "/ws") -> Stranger:
        stranger = await Stranger.call(self.listeners[-1].endpoints[0].port)
        self.strangers.append(stranger)
        stranger.say(request(path, "".join(FORWARDED.format(each) for each in forwarded)))
        return stranger

    async def remote_of(self, *forwarded: str) -> Endpoint:
        """As whom a link is seen whose request says that."""
        stranger = await self.knock(*forwarded)
        assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
        return (await self.owners.next()).link.remote

    async def shut(self) -> None:
        for listener in self.listeners:
            await listener.close()
        for stranger in self.strangers:
            await stranger.hang_up()
        await turns(3)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    await made.shut()


@pytest.fixture
async def behind(door: Door) -> Door:
    await door.open(Proxies(lambda host: host == "127.0.0.1"))
    return door


async def test_a_link_that_a_trusted_proxy_brings_is_of_whom_it_names(behind: Door) -> None:
    remote = await behind.remote_of("9.9.9.9, 8.8.8.8")

    assert remote == Endpoint("8.8.8.8", 0, "ws", "127.0.0.1")
    assert behind.asked == ["127.0.0.1", "8.8.8.8"]


async def test_several_headers_are_one_list(behind: Door) -> None:
    assert (await behind.remote_of("9.9.9.9", "8.8.8.8", "127.0.0.1")).host == "8.8.8.8"


async def test_from_anybody_else_the_header_changes_nothing(door: Door) -> None:
    await door.open(NO_PROXIES)

    remote = await door.remote_of("8.8.8.8")

    assert (remote.host, remote.proxy) == ("127.0.0.1", "")
    assert remote.port == door.strangers[0].writer.get_extra_info("sockname")[1]
    assert door.asked == ["127.0.0.1"]


@pytest.mark.parametrize("forwarded", [[], ["unknown"], ["8.8.8.8, unknown"]])
async def test_a_proxy_that_names_nobody_counts_itself(behind: Door, forwarded: list[str]) -> None:
    remote = await behind.remote_of(*forwarded)

    assert (remote.host, remote.proxy) == ("127.0.0.1", "")
    assert behind.asked == ["127.0.0.1"]


async def test_whom_a_proxy_names_is_judged_like_others_and_told_so(behind: Door) -> None:
    behind.unwanted = frozenset({"8.8.8.8"})

    answer = await (await behind.knock("8.8.8.8")).hear_rest()

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert behind.owners.count == 0
    assert behind.refused == []  # whoever did not admit it has counted it
    assert (await behind.remote_of("8.8.4.4")).host == "8.8.4.4"


async def test_what_is_refused_is_told_of_whom_the_proxy_names(behind: Door) -> None:
    answer = await (await behind.knock("8.8.8.8", path="/nothing")).hear_rest()

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert behind.refused == [("8.8.8.8", "wrong path")]


@pytest.mark.parametrize(
    ("dialled", "is_warned_of"),
    [("Yz-Dialled: localhost:8083\r\n", False), ("Yz-Dialled: node1.example.org\r\n", True), ("", True)],
)
async def test_a_warning_tells_a_proxy_from_a_program_of_this_machine(
    behind: Door, caplog: pytest.LogCaptureFixture, *, dialled: str, is_warned_of: bool
) -> None:
    port = behind.listeners[-1].endpoints[0].port
    stranger = await Stranger.call(port)
    behind.strangers.append(stranger)

    # nginx writes the address that it dials into Host where it is told nothing else
    stranger.say(request("/ws", dialled).replace(b"Host: node", f"Host: 127.0.0.1:{port}".encode()))

    assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
    assert bool(caplog.records) is is_warned_of


async def test_a_dialling_program_of_this_machine_is_warned_of_by_nobody(
    behind: Door, caplog: pytest.LogCaptureFixture
) -> None:
    near = Owners()
    url = f"ws://localhost:{behind.listeners[-1].endpoints[0].port}/ws"

    await WebSocketTransport().dial(url, near, PATIENCE_S, ("127.0.0.1",))

    owner = await near.next()
    assert (await behind.owners.next()).link.remote.host == "127.0.0.1"
    assert caplog.records == []
    owner.link.abort()
    await owner.closed()

"""Announcements on loopback: real multicast DNS, whose port everybody shares, so every test has a tag of its own."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import pytest
from zeroconf import ServiceInfo, ServiceStateChange
from zeroconf.asyncio import AsyncZeroconf

from tests.sessions.kit import Time, until
from yzdht import Node
from yzdht.errors import DialFailed, DialledTooOften
from yzdht.lan_discovery import SERVICE, TAG, LanDiscovery, Neighbourhood, urls_of
from yzdht.limits import (
    DIALS_PER_ADDRESS_BURST,
    LAN_AGAIN_S,
    LAN_LOOK_EVERY_S,
    LAN_SEEN_MAX,
    LAN_TAG_BYTES,
    LAN_TRIES_BURST,
    LAN_TRIES_PER_S,
)
from yzdht.store.entropy import SystemRng


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.ids import NodeId


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


@pytest.fixture
def tag() -> bytes:
    return secrets.token_bytes(LAN_TAG_BYTES)


@pytest.fixture
async def time() -> Time:
    return Time()


@dataclass
class Neighbour:
    """Somebody who announces itself at a port where nobody listens, and notes whom it would dial."""

    tag: bytes
    port: int
    hosts: list[str] = field(default_factory=lambda: [HOST])
    dialled: list[str] = field(default_factory=list)
    is_answered: bool = True
    is_alone: bool = False

    async def __aenter__(self) -> Self:
        near = Neighbourhood(
            self.tag,
            self.port,
            lambda: self.hosts,
            lambda host: host == HOST,
            self._dial,
            lambda: self.is_alone,
        )
        self.discovery = LanDiscovery(near, SystemRng())
        self._task = asyncio.ensure_future(self.discovery.go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self._task.cancelled()

    async def _dial(self, url: str, _expected: NodeId | None) -> None:
        self.dialled.append(url)
        if not self.is_answered:
            raise DialFailed("nobody answers")


@pytest.fixture
async def stranger() -> AsyncIterator[AsyncZeroconf]:
    """Somebody who announces whatever a test says."""
    library = AsyncZeroconf(interfaces=[HOST])
    yield library
    await library.async_close()


def service(
    port: int, properties: dict[bytes, bytes | None], *hosts: str, name: str | None = None
) -> ServiceInfo:
    label = name or secrets.token_hex(8)
    return ServiceInfo(
        SERVICE, f"{label}.{SERVICE}", port=port, properties=properties, parsed_addresses=list(hosts or (HOST,)), server=f"{secrets.token_hex(8)}.local."
    )  # fmt: skip


async def announce(library: AsyncZeroconf, info: ServiceInfo) -> None:
    await library.async_register_service(info, cooperating_responders=True)


async def test_two_nodes_of_one_network_dial_each_other_once(tag: bytes) -> None:
    async with Neighbour(tag, 1_001) as one, Neighbour(tag, 1_002) as other:
        await until(lambda: one.discovery.met == 1 and other.discovery.met == 1)

        assert one.dialled == [f"tcp://{HOST}:1002"]
        assert other.dialled == [f"tcp://{HOST}:1001"]
        assert (one.discovery.found, one.discovery.trouble) == (1, "")


async def test_a_node_of_another_network_is_not_dialled(tag: bytes) -> None:
    async with Neighbour(tag, 1_001) as one, Neighbour(bytes(LAN_TAG_BYTES), 1_003), Neighbour(tag, 1_002):
        await until(lambda: one.discovery.met == 1)

        assert one.dialled == [f"tcp://{HOST}:1002"]
        assert one.discovery.found == 1


async def test_who_ends_is_forgotten(tag: bytes) -> None:
    async with Neighbour(tag, 1_001) as one:
        async with Neighbour(tag, 1_002):
            await until(lambda: one.discovery.met == 1)

        await until(lambda: one.discovery.found == 0)


async def test_who_did_not_answer_is_tried_again_later_and_who_did_when_nobody_else_is_left(
    tag: bytes, time: Time
) -> None:
    async with Neighbour(tag, 1_001, is_answered=False) as one, Neighbour(tag, 1_002):
        await until(lambda: len(one.dialled) == 1)
        one.is_answered = True
        for _ in range(2):
            await time.advance(LAN_AGAIN_S / 2, steps=40)
        await until(lambda: one.discovery.met == 1)
        assert len(one.dialled) == 2
        await time.advance(LAN_AGAIN_S, steps=40)
        assert len(one.dialled) == 2

        one.is_alone = True
        await time.advance(LAN_LOOK_EVERY_S)
        await until(lambda: len(one.dialled) >= 3)


async def test_an_announcement_that_leads_elsewhere_is_not_followed(
    tag: bytes, stranger: AsyncZeroconf
) -> None:
    told: dict[bytes, bytes | None] = {TAG: tag.hex().encode()}
    async with Neighbour(tag, 1_001) as one:
        await announce(stranger, service(80, told, "192.0.2.1"))
        await announce(stranger, service(80, told, "127.0.0.2", "192.0.2.1", HOST))
        await until(lambda: bool(one.dialled))

        assert one.dialled == [f"tcp://{HOST}:80"]


def test_of_an_announcement_the_tag_the_port_and_near_addresses_count(tag: bytes) -> None:
    near = Neighbourhood(tag, 1, list, lambda host: host.startswith("10."), _nobody, bool)
    good: dict[bytes, bytes | None] = {TAG: tag.hex().encode()}

    def urls(port: int, properties: dict[bytes, bytes | None], *hosts: str) -> list[str]:
        return urls_of(service(port, properties, *hosts), near)  # type: ignore[arg-type] # its asynchronous twin

    assert urls(9, good, "10.0.0.1", "10.0.0.1", "192.0.2.1", "fd00::1") == ["tcp://10.0.0.1:9"]
    assert urls(0, good, "10.0.0.1") == []
    assert urls(9, {}, "10.0.0.1") == []
    assert urls(9, {TAG: None}, "10.0.0.1") == []
    assert urls(9, {TAG: tag}, "10.0.0.1") == []
    assert urls(9, good, *(f"10.0.0.{n}" for n in range(99))) == [f"tcp://10.0.0.{n}:9" for n in range(8)]


async def _nobody(_url: str, _expected: NodeId | None) -> None:
    raise DialFailed("nobody answers")


async def test_what_is_announced_is_dialled_as_what_others_name_and_not_as_what_was_typed() -> None:
    async with Node(0, host=HOST, port_mapping=False) as node:
        near = node._neighbourhood()
        for _ in range(int(DIALS_PER_ADDRESS_BURST)):
            with pytest.raises(DialFailed, match="refused"):
                await near.dial("tcp://127.0.0.1:1", None)

        with pytest.raises(DialledTooOften):
            await near.dial("tcp://127.0.0.1:1", None)


async def test_of_a_flood_a_bounded_number_is_remembered_and_few_are_tried(tag: bytes) -> None:
    async with Neighbour(tag, 1_001) as one, Neighbour(tag, 1_002):
        await until(lambda: one.discovery.met == 1)
        for n in range(10 * LAN_SEEN_MAX):
            one.discovery._heard(None, SERVICE, f"{n}.{SERVICE}", ServiceStateChange.Added)  # type: ignore[arg-type] # not used
        one.discovery._heard(None, SERVICE, "\0\n" * 99, ServiceStateChange.Added)  # type: ignore[arg-type] # as above

        assert len(one.discovery._seen) == LAN_SEEN_MAX
        assert one.discovery.met == 1, "who was met makes no room"
        await until(lambda: tried(one) > 1)
        assert tried(one) <= LAN_TRIES_BURST
        assert len(one.dialled) == 1


async def test_after_a_burst_announcements_are_looked_into_at_their_rate(tag: bytes, time: Time) -> None:
    turns: list[float] = []
    discovery = LanDiscovery(Neighbourhood(tag, 1_001, list, bool, _nobody, bool), SystemRng())

    async def take_turns() -> None:
        while True:
            await discovery._turn()
            turns.append(asyncio.get_running_loop().time())

    taking = asyncio.ensure_future(take_turns())
    await time.advance(100, steps=400)
    taking.cancel()
    await asyncio.wait([taking])

    after = 100 * LAN_TRIES_PER_S
    assert LAN_TRIES_BURST + after - 2 <= len(turns) <= LAN_TRIES_BURST + after + 1


async def test_who_was_forgotten_in_a_flood_is_heard_of_again_later(tag: bytes) -> None:
    async with Neighbour(tag, 1_001, is_answered=False) as one, Neighbour(tag, 1_002):
        await until(lambda: len(one.dialled) == 1)
        for n in range(LAN_SEEN_MAX):
            one.discovery._heard(None, SERVICE, f"{n}.{SERVICE}", ServiceStateChange.Added)  # type: ignore[arg-type] # not used
        one.is_answered = True
        assert one.discovery.found == 0
        await until(lambda: tried(one) > 0)

        one.discovery._forgot_at -= LAN_AGAIN_S  # the library keeps a time of its own, which no test moves on
        one.discovery._has_heard.set()

        await until(lambda: one.discovery.met == 1)


def tried(one: Neighbour) -> int:
    return sum(seen.tried_at > 0 for seen in one.discovery._seen.values())


async def test_a_machine_without_a_local_network_says_so_and_goes_on_when_it_has_one(
    tag: bytes, time: Time
) -> None:
    async with Neighbour(tag, 1_001, hosts=[]) as one:
        await until(lambda: "no address" in one.discovery.trouble)
        one.hosts = [HOST]
        await time.advance(LAN_LOOK_EVERY_S)
        async with Neighbour(tag, 1_002):
            await until(lambda: one.discovery.met == 1)

        assert one.discovery.trouble == ""


async def test_interfaces_that_cannot_be_listed_are_told(tag: bytes, time: Time) -> None:
    def fails() -> list[str]:
        raise OSError("no such device")

    near = Neighbourhood(tag, 1_001, fails, bool, _nobody, bool)
    discovery = LanDiscovery(near, SystemRng())
    going_on = asyncio.ensure_future(discovery.go_on())
    await until(lambda: "cannot be asked: no such device" in discovery.trouble)
    await time.advance(LAN_LOOK_EVERY_S)
    assert not going_on.done()
    going_on.cancel()
    await asyncio.wait([going_on])

"""Routers that speak UPnP on loopback, honest and hostile; a real one stands in tests/process/test_port_mapping.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.igd import ROUTER, SERVICE, Igd, http
from tests.sessions.kit import Time, until
from yzdht.errors import WireError
from yzdht.limits import (
    PORT_MAPPING_LIFE_S,
    UPNP_ANSWER_BYTES_MAX,
    UPNP_CALL_S_MAX,
    UPNP_SEARCH_S,
    UPNP_SEARCHES,
)
from yzdht.store.entropy import SystemRng
from yzdht.upnp import Upnp


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


pytestmark = pytest.mark.net

PORT = 8_083
OWN = (ROUTER, PORT)
OTHER = ("192.168.7.9", PORT)


@pytest.fixture
async def igd() -> AsyncIterator[Igd]:
    async with Igd() as made:
        yield made


@pytest.fixture
async def time() -> Time:
    return Time()


def upnp(igd: Igd) -> Upnp:
    return Upnp(PORT, SystemRng(), igd.ssdp_port)


async def test_a_port_is_forwarded_for_an_hour_and_taken_back_at_the_end(igd: Igd) -> None:
    kept = upnp(igd)

    assert await kept.keep(ROUTER, ROUTER) == PORT

    assert igd.table == {PORT: OWN}
    assert igd.lives == [PORT_MAPPING_LIFE_S]
    assert igd.searched == 1
    await kept.end()
    assert igd.table == {}
    await kept.end()
    assert igd.asked.count("DeletePortMapping") == 1


async def test_a_mapping_that_stands_is_looked_at_and_renewed_after_half_its_life(
    igd: Igd, time: Time
) -> None:
    kept = upnp(igd)
    await kept.keep(ROUTER, ROUTER)

    await kept.keep(ROUTER, ROUTER)
    assert len(igd.lives) == 1
    await time.advance(PORT_MAPPING_LIFE_S / 2)
    assert await kept.keep(ROUTER, ROUTER) == PORT

    assert len(igd.lives) == 2
    assert igd.searched == 1


async def test_a_router_that_was_restarted_is_found_again_and_maps_again(igd: Igd) -> None:
    kept = upnp(igd)
    await kept.keep(ROUTER, ROUTER)
    await igd.stop()
    await igd.start()
    assert igd.table == {}

    assert await kept.keep(ROUTER, ROUTER) == PORT

    assert igd.table == {PORT: OWN}
    assert igd.searched == 2


async def test_what_is_forwarded_to_another_machine_stays_and_another_port_is_taken(igd: Igd) -> None:
    igd.table[PORT] = OTHER
    kept = upnp(igd)

    outside = await kept.keep(ROUTER, ROUTER)

    assert igd.table == {PORT: OTHER, outside: OWN}
    assert outside != PORT
    assert await kept.keep(ROUTER, ROUTER) == outside
    await kept.end()
    assert igd.table == {PORT: OTHER}


async def test_with_a_new_address_of_this_machine_its_own_mapping_is_made_anew_and_taken_back(
    igd: Igd,
) -> None:
    igd.is_strict = True
    kept = upnp(igd)
    await kept.keep(ROUTER, "127.0.0.3")
    assert igd.table == {PORT: ("127.0.0.3", PORT)}

    assert await kept.keep(ROUTER, ROUTER) == PORT

    assert igd.table == {PORT: OWN}
    igd.faults["DeletePortMapping"] = 606  # a router that lets nobody delete what is another's
    outside = await kept.keep(ROUTER, "127.0.0.3")
    assert igd.table == {PORT: OWN, outside: ("127.0.0.3", PORT)}
    assert outside != PORT
    igd.faults.clear()
    await kept.end()
    assert igd.table == {PORT: OWN}


async def test_what_is_forwarded_to_the_address_before_at_another_port_stays(igd: Igd) -> None:
    kept = upnp(igd)
    await kept.keep(ROUTER, "127.0.0.3")
    igd.table[PORT] = ("127.0.0.3", 22)

    assert await kept.keep(ROUTER, ROUTER) != PORT

    assert igd.table[PORT] == ("127.0.0.3", 22)


async def test_what_another_program_of_this_machine_has_stays_its(igd: Igd) -> None:
    igd.table[PORT] = (ROUTER, 22)

    outside = await upnp(igd).keep(ROUTER, ROUTER)

    assert outside != PORT
    assert igd.table[PORT] == (ROUTER, 22)


async def test_a_conflict_that_only_the_router_knows_is_left_alone(igd: Igd) -> None:
    igd.faults["AddPortMapping"] = 718

    with pytest.raises(WireError, match="somebody else"):
        await upnp(igd).keep(ROUTER, ROUTER)

    assert igd.asked.count("AddPortMapping") <= 6


async def test_a_mapping_that_somebody_else_has_got_meanwhile_is_not_taken_back(igd: Igd) -> None:
    kept = upnp(igd)
    await kept.keep(ROUTER, ROUTER)
    igd.table[PORT] = OTHER

    await kept.end()

    assert igd.table == {PORT: OTHER}


async def test_a_router_that_forgets_nothing_is_asked_for_a_mapping_without_end(igd: Igd) -> None:
    igd.faults["lease"] = 725
    kept = upnp(igd)

    assert await kept.keep(ROUTER, ROUTER) == PORT

    assert igd.lives == [PORT_MAPPING_LIFE_S, 0]
    await kept.end()
    assert igd.table == {}


async def test_a_service_that_is_broken_leaves_the_next_to_be_asked(igd: Igd) -> None:
    igd.more = (
        f"<service><serviceType>{SERVICE}</serviceType><controlURL>/broken</controlURL></service>"
        f"<service><serviceType>{SERVICE}</serviceType><controlURL>http://{ROUTER}:1/</controlURL></service>"
    )

    assert await upnp(igd).keep(ROUTER, ROUTER) == PORT

    assert igd.table == {PORT: OWN}


async def test_a_router_that_refuses_is_told_of_by_its_reason(igd: Igd) -> None:
    igd.faults["AddPortMapping"] = 606

    with pytest.raises(WireError, match="UPnP error 606"):
        await upnp(igd).keep(ROUTER, ROUTER)


async def test_a_port_that_may_have_been_given_as_the_node_ended_is_taken_back(igd: Igd) -> None:
    kept = upnp(igd)
    keeping = asyncio.ensure_future(kept.keep(ROUTER, ROUTER))
    await until(lambda: bool(igd.table))
    keeping.cancel()
    await asyncio.wait([keeping])

    await kept.end()

    assert igd.table == {}


# Hostile ones


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while True:
        yield b"<a>" * 1_000


def endless_head() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X: " + b"x" * 1_000 + b"\r\n"


def endless_chunks() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\na\r\n" * 100


def endless_interims() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 50


def bomb() -> Iterator[bytes]:
    yield http(200, '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><root>&b;</root>')


def elsewhere() -> Iterator[bytes]:
    yield b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"


def garbage() -> Iterator[bytes]:
    yield bytes(range(256)) * 8


def half() -> Iterator[bytes]:
    yield http(200, "<root/>")[:-1]


def nothing() -> Iterator[bytes]:
    yield b""


@pytest.mark.parametrize(
    "says",
    [endless, endless_head, endless_chunks, endless_interims, bomb, elsewhere, garbage, half, nothing],
)
async def test_a_hostile_description_costs_a_bounded_number_of_bytes_and_maps_nothing(igd: Igd, says) -> None:
    igd.says = says

    with pytest.raises(WireError):
        await upnp(igd).keep(ROUTER, ROUTER)

    buffered = 8 * 1_024 * 1_024  # what the kernel holds of what nobody has read
    assert igd.sent < UPNP_ANSWER_BYTES_MAX + buffered
    assert igd.table == {}


async def test_a_router_that_never_ends_its_answer_is_given_up(igd: Igd, time: Time) -> None:
    begun: list[bool] = []

    def half_an_answer() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        begun.append(True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.writelines(half_an_answer())
        await reader.read()  # until it is given up
        writer.close()

    silent = await asyncio.start_server(serve, ROUTER, 0)
    async with silent:
        igd.location = f"http://{ROUTER}:{silent.sockets[0].getsockname()[1]}/"
        keeping = asyncio.ensure_future(upnp(igd).keep(ROUTER, ROUTER))
        await until(lambda: bool(begun))
        await time.advance(UPNP_CALL_S_MAX + 1)
        await asyncio.wait([keeping])

    assert isinstance(keeping.exception(), TimeoutError)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2:{port}/desc.xml", "http://example.com/desc.xml", "/desc.xml"]
)
async def test_a_description_of_somebody_else_is_not_fetched(igd: Igd, time: Time, url: str) -> None:
    igd.location = url
    keeping = asyncio.ensure_future(upnp(igd).keep(ROUTER, ROUTER))

    await until(lambda: igd.searched > 0)
    await time.advance(UPNP_SEARCH_S * (UPNP_SEARCHES + 1), steps=2 * UPNP_SEARCHES)
    await asyncio.wait([keeping])

    assert isinstance(keeping.exception(), TimeoutError)


async def test_calls_to_somebody_else_are_not_made(igd: Igd) -> None:
    async with Igd() as third:
        igd.control = f"http://127.0.0.2:{third.http_port}/control"

        with pytest.raises(WireError):
            await upnp(igd).keep(ROUTER, ROUTER)

        assert third.asked == []


async def test_who_is_not_the_router_is_not_heard(igd: Igd, time: Time) -> None:
    loop = asyncio.get_running_loop()
    stranger, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.2", 0))
    askers: list[tuple[str | object, int]] = []

    def answer_from_elsewhere(data: bytes, addr: tuple[str | object, int]) -> None:
        assert data
        askers.append(addr)
        where = f"http://{ROUTER}:{igd.http_port}/desc.xml"
        stranger.sendto(f"HTTP/1.1 200 OK\r\nLOCATION: {where}\r\n\r\n".encode(), addr)

    igd.datagram_received = answer_from_elsewhere  # type: ignore[method-assign] # of this one alone
    keeping = asyncio.ensure_future(upnp(igd).keep(ROUTER, ROUTER))
    await until(lambda: bool(askers))
    await time.advance(UPNP_SEARCH_S * (UPNP_SEARCHES + 1), steps=2 * UPNP_SEARCHES)
    await asyncio.wait([keeping])
    stranger.close()

    assert isinstance(keeping.exception(), TimeoutError)


async def test_a_machine_with_a_public_address_asks_nobody(igd: Igd) -> None:
    for router, own in (("12.0.0.1", ROUTER), (ROUTER, "12.0.0.2")):
        with pytest.raises(WireError, match="public"):
            await upnp(igd).keep(router, own)

    assert igd.searched == 0

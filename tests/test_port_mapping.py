"""Routers that map ports, or do not, on loopback; a real one stands in tests/process/test_nat.py."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given, strategies as st

from tests.igd import Igd
from tests.sessions.kit import Time, until
from yzdht.errors import WireError
from yzdht.limits import PORT_MAPPING_LOOK_S, PORT_MAPPING_TRIES, UPNP_SEARCH_S, UPNP_SEARCHES
from yzdht.port_mapping import (
    Mapping,
    PortMapping,
    gateway_in,
    nat_pmp_request,
    pcp_request,
    read_nat_pmp,
    read_pcp,
)
from yzdht.store.entropy import SystemRng


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


PORT, OUTSIDE = 8083, 9_999
NONCE = bytes(range(12))
ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
lan 0007A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
lan 00000000 0107A8C0 0003 0 0 0 00000000 0 0 0
"""


class Router(asyncio.DatagramProtocol):
    """Answers each request as a test says, or not at all."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    @property
    def at(self) -> tuple[str, int]:
        host, port = self._transport.get_extra_info("sockname")
        return host, port

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.asked.append(data)
        if (answer := self.answer(data)) is not None:
            self._transport.sendto(answer, addr)


def pcp(request: bytes, result: int = 0) -> bytes:
    life_s = struct.unpack_from("!I", request, 4)[0]
    nonce, port = request[24:36], request[40:42]
    head = struct.pack("!BBxBII12x", 2, 0x81, result, life_s, 77)
    return head + nonce + b"\x06\0\0\0" + port + struct.pack("!H", OUTSIDE) + bytes(16)


def nat_pmp(request: bytes, result: int = 0) -> bytes:
    if request[0] == 2:
        return struct.pack("!BBHI", 0, 0x80, 1, 77)
    port, _, life_s = struct.unpack_from("!HHI", request, 4)
    return struct.pack("!BBHIHHI", 0, 0x82, result, 77, port, OUTSIDE, life_s)


def mapping() -> PortMapping:
    return PortMapping(PORT, SystemRng(), ssdp_port=9)  # nobody listens there


@pytest.mark.parametrize(("answer", "protocol"), [(pcp, "pcp"), (nat_pmp, "nat-pmp")])
async def test_a_router_of_either_protocol_maps_a_port_and_forgets_it_at_the_end(
    answer: Callable[[bytes], bytes], protocol: str
) -> None:
    async with Router(answer) as router:
        kept = mapping()
        assert await kept.keep(router.at) == Mapping(OUTSIDE, 3_600, protocol)
        first = router.asked[-1]
        assert await kept.keep(router.at) == kept.mapping
        assert router.asked[-1] == first, "the same nonce: it is the same mapping"

        await kept.end()

        assert kept.mapping is None
        life_s = router.asked[-1][4:8] if protocol == "pcp" else router.asked[-1][8:12]
        assert life_s == bytes(4)


@pytest.mark.parametrize(
    "answer", [lambda r: pcp(r, 2), lambda r: nat_pmp(r, 2), lambda _: b"\x02", lambda _: b"x" * 99]
)
async def test_a_router_that_refuses_or_talks_nonsense_maps_nothing(answer: Callable[[bytes], bytes]) -> None:
    async with Router(answer) as router:
        kept = mapping()

        assert await kept.keep(router.at) is None

        assert kept.trouble
        await kept.end()
        for request in router.asked:
            life_s = request[4:8] if request[0] == 2 else request[8:12]
            assert life_s != bytes(4), "it is not asked to take back what it did not give"


async def test_a_router_that_says_nothing_is_asked_a_few_times(time: Time) -> None:
    async with Router(lambda _: None) as router:
        kept = mapping()
        asking = asyncio.ensure_future(kept.keep(router.at))
        await out_of_patience(router, time)
        await time.advance(UPNP_SEARCH_S * (UPNP_SEARCHES + 1), steps=2 * UPNP_SEARCHES)
        await until(asking.done)

        assert asking.result() is None
        assert "answers no request" in kept.trouble


async def out_of_patience(router: Router, time: Time) -> None:
    """Until PCP and NAT-PMP are given up."""
    asked = len(router.asked)
    for number in range(asked, asked + PORT_MAPPING_TRIES):
        await until(lambda n=number: len(router.asked) > n)  # type: ignore[misc] # bound in this turn
        await time.advance(10.0)


@pytest.fixture
async def igd() -> AsyncIterator[Igd]:
    async with Igd() as made:
        yield made


async def test_a_router_that_says_nothing_is_asked_by_upnp_and_from_then_on_alone(
    igd: Igd, time: Time
) -> None:
    async with Router(lambda _: None) as router:
        kept = PortMapping(PORT, SystemRng(), igd.ssdp_port)
        asking = asyncio.ensure_future(kept.keep(router.at))
        await out_of_patience(router, time)

        assert await asking == Mapping(PORT, 3_600, "upnp")
        asked = len(router.asked)
        assert await kept.keep(router.at) == kept.mapping
        assert len(router.asked) == asked
        await kept.end()
        assert igd.table == {}
        assert kept.mapping is None


async def test_a_router_where_nobody_listens_is_asked_by_upnp_at_once(igd: Igd) -> None:
    async with Router(lambda _: None) as router:
        at = router.at
    kept = PortMapping(PORT, SystemRng(), igd.ssdp_port)

    assert await kept.keep(at) == Mapping(PORT, 3_600, "upnp")


async def test_a_router_that_has_refused_is_not_asked_by_upnp(igd: Igd) -> None:
    async with Router(lambda r: pcp(r, 2)) as router:
        kept = PortMapping(PORT, SystemRng(), igd.ssdp_port)

        assert await kept.keep(router.at) is None

        assert igd.searched == 0


async def test_why_a_router_of_upnp_maps_nothing_is_told(igd: Igd, time: Time) -> None:
    igd.faults["AddPortMapping"] = 606
    async with Router(lambda _: None) as router:
        kept = PortMapping(PORT, SystemRng(), igd.ssdp_port)
        asking = asyncio.ensure_future(kept.keep(router.at))
        await out_of_patience(router, time)

        assert await asking is None
        assert "606" in kept.trouble


async def test_a_mapping_is_looked_after_every_few_minutes_until_the_end(time: Time) -> None:
    async with Router(pcp) as router:
        kept = mapping()
        assert not await kept.look_again(), "nothing was asked for"
        await kept.keep(router.at)
        assert not await kept.look_again()
        asked = len(router.asked)

        await time.advance(PORT_MAPPING_LOOK_S)
        assert not await kept.look_again(), "the same port"
        assert len(router.asked) == asked + 1
        router.answer = lambda request: pcp(request, 8)
        await time.advance(PORT_MAPPING_LOOK_S)
        assert await kept.look_again(), "it is gone"
        router.answer = pcp
        await time.advance(PORT_MAPPING_LOOK_S)
        assert await kept.look_again(), "it is back"
        await kept.end()
        await time.advance(PORT_MAPPING_LOOK_S)
        assert not await kept.look_again()


async def test_a_mapping_that_the_router_no_longer_gives_is_gone() -> None:
    async with Router(pcp) as router:
        kept = mapping()
        await kept.keep(router.at)
        router.answer = lambda request: pcp(request, 8)

        assert await kept.keep(router.at) is None
        assert kept.mapping is None


async def test_a_router_of_nat_pmp_alone_that_is_slow_says_so_more_than_once() -> None:
    late: list[bytes] = []

    def answer(request: bytes) -> bytes | None:
        late.append(nat_pmp(request))
        return None if len(late) == 1 else late[-1]

    async with Router(answer) as router:
        answering = router.datagram_received

        def answer_late(data: bytes, addr: tuple[str | object, int]) -> None:
            answering(data, addr)
            if len(router.asked) == 2:  # the answer to the first request comes behind that to the second
                router._transport.sendto(late[0], addr)

        router.datagram_received = answer_late  # type: ignore[method-assign] # of this router alone
        kept = mapping()
        assert await kept.keep(router.at) == Mapping(OUTSIDE, 3_600, "nat-pmp")


@pytest.fixture
async def time() -> Time:
    return Time()


def test_the_default_gateway_is_read_from_the_kernels_table() -> None:
    assert gateway_in(ROUTES) == "192.168.7.1"
    assert gateway_in("\n".join(ROUTES.splitlines()[:2])) is None
    assert gateway_in("") is None
    assert gateway_in("x\nlan zz 0107A8C0 0003 0 0 0 00000000") is None


def test_requests_are_those_of_the_standards() -> None:
    assert pcp_request(NONCE, IPv4Address("192.168.7.2"), PORT, 3_600).hex() == (
        "0201000000000e10" + "00" * 10 + "ffffc0a80702" + NONCE.hex() + "06000000" + "1f931f93"
        + "00" * 10 + "ffff00000000"
    )  # fmt: skip
    assert nat_pmp_request(PORT, 3_600).hex() == "000200001f931f9300000e10"
    assert nat_pmp_request(PORT, 0).hex() == "000200001f93000000000000"


@given(st.binary(max_size=80))
def test_nothing_but_an_answer_to_the_request_is_taken(answer: bytes) -> None:
    with suppress(WireError):
        assert read_pcp(answer, NONCE, PORT) is None
    with pytest.raises(WireError):
        read_nat_pmp(answer, PORT)


@pytest.mark.parametrize("place", [0, 1, 3, 25, 36, 41])
def test_an_answer_to_something_else_is_no_mapping(place: int) -> None:
    request = pcp_request(NONCE, IPv4Address("192.168.7.2"), PORT, 3_600)
    answer = bytearray(pcp(request))
    assert read_pcp(bytes(answer), NONCE, PORT) == Mapping(OUTSIDE, 3_600, "pcp")
    answer[place] ^= 1

    with pytest.raises(WireError):
        read_pcp(bytes(answer), NONCE, PORT)

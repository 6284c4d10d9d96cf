"""The addresses of one name, dialled one a little after the other."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, turns, until
from tests.transport.roads import PATIENCE_S, Owners
from yzdht.errors import DialFailed, NoOtherAddress
from yzdht.limits import ADDRESS_STAGGER_S, HANDSHAKE_PATIENCE_S, HOSTS_AT_ONCE_MAX, HOSTS_PER_NAME_MAX
from yzdht.transport.host_dials import Dialled, dial_each, in_turn
from yzdht.transport.tcp import TcpTransport
from yzdht.transport.websocket import WebSocketTransport


if TYPE_CHECKING:
    from yzdht.transport.host_dials import Tries


V6, V4 = "2001:db8::1", "192.0.2.1"
LONG_S = 1_000.0
"""Seconds for a dial whose time a test moves on."""
TIME_MOVED = pytest.mark.asyncio(loop_factories=["asyncio"])
"""uvloop has a clock of its own."""


class OpenLink:
    """As much of a link as is asked of one that nobody took."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


class Host:
    """A host whose addresses answer when a test says so."""

    def __init__(self, *addresses: str) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.tries: Tries
        self._addresses = addresses
        self._ends: dict[str, asyncio.Future[OpenLink]] = {}

    async def _dial(self, address: str, tries: Tries) -> OpenLink:
        self.tries = tries
        self.begun.append(address)
        self._ends[address] = asyncio.get_running_loop().create_future()
        try:
            return await self._ends[address]
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise

    def opens(self, address: str) -> OpenLink:
        link = OpenLink()
        self._ends[address].set_result(link)
        return link

    def fails(self, address: str, error: Exception) -> None:
        self._ends[address].set_exception(error)

    def dialled(self, timeout_s: float = LONG_S) -> asyncio.Task[OpenLink]:
        dialled = Dialled("tcp://node.example:1", "node.example", 1, self._addresses)
        return asyncio.get_running_loop().create_task(dial_each(dialled, timeout_s, self._dial))


@pytest.fixture
async def clock() -> Time:
    return Time()


@TIME_MOVED
async def test_an_address_that_swallows_packets_costs_a_moment(clock: Time) -> None:
    host = Host(V6, V4)
    with clock.standing_still():
        dialled = host.dialled()
        await until(lambda: host.begun == [V6])

        await clock.advance(ADDRESS_STAGGER_S)
        await until(lambda: host.begun == [V6, V4])
        link = host.opens(V4)

        assert await dialled is link
        assert host.cancelled == [V6]


@TIME_MOVED
async def test_an_address_that_refuses_costs_nothing(clock: Time) -> None:
    host = Host(V6, V4)
    with clock.standing_still():
        dialled = host.dialled()
        await until(lambda: host.begun == [V6])
        host.fails(V6, ConnectionRefusedError())
        await until(lambda: host.begun == [V6, V4])
        link = host.opens(V4)

        assert await dialled is link


@TIME_MOVED
async def test_an_address_that_is_connected_has_time_to_answer_before_the_next_is_begun(clock: Time) -> None:
    host = Host(V6, V4)
    with clock.standing_still():
        dialled = host.dialled()
        await until(lambda: host.begun == [V6])
        host.tries.connected(V6)

        await clock.advance(ADDRESS_STAGGER_S, steps=2)
        assert host.begun == [V6]
        await clock.advance(HANDSHAKE_PATIENCE_S)
        await until(lambda: host.begun == [V6, V4])
        link = host.opens(V6)

        assert await dialled is link
        assert host.cancelled == [V4]


@TIME_MOVED
async def test_no_other_is_begun_once_one_becomes_a_link(clock: Time) -> None:
    host = Host(V6, V4)
    with clock.standing_still():
        dialled = host.dialled()
        await until(lambda: host.begun == [V6])
        assert host.tries.claim()
        assert not host.tries.claim()

        await clock.advance(LONG_S / 4, steps=4)
        assert host.begun == [V6]
        host.opens(V6)
        await dialled


@TIME_MOVED
async def test_of_many_addresses_few_are_dialled_at_once_and_not_all(clock: Time) -> None:
    addresses = [f"192.0.2.{number}" for number in range(HOSTS_PER_NAME_MAX + 2)]
    host = Host(*addresses)
    with clock.standing_still():
        dialled = host.dialled()
        await clock.advance(10 * ADDRESS_STAGGER_S, steps=100)
        assert host.begun == addresses[:HOSTS_AT_ONCE_MAX]

        await clock.advance(2 * LONG_S, steps=2_000)

        with pytest.raises(DialFailed, match="timed out"):
            await dialled
        assert host.begun == addresses[:HOSTS_PER_NAME_MAX], "each silent one leaves its place to the next"
        assert sorted(host.cancelled) == host.begun


NO_ROUTE = OSError(errno.ENETUNREACH, "Network is unreachable")
CERTIFICATE = DialFailed(
    "wss://node.example: its certificate has ended", hint="have whoever runs it renew it"
)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("most", "other", "told"),
    [
        (ConnectionRefusedError(), NO_ROUTE, "connection refused"),
        (TimeoutError(), NO_ROUTE, "timed out"),
        (ConnectionRefusedError(), TimeoutError(), "connection refused"),
        (CERTIFICATE, ConnectionRefusedError(), "certificate has ended"),
        (ssl.SSLError(1, "wrong version number"), ConnectionRefusedError(), "no TLS server"),
        (NO_ROUTE, ConnectionAbortedError(), "Network is unreachable"),
    ],
)
async def test_of_several_failures_the_one_is_told_that_says_most(
    most: Exception, other: Exception, told: str, *, is_reversed: bool
) -> None:
    host = Host(V6, V4)
    dialled = host.dialled()
    await until(lambda: host.begun == [V6])
    host.fails(V6, other if is_reversed else most)
    await until(lambda: host.begun == [V6, V4])
    host.fails(V4, most if is_reversed else other)

    with pytest.raises(DialFailed, match=told):
        await dialled


@TIME_MOVED
async def test_an_address_that_is_silent_does_not_hide_what_another_said(clock: Time) -> None:
    host = Host(V6, V4)
    with clock.standing_still():
        dialled = host.dialled()
        await until(lambda: host.begun == [V6])
        host.fails(V6, CERTIFICATE)
        await until(lambda: host.begun == [V6, V4])
        await clock.advance(2 * LONG_S, steps=4)

        with pytest.raises(DialFailed, match="certificate has ended"):
            await dialled


async def test_a_dial_that_is_given_up_leaves_nothing_under_way() -> None:
    host = Host(V6, V4)
    dialled = host.dialled()
    await until(lambda: host.begun == [V6])
    dialled.cancel()

    with pytest.raises(asyncio.CancelledError):
        await dialled
    assert host.cancelled == [V6]


async def test_a_link_that_opens_as_its_dial_is_given_up_is_aborted() -> None:
    host = Host(V6, V4)
    dialled = host.dialled()
    await until(lambda: host.begun == [V6])
    link = host.opens(V6)
    await turns(1)  # its own try has ended, and who waits for it has not gone on
    dialled.cancel()

    with pytest.raises(asyncio.CancelledError):
        await dialled
    assert host.cancelled == []
    assert link.is_aborted


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([], []),
        (["a:1", "a:2", "1", "2", "3"], ["a:1", "1", "a:2", "2", "3"]),
        (["1", "2", "a:1"], ["1", "a:1", "2"]),
        (["1", "2"], ["1", "2"]),
    ],
)
def test_the_two_families_take_turns(found: list[str], order: list[str]) -> None:
    assert in_turn(found) == order


@pytest.mark.net
@pytest.mark.parametrize("transport", [TcpTransport(), WebSocketTransport()], ids=["tcp", "ws"])
async def test_of_two_addresses_that_answer_one_becomes_a_link(
    transport: TcpTransport | WebSocketTransport,
) -> None:
    far, near = Owners(), Owners()
    listener = await transport.listen("127.0.0.1", 0, far)
    place = listener.endpoints[0]
    other = await transport.listen("127.0.0.2", place.port, far)
    scheme = min(transport.schemes)

    for _ in range(20):
        await transport.dial(
            f"{scheme}://node.example:{place.port}", near, PATIENCE_S, ("127.0.0.2", "127.0.0.1")
        )
        link = (await near.next()).link
        assert link.remote.host == "127.0.0.2"
        link.abort()
    assert near.count == 20

    await listener.close()
    await other.close()
    await turns(5)
    while not far.made.empty():
        await far.made.get_nowait().closed()


@pytest.mark.net
async def test_a_name_that_was_looked_up_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise AssertionError("it was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    far, near = Owners(), Owners()
    transport = TcpTransport()
    listener = await transport.listen("127.0.0.1", 0, far)

    url = f"tcp://node.example:{listener.endpoints[0].port}"
    link = await transport.dial(url, near, PATIENCE_S, ("127.0.0.1",))

    assert link.remote == listener.endpoints[0]
    await listener.close()
    link.abort()
    await (await near.next()).closed()
    await (await far.next()).closed()


async def test_addresses_to_avoid_are_left_out() -> None:
    host = Host(V6, V4)
    dialled = Dialled("tcp://node.example:1", "node.example", 1, (V6, V4), {V6})

    opened = asyncio.get_running_loop().create_task(dial_each(dialled, LONG_S, host._dial))
    await until(lambda: host.begun == [V4])
    link = host.opens(V4)

    assert await opened is link


async def test_a_name_without_another_address_says_so() -> None:
    host = Host(V6, V4)
    dialled = Dialled("tcp://node.example:1", "node.example", 1, (V6, V4), {V6, V4})

    with pytest.raises(NoOtherAddress, match=r"node\.example"):
        await dial_each(dialled, LONG_S, host._dial)

    assert host.begun == []

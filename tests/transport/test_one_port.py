"""Raw TCP, WebSocket and TLS on one port, told apart by their first bytes."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Opcode

from tests.sessions.kit import until
from tests.transport.roads import PATIENCE_S, Owner, Owners, turns
from tests.transport.strangers import Stranger, client_hello, frame, request
from yzdht.limits import OPENING_BYTES_MAX, OPENINGS_PER_LOOP_TURN
from yzdht.transport import openings as openings_module
from yzdht.transport.one_port import OnePort


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.transport.authority import Authority
    from yzdht.ports import Endpoint, Listener


HELLO = b"\x01" + bytes(38)
"""As long as a Hello with one offer, and begun like it."""

CLIENT_HELLO = client_hello()

RAW = len(HELLO).to_bytes(2, "big") + HELLO


class Port:
    """A listener for everything, who came in and who did not."""

    def __init__(self, opening_s: float, served: ssl.SSLContext | None, trust: ssl.SSLContext | None) -> None:
        self.owners = Owners()
        self.refused: asyncio.Queue[tuple[Endpoint, str]] = asyncio.Queue()
        self.served = served
        self.admits = True
        self.admits_tls = True
        self.asked: list[str] = []
        self.transport = OnePort(
            trust=trust,
            tls=lambda: self.served,
            on_refused=lambda remote, reason: self.refused.put_nowait((remote, reason)),
            opening_s=opening_s,
        )
        self.listener: Listener
        self.strangers: list[Stranger] = []
        self.near = Owners()

    async def open(self) -> None:
        self.listener = await self.transport.listen("127.0.0.1", 0, self.owners, self._admit)

    def _admit(self, remote: Endpoint) -> bool:
        self.asked.append(remote.protocol)
        return self.admits_tls if remote.protocol == "tls" else self.admits

    @property
    def port(self) -> int:
        return self.listener.endpoints[0].port

    async def knock(self, trust: ssl.SSLContext | None = None) -> Stranger:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=trust)
        self.strangers.append(Stranger(reader, writer))
        return self.strangers[-1]

    async def dial(self, scheme: str) -> tuple[Owner, Owner]:
        """Dial it, say hello, and hear it at the other end."""
        await self.transport.dial(f"{scheme}://127.0.0.1:{self.port}", self.near, PATIENCE_S)
        near = await self.near.next()
        near.link.send(HELLO)
        far = await self.owners.next()
        assert await far.take(1) == [HELLO]
        return near, far

    async def refusal(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            remote, reason = await self.refused.get()
        assert remote.host == "127.0.0.1"
        return reason

    async def shut(self) -> None:
        await self.listener.close()
        for owners in (self.owners, self.near):
            while not owners.made.empty():
                owner = owners.made.get_nowait()
                owner.link.abort()
                await owner.closed()
        for stranger in self.strangers:
            await stranger.hang_up()
        await turns(3)


async def end(*owners: Owner) -> None:
    for owner in owners:
        owner.link.abort()
        await owner.closed()


@pytest.fixture
async def make_port(authority: Authority) -> AsyncIterator[Callable[..., Port]]:
    ports: list[Port] = []

    def make(opening_s: float = PATIENCE_S, *, is_tls: bool = True) -> Port:
        served = authority.served() if is_tls else None
        ports.append(Port(opening_s, served, authority.trust))
        return ports[-1]

    yield make
    for port in ports:
        await port.shut()


@pytest.fixture
async def port(make_port: Callable[..., Port]) -> Port:
    port = make_port()
    await port.open()
    return port


@pytest.mark.parametrize("scheme", ["tcp", "ws", "wss"])
async def test_every_kind_is_served_on_the_one_port_and_seen_as_what_it_is(port: Port, scheme: str) -> None:
    near, far = await port.dial(scheme)
    far.link.send(b"welcome")

    assert await near.take(1) == [b"welcome"]
    assert (near.link.remote.protocol, far.link.remote.protocol) == (scheme, scheme)
    assert far.link.remote.host == "127.0.0.1"
    assert port.listener.endpoints[0].protocol == "tcp"
    assert scheme in port.transport.schemes
    await end(near, far)


async def test_a_raw_connection_inside_tls_is_told_from_a_websocket_there(
    port: Port, authority: Authority
) -> None:
    stranger = await port.knock(authority.trust)
    stranger.say(RAW)
    owner = await port.owners.next()

    assert await owner.take(1) == [HELLO]
    assert owner.link.remote.protocol == "tls"
    owner.link.send(b"welcome")
    assert await stranger.hear(9) == b"\x00\x07welcome"
    await end(owner)


async def test_a_kind_is_told_however_its_first_bytes_are_cut(port: Port, authority: Authority) -> None:
    for trust in (None, authority.trust):
        stranger = await port.knock(trust)
        for byte in RAW:
            stranger.say(bytes([byte]))
            await turns(2)
        owner = await port.owners.next()
        assert await owner.take(1) == [HELLO]
        await end(owner)
    stranger = await port.knock()
    for byte in request():
        stranger.say(bytes([byte]))
        await turns(1)
    assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
    stranger.say(frame(Opcode.BINARY, b"hello"))
    owner = await port.owners.next()
    assert await owner.take(1) == [b"hello"]
    await end(owner)


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-x\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\x00\x27\x02", b"\x10", b"\x16\x02", b"\xff\xff\xff"],
)
async def test_what_nobody_speaks_is_closed_and_reported(port: Port, said: bytes) -> None:
    stranger = await port.knock()
    stranger.say(said)

    assert await stranger.hear_rest() == b""
    assert await port.refusal() == "unknown protocol"
    assert port.owners.count == 0


async def test_tls_is_refused_where_there_is_no_certificate(make_port: Callable[..., Port]) -> None:
    port = make_port(is_tls=False)
    await port.open()
    stranger = await port.knock()
    stranger.say(b"\x16\x03\x01\x02\x00")

    assert await stranger.hear_rest() == b""
    assert await port.refusal() == "TLS is not served"


async def test_tls_in_tls_is_refused(port: Port, authority: Authority) -> None:
    stranger = await port.knock(authority.trust)
    stranger.say(b"\x16\x03\x01\x02\x00")

    assert await stranger.hear_rest() == b""
    assert await port.refusal() == "TLS is not served"


async def test_a_tls_handshake_that_is_none_is_answered_by_an_alert_and_reported(port: Port) -> None:
    stranger = await port.knock()
    stranger.say(b"\x16\x03\x01\x00\x05hello")

    assert (await stranger.hear_rest()).startswith(b"\x15\x03")
    assert await port.refusal() == "TLS failed"
    assert port.owners.count == 0


@pytest.mark.parametrize("said", [b"", b"\x00\x27", b"\x16\x03\x01\x02", b"GET / HT"])
async def test_what_does_not_go_on_is_closed_and_reported(
    make_port: Callable[..., Port], said: bytes
) -> None:
    port = make_port(0.03)
    await port.open()
    stranger = await port.knock()
    stranger.say(said)

    assert await stranger.hear_rest() == b""
    assert await port.refusal() == "timed out"


async def test_who_says_nothing_inside_tls_is_closed_and_reported(port: Port, authority: Authority) -> None:
    stranger = await port.knock(authority.trust)
    [opening] = port.listener._openings.pending  # type: ignore[attr-defined]  # no other way to see it from outside
    opening.drop("timed out")  # as its timer does

    assert await stranger.hear_rest() == b""
    assert await port.refusal() == "timed out"


async def test_who_leaves_inside_tls_before_saying_anything_is_reported(
    port: Port, authority: Authority
) -> None:
    stranger = await port.knock(authority.trust)
    await stranger.hang_up()

    assert await port.refusal() == "closed early"


async def test_what_opens_a_link_is_bounded_whatever_it_is(port: Port, authority: Authority) -> None:
    for trust in (None, authority.trust):
        stranger = await port.knock(trust)
        stranger.say(request(more=("X: " + "y" * 6_000 + "\r\n") * 3))
        assert await stranger.hear_rest() == b""
        assert await port.refusal() == "opening too large"
    stranger = await port.knock()
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + bytes(OPENING_BYTES_MAX - 4)
    stranger.say(record)  # the beginning of a ClientHello of 64 KiB
    assert await stranger.hear_rest() == b""
    assert await port.refusal() == "opening too large"


async def test_the_oldest_makes_room_whatever_the_others_speak(
    port: Port, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openings_module, "OPENINGS_MAX", 3)
    oldest = await port.knock()
    oldest.say(b"\x16\x03\x01\x02")
    await port.knock()
    await port.knock(authority.trust)
    await port.knock()

    assert await oldest.hear_rest() == b""
    assert await port.refusal() == "crowded out"
    assert port.refused.empty()


async def test_who_is_not_admitted_is_closed_before_anything_is_read(port: Port) -> None:
    port.admits = False
    for said in (RAW, request(), b"\x16\x03\x01"):
        stranger = await port.knock()
        stranger.say(said)
        assert await stranger.hear_rest() == b""

    assert port.owners.count == 0
    assert port.refused.empty()


async def test_who_may_not_begin_tls_is_closed_before_anything_is_computed(port: Port) -> None:
    port.admits_tls = False
    stranger = await port.knock()
    stranger.say(CLIENT_HELLO[:-1])
    await turns(5)
    assert port.asked == ["tcp"], "the first record is not whole: there is nothing to do yet"
    stranger.say(CLIENT_HELLO[-1:])

    assert await stranger.hear_rest() == b""
    assert port.asked == ["tcp", "tls"]
    assert port.refused.empty()
    assert not port.listener._openings.pending  # type: ignore[attr-defined]  # no other way to see it from outside


async def test_whoever_begins_tls_is_asked_about_once_more_and_has_a_place_until_it_is_open(
    port: Port, authority: Authority
) -> None:
    places = port.listener._openings.tls_places  # type: ignore[attr-defined]  # as above
    half = await port.knock()
    half.say(CLIENT_HELLO)
    assert (await half.hear(1)) == b"\x16"
    assert len(places) == 1

    await port.knock(authority.trust)

    assert port.asked == ["tcp", "tls"] * 2
    await until(lambda: len(places) == 1)
    await half.hang_up()
    assert await port.refusal() == "closed early"
    assert len(places) == 0


async def test_a_crowd_of_tls_handshakes_makes_room_by_itself(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yzdht.transport.tls_places.TLS_HANDSHAKES_MAX", 2)
    plain = await port.knock()
    plain.say(RAW[:2])
    oldest = await port.knock()
    oldest.say(CLIENT_HELLO)
    assert (await oldest.hear(1)) == b"\x16"
    for _ in range(2):
        (await port.knock()).say(CLIENT_HELLO)

    await oldest.hear_rest()
    assert await port.refusal() == "crowded out"
    assert port.refused.empty()


async def test_many_of_every_kind_at_once_are_all_served(port: Port, authority: Authority) -> None:
    each = OPENINGS_PER_LOOP_TURN
    raw = [await port.knock() for _ in range(each)]
    web = [await port.knock() for _ in range(each)]
    inside = await asyncio.gather(*(port.knock(authority.trust) for _ in range(each)))
    for stranger in (*raw, *inside):
        stranger.say(RAW)
    for stranger in web:
        stranger.say(request())
    for stranger in web:
        assert (await stranger.hear_head()).startswith("HTTP/1.1 101 ")
        stranger.say(frame(Opcode.BINARY, HELLO))

    for _ in range(3 * each):
        owner = await port.owners.next()
        assert await owner.take(1) == [HELLO]
        await end(owner)
    assert port.refused.empty()


async def test_a_new_certificate_is_shown_to_whoever_comes_next_and_changes_nothing_for_others(
    port: Port, authority: Authority
) -> None:
    near, far = await port.dial("wss")
    port.served = authority.served("other", ("other.example",))

    with pytest.raises(ssl.SSLCertVerificationError):
        await port.knock(authority.trust)
    near.link.send(b"still here")
    assert await far.take(2) == [HELLO, b"still here"]
    assert await port.refusal() in {"TLS failed", "closed early", "reset"}
    await end(near, far)

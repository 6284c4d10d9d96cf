"""Addresses and sockets of the WebSocket transport, and the library's own ends as peers."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.transport.roads import PATIENCE_S, Owner, Owners, turns
from yzdht.errors import DialFailed, ListenFailed
from yzdht.ports import Endpoint
from yzdht.transport.websocket import WebSocketTransport, parse_address


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yzdht.ports import Listener


def url_of(listener: Listener, host: str = "") -> str:
    place = listener.endpoints[0]
    host = host or place.host
    return f"ws://[{host}]:{place.port}" if ":" in host else f"ws://{host}:{place.port}"


def echo(owner: Owner) -> None:
    owner.link.send(owner.messages[-1])


# Addresses


@pytest.mark.parametrize(
    ("url", "host", "port", "resource"),
    [
        ("ws://node", "node", 80, "/"),
        ("wss://node", "node", 443, "/"),
        ("ws://NODE:8083/ws?a=b", "node", 8083, "/ws?a=b"),
        ("ws://[::1]:8083", "::1", 8083, "/"),
        ("ws://127.0.0.1:1/a/b", "127.0.0.1", 1, "/a/b"),
        ("ws://bücher.example/ä", "xn--bcher-kva.example", 80, "/%C3%A4"),
    ],
)
def test_an_address_is_taken_apart(url: str, host: str, port: int, resource: str) -> None:
    uri = parse_address(url)

    assert (uri.host, uri.port, uri.resource_name) == (host, port, resource)
    assert uri.secure == url.startswith("wss:")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "node:8083",
        "http://node",
        "ws://",
        "ws:///path",
        "ws://node:x",
        "ws://node:65536",
        "ws://node:0",
        "ws://[::1",
        "ws://user:secret@node",
        "ws://user@node",
        "ws://node/#part",
        "ws://node/a b",
        "ws://node/\r\nX: y",
        "ws://node/\x00",
        "ws://" + "a" * 70 + "ü.example",
        "ws://..ü",
    ],
)
def test_what_is_no_address_fails_with_a_hint_and_its_text_quoted(url: str) -> None:
    with pytest.raises(DialFailed, match="is not a WebSocket address") as failure:
        parse_address(url)

    assert failure.value.hint == "write it like ws://host:8083 or wss://host/path"
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 400


async def test_a_name_without_address_is_unreachable() -> None:
    with pytest.raises(DialFailed, match="unreachable"):
        await WebSocketTransport().dial("ws://" + "a" * 64 + ".invalid", Owners(), PATIENCE_S)


async def test_a_name_is_tried_at_each_of_its_addresses() -> None:
    far, near = Owners(), Owners()
    transport = WebSocketTransport()
    listener = await transport.listen("127.0.0.1", 0, far)

    link = await transport.dial(url_of(listener, "localhost"), near, PATIENCE_S)

    assert link.remote == listener.endpoints[0]
    await end(listener, await near.next(), await far.next())


def name_has(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Give every name these addresses, as the system's resolver would."""

    def getaddrinfo(_host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_an_address_that_refuses_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    far, near = Owners(), Owners()
    transport = WebSocketTransport()
    listener = await transport.listen("127.0.0.1", 0, far)
    name_has(monkeypatch, "127.0.0.3", "127.0.0.2", "127.0.0.1")

    link = await transport.dial(url_of(listener, "node.example"), near, PATIENCE_S)

    assert link.remote == listener.endpoints[0]
    assert near.count == 1
    await end(listener, await near.next(), await far.next())


async def test_a_name_that_leads_where_it_may_not_by_now_is_not_dialled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far, near = Owners(), Owners()
    transport = WebSocketTransport()
    listener = await transport.listen("127.0.0.1", 0, far)
    name_has(monkeypatch, "8.8.8.8", "127.0.0.1")

    with pytest.raises(DialFailed, match="hearsay"):
        await transport.dial(url_of(listener, "node.example"), near, PATIENCE_S, lambda ip: ip == "8.8.8.8")
    link = await transport.dial(url_of(listener), near, PATIENCE_S, lambda _: False)  # an address is no name

    assert near.count == 1
    assert link.remote == listener.endpoints[0]
    await end(listener, await near.next(), await far.next())


async def test_an_address_that_is_silent_takes_only_its_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far, near = Owners(), Owners()
    transport = WebSocketTransport()
    listener = await transport.listen("127.0.0.1", 0, far)
    port = listener.endpoints[0].port
    with socket.create_server(("127.0.0.2", port)):  # takes connections and never answers
        name_has(monkeypatch, "127.0.0.2", "127.0.0.1")

        link = await transport.dial(url_of(listener, "node.example"), near, 0.5)

    assert link.remote == listener.endpoints[0]
    assert near.count == 1
    await end(listener, await near.next(), await far.next())


async def test_the_last_address_s_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = await WebSocketTransport().listen("127.0.0.1", 0, Owners())
    await listener.close()
    name_has(monkeypatch, "127.0.0.2", "127.0.0.1")

    with pytest.raises(DialFailed, match="refused"):
        await WebSocketTransport().dial(url_of(listener, "node.example"), Owners(), PATIENCE_S)


async def end(listener: Listener, *owners: Owner) -> None:
    await listener.close()
    for owner in owners:
        owner.link.abort()
        await owner.closed()
    await turns(3)


# Listening


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_link_knows_the_address_of_its_peer_and_sends_without_delay(host: str) -> None:
    far, near = Owners(), Owners()
    transport = WebSocketTransport()
    listener = await transport.listen(host, 0, far)

    link = await transport.dial(url_of(listener), near, PATIENCE_S)
    there = await far.next()

    assert link.remote == listener.endpoints[0] == Endpoint(host, listener.endpoints[0].port, "ws")
    assert there.link.remote.host == host
    for end_of_it in (link, there.link):
        sock: socket.socket = end_of_it._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # the socket's own word
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await end(listener, await near.next(), there)


async def test_the_wildcard_of_ipv6_takes_ipv4_too_and_shows_it_as_such() -> None:
    far, near = Owners(), Owners()
    transport = WebSocketTransport()
    listener = await transport.listen("::", 0, far)
    opened = []
    for host in ("::1", "127.0.0.1"):
        await transport.dial(url_of(listener, host), near, PATIENCE_S)
        opened += [await near.next(), await far.next()]

    assert opened[-1].link.remote.host == "127.0.0.1"
    assert opened[1].link.remote.host == "::1"
    await end(listener, *opened)


async def test_the_wildcard_of_ipv4_takes_ipv4_only() -> None:
    transport = WebSocketTransport()
    listener = await transport.listen("0.0.0.0", 0, Owners())

    with pytest.raises(DialFailed, match="refused"):
        await transport.dial(url_of(listener, "::1"), Owners(), PATIENCE_S)

    assert listener.endpoints[0].host == "0.0.0.0"
    await listener.close()


async def test_a_name_is_listened_on_at_all_its_addresses_and_one_port() -> None:
    listener = await WebSocketTransport().listen("localhost", 0, Owners())

    assert {place.host for place in listener.endpoints} <= {"127.0.0.1", "::1"}
    assert len({place.port for place in listener.endpoints}) == 1
    await listener.close()


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ListenFailed, match="not an address of this machine"):
        await WebSocketTransport().listen("192.0.2.1", 0, Owners())


# The library's own ends


async def test_the_library_s_client_is_served_with_its_compression_declined() -> None:
    far = Owners(echo)
    listener = await WebSocketTransport().listen("127.0.0.1", 0, far)

    async with websockets.asyncio.client.connect(url_of(listener) + "/ws", compression="deflate") as client:
        for message in (b"", b"a" * 1_024, bytes(16_000)):
            await client.send(message)
            assert await client.recv() == message
        await client.send([b"in ", b"three ", b"pieces"])
        assert await client.recv() == b"in three pieces"
        async with asyncio.timeout(PATIENCE_S):
            await (await client.ping())
        assert client.protocol.extensions == []

    owner = await far.next()
    assert await owner.closed() == "closed by peer"
    await listener.close()


async def test_the_library_s_server_is_dialled_with_its_compression_unasked() -> None:
    near = Owners()

    async def serve(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0, compression="deflate") as server:
        port = next(iter(server.sockets)).getsockname()[1]
        link = await WebSocketTransport().dial(f"ws://127.0.0.1:{port}/any/path", near, PATIENCE_S)
        owner = await near.next()
        for message in (b"", b"a" * 1_024, bytes(16_000)):
            link.send(message)
        assert await owner.take(3) == [b"", b"a" * 1_024, bytes(16_000)]
        link.close()
        assert await owner.closed() == "closed"


async def test_the_library_s_server_closing_is_told() -> None:
    near = Owners()

    async def serve(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.send(b"bye")

    async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await WebSocketTransport().dial(f"ws://127.0.0.1:{port}", near, PATIENCE_S)
        owner = await near.next()
        assert await owner.closed() == "closed by peer"
        assert owner.messages == [b"bye"]


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that signs itself; its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a node of a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "node.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


async def over_tls(certificate: Path, use: Callable[[int], object]) -> None:
    """Run the library's echo server behind TLS."""

    async def serve(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0, ssl=context) as server:
        await use(next(iter(server.sockets)).getsockname()[1])  # type: ignore[misc]  # a coroutine function's result


async def test_messages_travel_over_tls_with_a_trusted_certificate(certificate: Path) -> None:
    async def use(port: int) -> None:
        near = Owners()
        trust = ssl.create_default_context(cafile=certificate)
        link = await WebSocketTransport(ssl_context=trust).dial(f"wss://127.0.0.1:{port}", near, PATIENCE_S)
        owner = await near.next()
        messages = [number.to_bytes(2, "big") * 4_000 for number in range(100)]
        for message in messages:
            link.send(message)
        assert await owner.take(100) == messages
        assert link.remote == Endpoint("127.0.0.1", port, "wss")
        link.close()
        assert await owner.closed() == "closed"

    await over_tls(certificate, use)


async def test_a_certificate_that_nobody_vouches_for_fails_the_dial(certificate: Path) -> None:
    async def use(port: int) -> None:
        with pytest.raises(DialFailed, match="certificate is not trusted"):
            await WebSocketTransport().dial(f"wss://127.0.0.1:{port}", Owners(), PATIENCE_S)

    await over_tls(certificate, use)


async def test_tls_towards_a_server_without_fails_the_dial() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    with pytest.raises(DialFailed, match=r"no TLS server there|closed the connection"):
        await WebSocketTransport().dial(f"wss://127.0.0.1:{port}", Owners(), PATIENCE_S)

    server.close()
    await turns(3)

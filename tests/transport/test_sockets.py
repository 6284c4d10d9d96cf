"""Names, addresses and what the system's errors are called."""

from __future__ import annotations

import errno
import re
import socket
import ssl

import pytest

from yzdht.errors import ListenFailed
from yzdht.ports import Endpoint
from yzdht.transport.sockets import bind, endpoint_of, explain_bind, explain_dial, resolve


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1", "2001:db8::1", "fe80::1%lo"])
async def test_a_literal_is_its_own_address(literal: str) -> None:
    assert await resolve(literal, 1) == [literal]


async def test_a_name_has_addresses_without_repetition() -> None:
    found = await resolve("localhost", 1)

    assert found
    assert set(found) <= {"127.0.0.1", "::1"}
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("sockaddr", "host"),
    [
        (("192.0.2.1", 7), "192.0.2.1"),
        (("::ffff:192.0.2.1", 7, 0, 0), "192.0.2.1"),
        (("::ffff:0:0:1", 7, 0, 0), "::ffff:0:0:1"),
        (("2001:db8::1", 7, 0, 0), "2001:db8::1"),
    ],
)
def test_an_ipv4_address_is_shown_as_such(sockaddr: tuple[str, int], host: str) -> None:
    assert endpoint_of(sockaddr, "ws") == Endpoint(host, 7, "ws")


async def test_a_bound_port_cannot_be_bound_again_once_it_listens() -> None:
    (first,) = await bind("127.0.0.1", 0)
    first.listen()
    with first, pytest.raises(ListenFailed, match=r"127\.0\.0\.1:\d+ is in use") as failure:
        await bind("127.0.0.1", first.getsockname()[1])

    assert "--port" in failure.value.hint


async def test_everywhere_is_ipv4_alone_where_the_system_has_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutIpv6(socket.socket):
        def __init__(
            self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, kind, proto, fileno)

    monkeypatch.setattr("socket.socket", WithoutIpv6)
    (everywhere,) = await bind("::", 0)

    with everywhere:
        assert endpoint_of(everywhere.getsockname(), "tcp").host == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("a" * 64 + ".invalid", 1), ("", 1)]
)
async def test_what_is_no_place_cannot_be_bound(host: str, port: int) -> None:
    with pytest.raises(ListenFailed, match="is not an address") as failure:
        await bind(host, port)

    assert failure.value.hint


@pytest.mark.parametrize(
    ("number", "message", "hint"),
    [
        (errno.EADDRINUSE, "[::1]:80 is in use", "--port"),
        (errno.EADDRNOTAVAIL, "::1 is not an address of this machine", "ip address"),
        (errno.EACCES, "[::1]:80 needs privileges", "1023"),
        (errno.EIO, "cannot listen on [::1]:80 (broken)", "--port"),
    ],
)
def test_why_binding_failed_is_said_with_a_way_out(number: int, message: str, hint: str) -> None:
    failure = explain_bind("::1", 80, OSError(number, "broken"))

    assert str(failure) == message
    assert hint in failure.hint


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TimeoutError(), "timed out"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "closed the connection"),
        (ssl.SSLError(1, "wrong version number"), "no TLS server"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "its host has no address"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "the resolver gives no answer"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "the resolver gives no answer"),
        (UnicodeError("label too long"), "unreachable"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable (No route to host)"),
        (OSError("odd"), "unreachable (odd)"),
    ],
)
def test_why_a_dial_failed_is_said_with_a_way_out(error: OSError | UnicodeError, why: str) -> None:
    failure = explain_dial("ws://node", error)

    assert str(failure).startswith("ws://node: ")
    assert why in str(failure)
    assert failure.hint


@pytest.mark.parametrize(
    ("code", "why", "hint"),
    [
        (9, "is not valid yet", "clock"),
        (10, "has ended", "renew"),
        (18, "no authority that is known here", "--ca FILE"),
        (20, "no authority that is known here", "--ca FILE"),
        (62, "for another name", "a name that the certificate is for"),
        (64, "for another name", "a name that the certificate is for"),
        (23, r"\(certificate revoked\)", "trust"),
    ],
)
def test_a_certificate_that_is_refused_says_why_and_what_to_do(code: int, why: str, hint: str) -> None:
    error = ssl.SSLCertVerificationError(1, "refused")
    error.verify_code, error.verify_message = code, "certificate revoked"

    failure = explain_dial("wss://node", error)

    assert re.search(why, str(failure))
    assert hint in failure.hint

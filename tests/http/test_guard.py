"""Who may ask for the pages, and what every answer says."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.http.kit import alone, exchange, get, parsed
from yzdht.http.guard import host_of


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8084", "localhost"),
        ("127.0.0.1:8084", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::1]:8084", "::1"),
        ("localhost:", "localhost"),
        ("localhost:80:80", ""),
        ("localhost:eighty", ""),
        ("localhost:٣", ""),
        ("[::1", ""),
        ("[::1]8084", ""),
        ("[localhost]", ""),
        ("", ""),
    ],
)
def test_a_host_header_is_a_name_and_perhaps_a_port(header: str, name: str) -> None:
    assert host_of(header) == name


@given(st.text())
def test_no_host_header_is_too_odd_to_be_judged(header: str) -> None:
    assert ":" not in host_of(header) or header.startswith("[")


@pytest.mark.net
async def test_pages_are_served_under_names_of_this_machine_only() -> None:
    async with alone() as (_, http):
        for host in ("localhost", "127.0.0.1", f"127.0.0.1:{http.port}", "127.9.9.9", "[::1]:1"):
            assert (await get(http, "/healthz", host=host)).status == 200
        for host in (
            "rebound.example",
            "localhost.example",
            "127.0.0.1.example",
            "10.0.0.1",
            "[2001:db8::1]",
            "2130706433",
            "0x7f.1",
            "user@localhost",
            "localhost, localhost",
            "local\xe9",
        ):
            reply = await get(http, "/status.json", host=host)
            assert (reply.status, "localhost" in reply.object["error"]) == (421, True), host


@pytest.mark.net
@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", b"GET / HTTP/1.0"],
)
async def test_a_request_without_a_host_or_with_two_gets_no_page(head: bytes) -> None:
    async with alone() as (_, http):
        assert parsed(await exchange(http.port, head + b"\r\n\r\n")).status in (400, 421)


@pytest.mark.net
async def test_nothing_is_taken_but_get_and_head() -> None:
    async with alone() as (_, http):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"):
            reply = await get(http, "/", method=method)
            assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD"), method
        whole, head = await get(http, "/healthz"), await get(http, "/healthz", method="HEAD")

    assert (head.status, head.body) == (200, b"")
    assert head.headers == whole.headers


@pytest.mark.net
@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/status.json", "/metrics", "/nowhere"])
async def test_no_answer_is_kept_guessed_at_or_shared_with_other_pages(path: str) -> None:
    async with alone() as (_, http):
        headers = (await get(http, path)).headers

    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["connection"] == "close"
    assert not {"access-control-allow-origin", "server", "set-cookie"} & headers.keys()

"""Who is behind a proxy, as the proxy says; and that nobody else has a say in it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from yzdht.errors import WireError
from yzdht.limits import FORWARDED_CHARACTERS_MAX, FORWARDED_HOPS_MAX
from yzdht.ports import Endpoint
from yzdht.transport.forwarded import NO_PROXIES, Proxies, decode_forwarded


if TYPE_CHECKING:
    from collections.abc import Sequence


PROXY = Endpoint("127.0.0.1", 40_000, "ws")
STRANGER = Endpoint("8.8.8.8", 40_000, "ws")
OWN = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("2001:db8::/32"))
HOSTS = st.ip_addresses().filter(
    lambda ip: not (ip.is_multicast or ip.is_unspecified or getattr(ip, "ipv4_mapped", None))
)


def is_own(host: str) -> bool:
    return any(ip_address(host) in block for block in OWN)


def is_own_or_loopback(host: str) -> bool:
    return is_own(host) or ip_address(host).is_loopback


# Which address counts


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        (["8.8.8.8"], ("8.8.8.8", 0)),
        ([" 8.8.8.8\t"], ("8.8.8.8", 0)),
        (["8.8.8.8:4711"], ("8.8.8.8", 4711)),
        (["2606:4700::1"], ("2606:4700::1", 0)),
        (["2606:4700:0:0::0001"], ("2606:4700::1", 0)),
        (["[2606:4700::1]"], ("2606:4700::1", 0)),
        (["[2606:4700::1]:65535"], ("2606:4700::1", 65_535)),
        (["::ffff:8.8.8.8"], ("8.8.8.8", 0)),
        (["192.168.1.7"], ("192.168.1.7", 0)),
    ],
)
def test_an_address_is_taken_as_proxies_write_it(fields: list[str], place: tuple[str, int]) -> None:
    assert decode_forwarded(fields, is_own) == place


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        (["9.9.9.9, 8.8.8.8"], "8.8.8.8"),
        (["9.9.9.9", "8.8.8.8"], "8.8.8.8"),
        (["9.9.9.9, 8.8.8.8, 10.1.2.3, 127.0.0.1"], "8.8.8.8"),
        (["9.9.9.9, 8.8.8.8", "10.1.2.3"], "8.8.8.8"),
        (["127.0.0.1, 8.8.8.8"], "8.8.8.8"),
        (["what a stranger likes, unknown,,, 8.8.8.8, 10.0.0.1"], "8.8.8.8"),
    ],
)
def test_of_several_it_is_the_last_that_is_no_proxy_whatever_stands_before_it(
    fields: list[str], host: str
) -> None:
    assert decode_forwarded(fields, is_own) == (host, 0)


def test_a_proxy_that_begins_a_connection_itself_is_taken_at_its_word() -> None:
    assert decode_forwarded(["127.0.0.1"], is_own) == ("127.0.0.1", 0)
    assert decode_forwarded(["10.1.1.1, 10.2.2.2, 127.0.0.1"], is_own) == ("10.1.1.1", 0)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "unknown", "_hidden", "localhost", "node1.example", "8.8.8.8, ", "8.8.8", "8.8.8.8.8", "08.8.8.8",
        "8.8.8.256", "8.8.8.8:", "8.8.8.8:65536", "8.8.8.8:-1", "8.8.8.8:\uff11", "\uff18.8.8.8", "8.8.8.8\n", "\n8.8.8.8", "8.8.8.8/32",
        "[8.8.8.8", "8.8.8.8]", "[2606::1", "2606::1]:80", "2606:::1", "fe80::1%eth0", "[fe80::1%25]", "%", "0x8.8.8.8",
        "134744072", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0", "for=8.8.8.8", '"8.8.8.8"', "8.8.8.8 9.9.9.9",
        "8.8.8.8;9.9.9.9", "\x00", "8.8.8.8\x00", "é",
    ],
)  # fmt: skip
def test_what_is_no_address_of_one_machine_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        decode_forwarded([text], is_own)
    with pytest.raises(WireError):
        decode_forwarded([f"8.8.8.8, {text or ' '}, 10.0.0.1"], is_own)


def test_a_header_that_is_missing_is_refused() -> None:
    with pytest.raises(WireError, match="sends no"):
        decode_forwarded([], is_own)


def test_a_header_that_is_too_long_is_refused_though_its_end_could_be_read() -> None:
    end = ", 8.8.8.8"

    decode_forwarded(["x" * (FORWARDED_CHARACTERS_MAX - len(end)) + end], is_own)
    with pytest.raises(WireError, match="too long"):
        decode_forwarded(["x" * (FORWARDED_CHARACTERS_MAX - len(end) + 1) + end], is_own)


def test_no_more_proxies_than_the_bound_are_followed() -> None:
    chain = ", ".join(["10.0.0.1"] * FORWARDED_HOPS_MAX)

    assert decode_forwarded([chain], is_own) == ("10.0.0.1", 0)
    with pytest.raises(WireError, match="too many"):
        decode_forwarded(["8.8.8.8", chain], is_own)


@given(
    HOSTS, st.lists(st.text(max_size=20), max_size=5), st.lists(st.sampled_from(["10.0.0.1", "127.0.0.1"]))
)
def test_nothing_that_a_stranger_writes_before_it_changes_the_address(
    ip: IPv4Address | IPv6Address, lies: list[str], hops: list[str]
) -> None:
    if is_own(str(ip)) or len(hops) >= FORWARDED_HOPS_MAX:
        return
    honest = [str(ip), *hops]

    assert decode_forwarded([*lies, ", ".join(honest)], is_own) == (str(ip), 0)
    assert decode_forwarded([", ".join([*lies, *honest])], is_own) == (str(ip), 0)


@given(st.lists(st.text(max_size=60), max_size=4))
def test_what_comes_out_is_an_address_or_a_documented_error(fields: list[str]) -> None:
    try:
        host, port = decode_forwarded(fields, is_own)
    except WireError:
        return
    assert str(ip_address(host)) == host
    assert 0 <= port <= 65_535


# Whose word counts


@pytest.mark.parametrize("fields", [[], ["9.9.9.9"], ["127.0.0.1"], ["nonsense"]])
def test_from_anybody_but_a_trusted_proxy_the_header_is_not_read(
    fields: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert Proxies(is_own).behind(STRANGER, fields) is STRANGER
    assert NO_PROXIES.behind(PROXY, fields) is PROXY
    assert not caplog.records


def test_behind_a_trusted_proxy_is_whom_it_names_marked_with_the_proxy() -> None:
    found = Proxies(is_own).behind(PROXY, ["9.9.9.9"])

    assert found == Endpoint("9.9.9.9", 0, "ws", "127.0.0.1")
    assert PROXY.proxy == ""


def test_a_proxy_that_cannot_be_understood_counts_itself_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxies = Proxies(is_own)

    for fields in ([], ["unknown"], [], ["x" * 2_000]):
        assert proxies.behind(PROXY, fields) is PROXY
    assert proxies.behind(PROXY, ["9.9.9.9"]).host == "9.9.9.9"

    [record] = caplog.records
    assert record.getMessage() == (
        "who is behind a proxy is not known proxy=127.0.0.1 reason=it sends no X-Forwarded-For"
    )


@pytest.mark.parametrize(
    ("host", "dialled"),
    [
        ("127.0.0.1", "127.0.0.1:8083"),
        ("127.0.0.1", "localhost:8083"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.2", "127.0.0.1:8083"),
        ("::1", "[::1]:8083"),
        ("127.0.0.1", "[::1]:8083"),
        ("10.0.0.7", "10.0.0.7:8083"),
        ("2001:db8::1", "[2001:db8:0::1]:8083"),
    ],
)
def test_a_program_of_this_machine_is_no_proxy_that_hides_somebody(
    host: str, dialled: str, caplog: pytest.LogCaptureFixture
) -> None:
    remote = PROXY._replace(host=host)

    assert Proxies(is_own_or_loopback).behind(remote, [], dialled) is remote
    assert caplog.records == []


@pytest.mark.parametrize(
    ("host", "dialled", "fields"),
    [
        ("127.0.0.1", "node1.example.org", []),
        ("127.0.0.1", "node1.example.org:443", []),
        ("127.0.0.1", "", []),
        ("127.0.0.1", "10.0.0.7:8083", []),
        ("127.0.0.1", "[::1", []),
        ("127.0.0.1", "127.0.0.1,127.0.0.1", []),
        ("10.0.0.7", "127.0.0.1:8083", []),
        ("10.0.0.7", "localhost", []),
        ("10.0.0.7", "10.0.0.8:8083", []),
        ("127.0.0.1", "127.0.0.1:8083", ["unknown"]),
    ],
)
def test_a_proxy_that_names_nobody_is_warned_of(
    host: str, dialled: str, fields: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    remote = PROXY._replace(host=host)

    assert Proxies(is_own).behind(remote, fields, dialled) is remote
    assert len(caplog.records) == 1


@given(st.text(max_size=40))
def test_whatever_stands_in_host_is_borne(text: str) -> None:
    assert Proxies(is_own).behind(PROXY, [], text) is PROXY

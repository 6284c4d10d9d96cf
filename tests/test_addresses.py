"""Which addresses a node advertises."""

from __future__ import annotations

import socket
from typing import NamedTuple

import psutil
import pytest
from hypothesis import given, strategies as st

from yzdht.addresses import Found, Served, advertised, families, interface_hosts, is_on_link, local_hosts
from yzdht.limits import ADDRESSES_MAX


ANY_V4, ANY_V6 = "0.0.0.0", "::"
PORT = 8083


class Nic(NamedTuple):
    """As psutil names one address of an interface."""

    family: int
    address: str
    netmask: str | None = None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces = {
        "lo": [Nic(socket.AF_INET, "127.0.0.1"), Nic(socket.AF_INET6, "::1")],
        "eth0": [
            Nic(socket.AF_INET, "192.168.1.7"),
            Nic(socket.AF_INET6, "fd00:1::7"),
            Nic(socket.AF_INET6, "fe80::1%eth0"),
            Nic(socket.AF_INET6, "fe80::2"),
            Nic(17, "00:11:22:33:44:55"),
        ],
        "eth1": [Nic(socket.AF_INET, "8.8.4.4"), Nic(socket.AF_INET6, "2001:4860:4860::8844")],
        "odd": [
            Nic(socket.AF_INET, "0.0.0.0"),
            Nic(socket.AF_INET, "224.0.0.1"),
            Nic(socket.AF_INET, "169.254.1.1"),
            Nic(socket.AF_INET, "192.168.1.7"),
        ],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)


def urls(host: str, *public: str, is_private_allowed: bool = False) -> list[str]:
    return [a.url for a in advertised(host, PORT, public, is_private_allowed=is_private_allowed)]


def both(*hosts: str) -> list[str]:
    """Each of them in both protocols, in the order of the record."""
    return [f"{protocol}://{host}:{PORT}" for protocol in ("tcp", "ws") for host in hosts]


@pytest.mark.usefixtures("machine")
def test_a_wildcard_becomes_the_addresses_of_the_interfaces_in_each_protocol() -> None:
    assert urls(ANY_V4) == both("8.8.4.4", "192.168.1.7")
    assert urls(ANY_V6) == both("8.8.4.4", "[2001:4860:4860::8844]", "192.168.1.7", "[fd00:1::7]")


@pytest.mark.usefixtures("machine")
def test_loopback_is_advertised_last_and_only_where_it_is_asked_for() -> None:
    assert urls(ANY_V4, is_private_allowed=True) == both("8.8.4.4", "192.168.1.7", "127.0.0.1")
    assert urls(ANY_V6, is_private_allowed=True)[4:6] == ["tcp://127.0.0.1:8083", "tcp://[::1]:8083"]
    assert urls("127.0.0.1") == both("127.0.0.1")
    assert urls("::1") == both("[::1]")


@pytest.mark.usefixtures("machine")
def test_what_the_operator_typed_replaces_everything_else() -> None:
    typed = ["wss://node.example:443", "ws://203.0.113.9:1"]

    assert urls(ANY_V4, "wss://node.example", "ws://203.0.113.9:1") == typed
    seen = Found(seen=[("8.8.8.8", 1)])
    shown = advertised(
        ANY_V4, PORT, typed, is_private_allowed=False, served=Served(tls_names=["h"]), found=seen
    )
    assert [a.url for a in shown] == typed


@pytest.mark.usefixtures("machine")
def test_one_address_to_listen_on_is_the_one_advertised() -> None:
    assert urls("192.168.1.7") == both("192.168.1.7")
    assert urls("node.example") == both("node.example")


@pytest.mark.usefixtures("machine")
def test_where_peers_reach_it_goes_first_and_what_they_do_not_reach_is_left_out() -> None:
    found = Found([("9.9.9.9", 4_000), ("8.8.4.4", PORT)], lambda url: "192.168" in url)

    shown = [a.url for a in advertised(ANY_V4, PORT, (), is_private_allowed=False, found=found)]

    assert shown == ["tcp://9.9.9.9:4000", "tcp://8.8.4.4:8083", "ws://9.9.9.9:4000", "ws://8.8.4.4:8083"]


def test_an_address_that_the_operator_typed_is_withdrawn_too() -> None:
    wrong, right = "tcp://203.0.113.9:1", "wss://node.example:443"

    found = Found(is_withdrawn=lambda url: url == wrong)

    assert [
        a.url for a in advertised(ANY_V4, PORT, [wrong, right], is_private_allowed=False, found=found)
    ] == [right]


@pytest.mark.usefixtures("machine")
def test_names_of_its_certificate_are_advertised_for_tls() -> None:
    served = Served(tls_names=["localhost", "a b.example", "192.0.2.1", "node1.example"])

    first, *others = advertised("192.168.1.7", PORT, (), is_private_allowed=False, served=served)

    assert (first.url, first.client_types[0]) == ("wss://node1.example:8083", "browser")
    assert [a.url for a in others] == both("192.168.1.7")


@pytest.mark.usefixtures("machine")
def test_a_page_can_use_neither_tcp_nor_ws() -> None:
    tcp, ws = advertised("192.168.1.7", PORT, (), is_private_allowed=False)
    [wss] = advertised(ANY_V4, PORT, ["wss://node.example"], is_private_allowed=False)

    assert (tcp.protocol, tcp.client_types) == ("tcp", ("python", "nodejs"))
    assert (ws.protocol, ws.client_types) == ("ws", ("python", "nodejs"))
    assert (wss.protocol, wss.client_types) == ("wss", ("browser", "python", "nodejs"))


def test_a_machine_with_many_addresses_advertises_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"eth0": [Nic(socket.AF_INET, f"10.0.0.{n}") for n in range(1, 100)]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: many)

    assert len(urls(ANY_V4)) == ADDRESSES_MAX
    assert {url.partition("://")[2] for url in urls(ANY_V4)} == {
        url.partition("://")[2] for url in urls(ANY_V4) if url.startswith("ws:")
    }, "every place in every protocol"
    assert len(urls(ANY_V4, *(f"ws://10.0.0.{n}:1" for n in range(1, 100)))) == ADDRESSES_MAX
    served = Served(tls_names=["a.example"])
    assert len(advertised(ANY_V4, PORT, (), is_private_allowed=False, served=served)) == ADDRESSES_MAX - 1


@given(st.lists(st.ip_addresses() | st.text(max_size=20), max_size=30), st.sampled_from([ANY_V4, ANY_V6]))
def test_no_interface_makes_it_advertise_a_wildcard(found: list[object], wildcard: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [Nic(0, str(a)) for a in found]})

        for allowed in (True, False):
            shown = urls(wildcard, is_private_allowed=allowed)
            assert not any("://0.0.0.0:" in u or "://[::]:" in u for u in shown)
            assert allowed or not any("127." in u.split("//")[1][:4] or "[::1]" in u for u in shown)


@pytest.mark.usefixtures("machine")
def test_a_machine_with_addresses_of_both_families_dials_both() -> None:
    assert families() == (True, True)


@pytest.mark.parametrize(
    ("found", "both"),
    [
        (["127.0.0.1", "::1", "fe80::1%eth0", "fe80::1"], (False, False)),
        (["127.0.0.1", "10.0.0.1"], (True, False)),
        (["::1", "fd00:1::7"], (False, True)),
    ],
)
def test_loopback_and_link_local_addresses_lead_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, found: list[str], both: tuple[bool, bool]
) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": [Nic(0, host) for host in found]})

    assert families() == both


def test_this_machine_s_own_interfaces_are_read() -> None:
    assert "127.0.0.1" in interface_hosts(ANY_V4)
    assert not any(":" in host for host in interface_hosts(ANY_V4))


@pytest.mark.usefixtures("machine")
def test_of_local_networks_are_private_ipv4_addresses_at_which_it_listens() -> None:
    assert local_hosts(ANY_V4) == local_hosts(ANY_V6) == ["192.168.1.7"]
    assert local_hosts("192.168.1.7") == ["192.168.1.7"]
    assert local_hosts("8.8.4.4") == []
    assert local_hosts("127.0.0.1") == []


def test_on_the_link_is_whoever_is_in_a_block_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    nics = [
        Nic(socket.AF_INET, "192.168.1.7", "255.255.255.0"),
        Nic(socket.AF_INET, "127.0.0.1", "255.0.0.0"),
        Nic(socket.AF_INET, "10.9.0.1"),
        Nic(socket.AF_INET6, "fd00::1", "ffff:ffff:ffff:ffff::"),
    ]
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": nics})

    assert is_on_link("192.168.1.9")
    assert is_on_link("192.168.1.7")
    for host in ("192.168.2.9", "192.168.1.255", "192.168.1.0", "127.0.0.1", "10.9.0.2", "8.8.8.8"):
        assert not is_on_link(host)

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given, strategies as st

from tests.vectors.golden import KEM_1, KEM_2
from yzdht.errors import UsageError, WireError
from yzdht.ids import NodeId
from yzdht.limits import ADDRESSES_MAX, CLIENT_TYPES_MAX, CONTACT_URLS_MAX, KEM_KEYS_MAX, URL_BYTES_MAX
from yzdht.wire.address import (
    Address,
    ClientType,
    IdentityPayload,
    KemEntry,
    NodeType,
    Url,
    address_of,
    decode_identity_payload,
    encode_identity_payload,
    fit_urls,
    is_public,
    json_view,
    limit_prefix,
    may_dial,
    parse_url,
    public_prefix,
    scope_of,
    scopes_of,
)
from yzdht.wire.rpc import encode_body
from yzdht.wire.text import encode_public_key


KEM = KemEntry(1, KEM_1.public_key, 1_767_225_600)


# Parsing


@pytest.mark.parametrize(
    ("text", "url", "normal"),
    [
        ("ws://192.0.2.1:8083", Url("ws", "192.0.2.1", 8083, "/"), "ws://192.0.2.1:8083"),
        ("ws://192.0.2.1:8083/", Url("ws", "192.0.2.1", 8083, "/"), "ws://192.0.2.1:8083"),
        ("ws://node1.yz.example", Url("ws", "node1.yz.example", 80, "/"), "ws://node1.yz.example:80"),
        ("wss://node1.yz.example", Url("wss", "node1.yz.example", 443, "/"), "wss://node1.yz.example:443"),
        (
            "WSS://Node1.YZ.example:1/Ws",
            Url("wss", "node1.yz.example", 1, "/Ws"),
            "wss://node1.yz.example:1/Ws",
        ),
        ("wss://h/ws?a=b&c", Url("wss", "h", 443, "/ws?a=b&c"), "wss://h:443/ws?a=b&c"),
        ("wss://h?a", Url("wss", "h", 443, "/?a"), "wss://h:443/?a"),
        ("ws://h:65535", Url("ws", "h", 65_535, "/"), "ws://h:65535"),
        ("ws://h:", Url("ws", "h", 80, "/"), "ws://h:80"),
        ("ws://h.:80", Url("ws", "h.", 80, "/"), "ws://h.:80"),
        ("ws://_under-score.h", Url("ws", "_under-score.h", 80, "/"), "ws://_under-score.h:80"),
        ("tcp://192.0.2.1:8083", Url("tcp", "192.0.2.1", 8083, "/"), "tcp://192.0.2.1:8083"),
        ("TCP://Node1.example:1/", Url("tcp", "node1.example", 1, "/"), "tcp://node1.example:1"),
        ("tcp://[2001:DB8::1]:80", Url("tcp", "2001:db8::1", 80, "/"), "tcp://[2001:db8::1]:80"),
        ("ws://[::1]:8083", Url("ws", "::1", 8083, "/"), "ws://[::1]:8083"),
        ("ws://[2001:DB8:0:0::1]", Url("ws", "2001:db8::1", 80, "/"), "ws://[2001:db8::1]:80"),
        ("ws://[::ffff:192.0.2.1]:1", Url("ws", "::ffff:c000:201", 1, "/"), "ws://[::ffff:c000:201]:1"),
    ],
)
def test_addresses_that_parse(text: str, url: Url, normal: str) -> None:
    parsed = parse_url(text)

    assert parsed.text == normal
    assert str(parsed.ip or "") == str(url.ip or "")
    assert parsed == url or parsed.ip == url.ip
    assert parse_url(normal) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "h:8083",
        "192.0.2.1:8083",
        "http://h",
        "https://h",
        "tcp://h",
        "tcp://h:",
        "tcp://h:0",
        "tcp://:1",
        "tcp:h:1",
        "tcp://h:1/path",
        "tcp://h:1//",
        "tcp://h:1?x",
        "tcp://h:1/?x",
        "tcp://h:1#node",
        "tcp://user@h:1",
        "udp://h:1",
        "webrtc-direct://h:1",
        "ws:",
        "ws:h",
        "ws://",
        "ws:///path",
        "ws://:8083",
        "ws://h:0",
        "ws://h:00000",
        "ws://h:65536",
        "ws://h:99999",
        "ws://h:123456",
        "ws://h:-1",
        "ws://h:+80",
        "ws://h:8o",
        "ws://h:80:80",
        "ws://h#node",
        "ws://h/#node",
        "ws://user@h",
        "ws://@h",
        "ws://:@h",
        "ws://u:p@h",
        " ws://h",
        "ws://h ",
        "ws://a b",
        "ws://h/a b",
        "ws://h\n",
        "ws://h\t:1",
        "ws://h/\r\nX-Header: 1",
        "ws://h/\x00",
        "ws://h/\x7f",
        "ws://h\\x",
        "ws://h/\\x",
        'ws://"<>',
        "ws://a%41",
        "ws://h,i",
        "ws://.",
        "ws://..",
        "ws://.h",
        "ws://a..b",
        "ws://" + "a" * 64,
        "ws://" + ".".join(["a" * 63] * 4),
        "ws://::1",
        "ws://[::1",
        "ws://::1]",
        "ws://[]",
        "ws://[:]",
        "ws://[192.0.2.1]",
        "ws://[::1]x:80",
        "ws://[::1]:x",
        "ws://[fe80::1%25eth0]:1",
        "ws://[fe80::1%eth0]:1",
        "ws://[v1.x]",
        "ws://[h]",
        "ws://é",
        "ws://xn--\u00e9",
        "ws://h/\u200b",
        "ws://h/\ud800",
        "ws://h/" + "a" * URL_BYTES_MAX,
        "ws://h/" + "a" * (URL_BYTES_MAX - 7),  # with :80 it is over
    ],
)
def test_addresses_that_do_not_parse(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_url(text)

    assert "ws://" in refused.value.hint


def test_the_longest_address_parses() -> None:
    text = "ws://h:80/" + "a" * (URL_BYTES_MAX - 10)

    assert parse_url(text).text == text


tails = st.text("ws:/[]@#?.%0129af\\ ", max_size=20)


@given(st.text(max_size=60) | st.builds("{}://{}".format, st.sampled_from(["tcp", "ws"]), tails))
@example("ws://[::1]:1/?")
@example("tcp://[::1]:1/?")
def test_any_text_is_an_address_in_normal_form_or_a_usage_error(text: str) -> None:
    try:
        url = parse_url(text)
    except UsageError:
        return
    assert parse_url(url.text) == url
    assert url.protocol in ("tcp", "ws", "wss")
    assert url.protocol != "tcp" or url.path == "/"
    assert 1 <= url.port <= 65_535
    assert url.path.startswith("/")
    assert not set(url.text) & set(" \r\n\t\\#")
    assert len(url.text) <= URL_BYTES_MAX


@given(st.ip_addresses(), st.integers(1, 65_535), st.sampled_from(["tcp", "ws", "wss"]))
def test_every_ip_address_parses_back(ip: IPv4Address | IPv6Address, port: int, protocol: str) -> None:
    url = parse_url(Url(protocol, str(ip), port, "/").text)

    assert (url.ip, url.port) == (ip, port)


def test_the_same_address_at_another_host() -> None:
    url = parse_url("wss://node1.yz.example:444/ws?x")

    assert url.with_host("192.0.2.1") == "wss://192.0.2.1:444/ws?x"
    assert url.with_host("2001:db8::1") == "wss://[2001:db8::1]:444/ws?x"


def test_names_have_no_ip() -> None:
    assert parse_url("ws://h").ip is None
    assert parse_url("ws://2130706433").ip is None
    assert parse_url("ws://192.0.2.1").ip == ip_address("192.0.2.1")


def test_a_page_can_use_neither_tcp_nor_plain_websockets() -> None:
    assert address_of("ws://H:1") == Address("ws", "ws://h:1", ("python", "nodejs"))
    assert address_of("wss://h") == Address("wss", "wss://h:443", ("browser", "python", "nodejs"))
    assert address_of("tcp://H:1") == Address("tcp", "tcp://h:1", ("python", "nodejs"))
    with pytest.raises(UsageError):
        address_of("udp://h:1")


# Identity payloads


def payload_of(node_type: str = "infrastructure", addresses: int = 1, kem: int = 1) -> IdentityPayload:
    return IdentityPayload(node_type, (address_of("ws://192.0.2.1:1"),) * addresses, 0x31, (KEM,) * kem)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)
payloads = st.builds(
    IdentityPayload,
    st.sampled_from([node_type.value for node_type in NodeType]),
    st.lists(st.builds(Address, names, names, st.lists(names, max_size=4).map(tuple)), max_size=16).map(
        tuple
    ),
    st.integers(0, 2**32 - 1),
    st.lists(
        st.builds(
            KemEntry, st.integers(0, 255), st.binary(min_size=33, max_size=33), st.integers(0, 2**32 - 1)
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
)


@given(payloads)
def test_identity_payloads_read_back(payload: IdentityPayload) -> None:
    assert decode_identity_payload(encode_identity_payload(payload)) == payload


@given(payloads, st.data())
def test_a_damaged_identity_payload_is_another_one_or_a_wire_error(
    payload: IdentityPayload, data: st.DataObject
) -> None:
    encoded = encode_identity_payload(payload)
    with pytest.raises(WireError):
        decode_identity_payload(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(WireError):
        decode_identity_payload(encoded + b"\0")
    changed = bytearray(encoded)
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(WireError):
        decode_identity_payload(bytes(changed))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_identity_payload_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_identity_payload(data)


@pytest.mark.parametrize(
    "payload",
    [
        payload_of(node_type="server"),
        payload_of(node_type=""),
        payload_of(node_type="Client"),
        payload_of(addresses=ADDRESSES_MAX + 1),
        payload_of(kem=0),
        payload_of(kem=KEM_KEYS_MAX + 1),
        IdentityPayload("client", (Address("ws", "u" * (URL_BYTES_MAX + 1), ()),), 0, (KEM,)),
        IdentityPayload("client", (Address("ws", "u", ("x",) * (CLIENT_TYPES_MAX + 1)),), 0, (KEM,)),
        IdentityPayload("client", (Address("ws", "u", ("x" * 17,)),), 0, (KEM,)),
        IdentityPayload("client", (Address("p" * 33, "u", ()),), 0, (KEM,)),
        IdentityPayload("client", (), 2**32, (KEM,)),
        IdentityPayload("client", (), 0, (KemEntry(256, KEM.public_key, 0),)),
        IdentityPayload("client", (), 0, (KemEntry(1, KEM.public_key, 2**32),)),
    ],
)
def test_identity_payloads_out_of_bounds_are_refused(payload: IdentityPayload) -> None:
    with pytest.raises(WireError):
        decode_identity_payload(encode_body(payload))


def test_identity_payloads_at_their_bounds_are_read() -> None:
    payload = payload_of("community", ADDRESSES_MAX, KEM_KEYS_MAX)

    assert decode_identity_payload(encode_identity_payload(payload)) == payload


def test_protocols_and_client_types_of_a_newer_version_pass_through() -> None:
    later = IdentityPayload("community", (Address("carrier", "pigeon:1", ("bird",)),), 1, (KEM,))

    assert decode_identity_payload(encode_identity_payload(later)) == later


def test_the_json_view_is_that_of_section_6_key_for_key() -> None:
    payload = IdentityPayload(
        NodeType.INFRASTRUCTURE.value,
        (
            Address("wss", "wss://node1.yz.example", (ClientType.BROWSER.value,)),
            Address("ws", "ws://node1.yz.example:8083", (ClientType.PYTHON.value, ClientType.NODEJS.value)),
        ),
        0x71,
        (KEM, KemEntry(1, KEM_2.public_key, 7)),
    )

    view = json_view(NodeId(bytes(range(32))), payload, 7, 1_767_225_600)

    assert view == {
        "nodeId": bytes(range(32)).hex(),
        "nodeType": "infrastructure",
        "addresses": [
            {"protocol": "wss", "url": "wss://node1.yz.example", "clientTypes": ["browser"]},
            {"protocol": "ws", "url": "ws://node1.yz.example:8083", "clientTypes": ["python", "nodejs"]},
        ],
        "capabilities": ["storage", "routing", "bridge"],
        "kem": [
            {"suite": 1, "publicKey": encode_public_key(KEM_1.public_key), "notAfter": 1_767_225_600},
            {"suite": 1, "publicKey": encode_public_key(KEM_2.public_key), "notAfter": 7},
        ],
        "seq": 7,
        "expires": 1_767_225_600,
    }
    assert list(view) == ["nodeId", "nodeType", "addresses", "capabilities", "kem", "seq", "expires"]


def test_the_json_view_names_bits_4_to_11_and_no_others() -> None:
    view = json_view(NodeId(bytes(32)), IdentityPayload("client", (), 2**32 - 1, (KEM,)), 0, 0)

    assert view["capabilities"] == [
        "storage",
        "routing",
        "bridge",
        "pubsub",
        "mailbox",
        "pq",
        "relay",
        "client",
    ]
    assert view["addresses"] == []


# Scopes

PUBLIC, LOOPBACK = scope_of("8.8.8.8"), scope_of("127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.3.1",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_public_unicast(host: str) -> None:
    assert is_public(host)
    assert scope_of(host) is PUBLIC


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.255.255.255",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "0:0:0:0:0:0:0:1",
    ],
)
def test_loopback(host: str) -> None:
    assert scope_of(host) is LOOPBACK
    assert not is_public(host)


@pytest.mark.parametrize(
    ("host", "block"),
    [
        ("10.0.0.0", "10.0.0.0/8"),
        ("10.255.255.255", "10.0.0.0/8"),
        ("172.16.0.1", "172.16.0.0/12"),
        ("172.31.255.255", "172.16.0.0/12"),
        ("192.168.1.1", "192.168.0.0/16"),
        ("100.64.0.1", "100.64.0.0/10"),
        ("169.254.169.254", "169.254.0.0/16"),
        ("192.0.2.1", "192.0.2.0/24"),
        ("198.51.100.1", "198.51.100.0/24"),
        ("203.0.113.1", "203.0.113.0/24"),
        ("198.18.0.1", "198.18.0.0/15"),
        ("fe80::1", "fe80::/10"),
        ("fe80::1%eth0", "fe80::/10"),
        ("febf::1", "fe80::/10"),
        ("fd00:1:2:3::4", "fd00:1:2::/48"),
        ("fc00::1", "fc00::/48"),
        ("fdff:ffff:ffff::", "fdff:ffff:ffff::/48"),
        ("::ffff:10.0.0.1", "10.0.0.0/8"),
        ("64:ff9b::10.0.0.1", "10.0.0.0/8"),
        ("64:ff9b::a9fe:a9fe", "169.254.0.0/16"),
        ("2002:c0a8:101::1", "192.168.0.0/16"),
    ],
)
def test_private_blocks(host: str, block: str) -> None:
    assert scope_of(host) == ip_network(block)
    assert not is_public(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "node1.yz.example",
        "2130706433",
        "0x7f.1",
        "127.1",
        "010.0.0.1",
        "1.2.3.4.",
        "1.2.3.4:80",
        "[::1]",
        "0.0.0.0",
        "0.1.2.3",
        "192.0.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:0.0.0.0",
        "::ffff:255.255.255.255",
        "64:ff9b::224.0.0.1",
        "2002::1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_what_nobody_is_sent_to(host: str) -> None:
    assert scope_of(host) is None
    assert public_prefix(host) is limit_prefix(host) is None
    assert not may_dial(host, "127.0.0.1", is_private_allowed=True)
    assert not may_dial(host, host, is_private_allowed=True)


@pytest.mark.parametrize(
    ("host", "namer", "is_allowed"),
    [
        ("8.8.8.8", "1.1.1.1", True),
        ("8.8.8.8", "127.0.0.1", True),
        ("8.8.8.8", "", True),
        ("2606:4700::1", "10.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "::1", True),
        ("::1", "127.0.0.1", True),
        ("127.0.0.1", "8.8.8.8", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost", False),
        ("10.0.0.1", "10.255.0.1", True),
        ("10.0.0.1", "::ffff:10.255.0.1", True),
        ("10.0.0.1", "192.168.0.1", False),
        ("10.0.0.1", "8.8.8.8", False),
        ("10.0.0.1", "127.0.0.1", False),
        ("192.168.1.1", "192.168.200.1", True),
        ("169.254.169.254", "8.8.8.8", False),
        ("169.254.169.254", "10.0.0.1", False),
        ("::ffff:127.0.0.1", "8.8.8.8", False),
        ("64:ff9b::127.0.0.1", "8.8.8.8", False),
        ("2002:7f00:1::", "8.8.8.8", False),
        ("2002:a00:1::", "2606:4700::1", False),
        ("fd00:1:2::1", "fd00:1:2:3::9", True),
        ("fd00:1:2::1", "fd00:1:3::1", False),
        ("fd00:1:2::1", "2606:4700::1", False),
        ("fe80::1", "fe80::2", True),
        ("fe80::1", "fd00::1", False),
    ],
)
def test_who_may_name_what(host: str, namer: str, *, is_allowed: bool) -> None:
    assert may_dial(host, namer, is_private_allowed=False) is is_allowed
    assert may_dial(host, namer, is_private_allowed=True)


@given(st.ip_addresses(), st.ip_addresses())
def test_a_stranger_can_only_name_public_addresses_and_those_of_its_own_scope(
    host: IPv4Address | IPv6Address, namer: IPv4Address | IPv6Address
) -> None:
    if may_dial(str(host), str(namer), is_private_allowed=False):
        assert is_public(str(host)) or scope_of(str(host)) == scope_of(str(namer)) is not None
    assert not (host.is_multicast and is_public(str(host)))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_form(ip: IPv4Address) -> None:
    number = int(ip)
    forms = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
    ]

    for form in forms:
        assert scope_of(str(form)) == scope_of(str(ip))
        assert public_prefix(str(form)) == public_prefix(str(ip))
        assert limit_prefix(str(form)) == limit_prefix(str(ip))


def test_who_is_near_is_named_near_addresses_first_and_others_public_ones() -> None:
    shown = [address_of(f"ws://{host}:1") for host in ("10.0.0.1", "127.0.0.1", "h", "8.8.8.8", "[fd00::1]")]
    later = Address("carrier", "pigeon:1", ("python",))
    hosts = {
        near: [parse_url(url).host for url in fit_urls(shown, "python", scope_of(near))]
        for near in ("1.1.1.1", "10.9.9.9", "127.0.0.1", "fd00::2", "192.168.0.1", "nobody")
    }

    assert hosts["1.1.1.1"][:2] == hosts["192.168.0.1"][:2] == hosts["nobody"][:2] == ["h", "8.8.8.8"]
    assert hosts["10.9.9.9"][:3] == ["10.0.0.1", "h", "8.8.8.8"]
    assert hosts["127.0.0.1"][:3] == ["127.0.0.1", "h", "8.8.8.8"]
    assert hosts["fd00::2"][:3] == ["fd00::1", "h", "8.8.8.8"]
    assert {len(found) for found in hosts.values()} == {CONTACT_URLS_MAX}
    assert fit_urls([*shown, later], "browser", PUBLIC) == ()
    assert fit_urls([later], "python", PUBLIC) == ("pigeon:1",), "for the asker to judge"
    assert scopes_of([*shown[2:4], later]) == {PUBLIC}


# Prefixes


def test_prefixes_of_public_addresses() -> None:
    assert public_prefix("8.8.4.4") == limit_prefix("8.8.4.4") == "8.8.4.0/24"
    assert public_prefix("2606:4700:1:2345::1") == "2606:4700:1::/48"
    assert limit_prefix("2606:4700:1:2345::1") == "2606:4700:1:2300::/56"


def test_peers_behind_nat64_do_not_share_one_prefix() -> None:
    """To a node that has IPv6 only, every IPv4 peer is in 64:ff9b::/96."""
    assert public_prefix("64:ff9b::8.8.4.4") == "8.8.4.0/24"
    assert public_prefix("64:ff9b::1.1.1.1") == "1.1.1.0/24"


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "0.0.0.0", "", "h", "192.0.2.1"])
def test_nothing_else_has_a_prefix(host: str) -> None:
    assert public_prefix(host) is None
    assert limit_prefix(host) is None


@given(st.ip_addresses(v=6))
def test_a_prefix_holds_its_address(ip: IPv6Address) -> None:
    for prefix in (public_prefix(str(ip)), limit_prefix(str(ip))):
        if prefix is not None and ":" in prefix:
            assert ip in IPv6Network(prefix)

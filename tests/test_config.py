"""What a node can be told, and what is refused before anything starts."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from yzdht.config import (
    Bootstrap,
    Capacity,
    NodeConfig,
    Tls,
    parse_bootstrap,
    parse_network_key,
    parse_node_type,
    parse_prefix,
)
from yzdht.crypto.naming import network_id
from yzdht.errors import ConfigError, ExitCode
from yzdht.ids import NodeId
from yzdht.limits import ADDRESSES_MAX, MEMORY_STORE_BYTES_MAX, REPLICATION_BYTES_PER_S
from yzdht.wire.address import NodeType


ID = "ab" * 32


def test_a_node_needs_to_be_told_nothing() -> None:
    config = NodeConfig()

    assert (config.port, config.host, config.bootstraps()) == (8083, "::", [])
    assert config.network_id == network_id("main")


@pytest.mark.parametrize(
    ("text", "url", "node_id"),
    [
        ("ws://127.0.0.1:8083", "ws://127.0.0.1:8083", None),
        ("WS://Node.Example", "ws://node.example:80", None),
        ("wss://node.example/ws", "wss://node.example:443/ws", None),
        ("ws://[::1]:1", "ws://[::1]:1", None),
        (f"ws://127.0.0.1:8083#{ID}", "ws://127.0.0.1:8083", NodeId(bytes.fromhex(ID))),
    ],
)
def test_a_bootstrap_address_is_a_url_and_perhaps_who_must_answer(
    text: str, url: str, node_id: NodeId | None
) -> None:
    assert parse_bootstrap(text) == Bootstrap(url, node_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8083",
        "http://127.0.0.1",
        "ws://",
        "ws://127.0.0.1:0",
        "ws://127.0.0.1:65536",
        "ws://127.0.0.1#",
        "ws://127.0.0.1#abc",
        f"ws://127.0.0.1#{ID.upper()}",
        f"ws://127.0.0.1#{ID}#{ID}",
        "ws://user@127.0.0.1",
    ],
)
def test_what_is_no_bootstrap_address_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bootstrap(text)

    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(ConfigError):
        NodeConfig(bootstrap=(text,))


@given(st.text(max_size=100))
def test_whatever_is_typed_is_an_address_or_a_config_error(text: str) -> None:
    try:
        bootstrap = parse_bootstrap(text)
    except ConfigError:
        return
    assert parse_bootstrap(bootstrap.url).url == bootstrap.url


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["", "\n"]))
def test_a_network_key_is_64_hexadecimal_digits_and_an_optional_newline(key: bytes, end: str) -> None:
    assert parse_network_key(key.hex() + end) == key
    assert parse_network_key(key.hex().upper() + end) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0" * 63,
        "0" * 65,
        "0" * 64 + "\n\n",
        " " + "0" * 63,
        "0" * 62 + "\r\n",
        "g" * 64,
        "\u0660" * 64,
    ],
)
def test_what_is_no_network_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_network_key(text)

    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65_536},
        {"network": ""},
        {"network": "x" * 65},
        {"network": "a\0b"},
        {"network": "\ud800"},
        {"network_key": b""},
        {"network_key": b"x" * 31},
        {"public_addresses": ("nonsense",)},
        {"public_addresses": ("ws://0.0.0.0:8083",)},
        {"public_addresses": ("ws://[::]:8083",)},
        {"public_addresses": ("ws://192.0.2.1:1",) * (ADDRESSES_MAX + 1)},
        {"trusted_prefixes": ("nonsense",)},
        {"trusted_prefixes": ("8.8.8.0/24", "8.8.8.8/24")},
        {"trusted_proxies": ("nonsense",)},
        {"trusted_proxies": ("8.8.8.8/24",)},
        {"type": NodeType.CLIENT},
        {"type": "king"},
        {"sessions_max": 0},
        {"storage_bytes_max": 0},
        {"storage_bytes_max": 2**62 + 1},
        {"bandwidth_bytes_per_s": -1},
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NodeConfig(**options)  # type: ignore[arg-type] # options of several types


@pytest.mark.parametrize(
    "options",
    [
        {"port": 0},
        {"port": 65_535},
        {"network": "x" * 64},
        {"network_key": bytes(32)},
        {"public_addresses": ("wss://node.example", "ws://127.0.0.1:1")},
        {"trusted_prefixes": ("8.8.8.0/24", "2001:4860::/32", "0.0.0.0/0")},
        {"type": NodeType.INFRASTRUCTURE, "sessions_max": 1, "storage_bytes_max": 2**62},
    ],
)
def test_what_can_work_is_taken(options: dict[str, object]) -> None:
    NodeConfig(**options)  # type: ignore[arg-type] # options of several types


def test_a_certificate_and_its_key_go_together() -> None:
    assert NodeConfig().tls == Tls()
    for half in ({"certificate": Path("node.pem")}, {"key": Path("node.key")}):
        with pytest.raises(ConfigError, match="no use without its key") as refused:
            Tls(**half)
        assert "--tls-cert FILE --tls-key FILE" in refused.value.hint


# What it may take


def test_a_community_node_takes_what_a_home_has() -> None:
    assert NodeConfig(data=Path("data")).capacity == Capacity(
        sessions_max=200,
        dials_in_flight_max=16,
        storage_bytes_max=16 << 30,
        bandwidth_bytes_per_s=None,
        trusted_proxies=(),
        dials_per_s=10.0,
    )


def test_an_infrastructure_node_takes_more() -> None:
    capacity = NodeConfig(type=NodeType.INFRASTRUCTURE, data=Path("data")).capacity

    assert (capacity.sessions_max, capacity.dials_in_flight_max, capacity.dials_per_s) == (5_000, 64, None)
    assert capacity.storage_bytes_max == 16 << 30


@pytest.mark.parametrize("node_type", [NodeType.COMMUNITY, NodeType.INFRASTRUCTURE])
def test_what_is_said_wins_over_the_type(node_type: NodeType) -> None:
    config = NodeConfig(
        type=node_type,
        sessions_max=7,
        storage_bytes_max=8,
        bandwidth_bytes_per_s=9,
        trusted_proxies=("192.0.2.7", "2001:db8::/64"),
    )

    capacity = config.capacity
    assert (capacity.sessions_max, capacity.storage_bytes_max, capacity.bandwidth_bytes_per_s) == (7, 8, 9)
    assert capacity.trusted_proxies == (ip_network("192.0.2.7/32"), ip_network("2001:db8::/64"))


def test_a_node_in_memory_keeps_less() -> None:
    assert NodeConfig().capacity.storage_bytes_max == MEMORY_STORE_BYTES_MAX


def test_the_types_of_a_node_are_two() -> None:
    assert [parse_node_type(text) for text in ("community", "infrastructure")] == [
        NodeType.COMMUNITY,
        NodeType.INFRASTRUCTURE,
    ]
    for text in ("client", "Community", "", "king"):
        with pytest.raises(ConfigError) as caught:
            parse_node_type(text)
        assert caught.value.hint == "use community or infrastructure"


# Trusted prefixes


@pytest.mark.parametrize(
    "text",
    ["", "8.8.8", "8.8.8.0/33", "8.8.8.0/", "/24", "node.example/24", " 8.8.8.0/24", "2001:4860::/129"],
)
def test_what_is_no_prefix_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigError, match="no block of addresses") as caught:
        parse_prefix(text)

    assert "203.0.113.0/24" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "meant"), [("203.0.113.7/24", "203.0.113.0/24"), ("2001:db8::1/48", "2001:db8::/48")]
)
def test_a_prefix_with_bits_behind_its_length_is_refused_and_the_one_meant_is_named(
    text: str, meant: str
) -> None:
    with pytest.raises(ConfigError, match="bits set behind its length") as caught:
        parse_prefix(text)

    assert caught.value.hint == f"write it as {meant}"


@given(st.text(max_size=40) | st.ip_addresses().map(str))
def test_whatever_is_typed_is_a_prefix_or_a_config_error(text: str) -> None:
    try:
        prefix = parse_prefix(text)
    except ConfigError:
        return
    assert parse_prefix(str(prefix)) == prefix


@pytest.mark.parametrize(
    ("trusted", "prefix", "is_covered"),
    [
        ("8.8.8.0/24", "8.8.8.0/24", True),
        ("8.8.0.0/16", "8.8.8.0/24", True),
        ("8.8.8.8", "8.8.8.0/24", True),
        ("8.8.8.128/25", "8.8.8.0/24", True),
        ("8.8.9.0/24", "8.8.8.0/24", False),
        ("0.0.0.0/0", "8.8.8.0/24", True),
        ("0.0.0.0/0", "2001:4860:1::/48", False),
        ("2001:4860::/32", "2001:4860:1::/48", True),
        ("2001:4860:1:2::/64", "2001:4860:1::/48", True),
        ("2001:4860:2::/48", "2001:4860:1::/48", False),
        ("::/0", "8.8.8.0/24", False),
    ],
)
def test_a_prefix_is_trusted_if_it_lies_in_a_trusted_block_or_holds_one(
    trusted: str, prefix: str, *, is_covered: bool
) -> None:
    config = NodeConfig(trusted_prefixes=("192.0.2.0/24", trusted))

    assert config.trusted().covers(prefix) is is_covered


@pytest.mark.parametrize(
    ("bootstrap", "prefix", "is_covered"),
    [
        ("ws://8.8.8.8:8083", "8.8.8.0/24", True),
        (f"ws://8.8.8.8:8083#{ID}", "8.8.8.0/24", True),
        ("ws://[2001:4860:1::1]:8083", "2001:4860:1::/48", True),
        ("ws://[::ffff:8.8.8.8]:8083", "8.8.8.0/24", True),
        ("ws://8.8.8.8:8083", "8.8.9.0/24", False),
        ("ws://node.example:8083", "8.8.8.0/24", False),
        ("ws://127.0.0.1:8083", "8.8.8.0/24", False),
    ],
)
def test_the_prefix_of_a_bootstrap_address_is_trusted_too(
    bootstrap: str, prefix: str, *, is_covered: bool
) -> None:
    assert NodeConfig(bootstrap=(bootstrap,)).trusted().covers(prefix) is is_covered


def test_the_names_among_the_bootstrap_addresses_are_told_apart() -> None:
    typed = ("ws://8.8.8.8:1", "ws://[2001:4860:1::1]:1", f"wss://Node.Example#{ID}", "ws://localhost:8083")

    assert NodeConfig(bootstrap=typed).bootstrap_names() == {"wss://node.example:443", "ws://localhost:8083"}


@pytest.mark.parametrize(
    ("trusted", "is_too_wide"),
    [
        ("0.0.0.0/0", True),
        ("128.0.0.0/1", True),
        ("8.0.0.0/7", True),
        ("8.0.0.0/8", False),
        ("8.8.8.8", False),
        ("::/0", True),
        ("2000::/3", True),
        ("2000::/15", True),
        ("2001::/16", False),
        ("2001:4860::/32", False),
    ],
)
def test_a_block_that_nobody_has_for_himself_is_too_wide_to_be_trusted(
    trusted: str, *, is_too_wide: bool
) -> None:
    config = NodeConfig(trusted_prefixes=("8.8.8.0/24", trusted), bootstrap=("ws://8.8.4.4:1",))

    assert [(one.option, str(one.block)) for one in config.too_wide()] == (
        [("--trusted-prefix", trusted)] if is_too_wide else []
    )
    config = NodeConfig(trusted_proxies=("8.8.8.0/24", trusted))
    assert [(one.option, str(one.block)) for one in config.too_wide()] == (
        [("--trusted-proxy", trusted)] if is_too_wide else []
    )


def test_nobody_is_trusted_unless_said_so() -> None:
    assert not NodeConfig().trusted().covers("8.8.8.0/24")


def test_a_config_shows_no_secret() -> None:
    shown = repr(NodeConfig(network_key=b"k" * 32, passphrase="correct horse"))

    assert "correct horse" not in shown
    assert "kkkk" not in shown


@pytest.mark.parametrize(
    ("line", "care"), [(None, REPLICATION_BYTES_PER_S), (1 << 30, REPLICATION_BYTES_PER_S), (65_536, 32_768)]
)
def test_care_of_records_takes_half_of_a_bounded_line(line: int | None, care: float) -> None:
    assert NodeConfig(bandwidth_bytes_per_s=line).care_bytes_per_s() == care


@pytest.mark.parametrize(
    ("storage", "line", "options"),
    [
        (16, 10, ["--max-storage", "--max-bandwidth"]),
        ((1 << 20) - 1, (1 << 16) - 1, ["--max-storage", "--max-bandwidth"]),
        (1 << 20, 1 << 16, []),
        (None, None, []),
    ],
)
def test_a_bound_that_leaves_no_room_for_the_largest_value_is_too_little(
    storage: int | None, line: int | None, options: list[str]
) -> None:
    config = NodeConfig(storage_bytes_max=storage, bandwidth_bytes_per_s=line)

    assert [option for option, _, _ in config.too_little()] == options

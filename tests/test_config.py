"""What a node can be told, and what is refused before anything starts."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.config import Bootstrap, NodeConfig, parse_bootstrap, parse_network_key
from yzdht.crypto.naming import network_id
from yzdht.errors import ConfigError, ExitCode
from yzdht.ids import NodeId
from yzdht.limits import ADDRESSES_MAX


ID = "ab" * 32


def test_a_node_needs_to_be_told_nothing() -> None:
    config = NodeConfig()

    assert (config.port, config.host, config.bootstraps()) == (8083, "0.0.0.0", [])
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
    ],
)
def test_what_can_work_is_taken(options: dict[str, object]) -> None:
    NodeConfig(**options)  # type: ignore[arg-type] # options of several types


def test_a_config_shows_no_secret() -> None:
    shown = repr(NodeConfig(network_key=b"k" * 32, passphrase="correct horse"))

    assert "correct horse" not in shown
    assert "kkkk" not in shown

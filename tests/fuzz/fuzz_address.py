"""Addresses as others name them and as people type them (PROTOCOL.md section 6)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from yzdht.config import parse_bootstrap, parse_network_key, parse_prefix
from yzdht.errors import ConfigError, DialFailed, UsageError
from yzdht.transport.websocket import parse_address
from yzdht.wire.address import (
    address_of,
    is_loopback,
    is_public,
    limit_prefix,
    may_dial,
    parse_url,
    public_prefix,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.wire.address.parse_url",
    "yzdht.wire.address._split_netloc",
    "yzdht.transport.websocket.parse_address",
    "yzdht.config.parse_bootstrap",
    "yzdht.config.parse_network_key",
    "yzdht.config.parse_prefix",
)


def seeds() -> Iterator[bytes]:
    for text in (
        "ws://192.0.2.1:8083", "wss://node1.yz.example/ws?x=1", "ws://[2001:db8::1]:1", "ws://[::ffff:10.0.0.1]",
        "ws://a_b-c.example.:65535", f"ws://127.0.0.1:8083#{'ab' * 32}", "ab" * 32, "203.0.113.0/24",
        "2001:db8::/48", "64:ff9b::a00:1", "webrtc-direct://192.0.2.1", "tcp://192.0.2.1:8083", "tcp://[2001:db8::1]:1/",
    ):  # fmt: skip
        yield text.encode()


def one(data: bytes) -> None:
    text = data.decode(errors="surrogateescape" if data[:1] == b"\xff" else "replace")
    _judge(text)
    for parse in (parse_bootstrap, parse_network_key, parse_prefix):
        try:
            parse(text)
        except ConfigError:
            continue
    with contextlib.suppress(DialFailed):
        parse_address(text)
    try:
        url = parse_url(text)
    except UsageError:
        return
    assert parse_url(url.text) == url, (text, url)
    assert address_of(text).url == url.text
    assert url.ip is not None or not is_public(url.host)
    _judge(url.host)
    if url.protocol != "tcp":
        parse_address(url.text)  # what passes the first check passes the dialler's too


def _judge(host: str) -> None:
    public_prefix(host)
    limit_prefix(host)
    assert not (is_public(host) and is_loopback(host))
    may_dial(host, "10.0.0.1", is_private_allowed=False)


if __name__ == "__main__":
    run(one, seeds())

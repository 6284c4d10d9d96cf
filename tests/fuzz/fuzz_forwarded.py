"""The header in which a proxy says who is behind it, one value a line."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from yzdht.errors import WireError
from yzdht.limits import FORWARDED_CHARACTERS_MAX, FORWARDED_HOPS_MAX
from yzdht.transport.forwarded import decode_forwarded


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.transport.forwarded.decode_forwarded",
    "yzdht.transport.forwarded._decode_place",
)
OWN = frozenset({"127.0.0.1", "10.0.0.1", "::1"})


def seeds() -> Iterator[bytes]:
    for text in (
        "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711", "::ffff:192.0.2.1",
        "unknown, 192.0.2.1, 127.0.0.1\n10.0.0.1", ",,", "fe80::1%eth0", "127.0.0.1," * FORWARDED_HOPS_MAX + "192.0.2.1",
    ):  # fmt: skip
        yield text.encode()


def one(data: bytes) -> None:
    fields = data.decode(errors="surrogateescape" if data[:1] == b"\xff" else "replace").split("\n")
    asked: list[str] = []

    def is_own(host: str) -> bool:
        asked.append(host)
        return host in OWN

    try:
        host, port = decode_forwarded(fields, is_own)
    except WireError:
        assert len(asked) <= FORWARDED_HOPS_MAX
        return
    assert sum(map(len, fields)) <= FORWARDED_CHARACTERS_MAX
    assert str(ip_address(host)) == host
    assert asked[-1] == host
    assert 0 <= port <= 65_535


if __name__ == "__main__":
    run(one, seeds())

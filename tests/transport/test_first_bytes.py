"""What a connection speaks, told by its first bytes."""

from __future__ import annotations

import pytest

from yzdht.limits import HELLO_BYTES_MAX
from yzdht.transport.first_bytes import Kind, kind_of


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", None),
        (b"G", Kind.HTTP),
        (b"GET / HTTP/1.1", Kind.HTTP),
        (b"\x16", None),
        (b"\x16\x03", Kind.TLS),
        (b"\x16\x03\x01", Kind.TLS),
        (b"\x16\x02", Kind.UNKNOWN),
        (b"\x00", None),
        (b"\x00\x27", None),
        (b"\x00\x27\x01", Kind.RAW),
        (b"\x0f\xff\x01", Kind.RAW),
        (b"\x10\x00\x01", Kind.UNKNOWN),
        (b"\x00\x27\x02", Kind.UNKNOWN),
        (b"\x00\x27\x00", Kind.UNKNOWN),
        (b"POST / HTTP/1.1", Kind.UNKNOWN),
        (b"SSH-2.0-", Kind.UNKNOWN),
        (b"\xff", Kind.UNKNOWN),
    ],
)
def test_the_first_bytes_say_what_speaks(head: bytes, kind: Kind | None) -> None:
    assert kind_of(head) is kind


def test_more_bytes_change_nothing_once_it_is_said() -> None:
    for first in range(256):
        for third in (0x00, 0x01, 0x03, 0x47):
            whole = bytes((first, 0x03, third))
            said = [kind for kind in (kind_of(whole[:count]) for count in (1, 2, 3)) if kind is not None]
            assert said
            assert len(set(said)) == 1


def test_the_largest_hello_begins_like_a_raw_connection() -> None:
    assert kind_of(HELLO_BYTES_MAX.to_bytes(2, "big") + b"\x01") is Kind.RAW

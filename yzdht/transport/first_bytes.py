"""What a connection speaks, told by the first bytes that come on it (PROTOCOL.md section 4).

A raw connection begins with the length of a Hello, 4,095 bytes at most, and the Hello with 0x01; neither HTTP nor TLS begins
like that.
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What may come on one port."""

    RAW = "raw"
    HTTP = "HTTP"
    TLS = "TLS"
    UNKNOWN = "unknown"


EVERY_KIND = frozenset({Kind.RAW, Kind.HTTP, Kind.TLS})

_GET = ord("G")
_TLS_HANDSHAKE = 0x16
_TLS_MAJOR_VERSION = 0x03
_LENGTH_HIGH_MAX = 0x0F
_TLS_HEADER_BYTES = 5
_HELLO = 0x01
_HELLO_AT = 2


def kind_of(head: bytes) -> Kind | None:
    """What speaks; None while that cannot be said yet.

    Args:
        head: What has come so far.

    """
    if not head:
        return None
    first = head[0]
    if first == _GET:
        return Kind.HTTP
    if first == _TLS_HANDSHAKE:
        return _judge(head, 1, _TLS_MAJOR_VERSION, Kind.TLS)
    if first <= _LENGTH_HIGH_MAX:
        return _judge(head, _HELLO_AT, _HELLO, Kind.RAW)
    return Kind.UNKNOWN


def has_tls_record(head: bytes) -> bool:
    """Whether the first TLS record is whole, which is where a ClientHello lies: before that TLS has nothing to do.

    Args:
        head: What has come so far of a connection that speaks TLS.

    """
    size = int.from_bytes(head[_TLS_HEADER_BYTES - 2 : _TLS_HEADER_BYTES])
    return len(head) >= _TLS_HEADER_BYTES + size


def _judge(head: bytes, at: int, expected: int, kind: Kind) -> Kind | None:
    if len(head) <= at:
        return None
    return kind if head[at] == expected else Kind.UNKNOWN

"""The plaintext of one protected record, and the capability bits (PROTOCOL.md sections 4 and 3.7).

Owns the inner types, their length rules and padding. Refuses unknown types, a plaintext without a type, and bit 7
where nothing is ever cut. The bodies of link, relay data and credit records belong to whoever serves them, and so
does putting the pieces of a message together.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

from yzdht.errors import FrameTooLarge, UsageError, WireError
from yzdht.limits import PING_BYTES_MAX, RECORD_DATA_BYTES_MAX, RELAY_DATA_BYTES_MAX


class RecordType(IntEnum):
    """Inner types of section 4."""

    CLOSE = 0x01
    ALERT = 0x02
    KEY_UPDATE = 0x03
    READY = 0x04
    PING = 0x05
    PONG = 0x06
    LINK = 0x07
    REQUEST = 0x10
    RESPONSE = 0x11
    PUBSUB = 0x12
    RELAY_DATA = 0x13
    STREAM = 0x14
    SIGNAL = 0x15
    CREDIT = 0x16


class Caps(IntFlag):
    """Capability bits of section 3.7."""

    ALWAYS = 1 << 0
    COMPRESSION = 1 << 1
    SELECTIVE_SYNC = 1 << 2
    ROW_LEVEL_SECURITY = 1 << 3
    STORAGE = 1 << 4
    ROUTING = 1 << 5
    BRIDGE = 1 << 6
    PUBSUB = 1 << 7
    MAILBOX = 1 << 8
    PQ = 1 << 9
    RELAY = 1 << 10
    CLIENT = 1 << 11
    BROWSER = 1 << 12


CAPS_IN_USE = 0x1FF1
"""Bits that may be sent 1; bits 1 to 3 and 13 to 31 are sent 0 and ignored (section 3.7)."""

_NAMED = (
    Caps.STORAGE,
    Caps.ROUTING,
    Caps.BRIDGE,
    Caps.PUBSUB,
    Caps.MAILBOX,
    Caps.PQ,
    Caps.RELAY,
    Caps.CLIENT,
)

_MORE = 0x80
_FIRST_MESSAGE_TYPE = 0x10
NEVER_CUT = frozenset({RecordType.RELAY_DATA, RecordType.CREDIT})
"""Message types that are one record each."""

_DATA_LENGTHS = {
    RecordType.CLOSE: (0, 0),
    RecordType.ALERT: (2, 2),
    RecordType.KEY_UPDATE: (0, 0),
    RecordType.READY: (0, 0),
    RecordType.PING: (0, PING_BYTES_MAX),
    RecordType.PONG: (0, PING_BYTES_MAX),
}


class _Rule(NamedTuple):
    """What one type byte, bit 7 included, allows; lengths in bytes."""

    record_type: RecordType
    more: bool
    data_bytes_min: int
    data_bytes_max: int
    padded_bytes_max: int


def _rule(byte: int) -> _Rule | None:
    more = bool(byte & _MORE)
    try:
        record_type = RecordType(byte & ~_MORE)
    except ValueError:
        return None
    if more and (record_type < _FIRST_MESSAGE_TYPE or record_type in NEVER_CUT):
        return None
    bound = RELAY_DATA_BYTES_MAX if record_type is RecordType.RELAY_DATA else RECORD_DATA_BYTES_MAX
    least, most = _DATA_LENGTHS.get(record_type, (0, bound))
    return _Rule(record_type, more, least, most, bound)


# One look-up by the type byte decides everything; this is on the path of every record.
_RULES = tuple(_rule(byte) for byte in range(256))
_TAILS = tuple(bytes((byte,)) for byte in range(256))


def capability_names(caps: int) -> list[str]:
    """Names of bits 4 to 11 that are set, in the order of the bits (PROTOCOL.md section 6)."""
    return [bit.name.lower() for bit in _NAMED if bit & caps and bit.name]


def encode_inner(record_type: RecordType, data: bytes, *, pad: int = 0, more: bool = False) -> bytes:
    """Build data ‖ type ‖ 0^pad (PROTOCOL.md section 4).

    Args:
        record_type: Inner type.
        data: At most RECORD_DATA_BYTES_MAX bytes, RELAY_DATA_BYTES_MAX for relay data, pad included.
        pad: Zero bytes to append, 0 or more.
        more: True in all pieces of a cut message but the last.

    Raises:
        UsageError: The type, length, padding or `more` is not allowed.

    """
    byte = record_type | _MORE if more else record_type
    rule = _RULES[byte]
    if rule is None:
        raise UsageError("a record of this type is never cut")
    size = len(data)
    if not rule.data_bytes_min <= size <= rule.data_bytes_max:
        raise UsageError("a record of this type cannot carry that many bytes")
    if not pad:
        return data + _TAILS[byte]
    if pad < 0 or size + pad > rule.padded_bytes_max:
        raise UsageError("the padding does not fit in one record")
    return data + _TAILS[byte] + bytes(pad)


def decode_inner(plaintext: bytes) -> tuple[RecordType, bytes, bool]:
    """Take apart data ‖ type ‖ 0^pad (PROTOCOL.md section 4).

    Returns:
        The type, the data, and whether more pieces of the same message follow.

    Raises:
        WireError: No type, an unknown one, bit 7 where nothing is cut, or a length that the type does not have.

    """
    body = plaintext.rstrip(b"\0")
    if not body:
        raise WireError("a record has no type")
    rule = _RULES[body[-1]]
    if rule is None:
        raise WireError("a record has an unknown type")
    record_type, more, least, most, bound = rule
    if len(plaintext) > bound + 1:
        raise FrameTooLarge("a record is larger than its type allows")
    data = body[:-1]
    if not least <= len(data) <= most:
        raise WireError("a record has a length that its type does not allow")
    return record_type, data, more

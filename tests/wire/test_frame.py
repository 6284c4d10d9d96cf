from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.errors import FrameTooLarge, UsageError, WireError
from yzdht.limits import PING_BYTES_MAX, RECORD_DATA_BYTES_MAX, RELAY_DATA_BYTES_MAX
from yzdht.wire.frame import CAPS_IN_USE, Caps, RecordType, capability_names, decode_inner, encode_inner


EMPTY = (RecordType.CLOSE, RecordType.KEY_UPDATE, RecordType.READY)
NEVER_CUT = [t for t in RecordType if t < 0x10] + [RecordType.RELAY_DATA, RecordType.CREDIT]
CUT = [t for t in RecordType if t not in NEVER_CUT]


def allowed_data(record_type: RecordType) -> st.SearchStrategy[bytes]:
    if record_type in EMPTY:
        return st.just(b"")
    if record_type is RecordType.ALERT:
        return st.binary(min_size=2, max_size=2)
    if record_type in (RecordType.PING, RecordType.PONG):
        return st.binary(max_size=PING_BYTES_MAX)
    return st.binary(max_size=300)


@given(data=st.data(), record_type=st.sampled_from(RecordType), pad=st.integers(0, 300), more=st.booleans())
def test_what_is_encoded_decodes_to_the_same(
    *, data: st.DataObject, record_type: RecordType, pad: int, more: bool
) -> None:
    body = data.draw(allowed_data(record_type))
    more = more and record_type in CUT

    plaintext = encode_inner(record_type, body, pad=pad, more=more)

    assert len(plaintext) == len(body) + 1 + pad
    assert decode_inner(plaintext) == (record_type, body, more)


@given(st.binary(max_size=100))
def test_any_plaintext_decodes_or_is_a_wire_error(plaintext: bytes) -> None:
    try:
        record_type, data, more = decode_inner(plaintext)
    except WireError:
        return
    pad = len(plaintext) - len(data) - 1
    assert encode_inner(record_type, data, pad=pad, more=more) == plaintext


def test_the_type_follows_the_data_and_bit_7_says_more() -> None:
    assert encode_inner(RecordType.REQUEST, b"ab", pad=2, more=True) == b"ab\x90\0\0"


def test_data_may_end_in_zeros() -> None:
    assert decode_inner(b"a\0\0\x10\0") == (RecordType.REQUEST, b"a\0\0", False)


@pytest.mark.parametrize("plaintext", [b"", b"\0", bytes(500)])
def test_plaintext_without_a_type_is_refused(plaintext: bytes) -> None:
    with pytest.raises(WireError, match="no type"):
        decode_inner(plaintext)


@pytest.mark.parametrize("byte", sorted(set(range(1, 128)) - set(RecordType)))
def test_unknown_types_are_refused_with_and_without_bit_7(byte: int) -> None:
    for tail in (byte, byte | 0x80):
        with pytest.raises(WireError, match="unknown type"):
            decode_inner(b"data" + bytes((tail,)))


@pytest.mark.parametrize("record_type", NEVER_CUT)
def test_bit_7_is_refused_on_what_is_never_cut(record_type: RecordType) -> None:
    with pytest.raises(WireError):
        decode_inner(bytes((record_type | 0x80,)))
    with pytest.raises(UsageError):
        encode_inner(record_type, b"", more=True)


def test_bit_7_alone_is_no_type() -> None:
    with pytest.raises(WireError):
        decode_inner(b"data\x80")


@pytest.mark.parametrize(
    ("record_type", "size"),
    [(t, 1) for t in EMPTY]
    + [(RecordType.ALERT, 0), (RecordType.ALERT, 1), (RecordType.ALERT, 3)]
    + [(RecordType.PING, PING_BYTES_MAX + 1), (RecordType.PONG, PING_BYTES_MAX + 1)],
)
def test_lengths_that_a_type_does_not_have_are_refused(record_type: RecordType, size: int) -> None:
    with pytest.raises(WireError):
        decode_inner(b"x" * size + bytes((record_type,)))
    with pytest.raises(UsageError):
        encode_inner(record_type, b"x" * size)


@pytest.mark.parametrize("record_type", [t for t in RecordType if t >= 0x10])
def test_data_and_padding_together_are_bounded(record_type: RecordType) -> None:
    bound = RELAY_DATA_BYTES_MAX if record_type is RecordType.RELAY_DATA else RECORD_DATA_BYTES_MAX
    tail = bytes((record_type,))

    assert decode_inner(b"x" * bound + tail)[1] == b"x" * bound
    assert decode_inner(tail + bytes(bound))[1] == b""
    assert encode_inner(record_type, b"x", pad=bound - 1) == b"x" + tail + bytes(bound - 1)

    for plaintext in (b"x" * (bound + 1) + tail, tail + bytes(bound + 1), b"x" + tail + bytes(bound)):
        with pytest.raises(FrameTooLarge):
            decode_inner(plaintext)
    for size, pad in ((bound + 1, 0), (bound, 1), (0, bound + 1), (0, -1)):
        with pytest.raises(UsageError):
            encode_inner(record_type, b"x" * size, pad=pad)


def test_an_inner_record_of_the_largest_size_fits_in_relay_data() -> None:
    inner = RECORD_DATA_BYTES_MAX + 1 + 16  # type and tag
    circuit = 4

    assert inner + circuit <= RELAY_DATA_BYTES_MAX


def test_capability_names_are_those_of_section_6() -> None:
    expected = ["storage", "routing", "bridge", "pubsub", "mailbox", "pq", "relay", "client"]

    assert capability_names(0xFFFFFFFF) == expected
    assert [capability_names(1 << bit) for bit in range(4, 12)] == [[name] for name in expected]


def test_other_capability_bits_have_no_name() -> None:
    unnamed = Caps.ALWAYS | Caps.COMPRESSION | Caps.SELECTIVE_SYNC | Caps.ROW_LEVEL_SECURITY | Caps.BROWSER

    assert capability_names(unnamed) == []
    assert capability_names(0xFFFFE000) == []


def test_capability_bits_are_where_section_3_puts_them() -> None:
    assert [bit.bit_length() - 1 for bit in Caps] == list(range(13))
    assert Caps.STORAGE | Caps.ROUTING | Caps.ALWAYS == 49
    assert not CAPS_IN_USE & (Caps.COMPRESSION | Caps.SELECTIVE_SYNC | Caps.ROW_LEVEL_SECURITY)

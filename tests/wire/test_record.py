from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import CREATED, EXPIRES, KEY_A, load, record
from yzdht.errors import DecryptionFailed, RecordTooLarge, UsageError, WireError
from yzdht.ids import Tag
from yzdht.limits import HEADER_BYTES_MAX, RECORD_BYTES_MAX, SEQ_MAX, VALUE_BYTES_MAX
from yzdht.wire.record import (
    IDENTITY_TAG,
    STANZA_BODY_BYTES,
    STANZA_HPKE,
    STANZA_PASSPHRASE,
    STANZA_SELF,
    Readers,
    RecordDraft,
    decode_record,
    encode_fixed,
    encode_immutable_fixed,
    encode_unsigned,
    order_key,
    pad,
    padded_length,
    record_hash,
    split_stanzas,
    unpad,
)
from yzdht.wire.slot import Kind


NAMES = ("public", "self", "recipients", "group", "identity_kind", "immutable_self", "chunk")
TOMBSTONE = bytes.fromhex(load("project-v1.json")["tombstone"]["record"])
SAMPLES = [*map(record, NAMES), TOMBSTONE]
SIGNATURE = bytes(64)
BOX = bytes(56)
SEALED = bytes(256 + 16)
DRAFT = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 1, Tag(b"t" * 32))


def signed(readers: Readers, header: bytes, payload: bytes, draft: RecordDraft = DRAFT) -> bytes:
    return encode_unsigned(encode_fixed(draft, readers, KEY_A.public_key), header, payload) + SIGNATURE


def with_byte(raw: bytes, offset: int, value: int) -> bytes:
    return raw[:offset] + bytes((value,)) + raw[offset + 1 :]


def stanza(kind: int, size: int | None = None) -> bytes:
    body = bytes(STANZA_BODY_BYTES[kind] if size is None else size)
    return bytes((kind,)) + len(body).to_bytes(2) + body


def stanzas(*pieces: bytes) -> bytes:
    return bytes((len(pieces),)) + b"".join(pieces) + BOX


# What decodes


def test_fields_of_a_public_record() -> None:
    raw = record("public")

    parsed = decode_record(raw)

    assert (parsed.kind, parsed.is_tombstone, parsed.readers) == (Kind.MUTABLE, False, Readers.PUBLIC)
    assert (parsed.created, parsed.expires, parsed.seq) == (CREATED, EXPIRES, 9)
    assert (parsed.publisher, parsed.tag) == (raw[20:53], raw[53:85])
    assert (parsed.header, parsed.payload, parsed.signature) == (b"", raw[87:-64], raw[-64:])


def test_fields_of_a_sealed_record() -> None:
    raw = record("self")

    parsed = decode_record(raw)

    assert parsed.header == raw[87:143]
    assert (parsed.salt, parsed.commitment) == (raw[87:111], raw[111:143])
    assert parsed.hdr0 == parsed.fixed == raw[:85]


def test_fields_of_an_immutable_record() -> None:
    raw = record("immutable_self")

    parsed = decode_record(raw)

    assert (parsed.kind, parsed.readers, parsed.fixed) == (Kind.IMMUTABLE, Readers.SELF, raw[:4])
    assert (parsed.publisher, parsed.tag, parsed.signature) == (b"", b"", b"")
    assert (parsed.created, parsed.expires, parsed.seq) == (0, 0, 0)
    assert parsed.signed == raw


def test_group_header_is_bound_without_salt_and_commitment() -> None:
    raw = record("group")

    assert decode_record(raw).hdr0 == raw[:85] + raw[87:95]


@pytest.mark.parametrize("raw", SAMPLES)
def test_hash_leaves_the_signature_out_except_of_immutables(raw: bytes) -> None:
    covered = raw if raw[1] == 0 else raw[:-64]
    parsed = decode_record(raw)

    assert parsed.hash == record_hash(raw) == sha256(covered).digest()
    assert parsed.hash is parsed.hash


def test_hash_of_anything_is_a_hash() -> None:
    assert [len(record_hash(raw)) for raw in (b"", b"\xf9", b"\xf9\x00", b"\xf9\x01")] == [32] * 4


def test_a_known_hash_does_not_make_records_differ() -> None:
    first, second = decode_record(record("self")), decode_record(record("self"))

    assert first.hash == second.hash
    assert first == replace(second)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, SEQ_MAX),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=400),
)
def test_what_is_encoded_decodes(created: int, expires: int, seq: int, tag: bytes, value: bytes) -> None:
    parsed = decode_record(
        signed(Readers.PUBLIC, b"", value, RecordDraft(Kind.MULTI, created, expires, seq, Tag(tag)))
    )

    assert (parsed.kind, parsed.created, parsed.expires, parsed.seq) == (Kind.MULTI, created, expires, seq)
    assert (parsed.publisher, parsed.tag, parsed.payload) == (KEY_A.public_key, tag, value)


@given(st.lists(st.sampled_from([STANZA_SELF, STANZA_HPKE]), min_size=1, max_size=255))
def test_stanzas_are_split_in_order(kinds: list[int]) -> None:
    header = stanzas(*(stanza(kind) for kind in kinds))

    assert [kind for kind, _ in split_stanzas(header)] == kinds
    assert decode_record(signed(Readers.STANZAS, header, SEALED)).header == header


def test_a_passphrase_stanza_alone_decodes() -> None:
    assert len(split_stanzas(stanzas(stanza(STANZA_PASSPHRASE)))) == 1


def test_the_largest_values_decode() -> None:
    public = signed(Readers.PUBLIC, b"", bytes(VALUE_BYTES_MAX))
    sealed = signed(Readers.SELF, BOX, bytes(61_440 + 16))
    to_32 = signed(Readers.STANZAS, stanzas(*[stanza(STANZA_HPKE)] * 32), bytes(61_440 + 16))

    assert len(decode_record(public).payload) == VALUE_BYTES_MAX
    assert len(decode_record(sealed).payload) == 61_456
    assert len(decode_record(to_32).payload) == 61_456


def test_order_is_seq_then_expires_then_hash() -> None:
    def key(seq: int, expires: int, value: bytes) -> Any:
        draft = replace(DRAFT, seq=seq, expires=expires)
        return order_key(decode_record(signed(Readers.PUBLIC, b"", value, draft)))

    low, high = sorted((key(1, EXPIRES, b"a"), key(1, EXPIRES, b"b")))

    assert low < high < key(1, EXPIRES + 1, b"a") < key(2, CREATED, b"a")


# What does not


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xf9",
        with_byte(record("public"), 0, 0xF8),
        with_byte(record("public"), 1, 0x04),
        with_byte(record("public"), 1, 0x11),
        with_byte(record("public"), 2, 0x00),
        with_byte(record("public"), 2, 0x11),
        with_byte(record("public"), 3, 0x04),
        with_byte(record("public"), 20, 0x04),
        with_byte(record("public"), 86, 0x01),
        with_byte(record("immutable_self"), 1, 0x08),
        with_byte(record("immutable_self"), 2, 0x02),
        record("public")[:150],
    ],
)
def test_unknown_and_reserved_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode_record(raw)


@pytest.mark.parametrize(
    "raw",
    [
        with_byte(TOMBSTONE, 1, 0x08 | Kind.IDENTITY),
        with_byte(record("public"), 1, 0x08 | Kind.MUTABLE),
        with_byte(record("self"), 1, 0x08 | Kind.MUTABLE),
        with_byte(record("identity_kind"), 60, 1),
        with_byte(record("public"), 1, Kind.IDENTITY),
        with_byte(record("self")[:53] + bytes(32) + record("self")[85:], 1, Kind.IDENTITY),
    ],
)
def test_tombstones_and_identities_that_carry_more_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode_record(raw)


@pytest.mark.parametrize(
    ("readers", "header"),
    [
        (Readers.PUBLIC, bytes(1)),
        (Readers.PUBLIC, BOX),
        (Readers.SELF, b""),
        (Readers.SELF, bytes(55)),
        (Readers.SELF, bytes(57)),
        (Readers.GROUP, BOX),
        (Readers.GROUP, bytes(65)),
        (Readers.STANZAS, b""),
        (Readers.STANZAS, BOX),
        (Readers.STANZAS, stanzas()),
        (Readers.STANZAS, stanzas(stanza(STANZA_HPKE, 112))),
        (Readers.STANZAS, stanzas(stanza(STANZA_SELF, 113))),
        (Readers.STANZAS, stanzas(b"\x03" + stanza(STANZA_SELF)[1:])),
        (Readers.STANZAS, stanzas(stanza(STANZA_SELF)) + b"\0"),
        (Readers.STANZAS, b"\x02" + stanzas(stanza(STANZA_SELF))[1:]),
        (Readers.STANZAS, b"\x01" + stanzas(stanza(STANZA_SELF), stanza(STANZA_SELF))[1:]),
        (Readers.STANZAS, stanzas(stanza(STANZA_PASSPHRASE), stanza(STANZA_SELF))),
        (Readers.STANZAS, stanzas(stanza(STANZA_HPKE), stanza(STANZA_PASSPHRASE))),
    ],
)
def test_headers_of_another_shape_are_refused(readers: Readers, header: bytes) -> None:
    with pytest.raises(WireError):
        decode_record(signed(readers, header, SEALED))
    immutable = encode_unsigned(encode_immutable_fixed(readers), header, SEALED)
    with pytest.raises(WireError):
        decode_record(immutable)


@pytest.mark.parametrize("size", [0, 15, 16, 17, 255 + 16, 257 + 16, 271 + 16, 273 + 16, 256, 61_439 + 16])
def test_sealed_payloads_of_a_length_without_padding_are_refused(size: int) -> None:
    with pytest.raises(WireError):
        decode_record(signed(Readers.SELF, BOX, bytes(size)))


def test_values_and_records_over_the_limit_are_refused_as_too_large() -> None:
    fixed = encode_immutable_fixed(Readers.PUBLIC)
    for raw in (
        signed(Readers.PUBLIC, b"", bytes(VALUE_BYTES_MAX + 1)),
        signed(Readers.SELF, BOX, bytes(63_488 + 16)),
        fixed + bytes(2) + bytes(VALUE_BYTES_MAX + 1),
        record("public").ljust(RECORD_BYTES_MAX + 1, b"\0"),
    ):
        with pytest.raises(RecordTooLarge):
            decode_record(raw)


def test_a_header_over_the_limit_is_refused() -> None:
    raw = encode_immutable_fixed(Readers.SELF) + (HEADER_BYTES_MAX + 1).to_bytes(2) + bytes(61_000)

    with pytest.raises(WireError):
        decode_record(raw)


@pytest.mark.parametrize("raw", SAMPLES)
def test_every_shorter_form_is_refused_or_another_record(raw: bytes) -> None:
    for size in range(len(raw)):
        try:
            parsed = decode_record(raw[:size])
        except WireError:
            continue
        assert parsed.readers is Readers.PUBLIC  # of any length: its signature or address tells
        assert parsed.raw == raw[:size]


@given(st.binary(max_size=600) | st.binary(max_size=600).map(lambda tail: b"\xf9" + tail))
def test_hostile_bytes_raise_only_wire_errors(raw: bytes) -> None:
    with suppress(WireError):
        assert decode_record(raw).raw == raw


@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_records_raise_only_wire_errors(raw: bytes, data: Any) -> None:
    offset = data.draw(st.integers(0, min(len(raw) - 1, 400)))
    damaged = with_byte(raw, offset, data.draw(st.integers(0, 255))) + data.draw(st.binary(max_size=3))
    with suppress(WireError):
        assert decode_record(damaged).raw == damaged


# What is not built


@pytest.mark.parametrize(
    ("draft", "readers"),
    [
        (replace(DRAFT, kind=Kind.IMMUTABLE), Readers.PUBLIC),
        (replace(DRAFT, kind=Kind.IDENTITY), Readers.PUBLIC),
        (replace(DRAFT, kind=Kind.IDENTITY, tag=IDENTITY_TAG), Readers.SELF),
        (replace(DRAFT, kind=Kind.IDENTITY, tag=IDENTITY_TAG, is_tombstone=True), Readers.PUBLIC),
        (replace(DRAFT, is_tombstone=True), Readers.SELF),
        (replace(DRAFT, created=-1), Readers.PUBLIC),
        (replace(DRAFT, expires=2**32), Readers.PUBLIC),
        (replace(DRAFT, seq=SEQ_MAX + 1), Readers.PUBLIC),
    ],
)
def test_drafts_that_no_record_can_say_are_refused(draft: RecordDraft, readers: Readers) -> None:
    with pytest.raises(UsageError):
        encode_fixed(draft, readers, KEY_A.public_key)


def test_records_over_the_limit_are_not_built() -> None:
    fixed = encode_immutable_fixed(Readers.STANZAS)
    with pytest.raises(UsageError):
        encode_unsigned(fixed, bytes(HEADER_BYTES_MAX + 1), b"")
    with pytest.raises(UsageError):
        encode_unsigned(fixed, bytes(30_000), bytes(40_000))


# Padding


@given(st.integers(0, 1 << 20))
def test_padding_adds_at_most_an_eighth_and_is_stable(size: int) -> None:
    padded = padded_length(size)

    assert size <= padded <= max(256, size * 9 // 8)
    assert padded_length(padded) == padded


@given(st.binary(max_size=2_000))
def test_padding_round_trips(plaintext: bytes) -> None:
    assert unpad(pad(plaintext)) == plaintext


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        bytes(3),
        bytes(4),
        bytes(255),
        bytes(257),
        bytes(272),
        (253).to_bytes(4) + bytes(252),
        b"\xff" * 256,
        with_byte(pad(b"value"), 9, 1),
        with_byte(pad(b"value"), 255, 1),
    ],
)
def test_padding_of_another_form_is_refused(padded: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        unpad(padded)

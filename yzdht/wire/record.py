"""The record envelope: bytes to fields and back, record hashes, order and padding (PROTOCOL.md section 8).

Owns the layout only: it opens nothing and verifies no signature. Refuses every version, suite, kind, readers byte,
header structure and length that section 8 does not name; keys are checked to look compressed, not to be on the curve.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

from yzdht.errors import DecryptionFailed, RecordTooLarge, UsageError, WireError
from yzdht.ids import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    PublicKey,
    Publisher,
    RecordHash,
    Signature,
    Tag,
    looks_compressed,
)
from yzdht.limits import HEADER_BYTES_MAX, RECORD_BYTES_MAX, STANZAS_MAX, VALUE_BYTES_MAX
from yzdht.wire.slot import Kind


VERSION = 0xF9
SUITE = 0x01
FIXED_BYTES = 85  # F of a signed record
IMMUTABLE_FIXED_BYTES = 4  # F of an immutable one
SALT_BYTES = 24
COMMITMENT_BYTES = 32
BOX_HEADER_BYTES = SALT_BYTES + COMMITMENT_BYTES
GROUP_KID_BYTES = 8
GCM_TAG_BYTES = 16
PADDED_BYTES_MIN = 256
LENGTH_BYTES = 4
_MS = 1_000
EXPIRES_NEVER = 2**32 - 1  # of move records, section 13
IDENTITY_TAG = Tag(bytes(32))

STANZA_SELF = 0x01
STANZA_HPKE = 0x02
STANZA_PASSPHRASE = 0x04
STANZA_BODY_BYTES = {STANZA_SELF: 48, STANZA_HPKE: 113, STANZA_PASSPHRASE: 71}
_STANZA_HEAD_BYTES = 3

_TOMBSTONE_BIT = 0x08
_SIGNED = struct.Struct(f">BBBBIIQ{PUBLIC_KEY_BYTES}s32sH")
_IMMUTABLE = struct.Struct(">BBBBH")
_KINDS = {
    Kind.IMMUTABLE.value: (Kind.IMMUTABLE, False),
    Kind.MUTABLE.value: (Kind.MUTABLE, False),
    Kind.MULTI.value: (Kind.MULTI, False),
    Kind.IDENTITY.value: (Kind.IDENTITY, False),
    Kind.MUTABLE.value | _TOMBSTONE_BIT: (Kind.MUTABLE, True),
    Kind.MULTI.value | _TOMBSTONE_BIT: (Kind.MULTI, True),
}


class Readers(IntEnum):
    """Who can open a record."""

    PUBLIC = 0
    SELF = 1
    STANZAS = 2
    GROUP = 3


_READERS = {readers.value: readers for readers in Readers}


@dataclass(frozen=True, slots=True)
class Record:
    """One record that parses; neither its target nor its signature is checked.

    Attributes:
        raw: The whole record.
        kind: Kind of the record.
        is_tombstone: True when it says that its slot was deleted.
        readers: Who can open it.
        created: Unix seconds; 0 for immutables.
        expires: Unix seconds; 0 for immutables.
        seq: Sequence number; 0 for immutables.
        publisher: Who signed it, 33 bytes; empty for immutables.
        tag: Blinded name, 32 bytes; empty for immutables.
        header: H of section 8, 0 to 60,000 bytes.
        payload: The value when public, else ciphertext‖tag.
        signature: 64 bytes; empty for immutables.

    """

    raw: bytes
    kind: Kind
    is_tombstone: bool
    readers: Readers
    created: int
    expires: int
    seq: int
    publisher: Publisher
    tag: Tag
    header: bytes
    payload: bytes
    signature: Signature
    _hash: RecordHash | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers; the whole record when it is immutable."""
        return self.raw if self.kind is Kind.IMMUTABLE else self.raw[:-SIGNATURE_BYTES]

    @property
    def hash(self) -> RecordHash:
        """SHA-256 of `signed`; computed once."""
        known = self._hash
        if known is None:
            known = RecordHash(sha256(self.signed).digest())
            object.__setattr__(self, "_hash", known)
        return known

    @property
    def fixed(self) -> bytes:
        """F of section 8: 85 bytes, 4 when immutable."""
        return self.raw[: IMMUTABLE_FIXED_BYTES if self.kind is Kind.IMMUTABLE else FIXED_BYTES]

    @property
    def hdr0(self) -> bytes:
        """What the box binds: F ‖ (H without its last 56 bytes)."""
        return self.fixed + self.header[:-BOX_HEADER_BYTES]

    @property
    def salt(self) -> bytes:
        """salt24 of a sealed record; empty when public."""
        return self.header[-BOX_HEADER_BYTES:-COMMITMENT_BYTES]

    @property
    def commitment(self) -> bytes:
        """commit32 of a sealed record; empty when public."""
        return self.header[-COMMITMENT_BYTES:]


@dataclass(frozen=True, slots=True)
class RecordDraft:
    """What a signed record says about itself before it is sealed.

    Attributes:
        kind: Kind of the record; not immutable.
        created: Unix seconds, u32.
        expires: Unix seconds, u32.
        seq: Sequence number, u64.
        tag: Blinded name, 32 bytes.
        is_tombstone: True when it deletes its slot; kinds mutable and multi only.

    """

    kind: Kind
    created: int
    expires: int
    seq: int
    tag: Tag
    is_tombstone: bool = False


def decode_record(raw: bytes) -> Record:
    """Parse one record, immutable or signed.

    Raises:
        RecordTooLarge: The record is over 65,536 bytes, or its value over 61,436.
        WireError: It is not a record of section 8.

    """
    if len(raw) > RECORD_BYTES_MAX:
        raise RecordTooLarge("a record is at most 65,536 bytes")
    if len(raw) < _IMMUTABLE.size or raw[0] != VERSION:
        raise WireError("not a record")
    return _decode_signed(raw) if raw[1] else _decode_immutable(raw)


def _decode_signed(raw: bytes) -> Record:
    if len(raw) < _SIGNED.size + SIGNATURE_BYTES:
        raise WireError("a record ends too early")
    _, kind_byte, suite, readers_byte, created, expires, seq, publisher, tag, size = _SIGNED.unpack_from(raw)
    if kind_byte not in _KINDS or not looks_compressed(publisher):
        raise WireError("a record's kind or publisher is unknown")
    kind, is_tombstone = _KINDS[kind_byte]
    readers = _decode_readers(suite, readers_byte)
    header, payload = _split_body(raw, _SIGNED.size, len(raw) - SIGNATURE_BYTES, size)
    _check_body(readers, header, len(payload))
    if is_tombstone and (readers is not Readers.PUBLIC or payload):
        raise WireError("a tombstone is public and empty")
    if kind is Kind.IDENTITY and (readers is not Readers.PUBLIC or tag != IDENTITY_TAG):
        raise WireError("an identity record is public and has no name")
    signature = Signature(raw[-SIGNATURE_BYTES:])
    return Record(
        raw, kind, is_tombstone, readers, created, expires, seq, publisher, tag, header, payload, signature
    )


def _decode_immutable(raw: bytes) -> Record:
    _, _, suite, readers_byte, size = _IMMUTABLE.unpack_from(raw)
    readers = _decode_readers(suite, readers_byte)
    header, payload = _split_body(raw, _IMMUTABLE.size, len(raw), size)
    _check_body(readers, header, len(payload))
    return Record(
        raw=raw,
        kind=Kind.IMMUTABLE,
        is_tombstone=False,
        readers=readers,
        created=0,
        expires=0,
        seq=0,
        publisher=b"",
        tag=Tag(b""),
        header=header,
        payload=payload,
        signature=Signature(b""),
    )


def _decode_readers(suite: int, readers_byte: int) -> Readers:
    if suite != SUITE or readers_byte not in _READERS:
        raise WireError("a record's suite or readers byte is unknown")
    return _READERS[readers_byte]


def _split_body(raw: bytes, start: int, end: int, header_size: int) -> tuple[bytes, bytes]:
    middle = start + header_size
    if header_size > HEADER_BYTES_MAX or middle > end:
        raise WireError("a record's header is longer than it may be")
    return raw[start:middle], raw[middle:end]


def _check_body(readers: Readers, header: bytes, payload_size: int) -> None:
    if readers is Readers.PUBLIC:
        if header:
            raise WireError("a public record has no header")
        if payload_size > VALUE_BYTES_MAX:
            raise RecordTooLarge("a value is at most 61,436 bytes")
        return
    if readers is Readers.STANZAS:
        split_stanzas(header)
    elif len(header) != BOX_HEADER_BYTES + (GROUP_KID_BYTES if readers is Readers.GROUP else 0):
        raise WireError("a record's header has the wrong length")
    padded_size = payload_size - GCM_TAG_BYTES
    if padded_size > VALUE_BYTES_MAX + LENGTH_BYTES:
        raise RecordTooLarge("a value is at most 61,436 bytes")
    if padded_size < PADDED_BYTES_MIN or padded_length(padded_size) != padded_size:
        raise WireError("a sealed payload has a length that no padding gives")


def split_stanzas(header: bytes) -> list[tuple[int, bytes]]:
    """Return (type, body) of each stanza in the header of a record with readers 2.

    Raises:
        WireError: Types, lengths or their sum are not section 8's; a passphrase stanza is not alone.

    """
    end = len(header) - BOX_HEADER_BYTES
    if end < 1 or not 1 <= header[0] <= STANZAS_MAX:
        raise WireError("a record's stanzas do not parse")
    stanzas = []
    offset = 1
    for _ in range(header[0]):
        start = offset + _STANZA_HEAD_BYTES
        size = STANZA_BODY_BYTES.get(header[offset])  # 56 bytes follow: it is inside while start <= end
        offset = start + (size or 0)
        if size is None or offset > end or int.from_bytes(header[start - 2 : start]) != size:
            raise WireError("a record's stanzas do not parse")
        stanzas.append((header[start - _STANZA_HEAD_BYTES], header[start:offset]))
    if offset != end:
        raise WireError("a record's stanzas do not parse")
    if len(stanzas) > 1 and any(kind == STANZA_PASSPHRASE for kind, _ in stanzas):
        raise WireError("a passphrase stanza stands alone")
    return stanzas


def encode_fixed(draft: RecordDraft, readers: Readers, publisher: PublicKey) -> bytes:
    """Build F of a signed record, 85 bytes.

    Raises:
        UsageError: A number is out of range, or the kind does not go with the readers, tag or tombstone.

    """
    if draft.kind is Kind.IMMUTABLE:
        raise UsageError("an immutable record has no publisher, times or seq")
    if draft.kind is Kind.IDENTITY and (draft.is_tombstone or draft.tag != IDENTITY_TAG):
        raise UsageError("an identity record has no name and is never deleted")
    if readers is not Readers.PUBLIC and (draft.is_tombstone or draft.kind is Kind.IDENTITY):
        raise UsageError("identity records and tombstones are public")
    assert len(publisher) == PUBLIC_KEY_BYTES
    assert len(draft.tag) == len(IDENTITY_TAG)
    kind_byte = draft.kind | (_TOMBSTONE_BIT if draft.is_tombstone else 0)
    head = (VERSION, kind_byte, SUITE, readers, draft.created, draft.expires, draft.seq)
    try:
        return _SIGNED.pack(*head, publisher, draft.tag, 0)[:FIXED_BYTES]
    except struct.error:
        raise UsageError("created and expires are 32-bit seconds, seq has 64 bits") from None


def encode_immutable_fixed(readers: Readers) -> bytes:
    """Build F of an immutable record, 4 bytes."""
    return bytes((VERSION, Kind.IMMUTABLE, SUITE, readers))


def encode_unsigned(fixed: bytes, header: bytes, payload: bytes) -> bytes:
    """Build a record up to its signature: F ‖ hdr_len ‖ H ‖ payload.

    Raises:
        UsageError: The header or, with its signature, the record would be too long.

    """
    signature_size = SIGNATURE_BYTES if len(fixed) == FIXED_BYTES else 0
    unsigned = b"".join((fixed, len(header).to_bytes(4)[2:], header, payload))
    if len(header) > HEADER_BYTES_MAX or len(unsigned) + signature_size > RECORD_BYTES_MAX:
        raise UsageError(
            "the record would be over 65,536 bytes", hint="name fewer readers or split the value"
        )
    return unsigned


def record_hash(raw: bytes) -> RecordHash:
    """Hash of a record that is known to parse: SHA-256 without its signature, of all of it when immutable."""
    is_signed = raw[1:2] != b"\0"
    return RecordHash(sha256(raw[:-SIGNATURE_BYTES] if is_signed else raw).digest())


def order_key(record: Record) -> tuple[int, int, RecordHash]:
    """Sort key of two valid records in one slot; the larger wins (section 8, Order)."""
    return record.seq, record.expires, record.hash


def seq_at(wall: float) -> int:
    """The seq of a record that is signed at so many unix seconds, where nothing asks for a higher one: milliseconds."""
    return int(wall * _MS)


def padded_length(size: int) -> int:
    """P(n) of section 8: 256, then Padmé."""
    if size <= PADDED_BYTES_MIN:
        return PADDED_BYTES_MIN
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def pad(plaintext: bytes) -> bytes:
    """u32 length ‖ plaintext ‖ zeros, to the length P gives."""
    framed = len(plaintext).to_bytes(LENGTH_BYTES) + plaintext
    return framed.ljust(padded_length(len(framed)), b"\0")


def unpad(padded: bytes) -> bytes:
    """Return the plaintext of `pad`.

    Raises:
        DecryptionFailed: The length is not P's for this plaintext, or a padding byte is not zero.

    """
    end = LENGTH_BYTES + int.from_bytes(padded[:LENGTH_BYTES])
    if end > len(padded) or padded_length(end) != len(padded) or padded.count(0, end) != len(padded) - end:
        raise DecryptionFailed("the padding was refused")
    return padded[LENGTH_BYTES:end]

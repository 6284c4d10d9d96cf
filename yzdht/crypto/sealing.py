"""Reader sets and the committed box: values into records and back (PROTOCOL.md section 8).

Owns the box, which binds key and ciphertext to the record's header and commits to the key, and who can open what.
Refuses a commitment that does not match before it decrypts, padding that is not exact, and chunks out of place.
Salts and content keys come from the caller, fresh for every sealing. Writers of groups are not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yzdht.crypto.naming import kdf
from yzdht.crypto.primitives import IV_BYTES, KEY_BYTES, Aead, is_equal, sha256
from yzdht.crypto.signing import RECORD_LABEL
from yzdht.crypto.stanzas import (
    Locked,
    Named,
    WrapContext,
    encode_locked,
    encode_named,
    find_content_key,
    passphrase_stanza,
    unlock,
)
from yzdht.errors import DecryptionFailed, NotAReader, NotFound, UsageError, ValueTooLarge, WireError
from yzdht.limits import VALUE_BYTES_MAX
from yzdht.wire.record import (
    COMMITMENT_BYTES,
    SALT_BYTES,
    Readers,
    Record,
    RecordDraft,
    encode_fixed,
    encode_immutable_fixed,
    encode_unsigned,
    pad,
    unpad,
)
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.ids import NetworkId, PublicKey
    from yzdht.ports import Signer

__all__ = [
    "Author",
    "Locked",
    "Named",
    "OpeningKeys",
    "Public",
    "RecordDraft",
    "SealedFor",
    "Self",
    "check_value",
    "open_box",
    "open_chunk",
    "open_record",
    "seal_box",
    "seal_chunk",
    "seal_immutable",
    "seal_record",
    "tombstone",
]


@dataclass(frozen=True, slots=True)
class Public:
    """Everybody reads it; it is signed, not sealed."""


@dataclass(frozen=True, slots=True)
class Self:
    """Only its publisher's devices read it."""


SealedFor = Public | Self | Named | Locked
"""Who can open a record, as far as the keys to seal with are known."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, and where.

    Attributes:
        signer: Signs records.
        self_key: K_self of section 2, 32 bytes.
        network: NET.

    """

    signer: Signer
    self_key: bytes = field(repr=False)
    network: NetworkId


@dataclass(frozen=True, slots=True)
class OpeningKeys:
    """What a reader holds.

    Attributes:
        self_key: K_self of section 2, 32 bytes; None without a storage secret.
        kem: KEM keys, newest first.
        publisher: Whose K_self it is; None when not known, then a foreign self record fails as damaged.
        passphrase_key: What the passphrase became that the reader gave for this record; None without one.

    """

    self_key: bytes | None = field(repr=False)
    kem: tuple[PrivateKey, ...] = field(default=(), repr=False)
    publisher: PublicKey | None = None
    passphrase_key: bytes | None = field(default=None, repr=False)


# The box


def seal_box(
    key: bytes, salt: bytes, fixed: bytes, prefix: bytes, value: bytes, position: bytes = b""
) -> bytes:
    """Seal a value and build the record up to its signature.

    Args:
        key: K of section 8's table, 32 bytes.
        salt: salt24, never used before.
        fixed: F.
        prefix: H without salt and commitment.
        value: At most 61,436 bytes.
        position: u32 index ‖ u8 last of a chunk, empty otherwise.

    Raises:
        ValueTooLarge: The value does not fit a record.
        UsageError: The value and its readers together do not fit.

    """
    assert len(salt) == SALT_BYTES
    check_value(value)
    hdr0 = fixed + prefix
    cipher, iv, commitment = _derive_box(key, salt, hdr0 + position)
    return encode_unsigned(fixed, prefix + salt + commitment, cipher.seal(iv, pad(value), hdr0))


def open_box(record: Record, key: bytes, position: bytes = b"") -> bytes:
    """Open a sealed record under K.

    Args:
        record: A record that is not public; its signature is verified.
        key: K of section 8's table, 32 bytes.
        position: u32 index ‖ u8 last of a chunk, empty otherwise.

    Raises:
        DecryptionFailed: The commitment, the ciphertext or the padding was refused.

    """
    assert record.readers is not Readers.PUBLIC
    hdr0 = record.hdr0
    cipher, iv, commitment = _derive_box(key, record.salt, hdr0 + position)
    if not is_equal(commitment, record.commitment):
        raise DecryptionFailed("the record is not sealed under this key")
    return unpad(cipher.open(iv, record.payload, hdr0))


def _derive_box(key: bytes, salt: bytes, context: bytes) -> tuple[Aead, bytes, bytes]:
    """Return cipher, iv12 and commit32 of section 8's box."""
    okm = kdf(key, salt, "yz1 box", sha256(context), KEY_BYTES + IV_BYTES + COMMITMENT_BYTES)
    return Aead(okm[:KEY_BYTES]), okm[KEY_BYTES:-COMMITMENT_BYTES], okm[-COMMITMENT_BYTES:]


def check_value(value: bytes) -> None:
    """Check that a value fits a record.

    Raises:
        ValueTooLarge: It has over 61,436 bytes.

    """
    if len(value) > VALUE_BYTES_MAX:
        raise ValueTooLarge(f"a value is at most {VALUE_BYTES_MAX:,} bytes, this one has {len(value):,}")


# Writing


def seal_record(draft: RecordDraft, value: bytes, readers: SealedFor, author: Author, salt: bytes) -> bytes:
    """Build a signed record.

    Args:
        draft: What the record says about itself.
        value: At most 61,436 bytes.
        readers: Who can open it.
        author: Who signs it.
        salt: 24 random bytes, fresh for every sealing; unused when public.

    Raises:
        ValueTooLarge: The value does not fit a record.
        UsageError: The draft is out of range, a tombstone, or does not go with the readers, or these are too many.
        InvalidKey: A reader's KEM key is not a compressed P-256 point.

    """
    if draft.is_tombstone:
        raise UsageError("a tombstone carries no value", hint="build it with tombstone()")
    publisher = author.signer.public_key
    match readers:
        case Public():
            check_value(value)
            return _sign(encode_unsigned(encode_fixed(draft, Readers.PUBLIC, publisher), b"", value), author)
        case Self():
            fixed = encode_fixed(draft, Readers.SELF, publisher)
            return _sign(seal_box(author.self_key, salt, fixed, b"", value), author)
        case Named() | Locked():
            fixed = encode_fixed(draft, Readers.STANZAS, publisher)
            return _sign(_seal_under_stanzas(value, readers, fixed, author, salt), author)


def _seal_under_stanzas(
    value: bytes, readers: Named | Locked, fixed: bytes, author: Author, salt: bytes
) -> bytes:
    context = WrapContext(fixed, salt)
    if isinstance(readers, Named):
        prefix = encode_named(readers, context, author.self_key)
    else:
        prefix = encode_locked(readers, context)
    return seal_box(readers.cek, salt, fixed, prefix, value)


def seal_immutable(value: bytes, readers: SealedFor, author: Author, salt: bytes) -> bytes:
    """Build an immutable record: no publisher, no signature, its address is its proof.

    Args:
        value: At most 61,436 bytes.
        readers: Who can open it.
        author: Whose K_self seals it when the readers are `Self`, and is among the named ones.
        salt: 24 random bytes, fresh for every sealing; unused when public.

    Raises:
        ValueTooLarge: The value does not fit a record.
        UsageError: The readers are too many.
        InvalidKey: A reader's KEM key is not a compressed P-256 point.

    """
    match readers:
        case Public():
            check_value(value)
            return encode_unsigned(encode_immutable_fixed(Readers.PUBLIC), b"", value)
        case Self():
            return seal_box(author.self_key, salt, encode_immutable_fixed(Readers.SELF), b"", value)
        case Named() | Locked():
            fixed = encode_immutable_fixed(Readers.STANZAS)
            return _seal_under_stanzas(value, readers, fixed, author, salt)


def tombstone(draft: RecordDraft, author: Author) -> bytes:
    """Build the signed record that deletes a slot; `draft` may or may not say that it is a tombstone.

    Raises:
        UsageError: The draft is out of range, or of a kind that is never deleted.

    """
    fixed = encode_fixed(replace(draft, is_tombstone=True), Readers.PUBLIC, author.signer.public_key)
    return _sign(encode_unsigned(fixed, b"", b""), author)


def _sign(unsigned: bytes, author: Author) -> bytes:
    return unsigned + author.signer.sign(RECORD_LABEL, author.network, unsigned)


def seal_chunk(data: bytes, object_key: bytes, index: int, salt: bytes, *, is_last: bool) -> bytes:
    """Build one chunk of a large object, an immutable record.

    Args:
        data: At most 61,436 bytes.
        object_key: object_key32 of the manifest.
        index: u32; from 0x80000000 for index chunks.
        salt: 24 random bytes, fresh for every sealing.
        is_last: True in the last data chunk and in the last index chunk.

    Raises:
        ValueTooLarge: The data does not fit a record.

    """
    fixed = encode_immutable_fixed(Readers.SELF)
    return seal_box(object_key, salt, fixed, b"", data, _position(index, is_last=is_last))


def _position(index: int, *, is_last: bool) -> bytes:
    return index.to_bytes(4) + bytes((is_last,))


# Reading


def open_chunk(record: Record, object_key: bytes, index: int, *, is_last: bool) -> bytes:
    """Open one chunk of a large object; `index` and `is_last` as in `seal_chunk`.

    Raises:
        WireError: The record is not a chunk.
        DecryptionFailed: It is damaged, of another object or of another place in this one.

    """
    if record.kind is not Kind.IMMUTABLE or record.readers is not Readers.SELF:
        raise WireError("the record is not a chunk of an object")
    return open_box(record, object_key, _position(index, is_last=is_last))


def open_record(record: Record, keys: OpeningKeys) -> bytes:
    """Return the value of a record whose target and signature are verified.

    Raises:
        NotFound: The record is a tombstone.
        NotAReader: It is sealed for somebody else, or in a way these keys do not open.
        DecryptionFailed: The commitment, the ciphertext or the padding was refused.
        WireError: Its stanzas do not parse.

    """
    if record.is_tombstone:
        raise NotFound("the record was deleted")
    match record.readers:
        case Readers.PUBLIC:
            return record.payload
        case Readers.SELF:
            return open_box(record, _own_key(record, keys))
        case Readers.STANZAS:
            return open_box(record, _content_key(record, keys))
        case Readers.GROUP:
            raise NotAReader("the record is sealed for a group")


def _own_key(record: Record, keys: OpeningKeys) -> bytes:
    is_foreign = bool(record.publisher) and keys.publisher not in (None, record.publisher)
    if keys.self_key is None or is_foreign:
        raise NotAReader("the record is sealed for its publisher alone")
    return keys.self_key


def _content_key(record: Record, keys: OpeningKeys) -> bytes:
    stanza = passphrase_stanza(record)
    if stanza is not None:
        return unlock(record, stanza, keys.passphrase_key)
    return find_content_key(record, keys.self_key, keys.kem)

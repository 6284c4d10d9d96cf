from __future__ import annotations

from dataclasses import replace
from os import urandom
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings, strategies as st

from tests.vectors.golden import CREATED, EXPIRES, FOLDER, KEM_1, KEY_A, KEY_B, NETWORK, SELF_KEY_A, record
from yzdht.crypto.naming import kdf
from yzdht.crypto.primitives import Aead, PrivateKey, hpke_seal, sha256
from yzdht.crypto.sealing import (
    Author,
    OpeningKeys,
    Public,
    RecordDraft,
    Self,
    open_box,
    open_chunk,
    open_record,
    seal_box,
    seal_chunk,
    seal_immutable,
    seal_record,
    tombstone,
)
from yzdht.crypto.signing import KeySigner
from yzdht.errors import (
    CryptoError,
    DecryptionFailed,
    NotAReader,
    NotFound,
    UsageError,
    ValueTooLarge,
    WireError,
)
from yzdht.ids import Signature, Tag
from yzdht.limits import VALUE_BYTES_MAX
from yzdht.wire.codec import lp
from yzdht.wire.record import Readers, Record, decode_record, encode_fixed, encode_immutable_fixed, pad
from yzdht.wire.slot import Kind


SALT = bytes(range(24))
AUTHOR = Author(KeySigner(KEY_A), SELF_KEY_A, NETWORK)
OWN = OpeningKeys(SELF_KEY_A, (), KEY_A.public_key)
NOBODY = OpeningKeys(None)
DRAFT = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 1, Tag(b"t" * 32))
CEK = b"c" * 32
OBJECT_KEY = b"o" * 32
VALUES = st.binary(max_size=2_000)


def sealed_to(*stanzas: bytes, kind: Kind = Kind.MUTABLE) -> Record:
    if kind is Kind.IMMUTABLE:
        fixed, tail = encode_immutable_fixed(Readers.STANZAS), b""
    else:
        fixed, tail = encode_fixed(DRAFT, Readers.STANZAS, KEY_A.public_key), bytes(64)
    return decode_record(seal_box(CEK, SALT, fixed, bytes((len(stanzas),)) + b"".join(stanzas), b"v") + tail)


def hpke_stanza(public_key: bytes, fixed: bytes) -> bytes:
    info = lp("yz1 wrap hpke") + sha256(fixed) + SALT
    return b"\x02\x00\x71" + hpke_seal(public_key, CEK, info)


def self_stanza(key: bytes, fixed: bytes) -> bytes:
    wrap = kdf(key, SALT, "yz1 wrap self", sha256(fixed), 32)
    return b"\x01\x00\x30" + Aead(wrap).seal(bytes(12), CEK)


F = encode_fixed(DRAFT, Readers.STANZAS, KEY_A.public_key)


# Round trips


@given(VALUES)
def test_own_records_open(value: bytes) -> None:
    raw = seal_record(DRAFT, value, Self(), AUTHOR, urandom(24))

    assert open_record(decode_record(raw), OWN) == value
    assert open_record(decode_record(raw), OpeningKeys(SELF_KEY_A)) == value


def test_a_sealed_value_is_nowhere_in_its_record() -> None:
    value = b"nobody else reads this"

    assert value not in seal_record(DRAFT, value, Self(), AUTHOR, urandom(24))
    assert value not in seal_immutable(value, Self(), AUTHOR, urandom(24))


@given(VALUES)
def test_public_records_open_for_everybody(value: bytes) -> None:
    assert open_record(decode_record(seal_record(DRAFT, value, Public(), AUTHOR, b"")), NOBODY) == value
    assert open_record(decode_record(seal_immutable(value, Public(), AUTHOR, b"")), NOBODY) == value


@given(VALUES)
def test_own_immutables_open(value: bytes) -> None:
    assert open_record(decode_record(seal_immutable(value, Self(), AUTHOR, urandom(24))), OWN) == value


@settings(max_examples=50)
@given(VALUES, st.integers(0, 2**32 - 1), st.booleans())
def test_chunks_open_in_their_place(data: bytes, index: int, is_last: bool) -> None:  # noqa: FBT001 - drawn
    parsed = decode_record(seal_chunk(data, OBJECT_KEY, index, urandom(24), is_last=is_last))

    assert open_chunk(parsed, OBJECT_KEY, index, is_last=is_last) == data


def test_fixed_costs_are_those_of_the_protocol_page() -> None:
    value = bytes(252)

    assert len(seal_record(DRAFT, value, Public(), AUTHOR, b"")) - len(value) == 151
    assert len(seal_record(DRAFT, value, Self(), AUTHOR, urandom(24))) - 256 == 223
    assert len(seal_immutable(value, Self(), AUTHOR, urandom(24))) - 256 == 78


def test_values_up_to_the_limit_fit_and_longer_ones_do_not() -> None:
    largest = bytes(VALUE_BYTES_MAX)
    for readers in (Public(), Self()):
        signed = seal_record(DRAFT, largest, readers, AUTHOR, urandom(24))
        immutable = seal_immutable(largest, readers, AUTHOR, urandom(24))
        assert open_record(decode_record(signed), OWN) == largest
        assert open_record(decode_record(immutable), OWN) == largest
        with pytest.raises(ValueTooLarge):
            seal_record(DRAFT, largest + b"x", readers, AUTHOR, urandom(24))
        with pytest.raises(ValueTooLarge):
            seal_immutable(largest + b"x", readers, AUTHOR, urandom(24))
    with pytest.raises(ValueTooLarge):
        seal_chunk(largest + b"x", OBJECT_KEY, 0, urandom(24), is_last=True)


# Tombstones and drafts


def test_a_tombstone_deletes_and_is_not_a_value() -> None:
    parsed = decode_record(tombstone(DRAFT, AUTHOR))

    assert parsed.is_tombstone
    assert (parsed.tag, parsed.seq) == (DRAFT.tag, DRAFT.seq)
    with pytest.raises(NotFound):
        open_record(parsed, OWN)


@pytest.mark.parametrize("kind", [Kind.IMMUTABLE, Kind.IDENTITY])
def test_other_kinds_are_never_deleted(kind: Kind) -> None:
    with pytest.raises(UsageError):
        tombstone(replace(DRAFT, kind=kind), AUTHOR)


def test_a_tombstone_is_not_sealed_as_a_value() -> None:
    with pytest.raises(UsageError):
        seal_record(replace(DRAFT, is_tombstone=True), b"", Public(), AUTHOR, b"")


# Who is not a reader


def test_the_record_of_another_identity_is_for_its_publisher_alone() -> None:
    parsed = decode_record(record("self"))
    for keys in (NOBODY, OpeningKeys(CEK, (KEM_1,), KEY_B.public_key)):
        with pytest.raises(NotAReader):
            open_record(parsed, keys)


def test_a_self_record_under_another_key_is_refused() -> None:
    for name in ("self", "immutable_self"):
        with pytest.raises(DecryptionFailed):
            open_record(decode_record(record(name)), OpeningKeys(CEK))


def test_a_chunk_is_not_opened_as_an_own_record() -> None:
    with pytest.raises(CryptoError):
        open_record(decode_record(record("chunk")), OWN)


def test_a_group_record_is_for_its_members() -> None:
    with pytest.raises(NotAReader):
        open_record(decode_record(record("group")), OpeningKeys(SELF_KEY_A, (KEM_1,)))


def test_recipients_are_found_by_trial() -> None:
    stranger = PrivateKey.generate()
    parsed = sealed_to(hpke_stanza(stranger.public_key, F), hpke_stanza(KEM_1.public_key, F))

    assert open_record(parsed, OpeningKeys(None, (PrivateKey.generate(), KEM_1))) == b"v"
    for keys in (NOBODY, OpeningKeys(SELF_KEY_A, (PrivateKey.generate(),))):
        with pytest.raises(NotAReader):
            open_record(parsed, keys)


def test_the_self_stanza_opens_for_its_publisher() -> None:
    parsed = sealed_to(hpke_stanza(KEM_1.public_key, F), self_stanza(SELF_KEY_A, F))

    assert open_record(parsed, OWN) == b"v"
    for keys in (OpeningKeys(CEK), NOBODY):
        with pytest.raises(NotAReader):
            open_record(parsed, keys)


def test_immutables_have_recipients_too() -> None:
    fixed = encode_immutable_fixed(Readers.STANZAS)
    parsed = sealed_to(hpke_stanza(KEM_1.public_key, fixed), kind=Kind.IMMUTABLE)

    assert open_record(parsed, OpeningKeys(None, (KEM_1,))) == b"v"


def test_a_stanza_moved_to_another_record_opens_nothing() -> None:
    other = encode_fixed(replace(DRAFT, seq=2), Readers.STANZAS, KEY_A.public_key)
    parsed = sealed_to(hpke_stanza(KEM_1.public_key, other), self_stanza(SELF_KEY_A, other))

    with pytest.raises(NotAReader):
        open_record(parsed, OpeningKeys(SELF_KEY_A, (KEM_1,)))


def test_damaged_stanzas_open_nothing() -> None:
    parsed = sealed_to(b"\x02\x00\x71" + b"\xff" * 113, b"\x01\x00\x30" + b"\xff" * 48)

    with pytest.raises(NotAReader):
        open_record(parsed, OpeningKeys(SELF_KEY_A, (KEM_1,)))


@settings(max_examples=50)
@given(st.binary(min_size=113, max_size=113))
def test_hostile_stanzas_raise_only_crypto_errors(body: bytes) -> None:
    parsed = sealed_to(b"\x02\x00\x71" + body, b"\x02\x00\x71\x04" + body[1:])

    with pytest.raises(CryptoError):
        open_record(parsed, OpeningKeys(None, (KEM_1,)))


# The box


@pytest.mark.parametrize("name", ["self", "immutable_self"])
def test_every_flipped_bit_is_refused_by_the_box_itself(name: str) -> None:
    raw = record(name)
    end = len(raw) if raw[1] == 0 else len(raw) - 64
    for bit in range(end * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((WireError, CryptoError)):
            _open_readers_self(decode_record(bytes(flipped)))


def _open_readers_self(parsed: Record) -> None:
    if parsed.readers is not Readers.SELF:
        raise WireError("no longer a self record")
    open_box(parsed, SELF_KEY_A)


def test_a_payload_replanted_under_another_header_is_refused() -> None:
    raw = seal_record(DRAFT, b"value", Self(), AUTHOR, urandom(24))
    for draft in (replace(DRAFT, seq=2), replace(DRAFT, tag=Tag(bytes(32))), replace(DRAFT, kind=Kind.MULTI)):
        moved = encode_fixed(draft, Readers.SELF, KEY_A.public_key) + raw[85:]
        with pytest.raises(DecryptionFailed):
            open_record(decode_record(moved), OWN)


def test_a_chunk_out_of_place_is_refused() -> None:
    parsed = decode_record(seal_chunk(b"data", OBJECT_KEY, 3, urandom(24), is_last=False))
    for key, index, is_last in ((OBJECT_KEY, 4, False), (OBJECT_KEY, 3, True), (CEK, 3, False)):
        with pytest.raises(DecryptionFailed):
            open_chunk(parsed, key, index, is_last=is_last)
    with pytest.raises(DecryptionFailed):
        open_box(parsed, OBJECT_KEY)


def test_other_records_are_not_chunks() -> None:
    for name in ("self", "public"):
        with pytest.raises(WireError):
            open_chunk(decode_record(record(name)), OBJECT_KEY, 0, is_last=True)


def test_a_payload_under_the_right_key_with_bad_padding_is_refused() -> None:
    assert open_record(_boxed(pad(b"value")), OWN) == b"value"
    for padded in (bytes(255) + b"\1", (253).to_bytes(4) + bytes(252)):
        with pytest.raises(DecryptionFailed):
            open_record(_boxed(padded), OWN)


def _boxed(padded: bytes) -> Record:
    """What `seal_record` builds for oneself, of a plaintext that is padded already."""
    parsed = _with_fresh_salt()
    key, iv, commitment = _box_parts(SELF_KEY_A, parsed)
    header = parsed.salt + commitment
    return replace(parsed, header=header, payload=Aead(key).seal(iv, padded, parsed.hdr0))


def _with_fresh_salt() -> Record:
    """An own record whose commitment and payload are still to be planted: nothing is sealed under its salt."""
    return replace(decode_record(record("self")), header=urandom(24) + bytes(32))


# Salamanders: one ciphertext, two keys, two plaintexts


def _box_parts(key: bytes, parsed: Record) -> tuple[bytes, bytes, bytes]:
    okm = kdf(key, parsed.salt, "yz1 box", sha256(parsed.hdr0), 76)
    return okm[:32], okm[32:44], okm[44:]


def _salamander_file() -> dict[str, bytes]:
    lines = Path(FOLDER, "salamander.txt").read_text().splitlines()
    return {name: bytes.fromhex(value) for name, value in (line.split("=") for line in lines)}


def test_the_salamander_opens_under_two_keys_with_the_bare_cipher() -> None:
    salamander = _salamander_file()

    for n in ("1", "2"):
        opened = Aead(salamander["k" + n]).open(salamander["iv"], salamander["ct"])
        assert opened == salamander["pt" + n]


def test_the_salamander_does_not_fit_a_record() -> None:
    parsed = decode_record(record("self"))

    with pytest.raises(WireError):
        decode_record(parsed.raw[:143] + _salamander_file()["ct"] + parsed.signature)


def test_the_box_refuses_the_salamander_under_either_commitment() -> None:
    salamander, parsed = _salamander_file(), decode_record(record("self"))
    keys = salamander["k1"], salamander["k2"]
    for committed in keys:
        header = parsed.salt + _box_parts(committed, parsed)[2]
        planted = replace(parsed, header=header, payload=salamander["ct"])
        for key in keys:
            with pytest.raises(DecryptionFailed):
                open_box(planted, key)


def test_a_salamander_made_for_the_box_itself_opens_under_the_committed_key_only() -> None:
    parsed = _with_fresh_salt()
    (key_1, iv_1, commit_1), (key_2, iv_2, commit_2) = (_box_parts(key, parsed) for key in (SELF_KEY_A, CEK))
    payload = _make_salamander((key_1, iv_1), (key_2, iv_2), parsed.hdr0)
    assert Aead(key_1).open(iv_1, payload, parsed.hdr0)[:4] == bytes(4)
    assert len(Aead(key_2).open(iv_2, payload, parsed.hdr0)) == 256

    for committed in (commit_1, commit_2):
        planted = replace(parsed, header=parsed.salt + committed, payload=payload)
        with pytest.raises(DecryptionFailed):
            open_box(planted, SELF_KEY_A)
        with pytest.raises(DecryptionFailed):
            open_box(planted, CEK)
    assert commit_1 != commit_2


def _make_salamander(one: tuple[bytes, bytes], two: tuple[bytes, bytes], aad: bytes) -> bytes:
    """Choose the last block of 256 bytes so that both keys give the same tag (Dodis et al. 2018)."""
    blocks = bytearray(Aead(one[0]).seal(one[1], bytes(256))[:256])  # a value of length 0 under the first key
    blocks[240:] = bytes(16)
    h_1, h_2 = (_block(key, bytes(16)) for key, _ in (one, two))
    tag_1, tag_2 = (_tag(key, iv, aad, bytes(blocks)) for key, iv in (one, two))
    weight = _multiply(h_1, h_1) ^ _multiply(h_2, h_2)
    blocks[240:] = _multiply(tag_1 ^ tag_2, _invert(weight)).to_bytes(16)
    return bytes(blocks) + _tag(*one, aad, bytes(blocks)).to_bytes(16)


def _block(key: bytes, block: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(block))


def _tag(key: bytes, iv: bytes, aad: bytes, ciphertext: bytes) -> int:
    lengths = (len(aad) * 8).to_bytes(8) + (len(ciphertext) * 8).to_bytes(8)
    data = aad + bytes(-len(aad) % 16) + ciphertext + lengths
    h, digest = _block(key, bytes(16)), 0
    for start in range(0, len(data), 16):
        digest = _multiply(digest ^ int.from_bytes(data[start : start + 16]), h)
    return digest ^ _block(key, iv + (1).to_bytes(4))


def _multiply(a: int, b: int) -> int:
    """Product in GF(2¹²⁸) with GCM's order of bits."""
    product = 0
    for bit in range(127, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (0xE1 << 120 if b & 1 else 0)
    return product


def _invert(a: int) -> int:
    result, power = 1 << 127, a
    for _ in range(127):
        power = _multiply(power, power)
        result = _multiply(result, power)
    return result


def test_opening_never_reads_a_signature() -> None:
    parsed = decode_record(seal_record(DRAFT, b"value", Self(), AUTHOR, urandom(24)))

    assert open_record(replace(parsed, signature=Signature(bytes(64))), OWN) == b"value"

from __future__ import annotations

import json
import unicodedata
from os import urandom
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from tests.vectors import make_session
from yzdht.crypto.identity import IdentityKeys, KemKey
from yzdht.crypto.keyfile import (
    decode_identity,
    encode_identity,
    needs_passphrase,
    open_keyfile,
    seal_keyfile,
)
from yzdht.crypto.passphrase import (
    ARGON2_DEFAULT,
    NO_KDF,
    PBKDF2_DEFAULT,
    Kdf,
    KdfParameters,
)
from yzdht.crypto.primitives import P256_ORDER, PrivateKey
from yzdht.errors import DecryptionFailed, InvalidKey, UsageError, WireError, WrongPassphrase
from yzdht.limits import (
    ARGON2_M_KIB_MAX,
    ARGON2_M_KIB_MIN,
    KEM_KEYS_KEPT_MAX,
    KEYFILE_BYTES_MAX,
    PASSPHRASE_BYTES_MAX,
    PBKDF2_ITERATIONS_MAX,
)


VECTORS_DIR = Path(__file__).parent.parent / "vectors"
VECTORS = json.loads((VECTORS_DIR / "protocol-v1.json").read_text())
OWN = json.loads((VECTORS_DIR / "project-session.json").read_text())["keyfile_identity"]
A, KEM_1, KEM_2 = (
    PrivateKey.from_scalar(bytes.fromhex(VECTORS["keys"][name])) for name in ("sk_A", "kem_1", "kem_2")
)
SECRET = bytes.fromhex(VECTORS["identity"]["S"])
CHEAP = KdfParameters(Kdf.ARGON2ID, ARGON2_M_KIB_MIN, 1, 1)
HEADER_BYTES = 27
COMMIT_END = HEADER_BYTES + 32


def salt16() -> bytes:
    """Another one for every sealing, as the product draws them: key and nonce follow from it."""
    return urandom(16)


def identity() -> IdentityKeys:
    return IdentityKeys(A, (KemKey(KEM_2, 200), KemKey(KEM_1, 100)), SECRET)


def field(tag: int, body: bytes) -> bytes:
    return bytes((tag,)) + len(body).to_bytes(2) + body


SIGNING = field(1, A.to_pkcs8())
KEM = field(2, (100).to_bytes(4) + KEM_1.to_pkcs8())
STORAGE = field(3, SECRET)


# Vectors


def test_keyfile_vector_reproduces() -> None:
    file = bytes.fromhex(VECTORS["keyfile"]["file"])
    parameters = KdfParameters(Kdf.ARGON2ID, 19_456, 2, 1)

    assert open_keyfile(file, "correct horse") == b"TLV goes here"
    assert seal_keyfile(b"TLV goes here", "correct horse", parameters, file[11:HEADER_BYTES]) == file


def test_own_vectors_are_what_their_script_writes() -> None:
    assert (VECTORS_DIR / "project-session.json").read_text() == make_session.render()


@pytest.mark.parametrize("name", ["kdf_0", "kdf_2"])
def test_identity_of_the_own_vectors_opens(name: str) -> None:
    content = open_keyfile(bytes.fromhex(OWN[name]), OWN["passphrase"])
    opened = decode_identity(content)

    assert content.hex() == OWN["content"]
    assert opened.node_id.hex() == VECTORS["identity"]["node_id"]
    assert opened.name_key.hex() == VECTORS["identity"]["K_name"]
    assert [kem.not_after for kem in opened.kem] == OWN["kem_not_after"]
    assert [kem.key.public_key for kem in opened.kem] == [KEM_2.public_key, KEM_1.public_key]


# Sealing and opening


@pytest.mark.parametrize(("passphrase", "parameters"), [("", NO_KDF), ("secret", CHEAP)])
def test_what_is_sealed_opens(passphrase: str, parameters: KdfParameters) -> None:
    sealed = seal_keyfile(b"content", passphrase, parameters, salt16())

    assert open_keyfile(sealed, passphrase) == b"content"
    assert needs_passphrase(sealed) is bool(passphrase)


def test_default_parameters_are_those_of_section_13() -> None:
    assert KdfParameters(Kdf.ARGON2ID, 65_536, 3, 4) == ARGON2_DEFAULT
    assert KdfParameters(Kdf.PBKDF2, 600_000, 0, 0) == PBKDF2_DEFAULT
    assert KdfParameters(Kdf.NONE, 0, 0, 0) == NO_KDF
    assert all(one.is_allowed() for one in (ARGON2_DEFAULT, PBKDF2_DEFAULT, NO_KDF))


def test_wrong_passphrase_is_named() -> None:
    sealed = seal_keyfile(b"content", "secret", CHEAP, salt16())

    with pytest.raises(WrongPassphrase):
        open_keyfile(sealed, "Secret")


@pytest.mark.parametrize("at", [11, HEADER_BYTES, COMMIT_END, -1])
def test_damage_under_a_passphrase_looks_like_a_wrong_one(at: int) -> None:
    damaged = bytearray(seal_keyfile(b"content", "secret", CHEAP, salt16()))
    damaged[at] ^= 1

    with pytest.raises(WrongPassphrase):
        open_keyfile(bytes(damaged), "secret")


def test_every_flipped_bit_without_a_kdf_is_refused() -> None:
    sealed = seal_keyfile(b"content", "", NO_KDF, salt16())

    for bit in range(8 * len(sealed)):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((WireError, DecryptionFailed)):
            open_keyfile(bytes(damaged), "")


def test_damage_without_a_kdf_is_called_damage() -> None:
    sealed = seal_keyfile(b"content", "", NO_KDF, salt16())

    with pytest.raises(DecryptionFailed, match="damaged"):
        open_keyfile(sealed[:-1] + bytes((sealed[-1] ^ 1,)), "")


def test_passphrase_is_nfc() -> None:
    composed, decomposed = "müsli", unicodedata.normalize("NFD", "müsli")
    assert composed != decomposed

    assert open_keyfile(seal_keyfile(b"content", decomposed, CHEAP, salt16()), composed) == b"content"


def test_phrase_is_used_as_it_is_typed() -> None:
    sealed = seal_keyfile(b"content", "abcd-efgh", CHEAP, salt16())

    for other in ("ABCD-EFGH", "abcdefgh", "abcd-efgh "):
        with pytest.raises(WrongPassphrase):
            open_keyfile(sealed, other)


@pytest.mark.parametrize(
    "passphrase", ["", "\ud800", "x" * (PASSPHRASE_BYTES_MAX + 1), "ü" * PASSPHRASE_BYTES_MAX]
)
@pytest.mark.parametrize("parameters", [CHEAP, PBKDF2_DEFAULT])
def test_impossible_passphrases_are_a_usage_error(passphrase: str, parameters: KdfParameters) -> None:
    with pytest.raises(UsageError):
        seal_keyfile(b"content", passphrase, parameters, salt16())
    with pytest.raises(UsageError):
        open_keyfile(bytes.fromhex(VECTORS["keyfile"]["file"]), passphrase)


def test_passphrase_without_a_kdf_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        seal_keyfile(b"content", "secret", NO_KDF, salt16())


@pytest.mark.parametrize("salt", [b"", bytes(15), bytes(17)])
def test_salt_has_16_bytes(salt: bytes) -> None:
    with pytest.raises(UsageError):
        seal_keyfile(b"content", "", NO_KDF, salt)


def test_content_is_bounded() -> None:
    room = KEYFILE_BYTES_MAX - COMMIT_END - 16

    largest = seal_keyfile(bytes(room), "", NO_KDF, salt16())
    assert len(largest) == KEYFILE_BYTES_MAX
    assert open_keyfile(largest, "") == bytes(room)
    with pytest.raises(UsageError):
        seal_keyfile(bytes(room + 1), "", NO_KDF, salt16())
    with pytest.raises(WireError):
        open_keyfile(largest + b"x", "")


OUT_OF_BOUNDS = [
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
    (1, ARGON2_M_KIB_MIN - 1, 3, 4),
    (1, ARGON2_M_KIB_MAX + 1, 3, 4),
    (1, 2**32 - 1, 255, 255),
    (1, 65_536, 0, 4),
    (1, 65_536, 11, 4),
    (1, 65_536, 3, 0),
    (1, 65_536, 3, 17),
    (2, 599_999, 0, 0),
    (2, PBKDF2_ITERATIONS_MAX + 1, 0, 0),
    (2, 2**32 - 1, 0, 0),
    (2, 600_000, 1, 0),
    (2, 600_000, 0, 1),
]


@pytest.mark.parametrize(("kdf", "m_kib", "t", "p"), OUT_OF_BOUNDS)
def test_parameters_out_of_bounds_are_refused_before_any_work(kdf: int, m_kib: int, t: int, p: int) -> None:
    header = b"YZK1" + bytes((kdf,)) + m_kib.to_bytes(4) + bytes((t, p)) + bytes(16)
    file = header + bytes(60)

    with pytest.raises(WireError, match="out of bounds"):
        open_keyfile(file, "secret")
    with pytest.raises(WireError, match="out of bounds"):
        needs_passphrase(file)
    with pytest.raises(UsageError):
        seal_keyfile(b"content", "secret" if kdf else "", KdfParameters(Kdf(kdf), m_kib, t, p), salt16())


@pytest.mark.parametrize("kdf", [3, 4, 255])
def test_unknown_kdf_is_refused(kdf: int) -> None:
    with pytest.raises(WireError, match="unknown kdf"):
        open_keyfile(b"YZK1" + bytes((kdf,)) + bytes(100), "")


def test_truncated_keyfile_is_refused_at_every_length() -> None:
    sealed = seal_keyfile(b"content", "", NO_KDF, salt16())

    for size in range(len(sealed)):
        with pytest.raises((WireError, DecryptionFailed)):
            open_keyfile(sealed[:size], "")


@given(st.binary(max_size=150))
def test_arbitrary_files_are_refused(data: bytes) -> None:
    for file in (data, b"YZK1" + data, b"YZK1" + bytes(7) + data):
        with pytest.raises((WireError, DecryptionFailed)):
            open_keyfile(file, "")


# The identity inside


def test_identity_survives_its_bytes() -> None:
    tlv = encode_identity(identity())
    decoded = decode_identity(tlv)

    assert encode_identity(decoded) == tlv
    assert repr(decoded) == repr(identity())
    assert decoded.storage_secret == SECRET


def test_identity_bytes_are_tlv_ascending_by_type() -> None:
    newer = field(2, (200).to_bytes(4) + KEM_2.to_pkcs8())

    assert encode_identity(identity()) == SIGNING + newer + KEM + STORAGE


def test_kem_keys_are_brought_to_newest_first() -> None:
    newer = field(2, (200).to_bytes(4) + KEM_2.to_pkcs8())

    assert [kem.not_after for kem in decode_identity(SIGNING + KEM + newer + STORAGE).kem] == [200, 100]


def test_identity_without_kem_keys_decodes() -> None:
    assert decode_identity(SIGNING + STORAGE).kem == ()


def test_the_largest_identity_fits_in_a_keyfile() -> None:
    most = IdentityKeys(A, (KemKey(KEM_1, 1),) * KEM_KEYS_KEPT_MAX, SECRET)

    sealed = seal_keyfile(encode_identity(most), "", NO_KDF, salt16())

    assert len(decode_identity(open_keyfile(sealed, "")).kem) == KEM_KEYS_KEPT_MAX


@pytest.mark.parametrize(
    "tlv",
    [
        b"",
        SIGNING,
        STORAGE,
        STORAGE + SIGNING,
        KEM + SIGNING + STORAGE,
        SIGNING + STORAGE + KEM,
        SIGNING + SIGNING + STORAGE,
        SIGNING + STORAGE + STORAGE,
        SIGNING + field(0, b"") + STORAGE,
        SIGNING + STORAGE + field(4, b""),
        SIGNING + STORAGE + b"\0",
        SIGNING + KEM * (KEM_KEYS_KEPT_MAX + 1) + STORAGE,
        SIGNING + field(2, b"\0\0") + STORAGE,
        SIGNING + field(3, bytes(31)),
        SIGNING + field(3, bytes(33)),
        (SIGNING + STORAGE)[:-1],
    ],
)
def test_malformed_identities_are_refused(tlv: bytes) -> None:
    with pytest.raises(WireError):
        decode_identity(tlv)


def mismatched() -> bytes:
    """A's scalar beside another key's public point."""
    return A.to_pkcs8()[:-64] + KEM_1.to_pkcs8()[-64:]


def with_scalar(scalar: bytes) -> bytes:
    return A.to_pkcs8()[:36] + scalar + A.to_pkcs8()[68:]


FOREIGN_ALGORITHM = A.to_pkcs8()[:10] + b"\0" + A.to_pkcs8()[11:]


@pytest.mark.parametrize(
    "der",
    [b"", b"\0", A.to_pkcs8()[:-1], A.to_pkcs8() + b"\0", mismatched(), FOREIGN_ALGORITHM]
    + [with_scalar(scalar) for scalar in (bytes(32), b"\xff" * 32, P256_ORDER.to_bytes(32))],
)
def test_damaged_private_keys_are_refused(der: bytes) -> None:
    with pytest.raises(InvalidKey):
        decode_identity(field(1, der) + STORAGE)
    with pytest.raises(InvalidKey):
        decode_identity(SIGNING + field(2, bytes(4) + der) + STORAGE)


ENCODED = encode_identity(identity())


@settings(max_examples=200)
@given(st.data())
def test_mutated_identities_decode_or_raise_what_is_documented(data: st.DataObject) -> None:
    tlv = bytearray(ENCODED)
    for _ in range(data.draw(st.integers(1, 3))):
        tlv[data.draw(st.integers(0, len(tlv) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(tlv[: data.draw(st.integers(0, len(tlv)))]) + data.draw(st.binary(max_size=4))

    for candidate in (bytes(tlv), cut):
        try:
            decode_identity(candidate)
        except (WireError, InvalidKey):
            continue


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_identity(tlv: bytes) -> None:
    with pytest.raises((WireError, InvalidKey)):
        decode_identity(tlv)

from __future__ import annotations

import hashlib
import hmac
from os import urandom
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings, strategies as st

from tests.vectors.golden import KEM_1, KEM_2, KEY_A, KEY_B
from yzdht.crypto import primitives
from yzdht.crypto.primitives import (
    P256_HALF_ORDER,
    P256_ORDER,
    Aead,
    PrivateKey,
    argon2id,
    certificate_life,
    certificate_names,
    certificate_rsa_bits,
    check_public_key,
    coordinates,
    hkdf,
    hmac_sha256,
    hpke_seal,
    is_equal,
    pbkdf2,
    sha256,
    verify,
)
from yzdht.errors import CryptoError, DecryptionFailed, InvalidKey, InvalidSignature


if TYPE_CHECKING:
    from collections.abc import Callable

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
GENERATOR = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
MESSAGE = b"a message"
SIGNATURE = KEY_A.sign(MESSAGE, deterministic=True)
SEALED = hpke_seal(KEM_1.public_key, bytes(32), b"info")


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def signature_of(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


# Hashes


def test_hashes_are_those_of_the_standard_library() -> None:
    assert sha256(MESSAGE) == hashlib.sha256(MESSAGE).digest()
    assert hmac_sha256(b"key", MESSAGE) == hmac.new(b"key", MESSAGE, "sha256").digest()
    assert is_equal(b"a", b"a")
    assert not is_equal(b"a", b"b")


def test_hkdf_reproduces_rfc_5869_case_1() -> None:
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))

    assert hkdf(b"\x0b" * 22, salt, info, 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_pbkdf2_reproduces_a_known_value() -> None:
    assert (
        pbkdf2(b"passwd", b"salt", 1).hex()
        == "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
    )


def test_argon2id_depends_on_every_parameter() -> None:
    derived = {
        argon2id(b"p", bytes(16), 64, 1, 1),
        argon2id(b"q", bytes(16), 64, 1, 1),
        argon2id(b"p", b"\x01" * 16, 64, 1, 1),
        argon2id(b"p", bytes(16), 72, 1, 1),
        argon2id(b"p", bytes(16), 64, 2, 1),
        argon2id(b"p", bytes(16), 64, 1, 2),
    }

    assert {len(key) for key in derived} == {32}
    assert len(derived) == 6


# AES-GCM


def test_aes_gcm_reproduces_a_known_value() -> None:
    # Test case 14 of the GCM specification.
    sealed = Aead(bytes(32)).seal(bytes(12), bytes(16))

    assert sealed.hex() == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"


@given(st.binary(min_size=12, max_size=12), st.binary(), st.binary())
def test_what_is_sealed_opens(nonce: bytes, plaintext: bytes, aad: bytes) -> None:
    key = urandom(32)
    sealed = Aead(key).seal(nonce, plaintext, aad)

    assert len(sealed) == len(plaintext) + 16
    assert Aead(key).open(nonce, sealed, aad) == plaintext


def test_every_flipped_bit_and_every_cut_of_a_ciphertext_is_refused() -> None:
    aead, nonce = Aead(urandom(32)), bytes(12)
    sealed = aead.seal(nonce, MESSAGE, b"aad")
    damaged = [flip(sealed, bit) for bit in range(8 * len(sealed))]
    damaged += [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0"]

    for message in damaged:
        with pytest.raises(DecryptionFailed):
            aead.open(nonce, message, b"aad")


def test_another_key_nonce_or_aad_is_refused() -> None:
    right = urandom(32)
    sealed = Aead(right).seal(bytes(12), MESSAGE, b"aad")

    for key, nonce, aad in [
        (flip(right, 100), bytes(12), b"aad"),
        (right, b"\x01" * 12, b"aad"),
        (right, bytes(12), b""),
    ]:
        with pytest.raises(DecryptionFailed):
            Aead(key).open(nonce, sealed, aad)


# Public keys


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"\0",
        bytes(33),
        b"\x02" + bytes.fromhex(GENERATOR)[:-1],
        b"\x02" + bytes.fromhex(GENERATOR) + b"\0",
        b"\x04" + bytes.fromhex(GENERATOR),
        b"\x06" + bytes.fromhex(GENERATOR),
        b"\x04" + coordinates(KEY_A.public_key),
        b"\x06" + coordinates(KEY_A.public_key),
        b"\x02" + P.to_bytes(32),
        b"\x02" + (P + 5).to_bytes(32),
        b"\x03" + b"\xff" * 32,
        b"\x02" + (1).to_bytes(32),  # x = 1 has no y on the curve
    ],
)
def test_everything_but_a_compressed_point_is_refused(key: bytes) -> None:
    uses: list[Callable[[], object]] = [
        lambda: check_public_key(key),
        lambda: coordinates(key),
        lambda: KEY_A.exchange(key),
        lambda: hpke_seal(key, b"", b""),
        lambda: verify(key, MESSAGE, SIGNATURE),
    ]
    for use in uses:
        with pytest.raises(InvalidKey):
            use()


def test_both_signs_of_a_point_are_keys() -> None:
    low, high = (coordinates(bytes((sign,)) + bytes.fromhex(GENERATOR)) for sign in (2, 3))

    assert low[:32] == high[:32] == bytes.fromhex(GENERATOR)
    assert int.from_bytes(low[32:]) + int.from_bytes(high[32:]) == P


@given(st.binary(min_size=33, max_size=33))
def test_a_key_that_passes_is_on_the_curve(key: bytes) -> None:
    try:
        point = coordinates(key)
    except InvalidKey:
        return
    x, y = int.from_bytes(point[:32]), int.from_bytes(point[32:])
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    assert (y * y - x**3 + 3 * x - b) % P == 0
    assert key == bytes((2 + y % 2,)) + point[:32]


# Private keys


def test_a_private_key_survives_pkcs8() -> None:
    copy = PrivateKey.from_pkcs8(KEY_A.to_pkcs8())

    assert copy.public_key == KEY_A.public_key
    assert copy.sign(MESSAGE, deterministic=True) == SIGNATURE
    assert PrivateKey.generate().public_key != PrivateKey.generate().public_key


def test_every_flipped_bit_of_pkcs8_is_another_key_or_is_refused() -> None:
    der = KEY_A.to_pkcs8()
    for bit in range(8 * len(der)):
        try:
            key = PrivateKey.from_pkcs8(flip(der, bit))
        except InvalidKey:
            continue
        assert len(key.public_key) == 33


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_an_invalid_key(der: bytes) -> None:
    with pytest.raises(InvalidKey):
        PrivateKey.from_pkcs8(der)


@pytest.mark.parametrize("end", [0, 1, 10, 100, 137])
def test_pkcs8_cut_short_is_refused(end: int) -> None:
    with pytest.raises(InvalidKey):
        PrivateKey.from_pkcs8(KEY_A.to_pkcs8()[:end])


@pytest.mark.parametrize(
    "der",
    [
        # Ed25519 of RFC 8410
        "302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
        # secp256k1 with the scalar 1
        "303e020100301006072a8648ce3d020106052b8104000a042730250201010420" + "00" * 31 + "01",
    ],
)
def test_private_keys_of_other_curves_are_refused(der: str) -> None:
    with pytest.raises(InvalidKey):
        PrivateKey.from_pkcs8(bytes.fromhex(der))


def test_keys_of_exchanges_which_are_used_once_are_not_kept() -> None:
    primitives._load_public.cache_clear()
    for number in range(1, 9):
        KEY_A.exchange(PrivateKey.from_scalar(number.to_bytes(32)).public_key)

    assert primitives._load_public.cache_info().currsize == 0


def test_both_ends_of_an_exchange_agree() -> None:
    assert KEY_A.exchange(KEY_B.public_key) == KEY_B.exchange(KEY_A.public_key)
    assert len(KEY_A.exchange(KEY_B.public_key)) == 32
    one = PrivateKey.from_scalar((1).to_bytes(32))
    assert one.exchange(KEY_A.public_key) == coordinates(KEY_A.public_key)[:32]


# Signatures


@settings(max_examples=50)
@given(message=st.binary(max_size=100), deterministic=st.booleans())
def test_what_is_signed_verifies_and_is_low_s(message: bytes, *, deterministic: bool) -> None:
    signature = KEY_A.sign(message, deterministic=deterministic)

    assert len(signature) == 64
    assert 0 < int.from_bytes(signature[32:]) <= P256_HALF_ORDER
    verify(KEY_A.public_key, message, signature)


def test_deterministic_signatures_reproduce() -> None:
    assert KEY_A.sign(MESSAGE, deterministic=True) == SIGNATURE
    assert KEY_A.sign(MESSAGE) != KEY_A.sign(MESSAGE)


def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    for bit in range(8 * len(SIGNATURE)):
        with pytest.raises(InvalidSignature):
            verify(KEY_A.public_key, MESSAGE, flip(SIGNATURE, bit))


R, S = int.from_bytes(SIGNATURE[:32]), int.from_bytes(SIGNATURE[32:])


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNATURE[:-1],
        SIGNATURE + b"\0",
        signature_of(R, P256_ORDER - S),
        signature_of(0, S),
        signature_of(R, 0),
        signature_of(P256_ORDER, S),
        signature_of(2**256 - 1, S),
        signature_of(R, P256_HALF_ORDER + 1),
        signature_of(R, P256_ORDER),
        signature_of(0, 0),
    ],
)
def test_signatures_in_another_form_are_refused(signature: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify(KEY_A.public_key, MESSAGE, signature)


def test_high_s_is_refused_although_it_verifies() -> None:
    """The same signature in its other form would make one record have two hashes."""
    key = primitives._load_public(KEY_A.public_key)
    high = encode_dss_signature(R, P256_ORDER - S)
    key.verify(high, MESSAGE, primitives._ECDSA)

    with pytest.raises(InvalidSignature):
        verify(KEY_A.public_key, MESSAGE, signature_of(R, P256_ORDER - S))


def test_another_message_or_key_is_refused() -> None:
    with pytest.raises(InvalidSignature):
        verify(KEY_A.public_key, MESSAGE + b"!", SIGNATURE)
    with pytest.raises(InvalidSignature):
        verify(KEY_B.public_key, MESSAGE, SIGNATURE)


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_verifying_anything_ends_in_a_crypto_error(key: bytes, signature: bytes) -> None:
    with pytest.raises(CryptoError):
        verify(key, MESSAGE, signature)


# HPKE


@settings(max_examples=25)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_is_sealed_to_a_key_opens_with_it(plaintext: bytes, info: bytes) -> None:
    sealed = hpke_seal(KEM_1.public_key, plaintext, info)

    assert len(sealed) == 65 + len(plaintext) + 16
    assert KEM_1.hpke_open(sealed, info) == plaintext


def test_another_key_or_info_does_not_open() -> None:
    with pytest.raises(DecryptionFailed):
        KEM_2.hpke_open(SEALED, b"info")
    with pytest.raises(DecryptionFailed):
        KEM_1.hpke_open(SEALED, b"other")


def test_every_flipped_byte_and_every_cut_of_a_sealed_key_is_refused() -> None:
    damaged = [flip(SEALED, 8 * at + at % 8) for at in range(len(SEALED))]
    damaged += [SEALED[:end] for end in range(len(SEALED))]
    damaged += [SEALED + b"\0", bytes(113), b"\x04" + bytes(112), b"\x00" * 65 + SEALED[65:]]

    for sealed in damaged:
        with pytest.raises(DecryptionFailed):
            KEM_1.hpke_open(sealed, b"info")


@settings(max_examples=50)
@given(st.binary(max_size=150))
def test_opening_anything_is_refused(sealed: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        KEM_1.hpke_open(sealed, b"info")


def test_a_scalar_comes_back() -> None:
    key = PrivateKey.generate()

    assert PrivateKey.from_scalar(key.scalar()).public_key == key.public_key
    assert len(PrivateKey.from_scalar((1).to_bytes(32)).scalar()) == 32


def test_what_is_no_certificate_has_no_life() -> None:
    for pem in (b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(InvalidKey):
            certificate_life(pem)
        with pytest.raises(InvalidKey):
            certificate_names(pem)
        with pytest.raises(InvalidKey):
            certificate_rsa_bits(pem)

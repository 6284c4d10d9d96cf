"""The only importer of the cryptography library: P-256, AES-256-GCM, HKDF, HPKE and the passphrase kdfs.

Suite 0x01 of PROTOCOL.md section 1. Refuses every public key that is not a compressed point and every signature
that is not low-S.
"""

from __future__ import annotations

import hmac as _hmac
from functools import lru_cache
from hashlib import pbkdf2_hmac, sha256 as _sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import (
    InvalidSignature as _LibraryInvalidSignature,
    InvalidTag,
    UnsupportedAlgorithm,
)
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from yzdht.errors import DecryptionFailed, InvalidKey, InvalidSignature
from yzdht.ids import SIGNATURE_BYTES, PublicKey, Signature, looks_compressed
from yzdht.limits import LOADED_KEYS_MAX


if TYPE_CHECKING:
    from cryptography import x509

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_HALF_ORDER = P256_ORDER // 2
KEY_BYTES = 32
IV_BYTES = 12
TAG_BYTES = 16

_CURVE = ec.SECP256R1()
_ECDSA = ec.ECDSA(hashes.SHA256())
_ECDSA_DETERMINISTIC = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_HPKE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return _sha256(data).digest()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return _hmac.digest(key, message, "sha256")


def is_equal(a: bytes, b: bytes) -> bool:
    """Compare in constant time."""
    return _hmac.compare_digest(a, b)


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(ikm)


class Aead:
    """AES-256-GCM under one key of 32 bytes; the caller owns the uniqueness of nonces."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return ciphertext‖tag."""
        return self._cipher.encrypt(nonce, plaintext, aad)

    def open(self, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Return the plaintext.

        Raises:
            DecryptionFailed: The ciphertext is not from this key, nonce and aad.

        """
        if len(ciphertext) < TAG_BYTES:
            raise DecryptionFailed("the ciphertext is too short")
        try:
            return self._cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise DecryptionFailed("the ciphertext was refused") from None


@lru_cache(maxsize=LOADED_KEYS_MAX)
def _load_public(public_key: bytes) -> ec.EllipticCurvePublicKey:
    return _load_once(public_key)


def _load_once(public_key: bytes) -> ec.EllipticCurvePublicKey:
    if not looks_compressed(public_key):
        raise InvalidKey("a public key is a compressed P-256 point of 33 bytes")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public_key)
    except ValueError:
        raise InvalidKey("a public key is not on the curve") from None


def _compress(key: ec.EllipticCurvePublicKey) -> PublicKey:
    return PublicKey(
        key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    )


def check_public_key(public_key: bytes) -> PublicKey:
    """Return the key if it is a compressed P-256 point.

    Raises:
        InvalidKey: It is anything else.

    """
    _load_public(public_key)
    return PublicKey(public_key)


def coordinates(public_key: bytes) -> bytes:
    """X ‖ Y of a compressed point, 64 bytes.

    Raises:
        InvalidKey: It is not a compressed P-256 point.

    """
    point = _load_public(public_key).public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return point[1:]


class PrivateKey:
    """One P-256 private key, for ECDSA or for ECDH and HPKE, never for both (PROTOCOL.md section 2)."""

    __slots__ = ("_key", "public_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = _compress(key.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a new key from the library's randomness."""
        return cls(ec.generate_private_key(_CURVE))

    @classmethod
    def from_scalar(cls, scalar: bytes) -> PrivateKey:
        """Build the key of a scalar of 32 bytes, 1 to n - 1: one that is derived, or a vector's."""
        return cls(ec.derive_private_key(int.from_bytes(scalar), _CURVE))

    @classmethod
    def from_pkcs8(cls, der: bytes) -> PrivateKey:
        """Load a DER PKCS8 key.

        Raises:
            InvalidKey: It is not an unencrypted P-256 key.

        """
        try:
            key = serialization.load_der_private_key(der, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidKey("a private key is damaged") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != _CURVE.name:
            raise InvalidKey("a private key is not a P-256 key")
        return cls(key)

    def to_pkcs8(self) -> bytes:
        """DER PKCS8, unencrypted."""
        return self._key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def scalar(self) -> bytes:
        """d, 32 bytes; only to derive other secrets from."""
        return self._key.private_numbers().private_value.to_bytes(KEY_BYTES)

    def sign(self, message: bytes, *, deterministic: bool = False) -> Signature:
        """ECDSA-SHA256 in IEEE P1363 form, low-S; deterministic (RFC 6979) only in vectors."""
        algorithm = _ECDSA_DETERMINISTIC if deterministic else _ECDSA
        r, s = decode_dss_signature(self._key.sign(message, algorithm))
        s = min(s, P256_ORDER - s)
        return Signature(r.to_bytes(32) + s.to_bytes(32))

    def exchange(self, public_key: bytes) -> bytes:
        """ECDH: the x-coordinate, 32 bytes; the other end's key is one that is used once.

        Raises:
            InvalidKey: `public_key` is not a compressed P-256 point.

        """
        return self._key.exchange(ec.ECDH(), _load_once(public_key))

    def hpke_open(self, sealed: bytes, info: bytes) -> bytes:
        """Open enc65 ‖ ciphertext (RFC 9180 base mode, empty aad).

        Raises:
            DecryptionFailed: It was not sealed to this key with this info.

        """
        try:
            return _HPKE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError):
            raise DecryptionFailed("the key was not wrapped for this reader") from None


def hpke_seal(public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal to a KEM key: enc65 ‖ ciphertext (RFC 9180 base mode, empty aad).

    Raises:
        InvalidKey: `public_key` is not a compressed P-256 point.

    """
    return _HPKE.encrypt(plaintext, _load_public(public_key), info=info)


def verify(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check an ECDSA-SHA256 signature in IEEE P1363 form.

    Raises:
        InvalidKey: `public_key` is not a compressed P-256 point.
        InvalidSignature: Wrong length, out of range, high-S, or it does not verify.

    """
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignature("the signature was refused")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if not (0 < r < P256_ORDER and 0 < s <= P256_HALF_ORDER):
        raise InvalidSignature("the signature was refused")
    try:
        _load_public(public_key).verify(encode_dss_signature(r, s), message, _ECDSA)
    except _LibraryInvalidSignature:
        raise InvalidSignature("the signature was refused") from None


def argon2id(passphrase: bytes, salt: bytes, m_kib: int, t: int, p: int) -> bytes:
    """Argon2id (RFC 9106), 32 bytes; the caller has checked the parameters."""
    return Argon2id(salt=salt, length=KEY_BYTES, iterations=t, lanes=p, memory_cost=m_kib).derive(passphrase)


def pbkdf2(passphrase: bytes, salt: bytes, iterations: int) -> bytes:
    """PBKDF2-HMAC-SHA256 (RFC 8018), 32 bytes; the caller has checked the iterations."""
    return pbkdf2_hmac("sha256", passphrase, salt, iterations, KEY_BYTES)


def certificate_life(pem: bytes) -> tuple[float, float]:
    """From when until when the first X.509 certificate of a PEM file is valid, unix.

    Raises:
        InvalidKey: There is none.

    """
    first = _first_certificate(pem)
    return first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()


def certificate_names(pem: bytes) -> tuple[str, ...]:
    """The host names that the first X.509 certificate of a PEM file is for; patterns such as `*.example` are none.

    Raises:
        InvalidKey: There is none, or what it says of names does not parse.

    """
    from cryptography import x509  # noqa: PLC0415 - as below

    try:
        names = _first_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except ValueError:
        raise InvalidKey("the names of this certificate do not parse") from None
    return tuple(name for name in names.get_values_for_type(x509.DNSName) if "*" not in name)


def certificate_rsa_bits(pem: bytes) -> int:
    """How long the RSA key of the first X.509 certificate of a PEM file is; 0 where its key is of another kind.

    Raises:
        InvalidKey: There is none.

    """
    first = _first_certificate(pem)
    try:
        key = first.public_key()
    except (ValueError, UnsupportedAlgorithm):  # a curve that this library does not know, for one
        return 0
    return key.key_size if isinstance(key, rsa.RSAPublicKey) else 0


def _first_certificate(pem: bytes) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - few processes have a certificate

    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise InvalidKey("this is no certificate") from None

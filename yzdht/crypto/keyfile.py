"""The bytes of a keyfile: an identity's secrets under a passphrase, or under none (PROTOCOL.md section 13).

Owns the container and the TLV inside; what a passphrase becomes is crypto/passphrase.py's. Refuses parameters out of
bounds before any work is done for them. The file itself, its mode and its folder are store/keyfile.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from yzdht.crypto.identity import STORAGE_SECRET_BYTES, IdentityKeys, KemKey
from yzdht.crypto.naming import kdf
from yzdht.crypto.passphrase import SALT_BYTES, Kdf, KdfParameters, passphrase_key
from yzdht.crypto.primitives import (
    IV_BYTES,
    KEY_BYTES,
    TAG_BYTES,
    Aead,
    PrivateKey,
    is_equal,
    sha256,
)
from yzdht.errors import DecryptionFailed, InvalidKey, UsageError, WireError, WrongPassphrase
from yzdht.limits import KEM_KEYS_KEPT_MAX, KEYFILE_BYTES_MAX
from yzdht.wire.codec import Reader


_MAGIC = b"YZK1"
_COMMIT_BYTES = 32
# The one PKCS8 form of a P-256 key with its public point: scalar and point follow _PKCS8_START and _PKCS8_MIDDLE.
_PKCS8_START = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_PKCS8_MIDDLE = bytes.fromhex("a14403420004")
_PKCS8_BYTES = len(_PKCS8_START) + KEY_BYTES + len(_PKCS8_MIDDLE) + 2 * KEY_BYTES


class _Field(IntEnum):
    """TLV types of the content."""

    SIGNING = 1
    KEM = 2
    STORAGE_SECRET = 3


class _Parsed(NamedTuple):
    """A keyfile taken apart."""

    header: bytes
    parameters: KdfParameters
    salt: bytes
    commit: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, repr=False)
class _BoxKey:
    aead: Aead
    iv: bytes
    commit: bytes


def seal_keyfile(content: bytes, passphrase: str, parameters: KdfParameters, salt: bytes) -> bytes:
    """Build a keyfile (PROTOCOL.md section 13).

    Args:
        content: What to seal, as `encode_identity` makes it.
        passphrase: Brought to NFC, nothing else; empty with NO_KDF and only then.
        parameters: The kdf and its cost.
        salt: 16 fresh random bytes, for NO_KDF too.

    Raises:
        UsageError: An argument is not as said, or the file would exceed KEYFILE_BYTES_MAX.

    """
    if not parameters.is_allowed():
        raise UsageError("the parameters of the passphrase kdf are out of bounds")
    if len(salt) != SALT_BYTES:
        raise UsageError("the salt of a keyfile has 16 bytes")
    if parameters.kdf is Kdf.NONE and passphrase:
        raise UsageError("a keyfile without a kdf cannot have a passphrase")
    header = b"".join(
        (
            _MAGIC,
            bytes((parameters.kdf,)),
            parameters.m_kib.to_bytes(4),
            bytes((parameters.t, parameters.p)),
            salt,
        )
    )
    if len(header) + _COMMIT_BYTES + len(content) + TAG_BYTES > KEYFILE_BYTES_MAX:
        raise UsageError("the content is too long for a keyfile")
    box = _box_key(passphrase_key(passphrase, parameters, salt), salt, header)
    return header + box.commit + box.aead.seal(box.iv, content, header)


def open_keyfile(data: bytes, passphrase: str) -> bytes:
    """Return the content of a keyfile (PROTOCOL.md section 13).

    Args:
        data: The whole file.
        passphrase: Not looked at when the file has no kdf (see `needs_passphrase`).

    Raises:
        WireError: It is not a keyfile, or its parameters are out of bounds.
        WrongPassphrase: It does not open with this passphrase, or it is damaged: the two look the same.
        DecryptionFailed: It needs no passphrase and is damaged.
        UsageError: It needs a passphrase, and this one is empty, too long or not valid Unicode.

    """
    parsed = _parse(data)
    key = passphrase_key(passphrase, parsed.parameters, parsed.salt)
    box = _box_key(key, parsed.salt, parsed.header)
    if is_equal(box.commit, parsed.commit):
        try:
            return box.aead.open(box.iv, parsed.sealed, parsed.header)
        except DecryptionFailed:
            pass  # refused below, exactly as a wrong commitment is
    if parsed.parameters.kdf is Kdf.NONE:
        raise DecryptionFailed("the keyfile is damaged", hint="restore it from a copy")
    raise WrongPassphrase("the passphrase does not open this keyfile")


def needs_passphrase(data: bytes) -> bool:
    """Tell whether a keyfile is under a passphrase.

    Raises:
        WireError: It is not a keyfile, or its parameters are out of bounds.

    """
    return _parse(data).parameters.kdf is not Kdf.NONE


def _parse(data: bytes) -> _Parsed:
    if len(data) > KEYFILE_BYTES_MAX:
        raise WireError("a keyfile is too long")
    reader = Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise WireError("this is not a keyfile")
    try:
        which = Kdf(reader.u8())
    except ValueError:
        raise WireError("a keyfile has an unknown kdf") from None
    parameters = KdfParameters(which, reader.u32(), reader.u8(), reader.u8())
    if not parameters.is_allowed():
        raise WireError("a keyfile asks for a kdf cost out of bounds")
    salt = reader.take(SALT_BYTES)
    header = data[: reader.offset]
    commit = reader.take(_COMMIT_BYTES)
    if reader.remaining < TAG_BYTES:
        raise WireError("a keyfile ends too early")
    return _Parsed(header, parameters, salt, commit, reader.rest())


def _box_key(key: bytes, salt: bytes, header: bytes) -> _BoxKey:
    raw = kdf(key, salt, "yz1 keyfile", sha256(header), KEY_BYTES + IV_BYTES + _COMMIT_BYTES)
    return _BoxKey(Aead(raw[:KEY_BYTES]), raw[KEY_BYTES : KEY_BYTES + IV_BYTES], raw[KEY_BYTES + IV_BYTES :])


def encode_identity(identity: IdentityKeys) -> bytes:
    """Build the TLV of an identity: its signing key, its KEM keys newest first, its storage secret."""
    fields = [(_Field.SIGNING, identity.signing.to_pkcs8())]
    fields += [(_Field.KEM, kem.not_after.to_bytes(4) + kem.key.to_pkcs8()) for kem in identity.kem]
    fields.append((_Field.STORAGE_SECRET, identity.storage_secret))
    return b"".join(bytes((tag,)) + len(body).to_bytes(2) + body for tag, body in fields)


def decode_identity(tlv: bytes) -> IdentityKeys:
    """Take apart the TLV of an identity; KEM keys in any order are brought to newest first.

    Raises:
        WireError: Unknown or descending types, types 1 and 3 not exactly once, more than KEM_KEYS_KEPT_MAX KEM
            keys, or a length that does not fit.
        InvalidKey: A private key is not a P-256 key as PKCS8, 138 bytes with its public point.

    """
    bodies: dict[_Field, list[bytes]] = {tag: [] for tag in _Field}
    reader = Reader(tlv)
    last = _Field.SIGNING
    while reader.remaining:
        try:
            tag = _Field(reader.u8())
        except ValueError:
            raise WireError("an identity has an unknown field") from None
        if tag < last:
            raise WireError("the fields of an identity are out of order")
        bodies[tag].append(reader.take(reader.u16()))
        last = tag
    signing, kems, secrets = (bodies[tag] for tag in _Field)
    if len(signing) != 1 or len(secrets) != 1 or len(kems) > KEM_KEYS_KEPT_MAX:
        raise WireError("an identity has one signing key, one storage secret and few KEM keys")
    if len(secrets[0]) != STORAGE_SECRET_BYTES:
        raise WireError("a storage secret has 32 bytes")
    decoded = sorted((_decode_kem(body) for body in kems), key=lambda kem: kem.not_after, reverse=True)
    return IdentityKeys(_decode_private_key(signing[0]), tuple(decoded), secrets[0])


def _decode_kem(body: bytes) -> KemKey:
    reader = Reader(body)
    not_after = reader.u32()
    return KemKey(_decode_private_key(reader.rest()), not_after)


def _decode_private_key(der: bytes) -> PrivateKey:
    """Load a key in the form that this library and every WebCrypto write.

    The form is compared first: a foreign algorithm would leave the loader as an error of the crypto library, which
    is not one of ours.
    """
    middle = len(_PKCS8_START) + KEY_BYTES
    if (
        len(der) != _PKCS8_BYTES
        or not der.startswith(_PKCS8_START)
        or not der.startswith(_PKCS8_MIDDLE, middle)
    ):
        raise InvalidKey("a private key is not a P-256 key in PKCS8 form")
    return PrivateKey.from_pkcs8(der)

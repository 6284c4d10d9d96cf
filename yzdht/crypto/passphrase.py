"""What a passphrase becomes: the kdfs, the bounds of their cost, and phrases made by us (PROTOCOL.md section 13)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from yzdht.crypto.primitives import KEY_BYTES, argon2id, pbkdf2
from yzdht.errors import UsageError
from yzdht.limits import (
    ARGON2_M_KIB_MAX,
    ARGON2_M_KIB_MIN,
    ARGON2_P_MAX,
    ARGON2_T_MAX,
    PASSPHRASE_BYTES_MAX,
    PBKDF2_ITERATIONS_MAX,
    PBKDF2_ITERATIONS_MIN,
)


if TYPE_CHECKING:
    from yzdht.ports import Rng


SALT_BYTES = 16

_PHRASE_BYTES = 10
_PHRASE_SYMBOLS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case


class Kdf(IntEnum):
    """How a passphrase becomes a key."""

    NONE = 0
    ARGON2ID = 1
    PBKDF2 = 2


@dataclass(frozen=True, slots=True)
class KdfParameters:
    """Cost of a passphrase kdf.

    Attributes:
        kdf: Which one.
        m_kib: Argon2id: KiB of memory; PBKDF2: iterations; none: 0.
        t: Argon2id: passes; else 0.
        p: Argon2id: lanes; else 0.

    """

    kdf: Kdf
    m_kib: int
    t: int
    p: int

    def is_allowed(self) -> bool:
        """True within the bounds of section 13."""
        match self.kdf:
            case Kdf.NONE:
                return self.m_kib == self.t == self.p == 0
            case Kdf.ARGON2ID:
                return (
                    ARGON2_M_KIB_MIN <= self.m_kib <= ARGON2_M_KIB_MAX
                    and 1 <= self.t <= ARGON2_T_MAX
                    and 1 <= self.p <= ARGON2_P_MAX
                )
            case Kdf.PBKDF2:
                return PBKDF2_ITERATIONS_MIN <= self.m_kib <= PBKDF2_ITERATIONS_MAX and self.t == self.p == 0


NO_KDF = KdfParameters(Kdf.NONE, 0, 0, 0)
ARGON2_DEFAULT = KdfParameters(Kdf.ARGON2ID, 64 * 1_024, 3, 4)
PBKDF2_DEFAULT = KdfParameters(Kdf.PBKDF2, 600_000, 0, 0)


def passphrase_key(passphrase: str, parameters: KdfParameters, salt: bytes) -> bytes:
    """The key that a passphrase becomes, 32 bytes; takes a good part of a second and what memory `parameters` say.

    Args:
        passphrase: Brought to NFC, nothing else; not looked at without a kdf.
        parameters: Checked by the caller (`is_allowed`).
        salt: 16 random bytes.

    Raises:
        UsageError: The passphrase is empty, too long or not valid Unicode.

    """
    match parameters.kdf:
        case Kdf.NONE:
            return bytes(KEY_BYTES)
        case Kdf.ARGON2ID:
            raw = _passphrase_bytes(passphrase)
            return argon2id(raw, salt, parameters.m_kib, parameters.t, parameters.p)
        case Kdf.PBKDF2:
            return pbkdf2(_passphrase_bytes(passphrase), salt, parameters.m_kib)


def _passphrase_bytes(passphrase: str) -> bytes:
    """UTF-8 of the NFC form: keyboards differ in how they compose an accent, people do not."""
    if not passphrase:
        raise UsageError("the passphrase is empty")
    if len(passphrase) > PASSPHRASE_BYTES_MAX:
        raise UsageError(f"a passphrase has at most {PASSPHRASE_BYTES_MAX:,} bytes of UTF-8")
    try:
        raw = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise UsageError("a passphrase must be valid Unicode") from None
    if len(raw) > PASSPHRASE_BYTES_MAX:
        raise UsageError(f"a passphrase has at most {PASSPHRASE_BYTES_MAX:,} bytes of UTF-8")
    return raw


def generate_phrase(rng: Rng) -> str:
    """Make a passphrase of 80 random bits: `xxxx-xxxx-xxxx-xxxx`, lower-case Crockford base32.

    It is used as it is typed, hyphens included: nothing but NFC is applied to a passphrase.
    """
    number = int.from_bytes(rng.token(_PHRASE_BYTES))
    symbols = "".join(_PHRASE_SYMBOLS[number >> shift & 31] for shift in range(75, -1, -5))
    return "-".join(symbols[at : at + 4] for at in range(0, len(symbols), 4))

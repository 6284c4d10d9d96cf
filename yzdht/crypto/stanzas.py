"""Stanzas: the content key of a record, wrapped for each of its readers and found again by trial (PROTOCOL.md section 8).

Owns what stands before the box in a record with readers 2. Nothing in it names a reader, and stanzas of one kind stand in
an order that says nothing: that of their bytes, which are random. Refuses a passphrase without a kdf. Whose key
is whose, and whether it may still be used, is judged above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from yzdht.crypto.naming import kdf
from yzdht.crypto.passphrase import SALT_BYTES as PASSPHRASE_SALT_BYTES, Kdf, KdfParameters
from yzdht.crypto.primitives import IV_BYTES, KEY_BYTES, Aead, hpke_seal, sha256
from yzdht.errors import (
    DecryptionFailed,
    NotAReader,
    PassphraseNeeded,
    UsageError,
    WireError,
    WrongPassphrase,
)
from yzdht.limits import STANZAS_MAX
from yzdht.wire.codec import Reader, lp
from yzdht.wire.record import STANZA_BODY_BYTES, STANZA_HPKE, STANZA_PASSPHRASE, STANZA_SELF, split_stanzas


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.ids import PublicKey
    from yzdht.wire.record import Record


CEK_BYTES = KEY_BYTES
_IV_ZERO: Final = bytes(IV_BYTES)  # every wrapping key is used once


@dataclass(frozen=True, slots=True)
class Named:
    """Readers by their KEM keys.

    Attributes:
        kem: Their keys, 33 bytes each; in any order.
        cek: 32 random bytes, fresh for every sealing.
        has_self: True if the publisher's own devices read it too; then there is one stanza more.

    """

    kem: tuple[PublicKey, ...]
    cek: bytes = field(repr=False)
    has_self: bool = True


@dataclass(frozen=True, slots=True)
class Locked:
    """Whoever knows a passphrase.

    Attributes:
        key: What the passphrase became, 32 bytes (`passphrase_key`).
        parameters: By which kdf.
        salt: And with which 16 bytes; fresh for every sealing.
        cek: 32 random bytes, fresh for every sealing.

    """

    key: bytes = field(repr=False)
    parameters: KdfParameters
    salt: bytes
    cek: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PassphraseStanza:
    """What has to be known to make a key of a reader's passphrase.

    Attributes:
        parameters: The kdf and its cost, within the bounds of section 13.
        salt: 16 bytes.
        wrapped: The content key under that key, 48 bytes.

    """

    parameters: KdfParameters
    salt: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class WrapContext:
    """What a wrapped key is bound to, so that no stanza opens in another record.

    Attributes:
        fixed: F.
        salt: salt24.

    """

    fixed: bytes
    salt: bytes

    def key(self, ikm: bytes, label: str) -> Aead:
        """The cipher that wraps a content key under a key that is known already."""
        return Aead(kdf(ikm, self.salt, label, sha256(self.fixed), KEY_BYTES))

    @property
    def hpke_info(self) -> bytes:
        """The info of HPKE."""
        return lp("yz1 wrap hpke") + sha256(self.fixed) + self.salt


# Writing


def encode_named(readers: Named, context: WrapContext, self_key: bytes) -> bytes:
    """Build `n ‖ stanzas` for named readers.

    Raises:
        UsageError: There are none, or more than a record can carry.
        InvalidKey: A key is not a compressed P-256 point.

    """
    assert len(readers.cek) == CEK_BYTES
    count = len(readers.kem) + readers.has_self
    if not 1 <= count <= STANZAS_MAX:
        raise UsageError(f"a record has 1 to {STANZAS_MAX} stanzas, not {count}", hint="use a group")
    bodies = sorted(hpke_seal(key, readers.cek, context.hpke_info) for key in readers.kem)
    stanzas = [_stanza(STANZA_HPKE, body) for body in bodies]
    if readers.has_self:
        wrapped = context.key(self_key, "yz1 wrap self").seal(_IV_ZERO, readers.cek)
        stanzas.append(_stanza(STANZA_SELF, wrapped))
    return bytes((count,)) + b"".join(stanzas)


def encode_locked(readers: Locked, context: WrapContext) -> bytes:
    """Build `n ‖ stanza` for whoever knows a passphrase.

    Raises:
        UsageError: There is no kdf, or its cost is out of bounds.

    """
    assert len(readers.cek) == CEK_BYTES
    assert len(readers.salt) == PASSPHRASE_SALT_BYTES
    parameters = readers.parameters
    if parameters.kdf is Kdf.NONE or not parameters.is_allowed():
        raise UsageError("the cost of the passphrase kdf is out of bounds")
    wrapped = context.key(readers.key, "yz1 wrap pass").seal(_IV_ZERO, readers.cek)
    cost = bytes((parameters.kdf,)) + parameters.m_kib.to_bytes(4) + bytes((parameters.t, parameters.p))
    return b"\x01" + _stanza(STANZA_PASSPHRASE, cost + readers.salt + wrapped)


def _stanza(kind: int, body: bytes) -> bytes:
    assert len(body) == STANZA_BODY_BYTES[kind]
    return bytes((kind,)) + len(body).to_bytes(2) + body


# Reading


def passphrase_stanza(record: Record) -> PassphraseStanza | None:
    """What a reader's passphrase has to be tried with; None for a record that is not under one.

    Raises:
        WireError: The kdf is unknown, none, or its cost out of bounds: nothing may be done for it.

    """
    [(kind, body), *_] = split_stanzas(record.header)
    if kind != STANZA_PASSPHRASE:
        return None
    reader = Reader(body)
    try:
        which = Kdf(reader.u8())
    except ValueError:
        raise WireError("a passphrase stanza has an unknown kdf") from None
    parameters = KdfParameters(which, reader.u32(), reader.u8(), reader.u8())
    if which is Kdf.NONE or not parameters.is_allowed():
        raise WireError("a passphrase stanza asks for a kdf cost out of bounds")
    return PassphraseStanza(parameters, reader.take(PASSPHRASE_SALT_BYTES), reader.rest())


def unlock(record: Record, stanza: PassphraseStanza, key: bytes | None) -> bytes:
    """The content key of a record under a passphrase.

    Args:
        record: Whose stanza it is.
        stanza: As `passphrase_stanza` returned it.
        key: What the reader's passphrase became; None without one.

    Raises:
        PassphraseNeeded: There is none.
        WrongPassphrase: It is another one.

    """
    if key is None:
        raise PassphraseNeeded("the record is sealed under a passphrase")
    wrapping = WrapContext(record.fixed, record.salt).key(key, "yz1 wrap pass")
    cek = _try(wrapping, stanza.wrapped)
    if cek is None:
        raise WrongPassphrase("the passphrase does not open this value", hint="try the passphrase again")
    return cek


def find_content_key(record: Record, self_key: bytes | None, kem: tuple[PrivateKey, ...]) -> bytes:
    """The content key that one of the stanzas wraps for this reader.

    Args:
        record: With stanzas that are not under a passphrase.
        self_key: K_self; None without a storage secret.
        kem: The reader's KEM keys, the likeliest first.

    Raises:
        NotAReader: No stanza opens.

    """
    context = WrapContext(record.fixed, record.salt)
    stanzas = split_stanzas(record.header)
    if self_key is not None:
        wrapping = context.key(self_key, "yz1 wrap self")
        for kind, body in stanzas:
            if kind == STANZA_SELF and (cek := _try(wrapping, body)) is not None:
                return cek
    info = context.hpke_info
    bodies = [body for kind, body in stanzas if kind == STANZA_HPKE]
    for key in kem:  # nearly always the first: a sender takes the newest key
        for body in bodies:
            try:
                return key.hpke_open(body, info)
            except DecryptionFailed:
                continue
    raise NotAReader("the record is sealed for others")


def _try(wrapping: Aead, body: bytes) -> bytes | None:
    try:
        return wrapping.open(_IV_ZERO, body)
    except DecryptionFailed:
        return None

"""Invite tokens and what redeems them: bytes to fields and back (PROTOCOL.md section 12).

Owns the layout only: it verifies no signature, knows no secret and reads no clock. Refuses every version, type, suite,
flag, role and length that section 12 does not name; keys are checked to look compressed, not to be on the curve.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from yzdht.errors import UsageError, WireError
from yzdht.ids import (
    ID_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    PublicKey,
    Signature,
    TokenId,
    looks_compressed,
)


TOKEN_BYTES = 176
TOKEN_ID_BYTES = 16
SCOPE_BYTES = 16
SECRET_BYTES = 16
SUBJECT_BYTES = ID_BYTES
REDEMPTION_BYTES = TOKEN_BYTES + SECRET_BYTES + PUBLIC_KEY_BYTES
NO_SCOPE = bytes(SCOPE_BYTES)
NO_SECRET = bytes(SECRET_BYTES)

ROLE_MEMBER = 0
ROLE_ADMIN = 1

_UNSIGNED_YET = Signature(b"")
_VERSION = 0xFB
_SUITE = 0x01
_BEARER = 0x01
_SINGLE_USE = 0x02
_UNSIGNED = struct.Struct(f">BBBB{PUBLIC_KEY_BYTES}s{SUBJECT_BYTES}s{SCOPE_BYTES}sIIHB{TOKEN_ID_BYTES}s")


class TokenType(IntEnum):
    """What a token admits to."""

    NETWORK = 1
    GROUP = 2
    MAILBOX = 3
    DEVICE = 4


_TYPES = {kind.value: kind for kind in TokenType}


@dataclass(frozen=True, slots=True)
class Token:
    """One token that parses; neither its signature nor its times are checked.

    Attributes:
        type: What it admits to.
        is_bearer: Whoever holds the secret may redeem it.
        is_single_use: True only with `uses_max` 1.
        issuer: Who signed it, 33 bytes.
        subject: Node id of the invitee, or the hash of the secret of a bearer token; 32 bytes.
        scope: The group's id, 16 bytes; zeros for a network.
        not_before: Unix seconds.
        not_after: Unix seconds.
        uses_max: Identities that may redeem it, 0 to 65,535; 0 for one that is shown and not redeemed.
        role: ROLE_MEMBER or ROLE_ADMIN; member for a network.
        id: 16 bytes.
        signature: 64 bytes; empty while it is being made.

    """

    type: TokenType
    is_bearer: bool
    is_single_use: bool
    issuer: PublicKey
    subject: bytes
    scope: bytes
    not_before: int
    not_after: int
    uses_max: int
    role: int
    id: TokenId
    signature: Signature = _UNSIGNED_YET

    @property
    def unsigned(self) -> bytes:
        """The 112 bytes that the signature covers.

        Raises:
            UsageError: A number is out of range.

        """
        flags = (_BEARER if self.is_bearer else 0) | (_SINGLE_USE if self.is_single_use else 0)
        head = (_VERSION, self.type, _SUITE, flags, self.issuer, self.subject, self.scope)
        try:
            return _UNSIGNED.pack(*head, self.not_before, self.not_after, self.uses_max, self.role, self.id)
        except struct.error:
            raise UsageError("an invite's times are 32-bit seconds, and its uses at most 65,535") from None


def encode_token(token: Token) -> bytes:
    """176 bytes.

    Raises:
        UsageError: A number is out of range, or the fields contradict each other.

    """
    raw = token.unsigned + token.signature
    try:
        _check(token)
    except WireError as error:
        raise UsageError(str(error)) from None
    assert len(raw) == TOKEN_BYTES, "keys, ids and the signature have their lengths"
    return raw


def decode_token(raw: bytes) -> Token:
    """Parse one token; the point is not checked to be on the curve.

    Raises:
        WireError: It is not 176 bytes of section 12.

    """
    if len(raw) != TOKEN_BYTES:
        raise WireError("an invite has 176 bytes")
    version, kind, suite, flags, issuer, subject, scope, *numbers, token_id = _UNSIGNED.unpack_from(raw)
    if version != _VERSION or suite != _SUITE or kind not in _TYPES:
        raise WireError("not an invite of this version")
    if flags & ~(_BEARER | _SINGLE_USE):
        raise WireError("an invite has unknown flags")
    not_before, not_after, uses_max, role = numbers
    token = Token(
        type=_TYPES[kind],
        is_bearer=bool(flags & _BEARER),
        is_single_use=bool(flags & _SINGLE_USE),
        issuer=issuer,
        subject=subject,
        scope=scope,
        not_before=not_before,
        not_after=not_after,
        uses_max=uses_max,
        role=role,
        id=token_id,
        signature=Signature(raw[-SIGNATURE_BYTES:]),
    )
    _check(token)
    return token


def _check(token: Token) -> None:
    if not looks_compressed(token.issuer):
        raise WireError("an invite's issuer is a compressed point")
    if token.is_single_use and token.uses_max != 1:
        raise WireError("an invite for a single use has one use")
    if token.role > ROLE_ADMIN:
        raise WireError("an invite's role is unknown")
    if token.type is TokenType.NETWORK and (token.scope != NO_SCOPE or token.role != ROLE_MEMBER):
        raise WireError("an invite to a network has no scope and no role")


@dataclass(frozen=True, slots=True)
class Redemption:
    """What a joiner hands to the issuer.

    Attributes:
        token: The token of the link.
        secret: The secret of the link, 16 bytes; zeros for a token that names its invitee.
        kem: The KEM key to which the joiner wants to be sealed to, 33 bytes; not checked to be on the curve.

    """

    token: Token
    secret: bytes = field(repr=False)
    kem: PublicKey


def encode_redemption(redemption: Redemption) -> bytes:
    """225 bytes: token ‖ secret16 ‖ kem33."""
    assert len(redemption.secret) == SECRET_BYTES
    assert len(redemption.kem) == PUBLIC_KEY_BYTES
    return encode_token(redemption.token) + redemption.secret + redemption.kem


def decode_redemption(raw: bytes) -> Redemption:
    """Parse one redemption.

    Raises:
        WireError: It is not 225 bytes of section 12, or a token that names its invitee comes with a secret.

    """
    if len(raw) != REDEMPTION_BYTES:
        raise WireError("a redemption has 225 bytes")
    token = decode_token(raw[:TOKEN_BYTES])
    secret, kem = raw[TOKEN_BYTES:-PUBLIC_KEY_BYTES], PublicKey(raw[-PUBLIC_KEY_BYTES:])
    if not looks_compressed(kem):
        raise WireError("a redemption's key is a compressed point")
    if not token.is_bearer and secret != NO_SECRET:
        raise WireError("an invite that names its invitee has no secret")
    return Redemption(token, secret, kem)

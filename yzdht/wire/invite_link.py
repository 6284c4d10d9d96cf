"""The link that invites: `<base>#t=<token>&s=<secret>` (PROTOCOL.md section 12).

What counts stands behind the `#`, which no browser sends to a web server. A web page reads the same text from its own
address; `yz join` takes the whole link or the part from `#` on. Refuses every other spelling, so that two texts never
name one invite, and parameters that it does not know, since they could change what is asked for.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field

from yzdht.errors import BadInviteLink, UsageError, WireError
from yzdht.limits import INVITE_LINK_CHARS_MAX, URL_BYTES_MAX
from yzdht.wire.token import SECRET_BYTES, Token, decode_token, encode_token


INVITE_LINK_BASE = "yz-invite:"
"""No web address: who clicks on a link must not be led to a host that nobody of this network runs, and be it one that
does not exist. Who has a page for joining names it, and the link leads there."""

_TOKEN_CHARS = 235
_SECRET_CHARS = 22
_BASE = re.compile(rf"(?:yz-invite:|https?://[A-Za-z0-9._~:/%\[\]-]{{1,{URL_BYTES_MAX}}})?")
_FRAGMENT = re.compile(r"t=([^&]*)(?:&s=([^&]*))?")
_FRAGMENT_CUT = re.compile(r"t=[^&]*&s?")
_VALUE = re.compile(r"[A-Za-z0-9_-]*")
_UNKNOWN = "the link has a part that this version does not know"
_CUT_HINT = "copy the whole line, and put it in quotes: a shell ends a word at the & inside it"


@dataclass(frozen=True, slots=True)
class InviteLink:
    """What a link carries.

    Attributes:
        token: The token; neither its signature nor its times are checked.
        secret: 16 bytes of a bearer token, else None.

    """

    token: Token
    secret: bytes | None = field(repr=False)


def encode_invite_link(token: Token, secret: bytes | None, base: str = INVITE_LINK_BASE) -> str:
    """Write one link.

    Args:
        token: A signed token.
        secret: 16 bytes of a bearer token, None of one that names its invitee.
        base: What stands before the `#`: INVITE_LINK_BASE, the address of a page, or nothing for the fragment alone.

    Raises:
        UsageError: The base has a `#`, a `?` or is no web address; the secret does not go with the token.

    """
    if not _BASE.fullmatch(base):
        raise UsageError(
            "an invite's base is an http or https address without ? and #", hint="leave it out, or shorten it"
        )
    if (secret is not None) != token.is_bearer:
        raise UsageError("a bearer invite has a secret, and one that names its invitee has none")
    assert secret is None or len(secret) == SECRET_BYTES
    tail = "" if secret is None else f"&s={_encode(secret)}"
    return f"{base}#t={_encode(encode_token(token))}{tail}"


def decode_invite_link(text: str) -> InviteLink:
    """Parse a link, or its part from `#` on; the token's signature is not checked.

    Raises:
        BadInviteLink: It is anything else; the hint says what may have happened.

    """
    if len(text) > INVITE_LINK_CHARS_MAX:
        raise BadInviteLink("an invite link is not that long")
    base, mark, fragment = text.partition("#")
    if not mark or not _BASE.fullmatch(base) or not fragment.startswith("t="):
        raise BadInviteLink("this is not an invite link")
    match = _FRAGMENT.fullmatch(fragment)
    if match is None:
        raise _cut() if _FRAGMENT_CUT.fullmatch(fragment) else BadInviteLink(_UNKNOWN)
    raw = _decode(match[1], _TOKEN_CHARS)
    secret = None if match[2] is None else _decode(match[2], _SECRET_CHARS)
    try:
        token = decode_token(raw)
    except WireError as error:
        raise BadInviteLink(f"the link is damaged: {error}") from None
    if token.is_bearer and secret is None:
        raise _cut()
    if not token.is_bearer and secret is not None:
        raise BadInviteLink("the link has a secret, and its invite asks for none")
    return InviteLink(token, secret)


def _cut() -> BadInviteLink:
    return BadInviteLink("the link is cut short", hint=_CUT_HINT)


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str, chars: int) -> bytes:
    if not _VALUE.fullmatch(text) or len(text) > chars:
        raise BadInviteLink("an invite link has characters that do not belong to it")
    if len(text) < chars:
        raise _cut()
    raw = urlsafe_b64decode(text + "=" * (-chars % 4))
    if _encode(raw) != text:
        raise BadInviteLink("the link is damaged")
    return raw

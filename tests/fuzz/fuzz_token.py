"""Invite tokens, redemptions, links and lists of revocations (PROTOCOL.md section 12)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEM_1, PROTOCOL
from yzdht.errors import BadInviteLink, WireError
from yzdht.ids import TokenId
from yzdht.wire.invite_link import decode_invite_link, encode_invite_link
from yzdht.wire.revocation import decode_revoked, encode_revoked
from yzdht.wire.token import decode_redemption, decode_token, encode_redemption, encode_token


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.wire.token.decode_token",
    "yzdht.wire.token.decode_redemption",
    "yzdht.wire.invite_link.decode_invite_link",
    "yzdht.wire.invite_link._decode",
    "yzdht.wire.revocation.decode_revoked",
)


def seeds() -> Iterator[bytes]:
    token = bytes.fromhex(PROTOCOL["invite"]["token"])
    secret = bytes.fromhex(PROTOCOL["invite"]["secret16"])
    yield token
    yield token + secret + KEM_1.public_key
    yield encode_invite_link(decode_token(token), secret).encode()
    yield encode_invite_link(decode_token(token), secret, "https://join.example/").encode()
    yield encode_revoked([TokenId(bytes((number,)) * 16) for number in range(40)])


def one(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert encode_token(decode_token(data)) == data
    with contextlib.suppress(WireError):
        assert encode_redemption(decode_redemption(data)) == data
    with contextlib.suppress(WireError):
        assert encode_revoked(decode_revoked(data)) == data
    text = data.decode(errors="replace")
    with contextlib.suppress(BadInviteLink):
        link = decode_invite_link(text)
        assert encode_invite_link(link.token, link.secret, text.partition("#")[0]) == text


if __name__ == "__main__":
    run(one, seeds())

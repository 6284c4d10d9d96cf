"""Sections of project-v1.json for invites and moves (PROTOCOL.md sections 12 and 13); `make.py` writes the file."""

from __future__ import annotations

from typing import Any

from tests.vectors.golden import CREATED, EXPIRES, KEM_2, KEY_A, KEY_B, NETWORK, PROTOCOL, SELF_KEY_A
from yzdht.crypto.invite import Bearer, Named, Terms, issue, issue_membership
from yzdht.crypto.moving import REVOCATION_SEQ, Revoked, consent, encode_move, sign_move
from yzdht.crypto.naming import mutable_target, node_id_of, redeem_tag, revoked_tag
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.crypto.signing import KeySigner
from yzdht.ids import TokenId
from yzdht.wire.invite_link import decode_invite_link, encode_invite_link
from yzdht.wire.revocation import encode_revoked
from yzdht.wire.slot import Kind
from yzdht.wire.token import (
    NO_SECRET,
    Redemption,
    Token,
    TokenType,
    decode_token,
    encode_redemption,
    encode_token,
)


A, B = KeySigner(KEY_A, deterministic=True), KeySigner(KEY_B, deterministic=True)
AUTHOR = Author(A, SELF_KEY_A, NETWORK)
NODE_ID_B = node_id_of(KEY_B.public_key)
GOLDEN = decode_token(bytes.fromhex(PROTOCOL["invite"]["token"]))
SECRET = bytes.fromhex(PROTOCOL["invite"]["secret16"])
BASE = "https://join.example/"


def _token(token: Token, secret: bytes | None = None) -> dict[str, str]:
    raw = encode_token(token).hex()
    if not token.uses_max:
        return {"token": raw}
    redemption = encode_redemption(Redemption(token, secret or NO_SECRET, KEM_2.public_key))
    return {"token": raw, "link": encode_invite_link(token, secret), "redemption": redemption.hex()}


def _refused_links() -> dict[str, str]:
    link = encode_invite_link(GOLDEN, SECRET)
    head, _, tail = link.partition("&")
    named = encode_invite_link(_named(), None)
    return {
        "cut at the and": head,
        "cut behind the and": f"{head}&",
        "cut in the token": head[:-1] + "&" + tail,
        "cut in the secret": link[:-1],
        "a character more": link + "A",
        "a blank": link + " ",
        "stray bits of the token": head[:-1] + "x&" + tail,
        "stray bits of the secret": link[:-1] + "h",
        "padding": link + "==",
        "an unknown part": link + "&x=1",
        "the other order": f"yz-invite:#{tail}&{head.partition('#')[2]}",
        "a secret that nobody asks for": f"{named}&{tail}",
        "no mark": link.replace("#", ""),
        "a question in the base": "https://join.example/?x" + link.removeprefix("yz-invite:"),
        "another scheme": link.replace("yz-invite:", "javascript:"),
    }


def _named() -> Token:
    terms = Terms(TokenType.GROUP, CREATED, EXPIRES, 1, GOLDEN.scope, 1)
    return issue(A, NETWORK, terms, TokenId(b"named to B by A."), Named(NODE_ID_B))


def invite_section() -> dict[str, Any]:
    """Tokens of each form with their links and redemptions, and links that are refused."""
    open_terms = Terms(TokenType.NETWORK, CREATED, EXPIRES, 1)
    network = issue(A, NETWORK, open_terms, TokenId(b"A's own network."), Bearer(SECRET))
    member = issue_membership(A, NETWORK, network.id, NODE_ID_B, (CREATED, EXPIRES))
    page = encode_invite_link(GOLDEN, SECRET, BASE)
    assert decode_invite_link(page).secret == SECRET
    return {
        "comment": "section 12; issuer A, secret16 and times as the protocol's invite; redeemed by B with the KEM key kem_2",
        "golden": _token(GOLDEN, SECRET)
        | {"page_link": page, "redeem_tag": redeem_tag(NETWORK, GOLDEN.id).hex()},
        "named": _token(_named()),
        "network": _token(network, SECRET),
        "membership": _token(member) | {"id": member.id.hex()},
        "links_refused": _refused_links(),
    }


def revoked_section() -> dict[str, Any]:
    """A list of revocations in its record."""
    ids = [TokenId(bytes((number,)) * 16) for number in (200, 3, 7)]
    payload, tag = encode_revoked(ids), revoked_tag(NETWORK)
    draft = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 12, tag)
    return {
        "comment": "section 12; three memberships that A took back, in the order in which it did",
        "ids": [token_id.hex() for token_id in ids],
        "payload": payload.hex(),
        "target": mutable_target(NETWORK, A.public_key, tag).hex(),
        "record": seal_record(draft, payload, Public(), AUTHOR, b"").hex(),
    }


def move_section() -> dict[str, Any]:
    """A moves to B, and A is revoked."""
    move = consent(B, A.public_key, NETWORK)
    return {
        "comment": "section 13; A moves to B, and A is revoked",
        "seq": 13,
        "payload": encode_move(move).hex(),
        "moved": sign_move(AUTHOR, move, CREATED, 13).hex(),
        "revoked": sign_move(AUTHOR, Revoked(), CREATED, REVOCATION_SEQ).hex(),
    }

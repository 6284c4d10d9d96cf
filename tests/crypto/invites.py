"""Invites, and who issues and redeems them, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vectors.golden import CREATED, EXPIRES, KEM_1, KEM_2, KEY_A, KEY_B, NETWORK
from yzdht.crypto.invite import Bearer, Office, Terms, issue
from yzdht.crypto.invite_ledger import row_of
from yzdht.crypto.naming import node_id_of
from yzdht.crypto.signing import KeySigner
from yzdht.ids import TokenId
from yzdht.wire.token import Token, TokenType


if TYPE_CHECKING:
    from yzdht.ports import InviteLedger, Signer

ISSUER: Signer = KeySigner(KEY_A, deterministic=True)
JOINER, JOINER_ID = KEY_B.public_key, node_id_of(KEY_B.public_key)
OTHER_KEY, OTHER_ID = KEM_2.public_key, node_id_of(KEM_2.public_key)
KEM = KEM_1.public_key
START, END = CREATED, EXPIRES
NOW = START + 60.0
GROUP_ID = b"group id of 16 b"
SECRET = b"secret of 16 byt"
BEARER = Bearer(SECRET)
INVITE_ID = TokenId(b"token of 16 byte")
TERMS = Terms(TokenType.GROUP, START, END, scope=GROUP_ID)
OFFICE = Office(NETWORK, ISSUER.public_key, TokenType.GROUP, GROUP_ID)


def invite(token_id: TokenId = INVITE_ID, *, uses_max: int = 5, role: int = 0, not_after: int = END) -> Token:
    """A bearer invite to the group."""
    terms = Terms(TokenType.GROUP, START, not_after, uses_max, GROUP_ID, role)
    return issue(ISSUER, NETWORK, terms, token_id, BEARER)


def enter(ledger: InviteLedger, token: Token) -> None:
    """Put an invite into a ledger, as its issuer does before it hands it out."""
    ledger.add(row_of(token, START))

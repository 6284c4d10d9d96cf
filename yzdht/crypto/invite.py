"""Invites: issued, checked by whoever is invited, redeemed at their issuer (PROTOCOL.md section 12).

Owns what a token means: whose it is, for whom, for how long, and the order in which that is checked. How often a token was
redeemed is the ledger's (`yzdht.ports.InviteLedger`): `judge` asks it last, and the ledger answers only once the use is
durable, so that there is nothing between judging and counting that could happen twice. Ids and secrets come from the
caller, fresh for every invite. Refuses, with one error for each reason, whatever a link or a joiner may bring.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yzdht.crypto.naming import dh, node_id_of
from yzdht.crypto.primitives import check_public_key, is_equal
from yzdht.crypto.signing import verify_message
from yzdht.errors import (
    InvalidKey,
    InvalidSignature,
    InviteExpired,
    InviteForAnother,
    InviteForged,
    InviteNotYetValid,
    InviteRevoked,
    UsageError,
    WireError,
    WrongInviteScope,
    WrongInviteSecret,
)
from yzdht.ids import NodeId, TokenId
from yzdht.limits import CLOCK_SKEW_S
from yzdht.wire.token import (
    NO_SCOPE,
    NO_SECRET,
    ROLE_MEMBER,
    SCOPE_BYTES,
    SECRET_BYTES,
    TOKEN_ID_BYTES,
    Redemption,
    Token,
    TokenType,
    encode_token,
)


if TYPE_CHECKING:
    from collections.abc import Container

    from yzdht.ids import NetworkId, PublicKey
    from yzdht.ports import InviteLedger, Signer
    from yzdht.wire.invite_link import InviteLink


INVITE_LABEL = "yz1 inv"


@dataclass(frozen=True, slots=True)
class Terms:
    """What an invite admits to.

    Attributes:
        type: What it is for.
        not_before: Unix seconds, u32.
        not_after: Unix seconds, u32; not before `not_before`.
        uses_max: Identities that may redeem it, 1 to 65,535; 1 for an invite that names its invitee.
        scope: The group's id, 16 bytes; zeros for a network.
        role: ROLE_MEMBER or ROLE_ADMIN.

    """

    type: TokenType
    not_before: int
    not_after: int
    uses_max: int = 1
    scope: bytes = NO_SCOPE
    role: int = ROLE_MEMBER


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whoever holds this secret, 16 random bytes, is invited."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Named:
    """One identity is invited; the link alone is of no use to others."""

    node_id: NodeId


# Issuing


def bearer_subject(network: NetworkId, secret: bytes) -> bytes:
    """subject32 of a bearer token: it commits to the secret without showing it."""
    return dh("yz1 bearer", network, secret)


def issue(
    signer: Signer, network: NetworkId, terms: Terms, token_id: TokenId, invitee: Bearer | Named
) -> Token:
    """Sign one invite; it must be in the ledger before anybody is handed its link.

    Args:
        signer: The issuer: of a group its key pkG, of a closed network the key that `--invite-only` names.
        network: NET.
        terms: What it admits to.
        token_id: 16 random bytes, never used before.
        invitee: Who may redeem it.

    Raises:
        UsageError: The terms are out of range or contradict each other.

    """
    if not terms.uses_max:
        raise UsageError("an invite is for one use at least", hint="give a number from 1 to 65,535")
    if isinstance(invitee, Named) and terms.uses_max != 1:
        raise UsageError(
            "an invite that names its invitee is for one use", hint="leave the number of uses out"
        )
    if isinstance(invitee, Bearer):
        assert len(invitee.secret) == SECRET_BYTES
        return _sign(signer, network, terms, token_id, bearer_subject(network, invitee.secret))
    return _sign(signer, network, terms, token_id, invitee.node_id, is_bearer=False)


def issue_membership(
    signer: Signer, network: NetworkId, invite_id: TokenId, node_id: NodeId, times: tuple[int, int]
) -> Token:
    """Sign what a member of a closed network shows to its peers: the answer to the redemption of a network invite.

    Args:
        signer: The key that `--invite-only` names.
        network: NET.
        invite_id: The invite that was redeemed.
        node_id: The joiner.
        times: not_before and not_after, Unix seconds.

    Raises:
        UsageError: The times are out of range.

    """
    terms = Terms(TokenType.NETWORK, *times, uses_max=0)
    return _sign(signer, network, terms, membership_id(network, invite_id, node_id), node_id, is_bearer=False)


def membership_id(network: NetworkId, invite_id: TokenId, node_id: NodeId) -> TokenId:
    """Id of the membership that an invite gave to a joiner: the same each time it is redeemed, so that it can be revoked."""
    return TokenId(dh("yz1 member", network, invite_id + node_id)[:TOKEN_ID_BYTES])


def _sign(
    signer: Signer,
    network: NetworkId,
    terms: Terms,
    token_id: TokenId,
    subject: bytes,
    *,
    is_bearer: bool = True,
) -> Token:
    assert len(token_id) == TOKEN_ID_BYTES
    assert len(terms.scope) == SCOPE_BYTES
    if terms.not_before > terms.not_after:
        raise UsageError("an invite ends before it begins", hint="give a later end")
    token = Token(
        type=terms.type,
        is_bearer=is_bearer,
        is_single_use=terms.uses_max == 1,
        issuer=signer.public_key,
        subject=subject,
        scope=terms.scope,
        not_before=terms.not_before,
        not_after=terms.not_after,
        uses_max=terms.uses_max,
        role=terms.role,
        id=token_id,
    )
    signed = replace(token, signature=signer.sign(INVITE_LABEL, network, token.unsigned))
    encode_token(signed)  # refuses terms that contradict each other
    return signed


# Checking


def verify_token(token: Token, network: NetworkId) -> None:
    """Check that the issuer signed it for this network.

    Raises:
        InviteForged: It did not, or `issuer` is no key.

    """
    try:
        verify_message(check_public_key(token.issuer), INVITE_LABEL, network, token.unsigned, token.signature)
    except (InvalidSignature, InvalidKey):
        raise InviteForged("the invite was changed, or is for another network") from None


def check_token_times(token: Token, wall_now: float) -> None:
    """Check not_before and not_after, with ten minutes for clocks that disagree.

    Args:
        token: Any token.
        wall_now: Unix seconds.

    Raises:
        InviteNotYetValid: It begins later.
        InviteExpired: It is over.

    """
    if wall_now < token.not_before - CLOCK_SKEW_S:
        raise InviteNotYetValid("the invite is not valid yet")
    if wall_now > token.not_after + CLOCK_SKEW_S:
        raise InviteExpired("the invite has expired")


def check_subject(token: Token, network: NetworkId, secret: bytes | None, node_id: NodeId) -> None:
    """Check that a token is for whoever shows it.

    Args:
        token: Any token.
        network: NET.
        secret: What came with it, 16 bytes; None or zeros for none.
        node_id: Who shows it.

    Raises:
        WrongInviteSecret: It is a bearer token of another secret.
        InviteForAnother: It names another identity.

    """
    if token.is_bearer:
        if not is_equal(token.subject, bearer_subject(network, secret or NO_SECRET)):
            raise WrongInviteSecret("the secret does not belong to this invite")
    elif token.subject != node_id:
        raise InviteForAnother("the invite is for another identity")


def accept_link(
    link: InviteLink, network: NetworkId, joiner: PublicKey, kem: PublicKey, wall_now: float
) -> Redemption:
    """Check a link as its issuer will, but for the ledger, and build what redeems it.

    Args:
        link: What `decode_invite_link` read.
        network: NET.
        joiner: Who wants to join.
        kem: The joiner's newest KEM key.
        wall_now: Unix seconds.

    Raises:
        InviteRefused: One of its leaves: forged, not yet valid, expired, wrong secret, for another.

    """
    verify_token(link.token, network)
    check_token_times(link.token, wall_now)
    check_subject(link.token, network, link.secret, node_id_of(joiner))
    return Redemption(link.token, link.secret or NO_SECRET, kem)


# Redeeming, at the issuer


@dataclass(frozen=True, slots=True)
class Office:
    """What an issuer redeems invites for: one group or one closed network.

    Attributes:
        network: NET.
        issuer: Who signs its invites.
        type: TokenType.GROUP or TokenType.NETWORK.
        scope: The group's id, 16 bytes; zeros for a network.

    """

    network: NetworkId
    issuer: PublicKey
    type: TokenType
    scope: bytes = NO_SCOPE


@dataclass(frozen=True, slots=True)
class Admission:
    """A use that is counted and durable: the issuer owes the joiner its answer, now and each time it asks again.

    Attributes:
        token: What was redeemed; its role says as what the joiner comes.
        joiner: Who joins, 33 bytes.
        kem: The key to seal to the joiner, 33 bytes.
        is_again: True when this joiner had redeemed it before; nothing was counted.

    """

    token: Token
    joiner: PublicKey
    kem: PublicKey
    is_again: bool


def judge(
    redemption: Redemption, joiner: PublicKey, office: Office, ledger: InviteLedger, wall_now: float
) -> Admission:
    """Decide on one redemption, and count it.

    Args:
        redemption: What the joiner sent.
        joiner: Who sent it: the other end of the session, or the publisher of the record that carried it.
        office: What the issuer redeems for.
        ledger: The issuer's; the use is durable in it before this returns.
        wall_now: Unix seconds.

    Raises:
        InviteForged: The token is not the issuer's, or for another network.
        WrongInviteScope: It is for another group, or for something else.
        InviteNotYetValid, InviteExpired: By the clock.
        WrongInviteSecret, InviteForAnother: It is not for this joiner.
        InviteUnknown, InviteRevoked, InviteUsedUp: The ledger says so.
        InvalidKey: `joiner` or the KEM key is not on the curve, or both are the same.
        StoreError: The ledger cannot be written; nothing was counted.

    """
    token = redemption.token
    if (token.issuer, token.type, token.scope) != (office.issuer, office.type, office.scope):
        raise WrongInviteScope("the invite is not for what is asked for here")
    node_id = node_id_of(joiner)
    verify_token(token, office.network)
    check_token_times(token, wall_now)
    check_subject(token, office.network, redemption.secret, node_id)
    kem = _check_kem(redemption.kem, joiner)
    is_again = ledger.take(token.id, node_id, wall_now)
    return Admission(token, joiner, kem, is_again)


def _check_kem(kem: PublicKey, joiner: PublicKey) -> PublicKey:
    if kem == joiner:
        raise InvalidKey("an identity key is no KEM key")
    return check_public_key(kem)


# Being a member of a closed network


def check_membership(
    token: Token,
    office: Office,
    node_id: NodeId,
    revoked: Container[TokenId],
    wall_now: float,
) -> None:
    """Check what a peer shows of its membership of a closed network.

    Args:
        token: What it shows.
        office: The network, and the key that `--invite-only` names.
        node_id: The peer, as the handshake proved it.
        revoked: The issuer's revocation list, as last read.
        wall_now: Unix seconds.

    Raises:
        WireError: It is an invite, which is redeemed and not shown.
        InviteRefused: One of its leaves.

    """
    if token.is_bearer or token.uses_max:
        raise WireError("an invite is redeemed at its issuer, and shown to nobody else")
    if (token.issuer, token.type) != (office.issuer, TokenType.NETWORK):
        raise WrongInviteScope("the membership is another network's")
    check_subject(token, office.network, None, node_id)
    check_token_times(token, wall_now)
    if token.id in revoked:
        raise InviteRevoked("the membership was revoked")
    verify_token(token, office.network)

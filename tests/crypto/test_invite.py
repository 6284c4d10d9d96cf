from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from tests.crypto.invites import (
    BEARER,
    END,
    GROUP_ID,
    INVITE_ID,
    ISSUER,
    JOINER,
    JOINER_ID,
    KEM,
    NOW,
    OFFICE,
    OTHER_ID,
    OTHER_KEY,
    SECRET,
    START,
    TERMS,
    enter,
    invite,
)
from tests.vectors.golden import NETWORK, OFF_CURVE
from yzdht.crypto.invite import (
    Admission,
    Named,
    Office,
    Terms,
    accept_link,
    bearer_subject,
    check_membership,
    check_subject,
    check_token_times,
    issue,
    issue_membership,
    judge,
    membership_id,
    verify_token,
)
from yzdht.crypto.invite_ledger import MemoryLedger
from yzdht.crypto.naming import network_id
from yzdht.errors import (
    CryptoError,
    InvalidKey,
    InviteExpired,
    InviteForAnother,
    InviteForged,
    InviteNotYetValid,
    InviteRefused,
    InviteRevoked,
    InviteUnknown,
    InviteUsedUp,
    UsageError,
    WireError,
    WrongInviteScope,
    WrongInviteSecret,
)
from yzdht.ids import PublicKey, TokenId
from yzdht.limits import CLOCK_SKEW_S
from yzdht.wire.invite_link import InviteLink, decode_invite_link, encode_invite_link
from yzdht.wire.token import NO_SCOPE, NO_SECRET, Redemption, Token, TokenType, decode_token, encode_token


OTHER_NETWORK = network_id("other")


def redemption(token: Token, secret: bytes = SECRET, kem: PublicKey = KEM) -> Redemption:
    return Redemption(token, secret, kem)


def ledger_with(*tokens: Token) -> MemoryLedger:
    ledger = MemoryLedger()
    for token in tokens:
        enter(ledger, token)
    return ledger


# Issuing


def test_an_invite_says_what_was_asked_for_and_verifies() -> None:
    token = invite(uses_max=3)

    verify_token(token, NETWORK)
    assert decode_token(encode_token(token)) == token
    assert (token.issuer, token.scope, token.uses_max) == (ISSUER.public_key, GROUP_ID, 3)
    assert (token.is_bearer, token.is_single_use) == (True, False)
    assert token.subject == bearer_subject(NETWORK, SECRET)


def test_an_invite_for_one_use_says_so() -> None:
    assert invite(uses_max=1).is_single_use


def test_an_invite_for_one_identity_names_it_and_has_no_secret() -> None:
    token = issue(ISSUER, NETWORK, TERMS, TokenId(b"n" * 16), Named(JOINER_ID))

    verify_token(token, NETWORK)
    assert (token.is_bearer, token.is_single_use, token.subject) == (False, True, JOINER_ID)


@pytest.mark.parametrize(
    "terms",
    [
        replace(TERMS, uses_max=0),
        replace(TERMS, uses_max=65_536),
        replace(TERMS, not_after=START - 1),
        replace(TERMS, not_after=2**32),
        replace(TERMS, not_before=-1),
        replace(TERMS, role=2),
        Terms(TokenType.NETWORK, START, END, scope=GROUP_ID),
        Terms(TokenType.NETWORK, START, END, role=1),
    ],
)
def test_terms_that_cannot_be_are_the_callers_mistake(terms: Terms) -> None:
    with pytest.raises(UsageError) as refused:
        issue(ISSUER, NETWORK, terms, TokenId(bytes(16)), BEARER)

    assert refused.value.hint


def test_an_invite_that_names_its_invitee_is_for_one_use() -> None:
    with pytest.raises(UsageError):
        issue(ISSUER, NETWORK, replace(TERMS, uses_max=2), TokenId(bytes(16)), Named(JOINER_ID))


# Checking


@settings(max_examples=60)
@given(st.integers(0, 176 * 8 - 1))
def test_no_bit_of_an_invite_can_be_changed(bit: int) -> None:
    raw = bytearray(encode_token(invite()))
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises((WireError, InviteForged)):
        verify_token(decode_token(bytes(raw)), NETWORK)


def test_an_invite_counts_in_one_network() -> None:
    with pytest.raises(InviteForged, match="another network"):
        verify_token(invite(), OTHER_NETWORK)


def test_an_issuer_that_is_no_key_has_issued_nothing() -> None:
    with pytest.raises(InviteForged):
        verify_token(replace(invite(), issuer=OFF_CURVE), NETWORK)


def test_clocks_may_disagree_by_ten_minutes() -> None:
    token = invite()

    check_token_times(token, START - CLOCK_SKEW_S)
    check_token_times(token, END + CLOCK_SKEW_S)
    with pytest.raises(InviteNotYetValid):
        check_token_times(token, START - CLOCK_SKEW_S - 1)
    with pytest.raises(InviteExpired):
        check_token_times(token, END + CLOCK_SKEW_S + 1)


@given(st.binary(min_size=16, max_size=16).filter(lambda secret: secret != SECRET))
def test_a_bearer_needs_the_secret(secret: bytes) -> None:
    check_subject(invite(), NETWORK, SECRET, OTHER_ID)
    with pytest.raises(WrongInviteSecret):
        check_subject(invite(), NETWORK, secret, JOINER_ID)


def test_a_bearer_without_a_secret_and_one_of_another_network_are_refused() -> None:
    with pytest.raises(WrongInviteSecret):
        check_subject(invite(), NETWORK, None, JOINER_ID)
    with pytest.raises(WrongInviteSecret):
        check_subject(invite(), OTHER_NETWORK, SECRET, JOINER_ID)


def test_a_named_invite_is_of_no_use_to_others() -> None:
    token = issue(ISSUER, NETWORK, TERMS, TokenId(b"n" * 16), Named(JOINER_ID))

    check_subject(token, NETWORK, None, JOINER_ID)
    with pytest.raises(InviteForAnother):
        check_subject(token, NETWORK, SECRET, OTHER_ID)


def test_a_subject_cannot_be_taken_for_a_node_id() -> None:
    token = replace(invite(), is_bearer=False)

    with pytest.raises(InviteForAnother):
        check_subject(token, NETWORK, SECRET, JOINER_ID)


# From the link to the redemption


def test_what_a_link_carries_redeems_its_invite() -> None:
    token = invite()
    ledger = ledger_with(token)
    link = decode_invite_link(encode_invite_link(token, SECRET))

    made = accept_link(link, NETWORK, JOINER, KEM, NOW)

    assert judge(made, JOINER, OFFICE, ledger, NOW) == Admission(token, JOINER, KEM, is_again=False)


def test_a_named_link_redeems_its_invite() -> None:
    token = issue(ISSUER, NETWORK, TERMS, TokenId(b"n" * 16), Named(JOINER_ID))
    ledger = ledger_with(token)
    link = decode_invite_link(encode_invite_link(token, None))

    made = accept_link(link, NETWORK, JOINER, KEM, NOW)

    assert made.secret == NO_SECRET
    assert judge(made, JOINER, OFFICE, ledger, NOW).joiner == JOINER
    with pytest.raises(InviteForAnother):
        judge(made, OTHER_KEY, OFFICE, ledger, NOW)


@pytest.mark.parametrize(
    ("link", "network", "wall_now", "error"),
    [
        (InviteLink(invite(), SECRET), OTHER_NETWORK, NOW, InviteForged),
        (InviteLink(replace(invite(), role=1), SECRET), NETWORK, NOW, InviteForged),
        (InviteLink(invite(), NO_SECRET), NETWORK, NOW, WrongInviteSecret),
        (InviteLink(invite(), SECRET), NETWORK, END + 601, InviteExpired),
        (InviteLink(invite(), SECRET), NETWORK, START - 601, InviteNotYetValid),
    ],
)
def test_whoever_is_invited_learns_of_a_bad_link_at_once(
    link: InviteLink, network: object, wall_now: float, error: type[InviteRefused]
) -> None:
    with pytest.raises(error) as refused:
        accept_link(link, network, JOINER, KEM, wall_now)  # type: ignore[arg-type]  # NETWORK or another, by the table

    assert refused.value.hint


# Redeeming


def test_a_redemption_admits_with_the_role_of_the_invite_and_the_key_of_the_joiner() -> None:
    token = invite(role=1)

    admission = judge(redemption(token), JOINER, OFFICE, ledger_with(token), NOW)

    assert (admission.joiner, admission.kem, admission.token.role) == (JOINER, KEM, 1)


def test_redeeming_again_is_answered_again_and_counts_once() -> None:
    token = invite(uses_max=2)
    ledger = ledger_with(token)

    seen = [judge(redemption(token), JOINER, OFFICE, ledger, NOW).is_again for _ in range(3)]

    assert seen == [False, True, True]
    assert not judge(redemption(token), OTHER_KEY, OFFICE, ledger, NOW).is_again


def test_an_invite_for_one_admits_one() -> None:
    token = invite(uses_max=1)
    ledger = ledger_with(token)
    judge(redemption(token), JOINER, OFFICE, ledger, NOW)

    with pytest.raises(InviteUsedUp):
        judge(redemption(token), OTHER_KEY, OFFICE, ledger, NOW)


def test_a_revoked_invite_admits_nobody_not_even_again() -> None:
    token = invite()
    ledger = ledger_with(token)
    judge(redemption(token), JOINER, OFFICE, ledger, NOW)
    ledger.revoke(token.id, NOW)

    for joiner in (JOINER, OTHER_KEY):
        with pytest.raises(InviteRevoked):
            judge(redemption(token), joiner, OFFICE, ledger, NOW)


def test_an_invite_that_the_ledger_does_not_hold_admits_nobody() -> None:
    with pytest.raises(InviteUnknown):
        judge(redemption(invite()), JOINER, OFFICE, MemoryLedger(), NOW)


@pytest.mark.parametrize(
    "office",
    [
        replace(OFFICE, scope=b"o" * 16),
        replace(OFFICE, issuer=OTHER_KEY),
        Office(NETWORK, ISSUER.public_key, TokenType.NETWORK),
        replace(OFFICE, type=TokenType.MAILBOX),
    ],
)
def test_an_invite_to_one_group_is_refused_by_others(office: Office) -> None:
    token = invite()

    with pytest.raises(WrongInviteScope):
        judge(redemption(token), JOINER, office, ledger_with(token), NOW)


def test_a_redemption_for_another_network_is_refused() -> None:
    token = invite()

    with pytest.raises(InviteForged):
        judge(redemption(token), JOINER, replace(OFFICE, network=OTHER_NETWORK), ledger_with(token), NOW)


@pytest.mark.parametrize(
    ("made", "joiner", "wall_now", "error"),
    [
        (redemption(replace(invite(), uses_max=9)), JOINER, NOW, InviteForged),
        (redemption(invite(), NO_SECRET), JOINER, NOW, WrongInviteSecret),
        (redemption(invite()), JOINER, END + 601, InviteExpired),
        (redemption(invite()), JOINER, START - 601, InviteNotYetValid),
        (redemption(invite(), kem=OFF_CURVE), JOINER, NOW, InvalidKey),
        (redemption(invite(), kem=JOINER), JOINER, NOW, InvalidKey),
        (redemption(invite()), OFF_CURVE, NOW, InvalidKey),
    ],
)
def test_what_is_refused_is_not_counted(
    made: Redemption, joiner: PublicKey, wall_now: float, error: type[CryptoError]
) -> None:
    ledger = ledger_with(invite())

    with pytest.raises(error) as refused:
        judge(made, joiner, OFFICE, ledger, wall_now)

    assert refused.value.hint
    assert ledger.uses() == []


# Memberships of a closed network


CLOSED = Office(NETWORK, ISSUER.public_key, TokenType.NETWORK)
MEMBERSHIP = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END))


def test_a_membership_is_shown_by_its_member_alone() -> None:
    check_membership(decode_token(encode_token(MEMBERSHIP)), CLOSED, JOINER_ID, (), NOW)

    with pytest.raises(InviteForAnother):
        check_membership(MEMBERSHIP, CLOSED, OTHER_ID, (), NOW)


def test_a_membership_ends() -> None:
    with pytest.raises(InviteExpired):
        check_membership(MEMBERSHIP, CLOSED, JOINER_ID, (), END + 601)
    with pytest.raises(InviteRevoked):
        check_membership(MEMBERSHIP, CLOSED, JOINER_ID, {MEMBERSHIP.id}, NOW)


def test_a_membership_of_another_network_is_none() -> None:
    with pytest.raises(WrongInviteScope):
        check_membership(MEMBERSHIP, replace(CLOSED, issuer=OTHER_KEY), JOINER_ID, (), NOW)
    with pytest.raises(InviteForged):
        check_membership(MEMBERSHIP, replace(CLOSED, network=OTHER_NETWORK), JOINER_ID, (), NOW)
    with pytest.raises(InviteForged):
        check_membership(replace(MEMBERSHIP, not_after=END + 1), CLOSED, JOINER_ID, (), NOW)


@pytest.mark.parametrize("invitee", [BEARER, Named(JOINER_ID)])
def test_an_invite_is_no_membership(invitee: object) -> None:
    terms = Terms(TokenType.NETWORK, START, END)
    token = issue(ISSUER, NETWORK, terms, TokenId(b"n" * 16), invitee)  # type: ignore[arg-type]  # one of both, by the table

    with pytest.raises(WireError):
        check_membership(token, CLOSED, JOINER_ID, (), NOW)


def test_a_membership_cannot_be_redeemed() -> None:
    ledger = ledger_with(MEMBERSHIP)

    with pytest.raises(InviteUsedUp):
        judge(redemption(MEMBERSHIP, NO_SECRET), JOINER, CLOSED, ledger, NOW)


def test_redeeming_again_gives_the_same_membership() -> None:
    again = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END + 5))

    assert again.id == MEMBERSHIP.id == membership_id(NETWORK, INVITE_ID, JOINER_ID)
    ids = {
        membership_id(net, by, who)
        for net in (NETWORK, OTHER_NETWORK)
        for by in (INVITE_ID, TokenId(b"x" * 16))
        for who in (JOINER_ID, OTHER_ID)
    }
    assert len(ids) == 8
    assert MEMBERSHIP.scope == NO_SCOPE

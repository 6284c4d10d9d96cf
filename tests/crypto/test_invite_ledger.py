from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.crypto.invites import (
    END,
    INVITE_ID,
    ISSUER,
    JOINER_ID,
    NOW,
    OTHER_ID,
    OTHER_KEY,
    START,
    enter,
    invite,
)
from tests.vectors.golden import NETWORK
from yzdht.crypto.invite import issue_membership
from yzdht.crypto.invite_ledger import (
    Load,
    MemoryLedger,
    decide_entry,
    decide_revocation,
    promised_uses,
    revoked_memberships,
    row_of,
)
from yzdht.errors import (
    InviteExpired,
    InviteRevoked,
    InviteUnknown,
    InviteUsedUp,
    LedgerFull,
    NoSuchInvite,
    UsageError,
)
from yzdht.ids import NodeId, TokenId
from yzdht.limits import CLOCK_SKEW_S, INVITE_USES_MAX, INVITES_MAX, REVOKED_TOKENS_MAX
from yzdht.ports import InviteStanding, InviteUse


if TYPE_CHECKING:
    from yzdht.ports import InviteLedger
    from yzdht.wire.token import Token

ROW = row_of(invite(), START)
MEMBERSHIP = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END))
MEMBER_ROW = row_of(MEMBERSHIP, START)


def ledger_with(*tokens: Token) -> InviteLedger:
    ledger = MemoryLedger()
    for token in tokens:
        enter(ledger, token)
    return ledger


def other_id(number: int) -> TokenId:
    return TokenId(number.to_bytes(16))


def test_a_row_holds_what_a_person_wants_listed_and_no_secret() -> None:
    token = invite(uses_max=3)

    assert row_of(token, START + 0.9) == (
        token.id, token.type, token.issuer, token.scope, token.subject, END, 3, START, None,
    )  # fmt: skip


# Uses


def test_each_identity_counts_once() -> None:
    ledger = ledger_with(invite(uses_max=2))

    assert not ledger.take(INVITE_ID, JOINER_ID, NOW)
    assert ledger.take(INVITE_ID, JOINER_ID, NOW)
    assert not ledger.take(INVITE_ID, OTHER_ID, NOW)
    with pytest.raises(InviteUsedUp):
        ledger.take(INVITE_ID, NodeId(bytes(32)), NOW)
    assert [standing.uses for standing in ledger.standings()] == [2]


def test_a_use_is_refused_by_what_the_ledger_knows() -> None:
    ledger = ledger_with(invite(), invite(other_id(1)))
    ledger.revoke(other_id(1), NOW)

    for token_id, wall_now, error in (
        (other_id(9), NOW, InviteUnknown),
        (other_id(1), NOW, InviteRevoked),
        (INVITE_ID, END + CLOCK_SKEW_S + 1, InviteExpired),
    ):
        with pytest.raises(error) as refused:
            ledger.take(token_id, JOINER_ID, wall_now)
        assert refused.value.hint
    assert [standing.uses for standing in ledger.standings()] == [0, 0]


def test_removing_somebody_begins_with_the_invites_they_know() -> None:
    ledger = ledger_with(invite(), invite(other_id(1)), invite(other_id(2)))
    for token_id in (INVITE_ID, other_id(2)):
        ledger.take(token_id, JOINER_ID, NOW)

    assert ledger.redeemed_by(JOINER_ID) == [other_id(2), INVITE_ID]
    assert ledger.redeemed_by(OTHER_ID) == []


# Entries


def test_an_id_is_used_once() -> None:
    ledger = ledger_with(invite())

    with pytest.raises(UsageError):
        enter(ledger, invite(uses_max=9))
    with pytest.raises(UsageError):
        enter(ledger, invite())


def test_the_newest_is_listed_first() -> None:
    ledger = MemoryLedger()
    for number, issued_at in ((1, 5), (2, 9), (3, 7)):
        ledger.add(row_of(invite(other_id(number)), issued_at))

    assert [standing.row.token_id for standing in ledger.standings()] == [
        other_id(number) for number in (2, 3, 1)
    ]


def test_a_full_ledger_takes_nothing_more() -> None:
    assert decide_entry(None, ROW, Load(INVITES_MAX - 1, INVITE_USES_MAX - 5)) == ROW
    for load in (Load(INVITES_MAX, 0), Load(0, INVITE_USES_MAX - 4)):
        with pytest.raises(LedgerFull) as refused:
            decide_entry(None, ROW, load)
        assert refused.value.hint


def test_what_an_invite_may_still_need_is_set_aside() -> None:
    ledger = ledger_with(*(invite(other_id(number), uses_max=65_535) for number in (1, 2)))
    ledger.take(other_id(1), JOINER_ID, NOW)
    with pytest.raises(LedgerFull):
        enter(ledger, invite(uses_max=3))

    ledger.revoke(other_id(1), NOW)

    enter(ledger, invite(uses_max=65_535))
    assert [promised_uses(standing) for standing in ledger.standings()] == [65_535, 65_535, 1]


def test_a_membership_that_is_given_again_lives_for_the_longer_of_both() -> None:
    ledger = ledger_with(
        MEMBERSHIP, replace(MEMBERSHIP, not_after=END + 9), replace(MEMBERSHIP, not_after=END + 1)
    )

    assert [standing.row.not_after for standing in ledger.standings()] == [END + 9]


def test_a_membership_that_was_revoked_is_not_given_again() -> None:
    ledger = ledger_with(MEMBERSHIP)
    ledger.revoke(MEMBERSHIP.id, NOW)

    with pytest.raises(InviteRevoked):
        enter(ledger, MEMBERSHIP)


def test_two_members_do_not_share_an_id() -> None:
    with pytest.raises(UsageError):
        enter(ledger_with(MEMBERSHIP), replace(MEMBERSHIP, subject=OTHER_ID))


# Revoking and forgetting


def test_the_first_revocation_stands() -> None:
    ledger = ledger_with(invite())

    assert ledger.revoke(INVITE_ID, NOW).revoked_at == int(NOW)
    assert ledger.revoke(INVITE_ID, NOW + 5).revoked_at == int(NOW)


def test_what_is_not_there_cannot_be_revoked() -> None:
    with pytest.raises(NoSuchInvite) as refused:
        ledger_with().revoke(INVITE_ID, NOW)
    assert refused.value.hint


def test_a_revocation_that_would_not_fit_the_list_is_refused() -> None:
    assert decide_revocation(MEMBER_ROW, NOW, REVOKED_TOKENS_MAX - 1).revoked_at == int(NOW)
    with pytest.raises(LedgerFull):
        decide_revocation(MEMBER_ROW, NOW, REVOKED_TOKENS_MAX)
    assert decide_revocation(ROW, NOW, REVOKED_TOKENS_MAX).revoked_at == int(NOW)
    revoked = MEMBER_ROW._replace(revoked_at=1)
    assert decide_revocation(revoked, NOW, REVOKED_TOKENS_MAX) == revoked


def test_a_list_of_revocations_names_revoked_memberships_of_its_issuer() -> None:
    rows = [
        MEMBER_ROW._replace(token_id=other_id(3), revoked_at=1),
        MEMBER_ROW._replace(token_id=other_id(2), revoked_at=1),
        MEMBER_ROW._replace(token_id=other_id(4)),
        MEMBER_ROW._replace(token_id=other_id(5), revoked_at=1, issuer=OTHER_KEY),
        ROW._replace(revoked_at=1),
    ]

    listed = revoked_memberships([InviteStanding(row, 0) for row in rows], ISSUER.public_key)

    assert listed == [other_id(2), other_id(3)]


def test_what_nobody_accepts_any_more_is_forgotten_with_its_uses() -> None:
    ledger = MemoryLedger()
    enter(ledger, invite())
    enter(ledger, invite(other_id(1), not_after=END + 1))
    ledger.take(INVITE_ID, JOINER_ID, NOW)

    assert ledger.forget_expired(END + CLOCK_SKEW_S) == 0
    assert ledger.forget_expired(END + CLOCK_SKEW_S + 1) == 1
    assert [standing.row.token_id for standing in ledger.standings()] == [other_id(1)]
    assert ledger.uses() == []
    assert ledger.redeemed_by(JOINER_ID) == []


def test_what_was_forgotten_is_not_admitted_by_a_clock_that_is_set_back() -> None:
    ledger = ledger_with(invite(uses_max=1))
    ledger.take(INVITE_ID, JOINER_ID, NOW)
    ledger.forget_expired(END + CLOCK_SKEW_S + 1)

    with pytest.raises(InviteUnknown):
        ledger.take(INVITE_ID, OTHER_ID, NOW)


# Rows


def test_a_ledger_is_what_its_rows_say() -> None:
    ledger = MemoryLedger()
    enter(ledger, invite())
    ledger.take(INVITE_ID, JOINER_ID, NOW)
    ledger.revoke(INVITE_ID, NOW)

    again = MemoryLedger((standing.row for standing in ledger.standings()), ledger.uses())

    assert again.uses() == [InviteUse(INVITE_ID, JOINER_ID, int(NOW))]
    assert again.standings() == ledger.standings()


def test_a_use_without_its_token_is_dropped() -> None:
    assert MemoryLedger([ROW], [InviteUse(other_id(1), JOINER_ID, START)]).uses() == []

"""What every issuer's ledger does, in memory and on disk."""

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
    START,
    enter,
    invite,
)
from tests.vectors.golden import NETWORK
from yzdht.crypto.invite import issue_membership
from yzdht.crypto.invite_ledger import promised_uses, row_of
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
from yzdht.limits import CLOCK_SKEW_S
from yzdht.ports import InviteStanding, InviteUse


if TYPE_CHECKING:
    from yzdht.crypto.invite_ledger import MemoryLedger
    from yzdht.store.ledger import SqliteLedger
    from yzdht.wire.token import Token

    AnyLedger = MemoryLedger | SqliteLedger

MEMBERSHIP = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END))


def other_id(number: int) -> TokenId:
    return TokenId(number.to_bytes(16))


class LedgerSuite:
    """Its tests run against what `make` returns."""

    def make(self) -> AnyLedger:
        raise AssertionError("each ledger has its own")

    def ledger_with(self, *tokens: Token) -> AnyLedger:
        ledger = self.make()
        for token in tokens:
            enter(ledger, token)
        return ledger

    def test_each_identity_counts_once(self) -> None:
        ledger = self.ledger_with(invite(uses_max=2))

        assert not ledger.take(INVITE_ID, JOINER_ID, NOW)
        assert ledger.take(INVITE_ID, JOINER_ID, NOW)
        assert not ledger.take(INVITE_ID, OTHER_ID, NOW)
        with pytest.raises(InviteUsedUp):
            ledger.take(INVITE_ID, NodeId(bytes(32)), NOW)
        assert [standing.uses for standing in ledger.standings()] == [2]

    def test_a_use_is_refused_by_what_the_ledger_knows(self) -> None:
        ledger = self.ledger_with(invite(), invite(other_id(1)))
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

    def test_removing_somebody_begins_with_the_invites_they_know(self) -> None:
        ledger = self.ledger_with(invite(), invite(other_id(1)), invite(other_id(2)))
        for token_id in (INVITE_ID, other_id(2)):
            ledger.take(token_id, JOINER_ID, NOW)

        assert ledger.redeemed_by(JOINER_ID) == [other_id(2), INVITE_ID]
        assert ledger.redeemed_by(OTHER_ID) == []

    def test_an_id_is_used_once(self) -> None:
        ledger = self.ledger_with(invite())

        with pytest.raises(UsageError):
            enter(ledger, invite(uses_max=9))
        with pytest.raises(UsageError):
            enter(ledger, invite())

    def test_the_newest_is_listed_first(self) -> None:
        ledger = self.ledger_with()
        for number, issued_at in ((1, 5), (2, 9), (3, 7)):
            ledger.add(row_of(invite(other_id(number)), issued_at))

        assert [standing.row.token_id for standing in ledger.standings()] == [
            other_id(number) for number in (2, 3, 1)
        ]

    def test_what_an_invite_may_still_need_is_set_aside(self) -> None:
        ledger = self.ledger_with(*(invite(other_id(number), uses_max=65_535) for number in (1, 2)))
        ledger.take(other_id(1), JOINER_ID, NOW)
        with pytest.raises(LedgerFull):
            enter(ledger, invite(uses_max=3))

        ledger.revoke(other_id(1), NOW)

        enter(ledger, invite(uses_max=65_535))
        assert [promised_uses(standing) for standing in ledger.standings()] == [65_535, 65_535, 1]

    def test_a_membership_that_is_given_again_lives_for_the_longer_of_both(self) -> None:
        ledger = self.ledger_with(
            MEMBERSHIP, replace(MEMBERSHIP, not_after=END + 9), replace(MEMBERSHIP, not_after=END + 1)
        )

        assert [standing.row.not_after for standing in ledger.standings()] == [END + 9]

    def test_a_membership_that_was_revoked_is_not_given_again(self) -> None:
        ledger = self.ledger_with(MEMBERSHIP)
        ledger.revoke(MEMBERSHIP.id, NOW)

        with pytest.raises(InviteRevoked):
            enter(ledger, MEMBERSHIP)

    def test_two_members_do_not_share_an_id(self) -> None:
        with pytest.raises(UsageError):
            enter(self.ledger_with(MEMBERSHIP), replace(MEMBERSHIP, subject=OTHER_ID))

    def test_the_first_revocation_stands(self) -> None:
        ledger = self.ledger_with(invite())

        assert ledger.revoke(INVITE_ID, NOW).revoked_at == int(NOW)
        assert ledger.revoke(INVITE_ID, NOW + 5).revoked_at == int(NOW)

    def test_what_is_not_there_cannot_be_revoked(self) -> None:
        with pytest.raises(NoSuchInvite) as refused:
            self.ledger_with().revoke(INVITE_ID, NOW)
        assert refused.value.hint

    def test_what_nobody_accepts_any_more_is_forgotten_with_its_uses(self) -> None:
        ledger = self.ledger_with()
        enter(ledger, invite())
        enter(ledger, invite(other_id(1), not_after=END + 1))
        ledger.take(INVITE_ID, JOINER_ID, NOW)

        assert ledger.forget_expired(END + CLOCK_SKEW_S) == 0
        assert ledger.forget_expired(END + CLOCK_SKEW_S + 1) == 1
        assert [standing.row.token_id for standing in ledger.standings()] == [other_id(1)]
        assert ledger.uses() == []
        assert ledger.redeemed_by(JOINER_ID) == []

    def test_what_was_forgotten_is_not_admitted_by_a_clock_that_is_set_back(self) -> None:
        ledger = self.ledger_with(invite(uses_max=1))
        ledger.take(INVITE_ID, JOINER_ID, NOW)
        ledger.forget_expired(END + CLOCK_SKEW_S + 1)

        with pytest.raises(InviteUnknown):
            ledger.take(INVITE_ID, OTHER_ID, NOW)

    def test_one_token_is_found_by_its_id(self) -> None:
        ledger = self.ledger_with(invite(uses_max=3), MEMBERSHIP)
        ledger.take(INVITE_ID, JOINER_ID, NOW)

        assert ledger.standing(INVITE_ID) == InviteStanding(row_of(invite(uses_max=3), START), 1)
        assert ledger.standing(MEMBERSHIP.id) == InviteStanding(row_of(MEMBERSHIP, START), 0)
        assert ledger.standing(other_id(9)) is None

    def test_whether_history_goes_with_an_invite_is_kept(self) -> None:
        ledger = self.make()
        ledger.add(row_of(invite(), START, has_history=True))
        ledger.revoke(INVITE_ID, NOW)

        assert [standing.row.has_history for standing in ledger.standings()] == [True]

    def test_who_used_what_is_kept(self) -> None:
        ledger = self.ledger_with(invite())
        ledger.take(INVITE_ID, JOINER_ID, NOW)

        assert ledger.uses() == [InviteUse(INVITE_ID, JOINER_ID, int(NOW))]

from __future__ import annotations

import pytest

from tests.crypto.invites import (
    END,
    INVITE_ID,
    ISSUER,
    JOINER_ID,
    NOW,
    OTHER_KEY,
    START,
    enter,
    invite,
)
from tests.crypto.ledger_suite import LedgerSuite, other_id
from tests.vectors.golden import NETWORK
from yzdht.crypto.invite import issue_membership
from yzdht.crypto.invite_ledger import (
    Load,
    MemoryLedger,
    decide_entry,
    decide_revocation,
    revoked_memberships,
    row_of,
)
from yzdht.errors import (
    LedgerFull,
)
from yzdht.limits import INVITE_USES_MAX, INVITES_MAX, REVOKED_TOKENS_MAX
from yzdht.ports import InviteStanding, InviteUse


ROW = row_of(invite(), START)
MEMBERSHIP = issue_membership(ISSUER, NETWORK, INVITE_ID, JOINER_ID, (START, END))
MEMBER_ROW = row_of(MEMBERSHIP, START)


class TestMemoryLedger(LedgerSuite):
    def make(self) -> MemoryLedger:
        return MemoryLedger()


def test_a_row_holds_what_a_person_wants_listed_and_no_secret() -> None:
    token = invite(uses_max=3)

    assert row_of(token, START + 0.9) == (
        token.id, token.type, token.issuer, token.scope, token.subject, END, 3, START, None, False,
    )  # fmt: skip


def test_a_full_ledger_takes_nothing_more() -> None:
    assert decide_entry(None, ROW, Load(INVITES_MAX - 1, INVITE_USES_MAX - 5)) == ROW
    for load in (Load(INVITES_MAX, 0), Load(0, INVITE_USES_MAX - 4)):
        with pytest.raises(LedgerFull) as refused:
            decide_entry(None, ROW, load)
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

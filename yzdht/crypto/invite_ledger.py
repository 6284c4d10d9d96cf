"""How an issuer counts: what may be redeemed, entered, revoked and forgotten (PROTOCOL.md section 12).

Owns the decisions of every `yzdht.ports.InviteLedger` as functions over rows, and a ledger in memory. A store calls them
inside the transaction that writes, as it calls `wire.slot.judge` for records. Whether a token is genuine is not asked
here; a token that is not in the ledger is refused, so a ledger that forgot something admits fewer, never more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import (
    InviteExpired,
    InviteRevoked,
    InviteUnknown,
    InviteUsedUp,
    LedgerFull,
    NoSuchInvite,
    UsageError,
)
from yzdht.limits import CLOCK_SKEW_S, INVITE_USES_MAX, INVITES_MAX, REVOKED_TOKENS_MAX
from yzdht.ports import InviteRow, InviteStanding, InviteUse
from yzdht.wire.token import TokenType


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NodeId, PublicKey, TokenId
    from yzdht.wire.token import Token


class Load(NamedTuple):
    """How much of a ledger is taken.

    Attributes:
        rows: Tokens in it.
        promised: The sum of `promised_uses` of them.

    """

    rows: int
    promised: int


def row_of(token: Token, wall_now: float, *, has_history: bool = False) -> InviteRow:
    """The row to enter for a token that was just signed."""
    return InviteRow(
        token.id,
        token.type,
        token.issuer,
        token.scope,
        token.subject,
        token.not_after,
        token.uses_max,
        int(wall_now),
        has_history=has_history,
    )


def decide_use(standing: InviteStanding | None, wall_now: float, *, has_redeemed: bool) -> bool:
    """Decide on one redemption of a token that is genuine.

    Args:
        standing: How the invite stands now; None if the ledger does not know it.
        wall_now: Unix seconds.
        has_redeemed: This identity is among its uses.

    Returns:
        True if there is nothing to count.

    Raises:
        InviteUnknown, InviteRevoked, InviteExpired, InviteUsedUp: It may not be redeemed.

    """
    if standing is None:
        raise InviteUnknown("the issuer's ledger does not hold this invite")
    row = standing.row
    if row.revoked_at is not None:
        raise InviteRevoked("the invite was revoked")
    if is_forgettable(row, wall_now):
        raise InviteExpired("the invite has expired")
    if not has_redeemed and standing.uses >= row.uses_max:
        raise InviteUsedUp("the invite is used up")
    return has_redeemed


def is_forgettable(row: InviteRow, wall_now: float) -> bool:
    """True once nobody accepts the token, whichever way the clocks disagree."""
    return wall_now > row.not_after + CLOCK_SKEW_S


def is_membership(row: InviteRow) -> bool:
    """True for what a member of a closed network shows."""
    return row.type is TokenType.NETWORK and not row.uses_max


def promised_uses(standing: InviteStanding) -> int:
    """Rows of uses that an invite has or may come to have."""
    return standing.uses if standing.row.revoked_at is not None else standing.row.uses_max


def decide_entry(known: InviteRow | None, row: InviteRow, load: Load) -> InviteRow:
    """Decide on entering a token.

    Args:
        known: The row of this id; None if there is none.
        row: What is to be entered.
        load: What the ledger holds.

    Returns:
        The row to keep.

    Raises:
        LedgerFull: No room.
        InviteRevoked: A membership that was taken back.
        UsageError: The id is another token's.

    """
    if known is not None:
        if not is_membership(row) or _meaning(known) != _meaning(row):
            raise UsageError("an invite's id was used before", hint="draw another id at random")
        if known.revoked_at is not None:
            raise InviteRevoked("the membership was revoked")
        return known._replace(not_after=max(known.not_after, row.not_after))
    if load.rows >= INVITES_MAX:
        raise LedgerFull(f"a ledger holds {INVITES_MAX:,} invites and memberships")
    if load.promised + row.uses_max > INVITE_USES_MAX:
        raise LedgerFull(f"the open invites of a ledger promise {INVITE_USES_MAX:,} uses at most")
    return row


def _meaning(row: InviteRow) -> tuple[object, ...]:
    return row.type, row.issuer, row.scope, row.subject, row.uses_max


def decide_revocation(row: InviteRow | None, wall_now: float, revoked: int) -> InviteRow:
    """Decide on taking a token back.

    Args:
        row: The token's; None if the ledger does not know it.
        wall_now: Unix seconds.
        revoked: Memberships of its issuer that are revoked and not forgotten.

    Returns:
        The row to keep.

    Raises:
        NoSuchInvite: There is no such token.
        LedgerFull: The revocation would not fit the issuer's list.

    """
    if row is None:
        raise NoSuchInvite("the ledger holds no such invite")
    if row.revoked_at is not None:
        return row
    if is_membership(row) and revoked >= REVOKED_TOKENS_MAX:
        raise LedgerFull(f"a list of revocations holds {REVOKED_TOKENS_MAX:,} memberships")
    return row._replace(revoked_at=int(wall_now))


def revoked_memberships(standings: Iterable[InviteStanding], issuer: PublicKey) -> list[TokenId]:
    """What the revocation list of a closed network names, in ascending order."""
    rows = (standing.row for standing in standings)
    return sorted(
        row.token_id
        for row in rows
        if is_membership(row) and row.issuer == issuer and row.revoked_at is not None
    )


class MemoryLedger:
    """An `InviteLedger` that ends with the process.

    Args:
        rows: What another one held.
        uses: Its uses; those of tokens without a row are dropped.

    """

    def __init__(self, rows: Iterable[InviteRow] = (), uses: Iterable[InviteUse] = ()) -> None:
        self._rows = {row.token_id: row for row in rows}
        self._uses: dict[TokenId, dict[NodeId, int]] = {token_id: {} for token_id in self._rows}
        for use in uses:
            if use.token_id in self._uses:
                self._uses[use.token_id][use.node_id] = use.used_at

    def add(self, row: InviteRow) -> None:
        """Enter a token, before anybody is handed it. A membership that is there already lives for the longer of both.

        Raises:
            LedgerFull: There is no room for it, or for the uses it promises; forget what has expired first.
            InviteRevoked: A membership that was taken back.
            UsageError: Another token has this id.

        """
        standings = self.standings()
        load = Load(len(standings), sum(promised_uses(standing) for standing in standings))
        self._rows[row.token_id] = decide_entry(self._rows.get(row.token_id), row, load)
        self._uses.setdefault(row.token_id, {})

    def take(self, token_id: TokenId, node_id: NodeId, wall_now: float) -> bool:
        """Count one use, once for each identity.

        Returns:
            True if this identity had redeemed it before, so that nothing was counted.

        Raises:
            InviteUnknown, InviteRevoked, InviteExpired, InviteUsedUp: It may not be redeemed; nothing was counted.

        """
        uses = self._uses.get(token_id, {})
        is_again = decide_use(self.standing(token_id), wall_now, has_redeemed=node_id in uses)
        uses.setdefault(node_id, int(wall_now))
        return is_again

    def revoke(self, token_id: TokenId, wall_now: float) -> InviteRow:
        """Take a token back, and return its row; the first time stands.

        Raises:
            NoSuchInvite: The ledger has no such token.
            LedgerFull: A membership, and REVOKED_TOKENS_MAX of its issuer are revoked already.

        """
        row = self._rows.get(token_id)
        revoked = 0 if row is None else len(revoked_memberships(self.standings(), row.issuer))
        kept = self._rows[token_id] = decide_revocation(row, wall_now, revoked)
        return kept

    def standing(self, token_id: TokenId) -> InviteStanding | None:
        """How one token stands; None if the ledger has none of this id."""
        row = self._rows.get(token_id)
        return None if row is None else InviteStanding(row, len(self._uses[token_id]))

    def standings(self) -> list[InviteStanding]:
        """All tokens, the newest first; expired ones may be among them. At most INVITES_MAX."""
        found = [InviteStanding(row, len(self._uses[row.token_id])) for row in self._rows.values()]
        return sorted(found, key=lambda each: (each.row.issued_at, each.row.token_id), reverse=True)

    def uses(self) -> list[InviteUse]:
        """Every use, in no order that means anything."""
        return [InviteUse(t, node_id, at) for t, uses in self._uses.items() for node_id, at in uses.items()]

    def redeemed_by(self, node_id: NodeId) -> list[TokenId]:
        """The invites that an identity redeemed, of those still in the ledger: to be revoked when it is removed."""
        return sorted(token_id for token_id, uses in self._uses.items() if node_id in uses)

    def forget_expired(self, wall_now: float) -> int:
        """Drop tokens that nobody accepts any more, with their uses; how many tokens. By a clock that is believed only."""
        expired = [token_id for token_id, row in self._rows.items() if is_forgettable(row, wall_now)]
        for token_id in expired:
            del self._rows[token_id], self._uses[token_id]
        return len(expired)

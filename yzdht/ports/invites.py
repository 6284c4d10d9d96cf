"""What a home issued, and who redeems it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from yzdht.ids import NodeId, PublicKey, TokenId
    from yzdht.wire.rpc import RedeemAnswer
    from yzdht.wire.token import Redemption, TokenType


class InviteRow(NamedTuple):
    """One token that this home issued, as a ledger keeps it; the key is `token_id`.

    Attributes:
        token_id: 16 bytes.
        type: What it admits to.
        issuer: Who signed it, 33 bytes.
        scope: The group's id, 16 bytes; zeros for a network.
        subject: Node id of whom it names, or the hash of a bearer token's secret; 32 bytes. The secret is not kept.
        not_after: Unix seconds.
        uses_max: 0 for a membership, which is shown and not redeemed.
        issued_at: Unix seconds.
        revoked_at: Unix seconds; None while it was not taken back.
        has_history: Whether who joins a group may read what was written before; said to nobody but the issuer.

    """

    token_id: TokenId
    type: TokenType
    issuer: PublicKey
    scope: bytes
    subject: bytes
    not_after: int
    uses_max: int
    issued_at: int
    revoked_at: int | None = None
    has_history: bool = False


class InviteUse(NamedTuple):
    """One identity that redeemed an invite; the key is (token_id, node_id).

    Attributes:
        token_id: The invite, which has a row.
        node_id: Who redeemed it, 32 bytes.
        used_at: Unix seconds.

    """

    token_id: TokenId
    node_id: NodeId
    used_at: int


class InviteStanding(NamedTuple):
    """How an invite stands.

    Attributes:
        row: The token.
        uses: Identities that have redeemed it.

    """

    row: InviteRow
    uses: int


class InviteLedger(Protocol):
    """What a home issued and who redeemed it; what changes it is durable before it returns.

    Every decision is `yzdht.crypto.invite_ledger`'s, made inside the transaction that writes, on what is stored at that
    moment: several processes may share a ledger.
    """

    def add(self, row: InviteRow) -> None:
        """Enter a token, before anybody is handed it. A membership that is there already lives for the longer of both.

        Raises:
            LedgerFull: There is no room for it, or for the uses it promises; forget what has expired first.
            InviteRevoked: A membership that was taken back.
            UsageError: Another token has this id.

        """
        ...

    def take(self, token_id: TokenId, node_id: NodeId, wall_now: float) -> bool:
        """Count one use, once for each identity.

        Returns:
            True if this identity had redeemed it before, so that nothing was counted.

        Raises:
            InviteUnknown, InviteRevoked, InviteExpired, InviteUsedUp: It may not be redeemed; nothing was counted.

        """
        ...

    def revoke(self, token_id: TokenId, wall_now: float) -> InviteRow:
        """Take a token back, and return its row; the first time stands.

        Raises:
            NoSuchInvite: The ledger has no such token.
            LedgerFull: A membership, and REVOKED_TOKENS_MAX of its issuer are revoked already.

        """
        ...

    def standing(self, token_id: TokenId) -> InviteStanding | None:
        """How one token stands; None if the ledger has none of this id."""
        ...

    def standings(self) -> list[InviteStanding]:
        """All tokens, the newest first; expired ones may be among them. At most INVITES_MAX."""
        ...

    def redeemed_by(self, node_id: NodeId) -> list[TokenId]:
        """The invites that an identity redeemed, of those still in the ledger: to be revoked when it is removed."""
        ...

    def forget_expired(self, wall_now: float) -> int:
        """Drop tokens that nobody accepts any more, with their uses; how many tokens. By a clock that is believed only."""
        ...


class Registrar(Protocol):
    """Redeems the invites of whoever issued them, for peers that ask by REDEEM (PROTOCOL.md section 12)."""

    async def redeem(self, redemption: Redemption, joiner: PublicKey) -> RedeemAnswer:
        """Judge, count and act for a peer whose key the handshake proved. Raises NotTheIssuer, StoreError."""
        ...

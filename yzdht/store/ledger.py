"""The issuer's ledger on disk: what a home issued, and who redeemed it (PROTOCOL.md section 12).

Every decision is `yzdht.crypto.invite_ledger`'s, made inside the transaction that writes, so that two processes cannot both
count the last use; durable before a call returns. Holds no secret: neither those of bearer links nor any key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.crypto.invite_ledger import Load, decide_entry, decide_revocation, decide_use
from yzdht.ids import NodeId, PublicKey, TokenId
from yzdht.limits import CLOCK_SKEW_S
from yzdht.ports import InviteRow, InviteStanding, InviteUse
from yzdht.store.schema import Schema
from yzdht.store.shared_file import SharedFile
from yzdht.wire.token import TokenType


if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


_TABLES = (
    """
    CREATE TABLE invites (
        token_id BLOB PRIMARY KEY,
        type INTEGER NOT NULL,
        issuer BLOB NOT NULL,
        scope BLOB NOT NULL,
        subject BLOB NOT NULL,
        not_after INTEGER NOT NULL,
        uses_max INTEGER NOT NULL,
        issued_at INTEGER NOT NULL,
        revoked_at INTEGER,
        has_history INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE uses (
        token_id BLOB NOT NULL,
        node_id BLOB NOT NULL,
        used_at INTEGER NOT NULL,
        PRIMARY KEY (token_id, node_id)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX uses_by_person ON uses (node_id, token_id)",
)

LEDGER_SCHEMA = Schema(application_id=0x595A444C, steps=(_TABLES,))  # "YZDL"

_USES = "(SELECT count(*) FROM uses WHERE uses.token_id = invites.token_id)"
_COLUMNS = "token_id, type, issuer, scope, subject, not_after, uses_max, issued_at, revoked_at, has_history"
_SELECT = f"SELECT {_COLUMNS}, {_USES} FROM invites"  # noqa: S608 - constants of this module, as below
_SELECT_ONE = f"{_SELECT} WHERE token_id = ?"
_SELECT_ALL = f"{_SELECT} ORDER BY issued_at DESC, token_id DESC"
_REPLACE = f"INSERT OR REPLACE INTO invites ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - as above
_LOAD = f"SELECT count(*), coalesce(sum(iif(revoked_at IS NULL, uses_max, {_USES})), 0) FROM invites"  # noqa: S608 - as above
_COUNT_REVOKED = (
    "SELECT count(*) FROM invites WHERE type = ? AND uses_max = 0 AND issuer = ? AND revoked_at IS NOT NULL"
)
_SELECT_USE = "SELECT 1 FROM uses WHERE token_id = ? AND node_id = ?"
_INSERT_USE = "INSERT INTO uses (token_id, node_id, used_at) VALUES (?, ?, ?)"
_SELECT_USES = "SELECT token_id, node_id, used_at FROM uses"
_SELECT_USED = "SELECT token_id FROM uses WHERE node_id = ? ORDER BY token_id"
_FORGET = "DELETE FROM invites WHERE not_after < ?"
_FORGET_USES = "DELETE FROM uses WHERE token_id NOT IN (SELECT token_id FROM invites)"


class SqliteLedger:
    """An `InviteLedger` in a file that several processes may share; every method may wait for the disk.

    Args:
        path: The file, created if needed; its folder exists.

    Raises:
        NewerFormat: A newer version of yzdht wrote it.
        UnsafeFile: Others can write it.
        StoreError: It cannot be opened, is damaged or belongs to another program. Every method may raise it too.

    """

    def __init__(self, path: Path) -> None:
        self._file = SharedFile(path, LEDGER_SCHEMA)
        self._connection = self._file.connection

    def add(self, row: InviteRow) -> None:
        """Enter a token, before anybody is handed it. A membership that is there already lives for the longer of both.

        Raises:
            LedgerFull: There is no room for it, or for the uses it promises; forget what has expired first.
            InviteRevoked: A membership that was taken back.
            UsageError: Another token has this id.

        """

        def enter() -> None:
            known = self._standing(row.token_id)
            load = Load(*self._connection.execute(_LOAD).fetchone())
            self._replace(decide_entry(None if known is None else known.row, row, load))

        self._file.transact(enter)

    def take(self, token_id: TokenId, node_id: NodeId, wall_now: float) -> bool:
        """Count one use, once for each identity.

        Returns:
            True if this identity had redeemed it before, so that nothing was counted.

        Raises:
            InviteUnknown, InviteRevoked, InviteExpired, InviteUsedUp: It may not be redeemed; nothing was counted.

        """

        def count() -> bool:
            use = (token_id, node_id)
            has_redeemed = self._connection.execute(_SELECT_USE, use).fetchone() is not None
            is_again = decide_use(self._standing(token_id), wall_now, has_redeemed=has_redeemed)
            if not is_again:
                self._connection.execute(_INSERT_USE, (*use, int(wall_now)))
            return is_again

        return self._file.transact(count)

    def revoke(self, token_id: TokenId, wall_now: float) -> InviteRow:
        """Take a token back, and return its row; the first time stands.

        Raises:
            NoSuchInvite: The ledger has no such token.
            LedgerFull: A membership, and REVOKED_TOKENS_MAX of its issuer are revoked already.

        """

        def take_back() -> InviteRow:
            known = self._standing(token_id)
            issuer = b"" if known is None else known.row.issuer
            [revoked] = self._connection.execute(_COUNT_REVOKED, (TokenType.NETWORK, issuer)).fetchone()
            kept = decide_revocation(None if known is None else known.row, wall_now, revoked)
            self._replace(kept)
            return kept

        return self._file.transact(take_back)

    def standing(self, token_id: TokenId) -> InviteStanding | None:
        """How one token stands; None if the ledger has none of this id."""
        return self._standing(token_id)

    def standings(self) -> list[InviteStanding]:
        """All tokens, the newest first; expired ones may be among them. At most INVITES_MAX."""
        return [_standing_of(row) for row in self._file.all(_SELECT_ALL)]

    def uses(self) -> list[InviteUse]:
        """Every use, in no order that means anything."""
        rows = self._file.all(_SELECT_USES)
        return [InviteUse(TokenId(row[0]), NodeId(row[1]), row[2]) for row in rows]

    def redeemed_by(self, node_id: NodeId) -> list[TokenId]:
        """The invites that an identity redeemed, of those still in the ledger: to be revoked when it is removed."""
        rows = self._file.all(_SELECT_USED, (node_id,))
        return [TokenId(row[0]) for row in rows]

    def forget_expired(self, wall_now: float) -> int:
        """Drop tokens that nobody accepts any more, with their uses; how many tokens. By a clock that is believed only."""

        def forget() -> int:
            count = self._connection.execute(_FORGET, (wall_now - CLOCK_SKEW_S,)).rowcount
            self._connection.execute(_FORGET_USES)
            return count

        return self._file.transact(forget)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _standing(self, token_id: TokenId) -> InviteStanding | None:
        row = self._file.first(_SELECT_ONE, (token_id,))
        return None if row is None else _standing_of(row)

    def _replace(self, row: InviteRow) -> None:
        self._connection.execute(_REPLACE, row)


def _standing_of(row: tuple[Any, ...]) -> InviteStanding:
    token_id, kind, issuer, scope, subject, *numbers, has_history, uses = row
    not_after, uses_max, issued_at, revoked_at = numbers
    kept = InviteRow(
        TokenId(token_id),
        TokenType(kind),
        PublicKey(issuer),
        scope,
        subject,
        not_after,
        uses_max,
        issued_at,
        revoked_at,
        has_history=bool(has_history),
    )
    return InviteStanding(kept, uses)

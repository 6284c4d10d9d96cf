"""Protocols for effects: what the cores ask of the world, and what transport/, store/, the shell and tests supply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ids import (
        NetworkId,
        NodeId,
        PublicKey,
        Publisher,
        RecordHash,
        Signature,
        Target,
        TokenId,
    )
    from yzdht.wire.record import Record
    from yzdht.wire.rpc import RedeemAnswer
    from yzdht.wire.slot import Head, Write
    from yzdht.wire.token import Redemption, TokenType


class Now(NamedTuple):
    """One instant, handed to every core that needs time.

    Attributes:
        mono: Monotonic seconds; deadlines and intervals.
        wall: Unix seconds; only where the protocol asks for wall time.

    """

    mono: float
    wall: float


class Rng(Protocol):
    """Randomness as an argument: the system's in the shell, a seeded one in the simulator."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high]; for jitter, never for secrets."""
        ...


class Signer(Protocol):
    """Holds a signing key without showing it."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, label: str, network: NetworkId, message: bytes) -> Signature:
        """Sign lp(label) ‖ NET ‖ message (PROTOCOL.md section 1)."""
        ...


class RecordVerifier(Protocol):
    """Checks that a record is its publisher's and belongs under a target."""

    def check_target(self, record: Record, target: Target) -> None:
        """Check that it belongs there, without looking at its signature.

        Raises:
            WrongTarget: It is a record of another target.

        """
        ...

    def verify_record(self, record: Record, target: Target) -> None:
        """Check target and signature.

        Raises:
            WrongTarget: It is a record of another target.
            InvalidSignature: The signature does not verify.

        """
        ...

    def check_times(self, record: Record, wall_now: float) -> None:
        """Check created and expires as a storing node does (PROTOCOL.md section 8).

        Raises:
            LifetimeRefused: Out of range.

        """
        ...

    def is_move(self, record: Record) -> bool:
        """True for a move record, which is kept like an immutable one (PROTOCOL.md section 13)."""
        ...


# Transport


class Endpoint(NamedTuple):
    """Where the other end of a channel was seen.

    Attributes:
        host: IP address in text form; a name of its own for the memory transport.
        port: 0 to 65535; 0 if nobody knows it.
        protocol: `ws`, `wss`, `tcp`, `udp` or `memory`.
        proxy: IP of the trusted proxy in between, which told the host; empty if there is none.

    """

    host: str
    port: int
    protocol: str
    proxy: str = ""


class Link(Protocol):
    """One open channel that carries whole binary messages in order."""

    @property
    def remote(self) -> Endpoint:
        """The other end, as this machine sees it."""
        ...

    @property
    def bytes_in(self) -> int:
        """Bytes that arrived, framing included; those of the opening may be left out."""
        ...

    @property
    def bytes_out(self) -> int:
        """Bytes handed to the channel below, as `bytes_in`."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes that wait in this process, to be sent or to be delivered."""
        ...

    @property
    def is_congested(self) -> bool:
        """True while more than LINK_UNSENT_BYTES_HIGH bytes wait to be sent."""
        ...

    def send(self, message: bytes) -> None:
        """Queue one message; a no-op on a link that is closing. Never blocks."""
        ...

    def pause_reading(self) -> None:
        """Stop delivering messages; the sender will feel it. Idempotent."""
        ...

    def resume_reading(self) -> None:
        """Deliver messages again. Idempotent."""
        ...

    def close(self) -> None:
        """Send what is queued, then close; aborts by itself if the peer stalls. Idempotent."""
        ...

    def abort(self) -> None:
        """Close at once and drop what is queued. Idempotent."""
        ...


class LinkHandler(Protocol):
    """Whoever owns a link is told what happens on it, on the event loop, never re-entrantly from send()."""

    def on_message(self, message: bytes) -> None:
        """One whole message arrived."""
        ...

    def on_writable(self) -> None:
        """The link was congested and no longer is."""
        ...

    def on_closed(self, reason: str) -> None:
        """The link is gone; called exactly once, last."""
        ...


Accept = "Callable[[Link], LinkHandler | None]"
"""Called for every incoming link; None refuses it, and the link is aborted."""


class Listener(Protocol):
    """An address that is being listened on."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Where it listens, with the real port."""
        ...

    async def close(self) -> None:
        """Stop accepting; links already open stay open."""
        ...


class Transport(Protocol):
    """One way to open channels."""

    @property
    def schemes(self) -> frozenset[str]:
        """URL schemes that it dials."""
        ...

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> Link:
        """Open a channel.

        Args:
            url: An address whose scheme is one of `schemes`.
            accept: Called once with the open link, before any message is delivered; returns its handler.
            timeout_s: For the whole opening.
            hosts: IP addresses to dial for its name, judged before. Empty: it is looked up here.
            avoid: IP addresses that are not dialled though the name leads there; NoOtherAddress if to no others.

        Raises:
            DialFailed: Refused, unreachable, timed out, or not a node.

        """
        ...

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> Listener:
        """Accept channels.

        Args:
            host: Address to bind; `::` for all, `0.0.0.0` for all of IPv4.
            port: 0 picks a free one.
            accept: Called for every link whose opening handshake is done.
            admit: Asked for every connection, when nothing was done for it yet; False drops it. None admits all.

        Raises:
            ListenFailed: The address is taken or not this machine's.

        """
        ...


# Store


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as a store holds it.

    Attributes:
        head: Its slot's state.
        publisher: Who signed it, or empty bytes.
        body: The whole record, signature included.

    """

    head: Head
    publisher: Publisher
    body: bytes


class StoredHead(NamedTuple):
    """One record as a store holds it, without its body: `head` and `publisher` as those of StoredRecord."""

    head: Head
    publisher: Publisher


class StoreTotals(Protocol):
    """What a store holds."""

    @property
    def records(self) -> int:
        """Records with a body, expired ones not yet swept included."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes of those bodies."""
        ...


class RecordStore(Protocol):
    """Records on this node's disk or in its memory.

    What reads is synchronous, bounded and sees writes that are submitted but not yet committed. What
    may replace what is `yzdht.wire.slot.judge`, decided inside the writer's transaction.
    """

    def head(self, target: Target, publisher: Publisher) -> Head | None:
        """State of one slot, tombs of expired records included; None if never seen."""
        ...

    def get(self, target: Target, wall_now: float) -> list[StoredRecord]:
        """Records under a target that have not expired, newest first; at most MULTI_ENTRIES_MAX."""
        ...

    def heads(self, target: Target, wall_now: float) -> list[StoredHead]:
        """What `get` returns, without reading a body."""
        ...

    def body(self, target: Target, publisher: Publisher, record_hash: RecordHash) -> bytes | None:
        """The record of a slot, if it is still that one; for what `heads` returned in the same turn of the loop."""
        ...

    def targets(self, after: Target | None, limit: int) -> list[tuple[Target, Publisher, Head]]:
        """One page of the slots that have a body, by target; expired ones may be among them.

        Args:
            after: The last target of the page before; None for the first page.
            limit: Rows wanted, at least 1; all entries of the last target are added, at most MULTI_ENTRIES_MAX.

        Returns:
            Fewer than `limit` rows when nothing follows them.

        """
        ...

    def totals(self) -> StoreTotals:
        """How much is held."""
        ...

    def submit(self, op: int, write: Write) -> None:
        """Queue a durable write; its verdict is handed to the sink given at opening, with the same `op`."""
        ...

    def has_room(self) -> bool:
        """False while STORE_QUEUE_WRITES_MAX writes wait."""
        ...

    async def close(self) -> None:
        """Commit what is queued, then close."""
        ...


VerdictSink = "Callable[[list[tuple[int, Verdict]]], None]"
"""Called on the event loop with the verdicts of one committed batch, in the order of submission."""


# The reader's memory


class Mark(NamedTuple):
    """The newest record of a slot that this home has seen (PROTOCOL.md section 8, Reader)."""

    seq: int
    hash: RecordHash
    expires: int
    is_tombstone: bool


class KeptIdentity(NamedTuple):
    """The identity record of somebody, as this home saw it last.

    Attributes:
        record: The whole record; it was verified.
        seen_at: Unix seconds at which nodes showed it last.

    """

    record: bytes
    seen_at: float


class KeptMove(NamedTuple):
    """What a home knows of the move slot of somebody (PROTOCOL.md section 13).

    Attributes:
        record: The whole move record; it was verified, as was its payload. Empty if none was ever shown.
        seq: Its sequence number; 0 if there is none.
        is_revocation: True if it says that the identity is revoked.
        looked_at: Unix seconds at which nodes were asked last, and answered.

    """

    record: bytes
    seq: int
    is_revocation: bool
    looked_at: float

    def after(self, known: KeptMove | None) -> KeptMove:
        """What is known once this was seen: a revocation for ever, else what has the larger seq."""
        if known is None or self.is_revocation or not known.record:
            return self
        if known.is_revocation or not self.record or self.seq < known.seq:
            return known._replace(looked_at=self.looked_at)
        return self


class Marks(Protocol):
    """High-water marks and what else a home remembers; durable before it returns."""

    def get(self, target: Target) -> Mark | None:
        """The mark of a slot, None if it was never read or written."""
        ...

    def raise_to(self, target: Target, mark: Mark) -> None:
        """Remember `mark` if it is newer than what is known (order: seq, expires, hash)."""
        ...

    def met(self, public_key: PublicKey) -> None:
        """Remember an identity, so that its fingerprint resolves."""
        ...

    def resolve_fingerprint(self, fingerprint: str) -> PublicKey | None:
        """The identity of a 16-symbol fingerprint among those met; None if unknown."""
        ...

    def published_at(self, node_id: NodeId, network: NetworkId) -> float | None:
        """Unix seconds at which this home last published that identity record; None if never."""
        ...

    def set_published_at(self, node_id: NodeId, network: NetworkId, wall: float) -> None:
        """Remember when the identity record was published."""
        ...

    def identity_record(self, node_id: NodeId, network: NetworkId) -> KeptIdentity | None:
        """The identity record of somebody as it was seen last; None if it never was, or was forgotten."""
        ...

    def keep_identity_record(self, node_id: NodeId, network: NetworkId, kept: KeptIdentity) -> None:
        """Keep it in place of the one before; of too many the one that was seen longest ago is forgotten."""
        ...

    def move(self, node_id: NodeId, network: NetworkId) -> KeptMove | None:
        """What is known of the move slot of somebody; None if nodes were never asked."""
        ...

    def keep_move(self, node_id: NodeId, network: NetworkId, kept: KeptMove) -> None:
        """Keep what follows from it and from what was known (`KeptMove.after`).

        Of too many the one that was asked for longest ago is forgotten, of those first that never moved; no revocation is.
        """
        ...


class GroupShelf(Protocol):
    """The groups that a home knows, sealed, by the names that it gives them; durable before it returns."""

    def names(self, network: NetworkId) -> list[str]:
        """All groups of a network, by name."""
        ...

    def get(self, network: NetworkId, name: str) -> bytes | None:
        """What is kept of a group; None if there is none of this name."""
        ...

    def check_new(self, network: NetworkId, name: str) -> None:
        """Refuse a name that is none or taken, and one group too many."""
        ...

    def add(self, network: NetworkId, name: str, sealed: bytes) -> None:
        """Keep a new group; refuses as `check_new`."""
        ...

    def change(self, network: NetworkId, name: str, make: Callable[[bytes], bytes]) -> None:
        """Replace what is kept of a group, if it is still there, by what `make` makes of what is there now."""
        ...

    def remove(self, network: NetworkId, name: str) -> None:
        """Forget a group; nothing happens if there is none of this name."""
        ...


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

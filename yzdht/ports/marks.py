"""What a home remembers of what it read, and the groups that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NetworkId, NodeId, PublicKey, RecordHash, Target


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

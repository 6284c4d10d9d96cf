"""Records on this node's disk or in its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from yzdht.ids import Publisher, RecordHash, Target
    from yzdht.wire.slot import Head, Write


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

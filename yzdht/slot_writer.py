"""Values written into slots (PROTOCOL.md section 8, Order): how each is sealed for its try, and what its writer learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from yzdht.crypto.sealing import RecordDraft
from yzdht.errors import Conflict
from yzdht.limits import RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.quorum_writer import QuorumWriter
from yzdht.wire.record import seq_at
from yzdht.wire.slot import Kind
from yzdht.wire.text import encode_slot_link


if TYPE_CHECKING:
    from yzdht.access import Access
    from yzdht.crypto.group_records import KnownEpoch
    from yzdht.crypto.sealing import SealedFor
    from yzdht.ids import PublicKey
    from yzdht.quorum_writer import Written
    from yzdht.slots import Slot, SlotReader
    from yzdht.wire.record import Record


@dataclass(frozen=True, slots=True)
class Receipt:
    """A write that a quorum holds durably.

    Attributes:
        publisher: Who signed it.
        seq: Its sequence number.
        expires: Unix seconds.
        link: `yz:` link that names the slot to others; empty for an entry, which no link names.
        accepted: Replicas that had stored it when the write returned.
        asked: Replicas that were asked.
        needed: Replicas that had to.
        warnings: What its publisher should know, a sentence each: of readers whose key is past its time.

    """

    publisher: PublicKey
    seq: int
    expires: int
    link: str
    accepted: int
    asked: int
    needed: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """One write as its caller wants it; content keys are made at every sealing.

    Attributes:
        slot: Where.
        value: What; None deletes.
        sealed_for: Who reads it.
        life_s: Seconds it lives at least.
        if_seq: The seq that must be stored now, 0 for nothing; None to replace whatever is older.
        warnings: For the receipt.
        least_seq: What the seq is at least: above those of other entries that it has to outdo.

    """

    slot: Slot
    value: bytes | None
    sealed_for: SealedFor | KnownEpoch
    life_s: int
    if_seq: int | None
    warnings: tuple[str, ...] = ()
    least_seq: int = 0


class Sealer(Protocol):
    """Seals and signs: for an identity, or for a group."""

    def seal(self, draft: RecordDraft, value: bytes | None, sealed_for: SealedFor | KnownEpoch) -> Record:
        """Build a signed record; a tombstone for no value."""
        ...


class SlotWriter:
    """Writes slots of one publisher in one network.

    Args:
        access: The way to the replicas.
        slots: Reads through it, and knows what this home has seen.
        keys: Seals and signs.

    """

    def __init__(self, access: Access, slots: SlotReader, keys: Sealer) -> None:
        self._access = access
        self._slots = slots
        self._keys = keys
        self._writer = QuorumWriter(access, slots)

    async def write(self, intent: Intent) -> Receipt:
        """Write until a quorum holds it.

        Raises:
            UsageError: The value and its readers do not fit a record.
            CasMismatch, Conflict, WriteQuorumFailed, NoNode: As of `QuorumWriter.write`.

        """
        return receipt_of(intent, await self.write_record(intent))

    async def write_record(self, intent: Intent) -> Written:
        """Write until a quorum holds it; the record that it holds, and how many do. Raises as `write`."""

        async def seal(least_seq: int) -> Record:
            return self._seal(intent, least_seq)

        return await self._writer.write(intent.slot, seal, intent.if_seq)

    def _seal(self, intent: Intent, least_seq: int) -> Record:
        slot, mark = intent.slot, self._slots.mark(intent.slot)
        wall = self._access.now().wall
        created = int(wall)
        expires = created + intent.life_s
        if mark is not None:
            least_seq = max(least_seq, 1 + mark.seq)
            expires = min(max(expires, mark.expires), created + RECORD_LIFE_S_MAX)
        seq = max(least_seq, intent.least_seq, seq_at(wall))
        if seq >= SEQ_MAX:
            raise Conflict(
                "this slot has used up its sequence numbers",
                hint="somebody did that on purpose: choose another name",
            )
        draft = RecordDraft(slot.kind, created, expires, seq, slot.tag, intent.value is None)
        return self._keys.seal(draft, intent.value, intent.sealed_for)


def receipt_of(intent: Intent, written: Written) -> Receipt:
    """What a writer learns of a record that a quorum holds."""
    (record, done), slot = written, intent.slot
    return Receipt(
        publisher=slot.publisher,
        seq=record.seq,
        expires=record.expires,
        link=encode_slot_link(slot.publisher, slot.tag) if slot.kind is Kind.MUTABLE else "",
        accepted=done.accepted,
        asked=done.asked,
        needed=done.needed,
        warnings=intent.warnings,
    )

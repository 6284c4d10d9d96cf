"""Slots written until a quorum holds them (PROTOCOL.md section 8, Order): seqs, tries, and what a refusal is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.access import refused
from yzdht.crypto.sealing import RecordDraft
from yzdht.errors import CasMismatch, Conflict, CryptoError, LookupFailed, NoNode, WireError
from yzdht.limits import CLOCK_SKEW_S, PUT_RETRIES_MAX, RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind
from yzdht.wire.text import encode_slot_link


if TYPE_CHECKING:
    from yzdht.access import Access, Writing
    from yzdht.crypto.sealing import SealedFor
    from yzdht.ids import PublicKey
    from yzdht.ports import Now
    from yzdht.reader_keys import ReaderKeys
    from yzdht.slots import Slot, SlotReader
    from yzdht.wire.record import Record


_MS = 1_000
_OUTRUN = (Status.SEQ_TOO_LOW, Status.EQUIVOCATION)


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

    """

    slot: Slot
    value: bytes | None
    sealed_for: SealedFor
    life_s: int
    if_seq: int | None
    warnings: tuple[str, ...] = ()


class SlotWriter:
    """Writes slots of one identity in one network.

    Args:
        access: The way to the replicas.
        slots: Reads through it, and knows what this home has seen.
        keys: Seals and signs.

    """

    def __init__(self, access: Access, slots: SlotReader, keys: ReaderKeys) -> None:
        self._access = access
        self._slots = slots
        self._keys = keys

    async def write(self, intent: Intent) -> Receipt:
        """Write until a quorum holds it.

        Raises:
            UsageError: The value and its readers do not fit a record.
            CasMismatch: Not `if_seq` is stored.
            Conflict: Another device of this identity won each of several attempts.
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.

        """
        least_seq = 1 + (intent.if_seq or 0)
        for retries_left in reversed(range(1 + PUT_RETRIES_MAX)):
            now = self._access.now()
            record = self._seal(intent, least_seq, now)
            done = await self._access.write(intent.slot.target, record.raw, intent.if_seq, 0)
            # A quorum beside a holder of something newer is no success yet: that record would win every read.
            newer_seq = await self._newer_seq(intent, record, done, now)
            if done.is_quorum and not (newer_seq and retries_left):
                return self._receipt(intent, record, done)
            if done.refusal is Status.CAS_MISMATCH:
                again = await self._is_ours(intent, record, done)
                if again is None:
                    raise CasMismatch(done.number)
                return self._receipt(intent, record, again)
            if done.refusal not in _OUTRUN:
                raise refused(done, now)
            if intent.if_seq is not None:
                raise CasMismatch(done.number)
            if not newer_seq:
                raise Conflict("a node claims a newer record and cannot show it")
            least_seq = 1 + newer_seq
        raise Conflict("another writer of this identity was faster each time")

    async def _is_ours(self, intent: Intent, record: Record, done: Writing) -> Writing | None:
        """How this very record stands, if it is what the condition met; None if it is not.

        A node may have stored it and never answered, so that the next one finds it there. The bytes are the same, and are
        written again without the condition.
        """
        if done.number != record.seq:
            return None
        try:
            seen = await self._slots.read(intent.slot)
        except (WireError, CryptoError, LookupFailed):
            return None
        if seen is None or seen.record.hash != record.hash:
            return None
        again = await self._access.write(intent.slot.target, record.raw, None, 0)
        return again if again.is_quorum else None

    async def _newer_seq(self, intent: Intent, record: Record, done: Writing, now: Now) -> int:
        """The seq that outran a record, 0 if none did.

        One far in the future counts only if a verified record carries it: a liar could use up all numbers, and one
        among many holders could keep every write from ending.
        """
        if intent.if_seq is not None or done.refusal not in _OUTRUN or done.number < record.seq:
            return 0
        if done.number <= (now.wall + CLOCK_SKEW_S) * _MS:
            return done.number
        try:
            seen = await self._slots.read(intent.slot)
        except NoNode:
            raise
        except (WireError, CryptoError, LookupFailed):
            seen = None
        return seen.record.seq if seen is not None and seen.record.seq > record.seq else 0

    def _seal(self, intent: Intent, least_seq: int, now: Now) -> Record:
        slot, mark = intent.slot, self._slots.mark(intent.slot)
        created = int(now.wall)
        expires = created + intent.life_s
        if mark is not None:
            least_seq = max(least_seq, 1 + mark.seq)
            expires = min(max(expires, mark.expires), created + RECORD_LIFE_S_MAX)
        seq = max(least_seq, int(now.wall * _MS))
        if seq >= SEQ_MAX:
            raise Conflict("this slot has used up its sequence numbers")
        draft = RecordDraft(slot.kind, created, expires, seq, slot.tag, intent.value is None)
        return self._keys.seal(draft, intent.value, intent.sealed_for)

    def _receipt(self, intent: Intent, record: Record, done: Writing) -> Receipt:
        slot = intent.slot
        self._slots.remember(slot, record)
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

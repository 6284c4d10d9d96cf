"""One slot's record written until a quorum holds it (PROTOCOL.md section 8, Order): tries, and what a refusal is worth.

Owns when to seal again with a higher seq and when to give up; what is sealed is its caller's. Reaches the network through
`Access`; reads no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.access import refused
from yzdht.errors import CasMismatch, Conflict, CryptoError, LookupFailed, NoNode, WireError
from yzdht.limits import CLOCK_SKEW_S, PUT_RETRIES_MAX
from yzdht.wire.record import seq_at
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.access import Access, Writing
    from yzdht.slots import Slot, SlotReader
    from yzdht.wire.record import Record


_OUTRUN = (Status.SEQ_TOO_LOW, Status.EQUIVOCATION)


class Written(NamedTuple):
    """A record that a quorum holds durably, and how it got there."""

    record: Record
    done: Writing


class QuorumWriter:
    """Writes records of one identity in one network.

    Args:
        access: The way to the replicas.
        slots: Reads through it, and knows what this home has seen.

    """

    def __init__(self, access: Access, slots: SlotReader) -> None:
        self._access = access
        self._slots = slots

    async def write(
        self, slot: Slot, seal: Callable[[int], Awaitable[Record]], if_seq: int | None = None
    ) -> Written:
        """Write until a quorum holds it, and remember it.

        Args:
            slot: Where.
            seal: Makes the record of the present, with at least the seq that it is given; called at every try.
            if_seq: The seq that must be stored now, 0 for nothing; None to replace whatever is older.

        Raises:
            CasMismatch: Not `if_seq` is stored.
            Conflict: Another device of this identity won each of several attempts.
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.
            YzError: What `seal` raises.

        """
        least_seq = 1 + (if_seq or 0)
        for retries_left in reversed(range(1 + PUT_RETRIES_MAX)):
            record = await seal(least_seq)
            done = await self._access.write(slot.target, record.raw, if_seq, 0)
            # A quorum beside a holder of something newer is no success yet: that record would win every read.
            newer_seq = await self._newer_seq(slot, record, done) if if_seq is None else 0
            if done.is_quorum and not (newer_seq and retries_left):
                return self._written(slot, record, done)
            if done.refusal is Status.CAS_MISMATCH:
                again = await self._is_ours(slot, record, done)
                if again is None:
                    raise CasMismatch(done.number)
                return self._written(slot, record, again)
            if done.refusal not in _OUTRUN:
                raise refused(done, self._access.now())
            if if_seq is not None:
                raise CasMismatch(done.number)
            if not newer_seq:
                raise Conflict("a node claims a newer record and cannot show it")
            least_seq = 1 + newer_seq
        raise Conflict("another writer of this identity was faster each time")

    def _written(self, slot: Slot, record: Record, done: Writing) -> Written:
        self._slots.remember(slot, record)
        return Written(record, done)

    async def _is_ours(self, slot: Slot, record: Record, done: Writing) -> Writing | None:
        """How this very record stands, if it is what the condition met; None if it is not.

        A node may have stored it and never answered, so that the next one finds it there. The bytes are the same, and are
        written again without the condition.
        """
        if done.number != record.seq:
            return None
        shown = await self._shown(slot)
        if shown is None or shown.hash != record.hash:
            return None
        again = await self._access.write(slot.target, record.raw, None, 0)
        return again if again.is_quorum else None

    async def _newer_seq(self, slot: Slot, record: Record, done: Writing) -> int:
        """The seq that outran a record, 0 if none did.

        One far in the future counts only if a verified record carries it: a liar could use up all numbers, and one
        among many holders could keep every write from ending.
        """
        if done.refusal not in _OUTRUN or done.number < record.seq:
            return 0
        if done.number <= seq_at(self._access.now().wall + CLOCK_SKEW_S):
            return done.number
        shown = await self._shown(slot)
        return shown.seq if shown is not None and shown.seq > record.seq else 0

    async def _shown(self, slot: Slot) -> Record | None:
        """What nodes show in the slot, verified; None if that is nothing."""
        try:
            seen = await self._slots.read(slot)
        except NoNode:
            raise
        except (WireError, CryptoError, LookupFailed):
            return None
        return None if seen is None else seen.record

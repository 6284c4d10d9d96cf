"""Who moved to another key, and whose key is revoked: looked up beside what is read, and published (PROTOCOL.md section 13).

Owns when nodes are asked about somebody, what is remembered of the answer, and what follows from it. A revocation that was
seen once holds for ever, whatever nodes show later; nobody is followed to a new key unasked, for whoever stole the old
one could have named it. What is known is stored again once a day, since holders keep it for a month only. Reaches the
network through `Access`, the disk through `Marks`; reads no clock.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.access import refused
from yzdht.crypto.moving import (
    REVOCATION_SEQ,
    Moved,
    Revoked,
    consent,
    decode_move,
    read_move,
    sign_move,
    sign_revocation,
)
from yzdht.crypto.naming import fingerprint, move_tag, mutable_target, node_id_of
from yzdht.crypto.sealing import Author
from yzdht.errors import (
    Conflict,
    CryptoError,
    IdentityMoved,
    IdentityRevoked,
    LookupFailed,
    NoNode,
    PersonMoved,
    PublisherRevoked,
    StaleRecord,
    WireError,
    YzError,
)
from yzdht.limits import MOVE_LOOKED_UP_S, MOVE_UNSEEN_S_MAX, PUT_RETRIES_MAX
from yzdht.ports import KeptMove
from yzdht.slots import Slot, publisher_of
from yzdht.wire.record import decode_record, order_key
from yzdht.wire.rpc import Status
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from yzdht.access import Access, Reading, Writing
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId, PublicKey, Target
    from yzdht.ports import Marks, Signer
    from yzdht.slots import SlotReader
    from yzdht.wire.record import Record


_MS = 1_000
_OUTRUN = (Status.SEQ_TOO_LOW, Status.EQUIVOCATION)
_NO_FAULTS: Mapping[PublicKey, YzError] = {}


class Beside(NamedTuple):
    """What was read, and who could not be looked up beside it.

    Attributes:
        readings: As of `Access.read`.
        faults: What was wrong with the answers about whom.

    """

    readings: list[list[Reading]]
    faults: Mapping[PublicKey, YzError]


@dataclass(frozen=True, slots=True)
class Announced:
    """A move or a revocation that a quorum holds.

    Attributes:
        publisher: Whose identity moved or is revoked.
        successor: Whereto, 33 bytes; None for a revocation.
        accepted: Replicas that had stored it when the write returned.
        asked: Replicas that were asked.
        needed: Replicas that had to.

    """

    publisher: PublicKey
    successor: PublicKey | None
    accepted: int
    asked: int
    needed: int


def known_end(kept: KeptMove | None) -> Moved | Revoked | None:
    """What a home knows of somebody's end, from what it keeps; None for nothing."""
    if kept is None or not kept.record:
        return None
    return decode_move(decode_record(kept.record).payload)  # its signatures were verified before it was kept


def person_moved(person: PublicKey, successor: PublicKey) -> PersonMoved:
    """What to say of somebody who moved: whereto, and what to do before anybody follows."""
    old, new = fingerprint(node_id_of(person)), fingerprint(node_id_of(successor))
    hint = (
        f"compare fingerprints with them, by voice or face to face: {new}; if it is theirs: "
        f"yz id add NAME {encode_public_key(successor)} --force"
    )
    return PersonMoved(f"{old} moved to {new}", successor, hint=hint)


class Moves:
    """The ends of identities, as one home knows them in one network.

    Args:
        identity: Whose home it is.
        network: NET.
        access: The way to the replicas.
        slots: Reads through it.
        marks: What this home has seen.

    """

    def __init__(
        self, identity: IdentityKeys, network: NetworkId, access: Access, slots: SlotReader, marks: Marks
    ) -> None:
        self._own = identity.public_key
        self._author = Author(identity.signer, identity.self_key, network)
        self._network = network
        self._tag = move_tag(network)
        self._access = access
        self._slots = slots
        self._marks = marks

    # Looking up

    async def read(self, targets: Sequence[Target], people: Iterable[PublicKey], paths: int = 1) -> Beside:
        """Read targets, and in the same round the move slots of those people of whom nodes were not asked for a day.

        Nothing is asked where there is nothing to ask. What is known of those who were looked up is stored again.

        Args:
            targets: What to read.
            people: Whose records are expected there, or to whom something is to be sealed.
            paths: Disjoint paths of each read, 1 to READ_PATHS_MAX.

        Raises:
            NoNode: No node could be reached.

        """
        slots = [self._slot(person) for person in dict.fromkeys(people) if self._is_due(person)]
        if not targets and not slots:
            return Beside([], _NO_FAULTS)
        shown = await self._access.read([*targets, *(slot.target for slot in slots)], paths)
        faults: dict[PublicKey, YzError] = {}
        known: list[Slot] = []
        for slot, readings in zip(slots, shown[len(targets) :], strict=True):
            try:
                self._take(slot, readings)
            except (LookupFailed, CryptoError, WireError) as error:
                self._access.count("moves_not_looked_up")
                faults[slot.publisher] = error
            else:
                known.append(slot)
        self._prolong_beside(known)
        return Beside(shown[: len(targets)], faults)

    def _slot(self, person: PublicKey) -> Slot:
        return Slot(person, self._tag, mutable_target(self._network, person, self._tag))

    def _kept(self, person: PublicKey) -> KeptMove | None:
        return self._marks.move(node_id_of(person), self._network)

    def _age_s(self, kept: KeptMove) -> float:
        return self._access.now().wall - kept.looked_at

    def _is_due(self, person: PublicKey) -> bool:
        kept = self._kept(person)
        return kept is None or not 0 <= self._age_s(kept) < MOVE_LOOKED_UP_S

    def _take(self, slot: Slot, readings: list[Reading]) -> None:
        """Remember what the nodes showed of somebody.

        Raises:
            StaleRecord: It is less than this home has seen, and no longer has.
            ReadQuorumFailed, CryptoError, WireError: As of `SlotReader.read`.

        """
        best = self._best(self._slots.shown(slot, readings))
        is_revocation = best is not None and _is_revocation(best)
        mark = self._slots.mark(slot)
        shown_seq = 0 if best is None else best.seq
        kept = self._kept(slot.publisher)
        if mark is not None and shown_seq < mark.seq and not is_revocation and not (kept and kept.record):
            raise StaleRecord(shown_seq, mark.seq)
        raw = b"" if best is None else best.raw
        now = self._access.now().wall
        new = KeptMove(raw, shown_seq, is_revocation, now)
        self._marks.keep_move(node_id_of(slot.publisher), self._network, new)
        if best is not None:
            self._slots.remember(slot, best)

    def _best(self, records: list[Record]) -> Record | None:
        """The newest that says something; a revocation before any move, whatever its seq."""
        moves = []
        for record in records:
            try:
                read_move(record, self._network)
            except (WireError, CryptoError):
                self._access.count("rejected_moves")  # signed by its publisher, and yet no move
            else:
                moves.append(record)
        return max(moves, key=lambda record: (_is_revocation(record), *order_key(record)), default=None)

    def _prolong_beside(self, slots: list[Slot]) -> None:
        """Store again what is known of people: whoever reads keeps it alive, though its publisher lost the key."""
        known = [
            (slot.target, kept.record)
            for slot in slots
            if (kept := self._kept(slot.publisher)) and kept.record
        ]
        if known:
            self._access.start(self._prolong(known))

    async def _prolong(self, known: list[tuple[Target, bytes]]) -> None:
        for target, record in known:
            try:
                await self._access.write(target, record, None, 0)
            except YzError:
                self._access.count("moves_not_prolonged")  # for tomorrow

    # What follows

    def _end(self, person: PublicKey, faults: Mapping[PublicKey, YzError]) -> Moved | Revoked | None:
        """What is known of somebody's end.

        Raises:
            LookupFailed, CryptoError, WireError: Nothing, and nodes have not said so for MOVE_UNSEEN_S_MAX.

        """
        kept = self._kept(person)
        end = known_end(kept)
        fault = faults.get(person)
        is_long_ago = kept is None or abs(self._age_s(kept)) >= MOVE_UNSEEN_S_MAX
        if end is None and fault is not None and is_long_ago:
            raise fault
        return end

    def check_publisher(
        self, publisher: PublicKey, faults: Mapping[PublicKey, YzError] = _NO_FAULTS
    ) -> PublicKey | None:
        """Whereto a publisher moved, None for nowhere; after `read`, with its faults.

        Of one's own values nothing is refused: whoever had to revoke a key must get at what it kept.

        Raises:
            PublisherRevoked: It is revoked.
            ReadQuorumFailed, StaleRecord, CryptoError, WireError: That is not known, and was not for a week.

        """
        end = self._end(publisher, _NO_FAULTS if publisher == self._own else faults)
        if isinstance(end, Revoked) and publisher != self._own:
            raise PublisherRevoked(f"the identity {fingerprint(node_id_of(publisher))} is revoked")
        return end.successor if isinstance(end, Moved) else None

    def check_reader(self, person: PublicKey, faults: Mapping[PublicKey, YzError] = _NO_FAULTS) -> None:
        """Refuse to seal to somebody who is not who they were; after `read`, with its faults.

        Raises:
            PersonMoved: They go on under another key.
            PublisherRevoked, ReadQuorumFailed, StaleRecord, CryptoError, WireError: As of `check_publisher`.

        """
        successor = self.check_publisher(person, faults)
        if successor is not None:
            raise person_moved(person, successor)

    async def check_own(self) -> None:
        """Refuse to write as an identity that has ended; asks nodes once a day, and goes on if they do not answer.

        Raises:
            IdentityRevoked, IdentityMoved: It has.

        """
        with suppress(NoNode):  # the write says so
            await self.read([], [self._own])
        ended = self.own_end()
        if ended is not None:
            raise ended

    def own_end(self) -> IdentityRevoked | IdentityMoved | None:
        """How this home's own identity has ended, as far as it knows; None while it has not."""
        end = known_end(self._kept(self._own))
        if isinstance(end, Revoked):
            return IdentityRevoked("this identity is revoked: nobody takes what it signs")
        if isinstance(end, Moved):
            new = fingerprint(node_id_of(end.successor))
            return IdentityMoved(f"this identity moved to {new}", end.successor)
        return None

    # Publishing

    async def revoke(self) -> Announced:
        """Revoke this home's identity, for ever; errors as of `store_revocation`."""
        return await self.store_revocation(decode_record(sign_revocation(self._author)))

    async def store_revocation(self, record: Record) -> Announced:
        """Store a revocation, of whomever it is.

        Args:
            record: As `crypto.moving.verify_revocation` returns it.

        Raises:
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.

        """
        slot = self._slot(publisher_of(record))
        done = await self._access.write(slot.target, record.raw, None, 0)
        if done.refusal is Status.EQUIVOCATION and not done.is_quorum:
            [readings] = await self._access.read([slot.target])
            other = self._best(self._slots.shown(slot, readings))
            if other is not None and other.seq == REVOCATION_SEQ:  # made elsewhere: both say the same
                record = other
                done = await self._access.write(slot.target, record.raw, None, 0)
        return self._announced(slot, record, done)

    async def move(self, successor: Signer) -> Announced:
        """Say that this home's identity goes on under another key; a later move takes the place of an earlier one.

        Args:
            successor: Signs as the new identity, which agrees by that.

        Raises:
            UsageError: It is the same identity.
            IdentityRevoked: This one is revoked.
            Conflict: Somebody else with this key moved it at the same time, or used up the sequence numbers.
            ReadQuorumFailed, CryptoError, WireError: It could not be found out what is published.
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.

        """
        slot = self._slot(self._own)
        agreed = consent(successor, self._own, self._network)
        for _ in range(1 + PUT_RETRIES_MAX):
            seq = await self._next_seq(slot)
            now = self._access.now()
            record = decode_record(sign_move(self._author, agreed, int(now.wall), seq))
            done = await self._access.write(slot.target, record.raw, None, 0)
            if done.is_quorum or done.refusal not in _OUTRUN:
                return self._announced(slot, record, done)
        raise Conflict(
            "somebody else with this key was faster each time", hint="if it was stolen: yz id revoke"
        )

    async def _next_seq(self, slot: Slot) -> int:
        """Above everything that was seen in the own move slot."""
        [readings] = await self._access.read([slot.target])
        self._take(slot, readings)
        ended = self.own_end()
        if isinstance(ended, IdentityRevoked):
            raise ended
        mark = self._slots.mark(slot)
        seq = max(int(self._access.now().wall * _MS), 1 if mark is None else 1 + mark.seq)
        if seq >= REVOCATION_SEQ:
            raise Conflict(
                "the move slot has used up its sequence numbers", hint="the key was stolen: yz id revoke"
            )
        return seq

    def _announced(self, slot: Slot, record: Record, done: Writing) -> Announced:
        """What a quorum holds, remembered; whoever asked for it knows it from now on.

        Raises:
            WriteQuorumFailed: No quorum holds it.

        """
        now = self._access.now()
        if not done.is_quorum:
            raise refused(done, now)
        kept = KeptMove(record.raw, record.seq, _is_revocation(record), now.wall)
        self._marks.keep_move(node_id_of(slot.publisher), self._network, kept)
        self._slots.remember(slot, record)
        end = decode_move(record.payload)
        successor = end.successor if isinstance(end, Moved) else None
        return Announced(slot.publisher, successor, done.accepted, done.asked, done.needed)


def _is_revocation(record: Record) -> bool:
    return isinstance(decode_move(record.payload), Revoked)

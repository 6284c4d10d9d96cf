"""People in one network: one's own identity record published, and those of others found (PROTOCOL.md sections 2, 6, 8).

Owns when a record is published and with which keys, and which KEM key of somebody else is sealed to. Refuses to hide the
key of another device, and keys past their time. Reaches the network through `Access`, the disk through `Marks` and the
identity; reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.access import refused
from yzdht.crypto.naming import fingerprint, node_id_of
from yzdht.errors import (
    Conflict,
    CryptoError,
    KemKeyMissing,
    KeysUnknown,
    KeyTooOld,
    LookupFailed,
    StaleRecord,
    StoreError,
    WireError,
    YzError,
)
from yzdht.identity_record import About, sign_identity_record
from yzdht.limits import (
    DAY_S,
    KEM_KEY_USED_AFTER_S,
    PERSON_IDENTITY_LIFE_S,
    PERSON_IDENTITY_RENEW_S,
    PERSON_LOOKED_UP_S,
    PUT_RETRIES_MAX,
)
from yzdht.ports import KeptIdentity
from yzdht.slots import Slot
from yzdht.wire.address import NodeType, decode_identity_payload
from yzdht.wire.frame import Caps
from yzdht.wire.record import IDENTITY_TAG, decode_record
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.access import Access, Reading
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId, NodeId, PublicKey, Target
    from yzdht.ports import Marks
    from yzdht.slots import SlotReader
    from yzdht.wire.address import KemEntry
    from yzdht.wire.record import Record


_SUITE = 1
_OUTRUN = (Status.SEQ_TOO_LOW, Status.EQUIVOCATION)


@dataclass(frozen=True, slots=True)
class SealTo:
    """Where to seal for somebody.

    Attributes:
        person: Whose key it is.
        kem: The KEM key, 33 bytes.
        ended_s: Seconds since its end; 0 or less while it is in its time.

    """

    person: PublicKey
    kem: PublicKey
    ended_s: float


class People:
    """What one home knows of the people of one network, itself among them.

    Args:
        identity: Whose home it is.
        network: NET.
        access: The way to the replicas.
        slots: Reads through it.
        marks: What this home has seen.

    Attributes:
        identity: With the keys of the present: it changes when a KEM key is made.
        fault: Why the identity record could not be published, of what its owner has to mend; None if there is nothing.

    """

    def __init__(
        self, identity: IdentityKeys, network: NetworkId, access: Access, slots: SlotReader, marks: Marks
    ) -> None:
        self.identity = identity
        self.fault: YzError | None = None
        self._network = network
        self._access = access
        self._slots = slots
        self._marks = marks
        self._is_publishing = False

    # Oneself

    def keep_published(self, *, even_first: bool) -> None:
        """Have the identity record published beside the present call, if it is due; nobody waits for it.

        The first one goes out with the first write: whoever only reads need not be known to anybody. One that was
        refused is tried again at the next call.
        """
        if not self._is_publishing and self._is_due(even_first=even_first):
            self._is_publishing = True
            self._access.start(self._publish_in_background())

    async def _publish_in_background(self) -> None:
        try:
            await self.publish()
        except YzError as error:
            self._access.count("identity_unpublished")
            if isinstance(error, KemKeyMissing | StaleRecord | StoreError):
                self.fault = error
        finally:
            self._is_publishing = False

    def _is_due(self, *, even_first: bool) -> bool:
        last = self._marks.published_at(self.identity.node_id, self._network)
        if last is None:
            return even_first
        return self._access.now().wall - last >= PERSON_IDENTITY_RENEW_S

    async def publish(self) -> None:
        """Publish this person's identity record if that was not done lately (PROTOCOL.md section 6).

        A new KEM key is made when it is time for one, and is on disk before anybody can seal to it.

        Raises:
            KemKeyMissing: Another device published a KEM key that this one has not.
            Conflict: Another device published at the same time, each of several times.
            WriteQuorumFailed: Too few replicas stored it.
            ReadQuorumFailed: It could not be found out what is published.
            StaleRecord: Nodes hold back what another device published.
            StoreError: The keys cannot be kept.
            NoNode: No node could be reached.

        """
        if not self._is_due(even_first=True):
            return
        slot = _slot_of(self.identity.public_key)
        for _ in range(1 + PUT_RETRIES_MAX):
            published = await self._published(slot)
            await self._renew_keys(published)
            now = self._access.now()
            about = About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, PERSON_IDENTITY_LIFE_S)
            least_seq = 0 if published is None else 1 + published.seq
            record = sign_identity_record(self.identity, self._network, about, now.wall, least_seq).record
            done = await self._access.write(slot.target, record.raw, None, 0)
            if done.is_quorum:
                self._slots.remember(slot, record)
                kept = KeptIdentity(record.raw, now.wall)
                self._marks.keep_identity_record(self.identity.node_id, self._network, kept)
                self._marks.set_published_at(self.identity.node_id, self._network, now.wall)
                return
            if done.refusal not in _OUTRUN:
                raise refused(done, now)
        raise Conflict("another device of this identity published at the same time, each time")

    async def _published(self, slot: Slot) -> Record | None:
        """The own record as nodes show it; as this home published it, where they lost that or hold it back."""
        try:
            seen = await self._slots.read(slot)
        except StaleRecord as error:
            kept = self._marks.identity_record(self.identity.node_id, self._network)
            record = None if kept is None else decode_record(kept.record)
            if record is None or record.seq != error.seen_seq:
                raise  # it was another device's, whose keys this home cannot tell
            return record
        return None if seen is None else seen.record

    async def _renew_keys(self, published: Record | None) -> None:
        """Take what another process of this home made, refuse to hide a foreign key, make one if it is time.

        In this order: a key that was made before a foreign one is found would in turn be foreign there.
        """
        wall = self._access.now().wall
        named = () if published is None else _kem_of(published)
        if _missing(self.identity, named):
            await self._replace_identity(lambda: self.identity.reloaded(wall))
        if any(kem.not_after + KEM_KEY_USED_AFTER_S > wall for kem in _missing(self.identity, named)):
            self.fault = KemKeyMissing(
                "another device of this identity published a key that this one has not"
            )
            raise self.fault
        if self.identity.needs_kem_key(wall):
            await self._replace_identity(lambda: self.identity.renewed(wall))
        self.fault = None

    async def _replace_identity(self, make: Callable[[], IdentityKeys]) -> None:
        self.identity = await self._access.compute(make)

    # Others

    async def seal_to(self, people: Sequence[PublicKey]) -> list[SealTo]:
        """The KEM key of each of some people, the newest that is published.

        What was seen within PERSON_LOOKED_UP_S is taken as it is; where nodes have nothing, or nothing that is newer, what
        this home has seen before.

        Args:
            people: At most NAMED_READERS_MAX public keys.

        Raises:
            InvalidKey: One is not a compressed P-256 point.
            KeysUnknown: Nothing is published for one, and it was never seen.
            ReadQuorumFailed, StaleRecord, CryptoError, WireError: What nodes showed of one instead, as of a read.
            KeyTooOld: One ended over KEM_KEY_USED_AFTER_S ago.
            NoNode: No node could be reached.

        """
        faults = await self._look_up([p for p in people if not self._is_fresh(node_id_of(p))])
        return [self._seal_to(person, faults.get(person)) for person in people]

    def _is_fresh(self, node_id: NodeId) -> bool:
        kept = self._marks.identity_record(node_id, self._network)
        return kept is not None and 0 <= self._access.now().wall - kept.seen_at < PERSON_LOOKED_UP_S

    async def _look_up(self, people: list[PublicKey]) -> dict[PublicKey, YzError]:
        """Ask nodes for some people at once; what was wrong with the answer for whom."""
        if not people:
            return {}
        slots = [_slot_of(person) for person in people]
        shown = await self._access.read([slot.target for slot in slots])
        faults: dict[PublicKey, YzError] = {}
        for slot, readings in zip(slots, shown, strict=True):
            try:
                self._take(slot, readings)
            except (LookupFailed, CryptoError, WireError) as error:
                faults[slot.publisher] = error
        return faults

    def _take(self, slot: Slot, readings: list[Reading]) -> None:
        seen = self._slots.newest(slot, readings)
        if seen is not None:
            decode_identity_payload(seen.record.payload)
            kept = KeptIdentity(seen.record.raw, self._access.now().wall)
            self._marks.keep_identity_record(node_id_of(slot.publisher), self._network, kept)

    def _seal_to(self, person: PublicKey, fault: YzError | None) -> SealTo:
        node_id = node_id_of(person)
        kept = self._marks.identity_record(node_id, self._network)
        known = [] if kept is None else [k for k in _kem_of(decode_record(kept.record)) if k.suite == _SUITE]
        if not known and fault is not None:
            raise fault
        if not known:
            raise KeysUnknown(f"no keys of {fingerprint(node_id)} are published")
        newest = max(known, key=lambda kem: kem.not_after)
        ended_s = self._access.now().wall - newest.not_after
        if ended_s > KEM_KEY_USED_AFTER_S:
            raise KeyTooOld(f"the newest key of {fingerprint(node_id)} ended {int(ended_s / DAY_S)} days ago")
        return SealTo(person, newest.public_key, ended_s)


def _slot_of(person: PublicKey) -> Slot:
    target: Target = node_id_of(person)  # type: ignore[assignment] # an identity record lies at its node id
    return Slot(person, IDENTITY_TAG, target, Kind.IDENTITY)


def _kem_of(record: Record) -> tuple[KemEntry, ...]:
    try:
        return decode_identity_payload(record.payload).kem
    except WireError:
        return ()  # signed by its owner, and yet no identity record: as good as none


def _missing(identity: IdentityKeys, named: tuple[KemEntry, ...]) -> list[KemEntry]:
    """Keys that are published and that this device has not."""
    own = {kem.key.public_key for kem in identity.kem}
    return [kem for kem in named if kem.public_key not in own]

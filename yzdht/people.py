"""People in one network: one's own identity record published, and those of others found (PROTOCOL.md sections 2, 6, 8).

Owns when a record is published and with which keys, and which KEM key of somebody else is sealed to. Refuses to hide the
key of another device, and keys past their time. Reaches the network through `Access`, the disk through `Marks` and the
identity; reads no clock.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.naming import fingerprint, node_id_of
from yzdht.crypto.primitives import check_public_key
from yzdht.errors import (
    CryptoError,
    InvalidKey,
    KemKeyMissing,
    KeysUnknown,
    KeyTooOld,
    LookupFailed,
    PersonMoved,
    PublisherRevoked,
    StaleRecord,
    StoreError,
    WireError,
    YzError,
)
from yzdht.identity_record import About, sign_identity_record
from yzdht.limits import (
    DAY_S,
    KEM_KEY_USED_AFTER_S,
    KEYS_RELOADED_S,
    NAMED_READERS_MAX,
    PERSON_IDENTITY_LIFE_S,
    PERSON_IDENTITY_RENEW_S,
    PERSON_LOOKED_UP_S,
)
from yzdht.ports import KeptIdentity
from yzdht.quorum_writer import QuorumWriter
from yzdht.slots import Slot
from yzdht.wire.address import NodeType, decode_identity_payload
from yzdht.wire.frame import Caps
from yzdht.wire.record import IDENTITY_TAG, SUITE, decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from yzdht.access import Access, Reading
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId, NodeId, PublicKey, Target
    from yzdht.moves import Moves
    from yzdht.ports import Marks
    from yzdht.quorum_writer import Written
    from yzdht.slots import SlotReader
    from yzdht.wire.address import KemEntry
    from yzdht.wire.record import Record


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


class Standings(NamedTuple):
    """What is published of some people.

    Attributes:
        kems: The newest KEM key by identity key, of those who have one that may be used.
        revoked: Whose identity is revoked.

    """

    kems: dict[PublicKey, PublicKey]
    revoked: tuple[PublicKey, ...]


class People:
    """What one home knows of the people of one network, itself among them.

    Args:
        identity: Whose home it is.
        network: NET.
        access: The way to the replicas.
        slots: Reads through it.
        marks: What this home has seen.
        moves: Who moved or is revoked.

    Attributes:
        identity: With the keys of the present: it changes when a KEM key is made.
        listed: Tells which KEM keys of this identity its groups list, so that they are kept.
        fault: Why the identity record could not be published, of what its owner has to mend; None if there is nothing.

    """

    def __init__(
        self,
        identity: IdentityKeys,
        network: NetworkId,
        access: Access,
        slots: SlotReader,
        marks: Marks,
        moves: Moves,
    ) -> None:
        self.identity = identity
        self.listed: Callable[[], Collection[PublicKey]] = tuple
        self.fault: YzError | None = None
        self._network = network
        self._access = access
        self._slots = slots
        self._slot = _slot_of(identity.public_key)
        self._writer = QuorumWriter(access, slots)
        self._marks = marks
        self._moves = moves
        self._is_publishing = False
        self._reloaded: float | None = None  # monotonic seconds

    # Oneself

    def keep_published(self, *, even_first: bool) -> None:
        """Have the identity record published beside the present call, if it is due; nobody waits for it.

        The first one goes out with the first write: whoever only reads need not be known to anybody. One that was
        refused is tried again at the next call. That of an identity that ended is published no more.
        """
        if not self._is_publishing and self._is_due(even_first=even_first) and self._moves.own_end() is None:
            self._is_publishing = True
            self._access.start(self._publish_in_background())

    async def _publish_in_background(self) -> None:
        try:
            await self.publish()
        except YzError:
            self._access.count("identity_unpublished")
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
        try:
            self._keep(await self._writer.write(self._slot, self._sign))
        except (KemKeyMissing, StaleRecord, StoreError) as error:
            self.fault = error
            raise
        self.fault = None

    def _keep(self, written: Written) -> None:
        wall = self._access.now().wall
        node_id = self.identity.node_id
        self._marks.keep_identity_record(node_id, self._network, KeptIdentity(written.record.raw, wall))
        self._marks.set_published_at(node_id, self._network, wall)

    async def _sign(self, least_seq: int) -> Record:
        """The identity record of the present. What is published is looked at before every try, for keys that it must name."""
        published = await self._published()
        await self._renew_keys(published)
        if published is not None:
            least_seq = max(least_seq, 1 + published.seq)
        about = About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, PERSON_IDENTITY_LIFE_S)
        wall = self._access.now().wall
        return sign_identity_record(self.identity, self._network, about, wall, least_seq).record

    async def _published(self) -> Record | None:
        """The own record as nodes show it; as this home published it, where they lost that or hold it back."""
        try:
            seen = await self._slots.read(self._slot)
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
            raise KemKeyMissing("another device of this identity published a key that this one has not")
        if self.identity.needs_kem_key(wall):
            listed = self.listed()
            await self._replace_identity(lambda: self.identity.renewed(wall, listed))

    async def _replace_identity(self, make: Callable[[], IdentityKeys]) -> None:
        self.identity = await self._access.compute(make)

    async def has_more_keys(self, tried: IdentityKeys) -> bool:
        """Take over the keys that another process of this home has made since; True if there are any.

        Nobody looks for them within KEYS_RELOADED_S after a look has ended: it may take a good part of a second.

        Args:
            tried: With whose keys something did not open.

        """
        now = self._access.now()
        is_due = self._reloaded is None or now.mono - self._reloaded >= KEYS_RELOADED_S
        if is_due and not _has_more(self.identity, tried):
            try:
                await self._replace_identity(lambda: self.identity.reloaded(now.wall))
            except YzError:
                self._access.count("keys_not_reloaded")
            self._reloaded = now.mono
        return _has_more(self.identity, tried)

    async def check_own(self) -> None:
        """Refuse to write as an identity that has ended; raises as `Moves.check_own`."""
        await self._moves.check_own()

    # Others

    async def check_ends(self, people: Sequence[PublicKey]) -> None:
        """Refuse people whose identity has ended; nodes are asked once a day.

        Raises:
            PersonMoved, PublisherRevoked: One has another key now, or none.
            ReadQuorumFailed, StaleRecord, CryptoError, WireError: That is not known of one, and was not for a week.
            NoNode: No node could be reached.

        """
        looked = await self._moves.read([], people)
        for person in people:
            self._moves.check_reader(person, looked.faults)

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
            PersonMoved, PublisherRevoked: One has another key now, or none.
            NoNode: No node could be reached.

        """
        faults, ends = await self._look_up(people, [*people, self.identity.public_key])
        for person in people:
            self._moves.check_reader(person, ends)
        return [self._seal_to(person, faults.get(person)) for person in people]

    async def standings(self, people: Sequence[PublicKey]) -> Standings:
        """What is published of some people, who may be many.

        Args:
            people: Any number of public keys.

        Raises:
            NoNode: No node could be reached.

        """
        kems, revoked = {}, []
        for chunk in (people[i : i + NAMED_READERS_MAX] for i in range(0, len(people), NAMED_READERS_MAX)):
            await self._look_up(chunk, chunk)
        for person in people:
            try:
                self._moves.check_reader(person)
                kems[person] = self._seal_to(person, None).kem
            except PublisherRevoked:
                revoked.append(person)
            except (PersonMoved, KeysUnknown, KeyTooOld):
                continue  # as they were listed
        return Standings(kems, tuple(revoked))

    def _is_fresh(self, node_id: NodeId) -> bool:
        kept = self._marks.identity_record(node_id, self._network)
        return kept is not None and 0 <= self._access.now().wall - kept.seen_at < PERSON_LOOKED_UP_S

    async def _look_up(
        self, people: Sequence[PublicKey], beside: Sequence[PublicKey]
    ) -> tuple[dict[PublicKey, YzError], Mapping[PublicKey, YzError]]:
        """Ask nodes at once for those of some people who are not known afresh, and how others beside them have ended.

        Returns:
            What was wrong with the answer for whom, in both.

        """
        slots = [_slot_of(person) for person in people if not self._is_fresh(node_id_of(person))]
        looked = await self._moves.read([slot.target for slot in slots], beside)
        faults: dict[PublicKey, YzError] = {}
        for slot, readings in zip(slots, looked.readings, strict=True):
            try:
                self._take(slot, readings)
            except (LookupFailed, CryptoError, WireError) as error:
                faults[slot.publisher] = error
        return faults, looked.faults

    def _take(self, slot: Slot, readings: list[Reading]) -> None:
        seen = self._slots.newest(slot, readings)
        if seen is not None:
            decode_identity_payload(seen.record.payload)
            kept = KeptIdentity(seen.record.raw, self._access.now().wall)
            self._marks.keep_identity_record(node_id_of(slot.publisher), self._network, kept)

    def _seal_to(self, person: PublicKey, fault: YzError | None) -> SealTo:
        node_id = node_id_of(person)
        kept = self._marks.identity_record(node_id, self._network)
        known = [] if kept is None else _usable(person, _kem_of(decode_record(kept.record)))
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


def _usable(person: PublicKey, named: tuple[KemEntry, ...]) -> list[KemEntry]:
    """Keys to which can be sealed. Whoever publishes another has none: it must not stop what is done for others too."""
    usable = []
    for kem in named:
        with suppress(InvalidKey):
            check_public_key(kem.public_key)
            if kem.suite == SUITE and kem.public_key != person:
                usable.append(kem)
    return usable


def _has_more(identity: IdentityKeys, tried: IdentityKeys) -> bool:
    known = {kem.key.public_key for kem in tried.kem}
    return any(kem.key.public_key not in known for kem in identity.kem)


def _missing(identity: IdentityKeys, named: tuple[KemEntry, ...]) -> list[KemEntry]:
    """Keys that are published and that this device has not."""
    own = {kem.key.public_key for kem in identity.kem}
    return [kem for kem in named if kem.public_key not in own]

"""Sealed reads and writes under names: what a node and a client offer alike.

PROTOCOL.md sections 7 and 8. Turns names into blinded tags, values into signed records, answers into values. Trusts no
node: every record is verified, its publisher compared, and nothing older than this home has seen is returned. Reaches
the network through `Access`, the disk through `Marks`; reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from yzdht.access import refused
from yzdht.crypto.naming import (
    immutable_target,
    multi_target,
    mutable_target,
    own_tag,
    public_tag,
)
from yzdht.crypto.sealing import check_value
from yzdht.crypto.signing import RecordChecks
from yzdht.errors import CryptoError, LookupFailed, NotFound, UsageError, WireError
from yzdht.group_values import GroupValues
from yzdht.groups import Groups
from yzdht.ids import Address, Target
from yzdht.known_groups import KnownGroups, Means
from yzdht.limits import RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.moves import Moves
from yzdht.people import People
from yzdht.reader_keys import ReaderKeys
from yzdht.readers import AnyReaders, Group, Passphrase, Public, Self, To
from yzdht.slot_writer import Intent, Receipt, SlotWriter
from yzdht.slots import Seen, Slot, SlotReader, publisher_of
from yzdht.topic_policies import TopicPolicies
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from yzdht.access import Access
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId, NodeId, PublicKey, Tag, TopicId
    from yzdht.ports import GroupShelf, Marks, Rng


DEFAULT_TTL_S = RECORD_LIFE_S_MAX


class Origin(StrEnum):
    """How much a value's reader may trust it."""

    SEALED = "sealed"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Value:
    """A value that was read.

    Attributes:
        data: The bytes as they were stored.
        origin: Sealed for its readers, or public and signed.
        publisher: Who signed it.
        seq: Its sequence number.
        created: Unix seconds.
        expires: Unix seconds.
        is_conflict: True when another body with the same seq was shown too, or seen before.
        moved_to: The key under which its publisher goes on, 33 bytes; None if they have not moved.

    """

    data: bytes
    origin: Origin
    publisher: PublicKey
    seq: int
    created: int
    expires: int
    is_conflict: bool = False
    moved_to: PublicKey | None = None


class Keeps(NamedTuple):
    """What a home keeps for its records; `Home` gives it.

    Attributes:
        marks: What it has seen.
        groups: The groups that it knows.

    """

    marks: Marks
    groups: GroupShelf


class Records:
    """Reads and writes of one identity in one network.

    Args:
        identity: Signs and seals.
        network: NET.
        access: The way to the replicas.
        keeps: What this home has seen, and the groups that it knows.
        rng: For salts and content keys.
        checks: Whoever else in this process verifies records of that network, so that each is verified once.

    Attributes:
        people: The identity record published, and those of others.
        moves: Who moved to another key, and who is revoked.
        groups: Those of this identity: made, joined and changed.
        known_groups: The same, as far as reading and writing goes.

    """

    def __init__(
        self,
        identity: IdentityKeys,
        network: NetworkId,
        access: Access,
        keeps: Keeps,
        rng: Rng,
        checks: RecordChecks | None = None,
    ) -> None:
        marks, shelf = keeps
        self._network = network
        self._access = access
        self._checks = checks or RecordChecks(network)
        self._slots = SlotReader(access, marks, self._checks)
        self.moves = Moves(identity, network, access, self._slots, marks)
        self.people = People(identity, network, access, self._slots, marks, self.moves)
        means = Means(access, self._slots, shelf, rng)
        self.known_groups = KnownGroups(self.people, network, means)
        self.people.listed = self.known_groups.listed
        self.groups = Groups(self.known_groups, self.people, network, means)
        self._group_values = GroupValues(self.known_groups, network, self._slots, self.moves)
        self._keys = ReaderKeys(self.people, self.known_groups, network, access, rng)
        self._writer = SlotWriter(access, self._slots, self._keys)

    def topic_policies(self, show: Callable[[TopicId, bytes], None]) -> TopicPolicies:
        """Who writes to public topics that have an owner; `show` is told of every policy that is found."""
        return TopicPolicies(self._network, self._access, self._slots, self._writer, show)

    @property
    def identity(self) -> IdentityKeys:
        """Who reads and writes, with the keys of the present."""
        return self.people.identity

    # Reading

    async def get(
        self, name: str, publisher: PublicKey | None = None, paths: int = 1, passphrase: str | None = None
    ) -> Value:
        """Read the newest value under a name.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            publisher: Whose, public or for named people; None for one's own, private before public.
            paths: Disjoint paths of each read, 1 to READ_PATHS_MAX.
            passphrase: Of a value that is under one; else not looked at.

        Raises:
            NotFound: Nothing is stored, or it was deleted.
            StaleRecord: The nodes showed an older record than this home has seen.
            ReadQuorumFailed: Too few replicas answered.
            NotAReader: It is sealed for others.
            PassphraseNeeded: It is under a passphrase and none was given.
            WrongPassphrase: Or another one.
            DecryptionFailed: It is damaged, or was sealed under another key.
            PublisherRevoked: Nothing that this publisher signed counts any more.
            CryptoError: Every node asked showed forged or foreign records.
            NoNode: No node could be reached.

        """
        if publisher is None:
            slots: Iterable[Slot] = self._private_then_public(name)
        else:
            slots = [self._public_slot(publisher, name)]
        seen = await self._first(slots, f"nothing is stored under {name!r}", paths)
        return await self._value(seen, passphrase)

    async def get_slot(
        self, publisher: PublicKey, tag: Tag, paths: int = 1, passphrase: str | None = None
    ) -> Value:
        """Read the slot that a `yz:` link names; arguments and errors as of `get`."""
        seen = await self._first([self._slot(publisher, tag)], "nothing is stored in this slot", paths)
        return await self._value(seen, passphrase)

    async def get_from_group(
        self, group: str, name: str, publisher: PublicKey | None = None, paths: int = 1
    ) -> Value:
        """Read the newest value under a name of a group.

        Entries of those who are no members any more do not count.

        Args:
            group: What this home calls it.
            name: 1 to 1,024 bytes of UTF-8.
            publisher: Of this member; None for whoever wrote last.
            paths: Disjoint paths of the read, 1 to READ_PATHS_MAX.

        Raises:
            NoSuchGroup: This home knows no such group.
            NotFound: Nothing is stored, or it was deleted.
            UnknownEpoch: It was written before this identity joined, or after it was removed.
            As `get`.

        """
        self.groups.keep_up(group)
        self.people.keep_published(even_first=False)
        seen = await self._group_values.newest(group, name, paths, publisher)
        return await self._value(seen, None, group)

    async def _first(self, slots: Iterable[Slot], missing: str, paths: int) -> Seen:
        """The first slot that has a value, asked one after the other.

        A public tag can be guessed by dictionary, so nodes are not asked for it while a private record answers.
        """
        self.people.keep_published(even_first=False)
        for slot in slots:
            looked = await self.moves.read([slot.target], self._others([slot.publisher]), paths)
            self.moves.check_publisher(slot.publisher, looked.faults)
            seen = self._slots.newest(slot, looked.readings[0])
            if seen is not None and not seen.record.is_tombstone:
                return seen
        raise NotFound(missing)

    def _others(self, publishers: list[PublicKey]) -> list[PublicKey]:
        """Whose ends matter to a reader: of one's own values none is refused, so that nodes are asked before writes."""
        return [publisher for publisher in publishers if publisher != self.identity.public_key]

    async def _value(self, seen: Seen, passphrase: str | None, group: str | None = None) -> Value:
        record = seen.record
        publisher = publisher_of(record)
        return Value(
            data=await self._keys.open(record, passphrase, group),
            origin=Origin.SIGNED if record.readers == 0 else Origin.SEALED,
            publisher=publisher,
            seq=record.seq,
            created=record.created,
            expires=record.expires,
            is_conflict=seen.is_conflict,
            moved_to=self.moves.check_publisher(publisher),
        )

    async def resolve_node_id(self, node_id: NodeId) -> PublicKey:
        """The public key behind a node id; errors as of `SlotReader.resolve_node_id`."""
        return await self._slots.resolve_node_id(node_id)

    # Writing

    async def store(
        self,
        name: str,
        value: bytes,
        readers: AnyReaders,
        ttl: float = DEFAULT_TTL_S,
        if_seq: int | None = None,
    ) -> Receipt:
        """Store a value under a name.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            value: At most 61,436 bytes.
            readers: Who can read it.
            ttl: Seconds it lives, 1 to 30 days.
            if_seq: The seq that must be stored now, 0 for nothing; None to replace whatever is older. In a group it is that
                of one's own entry.

        Raises:
            ValueTooLarge: The value does not fit in a record.
            UsageError: Another argument is out of range.
            CasMismatch: Not `if_seq` is stored.
            Conflict: Another device of this identity won each of several attempts.
            KeysUnknown: A named reader has published no keys.
            KeyTooOld: Or the newest ended too long ago.
            PersonMoved, PublisherRevoked: Or has another key now, or none.
            IdentityMoved, IdentityRevoked: So has this identity.
            NoSuchGroup: This home knows no such group.
            NotAMember: This identity was removed from it.
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.

        """
        if isinstance(readers, Group):
            return await self._store_in_group(name, value, readers, ttl, if_seq)
        is_own = isinstance(readers, Self | Passphrase)
        slot = self._own_slot(name) if is_own else self._public_slot(self.identity.public_key, name)
        return await self._store(slot, value, readers, ttl, if_seq)

    async def _store(
        self, slot: Slot, value: bytes, readers: AnyReaders, ttl: float, if_seq: int | None
    ) -> Receipt:
        _check_write(ttl, if_seq)
        check_value(value)  # first of all: what does not fit is refused before anything is sent
        sealed_for, warnings = await self._keys.sealed_for(readers)
        await self.moves.check_own()
        self.people.keep_published(even_first=True)
        return await self._writer.write(Intent(slot, value, sealed_for, int(ttl), if_seq, warnings))

    async def _store_in_group(
        self, name: str, value: bytes | None, group: Group, ttl: float, if_seq: int | None
    ) -> Receipt:
        _check_write(ttl, if_seq)
        check_value(value or b"")
        self.groups.keep_up(group.name)
        await self.moves.check_own()
        sealed_for, warnings = await self._keys.sealed_for(group)
        kept = self.known_groups.kept(group.name)
        slot = self._group_values.slot(kept, self.identity.public_key, name)
        least_seq = 1 + self._group_values.seen_seq(kept, name)
        self.people.keep_published(even_first=True)
        return await self._writer.write(
            Intent(slot, value, sealed_for, int(ttl), if_seq, warnings, least_seq)
        )

    async def delete_from_group(self, group: str, name: str) -> Receipt:
        """Delete what is stored under a name of a group, whoever stored it; errors as of `store` and `get_from_group`."""
        await self._group_values.newest(group, name)
        return await self._store_in_group(name, None, Group(group), RECORD_LIFE_S_MAX, None)

    async def delete(self, name: str) -> list[Receipt]:
        """Delete what is stored under a name, private and public.

        Raises:
            NotFound: Nothing is stored.
            IdentityMoved, IdentityRevoked: This identity has ended.
            WriteQuorumFailed: Too few replicas stored the tombstone.

        """
        slots = [self._own_slot(name), self._public_slot(self.identity.public_key, name)]
        return await self._delete(slots, f"nothing is stored under {name!r}")

    async def _delete(self, slots: list[Slot], missing: str) -> list[Receipt]:
        looked = await self.moves.read([slot.target for slot in slots], [self.identity.public_key])
        await self.moves.check_own()
        readings = looked.readings
        doomed = [s for s, r in zip(slots, readings, strict=True) if self._slots.has_something(s, r)]
        if not doomed:
            raise NotFound(missing)
        self.people.keep_published(even_first=True)
        # A tombstone outlives every copy of what it deletes, as long as any may live.
        tombstones = [Intent(slot, None, Public(), RECORD_LIFE_S_MAX, None) for slot in doomed]
        return [await self._writer.write(tombstone) for tombstone in tombstones]

    # Entries of several publishers under one public name

    async def store_entry(
        self,
        name: str,
        value: bytes,
        readers: Public | To,
        ttl: float = DEFAULT_TTL_S,
        if_seq: int | None = None,
    ) -> Receipt:
        """Store one's own entry under a name where everybody has one.

        A name holds 32 entries; when it is full, the one that expires first leaves. Arguments and errors as of `store`.
        """
        return await self._store(self._entry_slot(name), value, readers, ttl, if_seq)

    async def get_entries(self, name: str, paths: int = 1) -> list[Value]:
        """The entries under a name that this identity can read, newest first, each with its publisher.

        One that is older than this home has seen of its publisher is left out, and counted; so is one of a publisher who
        is revoked, or of whom that could not be found out.

        Args:
            name: 1 to 1,024 bytes of UTF-8.
            paths: Disjoint paths of the read, 1 to READ_PATHS_MAX.

        Raises:
            ReadQuorumFailed: Too few replicas answered.
            CryptoError: Every node asked showed forged or foreign records.
            NoNode: No node could be reached.

        """
        slot = self._entry_slot(name)
        self.people.keep_published(even_first=False)
        entries = await self._slots.entries(slot.tag, slot.target, paths)
        looked = await self.moves.read(
            [], self._others([publisher_of(seen.record) for seen in entries]), paths
        )
        values = []
        for seen in entries:
            try:
                self.moves.check_publisher(publisher_of(seen.record), looked.faults)
                values.append(await self._value(seen, None))
            except (CryptoError, WireError, LookupFailed):
                self._access.count("unreadable_entries")  # for others, revoked, or one that nobody can open
        return values

    async def delete_entry(self, name: str) -> Receipt:
        """Delete one's own entry under a name; errors as of `delete`."""
        [receipt] = await self._delete([self._entry_slot(name)], f"this identity has no entry under {name!r}")
        return receipt

    def _entry_slot(self, name: str) -> Slot:
        tag = public_tag(self._network, name)
        return Slot(self.identity.public_key, tag, multi_target(self._network, tag), Kind.MULTI)

    # Immutables

    async def put_bytes(self, value: bytes, readers: AnyReaders, keep: float = DEFAULT_TTL_S) -> Address:
        """Store a value that never changes, at an address that follows from its record.

        Args:
            value: At most 61,436 bytes.
            readers: Who can read it, given the address.
            keep: Seconds that holders keep it, 1 to 30 days; storing the same record again can only prolong that.

        Returns:
            Its address, 32 bytes. Sealed, the same value gets another address each time.

        Raises:
            ValueTooLarge: The value does not fit in a record.
            UsageError: Another argument is out of range.
            KeysUnknown, KeyTooOld, PersonMoved, PublisherRevoked: As of `store`.
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.

        """
        _check_write(keep, None)
        check_value(value)
        sealed_for, _ = await self._keys.sealed_for(readers)
        raw = self._keys.seal_immutable(value, sealed_for)
        target = immutable_target(self._network, raw)
        self.people.keep_published(even_first=True)
        now = self._access.now()
        done = await self._access.write(target, raw, None, int(now.wall + keep))
        if not done.is_quorum:
            raise refused(done, now)
        return Address(target)

    async def get_bytes(self, address: Address, paths: int = 1, passphrase: str | None = None) -> bytes:
        """Read the value at an address.

        Args:
            address: 32 bytes.
            paths: Disjoint paths of the read, 1 to READ_PATHS_MAX.
            passphrase: Of a value that is under one; else not looked at.

        Raises:
            NotFound: Nothing is stored there.
            ReadQuorumFailed: Too few replicas answered.
            NotAReader, PassphraseNeeded, WrongPassphrase, DecryptionFailed: As of `get`.
            CryptoError: Every node asked showed something else.
            NoNode: No node could be reached.

        """
        target = Target(address)
        self.people.keep_published(even_first=False)
        record = await self._slots.immutable(target, paths)
        if record is None:
            raise NotFound("nothing is stored at this address")
        return await self._keys.open(record, passphrase)

    # Slots

    def tags_of(self, name: str) -> tuple[Tag, Tag]:
        """The private and the public tag of one's own name."""
        return own_tag(self.identity.name_key, self._network, name), public_tag(self._network, name)

    def _private_then_public(self, name: str) -> Iterator[Slot]:
        """One's own slots of a name, the second computed only if it is asked for."""
        yield self._own_slot(name)
        yield self._public_slot(self.identity.public_key, name)

    def _own_slot(self, name: str) -> Slot:
        tag = own_tag(self.identity.name_key, self._network, name)
        return self._slot(self.identity.public_key, tag)

    def _public_slot(self, publisher: PublicKey, name: str) -> Slot:
        return self._slot(publisher, public_tag(self._network, name))

    def _slot(self, publisher: PublicKey, tag: Tag) -> Slot:
        return Slot(publisher, tag, mutable_target(self._network, publisher, tag))


def _check_write(life_s: float, if_seq: int | None) -> None:
    if not 1 <= life_s <= RECORD_LIFE_S_MAX:
        raise UsageError("a value lives between 1 second and 30 days", hint="choose a ttl in that range")
    if if_seq is not None and not 0 <= if_seq < SEQ_MAX:
        raise UsageError("if_seq is a sequence number, or 0 for nothing stored")

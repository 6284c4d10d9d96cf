"""Sealed reads and writes under names: what a node and a client offer alike.

PROTOCOL.md sections 7 and 8. Turns names into blinded tags, values into signed records, answers into values. Trusts no
node: every record is verified, its publisher compared, and nothing older than this home has seen is returned. Reaches
the network through `Access`, the disk through `Marks`; reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from yzdht.access import refused
from yzdht.crypto.naming import (
    fingerprint,
    mutable_target,
    node_id_of,
    normalise_name,
    own_tag,
    public_tag,
)
from yzdht.crypto.passphrase import (
    PBKDF2_DEFAULT,
    SALT_BYTES as PASSPHRASE_SALT_BYTES,
    passphrase_key,
)
from yzdht.crypto.sealing import (
    Author,
    Locked,
    Named,
    OpeningKeys,
    Public,
    RecordDraft,
    SealedFor,
    Self,
    check_value,
    open_record,
    seal_record,
    tombstone,
)
from yzdht.crypto.signing import RecordChecks
from yzdht.crypto.stanzas import CEK_BYTES, passphrase_stanza
from yzdht.errors import (
    CasMismatch,
    Conflict,
    CryptoError,
    LookupFailed,
    NoNode,
    NotFound,
    UsageError,
    WireError,
)
from yzdht.limits import CLOCK_SKEW_S, DAY_S, PUT_RETRIES_MAX, RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.people import People
from yzdht.readers import AnyReaders, Passphrase, To
from yzdht.slots import Seen, Slot, SlotReader
from yzdht.wire.record import SALT_BYTES, Readers, Record, decode_record
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind
from yzdht.wire.text import encode_slot_link


if TYPE_CHECKING:
    from yzdht.access import Access, Writing
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId, NodeId, PublicKey, Tag
    from yzdht.people import SealTo
    from yzdht.ports import Marks, Now, Rng


DEFAULT_TTL_S = RECORD_LIFE_S_MAX
_MS = 1_000
_OUTRUN = (Status.SEQ_TOO_LOW, Status.EQUIVOCATION)


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

    """

    data: bytes
    origin: Origin
    publisher: PublicKey
    seq: int
    created: int
    expires: int
    is_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A write that a quorum holds durably.

    Attributes:
        publisher: Who signed it.
        seq: Its sequence number.
        expires: Unix seconds.
        link: `yz:` link that names the slot to others.
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
class _Intent:
    """One write as its caller wants it; content keys are made at every sealing."""

    slot: Slot
    value: bytes | None
    readers: SealedFor
    life_s: int
    if_seq: int | None
    warnings: tuple[str, ...] = ()


class Records:
    """Reads and writes of one identity in one network.

    Args:
        identity: Signs and seals.
        network: NET.
        access: The way to the replicas.
        marks: What this home has seen.
        rng: For salts and content keys.
        checks: Whoever else in this process verifies records of that network, so that each is verified once.

    Attributes:
        people: The identity record published, and those of others.

    """

    def __init__(
        self,
        identity: IdentityKeys,
        network: NetworkId,
        access: Access,
        marks: Marks,
        rng: Rng,
        checks: RecordChecks | None = None,
    ) -> None:
        self._network = network
        self._access = access
        self._marks = marks
        self._rng = rng
        self._checks = checks or RecordChecks(network)
        self._slots = SlotReader(access, marks, self._checks)
        self._author = Author(identity.signer, identity.self_key, network)
        self.people = People(identity, network, access, self._slots, marks)

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
            CryptoError: Every node asked showed forged or foreign records.
            NoNode: No node could be reached.

        """
        if publisher is None:
            slots = [self._own_slot(name), self._public_slot(self.identity.public_key, name)]
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

    async def _first(self, slots: list[Slot], missing: str, paths: int) -> Seen:
        """The first slot that has a value, asked one after the other.

        A public tag can be guessed by dictionary, so nodes are not asked for it while a private record answers.
        """
        self.people.keep_published(even_first=False)
        for slot in slots:
            seen = await self._slots.read(slot, paths)
            if seen is not None and not seen.record.is_tombstone:
                return seen
        raise NotFound(missing)

    async def _value(self, seen: Seen, passphrase: str | None) -> Value:
        record = seen.record
        return Value(
            data=open_record(record, await self._keys(record, passphrase)),
            origin=Origin.SIGNED if record.readers == 0 else Origin.SEALED,
            publisher=_publisher(record),
            seq=record.seq,
            created=record.created,
            expires=record.expires,
            is_conflict=seen.is_conflict,
        )

    async def _keys(self, record: Record, passphrase: str | None) -> OpeningKeys:
        """What this home can try a record with."""
        identity = self.identity
        kem = tuple(k.key for k in identity.kem)
        keys = OpeningKeys(identity.self_key, kem, identity.public_key)
        if passphrase is None or record.readers is not Readers.STANZAS:
            return keys
        stanza = passphrase_stanza(record)
        if stanza is None:
            return keys
        parameters, salt = stanza.parameters, stanza.salt
        key = await self._access.compute(lambda: passphrase_key(passphrase, parameters, salt))
        return replace(keys, passphrase_key=key)

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
            if_seq: The seq that must be stored now, 0 for nothing; None to replace whatever is older.

        Raises:
            ValueTooLarge: The value does not fit in a record.
            UsageError: Another argument is out of range.
            CasMismatch: Not `if_seq` is stored.
            Conflict: Another device of this identity won each of several attempts.
            KeysUnknown: A named reader has published no keys.
            KeyTooOld: Or the newest ended too long ago.
            WriteQuorumFailed: Too few replicas stored it.
            NoNode: No node could be reached.

        """
        if not 1 <= ttl <= RECORD_LIFE_S_MAX:
            raise UsageError("a value lives between 1 second and 30 days", hint="choose a ttl in that range")
        if if_seq is not None and not 0 <= if_seq < SEQ_MAX:
            raise UsageError("if_seq is a sequence number, or 0 for nothing stored")
        check_value(value)  # first of all: what does not fit is refused before anything is sent
        is_own = isinstance(readers, Self | Passphrase)
        slot = self._own_slot(name) if is_own else self._public_slot(self.identity.public_key, name)
        sealed_for, warnings = await self._sealed_for(readers)
        intent = _Intent(slot, value, sealed_for, int(ttl), if_seq, warnings)
        self.people.keep_published(even_first=True)
        return await self._put(intent)

    async def _sealed_for(self, readers: AnyReaders) -> tuple[SealedFor, tuple[str, ...]]:
        """The keys to seal with, content keys apart, and what the publisher should know of them."""
        match readers:
            case To():
                others = [person for person in readers.people if person != self.identity.public_key]
                found = await self.people.seal_to(others)
                return Named(tuple(each.kem for each in found), b""), _warnings(found)
            case Passphrase():
                salt = self._rng.token(PASSPHRASE_SALT_BYTES)
                key = await self._access.compute(lambda: passphrase_key(readers.text, PBKDF2_DEFAULT, salt))
                return Locked(key, PBKDF2_DEFAULT, salt, b""), ()
            case Public() | Self():
                return readers, ()

    async def delete(self, name: str) -> list[Receipt]:
        """Delete what is stored under a name, private and public.

        Raises:
            NotFound: Nothing is stored.
            WriteQuorumFailed: Too few replicas stored the tombstone.

        """
        slots = [self._own_slot(name), self._public_slot(self.identity.public_key, name)]
        readings = await self._access.read([slot.target for slot in slots])
        doomed = [s for s, r in zip(slots, readings, strict=True) if self._slots.has_something(s, r)]
        if not doomed:
            raise NotFound(f"nothing is stored under {name!r}")
        self.people.keep_published(even_first=True)
        # A tombstone outlives every copy of what it deletes, as long as any may live.
        return [await self._put(_Intent(s, None, Public(), RECORD_LIFE_S_MAX, None)) for s in doomed]

    async def _put(self, intent: _Intent) -> Receipt:
        """Write until a quorum holds it."""
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
                raise CasMismatch(done.number)
            if done.refusal not in _OUTRUN:
                raise refused(done, now)
            if intent.if_seq is not None:
                raise CasMismatch(done.number)
            if not newer_seq:
                raise Conflict("a node claims a newer record and cannot show it")
            least_seq = 1 + newer_seq
        raise Conflict("another writer of this identity was faster each time")

    async def _newer_seq(self, intent: _Intent, record: Record, done: Writing, now: Now) -> int:
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

    def _seal(self, intent: _Intent, least_seq: int, now: Now) -> Record:
        mark = self._marks.get(intent.slot.target)
        created = int(now.wall)
        expires = created + intent.life_s
        if mark is not None:
            least_seq = max(least_seq, 1 + mark.seq)
            expires = min(max(expires, mark.expires), created + RECORD_LIFE_S_MAX)
        seq = max(least_seq, int(now.wall * _MS))
        if seq >= SEQ_MAX:
            raise Conflict("this slot has used up its sequence numbers")
        is_tombstone = intent.value is None
        draft = RecordDraft(Kind.MUTABLE, created, expires, seq, intent.slot.tag, is_tombstone)
        if intent.value is None:
            return decode_record(tombstone(draft, self._author))
        readers = intent.readers
        if isinstance(readers, Named | Locked):
            readers = replace(readers, cek=self._rng.token(CEK_BYTES))
        salt = self._rng.token(SALT_BYTES)
        return decode_record(seal_record(draft, intent.value, readers, self._author, salt))

    def _receipt(self, intent: _Intent, record: Record, done: Writing) -> Receipt:
        slot = intent.slot
        self._slots.remember(slot, record)
        return Receipt(
            publisher=slot.publisher,
            seq=record.seq,
            expires=record.expires,
            link=encode_slot_link(slot.publisher, slot.tag),
            accepted=done.accepted,
            asked=done.asked,
            needed=done.needed,
            warnings=intent.warnings,
        )

    # Slots

    def tags_of(self, name: str) -> tuple[Tag, Tag]:
        """The private and the public tag of one's own name."""
        name = normalise_name(name)
        return own_tag(self.identity.name_key, self._network, name), public_tag(self._network, name)

    def _own_slot(self, name: str) -> Slot:
        tag = own_tag(self.identity.name_key, self._network, normalise_name(name))
        return self._slot(self.identity.public_key, tag)

    def _public_slot(self, publisher: PublicKey, name: str) -> Slot:
        return self._slot(publisher, public_tag(self._network, normalise_name(name)))

    def _slot(self, publisher: PublicKey, tag: Tag) -> Slot:
        return Slot(publisher, tag, mutable_target(self._network, publisher, tag))


def _warnings(found: list[SealTo]) -> tuple[str, ...]:
    return tuple(
        f"the key of {fingerprint(node_id_of(each.person))} ended {int(each.ended_s / DAY_S)} days ago: it may be lost"
        for each in found
        if each.ended_s > 0
    )


def _publisher(record: Record) -> PublicKey:
    return record.publisher  # type: ignore[return-value] # only immutables have none

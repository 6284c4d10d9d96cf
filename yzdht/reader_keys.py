"""The keys of readers: those to seal with for whom a caller names, those to open with (PROTOCOL.md section 8).

Owns what becomes of `To`, `Passphrase` and the others on their way to a record and back. Content keys and salts are made
for every sealing. A kdf that takes long runs beside the loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from yzdht.crypto.group_records import KnownEpoch, seal_group_immutable, seal_group_record
from yzdht.crypto.naming import fingerprint, node_id_of
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
    SealedFor,
    Self,
    open_record,
    seal_immutable,
    seal_record,
    tombstone,
)
from yzdht.crypto.stanzas import CEK_BYTES, passphrase_stanza
from yzdht.errors import NotAMember, NotAReader, PassphraseNeeded
from yzdht.limits import DAY_S, GROUP_LOOK_AGAIN_S
from yzdht.readers import Group, Passphrase, To
from yzdht.wire.record import SALT_BYTES, Readers, decode_record


if TYPE_CHECKING:
    from yzdht.access import Access
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.crypto.sealing import RecordDraft
    from yzdht.ids import NetworkId
    from yzdht.known_groups import KnownGroups
    from yzdht.people import People, SealTo
    from yzdht.ports import Rng
    from yzdht.readers import AnyReaders
    from yzdht.wire.record import Record


AnyKeys = SealedFor | KnownEpoch
"""What a record can be sealed with, as far as that is known before its content key is made."""

_NOT_RENEWED = "no admin has renewed the group for a month, its state expired {} days ago: members who have it go on, nobody can join"
_FORKED = "two admins changed the group without seeing each other: see who is in it, and have an admin begin a new epoch"


class ReaderKeys:
    """Seals and opens for one identity in one network.

    Args:
        people: That identity, and the keys of others.
        groups: Those of that identity.
        network: NET.
        access: Where an expensive kdf runs.
        rng: For salts and content keys.

    """

    def __init__(
        self, people: People, groups: KnownGroups, network: NetworkId, access: Access, rng: Rng
    ) -> None:
        self._people = people
        self._groups = groups
        self._network = network
        self._access = access
        self._rng = rng
        self._author = Author(people.identity.signer, people.identity.self_key, network)

    async def sealed_for(self, readers: AnyReaders) -> tuple[AnyKeys, tuple[str, ...]]:
        """The keys to seal with, content keys apart, and what the publisher should know of them, a sentence each.

        Raises:
            KeysUnknown: A named reader has published no keys.
            KeyTooOld: Or the newest ended too long ago.
            NoSuchGroup: This home knows no such group.
            NotAMember: This identity was removed from it.
            UsageError: The passphrase is empty, too long or not valid Unicode.
            NoNode: No node could be reached.

        """
        match readers:
            case To():
                oneself = self._people.identity.public_key
                found = await self._people.seal_to([person for person in readers.people if person != oneself])
                return Named(tuple(each.kem for each in found), b""), _warnings(found)
            case Passphrase():
                salt = self._rng.token(PASSPHRASE_SALT_BYTES)
                key = await self._access.compute(lambda: passphrase_key(readers.text, PBKDF2_DEFAULT, salt))
                return Locked(key, PBKDF2_DEFAULT, salt, b""), ()
            case Group():
                return await self._in_group(readers.name)
            case Public() | Self():
                return readers, ()

    async def _in_group(self, name: str) -> tuple[KnownEpoch, tuple[str, ...]]:
        """The epoch to write in, looked for within a minute: who was removed can read what is written in the one before."""
        kept = await self._groups.current(name, GROUP_LOOK_AGAIN_S)
        if kept.is_removed:
            raise NotAMember("you are no member of this group any more", hint="ask an admin to add you again")
        expired_s = self._access.now().wall - kept.record.expires
        warnings = [_NOT_RENEWED.format(int(expired_s / DAY_S))] if expired_s > 0 else []
        if any(fork.epoch >= kept.state.epoch - 1 for fork in kept.forks):
            warnings.append(_FORKED)
        return kept.newest(self._network), tuple(warnings)

    def seal(self, draft: RecordDraft, value: bytes | None, sealed_for: AnyKeys) -> Record:
        """Build a signed record; a tombstone for no value. Raises as `seal_record`."""
        if value is None:
            return decode_record(tombstone(draft, self._author))
        salt = self._rng.token(SALT_BYTES)
        if isinstance(sealed_for, KnownEpoch):
            return decode_record(seal_group_record(draft, value, sealed_for, self._author, salt))
        return decode_record(seal_record(draft, value, self._fresh(sealed_for), self._author, salt))

    def seal_immutable(self, value: bytes, sealed_for: AnyKeys) -> bytes:
        """Build an immutable record. Raises as `crypto.sealing.seal_immutable`."""
        salt = self._rng.token(SALT_BYTES)
        if isinstance(sealed_for, KnownEpoch):
            return seal_group_immutable(value, sealed_for, salt)
        return seal_immutable(value, self._fresh(sealed_for), self._author, salt)

    def _fresh(self, sealed_for: SealedFor) -> SealedFor:
        if isinstance(sealed_for, Named | Locked):
            return replace(sealed_for, cek=self._rng.token(CEK_BYTES))
        return sealed_for

    async def open(self, record: Record, passphrase: str | None = None, group: str | None = None) -> bytes:
        """The value of a record that is verified.

        Args:
            record: Not a tombstone.
            passphrase: Tried if it is under one; None for none.
            group: Whose record it has to be if it is a group's; None for any.

        Raises:
            NotAReader: It is sealed for others.
            UnknownEpoch: Or in an epoch of a group that is not this member's.
            PassphraseNeeded: It is under a passphrase and none was given.
            WrongPassphrase: Or another one.
            DecryptionFailed: It is damaged, or was sealed under another key.
            UsageError: The passphrase is empty, too long or not valid Unicode.

        """
        if record.readers is Readers.GROUP:
            if group is None:
                return await self._groups.open_any(record)
            return await self._groups.open(group, record)
        key = None if passphrase is None else await self._passphrase_key(record, passphrase)
        identity = self._people.identity
        if record.readers is not Readers.STANZAS:
            return open_record(record, _opening(identity, key))
        try:
            return await self._open_stanzas(record, identity, key)
        except PassphraseNeeded:
            raise
        except NotAReader:
            if not await self._people.has_more_keys(identity):
                raise
        return await self._open_stanzas(record, self._people.identity, key)

    async def _open_stanzas(self, record: Record, identity: IdentityKeys, key: bytes | None) -> bytes:
        """Beside the loop: whoever wrote it may have made 255 stanzas that none of 16 keys opens, a third of a second."""
        keys = _opening(identity, key)
        return await self._access.compute(lambda: open_record(record, keys))

    async def _passphrase_key(self, record: Record, passphrase: str) -> bytes | None:
        stanza = passphrase_stanza(record) if record.readers is Readers.STANZAS else None
        if stanza is None:
            return None
        parameters, salt = stanza.parameters, stanza.salt
        return await self._access.compute(lambda: passphrase_key(passphrase, parameters, salt))


def _opening(identity: IdentityKeys, passphrase: bytes | None) -> OpeningKeys:
    kem = tuple(k.key for k in identity.kem)
    return OpeningKeys(identity.self_key, kem, identity.public_key, passphrase)


def _warnings(found: list[SealTo]) -> tuple[str, ...]:
    return tuple(
        f"the key of {fingerprint(node_id_of(each.person))} ended {int(each.ended_s / DAY_S)} days ago: it may be lost"
        for each in found
        if each.ended_s > 0
    )

"""The keys of readers: those to seal with for whom a caller names, those to open with (PROTOCOL.md section 8).

Owns what becomes of `To`, `Passphrase` and the others on their way to a record and back. Content keys and salts are made
for every sealing. A kdf that takes long runs beside the loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
    Self,
    open_record,
    seal_immutable,
    seal_record,
    tombstone,
)
from yzdht.crypto.stanzas import CEK_BYTES, passphrase_stanza
from yzdht.limits import DAY_S
from yzdht.readers import Passphrase, To
from yzdht.wire.record import SALT_BYTES, Readers, decode_record


if TYPE_CHECKING:
    from yzdht.access import Access
    from yzdht.crypto.sealing import RecordDraft, SealedFor
    from yzdht.ids import NetworkId
    from yzdht.people import People, SealTo
    from yzdht.ports import Rng
    from yzdht.readers import AnyReaders
    from yzdht.wire.record import Record


class ReaderKeys:
    """Seals and opens for one identity in one network.

    Args:
        people: That identity, and the keys of others.
        network: NET.
        access: Where an expensive kdf runs.
        rng: For salts and content keys.

    """

    def __init__(self, people: People, network: NetworkId, access: Access, rng: Rng) -> None:
        self._people = people
        self._access = access
        self._rng = rng
        self._author = Author(people.identity.signer, people.identity.self_key, network)

    async def sealed_for(self, readers: AnyReaders) -> tuple[SealedFor, tuple[str, ...]]:
        """The keys to seal with, content keys apart, and what the publisher should know of them, a sentence each.

        Raises:
            KeysUnknown: A named reader has published no keys.
            KeyTooOld: Or the newest ended too long ago.
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
            case Public() | Self():
                return readers, ()

    def seal(self, draft: RecordDraft, value: bytes | None, sealed_for: SealedFor) -> Record:
        """Build a signed record; a tombstone for no value. Raises as `seal_record`."""
        if value is None:
            return decode_record(tombstone(draft, self._author))
        salt = self._rng.token(SALT_BYTES)
        return decode_record(seal_record(draft, value, self._fresh(sealed_for), self._author, salt))

    def seal_immutable(self, value: bytes, sealed_for: SealedFor) -> bytes:
        """Build an immutable record. Raises as `crypto.sealing.seal_immutable`."""
        return seal_immutable(value, self._fresh(sealed_for), self._author, self._rng.token(SALT_BYTES))

    def _fresh(self, sealed_for: SealedFor) -> SealedFor:
        if isinstance(sealed_for, Named | Locked):
            return replace(sealed_for, cek=self._rng.token(CEK_BYTES))
        return sealed_for

    async def open(self, record: Record, passphrase: str | None) -> bytes:
        """The value of a record that is verified.

        Args:
            record: Not a tombstone.
            passphrase: Tried if it is under one; None for none.

        Raises:
            NotAReader: It is sealed for others.
            PassphraseNeeded: It is under a passphrase and none was given.
            WrongPassphrase: Or another one.
            DecryptionFailed: It is damaged, or was sealed under another key.
            UsageError: The passphrase is empty, too long or not valid Unicode.

        """
        identity = self._people.identity
        kem = tuple(k.key for k in identity.kem)
        key = None if passphrase is None else await self._passphrase_key(record, passphrase)
        keys = OpeningKeys(identity.self_key, kem, identity.public_key, key)
        if record.readers is not Readers.STANZAS:
            return open_record(record, keys)
        # Whoever wrote it may have made 255 stanzas that none of 16 keys opens: a third of a second.
        return await self._access.compute(lambda: open_record(record, keys))

    async def _passphrase_key(self, record: Record, passphrase: str) -> bytes | None:
        stanza = passphrase_stanza(record) if record.readers is Readers.STANZAS else None
        if stanza is None:
            return None
        parameters, salt = stanza.parameters, stanza.salt
        return await self._access.compute(lambda: passphrase_key(passphrase, parameters, salt))


def _warnings(found: list[SealTo]) -> tuple[str, ...]:
    return tuple(
        f"the key of {fingerprint(node_id_of(each.person))} ended {int(each.ended_s / DAY_S)} days ago: it may be lost"
        for each in found
        if each.ended_s > 0
    )

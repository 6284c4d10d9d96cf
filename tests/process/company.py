"""Homes that store for each other, what each of them must and must not be able to open, and every name and id of theirs.

A sort of readers is one `Sort`: a further one, groups, needs no more than another line in `SORTS`.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from yzdht import (
    Client,
    DecryptionFailed,
    Identity,
    NotAReader,
    Passphrase,
    PassphraseNeeded,
    Public,
    Self,
    To,
    WrongPassphrase,
    YzError,
)
from yzdht.crypto.naming import network_id
from yzdht.identity_record import About, sign_identity_record
from yzdht.limits import PERSON_IDENTITY_LIFE_S
from yzdht.ports import KeptIdentity
from yzdht.store.home import Home
from yzdht.wire.address import NodeType
from yzdht.wire.frame import Caps
from yzdht.wire.text import decode_slot_link, encode_node_id


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.process.fleet import NodeProcess
    from yzdht.ids import Address, PublicKey
    from yzdht.readers import AnyReaders


NETWORK = network_id("main")


@dataclass(slots=True)
class Member:
    """Somebody with a home.

    Attributes:
        name: Nobody else is told it; a word that is found nowhere by chance.
        home: The folder.

    """

    name: str
    home: Path
    _identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """As the home had it first; made on first use."""
        if self._identity is None:
            home = Home.open(self.home)
            assert isinstance(home.identity, Identity)
            self._identity = home.identity
            home.close()
        return self._identity

    def client(self, node: NodeProcess) -> Client:
        return Client.connect(node.url, home=self.home)

    def ids(self) -> list[str | bytes]:
        """Whatever names this person to others: keys and node id, as bytes and as people write them."""
        identity = self.identity
        kem = [entry.key.public_key[1:] for entry in identity.kem]
        node_id = bytes(identity.node_id)
        texts = [
            identity.fingerprint,
            identity.fingerprint.replace("-", ""),
            encode_node_id(identity.node_id),
        ]
        return [identity.public_key[1:], node_id, *kem, *texts]


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of readers.

    Attributes:
        name: Of the sort.
        of: The readers that this owner gives to their value.
        opens: True if that reader must be able to open it, a passphrase of it given.
        passphrase: Of the value.

    """

    name: str
    of: Callable[[Company, Member], AnyReaders]
    opens: Callable[[Company, Member, Member], bool]
    passphrase: str | None = None


def _is_named(company: Company, owner: Member, reader: Member) -> bool:
    return reader is owner or reader in company.named_by(owner)


PHRASE = f"Losung?>ÿ {secrets.token_hex(12)}"
SORTS = (
    Sort("self", lambda _c, _o: Self(), lambda _c, owner, reader: reader is owner),
    Sort("public", lambda _c, _o: Public(), lambda _c, _o, _r: True),
    Sort("to", lambda c, o: To(m.identity.public_key for m in c.named_by(o)), _is_named),
    Sort("passphrase", lambda _c, _o: Passphrase(PHRASE), lambda _c, _o, _r: True, PHRASE),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One text, stored under a name and, beside it, as one that never changes.

    Attributes:
        address: Of the immutable; None under a passphrase, whose kdf is slow.

    """

    sort: Sort
    owner: Member
    name: str
    text: str
    link: str
    address: Address | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What one wrote under the name that all share: for everybody, or for those whom they name."""

    owner: Member
    text: str
    is_public: bool


@dataclass(slots=True)
class Company:
    """Five who store, and one who only reads, of whom no node was ever told a key.

    Attributes:
        board: A name under which each has an entry.
        further: What else no node may hold, as the names of groups.
        stored: What they have stored.

    """

    members: list[Member]
    board: str = field(default_factory=lambda: f"board-{secrets.token_hex(12)}")
    further: list[str | bytes] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def gather(cls, folder: Path) -> Company:
        names = [f"{name}-{secrets.token_hex(12)}" for name in ("anna", "ben", "carla", "dora", "emil")]
        silent = Member(f"fred-{secrets.token_hex(12)}", folder / "fred")
        return cls([*(Member(name, folder / name.partition("-")[0]) for name in names), silent])

    @property
    def silent(self) -> Member:
        return self.members[-1]

    @property
    def storing(self) -> list[Member]:
        return self.members[:-1]

    def named_by(self, owner: Member) -> list[Member]:
        """Whom this one names: the next one, and the one who is silent."""
        storing = self.storing
        return [storing[(storing.index(owner) + 1) % len(storing)], self.silent]

    def introduce_silent(self) -> None:
        """Let all others know the keys of the silent one by another way than the network."""
        wall = time.time()  # noqa: TID251 - what their homes compare it with
        about = About(NodeType.CLIENT, (), Caps.ALWAYS | Caps.CLIENT, PERSON_IDENTITY_LIFE_S)
        identity = self.silent.identity
        raw = sign_identity_record(identity, NETWORK, about, wall).record.raw
        for member in self.storing:
            home = Home.open(member.home)
            home.marks.keep_identity_record(identity.node_id, NETWORK, KeptIdentity(raw, wall))
            home.close()

    def needles(self) -> list[str | bytes]:
        """What no storing node's file may hold: names, texts that are sealed, phrases, and the one who never published."""
        sealed = [stored.text for stored in self.stored if stored.sort.name != "public"]
        sealed += [entry.text for entry in self.entries if not entry.is_public]
        names = [stored.name for stored in self.stored] + [member.name for member in self.members]
        return [self.board, *self.further, *names, *sealed, PHRASE, *self.silent.ids()]

    def canaries(self) -> list[str]:
        """What the files of many nodes must hold."""
        public = [stored.text for stored in self.stored if stored.sort.name == "public"]
        return public + [entry.text for entry in self.entries if entry.is_public]

    def entries_for(self, reader: Member) -> dict[PublicKey, bytes]:
        """What this one must see under the shared name, by publisher."""
        return {
            entry.owner.identity.public_key: entry.text.encode()
            for entry in self.entries
            if entry.is_public or _is_named(self, entry.owner, reader)
        }


def _drawn(*words: str) -> str:
    return "-".join((*words, secrets.token_hex(12)))


async def publish_all(company: Company, nodes: Sequence[NodeProcess]) -> None:
    """Let everybody who stores be known to the network, so that the others can name them."""
    for number, member in enumerate(company.storing):
        async with member.client(nodes[2 * number]) as dht:
            await dht.records.people.publish()


async def store_all(company: Company, nodes: Sequence[NodeProcess], slow_owners: int) -> None:
    """Everybody stores one value for each sort of readers, each through a node of their own with an even number.

    Args:
        company: Who.
        nodes: At least two for each of them.
        slow_owners: How many of them store under a passphrase, which costs every reader a third of a second.

    """
    for number, owner in enumerate(company.storing):
        async with owner.client(nodes[2 * number]) as dht:
            for sort in SORTS:
                if sort.passphrase is not None and number >= slow_owners:
                    continue
                company.stored.append(await _store(company, dht, owner, sort))
            is_public = number % 2 == 0
            entry = Entry(owner, _drawn("entry?>ÿ"), is_public)
            readers = Public() if is_public else To(m.identity.public_key for m in company.named_by(owner))
            await dht.store_entry(company.board, entry.text.encode(), readers=readers)
            company.entries.append(entry)


async def _store(company: Company, dht: Client, owner: Member, sort: Sort) -> Stored:
    name, text, readers = _drawn("name", sort.name), _drawn("text?>ÿ", sort.name), sort.of(company, owner)
    receipt = await dht.store(name, text.encode(), readers=readers)
    address = await dht.put_bytes(text.encode(), readers=readers) if sort.passphrase is None else None
    return Stored(sort, owner, name, text, receipt.link, address)


async def read_all(company: Company, nodes: Sequence[NodeProcess], shift: int = 0) -> int:
    """Everybody reads everything, each through a node with an odd number: opened by its readers, and by nobody else.

    Returns:
        How many reads were opened.

    """
    opened = 0
    for number, reader in enumerate(company.members):
        async with reader.client(nodes[(2 * (number + shift) + 1) % len(nodes)]) as dht:
            for stored in company.stored:
                opened += await _read(company, dht, reader, stored)
            entries = {entry.publisher: entry.data for entry in await dht.get_entries(company.board)}
            assert entries == company.entries_for(reader)
    return opened


async def _read(company: Company, dht: Client, reader: Member, stored: Stored) -> bool:
    sort, text = stored.sort, stored.text.encode()
    if not sort.opens(company, stored.owner, reader):
        await _refused(_by_link(dht, stored), NotAReader)
        # An immutable has no publisher, so that one for others' own eyes is no different from one under a lost key.
        await _refused(_by_address(dht, stored), DecryptionFailed if sort.name == "self" else NotAReader)
        return False
    assert await _by_link(dht, stored, sort.passphrase) == text
    if sort.passphrase is None:
        publisher = None if reader is stored.owner else stored.owner.identity.public_key
        assert (await dht.get(stored.name, publisher=publisher)).data == text
        assert await _by_address(dht, stored) == text
        return True
    await _refused(_by_link(dht, stored), PassphraseNeeded)
    if reader is company.silent:
        await _refused(_by_link(dht, stored, "another"), WrongPassphrase)
    return True


async def _by_link(dht: Client, stored: Stored, passphrase: str | None = None) -> bytes:
    return (await dht.records.get_slot(*decode_slot_link(stored.link), 1, passphrase)).data


async def _by_address(dht: Client, stored: Stored) -> bytes:
    assert stored.address is not None
    return await dht.get_bytes(stored.address)


async def _refused(work: Awaitable[bytes], kind: type[YzError]) -> None:
    """Fail unless it ends with this very error."""
    with pytest.raises(kind) as caught:
        await work
    assert caught.type is kind

"""A group among the homes of a company: who reads what was written in it, as members come and go."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from yzdht import Group, NoSuchGroup, NotAReader, NotFound, UnknownEpoch
from yzdht.wire.group_state import Member as Listed


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.process.company import Company, Member
    from tests.process.fleet import NodeProcess


@dataclass(frozen=True, slots=True)
class Written:
    """One value of the group.

    Attributes:
        writer: Who wrote it; once they are no member, it does not count.
        name: Under which it lies.
        text: What it is.
        readers: Who must be able to open it; nobody else may.

    """

    writer: Member
    name: str
    text: str
    readers: tuple[Member, ...]


@dataclass(slots=True)
class Circle:
    """A group: its admin, two who store and the one who only reads.

    Attributes:
        company: All homes.
        called: What the admin calls it; each of the others has a name of its own for it.
        members: Who is in, the admin first.
        written: All values so far.

    """

    company: Company
    called: str = field(default_factory=lambda: f"circle-{secrets.token_hex(12)}")
    members: list[Member] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)

    def name_of(self, member: Member) -> str:
        """What a member calls the group."""
        return f"{self.called}-{member.name[:4]}"

    async def form(self, nodes: Sequence[NodeProcess]) -> None:
        """Make the group, and have everybody in it take it up through a node of their own."""
        admin, ben, carla, *_ = self.company.members
        self.members = [admin, ben, carla, self.company.silent]
        async with admin.client(nodes[0]) as dht:
            await dht.groups.create(self.name_of(admin))
            for member in (ben, carla):
                await dht.groups.add(self.name_of(admin), member.identity.public_key)
            silent = self.company.silent.identity  # whose keys no node was told
            listed = Listed(silent.public_key, silent.kem[0].key.public_key)
            key = (await dht.groups.add(self.name_of(admin), listed)).group_key
        for number, member in enumerate(self.members[1:], start=3):
            async with member.client(nodes[number]) as dht:
                await dht.groups.adopt(self.name_of(member), key)
        for number, outsider in enumerate(self._outsiders(), start=7):
            async with outsider.client(nodes[number]) as dht:
                with pytest.raises(NotAReader):
                    await dht.groups.adopt("not mine", key)

    def _outsiders(self) -> list[Member]:
        return [member for member in self.company.members if member not in self.members]

    async def write(self, nodes: Sequence[NodeProcess]) -> None:
        """Every member who stores writes one value."""
        for number, member in enumerate(m for m in self.members if m is not self.company.silent):
            name, text = (f"{what}-group-{secrets.token_hex(12)}" for what in ("name", "text?>ÿ"))
            async with member.client(nodes[2 * number]) as dht:
                await dht.store(name, text.encode(), readers=Group(self.name_of(member)))
            self.written.append(Written(member, name, text, tuple(self.members)))

    async def remove(self, member: Member, nodes: Sequence[NodeProcess]) -> None:
        """The admin takes somebody out."""
        admin = self.members[0]
        async with admin.client(nodes[1]) as dht:
            await dht.groups.remove(self.name_of(admin), member.identity.public_key)
        self.members.remove(member)

    async def read(self, nodes: Sequence[NodeProcess]) -> int:
        """Everybody tries everything, each through a node of their own; how many reads were opened."""
        opened = 0
        for number, reader in enumerate(self.company.members):
            async with reader.client(nodes[(3 * number + 2) % len(nodes)]) as dht:
                for written in self.written:
                    if written.writer not in self.members and reader is not written.writer:
                        with pytest.raises((NoSuchGroup, NotFound)):  # what a removed member wrote before
                            await dht.get(written.name, group=self.name_of(reader))
                        continue
                    if reader in written.readers:
                        value = await dht.get(written.name, group=self.name_of(reader))
                        assert value.data == written.text.encode()
                        opened += 1
                        continue
                    with pytest.raises((NoSuchGroup, UnknownEpoch)):
                        await dht.get(written.name, group=self.name_of(reader))
        return opened

    def needles(self) -> list[str | bytes]:
        """What no storing node's file may hold."""
        return [self.called, *(part for written in self.written for part in (written.name, written.text))]

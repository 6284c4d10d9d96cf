"""Changes of groups that are cut short anywhere: afterwards the next command of any admin ends, and all agree."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Keeps, Member, SqliteGroups
from yzdht.errors import GroupChangeRefused, NoNode, YzError
from yzdht.limits import GROUP_LOOK_S
from yzdht.readers import Group
from yzdht.wire.group_state import Role


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from yzdht.access import Reading, Writing
    from yzdht.ids import NetworkId, Target

    Change = Callable[[Member, "Company"], Awaitable[object]]


TEAM = Group("team")
ASKED_MAX = 40
"""More than any change asks for."""


class Killed(BaseException):
    """The process is gone: no handler of an Exception sees it."""


class Failing(Holders):
    """Replicas, and a disk, that fail at one point: before they do what they are asked for, or after it."""

    def __init__(self, fault: BaseException, *, is_after: bool) -> None:
        super().__init__()
        self.left: int | None = None  # requests until one fails; None for never
        self._fault = fault
        self._is_after = is_after

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        self.fail_if_due()
        return await super().read(targets, paths)

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        if self._is_after and self.left == 0:
            await super().write(target, record, cas, keep_until)
        self.fail_if_due()
        return await super().write(target, record, cas, keep_until)

    def fail_if_due(self) -> None:
        if self.left == 0:
            self.left = None
            raise self._fault
        if self.left is not None:
            self.left -= 1

    async def settle(self) -> None:
        """Until nothing is under way; what was begun beside a call may have failed as well."""
        begun, self.begun = self.begun, []
        for failed in await asyncio.gather(*begun, return_exceptions=True):
            assert failed is None or isinstance(failed, (Killed, YzError)), failed


class FailingDisk(SqliteGroups):
    """What is kept of groups; to write it may fail like any request."""

    def __init__(self, holders: Failing) -> None:
        super().__init__(None)
        self._holders = holders

    def add(self, network: NetworkId, name: str, sealed: bytes) -> None:
        self._holders.fail_if_due()
        super().add(network, name, sealed)

    def change(self, network: NetworkId, name: str, make: Callable[[bytes], bytes]) -> None:
        self._holders.fail_if_due()
        super().change(network, name, make)


class Company:
    """Anna and Ben are admins of a group, Cleo is a member, Dora is not yet."""

    def __init__(self, holders: Failing) -> None:
        self.holders = holders
        self.anna, self.ben, self.cleo, self.dora = (Member(holders) for _ in range(4))
        self.anna.keeps = Keeps(self.anna.marks, FailingDisk(holders))
        self.anna.records = self.anna.restarted(holders)

    async def meet(self) -> Company:
        for member in (self.anna, self.ben, self.cleo, self.dora):
            await member.records.people.publish()
        groups = self.anna.records.groups
        await groups.create("team")
        for member in (self.ben, self.cleo):
            await groups.add("team", member.key)
            await member.records.groups.adopt("team", groups.group_key("team"))
        await groups.promote("team", self.ben.key)
        await self.ben.records.groups.info("team")
        await self.holders.settle()
        return self

    def restart(self) -> None:
        """Anna's process is another one, with the same files; Ben, Cleo and Dora come an hour later."""
        self.anna.records = self.anna.restarted(self.holders)
        self.holders.wall += GROUP_LOOK_S


CHANGES: dict[str, Change] = {
    "add": lambda anna, c: anna.records.groups.add("team", c.dora.key),
    "add with history": lambda anna, c: anna.records.groups.add("team", c.dora.key, history=True),
    "remove": lambda anna, c: anna.records.groups.remove("team", c.cleo.key),
    "promote": lambda anna, c: anna.records.groups.promote("team", c.cleo.key),
    "rotate": lambda anna, _: anna.records.groups.rotate("team"),
    "remove an admin": lambda anna, c: anna.records.groups.remove("team", c.ben.key),
}


async def cut_short(company: Company, change: Change, at: int) -> bool:
    """Begin a change and stop it, or what it began beside it, at its n-th request; False if there were fewer."""
    holders = company.holders
    holders.left = at
    with contextlib.suppress(Killed, YzError):
        await change(company.anna, company)
    await holders.settle()
    was_cut, holders.left = holders.left is None, None
    return was_cut


async def agree(members: Sequence[Member], holders: Failing) -> None:
    """Check that everybody is in one state, that admins can change it, and that all read what each of them writes."""
    infos = [await member.records.groups.info("team") for member in members]
    assert len({(info.group_key, info.epoch, info.members) for info in infos}) == 1
    roles = {m.public_key: m.role for m in infos[0].members}
    assert roles.keys() == {member.key for member in members}
    for member, info in zip(members, infos, strict=True):
        assert not info.forks
        assert info.is_admin == (roles[member.key] is Role.ADMIN)
    for number, member in enumerate(members):
        holders.wall += 1
        await member.records.store("plan", b"%d" % number, TEAM)
        for reader in members:
            assert (await reader.records.get_from_group("team", "plan")).data == b"%d" % number


def those_in(company: Company) -> list[Member]:
    listed = {m.public_key for m in company.anna.records.groups.known_info("team").members}
    return [m for m in (company.anna, company.ben, company.cleo, company.dora) if m.key in listed]


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", [Killed(), NoNode("gone")], ids=["killed", "alone"])
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_is_cut_short_anywhere_leaves_a_group_that_goes_on(
    name: str, fault: BaseException, *, is_after: bool
) -> None:
    for at in range(ASKED_MAX):
        holders = Failing(fault, is_after=is_after)
        company = await Company(holders).meet()
        was_cut = await cut_short(company, CHANGES[name], at)

        company.restart()
        for admin in (company.ben, company.anna):
            if not (await admin.records.groups.info("team")).is_removed:
                await admin.records.groups.rotate("team")
                await holders.settle()
        there = those_in(company)
        if company.dora in there:
            await company.dora.records.groups.adopt("team", company.anna.records.groups.group_key("team"))
        assert (company.ben in there) or name == "remove an admin"
        await agree(there, holders)

        with contextlib.suppress(GroupChangeRefused):  # as people do: it works, or was done before
            await CHANGES[name](company.anna, company)
        holders.wall += GROUP_LOOK_S
        there = those_in(company)
        if company.dora in there:
            await company.dora.records.groups.adopt("team", company.anna.records.groups.group_key("team"))
        await agree(there, holders)
        if not was_cut:
            return
    pytest.fail("the change asked for more than it should")


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
async def test_a_group_whose_making_is_cut_short_is_there_or_can_be_made_again(*, is_after: bool) -> None:
    for at in range(ASKED_MAX):
        holders = Failing(Killed(), is_after=is_after)
        company = Company(holders)
        anna, ben = company.anna, company.ben
        was_cut = await cut_short(company, lambda anna, _: anna.records.groups.create("team"), at)

        company.restart()
        if not anna.records.groups.names():
            await anna.records.groups.create("team")
        await ben.records.people.publish()
        await anna.records.groups.add("team", ben.key)
        await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
        await agree([anna, ben], holders)
        if not was_cut:
            return
    pytest.fail("making a group asked for more than it should")

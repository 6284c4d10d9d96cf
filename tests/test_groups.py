"""Groups made, joined and changed by several homes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Member
from tests.test_people import with_its_own_key_as_kem
from tests.test_records import NET, refusal_of
from yzdht.crypto.groups import group_id_of
from yzdht.errors import (
    AlreadyAMember,
    GroupChangeRefused,
    LastAdmin,
    NoSuchGroup,
    NotAMember,
    NotAnAdmin,
    NotAReader,
    NotFound,
    StaleRecord,
    UnknownEpoch,
    UsageError,
)
from yzdht.ids import Target
from yzdht.limits import DAY_S, GROUP_EPOCH_S, GROUP_LOOK_AGAIN_S, GROUP_LOOK_S, RECORD_LIFE_S_MAX
from yzdht.readers import Group
from yzdht.wire.group_state import Role


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.groups import GroupInfo
    from yzdht.records import Value


TEAM = Group("team")


@pytest.fixture
def holders() -> Holders:
    return Holders()


@pytest.fixture
def anna(holders: Holders) -> Member:
    return Member(holders)


async def joined(admin: Member, holders: Holders, count: int = 1) -> list[Member]:
    """So many new members of the admin's group, who know it."""
    members = [Member(holders) for _ in range(count)]
    for member in members:
        await member.records.people.publish()
        await admin.records.groups.add("team", member.key)
        await member.records.groups.adopt("team", admin.records.groups.group_key("team"))
    return members


async def read(member: Member, name: str = "plan") -> bytes:
    return (await member.records.get_from_group("team", name)).data


def later(holders: Holders, seconds: float) -> None:
    holders.wall += seconds


# Values


async def test_what_one_member_stores_the_others_read_and_nobody_else(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    cleo = Member(holders)

    receipt = await anna.records.store("plan", b"meet at noon", TEAM)

    value: Value = await ben.records.get_from_group("Team", "plan")
    assert (value.data, value.publisher, value.seq) == (b"meet at noon", anna.key, receipt.seq)
    with pytest.raises(NotAReader):
        await cleo.records.groups.adopt("team", anna.records.groups.group_key("team"))
    await refusal_of(cleo.records.get_from_group("team", "plan"), NoSuchGroup)
    assert all(b"meet" not in record.raw and b"team" not in record.raw for _, record, _ in holders.writes)


async def test_the_last_who_wrote_is_read_whoever_that_is(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    await anna.records.store("plan", b"first", TEAM)
    assert await read(ben) == b"first"
    later(holders, -300)  # ben's clock is slow, and he has seen what anna wrote
    await ben.records.store("plan", b"second", TEAM)

    assert await read(anna) == await read(ben) == b"second"
    assert (await anna.records.get_from_group("team", "plan", anna.key)).data == b"first"


async def test_a_member_deletes_what_another_stored(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    await anna.records.store("plan", b"first", TEAM)

    await ben.records.delete_from_group("team", "plan")

    await refusal_of(anna.records.get_from_group("team", "plan"), NotFound)
    await refusal_of(ben.records.delete_from_group("team", "plan"), NotFound)
    await anna.records.store("plan", b"again", TEAM)
    assert await read(ben) == b"again"


async def test_an_entry_that_is_held_back_is_missed(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    await anna.records.store("plan", b"old", TEAM)
    old = {target: dict(entries) for target, entries in holders.entries.items()}
    later(holders, 1)
    await ben.records.store("plan", b"new", TEAM)
    assert await read(anna) == b"new"

    new, holders.entries = holders.entries, old
    await refusal_of(anna.records.get_from_group("team", "plan"), StaleRecord)
    holders.entries = {target: dict(entries) for target, entries in new.items()}
    await ben.records.delete_from_group("team", "plan")
    await refusal_of(anna.records.get_from_group("team", "plan"), NotFound)
    holders.entries = old  # anna's value must not come back
    await refusal_of(anna.records.get_from_group("team", "plan"), StaleRecord)


async def test_a_value_that_never_changes_can_be_a_groups(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)

    address = await anna.records.put_bytes(b"photo", TEAM)

    assert await ben.records.get_bytes(address) == b"photo"
    await refusal_of(Member(holders).records.get_bytes(address), NotAReader)


# Who reads what


async def test_a_removed_member_reads_nothing_that_is_written_after(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    await anna.records.store("before", b"b", TEAM)
    assert await read(ben, "before") == b"b"

    await anna.records.groups.remove("team", ben.key)
    await anna.records.store("after", b"a", TEAM)

    assert await read(cleo, "after") == b"a"
    await refusal_of(ben.records.get_from_group("team", "after"), UnknownEpoch)
    later(holders, GROUP_LOOK_S)
    assert await read(ben, "before") == b"b"
    assert (await ben.records.groups.info("team")).is_removed
    await refusal_of(ben.records.store("mine", b"x", TEAM), NotAMember)


async def test_a_member_who_was_removed_takes_the_group_up_again_only_when_added_again(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    key = anna.records.groups.group_key("team")
    await anna.records.groups.remove("team", ben.key)

    with pytest.raises(NotAReader):
        await ben.records.groups.adopt("team", key)
    await anna.records.groups.add("team", ben.key)
    assert not (await ben.records.groups.adopt("team", key)).is_removed


async def test_whoever_writes_learns_within_a_minute_that_somebody_was_removed(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    await ben.records.groups.info("team")
    await anna.records.groups.remove("team", cleo.key)
    later(holders, GROUP_LOOK_AGAIN_S)

    await ben.records.store("plan", b"not for cleo", TEAM)

    await refusal_of(cleo.records.get_from_group("team", "plan"), UnknownEpoch)
    assert await read(anna) == b"not for cleo"


async def test_what_a_removed_member_writes_does_not_count(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    await anna.records.store("plan", b"anna", TEAM)
    await anna.records.groups.remove("team", ben.key)

    await ben.records.store("plan", b"forced", TEAM)  # he has not looked yet

    assert await read(anna) == b"anna"
    await refusal_of(anna.records.get_from_group("team", "plan", ben.key), NotFound)


async def test_a_joiner_reads_nothing_from_before_unless_that_is_granted(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    await anna.records.store("old", b"o", TEAM)
    [ben] = await joined(anna, holders)
    await refusal_of(ben.records.get_from_group("team", "old"), UnknownEpoch)

    cleo = Member(holders)
    await cleo.records.people.publish()
    await anna.records.groups.add("team", cleo.key, history=True)
    await cleo.records.groups.adopt("team", anna.records.groups.group_key("team"))

    assert await read(cleo, "old") == b"o"
    later(holders, GROUP_LOOK_AGAIN_S)
    assert await read(ben, "old") == b"o"  # so may then every member


async def test_a_group_with_history_grants_it_to_all_who_join(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team", history=True)
    await anna.records.store("old", b"o", TEAM)

    [ben] = await joined(anna, holders)

    assert await read(ben, "old") == b"o"
    assert (await ben.records.groups.info("team")).has_history


async def test_a_new_epoch_is_looked_for_when_one_is_unknown_but_once_a_minute(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    await anna.records.groups.rotate("team")
    await anna.records.store("plan", b"new epoch", TEAM)
    assert await read(ben) == b"new epoch"
    await anna.records.groups.rotate("team")
    await anna.records.store("plan", b"newer epoch", TEAM)
    looks = len(holders.reads)
    await refusal_of(ben.records.get_from_group("team", "plan"), UnknownEpoch)
    assert len(holders.reads) == looks + 1  # the value alone

    later(holders, GROUP_LOOK_AGAIN_S)

    assert await read(ben) == b"newer epoch"


# Changes


async def test_only_admins_change_a_group(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)

    for attempt in (
        ben.records.groups.remove("team", cleo.key),
        ben.records.groups.rotate("team"),
        ben.records.groups.promote("team", ben.key),
        ben.records.groups.add("team", Member(holders).key),
    ):
        with pytest.raises((NotAnAdmin, NotFound)):
            await attempt
    with pytest.raises(AlreadyAMember):
        await anna.records.groups.add("team", ben.key)
    with pytest.raises(NotAMember):
        await anna.records.groups.remove("team", Member(holders).key)


async def test_an_admin_who_was_promoted_changes_the_group(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)

    await anna.records.groups.promote("team", ben.key)
    info: GroupInfo = await ben.records.groups.info("team")
    assert info.is_admin
    await ben.records.groups.remove("team", cleo.key)

    assert {m.public_key for m in (await anna.records.groups.info("team")).members} == {anna.key, ben.key}
    with pytest.raises(GroupChangeRefused):
        await anna.records.groups.promote("team", ben.key)


async def test_an_admin_whose_promotion_was_cut_short_gets_the_key_from_another(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    slot = anna.records.known_groups.admins_slot(anna.records.groups.group_key("team"))
    before = holders.held[slot.target]
    later(holders, 1)
    await anna.records.groups.promote("team", ben.key)
    holders.held[slot.target] = before
    again = anna.restarted(holders)
    assert not (await ben.records.groups.info("team")).is_admin

    again.groups.keep_up("team")
    await holders.settle()

    assert (await ben.records.groups.info("team")).is_admin


async def test_two_admins_who_race_end_in_one_state(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo, dora = await joined(anna, holders, 3)
    await anna.records.groups.promote("team", ben.key)
    await ben.records.groups.info("team")

    await asyncio.gather(
        anna.records.groups.remove("team", cleo.key),
        ben.records.groups.promote("team", dora.key),
        anna.records.groups.rotate("team"),
        ben.records.groups.rotate("team"),
    )

    infos = [await member.records.groups.info("team") for member in (anna, ben, dora)]
    assert len({(info.epoch, info.members, info.group_key) for info in infos}) == 1
    assert all(info.is_admin and not info.forks for info in infos)
    assert {m.public_key for m in infos[0].members} == {anna.key, ben.key, dora.key}
    assert all(m.role is Role.ADMIN for m in infos[0].members)


async def test_removing_an_admin_takes_the_group_to_a_key_that_they_do_not_have(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    await anna.records.groups.promote("team", ben.key)
    await ben.records.groups.info("team")
    await anna.records.store("before", b"b", TEAM)
    old_key = anna.records.groups.group_key("team")

    await anna.records.groups.remove("team", ben.key)
    await anna.records.store("after", b"a", TEAM)

    assert anna.records.groups.group_key("team") != old_key
    later(holders, GROUP_LOOK_S)
    assert (await read(cleo, "before"), await read(cleo, "after")) == (b"b", b"a")
    assert (await cleo.records.groups.info("team")).group_key == anna.records.groups.group_key("team")
    await refusal_of(ben.records.get_from_group("team", "after"), UnknownEpoch)
    with pytest.raises(NotAMember):
        await ben.records.groups.rotate("team")
    with pytest.raises(LastAdmin):
        await anna.records.groups.remove("team", anna.key)


async def test_an_admin_does_not_make_the_key_of_a_group_that_it_leaves(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    with pytest.raises(LastAdmin):
        await anna.records.groups.remove("team", anna.key)
    await anna.records.groups.promote("team", ben.key)
    key = anna.records.groups.group_key("team")

    with pytest.raises(GroupChangeRefused, match="takes themselves out") as refusal:
        await anna.records.groups.remove("team", anna.key)

    assert "yz group leave" in refusal.value.hint
    assert (await ben.records.groups.info("team")).group_key == key
    await ben.records.groups.remove("team", anna.key)
    assert (await anna.records.groups.info("team")).is_removed


async def test_whoever_was_away_while_the_key_changed_twice_is_led_on(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo, dora = await joined(anna, holders, 3)
    for admin in (ben, cleo):
        await anna.records.groups.promote("team", admin.key)
        await anna.records.groups.remove("team", admin.key)
    await anna.records.store("plan", b"third key", TEAM)

    later(holders, GROUP_LOOK_S)

    assert await read(dora) == b"third key"


# Time


async def test_an_admin_begins_a_new_epoch_each_week(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    for week in range(1, 7):
        later(holders, GROUP_EPOCH_S)
        await anna.records.store("plan", b"%d" % week, TEAM)
        await holders.settle()
        assert (await anna.records.groups.info("team")).epoch == 2 + week
        assert await read(ben) == b"%d" % week
    assert not (await ben.records.groups.info("team")).is_removed


async def test_an_admin_takes_over_the_kem_keys_that_members_publish(
    holders: Holders, anna: Member, tmp_path: Path
) -> None:
    await anna.records.groups.create("team")
    ben = Member(holders, tmp_path / "ben")
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)
    await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
    later(holders, 16 * DAY_S)
    await ben.records.people.publish()
    newest = ben.records.identity.kem[0].key.public_key

    await anna.records.groups.rotate("team")

    [listed] = [m.kem for m in (await ben.records.groups.info("team")).members if m.public_key == ben.key]
    assert listed == newest
    assert ben.records.people.listed() == {newest}


async def test_a_member_who_publishes_no_proper_key_does_not_stop_new_epochs(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    later(holders, DAY_S)
    holders.held[Target(ben.identity.node_id)] = with_its_own_key_as_kem(ben, holders.wall)

    info = await anna.records.groups.rotate("team")

    assert info.epoch == 3
    assert {m.kem for m in info.members if m.public_key == ben.key} == {ben.identity.kem[0].key.public_key}


async def test_of_two_admins_one_begins_the_new_epoch_of_a_week(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    await anna.records.groups.promote("team", ben.key)
    await ben.records.groups.info("team")
    await holders.settle()
    later(holders, GROUP_EPOCH_S)
    ben.records.groups.keep_up("team")  # he has not seen what anna is about to do
    anna.records.groups.keep_up("team")

    await anna.records.groups._keep_up("team")
    await holders.settle()

    assert (await ben.records.groups.info("team")).epoch == 4


async def test_a_new_epoch_is_not_sealed_to_whoever_is_revoked(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo, dora = await joined(anna, holders, 3)
    await anna.records.groups.promote("team", cleo.key)
    for member in (ben, cleo):
        await member.records.moves.revoke()
    key = anna.records.groups.group_key("team")
    later(holders, DAY_S)

    info = await anna.records.groups.rotate("team")

    assert {m.public_key for m in info.members} == {anna.key, dora.key}
    assert info.group_key != key  # cleo had it
    await anna.records.store("plan", b"after", TEAM)
    await refusal_of(ben.records.get_from_group("team", "plan"), UnknownEpoch)
    assert await read(dora) == b"after"


async def test_a_group_goes_on_while_its_admin_is_away_for_months(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    await ben.records.groups.info("team")
    later(holders, RECORD_LIFE_S_MAX + 20 * DAY_S)

    receipt = await ben.records.store("plan", b"without anna", TEAM)

    assert "admin" in receipt.warnings[0]
    assert await read(cleo) == b"without anna"
    dora = Member(holders)
    await dora.records.people.publish()
    await ben.records.people.publish()
    await cleo.records.people.publish()
    await anna.records.groups.add("team", dora.key)  # back, and the group goes on
    await dora.records.groups.adopt("team", anna.records.groups.group_key("team"))
    later(holders, GROUP_LOOK_S)
    assert (await ben.records.groups.info("team")).epoch == 4
    assert (await ben.records.store("plan", b"with dora", TEAM)).warnings == ()
    assert await read(dora) == b"with dora"


# Nodes that fail or lie


async def test_a_state_that_nodes_lost_is_given_back_to_them(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    holders.held.clear()

    later(holders, GROUP_LOOK_S)
    await ben.records.groups.info("team")
    await holders.settle()

    assert anna.key in {m.public_key for m in (await anna.records.groups.info("team")).members}
    assert holders.held


async def test_an_old_state_is_not_believed(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    old = dict(holders.held)
    await anna.records.groups.remove("team", ben.key)
    new = holders.held
    await cleo.records.groups.info("team")

    holders.held = old
    later(holders, GROUP_LOOK_S)
    info = await cleo.records.groups.info("team")

    assert ben.key not in {m.public_key for m in info.members}
    holders.held = new


async def test_a_fork_is_seen_and_ends(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    await anna.records.groups.promote("team", ben.key)
    await ben.records.groups.info("team")
    common = dict(holders.held)
    await anna.records.groups.rotate("team")  # on one side of a cut
    await anna.records.store("here", b"h", TEAM)
    here, holders.held = holders.held, dict(common)
    later(holders, 1)
    await ben.records.groups.rotate("team")  # and on the other
    await ben.records.store("there", b"t", TEAM)
    there = holders.held
    holders.held = {**here, **there}  # which wins by its seq

    later(holders, GROUP_LOOK_S)
    forks = (await anna.records.groups.info("team")).forks
    await anna.records.groups.rotate("team")

    assert [fork.epoch for fork in forks] == [5]
    infos = [await member.records.groups.info("team") for member in (anna, ben, cleo)]
    assert len({info.epoch for info in infos}) == 1
    assert await read(anna, "there") == b"t"
    assert await read(anna, "here") == b"h"


# A home


async def test_a_group_is_known_after_a_restart(holders: Holders, tmp_path: Path) -> None:
    anna = Member(holders, tmp_path / "anna")
    await anna.records.groups.create("team")
    await anna.records.store("plan", b"kept", TEAM)
    anna.home.close()

    again = Member(holders, tmp_path / "anna")

    assert again.records.groups.names() == ["team"]
    assert await read(again) == b"kept"
    assert again.records.groups.known_info("team").is_admin
    assert b"team" not in b"".join(r.raw for _, r, _ in holders.writes)
    again.home.close()


async def test_two_processes_of_a_home_know_together_what_each_learnt(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    other = anna.restarted(holders)
    await other.groups.rotate("team")
    await other.store("plan", b"epoch two", TEAM)

    assert await read(anna) == b"epoch two"
    await anna.records.groups.rotate("team")
    assert (await other.groups.info("team")).epoch == 3


async def test_names_of_groups_are_a_homes_own(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("Team")
    [ben] = [Member(holders)]
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)

    await ben.records.groups.adopt("die andern", anna.records.groups.group_key("team"))

    assert ben.records.groups.names() == ["die andern"]
    for bad in ("TEAM", "", "a\nb", "x" * 65):
        with pytest.raises(UsageError):
            await anna.records.groups.create(bad)
    with pytest.raises(NoSuchGroup):
        anna.records.groups.known_info("die andern")


async def test_a_group_that_is_known_is_looked_at_whichever_of_its_keys_is_named(
    holders: Holders, anna: Member
) -> None:
    await anna.records.groups.create("team")
    ben, cleo = await joined(anna, holders, 2)
    old_key = anna.records.groups.group_key("team")
    await anna.records.groups.promote("team", ben.key)
    await anna.records.groups.remove("team", ben.key)

    for name, key in (("TEAM", old_key), ("team", old_key), ("Team", anna.records.groups.group_key("team"))):
        info = await cleo.records.groups.adopt(name, key)
        assert info.group_key == anna.records.groups.group_key("team")
    assert cleo.records.groups.names() == ["team"]


async def test_leaving_forgets_the_group(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    with pytest.raises(LastAdmin):
        anna.records.groups.leave("team")

    ben.records.groups.leave("team")
    await anna.records.groups.remove("team", ben.key)
    anna.records.groups.leave("team")

    assert ben.records.groups.names() == anna.records.groups.names() == []
    assert ben.records.people.listed() == frozenset()


async def test_a_removal_is_told_with_the_id_that_the_group_had(holders: Holders, anna: Member) -> None:
    await anna.records.groups.create("team")
    [ben] = await joined(anna, holders)
    told: list[object] = []
    anna.records.groups.on_removed = lambda group, member: told.append((group, member))
    group_id = group_id_of(anna.records.groups.group_key("team"), NET)

    await anna.records.groups.remove("team", ben.key)

    assert told == [(group_id, ben.key)]
    with pytest.raises(NotAMember):  # as after a first try that was cut short
        await anna.records.groups.remove("team", ben.key)
    assert told == [(group_id, ben.key)] * 2

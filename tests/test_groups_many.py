"""A group of many: who reads what, one state and one secret for all, its size (PROTOCOL.md section 10)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import IS_SOAK
from tests.group_homes import Holders, Member
from tests.test_records import refusal_of
from yzdht.errors import GroupFull, UnknownEpoch
from yzdht.limits import (
    DAY_S,
    GROUP_LOOK_AGAIN_S,
    GROUP_LOOK_S,
    GROUP_MEMBERS_MAX,
    GROUP_STATE_BYTES_MAX,
    RECORD_BYTES_MAX,
)
from yzdht.readers import Group
from yzdht.wire.group_state import Role, encode_group_state


if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.conftest import Figures
    from yzdht.crypto.kept_group import KeptGroup


TEAM = Group("team")
COUNT = GROUP_MEMBERS_MAX if IS_SOAK else 50
RACES = 8


def known(member: Member) -> KeptGroup:
    """What somebody's home keeps of the group."""
    return member.records.known_groups.kept("team")


async def looked(members: Iterable[Member]) -> None:
    for member in members:
        await member.records.groups.info("team")


async def read_by(members: Iterable[Member], name: str, value: bytes) -> None:
    for member in members:
        assert (await member.records.get_from_group("team", name)).data == value


def one_secret(members: Iterable[Member]) -> None:
    """Check that all are in one state, and derive one key to write under."""
    kept = [known(member) for member in members]
    assert len({(each.group_key, each.record.hash) for each in kept}) == 1
    assert len({each.state.epoch_secret for each in kept}) == 1
    assert len({each.epochs[-1].record_root for each in kept}) == 1


async def test_a_group_of_many(figures: Figures) -> None:
    began = time.process_time()
    holders = Holders()
    anna, *others = everybody = [Member(holders) for _ in range(COUNT)]
    late = Member(holders)
    groups = anna.records.groups
    await groups.create("team")
    for member in [*others, late]:
        await member.records.people.publish()
    await anna.records.store("first", b"anna alone", TEAM)

    for member in others:  # everybody joins, each is one epoch
        await groups.add("team", member.key)
    for member in others:
        await member.records.groups.adopt("team", groups.group_key("team"))
    one_secret(everybody)
    assert known(anna).state.epoch == COUNT
    await anna.records.store("all", b"for all", TEAM)
    await read_by(everybody, "all", b"for all")
    for joiner in others:  # nothing from before was granted
        await refusal_of(joiner.records.get_from_group("team", "first"), UnknownEpoch)

    if COUNT == GROUP_MEMBERS_MAX:
        await refusal_of(groups.add("team", late.key), GroupFull)

    removed, *rest = others  # out, and in an epoch of its own
    await groups.remove("team", removed.key)
    await groups.rotate("team")
    holders.wall += GROUP_LOOK_AGAIN_S
    await anna.records.store("after", b"not for all", TEAM)
    await read_by([anna, *rest], "after", b"not for all")
    await refusal_of(removed.records.get_from_group("team", "after"), UnknownEpoch)
    await read_by([removed], "all", b"for all")  # what it could read it has read
    one_secret([anna, *rest])

    await groups.add("team", late.key, history=True)  # granted: all that anna still knows
    await late.records.groups.adopt("team", groups.group_key("team"))
    await read_by([late], "after", b"not for all")
    await read_by([late], "all", b"for all")
    holders.wall += GROUP_LOOK_S
    await looked([*rest, anna, late])
    one_secret([*rest, anna, late])
    await refusal_of(removed.records.get_from_group("team", "after"), UnknownEpoch)

    state = known(anna).state
    assert len(state.members) == COUNT
    assert len(encode_group_state(state)) <= GROUP_STATE_BYTES_MAX
    assert len(known(anna).record.raw) <= RECORD_BYTES_MAX
    figures(
        f"{COUNT} homes: state {len(encode_group_state(state)):,} bytes of {GROUP_STATE_BYTES_MAX:,}, "
        f"its record {len(known(anna).record.raw):,} of {RECORD_BYTES_MAX:,}, "
        f"{len(state.past)} rows of the past, {time.process_time() - began:.1f} s of CPU"
    )


async def test_admins_who_race_among_many_end_in_one_state() -> None:
    holders = Holders()
    anna, *others = everybody = [Member(holders) for _ in range(RACES)]
    groups = anna.records.groups
    await groups.create("team")
    for member in others:
        await member.records.people.publish()
        await groups.add("team", member.key)
        await member.records.groups.adopt("team", groups.group_key("team"))
    admins = [anna, *others[:3]]
    for admin in admins[1:]:
        await groups.promote("team", admin.key)
        await looked([admin])

    await asyncio.gather(
        admins[0].records.groups.remove("team", others[4].key),
        admins[1].records.groups.promote("team", others[3].key),
        admins[2].records.groups.rotate("team"),
        admins[3].records.groups.remove("team", others[5].key),
    )

    there = [m for m in everybody if m not in (others[4], others[5])]
    holders.wall += GROUP_LOOK_S
    await looked(there)
    await holders.settle()
    await looked(there)
    one_secret(there)
    state = known(anna).state
    assert {m.public_key for m in state.members} == {m.key for m in there}
    assert {m.public_key for m in state.admins} == {m.key for m in (*admins, others[3])}
    assert all(m.records.groups.known_info("team").is_admin for m in (*admins, others[3]))
    assert not any(m.records.groups.known_info("team").forks for m in there)


async def test_two_admins_who_remove_each_other_leave_one_group() -> None:
    holders = Holders()
    anna, ben, cleo = everybody = [Member(holders) for _ in range(3)]
    groups = anna.records.groups
    await groups.create("team")
    for member in (ben, cleo):
        await member.records.people.publish()
        await groups.add("team", member.key)
        await member.records.groups.adopt("team", groups.group_key("team"))
    await groups.promote("team", ben.key)
    await looked([ben])

    await asyncio.gather(
        anna.records.groups.remove("team", ben.key),
        ben.records.groups.remove("team", anna.key),
        return_exceptions=True,
    )

    holders.wall += GROUP_LOOK_S
    await looked(everybody)
    infos = [m.records.groups.known_info("team") for m in everybody]
    assert sorted(info.is_removed for info in infos[:2]) == [False, True]
    winner = everybody[infos[0].is_removed]
    one_secret([winner, cleo])
    assert winner.records.groups.known_info("team").is_admin


async def test_a_group_whose_admin_is_away_for_a_month_goes_on_and_is_renewed() -> None:
    holders = Holders()
    anna, *others = everybody = [Member(holders) for _ in range(6)]
    groups = anna.records.groups
    await groups.create("team", history=True)
    for member in others:
        await member.records.people.publish()
        await groups.add("team", member.key)
        await member.records.groups.adopt("team", groups.group_key("team"))

    for day in range(0, 35, 5):
        for number, member in enumerate(others):
            holders.wall += 1
            await member.records.store(f"day {day}", b"%d" % number, TEAM)
        await holders.settle()
        await read_by(others, f"day {day}", b"%d" % (len(others) - 1))
        holders.wall += 5 * DAY_S
    await groups.rotate("team")
    await holders.settle()

    holders.wall += GROUP_LOOK_S
    await looked(everybody)
    one_secret(everybody)
    assert known(anna).record.expires > holders.wall
    assert {m.role for m in known(anna).state.members if m.public_key == anna.key} == {Role.ADMIN}
    await read_by(everybody, "day 30", b"%d" % (len(others) - 1))
    assert [r.warnings for r in [await anna.records.store("new", b"", TEAM)]] == [()]


@pytest.mark.parametrize("hidden", ["state", "everything"])
async def test_who_is_shown_nothing_new_goes_on_and_is_led_back(hidden: str) -> None:
    holders = Holders()
    anna, ben = Member(holders), Member(holders)
    await anna.records.groups.create("team")
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)
    await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
    before = dict(holders.held)
    await anna.records.groups.rotate("team")
    now, holders.held = holders.held, dict(before) if hidden == "state" else {}

    holders.wall += GROUP_LOOK_S
    await looked([ben])
    assert known(ben).state.epoch == 2
    await holders.settle()
    holders.held = now

    holders.wall += GROUP_LOOK_S
    await looked([ben])
    one_secret([anna, ben])
    assert not ben.records.groups.known_info("team").forks

"""Which entry is a group's value, whatever holders show."""

from __future__ import annotations

import asyncio
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.group_homes import Holders, Member
from tests.test_records import refusal_of
from yzdht.access import Reading
from yzdht.errors import NoSuchGroup, NotFound, StaleRecord, UsageError
from yzdht.limits import DAY_S, GROUP_LOOK_AGAIN_S, SEQ_MAX
from yzdht.readers import Group
from yzdht.wire.record import decode_record


if TYPE_CHECKING:
    from collections.abc import Sequence


TEAM = Group("team")
COUNT = 3


class Scene:
    """Three members, the records under one name in the order in which they were written, and who has seen how many."""

    def __init__(self, holders: Holders, members: list[Member], name: str) -> None:
        self.holders = holders
        self.members = members
        self.name = name
        self.written: list[bytes] = []
        self.values: list[bytes | None] = []
        self.seen = [-1] * COUNT

    async def write(self, by: int, value: bytes | None) -> None:
        self.holders.wall += 1
        records = self.members[by].records
        if value is not None:
            await records.store(self.name, value, TEAM)
        else:
            self.seen[by] = len(self.written) - 1  # a member looks at what it deletes
            try:
                await records.delete_from_group("team", self.name)
            except NotFound:
                return
        self.written.append(self.holders.writes[-1][1].raw)
        self.values.append(value)
        self.seen[by] = len(self.written) - 1

    def show(self, records: Sequence[bytes]) -> None:
        """From now on holders show these, and a quorum stands behind them."""
        kept = self.members[0].records.known_groups.kept("team")
        target = self.members[0].records._group_values.slot(kept, self.members[0].key, self.name).target
        self.holders.shown[target] = [Reading(tuple(records), 4, 4)]

    async def read(self, by: int) -> bytes:
        return (await self.members[by].records.get_from_group("team", self.name)).data

    async def outcome(self, by: int) -> bytes | None:
        """What somebody reads; None for nothing."""
        try:
            return await self.read(by)
        except NotFound:
            return None

    def value(self, number: int) -> bytes | None:
        """What was written then; None for a deletion, and for before all."""
        return None if number < 0 else self.values[number]


async def met() -> Scene:
    holders = Holders()
    anna, *others = members = [Member(holders) for _ in range(COUNT)]
    await anna.records.groups.create("team")
    for member in others:
        await member.records.people.publish()
        await anna.records.groups.add("team", member.key)
    for member in others:
        await member.records.groups.adopt("team", anna.records.groups.group_key("team"))
    for member in members:
        await member.records.groups.info("team")
    await holders.settle()
    return Scene(holders, members, "plan")


names = count()


@cache
def company() -> Scene:
    return asyncio.run(met())


def under_a_new_name() -> Scene:
    """The same three members, for many examples."""
    scene = company()
    scene.holders.begun.clear()
    return Scene(scene.holders, scene.members, f"name {next(names)}")


WRITES = st.lists(
    st.tuples(st.integers(0, COUNT - 1), st.sampled_from([b"a", b"b", b"", None])), min_size=1, max_size=6
)


@given(writes=WRITES, data=st.data())
def test_what_liars_show_is_the_newest_of_it_or_refused_and_never_older_than_seen(
    writes: list[tuple[int, bytes | None]], data: st.DataObject
) -> None:
    scene = under_a_new_name()

    async def check() -> None:
        for by, value in writes:
            await scene.write(by, value)
        reader = data.draw(st.integers(0, COUNT - 1), "reader")
        seen = scene.seen[reader]
        for _ in range(3):
            shown = (
                data.draw(st.sets(st.integers(0, len(scene.written) - 1)), "shown") if scene.written else ()
            )
            scene.show([scene.written[number] for number in shown])
            best = max(shown, default=-1)
            try:
                value = await scene.outcome(reader)
            except StaleRecord:
                assert best < seen
                continue
            assert value == scene.value(max(best, seen))
            assert best >= seen or value is None  # what is known to be deleted is not there
            seen = max(best, seen)
        await scene.holders.settle()

    asyncio.run(check())


@given(writes=WRITES)
def test_honest_holders_show_what_was_written_last(writes: list[tuple[int, bytes | None]]) -> None:
    scene = under_a_new_name()

    async def check() -> None:
        for by, value in writes:
            await scene.write(by, value)
        for reader in range(COUNT):
            assert await scene.outcome(reader) == scene.value(len(scene.values) - 1)
        await scene.holders.settle()

    asyncio.run(check())


async def test_what_a_new_member_wrote_counts_for_those_who_had_not_seen_them_join() -> None:
    scene = await met()
    anna, ben, cleo = scene.members
    await scene.write(1, b"ben")
    assert await scene.read(2) == b"ben"
    dora = Member(scene.holders)
    await dora.records.people.publish()
    await anna.records.groups.add("team", dora.key)
    await dora.records.groups.adopt("team", anna.records.groups.group_key("team"))
    scene.holders.wall += 1
    await dora.records.store("plan", b"dora", TEAM)

    assert await scene.read(2) == b"dora"
    assert (await cleo.records.get_from_group("team", "plan", dora.key)).data == b"dora"
    assert (await ben.records.get_from_group("team", "plan", dora.key)).data == b"dora"


async def test_entries_of_strangers_cost_one_look_a_minute() -> None:
    scene = await met()
    anna, ben, cleo = scene.members
    await scene.write(0, b"anna")
    await anna.records.groups.remove("team", ben.key)
    await ben.records.store("plan", b"ben, who has not looked", TEAM)
    await cleo.records.groups.info("team")
    assert await scene.read(2) == b"anna"
    looks = len(scene.holders.reads)

    assert await scene.read(2) == b"anna"
    assert len(scene.holders.reads) == looks + 1
    scene.holders.wall += GROUP_LOOK_AGAIN_S
    assert await scene.read(2) == b"anna"
    assert len(scene.holders.reads) == looks + 3


async def test_of_entries_of_strangers_nothing_is_remembered() -> None:
    scene = await met()
    anna, ben, cleo = scene.members
    await anna.records.groups.remove("team", ben.key)
    await scene.write(1, b"ben, who has not looked")
    await scene.write(0, b"anna")
    await cleo.records.groups.info("team")

    assert await scene.read(2) == b"anna"

    values = cleo.records._group_values
    kept = cleo.records.known_groups.kept("team")
    slots = [values.slot(kept, member.key, "plan") for member in (anna, ben)]
    assert [cleo.marks.get(slot.key) is not None for slot in slots] == [True, False]


async def test_an_entry_is_above_all_that_its_writer_has_seen() -> None:
    scene = await met()
    scene.holders.wall += 300  # anna's clock is fast
    await scene.write(0, b"anna")
    scene.holders.wall -= 600
    assert await scene.read(1) == b"anna"

    await scene.write(1, b"ben")

    first, second = (decode_record(raw) for raw in scene.written)
    assert second.seq == first.seq + 1
    assert second.publisher == scene.members[1].key
    assert await scene.read(2) == b"ben"
    assert second.seq < SEQ_MAX


async def test_what_expired_is_not_missed() -> None:
    scene = await met()
    anna = scene.members[0]
    await anna.records.store("plan", b"short", TEAM, ttl=DAY_S)
    assert await scene.read(1) == b"short"

    scene.holders.wall += 2 * DAY_S

    await refusal_of(scene.members[1].records.get_from_group("team", "plan"), NotFound)


async def test_names_of_a_group_are_found_by_its_members_alone() -> None:
    scene = await met()
    anna = scene.members[0]
    await anna.records.groups.create("other")
    await anna.records.store("plan", b"team's", TEAM)
    await anna.records.store("plan", b"other's", Group("other"))
    await anna.records.store("plan", b"own", Group("team"))

    assert len(scene.holders.entries) == 2
    assert (await anna.records.get_from_group("other", "plan")).data == b"other's"
    await refusal_of(scene.members[1].records.get_from_group("other", "plan"), NoSuchGroup)
    with pytest.raises(UsageError):
        await anna.records.get_from_group("team", "")

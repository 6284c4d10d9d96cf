"""Groups as one home knows them: which state counts, and what becomes of what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Keeps, Member
from tests.test_records import NET, Person, refusal_of
from yzdht.access import Reading, Writing
from yzdht.crypto.group_chain import open_state
from yzdht.crypto.groups import promote, rotate
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.crypto.signing import KeySigner
from yzdht.errors import DecryptionFailed, LastAdmin, NoNode, NoSuchGroup, NotAReader, UsageError
from yzdht.ids import SECRET_BYTES, EpochSecret, NameSecret, RecordRoot
from yzdht.limits import (
    GROUP_LEFT_READ_MAX,
    GROUP_LOOK_AGAIN_S,
    GROUP_LOOK_S,
    KEM_KEY_RENEW_S,
    REPLAY_KEPT_S,
)
from yzdht.readers import Group, Self
from yzdht.records import Records
from yzdht.store.entropy import SystemRng
from yzdht.store.marks import MemoryMarks
from yzdht.wire.group_state import encode_group_state
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.crypto.kept_group import KeptGroup
    from yzdht.ids import PublicKey
    from yzdht.known_groups import KnownGroups
    from yzdht.wire.group_state import GroupState


TEAM = Group("team")


@pytest.fixture
def holders() -> Holders:
    return Holders()


@pytest.fixture
async def pair(holders: Holders) -> tuple[Member, Member]:
    """Anna, the admin of a group, and Ben, who is in it."""
    anna, ben = Member(holders), Member(holders)
    await anna.records.groups.create("team")
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)
    await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
    return anna, ben


def known(member: Member) -> KnownGroups:
    return member.records.known_groups


def kept(member: Member) -> KeptGroup:
    return known(member).kept("team")


def fresh() -> EpochSecret:
    return EpochSecret(SystemRng().token(SECRET_BYTES))


async def write(admin: Member, state: GroupState) -> None:
    """Write a state as an admin whose program is another one."""
    key = kept(admin).private_key
    assert key is not None
    await admin.records.groups._write(key, state, None)  # type: ignore[arg-type] # no condition


# Looking


async def test_a_group_is_looked_for_hourly_at_the_first_use_and_no_more(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    _, ben = pair
    slot = known(ben).state_slot(kept(ben).group_key)
    ben.records = ben.restarted(holders)
    holders.reads.clear()

    for _ in range(3):
        await known(ben).current("team")
    assert holders.reads.count(slot.target) == 1
    holders.wall += GROUP_LOOK_S
    for _ in range(3):
        await known(ben).current("team")
    assert holders.reads.count(slot.target) == 2


async def test_what_does_not_fit_is_looked_for_at_once_and_then_once_a_minute(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    _, ben = pair

    assert await known(ben).look_again("team") is not None
    assert await known(ben).look_again("team") is None
    holders.wall += GROUP_LOOK_AGAIN_S
    assert await known(ben).look_again("team") is not None
    holders.wall += GROUP_LOOK_AGAIN_S / 10  # who waits for an epoch may look sooner
    assert await known(ben).look_again("team", GROUP_LOOK_AGAIN_S / 10) is not None


async def test_a_state_that_nodes_could_not_show_is_looked_for_again_in_a_minute(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    slot = known(ben).state_slot(kept(ben).group_key)
    await anna.records.groups.rotate("team")
    holders.wall += GROUP_LOOK_S
    holders.shown[slot.target] = [Reading((), 1, 4)]
    assert (await known(ben).current("team")).state.epoch == 2
    holders.shown.clear()

    assert (await known(ben).current("team")).state.epoch == 2
    holders.wall += GROUP_LOOK_AGAIN_S
    assert (await known(ben).current("team")).state.epoch == 3


async def test_a_look_that_ends_late_does_not_bring_back_a_group_that_was_forgotten(
    pair: tuple[Member, Member],
) -> None:
    anna, _ = pair
    late = kept(anna)
    anna.records.groups.leave("team", is_forced=True)
    known(anna).keep("team", late)
    assert known(anna).names() == []
    other = await anna.records.groups.create("team")

    known(anna).keep("team", late)

    assert kept(anna).group_key == other.group_key
    assert len(kept(anna).epochs) == 1


async def test_without_nodes_what_is_known_is_known_and_looking_says_so(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    _, ben = pair
    holders.is_reachable = False
    holders.wall += GROUP_LOOK_S

    assert kept(ben).state.epoch == 2
    await refusal_of(known(ben).look("team"), NoNode)
    assert known(ben).names() == ["team"]


async def test_a_home_whose_marks_are_gone_takes_an_old_state_for_no_fork(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    old = dict(holders.held)
    await anna.records.groups.rotate("team")
    await known(ben).look("team")
    newest = kept(ben).record
    ben.keeps = Keeps(MemoryMarks(), ben.keeps.groups)
    ben.records = ben.restarted(holders)

    holders.held = old
    after = await known(ben).look("team")
    await holders.settle()

    assert after.record.hash == newest.hash
    assert after.forks == ()
    assert holders.held[known(ben).state_slot(after.group_key).target] == newest.raw  # given back to them


async def test_a_member_whose_other_process_made_a_new_key_is_not_taken_for_removed(
    holders: Holders, tmp_path: Path
) -> None:
    anna, ben = Member(holders), Member(holders, tmp_path / "ben")
    await anna.records.groups.create("team")
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)
    await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
    command = Member(holders, tmp_path / "ben")
    holders.wall += KEM_KEY_RENEW_S
    await command.records.people.publish()
    await anna.records.groups.rotate("team")

    after = await known(ben).look("team")

    assert (after.is_removed, after.state.epoch) == (False, 3)
    ben.home.close()
    command.home.close()


# What members say to each other


def epochs(member: Member) -> list[int]:
    return [epoch.epoch for epoch in known(member).message_epochs("team")]


async def test_messages_are_sealed_in_the_newest_epoch_and_opened_in_those_of_25_hours(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    began = int(holders.wall)
    holders.wall += 3_600
    await anna.records.groups.rotate("team")
    await known(ben).look("team")

    newest, before = known(ben).message_epochs("team")
    assert (newest.epoch, before.epoch) == (3, 2)
    assert (newest.seen, before.seen) == (began + 3_600, began)
    assert newest.secret == kept(anna).state.epoch_secret
    assert known(anna).message_epochs("team")[:2] == (newest, before)

    holders.wall += REPLAY_KEPT_S - 1
    assert epochs(ben) == [3, 2]
    holders.wall += 1
    assert epochs(ben) == [3]


async def test_what_is_over_is_forgotten_on_disk_at_the_next_look(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    await anna.records.groups.rotate("team")
    await known(ben).look("team")
    assert len(kept(ben).messages) == 2

    holders.wall += REPLAY_KEPT_S
    await known(ben).current("team")

    assert [epoch.epoch for epoch in kept(ben).messages] == [3]
    assert [epoch.epoch for epoch in kept(ben).epochs][-2:] == [2, 3]  # values of it are read on


async def test_a_process_that_was_asleep_does_not_bring_back_what_another_has_forgotten(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    late = kept(ben)
    await anna.records.groups.rotate("team")
    await known(ben).look("team")
    holders.wall += REPLAY_KEPT_S
    await known(ben).look("team")

    known(ben).keep("team", late)

    assert [epoch.epoch for epoch in kept(ben).messages] == [3]


async def test_looking_in_vain_writes_nothing(holders: Holders, pair: tuple[Member, Member]) -> None:
    _, ben = pair
    row = ben.keeps.groups.get(NET, "team")

    holders.wall += 60
    await known(ben).look("team")

    assert ben.keeps.groups.get(NET, "team") == row  # sealed anew it would look otherwise


async def test_messages_go_on_under_a_groups_next_key(pair: tuple[Member, Member]) -> None:
    anna, ben = pair
    await anna.records.groups.promote("team", ben.key)
    await known(ben).look("team")
    await ben.records.groups.remove("team", anna.key)

    newest, last, before, *_ = known(ben).message_epochs("team")

    assert (newest.epoch, last.epoch, before.epoch) == (1, 4, 3)
    assert newest.group_id != last.group_id == before.group_id
    assert known(ben).member_keys("team") == {ben.key}


async def test_the_members_are_those_of_the_newest_state(pair: tuple[Member, Member]) -> None:
    anna, ben = pair
    assert known(ben).member_keys("team") == {anna.key, ben.key}

    await anna.records.groups.remove("team", ben.key)

    assert known(anna).member_keys("team") == {anna.key}


async def test_a_group_that_is_not_known_has_neither_members_nor_messages(
    pair: tuple[Member, Member],
) -> None:
    anna, _ = pair

    with pytest.raises(NoSuchGroup):
        known(anna).member_keys("others")
    with pytest.raises(NoSuchGroup):
        known(anna).message_epochs("others")


# States that were left for members who did not see them


async def join(admin: Member, holders: Holders) -> Member:
    """Somebody is added without history; the joiner has not looked yet."""
    joiner = Member(holders)
    await joiner.records.people.publish()
    await admin.records.groups.add("team", joiner.key)
    return joiner


def epochs_of(member: Member) -> list[int]:
    return [epoch.epoch for epoch in known(member).message_epochs("team")]


async def test_who_was_away_while_others_were_added_reads_and_hears_all_epochs(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    written = []
    for number in range(3):
        await join(anna, holders)
        await anna.records.store(f"plans/{number}", b"secret", readers=TEAM)
        written.append(f"plans/{number}")
        await anna.records.groups.rotate("team")
    carl = await join(anna, holders)
    await known(ben).look("team")

    assert epochs_of(ben) == epochs_of(anna)[: len(epochs_of(ben))] == [9, 8, 7, 6, 5, 4, 3, 2]
    secrets = {epoch.epoch: epoch.secret for epoch in known(anna).message_epochs("team")}
    assert all(epoch.secret == secrets[epoch.epoch] for epoch in known(ben).message_epochs("team"))
    for name in written:
        assert (await ben.records.get_from_group("team", name)).data == b"secret"
    await carl.records.groups.adopt("team", kept(anna).group_key)
    assert epochs_of(carl) == [9]


async def test_a_joiner_cannot_open_the_state_that_was_left_for_others(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, _ = pair
    joiner = await join(anna, holders)
    slot = known(anna).left_slot(kept(anna).group_key, 2)
    left = decode_record(holders.held[slot.target])
    inner = decode_record(left.payload)
    kem = tuple(each.key for each in joiner.identity.kem)

    assert left.expires == left.created + REPLAY_KEPT_S
    with pytest.raises(NotAReader):
        open_state(inner, kept(anna).group_key, kem, NET)


async def test_a_change_that_hands_the_past_over_leaves_nothing(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    joiner = Member(holders)
    await joiner.records.people.publish()
    count = len(holders.held)

    await anna.records.groups.rotate("team")
    await anna.records.groups.add("team", joiner.key, history=True)
    await anna.records.groups.remove("team", ben.key)

    assert len(holders.held) == count


async def test_what_cannot_be_left_does_not_stop_the_change_and_is_counted(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    joiner = Member(holders)
    await joiner.records.people.publish()
    await anna.records.people.publish()
    holders.verdicts.append(Writing(1, 8, 5, Status.BUSY, 0))

    await anna.records.groups.add("team", joiner.key)

    assert kept(anna).state.epoch == 3
    assert holders.counted["group_states_not_left"] == 1
    await known(ben).look("team")
    assert epochs_of(ben) == [3, 2]


async def test_what_is_left_in_a_states_place_but_is_none_or_another_is_refused(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    key = kept(anna).private_key
    assert key is not None
    await join(anna, holders)
    before = holders.held[known(anna).left_slot(key.public_key, 2).target]
    await join(anna, holders)
    slot = known(anna).left_slot(key.public_key, 3)
    values = b"nothing", decode_record(before).payload, kept(anna).record.raw
    for refusals, value in enumerate(values, 1):
        draft = RecordDraft(
            Kind.MUTABLE, int(holders.wall), int(holders.wall) + 60, 2**60 + refusals, slot.tag
        )
        author = Author(KeySigner(key), b"", NET)
        holders.held[slot.target] = seal_record(draft, value, Public(), author, b"")

        await known(ben).look("team")

        assert holders.counted["group_states_refused"] == refusals
        assert epochs_of(ben) == [4, 2]


async def test_a_state_that_nodes_could_not_show_is_caught_up_with_later(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    await join(anna, holders)
    await join(anna, holders)
    slot = known(ben).left_slot(kept(ben).group_key, 3)
    holders.shown[slot.target] = [Reading((), 1, 4)]
    await known(ben).look("team")
    assert epochs_of(ben) == [4, 2]
    holders.shown.clear()
    holders.wall += GROUP_LOOK_AGAIN_S

    await known(ben).current("team")

    assert epochs_of(ben) == [4, 3, 2]


async def test_after_25_hours_nobody_asks_for_what_was_left(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    await join(anna, holders)
    await join(anna, holders)
    slot = known(ben).left_slot(kept(ben).group_key, 3)
    holders.wall += REPLAY_KEPT_S

    await known(ben).look("team")

    assert kept(ben).state.epoch == 4
    assert slot.target not in holders.reads


async def test_who_was_away_for_very_many_catches_up_in_several_looks(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    for _ in range(GROUP_LEFT_READ_MAX + 2):
        await join(anna, holders)

    await known(ben).look("team")
    assert len(epochs_of(ben)) == GROUP_LEFT_READ_MAX + 2
    await known(ben).look("team")
    assert len(epochs_of(ben)) == GROUP_LEFT_READ_MAX + 3 == len(set(epochs_of(ben)))


async def test_who_was_away_while_the_key_changed_hears_what_was_said_under_both(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    boss = await join(anna, holders)
    await anna.records.groups.promote("team", boss.key)
    await join(anna, holders)
    await anna.records.groups.remove("team", boss.key)
    await join(anna, holders)
    await anna.records.groups.rotate("team")

    await known(ben).look("team")

    of = {(epoch.group_id, epoch.epoch): epoch.secret for epoch in known(anna).message_epochs("team")}
    mine = {(epoch.group_id, epoch.epoch): epoch.secret for epoch in known(ben).message_epochs("team")}
    assert mine.items() <= of.items()
    assert sorted(epoch for _, epoch in mine) == [1, 2, 2, 3, 3, 4, 5, 6]


# States that lie


@pytest.mark.parametrize("lie", ["epoch secret again", "another commitment", "names", "past"])
async def test_a_state_that_cannot_follow_changes_nothing_and_is_counted(
    holders: Holders, pair: tuple[Member, Member], lie: str
) -> None:
    anna, ben = pair
    before, at = kept(ben), kept(anna).at
    state = rotate(at, fresh(), NET)
    match lie:
        case "epoch secret again":
            state = replace(state, epoch_secret=at.state.epoch_secret, epoch_commit=at.state.epoch_commit)
        case "another commitment":
            state = replace(state, epoch_commit=at.state.epoch_commit)
        case "names":
            state = replace(state, name_secret=NameSecret(bytes(32)))
        case _:
            [row] = state.past
            state = replace(state, past=(replace(row, record_root=RecordRoot(bytes(32))),))
    await write(anna, state)

    after = await known(ben).look("team")

    assert after == before
    assert holders.counted["group_states_refused"] == 1


async def test_what_is_no_state_changes_nothing(holders: Holders, pair: tuple[Member, Member]) -> None:
    anna, ben = pair
    before = kept(ben)
    key = before.group_key
    slot = known(ben).state_slot(key)
    private = kept(anna).private_key
    assert private is not None
    kems = tuple(member.kem for member in before.state.members)
    await anna.records.groups._write_sealed(private, slot, b"no state", kems, before.record.seq)

    assert await known(ben).look("team") == before
    assert holders.counted["group_states_refused"] == 1


@pytest.mark.parametrize("lie", ["a fork", "a state for nobody"])
async def test_what_a_removed_admin_writes_under_the_old_key_is_ignored_even_before_the_new_one_is_found(
    holders: Holders, pair: tuple[Member, Member], lie: str
) -> None:
    anna, ben = pair
    cleo = Member(holders)
    await cleo.records.people.publish()
    await anna.records.groups.add("team", cleo.key)
    await cleo.records.groups.adopt("team", anna.records.groups.group_key("team"))
    await anna.records.groups.promote("team", ben.key)
    await known(ben).look("team")
    at, old_key = kept(ben).at, kept(ben).private_key
    assert old_key is not None
    await anna.records.groups.remove("team", ben.key)
    new_slot = known(anna).state_slot(kept(anna).group_key).target
    hidden = holders.held.pop(new_slot)
    moved = await known(cleo).look("team")
    assert moved.state.next_key == kept(anna).group_key

    holders.wall += 5
    slot = known(ben).state_slot(old_key.public_key)
    kems: tuple[PublicKey, ...] = (kept(ben).state.members[0].kem,)
    if lie == "a fork":
        kems = tuple(member.kem for member in at.state.members)
    lying = encode_group_state(rotate(at, fresh(), NET))
    seq = decode_record(holders.held[slot.target]).seq
    await ben.records.groups._write_sealed(old_key, slot, lying, kems, seq)

    assert await known(cleo).look("team") == moved
    holders.held[new_slot] = hidden
    after = await known(cleo).look("team")
    assert (after.group_key, after.forks, after.is_removed) == (kept(anna).group_key, (), False)


async def test_a_group_key_that_is_not_the_groups_makes_nobody_an_admin(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    state = promote(kept(anna).at, ben.key, fresh(), NET)
    await write(anna, state)
    private = kept(anna).private_key
    assert private is not None
    slot = known(anna).admins_slot(private.public_key)
    kems = tuple(member.kem for member in state.members)
    seq = anna.records._slots.mark(slot)
    assert seq is not None
    await anna.records.groups._write_sealed(private, slot, PrivateKey.generate().to_pkcs8(), kems, seq.seq)

    after = await known(ben).look("team")

    assert after.is_admin(ben.key)
    assert after.private_key is None
    assert not ben.records.groups.known_info("team").is_admin
    assert holders.counted["group_keys_unread"] == 1


async def test_after_both_branches_of_a_fork_were_seen_all_read_what_is_written(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    common = dict(holders.held)
    holders.wall += 5
    await write(anna, rotate(kept(anna).at, fresh(), NET))
    assert (await known(ben).look("team")).state.epoch == 3
    holders.held = common  # the other side of a cut, where anna's other device has seen nothing
    anna.keeps = Keeps(MemoryMarks(), anna.keeps.groups)
    anna.records = anna.restarted(holders)
    holders.wall += 5
    await anna.records.groups.rotate("team")

    after = await known(ben).look("team")
    receipt = await ben.records.store("plan", b"ben's", TEAM)

    assert "without seeing each other" in receipt.warnings[0]
    assert [fork.epoch for fork in after.forks] == [3]
    assert after.record.hash == kept(anna).record.hash
    assert (await anna.records.get_from_group("team", "plan")).data == b"ben's"


# What cannot be read


async def test_groups_of_an_identity_that_a_home_had_before_stop_nothing(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    await anna.records.groups.create("mine")
    address = await anna.records.put_bytes(b"photo", TEAM)
    await anna.records.store("plan", b"hers", TEAM)
    newcomer = Person(holders)
    records = Records(newcomer.identity, NET, holders, anna.keeps, SystemRng())

    assert records.groups.names() == ["mine", "team"]
    assert records.people.listed() == frozenset()
    await records.store("note", b"own", Self())
    await refusal_of(records.get_bytes(address), NotAReader)
    for name in ("mine", "team"):
        error = await refusal_of(records.get_from_group(name, "plan"), DecryptionFailed)
        assert "yz group leave --force" in error.hint
        with pytest.raises(DecryptionFailed):
            records.groups.leave(name)
    await records.groups.create("third")
    records.groups.leave("mine", is_forced=True)
    assert records.groups.names() == ["team", "third"]
    assert holders.counted["groups_unreadable"]
    assert kept(ben).state.epoch == 2


async def test_one_damaged_row_leaves_the_other_groups_alone(pair: tuple[Member, Member]) -> None:
    anna, ben = pair
    await anna.records.groups.create("hurt")
    anna.keeps.groups.change(NET, "hurt", lambda sealed: sealed[:-1] + bytes((sealed[-1] ^ 1,)))

    await anna.records.store("plan", b"fine", TEAM)

    assert (await ben.records.get_from_group("team", "plan")).data == b"fine"
    assert anna.records.people.listed()
    await refusal_of(anna.records.store("plan", b"", Group("hurt")), DecryptionFailed)


# A group is taken up


async def test_a_group_that_does_not_exist_or_is_others_is_not_taken_up(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, _ = pair
    cleo = Member(holders)

    await refusal_of(known(cleo).adopt("team", PrivateKey.generate().public_key), NoSuchGroup)
    error = await refusal_of(known(cleo).adopt("team", kept(anna).group_key), NotAReader)

    assert "ask an admin to add you" in error.hint
    assert known(cleo).names() == []


async def test_a_name_that_is_taken_is_not_taken_again_and_the_same_group_is_looked_at(
    holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = pair
    other = Member(holders)
    await other.records.groups.create("theirs")
    await other.records.groups.add("theirs", ben.key)
    await anna.records.groups.rotate("team")

    await refusal_of(known(ben).adopt("team", other.records.groups.group_key("theirs")), UsageError)
    assert (await known(ben).adopt("team", kept(anna).group_key)).state.epoch == 3


async def test_who_was_removed_and_added_again_is_a_member_and_reads_on(pair: tuple[Member, Member]) -> None:
    anna, ben = pair
    await anna.records.groups.remove("team", ben.key)
    assert (await known(ben).look("team")).is_removed
    await anna.records.store("between", b"b", TEAM)
    await anna.records.groups.add("team", ben.key)
    await anna.records.store("after", b"a", TEAM)

    assert not (await known(ben).look("team")).is_removed
    assert (await ben.records.get_from_group("team", "after")).data == b"a"
    await refusal_of(ben.records.get_from_group("team", "between"), NotAReader)


async def test_an_only_admin_leaves_by_force_alone(pair: tuple[Member, Member]) -> None:
    anna, _ = pair

    with pytest.raises(LastAdmin):
        anna.records.groups.leave("team")
    anna.records.groups.leave("team", is_forced=True)

    with pytest.raises(NoSuchGroup):
        kept(anna)

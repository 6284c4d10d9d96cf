"""What a home keeps of a group: sealed for one identity and one place, and merged with what others have kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from os import urandom
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import assume, given, settings, strategies as st

from tests.crypto.company import (
    GROUP,
    GROUP_ID,
    fresh,
    group_of,
    key_of,
    new_key,
    person,
    recorded,
    sealed_state,
)
from tests.vectors.golden import CREATED, NETWORK
from yzdht.crypto import kept_group
from yzdht.crypto.groups import Recorded, add, record_root, remove_admin, rotate
from yzdht.crypto.kept_group import Fork, KeptGroup, first_kept, merged, open_kept, seal_kept
from yzdht.errors import DecryptionFailed
from yzdht.ids import RecordHash
from yzdht.limits import GROUP_FORKS_KEPT_MAX, MESSAGE_EPOCHS_KEPT_MAX, REPLAY_KEPT_S
from yzdht.wire.group_state import Role, encode_group_state


if TYPE_CHECKING:
    from yzdht.wire.record import Record


SELF_KEY = b"s" * 32
PLACE = b"a place"


def stored(at: Recorded) -> tuple[Record, Recorded]:
    """The state in a record that is really sealed, and where it then stands."""
    record = sealed_state(at.state)
    return record, Recorded(at.state, record.hash, record.created)


def kept_in(at: Recorded) -> KeptGroup:
    record, at = stored(at)
    return first_kept(GROUP.public_key, record, at.state, NETWORK, CREATED)


def after(kept: KeptGroup, count: int = 1) -> KeptGroup:
    """The same group some epochs on."""
    for _ in range(count):
        record, at = stored(recorded(rotate(kept.at, fresh(), NETWORK)))
        kept = kept.with_state(record, at.state, NETWORK, CREATED)
    return kept


def moved_on(kept: KeptGroup) -> KeptGroup:
    new = new_key()
    both = remove_admin(kept.at, person(1).public_key, new, NETWORK)
    record = sealed_state(both.first)
    return kept.moved(new.group_key, record, both.first, NETWORK, CREATED)


def sealed(kept: KeptGroup) -> bytes:
    return seal_kept(kept, SELF_KEY, PLACE, urandom(24))


KEPT = kept_in(group_of(3, admins=2))
ADMINS = replace(after(KEPT, 2), private_key=GROUP)
MOVED = moved_on(ADMINS)
FORKS = st.builds(
    Fork,
    st.integers(1, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


# Sealed


@given(
    kept=st.sampled_from([KEPT, ADMINS, MOVED]),
    successions=st.integers(0, 2**32),
    forks=st.lists(FORKS, max_size=GROUP_FORKS_KEPT_MAX).map(tuple),
    is_removed=st.booleans(),
)
def test_what_is_kept_comes_back(
    kept: KeptGroup, successions: int, forks: tuple[Fork, ...], *, is_removed: bool
) -> None:
    kept = replace(kept, successions=successions, forks=forks, is_removed=is_removed)

    again = open_kept(sealed(kept), SELF_KEY, PLACE)

    assert replace(again, private_key=None) == replace(kept, private_key=None)
    assert (again.private_key is None) == (kept.private_key is None)
    if again.private_key is not None:
        assert again.private_key.public_key == again.group_key


@given(end=st.integers(0, 1_000))
def test_what_was_cut_short_is_refused(end: int) -> None:
    whole = sealed(KEPT)
    assume(end < len(whole))

    with pytest.raises(DecryptionFailed):
        open_kept(whole[:end], SELF_KEY, PLACE)


@given(place=st.integers(0, 2**16), bit=st.integers(0, 7))
def test_what_was_changed_is_refused(place: int, bit: int) -> None:
    changed = bytearray(sealed(KEPT))
    changed[place % len(changed)] ^= 1 << bit

    with pytest.raises(DecryptionFailed):
        open_kept(bytes(changed), SELF_KEY, PLACE)


@given(blob=st.binary(max_size=200))
def test_what_nobody_sealed_is_refused(blob: bytes) -> None:
    with pytest.raises(DecryptionFailed):
        open_kept(blob, SELF_KEY, PLACE)


def test_another_identity_and_another_place_open_nothing() -> None:
    for self_key, place in ((b"t" * 32, PLACE), (SELF_KEY, b"another")):
        with pytest.raises(DecryptionFailed):
            open_kept(sealed(KEPT), self_key, place)


def as_before_messages(kept: KeptGroup) -> bytes:
    """As a version without messages kept it."""
    fields: list[object] = [kept.group_key, kept.record.raw, encode_group_state(kept.state)]
    fields.append([(e.group_id, e.epoch, e.state_hash, e.record_root) for e in kept.epochs])
    fields += [b"", kept.successions, kept.forks, kept.is_removed]
    salt = urandom(24)
    cipher, iv = kept_group._derive(SELF_KEY, salt, PLACE)
    return salt + cipher.seal(iv, msgspec.msgpack.encode(fields), PLACE)


@pytest.mark.parametrize("kept", [KEPT, replace(ADMINS, private_key=None), MOVED])
def test_what_was_kept_before_there_were_messages_opens_those_of_its_newest_state(kept: KeptGroup) -> None:
    again = open_kept(as_before_messages(kept), SELF_KEY, PLACE)

    newest = replace(kept.messages[-1], seen=kept.record.created)
    assert again == replace(kept, messages=(newest,))
    assert newest.secret == kept.state.epoch_secret


@pytest.mark.parametrize("kept", [KEPT, replace(ADMINS, private_key=None), MOVED])
def test_what_was_kept_before_states_handed_over_what_opens_messages_is_read(kept: KeptGroup) -> None:
    fields = msgspec.msgpack.decode(encode_group_state(kept.state))
    older = msgspec.msgpack.encode([*fields[:8], fields[9]])
    blob = sealed(kept)
    opening, opening_iv = kept_group._derive(SELF_KEY, blob[:24], PLACE)
    whole = msgspec.msgpack.decode(opening.open(opening_iv, blob[24:], PLACE))
    salt = urandom(24)
    cipher, iv = kept_group._derive(SELF_KEY, salt, PLACE)
    again = open_kept(
        salt + cipher.seal(iv, msgspec.msgpack.encode([*whole[:2], older, *whole[3:]]), PLACE),
        SELF_KEY,
        PLACE,
    )

    assert again == replace(kept, state=replace(kept.state, recent=()))
    assert open_kept(sealed(again), SELF_KEY, PLACE) == again


def test_a_field_more_than_this_version_knows_is_refused() -> None:
    salt = urandom(24)
    cipher, iv = kept_group._derive(SELF_KEY, salt, PLACE)
    blob = sealed(KEPT)
    opening, opening_iv = kept_group._derive(SELF_KEY, blob[:24], PLACE)
    fields = msgspec.msgpack.decode(opening.open(opening_iv, blob[24:], PLACE))

    with pytest.raises(DecryptionFailed):
        open_kept(salt + cipher.seal(iv, msgspec.msgpack.encode([*fields, 1]), PLACE), SELF_KEY, PLACE)


def test_a_file_shows_neither_keys_nor_members() -> None:
    blob = sealed(ADMINS)

    secret: list[bytes] = [GROUP.to_pkcs8()[-32:], ADMINS.group_key]
    secret += [member.public_key for member in ADMINS.state.members]
    secret += [part for known in ADMINS.epochs for part in (known.record_root, known.group_id)]
    secret += [epoch.secret for epoch in ADMINS.messages]
    assert [part for part in secret if blob.find(part) >= 0] == []


def test_no_repr_of_what_is_kept_shows_a_secret() -> None:
    shown = repr(ADMINS)

    secrets = [ADMINS.state.epoch_secret, ADMINS.state.name_secret, ADMINS.epochs[0].record_root]
    for secret in (*secrets, ADMINS.messages[0].secret):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


# Two processes of one home


def on_another_branch(kept: KeptGroup) -> KeptGroup:
    """As a home knows it that saw the losing state of a fork in the newest epoch too."""
    other, at = stored(recorded(rotate(kept.at, fresh(), NETWORK)))
    forked = after(kept)
    fork = Fork(forked.state.epoch, forked.record.hash, other.hash)
    return forked.with_epochs_of(other, at.state, NETWORK, CREATED).with_fork(fork)


def grown() -> list[KeptGroup]:
    """What homes of one identity may know of one group."""
    later = after(ADMINS)
    return [
        KEPT,
        ADMINS,
        replace(ADMINS, private_key=None),
        later,
        replace(later, private_key=None, is_removed=True),
        on_another_branch(ADMINS),
        MOVED,
        moved_on(KEPT).with_fork(Fork(7, b"k" * 32, b"o" * 32)),
    ]


GROWN = grown()


@settings(max_examples=200)
@given(one=st.sampled_from(GROWN), two=st.sampled_from(GROWN))
def test_two_processes_come_to_the_same_whoever_is_first(one: KeptGroup, two: KeptGroup) -> None:
    salt = urandom(24)

    first, second = (seal_kept(merged(*both), SELF_KEY, PLACE, salt) for both in ((one, two), (two, one)))
    assert first == second


@given(of=st.lists(st.sampled_from(GROWN), min_size=1, max_size=3))
def test_nothing_that_one_of_them_could_read_is_lost_and_no_state_goes_back(of: list[KeptGroup]) -> None:
    for order in permutations(of):
        known = order[0]
        for other in order[1:]:
            known = merged(known, other)

        assert {epoch for each in of for epoch in each.epochs} <= set(known.epochs)
        assert {epoch for each in of for epoch in each.messages} <= set(known.messages)
        assert known.messages[-1].state_hash == known.record.hash
        assert known.successions == max(each.successions for each in of)
        assert merged(known, known) == known


def test_a_private_key_is_taken_over_under_the_same_group_key_alone() -> None:
    newer = replace(after(ADMINS), private_key=None)

    assert merged(ADMINS, newer).private_key is GROUP
    assert merged(newer, ADMINS).private_key is GROUP
    assert merged(ADMINS, MOVED).private_key is None


def test_of_one_state_it_is_remembered_that_a_newer_one_was_not_for_this_member() -> None:
    removed = replace(KEPT, is_removed=True)

    assert merged(KEPT, removed).is_removed
    assert merged(removed, KEPT).is_removed
    assert not merged(removed, after(KEPT)).is_removed


# What it says of the group


def test_a_fork_is_kept_once_whichever_side_is_named_first() -> None:
    one, other = b"k" * 32, b"o" * 32

    forked = KEPT.with_fork(Fork(2, one, other)).with_fork(Fork(2, other, one))

    assert forked.forks == (Fork(2, other, one),)
    for epoch in range(3, 20):
        forked = forked.with_fork(Fork(epoch, one, other))
    assert [fork.epoch for fork in forked.forks] == list(range(20 - GROUP_FORKS_KEPT_MAX, 20))


def test_members_write_in_the_state_that_counts_even_after_they_saw_the_other_branch() -> None:
    forked = on_another_branch(ADMINS)

    newest = forked.newest(NETWORK)

    assert newest in forked.epochs
    assert (newest.group_id, newest.epoch) == (GROUP_ID, forked.state.epoch)
    assert newest.state_hash == forked.record.hash
    assert newest.record_root == record_root(forked.state.epoch_secret)
    assert forked.epochs[-1] != newest


def test_a_group_that_moved_is_the_same_under_another_key_whose_private_half_is_not_known() -> None:
    assert MOVED.group_key != ADMINS.group_key
    assert (MOVED.successions, MOVED.private_key) == (ADMINS.successions + 1, None)
    assert set(ADMINS.epochs) < set(MOVED.epochs)
    assert MOVED.newest(NETWORK) == MOVED.epochs[-1]


def test_messages_of_each_state_that_was_seen_open_the_newest_last() -> None:
    secrets = [epoch.secret for epoch in ADMINS.messages]

    assert [epoch.epoch for epoch in ADMINS.messages] == [1, 2, 3]
    assert secrets[-1] == ADMINS.state.epoch_secret
    assert secrets[0] == KEPT.state.epoch_secret
    assert [epoch.secret for epoch in MOVED.messages] == [*secrets, MOVED.state.epoch_secret]
    assert MOVED.messages[-1].group_id == MOVED.group_id(NETWORK) != GROUP_ID
    assert MOVED.messages[-1].state_hash == MOVED.record.hash


def test_messages_of_a_branch_that_lost_open_too_and_none_are_sealed_there() -> None:
    forked = on_another_branch(ADMINS)

    assert [epoch.epoch for epoch in forked.messages] == [1, 2, 3, 4, 4]
    assert forked.messages[-1].secret == forked.state.epoch_secret != forked.messages[-2].secret


def away(kept: KeptGroup, *hours: int) -> tuple[Record, Recorded]:
    """A state some epochs on, each so many hours after the one before, of which this home saw none but the last."""
    at = kept.at
    for hour in hours:
        at = replace(recorded(rotate(at, fresh(), NETWORK)), created=at.created + hour * 3_600)
    record = sealed_state(at.state, at.created)
    return record, replace(at, hash=record.hash)


def test_who_was_away_opens_messages_of_the_epochs_that_it_never_saw() -> None:
    record, at = away(ADMINS, 1, 2, 3)

    back = ADMINS.with_state(record, at.state, NETWORK, at.created).lasting(at.created)

    assert [epoch.epoch for epoch in back.messages] == [1, 2, 3, 4, 5, 6]
    for epoch, row in zip(reversed(back.messages[:-1]), at.state.recent, strict=True):
        assert epoch.secret == row.secret
    for epoch, past in zip(reversed(back.messages[:-1]), at.state.past, strict=True):
        assert epoch.state_hash == past.state_hash
    assert {epoch.seen for epoch in back.messages} == {at.created}


def test_who_comes_back_late_takes_up_no_epoch_that_ended_25_hours_ago() -> None:
    record, at = away(ADMINS, 1, 2, 3)
    # Epochs 4 and 5 ended 3 h and 0 h before the newest state was made, 2 and 3 more than that.
    for hours, epochs in ((0, [4, 5, 6]), (21, [4, 5, 6]), (22, [5, 6]), (24, [5, 6]), (25, [6])):
        wall = at.created + hours * 3_600
        back = ADMINS.with_state(record, at.state, NETWORK, wall)

        assert [epoch.epoch for epoch in back.messages if epoch.epoch > 3] == epochs


def test_an_epoch_that_was_forgotten_is_not_taken_up_again() -> None:
    kept = ADMINS.lasting(CREATED)
    record, at = away(kept, 20)
    wall = CREATED + REPLAY_KEPT_S  # it was away; epoch 1 ended when it saw epoch 2, 25 h ago

    back = kept.with_state(record, at.state, NETWORK, wall).lasting(wall)

    assert len(at.state.recent) == 3
    assert [epoch.epoch for epoch in back.messages] == [3, 4]


def test_what_is_new_to_a_home_pushes_out_what_is_oldest() -> None:
    kept = KEPT.lasting(CREATED)
    many = tuple(
        replace(kept.messages[0], epoch=epoch, state_hash=RecordHash(epoch.to_bytes(32)))
        for epoch in range(1, MESSAGE_EPOCHS_KEPT_MAX + 1)
    )
    record, at = away(kept, 1, 1)

    back = replace(kept, messages=many).with_state(record, at.state, NETWORK, at.created)

    assert len(back.messages) == MESSAGE_EPOCHS_KEPT_MAX
    assert [epoch.epoch for epoch in back.messages[-2:]] == [2, 3]
    assert back.messages[-2].secret == at.state.recent[0].secret


def test_whoever_sees_the_losing_branch_of_a_fork_opens_what_was_said_before_it_there() -> None:
    record, at = away(ADMINS, 1, 1)
    forked = after(ADMINS, 3)

    both = forked.with_epochs_of(record, at.state, NETWORK, at.created)

    assert [epoch.epoch for epoch in both.messages] == [1, 2, 3, 4, 4, 5, 5, 6]
    assert both.messages[-1].secret == forked.state.epoch_secret


def test_what_is_missing_is_the_newest_epoch_of_which_nothing_is_known() -> None:
    kept = KEPT
    assert kept.missed(NETWORK) is None
    states = [KEPT.at]
    for number in range(3, 8):  # each joins without history: nothing is handed over
        state = add(states[-1], person(number), fresh(), NETWORK)
        states.append(stored(recorded(state))[1])
    for at, missed in ((states[-1], 5), (states[-2], 4), (states[1], None)):
        record = sealed_state(at.state)
        assert kept.with_state(record, at.state, NETWORK, CREATED).missed(NETWORK) == missed

    record = sealed_state(states[-1].state)
    kept = kept.with_state(record, states[-1].state, NETWORK, CREATED)
    for at in states[-2:0:-1]:
        assert kept.missed(NETWORK) == at.state.epoch
        kept = kept.with_epochs_of(sealed_state(at.state), at.state, NETWORK, CREATED)
    assert kept.missed(NETWORK) is None
    assert [epoch.epoch for epoch in kept.messages] == [1, 2, 3, 4, 5, 6]


def test_who_joined_late_misses_nothing_and_who_followed_a_new_key_its_first_states() -> None:
    at = recorded(group_of(2).state)
    for number in range(2, 5):
        at = recorded(add(at, person(number), fresh(), NETWORK))
    record = sealed_state(at.state)

    assert first_kept(GROUP.public_key, record, at.state, NETWORK, CREATED).missed(NETWORK) is None
    moved = KEPT.moved(key_of("group", 1).public_key, record, at.state, NETWORK, CREATED)
    assert moved.missed(NETWORK) == 3


def test_with_time_a_home_forgets_what_messages_of_earlier_epochs_are_opened_with() -> None:
    seen = ADMINS.lasting(CREATED)

    assert [epoch.seen for epoch in seen.messages] == [CREATED] * 3
    assert seen.lasting(CREATED + REPLAY_KEPT_S - 1) == seen
    later = seen.lasting(CREATED + REPLAY_KEPT_S)
    assert [epoch.epoch for epoch in later.messages] == [3]
    assert later.epochs == seen.epochs  # records live longer
    assert merged(seen, later).lasting(CREATED + REPLAY_KEPT_S) == later


def test_only_listed_admins_are_admins() -> None:
    assert KEPT.is_admin(person(0, Role.ADMIN).public_key)
    assert not KEPT.is_admin(person(2).public_key)
    assert not KEPT.is_admin(key_of("identity", 99).public_key)

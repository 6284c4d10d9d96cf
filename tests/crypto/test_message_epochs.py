"""For how long a member keeps what earlier epochs' messages are opened with."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, strategies as st

from yzdht.crypto.message_epochs import in_order, lasting
from yzdht.crypto.topics import MessageEpoch
from yzdht.ids import EpochSecret, GroupId, RecordHash
from yzdht.limits import MESSAGE_EPOCHS_KEPT_MAX, REPLAY_KEPT_S


WALL = 1_700_000_000
HOUR_S = 3_600


def epoch(number: int, seen: int = 0, *, branch: int = 0, group: int = 0) -> MessageEpoch:
    unique = bytes((branch, group)) + number.to_bytes(30)
    return MessageEpoch(GroupId(bytes((group,)) * 16), number, RecordHash(unique), EpochSecret(unique), seen)


def numbers(epochs: tuple[MessageEpoch, ...]) -> list[int]:
    return [each.epoch for each in epochs]


some_epochs = st.lists(
    st.builds(
        epoch,
        st.integers(1, 5),
        st.just(0) | st.integers(WALL - 100_000, WALL + 100_000),
        branch=st.integers(0, 1),
        group=st.integers(0, 1),
    ),
    min_size=1,
    max_size=12,
)


# The order


@given(some_epochs, st.data())
def test_the_order_in_which_epochs_become_known_does_not_matter(
    epochs: list[MessageEpoch], data: st.DataObject
) -> None:
    newest = epochs[0].state_hash
    shuffled = data.draw(st.permutations(epochs))

    assert in_order(shuffled, newest) == in_order(epochs, newest)
    assert in_order(in_order(epochs, newest), newest) == in_order(epochs, newest)


@given(some_epochs)
def test_each_is_there_once_since_it_was_seen_first_and_the_newest_is_last(
    epochs: list[MessageEpoch],
) -> None:
    newest = epochs[0]

    known = in_order(epochs, newest.state_hash)

    assert known[-1].state_hash == newest.state_hash
    names = [(each.group_id, each.epoch, each.state_hash) for each in known]
    assert len(names) == len(set(names))
    for each in known:
        times = [other.seen for other in epochs if replace(other, seen=0) == replace(each, seen=0)]
        assert each.seen == min(filter(None, times), default=0)


def test_both_states_of_a_fork_are_kept_and_the_one_that_counts_is_last() -> None:
    one, other = epoch(3, WALL), epoch(3, WALL + 5, branch=1)

    assert in_order([one, other], one.state_hash) == (other, one)
    assert in_order([one, other], other.state_hash) == (one, other)


def test_the_first_epoch_of_a_new_group_key_follows_the_last_of_the_old_one() -> None:
    last, first = epoch(9, WALL), epoch(1, WALL, group=1)

    assert in_order([first, last], first.state_hash) == (last, first)


def test_the_oldest_go_above_the_bound() -> None:
    epochs = [epoch(number, WALL + number) for number in range(1, MESSAGE_EPOCHS_KEPT_MAX + 3)]

    assert numbers(in_order(epochs, epochs[-1].state_hash)) == list(range(3, MESSAGE_EPOCHS_KEPT_MAX + 3))
    assert epochs[0] in in_order(epochs, epochs[0].state_hash)


# How long


def test_what_was_not_seen_before_is_seen_now() -> None:
    first, second = epoch(1), epoch(2)

    assert lasting([first], first.state_hash, WALL) == (replace(first, seen=WALL),)
    known = lasting([replace(first, seen=WALL), second], second.state_hash, WALL + 60)
    assert [each.seen for each in known] == [WALL, WALL + 60]


def test_an_epoch_lasts_for_25_hours_after_the_next_one_was_seen_however_long_it_lasted() -> None:
    epochs = [epoch(1, WALL - 7 * 24 * HOUR_S), epoch(2, WALL)]
    newest = epochs[1].state_hash

    assert numbers(lasting(epochs, newest, WALL + REPLAY_KEPT_S - 1)) == [1, 2]
    assert numbers(lasting(epochs, newest, WALL + REPLAY_KEPT_S)) == [2]
    assert REPLAY_KEPT_S == 25 * HOUR_S


def test_the_newest_lasts_even_if_no_other_comes() -> None:
    assert numbers(lasting([epoch(1, WALL)], epoch(1).state_hash, WALL + 10**8)) == [1]


def test_what_was_forgotten_stays_forgotten_when_another_process_still_has_it() -> None:
    epochs = [epoch(1, WALL), epoch(2, WALL + HOUR_S), epoch(3, WALL + 2 * HOUR_S)]
    newest = epochs[2].state_hash
    now = WALL + HOUR_S + REPLAY_KEPT_S

    kept = lasting(epochs, newest, now)
    again = lasting((*kept, epochs[0]), newest, now)

    assert numbers(kept) == numbers(again) == [2, 3]


def test_a_branch_that_is_seen_late_is_kept_for_as_long_as_one_that_was_seen_in_time() -> None:
    winner, loser = epoch(3, WALL), epoch(3, WALL + 30 * HOUR_S, branch=1)
    both = [winner, loser]

    assert loser in lasting(both, winner.state_hash, loser.seen + REPLAY_KEPT_S - 1)
    assert lasting(both, winner.state_hash, loser.seen + REPLAY_KEPT_S) == (winner,)


@pytest.mark.parametrize("ahead_s", [HOUR_S, 10**9])
def test_a_clock_that_was_ahead_keeps_no_secret_for_longer(ahead_s: int) -> None:
    epochs = [epoch(1, WALL), epoch(2, WALL + ahead_s)]
    newest = epochs[1].state_hash

    known = lasting(epochs, newest, WALL + 10)

    assert [each.seen for each in known] == [WALL, WALL + 10]
    assert numbers(lasting(known, newest, WALL + 10 + REPLAY_KEPT_S)) == [2]


def test_a_clock_that_was_set_back_between_two_epochs_mixes_nothing_up() -> None:
    first, second = epoch(1, WALL), epoch(2, WALL - HOUR_S)

    known = lasting([first, second], second.state_hash, WALL)

    assert numbers(known) == [1, 2]
    assert numbers(lasting(known, second.state_hash, WALL + REPLAY_KEPT_S)) == [2]


@given(some_epochs, st.integers(WALL, WALL + 200_000), st.integers(0, 200_000))
def test_time_only_takes_away_and_never_the_newest(
    epochs: list[MessageEpoch], now: int, later_s: int
) -> None:
    newest = epochs[0].state_hash

    known = lasting(epochs, newest, now)
    later = lasting(known, newest, now + later_s)

    assert set(later) <= set(known)
    assert later[-1] == known[-1]
    assert known[-1].state_hash == newest
    assert all(0 < each.seen <= now for each in known)
    assert lasting(known, newest, now) == known


@given(some_epochs, some_epochs)
def test_homes_processes_come_to_the_same_whoever_is_first(
    mine: list[MessageEpoch], theirs: list[MessageEpoch]
) -> None:
    newest = mine[0].state_hash
    parts = [lasting(mine, newest, WALL), lasting(theirs, theirs[0].state_hash, WALL + 7)]

    results = {in_order((*one, *two), newest) for one, two in permutations(parts)}

    assert len(results) == 1

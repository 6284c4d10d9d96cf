"""A group's state as it is read: opened, and checked against the one that is known (PROTOCOL.md section 10).

Refuses records that are not the group's own, states that do not follow from what is known, and whatever appears under a
group key that was replaced. Two states of one epoch are a fork, which is an error of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.crypto.groups import (
    Recorded,
    admins_tag,
    epoch_commit,
    group_id_of,
    handed_over,
    past_row,
    recent_row,
    record_root,
    state_tag,
)
from yzdht.crypto.primitives import PrivateKey, is_equal
from yzdht.crypto.sealing import OpeningKeys, open_record
from yzdht.errors import GroupForked, GroupMoved, GroupStateRefused, InvalidKey, StaleGroupState
from yzdht.wire.group_state import decode_group_state
from yzdht.wire.record import Readers
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NetworkId, PublicKey, Tag
    from yzdht.wire.group_state import GroupState, PastEpoch
    from yzdht.wire.record import Record


# Opening


def open_state(
    record: Record, group_key: PublicKey, kem: tuple[PrivateKey, ...], network: NetworkId
) -> Recorded:
    """Open a group's state record whose target and signature are verified.

    Args:
        record: What lies in the group's state slot.
        group_key: The key whose group it has to be.
        kem: The reader's KEM keys, newest first.
        network: NET.

    Raises:
        GroupStateRefused: It is another record, or its commitment is not that of its secret.
        NotFound: It is a tombstone.
        NotAReader: It is sealed for others: this reader is no member.
        DecryptionFailed: The box was refused.
        WireError: What it holds is not a state.

    """
    value = _open_of_group(record, group_key, state_tag(group_id_of(group_key, network), network), kem)
    state = decode_group_state(value)
    check_commit(state, network)
    check_recent(state)
    return Recorded(state, record.hash, record.created)


def open_group_key(
    record: Record, group_key: PublicKey, kem: tuple[PrivateKey, ...], network: NetworkId
) -> PrivateKey:
    """Open the record in which admins share the group's private key; arguments and errors as `open_state`.

    Raises:
        InvalidKey: What it holds is not the private half of `group_key`.

    """
    value = _open_of_group(record, group_key, admins_tag(group_id_of(group_key, network), network), kem)
    key = PrivateKey.from_pkcs8(value)
    if key.public_key != group_key:
        raise InvalidKey("the key that the admins share is not the group's", hint="ask another admin for it")
    return key


def _open_of_group(record: Record, group_key: PublicKey, tag: Tag, kem: tuple[PrivateKey, ...]) -> bytes:
    if (record.kind, record.publisher, record.tag) != (Kind.MUTABLE, group_key, tag):
        raise GroupStateRefused("the record is not this group's")
    if record.readers is not Readers.STANZAS and not record.is_tombstone:
        raise GroupStateRefused("a group's own records are sealed for its members")
    return open_record(record, OpeningKeys(None, kem))


# What may follow what


def check_commit(state: GroupState, network: NetworkId) -> None:
    """Check that a state's commitment is that of its epoch secret.

    Raises:
        GroupStateRefused: It is another's.

    """
    if not is_equal(state.epoch_commit, epoch_commit(state.epoch_secret, network)):
        raise GroupStateRefused("the commitment of the group's state is not that of its secret")


def check_recent(state: GroupState) -> None:
    """Check that what a state hands over to open messages is of the epochs of its past.

    Raises:
        GroupStateRefused: It is another epoch's, or nobody's.

    """
    for row, of in zip(state.recent, state.past, strict=False):
        if not is_equal(record_root(row.secret), of.record_root):
            raise GroupStateRefused("the group's state gives a secret that is not its epoch's")


def check_follows(at: Recorded, following: Recorded, network: NetworkId) -> None:
    """Check a state that has to be the very next one.

    Args:
        at: The state that is known.
        following: The state that is shown.
        network: NET.

    Raises:
        GroupMoved: Nothing follows the known one.
        StaleGroupState: It is older, or the known one again.
        GroupForked: It is of the known one's epoch, or names another state before it.
        GroupStateRefused: It is of a later epoch, its commitment, its secrets or its past are wrong.

    """
    state, after = at.state, following.state
    _check_newer(at, following, network)
    if after.epoch != state.epoch + 1:
        raise GroupStateRefused("the group's state is not the next one")
    if after.prev_hash != at.hash:
        raise GroupForked(state.epoch, at.hash, after.prev_hash)
    if not after.past and not after.has_history:
        return  # somebody joined who is given nothing of the past
    recent = recent_row(at), *state.recent
    if not after.recent or after.recent != recent[: len(after.recent)]:
        raise GroupStateRefused(
            "the group's state hands over other secrets than those of the states before it"
        )
    is_granted = after.has_history and not state.has_history  # then the writer may add older epochs
    if not is_granted and (
        after.past != handed_over(at, state.past) or state.has_history != after.has_history
    ):
        raise GroupStateRefused("the group's state leaves out some of the past, or changes it")


def check_newer(at: Recorded, later: Recorded, network: NetworkId) -> None:
    """Check a state that may be any later one: who was away has not seen those between.

    Args:
        at: The state that is known.
        later: The state that is shown; the known one itself is fine.
        network: NET.

    Raises:
        GroupMoved: Nothing follows the known one.
        StaleGroupState: It is older.
        GroupForked: It is of the known one's epoch, or names others as those that are known.
        GroupStateRefused: Its commitment, its secrets or its past are wrong.

    """
    if later.hash == at.hash:
        return
    if later.state.epoch == at.state.epoch + 1:
        check_follows(at, later, network)
    else:
        _check_newer(at, later, network)


def _check_newer(at: Recorded, later: Recorded, network: NetworkId) -> None:
    state, after = at.state, later.state
    if after.epoch == state.epoch and later.hash != at.hash:
        raise GroupForked(state.epoch, at.hash, later.hash)
    if after.epoch <= state.epoch:
        raise StaleGroupState(after.epoch, state.epoch)
    if state.next_key is not None:
        raise GroupMoved(state.next_key)
    check_commit(after, network)
    if after.epoch_secret == state.epoch_secret:
        raise GroupStateRefused("the group's state uses an epoch secret again")
    if after.name_secret != state.name_secret:
        raise GroupStateRefused("the group's state changes the secret of its names")
    check_past((past_row(at), *state.past), after.past)
    check_recent(after)


def check_left(at: Recorded, left: Recorded, epoch: int) -> None:
    """Check an earlier state that was left for members who have not seen it.

    Args:
        at: The newest state that is known.
        left: The state that is shown.
        epoch: Of which it has to be; one before that of `at`.

    Raises:
        GroupStateRefused: It is another's, uses other names, or is not the one that `at` follows.

    """
    is_before = epoch == at.state.epoch - 1
    if left.state.epoch != epoch or (is_before and left.hash != at.state.prev_hash):
        raise GroupStateRefused("the state that was left is not the one that is missing")
    if left.state.name_secret != at.state.name_secret:
        raise GroupStateRefused("the group's state changes the secret of its names")


def check_past(known: Iterable[PastEpoch], shown: Iterable[PastEpoch]) -> None:
    """Check that a past says of no epoch anything else than what is known.

    Raises:
        GroupForked: It names another state.
        GroupStateRefused: It names another key of the same state.

    """
    by_epoch = {row.epoch: row for row in known}
    for row in shown:
        mine = by_epoch.get(row.epoch, row)
        if mine.state_hash != row.state_hash:
            raise GroupForked(row.epoch, mine.state_hash, row.state_hash)
        if not is_equal(mine.record_root, row.record_root):
            raise GroupStateRefused("the group's state gives another key for an epoch that is known")


def check_successor(
    last: GroupState, group_key: PublicKey, successor: GroupState, network: NetworkId
) -> None:
    """Check a state under the new key of a group, whichever epoch it has there.

    Args:
        last: The last state under the old key.
        group_key: Who signed the successor.
        successor: A state under the new key.
        network: NET.

    Raises:
        GroupStateRefused: The old group names no such key, the commitment is wrong, or the names' secret is another.

    """
    if last.next_key is None or last.next_key != group_key:
        raise GroupStateRefused("the group did not move to this key")
    check_commit(successor, network)
    if successor.name_secret != last.name_secret:
        raise GroupStateRefused("the group's state changes the secret of its names")

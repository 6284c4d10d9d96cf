"""Groups: what follows from their keys and secrets, and how their state may change (PROTOCOL.md section 10).

Pure: a change takes fresh secrets as arguments and gives back the next state; who signs, seals and stores it is above.
Refuses changes that the group does not allow. Opening a state that was read, and whether it may follow the one that is known,
is crypto/group_chain.py's; group records and the epochs that a member keeps for them are crypto/group_records.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yzdht.crypto.naming import dh, kdf
from yzdht.crypto.primitives import KEY_BYTES, P256_ORDER, PrivateKey, check_public_key
from yzdht.errors import (
    AdminKnowsKey,
    AlreadyAMember,
    GroupChangeRefused,
    GroupFull,
    GroupMoved,
    LastAdmin,
    NotAMember,
    UsageError,
)
from yzdht.ids import (
    GROUP_ID_BYTES,
    SECRET_BYTES,
    EpochCommit,
    GroupId,
    RecordRoot,
    Tag,
)
from yzdht.limits import GROUP_MEMBERS_MAX, GROUP_PAST_MAX, REPLAY_KEPT_S
from yzdht.wire.group_state import (
    EPOCH_FIRST,
    EPOCH_MAX,
    NO_STATE,
    GroupState,
    Member,
    PastEpoch,
    RecentEpoch,
    Role,
)


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from yzdht.ids import EpochSecret, NameSecret, NetworkId, PublicKey, RecordHash


_KEM_SEED_BYTES = 48  # 16 more than the order has: no scalar is likelier than another


@dataclass(frozen=True, slots=True)
class Recorded:
    """A state, and the record that it stands in.

    Attributes:
        state: The group in one epoch.
        hash: Hash of the record, `state_hash` of section 10.
        created: When the record was made, unix seconds.

    """

    state: GroupState
    hash: RecordHash
    created: int


@dataclass(frozen=True, slots=True)
class NewKey:
    """What the admin who replaces a group's key has made.

    Attributes:
        group_key: Public half of the new group key.
        last_secret: Fresh es of the last state under the old key.
        first_secret: Fresh es of the first state under the new one.

    """

    group_key: PublicKey
    last_secret: EpochSecret = field(repr=False)
    first_secret: EpochSecret = field(repr=False)


@dataclass(frozen=True, slots=True)
class Succession:
    """Two states that replace a group's key; `first` is stored before `last`, which sends the members there.

    Attributes:
        last: The last state under the old key; it names the new one.
        first: The first state under the new key.

    """

    last: GroupState
    first: GroupState


# What follows from keys and secrets


def group_id_of(group_key: PublicKey, network: NetworkId) -> GroupId:
    """group_id16 of a group's public key."""
    return GroupId(dh("yz1 gid", network, group_key)[:GROUP_ID_BYTES])


def state_tag(group_id: GroupId, network: NetworkId) -> Tag:
    """Tag of the group key's record that holds the state."""
    return Tag(dh("yz1 group", network, group_id))


def admins_tag(group_id: GroupId, network: NetworkId) -> Tag:
    """Tag of the group key's record in which admins share its private half."""
    return Tag(dh("yz1 admins", network, group_id))


def left_tag(group_id: GroupId, epoch: int, network: NetworkId) -> Tag:
    """Tag of the group key's record in which the state of an epoch is left for members who have not seen it."""
    return Tag(dh("yz1 group left", network, group_id, epoch.to_bytes(4)))


def group_kem(group_key: PrivateKey) -> PrivateKey:
    """The KEM key that a group's admins share without a word: whoever redeems an invite seals to its public half."""
    wide = kdf(group_key.scalar(), b"", "yz1 group kem", b"", _KEM_SEED_BYTES)
    return PrivateKey.from_scalar((1 + int.from_bytes(wide) % (P256_ORDER - 1)).to_bytes(KEY_BYTES))


def epoch_commit(epoch_secret: EpochSecret, network: NetworkId) -> EpochCommit:
    """epoch_commit32 of an epoch secret."""
    return EpochCommit(dh("yz1 epoch", network, epoch_secret))


def record_root(epoch_secret: EpochSecret) -> RecordRoot:
    """Rk of an epoch secret."""
    return RecordRoot(kdf(epoch_secret, b"", "yz1 rkroot", b"", KEY_BYTES))


def past_row(at: Recorded) -> PastEpoch:
    """What a later state hands over of this one."""
    return PastEpoch(at.state.epoch, at.hash, record_root(at.state.epoch_secret))


def handed_over(at: Recorded, earlier: tuple[PastEpoch, ...]) -> tuple[PastEpoch, ...]:
    """The past of the state after `at`: its own row, then earlier ones, newest first, 64 in all."""
    return (past_row(at), *earlier)[:GROUP_PAST_MAX]


def recent_row(at: Recorded) -> RecentEpoch:
    """What opens the messages of this state, as a later one hands it over."""
    return RecentEpoch(at.state.epoch_secret, at.created)


def ends(state: GroupState, created: int) -> tuple[int, ...]:
    """When each epoch of `recent` ended: the state after it was made; unix seconds.

    Args:
        state: Whose `recent` it is.
        created: When the record of this state was made.

    """
    return (created, *(row.created for row in state.recent))[: len(state.recent)]


def without_ended(state: GroupState, wall: int) -> GroupState:
    """The same state as it is to be written: what opens no messages any more is not handed over.

    Args:
        state: As one of the changes below has made it.
        wall: Now, unix seconds.

    """
    times = ends(state, wall)
    over = (place for place, ended in enumerate(times) if ended + REPLAY_KEPT_S <= wall)
    return replace(state, recent=state.recent[: next(over, len(times))])


# Changes: each is one new epoch


def create(
    members: Iterable[Member],
    name_secret: NameSecret,
    epoch_secret: EpochSecret,
    network: NetworkId,
    *,
    has_history: bool = False,
) -> GroupState:
    """Make the first state of a group.

    Args:
        members: In any order; at least one admin.
        name_secret: 32 random bytes.
        epoch_secret: 32 random bytes.
        network: NET.
        has_history: Whether later members may read what is written from now on.

    Raises:
        GroupChangeRefused: No admin, too many members, or one of them twice.
        InvalidKey: A member's key is not on the curve.
        UsageError: A secret has not 32 bytes, or a member has one key for both uses.

    """
    listed = tuple(members)
    for member in listed:
        _check_keys(member)
    if len({member.public_key for member in listed}) != len(listed):
        raise AlreadyAMember("somebody is named twice")
    if len(listed) > GROUP_MEMBERS_MAX:
        raise GroupFull(f"a group has at most {GROUP_MEMBERS_MAX} members")
    if not any(member.role is Role.ADMIN for member in listed):
        raise LastAdmin("a group begins with an admin", hint="make its founder an admin")
    return _first(_in_order(listed), name_secret, epoch_secret, network, has_history=has_history)


def add(
    at: Recorded,
    member: Member,
    epoch_secret: EpochSecret,
    network: NetworkId,
    *,
    history: Sequence[PastEpoch] | None = None,
) -> GroupState:
    """Take somebody in.

    Args:
        at: The newest state, and where it stands.
        member: The joiner.
        epoch_secret: Fresh es, 32 bytes.
        network: NET.
        history: None: the joiner reads nothing that was written before. Otherwise all members may read it, and these are
            the earlier epochs that the admin knows; they are not looked at where `at` hands over a past itself.

    Raises:
        AlreadyAMember: The joiner is one.
        GroupFull: There are 255.
        InvalidKey: A key of the joiner is not on the curve.
        GroupMoved: Nothing follows this state.
        UsageError: The secret is not fresh, or there are no more epochs.

    """
    state = at.state
    _check_keys(member)
    if state.member(member.public_key) is not None:
        raise AlreadyAMember("the joiner is a member already")
    if len(state.members) >= GROUP_MEMBERS_MAX:
        raise GroupFull(f"the group has {GROUP_MEMBERS_MAX} members already")
    following = _advance(at, _in_order((*state.members, member)), epoch_secret, network)
    if history is None:
        return replace(following, has_history=False, past=(), recent=())
    known = state.past if state.has_history else _with_older(state, history)
    return replace(following, has_history=True, past=handed_over(at, known))


def remove(at: Recorded, public_key: PublicKey, epoch_secret: EpochSecret, network: NetworkId) -> GroupState:
    """Take somebody off who is no admin; arguments and further errors as `add`.

    Raises:
        NotAMember: There is nobody with this key.
        AdminKnowsKey: It is an admin's: `remove_admin` makes a new group key.

    """
    member = _listed(at.state, public_key)
    if member.role is Role.ADMIN:
        raise AdminKnowsKey("an admin is removed together with the group's key")
    return _advance(at, _without(at.state, public_key), epoch_secret, network)


def rotate(at: Recorded, epoch_secret: EpochSecret, network: NetworkId) -> GroupState:
    """Begin a new epoch with the same members; arguments and further errors as `add`."""
    return _advance(at, at.state.members, epoch_secret, network)


def promote(at: Recorded, public_key: PublicKey, epoch_secret: EpochSecret, network: NetworkId) -> GroupState:
    """Make a member an admin; the group's private key is shared with it in a record of its own.

    Arguments and further errors as `add`.

    Raises:
        NotAMember: There is nobody with this key.
        GroupChangeRefused: It is an admin's.

    """
    member = _listed(at.state, public_key)
    if member.role is Role.ADMIN:
        raise GroupChangeRefused("the member is an admin already")
    return _advance(at, _with(at.state, replace(member, role=Role.ADMIN)), epoch_secret, network)


def change_kem(
    at: Recorded, public_key: PublicKey, kem: PublicKey, epoch_secret: EpochSecret, network: NetworkId
) -> GroupState:
    """List another KEM key of a member; arguments and further errors as `add`.

    Raises:
        NotAMember: There is nobody with this key.
        GroupChangeRefused: It is the KEM key that is listed.

    """
    member = _listed(at.state, public_key)
    if member.kem == kem:
        raise GroupChangeRefused("this KEM key is listed already")
    changed = replace(member, kem=kem)
    _check_keys(changed)
    return _advance(at, _with(at.state, changed), epoch_secret, network)


def renew(
    at: Recorded, kems: Mapping[PublicKey, PublicKey], epoch_secret: EpochSecret, network: NetworkId
) -> GroupState:
    """Begin a new epoch with the same members, some of them under newer KEM keys.

    Args:
        at: The newest state, and where it stands.
        kems: KEM keys by identity key; whom it does not name keeps the listed one.
        epoch_secret: Fresh es, 32 bytes.
        network: NET.

    Raises:
        InvalidKey: A KEM key is not on the curve.
        GroupMoved, UsageError: As of `add`.

    """
    members = tuple(replace(m, kem=kems.get(m.public_key, m.kem)) for m in at.state.members)
    for member in members:
        _check_keys(member)
    return _advance(at, members, epoch_secret, network)


# Changes of the group key: whoever was an admin knows the old one


def remove_admin(at: Recorded, public_key: PublicKey, new: NewKey, network: NetworkId) -> Succession:
    """Take an admin off, and the group to a new key.

    Args:
        at: The newest state, and where it stands.
        public_key: The admin's identity key.
        new: What the remaining admin has made.
        network: NET.

    Raises:
        NotAMember: There is nobody with this key.
        GroupChangeRefused: It is no admin's.
        LastAdmin: There is no other.
        GroupMoved: Nothing follows this state.
        InvalidKey: The new group key is not on the curve.
        UsageError: A secret is not fresh, or there are no more epochs.

    """
    _check_replaceable(at.state, public_key)
    return _move(at, _without(at.state, public_key), new, network)


def demote(at: Recorded, public_key: PublicKey, new: NewKey, network: NetworkId) -> Succession:
    """Make an admin a plain member, and take the group to a new key; arguments and errors as `remove_admin`."""
    admin = _check_replaceable(at.state, public_key)
    return _move(at, _with(at.state, replace(admin, role=Role.MEMBER)), new, network)


def replace_key(at: Recorded, new: NewKey, network: NetworkId) -> Succession:
    """Take the group to a new key with the same members, on suspicion; arguments and errors as `remove_admin`."""
    return _move(at, at.state.members, new, network)


def _move(at: Recorded, members: tuple[Member, ...], new: NewKey, network: NetworkId) -> Succession:
    check_public_key(new.group_key)
    if new.first_secret in (new.last_secret, at.state.epoch_secret):
        raise UsageError("an epoch secret is used once", hint="draw another one")
    last = replace(_advance(at, members, new.last_secret, network), next_key=new.group_key)
    state = at.state
    first = _first(members, state.name_secret, new.first_secret, network, has_history=state.has_history)
    return Succession(last, first)


# The parts of a change


def _first(
    members: tuple[Member, ...],
    name_secret: NameSecret,
    epoch_secret: EpochSecret,
    network: NetworkId,
    *,
    has_history: bool,
) -> GroupState:
    _check_length(name_secret)
    _check_length(epoch_secret)
    return GroupState(
        epoch=EPOCH_FIRST,
        prev_hash=NO_STATE,
        epoch_commit=epoch_commit(epoch_secret, network),
        epoch_secret=epoch_secret,
        name_secret=name_secret,
        has_history=has_history,
        members=members,
    )


def _advance(
    at: Recorded, members: tuple[Member, ...], epoch_secret: EpochSecret, network: NetworkId
) -> GroupState:
    state = at.state
    if state.next_key is not None:
        raise GroupMoved(state.next_key)
    if state.epoch == EPOCH_MAX:
        raise UsageError("there are no more epochs", hint="replace the group's key")
    _check_length(epoch_secret)
    if epoch_secret == state.epoch_secret:
        raise UsageError("an epoch secret is used once", hint="draw another one")
    return GroupState(
        epoch=state.epoch + 1,
        prev_hash=at.hash,
        epoch_commit=epoch_commit(epoch_secret, network),
        epoch_secret=epoch_secret,
        name_secret=state.name_secret,
        has_history=state.has_history,
        members=members,
        past=handed_over(at, state.past),
        recent=(recent_row(at), *state.recent)[:GROUP_PAST_MAX],
    )


def _with_older(state: GroupState, rows: Sequence[PastEpoch]) -> tuple[PastEpoch, ...]:
    """The past of a state, and one row for each epoch before it that is known: the one named last."""
    before = state.past[-1].epoch if state.past else state.epoch
    by_epoch = {row.epoch: row for row in rows if row.epoch < before}
    return (*state.past, *(by_epoch[epoch] for epoch in sorted(by_epoch, reverse=True)))


def _in_order(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.public_key))


def _without(state: GroupState, public_key: PublicKey) -> tuple[Member, ...]:
    return tuple(member for member in state.members if member.public_key != public_key)


def _with(state: GroupState, changed: Member) -> tuple[Member, ...]:
    return tuple(changed if m.public_key == changed.public_key else m for m in state.members)


def _listed(state: GroupState, public_key: PublicKey) -> Member:
    member = state.member(public_key)
    if member is None:
        raise NotAMember("nobody in the group has this key")
    return member


def _check_replaceable(state: GroupState, public_key: PublicKey) -> Member:
    member = _listed(state, public_key)
    if member.role is not Role.ADMIN:
        raise GroupChangeRefused("the member is no admin", hint="remove it as any member")
    if len(state.admins) == 1:
        raise LastAdmin("it is the group's only admin")
    return member


def _check_keys(member: Member) -> None:
    check_public_key(member.public_key)
    check_public_key(member.kem)
    if member.kem == member.public_key:
        raise UsageError("an identity key is no KEM key", hint="take both from the member's identity record")


def _check_length(secret: bytes) -> None:
    if len(secret) != SECRET_BYTES:
        raise UsageError("a secret of a group has 32 bytes")

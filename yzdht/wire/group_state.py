"""GroupState, the payload of a group's state record: bytes to fields and back (PROTOCOL.md section 10).

Owns the layout and what holds of a state by itself. Refuses every array that is not exactly section 10's, in shortest
form: one state has one encoding. Keys are checked to look compressed, not to be on the curve; whether a state may follow
another, and whether its commitment is that of its secret, is for crypto/groups.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from yzdht.errors import UsageError, WireError
from yzdht.ids import (
    ID_BYTES,
    PUBLIC_KEY_BYTES,
    SECRET_BYTES,
    EpochCommit,
    EpochSecret,
    NameSecret,
    PublicKey,
    RecordHash,
    RecordRoot,
    looks_compressed,
)
from yzdht.limits import GROUP_MEMBERS_MAX, GROUP_PAST_MAX, GROUP_STATE_BYTES_MAX


EPOCH_FIRST: Final = 1
EPOCH_MAX: Final = 2**32 - 1
SECONDS_MAX: Final = 2**32 - 1
NO_STATE: Final = RecordHash(bytes(ID_BYTES))
"""prev_state_hash of a first state."""


class Role(IntEnum):
    """What a member may do."""

    MEMBER = 0
    ADMIN = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group.

    Attributes:
        public_key: Its identity key.
        kem: Its KEM key, to which states are sealed.
        role: What it may do.

    """

    public_key: PublicKey
    kem: PublicKey
    role: Role = Role.MEMBER


@dataclass(frozen=True, slots=True)
class PastEpoch:
    """An earlier epoch that a state hands over.

    Attributes:
        epoch: 1 to 2³² - 1.
        state_hash: Hash of the record in which that epoch's state stood.
        record_root: rk of that epoch.

    """

    epoch: int
    state_hash: RecordHash
    record_root: RecordRoot = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecentEpoch:
    """What opens the messages of an earlier epoch that a state hands over.

    Attributes:
        secret: es of that epoch, 32 bytes.
        created: When the record of its state was made, unix seconds: the epoch before ended then.

    """

    secret: EpochSecret = field(repr=False)
    created: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group in one epoch.

    Attributes:
        epoch: 1 to 2³² - 1.
        prev_hash: Hash of the record of the state before; NO_STATE of the first.
        epoch_commit: Commits to the epoch secret.
        epoch_secret: es, 32 bytes.
        name_secret: Blinds the names of the group's values, 32 bytes.
        has_history: Whether who joined last was given the past; then it goes back to the epochs before.
        members: 1 to 255, strictly ascending by identity key, at least one of them an admin.
        past: At most 64 earlier epochs, strictly descending, that all members may read.
        recent: What opens the messages of the first of these, in the order of `past` and no more than those.
        next_key: The group's new key, in the last state under this one; None in every other.

    """

    epoch: int
    prev_hash: RecordHash
    epoch_commit: EpochCommit
    epoch_secret: EpochSecret = field(repr=False)
    name_secret: NameSecret = field(repr=False)
    has_history: bool
    members: tuple[Member, ...]
    past: tuple[PastEpoch, ...] = ()
    recent: tuple[RecentEpoch, ...] = ()
    next_key: PublicKey | None = None

    @property
    def admins(self) -> tuple[Member, ...]:
        """The members that are admins."""
        return tuple(member for member in self.members if member.role is Role.ADMIN)

    def member(self, public_key: PublicKey) -> Member | None:
        """The member with this identity key; None if it is in nobody's hands here."""
        return next((member for member in self.members if member.public_key == public_key), None)


_Epoch = Annotated[int, Meta(ge=EPOCH_FIRST, le=EPOCH_MAX)]
_Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Key = Annotated[bytes, Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
_Members = Annotated[
    tuple[tuple[_Key, _Key, Literal[0, 1]], ...], Meta(min_length=1, max_length=GROUP_MEMBERS_MAX)
]
_Past = Annotated[tuple[tuple[_Epoch, _Bytes32, _Bytes32], ...], Meta(max_length=GROUP_PAST_MAX)]
_Seconds = Annotated[int, Meta(ge=0, le=SECONDS_MAX)]
_Recent = Annotated[tuple[tuple[_Bytes32, _Seconds], ...], Meta(max_length=GROUP_PAST_MAX)]
_Fields = tuple[
    _Epoch, _Bytes32, _Bytes32, _Bytes32, _Bytes32, Literal[0, 1], _Members, _Past, _Recent, _Key | None
]

_decoder = msgspec.msgpack.Decoder(_Fields)
_encoder = msgspec.msgpack.Encoder()


def encode_group_state(state: GroupState) -> bytes:
    """One MessagePack array, at most GROUP_STATE_BYTES_MAX bytes.

    Raises:
        UsageError: It is not a state that `decode_group_state` would accept.

    """
    _check(state, UsageError)
    return _encode(state)


def decode_group_state(data: bytes) -> GroupState:
    """Decode the payload of a state record.

    Raises:
        WireError: It is not exactly such an array, or not a state that can be.

    """
    if len(data) > GROUP_STATE_BYTES_MAX:
        raise WireError("a group state is longer than any can be")
    try:
        fields = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise WireError("a group state is not the array that it has to be") from None
    state = _state_of(fields)
    _check(state, WireError)
    if _encode(state) != data:
        raise WireError("a group state is not in shortest form")
    return state


def _state_of(fields: _Fields) -> GroupState:
    epoch, prev_hash, commit, secret, name_secret, history, members, past, recent, next_key = fields
    return GroupState(
        epoch=epoch,
        prev_hash=RecordHash(prev_hash),
        epoch_commit=EpochCommit(commit),
        epoch_secret=EpochSecret(secret),
        name_secret=NameSecret(name_secret),
        has_history=history == 1,
        members=tuple(Member(PublicKey(key), PublicKey(kem), Role(role)) for key, kem, role in members),
        past=tuple(PastEpoch(number, RecordHash(of), RecordRoot(root)) for number, of, root in past),
        recent=tuple(RecentEpoch(EpochSecret(secret), created) for secret, created in recent),
        next_key=None if next_key is None else PublicKey(next_key),
    )


def _encode(state: GroupState) -> bytes:
    return _encoder.encode(
        (
            state.epoch,
            state.prev_hash,
            state.epoch_commit,
            state.epoch_secret,
            state.name_secret,
            int(state.has_history),
            [(member.public_key, member.kem, int(member.role)) for member in state.members],
            [(row.epoch, row.state_hash, row.record_root) for row in state.past],
            [(row.secret, row.created) for row in state.recent],
            state.next_key,
        )
    )


def _check(state: GroupState, refusal: type[UsageError | WireError]) -> None:
    """Raise `refusal` for a state that contradicts itself."""
    _check_lengths(state, refusal)
    if not EPOCH_FIRST <= state.epoch <= EPOCH_MAX:
        raise refusal("an epoch is a number from 1 to 2³² - 1")
    if (state.epoch == EPOCH_FIRST) is not (state.prev_hash == NO_STATE):
        raise refusal("the first state of a group, and no other, names no state before it")
    _check_members(state, refusal)
    _check_past(state, refusal)


def _check_lengths(state: GroupState, refusal: type[UsageError | WireError]) -> None:
    secrets = [state.prev_hash, state.epoch_commit, state.epoch_secret, state.name_secret]
    secrets += [part for row in state.past for part in (row.state_hash, row.record_root)]
    secrets += [row.secret for row in state.recent]
    if any(len(secret) != SECRET_BYTES for secret in secrets):
        raise refusal("hashes and secrets of a group state have 32 bytes")
    keys = [key for member in state.members for key in (member.public_key, member.kem)]
    keys += [state.next_key] if state.next_key is not None else []
    if not all(looks_compressed(key) for key in keys):
        raise refusal("the keys of a group state are compressed points")


def _check_members(state: GroupState, refusal: type[UsageError | WireError]) -> None:
    if not 1 <= len(state.members) <= GROUP_MEMBERS_MAX:
        raise refusal("a group has 1 to 255 members")
    if any(one.public_key >= other.public_key for one, other in pairwise(state.members)):
        raise refusal("the members of a group stand in order, each of them once")
    if not state.admins:
        raise refusal("a group has an admin")


def _check_past(state: GroupState, refusal: type[UsageError | WireError]) -> None:
    past = state.past
    if len(past) > GROUP_PAST_MAX:
        raise refusal("a group state hands over 64 earlier epochs at most")
    epochs = [state.epoch, *(row.epoch for row in past)]
    if any(newer <= older for newer, older in pairwise(epochs)) or epochs[-1] < EPOCH_FIRST:
        raise refusal("the past of a group goes back from the epoch before its state's own")
    if past or (state.has_history and state.epoch > EPOCH_FIRST):
        before = (state.epoch - 1, state.prev_hash)
        if not past or (past[0].epoch, past[0].state_hash) != before:
            raise refusal("the past that a group state hands over begins with the state before it")
    if len(state.recent) > len(past):
        raise refusal("a group state opens messages of no other epochs than those of its past")
    if any(not 0 <= row.created <= SECONDS_MAX for row in state.recent):
        raise refusal("the times of a group state are seconds from 0 to 2³² - 1")

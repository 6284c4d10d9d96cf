"""Group states that can be, for the tests of wire/ and crypto/; their secrets and hashes are drawn, their keys made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from yzdht.ids import EpochCommit, EpochSecret, NameSecret, PublicKey, RecordHash, RecordRoot
from yzdht.limits import GROUP_MEMBERS_MAX, GROUP_PAST_MAX
from yzdht.wire.group_state import (
    EPOCH_FIRST,
    EPOCH_MAX,
    NO_STATE,
    SECONDS_MAX,
    GroupState,
    Member,
    PastEpoch,
    RecentEpoch,
    Role,
)


if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn


BYTES_32 = st.integers(1, 255).map(
    lambda number: bytes((number,)) * 32
)  # one draw instead of 32; never zeros
KEYS = st.builds(lambda sign, x: PublicKey(bytes((sign,)) + x), st.sampled_from((2, 3)), BYTES_32)


@st.composite
def group_states(draw: DrawFn, members_max: int = 6, past_max: int = 4) -> GroupState:
    """Any state; of a later epoch than the first unless the first is drawn."""
    epoch = draw(st.one_of(st.integers(EPOCH_FIRST, 300), st.integers(EPOCH_FIRST, EPOCH_MAX)))
    has_history = draw(st.booleans())
    prev_hash = NO_STATE
    if epoch > EPOCH_FIRST:
        prev_hash = RecordHash(draw(BYTES_32))
    past: tuple[PastEpoch, ...] = ()
    if has_history and epoch > EPOCH_FIRST:
        older = draw(st.sets(st.integers(1, epoch - 1), max_size=past_max)) - {epoch - 1}
        rows = [(number, RecordHash(draw(BYTES_32))) for number in sorted(older, reverse=True)]
        rows = [(epoch - 1, prev_hash), *rows]
        past = tuple(PastEpoch(number, of, RecordRoot(draw(BYTES_32))) for number, of in rows)
    secrets = draw(st.lists(BYTES_32, max_size=len(past)))
    recent = [RecentEpoch(EpochSecret(secret), draw(st.integers(0, SECONDS_MAX))) for secret in secrets]
    return GroupState(
        epoch=epoch,
        prev_hash=prev_hash,
        epoch_commit=EpochCommit(draw(BYTES_32)),
        epoch_secret=EpochSecret(draw(BYTES_32)),
        name_secret=NameSecret(draw(BYTES_32)),
        has_history=has_history,
        members=_members(draw, members_max),
        past=past,
        recent=tuple(recent),
        next_key=draw(st.none() | KEYS),
    )


def _members(draw: DrawFn, count_max: int) -> tuple[Member, ...]:
    keys = sorted(draw(st.sets(KEYS, min_size=1, max_size=count_max)))
    roles = [draw(st.sampled_from(Role)) for _ in keys]
    roles[draw(st.integers(0, len(keys) - 1))] = Role.ADMIN
    return tuple(Member(key, draw(KEYS), role) for key, role in zip(keys, roles, strict=True))


def largest_state() -> GroupState:
    """Everything at its bound: members, past, what is recent, and every number in its longest form."""
    keys = [PublicKey(b"\x02" + number.to_bytes(32)) for number in range(GROUP_MEMBERS_MAX)]
    prev_hash = RecordHash(b"h" * 32)
    past = tuple(
        PastEpoch(EPOCH_MAX - number, prev_hash, RecordRoot(b"r" * 32))
        for number in range(1, GROUP_PAST_MAX + 1)
    )
    return GroupState(
        epoch=EPOCH_MAX,
        prev_hash=prev_hash,
        epoch_commit=EpochCommit(b"c" * 32),
        epoch_secret=EpochSecret(b"e" * 32),
        name_secret=NameSecret(b"n" * 32),
        has_history=True,
        members=tuple(Member(key, PublicKey(b"\x03" * 33), Role.ADMIN) for key in keys),
        past=past,
        recent=(RecentEpoch(EpochSecret(b"s" * 32), SECONDS_MAX),) * GROUP_PAST_MAX,
        next_key=PublicKey(b"\x02" + b"x" * 32),
    )

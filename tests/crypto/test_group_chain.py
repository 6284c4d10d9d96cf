from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings

from tests.crypto.company import (
    GROUP,
    GROUP_ID,
    NAMES,
    STATE_TAG,
    fresh,
    group_of,
    key,
    key_of,
    new_key,
    person,
    recorded,
    sealed,
    sealed_state,
)
from tests.vectors.golden import CREATED, EXPIRES, NETWORK
from tests.wire.states import group_states
from yzdht.crypto.group_chain import (
    check_commit,
    check_follows,
    check_left,
    check_newer,
    check_past,
    check_successor,
    open_group_key,
    open_state,
)
from yzdht.crypto.groups import (
    Recorded,
    add,
    admins_tag,
    create,
    epoch_commit,
    past_row,
    recent_row,
    remove,
    remove_admin,
    replace_key,
    rotate,
)
from yzdht.crypto.naming import network_id
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record, tombstone
from yzdht.crypto.signing import KeySigner, RecordChecks, target_of
from yzdht.errors import (
    CryptoError,
    ExitCode,
    GroupForked,
    GroupMoved,
    GroupStateRefused,
    InvalidKey,
    NotAReader,
    NotFound,
    StaleGroupState,
    WireError,
)
from yzdht.ids import EpochCommit, NameSecret, RecordHash, RecordRoot
from yzdht.limits import RECORD_BYTES_MAX
from yzdht.wire.group_state import Role, encode_group_state
from yzdht.wire.record import decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from yzdht.crypto.primitives import PrivateKey
    from yzdht.wire.group_state import GroupState
    from yzdht.wire.record import Record

GROUP_KEY = GROUP.public_key
ADMINS_TAG = admins_tag(GROUP_ID, NETWORK)
OTHER_HASH = RecordHash(b"o" * 32)
OTHER_ROOT = RecordRoot(b"o" * 32)


def opened(record: Record, *kem: PrivateKey) -> Recorded:
    return open_state(record, GROUP_KEY, kem, NETWORK)


def series(count: int, *, has_history: bool) -> list[Recorded]:
    """So many states, each following the one before."""
    states = [group_of(2, has_history=has_history)]
    for _ in range(count - 1):
        states.append(recorded(rotate(states[-1], fresh(), NETWORK)))
    return states


# Opening


def test_each_member_opens_the_state_and_nobody_else() -> None:
    state = rotate(group_of(3), fresh(), NETWORK)
    record = sealed_state(state)
    RecordChecks(NETWORK).verify(record.raw, target_of(record, NETWORK))

    for number in range(3):
        assert opened(record, key_of("kem", 8), key_of("kem", number)) == Recorded(
            state, record.hash, record.created
        )
    for kem in ((), (key_of("kem", 8),)):
        with pytest.raises(NotAReader):
            opened(record, *kem)


def test_a_removed_member_does_not_open_the_next_state_nor_a_joiner_the_one_before() -> None:
    at = group_of(3)
    later = sealed_state(remove(at, key(2), fresh(), NETWORK))
    joined = sealed_state(add(at, person(3), fresh(), NETWORK))

    assert opened(joined, key_of("kem", 3)).state.epoch == 2
    for record, number in ((later, 2), (sealed_state(at.state), 3)):
        with pytest.raises(NotAReader):
            opened(record, key_of("kem", number))


def test_a_state_of_255_members_with_the_whole_past_fits_its_record() -> None:
    at = group_of(255, has_history=True)
    for _ in range(65):
        at = recorded(rotate(at, fresh(), NETWORK))

    record = sealed_state(at.state)

    assert (len(at.state.members), len(at.state.past)) == (255, 64)
    assert len(at.state.recent) == 64
    assert len(record.raw) == 55_404 <= RECORD_BYTES_MAX
    assert opened(record, key_of("kem", 254)).state == at.state


def test_only_the_groups_own_state_record_is_opened() -> None:
    value, kem = encode_group_state(group_of(1).state), person(0).kem
    author = Author(KeySigner(GROUP), b"s" * 32, NETWORK)
    draft = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 7, STATE_TAG)
    others = {
        "another tag": sealed(value, [kem], ADMINS_TAG),
        "another publisher": sealed(value, [kem], by=key_of("group", 1)),
        "another kind": sealed(value, [kem], kind=Kind.MULTI),
        "in the clear": decode_record(seal_record(draft, value, Public(), author, b"")),
    }

    for what, record in others.items():
        with pytest.raises(GroupStateRefused):
            opened(record, key_of("kem", 0))
        assert what
    with pytest.raises(NotFound):
        opened(decode_record(tombstone(draft, author)), key_of("kem", 0))
    with pytest.raises(GroupStateRefused):
        open_state(sealed(value, [kem]), key(5), (key_of("kem", 0),), NETWORK)


def test_a_state_that_is_none_or_does_not_commit_to_its_secret_is_refused() -> None:
    state = group_of(1).state
    with pytest.raises(WireError):
        opened(sealed(b"no state", [person(0).kem]), key_of("kem", 0))
    for commit in (EpochCommit(b"c" * 32), epoch_commit(state.epoch_secret, network_id("other"))):
        with pytest.raises(GroupStateRefused):
            opened(sealed_state(replace(state, epoch_commit=commit)), key_of("kem", 0))


def test_admins_open_the_groups_private_key() -> None:
    kem = key_of("kem", 0)
    record = sealed(GROUP.to_pkcs8(), [kem.public_key], ADMINS_TAG)

    assert open_group_key(record, GROUP_KEY, (kem,), NETWORK).to_pkcs8() == GROUP.to_pkcs8()
    with pytest.raises(NotAReader):
        open_group_key(record, GROUP_KEY, (key_of("kem", 1),), NETWORK)
    for value in (key_of("group", 1).to_pkcs8(), b"no key"):
        with pytest.raises(InvalidKey):
            open_group_key(sealed(value, [kem.public_key], ADMINS_TAG), GROUP_KEY, (kem,), NETWORK)
    with pytest.raises(GroupStateRefused):
        open_group_key(sealed(GROUP.to_pkcs8(), [kem.public_key]), GROUP_KEY, (kem,), NETWORK)


# The very next state


@pytest.mark.parametrize("has_history", [False, True])
def test_a_series_of_states_follows(has_history: bool) -> None:  # noqa: FBT001 - parametrized
    states = series(5, has_history=has_history)

    for one, other in pairwise(states):
        check_follows(one, other, NETWORK)
        check_newer(one, other, NETWORK)


ONE, TWO, THREE = series(3, has_history=True)
ROW_1, ROW_2 = past_row(ONE), past_row(TWO)
RECENT_2 = recent_row(TWO)

TAMPERED: dict[str, tuple[dict[str, object], type[CryptoError]]] = {
    "a later epoch": ({"epoch": 4}, GroupStateRefused),
    "its own epoch": ({"epoch": 2}, GroupForked),
    "an earlier epoch": ({"epoch": 1}, StaleGroupState),
    "another state before it": ({"prev_hash": OTHER_HASH}, GroupForked),
    "another commitment": ({"epoch_commit": EpochCommit(b"c" * 32)}, GroupStateRefused),
    "the same secret": (
        {"epoch_secret": TWO.state.epoch_secret, "epoch_commit": TWO.state.epoch_commit},
        GroupStateRefused,
    ),
    "another secret of names": ({"name_secret": NameSecret(b"m" * 32)}, GroupStateRefused),
    "no past": ({"past": (), "recent": ()}, GroupStateRefused),
    "less of the past": ({"past": (ROW_2,), "recent": (RECENT_2,)}, GroupStateRefused),
    "nothing that opens messages": ({"recent": ()}, GroupStateRefused),
    "another secret of the known epoch": (
        {"recent": (replace(RECENT_2, secret=ONE.state.epoch_secret),)},
        GroupStateRefused,
    ),
    "another secret of the past": ({"recent": (RECENT_2, RECENT_2)}, GroupStateRefused),
    "another time of the known epoch": (
        {"recent": (replace(RECENT_2, created=CREATED + 1),)},
        GroupStateRefused,
    ),
    "another past": ({"past": (ROW_2, replace(ROW_1, state_hash=OTHER_HASH))}, GroupForked),
    "another key of the past": (
        {"past": (ROW_2, replace(ROW_1, record_root=OTHER_ROOT))},
        GroupStateRefused,
    ),
    "another state of the known epoch": (
        {"past": (replace(ROW_2, state_hash=OTHER_HASH), ROW_1)},
        GroupForked,
    ),
    "another key of the known epoch": (
        {"past": (replace(ROW_2, record_root=OTHER_ROOT), ROW_1)},
        GroupStateRefused,
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_state_that_does_not_follow_is_refused(what: str) -> None:
    changes, error = TAMPERED[what]
    shown = replace(THREE, state=replace(THREE.state, **changes))  # type: ignore[arg-type]  # any of its fields

    with pytest.raises(error) as refused:
        check_follows(TWO, shown, NETWORK)
    assert type(refused.value) is error
    assert refused.value.hint


def test_a_state_of_another_network_does_not_follow() -> None:
    with pytest.raises(GroupStateRefused):
        check_follows(TWO, THREE, network_id("other"))


def test_the_known_state_does_not_follow_itself_and_is_no_news() -> None:
    with pytest.raises(StaleGroupState):
        check_follows(TWO, TWO, NETWORK)
    check_newer(TWO, TWO, NETWORK)


def test_history_that_is_granted_begins_with_the_state_before() -> None:
    one, two = series(2, has_history=False)
    known = (past_row(one),)

    granted = add(two, person(5), fresh(), NETWORK, history=known)

    check_follows(two, recorded(granted), NETWORK)
    wrong = replace(granted, past=(replace(granted.past[0], record_root=OTHER_ROOT), *granted.past[1:]))
    with pytest.raises(GroupStateRefused):
        check_follows(two, recorded(wrong), NETWORK)


def test_whoever_joined_last_is_given_what_was_after_and_the_others_no_less() -> None:
    one, two = series(2, has_history=False)
    joined = recorded(add(two, person(5), fresh(), NETWORK))
    later = rotate(joined, fresh(), NETWORK)

    check_follows(two, joined, NETWORK)
    check_follows(joined, recorded(later), NETWORK)
    assert two.state.past == (past_row(one),)
    assert later.past == (past_row(joined),)
    for wrong in (
        replace(later, past=(*later.past, past_row(two))),
        replace(joined.state, past=two.state.past),
        replace(rotate(THREE, fresh(), NETWORK), has_history=False),
    ):
        before = {joined.hash: joined, two.hash: two}.get(wrong.prev_hash, THREE)
        with pytest.raises(GroupStateRefused):
            check_follows(before, recorded(wrong), NETWORK)


@settings(max_examples=50, phases=(Phase.explicit, Phase.generate))  # shrinking two states takes minutes
@given(group_states(), group_states())
def test_hostile_states_raise_only_crypto_errors(one: GroupState, other: GroupState) -> None:
    known, shown = Recorded(one, OTHER_HASH, CREATED), recorded(other)
    for check in (check_follows, check_newer):
        with pytest.raises(CryptoError):
            check(known, shown, NETWORK)


# States that are left


def test_the_state_that_the_newest_follows_is_the_one_that_was_left() -> None:
    one, two, three = series(3, has_history=False)
    check_left(three, two, 2)
    check_left(three, one, 1)

    for at, shown, epoch in (
        (three, two, 1),
        (three, one, 2),
        (three, replace(two, hash=OTHER_HASH), 2),
        (three, recorded(rotate(one, fresh(), NETWORK)), 2),
        (three, replace(one, state=replace(one.state, name_secret=NameSecret(b"m" * 32))), 1),
    ):
        with pytest.raises(GroupStateRefused):
            check_left(at, shown, epoch)


# Forks


def test_two_states_of_one_epoch_are_a_fork_that_names_both() -> None:
    at = group_of(2)
    mine, theirs = (recorded(rotate(at, fresh(), NETWORK)) for _ in range(2))

    for check in (check_follows, check_newer):
        with pytest.raises(GroupForked) as forked:
            check(mine, theirs, NETWORK)
        error = forked.value
        assert (error.epoch, error.known, error.other) == (2, mine.hash, theirs.hash)
        assert mine.hash.hex() in str(error)
        assert theirs.hash.hex() in str(error)
        assert error.exit_code is ExitCode.CONFLICT


def test_a_fork_is_seen_one_epoch_later_too() -> None:
    at = group_of(2)
    mine, theirs = (recorded(rotate(at, fresh(), NETWORK)) for _ in range(2))
    later = recorded(rotate(theirs, fresh(), NETWORK))

    for check in (check_follows, check_newer):
        with pytest.raises(GroupForked) as forked:
            check(mine, later, NETWORK)
        assert (forked.value.epoch, forked.value.other) == (2, theirs.hash)


def test_a_fork_is_seen_in_the_past_that_is_handed_over() -> None:
    at = group_of(2, has_history=True)
    mine, theirs = (recorded(rotate(at, fresh(), NETWORK)) for _ in range(2))
    later = recorded(rotate(recorded(rotate(theirs, fresh(), NETWORK)), fresh(), NETWORK))

    with pytest.raises(GroupForked) as forked:
        check_newer(mine, later, NETWORK)
    assert (forked.value.epoch, forked.value.known, forked.value.other) == (2, mine.hash, theirs.hash)


# Any later state


@pytest.mark.parametrize("has_history", [False, True])
def test_who_was_away_takes_a_much_later_state(has_history: bool) -> None:  # noqa: FBT001 - parametrized
    states = series(5, has_history=has_history)

    check_newer(states[0], states[4], NETWORK)
    with pytest.raises(GroupStateRefused):
        check_follows(states[0], states[4], NETWORK)


def test_older_states_are_stale() -> None:
    states = series(4, has_history=True)
    for check in (check_follows, check_newer):
        with pytest.raises(StaleGroupState) as stale:
            check(states[3], states[1], NETWORK)
        assert (stale.value.epoch, stale.value.known) == (2, 4)
        assert stale.value.exit_code is ExitCode.STALE


def test_a_later_state_with_another_secret_or_commitment_is_refused() -> None:
    for changed in (
        {"name_secret": NameSecret(b"m" * 32)},
        {"epoch_commit": EpochCommit(b"c" * 32)},
        {"epoch_secret": ONE.state.epoch_secret, "epoch_commit": ONE.state.epoch_commit},
    ):
        shown = replace(THREE, state=replace(THREE.state, **changed))
        with pytest.raises(GroupStateRefused):
            check_newer(ONE, shown, NETWORK)


def test_pasts_that_speak_of_other_epochs_agree() -> None:
    check_past((ROW_1,), (ROW_2,))
    check_past((), (ROW_2, ROW_1))
    with pytest.raises(GroupForked):
        check_past((ROW_1, ROW_2), (replace(ROW_1, state_hash=OTHER_HASH),))


def test_a_commitment_is_checked_alone() -> None:
    check_commit(ONE.state, NETWORK)
    with pytest.raises(GroupStateRefused):
        check_commit(ONE.state, network_id("other"))


# A new group key


def test_nothing_that_is_signed_with_the_old_key_counts() -> None:
    at = group_of(3, admins=2)
    new = new_key()
    last = recorded(remove_admin(at, key(1), new, NETWORK).last)
    check_follows(at, last, NETWORK)
    theirs = replace(last.state, epoch=3, prev_hash=last.hash, epoch_secret=fresh(), next_key=None)
    theirs = replace(theirs, epoch_commit=epoch_commit(theirs.epoch_secret, NETWORK))

    for check in (check_follows, check_newer):
        with pytest.raises(GroupMoved) as moved:
            check(last, recorded(theirs), NETWORK)
        assert moved.value.next_key == new.group_key
        assert moved.value.hint
    check_newer(last, last, NETWORK)


def test_the_successor_is_signed_by_the_key_that_was_named() -> None:
    at, new = group_of(3, admins=2), new_key()
    succession = replace_key(at, new, NETWORK)
    last, first = succession.last, succession.first

    check_successor(last, new.group_key, first, NETWORK)
    check_successor(last, new.group_key, rotate(recorded(first), fresh(), NETWORK), NETWORK)
    with pytest.raises(GroupStateRefused):
        check_successor(last, GROUP_KEY, first, NETWORK)
    with pytest.raises(GroupStateRefused):
        check_successor(at.state, new.group_key, first, NETWORK)
    with pytest.raises(GroupStateRefused):
        check_successor(last, new.group_key, first, network_id("other"))
    other = create([person(0, Role.ADMIN)], NameSecret(b"m" * 32), fresh(), NETWORK)
    assert other.name_secret != NAMES
    with pytest.raises(GroupStateRefused):
        check_successor(last, new.group_key, other, NETWORK)

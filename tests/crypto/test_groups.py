from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.crypto.company import (
    GROUP,
    NAMES,
    fresh,
    group_of,
    key,
    key_of,
    members_of,
    new_key,
    person,
    recorded,
)
from tests.vectors.golden import NETWORK, OFF_CURVE, PROTOCOL, load
from yzdht.crypto.group_chain import check_follows
from yzdht.crypto.groups import (
    NewKey,
    Recorded,
    Succession,
    add,
    admins_tag,
    change_kem,
    create,
    demote,
    ends,
    epoch_commit,
    group_id_of,
    group_kem,
    past_row,
    promote,
    recent_row,
    record_root,
    remove,
    remove_admin,
    renew,
    replace_key,
    rotate,
    state_tag,
    without_ended,
)
from yzdht.crypto.naming import network_id
from yzdht.crypto.primitives import PrivateKey
from yzdht.errors import (
    AdminKnowsKey,
    AlreadyAMember,
    GroupChangeRefused,
    GroupFull,
    GroupMoved,
    InvalidKey,
    LastAdmin,
    NotAMember,
    UsageError,
    YzError,
)
from yzdht.ids import EpochSecret, NameSecret, PublicKey, RecordHash, RecordRoot
from yzdht.limits import GROUP_MEMBERS_MAX, GROUP_PAST_MAX, REPLAY_KEPT_S
from yzdht.wire.group_state import (
    EPOCH_MAX,
    NO_STATE,
    GroupState,
    Member,
    PastEpoch,
    Role,
    decode_group_state,
    encode_group_state,
)


STRANGER = key(99)


def is_well_formed(state: GroupState) -> bool:
    return decode_group_state(encode_group_state(state)) == state


# Derivations


def test_the_group_id_and_rk_are_those_of_the_golden_values() -> None:
    golden = PROTOCOL["records"]["group"]
    publisher = PublicKey(bytes.fromhex(PROTOCOL["keys"]["pk33_A"]))

    assert group_id_of(publisher, NETWORK).hex() == golden["group_id16"]
    assert record_root(EpochSecret(bytes.fromhex(golden["es"]))).hex() == golden["rk"]


def test_tags_and_commitments_are_of_one_network() -> None:
    group_id, other = group_id_of(GROUP.public_key, NETWORK), network_id("other")

    assert group_id != group_id_of(GROUP.public_key, other)
    assert state_tag(group_id, NETWORK) != state_tag(group_id, other)
    assert state_tag(group_id, NETWORK) != admins_tag(group_id, NETWORK)
    secret = fresh()
    assert epoch_commit(secret, NETWORK) != epoch_commit(secret, other)
    assert epoch_commit(secret, NETWORK) != epoch_commit(fresh(), NETWORK)


# Creating


@pytest.mark.parametrize("has_history", [False, True])
def test_a_group_begins_with_epoch_one_and_no_past(has_history: bool) -> None:  # noqa: FBT001 - parametrized
    secret = fresh()
    members = [person(2), person(0, Role.ADMIN), person(1)]

    state = create(members, NAMES, secret, NETWORK, has_history=has_history)

    assert is_well_formed(state)
    assert (state.epoch, state.prev_hash, state.past, state.next_key) == (1, NO_STATE, (), None)
    assert (state.epoch_secret, state.name_secret) == (secret, NAMES)
    assert state.epoch_commit == epoch_commit(secret, NETWORK)
    assert state.has_history is has_history
    assert members_of(state) == {key(0), key(1), key(2)}


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ([], LastAdmin),
        ([person(0)], LastAdmin),
        ([person(0, Role.ADMIN), person(1), person(0)], AlreadyAMember),
        ([Member(OFF_CURVE, key(1), Role.ADMIN)], InvalidKey),
        ([Member(key(1), OFF_CURVE, Role.ADMIN)], InvalidKey),
        ([Member(PublicKey(b"\x04" * 33), key(1), Role.ADMIN)], InvalidKey),
        ([Member(key(1), key(1), Role.ADMIN)], UsageError),
    ],
)
def test_a_group_that_cannot_be_is_not_created(members: list[Member], error: type[YzError]) -> None:
    with pytest.raises(error) as refused:
        create(members, NAMES, fresh(), NETWORK)
    assert refused.value.hint


def test_secrets_have_32_bytes() -> None:
    admin, at = [person(0, Role.ADMIN)], group_of(2)
    for short in (b"", b"s" * 31, b"s" * 33):
        with pytest.raises(UsageError):
            create(admin, NameSecret(short), fresh(), NETWORK)
        with pytest.raises(UsageError):
            create(admin, NAMES, EpochSecret(short), NETWORK)
        with pytest.raises(UsageError):
            rotate(at, EpochSecret(short), NETWORK)
        with pytest.raises(UsageError):
            replace_key(at, NewKey(GROUP.public_key, fresh(), EpochSecret(short)), NETWORK)


# What every change has in common

Change = Callable[[Recorded, EpochSecret], GroupState]
CHANGES: dict[str, Change] = {
    "add": lambda at, secret: add(at, person(9), secret, NETWORK),
    "remove": lambda at, secret: remove(at, key(2), secret, NETWORK),
    "rotate": lambda at, secret: rotate(at, secret, NETWORK),
    "promote": lambda at, secret: promote(at, key(2), secret, NETWORK),
    "change_kem": lambda at, secret: change_kem(at, key(2), person(9).kem, secret, NETWORK),
    "remove_admin": lambda at, secret: remove_admin(at, key(1), _new(secret), NETWORK).last,
    "demote": lambda at, secret: demote(at, key(1), _new(secret), NETWORK).last,
    "replace_key": lambda at, secret: replace_key(at, _new(secret), NETWORK).last,
}


def _new(secret: EpochSecret) -> NewKey:
    return NewKey(key_of("group", 1).public_key, secret, fresh())


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("has_history", [False, True])
def test_every_change_is_one_new_epoch_that_follows(name: str, has_history: bool) -> None:  # noqa: FBT001 - parametrized
    at, secret = group_of(3, admins=2, has_history=has_history), fresh()

    state = CHANGES[name](at, secret)

    assert is_well_formed(state)
    assert (state.epoch, state.prev_hash) == (2, at.hash)
    assert (state.epoch_secret, state.epoch_commit) == (secret, epoch_commit(secret, NETWORK))
    assert state.name_secret == NAMES
    check_follows(at, recorded(state), NETWORK)
    assert state.has_history is (has_history and name != "add")
    assert state.past == ((past_row(at),) if name != "add" else ())


@pytest.mark.parametrize("name", CHANGES)
def test_no_change_takes_a_secret_that_is_not_fresh(name: str) -> None:
    at = group_of(3, admins=2)

    for stale in (at.state.epoch_secret, EpochSecret(b"short")):
        with pytest.raises(UsageError):
            CHANGES[name](at, stale)


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_follows_a_state_that_names_a_new_key(name: str) -> None:
    at = group_of(3, admins=2)
    closed = recorded(replace_key(at, new_key(), NETWORK).last)

    with pytest.raises(GroupMoved) as refused:
        CHANGES[name](closed, fresh())
    assert refused.value.next_key == key_of("group", 1).public_key
    assert refused.value.hint


@pytest.mark.parametrize("name", CHANGES)
def test_epochs_end(name: str) -> None:
    at = group_of(3, admins=2)
    last = Recorded(replace(at.state, epoch=EPOCH_MAX, prev_hash=at.hash), at.hash, at.created)

    with pytest.raises(UsageError) as refused:
        CHANGES[name](last, fresh())
    assert refused.value.hint


# Adding


def test_a_joiner_stands_in_its_place() -> None:
    at = group_of(3)

    state = add(at, person(9), fresh(), NETWORK)

    assert members_of(state) == members_of(at.state) | {key(9)}
    assert state.member(key(9)) == person(9)


def test_a_joiner_without_history_is_given_nothing_of_the_past() -> None:
    at = group_of(2, has_history=True)
    at = recorded(rotate(at, fresh(), NETWORK))
    assert len(at.state.past) == 1

    state = add(at, person(9), fresh(), NETWORK)

    assert not state.has_history
    assert state.past == ()
    assert [row.epoch for row in rotate(recorded(state), fresh(), NETWORK).past] == [state.epoch]
    roots = {record_root(at.state.epoch_secret), *(row.record_root for row in at.state.past)}
    assert [root for root in roots if encode_group_state(state).find(root) >= 0] == []


def test_a_joiner_with_history_is_given_what_the_state_hands_over() -> None:
    at = group_of(2, has_history=True)
    first = past_row(at)
    at = recorded(rotate(at, fresh(), NETWORK))

    state = add(at, person(9), fresh(), NETWORK, history=())

    assert state.has_history
    assert state.past == (past_row(at), first)
    assert is_well_formed(state)


def test_a_joiner_with_history_is_given_what_the_admin_knows() -> None:
    at = group_of(2)
    rows = []
    for _ in range(4):
        rows.append(past_row(at))
        at = recorded(rotate(at, fresh(), NETWORK))
    forked = PastEpoch(2, RecordHash(b"f" * 32), RecordRoot(b"f" * 32))
    at = recorded(rotate(recorded(add(at, person(8), fresh(), NETWORK)), fresh(), NETWORK))
    [joined] = at.state.past
    lost = replace(joined, state_hash=RecordHash(b"l" * 32))

    history = [lost, rows[3], rows[0], rows[1], forked, past_row(at)]
    state = add(at, person(9), fresh(), NETWORK, history=history)

    assert state.past == (
        past_row(at),
        joined,
        rows[3],
        forked,
        rows[0],
    )  # what the state says of an epoch counts
    assert is_well_formed(state)
    check_follows(at, recorded(state), NETWORK)


# What opens messages


def days(at: Recorded, *hours: int) -> Recorded:
    """The group rotated after so many hours each; what is handed over is cut as in a record."""
    for hour in hours:
        created = at.created + hour * 3_600
        state = without_ended(rotate(at, fresh(), NETWORK), created)
        following = replace(recorded(state), created=created)
        check_follows(at, following, NETWORK)
        at = following
    return at


def test_messages_of_epochs_that_ended_within_25_hours_are_opened_by_the_next_state() -> None:
    at = days(group_of(2), 100, 1, 2, 22)
    assert [row.epoch for row in at.state.past] == [4, 3, 2, 1]
    # They ended just now, 22 h, 24 h and 25 h before.
    assert len(at.state.recent) == 3
    assert [row.created for row in at.state.recent] == [at.created - hours * 3_600 for hours in (22, 24, 25)]
    for recent, past in zip(at.state.recent, at.state.past, strict=False):
        assert record_root(recent.secret) == past.record_root
    assert ends(at.state, at.created) == tuple(at.created - hours * 3_600 for hours in (0, 22, 24))

    later = days(at, 2)

    assert [row.created for row in later.state.recent] == [
        later.created - hours * 3_600 for hours in (2, 24, 26)
    ]


def test_the_state_before_is_opened_however_long_it_lasted() -> None:
    at = days(group_of(2), 24 * 7, 24 * 7)

    assert len(at.state.past) == 2
    assert [row.created for row in at.state.recent] == [at.created - 24 * 7 * 3_600]


@pytest.mark.parametrize(("seconds", "rows"), [(REPLAY_KEPT_S - 1, 2), (REPLAY_KEPT_S, 1)])
def test_25_hours_are_counted_to_the_second(seconds: int, rows: int) -> None:
    at = days(group_of(2), 1)

    state = without_ended(rotate(at, fresh(), NETWORK), at.created + seconds)

    assert len(state.recent) == rows


def test_no_joiner_without_history_opens_messages_of_before() -> None:
    at = days(group_of(2, has_history=True), 1, 1)
    secrets = {at.state.epoch_secret, *(row.secret for row in at.state.recent)}

    state = add(at, person(9), fresh(), NETWORK)

    assert (len(secrets), state.recent) == (3, ())
    assert [secret for secret in secrets if encode_group_state(state).find(secret) >= 0] == []
    assert rotate(recorded(state), fresh(), NETWORK).recent == (recent_row(recorded(state)),)


def test_a_joiner_with_history_opens_messages_of_before() -> None:
    at = days(group_of(2, has_history=True), 1, 1)

    state = add(at, person(9), fresh(), NETWORK, history=())

    assert state.recent == (recent_row(at), *at.state.recent)


def test_under_a_new_key_nothing_of_before_opens() -> None:
    at = days(group_of(2, admins=2), 1, 1)

    both = replace_key(at, new_key(), NETWORK)

    assert (both.first.past, both.first.recent) == ((), ())
    assert both.last.recent == (recent_row(at), *at.state.recent)


def test_the_newest_64_epochs_are_handed_over() -> None:
    at = group_of(1, has_history=True)
    for _ in range(GROUP_PAST_MAX + 3):
        following = recorded(rotate(at, fresh(), NETWORK))
        check_follows(at, following, NETWORK)
        at = following

    assert [row.epoch for row in at.state.past] == list(range(67, 3, -1))
    assert len(at.state.recent) == GROUP_PAST_MAX
    assert is_well_formed(at.state)


def test_who_is_in_is_not_added_again() -> None:
    at = group_of(2)
    for member in (person(1), person(1, Role.ADMIN), replace(person(1), kem=person(9).kem)):
        with pytest.raises(AlreadyAMember) as refused:
            add(at, member, fresh(), NETWORK)
        assert refused.value.hint


def test_a_joiner_has_two_keys_that_are_on_the_curve() -> None:
    at = group_of(1)
    for member in (replace(person(9), public_key=OFF_CURVE), replace(person(9), kem=OFF_CURVE)):
        with pytest.raises(InvalidKey):
            add(at, member, fresh(), NETWORK)
    with pytest.raises(UsageError):
        add(at, Member(key(9), key(9)), fresh(), NETWORK)


def test_a_full_group_takes_nobody() -> None:
    at = group_of(GROUP_MEMBERS_MAX)
    assert is_well_formed(rotate(at, fresh(), NETWORK))

    with pytest.raises(GroupFull) as refused:
        add(at, person(GROUP_MEMBERS_MAX), fresh(), NETWORK)
    assert refused.value.hint
    everybody = [person(0, Role.ADMIN), *(person(number) for number in range(1, 256))]
    with pytest.raises(GroupFull):
        create(everybody, NAMES, fresh(), NETWORK)
    smaller = recorded(remove(at, key(1), fresh(), NETWORK))
    assert len(add(smaller, person(255), fresh(), NETWORK).members) == GROUP_MEMBERS_MAX


# Members


def test_a_member_is_removed_and_the_others_stay() -> None:
    at = group_of(3)

    state = remove(at, key(1), fresh(), NETWORK)

    assert members_of(state) == {key(0), key(2)}


def test_an_admin_is_not_merely_removed() -> None:
    for admins in (1, 2):
        with pytest.raises(AdminKnowsKey) as refused:
            remove(group_of(3, admins=admins), key(0), fresh(), NETWORK)
        assert refused.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda at: remove(at, STRANGER, fresh(), NETWORK),
        lambda at: promote(at, STRANGER, fresh(), NETWORK),
        lambda at: change_kem(at, STRANGER, person(9).kem, fresh(), NETWORK),
        lambda at: remove_admin(at, STRANGER, new_key(), NETWORK),
        lambda at: demote(at, STRANGER, new_key(), NETWORK),
    ],
)
def test_a_stranger_is_no_member(change: Callable[[Recorded], Any]) -> None:
    with pytest.raises(NotAMember) as refused:
        change(group_of(3, admins=2))
    assert refused.value.hint


def test_a_member_is_promoted_once() -> None:
    at = group_of(3)

    following = recorded(promote(at, key(1), fresh(), NETWORK))

    assert {admin.public_key for admin in following.state.admins} == {key(0), key(1)}
    assert following.state.member(key(1)) == person(1, Role.ADMIN)
    for admin in (key(0), key(1)):
        with pytest.raises(GroupChangeRefused):
            promote(following, admin, fresh(), NETWORK)


def test_a_kem_key_is_changed_and_the_role_stays() -> None:
    at = group_of(2)

    state = change_kem(at, key(0), person(9).kem, fresh(), NETWORK)

    assert state.member(key(0)) == Member(key(0), person(9).kem, Role.ADMIN)
    assert state.member(key(1)) == person(1)
    with pytest.raises(GroupChangeRefused):
        change_kem(at, key(1), person(1).kem, fresh(), NETWORK)
    with pytest.raises(InvalidKey):
        change_kem(at, key(1), OFF_CURVE, fresh(), NETWORK)
    with pytest.raises(UsageError):
        change_kem(at, key(1), key(1), fresh(), NETWORK)


# A new group key


@pytest.mark.parametrize("has_history", [False, True])
def test_an_admin_is_removed_with_the_group_key(has_history: bool) -> None:  # noqa: FBT001 - parametrized
    at, new = group_of(3, admins=2, has_history=has_history), new_key()

    succession = remove_admin(at, key(1), new, NETWORK)

    last, first = succession.last, succession.first
    assert last.next_key == new.group_key
    assert (first.epoch, first.prev_hash, first.past, first.next_key) == (1, NO_STATE, (), None)
    assert members_of(last) == members_of(first) == {key(0), key(2)}
    assert first.members == last.members
    assert first.name_secret == NAMES
    assert first.has_history is has_history
    assert (last.epoch_secret, first.epoch_secret) == (new.last_secret, new.first_secret)
    assert first.epoch_commit == epoch_commit(new.first_secret, NETWORK)
    assert is_well_formed(last)
    assert is_well_formed(first)


def test_a_demoted_admin_stays_as_a_member_under_a_new_key() -> None:
    at = group_of(3, admins=2)

    succession = demote(at, key(1), new_key(), NETWORK)

    for state in (succession.last, succession.first):
        assert state.member(key(1)) == person(1)
        assert [admin.public_key for admin in state.admins] == [key(0)]


def test_a_group_key_is_replaced_on_suspicion() -> None:
    at = group_of(3, admins=2)

    succession = replace_key(at, new_key(), NETWORK)

    assert succession.first.members == succession.last.members == at.state.members


@pytest.mark.parametrize("change", [remove_admin, demote])
def test_a_group_is_never_without_admins(change: Callable[..., Any]) -> None:
    with pytest.raises(LastAdmin) as refused:
        change(group_of(3), key(0), new_key(), NETWORK)
    assert refused.value.hint


@pytest.mark.parametrize("change", [remove_admin, demote])
def test_a_plain_member_needs_no_new_key(change: Callable[..., Any]) -> None:
    with pytest.raises(GroupChangeRefused) as refused:
        change(group_of(3, admins=2), key(2), new_key(), NETWORK)
    assert refused.value.hint


def test_both_secrets_of_a_succession_are_fresh() -> None:
    at, secret = group_of(2), fresh()
    used = at.state.epoch_secret
    group_key = key_of("group", 1).public_key

    for new in (
        NewKey(group_key, secret, secret),
        NewKey(group_key, secret, used),
        NewKey(group_key, used, secret),
    ):
        with pytest.raises(UsageError):
            replace_key(at, new, NETWORK)
    with pytest.raises(InvalidKey):
        replace_key(at, NewKey(OFF_CURVE, fresh(), fresh()), NETWORK)


# Any series of changes

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("add", "grant", "remove", "rotate", "promote", "kem", "depose", "demote", "move")),
        st.integers(0, 5),
    ),
    max_size=12,
)


TRIES: dict[str, Callable[[Recorded, int], GroupState | Succession]] = {
    "add": lambda at, number: add(at, person(number), fresh(), NETWORK),
    "grant": lambda at, number: add(at, person(number), fresh(), NETWORK, history=()),
    "remove": lambda at, number: remove(at, key(number), fresh(), NETWORK),
    "rotate": lambda at, _: rotate(at, fresh(), NETWORK),
    "promote": lambda at, number: promote(at, key(number), fresh(), NETWORK),
    "kem": lambda at, number: change_kem(at, key(number), fresh_kem(), fresh(), NETWORK),
    "depose": lambda at, number: remove_admin(at, key(number), new_key(), NETWORK),
    "demote": lambda at, number: demote(at, key(number), new_key(), NETWORK),
    "move": lambda at, _: replace_key(at, new_key(), NETWORK),
}


def fresh_kem() -> PublicKey:
    return key_of("another kem", int.from_bytes(fresh()[:4])).public_key


def is_allowed(name: str, number: int, members: set[int], admins: set[int]) -> bool:
    """The plain model."""
    match name:
        case "add" | "grant":
            return number not in members
        case "remove" | "promote":
            return number in members - admins
        case "kem":
            return number in members
        case "depose" | "demote":
            return number in admins and len(admins) > 1
        case _:
            return True


@settings(max_examples=60)
@given(STEPS)
def test_any_series_of_changes_keeps_a_group_that_can_be(steps: list[tuple[str, int]]) -> None:
    at = group_of(2)
    members, admins = {0, 1}, {0}
    for name, number in steps:
        if not is_allowed(name, number, members, admins):
            with pytest.raises(GroupChangeRefused):
                TRIES[name](at, number)
            continue
        outcome = TRIES[name](at, number)
        following = outcome.last if isinstance(outcome, Succession) else outcome
        check_follows(at, recorded(following), NETWORK)
        at = recorded(outcome.first if isinstance(outcome, Succession) else outcome)
        members = members | {number} if name in ("add", "grant") else members
        members = members - {number} if name in ("remove", "depose") else members
        admins = admins | {number} if name == "promote" else admins
        admins = admins - {number} if name in ("depose", "demote") else admins

        assert is_well_formed(at.state)
        assert members_of(at.state) == {key(n) for n in members}
        assert {admin.public_key for admin in at.state.admins} == {key(n) for n in admins}


# KEM keys renewed


@given(renewed=st.sets(st.integers(0, 4)), has_history=st.booleans())
def test_renewing_takes_the_newer_kem_keys_and_leaves_the_rest_in_a_new_epoch(
    renewed: set[int], *, has_history: bool
) -> None:
    at = group_of(5, admins=2, has_history=has_history)
    kems = {key(number): key_of("newer kem", number).public_key for number in renewed}

    state = renew(at, kems | {STRANGER: key_of("kem", 0).public_key}, fresh(), NETWORK)

    assert is_well_formed(state)
    check_follows(at, recorded(state), NETWORK)
    before = at.state.members
    assert [(m.public_key, m.role) for m in state.members] == [(m.public_key, m.role) for m in before]
    assert [m.kem for m in state.members] == [kems.get(m.public_key, m.kem) for m in before]


def test_a_renewal_takes_no_key_that_is_none_and_no_secret_twice() -> None:
    at = group_of(2)

    with pytest.raises(InvalidKey):
        renew(at, {key(1): OFF_CURVE}, fresh(), NETWORK)
    with pytest.raises(UsageError):
        renew(at, {key(1): key(1)}, fresh(), NETWORK)
    with pytest.raises(UsageError):
        renew(at, {}, at.state.epoch_secret, NETWORK)


def test_admins_share_a_kem_key_that_follows_from_the_group_s() -> None:
    given = load("project-v1.json")["group_states"]

    key = group_kem(PrivateKey.from_scalar(bytes.fromhex(given["group_scalar"])))

    assert key.public_key.hex() == given["kem"]
    assert key.public_key != group_kem(GROUP).public_key

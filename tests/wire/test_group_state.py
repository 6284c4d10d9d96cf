from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from tests.wire.states import group_states, largest_state
from yzdht.errors import UsageError, WireError
from yzdht.ids import EpochCommit, EpochSecret, NameSecret, PublicKey, RecordHash, RecordRoot
from yzdht.limits import (
    GROUP_MEMBERS_MAX,
    GROUP_PAST_MAX,
    GROUP_STATE_BYTES_MAX,
    HEADER_BYTES_MAX,
    RECORD_BYTES_MAX,
    STANZAS_MAX,
)
from yzdht.wire.group_state import (
    EPOCH_MAX,
    NO_STATE,
    SECONDS_MAX,
    GroupState,
    Member,
    PastEpoch,
    RecentEpoch,
    Role,
    decode_group_state,
    encode_group_state,
)
from yzdht.wire.record import (
    BOX_HEADER_BYTES,
    FIXED_BYTES,
    GCM_TAG_BYTES,
    LENGTH_BYTES,
    STANZA_BODY_BYTES,
    STANZA_HPKE,
    padded_length,
)


KEYS = [PublicKey(b"\x02" + bytes((number,)) * 32) for number in range(8)]
HASHES = [RecordHash(bytes((16 + number,)) * 32) for number in range(8)]
ROOT = RecordRoot(b"r" * 32)
FIRST = GroupState(
    epoch=1,
    prev_hash=NO_STATE,
    epoch_commit=EpochCommit(b"c" * 32),
    epoch_secret=EpochSecret(b"e" * 32),
    name_secret=NameSecret(b"n" * 32),
    has_history=False,
    members=(Member(KEYS[0], KEYS[7], Role.ADMIN), Member(KEYS[1], KEYS[6])),
)
PAST = tuple(PastEpoch(number, HASHES[number], ROOT) for number in (4, 3, 1))
SECRET = EpochSecret(b"s" * 32)
RECENT = (RecentEpoch(SECRET, 1_700_000_000), RecentEpoch(EpochSecret(b"t" * 32), 0))
FIFTH = replace(FIRST, epoch=5, prev_hash=HASHES[4], has_history=True, past=PAST, recent=RECENT)


def fields(state: GroupState) -> list[Any]:
    """The array, to be changed and packed again."""
    decoded: list[Any] = msgspec.msgpack.decode(encode_group_state(state))
    return decoded


def with_field(state: GroupState, place: int, value: object) -> bytes:
    changed = fields(state)
    changed[place] = value
    return msgspec.msgpack.encode(changed)


# Round trips


@given(group_states())
def test_a_state_comes_back_as_it_was(state: GroupState) -> None:
    assert decode_group_state(encode_group_state(state)) == state


@given(group_states())
def test_the_array_is_that_of_the_protocol_page(state: GroupState) -> None:
    epoch, prev, commit, secret, names, history, members, past, recent, next_key = fields(state)

    assert (epoch, prev, commit) == (state.epoch, state.prev_hash, state.epoch_commit)
    assert (secret, names, history) == (state.epoch_secret, state.name_secret, int(state.has_history))
    assert not isinstance(history, bool)
    assert members == [[m.public_key, m.kem, int(m.role)] for m in state.members]
    assert past == [[row.epoch, row.state_hash, row.record_root] for row in state.past]
    assert recent == [[row.secret, row.created] for row in state.recent]
    assert next_key == state.next_key


@settings(max_examples=30)
@given(group_states(), st.data())
def test_a_state_cut_short_or_with_a_tail_is_refused(state: GroupState, data: st.DataObject) -> None:
    raw = encode_group_state(state)
    cut = data.draw(st.integers(0, len(raw) - 1))

    for broken in (raw[:cut], raw + raw[cut:], raw + b"\0", raw + b"\xc0"):
        with pytest.raises(WireError):
            decode_group_state(broken)


@settings(max_examples=100)
@given(group_states(), st.data())
def test_a_flipped_bit_gives_another_state_or_none(state: GroupState, data: st.DataObject) -> None:
    raw = bytearray(encode_group_state(state))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8

    try:
        other = decode_group_state(bytes(raw))
    except WireError:
        return
    assert other != state
    assert encode_group_state(other) == bytes(raw)


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_only_wire_errors(data: bytes) -> None:
    try:
        state = decode_group_state(data)
    except WireError:
        return
    assert encode_group_state(state) == data


# What is refused


@pytest.mark.parametrize("state", [FIRST, FIFTH])
def test_fields_are_neither_missing_nor_more(state: GroupState) -> None:
    for count in range(10):
        with pytest.raises(WireError):
            decode_group_state(msgspec.msgpack.encode(fields(state)[:count]))
    extras: list[object] = [None, 0, b"", []]
    for extra in extras:
        with pytest.raises(WireError):
            decode_group_state(msgspec.msgpack.encode([*fields(state), extra]))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 0),
        (0, -1),
        (0, EPOCH_MAX + 1),
        (0, True),
        (0, 5.0),
        (0, None),
        (0, "5"),
        (1, HASHES[4][:31]),
        (1, HASHES[4] + b"\0"),
        (1, "h" * 32),
        (1, None),
        (1, NO_STATE),
        (2, b"c" * 31),
        (3, b""),
        (4, b"n" * 33),
        (5, 2),
        (5, -1),
        (5, True),
        (5, None),
        (6, []),
        (6, None),
        (6, [[KEYS[0], KEYS[7]]]),
        (6, [[KEYS[0], KEYS[7], 1, 0]]),
        (6, [[KEYS[0], KEYS[7], 2]]),
        (6, [[KEYS[0], KEYS[7], True]]),
        (6, [[KEYS[0], KEYS[7], 0]]),
        (6, [[KEYS[0][:32], KEYS[7], 1]]),
        (6, [[KEYS[0], KEYS[7] + b"\0", 1]]),
        (6, [[b"\x04" + KEYS[0][1:], KEYS[7], 1]]),
        (6, [[KEYS[0], b"\0" * 33, 1]]),
        (6, [[KEYS[1], KEYS[7], 1], [KEYS[0], KEYS[7], 1]]),
        (6, [[KEYS[0], KEYS[7], 1], [KEYS[0], KEYS[6], 0]]),
        (7, None),
        (7, []),
        (7, [[4, HASHES[4]]]),
        (7, [[4, HASHES[4], ROOT, 0]]),
        (7, [[4, HASHES[4], ROOT[:31]]]),
        (7, [[4, HASHES[4] + b"\0", ROOT]]),
        (7, [[4, HASHES[3], ROOT]]),
        (7, [[3, HASHES[4], ROOT]]),
        (7, [[5, HASHES[4], ROOT], [4, HASHES[4], ROOT]]),
        (7, [[4, HASHES[4], ROOT], [4, HASHES[4], ROOT]]),
        (7, [[4, HASHES[4], ROOT], [1, HASHES[1], ROOT], [3, HASHES[3], ROOT]]),
        (7, [[4, HASHES[4], ROOT], [0, HASHES[1], ROOT]]),
        (8, None),
        (8, [[SECRET, 1]] * 4),
        (8, [[SECRET[:31], 1]]),
        (8, [["s" * 32, 1]]),
        (8, [[SECRET]]),
        (8, [[SECRET, 1, 0]]),
        (8, [[SECRET, -1]]),
        (8, [[SECRET, 2**32]]),
        (8, [[SECRET, True]]),
        (8, [[SECRET, 1.0]]),
        (9, b""),
        (9, KEYS[0][:32]),
        (9, b"\x05" + KEYS[0][1:]),
        (9, False),
        (9, {}),
    ],
)
def test_a_field_that_is_not_as_it_has_to_be_is_refused(place: int, value: object) -> None:
    with pytest.raises(WireError):
        decode_group_state(with_field(FIFTH, place, value))


def test_a_past_without_history_is_for_members_who_were_away() -> None:
    state = decode_group_state(with_field(FIFTH, 5, 0))

    assert (state.has_history, state.past) == (False, FIFTH.past)


def test_messages_are_opened_of_no_more_epochs_than_the_past_has() -> None:
    for count in range(len(PAST) + 1):
        state = replace(FIFTH, recent=(RecentEpoch(SECRET, SECONDS_MAX),) * count)
        assert decode_group_state(encode_group_state(state)) == state
    for recent in (
        (RecentEpoch(SECRET, 1),) * (len(PAST) + 1),
        (RecentEpoch(EpochSecret(SECRET[:31]), 1),),
        (RecentEpoch(SECRET, SECONDS_MAX + 1),),
        (RecentEpoch(SECRET, -1),),
    ):
        with pytest.raises(UsageError):
            encode_group_state(replace(FIFTH, recent=recent))


def test_the_first_state_and_no_other_has_none_before_it() -> None:
    for state in (replace(FIRST, prev_hash=HASHES[0]), replace(FIFTH, prev_hash=NO_STATE)):
        with pytest.raises(UsageError):
            encode_group_state(state)
    with pytest.raises(WireError):
        decode_group_state(with_field(FIRST, 1, HASHES[0]))


def test_every_bound_is_a_bound() -> None:
    largest = largest_state()
    more = Member(PublicKey(b"\x03" * 33), PublicKey(b"\x03" * 33))
    older = PastEpoch(1, HASHES[0], ROOT)

    for state in (
        replace(largest, members=(*largest.members, more)),
        replace(largest, past=(*largest.past, older)),
        replace(largest, recent=(*largest.recent, RECENT[0])),
    ):
        with pytest.raises(UsageError):
            encode_group_state(state)
    members = [[m.public_key, m.kem, int(m.role)] for m in (*FIRST.members, more)]
    many = [[PublicKey(b"\x02" + number.to_bytes(32)), KEYS[7], 1] for number in range(256)]
    assert len(decode_group_state(with_field(FIRST, 6, members)).members) == 3
    with pytest.raises(WireError):
        decode_group_state(with_field(FIRST, 6, many))
    rows = [[number, HASHES[4], ROOT] for number in range(99, 99 - 65, -1)]
    changed = fields(FIFTH)
    changed[0], changed[7] = 100, rows
    with pytest.raises(WireError):
        decode_group_state(msgspec.msgpack.encode(changed))
    changed[7] = rows[:64]
    assert len(decode_group_state(msgspec.msgpack.encode(changed)).past) == 64


def test_only_the_shortest_form_is_taken() -> None:
    raw = encode_group_state(FIRST)
    assert raw[:2] == b"\x9a\x01"

    longer = {
        "epoch as u8": raw.replace(b"\x9a\x01", b"\x9a\xcc\x01", 1),
        "epoch as int8": raw.replace(b"\x9a\x01", b"\x9a\xd0\x01", 1),
        "array 16": raw.replace(b"\x9a", b"\xdc\x00\x0a", 1),
        "hash as bin 16": raw.replace(b"\xc4\x20", b"\xc5\x00\x20", 1),
        "hash as text": raw.replace(b"\xc4\x20" + bytes(32), b"\xd9\x20" + bytes(32), 1),
    }
    for what, data in longer.items():
        assert data != raw, what
        with pytest.raises(WireError):
            decode_group_state(data)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(WireError):
        decode_group_state(b"\x91" * 20_000)


# Members


def test_members_are_found_by_key_and_admins_by_role() -> None:
    assert FIRST.member(KEYS[1]) == FIRST.members[1]
    assert FIRST.member(KEYS[2]) is None
    assert FIRST.admins == (FIRST.members[0],)


# Sizes


def test_the_largest_state_is_as_long_as_the_limit_says() -> None:
    raw = encode_group_state(largest_state())

    assert len(raw) == GROUP_STATE_BYTES_MAX == 178 + 3 + 255 * 72 + 3 + 64 * 74 + 3 + 64 * 40
    assert decode_group_state(raw) == largest_state()
    with pytest.raises(WireError):
        decode_group_state(raw + b"\0")


def test_the_largest_state_fits_a_record_with_a_stanza_for_each_member() -> None:
    """Members and past need not be weighed against each other: all at their bounds leave 9,108 bytes."""
    assert GROUP_MEMBERS_MAX == STANZAS_MAX
    header = 1 + GROUP_MEMBERS_MAX * (3 + STANZA_BODY_BYTES[STANZA_HPKE]) + BOX_HEADER_BYTES
    around = FIXED_BYTES + 2 + header + GCM_TAG_BYTES + 64

    assert header == 1 + 255 * 116 + 56 <= HEADER_BYTES_MAX
    assert around + padded_length(GROUP_STATE_BYTES_MAX + LENGTH_BYTES) == 56_428 <= RECORD_BYTES_MAX
    room = RECORD_BYTES_MAX - around
    most = max(size for size in range(room + 1) if padded_length(size) <= room) - LENGTH_BYTES
    rows_max = (most - (GROUP_STATE_BYTES_MAX - GROUP_PAST_MAX * 114)) // 114
    assert (most, rows_max) == (34_812, 142)

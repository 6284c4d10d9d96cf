from __future__ import annotations

from dataclasses import replace
from os import urandom

import pytest
from hypothesis import given, settings, strategies as st

from tests.crypto.company import GROUP_ID, fresh, group_of, key_of, new_key, person, recorded
from tests.vectors.golden import CREATED, EXPIRES, KEY_A, NETWORK, PROTOCOL, SELF_KEY_A, record
from yzdht.crypto.group_records import (
    Keyring,
    KnownEpoch,
    record_key,
    record_kid,
    seal_group_immutable,
    seal_group_record,
)
from yzdht.crypto.groups import Recorded, add, group_id_of, past_row, replace_key, rotate
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record, tombstone
from yzdht.crypto.signing import KeySigner, RecordChecks, target_of
from yzdht.errors import (
    CryptoError,
    DecryptionFailed,
    ExitCode,
    GroupForked,
    GroupStateRefused,
    NotAReader,
    NotFound,
    UnknownEpoch,
    UsageError,
    ValueTooLarge,
    WireError,
)
from yzdht.ids import GroupId, RecordHash, RecordRoot, Tag
from yzdht.limits import GROUP_EPOCHS_KEPT_MAX, GROUP_PAST_MAX, VALUE_BYTES_MAX
from yzdht.wire.record import Record, decode_record
from yzdht.wire.slot import Kind


AUTHOR = Author(KeySigner(KEY_A, deterministic=True), SELF_KEY_A, NETWORK)
DRAFT = RecordDraft(Kind.MULTI, CREATED, EXPIRES, 1, Tag(b"t" * 32))
GOLDEN = PROTOCOL["records"]["group"]
VALUE = bytes.fromhex(PROTOCOL["records"]["plaintext"])


def epoch(number: int, group_id: GroupId = GROUP_ID, *, branch: int = 0) -> KnownEpoch:
    secret = bytes((branch,)) + number.to_bytes(31)
    return KnownEpoch(group_id, number, RecordHash(secret), RecordRoot(secret))


def golden_epoch() -> KnownEpoch:
    group_id = GroupId(bytes.fromhex(GOLDEN["group_id16"]))
    root = RecordRoot(bytes.fromhex(GOLDEN["rk"]))
    return KnownEpoch(group_id, GOLDEN["epoch"], RecordHash(bytes(32)), root)


def sealed(known: KnownEpoch, value: bytes = b"value") -> Record:
    return decode_record(seal_group_record(DRAFT, value, known, AUTHOR, urandom(24)))


def of_state(at: Recorded, group_id: GroupId = GROUP_ID) -> KnownEpoch:
    row = past_row(at)
    return KnownEpoch(group_id, row.epoch, row.state_hash, row.record_root)


# Sealing and opening


def test_the_golden_record_reproduces_and_opens() -> None:
    known, tag = golden_epoch(), Tag(bytes.fromhex(PROTOCOL["names"]["tag_group"]))
    salt = bytes.fromhex(GOLDEN["salt24"])

    raw = seal_group_record(replace(DRAFT, tag=tag, seq=GOLDEN["seq"]), VALUE, known, AUTHOR, salt)

    assert record_key(known).hex() == GOLDEN["K"]
    assert record_kid(known.record_root, salt).hex() == GOLDEN["kid8"]
    assert raw == record("group")
    assert Keyring([known]).open(decode_record(raw)) == VALUE


@given(st.binary(max_size=1_000), st.integers(1, 2**32 - 1))
def test_what_is_sealed_for_a_group_opens(value: bytes, number: int) -> None:
    known = epoch(number)
    signed = sealed(known, value)
    immutable = decode_record(seal_group_immutable(value, known, urandom(24)))

    RecordChecks(NETWORK).verify(signed.raw, target_of(signed, NETWORK))
    keyring = Keyring([known, epoch(number, GroupId(b"g" * 16), branch=1)])
    assert keyring.open(signed) == keyring.open(immutable) == value
    assert keyring.find(signed) == known


def test_a_group_record_costs_231_bytes_and_takes_the_largest_value() -> None:
    assert len(sealed(epoch(1), bytes(252)).raw) - 256 == 231
    assert Keyring([epoch(1)]).open(sealed(epoch(1), bytes(VALUE_BYTES_MAX))) == bytes(VALUE_BYTES_MAX)
    with pytest.raises(ValueTooLarge):
        sealed(epoch(1), bytes(VALUE_BYTES_MAX + 1))


@pytest.mark.parametrize("kind", [Kind.MUTABLE, Kind.IDENTITY, Kind.IMMUTABLE])
def test_a_group_reads_entries_of_a_multi_slot(kind: Kind) -> None:
    with pytest.raises(UsageError):
        seal_group_record(replace(DRAFT, kind=kind), b"", epoch(1), AUTHOR, bytes(24))


def test_a_tombstone_is_not_sealed_and_reads_as_not_found() -> None:
    with pytest.raises(UsageError):
        seal_group_record(replace(DRAFT, is_tombstone=True), b"", epoch(1), AUTHOR, bytes(24))
    with pytest.raises(NotFound):
        Keyring([epoch(1)]).open(decode_record(tombstone(DRAFT, AUTHOR)))


def test_other_records_are_no_groups() -> None:
    plain = decode_record(seal_record(DRAFT, b"value", Public(), AUTHOR, b""))
    for parsed in (plain, decode_record(record("self")), decode_record(record("recipients"))):
        with pytest.raises(WireError):
            Keyring([epoch(1)]).open(parsed)


def test_an_epoch_that_is_not_known_has_an_error_of_its_own() -> None:
    for keyring, newest in ((Keyring(), 0), (Keyring([epoch(1), epoch(2)]), 2)):
        with pytest.raises(UnknownEpoch) as unknown:
            keyring.open(sealed(epoch(3)))
        assert unknown.value.newest == newest
        assert isinstance(unknown.value, NotAReader)
        assert unknown.value.exit_code is ExitCode.NOT_A_READER
        assert unknown.value.hint


def test_the_key_binds_group_and_epoch_and_not_only_their_root() -> None:
    known, parsed = epoch(3), sealed(epoch(3))
    for other in (replace(known, epoch=4), replace(known, group_id=GroupId(b"g" * 16))):
        with pytest.raises(DecryptionFailed):
            Keyring([other]).open(parsed)


def test_a_flipped_bit_opens_nothing() -> None:
    parsed, keyring = sealed(epoch(1)), Keyring([epoch(1)])
    for bit in range(0, (len(parsed.raw) - 64) * 8, 3):
        flipped = bytearray(parsed.raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((WireError, CryptoError)):
            keyring.open(decode_record(bytes(flipped)))


# The keyring


def test_a_keyring_learns_a_state_and_what_it_hands_over() -> None:
    at = group_of(2, has_history=True)
    first = at
    for _ in range(3):
        at = recorded(rotate(at, fresh(), NETWORK))
    keyring = Keyring()

    keyring.learn(GROUP_ID, at)
    keyring.learn(GROUP_ID, at)

    assert [known.epoch for known in keyring.epochs] == [1, 2, 3, 4]
    assert keyring.newest == of_state(at)
    assert keyring.open(sealed(of_state(first))) == b"value"
    assert Keyring(keyring.epochs).epochs == keyring.epochs


def test_a_joiner_opens_what_comes_and_the_past_only_if_it_is_granted() -> None:
    at = group_of(2)
    admins = Keyring()
    admins.learn(GROUP_ID, at)
    before = of_state(at)
    at = recorded(rotate(at, fresh(), NETWORK))
    admins.learn(GROUP_ID, at)
    past = admins.past(GROUP_ID, at.state.epoch)
    without = recorded(add(at, person(5), fresh(), NETWORK))
    granted = recorded(add(at, person(5), fresh(), NETWORK, history=past))

    joiner, reader = Keyring(), Keyring()
    joiner.learn(GROUP_ID, without)
    reader.learn(GROUP_ID, granted)

    assert joiner.open(sealed(of_state(without))) == b"value"
    for earlier in (before, of_state(at)):
        assert reader.open(sealed(earlier)) == b"value"
        with pytest.raises(UnknownEpoch):
            joiner.open(sealed(earlier))


def test_a_removed_member_opens_nothing_that_is_written_after() -> None:
    at = group_of(3)
    removed = Keyring()
    removed.learn(GROUP_ID, at)

    with pytest.raises(UnknownEpoch):
        removed.open(sealed(of_state(recorded(rotate(at, fresh(), NETWORK)))))


def test_the_past_to_hand_over_is_the_newest_64_of_one_group_key() -> None:
    other = GroupId(b"g" * 16)
    keyring = Keyring([epoch(number) for number in range(1, 100)] + [epoch(7, other)])

    rows = keyring.past(GROUP_ID, 90)

    assert [row.epoch for row in rows] == list(range(89, 89 - GROUP_PAST_MAX, -1))
    assert rows[0].record_root == epoch(89).record_root
    assert [row.epoch for row in keyring.past(other, 90)] == [7]
    assert keyring.past(GroupId(b"x" * 16), 90) == ()


def test_the_epochs_of_a_new_group_key_are_newer() -> None:
    at, new = group_of(2), new_key()
    for _ in range(4):
        at = recorded(rotate(at, fresh(), NETWORK))
    succession = replace_key(at, new, NETWORK)
    last, first = recorded(succession.last), recorded(succession.first)
    successor_id = group_id_of(key_of("group", 1).public_key, NETWORK)
    keyring = Keyring()
    for group_id, state in ((GROUP_ID, at), (GROUP_ID, last), (successor_id, first), (GROUP_ID, last)):
        keyring.learn(group_id, state)

    assert keyring.newest == of_state(first, successor_id)
    assert [(known.group_id, known.epoch) for known in keyring.epochs] == [
        *((GROUP_ID, number) for number in range(1, 7)),
        (successor_id, 1),
    ]
    assert keyring.open(sealed(of_state(at))) == b"value"


def test_the_oldest_epochs_are_forgotten_at_the_bound() -> None:
    keyring = Keyring(epoch(number) for number in range(GROUP_EPOCHS_KEPT_MAX + 5, 0, -1))

    assert [known.epoch for known in keyring.epochs] == list(range(6, GROUP_EPOCHS_KEPT_MAX + 6))
    with pytest.raises(UnknownEpoch):
        keyring.open(sealed(epoch(5)))
    assert keyring.open(sealed(epoch(6))) == b"value"


def test_a_fork_is_noticed_and_both_states_of_it_open_records() -> None:
    at = group_of(2, has_history=True)
    mine, theirs = (recorded(rotate(at, fresh(), NETWORK)) for _ in range(2))
    keyring = Keyring()
    keyring.learn(GROUP_ID, mine)
    keyring.check(GROUP_ID, mine)

    for shown in (theirs, recorded(rotate(theirs, fresh(), NETWORK))):
        with pytest.raises(GroupForked) as forked:
            keyring.check(GROUP_ID, shown)
        assert (forked.value.known, forked.value.other) == (mine.hash, theirs.hash)
    keyring.learn(GROUP_ID, theirs)
    keyring.check(GROUP_ID, theirs)
    assert keyring.newest == of_state(theirs)
    for state in (mine, theirs):
        assert keyring.open(sealed(of_state(state))) == b"value"
    assert keyring.past(GROUP_ID, 3)[0] == past_row(theirs)


def test_a_past_with_another_key_for_a_known_state_is_noticed() -> None:
    at = group_of(2, has_history=True)
    keyring = Keyring()
    keyring.learn(GROUP_ID, at)
    later = rotate(at, fresh(), NETWORK)
    lie = replace(later, past=(replace(later.past[0], record_root=RecordRoot(b"l" * 32)),))

    with pytest.raises(GroupStateRefused):
        keyring.check(GROUP_ID, recorded(lie))
    keyring.check(GroupId(b"g" * 16), recorded(lie))


@settings(max_examples=30)
@given(st.permutations(range(1, 9)))
def test_the_order_of_learning_does_not_matter(numbers: list[int]) -> None:
    assert Keyring(epoch(number) for number in numbers).epochs == tuple(map(epoch, range(1, 9)))

from __future__ import annotations

from dataclasses import replace
from os import urandom
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from tests.vectors.golden import CREATED, EXPIRES, KEY_A, KEY_B, NETWORK, SELF_KEY_A, load, record
from yzdht.crypto import signing
from yzdht.crypto.naming import move_tag, network_id
from yzdht.crypto.primitives import P256_ORDER
from yzdht.crypto.sealing import Author, Public, RecordDraft, Self, seal_immutable, seal_record, tombstone
from yzdht.crypto.signing import (
    REVOKED_PAYLOAD,
    KeySigner,
    RecordChecks,
    check_times,
    is_move_record,
    sign_message,
    target_of,
    verify_message,
)
from yzdht.errors import CryptoError, InvalidKey, InvalidSignature, LifetimeRefused, WireError, WrongTarget
from yzdht.ids import Tag, Target
from yzdht.limits import DAY_S, SEQ_MAX
from yzdht.wire.record import EXPIRES_NEVER, IDENTITY_TAG, Record, decode_record
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import RecordVerifier, Signer

OTHER = network_id("other")
SIGNER: Signer = KeySigner(KEY_A, deterministic=True)
AUTHOR = Author(SIGNER, SELF_KEY_A, NETWORK)
DRAFT = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES, 1, Tag(b"t" * 32))
TOMBSTONE = bytes.fromhex(load("project-v1.json")["tombstone"]["record"])
NOW = CREATED + 3_600.0


def target(raw: bytes) -> Target:
    return target_of(decode_record(raw), NETWORK)


def public_record(draft: RecordDraft) -> Record:
    return decode_record(seal_record(draft, b"value", Public(), AUTHOR, b""))


def flips(raw: bytes) -> list[bytes]:
    number, size = int.from_bytes(raw), len(raw)
    return [(number ^ (1 << bit)).to_bytes(size) for bit in range(size * 8)]


# sig and ver


def test_a_signature_verifies_and_is_low_s() -> None:
    signature = sign_message(KEY_A, "yz1 rec", NETWORK, b"message")

    verify_message(KEY_A.public_key, "yz1 rec", NETWORK, b"message", signature)
    assert int.from_bytes(signature[32:]) <= P256_ORDER // 2


def test_signers_hedge_unless_told_otherwise() -> None:
    assert SIGNER.public_key == KEY_A.public_key
    assert SIGNER.sign("yz1 rec", NETWORK, b"m") == sign_message(
        KEY_A, "yz1 rec", NETWORK, b"m", deterministic=True
    )
    hedged = KeySigner(KEY_A)
    verify_message(KEY_A.public_key, "yz1 rec", NETWORK, b"m", hedged.sign("yz1 rec", NETWORK, b"m"))


def test_a_signature_counts_for_one_key_label_network_and_message() -> None:
    signature = sign_message(KEY_A, "yz1 rec", NETWORK, b"message")
    for key, label, network, message in (
        (KEY_B, "yz1 rec", NETWORK, b"message"),
        (KEY_A, "yz1 pub", NETWORK, b"message"),
        (KEY_A, "yz1 rec", OTHER, b"message"),
        (KEY_A, "yz1 rec", NETWORK, b"messagE"),
    ):
        with pytest.raises(InvalidSignature):
            verify_message(key.public_key, label, network, message, signature)


def test_the_high_s_twin_of_a_signature_is_refused() -> None:
    good = sign_message(KEY_A, "yz1 rec", NETWORK, b"message")
    twin = good[:32] + (P256_ORDER - int.from_bytes(good[32:])).to_bytes(32)

    with pytest.raises(InvalidSignature):
        verify_message(KEY_A.public_key, "yz1 rec", NETWORK, b"message", twin)


@pytest.mark.parametrize(
    "signature",
    [b"", bytes(64), bytes(63), bytes(31) + b"\1" + bytes(32), bytes(63) + b"\1", b"\xff" * 64, bytes(65)],
)
def test_signatures_out_of_range_are_refused(signature: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify_message(KEY_A.public_key, "yz1 rec", NETWORK, b"message", signature)


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_hostile_keys_and_signatures_raise_only_crypto_errors(key: bytes, signature: bytes) -> None:
    with pytest.raises(CryptoError):
        verify_message(key, "yz1 rec", NETWORK, b"message", signature)


# Records under their targets


@pytest.mark.parametrize("raw", [record("public"), record("self"), TOMBSTONE, record("identity_kind")])
def test_every_flipped_bit_of_a_record_is_refused(raw: bytes) -> None:
    checks, right = RecordChecks(NETWORK), target(raw)
    checks.verify(raw, right)

    for flipped in flips(raw):
        with pytest.raises((WireError, CryptoError)):
            checks.verify(flipped, right)
        with pytest.raises((WireError, CryptoError)):
            checks.verify(flipped, target(flipped))


@pytest.mark.parametrize("raw", [record("immutable_self"), record("chunk")])
def test_every_flipped_bit_of_an_immutable_moves_it(raw: bytes) -> None:
    checks, right = RecordChecks(NETWORK), target(raw)
    checks.verify(raw, right)

    for flipped in flips(raw):
        with pytest.raises((WireError, WrongTarget)):
            checks.verify(flipped, right)


def test_a_record_of_another_network_is_refused() -> None:
    raw = record("public")
    checks = RecordChecks(OTHER)

    with pytest.raises(WrongTarget):
        checks.verify(raw, target(raw))
    with pytest.raises(InvalidSignature):
        checks.verify(raw, target_of(decode_record(raw), OTHER))


def test_a_publisher_off_the_curve_is_refused() -> None:
    raw = record("identity_kind")
    off = raw[:21] + b"\xff" * 32 + raw[53:]

    with pytest.raises(InvalidKey):
        RecordChecks(NETWORK).verify(off, Target(bytes(32)))


def test_a_signature_is_checked_once() -> None:
    checks = RecordChecks(NETWORK)
    verifier: RecordVerifier = checks
    raw = record("self")
    for _ in range(3):
        checks.verify(raw, target(raw))
    verifier.verify_record(decode_record(raw), target(raw))

    assert (checks.verified, checks.cache_hits) == (1, 3)


def test_an_immutable_needs_no_signature() -> None:
    checks = RecordChecks(NETWORK)
    raw = seal_immutable(b"value", Public(), AUTHOR, b"")
    checks.verify(raw, target(raw))

    assert (checks.verified, checks.cache_hits) == (0, 0)


def test_a_known_record_is_still_refused_under_another_target() -> None:
    checks = RecordChecks(NETWORK)
    checks.verify(record("self"), target(record("self")))

    with pytest.raises(WrongTarget):
        checks.verify(record("self"), target(record("public")))


def test_the_target_alone_can_be_checked_before_the_signature() -> None:
    checks = RecordChecks(NETWORK)
    forged = decode_record(record("self")[:-64] + bytes(64))
    checks.check_target(forged, target(forged.raw))

    with pytest.raises(WrongTarget):
        checks.check_target(forged, target(record("public")))
    assert checks.verified == 0


def test_a_known_body_does_not_excuse_another_signature() -> None:
    checks = RecordChecks(NETWORK)
    raw = record("self")
    checks.verify(raw, target(raw))

    for _ in range(2):
        with pytest.raises(InvalidSignature):
            checks.verify(raw[:-64] + record("public")[-64:], target(raw))
    assert (checks.verified, checks.cache_hits) == (1, 0)


def test_the_record_seen_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "VERIFIED_CACHE_ENTRIES", 2)
    checks = RecordChecks(NETWORK)
    first, second, third = record("self"), record("public"), record("group")
    for raw in (first, second, first, third, first, second):
        checks.verify(raw, target(raw))

    assert (checks.verified, checks.cache_hits) == (4, 2)


@settings(max_examples=50)
@given(
    st.binary(max_size=200), st.sampled_from([Public(), Self()]), st.sampled_from([Kind.MUTABLE, Kind.MULTI])
)
def test_what_is_sealed_verifies(value: bytes, readers: Public | Self, kind: Kind) -> None:
    raw = seal_record(replace(DRAFT, kind=kind), value, readers, AUTHOR, urandom(24))

    RecordChecks(NETWORK).verify(raw, target(raw))


# Lifetimes


def times(created: float, expires: float) -> Callable[[], None]:
    draft = replace(DRAFT, created=int(created), expires=int(expires))
    parsed = public_record(draft)
    return lambda: check_times(parsed, NOW, NETWORK)


@pytest.mark.parametrize(
    ("created", "expires"),
    [
        (NOW, NOW + 1),
        (NOW - 30 * DAY_S + 1, NOW + 1),
        (NOW, NOW + 30 * DAY_S),
        (NOW + 600, NOW + 600 + 30 * DAY_S),
        (NOW + 600, NOW + 1),
    ],
)
def test_lifetimes_within_range_are_taken(created: float, expires: float) -> None:
    times(created, expires)()


@pytest.mark.parametrize(
    ("created", "expires"),
    [
        (NOW + 601, NOW + 700),
        (NOW - 10, NOW),
        (NOW - 10, NOW - 1),
        (NOW - 1, NOW + 30 * DAY_S),
        (NOW + 600, NOW + 601 + 30 * DAY_S),
        (NOW, EXPIRES_NEVER),
    ],
)
def test_lifetimes_out_of_range_are_refused(created: float, expires: float) -> None:
    with pytest.raises(LifetimeRefused):
        times(created, expires)()


def test_immutables_have_no_lifetime_to_check() -> None:
    check_times(decode_record(record("chunk")), NOW, NETWORK)


def test_a_move_record_never_expires_and_nothing_else_does_not() -> None:
    never = replace(DRAFT, created=0, expires=EXPIRES_NEVER, tag=move_tag(NETWORK))
    move = public_record(never)
    short = public_record(replace(never, created=CREATED, expires=EXPIRES))
    multi = public_record(replace(never, kind=Kind.MULTI))
    checks = RecordChecks(NETWORK)

    assert is_move_record(move, NETWORK)
    assert not is_move_record(move, OTHER)
    assert not is_move_record(multi, NETWORK)
    assert checks.is_move(move)
    assert not checks.is_move(multi)
    checks.check_times(move, NOW)
    for refused in (short, multi):
        with pytest.raises(LifetimeRefused):
            checks.check_times(refused, NOW)
    with pytest.raises(LifetimeRefused):
        check_times(move, NOW, OTHER)


def test_the_last_seq_of_a_move_slot_is_a_revocations_alone() -> None:
    last = replace(DRAFT, created=0, expires=EXPIRES_NEVER, seq=SEQ_MAX, tag=move_tag(NETWORK))
    checks = RecordChecks(NETWORK)
    revocation = decode_record(seal_record(last, REVOKED_PAYLOAD, Public(), AUTHOR, b""))
    elsewhere = public_record(replace(last, tag=Tag(b"t" * 32), expires=EXPIRES))

    for each in (revocation, elsewhere):
        checks.verify_record(each, target_of(each, NETWORK))
    for refused in (
        public_record(last),
        decode_record(tombstone(last, AUTHOR)),
        decode_record(seal_record(last, b"", Self(), AUTHOR, b"s" * 24)),
    ):
        with pytest.raises(WrongTarget):
            checks.verify_record(refused, target_of(refused, NETWORK))


def test_tombstones_and_identities_live_like_other_records() -> None:
    late = EXPIRES + 1.0
    deleted = decode_record(tombstone(DRAFT, AUTHOR))
    identity = public_record(replace(DRAFT, kind=Kind.IDENTITY, tag=IDENTITY_TAG))
    for parsed in (deleted, identity):
        check_times(parsed, NOW, NETWORK)
        with pytest.raises(LifetimeRefused):
            check_times(parsed, late, NETWORK)

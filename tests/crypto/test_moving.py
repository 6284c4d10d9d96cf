from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import CREATED, EXPIRES, KEM_1, KEY_A, KEY_B, NETWORK, SELF_KEY_A
from yzdht.crypto.moving import (
    REVOCATION_SEQ,
    Moved,
    Revoked,
    consent,
    decode_move,
    encode_move,
    read_move,
    sign_move,
    sign_revocation,
    verify_revocation,
)
from yzdht.crypto.naming import move_tag, network_id
from yzdht.crypto.sealing import Author, Public, RecordDraft, Self, seal_immutable, seal_record, tombstone
from yzdht.crypto.signing import KeySigner, RecordChecks, target_of
from yzdht.errors import (
    CryptoError,
    InvalidKey,
    InvalidSignature,
    UsageError,
    WireError,
    WrongTarget,
    YzError,
)
from yzdht.ids import NetworkId, PublicKey, Signature, Tag
from yzdht.wire.record import EXPIRES_NEVER, Record, decode_record
from yzdht.wire.slot import Kind


OLD, NEW = KeySigner(KEY_A), KeySigner(KEY_B)
NEW_TOO = KeySigner(KEM_1)
AUTHOR = Author(OLD, SELF_KEY_A, NETWORK)
MOVE = consent(NEW, OLD.public_key, NETWORK)
OTHER = network_id("other")
SEQ = CREATED * 1_000
REVOCATION = sign_revocation(AUTHOR)
DRAFT = RecordDraft(Kind.MUTABLE, CREATED, EXPIRES_NEVER, SEQ, move_tag(NETWORK))


def moved(payload: bytes, draft: RecordDraft = DRAFT) -> Record:
    return decode_record(seal_record(draft, payload, Public(), AUTHOR, b""))


@pytest.mark.parametrize(("move", "seq"), [(MOVE, SEQ), (Revoked(), REVOCATION_SEQ)])
def test_what_an_identity_signs_is_read_by_others(move: Moved | Revoked, seq: int) -> None:
    record = decode_record(sign_move(AUTHOR, move, CREATED, seq))

    checks = RecordChecks(NETWORK)
    checks.verify_record(record, target_of(record, NETWORK))
    checks.check_times(record, CREATED + 10**9)
    assert (record.kind, record.expires, record.seq) == (Kind.MUTABLE, EXPIRES_NEVER, seq)
    assert checks.is_move(record)
    assert read_move(record, NETWORK) == move


def test_payloads_have_one_form_each() -> None:
    assert encode_move(Revoked()) == b"\x90"
    raw = encode_move(MOVE)
    assert len(raw) == 102
    assert decode_move(raw) == MOVE


@given(
    st.binary(max_size=110)
    | st.binary(min_size=102, max_size=102).map(lambda tail: b"\x92\xc4\x21\x02" + tail[4:])
)
def test_any_payload_is_refused_or_read_back(payload: bytes) -> None:
    with contextlib.suppress(WireError):
        assert encode_move(decode_move(payload)) == payload


@given(st.integers(0, 102 * 8 - 1))
def test_no_bit_of_a_move_can_be_changed(bit: int) -> None:
    raw = bytearray(encode_move(MOVE))
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises((WireError, InvalidKey, InvalidSignature)):
        read_move(moved(bytes(raw)), NETWORK)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x90\x90",
        b"\xdc\0\0",
        encode_move(MOVE)[:-1],
        encode_move(MOVE) + b"\0",
        b"\x93" + encode_move(MOVE)[1:] + b"\xc0",
        b"\x91" + encode_move(MOVE)[1:36],
    ],
)
def test_other_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode_move(payload)


def test_the_last_word_is_a_revocations() -> None:
    with pytest.raises(UsageError):
        sign_move(AUTHOR, MOVE, CREATED, REVOCATION_SEQ)
    with pytest.raises(UsageError):
        sign_move(AUTHOR, Revoked(), CREATED, SEQ)
    with pytest.raises(WireError):
        read_move(moved(encode_move(MOVE), replace(DRAFT, seq=REVOCATION_SEQ)), NETWORK)


def test_a_revocation_is_heeded_whatever_its_seq() -> None:
    assert read_move(moved(encode_move(Revoked())), NETWORK) == Revoked()


def test_all_revocations_of_an_identity_are_one_record() -> None:
    first, second = (decode_record(sign_revocation(AUTHOR)) for _ in range(2))

    assert (first.hash, first.created) == (second.hash, 0)
    assert verify_revocation(first.raw, NETWORK).publisher == OLD.public_key


@pytest.mark.parametrize(
    ("raw", "network", "error"),
    [
        (b"", NETWORK, WireError),
        (sign_move(AUTHOR, MOVE, CREATED, SEQ), NETWORK, WireError),
        (seal_record(replace(DRAFT, seq=REVOCATION_SEQ, expires=EXPIRES), b"\x90", Public(), AUTHOR, b""), NETWORK, WireError),
        (seal_record(replace(DRAFT, seq=REVOCATION_SEQ), b"lie", Public(), AUTHOR, b""), NETWORK, WrongTarget),
        (REVOCATION[:-1] + bytes((REVOCATION[-1] ^ 1,)), NETWORK, InvalidSignature),
        (sign_revocation(AUTHOR), OTHER, InvalidSignature),
        (seal_immutable(b"", Public(), AUTHOR, b""), NETWORK, WireError),
    ],
    ids=["nothing", "a move", "one that ends", "another payload", "forged", "another network", "immutable"],
)  # fmt: skip
def test_what_is_no_revocation_is_refused(raw: bytes, network: NetworkId, error: type[YzError]) -> None:
    with pytest.raises(error):
        verify_revocation(raw, network)


@given(st.binary(max_size=300))
def test_garbage_is_no_revocation(raw: bytes) -> None:
    with pytest.raises((WireError, CryptoError)):
        verify_revocation(raw, NETWORK)


def test_nobody_is_named_successor_who_did_not_agree() -> None:
    for signature in (MOVE.signature[::-1], OLD.sign("yz1 move", NETWORK, OLD.public_key + NEW.public_key)):
        with pytest.raises(InvalidSignature):
            read_move(moved(encode_move(replace(MOVE, signature=Signature(signature)))), NETWORK)


def test_an_agreement_counts_for_one_key_and_one_network() -> None:
    for other in (consent(NEW, NEW_TOO.public_key, NETWORK), consent(NEW, OLD.public_key, OTHER)):
        with pytest.raises(InvalidSignature):
            read_move(moved(encode_move(other)), NETWORK)


def test_an_identity_does_not_move_to_itself() -> None:
    with pytest.raises(UsageError):
        consent(OLD, OLD.public_key, NETWORK)
    itself = Moved(OLD.public_key, OLD.sign("yz1 move", NETWORK, OLD.public_key * 2))
    with pytest.raises(WireError):
        read_move(moved(encode_move(itself)), NETWORK)


def test_a_successor_is_a_key() -> None:
    with pytest.raises(InvalidKey):
        read_move(moved(encode_move(Moved(PublicKey(b"\x02" + b"\xff" * 32), MOVE.signature))), NETWORK)


@pytest.mark.parametrize(
    "record",
    [
        moved(encode_move(MOVE), replace(DRAFT, tag=Tag(b"t" * 32))),
        moved(encode_move(MOVE), replace(DRAFT, tag=move_tag(OTHER))),
        moved(encode_move(MOVE), replace(DRAFT, kind=Kind.MULTI)),
        moved(encode_move(MOVE), replace(DRAFT, expires=EXPIRES)),
        decode_record(tombstone(DRAFT, AUTHOR)),
        decode_record(seal_record(DRAFT, encode_move(MOVE), Self(), AUTHOR, b"s" * 24)),
    ],
    ids=["another tag", "another network", "another kind", "with an end", "deleted", "sealed"],
)
def test_other_records_say_nothing_of_a_move(record: Record) -> None:
    with pytest.raises(WireError):
        read_move(record, NETWORK)

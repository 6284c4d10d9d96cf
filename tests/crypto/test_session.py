from __future__ import annotations

import copy
import json
from os import urandom
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from yzdht.crypto.naming import kdf
from yzdht.crypto.primitives import Aead
from yzdht.crypto.session import KeyLimits, RecordLayer
from yzdht.errors import DecryptionFailed, FrameTooLarge, UsageError, WireError
from yzdht.limits import (
    KEY_UPDATE_BYTES,
    KEY_UPDATE_RECORDS,
    KEY_UPDATE_S,
    RECORD_DATA_BYTES_MAX,
    RECORD_OVERHEAD_BYTES,
    RELAY_DATA_BYTES_MAX,
)
from yzdht.wire.frame import RecordType


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "protocol-v1.json").read_text())
REQUEST, RESPONSE, KEY_UPDATE = RecordType.REQUEST, RecordType.RESPONSE, RecordType.KEY_UPDATE


def pair(
    limits: KeyLimits | None = None, other_limits: KeyLimits | None = None
) -> tuple[RecordLayer, RecordLayer]:
    """Both ends of a session of its own: no two share a secret, for each counts its nonces from 0."""
    limits = limits or KeyLimits()
    one, other = urandom(32), urandom(32)
    return RecordLayer(one, other, 0.0, limits), RecordLayer(other, one, 0.0, other_limits or limits)


def sealed_by_hand(sender: RecordLayer, count: int, plaintext: bytes) -> bytes:
    """What a sender would seal under its present secret as record number `count`."""
    return sealed_under(sender._secret_out, count, plaintext)


def sealed_under(secret: bytes, count: int, plaintext: bytes) -> bytes:
    raw = kdf(secret, b"", "yz1 key", b"", 44)
    nonce = bytes(x ^ y for x, y in zip(raw[32:], bytes(4) + count.to_bytes(8), strict=True))
    return Aead(raw[:32]).seal(nonce, plaintext)


def refuses(layer: RecordLayer, message: bytes) -> None:
    with pytest.raises((DecryptionFailed, WireError)):
        layer.open(message)


def test_record_layer_vector_reproduces() -> None:
    given_keys = VECTORS["handshake"]
    secrets = [bytes.fromhex(given_keys[name]) for name in ("secret_initiator", "secret_responder")]
    sender = RecordLayer(secrets[0], secrets[1], 0.0, KeyLimits(records=2))
    receiver = RecordLayer(secrets[1], secrets[0], 0.0, KeyLimits(records=2))

    records = [sender.seal(REQUEST, b"ping"), sender.seal(REQUEST, b"pong", pad=11)]
    update = sender.due_key_update(0.0)
    records.append(sender.seal(RESPONSE, b"x" * 100))

    assert [record.hex() for record in records] == VECTORS["record_layer"]["records"]
    assert update is not None
    opened = [receiver.open(record) for record in (*records[:2], update, records[2])]
    assert opened == [
        (REQUEST, b"ping", False),
        (REQUEST, b"pong", False),
        (KEY_UPDATE, b"", False),
        (RESPONSE, b"x" * 100, False),
    ]


def test_nonce_is_the_iv_xor_the_counter() -> None:
    sender, _ = pair()

    assert [sender.seal(REQUEST, b"a") for _ in range(300)] == [
        sealed_by_hand(sender, count, b"a\x10") for count in range(300)
    ]


def test_both_directions_are_independent() -> None:
    one, other = pair()

    assert other.open(one.seal(REQUEST, b"q")) == (REQUEST, b"q", False)
    assert one.open(other.seal(RESPONSE, b"a")) == (RESPONSE, b"a", False)
    assert one.seal(REQUEST, b"same") != other.seal(REQUEST, b"same")


def test_own_record_does_not_open_when_it_is_reflected() -> None:
    one, _ = pair()

    refuses(one, one.seal(REQUEST, b"q"))


def test_pieces_keep_their_bit() -> None:
    one, other = pair()

    assert other.open(one.seal(REQUEST, b"part", more=True)) == (REQUEST, b"part", True)


def test_overhead_is_17_bytes() -> None:
    one, _ = pair()

    assert len(one.seal(REQUEST, b"x" * 100, pad=28)) == 128 + RECORD_OVERHEAD_BYTES
    assert len(one.seal(RecordType.CLOSE, b"")) == RECORD_OVERHEAD_BYTES


def test_first_refusal_ends_the_receiving_direction() -> None:
    one, other = pair()
    genuine = one.seal(REQUEST, b"q")

    refuses(other, genuine[:-1] + bytes((genuine[-1] ^ 1,)))

    refuses(other, genuine)
    assert one.open(other.seal(RecordType.ALERT, b"\0\x64"))[0] is RecordType.ALERT


def test_every_flipped_bit_is_refused() -> None:
    one, other = pair()
    genuine = one.seal(REQUEST, b"some data", pad=3)

    for bit in range(8 * len(genuine)):
        flipped = bytearray(genuine)
        flipped[bit // 8] ^= 1 << bit % 8
        refuses(copy.copy(other), bytes(flipped))
    assert other.open(genuine) == (REQUEST, b"some data", False)


@pytest.mark.parametrize(
    "plaintext", [b"", bytes(9), b"x\x7f", b"x\x01", b"\x81", b"\x93", b"x" * 16_001 + b"\x10"]
)
def test_plaintext_that_is_no_record_is_refused_for_good(plaintext: bytes) -> None:
    one, other = pair()

    with pytest.raises(WireError):
        other.open(sealed_by_hand(one, 0, plaintext))

    refuses(other, sealed_by_hand(one, 1, b"x\x10"))


def test_too_long_a_record_is_refused_before_decryption() -> None:
    one, other = pair()
    largest = one.seal(RecordType.RELAY_DATA, b"x" * RELAY_DATA_BYTES_MAX)

    assert len(other.open(largest)[1]) == RELAY_DATA_BYTES_MAX
    with pytest.raises(FrameTooLarge):
        other.open(largest + b"x")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_open(message: bytes) -> None:
    refuses(pair()[1], message)


def test_a_record_that_is_too_large_leaves_the_counter_alone() -> None:
    one, other = pair()

    with pytest.raises(UsageError):
        one.seal(REQUEST, b"x" * (RECORD_DATA_BYTES_MAX + 1))

    assert other.open(one.seal(REQUEST, b"q")) == (REQUEST, b"q", False)


def test_default_limits_are_those_of_section_4() -> None:
    limits = KeyLimits()

    assert (limits.records, limits.bytes, limits.seconds) == (
        KEY_UPDATE_RECORDS,
        KEY_UPDATE_BYTES,
        KEY_UPDATE_S,
    )
    assert (KEY_UPDATE_RECORDS, KEY_UPDATE_BYTES, KEY_UPDATE_S) == (2**24, 2**36, 3600)


def test_no_key_update_before_it_is_due() -> None:
    one, _ = pair(KeyLimits(records=2))
    one.seal(REQUEST, b"q")

    assert one.due_key_update(KEY_UPDATE_S - 1) is None


@pytest.mark.parametrize("limits", [KeyLimits(records=1), KeyLimits(bytes=10), KeyLimits(seconds=0.0)])
def test_key_update_is_due_by_records_bytes_or_age(limits: KeyLimits) -> None:
    one, other = pair(limits)

    other.open(one.seal(REQUEST, b"q"))
    update = one.due_key_update(0.0)

    assert update is not None
    assert other.open(update) == (KEY_UPDATE, b"", False)
    assert other.open(one.seal(REQUEST, b"next")) == (REQUEST, b"next", False)


def test_age_counts_from_the_last_key() -> None:
    one, _ = pair(KeyLimits(seconds=10.0))

    assert one.due_key_update(9.9) is None
    assert one.due_key_update(12.0) is not None
    assert one.due_key_update(21.9) is None
    assert one.due_key_update(22.0) is not None


def test_key_update_changes_the_secret_and_starts_at_zero() -> None:
    one, _ = pair(KeyLimits(records=2))
    secret = one._secret_out
    one.seal(REQUEST, b"q")
    one.seal(REQUEST, b"q")

    assert one.due_key_update(0.0) == sealed_under(secret, 2, b"\x03")
    assert one.seal(REQUEST, b"q") == sealed_under(kdf(secret, b"", "yz1 upd", b"", 32), 0, b"q\x10")


def test_a_used_up_key_seals_nothing_more() -> None:
    one, other = pair(KeyLimits(records=1))
    other.open(one.seal(REQUEST, b"q"))

    with pytest.raises(UsageError):
        one.seal(REQUEST, b"q")

    update = one.due_key_update(0.0)
    assert update is not None
    other.open(update)
    other.open(one.seal(REQUEST, b"q"))


def test_key_update_cannot_be_sealed_by_hand() -> None:
    with pytest.raises(UsageError):
        pair()[0].seal(KEY_UPDATE, b"")


@pytest.mark.parametrize("limits", [KeyLimits(records=2), KeyLimits(bytes=2 * 18)])
def test_records_past_the_limit_under_one_key_are_refused(limits: KeyLimits) -> None:
    unlimited, other = pair(other_limits=limits)
    other.open(unlimited.seal(REQUEST, b"1"))
    other.open(unlimited.seal(REQUEST, b"2"))

    with pytest.raises(WireError, match="key"):
        other.open(unlimited.seal(REQUEST, b"3"))


def test_records_under_the_old_key_are_refused_after_its_update() -> None:
    one, other = pair()
    other.open(sealed_by_hand(one, 0, b"\x03"))

    refuses(other, sealed_by_hand(one, 1, b"q\x10"))


class Session(RuleBasedStateMachine):
    """Two ends and a channel that an attacker owns: only the next genuine record ever opens."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sender, self.receiver = pair(KeyLimits(records=5, bytes=2_000, seconds=50.0))
        self.wire: list[bytes] = []
        self.sent: list[tuple[RecordType, bytes, bool]] = []
        self.next = 0

    def refused_by_a_twin(self, message: bytes) -> None:
        """The real receiver goes on; its twin, once it has refused, opens not even what is genuine."""
        twin = copy.copy(self.receiver)
        refuses(twin, message)
        if self.next < len(self.wire):
            refuses(twin, self.wire[self.next])

    @rule(data=st.binary(max_size=300), pad=st.integers(0, 40), more=st.booleans(), elapsed=st.floats(0, 30))
    def send(self, *, data: bytes, pad: int, more: bool, elapsed: float) -> None:
        self.now += elapsed
        update = self.sender.due_key_update(self.now)
        if update is not None:
            self.wire.append(update)
            self.sent.append((KEY_UPDATE, b"", False))
        self.wire.append(self.sender.seal(REQUEST, data, pad=pad, more=more))
        self.sent.append((REQUEST, data, more))

    @precondition(lambda self: self.next < len(self.wire))
    @rule()
    def deliver_in_order(self) -> None:
        assert self.receiver.open(self.wire[self.next]) == self.sent[self.next]
        self.next += 1

    @precondition(lambda self: self.next > 0)
    @rule(pick=st.integers(0, 10**6))
    def repeat(self, pick: int) -> None:
        self.refused_by_a_twin(self.wire[pick % self.next])

    @precondition(lambda self: self.next + 1 < len(self.wire))
    @rule(pick=st.integers(0, 10**6))
    def drop_or_reorder(self, pick: int) -> None:
        later = self.next + 1 + pick % (len(self.wire) - self.next - 1)
        self.refused_by_a_twin(self.wire[later])

    @precondition(lambda self: self.next < len(self.wire))
    @rule(pick=st.integers(0, 10**6))
    def flip(self, pick: int) -> None:
        message = bytearray(self.wire[self.next])
        message[pick // 8 % len(message)] ^= 1 << pick % 8
        self.refused_by_a_twin(bytes(message))

    @precondition(lambda self: self.next < len(self.wire))
    @rule(cut=st.integers(1, 400), tail=st.binary(min_size=1, max_size=5))
    def cut_or_lengthen(self, cut: int, tail: bytes) -> None:
        message = self.wire[self.next]
        self.refused_by_a_twin(message[:-cut])
        self.refused_by_a_twin(message + tail)

    @rule(message=st.binary(max_size=100))
    def inject(self, message: bytes) -> None:
        self.refused_by_a_twin(message)

    @rule(data=st.binary(max_size=20))
    def reflect(self, data: bytes) -> None:
        self.receiver.due_key_update(self.now)  # a twin that sealed would use its counter a second time
        self.refused_by_a_twin(self.receiver.seal(REQUEST, data))


Session.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSession = Session.TestCase

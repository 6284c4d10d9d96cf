"""The payload of a topic's policy: one encoding each way, and everything else refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import KEY_B, load
from yzdht.errors import UsageError, WireError
from yzdht.ids import PublicKey, Tag
from yzdht.limits import TOPIC_POLICY_BYTES_MAX, TOPIC_WRITERS_MAX
from yzdht.wire.record import FIXED_BYTES, LENGTH_BYTES
from yzdht.wire.topic_policy import PolicyPayload, decode_topic_policy, encode_topic_policy


if TYPE_CHECKING:
    from collections.abc import Sequence


OURS = load("project-v1.json")["pubsub"]["owned"]
TAG = Tag(b"t" * 32)
SIGNATURE_BYTES = 64


def key(number: int) -> PublicKey:
    return PublicKey(b"\2" + number.to_bytes(32))


keys = st.sets(st.integers(0, 2**256 - 1), max_size=5).map(lambda numbers: tuple(map(key, sorted(numbers))))


def encoded(*fields: object) -> bytes:
    return msgspec.msgpack.encode(fields)


def test_the_golden_payload_reproduces() -> None:
    payload = PolicyPayload(Tag(bytes.fromhex(OURS["topic_tag"])), (KEY_B.public_key,))

    assert encode_topic_policy(payload).hex() == OURS["policy_payload"]
    assert decode_topic_policy(bytes.fromhex(OURS["policy_payload"])) == payload


@given(writers=keys)
def test_what_was_encoded_reads_back(writers: tuple[PublicKey, ...]) -> None:
    policy = PolicyPayload(TAG, writers)

    assert decode_topic_policy(encode_topic_policy(policy)) == policy


def test_the_longest_fits_into_its_record() -> None:
    longest = encode_topic_policy(PolicyPayload(TAG, tuple(map(key, range(TOPIC_WRITERS_MAX)))))

    assert FIXED_BYTES + LENGTH_BYTES + len(longest) + SIGNATURE_BYTES <= TOPIC_POLICY_BYTES_MAX


@pytest.mark.parametrize(
    "writers",
    [
        tuple(map(key, range(TOPIC_WRITERS_MAX + 1))),
        (key(2), key(1)),
        (key(1), key(1)),
        (PublicKey(b"\4" + bytes(32)),),
        (PublicKey(b"\2" + bytes(31)),),
    ],
    ids=["257", "not in order", "twice", "no compressed point", "32 bytes"],
)
def test_what_lists_no_writers_is_refused_both_ways(writers: Sequence[PublicKey]) -> None:
    with pytest.raises(UsageError):
        encode_topic_policy(PolicyPayload(TAG, tuple(writers)))
    with pytest.raises(WireError):
        decode_topic_policy(encoded(TAG, writers))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encoded(),
        encoded(TAG),
        encoded(TAG, [], 0),
        encoded(TAG[:31], []),
        encoded(TAG, None),
        encoded("t" * 32, []),
        encoded(TAG, [1]),
        encoded(TAG, []) + b"\0",
        encoded(TAG, [])[:-1],
        b"\x92\xc5\x00\x20" + TAG + b"\x90",  # a length in more bytes than it needs
        b"\x91" * 2_000,
        bytes(TOPIC_POLICY_BYTES_MAX + 1),
    ],
)
def test_what_is_not_that_array_in_shortest_form_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_topic_policy(data)


@given(data=st.binary(max_size=200))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        policy = decode_topic_policy(data)
    except WireError:
        return
    assert encode_topic_policy(policy) == data

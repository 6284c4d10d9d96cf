"""The payload of a topic's policy, which says who writes to it: bytes to fields and back (PROTOCOL.md section 11).

Owns the layout only. Refuses every array that is not exactly section 11's, in shortest form: one policy has one encoding. Keys are
checked to look compressed, not to be on the curve.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from yzdht.errors import UsageError, WireError
from yzdht.ids import ID_BYTES, PUBLIC_KEY_BYTES, PublicKey, Tag, looks_compressed
from yzdht.limits import TOPIC_POLICY_BYTES_MAX, TOPIC_WRITERS_MAX


class PolicyPayload(NamedTuple):
    """Who writes to a topic beside its owner.

    Attributes:
        topic_tag: The topic's name, blinded, 32 bytes.
        writers: At most TOPIC_WRITERS_MAX, strictly ascending.

    """

    topic_tag: Tag
    writers: tuple[PublicKey, ...] = ()


_Tag = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
_Key = Annotated[bytes, Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
_Writers = Annotated[tuple[_Key, ...], Meta(max_length=TOPIC_WRITERS_MAX)]

_decoder = msgspec.msgpack.Decoder(tuple[_Tag, _Writers])
_encoder = msgspec.msgpack.Encoder()


def encode_topic_policy(policy: PolicyPayload) -> bytes:
    """One MessagePack array.

    Raises:
        UsageError: Too many writers, not in order, or what is no key.

    """
    _check(policy, UsageError)
    return _encoder.encode(policy)


def decode_topic_policy(data: bytes) -> PolicyPayload:
    """Decode the payload of a policy record.

    Raises:
        WireError: It is not exactly such an array.

    """
    if len(data) > TOPIC_POLICY_BYTES_MAX:
        raise WireError("a topic's policy is longer than any can be")
    try:
        tag, writers = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise WireError("a topic's policy is not the array that it has to be") from None
    policy = PolicyPayload(Tag(tag), tuple(map(PublicKey, writers)))
    _check(policy, WireError)
    if _encoder.encode(policy) != data:
        raise WireError("a topic's policy is not in shortest form")
    return policy


def _check(policy: PolicyPayload, refusal: type[UsageError | WireError]) -> None:
    assert len(policy.topic_tag) == ID_BYTES
    if len(policy.writers) > TOPIC_WRITERS_MAX:
        raise refusal(f"a topic has at most {TOPIC_WRITERS_MAX} writers beside its owner")
    if not all(len(key) == PUBLIC_KEY_BYTES and looks_compressed(key) for key in policy.writers):
        raise refusal("the writers of a topic are compressed points")
    if any(one >= other for one, other in pairwise(policy.writers)):
        raise refusal("the writers of a topic stand in order, each of them once")

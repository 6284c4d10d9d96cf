"""What a topic's policy holds: any peer may show one to a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEY_A, KEY_B
from yzdht.errors import WireError
from yzdht.ids import Tag
from yzdht.wire.topic_policy import PolicyPayload, decode_topic_policy, encode_topic_policy


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.wire.topic_policy.decode_topic_policy",)


def seeds() -> Iterator[bytes]:
    tag = Tag(b"t" * 32)
    yield encode_topic_policy(PolicyPayload(tag))
    yield encode_topic_policy(PolicyPayload(tag, tuple(sorted((KEY_A.public_key, KEY_B.public_key)))))


def one(data: bytes) -> None:
    try:
        policy = decode_topic_policy(data)
    except WireError:
        return
    assert encode_topic_policy(policy) == data


if __name__ == "__main__":
    run(one, seeds())

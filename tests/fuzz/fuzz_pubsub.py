"""Envelopes, what members find in them, and what peers push (PROTOCOL.md section 11): every input is tried as all three."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEY_A, PROTOCOL
from yzdht.errors import WireError
from yzdht.ids import SendSession, TopicId
from yzdht.wire.holdings import Holdings, claimed
from yzdht.wire.pubsub import (
    Delivery,
    PubsubMessage,
    decode_envelope,
    decode_message,
    decode_push,
    encode_announcement,
    encode_delivery,
    encode_fixed,
    encode_message,
)
from yzdht.wire.rpc import SummaryRow


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.wire.pubsub import Announcement


DECODERS = (
    "yzdht.wire.pubsub.decode_envelope",
    "yzdht.wire.pubsub.decode_message",
    "yzdht.wire.pubsub.decode_push",
)
TOPIC = TopicId(bytes(16))
ROW = SummaryRow(KEY_A.public_key, SendSession(bytes(8)), 0, 258, (3, 200, 256))


def seeds() -> Iterator[bytes]:
    envelopes = [bytes.fromhex(PROTOCOL["pubsub"][key]) for key in ("envelope", "public_envelope")]
    yield from envelopes
    yield encode_message(PubsubMessage(1_700_000_000, 0, b"hello"))
    yield encode_message(PubsubMessage(0, 255, bytes(100)))
    yield encode_delivery(envelopes)
    yield encode_announcement([(TOPIC, (ROW, ROW)), (TOPIC, ())])


def one(data: bytes) -> None:
    _envelope(data)
    _message(data)
    _push(data)


def _envelope(data: bytes) -> None:
    try:
        envelope = decode_envelope(data)
    except WireError:
        return
    of = envelope.mode, envelope.topic, envelope.kid, envelope.sender, envelope.session, envelope.index
    assert encode_fixed(*of) + envelope.body + envelope.signature == data
    assert len(envelope.id) == 20


def _message(data: bytes) -> None:
    try:
        message = decode_message(data)
    except WireError:
        return
    assert encode_message(message) == data


def _push(data: bytes) -> None:
    try:
        push = decode_push(data)
    except WireError:
        return
    if isinstance(push, Delivery):
        assert encode_delivery(push.envelopes) == data
    else:
        _announced(push)


def _announced(push: Announcement) -> None:
    assert decode_push(encode_announcement(push.changes)) == push
    for _, rows in push.changes:
        missing = Holdings().missing(rows)
        assert len(missing) <= sum(len(claimed(row)) for row in rows)
        assert all(each.start < each.to for each in missing)


if __name__ == "__main__":
    run(one, seeds())

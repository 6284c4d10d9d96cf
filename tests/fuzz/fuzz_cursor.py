"""How far a subscriber was, as an application kept it (PROTOCOL.md section 11): the file may be anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from tests.vectors.golden import KEY_A, KEY_B
from yzdht.errors import UsageError, WireError
from yzdht.ids import SendSession, TopicId
from yzdht.limits import REPLAY_WINDOW
from yzdht.pubsub.cursor import Cursor, _decode, decode_cursor
from yzdht.wire.holdings import Series


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = ("yzdht.pubsub.cursor.decode_cursor", "yzdht.pubsub.cursor._decode")
TOPIC = TopicId(bytes(range(16)))


def seeds() -> Iterator[bytes]:
    cursor = Cursor(TOPIC)
    yield cursor.encode()
    first = cursor.open(Series(KEY_A.public_key, SendSession(bytes(8))))
    for index in (0, 1, 3, 7, 2_000):
        first.tell(index, 1_700_000_000, 1_699_999_999)
    yield cursor.encode()
    second = cursor.open(Series(KEY_B.public_key, SendSession(b"s" * 8)))
    second.begin_at(40, 1_700_000_000)
    second.skip_to(2**32 - 1)
    yield cursor.encode()
    cursor.open(Series(KEY_B.public_key, SendSession(bytes(8))))
    cursor.forget(
        [Series(KEY_A.public_key, SendSession(bytes(8))), Series(KEY_B.public_key, SendSession(b"s" * 8))]
    )
    yield cursor.encode()


def one(data: bytes) -> None:
    try:
        cursor = _decode(data)
    except WireError:
        cursor = None
    try:
        same = decode_cursor(data, TOPIC)
    except UsageError:
        assert cursor is None or cursor.topic != TOPIC
        return
    assert cursor is not None
    encoded = same.encode()
    assert cursor.encode() == encoded == decode_cursor(encoded, TOPIC).encode()
    for series in same:
        window = same.get(series)
        assert window is not None
        assert window.due - REPLAY_WINDOW <= window.told.floor <= window.told.next <= window.due


if __name__ == "__main__":
    run(one, seeds())

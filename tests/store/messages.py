"""Messages that a person can check: small numbers become topics, senders, sessions and bringers."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from yzdht.ids import MessageId, PublicKey, SendSession, TopicId
from yzdht.wire.history import Bringer, TopicWrite, fetched_from
from yzdht.wire.holdings import Series
from yzdht.wire.rpc import Range


NOW = 1_000_000


def topic(number: int) -> TopicId:
    return TopicId(number.to_bytes(16))


def series(sender: int = 1, session: int = 0) -> Series:
    return Series(PublicKey(b"\x02" + sender.to_bytes(32)), SendSession(session.to_bytes(8)))


def bringer(number: int) -> Bringer:
    return Bringer(number.to_bytes(8))


def host(number: int) -> Bringer:
    """Another host, from which messages were fetched."""
    return fetched_from(bringer(number))


def message_id(text: str) -> MessageId:
    return MessageId(sha256(text.encode()).digest()[:20])


def message(
    index: int = 0, *, by: int = 1, session: int = 0, of: int = 1, size: int = 0, **changes: Any
) -> TopicWrite:
    """Message `index` of sender `by` to topic `of`; `text` tells messages of one index apart."""
    text = f"{of}/{by}/{session}/{index}/{changes.pop('text', '')}"
    fields: dict[str, Any] = {
        "topic": topic(of),
        "sender": series(by).sender,
        "session": series(by, session).session,
        "index": index,
        "id": message_id(text),
        "envelope": text.encode().ljust(size, b".")[: size or None],
        "received": NOW,
        "bringer": bringer(1),
    }
    return TopicWrite(**(fields | changes))


def run(start: int, to: int, **changes: Any) -> list[TopicWrite]:
    """Messages of one sender, `to` left out."""
    return [message(index, **changes) for index in range(start, to)]


def wanted(start: int, to: int, by: int = 1, session: int = 0) -> Range:
    return Range(*series(by, session), start, to)

"""The section of project-v1.json about pubsub: where hosts are looked for, what goes over a session unasked, what is refused."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.vectors.golden import KEY_A, KEY_B, NETWORK, PROTOCOL
from yzdht.crypto.topic_policy import owned_topic, policy_tag, topic_tag
from yzdht.crypto.topics import topic_host_target
from yzdht.ids import SendSession, TopicId
from yzdht.wire.pubsub import encode_announcement, encode_delivery
from yzdht.wire.rpc import SummaryRow
from yzdht.wire.topic_policy import PolicyPayload, encode_topic_policy


GOLDEN = PROTOCOL["pubsub"]
ENVELOPE, PUBLIC = (bytes.fromhex(GOLDEN[key]) for key in ("envelope", "public_envelope"))
TOPIC, NEWS = (TopicId(bytes.fromhex(GOLDEN[key])) for key in ("topic16", "public_topic16"))
SESSION = SendSession(bytes.fromhex(GOLDEN["session8"]))
ROWS = (
    SummaryRow(KEY_A.public_key, SESSION, 0, 259, (3, 200, 256)),
    SummaryRow(KEY_B.public_key, SESSION, 7, 7),
    SummaryRow(KEY_B.public_key, SESSION, 2**32 - 2, 2**32 - 1, (2**32 - 2,)),
)
_ROW = [KEY_A.public_key, SESSION, 0, 1, []]


def _rows(rows: tuple[SummaryRow, ...]) -> list[list[Any]]:
    return [[row.sender.hex(), row.session.hex(), row.first, row.next, list(row.holes)] for row in rows]


def _delivery(name: str, *envelopes: bytes) -> dict[str, Any]:
    shown = [envelope.hex() for envelope in envelopes]
    return {"name": name, "envelopes": shown, "encoded": encode_delivery(envelopes).hex()}


def _announcement(name: str, *changes: tuple[TopicId, tuple[SummaryRow, ...]]) -> dict[str, Any]:
    shown = [[topic.hex(), _rows(rows)] for topic, rows in changes]
    return {"name": name, "changes": shown, "encoded": encode_announcement(changes).hex()}


def _later() -> list[dict[str, Any]]:
    """Rows as an older and a newer version might write them; both are read, neither is what this version writes."""
    shown = [[TOPIC.hex(), _rows((SummaryRow(KEY_A.public_key, SESSION, 0, 1),))]]
    given = {"a row without holes": _ROW[:4], "a row with fields": [*_ROW, "later", [None, -1]]}
    return [
        {"name": name, "changes": shown, "encoded": msgspec.msgpack.encode([1, TOPIC, [row]]).hex()}
        for name, row in given.items()
    ]


def _refused_bodies() -> dict[str, bytes]:
    items: dict[str, list[object]] = {
        "nothing": [],
        "a delivery of nothing": [0],
        "an announcement of nothing": [1],
        "another kind": [2, ENVELOPE],
        "a delivery of a number": [0, ENVELOPE, 1],
        "a topic without rows": [1, TOPIC],
        "a topic of 15 bytes": [1, TOPIC[:15], []],
        "rows before their topic": [1, [], TOPIC],
        "a row cut short": [1, TOPIC, [_ROW[:3]]],
        "a session of 7 bytes": [1, TOPIC, [[KEY_A.public_key, SESSION[:7], 0, 1, []]]],
        "an index of 33 bits": [1, TOPIC, [[KEY_A.public_key, SESSION, 0, 2**32, []]]],
        "a negative hole": [1, TOPIC, [[KEY_A.public_key, SESSION, 0, 9, [-1]]]],
        "65 holes": [1, TOPIC, [[KEY_A.public_key, SESSION, 0, 99, list(range(65))]]],
        "257 rows": [1, TOPIC, [_ROW] * 257],
        "257 topics": [1, *[TOPIC, []] * 257],
        "more than a newer version would add": [1, TOPIC, [[*_ROW, bytes(4_200)]]],
        "a map": [1, TOPIC, [[*_ROW, {}]]],
    }
    encoded = {name: msgspec.msgpack.encode(body) for name, body in items.items()}
    encoded["a number in two bytes"] = b"\x92\xcc\x00\xc4\x01a"
    encoded["a byte after the array"] = encode_delivery([ENVELOPE]) + b"\0"
    return encoded


def _refused_envelopes() -> dict[str, bytes]:
    def with_byte(raw: bytes, at: int, value: int) -> bytes:
        return raw[:at] + bytes((value,)) + raw[at + 1 :]

    return {
        "another version": with_byte(ENVELOPE, 0, 0xFB),
        "mode 2": with_byte(ENVELOPE, 1, 2),
        "suite 0": with_byte(ENVELOPE, 2, 0),
        "a reserved bit": with_byte(ENVELOPE, 3, 1),
        "a kid in public": with_byte(PUBLIC, 20, 1),
        "a sender that is no compressed point": with_byte(ENVELOPE, 28, 4),
        "an index without a next one": ENVELOPE[:69] + b"\xff" * 4 + ENVELOPE[73:],
        "sealed, and said to be public": with_byte(ENVELOPE, 1, 1),
        "a body of no block": PUBLIC[:73] + PUBLIC[-64:],
        "a body of half a block": PUBLIC[:105] + PUBLIC[-64:],
        "no signature": PUBLIC[:-64],
    }


def _owned() -> dict[str, str]:
    """The topic 'news' of A, who lets B write."""
    tag = topic_tag(NETWORK, "news")
    return {
        "topic": "news",
        "owner": KEY_A.public_key.hex(),
        "topic_tag": tag.hex(),
        "topic16": owned_topic(NETWORK, KEY_A.public_key, tag).hex(),
        "policy_tag": policy_tag(NETWORK, tag).hex(),
        "writer": KEY_B.public_key.hex(),
        "policy_payload": encode_topic_policy(PolicyPayload(tag, (KEY_B.public_key,))).hex(),
    }


def pubsub_section() -> dict[str, Any]:
    """Beside the protocol's own values, from which everything here is made."""
    pushes = [
        _delivery("one envelope", ENVELOPE),
        _delivery("two envelopes", ENVELOPE, PUBLIC),
        _announcement("one topic", (TOPIC, ROWS[:1])),
        _announcement("two topics", (TOPIC, ROWS), (NEWS, ())),
    ]
    refused = {"bodies": _refused_bodies(), "envelopes": _refused_envelopes()}
    return {
        "comment": "section 11; hosts of the topics 'chat' and 'news', bodies of record type 0x12, what must be refused",
        "host_target": topic_host_target(TOPIC, NETWORK).hex(),
        "public_host_target": topic_host_target(NEWS, NETWORK).hex(),
        "owned": _owned(),
        "pushes": pushes,
        "other_versions": _later(),
        **{
            f"refused_{what}": [{"name": name, "encoded": raw.hex()} for name, raw in given.items()]
            for what, given in refused.items()
        },
    }

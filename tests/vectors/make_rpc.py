"""Write rpc-v1.json: bodies and messages of section 5, contacts and identity payloads, and encodings that are refused.

    python -m tests.vectors.make_rpc

Everything is derived from the keys of protocol-v1.json, so the output never changes; a test compares it. In `body`,
bytes are {"bin": hex} and integers above 2^53 are {"u64": decimal}. `means` names the case that a body of an older or
newer version must be read as.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.vectors.golden import FOLDER, KEM_1, KEM_2, KEY_A, KEY_B
from yzdht.ids import RecordHash, SendSession, Target, TopicId
from yzdht.wire.address import Address, IdentityPayload, KemEntry, address_of, encode_identity_payload
from yzdht.wire.rpc import (
    Backlog,
    BacklogPage,
    Body,
    DialBack,
    DialledBack,
    Empty,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Get,
    Got,
    Method,
    Publish,
    Published,
    Put,
    PutDone,
    Range,
    Reached,
    Redeem,
    RedeemAnswer,
    Refusal,
    Row,
    Status,
    Store,
    Subscribe,
    Subscribed,
    SummaryRow,
    TopicSync,
    TopicSynced,
    Unsubscribe,
    WhoAmI,
    WireContact,
    encode_answer,
    encode_body,
    encode_request,
    encode_response,
    refusal_fields,
)


FILE = FOLDER / "rpc-v1.json"
ABOUT = (
    "Section 5: bodies (one MessagePack array in shortest form), whole messages, and what is refused; "
    "identity payloads of section 6. Made by tests/vectors/make_rpc.py"
)
SAFE_INTEGER_MAX = 2**53 - 1
U32, U64 = 2**32 - 1, 2**64 - 1

Case = dict[str, object]

TARGET = Target(bytes(range(32)))
TOPIC = TopicId(bytes(range(16)))
SESSION = SendSession(bytes(range(8)))
A = WireContact(KEY_A.public_key, ("ws://192.0.2.1:8083", "wss://node1.yz.example"), 0x31)
B = WireContact(KEY_B.public_key, (), 0)
SUMMARY = (
    SummaryRow(KEY_A.public_key, SESSION, 0, 258, (3, 200, 256)),
    SummaryRow(KEY_B.public_key, SESSION, 7, 7),
)


def hash_of(number: int) -> RecordHash:
    """A hash that is as good as any other."""
    return RecordHash(bytes((number,)) * 32)


def data_of(size: int) -> bytes:
    """That many bytes which are not all the same."""
    return bytes(i % 251 for i in range(size))


def url_of(size: int) -> str:
    """An address of that many bytes."""
    return "ws://" + "h" * (size - 5)


def view(value: object) -> Any:
    """What JSON can carry of a value."""
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, list | tuple):
        return [view(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and value > SAFE_INTEGER_MAX:
        return {"u64": str(value)}
    return value


def view_of(body: msgspec.Struct) -> Any:
    """The JSON view of a body, a contact or a payload."""
    return view(msgspec.to_builtins(body, builtin_types=(bytes,)))


def case(name: str, kind: str, body: msgspec.Struct, number: int | None = None) -> Case:
    """One body; `number` is its method or, for an error, its status."""
    encoded = encode_identity_payload(body) if isinstance(body, IdentityPayload) else encode_body(body)
    return {
        "name": name,
        "kind": kind,
        "method": number if kind in ("request", "response") else None,
        "status": 0 if kind == "response" else None,
        "body": view_of(body),
        "encoded": encoded.hex(),
    }


_REQUESTS: list[tuple[Method, str, Body]] = [
    (Method.PING, "", Empty()),
    (Method.FIND_NODE, "", FindNode(TARGET)),
    *(
        (Method.FIND_NODE, f" of {n}", FindNode(TARGET, n))
        for n in (0, 1, 127, 128, 255, 256, 65_535, 65_536, U32)
    ),
    (Method.FIND_VALUE, "", FindValue(TARGET)),
    (Method.FIND_VALUE, " for hashes only", FindValue(TARGET, (hash_of(1), hash_of(2)), 0)),
    (Method.FIND_VALUE, " with 15 known", FindValue(TARGET, tuple(map(hash_of, range(15))))),
    (Method.FIND_VALUE, " with 32 known", FindValue(TARGET, tuple(map(hash_of, range(32))), 524_288)),
    (Method.STORE, "", Store(TARGET, data_of(151))),
    (Method.STORE, " of nothing, expecting nothing", Store(TARGET, b"", 0)),
    (Method.STORE, " of 255 bytes with cas", Store(TARGET, data_of(255), 1_700_000_000_000)),
    (Method.STORE, " of 256 bytes until later", Store(TARGET, data_of(256), None, 1_767_225_600)),
    (Method.STORE, " with cas 2^53 - 1", Store(TARGET, b"r", SAFE_INTEGER_MAX)),
    (Method.STORE, " with cas 2^53", Store(TARGET, b"r", SAFE_INTEGER_MAX + 1)),
    (Method.STORE, " with cas 2^64 - 1", Store(TARGET, b"r", U64, U32)),
    (Method.GET, "", Get(TARGET)),
    (Method.GET, " with 16 known", Get(TARGET, tuple(map(hash_of, range(16))), 1)),
    (Method.GET, " along 3 paths", Get(TARGET, (), 524_288, 3)),
    (Method.PUT, "", Put(TARGET, data_of(223))),
    (Method.PUT, " with everything", Put(TARGET, data_of(300), 2**32, 1_767_225_600)),
    (Method.WHOAMI, "", Empty()),
    (Method.DIAL_BACK, " of nothing", DialBack()),
    (Method.DIAL_BACK, "", DialBack(("ws://[2001:db8::1]:8083", "wss://node1.yz.example/ws"))),
    (
        Method.DIAL_BACK,
        " of four, of 31 to 512 bytes",
        DialBack(tuple(url_of(n) for n in (31, 32, 256, 512))),
    ),
    (Method.SUBSCRIBE, "", Subscribe(TOPIC)),
    (Method.SUBSCRIBE, " with a summary, delegated", Subscribe(TOPIC, SUMMARY, delegate=True)),
    (
        Method.SUBSCRIBE,
        " with 64 holes",
        Subscribe(TOPIC, (SummaryRow(KEY_A.public_key, SESSION, 0, U32, tuple(range(100, 164))),)),
    ),
    (Method.SUBSCRIBE, " to announcements, further on", Subscribe(TOPIC, push=False, skip=256)),
    (Method.UNSUBSCRIBE, "", Unsubscribe(TOPIC)),
    (Method.PUBLISH, "", Publish(data_of(201))),
    (Method.PUBLISH, " delegated", Publish(data_of(265), delegate=True)),
    (Method.BACKLOG, "", Backlog(TOPIC)),
    (Method.BACKLOG, " of ranges", Backlog(TOPIC, (Range(KEY_A.public_key, SESSION, 0, U32),), 65_536)),
    (Method.TOPIC_SYNC, "", TopicSync(TOPIC)),
    (Method.TOPIC_SYNC, " with a summary", TopicSync(TOPIC, SUMMARY)),
    (Method.TOPIC_SYNC, " further on", TopicSync(TOPIC, SUMMARY, 65_536)),
    (Method.REDEEM, "", Redeem(data_of(225))),
]

_ROWS = (Row(b"", 0, hash_of(1)), Row(KEY_A.public_key, 1_700_000_000_000, hash_of(2)))
_RESPONSES: list[tuple[Method, str, Body]] = [
    (Method.PING, "", Empty()),
    (Method.FIND_NODE, " of nobody", FoundNodes()),
    (Method.FIND_NODE, "", FoundNodes((A, B))),
    (Method.FIND_NODE, " of 20 contacts", FoundNodes((A, B) * 10)),
    (Method.FIND_VALUE, " of nothing", FoundValue()),
    (Method.FIND_VALUE, " of contacts", FoundValue((), (A,))),
    (Method.FIND_VALUE, " of a record and rows", FoundValue((data_of(151), *_ROWS), (A, B))),
    (
        Method.FIND_VALUE,
        " of 32 rows",
        FoundValue(tuple(Row(KEY_B.public_key, n, hash_of(n)) for n in range(32))),
    ),
    (Method.STORE, "", Empty()),
    (Method.GET, " of nothing", Got((), 5, 4)),
    (Method.GET, "", Got((data_of(70),), 4, 4)),
    (Method.GET, " of the largest seq", Got((Row(KEY_A.public_key, U64, hash_of(3)),), 1, 1)),
    (Method.PUT, "", PutDone(5, 8, 5)),
    (Method.PUT, " refused by cas", PutDone(0, 8, 5, 301, (1_700_000_000_000, hash_of(4)))),
    (Method.PUT, " refused by lifetime", PutDone(2, 8, 5, 207, (1_700_000_000,))),
    (Method.WHOAMI, " of nothing", WhoAmI()),
    (Method.WHOAMI, "", WhoAmI("2001:db8::1", 65_535, "wss")),
    (
        Method.DIAL_BACK,
        "",
        DialledBack((Reached(is_reachable=True), Reached(is_reachable=False, error="refused"))),
    ),
    (Method.SUBSCRIBE, " of nothing", Subscribed()),
    (Method.SUBSCRIBE, "", Subscribed((A, B), push=True, summary=SUMMARY)),
    (Method.UNSUBSCRIBE, "", Empty()),
    (Method.PUBLISH, "", Published(2, 3)),
    (Method.BACKLOG, " of nothing", BacklogPage()),
    (Method.BACKLOG, "", BacklogPage((data_of(201), data_of(265)), more=True)),
    (Method.TOPIC_SYNC, " of nothing", TopicSynced()),
    (Method.TOPIC_SYNC, "", TopicSynced((data_of(201),), SUMMARY)),
    (Method.REDEEM, " refused", RedeemAnswer(9)),
    (Method.REDEEM, " with a membership", RedeemAnswer(0, data_of(176))),
]

_REFUSALS = {
    Status.RATE_LIMITED: Refusal(1_500),
    Status.BAD_LIFETIME: Refusal(1_700_000_000),
    Status.CAS_MISMATCH: Refusal(0, bytes(32)),
    Status.SEQ_TOO_LOW: Refusal(1_700_000_000_000, hash_of(5)),
    Status.EQUIVOCATION: Refusal(U64, hash_of(6)),
}


def _refusals() -> list[Case]:
    return [
        {
            "name": f"refusal {status.value} {status.name}",
            "kind": "refusal",
            "method": None,
            "status": status.value,
            "body": view(refusal_fields(status, _REFUSALS.get(status, Refusal()))),
            "encoded": encode_answer(status, _REFUSALS.get(status, Refusal())).hex(),
        }
        for status in Status
        if status is not Status.OK
    ]


def _contacts() -> list[Case]:
    return [
        case("contact with two addresses", "contact", A),
        case("contact without addresses", "contact", B),
        case("contact at its bounds", "contact", WireContact(KEY_B.public_key, (url_of(512),) * 4, U32)),
    ]


def _identities() -> list[Case]:
    newest, older = KemEntry(1, KEM_2.public_key, 1_769_817_600), KemEntry(1, KEM_1.public_key, 1_767_225_600)
    infrastructure = (
        Address("wss", "wss://node1.yz.example", ("browser",)),
        Address("ws", "ws://node1.yz.example:8083", ("python", "nodejs")),
    )
    many = tuple(address_of(f"ws://192.0.2.{n}:8083") for n in range(16))
    later = (
        Address("webrtc-direct", "webrtc-direct://192.0.2.1:8083?ufrag=a&pwd=b&fp=c", ("browser", "later")),
    )
    roads = tuple(address_of(url) for url in ("tcp://192.0.2.1:8083", "tcp://[2001:db8::1]:8083", "wss://h"))
    return [
        case(
            "identity of infrastructure",
            "identity",
            IdentityPayload("infrastructure", infrastructure, 0x71, (newest,)),
        ),
        case("identity of a person", "identity", IdentityPayload("client", (), 0x801, (newest, older))),
        case("identity with 16 addresses", "identity", IdentityPayload("community", many, U32, (older,))),
        case("identity with raw TCP", "identity", IdentityPayload("community", roads, 0x30, (newest,))),
        case("identity of a later version", "identity", IdentityPayload("community", later, 1, (newest,))),
    ]


def _other_versions() -> list[Case]:
    """Bodies with fields left out or added; both must be read, neither is what this version writes."""
    given: list[tuple[str, Method, list[object], str]] = [
        ("FIND_NODE without count", Method.FIND_NODE, [TARGET], "FIND_NODE request"),
        ("FIND_VALUE without defaults", Method.FIND_VALUE, [TARGET], "FIND_VALUE request"),
        ("STORE without defaults", Method.STORE, [TARGET, data_of(151)], "STORE request"),
        ("GET without defaults", Method.GET, [TARGET], "GET request"),
        ("GET without paths", Method.GET, [TARGET, [], 524_288], "GET request"),
        ("SUBSCRIBE without defaults", Method.SUBSCRIBE, [TOPIC], "SUBSCRIBE request"),
        ("SUBSCRIBE without push", Method.SUBSCRIBE, [TOPIC, [], False], "SUBSCRIBE request"),
        ("TOPIC_SYNC without skip", Method.TOPIC_SYNC, [TOPIC, []], "TOPIC_SYNC request"),
        ("PING with a field", Method.PING, ["later"], "PING request"),
        (
            "FIND_NODE with fields",
            Method.FIND_NODE,
            [TARGET, 20, None, True, -1, b"b", "é", [[U64], []]],
            "FIND_NODE request",
        ),
        ("PING with 31 arrays in it", Method.PING, nested(31), "PING request"),
    ]
    return [
        {
            "name": name,
            "kind": "request",
            "method": method.value,
            "status": None,
            "body": view(body),
            "encoded": msgspec.msgpack.encode(body).hex(),
            "means": means,
        }
        for name, method, body, means in given
    ]


def nested(depth: int) -> list[object]:
    """An array with `depth` arrays in it, one in the other."""
    body: list[object] = []
    for _ in range(depth):
        body = [body]
    return body


def _messages() -> list[Case]:
    find = FindNode(TARGET)
    return [
        {
            "name": "a request",
            "kind": "request",
            "id": 1,
            "method": Method.FIND_NODE.value,
            "body": view_of(find),
            "encoded": encode_request(1, Method.FIND_NODE, encode_body(find)).hex(),
        },
        {
            "name": "a request with the largest id",
            "kind": "request",
            "id": U32,
            "method": Method.PING.value,
            "body": [],
            "encoded": encode_request(U32, Method.PING, encode_body(Empty())).hex(),
        },
        {
            "name": "a response",
            "kind": "response",
            "id": 1,
            "status": 0,
            "body": view_of(FoundNodes((A,))),
            "encoded": encode_response(1, Status.OK, encode_answer(Status.OK, FoundNodes((A,)))).hex(),
        },
        {
            "name": "a refusal",
            "kind": "response",
            "id": 0x01020304,
            "status": 409,
            "body": view(refusal_fields(Status.EQUIVOCATION, Refusal(7, hash_of(7)))),
            "encoded": encode_response(
                0x01020304, Status.EQUIVOCATION, encode_answer(Status.EQUIVOCATION, Refusal(7, hash_of(7)))
            ).hex(),
        },
    ]


_REFUSED = {
    "nothing": "",
    "nil": "c0",
    "a number": "05",
    "bytes": "c40161",
    "a map": "80",
    "a map in the array": "9180",
    "a map of 16 bits": "91de0000",
    "a map of 32 bits": "91df00000000",
    "a float of 32 bits": "91ca3f800000",
    "a float of 64 bits": "91cb3ff0000000000000",
    "an ext of 1 byte": "91d40100",
    "an ext of 8 bits": "91c7010100",
    "a timestamp": "91d6ff00000000",
    "the unused byte": "91c1",
    "a small integer in two bytes": "91cc7f",
    "an integer of one byte in two": "91cd00ff",
    "an integer of two bytes in four": "91ce0000ffff",
    "an integer of four bytes in eight": "91cf00000000ffffffff",
    "a positive integer as signed": "91d07f",
    "a negative integer in two bytes": "91d0e0",
    "a negative integer of one byte in two": "91d1ff80",
    "a text of 31 bytes as str 8": "91d91f" + "61" * 31,
    "a text of 255 bytes as str 16": "91da00ff" + "61" * 255,
    "bytes of 1 as bin 16": "91c5000161",
    "bytes of 1 as bin 32": "91c60000000161",
    "an array of 1 as array 16": "dc0001c0",
    "an array of 16 as array 32": "dd00000010" + "c0" * 16,
    "an inner array in a longer form": "91dc0000",
    "a text that is not UTF-8": "91a1ff",
    "an overlong text": "91a2c080",
    "a lone surrogate": "91a3eda080",
    "a byte after the array": "9000",
    "two arrays": "9090",
    "an array cut short": "92c0",
    "bytes cut short": "91c40261",
    "a text cut short": "91a261",
    "an integer cut short": "91cd01",
    "an array far longer than the body": "ddffffffff",
    "bytes far longer than the body": "91c6ffffffff",
    "33 arrays, one in the other": "91" * 32 + "90",
    "a thousand arrays, one in the other": "91" * 999 + "90",
}


def build() -> dict[str, object]:
    """The file's content."""
    cases = [case(f"{m.name} request{how}", "request", body, m) for m, how, body in _REQUESTS]
    cases += [case(f"{m.name} response{how}", "response", body, m) for m, how, body in _RESPONSES]
    cases += [*_refusals(), *_contacts(), *_identities(), *_other_versions()]
    return {
        "about": ABOUT,
        "cases": cases,
        "messages": _messages(),
        "refused": [{"name": name, "encoded": encoded} for name, encoded in _REFUSED.items()],
    }


def render() -> str:
    """The file's whole text."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render())

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from tests.vectors import make_rpc
from tests.vectors.golden import KEY_A, load
from yzdht.errors import WireError
from yzdht.ids import RecordHash, SendSession, Target, TopicId
from yzdht.limits import (
    BODY_DEPTH_MAX,
    BUCKET_SIZE,
    CONTACT_URLS_MAX,
    CONTACTS_PER_ANSWER_MAX,
    DIAL_BACK_URLS_MAX,
    ENVELOPES_PER_ANSWER_MAX,
    HOLES_MAX,
    KNOWN_HASHES_MAX,
    MESSAGE_BYTES_MAX,
    MULTI_ENTRIES_MAX,
    READ_PATHS_MAX,
    RECORD_BYTES_MAX,
    SUMMARY_ROWS_MAX,
    TOPIC_POLICY_BYTES_MAX,
    URL_BYTES_MAX,
)
from yzdht.wire.address import IdentityPayload
from yzdht.wire.rpc import (
    REQUESTS,
    RESPONSES,
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
    SummaryRow,
    TopicSync,
    Unsubscribe,
    WhoAmI,
    WireContact,
    decode_body,
    decode_request,
    decode_response,
    encode_answer,
    encode_body,
    encode_request,
    encode_response,
)


VECTORS = load("rpc-v1.json")
CASES = {case["name"]: case for case in VECTORS["cases"]}
TYPES: list[type[Body]] = sorted(
    {*REQUESTS.values(), *RESPONSES.values(), Refusal}, key=lambda kind: kind.__name__
)
TARGET, HASH, TOPIC = Target(bytes(32)), RecordHash(bytes(32)), TopicId(bytes(16))
KEY = KEY_A.public_key
CONTACT = WireContact(KEY, (), 1)
SUMMARY_ROW = SummaryRow(KEY, SendSession(bytes(8)), 0, 1)

encode_any = msgspec.msgpack.encode


def type_of(case: dict[str, Any]) -> type[msgspec.Struct]:
    match case["kind"]:
        case "request":
            return REQUESTS[Method(case["method"])]
        case "response":
            return RESPONSES[Method(case["method"])]
        case "refusal":
            return Refusal
        case "contact":
            return WireContact
        case _:
            return IdentityPayload


def refuses(data: bytes, body_type: type[msgspec.Struct] = Empty) -> None:
    with pytest.raises(WireError):
        decode_body(data, body_type)


# Golden values


def test_the_vector_file_is_what_the_script_makes() -> None:
    assert (make_rpc.FILE).read_text() == make_rpc.render()


def test_every_method_and_status_has_a_vector() -> None:
    assert {case["method"] for case in CASES.values() if case["kind"] == "request"} == set(REQUESTS)
    assert {case["method"] for case in CASES.values() if case["kind"] == "response"} == set(RESPONSES)
    assert {case["status"] for case in CASES.values() if case["kind"] == "refusal"} == set(Status) - {0}
    assert len(CASES) == len(VECTORS["cases"])


@pytest.mark.parametrize("name", CASES)
def test_vectors_read_back(name: str) -> None:
    case = CASES[name]
    encoded = bytes.fromhex(case["encoded"])
    body = decode_body(encoded, type_of(case))

    assert make_rpc.view(msgspec.msgpack.decode(encoded)) == case["body"]
    if "means" in case:
        meant = CASES[case["means"]]
        assert body == decode_body(bytes.fromhex(meant["encoded"]), type_of(meant))
    elif isinstance(body, Refusal):
        assert encode_answer(Status(case["status"]), body) == encoded
    else:
        assert encode_body(body) == encoded


@pytest.mark.parametrize("message", VECTORS["messages"], ids=lambda message: str(message["name"]))
def test_message_vectors_read_back(message: dict[str, Any]) -> None:
    encoded = bytes.fromhex(message["encoded"])
    if message["kind"] == "request":
        number, method, body = decode_request(encoded)
        assert (number, method) == (message["id"], message["method"])
        assert encode_request(number, method, body) == encoded
    else:
        number, status, body = decode_response(encoded)
        assert (number, status) == (message["id"], message["status"])
        assert encode_response(number, status, body) == encoded
    assert make_rpc.view(msgspec.msgpack.decode(body)) == message["body"]


@pytest.mark.parametrize("refused", VECTORS["refused"], ids=lambda refused: str(refused["name"]))
def test_refused_vectors_are_refused_by_every_body(refused: dict[str, str]) -> None:
    for body_type in TYPES:
        refuses(bytes.fromhex(refused["encoded"]), body_type)


def test_json_lines_of_the_vectors_hold_no_unsafe_integer() -> None:
    def check(value: object) -> None:
        if isinstance(value, list):
            for item in value:
                check(item)
        assert not (isinstance(value, int) and abs(value) > 2**53 - 1)

    for case in json.loads(make_rpc.FILE.read_text())["cases"]:
        check(case["body"])


# Forms


def test_methods_and_statuses_are_those_of_section_5() -> None:
    assert {m.name: m.value for m in Method} == {
        "PING": 0x01,
        "FIND_NODE": 0x02,
        "FIND_VALUE": 0x03,
        "STORE": 0x04,
        "GET": 0x05,
        "PUT": 0x06,
        "WHOAMI": 0x07,
        "DIAL_BACK": 0x08,
        "RELAY_RESERVE": 0x10,
        "RELAY_OPEN": 0x11,
        "RELAY_CLOSE": 0x12,
        "SUBSCRIBE": 0x20,
        "UNSUBSCRIBE": 0x21,
        "PUBLISH": 0x22,
        "BACKLOG": 0x23,
        "TOPIC_SYNC": 0x24,
        "REDEEM": 0x30,
    }
    assert [s.value for s in Status] == [
        0,
        100,
        101,
        102,
        103,
        104,
        105,
        106,
        107,
        205,
        206,
        207,
        301,
        302,
        409,
    ]
    assert REQUESTS.keys() == RESPONSES.keys()


def test_defaults_are_those_of_section_5() -> None:
    bare = encode_any([TARGET])

    assert decode_body(bare, FindNode) == FindNode(TARGET, 20)
    assert decode_body(bare, FindValue) == FindValue(TARGET, (), 8_192)
    assert decode_body(bare, Get) == Get(TARGET, (), 524_288, 1)
    assert decode_body(encode_any([TARGET, b"r"]), Store) == Store(TARGET, b"r", None, 0)
    assert decode_body(b"\x90", FoundValue) == FoundValue((), ())
    assert BUCKET_SIZE == 20


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (Status.RATE_LIMITED, [7]),
        (Status.BAD_LIFETIME, [7]),
        (Status.CAS_MISMATCH, [7, HASH]),
        (Status.SEQ_TOO_LOW, [7, HASH]),
        (Status.EQUIVOCATION, [7, HASH]),
        (Status.BAD_REQUEST, []),
        (Status.UNKNOWN_METHOD, []),
        (Status.NOT_FOUND, []),
        (Status.BUSY, []),
        (Status.RECORD_TOO_BIG, []),
        (Status.BAD_SIGNATURE, []),
    ],
)
def test_a_refusal_carries_only_what_its_status_says(status: Status, fields: list[object]) -> None:
    encoded = encode_answer(status, Refusal(7, HASH))

    assert msgspec.msgpack.decode(encoded) == fields
    read = decode_body(encoded, Refusal)
    assert read == Refusal(*([7, HASH][: len(fields)]))  # type: ignore[arg-type]  # of either kind


def many(count: int, item: object) -> list[object]:
    return [item] * count


CONTACT_FIELDS = [KEY, [], 1]
ROW = [b"", 0, HASH]
SUMMARY_FIELDS = [KEY, bytes(8), 0, 1]


@pytest.mark.parametrize(
    ("body_type", "most", "over"),
    [
        (FindNode, [TARGET, 2**32 - 1], [TARGET, 2**32]),
        (FindNode, [TARGET, 0], [TARGET, -1]),
        (FindNode, [TARGET], [bytes(31)]),
        (FindNode, [TARGET], [bytes(33)]),
        (FindNode, [TARGET], [TARGET.decode()]),
        (FindNode, [TARGET, 1], [TARGET, True]),
        (FindNode, [TARGET, 1], [TARGET, None]),
        (FindNode, [TARGET, 1], [TARGET, 1.0]),
        (FindNode, [TARGET, 1], []),
        (FindValue, [TARGET, many(KNOWN_HASHES_MAX, HASH)], [TARGET, many(KNOWN_HASHES_MAX + 1, HASH)]),
        (FindValue, [TARGET, [HASH]], [TARGET, [bytes(31)]]),
        (Store, [TARGET, b"", 2**64 - 1], [TARGET, b"", -1]),
        (Store, [TARGET, b"", None, 2**32 - 1], [TARGET, b"", None, 2**32]),
        (Get, [TARGET, [], 0, 1], [TARGET, [], 0, 0]),
        (Get, [TARGET, [], 0, READ_PATHS_MAX], [TARGET, [], 0, READ_PATHS_MAX + 1]),
        (Get, [TARGET, [], 0, 1], [TARGET, [], 0, True]),
        (Put, [TARGET, b""], [TARGET, "text"]),
        (
            FoundNodes,
            [many(CONTACTS_PER_ANSWER_MAX, CONTACT_FIELDS)],
            [many(CONTACTS_PER_ANSWER_MAX + 1, CONTACT_FIELDS)],
        ),
        (
            FoundNodes,
            [[[KEY, many(CONTACT_URLS_MAX, "u"), 1]]],
            [[[KEY, many(CONTACT_URLS_MAX + 1, "u"), 1]]],
        ),
        (FoundNodes, [[[KEY, ["u" * URL_BYTES_MAX], 1]]], [[[KEY, ["u" * (URL_BYTES_MAX + 1)], 1]]]),
        (FoundNodes, [[[KEY, [], 2**32 - 1]]], [[[KEY, [], 2**32]]]),
        (FoundNodes, [[CONTACT_FIELDS]], [[[KEY[:32], [], 1]]]),
        (FoundNodes, [[CONTACT_FIELDS]], [[[KEY, []]]]),
        (FoundValue, [many(MULTI_ENTRIES_MAX, ROW)], [many(MULTI_ENTRIES_MAX + 1, ROW)]),
        (FoundValue, [[bytes(RECORD_BYTES_MAX)]], [[bytes(RECORD_BYTES_MAX + 1)]]),
        (FoundValue, [[[KEY, 2**64 - 1, HASH]]], [[[KEY + b"\0", 1, HASH]]]),
        (FoundValue, [[[KEY, 0, HASH]]], [[[KEY, -1, HASH]]]),
        (FoundValue, [[ROW]], [[[b"", 0, bytes(31)]]]),
        (FoundValue, [[ROW]], [[None]]),
        (Got, [[], 2**32 - 1, 0], [[], 2**32, 0]),
        (PutDone, [0, 0, 0, 301, [1, HASH]], [0, 0, 0, 301, [1, HASH, 1]]),
        (PutDone, [0, 0, 0, 301, [1, HASH]], [0, 0, 0, 301, [1, bytes(33)]]),
        (Refusal, [2**64 - 1, HASH], [1, bytes(33)]),
        (Refusal, [0], [-1]),
        (WhoAmI, ["h" * 255, 65_535, "p" * 32], ["h" * 256, 1, ""]),
        (WhoAmI, ["", 0, ""], ["", 65_536, ""]),
        (WhoAmI, ["", 0, ""], ["", 0, "p" * 33]),
        (WhoAmI, ["", 0, ""], [b"", 0, ""]),
        (DialBack, [many(DIAL_BACK_URLS_MAX, "u")], [many(DIAL_BACK_URLS_MAX + 1, "u")]),
        (DialledBack, [[[True, "e" * 255]]], [[[True, "e" * 256]]]),
        (DialledBack, [[[False]]], [[[0]]]),
        (
            Subscribe,
            [TOPIC, many(SUMMARY_ROWS_MAX, SUMMARY_FIELDS)],
            [TOPIC, many(SUMMARY_ROWS_MAX + 1, SUMMARY_FIELDS)],
        ),
        (
            Subscribe,
            [TOPIC, [[*SUMMARY_FIELDS, many(HOLES_MAX, 1)]]],
            [TOPIC, [[*SUMMARY_FIELDS, many(HOLES_MAX + 1, 1)]]],
        ),
        (Subscribe, [TOPIC, [SUMMARY_FIELDS]], [TOPIC, [[KEY, bytes(7), 0, 1]]]),
        (Subscribe, [TOPIC, [], True], [TOPIC, [], 1]),
        (Unsubscribe, [TOPIC], [bytes(15)]),
        (Publish, [bytes(RECORD_BYTES_MAX)], [bytes(RECORD_BYTES_MAX + 1)]),
        (
            Publish,
            [b"", False, bytes(TOPIC_POLICY_BYTES_MAX)],
            [b"", False, bytes(TOPIC_POLICY_BYTES_MAX + 1)],
        ),
        (Backlog, [TOPIC, [[KEY, bytes(8), 0, 2**32 - 1]]], [TOPIC, [[KEY, bytes(8), 0, 2**32]]]),
        (BacklogPage, [many(ENVELOPES_PER_ANSWER_MAX, b"")], [many(ENVELOPES_PER_ANSWER_MAX + 1, b"")]),
        (TopicSync, [TOPIC], [TOPIC + b"\0"]),
        (Redeem, [bytes(225)], [bytes(226)]),
        (Redeem, [bytes(225)], [bytes(224)]),
        (RedeemAnswer, [255, bytes(176)], [0, bytes(177)]),
        (RedeemAnswer, [0], [256]),
    ],
)
def test_bounds_of_every_field(body_type: type[Body], most: list[object], over: list[object]) -> None:
    decode_body(encode_any(most), body_type)
    refuses(encode_any(over), body_type)


def test_a_record_over_its_limit_in_a_store_is_left_to_the_holder_who_answers_205() -> None:
    body = decode_body(encode_any([TARGET, bytes(RECORD_BYTES_MAX + 1)]), Store)

    assert len(body.record) == RECORD_BYTES_MAX + 1


# Fields of other versions


@pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if c["kind"] not in ("refusal", "contact", "identity")]
)
def test_fields_of_a_newer_version_are_ignored(name: str) -> None:
    case = CASES[name]
    body_type = type_of(case)
    meant = decode_body(bytes.fromhex(case["encoded"]), body_type)
    full = msgspec.to_builtins(meant, builtin_types=(bytes,))

    assert decode_body(encode_any([*full, "later", [1, [b"x"]]]), body_type) == meant


@pytest.mark.parametrize("inner", [{}, {"a": 1}, 1.5, msgspec.msgpack.Ext(1, b""), [[{}]], [1, [2.0]]])
def test_maps_floats_and_ext_are_refused_even_in_fields_of_a_newer_version(inner: object) -> None:
    refuses(encode_any([inner]))
    refuses(encode_any([TARGET, 20, inner]), FindNode)
    refuses(encode_any([[[KEY, [], 1, inner]]]), FoundNodes)


@pytest.mark.parametrize(
    "target",
    [b"\xc5\0\x20" + TARGET, b"\xc6\0\0\0\x20" + TARGET, b"\xd9\x20" + TARGET],
)
def test_a_longer_form_of_a_known_field_is_refused(target: bytes) -> None:
    decode_body(b"\x92\xc4\x20" + TARGET + b"\x14", FindNode)
    refuses(b"\x92" + target + b"\x14", FindNode)
    refuses(b"\x92\xc4\x20" + TARGET + b"\xcc\x14", FindNode)
    refuses(b"\xdc\0\x02\xc4\x20" + TARGET + b"\x14", FindNode)


def test_arrays_nest_32_deep_on_every_stack() -> None:
    deepest = encode_any(make_rpc.nested(BODY_DEPTH_MAX - 1))
    too_deep = encode_any(make_rpc.nested(BODY_DEPTH_MAX))

    def deeper(calls: int) -> None:
        if calls:
            deeper(calls - 1)
            return
        assert decode_body(deepest, Empty) == Empty()
        refuses(too_deep)

    for calls in (0, 300):
        deeper(calls)


def test_endless_nesting_is_refused() -> None:
    refuses(b"\x91" * MESSAGE_BYTES_MAX)
    refuses(b"\x91" * (MESSAGE_BYTES_MAX - 1) + b"\x90")


@pytest.mark.parametrize("head", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"])
def test_a_length_that_cannot_be_true_allocates_nothing(head: bytes) -> None:
    tracemalloc.start()
    for body_type in TYPES:
        for data in (
            head,
            b"\x91" + head,
            b"\x92\xc4\x20" + TARGET + head,
            b"\x91\x91" + head,
            b"\x91\x91\x92" + head,
        ):
            refuses(data, body_type)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20


# Properties

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
keys = st.binary(min_size=33, max_size=33)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
contacts = st.builds(WireContact, keys, st.lists(texts, max_size=4).map(tuple), u32)
rows = st.builds(Row, st.sampled_from((b"", KEY)), u64, st.binary(min_size=32, max_size=32))
holes = st.lists(u32, max_size=4).map(tuple)
summary_rows = st.builds(SummaryRow, keys, st.binary(min_size=8, max_size=8), u32, u32, holes)
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "target": st.binary(min_size=32, max_size=32),
    "topic": st.binary(min_size=16, max_size=16),
    "record": st.binary(max_size=300),
    "envelope": st.binary(max_size=300),
    "policy": st.binary(max_size=300),
    "envelopes": st.lists(st.binary(max_size=300), max_size=4).map(tuple),
    "records": st.lists(st.binary(max_size=300) | rows, max_size=4).map(tuple),
    "known": st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple),
    "contacts": st.lists(contacts, max_size=3).map(tuple),
    "hosts": st.lists(contacts, max_size=3).map(tuple),
    "summary": st.lists(summary_rows, max_size=3).map(tuple),
    "paths": st.integers(1, READ_PATHS_MAX),
    "ranges": st.lists(st.builds(Range, keys, st.binary(min_size=8, max_size=8), u32, u32), max_size=3).map(
        tuple
    ),
    "results": st.lists(st.builds(Reached, st.booleans(), texts), max_size=4).map(tuple),
    "urls": st.lists(texts, max_size=4).map(tuple),
    "detail": st.lists(u64 | st.binary(max_size=32), max_size=2).map(tuple),
    "hash": st.binary(max_size=32),
    "redemption": st.binary(min_size=225, max_size=225),
    "outcome": st.integers(0, 255),
    "membership": st.binary(max_size=176),
    "host": texts,
    "protocol": st.text(st.characters(exclude_categories=["Cs"]), max_size=32),
    "port": st.integers(0, 65_535),
    "cas": st.none() | u64,
    "number": u64,
    "delegate": st.booleans(),
    "push": st.booleans(),
    "more": st.booleans(),
}


def bodies_of(body_type: type[Body]) -> st.SearchStrategy[Body]:
    return st.builds(body_type, **{name: SPECIAL.get(name, u32) for name in body_type.__struct_fields__})


bodies = st.one_of([bodies_of(body_type) for body_type in TYPES])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | texts
    | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=400)
@given(bodies)
def test_every_body_reads_back(body: Body) -> None:
    assert decode_body(encode_body(body), type(body)) == body


@given(bodies, st.lists(st.none() | u64 | texts | st.binary(max_size=9), max_size=3))
def test_every_body_reads_back_with_a_tail_of_fields(body: Body, extra: list[object]) -> None:
    fields = msgspec.to_builtins(body, builtin_types=(bytes,))

    assert decode_body(encode_any([*fields, *extra]), type(body)) == body


@given(bodies, st.data())
def test_a_body_cut_short_or_with_a_tail_is_a_wire_error(body: Body, data: st.DataObject) -> None:
    encoded = encode_body(body)

    refuses(encoded[: data.draw(st.integers(0, len(encoded) - 1))], type(body))
    refuses(encoded + data.draw(st.binary(min_size=1, max_size=5)), type(body))


def survives(data: bytes, body_type: type[Body]) -> None:
    """Decoding ends in a body or in a WireError; whatever is read was said in shortest form."""
    try:
        body = decode_body(data, body_type)
    except WireError:
        return
    assert encode_any(msgspec.msgpack.decode(data)) == data
    assert decode_body(encode_body(body), body_type) == body


@settings(max_examples=300)
@given(bodies, st.data())
def test_a_flipped_bit_is_another_body_or_a_wire_error(body: Body, data: st.DataObject) -> None:
    changed = bytearray(encode_body(body))
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8

    survives(bytes(changed), type(body))


@settings(max_examples=500)
@given(st.binary(max_size=120), st.sampled_from(TYPES))
def test_any_bytes_are_a_body_or_a_wire_error(data: bytes, body_type: type[Body]) -> None:
    survives(data, body_type)
    survives(b"\x91" + data, body_type)


@settings(max_examples=500)
@given(st.lists(values, max_size=5), st.sampled_from(TYPES))
def test_any_message_pack_is_a_body_or_a_wire_error(fields: list[object], body_type: type[Body]) -> None:
    survives(encode_any(fields), body_type)
    survives(encode_any([TARGET, *fields]), body_type)


# Whole messages


@given(u32, st.integers(0, 255), st.integers(0, 65_535), st.binary(max_size=50))
def test_messages_read_back(number: int, method: int, status: int, body: bytes) -> None:
    assert decode_request(encode_request(number, method, body)) == (number, method, body)
    assert decode_response(encode_response(number, status, body)) == (number, status, body)


def test_messages_without_their_header_are_refused() -> None:
    for size in range(5):
        with pytest.raises(WireError):
            decode_request(bytes(size))
    for size in range(6):
        with pytest.raises(WireError):
            decode_response(bytes(size))
    assert decode_request(bytes(5)) == (0, 0, b"")
    assert decode_response(bytes(6)) == (0, 0, b"")

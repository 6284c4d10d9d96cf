"""Envelopes, messages in them, and bodies of record type 0x12 (PROTOCOL.md section 11)."""

from __future__ import annotations

import hashlib
import tracemalloc

import msgspec
import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import CREATED, KEY_A, PROTOCOL, load
from yzdht.errors import UsageError, WireError
from yzdht.ids import PublicKey, SendSession, TopicId
from yzdht.limits import (
    BODY_EXTRA_BYTES_MAX,
    DELIVERED_TOGETHER_BYTES_MAX,
    DELIVERED_TOGETHER_MAX,
    ENVELOPES_PER_ANSWER_MAX,
    HOLES_MAX,
    MESSAGE_BYTES_MAX,
    PUBSUB_DATA_BYTES_MAX,
    PUBSUB_ENVELOPE_BYTES_MAX,
    SUMMARY_ROWS_MAX,
    TOPICS_PER_ANNOUNCEMENT_MAX,
)
from yzdht.wire.pubsub import (
    FIXED_BYTES,
    INDEX_MAX,
    NO_KID,
    Announcement,
    Delivery,
    Mode,
    PubsubMessage,
    decode_envelope,
    decode_message,
    decode_push,
    encode_announcement,
    encode_delivery,
    encode_fixed,
    encode_message,
    join_deliveries,
)
from yzdht.wire.rpc import SummaryRow


GOLDEN = PROTOCOL["pubsub"]
OURS = load("project-v1.json")["pubsub"]
GROUP = bytes.fromhex(GOLDEN["envelope"])
PUBLIC = bytes.fromhex(GOLDEN["public_envelope"])
TOPIC = TopicId(bytes(range(16)))
SESSION = SendSession(bytes(range(8)))
SIGNATURE = b"s" * 64
ROW = SummaryRow(KEY_A.public_key, SESSION, 0, 258, (3, 200, 256))

encode_any = msgspec.msgpack.encode

keys = st.binary(min_size=32, max_size=32).map(lambda x: PublicKey(b"\x03" + x))
topics = st.binary(min_size=16, max_size=16).map(TopicId)
sessions = st.binary(min_size=8, max_size=8).map(SendSession)
indexes = st.integers(0, INDEX_MAX)
messages = st.builds(PubsubMessage, st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=300))
rows = st.builds(
    SummaryRow,
    keys,
    sessions,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple),
)


HELLO = PubsubMessage(CREATED, 0, b"hello")


def public(index: int = 0, message: PubsubMessage = HELLO) -> bytes:
    fixed = encode_fixed(Mode.PUBLIC, TOPIC, NO_KID, KEY_A.public_key, SESSION, index)
    return fixed + encode_message(message) + SIGNATURE


def flipped(raw: bytes, at: int, mask: int = 1) -> bytes:
    return raw[:at] + bytes((raw[at] ^ mask,)) + raw[at + 1 :]


# Envelopes


@pytest.mark.parametrize(("raw", "mode"), [(GROUP, Mode.GROUP), (PUBLIC, Mode.PUBLIC)])
def test_the_golden_envelopes_have_the_fields_of_their_vectors(raw: bytes, mode: Mode) -> None:
    envelope = decode_envelope(raw)

    assert (envelope.mode, envelope.sender, envelope.index) == (mode, KEY_A.public_key, 258)
    assert envelope.session.hex() == GOLDEN["session8"]
    assert envelope.topic.hex() == GOLDEN["topic16" if mode is Mode.GROUP else "public_topic16"]
    assert envelope.kid.hex() == (GOLDEN["kid8"] if mode is Mode.GROUP else "00" * 8)
    assert envelope.fixed + envelope.body + envelope.signature == raw
    assert envelope.fixed + envelope.body == envelope.signed
    assert len(envelope.fixed) == FIXED_BYTES
    fields = mode, envelope.topic, envelope.kid, envelope.sender, envelope.session, envelope.index
    assert encode_fixed(*fields) == envelope.fixed


def test_a_message_is_named_by_all_but_its_signature() -> None:
    envelope = decode_envelope(GROUP)

    assert envelope.id.hex() == GOLDEN["message_id"]
    assert envelope.id == hashlib.sha256(GROUP[:-64]).digest()[:20]
    assert decode_envelope(flipped(GROUP, -1 % len(GROUP))).id == envelope.id
    assert decode_envelope(flipped(GROUP, 80)).id != envelope.id
    assert envelope == decode_envelope(GROUP)  # whether its name was asked for does not matter


@given(st.sampled_from(Mode), topics, keys, sessions, indexes, st.integers(1, 5))
def test_an_envelope_reads_back(
    mode: Mode, topic: TopicId, sender: PublicKey, session: SendSession, index: int, blocks: int
) -> None:
    kid = b"k" * 8 if mode is Mode.GROUP else NO_KID
    body = bytes(64 * blocks + (16 if mode is Mode.GROUP else 0))

    raw = encode_fixed(mode, topic, kid, sender, session, index) + body + SIGNATURE

    envelope = decode_envelope(raw)
    assert (envelope.mode, envelope.topic, envelope.kid) == (mode, topic, kid)
    assert (envelope.sender, envelope.session, envelope.index) == (sender, session, index)
    assert (envelope.body, envelope.signature) == (body, SIGNATURE)


@pytest.mark.parametrize("raw", [GROUP, PUBLIC])
def test_an_envelope_cut_short_or_with_a_tail_is_refused(raw: bytes) -> None:
    for end in range(len(raw)):
        with pytest.raises(WireError):
            decode_envelope(raw[:end])
    for extra in range(1, 64):
        with pytest.raises(WireError):
            decode_envelope(raw + bytes(extra))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(flipped(GROUP, 0), id="version"),
        pytest.param(flipped(GROUP, 1, 2), id="mode"),
        pytest.param(flipped(GROUP, 2), id="suite"),
        pytest.param(flipped(GROUP, 3, 0x80), id="reserved"),
        pytest.param(flipped(GROUP, 28, 4), id="sender"),
        pytest.param(flipped(PUBLIC, 27), id="kid in public"),
        pytest.param(flipped(GROUP, 1), id="sealed, and said to be public"),
        pytest.param(flipped(PUBLIC, 1), id="public, and said to be sealed"),
        pytest.param(GROUP[:69] + b"\xff" * 4 + GROUP[73:], id="an index without a next one"),
        pytest.param(GROUP[:73] + bytes(16) + SIGNATURE, id="nothing sealed"),
        pytest.param(PUBLIC[:73] + SIGNATURE, id="nothing said"),
    ],
)
def test_what_section_11_does_not_name_is_refused(changed: bytes) -> None:
    with pytest.raises(WireError):
        decode_envelope(changed)


def test_the_last_index_has_a_next_one_that_a_summary_can_name() -> None:
    assert decode_envelope(public(INDEX_MAX)).index == INDEX_MAX
    assert INDEX_MAX + 1 == 2**32 - 1


def test_the_longest_message_fits_an_envelope_of_either_mode_and_no_longer_envelope_is_read() -> None:
    longest = public(message=PubsubMessage(CREATED, 0, b"x" * PUBSUB_DATA_BYTES_MAX))

    assert len(longest) + 16 <= PUBSUB_ENVELOPE_BYTES_MAX < len(longest) + 64 + 16
    assert decode_message(decode_envelope(longest).body).data == b"x" * PUBSUB_DATA_BYTES_MAX
    with pytest.raises(WireError):
        decode_envelope(longest[:-64] + bytes(64 * 1_024) + SIGNATURE)
    with pytest.raises(UsageError, match="at most 65,335 bytes"):
        encode_message(PubsubMessage(CREATED, 0, b"x" * (PUBSUB_DATA_BYTES_MAX + 1)))


@given(st.binary(max_size=400))
def test_hostile_bytes_raise_only_wire_errors(data: bytes) -> None:
    for raw in (data, GROUP[:2] + data):
        try:
            envelope = decode_envelope(raw)
        except WireError:
            continue
        assert envelope.fixed + envelope.body + envelope.signature == raw


@pytest.mark.parametrize("given", OURS["refused_envelopes"], ids=lambda given: str(given["name"]))
def test_envelopes_of_the_vectors_that_must_be_refused_are(given: dict[str, str]) -> None:
    with pytest.raises(WireError):
        decode_envelope(bytes.fromhex(given["encoded"]))


# What they carry


@given(messages)
def test_a_message_reads_back_from_its_padding(message: PubsubMessage) -> None:
    padded = encode_message(message)

    assert len(padded) % 64 == 0
    assert 9 + len(message.data) <= len(padded) < 9 + len(message.data) + 64
    assert decode_message(padded) == message


def test_the_golden_message_is_what_the_vector_says() -> None:
    assert decode_message(decode_envelope(PUBLIC).body) == HELLO


@given(messages, st.data())
def test_a_padding_that_was_changed_gives_another_message_or_none(
    message: PubsubMessage, data: st.DataObject
) -> None:
    padded = encode_message(message)
    bit = data.draw(st.integers(0, 8 * len(padded) - 1))
    changed = flipped(padded, bit // 8, 1 << bit % 8)

    try:
        other = decode_message(changed)
    except WireError:
        return
    assert other != message
    assert encode_message(other) == changed


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        bytes(3),
        bytes(64),
        (4).to_bytes(4) + bytes(60),
        (61).to_bytes(4) + bytes(60),
        (5).to_bytes(4) + bytes(124),
        (5).to_bytes(4) + bytes(59),
        (2**32 - 1).to_bytes(4) + bytes(60),
        (5).to_bytes(4) + bytes(59) + b"\x01",
    ],
)
def test_padding_of_another_length_or_not_of_zeros_is_refused(padded: bytes) -> None:
    with pytest.raises(WireError):
        decode_message(padded)


@pytest.mark.parametrize(("created", "kind"), [(-1, 0), (2**32, 0), (0, -1), (0, 256)])
def test_numbers_that_a_message_cannot_carry_are_the_callers_fault(created: int, kind: int) -> None:
    with pytest.raises(UsageError):
        encode_message(PubsubMessage(created, kind, b""))


# Unasked


def shown(push: Delivery | Announcement) -> dict[str, object]:
    """As the vectors show it."""
    if isinstance(push, Delivery):
        return {"envelopes": [envelope.hex() for envelope in push.envelopes]}
    changes = [
        [topic.hex(), [[r.sender.hex(), r.session.hex(), r.first, r.next, list(r.holes)] for r in rows]]
        for topic, rows in push.changes
    ]
    return {"changes": changes}


@pytest.mark.parametrize(
    "given", [*OURS["pushes"], *OURS["other_versions"]], ids=lambda given: str(given["name"])
)
def test_bodies_of_the_vectors_read_back(given: dict[str, str]) -> None:
    push = decode_push(bytes.fromhex(given["encoded"]))

    assert {"name": given["name"], "encoded": given["encoded"], **shown(push)} == given


@pytest.mark.parametrize("given", OURS["refused_bodies"], ids=lambda given: str(given["name"]))
def test_bodies_of_the_vectors_that_must_be_refused_are(given: dict[str, str]) -> None:
    with pytest.raises(WireError):
        decode_push(bytes.fromhex(given["encoded"]))


def test_a_delivery_reads_back() -> None:
    assert encode_delivery([GROUP])[:2] == b"\x92\x00"
    for envelopes in ((GROUP,), (GROUP, PUBLIC), (b"",), (GROUP,) * 20):
        assert decode_push(encode_delivery(envelopes)) == Delivery(envelopes)


@given(st.lists(st.one_of(st.binary(max_size=20_000), st.none()), max_size=40))
def test_joined_deliveries_say_the_same_in_the_same_order_and_stay_small(said: list[bytes | None]) -> None:
    word = encode_announcement([(TOPIC, (ROW,))])
    joined = join_deliveries([word if item is None else encode_delivery([item]) for item in said])

    heard: list[bytes | None] = []
    for body in joined:
        push = decode_push(body)
        heard += push.envelopes if isinstance(push, Delivery) else [None]
        assert body == (encode_delivery(push.envelopes) if isinstance(push, Delivery) else word)
        assert len(body) <= DELIVERED_TOGETHER_BYTES_MAX
    assert heard == said


def test_as_many_deliveries_are_joined_as_one_byte_counts() -> None:
    one = encode_delivery([b"x"])

    assert join_deliveries([one] * DELIVERED_TOGETHER_MAX) == [
        encode_delivery([b"x"] * DELIVERED_TOGETHER_MAX)
    ]
    assert join_deliveries([one] * (DELIVERED_TOGETHER_MAX + 1))[1:] == [one]
    assert join_deliveries([encode_delivery([GROUP, PUBLIC]), one]) == [encode_delivery([GROUP, PUBLIC]), one]


@given(st.lists(st.tuples(topics, st.lists(rows, max_size=3).map(tuple)), min_size=1, max_size=4).map(tuple))
def test_an_announcement_reads_back(changes: tuple[tuple[TopicId, tuple[SummaryRow, ...]], ...]) -> None:
    assert decode_push(encode_announcement(changes)) == Announcement(changes)


def test_an_announcement_is_the_array_of_the_protocol_page() -> None:
    items = [1, TOPIC, [[KEY_A.public_key, SESSION, 0, 258, [3, 200, 256]]], bytes(16), []]

    changes = ((TOPIC, (ROW,)), (TopicId(bytes(16)), ()))
    assert encode_announcement(changes) == encode_any(items)
    assert decode_push(encode_any(items)) == Announcement(changes)


def test_rows_without_holes_and_with_fields_of_a_later_version_are_read() -> None:
    short, long = [KEY_A.public_key, SESSION, 0, 7], [KEY_A.public_key, SESSION, 0, 7, [], "later", [1]]

    expected = Announcement(((TOPIC, (SummaryRow(KEY_A.public_key, SESSION, 0, 7),)),))
    assert decode_push(encode_any([1, TOPIC, [short]])) == expected
    assert decode_push(encode_any([1, TOPIC, [long]])) == expected


_PLAIN_ROW = [KEY_A.public_key, SESSION, 0, 1, []]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [0],
        [1],
        [2, GROUP],
        [b"", GROUP],
        [True, GROUP],
        [None, GROUP],
        [0, 1],
        [0, GROUP, 1],
        [0, []],
        [0, GROUP, [_PLAIN_ROW]],
        [0, "text"],
        [1, TOPIC],
        [1, TOPIC, GROUP],
        [1, TOPIC, 0],
        [1, TOPIC, [_PLAIN_ROW], TOPIC],
        [1, TOPIC[:15], []],
        [1, TOPIC + b"x", []],
        [1, [], TOPIC],
        [1, 7, []],
        [1, TOPIC, [[]]],
        [1, TOPIC, [_PLAIN_ROW[:3]]],
        [1, TOPIC, [[KEY_A.public_key[:32], SESSION, 0, 1, []]]],
        [1, TOPIC, [[KEY_A.public_key, SESSION[:7], 0, 1, []]]],
        [1, TOPIC, [[KEY_A.public_key, SESSION, -1, 1, []]]],
        [1, TOPIC, [[KEY_A.public_key, SESSION, 0, 2**32, []]]],
        [1, TOPIC, [[KEY_A.public_key, SESSION, 0, 1, list(range(HOLES_MAX + 1))]]],
        [1, TOPIC, [_PLAIN_ROW] * (SUMMARY_ROWS_MAX + 1)],
        [1, *[TOPIC, []] * (TOPICS_PER_ANNOUNCEMENT_MAX + 1)],
        [0, *[b""] * (ENVELOPES_PER_ANSWER_MAX + 1)],
        [1, TOPIC, [[*_PLAIN_ROW, {}]]],
        [1, TOPIC, [[*_PLAIN_ROW, 1.5]]],
    ],
    ids=lambda items: repr(items)[:40],
)
def test_bodies_of_another_form_are_refused(items: list[object]) -> None:
    with pytest.raises(WireError):
        decode_push(encode_any(items))


def test_as_much_as_the_bounds_allow_is_read() -> None:
    full = SummaryRow(KEY_A.public_key, SESSION, 0, 1_000, tuple(range(HOLES_MAX)))
    changes = [(TOPIC, (full,) * SUMMARY_ROWS_MAX), *[(TOPIC, ())] * (TOPICS_PER_ANNOUNCEMENT_MAX - 1)]

    assert decode_push(encode_announcement(changes)) == Announcement(tuple(changes))
    empty = (b"",) * ENVELOPES_PER_ANSWER_MAX
    assert decode_push(encode_delivery(empty)) == Delivery(empty)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x92\x00",
        b"\x80",
        b"\x92\xcc\x00\xc4\x01a",  # 0 in two bytes
        b"\x92\x00\xc5\x00\x01a",  # a length in two bytes
        b"\xdc\x00\x02\x00\xc4\x01a",
        encode_delivery([GROUP]) + b"\x00",
        encode_any([1, TOPIC, [[*_PLAIN_ROW, ""]]])[:-1] + b"\xd9\x00",
        encode_any([1, TOPIC, [[*_PLAIN_ROW, ""]]])[:-1] + b"\xa1\xff",  # no UTF-8
    ],
    ids=repr,
)
def test_bodies_in_another_encoding_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_push(data)


def test_a_body_that_carries_more_than_a_later_version_would_costs_next_to_nothing() -> None:
    filler: list[object] = [[]] * (MESSAGE_BYTES_MAX - 200)
    data = encode_any([1, TOPIC, [[*_PLAIN_ROW, filler]]])
    assert BODY_EXTRA_BYTES_MAX < len(data) <= MESSAGE_BYTES_MAX

    tracemalloc.start()
    with pytest.raises(WireError):
        decode_push(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MESSAGE_BYTES_MAX


@given(st.binary(max_size=200))
def test_hostile_bodies_raise_only_wire_errors(data: bytes) -> None:
    for raw in (data, b"\x92\x00" + data, b"\x93\x01\xc4\x10" + TOPIC + data):
        try:
            push = decode_push(raw)
        except WireError:
            continue
        again = encode_delivery(push[0]) if isinstance(push, Delivery) else encode_announcement(push[0])
        assert decode_push(again) == push

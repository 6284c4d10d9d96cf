from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.errors import WireError
from yzdht.ids import NodeId, PublicKey, Tag
from yzdht.wire.text import (
    REVOCATION_BYTES,
    decode_node_id,
    decode_public_key,
    decode_revocation,
    decode_slot_link,
    encode_node_id,
    encode_public_key,
    encode_revocation,
    encode_slot_link,
)


KEY = PublicKey(b"\x02" + bytes(32))
TAG = Tag(b"\xff" * 32)
LINK = encode_slot_link(KEY, TAG)
REVOCATION = encode_revocation(bytes(REVOCATION_BYTES))
KEYS = st.tuples(st.sampled_from([b"\x02", b"\x03"]), st.binary(min_size=32, max_size=32)).map(
    lambda pair: PublicKey(b"".join(pair))
)
POINTS = st.binary(min_size=32, max_size=32)


@given(KEYS)
def test_public_keys_round_trip(key: PublicKey) -> None:
    assert len(encode_public_key(key)) == 44
    assert decode_public_key(encode_public_key(key)) == key


@given(POINTS)
def test_node_ids_round_trip(raw: bytes) -> None:
    assert decode_node_id(encode_node_id(NodeId(raw))) == raw


@given(KEYS, POINTS)
def test_slot_links_round_trip(key: PublicKey, tag: bytes) -> None:
    link = encode_slot_link(key, Tag(tag))

    assert len(link) == 109
    assert decode_slot_link(link) == (key, tag)


@given(st.binary(min_size=REVOCATION_BYTES, max_size=REVOCATION_BYTES))
def test_revocations_round_trip(record: bytes) -> None:
    text = encode_revocation(record)

    assert len(text) == 217
    assert decode_revocation(text) == record


def test_a_slot_link_is_lower_case_base32_without_padding() -> None:
    assert LINK == "yz:ai" + "a" * 51 + "." + "7" * 51 + "q"


@pytest.mark.parametrize(
    "text", ["", "A" * 44, "A" * 43, encode_public_key(KEY) + "\n", "+" * 44, "A" * 43 + "=", "é" * 44]
)
def test_other_texts_are_not_public_keys(text: str) -> None:
    with pytest.raises(WireError):
        decode_public_key(text)


@pytest.mark.parametrize("text", ["", "0" * 63, "A" * 64, "0" * 64 + "\n", "٣" * 64])
def test_other_texts_are_not_node_ids(text: str) -> None:
    with pytest.raises(WireError):
        decode_node_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        LINK[3:],
        LINK.upper(),
        LINK + "=",
        LINK + "\n",
        LINK[:-1] + "r",
        LINK[:-1] + "1",
        LINK.replace(".", ""),
        "yz:" + "a" * 53 + "." + "a" * 52,
        LINK[:55] + "b" + LINK[56:],
    ],
)
def test_other_texts_are_not_slot_links(text: str) -> None:
    with pytest.raises(WireError):
        decode_slot_link(text)


@pytest.mark.parametrize(
    "text", ["", REVOCATION[:-1], REVOCATION + "=", REVOCATION + "\n", REVOCATION[14:], REVOCATION[:-1] + "B", REVOCATION.upper()]
)  # fmt: skip
def test_other_texts_are_not_revocations(text: str) -> None:
    with pytest.raises(WireError):
        decode_revocation(text)


@given(st.text(max_size=120))
def test_hostile_text_raises_only_wire_errors(text: str) -> None:
    for decode in (decode_public_key, decode_node_id, decode_slot_link, decode_revocation):
        with pytest.raises(WireError):
            decode(text)

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import KEY_A, KEY_B, NETWORK, OFF_CURVE
from yzdht.crypto.naming import (
    dh,
    fingerprint,
    group_tag,
    immutable_target,
    kdf,
    lan_tag,
    move_tag,
    multi_target,
    mutable_target,
    name_key,
    network_id,
    node_id_of,
    normalise_name,
    own_tag,
    parse_fingerprint,
    public_tag,
    self_key,
)
from yzdht.errors import InvalidKey, UsageError
from yzdht.ids import NodeId, PublicKey, Tag


OTHER = network_id("other")
SECRET = bytes(range(32))
COMPOSED, DECOMPOSED = "über", "u\u0308ber"


def test_networks_have_their_own_hashes() -> None:
    assert len(NETWORK) == 8
    assert NETWORK != OTHER
    assert dh("yz1 test", NETWORK, b"a") != dh("yz1 test", OTHER, b"a")


def test_parts_are_concatenated_and_labels_are_not() -> None:
    assert dh("yz1 test", NETWORK, b"a", b"b") == dh("yz1 test", NETWORK, b"ab")
    assert dh("ab", NETWORK, b"c") != dh("a", NETWORK, b"bc")
    assert kdf(SECRET, b"", "ab", b"c", 16) != kdf(SECRET, b"", "a", b"bc", 16)


def test_names_are_brought_to_nfc_wherever_they_are_hashed() -> None:
    assert normalise_name(DECOMPOSED) == COMPOSED
    assert network_id(DECOMPOSED) == network_id(COMPOSED)
    assert own_tag(SECRET, NETWORK, DECOMPOSED) == own_tag(SECRET, NETWORK, COMPOSED)
    assert public_tag(NETWORK, DECOMPOSED) == public_tag(NETWORK, COMPOSED)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "a" * 1_025, "é" * 513])
def test_names_out_of_bounds_are_refused(name: str) -> None:
    for use in (
        normalise_name,
        lambda text: public_tag(NETWORK, text),
        lambda text: own_tag(SECRET, NETWORK, text),
    ):
        with pytest.raises(UsageError):
            use(name)


def test_names_at_the_bounds_are_taken() -> None:
    assert normalise_name("a") == "a"
    assert normalise_name("é" * 512) == "é" * 512
    assert len(network_id("é" * 32)) == 8


@pytest.mark.parametrize("name", ["", "\0", "\udfff", "é" * 33])
def test_network_names_out_of_bounds_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        network_id(name)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=100))
def test_normalising_twice_changes_nothing(name: str) -> None:
    once = normalise_name(name)

    assert normalise_name(once) == once


def test_the_keys_of_the_storage_secret_differ_by_use_and_identity() -> None:
    ids = node_id_of(KEY_A.public_key), node_id_of(KEY_B.public_key)

    assert len({derive(SECRET, node_id) for derive in (self_key, name_key) for node_id in ids}) == 4


def test_node_id_of_other_forms_is_refused() -> None:
    for raw in (b"", b"\x04" + bytes(64), OFF_CURVE):
        with pytest.raises(InvalidKey):
            node_id_of(raw)


def test_tags_and_targets_differ_by_kind() -> None:
    tag = Tag(bytes(32))

    assert len({public_tag(NETWORK, "a"), own_tag(SECRET, NETWORK, "a"), move_tag(NETWORK)}) == 3
    assert own_tag(SECRET, NETWORK, "a") == group_tag(SECRET, NETWORK, "a")
    targets = {
        mutable_target(NETWORK, KEY_A.public_key, tag),
        mutable_target(NETWORK, KEY_B.public_key, tag),
        multi_target(NETWORK, tag),
        immutable_target(NETWORK, tag),
        mutable_target(OTHER, KEY_A.public_key, tag),
    }
    assert len(targets) == 5


def test_a_fingerprint_is_the_first_80_bits() -> None:
    assert fingerprint(NodeId(bytes(32))) == "0000-0000-0000-0000"
    assert fingerprint(NodeId(b"\xff" * 10 + bytes(22))) == "ZZZZ-ZZZZ-ZZZZ-ZZZZ"
    assert fingerprint(NodeId(b"\x08" + bytes(31))) == "1000-0000-0000-0000"
    assert fingerprint(node_id_of(KEY_A.public_key)) == "PY2B-ZQHV-T38E-B3NE"


@given(st.binary(min_size=32, max_size=32))
def test_a_fingerprint_is_read_as_it_was_written(raw: bytes) -> None:
    text = fingerprint(NodeId(raw))

    assert parse_fingerprint(text) == text
    assert parse_fingerprint(text.lower().replace("-", " ")) == text
    assert parse_fingerprint(text.replace("1", "l").replace("0", "O")) == text
    assert parse_fingerprint(text.replace("1", "i").replace("0", "o").replace("-", "")) == text


@pytest.mark.parametrize(
    "text", ["", "PY2B", "PY2B-ZQHV-T38E-B3NU", "PY2B-ZQHV-T38E-B3NE-0", "PY2B-ZQHV-T38E-B3N٣", "\u0131" * 16]
)
def test_other_texts_are_not_fingerprints(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fingerprint(text)


def test_the_tag_on_a_local_network_is_another_for_each_network_key_and_issuer() -> None:
    key, issuer = bytes(range(32)), PublicKey(b"\2" + bytes(32))
    tags = [
        lan_tag(network, secret, who)
        for network in (network_id("main"), OTHER)
        for secret in (None, key)
        for who in (None, issuer)
    ]

    assert len(set(tags)) == 8
    assert tags[0] == dh("yz1 lan", network_id("main"))[:8]
    assert {len(tag) for tag in tags} == {8}

"""Whom a node remembers over a restart."""

from __future__ import annotations

import logging

import msgspec
import pytest
from hypothesis import given, strategies as st

from yzdht.errors import YzError
from yzdht.ids import NodeId, PublicKey
from yzdht.kad.table import Entry
from yzdht.limits import BUCKET_SIZE, PEERS_SAVED_MAX, SMALL_NETWORK_NODES_MAX
from yzdht.ports import Now
from yzdht.state import decode_state, encode_state, is_damaged, was_client
from yzdht.store.keyfile import Identity
from yzdht.wire.address import Address, address_of
from yzdht.wire.frame import Caps


NODE = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
PERSON = Identity.generate(wall_now=0.0)
OWN = NodeId(bytes(32))
NOW = Now(1_000_000.0, 1_800_000_000.0)


def entry(*urls: str, worked: str | None = None) -> Entry:
    key = PERSON.public_key
    point = int.from_bytes(PERSON.node_id)
    return Entry(PERSON.node_id, key, point, NODE, tuple(map(address_of, urls)), worked)


def test_a_peer_comes_back_with_its_key_addresses_and_capabilities() -> None:
    [peer] = decode_state(encode_state([entry("ws://192.0.2.1:8083", "wss://node.example")], OWN, NOW))

    assert peer.public_key == PERSON.public_key
    assert [a.url for a in peer.addresses] == ["ws://192.0.2.1:8083", "wss://node.example:443"]
    assert Caps(peer.caps) == NODE


def test_a_peer_that_published_no_address_is_kept_with_the_one_that_worked() -> None:
    [peer] = decode_state(encode_state([entry(worked="ws://127.0.0.1:1")], OWN, NOW))

    assert [a.url for a in peer.addresses] == ["ws://127.0.0.1:1"]


def test_the_address_that_worked_is_remembered_beside_those_that_were_published() -> None:
    [peer] = decode_state(encode_state([entry("tcp://192.0.2.1:1", worked="ws://192.0.2.1:1")], OWN, NOW))

    assert (peer.worked, [a.url for a in peer.addresses]) == ("ws://192.0.2.1:1", ["tcp://192.0.2.1:1"])


def test_whether_the_node_was_a_client_is_remembered() -> None:
    for is_client in (True, False):
        state = encode_state([entry("ws://192.0.2.1:1")], OWN, NOW, is_client=is_client)
        assert was_client(state) is is_client
        assert not is_damaged(state)
    earlier = msgspec.msgpack.encode([[]])
    assert (was_client(earlier), is_damaged(earlier)) == (False, False)
    assert (was_client(b"\xc1"), is_damaged(b"\xc1")) == (False, True)


def test_a_file_of_an_earlier_version_names_no_address_that_worked() -> None:
    address = address_of("ws://192.0.2.1:1")
    state = [[[PERSON.public_key, [[address.protocol, address.url, address.client_types]], int(NODE), 5]]]

    assert [p.worked for p in decode_state(msgspec.msgpack.encode(state))] == [""]


def test_a_peer_without_any_address_is_not_kept() -> None:
    assert decode_state(encode_state([entry()], OWN, NOW)) == ()
    assert decode_state(encode_state([], OWN, NOW)) == ()


def test_it_says_when_a_peer_was_last_seen_and_stays_the_same_within_an_hour() -> None:
    gone, here = entry("ws://192.0.2.1:1"), entry("ws://192.0.2.1:1")
    gone.seen_at, here.seen_at, here.has_session = NOW.mono - 7_200, NOW.mono - 7_200, True
    peers = decode_state(encode_state([gone, here], OWN, NOW))

    assert [int(NOW.wall // 3600) - p.seen_hour for p in peers] == [0, 2]
    assert encode_state([here], OWN, NOW) == encode_state([here], OWN, Now(NOW.mono + 60, NOW.wall + 60))


def test_so_many_peers_are_kept_and_no_more() -> None:
    saved = encode_state([entry("ws://192.0.2.1:1")] * (PEERS_SAVED_MAX + 10), OWN, NOW)

    assert len(decode_state(saved)) == PEERS_SAVED_MAX


def test_a_table_of_a_network_of_a_million_nodes_is_kept_whole() -> None:
    buckets_that_fill = 16  # half of a million, a quarter, and so on, down to BUCKET_SIZE

    assert max(SMALL_NETWORK_NODES_MAX, (buckets_that_fill + 1) * BUCKET_SIZE) <= PEERS_SAVED_MAX


def at(point: int, hours_ago: float) -> Entry:
    made = entry(f"ws://192.0.2.1:{point}")
    made.point, made.seen_at = point, NOW.mono - hours_ago * 3_600
    return made


def test_those_seen_last_are_kept_and_of_these_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yzdht.state.PEERS_SAVED_MAX", 3)
    entries = [at(1, 30), at(5, 0), at(4, 2), at(3, 2), at(2, 31)]
    entries[1].has_session = True

    for known in (entries, entries[::-1]):
        kept = decode_state(encode_state(known, OWN, NOW))
        assert [peer.addresses[0].url for peer in kept] == [f"ws://192.0.2.1:{point}" for point in (5, 3, 4)]


@pytest.mark.parametrize("damaged", [b"", b"\x80", b"\x91\x91\x93", b"\xff" * 50, b"\x90\x00"])
def test_a_damaged_file_is_no_memory_and_a_warning(damaged: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="yzdht"):
        assert decode_state(damaged) == ()

    assert "made anew" in caplog.text


@given(st.binary(max_size=300))
def test_whatever_the_file_holds_nothing_is_raised(data: bytes) -> None:
    assert isinstance(decode_state(data), tuple)


@given(st.data())
def test_a_file_that_was_cut_short_or_flipped_raises_nothing(data: st.DataObject) -> None:
    saved = bytearray(encode_state([entry("ws://192.0.2.1:1", "wss://node.example")] * 3, OWN, NOW))
    cut = data.draw(st.integers(0, len(saved)))
    position = data.draw(st.integers(0, len(saved) - 1))
    saved[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        peers = decode_state(bytes(saved[:cut]))
    except YzError as error:  # pragma: no cover
        raise AssertionError from error

    assert all(isinstance(a, Address) for peer in peers for a in peer.addresses)
    assert all(len(PublicKey(peer.public_key)) == 33 for peer in peers)

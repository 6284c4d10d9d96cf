"""Whom a node asks whether it is reached, over which version of IP, and what its own dials show."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import NODE, Time, session_with, until
from tests.test_dial_back import lead_to
from yzdht import Node
from yzdht.ids import NodeId, PublicKey
from yzdht.kad.bucket import Entry
from yzdht.reach_probes import Prober, group_of, probers_over
from yzdht.reachability import Version, Word
from yzdht.wire.address import address_of, is_public, public_prefix


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


HOST = "127.0.0.1"


def entry(number: int, host: str, *urls: str) -> Entry:
    node_id = NodeId(number.to_bytes(32))
    made = Entry(node_id, PublicKey(b"\2" * 33), number, NODE, tuple(map(address_of, urls)))
    made.reached(None, host, public_prefix(host))
    return made


def over(version: Version, *entries: Entry, is_dialling: bool = True) -> list[tuple[str, str | None]]:
    found = probers_over(version, entries, is_public, is_dialling=is_dialling)
    return [(prober.host, prober.url) for prober in found]


def test_who_is_connected_by_a_version_is_asked_in_that_session_before_who_must_be_dialled_for_it() -> None:
    six = "tcp://[2a01:5::9]:1"
    both = entry(1, "2a01:5::9", six, "tcp://11.1.0.1:1", "ws://11.1.0.1:1")
    four = entry(2, "11.2.0.1", "tcp://11.2.0.1:1")

    assert over(Version.IPV4, both, four) == [("11.2.0.1", None), ("11.1.0.1", "tcp://11.1.0.1:1")]
    assert over(Version.IPV6, both, four) == [("2a01:5::9", None)]
    assert over(Version.IPV4, both, four, is_dialling=False) == [("11.2.0.1", None)]


def test_of_each_network_one_is_asked() -> None:
    one, same = entry(1, "11.1.0.1"), entry(2, "11.1.0.2")
    dialled = entry(3, "2a01:5::9", "tcp://11.1.0.3:1")

    assert over(Version.IPV4, one, same, dialled) == [("11.1.0.1", None)]


def test_names_private_addresses_and_those_who_can_tell_nothing_are_not_dialled() -> None:
    for url in ("wss://node.example", "tcp://192.168.1.1:1", "tcp://127.0.0.1:1"):
        assert over(Version.IPV4, entry(1, "2a01:5::9", url)) == []
    assert over(Version.IPV6, entry(1, "", "tcp://[2a01:5::9]:1")) == []


def test_on_one_machine_each_has_a_voice_of_its_own() -> None:
    one, two = NodeId(bytes(32)), NodeId(bytes(31) + b"1")

    assert group_of(one, HOST) != group_of(two, HOST)
    assert group_of(one, "11.1.0.1") == group_of(two, "11.1.0.9")
    assert group_of(one, "192.168.1.1") != group_of(two, "192.168.1.2")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def node_at(stack: AsyncExitStack, clock: Time, *bootstrap: str) -> Node:
    node = Node(0, host="::", clock=clock, allow_private=True, bootstrap=bootstrap)
    return await stack.enter_async_context(node)


@pytest.mark.net
async def test_a_peer_is_asked_over_the_other_version_beside_the_session_that_stands(
    stack: AsyncExitStack,
) -> None:
    clock = Time()
    other = await node_at(stack, clock)
    node = await node_at(stack, clock, f"ws://{HOST}:{other.port}")
    await until(lambda: other.engine.table.get(node.node_id) is not None)
    contact = node.engine.table.known()[0].contact()
    standing = session_with(node.sessions, other.node_id)

    prober = Prober(contact, "::1", "here", f"tcp://[::1]:{other.port}")
    own = [f"tcp://[::1]:{node.port}", f"tcp://{HOST}:{node.port}"]
    async with node.reach._one_at_a_time, node.reach._probes.line_to(prober) as ask:
        assert ask is not None
        await clock.advance(61.0)  # a round of its own may have asked it before
        assert await node.reach._probes.where_seen(ask) == "::1"
        words = await node.reach._probes.dialled_back(ask, own)

    assert words == {own[0]: Word.REACHED, own[1]: Word.NOT_YOURS}
    assert session_with(node.sessions, other.node_id) is standing
    assert other.engine.table.get(node.node_id) is not None


@pytest.mark.net
async def test_whoever_is_not_there_gives_no_line(stack: AsyncExitStack) -> None:
    clock = Time()
    other = await node_at(stack, clock)
    node = await node_at(stack, clock, f"ws://{HOST}:{other.port}")
    await until(lambda: node.engine.table.get(other.node_id) is not None)
    contact = node.engine.table.known()[0].contact()

    prober = Prober(contact, HOST, "here", f"tcp://{HOST}:{node.port}")  # the node itself
    async with node.reach._probes.line_to(prober) as ask:
        assert ask is None


@pytest.mark.net
async def test_a_dial_of_the_node_itself_that_does_not_leave_the_machine_proves_nothing(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await node_at(stack, Time())
    other = await node_at(stack, Time())
    probes = node.reach._probes
    lead_to(monkeypatch, [HOST])

    async def word_at(url: str) -> Word:
        return await probes.try_itself(url, node.node_id, {HOST})

    assert await word_at(f"tcp://{HOST}:{node.port}") is Word.TURNED_AROUND
    assert await word_at(f"ws://node.example:{node.port}") is Word.TURNED_AROUND
    assert await word_at(f"tcp://{HOST}:{other.port}") is Word.NOT_YOURS


@pytest.mark.net
async def test_a_node_that_is_full_parts_from_its_own_dial_which_shows_nothing(
    stack: AsyncExitStack,
) -> None:
    clock = Time()
    node = Node(0, host=HOST, clock=clock, allow_private=True, max_sessions=1)
    await stack.enter_async_context(node)
    await node_at(stack, clock, f"ws://{HOST}:{node.port}")
    await until(lambda: len(node.engine.table) == 1)

    word = await node.reach._probes.try_itself(f"tcp://{HOST}:{node.port}", node.node_id, {HOST})

    assert node.counters.get("links_refused", "sessions") == 1
    assert word is Word.NOT_DIALLED


@pytest.mark.net
async def test_a_place_that_takes_the_nodes_own_dial_and_says_nothing_is_silent(
    stack: AsyncExitStack,
) -> None:
    clock = Time()
    node = await node_at(stack, clock)
    silent = stack.enter_context(socket.create_server((HOST, 0)))
    url = f"tcp://{HOST}:{silent.getsockname()[1]}"

    trying = asyncio.ensure_future(node.reach._probes.try_itself(url, node.node_id, {HOST}))
    while not trying.done():
        await clock.advance(1.0)

    assert trying.result() is Word.SILENT

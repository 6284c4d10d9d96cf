"""A client's nodes as its topics go through them; reads, writes and fail-over of these: test_client.py."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, session_with, turns, until
from yzdht import Client, Node
from yzdht.ids import Target
from yzdht.limits import NODE_AVOIDED_S
from yzdht.pubsub.events import Message


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.client_nodes import Nodes
    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Subscription
    from yzdht.wire.address import Contact


pytestmark = pytest.mark.net

HOST = "127.0.0.1"
TARGET = Target(bytes(32))


def url_of(node: Node) -> str:
    return f"tcp://{HOST}:{node.port}"


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def nodes(clock: Time) -> AsyncIterator[list[Node]]:
    """Three nodes that know each other."""
    found: list[Node] = []
    async with AsyncExitStack() as stack:
        for _ in range(3):
            bootstrap = [url_of(found[0])] if found else []
            node = Node(0, host=HOST, bootstrap=bootstrap, allow_private=True, clock=clock)
            found.append(await stack.enter_async_context(node))
        await until(lambda: all(len(node.engine.table) == 2 for node in found))
        yield found


async def hear(messages: Subscription[Heard], count: int) -> list[bytes]:
    async with asyncio.timeout(20):
        events = [await anext(messages) for _ in range(count)]
    return [event.data for event in events if isinstance(event, Message)]


def nodes_of(client: Client) -> Nodes:
    assert client._nodes is not None
    return client._nodes


def named(client: Client) -> list[Contact]:
    told: list[list[Contact]] = []
    nodes_of(client)._name_nodes(TARGET, 20, told.append)
    assert len(told) == 1, "those that answered before are named at once"
    return told[0]


async def test_a_client_whose_first_node_ends_goes_on_through_the_others_and_misses_nothing(
    nodes: list[Node],
) -> None:
    first, second, third = nodes
    async with (
        Client.connect(*map(url_of, nodes)) as client,
        client.subscribe("news") as messages,
        third.subscribe("news") as there,
    ):
        await client.publish("news", b"1")
        assert await hear(messages, 1) == await hear(there, 1) == [b"1"]
        await first.stop()
        await until(lambda: len(second.engine.table) == len(third.engine.table) == 1)
        await third.publish("news", b"2")
        assert await hear(messages, 1) == [b"2"]
        assert (await client.publish("news", b"3")).hosts == 2
        assert await hear(messages, 1) == [b"3"]


async def test_another_session_in_place_of_an_old_one_loses_nothing_and_tells_nothing_twice(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    async with Client.connect(url_of(node)) as client, client.subscribe("news") as messages:
        await node.publish("news", b"1")
        sessions = nodes_of(client)._asking.sessions
        old = session_with(sessions, node.node_id)
        assert old is not None
        sessions._renew(old)
        await until(lambda: session_with(sessions, node.node_id) not in (old, None))
        await node.publish("news", b"2")
        old.close()
        await until(lambda: node.sessions.clients == 1)
        await node.publish("news", b"3")

        assert await hear(messages, 3) == [b"1", b"2", b"3"]
        await until(lambda: messages.is_connected)
        await turns(20)
        assert not messages._events


async def test_nodes_with_a_session_are_named_first_and_others_are_dialled_beside(nodes: list[Node]) -> None:
    async with Client.connect(*map(url_of, nodes[:2])) as client:
        assert {contact.node_id for contact in named(client)} == {node.node_id for node in nodes[:2]}
        sessions = nodes_of(client)._asking.sessions
        connection = session_with(sessions, nodes[0].node_id)
        assert connection is not None
        connection.close()
        await until(lambda: not sessions.has_session(nodes[0].node_id))

        assert [contact.node_id for contact in named(client)] == [nodes[1].node_id, nodes[0].node_id]
        await until(lambda: sessions.has_session(nodes[0].node_id))
        await until(lambda: nodes_of(client)._naming is None)


async def test_a_node_that_is_not_there_holds_nobody_up_and_is_dialled_now_and_then(
    clock: Time, nodes: list[Node]
) -> None:
    dead = f"tcp://{HOST}:1"
    async with Client((dead, url_of(nodes[0])), clock=clock) as client:
        assert [contact.node_id for contact in named(client)] == [nodes[0].node_id]
        await until(lambda: nodes_of(client)._naming is None)
        named(client)
        assert nodes_of(client)._naming is None
        await clock.advance(NODE_AVOIDED_S)
        named(client)
        assert nodes_of(client)._naming is not None
        assert (await client.publish("news", b"x")).hosts == 3


async def test_sessions_are_held_while_something_is_listened_to_there(nodes: list[Node]) -> None:
    async with Client.connect(url_of(nodes[0])) as client:
        connection = session_with(nodes_of(client)._asking.sessions, nodes[0].node_id)
        assert connection is not None
        async with client.subscribe("news"), client.subscribe("other"):
            assert connection.is_needed
        await until(lambda: not connection.is_needed)


async def test_a_client_that_ends_while_it_listens_leaves_no_task(nodes: list[Node]) -> None:
    before = asyncio.all_tasks()
    async with Client.connect(url_of(nodes[0]), f"tcp://{HOST}:1") as client:
        messages = client.subscribe("news")
        await messages.__aenter__()
        waiting = asyncio.create_task(anext(messages, None))
    assert await waiting is None
    await messages.__aexit__()
    await until(lambda: asyncio.all_tasks() <= before)
    await until(lambda: nodes[0].sessions.clients == 0)
    edge = nodes[0].topics._engine.edge
    assert edge is not None
    await until(lambda: edge.subscriptions == 0)

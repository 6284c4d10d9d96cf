"""Topics of real nodes on loopback: one, two, three; nodes that others do not reach; which nodes are hosts."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, assert_type

import pytest

import yzdht
from tests.sessions.kit import Time, until
from yzdht import Client, Node
from yzdht.crypto.topics import public_topic, topic_host_target
from yzdht.ids import NetworkId, NodeId, PublicKey, SessionId
from yzdht.limits import GAP_GIVE_UP_S, HISTORY_MESSAGES_MAX
from yzdht.own_topics import NoNeighbourhood, TableNeighbourhood
from yzdht.pubsub.events import Lost, Message
from yzdht.rpc.engine import Peer
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import WireContact


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Subscription


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


def url_of(node: Node) -> str:
    return f"tcp://{HOST}:{node.port}"


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def nodes(clock: Time) -> AsyncIterator[list[Node]]:
    """Three nodes that know each other."""
    async with AsyncExitStack() as stack:
        yield await started(clock, stack, 3)


async def started(clock: Time, stack: AsyncExitStack, count: int) -> list[Node]:
    found: list[Node] = []
    for _ in range(count):
        bootstrap = [url_of(found[0])] if found else []
        node = Node(0, host=HOST, bootstrap=bootstrap, allow_private=True, clock=clock)
        found.append(await stack.enter_async_context(node))
    await until(lambda: all(len(node.engine.table) == count - 1 for node in found))
    return found


async def hear(messages: Subscription[Heard], count: int) -> list[bytes]:
    async with asyncio.timeout(20):
        events = [await anext(messages) for _ in range(count)]
    return [event.data for event in events if isinstance(event, Message)]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_publishing_works_with_one_node_with_two_and_with_three(clock: Time, count: int) -> None:
    async with AsyncExitStack() as stack:
        nodes = await started(clock, stack, count)
        client = await stack.enter_async_context(Client.connect(url_of(nodes[-1])))
        listening = [await stack.enter_async_context(one.subscribe("news")) for one in (*nodes, client)]
        published = await nodes[0].publish("news", b"1")
        assert published.hosts == count
        assert published.stored > count // 2
        await client.publish("news", b"2")

        for messages in listening:
            assert sorted(await hear(messages, 2)) == [b"1", b"2"]
        late = await stack.enter_async_context(client.subscribe("news", since=60))
        assert sorted(await hear(late, 2)) == [b"1", b"2"]


async def test_what_a_subscription_tells_has_a_type(nodes: list[Node]) -> None:
    anna = nodes[0]
    async with anna.subscribe("news") as messages, anna.subscribe("news", gaps=True) as events:
        await anna.publish("news", b"1")
        message = assert_type(await anext(messages), yzdht.Message)
        assert (message.data, message.sender) == (b"1", message.series.sender)
        heard = assert_type(
            await anext(events), yzdht.Message | yzdht.Gap | yzdht.Filled | yzdht.Lost | yzdht.Refused
        )
        assert isinstance(heard, yzdht.Message)


@pytest.mark.parametrize("wrong", [0, -1.0, True, 86_401, "10"])
async def test_a_timeout_is_more_than_nothing_and_a_day_at_most(clock: Time, wrong: float) -> None:
    async with AsyncExitStack() as stack:
        (node,) = await started(clock, stack, 1)
        with pytest.raises(yzdht.UsageError, match="timeout"):
            await node.publish("news", b"x", timeout=wrong)


async def test_who_takes_its_time_until_hosts_drop_what_it_has_not_goes_on_at_once_with_the_rest() -> None:
    count, dropped = HISTORY_MESSAGES_MAX + 300, 300
    async with (
        Node(0, host=HOST, allow_private=True) as node,
        Client.connect(url_of(node)) as anna,
        Client.connect(url_of(node)) as ben,
        ben.subscribe("news", size=10, gaps=True) as messages,
    ):
        for number in range(count):
            await anna.publish("news", b"%d" % number)
        assert messages.is_full
        async with asyncio.timeout(GAP_GIVE_UP_S - 5):
            heard = [await anext(messages) for _ in range(10 + 1 + HISTORY_MESSAGES_MAX)]
            async with ben.subscribe("news", since=3600) as late:
                first = await anext(late)

    lost = [event.span for event in heard if isinstance(event, Lost)]
    assert lost == [(10, dropped)]
    told = [event.index for event in heard if isinstance(event, Message)]
    assert told == [*range(10), *range(dropped, count)]
    assert first.index == dropped


async def test_what_is_no_topic_or_no_group_is_refused_with_a_word(clock: Time) -> None:
    async with AsyncExitStack() as stack:
        (node,) = await started(clock, stack, 1)
        with pytest.raises(yzdht.UsageError, match="is text, not int"):
            await node.publish(5, b"x")  # type: ignore[arg-type]
        with pytest.raises(yzdht.UsageError, match="is text, not bytes"):
            async with node.subscribe(b"news"):  # type: ignore[call-overload]
                pass
        with pytest.raises(yzdht.UsageError, match="group is given by its name"):
            node.subscribe("news", group=5)  # type: ignore[call-overload]
        with pytest.raises(yzdht.UsageError, match="group is given by its name"):
            await node.publish("news", b"x", group=b"team")  # type: ignore[arg-type]


async def test_a_subscriber_goes_on_when_a_host_ends(nodes: list[Node]) -> None:
    first, second, third = nodes
    async with third.subscribe("news") as messages:
        await second.publish("news", b"1")
        assert await hear(messages, 1) == [b"1"]
        await first.stop()
        await until(lambda: len(second.engine.table) == 1)
        task = asyncio.create_task(second.publish("news", b"2"))
        assert await hear(messages, 1) == [b"2"]
        task.cancel()


async def test_a_node_that_others_do_not_reach_is_no_host_and_hears_and_publishes_all_the_same(
    nodes: list[Node],
) -> None:
    first, _, third = nodes
    third.engine.is_storing = False
    assert third.topics._engine.host is not None
    async with third.subscribe("news") as messages:
        published = await third.publish("news", b"1")
        assert await hear(messages, 1) == [b"1"]
        assert published.hosts == 2
    third.engine.is_storing = True
    async with first.subscribe("other") as messages:
        assert (await third.publish("other", b"2")).hosts == 3
        assert await hear(messages, 1) == [b"2"]


async def test_hosts_are_the_nearest_nodes_that_host_topics_and_oneself_while_one_is_reached(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    own = Contact(node.node_id, node.identity.public_key, (), Caps.ALWAYS | Caps.STORAGE | Caps.PUBSUB)
    hood = TableNeighbourhood(own, node.engine)
    network = node.config.network_id
    target = topic_host_target(public_topic(network, "news"), network)
    everybody = sorted((n.node_id for n in nodes), key=lambda i: int.from_bytes(i) ^ int.from_bytes(target))

    assert [contact.node_id for contact in hood.hosts(target, 8)] == everybody
    assert [contact.node_id for contact in hood.hosts(target, 2)] == everybody[:2]
    node.engine.is_storing = False
    assert {contact.node_id for contact in hood.hosts(target, 8)} == {n.node_id for n in nodes[1:]}


async def test_contacts_are_shown_as_the_asker_can_use_them_and_never_oneself(nodes: list[Node]) -> None:
    node, other, _ = nodes
    own = Contact(node.node_id, node.identity.public_key, (), Caps.ALWAYS | Caps.PUBSUB)
    hood = TableNeighbourhood(own, node.engine)
    entry = node.engine.table.get(other.node_id)
    assert entry is not None
    asker = peer(Caps.ALWAYS, HOST)
    shown = hood.shown([own, entry.contact()], asker)
    assert [contact.public_key for contact in shown] == [other.identity.public_key]
    assert shown[0].urls
    assert (
        hood.shown([entry.contact()], peer(Caps.ALWAYS | Caps.BROWSER, HOST)) == ()
    )  # it has no certificate

    nobody = WireContact(PublicKey(b"\2" + bytes(32)), ("tcp://192.0.2.1:1",), own.caps)
    used = hood.usable((*shown, nobody), other.node_id)
    assert other.node_id in {contact.node_id for contact in used}
    assert all(contact.caps & Caps.PUBSUB for contact in used)


def peer(caps: Caps, host: str) -> Peer:
    return Peer(NodeId(bytes(32)), PublicKey(b"\2" + bytes(32)), caps, SessionId(bytes(16)), host, None)


def test_a_client_has_no_neighbourhood() -> None:
    hood = NoNeighbourhood()
    network = NetworkId(bytes(8))
    assert not hood.hosts(topic_host_target(public_topic(network, "x"), network), 3)
    assert not hood.shown((), peer(Caps.ALWAYS, HOST))

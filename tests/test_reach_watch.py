"""Nodes that ask each other whether they are reached, over real sockets on loopback addresses of their own."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import steady_port
from tests.process.internet import own_internet
from tests.process.namespaces import run
from tests.sessions.kit import NODE, PATIENCE_S, Party, Time, session_with, turns, until
from tests.test_dial_back import closed_port
from yzdht import Node
from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.limits import (
    CAME_IN_GROUPS_MAX,
    DIAL_BACK_URLS_MAX,
    REACH_AGAIN_S_MIN,
    REACH_ROUND_S,
    REACH_ROUND_S_TROUBLED,
    REACH_SECOND_LOOK_S,
)
from yzdht.port_mapping import Mapping, PortMapping
from yzdht.reachability import Reach, Word
from yzdht.rpc.engine import Down, Peer, Up
from yzdht.store.entropy import SystemRng
from yzdht.wire.address import decode_identity_payload
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import DialBack, DialledBack, Empty, Method, Reached, Status, WhoAmI


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def url_of(node: Node) -> str:
    return f"ws://{HOST}:{node.port}"


def urls_of(node: Node) -> list[str]:
    return [f"{protocol}://{HOST}:{node.port}" for protocol in ("tcp", "ws")]


async def network(stack: AsyncExitStack, clock: Time, size: int) -> list[Node]:
    """Nodes that all know each other, at a minute in which nobody was asked yet."""
    nodes: list[Node] = []
    for _ in range(size):
        bootstrap = [url_of(nodes[0])] if nodes else []
        node = Node(0, host=HOST, bootstrap=bootstrap, clock=clock, allow_private=True)
        nodes.append(await stack.enter_async_context(node))
    await until(lambda: all(len(node.engine.table) == size - 1 for node in nodes))
    await until(lambda: all(node.reach.judge.node is Reach.REACHABLE for node in nodes[: size > 1 and size]))
    return nodes


async def unreached(stack: AsyncExitStack, clock: Time, others: list[Node]) -> Node:
    """A node whose port nobody can dial: what a firewall would do, its listener does by being closed."""
    await clock.advance(120.0)
    node = Node(0, host=HOST, clock=clock, allow_private=True)
    await stack.enter_async_context(node)
    await node.listener.close()
    for other in others:
        await node.sessions.dial(url_of(other), other.node_id)
    await until(lambda: len(node.engine.table) == len(others))
    return node


async def ask_until(node: Node, clock: Time, reach: Reach) -> None:
    """Ask until that is found out; a peer is dialled back once a minute."""
    give_up_at = time.monotonic() + PATIENCE_S
    while node.reach.judge.node is not reach:
        assert time.monotonic() < give_up_at
        await clock.advance(20.0, steps=20)
        await node.reach.look_once()


async def test_nodes_of_a_network_learn_that_others_reach_them(clock: Time, stack: AsyncExitStack) -> None:
    nodes = await network(stack, clock, 3)

    for node in nodes:
        views = node.reach.views()
        assert [view.url for view in views] == urls_of(node)
        assert {(view.reach, view.is_advertised) for view in views} == {(Reach.REACHABLE, True)}
        assert not node.is_client_only


async def test_a_node_that_is_alone_stays_what_it_is(clock: Time, stack: AsyncExitStack) -> None:
    [node] = await network(stack, clock, 1)

    assert not await node.reach.look_once()

    assert node.reach.judge.node is Reach.UNKNOWN
    assert not node.is_client_only
    assert [a.url for a in node.addresses] == urls_of(node)


async def test_one_peer_alone_makes_no_node_a_client(clock: Time, stack: AsyncExitStack) -> None:
    [one] = await network(stack, clock, 1)
    node = await unreached(stack, clock, [one])

    await node.reach.look_once()

    assert node.reach.judge.node is Reach.UNKNOWN
    assert not node.is_client_only


async def test_a_node_that_nobody_reaches_says_so_and_leaves_all_tables_and_still_serves_its_user(
    clock: Time, stack: AsyncExitStack
) -> None:
    others = await network(stack, clock, 3)
    node = await unreached(stack, clock, others)
    await until(lambda: all(other.engine.table.get(node.node_id) is not None for other in others))

    await until(lambda: node.is_client_only)

    views = node.reach.views()
    assert [(view.reach, view.is_advertised) for view in views] == [(Reach.UNREACHABLE, False)] * 2
    assert all(view.hint for view in views)
    assert node.addresses == ()
    assert Caps(decode_identity_payload(node._own_identity.record.payload).caps) & Caps.CLIENT  # type: ignore[union-attr] # it runs
    assert any("do not reach" in error.what for error in node.telemetry.errors())
    await clock.advance(30.0, steps=10)
    await until(lambda: all(other.engine.table.get(node.node_id) is None for other in others))
    await node.store("note", b"hello")
    assert (await node.get("note")).data == b"hello"
    assert any(other.store_of_records.totals().records > 1 for other in others)


async def test_what_a_node_keeps_is_handed_over_before_it_is_a_client(
    clock: Time, stack: AsyncExitStack
) -> None:
    others = await network(stack, clock, 3)
    await clock.advance(120.0)
    node = await stack.enter_async_context(Node(0, host=HOST, clock=clock, allow_private=True))
    await node.store("note", b"hello")
    await clock.advance(30.0)  # of what is younger a read that finds it at one node alone makes no more
    await node.listener.close()

    for other in others:
        await node.sessions.dial(url_of(other), other.node_id)
    await until(lambda: node.is_client_only)

    assert (await node.get("note")).data == b"hello"  # from others: it shows none of its own any more
    assert not node.engine._is_leaving


async def test_a_client_begins_as_one_after_a_restart_and_takes_nothing_until_it_is_reached(
    clock: Time, stack: AsyncExitStack, tmp_path: Path
) -> None:
    others = await network(stack, clock, 3)
    await clock.advance(120.0)
    port = steady_port()
    first = Node(port, host=HOST, clock=clock, allow_private=True, data=tmp_path / "data")
    await first.start()
    await first.listener.close()
    for other in others:
        await first.sessions.dial(url_of(other), other.node_id)
    await until(lambda: first.is_client_only)
    await first.stop()

    again = Node(port, host=HOST, clock=clock, allow_private=True, data=tmp_path / "data")
    stack.push_async_callback(again.stop)
    starting = asyncio.ensure_future(again.start())
    await until(lambda: again.is_running and hasattr(again, "reach"))
    assert again.is_client_only
    assert again.reach.judge.node is Reach.UNREACHABLE
    await until(starting.done)
    assert Caps(again._own_identity.payload.caps) & Caps.CLIENT  # type: ignore[union-attr] # it runs
    await ask_until(again, clock, Reach.REACHABLE)
    assert again.engine.is_storing
    assert again.engine._caretaker._replication.next_timer() is not None  # it looks after what it has


async def test_all_tcp_addresses_come_before_all_ws_ones_with_the_one_that_peers_see_too(
    clock: Time, stack: AsyncExitStack
) -> None:
    node = await stack.enter_async_context(Node(0, host=HOST, clock=clock, allow_private=True))
    judge, seen = node.reach.judge, [f"{protocol}://11.0.0.9:{node.port}" for protocol in ("tcp", "ws")]
    for group in ("one", "two"):
        judge.saw(group, "11.0.0.9")
        judge.heard(group, HOST, dict.fromkeys(seen, Word.REACHED), is_proved=True)
    judge.settle([*urls_of(node), *seen], 0.0)

    tcp, ws = urls_of(node)
    assert node.reach.to_advertise() == [seen[0], tcp, seen[1], ws]


async def test_neither_a_liar_nor_an_hour_of_silence_takes_the_address_at_which_others_see_it_away(
    clock: Time, stack: AsyncExitStack
) -> None:
    node = await stack.enter_async_context(Node(0, host=HOST, clock=clock, allow_private=True))
    judge = node.reach.judge
    outside = [f"{protocol}://11.0.0.9:{node.port}" for protocol in ("tcp", "ws")]
    for group in ("one", "two"):
        judge.saw(group, "11.0.0.9")
        judge.heard(group, HOST, dict.fromkeys(outside, Word.REACHED), is_proved=True)
    judge.settle([*urls_of(node), *outside], clock.now().mono)

    assert not await node.reach.look_once()  # nobody is there to be asked
    assert {*outside} < {*node.reach.to_advertise()}

    await liars(stack, clock, node, 1, Reached(is_reachable=False, error=Word.SILENT))
    await node.reach.look_once()
    assert {*outside} < {*node.reach.to_advertise()}


async def test_a_node_that_sends_from_an_address_at_which_it_does_not_listen_is_not_tried_there(
    clock: Time, stack: AsyncExitStack
) -> None:
    others = await network(stack, clock, 3)
    await clock.advance(120.0)
    elsewhere = Node(0, host="127.0.0.8", clock=clock, allow_private=True, bootstrap=[url_of(others[0])])
    node = await stack.enter_async_context(elsewhere)
    await until(lambda: len(node.engine.table) == len(others))

    for _ in range(3):
        await clock.advance(60.0)
        await node.reach.look_once()

    assert node.reach.judge.seen == (HOST,)
    assert not node.is_client_only


async def test_a_node_that_is_reached_again_is_a_holder_again(clock: Time, stack: AsyncExitStack) -> None:
    others = await network(stack, clock, 3)
    node = await unreached(stack, clock, others)
    await until(lambda: node.is_client_only)

    await node.sessions.listen("ws", HOST, node.port)
    await ask_until(node, clock, Reach.REACHABLE)

    assert not node.is_client_only
    assert [a.url for a in node.addresses] == urls_of(node)
    await until(lambda: any(other.engine.table.get(node.node_id) is not None for other in others))


async def test_a_public_address_that_nobody_reaches_is_withdrawn_for_the_one_that_others_see(
    clock: Time, stack: AsyncExitStack
) -> None:
    others = await network(stack, clock, 3)
    await clock.advance(120.0)
    wrong = f"ws://{HOST}:{stack.enter_context(closed_port())}"
    node = await stack.enter_async_context(
        Node(
            0,
            host=HOST,
            bootstrap=[url_of(others[0])],
            clock=clock,
            allow_private=True,
            public_addresses=[wrong],
        )
    )

    await until(lambda: node.reach.judge.is_withdrawn(wrong))

    assert node.reach.judge.node is Reach.REACHABLE
    assert not node.is_client_only
    assert [a.url for a in node.addresses] == urls_of(node)
    views = {view.url: view for view in node.reach.views()}
    assert (views[wrong].is_advertised, views[url_of(node)].is_advertised) == (False, True)
    assert "--public-address" in views[wrong].hint


async def test_an_address_of_this_machine_that_peers_do_not_see_is_not_taken_for_reached(
    clock: Time, stack: AsyncExitStack
) -> None:
    others = await network(stack, clock, 3)
    await clock.advance(120.0)
    port = steady_port()
    here = f"ws://127.0.0.8:{port}"
    node = Node(
        port,
        host="0.0.0.0",
        bootstrap=[url_of(others[0])],
        clock=clock,
        allow_private=True,
        public_addresses=[here],
    )
    await stack.enter_async_context(node)

    await until(lambda: node.reach.judge.node is Reach.REACHABLE)

    assert node.reach.judge.finding(here).reach is Reach.UNKNOWN
    assert [a.url for a in node.addresses] == [here]


class Liar:
    """Peers that answer DIAL_BACK as a test says, and dial nobody."""

    def __init__(self, results: list[Reached], sees: str) -> None:
        self.results = results
        self.sees = sees

    def serve(self, connection: Connection, number: int, method: Method, _body: Body) -> None:
        bodies: dict[Method, Body] = {
            Method.WHOAMI: WhoAmI(self.sees, 1, "ws"),
            Method.DIAL_BACK: DialledBack(tuple(self.results)),
        }
        status = Status.OK if method in {*bodies, Method.PING} else Status.BUSY
        connection.reply(number, status, bodies.get(method, Empty()))


async def liars(
    stack: AsyncExitStack, clock: Time, node: Node, count: int, *results: Reached, sees: str = HOST
) -> list[Party]:
    found = []
    for _ in range(count):
        party = Party(clock)
        await party.listen()
        party.on_asked = Liar(list(results), sees).serve
        stack.push_async_callback(party.sessions.close)
        await node.sessions.dial(party.url, party.node_id)
        found.append(party)
    await until(lambda: len(node.engine.table) == count)
    return found


async def test_peers_that_say_reachable_and_dial_nobody_are_not_believed(
    clock: Time, stack: AsyncExitStack
) -> None:
    node = Node(0, host=HOST, clock=clock, allow_private=True)
    await stack.enter_async_context(node)
    parties = await liars(stack, clock, node, 3, Reached(is_reachable=True))

    await node.reach.look_once()

    assert any(isinstance(body, DialBack) for party in parties for *_, body in party.requests)
    assert node.reach.judge.node is Reach.UNKNOWN


async def test_peers_that_deny_are_outweighed_by_one_that_came_in(clock: Time, stack: AsyncExitStack) -> None:
    node = Node(0, host=HOST, clock=clock, allow_private=True)
    await stack.enter_async_context(node)
    await liars(stack, clock, node, 2, Reached(is_reachable=False, error=Word.SILENT))
    honest = await stack.enter_async_context(Node(0, host=HOST, clock=clock, allow_private=True))
    await node.sessions.dial(url_of(honest), honest.node_id)
    await until(lambda: node.engine.table.get(honest.node_id) is not None)

    await node.reach.look_once()

    assert node.reach.judge.node is Reach.REACHABLE
    assert not node.is_client_only


@pytest.mark.parametrize(
    "results", [[], [Reached(is_reachable=True)] * 4, [Reached(is_reachable=False, error="x" * 255)]]
)
async def test_answers_of_another_length_or_text_do_no_harm(
    clock: Time, stack: AsyncExitStack, results: list[Reached]
) -> None:
    node = Node(0, host=HOST, clock=clock, allow_private=True)
    await stack.enter_async_context(node)
    await liars(stack, clock, node, 1, *results)

    await node.reach.look_once()

    assert node.reach.judge.node is Reach.UNKNOWN


async def test_it_asks_hourly_when_all_is_well_and_oftener_when_not_and_ever_less_often_when_nobody_answers(
    clock: Time, stack: AsyncExitStack
) -> None:
    node = Node(0, host=HOST, clock=clock, allow_private=True)
    await stack.enter_async_context(node)
    judge, pause_s = node.reach.judge, node.reach._pause_s

    assert pause_s(has_heard=True) == REACH_ROUND_S
    silent = [pause_s(has_heard=False) for _ in range(12)]
    assert silent == sorted(silent)
    assert (silent[0], silent[-1]) == (REACH_AGAIN_S_MIN, REACH_ROUND_S)
    assert pause_s(has_heard=True) == REACH_ROUND_S
    url = url_of(node)
    for group in ("one", "two"):
        judge.heard(group, HOST, {url: Word.SILENT}, is_proved=False)
    judge.settle([url], 0.0)
    assert pause_s(has_heard=True) == REACH_ROUND_S_TROUBLED


async def test_a_change_begins_the_next_round_at_once(clock: Time, stack: AsyncExitStack) -> None:
    node = Node(0, host=HOST, clock=clock, allow_private=True)
    await stack.enter_async_context(node)
    resting = asyncio.ensure_future(node.reach._rest(clock.now().mono + 3_600, node.reach._urls()))
    await turns(3)
    assert not resting.done()

    node.reach.look_soon()
    await until(resting.done)

    elsewhere = [f"ws://{HOST}:1"]
    await node.reach._rest(clock.now().mono + 3_600, elsewhere)


async def test_a_change_during_a_round_begins_another_one_at_once(clock: Time, stack: AsyncExitStack) -> None:
    node, _ = await network(stack, clock, 2)
    judge = node.reach.judge

    with clock.standing_still():  # so that no rest ends by itself
        async with node.reach._one_at_a_time:
            number = judge._number
            node.reach.look_soon()
            await turns(5)
            node.reach.look_soon()  # the round that the first one began waits for this one to end

        await until(lambda: judge._number == number + 2)


async def test_a_peer_that_sees_it_over_another_version_of_ip_than_its_own_is_not_heard(
    clock: Time, stack: AsyncExitStack
) -> None:
    names = [f"tcp://n{n}.example:1" for n in range(DIAL_BACK_URLS_MAX + 1)]
    node = Node(0, host=HOST, clock=clock, allow_private=True, public_addresses=names)
    await stack.enter_async_context(node)
    results = [Reached(is_reachable=False, error=Word.SILENT)] * DIAL_BACK_URLS_MAX
    await liars(stack, clock, node, 3, *results, sees="2a01:9::1")

    await node.reach.look_once()

    judge = node.reach.judge
    assert (judge.node, judge.has_untried, judge.seen) == (Reach.UNKNOWN, False, ())


async def test_on_loopback_without_allow_private_nobody_is_asked(clock: Time, stack: AsyncExitStack) -> None:
    one = await stack.enter_async_context(Node(0, host=HOST, clock=clock))
    two = await stack.enter_async_context(Node(0, host=HOST, clock=clock, bootstrap=[url_of(one)]))
    await until(lambda: len(two.engine.table) == 1)

    assert not await two.reach.look_once()
    assert two.counters.get("rpc_sent", "whoami/ok") == 0
    assert session_with(two.sessions, one.node_id) is not None


@pytest.mark.parametrize(("net", "is_own"), [("11.0.0", False), ("12.0.0", True)])
async def test_who_is_on_the_same_machine_tells_nothing_whichever_address_it_has(
    clock: Time, stack: AsyncExitStack, net: str, *, is_own: bool
) -> None:
    hosts = [f"{net}.{number}" for number in range(1, 4)]
    stack.enter_context(own_internet())
    if is_own:
        for host in hosts:
            run("ip", "address", "add", f"{host}/32", "dev", "lo")
    first, *others = hosts
    node = await stack.enter_async_context(Node(0, host=first, clock=clock))
    bootstrap = [f"ws://{first}:{node.port}"]
    for host in others:
        await stack.enter_async_context(Node(0, host=host, clock=clock, bootstrap=bootstrap))
    await until(lambda: len(node.engine.table) == len(others))
    await clock.advance(120.0)

    assert await node.reach.look_once() is not is_own
    assert node.reach.judge.node is (Reach.UNKNOWN if is_own else Reach.REACHABLE)
    assert (node.counters.get("rpc_sent", "dial_back/ok") == 0) is is_own


async def test_who_dialled_it_within_the_hour_speaks_for_it_although_he_has_gone(
    clock: Time, stack: AsyncExitStack
) -> None:
    stack.enter_context(own_internet())
    node = await stack.enter_async_context(Node(0, host="11.0.0.1", clock=clock))
    async with Node(0, host="11.1.0.1", clock=clock, bootstrap=[url_at("11.0.0.1", node)]):
        await until(lambda: node.reach._dialled_us)
    await until(lambda: not node.sessions.open_connections())
    judge = node.reach.judge

    async with node.reach._one_at_a_time:
        standing = []
        for later_s in (0.0, REACH_ROUND_S + 1, 2 * REACH_SECOND_LOOK_S):
            await clock.advance(later_s)
            judge.begin()
            for group in ("11.2.0.0/24", "11.3.0.0/24", "11.4.0.0/24"):
                judge.heard(group, group[:-4] + "1", {url_of(node): Word.SILENT}, is_proved=False)
            node.reach._note_who_came()
            judge.settle([url_of(node)], clock.now().mono)
            standing.append((judge.node, judge.is_denied))

    assert standing == [(Reach.REACHABLE, False), (Reach.REACHABLE, True), (Reach.UNREACHABLE, True)]


def url_at(host: str, node: Node) -> str:
    return f"ws://{host}:{node.port}"


async def test_so_many_networks_that_dialled_it_are_remembered_and_no_more(
    clock: Time, stack: AsyncExitStack
) -> None:
    node = await stack.enter_async_context(Node(0, host=HOST, clock=clock, allow_private=True))
    key = PublicKey(bytes(33))
    for number in range(CAME_IN_GROUPS_MAX + 1):
        host = f"11.{number}.0.1"
        peer = Peer(NodeId(bytes(32)), key, NODE, SessionId(bytes(16)), host, f"11.{number}.0.0/24")
        node._pump.on_link(peer, Up(None))
        node._pump.on_link(peer, Down("gone"))

    assert list(node.reach._dialled_us) == [f"11.{n}.0.0/24" for n in range(1, CAME_IN_GROUPS_MAX + 1)]


async def test_the_router_is_asked_before_a_node_that_was_reached_steps_down(
    clock: Time, stack: AsyncExitStack
) -> None:
    stack.enter_context(own_internet())  # where there is no router
    node = await stack.enter_async_context(Node(0, host="11.0.0.1", clock=clock))
    judge, router, url = node.reach.judge, node.reach.router, url_at("11.0.0.1", node)
    assert router is not None

    for word in (Word.REACHED, Word.SILENT):
        assert router.trouble == ""
        for group in ("11.2.0.0/24", "11.3.0.0/24", "11.4.0.0/24"):
            judge.heard(group, group[:-4] + "1", {url: word}, is_proved=word is Word.REACHED)
        judge.settle([url], 0.0)
        await node.reach._keep_mapping()

    assert (judge.node, node.is_client_only) == (Reach.REACHABLE, False)
    assert router.trouble
    assert node.reach._pause_s(has_heard=True) == REACH_SECOND_LOOK_S


OUTSIDE = "93.184.216.7"
MAPPED = 40_000


def hear(node: Node, *words: tuple[int, Word]) -> None:
    """Have two peers of the internet see a node at one address, and say what comes of ports there."""
    watch = node.reach
    said = {f"{scheme}://{OUTSIDE}:{port}": word for port, word in words for scheme in ("tcp", "ws")}
    watch.judge.begin()
    for group, host in (("a", "1.1.1.1"), ("b", "9.9.9.9"), ("c", "5.5.5.5")):
        watch.judge.saw(group, OUTSIDE)
        watch.judge.heard(group, host, said, is_proved=Word.REACHED in said.values())
    watch.judge.settle([*urls_of(node), *said], watch._mono())


@pytest.mark.parametrize(
    ("port", "own"),
    [
        ([(MAPPED, Word.REACHED)], Word.SILENT),
        ([(MAPPED, Word.SILENT)], Word.SILENT),
        ([(MAPPED, Word.SILENT)], Word.REACHED),
        ([], Word.SILENT),
    ],
)
async def test_of_the_ports_of_a_router_the_one_that_matters_is_shown(
    clock: Time, port: list[tuple[int, Word]], own: Word
) -> None:
    async with Node(0, host=HOST, clock=clock, allow_private=True) as node:
        router = PortMapping(node.port, SystemRng())
        router.mapping = Mapping(MAPPED, 3_600, "upnp") if port else None
        object.__setattr__(node.reach._look, "router", router)  # none is asked for on loopback

        hear(node, *port, (node.port, own))

        shown = [view for view in node.reach.views() if OUTSIDE in view.url]
        at = MAPPED if port and own is not Word.REACHED else node.port
        assert [view.url for view in shown] == [f"{scheme}://{OUTSIDE}:{at}" for scheme in ("tcp", "ws")]
        is_reached = Word.REACHED in {own, *dict(port).values()}
        assert {view.is_advertised for view in shown} == {is_reached}
        assert {"second router" in view.hint for view in shown} == {bool(port) and not is_reached}

"""Sessions of who only asks: answers find their questions, and nobody is served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import CLIENT, NODE, Party, Time, until
from yzdht import Identity
from yzdht.asking import Asking
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.errors import DialFailed
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.sessions.world import World
from yzdht.telemetry import Counters
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.address import Contact
from yzdht.wire.rpc import Empty, Method, Status


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.sessions.connection import Connection
    from yzdht.wire.frame import Caps
    from yzdht.wire.rpc import Body


@pytest.fixture
async def node() -> AsyncIterator[Party]:
    party = Party(Time())
    await party.listen()
    yield party
    await party.sessions.close()


def asking_with(caps: Caps) -> Asking:
    credentials = Credentials(Identity.generate().signer, network_id("main"), caps)
    return Asking(World(credentials, [WebSocketTransport()], Time(), Counters(), is_private_allowed=True))


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    made = asking_with(CLIENT)
    yield made
    await made.close()


async def test_each_question_gets_its_own_answer(node: Party, asking: Asking) -> None:
    waiting: list[tuple[Connection, int]] = []

    def serve(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        waiting.append((connection, number))
        if len(waiting) == 2:
            for status, (asker, asked) in zip((Status.BUSY, Status.OK), reversed(waiting), strict=True):
                asker.reply(asked, status, Empty())

    node.on_asked = serve
    contact = await asking.dial(node.url)
    assert contact.node_id == node.node_id

    first, second = await asyncio.gather(*(asking.ask(contact, Method.PING, Empty(), 10.0) for _ in range(2)))

    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.status, second.status) == (Status.OK, Status.BUSY)


async def test_somebody_else_at_an_address_is_not_asked(node: Party, asking: Asking) -> None:
    with pytest.raises(DialFailed):
        await asking.dial(node.url, Identity.generate().node_id)


async def test_a_node_that_goes_away_is_no_answer(node: Party, asking: Asking) -> None:
    node.on_asked = lambda connection, _number, _method, _body: connection.turn_away()
    contact = await asking.dial(node.url)

    outcome = await asking.ask(contact, Method.PING, Empty(), 10.0)

    assert isinstance(outcome, Failed)
    assert outcome.reason in FailReason


async def test_whoever_stops_waiting_leaves_nothing_behind(node: Party, asking: Asking) -> None:
    node.on_asked = lambda _connection, _number, _method, _body: None
    contact = await asking.dial(node.url)
    task = asyncio.ensure_future(asking.ask(contact, Method.PING, Empty(), 10.0))
    await until(lambda: len(asking._pending) == 1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert asking._pending == {}


async def test_a_ping_is_answered_and_all_else_refused(node: Party) -> None:
    asking = asking_with(NODE)  # nobody asks a client anything; this one says that it is more
    await asking.ask(await asking.dial(node.url), Method.PING, Empty(), 10.0)
    peer = node.requests[0][0].peer
    assert peer is not None
    asker = Contact(peer.node_id, peer.public_key, (), NODE)

    answers = [await node.answer_to(node.ask(asker, method)) for method in (Method.PING, Method.WHOAMI)]

    assert [a.status for a in answers if isinstance(a, Answer)] == [Status.OK, Status.REFUSED]
    await asking.close()

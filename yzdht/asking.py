"""The sessions of a process that only asks: a client, or a node that is no member of its closed network yet.

Owns which answer belongs to whose question. Serves nobody: a ping is answered, all else refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yzdht.limits import HANDSHAKE_TIMEOUT_S
from yzdht.sessions import Sessions
from yzdht.topic_pump import is_of_topics
from yzdht.wire.address import Contact
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import Empty, Method, Status


if TYPE_CHECKING:
    from yzdht.ids import NodeId
    from yzdht.rpc.engine import Answer, Down, Failed, Peer, Up
    from yzdht.sessions.connection import Connection
    from yzdht.sessions.world import World
    from yzdht.topic_pump import TopicPump
    from yzdht.wire.rpc import Body


class Asking:
    """Dials and asks.

    Args:
        world: What its sessions stand on.

    Attributes:
        sessions: They; closed with `close`.
        topics: Drives what this process does with topics; None for nothing.

    """

    def __init__(self, world: World) -> None:
        self.sessions = Sessions(world, self)
        self.topics: TopicPump | None = None
        self._counters = world.counters
        self._pending: dict[int, asyncio.Future[Answer | Failed]] = {}
        self._last_call = 0

    async def dial(self, url: str, node_id: NodeId | None = None) -> Contact:
        """Who answers at a url.

        Args:
            url: Where.
            node_id: Who is to answer there; None for anybody.

        Raises:
            DialFailed: Nobody does, somebody else, or no member of the closed network.

        """
        connection = await self.sessions.dial(url, node_id)
        peer = connection.peer
        assert peer is not None
        return Contact(peer.node_id, peer.public_key, (url,), peer.caps)

    async def ask(self, contact: Contact, method: Method, body: Body, deadline_s: float) -> Answer | Failed:
        """Ask once, and wait for what comes of it; dials where there is no session. Cancelling takes the call back."""
        call, future = self._begin()
        self.sessions.call(call, contact, method, body, deadline_s)
        return await self._outcome(call, future)

    async def ask_at(self, url: str, node_id: NodeId, method: Method, body: Body) -> Answer | Failed:
        """Dial somebody at a url, and ask in that very session; a client answers there, too, whom no call finds.

        Args:
            url: Where.
            node_id: Who is to answer there.
            method: What is asked.
            body: Its body.

        Raises:
            DialFailed: As `dial`.

        """
        connection = await self.sessions.dial(url, node_id)
        call, future = self._begin()
        self.sessions.call_on(connection, call, method, body, HANDSHAKE_TIMEOUT_S)
        return await self._outcome(call, future)

    def _begin(self) -> tuple[int, asyncio.Future[Answer | Failed]]:
        self._last_call += 1
        future: asyncio.Future[Answer | Failed] = asyncio.get_running_loop().create_future()
        self._pending[self._last_call] = future
        return self._last_call, future

    async def _outcome(self, call: int, future: asyncio.Future[Answer | Failed]) -> Answer | Failed:
        try:
            return await future
        except asyncio.CancelledError:
            self._pending.pop(call, None)
            self.sessions.cancel(call)
            raise

    async def close(self) -> None:
        """Say goodbye."""
        if self.topics is not None:
            self.topics.stop()
        await self.sessions.close()

    # SessionsSink

    def on_link(self, peer: Peer, change: Up | Down) -> None:
        """Sessions come and go; calls dial when they need one."""
        if self.topics is not None:
            self.topics.on_link(peer, change)

    def on_request(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        """Whoever only asks serves nobody."""
        connection.reply(number, Status.OK if method is Method.PING else Status.REFUSED, Empty())

    def on_answer(self, call: int, outcome: Answer | Failed) -> None:
        """A call ended."""
        if self.topics is not None and is_of_topics(call):
            self.topics.on_answer(call, outcome)
            return
        future = self._pending.pop(call, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes) -> None:
        """Messages of topics that it subscribed to."""
        if self.topics is not None and record_type is RecordType.PUBSUB:
            self.topics.on_push(peer, data)
            return
        self._counters.add("pushes_dropped")

    def on_client_gone(self, peer: Peer) -> None:
        """Nobody dials who only asks."""

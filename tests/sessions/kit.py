"""What tests of sessions share: time that a test moves on, and a party that remembers what it was told."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.ports import Now
from yzdht.rpc.engine import Answer, Down, Failed, Up
from yzdht.sessions import Sessions, SystemClock
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.world import Papers, World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.transport.memory import MemoryNetwork, MemoryTransport
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Body, Empty, Method, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yzdht.ids import NodeId
    from yzdht.ports import Link, Transport
    from yzdht.rpc.engine import Peer
    from yzdht.sessions.connection import Connection
    from yzdht.sessions.membership import ClosedNetwork
    from yzdht.wire.frame import RecordType


PATIENCE_S = 30.0  # only a failing test waits so long
NODE = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
CLIENT = Caps.ALWAYS | Caps.CLIENT


class Time:
    """The time of the running loop, which a test moves on; a Clock for what runs there.

    Sockets answer in real time and nothing waits for a deadline: the test jumps to it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self._ahead_s = 0.0
        self._still: float | None = None
        self._wall_offset_s = SystemClock().now().wall - self._real()
        self._loop.time = self._mono  # type: ignore[method-assign] # the loop is this test's own

    def _mono(self) -> float:
        return (self._real() if self._still is None else self._still) + self._ahead_s

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Time passes only by `advance`: what ends after a moment does not end because the machine is slow."""
        self._still = self._real()
        try:
            yield
        finally:
            self._ahead_s -= self._real() - self._still
            self._still = None

    def now(self) -> Now:
        mono = self._mono()
        return Now(mono, mono + self._wall_offset_s)

    def set_wall_ahead(self, seconds: float) -> None:
        self._wall_offset_s += seconds

    async def advance(self, seconds: float, steps: int = 1) -> None:
        for _ in range(steps):
            self._ahead_s += seconds / steps
            await turns(4)


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(holds: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Let the loop go round until something holds, in real time."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at, "it never came to hold"
        await turns(1)


def session_with(sessions: Sessions, node_id: NodeId) -> Connection | None:
    """The session that serves a peer."""
    return sessions._by_id.get(node_id)


def live_timers() -> list[object]:
    """What the loop still has to do at some later time."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # of the loop of the standard library
    return [handle for handle in scheduled if not handle.cancelled()]


class Party:
    """The sessions of one process, and what their sink was told.

    By default every request is answered with status 0 and an empty body.
    """

    def __init__(
        self,
        clock: Time,
        *transports: Transport,
        identity: Identity | None = None,
        caps: Caps = NODE,
        network: str = "main",
        psk: bytes | None = None,
        is_private_allowed: bool = True,
        bounds: SessionBounds | None = None,
        papers: Papers | None = None,
        closed: ClosedNetwork | None = None,
    ) -> None:
        self.known: set[NodeId] = set()
        self.identity = identity or Identity.generate()
        self.counters = Counters()
        self.transports = list(transports) or [WebSocketTransport()]
        credentials = Credentials(self.identity.signer, network_id(network), caps, psk)
        world = World(
            credentials,
            self.transports,
            clock,
            self.counters,
            is_private_allowed,
            bounds or SessionBounds(),
            lambda node_id: node_id in self.known,
            papers or Papers(),
            closed,
        )
        self.failed_tasks: list[BaseException] = []
        self.sessions = Sessions(world, self, self._guard)
        self.answers: dict[int, Answer | Failed] = {}
        self.links: list[tuple[NodeId, Up | Down]] = []
        self.pushes: list[tuple[RecordType, bytes]] = []
        self.clients_gone: list[Peer] = []
        self.requests: list[tuple[Connection, int, Method, Body]] = []
        self.on_asked: Callable[[Connection, int, Method, Body], None] = self._serve
        self.url = ""
        self.last_call = 0

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    @property
    def contact(self) -> Contact:
        return Contact(self.node_id, self.identity.public_key, (self.url,), NODE)

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> str:
        scheme = next(iter(self.transports[0].schemes & {"ws", "memory"}))
        listener = await self.sessions.listen(scheme, host, port)
        place = listener.endpoints[0]
        self.url = f"{scheme}://{place.host}" + (f":{place.port}" if place.port else "")
        return self.url

    def ask(
        self, contact: Contact, method: Method = Method.PING, body: Body | None = None, timeout_s: float = 5.0
    ) -> int:
        self.last_call += 1
        self.sessions.call(self.last_call, contact, method, body or Empty(), timeout_s)
        return self.last_call

    async def answer_to(self, call: int) -> Answer | Failed:
        await until(lambda: call in self.answers)
        return self.answers[call]

    def ups(self) -> int:
        return sum(isinstance(change, Up) for _, change in self.links)

    def downs(self) -> int:
        return sum(isinstance(change, Down) for _, change in self.links)

    # SessionsSink

    def on_link(self, peer: Peer, change: Up | Down) -> None:
        self.links.append((peer.node_id, change))

    def on_request(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        self.requests.append((connection, number, method, body))
        self.on_asked(connection, number, method, body)

    def on_answer(self, call: int, outcome: Answer | Failed) -> None:
        assert call not in self.answers, "a call is answered once"
        self.answers[call] = outcome

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes) -> None:
        self.pushes.append((record_type, data))

    def on_client_gone(self, peer: Peer) -> None:
        self.clients_gone.append(peer)

    @staticmethod
    def _serve(connection: Connection, number: int, _method: Method, _body: Body) -> None:
        connection.reply(number, Status.OK, Empty())

    def _guard(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed_tasks.append(error)


class Silent:
    """The far end of a link that says what it is told to say, and nothing else."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.heard: list[bytes] = []
        self.reasons: list[str] = []

    def __call__(self, link: Link) -> Silent:
        self.links.append(link)
        return self

    def on_message(self, message: bytes) -> None:
        self.heard.append(message)

    def on_writable(self) -> None:
        pass

    def on_closed(self, reason: str) -> None:
        self.reasons.append(reason)


def sessions_of(*parties: Party) -> list[int]:
    return [len(party.sessions) for party in parties]


class Village:
    """Parties that meet over memory links, by name."""

    def __init__(self, clock: Time) -> None:
        self.clock = clock
        self.network = MemoryNetwork()
        self.parties: list[Party] = []

    async def party(self, name: str, **options: object) -> Party:
        transport = cast("Transport", MemoryTransport(self.network, name))
        party = Party(self.clock, transport, **options)  # type: ignore[arg-type] # handed on as they are
        await party.listen(name)
        self.parties.append(party)
        return party

    async def pair(self, **options: object) -> tuple[Party, Party]:
        """Two parties, the one with the lower id first."""
        low, high = sorted((Identity.generate(), Identity.generate()), key=lambda i: i.node_id)
        return await self.party("low", identity=low, **options), await self.party(
            "high", identity=high, **options
        )

    async def close(self) -> None:
        for party in self.parties:
            await party.sessions.close()
        await turns(5)
        for party in self.parties:
            assert party.failed_tasks == []

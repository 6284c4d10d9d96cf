"""Sessions: who is connected, who is being dialled, and which session serves a peer.

PROTOCOL.md section 3, points 5 and 6. Owns dial tasks and every connection of the process.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from yzdht.crypto.handshake import Responder
from yzdht.crypto.naming import node_id_of
from yzdht.ids import shorten
from yzdht.limits import (
    GOODBYE_S_MAX,
    HANDSHAKE_MESSAGES_PER_LOOP_TURN,
    RETIRED_LOOK_S,
    RETIRED_S_MAX,
    STRANGER_IDLE_LOOK_S,
    STRANGER_IDLE_S_MAX,
)
from yzdht.loop_turns import LoopTurns
from yzdht.rpc.engine import (
    GOODBYE,
    NO_MEMBER,
    NOT_INVITED,
    TURNED_AWAY,
    Answer,
    Down,
    Peer,
    Up,
)
from yzdht.rpc.session import Answered, Ended, Event, Expiring, Opened, Pushed, Requested, Spent
from yzdht.sessions.admission import Doorway, Refusal, Turn
from yzdht.sessions.connection import Connection
from yzdht.sessions.dialler import Dialler
from yzdht.sessions.entrance import Entrance, caps_of
from yzdht.sessions.flows import Flows
from yzdht.sessions.links import Links
from yzdht.sessions.membership import Standing
from yzdht.sessions.places import Places
from yzdht.sessions.request_turns import RequestTurns
from yzdht.sessions.restraint import Restraint
from yzdht.wire.address import public_prefix
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Empty, Status, topic_of


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId, SessionId
    from yzdht.ports import Endpoint, Link, Listener
    from yzdht.sessions.dialling import WaitingCall
    from yzdht.sessions.membership import Pass
    from yzdht.sessions.world import SessionsSink, World
    from yzdht.wire.address import Contact
    from yzdht.wire.frame import RecordType
    from yzdht.wire.rpc import Body, Method


log = logging.getLogger(__name__)


class Sessions:
    """Every session of one process.

    Args:
        world: What they stand on.
        sink: Is told what happens.
        on_fault: Task guard: given a task that must not fail silently.

    """

    def __init__(
        self, world: World, sink: SessionsSink, on_fault: Callable[[asyncio.Task[None]], None] | None = None
    ) -> None:
        self._world = world
        self._sink = sink
        self._own_id = node_id_of(world.credentials.signer.public_key)
        self._loop = asyncio.get_running_loop()
        self._by_id: dict[NodeId, Connection] = {}
        self._all: set[Connection] = set()
        self._links = Links(world.bounds.links_max)
        self._doorway = Doorway(world.bounds)
        self.handshake_turns = LoopTurns(self._loop, HANDSHAKE_MESSAGES_PER_LOOP_TURN, Connection.hear_early)
        self.request_turns = RequestTurns(self._loop, Connection.serve_next, self._is_known)
        self._flows = Flows()
        self._places = Places(world.bounds, world.is_known)
        self._entrance = Entrance(world, self._loop)
        self._restraint = Restraint(world)
        self._dialler = Dialler(world, sink, self, on_fault)
        self._calls: dict[int, Connection] = {}
        self._clients: dict[SessionId, Connection] = {}
        self._listeners: list[Listener] = []
        self._idle_look: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._garbled = 0  # on sessions that ended

    # Who is there

    def __len__(self) -> int:
        return len(self._all)

    def open_connections(self) -> list[tuple[Connection, float]]:
        """Every connection whose peer is proved, and the monotonic second of that; the oldest first."""
        opened = [(c, c.opened_at) for c in self._all if c.opened_at is not None]
        return sorted(opened, key=lambda of: of[1])

    @property
    def half_open(self) -> int:
        """Handshakes that others began and that are not done."""
        return self._doorway.half_open

    @property
    def clients(self) -> int:
        """Sessions of clients."""
        return self._places.clients

    @property
    def nodes(self) -> int:
        """Nodes with a session that serves them."""
        return len(self._by_id)

    def traffic(self) -> dict[tuple[str, str], int]:
        """Bytes carried so far, by direction (`in`, `out`) and road (`tcp`, `tls`, `ws`, `wss`, `memory`); never fewer than before."""
        return self._links.traffic()

    def garbled(self) -> int:
        """Requests and answers so far, on sound sessions, whose body was none."""
        return self._garbled + sum(c.session.dropped for c in self._all if c.session is not None)

    @property
    def held_bytes(self) -> int:
        """Bytes that sessions hold for their peers, as last weighed."""
        return self._restraint.held_bytes

    def look_again(self) -> None:
        """Part from whoever is no member of this closed network any more: its revocation list is another one."""
        self._entrance.look_again()

    def begin_anew(self) -> None:
        """Say goodbye to every node: what this end shows has changed. Calls dial again."""
        for connection in list(self._all):
            if connection.peer is not None and not connection.is_client:
                connection.close()

    # Calls

    def call(self, call: int, contact: Contact, method: Method, body: Body, timeout_s: float) -> None:
        """Send a request to a contact, dialling it if there is no session; `on_answer` follows."""
        connection = self._by_id.get(contact.node_id)
        if connection is not None:
            connection.contact = contact
            self.call_on(connection, call, method, body, timeout_s)
            return
        self._dialler.call(call, contact, method, body, timeout_s)

    def call_on(
        self, connection: Connection, call: int, method: Method, body: Body, timeout_s: float
    ) -> None:
        """Send a request in a session; `on_answer` follows."""
        self._calls[call] = connection
        connection.call(call, method, body, timeout_s)

    def cancel(self, call: int) -> None:
        """Forget a call; nothing follows."""
        connection = self._calls.pop(call, None)
        if connection is not None:
            connection.cancel(call)
            return
        self._dialler.cancel(call)

    # Unasked

    def push(self, peer: Peer, record_type: RecordType, data: bytes) -> bool:
        """Send a message without an answer in the session that serves a peer; False if there is none any more.

        What a peer does not read is held for it: ask `is_congested` first.
        """
        connection = self._connection_of(peer)
        if connection is None:
            return False
        connection.push(record_type, data)
        return True

    def is_congested(self, peer: Peer) -> bool:
        """True while a peer does not read what is sent to it, and once it is gone."""
        connection = self._connection_of(peer)
        return connection is None or connection.link.is_congested

    def unsent_bytes(self, peer: Peer) -> int:
        """Bytes that wait to be sent to a peer; 0 once it is gone."""
        connection = self._connection_of(peer)
        return 0 if connection is None else connection.link.unsent_bytes

    def has_session(self, node_id: NodeId) -> bool:
        """True while a session serves a node."""
        return node_id in self._by_id

    def need(self, node_id: NodeId, *, is_needed: bool) -> None:
        """Whether this end waits for what a node says unasked: that session is not given up for being idle."""
        connection = self._by_id.get(node_id)
        if connection is not None:
            connection.is_needed = is_needed

    def _connection_of(self, peer: Peer) -> Connection | None:
        return self._clients.get(peer.session) or self._by_id.get(peer.node_id)

    # Dialling

    async def dial(self, url: str, expected: NodeId | None = None) -> Connection:
        """Open a session with whoever is at an address that a person typed.

        Args:
            url: Dialled whatever it is.
            expected: The node id that must answer; None takes any.

        Raises:
            DialFailed: Nobody answers there, or the wrong one, or not with this network's handshake.

        """
        return await self._dialler.dial(url, expected)

    async def dial_heard(self, url: str, expected: NodeId | None = None) -> Connection:
        """Open a session with whoever is at an address that somebody named, unless it was dialled too often lately.

        Args:
            url: An address that may be dialled at all: that is judged where it is heard.
            expected: As in `dial`.

        Raises:
            DialFailed: As `dial`; DialledTooOften where it was dialled lately.

        """
        return await self._dialler.dial_heard(url, expected)

    # Listening

    async def listen(self, url_scheme: str, host: str, port: int) -> Listener:
        """Accept sessions at an address.

        Raises:
            ListenFailed: It cannot be listened on.

        """
        transport = next(t for t in self._world.transports if url_scheme in t.schemes)
        listener = await transport.listen(host, port, self._accept, self._admit)
        self._listeners.append(listener)
        if self._idle_look is None:
            self._idle_look = self._loop.call_later(STRANGER_IDLE_LOOK_S, self._part_from_idle)
        return listener

    def _admit(self, remote: Endpoint) -> bool:
        """Bound how many connections of a prefix are read at all, and how many of all begin TLS."""
        if self._is_closing:
            return False
        mono = self._world.clock.now().mono
        if remote.protocol == "tls":
            refusal = self._doorway.admit_tls(remote.host, mono, self._world.tls_cost())
        else:
            refusal = self._doorway.admit(remote.host, mono)
        if refusal is not None:
            self._world.counters.add(*refusal)
        return refusal is None

    def _accept(self, link: Link) -> Connection | None:
        """Bound what strangers can make this process compute before they have proved anything."""
        if self._is_closing:
            return None
        turn = self._doorway.knock(link.remote.host, self._links.in_use(), self._world.clock.now().mono)
        if isinstance(turn, Refusal):
            self._world.counters.add(*turn)
            return None
        connection = self.connect(link)
        if turn is Turn.LATER:
            link.pause_reading()
            self._doorway.wait(connection)
            return connection
        if isinstance(turn, Connection):
            self._world.counters.add("rate_limited", "handshakes_displaced")
            turn.link.abort()
        self._respond(connection)
        return connection

    def _respond(self, connection: Connection) -> None:
        self._doorway.enter(connection)
        connection.begin(Responder(self._world.credentials_to_answer()))

    def _no_longer_half_open(self, connection: Connection) -> None:
        self._doorway.leave(connection)
        while (following := self._doorway.next()) is not None:
            waiting, has_room = following
            if waiting not in self._all:
                continue
            if has_room:
                self._respond(waiting)
                waiting.link.resume_reading()
            else:
                self._world.counters.add("links_refused", "half_open_prefix")
                waiting.close()

    # What the dialler needs

    def connect(self, link: Link) -> Connection:
        """A connection on an open link, whose session has not begun."""
        connection = Connection(link, self._world.clock, self._loop, self)
        connection.is_metered = self._restraint.is_metering
        self._all.add(connection)
        self._links.add(connection)
        return connection

    def serving(self, node_id: NodeId) -> Connection | None:
        """The session that serves a node."""
        return self._by_id.get(node_id)

    def send(self, connection: Connection, call: int, waiting: WaitingCall) -> None:
        """Send a call that waited for its peer to be reached."""
        self._calls[call] = connection
        connection.call(call, waiting.method, waiting.body, waiting.timeout_s)

    # Events of connections

    def on_event(self, connection: Connection, event: Event) -> None:
        """Something happened on a connection."""
        match event:
            case Answered(call, outcome):
                connection.is_answered = connection.is_answered or isinstance(outcome, Answer)
                if self._calls.pop(call, None) is not None:
                    self._sink.on_answer(call, outcome)
            case Requested(number, method, body):
                self._on_requested(connection, number, method, body)
            case Opened():
                self._on_opened(connection, event)
            case Pushed(record_type, data):
                assert connection.peer is not None
                self._restraint.pushed(connection)
                self._sink.on_push(connection.peer, record_type, data)
            case Spent():
                self._restraint.spent(connection, event)
            case Expiring():
                self._renew(connection)
            case Ended():
                self._on_ended(connection, event)

    def _on_requested(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        if not self._restraint.may_ask(connection, number):
            return
        topic = topic_of(body)
        if topic is not None:
            self._flows.count(topic, self._world.clock.now().mono)
        if self._entrance.may_ask(connection, method, body):
            self._sink.on_request(connection, number, method, body)
        else:
            self._world.counters.add("rpc_served", f"{method.name.lower()}/refused")
            connection.reply(number, Status.REFUSED, Empty())

    def _on_opened(self, connection: Connection, event: Opened) -> None:
        established = event.established
        found = self._entrance.judge(connection, established)
        if found.standing is Standing.STRANGER:
            self._world.counters.add("sessions_refused", "NotInvited")
            connection.turn_away()
            return
        host = connection.link.remote.host
        connection.peer = peer = Peer(
            established.peer_id,
            established.peer_key,
            caps_of(established, found),
            established.session_id,
            host,
            public_prefix(host),
            self._world.bounds.is_proxy(host),
            not connection.is_initiator
            and self._world.bounds.hides(
                connection.link.remote, is_private_allowed=self._world.is_private_allowed
            ),
        )
        self._no_longer_half_open(connection)
        now = self._world.clock.now()
        connection.opened_at = connection.used_at = now.mono
        self._dialler.reached(peer.node_id)
        if not self._is_let_in(connection, found) or not self._has_place(connection, peer, now.mono):
            self._loop.call_soon(connection.part)
        else:
            self._world.counters.add("sessions_opened")
            log.debug("session opened peer=%s initiator=%s", shorten(peer.node_id), connection.is_initiator)
            if not peer.caps & Caps.CLIENT:
                self._add_node(connection, peer)
            elif connection.is_initiator and peer.node_id not in self._by_id:
                self._by_id[peer.node_id] = connection  # a node that others do not reach serves those who do
                self._sink.on_link(peer, Up(connection.url))
            elif not connection.is_initiator:
                self._clients[peer.session] = connection
        self._dialler.opened(connection, self._by_id.get(peer.node_id, connection))

    def _is_let_in(self, connection: Connection, found: Pass) -> bool:
        """Take it in at the door of a closed network; another guest may have to go for it."""
        verdict = self._entrance.enter(connection, found)
        if isinstance(verdict, Refusal):
            self._world.counters.add(*verdict)
            return False
        if verdict is not None:
            self._displace(verdict)
        return True

    def _has_place(self, connection: Connection, peer: Peer, mono: float) -> bool:
        """Find a place for a session whose peer is proved; somebody else may have to go for it."""
        is_client = bool(peer.caps & Caps.CLIENT)
        verdict: Refusal | Connection | None
        current = None if is_client else self._by_id.get(peer.node_id)
        if (
            current is not None and current in self._places
        ):  # not if it was displaced in this turn of the loop
            verdict = self._places.greet(connection, mono)  # its node has a place already
        else:
            verdict = self._places.enter(connection, is_client=is_client, mono=mono)
        if isinstance(verdict, Refusal):
            self._world.counters.add(*verdict)
            return False
        if verdict is not None:
            self._displace(verdict)
        return True

    def _displace(self, connection: Connection) -> None:
        """Later, since this may be within an event of that very session."""
        self._world.counters.add("rate_limited", "sessions_displaced")
        self._places.leave(connection, is_client=connection.is_client)
        connection.has_parted = True
        self._loop.call_soon(connection.part)

    def _part_from_idle(self) -> None:
        """Sessions of errands that are done would cost pings at both ends, and a place in a home router."""
        for connection in self._places.idle_strangers(self._world.clock.now().mono - STRANGER_IDLE_S_MAX):
            connection.part()
        self._idle_look = self._loop.call_later(STRANGER_IDLE_LOOK_S, self._part_from_idle)

    def _add_node(self, connection: Connection, peer: Peer) -> None:
        """Keep one session per peer; if both dialled at once, the one that the lower id began."""
        current = self._by_id.get(peer.node_id)
        if current is None:
            self._by_id[peer.node_id] = connection
            self._sink.on_link(peer, Up(connection.url))
            return
        if current in self._places and current.goes_before(connection, own_id=self._own_id):
            self._retire(connection)
            return
        self._by_id[peer.node_id] = connection
        self._places.replace(current, connection)
        self._retire(current)
        self._sink.on_link(peer, Up(connection.url))

    def _retire(self, connection: Connection) -> None:
        """Use a session no more; close it when neither end waits for an answer on it."""
        connection.is_retired = True
        give_up_at = self._world.clock.now().mono + RETIRED_S_MAX

        def look() -> None:
            if connection in self._all:
                if connection.is_idle or self._world.clock.now().mono >= give_up_at:
                    connection.close()
                else:
                    self._loop.call_later(RETIRED_LOOK_S, look)

        self._loop.call_later(RETIRED_LOOK_S, look)

    def _renew(self, connection: Connection) -> None:
        """Make before break: whoever dialled dials again, and the new session replaces the old."""
        if connection.is_initiator and connection.peer is not None:
            self._dialler.renew(connection, connection.peer.node_id)

    def _on_ended(self, connection: Connection, event: Ended) -> None:
        self._all.discard(connection)
        self.request_turns.forget(connection)
        self._links.ended(connection)
        self._no_longer_half_open(connection)
        self._entrance.leave(connection)
        if connection.peer is None and not event.is_fault and event.reason != NO_MEMBER:
            self._world.counters.add("handshakes_abandoned")
        if connection.session is not None:
            self._garbled += connection.session.dropped
        if event.is_fault:
            self._world.counters.add("sessions_faulted", "open" if connection.peer else "handshake")
            why = "HandshakeTimedOut" if event.error is None else type(event.error).__name__
            self._world.counters.add("sessions_refused", why)
            log.debug("session refused remote=%s reason=%s", connection.link.remote.host, event.reason)
        is_turned_away = self._dialler.ended(connection, event)
        peer = connection.peer
        if peer is not None:
            self._places.leave(connection, is_client=connection.is_client)
            if self._clients.pop(peer.session, None) is not None:
                self._sink.on_client_gone(peer)
            if self._by_id.get(peer.node_id) is connection:
                del self._by_id[peer.node_id]
                is_over = event.reason in (NO_MEMBER, NOT_INVITED)  # for both ends, whoever said so
                reason = GOODBYE if is_over else event.reason
                self._sink.on_link(peer, Down(TURNED_AWAY if is_turned_away else reason))

    def _is_known(self, connection: Connection) -> bool:
        """True for the session that serves a node of the routing table: one for each."""
        peer = connection.peer
        return (
            peer is not None
            and self._by_id.get(peer.node_id) is connection
            and self._world.is_known(peer.node_id)
        )

    def is_busy(self, topic: bytes) -> bool:
        """True if far more was asked about a topic lately than about others."""
        return self._flows.is_busy(topic, self._world.clock.now().mono)

    def on_weight(self, connection: Connection, held: int) -> None:
        """A connection holds more or less for its peer than before."""
        if connection in self._links:
            self._restraint.weigh(connection, held)

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        """A connection carried so many bytes."""
        self._restraint.carried(connection, taken, given)

    def on_gone(self, connection: Connection) -> None:
        """A link is closed for good: its socket is free."""
        self._restraint.forget(connection)
        self._links.gone(connection)

    # The end

    async def close(self) -> None:
        """Stop listening, say goodbye to everybody, and end; GOODBYE_S_MAX for it, and once more where links do not end."""
        self._is_closing = True
        self._dialler.refuse()
        if self._idle_look is not None:
            self._idle_look.cancel()
        for listener in self._listeners:
            await listener.close()
        await self._dialler.close()
        for connection in list(self._all):
            connection.close()
        await self._links.none_left(GOODBYE_S_MAX)
        for connection in self._links:
            connection.link.abort()
        await self._links.none_left(GOODBYE_S_MAX)
        if len(self._links):  # only a fault of a link can come to that: the node ends all the same
            log.error("links do not end count=%d", len(self._links))

"""Sessions: who is connected, who is being dialled, and which session serves a peer.

PROTOCOL.md section 3, points 5 and 6. Owns dial tasks and every connection of the process.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from yzdht.crypto.handshake import Initiator, Responder
from yzdht.crypto.naming import node_id_of
from yzdht.errors import DialFailed, DialledTooOften, ReachedAnother, TransportError, WrongNodeId
from yzdht.ids import shorten
from yzdht.limits import (
    CALLS_WAITING_MAX,
    DIAL_TIMEOUT_S,
    DIALS_WAITING_MAX,
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
    Failed,
    FailReason,
    Peer,
    Up,
)
from yzdht.rpc.session import Answered, Ended, Event, Expiring, Opened, Pushed, Requested, Spent
from yzdht.sessions.admission import Doorway, Refusal, Turn
from yzdht.sessions.connection import Connection
from yzdht.sessions.dialling import Addresses, Dial, DialPace, Pauses, WaitingCall
from yzdht.sessions.entrance import Entrance, caps_of
from yzdht.sessions.links import Links
from yzdht.sessions.membership import Standing
from yzdht.sessions.places import Places
from yzdht.sessions.request_turns import RequestTurns
from yzdht.sessions.restraint import Restraint
from yzdht.wire.address import public_prefix
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Empty, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yzdht.ids import NodeId
    from yzdht.ports import Endpoint, Link, Listener
    from yzdht.sessions.membership import Pass
    from yzdht.sessions.world import SessionsSink, World
    from yzdht.wire.address import Contact
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
        self._on_fault = on_fault
        self._own_id = node_id_of(world.credentials.signer.public_key)
        self._loop = asyncio.get_running_loop()
        self._by_id: dict[NodeId, Connection] = {}
        self._all: set[Connection] = set()
        self._links = Links(world.bounds.links_max)
        self._tasks: set[asyncio.Task[None]] = set()
        self._doorway = Doorway(world.bounds)
        self.handshake_turns = LoopTurns(self._loop, HANDSHAKE_MESSAGES_PER_LOOP_TURN, Connection.hear_early)
        self.request_turns = RequestTurns(self._loop, Connection.serve_next)
        self._places = Places(world.bounds, world.is_known)
        self._entrance = Entrance(world, self._loop)
        self._restraint = Restraint(world)
        self._dials: dict[NodeId, Dial] = {}
        self._dial_turns = asyncio.Semaphore(world.bounds.dials_in_flight_max)
        self._addresses = Addresses(world.clock, is_private_allowed=world.is_private_allowed)
        self._outcomes: dict[Connection, asyncio.Future[Connection]] = {}
        self._pauses = Pauses()
        self._dial_pace = DialPace(world.bounds.dials_per_s)
        self._calls: dict[int, Connection] = {}
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
        """Bytes carried so far, by direction (`in`, `out`) and road (`ws`, `wss`, `memory`); never fewer than before."""
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
            self.call_on(connection, call, method, body, timeout_s)
            return
        dial = self._dials.get(contact.node_id) or self._start_dial(contact)
        if isinstance(dial, FailReason):
            self._loop.call_soon(self._sink.on_answer, call, Failed(dial))
        elif len(dial.waiting) >= CALLS_WAITING_MAX:
            self._loop.call_soon(self._sink.on_answer, call, Failed(FailReason.BUSY))
        else:
            timer = self._loop.call_later(timeout_s, self._expire, dial, call)
            dial.waiting[call] = WaitingCall(method, body, timeout_s, timer)

    def call_on(
        self, connection: Connection, call: int, method: Method, body: Body, timeout_s: float
    ) -> None:
        """Send a request in a session; `on_answer` follows."""
        self._calls[call] = connection
        connection.call(call, method, body, timeout_s)

    def _expire(self, dial: Dial, call: int) -> None:
        """A call's deadline runs while its peer is being dialled, too."""
        del dial.waiting[call]
        self._sink.on_answer(call, Failed(dial.why_late(self._world.clock.now().mono)))

    def cancel(self, call: int) -> None:
        """Forget a call; nothing follows."""
        connection = self._calls.pop(call, None)
        if connection is not None:
            connection.cancel(call)
            return
        for dial in self._dials.values():
            if (waiting := dial.waiting.pop(call, None)) is not None:
                waiting.timer.cancel()

    # Dialling

    async def dial(self, url: str, expected: NodeId | None = None) -> Connection:
        """Open a session with whoever is at an address that a person typed.

        Args:
            url: Dialled whatever it is.
            expected: The node id that must answer; None takes any.

        Raises:
            DialFailed: Nobody answers there, or the wrong one, or not with this network's handshake.

        """
        self._addresses.typed.add(url)
        return await self._open(url, expected)

    def _start_dial(self, contact: Contact) -> Dial | FailReason:
        """Begin to dial; a reason if that is not done: BUSY where the contact is not to blame."""
        if self._is_closing or len(self._dials) >= self._world.bounds.dials_in_flight_max + DIALS_WAITING_MAX:
            return FailReason.BUSY
        mono = self._world.clock.now().mono
        if not contact.urls:
            return FailReason.UNREACHABLE
        if (reason := self._pauses.why(contact.node_id, mono)) is not None:
            return reason
        wait_s = self._dial_pace.turn(mono)
        if wait_s is None:
            self._world.counters.add("rate_limited", "dials")
            return FailReason.BUSY
        dial = self._dials[contact.node_id] = Dial()
        self._spawn(self._dial_contact(contact, dial, wait_s))
        return dial

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._on_fault is not None:
            task.add_done_callback(self._on_fault)

    async def _dial_contact(self, contact: Contact, dial: Dial, wait_s: float) -> None:
        """Try the addresses of a contact when it is its turn; then send, or fail, the calls that waited."""
        reason = FailReason.UNREACHABLE
        try:
            await asyncio.sleep(wait_s)
            async with self._dial_turns:
                if dial.waiting:
                    dial.begun_at = self._world.clock.now().mono
                    reason = await self._try_addresses(contact)
                else:
                    self._dial_pace.give_back()
                    reason = FailReason.BUSY
        finally:
            del self._dials[contact.node_id]
            connection = self._by_id.get(contact.node_id)
            if connection is None:  # there may have been one
                mono, is_typed = (
                    self._world.clock.now().mono,
                    not self._addresses.typed.isdisjoint(contact.urls),
                )
                turned_away = self._pauses.why(contact.node_id, mono)
                if turned_away is None and reason is not FailReason.BUSY:
                    self._pauses.failed(contact.node_id, mono, is_typed=is_typed)
                reason = turned_away or reason
            for call, (method, body, timeout_s, _) in dial.take_all():
                if connection is None:
                    self._sink.on_answer(call, Failed(reason))
                else:
                    self._calls[call] = connection
                    connection.call(call, method, body, timeout_s)

    async def _try_addresses(self, contact: Contact) -> FailReason:
        """Try the addresses of a contact in turn, until there is a session; what to say if there is none."""
        reason = FailReason.UNREACHABLE
        is_put_off = False
        for url in contact.urls:
            if contact.node_id in self._by_id:
                break  # it dialled us meanwhile
            try:
                await self._open(await self._addresses.to_dial(url), contact.node_id, url)
                break
            except DialFailed as error:
                if isinstance(error, ReachedAnother):
                    reason = FailReason.WRONG_ID
                is_put_off = is_put_off or isinstance(error, DialledTooOften)
                log.debug("dial failed peer=%s reason=%s", shorten(contact.node_id), error)
                self._world.counters.add("dials_failed")
        # Not tried at every address: nothing is known against the contact.
        return FailReason.BUSY if is_put_off else reason

    async def _open(self, url: str, expected: NodeId | None, shown_url: str | None = None) -> Connection:
        if self._is_closing:
            raise DialFailed("this end is closing")
        scheme = url.partition(":")[0]
        transport = next((t for t in self._world.transports if scheme in t.schemes), None)
        if transport is None:
            raise DialFailed(f"{url}: this node does not speak {scheme}")
        made: list[Connection] = []
        outcome: asyncio.Future[Connection] = self._loop.create_future()

        def accept(link: Link) -> Connection:
            connection = self._connect(link)
            connection.url = shown_url or url
            made.append(connection)
            self._outcomes[connection] = outcome
            connection.begin(Initiator(self._world.credentials_to_dial(), expected))
            if self._is_closing:
                connection.close()
            return connection

        try:
            await transport.dial(url, accept, DIAL_TIMEOUT_S, self._addresses.may_reach(shown_url or url))
            return await outcome
        except TransportError as error:
            if isinstance(error, DialFailed):
                raise
            raise DialFailed(str(error)) from error
        finally:
            self._forget_dial(made, outcome)

    def _forget_dial(self, made: list[Connection], outcome: asyncio.Future[Connection]) -> None:
        """A dial ended; if it was given up, so is its half-open session."""
        for connection in made:
            del self._outcomes[connection]
            if connection.peer is None:
                connection.close()
        if not outcome.cancel() and not outcome.cancelled():
            outcome.exception()  # looked at, though the dial may have ended before it

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
        """Bound how many connections of a prefix are read at all."""
        if self._is_closing:
            return False
        refusal = self._doorway.admit(remote.host, self._world.clock.now().mono)
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
        connection = self._connect(link)
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

    def _connect(self, link: Link) -> Connection:
        connection = Connection(link, self._world.clock, self._loop, self)
        connection.is_metered = self._restraint.is_metering
        self._all.add(connection)
        self._links.add(connection)
        return connection

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
                self._restraint.spent(connection, Spent())
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
        )
        self._no_longer_half_open(connection)
        now = self._world.clock.now()
        connection.opened_at = connection.used_at = now.mono
        self._pauses.succeeded(peer.node_id)
        if not self._is_let_in(connection, found) or not self._has_place(connection, peer, now.mono):
            self._loop.call_soon(connection.part)
        else:
            self._world.counters.add("sessions_opened")
            log.debug("session opened peer=%s initiator=%s", shorten(peer.node_id), connection.is_initiator)
            if not peer.caps & Caps.CLIENT:
                self._add_node(connection, peer)
        outcome = self._outcomes.get(connection)
        if outcome is not None and not outcome.done():
            outcome.set_result(self._by_id.get(peer.node_id, connection))

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
        peer = connection.peer
        if not connection.is_initiator or connection.url is None or peer is None or self._is_closing:
            return
        self._spawn(self._renew_at(connection.url, peer.node_id))

    async def _renew_at(self, url: str, node_id: NodeId) -> None:
        try:
            await self._open(url, node_id)
        except DialFailed:
            self._world.counters.add("dials_failed")

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
        outcome = self._outcomes.get(connection)
        if outcome is not None and not outcome.done():
            failure = ReachedAnother if isinstance(event.error, WrongNodeId) else DialFailed
            outcome.set_exception(failure(f"no session with {connection.url}: {event.reason}"))
        peer = connection.peer
        if peer is not None:
            self._places.leave(connection, is_client=connection.is_client)
            is_typed = connection.url in self._addresses.typed
            mono = self._world.clock.now().mono
            is_turned_away = self._pauses.ended(connection, event, mono, is_typed=is_typed)
            if self._by_id.get(peer.node_id) is connection:
                del self._by_id[peer.node_id]
                is_over = event.reason in (NO_MEMBER, NOT_INVITED)  # for both ends, whoever said so
                reason = GOODBYE if is_over else event.reason
                self._sink.on_link(peer, Down(TURNED_AWAY if is_turned_away else reason))

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
        if self._idle_look is not None:
            self._idle_look.cancel()
        for listener in self._listeners:
            await listener.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for dial in self._dials.values():  # whose task was cancelled before its first step
            for call, _ in dial.take_all():
                self._sink.on_answer(call, Failed(FailReason.UNREACHABLE))
        self._dials.clear()
        for connection in list(self._all):
            connection.close()
        await self._links.none_left(GOODBYE_S_MAX)
        for connection in self._links:
            connection.link.abort()
        await self._links.none_left(GOODBYE_S_MAX)
        if len(self._links):  # only a fault of a link can come to that: the node ends all the same
            log.error("links do not end count=%d", len(self._links))

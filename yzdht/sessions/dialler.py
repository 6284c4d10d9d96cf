"""Dialling: which peers are being dialled, the calls that wait for them, and what a dial that ends means.

PROTOCOL.md section 6. Owns the tasks of dials; the sessions that come of them belong to the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from yzdht.crypto.handshake import Initiator
from yzdht.errors import DialFailed, DialledTooOften, ReachedAnother, TransportError, WrongNodeId
from yzdht.ids import shorten
from yzdht.limits import (
    ADDRESS_STAGGER_S,
    CALLS_WAITING_MAX,
    DIAL_TIMEOUT_S,
    DIALS_PER_PEER_MAX,
    DIALS_WAITING_MAX,
    FAMILIES_LOOK_S,
    HOSTS_PER_NAME_MAX,
)
from yzdht.rpc.engine import Failed, FailReason
from yzdht.sessions.dialling import Addresses, Dial, DialPace, MuteAddresses, Pauses, WaitingCall
from yzdht.sessions.race import Attempt, Race
from yzdht.staggered import UNTIL_ANOTHER_ENDS, Staggered
from yzdht.transport.choose import History, Means, choose
from yzdht.wire.address import ClientType


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence

    from yzdht.ids import NodeId
    from yzdht.ports import Link
    from yzdht.rpc.session import Ended
    from yzdht.sessions.connection import Connection
    from yzdht.sessions.world import SessionsSink, World
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body, Method


log = logging.getLogger(__name__)


class Exchange(Protocol):
    """Where a dial's session goes, and the calls that waited for it."""

    def connect(self, link: Link) -> Connection:
        """A connection on an open link, whose session has not begun."""
        ...

    def serving(self, node_id: NodeId) -> Connection | None:
        """The session that serves a node."""
        ...

    def send(self, connection: Connection, call: int, waiting: WaitingCall) -> None:
        """Send a call that waited; its whole time begins anew."""
        ...


class Dialler:
    """Every dial of one process.

    Args:
        world: What sessions stand on.
        sink: Is told which calls came to nothing.
        exchange: Takes the sessions.
        on_fault: Task guard: given a task that must not fail silently.

    """

    def __init__(
        self,
        world: World,
        sink: SessionsSink,
        exchange: Exchange,
        on_fault: Callable[[asyncio.Task[None]], None] | None,
    ) -> None:
        self._world = world
        self._sink = sink
        self._exchange = exchange
        self._on_fault = on_fault
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dials: dict[NodeId, Dial] = {}
        self._turns = asyncio.Semaphore(world.bounds.dials_in_flight_max)
        self._pace = DialPace(world.bounds.dials_per_s)
        self._addresses = Addresses(world.clock, is_private_allowed=world.is_private_allowed)
        self._pauses = Pauses()
        self._history = History()
        self._mute = MuteAddresses()
        self._attempts: dict[Connection, Attempt] = {}
        self._own_means = Means(ClientType.PYTHON, frozenset())
        self._means_until = float("-inf")
        self._is_closing = False

    # Calls that wait

    def call(self, call: int, contact: Contact, method: Method, body: Body, timeout_s: float) -> None:
        """Have a call wait for a contact that is dialled, if it is not already; `on_answer` follows."""
        dial = self._dials.get(contact.node_id) or self._start(contact)
        if isinstance(dial, FailReason):
            self._loop.call_soon(self._sink.on_answer, call, Failed(dial))
        elif len(dial.waiting) >= CALLS_WAITING_MAX:
            self._loop.call_soon(self._sink.on_answer, call, Failed(FailReason.BUSY))
        else:
            timer = self._loop.call_later(timeout_s, self._expire, dial, call)
            dial.waiting[call] = WaitingCall(method, body, timeout_s, timer)

    def _expire(self, dial: Dial, call: int) -> None:
        """A call's deadline runs while its peer is being dialled, too."""
        del dial.waiting[call]
        self._sink.on_answer(call, Failed(dial.why_late(self._world.clock.now().mono)))

    def cancel(self, call: int) -> None:
        """Forget a call that waits; nothing follows."""
        for dial in self._dials.values():
            if (waiting := dial.waiting.pop(call, None)) is not None:
                waiting.timer.cancel()

    # Dials

    async def dial(self, url: str, expected: NodeId | None) -> Connection:
        """Open a session at an address that a person typed; `expected` is who must answer, None for anybody.

        Raises:
            DialFailed: Nobody answers there, or the wrong one, or not with this network's handshake.

        """
        self._addresses.note_typed(url)
        return await self._open(Attempt(url, expected))

    async def dial_heard(self, url: str, expected: NodeId | None) -> Connection:
        """Open a session at an address that somebody named, which is nobody's word for it; otherwise as `dial`.

        Raises:
            DialFailed: As `dial`; DialledTooOften where it was dialled lately.

        """
        return await self._open(Attempt(url, expected), await self._addresses.check(url))

    def renew(self, connection: Connection, node_id: NodeId) -> None:
        """Dial a node again while its session lasts: where that was dialled, then at what else is known of it."""
        if not self._is_closing:
            self._spawn(self._renew(connection, node_id))

    async def _renew(self, connection: Connection, node_id: NodeId) -> None:
        assert connection.url is not None
        others = () if connection.contact is None else self._in_order(connection.contact)
        async with self._turns:
            await self._try_each(Race(node_id, connection), dict.fromkeys((connection.url, *others)))

    def _start(self, contact: Contact) -> Dial | FailReason:
        """Begin to dial; a reason if that is not done: BUSY where the contact is not to blame."""
        if self._is_closing or len(self._dials) >= self._world.bounds.dials_in_flight_max + DIALS_WAITING_MAX:
            return FailReason.BUSY
        mono = self._world.clock.now().mono
        if not contact.urls:
            return FailReason.UNREACHABLE
        if (reason := self._pauses.why(contact.node_id, mono)) is not None:
            return reason
        wait_s = self._pace.turn(mono)
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
            async with self._turns:
                if dial.waiting:
                    dial.begun_at = self._world.clock.now().mono
                    reason = await self._try_addresses(contact)
                else:
                    self._pace.give_back()
                    reason = FailReason.BUSY
        finally:
            connection = self._exchange.serving(contact.node_id)
            if connection is not None:
                connection.contact = contact
            if self._dials.get(contact.node_id) is dial:
                del self._dials[contact.node_id]
                if connection is None:
                    reason = self._why_failed(contact, reason)
            for call, waiting in dial.take_all():
                if connection is None:
                    self._sink.on_answer(call, Failed(reason))
                else:
                    self._exchange.send(connection, call, waiting)

    def _why_failed(self, contact: Contact, reason: FailReason) -> FailReason:
        """What to say of a contact with whom no session came about; it is left alone for a while if it is to blame."""
        mono = self._world.clock.now().mono
        turned_away = self._pauses.why(contact.node_id, mono)
        if turned_away is None and reason is not FailReason.BUSY:
            is_typed = self._addresses.is_typed(*contact.urls)
            self._pauses.failed(contact.node_id, mono, is_typed=is_typed)
        return turned_away or reason

    async def _try_addresses(self, contact: Contact) -> FailReason:
        """Dial a contact at the addresses that are worth it, until there is a session; what to say if there is none."""
        race = Race(contact.node_id)
        has_session = self._exchange.serving(contact.node_id) is not None
        await self._try_each(race, self._in_order(contact, has_session=has_session))
        return race.reason

    def _in_order(self, contact: Contact, *, has_session: bool = False) -> list[str]:
        """Which addresses of a contact are worth dialling, the best first."""
        mono = self._world.clock.now().mono
        starts = choose(
            self._means(mono),
            contact.urls,
            self._history.of(contact.node_id, contact.worked),
            mono,
            has_session=has_session,
            may_dial=self._addresses.may_dial,
        )
        return [start.url for start in starts]

    async def _try_each(self, race: Race, urls: Iterable[str]) -> None:
        await Staggered(
            urls,
            lambda url: self._attempt(race, url),
            gap_s=ADDRESS_STAGGER_S,
            at_once_max=DIALS_PER_PEER_MAX,
            wait_s=lambda url: self._how_long(race, url),
        ).first()

    def _how_long(self, race: Race, url: str) -> float | None:
        """How long an address must wait that could be dialled now; None if it need not be dialled."""
        if self._is_closing or self._exchange.serving(race.node_id) not in (None, race.replaced):
            return None  # it dialled us meanwhile
        if race.under_way and self._turns.locked():
            return UNTIL_ANOTHER_ENDS
        return race.wait_s(url, self._world.clock.now().mono)

    async def _attempt(self, race: Race, url: str) -> Connection | None:
        """Dial one of a peer's addresses; None if no session comes of it."""
        with race.begin(url) as attempt:
            # The first one under way has the turn of its contact.
            turn = self._turns if len(race.under_way) > 1 else contextlib.nullcontext()
            try:
                async with turn:
                    if len(race.tried) > 1:
                        await self._next_turn()
                    return await self._open(attempt, await self._addresses.check(url))
            except DialFailed as error:
                if race.winner is None:
                    log.debug("dial failed peer=%s reason=%s", shorten(race.node_id), error)
                    race.failed(attempt, error)
                    self._note_failure(race.node_id, url, error)
                return None

    def _note_failure(self, node_id: NodeId, url: str, error: DialFailed) -> None:
        self._world.counters.add("dials_failed")
        if not self._is_closing and not isinstance(error, DialledTooOften):
            self._history.failed(node_id, url, self._world.clock.now().mono)

    async def _next_turn(self) -> None:
        """Wait for a turn of the pace for one more address.

        Raises:
            DialledTooOften: There is none soon.

        """
        wait_s = self._pace.turn(self._world.clock.now().mono)
        if wait_s is None:
            self._world.counters.add("rate_limited", "dials")
            raise DialledTooOften("too many dials wait for their turn")
        await asyncio.sleep(wait_s)

    def _means(self, mono: float) -> Means:
        """What this process can dial; its interfaces come and go."""
        if mono >= self._means_until:
            protocols = frozenset(s for t in self._world.transports for s in t.schemes)
            self._own_means = Means(ClientType.PYTHON, protocols, *self._world.families())
            self._means_until = mono + FAMILIES_LOOK_S
        return self._own_means

    async def _open(self, attempt: Attempt, hosts: Sequence[str] = ()) -> Connection:
        if self._is_closing:
            raise DialFailed("this end is closing")
        url = attempt.url
        scheme = url.partition(":")[0]
        transport = next((t for t in self._world.transports if scheme in t.schemes), None)
        if transport is None:
            raise DialFailed(f"{url}: this node does not speak {scheme}")

        def accept(link: Link) -> Connection:
            connection = self._exchange.connect(link)
            connection.url = url
            self._attempts[connection] = attempt
            attempt.linked(connection, self._world.clock.now().mono)
            connection.begin(Initiator(self._world.credentials_to_dial(), attempt.expected))
            if self._is_closing or attempt.is_lost:
                connection.close()
            return connection

        try:
            return await self._link_and_open(
                attempt, lambda avoid: transport.dial(url, accept, DIAL_TIMEOUT_S, hosts, avoid)
            )
        except TransportError as error:
            if isinstance(error, DialFailed):
                raise
            raise DialFailed(str(error)) from error
        finally:
            for connection in attempt.connections:
                del self._attempts[connection]
            attempt.give_up()

    async def _link_and_open(
        self, attempt: Attempt, dial: Callable[[Collection[str]], Awaitable[Link]]
    ) -> Connection:
        """A session at one of the IP addresses of a host: at the next one, where a link is open and nobody speaks on it.

        Whoever takes connections and says nothing, such as a proxy whose node is dead, would keep the others from being
        tried. It is tried last from then on.
        """
        mono = self._world.clock.now().mono
        mute, tried = self._mute.of(attempt.url, mono), set[str]()
        failure: DialFailed | None = None
        while True:
            try:
                link = await dial(mute | tried)
            except DialFailed:
                if mute <= tried and failure is not None:
                    raise failure from failure.__cause__
                if mute <= tried:
                    raise
                mute = frozenset()  # nobody else is there: perhaps they speak again
                continue
            try:
                return await attempt.outcome
            except DialFailed as error:
                host = link.remote.host
                is_last = host in tried or len(tried) == HOSTS_PER_NAME_MAX
                if self._is_closing or attempt.is_lost or is_last:
                    raise
                self._mute.note(attempt.url, host, mono)
                tried.add(host)
                failure = error
                attempt.begin_again()

    # What becomes of their sessions

    def reached(self, node_id: NodeId) -> None:
        """A session with a node began, whoever dialled: it can be reached."""
        self._pauses.succeeded(node_id)

    def opened(self, connection: Connection, serving: Connection) -> None:
        """The peer of a connection is proved, and `serving` is the session to use with it."""
        node_id = connection.node_id
        assert node_id is not None
        attempt = self._attempts.get(connection)
        if attempt is not None:
            self._history.worked(node_id, attempt.url)
            attempt.won(serving)
        if node_id in self._dials:
            self._loop.call_soon(self._send_waiting, node_id)

    def _send_waiting(self, node_id: NodeId) -> None:
        """Nobody waits for a dial any more that led to a session, though its other addresses take a while to end."""
        serving = self._exchange.serving(node_id)
        if serving is not None and (dial := self._dials.pop(node_id, None)) is not None:
            for call, waiting in dial.take_all():
                self._exchange.send(serving, call, waiting)

    def ended(self, connection: Connection, event: Ended) -> bool:
        """A connection ended; True if the node that was dialled had no place for its session, or not for long."""
        attempt = self._attempts.get(connection)
        if attempt is not None:
            failure = ReachedAnother if isinstance(event.error, WrongNodeId) else DialFailed
            attempt.lost(failure(f"no session with {connection.url}: {event.reason}"))
        is_typed = connection.url is not None and self._addresses.is_typed(connection.url)
        return self._pauses.ended(connection, event, self._world.clock.now().mono, is_typed=is_typed)

    # The end

    def refuse(self) -> None:
        """Begin no dial any more, and end what comes of those under way."""
        self._is_closing = True

    async def close(self) -> None:
        """End every dial, and fail what waits for one."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for dial in self._dials.values():  # whose task was cancelled before its first step
            for call, _ in dial.take_all():
                self._sink.on_answer(call, Failed(FailReason.UNREACHABLE))
        self._dials.clear()

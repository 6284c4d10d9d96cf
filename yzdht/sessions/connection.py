"""One channel and the session on it: messages in, messages out, one timer, and back-pressure both ways.

A peer that does not read its answers gets no more of its requests served, and one that asks more at once than others has
them served in turns: they wait here, bounded, and then the channel is not read any more. Of what too much is asked about (flows.py) what is
too much is answered busy instead, so that the rest need not wait behind it. Calls to a peer that does not read wait too, bounded, then fail as busy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.limits import (
    BOTH_DIALLED_S,
    CALLS_IN_FLIGHT_MAX,
    CALLS_WAITING_MAX,
    HELD_BYTES_PER_GET,
    HELD_BYTES_PER_REQUEST,
    HELD_BYTES_STEP,
)
from yzdht.rpc.engine import Failed, FailReason
from yzdht.rpc.session import Answered, Ended, Event, Requested, Session, Spent, State, why_unanswered
from yzdht.sessions.waiting_requests import WaitingRequests
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Get, Publish, Refusal, Status, Subscribe, held_bytes_of, topic_of


if TYPE_CHECKING:
    import asyncio

    from yzdht.crypto.handshake import Initiator, Responder
    from yzdht.ids import NodeId
    from yzdht.loop_turns import LoopTurns
    from yzdht.ports import Link
    from yzdht.rpc.engine import Peer
    from yzdht.sessions.clock import Clock
    from yzdht.sessions.request_turns import RequestTurns
    from yzdht.wire.address import Contact
    from yzdht.wire.frame import RecordType
    from yzdht.wire.rpc import Body, Method


_ENDED = State.ENDED  # bound once: read for every message, and an attribute of an enum costs a call


class _Waiting(NamedTuple):
    """A call that is not sent yet; `deadline` in monotonic seconds."""

    call: int
    method: Method
    body: Body
    deadline: float


class Owner(Protocol):
    """Whoever is told what happens on a connection.

    Attributes:
        handshake_turns: Whether a message of a handshake is answered now; if not, `hear_early` is called in its turn.
        request_turns: The same for a request, and `serve_next`.

    """

    @property
    def handshake_turns(self) -> LoopTurns[Connection]:
        """Of messages of handshakes."""
        ...

    @property
    def request_turns(self) -> RequestTurns[Connection]:
        """Of requests."""
        ...

    def on_event(self, connection: Connection, event: Event) -> None:
        """A session event, in order."""
        ...

    def is_busy(self, topic: bytes) -> bool:
        """True if a topic was asked about far more than others lately, so that what is about it goes after these."""
        ...

    def on_weight(self, connection: Connection, held: int) -> None:
        """It holds so many bytes for its peer, which is more or less than before by HELD_BYTES_STEP."""
        ...

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        """Its link carried so many bytes since it last said so; only of one that is metered."""
        ...

    def on_gone(self, connection: Connection) -> None:
        """Its link is closed, which is later than the end of its session; nothing follows."""
        ...


class Connection:
    """A link handler that runs one session.

    Args:
        link: The open channel.
        clock: For the session.
        loop: For its timer.
        owner: Hears its events.

    Attributes:
        peer: Who is at the other end, once that is proved.
        url: The address that was dialled; None if the other end dialled.
        contact: What the peer was last known as when it was called; None if it was not.
        is_retired: True once another session serves the peer.
        is_metered: True if what its link carries is counted as it goes.
        session: What runs on the link; None until its handshake begins.
        opened_at: Monotonic seconds at which the peer was proved; None until then.
        has_parted: True if this end gave its place to another.
        is_answered: True if the peer answered a call.
        used_at: Monotonic seconds at which either end last asked something, or this end said something unasked.
        is_needed: True while this end waits for what the other says unasked.
        unpaid_pushes: What the other said unasked and was not charged for yet.

    """

    def __init__(self, link: Link, clock: Clock, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        self.link = link
        self.peer: Peer | None = None
        self.url: str | None = None
        self.contact: Contact | None = None
        self.is_retired = False
        self.is_metered = False
        self._carried = (0, 0)
        self.session: Session | None = None
        self.opened_at: float | None = None
        self.has_parted = False
        self.is_answered = False
        self.used_at = clock.now().mono
        self.is_needed = False
        self.unpaid_pushes = 0
        self._clock = clock
        self._loop = loop
        self._owner = owner
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._deferred = WaitingRequests()
        self._early: list[bytes] | None = None  # messages that came before the turn of its handshake
        self._waiting: list[_Waiting] = []
        self._is_pumping = False
        self._rest: asyncio.TimerHandle | None = None
        self._open: dict[int, int] = {}  # bytes of each request that has no answer yet
        self._open_bytes = 0
        self._weight = 0

    @property
    def road(self) -> str:
        """How the other end is reached: `tcp`, `tls`, `ws`, `wss`, `memory`."""
        return self.link.remote.protocol

    @property
    def bytes_in(self) -> int:
        """Bytes that arrived on its link."""
        return self.link.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes that were sent on its link."""
        return self.link.bytes_out

    @property
    def held_bytes(self) -> int:
        """What it holds for its peer: open requests, a message under assembly, what is unsent or undelivered."""
        assembling = 0 if self.session is None else self.session.assembling_bytes
        early = 0 if self._early is None else sum(map(len, self._early))
        return self._open_bytes + assembling + early + self.link.held_bytes

    @property
    def is_initiator(self) -> bool:
        """True if this end dialled."""
        return self.session is not None and self.session.is_initiator

    @property
    def node_id(self) -> NodeId | None:
        """Who is at the other end, once that is proved."""
        return self.peer.node_id if self.peer is not None else None

    def goes_before(self, new: Connection, *, own_id: NodeId) -> bool:
        """Whether it stays where a new session with the same node opens: if both dialled at once, one of the two does."""
        assert self.opened_at is not None
        assert self.node_id is not None
        age_s = self._clock.now().mono - self.opened_at
        if self.is_initiator == new.is_initiator or age_s > BOTH_DIALLED_S:
            return False  # the same end began anew: it knows why
        return self.is_initiator == (own_id < self.node_id)

    @property
    def is_client(self) -> bool:
        """True for a proved peer that only asks."""
        return self.peer is not None and bool(self.peer.caps & Caps.CLIENT)

    @property
    def is_idle(self) -> bool:
        """True when neither end waits for an answer."""
        session = self.session
        if session is None or session.state is _ENDED:
            return True
        return not (session.calls_in_flight or session.requests_open or self._waiting)

    def begin(self, handshake: Initiator | Responder) -> None:
        """Start the session."""
        self.session = Session(handshake, self._clock.now())
        self._pump()

    # From the link

    def on_message(self, message: bytes) -> None:
        """One message arrived."""
        session = self.session
        if session is None:
            return
        if self._early is not None:
            self._early.append(message)  # no more than was read at once: the link is paused
        elif session.is_answering and not self._owner.handshake_turns.is_now(self):
            self._early = [message]
            self.link.pause_reading()
        else:
            session.receive(message, self._clock.now())
            self._pump()

    def hear_early(self) -> None:
        """It is the turn of its handshake: take in what has come."""
        messages, self._early = self._early or [], None
        session = self.session
        assert session is not None
        for message in messages:
            session.receive(message, self._clock.now())
            self._pump()
        self._read_on()

    def on_writable(self) -> None:
        """The peer reads again."""
        self._wait_turns(is_heavy=True)
        self._read_on()
        self._send_waiting()
        self._pump()

    def serve_next(self, *, is_busy: bool) -> None:
        """It is the turn of one of its requests that wait: of one about what too much is asked about, or of another."""
        if self.link.is_congested or self._rest is not None:
            return  # `on_writable` follows, or the end of its rest
        request = self._deferred.take(is_late=is_busy)
        if request is None:
            return
        self._hold(request.number, _size_served(request.body))
        try:
            self._owner.on_event(self, request)
        finally:  # others wait behind it
            self._wait_turns()
            self._weigh()
            self._read_on()

    def _wait_turns(self, *, is_heavy: bool = False) -> None:
        if self._deferred.has_others:
            self._owner.request_turns.wait(self, is_heavy=is_heavy)
        if self._deferred.has_late:
            self._owner.request_turns.wait(self, is_busy=True)

    def on_closed(self, reason: str) -> None:
        """The link is gone."""
        if self.session is None:
            self._owner.on_event(self, Ended(reason, is_fault=False))
        else:
            self.session.on_channel_closed(reason)
            self._pump()
        self._owner.on_gone(self)

    # From the owner

    def call(self, call: int, method: Method, body: Body, timeout_s: float) -> None:
        """Send a request, or let it wait while the peer does not read or enough are in flight."""
        session = self.session
        assert session is not None
        now = self._clock.now()
        self.used_at = now.mono
        if session.state is _ENDED or (not self._waiting and self._has_room):
            session.call(call, method, body, timeout_s, now)
            self._pump()
        elif len(self._waiting) >= CALLS_WAITING_MAX:
            self._owner.on_event(self, Answered(call, Failed(FailReason.BUSY)))
        else:
            self._waiting.append(_Waiting(call, method, body, now.mono + timeout_s))
            self._arm()

    @property
    def _has_room(self) -> bool:
        assert self.session is not None
        return not self.link.is_congested and self.session.calls_in_flight < CALLS_IN_FLIGHT_MAX

    def _send_waiting(self) -> None:
        """Send what waits and now may go; a call's deadline has run meanwhile."""
        session = self.session
        assert session is not None
        now = self._clock.now()
        while self._waiting and self._has_room:
            waiting = self._waiting.pop(0)
            if waiting.deadline <= now.mono:
                self._owner.on_event(self, Answered(waiting.call, Failed(FailReason.TIMEOUT)))
                continue
            session.call(waiting.call, waiting.method, waiting.body, waiting.deadline - now.mono, now)
            self._flush()

    def _expire_waiting(self, mono: float) -> None:
        overdue = [w for w in self._waiting if w.deadline <= mono]
        if overdue:
            self._waiting = [w for w in self._waiting if w.deadline > mono]
            for waiting in overdue:
                self._owner.on_event(self, Answered(waiting.call, Failed(FailReason.TIMEOUT)))

    def cancel(self, call: int) -> None:
        """Forget a call."""
        if self.session is not None:
            self._waiting = [w for w in self._waiting if w.call != call]
            self.session.cancel(call)

    def reply(self, number: int, status: Status, body: Body) -> None:
        """Answer a request."""
        self._open_bytes -= self._open.pop(number, 0)
        if self.session is not None:
            self.session.reply(number, status, body, self._clock.now())
            self._pump()

    def push(self, record_type: RecordType, data: bytes) -> None:
        """Send a message that has no answer, of MESSAGE_BYTES_MAX at most; a no-op where the session has ended."""
        if self.session is not None and self.session.state is not _ENDED:
            now = self._clock.now()
            self.used_at = now.mono
            self.session.push(record_type, data, now)
            if not self._is_pumping:  # nothing comes of it but bytes
                self._flush()
                self.link.flush()  # what else happens in this turn of the loop can wait longer than subscribers
                self._account()

    def rest(self, seconds: float) -> None:
        """Read nothing for a while: the peer asks too much, and what is not read costs nothing."""
        if self._rest is None and self.session is not None and self.session.state is not _ENDED:
            self._pause()
            self._rest = self._loop.call_later(seconds, self._end_rest)

    def _end_rest(self) -> None:
        self._rest = None
        self._wait_turns(is_heavy=True)
        self._read_on()

    def _read_on(self) -> None:
        if self._rest is None and not self._is_full and self._early is None:
            self.link.resume_reading()

    def close(self) -> None:
        """Say goodbye."""
        if self.session is not None:
            self.session.close(self._clock.now())
            self._pump()
        else:
            self.link.abort()

    def part(self) -> None:
        """Give the place of this session to another; neither end leaves."""
        self.has_parted = True
        if self.session is not None:
            self.session.part(self._clock.now())
            self._pump()
        else:
            self.link.abort()

    def turn_away(self) -> None:
        """End it: whoever is at the other end is no member of this end's closed network."""
        if self.session is not None:
            self.session.turn_away(self._clock.now())
            self._pump()

    @property
    def _is_full(self) -> bool:
        """Before the session runs out of open requests: it would answer busy, and nobody reads answers."""
        return self._deferred.are_others_full or (self._deferred.is_late_full and self.link.is_congested)

    # The pump

    def _pump(self) -> None:
        """Send what the session says, tell what it heard, until both are quiet; re-arm the timer."""
        if self._is_pumping:
            return
        session = self.session
        assert session is not None
        self._is_pumping = True
        try:
            self._flush()
            while events := session.take_events():
                for event in events:
                    self._hear(event)
                if self._waiting:
                    self._send_waiting()
                self._flush()
        finally:
            self._is_pumping = False
        self._account()
        self._arm()

    def _account(self) -> None:
        self._weigh()
        if self.is_metered:
            self._tell_carried()

    def _tell_carried(self) -> None:
        taken, given = self._carried
        self._carried = self.link.bytes_in, self.link.bytes_out
        self._owner.on_carried(self, self._carried[0] - taken, self._carried[1] - given)

    def _weigh(self) -> None:
        held = self.held_bytes
        if abs(held - self._weight) >= HELD_BYTES_STEP:
            self._weight = held
            self._owner.on_weight(self, held)

    def _flush(self) -> None:
        assert self.session is not None
        for message in self.session.take_outgoing():
            self.link.send(message)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Requested) and self._has_to_wait(event):
            return
        if isinstance(event, Ended):
            self._end(event)
        self._owner.on_event(self, event)

    def _has_to_wait(self, event: Requested) -> bool:
        """Have a request wait if it is not its turn; those about one topic are served in the order in which they came."""
        topic = topic_of(event.body)
        is_late = self._deferred.are_late(topic)
        is_behind = is_late is not None
        if is_late is None:
            is_late = topic is not None and self._owner.is_busy(topic)
            is_behind = self._deferred.has_late if is_late else self._deferred.has_others
        if not (is_behind or self.link.is_congested) and self._owner.request_turns.is_now(
            self, is_busy=is_late
        ):
            self._hold(event.number, _size_served(event.body))
            return False
        if is_late and self._is_too_late(event.body):
            self.reply(event.number, Status.BUSY, Refusal())
            self._owner.on_event(self, Spent(Status.BUSY, event.method))
            return True
        self._defer(event, topic, is_late=is_late)
        return True

    def _is_too_late(self, body: Body) -> bool:
        """Too many wait already that are about what too much is asked about; who does not read is told nothing.

        An UNSUBSCRIBE is not tried again by anybody, and a large summary costs more to take in than a token.
        """
        is_full = self._deferred.is_late_full and not self.link.is_congested
        return is_full and (isinstance(body, Publish) or (isinstance(body, Subscribe) and not body.summary))

    def _hold(self, number: int, size: int) -> None:
        """Count what an open request takes; what it took before, while it waited, counts no more."""
        self._open_bytes += size - self._open.get(number, 0)
        self._open[number] = size

    def _defer(self, event: Requested, topic: bytes | None, *, is_late: bool) -> None:
        size = held_bytes_of(event.body)
        is_too_large = is_late and self._deferred.is_late_full and size > HELD_BYTES_PER_REQUEST
        self._hold(event.number, size)
        self._deferred.add(event, size, topic, is_late=is_late)
        if self._is_full or is_too_large:
            self._pause()

    def _pause(self) -> None:
        """Read no further; what came with the same read is weighed once that is done."""
        self.link.pause_reading()
        self._loop.call_soon(self._weigh)

    def _end(self, event: Ended) -> None:
        self._flush()
        if event.is_fault:
            self.link.abort()
        else:
            self.link.close()
        self._deferred.clear()
        self._open.clear()
        self._open_bytes = 0
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        why = why_unanswered(event.reason)
        while self._waiting:
            self._owner.on_event(self, Answered(self._waiting.pop(0).call, Failed(why)))

    def _arm(self) -> None:
        """One timer per connection: moved only when it must ring earlier, else it rings early and is set anew."""
        assert self.session is not None
        at = self.session.next_timer()
        if at is not None and self._waiting:
            at = min(at, self._waiting[0].deadline)
        if at is None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_later(max(0.0, at - self._clock.now().mono), self._ring)

    def _ring(self) -> None:
        assert self.session is not None
        self._timer = None
        now = self._clock.now()
        self.session.handle_timer(now)
        self._expire_waiting(now.mono)
        self._pump()


def _size_served(body: Body) -> int:
    """What a request takes while it is served: a read collects what it finds."""
    return HELD_BYTES_PER_GET if isinstance(body, Get) else held_bytes_of(body)

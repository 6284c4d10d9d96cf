"""One node of a simulated network: a real engine over a real store, driven as the shell drives them."""

from __future__ import annotations

import random  # noqa: TID251 - the simulator is a shell
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from tests.sim.authors import NET, NullChecks, Pen
from yzdht.crypto.signing import RecordChecks
from yzdht.errors import WireError
from yzdht.ids import NodeId, SessionId
from yzdht.kad.contacts import Own
from yzdht.kad.engine import (
    CountedNotice,
    FoundNotice,
    GotNotice,
    JoinedNotice,
    KadEngine,
    LeftNotice,
    MeasuredNotice,
    PutNotice,
)
from yzdht.ports import Now
from yzdht.rpc.engine import Answer, Call, Cancel, Down, Failed, FailReason, Peer, Persist, Reply, Up
from yzdht.rpc.rtt import RoundTrip
from yzdht.sessions.dialling import Pauses
from yzdht.store.memory import MemoryStore
from yzdht.wire.address import Contact, public_prefix
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import (
    REQUESTS,
    RESPONSES,
    Body,
    Method,
    Refusal,
    Status,
    decode_body,
    encode_body,
)
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from tests.sim.world import World
    from yzdht.ids import Target
    from yzdht.kad.write import Draft
    from yzdht.wire.slot import Verdict


_OP_BITS = 40
_TICK_S = 1e-6
"""Longer than what rounding takes from a clock that drifts."""
_TIMED = frozenset({Method.PING, Method.FIND_NODE, Method.FIND_VALUE})


class SimRng:
    """An `Rng` whose draws follow from a seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


@dataclass(eq=False, slots=True)
class Session:
    """One live session; `ends` in the order initiator, responder."""

    ends: tuple[SimNode, SimNode]
    is_open: bool = True
    cut_at: float | None = None
    clear_at: dict[NodeId, float] = field(default_factory=dict)

    def other(self, node: SimNode) -> SimNode:
        return self.ends[1] if node is self.ends[0] else self.ends[0]


@dataclass(slots=True)
class Flight:
    """A call under way; `session` is None where nodes have none."""

    call: Call
    session: Session | None
    sent_at: float


@dataclass(slots=True)
class Dial:
    waiting: list[Call] = field(default_factory=list)


class SimNode:
    """One node: an engine, its store, its sessions. Made by `World.add_node`.

    Attributes:
        responder: Answers in the engine's place where it returns something: a liar.
        results: What operations came to, by number.
        ended_at: Virtual monotonic seconds of that.
        counts: CountedNotices, by name and label.
        sent: Calls and when they were sent; only in a world with sessions.
        joined_at: Virtual monotonic seconds of its JoinedNotice.
        has_left: True once its engine has handed over what it could.
        place: On a torus with sides of 1; for latencies.
        skew_s: How far its wall clock is ahead.
        drift: How much faster its monotonic clock runs; 0.001 is a millisecond in a second.
        doomed: Calls whose failure is on its way.
        met: Life of each node that it spoke with in this life, by number; only in a world without sessions.
        spoke: When it last spoke with a node, by number; only where new connections take time.

    """

    def __init__(self, world: World, number: int, host: str, caps: Caps) -> None:
        self.world = world
        self.number = number
        self.host = host
        self.caps = caps
        self.pen = Pen(number, is_signed=world.is_signed)
        self.node_id = self.pen.node_id
        self.point = int.from_bytes(self.node_id)
        self.url = f"ws://{host}:8083"
        self.contact = Contact(self.node_id, self.pen.public_key, (self.url,), caps)
        self.store = MemoryStore(self._on_verdicts, lambda run: world.after(world.weather.disk_s, run))
        self.responder: Callable[[Peer, Method, Body], tuple[Status, Body] | None] | None = None
        self.on_left: Callable[[], None] | None = None
        self.ended_at: dict[int, float] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self.sent: list[tuple[float, Call]] = []
        self.joined_at: float | None = None
        self.is_up = False
        self.life = 0
        self.side = 0
        shard = random.Random(f"{world.seed}/{number}")
        self.place = (shard.random(), shard.random())
        self.skew_s = shard.uniform(-world.skew_s, world.skew_s)
        self.drift = shard.uniform(-world.drift, world.drift)
        self._peer: Peer | None = None
        self.engine = self._begin()

    def __repr__(self) -> str:
        return f"node {self.number}"

    def _begin(self) -> KadEngine:
        world = self.world
        self.life += 1
        self.is_up = True
        self.has_left = False
        self.results: dict[int, Any] = {}  # numbers begin anew with each life
        self.sessions: dict[NodeId, Session] = {}
        self.flights: dict[int, Flight] = {}
        self.dials: dict[NodeId, Dial] = {}
        self.doomed: set[int] = set()
        self.pauses = Pauses()
        self.rtts: dict[NodeId, RoundTrip] = {}
        self.requests: dict[int, Callable[[Status, Body], None]] = {}
        self.met: dict[int, int] = {}
        self.spoke: dict[int, float] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._timer_at: float | None = None
        self._publish_to_self()
        checks = RecordChecks(NET) if world.is_signed else NullChecks(NET)
        own = Own(Contact(self.node_id, self.pen.public_key, (), self.caps))
        return KadEngine(own, self.store, checks, SimRng(f"{world.seed}/{self.number}/{self.life}"))

    def _publish_to_self(self) -> None:
        note = self.pen.identity([self.url], int(self.caps), created=int(self.now().wall))
        self.hold(note)

    # Its clocks

    def now(self) -> Now:
        """The present, as its own clocks show it."""
        now = self.world.now
        if not self.skew_s and not self.drift:
            return now
        return Now(now.mono * (1 + self.drift), now.wall + self.skew_s)

    def _world_time(self, mono: float) -> float:
        """When its monotonic clock will show that."""
        return mono / (1 + self.drift) + _TICK_S if self.drift else mono

    def hold(self, note: Note, keep_until: int = 0) -> None:
        """Put a record on this node's disk, past its engine."""
        record = note.record
        expires = record.expires or keep_until
        self.store.submit(
            0,
            Write(
                target=note.target,
                publisher=record.publisher,
                kind=record.kind,
                seq=record.seq,
                hash=record.hash,
                created=record.created,
                expires=expires,
                body=record.raw,
                cas=None,
                keep_until=keep_until,
                stored_by=b"",
                is_pinned=True,
                wall_now=self.now().wall,
            ),
        )

    def held_seq(self, target: Target) -> int | None:
        """Seq of the one record on its disk under a target; None for nothing."""
        stored = self.store.get(target, self.now().wall)
        return stored[0].head.seq if stored else None

    def peer(self) -> Peer:
        """How others see it."""
        if self._peer is None or self._peer.caps != self.caps:
            session = SessionId(self.node_id[:16])
            self._peer = Peer(
                self.node_id, self.pen.public_key, self.caps, session, self.host, public_prefix(self.host)
            )
        return self._peer

    # Commands; each drives the engine, not the clock

    def get(self, target: Target) -> int:
        return self._command(lambda now: self.engine.get(target, now))

    def put(self, draft: Draft) -> int:
        return self._command(lambda now: self.engine.put(draft, now))

    def find(self, target: Target, wanted: int) -> int:
        return self._command(lambda now: self.engine.find(target, wanted, now))

    def _command(self, run: Callable[[Now], int]) -> int:
        op = run(self.now())
        self.pump()
        return op

    def join(self, *others: SimNode) -> None:
        """Dial bootstrap addresses, as the shell does at start."""
        self.engine.expect_peers(self.now())
        for other in others:
            self.world.dial(self, other.contact)

    def leave(self) -> None:
        """Hand over what it keeps; `has_left` says when it has, `on_left` is called then."""
        self.engine.leave(self.now())
        self.pump()

    def ask(self, peer: Peer, method: Method, body: Body) -> list[tuple[Status, Body]]:
        """Ask it as a peer without a session of this world; the answer appears in the list."""
        answers: list[tuple[Status, Body]] = []
        self._receive(peer, method, encode_body(body), lambda status, reply: answers.append((status, reply)))
        return answers

    # Events

    def receive(
        self, asker: SimNode, call: Call, data: bytes, answer: Callable[[Status, Body], None]
    ) -> None:
        """A request came; it is answered in this life or never."""
        life = self.life

        def reply(status: Status, body: Body) -> None:
            if self.life == life:
                answer(status, body)

        self._receive(asker.peer(), call.method, data, reply)

    def _receive(
        self, peer: Peer, method: Method, data: bytes, reply: Callable[[Status, Body], None]
    ) -> None:
        try:
            body = decode_body(data, REQUESTS[method])
        except WireError:
            reply(Status.BAD_REQUEST, Refusal())
            return
        lie = self.responder(peer, method, body) if self.responder is not None else None
        if lie is not None:
            reply(*lie)
            return
        number = next(self.world.numbers)
        self.requests[number] = reply
        self._serve(number, peer, method, body)
        self.pump()

    def _serve(self, number: int, peer: Peer, method: Method, body: Body) -> None:
        """A request goes to the engine whose matter it is."""
        self.engine.on_request(number, peer, method, body, self.now())

    def fly(self, call: Call, session: Session | None) -> None:
        """A call is under way: whatever happens it ends by its deadline."""
        mono = self.now().mono
        self.flights[call.call] = Flight(call, session, mono)
        heappush(self._deadlines, (mono + call.deadline_s, call.call))

    def carried(self) -> set[int]:
        """Calls of which it will hear again: under way, waiting for a dial, or about to fail."""
        dialling = {call.call for dial in self.dials.values() for call in dial.waiting}
        return self.flights.keys() | dialling | self.doomed

    def on_answer(self, number: int, status: Status, data: bytes) -> None:
        flight = self.flights.pop(number, None)
        if flight is None:
            return  # cancelled or overdue
        method = flight.call.method
        rtt = self.rtts.get(flight.call.contact.node_id)
        if rtt is None:
            rtt = self.rtts[flight.call.contact.node_id] = RoundTrip()
        if method in _TIMED:
            rtt.add(self.now().mono - flight.sent_at)
        outcome: Answer | Failed
        try:
            body = decode_body(data, RESPONSES[method] if status is Status.OK else Refusal)
            outcome = Answer(status, body, rtt.expected_s())
        except WireError:
            outcome = Failed(FailReason.GARBAGE)
        self._tell(number, outcome)

    def fail(self, number: int, reason: FailReason) -> None:
        if self.flights.pop(number, None) is not None:
            self._tell(number, Failed(reason))

    def _tell(self, number: int, outcome: Answer | Failed) -> None:
        self._hear(number, outcome)
        self.pump()

    def _hear(self, number: int, outcome: Answer | Failed) -> None:
        """What came of a call goes to the engine that made it."""
        self.engine.on_answer(number, outcome, self.now())

    def has_met(self, other: SimNode) -> bool:
        """True if they spoke in their present lives."""
        return self.met.get(other.number) == other.life

    def meet(self, other: SimNode, url: str | None) -> None:
        """They speak for the first time, in a world without sessions; what would be the session is closed again.

        No Down follows, which would have every acquaintance probed at once; the table must not believe in a session
        that tells of a death, either.
        """
        self.met[other.number] = other.life
        if other.caps & Caps.CLIENT:
            return
        self.engine.on_link(other.peer(), Up(url), self.now())
        self.forget_session(other)
        self.pump()

    def forget_session(self, other: SimNode) -> None:
        """Its table believes in a session that was closed for being idle: neither a Down nor a probe follows."""
        table = self.engine.table
        entry = table.get(other.node_id)
        if entry is None:
            table.session_ended(other.node_id, self.now().mono)  # who waits for a place is not probed for it
        elif entry.has_session:
            entry.has_session = False
            table._schedule(entry)

    def on_up(self, session: Session, url: str | None) -> None:
        other = session.other(self)
        self.sessions[other.node_id] = session
        self.rtts[other.node_id] = RoundTrip()
        self.pauses.succeeded(other.node_id)
        if not other.caps & Caps.CLIENT:  # sessions do not tell of clients
            self.engine.on_link(other.peer(), Up(url), self.now())
        self.pump()

    def on_down(self, session: Session, reason: str) -> None:
        other = session.other(self)
        if self.sessions.get(other.node_id) is not session:
            return
        del self.sessions[other.node_id]
        for number in [n for n, flight in self.flights.items() if flight.session is session]:
            self.fail(number, FailReason.CLOSED)
        if not other.caps & Caps.CLIENT:
            self.engine.on_link(other.peer(), Down(reason), self.now())
        self.pump()

    def _on_verdicts(self, batch: list[tuple[int, Verdict]]) -> None:
        for op, verdict in batch:
            if self.is_up and op >> _OP_BITS == self.life:
                self.engine.on_stored(op & ((1 << _OP_BITS) - 1), verdict, self.now())
        self.pump()

    # The pump

    def pump(self) -> None:
        """Carry out what the engine wants, take its notices, arm its timer."""
        if not self.is_up:
            return
        while outgoing := self.engine.take_outgoing():
            for item in outgoing:
                match item:
                    case Call():
                        if self.world.is_connected:
                            self.sent.append((self.world.now.mono, item))
                        self.world.call(self, item)
                    case Cancel(call):
                        self._cancel(call)
                    case Reply(request, status, body):
                        self.requests.pop(request)(status, body)
                    case Persist(op, write):
                        self.store.submit(self.life << _OP_BITS | op, write)
                    case _:
                        raise AssertionError(f"the kad engine never wants {item}")
        self._take_notices()
        self._arm()

    def _cancel(self, call: int) -> None:
        self.flights.pop(call, None)
        for dial in self.dials.values():
            dial.waiting = [w for w in dial.waiting if w.call != call]

    def _take_notices(self) -> None:
        for notice in self.engine.take_notices():
            match notice:
                case GotNotice(op, result) | PutNotice(op, result):
                    assert op not in self.results, "an operation reported twice"
                    self.results[op] = result
                    self.ended_at[op] = self.world.now.mono
                case FoundNotice(op, contacts):
                    self.results[op] = contacts
                    self.ended_at[op] = self.world.now.mono
                case JoinedNotice():
                    self.joined_at = self.world.now.mono
                case LeftNotice():
                    self.has_left = True
                    if self.on_left is not None:
                        self.on_left()
                case CountedNotice(name, label):
                    self.counts[name, label] = self.counts.get((name, label), 0) + 1
                case MeasuredNotice():
                    pass  # stories measure on the world's clock

    def _arm(self) -> None:
        """Have one event ring when the engine's timer is due or the next call is overdue, whichever is first."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self.flights:
            heappop(deadlines)
        at = self.engine.next_timer()
        if deadlines and (at is None or deadlines[0][0] < at):
            at = deadlines[0][0]
        if at is None or (self._timer_at is not None and self._timer_at <= at):
            return
        self._timer_at = at
        self.world.at(self._world_time(at), self._ring, at, self.life)

    def _ring(self, at: float, life: int) -> None:
        if self.life != life or not self.is_up or self._timer_at != at:
            return
        self._timer_at = None
        mono = self.now().mono
        while self._deadlines and self._deadlines[0][0] <= mono:
            _, number = heappop(self._deadlines)
            if self.flights.pop(number, None) is not None:
                self._hear(number, Failed(FailReason.TIMEOUT))
        due = self.engine.next_timer()
        if due is not None and due <= mono:
            self.engine.handle_timer(self.now())
        self.pump()

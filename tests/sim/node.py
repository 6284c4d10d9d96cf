"""One node of a simulated network: a real engine over a real store, driven as the shell drives them."""

from __future__ import annotations

import random  # noqa: TID251 - the simulator is a shell
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.sim.authors import NET, NullChecks, Pen
from yzdht.crypto.signing import RecordChecks
from yzdht.errors import WireError
from yzdht.ids import NodeId, SessionId
from yzdht.kad.contacts import Own
from yzdht.kad.engine import CountedNotice, FoundNotice, GotNotice, JoinedNotice, KadEngine, PutNotice
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
    encode_answer,
    encode_body,
)
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from tests.sim.world import World
    from yzdht.ids import Target
    from yzdht.kad.write import Draft
    from yzdht.ports import Now
    from yzdht.wire.slot import Verdict


_OP_BITS = 40


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
    call: Call
    session: Session
    sent_at: float


@dataclass(slots=True)
class Dial:
    waiting: list[Call] = field(default_factory=list)


class SimNode:
    """One node: an engine, its store, its sessions. Made by `World.add_node`.

    Attributes:
        responder: Answers in the engine's place where it returns something: a liar.
        results: What operations came to, by number.
        counts: CountedNotices, by name and label.
        joined_at: Virtual monotonic seconds of its JoinedNotice.

    """

    def __init__(self, world: World, number: int, host: str, caps: Caps) -> None:
        self.world = world
        self.number = number
        self.host = host
        self.caps = caps
        self.pen = Pen(number, is_signed=world.is_signed)
        self.node_id = self.pen.node_id
        self.url = f"ws://{host}:8083"
        self.contact = Contact(self.node_id, self.pen.public_key, (self.url,), caps)
        self.store = MemoryStore(self._on_verdicts, lambda run: world.after(world.weather.disk_s, run))
        self.responder: Callable[[Peer, Method, Body], tuple[Status, Body] | None] | None = None
        self.results: dict[int, Any] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self.sent: list[tuple[float, Call]] = []
        self.joined_at: float | None = None
        self.is_up = False
        self.life = 0
        self.side = 0
        self.engine = self._begin()

    def __repr__(self) -> str:
        return f"node {self.number}"

    def _begin(self) -> KadEngine:
        world = self.world
        self.life += 1
        self.is_up = True
        self.sessions: dict[NodeId, Session] = {}
        self.flights: dict[int, Flight] = {}
        self.dials: dict[NodeId, Dial] = {}
        self.pauses = Pauses()
        self.rtts: dict[NodeId, RoundTrip] = {}
        self.requests: dict[int, Callable[[Status, Body], None]] = {}
        self._timer_at: float | None = None
        self._publish_to_self()
        checks = RecordChecks(NET) if world.is_signed else NullChecks(NET)
        own = Own(Contact(self.node_id, self.pen.public_key, (), self.caps))
        return KadEngine(own, self.store, checks, SimRng(f"{world.seed}/{self.number}/{self.life}"))

    def _publish_to_self(self) -> None:
        note = self.pen.identity([self.url], int(self.caps), created=int(self.world.now.wall))
        self.hold(note)

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
                wall_now=self.world.now.wall,
            ),
        )

    def held_seq(self, target: Target) -> int | None:
        """Seq of the one record on its disk under a target; None for nothing."""
        stored = self.store.get(target, self.world.now.wall)
        return stored[0].head.seq if stored else None

    def peer(self) -> Peer:
        """How others see it."""
        return Peer(
            self.node_id,
            self.pen.public_key,
            self.caps,
            SessionId(self.node_id[:16]),
            self.host,
            public_prefix(self.host),
        )

    # Commands; each drives the engine, not the clock

    def get(self, target: Target) -> int:
        return self._command(lambda now: self.engine.get(target, now))

    def put(self, draft: Draft) -> int:
        return self._command(lambda now: self.engine.put(draft, now))

    def find(self, target: Target, wanted: int) -> int:
        return self._command(lambda now: self.engine.find(target, wanted, now))

    def _command(self, run: Callable[[Now], int]) -> int:
        op = run(self.world.now)
        self.pump()
        return op

    def join(self, *others: SimNode) -> None:
        """Dial bootstrap addresses, as the shell does at start."""
        self.engine.expect_peers(self.world.now)
        for other in others:
            self.world.dial(self, other.contact)

    def ask(self, peer: Peer, method: Method, body: Body) -> list[tuple[Status, Body]]:
        """Ask it as a peer without a session of this world; the answer appears in the list."""
        answers: list[tuple[Status, Body]] = []
        self._receive(peer, method, encode_body(body), lambda status, reply: answers.append((status, reply)))
        return answers

    # Events

    def receive(self, session: Session, call: Call, data: bytes) -> None:
        asker = session.other(self)
        life = self.life

        def reply(status: Status, body: Body) -> None:
            if self.life == life:
                self.world.answer(session, self, call, status, encode_answer(status, body))

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
        self.engine.on_request(number, peer, method, body, self.world.now)
        self.pump()

    def on_answer(self, number: int, status: Status, data: bytes) -> None:
        flight = self.flights.pop(number, None)
        if flight is None:
            return  # cancelled or overdue
        method = flight.call.method
        rtt = self.rtts[flight.call.contact.node_id]
        if method in {Method.PING, Method.FIND_NODE, Method.FIND_VALUE}:
            rtt.add(self.world.now.mono - flight.sent_at)
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
        self.engine.on_answer(number, outcome, self.world.now)
        self.pump()

    def on_up(self, session: Session, url: str | None) -> None:
        other = session.other(self)
        self.sessions[other.node_id] = session
        self.rtts[other.node_id] = RoundTrip()
        self.pauses.succeeded(other.node_id)
        if not other.caps & Caps.CLIENT:  # sessions do not tell of clients
            self.engine.on_link(other.peer(), Up(url), self.world.now)
        self.pump()

    def on_down(self, session: Session, reason: str) -> None:
        other = session.other(self)
        if self.sessions.get(other.node_id) is not session:
            return
        del self.sessions[other.node_id]
        for number in [n for n, flight in self.flights.items() if flight.session is session]:
            self.fail(number, FailReason.CLOSED)
        if not other.caps & Caps.CLIENT:
            self.engine.on_link(other.peer(), Down(reason), self.world.now)
        self.pump()

    def _on_verdicts(self, batch: list[tuple[int, Verdict]]) -> None:
        for op, verdict in batch:
            if self.is_up and op >> _OP_BITS == self.life:
                self.engine.on_stored(op & ((1 << _OP_BITS) - 1), verdict, self.world.now)
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
                case FoundNotice(op, contacts):
                    self.results[op] = contacts
                case JoinedNotice():
                    self.joined_at = self.world.now.mono
                case CountedNotice(name, label):
                    self.counts[name, label] = self.counts.get((name, label), 0) + 1

    def _arm(self) -> None:
        at = self.engine.next_timer()
        if at is None or (self._timer_at is not None and self._timer_at <= at):
            return
        self._timer_at = at
        life = self.life
        self.world.at(at, lambda: self._ring(at, life))

    def _ring(self, at: float, life: int) -> None:
        if self.life != life or not self.is_up or self._timer_at != at:
            return
        self._timer_at = None
        self.engine.handle_timer(self.world.now)
        self.pump()

"""The pump of a node: carries out what its engine wants, hands it what happened, keeps its one timer.

Moves requests, answers and records between the kad engine, the sessions and the store, and gives each caller of `get`,
`put` and `find` a future. Decides nothing of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from yzdht.kad.engine import (
    CountedNotice,
    FoundNotice,
    GotNotice,
    JoinedNotice,
    LeftNotice,
    MeasuredNotice,
    PutNotice,
)
from yzdht.limits import OWN_OPERATIONS_AT_ONCE
from yzdht.rpc.engine import Answer, Call, Cancel, Drop, Find, Keep, Persist, Push, Reply, Up
from yzdht.topic_pump import TOPIC_METHODS, is_of_topics
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import DialBack, Method, Redeem, Refusal, Status, WhoAmI


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.dial_back import BackDialler
    from yzdht.ids import NodeId, Target
    from yzdht.kad.engine import KadEngine, Notice
    from yzdht.kad.read import ReadResult
    from yzdht.kad.write import Draft, WriteResult
    from yzdht.ports import RecordStore
    from yzdht.redeeming import Desk
    from yzdht.rpc.engine import Down, Failed, Outgoing, Peer
    from yzdht.sessions import Clock, Sessions
    from yzdht.sessions.connection import Connection
    from yzdht.telemetry import Telemetry
    from yzdht.topic_pump import TopicPump
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body
    from yzdht.wire.slot import Verdict


_T = TypeVar("_T")


class Pump:
    """Drives one engine inside the running loop; the sink of its sessions.

    Args:
        engine: What decides.
        store: Its records.
        clock: Whose monotonic time is the event loop's.
        telemetry: Where notices, requests and dropped pushes are counted.
        on_joined: Told how many nodes are known, once lookups name nobody new.

    Attributes:
        sessions: Through which the engine calls; to be set before anything happens.
        joined: Set once lookups name nobody new.
        desk: Answers REDEEM; None where no invites are redeemed.
        back_dialler: Answers DIAL_BACK; None where nobody is dialled back.
        topics: Drives what this node does with topics; None for nothing.
        on_pinged: Told who dialled this node as a client and sent PING, and the monotonic second at which that session
            opened: whoever dials back does so.
        left: Set once the engine has handed over what it could, or nobody may wait for that any more.

    """

    sessions: Sessions
    desk: Desk | None = None
    back_dialler: BackDialler | None = None
    topics: TopicPump | None = None

    def __init__(
        self,
        engine: KadEngine,
        store: RecordStore,
        clock: Clock,
        telemetry: Telemetry,
        on_joined: Callable[[int], None],
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._on_joined = on_joined
        self.on_pinged: Callable[[NodeId, float], None] = lambda _node_id, _opened_at: None
        self.on_dialled: Callable[[Peer], None] = lambda _peer: None
        self.joined = asyncio.Event()
        self.left = asyncio.Event()
        self._gets: dict[int, asyncio.Future[ReadResult]] = {}
        self._puts: dict[int, asyncio.Future[WriteResult]] = {}
        self._finds: dict[int, Callable[[list[Contact]], None]] = {}
        self._asked: dict[int, asyncio.Future[Answer | Failed]] = {}
        self._last_asked = 0
        self._requests: dict[int, tuple[Connection, int, Method]] = {}
        self._calls: dict[int, Method] = {}
        self._last_request = 0
        self._turns = asyncio.Semaphore(OWN_OPERATIONS_AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._is_pumping = False
        self._is_stopped = False

    # Commands

    async def get(self, target: Target, paths: int = 1) -> ReadResult:
        """Read by quorum, along so many disjoint paths (1 to READ_PATHS_MAX)."""
        async with self._turns:
            future: asyncio.Future[ReadResult] = asyncio.get_running_loop().create_future()
            self._gets[self._engine.get(target, self._clock.now(), paths)] = future
            self._begun()
            return await future

    async def put(self, draft: Draft) -> WriteResult:
        """Store by quorum."""
        async with self._turns:
            future: asyncio.Future[WriteResult] = asyncio.get_running_loop().create_future()
            self._puts[self._engine.put(draft, self._clock.now())] = future
            self._begun()
            return await future

    def _begun(self) -> None:
        """Something was begun; what had to wait for its turn until the node stopped fails as what was under way did."""
        if self._is_stopped:
            self._engine.stop(self._clock.now())
        self.run()

    async def find(self, target: Target, count: int) -> list[Contact]:
        """The nodes nearest to a target, nearest first; this node is not among them."""
        future: asyncio.Future[list[Contact]] = asyncio.get_running_loop().create_future()
        self.search(target, count, lambda found: _resolve(future, found))
        return await future

    def search(self, target: Target, count: int, then: Callable[[list[Contact]], None]) -> None:
        """Find the nodes nearest to a target, and hand them on; that may be before this returns."""
        self._finds[self._engine.find(target, count, self._clock.now())] = then
        self.run()

    async def ask(self, contact: Contact, method: Method, body: Body, timeout_s: float) -> Answer | Failed:
        """One request to one node, past the engine; what comes back is not verified."""
        self._last_asked -= 1  # the engine counts upwards
        call = self._last_asked
        self._calls[call] = method
        future: asyncio.Future[Answer | Failed] = asyncio.get_running_loop().create_future()
        self._asked[call] = future
        self.sessions.call(call, contact, method, body, timeout_s)
        try:
            return await future
        finally:
            self._calls.pop(call, None)
            if self._asked.pop(call, None) is not None:
                self.sessions.cancel(call)

    async def leave(self) -> None:
        """Have the engine hand over what it keeps, and wait until it has; whoever calls bounds the time."""
        self._engine.leave(self._clock.now())
        self.run()
        await self.left.wait()

    def stay(self) -> None:
        """Go on after `leave`, whatever came of it."""
        self.left.clear()
        self._engine.stay(self._clock.now())
        self.run()

    def stop(self) -> None:
        """Fail what is under way; no timer rings any more."""
        self._is_stopped = True
        self.back_dialler = None  # nobody would end what it begins from now on
        if self.topics is not None:
            self.topics.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._engine.stop(self._clock.now())
        self.run()

    # SessionsSink

    def on_link(self, peer: Peer, change: Up | Down) -> None:
        """A peer came or went."""
        if isinstance(change, Up) and change.url is None:
            self.on_dialled(peer)
        self._engine.on_link(peer, change, self._clock.now())
        self.run()
        if self.topics is not None:
            self.topics.on_link(peer, change)
            self.topics.on_neighbourhood()

    def on_request(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        """A peer asks."""
        peer = connection.peer
        assert peer is not None
        if method is Method.WHOAMI:
            self._telemetry.served(method, Status.OK)
            connection.reply(number, Status.OK, WhoAmI(*connection.link.remote[:3]))
            return
        if isinstance(body, Redeem):
            self._on_redeem(connection, number, body)
            return
        if isinstance(body, DialBack) and self.back_dialler is not None:
            self.back_dialler.serve(connection, number, body)
            return
        if self.topics is not None and method in TOPIC_METHODS:
            self.topics.on_request(connection, number, method, body)
            return
        if method is Method.PING and connection.is_client and not connection.is_initiator:
            self.on_pinged(peer.node_id, connection.opened_at or 0.0)
        self._last_request += 1
        self._requests[self._last_request] = (connection, number, method)
        self._engine.on_request(self._last_request, peer, method, body, self._clock.now())
        self.run()

    def _on_redeem(self, connection: Connection, number: int, body: Redeem) -> None:
        if self.desk is not None:
            self.desk.serve(connection, number, body)
            return
        self._telemetry.served(Method.REDEEM, Status.NOT_FOUND)
        connection.reply(number, Status.NOT_FOUND, Refusal())

    def on_answer(self, call: int, outcome: Answer | Failed) -> None:
        """A call ended."""
        if self.topics is not None and is_of_topics(call):
            self.topics.on_answer(call, outcome)
            return
        method = self._calls.pop(call, None)
        if method is not None:
            if isinstance(outcome, Answer):
                self._telemetry.answered(method, outcome.status)
            else:
                self._telemetry.failed(method, outcome.reason)
        if call < 0:
            _resolve(self._asked.pop(call, None), outcome)
            return
        self._engine.on_answer(call, outcome, self._clock.now())
        self.run()

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes) -> None:
        """A message that nobody asked for: of topics, or dropped and counted (PROTOCOL.md section 4)."""
        if self.topics is not None and record_type is RecordType.PUBSUB:
            self.topics.on_push(peer, data)
            return
        self._telemetry.add("pushes_dropped", record_type.name.lower())

    def on_client_gone(self, peer: Peer) -> None:
        """A client's session ended."""
        if self.topics is not None:
            self.topics.on_client_gone(peer)

    def on_verdicts(self, answers: list[tuple[int, Verdict]]) -> None:
        """Records are durable, or were refused."""
        now = self._clock.now()
        for op, verdict in answers:
            if op:
                self._engine.on_stored(op, verdict, now)
        self.run()

    # The pump

    def run(self) -> None:
        """Carry out what the engine wants until it wants nothing; re-arm its timer."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while outgoing := self._engine.take_outgoing():
                for item in outgoing:
                    self._carry_out(item)
            for notice in self._engine.take_notices():
                self._notice(notice)
        finally:
            self._is_pumping = False
        self._arm()

    def _carry_out(self, item: Outgoing) -> None:
        match item:
            case Call():
                self._calls[item.call] = item.method
                self.sessions.call(item.call, item.contact, item.method, item.body, item.deadline_s)
            case Reply():
                connection, number, method = self._requests.pop(item.request)
                self._telemetry.served(method, item.status)
                connection.reply(number, item.status, item.body)
            case Persist():
                self._store.submit(item.op, item.write)
            case Cancel():
                self._calls.pop(item.call, None)
                self.sessions.cancel(item.call)
            case Push() | Keep() | Find() | Drop():
                raise AssertionError("the kad engine pushes, finds and drops nothing, and has no topics")

    def _notice(self, notice: Notice) -> None:
        match notice:
            case GotNotice():
                _resolve(self._gets.pop(notice.op, None), notice.result)
            case PutNotice():
                _resolve(self._puts.pop(notice.op, None), notice.result)
            case FoundNotice():
                if (then := self._finds.pop(notice.op, None)) is not None:
                    then(notice.contacts)
            case CountedNotice():
                self._telemetry.add(notice.name, notice.label)
            case MeasuredNotice():
                self._telemetry.observe(notice.name, notice.value, notice.label)
            case LeftNotice():
                self.left.set()
            case JoinedNotice():
                self.joined.set()
                self._on_joined(notice.known)

    def _arm(self) -> None:
        at = self._engine.next_timer()
        if at is None or self._is_stopped or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        delay_s = max(0.0, at - self._clock.now().mono)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._engine.handle_timer(self._clock.now())
        self.run()


def _resolve(future: asyncio.Future[_T] | None, result: _T) -> None:
    if future is not None and not future.done():
        future.set_result(result)

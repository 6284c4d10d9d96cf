"""A network whose nodes host topics: the real pubsub engine beside the real kad engine, histories on a disk that forgets what it was not given in time.

Who the hosts of a topic are is found in the network as nodes do it: the tables follow who is up. A push is lost only with its session;
while a cut lasts that does not end the session it waits. Signatures are hashes that anybody could compute, behind the verifier's port.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from tests.sim.authors import NET
from tests.sim.node import SimNode
from tests.sim.world import CLIENT, NODE, World
from yzdht.crypto.topics import topic_host_target
from yzdht.errors import InvalidSignature
from yzdht.ids import SessionId
from yzdht.limits import HISTORY_MESSAGES_MAX, HISTORY_QUEUE_WRITES_MAX
from yzdht.own_topics import NoNeighbourhood, TableNeighbourhood
from yzdht.pubsub.engine import Hosting, PubsubEngine
from yzdht.pubsub.ports import Surroundings
from yzdht.rpc.engine import Call, Cancel, Down, FailReason, Find, Keep, Peer, Push, Reply, Up
from yzdht.store.memory_topics import MemoryTopics
from yzdht.topic_pump import TOPIC_METHODS
from yzdht.wire.address import Contact
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.holdings import Series
from yzdht.wire.slot import StoreBroken


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.sim.node import Session
    from yzdht.ids import NodeId, Target, TopicId
    from yzdht.kad.engine import KadEngine
    from yzdht.rpc.engine import Answer, Failed, Outgoing
    from yzdht.wire.history import TopicChange, TopicVerdict
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body, Method


HOST = NODE | Caps.PUBSUB
_CALLS_FROM = 1 << 60
_OP_BITS = 40
_CUT_LOOK_S = 0.25
_TURNS_MAX = 5
"""Of an engine in one instant: what one part does may make another one due."""


def null_signature(signed: bytes) -> bytes:
    """What stands for a signature of an envelope."""
    return sha256(b"null" + signed).digest() * 2


class NullVerifier:
    """Takes those signatures, and no others."""

    def verify(self, envelope: PubsubEnvelope) -> None:
        """Check one.

        Raises:
            InvalidSignature: It is another one.

        """
        if envelope.signature != null_signature(envelope.signed):
            raise InvalidSignature("the null signature does not verify")

    def know(self, envelope: PubsubEnvelope) -> None:
        """It is checked all the same."""


class Disk:
    """What outlives a crash: changes whose verdicts were told, in order."""

    def __init__(self) -> None:
        self.changes: list[TopicChange] = []

    def read(self) -> MemoryTopics:
        """The histories that they make, with nobody told."""
        due: deque[Callable[[], None]] = deque()
        store = MemoryTopics(lambda _batch: None, due.append)
        for change in self.changes:
            store.submit(0, change)
            while due:
                due.popleft()()
        return store


class TopicNode(SimNode):
    """A node that hosts topics, or a client that listens through nodes. Made by `TopicWorld.add`.

    Attributes:
        pubsub: Its engine.
        histories: What it keeps; of a client nothing.
        disk: What of that outlives a crash.
        gates: Of a client: the nodes that it uses.
        alter: Replaces what the pubsub engine wants done by something else: a liar.
        is_deaf: True if it does not read what it is pushed.
        topic_counts: What its engine counts.

    """

    world: TopicWorld  # type: ignore[mutable-override] # set once
    pubsub: PubsubEngine

    def __init__(self, world: TopicWorld, number: int, host: str, caps: Caps) -> None:
        self.disk = Disk()
        self.gates: tuple[TopicNode, ...] = ()
        self.alter: Callable[[Outgoing], Iterable[Outgoing]] | None = None
        self.is_deaf = False
        self.topic_counts: Counter[str] = Counter()
        super().__init__(world, number, host, caps)

    def _begin(self) -> KadEngine:
        engine = super()._begin()
        self._finds: dict[int, int] = {}
        self._topics_at: float | None = None
        self._writing: deque[TopicChange] = deque()
        self._is_pumping = self._is_started = False
        self.histories = self.disk.read()
        self.histories._sink = self._on_kept
        self.histories._schedule = self._write_later
        own = Contact(self.node_id, self.pen.public_key, (), self.caps)
        if self.caps & Caps.CLIENT:
            self.pubsub = PubsubEngine(own, self._surroundings(NoNeighbourhood()), lambda _named, _by: [])
            return engine
        near = TableNeighbourhood(own, engine)
        itself = Peer(self.node_id, self.pen.public_key, self.caps, SessionId(bytes(16)), "", None)
        hosting = Hosting(itself, self.histories, self.node_id)
        self.pubsub = PubsubEngine(own, self._surroundings(near), near.usable, hosting)
        return engine

    def _surroundings(self, near: TableNeighbourhood | NoNeighbourhood) -> Surroundings:
        return Surroundings(near, NullVerifier(), target_of, self._is_congested, self._count)

    def _is_congested(self, peer: Peer) -> bool:
        if peer.node_id == self.node_id:
            return False
        session = self.sessions.get(peer.node_id)
        return (
            session is None or self.world.unread_by(session.other(self), session) >= self.world.congested_at
        )

    def _count(self, name: str) -> None:
        self.topic_counts[name] += 1

    def _write_later(self, run: Callable[[], None]) -> None:
        life = self.life

        def write() -> None:
            if self.life == life and self.is_up:
                run()

        self.world.after(self.world.weather.disk_s, write)

    def _on_kept(self, batch: list[tuple[int, TopicVerdict]]) -> None:
        for op, verdict in batch:
            change = self._writing.popleft()
            if not isinstance(verdict, StoreBroken):
                self.disk.changes.append(change)
            self.pubsub.on_kept(op, verdict, self.now())
        self.pump()

    def wipe(self) -> None:
        """Its disk is gone; what it knows of other nodes stays."""
        assert not self.is_up
        self.disk = Disk()

    def holds(self, envelope: PubsubEnvelope) -> bool:
        """True if a message is among its histories."""
        series = Series(envelope.sender, envelope.session)
        return self.histories.message_id(envelope.topic, series, envelope.index) == envelope.id

    def check_topics(self) -> None:
        """What must hold between two events.

        Raises:
            AssertionError: It does not.

        """
        outbox = self.pubsub._outbox
        assert not outbox._outgoing, f"{self} keeps what it wants to send"
        assert not self.pubsub.serve_itself(self.now()), f"{self} does not serve itself"
        awaited = {call + _CALLS_FROM for call in outbox._answers}
        assert awaited <= self.carried(), f"{self} waits for calls that nobody carries"
        assert len(self._writing) <= HISTORY_QUEUE_WRITES_MAX + 1
        for topic in self.histories.topics(None, 1_000):
            held = self.histories.holdings(topic)
            messages = sum(run.to - run.start for series in held for run in held.of(series).runs)
            assert messages <= HISTORY_MESSAGES_MAX, f"{self} holds too much of a topic"

    # Events

    def _serve(self, number: int, peer: Peer, method: Method, body: Body) -> None:
        if method in TOPIC_METHODS:
            self.pubsub.on_request(number, peer, method, body, self.now())
        else:
            super()._serve(number, peer, method, body)

    def _hear(self, number: int, outcome: Answer | Failed) -> None:
        if number >= _CALLS_FROM:
            self.pubsub.on_answer(number - _CALLS_FROM, outcome, self.now())
        else:
            super()._hear(number, outcome)

    def on_push(self, other: SimNode, data: bytes) -> None:
        """Something that was not asked for came."""
        self.pubsub.on_push(other.peer(), RecordType.PUBSUB, data, self.now())
        self.pump()

    def on_up(self, session: Session, url: str | None) -> None:
        super().on_up(session, url)
        other = session.other(self)
        if not other.caps & Caps.CLIENT:
            self.pubsub.on_link(other.peer(), Up(url), self.now())
            self.pubsub.on_neighbourhood(self.now())
        self.pump()

    def on_down(self, session: Session, reason: str) -> None:
        other = session.other(self)
        is_last = self.sessions.get(other.node_id) is session
        super().on_down(session, reason)
        if not is_last:
            return
        if other.caps & Caps.CLIENT:
            self.pubsub.on_client_gone(other.peer(), self.now())
        else:
            self.pubsub.on_link(other.peer(), Down(reason), self.now())
            self.pubsub.on_neighbourhood(self.now())
        self.pump()

    # The pump

    def pump(self) -> None:
        super().pump()
        if not self.is_up or self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._turn():
                super().pump()
        finally:
            self._is_pumping = False
        self._arm_topics()

    def _turn(self) -> bool:
        """Carry out what its pubsub engine wants; False if that is nothing."""
        if not self._is_started:
            self._is_started = True
            self.pubsub.start(self.now())
        found = [op for op in self._finds if op in self.results]
        for op in found:
            self.pubsub.on_found(self._finds.pop(op), self.results.pop(op), self.now())
        outgoing = self.pubsub.take_outgoing()
        for item in outgoing:
            for altered in (item,) if self.alter is None else self.alter(item):
                self._carry_out(altered)
        return bool(found or outgoing) or self.pubsub.serve_itself(self.now())

    def _carry_out(self, item: Outgoing) -> None:
        match item:
            case Call(call=call):
                self.world.call(self, replace(item, call=call + _CALLS_FROM))
            case Cancel(call):
                self._cancel(call + _CALLS_FROM)
            case Reply(request, status, body):
                self.requests.pop(request)(status, body)
            case Push():
                self.world.push(self, item)
            case Keep(op, change):
                self._writing.append(change)
                self.histories.submit(op, change)
            case Find(op, target, count) if self.gates:
                contacts = [gate.contact for gate in self.gates]
                self.world.after(0.0, self._name_gates, self.life, op, contacts)
            case Find(op, target, count):
                self._finds[self.engine.find(target, count, self.now())] = op
            case _:
                raise AssertionError(f"the pubsub engine never wants {item}")

    def _name_gates(self, life: int, op: int, contacts: list[Contact]) -> None:
        if self.is_up and self.life == life:
            self.pubsub.on_found(op, contacts, self.now())
            self.pump()

    def _arm_topics(self) -> None:
        at = self.pubsub.next_timer()
        if at is not None and (self._topics_at is None or at < self._topics_at):
            self._topics_at = at
            self.world.at(self._world_time(at), self._ring_topics, at, self.life)

    def _ring_topics(self, at: float, life: int) -> None:
        if self.life != life or not self.is_up or self._topics_at != at:
            return
        self._topics_at = None
        now = self.now()
        for _ in range(_TURNS_MAX):
            due = self.pubsub.next_timer()
            if due is None or due > now.mono:
                break
            self.pubsub.handle_timer(now)
        else:
            raise AssertionError(f"{self} would never sleep")
        self.pump()


class TopicWorld(World):
    """A network of them.

    Attributes:
        congested_at: A node that has so many pushes of another one unread is congested.
        pushes: How many were sent.
        topic_nodes: Its nodes, those of other kinds left out.

    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.congested_at = 64
        self.pushes = 0
        self.topic_nodes: list[TopicNode] = []
        self._unread: dict[tuple[Session, NodeId], deque[bytes]] = {}
        self._looked_at: set[tuple[Session, NodeId]] = set()

    def add_node(self, host: str | None = None, caps: Caps = HOST) -> TopicNode:
        number = len(self.nodes)
        node = TopicNode(self, number, host or f"10.0.{number // 250}.{number % 250 + 1}", caps)
        self.nodes.append(node)
        self._by_url[node.url] = node
        self._by_id[node.node_id] = node
        self.topic_nodes.append(node)
        return node

    def add_client(self, *gates: TopicNode) -> TopicNode:
        """A client of these nodes."""
        client = self.add_node(caps=CLIENT)
        client.gates = gates
        client.pump()
        return client

    def hosts_of(self, topic: TopicId, nodes: Iterable[TopicNode] | None = None) -> list[TopicNode]:
        """Nodes that host topics, the nearest to one first, by brute force."""
        point = int.from_bytes(target_of(topic))
        able = [n for n in nodes or self.topic_nodes if n.caps & Caps.PUBSUB and not n.caps & Caps.CLIENT]
        return sorted(able, key=lambda node: node.point ^ point)

    def end(self, session: Session) -> None:
        """A connection breaks."""
        if session.is_open:
            self._end(session, "connection lost")

    def replace(self, session: Session) -> None:
        """Let another session of the same two take its place: neither is told of an end, and what was under way is lost."""
        one, other = session.ends
        if (
            not session.is_open
            or session.cut_at is not None
            or one.sessions.get(other.node_id) is not session
        ):
            return
        session.is_open = False
        new = type(session)((one, other))
        for node in (other, one):
            node.on_up(new, None)
            for number in [n for n, flight in node.flights.items() if flight.session is session]:
                node.fail(number, FailReason.CLOSED)

    # Pushes

    def push(self, node: TopicNode, push: Push) -> None:
        """Send a message that has no answer over the session with a peer, if there is one."""
        session = node.sessions.get(push.peer.node_id)
        if session is None or not session.is_open:
            return
        self.pushes += 1
        other = session.other(node)
        at = self._arrival(session, node, other)
        self.at(at, self._push_arrives, session, node, other, other.life, push.data)

    def _push_arrives(
        self, session: Session, node: TopicNode, other: TopicNode, life: int, data: bytes
    ) -> None:
        if session.is_open and other.life == life:
            self._unread.setdefault((session, other.node_id), deque()).append(data)
            self._read(session, node, other)

    def _read(self, session: Session, node: TopicNode, other: TopicNode) -> None:
        """Let a node read what came, in order; what a cut holds up comes after it."""
        road = session, other.node_id
        unread = self._unread[road]
        while unread and session.is_open and self.can_pass(node, other) and not other.is_deaf:
            data = unread.popleft()
            self._note(node, other, data)
            other.on_push(node, data)
        if not unread or not session.is_open:
            self._unread.pop(road, None)
        elif road not in self._looked_at:
            self._looked_at.add(road)
            self.after(_CUT_LOOK_S, self._look, session, node, other)

    def _look(self, session: Session, node: TopicNode, other: TopicNode) -> None:
        self._looked_at.discard((session, other.node_id))
        if (session, other.node_id) in self._unread:
            self._read(session, node, other)

    def unread_by(self, node: SimNode, session: Session) -> int:
        """How many pushes wait for a node in one of its sessions."""
        return len(self._unread.get((session, node.node_id), ()))


def target_of(topic: TopicId) -> Target:
    """The point near which a topic's hosts are."""
    return topic_host_target(topic, NET)

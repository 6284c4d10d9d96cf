"""A deterministic network in one thread: real engines and real stores, virtual time, virtual sessions.

One seed decides every delay, loss and choice; a failure inside `with World(seed)` prints the line that replays it.
Sessions behave as `yzdht.sessions` makes them: a call to a contact without a session dials; both ends are told; one
session per pair; messages of a session stay in order; its end fails the calls on it, then says Down. Bodies cross as
bytes, so that what cannot be decoded is noticed. Nothing is encrypted.
"""

from __future__ import annotations

import heapq
import os
import random  # noqa: TID251 - the simulator is a shell
import zlib
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from tests.sim.authors import WALL
from tests.sim.node import Dial, Flight, Session, SimNode
from yzdht.limits import DIAL_TIMEOUT_S, SESSION_SILENT_S_MAX
from yzdht.ports import Now
from yzdht.rpc.engine import Call, Failed, FailReason
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Body, Method, Status, encode_body


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from yzdht.ids import Target
    from yzdht.kad.read import ReadResult
    from yzdht.kad.write import Draft, WriteResult
    from yzdht.rpc.engine import Peer
    from yzdht.wire.address import Contact


NODE = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
CLIENT = Caps.ALWAYS | Caps.CLIENT
_MONO = 1_000.0


def seeds(default: int) -> list[int]:
    """Seeds for a sweep: YZ_SEED replays one, YZ_SEEDS sets how many, else `default` of them."""
    if "YZ_SEED" in os.environ:
        return [int(os.environ["YZ_SEED"])]
    return list(range(int(os.environ.get("YZ_SEEDS", default))))


@dataclass(slots=True)
class Weather:
    """How the network treats messages; may be changed at any time.

    Attributes:
        rtt_s: Median round trip.
        spread: Sigma of its logarithm.
        loss: Share of calls of which the request or the answer is lost.
        disk_s: Seconds until a write is durable.

    """

    rtt_s: float = 0.06
    spread: float = 0.4
    loss: float = 0.0
    disk_s: float = 0.002


class World:
    """A network of nodes, its clock and its weather.

    Args:
        seed: Decides everything.
        is_signed: Real signatures instead of null ones.

    """

    def __init__(self, seed: int = 0, *, is_signed: bool = False) -> None:
        self.seed = seed
        self.is_signed = is_signed
        self.random = random.Random(seed)
        self.weather = Weather()
        self.nodes: list[SimNode] = []
        self.numbers = count(1)
        self.delivered = 0
        self.trace = 0
        self._by_url: dict[str, SimNode] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._mono = _MONO

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0].partition("[")[0]
            error.add_note(f"replay with: YZ_SEED={self.seed} pytest '{test}'")

    # Time

    @property
    def now(self) -> Now:
        """The present."""
        return Now(self._mono, WALL + self._mono - _MONO)

    def at(self, mono: float, run: Callable[[], None]) -> None:
        """Run something at an instant."""
        heapq.heappush(self._events, (max(mono, self._mono), next(self._order), run))

    def after(self, seconds: float, run: Callable[[], None]) -> None:
        """Run something later."""
        self.at(self._mono + seconds, run)

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        until = self._mono + seconds
        while self._events and self._events[0][0] <= until:
            self._step()
        self._mono = until

    def run_until(self, is_done: Callable[[], bool], within_s: float = 60.0) -> None:
        """Let time pass until something holds; fails if it does not within so many virtual seconds."""
        until = self._mono + within_s
        while not is_done():
            assert self._events, "nothing is left to happen"
            assert self._events[0][0] <= until, f"it did not happen within {within_s} s"
            self._step()

    def _step(self) -> None:
        at, _, run = heapq.heappop(self._events)
        self._mono = at
        run()

    # Nodes

    def add_node(self, host: str | None = None, caps: Caps = NODE) -> SimNode:
        """A new node; it knows nobody yet."""
        number = len(self.nodes)
        node = SimNode(self, number, host or f"10.0.{number // 250}.{number % 250 + 1}", caps)
        self.nodes.append(node)
        self._by_url[node.url] = node
        return node

    def add_network(self, size: int) -> list[SimNode]:
        """So many nodes who joined through the first and know each other."""
        nodes = [self.add_node() for _ in range(size)]
        for node in nodes[1:]:
            node.join(nodes[0])
        if size > 1:
            self.run_until(lambda: all(len(n.engine.table) == size - 1 for n in nodes), 200)
            self.run_for(5)
        return nodes

    @property
    def is_complete(self) -> bool:
        """True when every node that is up has all others that are up in its table, and nobody else."""
        up = {node.node_id for node in self.nodes if node.is_up}
        tables = ({entry.node_id for entry in n.engine.table} | {n.node_id} for n in self.nodes if n.is_up)
        return all(table == up for table in tables)

    def nearest(self, target: Target, wanted: int, nodes: Iterable[SimNode] | None = None) -> list[SimNode]:
        """The nodes nearest to a target, by brute force."""
        point = int.from_bytes(target)
        return sorted(nodes or self.nodes, key=lambda n: int.from_bytes(n.node_id) ^ point)[:wanted]

    # Faults

    def kill(self, *nodes: SimNode) -> None:
        """End processes at once: their disks stay, their peers see connections break."""
        for node in nodes:
            node.is_up = False
            node.life += 1
            sessions, node.sessions = list(node.sessions.values()), {}
            for session in sessions:
                self._end(session, "connection lost")

    def restart(self, node: SimNode, *, through: Iterable[SimNode] = ()) -> None:
        """Start a killed node again on its disk; it remembers whom it knew."""
        assert not node.is_up
        known = node.engine.known()
        node.engine = node._begin()
        for entry in known:
            node.engine.remember(entry.public_key, entry.addresses, entry.caps, self.now)
        node.join(*through)
        node.pump()

    def partition(self, *groups: Iterable[SimNode]) -> None:
        """Let no message pass between groups; nodes that are in none form another."""
        for number, group in enumerate(groups, 1):
            for node in group:
                node.side = number
        self._cut_sessions()

    def silence(self, *nodes: SimNode) -> None:
        """Let nothing reach or leave these nodes, though they run."""
        for node in nodes:
            node.side = -1 - node.number
        self._cut_sessions()

    def heal(self) -> None:
        """End all partitions and silences."""
        for node in self.nodes:
            node.side = 0
        for node in self.nodes:
            for session in node.sessions.values():
                session.cut_at = None

    def _cut_sessions(self) -> None:
        """A session across a cut ends by silence if the cut lasts."""
        for node in self.nodes:
            for session in node.sessions.values():
                if session.cut_at is None and session.ends[0].side != session.ends[1].side:
                    session.cut_at = self._mono
                    self.after(SESSION_SILENT_S_MAX, lambda s=session, at=self._mono: self._end_silent(s, at))  # type: ignore[misc] # defaults bind

    def _end_silent(self, session: Session, cut_at: float) -> None:
        if session.is_open and session.cut_at == cut_at:
            self._end(session, "silent")
            for node in session.ends:
                node.on_down(session, "silent")

    # Sessions and calls

    def can_pass(self, one: SimNode, other: SimNode) -> bool:
        """True while messages between two nodes arrive."""
        return one.is_up and other.is_up and one.side == other.side

    def delay(self) -> float:
        """Seconds of one message's way."""
        return self.weather.rtt_s / 2 * self.random.lognormvariate(0, self.weather.spread)

    def call(self, node: SimNode, call: Call) -> None:
        """Send a request, over a session or after dialling one."""
        node_id = call.contact.node_id
        session = node.sessions.get(node_id)
        if session is not None:
            self._send(node, session, call)
        elif node_id in node.dials:
            node.dials[node_id].waiting.append(call)
        elif not call.contact.urls or node.pauses.is_paused(node_id, self._mono):
            self._fail_later(node, call, FailReason.UNREACHABLE)
        else:
            self.dial(node, call.contact, call)

    def _fail_later(self, node: SimNode, call: Call, reason: FailReason) -> None:
        life = node.life

        def fail() -> None:
            if node.life == life and node.is_up:
                node._tell(call.call, Failed(reason))

        self.after(0, fail)

    def dial(self, node: SimNode, contact: Contact, *calls: Call) -> None:
        """Open a session with a contact, then send the calls that wait for it."""
        node.dials[contact.node_id] = Dial(list(calls))
        life = node.life
        target = self._by_url.get(contact.urls[0])
        if target is None or not target.is_up:
            pause_s = 2 * self.delay()
        elif target.side != node.side:
            pause_s = DIAL_TIMEOUT_S
        else:
            pause_s = 4 * self.delay()
        self.after(pause_s, lambda: self._dialled(node, life, contact, target))

    def _dialled(self, node: SimNode, life: int, contact: Contact, target: SimNode | None) -> None:
        if node.life != life or not node.is_up:
            return
        waiting = node.dials.pop(contact.node_id).waiting
        reason = FailReason.UNREACHABLE
        if contact.node_id not in node.sessions and target is not None and self.can_pass(node, target):
            if target.node_id == contact.node_id:
                self._open(node, target, contact.urls[0])
            else:
                reason = FailReason.WRONG_ID
        session = node.sessions.get(contact.node_id)
        if session is None:
            node.pauses.failed(contact.node_id, self._mono)
        for call in waiting:
            if session is not None and session.is_open:
                self._send(node, session, call)
            else:
                self._fail_later(node, call, reason)

    def _open(self, initiator: SimNode, responder: SimNode, url: str) -> None:
        old = responder.sessions.get(initiator.node_id)
        if old is not None and not old.is_open:
            responder.on_down(old, "replaced")
        session = Session((initiator, responder))
        responder.on_up(session, None)
        initiator.on_up(session, url)

    def _end(self, session: Session, reason: str) -> None:
        """The end of a session, seen by whoever is still reached."""
        session.is_open = False
        for node in session.ends:
            if node.is_up:
                if session.cut_at is None:
                    self.after(self.delay(), lambda n=node: n.on_down(session, reason))  # type: ignore[misc] # defaults bind
                else:
                    rest_s = max(0.0, session.cut_at + SESSION_SILENT_S_MAX - self._mono)
                    self.after(rest_s, lambda n=node: n.on_down(session, reason))  # type: ignore[misc] # defaults bind

    def _send(self, node: SimNode, session: Session, call: Call) -> None:
        life = node.life
        node.flights[call.call] = Flight(call, session, self._mono)
        self.after(
            call.deadline_s, lambda: node.fail(call.call, FailReason.TIMEOUT) if node.life == life else None
        )
        if self.random.random() < self.weather.loss / 2:
            return
        data = encode_body(call.body)
        other = session.other(node)
        other_life = other.life

        def arrive() -> None:
            if session.is_open and other.life == other_life and self.can_pass(node, other):
                self._note(node, other, data)
                other.receive(session, call, data)

        self.at(self._arrival(session, node), arrive)

    def answer(self, session: Session, answerer: SimNode, call: Call, status: Status, data: bytes) -> None:
        """Carry an answer back."""
        if self.random.random() < self.weather.loss / 2:
            return
        asker = session.other(answerer)
        life = asker.life

        def arrive() -> None:
            if session.is_open and asker.life == life and self.can_pass(answerer, asker):
                self._note(answerer, asker, data)
                asker.on_answer(call.call, status, data)

        self.at(self._arrival(session, answerer), arrive)

    def _arrival(self, session: Session, sender: SimNode) -> float:
        """When a message sent now arrives: not before those sent earlier on its session."""
        at = max(self._mono + self.delay(), session.clear_at.get(sender.node_id, 0.0))
        session.clear_at[sender.node_id] = at
        return at

    def _note(self, sender: SimNode, receiver: SimNode, data: bytes) -> None:
        self.delivered += 1
        line = b"%r %d %d " % (self._mono, sender.number, receiver.number) + data
        self.trace = zlib.crc32(line, self.trace)

    # Whole operations

    def get(self, node: SimNode, target: Target, within_s: float = 30.0) -> ReadResult:
        """Read, and let time pass until there is a result."""
        result: ReadResult = self.wait(node, node.get(target), within_s)
        return result

    def put(self, node: SimNode, draft: Draft, within_s: float = 30.0) -> WriteResult:
        """Write, and let time pass until there is a result."""
        result: WriteResult = self.wait(node, node.put(draft), within_s)
        return result

    def find(self, node: SimNode, target: Target, wanted: int) -> list[Contact]:
        """Find nodes, and let time pass until there is a result."""
        result: list[Contact] = self.wait(node, node.find(target, wanted))
        return result

    def ask(self, node: SimNode, peer: Peer, method: Method, body: Body) -> tuple[Status, Body]:
        """Ask a node as an outsider, and let time pass until it answers."""
        answers = node.ask(peer, method, body)
        self.run_until(lambda: bool(answers))
        return answers[0]

    def wait(self, node: SimNode, op: int, within_s: float = 30.0) -> Any:
        """Let time pass until an operation has a result."""
        self.run_until(lambda: op in node.results, within_s)
        return node.results[op]

"""A deterministic network in one thread: real engines and real stores, virtual time, virtual sessions.

One seed decides every delay, loss and choice; a failure inside `with World(seed)` prints the line that replays it.
Sessions behave as `yzdht.sessions` makes them: a call to a contact without a session dials; both ends are told; one
session per pair; messages of a session stay in order; its end fails the calls on it, then says Down. Bodies cross as
bytes, so that what cannot be decoded is noticed. Nothing is encrypted.

With `is_connected=False` there are no sessions, for networks too large for them: as if every session had been closed
for being idle, or were a datagram's. A call goes straight to the node at its address; both engines are told Up the
first time that the two speak in their lives, and never Down; the dead answer nothing, so that a call to one ends by
its deadline. Killing costs nothing but the killed.
"""

from __future__ import annotations

import os
import random  # noqa: TID251 - the simulator is a shell
import zlib
from functools import partial
from heapq import heappop, heappush
from itertools import count
from time import process_time
from typing import TYPE_CHECKING, Any, Self

from tests.sim.authors import WALL
from tests.sim.converged import converge
from tests.sim.invariants import check_node
from tests.sim.node import Dial, Session, SimNode
from tests.sim.weather import SPEAKING_S, Weather
from yzdht.kad.table import Entry
from yzdht.limits import DIAL_TIMEOUT_S, SESSION_SILENT_S_MAX
from yzdht.ports import Now
from yzdht.rpc.engine import Failed, FailReason
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Body, Method, Status, encode_answer, encode_body


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from yzdht.ids import NodeId, Target
    from yzdht.kad.read import ReadResult
    from yzdht.kad.write import Draft, WriteResult
    from yzdht.rpc.engine import Call, Peer
    from yzdht.wire.address import Contact


__all__ = ["CLIENT", "NODE", "SKEW_S", "Weather", "World", "replay_of", "seeds"]

NODE = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
CLIENT = Caps.ALWAYS | Caps.CLIENT
_MONO = 1_000.0
SKEW_S = 290.0
"""Two clocks that are wrong by this differ by less than CLOCK_SKEW_S."""

_DRIFT = 0.001
_CHECK_EVERY = 53
_LARGE = 300
_RARELY = 19
"""In a network of more than _LARGE nodes one check after 53 times so many events."""


def seeds(default: int) -> list[int]:
    """Seeds for a sweep: YZ_SEED replays one, YZ_SEEDS sets how many, else `default` of them."""
    if "YZ_SEED" in os.environ:
        return [int(os.environ["YZ_SEED"])]
    return list(range(int(os.environ.get("YZ_SEEDS", default))))


def replay_of(seed: int) -> str:
    """The line that replays the running test with one seed: in the same form, and also if it is marked soak."""
    soak = "YZ_SOAK=1 " if os.environ.get("YZ_SOAK") == "1" else ""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0].partition("[")[0]
    return f"replay with: {soak}YZ_SEED={seed} pytest -m '' '{test}'"


class World:
    """A network of nodes, its clock and its weather.

    Args:
        seed: Decides everything.
        is_signed: Real signatures instead of null ones.
        is_connected: Sessions between nodes; False for large networks.

    Attributes:
        skew_s: Wall clocks of nodes made from now on are off by up to this.
        drift: Their monotonic clocks run faster or slower by up to this share.
        check_every: After so many events one node's invariants are checked, node after node; nineteen times as rarely
            in a large network; 0 for never.
        calls: Requests sent, by method.

    """

    def __init__(self, seed: int = 0, *, is_signed: bool = False, is_connected: bool = True) -> None:
        self.seed = seed
        self.is_signed = is_signed
        self.is_connected = is_connected
        self.random = random.Random(seed)
        self.weather = Weather()
        self.nodes: list[SimNode] = []
        self.numbers = count(1)
        self.delivered = 0
        self.trace = 0
        self.events = 0
        self.skew_s = self.drift = 0.0
        self.check_every = _CHECK_EVERY
        self._unchecked: list[SimNode] = []
        self._is_large = False
        self.calls: dict[Method, int] = dict.fromkeys(Method, 0)
        self._by_url: dict[str, SimNode] = {}
        self._by_id: dict[NodeId, SimNode] = {}
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._mono = _MONO
        self._woken_at = -1.0
        self._now = Now(_MONO, WALL)
        self._cpu_began = process_time()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(replay_of(self.seed))

    def reseed(self, seed: int) -> None:
        """Let another seed decide from here on: one world, many stories."""
        self.seed = seed
        self.random.seed(seed)

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that this process has used since the world began."""
        return process_time() - self._cpu_began

    # Time

    @property
    def now(self) -> Now:
        """The present."""
        if self._now.mono != self._mono:
            self._now = Now(self._mono, WALL + self._mono - _MONO)
        return self._now

    def at(self, mono: float, run: Callable[..., None], *args: Any) -> None:
        """Run something at an instant."""
        heappush(self._events, (max(mono, self._mono), next(self._order), run, args))

    def after(self, seconds: float, run: Callable[..., None], *args: Any) -> None:
        """Run something later."""
        heappush(self._events, (self._mono + max(seconds, 0.0), next(self._order), run, args))

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        until = self._mono + seconds
        events = self._events
        while events and events[0][0] <= until:
            self._step()
        self._mono = until

    def run_until(self, is_done: Callable[[], bool], within_s: float = 60.0) -> None:
        """Let time pass until something holds; fails if it does not within so many virtual seconds."""
        until = self._mono + within_s
        while not is_done():
            assert self._events, "nothing is left to happen"
            assert self._events[0][0] <= until, f"it did not happen within {within_s} s"
            self._step()

    def doze(self, seconds: float) -> None:
        """Let every machine sleep: time passes, nothing happens, and what was due is due when they wake."""
        self._mono += seconds
        self._woken_at = self._mono
        slept = [(max(at, self._mono), number, run, args) for at, number, run, args in self._events]
        self._events[:] = sorted(slept, key=lambda event: event[:2])

    def _step(self) -> None:
        self._mono, _, run, args = heappop(self._events)
        run(*args)
        self.events += 1
        if self._mono == self._woken_at:
            return  # what is overdue after a sleep happens first
        if self.check_every and self.events % self.check_every == 0:
            self._check_next(self.events // self.check_every)

    def _check_next(self, turn: int) -> None:
        """Check the next of the nodes that are up; of many only at every nineteenth turn."""
        if self._is_large and turn % _RARELY:
            return
        if not self._unchecked:
            self._unchecked = self.up()
            self._is_large = len(self._unchecked) > _LARGE
        if self._unchecked:
            check_node(self._unchecked.pop())

    # Nodes

    def spoil_clocks(self) -> None:
        """Let the clocks of nodes made from now on be wrong, by as much as nobody should notice."""
        self.skew_s, self.drift = SKEW_S, _DRIFT

    def add_node(self, host: str | None = None, caps: Caps = NODE) -> SimNode:
        """A new node; it knows nobody yet."""
        number = len(self.nodes)
        node = SimNode(self, number, host or f"10.0.{number // 250}.{number % 250 + 1}", caps)
        self.nodes.append(node)
        self._by_url[node.url] = node
        self._by_id[node.node_id] = node
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

    def add_joined(self, size: int, *, every_s: float = 0.1, within_s: float = 600.0) -> list[SimNode]:
        """So many nodes who came one after the other, each through one that was there before, and have joined.

        Args:
            size: How many.
            every_s: Virtual seconds between two arrivals.
            within_s: Virtual seconds after the last arrival in which the last must have joined.

        """
        there = len(self.nodes)
        nodes = [self.add_node() for _ in range(size)]
        for number, node in enumerate(nodes):
            if there + number:
                through = self.nodes[self.random.randrange(there + number)]
                self.after(number * every_s, node.join, through)
        self.run_for(size * every_s)
        waiting = nodes if there else nodes[1:]

        def is_done() -> bool:
            while waiting and waiting[-1].joined_at is not None:
                waiting.pop()
            return not waiting

        waiting = list(waiting)
        self.run_until(is_done, within_s)
        return nodes

    def add_converged(self, size: int) -> list[SimNode]:
        """So many nodes whose tables are as those of a network that has run for long; nobody's join is simulated."""
        nodes = [self.add_node() for _ in range(size)]
        converge(self)
        return nodes

    @property
    def is_complete(self) -> bool:
        """True when every node that is up has all others that are up in its table, and nobody else."""
        up = {node.node_id for node in self.nodes if node.is_up}
        tables = ({entry.node_id for entry in n.engine.table} | {n.node_id} for n in self.nodes if n.is_up)
        return all(table == up for table in tables)

    def up(self) -> list[SimNode]:
        """The nodes that run."""
        return [node for node in self.nodes if node.is_up]

    def nearest(self, target: Target, wanted: int, nodes: Iterable[SimNode] | None = None) -> list[SimNode]:
        """The nodes nearest to a target, by brute force."""
        point = int.from_bytes(target)
        return sorted(nodes or self.nodes, key=lambda n: n.point ^ point)[:wanted]

    # Faults

    def kill(self, *nodes: SimNode) -> None:
        """End processes at once: their disks stay, their peers see connections break."""
        for node in nodes:
            node.is_up = False
            node.life += 1
            sessions, node.sessions = list(node.sessions.values()), {}
            for session in sessions:
                self._end(session, "connection lost")

    def leave(self, node: SimNode, within_s: float = 10.0) -> None:
        """Let a node hand over what it keeps, then end its process."""
        life = node.life
        node.leave()

        def end() -> None:
            if node.life == life and node.is_up:
                self.kill(node)

        node.on_left = end
        self.after(within_s, end)
        if node.has_left:
            end()

    def restart(self, node: SimNode, *, through: Iterable[SimNode] = ()) -> None:
        """Start a killed node again on its disk; it remembers whom it knew."""
        assert not node.is_up
        known = node.engine.known()
        node.engine = node._begin()
        for entry in known:
            now = node.now()
            again = Entry(entry.node_id, entry.public_key, entry.point, entry.caps, entry.addresses)
            again.seen_at = now.mono
            node.engine.remember(again, now)
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
                    self.after(SESSION_SILENT_S_MAX, self._end_silent, session, self._mono)

    def _end_silent(self, session: Session, cut_at: float) -> None:
        if session.is_open and session.cut_at == cut_at:
            self._end(session, "silent")
            for node in session.ends:
                node.on_down(session, "silent")

    # Sessions

    def can_pass(self, one: SimNode, other: SimNode) -> bool:
        """True while messages between two nodes arrive."""
        return one.is_up and other.is_up and one.side == other.side

    def delay(self, one: SimNode | None = None, other: SimNode | None = None) -> float:
        """Seconds of one message's way."""
        return self.weather.one_way_s(self.random, one, other)

    def _fail_later(self, node: SimNode, call: Call, reason: FailReason, after_s: float = 0.0) -> None:
        life = node.life
        node.doomed.add(call.call)

        def fail() -> None:
            if node.life == life and node.is_up:
                node.doomed.discard(call.call)
                node._tell(call.call, Failed(reason))

        self.after(after_s, fail)

    def dial(self, node: SimNode, contact: Contact, *calls: Call) -> None:
        """Open a session with a contact, then send the calls that wait for it."""
        target = self._by_url.get(contact.urls[0])
        if not self.is_connected:
            if target is not None:
                self.after(4 * self.delay(node, target), self._meet, node, node.life, target, contact.urls[0])
            return
        node.dials[contact.node_id] = Dial(list(calls))
        if target is None or not target.is_up:
            pause_s = 2 * self.delay(node, target)
        elif target.side != node.side:
            pause_s = DIAL_TIMEOUT_S
        else:
            pause_s = 4 * self.delay(node, target)
        self.after(pause_s, self._dialled, node, node.life, contact, target)

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
                    pause_s = self.delay(*session.ends)
                else:
                    pause_s = max(0.0, session.cut_at + SESSION_SILENT_S_MAX - self._mono)
                self.after(pause_s, node.on_down, session, reason)

    # Calls

    def call(self, node: SimNode, call: Call) -> None:
        """Send a request: straight to its address, or over a session, or after dialling one."""
        self.calls[call.method] += 1
        if not self.is_connected:
            self._send_straight(node, call)
            return
        node_id = call.contact.node_id
        session = node.sessions.get(node_id)
        if session is not None:
            self._send(node, session, call)
        elif node_id in node.dials:
            node.dials[node_id].waiting.append(call)
        elif not call.contact.urls or node.pauses.why(node_id, self._mono):
            self._fail_later(node, call, FailReason.UNREACHABLE)
        else:
            self.dial(node, call.contact, call)

    def _send(self, node: SimNode, session: Session, call: Call) -> None:
        node.fly(call, session)
        if self.random.random() < self.weather.loss / 2:
            return
        other = session.other(node)
        data = encode_body(call.body)
        self.at(
            self._arrival(session, node, other), self._arrive, session, node, other, other.life, call, data
        )

    def _arrive(
        self, session: Session, node: SimNode, other: SimNode, life: int, call: Call, data: bytes
    ) -> None:
        if session.is_open and other.life == life and self.can_pass(node, other):
            self._note(node, other, data)
            other.receive(node, call, data, partial(self._answer, session, other, call))

    def _answer(self, session: Session, answerer: SimNode, call: Call, status: Status, body: Body) -> None:
        """Carry an answer back over a session."""
        if self.random.random() < self.weather.loss / 2:
            return
        asker = session.other(answerer)
        data = encode_answer(status, body)
        at = self._arrival(session, answerer, asker)
        self.at(at, self._come_back, session, asker, asker.life, call, status, data)

    def _come_back(
        self, session: Session, asker: SimNode, life: int, call: Call, status: Status, data: bytes
    ) -> None:
        answerer = session.other(asker)
        if session.is_open and asker.life == life and self.can_pass(answerer, asker):
            self._note(answerer, asker, data)
            asker.on_answer(call.call, status, data)

    def _arrival(self, session: Session, sender: SimNode, receiver: SimNode) -> float:
        """When a message sent now arrives: not before those sent earlier on its session."""
        at = max(self._mono + self.delay(sender, receiver), session.clear_at.get(sender.node_id, 0.0))
        session.clear_at[sender.node_id] = at
        return at

    def _note(self, sender: SimNode, receiver: SimNode, data: bytes) -> None:
        self.delivered += 1
        line = b"%r %d %d " % (self._mono, sender.number, receiver.number) + data
        self.trace = zlib.crc32(line, self.trace)

    # Calls without sessions

    def _send_straight(self, node: SimNode, call: Call) -> None:
        contact = call.contact
        node.fly(call, None)
        target = self._by_url.get(contact.urls[0]) if contact.urls else self._by_id.get(contact.node_id)
        if target is None or self.random.random() < self.weather.loss / 2:
            return
        pause_s = self._connecting_s(node, target) if self.weather.dial_rtts else 0.0
        if target.node_id != contact.node_id:
            self.after(pause_s + 2 * self.delay(node, target), self._wrong, node, node.life, call.call)
            return
        self._carry(
            pause_s,
            node,
            target,
            self._arrive_straight,
            (node, node.life, target, call, encode_body(call.body)),
        )

    def _wrong(self, node: SimNode, life: int, number: int) -> None:
        if node.life == life and node.is_up:
            node.fail(number, FailReason.WRONG_ID)

    def _carry(
        self,
        pause_s: float,
        sender: SimNode,
        receiver: SimNode,
        arrive: Callable[..., None],
        args: tuple[Any, ...],
    ) -> None:
        """Let a message arrive, or two of it, or late."""
        weather = self.weather
        self.after(pause_s + self.delay(sender, receiver) + self._held_up_s(), arrive, *args)
        if weather.doubling and self.random.random() < weather.doubling:
            self.after(pause_s + self.delay(sender, receiver) + self._held_up_s(), arrive, *args)

    def _held_up_s(self) -> float:
        weather = self.weather
        if weather.overtaking and self.random.random() < weather.overtaking:
            return weather.rtt_s * self.random.uniform(1, 4)
        return 0.0

    def _connecting_s(self, node: SimNode, target: SimNode) -> float:
        """Seconds until the first message can leave; nothing for two that spoke lately."""
        spoke_at = max(node.spoke.get(target.number, 0.0), target.spoke.get(node.number, 0.0))
        if spoke_at + SPEAKING_S > self._mono:
            return 0.0
        return self.weather.dial_rtts * 2 * self.delay(node, target)

    def _arrive_straight(self, node: SimNode, life: int, target: SimNode, call: Call, data: bytes) -> None:
        if not target.is_up or node.side != target.side:
            return
        if self.weather.dial_rtts:
            node.spoke[target.number] = target.spoke[node.number] = self._mono
        self._note_straight(node, target, data)
        if not target.has_met(node):
            target.meet(node, None)
        target.receive(node, call, data, partial(self._answer_straight, node, life, target, call))

    def _answer_straight(
        self, asker: SimNode, life: int, answerer: SimNode, call: Call, status: Status, body: Body
    ) -> None:
        if self.random.random() < self.weather.loss / 2:
            return
        args = (asker, life, answerer, call, status, encode_answer(status, body))
        self._carry(0.0, answerer, asker, self._come_back_straight, args)

    def _come_back_straight(
        self, asker: SimNode, life: int, answerer: SimNode, call: Call, status: Status, data: bytes
    ) -> None:
        if not asker.is_up or asker.life != life or asker.side != answerer.side:
            return
        self._note_straight(answerer, asker, data)
        if not asker.has_met(answerer):
            asker.meet(answerer, call.contact.urls[0] if call.contact.urls else None)
        asker.on_answer(call.call, status, data)
        asker.forget_session(answerer)  # one that comes back into the table is believed to have one

    def _meet(self, node: SimNode, life: int, target: SimNode, url: str) -> None:
        """A bootstrap address was dialled."""
        if node.life == life and self.can_pass(node, target):
            if not target.has_met(node):
                target.meet(node, None)
            if not node.has_met(target):
                node.meet(target, url)

    def _note_straight(self, sender: SimNode, receiver: SimNode, data: bytes) -> None:
        self.delivered += 1
        self.trace = zlib.crc32(data, self.trace ^ (sender.number << 16 ^ receiver.number))

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

    def gather(self, ops: Sequence[tuple[SimNode, int]], within_s: float = 30.0) -> list[Any]:
        """Let time pass until all these operations have results."""
        waiting = list(ops)

        def is_done() -> bool:
            while waiting and waiting[-1][1] in waiting[-1][0].results:
                waiting.pop()
            return not waiting

        self.run_until(is_done, within_s)
        return [node.results.pop(op) for node, op in ops]

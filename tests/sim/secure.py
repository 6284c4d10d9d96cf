"""A small world with nothing left out but sockets: the real handshake and record layer between the real engines.

Every virtual connection has the machine of `yzdht.rpc.session` at both ends; what crosses are its bytes, with delay
and in order, as over TCP. Records carry real signatures. Ephemeral keys follow from the seed, so a seed replays to
the byte here too.
"""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

from tests.sim.authors import NET, key
from tests.sim.node import Dial, SimNode
from tests.sim.world import NODE, World
from yzdht.crypto.handshake import Credentials, Initiator, Responder
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.signing import KeySigner
from yzdht.errors import WrongNodeId
from yzdht.rpc.engine import Call, Down, Failed, FailReason, Peer, Up
from yzdht.rpc.session import Answered, Ended, Expiring, Opened, Pushed, Requested, Session, Spent
from yzdht.wire.address import public_prefix
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import encode_body


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.crypto.handshake import Established
    from yzdht.ids import NodeId
    from yzdht.kad.engine import KadEngine
    from yzdht.ports import Signer
    from yzdht.rpc.session import Event
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body, Status


class End:
    """One end of a virtual connection.

    Attributes:
        node: Whose.
        other: The other end.
        machine: The session as the package has it.
        peer: Who is there, once that is proved.
        url: The address that was dialled; None at the end that was.
        dialled: Whom it was dialled for; None at the end that was.
        sent: Messages so far.
        ended: How it ended.

    """

    other: End

    def __init__(self, node: SecureNode, machine: Session, url: str | None, dialled: NodeId | None) -> None:
        self.node = node
        self.machine = machine
        self.url = url
        self.dialled = dialled
        self.peer: Peer | None = None
        self.sent = 0
        self.ended: Ended | None = None
        self._life = node.life
        self._clear_at = 0.0
        self._timer_at: float | None = None

    @property
    def is_alive(self) -> bool:
        """True while its process runs."""
        return self.node.is_up and self.node.life == self._life

    def receive(self, message: bytes) -> None:
        """A message of the channel arrived."""
        if self.is_alive:
            self.machine.receive(message, self.node.world.now)
            self.settle()

    def break_off(self, reason: str) -> None:
        """The channel is gone."""
        if self.is_alive:
            self.machine.on_channel_closed(reason)
            self.settle()

    def settle(self) -> None:
        """Carry what the machine has to say, take its events, arm its timer."""
        while True:
            for message in self.machine.take_outgoing():
                self._carry(message)
            events = self.machine.take_events()
            if not events:
                break
            for event in events:
                self._take(event)
        self._arm()

    def _carry(self, message: bytes) -> None:
        world = self.node.world
        self.sent += 1
        message = world.on_wire(self, message)
        world.trace = zlib.crc32(b"%r %d " % (world.now.mono, self.node.number) + message, world.trace)
        other = self.other
        self._later(lambda: other.receive(message))

    def hang_up(self, reason: str) -> None:
        """Close the channel behind what was sent."""
        other = self.other
        self._later(lambda: other.break_off(reason))

    def _later(self, run: Callable[[], None]) -> None:
        world = self.node.world
        self._clear_at = max(world.now.mono + world.delay(), self._clear_at)
        world.at(self._clear_at, run)

    def _take(self, event: Event) -> None:
        match event:
            case Opened(established):
                self.node.on_opened(self, established)
            case Requested(number, method, body):
                assert self.peer is not None
                self.node._receive(
                    self.peer, method, encode_body(body), lambda s, b: self._reply(number, s, b)
                )
            case Answered(call, outcome):
                self.node.carriers.pop(call, None)
                self.node._tell(call, outcome)
            case Ended():
                self.ended = event
                self.hang_up("connection lost")
                self.node.on_ended(self, event)
            case Spent():
                pass  # pings keep an idle session alive
            case Pushed() | Expiring():
                raise AssertionError(f"this world is too young for {event}")

    def _reply(self, number: int, status: Status, body: Body) -> None:
        if self.is_alive:
            self.machine.reply(number, status, body, self.node.world.now)
            self.settle()

    def _arm(self) -> None:
        at = self.machine.next_timer()
        if at is None or (self._timer_at is not None and self._timer_at <= at):
            return
        self._timer_at = at
        self.node.world.at(at, lambda: self._ring(at))

    def _ring(self, at: float) -> None:
        if self.is_alive and self._timer_at == at:
            self._timer_at = None
            self.machine.handle_timer(self.node.world.now)
            self.settle()


class SecureNode(SimNode):
    """A simulated node whose sessions are real.

    Attributes:
        signer: What it proves its identity with.
        ends: Its connections, by whom they lead to; the first carries its calls.
        carriers: Which connection each call in flight is on.
        faults: How connections ended whose other end broke the protocol.

    """

    world: SecureWorld  # type: ignore[mutable-override] # set once

    def __init__(self, world: SecureWorld, number: int, host: str, caps: Caps) -> None:
        self.signer: Signer = KeySigner(key(number), deterministic=True)
        self.faults: list[Ended] = []
        super().__init__(world, number, host, caps)

    def _begin(self) -> KadEngine:
        self.ends: dict[NodeId, list[End]] = {}
        self.carriers: dict[int, End] = {}
        self.unproved: set[End] = set()
        return super()._begin()

    def credentials(self) -> Credentials:
        """What it brings to a handshake."""
        return Credentials(self.signer, NET, int(self.caps))

    def send(self, end: End, call: Call) -> None:
        """Send a request."""
        self.carriers[call.call] = end
        end.machine.call(call.call, call.method, call.body, call.deadline_s, self.world.now)
        end.settle()

    def _cancel(self, call: int) -> None:
        end = self.carriers.pop(call, None)
        if end is not None:
            end.machine.cancel(call)
        super()._cancel(call)

    def carried(self) -> set[int]:
        return super().carried() | self.carriers.keys()

    # What its connections tell

    def on_opened(self, end: End, established: Established) -> None:
        """Somebody proved who it is."""
        peer_id = established.peer_id
        assert end.dialled in (None, peer_id)
        host = end.other.node.host
        caps = Caps(established.peer_caps)
        end.peer = Peer(
            peer_id, established.peer_key, caps, established.session_id, host, public_prefix(host)
        )
        self.unproved.discard(end)
        is_first = peer_id not in self.ends
        self.ends.setdefault(peer_id, []).append(end)
        self.pauses.succeeded(peer_id)
        if is_first:
            self.engine.on_link(end.peer, Up(end.url), self.world.now)
        if end.dialled is not None:
            for call in self.dials.pop(peer_id, Dial()).waiting:
                self.send(end, call)
        self.pump()

    def on_ended(self, end: End, event: Ended) -> None:
        """A connection is over."""
        if event.is_fault:
            self.faults.append(event)
        self.unproved.discard(end)
        if end.peer is None:
            if end.dialled is not None:
                is_wrong = isinstance(event.error, WrongNodeId)
                self.dial_failed(end.dialled, FailReason.WRONG_ID if is_wrong else FailReason.UNREACHABLE)
            return
        rest = self.ends[end.peer.node_id]
        rest.remove(end)
        if not rest:
            del self.ends[end.peer.node_id]
            self.engine.on_link(end.peer, Down(event.reason), self.world.now)
        self.pump()

    def dial_failed(self, node_id: NodeId, reason: FailReason) -> None:
        """Nobody is there, or not the one that was dialled."""
        self.pauses.failed(node_id, self.world.now.mono)
        for call in self.dials.pop(node_id, Dial()).waiting:
            self._tell(call.call, Failed(reason))


class SecureWorld(World):
    """A world whose sessions are real.

    Attributes:
        on_wire: Sees, and may change, every message of a connection before it is carried.

    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed, is_signed=True)
        self.on_wire: Callable[[End, bytes], bytes] = lambda _end, message: message
        self._keys = 0

    def add_node(self, host: str | None = None, caps: Caps = NODE) -> SecureNode:
        """A new node; it knows nobody yet."""
        number = len(self.nodes)
        node = SecureNode(self, number, host or f"10.0.0.{number + 1}", caps)
        self.nodes.append(node)
        self._by_url[node.url] = node
        return node

    def call(self, node: SimNode, call: Call) -> None:
        """Send a request, over a session or after dialling one."""
        assert isinstance(node, SecureNode)
        node_id = call.contact.node_id
        if node_id in node.ends:
            node.send(node.ends[node_id][0], call)
        elif node_id in node.dials:
            node.dials[node_id].waiting.append(call)
        elif not call.contact.urls or node.pauses.why(node_id, self.now.mono):
            self._fail_later(node, call, FailReason.UNREACHABLE)
        else:
            self.dial(node, call.contact, call)

    def dial(self, node: SimNode, contact: Contact, *calls: Call) -> None:
        """Connect, then shake hands."""
        assert isinstance(node, SecureNode)
        node.dials[contact.node_id] = Dial(list(calls))
        life = node.life
        self.after(2 * self.delay(), lambda: self._connected(node, life, contact))

    def _connected(self, node: SecureNode, life: int, contact: Contact) -> None:
        if node.life != life or not node.is_up:
            return
        target = self._by_url.get(contact.urls[0])
        if target is None or not target.is_up:
            node.dial_failed(contact.node_id, FailReason.UNREACHABLE)
            return
        assert isinstance(target, SecureNode)
        now = self.now
        theirs = End(target, Session(Responder(target.credentials(), self._ephemeral()), now), None, None)
        initiator = Initiator(node.credentials(), contact.node_id, self._ephemeral())
        ours = End(node, Session(initiator, now), contact.urls[0], contact.node_id)
        ours.other, theirs.other = theirs, ours
        node.unproved.add(ours)
        target.unproved.add(theirs)
        theirs.settle()
        ours.settle()

    def _ephemeral(self) -> PrivateKey:
        self._keys += 1
        return PrivateKey.from_scalar(sha256(b"ephemeral %d %d" % (self.seed, self._keys)).digest())

    def kill(self, *nodes: SimNode) -> None:
        """End processes at once: their peers see connections break."""
        for node in nodes:
            assert isinstance(node, SecureNode)
            node.is_up = False
            node.life += 1
            for end in [*node.unproved, *(end for ends in node.ends.values() for end in ends)]:
                end.hang_up("connection lost")

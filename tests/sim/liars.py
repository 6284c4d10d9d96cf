"""Nodes that lie: what they answer in the place of their engine, and gangs of them.

A liar is a simulated node whose `responder` speaks first; where it has nothing to say its engine goes on as an honest
one does, so that liars join, answer pings and are believed until they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from tests.sim.authors import key
from tests.sim.converged import converge
from tests.sim.node import SimNode
from tests.sim.world import NODE
from yzdht.access import Reading, Writing
from yzdht.crypto.naming import node_id_of
from yzdht.ids import RecordHash
from yzdht.kad.table import Entry
from yzdht.kad.write import Draft
from yzdht.limits import CONTACTS_PER_ANSWER_MAX, SMALL_NETWORK_NODES_MAX
from yzdht.wire.address import address_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import (
    Empty,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Method,
    Refusal,
    Row,
    Status,
    Store,
    WhoAmI,
    WireContact,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence

    from tests.sim.world import World
    from yzdht.ids import Target
    from yzdht.kad.engine import KadEngine
    from yzdht.ports import Now
    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import Body

    Lie = tuple[Status, Body] | None
    Responder = Callable[[Peer, Method, Body], Lie]
    Kind = Callable[["Gang", SimNode], Responder]


_T = TypeVar("_T")
_DEAD_FIRST = 20_000_000
_DEAD = 400
_CAPS = int(Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING)
_HIGH_SEQ = 2**62
_NEAR = 64
"""Honest nodes around a target of which some have room for more nodes there: 6 % of a thousand."""


@dataclass
class Gang:
    """Liars who know of each other.

    Attributes:
        world: Where they are.
        members: Who they are.

    """

    world: World
    members: list[SimNode]

    def nearest(self, target: bytes, but: SimNode | None = None) -> tuple[WireContact, ...]:
        """The members nearest to a point, as they name each other; never the one that speaks."""
        near = self.world.nearest(target, CONTACTS_PER_ANSWER_MAX + 1, self.members)  # type: ignore[arg-type] # a point
        return tuple(shown(node) for node in near if node is not but)[:CONTACTS_PER_ANSWER_MAX]


def shown(node: SimNode) -> WireContact:
    """A node as others name it."""
    return WireContact(node.pen.public_key, (node.url,), int(node.caps))


@cache
def _dead() -> list[tuple[int, WireContact]]:
    """Keys that nobody runs, at public addresses where nobody is."""
    keys = [key(number).public_key for number in range(_DEAD_FIRST, _DEAD_FIRST + _DEAD)]
    urls = (f"ws://91.{number // 250}.{number % 250}.9:8083" for number in range(_DEAD))
    contacts = (WireContact(k, (url,), _CAPS) for k, url in zip(keys, urls, strict=True))
    return [(int.from_bytes(node_id_of(c.public_key)), c) for c in contacts]


def dead_near(target: bytes) -> tuple[WireContact, ...]:
    """Nodes that do not exist, the nearest of many to the target."""
    point = int.from_bytes(target)
    return tuple(c for _, c in sorted(_dead(), key=lambda pair: pair[0] ^ point)[:CONTACTS_PER_ANSWER_MAX])


# What is said of contacts


def _names(name: Callable[[Peer, bytes], tuple[WireContact, ...]]) -> Responder:
    """Denies every record and names the contacts that `name` gives."""

    def lie(peer: Peer, _method: Method, body: Body) -> Lie:
        if isinstance(body, FindNode):
            return Status.OK, FoundNodes(name(peer, body.target))
        if isinstance(body, FindValue):
            return Status.OK, FoundValue((), name(peer, body.target))
        return None

    return lie


def names_the_dead(_gang: Gang, _node: SimNode) -> Responder:
    return _names(lambda _peer, target: dead_near(target))


def names_liars(gang: Gang, node: SimNode) -> Responder:
    return _names(lambda _peer, target: gang.nearest(target, node))


def names_itself_and_the_asker(_gang: Gang, node: SimNode) -> Responder:
    def name(peer: Peer, _target: bytes) -> tuple[WireContact, ...]:
        asker = WireContact(peer.public_key, (f"ws://{peer.host}:8083",), _CAPS)
        return (shown(node),) * 10 + (asker,) * 10

    return _names(name)


def names_garbage(_gang: Gang, node: SimNode) -> Responder:
    key_of_nobody = b"\x05" + bytes(32)
    contacts = (
        WireContact(key_of_nobody, (node.url,), _CAPS),  # type: ignore[arg-type] # no key at all
        WireContact(node.pen.public_key, ("nonsense", "ws://127.0.0.1:1", "ws://[::1]:1"), 2**32 - 1),
        WireContact(key(_DEAD_FIRST).public_key, (), _CAPS),
        WireContact(key(_DEAD_FIRST).public_key, ("ws://10.0.0.1:8083",), 0),
    )
    return _names(lambda _peer, _target: contacts * 5)


# What is said of records


def shows_the_first(_gang: Gang, _node: SimNode) -> Responder:
    """Keeps the first record that it is given in each place; whatever comes later is acknowledged and dropped."""
    seen: set[bytes] = set()

    def lie(_peer: Peer, _method: Method, body: Body) -> Lie:
        if not isinstance(body, Store):
            return None
        if body.target in seen:
            return Status.OK, Empty()
        seen.add(body.target)
        return None

    return lie


def forges(gang: Gang, node: SimNode) -> Responder:
    """Shows newer records than it holds, which nobody signed, and bytes that are none where it holds nothing."""

    def lie(_peer: Peer, _method: Method, body: Body) -> Lie:
        if not isinstance(body, FindValue):
            return None
        held = node.store.get(body.target, gang.world.now.wall)
        records = tuple(_newer(stored.body) for stored in held) or (b"\xf9" * 200,)
        return Status.OK, FoundValue(records, dead_near(body.target))

    return lie


def _newer(raw: bytes) -> bytes:
    """The same record with a higher sequence number, under the signature of the old one."""
    return raw[:12] + b"\x7f" + raw[13:]


def claims(gang: Gang, node: SimNode) -> Responder:
    """Claims newer records than anybody has, and never shows them."""

    def lie(_peer: Peer, _method: Method, body: Body) -> Lie:
        if not isinstance(body, FindValue):
            return None
        held = node.store.get(body.target, gang.world.now.wall)
        publishers = [stored.publisher for stored in held] or [node.pen.public_key]
        return Status.OK, FoundValue(tuple(Row(p, _HIGH_SEQ, RecordHash(bytes(32))) for p in publishers))

    return lie


def refuses(_gang: Gang, node: SimNode) -> Responder:
    """Takes no record, for reasons that it makes up."""
    reasons = (Status.CAS_MISMATCH, Status.SEQ_TOO_LOW, Status.EQUIVOCATION)
    status = reasons[node.number % len(reasons)]

    def lie(_peer: Peer, _method: Method, body: Body) -> Lie:
        if isinstance(body, FindValue):
            return Status.OK, FoundValue()
        return (status, Refusal(_HIGH_SEQ, bytes(32))) if isinstance(body, Store) else None

    return lie


def forgets(_gang: Gang, _node: SimNode) -> Responder:
    """Acknowledges every record and keeps none."""

    def lie(_peer: Peer, _method: Method, body: Body) -> Lie:
        if isinstance(body, FindValue):
            return Status.OK, FoundValue()
        return (Status.OK, Empty()) if isinstance(body, Store) else None

    return lie


# What is said at all


def talks_garbage(_gang: Gang, _node: SimNode) -> Responder:
    def lie(_peer: Peer, method: Method, _body: Body) -> Lie:
        return None if method is Method.PING else (Status.OK, WhoAmI("host", 1, "ws"))

    return lie


def is_silent(_gang: Gang, node: SimNode) -> Responder:
    """Answers pings, so that it stays in tables, and nothing else."""
    receive = node.receive

    def deaf(session, call, data, *rest):
        if call.method is Method.PING:
            receive(session, call, data, *rest)

    node.receive = deaf  # type: ignore[method-assign] # a responder can only answer
    return lambda _peer, _method, _body: None


KINDS: tuple[Kind, ...] = (
    names_the_dead,
    names_liars,
    names_itself_and_the_asker,
    names_garbage,
    shows_the_first,
    forges,
    claims,
    refuses,
    forgets,
    talks_garbage,
    is_silent,
)
"""Every way to lie but those that need a plan."""


def turn(world: World, nodes: Iterable[SimNode], kinds: tuple[Kind, ...] = KINDS) -> Gang:
    """Make liars of nodes, of every kind as many."""
    gang = Gang(world, list(nodes))
    for node, kind in zip(gang.members, _in_turn(kinds), strict=False):
        node.responder = kind(gang, node)
    return gang


def _in_turn(kinds: tuple[Kind, ...]) -> Iterator[Kind]:
    while True:
        yield from kinds


# Eclipse


def colludes(denied: Target, stale: bytes | None = None, *, is_refusing: bool = False) -> Kind:
    """Deny one target: name only the gang near it, acknowledge what is stored there and keep nothing.

    Args:
        denied: The target.
        stale: A record to show there, older than what was written since; None to show nothing.
        is_refusing: True to refuse what is stored anywhere, for something newer that nobody has, and not to acknowledge it.

    """
    records = () if stale is None else (stale,)
    taken: Lie = (Status.SEQ_TOO_LOW, Refusal(_HIGH_SEQ, bytes(32))) if is_refusing else (Status.OK, Empty())

    def kind(gang: Gang, node: SimNode) -> Responder:
        near = gang.nearest(denied, node)

        def lie(_peer: Peer, _method: Method, body: Body) -> Lie:
            match body:
                case FindNode():
                    contacts = near if body.target == denied else gang.nearest(body.target, node)
                    return Status.OK, FoundNodes(contacts)
                case FindValue() if body.target == denied:
                    return Status.OK, FoundValue(records, near)
                case FindValue():
                    return Status.OK, FoundValue(_own(node, body), gang.nearest(body.target, node))
                case Store():
                    return taken
                case _:
                    return None

        return lie

    return kind


def _own(node: SimNode, body: FindValue) -> tuple[bytes, ...]:
    """Its identity record, which gives its address to tables, and nothing else."""
    if bytes(body.target) != node.node_id:
        return ()
    return tuple(stored.body for stored in node.store.get(body.target, node.world.now.wall))


class Colluder(SimNode):
    """A node of an attacker: it answers, and asks nobody; its engine never hears of anybody.

    Many of them may share an address; its port tells them apart.
    """

    def _begin(self) -> KadEngine:
        self.url = f"ws://{self.host}:{1_024 + self.number % 60_000}"
        self.contact = replace(self.contact, urls=(self.url,))
        return super()._begin()

    def meet(self, other: SimNode, _url: str | None) -> None:
        self.met[other.number] = other.life


def besiege(world: World, numbers: Sequence[int], prefixes: int, denied: Target, **how: Any) -> Gang:
    """Let colluders come and show themselves to the honest nodes around a target, and each to a few others.

    Args:
        world: Without sessions.
        numbers: Of the colluders' keys, nearest to the target first.
        prefixes: How many public /24 their addresses are spread over.
        denied: The target.
        how: As `colludes` takes it.

    """
    honest = list(world.nodes)
    near = world.nearest(denied, _NEAR)
    gang = Gang(world, [])
    for place, number in enumerate(numbers):
        host = f"81.{place % prefixes // 250}.{place % prefixes % 250}.{1 + place // prefixes % 250}"
        node: SimNode = Colluder(world, number, host, NODE)
        assert node.url not in world._by_url
        world.nodes.append(node)
        world._by_url[node.url] = world._by_id[node.node_id] = node
        gang.members.append(node)
    for node in gang.members:
        node.responder = colludes(denied, **how)(gang, node)
    for node in gang.members:
        for victim in (*near, *world.random.sample(honest, 4)):
            if not victim.has_met(node):
                victim.meet(node, None)
                victim.pump()
    return gang


def add_public(world: World, size: int) -> list[SimNode]:
    """So many nodes, each in a public /24 of its own, whose tables are those of a network that has run for long."""
    there = len(world.nodes)
    nodes = [world.add_node(f"45.{n // 250}.{n % 250}.7") for n in range(there, there + size)]
    converge(world)
    if size > SMALL_NETWORK_NODES_MAX:
        for node in nodes:
            _outgrow(node)
    return nodes


def _outgrow(node: SimNode) -> None:
    """Let a node meet others until its table is one of a large network."""
    world, table = node.world, node.engine.table
    for other in world.random.sample(world.nodes, len(world.nodes)):
        if not table.is_small:
            break
        if other is node or table.get(other.node_id) is not None:
            continue
        entry = Entry(
            other.node_id,
            other.pen.public_key,
            other.point,
            other.caps,
            (address_of(other.url),),
            other.url,
            other.host,
            other.peer().prefix,
            world.now.mono,
        )
        table.admit(entry)
        node.met[other.number] = other.life
        other.met[node.number] = node.life


# What people see


class SimAccess:
    """The way of `yzdht.records` to a simulated network: whatever it awaits happens in virtual time.

    Attributes:
        counts: What nodes did wrong.

    """

    def __init__(self, world: World, node: SimNode) -> None:
        self._world = world
        self._node = node
        self.counts: list[str] = []

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        results = [self._world.wait(self._node, get(self._node, target, paths)) for target in targets]
        return [[Reading(tuple(r.raw for r in x.records), x.answered, x.needed)] for x in results]

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        done = self._world.put(self._node, Draft(target, record, cas, keep_until))
        return Writing(done.accepted, done.asked, done.needed, done.refusal, done.detail.number)

    def start(self, work: Coroutine[None, None, None]) -> None:
        drive(work)

    async def compute(self, work: Callable[[], _T]) -> _T:
        return work()

    def now(self) -> Now:
        return self._world.now

    def count(self, name: str) -> None:
        self.counts.append(name)


def get(node: SimNode, target: Target, paths: int) -> int:
    """Have a node read along so many disjoint paths; the number of the operation."""
    return node._command(lambda now: node.engine.get(target, now, paths))


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits for an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for an event loop")

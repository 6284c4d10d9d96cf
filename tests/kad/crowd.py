"""A crowd of nodes that answer at once: converged tables, records, some of them dead. For searches in large networks."""

from __future__ import annotations

from heapq import nsmallest
from random import Random  # noqa: TID251 - a crowd follows from its seed
from typing import TYPE_CHECKING

from tests.kad.kit import NODE, TIMEOUT, at, contact, entry, node_id, number_of
from tests.sim.authors import NET, NullChecks
from yzdht.ids import Target
from yzdht.kad.contacts import Contacts, Own
from yzdht.kad.holder import Holder
from yzdht.kad.operations import Operations
from yzdht.kad.searches import Searches
from yzdht.kad.strangers import Strangers
from yzdht.kad.table import Table
from yzdht.kad.upkeep import Hearsay
from yzdht.limits import BUCKET_SIZE, CONTACTS_PER_ANSWER_MAX, REPLICAS
from yzdht.rpc.engine import Answer, Call, Cancel, Failed, FailReason, Persist
from yzdht.store.memory import MemoryStore
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Empty, FindNode, FindValue, FoundNodes, FoundValue, Status, Store, WireContact


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.rpc.engine import Outgoing
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body
    from yzdht.wire.slot import Verdict


class Crowd:
    """Searches of one node among many; every request is answered in the order in which it was sent.

    Args:
        seed: Decides everything.
        size: How many others there are.
        dead: How many of them do not answer.

    """

    def __init__(self, seed: int, size: int = 600, dead: int = 0) -> None:
        random = Random(seed)
        self.random = random
        own, *self.points = sorted({random.getrandbits(256) for _ in range(size + 1)}, key=hash)
        self.own = own
        self.dead = set(random.sample(self.points, dead))
        self.unreachable: set[int] = set()
        self.records: dict[int, dict[bytes, bytes]] = {}
        self.asked: list[tuple[int, Body]] = []
        self.liars: dict[int, Callable[[Body], Answer]] = {}
        self._tables: dict[int, list[int]] = {}
        self._outgoing: list[Outgoing] = []
        self.counted: list[str] = []
        self.table = Table(node_id(own))
        for point in self.points:  # all have been met: whom a bucket does not take waits in its cache
            known = entry(point)
            known.host, known.has_session = "10.0.0.1", True
            self.table.admit(known)
        self.store = MemoryStore(self._on_verdicts, self._soon)
        self._waiting: list[Callable[[], None]] = []
        me = Own(contact(own, NODE), is_private_allowed=True)
        strangers = Strangers()
        checks = NullChecks(NET)
        self.operations = Operations(node_id(own), Holder(self.store, checks), self._outgoing.append)
        contacts = _Judge(me, self.table, Hearsay(), strangers, checks, self.counted.append)
        self.searches = Searches(me, self.table, self.operations, contacts, checks, strangers)

    @property
    def live(self) -> list[int]:
        return [p for p in self.points if p not in self.dead]

    def nearest(self, target: Target, wanted: int, *, with_own: bool = False) -> list[int]:
        among = [*self.live, self.own] if with_own else self.live
        return nsmallest(wanted, among, key=lambda p: p ^ int.from_bytes(target))

    def target(self) -> Target:
        return Target(self.random.randbytes(32))

    def _table_of(self, point: int) -> list[int]:
        if point not in self._tables:
            buckets: dict[int, list[int]] = {}
            for other in self.points:
                if other != point:
                    buckets.setdefault((other ^ point).bit_length(), []).append(other)
            chosen = Random(point)
            tables = (b if len(b) <= BUCKET_SIZE else chosen.sample(b, BUCKET_SIZE) for b in buckets.values())
            self._tables[point] = [p for bucket in tables for p in bucket]
        return self._tables[point]

    def _named(self, point: int, target: Target) -> tuple[WireContact, ...]:
        table = self._table_of(point)
        return named(nsmallest(CONTACTS_PER_ANSWER_MAX, table, key=lambda p: p ^ int.from_bytes(target)))

    def add_nearest(self, target: Target, size: int) -> list[int]:
        """New nodes nearer to a target than all others, known to everybody whose bucket has room; their points."""
        nearest = self.nearest(target, 1)[0] ^ int.from_bytes(target)
        depth = max(nearest.bit_length() - 2, 8)
        ground = [int.from_bytes(target) ^ self.random.getrandbits(depth) for _ in range(size)]
        for point in self.nearest(target, 3 * REPLICAS):
            self._tables[point] = self._table_of(point) + ground
        for point in ground:
            self._tables[point] = ground
            self.table.admit(entry(point))
        self.points += ground
        return ground

    def _soon(self, run: Callable[[], None]) -> None:
        self._waiting.append(run)

    def _on_verdicts(self, batch: list[tuple[int, Verdict]]) -> None:
        for op, verdict in batch:
            self.operations.on_stored(op, verdict, at(0.0))

    def run(self) -> None:
        """Answer until nothing is left to answer; time passes only when nobody does."""
        mono = 0.0
        failing: list[int] = []
        while True:
            while self._outgoing or self._waiting:
                outgoing, self._outgoing[:] = list(self._outgoing), []
                for item in outgoing:
                    match item:
                        case Call():
                            self._carry(item, mono, failing)
                        case Persist(op, write):
                            self.store.submit(op, write)
                        case Cancel():
                            pass
                        case _:
                            raise AssertionError(f"a search never wants {item}")
                while self._waiting:
                    self._waiting.pop(0)()
            timer = self.operations.next_timer()
            if timer is not None:
                mono = max(mono, timer)
                self.operations.handle_timer(at(mono))
            elif failing:
                self.operations.on_answer(failing.pop(0), TIMEOUT, at(mono))
            else:
                return

    def _carry(self, call: Call, mono: float, failing: list[int]) -> None:
        point = number_of(call.contact)
        self.asked.append((point, call.body))
        if point in self.unreachable:
            self.operations.on_answer(call.call, Failed(FailReason.UNREACHABLE), at(mono))
            return
        if point in self.dead:
            failing.append(call.call)
            return
        liar = self.liars.get(point)
        answer = liar(call.body) if liar else self._answer(point, call.body)
        self.operations.on_answer(call.call, answer, at(mono))

    def _answer(self, point: int, body: Body) -> Answer:
        match body:
            case FindNode():
                return Answer(Status.OK, FoundNodes(self._named(point, body.target)))
            case FindValue():
                held = self.records.get(point, {}).get(body.target)
                return Answer(Status.OK, FoundValue((held,) if held else (), self._named(point, body.target)))
            case Store():
                self.records.setdefault(point, {})[body.target] = decode_record(body.record).raw
                return Answer(Status.OK, Empty())
            case _:
                raise AssertionError(f"a search never asks {body}")

    def holders(self, target: Target) -> set[int]:
        return {point for point, held in self.records.items() if target in held}


def named(points: list[int]) -> tuple[WireContact, ...]:
    """These nodes as an answer names them."""
    return tuple(WireContact(contact(p).public_key, contact(p).urls, int(NODE)) for p in points)


class _Judge(Contacts):
    """Numbers become ids without a curve."""

    def usable(self, contacts: tuple[WireContact, ...], _namer: NodeId) -> list[Contact]:
        return [contact(int.from_bytes(c.public_key[1:])) for c in contacts]

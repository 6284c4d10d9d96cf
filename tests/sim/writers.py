"""Sealed reads and writes above simulated nodes: several devices of one identity, each through a node of its own.

`Records` is written for an event loop that others drive. Here it is driven by hand: what waits for a node's operation
is resumed once virtual time has brought its result, so that a story follows from its seed and its signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tests.sim.authors import NET, NullChecks
from yzdht.access import Reading, Writing
from yzdht.errors import YzError
from yzdht.kad.write import Draft
from yzdht.records import Keeps, Records
from yzdht.store.groups import SqliteGroups
from yzdht.store.marks import MemoryMarks
from yzdht.wire.record import decode_record


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence

    from tests.sim.node import SimNode
    from tests.sim.world import World
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import Target
    from yzdht.ports import Now
    from yzdht.wire.record import Record


T = TypeVar("T")
WITHIN_S = 300.0


@dataclass(eq=False, slots=True)
class Operation:
    """A read or a write of a node that somebody awaits."""

    node: SimNode
    number: int

    @property
    def is_done(self) -> bool:
        return self.number in self.node.results

    def __await__(self) -> Generator[Operation, None, Any]:
        if not self.is_done:
            yield self
        return self.node.results.pop(self.number)


class SimAccess:
    """The way to the replicas through one simulated node, as `OwnAccess` goes it.

    Attributes:
        written: Every record that was given to the node, with its cas; whatever came of it.

    """

    def __init__(self, node: SimNode) -> None:
        self.written: list[tuple[Record, int | None]] = []
        self._node = node

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        operations = [Operation(self._node, self._node.get(target)) for target in targets]
        results = [await operation for operation in operations]
        return [[Reading(tuple(r.raw for r in x.records), x.answered, x.needed)] for x in results]

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        self.written.append((decode_record(record), cas))
        done = await Operation(self._node, self._node.put(Draft(target, record, cas, keep_until)))
        return Writing(done.accepted, done.asked, done.needed, done.refusal, done.detail.number)

    def start(self, work: Coroutine[None, None, None]) -> None:
        work.close()  # an identity record published beside a write: another slot

    async def compute(self, work: Callable[[], T]) -> T:
        return work()

    def now(self) -> Now:
        return self._node.now()

    def count(self, name: str) -> None:
        pass  # nobody lies here


class Device:
    """One device of an identity: marks of its own, and a node to go through.

    Args:
        node: Whose engine reads and writes.
        identity: Shared by all devices.
        rng: For salts and content keys.

    """

    def __init__(self, node: SimNode, identity: IdentityKeys, rng: Any) -> None:
        self.node = node
        self.access = SimAccess(node)
        checks = None if node.world.is_signed else NullChecks(NET)
        self.records = Records(
            identity, NET, self.access, Keeps(MemoryMarks(), SqliteGroups(None)), rng, checks
        )


def run(world: World, *works: Coroutine[Any, Any, Any]) -> list[Any]:
    """Let all of these go on at once to their ends; what each returned, or the YzError that it raised."""
    outcomes: list[Any] = [None] * len(works)
    waiting: dict[int, Operation] = {}

    def resume(number: int) -> None:
        try:
            waiting[number] = works[number].send(None)
        except StopIteration as end:
            outcomes[number] = end.value
        except YzError as error:
            outcomes[number] = error

    for number in range(len(works)):
        resume(number)
    while waiting:
        world.run_until(lambda: any(o.is_done for o in waiting.values()), WITHIN_S)
        for number in [n for n, o in waiting.items() if o.is_done]:
            del waiting[number]
            resume(number)
    return outcomes

"""What reads, writes and lookups took: seconds, how many nodes they asked, and over how many hops.

Told when a result stands. Pure: time is an argument of the operations, as everywhere in kad; what is done with a measure
the shell decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.kad.candidates import Standing
from yzdht.kad.lookup import Lookup
from yzdht.kad.offer import Offer
from yzdht.kad.operations import Operations
from yzdht.kad.read import Read
from yzdht.limits import LOOKUP_CANDIDATES_MAX


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.kad.candidates import Candidates
    from yzdht.kad.holder import Holder
    from yzdht.kad.operations import Operation
    from yzdht.ports import Now
    from yzdht.rpc.engine import Outgoing


class MeasuredOperations(Operations):
    """Runs operations and tells what each of them took.

    Args:
        own_id: This node, which is asked without a network.
        holder: Answers for this node.
        send: Takes what is to go out.
        tell: Takes the name of a measure, its value, and the kind of operation: `read`, `care` (a holder's read of
            what it holds), `write` or `lookup`.

    """

    def __init__(
        self,
        own_id: NodeId,
        holder: Holder,
        send: Callable[[Outgoing], None],
        tell: Callable[[str, float, str], None],
    ) -> None:
        super().__init__(own_id, holder, send)
        self._tell = tell

    def start(
        self,
        operation: Operation,
        on_result: Callable[[Operation, Now], None],
        now: Now,
        stored_by: NodeId | bytes = b"",
    ) -> None:
        """Run an operation, as `Operations.start` does."""
        started_at = now.mono

        def report(ended: Operation, at: Now) -> None:
            self._measure(ended, at.mono - started_at)
            on_result(ended, at)

        super().start(operation, report, now, stored_by)

    def _measure(self, operation: Operation, seconds: float) -> None:
        if isinstance(operation, Offer):
            return  # to one node, which is known: nothing that a person waits for
        if isinstance(operation, Lookup):
            kind, candidates = "lookup", operation.candidates
        elif isinstance(operation, Read):
            kind, candidates = "care" if operation.is_thorough else "read", operation.candidates
        else:
            kind, candidates = "write", operation.candidates
        self._tell("operation_seconds", seconds, kind)
        asked = sum(c.standing is not Standing.FRESH and c.node_id != self._own_id for c in candidates)
        self._tell("operation_asked", asked, kind)
        if kind != "write":
            self._tell("operation_hops", hops_in(candidates, self._own_id), kind)


def hops_in(candidates: Candidates, own_id: NodeId) -> int:
    """How many answers, one after another, led to the nearest node that answered; 0 if none but oneself did."""
    answered = (c for c in candidates if c.standing is Standing.ANSWERED and c.node_id != own_id)
    node = next(answered, None)
    hops = 0
    while node is not None and hops < LOOKUP_CANDIDATES_MAX:  # nodes can vouch for each other in a ring
        hops += 1
        node = None if node.namer is None else candidates.get(node.namer)
    return hops

"""One iterative lookup: which nodes are closest to a target (Kademlia paper, section 2.3; PROTOCOL.md section 9).

A continuous window, never rounds: a peer that has not answered within its own expected time stops blocking its slot,
and its late answer still counts. Dead peers therefore cost messages and hardly any time: a caller that needs some of the
wanted goes on as soon as all of them are asked and enough have answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.kad.candidates import Ask, Candidate, Candidates, Standing
from yzdht.limits import ALPHA, READ_TIMEOUT_S
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.rpc import FindNode, FoundNodes, Method, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId, Target
    from yzdht.ports import Now
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import WireContact


class Aim(NamedTuple):
    """What a lookup is to find.

    Attributes:
        target: The point to approach.
        wanted: How many nodes are to be found.
        need: How many of the wanted must have answered, once all of them are asked; None for all that are in time.
        is_far: True where the own table does not know everybody: those that make progress are asked beside the
            wanted, the quickest way first.

    """

    target: Target | NodeId
    wanted: int
    need: int | None = None
    is_far: bool = False


class Lookup:
    """Walk towards a target until the closest live candidates have answered.

    Args:
        aim: What to find.
        candidates: From one's own table.
        own_id: This node, which is never a result.
        usable: Turns the contacts of an answer into those that may be dialled.

    """

    def __init__(
        self,
        aim: Aim,
        candidates: Candidates,
        own_id: NodeId,
        usable: Callable[[tuple[WireContact, ...], NodeId], list[Contact]],
    ) -> None:
        assert aim.wanted >= 1
        self.aim = aim
        self.is_finished = False
        self.candidates = candidates
        self._own_id = own_id
        self._usable = usable
        self._asks: list[Ask] = []

    def start(self, now: Now) -> None:
        """Send the first requests."""
        self._advance(now)

    def take_asks(self) -> list[Ask]:
        """Requests to send; empties the list."""
        asks, self._asks = self._asks, []
        return asks

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return None if self.is_finished else self.candidates.next_late()

    def handle_timer(self, now: Now) -> None:
        """Demote those that are late."""
        if self.candidates.mark_late(now.mono):
            self._advance(now)

    def on_answer(self, node_id: NodeId, _purpose: int, outcome: Answer | Failed, now: Now) -> None:
        """Take an answer in; one that nobody asked for is ignored."""
        candidate = self.candidates.get(node_id)
        if candidate is None or not candidate.is_open:
            return
        if isinstance(outcome, Answer) and outcome.status is Status.OK:
            assert isinstance(outcome.body, FoundNodes)
            self.candidates.answered(candidate, now.mono)
            self.candidates.hear(self._usable(outcome.body.contacts, node_id), self._own_id, node_id)
        else:
            self.candidates.failed(candidate, outcome)
        self._advance(now)

    def closest(self) -> list[Contact]:
        """Up to `count` nodes that answered, nearest first."""
        return [c.contact for c in self.candidates if c.standing is Standing.ANSWERED][: self.aim.wanted]

    def _advance(self, now: Now) -> None:
        if self.is_finished:
            return
        # A late peer holds nobody up: those behind it are asked in its place, however many are late.
        wanted = self.candidates.front(self.aim.wanted, is_late_kept=False)
        for candidate in self._to_ask(wanted):
            self._ask(candidate, now)
        self.is_finished = self._has_ended(wanted) and not self._ask_again(now)

    def _ask_again(self, now: Now) -> bool:
        """Whoever wants the exact nearest has the silent ones among them asked twice; True if there are any."""
        if self.aim.need is not None:
            return False
        late = self.candidates.to_ask_again(self.aim.wanted)
        for candidate in late:
            self._ask(candidate, now)
        return bool(late)

    def _ask(self, candidate: Candidate, now: Now) -> None:
        self.candidates.ask(candidate, now.mono)
        body = FindNode(self.aim.target)  # type: ignore[arg-type] # a node id is a point like any target
        self._asks.append(Ask(candidate.contact, Method.FIND_NODE, body, READ_TIMEOUT_S))

    def _to_ask(self, wanted: list[Candidate]) -> list[Candidate]:
        if self.aim.is_far:
            return self.candidates.to_ask(wanted)
        room = ALPHA - self.candidates.in_flight()
        return [c for c in wanted if c.standing is Standing.FRESH][: max(room, 0)]

    def _has_ended(self, wanted: list[Candidate]) -> bool:
        if any(c.standing is Standing.FRESH for c in wanted):
            return False
        if not any(c.standing is Standing.ASKED for c in wanted):
            return True
        answered = sum(1 for c in wanted if c.standing is Standing.ANSWERED)
        return self.aim.need is not None and answered >= self.aim.need

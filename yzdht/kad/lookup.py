"""One iterative lookup: which nodes are closest to a target (Kademlia paper, section 2.3; PROTOCOL.md section 9).

A continuous window, never rounds: a peer that has not answered within its own expected time stops blocking its slot,
and its late answer still counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class Lookup:
    """Walk towards `target` until the closest live candidates have answered.

    Args:
        target: The point to approach.
        count: How many nodes are wanted.
        candidates: From one's own table.
        own_id: This node, which is never a result.
        usable: Turns the contacts of an answer into those that may be dialled.

    """

    def __init__(
        self,
        target: Target | NodeId,
        count: int,
        candidates: Candidates,
        own_id: NodeId,
        usable: Callable[[tuple[WireContact, ...], NodeId], list[Contact]],
    ) -> None:
        assert count >= 1
        self.target = target
        self.count = count
        self.is_finished = False
        self._candidates = candidates
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
        return None if self.is_finished else self._candidates.next_late()

    def handle_timer(self, now: Now) -> None:
        """Demote those that are late."""
        if self._candidates.mark_late(now.mono):
            self._advance(now)

    def on_answer(self, node_id: NodeId, _purpose: int, outcome: Answer | Failed, now: Now) -> None:
        """Take an answer in; one that nobody asked for is ignored."""
        candidate = self._candidates.get(node_id)
        if candidate is None or candidate.standing not in (Standing.ASKED, Standing.LATE):
            return
        if isinstance(outcome, Answer) and outcome.status is Status.OK:
            assert isinstance(outcome.body, FoundNodes)
            candidate.standing = Standing.ANSWERED
            self._candidates.hear(self._usable(outcome.body.contacts, node_id), self._own_id)
        else:
            candidate.standing = Standing.FAILED
        self._advance(now)

    def closest(self) -> list[Contact]:
        """Up to `count` nodes that answered, nearest first."""
        return [c.contact for c in self._candidates if c.standing is Standing.ANSWERED][: self.count]

    def _wanted(self) -> list[Candidate]:
        """The nearest that may still be part of the result, and as many behind them as there are late ones.

        A late peer holds nobody up: those behind it are asked in its place, however many are late.
        """
        wanted: list[Candidate] = []
        in_time = 0
        for candidate in self._candidates:
            if candidate.standing is Standing.FAILED:
                continue
            wanted.append(candidate)
            in_time += candidate.standing is not Standing.LATE
            if in_time == self.count:
                break
        return wanted

    def _advance(self, now: Now) -> None:
        if self.is_finished:
            return
        wanted = self._wanted()
        room = ALPHA - self._candidates.in_flight()
        for candidate in [c for c in wanted if c.standing is Standing.FRESH][: max(room, 0)]:
            candidate.standing = Standing.ASKED
            candidate.late_at = now.mono + candidate.expected_s
            body = FindNode(self.target)  # type: ignore[arg-type] # a node id is a point like any target
            self._asks.append(Ask(candidate.contact, Method.FIND_NODE, body, READ_TIMEOUT_S))
        self.is_finished = not any(c.standing in (Standing.FRESH, Standing.ASKED) for c in wanted)

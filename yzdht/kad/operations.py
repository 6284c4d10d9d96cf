"""Reads, writes and lookups under way: their requests, their answers, their timers.

Owns the numbers of operations and calls. An operation is a small machine of its own (`read`, `write`, `lookup`); this
module sends what it asks, asks this node itself where it is among the nearest, and tells when it has a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.due_times import DueTimes
from yzdht.errors import StoreError
from yzdht.kad.holder import Refused, status_of
from yzdht.kad.lookup import Lookup
from yzdht.kad.offer import Offer
from yzdht.kad.read import Read
from yzdht.kad.write import Write
from yzdht.rpc.engine import Answer, Call, Cancel, Failed, FailReason, Persist
from yzdht.wire.rpc import FindValue, FoundValue, Status, Store


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.kad.candidates import Ask
    from yzdht.kad.holder import Holder
    from yzdht.ports import Now
    from yzdht.rpc.engine import Outgoing
    from yzdht.wire.slot import Verdict


Operation = Read | Write | Lookup | Offer


@dataclass(slots=True)
class _Running:
    operation: Operation
    on_result: Callable[[Operation, Now], None]
    stored_by: NodeId | bytes
    is_reported: bool = False


@dataclass(frozen=True, slots=True)
class _Pending:
    """A call or a local write that an operation waits for."""

    number: int
    node_id: NodeId
    purpose: int


class Operations:
    """Runs operations.

    Args:
        own_id: This node, which is asked without a network.
        holder: Answers for this node.
        send: Takes what is to go out.

    """

    def __init__(self, own_id: NodeId, holder: Holder, send: Callable[[Outgoing], None]) -> None:
        self._own_id = own_id
        self._holder = holder
        self._send = send
        self._running: dict[int, _Running] = {}
        self._calls: dict[int, _Pending] = {}
        self._writes: dict[int, _Pending] = {}
        self._times: DueTimes[int] = DueTimes()
        self._last = 0

    def __len__(self) -> int:
        return len(self._running)

    def number(self) -> int:
        """A new number, for an operation, a call or a write of this engine."""
        self._last += 1
        return self._last

    def start(
        self,
        operation: Operation,
        on_result: Callable[[Operation, Now], None],
        now: Now,
        stored_by: NodeId | bytes = b"",
    ) -> None:
        """Run an operation; `on_result` is called once, when its result stands.

        Args:
            operation: A machine that was not started.
            on_result: May start other operations.
            now: The present.
            stored_by: Whose quota a record stored on this node counts against; empty for its own user.

        """
        number = self.number()
        self._running[number] = running = _Running(operation, on_result, stored_by)
        operation.start(now)
        self._settle(number, running, now)

    # Events

    def on_answer(self, call: int, outcome: Answer | Failed, now: Now) -> NodeId | None:
        """An answer came; the node it is from if the call was one of an operation."""
        pending = self._calls.pop(call, None)
        if pending is None:
            return None
        self._feed(pending, outcome, now)
        return pending.node_id

    def on_stored(self, op: int, verdict: Verdict, now: Now) -> bool:
        """A local write ended; True if it was one of an operation."""
        pending = self._writes.pop(op, None)
        if pending is None:
            return False
        self._feed(pending, Answer(*status_of(verdict)), now)
        return True

    def handle_timer(self, now: Now) -> None:
        """Wake the operations whose time has come."""
        while (number := self._times.take(now.mono)) is not None:
            running = self._running[number]
            running.operation.handle_timer(now)
            self._settle(number, running, now)

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return self._times.next()

    def stop(self, now: Now) -> None:
        """Fail whatever is under way; every operation reports its result."""
        while self._calls or self._writes:  # what fails may ask another in its place
            if self._calls:
                call, pending = self._calls.popitem()
                self._send(Cancel(call))
            else:
                _, pending = self._writes.popitem()
            self._feed(pending, Failed(FailReason.CLOSED), now)
        self._running.clear()
        self._times = DueTimes()

    # One operation

    def _feed(self, pending: _Pending, outcome: Answer | Failed, now: Now) -> None:
        running = self._running.get(pending.number)
        if running is None:
            return
        running.operation.on_answer(pending.node_id, pending.purpose, outcome, now)
        self._settle(pending.number, running, now)

    def _settle(self, number: int, running: _Running, now: Now) -> None:
        operation = running.operation
        while asks := operation.take_asks():
            for ask in asks:
                if ask.contact.node_id == self._own_id:
                    self._ask_self(number, running, ask, now)
                else:
                    self._ask(number, ask)
        if self._has_result(operation) and not running.is_reported:
            running.is_reported = True
            running.on_result(operation, now)
        if operation.is_finished:
            self._running.pop(number, None)
            self._times.forget(number)
        elif number in self._running:  # else all was stopped meanwhile
            self._times.set(number, operation.next_timer())

    @staticmethod
    def _has_result(operation: Operation) -> bool:
        if isinstance(operation, Lookup):
            return operation.is_finished
        return operation.result is not None

    def _ask(self, number: int, ask: Ask) -> None:
        call = self.number()
        self._calls[call] = _Pending(number, ask.contact.node_id, ask.purpose)
        self._send(Call(call, ask.contact, ask.method, ask.body, ask.deadline_s))

    def _ask_self(self, number: int, running: _Running, ask: Ask, now: Now) -> None:
        outcome: Answer | Failed | None
        try:
            outcome = self._answer_of_self(number, running, ask, now)
        except StoreError:
            outcome = Failed(FailReason.BUSY)  # this disk fails; the others are asked
        if outcome is not None:
            running.operation.on_answer(self._own_id, ask.purpose, outcome, now)

    def _answer_of_self(self, number: int, running: _Running, ask: Ask, now: Now) -> Answer | None:
        """What this node answers; None while the answer waits for the disk."""
        if isinstance(ask.body, FindValue):
            shown = self._holder.show(ask.body, ask.body.target, now.wall)
            return Answer(Status.OK, FoundValue(shown))
        assert isinstance(ask.body, Store)
        admitted = self._holder.admit(ask.body, running.stored_by, now)
        if isinstance(admitted, Refused):
            return Answer(admitted.status, admitted.detail)
        op = self.number()
        self._writes[op] = _Pending(number, self._own_id, ask.purpose)
        self._send(Persist(op, admitted))
        return None

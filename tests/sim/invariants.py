"""What must hold of every node at every moment, cheap enough to be looked at between two events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import DEPARTED_MAX, OPERATIONS_MAX, STORE_QUEUE_WRITES_MAX


if TYPE_CHECKING:
    from tests.sim.node import SimNode


_ERRANDS_MAX = 1_024
_DEFERRED_MAX = OPERATIONS_MAX
_ROUNDING_S = 1e-5
"""A clock that drifts rings late by less."""


def check_node(node: SimNode) -> None:
    """Check one node.

    Raises:
        AssertionError: Something does not hold; the message names the node.

    """
    if not node.is_up:
        return
    engine = node.engine
    assert not engine._outgoing, f"{node} keeps what it wants to send"
    assert len(engine._operations) <= OPERATIONS_MAX, f"{node} runs too many operations"
    assert len(engine._errands) <= _ERRANDS_MAX, f"{node} runs too many errands"
    assert len(engine._deferred) <= _DEFERRED_MAX, f"{node} defers too many operations"
    assert len(node.store._answers) <= STORE_QUEUE_WRITES_MAX, f"{node} has too many writes queued"
    _check_operations(node)
    _check_calls(node)
    _check_table(node)


def _check_operations(node: SimNode) -> None:
    """Whatever runs waits for a call, for the disk, or for a time: nothing runs for ever."""
    operations = node.engine._operations
    awaited = {pending.number for pending in operations._calls.values()}
    awaited.update(pending.number for pending in operations._writes.values())
    for number, running in operations._running.items():
        waits = number in awaited or number in operations._times
        assert waits, f"{node} runs {running.operation} that waits for nothing"


def _check_calls(node: SimNode) -> None:
    """Every call that the engine waits for is under way, so that every operation ends."""
    engine = node.engine
    awaited = engine._operations._calls.keys() | engine._errands.keys()
    is_carried = awaited <= node.carried() if node.world.is_connected else awaited == node.flights.keys()
    assert is_carried, f"{node} waits for calls that nobody carries"
    mono = node.now().mono - _ROUNDING_S
    for flight in node.flights.values():
        assert flight.sent_at + flight.call.deadline_s >= mono, f"{node} has an overdue call"


def _check_table(node: SimNode) -> None:
    table = node.engine.table
    assert table.get(node.node_id) is None, f"{node} knows itself"
    assert len(table._departed) <= DEPARTED_MAX, f"{node} remembers too many who left"
    for entry in table:
        assert table.get(entry.node_id) is entry, f"{node} has an entry under another id"
        assert entry.node_id not in table._departed, f"{node} has somebody who left"

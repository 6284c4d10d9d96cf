from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kad.kit import GONE, ORIGIN, at, candidates, node_id, nodes_answer, number_of, refuses, shows
from tests.sim.authors import NET, WALL, NullChecks, Pen
from yzdht.kad.holder import Holder
from yzdht.kad.lookup import Aim, Lookup
from yzdht.kad.operations import Operation, Operations
from yzdht.kad.quorum import quorum_of
from yzdht.kad.read import Plan, Read
from yzdht.kad.write import Write
from yzdht.limits import SOFT_DEADLINE_S_UNKNOWN
from yzdht.rpc.engine import Answer, Call, Cancel, Outgoing, Persist
from yzdht.store.memory import MemoryStore
from yzdht.wire.rpc import Empty, FoundValue, Method, Status, Store
from yzdht.wire.slot import StoreBroken, Stored


if TYPE_CHECKING:
    from yzdht.ports import Now


OWN = 50
NOTE = Pen(1).mutable("name", 5, b"value", created=WALL - 60)
STORED = Answer(Status.OK, Empty())


class Desk:
    """Operations of node 50, what they send and what they report."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.reports: list[Operation] = []
        self.store = MemoryStore(lambda _batch: None, lambda _run: None)
        self.checks = NullChecks(NET)
        self.operations = Operations(node_id(OWN), Holder(self.store, self.checks), self.sent.append)

    def start(self, operation: Operation, stored_by: bytes = b"") -> Operation:
        self.operations.start(operation, self._report, at(0.0), stored_by)
        return operation

    def _report(self, operation: Operation, _now: Now) -> None:
        self.reports.append(operation)

    def read(self, *known: int, own: bool = False) -> Operation:
        them = candidates(*known, own=OWN if own else None)
        quorum = quorum_of(len(known) + own)
        return self.start(Read(Plan(NOTE.target, quorum), them, node_id(OWN), self.checks, lambda _c, _n: []))

    def write(self, *known: int, own: bool = False) -> Operation:
        them = candidates(*known, own=OWN if own else None)
        return self.start(Write(NOTE.draft(), quorum_of(len(known) + own), them))

    def lookup(self, *known: int) -> Operation:
        return self.start(Lookup(Aim(ORIGIN, 3), candidates(*known), node_id(OWN), lambda _c, _n: []))

    def calls(self) -> dict[int, Call]:
        return {number_of(item.contact): item for item in self.sent if isinstance(item, Call)}

    def persists(self) -> list[Persist]:
        return [item for item in self.sent if isinstance(item, Persist)]

    def answer(self, number: int, outcome: Answer) -> None:
        self.operations.on_answer(self.calls()[number].call, outcome, at(0.1))


def test_every_call_has_a_number_of_its_own() -> None:
    desk = Desk()
    desk.read(1, 2, 3)
    desk.read(1, 2, 3)
    desk.lookup(1, 2, 3)
    numbers = [item.call for item in desk.sent if isinstance(item, Call)]

    assert len(numbers) == len(set(numbers)) == 3 + 3 + 3


def test_a_result_is_reported_once_and_late_answers_are_still_taken() -> None:
    desk = Desk()
    write = desk.write(1, 2, 3)
    for number in (1, 2):
        desk.answer(number, STORED)
    assert desk.reports == [write]
    assert len(desk.operations) == 1
    desk.answer(3, STORED)

    assert desk.reports == [write]
    assert len(desk.operations) == 0


def test_an_answer_says_whom_it_is_from() -> None:
    desk = Desk()
    desk.lookup(1)
    call = desk.calls()[1].call

    assert desk.operations.on_answer(call, nodes_answer(), at(0.1)) == node_id(1)
    assert desk.operations.on_answer(call, nodes_answer(), at(0.1)) is None
    assert desk.operations.on_answer(12_345, nodes_answer(), at(0.1)) is None


def test_this_node_is_asked_without_a_network() -> None:
    desk = Desk()
    desk.read(own=True)

    assert desk.sent == []
    (read,) = desk.reports
    assert isinstance(read, Read)
    assert read.result is not None
    assert (read.result.answered, read.result.asked) == (1, 1)


def test_this_node_stores_through_its_own_tests() -> None:
    desk = Desk()
    desk.write(own=True)
    (persist,) = desk.persists()
    assert persist.write.is_pinned
    assert desk.reports == []
    assert desk.operations.on_stored(persist.op, Stored(), at(0.1))

    assert len(desk.reports) == 1
    assert not desk.operations.on_stored(persist.op, Stored(), at(0.1))


def test_what_this_node_refuses_is_an_answer_like_any_other() -> None:
    desk = Desk()
    newer = Pen(1).mutable("name", 6)
    admitted = Holder(desk.store, desk.checks).admit(Store(newer.target, newer.raw), b"", at(0.0))
    desk.store.submit(1, admitted)  # type: ignore[arg-type] # it is admitted
    write = desk.write(own=True)

    assert isinstance(write, Write)
    assert write.result is not None
    assert write.result.refusal is Status.SEQ_TOO_LOW


def test_an_operation_is_woken_when_its_next_node_is_late() -> None:
    desk = Desk()
    desk.lookup(1, 2, 3, 4)
    assert sorted(desk.calls()) == [1, 2, 3]
    assert desk.operations.next_timer() == SOFT_DEADLINE_S_UNKNOWN
    desk.operations.handle_timer(at(SOFT_DEADLINE_S_UNKNOWN))

    assert sorted(desk.calls()) == [1, 2, 3, 4]


def test_nothing_wakes_a_finished_operation() -> None:
    desk = Desk()
    desk.lookup(1)
    desk.answer(1, nodes_answer())

    assert desk.operations.next_timer() is None
    assert len(desk.operations) == 0


def test_a_late_holder_is_repaired_after_the_report() -> None:
    desk = Desk()
    desk.read(1, 2)
    desk.answer(1, shows(NOTE.raw))
    assert desk.reports == []
    desk.operations.handle_timer(at(SOFT_DEADLINE_S_UNKNOWN))
    assert len(desk.reports) == 1
    desk.answer(2, Answer(Status.OK, FoundValue()))

    assert [c.method for c in desk.sent if isinstance(c, Call)].count(Method.STORE) == 1


def test_stop_reports_every_operation_and_cancels_every_call() -> None:
    desk = Desk()
    started = [desk.read(1, 2, 3), desk.write(1, 2, 3, own=True), desk.lookup(1, 2, 3, 4, 5)]
    desk.operations.stop(at(1.0))

    assert sorted(map(id, desk.reports)) == sorted(map(id, started))
    assert len(desk.operations) == 0
    called = {item.call for item in desk.sent if isinstance(item, Call)}
    assert called == {item.call for item in desk.sent if isinstance(item, Cancel)}


def test_stop_leaves_nothing_behind_that_starts_when_a_local_write_ends() -> None:
    desk = Desk()
    write = desk.write(*range(43, 50), 60, own=True)
    for number in (43, 44, 45, 46):
        desk.answer(number, STORED)
    for number in (47, 48, 49):
        desk.answer(number, refuses(Status.SEQ_TOO_LOW, 9, bytes(32)))
    assert desk.reports == []
    desk.operations.stop(at(1.0))

    assert desk.reports == [write]
    assert len(desk.operations) == 0
    assert Cancel(desk.calls()[60].call) in desk.sent


def test_what_an_operation_starts_when_it_is_reported_runs() -> None:
    desk = Desk()

    def again(_operation: Operation, now: Now) -> None:
        lookup = Lookup(Aim(ORIGIN, 1), candidates(9), node_id(OWN), lambda _c, _n: [])
        desk.operations.start(lookup, desk._report, now)

    first = Lookup(Aim(ORIGIN, 1), candidates(1), node_id(OWN), lambda _c, _n: [])
    desk.operations.start(first, again, at(0.0))
    desk.answer(1, refuses(Status.BUSY))
    desk.answer(9, nodes_answer())

    assert len(desk.reports) == 1


def test_a_local_write_that_the_disk_refuses_is_replaced() -> None:
    desk = Desk()
    desk.write(*range(43, 50), 60, own=True)
    (persist,) = desk.persists()
    assert 60 not in desk.calls()
    desk.operations.on_stored(persist.op, StoreBroken(), at(0.1))

    assert 60 in desk.calls()


def test_a_call_that_fails_is_an_answer_too() -> None:
    desk = Desk()
    desk.lookup(1)
    desk.operations.on_answer(desk.calls()[1].call, GONE, at(3.0))

    assert len(desk.reports) == 1

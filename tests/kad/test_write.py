from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kad.kit import GONE, TIMEOUT, asked, at, candidates, node_id, number_of, refuses
from tests.sim.authors import WALL, Pen
from yzdht.kad.quorum import quorum_of
from yzdht.kad.write import Draft, Write, WriteResult
from yzdht.limits import DAY_S, RESTORED_LIFE_S, SOFT_DEADLINE_S_UNKNOWN, STORE_EXTRA_S
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.rpc import Empty, Method, Refusal, Status, Store


if TYPE_CHECKING:
    from collections.abc import Mapping

    from yzdht.kad.candidates import Ask


NOTE = Pen(1).mutable("name", 5, b"value")
BEFORE = Pen(1).mutable("name", 4, b"before")
DRAFT = NOTE.draft()
CAS = Draft(NOTE.target, NOTE.raw, 4, 0, BEFORE.raw)
STORED = Answer(Status.OK, Empty())
LATE = SOFT_DEADLINE_S_UNKNOWN + STORE_EXTRA_S


class Writing:
    """A write under way; nodes are numbers, nearest first."""

    def __init__(self, draft: Draft = DRAFT, n: int = 8, known: int = 12) -> None:
        self.write = Write(draft, quorum_of(n), candidates(*range(1, known + 1)))
        self.mono = 0.0
        self.write.start(at(0.0))

    def asks(self) -> list[Ask]:
        return self.write.take_asks()

    def hear(self, number: int, outcome: Answer | Failed = STORED, purpose: int = 0) -> None:
        self.write.on_answer(node_id(number), purpose, outcome, at(self.mono))

    def run(self, outcomes: Mapping[int, Answer | Failed]) -> list[Ask]:
        """Answer everything that is asked until nothing is; a node that is not named stores."""
        everything: list[Ask] = []
        while asks := self.asks():
            everything += asks
            for ask in asks:
                number = number_of(ask.contact)
                self.hear(number, outcomes.get(number, STORED), ask.purpose)
        return everything

    def let_be_late(self) -> None:
        timer = self.write.next_timer()
        assert timer is not None
        self.mono = timer
        self.write.handle_timer(at(timer))

    @property
    def is_finished(self) -> bool:
        return self.write.is_finished

    @property
    def result(self) -> WriteResult:
        assert self.write.result is not None
        return self.write.result


def test_all_n_are_asked_at_once() -> None:
    asks = Writing().asks()

    assert asked(asks) == list(range(1, 9))
    assert {ask.method for ask in asks} == {Method.STORE}
    assert {ask.body for ask in asks} == {Store(NOTE.target, NOTE.raw, None, 0)}


def test_a_write_ends_at_w_and_the_others_go_on() -> None:
    writing = Writing()
    writing.asks()
    for number in (1, 2, 3, 4):
        writing.hear(number)
    assert writing.write.result is None
    writing.hear(5)

    assert writing.result == WriteResult(5, 8, 5, Status.OK, Refusal())
    for number in (6, 7, 8):
        assert not writing.write.is_finished
        writing.hear(number, GONE)
    assert asked(writing.asks()) == [9, 10, 11]  # in the end n hold it
    for number in (9, 10, 11):
        writing.hear(number)
    assert writing.is_finished


def test_a_failed_node_is_replaced_by_the_next_nearest() -> None:
    writing = Writing()
    writing.asks()
    writing.hear(3, GONE)
    writing.hear(4, refuses(Status.BUSY))

    assert asked(writing.asks()) == [9, 10]


def test_a_late_node_is_replaced_and_its_answer_counts() -> None:
    writing = Writing()
    writing.asks()
    for number in (2, 3, 4, 5):
        writing.hear(number)
    writing.let_be_late()
    assert writing.mono == LATE
    assert asked(writing.asks()) == [9, 10, 11, 12]
    writing.hear(1)

    assert writing.result.accepted == 5


def test_a_write_that_reaches_too_few_names_the_counts() -> None:
    writing = Writing(known=8)
    writing.run(dict.fromkeys((1, 2, 3, 4), GONE))

    assert writing.result == WriteResult(4, 8, 5, Status.OK, Refusal())


def test_a_write_among_nobody_names_the_counts() -> None:
    assert Writing(n=0, known=0).result == WriteResult(0, 0, 1, Status.OK, Refusal())


def test_the_commonest_refusal_is_named_with_its_body() -> None:
    writing = Writing(known=8)
    higher = refuses(Status.SEQ_TOO_LOW, 9, bytes(32))
    writing.run(dict.fromkeys((1, 2, 3), higher) | {4: refuses(Status.BAD_LIFETIME, 77)})

    assert writing.result == WriteResult(0, 8, 5, Status.SEQ_TOO_LOW, Refusal(9, bytes(32)))


def test_a_write_that_cannot_reach_w_any_more_is_not_waited_for() -> None:
    writing = Writing()
    writing.asks()
    for number in (1, 2, 3, 4):
        writing.hear(number, refuses(Status.SEQ_TOO_LOW, 9, bytes(32)))

    assert writing.result.refusal is Status.SEQ_TOO_LOW


@pytest.mark.parametrize("status", [Status.SEQ_TOO_LOW, Status.EQUIVOCATION, Status.BAD_SIGNATURE])
def test_a_refusal_of_the_record_replaces_nobody(status: Status) -> None:
    writing = Writing()
    writing.asks()
    writing.hear(1, refuses(status))

    assert writing.asks() == []


@pytest.mark.parametrize(
    "status", [Status.RATE_LIMITED, Status.OVER_QUOTA, Status.BUSY, Status.REFUSED, Status.UNKNOWN_METHOD]
)
def test_a_refusal_of_the_holder_asks_the_next_nearest(status: Status) -> None:
    writing = Writing()
    writing.asks()
    writing.hear(1, refuses(status))

    assert asked(writing.asks()) == [9]


def test_no_more_than_four_times_eight_are_asked() -> None:
    writing = Writing(known=40)

    assert len(writing.run(dict.fromkeys(range(1, 41), GONE))) == 32
    assert writing.result.accepted == 0


# With cas


def test_a_write_with_cas_asks_the_nearest_first() -> None:
    writing = Writing(CAS)
    assert asked(writing.asks()) == [1]
    writing.hear(1)

    assert asked(writing.asks()) == [2, 3, 4, 5, 6, 7, 8]


def test_the_loser_of_a_race_leaves_its_record_nowhere() -> None:
    writing = Writing(CAS)
    writing.asks()
    writing.hear(1, refuses(Status.CAS_MISMATCH, 5, bytes(32)))

    assert writing.asks() == []
    assert writing.result == WriteResult(0, 8, 5, Status.CAS_MISMATCH, Refusal(5, bytes(32)))


def test_a_write_with_cas_goes_on_when_the_nearest_is_gone() -> None:
    writing = Writing(CAS)
    writing.asks()
    writing.hear(1, GONE)
    assert asked(writing.asks()) == [2]


def test_a_write_with_cas_replaces_nobody() -> None:
    writing = Writing(CAS)
    everything = writing.run(dict.fromkeys((1, 2, 3, 4), TIMEOUT))

    assert asked(everything) == list(range(1, 9))
    assert writing.result == WriteResult(4, 8, 5, Status.OK, Refusal())


def test_a_holder_with_nothing_is_given_what_the_writer_read_and_asked_again() -> None:
    writing = Writing(CAS)
    writing.asks()
    writing.hear(1, refuses(Status.CAS_MISMATCH))
    (restore,) = writing.asks()
    assert restore.body == Store(NOTE.target, BEFORE.raw, None, 0)
    writing.hear(1, STORED, restore.purpose)
    (again,) = writing.asks()
    assert again.body == Store(NOTE.target, NOTE.raw, 4, 0)
    writing.hear(1, STORED, again.purpose)

    assert len(writing.asks()) == 7


def test_a_holder_that_lags_is_given_what_the_writer_read_too() -> None:
    writing = Writing(CAS)
    writing.asks()
    writing.hear(1, refuses(Status.CAS_MISMATCH, 3, bytes(32)))
    (restore,) = writing.asks()

    assert restore.body == Store(NOTE.target, BEFORE.raw, None, 0)


def test_a_move_record_that_is_restored_is_kept_no_longer_than_it_takes() -> None:
    note, before = (Pen(1).move(seq) for seq in (5, 4))
    end = WALL + 3 * DAY_S
    writing = Writing(Draft(note.target, note.raw, 4, end, before.raw))
    (first,) = writing.asks()
    writing.hear(1, refuses(Status.CAS_MISMATCH), first.purpose)
    (restore,) = writing.asks()

    assert first.body == Store(note.target, note.raw, 4, end)
    assert restore.body == Store(note.target, before.raw, None, WALL + RESTORED_LIFE_S)


def test_a_holder_is_repaired_once() -> None:
    writing = Writing(CAS)
    everything = writing.run({1: refuses(Status.CAS_MISMATCH)})

    assert asked(everything) == [1, 1, 1]
    assert writing.result.refusal is Status.CAS_MISMATCH


def test_a_holder_with_something_newer_is_not_repaired() -> None:
    writing = Writing(CAS)
    everything = writing.run({1: refuses(Status.CAS_MISMATCH, 7, bytes(32))})

    assert asked(everything) == [1]


def test_a_new_name_with_cas_zero_has_nothing_to_repair() -> None:
    writing = Writing(NOTE.draft(cas=0))
    everything = writing.run({1: refuses(Status.CAS_MISMATCH, 7, bytes(32))})

    assert asked(everything) == [1]


def test_answers_that_nobody_waits_for_are_ignored() -> None:
    writing = Writing()
    writing.asks()
    for number in (1, 1, 1, 1, 1, 50):
        writing.hear(number)

    assert writing.write.result is None

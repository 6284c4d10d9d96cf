from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.pubsub.kit_feed import at
from yzdht.pubsub.alarms import Alarms


if TYPE_CHECKING:
    from yzdht.ports import Now


@dataclass(eq=False)
class Clockwork:
    """Something with a time, which ends when that has come."""

    due: float | None
    alarms: Alarms
    rung: list[float] = field(default_factory=list)
    ends: Clockwork | None = None

    def next_timer(self) -> float | None:
        return self.due

    def handle_timer(self, now: Now) -> None:
        self.rung.append(now.mono)
        self.due = None
        if self.ends is not None:
            self.alarms.forget(self.ends)


def test_who_is_due_is_looked_after_once_and_nobody_else() -> None:
    alarms = Alarms()
    early, late, never = (Clockwork(due, alarms) for due in (1.0, 2.0, None))
    for one in (late, early, never):
        alarms.add(one)
    assert alarms.next_timer() == 1.0

    alarms.ring(at(1.5))
    assert (early.rung, late.rung, alarms.next_timer()) == ([1.5], [], 2.0)
    alarms.ring(at(9))
    assert (early.rung, late.rung, never.rung, alarms.next_timer()) == ([1.5], [9], [], None)


def test_a_time_that_has_changed_counts_once_it_is_touched() -> None:
    alarms = Alarms()
    one = Clockwork(1.0, alarms)
    alarms.add(one)
    assert alarms.next_timer() == 1.0
    one.due = 5.0
    alarms.touch(one)
    assert alarms.next_timer() == 5.0
    one.due = 0.5
    alarms.touch(one)
    assert alarms.next_timer() == 0.5
    one.due = None
    alarms.touch(one)
    assert alarms.next_timer() is None


def test_whoever_was_forgotten_is_not_looked_after_though_it_is_touched() -> None:
    alarms = Alarms()
    one = Clockwork(1.0, alarms)
    alarms.add(one)
    alarms.forget(one)
    alarms.touch(one)
    alarms.ring(at(9))

    assert (one.rung, alarms.next_timer(), len(alarms)) == ([], None, 0)


def test_whoever_was_forgotten_in_the_same_turn_is_not_looked_after() -> None:
    alarms = Alarms()
    victim = Clockwork(2.0, alarms)
    alarms.add(Clockwork(1.0, alarms, ends=victim))
    alarms.add(victim)
    alarms.ring(at(9))

    assert (victim.rung, alarms.next_timer()) == ([], None)


def test_times_that_are_out_of_date_are_not_kept() -> None:
    alarms = Alarms()
    one = Clockwork(1.0, alarms)
    alarms.add(one)
    for moment in range(10_000):
        one.due = 10_000.0 - moment % 2
        alarms.touch(one)
        assert alarms.next_timer() == one.due

    assert len(alarms._times._heap) < 100

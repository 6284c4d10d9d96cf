"""One slot of three devices of one person against a plain model, whatever they do and whatever the network does meanwhile.

Puts, deletes, writes with cas, races of two for cas, cuts and healing, hours, weeks and months, over real engines and stores, sealed
and signed for real; all clocks are wrong by minutes. What the model says:

* What was acknowledged is read afterwards, or something newer that was attempted, while no cut has been there or once
  it has been healed for some hours. During a cut and just after it only that which follows holds.
* Nobody reads what nobody wrote, what has expired, or something older than what the same device has read or written.
* Of writes with cas that expect the same record one succeeds at most, on whatever side of a cut.
* What was deleted or superseded does not come back, nor when a short value that was written over a long one has ended. A device
  that has seen the long one alone is then told that it is being hidden (StaleRecord) until that would have ended, too.
* An expired record is nothing for cas: 0 succeeds, its old seq does not.

The short form runs 15 stories, the long one 2,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import event, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.conftest import IS_SOAK
from tests.sim.node import SimRng
from tests.sim.world import World
from tests.sim.writers import Device, run
from yzdht.crypto.identity import IdentityKeys
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.sealing import Self
from yzdht.errors import (
    CasMismatch,
    Conflict,
    NotFound,
    ReadQuorumFailed,
    StaleRecord,
    WriteQuorumFailed,
    YzError,
)
from yzdht.limits import DAY_S, HOUR_S
from yzdht.slot_writer import Receipt


if TYPE_CHECKING:
    from collections.abc import Coroutine

    from yzdht.records import Value


NODES = 10
NAME = "slot"
UNSURE_S = 1_200.0
"""Longer than two clocks and CLOCK_SKEW_S make the end of a record unsure."""
MERGED_S = 3 * HOUR_S
CUT_S_MAX = 12 * HOUR_S
"""A write with cas remembers those who are gone for a day."""
STORIES = 2_000 if IS_SOAK else 15
STEPS = 30 if IS_SOAK else 15
DEVICES = st.integers(0, 2)
LIVES_S = st.sampled_from((DAY_S, 10 * DAY_S, 30 * DAY_S))
WRITE_FAILS = (WriteQuorumFailed, ReadQuorumFailed, Conflict, CasMismatch, StaleRecord)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One record that a device tried to store."""

    seq: int
    value: bytes | None
    expires: int


class ThreeWriters(RuleBasedStateMachine):
    """The model, and the network beside it."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World(seed, is_signed=True, is_connected=False)
        self.world.spoil_clocks()
        nodes = self.world.add_converged(NODES)
        rng = SimRng(f"{seed}/devices")
        signing = PrivateKey.from_scalar(b"\1" * 31 + rng.token(1))
        identity = IdentityKeys(signing, (), rng.token(32))
        self.devices = [Device(node, identity, rng) for node in self.world.random.sample(nodes, 3)]
        self.count = 0
        self.attempts: list[Attempt] = []
        self.floor: Attempt | None = None
        self.known: list[Attempt | None] = [None, None, None]
        self.cas_won: dict[int, list[Attempt]] = {}
        self.cut_at: float | None = None

    # What the model knows

    @property
    def wall(self) -> float:
        return self.world.now.wall

    @property
    def is_whole(self) -> bool:
        return self.cut_at is None

    def is_live(self, attempt: Attempt) -> bool:
        """Surely, whatever clock one looks at."""
        return attempt.expires - UNSURE_S > self.wall

    def is_gone(self, attempt: Attempt) -> bool:
        return attempt.expires + UNSURE_S < self.wall

    def may_be_outlived(self, attempt: Attempt) -> bool:
        """True if something newer that has expired may have taken its place: also what nobody was told to be stored."""
        return any(a.seq > attempt.seq and self.is_gone(a) for a in self.attempts)

    def is_missed(self, number: int) -> bool:
        """True if a device knows a value that would live yet, had not something shorter been written over it since."""
        known = self.known[number]
        if known is None or known.value is None or self.is_gone(known):
            return False
        return self.may_be_outlived(known)

    @property
    def is_nothing_left(self) -> bool:
        """True if the newest has expired: a tombstone beneath it may live on, and is not stored any more."""
        least_seq = 0 if self.floor is None else self.floor.seq
        return all(self.is_gone(attempt) for attempt in self.attempts if attempt.seq >= least_seq)

    def take(self, number: int, value: bytes | None, outcome: Any) -> Attempt | None:
        """Enter what a device has tried, and what it was told; the attempt that was acknowledged."""
        access = self.devices[number].access
        tried = [Attempt(record.seq, value, record.expires) for record, _ in access.written]
        access.written.clear()
        self.attempts += tried
        if not isinstance(outcome, Receipt):
            assert isinstance(outcome, YzError), outcome
            return None
        [done] = {attempt for attempt in tried if attempt.seq == outcome.seq}
        if self.floor is None or done.seq > self.floor.seq or self.is_gone(self.floor):
            self.floor = done
        assert self.known[number] is None or done.seq > self.known[number].seq  # type: ignore[union-attr] # just tested
        self.known[number] = done
        return done

    def new_value(self) -> bytes:
        self.count += 1
        return b"value %d" % self.count

    def do(self, *works: Coroutine[Any, Any, Any]) -> list[Any]:
        return run(self.world, *works)

    # Writing

    def store(
        self, number: int, value: bytes, life_s: int, if_seq: int | None = None
    ) -> Coroutine[Any, Any, Receipt]:
        return self.devices[number].records.store(NAME, value, Self(), ttl=life_s, if_seq=if_seq)

    @rule(number=DEVICES, life_s=LIVES_S)
    def put(self, number: int, life_s: int) -> None:
        value = self.new_value()
        [outcome] = self.do(self.store(number, value, life_s))
        done = self.take(number, value, outcome)
        assert done is not None or not self.is_whole, outcome

    @rule(number=DEVICES)
    def delete(self, number: int) -> None:
        [outcome] = self.do(self.devices[number].records.delete(NAME))
        if isinstance(outcome, NotFound):
            assert not self.devices[number].access.written
            self.check_nothing(number)
            return
        if isinstance(outcome, list):
            [outcome] = outcome
        done = self.take(number, None, outcome)
        assert done is not None or not self.is_whole, outcome

    def expected(self, number: int, *, is_old: bool) -> int:
        """What a writer with cas expects: what it has seen last, or nothing."""
        known = self.known[number]
        return known.seq if known is not None and not is_old else 0

    @rule(number=DEVICES, life_s=LIVES_S, is_old=st.booleans())
    def swap(self, number: int, life_s: int, *, is_old: bool) -> None:
        if_seq = self.expected(number, is_old=is_old)
        floor, left = self.floor, self.is_nothing_left
        outlived = floor is not None and self.may_be_outlived(floor)
        value = self.new_value()
        [outcome] = self.do(self.store(number, value, life_s, if_seq))
        self.judge_cas(number, value, if_seq, outcome)
        if not self.is_whole:
            return
        if left:
            event("cas where all has expired")
            assert isinstance(outcome, Receipt if if_seq == 0 else CasMismatch), (if_seq, outcome)
        elif floor is not None and self.is_live(floor) and if_seq < floor.seq and not outlived:
            assert isinstance(outcome, CasMismatch), (if_seq, floor, outcome)

    @rule(one=DEVICES, other=DEVICES, life_s=LIVES_S, is_old=st.booleans())
    def race(self, one: int, other: int, life_s: int, *, is_old: bool) -> None:
        """Two devices that expect the same record, at the same time."""
        if one == other:
            return
        if_seq = self.expected(one, is_old=is_old)
        values = self.new_value(), self.new_value()
        outcomes = self.do(
            self.store(one, values[0], life_s, if_seq), self.store(other, values[1], life_s, if_seq)
        )
        event(f"race: {sum(isinstance(outcome, Receipt) for outcome in outcomes)} succeed")
        for number, value, outcome in zip((one, other), values, outcomes, strict=True):
            self.judge_cas(number, value, if_seq, outcome)

    def judge_cas(self, number: int, value: bytes, if_seq: int, outcome: Any) -> None:
        assert isinstance(outcome, (Receipt, *WRITE_FAILS)), outcome
        done = self.take(number, value, outcome)
        if done is None:
            return
        # Nothing is stored, once more, when all has expired: what was won for nothing, or what took its place.
        won = self.cas_won.get(if_seq, [])
        if not if_seq:
            won = [earlier for earlier in won if not (self.is_gone(earlier) or self.may_be_outlived(earlier))]
        assert not won, (if_seq, won, done)
        self.cas_won.setdefault(if_seq, []).append(done)

    # Reading

    @rule(number=DEVICES)
    def read(self, number: int) -> None:
        [outcome] = self.do(self.devices[number].records.get(NAME))
        if isinstance(outcome, NotFound):
            self.check_nothing(number)
        elif isinstance(outcome, YzError):
            assert isinstance(outcome, ReadQuorumFailed | StaleRecord), outcome
            if self.is_whole:
                event("a value is missed over which a shorter one was written")
                assert isinstance(outcome, StaleRecord), outcome
                assert outcome.seq == 0, outcome
                assert self.is_missed(number), (self.known, self.floor)
        else:
            self.check_value(number, outcome)

    def check_value(self, number: int, value: Value) -> None:
        shown = Attempt(value.seq, value.data, value.expires)
        assert shown in self.attempts
        assert not self.is_gone(shown), shown
        known = self.known[number]
        assert known is None or shown.seq >= known.seq, (known, shown)
        if self.is_whole and self.floor is not None:
            assert shown.seq >= self.floor.seq, (self.floor, shown)
        self.known[number] = shown

    def check_nothing(self, number: int) -> None:
        """Nothing is read: nothing is there, or it was deleted, or nobody was told that it is there."""
        for least in (self.known[number], self.floor if self.is_whole else None):
            if least is None or least.value is None or not self.is_live(least) or self.may_be_outlived(least):
                continue
            assert any(a.value is None and a.seq >= least.seq for a in self.attempts), least

    # The network and the time

    @rule(seconds=st.sampled_from((1.0, 30.0, 600.0)))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        if self.cut_at is not None and self.world.now.mono + seconds > self.cut_at + CUT_S_MAX:
            self.heal()
        self.world.run_for(seconds)

    @precondition(lambda self: self.is_whole)
    @rule(days=st.sampled_from((1, 9, 31)))
    def doze(self, days: int) -> None:
        """Every machine sleeps; what is about to expire as they wake is waited for."""
        self.world.run_for(60)
        self.world.doze(days * DAY_S)
        while any(not self.is_live(a) and not self.is_gone(a) for a in self.attempts):
            self.world.doze(UNSURE_S)
        self.world.run_for(60)

    @precondition(lambda self: self.is_whole)
    @rule(share=st.integers(1, NODES // 2), seconds=st.sampled_from((0.0, 60.0, HOUR_S)))
    def cut(self, share: int, seconds: float) -> None:
        self.world.run_for(30)  # what goes on behind an acknowledgement
        self.world.partition(self.world.random.sample(self.world.nodes, share))
        self.cut_at = self.world.now.mono
        self.world.run_for(seconds)

    @precondition(lambda self: not self.is_whole)
    @rule()
    def heal(self) -> None:
        self.world.heal()
        self.world.run_for(MERGED_S)
        self.cut_at = None

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        if not self.is_whole:
            self.heal()
        for number in range(3):
            self.read(number)


TestThreeWriters = ThreeWriters.TestCase
TestThreeWriters.settings = settings(max_examples=STORIES, stateful_step_count=STEPS, deadline=None)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=3)
def test_a_value_that_ended_before_the_tombstone_beneath_it_is_nothing_for_cas(seed: int) -> None:
    """Chance rarely tells this story."""
    story = ThreeWriters()
    story.begin(seed)
    story.put(0, DAY_S)
    story.delete(0)
    story.put(1, DAY_S)
    story.doze(9)

    assert story.is_nothing_left
    assert any(story.is_live(attempt) for attempt in story.attempts)
    story.swap(2, DAY_S, is_old=True)
    assert story.known[2] is not None
    story.teardown()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=3)
def test_a_long_value_does_not_come_back_when_a_shorter_one_over_it_has_ended(seed: int) -> None:
    story = ThreeWriters()
    story.begin(seed)
    story.put(0, 30 * DAY_S)
    story.put(1, DAY_S)
    story.doze(9)

    assert story.is_missed(0)
    for number in range(3):
        story.read(number)

"""A lookup against a plain model: who was named, by whom, who was asked, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.kad.kit import GONE, ORIGIN, TIMEOUT, asked, at, contact, entry, node_id, number_of, refuses
from yzdht.kad.candidates import Candidate, Candidates
from yzdht.kad.lookup import Aim, Lookup
from yzdht.limits import ALPHA, CONTACTS_PER_ANSWER_MAX, DOUBTED_AFTER, IN_FLIGHT_MAX
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.wire.rpc import FoundNodes, Status, WireContact


pytestmark = pytest.mark.timeout(600)  # to shrink a failure takes minutes

NODES = range(1, 61)
"""Their numbers are their distances to the target; the even ones never answer."""

OWN = 7
DEAD = frozenset(n for n in NODES if n % 2 == 0)
ASKS_MAX = 2

PICKS = st.integers(0, 1 << 16)
SOME = st.integers(0, (1 << len(NODES)) - 1).map(lambda bits: [n for n in NODES if bits >> n - 1 & 1])
NAMED: st.SearchStrategy[list[int]] = st.one_of(
    SOME, SOME.map(lambda ns: [n for n in ns if n in DEAD]), st.just(sorted(DEAD)), st.just([])
)
OTHERS = st.sampled_from([n for n in NODES if n != OWN])
MANY = 2 * ALPHA + 4
"""So many that every bound on what is in flight can be met."""

KNOWN = st.one_of(st.sets(OTHERS, max_size=24), st.sets(OTHERS, min_size=MANY, max_size=40))
EXPECTED_S = st.sampled_from((0.05, 0.1, 0.25))
WANTED = (1, 3, ALPHA, ALPHA + 4, MANY)
"""More than ALPHA too: there nothing but the bounds keeps a lookup from asking all of them at once."""

OVERLOADED = Failed(FailReason.BUSY)
"""This node has no room for the request; `Status.BUSY` is the peer's answer that it has none."""

BLAMED = (TIMEOUT, TIMEOUT, GONE, Failed(FailReason.WRONG_ID))
"""Failures that speak against whoever named the node."""

EXCUSED = (
    OVERLOADED,
    refuses(Status.BUSY),
    refuses(Status.UNKNOWN_METHOD),
    Failed(FailReason.CLOSED),
    Failed(FailReason.GARBAGE),
)
"""Failures of nodes that live, or of which nothing is known."""


@dataclass
class Node:
    """What the model knows of a node that the lookup has heard of."""

    expected_s: float
    namer: int | None = None
    standing: str = "fresh"
    late_at: float = 0.0
    asks: int = 0
    waiting: int = 0
    was_silent: bool = False


class AnyLookup(RuleBasedStateMachine):
    """Answers and failures come in any order, in time or late; what holds is counted afresh each time."""

    def __init__(self) -> None:
        super().__init__()
        self.mono = 1.0
        self.nodes: dict[int, Node] = {}
        self.dead_of: dict[int, int] = {}
        self.truthful: set[int] = set()

    # What the model knows

    def standing(self, *standings: str) -> list[int]:
        return [n for n in sorted(self.nodes) if self.nodes[n].standing in standings]

    def is_of_a_liar(self, number: int) -> bool:
        namer = self.nodes[number].namer
        if namer is None or namer in self.truthful:
            return False
        return self.dead_of.get(namer, 0) >= DOUBTED_AFTER

    def is_doubted(self, number: int) -> bool:
        return self.nodes[number].standing == "fresh" and self.is_of_a_liar(number)

    def needed(self) -> list[int]:
        hopeful = [n for n in self.standing("fresh", "asked", "answered") if not self.is_doubted(n)]
        return hopeful[: self.aim.wanted]

    def is_silent(self, number: int) -> bool:
        node = self.nodes[number]
        return node.standing == "late" or (node.standing == "failed" and node.was_silent)

    def has_enough(self) -> bool:
        """True once nothing is left to wait for but the silent."""
        standings = [self.nodes[n].standing for n in self.needed()]
        if "fresh" in standings:
            return False
        need = self.aim.need
        return "asked" not in standings or (need is not None and standings.count("answered") >= need)

    def blame(self, node: Node) -> None:
        if node.namer is not None:
            self.dead_of[node.namer] = self.dead_of.get(node.namer, 0) + 1

    def picked(self, pick: int) -> int:
        waiting = self.standing("asked", "late")
        return waiting[pick % len(waiting)]

    # What happens

    @initialize(
        known=KNOWN,
        wanted=st.sampled_from(WANTED),
        need=st.sampled_from((None, None, 1, 4, ALPHA + 2)),
        is_far=st.booleans(),
        expected_s=st.lists(EXPECTED_S, min_size=3, max_size=3),
    )
    def begin(
        self, known: set[int], wanted: int, need: int | None, expected_s: list[float], *, is_far: bool
    ) -> None:
        entries = [entry(n, has_session=True, expected_s=expected_s[n % 3]) for n in sorted(known)]
        self.nodes = {n: Node(expected_s[n % 3]) for n in known}
        self.aim = Aim(ORIGIN, wanted, need if need is None else min(need, wanted), is_far)
        self.candidates = Candidates(ORIGIN, entries)
        self.lookup = Lookup(
            self.aim,
            self.candidates,
            node_id(OWN),
            lambda contacts, _namer: [contact(int.from_bytes(c.public_key[1:])) for c in contacts],
        )
        self.lookup.start(at(self.mono))
        self.settle(was_finished=False)

    @precondition(lambda self: not DEAD.issuperset(self.standing("asked", "late")))
    @rule(pick=PICKS, named=NAMED)
    def one_answers(self, pick: int, named: list[int]) -> None:
        waiting = [n for n in self.standing("asked", "late") if n not in DEAD]
        self.answer(waiting[pick % len(waiting)], named)

    @precondition(lambda self: not DEAD.issuperset(self.standing("late")))
    @rule(pick=PICKS, named=NAMED)
    def one_answers_late(self, pick: int, named: list[int]) -> None:
        waiting = [n for n in self.standing("late") if n not in DEAD]
        self.answer(waiting[pick % len(waiting)], named)

    def answer(self, number: int, named: list[int]) -> None:
        node, was_finished = self.nodes[number], self.lookup.is_finished
        node.standing = "answered"
        node.waiting -= 1
        if node.namer is not None:
            self.truthful.add(node.namer)
        body = FoundNodes(tuple(WireContact(contact(n).public_key, (), 0) for n in named))
        self.lookup.on_answer(node_id(number), 0, Answer(Status.OK, body), at(self.mono))
        self.hear(named, number)
        self.settle(was_finished=was_finished)

    def hear(self, named: list[int], namer: int) -> None:
        """Whom the lookup has taken in, and on whose word."""
        known = {number_of(c.contact) for c in self.candidates}
        expected = [n for n in named if n not in self.nodes and n != OWN][:CONTACTS_PER_ANSWER_MAX]
        assert known - set(self.nodes) == set(expected), "an answer adds at most 20, and never oneself"
        for number in named:
            if number in self.nodes and self.is_doubted(number):
                self.nodes[number].namer = namer
            if number in expected:
                self.nodes[number] = Node(self.candidate(number).expected_s, namer)
                if number == expected[-1] and len(expected) == CONTACTS_PER_ANSWER_MAX:
                    break

    def candidate(self, number: int) -> Candidate:
        found = self.candidates.get(node_id(number))
        assert found is not None
        return found

    @precondition(lambda self: self.standing("asked", "late"))
    @rule(pick=PICKS, outcome=st.sampled_from(BLAMED))
    def one_fails(self, pick: int, outcome: Answer | Failed) -> None:
        self.fail(self.picked(pick), outcome)

    @precondition(lambda self: self.standing("asked", "late"))
    @rule(pick=PICKS, outcome=st.sampled_from(EXCUSED))
    def one_is_busy_or_says_that_it_cannot(self, pick: int, outcome: Answer | Failed) -> None:
        self.fail(self.picked(pick), outcome)

    @precondition(lambda self: self.standing("asked"))
    @rule(outcome=st.sampled_from((GONE, refuses(Status.BUSY))))
    def all_that_are_in_flight_fail(self, outcome: Answer | Failed) -> None:
        for number in self.standing("asked"):
            self.fail(number, outcome)

    def fail(self, number: int, outcome: Answer | Failed) -> None:
        node, was_finished = self.nodes[number], self.lookup.is_finished
        node.waiting -= 1
        if node.waiting == 0:
            if node.standing == "asked" and outcome in BLAMED:
                self.blame(node)
            node.standing, node.was_silent = "failed", outcome is TIMEOUT
        self.lookup.on_answer(node_id(number), 0, outcome, at(self.mono))
        self.settle(was_finished=was_finished)

    @rule(pick=PICKS, named=NAMED)
    def one_answers_what_nobody_waits_for(self, pick: int, named: list[int]) -> None:
        waiting = self.standing("asked", "late")
        others = [n for n in NODES if n not in waiting]
        body = FoundNodes(tuple(WireContact(contact(n).public_key, (), 0) for n in named))
        number = others[pick % len(others)]
        self.lookup.on_answer(node_id(number), 0, Answer(Status.OK, body), at(self.mono))
        assert self.lookup.take_asks() == []

    @precondition(lambda self: not self.lookup.is_finished)
    @rule(share=st.sampled_from((0.5, 1.0, 1.0)))
    def time_passes(self, share: float) -> None:
        """Until the next one is late, or half as long."""
        timer = self.lookup.next_timer()
        assert timer is not None
        self.mono = timer if share == 1.0 else self.mono + share * (timer - self.mono)
        for number in self.standing("asked"):
            node = self.nodes[number]
            if node.late_at <= self.mono:
                node.standing = "late"
                self.blame(node)
        self.lookup.handle_timer(at(self.mono))
        self.settle(was_finished=False)

    # What it then does

    def settle(self, *, was_finished: bool) -> None:
        """Judge whom it asks now, and whether it ends."""
        asks = asked(self.lookup.take_asks())
        assert not (was_finished and asks), "who is finished asks nobody"
        assert len(set(asks)) == len(asks)
        again = [n for n in asks if self.nodes[n].asks]
        assert not (again and len(again) < len(asks)), "the silent are asked once nobody else is left"
        if again:
            self.judge_asked_again(again)
        for number in asks:
            self.ask(number)
        if asks and not again:
            needed = set(self.needed())
            assert sum(n in needed for n in self.standing("asked")) <= ALPHA
            assert len(self.standing("asked")) <= IN_FLIGHT_MAX
        if not was_finished:
            self.judge_end()

    def judge_asked_again(self, again: list[int]) -> None:
        assert self.aim.need is None, "only who wants the exact nearest asks twice"
        assert len(again) <= 2 * ALPHA
        assert self.has_enough()
        assert all(self.is_silent(n) and not self.is_of_a_liar(n) for n in again)

    def ask(self, number: int) -> None:
        assert number != OWN
        node = self.nodes[number]
        assert node.standing == "fresh" or node.asks
        assert not self.is_doubted(number)
        node.standing = "asked"
        node.asks += 1
        node.waiting += 1
        node.late_at = self.mono + node.expected_s

    def judge_end(self) -> None:
        if not self.lookup.is_finished:
            assert not self.has_enough(), "it ends as soon as it can"
            assert self.standing("asked"), "somebody is waited for"
            return
        assert self.has_enough()
        if self.aim.need is None:
            self.judge_result()

    def judge_result(self) -> None:
        """Whoever is nearer than the last of the exact result had every chance."""
        answered = self.standing("answered")[: self.aim.wanted]
        last = answered[-1] if len(answered) == self.aim.wanted else max(NODES) + 1
        for number in (n for n in self.nodes if n < last and n not in answered):
            node = self.nodes[number]
            assert node.standing in {"late", "failed"} or self.is_doubted(number)
            if self.is_silent(number):
                assert node.asks == ASKS_MAX or self.is_of_a_liar(number)

    # What always holds

    @invariant()
    def the_result_is_the_nearest_that_answered(self) -> None:
        answered = self.standing("answered")
        assert [number_of(c) for c in self.lookup.closest()] == answered[: self.aim.wanted]
        assert {number_of(c.contact) for c in self.candidates} == set(self.nodes)

    @invariant()
    def few_are_in_flight_and_nobody_is_asked_more_than_twice(self) -> None:
        in_flight = self.standing("asked")
        first = [n for n in in_flight if self.nodes[n].asks == 1]
        assert len(first) <= (IN_FLIGHT_MAX if self.aim.is_far else ALPHA)
        assert len(in_flight) - len(first) <= 2 * ALPHA
        assert all(node.asks <= ASKS_MAX for node in self.nodes.values())
        assert self.candidates.in_flight() == len(in_flight)

    @invariant()
    def the_next_timer_is_when_the_next_one_is_late(self) -> None:
        times = [self.nodes[n].late_at for n in self.standing("asked")]
        assert self.lookup.next_timer() == (None if self.lookup.is_finished else min(times))

    def teardown(self) -> None:
        """Even if nobody says anything any more it ends: with every timer somebody is late, twice at most."""
        if not self.nodes:
            return
        for _ in range(ASKS_MAX * len(self.nodes)):
            if self.lookup.is_finished:
                break
            self.time_passes(1.0)
        assert self.lookup.is_finished


TestAnyLookup = AnyLookup.TestCase
TestAnyLookup.settings = settings(stateful_step_count=30, deadline=None)

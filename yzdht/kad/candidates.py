"""Candidates of one operation, nearest first: who was asked, who is late, who answered, and whom to ask next.

Hearsay never displaces a node of one's own table in a small network: a contact that another node named counts only once
it has answered itself (PROTOCOL.md section 9), so a liar that names twenty dead neighbours of the target costs twenty
requests and changes no result. In a large network, where the target is approached step by step, a named contact is
waited for until it is late, and no longer once whoever named it has named only such as do not answer.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from enum import Enum, auto
from math import log2
from typing import TYPE_CHECKING

from yzdht.ids import ID_BYTES, Target
from yzdht.kad.crowds import Crowd
from yzdht.kad.strangers import Strangers
from yzdht.limits import (
    ALPHA,
    BUCKET_SIZE,
    CONTACTS_PER_ANSWER_MAX,
    DOUBTED_AFTER,
    IN_FLIGHT_MAX,
    LOOKUP_CANDIDATES_MAX,
    SOFT_DEADLINE_S_UNKNOWN,
)
from yzdht.rpc.engine import Failed, FailReason
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yzdht.ids import NodeId
    from yzdht.kad.table import Entry
    from yzdht.rpc.engine import Answer
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body, Method


_BITS_PER_HOP = log2(BUCKET_SIZE)
"""How much nearer one answer leads: the nearest of a bucket's nodes is that many bits nearer than they are."""


_GONE = frozenset({FailReason.UNREACHABLE, FailReason.TIMEOUT, FailReason.WRONG_ID})
"""Failures that say something of who named the node; that we are busy does not."""


class Standing(Enum):
    """What came of a candidate so far."""

    FRESH = auto()
    ASKED = auto()
    LATE = auto()
    ANSWERED = auto()
    FAILED = auto()


@dataclass(slots=True, eq=False)
class Candidate:
    """A node that an operation may ask.

    Attributes:
        contact: Who and where.
        distance: To the target.
        prefix: Its public prefix; None if it has none or is hearsay that has not answered.
        expected_s: Seconds within which it should answer.
        is_known: True if it is in one's own table, or oneself.
        namer: Who named it; None if it is known.
        standing: What came of it.
        asked_at: When it was asked.
        late_at: When it stops blocking its slot.
        asks: How often it was asked; a message can be lost.
        waiting: How many of these may still be answered.
        has_timed_out: True if it failed by saying nothing.

    """

    contact: Contact
    distance: int
    prefix: str | None
    expected_s: float
    is_known: bool = True
    namer: NodeId | None = None
    standing: Standing = Standing.FRESH
    asked_at: float = 0.0
    late_at: float = 0.0
    asks: int = 0
    waiting: int = 0
    has_timed_out: bool = False

    @property
    def node_id(self) -> NodeId:
        """Its id."""
        return self.contact.node_id

    @property
    def counts(self) -> bool:
        """True if it can be one of the n nearest: known and not failed, or hearsay that answered."""
        if self.is_known:
            return self.standing is not Standing.FAILED
        return self.standing is Standing.ANSWERED

    @property
    def has_failed(self) -> bool:
        """True if it did not answer, or not in time."""
        return self.standing in (Standing.FAILED, Standing.LATE)

    @property
    def is_open(self) -> bool:
        """True while its answer can still come."""
        return self.standing in (Standing.ASKED, Standing.LATE)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that an operation wants sent.

    Attributes:
        contact: To whom; this node itself is asked like any other.
        method: What.
        body: With what.
        deadline_s: Hard deadline.
        purpose: Handed back with the answer, for the operation's own use.

    """

    contact: Contact
    method: Method
    body: Body
    deadline_s: float
    purpose: int = 0


class Candidates:
    """Candidates around a target.

    Args:
        target: The point.
        entries: Nodes of the table, in any order.
        own: This node itself if it takes part.
        strangers: How long nodes outside the table take.
        claims: Which path asks whom, shared by disjoint paths: a node that one has asked is nothing to the others.

    Attributes:
        is_for_storage: True to take in no hearsay that keeps no records.
        crowd: Named nodes that are of it are not taken in.

    """

    def __init__(
        self,
        target: Target | NodeId,
        entries: Iterable[Entry],
        own: Contact | None = None,
        strangers: Strangers | None = None,
        claims: dict[NodeId, Candidates] | None = None,
    ) -> None:
        self._point = int.from_bytes(target)
        self._strangers = strangers or Strangers()
        self._claims = claims
        self.is_for_storage = False
        self.crowd = Crowd(0, 0)
        self._by_id: dict[NodeId, Candidate] = {}
        self._order: list[Candidate] = []
        self._dead_of: dict[NodeId, int] = {}
        self._truthful: set[NodeId] = set()
        stranger_s = self._strangers.expected_s
        for e in entries:
            expected_s = e.expected_s if e.has_session else max(e.expected_s, stranger_s)
            self._add(Candidate(e.contact(), e.point ^ self._point, e.prefix, expected_s))
        if own is not None:
            distance = int.from_bytes(own.node_id) ^ self._point
            self._add(Candidate(own, distance, None, SOFT_DEADLINE_S_UNKNOWN))
        self._order.sort(key=_by_distance)

    def _add(self, candidate: Candidate) -> None:
        self._by_id[candidate.node_id] = candidate
        self._order.append(candidate)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._order)

    def get(self, node_id: NodeId) -> Candidate | None:
        """The candidate of that id."""
        return self._by_id.get(node_id)

    def hear(self, contacts: Iterable[Contact], own_id: NodeId, namer: NodeId | None = None) -> int:
        """Take in contacts that an answer named; how many were new. An answer adds CONTACTS_PER_ANSWER_MAX at most."""
        added = 0
        for contact in contacts:
            if added >= CONTACTS_PER_ANSWER_MAX:
                break
            known = self._by_id.get(contact.node_id)
            if known is not None:
                if self._is_doubted(known):
                    known.namer = namer  # somebody else vouches for it
                continue
            if contact.node_id == own_id or not contact.urls:
                continue
            if (self.is_for_storage and not contact.caps & Caps.STORAGE) or self.crowd.holds(contact.node_id):
                continue
            distance = int.from_bytes(contact.node_id) ^ self._point
            if not self._make_room(distance):
                continue
            expected_s = self._strangers.expected_of(contact.node_id)
            candidate = Candidate(contact, distance, None, expected_s, is_known=False, namer=namer)
            self._by_id[contact.node_id] = candidate
            insort(self._order, candidate, key=_by_distance)
            added += 1
        return added

    def _make_room(self, distance: int) -> bool:
        """True if there is room for hearsay at that distance; where there is none, hearsay that nobody asked gives way.

        First what nobody waits for any more, wherever it is, then what is farther: who names hundreds first keeps
        nobody out who is nearer, nor for longer than it takes to see that they do not answer.
        """
        if len(self._order) < LOOKUP_CANDIDATES_MAX:
            return True
        fresh = [c for c in self._order if c.standing is Standing.FRESH and not c.is_known]
        doubted = [c for c in fresh if self._is_doubted(c)]
        leaving = doubted[-1] if doubted else fresh[-1] if fresh else None
        if leaving is None or (not doubted and leaving.distance < distance):
            return False
        self._order.remove(leaving)
        del self._by_id[leaving.node_id]
        return True

    def add(self, contacts: Iterable[Contact]) -> None:
        """Take in nodes that were met: they count as those of the table do."""
        for contact in contacts:
            if contact.node_id in self._by_id:
                continue
            distance = int.from_bytes(contact.node_id) ^ self._point
            prefix = self._strangers.prefix_of(contact.node_id)
            self._add(Candidate(contact, distance, prefix, self._strangers.expected_of(contact.node_id)))
        self._order.sort(key=_by_distance)

    def carried_over(self, own: Contact | None) -> Candidates:
        """Those that live or may, to be asked something else; late hearsay is left behind.

        Named nodes that nobody asked are farther than all that were needed: they replace who is silent now.
        """
        after = Candidates(Target(self._point.to_bytes(ID_BYTES)), (), own, self._strangers)
        for c in self._order:
            is_passed_over = self._is_doubted(c) or (c.standing is Standing.LATE and not c.is_known)
            if c.standing is not Standing.FAILED and not is_passed_over:
                after._add(Candidate(c.contact, c.distance, c.prefix, c.expected_s))
        after._order.sort(key=_by_distance)
        return after

    # What became of them

    def ask(self, candidate: Candidate, mono: float) -> None:
        """It is asked now."""
        candidate.standing = Standing.ASKED
        candidate.asks += 1
        candidate.waiting += 1
        candidate.asked_at = mono
        candidate.late_at = mono + candidate.expected_s
        if self._claims is not None:
            self._claims[candidate.node_id] = self

    def answered(self, candidate: Candidate, mono: float) -> None:
        """It answered, late or not."""
        if not candidate.is_known:
            self._strangers.took(mono - candidate.asked_at)
            candidate.prefix = self._strangers.prefix_of(candidate.node_id)
        if candidate.namer is not None:
            self._truthful.add(candidate.namer)
        candidate.waiting -= 1
        candidate.standing = Standing.ANSWERED

    def failed(self, candidate: Candidate, outcome: Answer | Failed) -> None:
        """A request to it was not answered, or with something that cannot be; another one may be under way."""
        candidate.waiting -= 1
        candidate.has_timed_out = isinstance(outcome, Failed) and outcome.reason is FailReason.TIMEOUT
        if candidate.waiting > 0:
            return
        is_gone = isinstance(outcome, Failed) and outcome.reason in _GONE
        if candidate.standing is Standing.ASKED and is_gone:
            self._blame(candidate)
        candidate.standing = Standing.FAILED

    def to_ask_again(self, count: int, asks_max: int = 1, *, is_doubted_in: bool = False) -> list[Candidate]:
        """Who was asked, is silent, and is nearer than the last of the `count` nearest that answered.

        Silent is not dead: a request or an answer can be lost. Nearest first, at most twice ALPHA of them.

        Args:
            count: How many answers are wanted.
            asks_max: How often they were asked at most.
            is_doubted_in: True for hearsay of liars too: where half of a network died, honest nodes look like that.

        """
        late: list[Candidate] = []
        answered = 0
        for candidate in self._order:
            answered += candidate.standing is Standing.ANSWERED
            if answered == count or len(late) == 2 * ALPHA:
                break
            is_silent = candidate.standing is Standing.LATE or (
                candidate.standing is Standing.FAILED and candidate.has_timed_out
            )
            if (
                is_silent
                and candidate.asks <= asks_max
                and (is_doubted_in or not self._is_of_a_liar(candidate))
            ):
                late.append(candidate)
        return late

    def mark_late(self, mono: float) -> bool:
        """Demote those whose expected time has passed; True if there were any."""
        found = False
        for candidate in self._order:
            if candidate.standing is Standing.ASKED and candidate.late_at <= mono:
                candidate.standing = Standing.LATE
                self._blame(candidate)
                found = True
        return found

    def _blame(self, candidate: Candidate) -> None:
        if candidate.namer is not None:
            self._dead_of[candidate.namer] = self._dead_of.get(candidate.namer, 0) + 1

    def _is_doubted(self, candidate: Candidate) -> bool:
        """True for hearsay of somebody who has named only such as do not answer: nobody waits for more of it."""
        return candidate.standing is Standing.FRESH and self._is_of_a_liar(candidate)

    def _is_of_a_liar(self, candidate: Candidate) -> bool:
        namer = candidate.namer
        if namer is None or namer in self._truthful:
            return False
        return self._dead_of.get(namer, 0) >= DOUBTED_AFTER

    # Who is near

    def nearest(self, count: int) -> list[Candidate]:
        """The `count` nearest that count, nearest first."""
        span: list[Candidate] = []
        for candidate in self._order:
            if candidate.counts:
                span.append(candidate)
                if len(span) == count:
                    break
        return span

    def front(self, count: int, *, is_late_kept: bool) -> list[Candidate]:
        """The `count` nearest that may yet belong to the result, nearest first.

        Args:
            count: How many at most.
            is_late_kept: True keeps known nodes that are late, until they are late a second time; late hearsay never
                holds anybody up.

        """
        front: list[Candidate] = []
        for c in self._order:
            standing = c.standing
            if standing is Standing.FAILED:
                continue
            if standing is Standing.LATE and not (is_late_kept and c.is_known and c.asks == 1):
                continue
            if standing is Standing.FRESH and (self._is_doubted(c) or self._is_claimed(c)):
                continue
            front.append(c)
            if len(front) == count:
                break
        return front

    def _is_claimed(self, candidate: Candidate) -> bool:
        return self._claims is not None and candidate.node_id in self._claims

    def to_ask(self, needed: list[Candidate]) -> list[Candidate]:
        """Whom to ask now, on the way to a target that is far: at most ALPHA of the needed are in flight.

        Beside the needed, whoever is nearer than all that have answered makes progress. Of these the ones with the
        shortest way to the end are asked first: their own time, and the hops that then remain. A slow peer that is no
        longer needed takes no slot.
        """
        in_flight = sum(1 for c in needed if c.standing is Standing.ASKED)
        room = min(ALPHA - in_flight, IN_FLIGHT_MAX - self.in_flight())
        if room <= 0:
            return []
        answered = (c.distance for c in self._order if c.standing is Standing.ANSWERED)
        best = next(answered, 1 << 256)
        wide = [c for c in self.front(2 * ALPHA, is_late_kept=False) if c.distance < best]
        fresh = {c.node_id: c for c in (*needed, *wide) if c.standing is Standing.FRESH}
        return sorted(fresh.values(), key=self._remaining_s)[:room]

    def _remaining_s(self, candidate: Candidate) -> float:
        """How long from now until the target is reached by way of this candidate, up to a constant."""
        hops = log2(candidate.distance + 1) / _BITS_PER_HOP
        return candidate.expected_s + hops * self._strangers.expected_s

    def heard_within(self, distance: int) -> list[Candidate]:
        """Hearsay nearer than `distance` that may still answer in time, nearest first."""
        return [
            c
            for c in self._order
            if not c.is_known and c.distance < distance and c.standing in (Standing.FRESH, Standing.ASKED)
        ]

    def in_flight(self) -> int:
        """How many were asked and are not late yet."""
        return sum(1 for c in self._order if c.standing is Standing.ASKED)

    def has_open(self) -> bool:
        """True while an answer can still come."""
        return any(c.is_open for c in self._order)

    def next_late(self) -> float | None:
        """When the next one becomes late; None if nobody is in flight."""
        return min((c.late_at for c in self._order if c.standing is Standing.ASKED), default=None)


def _by_distance(candidate: Candidate) -> int:
    return candidate.distance

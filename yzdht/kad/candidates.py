"""Candidates of one operation, nearest first: who was asked, who is late, who answered.

Hearsay never displaces a node of one's own table: a contact that another node named counts only once it has answered
itself (PROTOCOL.md section 9), so a liar that names twenty dead neighbours of the target costs twenty requests and
changes no result.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from yzdht.limits import CONTACTS_PER_ANSWER_MAX, LOOKUP_CANDIDATES_MAX, SOFT_DEADLINE_S_UNKNOWN


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yzdht.ids import NodeId, Target
    from yzdht.kad.table import Entry
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import Body, Method


class Standing(Enum):
    """What came of a candidate so far."""

    FRESH = auto()
    ASKED = auto()
    LATE = auto()
    ANSWERED = auto()
    FAILED = auto()


@dataclass(slots=True)
class Candidate:
    """A node that an operation may ask.

    Attributes:
        contact: Who and where.
        distance: To the target.
        prefix: Its public prefix; None if it has none or is hearsay.
        expected_s: Seconds within which it should answer.
        is_known: True if it is in one's own table, or oneself.
        standing: What came of it.
        late_at: When it stops blocking its slot.

    """

    contact: Contact
    distance: int
    prefix: str | None
    expected_s: float
    is_known: bool = True
    standing: Standing = Standing.FRESH
    late_at: float = 0.0

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

    """

    def __init__(self, target: Target | NodeId, entries: Iterable[Entry], own: Contact | None = None) -> None:
        self._point = int.from_bytes(target)
        self._by_id: dict[NodeId, Candidate] = {}
        self._order: list[Candidate] = []
        for e in entries:
            self._add(Candidate(e.contact(), e.point ^ self._point, e.prefix, e.expected_s))
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

    def hear(self, contacts: Iterable[Contact], own_id: NodeId) -> int:
        """Take in what an answer named; at most CONTACTS_PER_ANSWER_MAX new ones. Returns how many were new."""
        added = 0
        for contact in contacts:
            if added >= CONTACTS_PER_ANSWER_MAX or len(self._order) >= LOOKUP_CANDIDATES_MAX:
                break
            if contact.node_id == own_id or contact.node_id in self._by_id or not contact.urls:
                continue
            distance = int.from_bytes(contact.node_id) ^ self._point
            candidate = Candidate(contact, distance, None, SOFT_DEADLINE_S_UNKNOWN, is_known=False)
            self._by_id[contact.node_id] = candidate
            insort(self._order, candidate, key=_by_distance)
            added += 1
        return added

    def nearest(self, count: int) -> list[Candidate]:
        """The `count` nearest that count, nearest first."""
        span: list[Candidate] = []
        for candidate in self._order:
            if candidate.counts:
                span.append(candidate)
                if len(span) == count:
                    break
        return span

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
        return any(c.standing in (Standing.ASKED, Standing.LATE) for c in self._order)

    def mark_late(self, mono: float) -> bool:
        """Demote those whose expected time has passed; True if there were any."""
        found = False
        for candidate in self._order:
            if candidate.standing is Standing.ASKED and candidate.late_at <= mono:
                candidate.standing = Standing.LATE
                found = True
        return found

    def next_late(self) -> float | None:
        """When the next one becomes late; None if nobody is in flight."""
        return min((c.late_at for c in self._order if c.standing is Standing.ASKED), default=None)


def _by_distance(candidate: Candidate) -> int:
    return candidate.distance

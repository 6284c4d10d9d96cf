"""Reads, writes and lookups as this node begins them: in one hop where everybody is known, else by an approach.

PROTOCOL.md section 9. A small network is one hop: the table knows the n nearest. In a large one a read approaches its
target with FIND_VALUE, and a write first finds the n nearest with FIND_NODE. A read along disjoint paths asks, beside the
n nearest, witnesses that were reached without any node of another path.
"""

from __future__ import annotations

from collections import deque
from math import log2
from typing import TYPE_CHECKING

from yzdht.ids import ID_BYTES, Target
from yzdht.kad.candidates import Candidates, Standing
from yzdht.kad.lookup import Aim, Lookup
from yzdht.kad.quorum import quorum_of
from yzdht.kad.read import Plan, Read, ReadResult
from yzdht.kad.write import Draft, Write, WriteResult
from yzdht.limits import BUCKET_SIZE, DISJOINT_PATHS_MAX, REACHES_REMEMBERED_MAX, REPLICAS
from yzdht.wire.frame import Caps
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yzdht.ids import NodeId, RecordHash
    from yzdht.kad.contacts import Contacts, Own
    from yzdht.kad.operations import Operation, Operations
    from yzdht.kad.quorum import Quorum
    from yzdht.kad.strangers import Strangers
    from yzdht.kad.table import Entry, Table
    from yzdht.kad.turns import NoRoom
    from yzdht.ports import Now, RecordVerifier
    from yzdht.wire.address import Contact


_CANDIDATES = 3 * REPLICAS
"""How many of the table an operation looks at: the n, and those who replace the failed."""

_ID_BITS = 8 * ID_BYTES

_CROWD = REPLICAS // 2 + 1
"""So many of the n nearest are a majority: what they alone accept they can swallow."""

_CROWD_BITS = 3
"""Nodes so many bits nearer to a target than its holders should be are few, unless somebody ground their ids."""


class Searches:
    """Starts operations.

    Args:
        own: What this node is.
        table: Whom it knows.
        operations: Runs them.
        contacts: Judges whom answers name.
        verifier: Checks records.
        strangers: What is known of nodes outside the table.

    Attributes:
        is_storing: True if this node keeps records.
        on_approached: Told each point of a large network that was reached.

    """

    def __init__(
        self,
        own: Own,
        table: Table,
        operations: Operations,
        contacts: Contacts,
        verifier: RecordVerifier,
        strangers: Strangers,
    ) -> None:
        self._own = own.contact
        self.is_storing = bool(self._own.caps & Caps.STORAGE)
        self._table = table
        self._operations = operations
        self._contacts = contacts
        self._verifier = verifier
        self._strangers = strangers
        self._reaches: deque[int] = deque(maxlen=REACHES_REMEMBERED_MAX)
        self.on_approached: Callable[[Target | NodeId, Now], None] = lambda _point, _now: None

    @property
    def _is_far(self) -> bool:
        return not self._table.knows_everybody

    def _storing_known(self) -> int:
        return self._table.storing() + self.is_storing

    def _quorum(self) -> Quorum:
        return quorum_of(self._storing_known())

    def _quorum_with(self, met: Candidates) -> Quorum:
        """Nodes that an approach met count beside those of the table; what it did not reach takes nothing off."""
        return quorum_of(max(self._storing_known(), sum(1 for _ in met)))

    # Reads

    def read(
        self, target: Target, finish: Callable[[ReadResult, Now], None], now: Now, paths: int = 1
    ) -> None:
        """Read what is stored under a target."""
        plan = Plan(target, self._quorum(), self._is_far)
        if paths > 1:
            self._read_with_witnesses(plan, min(paths, DISJOINT_PATHS_MAX), finish, now)
        else:
            self._read(plan, self._storing_near(target), lambda read, at: finish(_result(read), at), now)

    def look_after(
        self,
        target: Target,
        keep_until: Mapping[RecordHash, int],
        no_room: NoRoom,
        finish: Callable[[Read, Now], None],
        now: Now,
    ) -> None:
        """Hear all holders of what this node holds too, and bring up those that lack something and have room for it."""
        whom = Plan(target, self._quorum(), self._is_far)
        plan = whom._replace(is_thorough=True, keep_until=keep_until, no_room=no_room)
        self._read(plan, self._storing_near(target), finish, now)

    def _read(
        self, plan: Plan, candidates: Candidates, finish: Callable[[Read, Now], None], now: Now
    ) -> None:
        def report(operation: Operation, at: Now) -> None:
            assert isinstance(operation, Read)
            if operation.rejected:
                self._contacts.count("rejected_records")
            if plan.is_far and _result(operation).answered:
                self.on_approached(plan.target, at)
            finish(operation, at)

        read = Read(plan, candidates, self._own.node_id, self._verifier, self._contacts.usable)
        self._operations.start(read, report, now, stored_by=self._own.node_id)

    # Disjoint paths

    def _read_with_witnesses(
        self, plan: Plan, paths: int, finish: Callable[[ReadResult, Now], None], now: Now
    ) -> None:
        """Walk to the target and to points beside it, no node on two paths; then read, and ask all who were found.

        Whoever has ground ids nearest to a target answers the first path. The other paths end at the distance from the
        target at which honest holders are at this network's density, in the subtrees beside it, and pass by whoever is
        much nearer than that: most of those who held the record before the ids were ground are found there.
        """
        claims: dict[NodeId, Candidates] = {}
        found: dict[NodeId, Contact] = {}
        left = [paths]

        def read_when_all_ended(lookup: Lookup, at: Now) -> None:
            found.update((c.node_id, c) for c in lookup.closest())
            left[0] -= 1
            if left[0]:
                return
            witnesses = Plan(*plan[:3], witnesses=frozenset(found))
            candidates = self._storing_near(plan.target)
            candidates.add(found.values())
            self._read(witnesses, candidates, lambda read, end: finish(_result(read), end), at)

        radius = self._radius()
        crowd = (int.from_bytes(plan.target), radius >> _CROWD_BITS)
        for number, point in enumerate(_points_beside(plan.target, radius)[:paths]):
            entries = self._table.closest(point, len(self._table), only_storing=True)
            if number:
                entries = [e for e in entries if e.point ^ crowd[0] >= crowd[1]]
            mine = entries[number::paths][:_CANDIDATES]
            start = Candidates(point, mine, None, self._strangers, claims)
            start.is_for_storage = True
            if number:
                start.crowd = crowd
            aim = Aim(point, REPLICAS, need=plan.quorum.write, is_far=True)
            self._walk(aim, start, read_when_all_ended, now)

    def _radius(self) -> int:
        """The distance within which REPLICAS nodes are to be expected.

        By the density around this node, or by what lookups found elsewhere if that is less dense: who grinds ids near
        this node must not make every crowd look usual.
        """
        own = int.from_bytes(self._own.node_id)
        near = self._table.closest(self._own.node_id, BUCKET_SIZE)
        here = (near[-1].point ^ own) * REPLICAS // len(near) if near else 1 << (_ID_BITS - 1)
        there = sorted(self._reaches)[len(self._reaches) // 2] if self._reaches else 0
        return max(here, there)

    # Writes

    def write(
        self, draft: Draft, stored_by: NodeId | bytes, finish: Callable[[WriteResult, Now], None], now: Now
    ) -> None:
        """Store a record.

        Args:
            draft: What.
            stored_by: Whose quota counts it if it is stored here; empty for this node's own user.
            finish: Told the result.
            now: The present.

        """
        if draft.cas is not None:
            plan = Plan(draft.target, self._quorum(), self._is_far)
            self._read(
                plan,
                self._storing_near(draft.target),
                lambda read, at: self._write_after_read(draft, read, stored_by, finish, at),
                now,
            )
        elif self._is_far:
            self._find_and_write(draft, stored_by, finish, now)
        else:
            near = self._storing_near(draft.target)
            self._write(draft, near, self._quorum(), stored_by, finish, now)

    def _find_and_write(
        self, draft: Draft, stored_by: NodeId | bytes, finish: Callable[[WriteResult, Now], None], now: Now
    ) -> None:
        """Find the n nearest, then store.

        Where a crowd stands closer together than honest nodes can be expected, somebody may have ground ids to swallow
        the record, or one of a target nearby: it is stored around the crowd as well, well clear of it, where a read along
        disjoint paths looks, and both have to succeed.
        """
        aim = Aim(draft.target, REPLICAS, need=self._quorum().write, is_far=True)
        edge = self._radius() >> _CROWD_BITS

        def write(lookup: Lookup, at: Now) -> None:
            found = self._carried(lookup.candidates)
            middle = _crowd_in(lookup, edge) if self._storing_known() >= BUCKET_SIZE else None
            if middle is None:
                self._write(draft, found, self._quorum_with(found), stored_by, finish, at)
                return
            self._contacts.count("crowds_met")
            around = self._around(draft.target, (middle, 2 * edge))
            self._walk(aim, around, lambda other, end: write_both(found, other, end), at)

        def write_both(found: Candidates, other: Lookup, at: Now) -> None:
            results: list[WriteResult] = []

            def end(result: WriteResult, then: Now) -> None:
                results.append(result)
                if len(results) == 2:  # noqa: PLR2004 - both
                    finish(min(results, key=lambda r: r.accepted), then)

            outside = other.candidates.carried_over(None)
            quorum = self._quorum_with(found)
            if sum(1 for _ in outside) < REPLICAS:  # too few to have a say
                self._write(draft, found, quorum, stored_by, finish, at)
                return
            self._write(draft, found, quorum, stored_by, end, at)
            self._write(draft, outside, quorum, stored_by, end, at)

        self._walk(aim, self._storing_near(draft.target, is_own_in=False), write, now)

    def _around(self, target: Target, crowd: tuple[int, int]) -> Candidates:
        """Storage nodes near a target, but for a crowd: those nearer to its middle than its edge."""
        middle, edge = crowd
        entries = self._table.closest(target, len(self._table), only_storing=True)
        outside = [e for e in entries if e.point ^ middle >= edge][:_CANDIDATES]
        candidates = self._candidates(target, outside, is_own_in=False)
        candidates.crowd = crowd
        return candidates

    def _write_after_read(
        self,
        draft: Draft,
        read: Read,
        stored_by: NodeId | bytes,
        finish: Callable[[WriteResult, Now], None],
        now: Now,
    ) -> None:
        """With cas, read first: a mismatch is known at once, and holders that lag can be brought up."""
        publisher = decode_record(draft.raw).publisher
        result = _result(read)
        current = next((r for r in result.records if r.publisher == publisher), None)
        quorum = self._quorum()
        if current is None and result.answered < result.needed:
            finish(WriteResult(0, quorum.n, quorum.write, Status.OK, Refusal()), now)
        elif (0 if current is None else current.seq) != draft.cas:
            detail = Refusal() if current is None else Refusal(current.seq, current.hash)
            finish(WriteResult(0, quorum.n, quorum.write, Status.CAS_MISMATCH, detail), now)
        else:
            previous = None if current is None else current.raw
            full = Draft(draft.target, draft.raw, draft.cas, draft.keep_until, previous)
            candidates, heard = self._of_a_day(draft.target, read, now)
            quorum = quorum_of(sum(1 for _ in candidates) + heard)
            self._write(full, candidates, quorum, stored_by, finish, now)

    def _of_a_day(self, target: Target, read: Read, now: Now) -> tuple[Candidates, int]:
        """Whom a write with cas counts: storage nodes seen in the last day, dead or not, and those that just answered.

        Besides, how many more were only named. They are not asked, or a liar that invents neighbours would be among the
        n; but they count for n, or a newcomer that knows few would take a quorum of these for one of all.
        """
        entries = self._table.closest_of_a_day(target, _CANDIDATES, now.mono)
        candidates = self._candidates(target, entries)
        candidates.add(c.contact for c in read.candidates if c.standing is Standing.ANSWERED)
        heard = sum(1 for c in read.candidates if candidates.get(c.node_id) is None and not c.has_failed)
        return candidates, heard

    def _write(
        self,
        draft: Draft,
        candidates: Candidates,
        quorum: Quorum,
        stored_by: NodeId | bytes,
        finish: Callable[[WriteResult, Now], None],
        now: Now,
    ) -> None:
        def report(operation: Operation, at: Now) -> None:
            assert isinstance(operation, Write)
            assert operation.result is not None
            finish(operation.result, at)

        self._operations.start(Write(draft, quorum, candidates), report, now, stored_by)

    # Lookups

    def find(
        self,
        target: Target | NodeId,
        count: int,
        finish: Callable[[Lookup, Now], None],
        now: Now,
    ) -> None:
        """Find the nodes nearest to a target."""
        candidates = Candidates(target, self._table.closest(target, _CANDIDATES), None, self._strangers)
        self._walk(Aim(target, count, is_far=self._is_far), candidates, finish, now)

    def _walk(
        self, aim: Aim, candidates: Candidates, finish: Callable[[Lookup, Now], None], now: Now
    ) -> None:
        def report(operation: Operation, at: Now) -> None:
            assert isinstance(operation, Lookup)
            found = operation.closest()
            if aim.is_far and found:
                self.on_approached(aim.target, at)
            if aim.is_far and len(found) >= REPLICAS:
                farthest = int.from_bytes(found[REPLICAS - 1].node_id)
                self._reaches.append(farthest ^ int.from_bytes(aim.target))
            finish(operation, at)

        lookup = Lookup(aim, candidates, self._own.node_id, self._contacts.usable)
        self._operations.start(lookup, report, now)

    # Candidates

    def _storing_near(self, target: Target, *, is_own_in: bool = True) -> Candidates:
        entries = self._table.closest(target, _CANDIDATES, only_storing=True)
        return self._candidates(target, entries, is_own_in=is_own_in)

    def _candidates(self, target: Target, entries: list[Entry], *, is_own_in: bool = True) -> Candidates:
        own = self._own if self.is_storing and is_own_in else None
        candidates = Candidates(target, entries, own, self._strangers)
        candidates.is_for_storage = True
        return candidates

    def _carried(self, candidates: Candidates) -> Candidates:
        return candidates.carried_over(self._own if self.is_storing else None)


def _crowd_in(lookup: Lookup, edge: int) -> int | None:
    """The middle of a crowd: a point that so many of the found are within `edge` of as honest ids hardly ever are.

    The target itself, or one of the found where ids were ground for another target nearby.
    """
    points = [int.from_bytes(c.node_id) for c in lookup.closest()]
    for middle in (int.from_bytes(lookup.aim.target), *points):
        if sum(point ^ middle < edge for point in points) >= _CROWD:
            return middle
    return None


def _points_beside(target: Target, radius: int) -> list[Target]:
    """The target, and the same point with one bit turned over, at the depth of a subtree of that radius and the next."""
    depth = min(max(round(_ID_BITS - log2(radius + 1)), 0), _ID_BITS - DISJOINT_PATHS_MAX)
    point = int.from_bytes(target)
    turned = [point ^ (1 << (_ID_BITS - 1 - depth - n)) for n in range(DISJOINT_PATHS_MAX - 1)]
    return [target, *(Target(p.to_bytes(ID_BYTES)) for p in turned)]


def _result(read: Read) -> ReadResult:
    assert read.result is not None
    return read.result

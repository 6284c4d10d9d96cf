"""Reads, writes and lookups as this node begins them: in one hop where everybody is known, else by an approach.

PROTOCOL.md section 9. A small network is one hop: the table knows the n nearest. In a large one a read approaches its
target with FIND_VALUE, and a write first finds the n nearest with FIND_NODE. A read along disjoint paths asks, beside the
n nearest, witnesses that were reached without any node of another path. Where the n nearest are a crowd, both go around it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from yzdht.kad.candidates import Candidates, Standing
from yzdht.kad.crowds import Density
from yzdht.kad.lookup import Aim, Lookup
from yzdht.kad.quorum import quorum_of
from yzdht.kad.read import Plan, Read, ReadResult, merged
from yzdht.kad.write import Draft, Write, WriteResult
from yzdht.limits import BUCKET_SIZE, CROWD_WIDENED_MAX, DISJOINT_PATHS_MAX, REPLICAS
from yzdht.wire.frame import Caps
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from yzdht.ids import NodeId, RecordHash, Target
    from yzdht.kad.contacts import Contacts, Own
    from yzdht.kad.crowds import Crowd
    from yzdht.kad.operations import Operation, Operations
    from yzdht.kad.quorum import Quorum
    from yzdht.kad.strangers import Strangers
    from yzdht.kad.table import Entry, Table
    from yzdht.kad.turns import NoRoom
    from yzdht.ports import Now, RecordVerifier
    from yzdht.wire.address import Contact


_CANDIDATES = 3 * REPLICAS
"""How many of the table an operation looks at: the n, and those who replace the failed."""


def _unpaid(_now: Now) -> None:
    """For this node's own user."""


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
        self._density = Density(own.contact.node_id, table)
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
        self,
        target: Target,
        finish: Callable[[ReadResult, Now], None],
        now: Now,
        paths: int = 1,
        on_around: Callable[[Now], None] = _unpaid,
    ) -> None:
        """Read what is stored under a target.

        Args:
            target: Where.
            finish: Told the result.
            now: The present.
            paths: How many disjoint paths, 1 to 3.
            on_around: Told before a crowd is gone around: that costs DELEGATED_PATHS_AROUND paths more.

        """
        plan = Plan(target, self._quorum(), self._is_far)

        def end(read: Read, at: Now) -> None:
            self._read_around(read, on_around, finish, at)

        if paths > 1:
            self._read_with_witnesses(plan, min(paths, DISJOINT_PATHS_MAX), end, now)
        else:
            self._read(plan, self._storing_near(target), end, now)

    def look_after(
        self,
        target: Target,
        keep_until: Mapping[RecordHash, int],
        no_room: NoRoom,
        finish: Callable[[Read, Now], None],
        now: Now,
    ) -> None:
        """Hear all holders of what this node holds too, and bring up those that lack something and have room for it.

        Where nearly all of them are a crowd, those around it are looked after as well, and `finish` is told of that read.
        """
        whom = Plan(target, self._quorum(), self._is_far)
        plan = whom._replace(is_thorough=True, keep_until=keep_until, no_room=no_room)

        def end(read: Read, at: Now) -> None:
            crowd = self._crowd_met(target, read.candidates) if plan.is_far else None
            if crowd is None or not self._density.is_nearly_whole(crowd, _heard(read.candidates)):
                finish(read, at)
                return

            def look(others: Candidates, walked: int, then: Now) -> None:
                others.add([self._own])  # it may be within the edge, and the only one that has the record
                around = plan._replace(witnesses=frozenset(c.node_id for c in others), is_around=True)
                read.requests += walked
                self._read(around, others, lambda other, last: finish(other.after(read), last), then)

            self._find_around(target, crowd, look, at)

        self._read(plan, self._storing_near(target), end, now)

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
        self, plan: Plan, paths: int, finish: Callable[[Read, Now], None], now: Now
    ) -> None:
        """Walk to the target and to points beside it, no node on two paths; then read, and ask all who were found.

        Whoever has ground ids nearest to a target answers the first path. The other paths end at the distance from the
        target at which honest holders are at this network's density, in the subtrees beside it, and pass by whoever is
        much nearer than that: most of those who held the record before the ids were ground are found there.
        """
        claims: dict[NodeId, Candidates] = {}
        found: dict[NodeId, Contact] = {}
        points = [plan.target, *self._density.points_beside(plan.target, paths - 1)]
        left = [len(points)]

        def read_when_all_ended(lookup: Lookup, at: Now) -> None:
            found.update((c.node_id, c) for c in lookup.closest())
            left[0] -= 1
            if left[0]:
                return
            witnesses = Plan(*plan[:3], witnesses=frozenset(found))
            candidates = self._storing_near(plan.target)
            candidates.add(found.values())
            self._read(witnesses, candidates, finish, at)

        crowd = self._density.crowd_at(plan.target)
        for number, point in enumerate(points):
            entries = self._table.closest(point, len(self._table), only_storing=True)
            if number:
                entries = [e for e in entries if not crowd.holds(e.node_id)]
            mine = entries[number::paths][:_CANDIDATES]
            start = Candidates(point, mine, None, self._strangers, claims)
            start.is_for_storage = True
            if number:
                start.crowd = crowd
            aim = Aim(point, REPLICAS, need=plan.quorum.write, is_far=True)
            self._walk(aim, start, read_when_all_ended, now)

    # Around a crowd

    def _read_around(
        self,
        read: Read,
        on_around: Callable[[Now], None],
        finish: Callable[[ReadResult, Now], None],
        now: Now,
    ) -> None:
        """Report a read; where a crowd may have hidden the record, once those around it were asked as well.

        A crowd alone is believed in nothing. What others of the n nearest show too, one where there is one path, or R of
        them and of the witnesses where there are several, is taken: a crowd that is chance mostly costs nothing.
        """
        plan, result = read.plan, _result(read)
        crowd = self._crowd_met(plan.target, read.candidates) if plan.is_far else None
        needed = plan.quorum.read if plan.witnesses else 1
        if crowd is None or read.is_immutable_found or read.shown_outside(crowd) >= needed:
            finish(result, now)
            return
        on_around(now)

        def ask(others: Candidates, _walked: int, at: Now) -> None:
            if sum(1 for _ in others) < REPLICAS:  # too few to have a say
                finish(result, at)
                return
            around = Plan(*plan[:3], witnesses=frozenset(c.node_id for c in others))
            self._read(around, others, lambda other, end: finish(merged(result, _result(other)), end), at)

        self._find_around(plan.target, crowd, ask, now)

    def _crowd_met(self, target: Target, met: Candidates) -> Crowd | None:
        """The crowd that the nearest are, who answered or still may; a node that knows few others meets none."""
        if self._storing_known() < BUCKET_SIZE:
            return None
        crowd = self._density.crowd_in(target, _heard(met))
        if crowd is not None:
            self._contacts.count("crowds_met")
        return crowd

    def _find_around(
        self,
        target: Target,
        crowd: Crowd,
        then: Callable[[Candidates, int, Now], None],
        now: Now,
        widened: int = 0,
    ) -> None:
        """Find the nearest storage nodes outside a crowd, this node among them; `then` is told the requests, too.

        Whoever is asked for the target names the crowd, and nobody beside it: so the way leads to points in the subtrees
        beside the target. In each of these the order is that of the distance to the target. What is found beside a crowd
        that is wider than it was taken to be is a crowd again: then its edge is drawn wider, CROWD_WIDENED_MAX times.
        """
        own = self._own if self.is_storing and not crowd.holds(self._own.node_id) else None
        found = Candidates(target, (), own, self._strangers)
        found.is_for_storage = True
        found.crowd = crowd
        points = self._density.points_around(target)
        walks: list[Lookup] = []

        def take(lookup: Lookup, at: Now) -> None:
            found.add(lookup.closest())
            walks.append(lookup)
            if len(walks) < len(points):
                return
            asked = sum(c.asks for walk in walks for c in walk.candidates)
            is_crowd = self._density.crowd_in(target, (c.node_id for c in found)) is not None
            if not is_crowd or widened == CROWD_WIDENED_MAX:
                then(found, asked, at)
                return
            self._find_around(
                target,
                crowd.wider(),
                lambda others, more, end: then(others, asked + more, end),
                at,
                widened + 1,
            )

        for point in points:
            entries = self._table.closest(point, len(self._table), only_storing=True)
            outside = [e for e in entries if not crowd.holds(e.node_id)][:_CANDIDATES]
            start = self._candidates(point, outside, is_own_in=False)
            start.crowd = crowd
            aim = Aim(point, REPLICAS, is_far=True)  # with all that are in time: everybody finds the same
            self._walk(aim, start, take, now)

    # Writes

    def write(
        self,
        draft: Draft,
        stored_by: NodeId | bytes,
        finish: Callable[[WriteResult, Now], None],
        now: Now,
        on_around: Callable[[Now], None] = _unpaid,
    ) -> None:
        """Store a record.

        Args:
            draft: What.
            stored_by: Whose quota counts it if it is stored here; empty for this node's own user.
            finish: Told the result.
            now: The present.
            on_around: As of a read; told again if a crowd refused, and a read decides.

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
            self._find_and_write(draft, stored_by, finish, now, on_around)
        else:
            near = self._storing_near(draft.target)
            self._write(draft, near, self._quorum(), stored_by, finish, now)

    def _find_and_write(
        self,
        draft: Draft,
        stored_by: NodeId | bytes,
        finish: Callable[[WriteResult, Now], None],
        now: Now,
        on_around: Callable[[Now], None],
    ) -> None:
        """Find the n nearest, then store.

        Where they are a crowd somebody may have ground ids to swallow the record, or one of a target nearby: it is stored
        around the crowd as well, where reads look, and both have to succeed.
        """
        aim = Aim(draft.target, REPLICAS, need=self._quorum().write, is_far=True)

        def write(lookup: Lookup, at: Now) -> None:
            found = self._carried(lookup.candidates)
            crowd = self._crowd_met(draft.target, lookup.candidates)
            if crowd is None:
                self._write(draft, found, self._quorum_with(found), stored_by, finish, at)
                return
            on_around(at)
            self._find_around(draft.target, crowd, lambda others, _, end: write_both(found, others, end), at)

        def write_both(found: Candidates, others: Candidates, at: Now) -> None:
            results: dict[bool, WriteResult] = {}

            def end(result: WriteResult, then: Now, *, is_around: bool) -> None:
                results[is_around] = result
                if len(results) == 2:  # noqa: PLR2004 - both
                    self._believe(draft, results[False], results[True], on_around, finish, then)

            quorum = self._quorum_with(found)
            if sum(1 for _ in others) < REPLICAS:  # too few to have a say
                self._write(draft, found, quorum, stored_by, finish, at)
                return
            self._write(draft, found, quorum, stored_by, partial(end, is_around=False), at)
            self._write(draft, others, quorum, stored_by, partial(end, is_around=True), at)

        self._walk(aim, self._storing_near(draft.target, is_own_in=False), write, now)

    def _believe(
        self,
        draft: Draft,
        at_crowd: WriteResult,
        around: WriteResult,
        on_around: Callable[[Now], None],
        finish: Callable[[WriteResult, Now], None],
        now: Now,
    ) -> None:
        """Report what a write at a crowd and around it came to; if only those around took it, what a read then shows.

        A crowd that refuses, for a newer record that it does not have or for no room, has no veto: a record that is the
        newest that anybody can show, and that W others accepted, is stored.
        """
        if not around.accepted >= around.needed > at_crowd.accepted:
            finish(min(at_crowd, around, key=lambda r: r.accepted), now)
            return

        def judge(result: ReadResult, at: Now) -> None:
            is_newest = any(record.raw == draft.raw for record in result.records)
            finish(around if is_newest else at_crowd, at)

        self.read(draft.target, judge, now, 1, on_around)

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
        *,
        is_own_choice: bool = False,
    ) -> None:
        """Find the nodes nearest to a target.

        Args:
            target: The point, or the node.
            count: How many are wanted.
            finish: Told the lookup.
            now: The present.
            is_own_choice: True if nobody else had a hand in the choice of the target: it tells how dense the network is.

        """

        def end(lookup: Lookup, at: Now) -> None:
            found = lookup.closest()
            if is_own_choice and lookup.aim.is_far and len(found) >= REPLICAS:
                self._density.reached(target, found[REPLICAS - 1].node_id)
            finish(lookup, at)

        candidates = Candidates(target, self._table.closest(target, _CANDIDATES), None, self._strangers)
        self._walk(Aim(target, count, is_far=self._is_far), candidates, end, now)

    def _walk(
        self, aim: Aim, candidates: Candidates, finish: Callable[[Lookup, Now], None], now: Now
    ) -> None:
        def report(operation: Operation, at: Now) -> None:
            assert isinstance(operation, Lookup)
            found = operation.closest()
            if aim.is_far and found:
                self.on_approached(aim.target, at)
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


def _heard(met: Candidates) -> Iterator[NodeId]:
    """Who answered, or was asked and is in time, or is known and late, nearest first."""
    for c in met:
        if c.standing in (Standing.ANSWERED, Standing.ASKED) or (c.standing is Standing.LATE and c.is_known):
            yield c.node_id


def _result(read: Read) -> ReadResult:
    assert read.result is not None
    return read.result

"""Which records this node looks after, and when: republish, hand-over, repair after a departure, leaving.

PROTOCOL.md section 9. Decides only: tasks come out, the engine runs them and tells what they cost. Three things walk
through the store, page by page and paced, so that no list of all records is ever held:

* the lap, once an hour from an hour's random instant: every record among whose n nearest nodes this one is, and that
  nobody else has looked after, is refreshed. Holders hear each other ask and take turns.
* the pass, some seconds after nodes came or left: records whose n nearest changed are handed to those that moved in,
  by the nearest three that had them. Where very many came or left at once it is a lap in a hurry instead. In a hurry two
  others must have been heard before a record is left to them: one may lie.
* leaving: everything goes to who takes this node's place.

A record out of range is refreshed when that is first seen, then every REPUBLISH_STRAY_LAPS laps: it stays until it
expires, and must neither be the lost only copy nor cost what a replica costs. Something that another node stores is seen
for the first time again; a refresh that missed one of the nearest is repeated in the next laps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.errors import StoreError
from yzdht.ids import NodeId
from yzdht.kad.agenda import Agenda, HandOver, Refresh, Task
from yzdht.kad.neighbours import Neighbours
from yzdht.kad.turns import Others, Strays, Turns
from yzdht.limits import (
    FEW_REPLICAS,
    HANDOVER_AFTER_S,
    HANDOVER_AGAIN_S,
    HANDOVER_CHANGES_MAX,
    HANDOVER_EVERY_S,
    HANDOVER_HOLDERS,
    HANDOVER_NODES_REMEMBERED_MAX,
    HANDOVER_ROWS_PER_S,
    HANDOVER_STAGGER_S,
    LEAVE_REPLACEMENTS_MAX,
    LEAVE_STORE_RETRY_S,
    NODE_IDENTITY_LIFE_S,
    REPLICAS,
    REPLICATION_PAGE_ROWS,
    REPLICATION_PAGES_PER_TURN_MAX,
    REPLICATION_STORE_RETRY_S,
    REPLICATION_TASKS_WAITING_MAX,
    REPUBLISH_EVERY_S,
    REPUBLISH_HURRIED_AFTER_S,
    REPUBLISH_HURRIED_S,
    REPUBLISH_JITTER,
    REPUBLISH_PAGE_S,
)
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import Target
    from yzdht.kad.table import Entry, Table
    from yzdht.ports import Now, RecordStore, Rng
    from yzdht.wire.slot import Head


__all__ = ["HandOver", "HandedOver", "Refresh", "Replication", "Task"]


_HEARD_IN_A_HURRY = 2
"""How many others must have looked after a record before this node leaves a repair to them. Each of them says so itself:
relied on alone, one that lies would put off the repair of what it holds until its neighbours have lost it."""

Visit = Callable[["Target", float], None]
"""What a walk does with a target that is held here, at a monotonic instant."""


class Change(Protocol):
    """A node that entered or left the table."""

    @property
    def entry(self) -> Entry:
        """Who."""
        ...

    @property
    def is_arrival(self) -> bool:
        """True if it entered."""
        ...


@dataclass(slots=True)
class _Walk:
    """A way through the store that is under way."""

    next_at: float
    row_s: float
    page: int = REPLICATION_PAGE_ROWS
    after: Target | None = None
    is_over: bool = False


@dataclass(slots=True)
class _Lap(_Walk):
    """Through everything, for republish, in about `length_s`; `since` when it is a lap in a hurry."""

    length_s: float = 0.0
    ends_at: float = 0.0
    since: float | None = None


@dataclass(slots=True)
class _Pass(_Walk):
    """Through everything, for what some nodes' coming and going, heard of at `since`, changed; their ids as integers."""

    arrived: frozenset[int] = frozenset()
    departed: frozenset[int] = frozenset()
    since: float = 0.0


@dataclass(slots=True)
class _Leaving(_Walk):
    """Through everything, to give it away; how many rows were read, which targets are in range, which found no taker."""

    rows: int = 0
    targets: int = 0
    lost: set[Target] = field(default_factory=set)


class HandedOver(NamedTuple):
    """What came of leaving, as far as it went.

    Attributes:
        handed_over: Targets whose records are with those who should have them now.
        missed: Targets whose records are not, or not with all of them.
        unread: Records that were not even looked at.

    """

    handed_over: int
    missed: int
    unread: int


@dataclass(slots=True)
class _Move:
    """What a node did since the last pass."""

    was_in: bool
    is_in: bool


class Replication:
    """Looks after the records of one node.

    Args:
        own_id: This node.
        store: Its records.
        table: Who is known.
        rng: Jitter.

    """

    def __init__(self, own_id: NodeId, store: RecordStore, table: Table, rng: Rng) -> None:
        self._own = int.from_bytes(own_id)
        self._own_id = own_id
        self._store = store
        self._table = table
        self._rng = rng
        self._turns = Turns(rng)
        self._strays = Strays()
        self._agenda = Agenda(table.get, self._turns.skip)
        self._tasks: list[Task] = []
        self._lap: _Lap | None = None
        self._lap_at: float | None = None
        self._everything_since: float | None = None
        self._pass: _Pass | None = None
        self._pass_at: float | None = None
        self._pass_since = 0.0
        self._next_pass_from = 0.0
        self._moves: dict[NodeId, _Move] = {}
        self._handed: OrderedDict[NodeId, float] = OrderedDict()
        self._leaving: _Leaving | None = None
        self._is_stopped = False

    @property
    def has_left(self) -> bool:
        """True once everything that `leave` began is done."""
        return self._leaving is not None and self._leaving.is_over and self._agenda.is_idle

    def handed_over(self) -> HandedOver:
        """How far leaving went."""
        walk = self._leaving
        if walk is None:
            return HandedOver(0, 0, 0)
        missed = len(walk.lost | self._agenda.targets)
        try:
            unread = 0 if walk.is_over else self._store.totals().records - walk.rows
        except StoreError:
            unread = 0
        return HandedOver(max(walk.targets - missed, 0), missed, max(unread, 0))

    # Events

    def begin(self, now: Now) -> None:
        """Others are known already: the first lap comes within the hour."""
        self._lap_at = now.mono + self._rng.uniform(0.0, REPUBLISH_EVERY_S)

    def changed(self, changes: Iterable[Change], now: Now) -> None:
        """Nodes entered or left the table; those that store nothing do not matter."""
        if self._leaving is not None or self._is_stopped:
            return
        for change in changes:
            if change.entry.is_storing:
                self._note(change.entry.node_id, is_arrival=change.is_arrival)
        if not self._moves:
            return
        if self._lap_at is None and self._lap is None:  # the first node ever seen
            self.begin(now)
        if len(self._moves) > HANDOVER_CHANGES_MAX:
            self._everything_changed(now)
        else:
            self._plan_pass(now)

    def noticed(self, target: Target, asker_id: NodeId, now: Now) -> None:
        """Another node showed that it holds what is held here under a target, by asking or by storing it again.

        Counts only from one of the n nearest, which look after it as this node does.
        """
        is_known = self._turns.is_fresh(target, asker_id, now.mono)
        if not is_known and self._is_among_nearest(asker_id, target):
            self._turns.note(target, asker_id, now.mono)

    def brought(self, target: Target) -> None:
        """Another node stored something new here: out of range this may be the only copy, or a stale one."""
        self._strays.forget(target)

    def _is_among_nearest(self, node_id: NodeId, target: Target) -> bool:
        """True for a storage node that is one of the n nearest to a target, this node counted."""
        point = int.from_bytes(target)
        near = [e.point for e in self._table.closest(target, REPLICAS, only_storing=True)]
        near = sorted([*near, self._own], key=point.__xor__)[:REPLICAS]
        return node_id != self._own_id and int.from_bytes(node_id) in near

    def limit(self, bytes_per_s: float) -> None:
        """What republish and hand-over may take of the line; leaving is not held back by it."""
        self._agenda.limit(bytes_per_s)

    def leave(self, now: Now) -> None:
        """Hand over everything that is in range here, without pacing; whoever waits for `has_left` bounds the time."""
        if self._leaving is None:
            self._agenda.hurry()
            self._lap = self._pass = self._lap_at = self._pass_at = None
            self._moves.clear()
            self._leaving = _Leaving(now.mono, 0.0)
            self.handle_timer(now)

    def finished(
        self,
        task: Task,
        requests: int,
        size: int,
        now: Now,
        *,
        is_newer_there: bool = False,
        is_failed: bool = False,
    ) -> None:
        """A task ended.

        Args:
            task: As it came out of `take_tasks`.
            requests: How many it sent.
            size: Bytes that they took, about.
            now: The present.
            is_newer_there: A hand-over met something newer: it is fetched by a Refresh.
            is_failed: A hand-over did not reach its node, or it could not take what it lacks; a refresh missed one of
                the nearest.

        """
        if self._is_stopped:
            return
        self._agenda.finished(task, requests, size, now.mono)
        if isinstance(task, Refresh):
            self._strays.refreshed(task.target, is_complete=not is_failed)
        if self._leaving is None:
            if is_newer_there:
                self._agenda.add(now.mono, task.target)
        elif is_failed and isinstance(task, HandOver):
            self._replace(task, self._leaving, now.mono)
        elif is_failed:
            self._leaving.lost.add(task.target)
        self.handle_timer(now)

    def crowded(self, target: Target) -> None:
        """A refresh found a crowd in the place of the nearest."""
        self._strays.crowded(target)

    def take_tasks(self) -> list[Task]:
        """Tasks to run; empties the list. Each is under way until `finished`."""
        tasks, self._tasks = self._tasks, []
        return tasks

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        soonest = self._agenda.next_time()
        for at in (self._lap_at, self._pass_at):
            if at is not None and (soonest is None or at < soonest):
                soonest = at
        for walk in (self._lap, self._pass, self._leaving):
            if walk is None or walk.is_over or (soonest is not None and walk.next_at >= soonest):
                continue
            if self._has_room_for(walk):
                soonest = walk.next_at
        return soonest

    def handle_timer(self, now: Now) -> None:
        """Go on with what is due."""
        if self._is_stopped:
            return
        if self._leaving is not None:
            leaving = self._leaving
            self._go_on(leaving, lambda: self._leave_visit(leaving), now)
        else:
            self._go_on_with_pass(now)
            self._go_on_with_lap(now)
        for task in self._agenda.take(now.mono):
            if isinstance(task, Refresh):
                self._turns.acted(task.target)
            self._tasks.append(task)

    # Walking through the store

    @property
    def _has_room(self) -> bool:
        """True if all tasks of a page fit: a target gives half of n at most, a target costs a row."""
        return self._agenda.room >= REPLICATION_PAGE_ROWS * (REPLICAS // 2)

    def _has_room_for(self, walk: _Walk) -> bool:
        """A lap leaves half of the room to passes."""
        is_lap = isinstance(walk, _Lap)
        return self._has_room and not (is_lap and 2 * self._agenda.room < REPLICATION_TASKS_WAITING_MAX)

    def stop(self) -> None:
        """Begin nothing more: what ends from now on has no consequences."""
        self._is_stopped = True
        self._agenda.clear()
        self._tasks.clear()
        self._lap = self._pass = self._lap_at = self._pass_at = self._leaving = None

    def _go_on(self, walk: _Walk, page_visit: Callable[[], Visit], now: Now) -> None:
        """Read the pages that are due, as long as tasks have room.

        Args:
            walk: Where it stands.
            page_visit: Gives what to do with each target of a page.
            now: The present.

        """
        for _ in range(REPLICATION_PAGES_PER_TURN_MAX):
            if walk.is_over or walk.next_at > now.mono or not self._has_room_for(walk):
                return
            try:
                rows = self._store.targets(walk.after, walk.page)
            except StoreError:
                walk.next_at = now.mono + self._store_retry_s
                return
            targets = dict.fromkeys(
                target
                for target, _, head in rows
                if head.is_live(now.wall) and self._is_cared_for(target, head)
            )
            if targets:
                visit = page_visit()
                for target in targets:
                    visit(target, now.mono)
            if isinstance(walk, _Leaving):
                walk.rows += len(rows)
            walk.is_over = len(rows) < walk.page
            if not walk.is_over:
                walk.after = rows[-1][0]
                walk.next_at = now.mono + len(rows) * walk.row_s * self._rng.uniform(0.75, 1.25)

    def _is_cared_for(self, target: Target, head: Head) -> bool:
        """False for the identity record of another node, which that node looks after itself as long as it lives.

        Where nodes live an hour, the records of those who died in the last two days would be most of all work. A
        person's identity record, which lives longer, is for the holders to keep.
        """
        is_of_a_node = head.kind is Kind.IDENTITY and head.expires - head.created <= NODE_IDENTITY_LIFE_S
        return not is_of_a_node or int.from_bytes(target) == self._own

    @property
    def _store_retry_s(self) -> float:
        return REPLICATION_STORE_RETRY_S if self._leaving is None else LEAVE_STORE_RETRY_S

    def _points(self) -> set[int]:
        """All storage nodes, this one included."""
        points = {e.point for e in self._table if e.is_storing}
        points.add(self._own)
        return points

    # The lap: republish

    def _go_on_with_lap(self, now: Now) -> None:
        if self._lap_at is not None and self._lap_at <= now.mono:
            self._start_lap(now)
        lap = self._lap
        if lap is None:
            return
        if lap.next_at <= now.mono and self._has_room_for(lap):
            self._pace(lap, now)
        self._go_on(lap, lambda: self._lap_visit(lap), now)
        if lap.is_over:
            self._end_lap(lap, now)

    def _start_lap(self, now: Now) -> None:
        since, self._everything_since = self._everything_since, None
        length_s = REPUBLISH_EVERY_S if since is None else REPUBLISH_HURRIED_S
        ends_at = now.mono + length_s * self._rng.uniform(*REPUBLISH_JITTER)
        self._lap = _Lap(now.mono, 0.0, length_s=length_s, ends_at=ends_at, since=since)
        self._lap_at = None

    def _pace(self, lap: _Lap, now: Now) -> None:
        """Set a lap's pace by what is stored now: a store that was nearly empty when it began may have filled since."""
        try:
            rows = self._store.totals().records
        except StoreError:
            lap.next_at = now.mono + self._store_retry_s
            return
        lap.page = min(max(ceil(rows * REPUBLISH_PAGE_S / lap.length_s), 1), REPLICATION_PAGE_ROWS)
        lap.row_s = lap.length_s / (rows + 1)

    def _end_lap(self, lap: _Lap, now: Now) -> None:
        self._lap = None
        self._lap_at = max(lap.ends_at, now.mono)
        if lap.since is not None and self._everything_since is None:
            self._lap_at += self._rng.uniform(0.0, REPUBLISH_EVERY_S)
        self._turns.end_lap(now.mono)
        self._strays.end_lap(is_daily=lap.since is None)

    def _everything_changed(self, now: Now) -> None:
        """Too much to look at one by one: go through everything within minutes.

        A lap in a hurry that is under way goes on and is followed by another one, so that it comes to its end however
        much changes.
        """
        self._moves.clear()
        self._pass = self._pass_at = None
        is_scheduled = self._everything_since is not None
        self._everything_since = now.mono
        if is_scheduled or (self._lap is not None and self._lap.since is not None):
            return
        self._lap = None
        self._lap_at = now.mono + self._rng.uniform(*REPUBLISH_HURRIED_AFTER_S)

    def _lap_visit(self, lap: _Lap) -> Visit:
        near = Neighbours(self._points())
        holders = REPLICAS if lap.since is None else HANDOVER_HOLDERS
        wanted = 1 if lap.since is None else _HEARD_IN_A_HURRY

        def visit(target: Target, mono: float) -> None:
            span = near.nearest(int.from_bytes(target), REPLICAS)
            if len(span) == 1:
                return
            if self._own not in span:
                is_due = self._strays.is_due(target, is_daily=lap.since is None)
            else:
                since = mono - REPUBLISH_EVERY_S if lap.since is None else lap.since
                others = Others(since, wanted)
                is_due = span.index(self._own) < holders and not self._turns.skip(target, others)
            if is_due:
                self._agenda.add(mono, target, unless=Others(mono, wanted))

        return visit

    # The pass: hand-over and repair

    def _note(self, node_id: NodeId, *, is_arrival: bool) -> None:
        move = self._moves.get(node_id)
        if move is None:
            self._moves[node_id] = _Move(was_in=not is_arrival, is_in=is_arrival)
            return
        move.is_in = is_arrival
        if not move.was_in and not move.is_in:
            del self._moves[node_id]  # came and went: nothing was handed to it

    def _go_on_with_pass(self, now: Now) -> None:
        if self._pass_at is not None and self._pass_at <= now.mono:
            self._start_pass(now)
        walk = self._pass
        if walk is None:
            return
        self._go_on(walk, lambda: self._pass_visit(walk), now)
        if walk.is_over:
            self._pass = None
            self._plan_pass(now)

    def _plan_pass(self, now: Now) -> None:
        """When the next pass begins: at most one a minute, and none for a node that was just handed to."""
        if self._pass is None and self._pass_at is None and self._moves:
            soon = now.mono + self._rng.uniform(*HANDOVER_AFTER_S)
            ready = min(self._ready_at(node_id, move) for node_id, move in self._moves.items())
            self._pass_at = max(soon, self._next_pass_from, ready)
            self._pass_since = now.mono

    def _ready_at(self, node_id: NodeId, move: _Move) -> float:
        return self._handed.get(node_id, 0.0) if move.is_in else 0.0

    def _start_pass(self, now: Now) -> None:
        self._pass_at = None
        self._next_pass_from = now.mono + HANDOVER_EVERY_S
        ready = {i: m for i, m in self._moves.items() if self._ready_at(i, m) <= now.mono}
        for node_id, move in ready.items():
            del self._moves[node_id]
            if move.is_in:
                self._handed[node_id] = now.mono + HANDOVER_AGAIN_S
                self._handed.move_to_end(node_id)
                if len(self._handed) > HANDOVER_NODES_REMEMBERED_MAX:
                    self._handed.popitem(last=False)
        arrived = frozenset(int.from_bytes(i) for i, move in ready.items() if move.is_in)
        departed = frozenset(int.from_bytes(i) for i, move in ready.items() if not move.is_in)
        self._pass = _Pass(
            now.mono, 1 / HANDOVER_ROWS_PER_S, arrived=arrived, departed=departed, since=self._pass_since
        )

    def _pass_visit(self, walk: _Pass) -> Visit:
        """Look at who is near a target now and who was: those who moved in are given what is held here."""
        points = self._points()
        points.difference_update(int.from_bytes(i) for i, move in self._moves.items() if move.is_in)
        now_near = Neighbours(points)
        before_near = Neighbours((points - walk.arrived) | walk.departed)

        def visit(target: Target, mono: float) -> None:
            point = int.from_bytes(target)
            span = now_near.nearest(point, REPLICAS)
            before = before_near.nearest(point, REPLICAS)
            moved_in = [p for p in span if p not in before and p != self._own]
            if not moved_in:
                return
            left_over = [p for p in before if p not in walk.departed]
            rank = left_over.index(self._own) if self._own in left_over else len(left_over)
            if rank >= HANDOVER_HOLDERS:
                return
            if 2 * len(moved_in) > len(span):  # one read is cheaper than so many offers
                # To a node that was away it is all others who came: they take turns, by who is nearest now.
                turn = span.index(self._own) if self._own in span else len(span)
                unless = Others(walk.since, _HEARD_IN_A_HURRY)
                self._agenda.add(self._in_turn(turn, mono), target, unless=unless)
                return
            due = self._in_turn(rank, mono)
            for node in moved_in:
                self._agenda.add(due, target, _node_id(node))

        return visit

    def _in_turn(self, rank: int, mono: float) -> float:
        return mono + HANDOVER_STAGGER_S * (rank + self._rng.uniform(0.0, 1.0))

    # Leaving

    def _leave_visit(self, walk: _Leaving) -> Visit:
        points = self._points()
        near, near_without = Neighbours(points), Neighbours(points - {self._own})

        def visit(target: Target, mono: float) -> None:
            point = int.from_bytes(target)
            if self._own not in near.nearest(point, REPLICAS):
                return
            others = near_without.nearest(point, REPLICAS)
            walk.targets += bool(others)
            if len(others) == REPLICAS:
                self._agenda.add(mono, target, _node_id(others[-1]))  # who takes this node's place
            elif len(others) >= FEW_REPLICAS:
                self._agenda.add(mono, target)  # nobody does: one read finds those of the others that lack it
            else:
                for node in others:
                    self._agenda.add(mono, target, _node_id(node))

        return visit

    def _replace(self, task: HandOver, walk: _Leaving, mono: float) -> None:
        """Who was to take this node's place cannot: the next nearest does, LEAVE_REPLACEMENTS_MAX times."""
        point = int.from_bytes(task.target)
        near = Neighbours(self._points() - {self._own}).nearest(point, REPLICAS + LEAVE_REPLACEMENTS_MAX)
        failed = int.from_bytes(task.contact.node_id)
        further = [node for node in near[REPLICAS:] if node ^ point > failed ^ point]
        if further:
            self._agenda.add(mono, task.target, _node_id(further[0]))
        else:
            walk.lost.add(task.target)


def _node_id(point: int) -> NodeId:
    return NodeId(point.to_bytes(32))

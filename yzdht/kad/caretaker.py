"""Runs what replication decides: refreshes as thorough reads, hand-overs as offers.

Owns nothing but the tasks under way. What to do and when is `replication`, how it is asked is `read` and `offer`.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, assert_never

from yzdht.errors import StoreError
from yzdht.kad.agenda import HandOver, Refresh
from yzdht.kad.candidates import Standing
from yzdht.kad.offer import Offer
from yzdht.kad.replication import Replication
from yzdht.kad.turns import NoRoom


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NodeId, Target
    from yzdht.kad.operations import Operation, Operations
    from yzdht.kad.read import Read
    from yzdht.kad.replication import Change, HandedOver
    from yzdht.kad.searches import Searches
    from yzdht.kad.table import Table
    from yzdht.ports import Now, RecordStore, Rng
    from yzdht.wire.rpc import FindValue


class Caretaker:
    """Looks after the records of this node.

    Args:
        own_id: This node.
        store: Its records.
        table: Whom it knows.
        rng: Jitter.
        searches: Starts thorough reads.
        operations: Runs offers.

    """

    def __init__(
        self,
        own_id: NodeId,
        store: RecordStore,
        table: Table,
        rng: Rng,
        searches: Searches,
        operations: Operations,
    ) -> None:
        self._store = store
        self._searches = searches
        self._operations = operations
        self._new_replication = partial(Replication, own_id, store, table, rng)
        self._replication = self._new_replication()
        self._bytes_per_s: float | None = None
        self._no_room = NoRoom()
        self._is_running = False

    @property
    def has_left(self) -> bool:
        """True once what `leave` began is done."""
        return self._replication.has_left

    def handed_over(self) -> HandedOver:
        """How far `leave` went."""
        return self._replication.handed_over()

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return self._replication.next_timer() if self._searches.is_storing else None

    def handle_timer(self, now: Now) -> None:
        """Begin what is due."""
        if self._searches.is_storing:
            self._replication.handle_timer(now)
            self._run(now)

    def changed(self, changes: Iterable[Change], now: Now) -> None:
        """Nodes entered or left the table."""
        if self._searches.is_storing:
            self._replication.changed(changes, now)

    def limit(self, bytes_per_s: float) -> None:
        """What care may take of the line."""
        self._bytes_per_s = bytes_per_s
        self._replication.limit(bytes_per_s)

    def leave(self, now: Now) -> None:
        """Hand everything over."""
        self._replication.leave(now)
        self._run(now)

    def stay(self, now: Now) -> None:
        """Look after records as before `leave`, from the beginning."""
        self._replication.stop()
        self._replication = self._new_replication()
        if self._bytes_per_s is not None:
            self._replication.limit(self._bytes_per_s)
        self._replication.begin(now)

    def stop(self) -> None:
        """Begin nothing more."""
        self._replication.stop()

    def asked(self, asker: NodeId, body: FindValue, now: Now) -> None:
        """A peer asked with hashes: if it holds what is held here, it is looking after it."""
        if not body.known or not self._searches.is_storing:
            return
        held = self._store.heads(body.target, now.wall)
        if not held or any(record.head.hash not in body.known for record in held):
            return
        (head, publisher), *_ = held
        if self._store.body(body.target, publisher, head.hash) is not None:  # else the disk changed it
            self._replication.noticed(body.target, asker, now)

    def stored(self, target: Target, bringer: NodeId, now: Now) -> None:
        """A peer brought a record that is now stored here."""
        self._replication.brought(target)
        self._replication.noticed(target, bringer, now)

    def _run(self, now: Now) -> None:
        if self._is_running:  # a task that ended at once: the loop below takes what follows it
            return
        self._is_running = True
        try:
            while tasks := self._replication.take_tasks():
                for task in tasks:
                    match task:
                        case Refresh():
                            self._refresh(task, now)
                        case HandOver():
                            self._hand_over(task, now)
                        case _:
                            assert_never(task)
        finally:
            self._is_running = False

    def _refresh(self, task: Refresh, now: Now) -> None:
        try:
            held = self._store.get(task.target, now.wall)
        except StoreError:
            held = []
        if not held:
            self._replication.finished(task, 0, 0, now)
            return
        keep_until = {r.head.hash: r.head.keep_until for r in held if r.head.keep_until}

        def finish(read: Read, at: Now) -> None:
            is_failed = not _has_heard_all(read)
            self._replication.finished(task, read.requests, read.bytes_sent, at, is_failed=is_failed)
            if read.plan.is_around:
                self._replication.crowded(task.target)
            self._run(at)

        self._searches.look_after(task.target, keep_until, self._no_room, finish, now)

    def _hand_over(self, task: HandOver, now: Now) -> None:
        def report(operation: Operation, at: Now) -> None:
            assert isinstance(operation, Offer)
            assert operation.result is not None
            done = operation.result
            self._replication.finished(
                task,
                done.requests,
                done.bytes_sent,
                at,
                is_newer_there=done.is_newer_there,
                is_failed=done.is_failed,
            )
            self._run(at)

        offer = Offer(task.target, task.contact, self._store, self._no_room)
        self._operations.start(offer, report, now)


def _has_heard_all(read: Read) -> bool:
    """True if each of the n nearest answered: nobody farther took the place of one that did not."""
    assert read.result is not None
    near = (c for c in read.candidates if c.is_known or c.standing is Standing.ANSWERED)
    return all(c.standing is Standing.ANSWERED for c in islice(near, read.result.asked))

"""Tasks of replication that wait: for their time, for a free place in flight, for budget.

Nothing that waits is lost; whoever adds looks at `room` first, which bounds the memory.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    LEAVE_TASKS_IN_FLIGHT_MAX,
    REPLICATION_BURST_BYTES,
    REPLICATION_BURST_REQUESTS,
    REPLICATION_BYTES_PER_S,
    REPLICATION_REQUESTS_PER_S,
    REPLICATION_TASKS_IN_FLIGHT_MAX,
    REPLICATION_TASKS_WAITING_MAX,
)
from yzdht.rpc.bucket import Rate


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId, Target
    from yzdht.kad.table import Entry
    from yzdht.kad.turns import Others
    from yzdht.wire.address import Contact


class Refresh(NamedTuple):
    """Read a target thoroughly over the n nearest, beginning with what is held here, and repair them.

    Attributes:
        target: What to read.

    """

    target: Target


class HandOver(NamedTuple):
    """Offer what is held under a target to one node.

    Attributes:
        target: What to offer.
        contact: To whom.

    """

    target: Target
    contact: Contact


Task = Refresh | HandOver
Job = tuple["Target", "NodeId | None"]
"""A task as it waits: its target, and to whom for a hand-over; an address is looked up when it starts."""


class Budget:
    """A token bucket that may be overdrawn, for what has its price only afterwards.

    Args:
        rate: Tokens per second, and how many fit.

    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._level = rate.burst
        self._at = 0.0

    def spend(self, tokens: float, mono: float) -> None:
        """Take tokens, whether or not they are there."""
        if mono > self._at:
            self._level = min(self._rate.burst, self._level + (mono - self._at) * self._rate.per_s)
            self._at = mono
        self._level -= tokens

    @property
    def ready_at(self) -> float:
        """Monotonic seconds from which something may start."""
        if self._level > 0:
            return self._at
        return self._at + (1 - self._level) / self._rate.per_s


class Agenda:
    """What waits and what is under way.

    Args:
        find: The table's entry of a node; None if it left.
        skip: True if others have looked after a target and are relied on; it counts how often.

    """

    def __init__(
        self, find: Callable[[NodeId], Entry | None], skip: Callable[[Target, Others], bool]
    ) -> None:
        self._find = find
        self._skip = skip
        self._waiting: list[tuple[float, int, Job, Others | None]] = []  # a heap
        self._urgent: list[tuple[float, int, Job, Others | None]] = []  # another: what goes before that
        self._known: set[Job] = set()  # waiting or in flight
        self._in_flight = 0
        self._in_flight_max = REPLICATION_TASKS_IN_FLIGHT_MAX
        self._order = 0
        self._requests = Budget(Rate(REPLICATION_REQUESTS_PER_S, REPLICATION_BURST_REQUESTS))
        self._bytes = Budget(Rate(REPLICATION_BYTES_PER_S, REPLICATION_BURST_BYTES))
        self._is_hurried = False

    @property
    def room(self) -> int:
        """How many more tasks may wait."""
        return REPLICATION_TASKS_WAITING_MAX - len(self._waiting) - len(self._urgent)

    @property
    def targets(self) -> set[Target]:
        """Targets of what waits or is under way."""
        return {target for target, _ in self._known}

    @property
    def is_idle(self) -> bool:
        """True when nothing waits and nothing is under way."""
        return not self._known

    def add(
        self, due: float, target: Target, node_id: NodeId | None = None, *, unless: Others | None = None
    ) -> None:
        """Have something done, unless it waits or is under way already.

        Hand-overs, and refreshes in their place, go before all other refreshes: a lap that is behind must not hold up
        what keeps a record alive.

        Args:
            due: Monotonic seconds.
            target: Of what.
            node_id: To whom to hand it over; None for a refresh.
            unless: Drop it if these have looked after the target, and may be relied on.

        """
        job = (target, node_id)
        if job not in self._known:
            self._known.add(job)
            self._order += 1
            is_urgent = node_id is not None or unless is not None
            heapq.heappush(self._urgent if is_urgent else self._waiting, (due, self._order, job, unless))

    def limit(self, bytes_per_s: float) -> None:
        """From now on spend at most so many bytes per second, if that is less than the usual."""
        share = min(bytes_per_s / REPLICATION_BYTES_PER_S, 1.0)
        self._bytes = Budget(Rate(REPLICATION_BYTES_PER_S, REPLICATION_BURST_BYTES).times(share))

    def hurry(self) -> None:
        """Forget what waits, and from now on run LEAVE_TASKS_IN_FLIGHT_MAX at once without a budget."""
        self.clear()
        self._in_flight_max = LEAVE_TASKS_IN_FLIGHT_MAX
        self._is_hurried = True

    def clear(self) -> None:
        """Forget what waits."""
        for heap in (self._waiting, self._urgent):
            self._known.difference_update(job for _, _, job, _ in heap)
            heap.clear()

    def take(self, mono: float) -> list[Task]:
        """What may start now; each is under way until `finished`."""
        tasks: list[Task] = []
        while (at := self.next_time()) is not None and at <= mono:
            is_urgent = bool(self._urgent) and self._urgent[0][0] <= mono
            _, _, job, unless = heapq.heappop(self._urgent if is_urgent else self._waiting)
            is_done = unless is not None and self._skip(job[0], unless)
            task = None if is_done else self._task_of(job)
            if task is None:
                self._known.discard(job)
            else:
                self._in_flight += 1
                tasks.append(task)
        return tasks

    def _task_of(self, job: Job) -> Task | None:
        target, node_id = job
        if node_id is None:
            return Refresh(target)
        entry = self._find(node_id)
        return HandOver(target, entry.contact()) if entry is not None else None

    def finished(self, task: Task, requests: int, size: int, mono: float) -> None:
        """A task ended; what it cost is taken from the budget."""
        job = (task.target, task.contact.node_id if isinstance(task, HandOver) else None)
        if job not in self._known:
            return
        self._known.discard(job)
        self._in_flight -= 1
        self._requests.spend(requests, mono)
        self._bytes.spend(size, mono)

    def next_time(self) -> float | None:
        """Monotonic seconds at which `take` gives something; None for not before something ends or is added."""
        # Asked for after whatever happens to a node, when mostly nothing waits.
        waiting, urgent = self._waiting, self._urgent
        if not (waiting or urgent) or self._in_flight >= self._in_flight_max:
            return None
        due = min(heap[0][0] for heap in (waiting, urgent) if heap)
        return due if self._is_hurried else max(due, self._requests.ready_at, self._bytes.ready_at)

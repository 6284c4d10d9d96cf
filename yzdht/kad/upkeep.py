"""Knowing who is there: lookups that keep the table true, and dialling those that were only heard of.

PROTOCOL.md section 9, Join and Refresh. Points are measured by their distance to oneself, so that "bucket by bucket,
the near ones first" is one walk from distance 0 to the farthest. A lookup shows the BUCKET_SIZE nodes nearest to its
point, hence the whole block of ids around it in which there are no more than these. In a small network, which knows
everybody, the walk goes from block to block; in a large one from bucket to bucket.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING, Protocol

from yzdht.ids import ID_BYTES, NodeId, Target
from yzdht.limits import (
    ALPHA,
    BUCKET_SIZE,
    CONTACTS_HEARD_MAX,
    DISCOVERY_DEPTH_MAX,
    DISCOVERY_EVERY_S,
    DISCOVERY_EVERY_S_YOUNG,
    DISCOVERY_LOOKUPS_MAX,
    DISCOVERY_NEWCOMERS_MAX,
    DISCOVERY_NODES_MAX,
    DISCOVERY_QUIET_LOOKUPS,
    DISCOVERY_SOON_S,
    DISCOVERY_SWEEP_BITS,
    DISCOVERY_YOUNG_S,
    HEARD_AGAIN_S,
    HEARD_AGAIN_S_MIN,
    HEARD_CALLS_IN_FLIGHT_MAX,
    HEARD_PER_NAMER_MAX,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yzdht.kad.table import Entry
    from yzdht.ports import Now, Rng
    from yzdht.wire.address import Contact


_ID_BITS = 8 * ID_BYTES
_SPACE = 1 << _ID_BITS
_STRIDE_BITS_MIN = _ID_BITS - DISCOVERY_SWEEP_BITS


class Ground(Protocol):
    """What discovery asks of the table."""

    @property
    def is_small(self) -> bool:
        """True while everybody is kept."""
        ...

    def closest(self, target: Target | NodeId, count: int) -> list[Entry]:
        """The `count` nearest live nodes, nearest first."""
        ...


class _Unknown:
    """The ground of one who was given none: everything is within reach of every lookup."""

    is_small = True

    def closest(self, _target: Target | NodeId, _count: int) -> list[Entry]:
        return []


@dataclass(slots=True)
class _Round:
    """Lookups that follow each other at once.

    Attributes:
        aims: Points to look up first.
        is_of_newcomers: True if these are the ids of newcomers.
        walked: Distance from oneself below which everything was looked at; _SPACE if no walk is wanted.
        quiet_wanted: How many lookups in a row must name nobody new, at random points once the rest is done, in a
            small network.
        quiet: How many just did.
        extra: Lookups at random points.

    """

    aims: deque[int] = field(default_factory=deque)
    is_of_newcomers: bool = False
    walked: int = _SPACE
    quiet_wanted: int = DISCOVERY_QUIET_LOOKUPS
    quiet: int = 0
    extra: int = 0


class Discovery:
    """Decides when to look up what: to join, to refresh buckets, and when somebody new came.

    One lookup is under way at a time. Buckets in which the own nearest BUCKET_SIZE are, the home, are looked at by one
    lookup for oneself; the others each by a random point of theirs.

    Args:
        own_id: This node.
        rng: For points and jitter.
        ground: The table.
        hearsay: Who was named and not met yet.

    Attributes:
        is_complete: True once the first round is done.
        wanted: How many nodes the lookup of the last target should find.

    """

    def __init__(
        self, own_id: NodeId, rng: Rng, ground: Ground | None = None, hearsay: Hearsay | None = None
    ) -> None:
        self._own = int.from_bytes(own_id)
        self._rng = rng
        self._ground: Ground = ground if ground is not None else _Unknown()
        self._hearsay = hearsay if hearsay is not None else Hearsay()
        self._born_at: float | None = None
        self._soon_at: float | None = None
        self._next_at: float | None = None
        self._due: list[float] = []
        self._newcomers: OrderedDict[NodeId, None] = OrderedDict()
        self._is_crowd = False
        self._was_small = self._is_small = True
        self._round: _Round | None = None
        self._aim: int | None = None
        self.is_complete = False
        self.wanted = BUCKET_SIZE

    # Events

    def trigger(self, now: Now, newcomer: NodeId | None = None, *, was_named: bool = False) -> None:
        """Somebody entered the table; the first one starts the first round.

        A newcomer finds everybody by its own lookups. Ours serve the case that it comes from another network, or that
        many came at once and missed each other: looking around it, or everywhere after many, tells. It is done soon
        and once for all who came meanwhile. In a large network refreshing is enough.

        Args:
            now: The present.
            newcomer: Who; None if unknown.
            was_named: True if a lookup of ours had named it (`Hearsay.met`), so that nothing else follows from it.

        """
        if self._born_at is None:
            self._born_at = self._soon_at = self._next_at = now.mono
            return
        if was_named or (newcomer is None and self._round is not None):
            return
        self._judge_size()
        if not self._is_small:
            return
        self._note_newcomer(newcomer)
        self._look_soon(now)

    def _note_newcomer(self, newcomer: NodeId | None) -> None:
        if newcomer is not None:
            self._newcomers[newcomer] = None
        if newcomer is None or len(self._newcomers) > DISCOVERY_NEWCOMERS_MAX:
            self._newcomers.clear()
            self._is_crowd = True

    def _look_soon(self, now: Now) -> None:
        if self._soon_at is None:
            self._soon_at = now.mono + self._rng.uniform(*DISCOVERY_SOON_S)
            self._plan()

    def looked_up(self, target: Target | NodeId, now: Now) -> None:
        """A read, a write or a lookup approached this point: its bucket is fresh."""
        index = _ID_BITS - (int.from_bytes(target) ^ self._own).bit_length()
        if index < len(self._due) - 1:
            self._due[index] = self._next_refresh(now)

    def next_timer(self) -> float | None:
        """When `next_target` may have something, monotonic seconds; None while a lookup is under way."""
        return None if self._aim is not None else self._next_at

    def next_target(self, now: Now) -> Target | None:
        """The point to look up now, None if nothing is due; `finished` must follow."""
        self._notice_shrinking(now)
        if self._aim is not None or self._next_at is None or now.mono < self._next_at:
            return None
        if self._round is None:
            self._round = self._begin(now)
        aim = None if self._round is None else self._next_aim(self._round)
        if aim is None:
            self._plan()
            return None
        self._aim = aim
        self.wanted = BUCKET_SIZE if aim == self._own else ALPHA
        return Target(aim.to_bytes(ID_BYTES))

    @property
    def is_own_choice(self) -> bool:
        """True if the last target is a point that this node chose itself."""
        return self._round is not None and not self._round.is_of_newcomers

    def finished(self, new_contacts: int, now: Now, *, is_answered: bool = True) -> bool:
        """A lookup ended.

        Args:
            new_contacts: How many it named whom nobody had named before.
            now: The present.
            is_answered: False if nobody answered; the bucket then stays due, for soon.

        Returns:
            True if it completed the round.

        """
        aim, current = self._aim, self._round
        assert aim is not None
        assert current is not None
        self._aim = None
        self._judge_size()
        bits = self._reach_bits(aim)
        if aim == self._own and is_answered:
            self._settle_home(bits, now)
        self._mark(aim, now, is_answered=is_answered)
        current.quiet = 0 if new_contacts else current.quiet + 1
        if current.walked < _SPACE and not current.aims:
            current.walked = max(current.walked, self._walked_to(aim ^ self._own, bits))
        if self._has_more(current):
            self._next_at = now.mono
            return False
        self._round = None
        self.is_complete = True
        self._plan()
        return True

    # Rounds

    def _begin(self, now: Now) -> _Round | None:
        """The round that is due."""
        if self._soon_at is not None and self._soon_at <= now.mono:
            is_walk = self._is_crowd or not self.is_complete or not self._newcomers
            aims = deque(int.from_bytes(newcomer) for newcomer in self._newcomers)
            self._soon_at, self._is_crowd = None, False
            self._newcomers.clear()
            return _Round(walked=0) if is_walk else _Round(aims, is_of_newcomers=True)
        if not self._due:
            return _Round(deque([self._own]), quiet_wanted=0)
        index = min(range(len(self._due)), key=self._due.__getitem__)
        if self._due[index] > now.mono:
            return None
        return _Round(deque([self._point_of(index)]), quiet_wanted=0)

    def _point_of(self, index: int) -> int:
        """A random point of a bucket; oneself for the home."""
        if index == len(self._due) - 1:
            return self._own
        return self._own ^ self._random_from(1 << (_ID_BITS - 1 - index))

    def _random_from(self, power: int) -> int:
        """A random number of the same length as a power of two."""
        return power | (int.from_bytes(self._rng.token(ID_BYTES)) & (power - 1))

    def _has_more(self, current: _Round) -> bool:
        if current.aims or current.walked < _SPACE:
            return True
        is_restless = current.quiet < current.quiet_wanted and current.extra < DISCOVERY_LOOKUPS_MAX
        return is_restless and self._is_small

    def _next_aim(self, current: _Round) -> int:
        if current.aims:
            return current.aims.popleft()
        if current.walked < _SPACE:
            is_bucket = current.walked and not self._is_by_blocks(current.walked)
            return self._own ^ (self._random_from(current.walked) if is_bucket else current.walked)
        current.extra += 1
        return int.from_bytes(self._rng.token(ID_BYTES))

    def _is_by_blocks(self, distance: int) -> bool:
        """Does the walk go from block to block at this distance, rather than from bucket to bucket?

        A block is at least one of 2^DISCOVERY_SWEEP_BITS parts of the space, so that no crowd of ids, true or invented,
        makes the walk long. Nearer than that a bucket is narrow enough: either nobody is there, or the network is large
        and not yet seen to be.
        """
        return self._is_small and distance >> _STRIDE_BITS_MIN > 0

    def _walked_to(self, distance: int, bits: int) -> int:
        """Where the walk goes on after a lookup at this distance that showed a block of 2^bits ids."""
        shown = ((distance >> bits) + 1) << bits
        if self._is_by_blocks(distance):
            return max(shown, ((distance >> _STRIDE_BITS_MIN) + 1) << _STRIDE_BITS_MIN)
        return max(1 << distance.bit_length(), 1 << (shown - 1).bit_length())

    def _reach_bits(self, aim: int) -> int:
        """How many low bits of the looked up point may vary such that all nodes there are known now.

        Those only heard of count, since most lookups ask few and hear of many; not so around oneself, where a lookup
        asks all and an inventor of neighbours must not make the home narrow.
        """
        target = Target(aim.to_bytes(ID_BYTES))
        distances = [entry.point ^ aim for entry in self._ground.closest(target, BUCKET_SIZE)]
        if aim != self._own:
            distances.extend(point ^ aim for point in self._hearsay.points())
        nearest = nsmallest(BUCKET_SIZE, distances)
        if len(nearest) < BUCKET_SIZE:
            return _ID_BITS
        return max(nearest[-1].bit_length() - 1, _ID_BITS - DISCOVERY_DEPTH_MAX)

    # Refreshing

    def _settle_home(self, bits: int, now: Now) -> None:
        """The own nearest fill these bits: buckets outside are refreshed each for itself."""
        size = _ID_BITS - bits + 1
        del self._due[size:]
        while len(self._due) < size:
            self._due.append(self._next_refresh(now))

    def _mark(self, aim: int, now: Now, *, is_answered: bool) -> None:
        if not self._due:
            self._due.append(0.0)
        index = min(_ID_BITS - (aim ^ self._own).bit_length(), len(self._due) - 1)
        is_home = index == len(self._due) - 1
        if is_home and aim != self._own and len(self._due) > 1:
            return
        self._due[index] = self._next_refresh(now, is_soon=not is_answered)

    def _next_refresh(self, now: Now, *, is_soon: bool = False) -> float:
        assert self._born_at is not None
        is_young = now.mono - self._born_at < DISCOVERY_YOUNG_S
        every_s = DISCOVERY_EVERY_S_YOUNG if is_young or is_soon else DISCOVERY_EVERY_S
        return now.mono + every_s * self._rng.uniform(0.75, 1.25)

    def _plan(self) -> None:
        """Find when something is due next, unless a round goes on."""
        if self._round is None:
            times = self._due if self._soon_at is None else [*self._due, self._soon_at]
            self._next_at = min(times, default=None)

    # The size of the network

    def _judge_size(self) -> None:
        """Small is what the table takes for small, unless the own neighbourhood is too dense for that.

        A table of a large network may hold few, so that it would keep everybody. To go out and meet everybody is then
        in vain, and when all do it a flood.
        """
        self._is_small = self._ground.is_small
        if self._is_small:
            home = self._ground.closest(Target(self._own.to_bytes(ID_BYTES)), BUCKET_SIZE)
            if len(home) == BUCKET_SIZE:
                radius = max(entry.point ^ self._own for entry in home)
                self._is_small = DISCOVERY_NODES_MAX * radius >= BUCKET_SIZE * _SPACE

    def _notice_shrinking(self, now: Now) -> None:
        """A network that became small is one to know everybody of."""
        is_small = self._ground.is_small
        if is_small and not self._was_small and self._born_at is not None:
            self._judge_size()
            if self._is_small:
                self._is_crowd = True
                self._look_soon(now)
        self._was_small = is_small


@dataclass(frozen=True, slots=True)
class _Rest:
    until: float
    pause_s: float


def _always(_point: int) -> bool:
    return True


class Hearsay:
    """Contacts that others named and nobody has met: a bounded queue of those to dial.

    Namers take turns, and each has only so many in the queue: who names many keeps nobody else's waiting. A contact
    that could not be reached rests, however often it is named, HEARD_AGAIN_S_MIN at first and up to HEARD_AGAIN_S;
    named with other addresses it is another.

    Args:
        wants: Would the table take a node of that id now?

    Attributes:
        heard: How many new ones were named so far.
        unwanted: How many of them nobody has dialled, because the table has no place for them.

    """

    def __init__(self, wants: Callable[[int], bool] = _always) -> None:
        self.heard = 0
        self.unwanted = 0
        self._wants = wants
        self._waiting: dict[NodeId, NodeId | None] = {}
        self._named: OrderedDict[NodeId | None, OrderedDict[NodeId, Contact]] = OrderedDict()
        self._in_flight: dict[NodeId, Contact] = {}
        self._rests: OrderedDict[tuple[NodeId, tuple[str, ...]], _Rest] = OrderedDict()

    def hear(self, contact: Contact, mono: float, namer: NodeId | None = None) -> bool:
        """Queue a contact; True if it is new here and will be dialled."""
        rest = self._rests.get((contact.node_id, contact.urls))
        if rest is not None and mono < rest.until:
            return False
        if contact.node_id in self._waiting or contact.node_id in self._in_flight:
            return False
        if not self._wants(int.from_bytes(contact.node_id)):
            self.unwanted += 1
            return False
        if not self._make_room(namer):
            return False
        self._named.setdefault(namer, OrderedDict())[contact.node_id] = contact
        self._waiting[contact.node_id] = namer
        self.heard += 1
        return True

    def _make_room(self, namer: NodeId | None) -> bool:
        """True if this namer has room in the queue; when all is full whoever has most there gives way."""
        has = len(self._named.get(namer, ()))
        if has >= HEARD_PER_NAMER_MAX:
            return False
        if len(self._waiting) < CONTACTS_HEARD_MAX:
            return True
        longest = max(self._named.values(), key=len)
        if len(longest) <= has + 1:
            return False
        node_id = next(reversed(longest))
        self._drop(node_id)
        return True

    def _drop(self, node_id: NodeId) -> Contact | None:
        if node_id not in self._waiting:
            return None
        namer = self._waiting.pop(node_id)
        contact = self._named[namer].pop(node_id)
        if not self._named[namer]:
            del self._named[namer]
        return contact

    def take(self) -> list[Contact]:
        """Contacts to dial now; at most HEARD_CALLS_IN_FLIGHT_MAX are under way."""
        taken: list[Contact] = []
        while self._waiting and len(self._in_flight) < HEARD_CALLS_IN_FLIGHT_MAX:
            namer = next(iter(self._named))
            self._named.move_to_end(namer)
            node_id = next(iter(self._named[namer]))
            contact = self._drop(node_id)
            assert contact is not None
            if self._wants(int.from_bytes(node_id)):
                self._in_flight[node_id] = contact
                taken.append(contact)
            else:
                self.unwanted += 1
        return taken

    def ended(self, node_id: NodeId, mono: float, *, is_reached: bool) -> None:
        """A dial ended."""
        contact = self._in_flight.pop(node_id, None)
        if contact is None:
            return
        key = (node_id, contact.urls)
        rest = self._rests.pop(key, None)
        if is_reached:
            return
        pause_s = HEARD_AGAIN_S_MIN if rest is None else min(2 * rest.pause_s, HEARD_AGAIN_S)
        self._rests[key] = _Rest(mono + pause_s, pause_s)
        if len(self._rests) > CONTACTS_HEARD_MAX:
            self._rests.popitem(last=False)

    def met(self, node_id: NodeId) -> bool:
        """The contact is a peer now; True if it had been heard of, so that a lookup of ours led to it."""
        was_waiting = self._drop(node_id) is not None
        contact = self._in_flight.get(node_id)
        if contact is not None:
            self._rests.pop((node_id, contact.urls), None)
        return was_waiting or contact is not None

    def points(self) -> Iterator[int]:
        """The ids of those to dial and of those being dialled."""
        for node_id in self._waiting:
            yield int.from_bytes(node_id)
        for node_id in self._in_flight:
            yield int.from_bytes(node_id)

    @property
    def is_idle(self) -> bool:
        """True when nobody is left to dial."""
        return not self._waiting and not self._in_flight

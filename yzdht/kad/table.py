"""Who is known: the routing table, which keeps everybody while that is possible (PROTOCOL.md section 9).

A node enters only after a handshake has shown its id, and leaves after MISSED_PROBES_MAX missed probes; it is then
remembered for a day, because a write with cas counts it as existing, and tried again from time to time, because
a partition heals. Client-only peers are never here.

Buckets are told apart by the leading bits that a node shares with this one; that is the tree of the paper, in which
only the bucket of the own id splits. Up to SMALL_NETWORK_NODES_MAX known nodes everybody has a place. Above, a
bucket of BUCKET_SIZE takes nobody else, and who comes waits in its cache; who has a place keeps it while it lives.
"""

from __future__ import annotations

from collections import deque
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple

from yzdht.ids import ID_BYTES
from yzdht.kad.bucket import Bucket, Entry
from yzdht.kad.departed import Departed
from yzdht.kad.probes import Probes
from yzdht.limits import (
    BUCKET_SIZE,
    CAS_REMEMBERS_S,
    CROWDED_OUT_S,
    DEPARTED_RETRY_S_MIN,
    IDLE_PROBE_S,
    LONG_STANDING_S,
    MISSED_PROBES_MAX,
    NODES_PER_PREFIX_MAX,
    NODES_PER_PREFIX_PER_BUCKET_MAX,
    PROBE_AGAIN_S,
    PROBE_EVERY_S,
    REFUSED_REMEMBERED_MAX,
    SHRUNK_S,
    SMALL_AGAIN_NODES_MAX,
    SMALL_NETWORK_NODES_MAX,
    TABLE_CHANGES_MAX,
    WAITING_PROBE_S,
)
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yzdht.ids import NodeId, Target
    from yzdht.kad.departed import Gone


__all__ = ["Change", "Entry", "Table"]


_ID_BITS = 8 * ID_BYTES


class Change(NamedTuple):
    """A node got a place in the table, or lost it."""

    entry: Entry
    is_arrival: bool


def _never(_prefix: str) -> bool:
    return False


class Table:
    """Who has a place, who waits for one, and who left.

    Args:
        own_id: This node's id, which is never in the table.
        is_exempt: True for a public prefix that the operator trusts: its nodes are not counted.

    """

    def __init__(self, own_id: NodeId, is_exempt: Callable[[str], bool] = _never) -> None:
        self._own_id = own_id
        self._own_point = int.from_bytes(own_id)
        self._is_exempt = is_exempt
        self._entries: dict[NodeId, Entry] = {}
        self._waiting: dict[NodeId, Entry] = {}
        self._departed = Departed(self._own_point)
        self._buckets: list[Bucket] = []  # as many as are in use; the farthest first
        self._probes = Probes(self._due_at)
        self._changes: deque[Change] = deque(maxlen=TABLE_CHANGES_MAX)
        self._refused: dict[int, None] = {}
        self._storing = 0
        self._is_small = True
        self._crowded_out_at = self._shrunk_at = float("-inf")
        self._is_whole: bool | None = None  # to be found out
        self._mono = 0.0  # the latest time heard of

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, node_id: NodeId) -> Entry | None:
        """The entry of a node in the table."""
        return self._entries.get(node_id)

    def known(self) -> list[Entry]:
        """Everybody in the table, then who waits for a place, then everybody who left and is still tried."""
        departed = (d.entry for d in self._departed.values())
        return [*self._entries.values(), *self._waiting.values(), *departed]

    # Room

    @property
    def is_small(self) -> bool:
        """True while everybody is kept, as far as the diversity limits allow."""
        return self._is_small

    @property
    def knows_everybody(self) -> bool:
        """True if the table is small and its neighbourhood is no denser than the rest of it.

        A table of a large network need not hold many, most of all after many died at once: it only holds nearly all of
        those near the own id. Where they stand twice as close as all who are known would, others are not known. Nor are
        those whom the diversity limits kept out within the last hour. And a table that was large meets the others again
        only by and by: it is believed to know them half an hour later, since a wrong yes stores records in the wrong
        place, and a wrong no costs an approach.
        """
        if self._mono < max(self._crowded_out_at + CROWDED_OUT_S, self._shrunk_at + SHRUNK_S):
            return False
        if self._is_whole is None:
            near = self.closest(self._own_id, BUCKET_SIZE) if self._is_small else []
            crowd = len(near) << _ID_BITS
            is_even = len(near) < BUCKET_SIZE or crowd <= 2 * len(self) * (near[-1].point ^ self._own_point)
            self._is_whole = self._is_small and is_even
        return self._is_whole

    def wants(self, point: int) -> bool:
        """Would a node of that id get a place now, were it alive? Not one that diversity refused of late."""
        if point == self._own_point or point in self._refused:
            return False
        index = self._index(point)
        return index >= len(self._buckets) or self._has_room(self._buckets[index])

    def _has_room(self, bucket: Bucket, *, is_known: bool = False) -> bool:
        if len(bucket.entries) < BUCKET_SIZE:
            return True
        known = len(self._entries) + len(self._waiting) - is_known
        return self._is_small and known < SMALL_NETWORK_NODES_MAX

    def _judge_size(self, mono: float) -> None:
        """Large from the first one too many; small again only when there is room for many, so nothing flaps."""
        known = len(self._entries) + len(self._waiting)
        self._is_whole = None
        if self._is_small:
            self._is_small = known <= SMALL_NETWORK_NODES_MAX
        elif known <= SMALL_AGAIN_NODES_MAX:
            self._is_small = True
            self._shrunk_at = mono
            for bucket in self._buckets:
                self._offer(bucket, mono)

    def _is_crowded(self, bucket: Bucket, entry: Entry) -> bool:
        """Have nodes of one prefix as many places as they may: a network rented in one place is one operator's."""
        prefix, node_id = entry.prefix, entry.node_id
        if prefix is None or self._is_exempt(prefix):
            return False
        alike = [e for e in self._entries.values() if e.prefix == prefix and e.node_id != node_id]
        here = sum(1 for e in alike if e.point in bucket.entries)
        return here >= NODES_PER_PREFIX_PER_BUCKET_MAX or len(alike) >= NODES_PER_PREFIX_MAX

    # Buckets

    def bucket_sizes(self) -> list[tuple[int, int, int]]:
        """Of each bucket in use: its index, how many have a place in it, how many wait for one."""
        sizes = ((i, len(b.entries), len(b.waiting)) for i, b in enumerate(self._buckets))
        return [size for size in sizes if size[1] or size[2]]

    def _index(self, point: int) -> int:
        """Which bucket a point falls in: the leading bits it shares with the own id, 0 to 255."""
        return min(_ID_BITS - (point ^ self._own_point).bit_length(), _ID_BITS - 1)

    def _bucket_of(self, point: int) -> Bucket:
        index = self._index(point)
        while index >= len(self._buckets):
            self._buckets.append(Bucket())
        return self._buckets[index]

    def _outwards(self, point: int) -> Iterator[Bucket]:
        """All buckets, each with nobody farther from a point than anybody in those that follow.

        First the point's own. Nearer to this node than that: whoever of a bucket i differs from this node in bit i and
        agrees in those above, so where this node differs from the point in bit i, the bucket is nearer to the point
        than all that are deeper; where it does not, it is farther than those. The buckets farther from this node than
        the point come last.
        """
        buckets, index = self._buckets, self._index(point)
        last = len(buckets) - 1
        if index <= last:
            yield buckets[index]
        deeper = range(index + 1, last + 1)
        away = point ^ self._own_point
        differs = {i for i in deeper if away >> (_ID_BITS - 1 - i) & 1}
        yield from (buckets[i] for i in deeper if i in differs)
        yield from (buckets[i] for i in reversed(deeper) if i not in differs)
        yield from (buckets[i] for i in range(min(index - 1, last), -1, -1))

    # Who is near

    def closest(self, target: Target | NodeId, count: int, *, only_storing: bool = False) -> list[Entry]:
        """The exact `count` nearest live nodes, nearest first."""
        point = int.from_bytes(target)
        found: list[Entry] = []
        for bucket in self._outwards(point):
            found += bucket.nearest(point, count - len(found), only_storing=only_storing)
            if len(found) >= count:
                break
        return found

    def closest_of_a_day(self, target: Target, count: int, mono: float) -> list[Entry]:
        """The nearest storage nodes seen in the last day, dead or not: those that a write with cas counts."""
        point = int.from_bytes(target)
        others = [*self._waiting.values(), *(d.entry for d in self._departed.values())]
        recent = (e for e in others if e.has_session or e.seen_at >= mono - CAS_REMEMBERS_S)
        entries = [*self._entries.values(), *recent]
        return nsmallest(count, (e for e in entries if e.is_storing), key=lambda e: e.point ^ point)

    def storing(self) -> int:
        """How many storage nodes are live."""
        return self._storing

    def take_changes(self) -> list[Change]:
        """Who came and who left since this was last asked, in order; the last TABLE_CHANGES_MAX."""
        if not self._changes:
            return []
        changes = list(self._changes)
        self._changes.clear()
        return changes

    # Coming

    def admit(self, entry: Entry) -> Entry | None:
        """Put a node in whose id was just proved; returns its entry, None if it may not enter.

        One that is here already keeps its place, with the capabilities, host and prefix that it shows now, or loses it
        for them. One whose bucket is full waits in its cache until a place is free.

        Args:
            entry: With host and prefix, if they are known.

        """
        self._mono = max(self._mono, entry.seen_at)
        if entry.node_id == self._own_id:
            return None
        bucket = self._bucket_of(entry.point)
        if entry.caps & Caps.CLIENT or not entry.caps & Caps.ROUTING:
            self._stop_waiting(entry.node_id, bucket)
            self._leave(entry.node_id)
            return None
        known = self._entries.get(entry.node_id)
        if known is not None:
            return self._met_again(known, entry, bucket)
        self._recall(entry)
        if self._is_crowded(bucket, entry):
            self._stop_waiting(entry.node_id, bucket)
            self._refuse(entry.point)
            return None
        if self._has_room(bucket, is_known=entry.node_id in self._waiting):
            return self._enter(entry, bucket)
        entry.has_session = True
        self._keep_waiting(entry, bucket)
        self._doubt_idlest(bucket)
        return None

    def _met_again(self, known: Entry, shown: Entry, bucket: Bucket) -> Entry | None:
        """Take in what a node in the table shows now.

        One that moves to where too many are already gives up its place: otherwise ids would enter one by one through
        borrowed addresses and gather behind one. Who has been here for long stays: nobody is pushed out by neighbours.
        """
        if shown.host and shown.prefix != known.prefix:
            has_stood_s = known.seen_at - (known.since or 0.0)
            if has_stood_s < LONG_STANDING_S and self._is_crowded(bucket, shown):
                self._leave(known.node_id)
                self._refuse(known.point)
                return None
        if shown.host:
            known.host, known.prefix = shown.host, shown.prefix
        self._storing -= known.is_storing
        known.learn(known.addresses, shown.caps)
        self._storing += known.is_storing
        return known

    def _recall(self, entry: Entry) -> None:
        """Give a node that was known before its addresses back."""
        before = self._waiting.get(entry.node_id)
        if before is None and entry.node_id in self._departed:
            before = self._departed[entry.node_id].entry
        if before is not None:
            entry.addresses = entry.addresses or before.addresses
            entry.worked_url = entry.worked_url or before.worked_url
            entry.since = before.since

    def _enter(self, entry: Entry, bucket: Bucket) -> Entry:
        self._departed.pop(entry.node_id, None)
        self._refused.pop(entry.point, None)
        self._waiting.pop(entry.node_id, None)
        bucket.waiting.pop(entry.node_id, None)
        entry.since = self._mono
        self._entries[entry.node_id] = bucket.entries[entry.point] = entry
        self._storing += entry.is_storing
        self._changes.append(Change(entry, is_arrival=True))
        self._judge_size(self._mono)
        self._schedule(entry)
        return entry

    def _refuse(self, point: int) -> None:
        """Remember whom diversity keeps out, until somebody leaves: who is named is not dialled for nothing."""
        self._crowded_out_at = self._mono
        self._refused[point] = None
        if len(self._refused) > REFUSED_REMEMBERED_MAX:
            del self._refused[next(iter(self._refused))]

    # Waiting

    def _keep_waiting(self, entry: Entry, bucket: Bucket) -> bool:
        """Put a live node without a place in its bucket's cache, if it may be there."""
        entry.seen_at = self._mono
        does_wait, gone = bucket.keep_waiting(entry, self._rivals(entry, bucket))
        if gone is not None:
            del self._waiting[gone.node_id]
            self._probes.forget(gone.node_id)
        if does_wait:
            self._departed.pop(entry.node_id, None)
            self._waiting[entry.node_id] = entry
            self._schedule(entry)
        else:
            self._waiting.pop(entry.node_id, None)
        self._judge_size(self._mono)
        return does_wait

    def _rivals(self, entry: Entry, bucket: Bucket) -> list[Entry] | None:
        """Who waits with the same prefix, if no more of it may wait: no operator fills a cache from one network."""
        prefix, node_id = entry.prefix, entry.node_id
        if prefix is None or self._is_exempt(prefix):
            return None
        waiting = [e for e in self._waiting.values() if e.prefix == prefix and e.node_id != node_id]
        alike = [*(e for e in self._entries.values() if e.prefix == prefix), *waiting]
        here = [e for e in waiting if e.node_id in bucket.waiting]
        places = sum(1 for e in bucket.entries.values() if e.prefix == prefix)
        if places + len(here) < NODES_PER_PREFIX_PER_BUCKET_MAX and len(alike) < NODES_PER_PREFIX_MAX:
            return None
        return here

    def _stop_waiting(self, node_id: NodeId, bucket: Bucket) -> None:
        if self._waiting.pop(node_id, None) is not None:
            del bucket.waiting[node_id]
            self._probes.forget(node_id)
            self._judge_size(self._mono)

    def _doubt_idlest(self, bucket: Bucket) -> None:
        """Somebody waits: ask the least recently seen whether it is still there, unless that was heard just now."""
        idlest = bucket.idlest()
        if idlest is not None and self._mono - idlest.seen_at >= PROBE_EVERY_S:
            idlest.probe_at = self._mono
            self._schedule(idlest)

    def _offer(self, bucket: Bucket, mono: float) -> None:
        """Probe as many of those who wait as there are free places: who answers enters."""
        if not bucket.waiting:
            return
        free = len(bucket.waiting) if self._is_small else BUCKET_SIZE - len(bucket.entries)
        free -= sum(1 for e in bucket.waiting.values() if e.is_in_line)
        for entry in bucket.queue():
            if free <= 0:
                return
            if not self._is_crowded(bucket, entry):
                entry.probe_at = mono
                self._schedule(entry)
                free -= 1

    # Signs of life

    def alive(self, node_id: NodeId, mono: float) -> Entry | None:
        """A node answered; its entry if that brings it into the table, else None.

        A session can outlast a stay in the table: no handshake tells then that the node is back.
        """
        self._mono = max(self._mono, mono)
        entry = self._entries.get(node_id)
        if entry is not None:
            self._note_life(entry, mono)
            return None
        waiting = self._waiting.get(node_id)
        if waiting is not None:
            self._note_life(waiting, mono)
            return self._place(waiting)
        departed = self._departed.get(node_id)
        if departed is None:
            return None
        self._note_life(departed.entry, mono)
        departed.entry.has_session = True
        placed = self._place(departed.entry)
        if placed is None and node_id in self._departed:
            departed.entry.has_session = False
            self._postpone(departed, mono)
        return placed

    def _note_life(self, entry: Entry, mono: float) -> None:
        is_unlisted = entry.is_probed or not entry.has_session
        entry.seen_at, entry.missed = mono, 0
        entry.probe_at, entry.is_probed = None, False
        if is_unlisted:
            self._schedule(entry)

    def _place(self, entry: Entry) -> Entry | None:
        """Give a live node a place, if there is one for it; else have it wait."""
        bucket = self._bucket_of(entry.point)
        is_known = entry.node_id in self._waiting
        is_crowded = self._is_crowded(bucket, entry)
        if not is_crowded and self._has_room(bucket, is_known=is_known):
            return self._enter(entry, bucket)
        if is_known:
            bucket.seen(entry)
            self._offer(bucket, self._mono)
        elif not is_crowded:
            self._keep_waiting(entry, bucket)
        return None

    def session_ended(
        self, node_id: NodeId, mono: float, *, is_goodbye: bool = False, is_parting: bool = False
    ) -> None:
        """The last session with a node ended: probe it at once, if it has a place.

        Where sessions are fewer than nodes they take turns: whose was closed for its place alone is as live as before.

        One missed probe is enough against a node that said goodbye: while it counted as live for three, a few that
        leave one after the other would take their quorums with them.
        """
        self._mono = max(self._mono, mono)
        entry = self._entries.get(node_id)
        if entry is not None:
            entry.has_session, entry.is_parted = False, is_parting
            if is_parting:
                entry.seen_at = mono
            else:
                entry.probe_at = None if entry.is_probed else mono
            if is_goodbye:
                entry.missed = MISSED_PROBES_MAX - 1
            self._schedule(entry)
            return
        waiting = self._waiting.get(node_id)
        if waiting is not None:
            waiting.has_session, waiting.seen_at = False, mono
            self._bucket_of(waiting.point).seen(waiting)
            self._schedule(waiting)

    # Leaving

    def remember(self, entry: Entry, mono: float) -> None:
        """Take in a node known from before a restart: not in the table, but tried at once."""
        is_known = entry.node_id in self._entries or entry.node_id in self._waiting
        if entry.node_id != self._own_id and not is_known:
            self._depart(entry, mono)

    def _leave(self, node_id: NodeId) -> None:
        """Take a node out of the table; who waits for its place is asked."""
        entry = self._entries.pop(node_id, None)
        if entry is None:
            return
        bucket = self._bucket_of(entry.point)
        del bucket.entries[entry.point]
        self._storing -= entry.is_storing
        self._probes.forget(node_id)
        self._refused.clear()
        self._changes.append(Change(entry, is_arrival=False))
        self._judge_size(self._mono)
        self._offer(bucket, self._mono)

    def _depart(self, entry: Entry, retry_at: float) -> None:
        entry.has_session = entry.is_probed = False
        entry.probe_at = None
        self._departed.add(entry, self._mono, retry_at)
        self._probes.at(entry.node_id, retry_at)

    def _postpone(self, gone: Gone, mono: float) -> None:
        self._departed.postpone(gone, mono)
        self._probes.at(gone.entry.node_id, gone.retry_at)

    # Probing

    def probe_soon(self, node_id: NodeId, mono: float) -> None:
        """A call to a node failed: probe it, unless a probe is under way or due."""
        entry = self._entries.get(node_id)
        if entry is not None and not entry.is_in_line:
            entry.probe_at = mono
            self._schedule(entry)

    def probe_ended(self, node_id: NodeId, mono: float, *, is_missed: bool) -> bool:
        """A probe has no answer; `is_missed` if the node is to blame. True if it left the table for it."""
        self._mono = max(self._mono, mono)
        entry = self._entries.get(node_id)
        if entry is None:
            self._stranger_missed(node_id, mono, is_missed=is_missed)
            return False
        entry.is_probed = False
        entry.missed += is_missed
        if entry.missed < MISSED_PROBES_MAX:
            entry.probe_at = mono + PROBE_AGAIN_S * max(entry.missed, 1)
            self._schedule(entry)
            return False
        self._leave(node_id)
        self._depart(entry, mono + DEPARTED_RETRY_S_MIN)
        return True

    def _stranger_missed(self, node_id: NodeId, mono: float, *, is_missed: bool) -> None:
        """Who waits has one chance, and three if something else went wrong; who left is tried again later."""
        departed = self._departed.get(node_id)
        if departed is not None and is_missed:
            self._postpone(departed, mono)
        entry = self._waiting.get(node_id)
        if entry is None:
            return
        entry.is_probed = False
        entry.missed += 1
        if not is_missed and entry.missed < MISSED_PROBES_MAX:
            entry.probe_at = mono + PROBE_AGAIN_S
            self._schedule(entry)
            return
        bucket = self._bucket_of(entry.point)
        self._stop_waiting(node_id, bucket)
        if entry.since is not None:  # it had a place once
            self._depart(entry, mono + DEPARTED_RETRY_S_MIN)
        self._offer(bucket, mono)

    def probes_due(self, mono: float) -> list[Entry]:
        """Nodes to probe now, the least recently seen first, who left last; each is then under way until it ends."""
        self._mono = max(self._mono, mono)
        due, gone = [], []
        for node_id in self._probes.take(mono):
            entry = self._entries.get(node_id) or self._waiting.get(node_id)
            if entry is not None:
                entry.probe_at, entry.is_probed = None, True
                due.append(entry)
            else:
                departed = self._departed[node_id]
                if self._departed.tried(departed, mono):
                    self._probes.at(node_id, departed.retry_at)
                    gone.append(departed.entry)
        due.sort(key=lambda e: e.seen_at)
        return due + gone

    def next_probe(self) -> float | None:
        """Monotonic seconds at which a probe is due; None for never."""
        return self._probes.next()

    def _schedule(self, entry: Entry) -> None:
        due = self._due_at(entry.node_id)
        if due is not None:
            self._probes.at(entry.node_id, due)

    def _due_at(self, node_id: NodeId) -> float | None:
        """When to probe a node, whether it has a place, waits for one, or left."""
        entry, silent_s = self._entries.get(node_id), IDLE_PROBE_S
        if entry is None:
            entry, silent_s = self._waiting.get(node_id), WAITING_PROBE_S
        if entry is None:
            departed = self._departed.get(node_id)
            return None if departed is None else departed.retry_at
        if entry.is_in_line or entry.has_session:
            return entry.probe_at
        return entry.seen_at + silent_s

"""The table against a plain model: nodes that come, die, move and return, swarms that make the network large."""

from __future__ import annotations

from itertools import count

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.kad.kit import NODE, entry, node_id
from yzdht.ids import Target
from yzdht.kad.table import Entry, Table
from yzdht.limits import (
    BUCKET_SIZE,
    CAS_REMEMBERS_S,
    DEPARTED_MAX,
    IDLE_PROBE_S,
    MISSED_PROBES_MAX,
    NODES_PER_PREFIX_MAX,
    NODES_PER_PREFIX_PER_BUCKET_MAX,
    SMALL_AGAIN_NODES_MAX,
    SMALL_NETWORK_NODES_MAX,
    WAITING_PROBE_S,
)
from yzdht.wire.frame import Caps


EXEMPT, CROWDED, OTHER = "198.18.0.0/24", "203.0.113.0/24", "198.51.100.0/24"
PREFIXES = st.sampled_from((None, None, EXEMPT, CROWDED, OTHER))
BUCKETS = st.sampled_from((0, 0, 0, 1, 1, 2, 12, 14))
PICKS = st.integers(0, 1 << 20)
CAPS = st.sampled_from((NODE, NODE, NODE & ~Caps.STORAGE))
TARGETS = st.binary(min_size=32, max_size=32).map(Target)


class AnyTable(RuleBasedStateMachine):
    """Who has a place is told from the changes; everything else is counted afresh each time."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(node_id(0), EXEMPT.__eq__)
        self.mono = 1.0
        self.numbers = count(1)
        self.met: list[int] = []
        self.dead: set[int] = set()
        self.missed: dict[int, int] = {}
        self.placed: dict[int, Entry] = {}
        self.may_leave: set[int] = set()
        self.was_small = True

    # What the model knows

    def bucket(self, point: int) -> int:
        return 256 - point.bit_length()

    def in_bucket(self, bucket: int) -> list[Entry]:
        return [e for e in self.placed.values() if self.bucket(e.point) == bucket]

    @property
    def waiting(self) -> list[Entry]:
        known = self.table.known()
        return known[len(self.table) : len(known) - len(self.table._departed)]

    def has_room(self, point: int, *, waits: bool) -> bool:
        known = len(self.placed) + len(self.waiting) - waits
        is_all_kept = self.table.is_small and known < SMALL_NETWORK_NODES_MAX
        return is_all_kept or len(self.in_bucket(self.bucket(point))) < BUCKET_SIZE

    def is_crowded(self, point: int, prefix: str | None) -> bool:
        alike = [e for e in self.placed.values() if e.prefix == prefix and e.point != point]
        here = [e for e in alike if self.bucket(e.point) == self.bucket(point)]
        is_over = len(alike) >= NODES_PER_PREFIX_MAX or len(here) >= NODES_PER_PREFIX_PER_BUCKET_MAX
        return prefix not in {None, EXEMPT} and is_over

    def settle(self) -> None:
        """Replay who came and went, and judge each step."""
        for change in self.table.take_changes():
            point = change.entry.point
            if change.is_arrival:
                assert point not in self.placed, "nobody has two places"
                assert point not in self.dead, "who is dead has shown no sign of life"
                self.placed[point] = change.entry
            else:
                del self.placed[point]
                assert point in self.may_leave, "a live node keeps its place"
        known = len(self.placed) + len(self.waiting)
        if known > SMALL_NETWORK_NODES_MAX:
            self.was_small = False
        elif known <= SMALL_AGAIN_NODES_MAX:
            self.was_small = True
        assert self.table.is_small == self.was_small
        self.may_leave.clear()

    # What happens

    @initialize(full_buckets=st.sampled_from((0, 9, 13, 14, 14)))
    def begin(self, full_buckets: int) -> None:
        """A network that is new, known whole, just not, or just too large for that."""
        for bucket in range(full_buckets):
            self.a_swarm_comes(bucket, BUCKET_SIZE, None, NODE, stays=bucket % 2 == 0)

    def come(self, point: int, prefix: str | None, caps: Caps = NODE) -> None:
        """A handshake with a node, as the engine tells of it."""
        self.dead.discard(point)
        shown = entry(point, caps, host="192.0.2.1", prefix=prefix, seen_at=self.mono, has_session=True)
        waits = point in {e.point for e in self.waiting}
        is_crowded = self.is_crowded(point, prefix)
        has_place = point in self.placed
        if has_place:
            enters = not is_crowded or self.placed[point].prefix == prefix
        else:
            enters = not is_crowded and self.has_room(point, waits=waits)
        if not enters:
            self.may_leave.add(point)
        admitted = self.table.admit(shown)
        assert (admitted is not None) == enters
        if admitted is not None:
            admitted.seen_at, admitted.missed, admitted.has_session = self.mono, 0, True
            admitted.probe_at = None
            self.missed[point] = 0
        self.settle()

    @rule(bucket=BUCKETS, size=st.integers(1, 40), prefix=PREFIXES, caps=CAPS, stays=st.booleans())
    def a_swarm_comes(self, bucket: int, size: int, prefix: str | None, caps: Caps, *, stays: bool) -> None:
        for _ in range(size):
            point = 1 << (255 - bucket) | next(self.numbers)
            self.met.append(point)
            self.come(point, prefix, caps)
            if not stays:
                self.table.session_ended(node_id(point), self.mono)

    @precondition(lambda self: self.met)
    @rule(pick=PICKS, prefix=PREFIXES, caps=CAPS)
    def one_comes_again(self, pick: int, prefix: str | None, caps: Caps) -> None:
        self.come(self.met[pick % len(self.met)], prefix, caps)

    @precondition(lambda self: self.met)
    @rule(pick=PICKS)
    def one_turns_into_a_client(self, pick: int) -> None:
        point = self.met[pick % len(self.met)]
        self.may_leave.add(point)
        assert self.table.admit(entry(point, NODE | Caps.CLIENT)) is None
        assert point not in {e.point for e in self.waiting}
        self.settle()

    @precondition(lambda self: self.met)
    @rule(
        pick=st.sampled_from((0, 25, -10, -30)), size=st.sampled_from((1, 5, 15, 120)), goodbye=st.booleans()
    )
    def some_die(self, pick: int, size: int, *, goodbye: bool) -> None:
        for offset in range(size):
            point = self.met[(pick + offset) % len(self.met)]
            self.dead.add(point)
            self.table.session_ended(node_id(point), self.mono, is_goodbye=goodbye)
            if goodbye:
                self.missed[point] = MISSED_PROBES_MAX - 1
        self.settle()

    @precondition(lambda self: self.dead)
    @rule(size=st.integers(1, 60))
    def some_are_back(self, size: int) -> None:
        """What cut them off is over."""
        self.dead.difference_update(sorted(self.dead)[:size])

    @precondition(lambda self: self.met)
    @rule(pick=PICKS)
    def one_answers(self, pick: int) -> None:
        point = self.met[pick % len(self.met)]
        if point not in self.dead:
            self.answer(point)

    def answer(self, point: int) -> None:
        self.missed[point] = 0
        returned = self.table.alive(node_id(point), self.mono)
        is_back = point not in self.placed and self.table.get(node_id(point)) is not None
        assert (returned is not None) == is_back
        self.settle()

    @precondition(lambda self: self.met)
    @rule(pick=PICKS)
    def a_call_fails(self, pick: int) -> None:
        self.table.probe_soon(node_id(self.met[pick % len(self.met)]), self.mono)

    @rule(pause=st.sampled_from((1.0, 5.0, 5.0, 60.0, 700.0)), times=st.integers(1, 4), is_busy=st.booleans())
    def time_passes(self, pause: float, times: int, *, is_busy: bool) -> None:
        """Every probe that is due ends at once: with an answer, or without one."""
        for _ in range(times):
            self.mono += pause
            due = self.table.probes_due(self.mono)
            assert len({e.point for e in due}) == len(due)
            seen = [e.seen_at for e in due if e.point in self.placed]
            assert seen == sorted(seen), "the least recently seen is probed first"
            for node in due:
                if node.point in self.dead:
                    self.no_answer(node, is_busy=is_busy)
                else:
                    self.answer(node.point)

    def no_answer(self, node: Entry, *, is_busy: bool) -> None:
        point = node.point
        is_out = False
        if point in self.placed:
            self.missed[point] = self.missed.get(point, 0) + (not is_busy)
            is_out = self.missed[point] >= MISSED_PROBES_MAX
        if is_out:
            self.missed[point] = 0
            self.may_leave.add(point)
        assert self.table.probe_ended(node.node_id, self.mono, is_missed=not is_busy) == is_out
        self.settle()

    @rule(near=TARGETS, size=st.integers(1, 30))
    def somebody_asks(self, near: Target, size: int) -> None:
        nearest = sorted(self.placed, key=int.from_bytes(near).__xor__)
        storing = [point for point in nearest if self.placed[point].is_storing]
        assert [e.point for e in self.table.closest(near, size)] == nearest[:size]
        found = self.table.closest(near, size, only_storing=True)
        assert [e.point for e in found] == storing[:size]

        others = (e for e in self.table.known() if e.is_storing and e.point not in self.placed)
        recent = [e.point for e in others if e.has_session or e.seen_at >= self.mono - CAS_REMEMBERS_S]
        of_a_day = sorted([*storing, *recent], key=int.from_bytes(near).__xor__)
        found = self.table.closest_of_a_day(near, size, self.mono)
        assert [e.point for e in found] == of_a_day[:size]

    @rule(bucket=BUCKETS)
    def somebody_is_named(self, bucket: int) -> None:
        point = 1 << (255 - bucket) | next(self.numbers)
        assert self.table.wants(point) == self.has_room(point, waits=False)

    # What always holds

    @invariant()
    def the_table_is_what_came_and_did_not_leave(self) -> None:
        assert {e.point for e in self.table} == set(self.placed)
        assert all(self.table.get(e.node_id) is e for e in self.placed.values())
        assert self.table.storing() == sum(e.is_storing for e in self.placed.values())

    @invariant()
    def a_node_is_in_one_place_and_memory_is_bounded(self) -> None:
        known = [e.point for e in self.table.known()]
        assert len(set(known)) == len(known)
        assert len(self.table._departed) <= DEPARTED_MAX
        for index, places, waiting in self.table.bucket_sizes():
            assert places == len(self.in_bucket(index))
            assert waiting == sum(1 for e in self.waiting if self.bucket(e.point) == index)
            assert waiting <= BUCKET_SIZE

    @invariant()
    def no_prefix_has_more_than_its_share(self) -> None:
        for prefix in (CROWDED, OTHER):
            places = [self.bucket(e.point) for e in self.placed.values() if e.prefix == prefix]
            assert len(places) <= NODES_PER_PREFIX_MAX
            assert all(places.count(b) <= NODES_PER_PREFIX_PER_BUCKET_MAX for b in places)
            waiting = [e for e in self.waiting if e.prefix == prefix]
            assert len(waiting) <= NODES_PER_PREFIX_MAX

    @invariant()
    def no_place_is_free_for_one_who_waits_and_is_not_asked(self) -> None:
        for bucket in {self.bucket(e.point) for e in self.waiting}:
            here = [e for e in self.waiting if self.bucket(e.point) == bucket]
            free = len(here) if self.table.is_small else BUCKET_SIZE - len(self.in_bucket(bucket))
            asked = sum(1 for e in here if e.is_in_line)
            passed_over = [e for e in here if not e.is_in_line and e.prefix in {None, EXEMPT}]
            assert free <= asked or not passed_over

    @invariant()
    def the_next_probe_is_the_earliest_of_all(self) -> None:
        times = [gone.retry_at for gone in self.table._departed.values()]
        for nodes, silent_s in ((self.placed.values(), IDLE_PROBE_S), (self.waiting, WAITING_PROBE_S)):
            for node in nodes:
                if node.probe_at is not None:
                    times.append(node.probe_at)
                elif not node.is_probed and not node.has_session:
                    times.append(node.seen_at + silent_s)
        assert self.table.next_probe() == min(times, default=None)


TestAnyTable = AnyTable.TestCase
TestAnyTable.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)

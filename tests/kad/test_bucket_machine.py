"""A bucket against lists: who has a place, who waits and in which order, whatever happens in whatever order."""

from __future__ import annotations

from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.kad.kit import NODE, entry
from yzdht.kad.bucket import Bucket, Entry
from yzdht.limits import BUCKET_SIZE
from yzdht.wire.frame import Caps


PICKS = st.integers(0, 1 << 20)


class AnyBucket(RuleBasedStateMachine):
    """The model: `placed` in no order, `line` from the one seen longest ago to the one seen last."""

    def __init__(self) -> None:
        super().__init__()
        self.bucket = Bucket()
        self.numbers = count(1)
        self.mono = count(1)
        self.placed: list[Entry] = []
        self.line: list[Entry] = []

    def comer(self, *, keeps: bool, has_session: bool) -> Entry:
        caps = NODE if keeps else NODE & ~Caps.STORAGE
        return entry(next(self.numbers), caps, has_session=has_session, seen_at=float(next(self.mono)))

    @rule(keeps=st.booleans(), has_session=st.booleans())
    def is_placed(self, *, keeps: bool, has_session: bool) -> None:
        node = self.comer(keeps=keeps, has_session=has_session)
        self.bucket.entries[node.point] = node
        self.placed.append(node)

    @precondition(lambda self: self.placed)
    @rule(pick=PICKS)
    def leaves(self, pick: int) -> None:
        node = self.placed.pop(pick % len(self.placed))
        del self.bucket.entries[node.point]

    @rule(has_session=st.booleans())
    def comes_to_wait(self, *, has_session: bool) -> None:
        node = self.comer(keeps=True, has_session=has_session)
        without = [e for e in self.line if not e.has_session]
        is_full = len(self.line) == BUCKET_SIZE
        gone = without[0] if is_full and without else None
        waits = not is_full or gone is not None

        assert self.bucket.keep_waiting(node) == (waits, gone)
        self.line = [e for e in self.line if e is not gone] + [node] * waits

    @precondition(lambda self: self.line)
    @rule(has_session=st.booleans(), picks=st.sets(PICKS, max_size=4))
    def comes_to_wait_for_one_of_its_like(self, *, has_session: bool, picks: set[int]) -> None:
        node = self.comer(keeps=True, has_session=has_session)
        places = sorted({pick % len(self.line) for pick in picks})
        rivals = [self.line[place] for place in places]
        gone = next((e for e in rivals if not e.has_session), None)

        assert self.bucket.keep_waiting(node, rivals) == (gone is not None, gone)
        self.line = [e for e in self.line if e is not gone] + [node] * (gone is not None)

    @precondition(lambda self: self.line)
    @rule(pick=PICKS, comes_again=st.booleans())
    def is_seen(self, *, pick: int, comes_again: bool) -> None:
        node = self.line.pop(pick % len(self.line))
        self.line.append(node)
        if comes_again:
            assert self.bucket.keep_waiting(node) == (True, None)
        else:
            self.bucket.seen(node)

    @precondition(lambda self: self.placed or self.line)
    @rule(pick=PICKS, has_session=st.booleans(), is_probed=st.booleans(), is_due=st.booleans())
    def changes(self, *, pick: int, has_session: bool, is_probed: bool, is_due: bool) -> None:
        everybody = [*self.placed, *self.line]
        node = everybody[pick % len(everybody)]
        node.has_session, node.is_probed, node.probe_at = has_session, is_probed, 1.0 if is_due else None

    @rule(point=st.integers(0, 200), wanted=st.integers(0, 25), only_storing=st.booleans())
    def is_asked_for_the_nearest(self, *, point: int, wanted: int, only_storing: bool) -> None:
        fitting = [e for e in self.placed if not only_storing or e.is_storing]
        fitting.sort(key=lambda e: e.point ^ point)

        assert self.bucket.nearest(point, wanted, only_storing=only_storing) == fitting[:wanted]

    @invariant()
    def keeps_its_order_and_its_bound(self) -> None:
        assert list(self.bucket.waiting.values()) == self.line
        assert len(self.line) <= BUCKET_SIZE

    @invariant()
    def tries_the_one_seen_last_first(self) -> None:
        quiet = [e for e in self.line if not e.is_probed and e.probe_at is None]
        here = [e for e in quiet if e.has_session]
        away = [e for e in quiet if not e.has_session]

        assert self.bucket.queue() == here + away[::-1]

    @invariant()
    def probes_the_one_without_a_sign_of_life_for_longest(self) -> None:
        idle = [e for e in self.placed if not e.has_session and not e.is_probed and e.probe_at is None]
        idle.sort(key=lambda e: e.seen_at)

        assert self.bucket.idlest() == (idle[0] if idle else None)


TestAnyBucket = AnyBucket.TestCase

"""One suite for both record stores, and a state machine that holds them against each other and a plain model."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.store.shelf import Shelf
from tests.store.writes import LATER, NOW, immutable, move, multi, mutable, peer, publisher, target
from yzdht.limits import MULTI_ENTRIES_MAX, RECORD_LIFE_S_MAX, STORE_QUEUE_WRITES_MAX, SWEEP_ROWS_MAX
from yzdht.ports import StoredRecord
from yzdht.store.policy import Quotas, Totals
from yzdht.wire.slot import (
    CasRefused,
    Equivocation,
    Head,
    Kind,
    OverQuota,
    SeqTooLow,
    StoreBroken,
    Stored,
    Verdict,
    Write,
    head_after,
    judge,
    payer_of_strangers,
)


if TYPE_CHECKING:
    from tests.store.conftest import OpenShelf


ONE = (target(1), publisher(1))


async def test_stored_record_is_read_back(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    write = mutable()

    assert await shelf.put_one(write) == Stored()

    head = head_after(None, write)
    assert shelf.store.head(*ONE) == head
    assert shelf.store.get(target(1), NOW) == [StoredRecord(head, publisher(1), write.body)]


async def test_unknown_slot_has_no_head_and_no_records(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    assert shelf.store.head(*ONE) is None
    assert shelf.store.get(target(1), NOW) == []
    assert shelf.store.totals() == Totals(0, 0)
    assert shelf.store.targets(None, 10) == []


async def test_writes_are_judged_in_order_of_submission(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    first = mutable(seq=5)

    verdicts = await shelf.put(
        first,
        mutable(seq=4),
        mutable(seq=6, cas=4),
        mutable(seq=5, text="other"),
        replace(first, cas=1),
        mutable(seq=6, cas=5),
    )

    assert verdicts == [
        Stored(),
        SeqTooLow(5, first.hash),
        CasRefused(5, first.hash),
        Equivocation(5, first.hash),
        Stored(),
        Stored(),
    ]


async def test_verdicts_never_arrive_inside_submit(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    ops = shelf.submit(mutable(1), mutable(2))

    assert shelf.batches == []
    assert await shelf.settled(ops) == [Stored(), Stored()]


async def test_submitted_write_is_read_before_it_is_decided(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    ops = shelf.submit(mutable(seq=1), mutable(seq=3), mutable(seq=2))

    head = shelf.store.head(*ONE)
    assert head is not None
    assert head.seq == 3
    assert [each.body for each in shelf.store.get(target(1), NOW)] == [mutable(seq=3).body]
    await shelf.settled(ops)
    assert shelf.store.head(*ONE) == head


async def test_largest_seq_survives_a_round_trip(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    await shelf.put(move(seq=2**64 - 1), mutable(2, seq=2**63))

    heads = [shelf.store.head(*ONE), shelf.store.head(target(2), publisher(2))]
    assert [head and head.seq for head in heads] == [2**64 - 1, 2**63]
    assert await shelf.put_one(mutable(2, seq=2**63 - 1)) == SeqTooLow(2**63, mutable(2, seq=2**63).hash)


async def test_expired_record_is_not_shown(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(mutable())

    assert len(shelf.store.get(target(1), LATER - 0.001)) == 1
    assert shelf.store.get(target(1), LATER) == []


async def test_move_record_is_shown_until_its_keep_until(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(move(seq=2))

    assert len(shelf.store.get(target(1), LATER - 1)) == 1
    assert shelf.store.get(target(1), LATER) == []
    await shelf.sweep(LATER)
    assert shelf.store.totals() == Totals(0, 0)
    assert isinstance(await shelf.put_one(move(seq=1, wall_now=LATER + 1)), SeqTooLow)


async def test_move_slot_is_forgotten_and_frees_its_share(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(total_records=1))
    forgotten_at = LATER + RECORD_LIFE_S_MAX
    later: dict[str, Any] = {"wall_now": forgotten_at, "expires": forgotten_at + 1}
    await shelf.put(move(seq=2))

    await shelf.sweep(LATER)
    await shelf.sweep(forgotten_at - 1)
    assert shelf.store.head(*ONE) is not None
    assert await shelf.put_one(mutable(2, **later)) == OverQuota()

    await shelf.sweep(forgotten_at)
    assert shelf.store.head(*ONE) is None
    assert await shelf.put_one(mutable(2, **later)) == Stored()


async def test_immutable_is_kept_until_the_largest_keep_until(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    await shelf.put(
        immutable(keep_until=LATER), immutable(keep_until=LATER + 9), immutable(keep_until=LATER + 3)
    )

    (record,) = shelf.store.get(target(1), LATER + 8)
    assert record.publisher == b""
    assert (record.head.keep_until, record.head.expires) == (LATER + 9, LATER + 9)
    await shelf.sweep(LATER + 8)
    assert shelf.store.totals().records == 1


async def test_sweep_drops_the_body_first_and_the_memory_later(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(mutable(seq=1, expires=LATER + 50), mutable(seq=2, expires=LATER))

    await shelf.sweep(LATER)
    head = shelf.store.head(*ONE)
    assert head is not None
    assert (head.seq, head.has_body, head.size) == (2, False, 0)
    assert shelf.store.totals() == Totals(0, 0)
    assert await shelf.put_one(mutable(seq=1, expires=LATER + 50, wall_now=LATER)) == SeqTooLow(2, head.hash)

    await shelf.sweep(LATER + 50)
    assert shelf.store.head(*ONE) is None


async def test_sweep_takes_more_rows_than_one_transaction(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    count = SWEEP_ROWS_MAX * 2 + 3
    await shelf.put(*(mutable(slot) for slot in range(count)), mutable(count, expires=LATER + 1))

    await shelf.sweep(LATER)

    assert shelf.store.totals().records == 1
    assert shelf.store.head(*ONE) is None


async def test_pin_is_sticky(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_records=0))

    assert await shelf.put(mutable(seq=1), mutable(seq=1, is_pinned=True), mutable(seq=2)) == [
        OverQuota(),
        Stored(),
        Stored(),
    ]
    head = shelf.store.head(*ONE)
    assert head is not None
    assert head.is_pinned


# Quotas


def same_publisher(slot: int, **changes: Any) -> Write:
    return mutable(slot, publisher=publisher(1), **changes)


async def test_publisher_may_not_store_more_records_than_its_share(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_records=2))

    verdicts = await shelf.put(same_publisher(1), same_publisher(2), same_publisher(3), mutable(4))

    assert verdicts == [Stored(), Stored(), OverQuota(), Stored()]
    assert shelf.store.head(target(3), publisher(1)) is None


async def test_replacement_counts_only_its_growth(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_records=1, publisher_bytes=10))

    verdicts = await shelf.put(
        mutable(seq=1, body=bytes(10)),
        mutable(seq=2, body=bytes(10)),
        mutable(seq=3, body=bytes(11)),
        mutable(seq=4, body=bytes(4)),
        mutable(seq=5, body=bytes(10)),
    )

    assert verdicts == [Stored(), Stored(), OverQuota(), Stored(), Stored()]


async def test_pinned_records_are_counted_against_nobody(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_bytes=10, total_bytes=10))

    verdicts = await shelf.put(
        same_publisher(1, body=bytes(100), is_pinned=True),
        same_publisher(2, body=bytes(10)),
        same_publisher(3, body=bytes(1)),
        same_publisher(2, body=bytes(10), is_pinned=True),
        same_publisher(3, body=bytes(1)),
    )

    assert verdicts == [Stored(), Stored(), OverQuota(), Stored(), Stored()]
    assert shelf.store.totals() == Totals(3, 111)


async def test_immutables_are_charged_to_the_peer_that_first_brought_them(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=1, publisher_records=0))

    verdicts = await shelf.put(
        immutable(1, stored_by=peer(1)),
        immutable(1, stored_by=peer(2)),
        immutable(2, stored_by=peer(2)),
        immutable(3, stored_by=peer(2)),
        immutable(3, stored_by=peer(1)),
        immutable(4, stored_by=b""),
    )

    assert verdicts == [Stored(), Stored(), Stored(), OverQuota(), OverQuota(), Stored()]


async def test_bringer_may_not_store_more_under_ever_new_keys_than_its_share(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=2))

    verdicts = await shelf.put(
        mutable(1, stored_by=peer(1)),
        multi(2, stored_by=peer(1)),
        mutable(3, stored_by=peer(1)),
        immutable(4, stored_by=peer(1)),
        mutable(3, stored_by=peer(2)),
    )

    assert verdicts == [Stored(), Stored(), OverQuota(), OverQuota(), Stored()]


async def test_bytes_of_all_that_a_peer_brings_are_one_share(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_bytes=10))

    verdicts = await shelf.put(
        mutable(1, body=bytes(4)),
        immutable(2, body=bytes(5)),
        mutable(3, body=bytes(2)),
        mutable(1, seq=2, body=bytes(6)),
        mutable(1, seq=3, body=bytes(5)),
    )

    assert verdicts == [Stored(), Stored(), OverQuota(), OverQuota(), Stored()]


async def test_who_brings_a_newer_version_takes_the_slot_over(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_records=1, publisher_bytes=10, peer_records=1, peer_bytes=10))

    verdicts = await shelf.put(
        mutable(1, seq=1, body=bytes(10), stored_by=peer(1)),
        mutable(2, body=bytes(1), stored_by=peer(1)),
        mutable(1, seq=2, body=bytes(10), stored_by=peer(2)),
        mutable(2, body=bytes(10), stored_by=peer(1)),  # relieved
        mutable(3, body=bytes(1), stored_by=peer(2)),  # charged
    )

    assert verdicts == [Stored(), OverQuota(), Stored(), Stored(), OverQuota()]


async def test_newer_version_is_refused_when_its_bringer_has_no_room(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=1))

    verdicts = await shelf.put(
        mutable(1, stored_by=peer(1)), mutable(2, stored_by=peer(2)), mutable(1, seq=2, stored_by=peer(2))
    )

    assert verdicts == [Stored(), Stored(), OverQuota()]
    head = shelf.store.head(*ONE)
    assert head is not None
    assert head.seq == 1


async def test_same_record_again_stays_with_who_brought_it_first(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=1))

    verdicts = await shelf.put(
        mutable(1, stored_by=peer(1)),
        mutable(1, stored_by=peer(2)),
        mutable(2, stored_by=peer(1)),
        mutable(2, stored_by=peer(2)),
    )

    assert verdicts == [Stored(), Stored(), OverQuota(), Stored()]


async def test_pinned_slot_costs_its_bringers_nothing(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=1, peer_bytes=20))

    verdicts = await shelf.put(
        mutable(1, body=bytes(10), stored_by=peer(1)),
        mutable(1, body=bytes(10), stored_by=b"", is_pinned=True),
        mutable(1, seq=2, body=bytes(99), stored_by=peer(1)),
        mutable(2, body=bytes(20), stored_by=peer(1)),
    )

    assert verdicts == [Stored()] * 4


async def test_forgotten_slot_frees_the_share_of_its_bringer(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=1))
    await shelf.put(mutable(1))
    assert await shelf.put_one(mutable(2)) == OverQuota()

    await shelf.sweep(LATER)

    assert await shelf.put_one(mutable(2, wall_now=LATER, expires=LATER + 1)) == Stored()


async def test_expired_immutable_is_charged_to_who_brings_it_back(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(peer_records=1))
    await shelf.put(immutable(1, stored_by=peer(1)))

    again = immutable(1, stored_by=peer(2), keep_until=LATER + 9, wall_now=LATER)
    verdicts = await shelf.put(
        again,
        immutable(2, stored_by=peer(1), keep_until=LATER + 9),
        immutable(3, stored_by=peer(2), keep_until=LATER + 9),
    )

    assert verdicts == [Stored(), Stored(), OverQuota()]


async def test_memory_of_an_expired_record_counts_as_a_record_but_no_bytes(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_records=2, publisher_bytes=11))
    await shelf.put(
        same_publisher(1, expires=LATER + 50, body=b"x"),
        same_publisher(1, seq=2, expires=LATER, body=bytes(10)),
    )
    assert await shelf.put_one(same_publisher(2, body=bytes(10), wall_now=LATER)) == OverQuota()

    await shelf.sweep(LATER)

    later = {"expires": LATER + 40, "wall_now": LATER}
    verdicts = await shelf.put(
        same_publisher(2, body=bytes(10), **later), same_publisher(3, body=b"y", **later)
    )
    assert verdicts == [Stored(), OverQuota()]


async def test_forgotten_slot_frees_its_share(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(publisher_records=1))
    await shelf.put(same_publisher(1))

    await shelf.sweep(LATER)

    assert await shelf.put_one(same_publisher(2, wall_now=LATER, expires=LATER + 1)) == Stored()


async def test_all_strangers_together_have_a_share(open_shelf: OpenShelf) -> None:
    shelf = open_shelf(Quotas(total_records=2))

    verdicts = await shelf.put(
        mutable(1), immutable(2), mutable(3), mutable(1, seq=2), mutable(3, is_pinned=True)
    )

    assert verdicts == [Stored(), Stored(), OverQuota(), Stored(), Stored()]


# Targets that publishers share


async def test_entries_of_several_publishers_are_shown_newest_first(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    await shelf.put(multi(1, seq=5), multi(2, seq=9), multi(3, seq=7))

    assert [each.head.seq for each in shelf.store.get(target(7), NOW)] == [9, 7, 5]


async def test_smallest_entry_leaves_a_full_target(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(*(multi(by, seq=by + 10) for by in range(MULTI_ENTRIES_MAX)))

    verdicts = await shelf.put(
        multi(100, seq=5),  # the smallest itself
        multi(101, seq=500),
        multi(102, seq=1, expires=LATER + 1),  # `expires` counts before `seq`
        multi(31, seq=600),  # replaces its own entry, nobody leaves
    )

    assert verdicts == [OverQuota(), Stored(), Stored(), Stored()]
    shown = {each.publisher for each in shelf.store.get(target(7), NOW)}
    assert shown == {publisher(by) for by in (*range(2, MULTI_ENTRIES_MAX), 101, 102)}
    assert len(shown) == MULTI_ENTRIES_MAX


async def test_entry_that_left_is_remembered(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(*(multi(by, seq=by + 10) for by in range(MULTI_ENTRIES_MAX + 1)))

    head = shelf.store.head(target(7), publisher(0))

    assert head is not None
    assert (head.seq, head.has_body) == (10, False)
    assert await shelf.put_one(multi(0, seq=9)) == SeqTooLow(10, head.hash)
    assert await shelf.put_one(multi(0, seq=10)) == OverQuota()
    assert await shelf.put_one(multi(0, seq=1_000)) == Stored()


async def test_expired_entries_make_room_before_they_are_swept(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(*(multi(by, seq=by + 10) for by in range(MULTI_ENTRIES_MAX)))

    assert await shelf.put_one(multi(100, seq=1, wall_now=LATER, expires=LATER + 5)) == Stored()
    assert [each.head.seq for each in shelf.store.get(target(7), LATER)] == [1]


# Pages, totals, the queue, the end


async def test_pages_of_targets_cover_everything_once(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(*(mutable(slot) for slot in range(10, 15)), *(multi(by, slot=12) for by in range(20, 25)))

    pages = []
    after = None
    while page := shelf.store.targets(after, 3):
        pages.append([target_ for target_, _, _ in page])
        after = page[-1][0]

    assert [sorted(set(page)) for page in pages] == [
        [target(10), target(11), target(12)],
        [target(13), target(14)],
    ]
    assert sum(map(len, pages)) == 10


async def test_page_rows_are_heads_as_head_tells_them(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.put(mutable(1), immutable(2))

    page = shelf.store.targets(None, 10)

    assert [(each, by) for each, by, _ in page] == [ONE, (target(2), b"")]
    assert [head for _, _, head in page] == [shelf.store.head(*ONE), shelf.store.head(target(2), b"")]


async def test_full_queue_is_said_and_answered_as_busy(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()

    ops = shelf.submit(*(mutable(seq=seq) for seq in range(1, STORE_QUEUE_WRITES_MAX + 1)))
    assert not shelf.store.has_room()
    (late,) = shelf.submit(mutable(2))

    assert set(await shelf.settled(ops)) == {Stored()}
    assert await shelf.settled([late]) == [StoreBroken()]
    assert shelf.store.has_room()


async def test_close_hands_out_every_verdict_first(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    ops = shelf.submit(*(mutable(slot) for slot in range(600)))

    await shelf.store.close()
    await shelf.store.close()

    assert [shelf.verdicts[op] for op in ops] == [Stored()] * 600


async def test_write_after_close_is_refused(open_shelf: OpenShelf) -> None:
    shelf = open_shelf()
    await shelf.store.close()

    assert await shelf.put_one(mutable()) == StoreBroken()


# Both against a plain model


class Model:
    """The rules again, as plainly as they can be said: no sums, no sweeping, no order of rows."""

    def __init__(self) -> None:
        self.slots: dict[tuple[bytes, bytes], tuple[Head, Write]] = {}

    def put(self, write: Write) -> Verdict:
        key = (write.target, write.publisher)
        head = self.slots[key][0] if key in self.slots else None
        verdict = judge(head, write)
        if verdict != Stored():
            return verdict
        if write.kind is Kind.MULTI and not (head and head.is_live(write.wall_now)):
            live = self.live(write.target, write.wall_now)
            if len(live) == MULTI_ENTRIES_MAX:
                smallest = min(live, key=self.rank)
                if self.rank(smallest) > (write.expires, write.seq, write.publisher):
                    return OverQuota()
                leaver, its_write = self.slots[smallest]
                self.slots[smallest] = (replace(leaver, has_body=False, size=0), its_write)
        self.slots[key] = (head_after(head, write), write)
        return verdict

    def rank(self, key: tuple[bytes, bytes]) -> tuple[int, int, bytes]:
        head = self.slots[key][0]
        return head.expires, head.seq, key[1]

    def live(self, under: bytes, wall_now: float) -> list[tuple[bytes, bytes]]:
        return [key for key, (head, _) in self.slots.items() if key[0] == under and head.is_live(wall_now)]


def as_of(head: Head | None, wall_now: float) -> Head | None:
    """A head without what depends on whether it was swept yet."""
    if head is None or not head.is_remembered(wall_now):
        return None
    return head if head.is_live(wall_now) else replace(head, has_body=False, size=0)


class Draft(NamedTuple):
    """A write without its time."""

    kind: str
    slot: int
    seq: int
    text: str
    life: int
    cas: int | None
    is_pinned: bool

    def dated(self, now: int) -> Write:
        until = now + self.life
        rest: dict[str, Any] = {"cas": self.cas, "is_pinned": self.is_pinned, "wall_now": now}
        if self.kind == "mutable":
            return mutable(self.slot + 10, self.seq, self.text, expires=until, **rest)
        if self.kind == "immutable":
            return immutable(self.slot + 20, until, **rest)
        if self.kind == "multi":
            return multi(self.slot, self.seq, expires=until, **rest)
        return move(self.seq, until, **rest)


drafts = st.builds(
    Draft,
    kind=st.sampled_from(["mutable", "immutable", "multi", "move"]),
    slot=st.integers(0, 2),
    seq=st.integers(1, 4),
    text=st.sampled_from(["", "other"]),
    life=st.integers(1, 6),
    cas=st.none() | st.integers(0, 3),
    is_pinned=st.booleans(),
)


class StoresAgree(RuleBasedStateMachine):
    """Any sequence of writes, time and sweeps gives the same verdicts, heads and records everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.shelves = [self.runner.run(self.open_shelf(kind)) for kind in ("memory", "sqlite")]
        self.model = Model()
        self.now = NOW

    async def open_shelf(self, kind: str) -> Shelf:
        return Shelf(kind, Path(self.folder.name))

    @rule(drafts=st.lists(drafts, min_size=1, max_size=6))
    def write(self, drafts: list[Draft]) -> None:
        self.put(*(draft.dated(self.now) for draft in drafts))

    @rule(first=st.integers(1, 40), count=st.integers(25, 40), seq=st.integers(1, 4), life=st.integers(1, 6))
    def crowd(self, first: int, count: int, seq: int, life: int) -> None:
        self.put(
            *(
                multi(by, seq, expires=self.now + life, wall_now=self.now)
                for by in range(first, first + count)
            )
        )

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        for shelf in self.shelves:
            self.runner.run(shelf.sweep(self.now))

    def put(self, *writes: Write) -> None:
        expected = [self.model.put(write) for write in writes]
        for shelf in self.shelves:
            assert self.runner.run(shelf.put(*writes)) == expected

    @invariant()
    def heads_agree(self) -> None:
        for (under, by), (head, _) in self.model.slots.items():
            wanted = as_of(head, self.now)
            for shelf in self.shelves:
                assert as_of(shelf.store.head(under, by), self.now) == wanted  # type: ignore[arg-type]  # the model keys by bytes

    @invariant()
    def records_agree(self) -> None:
        for under in {key[0] for key in self.model.slots}:
            wanted = {by: self.model.slots[under, by] for _, by in self.model.live(under, self.now)}
            for shelf in self.shelves:
                records = shelf.store.get(under, self.now)  # type: ignore[arg-type]  # the model keys by bytes
                assert {each.publisher: (each.head, each.body) for each in records} == {
                    by: (head, write.body) for by, (head, write) in wanted.items()
                }
                held = shelf.store.heads(under, self.now)  # type: ignore[arg-type]  # as above
                assert held == [(each.head, each.publisher) for each in records]
                for each in records:
                    assert shelf.store.body(under, each.publisher, each.head.hash) == each.body  # type: ignore[arg-type]  # as above
                    assert shelf.store.body(under, each.publisher, each.head.hash[::-1]) is None  # type: ignore[arg-type]  # as above

    @invariant()
    def sums_agree_with_the_rows(self) -> None:
        for shelf in self.shelves:
            rows = shelf.store.targets(None, 10_000)
            assert shelf.store.totals() == Totals(len(rows), sum(head.size for _, _, head in rows))

    def teardown(self) -> None:
        for shelf in self.shelves:
            self.runner.run(shelf.store.close())
        self.runner.close()
        self.folder.cleanup()


StoresAgree.TestCase.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
TestStoresAgree = StoresAgree.TestCase


# A full store

HERE = bytes(32)
"""The own id: small targets are near, large ones far."""


def full_of(open_shelf: OpenShelf, **quotas: int) -> Shelf:
    return open_shelf(Quotas(own_id=HERE, **quotas))


async def test_full_store_gives_up_what_is_farthest_for_what_is_nearer(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=30)
    await shelf.put(*(mutable(slot, body=bytes(10)) for slot in (8, 5, 12)))

    verdicts = await shelf.put(mutable(3, body=bytes(10)), mutable(2, body=bytes(10)))

    assert verdicts == [Stored(), Stored()]
    assert [row[0] for row in shelf.store.targets(None, 9)] == [target(2), target(3), target(5)]
    assert shelf.store.totals() == Totals(3, 30)
    assert shelf.store.evicted == 2


async def test_full_store_refuses_what_is_farther_than_all_it_has(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=30)
    await shelf.put(*(mutable(slot, body=bytes(10)) for slot in (3, 5, 7)))

    assert await shelf.put_one(mutable(8, body=bytes(1))) == OverQuota()
    assert await shelf.put_one(mutable(7, seq=2, body=bytes(11))) == OverQuota()
    assert await shelf.put_one(mutable(7, seq=2, body=bytes(10))) == Stored()
    assert shelf.store.totals() == Totals(3, 30)


async def test_what_a_full_store_gave_up_is_still_remembered(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=10)
    await shelf.put(mutable(8, seq=5, body=bytes(10)), mutable(3, body=bytes(10)))

    assert shelf.store.get(target(8), NOW) == []
    assert isinstance(await shelf.put_one(mutable(8, seq=4, body=b"")), SeqTooLow)


async def test_full_store_never_gives_up_what_its_own_user_stored(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=10)
    await shelf.put(mutable(9, is_pinned=True, body=bytes(99)), mutable(8, body=bytes(10)))

    assert await shelf.put_one(mutable(3, body=bytes(10))) == Stored()
    assert await shelf.put_one(mutable(4, body=bytes(10))) == OverQuota()
    assert [row[0] for row in shelf.store.targets(None, 9)] == [target(3), target(9)]


async def test_full_store_never_gives_up_what_lies_in_its_own_range(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=20)
    await shelf.put(*(mutable(slot, body=bytes(10)) for slot in (5, 9)))
    shelf.store.protect(8)

    assert await shelf.put_one(mutable(4, body=bytes(10))) == Stored()
    assert await shelf.put_one(mutable(3, body=bytes(10))) == OverQuota()


async def test_full_store_makes_as_much_room_as_a_large_record_needs(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=40)
    await shelf.put(*(mutable(slot, body=bytes(10)) for slot in (4, 5, 6, 7)))

    assert await shelf.put_one(mutable(3, body=bytes(25))) == Stored()
    assert shelf.store.totals() == Totals(2, 35)


async def test_entries_that_share_a_target_leave_together_but_for_pinned_ones(open_shelf: OpenShelf) -> None:
    shelf = full_of(open_shelf, total_bytes=30)
    await shelf.put(
        multi(1, slot=8, body=bytes(10)),
        multi(2, slot=8, body=bytes(10)),
        multi(3, slot=8, body=bytes(9), is_pinned=True),
        mutable(5, body=bytes(10)),
    )

    assert await shelf.put_one(mutable(3, body=bytes(15))) == Stored()
    assert [len(r.body) for r in shelf.store.get(target(8), NOW)] == [9]
    assert shelf.store.totals() == Totals(3, 34)


async def test_where_memory_is_what_there_is_too_much_of_the_farthest_slot_goes_with_it(
    open_shelf: OpenShelf,
) -> None:
    shelf = full_of(open_shelf, total_records=2)
    await shelf.put(mutable(8), mutable(5))

    assert await shelf.put_one(mutable(3)) == Stored()
    assert shelf.store.head(target(8), publisher(8)) is None
    assert await shelf.put_one(mutable(9)) == OverQuota()


async def test_shares_of_peers_and_publishers_are_no_reason_to_give_anything_up(
    open_shelf: OpenShelf,
) -> None:
    shelf = full_of(open_shelf, peer_records=1)
    await shelf.put_one(mutable(8))

    assert await shelf.put_one(mutable(3)) == OverQuota()
    assert shelf.store.evicted == 0


async def test_a_stranger_that_fills_the_store_keeps_out_nobody_whose_records_are_nearer(
    open_shelf: OpenShelf,
) -> None:
    shelf = full_of(open_shelf, total_bytes=1_000, total_records=100)
    flood = [mutable(slot, body=bytes(10), stored_by=peer(slot)) for slot in range(1_000, 1_200)]
    await shelf.put(*flood)
    honest = [mutable(slot, body=bytes(10), stored_by=peer(1)) for slot in range(1, 51)]

    assert await shelf.put(*honest) == [Stored()] * 50
    assert shelf.store.totals().bytes <= 1_000
    assert all(shelf.store.get(target(slot), NOW) for slot in range(1, 51))


# A full store whose own range is full


def strangers(number: int) -> bytes:
    return payer_of_strangers(f"203.0.{number}.0/24")


def flooded(open_shelf: OpenShelf, **quotas: int) -> Shelf:
    """A small store in a network so small that everything lies in its range."""
    shelf = full_of(open_shelf, **({"total_bytes": 400, "total_records": 100} | quotas))
    shelf.store.protect(1 << 256)
    return shelf


def flood(by: bytes, count: int = 40, first: int = 1_000) -> list[Write]:
    """Records of ten bytes, each of another publisher."""
    return [mutable(slot, body=bytes(10), stored_by=by) for slot in range(first, first + count)]


def slots_of(shelf: Shelf) -> list[int]:
    return [int.from_bytes(row[0]) for row in shelf.store.targets(None, 1_000)]


async def test_who_fills_the_own_range_of_a_store_keeps_nobody_else_out(open_shelf: OpenShelf) -> None:
    shelf = flooded(open_shelf)
    await shelf.put(*flood(strangers(1)))

    verdicts = await shelf.put(
        *(mutable(slot, body=bytes(10), stored_by=strangers(slot)) for slot in range(2, 12)),
        mutable(5_000, body=bytes(10), stored_by=strangers(50)),
    )

    assert verdicts == [Stored()] * 11  # the nearer ones, and what is farther than all that was there
    assert slots_of(shelf) == [*range(2, 12), *range(1_000, 1_029), 5_000]  # its farthest left
    assert shelf.store.totals() == Totals(40, 400)
    assert shelf.store.evicted == 11


async def test_many_ids_of_one_prefix_push_out_nobody_who_brought_as_little(open_shelf: OpenShelf) -> None:
    shelf = flooded(open_shelf)
    small = [
        mutable(slot, body=bytes(10), stored_by=strangers(slot // 8)) for slot in range(8, 48)
    ]  # eight of each of five
    await shelf.put(*small)

    verdicts = await shelf.put(*flood(strangers(200), 10, first=100), *flood(strangers(201), 1))

    assert verdicts == [Stored(), Stored(), *[OverQuota()] * 8, Stored()]
    assert len([slot for slot in slots_of(shelf) if slot in range(8, 48)]) == 37


async def test_small_publisher_gives_way_to_no_large_one(open_shelf: OpenShelf) -> None:
    shelf = flooded(open_shelf, publisher_records=8)
    await shelf.put(*flood(strangers(1), 37))
    large = [
        mutable(slot, publisher=publisher(9), body=bytes(10), stored_by=strangers(slot))
        for slot in range(2, 7)
    ]

    assert await shelf.put(*large) == [*[Stored()] * 3, *[OverQuota()] * 2]
    assert slots_of(shelf) == [2, 3, 4, *range(1_000, 1_037)]


async def test_node_of_the_table_hands_over_more_before_it_gives_way_than_a_stranger_brings(
    open_shelf: OpenShelf,
) -> None:
    shelf = flooded(open_shelf)
    brought = [replace(write, is_from_table=True) for write in flood(peer(1), 28, first=2_000)]
    await shelf.put(*brought, *flood(strangers(1), 12))

    assert await shelf.put_one(mutable(2, body=bytes(7), stored_by=strangers(2))) == Stored()
    assert slots_of(shelf) == [2, *range(1_000, 1_011), *range(2_000, 2_028)]


async def test_what_lies_outside_displaces_nothing_in_the_own_range(open_shelf: OpenShelf) -> None:
    shelf = flooded(open_shelf)
    shelf.store.protect(2_000)
    await shelf.put(*flood(strangers(1)))

    assert await shelf.put_one(mutable(2_000, body=bytes(10), stored_by=strangers(2))) == OverQuota()
    assert await shelf.put_one(mutable(1_999, body=bytes(10), stored_by=strangers(2))) == Stored()


async def test_where_slots_are_too_many_the_greediest_loses_its_farthest_with_its_memory(
    open_shelf: OpenShelf,
) -> None:
    shelf = flooded(open_shelf, total_records=20)
    await shelf.put(*flood(strangers(1), 20))

    assert await shelf.put_one(mutable(2, stored_by=strangers(2))) == Stored()
    assert shelf.store.head(target(1_019), publisher(1_019)) is None
    assert shelf.store.totals().records == 20


async def test_of_entries_that_share_a_target_only_those_of_the_greediest_leave(
    open_shelf: OpenShelf,
) -> None:
    shelf = flooded(open_shelf, total_bytes=120)
    await shelf.put(
        multi(1, slot=9_000, body=bytes(10), stored_by=strangers(1)),
        multi(2, slot=9_000, body=bytes(10), stored_by=strangers(2)),
        multi(3, slot=9_000, body=bytes(10), stored_by=strangers(1), is_pinned=True),
        *flood(strangers(1), 10),
    )

    assert await shelf.put_one(mutable(2, body=bytes(10), stored_by=strangers(3))) == Stored()
    left = {each.publisher for each in shelf.store.get(target(9_000), NOW)}
    assert left == {publisher(2), publisher(3)}


async def test_slot_is_not_given_up_for_its_own_newer_version(open_shelf: OpenShelf) -> None:
    shelf = flooded(open_shelf)
    await shelf.put(*flood(strangers(1)))
    newer = mutable(1_039, seq=2, body=bytes(11), stored_by=strangers(2))

    assert await shelf.put_one(newer) == OverQuota()
    assert await shelf.put_one(replace(newer, body=bytes(10))) == Stored()


async def test_slots_that_somebody_else_took_over_are_no_longer_the_greedy_ones(
    open_shelf: OpenShelf,
) -> None:
    shelf = flooded(open_shelf)
    await shelf.put(*flood(strangers(1)))
    await shelf.put(
        *(mutable(slot, seq=2, body=bytes(10), stored_by=strangers(slot)) for slot in range(1_000, 1_037))
    )

    assert await shelf.put_one(mutable(2, body=bytes(10), stored_by=strangers(2))) == OverQuota()


GREEDY = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 60), st.integers(1, 30), st.booleans()), max_size=60
)


@given(GREEDY, st.sampled_from([0, 32, 1 << 256]))
@settings(max_examples=30, deadline=None)
def test_full_stores_give_up_the_same(writes: list[tuple[int, int, int, bool]], radius: int) -> None:
    async def filled(kind: str) -> tuple[list[Verdict], list[Head], int]:
        with tempfile.TemporaryDirectory() as folder:
            quotas = Quotas(own_id=HERE, total_bytes=150, total_records=12)
            shelf = Shelf(kind, Path(folder), quotas)
            shelf.store.protect(radius)
            verdicts = []
            for seq, (by, slot, size, is_node) in enumerate(writes, 1):
                payer = peer(by + 1) if is_node else strangers(by)
                verdicts += await shelf.put(mutable(slot, seq, body=bytes(size), stored_by=payer))
            left = [head for _, _, head in shelf.store.targets(None, 100)]
            await shelf.store.close()
            return verdicts, left, shelf.store.evicted

    assert asyncio.run(filled("memory")) == asyncio.run(filled("sqlite"))

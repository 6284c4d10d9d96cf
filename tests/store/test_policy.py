from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.store.writes import LATER, NOW, immutable, move, multi, mutable, peer, publisher
from yzdht.limits import MULTI_ENTRIES_MAX
from yzdht.ports import StoredRecord
from yzdht.store.policy import (
    NOBODY,
    Charge,
    Entry,
    Quotas,
    Usage,
    due_of,
    entries_that_leave,
    growth_of,
    owner_of,
    shown,
)
from yzdht.wire.slot import head_after


NOTHING = Charge(Usage(0, 0), Usage(0, 0))


def entry(seq: int, expires: int = LATER, by: int = 1) -> Entry:
    return Entry(expires, seq, publisher(by))


def test_publisher_pays_and_the_bringer_of_an_immutable() -> None:
    assert owner_of(mutable(3), is_pinned=False) == publisher(3)
    assert owner_of(immutable(stored_by=peer(5)), is_pinned=False) == peer(5)
    assert owner_of(mutable(3), is_pinned=True) == NOBODY
    assert owner_of(immutable(stored_by=b""), is_pinned=False) == NOBODY


@pytest.mark.parametrize(
    ("used", "growth", "fits"),
    [
        (Usage(1, 9), Usage(1, 1), True),
        (Usage(2, 0), Usage(1, 0), False),
        (Usage(0, 10), Usage(0, 1), False),
        (Usage(9, 99), Usage(0, 0), True),  # the share was made smaller: what is there may be replaced
        (Usage(9, 99), Usage(0, -5), True),
    ],
)
def test_share_limits_growth_only(used: Usage, growth: Usage, fits: object) -> None:
    assert Charge(used, growth).fits(Usage(2, 10)) is fits


def test_records_with_a_publisher_and_immutables_have_different_shares() -> None:
    quotas = Quotas(publisher_records=0, peer_records=1)
    one = Charge(Usage(0, 0), Usage(1, 1))

    assert not quotas.admit(mutable(), one, one)
    assert quotas.admit(immutable(), one, one)


def test_everybody_together_has_a_share() -> None:
    one = Charge(Usage(0, 0), Usage(1, 1))

    assert not Quotas(total_bytes=0).admit(mutable(), NOTHING, one)


def test_replacement_grows_by_the_difference() -> None:
    head = head_after(None, mutable(body=bytes(10)))

    assert growth_of(mutable(body=bytes(4)), head) == Usage(0, -6)
    assert growth_of(mutable(body=bytes(4)), None) == Usage(1, 4)


def test_nobody_leaves_while_there_is_room() -> None:
    others = [entry(seq) for seq in range(MULTI_ENTRIES_MAX - 1)]

    assert entries_that_leave(others, entry(0, by=2)) == []


def test_smallest_expires_leaves_then_smallest_seq() -> None:
    others = [entry(seq + 10) for seq in range(MULTI_ENTRIES_MAX - 1)]

    assert entries_that_leave([*others, entry(999, LATER - 1)], entry(50)) == [entry(999, LATER - 1)]
    assert entries_that_leave([*others, entry(999)], entry(50)) == [entry(10)]


def test_incoming_entry_that_is_the_smallest_does_not_enter() -> None:
    others = [entry(seq + 10) for seq in range(MULTI_ENTRIES_MAX)]

    assert entries_that_leave(others, entry(9)) is None


@given(st.sets(st.integers(0, 100), max_size=MULTI_ENTRIES_MAX), st.integers(0, 100))
def test_what_stays_is_always_the_largest(seqs: set[int], incoming: int) -> None:
    others = [entry(seq, by=1) for seq in seqs]
    leaving = entries_that_leave(others, entry(incoming, by=2))

    stay = {*others, entry(incoming, by=2)} - set([entry(incoming, by=2)] if leaving is None else leaving)

    assert stay == set(sorted([*others, entry(incoming, by=2)])[-MULTI_ENTRIES_MAX:])


def test_sweep_is_due_when_the_body_ends_and_when_the_memory_does() -> None:
    head = head_after(head_after(None, mutable(seq=1, expires=LATER + 50)), mutable(seq=2))

    assert due_of(head) == LATER
    assert due_of(head_after(None, move(keep_until=LATER))) == LATER


def test_reader_is_shown_live_records_newest_first() -> None:
    records = [
        StoredRecord(head_after(None, write), write.publisher, write.body)
        for write in (multi(1, 4), multi(2, 6, expires=LATER + 1), multi(3, 9, expires=NOW + 1))
    ]

    assert [each.head.seq for each in shown(records, NOW)] == [9, 6, 4]
    assert [each.head.seq for each in shown(records, NOW + 1)] == [6, 4]


def test_reader_is_shown_no_more_than_a_target_holds() -> None:
    records = [
        StoredRecord(head_after(None, write), write.publisher, write.body)
        for write in (multi(by, by + 1) for by in range(MULTI_ENTRIES_MAX + 3))
    ]

    assert [each.head.seq for each in shown(records, NOW)] == [*range(MULTI_ENTRIES_MAX + 3, 3, -1)]

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.store.writes import LATER, NOW, immutable, move, multi, mutable, peer, publisher
from yzdht.limits import MULTI_ENTRIES_MAX, QUOTA_TOTAL_BYTES
from yzdht.ports import StoredRecord
from yzdht.store.policy import (
    EVERYBODY,
    NOBODY,
    NOTHING,
    Entry,
    Filled,
    Quotas,
    Share,
    Usage,
    Used,
    due_of,
    entries_that_leave,
    growth_of,
    payers_of,
    shown,
)
from yzdht.wire.slot import head_after, payer_of_strangers


NONE_USED = Used(NOTHING, NOTHING, NOTHING)


def entry(seq: int, expires: int = LATER, by: int = 1) -> Entry:
    return Entry(expires, seq, publisher(by))


def test_publisher_and_bringer_both_pay() -> None:
    assert payers_of(publisher(3), peer(5), is_pinned=False) == [publisher(3), peer(5), EVERYBODY]
    assert payers_of(b"", peer(5), is_pinned=False) == [peer(5), EVERYBODY]
    assert payers_of(publisher(3), b"", is_pinned=False) == [publisher(3), EVERYBODY]
    assert payers_of(publisher(3), peer(5), is_pinned=True) == [NOBODY]


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
    assert Share(2, 10).holds(used, growth) is fits


@pytest.mark.parametrize(
    "full",
    [
        Quotas(publisher_records=0),
        Quotas(publisher_bytes=0),
        Quotas(peer_records=0),
        Quotas(peer_bytes=0),
    ],
)
def test_every_share_must_have_room(full: Quotas) -> None:
    assert Quotas().admit(mutable(), None, NONE_USED)
    assert not full.admit(mutable(), None, NONE_USED)


@pytest.mark.parametrize(
    ("quotas", "excess"),
    [
        (Quotas(), NOTHING),
        (Quotas(total_records=3, total_bytes=30), NOTHING),
        (Quotas(total_records=2, total_bytes=30), Usage(1, 0)),
        (Quotas(total_records=3, total_bytes=25), Usage(0, 5)),
    ],
)
def test_what_is_too_much_of_the_whole_is_told(quotas: Quotas, excess: Usage) -> None:
    used = Used(NOTHING, NOTHING, Usage(2, 20))

    assert quotas.excess(mutable(body=bytes(10)), None, used) == excess


def test_a_replacement_that_does_not_grow_is_never_too_much() -> None:
    filled = Filled(head_after(None, mutable(body=bytes(10))), peer(1))
    used = Used(NOTHING, NOTHING, Usage(9, 99))

    assert Quotas.within(1).excess(mutable(seq=2, body=bytes(10)), filled, used) == NOTHING


@pytest.mark.parametrize("total_bytes", [1, 1 << 20, 256 << 20, 1 << 30, QUOTA_TOTAL_BYTES])
def test_in_a_store_of_any_size_no_peer_may_fill_it_alone(total_bytes: int) -> None:
    quotas = Quotas.within(total_bytes, peer(1))

    assert quotas.own_id == peer(1)
    assert quotas.total_bytes == total_bytes
    assert 0 < quotas.peer_bytes <= max(1, total_bytes // 4)
    assert 0 < quotas.publisher_bytes <= quotas.peer_bytes
    assert 0 < quotas.publisher_records <= quotas.peer_records <= quotas.total_records


def test_a_store_of_the_usual_size_has_the_usual_quotas() -> None:
    assert Quotas.within(QUOTA_TOTAL_BYTES) == Quotas()


def test_share_that_a_record_has_no_payer_for_is_not_asked() -> None:
    assert Quotas(publisher_records=0).admit(immutable(), None, NONE_USED)
    assert Quotas(peer_records=0).admit(mutable(stored_by=b""), None, NONE_USED)


def test_a_node_of_the_table_may_bring_more_but_not_all() -> None:
    two, ten = Usage(2, 0), Usage(10, 0)
    quotas = Quotas(peer_records=1)
    assert not quotas.admit(mutable(), None, Used(NOTHING, two, two))
    assert quotas.admit(mutable(is_from_table=True), None, Used(NOTHING, two, two))
    assert not quotas.admit(mutable(is_from_table=True), None, Used(NOTHING, ten, ten))

    small = Quotas(peer_records=1, total_records=4 * 2)
    assert not small.admit(mutable(is_from_table=True), None, Used(NOTHING, two, two))
    tiny = Quotas(peer_records=1, total_records=2)
    assert tiny.admit(mutable(is_from_table=True), None, NONE_USED)


def test_strangers_of_one_prefix_may_bring_together_more_than_one_of_them() -> None:
    some, quotas = Usage(3, 0), Quotas(peer_records=1)
    brought = mutable(stored_by=payer_of_strangers("203.0.113.0/24"))

    assert not quotas.admit(mutable(), None, Used(NOTHING, some, some))
    assert quotas.admit(brought, None, Used(NOTHING, some, some))
    assert not quotas.admit(brought, None, Used(NOTHING, Usage(4, 0), some))


def test_what_a_bringer_claims_is_counted_in_parts_of_what_it_may() -> None:
    write = mutable(body=bytes(40), stored_by=payer_of_strangers("203.0.113.0/24"))
    used = Used(NOTHING, Usage(3, 360), NOTHING)

    assert Quotas().claim(write, None, used) == Usage(1, 100)
    assert Quotas().claim(mutable(body=bytes(40)), None, used) == Usage(1, 40)


def test_who_has_published_much_displaces_nobody() -> None:
    quotas = Quotas(publisher_records=8, publisher_bytes=400)

    assert quotas.claim(mutable(body=bytes(10)), None, Used(Usage(1, 90), NOTHING, NOTHING)) is not None
    assert quotas.claim(mutable(body=bytes(10)), None, Used(Usage(2, 0), NOTHING, NOTHING)) is None
    assert quotas.claim(mutable(body=bytes(11)), None, Used(Usage(0, 90), NOTHING, NOTHING)) is None
    assert quotas.claim(immutable(), None, Used(Usage(9, 999), NOTHING, NOTHING)) is not None


def test_newer_version_is_growth_for_its_publisher_and_all_of_it_new_for_another_bringer() -> None:
    filled = Filled(head_after(None, mutable(body=bytes(10))), peer(1))
    quotas = Quotas(publisher_records=1, publisher_bytes=10, peer_records=1, peer_bytes=10)
    ten = Usage(1, 10)

    assert quotas.admit(mutable(seq=2, body=bytes(10)), filled, Used(ten, ten, ten))
    by_other = mutable(seq=2, body=bytes(10), stored_by=peer(2))
    assert quotas.admit(by_other, filled, Used(ten, NOTHING, ten))
    assert not quotas.admit(by_other, filled, Used(ten, ten, ten))


def test_slot_that_loses_its_pin_is_new_for_everybody() -> None:
    filled = Filled(head_after(None, mutable(is_pinned=True)), peer(1))

    assert Quotas(total_records=0).excess(mutable(seq=2), filled, NONE_USED).slots == 1


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

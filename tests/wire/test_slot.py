from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from tests.store.writes import LATER, NOW, immutable, move, mutable, record_hash
from yzdht.limits import RECORD_LIFE_S_MAX, SEQ_MAX
from yzdht.wire.slot import (
    CasRefused,
    Equivocation,
    Head,
    SeqTooLow,
    Stored,
    Write,
    head_after,
    judge,
)


def without_body(head: Head) -> Head:
    return replace(head, has_body=False, size=0)


def test_anything_goes_into_an_empty_slot() -> None:
    assert judge(None, mutable()) == Stored()


def test_cas_0_wants_an_empty_slot() -> None:
    head = head_after(None, mutable(seq=3))

    assert judge(None, mutable(cas=0)) == Stored()
    assert judge(head, mutable(seq=4, cas=0)) == CasRefused(3, head.hash)


def test_cas_on_an_empty_slot_is_answered_with_nothing_stored() -> None:
    assert judge(None, mutable(cas=3)) == CasRefused(0, b"")


def test_lower_seq_is_refused_before_cas_is_looked_at() -> None:
    head = head_after(None, mutable(seq=3))

    assert judge(head, mutable(seq=2, cas=99)) == SeqTooLow(3, head.hash)


def test_wrong_cas_is_refused_before_equivocation_is_looked_at() -> None:
    head = head_after(None, mutable(seq=3))

    assert judge(head, mutable(seq=3, text="other", cas=2)) == CasRefused(3, head.hash)


def test_right_cas_is_stored() -> None:
    head = head_after(None, mutable(seq=3))

    assert judge(head, mutable(seq=4, cas=3)) == Stored()


def test_same_seq_with_another_body_is_equivocation() -> None:
    head = head_after(None, mutable(seq=3))

    assert judge(head, mutable(seq=3, text="other")) == Equivocation(3, head.hash)


def test_same_record_is_stored_again_whatever_cas_says() -> None:
    write = mutable(seq=3)

    assert judge(head_after(None, write), replace(write, cas=77)) == Stored()


def test_expired_record_counts_as_nothing_for_cas_but_its_seq_is_remembered() -> None:
    head = head_after(head_after(None, mutable(seq=1, expires=LATER + 50)), mutable(seq=3, expires=LATER))
    after_expiry = LATER + 1.0

    assert judge(head, mutable(seq=4, cas=0, wall_now=after_expiry, expires=LATER + 60)) == Stored()
    assert judge(head, mutable(seq=4, cas=3, wall_now=after_expiry)) == CasRefused(0, b"")
    assert judge(head, mutable(seq=2, wall_now=after_expiry)) == SeqTooLow(3, head.hash)
    assert judge(head, mutable(seq=3, text="other", wall_now=after_expiry)) == Equivocation(3, head.hash)


@pytest.mark.parametrize("is_swept", [False, True])
def test_slot_is_forgotten_at_the_largest_expires_it_accepted(is_swept: object) -> None:
    head = head_after(head_after(None, mutable(seq=1, expires=LATER + 50)), mutable(seq=3, expires=LATER))
    head = without_body(head) if is_swept else head

    assert judge(head, mutable(seq=2, wall_now=LATER + 49.0)) == SeqTooLow(3, head.hash)
    assert judge(head, mutable(seq=2, wall_now=LATER + 50.0)) == Stored()


def test_record_is_live_until_its_last_second_begins() -> None:
    head = head_after(None, mutable())

    assert head.is_live(LATER - 0.5)
    assert not head.is_live(LATER)
    assert not without_body(head).is_live(NOW)


def test_move_record_is_kept_until_its_keep_until_and_remembered_30_days_longer() -> None:
    head = head_after(None, move(seq=SEQ_MAX))
    forgotten_at = LATER + RECORD_LIFE_S_MAX

    assert head.is_live(LATER - 1)
    assert not head.is_live(LATER)
    assert judge(head, move(seq=1, wall_now=LATER + 1)) == SeqTooLow(SEQ_MAX, head.hash)
    assert judge(head, move(seq=SEQ_MAX, wall_now=LATER + 1)) == Stored()
    assert judge(head, move(seq=1, wall_now=forgotten_at - 1)) == SeqTooLow(SEQ_MAX, head.hash)
    assert judge(head, move(seq=1, wall_now=forgotten_at)) == Stored()


def test_same_move_record_again_is_remembered_30_days_longer_than_its_new_keep_until() -> None:
    head = head_after(None, move(keep_until=LATER))

    assert head_after(head, move(keep_until=LATER + 9)).expires_max == LATER + 9 + RECORD_LIFE_S_MAX
    assert head_after(head, move(keep_until=LATER - 9)).expires_max == LATER + RECORD_LIFE_S_MAX


def test_newer_move_record_does_not_shorten_the_memory_of_its_slot() -> None:
    head = head_after(head_after(None, move(seq=1, keep_until=LATER + 9)), move(seq=2, keep_until=LATER))

    assert head.expires_max == LATER + 9 + RECORD_LIFE_S_MAX


def test_memory_of_a_move_record_ends_within_a_u32() -> None:
    assert head_after(None, move(keep_until=2**32 - 2)).expires_max == 2**32 - 1


def test_memory_of_an_immutable_ends_with_it() -> None:
    assert head_after(None, immutable(keep_until=LATER)).expires_max == LATER


def test_same_immutable_again_only_raises_keep_until() -> None:
    head = head_after(None, immutable(keep_until=LATER))

    assert head_after(head, immutable(keep_until=LATER - 1)) == head
    raised = head_after(head, immutable(keep_until=LATER + 1))
    assert (raised.keep_until, raised.expires, raised.expires_max) == (LATER + 1, LATER + 1, LATER + 1)


def test_same_move_record_again_raises_keep_until_and_not_expires() -> None:
    raised = head_after(head_after(None, move(keep_until=LATER)), move(keep_until=LATER + 1))

    assert (raised.keep_until, raised.expires) == (LATER + 1, 2**32 - 1)


def test_slot_keeps_the_largest_expires_when_a_newer_record_is_shorter() -> None:
    head = head_after(head_after(None, mutable(seq=1, expires=LATER + 50)), mutable(seq=2, expires=LATER))

    assert (head.expires, head.expires_max) == (LATER, LATER + 50)


def test_forgotten_slot_passes_nothing_on() -> None:
    head = head_after(None, mutable(seq=1, is_pinned=True))

    after = head_after(head, mutable(seq=1, text="new life", wall_now=LATER, expires=LATER + 5))

    assert (after.is_pinned, after.expires_max) == (False, LATER + 5)


def test_pin_stays_when_a_stranger_brings_a_newer_record() -> None:
    head = head_after(None, mutable(seq=1, is_pinned=True))

    assert head_after(head, mutable(seq=2)).is_pinned
    assert head_after(head, mutable(seq=1)).is_pinned


def test_own_user_pins_what_a_stranger_stored() -> None:
    assert head_after(head_after(None, mutable(seq=1)), mutable(seq=1, is_pinned=True)).is_pinned


writes = st.builds(
    mutable,
    seq=st.integers(0, 3),
    text=st.sampled_from(["", "other"]),
    expires=st.integers(NOW + 1, NOW + 6),
    wall_now=st.integers(NOW, NOW + 5),
    cas=st.none() | st.integers(0, 3),
)


@given(st.lists(writes, max_size=8))
def test_what_a_slot_accepts_only_grows_while_it_is_remembered(history: list[Write]) -> None:
    head: Head | None = None
    for write in sorted(history, key=lambda each: each.wall_now):
        verdict = judge(head, write)
        if not isinstance(verdict, Stored):
            continue
        after = head_after(head, write)
        if head is not None and head.is_remembered(write.wall_now):
            assert after.seq >= head.seq
            assert after.seq > head.seq or after.hash == head.hash
            assert after.expires_max >= head.expires_max
        assert after.hash == write.hash
        assert after.expires_max >= after.expires
        head = after


@given(writes, writes)
def test_a_stored_record_can_always_be_stored_again(first: Write, second: Write) -> None:
    head = head_after(None, first)
    if isinstance(judge(head, second), Stored):
        after = head_after(head, second)
        if after.is_live(second.wall_now):
            assert judge(after, second) == Stored()
            assert head_after(after, second) == after


def test_refusals_carry_what_is_stored() -> None:
    head = head_after(None, mutable(seq=9))

    assert judge(head, mutable(seq=1)) == SeqTooLow(9, record_hash(f"1/9//{LATER}"))

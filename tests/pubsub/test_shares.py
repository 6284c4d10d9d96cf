from __future__ import annotations

from yzdht.pubsub.shares import Shares
from yzdht.wire.history import BRINGER_BYTES, Bringer


ANNA, BEN, CARL, DORA, EVE = (Bringer(bytes((number,)) * BRINGER_BYTES) for number in range(5))


def test_one_has_a_quarter_and_the_others_theirs() -> None:
    shares = Shares(8)
    assert [shares.take(ANNA) for _ in range(3)] == [True, True, False]
    assert shares.take(BEN)
    shares.give_back(ANNA)
    assert shares.has_room(ANNA)
    assert shares.take(ANNA)
    assert len(shares) == 3


def test_where_all_are_taken_there_is_none_for_anybody() -> None:
    shares = Shares(8)
    assert all(shares.take(who) for who in (ANNA, BEN, CARL, DORA) for _ in range(2))
    assert not shares.has_room(EVE)
    assert not shares.take(EVE)
    shares.give_back(CARL)
    assert shares.take(EVE)


def test_what_is_passed_on_counts_for_who_has_it_now() -> None:
    shares = Shares(8)
    for who in (ANNA, ANNA, BEN, BEN):
        shares.take(who)
    shares.pass_on(ANNA, BEN)
    assert len(shares) == 4
    assert shares.take(ANNA)
    shares.give_back(BEN)
    assert not shares.take(BEN)
    shares.pass_on(BEN, BEN)
    assert not shares.take(BEN)

from __future__ import annotations

from hypothesis import given, strategies as st

from yzdht.pubsub.events import LossReason
from yzdht.pubsub.ordering import Ordering, Skipped
from yzdht.wire.holdings import Span


GONE = LossReason.NOBODY_HAS_IT


def drain(order: Ordering[str]) -> list[str | Span]:
    found: list[str | Span] = []
    while True:
        skipped = order.skip()
        if skipped is not None:
            found.append(skipped.span)
        elif (item := order.take()) is not None:
            found.append(item)
        else:
            return found


def test_what_is_due_goes_on_at_once() -> None:
    order = Ordering[str](3)

    assert order.put(3, "c") == (None, [])
    assert drain(order) == ["c"]
    assert order.due == 4
    assert order.is_idle


def test_what_comes_too_early_waits_and_shows_the_gap() -> None:
    order = Ordering[str](0)

    assert order.put(2, "c") == (Span(0, 2), [])
    assert order.put(5, "f") == (Span(3, 5), [])
    assert drain(order) == []
    assert order.first_gap == Span(0, 2)
    assert 5 in order
    assert len(order) == 2


def test_a_gap_is_over_when_all_of_it_has_come() -> None:
    order = Ordering[str](0)
    order.put(2, "c")

    assert order.put(0, "a") == (None, [])
    assert order.put(1, "b") == (None, [Span(0, 2)])
    assert drain(order) == ["a", "b", "c"]


def test_what_is_lost_is_skipped_when_it_is_due_and_not_before() -> None:
    order = Ordering[str](0)
    order.put(3, "d")
    order.put(6, "g")
    order.lose(Span(4, 6), GONE)
    assert drain(order) == []

    order.lose(Span(0, 3), GONE)
    assert drain(order) == [Span(0, 3), "d", Span(4, 6), "g"]


def test_a_loss_leaves_what_is_here_alone() -> None:
    order = Ordering[str](0)
    order.put(1, "b")
    order.put(3, "d")
    order.lose(Span(0, 5), GONE)

    assert drain(order) == [Span(0, 1), "b", Span(2, 3), "d", Span(4, 5)]
    assert order.due == 5


def test_what_comes_before_its_loss_was_told_is_not_lost() -> None:
    order = Ordering[str](0)
    order.put(4, "e")
    order.lose(Span(2, 4), GONE)
    order.put(2, "c")
    order.put(0, "a")
    order.put(1, "b")

    assert drain(order) == ["a", "b", "c", Span(3, 4), "e"]


def test_a_loss_below_what_is_due_is_none() -> None:
    order = Ordering[str](7)
    order.lose(Span(0, 7), GONE)

    assert order.is_idle
    assert drain(order) == []


def test_the_same_loss_counts_once() -> None:
    order = Ordering[str](0)
    order.put(1, "b")
    order.lose(Span(0, 1), GONE)
    order.lose(Span(0, 1), GONE)

    assert drain(order) == [Span(0, 1), "b"]
    assert order.is_idle


def test_losses_that_touch_are_one_if_their_reason_is_one() -> None:
    order: Ordering[str] = Ordering(0)
    for index in (5, 3, 4, 9):
        order.lose(Span(index, index + 1), GONE)
    order.lose(Span(6, 8), LossReason.NO_KEY)
    order.lose(Span(0, 10), GONE)

    assert list(iter(order.skip, None)) == [
        Skipped(Span(0, 6), GONE),
        Skipped(Span(6, 8), LossReason.NO_KEY),
        Skipped(Span(8, 10), GONE),
    ]


def test_four_billion_lost_messages_cost_nothing() -> None:
    order = Ordering[str](0)
    order.put(2**32 - 1, "z")
    order.lose(Span(0, 2**32 - 1), GONE)

    assert drain(order) == [Span(0, 2**32 - 1), "z"]


def test_a_series_can_begin_further_on() -> None:
    order = Ordering[str](0)
    order.put(1, "b")
    order.put(6, "g")
    order.go_to(5)

    assert len(order) == 1
    assert order.first_gap == Span(5, 6)
    assert order.put(8, "i") == (Span(7, 8), [])


def test_what_is_taken_back_has_not_come() -> None:
    order = Ordering[str](0)
    order.put(0, "a")

    assert order.get(0) == order.peek() == order.remove(0) == "a"
    assert order.waiting() == []
    assert order.remove(0) is None


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_in_whatever_order_things_come_and_are_lost_every_index_is_told_once_in_order(
    comes: list[int], lost: set[int]
) -> None:
    order, told, gaps, over = Ordering[str](0), list[str | Span](), list[Span](), list[Span]()
    for index in comes:
        if index in lost:
            order.lose(Span(index, index + 1), GONE)
        elif index >= order.due:
            gap, filled = order.put(index, str(index))
            gaps += [gap] if gap is not None else []
            over += filled
        told += drain(order)

    indexes = [i for item in told for i in (range(*item) if isinstance(item, Span) else [int(item)])]
    assert indexes == list(range(12))
    assert len(over) == len(set(over))
    assert set(over) <= set(gaps)


def test_ahead_is_all_that_came_and_what_is_lost_above_it() -> None:
    order = Ordering[str](2)
    assert order.ahead == Span(2, 2)

    order.put(4, "e")
    assert order.ahead == Span(2, 5)
    order.lose(Span(7, 9), GONE)
    assert order.ahead == Span(2, 9)

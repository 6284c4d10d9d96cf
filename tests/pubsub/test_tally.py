"""What counters show of what a subscription hears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_feed import series
from yzdht.ids import MessageId
from yzdht.limits import WAITING_MESSAGES_MAX
from yzdht.pubsub.events import Begins, Filled, Gap, LossReason, Lost, Message, RefusalReason, Refused
from yzdht.pubsub.tally import Tally
from yzdht.telemetry import Counters
from yzdht.wire.holdings import Span


if TYPE_CHECKING:
    from yzdht.pubsub.events import Event


ONE = series(1)
NOBODY = LossReason.NOBODY_HAS_IT


def message(index: int, *, is_late: bool = False) -> Message:
    return Message(ONE, index, MessageId(bytes(20)), 0, 0, b"", 0, is_late=is_late)


def tally(*events: Event) -> dict[str, int]:
    counters = Counters()
    told = Tally(counters.add)
    for event in events:
        told.take(event)
    assert told._gaps == sum(map(len, told._open.values()))
    return counters.as_dict()


def test_a_gap_is_found_and_filled() -> None:
    assert tally(message(0), Gap(ONE, Span(1, 3))) == {"topic_gaps:found": 1}
    filled = tally(Gap(ONE, Span(1, 3)), Filled(ONE, Span(1, 3)), *map(message, range(1, 4)))
    assert filled == {"topic_gaps:filled": 1, "topic_gaps:found": 1}


def test_each_gap_of_a_series_counts_and_so_do_those_of_others() -> None:
    gaps = (Gap(ONE, Span(1, 3)), Gap(ONE, Span(4, 5)), Gap(series(2), Span(1, 3)))
    assert tally(*gaps) == {"topic_gaps:found": 3}
    assert tally(*gaps, Filled(ONE, Span(4, 5))) == {"topic_gaps:filled": 1, "topic_gaps:found": 3}


def test_messages_that_are_lost_are_counted_by_reason_and_the_gap_once() -> None:
    lost = [Lost(ONE, Span(1, 3), NOBODY), Lost(ONE, Span(3, 4), LossReason.NO_ROOM)]
    assert tally(Gap(ONE, Span(1, 4)), *lost) == {
        "topic_gaps:found": 1,
        "topic_gaps:lost": 1,
        "topic_lost:no_room": 1,
        "topic_lost:nobody_has_it": 2,
    }
    assert tally(Lost(ONE, Span(0, 5), LossReason.NO_KEY)) == {"topic_lost:no_key": 5}


def test_what_is_refused_is_counted_by_reason() -> None:
    assert tally(Refused(ONE, 0, RefusalReason.TOO_OLD)) == {"topic_refused:too_old": 1}


def test_a_gap_of_which_some_is_lost_is_not_filled() -> None:
    told = tally(Gap(ONE, Span(1, 4)), Lost(ONE, Span(1, 2), NOBODY), Filled(ONE, Span(1, 4)))
    assert told == {"topic_gaps:found": 1, "topic_gaps:lost": 1, "topic_lost:nobody_has_it": 1}


@pytest.mark.parametrize("again", [Span(1, 3), Span(1, 20), Span(2, 3)])
def test_a_gap_that_is_found_again_counts_once(again: Span) -> None:
    told = tally(Gap(ONE, Span(1, 3)), Gap(ONE, again), Filled(ONE, again), message(3))
    assert told == {"topic_gaps:filled": 1, "topic_gaps:found": 1}


def test_a_gap_that_was_not_found_again_is_filled_once_what_comes_after_it_is_told() -> None:
    known = Gap(ONE, Span(1, 3))
    assert tally(known, message(1), message(2)) == {"topic_gaps:found": 1}
    filled = {"topic_gaps:filled": 1, "topic_gaps:found": 1}
    assert tally(known, *map(message, range(1, 4))) == filled
    assert tally(known, message(9, is_late=True)) == {"topic_gaps:found": 1}


def test_what_is_of_no_interest_any_more_is_neither_filled_nor_lost() -> None:
    assert tally(Gap(ONE, Span(1, 3)), Begins(ONE, 5, 0), message(5)) == {"topic_gaps:found": 1}


def test_what_it_knows_of_gaps_is_bounded_and_the_newest_are_known() -> None:
    counters = Counters()
    told = Tally(counters.add)
    for number in range(2 * WAITING_MESSAGES_MAX):
        told.take(Gap(series(number % 256), Span(10 * number, 10 * number + 1)))
    assert told._gaps == sum(map(len, told._open.values())) <= WAITING_MESSAGES_MAX
    last = 10 * number
    told.take(Filled(series(number % 256), Span(last, last + 1)))
    assert counters.get("topic_gaps", "filled") == 1

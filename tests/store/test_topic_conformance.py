"""One suite for both stores of topics, and a state machine that holds them against each other and a plain model."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.store.messages import NOW, bringer, host, message, run, series, topic, wanted
from tests.store.topic_model import Model
from tests.store.topic_shelf import TopicShelf
from yzdht.limits import (
    ENVELOPES_PER_ANSWER_MAX,
    FLOOR_KEPT_S,
    FORGET_ROWS_MAX,
    HISTORY_QUEUE_WRITES_MAX,
    RUNS_PER_SESSION_MAX,
)
from yzdht.store.history_policy import HistoryQuotas, TopicTotals
from yzdht.wire.history import Conflicting, ForgetBefore, ForgetTopic, Forgotten, Kept, KnownAlready, Over
from yzdht.wire.rpc import Range
from yzdht.wire.slot import OverQuota, StoreBroken


if TYPE_CHECKING:
    from tests.store.conftest import OpenTopics
    from yzdht.wire.history import TopicChange, TopicVerdict, TopicWrite
    from yzdht.wire.holdings import Series


ONE = topic(1)


def kept(*dropped: TopicWrite) -> Kept:
    return Kept(tuple((write.series, write.index) for write in dropped))


async def test_message_that_was_kept_is_held_and_handed_out(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    write = message(3)

    assert await shelf.put_one(write) == Kept()

    assert shelf.held(ONE) == {(1, 0): (0, [3])}
    assert shelf.store.envelopes(ONE, [wanted(0, 9)], 1_000) == ([write.envelope], False)
    assert shelf.store.message_id(ONE, series(), 3) == write.id
    assert shelf.store.totals() == TopicTotals(1, 1, len(write.envelope))
    assert shelf.store.topics(None, 9) == [ONE]


async def test_of_an_unknown_topic_there_is_nothing(open_topics: OpenTopics) -> None:
    store = open_topics().store

    assert len(store.holdings(ONE)) == 0
    assert store.envelopes(ONE, [wanted(0, 9)], 1_000) == ([], False)
    assert store.message_id(ONE, series(), 0) is None
    assert store.totals() == TopicTotals(0, 0, 0)
    assert store.topics(None, 9) == []


async def test_same_message_again_is_known_and_another_under_its_index_conflicts(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics()
    first = message(0)

    verdicts = await shelf.put(
        first, replace(first, bringer=bringer(2)), message(0, text="other"), message(0, session=1)
    )

    assert verdicts == [Kept(), KnownAlready(), Conflicting(first.id), Kept()]
    assert shelf.store.envelopes(ONE, [wanted(0, 1)], 1_000)[0] == [first.envelope]


async def test_verdicts_never_arrive_inside_submit(open_topics: OpenTopics) -> None:
    shelf = open_topics()

    ops = shelf.submit(message(0), message(1))

    assert shelf.batches == []
    assert await shelf.settled(ops) == [Kept(), Kept()]
    assert [op for batch in shelf.batches for op, _ in batch] == ops


async def test_submitted_message_is_read_before_it_is_decided(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(message(1), message(0, of=2))
    first, third = message(0), message(2)

    ops = shelf.submit(third, first, message(1, text="other"), message(0, of=3))

    assert shelf.held(ONE) == {(1, 0): (0, [0, 1, 2])}
    envelopes = [write.envelope for write in (first, message(1), third)]
    assert shelf.store.envelopes(ONE, [wanted(0, 9)], 1_000) == (envelopes, False)
    assert shelf.store.message_id(ONE, series(), 1) == message(1).id
    assert shelf.store.message_id(ONE, series(), 2) == third.id
    assert shelf.store.topics(None, 9) == [topic(1), topic(2), topic(3)]
    await shelf.settled(ops)
    assert shelf.held(ONE) == {(1, 0): (0, [0, 1, 2])}


async def test_forgotten_topic_is_gone_before_that_is_decided_and_may_begin_anew(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=2, series=3))
    await shelf.put(*run(0, 4), message(0, of=2))
    assert shelf.held(ONE) == {(1, 0): (2, [2, 3])}

    (op,) = shelf.submit(ForgetTopic(ONE))
    assert shelf.held(ONE) == {}
    assert shelf.store.envelopes(ONE, [wanted(0, 9)], 1_000) == ([], False)
    assert shelf.store.message_id(ONE, series(), 2) is None
    assert shelf.store.topics(None, 1) == [topic(2)]
    (again,) = shelf.submit(message(0))
    assert shelf.held(ONE) == {(1, 0): (0, [0])}
    assert shelf.store.topics(None, 1) == [ONE]

    assert await shelf.settled([op, again]) == [Forgotten(2), Kept()]
    assert shelf.held(ONE) == {(1, 0): (0, [0])}
    assert await shelf.put_one(ForgetTopic(topic(9))) == Forgotten(0)
    assert shelf.store.totals().messages == 2


# Reads


async def test_envelopes_come_in_the_order_of_the_ranges(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(*run(0, 3), message(0, by=2))

    found, more = shelf.store.envelopes(
        ONE, [wanted(0, 9, by=2), wanted(2, 9), wanted(5, 9), wanted(0, 2), wanted(1, 2)], 1_000
    )

    assert found == [
        write.envelope for write in (message(0, by=2), message(2), message(0), message(1), message(1))
    ]
    assert not more


async def test_envelopes_stop_where_the_bytes_end_but_one_always_comes(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(*run(0, 5, size=100))

    assert [len(shelf.store.envelopes(ONE, [wanted(0, 9)], room)[0]) for room in (0, 99, 299, 300)] == [
        1,
        1,
        2,
        3,
    ]
    assert shelf.store.envelopes(ONE, [wanted(0, 9)], 499)[1]
    assert shelf.store.envelopes(ONE, [wanted(0, 4), wanted(4, 9)], 499)[1]
    assert not shelf.store.envelopes(ONE, [wanted(0, 9)], 500)[1]


async def test_envelopes_of_one_answer_are_counted(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(*run(0, 100))
    ranges = [wanted(0, 100)] * (ENVELOPES_PER_ANSWER_MAX // 100 + 2)

    found, more = shelf.store.envelopes(ONE, ranges, 1 << 30)

    assert (len(found), more) == (ENVELOPES_PER_ANSWER_MAX, True)


async def test_pages_of_topics_cover_all_of_them_once(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(*(message(0, of=number) for number in (5, 3, 9, 4, 7)))
    await shelf.put(ForgetTopic(topic(4)))
    shelf.submit(message(0, of=6), ForgetTopic(topic(5)))

    first = shelf.store.topics(None, 2)
    second = shelf.store.topics(first[-1], 2)

    assert (first, second) == ([topic(3), topic(6)], [topic(7), topic(9)])
    assert shelf.store.topics(second[-1], 2) == []


async def test_series_that_got_a_message_last_is_the_newest(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(message(0, by=1), message(0, by=2), message(0, by=3), message(1, by=1), message(0, by=2))

    rows = shelf.store.holdings(ONE).rows()

    assert [row.sender for row in rows] == [series(by).sender for by in (1, 3, 2)]


async def test_holdings_are_the_callers_own(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(message(0))

    shelf.store.holdings(ONE).add(series(), 7)

    assert shelf.held(ONE) == {(1, 0): (0, [0])}


# A full history

FOUR = HistoryQuotas(messages=4, series=8)


async def test_single_bringer_has_the_whole_history_and_its_oldest_leaves(open_topics: OpenTopics) -> None:
    shelf = open_topics(FOUR)

    verdicts = await shelf.put(*run(0, 6))

    assert verdicts == [*[kept()] * 4, kept(message(0)), kept(message(1))]
    assert shelf.held(ONE) == {(1, 0): (2, [2, 3, 4, 5])}
    assert await shelf.put_one(message(1)) == Over()
    assert shelf.store.totals().messages == 4


async def test_of_a_bringers_senders_the_one_with_most_loses(open_topics: OpenTopics) -> None:
    shelf = open_topics(FOUR)
    await shelf.put(message(0, by=2), *run(0, 3))

    assert await shelf.put_one(message(0, by=3)) == kept(message(0))


async def test_of_several_sessions_of_a_sender_the_first_loses(open_topics: OpenTopics) -> None:
    shelf = open_topics(FOUR)
    await shelf.put(message(7, session=2), *run(0, 2, session=1), message(0, session=3))

    verdicts = await shelf.put(message(1, session=3), message(2, session=3), message(3, session=3))

    assert verdicts == [
        kept(message(7, session=2)),
        kept(message(0, session=1)),
        kept(message(1, session=1)),
    ]


async def test_who_has_more_than_a_quarter_pays_itself(open_topics: OpenTopics) -> None:
    shelf = open_topics(HistoryQuotas(messages=8, series=16))
    await shelf.put(*run(0, 6), *run(0, 2, by=2, bringer=bringer(2)))

    verdicts = await shelf.put(*run(2, 5, by=2, bringer=bringer(2)))

    assert verdicts == [kept(message(index, by=2)) for index in (0, 1, 2)]
    assert shelf.held(ONE)[1, 0] == (0, [0, 1, 2, 3, 4, 5])


async def test_who_has_no_more_than_a_quarter_is_paid_for_by_the_one_with_most(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=8, series=16))
    await shelf.put(*run(0, 6), *run(0, 2, by=2, bringer=bringer(2)))

    verdicts = await shelf.put(*run(0, 3, by=3, bringer=bringer(3)))

    assert verdicts == [kept(message(0)), kept(message(1)), kept(message(0, by=3))]
    assert shelf.held(ONE)[2, 0] == (0, [0, 1])


async def test_ever_new_senders_of_one_bringer_take_no_more_than_its_quarter(open_topics: OpenTopics) -> None:
    shelf = open_topics(HistoryQuotas(messages=40, series=80))
    await shelf.put(*run(0, 40))

    verdicts = await shelf.put(*(message(0, by=by, bringer=bringer(2)) for by in range(100, 400)))

    assert all(isinstance(verdict, Kept) for verdict in verdicts)
    assert shelf.held(ONE)[1, 0] == (10, [*range(10, 40)])
    assert [key[0] for key, (_, indexes) in shelf.held(ONE).items() if indexes][-10:] == [*range(390, 400)]


async def test_what_was_fetched_from_other_hosts_is_of_one_bringer_in_a_history(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=40, series=80))
    await shelf.put(*run(0, 40))

    for by in range(100, 200):
        await shelf.put(*(message(0, by=1_000 * way + by, bringer=host(way)) for way in (1, 2)))
        await shelf.put_one(message(0, by=by, bringer=bringer(2)))

    assert shelf.held(ONE)[1, 0] == (20, [*range(20, 40)])


async def test_history_that_was_fetched_whole_is_kept_whole_and_makes_room_for_what_is_brought(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=40, series=80))

    fetched = await shelf.put(*(message(0, by=by, bringer=host(1 + by % 2)) for by in range(40)))
    brought = await shelf.put(*(message(0, by=by, bringer=bringer(by)) for by in range(100, 120)))
    goes_on = await shelf.put(*run(1, 5, by=39, bringer=host(2)))

    assert fetched == [kept()] * 40
    assert brought == [kept(message(0, by=by)) for by in range(20)]
    assert goes_on == [kept(message(index, by=39)) for index in range(4)]


async def test_each_host_has_a_quarter_of_all_histories_together(open_topics: OpenTopics) -> None:
    shelf = open_topics(HistoryQuotas(total_bytes=400, topics=8))

    opened = await shelf.put(*(message(0, of=of, bringer=host(1 + of % 2)) for of in range(1, 7)))

    assert opened == [*[kept()] * 4, OverQuota(), OverQuota()]
    assert await shelf.put_one(message(0, of=9, bringer=host(3))) == kept()


async def test_bytes_are_a_limit_like_messages(open_topics: OpenTopics) -> None:
    shelf = open_topics(HistoryQuotas(bytes=100))
    await shelf.put(message(0, size=10), message(1, size=50), message(2, size=40))

    assert await shelf.put_one(message(3, size=60)) == kept(message(0), message(1))
    assert shelf.held(ONE) == {(1, 0): (2, [2, 3])}


async def test_message_larger_than_the_history_is_refused_and_nothing_is_lost(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(bytes=100))
    await shelf.put(message(0, size=60))
    before = shelf.store.totals()

    assert await shelf.put_one(message(1, size=101)) == OverQuota()
    assert await shelf.put_one(message(0, of=2, size=101)) == OverQuota()

    assert shelf.held(ONE) == {(1, 0): (0, [0])}
    assert shelf.store.totals() == before
    assert await shelf.put_one(message(1, size=101)) == OverQuota()  # and not over: it never was


async def test_what_is_lower_than_all_that_a_full_history_has_of_its_series_is_over(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(FOUR)
    await shelf.put(*run(5, 9))

    assert await shelf.put(message(3), message(3), message(2)) == [Over()] * 3
    assert await shelf.put_one(message(4)) == Over()
    assert shelf.held(ONE) == {(1, 0): (5, [5, 6, 7, 8])}


async def test_bringer_of_what_lies_above_what_others_brought_loses_nothing_of_theirs(
    open_topics: OpenTopics,
) -> None:
    """One that relays messages of somebody else's sender cannot displace these by senders of its own."""
    shelf = open_topics(HistoryQuotas(messages=8, series=16))
    await shelf.put(*run(0, 4), *run(4, 8, bringer=bringer(2)))

    verdicts = await shelf.put(*(message(0, by=by, bringer=bringer(2)) for by in range(10, 15)))

    assert verdicts == [OverQuota()] * 5
    assert shelf.held(ONE) == {(1, 0): (0, [*range(8)])}


async def test_sender_that_comes_by_another_way_goes_on_and_its_own_oldest_leave(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=8, series=16))
    await shelf.put(*run(0, 4), *run(4, 8, bringer=bringer(2)))

    verdicts = await shelf.put(*run(8, 14, bringer=bringer(2)))

    assert verdicts == [kept(message(index)) for index in range(6)]
    assert shelf.held(ONE) == {(1, 0): (6, [*range(6, 14)])}


async def test_greatest_bringer_whose_messages_all_lie_above_others_still_makes_room(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=8, series=16))
    await shelf.put(message(0), *run(1, 8, bringer=bringer(2)))

    verdicts = await shelf.put(*run(0, 2, by=3, bringer=bringer(3)))

    assert verdicts == [kept(message(0)), kept(message(1))]
    assert shelf.held(ONE)[3, 0] == (0, [0, 1])


async def test_then_the_sender_of_which_it_brought_most_loses_the_lowest_of_its_first_session(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=8, series=16))
    await shelf.put(message(0, session=1), message(0, session=2))
    await shelf.put(
        *(message(index, session=session, bringer=bringer(2)) for index in (1, 2, 3) for session in (1, 2))
    )

    verdicts = await shelf.put(*run(0, 2, by=3, bringer=bringer(3)))

    assert verdicts == [kept(message(0, session=1)), kept(message(1, session=1))]


async def test_floors_of_series_that_are_gone_are_bounded_and_the_first_ended_is_forgotten(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(messages=2, series=4))

    await shelf.put(*(message(0, by=by) for by in range(1, 8)))

    assert shelf.held(ONE) == {(by, 0): (1, []) if by < 6 else (0, [0]) for by in range(4, 8)}
    assert await shelf.put(message(0, by=4)) == [Over()]


async def test_series_with_too_many_gaps_loses_its_lowest_run(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    last = 2 * RUNS_PER_SESSION_MAX
    await shelf.put(message(1), *(message(index) for index in range(2, last, 2)))
    assert shelf.held(ONE)[1, 0][0] == 0

    verdicts = await shelf.put(message(last), message(last + 2), message(last + 4))

    assert verdicts == [kept(), kept(message(1), message(2)), kept(message(4))]
    assert shelf.held(ONE)[1, 0] == (6, [*range(6, last + 5, 2)])
    assert await shelf.put_one(message(3)) == Over()
    assert await shelf.put_one(message(7)) == kept()  # closes a gap
    assert await shelf.put_one(message(9)) == kept()


async def test_new_lowest_run_of_a_series_with_too_many_gaps_is_over(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(*(message(index) for index in range(10, 10 + 2 * RUNS_PER_SESSION_MAX, 2)))

    assert await shelf.put_one(message(3)) == Over()
    assert shelf.held(ONE)[1, 0][0] == 4
    assert await shelf.put_one(message(9)) == kept()


# All histories together


async def test_all_topics_together_are_bounded_and_one_bringer_fills_a_quarter(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics(HistoryQuotas(total_bytes=80))

    verdicts = await shelf.put(
        *(message(0, of=of, size=10) for of in (1, 2, 3)),
        *(message(1, of=of, size=20, bringer=bringer(of)) for of in (2, 3, 4, 5)),
    )

    assert verdicts == [kept(), kept(), OverQuota(), kept(), kept(), kept(), OverQuota()]
    assert await shelf.put_one(message(1, bringer=bringer(9), size=1)) == OverQuota()
    assert shelf.store.totals() == TopicTotals(4, 5, 80)


async def test_full_history_goes_on_where_its_bringer_has_no_more_room(open_topics: OpenTopics) -> None:
    shelf = open_topics(HistoryQuotas(bytes=40, total_bytes=160))
    await shelf.put(*run(0, 4, size=10))

    assert await shelf.put(message(4, size=10), message(0, of=2, size=1)) == [kept(message(0)), OverQuota()]
    assert await shelf.put_one(message(5, size=11)) == kept(message(1), message(2))


async def test_topics_are_counted_and_one_bringer_opens_a_quarter(open_topics: OpenTopics) -> None:
    shelf = open_topics(HistoryQuotas(topics=8))

    verdicts = await shelf.put(*(message(0, of=of) for of in (1, 2, 3)), message(0, by=2, of=1))
    assert verdicts == [kept(), kept(), OverQuota(), kept()]
    others = [message(0, of=of, bringer=bringer(of // 2)) for of in range(4, 11)]
    assert await shelf.put(*others) == [*[kept()] * 6, OverQuota()]

    await shelf.put(ForgetTopic(ONE))
    assert await shelf.put_one(message(0, of=3)) == kept()


# Forgetting


async def test_old_messages_leave_with_what_comes_before_them_and_floors_stay(
    open_topics: OpenTopics,
) -> None:
    shelf = open_topics()
    await shelf.put(
        message(0),
        message(2),
        message(1, received=NOW + 9),
        message(3, received=NOW + 5),
        message(0, by=2, received=NOW + 5),
    )

    assert await shelf.put_one(ForgetBefore(NOW)) == Forgotten(0)
    assert await shelf.put_one(ForgetBefore(NOW + 1)) == Forgotten(3)

    assert shelf.held(ONE) == {(1, 0): (3, [3]), (2, 0): (0, [0])}
    assert await shelf.put_one(message(2)) == Over()
    assert shelf.store.totals().messages == 2


async def test_floors_are_forgotten_later_and_with_the_last_the_topic(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(message(0), message(0, by=2, received=NOW + 10))

    assert await shelf.put_one(ForgetBefore(NOW + 11)) == Forgotten(2)
    assert shelf.held(ONE) == {(1, 0): (1, []), (2, 0): (1, [])}
    assert shelf.store.totals() == TopicTotals(1, 0, 0)
    await shelf.put(ForgetBefore(NOW + FLOOR_KEPT_S + 1))
    assert shelf.held(ONE) == {(2, 0): (1, [])}
    await shelf.put(ForgetBefore(NOW + FLOOR_KEPT_S + 11))

    assert shelf.store.topics(None, 9) == []
    assert shelf.store.totals() == TopicTotals(0, 0, 0)
    assert await shelf.put_one(message(0)) == Kept()


async def test_series_that_goes_on_keeps_its_floor(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(*run(0, 3), ForgetBefore(NOW + 1), message(5, received=NOW + 5))

    await shelf.put(ForgetBefore(NOW + 5), ForgetBefore(NOW + 5 + FLOOR_KEPT_S))

    assert shelf.held(ONE) == {(1, 0): (6, [])}


async def test_forgetting_goes_by_pages(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    await shelf.put(
        *run(0, FORGET_ROWS_MAX),
        *(message(0, by=by) for by in range(2, 6)),
        message(0, received=NOW + 5, of=2),
    )

    assert await shelf.put(*[ForgetBefore(NOW + 1)] * 3) == [
        Forgotten(FORGET_ROWS_MAX, has_more=True),
        Forgotten(4),
        Forgotten(0),
    ]
    assert shelf.store.totals().messages == 1


async def test_page_ends_in_the_midst_of_a_series_and_the_rest_of_it_stays(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    newest_first = [message(index, received=NOW + 9) for index in range(FORGET_ROWS_MAX)]
    await shelf.put(message(FORGET_ROWS_MAX), *newest_first)

    assert await shelf.put_one(ForgetBefore(NOW + 1)) == Forgotten(FORGET_ROWS_MAX, has_more=True)
    assert shelf.held(ONE) == {(1, 0): (FORGET_ROWS_MAX, [FORGET_ROWS_MAX])}
    assert await shelf.put_one(ForgetBefore(NOW + 1)) == Forgotten(1)


# The queue, the end


async def test_full_queue_is_said_and_answered_as_busy(open_topics: OpenTopics) -> None:
    shelf = open_topics()

    ops = shelf.submit(
        *(
            message(0, by=by % 500, of=by // 500, bringer=bringer(by))
            for by in range(HISTORY_QUEUE_WRITES_MAX)
        )
    )
    assert not shelf.store.has_room()
    (late,) = shelf.submit(message(0, of=9))

    assert set(await shelf.settled(ops)) == {Kept()}
    assert await shelf.settled([late]) == [StoreBroken()]
    assert shelf.store.has_room()
    assert len(shelf.store.holdings(topic(9))) == 0


async def test_one_bringer_leaves_half_of_the_queue_to_others_and_two_leave_a_third(
    open_sqlite_topics: OpenTopics,
) -> None:
    shelf = open_sqlite_topics()
    half, third = HISTORY_QUEUE_WRITES_MAX // 2, HISTORY_QUEUE_WRITES_MAX // 3

    ops = shelf.submit(*run(0, half))
    assert not shelf.store.has_room(bringer(1))
    ops += shelf.submit(*run(0, third // 2 + 1, of=2, bringer=bringer(2)))
    assert shelf.store.has_room(bringer(2))
    assert shelf.store.has_room(bringer(3))
    more = shelf.submit(message(0, of=3), message(0, of=3, bringer=bringer(3)))

    assert await shelf.settled(more) == [StoreBroken(), Kept()]
    assert set(await shelf.settled(ops)) == {Kept()}
    assert shelf.store.has_room(bringer(1))


async def test_close_hands_out_every_verdict_first_and_then_refuses(open_topics: OpenTopics) -> None:
    shelf = open_topics()
    ops = shelf.submit(*run(0, 400), *run(400, 600, bringer=bringer(2)))

    await shelf.close()
    await shelf.close()

    assert [shelf.verdicts[op] for op in ops] == [Kept()] * 600
    assert await shelf.put_one(message(0, of=2)) == StoreBroken()


# Both against a plain model

SMALL = HistoryQuotas(messages=8, bytes=120, series=12, total_bytes=260, topics=5)

writes = st.builds(
    message,
    st.integers(0, 9),
    by=st.integers(1, 3),
    session=st.integers(0, 1),
    of=st.integers(1, 3),
    size=st.sampled_from([1, 5, 10, 20, 70, 121]),
    text=st.sampled_from(["", "", "", "other"]),
    bringer=st.one_of(st.integers(1, 3).map(bringer), st.integers(1, 2).map(host)),
)


class StoresAgree(RuleBasedStateMachine):
    """Any sequence of messages, time, forgetting and restarts gives the same verdicts and holdings everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.shelves = [self.runner.run(self.open_shelf(kind)) for kind in ("memory", "sqlite")]
        self.model = Model(SMALL)
        self.now = NOW

    async def open_shelf(self, kind: str) -> TopicShelf:
        return TopicShelf(kind, Path(self.folder.name), SMALL)

    def change(self, expected: list[TopicVerdict], *changes: TopicChange) -> None:
        for shelf in self.shelves:
            assert self.runner.run(shelf.put(*changes)) == expected

    def put(self, *these: TopicWrite) -> None:
        dated = [replace(write, received=self.now) for write in these]
        self.change([self.model.put(write) for write in dated], *dated)

    @rule(these=st.lists(writes, min_size=1, max_size=8))
    def write(self, these: list[TopicWrite]) -> None:
        self.put(*these)

    @rule(
        start=st.integers(0, 20),
        count=st.integers(2, 12),
        by=st.integers(1, 3),
        of=st.integers(1, 3),
        bringer_=st.integers(1, 4),
        size=st.sampled_from([1, 10]),
    )
    def stream(self, start: int, count: int, by: int, of: int, bringer_: int, size: int) -> None:
        self.put(*run(start, start + count, by=by, of=of, bringer=bringer(bringer_), size=size))

    @rule(first=st.integers(10, 99), count=st.integers(2, 12), of=st.integers(1, 6), by=st.integers(1, 4))
    def throw_away(self, first: int, count: int, of: int, by: int) -> None:
        self.put(
            *(message(0, by=each, of=of, bringer=bringer(by), size=2) for each in range(first, first + count))
        )

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.integers(0, 8))
    def forget(self, seconds: int) -> None:
        self.change([self.model.forget_before(self.now - seconds)], ForgetBefore(self.now - seconds))

    @rule(seconds=st.integers(0, 8))
    def forget_floors(self, seconds: int) -> None:
        wall = self.now - seconds + FLOOR_KEPT_S
        self.change([self.model.forget_before(wall)], ForgetBefore(wall))

    @rule(of=st.integers(1, 6))
    def forget_topic(self, of: int) -> None:
        self.change([self.model.forget_topic(topic(of))], ForgetTopic(topic(of)))

    @precondition(lambda self: self.model.held)
    @rule()
    def restart(self) -> None:
        self.runner.run(self.shelves[1].close())  # type: ignore[arg-type]  # it is a coroutine
        self.shelves[1] = self.runner.run(self.open_shelf("sqlite"))

    @invariant()
    def holdings_agree(self) -> None:
        for of in range(1, 7):
            expected: dict[Any, Any] = {
                key[1]: (self.model.floors[key], [each.write.index for each in self.model.of_series(key)])
                for key in self.model.series_of(topic(of))
            }
            for shelf in self.shelves:
                holdings = shelf.store.holdings(topic(of))
                assert list(holdings) == list(expected)
                for key, (floor, indexes) in expected.items():
                    held = holdings.of(key)
                    assert (held.floor, [i for span in held.runs for i in range(*span)]) == (floor, indexes)

    @invariant()
    def messages_agree(self) -> None:
        for of in range(1, 7):
            keys = self.model.series_of(topic(of))
            envelopes = [each.write.envelope for key in keys for each in self.model.of_series(key)]
            ranges = [whole(key[1]) for key in keys]
            for shelf in self.shelves:
                assert shelf.store.envelopes(topic(of), ranges, 1 << 20) == (envelopes, False)
        for each in self.model.held:
            for shelf in self.shelves:
                write = each.write
                assert shelf.store.message_id(write.topic, write.series, write.index) == write.id

    @invariant()
    def limits_hold(self) -> None:
        totals = TopicTotals(
            len(self.model.opened_by), len(self.model.held), sum(each.size for each in self.model.held)
        )
        assert totals.bytes <= SMALL.total_bytes
        for shelf in self.shelves:
            assert shelf.store.totals() == totals
            topics = shelf.store.topics(None, 9)
            assert topics == sorted(self.model.opened_by)
            for of in topics:
                holdings = shelf.store.holdings(of)
                count = sum(len(range(*span)) for key in holdings for span in holdings.of(key).runs)
                assert count <= SMALL.messages
                assert len(holdings) <= SMALL.series

    def teardown(self) -> None:
        for shelf in self.shelves:
            self.runner.run(shelf.close())  # type: ignore[arg-type]  # it is a coroutine
        self.runner.close()
        self.folder.cleanup()


def whole(key: Series) -> Range:
    return Range(*key, 0, 1 << 20)


StoresAgree.TestCase.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
TestStoresAgree = StoresAgree.TestCase

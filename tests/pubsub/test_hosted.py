"""The topics of a host: near whom, what is held, what changed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.pubsub.kit_disk import Faults, FaultyTopics
from tests.pubsub.kit_host import (
    WALL,
    Author,
    Disk,
    Neighbourhood,
    contact,
    memory,
    node_id,
    target_of,
    topic,
)
from yzdht.errors import StoreError
from yzdht.ids import PublicKey, SendSession
from yzdht.limits import CHANGES_REMEMBERED_MAX, HOLDINGS_CACHED_MAX, HOST_RANGE, SUMMARY_ROWS_MAX
from yzdht.ports import Now
from yzdht.pubsub.hosted import Hosted, Topics
from yzdht.store.history_policy import HistoryQuotas
from yzdht.wire.history import Bringer, TopicWrite
from yzdht.wire.holdings import Series


if TYPE_CHECKING:
    from yzdht.store.memory_topics import MemoryTopics


NOW = Now(5.0, WALL)


def series(number: int) -> Series:
    return Series(PublicKey(b"\2" + number.to_bytes(32)), SendSession(bytes(8)))


def topics(store: MemoryTopics, own: int = 1, *known: int) -> Topics:
    neighbourhood = Neighbourhood(contact(own), [contact(number) for number in known])
    return Topics(node_id(own), store, neighbourhood, target_of)


def write(store: MemoryTopics, author: Author, index: int, of: int = 0) -> None:
    envelope = author.envelope(index, of=topic(of))
    key = (*author.series, index, envelope.id, envelope.raw, int(WALL), Bringer(bytes(8)))
    store.submit(0, TopicWrite(topic(of), *key))


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 40))
def test_what_changed_since_a_tick_is_each_series_once_by_its_last_change(
    changed: list[int], since: int
) -> None:
    hosted = Hosted(topic(), (), 0.0)
    last: dict[int, int] = {}
    for number in changed:
        hosted.changed(series(number), is_told=True)
        last[number] = hosted.tick

    expected = sorted((tick, series(number)) for number, tick in last.items() if tick > since)
    assert hosted.since(since) == [(key, tick) for tick, key in expected]


def test_changes_that_nobody_is_told_of_are_counted_and_not_remembered() -> None:
    hosted = Hosted(topic(), (), 0.0)
    hosted.changed(series(0), is_told=True)
    hosted.changed(series(1), is_told=False)

    assert hosted.tick == 2
    assert hosted.since(0) == []


def test_so_many_changes_are_remembered_and_told_page_by_page() -> None:
    hosted = Hosted(topic(), (), 0.0)
    for number in range(CHANGES_REMEMBERED_MAX + 10):
        hosted.changed(series(number), is_told=True)

    tick, seen = 0, 0
    while page := hosted.since(tick):
        assert len(page) <= SUMMARY_ROWS_MAX
        tick, seen = page[-1][1], seen + len(page)
    assert seen == CHANGES_REMEMBERED_MAX


def test_what_is_to_be_told_are_rows_as_they_are_now() -> None:
    store = memory()
    author = Author()
    write(store, author, 0)
    of = topics(store)
    hosted = of.open(topic(), of.near(topic()), NOW)
    hosted.changed(author.series, is_told=True)

    rows, tick, is_all = of.changes(hosted, 0)
    assert [(row.first, row.next) for row in rows] == [(0, 1)]
    assert (tick, is_all) == (1, True)
    assert of.changes(hosted, 1) == ((), 1, True)


def test_the_nearest_eight_are_near_and_three_of_them_hosts() -> None:
    of = topics(memory(), 4, *(n for n in range(1, 20) if n != 4))
    hosted = of.open(topic(), of.near(topic()), NOW)

    assert hosted.near == tuple(contact(number) for number in range(1, 1 + HOST_RANGE))
    assert hosted.hosts == tuple(contact(number) for number in (1, 2, 3))
    assert of.is_in(hosted.near)
    assert not of.is_host(hosted)
    assert not of.is_host_of(hosted.near)


def test_what_is_held_is_read_once_and_again_when_it_changed_on_disk() -> None:
    store = memory()
    of = topics(store)
    author = Author()
    first = of.holdings(topic())
    write(store, author, 0)

    assert of.holdings(topic()) is first
    of.reread(topic())
    assert 0 in of.holdings(topic()).of(author.series)
    of.reread()
    assert of.holdings(topic()) is not first


def test_what_the_store_gave_up_is_over() -> None:
    store = memory()
    author = Author()
    for index in range(3):
        write(store, author, index)
    of = topics(store)
    of.over(topic(), [(author.series, 0)])  # not read yet
    of.holdings(topic())
    of.over(topic(), [(author.series, 1)])

    assert of.holdings(topic()).of(author.series).floor == 2


def test_of_a_few_topics_what_is_held_stays_in_memory() -> None:
    of = topics(memory())
    first = of.holdings(topic(0))
    for number in range(1, HOLDINGS_CACHED_MAX + 1):
        of.holdings(topic(number))

    assert of.holdings(topic(HOLDINGS_CACHED_MAX)) is of.holdings(topic(HOLDINGS_CACHED_MAX))
    assert of.holdings(topic(0)) is not first


def test_a_topic_is_known_until_it_is_dropped() -> None:
    of = topics(memory())
    hosted = of.open(topic(), (), NOW)
    before = (of.get(topic()), len(of), list(of))
    of.drop(topic())
    of.drop(topic())

    assert before == (hosted, 1, [topic()])
    assert (of.get(topic()), len(of), of.is_full) == (None, 0, False)


def test_a_topic_of_which_only_a_floor_is_left_is_not_empty() -> None:
    store = Disk(HistoryQuotas(messages=1)).topics
    one, two = Author(), Author()
    write(store, one, 0)
    write(store, two, 0)
    of = topics(store)

    assert of.holdings(topic()).of(one.series).floor == 1
    assert not of.is_empty(topic())
    assert of.is_empty(topic(9))
    assert of.page(None, 10) == [topic()]


def test_each_read_that_fails_is_counted_and_of_what_cannot_be_read_nobody_says_that_it_is_empty() -> None:
    counts: Counter[str] = Counter()
    store, faults = memory(), Faults(lambda _number, _topic: True)
    hosting = Topics(
        node_id(1),
        FaultyTopics(store, faults),
        Neighbourhood(contact(1)),
        target_of,
        lambda name: counts.update([name]),
    )
    author = Author()
    write(store, author, 0)
    reads = (
        lambda: hosting.holdings(topic()),
        lambda: hosting.message_id(topic(), author.series, 0),
        lambda: hosting.envelopes(topic(), (author.range(0, 1),), 1_000),
        lambda: hosting.page(None, 1),
    )
    for read in reads:
        with pytest.raises(StoreError):
            read()

    assert not hosting.is_empty(topic(1))
    assert counts == {"store_errors": 5}
    faults.fails = lambda _number, _topic: False
    assert hosting.is_empty(topic(1))
    assert hosting.message_id(topic(), author.series, 0) == author.envelope(0).id
    assert hosting.page(None, 2) == [topic()]

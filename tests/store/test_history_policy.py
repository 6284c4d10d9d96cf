from __future__ import annotations

import pytest

from yzdht.store.history_policy import HistoryQuotas, Measure, NodeShare, Part, Taken


NONE = Part(0, 0)
QUOTAS = HistoryQuotas(messages=8, bytes=100, series=16, total_bytes=400, topics=8)


@pytest.mark.parametrize(
    ("whole", "excess"),
    [
        (Part(8, 100), None),
        (Part(9, 100), Measure.MESSAGES),
        (Part(9, 101), Measure.MESSAGES),
        (Part(1, 101), Measure.BYTES),
    ],
)
def test_history_has_too_many_messages_before_it_has_too_many_bytes(
    whole: Part, excess: Measure | None
) -> None:
    assert QUOTAS.excess(whole) is excess


def test_more_than_a_quarter_of_either_is_greedy() -> None:
    assert [QUOTAS.is_greedy(Part(*mine)) for mine in ((2, 25), (3, 1), (1, 26))] == [False, True, True]


def taken(node: NodeShare, own: NodeShare, *, is_new_topic: bool = False) -> Taken:
    return Taken(NONE, NONE, node, own, is_new_topic)


def test_one_bringer_has_a_quarter_of_all_bytes() -> None:
    nearly = taken(NodeShare(300, 1), NodeShare(90, 1))

    assert QUOTAS.admits(nearly, 10, 10)
    assert not QUOTAS.admits(nearly, 0, 11)
    assert not QUOTAS.admits(nearly, 101, 0)


def test_what_does_not_grow_is_admitted_however_full_it_is() -> None:
    assert QUOTAS.admits(taken(NodeShare(500, 99), NodeShare(500, 99)), 0, -1)


def test_one_bringer_opens_a_quarter_of_all_topics() -> None:
    assert QUOTAS.admits(taken(NodeShare(0, 7), NodeShare(0, 1), is_new_topic=True), 1, 1)
    assert not QUOTAS.admits(taken(NodeShare(0, 7), NodeShare(0, 2), is_new_topic=True), 1, 1)
    assert not QUOTAS.admits(taken(NodeShare(0, 8), NodeShare(0, 0), is_new_topic=True), 1, 1)


def test_in_a_store_for_few_topics_everybody_may_open_one() -> None:
    assert HistoryQuotas(topics=2).admits(taken(NodeShare(0, 1), NodeShare(0, 0), is_new_topic=True), 1, 1)

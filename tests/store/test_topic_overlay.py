from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.messages import NOW, bringer, message, series, topic
from yzdht.store.topic_overlay import TopicOverlay
from yzdht.wire.history import ForgetBefore, ForgetTopic


if TYPE_CHECKING:
    from yzdht.wire.history import TopicChange


ONE = topic(1)
EVE = bringer(7)


def folded(overlay: TopicOverlay) -> tuple[bool, list[int]]:
    pending = overlay.find(ONE)
    assert pending is not None
    is_forgotten, writes = pending.fold()
    return is_forgotten, sorted(writes.get(series(), {}))


def test_first_of_two_messages_under_one_index_is_shown() -> None:
    overlay = TopicOverlay()
    overlay.add(message(0))
    overlay.add(message(0, text="other"))

    pending = overlay.find(ONE)

    assert pending is not None
    assert pending.fold()[1][series()][0] == message(0)


def test_forgetting_a_topic_hides_what_came_before_it() -> None:
    overlay = TopicOverlay()
    for change in (message(0), ForgetTopic(ONE), message(1)):
        overlay.add(change)

    assert folded(overlay) == (True, [1])


def test_settled_changes_are_shown_no_more() -> None:
    overlay = TopicOverlay()
    changes: list[TopicChange] = [message(0), ForgetTopic(ONE), message(1), ForgetBefore(NOW), message(2)]
    for change in changes:
        overlay.add(change)
    assert folded(overlay) == (True, [1, 2])

    overlay.settle(changes[:2])
    assert folded(overlay) == (False, [1, 2])
    overlay.settle(changes[2:])

    assert overlay.find(ONE) is None
    assert list(overlay) == []


def test_what_waits_is_counted_with_its_bytes() -> None:
    overlay = TopicOverlay()
    changes: list[TopicChange] = [message(0, size=10), ForgetTopic(ONE), ForgetBefore(NOW)]
    for change in changes:
        overlay.add(change)
    assert (overlay.waiting, overlay.waiting_bytes) == (3, 10)

    overlay.settle(changes)

    assert (overlay.waiting, overlay.waiting_bytes) == (0, 0)


def test_changes_are_settled_in_whatever_order_lines_had() -> None:
    overlay = TopicOverlay()
    changes = [message(0), message(1, bringer=EVE), message(2), message(2, text="other", bringer=EVE)]
    for change in changes:
        overlay.add(change)
    assert folded(overlay) == (False, [0, 1, 2])
    assert overlay.waiting_of(EVE) == (2, sum(len(change.envelope) for change in changes[1::2]))
    assert overlay.waiting_of(changes[0].bringer)[0] == 2

    overlay.settle([changes[1], changes[2]])

    assert folded(overlay) == (False, [0, 2])
    pending = overlay.find(ONE)
    assert pending is not None
    assert pending.fold()[1][series()][2] is changes[3]
    assert overlay.waiting_of(EVE) == (1, len(changes[3].envelope))
    overlay.settle([changes[3], changes[0]])
    assert list(overlay) == []


def test_each_change_is_folded_once() -> None:
    overlay = TopicOverlay()
    changes = [message(0), message(1), message(2)]
    overlay.add(changes[0])
    overlay.add(changes[1])
    pending = overlay.find(ONE)
    assert pending is not None
    _, writes = pending.fold()
    overlay.add(changes[2])

    assert pending.fold()[1] is writes
    assert sorted(writes[series()]) == [0, 1, 2]

    overlay.settle(changes[:1])

    assert pending.fold()[1] is writes
    assert sorted(writes[series()]) == [1, 2]

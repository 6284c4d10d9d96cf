"""Changes on their way to the disk, and what is too old."""

from __future__ import annotations

from tests.pubsub.kit_host import TOPIC, WALL, Neighbourhood, contact, memory, node_id, target_of
from yzdht.limits import HISTORY_LOOK_EVERY_S, HISTORY_S
from yzdht.ports import Now
from yzdht.pubsub.hosted import Topics
from yzdht.pubsub.keeping import Keeping
from yzdht.pubsub.outbox import Outbox
from yzdht.rpc.engine import Keep
from yzdht.wire.history import ForgetBefore, ForgetTopic, Forgotten, TopicVerdict


class Desk:
    def __init__(self) -> None:
        self.outbox = Outbox()
        self.topics = Topics(node_id(1), memory(), Neighbourhood(contact(1)), target_of)
        self.keeping = Keeping(self.outbox, self.topics)
        self.verdicts: list[TopicVerdict] = []

    def hear(self, verdict: TopicVerdict, _now: Now) -> None:
        self.verdicts.append(verdict)

    def kept(self) -> list[Keep]:
        return [item for item in self.outbox.take() if isinstance(item, Keep)]


def at(mono: float) -> Now:
    return Now(mono, WALL + mono)


def test_each_change_is_told_its_own_verdict_once() -> None:
    desk = Desk()
    desk.keeping.submit(ForgetTopic(TOPIC), desk.hear)
    desk.keeping.submit(ForgetTopic(TOPIC), desk.hear)
    ops = [item.op for item in desk.kept()]

    desk.keeping.on_stored(ops[1], Forgotten(2), at(0.0))
    desk.keeping.on_stored(ops[1], Forgotten(3), at(0.0))
    desk.keeping.on_stored(ops[0], Forgotten(1), at(0.0))

    assert len(set(ops)) == 2
    assert desk.verdicts == [Forgotten(2), Forgotten(1)]


def test_what_is_a_day_old_is_dropped_page_by_page_and_then_once_a_minute() -> None:
    desk = Desk()
    held = desk.topics.holdings(TOPIC)
    desk.keeping.start(at(0.0))
    changes, times = [], []
    for verdicts in ([Forgotten(9, has_more=True), Forgotten(1)], [Forgotten(0)]):
        mono = desk.keeping.next_timer()
        assert mono is not None
        desk.keeping.handle_timer(at(mono))
        for verdict in verdicts:  # the next page as soon as one is done
            assert desk.keeping.next_timer() is None
            [item] = desk.kept()
            changes.append(item.change)
            times.append(mono)
            desk.keeping.on_stored(item.op, verdict, at(mono))

    assert times == [0.0, 0.0, HISTORY_LOOK_EVERY_S]
    walls = [int(WALL + mono) - HISTORY_S for mono in times]
    assert list(map(repr, changes)) == [repr(ForgetBefore(wall)) for wall in walls]
    assert desk.topics.holdings(TOPIC) is not held


def test_where_nothing_was_dropped_nothing_is_read_again() -> None:
    desk = Desk()
    held = desk.topics.holdings(TOPIC)
    desk.keeping.start(at(0.0))
    desk.keeping.handle_timer(at(0.0))
    [item] = desk.kept()
    desk.keeping.on_stored(item.op, Forgotten(0), at(0.0))

    assert desk.topics.holdings(TOPIC) is held


def test_after_it_stopped_nobody_is_told_anything() -> None:
    desk = Desk()
    desk.keeping.submit(ForgetTopic(TOPIC), desk.hear)
    [item] = desk.kept()
    desk.keeping.stop()
    desk.keeping.on_stored(item.op, Forgotten(1), at(0.0))

    assert desk.verdicts == []
    assert desk.keeping.next_timer() is None

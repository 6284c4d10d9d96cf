"""Two that listen to one topic in one process: neither takes from the other what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_engine import (
    OWN,
    SILENT,
    TOPIC,
    Shell,
    at,
    contact,
    indexes,
    peer,
    raw,
    series,
    subscribed,
)
from tests.pubsub.kit_feed import forged, ranked
from yzdht.limits import FEED_LOOK_EVERY_S, FEED_SETTLE_FEW_S
from yzdht.rpc.engine import Answer, Down, Failed, FailReason
from yzdht.wire.rpc import Empty, Method, Refusal, Status, Subscribe, Unsubscribe


if TYPE_CHECKING:
    from yzdht.pubsub.events import Event
    from yzdht.pubsub.feed import Feed


ONE = series(1)


def two_that_listen(shell: Shell) -> tuple[list[Event], list[Event]]:
    told: tuple[list[Event], list[Event]] = [], []
    for events in told:
        shell.listen(events)
        for number in shell.asked(Method.SUBSCRIBE):
            shell.answer(number, Method.SUBSCRIBE, subscribed())
    return told


def test_both_are_told_what_a_host_pushes_once() -> None:
    shell = Shell(1, 2, is_node=False)
    told = two_that_listen(shell)
    for number in (1, 2, 1):
        shell.pushed(number, raw(ONE, 0, topic=TOPIC), raw(ONE, 1, topic=TOPIC))

    assert [indexes(events) for events in told] == [[0, 1], [0, 1]]


def test_a_host_is_left_only_when_nobody_listens_there_any_more() -> None:
    shell = Shell(1, is_node=False)
    told: list[Event] = []
    first, second = shell.listen(told), shell.listen([])
    for _ in range(2):
        shell.answer(1, Method.SUBSCRIBE, subscribed())

    shell.engine.unsubscribe(TOPIC, second, at(2))
    assert shell.asked(Method.UNSUBSCRIBE) == []
    assert shell.engine.is_heard(first.sources[0])
    shell.pushed(1, raw(ONE, 0, topic=TOPIC))
    assert indexes(told) == [0]

    shell.engine.unsubscribe(TOPIC, first, at(3))
    assert shell.asked(Method.UNSUBSCRIBE) == [1]
    assert isinstance(shell.call(1, Method.UNSUBSCRIBE).body, Unsubscribe)


def one_that_listens_and_one_that_has_asked(shell: Shell, told: list[Event]) -> tuple[Feed, Feed]:
    first = shell.listen([])
    for number in shell.asked(Method.SUBSCRIBE):
        shell.answer(number, Method.SUBSCRIBE, subscribed())
    return first, shell.listen(told)


def test_a_host_that_another_has_asked_is_not_left_the_goodbye_would_arrive_after_what_it_asked() -> None:
    shell = Shell(1, 2, is_node=False)
    told: list[Event] = []
    first, second = one_that_listens_and_one_that_has_asked(shell, told)
    assert second.sources == ()

    shell.engine.unsubscribe(TOPIC, first, at(2))

    assert shell.asked(Method.UNSUBSCRIBE) == []
    for number in shell.asked(Method.SUBSCRIBE):
        shell.answer(number, Method.SUBSCRIBE, subscribed())
    shell.pushed(1, raw(ONE, 0, topic=TOPIC))
    assert indexes(told) == [0]
    shell.engine.unsubscribe(TOPIC, second, at(3))
    assert shell.asked(Method.UNSUBSCRIBE) == [1, 2]


def test_a_host_that_forges_is_left_by_whoever_saw_it_and_by_the_other_when_it_sees_it() -> None:
    shell = Shell(1, 2, is_node=False)
    first, second = one_that_listens_and_one_that_has_asked(shell, [])

    first.distrust(contact(1).node_id, at(2))
    assert shell.asked(Method.UNSUBSCRIBE) == []
    for number in shell.asked(Method.SUBSCRIBE):
        shell.answer(number, Method.SUBSCRIBE, subscribed())
    assert len(second.sources) == 2

    shell.pushed(1, forged(raw(ONE, 0, topic=TOPIC)))
    assert shell.asked(Method.UNSUBSCRIBE) == [1]
    shell.engine.unsubscribe(TOPIC, first, at(3))
    shell.engine.unsubscribe(TOPIC, second, at(4))
    assert shell.asked(Method.UNSUBSCRIBE) == [1, 2]


def test_who_is_no_host_any_more_for_one_is_left_once_it_is_none_for_the_other() -> None:
    shell = Shell(1, is_node=False)
    told: list[Event] = []
    shell.listen([])
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.found = []
    shell.tick(FEED_LOOK_EVERY_S * 1.5)
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.found = [contact(1)]
    second = shell.listen(told)
    shell.found = []

    shell.tick(FEED_LOOK_EVERY_S * 2.2)  # the first one has not found it twice
    assert not shell.engine.is_heard(contact(1).node_id)
    assert shell.asked(Method.UNSUBSCRIBE) == []
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.pushed(1, raw(ONE, 0, topic=TOPIC))
    shell.tick(FEED_LOOK_EVERY_S * 2.2 + FEED_SETTLE_FEW_S)  # others may be found
    assert indexes(told) == [0]

    shell.tick(FEED_LOOK_EVERY_S * 4)
    assert second.sources == ()
    assert shell.asked(Method.UNSUBSCRIBE) == [1]


@pytest.mark.parametrize("outcome", [SILENT, Answer(Status.BUSY, Refusal())])
def test_who_took_over_says_goodbye_in_the_end_though_its_own_request_failed(
    outcome: Answer | Failed,
) -> None:
    for is_found in (True, False):
        shell = Shell(1, is_node=False)
        first, second = one_that_listens_and_one_that_has_asked(shell, [])
        shell.engine.unsubscribe(TOPIC, first, at(2))
        shell.answer(1, Method.SUBSCRIBE, outcome)
        assert shell.asked(Method.UNSUBSCRIBE) == []  # it is asked again soon

        if is_found:
            shell.engine.unsubscribe(TOPIC, second, at(3))
        else:
            shell.found = []
            shell.tick(FEED_LOOK_EVERY_S * 3)
        assert shell.asked(Method.UNSUBSCRIBE) == [1]


@pytest.mark.parametrize(
    ("reason", "asked"), [(FailReason.TIMEOUT, [1]), (FailReason.UNREACHABLE, []), (FailReason.WRONG_ID, [])]
)
def test_a_goodbye_is_owed_to_who_was_late_and_not_to_who_was_not_there(
    reason: FailReason, asked: list[int]
) -> None:
    for is_taken_over in (True, False):
        shell = Shell(1, is_node=False)
        first = shell.listen([])
        if is_taken_over:
            second = shell.listen([])
            shell.engine.unsubscribe(TOPIC, first, at(2))
        else:
            second = first
        shell.answer(1, Method.SUBSCRIBE, Failed(reason))

        shell.engine.unsubscribe(TOPIC, second, at(3))
        assert shell.asked(Method.UNSUBSCRIBE) == asked


def test_no_goodbye_is_owed_in_a_session_that_ended() -> None:
    shell = Shell(1, is_node=False)
    first, second = one_that_listens_and_one_that_has_asked(shell, [])
    shell.engine.unsubscribe(TOPIC, first, at(2))
    shell.answer(1, Method.SUBSCRIBE, SILENT)
    shell.engine.on_link(peer(1), Down("closed"), at(3))

    shell.engine.unsubscribe(TOPIC, second, at(4))
    assert shell.asked(Method.UNSUBSCRIBE) == []


def test_whoever_begins_after_a_goodbye_went_is_subscribed_in_the_end() -> None:
    shell = Shell(1, is_node=False)
    told: list[Event] = []
    first = shell.listen([])
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.engine.unsubscribe(TOPIC, first, at(2))
    shell.listen(told)

    assert shell.call(1, Method.UNSUBSCRIBE).call < shell.call(1, Method.SUBSCRIBE).call  # as they arrive
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.answer(1, Method.UNSUBSCRIBE, Answer(Status.OK, Empty()))
    shell.pushed(1, raw(ONE, 0, topic=TOPIC))
    assert indexes(told) == [0]


def test_whoever_wants_no_pushes_of_a_host_does_not_end_those_of_the_other() -> None:
    better, other = ranked(1, 2, own=OWN)
    shell = Shell(other, is_node=False)
    first = shell.listen([])
    shell.answer(other, Method.SUBSCRIBE, subscribed())
    assert first.pusher == contact(other).node_id
    shell.found.insert(0, contact(better))  # the first one has not looked again
    shell.listen([])
    asked = {n: shell.call(n, Method.SUBSCRIBE).body for n in shell.asked(Method.SUBSCRIBE)}

    assert set(asked) == {better, other}
    assert all(isinstance(body, Subscribe) and body.push for body in asked.values())

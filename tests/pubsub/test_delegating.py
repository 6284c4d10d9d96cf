from __future__ import annotations

import pytest

from tests.pubsub.kit_engine import SILENT, Shell, at, raw, series
from yzdht.limits import (
    CLIENT_NODES_AVOIDED_MAX,
    DELEGATED_PUBLISH_CALL_S,
    DELEGATED_PUBLISH_LATE_S,
    NODE_AVOIDED_S,
    PUBLISH_DEADLINE_S,
    PUBLISHES_MAX,
)
from yzdht.pubsub.publisher import PublishResult
from yzdht.rpc.engine import Answer
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Method, Publish, Published, Refusal, Status


ONE = series(1)
MESSAGE = raw(ONE, 0)


def stored(hosts: int = 2, of: int = 3) -> Answer:
    return Answer(Status.OK, Published(hosts, of))


def client(*nodes: int) -> Shell:
    return Shell(*nodes, is_node=False)


def test_the_first_node_is_asked_and_its_word_is_the_result() -> None:
    shell = client(2, 1)
    results = shell.publish(MESSAGE)
    assert shell.asked(Method.PUBLISH) == [2]  # not the one that is nearest to the topic

    call = shell.answer(2, Method.PUBLISH, stored())
    assert call.body == Publish(MESSAGE, delegate=True)
    assert results == [PublishResult(2, 3)]
    assert shell.asked(Method.PUBLISH) == []


def test_the_next_is_asked_at_once_when_one_fails_and_before_it_from_then_on() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, SILENT)
    shell.tick(shell.mono)
    assert shell.asked(Method.PUBLISH) == [2]
    shell.answer(2, Method.PUBLISH, stored())
    assert results == [PublishResult(2, 3)]

    shell.publish(raw(ONE, 1))
    assert shell.asked(Method.PUBLISH) == [2]
    shell.tick(1 + NODE_AVOIDED_S)
    shell.answer(2, Method.PUBLISH, stored()) if shell.asked(Method.PUBLISH) == [2] else None
    shell.calls.clear()
    shell.publish(raw(ONE, 2))
    assert shell.asked(Method.PUBLISH) == [1]


def test_a_silent_node_has_the_next_one_asked_beside_it_and_holds_up_one_message_alone() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.tick(1 + DELEGATED_PUBLISH_LATE_S)
    assert shell.asked(Method.PUBLISH) == [1, 2]
    shell.answer(2, Method.PUBLISH, stored())
    assert results == [PublishResult(2, 3)]
    assert shell.asked(Method.PUBLISH) == []  # the silent one is not waited for

    for index in range(1, 5):
        shell.publish(raw(ONE, index))
    assert shell.asked(Method.PUBLISH) == 4 * [2]
    assert DELEGATED_PUBLISH_LATE_S < PUBLISH_DEADLINE_S < DELEGATED_PUBLISH_CALL_S


FINAL = [Status.BAD_REQUEST, Status.TOO_LARGE, Status.BAD_SIGNATURE, Status.EQUIVOCATION]


def refusal(status: Status = Status.BAD_REQUEST) -> Answer:
    return Answer(status, Refusal())


@pytest.mark.parametrize("status", FINAL)
def test_a_refusal_of_the_message_itself_by_two_nodes_is_final(status: Status) -> None:
    shell = client(1, 2, 3)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, refusal(status))
    assert results == []
    shell.tick(shell.mono)
    assert shell.asked(Method.PUBLISH) == [2]
    shell.answer(2, Method.PUBLISH, refusal(status))
    assert results == [PublishResult(0, 0, status)]
    assert shell.asked(Method.PUBLISH) == []


@pytest.mark.parametrize("status", FINAL)
def test_one_node_that_lies_ends_no_message(status: Status) -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, refusal(status))
    shell.tick(shell.mono)
    shell.answer(2, Method.PUBLISH, stored())
    assert results == [PublishResult(2, 3)]


def test_the_only_node_that_there_is_decides() -> None:
    shell = client(1)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, refusal())
    assert results == [PublishResult(0, 0, Status.BAD_REQUEST)]


def test_who_refused_for_good_is_not_asked_again_while_another_may_take_it() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, refusal())
    for mono in range(2, 2 + int(PUBLISH_DEADLINE_S)):
        assert 1 not in shell.asked(Method.PUBLISH)
        if 2 in shell.asked(Method.PUBLISH):
            shell.answer(2, Method.PUBLISH, SILENT)
        shell.tick(float(mono))
    assert results == [PublishResult(0, 0, Status.BAD_REQUEST)]


def test_who_refused_for_good_decides_once_the_others_are_no_nodes_of_the_client_any_more() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, refusal())
    shell.tick(shell.mono)
    shell.found = client(1).found
    shell.answer(2, Method.PUBLISH, SILENT)
    shell.tick(shell.mono + 5)
    assert results == [PublishResult(0, 0, Status.BAD_REQUEST)]
    assert shell.asked(Method.PUBLISH) == []


def test_too_few_hosts_at_one_node_are_perhaps_enough_at_the_next() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, stored(1, 3))
    shell.tick(shell.mono)
    shell.answer(2, Method.PUBLISH, stored(3, 3))
    assert results == [PublishResult(3, 3)]


def test_the_best_that_any_said_is_told_when_the_time_is_over() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, stored(1, 3))
    shell.tick(shell.mono)
    shell.answer(2, Method.PUBLISH, Answer(Status.RATE_LIMITED, Refusal(60_000)))
    shell.tick(1 + PUBLISH_DEADLINE_S)
    assert results == [PublishResult(1, 3)]
    assert shell.engine.next_timer() is None


def test_without_a_node_it_is_tried_until_the_time_is_over() -> None:
    shell = client()
    results = shell.publish(MESSAGE)
    shell.tick(5)
    assert results == []
    shell.found = client(3).found
    shell.tick(8)
    shell.answer(3, Method.PUBLISH, stored())
    assert results == [PublishResult(2, 3)]


def test_with_patience_it_is_tried_for_longer() -> None:
    shell = client()
    results = shell.publish(MESSAGE, 60.0)
    for mono in range(2, 60, 2):
        shell.tick(float(mono))
    assert results == []
    shell.tick(61)
    assert results == [PublishResult(0, 0)]


def test_it_is_tried_for_as_long_as_is_wanted_however_often_that_is() -> None:
    shell = client(1)
    results = shell.publish(MESSAGE, patience_s=3_600.0)
    while not results:
        if shell.asked(Method.PUBLISH):
            shell.answer(1, Method.PUBLISH, refusal(Status.BUSY))
        due = shell.engine.next_timer()
        assert due is not None or results
        shell.tick(due or 0.0)
    assert results == [PublishResult(0, 0, Status.BUSY)]
    assert shell.mono >= 3_600.0


def test_messages_under_way_are_bounded_and_told_what_is_known_at_the_end() -> None:
    shell = client(1)
    results = [shell.publish(raw(ONE, index)) for index in range(PUBLISHES_MAX)]
    assert not shell.engine.has_room
    one_more = decode_envelope(raw(ONE, PUBLISHES_MAX))
    assert not shell.engine.publish(one_more, lambda _result, _now: None, at(1))

    shell.engine.stop(at(2))
    assert all(result == [PublishResult(0, 0)] for result in results)
    assert shell.engine.has_room


def test_so_many_nodes_that_failed_are_remembered_the_last_of_them() -> None:
    shell = client(1)
    for number in range(1, CLIENT_NODES_AVOIDED_MAX + 2):
        shell.found = client(number, 200).found
        shell.publish(raw(ONE, number))
        shell.answer(number, Method.PUBLISH, SILENT)
        shell.tick(shell.mono)
        shell.answer(200, Method.PUBLISH, stored())

    shell.found = client(1, 3, 200).found
    shell.publish(raw(ONE, 0))
    assert shell.asked(Method.PUBLISH) == [1]  # it is forgotten that it failed
    shell.answer(1, Method.PUBLISH, SILENT)
    shell.tick(shell.mono)
    assert shell.asked(Method.PUBLISH) == [200]


def test_a_node_that_knows_nothing_of_topics_has_the_next_one_asked_at_once_and_first_from_then_on() -> None:
    shell = client(1, 2)
    results = shell.publish(MESSAGE)
    shell.answer(1, Method.PUBLISH, Answer(Status.UNKNOWN_METHOD, Refusal()))
    shell.tick(shell.mono)
    shell.answer(2, Method.PUBLISH, stored())
    assert results == [PublishResult(2, 3)]

    shell.publish(raw(ONE, 1))
    assert shell.asked(Method.PUBLISH) == [2]

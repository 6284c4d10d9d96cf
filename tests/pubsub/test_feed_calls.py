"""Two that listen to one topic in one process: neither takes from the other what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.pubsub.kit_engine import OWN, TOPIC, Shell, at, contact, indexes, raw, series, subscribed
from tests.pubsub.kit_feed import ranked
from yzdht.wire.rpc import Method, Subscribe, Unsubscribe


if TYPE_CHECKING:
    from yzdht.pubsub.events import Event


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

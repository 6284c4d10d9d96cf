"""What clients publish through one node; what comes of a message at its hosts: test_publisher.py."""

from __future__ import annotations

import pytest

from tests.pubsub.kit_engine import Shell, at, peer, raw, series
from yzdht.limits import EDGE_PART_OF_ONE_BRINGER, EDGE_PUBLISHES_MAX, PUBLISH_BURST, PUBLISH_DEADLINE_S
from yzdht.pubsub.intake import STORED
from yzdht.rpc.engine import Answer, Peer
from yzdht.wire.rpc import Method, Publish, Published, Refusal, Status


ONE = series(1)
PART = EDGE_PUBLISHES_MAX // EDGE_PART_OF_ONE_BRINGER
CLIENT = peer(50)
GREEDY, NEIGHBOUR = peer(60, prefix="203.0.113.0/24"), peer(61, prefix="203.0.113.0/24")


@pytest.fixture
def shell() -> Shell:
    """A node that is no host itself."""
    shell = Shell(1, 2)
    shell.is_reached = False
    return shell


def publish(shell: Shell, by: Peer, index: int, *, delegate: bool = True) -> int:
    return shell.ask(by, Method.PUBLISH, Publish(raw(ONE, index), delegate=delegate))


def test_a_node_that_has_a_client_publish_something_forged_does_not_pass_it_on(shell: Shell) -> None:
    genuine = raw(ONE, 0)
    bad = genuine[:-1] + bytes((genuine[-1] ^ 1,))
    for message, status in ((bad, Status.BAD_SIGNATURE), (b"nothing", Status.BAD_REQUEST)):
        request = shell.ask(CLIENT, Method.PUBLISH, Publish(message, delegate=True))
        assert shell.status(request) is status
    assert shell.asked(Method.PUBLISH) == []

    shell.ask(CLIENT, Method.PUBLISH, Publish(genuine, delegate=True))
    assert shell.asked(Method.PUBLISH) == [1, 2]


def test_a_client_is_answered_with_what_came_of_its_message_at_the_hosts(shell: Shell) -> None:
    request = publish(shell, CLIENT, 0)
    shell.answer(1, Method.PUBLISH, STORED)
    assert shell.status(request) is None
    shell.answer(2, Method.PUBLISH, STORED)
    assert shell.replies[request].body == Published(2, 2)

    request = publish(shell, CLIENT, 1)
    for number in (1, 2):
        shell.answer(number, Method.PUBLISH, Answer(Status.EQUIVOCATION, Refusal()))
    assert shell.status(request) is Status.EQUIVOCATION


def test_one_bringer_has_a_quarter_of_the_messages_under_way(shell: Shell) -> None:
    statuses = [
        shell.status(publish(shell, (GREEDY, NEIGHBOUR)[index % 2], index)) for index in range(PART + 2)
    ]
    assert statuses == PART * [None] + 2 * [Status.BUSY]
    assert shell.status(publish(shell, CLIENT, PART)) is None

    shell.tick(2 + PUBLISH_DEADLINE_S)
    assert shell.status(publish(shell, GREEDY, 0)) is None


def test_clients_that_have_all_their_places_leave_the_own_user_its_own(shell: Shell) -> None:
    requests = [publish(shell, peer(60 + index // PART), index) for index in range(EDGE_PUBLISHES_MAX)]
    assert {shell.status(request) for request in requests} == {None}
    assert shell.status(publish(shell, peer(70), 0)) is Status.BUSY
    assert shell.engine.has_room
    results = shell.publish(raw(series(2), 0))
    assert results == []

    shell.engine.stop(at(shell.mono))
    shell.look()
    assert {shell.status(request) for request in requests} == {Status.OK}
    assert len(results) == 1


def test_who_publishes_both_ways_has_one_budget() -> None:
    shell = Shell()
    statuses = [
        shell.status(publish(shell, CLIENT, index, delegate=bool(index % 2)))
        for index in range(int(PUBLISH_BURST) + 10)
    ]
    assert statuses.count(Status.RATE_LIMITED) == 10

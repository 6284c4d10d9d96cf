"""Which of a peer's addresses may be begun, and what those that failed say of the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from yzdht.errors import DialFailed, DialledTooOften, ReachedAnother
from yzdht.ids import NodeId
from yzdht.limits import HANDSHAKE_PATIENCE_S
from yzdht.rpc.engine import FailReason
from yzdht.sessions.race import Attempt, Race
from yzdht.staggered import UNTIL_ANOTHER_ENDS


if TYPE_CHECKING:
    from yzdht.sessions.connection import Connection


NODE_ID = NodeId(bytes(32))
TCP, WS, ELSEWHERE = "tcp://8.8.4.4:8083", "ws://8.8.4.4:8083", "ws://1.1.1.1:8083"


class HalfOpen:
    """A connection as attempts see it."""

    peer = None

    def __init__(self) -> None:
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


def link(attempt: Attempt, mono: float = 0.0) -> HalfOpen:
    connection = HalfOpen()
    attempt.linked(cast("Connection", connection), mono)
    return connection


async def test_two_protocols_at_one_host_and_port_are_not_tried_at_once() -> None:
    race = Race(NODE_ID)

    with race.begin(TCP):
        assert race.wait_s(WS, 0.0) == UNTIL_ANOTHER_ENDS
        assert race.wait_s(ELSEWHERE, 0.0) == 0.0
        assert race.wait_s("memory://x", 0.0) == 0.0
    assert race.wait_s(WS, 0.0) == 0.0


async def test_where_no_tcp_connection_comes_about_no_other_protocol_is_tried() -> None:
    race = Race(NODE_ID)

    with race.begin(TCP) as attempt:
        race.failed(attempt, DialFailed("refused"))

    assert race.wait_s(WS, 0.0) is None
    assert race.wait_s(ELSEWHERE, 0.0) == 0.0
    assert race.reason is FailReason.UNREACHABLE


async def test_where_a_link_was_open_the_other_protocol_is_tried() -> None:
    race = Race(NODE_ID)

    with race.begin(TCP) as attempt:
        link(attempt)
        race.failed(attempt, DialFailed("not a node"))

    assert race.wait_s(WS, 0.0) == 0.0


async def test_what_failed_over_http_may_work_over_tcp() -> None:
    race = Race(NODE_ID)

    with race.begin(WS) as attempt:
        race.failed(attempt, DialFailed("404"))

    assert race.wait_s(TCP, 0.0) == 0.0


async def test_who_has_opened_a_link_is_given_time_to_answer() -> None:
    race = Race(NODE_ID)

    with race.begin(TCP) as attempt:
        link(attempt, 10.0)

        assert race.wait_s(ELSEWHERE, 10.0) == HANDSHAKE_PATIENCE_S
        assert race.wait_s(ELSEWHERE, 10.0 + HANDSHAKE_PATIENCE_S) == 0.0
        assert race.wait_s(ELSEWHERE, 20.0 + HANDSHAKE_PATIENCE_S) == 0.0


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([], FailReason.UNREACHABLE),
        ([DialFailed("refused")], FailReason.UNREACHABLE),
        ([ReachedAnother("another"), DialFailed("refused")], FailReason.WRONG_ID),
        ([DialledTooOften("busy"), ReachedAnother("another")], FailReason.BUSY),
    ],
)
async def test_what_is_said_of_a_peer_that_was_not_reached(
    errors: list[DialFailed], reason: FailReason
) -> None:
    race = Race(NODE_ID)

    for error in errors:
        with race.begin(ELSEWHERE) as attempt:
            race.failed(attempt, error)

    assert race.reason is reason


async def test_when_one_has_won_the_others_hang_up_and_nothing_begins() -> None:
    race = Race(NODE_ID)
    with race.begin(TCP) as winner, race.begin(ELSEWHERE) as loser, race.begin("memory://late") as late:
        won, lost = link(winner), link(loser)

        winner.won(cast("Connection", won))

        assert (won.closings, lost.closings) == (0, 1)
        assert (winner.is_lost, loser.is_lost, late.is_lost) == (False, True, True)
        assert await winner.outcome is cast("Connection", won)
        assert race.wait_s("memory://other", 0.0) == UNTIL_ANOTHER_ENDS


async def test_an_attempt_that_stands_alone_ends_with_what_it_was_told() -> None:
    attempt = Attempt(TCP, None)
    connection = link(attempt)

    attempt.lost(DialFailed("closed"))
    attempt.lost(DialFailed("again"))
    attempt.won(cast("Connection", connection))
    attempt.give_up()

    with pytest.raises(DialFailed, match="closed"):
        await attempt.outcome
    assert connection.closings == 1
    assert not attempt.is_lost

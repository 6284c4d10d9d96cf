"""What follows where a peer asks, holds or sends too much; each bound has its own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sessions.proved import connection
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.limits import REQUESTS_BURST_STRANGER
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.restraint import Restraint
from yzdht.sessions.world import World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from yzdht.sessions.connection import Connection


def restraint(counters: Counters, **bounds: int) -> Restraint:
    credentials = Credentials(Identity.generate().signer, network_id("main"), Caps.ALWAYS, None)
    return Restraint(World(credentials, [], SystemClock(), counters, bounds=SessionBounds(**bounds)))  # type: ignore[arg-type] # whole numbers


def asks(judge: Restraint, asker: Connection, times: int) -> int:
    return sum(judge.may_ask(asker, number) for number in range(times))


async def test_too_many_requests_are_counted_and_the_next_peer_may_ask() -> None:
    counters = Counters()
    judge = restraint(counters)
    tries = int(REQUESTS_BURST_STRANGER) + 2_000
    served = asks(judge, connection("8.8.8.8"), tries)

    assert served < tries
    assert counters.get("rate_limited", "requests") == tries - served
    assert asks(judge, connection("9.9.9.9", 2), 1) == 1


async def test_who_was_dropped_for_holding_most_is_weighed_no_more() -> None:
    counters = Counters()
    judge = restraint(counters, held_bytes_max=100)
    greedy = connection("8.8.8.8")
    greedy._open_bytes = 101
    judge.weigh(greedy, 101)
    judge.weigh(greedy, 101)

    assert counters.get("rate_limited", "memory_shed") == 1
    assert judge.held_bytes == 0
    judge.forget(greedy)
    assert judge.held_bytes == 0


async def test_nothing_is_metered_without_a_bound_and_who_is_not_proved_is_always_read() -> None:
    assert not restraint(Counters()).is_metering
    counters = Counters()
    judge = restraint(counters, bandwidth_bytes_per_s=1)
    newcomer = connection("8.8.8.8")
    newcomer.peer = None

    assert judge.is_metering
    judge.carried(newcomer, 1_000, 1_000)
    assert counters.get("rate_limited", "bandwidth") == 0
    judge.carried(connection("8.8.8.8"), 1, 0)
    assert counters.get("rate_limited", "bandwidth") == 1

"""What follows where a peer asks, holds or sends too much; each bound has its own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Village, turns, until
from tests.sessions.proved import connection
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.limits import PUSHES_PER_CHARGE, REQUESTS_BURST_STRANGER, REQUESTS_PER_S_STRANGER, REST_S
from yzdht.ports import Now
from yzdht.rpc.engine import Answer
from yzdht.rpc.session import Spent
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.restraint import Restraint
from yzdht.sessions.world import World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.rpc import Method, Status, encode_request, encode_response


if TYPE_CHECKING:
    from yzdht.sessions.clock import Clock
    from yzdht.sessions.connection import Connection


class Standing:
    """A clock whose time passes only where a test says so."""

    mono = 100.0

    def now(self) -> Now:
        return Now(self.mono, 1e9 + self.mono)


def restraint(counters: Counters, clock: Clock | None = None, **bounds: int) -> Restraint:
    credentials = Credentials(Identity.generate().signer, network_id("main"), Caps.ALWAYS, None)
    bound = SessionBounds(**bounds)  # type: ignore[arg-type] # whole numbers
    return Restraint(World(credentials, [], clock or SystemClock(), counters, bounds=bound))


def asks(judge: Restraint, asker: Connection, times: int) -> int:
    return sum(judge.may_ask(asker, number) for number in range(times))


def exhaust(judge: Restraint, asker: Connection) -> None:
    """Have a peer ask for more than it may, for a minute to come: the clock of these tests runs."""
    assert asker.peer is not None
    mono = judge._clock.now().mono + 60.0
    while not judge._pace.take(asker.peer, mono):
        pass


async def test_too_many_requests_are_counted_and_the_next_peer_may_ask() -> None:
    counters = Counters()
    judge = restraint(counters)
    tries = int(REQUESTS_BURST_STRANGER) + 2_000
    served = asks(judge, connection("8.8.8.8"), tries)

    assert served < tries
    assert counters.get("rate_limited", "requests") == tries - served
    assert asks(judge, connection("9.9.9.9", 2), 1) == 1


async def test_what_is_served_by_nobody_costs_what_a_request_does_and_is_no_use_of_the_session() -> None:
    counters = Counters()
    judge = restraint(counters)
    asker = connection("8.8.8.8", used_at=-5.0)
    judge.spent(asker, Spent())
    assert counters.get("rate_limited", "requests") == 0

    exhaust(judge, asker)
    judge.spent(asker, Spent())
    assert counters.get("rate_limited", "requests") == 1
    assert asker.used_at == -5.0


async def test_what_is_said_unasked_costs_what_a_request_does_for_some_at_once() -> None:
    counters = Counters()
    judge = restraint(counters, Standing())
    asker = connection("8.8.8.8", used_at=-5.0)
    said = 0
    while not counters.get("rate_limited", "requests"):
        judge.pushed(asker)
        said += 1
    assert said == REQUESTS_BURST_STRANGER + PUSHES_PER_CHARGE
    assert asker.used_at == -5.0


async def test_who_owes_for_what_it_said_is_not_read_until_it_can_be_charged() -> None:
    counters = Counters()
    clock = Standing()
    judge = restraint(counters, clock)
    asker = connection("8.8.8.8")
    exhaust(judge, asker)
    for _ in range(PUSHES_PER_CHARGE - 1):
        judge.pushed(asker)
    assert counters.get("rate_limited", "requests") == 0
    for _ in range(3):
        judge.pushed(asker)
    assert counters.get("rate_limited", "requests") == 3
    assert asker.unpaid_pushes == PUSHES_PER_CHARGE + 2

    clock.mono += 60.0 + 2 / REQUESTS_PER_S_STRANGER  # two can be paid, and eight cannot
    judge.pushed(asker)
    assert counters.get("rate_limited", "requests") == 3
    assert asker.unpaid_pushes == PUSHES_PER_CHARGE + 2


async def test_a_session_that_ends_pays_what_it_owes() -> None:
    counters = Counters()
    judge = restraint(counters, Standing())
    for _ in range(int(REQUESTS_BURST_STRANGER)):
        asker = connection("8.8.8.8")
        judge.pushed(asker)
        judge.forget(asker)
    assert asks(judge, connection("8.8.8.8"), 1) == 0


async def test_requests_that_are_turned_away_are_counted_as_served() -> None:
    counters = Counters()
    judge = restraint(counters)
    judge.spent(connection("8.8.8.8"), Spent(Status.BAD_REQUEST, Method.STORE))
    judge.spent(connection("8.8.8.8"), Spent(Status.UNKNOWN_METHOD))

    assert counters.labels("rpc_served") == {"store/bad_request": 1, "unknown/unknown_method": 1}


async def test_a_request_that_is_refused_for_memory_is_charged() -> None:
    counters = Counters()
    judge = restraint(counters, held_bytes_max=100)
    greedy = connection("8.8.8.8")
    greedy._open_bytes = 90
    judge.weigh(greedy, 90)
    assert asks(judge, greedy, 10) == 0
    assert counters.get("rate_limited", "memory") == 10

    exhaust(judge, greedy)
    assert asks(judge, greedy, 1) == 0
    assert counters.get("rate_limited", "requests") == 1


@pytest.mark.parametrize(
    ("record_type", "data"),
    [
        (RecordType.REQUEST, encode_request(1, Method.FIND_NODE, b"\xc1")),
        (RecordType.REQUEST, encode_request(1, 0x99, b"")),
        (RecordType.RESPONSE, encode_response(77, 0, b"\x90")),
        (RecordType.PING, b""),
        (RecordType.PONG, b""),
        (RecordType.LINK, b""),
        (RecordType.PUBSUB, b"x"),
    ],
)
async def test_who_sends_too_much_that_is_no_request_is_not_read_for_a_while_and_others_are_served(
    village: Village, record_type: RecordType, data: bytes
) -> None:
    server, honest = await village.party("server"), await village.party("honest")
    flooder = await village.party("8.8.8.8")
    await flooder.answer_to(flooder.ask(server.contact))
    near, far = flooder.sessions._by_id[server.node_id], server.sessions._by_id[flooder.node_id]
    with village.clock.standing_still():  # its rest is short
        exhaust(server.sessions._restraint, far)
        assert near.session is not None
        for _ in range(100):
            near.session._send_record(record_type, data, near._clock.now().mono)
        near._pump()
        await until(lambda: server.counters.get("rate_limited", "requests"))
        await turns(10)

        assert server.counters.get("rate_limited", "requests") == 1
        assert far._rest is not None
        assert isinstance(await honest.answer_to(honest.ask(server.contact)), Answer)
        await village.clock.advance(REST_S[1])
        assert (
            1 < server.counters.get("rate_limited", "requests") < 10
        )  # it is read again, and at once no more


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

"""Who gets a handshake and who a place, without any network."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.limits import (
    HALF_OPEN_MAX,
    HANDSHAKE_BURST,
    HANDSHAKE_BURST_PER_PREFIX,
    HANDSHAKES_PER_S,
    LINKS_WAITING_MAX,
    SESSIONS_MAX,
)
from yzdht.ports import Endpoint
from yzdht.rpc.engine import Peer
from yzdht.sessions.admission import Displaced, Doorway, Places, Refusal, SessionBounds, Turn
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.connection import Connection
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.memory import MemoryLink
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from yzdht.rpc.session import Event


class Nobody:
    def on_event(self, connection: Connection, event: Event) -> None:
        raise AssertionError("nothing happens here")

    def on_weight(self, connection: Connection, held: int) -> None:
        raise AssertionError("nothing is held here")

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        raise AssertionError("nothing is carried here")

    def on_gone(self, connection: Connection) -> None:
        raise AssertionError("nothing goes here")


def connection(host: str, number: int = 1) -> Connection:
    """One whose peer, of that number, is proved."""
    here = Endpoint("here", 0, "memory")
    link, _ = MemoryLink.pair(here, Endpoint(host, 0, "memory"), LinkBounds())
    made = Connection(link, SystemClock(), asyncio.get_running_loop(), Nobody())
    node_id = NodeId(number.to_bytes(32))
    made.peer = Peer(node_id, PublicKey(bytes(33)), Caps.ALWAYS, SessionId(bytes(16)), host, None)
    return made


def knocks(doorway: Doorway, host: str, tries: int, mono: float = 0.0) -> int:
    """How many of them may begin."""
    return sum(isinstance(doorway.knock(host, 0, mono), Turn) for _ in range(tries))


# Links


def test_a_flood_from_many_prefixes_is_bounded_in_all_and_a_quiet_one_is_served() -> None:
    doorway = Doorway(SessionBounds())
    flood = [f"8.{number}.1.1" for number in range(200)]
    began = 0
    for second in range(30):
        began += sum(knocks(doorway, host, 30, float(second)) for host in flood)

    assert began <= HANDSHAKE_BURST + 30 * HANDSHAKES_PER_S
    assert knocks(doorway, "9.9.9.9", 1, 30.0) == 1


def test_one_address_leaves_handshakes_to_its_neighbours() -> None:
    doorway = Doorway(SessionBounds())

    assert knocks(doorway, "8.8.8.8", 1_000) == HANDSHAKE_BURST_PER_PREFIX / 2
    assert knocks(doorway, "8.8.8.9", 10) == 10


def test_addresses_that_are_not_public_share_with_everybody_only() -> None:
    doorway = Doorway(SessionBounds())

    assert knocks(doorway, "127.0.0.1", 10_000) == HANDSHAKE_BURST / 2
    assert knocks(doorway, "127.0.0.2", 100) == 100
    assert knocks(doorway, "8.8.8.8", 20) == 20


def test_a_trusted_proxy_stands_for_others() -> None:
    bounds = SessionBounds(trusted_proxies=(ip_network("203.0.113.0/24"), ip_network("8.8.8.0/29")))

    assert knocks(Doorway(bounds), "8.8.8.8", 1_000) == HANDSHAKE_BURST_PER_PREFIX / 2
    assert knocks(Doorway(bounds), "8.8.8.7", 1_000) == 1_000


def test_links_of_every_state_are_bounded() -> None:
    doorway = Doorway(SessionBounds(sessions_max=10))

    assert doorway.knock("8.8.8.8", 19 + HALF_OPEN_MAX, 0.0) is Turn.NOW
    assert doorway.knock("8.8.8.8", 20 + HALF_OPEN_MAX, 0.0) == Refusal("links_refused", "sessions")
    assert SessionBounds().links_max == SESSIONS_MAX + HALF_OPEN_MAX + LINKS_WAITING_MAX


# Places


async def test_the_youngest_of_the_identity_that_holds_most_goes_first() -> None:
    places = Places(SessionBounds(sessions_max=8), lambda _: False)
    owners = [1, 2, 2, 3, 2, 3]
    crowd = [connection("8.8.8.8", number) for number in owners]
    for each in crowd:
        assert places.enter(each, is_client=True, mono=0.0) is None

    assert places.enter(connection("9.9.9.9", 9), is_client=True, mono=0.0) == Displaced(
        crowd[4], is_stranger=True
    )


async def test_strangers_who_are_in_the_table_by_now_are_none() -> None:
    known: set[NodeId] = set()
    places = Places(SessionBounds(sessions_max=8), known.__contains__)
    for number in range(6):
        places.enter(connection("8.8.8.8", number), is_client=False, mono=0.0)
    assert isinstance(places.enter(connection("8.8.8.8", 7), is_client=False, mono=0.0), Refusal)

    known |= {NodeId(number.to_bytes(32)) for number in range(2)}

    assert places.enter(connection("8.8.8.8", 8), is_client=False, mono=1.0) is None
    assert places.enter(connection("8.8.8.8", 9), is_client=False, mono=1.0) is None
    assert len(places) == 8


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=80))
async def test_whoever_comes_there_are_never_more_sessions_than_places(
    comers: list[tuple[int, int, bool]],
) -> None:
    known = {NodeId(number.to_bytes(32)) for number in range(3)}
    bounds = SessionBounds(sessions_max=7)
    places = Places(bounds, known.__contains__)
    inside: list[Connection] = []
    for at, (prefix, number, leaves) in enumerate(comers):
        comer = connection(f"8.{prefix}.8.8", number)
        verdict = places.enter(comer, is_client=False, mono=float(at))
        if not isinstance(verdict, Refusal):
            inside.append(comer)
        if isinstance(verdict, Displaced):
            places.leave(verdict.connection, is_client=False)
            inside.remove(verdict.connection)
        if leaves and inside:
            places.leave(inside.pop(0), is_client=False)

        assert len(inside) == len(places) <= bounds.sessions_max
        strangers = [c for c in inside if c.node_id not in known]
        assert len(strangers) <= bounds.strangers_max

"""Which session serves a peer, who may open one, and how all of them end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from ipaddress import ip_network
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.sessions.kit import (
    CLIENT,
    Party,
    Silent,
    Time,
    Village,
    live_timers,
    session_with,
    sessions_of,
    turns,
    until,
)
from yzdht.errors import DialFailed
from yzdht.limits import (
    CLIENT_SESSIONS_PER_NODE_ID_MAX,
    HALF_OPEN_MAX,
    HALF_OPEN_PER_PREFIX_MAX,
    HANDSHAKE_BURST_PER_PEER,
    HANDSHAKE_BURST_PER_PREFIX,
    HANDSHAKE_TIMEOUT_S,
    HANDSHAKES_PER_PEER_PER_S,
    HANDSHAKES_PER_PREFIX_PER_S,
    LINKS_WAITING_MAX,
    REST_S,
    RETIRED_S_MAX,
    SESSION_RENEW_BEFORE_S,
    SESSION_S_MAX,
    STRANGER_IDLE_LOOK_S,
    STRANGER_IDLE_S_MAX,
    TURNED_AWAY_MAX,
    TURNED_AWAY_S_MAX,
    TURNED_AWAY_S_MIN,
)
from yzdht.rpc.engine import TURNED_AWAY, Answer, Down, Failed, FailReason, Up
from yzdht.sessions.admission import SessionBounds
from yzdht.store.keyfile import Identity
from yzdht.transport.memory import MemoryLink, MemoryTransport
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.address import Contact
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import Empty, Method, Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ports import Link, LinkHandler
    from yzdht.rpc.engine import Peer


class Stubborn(Party):
    """Reads nothing once its session is open, the end of it included."""

    def on_link(self, peer: Peer, change: Up | Down) -> None:
        connection = session_with(self.sessions, peer.node_id)
        if connection is not None:
            connection.link.pause_reading()


# One session per peer


async def test_a_call_dials_its_contact_and_is_answered(village: Village) -> None:
    low, high = await village.pair()

    outcome = await low.answer_to(low.ask(high.contact))

    assert isinstance(outcome, Answer)
    assert outcome.status is Status.OK
    assert sessions_of(low, high) == [1, 1]
    assert low.ups() == high.ups() == 1


async def test_calls_made_during_a_dial_share_its_session(village: Village) -> None:
    low, high = await village.pair()

    calls = [low.ask(high.contact) for _ in range(20)]
    outcomes = [await low.answer_to(call) for call in calls]

    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert sessions_of(low, high) == [1, 1]
    assert high.counters.get("sessions_opened") == 1


@pytest.mark.parametrize("is_low_first", [True, False])
async def test_both_ends_dial_at_once_and_keep_the_session_that_the_lower_id_began(
    village: Village, clock: Time, *, is_low_first: bool
) -> None:
    low, high = await village.pair()
    first, second = (low, high) if is_low_first else (high, low)

    calls = [(first, first.ask(second.contact)), (second, second.ask(first.contact))]
    calls += [(p, p.ask(q.contact)) for p, q in ((low, high), (high, low)) for _ in range(10)]
    outcomes = [await party.answer_to(call) for party, call in calls]
    late = [(p, p.ask(q.contact)) for p, q in ((low, high), (high, low)) for _ in range(10)]
    outcomes += [await party.answer_to(call) for party, call in late]
    await clock.advance(RETIRED_S_MAX)
    await until(lambda: sessions_of(low, high) == [1, 1])

    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    kept = session_with(low.sessions, high.node_id), session_with(high.sessions, low.node_id)
    assert kept[0] is not None
    assert kept[1] is not None
    assert kept[0].is_initiator
    assert not kept[1].is_initiator
    assert kept[0].peer is not None
    assert kept[1].peer is not None
    assert kept[0].peer.session == kept[1].peer.session
    assert low.downs() == high.downs() == 0


async def test_a_call_still_waits_for_its_answer_on_a_session_that_was_replaced(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    high.on_asked = lambda *_: None
    slow = low.ask(high.contact, timeout_s=60.0)
    await until(lambda: high.requests)
    connection, number, _, _ = high.requests[0]

    await low.sessions.dial(high.url)  # the same end begins anew: the newest is used
    assert sessions_of(low, high) == [2, 2]
    await clock.advance(RETIRED_S_MAX / 2)
    connection.reply(number, Status.OK, Empty())

    assert isinstance(await low.answer_to(slow), Answer)
    await clock.advance(RETIRED_S_MAX)
    await until(lambda: sessions_of(low, high) == [1, 1])
    assert low.downs() == high.downs() == 0


async def test_a_replaced_session_is_closed_at_last_though_a_call_still_waits(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    high.on_asked = lambda *_: None
    never = low.ask(high.contact, timeout_s=600.0)
    await until(lambda: high.requests)

    await low.sessions.dial(high.url)
    await clock.advance(2 * RETIRED_S_MAX, steps=20)

    assert await low.answer_to(never) == Failed(FailReason.CLOSED)
    await until(lambda: sessions_of(low, high) == [1, 1])


async def test_open_connections_are_shown_with_their_age_and_traffic(village: Village, clock: Time) -> None:
    low, high = await village.pair()
    before = clock.now().mono
    await low.answer_to(low.ask(high.contact))

    [(mine, since)] = low.sessions.open_connections()
    [(theirs, _)] = high.sessions.open_connections()

    assert before <= since <= clock.now().mono
    assert mine.node_id == high.node_id
    assert (mine.bytes_in, mine.bytes_out) == (theirs.bytes_out, theirs.bytes_in)
    assert mine.bytes_out > 0
    assert (low.sessions.half_open, high.sessions.half_open) == (0, 0)


async def test_a_peer_that_was_restarted_is_served_on_its_newest_session(
    village: Village, clock: Time
) -> None:
    """Its old session is still open here: the machine went down without a goodbye."""
    low, high = await village.pair()
    await low.answer_to(low.ask(high.contact))
    old = session_with(low.sessions, high.node_id)
    again = Party(clock, MemoryTransport(village.network, "again"), identity=high.identity)
    village.parties.append(again)
    await clock.advance(11.0)

    call = again.ask(low.contact)

    assert isinstance(await again.answer_to(call), Answer)
    assert session_with(low.sessions, high.node_id) is not old
    assert low.ups() == 2
    assert low.downs() == 0


async def test_sessions_of_one_client_identity_are_never_merged_and_the_17th_is_refused(
    village: Village, clock: Time
) -> None:
    node = await village.party("node")
    person = Identity.generate()
    clients = [
        Party(clock, MemoryTransport(village.network, f"c{i}"), identity=person, caps=CLIENT)
        for i in range(CLIENT_SESSIONS_PER_NODE_ID_MAX + 1)
    ]
    village.parties += clients
    for client in clients:
        await client.sessions.dial(node.url)
    last = clients[-1]
    await until(lambda: len(last.sessions) == 0)

    assert len(node.sessions) == CLIENT_SESSIONS_PER_NODE_ID_MAX
    assert node.counters.get("links_refused", "client_sessions") == 1
    assert node.links == []
    outcomes = [await c.answer_to(c.ask(node.contact)) for c in clients[:-1]]
    assert all(isinstance(outcome, Answer) for outcome in outcomes)

    await clients[0].sessions.close()
    await until(lambda: len(node.sessions) == CLIENT_SESSIONS_PER_NODE_ID_MAX - 1)
    assert await last.answer_to(last.ask(node.contact)) == Failed(FailReason.BUSY)
    await clock.advance(TURNED_AWAY_S_MIN)
    assert isinstance(await last.answer_to(last.ask(node.contact)), Answer)


async def test_who_dials_a_node_that_is_a_client_for_want_of_reach_is_served_by_it(village: Village) -> None:
    unreached = await village.party("unreached", caps=CLIENT)
    user = await village.party("user", caps=CLIENT)

    outcome = await user.answer_to(user.ask(unreached.contact))

    assert isinstance(outcome, Answer)
    assert len(user.sessions) == len(unreached.sessions) == 1
    assert isinstance(await user.answer_to(user.ask(unreached.contact)), Answer)
    assert len(user.sessions) == 1
    await unreached.sessions.close()
    await until(lambda: user.downs() == user.ups() == 1)


# Who must not meet
async def test_a_node_that_dials_itself_is_refused_and_counted(village: Village) -> None:
    low, high = await village.pair()

    with pytest.raises(DialFailed):
        await low.sessions.dial(low.url)

    await until(lambda: len(low.sessions) == 0)
    assert low.counters.get("sessions_faulted", "handshake") == 1
    assert low.links == []
    assert isinstance(await low.answer_to(low.ask(high.contact)), Answer)


@pytest.mark.parametrize(
    ("options", "other"),
    [({"network": "main"}, {"network": "other"}), ({"psk": b"k" * 32}, {}), ({}, {"psk": b"k" * 32})],
)
async def test_networks_never_meet(
    village: Village, options: dict[str, object], other: dict[str, object]
) -> None:
    here, there = await village.party("here", **options), await village.party("there", **other)

    with pytest.raises(DialFailed):
        await here.sessions.dial(there.url)

    await until(lambda: sessions_of(here, there) == [0, 0])
    assert here.links == there.links == []


# Strangers


async def test_half_open_sessions_are_bounded_and_the_rest_wait_for_their_turn(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    silent = Silent()
    neighbour = MemoryTransport(village.network, "high")  # at the address of one that waits
    for _ in range(HALF_OPEN_MAX):
        await neighbour.dial(low.url, silent, 1.0)
    call = high.ask(low.contact, timeout_s=60.0)
    await turns(20)
    assert call not in high.answers
    assert len(low.sessions) == HALF_OPEN_MAX + 1

    silent.links.pop().abort()

    assert isinstance(await high.answer_to(call), Answer)
    await clock.advance(HANDSHAKE_TIMEOUT_S)
    await until(lambda: len(low.sessions) == 1)
    assert low.counters.get("sessions_faulted", "handshake") == HALF_OPEN_MAX - 1
    assert low.counters.get("handshakes_abandoned") == 1


async def test_links_that_wait_for_their_turn_are_bounded(village: Village) -> None:
    low, _ = await village.pair()
    silent = Silent()
    stranger = MemoryTransport(village.network, "stranger")
    for _ in range(HALF_OPEN_MAX + LINKS_WAITING_MAX):
        await stranger.dial(low.url, silent, 1.0)

    with pytest.raises(DialFailed):
        await stranger.dial(low.url, silent, 1.0)

    assert low.counters.get("links_refused", "half_open") == 1


async def test_a_link_that_was_given_up_while_it_waited_takes_nobody_s_turn(
    village: Village,
) -> None:
    low, high = await village.pair()
    holding, waiting = Silent(), Silent()
    stranger = MemoryTransport(village.network, "high")
    for _ in range(HALF_OPEN_MAX):
        await stranger.dial(low.url, holding, 1.0)
    for _ in range(50):
        await stranger.dial(low.url, waiting, 1.0)
    for link in waiting.links:
        link.abort()
    call = high.ask(low.contact, timeout_s=60.0)
    await turns(10)

    holding.links.pop().abort()

    assert isinstance(await high.answer_to(call), Answer)


async def test_one_public_prefix_has_its_own_bound_and_others_are_served(village: Village) -> None:
    low, _ = await village.pair()
    silent = Silent()
    crowd = [
        MemoryTransport(village.network, f"8.8.8.{number}") for number in range(HALF_OPEN_PER_PREFIX_MAX)
    ]
    for each in crowd:
        await each.dial(low.url, silent, 1.0)
    stranger = crowd[0]
    await village.clock.advance(HANDSHAKE_TIMEOUT_S / 2)  # by its rate the prefix may begin some more

    with pytest.raises(DialFailed):
        await stranger.dial(low.url, silent, 1.0)
    assert low.counters.get("links_refused", "half_open_prefix") == 1

    neighbour = Party(village.clock, MemoryTransport(village.network, "9.9.9.9"))
    village.parties.append(neighbour)
    assert isinstance(await neighbour.answer_to(neighbour.ask(low.contact)), Answer)

    silent.links.pop().abort()
    await until(lambda: low.counters.get("handshakes_abandoned"))
    await MemoryTransport(village.network, "8.8.8.200").dial(low.url, silent, 1.0)


@pytest.mark.parametrize("host", ["9.9.9.9", "8.8.8.99", "8.8.1.8"])
async def test_who_says_nothing_gives_way_to_newcomers_from_elsewhere(village: Village, host: str) -> None:
    low, _ = await village.pair()
    silent = Silent()
    for number in range(HALF_OPEN_MAX):
        stranger = MemoryTransport(village.network, f"8.8.{number % 4 * 8}.{number // 4}")
        await stranger.dial(low.url, silent, 1.0)
    newcomer = Party(village.clock, MemoryTransport(village.network, host))
    village.parties.append(newcomer)

    assert isinstance(await newcomer.answer_to(newcomer.ask(low.contact)), Answer)

    assert low.counters.get("rate_limited", "handshakes_displaced") == 1
    await until(lambda: len(silent.reasons) == 1)
    assert low.sessions.half_open == HALF_OPEN_MAX - 1


async def test_refused_peers_that_never_close_keep_nobody_out(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yzdht.sessions.admission.HALF_OPEN_MAX", 4)
    bounds = SessionBounds(sessions_max=4)
    node, honest = await village.party("node", bounds=bounds), await village.party("honest")
    for _ in range(2 * bounds.links_max):
        stubborn = Stubborn(village.clock, MemoryTransport(village.network, "stubborn"))
        village.parties.append(stubborn)
        with contextlib.suppress(DialFailed):
            await stubborn.sessions.dial(node.url)
    await turns(10)
    assert len(node.sessions._links) == bounds.links_max

    assert isinstance(await honest.answer_to(honest.ask(node.contact)), Answer)
    assert len(node.sessions._links) <= bounds.links_max


async def test_one_public_prefix_begins_so_many_handshakes_and_then_some_per_second(
    village: Village, clock: Time
) -> None:
    low, _ = await village.pair()
    stranger = MemoryTransport(village.network, "2001:4860:4860::8888")

    async def knock() -> bool:
        silent = Silent()
        try:
            await stranger.dial(low.url, silent, 1.0)
        except DialFailed:
            return False
        silent.links[0].abort()
        await until(lambda: len(low.sessions) == 0)
        return True

    taken = [await knock() for _ in range(int(HANDSHAKE_BURST_PER_PREFIX) + 20)]
    assert HANDSHAKE_BURST_PER_PREFIX / 2 <= sum(taken) < len(taken)
    assert low.counters.get("links_refused", "handshake_rate") == len(taken) - sum(taken)

    neighbour = Party(clock, MemoryTransport(village.network, "2001:4860:4860::4444"))
    village.parties.append(neighbour)
    assert isinstance(await neighbour.answer_to(neighbour.ask(low.contact)), Answer)
    await neighbour.sessions.close()
    await until(lambda: len(low.sessions) == 0)
    await clock.advance(10 / HANDSHAKES_PER_PREFIX_PER_S)
    assert await knock()


# Places


async def crowd_of(
    village: Village, node: Party, count: int, host: str = "8.8.8.8", **options: object
) -> list[Party]:
    """So many parties behind one address, each with a session."""
    crowd = []
    for _ in range(count):
        party = Party(village.clock, MemoryTransport(village.network, host), **options)  # type: ignore[arg-type] # handed on
        village.parties.append(party)
        await party.sessions.dial(node.url)
        await turns(4)
        crowd.append(party)
    return crowd


def here(parties: list[Party]) -> list[bool]:
    return [len(party.sessions) == 1 for party in parties]


async def test_a_crowd_behind_one_address_holds_all_places_only_until_others_come(village: Village) -> None:
    node = await village.party("node", bounds=SessionBounds(sessions_max=8))
    crowd = await crowd_of(village, node, 10)
    assert here(crowd) == [True] * 6 + [False] * 4
    assert node.counters.get("links_refused", "sessions") == 4

    others = await crowd_of(village, node, 3, "9.9.9.9")
    outcomes = [await other.answer_to(other.ask(node.contact)) for other in others]

    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert here(crowd)[:6] == [True] * 3 + [False] * 3
    assert node.counters.get("rate_limited", "sessions_displaced") == 3
    assert here(await crowd_of(village, node, 1, "9.9.9.9")) == [False]
    assert len(node.sessions) == 6


async def test_who_finds_no_place_knows_nothing_against_the_node_until_it_was_so_for_long(
    village: Village, clock: Time
) -> None:
    node = await village.party("node", bounds=SessionBounds(sessions_max=8))
    clients = [Party(clock, MemoryTransport(village.network, f"c{i}"), caps=CLIENT) for i in range(6)]
    village.parties += clients
    for client in clients:
        await client.sessions.dial(node.url)
    late = await village.party("late")
    outcomes = []
    for _ in range(TURNED_AWAY_MAX):
        outcomes.append(await late.answer_to(late.ask(node.contact)))
        await clock.advance(TURNED_AWAY_S_MAX)

    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Failed)} <= {
        FailReason.BUSY,
        FailReason.CLOSED,
    }
    assert {change.reason for _, change in late.links if isinstance(change, Down)} == {TURNED_AWAY}
    last = [await late.answer_to(late.ask(node.contact)) for _ in range(2)]
    assert last[-1] == Failed(FailReason.UNREACHABLE)


async def test_nodes_of_the_table_and_own_dials_get_in_where_strangers_hold_all_places(
    village: Village,
) -> None:
    node = await village.party("node", bounds=SessionBounds(sessions_max=8))
    await crowd_of(village, node, 10, "9.9.9.9")
    friends = [await village.party(f"friend {number}") for number in range(4)]
    node.known |= {friend.node_id for friend in friends[:3]}

    for friend in friends[:3]:
        assert isinstance(await friend.answer_to(friend.ask(node.contact)), Answer)
    assert isinstance(await node.answer_to(node.ask(friends[3].contact)), Answer)

    await until(lambda: len(node.sessions) == 8)
    assert node.counters.get("rate_limited", "sessions_displaced") == 2
    assert all(here(friends))


async def test_where_all_are_of_the_table_the_one_that_has_been_idle_longest_makes_place(
    village: Village, clock: Time
) -> None:
    node = await village.party("node", bounds=SessionBounds(sessions_max=4))
    friends = [await village.party(f"friend {number}") for number in range(5)]
    node.known |= {friend.node_id for friend in friends}
    for friend in friends[:4]:
        await friend.answer_to(friend.ask(node.contact))
        await clock.advance(1.0)
    await friends[0].answer_to(friends[0].ask(node.contact))

    assert isinstance(await friends[4].answer_to(friends[4].ask(node.contact)), Answer)

    await until(lambda: here(friends) == [True, False, True, True, True])
    [(_, change)] = [link for link in friends[1].links if isinstance(link[1], Down)]
    assert isinstance(change, Down)
    assert not change.is_goodbye
    assert isinstance(await friends[1].answer_to(friends[1].ask(node.contact)), Answer)


async def test_a_stranger_that_is_served_may_begin_anew_where_all_places_are_taken(
    village: Village, clock: Time
) -> None:
    node = await village.party("node", bounds=SessionBounds(sessions_max=4))
    low, high, _ = await crowd_of(village, node, 3)
    again = Party(clock, MemoryTransport(village.network, "8.8.8.8"), identity=high.identity)
    village.parties.append(again)

    assert isinstance(await again.answer_to(again.ask(node.contact)), Answer)

    await clock.advance(RETIRED_S_MAX)
    await until(lambda: len(node.sessions) == 3)
    assert here([low, high, again]) == [True, False, True]
    assert here(await crowd_of(village, node, 1)) == [True]
    await until(lambda: len(node.sessions) == 3)


async def test_who_was_displaced_and_begins_anew_before_it_is_gone_takes_a_place_like_others(
    village: Village, clock: Time
) -> None:
    node = await village.party("node", bounds=SessionBounds(sessions_max=4))
    [stranger] = await crowd_of(village, node, 1)
    displaced = session_with(node.sessions, stranger.node_id)
    assert displaced is not None
    node.sessions._places.leave(displaced, is_client=False)  # it is told at the next turn of the loop
    again = Party(clock, MemoryTransport(village.network, "8.8.8.8"), identity=stranger.identity)
    village.parties.append(again)

    assert isinstance(await again.answer_to(again.ask(node.contact)), Answer)

    session = session_with(node.sessions, stranger.node_id)
    assert session is not None
    assert session is not displaced
    assert list(node.sessions._places._open) == [session]


async def test_one_identity_that_begins_session_after_session_is_refused_and_others_are_served(
    village: Village, clock: Time
) -> None:
    node = await village.party("node")
    greedy = Identity.generate()
    for _ in range(int(HANDSHAKE_BURST_PER_PEER)):
        [party] = await crowd_of(village, node, 1, "c", identity=greedy, caps=CLIENT)
        await party.sessions.close()
        await until(lambda: len(node.sessions) == 0)

    refused: list[bool] = []
    while not refused:  # on a slow machine one more flows in meanwhile
        [party] = await crowd_of(village, node, 1, "c", identity=greedy, caps=CLIENT)
        refused = [is_here for is_here in here([party]) if not is_here]
    assert node.counters.get("rate_limited", "handshakes_per_peer") == 1
    assert here(await crowd_of(village, node, 1, "c", caps=CLIENT)) == [True]
    await clock.advance(1 / HANDSHAKES_PER_PEER_PER_S)
    assert here(await crowd_of(village, node, 1, "c", identity=greedy, caps=CLIENT)) == [True]


# Time


async def test_a_session_is_made_anew_before_it_is_too_old(village: Village, clock: Time) -> None:
    low, high = await village.pair()
    await low.answer_to(low.ask(high.contact))
    old = session_with(low.sessions, high.node_id)
    high.on_asked = lambda *_: None
    call = low.ask(high.contact, timeout_s=2 * SESSION_S_MAX)
    await until(lambda: len(high.requests) == 2)

    await clock.advance(SESSION_S_MAX - SESSION_RENEW_BEFORE_S)
    await until(lambda: session_with(low.sessions, high.node_id) not in (None, old))

    assert low.downs() == high.downs() == 0
    connection, number, _, _ = high.requests[1]
    connection.reply(number, Status.OK, Empty())
    assert isinstance(await low.answer_to(call), Answer)
    await clock.advance(2 * RETIRED_S_MAX, steps=20)
    await until(lambda: sessions_of(low, high) == [1, 1])
    assert low.downs() == high.downs() == 0


async def test_a_session_is_made_anew_at_another_address_where_the_one_in_use_is_gone(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    [road] = high.sessions._listeners
    await high.sessions.listen("memory", "other road", 0)
    urls = (high.url, "memory://other road")
    contact = Contact(high.node_id, high.identity.public_key, urls, high.contact.caps)
    await low.answer_to(low.ask(contact))
    old = session_with(low.sessions, high.node_id)
    assert old is not None
    assert old.url == high.url
    high.on_asked = lambda *_: None
    low.ask(contact, timeout_s=2 * SESSION_S_MAX)  # a session in which nothing is asked would end before
    await until(lambda: len(high.requests) == 2)
    await road.close()

    await clock.advance(SESSION_S_MAX - SESSION_RENEW_BEFORE_S)
    await until(lambda: session_with(low.sessions, high.node_id) not in (None, old))

    new = session_with(low.sessions, high.node_id)
    assert new is not None
    assert new.url == "memory://other road"
    assert low.downs() == high.downs() == 0
    assert low.counters.get("dials_failed") == 1, "the address in use went first"


async def test_a_session_is_made_anew_where_it_is_although_another_address_is_better(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    await high.sessions.listen("memory", "other road", 0)
    await low.answer_to(low.ask(high.contact))
    old = session_with(low.sessions, high.node_id)
    urls = ("memory://other road", high.url)
    contact = Contact(high.node_id, high.identity.public_key, urls, high.contact.caps)
    high.on_asked = lambda *_: None
    low.ask(contact, timeout_s=2 * SESSION_S_MAX)
    await until(lambda: len(high.requests) == 2)

    await clock.advance(SESSION_S_MAX - SESSION_RENEW_BEFORE_S)
    await until(lambda: session_with(low.sessions, high.node_id) not in (None, old))

    new = session_with(low.sessions, high.node_id)
    assert new is not None
    assert new.url == high.url
    assert low.counters.get("dials_failed") == 0


async def test_a_session_that_could_not_be_made_anew_ends_at_its_age(village: Village, clock: Time) -> None:
    low, high = await village.pair()
    await low.answer_to(low.ask(high.contact))
    for listener in list(high.sessions._listeners):
        await listener.close()

    await clock.advance(SESSION_S_MAX - SESSION_RENEW_BEFORE_S)
    await until(lambda: low.counters.get("dials_failed"))
    await clock.advance(SESSION_RENEW_BEFORE_S)

    await until(lambda: sessions_of(low, high) == [0, 0])
    assert low.downs() == high.downs() == 1


# The end


async def test_closing_says_goodbye_to_everybody_and_fails_what_waits(village: Village) -> None:
    low, high = await village.pair()
    third = await village.party("third")
    high.on_asked = third.on_asked = lambda *_: None
    calls = [low.ask(high.contact), low.ask(third.contact)]
    await until(lambda: high.requests and third.requests)

    await low.sessions.close()
    await until(lambda: sessions_of(low, high, third) == [0, 0, 0])

    assert [low.answers[call] for call in calls] == [Failed(FailReason.CLOSED)] * 2
    assert high.downs() == third.downs() == 1
    assert high.counters.get("sessions_faulted") == third.counters.get("sessions_faulted") == 0


async def test_closing_twice_and_calling_afterwards_is_harmless(village: Village) -> None:
    low, high = await village.pair()
    await low.sessions.close()
    await low.sessions.close()

    assert await low.answer_to(low.ask(high.contact)) == Failed(FailReason.BUSY)
    with pytest.raises(DialFailed):
        await low.sessions.dial(high.url)
    with pytest.raises(DialFailed):
        await high.sessions.dial(low.url)


async def test_a_link_that_does_not_end_keeps_nobody_from_closing(
    village: Village, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    low, high = await village.pair()
    await low.answer_to(low.ask(high.contact))
    monkeypatch.setattr("yzdht.sessions.hub.GOODBYE_S_MAX", 0.01)
    with monkeypatch.context() as faulty:
        for end in ("abort", "close"):
            faulty.setattr(MemoryLink, end, lambda _link: None)

        await low.sessions.close()

    assert "links do not end count=1" in caplog.text
    await high.sessions.close()


async def test_closing_ends_the_dials_under_way(village: Village) -> None:
    low, high = await village.pair()
    silent = Silent()
    await MemoryTransport(village.network).listen("silent", 0, silent)
    hidden = Contact(high.node_id, high.identity.public_key, ("memory://silent",), high.contact.caps)
    before = asyncio.all_tasks()
    call = low.ask(hidden)
    typed = asyncio.ensure_future(low.sessions.dial("memory://silent"))
    await until(lambda: len(silent.links) == 2)

    await low.sessions.close()

    with pytest.raises(DialFailed):
        await typed
    assert low.answers[call] == Failed(FailReason.UNREACHABLE)
    assert asyncio.all_tasks() == before
    await until(lambda: len(silent.reasons) == 2)
    assert len(low.sessions) == 0


async def test_a_call_whose_dial_had_not_begun_at_the_end_fails_too(village: Village) -> None:
    low, high = await village.pair()
    call = low.ask(high.contact)

    await low.sessions.close()

    assert low.answers[call] == Failed(FailReason.UNREACHABLE)
    await high.sessions.close()
    assert live_timers() == []


async def test_a_dial_that_opens_after_the_end_is_closed_at_once(village: Village) -> None:
    low, high = await village.pair()
    is_open = asyncio.Event()

    class Slow(MemoryTransport):
        async def dial(
            self,
            url: str,
            accept: Callable[[Link], LinkHandler],
            timeout_s: float,
            hosts: Sequence[str] = (),
            avoid: Collection[str] = (),
        ) -> MemoryLink:
            await is_open.wait()
            return await super().dial(url, accept, timeout_s, hosts, avoid)

    low.transports[:] = [Slow(village.network)]
    typed = asyncio.ensure_future(low.sessions.dial(high.url))
    await turns(3)

    await low.sessions.close()
    is_open.set()

    with pytest.raises(DialFailed):
        await typed
    await turns(5)
    assert sessions_of(low, high) == [0, 0]


@pytest.mark.net
async def test_closing_leaves_no_task_no_timer_and_no_socket(clock: Time) -> None:
    before = asyncio.all_tasks()
    fds = psutil.Process(os.getpid()).num_fds()
    here, there, third = (Party(clock, WebSocketTransport()) for _ in range(3))
    for party in (here, there, third):
        await party.listen()
    await here.answer_to(here.ask(there.contact))
    await third.answer_to(third.ask(here.contact))

    for party in (here, there, third):
        await party.sessions.close()

    assert asyncio.all_tasks() == before
    assert psutil.Process(os.getpid()).num_fds() == fds
    assert live_timers() == []


@pytest.mark.net
async def test_closing_waits_for_a_peer_that_does_not_answer_its_goodbye_but_not_for_long(
    clock: Time,
) -> None:
    fds = psutil.Process(os.getpid()).num_fds()
    here, there = Party(clock, WebSocketTransport()), Party(clock, WebSocketTransport())
    await there.listen()
    await here.answer_to(here.ask(there.contact))
    connection = session_with(there.sessions, here.node_id)
    assert connection is not None
    connection.link.pause_reading()  # it does not see the goodbye

    closing = asyncio.ensure_future(here.sessions.close())
    await turns(10)
    assert not closing.done()
    await clock.advance(2.0)
    await closing

    connection.link.resume_reading()
    await there.sessions.close()
    assert psutil.Process(os.getpid()).num_fds() == fds


async def test_a_task_that_fails_is_handed_to_the_guard(village: Village) -> None:
    low, high = await village.pair()

    class Broken(MemoryTransport):
        async def dial(self, *_: object) -> None:  # type: ignore[override] # it never returns
            raise ZeroDivisionError

    low.transports[:] = [Broken(village.network)]  # type: ignore[list-item] # a Transport
    call = low.ask(high.contact)

    assert await low.answer_to(call) == Failed(FailReason.UNREACHABLE)
    await until(lambda: low.failed_tasks)
    assert isinstance(low.failed_tasks.pop(), ZeroDivisionError)


@pytest.mark.parametrize("method", [Method.PING, Method.WHOAMI])
async def test_who_is_there_can_be_asked(village: Village, method: Method) -> None:
    low, high = await village.pair()
    assert low.sessions.open_connections() == []

    await low.answer_to(low.ask(high.contact, method))

    assert [connection.node_id for connection, _ in low.sessions.open_connections()] == [high.node_id]


async def test_sessions_are_counted_by_kind_and_bytes_by_direction_and_road(village: Village) -> None:
    low, high = await village.pair()
    visitor = await village.party("visitor", caps=CLIENT)
    await low.answer_to(low.ask(high.contact))
    await visitor.answer_to(visitor.ask(high.contact))

    assert (high.sessions.nodes, high.sessions.clients, high.sessions.half_open) == (1, 1, 0)
    before = high.sessions.traffic()
    assert before["in", "memory"] > 0
    assert before["out", "memory"] > 0

    await visitor.sessions.close()
    await until(lambda: not high.sessions.clients)

    after = high.sessions.traffic()
    assert after["in", "memory"] > before["in", "memory"], "it said goodbye"
    assert len(high.sessions.open_connections()) == 1


async def test_bodies_that_are_none_are_counted_while_their_session_lives_and_after(village: Village) -> None:
    low, high = await village.pair()
    await low.answer_to(low.ask(high.contact))
    call = low.ask(high.contact, Method.FIND_NODE, Empty())
    refused = await low.answer_to(call)

    assert isinstance(refused, Answer)
    assert refused.status is Status.BAD_REQUEST
    assert high.sessions.garbled() == 1

    await low.sessions.close()
    await until(lambda: not len(high.sessions))
    assert high.sessions.garbled() == 1


def limited(party: Party) -> list[Answer]:
    answers = [outcome for outcome in party.answers.values() if isinstance(outcome, Answer)]
    return [answer for answer in answers if answer.status is Status.RATE_LIMITED]


def limits_or_answers(node: Party, asker: Party, calls: list[int]) -> Callable[[], bool]:
    return lambda: bool(node.counters.get("rate_limited", "requests")) or asker.answers.keys() >= set(calls)


async def test_a_peer_that_asks_too_much_is_told_so_and_not_read_for_a_while_and_others_are_served(
    village: Village, clock: Time
) -> None:
    node = await village.party("node")
    greedy, modest = await village.party("greedy"), await village.party("modest")
    await greedy.answer_to(greedy.ask(node.contact))

    with clock.standing_still():  # the rest of the greedy one is short
        while not node.counters.get("rate_limited", "requests"):
            calls = [greedy.ask(node.contact) for _ in range(250)]
            await until(limits_or_answers(node, greedy, calls))

        assert node.counters.get("rate_limited", "requests") == 1
        served = len(node.requests)
        await until(lambda: limited(greedy))
        refusal = limited(greedy)[0]
        assert isinstance(refusal.body, Refusal)
        assert refusal.body.number >= REST_S[0] * 1_000
        assert isinstance(await modest.answer_to(modest.ask(node.contact)), Answer)
        unread = greedy.ask(node.contact)
        await turns(10)
        assert len(node.requests) == served + 1
        assert unread not in greedy.answers

        await clock.advance(REST_S[1])
        assert isinstance(await greedy.answer_to(unread), Answer)


async def test_a_session_with_a_stranger_that_nobody_uses_is_given_up_by_the_end_that_dialled(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    friend = await village.party("friend")
    low.known.add(friend.node_id)
    for contact in (high.contact, friend.contact):
        assert isinstance(await low.answer_to(low.ask(contact)), Answer)

    await clock.advance(STRANGER_IDLE_S_MAX - 1)
    assert len(low.sessions) == 2
    await clock.advance(STRANGER_IDLE_LOOK_S + 1)
    await until(lambda: len(high.sessions) == 0)

    assert [connection.node_id for connection, _ in low.sessions.open_connections()] == [friend.node_id]
    for party, other in ((low, high), (high, low)):
        downs = [change for node_id, change in party.links if node_id == other.node_id]
        assert isinstance(downs[-1], Down)
        assert downs[-1].is_parting


async def test_who_comes_through_a_proxy_is_told_from_who_does_not(village: Village) -> None:
    server = await village.party("server", bounds=SessionBounds(trusted_proxies=(ip_network("8.8.8.8"),)))
    for host in ("8.8.8.8", "8.8.8.9"):
        party = await village.party(host)
        await party.answer_to(party.ask(server.contact))

    peers = [connection.peer for connection, *_ in server.requests]
    assert [peer and (peer.group, peer.is_proxied, peer.is_hidden) for peer in peers] == [
        ("8.8.8.8", True, True),
        ("8.8.8.0/24", False, False),
    ]


async def test_what_is_said_unasked_reaches_a_node_and_each_session_of_a_client(
    village: Village,
) -> None:
    node, other = await village.pair()
    person = Identity.generate()
    clients = [await village.party(f"c{i}", identity=person, caps=CLIENT) for i in range(2)]
    for party in (other, *clients):
        await party.answer_to(party.ask(node.contact))
    peers = [connection.peer for connection, *_ in node.requests]

    for number, peer in enumerate(peers):
        assert peer is not None
        assert not node.sessions.is_congested(peer)
        assert node.sessions.unsent_bytes(peer) == 0
        assert node.sessions.push(peer, RecordType.PUBSUB, bytes((number,)))
    await until(lambda: all(party.pushes for party in (other, *clients)))

    for number, party in enumerate((other, *clients)):
        assert party.pushes == [(RecordType.PUBSUB, bytes((number,)))]


async def test_nothing_is_said_to_who_is_gone_and_that_a_client_is_gone_is_told(
    village: Village,
) -> None:
    node, other = await village.pair()
    client = await village.party("client", caps=CLIENT)
    for party in (other, client):
        await party.answer_to(party.ask(node.contact))
    peers = [connection.peer for connection, *_ in node.requests]
    for party in (other, client):
        await party.sessions.close()
    await until(lambda: len(node.sessions) == 0)

    assert node.clients_gone == [peers[1]]
    for peer in peers:
        assert peer is not None
        assert node.sessions.is_congested(peer)
        assert node.sessions.unsent_bytes(peer) == 0
        assert not node.sessions.push(peer, RecordType.PUBSUB, b"x")


async def test_a_session_on_which_this_end_waits_for_what_comes_unasked_is_not_given_up(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    assert isinstance(await low.answer_to(low.ask(high.contact)), Answer)

    low.sessions.need(high.node_id, is_needed=True)
    await clock.advance(STRANGER_IDLE_S_MAX + STRANGER_IDLE_LOOK_S)
    assert len(low.sessions) == 1

    low.sessions.need(high.node_id, is_needed=False)
    await clock.advance(STRANGER_IDLE_LOOK_S)
    await until(lambda: len(high.sessions) == 0)

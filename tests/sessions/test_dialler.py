"""Which peers are dialled, at which addresses, and what a dial that fails means."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import NODE, Party, Silent, Time, Village, sessions_of, turns, until
from yzdht.errors import DialFailed, DialledTooOften, NoOtherAddress, ReachedAnother
from yzdht.limits import (
    CALLS_WAITING_MAX,
    CONTACT_URLS_MAX,
    DIAL_PAUSE_S_MIN,
    DIALS_IN_FLIGHT_MAX,
    DIALS_PER_ADDRESS_BURST,
    DIALS_PER_ADDRESS_PER_S,
    DIALS_PER_PEER_MAX,
    DIALS_WAITING_MAX,
    HANDSHAKE_PATIENCE_S,
    HANDSHAKE_TIMEOUT_S,
    NAMES_OF_HEARSAY_MAX,
)
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.sessions.admission import SessionBounds
from yzdht.store.keyfile import Identity
from yzdht.transport.memory import MemoryTransport
from yzdht.transport.names import look_up
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.address import Contact


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from yzdht.ports import Link, LinkHandler
    from yzdht.transport.memory import MemoryLink, MemoryNetwork


async def test_a_dial_that_reaches_another_node_says_so(village: Village) -> None:
    low, high = await village.pair()
    absent = Identity.generate()

    with pytest.raises(ReachedAnother):
        await low.sessions.dial(high.url, absent.node_id)
    call = low.ask(Contact(absent.node_id, absent.public_key, (high.url,), high.contact.caps))

    assert await low.answer_to(call) == Failed(FailReason.WRONG_ID)
    await until(lambda: sessions_of(low, high) == [0, 0])
    assert low.counters.get("sessions_faulted", "handshake") == 2
    assert low.ups() == high.ups() == 0


async def test_a_node_that_could_not_be_reached_is_left_alone_for_longer_and_longer(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    await high.sessions.close()

    assert await low.answer_to(low.ask(high.contact)) == Failed(FailReason.UNREACHABLE)
    assert await low.answer_to(low.ask(high.contact)) == Failed(FailReason.UNREACHABLE)
    assert low.counters.get("dials_failed") == 1
    await clock.advance(DIAL_PAUSE_S_MIN)
    await low.answer_to(low.ask(high.contact))
    assert low.counters.get("dials_failed") == 2
    await clock.advance(DIAL_PAUSE_S_MIN)
    await low.answer_to(low.ask(high.contact))
    assert low.counters.get("dials_failed") == 2
    await clock.advance(DIAL_PAUSE_S_MIN)
    await low.answer_to(low.ask(high.contact))
    assert low.counters.get("dials_failed") == 3


async def test_reaching_a_node_ends_its_pause(village: Village) -> None:
    low, high = await village.pair()
    nowhere = Contact(high.node_id, high.identity.public_key, ("memory://nowhere",), high.contact.caps)
    assert await low.answer_to(low.ask(nowhere)) == Failed(FailReason.UNREACHABLE)

    await high.sessions.dial(low.url)
    await until(low.ups)

    assert isinstance(await low.answer_to(low.ask(nowhere)), Answer)


async def test_the_next_address_of_a_contact_is_tried(village: Village) -> None:
    low, high = await village.pair()
    urls = ("wss://", "quic://new", "memory://nowhere", high.url)
    contact = Contact(high.node_id, high.identity.public_key, urls, high.contact.caps)

    assert isinstance(await low.answer_to(low.ask(contact)), Answer)
    assert low.counters.get("dials_failed") == 1, "what this end does not speak is not dialled"


async def test_the_address_that_worked_goes_first_and_the_one_that_failed_last(village: Village) -> None:
    low, high = await village.pair()
    urls = ("memory://nowhere", high.url)
    contact = Contact(high.node_id, high.identity.public_key, urls, high.contact.caps)
    await low.answer_to(low.ask(contact))

    for connection, _ in low.sessions.open_connections():
        connection.close()
    await until(lambda: sessions_of(low, high) == [0, 0])

    assert isinstance(await low.answer_to(low.ask(contact)), Answer)
    assert low.counters.get("dials_failed") == 1, "in the first round"


async def test_the_first_address_whose_handshake_completes_is_kept_and_the_others_say_nothing(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    silent = Silent()
    await MemoryTransport(village.network).listen("silent", 0, silent)
    urls = ("memory://silent", high.url)
    contact = Contact(high.node_id, high.identity.public_key, urls, high.contact.caps)
    call = low.ask(contact)
    await until(lambda: silent.heard)

    await clock.advance(HANDSHAKE_PATIENCE_S)

    assert isinstance(await low.answer_to(call), Answer)
    await until(lambda: silent.reasons)
    assert len(silent.heard) == 1, "the silent end saw a Hello, and the close of its link"
    assert low.counters.get("dials_failed") == 0
    assert sessions_of(low, high) == [1, 1]
    for connection, _ in low.sessions.open_connections():
        assert connection.url == high.url
        connection.close()
    await until(lambda: sessions_of(low, high) == [0, 0])
    assert isinstance(await low.answer_to(low.ask(contact)), Answer), "no pause"
    assert len(silent.links) == 1, "what worked went first"


async def test_an_address_where_another_node_answers_leaves_the_next_to_be_tried(village: Village) -> None:
    low, high = await village.pair()
    other = await village.party("other")
    urls = (other.url, high.url)
    contact = Contact(high.node_id, high.identity.public_key, urls, high.contact.caps)

    assert isinstance(await low.answer_to(low.ask(contact)), Answer)
    assert low.counters.get("dials_failed") == 1
    assert low.ups() == 1


async def silents(village: Village, count: int) -> tuple[Silent, tuple[str, ...]]:
    """An end that says nothing, at several addresses."""
    silent = Silent()
    for number in range(count):
        await MemoryTransport(village.network).listen(f"silent {number}", 0, silent)
    return silent, tuple(f"memory://silent {number}" for number in range(count))


async def test_a_contact_with_many_addresses_is_dialled_at_few_of_them_and_fewer_at_once(
    village: Village, clock: Time
) -> None:
    low, high = await village.pair()
    silent, urls = await silents(village, 2 * CONTACT_URLS_MAX)
    call = low.ask(Contact(high.node_id, high.identity.public_key, urls, high.contact.caps), timeout_s=1e6)

    for count in range(1, DIALS_PER_PEER_MAX + 1):
        await until(lambda count=count: len(silent.links) == count)  # type: ignore[misc]
        await clock.advance(HANDSHAKE_PATIENCE_S)
    for _ in range(6):
        assert len(silent.links) - len(silent.reasons) <= DIALS_PER_PEER_MAX
        await clock.advance(HANDSHAKE_TIMEOUT_S, steps=4)

    assert await low.answer_to(call) == Failed(FailReason.UNREACHABLE)
    assert len(silent.links) == CONTACT_URLS_MAX
    assert low.counters.get("dials_failed") == CONTACT_URLS_MAX


async def test_all_addresses_of_all_peers_share_the_bound_of_dials_under_way(
    village: Village, clock: Time
) -> None:
    one = await village.party("one", bounds=SessionBounds(dials_in_flight_max=2))
    silent, urls = await silents(village, CONTACT_URLS_MAX)
    strangers = [Identity.generate() for _ in range(3)]
    for stranger in strangers:
        one.ask(Contact(stranger.node_id, stranger.public_key, urls, NODE), timeout_s=1e6)

    while len(one.answers) < len(strangers):
        await clock.advance(HANDSHAKE_PATIENCE_S, steps=4)
        assert len(silent.links) - len(silent.reasons) <= 2

    assert len(silent.links) == len(strangers) * CONTACT_URLS_MAX


async def test_further_addresses_of_a_peer_take_turns_of_the_pace_too(village: Village, clock: Time) -> None:
    one = await village.party("one", bounds=SessionBounds(dials_per_s=0.001))
    silent, urls = await silents(village, CONTACT_URLS_MAX)
    stranger = Identity.generate()
    call = one.ask(Contact(stranger.node_id, stranger.public_key, urls, NODE), timeout_s=1e6)

    await until(lambda: silent.links)
    await clock.advance(HANDSHAKE_TIMEOUT_S, steps=10)

    assert await one.answer_to(call) == Failed(FailReason.BUSY), "not tried everywhere"
    assert len(silent.links) == 1
    assert one.counters.get("rate_limited", "dials") == CONTACT_URLS_MAX - 1


async def test_an_address_that_was_dialled_too_often_says_nothing_against_who_is_there(
    village: Village, clock: Time
) -> None:
    party = Party(clock)
    village.parties.append(party)

    def somebody() -> Contact:
        identity = Identity.generate()
        return Contact(identity.node_id, identity.public_key, ("ws://127.0.0.1:1",), NODE)

    for _ in range(int(DIALS_PER_ADDRESS_BURST)):
        assert await party.answer_to(party.ask(somebody())) == Failed(FailReason.UNREACHABLE)
    last = somebody()
    assert await party.answer_to(party.ask(last)) == Failed(FailReason.BUSY)

    await clock.advance(1 / DIALS_PER_ADDRESS_PER_S)
    assert await party.answer_to(party.ask(last)) == Failed(FailReason.UNREACHABLE)  # tried, without a pause


@pytest.mark.net
async def test_strangers_slow_names_say_nothing_against_who_has_a_name(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        if host.startswith("slow"):
            answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    party, there = Party(village.clock), Party(village.clock)
    village.parties += [party, there]
    url = (await there.listen()).replace("127.0.0.1", "node.example")
    contact = Contact(there.node_id, there.identity.public_key, (url,), NODE)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    slow = [
        asyncio.ensure_future(look_up(f"slow{number}.example", 1, is_hearsay=True))
        for number in range(NAMES_OF_HEARSAY_MAX)
    ]
    await asyncio.sleep(0)

    assert await party.answer_to(party.ask(contact)) == Failed(FailReason.BUSY)
    answered.set()
    await asyncio.gather(*slow)
    assert isinstance(await party.answer_to(party.ask(contact)), Answer), "it was tried without a pause"


async def test_an_address_that_was_heard_and_not_typed_is_dialled_a_few_times_then_seldom(
    village: Village, clock: Time
) -> None:
    party = Party(clock)
    village.parties.append(party)
    url = "ws://127.0.0.1:1"
    for _ in range(int(DIALS_PER_ADDRESS_BURST)):
        with pytest.raises(DialFailed, match="refused"):
            await party.sessions.dial_heard(url)

    with pytest.raises(DialledTooOften):
        await party.sessions.dial_heard(url)

    await clock.advance(1 / DIALS_PER_ADDRESS_PER_S)
    for _ in range(2):  # what is typed is not counted
        with pytest.raises(DialFailed, match="refused"):
            await party.sessions.dial(url)


async def test_a_heard_address_leads_to_a_session(village: Village) -> None:
    low, high = await village.pair()

    connection = await low.sessions.dial_heard(high.url, high.node_id)

    assert connection.node_id == high.node_id


async def test_a_contact_without_addresses_is_unreachable(village: Village) -> None:
    low, high = await village.pair()
    contact = Contact(high.node_id, high.identity.public_key, (), high.contact.caps)

    assert await low.answer_to(low.ask(contact)) == Failed(FailReason.UNREACHABLE)


async def test_dials_under_way_and_calls_that_wait_for_one_are_bounded(village: Village) -> None:
    low, high = await village.pair()
    silent = Silent()
    await MemoryTransport(village.network).listen("silent", 0, silent)
    hidden = Contact(high.node_id, high.identity.public_key, ("memory://silent",), high.contact.caps)
    waiting = [low.ask(hidden) for _ in range(CALLS_WAITING_MAX)]
    busy = low.ask(hidden)
    strangers = [Identity.generate() for _ in range(DIALS_IN_FLIGHT_MAX + DIALS_WAITING_MAX)]
    others = [low.ask(Contact(s.node_id, s.public_key, ("memory://silent",), hidden.caps)) for s in strangers]

    assert await low.answer_to(busy) == Failed(FailReason.BUSY)
    assert await low.answer_to(others[-1]) == Failed(FailReason.BUSY)
    await until(lambda: len(silent.links) == DIALS_IN_FLIGHT_MAX)
    assert not any(call in low.answers for call in waiting)

    await low.sessions.close()
    assert all(low.answers[call] == Failed(FailReason.UNREACHABLE) for call in waiting)


async def test_more_dials_than_may_be_under_way_wait_for_their_turn(village: Village) -> None:
    others = [await village.party(f"other {number}") for number in range(5)]
    one = await village.party("one", bounds=SessionBounds(dials_in_flight_max=2))
    calls = [one.ask(other.contact) for other in others]

    assert all([isinstance(await one.answer_to(call), Answer) for call in calls])


async def test_a_call_that_waits_for_a_dial_can_be_cancelled(village: Village) -> None:
    low, high = await village.pair()
    call, other = low.ask(high.contact), low.ask(high.contact)

    low.sessions.cancel(call)
    await low.answer_to(other)
    await turns(5)

    assert call not in low.answers
    assert len(high.requests) == 1


async def test_a_cancelled_call_brings_nothing(village: Village) -> None:
    low, high = await village.pair()
    await low.answer_to(low.ask(high.contact))
    call = low.ask(high.contact)

    low.sessions.cancel(call)
    await low.answer_to(low.ask(high.contact))

    assert call not in low.answers


async def test_a_dial_to_an_end_that_says_nothing_ends_with_the_handshake_s_time(
    village: Village, clock: Time
) -> None:
    low, _ = await village.pair()
    silent = Silent()
    await MemoryTransport(village.network).listen("silent", 0, silent)
    dial = asyncio.ensure_future(low.sessions.dial("memory://silent"))
    await until(lambda: silent.heard)

    await clock.advance(HANDSHAKE_TIMEOUT_S)

    with pytest.raises(DialFailed, match="timed out"):
        await dial
    await until(lambda: silent.reasons)
    assert len(low.sessions) == 0


async def test_a_dial_that_is_given_up_leaves_nothing_open(village: Village) -> None:
    low, _ = await village.pair()
    silent = Silent()
    await MemoryTransport(village.network).listen("silent", 0, silent)
    dial = asyncio.ensure_future(low.sessions.dial("memory://silent"))
    await until(lambda: silent.heard)

    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    await turns(10)

    assert silent.reasons
    assert len(low.sessions) == 0


@pytest.mark.net
@pytest.mark.parametrize(
    ("is_private_allowed", "is_typed", "is_reached"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
async def test_a_name_that_leads_to_a_private_address_is_dialled_if_that_is_allowed_or_it_was_typed(
    clock: Time, *, is_private_allowed: bool, is_typed: bool, is_reached: bool
) -> None:
    here = Party(clock, WebSocketTransport(), is_private_allowed=is_private_allowed)
    there = Party(clock, WebSocketTransport())
    url = (await there.listen()).replace("127.0.0.1", "localhost")
    contact = Contact(there.node_id, there.identity.public_key, (url,), there.contact.caps)
    if is_typed:
        await here.sessions.dial(url)
        await here.sessions.dial(url)  # the first session must not answer for the second dial

    outcome = await here.answer_to(here.ask(contact))

    assert isinstance(outcome, Answer) is is_reached
    if not is_reached:
        assert there.counters.get("sessions_opened") == 0
    await here.sessions.close()
    await there.sessions.close()


async def test_new_dials_have_a_pace_of_their_own_where_that_is_bounded(
    village: Village, clock: Time
) -> None:
    node = await village.party("node", bounds=SessionBounds(dials_per_s=0.1))
    first, second = await village.party("first"), await village.party("second")

    assert isinstance(await node.answer_to(node.ask(first.contact)), Answer)
    assert await node.answer_to(node.ask(second.contact)) == Failed(FailReason.BUSY)
    assert node.counters.get("rate_limited", "dials") == 1
    await clock.advance(10.0)
    assert isinstance(await node.answer_to(node.ask(second.contact)), Answer)


class Town(MemoryTransport):
    """A transport of one name that leads to several places, of which the first opens that it is not told to avoid."""

    def __init__(self, network: MemoryNetwork, *places: str) -> None:
        super().__init__(network, "low")
        self.places = list(places)
        self.mute = Silent()
        self.dialled: list[str] = []

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> MemoryLink:
        failure: DialFailed = NoOtherAddress(url)
        for place in self.places:
            if place not in avoid:
                self.dialled.append(place)
                try:
                    return await super().dial(f"memory://{place}", accept, timeout_s)
                except DialFailed as error:
                    failure = error
        raise failure


async def in_town(village: Village, *places: str) -> tuple[Party, Party, Town]:
    """One that dials, a node at `high`, and those at other places that take links and say nothing."""
    low, high = await village.pair()
    town = Town(village.network, *places)
    low.transports[:] = [town]
    for place in places:
        if place.startswith("mute"):
            await MemoryTransport(village.network, place).listen(place, 0, town.mute)
    return low, high, town


async def wait_in_vain(town: Town, clock: Time, hellos: int = 1) -> None:
    """Until a mute place has so many Hellos, and then for as long as an answer may take."""
    await until(lambda: len(town.mute.heard) == hellos)
    await clock.advance(HANDSHAKE_TIMEOUT_S)


async def test_a_name_whose_first_address_takes_links_and_says_nothing_is_dialled_at_the_next(
    village: Village, clock: Time
) -> None:
    low, high, town = await in_town(village, "mute", "high")

    dialled = asyncio.ensure_future(low.sessions.dial("memory://name"))
    await wait_in_vain(town, clock)
    connection = await dialled

    assert connection.node_id == high.node_id
    assert town.dialled == ["mute", "high"]


async def test_what_was_mute_is_dialled_last_from_then_on(village: Village, clock: Time) -> None:
    low, _high, town = await in_town(village, "mute", "high")
    dialled = asyncio.ensure_future(low.sessions.dial("memory://name"))
    await wait_in_vain(town, clock)
    (await dialled).close()
    await until(lambda: len(low.sessions) == 0)

    await low.sessions.dial("memory://name")

    assert town.dialled == ["mute", "high", "high"]


async def test_what_was_mute_is_dialled_again_where_nobody_else_is(village: Village, clock: Time) -> None:
    low, _high, town = await in_town(village, "mute", "high")
    dialled = asyncio.ensure_future(low.sessions.dial("memory://name"))
    await wait_in_vain(town, clock)
    (await dialled).close()
    await until(lambda: len(low.sessions) == 0)
    town.places = ["gone", "mute"]
    town.dialled.clear()

    dialled = asyncio.ensure_future(low.sessions.dial("memory://name"))
    await wait_in_vain(town, clock, hellos=2)

    with pytest.raises(DialFailed, match="no session"):
        await dialled
    assert town.dialled[:3] == ["gone", "gone", "mute"]


async def test_a_name_of_which_every_address_is_mute_fails_once_all_were_tried(
    village: Village, clock: Time
) -> None:
    low, _, town = await in_town(village, "mute1", "mute2")

    dialled = asyncio.ensure_future(low.sessions.dial("memory://name"))
    for hellos in (1, 2):
        await wait_in_vain(town, clock, hellos)

    with pytest.raises(DialFailed, match="no session"):
        await dialled
    assert town.dialled == ["mute1", "mute2"]
    assert len(low.sessions) == 0

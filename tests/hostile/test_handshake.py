"""Attacks on the opening of sessions over real sockets: from the middle, by strangers, and by crowds."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Opcode

from tests.hostile.proxy import DOWN, HELLO, PROOF, READY, UP, WELCOME, Middle, Wire, flip
from tests.sessions.kit import CLIENT, Party, Time, session_with, turns, until
from tests.transport.strangers import Stranger, frame, request
from yzdht import Client, Identity, Node, NoNode
from yzdht.crypto.handshake import Credentials, Initiator
from yzdht.crypto.naming import network_id
from yzdht.errors import DialFailed, ReachedAnother
from yzdht.limits import (
    CLIENT_SESSIONS_PER_NODE_ID_MAX,
    HALF_OPEN_MAX,
    HANDSHAKE_TIMEOUT_S,
    OPENING_TIMEOUT_S,
)
from yzdht.rpc.engine import Answer, Failed
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.rpc import Empty, FindValue, Method


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yzdht.ports import Link
    from yzdht.sessions.connection import Connection


pytestmark = pytest.mark.net


@pytest.fixture
async def near(clock: Time) -> AsyncIterator[Party]:
    party = Party(clock)
    yield party
    await party.sessions.close()
    assert party.failed_tasks == []


@pytest.fixture
async def far(clock: Time) -> AsyncIterator[Party]:
    party = Party(clock)
    await party.listen()
    yield party
    await party.sessions.close()
    assert party.failed_tasks == []


@pytest.fixture
async def middle(far: Party) -> AsyncIterator[Middle]:
    middle = Middle(far.url)
    far.url = await middle.listen()
    yield middle
    await middle.close()


async def ended(near: Party, far: Party) -> None:
    """Both ends have refused, and nothing is left of it."""
    await until(lambda: len(near.sessions) == len(far.sessions) == 0)


async def is_served(near: Party, far: Party) -> bool:
    """Dial and ask; a session that opens and is lost before the answer counts as no service."""
    try:
        connection = await near.sessions.dial(far.url, far.node_id)
    except DialFailed:
        return False
    near.last_call += 1
    near.sessions._calls[near.last_call] = connection
    connection.call(near.last_call, Method.PING, Empty(), 5.0)
    return isinstance(await near.answer_to(near.last_call), Answer)


def refusals(party: Party) -> int:
    return party.counters.get("sessions_faulted") + party.counters.get("handshakes_abandoned")


# In the middle


async def test_who_only_listens_in_the_middle_learns_nothing_and_breaks_nothing(
    near: Party, far: Party, middle: Middle
) -> None:
    assert isinstance(await near.answer_to(near.ask(far.contact)), Answer)

    [wire] = middle.wires
    assert [len(wire.seen[place]) for place in (HELLO, WELCOME, PROOF, READY)] == [39, 157, 120, 17]
    sent = b"".join(wire.seen.values())
    for party in (near, far):
        assert sent.find(party.identity.public_key) == sent.find(party.node_id) == -1


@pytest.mark.parametrize("place", [HELLO, WELCOME], ids=["hello", "welcome"])
async def test_a_bit_flipped_before_the_proof_opens_no_session(
    near: Party, far: Party, middle: Middle, place: tuple[str, int]
) -> None:
    size = 39 if place == HELLO else 157
    bits = range(0, 8 * size, 29)
    for bit in bits:
        middle.rewrite(place, partial(flip, bit=bit))

        with pytest.raises(DialFailed):
            await near.sessions.dial(far.url, far.node_id)

    await ended(near, far)
    assert near.links == far.links == []
    assert refusals(near) == refusals(far) == len(bits)


async def test_a_bit_flipped_in_the_proof_opens_no_session(near: Party, far: Party, middle: Middle) -> None:
    """The initiator has sent its last message and may think otherwise until Ready fails to come."""
    bits = range(0, 8 * 120, 29)
    for bit in bits:
        middle.rewrite(PROOF, partial(flip, bit=bit))

        assert not await is_served(near, far)
        await ended(near, far)

    assert far.links == []
    assert far.requests == []
    assert far.counters.get("sessions_faulted", "handshake") == len(bits)


@pytest.mark.parametrize("place", [READY, (UP, 2), (DOWN, 2)], ids=["ready", "request", "answer"])
async def test_a_bit_flipped_in_a_record_ends_the_session(
    near: Party, far: Party, middle: Middle, place: tuple[str, int]
) -> None:
    for bit in (0, 7, 60, 130):
        middle.rewrite(place, partial(flip, bit=bit))

        assert not await is_served(near, far)
        await ended(near, far)

    faulted = near.counters.get("sessions_faulted") + far.counters.get("sessions_faulted")
    assert faulted == 4


@pytest.mark.parametrize("place", [HELLO, WELCOME, PROOF, READY], ids=["hello", "welcome", "proof", "ready"])
async def test_a_message_cut_or_lengthened_opens_no_session(
    near: Party, far: Party, middle: Middle, place: tuple[str, int]
) -> None:
    for change in (lambda m: m[:-1], lambda m: m + b"\0", lambda _: b"", lambda m: m[:1], lambda m: m * 30):
        middle.rewrite(place, change)

        assert not await is_served(near, far)
        await ended(near, far)

    assert refusals(near) + refusals(far) >= 5
    assert far.requests == [] or place == READY, "what came with a good Proof may be served"


async def recorded(near: Party, far: Party, middle: Middle) -> Wire:
    """A whole session as the man in the middle saw it; it is over."""
    assert await is_served(near, far)
    wire = middle.wires[-1]
    connection = session_with(near.sessions, far.node_id)
    assert connection is not None
    connection.close()
    await ended(near, far)
    return wire


@pytest.mark.parametrize("place", [HELLO, WELCOME, PROOF, READY], ids=["hello", "welcome", "proof", "ready"])
async def test_a_message_of_an_earlier_session_opens_no_other(
    near: Party, far: Party, middle: Middle, place: tuple[str, int]
) -> None:
    old = await recorded(near, far, middle)
    served = len(far.requests)
    middle.rewrite(place, lambda _: old.seen[place])

    assert not await is_served(near, far)

    await ended(near, far)
    assert len(far.requests) == served or place == READY, "what came with a good Proof may be served"


async def test_an_earlier_session_played_again_as_a_whole_opens_nothing(
    near: Party, far: Party, middle: Middle
) -> None:
    old = await recorded(near, far, middle)
    opened = far.counters.get("sessions_opened")

    for replayed in ([HELLO, PROOF, (UP, 2)], [HELLO, HELLO], [PROOF], [(UP, 2)]):
        sent = [old.seen[place] for place in replayed]
        faults = far.counters.get("sessions_faulted", "handshake")
        silent = _Silent()
        link = await WebSocketTransport().dial(middle._target, silent, 5.0)
        for message in sent:
            link.send(message)
        await silent.closed()
        assert far.counters.get("sessions_faulted", "handshake") == faults + 1

    assert far.counters.get("sessions_opened") == opened


class _Silent:
    """The handler of a link that never answers."""

    def __init__(self) -> None:
        self.is_closed = False
        self.heard: list[bytes] = []

    async def closed(self) -> None:
        await until(lambda: self.is_closed)

    def __call__(self, link: Link) -> _Silent:
        del link
        return self

    def on_message(self, message: bytes) -> None:
        self.heard.append(message)

    def on_writable(self) -> None:
        pass

    def on_closed(self, reason: str) -> None:
        del reason
        self.is_closed = True


async def test_two_sessions_spliced_together_open_neither(
    near: Party, far: Party, middle: Middle, clock: Time
) -> None:
    """Each gets the other's messages: Welcome with Welcome, then Proof with Proof."""
    other = Party(clock)
    for place in (WELCOME, PROOF):
        held: dict[Wire, bytes] = {}

        def swap(
            wire: Wire,
            at: tuple[str, int],
            message: bytes,
            place: tuple[str, int] = place,
            held: dict[Wire, bytes] = held,
        ) -> list[bytes]:
            if at != place:
                return [message]
            held[wire] = message
            if len(held) == 2:
                [(first, a), (second, b)] = held.items()
                first.inject(place[0], b)
                second.inject(place[0], a)
            return []

        middle.change = swap
        calls = [(party, party.ask(far.contact)) for party in (near, other)]
        for party, call in calls:
            assert isinstance(await party.answer_to(call), Failed)
        await ended(near, far)
        await clock.advance(60.0)

    assert far.links == []
    assert far.requests == []
    await other.sessions.close()


async def test_a_record_of_another_session_ends_the_session_it_is_put_into(
    near: Party, far: Party, middle: Middle, clock: Time
) -> None:
    other = Party(clock)
    for party in (near, other):
        assert isinstance(await party.answer_to(party.ask(far.contact)), Answer)
    mine, theirs = middle.wires

    theirs.inject(UP, mine.seen[UP, 2])

    await until(lambda: len(far.sessions) == 1)
    assert far.counters.get("sessions_faulted", "open") == 1
    assert len(far.requests) == 2
    await other.sessions.close()


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_record_repeated_or_left_out_ends_the_session(
    near: Party, far: Party, middle: Middle, direction: str
) -> None:
    for round_number, count in enumerate((0, 2), 1):
        place = direction, 2
        middle.multiply(place, count)
        connection = await near.sessions.dial(far.url, far.node_id)
        for _ in range(2):
            near.ask(far.contact)
        await ended(near, far)

        assert connection.session is not None
        faulted = near.counters.get("sessions_faulted", "open") + far.counters.get("sessions_faulted", "open")
        assert faulted == round_number


async def test_an_offer_stripped_or_added_in_the_middle_is_noticed(
    near: Party, far: Party, middle: Middle
) -> None:
    """A newer suite is offered first; nobody may talk the two ends down to the older one unseen."""
    newer, known = (1, 0x11), (1, 0x01)

    async def dial(*offers: tuple[int, int]) -> Connection:
        credentials = Credentials(near.identity.signer, network_id("main"), near.contact.caps)
        made: list[Connection] = []

        def accept(link: Link) -> Connection:
            connection = near.sessions.connect(link)
            connection.begin(Initiator(credentials, far.node_id, offers=offers))
            made.append(connection)
            return connection

        await WebSocketTransport().dial(far.url, accept, 5.0)
        return made[0]

    connection = await dial(newer, known)
    await until(lambda: connection.peer is not None)
    connection.close()
    await ended(near, far)
    opened = far.counters.get("sessions_opened")

    changes = [
        lambda m: m[:1] + b"\x01" + m[4:],
        lambda m: m[:1] + b"\x03" + bytes(known) + m[2:],
        lambda m: m[:2] + m[4:6] + m[2:4] + m[6:],
    ]
    for change in changes:
        middle.rewrite(HELLO, change)
        connection = await dial(newer, known)
        await ended(near, far)
        assert connection.peer is None
    middle.rewrite(HELLO, lambda m: m)
    connection = await dial(newer)
    await ended(near, far)
    assert connection.peer is None
    assert far.counters.get("sessions_opened") == opened


async def test_a_session_turned_back_on_itself_opens_nothing(near: Party, far: Party, middle: Middle) -> None:
    def reflect(wire: Wire, at: tuple[str, int], message: bytes) -> list[bytes]:
        if at[0] == UP:
            wire.inject(DOWN, message)
        return []

    middle.change = reflect

    with pytest.raises(DialFailed):
        await near.sessions.dial(far.url)

    await until(lambda: len(near.sessions) == 0)
    assert near.links == []


async def test_another_node_behind_the_address_is_not_talked_to(near: Party, far: Party) -> None:
    expected = Identity.generate()

    with pytest.raises(ReachedAnother):
        await near.sessions.dial(far.url, expected.node_id)

    await ended(near, far)
    assert near.links == far.links == []
    assert refusals(near) == refusals(far) == 1


# Strangers that take their time


async def gone(stranger: Stranger) -> None:
    await stranger.hear_rest()
    await stranger.hang_up()


async def upgraded(node: Node) -> Stranger:
    stranger = await Stranger.call(node.port)
    stranger.say(request())
    assert "101" in await stranger.hear_head()
    return stranger


async def test_a_connection_that_says_nothing_is_closed(node: Node, clock: Time) -> None:
    stranger = await Stranger.call(node.port)
    await turns(5)

    await clock.advance(OPENING_TIMEOUT_S)

    await gone(stranger)
    assert node.counters.get("links_refused", "timed out") == 1


async def test_half_a_request_is_closed_however_slowly_it_goes_on(node: Node, clock: Time) -> None:
    stranger = await Stranger.call(node.port)
    for byte in request()[:10]:
        stranger.say(bytes((byte,)))
        await turns(3)
        await clock.advance(OPENING_TIMEOUT_S / 10)
    await turns(3)

    await gone(stranger)
    assert node.counters.get("links_refused", "timed out") == 1


async def test_a_link_without_a_hello_is_closed(node: Node, clock: Time) -> None:
    stranger = await upgraded(node)
    await until(lambda: len(node.sessions) == 1)

    await clock.advance(HANDSHAKE_TIMEOUT_S)

    await gone(stranger)
    assert len(node.sessions) == 0
    assert node.counters.get("sessions_faulted", "handshake") == 1


async def test_a_hello_byte_by_byte_has_no_more_time_than_any_other(node: Node, clock: Time) -> None:
    stranger = await upgraded(node)
    await until(lambda: len(node.sessions) == 1)
    drip = frame(Opcode.BINARY, b"\x01", fin=False) + frame(Opcode.CONT, b"\x01", fin=False) * 38
    for start in range(0, len(drip), len(drip) // 10):
        stranger.say(drip[start : start + len(drip) // 10])
        await turns(3)
        await clock.advance(HANDSHAKE_TIMEOUT_S / 10)

    await gone(stranger)
    assert node.counters.get("sessions_faulted", "handshake") == 1


async def test_a_hello_without_a_proof_is_closed(node: Node, clock: Time) -> None:
    silent = _Silent()
    link = await WebSocketTransport().dial(f"ws://127.0.0.1:{node.port}", silent, 5.0)
    credentials = Credentials(Identity.generate().signer, network_id("main"), CLIENT)
    link.send(Initiator(credentials).hello())
    await until(lambda: silent.heard)

    await clock.advance(HANDSHAKE_TIMEOUT_S)

    await until(lambda: silent.is_closed)
    assert [len(message) for message in silent.heard] == [157]
    assert node.counters.get("sessions_faulted", "handshake") == 1


# Crowds


async def test_three_hundred_half_open_connections_keep_nobody_out_for_good(node: Node, clock: Time) -> None:
    crowd = [_Silent() for _ in range(300)]
    transport = WebSocketTransport()
    url = f"ws://127.0.0.1:{node.port}"
    for silent in crowd:
        await transport.dial(url, silent, 5.0)
    await until(lambda: len(node.sessions) == len(crowd))
    assert node.sessions.half_open == HALF_OPEN_MAX
    await clock.advance(HANDSHAKE_TIMEOUT_S / 2)
    honest = Party(clock, caps=CLIENT)
    dialling = asyncio.ensure_future(honest.sessions.dial(url))
    await turns(20)
    assert not dialling.done()

    await clock.advance(HANDSHAKE_TIMEOUT_S / 2)

    assert (await dialling).node_id == node.node_id
    await clock.advance(HANDSHAKE_TIMEOUT_S)
    await until(lambda: all(silent.is_closed for silent in crowd))
    assert node.counters.get("sessions_faulted", "handshake") == len(crowd)
    await honest.sessions.close()


async def test_a_seventeenth_process_of_one_identity_is_refused(node: Node, clock: Time) -> None:
    person = Identity.generate()
    url = f"ws://127.0.0.1:{node.port}"
    clients = [
        Client([url], identity=person, clock=clock) for _ in range(CLIENT_SESSIONS_PER_NODE_ID_MAX + 1)
    ]
    for client in clients:
        await client.__aenter__()
    await until(lambda: len(node.sessions) == CLIENT_SESSIONS_PER_NODE_ID_MAX)
    assert node.counters.get("links_refused", "client_sessions") == 1

    with pytest.raises(NoNode):
        await clients[-1].store("note", b"one too many")
    await clients[0].store("note", b"in time")

    for client in clients:
        await client.__aexit__(None, None, None)


async def test_an_asker_that_never_reads_costs_bounded_memory_and_is_closed(node: Node, clock: Time) -> None:
    url = f"ws://127.0.0.1:{node.port}"
    async with Client([url], clock=clock) as dht:
        stored = await dht.store("note", bytes(60_000))
        target = dht.records._own_slot("note").target
        greedy = Party(clock)
        connection = await greedy.sessions.dial(url)
        connection.link.pause_reading()
        assert connection.session is not None
        body = FindValue(target, (), 65_536)
        for call in range(1, 4_000):
            greedy.sessions._calls[call] = connection
            connection.session._calls.clear()  # it asks for more than an honest end would
            connection.session._numbers.clear()
            connection.call(call, Method.FIND_VALUE, body, 600.0)
            if call % 50 == 0:
                await turns(2)
        theirs = next(c for c in node.sessions._all if c.node_id == greedy.node_id)
        await until(lambda: theirs.link.is_congested)
        assert theirs.link.unsent_bytes < 5 << 20  # of a WebSocketLink

        assert (await dht.get("note")).seq == stored.seq
        await clock.advance(20.0)
        await until(lambda: theirs not in node.sessions._all)
        assert (await dht.get("note")).seq == stored.seq

        connection.link.resume_reading()
        await greedy.sessions.close()

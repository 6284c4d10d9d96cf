"""What every transport promises, whatever carries it (yzdht/ports.py: Transport, Listener, Link, LinkHandler)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import IS_SOAK
from tests.sessions.kit import NODE, Party, Time
from tests.transport.roads import (
    PATIENCE_S,
    Owner,
    Owners,
    Road,
    congest,
    congest_for_good,
    send_no_more,
    turns,
)
from yzdht.errors import DialFailed, ListenFailed
from yzdht.ids import Target
from yzdht.limits import (
    LINK_FLUSH_BYTES,
    LINK_UNSENT_BYTES_HIGH,
    LINK_UNSENT_BYTES_LOW,
    MESSAGE_BYTES_MAX,
    WEBSOCKET_MESSAGE_BYTES_MAX,
)
from yzdht.rpc.engine import Answer
from yzdht.transport.bounds import LinkBounds
from yzdht.wire.address import Contact
from yzdht.wire.rpc import Get, Got, Method, Status, encode_body, encode_response


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.transport.authority import Authority
    from yzdht.ports import Endpoint, Link


CROSSING = 10_000 if IS_SOAK else 1_000
LARGEST = bytes(WEBSOCKET_MESSAGE_BYTES_MAX)
GONE = {"closed by peer", "reset"}


@pytest.fixture(params=["memory", "ws", "tcp", "tls", "wss"])
async def road(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Road]:
    nginx = request.getfixturevalue("nginx") if request.param == "wss" else None
    road = Road(request.param, authority if request.param in {"tls", "wss"} else None, nginx)
    yield road
    await road.stop()


def numbered(count: int, size: int = 8) -> list[bytes]:
    return [number.to_bytes(size, "big") for number in range(count)]


# Messages


async def test_messages_arrive_whole_and_in_order(road: Road) -> None:
    near, far = await road.connect()

    for message in numbered(100):
        near.link.send(message)

    assert await far.take(100) == numbered(100)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1_024, 16_000, WEBSOCKET_MESSAGE_BYTES_MAX])
async def test_every_size_arrives_both_ways(road: Road, size: int) -> None:
    near, far = await road.connect()
    message = bytes(index % 251 for index in range(size))

    near.link.send(message)
    far.link.send(message)

    assert await far.take(1) == [message]
    assert await near.take(1) == [message]


async def test_both_ends_count_the_bytes_of_the_messages_and_little_more(road: Road) -> None:
    near, far = await road.connect()
    assert (near.link.bytes_in, near.link.bytes_out) == (0, 0)

    near.link.send(bytes(1_000))
    near.link.send(bytes(500))
    far.link.send(bytes(4_000))
    await far.take(2)
    await near.take(1)

    assert 1_500 <= near.link.bytes_out == far.link.bytes_in <= 1_550
    assert 4_000 <= near.link.bytes_in <= far.link.bytes_out <= 4_300, (
        "its answer to the opening may be counted"
    )


async def test_what_is_flushed_is_written_before_the_turn_ends(road: Road) -> None:
    near, far = await road.connect()

    near.link.send(b"for subscribers")
    near.link.flush()
    near.link.flush()

    assert near.link.bytes_out >= len(b"for subscribers")
    assert await far.take(1) == [b"for subscribers"]


async def test_flushing_from_within_a_message_leaves_the_order(road: Road) -> None:
    near, far = await road.connect()

    def answer(owner: Owner) -> None:
        owner.link.send(owner.messages[-1])
        owner.link.flush()

    far.react = answer
    for message in numbered(20):
        near.link.send(message)

    assert await near.take(20) == numbered(20)


async def test_many_messages_cross_as_many_others(road: Road) -> None:
    near, far = await road.connect()
    ours, theirs = numbered(CROSSING, 1_024), numbered(CROSSING, 512)

    for index in range(CROSSING):
        near.link.send(ours[index])
        far.link.send(theirs[index])
        if index % 100 == 0:
            await turns(1)
        if near.link.is_congested or far.link.is_congested:
            await near.until(lambda: not near.link.is_congested)
            await far.until(lambda: not far.link.is_congested)

    assert await far.take(CROSSING) == ours
    assert await near.take(CROSSING) == theirs


async def test_an_answer_sent_within_on_message_arrives(road: Road) -> None:
    near, far = await road.connect()
    far.react = lambda owner: owner.link.send(owner.messages[-1])

    for message in numbered(300):
        near.link.send(message)

    assert await near.take(300) == numbered(300)


async def test_send_never_calls_a_handler(road: Road) -> None:
    near, far = await road.connect()

    near.link.send(b"question")

    assert far.messages == []
    await far.take(1)


async def test_a_message_above_the_bound_closes_the_link(road: Road) -> None:
    near, far = await road.connect()

    near.link.send(b"before")
    near.link.send(LARGEST + b"!")
    near.link.send(b"after")

    assert await far.closed() == "message too large"
    assert far.messages == [b"before"]
    assert await near.closed() in GONE


# Back-pressure


async def test_a_paused_reader_makes_the_sender_congested_and_loses_nothing(road: Road) -> None:
    near, far = await road.connect()
    far.link.pause_reading()
    count = await congest(near, LARGEST)

    assert near.link.unsent_bytes <= LINK_UNSENT_BYTES_HIGH + LINK_FLUSH_BYTES + 2 * len(LARGEST)
    assert far.messages == []
    told = near.writable  # what lies between may have taken all at first

    far.link.resume_reading()

    await far.take(count)
    await near.until(lambda: near.writable == told + 1)
    assert not near.link.is_congested
    assert near.link.unsent_bytes <= LINK_UNSENT_BYTES_LOW
    near.link.send(b"last")
    assert await far.take(count + 1) == [LARGEST] * count + [b"last"]


async def test_a_reader_that_pauses_now_and_then_gets_everything_in_order(road: Road) -> None:
    near, far = await road.connect()

    def pause_often(owner: Owner) -> None:
        if len(owner.messages) % 50 == 0:
            owner.link.pause_reading()

    far.react = pause_often
    for message in numbered(1_000, 4_096):
        near.link.send(message)
    for stop in range(50, 1_001, 50):
        await far.take(stop)
        assert len(far.messages) == stop
        far.link.resume_reading()

    assert far.messages == numbered(1_000, 4_096)


async def test_pausing_stops_messages_that_have_already_arrived(road: Road) -> None:
    near, far = await road.connect()
    far.react = lambda owner: owner.link.pause_reading()
    for message in numbered(10):
        near.link.send(message)
    await far.take(1)

    far.link.send(b"are you there?")
    await near.take(1)
    await turns(3)

    assert far.messages == numbered(1)
    far.react = None
    far.link.resume_reading()
    assert await far.take(10) == numbered(10)


async def test_pausing_and_resuming_at_once_changes_nothing(road: Road) -> None:
    near, far = await road.connect()

    def blink(owner: Owner) -> None:
        owner.link.pause_reading()
        owner.link.pause_reading()
        owner.link.resume_reading()
        owner.link.resume_reading()

    far.react = blink
    for message in numbered(50):
        near.link.send(message)

    assert await far.take(50) == numbered(50)


async def test_a_sender_that_stays_congested_is_aborted(road: Road) -> None:
    near, far = await road.connect(LinkBounds(stalled_s=0.02))
    far.link.pause_reading()

    await congest_for_good(near, LARGEST)

    assert near.reasons == ["stalled"]
    far.link.resume_reading()
    assert await far.closed() in GONE


async def test_a_sender_that_heeds_no_congestion_is_aborted(road: Road) -> None:
    near, far = await road.connect(LinkBounds(unsent_bytes_max=1 << 20))
    far.link.pause_reading()

    for _ in range(1_000):
        near.link.send(LARGEST)

    assert near.link.unsent_bytes <= (1 << 20) + LINK_FLUSH_BYTES + 2 * len(LARGEST)
    assert await near.closed() == "overrun"


# Closing


async def test_close_sends_what_is_queued(road: Road) -> None:
    near, far = await road.connect()
    for message in numbered(500, 4_096):
        near.link.send(message)

    near.link.close()

    assert await far.closed() == "closed by peer"
    assert far.messages == numbered(500, 4_096)
    assert await near.closed() == "closed"


async def test_a_paused_reader_still_gets_what_was_sent_before_the_close(road: Road) -> None:
    near, far = await road.connect()
    far.react = lambda owner: owner.link.pause_reading()
    for message in numbered(5):
        near.link.send(message)
    near.link.close()
    await far.take(1)
    far.react = None

    assert far.reasons == []
    far.link.resume_reading()

    assert await far.closed() == "closed by peer"
    assert far.messages == numbered(5)


@pytest.mark.parametrize("leave", ["close", "abort"])
async def test_an_owner_may_leave_with_messages_still_held_back(road: Road, leave: str) -> None:
    near, far = await road.connect()
    far.react = lambda owner: owner.link.pause_reading()
    for message in numbered(5):
        near.link.send(message)
    near.link.close()
    await far.take(1)

    getattr(far.link, leave)()

    assert await far.closed() in {"closed by peer", "closed", "aborted"}
    assert far.messages == numbered(1)
    await near.closed()


async def test_closing_a_link_whose_peer_hangs_ends_in_time(road: Road) -> None:
    near, far = await road.connect(LinkBounds(close_s=0.02))
    far.link.pause_reading()

    near.link.close()

    assert await near.closed() == "stalled"


async def test_nothing_is_delivered_after_close(road: Road) -> None:
    near, far = await road.connect()
    far.react = lambda owner: owner.link.close()

    for message in numbered(10):
        near.link.send(message)

    assert await far.closed() == "closed"
    assert far.messages == numbered(1)
    assert await near.closed() == "closed by peer"


async def test_nothing_is_delivered_after_abort(road: Road) -> None:
    near, far = await road.connect()
    far.react = lambda owner: owner.link.abort()

    for message in numbered(10):
        near.link.send(message)

    assert await far.closed() == "aborted"
    assert far.messages == numbered(1)
    assert await near.closed() in GONE


async def test_abort_tells_both_ends_but_not_within_the_call(road: Road) -> None:
    near, far = await road.connect()

    near.link.abort()

    assert near.reasons == []
    assert await near.closed() == "aborted"
    assert await far.closed() in GONE


async def test_both_ends_may_close_at_once(road: Road) -> None:
    near, far = await road.connect()

    near.link.close()
    far.link.close()

    assert await near.closed() in {"closed", "closed by peer"}
    assert await far.closed() in {"closed", "closed by peer"}


async def test_the_end_is_told_once_however_often_it_is_asked_for(road: Road) -> None:
    near, far = await road.connect()

    for owner in (near, far, near):
        owner.link.close()
        owner.link.abort()
        owner.link.abort()
        owner.link.close()
    await near.closed()
    await far.closed()
    await turns(5)

    assert len(near.reasons) == 1
    assert len(far.reasons) == 1


async def test_a_link_that_is_gone_takes_every_call(road: Road) -> None:
    near, far = await road.connect()
    near.link.close()
    near.link.send(b"after close")
    await near.closed()
    await far.closed()

    for owner, scheme in ((near, road.scheme), (far, road.far_scheme)):
        owner.link.send(b"after the end")
        owner.link.pause_reading()
        owner.link.resume_reading()
        owner.link.close()
        owner.link.abort()
        assert owner.link.unsent_bytes == 0
        assert not owner.link.is_congested
        assert owner.link.remote.protocol == scheme
    await turns(5)

    assert far.messages == []


async def test_closing_while_congested_still_sends_everything(road: Road) -> None:
    near, far = await road.connect()
    far.link.pause_reading()
    count = await congest(near, LARGEST)
    told = near.writable

    near.link.close()
    far.link.resume_reading()

    assert await far.closed() == "closed by peer"
    assert len(far.messages) == count
    assert await near.closed() == "closed"
    assert near.writable == told


# Half open: one end sends no more, or is gone and nobody says so

OVER_SOCKETS = pytest.mark.parametrize("road", ["ws", "tcp", "tls", "wss"], indirect=True)
WITHOUT_A_PROXY = pytest.mark.parametrize("road", ["ws", "tcp", "tls"], indirect=True)


@OVER_SOCKETS
async def test_an_end_that_sends_no_more_ends_the_link_for_both(road: Road) -> None:
    near, far = await road.connect()
    near.link.send(b"last")
    await far.take(1)

    send_no_more(near)

    assert await far.closed() in GONE
    assert await near.closed() in GONE
    assert far.messages == [b"last"]


@WITHOUT_A_PROXY
async def test_an_end_that_sends_no_more_and_reads_on_gets_what_was_on_its_way(road: Road) -> None:
    near, far = await road.connect()
    near.link.pause_reading()
    count = await congest(far, LARGEST)

    send_no_more(near)
    far.link.send(b"too late or not")
    near.link.resume_reading()

    await near.take(count)
    assert near.messages[:count] == [LARGEST] * count
    assert await far.closed() == "closed by peer"
    far.link.abort()  # one that is gone takes that as well
    assert await near.closed() in GONE


@OVER_SOCKETS
async def test_an_end_that_sends_no_more_and_reads_nothing_is_given_up(road: Road) -> None:
    near, far = await road.connect(LinkBounds(close_s=0.02))
    near.link.pause_reading()
    await congest(far, LARGEST)

    send_no_more(near)

    assert await far.closed() in GONE
    assert far.link.unsent_bytes == 0


async def test_an_end_that_is_gone_without_a_word_is_given_up_after_the_close(road: Road) -> None:
    near, far = await road.connect(LinkBounds(close_s=0.02))
    far.link.pause_reading()  # what a machine without power does: it takes nothing and says nothing
    await congest(near, LARGEST)

    near.link.close()

    assert await near.closed() == "stalled"
    assert near.link.unsent_bytes == 0


# Opening


async def test_what_accept_sends_arrives_first(road: Road) -> None:
    def greet(link: Link) -> Owner:
        link.send(b"welcome")
        return far(link)

    far, near = Owners(), Owners()
    transport = road.transport()
    _, url = await road.listen(greet, transport)
    link = await transport.dial(url, near, PATIENCE_S)
    owner, greeter = await near.next(), await far.next()
    greeter.link.send(b"second")

    assert owner.link is link
    assert await owner.take(2) == [b"welcome", b"second"]
    link.abort()
    await owner.closed()
    await greeter.closed()


async def test_accept_may_close_the_link_it_is_given(road: Road) -> None:
    def leave(link: Link) -> Owner:
        link.send(b"full")
        link.close()
        return far(link)

    far, near = Owners(), Owners()
    transport = road.transport()
    _, url = await road.listen(leave, transport)
    await transport.dial(url, near, PATIENCE_S)
    owner = await near.next()

    assert await owner.closed() == "closed by peer"
    assert owner.messages == [b"full"]
    assert await (await far.next()).closed() == "closed"


async def test_the_dialler_may_abort_the_link_in_accept(road: Road) -> None:
    def leave(link: Link) -> Owner:
        link.abort()
        return near(link)

    far, near = Owners(), Owners()
    transport = road.transport()
    _, url = await road.listen(far, transport)
    await transport.dial(url, leave, PATIENCE_S)

    assert await (await near.next()).closed() == "aborted"
    assert await (await far.next()).closed() in GONE


async def test_a_link_that_nobody_accepts_fails_the_dial_or_ends_at_once(road: Road) -> None:
    transport = road.transport()
    _, url = await road.listen(lambda _link: None, transport)

    assert await road.is_refused(transport, url)


async def test_whoever_is_not_admitted_is_refused_before_anything_is_done_for_it(road: Road) -> None:
    near, far = Owners(), Owners()
    asked: list[Endpoint] = []

    def admit(remote: Endpoint) -> bool:
        asked.append(remote)
        return len(asked) > 1

    transport = road.transport()
    _, url = await road.listen(far, transport, admit)

    assert await road.is_refused(transport, url)
    assert (far.count, len(asked)) == (0, 1)

    await transport.dial(url, near, PATIENCE_S)
    welcome, guest = await far.next(), await near.next()
    times = 2 if "tls" in {remote.protocol for remote in asked} else 1  # once more when it begins TLS
    assert [remote[:2] for remote in asked[1:]] == [welcome.link.remote[:2]] * times
    guest.link.abort()
    await welcome.closed()


async def test_an_address_where_nobody_listens_refuses(road: Road) -> None:
    near = Owners()
    transport = road.transport()
    listener, url = await road.listen(Owners(), transport)
    await listener.close()

    with pytest.raises(DialFailed, match=r"refused|HTTP 502") as failure:
        await transport.dial(url, near, PATIENCE_S)

    assert failure.value.hint
    assert near.count == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "node",
        "://",
        "gopher://node",
        "ws://",
        "memory://",
        "tcp://",
        "ws://[::1",
        "tcp://[::1",
        "ws://h:x",
        "tcp://h:x",
    ],
)
async def test_what_is_no_address_is_not_dialled(road: Road, url: str) -> None:
    with pytest.raises(DialFailed, match="address") as failure:
        await road.transport().dial(url, Owners(), PATIENCE_S)

    assert failure.value.hint


async def test_one_place_has_one_listener(road: Road) -> None:
    listener, _ = await road.listen(Owners())
    place = listener.endpoints[0]

    with pytest.raises(ListenFailed, match="in use") as failure:
        await road.transport().listen(place.host, place.port, Owners())

    assert failure.value.hint


async def test_a_closed_listener_leaves_its_links_open(road: Road) -> None:
    near, far = await road.connect()
    await road._listeners[0].close()
    await road._listeners[0].close()

    near.link.send(b"still here")

    assert await far.take(1) == [b"still here"]


async def test_a_place_can_be_listened_on_again(road: Road) -> None:
    transport = road.transport()
    listener, _ = await road.listen(Owners(), transport)
    place = listener.endpoints[0]
    await listener.close()

    again = await transport.listen(place.host, place.port, Owners())

    assert again.endpoints[0] == place
    await again.close()


async def test_both_ends_know_who_is_there(road: Road) -> None:
    near, far = await road.connect()

    assert road.is_there(near.link.remote)
    assert far.link.remote.protocol == road.far_scheme
    assert road.scheme in road.transport().schemes


# Sessions


def answer_of(size: int) -> Got:
    """An answer whose message, its number and status included, has exactly so many bytes."""
    spare = size - len(encode_response(1, Status.OK, encode_body(Got((), 1, 1))))
    records = tuple(bytes([number]) * (spare // 16) for number in range(15)) if spare > 65_536 else ()
    for last in range(spare - sum(map(len, records)), -1, -1):
        answer = Got((*records, bytes(last)), 1, 1)
        if len(encode_response(1, Status.OK, encode_body(answer))) == size:
            return answer
    raise AssertionError("no answer is that long")


@pytest.mark.parametrize("size", [100, 16_000, 16_001, 100_000, 524_288, MESSAGE_BYTES_MAX])
async def test_a_session_carries_an_answer_of_any_size_in_pieces(road: Road, size: int) -> None:
    expected = answer_of(size)
    clock = Time()
    here, there = Party(clock, road.transport()), Party(clock, road.transport())
    there.on_asked = lambda connection, number, _method, _body: connection.reply(number, Status.OK, expected)
    _, url = await road.listen(there.sessions._accept, there.transports[0], there.sessions._admit)  # type: ignore[arg-type]  # an owner of links, though no Owner
    contact = Contact(there.node_id, there.identity.public_key, (url,), NODE)

    answer = await here.answer_to(here.ask(contact, Method.GET, Get(Target(bytes(32)))))

    assert isinstance(answer, Answer)
    assert answer.body == expected
    await here.sessions.close()
    await there.sessions.close()

"""An open link, against a stranger that speaks its framing byte by byte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from tests.transport.roads import Owner, Owners, turns
from tests.transport.strangers import Stranger
from yzdht.limits import LINK_UNHEARD_MESSAGES_MAX, RECORD_DATA_BYTES_MAX, RECORD_OVERHEAD_BYTES
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.tcp import TcpTransport
from yzdht.transport.tcp_link import TcpLink


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


HASTY = LinkBounds(close_s=0.05)


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


@pytest.fixture
async def call(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Stranger, Owner]]:
    owners = Owners()
    bounds = getattr(request, "param", LinkBounds())
    listener = await TcpTransport(bounds=bounds).listen("127.0.0.1", 0, owners)
    stranger = await Stranger.call(listener.endpoints[0].port)
    owner = await owners.next()
    yield stranger, owner
    await listener.close()
    owner.link.abort()
    await owner.closed()
    await stranger.hang_up()
    await turns(3)
    assert len(owner.reasons) == 1


def link_of(owner: Owner) -> TcpLink:
    assert isinstance(owner.link, TcpLink)
    return owner.link


async def test_a_message_is_two_bytes_longer_on_the_wire(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.send(b"hello")

    assert await stranger.hear(7) == b"\x00\x05hello"
    assert owner.link.bytes_out == 7


def test_a_record_has_nineteen_bytes_of_overhead() -> None:
    record = bytes(RECORD_DATA_BYTES_MAX + RECORD_OVERHEAD_BYTES)

    assert len(framed(record)) == RECORD_DATA_BYTES_MAX + 19


async def test_messages_sent_in_one_turn_leave_in_one_write(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    messages = [bytes([number]) for number in range(10)]
    for message in messages:
        owner.link.send(message)

    assert owner.link.unsent_bytes == 10
    await turns(1)

    assert await stranger.hear(30) == framed(*messages)


async def test_a_message_may_come_byte_by_byte(call: tuple[Stranger, Owner]) -> None:
    _, owner = call
    for byte in framed(b"one", b"", b"two"):
        link_of(owner).data_received(bytes([byte]))

    assert owner.messages == [b"one", b"", b"two"]
    assert owner.link.held_bytes == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_however_the_bytes_are_cut_the_same_messages_come(messages: list[bytes], cuts: list[int]) -> None:
    link = TcpLink.__new__(TcpLink)
    link._bounds, link._rest, link._is_broken = LinkBounds(), b"", False
    link._is_aborted = link._is_deaf = link._is_paused = False
    link._inbox = None
    heard = Owner(link)
    link._handler = heard
    data, at, turn = framed(*messages), 0, 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        link._rest = link._take(link._rest + data[at : at + step])
        at, turn = at + step, turn + 1

    assert heard.messages == messages
    assert link._rest == b""


async def test_a_length_above_the_bound_is_refused_before_its_bytes_come(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call
    stranger.say(framed(b"before") + b"\xff\xff")

    assert await stranger.hear_rest() == b""
    await stranger.hang_up()
    assert await owner.closed() == "message too large"
    assert owner.messages == [b"before"]


async def test_nothing_is_read_into_what_follows_a_length_above_the_bound(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call
    stranger.say(b"\xff\xff" + framed(b"after"))
    stranger.say(framed(b"long after"))

    assert await stranger.hear_rest() == b""
    await stranger.hang_up()
    assert await owner.closed() == "message too large"
    assert owner.messages == []
    assert owner.link.held_bytes == 0


@pytest.mark.parametrize("call", [HASTY], indirect=True)
async def test_who_does_not_leave_after_a_fault_is_cut_off(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(b"\xff\xff")

    assert await stranger.hear_rest() == b""
    assert await owner.closed() == "message too large"  # after close_s, with the stranger's end still open


async def test_what_is_not_whole_is_held_until_it_is(call: tuple[Stranger, Owner]) -> None:
    _, owner = call
    link_of(owner).data_received(framed(bytes(1_000))[:600])
    assert owner.link.held_bytes == 600

    link_of(owner).data_received(framed(bytes(1_000))[600:])

    assert owner.link.held_bytes == 0
    assert owner.messages == [bytes(1_000)]


async def test_a_peer_that_leaves_within_a_message_has_closed(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(framed(b"last") + framed(b"cut short")[:5])
    await stranger.hang_up()

    assert await owner.closed() == "closed by peer"
    assert owner.messages == [b"last"]


async def test_a_reset_is_told_as_such(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    await stranger.reset()

    assert await owner.closed() == "reset"


@pytest.mark.parametrize("call", [HASTY], indirect=True)
async def test_a_half_open_peer_cannot_keep_a_link_from_closing(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.send(b"bye")
    owner.link.close()

    assert await stranger.hear_rest() == framed(b"bye")
    assert await owner.closed() == "stalled"  # the stranger's end is still open


async def test_messages_after_our_close_are_dropped(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.close()
    assert await stranger.hear_rest() == b""
    stranger.say(framed(b"late", b"later"))
    await stranger.hang_up()

    assert await owner.closed() == "closed"
    assert owner.messages == []


async def test_who_goes_on_talking_after_our_close_is_cut_off(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.close()
    stranger.say(framed(b"") * (LINK_UNHEARD_MESSAGES_MAX + 1))

    assert await owner.closed() == "closed"
    assert owner.messages == []
    assert link_of(owner)._is_aborted


async def test_of_a_large_read_no_more_small_messages_are_kept_than_an_honest_peer_sends(
    call: tuple[Stranger, Owner],
) -> None:
    _, owner = call
    owner.link.pause_reading()
    link_of(owner).data_received(framed(b"") * (10 * LINK_UNHEARD_MESSAGES_MAX))

    assert await owner.closed() == "too many messages"
    assert owner.messages == []
    assert owner.link.held_bytes == 0


async def test_a_large_read_is_delivered_whole(call: tuple[Stranger, Owner]) -> None:
    _, owner = call
    messages = [os.urandom(16_000) for _ in range(20)]

    link_of(owner).data_received(framed(*messages))

    assert owner.messages == messages


async def test_who_leaves_without_reading_is_gone_though_its_messages_wait(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call

    def answer_or_wait(_owner: Owner) -> None:
        if owner.link.is_congested:
            owner.link.pause_reading()  # until it may write again
        else:
            owner.link.send(bytes(16_000))

    owner.react = answer_or_wait
    stranger.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a Transport, though typed as a write end
    while not owner.link.is_congested:
        stranger.say(framed(b"more"))
        await turns(2)
    stranger.say(framed(b"more") * 1_000)
    await owner.until(lambda: link_of(owner)._is_paused)
    await stranger.reset()

    assert await owner.closed() == "reset"
    assert owner.link.held_bytes == 0

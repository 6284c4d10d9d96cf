"""An open link, against a stranger that speaks frames byte by byte."""

from __future__ import annotations

import asyncio
import gc
import struct
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Frame, Opcode

from tests.transport.roads import Owner, Owners, turns
from tests.transport.strangers import Stranger, frame, request as opening
from yzdht.limits import (
    LINK_UNHEARD_MESSAGES_MAX,
    WEBSOCKET_FRAGMENTS_MAX,
    WEBSOCKET_MESSAGE_BYTES_MAX,
    WEBSOCKET_PARSE_BYTES,
    WEBSOCKET_PING_EVERY_S,
    WEBSOCKET_PINGS_AT_ONCE,
    WEBSOCKET_PONG_BYTES_MAX,
)
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.websocket import WebSocketTransport
from yzdht.transport.websocket_link import WebSocketLink


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


HASTY = LinkBounds(close_s=0.05)


@pytest.fixture
async def call(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Stranger, Owner]]:
    owners = Owners()
    bounds = getattr(request, "param", LinkBounds())
    listener = await WebSocketTransport(bounds=bounds).listen("127.0.0.1", 0, owners)
    stranger = await Stranger.call(listener.endpoints[0].port)
    stranger.say(opening())
    await stranger.hear_head()
    owner = await owners.next()
    yield stranger, owner
    await listener.close()
    owner.link.abort()
    await owner.closed()
    await stranger.hang_up()
    await turns(3)
    assert len(owner.reasons) == 1


async def close_code(stranger: Stranger) -> int:
    """Read the close frame, which is what comes next."""
    head = await stranger.hear(2)
    assert head[0] == 0x88
    body = await stranger.hear(head[1])
    return int(struct.unpack("!H", body[:2])[0])


async def test_fragments_become_one_message(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, b"one ", fin=False))
    stranger.say(frame(Opcode.PING, b"between"))
    stranger.say(frame(Opcode.CONT, b"two ", fin=False) + frame(Opcode.CONT, b"three"))
    stranger.say(frame(Opcode.BINARY, b"four"))

    assert await owner.take(2) == [b"one two three", b"four"]


async def test_fragments_of_the_largest_message_pass(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    half = WEBSOCKET_MESSAGE_BYTES_MAX // 2
    stranger.say(frame(Opcode.BINARY, bytes(half), fin=False))
    stranger.say(frame(Opcode.CONT, bytes(WEBSOCKET_MESSAGE_BYTES_MAX - half)))

    assert await owner.take(1) == [bytes(WEBSOCKET_MESSAGE_BYTES_MAX)]


async def test_a_message_that_was_delivered_is_not_kept(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, b"one ", fin=False) + frame(Opcode.CONT, b"message"))
    stranger.say(frame(Opcode.BINARY, b"another"))
    assert await owner.take(2) == [b"one message", b"another"]
    gc.collect()

    assert [kept for kept in gc.get_objects() if isinstance(kept, Frame) and kept.data] == []


async def test_fragments_too_large_in_sum_close_the_link(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, bytes(WEBSOCKET_MESSAGE_BYTES_MAX - 1), fin=False))
    stranger.say(frame(Opcode.CONT, b"", fin=False) + frame(Opcode.CONT, b"12", fin=False))

    assert await close_code(stranger) == 1009
    await stranger.hang_up()
    assert await owner.closed() == "message too large"
    assert owner.messages == []


async def test_a_message_may_come_in_so_many_fragments(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    for _ in range(2):  # they are counted for each message
        stranger.say(frame(Opcode.BINARY, b"x", fin=False))
        stranger.say(frame(Opcode.CONT, b"", fin=False) * (WEBSOCKET_FRAGMENTS_MAX - 2))
        stranger.say(frame(Opcode.CONT, b"y"))

    assert await owner.take(2) == [b"xy", b"xy"]


async def test_a_message_in_more_fragments_cuts_the_link_off(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, b"x", fin=False))
    stranger.say(frame(Opcode.CONT, b"", fin=False) * (WEBSOCKET_FRAGMENTS_MAX - 1))

    assert await owner.closed() == "too many fragments"
    assert owner.messages == []


async def test_of_a_large_read_nothing_is_parsed_after_the_link_was_cut_off(
    call: tuple[Stranger, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, owner = call
    link = owner.link
    assert isinstance(link, WebSocketLink)
    parsed: list[int] = []
    receive = link._websocket.receive_data

    def count(data: bytes) -> None:
        parsed.append(len(data))
        receive(data)

    monkeypatch.setattr(link._websocket, "receive_data", count)
    link.data_received(frame(Opcode.PING) * (10 * WEBSOCKET_PARSE_BYTES // 6))

    assert parsed == [WEBSOCKET_PARSE_BYTES]
    assert await owner.closed() == "too many pings"


async def test_a_large_read_is_delivered_whole(call: tuple[Stranger, Owner]) -> None:
    _, owner = call
    link = owner.link
    assert isinstance(link, WebSocketLink)
    messages = [bytes([number]) * 1_000 for number in range(3 * WEBSOCKET_PARSE_BYTES // 1_000)]

    link.data_received(b"".join(frame(Opcode.BINARY, message) for message in messages))

    assert await owner.take(len(messages)) == messages


@pytest.mark.parametrize("fin", [True, False])
async def test_a_text_message_closes_the_link(call: tuple[Stranger, Owner], *, fin: bool) -> None:
    stranger, owner = call
    stranger.say(
        frame(Opcode.BINARY, b"before") + frame(Opcode.TEXT, b"hello", fin=fin) + frame(Opcode.CONT, b"x")
    )
    stranger.say(frame(Opcode.BINARY, b"after"))

    code = await close_code(stranger)
    await stranger.hang_up()

    assert await owner.closed() == "text message"
    assert owner.messages == [b"before"]
    assert code in (
        {1003} if not fin else {1003, 1002}
    )  # the stray CONT of the whole one is a fault of its own


@pytest.mark.parametrize(
    "said",
    [
        frame(Opcode.BINARY, b"unmasked", mask=False),
        frame(Opcode.CONT, b"of nothing"),
        frame(Opcode.BINARY, b"x", fin=False) + frame(Opcode.BINARY, b"y"),
        b"\xc2" + frame(Opcode.BINARY, b"rsv1")[1:],
        b"\x83" + frame(Opcode.BINARY, b"opcode 3")[1:],
        frame(Opcode.CLOSE, b"\x00"),
        frame(Opcode.CLOSE, b"\x03\xed"),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x89\xfe\x00\x7e" + bytes(130),
    ],
)
async def test_a_broken_frame_closes_the_link(call: tuple[Stranger, Owner], said: bytes) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, b"before"))
    stranger.say(said)

    assert await close_code(stranger) in {1002, 1009}
    await stranger.hang_up()
    assert await owner.closed() in {"protocol error", "message too large"}
    assert owner.messages == [b"before"]


async def test_a_length_above_the_bound_is_refused_before_its_bytes_come(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call
    stranger.say(b"\x82\xff" + (1 << 62).to_bytes(8, "big"))

    assert await close_code(stranger) == 1009
    await stranger.hang_up()
    assert await owner.closed() == "message too large"


@pytest.mark.parametrize("call", [HASTY], indirect=True)
async def test_who_does_not_leave_after_a_fault_is_cut_off(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.TEXT, b"hello"))

    assert await close_code(stranger) == 1003
    assert await owner.closed() == "text message"  # after close_s, with the stranger's end still open


async def test_a_ping_is_answered_by_its_pong(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.PING, b"marco") + frame(Opcode.PONG, b"nobody asked"))

    assert await stranger.hear(7) == frame(Opcode.PONG, b"marco", mask=False)
    assert owner.messages == []


async def test_a_close_frame_is_echoed(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, b"last") + frame(Opcode.CLOSE, b"\x03\xe8bye"))

    assert await stranger.hear_rest() == frame(Opcode.CLOSE, b"\x03\xe8bye", mask=False)
    await stranger.hang_up()
    assert await owner.closed() == "closed by peer"
    assert owner.messages == [b"last"]


async def test_an_answer_to_the_last_message_before_a_close_frame_is_dropped(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call
    owner.react = lambda owner: owner.link.send(b"too late")
    stranger.say(frame(Opcode.BINARY, b"last") + frame(Opcode.CLOSE))

    assert await stranger.hear_rest() == frame(Opcode.CLOSE, mask=False)
    await stranger.hang_up()
    assert await owner.closed() == "closed by peer"


async def test_a_peer_that_vanishes_without_a_close_frame_has_closed(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    stranger.say(frame(Opcode.BINARY, b"last") + frame(Opcode.BINARY, b"cut short")[:5])
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

    assert await stranger.hear(5) == frame(Opcode.BINARY, b"bye", mask=False)
    assert await close_code(stranger) == 1000
    assert await owner.closed() == "stalled"  # the stranger never answered, and its end is still open


async def test_messages_after_our_close_frame_are_dropped(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.close()
    await close_code(stranger)
    stranger.say(
        frame(Opcode.BINARY, b"late") + frame(Opcode.TEXT, b"late") + frame(Opcode.CLOSE, b"\x03\xe8")
    )

    await stranger.hear_rest()
    await stranger.hang_up()
    assert await owner.closed() == "closed"
    assert owner.messages == []


async def test_who_goes_on_talking_after_our_close_frame_is_cut_off(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.close()
    await close_code(stranger)
    stranger.say(frame(Opcode.BINARY) * (LINK_UNHEARD_MESSAGES_MAX + 1))

    assert await owner.closed() == "closed"
    assert owner.messages == []
    link = owner.link
    assert isinstance(link, WebSocketLink)
    assert link._is_aborted


async def test_as_many_messages_as_an_honest_peer_had_sent_before_it_saw_our_close_frame_do_no_harm(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call
    owner.link.close()
    stranger.say(frame(Opcode.BINARY, bytes(1_000)) * (LINK_UNHEARD_MESSAGES_MAX - 1))
    stranger.say(frame(Opcode.CLOSE, b"\x03\xe8"))

    assert await close_code(stranger) == 1000
    assert await stranger.hear_rest() == b""
    await stranger.hang_up()
    assert await owner.closed() == "closed"
    link = owner.link
    assert isinstance(link, WebSocketLink)
    assert not link._is_aborted


async def test_of_a_large_read_no_more_small_messages_are_kept_than_an_honest_peer_sends(
    call: tuple[Stranger, Owner],
) -> None:
    _, owner = call
    link = owner.link
    assert isinstance(link, WebSocketLink)
    link.pause_reading()
    link.data_received(frame(Opcode.BINARY, b"of two") * (10 * LINK_UNHEARD_MESSAGES_MAX))

    assert await owner.closed() == "too many messages"
    assert owner.messages == []
    assert link.held_bytes == 0


async def test_messages_sent_in_one_turn_leave_in_one_write(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    for number in range(10):
        owner.link.send(bytes([number]))

    assert owner.link.unsent_bytes == 10
    await turns(1)

    expected = b"".join(frame(Opcode.BINARY, bytes([number]), mask=False) for number in range(10))
    assert await stranger.hear(len(expected)) == expected


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_who_pings_too_often_is_cut_off_and_nothing_more_is_held_for_it(
    call: tuple[Stranger, Owner], opcode: Opcode
) -> None:
    stranger, owner = call
    stranger.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a Transport, though typed as a write end
    stranger.say(frame(opcode, bytes(125)) * 500)

    assert await owner.closed() == "too many pings"
    assert owner.link.held_bytes == 0


async def test_pings_now_and_then_are_answered(
    call: tuple[Stranger, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, owner = call
    link = owner.link
    assert isinstance(link, WebSocketLink)
    loop = asyncio.get_running_loop()
    moment = loop.time()
    monkeypatch.setattr(loop, "time", lambda: moment)
    ping, before = frame(Opcode.PING, bytes(125)), link.bytes_out
    link.data_received(ping * WEBSOCKET_PINGS_AT_ONCE)
    for _ in range(60):
        moment += WEBSOCKET_PING_EVERY_S
        link.data_received(ping)
    assert not link._is_aborted
    assert link.bytes_out - before == WEBSOCKET_PONG_BYTES_MAX * (WEBSOCKET_PINGS_AT_ONCE + 60)

    link.data_received(ping)
    assert link._is_aborted


async def test_who_pings_while_the_link_closes_is_cut_off_too(call: tuple[Stranger, Owner]) -> None:
    stranger, owner = call
    owner.link.close()
    stranger.say(frame(Opcode.PING, bytes(125)) * 500)

    assert await owner.closed() == "too many pings"


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
        stranger.say(frame(Opcode.BINARY, b"more"))
        await turns(2)
    stranger.say(frame(Opcode.BINARY, b"more") * 1_000)
    await owner.until(lambda: owner.link._is_paused)  # type: ignore[attr-defined] # of this implementation
    await stranger.reset()

    assert await owner.closed() == "reset"
    assert owner.link.held_bytes == 0


async def test_what_was_read_and_waits_is_held_until_it_is_delivered_or_dropped(
    call: tuple[Stranger, Owner],
) -> None:
    stranger, owner = call

    def pause(_owner: Owner) -> None:
        owner.link.pause_reading()

    owner.react = pause
    stranger.say(b"".join(frame(Opcode.BINARY, bytes(1_000)) for _ in range(5)))
    await owner.take(1)
    assert owner.link.held_bytes == 4_000

    owner.link.resume_reading()
    await owner.take(2)
    assert owner.link.held_bytes == 3_000

    owner.link.abort()
    assert owner.link.held_bytes == 0

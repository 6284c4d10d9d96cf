from __future__ import annotations

import asyncio

from hypothesis import given, strategies as st
from websockets.frames import Frame, Opcode

from tests.process.wiretap import Wiretap, masked_frame, payloads


HEAD = b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"
_MESSAGES = st.lists(st.binary(max_size=200) | st.sampled_from([bytes(200), bytes(70_000)]), max_size=5)


@given(_MESSAGES, st.booleans())
def test_frames_of_the_websocket_library_are_unmasked(messages: list[bytes], mask: bool) -> None:  # noqa: FBT001 - drawn
    stream = HEAD + b"".join(Frame(Opcode.BINARY, m).serialize(mask=mask) for m in messages)
    assert list(payloads(stream)) == messages


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.integers(0, 300))
def test_a_frame_that_was_cut_short_counts_as_far_as_it_got(payload: bytes, mask: bytes, kept: int) -> None:
    frame = masked_frame(payload, mask)
    head_bytes = len(frame) - len(payload)
    cut = frame[: head_bytes + kept]
    assert list(payloads(HEAD + cut)) == [payload[:kept]]


async def test_both_directions_of_a_connection_are_kept() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server, Wiretap() as tap:
        tap.node_port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(tap.url.rpartition(":")[2]))
        writer.write(b"hello")
        assert await reader.read() == b"HELLO"
        writer.close()
        assert bytes(tap.conversations[0].to_node) == b"hello"
        assert bytes(tap.conversations[0].from_node) == b"HELLO"

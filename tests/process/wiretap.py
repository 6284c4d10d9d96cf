"""A TCP proxy that keeps every byte of the WebSockets that pass through it, and undoes their masks for a search."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from collections.abc import Iterator


_CHUNK = 65_536
_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Conversation:
    """One connection: what either end said, and through which port of this process the node was reached."""

    to_node: bytearray = field(default_factory=bytearray)
    from_node: bytearray = field(default_factory=bytearray)
    own_port: int = 0


class Wiretap:
    """Listens on a free port and passes everything on to `node_port`; with `is_open` cleared, new connections wait."""

    def __init__(self) -> None:
        self.node_port: int | None = None
        self.conversations: list[Conversation] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def url(self) -> str:
        """What the node behind it advertises."""
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def heard(self) -> dict[str, bytes]:
        """Everything that passed: as bytes, and as the payloads of its frames, joined and without masks."""
        found: dict[str, bytes] = {}
        for number, talk in enumerate(self.conversations):
            for way, stream in (("to", bytes(talk.to_node)), ("from", bytes(talk.from_node))):
                found[f"connection {number} {way} the node"] = stream
                found[f"connection {number} {way} the node, unmasked"] = b"".join(payloads(stream))
        return found

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.is_open.wait()
        try:
            node_reader, node_writer = await asyncio.open_connection("127.0.0.1", self.node_port)
        except OSError:
            writer.transport.abort()
            return
        talk = Conversation(own_port=node_writer.get_extra_info("sockname")[1])
        self.conversations.append(talk)
        try:
            await asyncio.gather(
                _pass_on(reader, node_writer, talk.to_node), _pass_on(node_reader, writer, talk.from_node)
            )
        finally:
            writer.transport.abort()
            node_writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_CHUNK):
            kept += piece
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def payloads(stream: bytes) -> Iterator[bytes]:
    """The payloads of the frames behind the HTTP head of one direction of a WebSocket; a cut last frame counts too."""
    at = stream.find(_HEAD_END)
    if at < 0:
        return
    at += len(_HEAD_END)
    while at + 2 <= len(stream):
        length, is_masked = stream[at + 1] & 0x7F, stream[at + 1] & 0x80
        at += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(stream[at : at + size])
            at += size
        mask = stream[at : at + 4] if is_masked else b""
        at += len(mask)
        payload = stream[at : at + length]
        yield _masked(payload, mask) if mask else payload
        at += length


def masked_frame(payload: bytes, mask: bytes) -> bytes:
    """One whole binary frame as a client sends it."""
    assert len(payload) < 65_536
    head = (
        struct.pack(">BB", 0x82, 0x80 | len(payload))
        if len(payload) < 126
        else struct.pack(">BBH", 0x82, 0x80 | 126, len(payload))
    )
    return head + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))

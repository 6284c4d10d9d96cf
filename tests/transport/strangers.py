"""Raw ends of a WebSocket connection, for what no well-behaved library would send."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct

from websockets.frames import Frame, Opcode

from tests.transport.roads import PATIENCE_S


REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def request(path: str = "/", more: str = "") -> bytes:
    return REQUEST.format(path=path, more=more).encode()


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def client_hello() -> bytes:
    """What a TLS client says first, whole."""
    said = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="node.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return said.read()


class Stranger:
    """The far end of a socket, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def call(cls, port: int) -> Stranger:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear_head(self) -> str:
        """Read one HTTP head."""
        async with asyncio.timeout(PATIENCE_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(count)

    async def hear_rest(self) -> bytes:
        """Read until the other end closes or resets."""
        heard = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while piece := await self.reader.read(65_536):
                    heard += piece
            except ConnectionError:
                pass
        return heard

    async def hang_up(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.writer.wait_closed()
        except ConnectionError:
            pass

    async def reset(self) -> None:
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

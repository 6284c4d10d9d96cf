"""What tests of the pages share: a node, its pages, and a client that says every byte itself."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yzdht import Node
from yzdht.http.server import HttpServer


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


HOST = "127.0.0.1"


@dataclass
class Reply:
    """What a server said before it closed the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def object(self) -> dict[str, Any]:
        view: dict[str, Any] = json.loads(self.body)
        return view


async def exchange(port: int, request: bytes, host: str = HOST) -> bytes:
    """Send bytes; everything that comes back until the other end closes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


def parsed(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


async def get(http: HttpServer, path: str, *, host: str = "localhost", method: str = "GET") -> Reply:
    """One request, as a browser makes it."""
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    return parsed(await exchange(http.port, request.encode("latin-1")))


def a_node(*bootstrap: str, **options: Any) -> Node:
    return Node(0, host=HOST, bootstrap=bootstrap, allow_private=True, **options)


def url_of(node: Node) -> str:
    return f"ws://{HOST}:{node.port}"


@asynccontextmanager
async def alone(**options: Any) -> AsyncIterator[tuple[Node, HttpServer]]:
    """A node without others, and its pages."""
    async with a_node(**options) as node, HttpServer(node) as http:
        yield node, http

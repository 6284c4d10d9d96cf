"""A router on loopback that speaks UPnP, as well or as badly as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


ROUTER = "127.0.0.1"
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
_VALUE = re.compile(rb"<(New\w+)>([^<]*)</")
_ACTION = re.compile(rb'#(\w+)"')


class Igd(asyncio.DatagramProtocol):
    """Forwards ports in a table.

    Attributes:
        table: Host and port inside, by the port outside.
        asked: The calls that came, in order.
        lives: The lifetimes that were asked for.
        searched: How many searches came.
        location: Where it says that its description is; `{port}` becomes its own.
        control: Where it says that it is asked; nothing is found at /broken.
        faults: Reasons to refuse, by call; a call that stands there is refused.
        says: In place of what it would answer to any HTTP request, pieces; None for what is right.
        is_strict: True if it gives no port to anybody that it forwards to another host.
        gate: Nothing is answered while it is not set.
        more: Elements in its description, before the service.

    """

    def __init__(self) -> None:
        self.table: dict[int, tuple[str, int]] = {}
        self.asked: list[str] = []
        self.lives: list[int] = []
        self.searched = 0
        self.location = "http://127.0.0.1:{port}/desc.xml"
        self.control = "/control"
        self.faults: dict[str, int] = {}
        self.says: Callable[[], Iterator[bytes]] | None = None
        self.is_strict = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.more = ""
        self.head = '<?xml version="1.0"?>'
        self.sent = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(ROUTER, 0))
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        await self.stop()

    async def start(self) -> None:
        """Serve at some port, as after a restart."""
        self._http = await asyncio.start_server(self._serve, ROUTER, 0)
        self.http_port: int = self._http.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Forget everything."""
        self._http.close()
        await self._http.wait_closed()
        self.table.clear()

    @property
    def ssdp_port(self) -> int:
        port: int = self._udp.get_extra_info("sockname")[1]
        return port

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        assert data.startswith(b"M-SEARCH * HTTP/1.1\r\n")
        self.searched += 1
        where = self.location.format(port=self.http_port)
        self._udp.sendto(f"HTTP/1.1 200 OK\r\nEXT:\r\nLOCATION: {where}\r\n\r\n".encode(), addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(found[1]) if found else 0)
            await self.gate.wait()
            for piece in self._answer(head, body) if self.says is None else self.says():
                writer.write(piece)
                await writer.drain()
                self.sent += len(piece)
        writer.close()

    def _answer(self, head: bytes, body: bytes) -> Iterator[bytes]:
        if head.startswith(b"GET /desc.xml "):
            yield http(200, self._description())
            return
        if head.startswith(b"POST /broken "):
            yield http(404, "<html/>")
            return
        assert head.startswith(b"POST /control "), head
        found = _ACTION.search(head)
        assert found is not None
        action = found[1].decode()
        self.asked.append(action)
        values = {k.decode(): v.decode() for k, v in _VALUE.findall(body)}
        fault = self.faults.get(action) or self._do(action, values)
        yield (
            http(200, soap(f"<u:{action}Response>{fault}</u:{action}Response>"))
            if isinstance(fault, str)
            else http(500, soap(f"<s:Fault><errorCode>{fault}</errorCode></s:Fault>"))
        )

    def _description(self) -> str:
        service = f"<serviceType>{SERVICE}</serviceType><controlURL>{self.control}</controlURL>"
        return f"{self.head}<root>{self.more}<service>{service}</service></root>"

    def _do(self, action: str, values: dict[str, str]) -> int | str:
        outside = int(values["NewExternalPort"])
        if action == "GetSpecificPortMappingEntry":
            if outside not in self.table:
                return 714
            host, port = self.table[outside]
            return f"<NewInternalClient>{host}</NewInternalClient><NewInternalPort>{port}</NewInternalPort>"
        if action == "DeletePortMapping":
            return "" if self.table.pop(outside, None) else 714
        assert action == "AddPortMapping"
        if self.is_strict and outside in self.table and self.table[outside][0] != values["NewInternalClient"]:
            return 718
        self.lives.append(int(values["NewLeaseDuration"]))
        if self.lives[-1] and "lease" in self.faults:
            return self.faults["lease"]
        self.table[outside] = (values["NewInternalClient"], int(values["NewInternalPort"]))
        return ""


def http(status: int, body: str) -> bytes:
    raw = body.encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw


def soap(inside: str) -> str:
    return f'<s:Envelope xmlns:s="s" xmlns:u="u"><s:Body>{inside}</s:Body></s:Envelope>'

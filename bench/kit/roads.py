"""Roads on which sessions travel, and the two ends of each, which live in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bench.kit.road_traffic import Answerer, Asker, Returner, Sender, credentials
from bench.kit.slow_road import HOST, slowed
from tests.nginx.front import names_lead_to
from yzdht.errors import DialFailed
from yzdht.limits import HANDSHAKES_PER_S, SESSIONS_RESERVED_PART
from yzdht.sessions import SystemClock
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.hub import Sessions
from yzdht.sessions.world import World
from yzdht.telemetry import Counters
from yzdht.transport.one_port import OnePort


if TYPE_CHECKING:
    from pathlib import Path

    from bench.kit.road_traffic import Traveller
    from yzdht.ports import Listener


SESSIONS, CHANNELS, NODE = "sessions", "channels", "node"
"""What listens: sessions, bare channels, or all that a node has of sessions, with its bounds and books."""

DIAL_S: Final = 60.0
DELAY_S: Final = 0.05
_HANDSHAKES_PART: Final = 0.8
_IDLE_AT_ONCE: Final = 8
_IDLE_TRIES: Final = 100
_IDLE_PAUSE_S: Final = 0.1
_TCP_INFO_BYTES: Final = 136
_TCP_INFO_CARRIED: Final = 120  # offset of tcpi_bytes_acked and tcpi_bytes_received, u64 each


class Road(NamedTuple):
    """One kind of channel.

    Attributes:
        name: For the table.
        scheme: Of its urls.
        is_through_nginx: Through a proxy that ends TLS.

    """

    name: str
    scheme: str
    is_through_nginx: bool = False

    def url(self, host: str, port: int) -> str:
        return f"{self.scheme}://{host}:{port}{'' if self.scheme == 'tcp' else '/ws'}"


TCP = Road("tcp", "tcp")
WS = Road("ws", "ws")
WSS = Road("wss", "wss")
NGINX = Road("nginx", "wss", is_through_nginx=True)
ROADS = (TCP, WS, WSS, NGINX)


class Papers(NamedTuple):
    """What TLS needs.

    Attributes:
        certificate: File of who listens.
        key: File of its key.
        authority: File of who signed it.

    """

    certificate: Path
    key: Path
    authority: Path

    def served(self) -> ssl.SSLContext:
        """For who listens."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def trusted(self) -> ssl.SSLContext:
        """For who dials."""
        return ssl.create_default_context(cafile=self.authority)


class ListeningEnd:
    """Listens as a node does, on one port for all kinds of channels."""

    def __init__(self, papers: Papers) -> None:
        context = papers.served()
        self._transport = OnePort(tls=lambda: context)
        self._listeners: list[Listener] = []

    async def do(self, what: str, **more: Any) -> object:  # noqa: ANN401 - decoded from JSON
        assert what == "listen"
        listener = await self._listen(**more)
        self._listeners.append(listener)
        return listener.endpoints[0].port

    async def _listen(self, kind: str, sessions: int = 0) -> Listener:
        if kind == SESSIONS:
            return await self._transport.listen(HOST, 0, Answerer().accept)
        if kind == CHANNELS:
            return await self._transport.listen(HOST, 0, Returner)
        strangers = (sessions + 1) * SESSIONS_RESERVED_PART // (SESSIONS_RESERVED_PART - 1) + 1
        world = World(
            credentials(),
            [self._transport],
            SystemClock(),
            Counters(),
            is_private_allowed=True,
            bounds=SessionBounds(sessions_max=strangers),
        )
        return await Sessions(world, _Deaf()).listen("tcp", HOST, 0)


class _Deaf:
    """Nobody asks anything of idle sessions."""

    def on_link(self, *_: object) -> None:
        pass

    def on_request(self, *_: object) -> None:
        pass

    def on_answer(self, *_: object) -> None:
        pass

    def on_push(self, *_: object) -> None:
        pass


class DiallingEnd:
    """Dials, and goes to and fro."""

    def __init__(self, papers: Papers) -> None:
        self._names = ExitStack()  # for as long as the process lives
        self._names.enter_context(names_lead_to(HOST))
        self._transport = OnePort(trust=papers.trusted())
        self._travellers: dict[str, Traveller] = {}
        self._idle: list[Asker] = []
        self._took_s: list[float] = []

    async def do(self, what: str, **more: Any) -> object:  # noqa: ANN401 - decoded from JSON
        match what:
            case "connect":
                self._travellers[more["kind"]] = await self._connected(more["url"], more["kind"])
            case "go":
                self._took_s = await self._travellers[more["kind"]].go(more["count"])
            case "took":
                return self._took_s
            case "carry":
                began = time.perf_counter()
                await self._travellers[more["kind"]].carry(more["count"])
                return time.perf_counter() - began
            case "bytes":
                return await self._bytes_of_trips(self._travellers[more["kind"]], more["count"])
            case "set up":
                self._took_s = [await self._set_up(more["url"]) for _ in range(more["count"])]
            case "turns":
                return await self._turns(Road(*more["road"]), more["host"], more["port"])
            case _:
                assert what == "idle"
                await self._stay(more["url"], more["count"])
        return None

    async def _connected(self, url: str, kind: str) -> Traveller:
        traveller = Asker() if kind == SESSIONS else Sender()
        await self._transport.dial(url, traveller.accept, DIAL_S)
        await traveller.opened()
        return traveller

    async def _bytes_of_trips(self, traveller: Traveller, count: int) -> tuple[float, float]:
        """Bytes that each round trip has on the wire, there and back, TCP and below left out: as the kernel counts."""
        before = _carried(traveller.link)
        await traveller.go(count)
        out, back = (now - then for now, then in zip(_carried(traveller.link), before, strict=True))
        return out / count, back / count

    async def _set_up(self, url: str) -> float:
        """Open a session and close it; seconds until a request may be sent."""
        asker = Asker(credentials())
        began = time.perf_counter()
        await self._transport.dial(url, asker.accept, DIAL_S)
        await asker.opened()
        took_s = time.perf_counter() - began
        await asker.leave()
        return took_s

    async def _turns(self, road: Road, host: str, port: int) -> float:
        """Round trips until a request may be sent: that of TCP, which is not delayed, and those that take their time."""
        async with slowed(port, DELAY_S) as detour:
            took_s = await self._set_up(road.url(host, detour))
        return 1 + took_s / (2 * DELAY_S)

    async def _stay(self, url: str, count: int) -> None:
        """Open so many sessions of as many clients, no faster than a node takes handshakes."""
        loop, room = asyncio.get_running_loop(), asyncio.Semaphore(_IDLE_AT_ONCE)
        began, every_s = loop.time(), 1 / (_HANDSHAKES_PART * HANDSHAKES_PER_S)

        async def one(number: int) -> Asker:
            await asyncio.sleep(began + number * every_s - loop.time())
            async with room:
                for _ in range(_IDLE_TRIES):
                    with contextlib.suppress(
                        DialFailed, ConnectionError
                    ):  # on a busy machine openings run out of time
                        asker = Asker()
                        await self._transport.dial(url, asker.accept, DIAL_S)
                        await asker.opened()
                        return asker
            raise AssertionError(f"{url} does not take so many sessions")

        self._idle += await asyncio.gather(*(one(number) for number in range(count)))
        assert all(asker.is_open for asker in self._idle)


def _carried(link: Any) -> tuple[int, int]:  # noqa: ANN401 - inside of a link
    sock: socket.socket = link._transport.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    acked, received = struct.unpack_from("=QQ", info, _TCP_INFO_CARRIED)
    return acked, received

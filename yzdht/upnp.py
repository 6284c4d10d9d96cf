"""A router that maps ports by UPnP (Internet Gateway Device 1 and 2): found, asked, and asked to forget.

Only the default gateway is asked and only what comes from its address is heard; every URL it names is taken as one of its
own (`upnp_messages`). What it may send is bounded in bytes and in time, and a search leaves the local network never
(TTL 1). HTTP is h11's part, XML expat's; why no whole library: docs/adr/0018. Loaded only where it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

import h11

from yzdht.errors import WireError
from yzdht.limits import (
    PORT_MAPPING_LIFE_S,
    UPNP_ANSWER_BYTES_MAX,
    UPNP_CALL_S_MAX,
    UPNP_HEAD_BYTES_MAX,
    UPNP_KEEP_S_MAX,
    UPNP_PORTS_TRIED,
    UPNP_SEARCH_S,
    UPNP_SEARCHES,
)
from yzdht.upnp_messages import (
    CONFLICT,
    NO_SUCH_ENTRY,
    PERMANENT_ONLY,
    SSDP_GROUP,
    Forwarded,
    Page,
    Reply,
    Service,
    has_outside,
    read_description,
    read_forwarded,
    read_location,
    read_reply,
    request,
    search_request,
)


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.ports import Rng


_OK = 200
_DESCRIPTION = "yzdht"
_READ_BYTES = 4_096
_PORT_MIN, _PORT_MAX = 1_024, 65_535


class Upnp:
    """One TCP port of this machine, at one router.

    Args:
        port: Here.
        rng: Chooses another port outside where the same one is somebody else's.
        ssdp_port: Where routers hear searches.

    """

    def __init__(self, port: int, rng: Rng, ssdp_port: int) -> None:
        self._port = port
        self._rng = rng
        self._ssdp_port = ssdp_port
        self._router, self._own = "", ""
        self._service: Service | None = None
        self._outside: int | None = None
        self._given: Forwarded | None = None  # to whom, as this was asked for
        self._asked_at = float("-inf")

    async def keep(self, router: str, own: str) -> int:
        """Have the port forwarded, if it is not; the port outside.

        What another machine, or another program of this one, has is left to it. What was given to this machine at the
        address that it had before is taken back, and given to it again.

        Args:
            router: IPv4 address of the default gateway.
            own: Of this machine, as the router sees it.

        Raises:
            WireError: The router refuses, talks nonsense, or has none of the ports that were tried to give.
            OSError: It is not reached; TimeoutError where it does not answer.

        """
        if not (ip_address(router).is_private and ip_address(own).is_private):
            raise WireError("UPnP is for machines at home, and this address is public")
        if router != self._router:
            self._given = None
        if (router, own) != (self._router, self._own):
            self._router, self._own, self._service = router, own, None
        async with asyncio.timeout(UPNP_KEEP_S_MAX):
            return await self._keep()

    async def _keep(self) -> int:
        if self._service is not None:
            with contextlib.suppress(OSError, WireError):  # it may have come back elsewhere
                return await self._map(self._service)
        self._service = await self._find()
        return await self._map(self._service)

    async def end(self) -> None:
        """Take the mapping back, if it is still ours; raises as `keep`."""
        outside, self._outside = self._outside, None
        if outside is None or self._service is None:
            return
        if self._is_ours(await self._forwarded(self._service, outside), outside):
            await self._call(self._service, "DeletePortMapping", **_entry(outside))

    @property
    def _here(self) -> Forwarded:
        return Forwarded(self._own, self._port)

    def _is_ours(self, holder: Forwarded | None, outside: int) -> bool:
        """Whether a port outside is forwarded to this node, or to where it was when it had that done."""
        was_given = outside == self._outside and holder == self._given
        return holder is not None and (holder == self._here or was_given)

    # Mapping

    async def _map(self, service: Service) -> int:
        for outside in self._ports():
            holder = await self._forwarded(service, outside)
            if holder == self._here and self._is_fresh(outside):
                return outside
            if holder not in (None, self._here):
                if not self._is_ours(holder, outside):
                    continue
                await self._call(service, "DeletePortMapping", **_entry(outside))
            fault = await self._add(service, outside)
            if not fault:
                return outside
            if fault != CONFLICT:
                self._outside = None
                raise WireError(f"the router maps no port: UPnP error {fault}")
        self._outside = None
        raise WireError("the router forwards the ports that were tried to somebody else")

    def _ports(self) -> Iterator[int]:
        """Which to try outside: the one it has, the same as here, some by chance."""
        tried = [self._port] if self._outside is None else [self._outside, self._port]
        yield from dict.fromkeys(tried)
        for _ in range(UPNP_PORTS_TRIED):
            yield int(self._rng.uniform(_PORT_MIN, _PORT_MAX))

    def _is_fresh(self, outside: int) -> bool:
        age_s = asyncio.get_running_loop().time() - self._asked_at
        return outside == self._outside and age_s < PORT_MAPPING_LIFE_S / 2

    async def _add(self, service: Service, outside: int) -> int:
        """Have it forwarded; why the router refuses, 0 if it does not."""
        self._outside, self._given = outside, self._here  # first: it may end here
        self._asked_at = asyncio.get_running_loop().time()
        wanted = {
            **_entry(outside),
            "NewInternalPort": self._port,
            "NewInternalClient": self._own,
            "NewEnabled": 1,
            "NewPortMappingDescription": _DESCRIPTION,
        }
        done = await self._call(service, "AddPortMapping", **wanted, NewLeaseDuration=PORT_MAPPING_LIFE_S)
        if done.fault == PERMANENT_ONLY:
            done = await self._call(service, "AddPortMapping", **wanted, NewLeaseDuration=0)
        return done.fault

    async def _forwarded(self, service: Service, outside: int) -> Forwarded | None:
        """To whom the router forwards a port; None for nobody."""
        reply = await self._call(service, "GetSpecificPortMappingEntry", **_entry(outside))
        if reply.fault in (0, NO_SUCH_ENTRY):
            return None if reply.fault else read_forwarded(reply.said)
        raise WireError(f"the router does not say what it forwards: UPnP error {reply.fault}")

    # Finding

    async def _find(self) -> Service:
        """The service of the router that maps ports: of several the first that is connected."""
        page = await self._search()
        status, xml = await self._exchange(page, "GET", {}, b"")
        if status != _OK:
            raise WireError(f"the router does not show its description: status {status}")
        services = read_description(xml, self._router, page)
        for service in services[:-1]:
            with contextlib.suppress(OSError, WireError):  # TimeoutError is one; the next may answer
                if has_outside((await self._call(service, "GetExternalIPAddress")).said):
                    return service
        return services[-1]

    async def _search(self) -> Page:
        """Ask the router itself first: nobody else hears that, and a firewall here lets the answer in. Then the network."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[bytes] = asyncio.Queue(UPNP_SEARCHES)
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Ear(self._router, heard), sock=_searching_socket(self._own)
        )
        try:
            for number in range(UPNP_SEARCHES):
                transport.sendto(search_request(), (SSDP_GROUP if number else self._router, self._ssdp_port))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(UPNP_SEARCH_S):
                        return await self._location(heard)
            raise TimeoutError
        finally:
            transport.close()

    async def _location(self, heard: asyncio.Queue[bytes]) -> Page:
        while True:
            with contextlib.suppress(WireError):  # something else that it says
                return read_location(await heard.get(), self._router)

    # HTTP

    async def _call(self, service: Service, action: str, **values: str | int) -> Reply:
        headers, body = request(service.type, action, values)
        return read_reply(*await self._exchange(service.page, "POST", headers, body))

    async def _exchange(
        self, page: Page, method: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Status and body of an answer; UPNP_CALL_S_MAX and UPNP_ANSWER_BYTES_MAX are all it may take."""
        host = f"{self._router}:{page.port}"
        told = {"Host": host, "Connection": "close", "Content-Length": str(len(body)), **headers}
        async with asyncio.timeout(UPNP_CALL_S_MAX):
            reader, writer = await asyncio.open_connection(self._router, page.port, local_addr=(self._own, 0))
            try:
                http = h11.Connection(h11.CLIENT, UPNP_HEAD_BYTES_MAX)
                asked = h11.Request(method=method, target=page.path, headers=list(told.items()))
                for event in (asked, h11.Data(body), h11.EndOfMessage()):
                    writer.write(http.send(event) or b"")
                return await _answer(http, reader)
            except h11.ProtocolError as error:
                raise WireError("the router's answer is not HTTP") from error
            finally:
                writer.transport.abort()


def _entry(outside: int) -> dict[str, str | int]:
    return {"NewRemoteHost": "", "NewExternalPort": outside, "NewProtocol": "TCP"}


async def _answer(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, body, left = 0, bytearray(), UPNP_ANSWER_BYTES_MAX
    while True:
        event = http.next_event()
        match event:
            case h11.NEED_DATA:
                data = await reader.read(_READ_BYTES)
                left -= len(data)
                if left < 0:
                    raise WireError("the router's answer is too long")
                http.receive_data(data)
            case h11.Response():
                status = event.status_code
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return status, bytes(body)
            case h11.InformationalResponse():
                pass
            case _:
                raise WireError("the router's answer is not HTTP")


def _searching_socket(own: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        sock.bind((own, 0))
    except OSError:
        sock.close()
        raise
    return sock


class _Ear(asyncio.DatagramProtocol):
    """What one host says; all else is not heard."""

    def __init__(self, host: str, heard: asyncio.Queue[bytes]) -> None:
        self._host = host
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if addr[0] == self._host:
            with contextlib.suppress(asyncio.QueueFull):
                self._heard.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there; the searches run out."""

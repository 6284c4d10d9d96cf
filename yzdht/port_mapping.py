"""Asks the router of this network to forward a TCP port to this machine: PCP (RFC 6887), else NAT-PMP (RFC 6886), else UPnP.

The first two are one datagram to the default gateway and one back, so they are written here; no kept library speaks them.
A router that answers neither is asked by `upnp`, which is loaded then; one that refuses has decided. What a router says
is hostile input: only the gateway's own address is heard, and an answer must be to what was asked. What it promises is
believed only once others have dialled it (`reachability`). Trouble is never fatal: there is no mapping then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import WireError
from yzdht.limits import (
    PORT_MAPPING_LIFE_S,
    PORT_MAPPING_LOOK_S,
    PORT_MAPPING_TRIES,
    PORT_MAPPING_TRY_S_MIN,
    ROUTES_BYTES_MAX,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Rng
    from yzdht.upnp import Upnp


log = logging.getLogger(__name__)

GATEWAY_PORT = 5351
"""Where PCP and NAT-PMP are spoken."""
SSDP_PORT = 1900
"""Where routers hear searches of UPnP."""

_PCP, _NAT_PMP = 2, 0
_MAP, _TCP = 1, 6
_NAT_PMP_MAP_TCP = 2
_ANSWER = 0x80
_PCP_REQUEST = struct.Struct("!BBHI16s12sB3xHH16s")
_PCP_ANSWER = struct.Struct("!BBxBII12x12sB3xHH16s")
_NAT_PMP_REQUEST = struct.Struct("!BBHHHI")
_NAT_PMP_ANSWER = struct.Struct("!BBHIHHI")
_HEADER_BYTES = 4
_NONCE_BYTES = 12
_ROUTES = Path("/proc/net/route")
_ROUTE_UP, _ROUTE_GATEWAY = 0x1, 0x2
_ROUTE_FIELDS_MIN = 8


class Mapping(NamedTuple):
    """A port that the router forwards.

    Attributes:
        port: Outside, which need not be the one that was asked for.
        life_s: Seconds until the router forgets it.
        protocol: `pcp`, `nat-pmp` or `upnp`.

    """

    port: int
    life_s: int
    protocol: str


# The bytes


def pcp_request(nonce: bytes, own: IPv4Address, port: int, life_s: int) -> bytes:
    """A MAP request of 60 bytes; life 0 takes the mapping back."""
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + own.packed).packed
    anywhere = IPv6Address("::ffff:0:0").packed
    return _PCP_REQUEST.pack(
        _PCP, _MAP, 0, life_s, mapped, nonce, _TCP, port, port if life_s else 0, anywhere
    )


def read_pcp(answer: bytes, nonce: bytes, port: int) -> Mapping | None:
    """What a router answers to a MAP request; None if it speaks NAT-PMP alone.

    Raises:
        WireError: It refuses, or this is no answer to that request.

    """
    if len(answer) >= _HEADER_BYTES and answer[0] == _NAT_PMP:
        return None
    if len(answer) < _PCP_ANSWER.size:
        raise WireError("the router's answer is too short")
    version, code, result, life_s, _, shown, protocol, inside, outside, _ = _PCP_ANSWER.unpack_from(answer)
    if (version, code, shown, protocol, inside) != (_PCP, _ANSWER | _MAP, nonce, _TCP, port):
        raise WireError("the router answers something else")
    if result or not outside or not life_s:
        raise WireError(f"the router maps no port: PCP result {result}")
    return Mapping(outside, life_s, "pcp")


def is_unsupported_version(answer: bytes) -> bool:
    """True for the answer of a router that knows NAT-PMP alone to a request of PCP, which comes again for each of them."""
    return len(answer) >= _HEADER_BYTES and answer[0] == _NAT_PMP and answer[1] != _ANSWER | _NAT_PMP_MAP_TCP


def nat_pmp_request(port: int, life_s: int) -> bytes:
    """A request of 12 bytes to map a TCP port; life 0 takes the mapping back."""
    return _NAT_PMP_REQUEST.pack(_NAT_PMP, _NAT_PMP_MAP_TCP, 0, port, port if life_s else 0, life_s)


def read_nat_pmp(answer: bytes, port: int) -> Mapping:
    """What a router answers to it.

    Raises:
        WireError: It refuses, or this is no answer to that request.

    """
    if len(answer) < _NAT_PMP_ANSWER.size:
        raise WireError("the router's answer is too short")
    version, code, result, _, inside, outside, life_s = _NAT_PMP_ANSWER.unpack_from(answer)
    if (version, code) != (_NAT_PMP, _ANSWER | _NAT_PMP_MAP_TCP):
        raise WireError("the router answers something else")
    if result:
        raise WireError(f"the router maps no port: NAT-PMP result {result}")
    if inside != port or not outside or not life_s:
        raise WireError("the router maps another port")
    return Mapping(outside, life_s, "nat-pmp")


def gateway_in(routes: str) -> str | None:
    """The IPv4 default gateway in the text of /proc/net/route; None if there is none.

    The kernel writes addresses in hexadecimal, in the machine's byte order, which is little-endian wherever this runs.
    """
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) < _ROUTE_FIELDS_MIN:
            continue
        with contextlib.suppress(ValueError):
            target, gateway, flags, mask = (int(fields[i], 16) for i in (1, 2, 3, 7))
            if not target and not mask and flags & _ROUTE_UP and flags & _ROUTE_GATEWAY:
                return str(IPv4Address(gateway.to_bytes(4, "little")))
    return None


def gateway() -> str | None:
    """The default gateway of this machine; None where that is not to be found out."""
    try:
        with _ROUTES.open("rb") as file:
            return gateway_in(file.read(ROUTES_BYTES_MAX).decode("ascii", "replace"))
    except OSError:
        return None


# Asking


@dataclass(slots=True)
class _Mailbox(asyncio.DatagramProtocol):
    """The last datagram that came."""

    heard: asyncio.Queue[bytes]

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.heard.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: told by nothing."""
        self.datagram_received(b"", ("", 0))


class PortMapping:
    """One port of this machine that the router forwards, as long as `keep` is called in time.

    Args:
        port: Here.
        rng: For the nonce by which the router knows its owner again.
        ssdp_port: Where routers hear searches of UPnP.

    Attributes:
        mapping: What stands; None if nothing does.
        trouble: Why nothing does, for people; empty before a try, and at a public address, before which no router stands.
        is_wanted: True from the first mapping to the end: it is asked for again whenever it is lost.

    """

    def __init__(self, port: int, rng: Rng, ssdp_port: int = SSDP_PORT) -> None:
        self._port = port
        self._rng = rng
        self._ssdp_port = ssdp_port
        self._nonce = rng.token(_NONCE_BYTES)
        self._router: tuple[str, int] | None = None
        self._kept_at = float("-inf")
        self._upnp: Upnp | None = None
        self.mapping: Mapping | None = None
        self.trouble = ""
        self.is_wanted = False

    async def keep(self, router: tuple[str, int] | None = None) -> Mapping | None:
        """Ask for the mapping, or for more time for it.

        Args:
            router: Host and port; None for the default gateway.

        """
        if router is None:
            found = gateway()
            router = None if found is None else (found, GATEWAY_PORT)
        if router is None:
            self.mapping, self.trouble = None, "this machine has no default gateway"
            return None
        self._router, self._kept_at = router, asyncio.get_running_loop().time()
        before = self.mapping
        try:
            self.mapping, self.trouble = await self._ask_anyhow(router[0]), ""
            self.is_wanted = self.is_wanted or self.mapping is not None
        except (OSError, WireError) as error:  # TimeoutError is one
            self.mapping, self.trouble = None, str(error) or "the router answers no request to map a port"
        if (before is None) is not (self.mapping is None):
            log.info("port mapping changed mapping=%s trouble=%s", self.mapping, self.trouble)
        return self.mapping

    async def look_again(self) -> bool:
        """Look after a mapping that was given, every PORT_MAPPING_LOOK_S; True if another port is forwarded now, or none."""
        if not self.is_wanted or asyncio.get_running_loop().time() < self._kept_at + PORT_MAPPING_LOOK_S:
            return False
        before, now = self.mapping, await self.keep(self._router)
        return (before and before.port) != (now and now.port)

    async def end(self) -> None:
        """Take the mapping back; a router that does not answer forgets it in time."""
        mapping, self.mapping, self.is_wanted = self.mapping, None, False
        with contextlib.suppress(OSError, WireError):
            if self._upnp is not None:
                await self._upnp.end()
            if mapping is not None and mapping.protocol != "upnp":
                await self._ask(0)

    async def _ask_anyhow(self, router: str) -> Mapping | None:
        """None at a public address where nothing is mapped; raises TimeoutError, another OSError, or WireError."""
        is_by_upnp = self.mapping is not None and self.mapping.protocol == "upnp"
        if not is_by_upnp:
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                return await self._ask(PORT_MAPPING_LIFE_S)
        own = await _own_address(router)
        if IPv4Address(router).is_global or IPv4Address(own).is_global:
            return None
        return await self._ask_by_upnp(router, own)

    async def _ask_by_upnp(self, router: str, own: str) -> Mapping:
        from yzdht.upnp import Upnp  # noqa: PLC0415 - loads XML, which few nodes need

        if self._upnp is None:
            self._upnp = Upnp(self._port, self._rng, self._ssdp_port)
        outside = await self._upnp.keep(router, own)
        return Mapping(outside, PORT_MAPPING_LIFE_S, "upnp")

    async def _ask(self, life_s: int) -> Mapping:
        """Raises TimeoutError, another OSError, or WireError."""
        assert self._router is not None
        heard: asyncio.Queue[bytes] = asyncio.Queue(PORT_MAPPING_TRIES)
        transport, own = await _towards(self._router, _Mailbox(heard))
        try:
            request = pcp_request(self._nonce, own, self._port, life_s)
            mapped = read_pcp(await _answer(transport, heard, request), self._nonce, self._port)
            if mapped is not None:
                return mapped
            ask = nat_pmp_request(self._port, life_s)
            answer = await _answer(
                transport, heard, ask, is_unsupported_version
            )  # said once for each PCP request
            return read_nat_pmp(answer, self._port)
        finally:
            transport.close()


async def _towards(
    router: tuple[str, int], mailbox: asyncio.DatagramProtocol
) -> tuple[asyncio.DatagramTransport, IPv4Address]:
    """A socket that hears the router alone, and the address at which this machine is seen from there."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: mailbox, remote_addr=router, family=socket.AF_INET
    )
    return transport, IPv4Address(transport.get_extra_info("sockname")[0])


async def _own_address(router: str) -> str:
    transport, own = await _towards((router, GATEWAY_PORT), asyncio.DatagramProtocol())
    transport.close()
    return str(own)


async def _answer(
    transport: asyncio.DatagramTransport,
    heard: asyncio.Queue[bytes],
    request: bytes,
    is_late: Callable[[bytes], bool] = lambda _answer: False,
) -> bytes:
    """Send until there is an answer that is not late; each wait is twice as long as the one before.

    Raises:
        TimeoutError: None came.
        ConnectionRefusedError: Nobody listens there.

    """
    for number in range(PORT_MAPPING_TRIES):
        transport.sendto(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PORT_MAPPING_TRY_S_MIN * 2**number):
                while True:
                    answer = await heard.get()
                    if not answer:
                        raise ConnectionRefusedError
                    if not is_late(answer):
                        return answer
    raise TimeoutError

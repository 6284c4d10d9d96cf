"""Whose connection it is that a proxy brings: the address in its X-Forwarded-For, if the proxy is one of the operator's.

Owns which header counts, and which address in it. From anybody who is no trusted proxy nothing is read: whoever connects
could write there what he likes. The header is judged from its right end, because each proxy appends whom it saw, and what
stands left of the first stranger is that stranger's own text. `Forwarded` (RFC 7239) and X-Real-IP are not read: a proxy that
sets one header hands the others on as the stranger wrote them, and then nobody could say which to believe.
Source: PROTOCOL.md section 6.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from yzdht.errors import WireError
from yzdht.limits import FORWARDED_CHARACTERS_MAX, FORWARDED_HOPS_MAX


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ports import Endpoint


log = logging.getLogger(__name__)

HEADER: Final = "X-Forwarded-For"
DIALLED: Final = "Yz-Dialled"
"""In which a program of this project says what it dialled. Host does not tell it: nginx, left to itself, writes its own there."""

# 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80; what an address is, ip_address() says.
_PLACE: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<v4>[0-9.]{7,15})(?=:|$)|(?P<bare>[0-9A-Fa-f:.]{2,45})$)"
    r"(?::(?P<port>[0-9]{1,5}))?",
)
_PORT_MAX: Final = 65_535


def decode_forwarded(fields: Sequence[str], is_proxy: Callable[[str], bool]) -> tuple[str, int]:
    """Find for whom a trusted proxy speaks: the right-most address that is no trusted proxy's.

    Where all of them are trusted proxies', it is the left-most: one of them has begun this connection for itself.

    Args:
        fields: The values of X-Forwarded-For, in the order in which they came.
        is_proxy: Whether the operator trusts an address.

    Returns:
        An IP address as this machine writes it, and a port; 0 where none is told, which is usual.

    Raises:
        WireError: There is none, there are too many, or what decides is no address of one machine.

    """
    if sum(map(len, fields)) > FORWARDED_CHARACTERS_MAX:
        raise WireError("its X-Forwarded-For is too long")
    hops = [hop for each in fields for hop in each.split(",")]
    if not hops:
        raise WireError("it sends no X-Forwarded-For")
    place = "", 0
    for hop in hops[: -FORWARDED_HOPS_MAX - 1 : -1]:
        place = _decode_place(hop.strip(" \t"))
        if not is_proxy(place[0]):
            return place
    if len(hops) > FORWARDED_HOPS_MAX:
        raise WireError("its X-Forwarded-For names too many proxies")
    return place


def _decode_place(text: str) -> tuple[str, int]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise WireError("its X-Forwarded-For holds something else than addresses")
    try:
        ip = ip_address(match["v6"] or match["v4"] or match["bare"])
    except ValueError:
        raise WireError("its X-Forwarded-For holds something else than addresses") from None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    port = int(match["port"] or 0)
    if port > _PORT_MAX or ip.is_multicast or ip.is_unspecified:
        raise WireError("its X-Forwarded-For holds an address that nobody connects from")
    return str(ip), port


def _is_own_call(host: str, dialled: str) -> bool:
    """Whether a machine dialled itself: at loopback, or at the address that it comes from. Who has a proxy dials the proxy."""
    try:
        asked = urlsplit(f"//{dialled}").hostname or ""
        ip = ip_address("127.0.0.1" if asked == "localhost" else asked)
    except ValueError:  # another name, or nonsense
        return False
    return ip == ip_address(host) or (ip.is_loopback and ip_address(host).is_loopback)


@dataclass(slots=True, eq=False)
class Proxies:
    """The proxies in front of a node, and what is made of their word.

    Attributes:
        is_proxy: Whether the operator trusts an address.

    """

    is_proxy: Callable[[str], bool]
    _is_warned: bool = field(default=False, init=False)

    def behind(self, remote: Endpoint, fields: Sequence[str], dialled: str = "") -> Endpoint:
        """Say where a connection comes from.

        A program of the proxy's own machine says nothing of anybody behind it, and nothing is wrong with that.

        Args:
            remote: The other end of the socket.
            fields: The values of X-Forwarded-For in its request.
            dialled: Value of Yz-Dialled in its request; empty where there is none, as from a browser.

        Returns:
            The forwarded address, marked with the proxy's; `remote` itself if that is no trusted proxy, or if what it says
            cannot be read: then whoever is behind it counts as the proxy does.

        """
        if not self.is_proxy(remote.host):
            return remote
        try:
            host, port = decode_forwarded(fields, self.is_proxy)
        except WireError as error:
            if fields or not _is_own_call(remote.host, dialled):
                self._warn(remote, error)
            return remote
        return remote._replace(host=host, port=port, proxy=remote.host)

    def _warn(self, remote: Endpoint, error: WireError) -> None:
        if not self._is_warned:
            self._is_warned = True
            log.warning("who is behind a proxy is not known proxy=%s reason=%s", remote.host, error)


NO_PROXIES: Final = Proxies(lambda _host: False)

"""Names, addresses and listening sockets, and what their errors mean to a person."""

from __future__ import annotations

import errno
import socket
import ssl
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from yzdht.errors import DialFailed, ListenFailed
from yzdht.ports import Endpoint
from yzdht.transport.names import is_resolver_mute, look_up


if TYPE_CHECKING:
    type_sockaddr = tuple[str, int] | tuple[str, int, int, int]


EVERYWHERE = "::"
EVERYWHERE_IPV4 = "0.0.0.0"  # noqa: S104 - a node is there to be reached


async def resolve(host: str, port: int) -> list[str]:
    """Return the IP addresses of a host, in the system's order of preference; at least one.

    Args:
        host: A name, or an address, which is returned as it is.
        port: Where it will be reached.

    Raises:
        OSError: The name has none.
        UnicodeError: It cannot be a name.

    """
    try:
        return [str(ip_address(host))]
    except ValueError:
        return list(dict.fromkeys(await look_up(host, port)))


def endpoint_of(sockaddr: type_sockaddr, protocol: str) -> Endpoint:
    """Name a socket address; an IPv4 address that came through a dual-stack socket is shown as IPv4."""
    host, port = sockaddr[0], sockaddr[1]
    if host.startswith("::ffff:"):
        mapped = IPv6Address(host).ipv4_mapped
        host = host if mapped is None else str(mapped)
    return Endpoint(host, port, protocol)


async def bind(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a host to one port.

    The protocol is named because asyncio sets TCP_NODELAY only on sockets, and on what they accept, that say they are TCP.

    Args:
        host: IP address or name. `::` takes IPv4 and IPv6, and IPv4 alone where the system has no IPv6.
        port: 0 picks a free one.

    Raises:
        ListenFailed: One of the addresses cannot be bound.

    """
    sockets: list[socket.socket] = []
    try:
        for address in await resolve(host, port):
            sockets.append(bound(address, port))
            sockets[-1].setblocking(False)  # noqa: FBT003 -- the standard library takes it by position
            port = sockets[-1].getsockname()[1]
    except (OSError, OverflowError, UnicodeError) as error:
        for sock in sockets:
            sock.close()
        raise explain_bind(host, port, error) from error
    return sockets


def bound(address: str, port: int) -> socket.socket:
    """Bind one address as a node does.

    Raises:
        OSError: It is taken, forbidden or not this machine's.
        OverflowError: There is no such port.
        UnicodeError: It is no address.

    """
    if address == EVERYWHERE and not _has_ipv6():
        address = EVERYWHERE_IPV4
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == EVERYWHERE:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _has_ipv6() -> bool:
    """Whether the system has it: it may be left out of the kernel, or switched off for all interfaces."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind((EVERYWHERE, 0))
    except OSError:
        return False
    return True


def explain_bind(host: str, port: int, error: OSError | OverflowError | UnicodeError) -> ListenFailed:
    """Say what a failed bind means."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror):
        return ListenFailed(
            f"{place} is not an address", hint="give an IP address and a port from 0 to 65535"
        )
    if error.errno == errno.EADDRINUSE:
        return ListenFailed(f"{place} is in use")
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenFailed(
            f"{host} is not an address of this machine", hint="use ::, or one from `ip address`"
        )
    if error.errno == errno.EACCES:
        return ListenFailed(
            f"{place} needs privileges",
            hint="choose a --port above 1023, and a proxy in front for 80 and 443",
        )
    return ListenFailed(f"cannot listen on {place} ({error.strerror or error})")


def explain_dial(url: str, error: OSError | UnicodeError) -> DialFailed:
    """Say what a failed dial means."""
    match error:
        case TimeoutError():
            return DialFailed(f"{url}: timed out")
        case ConnectionRefusedError():
            return DialFailed(f"{url}: connection refused", hint="check that the node is running there")
        case ssl.SSLCertVerificationError():
            return _explain_certificate(url, error)
        case ssl.SSLError():
            return DialFailed(
                f"{url}: no TLS server there", hint="try the address without TLS, or another port"
            )
        case socket.gaierror() if is_resolver_mute(error):
            return DialFailed(
                f"{url}: unreachable, the resolver gives no answer for its host",
                hint="check this machine's DNS, and the host's name",
            )
        case socket.gaierror() | UnicodeError():
            return DialFailed(f"{url}: unreachable, its host has no address", hint="check the host's name")
        case ConnectionError():
            return DialFailed(f"{url}: closed the connection while it was being opened")
        case _:
            return DialFailed(f"{url}: unreachable ({error.strerror or error})")


def _explain_certificate(url: str, error: ssl.SSLCertVerificationError) -> DialFailed:
    """Say what is wrong with a certificate; the codes are OpenSSL's (X509_V_ERR…)."""
    match error.verify_code:
        case 9:
            why = "its certificate is not valid yet"
            hint = "check this machine's clock"
        case 10:
            why = "its certificate has ended"
            hint = "have whoever runs it renew it; or check this machine's clock"
        case 62 | 64:
            why = "its certificate is not trusted: it is for another name"
            hint = "dial it by a name that the certificate is for"
        case 2 | 18 | 19 | 20 | 21:
            why = "its certificate is not trusted: no authority that is known here signed it"
            hint = "if it is your own, name the authority: --ca FILE"
        case _:
            why = f"its certificate is not trusted ({error.verify_message})"
            hint = "check the name, or trust the authority that signed the certificate"
    return DialFailed(f"{url}: {why}", hint=hint)

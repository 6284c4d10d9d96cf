"""Which addresses a node advertises, and which are on its own networks (PROTOCOL.md section 6)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address
from socket import AddressFamily
from typing import TYPE_CHECKING, NamedTuple

import psutil

from yzdht.errors import UsageError
from yzdht.limits import ADDRESSES_MAX, TLS_NAMES_MAX
from yzdht.wire.address import Address, address_of, is_loopback, is_public, parse_url, scope_of


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class Served(NamedTuple):
    """What a node serves on its port.

    Attributes:
        protocols: At every address, cheapest first.
        tls_names: Names that its own certificate is for: `wss` is served under them.

    """

    protocols: Sequence[str] = ("tcp", "ws")
    tls_names: Sequence[str] = ()


PLAIN = Served()


class Found(NamedTuple):
    """What peers found of a node's addresses.

    Attributes:
        seen: IP addresses and ports at which they reached it, beside those of interfaces.
        is_withdrawn: True for an address at which others do not reach it.

    """

    seen: Sequence[tuple[str, int]] = ()
    is_withdrawn: Callable[[str], bool] = lambda _url: False


NOTHING_FOUND = Found()


def advertised(
    host: str,
    port: int,
    public_addresses: Sequence[str],
    *,
    is_private_allowed: bool,
    served: Served = PLAIN,
    found: Found = NOTHING_FOUND,
) -> tuple[Address, ...]:
    """The addresses of a node, each place in every protocol, the first protocol of all places before the second.

    A wildcard is never advertised: the addresses of the interfaces are. Loopback is advertised only when it is what
    the node listens on, or with `--allow-private`. Link-local addresses are left out: they mean nothing elsewhere.

    Args:
        host: What the node listens on.
        port: Its real port.
        public_addresses: What the operator typed, each as it is meant; replaces everything but what is withdrawn.
        is_private_allowed: `--allow-private`.
        served: In which protocols.
        found: What peers found.

    """
    urls: Sequence[str] = public_addresses
    if not urls:
        places = [*found.seen, *_places(host, port, is_private_allowed=is_private_allowed)]
        names = [f"wss://{name}:{port}" for name in served.tls_names if _is_of_the_world(name)][
            :TLS_NAMES_MAX
        ]
        urls = [*names, *urls_at(places, served.protocols, ADDRESSES_MAX - len(names))]
    kept = dict.fromkeys(address for address in map(address_of, urls) if not found.is_withdrawn(address.url))
    return tuple(kept)[:ADDRESSES_MAX]


def _places(host: str, port: int, *, is_private_allowed: bool) -> list[tuple[str, int]]:
    hosts = interface_hosts(host) if _is_wildcard(host) else [host]
    if _is_wildcard(host) and not is_private_allowed:
        hosts = [h for h in hosts if not ip_address(h).is_loopback]
    return [(h, port) for h in hosts]


def _is_of_the_world(name: str) -> bool:
    """Whether a name of a certificate can mean this node to others; `localhost` and the like mean theirs."""
    try:
        return "." in name and parse_url(f"wss://{name}").ip is None
    except UsageError:
        return False


def urls_at(places: Iterable[tuple[str, int]], protocols: Sequence[str], count: int) -> list[str]:
    """Every place in every protocol, `count` at most; no place without all, for who speaks one must not find none."""
    fit = list(dict.fromkeys(places))[: max(0, count) // len(protocols)]
    return [f"{protocol}://{_bracketed(host)}:{port}" for protocol in protocols for host, port in fit]


def families() -> tuple[bool, bool]:
    """Whether an interface has an IPv4, and an IPv6, address from which others can be dialled."""
    hosts = [host for host in interface_hosts("::") if not is_loopback(host)]
    return any(":" not in host for host in hosts), any(":" in host for host in hosts)


def interface_hosts(wildcard: str) -> list[str]:
    """Addresses of this machine's interfaces that a peer could dial: public ones first, loopback last, IPv4 first."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if _is_dialable(address.address)
    ]
    if wildcard == "0.0.0.0":  # noqa: S104 - compared, not bound
        found = [h for h in found if ":" not in h]
    return sorted(set(found), key=lambda h: (is_loopback(h), not is_public(h), ":" in h, h))


def local_hosts(wildcard: str) -> list[str]:
    """IPv4 addresses of this machine on local networks, at which it listens.

    Args:
        wildcard: What it listens on; one address is that alone.

    """
    hosts = [host for host in interface_hosts("0.0.0.0") if not is_loopback(host) and not is_public(host)]  # noqa: S104 - compared
    return hosts if _is_wildcard(wildcard) else [host for host in hosts if host == wildcard]


def is_on_link(host: str) -> bool:
    """True for the IPv4 address of a host in a block of one of this machine's interfaces, loopback left out."""
    ip = IPv4Address(host)
    blocks = list(_blocks())
    ends = {end for block in blocks for end in (block.network_address, block.broadcast_address)}
    return ip not in ends and any(ip in block for block in blocks)


def _blocks() -> Iterator[IPv4Network]:
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == AddressFamily.AF_INET and one.netmask and not is_loopback(one.address):
                yield IPv4Network(f"{one.address}/{one.netmask}", strict=False)


def _is_dialable(text: str) -> bool:
    try:
        ip = ip_address(text)
    except ValueError:
        return False  # a hardware address, or a scoped one
    return scope_of(text) is not None and not ip.is_link_local


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

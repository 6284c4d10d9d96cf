"""Which addresses a node advertises (PROTOCOL.md section 6)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import psutil

from yzdht.limits import ADDRESSES_MAX
from yzdht.wire.address import Address, address_of, is_loopback, scope_of


if TYPE_CHECKING:
    from collections.abc import Sequence


def advertised(
    host: str, port: int, public_addresses: Sequence[str], *, is_private_allowed: bool
) -> tuple[Address, ...]:
    """The addresses of a node.

    A wildcard is never advertised: the addresses of the interfaces are. Loopback is advertised only when it is what
    the node listens on, or with `--allow-private`. Link-local addresses are left out: they mean nothing elsewhere.

    Args:
        host: What the node listens on.
        port: Its real port.
        public_addresses: What the operator typed; replaces everything else.
        is_private_allowed: `--allow-private`.

    """
    if public_addresses:
        return tuple(address_of(url) for url in public_addresses)[:ADDRESSES_MAX]
    hosts = interface_hosts(host) if _is_wildcard(host) else [host]
    if _is_wildcard(host) and not is_private_allowed:
        hosts = [h for h in hosts if not ip_address(h).is_loopback]
    return tuple(address_of(f"ws://{_bracketed(h)}:{port}") for h in hosts)[:ADDRESSES_MAX]


def families() -> tuple[bool, bool]:
    """Whether an interface has an IPv4, and an IPv6, address from which others can be dialled."""
    hosts = [host for host in interface_hosts("::") if not is_loopback(host)]
    return any(":" not in host for host in hosts), any(":" in host for host in hosts)


def interface_hosts(wildcard: str) -> list[str]:
    """Addresses of this machine's interfaces that a peer could dial, IPv4 first; loopback last."""
    found = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if _is_dialable(address.address)
    ]
    if wildcard == "0.0.0.0":  # noqa: S104 - compared, not bound
        found = [h for h in found if ":" not in h]
    return sorted(set(found), key=lambda h: (ip_address(h).is_loopback, ":" in h, h))


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

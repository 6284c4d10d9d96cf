"""Addresses, identity payloads, the JSON view of a node, and which addresses may be dialled (PROTOCOL.md section 6).

Pure: host names are not resolved here. An address in a contact or an identity record is somebody's claim; it is kept
as text and judged when it is used, so that protocols of newer versions pass through.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from yzdht.errors import UsageError, WireError
from yzdht.ids import NodeId, PublicKey
from yzdht.limits import (
    ADDRESSES_CACHED_MAX,
    ADDRESSES_MAX,
    CLIENT_TYPES_MAX,
    CONTACT_URLS_MAX,
    KEM_KEYS_MAX,
    URL_BYTES_MAX,
)
from yzdht.wire.frame import Caps, capability_names
from yzdht.wire.rpc import decode_body, encode_body
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from collections.abc import Sequence


class NodeType(StrEnum):
    """What a node says it is; gives no privilege."""

    INFRASTRUCTURE = "infrastructure"
    COMMUNITY = "community"
    CLIENT = "client"


class ClientType(StrEnum):
    """Who can use an address."""

    BROWSER = "browser"
    PYTHON = "python"
    NODEJS = "nodejs"


_DEFAULT_PORTS = {"tcp": None, "ws": 80, "wss": 443}
_NAME_LENGTH_MAX = 253
_PORT_MAX = 65_535
_NETLOC = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?))(?::(?P<port>[0-9]{0,5}))?"
)
"""Labels are bounded here: a resolver fails on a longer or an empty one in its own way."""


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed `tcp`, `ws` or `wss` address.

    Attributes:
        protocol: `tcp`, `ws` or `wss`.
        host: IP literal without brackets, or a name, lower case.
        port: 1 to 65535.
        path: `/` unless the url names one; always so for `tcp`.

    """

    protocol: str
    host: str
    port: int
    path: str

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host as an IP address; None for a name."""
        return _ip(self.host)

    def with_host(self, host: str) -> str:
        """The same address at another host, as text."""
        shown = f"[{host}]" if ":" in host else host
        path = "" if self.path == "/" else self.path
        return f"{self.protocol}://{shown}:{self.port}{path}"

    @property
    def text(self) -> str:
        """The address as text, in its normal form."""
        return self.with_host(self.host)


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)  # the same few thousand are named in every answer
def _ip(host: str) -> IPv4Address | IPv6Address | None:
    """The host as an IP address; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)
def parse_url(text: str) -> Url:
    """Parse an address that a channel can be opened to.

    Raises:
        UsageError: Not such an address; the hint shows one.

    """
    if len(text.encode(errors="replace")) > URL_BYTES_MAX:
        raise _refused("the address is longer than 512 bytes")
    # First of all: urlsplit drops spaces and control characters without a word; to a browser a backslash is a slash.
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise _refused("the address holds a character that no address has")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _refused("the address does not parse") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise _refused(f"the address {text[:80]!r} starts with none of tcp://, ws:// and wss://")
    if parts.fragment:
        raise _refused(f"the address {text[:80]!r} is not host and port")
    host, port = _split_netloc(parts.netloc.lower())
    path = parts.path or "/"
    if parts.query:
        path += "?" + parts.query
    if parts.scheme == "tcp" and path != "/":
        raise _refused(f"the address {text[:80]!r} names a path, and tcp has none")
    port = port or _DEFAULT_PORTS[parts.scheme]
    if port is None:
        raise _refused(f"the address {text[:80]!r} names no port")
    url = Url(parts.scheme, host, port, path)
    if len(url.text) > URL_BYTES_MAX:
        raise _refused("the address with its port is longer than 512 bytes")
    return url


def _split_netloc(netloc: str) -> tuple[str, int | None]:
    """Host in its normal form, and the port if there is one."""
    match = _NETLOC.fullmatch(netloc)
    if match is None or len(match["name"] or "") > _NAME_LENGTH_MAX:
        raise _refused(f"the address of {netloc[:80]!r} is not host and port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= _PORT_MAX:
        raise _refused(f"the address of {netloc[:80]!r} names no usable port")
    try:
        return str(IPv6Address(match["ipv6"])) if match["ipv6"] else match["name"], port
    except ValueError:
        raise _refused(f"the address of {netloc[:80]!r} is not host and port") from None


def _refused(why: str) -> UsageError:
    return UsageError(
        why, hint="write it as tcp://host:port or ws://host:port, for example ws://192.0.2.1:8083"
    )


class Address(Struct, frozen=True, array_like=True, gc=False):
    """One way to reach a node."""

    protocol: Annotated[str, Meta(max_length=32)]
    url: Annotated[str, Meta(max_length=URL_BYTES_MAX)]
    client_types: Annotated[
        tuple[Annotated[str, Meta(max_length=16)], ...], Meta(max_length=CLIENT_TYPES_MAX)
    ]


def address_of(url: str) -> Address:
    """The address entry of a url, with the client types that can use it.

    Raises:
        UsageError: The url does not parse.

    """
    parsed = parse_url(url)
    types: tuple[ClientType, ...]
    if parsed.protocol == "wss":
        types = (ClientType.BROWSER, ClientType.PYTHON, ClientType.NODEJS)
    else:
        types = (ClientType.PYTHON, ClientType.NODEJS)  # a page opens no TCP, an https page no ws://
    return Address(parsed.protocol, parsed.text, tuple(t.value for t in types))


class KemEntry(Struct, frozen=True, array_like=True, gc=False):
    """One KEM key that others seal to until `not_after` (unix seconds)."""

    suite: Annotated[int, Meta(ge=0, le=255)]
    public_key: Annotated[PublicKey, Meta(min_length=33, max_length=33)]
    not_after: Annotated[int, Meta(ge=0, le=2**32 - 1)]


class IdentityPayload(Struct, frozen=True, array_like=True, gc=False):
    """Payload of an identity record: who this is, where it is reached, and how to seal to it."""

    node_type: Annotated[str, Meta(max_length=32)]
    addresses: Annotated[tuple[Address, ...], Meta(max_length=ADDRESSES_MAX)]
    caps: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    kem: Annotated[tuple[KemEntry, ...], Meta(min_length=1, max_length=KEM_KEYS_MAX)]


def encode_identity_payload(payload: IdentityPayload) -> bytes:
    """One MessagePack array."""
    return encode_body(payload)


def decode_identity_payload(data: bytes) -> IdentityPayload:
    """Decode the payload of an identity record.

    Raises:
        WireError: It is not such an array, or its node type is unknown.

    """
    payload = decode_body(data, IdentityPayload)
    if payload.node_type not in list(NodeType):
        raise WireError("the identity record names an unknown node type")
    return payload


def json_view(node_id: NodeId, payload: IdentityPayload, seq: int, expires: int) -> dict[str, object]:
    """The one JSON view of a node that HTTP, the command line and logs show."""
    return {
        "nodeId": node_id.hex(),
        "nodeType": payload.node_type,
        "addresses": [
            {"protocol": a.protocol, "url": a.url, "clientTypes": list(a.client_types)}
            for a in payload.addresses
        ],
        "capabilities": capability_names(Caps(payload.caps)),
        "kem": [
            {"suite": k.suite, "publicKey": encode_public_key(k.public_key), "notAfter": k.not_after}
            for k in payload.kem
        ],
        "seq": seq,
        "expires": expires,
    }


# Which addresses may be dialled


class _Anywhere(Enum):
    PUBLIC = "public"
    LOOPBACK = "loopback"


Scope = _Anywhere | IPv4Network | IPv6Network | None
"""Public unicast, loopback, one private block, or None for what is never dialled on hearsay."""

_PRIVATE_BLOCKS_V4 = tuple(
    IPv4Network(block)
    for block in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "192.0.2.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
    )
)
_LINK_LOCAL_V6 = IPv6Network("fe80::/10")
_UNIQUE_LOCAL_V6 = IPv6Network("fc00::/7")
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_DOCUMENTATION_V6 = IPv6Network("3fff::/20")  # younger than the ipaddress module of Python 3.11
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)
def scope_of(host: str) -> Scope:
    """In which scope an IP literal lies; None for names and for what nobody may be sent to.

    IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4) are judged by that address, so that they are no way
    around the rule.
    """
    ip = _judged(host)
    if ip is None:
        return None
    return _scope_v4(ip) if isinstance(ip, IPv4Address) else _scope_v6(ip)


def _judged(host: str) -> IPv4Address | IPv6Address | None:
    """The address that an IP literal stands for, the carried one of IPv6 forms that carry one; None for a name."""
    ip = _ip(host)
    if ip is None or isinstance(ip, IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _NAT64:
        return IPv4Address(ip.packed[12:])
    if ip in _SIX_TO_FOUR:
        return IPv4Address(ip.packed[2:6])
    return ip


def _scope_v4(ip: IPv4Address) -> Scope:
    if ip.is_loopback:
        return _Anywhere.LOOPBACK
    for block in _PRIVATE_BLOCKS_V4:
        if ip in block:
            return block
    return _Anywhere.PUBLIC if ip.is_global and not ip.is_multicast else None


def _scope_v6(ip: IPv6Address) -> Scope:
    if ip.is_loopback:
        return _Anywhere.LOOPBACK
    if ip in _LINK_LOCAL_V6:
        return _LINK_LOCAL_V6
    if ip in _UNIQUE_LOCAL_V6:
        return IPv6Network((ip.packed[:6] + bytes(10), 48))
    # Outside of 2000::/3 is_global also says yes to site-local, IPv4-compatible and unallocated addresses.
    is_unicast = ip in _GLOBAL_UNICAST_V6 and ip not in _DOCUMENTATION_V6
    return _Anywhere.PUBLIC if is_unicast and ip.is_global else None


def is_loopback(host: str) -> bool:
    """True for a loopback IP literal."""
    return scope_of(host) is _Anywhere.LOOPBACK


def is_public(host: str) -> bool:
    """True for a public unicast IP literal."""
    return scope_of(host) is _Anywhere.PUBLIC


def may_dial(host: str, namer_host: str, *, is_private_allowed: bool) -> bool:
    """Whether an address heard from a peer may be dialled.

    Args:
        host: IP literal to dial; names must be resolved first.
        namer_host: IP at which the peer that named it is reached.
        is_private_allowed: `--allow-private`.

    """
    scope = scope_of(host)
    if scope is None:
        return False
    return is_private_allowed or scope is _Anywhere.PUBLIC or scope == scope_of(namer_host)


def fit_urls(addresses: Sequence[Address], client_type: str, near: Scope) -> tuple[str, ...]:
    """Which of a node's addresses to name to somebody: those that its type can use, at most CONTACT_URLS_MAX.

    Args:
        addresses: As the node published them.
        client_type: Who asks.
        near: The scope at which the asker is reached: addresses in it go first, as the asker may dial them; then public
            ones and names; addresses of other private networks last.

    """

    def rank(address: Address) -> int:
        scope = _scope_of_url(address.url)
        return 0 if scope == near else 1 if scope is _Anywhere.PUBLIC else 2

    usable = sorted((a for a in addresses if client_type in a.client_types), key=rank)
    return tuple(a.url for a in usable[:CONTACT_URLS_MAX])


def scopes_of(addresses: Sequence[Address]) -> frozenset[Scope]:
    """The scopes that a node has addresses in."""
    return frozenset(_scope_of_url(a.url) for a in addresses)


def _scope_of_url(text: str) -> Scope:
    """PUBLIC for a name, and for an address of a newer protocol: where these lead is for the asker to say."""
    try:
        url = parse_url(text)
    except UsageError:
        return _Anywhere.PUBLIC
    return _Anywhere.PUBLIC if url.ip is None else scope_of(url.host)


def public_prefix(host: str) -> str | None:
    """The /24 or IPv6 /48 of a public unicast address, for quorum and diversity rules; None for any other."""
    return _prefix(host, 48)


def limit_prefix(host: str) -> str | None:
    """The /24 or IPv6 /56 of a public unicast address, by which handshakes are limited; None for any other."""
    return _prefix(host, 56)


@lru_cache(maxsize=ADDRESSES_CACHED_MAX)
def _prefix(host: str, bits_v6: int) -> str | None:
    """Of a carried IPv4 address its /24: behind NAT64 all of them would share one prefix."""
    ip = _judged(host) if is_public(host) else None
    if ip is None:
        return None
    if isinstance(ip, IPv6Address):
        return str(IPv6Network((ip.packed, bits_v6), strict=False))
    return str(IPv4Network((ip.packed, 24), strict=False))


@dataclass(frozen=True, slots=True)
class Contact:
    """A node as somebody named it: who, where, and what it can do.

    Attributes:
        node_id: Computed from the key.
        public_key: Its identity key.
        urls: Addresses that this process's client type can use; at most CONTACT_URLS_MAX of one that others named, and
            as many as it published of one that is known.
        caps: Capability bits as last heard.
        worked: The address at which it was dialled with success last, perhaps in an earlier run.

    """

    node_id: NodeId
    public_key: PublicKey
    urls: tuple[str, ...]
    caps: Caps
    worked: str | None = None

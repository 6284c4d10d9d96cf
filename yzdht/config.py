"""What a node and a client can be told, checked once, before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.invite import verify_token
from yzdht.crypto.naming import network_id
from yzdht.crypto.primitives import check_public_key
from yzdht.errors import ConfigError, InvalidKey, InviteForged, UsageError, WireError
from yzdht.limits import (
    ADDRESSES_MAX,
    BANDWIDTH_PART_FOR_CARE,
    DIALS_IN_FLIGHT_MAX,
    DIALS_IN_FLIGHT_MAX_COMMUNITY,
    DIALS_PER_S_COMMUNITY,
    MEMORY_STORE_BYTES_MAX,
    QUOTA_PUBLISHER_PART,
    QUOTA_TOTAL_BYTES,
    RECORD_BYTES_MAX,
    REPLICATION_BYTES_PER_S,
    SESSIONS_MAX,
    SESSIONS_MAX_COMMUNITY,
    TRUSTED_BITS_MIN_V4,
    TRUSTED_BITS_MIN_V6,
)
from yzdht.wire.address import NodeType, is_loopback, parse_url, public_prefix
from yzdht.wire.invite_link import InviteLink, decode_invite_link
from yzdht.wire.text import decode_node_id, decode_public_key
from yzdht.wire.token import TokenType


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.ids import NetworkId, NodeId, PublicKey


DEFAULT_PORT = 8083
DEFAULT_HOST = "::"  # IPv4 too
_PORT_MAX = 65_535
_BOUND_MAX = 2**62
"""What SQLite's and C's integers hold."""

_PSK_DIGITS = 64


class OwnKey(StrEnum):
    """In place of a key."""

    SELF = "self"


class Bootstrap(NamedTuple):
    """One address to join through.

    Attributes:
        url: Where.
        node_id: Who must answer there; None takes any.

    """

    url: str
    node_id: NodeId | None


def parse_bootstrap(text: str) -> Bootstrap:
    """Parse `URL[#NODE_ID]`.

    Raises:
        ConfigError: The url or the node id does not parse.

    """
    url, mark, tail = text.partition("#")
    try:
        parsed = parse_url(url)
        node_id = decode_node_id(tail) if mark else None
    except UsageError as error:
        raise ConfigError(str(error), hint=error.hint) from None
    except WireError as error:
        raise ConfigError(str(error), hint="write it as ws://host:port#<node id>") from None
    return Bootstrap(parsed.text, node_id)


def parse_network_key(text: str) -> bytes:
    """The 32 bytes of a network key file: 64 hexadecimal digits and an optional newline.

    Raises:
        ConfigError: The text is anything else.

    """
    digits = text.removesuffix("\n")
    is_hex = len(digits) == _PSK_DIGITS and all(c in "0123456789abcdefABCDEF" for c in digits)
    if not is_hex:
        raise ConfigError(
            "a network key file holds 64 hexadecimal digits",
            hint="make one with: openssl rand -hex 32 > FILE; chmod 600 FILE",
        )
    return bytes.fromhex(digits)


def parse_prefix(text: str) -> IPv4Network | IPv6Network:
    """Parse a CIDR such as `203.0.113.0/24`; an address alone is the block of that one address.

    Raises:
        ConfigError: It does not parse, or has bits set behind its length.

    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(
            f"the prefix {text[:80]!r} is no block of addresses",
            hint="write it as 203.0.113.0/24 or 2001:db8::/48",
        ) from None
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise ConfigError(
            f"the prefix {text[:80]!r} has bits set behind its length", hint=f"write it as {network}"
        )
    return network


class TooWide(NamedTuple):
    """A block that somebody trusts and that nobody has for himself, such as `0.0.0.0/0`.

    Attributes:
        option: Which one names it.
        block: It.
        why: What strangers in it can do.

    """

    option: str
    block: IPv4Network | IPv6Network
    why: str


def _is_too_wide(block: IPv4Network | IPv6Network) -> bool:
    return block.prefixlen < (TRUSTED_BITS_MIN_V4 if block.version == 4 else TRUSTED_BITS_MIN_V6)  # noqa: PLR2004 - IPv4


@dataclass(frozen=True, slots=True)
class TrustedPrefixes:
    """Blocks of addresses that the operator trusts: peers there are exempt from the diversity limits of the table.

    Attributes:
        blocks: In the order given.

    """

    blocks: tuple[IPv4Network | IPv6Network, ...] = ()

    def covers(self, prefix: str) -> bool:
        """True if a public prefix, as `wire.address.public_prefix` makes it, lies in a block or holds one.

        It holds one where an operator named a single address: a fleet shares its prefix (PROTOCOL.md section 9).
        """
        if not self.blocks:
            return False
        network = ip_network(prefix)
        return any(network.overlaps(block) for block in self.blocks)


def parse_issuer(text: str) -> PublicKey | OwnKey:
    """The key that closes a network: 44 characters of base64url, or `self` for the node's own.

    Raises:
        ConfigError: It is anything else.

    """
    if text == OwnKey.SELF:
        return OwnKey.SELF
    try:
        return check_public_key(decode_public_key(text))
    except (WireError, InvalidKey) as error:
        raise ConfigError(
            f"{text[:80]!r}: {error}",
            hint="copy the key of whoever issues the invites, as `yz id show` prints it; or write self",
        ) from None


def parse_join(text: str) -> InviteLink:
    """The link of an invite.

    Raises:
        ConfigError: It is none.

    """
    try:
        return decode_invite_link(text.strip())
    except UsageError as error:  # it repeats nothing of the link
        raise ConfigError(str(error), hint=error.hint) from None


def parse_node_type(text: str) -> NodeType:
    """What a node may say that it is: `community` or `infrastructure`.

    Raises:
        ConfigError: Anything else.

    """
    if text not in (NodeType.COMMUNITY, NodeType.INFRASTRUCTURE):
        raise ConfigError(f"{text[:40]!r} is no type of node", hint="use community or infrastructure")
    return NodeType(text)


def check_advertised(url: str) -> None:
    """Refuse an address that nobody could dial.

    Raises:
        UsageError: It does not parse, or is a wildcard.

    """
    ip = parse_url(url).ip
    if ip is not None and ip.is_unspecified:
        raise UsageError(f"nobody can dial {url}", hint="advertise an address of this machine")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node may take of its machine and of the line it is on.

    Attributes:
        sessions_max: Sessions at a time, clients included, 1 or more.
        dials_in_flight_max: Dials at a time, 1 or more.
        storage_bytes_max: Bytes of the bodies of all records that strangers store.
        bandwidth_bytes_per_s: Bytes per second in each direction; None for no bound.
        trusted_proxies: Proxies in front of it: whoever connects from there is whom X-Forwarded-For names, or stands for many.
        dials_per_s: New dials per second on average; None for no bound.

    """

    sessions_max: int
    dials_in_flight_max: int
    storage_bytes_max: int
    bandwidth_bytes_per_s: int | None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    dials_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """What TLS stands on; of a node.

    Attributes:
        certificate: File of the certificate that it shows, its chain behind it; None to serve no TLS.
        key: File of its private key.
        ca: File of the authorities that count when wss is dialled; None for the system's.

    Raises:
        ConfigError: Only one of certificate and key is there.

    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError(
                "a certificate is of no use without its key, nor a key without its certificate",
                hint="name both: --tls-cert FILE --tls-key FILE",
            )


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """How a node runs.

    Attributes:
        port: 0 to 65535; 0 picks a free one.
        host: Address to listen on.
        bootstrap: Addresses to join through, `URL[#NODE_ID]`.
        data: Folder of the node's key, records and state; None keeps everything in memory.
        network: Name of the network.
        network_key: 32 bytes that every node and client of a private network holds; None for an open one.
        is_private_allowed: Advertise loopback and dial private addresses that others name.
        is_mapping_ports: Ask the router to forward the port where nobody reaches it else.
        is_on_lan: Announced on the local network, where it meets others.
        public_addresses: Advertised instead of the interfaces' addresses.
        trusted_prefixes: CIDRs whose nodes are exempt from the diversity limits of the table.
        passphrase: Opens the node's key.
        type: What it says it is; decides only how much it takes.
        storage_bytes_max: Bytes that strangers may store, 1 or more; None for the usual, less without a folder.
        sessions_max: 1 or more; None for what its type has.
        bandwidth_bytes_per_s: In each direction, 1 or more; None for no bound.
        trusted_proxies: CIDRs of proxies in front of this node.
        invite_only: Whoever has no invite by this key is not served; None for an open network, that of `join`, or the one
            that this node has joined before.
        tls: Its certificate, and whose it trusts.
        join: The invite by which this node becomes a member, if it is none yet.

    """

    port: int = DEFAULT_PORT
    host: str = DEFAULT_HOST
    bootstrap: tuple[str, ...] = ()
    data: Path | None = None
    network: str = "main"
    network_key: bytes | None = field(default=None, repr=False)
    is_private_allowed: bool = False
    is_mapping_ports: bool = True
    is_on_lan: bool = False
    public_addresses: tuple[str, ...] = ()
    trusted_prefixes: tuple[str, ...] = ()
    passphrase: str | None = field(default=None, repr=False)
    type: NodeType = NodeType.COMMUNITY
    storage_bytes_max: int | None = None
    sessions_max: int | None = None
    bandwidth_bytes_per_s: int | None = None
    trusted_proxies: tuple[str, ...] = ()
    invite_only: PublicKey | OwnKey | None = None
    tls: Tls = field(default_factory=Tls)
    join: InviteLink | None = field(default=None, repr=False)

    @property
    def may_map_ports(self) -> bool:
        """True for a node at home: who runs infrastructure, or names addresses, has seen to it."""
        is_at_home = self.type is NodeType.COMMUNITY and not self.public_addresses
        return self.is_mapping_ports and is_at_home and not is_loopback(self.host)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_MAX:
            raise ConfigError(f"the port {self.port} is not between 0 and 65535", hint="try --port 8083")
        if len(self.public_addresses) > ADDRESSES_MAX:
            raise ConfigError(f"a node advertises at most {ADDRESSES_MAX} addresses")
        if self.network_key is not None and len(self.network_key) != _PSK_DIGITS // 2:
            raise ConfigError("a network key has 32 bytes")
        parse_node_type(self.type)
        self._check_bounds()
        try:
            network_id(self.network)
            for url in self.public_addresses:
                check_advertised(url)
        except UsageError as error:
            raise ConfigError(str(error), hint=error.hint) from None
        self.bootstraps()
        self._check_invite()
        self.trusted()
        self.capacity  # noqa: B018 - raises where a proxy does not parse

    def _check_invite(self) -> None:
        if self.join is None:
            return
        token = self.join.token
        if token.type is not TokenType.NETWORK:
            raise ConfigError("this invite is to a group, not to a network", hint="use it with: yz join LINK")
        if self.invite_only not in (None, token.issuer):
            raise ConfigError(
                "--join and --invite-only name two keys",
                hint="leave --invite-only out: the link says whose it is",
            )
        try:
            verify_token(token, self.network_id)
        except InviteForged as error:
            raise ConfigError(str(error), hint=error.hint) from None
        if not self.bootstrap:
            raise ConfigError(
                "an invite is redeemed at a node of its network",
                hint="name one: --bootstrap URL, best the issuer's",
            )

    def _check_bounds(self) -> None:
        bounds = {
            "sessions": self.sessions_max,
            "bytes stored": self.storage_bytes_max,
            "bytes a second": self.bandwidth_bytes_per_s,
        }
        for what, most in bounds.items():
            if most is not None and not 1 <= most <= _BOUND_MAX:
                raise ConfigError(f"the most {what} cannot be {most}", hint="name 1 or more, or leave it out")

    @property
    def network_id(self) -> NetworkId:
        """NET of the network."""
        return network_id(self.network)

    @property
    def capacity(self) -> Capacity:
        """What it may take: what was said, else what its type has."""
        is_community = self.type is NodeType.COMMUNITY
        usual_sessions = SESSIONS_MAX_COMMUNITY if is_community else SESSIONS_MAX
        usual_bytes = MEMORY_STORE_BYTES_MAX if self.data is None else QUOTA_TOTAL_BYTES
        return Capacity(
            sessions_max=usual_sessions if self.sessions_max is None else self.sessions_max,
            dials_in_flight_max=DIALS_IN_FLIGHT_MAX_COMMUNITY if is_community else DIALS_IN_FLIGHT_MAX,
            storage_bytes_max=usual_bytes if self.storage_bytes_max is None else self.storage_bytes_max,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            trusted_proxies=tuple(parse_prefix(text) for text in self.trusted_proxies),
            dials_per_s=DIALS_PER_S_COMMUNITY if is_community else None,
        )

    def bootstraps(self) -> list[Bootstrap]:
        """The parsed bootstrap addresses."""
        return [parse_bootstrap(text) for text in self.bootstrap]

    def bootstrap_names(self) -> frozenset[str]:
        """The bootstrap addresses that are given by name: nobody knows their prefixes before they are dialled."""
        return frozenset(b.url for b in self.bootstraps() if parse_url(b.url).ip is None)

    def care_bytes_per_s(self) -> float:
        """What republish and hand-over may take of the line."""
        line = self.bandwidth_bytes_per_s
        usual = float(REPLICATION_BYTES_PER_S)
        return usual if line is None else min(usual, line / BANDWIDTH_PART_FOR_CARE)

    def trusted(self) -> TrustedPrefixes:
        """The trusted prefixes, and those of the bootstrap addresses that are public IP literals."""
        typed = (public_prefix(parse_url(b.url).host) for b in self.bootstraps())
        texts = (*self.trusted_prefixes, *filter(None, typed))
        return TrustedPrefixes(tuple(parse_prefix(text) for text in texts))

    def too_wide(self) -> list[TooWide]:
        """Trusted blocks where to trust is to have no limits."""
        crowd = "one stranger there can take every place of the routing table"
        flood = "strangers there are not limited by where they come from"
        named = [TooWide("--trusted-prefix", block, crowd) for block in self.trusted().blocks]
        named += [TooWide("--trusted-proxy", block, flood) for block in self.capacity.trusted_proxies]
        return [one for one in named if _is_too_wide(one.block)]

    def too_little(self) -> list[tuple[str, int, str]]:
        """Bounds that leave no room for the largest record, as of a number without its unit: option, bound, why."""
        storage, line = self.storage_bytes_max, self.bandwidth_bytes_per_s
        found: list[tuple[str, int, str]] = []
        if storage is not None and storage < QUOTA_PUBLISHER_PART * RECORD_BYTES_MAX:
            found.append(
                ("--max-storage", storage, "a publisher's part of it does not hold the largest value")
            )
        if line is not None and line < RECORD_BYTES_MAX:
            found.append(("--max-bandwidth", line, "the largest value takes longer than a second"))
        return found

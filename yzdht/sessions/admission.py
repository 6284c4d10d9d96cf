"""Who may come in: what strangers can make this process compute before they have proved anything.

PROTOCOL.md sections 3 and 16. There are three doors, one behind the other. The first is here, the others are in places.py:

* A link: bounds of half-open handshakes and of handshakes per second, per public prefix and in all. Addresses of one
  prefix share its bucket fairly, prefixes (and addresses that are not public) the one of everybody. Where all places
  for handshakes are taken, who has most of them gives way to who has fewer (half_open.py). What a prefix may begin
  per second is counted when a connection is made, because its HTTP request costs something too; all else, when it
  is a link: who says nothing must take no handshake from everybody.
* A proved peer: handshakes per second of one identity.
* A session: `sessions_max` in all.

Private and loopback addresses, and those of trusted proxies, stand for any number of people: there is no bound per prefix
for them, and each counts as one group where places are shared.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    DIALS_IN_FLIGHT_MAX,
    HALF_OPEN_MAX,
    HANDSHAKE_BURST,
    HANDSHAKE_BURST_PER_PEER,
    HANDSHAKE_BURST_PER_PREFIX,
    HANDSHAKES_PER_PEER_PER_S,
    HANDSHAKES_PER_PREFIX_PER_S,
    HANDSHAKES_PER_S,
    HELD_BYTES_MAX,
    LINKS_WAITING_MAX,
    PREFIXES_TRACKED_MAX,
    SESSIONS_MAX,
    SESSIONS_RESERVED_PART,
    TLS_HANDSHAKE_BURST,
    TLS_HANDSHAKES_PER_S,
)
from yzdht.rpc.bucket import FairBuckets, Rate
from yzdht.sessions.half_open import HalfOpen
from yzdht.wire.address import is_public, limit_prefix


if TYPE_CHECKING:
    from yzdht.config import Capacity
    from yzdht.ports import Endpoint
    from yzdht.sessions.connection import Connection


_PER_PREFIX = Rate(HANDSHAKES_PER_PREFIX_PER_S, HANDSHAKE_BURST_PER_PREFIX)
_IN_ALL = Rate(HANDSHAKES_PER_S, HANDSHAKE_BURST)
_TLS_IN_ALL = Rate(TLS_HANDSHAKES_PER_S, TLS_HANDSHAKE_BURST)
_PER_PEER = Rate(HANDSHAKES_PER_PEER_PER_S, HANDSHAKE_BURST_PER_PEER)


@dataclass(frozen=True, slots=True)
class SessionBounds:
    """How much the sessions of one process may take.

    Attributes:
        sessions_max: Sessions at a time, 1 or more.
        dials_in_flight_max: Dials at a time, 1 or more.
        dials_per_s: New dials per second on average; None for no bound.
        bandwidth_bytes_per_s: Bytes per second in each direction; None for no bound.
        trusted_proxies: Whoever connects from there stands for others.
        held_bytes_max: Bytes held for peers of all sessions together.

    """

    sessions_max: int = SESSIONS_MAX
    dials_in_flight_max: int = DIALS_IN_FLIGHT_MAX
    dials_per_s: float | None = None
    bandwidth_bytes_per_s: int | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    held_bytes_max: int = HELD_BYTES_MAX

    @classmethod
    def of(cls, capacity: Capacity) -> SessionBounds:
        """What an operator chose."""
        return cls(
            capacity.sessions_max,
            capacity.dials_in_flight_max,
            capacity.dials_per_s,
            capacity.bandwidth_bytes_per_s,
            capacity.trusted_proxies,
        )

    @property
    def strangers_max(self) -> int:
        """Sessions with nodes outside the table, and with clients."""
        return self.sessions_max - self.sessions_max // SESSIONS_RESERVED_PART

    @property
    def links_waiting_max(self) -> int:
        """Links whose handshake waits for a turn."""
        return min(LINKS_WAITING_MAX, self.sessions_max)

    @property
    def links_max(self) -> int:
        """Links of every state: open, half open, waiting, and those that are closing."""
        return self.sessions_max + HALF_OPEN_MAX + self.links_waiting_max

    def prefix_of(self, host: str) -> str | None:
        """The public prefix as which a host is counted; None if it is not."""
        prefix = limit_prefix(host)
        return None if prefix is None or self.is_proxy(host) else prefix

    def is_proxy(self, host: str) -> bool:
        """True for an address of a trusted proxy, public or not."""
        if not self.trusted_proxies:
            return False
        try:
            ip = ip_address(host.partition("%")[0])
        except ValueError:  # a name of the memory transport
            return False
        return any(ip in block for block in self.trusted_proxies)

    def hides(self, remote: Endpoint, *, is_private_allowed: bool = False) -> bool:
        """True for whoever came through a trusted proxy that does not say from where.

        Nor does one that names a private address say much: it may be that of a gateway in front of it, behind which anybody
        is, as with Docker's own proxy. With `--allow-private` it is believed.
        """
        if remote.proxy:
            return not is_private_allowed and not is_public(remote.host)
        return self.is_proxy(remote.host)


class Turn(Enum):
    """What happens to a link that wants in."""

    NOW = auto()
    LATER = auto()


class Refusal(NamedTuple):
    """Why one does not get in: the counter and its label."""

    counter: str
    why: str


class Doorway:
    """Links whose peer is not proved yet.

    Args:
        bounds: How many.

    """

    def __init__(self, bounds: SessionBounds) -> None:
        self._bounds = bounds
        self._half_open = HalfOpen(bounds.prefix_of)
        self._waiting: deque[Connection] = deque()
        self._prefixes = FairBuckets(PREFIXES_TRACKED_MAX)
        self._everybody = FairBuckets(PREFIXES_TRACKED_MAX)
        self._everybody_with_tls = FairBuckets(PREFIXES_TRACKED_MAX)

    @property
    def half_open(self) -> int:
        """Handshakes under way."""
        return len(self._half_open)

    def admit(self, host: str, mono: float) -> Refusal | None:
        """Say whether a connection from a host may ask to become a link; it is counted for its prefix.

        A trusted proxy's is counted for no prefix; once its request is read, the address that it forwards is asked about.
        """
        prefix = self._bounds.prefix_of(host)
        if prefix is None or self._prefixes.take(prefix, host, 1, _PER_PREFIX, mono) == 0:
            return None
        return Refusal("links_refused", "handshake_rate")

    def admit_tls(self, host: str, mono: float, cost: float = 1.0) -> Refusal | None:
        """Say whether a connection that was admitted may begin TLS, before anything was computed for it.

        What a prefix may begin was counted when the connection was made, and it begins TLS once. What all may has a bound
        of its own: a flood of ClientHellos takes no handshake of a session from those who come without TLS.

        Args:
            host: Where it comes from.
            mono: The present, monotonic seconds.
            cost: As how many one counts, which is the key's business, 1.0 to TLS_HANDSHAKE_BURST / 2.

        """
        member = self._bounds.prefix_of(host) or host
        if self._everybody_with_tls.take("", member, cost, _TLS_IN_ALL, mono) == 0:
            return None
        return Refusal("rate_limited", "tls_handshakes")

    def knock(self, host: str, links: int, mono: float) -> Turn | Refusal | Connection:
        """Say whether a link that was admitted gets a handshake, before anything was computed for it.

        Args:
            host: Where it comes from.
            links: How many there are.
            mono: The present, monotonic seconds.

        Returns:
            A Connection if it begins now in the place of that one, which is out and has to be cut off.

        """
        prefix = self._bounds.prefix_of(host)
        if links >= self._bounds.links_max:
            return Refusal("links_refused", "sessions")
        gives_way: Connection | None = None
        if prefix is not None and self._half_open.is_crowded(prefix):
            gives_way = self._half_open.neighbour(prefix, host)
            if gives_way is None:
                return Refusal("links_refused", "half_open_prefix")
        if self._everybody.take("", prefix or host, 1, _IN_ALL, mono) > 0:
            return Refusal("rate_limited", "handshakes")
        if gives_way is None and not self._half_open.is_full:
            return Turn.NOW
        return self._take_place(gives_way or self._half_open.other(host))

    def _take_place(self, gives_way: Connection | None) -> Turn | Refusal | Connection:
        if gives_way is not None:
            self._half_open.leave(gives_way)
            return gives_way
        if len(self._waiting) >= self._bounds.links_waiting_max:
            return Refusal("links_refused", "half_open")
        return Turn.LATER

    def enter(self, connection: Connection) -> None:
        """A handshake begins."""
        self._half_open.enter(connection)

    def wait(self, connection: Connection) -> None:
        """A link waits for its turn."""
        self._waiting.append(connection)

    def leave(self, connection: Connection) -> None:
        """A handshake is done, or given up; a no-op for others."""
        self._half_open.leave(connection)

    def next(self) -> tuple[Connection, bool] | None:
        """Whose turn it is, and whether its prefix may have one more; None if nobody waits or there is no room."""
        if not self._waiting or self._half_open.is_full:
            return None
        connection = self._waiting.popleft()
        prefix = self._bounds.prefix_of(connection.link.remote.host)
        return connection, prefix is None or not self._half_open.is_crowded(prefix)

"""Who may come in: what strangers can make this process compute and hold before, and after, they have proved anything.

PROTOCOL.md sections 3 and 16. Three doors, one behind the other:

* A link: bounds of half-open handshakes and of handshakes per second, per public prefix and in all. Addresses of one
  prefix share its bucket fairly, prefixes (and addresses that are not public) the one of everybody.
* A proved peer: handshakes per second of one identity.
* A session: `sessions_max` in all. Of these one in SESSIONS_RESERVED_PART is for nodes of the routing table and for own
  dials. Where no place is left for a stranger, one comes in only if its prefix has fewer sessions than another by two
  or more: then the youngest of the largest goes, of the identity there that has most. So a crowd at one address
  holds all places only until others want them. For a node of the table, or an own dial, some stranger makes place,
  or at last the session that has been idle longest.

Private and loopback addresses, and those of trusted proxies, stand for any number of people: there is no bound per prefix
for them, and each counts as one group where places are shared.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import (
    CLIENT_SESSIONS_PER_NODE_ID_MAX,
    DIALS_IN_FLIGHT_MAX,
    HALF_OPEN_MAX,
    HALF_OPEN_PER_PREFIX_MAX,
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
    STRANGERS_COUNTED_EVERY_S,
)
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.wire.address import limit_prefix


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.config import Capacity
    from yzdht.ids import NodeId
    from yzdht.sessions.connection import Connection


_PER_PREFIX = Rate(HANDSHAKES_PER_PREFIX_PER_S, HANDSHAKE_BURST_PER_PREFIX)
_IN_ALL = Rate(HANDSHAKES_PER_S, HANDSHAKE_BURST)
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
        if prefix is None or not self.trusted_proxies:
            return prefix
        ip = ip_address(host.partition("%")[0])
        return None if any(ip in block for block in self.trusted_proxies) else prefix


class Turn(Enum):
    """What happens to a link that wants in."""

    NOW = auto()
    LATER = auto()


class Refusal(NamedTuple):
    """Why one does not get in: the counter and its label."""

    counter: str
    why: str


class Displaced(NamedTuple):
    """Who makes place.

    Attributes:
        connection: Whose session ends.
        is_stranger: True if it should not come back; who is in the table, or was dialled, may be wanted again.

    """

    connection: Connection
    is_stranger: bool


class Doorway:
    """Links whose peer is not proved yet.

    Args:
        bounds: How many.

    """

    def __init__(self, bounds: SessionBounds) -> None:
        self._bounds = bounds
        self._half_open: dict[Connection, str | None] = {}
        self._by_prefix: Counter[str] = Counter()
        self._waiting: deque[Connection] = deque()
        self._prefixes = FairBuckets(PREFIXES_TRACKED_MAX)
        self._everybody = FairBuckets(PREFIXES_TRACKED_MAX)

    @property
    def half_open(self) -> int:
        """Handshakes under way."""
        return len(self._half_open)

    def knock(self, host: str, links: int, mono: float) -> Turn | Refusal:
        """Say whether a link from a host gets a handshake, before anything was computed for it.

        Args:
            host: Where it comes from.
            links: How many there are.
            mono: The present, monotonic seconds.

        """
        prefix = self._bounds.prefix_of(host)
        if links >= self._bounds.links_max:
            return Refusal("links_refused", "sessions")
        if prefix is not None:
            if self._is_crowded(prefix):
                return Refusal("links_refused", "half_open_prefix")
            if self._prefixes.take(prefix, host, 1, _PER_PREFIX, mono) > 0:
                return Refusal("links_refused", "handshake_rate")
        if self._everybody.take("", prefix or host, 1, _IN_ALL, mono) > 0:
            return Refusal("rate_limited", "handshakes")
        if self.half_open < HALF_OPEN_MAX:
            return Turn.NOW
        if len(self._waiting) >= self._bounds.links_waiting_max:
            return Refusal("links_refused", "half_open")
        return Turn.LATER

    def enter(self, connection: Connection) -> None:
        """A handshake begins."""
        prefix = self._bounds.prefix_of(connection.link.remote.host)
        self._half_open[connection] = prefix
        if prefix is not None:
            self._by_prefix[prefix] += 1

    def wait(self, connection: Connection) -> None:
        """A link waits for its turn."""
        self._waiting.append(connection)

    def leave(self, connection: Connection) -> None:
        """A handshake is done, or given up; a no-op for others."""
        prefix = self._half_open.pop(connection, None)
        if prefix is not None:
            self._by_prefix[prefix] -= 1
            if not self._by_prefix[prefix]:
                del self._by_prefix[prefix]

    def next(self) -> tuple[Connection, bool] | None:
        """Whose turn it is, and whether its prefix may have one more; None if nobody waits or there is no room."""
        if not self._waiting or self.half_open >= HALF_OPEN_MAX:
            return None
        connection = self._waiting.popleft()
        prefix = self._bounds.prefix_of(connection.link.remote.host)
        return connection, prefix is None or not self._is_crowded(prefix)

    def _is_crowded(self, prefix: str) -> bool:
        return self._by_prefix[prefix] >= HALF_OPEN_PER_PREFIX_MAX


class Places:
    """The sessions whose peer is proved, and who gets one.

    Args:
        bounds: How many.
        is_known: True for a node of the routing table.

    """

    def __init__(self, bounds: SessionBounds, is_known: Callable[[NodeId], bool]) -> None:
        self._bounds = bounds
        self._is_known = is_known
        self._open: dict[Connection, None] = {}  # in the order of their age
        self._groups: dict[str, dict[Connection, None]] = {}  # strangers, by where they are
        self._strangers = 0
        self._counted_at = float("-inf")
        self._clients: Counter[NodeId] = Counter()
        self._handshakes = Buckets(PREFIXES_TRACKED_MAX)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def clients(self) -> int:
        """Sessions of clients."""
        return self._clients.total()

    def enter(self, connection: Connection, *, is_client: bool, mono: float) -> Refusal | Displaced | None:
        """Give a proved peer a place, which is its own until `leave`.

        Returns:
            A Refusal if there is none; else who has to go for it, mostly nobody.

        """
        refusal = self.greet(connection, mono)
        if refusal is not None:
            return refusal
        node_id = connection.node_id
        assert node_id is not None
        if is_client and self._clients[node_id] >= CLIENT_SESSIONS_PER_NODE_ID_MAX:
            return Refusal("links_refused", "client_sessions")
        displaced: Displaced | None = None
        if self._is_stranger(connection):
            if self._is_full_for_strangers(mono):
                displaced = self._make_place(self._group_of(connection))
                if displaced is None:
                    return Refusal("links_refused", "sessions")
            self._add_stranger(connection)
        elif len(self._open) >= self._bounds.sessions_max:
            displaced = self._least_used(self._open)
        self._open[connection] = None
        if is_client:
            self._clients[node_id] += 1
        return displaced

    def greet(self, connection: Connection, mono: float) -> Refusal | None:
        """Count a handshake of a peer that dialled; a Refusal if there were too many of it lately."""
        if connection.is_initiator or not self._handshakes.take(connection.node_id, 1, _PER_PEER, mono):
            return None
        return Refusal("rate_limited", "handshakes_per_peer")

    def replace(self, old: Connection, new: Connection) -> None:
        """A node is served on another session from now on: that has its place."""
        if old in self._open:
            self.leave(old, is_client=False)
            self._open[new] = None
            if self._is_stranger(new):
                self._add_stranger(new)

    def leave(self, connection: Connection, *, is_client: bool) -> None:
        """A session ended; a no-op for one without a place."""
        if connection not in self._open:
            return
        del self._open[connection]
        self._forget_stranger(connection)
        if is_client:
            node_id = connection.node_id
            assert node_id is not None
            self._clients[node_id] -= 1
            if not self._clients[node_id]:
                del self._clients[node_id]

    def _is_stranger(self, connection: Connection) -> bool:
        """True for who came by itself and is not in the table."""
        return not connection.is_initiator and self._is_of_nobody(connection)

    def _is_of_nobody(self, connection: Connection) -> bool:
        node_id = connection.node_id
        return node_id is None or not self._is_known(node_id)

    def _group_of(self, connection: Connection) -> str:
        host = connection.link.remote.host
        return self._bounds.prefix_of(host) or host

    def _add_stranger(self, connection: Connection) -> None:
        self._groups.setdefault(self._group_of(connection), {})[connection] = None
        self._strangers += 1

    def _forget_stranger(self, connection: Connection) -> None:
        group = self._group_of(connection)
        members = self._groups.get(group)
        if members is not None and connection in members:
            del members[connection]
            self._strangers -= 1
            if not members:
                del self._groups[group]

    def _is_full_for_strangers(self, mono: float) -> bool:
        if not self._lacks_place():
            return False
        if mono >= self._counted_at + STRANGERS_COUNTED_EVERY_S:  # who was one may be in the table now
            self._counted_at = mono
            self._groups, self._strangers = {}, 0
            for connection in self._open:
                if self._is_stranger(connection):
                    self._add_stranger(connection)
        return self._lacks_place()

    def _lacks_place(self) -> bool:
        bounds = self._bounds
        return len(self._open) >= bounds.sessions_max or self._strangers >= bounds.strangers_max

    def _make_place(self, newcomer: str) -> Displaced | None:
        """Who goes for a stranger: while they have not all they may, somebody whom this end dialled and needs no more."""
        if self._strangers < self._bounds.strangers_max:
            dialled = [c for c in self._open if c.is_initiator and c.is_idle and self._is_of_nobody(c)]
            if dialled:
                return self._least_used(dialled)
        size, largest = max(
            ((len(members), group) for group, members in self._groups.items()), default=(0, "")
        )
        if size < len(self._groups.get(newcomer, ())) + 2:
            return None
        members = [c for c in self._groups[largest] if self._is_of_nobody(c)]
        held = Counter(c.node_id for c in members)
        most = max(held.values(), default=0)
        youngest = next((c for c in reversed(members) if held[c.node_id] == most), None)
        return None if youngest is None else Displaced(youngest, is_stranger=True)

    def _least_used(self, candidates: Iterable[Connection]) -> Displaced | None:
        """Who goes for a node of the table or an own dial: the stranger that has been idle longest, else whoever has."""

        def order(connection: Connection) -> tuple[bool, bool, float]:
            return not self._is_of_nobody(connection), not connection.is_idle, connection.used_at

        least = min(candidates, key=order, default=None)
        return None if least is None else Displaced(least, is_stranger=self._is_stranger(least))

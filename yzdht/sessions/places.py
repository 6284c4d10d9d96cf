"""Who has a session, and who makes place for another (PROTOCOL.md section 3).

Of `sessions_max` places one in SESSIONS_RESERVED_PART is for nodes of the routing table and for own dials; strangers, that
is who came by itself and is not in the table, may have the others. A node that knows more peers than it has places is the
usual case: its sessions take turns. One that nobody has used for SESSION_SPARE_AFTER_S is parted from, which says nothing
against the peer: either end dials again when it wants something.

For a stranger a place is made, in this order:

* while strangers have less than they may: by a session that is spare, of strangers first, or at least idle;
* where one crowd, that is one public prefix, has a large part of their places: by the youngest of it, of the identity there
  that has most, if the newcomer's prefix has fewer by two or more;
* by a stranger's spare session, in the newcomer's own prefix or in one that has more;
* by any larger crowd, as above.

A crowd at one address so holds all places only until others want them. Clients are not spare: they came because they want
something, and would come again at once. For a node of the table, or an own dial, any spare session makes place, or at last
the one that has been idle longest.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from yzdht.limits import (
    CLIENT_SESSIONS_PER_NODE_ID_MAX,
    HANDSHAKE_BURST_PER_PEER,
    HANDSHAKES_PER_PEER_PER_S,
    PREFIXES_TRACKED_MAX,
    SESSION_SPARE_AFTER_S,
    SESSIONS_CROWD_PART,
    SPARE_COUNTED_EVERY_S,
    STRANGERS_COUNTED_EVERY_S,
)
from yzdht.rpc.bucket import Buckets, Rate
from yzdht.sessions.admission import Refusal


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.sessions.admission import SessionBounds
    from yzdht.sessions.connection import Connection


_PER_PEER = Rate(HANDSHAKES_PER_PEER_PER_S, HANDSHAKE_BURST_PER_PEER)


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
        self._spares: dict[Connection, None] = {}  # the one to go first in front
        self._spare_counted_at = float("-inf")
        self._fruitless_from = float("inf")  # groups of so many found no spare stranger since the last count

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: Connection) -> bool:
        """True for a session that has a place."""
        return connection in self._open

    @property
    def clients(self) -> int:
        """Sessions of clients."""
        return self._clients.total()

    def enter(self, connection: Connection, *, is_client: bool, mono: float) -> Refusal | Connection | None:
        """Give a proved peer a place, which is its own until `leave`.

        Returns:
            A Refusal if there is none; else whose session ends for it, mostly nobody's.

        """
        refusal = self.greet(connection, mono)
        if refusal is not None:
            return refusal
        node_id = connection.node_id
        assert node_id is not None
        if is_client and self._clients[node_id] >= CLIENT_SESSIONS_PER_NODE_ID_MAX:
            return Refusal("links_refused", "client_sessions")
        displaced: Connection | None = None
        if self._is_stranger(connection):
            if self._is_full_for_strangers(mono):
                displaced = self._make_place(self._group_of(connection), mono)
                if displaced is None:
                    return Refusal("links_refused", "sessions")
            self._add_stranger(connection)
        elif len(self._open) >= self._bounds.sessions_max:
            displaced = self._spare(mono) or self._least_used()
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
            self.leave(old, is_client=old.is_client)
            self._open[new] = None
            if self._is_stranger(new):
                self._add_stranger(new)

    def leave(self, connection: Connection, *, is_client: bool) -> None:
        """A session ended; a no-op for one without a place."""
        if connection not in self._open:
            return
        del self._open[connection]
        self._spares.pop(connection, None)
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

    def _make_place(self, newcomer: str, mono: float) -> Connection | None:
        """Who goes for a stranger of a group; None if nobody does."""
        if self._strangers < self._bounds.strangers_max:
            least = self._spare(mono) or self._least_used()
            if least is not None and least.is_idle:
                return least
        size, largest = self._largest()
        is_crowd = size >= len(self._groups.get(newcomer, ())) + 2
        if is_crowd and size * SESSIONS_CROWD_PART >= self._bounds.strangers_max:
            return self._youngest_of(largest)
        spare = self._spare_stranger(newcomer, mono)
        return self._youngest_of(largest) if spare is None and is_crowd else spare

    def _largest(self) -> tuple[int, str]:
        """How many the largest group has, and which that is."""
        groups = self._groups
        if len(groups) == self._strangers:  # a flood from many prefixes must not have them compared each time
            return min(1, len(groups)), next(iter(groups), "")
        return max(((len(members), group) for group, members in groups.items()), default=(0, ""))

    def _youngest_of(self, group: str) -> Connection | None:
        members = [c for c in self._groups[group] if self._is_of_nobody(c)]
        held = Counter(c.node_id for c in members)
        most = max(held.values(), default=0)
        return next((c for c in reversed(members) if held[c.node_id] == most), None)

    def _least_used(self) -> Connection | None:
        """Who goes for a node of the table or an own dial if nobody is spare: who waits for nothing, strangers first."""

        def order(connection: Connection) -> tuple[bool, bool, bool, float]:
            is_known = not self._is_of_nobody(connection)
            return not connection.is_idle, connection.is_client, is_known, connection.used_at

        return min(self._open, key=order, default=None)

    # Sessions that nobody uses

    def idle_strangers(self, since: float) -> list[Connection]:
        """Sessions with nodes outside the table that this end began and that nobody used since an instant."""
        return [
            c
            for c in self._open
            if c.is_initiator
            and c.used_at < since
            and c.is_idle
            and not c.is_needed
            and self._is_of_nobody(c)
        ]

    def _spare(self, mono: float) -> Connection | None:
        """Any session that is spare, of strangers first."""
        return next((c for c in self._all_spare(mono) if self._is_spare(c, mono)), None)

    def _spare_stranger(self, newcomer: str, mono: float) -> Connection | None:
        """A spare session of a stranger that takes nothing from a smaller group than the newcomer's."""
        groups = self._groups
        own = groups.get(newcomer, {})
        size = len(own)
        spares = self._all_spare(mono)
        if size >= self._fruitless_from and spares.keys().isdisjoint(own):
            return None
        for connection in spares:
            group = self._group_of(connection)
            members = groups.get(group, {})
            is_fair = connection in members and (group == newcomer or len(members) > size)
            if is_fair and self._is_spare(connection, mono):
                return connection
        self._fruitless_from = min(self._fruitless_from, size)
        return None

    def _all_spare(self, mono: float) -> dict[Connection, None]:
        """What was spare when that was last counted: a flood of newcomers must not have it counted each time."""
        if mono >= self._spare_counted_at + SPARE_COUNTED_EVERY_S:
            self._spare_counted_at = mono
            spare = (c for c in self._open if self._is_spare(c, mono))
            self._spares = dict.fromkeys(sorted(spare, key=self._order_of_spare))
            self._fruitless_from = float("inf")
        return self._spares

    def _order_of_spare(self, connection: Connection) -> tuple[bool, float]:
        return not self._is_of_nobody(connection), connection.used_at

    def _is_spare(self, connection: Connection, mono: float) -> bool:
        """True for a node's session that nobody has used for long, or at all if this end dialled a stranger."""
        is_own_errand = connection.is_initiator and self._is_of_nobody(connection)
        wait_s = 0.0 if is_own_errand else SESSION_SPARE_AFTER_S
        return connection.is_idle and mono - connection.used_at >= wait_s and not connection.is_client

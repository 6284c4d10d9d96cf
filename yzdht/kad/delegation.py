"""What this node does on behalf of others: GET and PUT, charged to who asks (PROTOCOL.md sections 5 and 16).

One small GET has this node walk through a large network, along three paths if it is asked to: without a price a
stranger could turn a node into an amplifier. It is charged by the requests that it is likely to cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.kad.holder import Refused
from yzdht.kad.quorum import quorum_of
from yzdht.limits import (
    DELEGATED_BURST_OF_ALL,
    DELEGATED_BURST_REQUESTS,
    DELEGATED_BYTES_PER_REQUEST,
    DELEGATED_PATHS_AROUND,
    DELEGATED_PREFIX_ALLOWANCE,
    DELEGATED_REQUESTS_PER_PATH,
    DELEGATED_REQUESTS_PER_S,
    PREFIXES_TRACKED_MAX,
    REPLICAS,
)
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.wire.rpc import Refusal, Status


if TYPE_CHECKING:
    from yzdht.kad.table import Table
    from yzdht.ports import Now
    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import Get, Put


_PEER = Rate(DELEGATED_REQUESTS_PER_S, DELEGATED_BURST_REQUESTS)
_GROUP = _PEER.times(DELEGATED_PREFIX_ALLOWANCE)
_ALL = Rate(_GROUP.per_s, DELEGATED_BURST_OF_ALL)


class Delegation:
    """Charges delegated operations to the peer, to its public prefix and to all together: ids cost nothing.

    Peers share fairly what their prefix has, and prefixes what the node does in all. A peer whose address is not public
    has no bucket of its own but shares that of its address: behind it may be everybody, or the one program that this
    node is for. Those behind a proxy have both, a bucket each and the one of the proxy's address. All buckets are charged
    or none.

    Args:
        table: Tells whether a target has to be approached, and how many nodes hold a record.
        is_storing: True if this node is one of those; may change.

    """

    def __init__(self, table: Table, *, is_storing: bool) -> None:
        self._table = table
        self.is_storing = is_storing
        self._peers = Buckets(PREFIXES_TRACKED_MAX)
        self._groups = FairBuckets(PREFIXES_TRACKED_MAX)
        self._all = FairBuckets(PREFIXES_TRACKED_MAX)

    def charge_get(self, peer: Peer, body: Get, now: Now) -> Refused | None:
        """Charge a GET; a Refused if the peer has asked for too much."""
        if body.paths == 1 and self._table.knows_everybody:
            return self._charge(peer, self._holders(), now)
        return self._charge(peer, body.paths * DELEGATED_REQUESTS_PER_PATH, now)

    def charge_put(self, peer: Peer, body: Put, now: Now) -> Refused | None:
        """Charge a PUT: where the target has to be approached that is one walk, with cas a read; then the n store."""
        return self._charge(peer, self._cost_of_put(body), now)

    def charge_around(self, peer: Peer, now: Now) -> None:
        """Charge what going around a crowd costs, which shows only on the way: a peer owes it, its neighbours do not."""
        cost = DELEGATED_PATHS_AROUND * DELEGATED_REQUESTS_PER_PATH
        if peer.has_own_part:
            self._peers.overdraw(peer.node_id, cost, _PEER, now.mono)
        self._groups.charge(peer.group, peer.node_id, cost, _GROUP, now.mono)
        # Of all peers together nobody owes what is not there: it would be a whole prefix.
        self._all.charge(None, None, cost, _ALL, now.mono)

    def put_back(self, peer: Peer, body: Put) -> None:
        """Undo the charge of a PUT that goes no further, before anything else is charged."""
        cost, group = self._cost_of_put(body), peer.group
        self._all.put_back(None, group, cost)
        self._groups.put_back(group, peer.node_id, cost)
        self._peers.put_back(peer.node_id, cost)

    def _cost_of_put(self, body: Put) -> int:
        parts = max(1, -(-len(body.record) // DELEGATED_BYTES_PER_REQUEST))
        if not self._table.knows_everybody:
            return DELEGATED_REQUESTS_PER_PATH + REPLICAS * parts
        return self._holders() * (parts + (body.cas is not None))

    def _holders(self) -> int:
        return max(1, quorum_of(self._table.storing() + self.is_storing).n)

    def _charge(self, peer: Peer, cost: int, now: Now) -> Refused | None:
        wait_s = self._take(peer, cost, now.mono)
        return Refused(Status.RATE_LIMITED, Refusal(int(wait_s * 1000) + 1)) if wait_s else None

    def _take(self, peer: Peer, cost: int, mono: float) -> float:
        """0.0 when every bucket gave, else seconds after which to try again, and none of them gave."""
        node_id, group = peer.node_id, peer.group
        if peer.has_own_part and (wait_s := self._peers.take(node_id, cost, _PEER, mono)):
            return wait_s
        if wait_s := self._groups.take(group, node_id, cost, _GROUP, mono):
            self._peers.put_back(node_id, cost)
        elif wait_s := self._all.take(None, group, cost, _ALL, mono):
            self._groups.put_back(group, node_id, cost)
            self._peers.put_back(node_id, cost)
        return wait_s

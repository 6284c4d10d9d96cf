"""What this node does on behalf of others: GET and PUT, charged to who asks (PROTOCOL.md sections 5 and 16).

One small GET has this node walk through a large network, along three paths if it is asked to: without a price a
stranger could turn a node into an amplifier. It is charged by the requests that it is likely to cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.kad.holder import Refused
from yzdht.kad.quorum import quorum_of
from yzdht.limits import (
    DELEGATED_BURST_REQUESTS,
    DELEGATED_LOCAL_ALLOWANCE,
    DELEGATED_PREFIX_ALLOWANCE,
    DELEGATED_REQUESTS_PER_PATH,
    DELEGATED_REQUESTS_PER_S,
    PREFIXES_TRACKED_MAX,
    REPLICAS,
)
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.wire.address import is_loopback
from yzdht.wire.rpc import Refusal, Status


if TYPE_CHECKING:
    from yzdht.kad.table import Table
    from yzdht.ports import Now
    from yzdht.rpc.engine import Peer
    from yzdht.wire.rpc import Get, Put


_PEER = Rate(DELEGATED_REQUESTS_PER_S, DELEGATED_BURST_REQUESTS)
_LOCAL = _PEER.times(DELEGATED_LOCAL_ALLOWANCE)
_PREFIX = _PEER.times(DELEGATED_PREFIX_ALLOWANCE)
_THIS_MACHINE = "loopback"


class Delegation:
    """Charges delegated operations to the peer and to its public prefix: ids cost nothing, addresses do.

    Peers of one prefix share what it has fairly. Who asks from this machine may ask for more, and all of them together for
    about as much as a node can do: behind a proxy that is everybody.

    Args:
        table: Tells whether a target has to be approached, and how many nodes hold a record.
        is_storing: True if this node is one of those.

    """

    def __init__(self, table: Table, *, is_storing: bool) -> None:
        self._table = table
        self._is_storing = is_storing
        self._buckets = Buckets(PREFIXES_TRACKED_MAX)
        self._groups = FairBuckets(PREFIXES_TRACKED_MAX)

    def charge_get(self, peer: Peer, body: Get, now: Now) -> Refused | None:
        """Charge a GET; a Refused if the peer has asked for too much."""
        if body.paths == 1 and self._table.knows_everybody:
            return self._charge(peer, self._holders(), now)
        return self._charge(peer, body.paths * DELEGATED_REQUESTS_PER_PATH, now)

    def charge_put(self, peer: Peer, body: Put, now: Now) -> Refused | None:
        """Charge a PUT: where the target has to be approached that is one walk, with cas a read; then the n store."""
        if not self._table.knows_everybody:
            return self._charge(peer, DELEGATED_REQUESTS_PER_PATH + REPLICAS, now)
        return self._charge(peer, self._holders() * (1 if body.cas is None else 2), now)

    def _holders(self) -> int:
        return max(1, quorum_of(self._table.storing() + self._is_storing).n)

    def _charge(self, peer: Peer, cost: int, now: Now) -> Refused | None:
        # The peer's own bucket first: what it is refused must not empty the bucket of its neighbours.
        is_local = is_loopback(peer.host)
        wait_s = self._buckets.take(peer.node_id, cost, _LOCAL if is_local else _PEER, now.mono)
        group = _THIS_MACHINE if is_local else peer.prefix
        if not wait_s and group is not None:
            wait_s = self._groups.take(group, peer.node_id, cost, _PREFIX, now.mono)
        return Refused(Status.RATE_LIMITED, Refusal(int(wait_s * 1000) + 1)) if wait_s else None

"""How many requests a peer may send, of whatever method (PROTOCOL.md section 16).

Methods that store, or work on the asker's behalf, have a price of their own besides (kad/holder.py, kad/delegation.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import (
    PREFIXES_TRACKED_MAX,
    REQUESTS_BURST_OF_TABLE,
    REQUESTS_BURST_PER_GROUP,
    REQUESTS_BURST_STRANGER,
    REQUESTS_PER_S_OF_STRANGERS,
    REQUESTS_PER_S_OF_TABLE,
    REQUESTS_PER_S_PER_GROUP,
    REQUESTS_PER_S_STRANGER,
    TABLE_PEER_ALLOWANCE,
)
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.rpc.engine import Peer


_STRANGER = Rate(REQUESTS_PER_S_STRANGER, REQUESTS_BURST_STRANGER)
_TABLE_PEER = _STRANGER.times(TABLE_PEER_ALLOWANCE)
_GROUP = Rate(REQUESTS_PER_S_PER_GROUP, REQUESTS_BURST_PER_GROUP)
_STRANGERS = Rate(REQUESTS_PER_S_OF_STRANGERS, 2 * REQUESTS_BURST_PER_GROUP)
_TABLE = Rate(REQUESTS_PER_S_OF_TABLE, REQUESTS_BURST_OF_TABLE)


class RequestPace:
    """Charges requests to the peer, to what its prefix may, and to what all strangers may; or the whole table.

    Identities cost nothing, so that a bucket for each bounds nobody who makes many. What a group may is shared fairly by
    the peers in it, and what strangers may by their groups. All buckets are charged or none. A peer whose address is not
    public has no bucket of its own but shares that of its address: behind it may be everybody, or the one program that
    this node is for. Those behind a proxy have both, a bucket each and the one of the proxy's address.

    Args:
        is_known: True for a node of the routing table.
        prefix_of: The public prefix as which a host is counted.

    """

    def __init__(self, is_known: Callable[[NodeId], bool], prefix_of: Callable[[str], str | None]) -> None:
        self._is_known = is_known
        self._prefix_of = prefix_of
        self._peers = Buckets(PREFIXES_TRACKED_MAX)
        self._groups = FairBuckets(PREFIXES_TRACKED_MAX)
        self._strangers = FairBuckets(
            PREFIXES_TRACKED_MAX
        )  # apart: no crowd may push out what bounds all of it
        self._table = FairBuckets(PREFIXES_TRACKED_MAX)

    def take(self, peer: Peer, mono: float, requests: int = 1) -> float:
        """Charge a request, or so many at once.

        Returns:
            0.0 if it may be served, else the seconds after which the peer should try again.

        """
        if self._is_known(peer.node_id):
            return self._take_of_table(peer.node_id, mono, requests)
        return self._take_of_strangers(peer, mono, requests)

    def _take_of_table(self, node_id: NodeId, mono: float, requests: int) -> float:
        if wait_s := self._peers.take(node_id, requests, _TABLE_PEER, mono):
            return wait_s
        if wait_s := self._table.take(None, node_id, requests, _TABLE, mono):
            self._peers.put_back(node_id, requests)
        return wait_s

    def _take_of_strangers(self, peer: Peer, mono: float, requests: int) -> float:
        node_id, prefix = peer.node_id, self._prefix_of(peer.host)
        group = prefix or peer.host
        if (prefix is not None or peer.is_proxied) and (
            wait_s := self._peers.take(node_id, requests, _STRANGER, mono)
        ):
            return wait_s
        if wait_s := self._groups.take(group, node_id, requests, _GROUP, mono):
            self._peers.put_back(node_id, requests)
        elif wait_s := self._strangers.take(None, group, requests, _STRANGERS, mono):
            self._groups.put_back(group, node_id, requests)
            self._peers.put_back(node_id, requests)
        return wait_s

"""What a peer may bring to a topic host and fetch from it, and on whose account what it brought is kept (section 11)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from yzdht.crypto.primitives import hmac_sha256
from yzdht.limits import (
    BACKLOG_BURST_BYTES,
    BACKLOG_BYTES_PER_S,
    BACKLOG_CHARGE_BYTES_MIN,
    BACKLOG_GROUP_ALLOWANCE,
    BRINGERS_NAMED_MAX,
    PREFIXES_TRACKED_MAX,
    PUBLISH_BURST,
    PUBLISH_BURST_BYTES,
    PUBLISH_BYTES_PER_S,
    PUBLISH_CHARGE_BYTES_MIN,
    PUBLISH_COPIES_PER_MESSAGE,
    PUBLISH_GROUP_ALLOWANCE,
    PUBLISHES_PER_S,
    PUBSUB_ENVELOPE_BYTES_MAX,
)
from yzdht.rpc.bucket import Buckets, FairBuckets, Rate
from yzdht.wire.history import BRINGER_BYTES, Bringer, fetched_from


if TYPE_CHECKING:
    from yzdht.ids import NodeId
    from yzdht.ports import Now
    from yzdht.rpc.engine import Peer


_MESSAGES = Rate(PUBLISHES_PER_S, PUBLISH_BURST)
_BYTES = Rate(PUBLISH_BYTES_PER_S, PUBLISH_BURST_BYTES)
_MESSAGES_OF_GROUP = _MESSAGES.times(PUBLISH_GROUP_ALLOWANCE)
_BYTES_OF_GROUP = _BYTES.times(PUBLISH_GROUP_ALLOWANCE)
_BACKLOG = Rate(BACKLOG_BYTES_PER_S, BACKLOG_BURST_BYTES)
_BACKLOG_OF_GROUP = _BACKLOG.times(BACKLOG_GROUP_ALLOWANCE)


class Bringers:
    """Names who brought a message, so that a store can charge for it and a stolen disk names nobody.

    Args:
        key: Of this host alone; it outlives restarts with what it named.

    """

    def __init__(self, key: bytes) -> None:
        def name(who: bytes) -> Bringer:
            return Bringer(hmac_sha256(key, who)[:BRINGER_BYTES])

        self._name = lru_cache(BRINGERS_NAMED_MAX)(name)

    def of_peer(self, peer: Peer) -> Bringer:
        """A peer with a public address, or one behind a proxy, shares with its prefix or address: ids are free."""
        return self._name(peer.group.encode()) if peer.has_own_part else self.of_host(peer.node_id)

    def of_host(self, node_id: NodeId) -> Bringer:
        """A node that shares with nobody."""
        return self._name(node_id)

    def of_fetched_from(self, node_id: NodeId) -> Bringer:
        """A node that hosts the same topic, from which this one fetched."""
        return fetched_from(self._name(node_id))


class Rates:
    """Charges peers for what they bring and fetch.

    Args:
        own_id: This node's, which is charged nothing.

    """

    def __init__(self, own_id: NodeId) -> None:
        self._own_id = own_id
        self._brought = Buckets(2 * PREFIXES_TRACKED_MAX)
        self._brought_by_groups = FairBuckets(2 * PREFIXES_TRACKED_MAX)
        self._fetched = Buckets(PREFIXES_TRACKED_MAX)
        self._fetched_by_groups = FairBuckets(PREFIXES_TRACKED_MAX)

    def bring(self, peer: Peer, size: int, now: Now) -> float:
        """Charge one message of so many bytes; 0.0, or the seconds after which to try again."""
        if peer.node_id == self._own_id:
            return 0.0
        size = max(size, PUBLISH_CHARGE_BYTES_MIN)
        return self._take(peer, "messages", 1, _MESSAGES, _MESSAGES_OF_GROUP, now) or self._take(
            peer, "bytes", size, _BYTES, _BYTES_OF_GROUP, now
        )

    def punish(self, peer: Peer, now: Now) -> None:
        """Charge a forged message as a large one, also to a bucket that is empty: it cost a check and brought nothing."""
        if peer.node_id != self._own_id:
            self._brought.overdraw(("bytes", peer.node_id), PUBSUB_ENVELOPE_BYTES_MAX, _BYTES, now.mono)

    def copied(self, peer: Peer, copies: int, size: int, now: Now) -> None:
        """Charge what a message of so many bytes costs beyond itself that goes to many: it may have come already, and the next one waits."""
        if peer.node_id != self._own_id and copies >= PUBLISH_COPIES_PER_MESSAGE:
            more = copies // PUBLISH_COPIES_PER_MESSAGE
            self._brought.overdraw(("messages", peer.node_id), more, _MESSAGES, now.mono)
            self._brought.overdraw(("bytes", peer.node_id), more * size, _BYTES, now.mono)

    def _take(self, peer: Peer, what: str, tokens: int, rate: Rate, shared: Rate, now: Now) -> float:
        key, group = (what, peer.node_id), peer.group
        wait_s = self._brought.take(key, tokens, rate, now.mono)
        if wait_s or not group:
            return wait_s
        wait_s = self._brought_by_groups.take((what, group), peer.node_id, tokens, shared, now.mono)
        if wait_s:
            self._brought.put_back(key, tokens)
        return wait_s

    def may_fetch(self, peer: Peer, now: Now) -> float:
        """0.0 if a peer may fetch, or the seconds after which it may."""
        if peer.node_id == self._own_id:
            return 0.0
        tokens = BACKLOG_CHARGE_BYTES_MIN
        wait_s = self._fetched.take(peer.node_id, tokens, _BACKLOG, now.mono)
        if wait_s or not peer.prefix:
            return wait_s
        wait_s = self._fetched_by_groups.take(peer.prefix, peer.node_id, tokens, _BACKLOG_OF_GROUP, now.mono)
        if wait_s:
            self._fetched.put_back(peer.node_id, tokens)
        return wait_s

    def fetched(self, peer: Peer, size: int, now: Now) -> None:
        """Charge what a peer was given beyond what `may_fetch` took."""
        if peer.node_id != self._own_id and size > BACKLOG_CHARGE_BYTES_MIN:
            more = size - BACKLOG_CHARGE_BYTES_MIN
            self._fetched.overdraw(peer.node_id, more, _BACKLOG, now.mono)
            if peer.prefix:
                self._fetched_by_groups.charge(peer.prefix, peer.node_id, more, _BACKLOG_OF_GROUP, now.mono)

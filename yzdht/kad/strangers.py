"""Nodes outside the table: which of them have a session, and how long one without any takes to answer.

In a large network most nodes that a lookup asks are strangers. What is known of them is one pooled estimate (dialling
included, as it happens), and who is linked at the moment.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.limits import SESSIONS_MAX, SOFT_DEADLINE_S_MAX, SOFT_DEADLINE_S_UNKNOWN
from yzdht.rpc.rtt import RoundTrip


if TYPE_CHECKING:
    from yzdht.ids import NodeId
    from yzdht.rpc.engine import Peer


@dataclass(slots=True)
class _Linked:
    peer: Peer
    expected_s: float


class Strangers:
    """What is known of nodes that are not in the table."""

    def __init__(self) -> None:
        self._pool = RoundTrip()
        self._linked: OrderedDict[NodeId, _Linked] = OrderedDict()
        self.expected_s = SOFT_DEADLINE_S_UNKNOWN
        """Seconds within which a stranger should answer, dialling included."""

    def took(self, sample_s: float) -> None:
        """A stranger answered after so many seconds, late or not."""
        self._pool.add(min(sample_s, SOFT_DEADLINE_S_MAX))
        self.expected_s = min(self._pool.expected_s(), SOFT_DEADLINE_S_MAX)

    def linked(self, peer: Peer) -> None:
        """A session with a node began."""
        self._linked[peer.node_id] = _Linked(peer, self.expected_s)
        self._linked.move_to_end(peer.node_id)
        if len(self._linked) > SESSIONS_MAX:
            self._linked.popitem(last=False)

    def unlinked(self, node_id: NodeId) -> None:
        """The last session with a node ended."""
        self._linked.pop(node_id, None)

    def answered(self, node_id: NodeId, expected_s: float) -> None:
        """A linked node answered; it should do so within that time."""
        linked = self._linked.get(node_id)
        if linked is not None and expected_s:
            linked.expected_s = expected_s

    def peer_of(self, node_id: NodeId) -> Peer | None:
        """A linked node, as its handshake showed it."""
        linked = self._linked.get(node_id)
        return None if linked is None else linked.peer

    def expected_of(self, node_id: NodeId) -> float:
        """Seconds within which that node should answer."""
        linked = self._linked.get(node_id)
        return self.expected_s if linked is None else linked.expected_s

    def host_of(self, node_id: NodeId) -> str:
        """The IP at which a linked node is reached; empty if it is not linked."""
        linked = self._linked.get(node_id)
        return "" if linked is None else linked.peer.host

    def prefix_of(self, node_id: NodeId) -> str | None:
        """The public prefix at which a linked node is reached; None if it has none or is not linked."""
        linked = self._linked.get(node_id)
        return None if linked is None else linked.peer.prefix

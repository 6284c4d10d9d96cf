"""Nodes outside the table: which of them have a session, and how long one without any takes to answer.

In a large network most nodes that a lookup asks are strangers. What is known of them is one pooled estimate (dialling
included, as it happens), and who is linked at the moment.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.limits import SESSIONS_MAX, SOFT_DEADLINE_S_MAX, SOFT_DEADLINE_S_MIN, SOFT_DEADLINE_S_UNKNOWN


if TYPE_CHECKING:
    from yzdht.ids import NodeId
    from yzdht.rpc.engine import Peer


_SHARE = 0.9
_STEP = 0.15
_MARGIN = 1.5


@dataclass(slots=True)
class _Linked:
    peer: Peer
    expected_s: float


class Strangers:
    """What is known of nodes that are not in the table."""

    def __init__(self) -> None:
        self._most_s = SOFT_DEADLINE_S_UNKNOWN / _MARGIN
        self._linked: OrderedDict[NodeId, _Linked] = OrderedDict()
        self.expected_s = SOFT_DEADLINE_S_UNKNOWN
        """Seconds within which a stranger should answer, dialling included."""

    def took(self, sample_s: float) -> None:
        """A stranger answered after so many seconds, late or not.

        The estimate walks to the time within which nine in ten answer, a step for each sample however long that took:
        a tenth of slow answers, true or feigned, moves a mean and its deviation as far as anybody likes.
        """
        step_s = _STEP * self._most_s
        is_slow = sample_s > self._most_s
        self._most_s += step_s * _SHARE if is_slow else -step_s * (1 - _SHARE)
        self._most_s = min(max(self._most_s, SOFT_DEADLINE_S_MIN / _MARGIN), SOFT_DEADLINE_S_MAX / _MARGIN)
        self.expected_s = _MARGIN * self._most_s

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
        """The IP near which a linked node may name others; empty if it is not linked, or hidden."""
        linked = self._linked.get(node_id)
        return "" if linked is None else linked.peer.namer_host

    def prefix_of(self, node_id: NodeId) -> str | None:
        """The public prefix at which a linked node is reached; None if it has none or is not linked."""
        linked = self._linked.get(node_id)
        return None if linked is None else linked.peer.prefix

"""How many replicas a read or a write needs (PROTOCOL.md section 9)."""

from __future__ import annotations

from typing import NamedTuple

from yzdht.limits import REPLICAS


class Quorum(NamedTuple):
    """Sizes of one operation, fixed when it starts.

    Attributes:
        n: Nodes that should hold the record.
        write: Durable answers that end a write.
        read: Answers that end a read; any two quorums of a write and a read share a node.

    """

    n: int
    write: int
    read: int


def quorum_of(candidates: int) -> Quorum:
    """Sizes for so many candidates; 8: 5 and 4, 3: 2 and 2, 1: 1 and 1.

    Args:
        candidates: Live storage nodes known, oneself included if one is.

    """
    n = min(REPLICAS, candidates)
    write = n // 2 + 1
    return Quorum(n, write, max(1, n - write + 1))

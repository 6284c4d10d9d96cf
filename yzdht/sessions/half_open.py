"""Handshakes under way that others began, and whose is given up for a newcomer's.

Who says nothing after the first message holds a place for HANDSHAKE_TIMEOUT_S, and needs no more than an address for it. So
places are no first come, first served: a newcomer takes the one of whoever has had it longest, of those that have
more of them than the newcomer's own kind. A peer that means it needs two round trips.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from yzdht.limits import HALF_OPEN_MAX, HALF_OPEN_PER_PREFIX_MAX


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.sessions.connection import Connection


class HalfOpen:
    """At most HALF_OPEN_MAX of them, and HALF_OPEN_PER_PREFIX_MAX of one public prefix.

    Args:
        prefix_of: The public prefix as which a host is counted.

    """

    def __init__(self, prefix_of: Callable[[str], str | None]) -> None:
        self._prefix_of = prefix_of
        self._members: dict[Connection, tuple[str, str]] = {}  # the oldest first; its group, its host
        self._sizes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._members)

    @property
    def is_full(self) -> bool:
        """True if a newcomer needs the place of another."""
        return len(self._members) >= HALF_OPEN_MAX

    def is_crowded(self, prefix: str) -> bool:
        """True if a public prefix has all that it may have."""
        return self._sizes[prefix] >= HALF_OPEN_PER_PREFIX_MAX

    def enter(self, connection: Connection) -> None:
        """A handshake begins."""
        host = connection.link.remote.host
        group = self._prefix_of(host) or host
        self._members[connection] = group, host
        self._sizes[group] += 1

    def leave(self, connection: Connection) -> None:
        """A handshake is done, or given up; a no-op for others."""
        if connection not in self._members:
            return
        group, _ = self._members.pop(connection)
        self._sizes[group] -= 1
        if not self._sizes[group]:
            del self._sizes[group]

    def neighbour(self, prefix: str, host: str) -> Connection | None:
        """Who gives way to a host of a crowded prefix: the oldest of the host there that has most, if that has more."""
        hosts = {c: where for c, (group, where) in self._members.items() if group == prefix}
        return _oldest_of_largest(hosts, host)

    def other(self, host: str) -> Connection | None:
        """Who gives way when all places are taken: the oldest of the largest group, if that is larger than the host's."""
        groups = {c: group for c, (group, _) in self._members.items()}
        return _oldest_of_largest(groups, self._prefix_of(host) or host)


def _oldest_of_largest(kinds: dict[Connection, str], own: str) -> Connection | None:
    sizes = Counter(kinds.values())
    largest = max(sizes.values(), default=0)
    if largest <= sizes[own]:
        return None
    return next(connection for connection, kind in kinds.items() if sizes[kind] == largest)

"""TLS handshakes under way that others began, and whose is given up for a newcomer's.

Each costs this end a signature and a key exchange at its first message, and then a place until the other end answers,
which it need not. So it is the largest crowd that makes room, be it of one public prefix or of one other address, and in
it who has had its place longest: an honest end takes one round trip. Where none is larger than TLS_CROWD it is the oldest of
all: two honest ends of one prefix are not to make room for somebody who comes from every prefix once.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from yzdht.limits import TLS_CROWD, TLS_HANDSHAKES_MAX
from yzdht.wire.address import limit_prefix


Comer = TypeVar("Comer")


class TlsPlaces(Generic[Comer]):
    """At most TLS_HANDSHAKES_MAX of them."""

    def __init__(self) -> None:
        self._groups: dict[Comer, str] = {}  # the oldest first
        self._sizes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._groups)

    def enter(self, comer: Comer, host: str) -> Comer | None:
        """A handshake begins, of somebody at an IP address; whose ends for it, mostly nobody's."""
        gives_way = self._who_makes_room() if len(self) >= TLS_HANDSHAKES_MAX else None
        if gives_way is not None:
            self.leave(gives_way)
        group = limit_prefix(host) or host
        self._groups[comer] = group
        self._sizes[group] += 1
        return gives_way

    def leave(self, comer: Comer) -> None:
        """It is done, or gone; a no-op for others."""
        group = self._groups.pop(comer, None)
        if group is None:
            return
        self._sizes[group] -= 1
        if not self._sizes[group]:
            del self._sizes[group]

    def _who_makes_room(self) -> Comer:
        most = max(self._sizes.values())
        if most <= TLS_CROWD:
            return next(iter(self._groups))
        return next(comer for comer, group in self._groups.items() if self._sizes[group] == most)

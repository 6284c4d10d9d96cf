"""Requests of one session that wait for their turn: those about what too much is asked about lately (flows.py) apart from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.limits import DEFERRED_REQUESTS_BYTES_MAX, DEFERRED_REQUESTS_MAX


if TYPE_CHECKING:
    from yzdht.rpc.session import Requested


class _Waiting(NamedTuple):
    request: Requested
    size: int
    topic: bytes | None


class _Line:
    """First come, first served."""

    __slots__ = ("requests", "size")

    def __init__(self) -> None:
        self.requests: list[_Waiting] = []  # mostly empty: a deque takes 760 bytes
        self.size = 0

    @property
    def is_full(self) -> bool:
        return self.size >= DEFERRED_REQUESTS_BYTES_MAX or len(self.requests) >= DEFERRED_REQUESTS_MAX


class WaitingRequests:
    """Two lines; what is about one topic stands in one of them, in the order in which it came."""

    __slots__ = ("_late", "_others", "_topics")

    def __init__(self) -> None:
        self._others = _Line()
        self._late = _Line()
        self._topics: dict[bytes, tuple[bool, int]] = {}  # in which line, and how many

    def __len__(self) -> int:
        """How many wait."""
        return len(self._others.requests) + len(self._late.requests)

    @property
    def has_late(self) -> bool:
        """True if one waits about what too much is asked about."""
        return bool(self._late.requests)

    @property
    def has_others(self) -> bool:
        """True if another one waits."""
        return bool(self._others.requests)

    @property
    def is_late_full(self) -> bool:
        """True if so many wait about what too much is asked about, or such large ones, that no more should."""
        return self._late.is_full

    @property
    def are_others_full(self) -> bool:
        """The same of all others."""
        return self._others.is_full

    def are_late(self, topic: bytes | None) -> bool | None:
        """Whether those that wait about a topic are late; None if there are none."""
        known = self._topics.get(topic) if topic is not None else None
        return None if known is None else known[0]

    def add(self, request: Requested, size: int, topic: bytes | None, *, is_late: bool) -> None:
        """Have one wait, of so many bytes; about a topic, or about none that matters. What is about the same goes into the same line."""
        assert self.are_late(topic) in (None, is_late)
        line = self._late if is_late else self._others
        line.requests.append(_Waiting(request, size, topic))
        line.size += size
        if topic is not None:
            self._topics[topic] = is_late, self._topics.get(topic, (is_late, 0))[1] + 1

    def take(self, *, is_late: bool) -> Requested | None:
        """The next one of a line, which waits no more; None if there is none."""
        line = self._late if is_late else self._others
        if not line.requests:
            return None
        request, size, topic = line.requests.pop(0)
        line.size -= size
        if topic is not None:
            count = self._topics[topic][1] - 1
            if count:
                self._topics[topic] = is_late, count
            else:
                del self._topics[topic]
        return request

    def clear(self) -> None:
        """None of them is served."""
        for line in (self._others, self._late):
            line.requests.clear()
            line.size = 0
        self._topics.clear()

"""What histories of topics may hold, and which message leaves a full one (PROTOCOL.md section 11).

Pure; both topic stores share it, so that they cannot differ. A message is charged to who brought it, since keys of senders are
free. A history that is full with a new message in it loses messages of one bringer until it fits:

* of who brought the new one, if that one has more than its part with it: nobody pushes out more than it may fill;
* else of the bringer that has most of what there is too much of.

Within a history all that was fetched from other hosts is of one bringer (`wire.history.account_of`).

Only the lowest message of a series ever leaves, and the floor rises above it, so that nothing else is lost by that. So a
bringer pays with those series whose lowest message is its own; among its senders with such a series that one pays of which it
brought most, and of several series of one sender the one that came first. One that has none, since all it brought lies
above what others did, pays with the sender of which it brought most, whoever brought that one's lowest message; but if
it brought the new message, then with nothing but the new message's own series: otherwise it would displace with ever new senders what others
brought of those it has much of. Of equals whoever came first pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.limits import (
    HISTORY_BYTES_MAX,
    HISTORY_MESSAGES_MAX,
    HISTORY_PART_OF_ONE_BRINGER,
    PUBSUB_BYTES_MAX,
    PUBSUB_PART_OF_ONE_BRINGER,
    SERIES_PER_TOPIC_MAX,
    TOPICS_MAX,
)
from yzdht.wire.history import account_of


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.wire.history import Bringer, TopicWrite
    from yzdht.wire.holdings import Series


class Measure(Enum):
    """What there is too much of."""

    MESSAGES = "messages"
    BYTES = "bytes"


class Part(NamedTuple):
    """What somebody takes: messages and bytes of their envelopes."""

    messages: int
    bytes: int

    def plus(self, size: int) -> Part:
        """With one message more."""
        return Part(self.messages + 1, self.bytes + size)

    def without(self, sizes: Sequence[int]) -> Part:
        """Without messages of these sizes."""
        return Part(self.messages - len(sizes), self.bytes - sum(sizes))

    def of(self, measure: Measure) -> int:
        """One of both."""
        return self.messages if measure is Measure.MESSAGES else self.bytes


class TopicTotals(NamedTuple):
    """What a store holds, as `ports.TopicTotals`."""

    topics: int
    messages: int
    bytes: int


class NodeShare(NamedTuple):
    """What somebody takes of all histories together: bytes, and topics that it opened."""

    bytes: int
    topics: int


class Taken(NamedTuple):
    """What is taken before a write.

    Attributes:
        whole: Of its topic's history.
        mine: Of that by its bringer, who may be the other hosts together.
        node: Of all histories.
        own: Of those by its bringer.
        is_new_topic: True if it opens its topic.

    """

    whole: Part
    mine: Part
    node: NodeShare
    own: NodeShare
    is_new_topic: bool


class Victim(NamedTuple):
    """A message that may leave: the lowest of its series.

    Attributes:
        line: Names its series in the store.
        series: Its series.
        at: Its index.
        size: Bytes of its envelope.
        bringer: Who brought it.

    """

    line: int
    series: Series
    at: int
    size: int
    bringer: Bringer


class Shelf(Protocol):
    """One history, the new message in it; its bringers are those of `wire.history.account_of`."""

    def greediest(self, measure: Measure) -> Bringer:
        """Who brought most of it; of equals who came first."""
        ...

    def own_lowest(self, bringer: Bringer, measure: Measure) -> Victim | None:
        """What a bringer loses of the series whose lowest message it brought; None if there are none."""
        ...

    def lowest_of_greatest(self, bringer: Bringer, measure: Measure) -> Victim:
        """The lowest message of the sender of which a bringer brought most."""
        ...

    def lowest_of_its_series(self) -> Victim:
        """The lowest message of the series that the new one is in."""
        ...

    def drop(self, victim: Victim) -> None:
        """Drop it and raise the floor of its series above it."""
        ...


@dataclass(frozen=True, slots=True)
class HistoryQuotas:
    """How much is kept of topics.

    Attributes:
        messages: Of one topic.
        bytes: Of one topic.
        series: Of one topic, those included whose floor alone is remembered; more than `messages`.
        total_bytes: Of all topics together.
        topics: Topics.

    """

    messages: int = HISTORY_MESSAGES_MAX
    bytes: int = HISTORY_BYTES_MAX
    series: int = SERIES_PER_TOPIC_MAX
    total_bytes: int = PUBSUB_BYTES_MAX
    topics: int = TOPICS_MAX

    def __post_init__(self) -> None:
        assert self.series > self.messages

    def excess(self, whole: Part) -> Measure | None:
        """What a history has too much of; None if it fits."""
        if whole.messages > self.messages:
            return Measure.MESSAGES
        return Measure.BYTES if whole.bytes > self.bytes else None

    def is_greedy(self, mine: Part) -> bool:
        """True for who has more than its part of a history."""
        part = HISTORY_PART_OF_ONE_BRINGER
        return mine.messages > self.messages // part or mine.bytes > self.bytes // part

    def admits(self, taken: Taken, growth: int, own_growth: int) -> bool:
        """True if all histories together, and what the bringer has of them, may grow by so many bytes."""
        part = PUBSUB_PART_OF_ONE_BRINGER
        return (
            (growth <= 0 or taken.node.bytes + growth <= self.total_bytes)
            and (own_growth <= 0 or taken.own.bytes + own_growth <= self.total_bytes // part)
            and (not taken.is_new_topic or self._has_room_for_topic(taken, part))
        )

    def _has_room_for_topic(self, taken: Taken, part: int) -> bool:
        return taken.node.topics < self.topics and taken.own.topics < max(1, self.topics // part)

    def make_room(self, write: TopicWrite, taken: Taken, shelf: Shelf) -> list[Victim]:
        """Drop what has to leave a history for the message that was put into it.

        Args:
            write: The new message.
            taken: What was taken before it.
            shelf: The history, with it.

        Returns:
            What left; the new message itself, last, if it does not fit: then the caller takes everything back.

        """
        size = len(write.envelope)
        whole, mine, dropped = taken.whole.plus(size), taken.mine.plus(size), list[Victim]()
        while measure := self.excess(whole):
            victim = self._victim(write, shelf, measure, is_greedy=self.is_greedy(mine))
            shelf.drop(victim)
            dropped.append(victim)
            if is_same(victim, write):
                break
            whole = whole.without([victim.size])
            if account_of(victim.bringer) == account_of(write.bringer):
                mine = mine.without([victim.size])
        return dropped

    def _victim(self, write: TopicWrite, shelf: Shelf, measure: Measure, *, is_greedy: bool) -> Victim:
        bringer = account_of(write.bringer) if is_greedy else shelf.greediest(measure)
        own = shelf.own_lowest(bringer, measure)
        if own is not None:
            return own
        return shelf.lowest_of_its_series() if is_greedy else shelf.lowest_of_greatest(bringer, measure)


def is_same(victim: Victim, write: TopicWrite) -> bool:
    """True if it is the new message itself."""
    return victim.at == write.index and victim.series == write.series

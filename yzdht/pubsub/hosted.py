"""The topics that a host knows: near whom they are, what is held of them, and what changed last (PROTOCOL.md section 11)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from yzdht.errors import StoreError
from yzdht.limits import (
    CHANGES_REMEMBERED_MAX,
    HOLDINGS_CACHED_MAX,
    HOST_RANGE,
    HOSTED_TOPICS_MAX,
    SUMMARY_ROWS_MAX,
    TOPIC_HOSTS,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from yzdht.ids import MessageId, NodeId, Target, TopicId
    from yzdht.ports import Now, TopicStore
    from yzdht.pubsub.ports import Neighbourhood
    from yzdht.wire.address import Contact
    from yzdht.wire.holdings import Holdings, Series
    from yzdht.wire.rpc import Range, SummaryRow


_T = TypeVar("_T")


class Hosted:
    """One topic at a host.

    Args:
        topic: Which.
        near: The HOST_RANGE nodes nearest to it that host topics, as this node's table has it.
        active_at: Monotonic seconds of the last message, or of when it became known here.

    Attributes:
        tick: Counts its changes.
        series: Which series changed, by the tick of the last time, the latest last.
        forget_at: When it is dropped: the hosts have what is held here. None while that is not so.
        sync_at: When its hosts are asked next what they hold; None for never.
        is_syncing: True while they are asked.
        is_full: True if the message that came last pushed another one out, or found no room.
        tries: How often they were asked in vain.

    """

    __slots__ = (
        "active_at",
        "forget_at",
        "is_full",
        "is_syncing",
        "near",
        "series",
        "sync_at",
        "tick",
        "topic",
        "tries",
    )

    def __init__(self, topic: TopicId, near: tuple[Contact, ...], active_at: float) -> None:
        self.topic = topic
        self.near = near
        self.active_at = active_at
        self.tick = 0
        self.series: OrderedDict[Series, int] | None = None  # most topics have no subscriber
        self.forget_at: float | None = None
        self.sync_at: float | None = None
        self.is_syncing = False
        self.tries = 0
        self.is_full = False

    @property
    def hosts(self) -> tuple[Contact, ...]:
        """The nodes that are its hosts, nearest first."""
        return self.near[:TOPIC_HOSTS]

    def changed(self, series: Series, *, is_told: bool, most: int = CHANGES_REMEMBERED_MAX) -> None:
        """Something of a series is held that was not; somebody is to be told of it, or nobody is subscribed.

        Of `most` series it is remembered.
        """
        self.tick += 1
        if not is_told:
            self.series = None
            return
        latest = self.series
        if latest is None:
            latest = self.series = OrderedDict()
        latest[series] = self.tick
        latest.move_to_end(series)
        while len(latest) > most:
            latest.popitem(last=False)

    def since(self, tick: int) -> list[tuple[Series, int]]:
        """What changed after that tick, the earliest first; SUMMARY_ROWS_MAX at most."""
        latest = self.series or OrderedDict()
        later = list(takewhile(lambda item: item[1] > tick, reversed(latest.items())))
        return later[-1 : -1 - SUMMARY_ROWS_MAX : -1]


class Changes(NamedTuple):
    """Rows to tell, and up to which tick that tells; `is_all` if nothing is left after it."""

    rows: tuple[SummaryRow, ...]
    tick: int
    is_all: bool


class Topics:
    """All topics of a host. What reads the disk raises StoreError.

    Args:
        own_id: This node's.
        store: Where histories are.
        neighbourhood: Says who is near.
        target_of: The point of a topic near which its hosts are.
        count: Told, by name, of each read that failed.

    """

    def __init__(
        self,
        own_id: NodeId,
        store: TopicStore,
        neighbourhood: Neighbourhood,
        target_of: Callable[[TopicId], Target],
        count: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._own_id = own_id
        self._store = store
        self._neighbourhood = neighbourhood
        self._target_of = target_of
        self._count = count
        self._hosted: dict[TopicId, Hosted] = {}
        self._holdings: OrderedDict[TopicId, Holdings] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hosted)

    def __iter__(self) -> Iterator[TopicId]:
        return iter(self._hosted)

    def get(self, topic: TopicId) -> Hosted | None:
        """A topic that is known here."""
        return self._hosted.get(topic)

    @property
    def is_full(self) -> bool:
        """True if no further topic can be known."""
        return len(self._hosted) >= HOSTED_TOPICS_MAX

    def near(self, topic: TopicId) -> tuple[Contact, ...]:
        """Who is near a topic now."""
        return tuple(self._neighbourhood.hosts(self._target_of(topic), HOST_RANGE))

    def is_in(self, contacts: Iterable[Contact]) -> bool:
        """True if this node is one of them."""
        return any(contact.node_id == self._own_id for contact in contacts)

    def is_host(self, hosted: Hosted) -> bool:
        """True if this node is one of the topic's hosts."""
        return self.is_in(hosted.hosts)

    def is_host_of(self, near: tuple[Contact, ...]) -> bool:
        """True if this node would be one of the hosts of a topic with these nodes near it."""
        return self.is_in(near[:TOPIC_HOSTS])

    def open(self, topic: TopicId, near: tuple[Contact, ...], now: Now) -> Hosted:
        """A topic that becomes known here."""
        assert not self.is_full
        hosted = self._hosted[topic] = Hosted(topic, near, now.mono)
        return hosted

    def drop(self, topic: TopicId) -> None:
        """It is not known here any more."""
        self._hosted.pop(topic, None)
        self._holdings.pop(topic, None)

    # What is held

    def _read(self, read: Callable[[], _T]) -> _T:
        try:
            return read()
        except StoreError:  # whoever asked goes on without it
            self._count("store_errors")
            raise

    def holdings(self, topic: TopicId) -> Holdings:
        """What is held of a topic, of which every change must be told here, too: `reread` says that one was not."""
        held = self._holdings.get(topic)
        if held is None:
            held = self._holdings[topic] = self._read(lambda: self._store.holdings(topic))
            if len(self._holdings) > HOLDINGS_CACHED_MAX:
                self._holdings.popitem(last=False)
        else:
            self._holdings.move_to_end(topic)
        return held

    def is_empty(self, topic: TopicId) -> bool:
        """True if nothing of it is held, and nothing remembered as over; nobody knows that while the disk cannot be read."""
        try:
            return not len(self.holdings(topic))
        except StoreError:
            return False

    def message_id(self, topic: TopicId, series: Series, index: int) -> MessageId | None:
        """Which message is held under an index; None if none is."""
        return self._read(lambda: self._store.message_id(topic, series, index))

    def envelopes(self, topic: TopicId, ranges: Sequence[Range], bytes_max: int) -> tuple[list[bytes], bool]:
        """Envelopes of a topic, for so many bytes, and whether there are more."""
        return self._read(lambda: self._store.envelopes(topic, ranges, bytes_max))

    def reread(self, topic: TopicId | None = None) -> None:
        """What is held of a topic, or of any, has changed on disk."""
        if topic is None:
            self._holdings.clear()
        else:
            self._holdings.pop(topic, None)

    def over(self, topic: TopicId, dropped: Sequence[tuple[Series, int]]) -> None:
        """The store took a message, and gave up these for want of room; in their series all below is over with them."""
        if (hosted := self._hosted.get(topic)) is not None:
            hosted.is_full = bool(dropped)
        held = self._holdings.get(topic)
        if held is not None:
            for series, index in dropped:
                held.of(series).raise_floor(index + 1)

    def no_room(self, topic: TopicId) -> None:
        """The store had none for a message."""
        if (hosted := self._hosted.get(topic)) is not None:
            hosted.is_full = True

    def changes(self, hosted: Hosted, tick: int) -> Changes:
        """What is to be told of a topic to somebody who was told up to a tick."""
        since = hosted.since(tick)
        if not since:
            return Changes((), hosted.tick, is_all=True)
        held = self.holdings(hosted.topic)
        rows = tuple(held.row(series) for series, _ in since)
        return Changes(rows, since[-1][1], is_all=since[-1][1] == hosted.tick)

    def page(self, after: TopicId | None, limit: int) -> list[TopicId]:
        """Topics on disk, in order."""
        return self._read(lambda: self._store.topics(after, limit))

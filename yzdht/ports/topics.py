"""Histories of topics on this node's disk or in its memory (PROTOCOL.md section 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.ids import MessageId, TopicId
    from yzdht.wire.history import Bringer, TopicChange
    from yzdht.wire.holdings import Holdings, Series
    from yzdht.wire.rpc import Range


class TopicTotals(Protocol):
    """What a store holds of all topics together, waiting changes left out."""

    @property
    def topics(self) -> int:
        """Topics, those included of which nothing but floors is left."""
        ...

    @property
    def messages(self) -> int:
        """Messages of all of them."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes of those messages' envelopes."""
        ...


class TopicStore(Protocol):
    """Histories of topics, and floors: what was dropped is remembered, so that it is not fetched again.

    What reads is synchronous, bounded and sees changes that are submitted but not yet committed. A message that will be
    refused for want of room is shown until its verdict comes, and so is what a waiting one will push out.
    """

    def topics(self, after: TopicId | None, limit: int) -> list[TopicId]:
        """One page of the topics, in their order as bytes.

        Args:
            after: The last topic of the page before; None for the first page.
            limit: Topics wanted, at least 1.

        Returns:
            Fewer than `limit` when nothing follows them.

        """
        ...

    def holdings(self, topic: TopicId) -> Holdings:
        """What is held of a topic, the caller's own from now on; the series that got a message last is the newest.

        At most SERIES_PER_TOPIC_MAX series, of which some are a floor alone.
        """
        ...

    def envelopes(self, topic: TopicId, ranges: Sequence[Range], bytes_max: int) -> tuple[list[bytes], bool]:
        """Envelopes of a topic, in the order of the ranges, within each by index.

        Args:
            topic: Whose.
            ranges: What is wanted; what is not held of it is passed over, what is named twice comes twice.
            bytes_max: For so many bytes; the first envelope comes even if it is larger.

        Returns:
            At most ENVELOPES_PER_ANSWER_MAX envelopes, and whether there are more.

        """
        ...

    def message_id(self, topic: TopicId, series: Series, index: int) -> MessageId | None:
        """Which message is held under an index; None if none is."""
        ...

    def totals(self) -> TopicTotals:
        """How much is held."""
        ...

    def submit(self, op: int, change: TopicChange) -> None:
        """Queue a durable change; its verdict is handed to the sink given at opening, with the same `op`.

        What one bringer brings to a topic is decided in the order of submission. When there is no room, or the store is closing, the verdict is StoreBroken.
        """
        ...

    def has_room(self, bringer: Bringer | None = None) -> bool:
        """Whether one more change may wait.

        False while HISTORY_QUEUE_WRITES_MAX wait, or HISTORY_QUEUE_BYTES_MAX bytes of them; on a disk, for a message, also
        while as many wait of its bringer as there are places left, or as many bytes: one fills half, two a third each.
        """
        ...


TopicSink = "Callable[[list[tuple[int, TopicVerdict]]], None]"
"""Called on the event loop with the verdicts of one committed batch; those on what one bringer brought in the order of submission."""

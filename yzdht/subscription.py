"""A subscription as an application has it: messages of one topic, one after the other, in a queue with a bound (section 11).

Owns the queue, what happens when it is full, and the cursor of what the application has taken. What is a message, whether it is new and
in which order they come is decided in pubsub/subscriber.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, Protocol, Self, TypeGuard, TypeVar, cast

from yzdht.errors import (
    CryptoError,
    NoSuchGroup,
    NotAMember,
    StoreError,
    SubscriptionOverflow,
    UsageError,
)
from yzdht.limits import (
    FEED_SERIES_MAX,
    SUBSCRIPTION_LOOK_S,
    SUBSCRIPTION_MESSAGES_DEFAULT,
    SUBSCRIPTION_MESSAGES_MAX,
    SUBSCRIPTION_READY_S_MAX,
    WANTS_EPOCHS_EVERY_S,
)
from yzdht.pubsub.cursor import Cursor, decode_cursor
from yzdht.pubsub.events import Begins, Filled, Gap, Heard, Lost, Message, Refused, WantsEpochs
from yzdht.pubsub.feed import Start
from yzdht.pubsub.subscriber import Mailbox, Subscriber
from yzdht.pubsub.tally import Tally


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yzdht.channel import Channel
    from yzdht.ids import PublicKey, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.events import Event
    from yzdht.pubsub.feed import Feed
    from yzdht.topics import Topics
    from yzdht.wire.holdings import Holdings, Series


Overflow = Literal["wait", "drop", "raise"]
"""When more waits than there is room for: let it wait at the hosts, as long as they keep it; drop the oldest; or end."""

Since = float | bytes | None
"""From where: seconds before now, a cursor, or None for what comes from now on."""

HeardT_co = TypeVar("HeardT_co", bound=Heard, covariant=True)
"""What a subscription tells: messages alone, or gaps, too."""


class Terms(NamedTuple):
    """What is wanted of a subscription.

    Attributes:
        group: What this home calls the group; None for a public topic.
        since: From where.
        overflow: What happens when the queue is full.
        size: How many messages, and events of gaps where these are wanted, wait for the application, 1 to
            SUBSCRIPTION_MESSAGES_MAX.
        gaps: True to be told of gaps, too: Gap, then Filled or Lost; and of what came and is not told: Refused.
        owner: Whose public topic it is; None for everybody's.

    """

    group: str | None = None
    since: Since = None
    overflow: Overflow = "wait"
    size: int = SUBSCRIPTION_MESSAGES_DEFAULT
    gaps: bool = False
    owner: PublicKey | None = None


class Listening(Protocol):
    """What a process that can listen offers."""

    def now(self) -> Now:
        """The present."""
        ...

    def listen(self, topic: TopicId, start: Start | Holdings, subscriber: Subscriber) -> Feed:
        """Listen to a topic.

        Raises:
            UsageError: That is one too many.

        """
        ...

    def unlisten(self, topic: TopicId, feed: Feed) -> None:
        """Listen no more."""
        ...

    def after(self) -> asyncio.Future[None]:
        """Done when something has happened to what is listened to."""
        ...

    def renew(self, feed: Feed, *, are_more_wanted: bool) -> None:
        """More can be opened of what it is listened to, and perhaps more senders are wanted."""
        ...

    def on_stop(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have somebody told when the process stops listening for good; returns what ends that."""
        ...

    def count(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count something that happened."""
        ...


class Subscription(Generic[HeardT_co]):
    """Messages of one topic: `async with dht.subscribe(…) as messages: async for message in messages`.

    Args:
        topics: Whose.
        listening: Through what.
        topic: 1 to 1,024 bytes of UTF-8.
        terms: What is wanted of it.

    Attributes:
        dropped: Messages that were dropped for want of room.

    """

    def __init__(self, topics: Topics, listening: Listening, topic: str, terms: Terms) -> None:
        _check(terms.since, terms.overflow, terms.size)
        self._topics, self._listening = topics, listening
        self._topic, self._group, self._since, self._overflow, self._size, self._tells_gaps, self._owner = (
            topic,
            *terms,
        )
        self.dropped = 0
        self._tally = Tally(listening.count)
        self._events: deque[Heard] = deque()
        self._queued: set[Series] = set()  # of which something is among them, or was since they were none
        self._is_resting = self._is_resumed = self._is_begun = self._is_over = False
        self._came = asyncio.Event()
        self._failure: Exception | None = None
        self._oldest = self._began = 0.0  # unix seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewed_at: float | None = None
        self._members: frozenset[PublicKey] = frozenset()
        self._end_listening: Callable[[], None] = _nothing
        self._channel: Channel
        self._subscriber: Subscriber
        self._feed: Feed | None = None
        self._pushed_from: dict[Series, int] = {}  # from there on a series was sent to earlier feeds
        self._taken: Cursor  # by the application
        self._told: Cursor  # to the queue

    # Life

    async def __aenter__(self) -> Self:
        """Begin; what is published from the return on is told, if a host could be reached.

        Raises:
            UsageError: The topic's name is none, the cursor is another topic's, it was begun before, or this process listens to
                too many topics.
            NoSuchGroup: This home knows no such group.
            NotAMember: This identity was removed from it.
            NoNode: No node could be reached, to look at the group.
            DecryptionFailed, StoreError: What this home keeps of the group cannot be read.

        """
        if self._is_begun:
            raise UsageError("a subscription begins once", hint="call subscribe() again, with its cursor")
        self._is_begun = True
        try:
            await self._begin()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _begin(self) -> None:
        channel = self._channel = await self._topics.channel(self._topic, self._group, self._owner)
        self._topics.check_membership(channel)
        self._members = channel.members
        self._taken, self._told = Cursor(channel.topic), Cursor(channel.topic)
        self._began = self._listening.now().wall
        start: Start | Holdings = Start.LIVE
        if isinstance(self._since, bytes):
            self._taken = decode_cursor(self._since, channel.topic)
            self._told = decode_cursor(self._since, channel.topic)
            start = self._told.holdings()
        elif self._since is not None:
            self._oldest = self._began - self._since
            start = Start.ALL
        self._end_listening = self._listening.on_stop(self._on_stopped)
        self._listen(start)
        if channel.may_change:
            self._topics.follow(channel, self._on_news)
            self._start(self._look_after_group())
        with contextlib.suppress(TimeoutError):  # it goes on looking for hosts
            async with asyncio.timeout(SUBSCRIPTION_READY_S_MAX):
                while not self._is_over and self._feed is not None and not self._feed.is_settled:
                    await self._listening.after()

    def _listen(self, start: Start | Holdings) -> None:
        channel = self._channel
        mailbox = Mailbox(channel, self._is_member, self._on_event, self._may_tell)
        cursor = decode_cursor(self._told.encode(), channel.topic)
        self._told.await_nothing()
        self._taken.await_nothing()
        self._is_resting = False
        self._subscriber = Subscriber(mailbox, cursor, self._began)
        self._feed = self._listening.listen(channel.topic, start, self._subscriber)
        if self._is_resting:  # a node that hosts the topic has told all at once
            self._rest()

    def _rest(self) -> None:
        """Hear nothing for a while: the hosts keep what comes, and what was told is known."""
        self._is_resting = True
        if self._feed is not None:
            feed, self._feed = self._feed, None
            for series, index in feed.pushed_from.items():
                self._pushed_from[series] = min(index, self._pushed_from.pop(series, index))
            for series in list(self._pushed_from)[:-FEED_SERIES_MAX]:
                del self._pushed_from[series]
            self._listening.unlisten(self._channel.topic, feed)

    def _on_stopped(self) -> None:
        """The node, or the client, ends: what waits is still handed out."""
        self._is_over = True
        self._came.set()

    def _fail(self, error: Exception) -> None:
        """What waits is handed out, then this is raised."""
        self._failure = self._failure or error
        self._came.set()
        self._rest()

    async def __aexit__(self, *_exc: object) -> None:
        self._on_stopped()
        self._end_listening()
        if hasattr(self, "_channel"):
            self._topics.leave(self._channel)
            self._rest()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # What the application takes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> HeardT_co:
        """The next message, or event of a gap where these are wanted.

        Raises:
            SubscriptionOverflow: More came than there was room for, and so it was wanted.
            NoSuchGroup: The group was forgotten meanwhile.
            NotAMember: This identity was removed from it meanwhile.
            DecryptionFailed: What this home keeps of the group cannot be read any more.
            UsageError: It was not begun, or it listens to too many topics to go on.
            StoreError: The disk cannot be read, so that it does not go on.

        """
        if not self._is_begun:
            raise _not_begun()
        while True:
            if self._events:
                return self._take()
            if self._failure is not None:
                raise self._failure
            if self._is_over:
                raise StopAsyncIteration
            if self._feed is not None:
                self._channel.make_ready(self._topics.access.later)
            self._came.clear()
            await self._came.wait()

    def _take(self) -> HeardT_co:
        event = self._events.popleft()
        self._taken.take(event)
        if isinstance(event, Message):
            self._listening.count("topic_told")
        if not self._events:
            self._queued.clear()
        may_go_on = self._is_resting and self._overflow == "wait" and self._failure is None
        if may_go_on and not self._is_over and len(self._events) <= self._size // 2:
            self._is_resumed = True
            try:
                self._listen(self._told.holdings())
            except (UsageError, StoreError) as error:  # others took the place meanwhile, or the disk fails
                self._fail(error)
        return cast("HeardT_co", event)  # of gaps is told where they are wanted alone

    @property
    def cursor(self) -> bytes:
        """From here a later subscription goes on after what was taken so far; CURSOR_BYTES_MAX at most.

        Raises:
            UsageError: It was not begun.

        """
        if not hasattr(self, "_taken"):
            raise _not_begun()
        return self._taken.encode()

    @property
    def is_connected(self) -> bool:
        """True while there is a host, or a node, that says what is new; False while too much waits to be taken."""
        return self._feed is not None and bool(self._feed.sources)

    @property
    def is_full(self) -> bool:
        """True while too much waits to be taken, so that nothing more is fetched."""
        return self._is_resting

    # What the subscriber tells

    def _on_event(self, event: Event, _now: Now) -> None:
        if isinstance(event, WantsEpochs):
            self._want_renewal()
            return
        if self._is_resting or self._is_over:
            return  # it is told again when there is room
        self._told.take(event)
        self._tally.take(event)
        if isinstance(event, Gap):
            self._taken.take(event)  # what is missing is on its way
        if not self._is_wanted(event):
            # It is not kept to wait for its turn. Where its turn would be after others of its series it may come again.
            if isinstance(event, Begins) or event.series not in self._queued:
                self._taken.take(event)
            return
        if self._is_resumed and isinstance(event, Message) and event.is_history:
            event = replace(event, is_history=event.created < int(self._began))
        self._events.append(event)
        self._queued.add(event.series)
        if len(self._queued) > 2 * self._size:
            self._queued = {waiting.series for waiting in self._events}
        self._came.set()
        if len(self._events) >= self._size:
            self._on_full()

    def _is_wanted(self, event: Event) -> TypeGuard[Heard]:
        if isinstance(event, Message):
            return event.created >= self._oldest or not event.is_history or self._is_new(event)
        return self._tells_gaps and isinstance(event, Gap | Filled | Lost | Refused)

    def _is_new(self, message: Message) -> bool:
        """True if it was sent here unasked, or an earlier one of its series was: it is wanted, however slow its sender's clock is."""
        sent = [self._pushed_from] if self._feed is None else [self._pushed_from, self._feed.pushed_from]
        return any(message.series in of and message.index >= of[message.series] for of in sent)

    def _on_full(self) -> None:
        if self._overflow == "wait":
            self._rest()
        elif len(self._events) > self._size and self._overflow == "drop":
            dropped = self._events.popleft()
            self._taken.take(dropped)
            self.dropped += isinstance(dropped, Message)
        elif len(self._events) > self._size:
            self._fail(SubscriptionOverflow(self._size))

    # The group

    def _is_member(self, sender: PublicKey) -> bool:
        """True for who may write; somebody else was perhaps added a moment ago, and the state not seen yet.

        Who is revoked writes no more, though still listed; to topics of everybody keys are free, and nobody is looked up.
        """
        is_member = self._channel.is_member(sender)
        if not is_member:
            self._want_renewal()
        return is_member and not (self._channel.may_change and self._topics.is_revoked(sender))

    def _may_tell(self, sender: PublicKey) -> bool:
        """True for whose messages are told though they came before: what a group's member said counts, an owner's list for all."""
        is_revoked = self._channel.may_change and self._topics.is_revoked(sender)
        return not is_revoked and (self._channel.owned is None or self._channel.is_member(sender))

    def _want_renewal(self) -> None:
        mono = self._listening.now().mono
        if not self._is_over and (
            self._renewed_at is None or mono >= self._renewed_at + WANTS_EPOCHS_EVERY_S
        ):
            self._renewed_at = mono
            self._start(self._renew(is_wanted=True))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_after_group(self) -> None:
        while True:
            await asyncio.sleep(SUBSCRIPTION_LOOK_S)
            await self._renew(is_wanted=False)

    async def _renew(self, *, is_wanted: bool) -> None:
        try:
            await self._topics.renew(self._channel, is_wanted=is_wanted)
        except (NoSuchGroup, CryptoError) as error:
            self._fail(error)
        except StoreError:
            return  # the disk is looked at again in a minute

    def _on_news(self) -> None:
        """More is known of the group."""
        try:
            self._topics.check_membership(self._channel)
        except NotAMember as error:
            self._fail(error)
            return
        members, self._members = self._members, self._channel.members
        if self._feed is not None:
            self._listening.renew(self._feed, are_more_wanted=not self._members <= members)


def _not_begun() -> UsageError:
    return UsageError("a subscription has to be begun", hint="use: async with dht.subscribe(…) as …")


def _nothing() -> None:
    """Nobody is told of the end."""


def _check(since: object, overflow: object, size: object) -> None:
    is_number = isinstance(since, int | float) and not isinstance(since, bool)
    if since is not None and not isinstance(since, bytes) and not (is_number and float(since) >= 0):  # type: ignore[arg-type]
        raise UsageError(
            "since is a number of seconds, a cursor, or None", hint="for the last hour: since=3600"
        )
    if overflow not in ("wait", "drop", "raise"):
        raise UsageError('overflow is "wait", "drop" or "raise"')
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= SUBSCRIPTION_MESSAGES_MAX:
        raise UsageError(f"size is 1 to {SUBSCRIPTION_MESSAGES_MAX:,} messages")

"""What other hosts hold and this one does not, fetched: of so many topics at a time, each with a Puller while it has something to do.

PROTOCOL.md section 11. A topic that takes long makes place for others, and nodes that are not near a topic leave room to those that are.
What others say costs no more than a history could be: anybody may say that he is a host.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from yzdht.errors import StoreError
from yzdht.limits import (
    FETCH_PAUSE_FULL_S,
    FETCH_PAUSE_S,
    FETCH_SOURCES_MAX,
    HISTORY_MESSAGES_MAX,
    PULL_TURN_S,
    PULLED_TOPICS_MAX,
)
from yzdht.pubsub.puller import Puller
from yzdht.wire.holdings import claimed


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.hosted import Hosted, Topics
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.policies import Policies
    from yzdht.rpc.engine import Answer, Failed
    from yzdht.wire.address import Contact
    from yzdht.wire.history import Bringer
    from yzdht.wire.holdings import Held, Series, Span
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body, Method, SummaryRow


class Fetching:
    """Of one host.

    Args:
        topics: What is held.
        outbox: Where calls go.
        take: Takes in an envelope that another host sent, and that host's account, None for one near the topic; False if it
            is not genuine.
        again: Told of a topic that had to make place, or found none: it is to be looked at again.
        policies: Who writes: of others nothing is fetched.
        ended: Told of a topic of which nothing is fetched any more.

    """

    def __init__(
        self,
        topics: Topics,
        outbox: Outbox,
        take: Callable[[PubsubEnvelope, Hosted, Contact, Bringer | None, Now], bool],
        again: Callable[[Hosted, Now], None],
        policies: Policies,
        ended: Callable[[TopicId], None],
    ) -> None:
        self._topics = topics
        self._outbox = outbox
        self._take = take
        self._again = again
        self._policies = policies
        self._ended = ended
        self._pullers: dict[TopicId, Puller] = {}
        self._pull_at: dict[TopicId, float] = {}
        self._since: dict[TopicId, float] = {}  # the longest first
        self._accounts: dict[TopicId, dict[NodeId, Bringer]] = {}  # of sources that are not near

    @property
    def is_quiet(self) -> bool:
        """True if nothing is fetched."""
        return not self._pullers

    def hear(
        self,
        hosted: Hosted,
        contact: Contact,
        rows: tuple[SummaryRow, ...],
        now: Now,
        account: Bringer | None = None,
    ) -> None:
        """A host says what it holds; what is missing here is fetched.

        Args:
            hosted: Of which topic.
            contact: Which host.
            rows: What it says.
            now: The present.
            account: Who pays for what is fetched from it, if it is not near the topic.

        Raises:
            StoreError: The disk does not say what is held; nothing is fetched.

        """
        topic = hosted.topic
        # Each series once: many rows of one with many gaps would cost the product of both.
        distinct = {(row.sender, row.session): row for row in rows}.values()
        rows = tuple(row for row in _possible(distinct) if self._policies.may_write(topic, row.sender))
        puller = self._pullers.get(topic)
        if puller is None:
            if not self._topics.holdings(topic).missing(rows):
                return
            if not self._has_room(hosted, contact, now):
                self._again(hosted, now)
                return
            puller = self._pullers[topic] = self._puller(hosted)
            self._since[topic] = now.mono
            self._accounts[topic] = {}
        self._attempt(topic, partial(self._tell, puller, hosted, contact, rows, account), now)

    def _tell(
        self,
        puller: Puller,
        hosted: Hosted,
        contact: Contact,
        rows: tuple[SummaryRow, ...],
        account: Bringer | None,
        now: Now,
    ) -> None:
        if self._has_place(puller, hosted, contact, now):
            self._charge(hosted.topic, contact.node_id, account)
            puller.hear(contact, rows, now, asks_below=True)

    def _attempt(self, topic: TopicId, do: Callable[[Now], None], now: Now) -> None:
        """Have something done to a puller and look after it; while the disk does not say what is held, nothing is fetched of a topic."""
        try:
            do(now)
            self._settle(topic)
        except StoreError:
            self._let_go(topic, now, is_stranger=False)

    def _charge(self, topic: TopicId, source: NodeId, account: Bringer | None) -> None:
        self._accounts[topic].pop(source, None)
        if account is not None:
            self._accounts[topic][source] = account

    def gone(self, source: NodeId, now: Now) -> None:
        """A node has no session any more: what it was asked for is asked of others, and of itself once it says what it holds."""
        for topic, puller in list(self._pullers.items()):
            if source in puller.sources:
                self._attempt(topic, partial(self._lose, topic, puller, source), now)

    def _lose(self, topic: TopicId, puller: Puller, source: NodeId, now: Now) -> None:
        is_stranger = source in self._accounts[topic]  # it comes by itself
        self._drop_source(topic, source, now)
        if puller.is_idle and not is_stranger:
            self._let_go(topic, now, is_stranger=False)

    def compared(self, topic: TopicId) -> None:
        """All others were asked what they hold, or did not answer for long: if it is of no use here, nothing is fetched."""
        if topic not in self._pullers:
            self._ended(topic)

    def _let_go(self, topic: TopicId, now: Now, *, is_stranger: bool) -> None:
        """Fetch nothing more of a topic for now; hosts near it are asked soon what they have."""
        self.drop(topic)
        hosted = self._topics.get(topic)
        if hosted is not None and is_stranger:
            self._ended(topic)
        elif hosted is not None:
            self._again(hosted, now)

    def _drop_source(self, topic: TopicId, source: NodeId, now: Now) -> None:
        self._pullers[topic].drop(source, now)
        self._accounts[topic].pop(source, None)

    def is_fetching(self, topic: TopicId) -> bool:
        """True while something of a topic is fetched."""
        return topic in self._pullers

    def _has_place(self, puller: Puller, hosted: Hosted, contact: Contact, now: Now) -> bool:
        """See that a topic can be fetched from one more: half of the places are for nodes near it, which get those of others."""
        sources = puller.sources
        if contact.node_id in sources or len(sources) < FETCH_SOURCES_MAX // 2:
            return True
        if not _is_near(hosted, contact.node_id):
            return False
        if len(sources) == FETCH_SOURCES_MAX:
            gone = next((each for each in sources if not _is_near(hosted, each)), sources[0])
            self._drop_source(hosted.topic, gone, now)
        return True

    def _has_room(self, hosted: Hosted, contact: Contact, now: Now) -> bool:
        """See that one more topic can be fetched; the one that has been longest goes if it has had its turn.

        For a node that is not near one goes that is fetched from such nodes alone.
        """
        is_near = _is_near(hosted, contact.node_id)
        if len(self._pullers) < (PULLED_TOPICS_MAX if is_near else PULLED_TOPICS_MAX // 2):
            return True
        longest = next((topic for topic in self._since if is_near or self._is_of_strangers(topic)), None)
        if longest is None or now.mono - self._since[longest] < PULL_TURN_S:
            return False
        self._let_go(longest, now, is_stranger=self._is_of_strangers(longest))
        return True

    def _is_of_strangers(self, topic: TopicId) -> bool:
        return len(self._accounts[topic]) == len(self._pullers[topic].sources)

    def _puller(self, hosted: Hosted) -> Puller:
        topic = hosted.topic

        def held(series: Series) -> Held:
            return self._topics.holdings(topic).of(series)

        def take(envelope: PubsubEnvelope, source: Contact, now: Now) -> bool:
            return self._take(envelope, hosted, source, self._accounts[topic].get(source.node_id), now)

        def unfillable(_series: Series, _span: Span, _now: Now) -> None:
            """Nobody has it; whoever gets it after all says so."""

        calls = _Calls(self._outbox, partial(self._attempt, topic))
        return Puller(topic, held, calls, take, unfillable)

    def _settle(self, topic: TopicId) -> None:
        """After anything happened to a puller: keep its time, or drop it if it has nothing to do."""
        puller = self._pullers.get(topic)
        if puller is None:
            return
        hosted = self._topics.get(topic)
        puller.rest_s = FETCH_PAUSE_FULL_S if hosted is not None and hosted.is_full else FETCH_PAUSE_S
        at = puller.next_timer()
        if puller.is_idle:
            self.drop(topic)
            self._ended(topic)
        elif at is None:  # all that is under way takes long
            self._pull_at.pop(topic, None)
        else:
            self._pull_at[topic] = at

    def drop(self, topic: TopicId) -> None:
        """Fetch nothing of a topic any more."""
        puller = self._pullers.pop(topic, None)
        if puller is not None:
            puller.stop()
            self._pull_at.pop(topic, None)
            del self._since[topic], self._accounts[topic]

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return min(self._pull_at.values(), default=None)

    def handle_timer(self, now: Now) -> None:
        """Let pullers do what is due."""
        for topic, at in list(self._pull_at.items()):
            if at <= now.mono and (puller := self._pullers.get(topic)) is not None:
                self._attempt(topic, puller.handle_timer, now)

    def stop(self) -> None:
        """Fetch nothing any more."""
        for topic in list(self._pullers):
            self.drop(topic)


def _is_near(hosted: Hosted, node_id: NodeId) -> bool:
    return any(node_id == near.node_id for near in hosted.near)


def _possible(rows: Iterable[SummaryRow]) -> Iterator[SummaryRow]:
    """The first of these: a history has so many messages, and no more runs of them; to believe more would cost time and memory."""
    runs = 0
    for row in rows:
        runs += len(claimed(row))
        if runs > HISTORY_MESSAGES_MAX:
            return
        yield row


class _Calls:
    """The outbox, for a puller whose owner hands it each answer, and looks at it then."""

    def __init__(self, outbox: Outbox, attempt: Callable[[Callable[[Now], None], Now], None]) -> None:
        self._outbox = outbox
        self._attempt = attempt

    def call(
        self,
        contact: Contact,
        method: Method,
        body: Body,
        deadline_s: float,
        then: Callable[[Answer | Failed, Now], None],
    ) -> int:
        """As the outbox does."""

        def on_answer(outcome: Answer | Failed, now: Now) -> None:
            self._attempt(partial(then, outcome), now)

        return self._outbox.call(contact, method, body, deadline_s, on_answer)

    def cancel(self, call: int) -> None:
        """As the outbox does."""
        self._outbox.cancel(call)

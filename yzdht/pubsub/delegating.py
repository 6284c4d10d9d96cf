"""Messages of a client on their way through its nodes, which bring them to the hosts (PROTOCOL.md section 11, `delegate`).

One node after the other is asked, with the same bytes, until one says that a majority of the hosts has the message on disk; a node that
is slow has the next one asked beside it, and is asked after the others for a while. Hosts keep a message once, however often it comes.
That a message can never be taken is believed of two nodes, or of all there are: one that lies stops nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.due_times import DueTimes
from yzdht.limits import (
    CLIENT_NODES_AVOIDED_MAX,
    DELEGATED_PUBLISH_CALL_S,
    DELEGATED_PUBLISH_LATE_S,
    HOST_CANDIDATES,
    NODE_AVOIDED_S,
    PUBLISH_DEADLINE_S,
    PUBLISH_RETRY_S_MAX,
    PUBLISH_RETRY_S_MIN,
    PUBLISHES_MAX,
)
from yzdht.pubsub.pauses import doubled_s, told_s
from yzdht.pubsub.policies import Policies
from yzdht.pubsub.publisher import PublishResult, is_final
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.rpc import Method, Publish, Published, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId, Target, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.sources import Finder
    from yzdht.wire.address import Contact
    from yzdht.wire.pubsub import PubsubEnvelope


_NOTHING = PublishResult(0, 0)

_ENOUGH = 2  # nodes that say the same


class NodeFinder:
    """Names a client's nodes, in the order in which they are to be asked, whatever the topic.

    Args:
        outbox: Through which they are named.
        target_of: The point of a topic; whoever names nodes does not look at it.

    """

    def __init__(self, outbox: Outbox, target_of: Callable[[TopicId], Target]) -> None:
        self._outbox = outbox
        self._target_of = target_of

    def find(self, topic: TopicId, then: Callable[[tuple[Contact, ...], Now], None], now: Now) -> None:
        """Tell them: those with a session first."""
        target = self._target_of(topic)
        self._outbox.find(target, HOST_CANDIDATES, lambda contacts, at: then(tuple(contacts), at))

    def doubt(self, topic: TopicId) -> None:
        """One failed: nothing is remembered of it here."""


@dataclass(slots=True)
class _Errand:
    """One message.

    Attributes:
        nodes: Whom to ask, in order.
        tries: How often each was asked.
        turn: How often any was asked.
        open: Calls that are not answered.
        asked: The last that was asked.
        best: The most that a node said of it.
        refused: Which nodes said that it can never be taken, and why; they are not asked again.
        next_at: When the next is asked, if nothing happens before.

    """

    envelope: PubsubEnvelope
    then: Callable[[PublishResult, Now], None]
    deadline: float
    nodes: tuple[Contact, ...] = ()
    tries: dict[NodeId, int] = field(default_factory=dict)
    turn: int = 0
    open: set[int] = field(default_factory=set)
    asked: NodeId | None = None
    best: PublishResult = _NOTHING
    refused: dict[NodeId, Status] = field(default_factory=dict)
    next_at: float = 0.0

    def askable(self) -> list[Contact]:
        """Who may be asked."""
        return [node for node in self.nodes if node.node_id not in self.refused]

    def verdict(self) -> Status | None:
        """Why it can never be taken, if two nodes say so, or all."""
        is_decided = len(self.refused) >= _ENOUGH or (self.nodes and not self.askable())
        return next(reversed(self.refused.values())) if is_decided else None

    def pause_s(self) -> float:
        """How long to wait before the next is asked: not at all within a round."""
        askable = self.askable()
        times, rest = divmod(sum(self.tries.get(node.node_id, 0) for node in askable), max(1, len(askable)))
        return 0.0 if rest or not times else doubled_s(PUBLISH_RETRY_S_MIN, PUBLISH_RETRY_S_MAX, times)


class Delegating:
    """Of one client.

    Args:
        outbox: Where calls go.
        finder: Names the client's nodes.
        policies: Of topics that have an owner, which nodes are shown; none if not given.

    """

    def __init__(self, outbox: Outbox, finder: Finder, policies: Policies | None = None) -> None:
        self._outbox = outbox
        self._finder = finder
        self._policies = Policies() if policies is None else policies
        self._running: dict[int, _Errand] = {}
        self._times: DueTimes[int] = DueTimes()
        self._avoided: dict[NodeId, float] = {}  # until when
        self._last = 0

    def __len__(self) -> int:
        return len(self._running)

    def publish(
        self,
        envelope: PubsubEnvelope,
        then: Callable[[PublishResult, Now], None],
        now: Now,
        patience_s: float = PUBLISH_DEADLINE_S,
    ) -> bool:
        """Begin; `then` is told once, after `patience_s` at the latest. False if too many are under way: nothing began."""
        if len(self._running) >= PUBLISHES_MAX:
            return False
        self._last += 1
        deadline = now.mono + patience_s
        self._running[self._last] = _Errand(envelope, then, deadline, next_at=deadline)
        self._find(self._last, now)
        return True

    def _find(self, number: int, now: Now) -> None:
        self._arm(number)
        topic = self._running[number].envelope.topic
        self._finder.find(topic, lambda nodes, at: self._found(number, nodes, at), now)

    def _found(self, number: int, nodes: tuple[Contact, ...], now: Now) -> None:
        errand = self._running.get(number)
        if errand is None:
            return
        errand.nodes = tuple(sorted(nodes, key=lambda node: self._is_avoided(node.node_id, now)))
        if (verdict := errand.verdict()) is not None:
            self._end(number, PublishResult(0, 0, verdict), now)
        elif nodes:
            self._ask(number, errand, now)
        else:
            errand.next_at = now.mono + PUBLISH_RETRY_S_MAX
        self._arm(number)

    def _is_avoided(self, node_id: NodeId, now: Now) -> bool:
        return self._avoided.get(node_id, 0.0) > now.mono

    def _avoid(self, node_id: NodeId, now: Now) -> None:
        """It failed, or is slow: for a while the others are asked before it."""
        self._avoided.pop(node_id, None)
        self._avoided[node_id] = now.mono + NODE_AVOIDED_S
        if len(self._avoided) > CLIENT_NODES_AVOIDED_MAX:
            del self._avoided[next(iter(self._avoided))]

    def _ask(self, number: int, errand: _Errand, now: Now) -> None:
        tries = errand.tries
        contact = min(errand.askable(), key=lambda node: tries.get(node.node_id, 0))  # of equals the first
        tries[contact.node_id] = tries.get(contact.node_id, 0) + 1
        errand.turn += 1
        errand.asked = contact.node_id
        errand.next_at = now.mono + DELEGATED_PUBLISH_LATE_S * (1 + (errand.turn - 1) // len(errand.nodes))
        policy = self._policies.to_show(errand.envelope.topic, contact.node_id, now)
        body = Publish(errand.envelope.raw, delegate=True, policy=policy)
        call = 0

        def on_answer(outcome: Answer | Failed, at: Now) -> None:
            if not _result(outcome).is_accepted:
                self._policies.show_again(errand.envelope.topic, contact.node_id)
            self._on_answer(number, call, contact.node_id, outcome, at)

        call = self._outbox.call(contact, Method.PUBLISH, body, DELEGATED_PUBLISH_CALL_S, on_answer)
        errand.open.add(call)

    def _on_answer(self, number: int, call: int, node_id: NodeId, outcome: Answer | Failed, now: Now) -> None:
        if isinstance(outcome, Answer) and outcome.status is not Status.UNKNOWN_METHOD:
            self._avoided.pop(node_id, None)
        else:
            self._avoid(node_id, now)
        errand = self._running.get(number)
        if errand is None:
            return
        errand.open.discard(call)
        result = _result(outcome)
        if is_final(result.refusal):
            errand.refused[node_id] = result.refusal
        if result.is_accepted or errand.verdict() is not None or self._is_shut_out(errand, result):
            self._end(number, result, now)
            return
        errand.best = max(errand.best, result, key=lambda r: (r.stored, r.asked, r.refusal))
        if not errand.open:
            errand.next_at = now.mono + max(errand.pause_s(), min(PUBLISH_DEADLINE_S, told_s(outcome)))
            self._arm(number)

    def _is_shut_out(self, errand: _Errand, result: PublishResult) -> bool:
        """True if every node was asked twice, was shown the policy so, and the last still refuses."""
        has_owner = self._policies.get(errand.envelope.topic) is not None
        is_round_over = not errand.open and errand.turn >= 2 * len(errand.nodes)
        return has_owner and is_round_over and result.refusal is Status.REFUSED

    def _end(self, number: int, result: PublishResult, now: Now) -> None:
        errand = self._running.pop(number)
        self._times.forget(number)
        for call in errand.open:
            self._outbox.cancel(call)
        errand.then(result, now)

    # Time

    def _arm(self, number: int) -> None:
        errand = self._running.get(number)
        if errand is not None:
            self._times.set(number, min(errand.next_at, errand.deadline))

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return self._times.next()

    def handle_timer(self, now: Now) -> None:
        """Ask the next node where that is due, and end what took too long."""
        while (number := self._times.take(now.mono)) is not None:
            errand = self._running[number]
            if errand.deadline <= now.mono:
                self._end(number, errand.best, now)
                continue
            if errand.open and errand.asked is not None:
                self._avoid(errand.asked, now)
            errand.next_at = errand.deadline
            self._find(number, now)

    def stop(self, now: Now) -> None:
        """Give up everything under way; what is known so far is told."""
        for number, errand in list(self._running.items()):
            self._end(number, errand.best, now)


def _result(outcome: Answer | Failed) -> PublishResult:
    if isinstance(outcome, Failed):
        return PublishResult(0, 0)
    if isinstance(outcome.body, Published):
        return PublishResult(outcome.body.stored, outcome.body.asked)
    return PublishResult(0, 0, outcome.status)

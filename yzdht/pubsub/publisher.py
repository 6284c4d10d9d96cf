"""Messages on their way to the hosts of their topic, until a majority of these has them on disk (PROTOCOL.md section 11).

A host that cannot be reached, or refuses since it is no host any more, has the hosts looked up again; the same bytes go to
whoever is one then. What a majority took is done: the hosts pass it on among themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from yzdht.due_times import DueTimes
from yzdht.limits import (
    PUBLISH_CALL_S,
    PUBLISH_DEADLINE_S,
    PUBLISH_RETRY_S_MAX,
    PUBLISH_RETRY_S_MIN,
    PUBLISHES_MAX,
)
from yzdht.pubsub.pauses import doubled_s, told_s
from yzdht.pubsub.policies import Policies
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.rpc import Method, Publish, Published, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.ports import Now
    from yzdht.pubsub.hosts import HostFinder
    from yzdht.pubsub.outbox import Outbox
    from yzdht.wire.address import Contact
    from yzdht.wire.pubsub import PubsubEnvelope


class PublishResult(NamedTuple):
    """What came of one message.

    Attributes:
        stored: Hosts that said they have it on disk.
        asked: Hosts of the topic.
        refusal: Why one of them does not take it, of the commonest; OK if none refused.

    """

    stored: int
    asked: int
    refusal: Status = Status.OK

    @property
    def is_accepted(self) -> bool:
        """True once a majority has it."""
        return self.asked > 0 and self.stored >= majority(self.asked)


def majority(hosts: int) -> int:
    """How many of so many hosts are to have a message: ⌊h/2⌋ + 1."""
    return hosts // 2 + 1


_FINAL = (
    Status.BAD_REQUEST,
    Status.TOO_LARGE,
    Status.BAD_SIGNATURE,
    Status.SEQ_TOO_LOW,
    Status.EQUIVOCATION,
)

_SHUT_OUT_TRIES = 3  # shown the policy in the second at the latest


def is_final(refusal: Status) -> bool:
    """True for a refusal that says something of the message: another host would say the same."""
    return refusal in _FINAL


class _State(Enum):
    """Of one host."""

    ASKED = auto()
    STORED = auto()
    REFUSED = auto()  # for good
    FAILED = auto()  # to be asked again


@dataclass(slots=True)
class _Host:
    state: _State
    tries: int = 0
    again_at: float = 0.0
    refusal: Status = Status.OK


@dataclass(slots=True)
class _Publish:
    """One message on its way.

    Attributes:
        asked: What came of every node that was a host of the topic while this is under way.
        hosts: Those that are, as far as is known.
        again_without_hosts: When hosts are looked for again if there were none.

    """

    envelope: PubsubEnvelope
    then: Callable[[PublishResult, Now], None]
    deadline: float
    asked: dict[NodeId, _Host] = field(default_factory=dict)
    hosts: tuple[Contact, ...] = ()
    is_finding: bool = False
    again_without_hosts: float = 0.0

    def of_hosts(self) -> list[_Host]:
        """What came of those that are hosts."""
        return [self.asked[contact.node_id] for contact in self.hosts if contact.node_id in self.asked]

    @property
    def is_open(self) -> bool:
        """True while none of the hosts has answered what it was asked."""
        return bool(self.hosts) and all(host.state is _State.ASKED for host in self.of_hosts())

    def result(self) -> PublishResult:
        """How it stands."""
        of_hosts = self.of_hosts()
        stored = sum(host.state is _State.STORED for host in of_hosts)
        refusals = [host.refusal for host in of_hosts if host.state is not _State.STORED and host.refusal]
        refusal = max(refusals, key=refusals.count, default=Status.OK)
        return PublishResult(stored, len(self.hosts), refusal)

    def is_refused(self) -> bool:
        """True if a majority says that it would never take it; one host that lies decides nothing."""
        refused = sum(host.state is _State.REFUSED for host in self.of_hosts())
        return refused > 0 and refused >= majority(len(self.hosts))

    def is_shut_out(self) -> bool:
        """True if a majority refused it each time, for so often that no change of the hosts explains it."""
        refused = [
            host.refusal is Status.REFUSED and host.tries >= _SHUT_OUT_TRIES for host in self.of_hosts()
        ]
        return sum(refused) >= majority(len(self.hosts))

    def due_at(self) -> float:
        """When something is to be done, if nothing happens before."""
        failed = [host.again_at for host in self.of_hosts() if host.state is _State.FAILED]
        if self.is_finding or (self.hosts and not failed):
            return self.deadline
        return min(self.deadline, *(failed or [self.again_without_hosts]))


class Publisher:
    """Brings messages to the hosts of their topics: this node's own, and those that clients hand it.

    Args:
        own_id: This node, which is asked without a network where it is a host.
        outbox: Where calls go.
        finder: Knows the hosts.
        at_home: Takes a message at this node itself, and tells when it is on disk, or why it will not be.
        policies: Of topics that have an owner, which hosts are shown; none if not given.

    """

    def __init__(
        self,
        own_id: NodeId,
        outbox: Outbox,
        finder: HostFinder,
        at_home: Callable[[PubsubEnvelope, Callable[[Answer, Now], None], Now], None],
        policies: Policies | None = None,
    ) -> None:
        self._own_id = own_id
        self._outbox = outbox
        self._finder = finder
        self._at_home = at_home
        self._policies = Policies() if policies is None else policies
        self._running: dict[int, _Publish] = {}
        self._times: DueTimes[int] = DueTimes()
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
        self._running[self._last] = _Publish(envelope, then, now.mono + patience_s)
        self._find(self._last, now)
        return True

    def _find(self, number: int, now: Now) -> None:
        publish = self._running[number]
        publish.is_finding = True
        self._times.set(number, publish.deadline)
        self._finder.find(publish.envelope.topic, lambda hosts, at: self._found(number, hosts, at), now)

    def _found(self, number: int, hosts: tuple[Contact, ...], now: Now) -> None:
        publish = self._running.get(number)
        if publish is None:
            return
        publish.is_finding = False
        publish.hosts = hosts
        publish.again_without_hosts = now.mono + PUBLISH_RETRY_S_MAX
        if not hosts:
            self._finder.doubt(publish.envelope.topic)
        for contact in hosts:
            host = publish.asked.get(contact.node_id)
            if host is None or (host.state is _State.FAILED and host.again_at <= now.mono):
                self._ask(publish, number, contact, now)
        self._look(number, now)

    def _ask(self, publish: _Publish, number: int, contact: Contact, now: Now) -> None:
        topic = publish.envelope.topic
        host = publish.asked.setdefault(contact.node_id, _Host(_State.ASKED))
        host.state = _State.ASKED
        host.tries += 1

        def on_answer(outcome: Answer | Failed, at: Now) -> None:
            if not _is_ok(outcome):
                self._policies.show_again(topic, contact.node_id)
            self._on_answer(number, host, outcome, at)

        if contact.node_id == self._own_id:
            self._at_home(publish.envelope, on_answer, now)
            return
        policy = self._policies.to_show(topic, contact.node_id, now)
        body = Publish(publish.envelope.raw, policy=policy)
        self._outbox.call(contact, Method.PUBLISH, body, PUBLISH_CALL_S, on_answer)

    def _on_answer(self, number: int, host: _Host, outcome: Answer | Failed, now: Now) -> None:
        publish = self._running.get(number)
        if publish is None:
            return
        _note(host, outcome, now)
        if host.state is _State.FAILED and _is_no_host(outcome):
            self._finder.doubt(publish.envelope.topic)
        self._look(number, now)

    def _look(self, number: int, now: Now) -> None:
        """End it if that is decided; see that it is looked after else."""
        publish = self._running.get(number)
        if publish is None:
            return
        if publish.is_open and now.mono < publish.deadline:
            self._times.set(number, publish.deadline)
            return
        result = publish.result()
        if result.is_accepted or self._is_refused(publish) or now.mono >= publish.deadline:
            self._end(number, result, now)
        else:
            self._arm(number)

    def _is_refused(self, publish: _Publish) -> bool:
        """True if it is not worth trying again; hosts that were shown a policy go by it."""
        has_owner = self._policies.get(publish.envelope.topic) is not None
        return publish.is_refused() or (has_owner and publish.is_shut_out())

    def _end(self, number: int, result: PublishResult, now: Now) -> None:
        """Hosts that have not answered yet are let go on: they take it all the same."""
        self._times.forget(number)
        self._running.pop(number).then(result, now)

    # Time

    def _arm(self, number: int) -> None:
        self._times.set(number, self._running[number].due_at())

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return self._times.next()

    def handle_timer(self, now: Now) -> None:
        """Try again where that is due, and end what took too long."""
        while (number := self._times.take(now.mono)) is not None:
            if now.mono >= self._running[number].deadline:
                self._look(number, now)
            else:
                self._find(number, now)

    def stop(self, now: Now) -> None:
        """Give up everything under way; what hosts took so far is told."""
        for number, publish in list(self._running.items()):
            self._end(number, publish.result(), now)


def _note(host: _Host, outcome: Answer | Failed, now: Now) -> None:
    """What an answer says of a host."""
    host.refusal = Status.OK
    if isinstance(outcome, Answer) and _is_ok(outcome):
        is_durable = isinstance(outcome.body, Published) and outcome.body.stored > 0
        host.state = _State.STORED if is_durable else _State.FAILED
    elif isinstance(outcome, Answer):
        host.refusal = outcome.status
        host.state = _State.REFUSED if is_final(outcome.status) else _State.FAILED
    else:
        host.state = _State.FAILED
    pause_s = doubled_s(PUBLISH_RETRY_S_MIN, PUBLISH_RETRY_S_MAX, host.tries)
    host.again_at = now.mono + max(pause_s, min(PUBLISH_DEADLINE_S, told_s(outcome)))


def _is_ok(outcome: Answer | Failed) -> bool:
    return isinstance(outcome, Answer) and outcome.status is Status.OK


def _is_no_host(outcome: Answer | Failed) -> bool:
    return not isinstance(outcome, Answer) or outcome.status in (Status.REFUSED, Status.UNKNOWN_METHOD)

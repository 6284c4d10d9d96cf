"""Where a process listens to one topic: its hosts found, subscribed at, one of them asked to push (PROTOCOL.md section 11).

A subscription lives as long as the session. Whoever is lost is replaced at once by the next of those that are subscribed at;
hosts are looked for again on every loss, and now and then, for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.limits import (
    FEED_FORGED_S,
    FEED_HOSTS_MAX,
    FEED_LOOK_EVERY_S,
    FEED_NODES,
    FEED_PAGES_MAX,
    FEED_RETRY_S_MAX,
    FEED_RETRY_S_MIN,
    FEED_UNLISTED_LOOKS,
    SUBSCRIBE_CALL_S,
    SUMMARY_ROWS_MAX,
    TOPIC_HOSTS,
)
from yzdht.pubsub.pauses import doubled_s, told_s
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.wire.rpc import Method, Status, Subscribe, Subscribed, Unsubscribe


if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now
    from yzdht.pubsub.puller import Calls
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import SummaryRow, WireContact


class Finder(Protocol):
    """Knows where a topic can be listened to: a HostFinder, or what names a client's nodes."""

    def find(self, topic: TopicId, then: Callable[[tuple[Contact, ...], Now], None], now: Now) -> None:
        """Tell them, the best first, at once or later."""
        ...

    def doubt(self, topic: TopicId) -> None:
        """One of them failed."""
        ...


class Surroundings(NamedTuple):
    """What a process has for all topics that it listens to.

    Attributes:
        own_id: Its id.
        calls: Where requests go.
        finder: Knows the hosts.
        usable: Turns contacts that a node named into those that may be dialled and host topics.
        is_delegated: True for a client: it listens through its nodes.

    """

    own_id: NodeId
    calls: Calls
    finder: Finder
    usable: Callable[[tuple[WireContact, ...], NodeId], list[Contact]]
    is_delegated: bool = False


_LATER = (Status.BUSY, Status.RATE_LIMITED, FailReason.BUSY, FailReason.TIMEOUT)
_NOT_THERE = (FailReason.UNREACHABLE, FailReason.WRONG_ID)


class _State(Enum):
    ASKED = auto()
    SUBSCRIBED = auto()
    FAILED = auto()


@dataclass(slots=True, eq=False)
class _Host:
    """One place to listen at.

    Attributes:
        rank: The highest of those subscribed at is to push, unless this node is one of them.
        is_asked_to_push: In what was said to it last.
        is_asked_briefly: Likewise: one page is enough, and a refusal is none of the subscription.
        is_unwilling: It was asked to push and said that it will not, or does not.
        is_owed_goodbye: A subscription of this process stands there, even if what was asked last failed, and nobody else ends it.
        unlisted: How many renewals in turn did not find it.

    """

    contact: Contact
    rank: bytes
    state: _State = _State.FAILED
    call: int | None = None
    is_asked_to_push: bool = False
    is_asked_briefly: bool = False
    pushes: bool = False
    is_unwilling: bool = False
    is_owed_goodbye: bool = False
    failures: int = 0
    again_at: float = 0.0
    unlisted: int = 0
    turn: int = 0  # tells answers to what was asked last from older ones

    @property
    def is_in_use(self) -> bool:
        """True if it is subscribed at, or may be soon."""
        return self.state is not _State.FAILED


class Sources:
    """Of one topic.

    Args:
        topic: Which.
        around: What is there for all topics.
        on_rows: Told what a host holds, page by page, whenever it answers a subscription.
        on_answered: Told after the last page.
        on_gone: Told who is none any more.

    """

    def __init__(
        self,
        topic: TopicId,
        around: Surroundings,
        on_rows: Callable[[Contact, tuple[SummaryRow, ...], Now], None],
        on_answered: Callable[[NodeId, Now], None],
        on_gone: Callable[[NodeId, Now], None],
    ) -> None:
        self._topic = topic
        self._around = around
        self._on_rows = on_rows
        self._on_answered = on_answered
        self._on_gone = on_gone
        self._hosts: dict[NodeId, _Host] = {}
        self._found: tuple[Contact, ...] = ()
        self._named: dict[NodeId, Contact] = {}
        self._look_at: float | None = None
        self._renew_at: float | None = None
        self._is_looking = False
        self._is_stopped = False
        self._short_looks = 0
        self._at = 0.0

    # What may be asked

    def contact(self, node_id: NodeId) -> Contact | None:
        """Whoever is listened to; None for all others."""
        host = self._hosts.get(node_id)
        return host.contact if host is not None and host.is_in_use else None

    def take_over(self, node_id: NodeId) -> bool:
        """If it is listened to a node, or will be perhaps: a subscription that stands there is ended here, whatever becomes of that."""
        host = self._hosts.get(node_id)
        if host is None or not host.is_in_use:
            return False
        host.is_owed_goodbye = True
        return True

    @property
    def is_waiting(self) -> bool:
        """True while somebody was asked and has not answered."""
        return self._is_looking or any(host.state is _State.ASKED for host in self._hosts.values())

    @property
    def is_refreshing(self) -> bool:
        """True while somebody was asked what it holds and has not answered."""
        return any(h.call is not None and h.state is _State.SUBSCRIBED for h in self._hosts.values())

    @property
    def subscribed(self) -> tuple[NodeId, ...]:
        """Where a subscription stands."""
        return tuple(h.contact.node_id for h in self._hosts.values() if h.state is _State.SUBSCRIBED)

    def found(self, among: Collection[NodeId]) -> tuple[NodeId, ...]:
        """Those that the own search found; if it found none of them all that are given.

        Whoever a host names may be the host itself once more.
        """
        return tuple(c.node_id for c in self._found if c.node_id in among) or tuple(among)

    def are_most(self, among: Collection[NodeId]) -> bool:
        """True if these are more than half of the hosts that were found, or any of the nodes that a client chose."""
        count = sum(contact.node_id in among for contact in self._found)
        return 2 * count > min(len(self._found), 1 if self._around.is_delegated else TOPIC_HOSTS)

    @property
    def pusher(self) -> NodeId | None:
        """Who pushes."""
        return next((h.contact.node_id for h in self._hosts.values() if h.pushes), None)

    # Looking

    def look(self, now: Now) -> None:
        """Find the hosts and subscribe at all of them, anew at those where a subscription stands."""
        if self._is_looking or self._is_stopped:
            return
        self._is_looking = True
        self._look_at = now.mono + FEED_LOOK_EVERY_S
        self._around.finder.find(self._topic, self._on_found, now)

    def refresh(self, now: Now, *, is_brief: bool = False) -> None:
        """Have those that are subscribed at say what they hold; of series that changed last alone if that is to be brief."""
        for host in list(self._hosts.values()):
            is_free = host.call is None or (host.is_asked_briefly and not is_brief)
            if host.state is _State.SUBSCRIBED and is_free:
                self._subscribe(host, now, is_push=host.is_asked_to_push, is_brief=is_brief)

    def _on_found(self, contacts: tuple[Contact, ...], now: Now) -> None:
        self._is_looking = False
        if self._is_stopped:
            return
        self._found = contacts
        if self._renew_at is None or now.mono >= self._renew_at:
            self._renew_at = now.mono + FEED_LOOK_EVERY_S
            self._renew(now)
        self._fill(now)
        self._steer(now)
        in_use = sum(host.is_in_use for host in self._hosts.values())
        goal = FEED_NODES if self._around.is_delegated else TOPIC_HOSTS
        self._short_looks = self._short_looks + 1 if in_use < goal else 0
        if self._short_looks:  # there may be no more of them; one that died comes back perhaps
            self._look_soon(self._short_looks, now)
        if not in_use:
            self._around.finder.doubt(self._topic)

    def _renew(self, now: Now) -> None:
        """Leave who is no host any more, and have all others say again who else is, and whether they push."""
        listed = {contact.node_id for contact in self._found} | set(self._named)
        for host in list(self._hosts.values()):
            host.is_unwilling = False
            host.unlisted = 0 if host.contact.node_id in listed else host.unlisted + 1
            if host.unlisted >= FEED_UNLISTED_LOOKS:
                self._leave(host, now)
        self._named.clear()
        self.refresh(now)

    def _look_soon(self, times: int, now: Now) -> None:
        at = now.mono + doubled_s(FEED_RETRY_S_MIN, FEED_RETRY_S_MAX, times)
        self._look_at = at if self._look_at is None else min(self._look_at, at)

    def _fill(self, now: Now) -> None:
        """Subscribe at whoever is to be, and is not; the best of them is asked to push from the beginning."""
        goal = FEED_NODES if self._around.is_delegated else FEED_HOSTS_MAX
        room = goal - sum(host.is_in_use for host in self._hosts.values())
        new: list[_Host] = []
        for contact in (*self._found, *self._named.values()):
            host = self._hosts.setdefault(contact.node_id, _Host(contact, self._rank(contact)))
            if room > len(new) and not host.is_in_use and host.again_at <= now.mono:
                host.contact = contact
                host.state = _State.ASKED
                new.append(host)
        best = max(new, key=self._order, default=None)
        if any(host.is_asked_to_push for host in self._hosts.values()):
            best = None  # it is steered when it has answered
        for host in new:
            self._subscribe(host, now, is_push=host is best)
        self._forget_failed()

    def _forget_failed(self) -> None:
        """Who failed and is not named any more."""
        known = {contact.node_id for contact in self._found} | set(self._named)
        for node_id in [n for n, host in self._hosts.items() if not host.is_in_use and n not in known]:
            if len(self._hosts) > 2 * FEED_HOSTS_MAX:
                self._say_goodbye(self._hosts.pop(node_id))

    def _rank(self, contact: Contact) -> bytes:
        return sha256(contact.node_id + self._around.own_id + self._topic).digest()

    def _order(self, host: _Host) -> tuple[bool, bytes]:
        """The highest is to push: this node itself while it is a host, which takes no network and withholds nothing, else by rank."""
        own_id = self._around.own_id
        is_own = host.contact.node_id == own_id and any(c.node_id == own_id for c in self._found)
        return is_own, host.rank

    def _best(self) -> _Host | None:
        """Who is to push: of those that are subscribed at, or were asked to push and have not answered yet."""
        able = [
            host
            for host in self._hosts.values()
            if (host.state is _State.SUBSCRIBED or host.is_asked_to_push) and not host.is_unwilling
        ]
        return max(able, key=self._order, default=None)

    # Subscribing

    def _subscribe(
        self, host: _Host, now: Now, *, is_push: bool, skip: int = 0, is_brief: bool = False
    ) -> None:
        if self._is_stopped:  # by what an answer before this one brought
            return
        if host.call is not None:
            self._around.calls.cancel(host.call)
            host.call = None
        host.is_asked_to_push, host.is_asked_briefly = is_push, is_brief
        host.turn += 1
        turn = host.turn
        body = Subscribe(self._topic, (), self._around.is_delegated, is_push, skip)
        call = self._around.calls.call(
            host.contact,
            Method.SUBSCRIBE,
            body,
            SUBSCRIBE_CALL_S,
            lambda outcome, at: self._on_answer(host, turn, skip, outcome, at, is_brief=is_brief),
        )
        if host.turn == turn:  # a node asks itself without a network, and has the answer by now
            host.call = call

    def _on_answer(
        self, host: _Host, turn: int, skip: int, outcome: Answer | Failed, now: Now, *, is_brief: bool
    ) -> None:
        if self._is_stopped or turn != host.turn:
            return
        host.call = None
        host.turn += 1
        if isinstance(outcome, Failed):
            # What is late may have been granted; who was not reached granted nothing.
            host.is_owed_goodbye |= outcome.reason is FailReason.TIMEOUT
            host.is_owed_goodbye &= outcome.reason not in _NOT_THERE
        if isinstance(outcome, Answer) and isinstance(outcome.body, Subscribed):
            self._on_subscribed(host, outcome.body, skip, now, is_brief=is_brief)
        elif is_brief and _why(outcome) in _LATER:
            self._on_answered(host.contact.node_id, now)  # the subscription stands
        else:
            self._lose(host, now, min(FEED_RETRY_S_MAX, told_s(outcome)))

    def _on_subscribed(self, host: _Host, body: Subscribed, skip: int, now: Now, *, is_brief: bool) -> None:
        host.state = _State.SUBSCRIBED
        host.is_owed_goodbye = True
        host.failures = 0
        host.pushes = body.push and host.is_asked_to_push
        if host.is_asked_to_push:  # else it says nothing of it
            host.is_unwilling = not body.push
        self._hear_of(body.hosts, host.contact.node_id)
        skipped = skip + len(body.summary)
        is_page_full = len(body.summary) >= SUMMARY_ROWS_MAX and not is_brief
        is_more = is_page_full and skipped < FEED_PAGES_MAX * SUMMARY_ROWS_MAX
        self._on_rows(host.contact, body.summary, now)
        if not is_more:
            self._on_answered(host.contact.node_id, now)
        if self._is_stopped or host.state is not _State.SUBSCRIBED:
            return
        if is_more:
            self._subscribe(host, now, is_push=host.is_asked_to_push, skip=skipped)
        self._fill(now)
        self._steer(now)

    def _hear_of(self, named: tuple[WireContact, ...], namer: NodeId) -> None:
        """Hosts know each other; but what one says displaces nobody that a search found."""
        if self._around.is_delegated:
            return
        found = {contact.node_id for contact in self._found}
        for contact in self._around.usable(named[:TOPIC_HOSTS], namer):
            if contact.node_id not in found and len(self._named) < FEED_HOSTS_MAX - TOPIC_HOSTS:
                self._named[contact.node_id] = contact

    def _steer(self, now: Now) -> None:
        """See that the best pushes, and then that no other does."""
        best = self._best()
        if best is None:
            return
        if best.state is _State.SUBSCRIBED and not best.is_asked_to_push:
            self._subscribe(best, now, is_push=True)
        if best.pushes:
            for host in list(self._hosts.values()):
                if host is not best and host.state is _State.SUBSCRIBED and host.is_asked_to_push:
                    self._subscribe(host, now, is_push=False)

    # Losing

    def on_down(self, node_id: NodeId, now: Now) -> None:
        """The session with a node ended, and with it what was subscribed."""
        host = self._hosts.get(node_id)
        if host is None:
            return
        host.is_owed_goodbye = False
        if host.is_in_use:
            self._lose(host, now)

    def on_up(self, node_id: NodeId, now: Now) -> None:
        """There is another session with a node: what a client has subscribed to ends with the old one."""
        host = self._hosts.get(node_id)
        if host is not None and host.state is _State.SUBSCRIBED:
            self._subscribe(host, now, is_push=host.is_asked_to_push)

    def distrust(self, node_id: NodeId, now: Now) -> None:
        """It brought something that is forged."""
        host = self._hosts.get(node_id)
        if host is not None and host.is_in_use:
            self._say_goodbye(host)
            is_last = not any(other.is_in_use for other in self._hosts.values() if other is not host)
            self._lose(host, now, FEED_RETRY_S_MAX if is_last else FEED_FORGED_S)

    def pass_over(self, now: Now) -> None:
        """Who pushes does not send what others have: the next one is asked to, until hosts are looked for again."""
        for host in self._hosts.values():
            host.is_unwilling = host.is_unwilling or host.pushes
        self._steer(now)

    def _lose(self, host: _Host, now: Now, pause_s: float = 0.0) -> None:
        host.failures += 1
        again_s = doubled_s(FEED_RETRY_S_MIN, FEED_RETRY_S_MAX, host.failures)
        host.again_at = now.mono + max(pause_s, again_s)
        self._end(host, now)
        self._around.finder.doubt(self._topic)
        self._look_soon(host.failures, now)
        self._fill(now)
        self._steer(now)

    def _end(self, host: _Host, now: Now) -> None:
        if host.call is not None:
            self._around.calls.cancel(host.call)
        host.call = None
        host.turn += 1
        host.state = _State.FAILED
        host.pushes = host.is_asked_to_push = host.is_unwilling = False
        self._on_gone(host.contact.node_id, now)

    def _leave(self, host: _Host, now: Now) -> None:
        """It is no host any more."""
        self._say_goodbye(host)
        if host.is_in_use:
            self._end(host, now)
        self._hosts.pop(host.contact.node_id, None)

    def _say_goodbye(self, host: _Host) -> None:
        """Also to who was asked and has not answered: what is not waited for any more is granted all the same."""
        if host.is_in_use or host.is_owed_goodbye:
            host.is_owed_goodbye = False
            self._around.calls.call(
                host.contact, Method.UNSUBSCRIBE, Unsubscribe(self._topic), SUBSCRIBE_CALL_S, _ignore
            )

    # Time

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        if self._is_looking or self._is_stopped:
            return None
        again = [
            h.again_at for h in self._hosts.values() if h.state is _State.FAILED and h.again_at > self._at
        ]
        return min([self._look_at, *again] if self._look_at is not None else again, default=None)

    def handle_timer(self, now: Now) -> None:
        """Look for hosts if that is due."""
        at = self.next_timer()
        if at is not None and at <= now.mono:
            self._at = now.mono
            self.look(now)

    def stop(self, *, is_silent: bool = False) -> None:
        """End all subscriptions; without a word if somebody else of this process goes on listening there."""
        self._is_stopped = True
        self._look_at = None
        for host in self._hosts.values():
            if host.call is not None:
                self._around.calls.cancel(host.call)
            if not is_silent:
                self._say_goodbye(host)
        self._hosts.clear()


def _why(outcome: Answer | Failed) -> Status | FailReason:
    return outcome.status if isinstance(outcome, Answer) else outcome.reason


def _ignore(_outcome: Answer | Failed, _now: Now) -> None:
    """Whoever is left need not agree."""

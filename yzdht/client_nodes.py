"""The nodes that a client goes through: sessions, fail-over, and the way to the replicas.

Two are asked where two can be reached; a write goes through one, and through the next with identical bytes if that one fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from yzdht.access import Reading, Writing
from yzdht.addresses import families
from yzdht.asking import Asking
from yzdht.background import Background
from yzdht.crypto.naming import node_id_of
from yzdht.errors import (
    DialFailed,
    NoNode,
)
from yzdht.gate import Gate
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    CLIENT_NODES_DIALLED_MAX,
    CLIENT_PATIENCE_S,
    DELEGATED_TIMEOUT_S,
    DELEGATED_TRIES_MAX,
    ISSUER_ADDRESSES_TRIED_MAX,
    NODE_AVOIDED_S,
    OWN_OPERATIONS_AT_ONCE,
    PUT_PATIENCE_S,
    TURNED_AWAY_S_MIN,
    TURNED_AWAY_TRIES_MAX,
)
from yzdht.own_topics import client_topics
from yzdht.rpc.engine import NO_MEMBER, Answer, Failed, FailReason
from yzdht.sessions.dialling import on_hearsay
from yzdht.sessions.world import Papers, World
from yzdht.telemetry import Counters
from yzdht.transport.one_port import OnePort
from yzdht.wire.address import Contact, parse_url
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import (
    Empty,
    Get,
    Got,
    Method,
    Put,
    PutDone,
    Redeem,
    RedeemAnswer,
    Refusal,
    Status,
    WhoAmI,
)


if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Sequence

    from yzdht.crypto.handshake import Credentials
    from yzdht.ids import NodeId, PublicKey, Target
    from yzdht.ports import Now
    from yzdht.sessions import Clock
    from yzdht.sessions.membership import ClosedNetwork
    from yzdht.wire.rpc import Body


log = logging.getLogger(__name__)

_ASKED_AT_ONCE = 2

_CERTIFICATE = "its certificate "
_OVERLOADED = ("closed", "rate_limited", "busy")
"""How failures begin of nodes that are there, in a crowd."""

_SENT_AWAY = Answer(Status.RATE_LIMITED, Refusal(int(1_000 * CLIENT_PATIENCE_S)))
"""What a call is told that the node had no time for."""

_OTHER_LINK = ("link invites to", "ask whoever invited you for the address of one that is")
_OTHER_HOME = ("home is in", "use another --network")

_DECIDED = (Status.CAS_MISMATCH, Status.SEQ_TOO_LOW, Status.EQUIVOCATION)
"""Refusals that say something of the record: another node would say the same."""

_T = TypeVar("_T")


class Pinged(NamedTuple):
    """What came of one ping.

    Attributes:
        url: Who was asked.
        node_id: Who answered; None for nobody.
        took_s: Seconds of one round trip; None without an answer.
        seen_at: The IP address that the node sees; None without an answer.
        error: Why there was no answer; empty if there was one.

    """

    url: str
    node_id: NodeId | None
    took_s: float | None
    seen_at: str | None
    error: str


class Club(NamedTuple):
    """The closed network that a client is in, or would like to be.

    Attributes:
        papers: What it shows.
        closed: Whose members alone it talks to; None in an open network.

    """

    papers: Papers
    closed: ClosedNetwork | None


class Nodes:
    """The nodes of a client: sessions, fail-over, and the way to the replicas (`records.Access`)."""

    def __init__(
        self,
        urls: tuple[str, ...],
        credentials: Credentials,
        clock: Clock,
        club: Club,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._urls = urls
        self._clock = clock
        self._is_guest = club.papers.invite is not None
        self.counters = Counters()
        world = World(
            credentials,
            [OnePort(trust=trust)],
            clock,
            self.counters,
            is_private_allowed=True,
            papers=club.papers,
            closed=club.closed,
            families=families,
        )
        self._asking = Asking(world)
        self._contacts: dict[str, Contact] = {}
        self._background = Background(self._guard)
        self._naming: asyncio.Task[None] | None = None
        self._name_at = 0.0  # not before that again
        self._unnamed: list[tuple[int, Callable[[list[Contact]], None]]] = []
        self._last_turn = 0
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)
        self._turns = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(OWN_OPERATIONS_AT_ONCE))
        self._failures: dict[str, str] = {}
        self._certificate_hint = ""  # of the last that was refused
        signer = credentials.signer
        own = Contact(node_id_of(signer.public_key), signer.public_key, (), Caps(credentials.caps))
        self.topics = client_topics(own, credentials.network, clock, self.counters, self._name_nodes)
        self.topics.sessions, self.topics.background = self._asking.sessions, self._background.start
        self._asking.topics = self.topics

    # Topics

    def _name_nodes(self, _target: Target, count: int, then: Callable[[list[Contact]], None]) -> None:
        """Whom topics are read and written through: those that answered before, at once; the others are dialled meanwhile."""
        known = self._named()
        if known:
            then(known[:count])
        else:
            self._unnamed.append((count, then))
        is_enough = sum(map(self._has_session, known)) >= min(_ASKED_AT_ONCE, len(self._urls))
        if self._naming is None and not is_enough and (not known or self._clock.now().mono >= self._name_at):
            self._naming = asyncio.get_running_loop().create_task(self._reach_more())
            self._naming.add_done_callback(self._on_reached)

    def _named(self) -> list[Contact]:
        """Those that answered before, each once; those with a session first."""
        known = {contact.node_id: contact for contact in self._contacts.values()}
        return sorted(known.values(), key=lambda contact: not self._has_session(contact))

    def _has_session(self, contact: Contact) -> bool:
        return self._asking.sessions.has_session(contact.node_id)

    async def _reach_more(self) -> None:
        """Dial some of those that have no session."""
        at = [url for url in self._urls if (c := self._contacts.get(url)) is None or not self._has_session(c)]
        turns = sorted(at, key=lambda url: (url in self._contacts, at.index(url)))
        await asyncio.gather(*(self._reach(url) for url in turns[:CLIENT_NODES_DIALLED_MAX]))

    async def _reach(self, url: str) -> None:
        contact = await self._contact(url)
        if contact is None:
            return
        if not self._has_session(contact):
            await self._asking.ask(contact, Method.PING, Empty(), DELEGATED_TIMEOUT_S)
        self._tell_named()

    def _tell_named(self) -> None:
        waiting, self._unnamed = self._unnamed, []
        for count, then in waiting:
            then(self._named()[:count])

    def _on_reached(self, task: asyncio.Task[None]) -> None:
        self._naming = None
        self._name_at = self._clock.now().mono + NODE_AVOIDED_S
        self._guard(task)
        self._tell_named()

    # Nodes

    async def connect(self) -> None:
        """Reach as many nodes as are asked at once, at least one."""
        dials = {asyncio.create_task(self._contact(url)) for url in self._urls}
        reached = 0
        try:
            while dials and reached < min(_ASKED_AT_ONCE, len(self._urls)):
                # Once one node is there, a silent one may hold this up no longer.
                done, dials = await asyncio.wait(
                    dials,
                    timeout=CLIENT_PATIENCE_S if reached else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                reached += sum(task.result() is not None for task in done)
        finally:
            for task in dials:
                task.cancel()
        if not reached:
            raise self._no_node()

    def _by_reach(self) -> list[str]:
        """Those that answered before come first, in the order given."""
        return sorted(self._urls, key=lambda url: url not in self._contacts)

    def _no_node(self) -> NoNode:
        tried = "; ".join(f"{url}: {why}" for url, why in self._failures.items())
        error = NoNode(f"no node could be reached ({tried})")
        if FailReason.UNINVITED.value in self._failures.values():
            error.hint = "this network asks for an invite: ask whoever runs it for one, then: yz join LINK"
        elif any(why.endswith(NO_MEMBER) for why in self._failures.values()):
            whose, what = _OTHER_LINK if self._is_guest else _OTHER_HOME
            error.hint = f"your {whose} a closed network of this name, and the node is not of it: {what}"
        elif self._certificate_hint:
            error.hint = self._certificate_hint
        elif self._failures and all(why.startswith("no session") for why in self._failures.values()):
            error.hint = "something answers there: check the network name, the network key and the node id"
        elif any(why.startswith(_OVERLOADED) for why in self._failures.values()):
            error.hint = (
                "a node is there and takes no more at the moment: try again in some seconds, or another node"
            )
        return error

    async def _contact(self, url: str) -> Contact | None:
        """Who answers at a url; None if nobody does."""
        known = self._contacts.get(url)
        if known is not None:
            return known
        try:
            contact = await self._asking.dial(url)
        except DialFailed as error:
            self._failures[url] = str(error).removeprefix(
                f"{url}: "
            )  # some errors name the address, some do not
            if _CERTIFICATE in self._failures[url]:
                self._certificate_hint = error.hint
            return None
        self._contacts[url] = contact
        return contact

    async def call(self, url: str, method: Method, body: Body) -> Answer | Failed:
        """Ask the node at a url; dials it again if the session was lost, and waits where it says that it will answer soon."""
        gate = self._gates[url]
        self._last_turn = turn = self._last_turn + 1
        outcome: Answer | Failed = _SENT_AWAY
        turned_away = 0
        for _ in range(DELEGATED_TRIES_MAX):
            entered = await gate.enter(turn)
            if entered is None:
                break
            async with self._turns[url]:  # its time begins when it is sent, not when a thousand are
                outcome = await self._call_once(url, method, body)
            if isinstance(outcome, Failed):
                turned_away += outcome.reason is FailReason.BUSY  # the node has no place at the moment
                may_wait = outcome.reason is FailReason.BUSY and turned_away <= TURNED_AWAY_TRIES_MAX
                if may_wait and gate.refused(entered, TURNED_AWAY_S_MIN):
                    continue
                break
            if outcome.status is not Status.RATE_LIMITED:
                gate.served(entered)
                break
            told_s = outcome.body.number / 1000 if isinstance(outcome.body, Refusal) else CLIENT_PATIENCE_S
            if not gate.refused(entered, told_s):
                break
        return outcome

    async def _call_once(self, url: str, method: Method, body: Body) -> Answer | Failed:
        contact = await self._contact(url)
        if contact is None:
            return Failed(FailReason.UNREACHABLE)
        outcome = await self._asking.ask(contact, method, body, DELEGATED_TIMEOUT_S)
        if isinstance(outcome, Failed):
            self._failed(url, outcome.reason.value)
            if outcome.reason is FailReason.WRONG_ID:
                self._contacts.pop(url, None)  # the node was set up anew
        elif outcome.status is not Status.OK:
            self._failed(url, outcome.status.name.lower())
        return outcome

    def _failed(self, url: str, why: str) -> None:
        self._failures[url] = why
        self.counters.add("calls_failed", why)

    async def ping(self) -> list[Pinged]:
        """Ask every node where it sees this client."""
        return [await self._ping(url) for url in self._urls]

    async def _ping(self, url: str) -> Pinged:
        contact = await self._contact(url)  # the dial is not part of the round trip
        started = self._clock.now().mono
        outcome = await self.call(url, Method.WHOAMI, Empty())
        if contact is None or not isinstance(outcome, Answer) or not isinstance(outcome.body, WhoAmI):
            return Pinged(url, None, None, None, self._failures.get(url, "no answer"))
        took_s = self._clock.now().mono - started
        return Pinged(url, contact.node_id, took_s, outcome.body.host, "")

    async def close(self, patience_s: float = 0.0) -> None:
        """Let what is under way in the background end, so many seconds at most; then say goodbye."""
        await self._background.finish(patience_s)
        if self._naming is not None:
            self._naming.cancel()
            await asyncio.wait({self._naming})
        for gate in self._gates.values():
            gate.close()
        await self._asking.close()

    def _guard(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.counters.add("task_failures")
            log.error("task failed name=%s", task.get_name(), exc_info=error)

    # Access

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do something that no caller waits for."""
        self._background.start(work)

    async def compute(self, work: Callable[[], _T]) -> _T:
        """Do something that takes long in a thread."""
        return await asyncio.to_thread(work)

    def now(self) -> Now:
        """The present."""
        return self._clock.now()

    def count(self, name: str) -> None:
        """Count something that a node did wrong."""
        self.counters.add(name)

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        """Ask two nodes for every target; others take the place of those that fail or keep silent."""
        waiting = self._by_reach()
        running: set[asyncio.Task[list[Reading] | None]] = set()
        shown: list[list[Reading]] = []
        try:
            while len(shown) < _ASKED_AT_ONCE and (waiting or running):
                if waiting and len(running) + len(shown) < _ASKED_AT_ONCE:
                    running.add(asyncio.create_task(self._read_through(waiting.pop(0), targets, paths)))
                    continue
                done, running = await asyncio.wait(
                    running, timeout=CLIENT_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                shown.extend(readings for task in done if (readings := task.result()) is not None)
                if not done and waiting:  # somebody keeps silent: the next one is asked beside it
                    running.add(asyncio.create_task(self._read_through(waiting.pop(0), targets, paths)))
                elif not done and shown:
                    break  # one answer is here, and nobody may hold it up for long
        finally:
            for task in running:
                task.cancel()
        if not shown:
            raise self._no_node()
        return [list(of_one_target) for of_one_target in zip(*shown, strict=True)]

    async def _read_through(self, url: str, targets: Sequence[Target], paths: int) -> list[Reading] | None:
        asks = (self.call(url, Method.GET, Get(t, (), ANSWER_BODIES_BYTES_MAX, paths)) for t in targets)
        readings = []
        for outcome in await asyncio.gather(*asks):
            if not isinstance(outcome, Answer) or not isinstance(outcome.body, Got):
                return None
            got = outcome.body
            records = tuple(r for r in got.records if isinstance(r, bytes))
            if got.records and not records:
                self._failed(url, "records_withheld")  # named, not shown: that is not "not found"
                return None
            readings.append(Reading(records, got.answered, got.needed))
        return readings

    async def write(self, target: Target, record: bytes, cas: int | None, keep_until: int) -> Writing:
        """Store through the first node that takes it on, with identical bytes at every try."""
        refused: Writing | None = None
        urls = self._by_reach()
        for url in urls:  # the next one may have a better clock, more room or more neighbours
            try:
                async with asyncio.timeout(PUT_PATIENCE_S if url != urls[-1] else None):
                    outcome = await self.call(url, Method.PUT, Put(target, record, cas, keep_until))
            except TimeoutError:
                self._failed(url, "silent")
                continue
            if isinstance(outcome, Failed):
                continue
            done = _writing(outcome)
            if done.is_quorum or done.refusal in _DECIDED:
                return done
            if refused is None or done.accepted > refused.accepted:
                refused = done
        if refused is None:
            raise self._no_node()
        return refused

    async def redeem(self, issuer: PublicKey, redemption: bytes, urls: Sequence[str]) -> RedeemAnswer | None:
        """Hand a redemption to its issuer, if that is one of the nodes, or reached where it says it is."""
        namers = [parse_url(url).host for url in self._urls]
        heard = await on_hearsay(urls[:ISSUER_ADDRESSES_TRIED_MAX], namers)
        for url in (*self._by_reach(), *heard):
            contact = await self._contact(url)
            if contact is None or contact.public_key != issuer:
                continue
            outcome = await self.call(url, Method.REDEEM, Redeem(redemption))
            if isinstance(outcome, Answer) and isinstance(outcome.body, RedeemAnswer):
                return outcome.body
        return None


def _writing(answer: Answer) -> Writing:
    done = answer.body
    if not isinstance(done, PutDone):
        detail = done if isinstance(done, Refusal) else Refusal()
        return Writing(0, 1, 1, answer.status, detail.number)
    try:
        refusal = Status(done.refusal)
    except ValueError:
        refusal = Status.BAD_REQUEST
    number = done.detail[0] if done.detail and isinstance(done.detail[0], int) else 0
    return Writing(done.accepted, done.asked, done.needed, refusal, number)

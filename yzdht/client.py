"""A client: stores and reads through nodes that it does not trust.

It takes part in no routing. It asks two nodes where two can be reached and takes the newest of what verifies; a write
goes through one, and through the next with identical bytes if that one fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from yzdht.access import Reading, Writing
from yzdht.addresses import families
from yzdht.api import DhtCalls
from yzdht.asking import Asking
from yzdht.background import Background
from yzdht.certificates import trust_in
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.errors import (
    DialFailed,
    IdentityMoved,
    IdentityRevoked,
    NoNode,
    PersonMoved,
    PublisherRevoked,
    UsageError,
)
from yzdht.gate import Gate
from yzdht.invites import Invites
from yzdht.letters import Place
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    CLIENT_PATIENCE_S,
    DELEGATED_TIMEOUT_S,
    DELEGATED_TRIES_MAX,
    GOODBYE_S_MAX,
    ISSUER_ADDRESSES_TRIED_MAX,
    OWN_OPERATIONS_AT_ONCE,
    PUT_PATIENCE_S,
    TURNED_AWAY_S_MIN,
    TURNED_AWAY_TRIES_MAX,
)
from yzdht.records import Records
from yzdht.rpc.engine import NO_MEMBER, Answer, Failed, FailReason
from yzdht.sessions import Clock, SystemClock
from yzdht.sessions.dialling import on_hearsay
from yzdht.sessions.membership import ClosedNetwork
from yzdht.sessions.world import Papers, World
from yzdht.store import memberships
from yzdht.store.entropy import SystemRng
from yzdht.store.home import Home
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.transport.one_port import OnePort
from yzdht.wire.address import Contact, parse_url
from yzdht.wire.frame import Caps
from yzdht.wire.invite_link import decode_invite_link
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
from yzdht.wire.token import TokenType, encode_token


if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from yzdht.ids import GroupId, NodeId, PublicKey, Target
    from yzdht.ports import Now
    from yzdht.store.keyfile import AnyPath
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

_HEEDED = (PublisherRevoked, PersonMoved, IdentityRevoked, IdentityMoved)
"""Errors that say how an identity ended: what says so is being stored again, which is let end."""


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


class _Club(NamedTuple):
    """The closed network that a client is in, or would like to be.

    Attributes:
        papers: What it shows.
        closed: Whose members alone it talks to; None in an open network.

    """

    papers: Papers
    closed: ClosedNetwork | None


class _Nodes:
    """The nodes of a client: sessions, fail-over, and the way to the replicas (`records.Access`)."""

    def __init__(
        self,
        urls: tuple[str, ...],
        credentials: Credentials,
        clock: Clock,
        club: _Club,
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
        self._last_turn = 0
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)
        self._turns = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(OWN_OPERATIONS_AT_ONCE))
        self._failures: dict[str, str] = {}
        self._certificate_hint = ""  # of the last that was refused

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


class Client(DhtCalls):
    """Stores and reads through nodes.

    Use it as `async with Client.connect(url, …) as dht:`.
    """

    def __init__(  # noqa: PLR0913 - what `connect` takes, by keyword, and the clock
        self,
        urls: Sequence[str],
        *,
        identity: Identity | None = None,
        home: AnyPath | None = None,
        passphrase: str | None = None,
        network: str = "main",
        network_key: bytes | None = None,
        invite: str | None = None,
        ca: AnyPath | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not urls:
            raise UsageError("a client needs the address of a node", hint="try ws://127.0.0.1:8083")
        self._urls = tuple(parse_url(url).text for url in urls)
        self._identity = identity
        self._home_path = home
        self._passphrase = passphrase
        self._network = network_id(network)
        self._network_key = network_key
        self._invite = None if invite is None else decode_invite_link(invite).token
        self._trust = trust_in(None if ca is None else Path(ca))
        self._clock = clock or SystemClock()
        self._home: Home | None = None
        self._nodes: _Nodes | None = None
        self._own_records: Records | None = None
        self._own_invites: Invites | None = None

    @classmethod
    def connect(  # noqa: PLR0913 - what a client can be told, by keyword
        cls,
        *urls: str,
        identity: Identity | None = None,
        home: AnyPath | None = None,
        passphrase: str | None = None,
        network: str = "main",
        network_key: bytes | None = None,
        invite: str | None = None,
        ca: AnyPath | None = None,
    ) -> Client:
        """A client of the nodes at these addresses; several fail over.

        Args:
            urls: `tcp://`, `ws://` or `wss://` addresses.
            identity: Who reads and writes; the home's when None, a new one in memory without a home.
            home: Folder of the identity and of what it has seen; None remembers nothing after the end.
            passphrase: Opens the home's identity.
            network: Name of the network.
            network_key: 32 bytes, for a private network.
            invite: Link of an invite to a closed network, to be let in as a guest; a membership in the home needs none.
            ca: File of the authorities whose certificates count when wss is dialled; None for the system's.

        Raises:
            UsageError: An argument does not parse.
            CertificateRefused: The file of authorities cannot be used.

        """
        return cls(
            urls,
            identity=identity,
            home=home,
            passphrase=passphrase,
            network=network,
            network_key=network_key,
            invite=invite,
            ca=ca,
        )

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            NoNode: No node could be reached.
            StoreError: The home cannot be opened.

        """
        home = Home.open(self._home_path, identity=self._identity, passphrase=self._passphrase)
        try:
            nodes = await self._connected(home)
        except BaseException:
            home.close()
            raise
        self._home, self._nodes = home, nodes
        self._own_records = Records(home.identity, self._network, nodes, home.keeps, SystemRng())
        self._own_records.groups.on_removed = self._take_links_back
        return self

    async def _connected(self, home: Home) -> _Nodes:
        caps = Caps.ALWAYS | Caps.CLIENT
        credentials = Credentials(home.identity.signer, self._network, caps, self._network_key)
        nodes = _Nodes(self._urls, credentials, self._clock, self._club(home), self._trust)
        try:
            await nodes.connect()
        except BaseException:
            await nodes.close()
            raise
        return nodes

    def _club(self, home: Home) -> _Club:
        """What this client shows: the invite that it was given, else the membership in its home."""
        token = self._invite
        if token is not None and token.type is TokenType.NETWORK:
            return _Club(Papers(invite=encode_token(token)), ClosedNetwork(self._network, token.issuer))
        kept = None if home.path is None else memberships.read(home.path, self._network)
        if kept is None or kept.subject != home.identity.node_id:
            return _Club(Papers(), None)
        return _Club(Papers(membership=encode_token(kept)), ClosedNetwork(self._network, kept.issuer))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._nodes is not None:
            is_in_peace = kind is None or issubclass(kind, _HEEDED)
            await self._nodes.close(GOODBYE_S_MAX if is_in_peace else 0.0)
        if self._home is not None:
            self._home.close()
        self._home = self._nodes = self._own_records = self._own_invites = None

    @property
    def identity(self) -> Identity:
        """Who reads and writes, with the keys of the present."""
        identity = self._records().identity
        assert isinstance(identity, Identity)  # it was one when this client connected
        return identity

    @property
    def counters(self) -> Counters:
        """What this client counted: rejected records, failed dials."""
        if self._nodes is None:
            raise _not_connected()
        return self._nodes.counters

    @property
    def records(self) -> Records:
        """Reads and writes by slot, and identity records."""
        return self._records()

    @property
    def invites(self) -> Invites:
        """Invites issued, redeemed and joined by."""
        if self._own_invites is None:
            records = self._records()
            assert self._home is not None
            assert self._nodes is not None
            place = Place(self._network, self._nodes, records._slots, self._home.marks, SystemRng())
            self._own_invites = Invites(records.people, place, self._home.ledger, records.groups)
        return self._own_invites

    def _take_links_back(self, group_id: GroupId, member: PublicKey) -> None:
        """Whoever was removed from a group knows the links by which they came."""
        self.invites.forget_member(group_id, member)

    def _records(self) -> Records:
        if self._own_records is None:
            raise _not_connected()
        return self._own_records

    async def ping(self) -> list[Pinged]:
        """Ask every node where it sees this client."""
        if self._nodes is None:
            raise _not_connected()
        return await self._nodes.ping()


def _not_connected() -> UsageError:
    return UsageError("the client is not connected", hint="use: async with Client.connect(url) as dht")

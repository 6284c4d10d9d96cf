"""A node: the one loop that owns its engines, sessions, store and tasks.

Opens, joins, maintains and closes them and decides nothing of its own: records are judged in kad and store, sessions in
rpc, and `pump` moves what passes between them. `Node()` opens no HTTP and takes no signals; many can live in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from yzdht.addresses import families, interface_hosts
from yzdht.alarms import CertificateAlarm, ClockAlarm, DiskAlarm
from yzdht.api import DhtCalls
from yzdht.background import Background
from yzdht.belonging import Belonging, Circumstances
from yzdht.certificates import TlsMeans
from yzdht.config import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    NodeConfig,
    Tls,
    parse_issuer,
    parse_join,
    parse_node_type,
)
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.signing import RecordChecks
from yzdht.dial_back import BackDialler
from yzdht.errors import StoreError, UsageError
from yzdht.housekeeping import House, Housekeeping
from yzdht.ids import Target, shorten
from yzdht.joining import Joining
from yzdht.kad.contacts import Own
from yzdht.kad.engine import KadEngine
from yzdht.lan_discovery import LanDiscovery, Neighbourhood
from yzdht.leaving import hand_over
from yzdht.meeting import Company, Meeting
from yzdht.own_access import OwnAccess
from yzdht.own_person import OwnPerson, Whose
from yzdht.own_topics import Site, own_topics
from yzdht.pump import Pump
from yzdht.saved_peers import SavedPeers
from yzdht.sessions import Clock, Sessions, SystemClock
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.world import World
from yzdht.store.entropy import SystemRng
from yzdht.store.folder import DataFolder
from yzdht.store.keyfile import AnyPath, Identity
from yzdht.store.memory import MemoryStore
from yzdht.store.memory_topics import MemoryTopics
from yzdht.store.policy import Quotas
from yzdht.store.sqlite import Histories, SqliteStore
from yzdht.telemetry import Telemetry, watch_loop
from yzdht.transport.forwarded import Proxies
from yzdht.transport.one_port import OnePort
from yzdht.whereabouts import Ground, Whereabouts
from yzdht.wire.address import (
    Address,
    Contact,
    NodeType,
    json_view,
)
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import NodeId, PublicKey
    from yzdht.invites import Invites
    from yzdht.own_identity import OwnIdentity
    from yzdht.ports import Listener, Now, Registrar, TopicStore
    from yzdht.records import Records
    from yzdht.rpc.engine import Answer, Failed
    from yzdht.topic_pump import TopicPump
    from yzdht.topics import Topics
    from yzdht.wire.history import TopicVerdict
    from yzdht.wire.rpc import Body, Method
    from yzdht.wire.slot import Verdict


log = logging.getLogger(__name__)

_CAPS = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING | Caps.PUBSUB


class Node(DhtCalls):
    """A node of the network, and the calls of the person who runs it.

    Use it as `async with Node(…) as node:`; it has then tried its bootstrap addresses and knows whom they know. Nothing
    starts before that.

    Args:
        port: 0 picks a free one.
        host: Address to listen on.
        bootstrap: Addresses to join through, `URL[#NODE_ID]`.
        data: Folder of its key and records; None keeps everything in memory.
        network: Name of the network.
        network_key: 32 bytes, for a private network.
        allow_private: Advertise loopback, dial private addresses that others name.
        port_mapping: Ask the router to forward the port if nobody reaches it else; a community node alone does.
        lan: Announce the node on the local network, and meet others there.
        public_addresses: Advertised instead of the interfaces' addresses.
        trusted_prefixes: CIDRs, such as `203.0.113.0/24`, of which the table takes any number of nodes.
        trusted_proxies: CIDRs of proxies in front of it, which say who is behind them.
        invite_only: Key whose invites alone admit, 33 bytes, their text, or `self`; None for an open network.
        join: Link of an invite, by which it becomes a member of a closed network if it is none yet.
        tls: Its certificate, and whose it trusts when it dials wss; None for none, and the system's.
        type: How much it takes where the next three say nothing; gives no privilege.
        max_sessions: Sessions at a time, 1 or more; None for 200, of infrastructure 5,000.
        max_storage: Bytes that others may store, 1 or more; None for 16 GiB, in memory 256 MiB.
        max_bandwidth: Bytes per second in each direction, 1 or more; None for no bound.
        identity: The person whose store, get and delete these are; not the node's own identity.
        home: Folder of that person's identity and high-water marks.
        passphrase: Opens the node's key.
        on_event: Hears `joined`, `bootstrap` and `leaving` events.
        clock: Whose monotonic time is the event loop's; the system's when None.

    Raises:
        ConfigError: An argument is out of range.

    """

    def __init__(  # noqa: PLR0913 - the flags of yz-node, by keyword
        self,
        port: int = DEFAULT_PORT,
        *,
        host: str = DEFAULT_HOST,
        bootstrap: Sequence[str] = (),
        data: AnyPath | None = None,
        network: str = "main",
        network_key: bytes | None = None,
        allow_private: bool = False,
        port_mapping: bool = True,
        lan: bool = False,
        public_addresses: Sequence[str] = (),
        trusted_prefixes: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        invite_only: str | PublicKey | None = None,
        join: str | None = None,
        tls: Tls | None = None,
        type: Literal["community", "infrastructure"] | NodeType = NodeType.COMMUNITY,  # noqa: A002 - as the flag
        max_sessions: int | None = None,
        max_storage: int | None = None,
        max_bandwidth: int | None = None,
        identity: Identity | None = None,
        home: AnyPath | None = None,
        passphrase: str | None = None,
        on_event: Callable[[dict[str, object]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = NodeConfig(
            port=port,
            host=host,
            bootstrap=tuple(bootstrap),
            data=Path(data) if data is not None else None,
            network=network,
            network_key=network_key,
            is_private_allowed=allow_private,
            is_mapping_ports=port_mapping,
            is_on_lan=lan,
            public_addresses=tuple(public_addresses),
            trusted_prefixes=tuple(trusted_prefixes),
            passphrase=passphrase,
            type=parse_node_type(type),
            storage_bytes_max=max_storage,
            sessions_max=max_sessions,
            bandwidth_bytes_per_s=max_bandwidth,
            trusted_proxies=tuple(trusted_proxies),
            invite_only=parse_issuer(invite_only) if isinstance(invite_only, str) else invite_only,
            join=None if join is None else parse_join(join),
            tls=tls or Tls(),
        )
        self._begin_with_nothing(Whose(identity, home), on_event or (lambda _event: None), clock)

    def _begin_with_nothing(
        self, whose: Whose, on_event: Callable[[dict[str, object]], None], clock: Clock | None
    ) -> None:
        """What is filled while it runs."""
        self._whose, self._on_event, self._clock = whose, on_event, clock or SystemClock()
        self.telemetry = self.counters = Telemetry()
        self.checks = RecordChecks(self.config.network_id)
        self._rng = SystemRng()
        self._network = self.config.network_id
        self._folder: DataFolder | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._background, self._ending = Background(self._guard), Background(self._guard)
        self._joining: Joining | None = None
        self._is_running = False
        self._is_started = False
        self.started: Now | None = None
        self._disk, self._time = DiskAlarm(self.telemetry), ClockAlarm(self.telemetry, self._clock.now())
        self._stopping = asyncio.Lock()
        self._failure: BaseException | None = None
        self._own_identity: OwnIdentity | None = None
        self.tls: TlsMeans | None = None
        self.lan: LanDiscovery | None = None

    # Life

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            ListenFailed: The port is taken.
            DataLocked: Another node holds the data folder.
            StoreError: The data folder cannot be used.
            WrongPassphrase: The node's key does not open.
            CertificateRefused: Its certificate cannot be served with.
            InviteRefused: The link of `join` is refused by its issuer.

        """
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the data folder, listen, and try the bootstrap addresses; raises as `async with`."""
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            self._is_running = True
            self.started = self._clock.now()
            self._warn_of_trust()
            self._open_data()
            await self._listen()
            assert self._own_identity is not None
            self._own_identity.keep()
            is_waiting = await self._belonging.ask_for_admission()
            self._keep_house(self._own_identity)
            self.topics.begin()
            self._spawn(watch_loop(self.telemetry))
            self._spawn(self.reach.watch())
            if self.config.is_on_lan:
                self.lan = LanDiscovery(self._neighbourhood(), self._rng)
                self._spawn(self.lan.go_on())
            if self._belonging.membership.closed is not None:
                self._spawn(self._belonging.watch_revocations(self.sessions, self._pump.joined))
            if is_waiting:
                self._spawn(self._meet_others_later())
            else:
                await self._meeting.begin()
            self._is_started = True
            undo.pop_all()

    def _keep_house(self, own: OwnIdentity) -> None:
        records, knows = self.store_of_records, (self._pump, self._peers, self._clock, self.telemetry)
        house = House(self.node_id, self.engine, records, *knows, self._disk, self._time)
        rounds = (self._belonging.look, self._meeting.begin_again_if_alone, self._certificate.look)
        housekeeping = Housekeeping(house, own, rounds)
        self._spawn(housekeeping.go_round())
        self._spawn(housekeeping.watch_machine())

    async def stop(self) -> None:
        """Hand over what it keeps, LEAVE_S_MAX at most; then say goodbye, commit what is queued, close everything.

        Safe to call twice; a second call at the same time puts an end to handing over.
        """
        if self._stopping.locked() and hasattr(self, "engine"):
            self._pump.left.set()
            await self._ending.finish(0)
        async with self._stopping:
            try:
                await self._leave()
            finally:
                await self._close()

    async def _leave(self) -> None:
        """Hand over while sessions are up and requests are served."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if not self._is_started:
            return
        self._ending.start(self.reach.end())
        self._is_started = False
        await hand_over(self._pump, self._background, self._ending, self.engine, self._on_event)

    async def _close(self) -> None:
        self._is_running = False
        await self._background.finish(0)
        if hasattr(self, "engine"):
            self._pump.stop()
            self._peers.save(self._clock.now())
        if hasattr(self, "sessions"):
            await self.sessions.close()
        if hasattr(self, "store_of_records"):
            await self.store_of_records.close()
        if hasattr(self, "_belonging"):
            self._person.close()
            self._belonging.close()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _warn_of_trust(self) -> None:
        for option, block, why in self.config.too_wide():
            hint = "name only what is yours"
            log.warning("trusted block too wide option=%s prefix=%s why=%s hint=%s", option, block, why, hint)

    def _open_data(self) -> None:
        loop = asyncio.get_running_loop()
        config = self.config
        self.store_of_records: SqliteStore | MemoryStore
        self.histories: TopicStore
        if config.data is None:
            self.identity = Identity.generate()
            self.store_of_records = MemoryStore(self._on_verdicts, loop.call_soon, self._quotas())
            self.histories = MemoryTopics(self._on_topic_verdicts, loop.call_soon)
        else:
            self._folder = DataFolder.open(config.data)
            self.identity = Identity.load_or_create(self._folder.key_path, passphrase=config.passphrase)
            self.store_of_records = SqliteStore.open(
                self._folder.records_path,
                self._on_verdicts,
                loop.call_soon_threadsafe,
                self._quotas(),
                lambda failure: self._disk.could_not_read(failure, self._clock.now()),
                Histories(self._on_topic_verdicts),
            )
            self.histories = self.store_of_records.histories
        own = Contact(self.identity.node_id, self.identity.public_key, (), _CAPS)
        self.engine = KadEngine(
            Own(
                own,
                config.is_private_allowed,
                frozenset(interface_hosts("::")),
                config.trusted().covers,
                config.bootstrap_names(),
                config.care_bytes_per_s(),
            ),
            self.store_of_records,
            self.checks,
            self._rng,
        )
        self._peers = SavedPeers(self._folder, self.engine, self.node_id, self._remember)
        self._pump = Pump(self.engine, self.store_of_records, self._clock, self.telemetry, self._on_joined)
        site = Site(self.identity, own, self._network, self.engine, self.histories)
        self.topics = own_topics(site, self._clock, self.telemetry, self._pump.search)
        self._pump.topics = self.topics
        self.topics.background = self._background.start
        circumstances = Circumstances(
            self._clock, self._rng, self.telemetry, self._background, self._on_event, self.checks
        )
        access = OwnAccess(self._pump, self._background, self._clock, self.counters)
        self._person = OwnPerson(self._whose, self._network, access, self._rng, self.checks)
        self._belonging = Belonging(self.identity, config, self._folder, self._pump, circumstances)
        if self._whose.is_anybody:
            self._belonging.registrars.append(self._person)

    async def _listen(self) -> None:
        tls = self.tls = TlsMeans(self.config.tls, self._clock.now().wall)
        self._certificate = CertificateAlarm(tls, self.telemetry, self._clock)
        bounds = SessionBounds.of(self.config.capacity)
        transport = OnePort(
            trust=tls.trust,
            tls=tls.shown,
            on_refused=lambda _, why: self.counters.add("links_refused", why),
            proxies=Proxies(bounds.is_proxy),
        )
        world = World(
            Credentials(self.identity.signer, self._network, _CAPS, self.config.network_key),
            [transport],
            self._clock,
            self.counters,
            self.config.is_private_allowed,
            bounds,
            lambda node_id: self.engine.table.get(node_id) is not None,
            self._belonging.membership.papers,
            self._belonging.membership.closed,
            families,
            lambda: tls.handshake_cost,
        )
        self.sessions = self._pump.sessions = self.topics.sessions = Sessions(world, self._pump, self._guard)
        self._pump.back_dialler = BackDialler(world, self._background, self.telemetry)
        self.listener: Listener = await self.sessions.listen("tcp", self.config.host, self.config.port)
        ground = Ground(
            self.config,
            self.identity,
            self._pump,
            self.engine,
            world,
            self._rng,
            self.store_of_records,
            self._peers,
            self._background,
            self._time,
            self._remember,
        )
        self._joining = Joining(self.config.bootstraps(), self.sessions, self._rng, self._on_event)
        company = Company(
            self.engine, self._pump, self._peers, self.sessions, self._clock, self._spawn, self._remember
        )
        self._meeting = Meeting(self._joining, company)
        self._whereabouts = Whereabouts(ground, self.listener, tls, _CAPS)
        self.reach, self._own_identity = self._whereabouts.reach, self._whereabouts.own

    def _quotas(self) -> Quotas:
        return Quotas.within(self.config.capacity.storage_bytes_max, self.node_id)

    @property
    def node_id(self) -> NodeId:
        """This node's id."""
        return self.identity.node_id

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.listener.endpoints[0].port

    @property
    def bootstrap_tried(self) -> int:
        """How many bootstrap addresses there are."""
        return self._joining.tried if self._joining is not None else 0

    @property
    def bootstrap_joined(self) -> int:
        """How many of them answered at the last try."""
        return self._joining.joined if self._joining is not None else 0

    @property
    def bootstrap_trouble(self) -> str:
        """Why the first of the others did not, for people; empty for none."""
        return self._joining.trouble if self._joining is not None else ""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What it advertises."""
        return () if self._own_identity is None else self._own_identity.payload.addresses

    @property
    def is_joined(self) -> bool:
        """True once lookups named nobody new."""
        return self.engine.is_joined

    @property
    def is_running(self) -> bool:
        """True from its start until it has said goodbye; what it knows and keeps can be read meanwhile."""
        return self._is_running

    @property
    def is_leaving(self) -> bool:
        """True once it was told to stop."""
        return self._stopping.locked()

    @property
    def disk_trouble(self) -> StoreError | None:
        """Why the disk does not take or show records now; None if it does."""
        return self._disk.trouble(self._clock.now().mono)

    def now(self) -> Now:
        """The present, by the node's own clock."""
        return self._clock.now()

    def tell_where(self, run: bytes) -> None:
        """Write `run.json` into the data folder, if there is one; it goes as the node ends.

        Raises:
            StoreError: It cannot be written.

        """
        if self._folder is not None:
            self._folder.write_run(run)

    def json_view(self) -> dict[str, object]:
        """The node as PROTOCOL.md section 6 shows it."""
        assert self._own_identity is not None
        record = self._own_identity.record
        return json_view(self.node_id, self._own_identity.payload, record.seq, record.expires)

    @property
    def is_client_only(self) -> bool:
        """True while nobody reaches it: it keeps nothing for others then, and serves its own users (section 6)."""
        return not self.engine.is_storing

    def reload_certificate(self) -> float | None:
        """Read its certificate again, and tell others under which names it is reached; when it ends, unix seconds.

        Returns None if there is none, or the node has not started yet: it will read what is there then.

        Raises:
            CertificateRefused: It is no good; the old one stays in use.
            UnsafeFile: Others can get at its key; likewise.

        """
        until = None if self.tls is None else self.tls.reload(self._clock.now().wall)
        if until is not None and self._is_started:
            self._whereabouts.changed()
        return until

    def redeem_through(self, registrar: Registrar) -> None:
        """Answer REDEEM for the invites of one more issuer, such as the person of this node's home."""
        self._belonging.registrars.append(registrar)

    # Joining

    async def _meet_others_later(self) -> None:
        """Once the invite is redeemed: members serve nobody else."""
        if await self._belonging.wait_for_admission():
            await self._meeting.begin()

    @property
    def has_known_others(self) -> bool:
        """True if it knew somebody, in this run or in one before."""
        return self._peers.has_known_others

    def _neighbourhood(self) -> Neighbourhood:
        closed, table = self._belonging.membership.closed, self.engine.table
        issuer = None if closed is None else closed.issuer
        return Neighbourhood.of(
            self.config, issuer, self.port, self.sessions.dial_heard, lambda: not len(table)
        )

    # What the engine and the store tell

    def _on_joined(self, known: int) -> None:
        log.info("joined node=%s known=%d", shorten(self.node_id), known)
        self._on_event({"event": "joined", "known": known})

    def _on_verdicts(self, answers: list[tuple[int, Verdict]]) -> None:
        self._note_commits()
        self._pump.on_verdicts(answers)

    def _on_topic_verdicts(self, answers: list[tuple[int, TopicVerdict]]) -> None:
        self._note_commits()
        self.topics.on_verdicts(answers)

    def _note_commits(self) -> None:
        if isinstance(self.store_of_records, SqliteStore):
            for commit in self.store_of_records.take_commits():
                self._disk.committed(commit, self._clock.now().wall)

    def _remember(self, what: str, hint: str) -> None:
        self.telemetry.error(what, self._clock.now().wall, hint)

    # Tasks

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._guard)

    def _guard(self, task: asyncio.Task[None]) -> None:
        """No task dies in silence: what it raised is logged, counted and kept for whoever waits for the end."""
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.counters.add("task_failures")
            self._failure = self._failure or error
            self._remember("a task failed: this is a bug", "report it with the log of this node")
            log.error("task failed name=%s", task.get_name(), exc_info=error)

    # Calls of the person

    def _records(self) -> Records:
        if not self._is_running:
            raise UsageError("the node is not running", hint="use: async with Node(…) as node")
        return self._person.records(may_be_made=self.config.data is None)

    def _topics(self) -> tuple[Topics, TopicPump]:
        self._records()
        return self._person.topics(self.topics, self.topics.learn_policy), self.topics

    @property
    def records(self) -> Records:
        """Reads and writes by slot, and identity records."""
        return self._records()

    @property
    def invites(self) -> Invites:
        """Invites of the person, issued and redeemed; what others redeem at this node is answered by itself."""
        self._records()
        return self._person.invites(may_be_made=True)

    async def ask(self, contact: Contact, method: Method, body: Body, timeout_s: float) -> Answer | Failed:
        """Ask one node, dialled if need be, and not this node's own store; what comes back is not verified."""
        return await self._pump.ask(contact, method, body, timeout_s)

    async def find(self, target: Target, count: int = 20) -> list[Contact]:
        """The nodes nearest to a target, nearest first; this node is not among them."""
        return await self._pump.find(target, count)

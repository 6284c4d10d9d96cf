"""The kad engine: table, lookups, quorum reads and writes, and the storing node, behind the engine interface.

PROTOCOL.md sections 5 (methods 01 to 06), 8 and 9. Sans-I/O: see `yzdht.rpc.engine`. Commands (`get`, `put`, `find`)
return a number that a later notice names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from yzdht.errors import CryptoError, RecordTooLarge, StoreError, WireError
from yzdht.ids import NodeId, Target
from yzdht.kad.caretaker import Caretaker
from yzdht.kad.contacts import Contacts, Own
from yzdht.kad.delegation import Delegation
from yzdht.kad.holder import Holder, Refused, payer_of, shorten, status_of
from yzdht.kad.measures import MeasuredOperations
from yzdht.kad.searches import Searches
from yzdht.kad.strangers import Strangers
from yzdht.kad.table import Entry, Table
from yzdht.kad.upkeep import Discovery, Hearsay
from yzdht.kad.write import Draft, WriteResult
from yzdht.limits import (
    JOIN_PATIENCE_S,
    JOIN_WAIT_S_MAX,
    OPERATIONS_MAX,
    READ_TIMEOUT_S,
)
from yzdht.rpc.engine import (
    Answer,
    Call,
    Down,
    Failed,
    FailReason,
    Outgoing,
    Peer,
    Persist,
    Reply,
    Up,
)
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import (
    Body,
    Empty,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Get,
    Got,
    Method,
    Put,
    PutDone,
    Status,
    Store,
    refusal_fields,
)


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.kad.lookup import Lookup
    from yzdht.kad.read import ReadResult
    from yzdht.kad.replication import HandedOver
    from yzdht.ports import Now, RecordStore, RecordVerifier, Rng
    from yzdht.wire.address import Contact
    from yzdht.wire.frame import RecordType
    from yzdht.wire.rpc import WireContact
    from yzdht.wire.slot import Verdict


# Notices


@dataclass(frozen=True, slots=True)
class GotNotice:
    """A `get` ended."""

    op: int
    result: ReadResult


@dataclass(frozen=True, slots=True)
class PutNotice:
    """A `put` ended."""

    op: int
    result: WriteResult


@dataclass(frozen=True, slots=True)
class FoundNotice:
    """A `find` ended; contacts nearest first."""

    op: int
    contacts: list[Contact]


@dataclass(frozen=True, slots=True)
class JoinedNotice:
    """Lookups name nobody new: the network is known."""

    known: int


@dataclass(frozen=True, slots=True)
class CountedNotice:
    """Something that a counter counts."""

    name: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredNotice:
    """Something that a histogram takes in; the name says the unit."""

    name: str
    value: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class LeftNotice:
    """What `leave` could hand over is handed over."""


Notice = GotNotice | PutNotice | FoundNotice | JoinedNotice | CountedNotice | MeasuredNotice | LeftNotice


@dataclass(frozen=True, slots=True)
class _Errand:
    """A call of the engine's own: a probe, a dial on hearsay, or the fetch of an identity record."""

    node_id: NodeId
    kind: str


_PROBE, _HEARSAY, _IDENTITY = "probe", "hearsay", "identity"


class KadEngine:
    """One node's Kademlia.

    Args:
        own: What this node is.
        store: Its records.
        verifier: Checks records.
        rng: Randomness for targets and jitter.

    """

    def __init__(self, own: Own, store: RecordStore, verifier: RecordVerifier, rng: Rng) -> None:
        self._own = own
        self._own_id = own.contact.node_id
        self._store = store
        self._verifier = verifier
        self._rng = rng
        self._reached: dict[str, str] = {}
        self.table = Table(self._own_id, self._is_exempt)
        self._holder = Holder(store, verifier)
        self._operations = MeasuredOperations(self._own_id, self._holder, self._send, self._measure)
        self._hearsay = Hearsay(self.table.wants)
        self._discovery = Discovery(self._own_id, rng, self.table, self._hearsay)
        self._strangers = Strangers()
        self._contacts = Contacts(own, self.table, self._hearsay, self._strangers, verifier, self._count)
        self._searches = Searches(
            own, self.table, self._operations, self._contacts, verifier, self._strangers
        )
        self._searches.on_approached = self._discovery.looked_up
        self._delegation = Delegation(self.table, is_storing=self.is_storing)
        self._caretaker = Caretaker(self._own_id, store, self.table, rng, self._searches, self._operations)
        self._caretaker.limit(own.care_bytes_per_s)
        self._is_leaving = False
        self._has_left = False
        self._errands: dict[int, _Errand] = {}
        self._requests_to_store: dict[int, tuple[int, Target, NodeId]] = {}
        self._outgoing: list[Outgoing] = []
        self._notices: list[Notice] = []
        self._deferred: list[Callable[[Now], None]] = []
        self._waits_until: float | None = None
        self._is_joined = False
        self._patience_ends_at: float | None = None
        self._heard_before = 0

    @property
    def is_storing(self) -> bool:
        """True if this node keeps records."""
        return self._searches.is_storing

    @is_storing.setter
    def is_storing(self, is_storing: bool) -> None:
        """A node that others do not reach keeps nothing for them, and does not count itself among those who do."""
        self._searches.is_storing = self._delegation.is_storing = is_storing

    def usable(self, contacts: tuple[WireContact, ...], namer: NodeId) -> list[Contact]:
        """Contacts that a node named which are not in the table and may be dialled."""
        return self._contacts.usable(contacts, namer)

    @property
    def own_id(self) -> NodeId:
        """This node's id."""
        return self._own_id

    @property
    def is_joined(self) -> bool:
        """True once a round of lookups named nobody new."""
        return self._is_joined

    # Commands

    def get(self, target: Target, now: Now, paths: int = 1) -> int:
        """Read what is stored under a target, along so many disjoint paths; a GotNotice follows."""
        op = self._operations.number()

        def finish(result: ReadResult, _at: Now) -> None:
            self._notices.append(GotNotice(op, result))

        self._when_joined(lambda at: self._searches.read(target, finish, at, paths), now)
        return op

    def put(self, draft: Draft, now: Now) -> int:
        """Store a record as this node's own user; a PutNotice follows."""
        op = self._operations.number()

        def finish(result: WriteResult, _at: Now) -> None:
            self._notices.append(PutNotice(op, result))

        self._when_joined(lambda at: self._searches.write(draft, b"", finish, at), now)
        return op

    def find(self, target: Target, count: int, now: Now) -> int:
        """Find the nodes nearest to a target; a FoundNotice follows."""
        op = self._operations.number()

        def finish(lookup: Lookup, _at: Now) -> None:
            self._notices.append(FoundNotice(op, lookup.closest()))

        self._searches.find(target, count, finish, now)
        return op

    def leave(self, now: Now) -> None:
        """Hand over what this node keeps; a LeftNotice follows. The shell bounds the wait and then calls `stop`."""
        if not self._is_leaving:
            self._is_leaving = True
            self._caretaker.leave(now)
        self._advance(now)

    def stay(self, now: Now) -> None:
        """Go on after `leave`, in another part perhaps; what it has not begun is dropped."""
        self._is_leaving = self._has_left = False
        self._caretaker.stay(now)

    def handed_over(self) -> HandedOver:
        """How far leaving went; not after `stop`."""
        return self._caretaker.handed_over()

    def expect_peers(self, now: Now) -> None:
        """Peers will be dialled: reads and writes wait for them, JOIN_WAIT_S_MAX at most."""
        if not self._is_joined and self._waits_until is None:
            self._waits_until = now.mono + JOIN_WAIT_S_MAX

    def stop_waiting(self, now: Now) -> None:
        """Nobody could be reached: reads and writes go on with who is known."""
        self._waits_until = None
        self._start_deferred(now)

    def remember(self, entry: Entry, now: Now) -> None:
        """Take in a node known from before a restart, last seen at its `seen_at`; it is dialled at once."""
        self.table.remember(entry, now.mono)

    def known(self) -> list[Entry]:
        """Nodes worth remembering over a restart: those with addresses."""
        return [e for e in self.table.known() if e.addresses or e.worked_url]

    # Events

    def on_request(self, request: int, peer: Peer, method: Method, body: Body, now: Now) -> None:
        """A peer asks."""
        try:
            self._serve(request, peer, method, body, now)
        except StoreError:
            self._notices.append(CountedNotice("store_errors"))
            self._refuse(request, Refused(Status.BUSY))

    def _serve(self, request: int, peer: Peer, method: Method, body: Body, now: Now) -> None:
        match body:
            case FindNode():
                self._reply(request, FoundNodes(self._contacts.nearest_for(peer, body.target, body.count)))
            case FindValue():
                self._caretaker.asked(peer.node_id, body, now)
                shown = self._holder.show(body, body.target, now.wall)
                self._reply(request, FoundValue(shown, self._contacts.closer_for(peer, body.target)))
            case Store():
                self._on_store(request, peer, body, now)
            case Get():
                self._on_get(request, peer, body, now)
            case Put():
                self._on_put(request, peer, body, now)
            case Empty() if method is Method.PING:
                self._reply(request, Empty())
            case _:
                self._refuse(request, Refused(Status.UNKNOWN_METHOD))

    def on_answer(self, call: int, outcome: Answer | Failed, now: Now) -> None:
        """A call ended."""
        self._contacts.mono = now.mono
        errand = self._errands.pop(call, None)
        if errand is not None:
            self._note_life(errand.node_id, outcome, now, is_probe=errand.kind == _PROBE)
            self._on_errand(errand, outcome, now)
        else:
            node_id = self._operations.on_answer(call, outcome, now)
            if node_id is not None:
                self._note_life(node_id, outcome, now, is_probe=False)
        self._advance(now)

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes, now: Now) -> None:
        """Nothing is pushed to this engine."""

    def on_found(self, op: int, contacts: list[Contact], now: Now) -> None:
        """This engine asks nobody else to find."""

    def on_link(self, peer: Peer, change: Up | Down, now: Now) -> None:
        """A session began or ended."""
        if isinstance(change, Up):
            self._on_up(peer, change.url, now)
        else:
            self._strangers.unlinked(peer.node_id)
            self.table.session_ended(
                peer.node_id, now.mono, is_goodbye=change.is_goodbye, is_parting=change.is_parting
            )
        self._advance(now)

    def on_stored(self, op: int, verdict: Verdict, now: Now) -> None:
        """A record is durable, or was refused."""
        storing = self._requests_to_store.pop(op, None)
        if storing is None:
            self._operations.on_stored(op, verdict, now)
            return
        request, target, bringer = storing
        status, detail = status_of(verdict)
        if status is Status.OK:
            self._caretaker.stored(target, bringer, now)
            self._reply(request, Empty())
        else:
            self._refuse(request, Refused(status, detail))

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        times = (
            self._operations.next_timer(),
            self._discovery.next_timer(),
            self._caretaker.next_timer(),
            self.table.next_probe(),
            self._waits_until if self._deferred else None,
            None if self._is_joined else self._patience_ends_at,
        )
        return min((t for t in times if t is not None), default=None)

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        self._operations.handle_timer(now)
        self._caretaker.handle_timer(now)
        for entry in self.table.probes_due(now.mono):
            self._run_errand(entry.contact(), _PROBE, Method.PING, Empty())
        if self._waits_until is not None and now.mono >= self._waits_until:
            self.stop_waiting(now)
        self._advance(now)

    def take_outgoing(self) -> list[Outgoing]:
        """What to do, in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def take_notices(self) -> list[Notice]:
        """What happened, in order."""
        notices, self._notices = self._notices, []
        return notices

    def stop(self, now: Now) -> None:
        """Fail what is under way."""
        self._caretaker.stop()
        self.stop_waiting(now)
        self._operations.stop(now)

    # Serving

    def _on_store(self, request: int, peer: Peer, body: Store, now: Now) -> None:
        if not self.is_storing:
            self._refuse(request, Refused(Status.REFUSED))
            return
        is_table_peer = self.table.get(peer.node_id) is not None
        refused = self._holder.charge(peer, len(body.record), now, is_table_peer=is_table_peer)
        payer = payer_of(peer, is_table_peer=is_table_peer)
        admitted = refused or self._holder.admit(body, payer, now)
        if isinstance(admitted, Refused):
            if admitted.status is Status.BAD_SIGNATURE:
                self._holder.punish(peer, now, is_table_peer=is_table_peer)
            self._refuse(request, admitted)
            return
        op = self._operations.number()
        self._requests_to_store[op] = (request, body.target, peer.node_id)
        self._send(Persist(op, replace(admitted, is_from_table=is_table_peer)))

    def _on_get(self, request: int, peer: Peer, body: Get, now: Now) -> None:
        def finish(result: ReadResult, _at: Now) -> None:
            records = [(r.raw, r.publisher, r.seq, r.hash) for r in result.records]
            self._reply(request, Got(shorten(records, body), result.answered, result.needed))

        is_busy = len(self._operations) >= OPERATIONS_MAX
        refused = Refused(Status.BUSY) if is_busy else self._delegation.charge_get(peer, body, now)
        if refused is not None:
            self._refuse(request, refused)
            return
        on_around = partial(self._delegation.charge_around, peer)
        self._when_joined(lambda at: self._searches.read(body.target, finish, at, body.paths, on_around), now)

    def _on_put(self, request: int, peer: Peer, body: Put, now: Now) -> None:
        def finish(result: WriteResult, _at: Now) -> None:
            detail = refusal_fields(result.refusal, result.detail)
            self._reply(
                request, PutDone(result.accepted, result.asked, result.needed, result.refusal, detail)
            )

        is_table_peer = self.table.get(peer.node_id) is not None
        refused = self._charge_put(peer, body, now, is_table_peer=is_table_peer) or self._check_put(body)
        if refused is not None:
            if refused.status is Status.BAD_SIGNATURE:
                self._holder.punish(peer, now, is_table_peer=is_table_peer)
            self._refuse(request, refused)
            return
        draft = Draft(body.target, body.record, body.cas, body.keep_until)
        payer = payer_of(peer, is_table_peer=is_table_peer)
        on_around = partial(self._delegation.charge_around, peer)
        self._when_joined(lambda at: self._searches.write(draft, payer, finish, at, on_around), now)

    def _charge_put(self, peer: Peer, body: Put, now: Now, *, is_table_peer: bool) -> Refused | None:
        """Charge both the work and the bytes, or neither: whoever is refused repeats the whole request."""
        if len(self._operations) >= OPERATIONS_MAX:
            return Refused(Status.BUSY)
        refused = self._delegation.charge_put(peer, body, now)
        if refused is not None:
            return refused
        refused = self._holder.charge(peer, len(body.record), now, is_table_peer=is_table_peer)
        if refused is not None:
            self._delegation.put_back(peer, body)
        return refused

    def _check_put(self, body: Put) -> Refused | None:
        """A record that every holder would refuse is refused here, before it is sent to eight of them."""
        try:
            record = decode_record(body.record)
            self._verifier.verify_record(record, body.target)
        except RecordTooLarge:
            return Refused(Status.RECORD_TOO_BIG)
        except WireError:
            return Refused(Status.BAD_REQUEST)
        except CryptoError:
            return Refused(Status.BAD_SIGNATURE)
        return None

    def _reply(self, request: int, body: Body) -> None:
        self._send(Reply(request, Status.OK, body))

    def _refuse(self, request: int, refused: Refused) -> None:
        self._notices.append(CountedNotice("refused", refused.status.name.lower()))
        self._send(Reply(request, refused.status, refused.detail))

    # Operations

    def _when_joined(self, start: Callable[[Now], None], now: Now) -> None:
        if self._waits_until is not None and len(self._deferred) < OPERATIONS_MAX:
            self._deferred.append(start)
        else:
            start(now)

    def _start_deferred(self, now: Now) -> None:
        deferred, self._deferred = self._deferred, []
        for start in deferred:
            start(now)

    # Peers

    def _is_exempt(self, prefix: str) -> bool:
        """True if the operator trusts a prefix: typed it, or a name that led there when it was last dialled."""
        return prefix in self._reached.values() or self._own.is_exempt(prefix)

    def _on_up(self, peer: Peer, url: str | None, now: Now) -> None:
        if url is not None and url in self._own.typed_names:
            self._reached[url] = peer.prefix or ""
        is_new = self.table.get(peer.node_id) is None
        met = Entry(peer.node_id, peer.public_key, int.from_bytes(peer.node_id), peer.caps)
        met.host, met.prefix, met.seen_at, met.has_session = peer.namer_host, peer.prefix, now.mono, True
        entry = self.table.admit(met)
        self._strangers.linked(peer)
        was_heard_of = self._hearsay.met(peer.node_id)
        if entry is None:
            return
        entry.reached(url, peer.namer_host, peer.prefix)
        entry.seen_at, entry.missed, entry.has_session, entry.probe_at = now.mono, 0, True, None
        if entry.is_to_be_asked(now.mono):
            self._fetch_identity(entry, now.mono)
        if is_new:
            self._discovery.trigger(now, peer.node_id, was_named=was_heard_of)

    def _fetch_identity(self, entry: Entry, mono: float) -> None:
        """Ask a node for its own identity record: signed addresses, before anybody else is asked."""
        entry.asked(mono)
        body = FindValue(Target(entry.node_id))
        self._run_errand(entry.contact(), _IDENTITY, Method.FIND_VALUE, body)

    def _note_life(self, node_id: NodeId, outcome: Answer | Failed, now: Now, *, is_probe: bool) -> None:
        """An answer is a sign of life; a failure calls for a probe, and only missed probes count against a node."""
        if isinstance(outcome, Answer):
            returned = self.table.alive(node_id, now.mono)
            if returned is not None:
                self._discovery.trigger(now, node_id)
                self._fetch_identity(returned, now.mono)
            entry = self.table.get(node_id)
            if entry is None:
                self._strangers.answered(node_id, outcome.expected_s)
                peer = self._strangers.peer_of(node_id)
                if peer is not None and self.table.wants(int.from_bytes(node_id)):
                    self._on_up(peer, None, now)  # there was no place when its session began
            else:
                entry.expected_s = outcome.expected_s or entry.expected_s
                if entry.ask_again_at is not None and entry.ask_again_at <= now.mono:
                    self._fetch_identity(entry, now.mono)
            return
        if outcome.reason is FailReason.GARBAGE:
            self._notices.append(CountedNotice("garbage_answers"))
        is_to_blame = outcome.reason not in (FailReason.BUSY, FailReason.CLOSED)
        if is_probe:
            if self.table.probe_ended(node_id, now.mono, is_missed=is_to_blame):
                self._notices.append(CountedNotice("left_table"))
        elif is_to_blame:
            self.table.probe_soon(node_id, now.mono)

    def _run_errand(self, contact: Contact, kind: str, method: Method, body: Body) -> None:
        call = self._operations.number()
        self._errands[call] = _Errand(contact.node_id, kind)
        self._send(Call(call, contact, method, body, READ_TIMEOUT_S))

    def _on_errand(self, errand: _Errand, outcome: Answer | Failed, now: Now) -> None:
        if errand.kind == _HEARSAY:
            self._hearsay.ended(errand.node_id, now.mono, is_reached=isinstance(outcome, Answer))
        elif errand.kind == _IDENTITY:
            self._contacts.on_identity(errand.node_id, outcome, now)

    # Discovery

    def _advance(self, now: Now) -> None:
        """Look up what is due, dial who was heard of, and notice when the network is known, or everything given."""
        changes = self.table.take_changes()
        if changes:
            self._caretaker.changed(changes, now)
        if self._is_leaving and self._caretaker.has_left and not self._has_left:
            self._has_left = True
            self._notices.append(LeftNotice())
        target = self._discovery.next_target(now)
        if target is not None:
            self._heard_before = self._hearsay.heard
            is_own_choice = self._discovery.is_own_choice
            self._searches.find(
                target, self._discovery.wanted, self._discovered, now, is_own_choice=is_own_choice
            )
        for contact in self._hearsay.take():
            self._run_errand(contact, _HEARSAY, Method.PING, Empty())
        if not self._is_joined and self._has_met_enough(now):
            self._is_joined = True
            self._notices.append(JoinedNotice(len(self.table)))
            self.stop_waiting(now)

    def _has_met_enough(self, now: Now) -> bool:
        """Lookups are done and everybody named has been dialled, or that took too long: a liar can name for ever."""
        if self._patience_ends_at is None:
            if not len(self.table):
                return False
            self._patience_ends_at = now.mono + JOIN_PATIENCE_S
        is_done = self._discovery.is_complete and self._hearsay.is_idle
        return is_done or now.mono >= self._patience_ends_at

    def _discovered(self, lookup: Lookup, now: Now) -> None:
        is_answered = bool(lookup.closest())
        self._discovery.finished(self._hearsay.heard - self._heard_before, now, is_answered=is_answered)

    def _count(self, name: str) -> None:
        self._notices.append(CountedNotice(name))

    def _measure(self, name: str, value: float, label: str) -> None:
        self._notices.append(MeasuredNotice(name, value, label))

    def _send(self, outgoing: Outgoing) -> None:
        self._outgoing.append(outgoing)

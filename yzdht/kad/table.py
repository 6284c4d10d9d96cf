"""Who is known: the routing table in its small-network form, which keeps everybody (PROTOCOL.md section 9).

A node enters only after a handshake has shown its id, and leaves after MISSED_PROBES_MAX missed probes; it is then
remembered for a day, because a write with cas counts it as existing, and tried again from time to time, because
a partition heals. Client-only peers are never here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING

from yzdht.limits import (
    CAS_REMEMBERS_S,
    CONTACT_URLS_MAX,
    DEPARTED_KEPT_S,
    DEPARTED_MAX,
    DEPARTED_RETRY_S_MAX,
    DEPARTED_RETRY_S_MIN,
    MISSED_PROBES_MAX,
    PROBE_AGAIN_S,
    SMALL_NETWORK_NODES_MAX,
    SOFT_DEADLINE_S_UNKNOWN,
)
from yzdht.wire.address import Address, ClientType, Contact
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import WireContact


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.ids import NodeId, PublicKey, Target


_SHARES = 1 << 16


@dataclass(slots=True)
class Entry:
    """One node of the table.

    Attributes:
        node_id: Proved by a handshake.
        public_key: Its identity key.
        point: The id as an integer, for distances.
        caps: Capability bits it showed.
        addresses: From its signed identity record; empty until that is known.
        worked_url: The address at which it was last dialled with success.
        host: IP at which it was last reached.
        prefix: Its public prefix; None for anything not public.
        seen_at: Monotonic seconds of the last sign of life.
        missed: Probes missed in a row.
        has_session: True while a session is open.
        expected_s: Seconds within which it usually answers.
        probe_at: When to probe it next; None while nothing speaks against it.
        is_probed: True while a probe is under way.
        is_storing: True if it keeps records.

    """

    node_id: NodeId
    public_key: PublicKey
    point: int
    caps: Caps
    addresses: tuple[Address, ...] = ()
    worked_url: str | None = None
    host: str = ""
    prefix: str | None = None
    seen_at: float = 0.0
    missed: int = 0
    has_session: bool = False
    expected_s: float = SOFT_DEADLINE_S_UNKNOWN
    probe_at: float | None = None
    is_probed: bool = False
    is_storing: bool = field(init=False)
    _contact: Contact | None = None
    _shown: dict[ClientType, WireContact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_storing = bool(self.caps & Caps.STORAGE)

    def urls_for(self, client_type: ClientType) -> tuple[str, ...]:
        """Its published addresses that such a client can use, at most CONTACT_URLS_MAX."""
        return tuple(a.url for a in self.addresses if client_type in a.client_types)[:CONTACT_URLS_MAX]

    def contact(self) -> Contact:
        """How this node reaches it: the address that worked first."""
        if self._contact is None:
            urls = self.urls_for(ClientType.PYTHON)
            if self.worked_url is not None:
                urls = (self.worked_url, *(u for u in urls if u != self.worked_url))[:CONTACT_URLS_MAX]
            self._contact = Contact(self.node_id, self.public_key, urls, self.caps)
        return self._contact

    def wire_contact(self, client_type: ClientType) -> WireContact:
        """How it is named to others: by its published addresses only."""
        shown = self._shown.get(client_type)
        if shown is None:
            shown = WireContact(self.public_key, self.urls_for(client_type), self.caps)
            self._shown[client_type] = shown
        return shown

    def learn(self, addresses: tuple[Address, ...], caps: Caps) -> None:
        """Take in what its own signed record says."""
        self.addresses = addresses
        self.caps = caps
        self.is_storing = bool(caps & Caps.STORAGE)
        self._contact = None
        self._shown.clear()

    def reached(self, url: str | None, host: str, prefix: str | None) -> None:
        """A session began; `url` is the address that was dialled, None if the peer dialled."""
        if url is not None and url != self.worked_url:
            self.worked_url = url
            self._contact = None
        self.host, self.prefix = host, prefix


@dataclass(slots=True)
class _Departed:
    entry: Entry
    retry_at: float
    pause_s: float


class Table:
    """Everybody known, up to SMALL_NETWORK_NODES_MAX nodes.

    Args:
        own_id: This node's id, which is never in the table.

    """

    def __init__(self, own_id: NodeId) -> None:
        self._own_id = own_id
        self._own_point = int.from_bytes(own_id)
        self._entries: dict[NodeId, Entry] = {}
        self._departed: dict[NodeId, _Departed] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, node_id: NodeId) -> Entry | None:
        """The entry of a node in the table."""
        return self._entries.get(node_id)

    @property
    def is_full(self) -> bool:
        """True when nobody else fits."""
        return len(self._entries) >= SMALL_NETWORK_NODES_MAX

    def admit(self, entry: Entry) -> Entry | None:
        """Put a node in whose id was just proved; returns its entry, None if it may not enter.

        One that is here already keeps its place with the capabilities that it shows now, or loses it for them.
        """
        if entry.node_id == self._own_id:
            return None
        if entry.caps & Caps.CLIENT or not entry.caps & Caps.ROUTING:
            self._entries.pop(entry.node_id, None)
            return None
        known = self._entries.get(entry.node_id)
        if known is not None:
            known.learn(known.addresses, entry.caps)
            return known
        if self.is_full:
            return None
        departed = self._departed.pop(entry.node_id, None)
        if departed is not None:
            entry.addresses = departed.entry.addresses
            entry.worked_url = departed.entry.worked_url
        self._entries[entry.node_id] = entry
        return entry

    def alive(self, node_id: NodeId, mono: float) -> Entry | None:
        """A node answered; its entry if that brings it back into the table, else None.

        A session can outlast a stay in the table: no handshake tells then that the node is back.
        """
        entry = self._entries.get(node_id)
        returned = None
        if entry is None:
            if node_id not in self._departed or self.is_full:
                return None
            returned = entry = self._departed.pop(node_id).entry
            entry.has_session = True
            self._entries[node_id] = entry
        entry.seen_at, entry.missed = mono, 0
        entry.probe_at, entry.is_probed = None, False
        return returned

    def session_ended(self, node_id: NodeId, mono: float) -> None:
        """The last session with a node ended: probe it at once."""
        entry = self._entries.get(node_id)
        if entry is not None:
            entry.has_session = False
            entry.probe_at = None if entry.is_probed else mono

    def remember(self, entry: Entry, mono: float) -> None:
        """Take in a node known from before a restart: not in the table, but tried at once."""
        if entry.node_id != self._own_id and entry.node_id not in self._entries:
            self._depart(entry, mono)

    def _depart(self, entry: Entry, retry_at: float) -> None:
        entry.has_session = entry.is_probed = False
        if len(self._departed) >= DEPARTED_MAX:
            oldest = min(self._departed.values(), key=lambda d: d.entry.seen_at)
            del self._departed[oldest.entry.node_id]
        self._departed[entry.node_id] = _Departed(entry, retry_at, DEPARTED_RETRY_S_MIN)

    def _postpone(self, node_id: NodeId, mono: float) -> None:
        departed = self._departed.get(node_id)
        if departed is not None:
            departed.pause_s = min(2 * departed.pause_s, DEPARTED_RETRY_S_MAX)
            departed.retry_at = mono + departed.pause_s * self._share(departed.entry)

    def _share(self, entry: Entry) -> float:
        """Which part of a pause to wait, 0.5 to 1, another one for every pair of nodes.

        All nodes across a cut leave at once. Spread out, the first pair to meet after it is healed tells the others.
        """
        return 0.5 + (entry.point ^ self._own_point) % _SHARES / (2 * _SHARES)

    # Who is near

    def closest(self, target: Target | NodeId, count: int, *, only_storing: bool = False) -> list[Entry]:
        """The exact `count` nearest live nodes, nearest first."""
        point = int.from_bytes(target)
        entries = self._entries.values()
        if only_storing:
            return nsmallest(count, (e for e in entries if e.is_storing), key=lambda e: e.point ^ point)
        return nsmallest(count, entries, key=lambda e: e.point ^ point)

    def closest_of_a_day(self, target: Target, count: int, mono: float) -> list[Entry]:
        """The nearest storage nodes seen in the last day, dead or not: those that a write with cas counts."""
        point = int.from_bytes(target)
        gone = (d.entry for d in self._departed.values())
        entries = [*self._entries.values(), *(e for e in gone if e.seen_at >= mono - CAS_REMEMBERS_S)]
        return nsmallest(count, (e for e in entries if e.is_storing), key=lambda e: e.point ^ point)

    def storing(self) -> int:
        """How many storage nodes are live."""
        return sum(1 for e in self._entries.values() if e.is_storing)

    # Probing

    def probe_soon(self, node_id: NodeId, mono: float) -> None:
        """A call to a node failed: probe it, unless a probe is under way or due."""
        entry = self._entries.get(node_id)
        if entry is not None and entry.probe_at is None and not entry.is_probed:
            entry.probe_at = mono

    def probe_ended(self, node_id: NodeId, mono: float, *, is_missed: bool) -> bool:
        """A probe has no answer; `is_missed` if the node is to blame. True if it left the table for it."""
        entry = self._entries.get(node_id)
        if entry is None:
            if is_missed:
                self._postpone(node_id, mono)
            return False
        entry.is_probed = False
        entry.missed += is_missed
        if entry.missed < MISSED_PROBES_MAX:
            entry.probe_at = mono + PROBE_AGAIN_S * max(entry.missed, 1)
            return False
        del self._entries[node_id]
        self._depart(entry, mono + DEPARTED_RETRY_S_MIN)
        return True

    def probes_due(self, mono: float) -> list[Entry]:
        """Nodes to probe now; each is then under way until `probe_ended` or `alive`."""
        self._forget(mono)
        due = [e for e in self._entries.values() if e.probe_at is not None and e.probe_at <= mono]
        for entry in due:
            entry.probe_at, entry.is_probed = None, True
        for departed in self._departed.values():
            if departed.retry_at <= mono:
                departed.retry_at = mono + departed.pause_s
                due.append(departed.entry)
        return due

    def next_probe(self) -> float | None:
        """Monotonic seconds at which a probe is due; None for never."""
        times = [e.probe_at for e in self._entries.values() if e.probe_at is not None]
        times.extend(d.retry_at for d in self._departed.values())
        return min(times, default=None)

    def _forget(self, mono: float) -> None:
        old = [i for i, d in self._departed.items() if d.entry.seen_at < mono - DEPARTED_KEPT_S]
        for node_id in old:
            del self._departed[node_id]

    def known(self) -> list[Entry]:
        """Everybody in the table, then everybody who left it and is still tried."""
        return [*self._entries.values(), *(d.entry for d in self._departed.values())]

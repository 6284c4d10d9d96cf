"""Contacts: what others name, what this node names to them, and what a node says of itself.

PROTOCOL.md sections 5 and 6. A contact that somebody named is a claim: it is bounded, judged by the scope rule, and
believed only after a handshake. Addresses are a node's own word: its signed identity record.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from yzdht.crypto.naming import node_id_of
from yzdht.errors import CryptoError, InvalidKey, UsageError, WireError
from yzdht.ids import Target
from yzdht.limits import (
    ALPHA,
    CONTACT_URLS_MAX,
    CONTACTS_PER_ANSWER_MAX,
    NODE_IDENTITY_LIFE_S,
    REPLICATION_BYTES_PER_S,
)
from yzdht.rpc.engine import Answer
from yzdht.wire.address import (
    ClientType,
    Contact,
    decode_identity_payload,
    is_loopback,
    may_dial,
    parse_url,
    scope_of,
)
from yzdht.wire.frame import Caps
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import FoundValue
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.kad.strangers import Strangers
    from yzdht.kad.table import Entry, Table
    from yzdht.kad.upkeep import Hearsay
    from yzdht.ports import Now, RecordVerifier
    from yzdht.rpc.engine import Failed, Peer
    from yzdht.wire.rpc import WireContact


_CAPS_CACHED_MAX = 64
"""There are few kinds of nodes."""


@dataclass(frozen=True, slots=True)
class Own:
    """What this node is.

    Attributes:
        contact: Its id, key and capabilities; the addresses are not needed here.
        is_private_allowed: `--allow-private`.
        hosts: IP addresses of this machine; a peer reached over loopback may name them, it is here too.
        is_exempt: True for a public prefix that the operator trusts: a fleet shares one (PROTOCOL.md section 9).
        typed_names: Addresses to join through that the operator gave by name: wherever such a name leads is trusted.
        care_bytes_per_s: What republish and hand-over may take of the line.

    """

    contact: Contact
    is_private_allowed: bool = False
    hosts: frozenset[str] = frozenset()
    is_exempt: Callable[[str], bool] = field(default=lambda _prefix: False)
    typed_names: frozenset[str] = frozenset()
    care_bytes_per_s: float = REPLICATION_BYTES_PER_S


class Contacts:
    """Judges and names contacts.

    Args:
        own: What this node is.
        table: Whom it knows.
        hearsay: Whom it has only heard of.
        strangers: Whom it has met and not kept.
        verifier: Checks identity records.
        count: Counts what was refused.

    Attributes:
        mono: The present, monotonic seconds; the engine keeps it true.

    """

    def __init__(
        self,
        own: Own,
        table: Table,
        hearsay: Hearsay,
        strangers: Strangers,
        verifier: RecordVerifier,
        count: Callable[[str], None],
    ) -> None:
        self._own = own
        self._table = table
        self._hearsay = hearsay
        self._strangers = strangers
        self._verifier = verifier
        self.count = count
        self.mono = 0.0

    # What others name

    def usable(self, contacts: tuple[WireContact, ...], namer: NodeId) -> list[Contact]:
        """Contacts of an answer that are new and that may be dialled."""
        usable = []
        entry = self._table.get(namer)
        namer_host = self._strangers.host_of(namer) if entry is None else entry.host
        for heard in contacts:
            try:
                node_id = node_id_of(heard.public_key)
            except InvalidKey:
                self.count("bad_contacts")
                continue
            if node_id == self._own.contact.node_id or self._table.get(node_id) is not None:
                continue
            caps = _caps_of_a_router(heard.caps)
            if caps is None:
                continue
            urls = tuple(u for u in heard.urls if self._may_dial(u, namer_host))[:CONTACT_URLS_MAX]
            if urls:
                contact = Contact(node_id, heard.public_key, urls, caps)
                usable.append(contact)
                self._hearsay.hear(contact, self.mono, namer)
        return usable

    def on_identity(self, node_id: NodeId, outcome: Answer | Failed, now: Now) -> None:
        """A node was asked for its identity record: if that failed, its session having ended perhaps, it is asked again.

        Until its addresses are known it is named to nobody. Who can be dialled is probed once, so that there is a next answer.
        """
        entry = self._table.get(node_id)
        if entry is None:
            return
        found = outcome.body if isinstance(outcome, Answer) else None
        if isinstance(found, FoundValue) and self._learn_identity(entry, found, now.wall):
            entry.said()
            return
        is_first = not entry.ask_pause_s
        entry.said_nothing(now.mono)
        if is_first and entry.contact().urls:
            self._table.probe_soon(node_id, now.mono + entry.ask_pause_s)

    def _learn_identity(self, entry: Entry, found: FoundValue, wall: float) -> bool:
        """Take in the addresses that a node signed, asked of itself; False if there are none of now."""
        is_learnt = False
        for raw in found.records:
            if not isinstance(raw, bytes):
                continue
            try:
                record = decode_record(raw)
                self._verifier.verify_record(record, Target(entry.node_id))
                payload = decode_identity_payload(record.payload)
            except (WireError, CryptoError):
                self.count("rejected_records")
                continue
            is_recent = wall - record.created <= NODE_IDENTITY_LIFE_S
            if record.kind is Kind.IDENTITY and is_recent and record.expires > wall:
                addresses = tuple(a for a in payload.addresses if self._may_dial(a.url, entry.host))
                entry.learn(addresses, entry.caps)
                is_learnt = True
        return is_learnt

    def _may_dial(self, url: str, namer_host: str) -> bool:
        try:
            parsed = parse_url(url)
        except UsageError:
            return False  # a protocol of a newer version, or nonsense
        if parsed.ip is None:
            return True  # a name: the shell resolves it and dials public addresses only
        if parsed.host in self._own.hosts and is_loopback(namer_host):
            return True
        return may_dial(parsed.host, namer_host, is_private_allowed=self._own.is_private_allowed)

    # What this node names

    def nearest_for(self, peer: Peer, target: Target, count: int) -> tuple[WireContact, ...]:
        """The nearest contacts that the asker can use; neither it nor this node is among them."""
        count = min(count, CONTACTS_PER_ANSWER_MAX)
        shown = _shown(peer, self._table.closest(target, count + 1), count)
        if len(shown) < count:  # some have no address that this asker can use: look farther
            shown = _shown(peer, self._table.closest(target, len(self._table)), count)
        return shown

    def closer_for(self, peer: Peer, target: Target) -> tuple[WireContact, ...]:
        """Contacts closer than this node, or its ALPHA nearest if it knows fewer that are closer."""
        nearest = self._table.closest(target, CONTACTS_PER_ANSWER_MAX + 1)
        point = int.from_bytes(target)
        own = int.from_bytes(self._own.contact.node_id) ^ point
        closer = bisect_left(nearest, own, key=lambda e: e.point ^ point)
        return _shown(peer, nearest, min(max(closer, ALPHA), CONTACTS_PER_ANSWER_MAX))


@lru_cache(maxsize=_CAPS_CACHED_MAX)
def _caps_of_a_router(caps: int) -> Caps | None:
    """Capability bits as such; None for whoever belongs in no table. Flags cost more than the rest of a contact."""
    bits = Caps(caps)
    return None if bits & Caps.CLIENT or not bits & Caps.ROUTING else bits


def _shown(peer: Peer, entries: list[Entry], count: int) -> tuple[WireContact, ...]:
    """The first so many of them that the asker can use; it is not among them."""
    client_type = ClientType.BROWSER if peer.caps & Caps.BROWSER else ClientType.PYTHON
    near = scope_of(peer.namer_host)
    shown = (
        contact
        for e in entries
        if e.node_id != peer.node_id and (contact := e.wire_contact(client_type, near)).urls
    )
    return tuple(islice(shown, count))

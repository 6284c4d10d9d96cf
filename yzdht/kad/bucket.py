"""One node as the table knows it, and a bucket of them with those who wait for a place (PROTOCOL.md section 9).

A bucket only keeps order. Who enters, and how many may, is for the table to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.limits import BUCKET_SIZE, IDENTITY_AGAIN_S, PROBE_AGAIN_S, SOFT_DEADLINE_S_UNKNOWN
from yzdht.wire.address import Address, ClientType, Contact, fit_urls, scopes_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import WireContact


if TYPE_CHECKING:
    from collections.abc import Iterable

    from yzdht.ids import NodeId, PublicKey
    from yzdht.wire.address import Scope


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
        is_parted: True if the last one was closed for its place alone.
        asked_at: Monotonic seconds at which it was last asked for its identity record; None if never.
        ask_again_at: When to ask again, since it did not say; None if it did, or is being asked.
        ask_pause_s: How long that took last time; doubles.
        expected_s: Seconds within which it usually answers.
        probe_at: When to probe it next; None while nothing speaks against it.
        is_probed: True while a probe is under way.
        since: Monotonic seconds at which it got its place in the table; None if it never had one.
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
    is_parted: bool = False
    asked_at: float | None = None
    ask_again_at: float | None = None
    ask_pause_s: float = 0.0
    expected_s: float = SOFT_DEADLINE_S_UNKNOWN
    probe_at: float | None = None
    is_probed: bool = False
    since: float | None = None
    is_storing: bool = field(init=False)
    _contact: Contact | None = None
    _scopes: frozenset[Scope] | None = None
    _shown: dict[tuple[ClientType, Scope], WireContact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_storing = bool(self.caps & Caps.STORAGE)

    @property
    def is_in_line(self) -> bool:
        """True if a probe is due or under way."""
        return self.is_probed or self.probe_at is not None

    def is_to_be_asked(self, mono: float) -> bool:
        """Whether a session that begins is to bring its identity record: not with each turn of those that share places."""
        was_asked = self.asked_at is not None and mono - self.asked_at <= IDENTITY_AGAIN_S
        return self.ask_again_at is not None or not (self.is_parted and was_asked)

    def asked(self, mono: float) -> None:
        """It is asked for its identity record."""
        self.asked_at, self.ask_again_at = mono, None

    def said(self) -> None:
        """Its identity record is here."""
        self.ask_again_at, self.ask_pause_s = None, 0.0

    def said_nothing(self, mono: float) -> None:
        """Its answer is no use, or there is none: whoever never says it is asked ever more seldom."""
        self.ask_pause_s = min(max(2 * self.ask_pause_s, PROBE_AGAIN_S), IDENTITY_AGAIN_S)
        self.ask_again_at = mono + self.ask_pause_s

    def contact(self) -> Contact:
        """How this node reaches it: the address that worked first, and all that it published."""
        if self._contact is None:
            urls = tuple(a.url for a in self.addresses if ClientType.PYTHON in a.client_types)
            if self.worked_url is not None:
                urls = (self.worked_url, *(u for u in urls if u != self.worked_url))
            self._contact = Contact(self.node_id, self.public_key, urls, self.caps, self.worked_url)
        return self._contact

    def wire_contact(self, client_type: ClientType, near: Scope = None) -> WireContact:
        """How it is named to others: by its published addresses only.

        Args:
            client_type: Who asks.
            near: The scope at which the asker is reached.

        """
        if self._scopes is None:
            self._scopes = scopes_of(self.addresses)
        key = client_type, near if near in self._scopes else None  # so there are no more keys than addresses
        shown = self._shown.get(key)
        if shown is None:
            urls = fit_urls(self.addresses, *key)
            shown = self._shown[key] = WireContact(self.public_key, urls, self.caps)
        return shown

    def learn(self, addresses: tuple[Address, ...], caps: Caps) -> None:
        """Take in what its own signed record says; other capabilities only through `Table.admit`, which counts."""
        self.addresses = addresses
        self.caps = caps
        self.is_storing = bool(caps & Caps.STORAGE)
        self._contact = self._scopes = None
        self._shown.clear()

    def reached(self, url: str | None, host: str, prefix: str | None) -> None:
        """A session began; `url` is the address that was dialled, None if the peer dialled."""
        if url is not None and url != self.worked_url:
            self.worked_url = url
            self._contact = None
        self.host, self.prefix = host, prefix


class Bucket:
    """The nodes at one distance.

    Attributes:
        entries: Who has a place, by point.
        waiting: The replacement cache by node id, at most BUCKET_SIZE, in order of the last sign of life.

    """

    __slots__ = ("entries", "waiting")

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.waiting: dict[NodeId, Entry] = {}

    def nearest(self, point: int, count: int, *, only_storing: bool = False) -> list[Entry]:
        """The `count` entries nearest to a point, nearest first."""
        entries = self.entries
        points: Iterable[int] = entries
        if only_storing:
            points = (p for p, e in entries.items() if e.is_storing)
        return [entries[p] for p in sorted(points, key=point.__xor__)[:count]]

    def idlest(self) -> Entry | None:
        """The least recently seen entry that has no session and is not about to be probed."""
        idle = (e for e in self.entries.values() if not e.has_session and not e.is_in_line)
        return min(idle, key=lambda e: e.seen_at, default=None)

    # The replacement cache

    def keep_waiting(self, entry: Entry, rivals: Iterable[Entry] | None = None) -> tuple[bool, Entry | None]:
        """Put a node in the cache, as the one seen last.

        Who holds a session is as recently seen as whoever comes, so nobody without a place crowds it out: connecting
        with one new id after the other gets rid of nobody who stays.

        Args:
            entry: Who has no place.
            rivals: Others of `waiting`, in their order, of whom one must go for it; None for anybody, if it is full.

        Returns:
            Whether it waits now, and who is forgotten for it.

        """
        self.waiting.pop(entry.node_id, None)
        if rivals is None and len(self.waiting) >= BUCKET_SIZE:
            rivals = self.waiting.values()
        gone = None
        if rivals is not None:
            gone = next((e for e in rivals if not e.has_session), None)
            if gone is None:
                return False, None
            del self.waiting[gone.node_id]
        self.waiting[entry.node_id] = entry
        return True, gone

    def seen(self, entry: Entry) -> None:
        """A waiting node gave a sign of life."""
        del self.waiting[entry.node_id]
        self.waiting[entry.node_id] = entry

    def queue(self) -> list[Entry]:
        """Who waits and is not about to be probed, the one to try first in front.

        That is the one seen last: of those with a session, all of whom are seen now, the one that has waited longest.
        """
        idle = [e for e in self.waiting.values() if not e.is_in_line]
        return [*(e for e in idle if e.has_session), *(e for e in reversed(idle) if not e.has_session)]

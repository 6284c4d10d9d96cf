"""One offer: show another node what is held here under a target, and give it what it lacks (PROTOCOL.md section 9).

It asks first, with hashes only. An end that the holder chose, `keep_until`, is passed on as it is, never prolonged, so
that an immutable record does not live for ever by wandering. A record so young that a write of it may still be under
way goes only where nothing is stored, with cas 0: it must not take the place of what another writer with cas has just
been promised (see `read`, which waits for the same reason).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import StoreError
from yzdht.kad.candidates import Ask
from yzdht.kad.settled import is_past_writing
from yzdht.limits import (
    KNOWN_HASHES_MAX,
    MULTI_ENTRIES_MAX,
    OFFER_STORES_IN_FLIGHT_MAX,
    READ_TIMEOUT_S,
    WRITE_TIMEOUT_S,
)
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.rpc import FindValue, FoundValue, Method, Row, Status, Store


if TYPE_CHECKING:
    from yzdht.ids import NodeId, RecordHash, Target
    from yzdht.kad.turns import NoRoom
    from yzdht.ports import Now, RecordStore, StoredRecord
    from yzdht.wire.address import Contact


_ASK = 0
"""The purpose of the question; those of the stores count up from 1."""

_REQUEST_BYTES = 64
"""What a request costs beside hashes and records, about."""

_REFUSED_BY_HOLDER = frozenset({Status.RATE_LIMITED, Status.OVER_QUOTA, Status.BUSY, Status.REFUSED})
"""Refusals that leave the record without this holder."""


class OfferResult(NamedTuple):
    """What an offer came to.

    Attributes:
        requests: How many were sent.
        bytes_sent: How many bytes they took, about.
        stored: Records that the other node took.
        is_newer_there: It showed something that is newer than what is held here, or not held here at all.
        is_failed: It did not answer, or could not take what it lacks.

    """

    requests: int
    bytes_sent: int
    stored: int
    is_newer_there: bool
    is_failed: bool


class Offer:
    """Offer what this node holds under one target to one contact.

    Args:
        target: Where.
        contact: To whom.
        store: What is held here.
        no_room: Who is not to be sent what.

    """

    def __init__(self, target: Target, contact: Contact, store: RecordStore, no_room: NoRoom) -> None:
        self.target = target
        self.result: OfferResult | None = None
        self._contact = contact
        self._store = store
        self._no_room = no_room
        self._asks: list[Ask] = []
        self._waiting: list[tuple[RecordHash, Store]] = []
        self._sent: dict[int, RecordHash] = {}
        self._is_asking = False
        self._requests = 0
        self._bytes = 0
        self._stored = 0
        self._stores = 0
        self._is_newer_there = False
        self._is_failed = False

    @property
    def is_finished(self) -> bool:
        """True once nothing more can come of it."""
        return self.result is not None

    def start(self, now: Now) -> None:
        """Ask what the other node holds; nothing to offer ends it at once."""
        try:
            held = self._store.get(self.target, now.wall)
        except StoreError:
            self._is_failed = True
            held = []
        if not held:
            self._finish()
            return
        known = tuple(record.head.hash for record in held[:KNOWN_HASHES_MAX])
        self._is_asking = True
        self._send(Method.FIND_VALUE, FindValue(self.target, known, 0), sum(map(len, known)))

    def take_asks(self) -> list[Ask]:
        """Requests to send; empties the list."""
        asks, self._asks = self._asks, []
        return asks

    def next_timer(self) -> float | None:
        """Never: the hard deadlines of its requests bound it."""
        return None

    def handle_timer(self, now: Now) -> None:
        """Nothing is ever due."""

    def on_answer(self, node_id: NodeId, purpose: int, outcome: Answer | Failed, now: Now) -> None:
        """Take an answer in; one that nobody asked for is ignored."""
        if node_id != self._contact.node_id or self.result is not None:
            return
        if purpose == _ASK and self._is_asking:
            self._is_asking = False
            self._on_shown(outcome, now)
        elif (record := self._sent.pop(purpose, None)) is not None:
            self._on_stored(record, outcome, now)
        self._advance()

    # What it holds

    def _on_shown(self, outcome: Answer | Failed, now: Now) -> None:
        if not isinstance(outcome, Answer) or not isinstance(outcome.body, FoundValue):
            self._is_failed = True
            return
        # A record where only hashes were asked for is not looked at: it counts as not shown.
        rows = [shown for shown in outcome.body.records if isinstance(shown, Row)][: 2 * MULTI_ENTRIES_MAX]
        try:
            held = self._store.get(self.target, now.wall)
            self._is_newer_there = any(self._is_news(row, len(held)) for row in rows)
        except StoreError:
            self._is_failed = True
            return
        theirs = {row.publisher: row for row in rows}
        self._waiting = [
            (record.head.hash, store)
            for record in held
            if (store := self._store_of(record, theirs.get(record.publisher), now)) is not None
        ]
        fitting = [
            (h, s) for h, s in self._waiting if not self._no_room.holds(self._contact.node_id, h, now.mono)
        ]
        self._is_failed = len(fitting) < len(self._waiting)
        self._waiting = fitting

    def _is_news(self, row: Row, held: int) -> bool:
        """True if what it shows is newer than what was ever held here; at an equal seq each holder keeps its own."""
        head = self._store.head(self.target, row.publisher)
        if head is None:
            return held < MULTI_ENTRIES_MAX  # a full target need not have room for it
        return row.seq > head.seq

    def _store_of(self, record: StoredRecord, theirs: Row | None, now: Now) -> Store | None:
        head = record.head
        if theirs is not None and theirs.seq >= head.seq:
            return None
        is_settled = is_past_writing(head.created, now.wall)
        if theirs is not None and not is_settled:
            return None
        return Store(self.target, record.body, None if is_settled else 0, head.keep_until)

    # Giving

    def _advance(self) -> None:
        while self._waiting and len(self._sent) < OFFER_STORES_IN_FLIGHT_MAX:
            record, body = self._waiting.pop(0)
            self._stores += 1
            purpose = self._stores
            self._sent[purpose] = record
            self._send(Method.STORE, body, len(body.record), purpose)
        if not self._is_asking and not self._sent:
            self._finish()

    def _on_stored(self, record: RecordHash, outcome: Answer | Failed, now: Now) -> None:
        if isinstance(outcome, Failed):
            self._is_failed = True
            self._waiting.clear()  # it is gone: the others would wait for it in vain
        elif outcome.status is Status.OK:
            self._stored += 1
        elif outcome.status in _REFUSED_BY_HOLDER:
            self._is_failed = True
            if outcome.status is Status.OVER_QUOTA:
                self._no_room.note(self._contact.node_id, record, now.mono)

    def _send(self, method: Method, body: FindValue | Store, size: int, purpose: int = _ASK) -> None:
        timeout_s = WRITE_TIMEOUT_S if method is Method.STORE else READ_TIMEOUT_S
        self._requests += 1
        self._bytes += size + _REQUEST_BYTES
        self._asks.append(Ask(self._contact, method, body, timeout_s, purpose))

    def _finish(self) -> None:
        self.result = OfferResult(
            self._requests, self._bytes, self._stored, self._is_newer_there, self._is_failed
        )

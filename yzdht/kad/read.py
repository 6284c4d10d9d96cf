"""One quorum read: the newest record that R of the n nearest nodes can show (PROTOCOL.md section 9).

As many nodes are asked as answers are needed, one more for each that is late or fails. One is asked for the body, the
others for hashes; equal hashes are agreement, and only a newer or unknown hash costs a second request. Every body is
verified before it counts. After the end, holders that showed less than the result are repaired.

A holder that is asked to show what it claimed has not answered until it does: if it fails, another takes its place,
or one failure could hide what W nodes acknowledged; if it is late, nobody waits for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import CryptoError, WireError
from yzdht.kad.candidates import Ask, Candidate, Candidates, Standing
from yzdht.kad.settled import is_past_writing
from yzdht.limits import (
    ALPHA,
    ANSWER_BODIES_BYTES_MAX,
    CLOCK_SKEW_S,
    FETCHES_PER_HOLDER_MAX,
    FEW_REPLICAS,
    FIND_VALUE_BODY_BYTES_DEFAULT,
    KNOWN_HASHES_MAX,
    LAST_ROUNDS_MAX,
    MULTI_ENTRIES_MAX,
    READ_SLOTS_MAX,
    READ_TIMEOUT_S,
    RECORD_BYTES_MAX,
    WRITE_TIMEOUT_S,
)
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.record import Record, decode_record
from yzdht.wire.rpc import FindValue, FoundValue, Method, Row, Status, Store
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yzdht.ids import NodeId, RecordHash, Target
    from yzdht.kad.crowds import Crowd
    from yzdht.kad.quorum import Quorum
    from yzdht.kad.turns import NoRoom
    from yzdht.ports import Now, RecordVerifier
    from yzdht.wire.address import Contact
    from yzdht.wire.rpc import WireContact


_ASK, _FETCH, _REPAIR = 0, 1, 2  # repairs count up from there, one for each store


class ReadResult(NamedTuple):
    """What a read came to.

    Attributes:
        records: The winning record of each publisher, verified; empty for not found or no quorum.
        answered: Of the n nearest, how many answered.
        needed: How many had to.
        asked: n.

    """

    records: list[Record]
    answered: int
    needed: int
    asked: int


@dataclass(slots=True)
class _Slot:
    """What the holders showed of one publisher's record."""

    bodies: dict[RecordHash, Record] = field(default_factory=dict)
    votes: dict[tuple[int, bytes], set[NodeId]] = field(default_factory=dict)

    def add(self, record: Record) -> bool:
        """Keep a verified record unless a newer one is here; True if it is new."""
        if record.hash in self.bodies or any(r.seq > record.seq for r in self.bodies.values()):
            return False
        self.bodies = {h: r for h, r in self.bodies.items() if r.seq == record.seq}
        self.bodies[record.hash] = record
        return True

    def best(self) -> Record | None:
        """Largest seq; at equal seq what more holders showed, then the larger (expires, hash)."""
        return max(
            self.bodies.values(),
            key=lambda r: (r.seq, len(self.votes.get((r.seq, r.hash), ())), r.expires, r.hash),
            default=None,
        )

    def unseen(self, least_seq: int) -> dict[tuple[int, bytes], set[NodeId]]:
        """Claims at least that new whose body nobody has shown yet."""
        return {c: who for c, who in self.votes.items() if c[0] >= least_seq and c[1] not in self.bodies}


class Plan(NamedTuple):
    """How to read.

    Attributes:
        target: Where.
        quorum: Its sizes, fixed.
        is_far: True where the own table does not know everybody: the target is approached, and the answers count once
            all of the nearest are asked.
        is_thorough: True to hear all n, whatever they show, and to bring up all that lack something: a holder's care
            for what it holds. This node is asked too, wherever it ranks.
        keep_until: Unix seconds until which this node keeps its immutable and move records: a repair passes them on. One
            that is not here has no end that this read could know, and is not repaired.
        no_room: Who is not to be sent what; learns of who has none.
        witnesses: Nodes that are asked too, however far they are, and waited for as long as they are in time.
        is_around: True if these are around a crowd that is in the place of the nearest.

    """

    target: Target
    quorum: Quorum
    is_far: bool = False
    is_thorough: bool = False
    keep_until: Mapping[RecordHash, int] = MappingProxyType({})
    witnesses: frozenset[NodeId] = frozenset()
    no_room: NoRoom | None = None
    is_around: bool = False


class Read:
    """Read what is stored under one target.

    Args:
        plan: Where and how.
        candidates: Storage nodes of the table near the target, and oneself if one stores.
        own_id: This node.
        verifier: Checks every body.
        usable: Turns the contacts of an answer into those that may be dialled.

    """

    def __init__(
        self,
        plan: Plan,
        candidates: Candidates,
        own_id: NodeId,
        verifier: RecordVerifier,
        usable: Callable[[tuple[WireContact, ...], NodeId], list[Contact]],
    ) -> None:
        self.plan = plan
        self.target = plan.target
        self.result: ReadResult | None = None
        self.rejected = 0
        self.requests = 0
        self.bytes_sent = 0
        self.candidates = candidates
        self._quorum = plan.quorum
        self._own_id = own_id
        self._verifier = verifier
        self._usable = usable
        self._asks: list[Ask] = []
        self._slots: dict[bytes, _Slot] = {}
        self._fetching: set[NodeId] = set()
        self._fetches: Counter[NodeId] = Counter()
        self._claims: Counter[NodeId] = Counter()
        self._repaired: set[NodeId] = set()
        self._repairs: dict[int, RecordHash] = {}
        self._repairs_sent = 0
        self._body_asked: set[NodeId] = set()
        self._bodies_taken = 0
        self._last_rounds = 0
        self._mono = self._wall = 0.0

    @property
    def is_thorough(self) -> bool:
        """True for a holder's care for what it holds."""
        return self.plan.is_thorough

    @property
    def is_immutable_found(self) -> bool:
        """True once the body was shown whose hash the target is: nobody can show another."""
        slot = self._slots.get(b"")
        return slot is not None and bool(slot.bodies)

    def shown_outside(self, crowd: Crowd) -> int:
        """How many of the n nearest and of the witnesses that are not of a crowd showed each record of the result.

        The least of these numbers; 0 for no result. Whoever else holds a record on the way may have an old one.
        """
        records = [] if self.result is None else self.result.records
        heard = {c.node_id for c in self._span()} | self.plan.witnesses
        outside = {node_id for node_id in heard if not crowd.holds(node_id)}
        return min((len(outside & self._who_has(record)) for record in records), default=0)

    def _who_has(self, record: Record) -> set[NodeId]:
        return self._slots[record.publisher].votes.get((record.seq, record.hash), set())

    def after(self, other: Read) -> Read:
        """The same read, with what another one cost that led to it."""
        self.requests += other.requests
        self.bytes_sent += other.bytes_sent
        return self

    @property
    def is_finished(self) -> bool:
        """True once nothing more can come of it; `result` is set earlier."""
        return self.result is not None and not self.candidates.has_open() and not self._repairs

    def start(self, now: Now) -> None:
        """Ask oneself if one is among the n: what is held here need not be sent. Then the others."""
        self._mono, self._wall = now
        own = self.candidates.get(self._own_id)
        if own is not None and (self.plan.is_thorough or own in self._span()):
            self._ask(own, now)
        else:
            self._advance(now)

    def take_asks(self) -> list[Ask]:
        """Requests to send; empties the list."""
        asks, self._asks = self._asks, []
        for ask in asks:
            if ask.contact.node_id != self._own_id:
                self.requests += 1
                self.bytes_sent += len(ask.body.record) if isinstance(ask.body, Store) else 0
        return asks

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return None if self.result is not None else self.candidates.next_late()

    def handle_timer(self, now: Now) -> None:
        """Demote those that are late."""
        if self.candidates.mark_late(now.mono):
            self._advance(now)

    # Answers

    def on_answer(self, node_id: NodeId, purpose: int, outcome: Answer | Failed, now: Now) -> None:
        """Take an answer in."""
        candidate = self.candidates.get(node_id)
        self._mono, self._wall = now
        if purpose >= _REPAIR:
            self._take_repaired(node_id, self._repairs.pop(purpose, None), outcome)
            return
        if candidate is None:
            return
        if not candidate.is_open:
            candidate.waiting = max(0, candidate.waiting - 1)  # the second answer of one that was asked twice
            return
        if purpose == _FETCH:
            self._take_fetched(candidate, outcome, now)
        elif self._take(candidate, outcome):
            self.candidates.answered(candidate, now.mono)
        else:
            self.candidates.failed(candidate, outcome)
            self._forget_claims(node_id)
        if self.result is None:
            self._advance(now)
        elif self.result.records:
            self._repair()

    def _take_fetched(self, candidate: Candidate, outcome: Answer | Failed, now: Now) -> None:
        """Take in what a holder shows of what it claimed; what it does not show it never claimed."""
        self._fetching.discard(candidate.node_id)
        taken = self._bodies_taken
        is_answer = self._take(candidate, outcome)
        if is_answer:
            self.candidates.answered(candidate, now.mono)
        else:
            self.candidates.failed(candidate, outcome)
        has_shown = self._bodies_taken > taken  # an answer is bounded: there may be more to fetch
        if not is_answer or not has_shown or self._fetches[candidate.node_id] >= FETCHES_PER_HOLDER_MAX:
            self._forget_claims(candidate.node_id)

    def _take(self, candidate: Candidate, outcome: Answer | Failed) -> bool:
        """Take in what a holder showed; False if it failed or showed something forged."""
        if not isinstance(outcome, Answer) or outcome.status is not Status.OK:
            return False
        assert isinstance(outcome.body, FoundValue)
        for shown in outcome.body.records:
            if isinstance(shown, Row):
                self._claim(candidate.node_id, shown.publisher, (shown.seq, shown.hash), is_shown=False)
            elif not self._take_record(candidate.node_id, shown):
                self.rejected += 1
                return False
        contacts = outcome.body.contacts
        if contacts:
            usable = self._usable(contacts, candidate.node_id)
            self.candidates.hear(usable, self._own_id, candidate.node_id)
        return True

    def _take_record(self, node_id: NodeId, raw: bytes) -> bool:
        try:
            record = decode_record(raw)
            self._verifier.verify_record(record, self.target)
        except (WireError, CryptoError):
            return False
        if record.kind is not Kind.IMMUTABLE and record.expires + CLOCK_SKEW_S < self._wall:
            return True  # expired: as good as nothing, and no fault
        slot = self._claim(node_id, record.publisher, (record.seq, record.hash), is_shown=True)
        if slot is not None:
            self._bodies_taken += slot.add(record)
        return True

    def _claim(
        self, node_id: NodeId, publisher: bytes, claim: tuple[int, bytes], *, is_shown: bool
    ) -> _Slot | None:
        """Note what a holder says it has; a record that it showed displaces what was only claimed."""
        slot = self._slots.get(publisher)
        if slot is not None and node_id in slot.votes.get(claim, ()):
            return slot
        if not is_shown:
            self._claims[node_id] += 1
            if self._claims[node_id] > MULTI_ENTRIES_MAX:
                return None
        if slot is None:
            if len(self._slots) >= READ_SLOTS_MAX and not (is_shown and self._drop_unshown()):
                return None
            slot = self._slots[publisher] = _Slot()
        slot.votes.setdefault(claim, set()).add(node_id)
        return slot

    def _drop_unshown(self) -> bool:
        unshown = next((publisher for publisher, slot in self._slots.items() if not slot.bodies), None)
        if unshown is not None:
            del self._slots[unshown]
        return unshown is not None

    def _forget_claims(self, node_id: NodeId) -> None:
        for publisher, slot in list(self._slots.items()):
            for claim, who in list(slot.votes.items()):
                if claim[1] not in slot.bodies:
                    who.discard(node_id)
                    if not who:
                        del slot.votes[claim]
            if not slot.votes:
                del self._slots[publisher]

    # Progress

    def _advance(self, now: Now) -> None:
        if self.result is not None:
            return
        span = self._span()
        answered = [c for c in span if c.standing is Standing.ANSWERED]
        has_record = any(slot.bodies for slot in self._slots.values())
        if self.is_immutable_found and not self.plan.is_thorough:
            self._finish(len(answered))
            return
        self._ask_witnesses(now)
        is_enough = (
            len(answered) >= self._quorum.read
            and self._spans_prefixes(span, answered)
            and not (self.plan.is_far and any(c.standing is Standing.FRESH for c in span))
        )
        if is_enough and self._fetch_missing(now):
            return
        if is_enough and has_record and not self._awaits_everybody(span) and not self._awaits_witness():
            self._finish(len(answered))
            return
        self._ask_more(span, len(answered), is_enough=is_enough, now=now)
        if any(c.standing is Standing.ASKED for c in self.candidates) or self._ask_again(now):
            return
        if self._is_exhausted(self._span()):
            self._finish(len(answered))

    def _ask_again(self, now: Now) -> bool:
        """While an answer is missing, the silent ones among the nearest are asked twice; True if there are any.

        Where nothing was found far away, some are asked a third time: the only holder left may be one of them.
        """
        late = self.candidates.to_ask_again(self._quorum.n)
        if not late and self.plan.is_far and not self._slots and self._last_rounds < LAST_ROUNDS_MAX:
            self._last_rounds += 1
            late = self.candidates.to_ask_again(self._quorum.n, 2, is_doubted_in=True)
        for candidate in late:
            self._send(candidate, FindValue(self.target, (), RECORD_BYTES_MAX), _ASK, now)
        return bool(late)

    def _span(self) -> list[Candidate]:
        """The n nearest: of all that are known, or, where the target is approached, of all that may yet answer."""
        if self.plan.is_far:
            return self.candidates.front(self._quorum.n, is_late_kept=True)
        return self.candidates.nearest(self._quorum.n)

    def _ask_witnesses(self, now: Now) -> None:
        for node_id in self.plan.witnesses:
            candidate = self.candidates.get(node_id)
            if candidate is not None and candidate.standing is Standing.FRESH:
                self._ask(candidate, now)

    def _awaits_witness(self) -> bool:
        asked = (self.candidates.get(node_id) for node_id in self.plan.witnesses)
        return any(c is not None and c.standing is Standing.ASKED for c in asked)

    def _awaits_everybody(self, span: list[Candidate]) -> bool:
        """With few replicas every one is heard, as long as it answers in time.

        n follows who is live. Of two or three nodes one may have taken a delete alone while the others were away, and
        the others, back again, would make a read quorum of stale copies between them.
        """
        if self._quorum.n > FEW_REPLICAS and not self.plan.is_thorough:
            return False
        return any(c.standing in (Standing.FRESH, Standing.ASKED) for c in span)

    def _spans_prefixes(self, span: list[Candidate], answered: list[Candidate]) -> bool:
        """Where the n span two public prefixes, the answers must too: one prefix may be one operator."""
        if len({c.prefix for c in span if c.prefix}) < 2:  # noqa: PLR2004 - two, as the protocol says
            return True
        # Hearsay has no prefix of its own: whoever named it may be whoever runs it.
        return len({c.prefix or c.node_id for c in answered if c.is_known or c.prefix}) >= 2  # noqa: PLR2004

    def _fetch_missing(self, now: Now) -> bool:
        """Ask for bodies that were only named; True while one may come in time."""
        for slot in self._slots.values():
            best = slot.best()
            for _, who in sorted(slot.unseen(best.seq if best else 0).items(), reverse=True):
                holders = [c for c in self.candidates if c.node_id in who]
                if any(self._is_fetched_from(c) for c in holders):
                    break
                holder = next((c for c in holders if self._may_fetch_from(c)), None)
                if holder is not None:
                    self._fetch(holder, now)
                    break
        return any(self._is_fetched_from(c) for c in self.candidates)

    def _is_fetched_from(self, candidate: Candidate) -> bool:
        return candidate.standing is Standing.ASKED and candidate.node_id in self._fetching

    def _may_fetch_from(self, candidate: Candidate) -> bool:
        is_done = self._fetches[candidate.node_id] >= FETCHES_PER_HOLDER_MAX
        return candidate.standing is Standing.ANSWERED and not is_done

    def _fetch(self, candidate: Candidate, now: Now) -> None:
        self._fetches[candidate.node_id] += 1
        self._fetching.add(candidate.node_id)
        body = FindValue(self.target, self._known(), ANSWER_BODIES_BYTES_MAX)
        self._send(candidate, body, _FETCH, now)

    def _send(self, candidate: Candidate, body: FindValue, purpose: int, now: Now) -> None:
        self.candidates.ask(candidate, now.mono)
        self._asks.append(Ask(candidate.contact, Method.FIND_VALUE, body, READ_TIMEOUT_S, purpose))

    def _ask_more(self, span: list[Candidate], answered: int, *, is_enough: bool, now: Now) -> None:
        if self.plan.is_far:
            for candidate in self.candidates.to_ask(span):
                self._ask(candidate, now)
            return
        is_all = is_enough or self.plan.is_thorough or self._quorum.n <= FEW_REPLICAS
        wanted = len(span) if is_all else max(self._quorum.read - answered, 1)
        in_flight = sum(1 for c in span if c.standing is Standing.ASKED)
        for candidate in span:
            if in_flight >= wanted:
                break
            if candidate.standing is Standing.FRESH:
                self._ask(candidate, now)
                in_flight += 1
        room = ALPHA - self.candidates.in_flight()
        for candidate in self.candidates.heard_within(self._edge(span)):
            if room <= 0:
                break
            if candidate.standing is Standing.FRESH:
                self._ask(candidate, now)
                room -= 1

    def _edge(self, span: list[Candidate]) -> int:
        """How near a node must be to be one of the n."""
        return span[-1].distance if span and len(span) == self._quorum.n else 1 << 256

    def _ask(self, candidate: Candidate, now: Now) -> None:
        has_body = any(slot.bodies for slot in self._slots.values())
        is_coming = any(
            c.standing is Standing.ASKED and c.node_id in self._body_asked for c in self.candidates
        )
        if is_coming and not has_body:
            # On the way to a far target nobody knows yet who holds it: small bodies cost less than one more round trip.
            body = FindValue(self.target, (), FIND_VALUE_BODY_BYTES_DEFAULT if self.plan.is_far else 0)
        else:
            body = FindValue(self.target, self._known(), RECORD_BYTES_MAX)
            self._body_asked.add(candidate.node_id)
        self._send(candidate, body, _ASK, now)

    def _known(self) -> tuple[RecordHash, ...]:
        return tuple(h for slot in self._slots.values() for h in slot.bodies)[:KNOWN_HASHES_MAX]

    def _is_exhausted(self, span: list[Candidate]) -> bool:
        """True when nobody is left who could change the outcome."""
        if any(c.standing is Standing.FRESH or c.is_open for c in span) or self._awaits_witness():
            return False
        return self.plan.is_far or not self.candidates.heard_within(self._edge(span))

    def _finish(self, answered: int) -> None:
        records = [best for slot in self._slots.values() if (best := slot.best()) is not None]
        if answered < self._quorum.read and not self.is_immutable_found:
            records = []
        self.result = ReadResult(_those_that_stay(records), answered, self._quorum.read, self._quorum.n)
        if records:
            self._repair()

    # Repair

    def _repair(self) -> None:
        """Give the result to those of the n that answered with less (PROTOCOL.md section 8, Reader)."""
        assert self.result is not None
        for candidate in self.candidates.nearest(self._quorum.n):
            if candidate.standing is Standing.ANSWERED:
                self._repair_one(candidate, self.result.records)
        own = self.candidates.get(self._own_id)
        if own is not None and self.plan.is_thorough and own.standing is Standing.ANSWERED:
            shown = [r for r in self.result.records if self._has_shown(self._own_id, r)]
            self._repair_one(own, shown)  # out of range it keeps what it has true, and takes in nothing else

    def _repair_one(self, candidate: Candidate, records: list[Record]) -> None:
        if candidate.node_id in self._repaired:
            return
        self._repaired.add(candidate.node_id)
        for record in records:
            if self._has_no_room(candidate.node_id, record):
                continue
            if self._lacks(candidate.node_id, record) and self._is_end_known(record):
                if self._is_settled(record):
                    self._asks.append(self._repair_of(candidate, record, None))
                elif record.created > self._wall and not self._has_shown(candidate.node_id, record):
                    self._asks.append(self._repair_of(candidate, record, 0))

    def _has_no_room(self, node_id: NodeId, record: Record) -> bool:
        no_room = self.plan.no_room
        return no_room is not None and no_room.holds(node_id, record.hash, self._mono)

    def _take_repaired(self, node_id: NodeId, record: RecordHash | None, outcome: Answer | Failed) -> None:
        """Remember who has no room for what."""
        is_full = isinstance(outcome, Answer) and outcome.status is Status.OVER_QUOTA
        if self.plan.no_room is not None and record is not None and is_full:
            self.plan.no_room.note(node_id, record, self._mono)

    def _is_end_known(self, record: Record) -> bool:
        """True unless the record lives as long as its holders say, and this read has not heard of any.

        Whoever invented an end would have immutable and move records live as long as somebody reads them: a holder
        raises its own to what it is told. Their holders give them on, with the end that they know.
        """
        is_kept_on_request = record.kind is Kind.IMMUTABLE or self._verifier.is_move(record)
        return not is_kept_on_request or record.hash in self.plan.keep_until

    def _has_shown(self, node_id: NodeId, record: Record) -> bool:
        """True if a node showed some record of that slot."""
        return any(node_id in who for who in self._slots[record.publisher].votes.values())

    def _lacks(self, node_id: NodeId, record: Record) -> bool:
        if record.kind is not Kind.IMMUTABLE and record.expires <= self._wall:
            return False
        votes = self._slots[record.publisher].votes
        shown = [claim for claim, who in votes.items() if node_id in who]
        return all(claim[0] < record.seq for claim in shown) and (record.seq, record.hash) not in shown

    def _is_settled(self, record: Record) -> bool:
        """True once no write of this record is under way any more.

        Repaired earlier, a record could take the place of one that another writer with cas has just been promised, and
        its own writer, answered 0 for what the repair had stored, would count that promise too: both would succeed.

        A record from the future says that the clocks of its author and of this node disagree, not how old it is. Where
        nothing is stored nobody was promised anything: there it may go at once, with a cas that says so.
        """
        votes = self._slots[record.publisher].votes.get((record.seq, record.hash), ())
        return is_past_writing(record.created, self._wall) or len(votes) >= self._quorum.write

    def _repair_of(self, candidate: Candidate, record: Record, cas: int | None) -> Ask:
        body = Store(self.target, record.raw, cas, self.plan.keep_until.get(record.hash, 0))
        purpose = _REPAIR + self._repairs_sent
        self._repairs_sent += 1
        if self.plan.no_room is not None:
            self._repairs[purpose] = record.hash
        return Ask(candidate.contact, Method.STORE, body, WRITE_TIMEOUT_S, purpose)


def merged(first: ReadResult, second: ReadResult) -> ReadResult:
    """What two reads of one target showed together, of each publisher the newest; nothing is only found missing by both."""
    best: dict[bytes, Record] = {}
    for record in (*first.records, *second.records):
        other = best.get(record.publisher)
        if other is None or _age(record) > _age(other):
            best[record.publisher] = record
    answered = max if best else min
    records = _those_that_stay(list(best.values()))
    return first._replace(records=records, answered=answered(first.answered, second.answered))


def _age(record: Record) -> tuple[int, int, bytes]:
    return record.seq, record.expires, record.hash


def _those_that_stay(records: list[Record]) -> list[Record]:
    """As many as a shared target has; the smallest leave, as they do at its holders."""
    if len(records) > MULTI_ENTRIES_MAX:
        records = sorted(records, key=lambda r: (r.expires, r.seq, r.publisher), reverse=True)
    return records[:MULTI_ENTRIES_MAX]

"""One quorum write: W durable answers of the n nearest nodes (PROTOCOL.md section 9).

A candidate that fails or is late is replaced by the next nearest; a write with cas replaces nobody and counts nodes of
the last day as existing, dead or not, so that two sides of a partition cannot both succeed. After W answers the others
go on in the background, and whoever fails there is still replaced, so that n hold the record in the end.

A write with cas asks the nearest node first and the others only once that one has accepted. The nearest thus decides
between writers that race, and the one that loses leaves its record nowhere; sent to all at once it would leave it on a
minority, where its higher seq would later win over the record that a quorum had acknowledged.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.kad.candidates import Ask, Candidate, Candidates, Standing
from yzdht.limits import RESTORED_LIFE_S, STORE_EXTRA_S, WRITE_ASKS_MAX, WRITE_TIMEOUT_S
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.record import EXPIRES_NEVER, decode_record
from yzdht.wire.rpc import Method, Refusal, Status, Store


if TYPE_CHECKING:
    from yzdht.ids import NodeId, Target
    from yzdht.kad.quorum import Quorum
    from yzdht.ports import Now


_STORE, _RESTORE, _AGAIN = 0, 1, 2

_REPLACEABLE = frozenset(
    {
        Status.RATE_LIMITED,
        Status.OVER_QUOTA,
        Status.BUSY,
        Status.REFUSED,
        Status.UNKNOWN_METHOD,
    }
)
"""Refusals that say something of the holder, not of the record: the next nearest is asked instead."""


class WriteResult(NamedTuple):
    """What a write came to.

    Attributes:
        accepted: Durable answers so far.
        asked: n.
        needed: W.
        refusal: The commonest refusal, OK if there was none.
        detail: Its body.

    """

    accepted: int
    asked: int
    needed: int
    refusal: Status
    detail: Refusal


@dataclass(frozen=True, slots=True)
class Draft:
    """What to store.

    Attributes:
        target: Where.
        raw: The whole record.
        cas: Sequence number that must be stored now, 0 for nothing, None for any.
        keep_until: Unix seconds, for immutables and move records; else 0.
        previous: The record whose seq is `cas`, to give to holders that have nothing or an older one.

    """

    target: Target
    raw: bytes
    cas: int | None = None
    keep_until: int = 0
    previous: bytes | None = None


class Write:
    """Store one record.

    Args:
        draft: What to store.
        quorum: Its sizes, fixed.
        candidates: Storage nodes near the target, oneself included if one stores; for a write with cas exactly the n.

    """

    def __init__(self, draft: Draft, quorum: Quorum, candidates: Candidates) -> None:
        self.result: WriteResult | None = None
        self._draft = draft
        self._quorum = quorum
        self.candidates = candidates
        self._asks: list[Ask] = []
        self._accepted = 0
        self._asked = 0
        self._refusals: Counter[tuple[Status, Refusal]] = Counter()
        self._restored: set[NodeId] = set()

    @property
    def is_finished(self) -> bool:
        """True once nothing more can come of it; `result` is set earlier."""
        return self.result is not None and not self.candidates.has_open()

    def start(self, now: Now) -> None:
        """Send to all n at once."""
        self._advance(now)

    def take_asks(self) -> list[Ask]:
        """Requests to send; empties the list."""
        asks, self._asks = self._asks, []
        return asks

    def next_timer(self) -> float | None:
        """When handle_timer is wanted."""
        return None if self.result is not None else self.candidates.next_late()

    def handle_timer(self, now: Now) -> None:
        """Replace those that are late."""
        if self.candidates.mark_late(now.mono):
            self._advance(now)

    def on_answer(self, node_id: NodeId, purpose: int, outcome: Answer | Failed, now: Now) -> None:
        """Take an answer in."""
        candidate = self.candidates.get(node_id)
        if candidate is None or not candidate.is_open:
            return
        if isinstance(outcome, Failed):
            self.candidates.failed(candidate, outcome)
        elif purpose == _RESTORE:
            self._ask(candidate, now, purpose=_AGAIN)
        elif outcome.status is Status.OK:
            candidate.standing = Standing.ANSWERED
            self._accepted += 1
        else:
            self._refused(candidate, outcome, now)
        self._advance(now)

    def _refused(self, candidate: Candidate, outcome: Answer, now: Now) -> None:
        detail = outcome.body if isinstance(outcome.body, Refusal) else Refusal()
        if self._may_restore(candidate, outcome.status, detail):
            self._restored.add(candidate.node_id)
            self._ask(candidate, now, purpose=_RESTORE)
            return
        self._refusals[outcome.status, detail] += 1
        is_replaceable = outcome.status in _REPLACEABLE  # a write with cas has nobody to ask in its place
        candidate.standing = Standing.FAILED if is_replaceable else Standing.ANSWERED

    def _may_restore(self, candidate: Candidate, status: Status, detail: Refusal) -> bool:
        """A holder that has nothing, or lags, is given what the writer read, then asked again (section 8, Order)."""
        return (
            status is Status.CAS_MISMATCH
            and self._draft.previous is not None
            and detail.number < (self._draft.cas or 0)
            and candidate.node_id not in self._restored
        )

    def _ask(self, candidate: Candidate, now: Now, purpose: int = _STORE) -> None:
        """Send what a purpose wants.

        How long a move record is kept is known to its holders alone. Given back to one that lags it is kept just long
        enough to be written over: without an end that holder would keep it 30 days.
        """
        draft = self._draft
        if purpose == _RESTORE:
            assert draft.previous is not None
            is_endless = decode_record(draft.previous).expires == EXPIRES_NEVER
            keep_until = int(now.wall) + RESTORED_LIFE_S if is_endless else 0
            body = Store(draft.target, draft.previous, None, keep_until)
        else:
            body = Store(draft.target, draft.raw, draft.cas, draft.keep_until)
        candidate.standing = Standing.ASKED
        candidate.late_at = now.mono + candidate.expected_s + STORE_EXTRA_S
        self._asks.append(Ask(candidate.contact, Method.STORE, body, WRITE_TIMEOUT_S, purpose))

    def _advance(self, now: Now) -> None:
        if self.result is not None:
            if self._accepted >= self._quorum.write:
                self._ask_more(now)
            return
        if self._accepted >= self._quorum.write:
            self._finish()
            self._ask_more(now)
            return
        self._ask_more(now)
        refused = sum(n for (status, _), n in self._refusals.items() if status not in _REPLACEABLE)
        is_lost = refused > self._quorum.n - self._quorum.write or (refused > 0 and self._is_first_awaited)
        if is_lost or not self.candidates.has_open():
            self._finish()

    def _ask_more(self, now: Now) -> None:
        """Keep n nodes in play: accepted, refused for good, or still in time.

        Once W have accepted nobody waits, and only those that failed are replaced: under load many are late, and more
        copies would be more load.
        """
        n = 1 if self._is_first_awaited else self._quorum.n
        in_play = sum(
            1
            for c in self.candidates
            if c.standing in (Standing.ASKED, Standing.ANSWERED)
            or (c.standing is Standing.LATE and self.result is not None)
        )
        asks_max = self._quorum.n if self._draft.cas is not None else WRITE_ASKS_MAX
        for candidate in self.candidates:
            if in_play >= n or self._asked >= asks_max:
                return
            if candidate.standing is Standing.FRESH:
                self._ask(candidate, now)
                self._asked += 1
                in_play += 1

    @property
    def _is_first_awaited(self) -> bool:
        """True while a write with cas waits for the first node that takes it."""
        return self._draft.cas is not None and not self._accepted

    def _finish(self) -> None:
        (refusal, detail), _ = max(
            self._refusals.items(), key=lambda item: item[1], default=((Status.OK, Refusal()), 0)
        )
        self.result = WriteResult(self._accepted, self._quorum.n, self._quorum.write, refusal, detail)

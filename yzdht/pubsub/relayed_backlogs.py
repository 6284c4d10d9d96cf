"""What clients missed, fetched for them: one host asked after the other, until all that was asked for has come (section 11).

What a host sends is looked at before it goes on: a client that got something forged would leave this node for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.errors import InvalidSignature, WireError
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    BACKLOG_CHARGE_BYTES_PER_RANGE,
    EDGE_BACKLOG_CALL_S,
    EDGE_BACKLOG_HOSTS_MAX,
    EDGE_BACKLOGS_MAX,
    PUBSUB_ENVELOPE_BYTES_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.pubsub.claims import joined, without
from yzdht.pubsub.pauses import limited, told_s
from yzdht.pubsub.shares import Shares
from yzdht.rpc.engine import Answer, Failed, Reply
from yzdht.wire.holdings import Series, Span
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Backlog, BacklogPage, Method, Range, Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.ports import Now
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.ports import Surroundings
    from yzdht.pubsub.rates import Bringers, Rates
    from yzdht.rpc.engine import Peer
    from yzdht.wire.address import Contact
    from yzdht.wire.history import Bringer
    from yzdht.wire.rpc import Body


@dataclass(slots=True, eq=False)
class _Errand:
    """One BACKLOG of a client.

    Attributes:
        bringer: Who has its place.
        missing: What was asked for and has not come, by series; of each in order, and each index once, for a host answers range by range.
        bytes_left: How much room there is.
        hosts: Who is still to be asked.
        distrust: Told who sent something forged.
        found: What came, in this order.
        looked_for: How many ranges a host was asked for, the most of all: it charges this node for each, whether or not there is anything in it.
        has_failed: True if a host did not answer.
        again_s: After so many seconds one that was asked too much lately may be asked again.

    """

    request: int
    peer: Peer
    bringer: Bringer
    body: Backlog
    missing: dict[Series, list[Span]]
    bytes_left: int
    hosts: list[Contact]
    distrust: Callable[[NodeId, Now], None]
    found: dict[tuple[Series, int], bytes] = field(default_factory=dict)
    looked_for: int = 0
    has_failed: bool = False
    again_s: float = 0.0

    def ranges(self) -> tuple[Range, ...]:
        """What is to be asked for now."""
        spans = [Range(*series, *span) for series, left in self.missing.items() for span in left]
        return tuple(spans[:SUMMARY_ROWS_MAX])


class RelayedBacklogs:
    """Of one node.

    Args:
        outbox: Where requests and answers go.
        rates: What clients may fetch.
        bringers: Names with whom a client shares what there is room for.
        surroundings: Checks signatures, counts.

    """

    def __init__(self, outbox: Outbox, rates: Rates, bringers: Bringers, surroundings: Surroundings) -> None:
        self._outbox = outbox
        self._bringers = bringers
        self._rates = rates
        self._verifier = surroundings.verifier
        self._count = surroundings.count
        self._shares = Shares(EDGE_BACKLOGS_MAX)

    def fetch(
        self,
        request: int,
        peer: Peer,
        body: Backlog,
        hosts: list[Contact],
        distrust: Callable[[NodeId, Now], None],
        now: Now,
    ) -> None:
        """Fetch what a client asks for.

        Args:
            request: Its request, which is answered once.
            peer: Whose.
            body: What it asks for.
            hosts: Who may have it, in the order in which they are asked.
            distrust: Told who sent something forged.
            now: The present.

        """
        if wait_s := self._rates.may_fetch(peer, now):
            answer = limited(wait_s)
            self._reply(request, answer.status, answer.body)
            return
        bringer = self._bringers.of_peer(peer)
        if not self._shares.take(bringer):
            self._reply(request, Status.BUSY, Refusal())
            return
        asked: dict[Series, list[Span]] = {}
        for sender, session, start, to in ((r.sender, r.session, r.start, r.to) for r in body.ranges):
            asked.setdefault(Series(sender, session), []).append(Span(start, to))
        missing = {series: joined(spans) for series, spans in asked.items()}
        room = min(body.bytes_max, ANSWER_BODIES_BYTES_MAX)
        hosts = hosts[:EDGE_BACKLOG_HOSTS_MAX]
        errand = _Errand(request, peer, bringer, body, missing, room, hosts, distrust)
        errand.has_failed = not hosts  # nobody could be asked
        self._go_on(errand, now)

    def _reply(self, request: int, status: Status, body: Body) -> None:
        self._outbox.put(Reply(request, status, body))

    def _go_on(self, errand: _Errand, now: Now) -> None:
        ranges = errand.ranges()
        if not ranges or not errand.hosts:
            self._end(errand, now, has_more=bool(ranges) and errand.has_failed)
            return
        host = errand.hosts.pop(0)
        errand.looked_for = max(errand.looked_for, len(ranges))
        room = errand.bytes_left
        asked = Backlog(errand.body.topic, ranges, room)

        def on_answer(outcome: Answer | Failed, at: Now) -> None:
            page = outcome.body if isinstance(outcome, Answer) else None
            had = len(errand.found)
            if not isinstance(page, BacklogPage):
                errand.has_failed = True
                errand.again_s = max(errand.again_s, told_s(outcome))
            elif self._take(errand, host, page, room, at) and page.more and len(errand.found) > had:
                self._end(errand, at, has_more=True)
                return
            if errand.found and errand.bytes_left < PUBSUB_ENVELOPE_BYTES_MAX:
                self._end(errand, at, has_more=bool(errand.ranges()))
                return
            self._go_on(errand, at)

        self._outbox.call(host, Method.BACKLOG, asked, EDGE_BACKLOG_CALL_S, on_answer)

    def _take(self, errand: _Errand, host: Contact, page: BacklogPage, room: int, now: Now) -> bool:
        """Keep what was asked for, is genuine and has room; False, and nothing more of it, from the first on that is not so.

        What has come already was asked for all the same: it takes room, and is passed over.
        """
        for place, raw in enumerate(page.envelopes):
            room -= len(raw)
            if (place > 0 and room < 0) or not self._take_one(errand, raw):
                self._count("pubsub_forged")
                errand.distrust(host.node_id, now)
                return False
        return True

    def _take_one(self, errand: _Errand, raw: bytes) -> bool:
        try:
            envelope = decode_envelope(raw)
            series, index = envelope.series, envelope.index
            if envelope.topic != errand.body.topic:
                return False
            if (series, index) in errand.found:
                return True
            spans = errand.missing.get(series, [])
            if not any(s.start <= index < s.to for s in spans):
                return False
            self._verifier.verify(envelope)
        except (WireError, InvalidSignature):
            return False
        errand.missing[series] = without(spans, Span(index, index + 1))
        errand.found[series, index] = raw
        errand.bytes_left = max(0, errand.bytes_left - len(raw))
        return True

    def _end(self, errand: _Errand, now: Now, *, has_more: bool) -> None:
        self._shares.give_back(errand.bringer)
        found = tuple(errand.found.values())
        looked_for = BACKLOG_CHARGE_BYTES_PER_RANGE * errand.looked_for
        self._rates.fetched(errand.peer, max(looked_for, sum(map(len, found))), now)
        if not errand.found and errand.has_failed:  # who did not answer has it, perhaps
            refusal = limited(errand.again_s) if errand.again_s else Answer(Status.BUSY, Refusal())
            self._reply(errand.request, refusal.status, refusal.body)
            return
        self._reply(errand.request, Status.OK, BacklogPage(found, has_more))

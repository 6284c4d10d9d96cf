"""Messages of one topic that others say they hold and this process lacks: asked for until somebody sends them.

Every source has its claims (summary rows, PROTOCOL.md section 11). What is missing is asked of one that claims it, of another one
too if that one is slow, fails, or does not send what it claimed. A source that withholds so loses nothing but its own part.
What is certain to exist, since a later message of the series is here, and what no source has, is told after GAP_GIVE_UP_S in which there
was one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from yzdht.errors import WireError
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    PULL_CALL_S,
    PULL_DOUBTED_MAX,
    PULL_GUESSES_MAX,
    PULL_LATE_S,
    PULL_MESSAGES_MAX,
    PULL_RETRY_S_MAX,
    PULL_RETRY_S_MIN,
    PULLS_PER_SOURCE_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.pubsub.claims import Claims, shared, without_all
from yzdht.pubsub.gaps import Gaps
from yzdht.pubsub.pauses import doubled_s, told_s
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.holdings import Series, Span, widened
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Backlog, BacklogPage, Method, Range, Status


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.ids import NodeId, TopicId
    from yzdht.ports import Now
    from yzdht.wire.address import Contact
    from yzdht.wire.holdings import Held
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Body, SummaryRow


_NO_HOST = (Status.REFUSED, Status.NOT_FOUND, Status.UNKNOWN_METHOD)


class Calls(Protocol):
    """Where requests go: an Outbox, or what answers for this node itself before it."""

    def call(
        self,
        contact: Contact,
        method: Method,
        body: Body,
        deadline_s: float,
        then: Callable[[Answer | Failed, Now], None],
    ) -> int:
        """Ask a node; `then` is told what came of it, perhaps before this returns."""
        ...

    def cancel(self, call: int) -> None:
        """An answer is not wanted any more."""
        ...


@dataclass(slots=True, eq=False)
class _Ask:
    """One BACKLOG under way."""

    ranges: tuple[Range, ...]
    late_at: float
    call: int | None = None
    is_late: bool = False
    is_over: bool = False

    @property
    def spans(self) -> list[tuple[Series, Span]]:
        """What was asked for, in order."""
        return [(Series(r.sender, r.session), Span(r.start, r.to)) for r in self.ranges]


@dataclass(slots=True, eq=False)
class _Source:
    contact: Contact
    claims: Claims
    asks: list[_Ask] = field(default_factory=list)
    failures: int = 0
    ready_at: float = 0.0
    failed_until: float = 0.0
    again_at: float = 0.0
    """Not before is it asked for more of what it did not send."""
    guesses: dict[Series, int] = field(default_factory=dict)
    """Series of which it told the upper part alone, perhaps: what is asked of below this index it did not claim."""

    def hear(self, row: SummaryRow, mono: float, ask_at: float | None, *, asks_below: bool) -> None:
        """It says what it holds of a series."""
        series = Series(row.sender, row.session)
        wide = widened(row) if asks_below else row
        if wide.first < row.first and (series in self.guesses or len(self.guesses) < PULL_GUESSES_MAX):
            self.guesses[series] = row.first
            row = wide
        self.claims.hear(row, mono, ask_at)

    def owes_all(self, ask: _Ask) -> bool:
        """True unless some of what it was asked for was a guess."""
        return all(span.start >= self.guesses.get(series, 0) for series, span in ask.spans)

    def can_be_asked(self, mono: float) -> bool:
        """True if it has something of use, and room."""
        return bool(self.claims) and self.ready_at <= mono and len(self.asks) < PULLS_PER_SOURCE_MAX


class Puller:
    """Of one topic.

    Args:
        topic: Of which messages are fetched.
        held: What the owner has of a series now; of an unknown one an empty Held. It is looked at, never changed.
        calls: Where requests go.
        on_envelope: Told each envelope that was asked for and came, and who sent it. The owner verifies it, and says
            whether it is genuine; one that it takes must be in `held` when this returns, or what it claims is asked of
            others again. After one that is not, nothing more is taken of that answer.
        on_unfillable: Told, once, a gap below a message that is held, of which no source has sent anything though
            GAP_GIVE_UP_S passed. A source that claims it later is asked all the same.
        hosts_per_source: For so many hosts a source may speak.

    Attributes:
        rest_s: So long a source is left alone after each answer; for an owner whose process has better to do, and for whom nobody waits.

    """

    def __init__(
        self,
        topic: TopicId,
        held: Callable[[Series], Held],
        calls: Calls,
        on_envelope: Callable[[PubsubEnvelope, Contact, Now], bool],
        on_unfillable: Callable[[Series, Span, Now], None],
        *,
        hosts_per_source: int = 1,
    ) -> None:
        self._hosts_per_source = hosts_per_source
        self.rest_s = 0.0
        self._topic = topic
        self._held = held
        self._calls = calls
        self._on_envelope = on_envelope
        self._on_unfillable = on_unfillable
        self._sources: dict[NodeId, _Source] = {}
        self._gaps = Gaps(held)
        self._is_advancing = False
        self._is_stopped = False

    # What the owner tells

    def hear(
        self,
        source: Contact,
        rows: Iterable[SummaryRow],
        now: Now,
        *,
        grace_s: float | None = None,
        asks_below: bool = False,
    ) -> None:
        """A source says what it holds: of each series the row counts in place of the one before. It may be a new one.

        Args:
            source: Which.
            rows: What it says.
            now: The present.
            grace_s: For so long what is new may come by itself: it is asked for after that, or once a later message of its
                series is here. None for at once.
            asks_below: True to ask for what a row that tells no more holes leaves out below.

        """
        if not self._sources:
            self._gaps.go_on(now.mono)
        known = self._sources.get(source.node_id)
        if known is None:
            known = self._sources[source.node_id] = _Source(
                source, Claims(self._held, self._hosts_per_source)
            )
        known.contact = source
        ask_at = None if grace_s is None else now.mono + grace_s
        for row in rows:
            known.hear(row, now.mono, ask_at, asks_below=asks_below)
        self._advance(now)

    def hurry(self, now: Now) -> None:
        """Nothing comes by itself any more: what sources have is asked for."""
        for source in self._sources.values():
            source.claims.hurry()
        self._advance(now)

    def drop(self, source: NodeId, now: Now) -> None:
        """A source is gone, or is none any more: what it was asked for is asked of others."""
        known = self._sources.pop(source, None)
        if known is not None:
            for ask in known.asks:
                self._cancel(ask)
            if not self._sources:
                self._gaps.pause(now.mono)
            self._advance(now)

    def look(self, series: Series, now: Now) -> None:
        """Something of a series was added that did not come from here: it may have a gap now, or one less."""
        self._gaps.look(series, now.mono)
        if any(source.claims.waits(series) for source in self._sources.values()):
            self._advance(now)

    def lost(self, series: Series, spans: Iterable[Span]) -> None:
        """Gaps that were given up in an earlier run: they are fetched if a source has them, and not told again."""
        self._gaps.give_up(series, spans)

    # What the owner may ask

    @property
    def sources(self) -> tuple[NodeId, ...]:
        """Who said what it holds."""
        return tuple(self._sources)

    @property
    def is_idle(self) -> bool:
        """True if no source is known to have anything that is missing here."""
        sources = self._sources.values()
        return not any(s.asks or any(map(s.claims.of, s.claims)) for s in sources)

    @property
    def has_gaps(self) -> bool:
        """True if something is missing below a message that is held, and not given up."""
        return self._gaps.are_open

    # Asking

    def _advance(self, now: Now) -> None:
        """Ask whoever can be, one request each in turn, until nothing is left to ask for."""
        if self._is_advancing:  # this node answered itself: the loop that asked goes on
            return
        self._is_advancing = True
        try:
            while not self._is_stopped and self._ask_each(now):
                pass
        finally:
            self._is_advancing = False

    def _ask_each(self, now: Now) -> bool:
        """One request to whoever can be asked; False if there was none."""
        able = [source for source in self._sources.values() if source.can_be_asked(now.mono)]
        able.sort(key=lambda source: (source.failures, len(source.asks)))
        has_asked = False
        for source in able:
            if source.can_be_asked(now.mono) and (ranges := self._ranges_for(source, now)):
                self._ask(source, ranges, now)
                has_asked = True
        return has_asked

    def _ranges_for(self, source: _Source, now: Now) -> tuple[Range, ...]:
        """What to ask of a source: what it claims and nobody was asked for just now, of each series a like part.

        What it did not send before is asked for as well, a little of it, while there is something else.
        """
        asked = self._asked(source)
        wants: dict[Series, list[Span]] = {}
        again: dict[Series, list[Span]] = {}
        for series in source.claims:
            is_doubted = source.claims.doubts(series)
            is_enough = len(again) == PULL_DOUBTED_MAX or source.again_at > now.mono
            if len(wants) == SUMMARY_ROWS_MAX or (is_doubted and is_enough):
                break
            if spans := without_all(source.claims.due(series), asked.get(series, ())):
                (again if is_doubted else wants)[series] = spans
        known = {series for series in wants if source.claims.knows(series)}
        parts = shared(wants, again, PULL_MESSAGES_MAX, known)
        return tuple(Range(*series, *span) for series, spans in parts.items() for span in spans)

    def _asked(self, of: _Source) -> dict[Series, list[Span]]:
        """What was asked for and may still come; of another source only while that is not slow."""
        found: dict[Series, list[Span]] = {}
        for source in self._sources.values():
            for ask in source.asks:
                if source is of or not ask.is_late:
                    for series, span in ask.spans:
                        found.setdefault(series, []).append(span)
        return found

    def _ask(self, source: _Source, ranges: tuple[Range, ...], now: Now) -> None:
        ask = _Ask(ranges, now.mono + PULL_LATE_S)
        source.asks.append(ask)
        body = Backlog(self._topic, ranges, ANSWER_BODIES_BYTES_MAX)
        call = self._calls.call(
            source.contact,
            Method.BACKLOG,
            body,
            PULL_CALL_S,
            lambda outcome, at: self._on_answer(source, ask, outcome, at),
        )
        if not ask.is_over:  # a node asks itself without a network, and has the answer by now
            ask.call = call

    def _cancel(self, ask: _Ask) -> None:
        ask.is_over = True
        if ask.call is not None:
            self._calls.cancel(ask.call)

    # Answers

    def _on_answer(self, source: _Source, ask: _Ask, outcome: Answer | Failed, now: Now) -> None:
        if ask.is_over:
            return
        ask.is_over = True
        source.asks.remove(ask)
        if isinstance(outcome, Answer) and isinstance(outcome.body, BacklogPage):
            if self.rest_s:
                source.ready_at = max(source.ready_at, now.mono + self.rest_s)
            self._take(source, ask, outcome.body, now)
        else:
            _note_failure(source, outcome, now)
        self._advance(now)

    def _take(self, source: _Source, ask: _Ask, page: BacklogPage, now: Now) -> None:
        asked = [(series, index) for series, span in ask.spans for index in range(*span)]
        came, is_genuine = self._hand_on(source, set(asked), page, now)
        if self._is_stopped:
            return
        last = max((position for position, item in enumerate(asked) if item in came), default=-1)
        for position, (series, index) in enumerate(asked):
            if (series, index) in came:
                source.claims.take_off(series, index)
            elif not page.more or not is_genuine or (position < last and self._hosts_per_source == 1):
                source.claims.break_off(series, index, now.mono)
            elif position < last:
                # One of its hosts lacks it, and it asked no other one, or that did not answer.
                source.claims.doubt(series)
        for series in dict(ask.spans):
            self._gaps.look(series, now.mono)
        if came and is_genuine:
            source.failures = 0
        elif not is_genuine or page.more:
            _punish(source, now)
        elif source.owes_all(ask) and source.again_at <= now.mono:
            # What was asked before a pause began is no further failure.
            source.again_at = now.mono + _pause_s(source)

    def _hand_on(
        self, source: _Source, asked: set[tuple[Series, int]], page: BacklogPage, now: Now
    ) -> tuple[set[tuple[Series, int]], bool]:
        """Tell the owner what was asked for; which of it came, and whether all that came is genuine."""
        came: set[tuple[Series, int]] = set()
        for raw in page.envelopes:
            try:
                envelope = decode_envelope(raw)
            except WireError:
                return came, False
            name = envelope.series, envelope.index
            if envelope.topic != self._topic or name not in asked:
                return came, False
            if not self._on_envelope(envelope, source.contact, now):
                return came, False
            if self._is_stopped:
                break
            came.add(name)
        return came, True

    # Time

    def next_timer(self) -> float | None:
        """When handle_timer is wanted; None for not before something is told."""
        times = [ask.late_at for s in self._sources.values() for ask in s.asks if not ask.is_late]
        times += [
            at for s in self._sources.values() if s.claims for at in (s.ready_at, s.again_at) if at > 0.0
        ]
        times += [at for s in self._sources.values() if (at := s.claims.next_ripe()) is not None]
        if self._sources and (at := self._gaps.next_time()) is not None:
            times.append(at)
        return min(times, default=None)

    def handle_timer(self, now: Now) -> None:
        """Ask others where a source is slow, ask one again that failed, give up what nobody has."""
        for source in self._sources.values():
            for ask in source.asks:
                ask.is_late = ask.is_late or ask.late_at <= now.mono
            if source.ready_at <= now.mono:
                source.ready_at = 0.0
            if source.again_at <= now.mono:
                source.again_at = 0.0
            source.claims.ripen(now.mono)
        self._advance(now)
        if self._sources:  # nobody was asked while none is known
            for series, span in self._gaps.unfillable(self._hoped_for, now.mono):
                self._on_unfillable(series, span, now)

    def _hoped_for(self, series: Series) -> list[Span]:
        """What of a series some source claims, or was asked for."""
        claims = [span for source in self._sources.values() for span in source.claims.of(series)]
        asks = [a for source in self._sources.values() for a in source.asks]
        return claims + [span for ask in asks for asked, span in ask.spans if asked == series]

    def stop(self) -> None:
        """Ask nothing more and tell nothing more."""
        self._is_stopped = True
        for source in self._sources.values():
            for ask in source.asks:
                self._cancel(ask)
        self._sources.clear()
        self._gaps.clear()


def _note_failure(source: _Source, outcome: Answer | Failed, now: Now) -> None:
    """It did not answer, or refused."""
    if isinstance(outcome, Answer) and outcome.status is Status.RATE_LIMITED:
        told = now.mono + min(PULL_RETRY_S_MAX, max(PULL_RETRY_S_MIN, told_s(outcome)))
        source.ready_at = max(source.ready_at, told)
        return
    if isinstance(outcome, Answer) and outcome.status in _NO_HOST:
        source.claims.clear()  # it is no host of this topic any more
    _punish(source, now)


def _punish(source: _Source, now: Now) -> None:
    """Leave it alone for a while, each time for longer; requests that were under way together fail once."""
    if source.failed_until <= now.mono:
        source.failed_until = now.mono + _pause_s(source)
    source.ready_at = max(source.ready_at, source.failed_until)


def _pause_s(source: _Source) -> float:
    """How long to wait after one failure more."""
    source.failures += 1
    return doubled_s(PULL_RETRY_S_MIN, PULL_RETRY_S_MAX, source.failures)

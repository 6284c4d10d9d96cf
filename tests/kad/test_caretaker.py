"""What replication decides, run: a holder among nodes that are played by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.kad.kit import NODE, at, contact, entry, node_id, number_of, refuses, shows
from tests.sim.authors import NET, WALL, NullChecks, Pen
from tests.sim.node import SimRng
from yzdht.ids import Target
from yzdht.kad.caretaker import Caretaker
from yzdht.kad.contacts import Contacts, Own
from yzdht.kad.holder import Holder
from yzdht.kad.operations import Operations
from yzdht.kad.searches import Searches
from yzdht.kad.strangers import Strangers
from yzdht.kad.table import Entry, Table
from yzdht.kad.upkeep import Hearsay
from yzdht.limits import DAY_S, HOUR_S, REPLICAS
from yzdht.rpc.engine import Answer, Call, Failed, FailReason, Persist
from yzdht.store.memory import MemoryStore
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Empty, FindValue, Row, Status, Store
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from yzdht.rpc.engine import Outgoing
    from yzdht.wire.slot import Verdict


PEN = Pen(1)
OTHERS = range(1, REPLICAS)
NOTE = PEN.mutable("name", 5, b"value", created=WALL - 60)
OWN = int.from_bytes(NOTE.target) ^ (1 << 200)


class Change(NamedTuple):
    entry: Entry
    is_arrival: bool


class Ward:
    """One holder and its neighbours, which are numbers."""

    def __init__(self, caps: Caps = NODE) -> None:
        self.mono = 0.0
        self._outgoing: list[Outgoing] = []
        self._soon: list[Callable[[], None]] = []
        self.store = MemoryStore(self._on_verdicts, self._soon.append)
        self.table = Table(node_id(OWN))
        checks, strangers = NullChecks(NET), Strangers()
        own = Own(contact(OWN, caps))
        self.operations = Operations(node_id(OWN), Holder(self.store, checks), self._outgoing.append)
        contacts = Contacts(own, self.table, Hearsay(), strangers, checks, lambda _name: None)
        searches = Searches(own, self.table, self.operations, contacts, checks, strangers)
        rng = SimRng("ward")
        self.care = Caretaker(node_id(OWN), self.store, self.table, rng, searches, self.operations)
        for number in OTHERS:
            self.arrive(number)

    def _on_verdicts(self, batch: list[tuple[int, Verdict]]) -> None:
        for op, verdict in batch:
            self.operations.on_stored(op, verdict, at(self.mono))

    def arrive(self, number: int) -> None:
        entered = self.table.admit(entry(number))
        assert entered is not None
        self.care.changed([Change(entered, is_arrival=True)], at(self.mono))

    def hold(self, note: Note, keep_until: int = 0) -> None:
        record = note.record
        write = Write(
            target=note.target,
            publisher=record.publisher,
            kind=record.kind,
            seq=record.seq,
            hash=record.hash,
            created=record.created,
            expires=record.expires or keep_until,
            body=record.raw,
            cas=None,
            keep_until=keep_until,
            stored_by=b"",
            is_pinned=False,
            wall_now=WALL,
        )
        self.store.submit(0, write)
        self._settle()

    def _settle(self) -> None:
        while self._soon:
            self._soon.pop(0)()

    def calls(self) -> list[Call]:
        """What it asks others by now."""
        calls = []
        while self._outgoing or self._soon:
            for item in list(self._outgoing):
                self._outgoing.remove(item)
                if isinstance(item, Call):
                    calls.append(item)
                elif isinstance(item, Persist):
                    self.store.submit(item.op, item.write)
            self._settle()
        return calls

    def answer(self, call: Call, answer: Answer | Failed) -> None:
        self.operations.on_answer(call.call, answer, at(self.mono))

    def live(self, seconds: float, answer: Callable[[Call], Answer | Failed]) -> list[tuple[int, object]]:
        """Let time pass, and others answer; whom it asked what."""
        asked: list[tuple[int, object]] = []
        until = self.mono + seconds
        while True:
            for call in self.calls():
                asked.append((number_of(call.contact), call.body))
                self.answer(call, answer(call))
            times = (self.care.next_timer(), self.operations.next_timer())
            timer = min((t for t in times if t is not None), default=until)
            if self._outgoing:
                continue
            if timer >= until:
                self.mono = until
                return asked
            self.mono = max(timer, self.mono)
            self.operations.handle_timer(at(self.mono))
            self.care.handle_timer(at(self.mono))


def has_nothing(call: Call) -> Answer:
    return shows() if isinstance(call.body, FindValue) else Answer(Status.OK, Empty())


def has(note: Note) -> Callable[[Call], Answer]:
    row = Row(note.record.publisher, note.record.seq, note.record.hash)
    return lambda call: shows(row) if isinstance(call.body, FindValue) else Answer(Status.OK, Empty())


def stored(asked: list[tuple[int, object]]) -> dict[int, Store]:
    return {number: body for number, body in asked if isinstance(body, Store)}


def test_who_has_no_room_for_a_record_is_sent_it_once_a_day() -> None:
    ward = Ward()
    ward.hold(NOTE)
    full = 3

    def has_all_but_one(call: Call) -> Answer:
        if number_of(call.contact) != full:
            return has(NOTE)(call)
        return refuses(Status.OVER_QUOTA) if isinstance(call.body, Store) else shows()

    asked = [ward.live(HOUR_S, has_all_but_one) for _ in range(30)]
    sent = [hour for hour, bodies in enumerate(asked) if full in stored(bodies)]

    assert 1 <= len(sent) <= 2
    assert len(sent) == 1 or sent[1] - sent[0] >= 23
    assert sum(number == full for bodies in asked for number, _ in bodies) > 10  # it is asked as before


def test_within_two_hours_everybody_who_lacks_a_record_is_given_it() -> None:
    ward = Ward()
    ward.hold(NOTE)

    asked = ward.live(2 * HOUR_S, has_nothing)

    assert set(stored(asked)) == set(OTHERS)
    assert {body.record for body in stored(asked).values()} == {NOTE.raw}


def test_who_has_it_is_asked_and_sent_nothing() -> None:
    ward = Ward()
    ward.hold(NOTE)

    asked = ward.live(2 * HOUR_S, has(NOTE))

    assert {number for number, _ in asked} == set(OTHERS)
    assert stored(asked) == {}
    assert all(isinstance(body, FindValue) and NOTE.record.hash in body.known for _, body in asked)


def test_something_newer_elsewhere_is_taken_in() -> None:
    newer = PEN.mutable("name", 9, b"newer", created=WALL - 60)
    ward = Ward()
    ward.hold(NOTE)

    def shows_newer(call: Call) -> Answer:
        return shows(newer.raw) if isinstance(call.body, FindValue) else Answer(Status.OK, Empty())

    ward.live(2 * HOUR_S, shows_newer)

    assert [s.body for s in ward.store.get(NOTE.target, WALL)] == [newer.raw]


def test_the_end_that_a_holder_was_given_is_passed_on_and_not_prolonged() -> None:
    kept = PEN.immutable(b"value")
    ward = Ward()
    ward.hold(kept, keep_until=WALL + DAY_S)

    asked = ward.live(2 * HOUR_S, has_nothing)

    assert {body.keep_until for body in stored(asked).values()} == {WALL + DAY_S}


def test_a_newcomer_among_the_nearest_is_handed_the_record_within_minutes() -> None:
    ward = Ward()
    ward.hold(NOTE)
    ward.live(2 * HOUR_S, has(NOTE))
    newcomer = int.from_bytes(NOTE.target) ^ 1
    ward.arrive(newcomer)

    asked = ward.live(300, has_nothing)

    assert newcomer in stored(asked)


def crowded_out() -> Ward:
    """A holder that is not among the nearest any more, and has seen it."""
    ward = Ward()
    ward.hold(NOTE)
    for bit in range(REPLICAS):
        ward.arrive(int.from_bytes(NOTE.target) ^ (1 << bit))
    return ward


def first_refresh(ward: Ward, answer: Callable[[Call], Answer | Failed]) -> None:
    for _ in range(3 * 60):
        if ward.live(60, answer):
            return
    raise AssertionError("it was never refreshed")


def test_out_of_range_a_refresh_that_all_answered_is_enough_for_hours() -> None:
    ward = crowded_out()
    ward.live(300, has(NOTE))
    first_refresh(ward, has(NOTE))

    hours = [bool(ward.live(HOUR_S, has(NOTE))) for _ in range(5)]

    assert sum(hours) <= 1


def test_out_of_range_one_that_missed_a_near_holder_is_repeated() -> None:
    """Another one answers in its place, but it is the one beyond the cut that may hold something newer."""
    ward = crowded_out()
    ward.live(300, has(NOTE))
    nearest = int.from_bytes(NOTE.target) ^ 1
    newer = PEN.mutable("name", 9, b"newer", created=WALL - 60)

    def without_one(call: Call) -> Answer | Failed:
        return Failed(FailReason.TIMEOUT) if number_of(call.contact) == nearest else has(NOTE)(call)

    def with_newer(call: Call) -> Answer:
        return shows(newer.raw) if isinstance(call.body, FindValue) else Answer(Status.OK, Empty())

    first_refresh(ward, without_one)
    ward.live(1.2 * HOUR_S, with_newer)

    assert [s.body for s in ward.store.get(NOTE.target, WALL)] == [newer.raw]


def test_out_of_range_what_was_just_brought_is_refreshed_again() -> None:
    ward = crowded_out()
    ward.live(300, has(NOTE))
    first_refresh(ward, has(NOTE))
    ward.live(1.2 * HOUR_S, has(NOTE))
    ward.care.stored(NOTE.target, node_id(99), at(ward.mono))

    assert ward.live(1.2 * HOUR_S, has(NOTE))


def test_leaving_hands_everything_to_who_takes_the_place() -> None:
    ward = Ward()
    ward.hold(NOTE)
    ward.care.leave(at(ward.mono))
    assert not ward.care.has_left

    asked = ward.live(1, has_nothing)

    assert stored(asked)
    assert ward.care.handed_over() == (1, 0, 0)
    assert ward.care.has_left


def test_leaving_with_nothing_is_done_at_once() -> None:
    ward = Ward()
    ward.care.leave(at(ward.mono))

    assert ward.care.has_left


def test_a_node_that_stores_nothing_looks_after_nothing() -> None:
    ward = Ward(NODE & ~Caps.STORAGE)
    ward.care.asked(node_id(1), FindValue(NOTE.target, (NOTE.record.hash,)), at(0.0))

    assert ward.care.next_timer() is None
    assert ward.live(2 * HOUR_S, has_nothing) == []


def test_other_holders_checks_are_heard_and_not_believed_for_ever() -> None:
    """One of the nearest asks every quarter of an hour, and stores nothing: it looks after nothing in truth."""
    ward = Ward()
    ward.hold(NOTE)
    ward.live(HOUR_S / 4, has(NOTE))  # all of them had just arrived
    hours = 0
    asked: list[tuple[int, object]] = []
    while not asked and hours < 8:
        hours += 1
        for _ in range(4):
            ward.care.asked(node_id(1), FindValue(NOTE.target, (NOTE.record.hash,)), at(ward.mono))
            asked += ward.live(HOUR_S / 4, has(NOTE))

    assert 1 < hours < 8


def test_questions_about_other_records_are_nobodys_care() -> None:
    ward = Ward()
    ward.hold(NOTE)
    ward.care.asked(node_id(1), FindValue(Target(bytes(32)), (NOTE.record.hash,)), at(0.0))
    ward.care.asked(node_id(1), FindValue(NOTE.target), at(0.0))
    ward.care.stored(NOTE.target, node_id(99), at(0.0))

    assert ward.live(2 * HOUR_S, has(NOTE))


def test_leaving_with_thousands_of_records_that_cannot_be_read_ends_at_once() -> None:
    ward = Ward()
    for number in range(2_000):
        ward.hold(PEN.mutable(f"name {number}", 1, expires=WALL + 60, created=WALL - 60))
    ward.store.get = lambda *_: []  # type: ignore[method-assign] # all expire while they wait
    ward.care.leave(at(ward.mono))

    ward.live(60, has_nothing)

    assert ward.care.has_left

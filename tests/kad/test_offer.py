from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.kad.kit import GONE, TIMEOUT, at, contact, node_id, refuses, shows
from tests.sim.authors import WALL, Pen
from yzdht.errors import StoreError
from yzdht.kad.offer import Offer, OfferResult
from yzdht.kad.turns import NoRoom
from yzdht.limits import DAY_S, HOUR_S, MULTI_ENTRIES_MAX, OFFER_STORES_IN_FLIGHT_MAX, REPAIR_AFTER_S
from yzdht.rpc.engine import Answer
from yzdht.store.memory import MemoryStore
from yzdht.wire.rpc import Empty, FindValue, FoundNodes, Method, Row, Status, Store
from yzdht.wire.slot import Kind, Write


if TYPE_CHECKING:
    from tests.sim.authors import Note
    from yzdht.ids import Target
    from yzdht.kad.candidates import Ask
    from yzdht.ports import StoredRecord
    from yzdht.rpc.engine import Failed


LATER = 2.0 * REPAIR_AFTER_S
"""When records of WALL are settled."""
STORED = Answer(Status.OK, Empty())
NOTE = Pen(1).mutable("name", 5, b"value")


class BrokenStore(MemoryStore):
    """A disk that cannot be read."""

    is_broken = True

    def get(self, target: Target, wall_now: float) -> list[StoredRecord]:
        if self.is_broken:
            raise StoreError("the disk is gone")
        return super().get(target, wall_now)


def write_of(note: Note, keep_until: int = 0) -> Write:
    record = note.record
    return Write(
        target=note.target,
        publisher=record.publisher,
        kind=record.kind,
        seq=record.seq,
        hash=record.hash,
        created=record.created,
        expires=keep_until or record.expires,
        body=record.raw,
        cas=None,
        keep_until=keep_until,
        stored_by=b"",
        is_pinned=True,
        wall_now=WALL,
    )


def store_with(*notes: Note, keep_until: int = 0) -> MemoryStore:
    store = MemoryStore(lambda _: None, lambda _: None)
    fill(store, *notes, keep_until=keep_until)
    return store


def fill(store: MemoryStore, *notes: Note, keep_until: int = 0) -> None:
    for number, note in enumerate(notes):
        kept = keep_until if note.record.kind is Kind.IMMUTABLE else 0
        store.submit(number, write_of(note, kept))


def row(note: Note) -> Row:
    return Row(note.record.publisher, note.seq, note.record.hash)


class Offering:
    """An offer of what is under the first note's target, to node 9."""

    def __init__(
        self,
        *notes: Note,
        store: MemoryStore | None = None,
        mono: float = LATER,
        no_room: NoRoom | None = None,
    ) -> None:
        self.mono = mono
        self.offer = Offer(
            notes[0].target, contact(9), store or store_with(*notes), NoRoom() if no_room is None else no_room
        )
        self.offer.start(at(mono))

    def asks(self) -> list[Ask]:
        return self.offer.take_asks()

    def hear(self, outcome: Answer | Failed, purpose: int) -> list[Ask]:
        self.offer.on_answer(node_id(9), purpose, outcome, at(self.mono))
        return self.asks()

    def shown(self, *records: bytes | Row) -> list[Ask]:
        (ask,) = self.asks()
        return self.hear(shows(*records), ask.purpose)

    @property
    def result(self) -> OfferResult:
        assert self.offer.result is not None
        return self.offer.result


def test_what_the_other_has_no_room_for_is_not_sent_again_for_a_day() -> None:
    note, full = Pen(1).mutable("name", 5, b"value", life_s=3 * DAY_S), NoRoom()
    first = Offering(note, no_room=full)
    (store,) = first.shown()
    first.hear(refuses(Status.OVER_QUOTA), store.purpose)
    assert first.result.is_failed

    again = Offering(note, no_room=full, mono=LATER + HOUR_S)
    assert again.shown() == []
    assert again.result.is_failed
    assert len(Offering(note, no_room=full, mono=LATER + DAY_S).shown()) == 1


def test_it_asks_first_with_hashes_and_wants_no_bodies() -> None:
    (ask,) = Offering(NOTE).asks()

    assert (ask.contact, ask.method) == (contact(9), Method.FIND_VALUE)
    assert ask.body == FindValue(NOTE.target, (NOTE.record.hash,), 0)


def test_what_the_other_lacks_is_stored_there() -> None:
    offering = Offering(NOTE)
    (store,) = offering.shown()
    assert store.body == Store(NOTE.target, NOTE.raw, None, 0)
    assert not offering.offer.is_finished
    offering.hear(STORED, store.purpose)

    result = offering.result
    assert result == OfferResult(2, result.bytes_sent, 1, is_newer_there=False, is_failed=False)
    assert len(NOTE.raw) < result.bytes_sent < len(NOTE.raw) + 300


def test_what_the_other_has_is_not_sent() -> None:
    offering = Offering(NOTE)

    assert offering.shown(row(NOTE)) == []
    assert offering.result == OfferResult(1, 96, 0, is_newer_there=False, is_failed=False)


def test_an_older_record_is_replaced() -> None:
    offering = Offering(NOTE)
    (store,) = offering.shown(row(Pen(1).mutable("name", 4)))

    assert store.body == Store(NOTE.target, NOTE.raw, None, 0)


def test_a_newer_record_is_told_and_nothing_is_sent() -> None:
    offering = Offering(NOTE)

    assert offering.shown(row(Pen(1).mutable("name", 6))) == []
    assert offering.result.is_newer_there


def test_at_an_equal_seq_each_keeps_its_own() -> None:
    offering = Offering(NOTE)

    assert offering.shown(row(Pen(1).mutable("name", 5, b"other"))) == []
    assert not offering.result.is_newer_there


def test_of_a_shared_target_only_what_is_missing_is_sent() -> None:
    ours = [Pen(n).multi("room", 5) for n in range(1, 5)]
    theirs = [
        row(ours[0]),
        row(Pen(2).multi("room", 4)),
        row(Pen(3).multi("room", 6)),
        row(Pen(9).multi("room", 1)),
    ]
    offering = Offering(*ours)
    stores = offering.shown(*theirs)

    assert {store.body.record for store in stores if isinstance(store.body, Store)} == {
        ours[1].raw,
        ours[3].raw,
    }
    for store in stores:
        offering.hear(STORED, store.purpose)
    assert offering.result[2:] == (2, True, False)


def test_an_entry_not_held_here_is_no_news_where_there_is_no_room_for_it() -> None:
    ours = [Pen(n).multi("room", 5) for n in range(1, MULTI_ENTRIES_MAX + 1)]
    offering = Offering(*ours)
    offering.shown(row(Pen(99).multi("room", 1)), *map(row, ours))

    assert not offering.result.is_newer_there


def test_many_entries_are_sent_some_at_a_time() -> None:
    offering = Offering(*(Pen(n).multi("room", 5) for n in range(1, 11)))
    waiting = offering.shown()
    sent = 0
    while waiting:
        assert len(waiting) <= OFFER_STORES_IN_FLIGHT_MAX
        waiting = [*waiting[1:], *offering.hear(STORED, waiting[0].purpose)]
        sent += 1

    assert sent == offering.result.stored == 10


def test_an_immutable_record_passes_on_its_end_and_is_not_prolonged() -> None:
    note = Pen(1).immutable(b"chunk")
    offering = Offering(note, store=store_with(note, keep_until=WALL + DAY_S))
    (store,) = offering.shown()

    assert store.body == Store(note.target, note.raw, None, WALL + DAY_S)


def test_an_immutable_record_that_the_other_has_is_not_sent_for_its_end() -> None:
    note = Pen(1).immutable(b"chunk")
    offering = Offering(note, store=store_with(note, keep_until=WALL + DAY_S))

    assert offering.shown(Row(b"", 0, note.record.hash)) == []


def test_nothing_to_offer_ends_at_once() -> None:
    expired = Pen(1).mutable("name", 5, life_s=5)
    offering = Offering(expired)

    assert offering.asks() == []
    assert offering.result == OfferResult(0, 0, 0, is_newer_there=False, is_failed=False)


def test_a_record_that_expires_while_asking_is_not_sent() -> None:
    offering = Offering(Pen(1).mutable("name", 5, life_s=60))
    offering.mono = 61.0

    assert offering.shown() == []
    assert offering.result.requests == 1


def test_a_young_record_goes_where_nothing_is_and_takes_nobody_s_place() -> None:
    (store,) = Offering(NOTE, mono=1.0).shown()
    assert store.body == Store(NOTE.target, NOTE.raw, 0, 0)

    assert Offering(NOTE, mono=1.0).shown(row(Pen(1).mutable("name", 4))) == []


def test_no_answer_is_a_failure() -> None:
    for outcome in (GONE, TIMEOUT, refuses(Status.BUSY), Answer(Status.OK, FoundNodes())):
        offering = Offering(NOTE)
        (ask,) = offering.asks()
        assert offering.hear(outcome, ask.purpose) == []
        assert offering.result.is_failed


def test_a_holder_that_cannot_take_a_record_is_a_failure() -> None:
    for status, is_failed in (
        (Status.OVER_QUOTA, True),
        (Status.RATE_LIMITED, True),
        (Status.SEQ_TOO_LOW, False),
    ):
        offering = Offering(NOTE)
        (store,) = offering.shown()
        offering.hear(refuses(status), store.purpose)
        assert offering.result[2:] == (0, False, is_failed)


def test_who_goes_away_is_sent_nothing_more() -> None:
    offering = Offering(*(Pen(n).multi("room", 5) for n in range(1, 11)))
    stores = offering.shown()
    more = [ask for store in stores for ask in offering.hear(GONE, store.purpose)]

    assert more == []
    assert offering.result.is_failed


def test_a_disk_that_fails_is_a_failure_and_no_more() -> None:
    broken = BrokenStore(lambda _: None, lambda _: None)
    fill(broken, NOTE)
    offering = Offering(NOTE, store=broken)
    assert offering.result == OfferResult(0, 0, 0, is_newer_there=False, is_failed=True)

    broken.is_broken = False
    offering = Offering(NOTE, store=broken)
    broken.is_broken = True
    offering.shown()
    assert offering.result[:1] + offering.result[2:] == (1, 0, False, True)


def test_a_body_where_hashes_were_asked_for_counts_as_not_shown() -> None:
    offering = Offering(NOTE)

    assert len(offering.shown(Pen(1).mutable("name", 9).raw)) == 1


def test_answers_that_nobody_waits_for_are_ignored() -> None:
    offering = Offering(NOTE)
    (ask,) = offering.asks()
    offering.offer.on_answer(node_id(8), ask.purpose, GONE, at(LATER))
    assert offering.hear(STORED, 1) == []
    assert not offering.offer.is_finished
    (store,) = offering.hear(shows(), ask.purpose)
    assert offering.hear(shows(row(Pen(1).mutable("name", 6))), ask.purpose) == []
    offering.hear(STORED, store.purpose)
    offering.hear(GONE, store.purpose)

    assert offering.result[2:] == (1, False, False)


def test_it_needs_no_timer() -> None:
    offering = Offering(NOTE)
    offering.offer.handle_timer(at(LATER))

    assert offering.offer.next_timer() is None


ROWS = st.builds(
    Row,
    st.sampled_from([b"", NOTE.record.publisher, b"\x02" + bytes(32)]),
    st.integers(0, 9),
    st.binary(min_size=32, max_size=32),
)


@given(
    st.lists(ROWS | st.binary(max_size=40), max_size=80),
    st.sampled_from([STORED, GONE, refuses(Status.EQUIVOCATION)]),
)
def test_whatever_is_shown_an_offer_ends(shown: list[bytes | Row], outcome: Answer | Failed) -> None:
    offering = Offering(NOTE)
    for store in offering.shown(*shown):
        offering.hear(outcome, store.purpose)

    assert offering.offer.is_finished
    assert offering.result.requests <= 2

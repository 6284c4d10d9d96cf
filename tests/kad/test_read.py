from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.kad.kit import GONE, NODE, TIMEOUT, asked, at, candidates, contact, node_id, number_of, shows
from tests.sim.authors import NET, WALL, NullChecks, Pen, forged
from yzdht.ids import RecordHash
from yzdht.kad.crowds import Crowd
from yzdht.kad.quorum import quorum_of
from yzdht.kad.read import Plan, Read, ReadResult, merged
from yzdht.limits import (
    CLOCK_SKEW_S,
    DAY_S,
    FETCHES_PER_HOLDER_MAX,
    MULTI_ENTRIES_MAX,
    REPAIR_AFTER_S,
    SOFT_DEADLINE_S_UNKNOWN,
)
from yzdht.rpc.engine import Answer, Failed
from yzdht.wire.rpc import FindValue, FoundValue, Method, Row, Status, Store, WireContact


if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.sim.authors import Note
    from yzdht.ids import NodeId
    from yzdht.kad.candidates import Ask, Candidates
    from yzdht.wire.address import Contact


PEN = Pen(1)
NAME = "name"
SETTLED = WALL - int(REPAIR_AFTER_S)
NEW = PEN.mutable(NAME, 5, b"new", created=SETTLED)
OLD = PEN.mutable(NAME, 3, b"old", created=SETTLED)
LATE = SOFT_DEADLINE_S_UNKNOWN
EIGHT = range(1, 9)
NOTHING = shows()


def row(note: Note) -> Row:
    return Row(note.record.publisher, note.record.seq, note.record.hash)


def claim(seq: int, publisher: bytes = PEN.public_key) -> Row:
    return Row(publisher, seq, RecordHash(seq.to_bytes(32)))


def usable(contacts: tuple[WireContact, ...], _namer: NodeId) -> list[Contact]:
    return [contact(int.from_bytes(c.public_key[1:])) for c in contacts]


class Reading:
    """A read under way, and what it asked; nodes are numbers, nearest first."""

    def __init__(self, them: Candidates, n: int, note: Note = NEW, own: int = 999, **manner: Any) -> None:
        plan = Plan(note.target, quorum_of(n), **manner)
        self.read = Read(plan, them, node_id(own), NullChecks(NET), usable)
        self.mono = 0.0
        self.read.start(at(0.0))

    @property
    def is_over(self) -> bool:
        return self.read.result is not None

    def asks(self) -> list[Ask]:
        return self.read.take_asks()

    def hear(self, number: int, outcome: Answer | Failed = NOTHING, purpose: int = 0) -> None:
        self.read.on_answer(node_id(number), purpose, outcome, at(self.mono))

    def hear_all(self, asks: list[Ask], outcomes: Mapping[int, Answer | Failed]) -> None:
        """Answer some asks; a node that is not named shows nothing."""
        for ask in asks:
            number = number_of(ask.contact)
            self.hear(number, outcomes.get(number, NOTHING), ask.purpose)

    def run(self, outcomes: Mapping[int, Answer | Failed]) -> list[Ask]:
        """Answer everything that is asked until nothing is; returns all asks."""
        everything: list[Ask] = []
        while asks := self.asks():
            everything += asks
            self.hear_all(asks, outcomes)
        return everything

    def let_be_late(self) -> None:
        timer = self.read.next_timer()
        assert timer is not None
        self.mono = timer
        self.read.handle_timer(at(timer))

    @property
    def result(self) -> ReadResult:
        assert self.read.result is not None
        return self.read.result

    @property
    def seqs(self) -> list[int]:
        return sorted(r.seq for r in self.result.records)


def eight(note: Note = NEW) -> Reading:
    return Reading(candidates(*range(1, 13)), 8, note)


def stores(asks: list[Ask]) -> list[int]:
    return asked([ask for ask in asks if ask.method is Method.STORE])


def bodies_wanted(asks: list[Ask]) -> list[int]:
    return [
        number_of(ask.contact) for ask in asks if isinstance(ask.body, FindValue) and ask.body.body_max > 0
    ]


# Whom it asks


def test_as_many_are_asked_as_are_needed_and_one_of_them_for_the_body() -> None:
    asks = eight().asks()

    assert asked(asks) == [1, 2, 3, 4]
    assert bodies_wanted(asks) == [1]


def test_equal_hashes_are_agreement() -> None:
    reading = eight()
    reading.hear_all(reading.asks(), {1: shows(NEW.raw)} | dict.fromkeys((2, 3, 4), shows(row(NEW))))

    assert reading.result == ReadResult([NEW.record], 4, 4, 8)
    assert reading.asks() == []
    assert reading.read.is_finished


def test_a_read_does_not_end_before_r_have_answered() -> None:
    reading = eight()
    reading.asks()
    reading.hear(1, shows(NEW.raw))
    reading.hear(2, shows(row(NEW)))
    reading.hear(3, shows(row(NEW)))

    assert reading.read.result is None


def test_what_is_held_here_need_not_be_sent() -> None:
    reading = Reading(candidates(*range(1, 8), own=20), 8, own=20)
    (own,) = reading.asks()
    assert asked([own]) == [20]
    reading.hear(20, shows(NEW.raw))
    asks = reading.asks()

    assert asked(asks) == [1, 2, 3]
    assert all(isinstance(ask.body, FindValue) and ask.body.known == (NEW.record.hash,) for ask in asks)


def test_the_next_is_asked_for_the_body_when_the_first_fails() -> None:
    reading = eight()
    reading.asks()
    reading.hear(1, GONE)
    asks = reading.asks()

    assert asked(asks) == bodies_wanted(asks) == [5]


# Silence and failure


def test_a_late_node_blocks_nobody() -> None:
    reading = eight()
    reading.asks()
    for number in (2, 3, 4):
        reading.hear(number, shows(row(NEW)))
    reading.let_be_late()
    assert reading.mono == LATE
    reading.run({5: shows(NEW.raw)})

    assert reading.seqs == [5]


def test_a_late_answer_counts() -> None:
    reading = eight()
    reading.asks()
    for number in (2, 3, 4):
        reading.hear(number, NOTHING)
    reading.let_be_late()
    reading.asks()
    reading.hear(1, shows(NEW.raw))

    assert reading.result == ReadResult([NEW.record], 4, 4, 8)


def test_a_failed_node_is_replaced_by_the_next_nearest() -> None:
    reading = eight()
    everything = reading.run(dict.fromkeys(range(1, 6), GONE) | {9: shows(NEW.raw)})

    assert asked(everything)[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert reading.result.asked == 8
    assert reading.seqs == [5]


def test_not_found_only_when_all_n_have_answered() -> None:
    reading = eight()
    reading.hear_all(reading.asks(), {})
    assert reading.read.result is None
    rest = reading.asks()
    assert asked(rest) == [5, 6, 7, 8]
    reading.hear_all(rest[:3], {})
    assert reading.read.result is None
    reading.hear(8, NOTHING)

    assert reading.result == ReadResult([], 8, 4, 8)


def test_not_found_takes_r_answers_when_the_others_fail() -> None:
    reading = Reading(candidates(*EIGHT), 8)
    reading.run(dict.fromkeys((1, 2, 3, 4), TIMEOUT))

    assert reading.result == ReadResult([], 4, 4, 8)


def test_fewer_than_r_answers_are_no_quorum_whatever_they_show() -> None:
    reading = Reading(candidates(*EIGHT), 8)
    reading.run(dict.fromkeys((1, 2, 3, 4, 5), TIMEOUT) | {6: shows(NEW.raw)})

    assert reading.result == ReadResult([], 3, 4, 8)


def test_the_last_holder_is_found_among_those_who_have_nothing() -> None:
    reading = eight()
    reading.run({8: shows(NEW.raw)})

    assert reading.seqs == [5]


def test_a_read_among_nobody_is_no_quorum() -> None:
    assert Reading(candidates(), 0).result == ReadResult([], 0, 1, 0)


# Claims


def test_an_unknown_higher_claim_is_fetched() -> None:
    reading = eight()
    reading.hear_all(
        reading.asks(), {1: shows(OLD.raw), 2: shows(row(OLD)), 3: shows(row(NEW)), 4: shows(row(OLD))}
    )
    assert reading.read.result is None
    (fetch,) = reading.asks()
    assert asked([fetch]) == bodies_wanted([fetch]) == [3]
    reading.hear(3, shows(NEW.raw), fetch.purpose)

    assert reading.result.answered == 4
    assert reading.seqs == [5]


def test_a_claim_that_nobody_can_show_is_ignored() -> None:
    reading = eight()
    liar = shows(claim(2**63))
    everything = reading.run({1: shows(NEW.raw), 2: liar} | dict.fromkeys((3, 4), shows(row(NEW))))

    assert asked(everything)[:5] == [1, 2, 3, 4, 2]
    assert reading.seqs == [5]


def test_a_holder_that_fails_before_it_shows_its_claim_has_not_answered() -> None:
    """Else one failure could hide what W nodes had acknowledged."""
    reading = eight()
    reading.hear_all(reading.asks(), {1: shows(OLD.raw), 2: shows(row(NEW))})
    (fetch,) = reading.asks()
    reading.hear(2, GONE, fetch.purpose)
    assert reading.read.result is None
    reading.run({5: shows(row(NEW))} | {5: shows(NEW.raw)})

    assert reading.seqs == [5]


def test_a_holder_that_is_slow_to_show_its_claim_blocks_nobody() -> None:
    reading = eight()
    reading.hear_all(reading.asks(), {1: shows(OLD.raw), 2: shows(claim(2**63))})
    reading.asks()
    reading.let_be_late()
    assert asked(reading.asks()) == [5]
    reading.hear(5, shows(row(OLD)))

    assert reading.seqs == [3]
    assert not reading.read.is_finished


def test_a_claim_is_fetched_from_another_holder_when_the_first_is_slow() -> None:
    reading = eight()
    reading.hear_all(
        reading.asks(), {1: shows(OLD.raw), 2: shows(row(NEW)), 3: shows(row(NEW)), 4: shows(row(OLD))}
    )
    assert asked(reading.asks()) == [2]
    reading.let_be_late()
    reading.hear(5, shows(row(OLD)))
    assert 3 in asked(reading.asks())


def test_made_up_publishers_crowd_nobody_out() -> None:
    junk = [
        shows(*(claim(2**62, b"\x02" + bytes((liar, entry)) * 16) for entry in range(MULTI_ENTRIES_MAX)))
        for liar in range(4)
    ]
    reading = Reading(candidates(*EIGHT), 8)
    reading.run(dict(enumerate(junk, 1)) | {8: shows(NEW.raw)})

    assert reading.seqs == [5]


def test_a_history_of_old_records_does_not_keep_a_read_busy() -> None:
    reading = eight()
    asks = reading.asks()
    reading.hear_all(asks, {1: shows(OLD.raw), 2: shows(claim(2**63))})
    fetches = 0
    while reading.read.result is None:
        (fetch,) = reading.asks()
        fetches += 1
        version = PEN.mutable(NAME, 3 + fetches)
        reading.hear(2, shows(version.raw, claim(2**63 + fetches)), fetch.purpose)

    assert fetches <= FETCHES_PER_HOLDER_MAX


# Lies


FOREIGN = PEN.mutable(NAME, 9)
MOVED = PEN.mutable("another name", 9)


@pytest.mark.parametrize(
    "lie",
    [
        forged(FOREIGN),
        MOVED.raw,
        Pen(2).mutable(NAME, 9).raw,
        b"garbage",
        b"",
        FOREIGN.raw[:-1],
        FOREIGN.raw + b"\0",
        PEN.immutable(b"value").raw,
    ],
    ids=["forged", "moved", "foreign", "garbage", "empty", "short", "long", "immutable"],
)
def test_a_lie_is_counted_and_never_returned(lie: bytes) -> None:
    reading = eight()
    reading.run(dict.fromkeys((1, 2, 3), shows(lie)) | dict.fromkeys((4, 5, 6, 7, 8), shows(NEW.raw)))

    assert reading.read.rejected == 3
    assert reading.seqs == [5]
    assert reading.result.answered == 4


def test_a_liar_alone_is_no_quorum() -> None:
    reading = Reading(candidates(1), 1)
    reading.run({1: shows(forged(NEW))})

    assert reading.result == ReadResult([], 0, 1, 1)


def test_what_a_liar_claims_beside_a_forgery_is_forgotten() -> None:
    reading = eight()
    everything = reading.run(
        {1: shows(claim(2**63), forged(NEW))} | dict.fromkeys((2, 3, 4, 5), shows(NEW.raw))
    )

    assert asked(everything).count(1) == 1
    assert reading.seqs == [5]


@pytest.mark.parametrize(("since", "is_shown"), [(CLOCK_SKEW_S - 1, True), (CLOCK_SKEW_S + 1, False)])
def test_what_expired_long_ago_is_as_good_as_nothing(since: int, is_shown: bool) -> None:  # noqa: FBT001 - a case
    expired = PEN.mutable(NAME, 9, created=WALL - DAY_S, expires=WALL - since)
    reading = eight()
    everything = reading.run({1: shows(expired.raw)})

    assert bool(reading.result.records) == is_shown
    assert reading.read.rejected == 0
    assert stores(everything) == []


# Which record wins


def test_the_largest_seq_wins() -> None:
    reading = eight()
    reading.run({1: shows(OLD.raw), 2: shows(NEW.raw)})

    assert reading.seqs == [5]


def test_a_newer_tombstone_wins() -> None:
    reading = eight()
    grave = PEN.tombstone(NAME, 6)
    reading.run({1: shows(NEW.raw), 2: shows(NEW.raw), 3: shows(grave.raw)})

    assert [r.is_tombstone for r in reading.result.records] == [True]


TWINS = sorted(
    (PEN.mutable(NAME, 5, value, created=SETTLED) for value in (b"one", b"two")), key=lambda n: n.record.hash
)


def test_of_two_bodies_of_one_seq_the_one_that_more_holders_showed_wins() -> None:
    smaller, larger = TWINS
    reading = eight()
    reading.run({1: shows(larger.raw), 2: shows(row(smaller)), 3: shows(smaller.raw), 4: shows(smaller.raw)})

    assert reading.result.records == [smaller.record]


def test_of_two_bodies_shown_as_often_the_larger_hash_wins() -> None:
    smaller, larger = TWINS
    reading = eight()
    reading.run(dict.fromkeys((1, 2), shows(larger.raw)) | dict.fromkeys((3, 4), shows(smaller.raw)))

    assert reading.result.records == [larger.record]


def test_of_two_bodies_shown_as_often_the_later_end_wins() -> None:
    longer = PEN.mutable(NAME, 5, b"new", created=SETTLED, life_s=2 * DAY_S)
    reading = eight()
    reading.run(dict.fromkeys((1, 2), shows(longer.raw)) | dict.fromkeys((3, 4), shows(NEW.raw)))

    assert reading.result.records == [longer.record]


def test_multi_records_are_merged_by_publisher() -> None:
    one, two = Pen(1).multi(NAME, 1), Pen(2).multi(NAME, 7)
    newer = Pen(1).multi(NAME, 2)
    reading = eight(one)
    reading.run(
        {1: shows(one.raw), 2: shows(two.raw), 3: shows(row(newer)), 4: shows(newer.raw)}
        | {3: shows(newer.raw)}
    )

    assert {(r.publisher, r.seq) for r in reading.result.records} == {
        (Pen(1).public_key, 2),
        (Pen(2).public_key, 7),
    }


def test_a_shared_target_shows_32_entries_and_the_shortest_lived_leave() -> None:
    notes = [Pen(number).multi(NAME, 1, life_s=1_000 + number) for number in range(40)]
    reading = eight(notes[0])
    reading.run({1: shows(*(n.raw for n in notes[:20])), 2: shows(*(n.raw for n in notes[20:]))})

    assert {r.hash for r in reading.result.records} == {n.record.hash for n in notes[8:]}


def test_an_immutable_record_ends_a_read_with_the_first_that_shows_it() -> None:
    note = PEN.immutable(b"value")
    reading = eight(note)
    reading.asks()
    reading.hear(1, shows(note.raw))

    assert reading.result.records == [note.record]


# Contacts


def heard(*numbers: int) -> Answer:
    contacts = tuple(WireContact(contact(n).public_key, (), 0) for n in numbers)
    return Answer(Status.OK, FoundValue((), contacts))


def test_a_nearer_node_that_others_name_is_asked() -> None:
    reading = Reading(candidates(10, 20, 30), 3)
    everything = reading.run({10: heard(1), 1: shows(NEW.raw)})

    assert 1 in asked(everything)
    assert reading.seqs == [5]


def test_dead_neighbours_that_a_liar_names_change_no_result() -> None:
    reading = Reading(candidates(*range(100, 108)), 8)
    reading.run({100: heard(*range(1, 21))} | dict.fromkeys(range(1, 21), GONE) | {107: shows(NEW.raw)})

    assert reading.result == ReadResult([NEW.record], 8, 4, 8)


def test_silent_neighbours_that_a_liar_names_are_not_waited_for() -> None:
    reading = Reading(candidates(*range(100, 108)), 8)
    while reading.read.result is None:
        for ask in reading.asks():
            number = number_of(ask.contact)
            if number >= 100:
                reading.hear(number, heard(*range(1, 21)) if number == 100 else NOTHING, ask.purpose)
        if reading.read.result is None:
            reading.let_be_late()

    assert reading.result == ReadResult([], 8, 4, 8)
    assert reading.mono <= 4 * LATE


# Prefixes


def test_where_the_n_span_two_prefixes_the_answers_must() -> None:
    prefixes = dict.fromkeys(range(1, 8), "a") | {8: "b"}
    reading = Reading(candidates(*EIGHT, prefixes=prefixes), 8)
    everything = reading.run(dict.fromkeys(EIGHT, shows(NEW.raw)))

    assert 8 in asked(everything)
    assert reading.seqs == [5]


def test_one_prefix_alone_is_enough_where_there_is_no_other() -> None:
    reading = Reading(candidates(*EIGHT, prefixes=dict.fromkeys(EIGHT, "a")), 8)
    everything = reading.run(dict.fromkeys(EIGHT, shows(NEW.raw)))

    assert asked(everything) == [1, 2, 3, 4]


def test_hearsay_is_no_second_prefix() -> None:
    prefixes = dict.fromkeys(range(10, 18), "a") | {12: "b"}
    reading = Reading(candidates(*range(10, 18), prefixes=prefixes), 8)
    reading.asks()
    for number in (10, 11, 13):
        reading.hear(number, heard(1) if number == 10 else shows(NEW.raw))
    reading.hear(1, shows(NEW.raw))
    assert reading.read.result is None
    reading.hear(12, NOTHING)

    assert reading.seqs == [5]


# Repair


def test_holders_that_showed_less_are_given_the_result() -> None:
    reading = eight()
    everything = reading.run({1: shows(NEW.raw), 2: shows(row(OLD)), 3: NOTHING, 4: shows(row(NEW))})

    repairs = [ask for ask in everything if ask.method is Method.STORE]
    assert asked(repairs) == [2, 3]
    assert all(ask.body == Store(NEW.target, NEW.raw, None, 0) for ask in repairs)


def test_a_record_whose_write_may_be_under_way_is_not_spread() -> None:
    """It could take the place of another one that a writer with cas has just been promised."""
    fresh = PEN.mutable(NAME, 5, b"new", created=SETTLED + 1)
    reading = eight(fresh)

    assert stores(reading.run({1: shows(fresh.raw), 2: shows(row(OLD))})) == []
    assert reading.seqs == [5]


@pytest.mark.parametrize("ahead_s", [1, CLOCK_SKEW_S, DAY_S])
def test_a_record_from_the_future_is_given_at_once_to_those_that_have_nothing(ahead_s: int) -> None:
    """Its author's clock is ahead, or this one slow: its age is unknown, and nobody was promised another one there."""
    fresh = PEN.mutable(NAME, 5, b"new", created=WALL + ahead_s)
    everything = eight(fresh).run({1: shows(fresh.raw), 2: shows(row(OLD))})
    repairs = [ask for ask in everything if ask.method is Method.STORE]

    assert asked(repairs) == [3, 4]
    assert all(ask.body == Store(fresh.target, fresh.raw, 0, 0) for ask in repairs)


@pytest.mark.parametrize("ahead_s", [0, 1, CLOCK_SKEW_S])
def test_an_older_copy_waits_for_its_repair_no_longer_than_the_clocks_disagree(ahead_s: int) -> None:
    fresh = PEN.mutable(NAME, 5, b"new", created=WALL + ahead_s)

    def repaired_after(seconds: float) -> list[int]:
        reading = eight(fresh)
        reading.mono = seconds
        return stores(reading.run({1: shows(fresh.raw)} | dict.fromkeys((2, 3, 4), shows(row(OLD)))))

    assert repaired_after(ahead_s + REPAIR_AFTER_S - 1) == []
    assert repaired_after(ahead_s + REPAIR_AFTER_S) == [2, 3, 4]


def test_whatever_the_clocks_say_older_copies_are_replaced_by_what_w_nodes_hold() -> None:
    fresh = PEN.mutable(NAME, 5, b"new", created=WALL + DAY_S)
    prefixes = dict.fromkeys(range(1, 8), "a") | {8: "b"}
    reading = Reading(candidates(*EIGHT, prefixes=prefixes), 8, fresh)
    everything = reading.run(
        dict.fromkeys((1, 2, 3, 4, 5), shows(fresh.raw)) | dict.fromkeys((6, 7), shows(row(OLD)))
    )

    assert stores(everything) == [6, 7, 8]


def test_a_record_that_w_nodes_hold_is_spread_at_once() -> None:
    fresh = PEN.mutable(NAME, 5, b"new", created=WALL)
    prefixes = dict.fromkeys(range(1, 8), "a") | {8: "b"}
    reading = Reading(candidates(*EIGHT, prefixes=prefixes), 8, fresh)
    everything = reading.run(dict.fromkeys((1, 2, 3, 4, 5), shows(fresh.raw)))

    assert stores(everything) == [6, 7, 8]


def test_a_late_holder_is_repaired_too() -> None:
    reading = eight()
    reading.asks()
    for number in (2, 3, 4):
        reading.hear(number, shows(NEW.raw))
    reading.let_be_late()
    reading.hear_all(reading.asks(), {5: shows(NEW.raw)})
    assert reading.seqs == [5]
    reading.hear(1, NOTHING)

    assert stores(reading.asks()) == [1]


def test_a_holder_that_shows_a_newer_record_after_the_end_is_left_alone() -> None:
    reading = eight()
    reading.asks()
    for number in (2, 3, 4):
        reading.hear(number, shows(OLD.raw))
    reading.let_be_late()
    reading.hear_all(reading.asks(), {5: shows(OLD.raw)})
    reading.hear(1, shows(NEW.raw))

    assert stores(reading.asks()) == []


def test_a_holder_of_another_body_of_the_same_seq_is_left_alone() -> None:
    smaller, larger = TWINS
    reading = eight()
    everything = reading.run({1: shows(larger.raw), 2: shows(smaller.raw), 3: shows(larger.raw)})

    assert stores(everything) == [4]


@pytest.mark.parametrize("note", [PEN.immutable(b"value"), PEN.move(5)], ids=["immutable", "move"])
def test_a_record_without_an_end_of_its_own_is_not_given_one_by_a_reader(note: Note) -> None:
    reading = eight(note)
    reading.mono = 2 * REPAIR_AFTER_S
    reading.asks()
    for number in (2, 3, 4):
        reading.hear(number, NOTHING)
    reading.hear(1, shows(note.raw))

    assert reading.result.records == [note.record]
    assert reading.asks() == []


def test_a_thorough_read_spreads_no_move_whose_end_it_does_not_know() -> None:
    held, newer = PEN.move(5), PEN.move(6)
    keep_until = {held.record.hash: WALL + 77}
    reading = Reading(candidates(1, 2, own=0), 3, held, own=0, is_thorough=True, keep_until=keep_until)
    reading.mono = 2 * REPAIR_AFTER_S
    everything = reading.run({0: shows(held.raw), 1: shows(newer.raw)})

    assert reading.seqs == [6]
    assert stores(everything) == []


def test_what_was_not_found_is_not_repaired() -> None:
    assert stores(eight().run({})) == []


# Approaching a far target


def names(*numbers: int) -> Answer:
    contacts = tuple(WireContact(contact(n).public_key, contact(n).urls, int(NODE)) for n in numbers)
    return Answer(Status.OK, FoundValue((), contacts))


def test_a_far_read_goes_on_while_somebody_nearer_is_unasked() -> None:
    reading = Reading(candidates(*range(1_001, 1_009)), 8, is_far=True)
    asks = reading.asks()
    assert asked(asks) == list(range(1_001, 1_009))
    for number in range(1_001, 1_004):
        reading.hear(number, shows(NEW.raw))
    reading.hear(1_004, names(1, 2))

    assert reading.read.result is None
    assert asked(reading.asks()) == [1, 2]


def test_a_far_read_ends_once_the_nearest_are_asked_and_r_have_answered() -> None:
    reading = Reading(candidates(*EIGHT), 8, is_far=True)
    reading.asks()
    for number in (1, 3, 5):
        reading.hear(number, NOTHING)
    assert reading.read.result is None
    reading.hear(7, shows(NEW.raw))

    assert reading.read.result == ReadResult([NEW.record], 4, 4, 8)


def test_late_hearsay_is_passed_over_by_a_far_read() -> None:
    reading = Reading(candidates(*range(11, 19)), 8, is_far=True)
    reading.asks()
    reading.hear(11, names(1, 2, 3))
    reading.asks()
    for number in range(12, 19):
        reading.hear(number)
    assert reading.read.result is None  # one of three that are nearer may still show something
    reading.mono = 10.0
    reading.read.handle_timer(at(10.0))
    assert asked(reading.asks()) == [1, 2, 3]  # once more: a message can be lost
    assert not reading.is_over
    reading.mono = 20.0
    reading.read.handle_timer(at(20.0))
    assert asked(reading.asks()) == [1, 2, 3]  # and again, since nothing was found
    reading.mono = 30.0
    reading.read.handle_timer(at(30.0))

    assert reading.read.result == ReadResult([], 8, 4, 8)


def test_the_silent_are_asked_again_as_soon_as_nobody_else_is_left() -> None:
    reading = Reading(candidates(*EIGHT), 8)
    assert asked(reading.asks()) == [1, 2, 3, 4]
    reading.let_be_late()
    assert asked(reading.asks()) == [5, 6, 7, 8]
    reading.let_be_late()
    assert asked(reading.asks()) == [*EIGHT]
    reading.hear(1, TIMEOUT)  # of the first request
    for number in range(2, 9):
        reading.hear(number)
    reading.hear(1, shows(NEW.raw))

    assert reading.read.result == ReadResult([NEW.record], 8, 4, 8)


def test_the_one_holder_whose_answer_was_lost_is_asked_again() -> None:
    reading = Reading(candidates(*range(11, 19)), 8, is_far=True)
    reading.asks()
    reading.hear(11, names(1))
    reading.asks()
    for number in range(12, 19):
        reading.hear(number)
    reading.mono = 10.0
    reading.read.handle_timer(at(10.0))
    assert asked(reading.asks()) == [1]
    reading.hear(1, shows(NEW.raw))

    assert reading.read.result == ReadResult([NEW.record], 8, 4, 8)


# Witnesses


def test_witnesses_are_asked_and_heard_though_they_are_far() -> None:
    them = candidates(*EIGHT, 500, 600)
    reading = Reading(them, 8, witnesses=frozenset({node_id(500), node_id(600)}))
    first = reading.asks()
    assert set(asked(first)) == {1, 2, 3, 4, 500, 600}
    for number in EIGHT:
        reading.hear(number, NOTHING)
    reading.hear(500, shows(NEW.raw))
    assert not reading.is_over
    reading.hear(600, TIMEOUT)

    assert reading.read.result == ReadResult([NEW.record], 8, 4, 8)


# Looking after what is held


def test_a_thorough_read_hears_all_and_gives_to_those_that_lack() -> None:
    reading = Reading(candidates(*range(1, 8), own=0), 8, own=0, is_thorough=True)
    assert asked(reading.asks()) == [0]
    reading.hear(0, shows(NEW.raw))
    asks = reading.asks()
    assert asked(asks) == list(range(1, 8))
    assert all(isinstance(ask.body, FindValue) and ask.body.known == (NEW.record.hash,) for ask in asks)
    for number in range(1, 7):
        reading.hear(number, shows(row(NEW)))
    assert reading.read.result is None
    reading.hear(7, shows(row(OLD)))

    repairs = reading.asks()
    assert asked(repairs) == [7]
    assert repairs[0].body == Store(NEW.target, NEW.raw, None, 0)
    assert (reading.read.requests, reading.read.bytes_sent) == (8, len(NEW.raw))


@pytest.mark.parametrize("kept", [PEN.immutable(b"value"), PEN.move(5)], ids=["immutable", "move"])
def test_a_thorough_read_passes_on_the_holders_own_end(kept: Note) -> None:
    keep_until = {kept.record.hash: WALL + 77}
    reading = Reading(candidates(1, own=0), 2, kept, own=0, is_thorough=True, keep_until=keep_until)
    reading.mono = 2 * REPAIR_AFTER_S
    reading.hear_all(reading.asks(), {0: shows(kept.raw)})
    reading.hear_all(reading.asks(), {})

    assert [ask.body for ask in reading.asks()] == [Store(kept.target, kept.raw, None, WALL + 77)]


def test_a_holder_out_of_range_brings_its_copy_up_and_takes_nothing_else() -> None:
    other = Pen(2).multi("shared", 5, created=SETTLED)
    mine_old, mine_new = (PEN.multi("shared", seq, created=SETTLED) for seq in (3, 5))
    reading = Reading(candidates(*EIGHT, own=999), 8, mine_new, is_thorough=True)
    reading.hear_all(reading.asks(), {999: shows(mine_old.raw)})
    reading.hear_all(reading.asks(), dict.fromkeys(EIGHT, shows(mine_new.raw, other.raw)))

    assert [(number_of(a.contact), a.body) for a in reading.asks()] == [
        (999, Store(mine_new.target, mine_new.raw, None, 0))
    ]


def test_a_node_that_answered_twice_and_then_fails_its_fetch_ends_the_read() -> None:
    reading = Reading(candidates(*EIGHT), 8)
    reading.asks()
    reading.let_be_late()
    assert asked(reading.asks()) == [5, 6, 7, 8]
    reading.let_be_late()
    assert asked(reading.asks()) == [*EIGHT]
    reading.hear(1, shows(claim(9)))
    reading.hear(1, shows(claim(9)))  # the answer to the second request
    for number in (2, 3, 4):
        reading.hear(number)
    fetches = reading.asks()
    assert asked(fetches) == [1]
    reading.hear(1, GONE, fetches[0].purpose)
    for number in (2, 3, 4, 5, 5, 6, 6, 7, 7, 8, 8):
        reading.hear(number)

    assert reading.is_over
    assert reading.read.is_finished


# Around a crowd


def crowd_of(count: int) -> Crowd:
    """The nearest so many of the numbered nodes."""
    return Crowd(0, count + 1)


@pytest.mark.parametrize(("holders", "outside"), [((1, 2, 3, 4, 5), 0), ((1, 2, 5, 6), 1), ((5, 6, 7, 8), 3)])
def test_a_read_counts_who_of_the_nearest_showed_its_result_outside_a_crowd(
    holders: tuple[int, ...], outside: int
) -> None:
    reading = Reading(candidates(*range(1, 13)), 8, is_far=True)
    reading.run(dict.fromkeys(holders, shows(NEW.raw)))

    assert reading.seqs == [5]
    assert reading.read.shown_outside(crowd_of(5)) == outside


def test_who_shows_an_old_record_on_the_way_does_not_vouch_for_a_crowd() -> None:
    reading = Reading(candidates(*range(1, 13)), 8, is_far=True)
    reading.hear_all(reading.asks(), {1: shows(OLD.raw), 12: shows(OLD.raw)})
    reading.run({})

    assert reading.seqs == [3]
    assert reading.read.shown_outside(crowd_of(8)) == 0


def test_witnesses_vouch_wherever_they_are() -> None:
    far = frozenset({node_id(11), node_id(12)})
    reading = Reading(candidates(*range(1, 13)), 8, is_far=True, witnesses=far)
    reading.run(dict.fromkeys((1, 11, 12), shows(NEW.raw)))

    assert reading.read.shown_outside(crowd_of(8)) == 2


def test_nothing_is_shown_by_nobody() -> None:
    reading = eight()
    assert reading.read.shown_outside(crowd_of(0)) == 0
    reading.run({})
    assert reading.read.shown_outside(crowd_of(0)) == 0


def found(*notes: Note, answered: int = 8) -> ReadResult:
    return ReadResult([note.record for note in notes], answered, 4, 8)


def test_of_two_reads_the_newest_of_each_publisher_is_the_result() -> None:
    other = Pen(2).mutable(NAME, 1)

    assert merged(found(OLD), found(NEW, other)).records == [NEW.record, other.record]
    assert merged(found(NEW, other), found(OLD)).records == [NEW.record, other.record]


def test_of_two_bodies_with_one_seq_every_order_leads_to_the_same() -> None:
    twin = PEN.mutable(NAME, 5, b"twin", created=SETTLED)

    assert merged(found(NEW), found(twin)).records == merged(found(twin), found(NEW)).records


def test_a_record_is_missing_only_if_both_reads_heard_enough() -> None:
    assert merged(found(answered=8), found(answered=3)).answered == 3
    assert merged(found(answered=3), found(answered=8)).answered == 3
    assert merged(found(NEW, answered=8), found(answered=0)) == found(NEW, answered=8)
    assert merged(found(answered=0), found(NEW, answered=8)) == found(NEW, answered=8)


def test_two_reads_of_a_shared_target_show_no_more_than_one_may() -> None:
    many = [Pen(10 + n).mutable(NAME, 1) for n in range(MULTI_ENTRIES_MAX + 5)]

    assert len(merged(found(*many[:-5]), found(*many[5:])).records) == MULTI_ENTRIES_MAX

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, strategies as st

from tests.pubsub.kit_engine import SILENT, TOPIC, Shell, at, contact, page, peer, raw, series, subscribed
from tests.pubsub.kit_feed import Verifier, forged
from tests.pubsub.kit_host import Neighbourhood, target_of
from yzdht.ids import TopicId
from yzdht.limits import (
    ANSWER_BODIES_BYTES_MAX,
    BACKLOG_BURST_BYTES,
    BACKLOG_CHARGE_BYTES_PER_RANGE,
    EDGE_BACKLOG_HOSTS_MAX,
    EDGE_BACKLOGS_MAX,
    EDGE_PART_OF_ONE_BRINGER,
    PUBSUB_ENVELOPE_BYTES_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.pubsub.outbox import Outbox
from yzdht.pubsub.pauses import limited, told_s
from yzdht.pubsub.ports import Surroundings
from yzdht.pubsub.rates import Bringers, Rates
from yzdht.pubsub.relayed_backlogs import RelayedBacklogs
from yzdht.rpc.engine import Answer, Call, Reply
from yzdht.store.memory_topics import MemoryTopics
from yzdht.wire.history import Bringer, TopicWrite
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Backlog, BacklogPage, Method, Range, Refusal, Status, Subscribe, encode_body


if TYPE_CHECKING:
    from yzdht.rpc.engine import Failed
    from yzdht.wire.holdings import Series


ONE, TWO = series(1), series(2)
CLIENT = peer(50)


def raws(*indexes: int) -> tuple[bytes, ...]:
    return tuple(raw(ONE, index) for index in indexes)


def stored(*envelopes: bytes) -> MemoryTopics:
    """What a host keeps."""
    store = MemoryTopics(lambda _verdicts: None, lambda _tell: None)
    for op, envelope in enumerate(map(decode_envelope, envelopes)):
        name = (envelope.topic, envelope.sender, envelope.session, envelope.index, envelope.id)
        store.submit(op, TopicWrite(*name, envelope.raw, 0, Bringer(bytes(16))))
    return store


class Desk:
    """A node that listens at hosts, which are named 1 and so on, for one client, and is no host itself."""

    def __init__(self, hosts: int = 2) -> None:
        numbers = range(1, hosts + 1)
        self.shell = Shell(*numbers)
        self.shell.is_reached = False
        self.shell.ask(CLIENT, Method.SUBSCRIBE, Subscribe(TOPIC, (), delegate=True))
        for number in numbers:
            self.shell.answer(number, Method.SUBSCRIBE, subscribed())
        self.asked: list[int] = []  # in this order

    def fetch(self, start: int, to: int) -> int:
        return self.fetch_all(Range(*ONE, start, to))

    def fetch_all(self, *ranges: Range) -> int:
        return self.shell.ask(CLIENT, Method.BACKLOG, Backlog(TOPIC, ranges))

    def answer(self, outcome: Answer | Failed) -> list[tuple[int, int]]:
        """Answer whoever is asked; what it was asked for."""
        (number,) = self.shell.asked(Method.BACKLOG)
        self.asked.append(number)
        body = self.shell.answer(number, Method.BACKLOG, outcome).body
        assert isinstance(body, Backlog)
        return [(r.start, r.to) for r in body.ranges]

    def answer_from(self, store: MemoryTopics) -> tuple[Range, ...]:
        """Let whoever is asked answer what it keeps, as a host does; what it was asked for."""
        body = self.shell.call(self.shell.asked(Method.BACKLOG)[0], Method.BACKLOG).body
        assert isinstance(body, Backlog)
        envelopes, more = store.envelopes(body.topic, body.ranges, body.bytes_max)
        self.answer(page(*envelopes, more=more))
        return body.ranges

    @property
    def is_content(self) -> bool:
        """True while no host has been left."""
        return not self.shell.asked(Method.UNSUBSCRIBE) and not self.shell.counts["pubsub_forged"]

    def came(self, request: int) -> tuple[bytes, ...]:
        body = self.shell.replies[request].body
        assert isinstance(body, BacklogPage)
        return body.envelopes


def test_what_one_host_lacks_is_asked_of_the_next() -> None:
    desk = Desk()
    request = desk.fetch(0, 4)
    assert desk.answer(page(*raws(0, 2))) == [(0, 4)]
    assert desk.answer(page(*raws(1, 3))) == [(1, 2), (3, 4)]
    assert desk.came(request) == raws(0, 2, 1, 3)
    assert sorted(desk.asked) == [1, 2]


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        ([(0, 2), (0, 2)], [(0, 2)]),
        ([(0, 2), (1, 4)], [(0, 4)]),
        ([(3, 4), (0, 4), (1, 2)], [(0, 4)]),
        ([(2, 4), (0, 2)], [(0, 4)]),
        ([(3, 4), (1, 1), (0, 2), (9, 0)], [(0, 2), (3, 4)]),
        (SUMMARY_ROWS_MAX * [(0, 4)], [(0, 4)]),
    ],
    ids=["equal", "overlapping", "one within the other", "side by side", "empty", "as many as there may be"],
)
def test_ranges_that_overlap_are_asked_for_once_and_nobody_is_left_for_it(
    wanted: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    desk = Desk()
    request = desk.fetch_all(*(Range(*ONE, *span) for span in wanted))
    ranges = desk.answer_from(stored(*raws(0, 1, 2, 3)))

    assert [(r.start, r.to) for r in ranges] == asked
    assert desk.came(request) == raws(*(index for span in asked for index in range(*span)))
    assert desk.is_content


def test_ranges_that_overlap_are_asked_for_once_however_many_of_another_series_are_between_them() -> None:
    desk = Desk()
    request = desk.fetch_all(Range(*ONE, 0, 2), Range(*TWO, 0, 2), Range(*ONE, 1, 3), Range(*TWO, 0, 2))
    kept = (*raws(0, 1, 2), raw(TWO, 0), raw(TWO, 1))

    assert desk.answer_from(stored(*kept)) == (Range(*ONE, 0, 3), Range(*TWO, 0, 2))
    assert desk.came(request) == kept
    assert desk.is_content


def test_ranges_with_nothing_in_them_are_asked_of_nobody() -> None:
    desk = Desk()
    request = desk.fetch_all(Range(*ONE, 2, 2), Range(*ONE, 3, 1))
    assert desk.shell.asked(Method.BACKLOG) == []
    assert desk.came(request) == ()


_INDEXES = st.integers(0, 8)
_KEPT = st.sets(st.tuples(st.sampled_from([ONE, TWO]), _INDEXES))


@given(st.lists(st.tuples(st.sampled_from([ONE, TWO]), _INDEXES, _INDEXES)), st.tuples(_KEPT, _KEPT))
@example([(ONE, 0, 2), (ONE, 0, 2)], ({(ONE, 0), (ONE, 1)}, set()))
def test_whatever_ranges_a_client_names_it_has_each_message_of_them_once(
    wanted: list[tuple[Series, int, int]], kept: tuple[set[tuple[Series, int]], set[tuple[Series, int]]]
) -> None:
    desk = Desk()
    request = desk.fetch_all(*(Range(*of, start, to) for of, start, to in wanted))
    stores = [stored(*(raw(*name) for name in sorted(names))) for names in kept]
    while desk.shell.status(request) is None:
        desk.answer_from(stores.pop(0))

    named = {(of, index) for of, start, to in wanted for index in range(start, to)}
    assert sorted(desk.came(request)) == sorted(raw(*name) for name in named & set().union(*kept))
    assert desk.is_content


def test_so_many_hosts_are_asked_for_one_client_and_no_more() -> None:
    outbox, own = Outbox(), contact(99)
    surroundings = Surroundings(
        Neighbourhood(own), Verifier(), target_of, lambda _peer: False, lambda _name: None
    )
    backlogs = RelayedBacklogs(outbox, Rates(own.node_id), Bringers(bytes(32)), surroundings)
    hosts = [contact(number) for number in range(1, EDGE_BACKLOG_HOSTS_MAX + 3)]
    backlogs.fetch(7, CLIENT, Backlog(TOPIC, (Range(*ONE, 0, 1),)), hosts, lambda _host, _now: None, at(0))

    asked = []
    while isinstance(call := outbox.take()[0], Call):
        asked.append(call.contact)
        outbox.on_answer(call.call, page(), at(0))
    assert asked == hosts[:EDGE_BACKLOG_HOSTS_MAX]
    assert call == Reply(7, Status.OK, BacklogPage())


def test_a_host_that_has_all_is_the_only_one_asked() -> None:
    desk = Desk()
    request = desk.fetch(0, 2)
    desk.answer(page(*raws(0, 1)))
    assert desk.came(request) == raws(0, 1)
    assert desk.shell.asked(Method.BACKLOG) == []


def test_more_at_a_host_is_told_at_once() -> None:
    desk = Desk()
    request = desk.fetch(0, 4)
    desk.answer(page(*raws(0, 1), more=True))
    assert desk.shell.replies[request].body == BacklogPage(raws(0, 1), more=True)


def test_what_is_forged_goes_no_farther_and_its_host_is_not_listened_to_any_more() -> None:
    desk = Desk()
    request = desk.fetch(0, 2)
    desk.answer(page(raw(ONE, 0), forged(raw(ONE, 1))))
    desk.answer(page(raw(ONE, 1)))

    assert desk.came(request) == raws(0, 1)
    assert desk.shell.counts["pubsub_forged"] == 1
    assert desk.shell.asked(Method.UNSUBSCRIBE) == [desk.asked[0]]


def test_what_comes_a_second_time_is_dropped_and_its_host_kept() -> None:
    desk = Desk()
    request = desk.fetch(0, 4)
    desk.answer(page(*raws(0, 1, 0)))
    desk.answer(page(*raws(1, 2)))

    assert desk.came(request) == raws(0, 1, 2)
    assert desk.is_content


def test_what_came_and_more_that_was_never_asked_for_is_as_if_forged() -> None:
    desk = Desk()
    request = desk.fetch_all(Range(*ONE, 0, 2), Range(*ONE, 0, 2))
    desk.answer(page(*raws(0, 0, 7, 1)))
    desk.answer(page(*raws(1)))

    assert desk.came(request) == raws(0, 1)
    assert desk.shell.counts["pubsub_forged"] == 1
    assert desk.shell.asked(Method.UNSUBSCRIBE) == [desk.asked[0]]


def test_who_says_that_there_is_more_and_sends_nothing_new_does_not_keep_the_next_from_being_asked() -> None:
    desk = Desk(3)
    request = desk.fetch(0, 2)
    desk.answer(page(*raws(0)))
    desk.answer(page(*raws(0), more=True))
    desk.answer(page(*raws(1)))

    assert desk.came(request) == raws(0, 1)


def large(*indexes: int) -> tuple[bytes, ...]:
    return tuple(raw(ONE, index, data=bytes(64_000)) for index in indexes)


def test_a_page_ends_where_its_room_does_and_says_that_there_is_more() -> None:
    desk = Desk()
    request = desk.fetch(0, 64)
    desk.answer(page(*large(*range(7))))
    desk.answer(page(*large(7)))

    assert desk.shell.replies[request].body == BacklogPage(large(*range(8)), more=True)
    assert (
        len(encode_body(desk.shell.replies[request].body))
        < ANSWER_BODIES_BYTES_MAX + PUBSUB_ENVELOPE_BYTES_MAX
    )


def test_a_host_that_sends_more_than_there_is_room_for_is_not_listened_to_any_more() -> None:
    desk = Desk()
    request = desk.fetch(0, 64)
    desk.answer(page(*large(*range(15))))

    assert desk.came(request) == large(*range(8))
    assert desk.shell.asked(Method.UNSUBSCRIBE) == desk.asked


def test_what_comes_again_and_again_takes_room_too() -> None:
    desk = Desk()
    request = desk.fetch(0, 64)
    desk.answer(page(*(15 * large(0))))
    desk.answer(page())

    assert desk.came(request) == large(0)
    assert desk.shell.asked(Method.UNSUBSCRIBE) == [desk.asked[0]]


def test_one_message_is_fetched_however_little_room_a_client_names() -> None:
    desk = Desk()
    request = desk.shell.ask(CLIENT, Method.BACKLOG, Backlog(TOPIC, (Range(*ONE, 0, 4),), 1))
    desk.answer(page(*raws(0), more=True))

    assert desk.shell.replies[request].body == BacklogPage(raws(0), more=True)


def test_who_was_asked_too_much_lately_has_the_client_wait_as_long() -> None:
    desk = Desk()
    request = desk.fetch(0, 2)
    desk.answer(SILENT)
    desk.answer(limited(2.5))
    reply = desk.shell.replies[request]
    assert (reply.status, told_s(Answer(reply.status, reply.body))) == (Status.RATE_LIMITED, 2.502)


def test_what_a_host_that_did_not_answer_may_have_is_not_told_to_be_nowhere() -> None:
    desk = Desk()
    request = desk.fetch(0, 2)
    desk.answer(page(*raws(0)))
    desk.answer(SILENT)
    assert desk.shell.replies[request].body == BacklogPage(raws(0), more=True)


def test_what_was_not_asked_for_goes_no_farther() -> None:
    desk = Desk(3)
    request = desk.fetch(0, 2)
    desk.answer(page(raw(ONE, 7)))
    desk.answer(page(raw(ONE, 0, topic=TopicId(bytes(16)))))
    desk.answer(page(b"nothing"))
    assert desk.came(request) == ()


def test_nobody_who_answers_is_another_answer_than_nothing_there() -> None:
    desk = Desk()
    request = desk.fetch(0, 2)
    desk.answer(SILENT)
    desk.answer(page())
    assert desk.shell.status(request) is Status.BUSY

    request = desk.fetch(0, 2)
    desk.answer(page())
    desk.answer(page())
    assert desk.came(request) == ()


def test_backlogs_under_way_are_bounded() -> None:
    desk = Desk()
    for number in range(EDGE_BACKLOGS_MAX):
        other = peer(1_000 + number)
        desk.shell.ask(other, Method.SUBSCRIBE, Subscribe(TOPIC, (), delegate=True))
        desk.shell.ask(other, Method.BACKLOG, Backlog(TOPIC, (Range(*ONE, 0, 1),)))
    assert desk.shell.status(desk.fetch(0, 1)) is Status.BUSY


def test_one_bringer_has_a_quarter_of_the_backlogs_under_way() -> None:
    desk, part = Desk(), EDGE_BACKLOGS_MAX // EDGE_PART_OF_ONE_BRINGER
    greedy = [peer(1_000 + number, prefix="203.0.113.0/24") for number in range(2)]
    for one in greedy:
        desk.shell.ask(one, Method.SUBSCRIBE, Subscribe(TOPIC, (), delegate=True))
    body = Backlog(TOPIC, (Range(*ONE, 0, 1),))
    requests = [desk.shell.ask(greedy[number % 2], Method.BACKLOG, body) for number in range(part + 1)]
    statuses = [desk.shell.status(request) for request in requests]
    assert statuses == part * [None] + [Status.BUSY]
    assert desk.shell.status(desk.fetch(0, 1)) is None

    for _ in range(2 * (part + 1)):
        number = desk.shell.asked(Method.BACKLOG)[0]
        desk.shell.answer(number, Method.BACKLOG, page())
    assert desk.shell.asked(Method.BACKLOG) == []
    assert desk.shell.status(desk.shell.ask(greedy[0], Method.BACKLOG, body)) is None


def test_a_client_that_fetches_too_much_waits() -> None:
    desk = Desk()
    statuses = {desk.shell.status(desk.fetch(0, 1)) for _ in range(10_000)}
    assert Status.RATE_LIMITED in statuses


def test_a_host_that_knows_nothing_of_topics_any_more_counts_as_one_that_did_not_answer() -> None:
    desk = Desk()
    request = desk.fetch(0, 2)
    desk.answer(Answer(Status.UNKNOWN_METHOD, Refusal()))
    desk.answer(page(*raws(0)))
    assert desk.came(request) == raws(0)

    request = desk.fetch(0, 2)
    for _ in range(2):
        desk.answer(Answer(Status.UNKNOWN_METHOD, Refusal()))
    assert desk.shell.status(request) is Status.BUSY


@pytest.mark.parametrize("outcome", [page(), SILENT])
def test_who_asks_for_many_ranges_pays_for_each_as_hosts_have_the_node_pay(outcome: Answer | Failed) -> None:
    desk = Desk(1)
    ranges = [Range(*ONE, 2 * place, 2 * place + 1) for place in range(SUMMARY_ROWS_MAX)]
    paid = int(BACKLOG_BURST_BYTES) // (BACKLOG_CHARGE_BYTES_PER_RANGE * SUMMARY_ROWS_MAX)
    for _ in range(paid):
        request = desk.fetch_all(*ranges)
        desk.answer(outcome)
        assert desk.shell.status(request) is not Status.RATE_LIMITED
    request = desk.fetch_all(*ranges)

    assert desk.shell.status(request) is Status.RATE_LIMITED
    assert desk.shell.asked(Method.BACKLOG) == []


def test_who_fetches_much_pays_for_what_came() -> None:
    desk = Desk(1)
    large = page(*(raw(ONE, index, data=bytes(60_000)) for index in range(8)))
    paid = int(BACKLOG_BURST_BYTES) // (8 * 60_000)
    statuses = []
    for _ in range(paid + 2):  # what is fetched last may be on credit
        request = desk.fetch(0, 8)
        if desk.shell.asked(Method.BACKLOG):
            desk.answer(large)
        statuses.append(desk.shell.status(request))

    assert statuses[:paid] == [Status.OK] * paid
    assert statuses[-1] is Status.RATE_LIMITED

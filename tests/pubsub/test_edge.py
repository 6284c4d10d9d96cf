"""One node that listens for its clients; what they missed: test_relayed_backlogs.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pubsub.kit_engine import SILENT, TOPIC, Shell, at, page, peer, raw, series, subscribed
from tests.pubsub.kit_feed import HOSTING, contact, row
from yzdht.ids import TopicId
from yzdht.limits import (
    ANNOUNCE_EVERY_S,
    EDGE_ANSWER_S,
    EDGE_LINGER_S,
    EDGE_LOOK_S,
    EDGE_LOOKS_PER_S,
    EDGE_PART_OF_ONE_BRINGER,
    EDGE_ROWS_FRESH_S,
    EDGE_TOPICS_MAX,
    EDGE_WAITING_MAX,
    FEED_SETTLE_FEW_S,
    FEED_SETTLE_S,
    HISTORY_BYTES_MAX,
    HISTORY_MESSAGES_MAX,
    SUMMARY_ROWS_MAX,
)
from yzdht.rpc.engine import Answer, Down, Failed, FailReason, Peer
from yzdht.wire.frame import RecordType
from yzdht.wire.pubsub import Announcement, Delivery, decode_push, encode_announcement
from yzdht.wire.rpc import (
    Backlog,
    Method,
    Range,
    Refusal,
    Status,
    Subscribe,
    Subscribed,
    SummaryRow,
    Unsubscribe,
    WireContact,
)


ONE, TWO = series(1), series(2)
CLIENT = peer(50)


@pytest.fixture
def shell() -> Shell:
    """A node that is no host itself."""
    shell = Shell(1, 2)
    shell.is_reached = False
    return shell


def subscribe(shell: Shell, by: Peer, *, push: bool = True, of: TopicId = TOPIC) -> int:
    return shell.ask(by, Method.SUBSCRIBE, Subscribe(of, (), delegate=True, push=push))


def answer_hosts(shell: Shell, *rows: SummaryRow) -> None:
    for number in shell.asked(Method.SUBSCRIBE):
        shell.answer(number, Method.SUBSCRIBE, subscribed(*rows))


def rows_of(shell: Shell, request: int) -> tuple[SummaryRow, ...]:
    body = shell.replies[request].body
    assert isinstance(body, Subscribed)
    return body.summary


def delivered(shell: Shell, to: Peer) -> list[bytes]:
    pushes = [decode_push(push.data) for push in shell.pushes if push.peer == to]
    return [raw for push in pushes if isinstance(push, Delivery) for raw in push.envelopes]


def announced(shell: Shell, to: Peer) -> list[SummaryRow]:
    pushes = [decode_push(push.data) for push in shell.pushes if push.peer == to]
    told = [push for push in pushes if isinstance(push, Announcement)]
    return [row for push in told for _, rows in push.changes for row in rows]


def test_a_client_is_answered_with_what_hosts_hold_once_they_have_said_so(shell: Shell) -> None:
    request = subscribe(shell, CLIENT)
    assert shell.status(request) is None
    answer_hosts(shell, row(ONE, 3, 5))

    assert rows_of(shell, request) == (row(ONE, 3, 5),)
    other = subscribe(shell, peer(51))
    assert rows_of(shell, other) == (row(ONE, 3, 5),)  # at once
    assert shell.asked(Method.SUBSCRIBE) == []


FULL = HISTORY_MESSAGES_MAX


def full_topic(shell: Shell) -> None:
    """Listened to for a client, and full; messages came by since hosts were asked."""
    subscribe(shell, CLIENT)
    answer_hosts(shell, row(ONE, 0, FULL))
    shell.pushed(1, *(raw(ONE, index) for index in range(FULL, FULL + 10)))
    shell.tick(1 + EDGE_ROWS_FRESH_S)


def test_who_comes_to_a_full_topic_is_told_what_hosts_hold_by_then(shell: Shell) -> None:
    full_topic(shell)
    late = [subscribe(shell, peer(number)) for number in (52, 53)]
    assert [shell.status(request) for request in late] == [None, None]
    shell.answer(1, Method.SUBSCRIBE, subscribed(row(ONE, 10, FULL + 10, 500)))
    assert shell.status(late[0]) is None
    shell.pushed(1, raw(ONE, FULL + 10))
    shell.answer(2, Method.SUBSCRIBE, subscribed(row(ONE, 5, FULL + 9, 500)))

    told = (row(ONE, 5, FULL + 11, 500),)
    assert [rows_of(shell, request) for request in late] == [told, told]
    assert shell.asked(Method.SUBSCRIBE) == []
    assert rows_of(shell, subscribe(shell, peer(54))) == told  # asked a moment ago


def test_a_topic_of_large_messages_is_full_with_fewer(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell, row(ONE, 0, 100))
    large = HISTORY_BYTES_MAX // 200
    shell.pushed(1, raw(ONE, 100, data=bytes(min(large, 60_000))))
    shell.tick(1 + EDGE_ROWS_FRESH_S)
    assert rows_of(shell, subscribe(shell, peer(51))) == (row(ONE, 0, 101),)

    shell.pushed(1, *(raw(ONE, 101 + index, data=bytes(60_000)) for index in range(50)))
    shell.tick(shell.mono + EDGE_ROWS_FRESH_S)
    assert shell.status(subscribe(shell, peer(52))) is None


def test_where_hosts_had_to_drop_nothing_or_nothing_came_by_they_are_not_asked_again(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell, row(ONE, 0, FULL - 2))
    shell.pushed(1, raw(ONE, FULL - 2))
    shell.tick(1 + EDGE_ROWS_FRESH_S)
    assert rows_of(shell, subscribe(shell, peer(51))) == (row(ONE, 0, FULL - 1),)

    other = Shell(1, 2)
    other.is_reached = False
    subscribe(other, CLIENT)
    answer_hosts(other, row(ONE, 0, 2 * FULL))
    other.tick(1 + EDGE_ROWS_FRESH_S)
    assert rows_of(other, subscribe(other, peer(51))) == (row(ONE, 0, 2 * FULL),)
    assert shell.asked(Method.SUBSCRIBE) == other.asked(Method.SUBSCRIBE) == []


def test_hosts_that_are_slow_when_they_are_asked_again_hold_a_client_up_for_a_moment(shell: Shell) -> None:
    full_topic(shell)
    late = subscribe(shell, peer(51))
    shell.answer(1, Method.SUBSCRIBE, subscribed(row(ONE, 10, FULL + 10)))
    shell.tick(shell.mono + EDGE_LOOK_S)

    assert rows_of(shell, late) == (row(ONE, 0, FULL + 10),)
    assert rows_of(shell, subscribe(shell, peer(52))) == (row(ONE, 0, FULL + 10),)
    assert shell.asked(Method.SUBSCRIBE) == [2]


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(Status.BUSY, Refusal()),
        Answer(Status.RATE_LIMITED, Refusal(8_000)),
        Failed(FailReason.BUSY),
        Failed(FailReason.TIMEOUT),
    ],
)
def test_hosts_that_have_no_time_when_they_are_asked_again_are_listened_to_as_before(
    shell: Shell, refusal: Answer | Failed
) -> None:
    full_topic(shell)
    late = subscribe(shell, peer(51))
    for number in (1, 2):
        shell.answer(number, Method.SUBSCRIBE, refusal)
    assert rows_of(shell, late) == (row(ONE, 0, FULL + 10),)

    message = raw(ONE, FULL + 10)
    shell.pushed(1, message)
    assert message in delivered(shell, CLIENT)
    assert message in delivered(shell, peer(51))


def test_a_host_that_goes_while_it_is_asked_again_keeps_nobody_waiting(shell: Shell) -> None:
    full_topic(shell)
    late = subscribe(shell, peer(51))
    shell.answer(1, Method.SUBSCRIBE, subscribed(row(ONE, 10, FULL + 10)))
    shell.engine.on_link(peer(2), Down("closed"), at(shell.mono))
    shell.look()

    assert rows_of(shell, late) == (row(ONE, 10, FULL + 10),)


def test_one_page_alone_is_asked_for_again(shell: Shell) -> None:
    full_topic(shell)
    subscribe(shell, peer(51))
    many = [row(series(100 + number), 0, 1) for number in range(SUMMARY_ROWS_MAX)]
    answer_hosts(shell, *many)
    assert shell.asked(Method.SUBSCRIBE) == []


def test_one_bringer_has_hosts_asked_again_for_a_part_of_the_topics_that_others_may(shell: Shell) -> None:
    topics = [TopicId(number.to_bytes(16)) for number in range(3 * int(EDGE_LOOKS_PER_S))]
    for topic in topics:
        subscribe(shell, CLIENT, of=topic)
        answer_hosts(shell, row(ONE, 0, FULL))
    for topic in topics:
        shell.pushed(1, raw(ONE, FULL, topic=topic))
    shell.tick(1 + EDGE_ROWS_FRESH_S)

    late = [subscribe(shell, peer(51), of=topic) for topic in topics]
    assert [shell.status(request) for request in late].count(None) == EDGE_LOOKS_PER_S
    others = [subscribe(shell, peer(52), of=topic) for topic in reversed(topics)]
    assert [shell.status(request) for request in others].count(
        None
    ) == 2 * EDGE_LOOKS_PER_S  # the same as well


def test_where_no_host_is_left_to_be_asked_what_all_said_is_told_and_nothing_is_said_to_be_gone(
    shell: Shell,
) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell, row(ONE, 0, 90))
    shell.pushed(1, raw(ONE, 90))
    for number in (1, 2):
        shell.engine.on_link(peer(number), Down("closed"), at(shell.mono))
    shell.look()

    assert rows_of(shell, subscribe(shell, peer(51))) == (row(ONE, 0, 91),)
    fetch = shell.ask(CLIENT, Method.BACKLOG, Backlog(TOPIC, (Range(*ONE, 0, 5),)))
    assert shell.status(fetch) is Status.BUSY


def tells(shell: Shell, host: int, said: SummaryRow) -> None:
    data = encode_announcement([(TOPIC, (said,))])
    shell.engine.on_push(peer(host), RecordType.PUBSUB, data, at(shell.mono))
    shell.look()


def test_a_hole_that_a_host_fills_is_told_though_the_message_came_by(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell)
    shell.pushed(1, *(raw(ONE, index) for index in range(5)))
    tells(shell, 1, row(ONE, 0, 5, 3))
    for holes in ((3,), ()):
        tells(shell, 2, row(ONE, 0, 5, *holes))
        late = subscribe(shell, peer(51 + len(holes)))
        assert rows_of(shell, late) == (row(ONE, 0, 5, *holes),)
    shell.tick(3 + ANNOUNCE_EVERY_S)
    assert announced(shell, peer(52))[-1] == row(ONE, 0, 5)


def test_what_one_host_lacks_is_claimed_as_long_as_the_one_that_pushed_it_says_nothing(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell)
    shell.pushed(1, *(raw(ONE, index) for index in range(100)))
    tells(shell, 2, row(ONE, 36, 101, *range(36, 100)))
    told = rows_of(shell, subscribe(shell, peer(51)))[0]
    assert (told.next, told.holes) == (100, ())


def test_hosts_that_have_left_do_not_have_what_came_by_claimed(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell, row(ONE, 0, 5))
    shell.engine.on_link(peer(1), Down("closed"), at(shell.mono))
    shell.look()
    shell.pushed(2, *(raw(ONE, index) for index in range(5, 20)))
    tells(shell, 2, row(ONE, 0, 20, 10))
    assert rows_of(shell, subscribe(shell, peer(51))) == (row(ONE, 0, 20, 10),)


def test_a_topic_of_which_a_host_has_dropped_something_is_full(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell, row(ONE, 20, 300))
    shell.pushed(1, *(raw(ONE, 300 + index) for index in range(5)))
    shell.tick(1 + EDGE_ROWS_FRESH_S)
    assert shell.status(subscribe(shell, peer(51))) is None


def test_all_pages_that_are_wanted_come_although_one_alone_was_asked_for_just_now(shell: Shell) -> None:
    full_topic(shell)
    subscribe(shell, peer(51))
    assert shell.asked(Method.SUBSCRIBE) == [1, 2]
    assert shell.engine.edge is not None
    shell.engine.edge._relayed[TOPIC].feed.look_again(at(shell.mono))
    shell.look()
    many = tuple(row(series(100 + number), 0, 1) for number in range(SUMMARY_ROWS_MAX))
    shell.answer(1, Method.SUBSCRIBE, subscribed(*many))
    assert 1 in shell.asked(Method.SUBSCRIBE)


def test_a_host_that_is_far_ahead_of_the_others_is_told_of_after_the_answer(shell: Shell) -> None:
    request = subscribe(shell, CLIENT)
    for number, ahead in ((1, 0), (2, 1_000_000)):
        shell.answer(number, Method.SUBSCRIBE, subscribed(row(ONE, 3, 5 + ahead)))

    assert rows_of(shell, request) == (row(ONE, 3, 5),)
    assert announced(shell, CLIENT) == [row(ONE, 3, 1_000_005)]


def test_hosts_that_a_host_names_are_listened_to_and_do_not_say_where_a_series_is(shell: Shell) -> None:
    request = subscribe(shell, CLIENT)
    far = row(ONE, 2**31, 2**31 + 1)
    named = tuple(WireContact(contact(number).public_key, (), int(HOSTING)) for number in (4, 5, 6))
    shell.answer(2, Method.SUBSCRIBE, Answer(Status.OK, Subscribed(named, push=True, summary=(far,))))
    for number in (4, 5, 6):
        shell.answer(number, Method.SUBSCRIBE, subscribed(far))
    shell.answer(1, Method.SUBSCRIBE, subscribed(row(ONE, 0, 5)))

    assert rows_of(shell, request) == (row(ONE, 0, 5),)


def test_one_host_alone_answers_no_client_while_the_others_may(shell: Shell) -> None:
    request = subscribe(shell, CLIENT)
    shell.answer(2, Method.SUBSCRIBE, subscribed(row(ONE, 2**31, 2**31)))
    shell.tick(1 + FEED_SETTLE_S + 0.1)
    assert shell.status(request) is None
    shell.answer(1, Method.SUBSCRIBE, subscribed(row(ONE, 0, 5)))

    assert rows_of(shell, request) == (row(ONE, 0, 5),)


@pytest.mark.parametrize("outcome", [SILENT, Answer(Status.BUSY, Refusal())])
def test_while_one_host_alone_has_answered_a_client_is_told_when_to_come_back(
    shell: Shell, outcome: Answer | Failed
) -> None:
    request = subscribe(shell, CLIENT)
    shell.tick(1 + EDGE_ANSWER_S - 1)  # it took so long to reach the first
    shell.answer(2, Method.SUBSCRIBE, subscribed(row(ONE, 300, 500)))
    shell.answer(1, Method.SUBSCRIBE, outcome)
    shell.tick(1 + EDGE_ANSWER_S)
    body = shell.replies[request].body
    assert shell.status(request) is Status.RATE_LIMITED
    assert isinstance(body, Refusal)
    assert body.number == int((FEED_SETTLE_FEW_S - 1) * 1_000) + 1
    assert shell.engine.edge is not None
    assert not shell.engine.edge.has(CLIENT, TOPIC)

    waits = subscribe(shell, CLIENT)
    assert shell.status(waits) is None
    shell.tick(EDGE_ANSWER_S + FEED_SETTLE_FEW_S)
    assert rows_of(shell, waits) == (row(ONE, 300, 500),)


def test_hosts_that_keep_silent_hold_a_client_up_for_some_seconds(shell: Shell) -> None:
    request = subscribe(shell, CLIENT)
    shell.tick(1 + EDGE_ANSWER_S)
    assert rows_of(shell, request) == ()


def test_a_thousand_clients_cost_one_subscription_and_each_is_sent_every_message_once(shell: Shell) -> None:
    clients = [peer(1_000 + number) for number in range(1_000)]
    for one in clients:
        subscribe(shell, one)
    assert shell.asked(Method.SUBSCRIBE) == [1, 2]
    answer_hosts(shell)
    message = raw(ONE, 0)
    for number in (1, 2, 1):
        shell.pushed(number, message)

    assert all(delivered(shell, one) == [message] for one in clients[::250])
    assert len(shell.pushes) == len(clients)
    assert shell.verifier.verified == 1
    assert len({id(push.data) for push in shell.pushes}) == 1


def test_who_does_not_read_is_told_of_it_when_it_does_and_holds_nobody_up(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    subscribe(shell, peer(51))
    answer_hosts(shell)
    shell.congested.add(CLIENT.node_id)
    shell.pushed(1, raw(ONE, 0), raw(TWO, 0), raw(ONE, 1))
    assert delivered(shell, CLIENT) == [raw(ONE, 1)], "its sender is known"
    assert delivered(shell, peer(51)) == [raw(ONE, 0), raw(TWO, 0), raw(ONE, 1)]

    shell.tick(2)
    assert announced(shell, CLIENT) == []
    shell.congested.clear()
    shell.tick(3 + ANNOUNCE_EVERY_S)
    assert announced(shell, CLIENT) == [row(TWO, 0, 1), row(ONE, 0, 2)]


def test_what_hosts_announce_is_told_to_clients(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell)
    data = encode_announcement([(TOPIC, (row(ONE, 0, 1),))])
    shell.engine.on_push(peer(1), RecordType.PUBSUB, data, at(shell.mono))
    shell.look()
    call = shell.answer(1, Method.BACKLOG, page(raw(ONE, 0)))
    assert isinstance(call.body, Backlog)
    shell.tick(3)

    assert delivered(shell, CLIENT) == [raw(ONE, 0)]
    assert announced(shell, CLIENT)[-1:] == [row(ONE, 0, 1)]


def test_a_topic_is_left_some_time_after_the_last_client(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell)
    request = shell.ask(CLIENT, Method.UNSUBSCRIBE, Unsubscribe(TOPIC))
    assert shell.status(request) is Status.OK
    shell.tick(EDGE_LINGER_S)
    assert shell.asked(Method.UNSUBSCRIBE) == []
    shell.tick(2 + EDGE_LINGER_S)
    assert shell.asked(Method.UNSUBSCRIBE) == [1, 2]
    assert shell.engine.edge is not None
    assert shell.engine.edge.topics == 0


def test_a_client_that_comes_back_in_time_finds_the_topic_listened_to(shell: Shell) -> None:
    subscribe(shell, CLIENT)
    answer_hosts(shell)
    shell.engine.on_client_gone(CLIENT, at(shell.mono))
    shell.tick(EDGE_LINGER_S / 2)
    again = peer(50, run=1)
    assert rows_of(shell, subscribe(shell, again)) == ()
    shell.tick(EDGE_LINGER_S * 1.5)
    shell.pushed(1, raw(ONE, 0))

    assert delivered(shell, again) == [raw(ONE, 0)]
    assert delivered(shell, CLIENT) == []


def test_another_session_of_a_client_is_another_subscriber(shell: Shell) -> None:
    old, new = peer(50, run=0), peer(50, run=1)
    subscribe(shell, old)
    answer_hosts(shell)
    subscribe(shell, new)
    shell.engine.on_client_gone(old, at(shell.mono))
    shell.pushed(1, raw(ONE, 0))
    assert delivered(shell, new) == [raw(ONE, 0)]


def test_a_node_that_goes_takes_its_subscriptions_along(shell: Shell) -> None:
    node = peer(3, shell.own.caps)
    subscribe(shell, node)
    answer_hosts(shell)
    shell.engine.on_link(node, Down("gone"), at(shell.mono))
    shell.pushed(1, raw(ONE, 0))
    assert delivered(shell, node) == []


def test_a_client_fetches_through_the_node_only_where_it_is_subscribed(shell: Shell) -> None:
    request = shell.ask(CLIENT, Method.BACKLOG, Backlog(TOPIC, (Range(*ONE, 0, 1),)))
    assert shell.status(request) is Status.NOT_FOUND
    assert shell.asked(Method.BACKLOG) == []


def test_of_many_topics_that_are_waited_for_only_the_one_whose_hosts_answered_is_looked_at(
    shell: Shell,
) -> None:
    topics = [TopicId(b"topic%011d" % number) for number in range(20)]
    requests = {topic: subscribe(shell, CLIENT, of=topic) for topic in topics}
    edge = shell.engine.edge
    assert edge is not None
    assert edge.next_timer() == 1 + EDGE_ANSWER_S
    looked: list[TopicId] = []
    relayed = edge._relayed
    edge._relayed = Looked(relayed, looked)

    for call in list(shell.calls.values()):
        assert isinstance(call.body, Subscribe)
        if call.body.topic == topics[7]:
            del shell.calls[call.call]
            shell.engine.on_answer(call.call, subscribed(row(ONE, 0, 1)), at(shell.mono))
            shell.look()
    assert rows_of(shell, requests[topics[7]]) == (row(ONE, 0, 1),)
    assert set(looked) == {topics[7]}
    assert len(shell.replies) == 1

    shell.tick(1 + EDGE_ANSWER_S)
    assert len(shell.replies) == len(topics)
    assert not edge._waiting
    assert all(not one.waiting for one in relayed.values())


class Looked(dict[TopicId, Any]):
    """Notes which topics are looked up, or all if somebody walks over them."""

    def __init__(self, held: dict[TopicId, Any], looked: list[TopicId]) -> None:
        super().__init__(held)
        self._looked = looked

    def __getitem__(self, topic: TopicId) -> Any:
        self._looked.append(topic)
        return super().__getitem__(topic)

    def get(self, topic: TopicId, default: Any = None) -> Any:
        self._looked.append(topic)
        return super().get(topic, default)


def test_who_waits_twice_is_answered_in_turn_and_nothing_is_left_over(shell: Shell) -> None:
    first = subscribe(shell, CLIENT)
    shell.tick(2)
    second = subscribe(shell, peer(51))
    shell.tick(1 + EDGE_ANSWER_S)
    assert shell.status(first) is Status.OK
    assert shell.status(second) is None
    shell.tick(2 + EDGE_ANSWER_S)
    assert shell.status(second) is Status.OK
    edge = shell.engine.edge
    assert edge is not None
    assert edge.next_timer() is None


# What clients share

PART = EDGE_TOPICS_MAX // EDGE_PART_OF_ONE_BRINGER
GREEDY, OTHER = peer(60, prefix="203.0.113.0/24"), peer(61, prefix="198.51.100.0/24")


def many(count: int, start: int = 1_000) -> list[TopicId]:
    return [TopicId(number.to_bytes(16)) for number in range(start, start + count)]


def refused(shell: Shell, by: Peer, topics: list[TopicId]) -> list[TopicId]:
    """Of which topics a client is refused."""
    asked = [(topic, subscribe(shell, by, of=topic)) for topic in topics]
    return [topic for topic, request in asked if shell.status(request) is Status.OVER_QUOTA]


def test_who_takes_all_the_topics_that_it_can_leaves_the_rest_to_others(shell: Shell) -> None:
    topics = many(PART + 5)
    assert refused(shell, GREEDY, topics) == topics[PART:]
    neighbour = peer(62, prefix=GREEDY.prefix)  # ids are free
    assert refused(shell, neighbour, [TOPIC]) == [TOPIC]
    assert refused(shell, neighbour, topics[:1]) == []  # it is listened to already
    assert refused(shell, OTHER, [TOPIC]) == []
    assert shell.engine.edge is not None
    assert shell.engine.edge.topics == PART + 1


def test_all_clients_together_have_so_many_topics_and_the_next_is_refused(shell: Shell) -> None:
    for number in range(EDGE_PART_OF_ONE_BRINGER):
        assert refused(shell, peer(60 + number), many(PART, 1_000 + number * PART)) == []
    assert refused(shell, peer(70), [TOPIC]) == [TOPIC]


def test_a_place_is_free_again_once_its_topic_is_left(shell: Shell) -> None:
    topics = many(PART)
    refused(shell, GREEDY, topics)
    shell.ask(GREEDY, Method.UNSUBSCRIBE, Unsubscribe(topics[0]))
    assert refused(shell, GREEDY, [TOPIC]) == [TOPIC]
    shell.tick(2 + EDGE_LINGER_S)
    assert refused(shell, GREEDY, [TOPIC]) == []


def test_who_has_left_a_topic_does_not_pay_for_those_who_stay(shell: Shell) -> None:
    topics = many(PART)
    refused(shell, OTHER, topics)
    refused(shell, GREEDY, topics)
    shell.engine.on_client_gone(OTHER, at(shell.mono))

    assert refused(shell, OTHER, [TOPIC]) == []
    assert refused(shell, GREEDY, many(1)) == []  # it has that one
    assert refused(shell, GREEDY, many(1, 9_000)) == many(1, 9_000)


def test_who_takes_up_a_topic_that_was_left_pays_for_it(shell: Shell) -> None:
    refused(shell, OTHER, [TOPIC])
    shell.engine.on_client_gone(OTHER, at(shell.mono))
    assert refused(shell, GREEDY, many(PART)) == []
    assert refused(shell, GREEDY, [TOPIC]) == [TOPIC]
    assert refused(shell, CLIENT, [TOPIC]) == []

    topics = many(PART + 1, 9_000)
    assert refused(shell, OTHER, topics) == topics[-1:]


def test_who_comes_back_to_its_own_topic_in_time_needs_no_other_place(shell: Shell) -> None:
    topics = many(PART)
    refused(shell, OTHER, topics)
    shell.engine.on_client_gone(OTHER, at(shell.mono))
    assert refused(shell, OTHER, topics) == []


def test_who_asks_on_and_on_while_hosts_are_silent_is_told_that_the_node_is_busy(shell: Shell) -> None:
    part = EDGE_WAITING_MAX // EDGE_PART_OF_ONE_BRINGER
    requests = [subscribe(shell, GREEDY) for _ in range(part + 3)]
    assert [shell.status(request) for request in requests] == part * [None] + 3 * [Status.BUSY]
    other = subscribe(shell, OTHER)
    assert shell.status(other) is None

    answer_hosts(shell)
    assert {shell.status(request) for request in requests[:part]} == {Status.OK}
    shell.tick(10)
    assert refused(shell, GREEDY, many(1)) == []
    assert shell.status(subscribe(shell, GREEDY, of=many(2)[1])) is None


def test_what_hosts_say_of_all_topics_is_bounded_and_the_topic_with_most_pays(shell: Shell) -> None:
    edge = shell.engine.edge
    assert edge is not None
    edge._rows_max = 300
    subscribe(shell, CLIENT)
    answer_hosts(shell, *(row(series(number), 0, 1) for number in range(250)))
    quiet = subscribe(shell, CLIENT, of=many(1)[0])
    answer_hosts(shell, *(row(series(number), 0, 1) for number in range(100)))
    again = subscribe(shell, peer(51))

    assert len(rows_of(shell, quiet)) == 100
    assert 150 < len(rows_of(shell, again)) <= 200
    shell.engine.on_client_gone(CLIENT, at(shell.mono))
    shell.engine.on_client_gone(peer(51), at(shell.mono))
    shell.tick(2 + EDGE_LINGER_S)
    assert edge.topics == edge._rows == 0

"""A topic host: every answer, durable before acknowledged, who is sent and who is told, sessions, floods."""

from __future__ import annotations

import pytest

from tests.pubsub.kit_host import (
    ASKING,
    HOSTING,
    PUBLISHER,
    TOPIC,
    Author,
    World,
    forged,
    peer,
    resigned,
    topic,
)
from yzdht.limits import (
    BACKLOG_BURST_BYTES,
    ENVELOPES_PER_ANSWER_MAX,
    FLOOR_KEPT_S,
    HISTORY_CLOCK_BELIEVED_S,
    HISTORY_MESSAGES_MAX,
    HISTORY_QUEUE_WRITES_MAX,
    HISTORY_S,
    PUBLISH_BURST,
    PUBSUB_ENVELOPE_BYTES_MAX,
    PUSH_BESIDE_BYTES_MAX,
    SUMMARY_ROWS_MAX,
    TOPICS_PER_SESSION_MAX,
)
from yzdht.rpc.engine import Answer, Up
from yzdht.wire.holdings import Series
from yzdht.wire.pubsub import INDEX_MAX
from yzdht.wire.rpc import (
    Backlog,
    BacklogPage,
    Empty,
    Publish,
    Published,
    Range,
    Refusal,
    Status,
    Subscribe,
    Subscribed,
    SummaryRow,
    TopicSync,
    TopicSynced,
    Unsubscribe,
)


ALICE, BOB, CAROL = peer(101), peer(102), peer(103)
BESIDE = peer(2, HOSTING)


# PUBLISH


def test_a_message_is_acknowledged_only_once_it_is_on_disk() -> None:
    world = World()
    host = world.host(1)
    author = Author()

    asked = host.publish(author.envelope())
    early = asked.is_answered
    world.run(1.0)

    assert not early
    assert asked.status is Status.OK
    assert asked.body == Published(1, 1)
    assert host.holds(author) == [0]


def test_what_was_acknowledged_is_there_after_a_crash_and_what_was_not_is_gone() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    host.publish(author.envelope(0))
    world.run(1.0)
    unanswered = host.publish(author.envelope(1))

    again = world.restart(1)
    world.run(1.0)

    assert not unanswered.is_answered
    assert again.holds(author) == [0]


def test_a_message_that_comes_twice_waits_for_the_disk_both_times_and_is_passed_on_once() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    envelope = Author().envelope()

    asked = [host.publish(envelope), host.publish(envelope)]
    early = [each.is_answered for each in asked]
    world.run(1.0)

    assert early == [False, False]
    assert [each.status for each in asked] == [Status.OK, Status.OK]
    assert host.pushed(ALICE) == [envelope]
    assert host.verifier.looks == 1


def test_a_forged_message_is_refused_and_neither_kept_nor_passed_on() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    author = Author()

    asked = host.ask(PUBLISHER, Publish(forged(author.envelope())))
    world.run(1.0)

    assert asked.status is Status.BAD_SIGNATURE
    assert host.holds(author) == []
    assert host.pushed(ALICE) == []


def test_who_sends_pushed_messages_back_with_other_signatures_spoils_no_history() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    envelopes = [author.envelope(index) for index in range(10)]

    asked = [host.publish(envelope) for envelope in envelopes]
    spoiled = [host.publish(resigned(envelope), ALICE) for envelope in reversed(envelopes)]
    world.run(1.0)

    assert {each.status for each in asked} == {Status.OK}
    assert {each.status for each in spoiled} == {Status.BAD_SIGNATURE}
    page = host.ask(BOB, Backlog(TOPIC, (author.range(0, 10),))).body
    assert isinstance(page, BacklogPage)
    assert list(page.envelopes) == [envelope.raw for envelope in envelopes]


def test_a_second_message_under_one_index_is_refused_with_the_id_of_the_first() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    author = Author()
    first = author.envelope(7, b"one")
    host.publish(first)
    world.run(1.0)

    asked = host.publish(author.envelope(7, b"other"))
    world.run(1.0)

    assert asked.answer == Answer(Status.EQUIVOCATION, Refusal(7, first.id))
    assert host.pushed(ALICE) == [first]


def test_of_two_messages_under_one_index_at_the_same_time_the_first_is_kept() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    first = author.envelope(7, b"one")

    asked = [host.publish(first), host.publish(author.envelope(7, b"other"))]
    world.run(1.0)

    assert [each.status for each in asked] == [Status.OK, Status.EQUIVOCATION]


def test_nobody_refuses_a_message_by_forging_another_under_its_index() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    host.publish(author.envelope(7, b"one"))
    world.run(1.0)

    asked = host.ask(PUBLISHER, Publish(forged(author.envelope(7, b"one"))))
    world.run(1.0)

    assert asked.status is Status.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", Status.BAD_REQUEST),
        (bytes(300), Status.BAD_REQUEST),
        (bytes(PUBSUB_ENVELOPE_BYTES_MAX + 1), Status.TOO_LARGE),
    ],
)
def test_what_is_no_envelope_is_refused(raw: bytes, status: Status) -> None:
    host = World().host(1)

    assert host.ask(PUBLISHER, Publish(raw)).status is status


def test_a_message_after_which_none_could_be_counted_is_refused() -> None:
    host = World().host(1)

    assert host.publish(Author().envelope(INDEX_MAX)).status is Status.BAD_REQUEST
    assert host.host.topics == 0


@pytest.mark.parametrize("was_here", [True, False])
def test_nobody_is_told_that_a_message_is_stored_whose_time_is_over(was_here: bool) -> None:  # noqa: FBT001 - a parameter of the test
    world = World()
    host = world.host(1, messages_max=2)
    author = Author()
    envelopes = [author.envelope(index) for index in range(4)]
    for envelope in envelopes if was_here else envelopes[1:]:
        host.publish(envelope)
    world.run(1.0)
    host.subscribe(ALICE)

    asked = host.publish(envelopes[0])
    world.run(1.0)

    assert host.holds(author) == [2, 3]
    assert asked.answer == Answer(Status.SEQ_TOO_LOW, Refusal(2))
    assert host.pushed(ALICE) == []


def test_a_message_for_which_its_own_series_leaves_no_room_is_not_stored() -> None:
    world = World()
    host = world.host(1, messages_max=2)
    author = Author()
    for index in (1, 2):
        host.publish(author.envelope(index))
    world.run(1.0)

    asked = host.publish(author.envelope(0))
    world.run(1.0)

    assert host.holds(author) == [1, 2]
    assert asked.answer == Answer(Status.SEQ_TOO_LOW, Refusal(1))


def test_a_store_that_has_no_room_now_is_busy() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    for index in range(HISTORY_QUEUE_WRITES_MAX):
        host.publish(author.envelope(index), peer(300 + index))

    busy = host.publish(Author().envelope(of=topic(1)))
    world.run(1.0)

    assert busy.status is Status.BUSY
    assert host.host.topics == 1
    assert len(host.holds(author)) == HISTORY_MESSAGES_MAX


def test_who_publishes_too_much_is_told_when_to_try_again_and_the_others_are_served() -> None:
    world = World()
    host = world.host(1)
    envelope = Author().envelope()
    for _ in range(int(PUBLISH_BURST)):
        host.publish(envelope)
        host.write()

    asked = host.publish(envelope)
    other = host.publish(envelope, ALICE)
    world.run(1.0)

    assert asked.status is Status.RATE_LIMITED
    assert isinstance(asked.body, Refusal)
    assert 0 < asked.body.number < 1_000
    assert other.status is Status.OK
    assert host.publish(envelope).is_answered is False  # a second later it is served again


def test_forged_messages_cost_their_sender_what_large_ones_do() -> None:
    host = World().host(1)
    raw = forged(Author().envelope())

    statuses = [host.ask(PUBLISHER, Publish(raw)).status for _ in range(400)]

    assert statuses[0] is Status.BAD_SIGNATURE
    assert statuses[-1] is Status.RATE_LIMITED
    assert host.verifier.looks < 300


def test_the_own_user_publishes_without_a_session_and_is_told_when_it_is_on_disk() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    answers: list[Answer] = []

    host.host.take_own(author.envelope(), lambda answer, _now: answers.append(answer), world.now)
    host.settle()
    early = list(answers)
    world.run(1.0)

    assert early == []
    assert answers == [Answer(Status.OK, Published(1, 1))]


# Which topics


def test_a_node_that_is_not_among_the_nearest_eight_takes_no_topic() -> None:
    world = World()
    host = world.host(9)
    host.on_neighbourhood(range(1, 9))
    refused = (
        Publish(Author().envelope().raw),
        Subscribe(TOPIC),
        TopicSync(TOPIC, (SummaryRow(*Author().series, 0, 1),)),
    )

    for body in refused:
        assert host.ask(BESIDE, body).status is Status.REFUSED
    assert host.ask(BESIDE, Backlog(TOPIC)).status is Status.NOT_FOUND
    assert host.host.topics == 0


def test_the_eighth_takes_what_is_published_though_it_is_none_of_the_three() -> None:
    world = World()
    host = world.host(8)
    host.on_neighbourhood(range(1, 8))
    asked = host.publish(Author().envelope())
    world.run(0.1)

    assert asked.status is Status.OK


def test_the_hosts_of_a_topic_are_the_nearest_three() -> None:
    world = World()
    host = world.host(3)
    host.on_neighbourhood([1, 2, 4, 5])
    hosts = host.subscribe(ALICE).hosts

    assert [int.from_bytes(wire.public_key[1:]) for wire in hosts] == [1, 2, 3]


# SUBSCRIBE, UNSUBSCRIBE


def test_who_asked_for_messages_is_sent_each_before_it_is_on_disk() -> None:
    world = World()
    host = world.host(1)
    answer = host.subscribe(ALICE)
    envelopes = [Author().envelope(), Author().envelope()]

    asked = [host.publish(envelope) for envelope in envelopes]

    assert answer.push
    assert host.pushed(ALICE) == envelopes
    assert not any(each.is_answered for each in asked)


def test_who_did_not_is_told_what_changed_once_a_second_at_most() -> None:
    world = World()
    host = world.host(1)
    answer = host.subscribe(ALICE, push=False)
    author = Author()
    for index in range(30):
        host.publish(author.envelope(index))
        world.run(0.1)
    world.run(2.0)

    told = host.announced(ALICE)
    rows = [row for announcement in told for _, rows in announcement.changes for row in rows]
    assert not answer.push
    assert host.pushed(ALICE) == []
    assert 3 <= len(told) <= 5
    assert rows[-1] == SummaryRow(*author.series, 0, 30)


def test_an_announcement_says_only_what_changed_since_the_last() -> None:
    world = World()
    host = world.host(1)
    authors = [Author(), Author(), Author()]
    host.publish(authors[0].envelope())
    host.subscribe(ALICE, push=False)
    host.publish(authors[1].envelope())
    world.run(2.0)
    host.publish(authors[2].envelope())
    host.publish(authors[1].envelope(1))
    world.run(2.0)

    told = [change for announcement in host.announced(ALICE) for change in announcement.changes]
    assert told == [
        (TOPIC, (SummaryRow(*authors[1].series, 0, 1),)),
        (TOPIC, (SummaryRow(*authors[2].series, 0, 1), SummaryRow(*authors[1].series, 0, 2))),
    ]


def test_all_topics_of_a_session_are_told_in_one_record() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    for number in range(10):
        host.subscribe(ALICE, topic(number), push=False)
        host.publish(author.envelope(of=topic(number)))
    world.run(5.0)

    [told] = host.announced(ALICE)
    assert [of for of, _ in told.changes] == [topic(number) for number in range(10)]


def test_who_does_not_read_is_sent_little_and_told_of_the_rest_later() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.congested.add(ALICE.node_id)
    author = Author()
    count = 2 * PUSH_BESIDE_BYTES_MAX // len(author.envelope().raw)
    for index in range(count):
        host.publish(author.envelope(index))
    world.run(10.0)
    before = sum(map(len, (envelope.raw for envelope in host.pushed(ALICE))))
    host.congested.clear()
    world.run(2.0)
    last = author.envelope(count)
    host.publish(last)

    [told] = host.announced(ALICE)
    assert 0 < before <= PUSH_BESIDE_BYTES_MAX
    assert told.changes == ((TOPIC, (SummaryRow(*author.series, 0, count),)),)
    assert host.pushed(ALICE)[-1] == last


def test_an_answer_shows_what_is_held_page_by_page_the_newest_first() -> None:
    world = World()
    host = world.host(1)
    authors = [Author() for _ in range(SUMMARY_ROWS_MAX + 3)]
    for author in authors:
        host.publish(author.envelope())

    first, second = host.subscribe(ALICE).summary, host.subscribe(ALICE, skip=SUMMARY_ROWS_MAX).summary

    shown = [Series(row.sender, row.session) for row in (*first, *second)]
    assert shown == [author.series for author in reversed(authors)]
    assert len(second) == 3


def test_a_later_page_does_not_lose_what_changed_since_the_first() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE, push=False)
    author = Author()
    host.publish(author.envelope())
    host.subscribe(ALICE, push=False, skip=SUMMARY_ROWS_MAX)
    world.run(2.0)

    assert [a.changes for a in host.announced(ALICE)] == [((TOPIC, (SummaryRow(*author.series, 0, 1),)),)]


def test_who_unsubscribed_is_sent_and_told_nothing() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.subscribe(BOB, push=False)
    for who in (ALICE, BOB):
        assert host.ask(who, Unsubscribe(TOPIC)).answer == Answer(Status.OK, Empty())
    host.publish(Author().envelope())
    world.run(5.0)

    assert host.sent == []
    assert host.host.subscriptions == 0


def test_unsubscribing_from_nothing_changes_nothing() -> None:
    host = World().host(1)

    assert host.ask(ALICE, Unsubscribe(TOPIC)).status is Status.OK
    assert host.host.topics == 0


def test_subscriptions_end_with_their_session() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.subscribe(BOB)
    host.leaves(ALICE)
    envelope = Author().envelope()
    host.publish(envelope)
    world.run(5.0)

    assert host.pushed(ALICE) == []
    assert host.pushed(BOB) == [envelope]


def test_two_processes_of_one_identity_are_subscribed_apart() -> None:
    world = World()
    host = world.host(1)
    first, second = peer(101, ASKING, run=1), peer(101, ASKING, run=2)
    host.subscribe(first)
    host.subscribe(second)
    host.leaves(first)
    envelope = Author().envelope()
    host.publish(envelope)

    assert host.pushed(first) == []
    assert host.pushed(second) == [envelope]


def test_a_node_with_a_new_session_is_served_there() -> None:
    world = World()
    host = world.host(1)
    old, new = peer(50, HOSTING, run=1), peer(50, HOSTING, run=2)
    host.subscribe(old)
    host.host.on_link(new, Up(None), world.now)
    envelope = Author().envelope()
    host.publish(envelope)

    assert host.pushed(old) == []
    assert host.pushed(new) == [envelope]


def test_a_topic_that_nobody_wrote_to_goes_with_its_last_subscriber() -> None:
    world = World()
    host = world.host(1)
    host.subscribe(ALICE)
    host.subscribe(BOB)
    host.leaves(ALICE)
    before = host.host.topics
    host.ask(BOB, Unsubscribe(TOPIC))

    assert before == 1
    assert host.host.topics == 0


def test_a_session_has_so_many_topics_and_no_more() -> None:
    host = World().host(1)
    for number in range(TOPICS_PER_SESSION_MAX):
        host.host.on_request(number, ALICE, Subscribe(topic(number)), World().now)
    host.outbox.take()

    assert host.ask(BOB, Subscribe(topic(5_000))).status is Status.OK
    assert host.ask(ALICE, Subscribe(topic(5_001))).status is not Status.OK
    assert host.host.topics == TOPICS_PER_SESSION_MAX + 1


# BACKLOG


def test_backlog_gives_what_is_asked_for_in_its_order() -> None:
    world = World()
    host = world.host(1)
    author, other = Author(), Author()
    envelopes = [author.envelope(index) for index in range(5)]
    for envelope in (*envelopes, other.envelope()):
        host.publish(envelope)
    world.run(1.0)

    asked = host.ask(ALICE, Backlog(TOPIC, (author.range(3, 9), author.range(0, 2))))

    raws = tuple(envelopes[index].raw for index in (3, 4, 0, 1))
    assert asked.answer == Answer(Status.OK, BacklogPage(raws, more=False))


def test_backlog_of_what_does_not_fit_says_that_there_is_more() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    size = len(author.envelope().raw)
    for index in range(5):
        host.publish(author.envelope(index))
    world.run(1.0)

    page = host.ask(ALICE, Backlog(TOPIC, (author.range(0, 5),), 2 * size)).body

    assert isinstance(page, BacklogPage)
    assert len(page.envelopes) == 2 < ENVELOPES_PER_ANSWER_MAX
    assert page.more


def test_backlog_of_an_unknown_topic_is_not_found_and_of_an_empty_one_empty() -> None:
    host = World().host(1)
    host.subscribe(BOB, topic(1))

    assert host.ask(ALICE, Backlog(topic(0))).status is Status.NOT_FOUND
    assert host.ask(ALICE, Backlog(topic(1))).answer == Answer(Status.OK, BacklogPage())


def test_who_fetches_too_much_is_told_when_to_try_again_and_the_others_are_served() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    for index in range(8):
        host.publish(author.envelope(index, bytes(60_000)))
    world.run(1.0)
    body = Backlog(TOPIC, (author.range(0, 8),))

    statuses = [host.ask(ALICE, body).status for _ in range(100)]
    other = host.ask(BOB, body).status
    world.run(60.0)

    assert statuses[0] is Status.OK
    assert statuses[-1] is Status.RATE_LIMITED
    assert other is Status.OK
    assert host.ask(ALICE, body).status is Status.OK


def test_looking_for_what_nobody_has_is_charged_by_what_it_costs() -> None:
    world = World()
    host = world.host(1)
    host.publish(Author().envelope())
    world.run(1.0)
    body = Backlog(TOPIC, tuple(Author(run).range(0, 2**32 - 1) for run in range(SUMMARY_ROWS_MAX)))

    statuses = [host.ask(ALICE, body).status for _ in range(400)]

    assert statuses[0] is Status.OK
    assert statuses.count(Status.OK) <= BACKLOG_BURST_BYTES // (SUMMARY_ROWS_MAX * 1_024) + 1
    assert host.ask(BOB, body).status is Status.OK


# TOPIC_SYNC


def test_another_host_is_shown_what_is_held() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    host.publish(author.envelope())

    asked = host.ask(BESIDE, TopicSync(TOPIC))

    assert asked.answer == Answer(Status.OK, TopicSynced((), (SummaryRow(*author.series, 0, 1),)))


def test_an_empty_summary_of_an_unknown_topic_leaves_it_unknown() -> None:
    host = World().host(1)

    assert host.ask(BESIDE, TopicSync(TOPIC)).answer == Answer(Status.OK, TopicSynced())
    assert host.host.topics == 0


def test_a_client_cannot_have_anything_fetched() -> None:
    world = World()
    host = world.host(1)
    rows = (SummaryRow(*Author().series, 0, 100),)

    asked = host.ask(ALICE, TopicSync(TOPIC, rows))
    world.run(1.0)

    assert asked.status is Status.OK
    assert not host.asks
    assert host.host.topics == 0


def test_a_request_of_another_kind_is_none_of_its_methods() -> None:
    assert World().host(1).ask(ALICE, Empty()).status is Status.UNKNOWN_METHOD


# Time


def test_what_was_kept_for_a_day_is_dropped_and_the_idle_topic_forgotten() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    host.publish(author.envelope())
    world.run(HISTORY_S - 600.0)
    before = host.holds(author)
    world.run(2_000.0)
    after = host.holds(author)
    world.run(FLOOR_KEPT_S)

    assert before == [0]
    assert after == []
    assert host.ask(ALICE, Backlog(TOPIC, (Range(*author.series, 0, 1),))).status is Status.NOT_FOUND
    assert host.host.topics == 0


def test_a_clock_that_is_set_by_mistake_and_set_back_costs_nothing_and_lengthens_nothing() -> None:
    world = World()
    host = world.host(1)
    before, meanwhile = Author(), Author()
    host.publish(before.envelope())
    world.run(60.0)
    world.off_s = 2.0 * HISTORY_S
    world.run(60.0)
    host.publish(meanwhile.envelope())
    world.run(HISTORY_CLOCK_BELIEVED_S - 120.0)
    world.off_s = 0.0
    world.run(HISTORY_S / 2)
    held = host.holds(before), host.holds(meanwhile)
    world.run(HISTORY_S / 2 + 120.0)

    assert held == ([0], [0])
    assert (host.holds(before), host.holds(meanwhile)) == ([], [])


def test_what_got_old_while_the_machine_slept_is_dropped_soon() -> None:
    world = World()
    host = world.host(1)
    author = Author()
    host.publish(author.envelope())
    world.run(60.0)
    world.off_s = 2.0 * HISTORY_S
    world.run(HISTORY_CLOCK_BELIEVED_S + 120.0)

    assert host.holds(author) == []


def test_after_it_stopped_nothing_is_asked_or_answered() -> None:
    world = World()
    host = world.host(1)
    asked = host.publish(Author().envelope())
    host.host.stop()
    world.run(100.0)

    assert not asked.is_answered


def test_an_idle_host_wakes_seldom() -> None:
    world = World()
    host = world.host(1)
    world.run(600.0)

    assert host.wakes < 30


def test_answers_to_a_subscription_are_bodies_of_their_method() -> None:
    assert isinstance(World().host(1).subscribe(CAROL), Subscribed)

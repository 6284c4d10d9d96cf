"""One process: what it listens to, publishes, hosts for others and asks itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.pubsub.kit_engine import (
    OWN,
    TOPIC,
    Shell,
    at,
    contact,
    indexes,
    page,
    peer,
    raw,
    series,
    subscribed,
)
from tests.pubsub.kit_feed import WALL, Keys, row
from yzdht.ids import TopicId
from yzdht.limits import FEEDS_MAX
from yzdht.pubsub.cursor import Cursor
from yzdht.pubsub.feed import Start
from yzdht.pubsub.publisher import PublishResult
from yzdht.pubsub.subscriber import Mailbox, Subscriber
from yzdht.rpc.engine import Answer, Down, Failed, FailReason, Push, Up
from yzdht.wire.frame import RecordType
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Method, Publish, Published, Refusal, Status, Subscribe


if TYPE_CHECKING:
    from yzdht.pubsub.events import Event


ONE = series(1)
STORED = Answer(Status.OK, Published(1, 1))


def test_a_node_alone_hosts_what_it_publishes_and_hears_it() -> None:
    shell = Shell()
    told: list[Event] = []
    shell.listen(told)
    results = [shell.publish(raw(ONE, index)) for index in range(3)]

    assert results == 3 * [[PublishResult(1, 1)]]
    assert indexes(told) == [0, 1, 2]
    late: list[Event] = []
    shell.listen(late, Start.ALL)
    assert indexes(late) == [0, 1, 2]


def test_what_a_node_has_for_others_is_on_its_way_before_it_hears_it_itself() -> None:
    shell = Shell()
    told: list[Event] = []
    shell.listen(told)
    shell.ask(peer(50), Method.SUBSCRIBE, Subscribe(TOPIC, push=True))
    shell.engine.on_request(100, peer(51), Method.PUBLISH, Publish(raw(ONE, 0)), at(1))

    pushes = [item for item in shell.engine.take_outgoing() if isinstance(item, Push)]
    assert [push.peer for push in pushes] == [peer(50)]
    assert told == []
    assert shell.engine.serve_itself(at(1))
    assert indexes(told) == [0]
    assert not shell.engine.serve_itself(at(1))


def test_a_disk_that_cannot_be_read_keeps_one_message_from_its_host_and_none_of_those_after_it() -> None:
    shell = Shell()
    shell.faults.fails = lambda number, _topic: number == 1
    results = [shell.publish(raw(ONE, index)) for index in range(3)]

    assert results == [[], [PublishResult(1, 1)], [PublishResult(1, 1)]]
    assert shell.counts["store_errors"] == 1
    shell.tick(shell.mono + 5)
    assert results[0] == [PublishResult(1, 1)]


def tell_and_listen(fails_at: int | None = None) -> Shell:
    """A node alone publishes and listens to what is there and what comes; `fails_at` is the read that fails."""
    shell = Shell()
    shell.engine.start(at(shell.mono))
    shell.faults.fails = lambda number, _topic: number == fails_at
    told: list[list[Event]] = [[] for _ in range(3)]
    shell.listen(told[0])
    shell.tick(shell.mono + 10)
    results = [shell.publish(raw(ONE, index)) for index in range(3)]
    shell.tick(shell.mono + 10)
    for late in told[1:]:
        shell.reread()
        shell.listen(late, Start.ALL)  # it asks itself once more
    shell.tick(shell.mono + 30)
    shell.reread()
    shell.engine.on_link(peer(50), Down("closed"), at(shell.mono))
    results.append(shell.publish(raw(ONE, 3)))
    shell.tick(shell.mono + 30)

    assert results == 4 * [[PublishResult(1, 1)]], fails_at
    assert [sorted(indexes(one)) for one in told] == 3 * [[0, 1, 2, 3]], fails_at
    return shell


def test_whichever_read_fails_a_node_alone_tells_itself_all() -> None:
    reads = tell_and_listen().faults.reads
    assert reads >= 6
    for fails_at in range(1, reads + 1):
        assert tell_and_listen(fails_at).counts["store_errors"] == 1


def test_while_nothing_can_be_read_a_node_asks_itself_now_and_then_and_hears_all_once_it_can() -> None:
    shell = Shell()
    shell.engine.start(at(shell.mono))
    told: list[Event] = []
    shell.publish(raw(ONE, 0))
    shell.reread()
    shell.faults.fails = lambda _number, _topic: True
    shell.listen(told, Start.ALL)
    results = shell.publish(raw(ONE, 1), 600.0)
    shell.tick(shell.mono + 300)
    assert (told, results) == ([], [])
    assert 10 < shell.counts["store_errors"] < 450  # the message is tried about once a second

    shell.faults.fails = lambda _number, _topic: False
    shell.tick(shell.mono + 300)
    assert results == [PublishResult(1, 1)]
    assert indexes(told) == [0, 1]


def test_a_topic_whose_history_cannot_be_read_as_its_peer_goes_is_heard_again_all_the_same() -> None:
    shell = Shell(1)
    told: list[Event] = []
    feed = shell.listen(told)
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    other = TopicId(bytes(15) + b"\1")
    shell.ask(peer(1, contact(1).caps), Method.SUBSCRIBE, Subscribe(other))
    shell.faults.fails = lambda _number, topic: topic is not None
    shell.reread()
    shell.engine.on_link(peer(1, contact(1).caps), Down("closed"), at(shell.mono))

    assert contact(1).node_id not in feed.sources


def test_what_a_node_has_for_itself_when_it_stops_is_told_to_be_on_no_disk() -> None:
    shell = Shell()
    results: list[PublishResult] = []
    envelope = decode_envelope(raw(ONE, 0))
    assert shell.engine.publish(envelope, lambda result, _now: results.append(result), at(1))
    for item in shell.engine.take_outgoing():  # it looks for hosts
        shell._carry_out(item)
    assert shell.engine.has_something_for_itself
    shell.engine.stop(at(1))

    assert results == [PublishResult(0, 1)]
    assert not shell.engine.serve_itself(at(1))


@pytest.mark.parametrize(("others", "needed"), [(1, 2), (2, 2)])
def test_two_and_three_nodes_are_all_hosts_and_more_than_half_suffice(others: int, needed: int) -> None:
    shell = Shell(*range(1, 1 + others))
    results = shell.publish(raw(ONE, 0))
    for number in range(1, needed):
        assert results == []
        shell.answer(number, Method.PUBLISH, STORED)
    assert results == [PublishResult(needed, 1 + others)]


def test_a_node_that_others_do_not_reach_is_no_host_and_publishes_at_those_that_are() -> None:
    shell = Shell(1)
    shell.is_reached = False
    results = shell.publish(raw(ONE, 0))
    assert shell.asked(Method.PUBLISH) == [1]
    shell.answer(1, Method.PUBLISH, STORED)
    assert results == [PublishResult(1, 1)]


def test_a_node_that_others_reach_again_is_a_host_again() -> None:
    shell = Shell()
    shell.is_reached = False
    assert shell.publish(raw(ONE, 0)) == []
    shell.tick(60)
    shell.is_reached = True
    assert shell.publish(raw(ONE, 1)) == [PublishResult(1, 1)]


@pytest.mark.parametrize("is_node", [True, False])
def test_another_session_of_a_host_is_subscribed_in_and_the_pusher_stays(is_node: bool) -> None:  # noqa: FBT001 - pytest's
    shell = Shell(1, is_node=is_node)
    shell.is_reached = False
    feed = shell.listen([])
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    pusher = feed.pusher
    assert pusher == contact(1).node_id

    shell.engine.on_link(peer(1, contact(1).caps, run=1), Up(None), at(2))
    call = shell.answer(1, Method.SUBSCRIBE, subscribed(row(ONE, 0, 1)))
    assert isinstance(call.body, Subscribe)
    assert call.body.push
    assert (feed.pusher, shell.asked(Method.BACKLOG)) == (pusher, [1])  # what was said in between


def test_the_session_that_a_subscription_itself_has_opened_is_not_another_one() -> None:
    shell = Shell(1, is_node=False)
    shell.listen([])
    assert shell.asked(Method.SUBSCRIBE) == [1]
    shell.engine.on_link(peer(1, contact(1).caps), Up(None), at(2))
    assert shell.asked(Method.SUBSCRIBE) == [1]


def test_a_client_whose_node_goes_listens_at_the_next_and_misses_nothing() -> None:
    shell = Shell(1, 2, 3, is_node=False)
    told: list[Event] = []
    shell.listen(told)
    for number in (1, 2):
        shell.answer(number, Method.SUBSCRIBE, subscribed())
    shell.pushed(1, raw(ONE, 0))
    shell.engine.on_link(peer(1, contact(1).caps), Down("closed"), at(2))
    shell.look()
    assert set(shell.asked(Method.SUBSCRIBE)) >= {3}
    shell.answer(3, Method.SUBSCRIBE, subscribed(row(ONE, 0, 3)))
    shell.answer(3, Method.BACKLOG, page(raw(ONE, 1), raw(ONE, 2)))

    assert indexes(told) == [0, 1, 2]


def test_after_a_subscription_has_ended_within_a_message_nothing_is_due_for_it() -> None:
    shell = Shell(1, is_node=False)
    ended: list[bool] = []

    def tell(_event: Event, _now: object) -> None:
        if not ended:
            ended.append(True)
            shell.engine.unsubscribe(TOPIC, feed, at(shell.mono))

    subscriber = Subscriber(Mailbox(Keys(), lambda _sender: True, tell), Cursor(TOPIC), WALL)
    feed = shell.engine.subscribe(TOPIC, Start.LIVE, subscriber, at(1)) or pytest.fail("no room")
    shell.look()
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.pushed(1, raw(ONE, 5))  # with a gap below: it would be looked after

    assert ended == [True]
    shell.calls.clear()
    assert shell.engine.next_timer() is None


def test_a_node_that_looks_again_asks_itself_without_a_network() -> None:
    shell = Shell()
    told: list[Event] = []
    members: set[bytes] = set()
    mailbox = Mailbox(Keys(), lambda sender: sender in members, lambda event, _now: told.append(event))
    feed = shell.engine.subscribe(TOPIC, Start.LIVE, Subscriber(mailbox, Cursor(TOPIC), WALL), at(1))
    assert feed is not None
    shell.look()
    shell.publish(raw(ONE, 0))
    assert told == []

    members.add(ONE.sender)
    shell.engine.renew(feed, at(2), are_more_wanted=True)
    shell.look()
    assert indexes(told) == [0]
    assert feed.sources == (contact(OWN).node_id,)


def test_what_one_process_listens_to_is_bounded() -> None:
    shell = Shell(is_node=False)

    def listen(number: int) -> bool:
        topic = TopicId(number.to_bytes(16))
        mailbox = Mailbox(Keys(), lambda _sender: True, lambda _event, _now: None)
        subscriber = Subscriber(mailbox, Cursor(topic), WALL)
        return shell.engine.subscribe(topic, Start.LIVE, subscriber, at(1)) is not None

    assert all(map(listen, range(FEEDS_MAX)))
    assert not listen(FEEDS_MAX)


def test_pushes_of_strangers_and_what_is_no_push_are_not_told() -> None:
    shell = Shell(1, is_node=False)
    told: list[Event] = []
    shell.listen(told)
    shell.answer(1, Method.SUBSCRIBE, subscribed())
    shell.pushed(7, raw(ONE, 0))
    shell.engine.on_push(peer(1), RecordType.PUBSUB, b"nothing", at(1))
    shell.engine.on_push(peer(1), RecordType.STREAM, b"nothing", at(1))

    assert told == []
    assert shell.counts["pubsub_pushes_unreadable"] == 1


def test_a_client_serves_nobody() -> None:
    shell = Shell(1, is_node=False)
    assert shell.status(shell.ask(peer(1), Method.SUBSCRIBE, Subscribe(TOPIC))) is Status.REFUSED


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (STORED, Status.OK),
        (Answer(Status.OVER_QUOTA, Refusal()), Status.OVER_QUOTA),
        (Failed(FailReason.UNREACHABLE), Status.OK),
    ],
)
def test_a_client_is_told_what_came_of_its_message(outcome: Answer | Failed, status: Status) -> None:
    shell = Shell(1)
    shell.is_reached = False
    request = shell.ask(peer(50), Method.PUBLISH, Publish(raw(ONE, 0), delegate=True))
    for _ in range(200):
        if shell.status(request) is not None:
            break
        if shell.asked(Method.PUBLISH):
            shell.answer(1, Method.PUBLISH, outcome)
        else:
            shell.tick(shell.mono + 0.5)

    assert shell.status(request) is status
    if status is Status.OK:
        assert shell.replies[request].body == Published(int(outcome is STORED), 1)


def test_after_its_end_nothing_is_due_and_nobody_is_asked() -> None:
    shell = Shell(1, 2)
    shell.listen([])
    results = shell.publish(raw(ONE, 0))
    shell.look()
    shell.calls.clear()
    shell.engine.stop(at(2))
    shell.look()

    assert shell.calls == {}
    assert results != []
    assert shell.engine.next_timer() is None

"""The pump of topics in a node that is alone; with sessions: test_own_topics.py and test_client_nodes.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders
from tests.sessions.kit import Time, Village, live_timers, turns, until
from tests.test_records import Person
from tests.topic_homes import lonely_node, subscription, topics_of
from yzdht.errors import NoNode, UsageError
from yzdht.ids import TopicId
from yzdht.limits import HISTORY_LOOK_EVERY_S, HISTORY_QUEUE_WRITES_MAX, MESSAGE_BYTES_MAX, MINUTE_S
from yzdht.pubsub.events import Message
from yzdht.rpc.engine import Answer, Reply
from yzdht.topic_pump import TOPIC_METHODS, is_of_topics
from yzdht.wire.pubsub import decode_envelope
from yzdht.wire.rpc import Backlog, BacklogPage, Method, Status
from yzdht.wire.slot import StoreBroken


if TYPE_CHECKING:
    from yzdht.sessions.connection import Connection
    from yzdht.topic_pump import TopicPump
    from yzdht.topics import Topics
    from yzdht.wire.history import TopicVerdict
    from yzdht.wire.rpc import Body


TOPIC, HUGE = TopicId(bytes(16)), TopicId(bytes(15) + bytes([1]))


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def pump(clock: Time) -> TopicPump:
    return lonely_node(clock)


@pytest.fixture
def anna(pump: TopicPump) -> Topics:
    return topics_of(Person(Holders()), pump)


def test_its_methods_are_those_of_topics_and_its_calls_those_of_nobody_else() -> None:
    assert sorted(TOPIC_METHODS) == list(range(0x20, 0x25))
    assert Method.PUBLISH in TOPIC_METHODS
    assert not is_of_topics(2**40)
    assert not is_of_topics(-1)
    assert is_of_topics((1 << 60) + 1)


async def test_a_message_is_on_disk_before_its_publisher_is_told(anna: Topics) -> None:
    task = asyncio.create_task(anna.publish("news", b"x"))
    await turns(1)
    assert not task.done()
    published = await task
    assert (published.stored, published.hosts) == (1, 1)


async def test_what_is_too_old_is_dropped_before_anybody_can_ask_for_it(clock: Time) -> None:
    host = lonely_node(clock)._engine.host
    assert host is not None
    assert host._keeping.next_timer() is None  # it is under way
    await turns(3)
    due = host._keeping.next_timer()
    assert due is not None
    assert clock.now().mono < due <= clock.now().mono + HISTORY_LOOK_EVERY_S


async def test_its_timer_rings_and_is_the_only_one(clock: Time, pump: TopicPump) -> None:
    ben = topics_of(Person(Holders()), pump)
    async with subscription(ben, pump):
        await clock.advance(2 * MINUTE_S)
        await turns(3)
        assert len(live_timers()) == 1
        due = pump._engine.next_timer()
        assert due is None or due > clock.now().mono


async def test_whoever_waits_is_told_that_it_stopped_and_no_timer_is_left(clock: Time) -> None:
    pump = lonely_node(clock, is_reached=False)  # no host is found
    anna = topics_of(Person(Holders()), pump)
    task = asyncio.create_task(anna.publish("news", b"x"))
    await turns(5)
    told: list[bool] = []
    pump.on_stop(lambda: told.append(True))
    forget = pump.on_stop(lambda: told.append(False))
    forget()
    for _ in range(2):
        pump.stop()

    assert told == [True]
    with pytest.raises(NoNode, match="no host of the topic answered"):
        await task
    envelope = decode_envelope(next(iter(next(iter(anna._runs.values())).unsettled.values())).raw)
    with pytest.raises(UsageError):
        await pump.publish(envelope)
    assert live_timers() == []


async def test_an_answer_that_no_message_holds_takes_none_of_those_after_it_along(
    clock: Time, pump: TopicPump
) -> None:
    """No part of the engine makes one; if one did, others would lose what was to be done for them."""
    village = Village(clock)
    asker, node = await village.party("asker"), await village.party("node")

    def serve(connection: Connection, number: int, method: Method, body: Body) -> None:
        assert isinstance(body, Backlog)
        pump._last_request += 1
        pump._requests[pump._last_request] = connection, number, method
        size = MESSAGE_BYTES_MAX if body.topic == HUGE else 1
        pump._engine._outbox.put(
            Reply(pump._last_request, Status.OK, BacklogPage((bytes(size // 32),) * 32, more=False))
        )

    node.on_asked = serve
    for call, topic in ((1, HUGE), (2, TOPIC)):
        asker.sessions.call(call, node.contact, Method.BACKLOG, Backlog(topic, ()), 10.0)
    await until(lambda: len(node.requests) == 2)
    pump.run()
    await until(lambda: len(asker.answers) == 2)

    statuses = [outcome.status for _, outcome in sorted(asker.answers.items()) if isinstance(outcome, Answer)]
    assert statuses == [Status.BUSY, Status.OK]
    await village.close()


async def test_how_long_each_message_was_here_until_it_was_sent_is_observed(
    clock: Time, pump: TopicPump
) -> None:
    seen: list[tuple[str, float]] = []
    pump.observe = lambda name, value: seen.append((name, round(value, 6)))
    await clock.advance(1.0, steps=20)  # what it does first is done
    with clock.standing_still():
        pump.passed_on(clock.now())
        await clock.advance(0.5)
        pump.passed_on(clock.now())
        await clock.advance(0.25)
        for _ in range(2):
            pump._push()
    assert seen == [("topic_push_seconds", 0.75), ("topic_push_seconds", 0.25)]


async def test_of_many_messages_at_once_none_is_told_to_anybody_and_then_refused_by_the_store(
    pump: TopicPump,
) -> None:
    ben = topics_of(Person(Holders()), pump)
    anna = topics_of(Person(Holders()), pump)
    verdicts: list[TopicVerdict] = []
    on_verdicts = pump.on_verdicts

    def note(answers: list[tuple[int, TopicVerdict]]) -> None:
        verdicts.extend(verdict for _, verdict in answers)
        on_verdicts(answers)

    pump.on_verdicts = note  # type: ignore[method-assign] # what the store says is the same
    count = 2 * HISTORY_QUEUE_WRITES_MAX
    async with subscription(ben, pump, size=count) as messages:
        tasks = [asyncio.create_task(anna.publish("news", b"x")) for _ in range(count)]
        heard = [await anext(messages) for _ in range(count)]
        published = await asyncio.gather(*tasks)
    assert {each.stored for each in published} == {1}
    assert [message.index for message in heard if isinstance(message, Message)] == list(range(count))
    assert len(verdicts) >= count
    assert not any(isinstance(verdict, StoreBroken) for verdict in verdicts)

"""A subscription as an application has it, through a node that is alone and hosts the topic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Member
from tests.pubsub.kit_feed import at, series
from tests.sessions.kit import Time, turns, until
from tests.test_records import Person
from tests.topic_homes import lonely_node, subscription, topics_of
from yzdht.errors import NoNode, NoSuchGroup, NotAMember, StoreError, SubscriptionOverflow, UsageError
from yzdht.ids import MessageId
from yzdht.limits import CURSOR_SERIES_MAX, DAY_S, GAP_GIVE_UP_S, REPLAY_KEPT_S, SUBSCRIPTION_LOOK_S
from yzdht.pubsub.cursor import decode_cursor
from yzdht.pubsub.events import Gap, LossReason, Lost, Message, RefusalReason, Refused
from yzdht.wire.holdings import Span


if TYPE_CHECKING:
    from yzdht.ids import PublicKey
    from yzdht.pubsub.events import Event, Heard
    from yzdht.pubsub.feed import Feed
    from yzdht.subscription import Overflow, Subscription
    from yzdht.topic_pump import TopicPump
    from yzdht.topics import Topics
    from yzdht.wire.holdings import Series


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def pump(clock: Time) -> TopicPump:
    return lonely_node(clock)


@pytest.fixture
def anna(pump: TopicPump) -> Topics:
    return topics_of(Person(Holders()), pump)


@pytest.fixture
def ben(pump: TopicPump) -> Topics:
    return topics_of(Person(Holders()), pump)


async def say(topics: Topics, *texts: bytes, group: str | None = None) -> None:
    for text in texts:
        await topics.publish("news", text, group)


def text(event: Event) -> bytes:
    assert isinstance(event, Message)
    return event.data


async def hear(messages: Subscription[Heard], count: int) -> list[bytes]:
    async with asyncio.timeout(10):
        return [text(await anext(messages)) for _ in range(count)]


def waiting(messages: Subscription[Heard]) -> list[bytes]:
    return [text(event) for event in messages._events]


# Where it begins


async def test_what_is_published_from_then_on_is_told_once_and_in_order(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    await say(anna, b"before")
    async with subscription(ben, pump) as messages:
        assert messages.is_connected
        await say(anna, b"1", b"2", b"3")
        event = await anext(messages)
        assert isinstance(event, Message)
        assert (event.data, event.is_history, event.is_late, event.index) == (b"1", False, False, 1)
        assert await hear(messages, 2) == [b"2", b"3"]
        assert not messages._events
    assert not messages.is_connected


async def test_the_history_is_told_as_such_from_when_on_it_is_wanted(
    clock: Time, pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    await say(anna, b"long ago")
    await clock.advance(7_200)
    await say(anna, b"lately")
    async with subscription(ben, pump, since=3_600) as messages:
        event = await anext(messages)
        assert isinstance(event, Message)
        assert (event.data, event.is_history) == (b"lately", True)
        await say(anna, b"now")
        assert await hear(messages, 1) == [b"now"]


async def test_who_has_a_slow_clock_is_heard_from_the_beginning_on_though_that_seems_long_ago(
    clock: Time, pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    clock.set_wall_ahead(-3_600)
    await say(anna, b"before")
    clock.set_wall_ahead(3_600)
    async with subscription(ben, pump, since=300, size=2) as messages:
        clock.set_wall_ahead(-3_600)
        await say(anna, b"1", b"2", b"3", b"4")
        assert messages.is_full  # 3 and 4 are fetched when there is room
        events = [await anext(messages) for _ in range(2)]
        assert [(text(event), isinstance(event, Message) and event.is_history) for event in events] == [
            (b"1", True),
            (b"2", True),
        ]
        assert await hear(messages, 2) == [b"3", b"4"]


async def test_a_cursor_goes_on_where_the_application_was(pump: TopicPump, anna: Topics, ben: Topics) -> None:
    async with subscription(ben, pump) as messages:
        await say(anna, b"1", b"2", b"3")
        assert await hear(messages, 2) == [b"1", b"2"]
        cursor = messages.cursor
    await say(anna, b"4")
    async with subscription(ben, pump, since=cursor) as messages:
        assert await hear(messages, 2) == [b"3", b"4"]
        cursor = messages.cursor
    async with subscription(ben, pump, since=cursor) as messages:
        await say(anna, b"5")
        assert await hear(messages, 1) == [b"5"]


async def test_the_cursor_of_who_has_heard_nothing_yet_brings_no_history(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    await say(anna, b"old")
    async with subscription(ben, pump) as messages:
        cursor = messages.cursor
    await say(anna, b"new")
    async with subscription(ben, pump, since=cursor) as messages:
        assert await hear(messages, 1) == [b"new"]


async def test_a_cursor_of_another_topic_is_refused_and_nothing_is_left_behind(
    pump: TopicPump, ben: Topics
) -> None:
    async with subscription(ben, pump) as messages:
        cursor = messages.cursor
    for since in (cursor, b"nothing"):
        other = subscription(ben, pump, "other", since=since)
        with pytest.raises(UsageError, match="cursor"):
            await other.__aenter__()
    assert len(pump._engine._alarms) == 0


@pytest.mark.parametrize("wrong", [{"since": -1.0}, {"since": True}, {"overflow": "burst"}, {"size": 0}])
async def test_terms_out_of_range_are_refused(pump: TopicPump, ben: Topics, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        subscription(ben, pump, **wrong)  # type: ignore[arg-type] # that is the test


# Two of them


async def test_two_of_one_process_are_both_told_and_one_ends_without_the_other(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    async with subscription(ben, pump) as first:
        async with subscription(ben, pump) as second, subscription(anna, pump, since=60) as third:
            await say(anna, b"1")
            assert [await hear(one, 1) for one in (first, second, third)] == 3 * [[b"1"]]
        await say(anna, b"2")
        assert await hear(first, 1) == [b"2"]


# Who does not read


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_who_waits_is_told_all_though_it_has_room_for_few(
    pump: TopicPump, anna: Topics, ben: Topics, size: int
) -> None:
    async with subscription(ben, pump, size=size) as messages:
        await say(anna, *(b"%d" % number for number in range(20)))
        assert waiting(messages) == [b"%d" % number for number in range(size)]
        assert (messages.is_connected, messages.is_full) == (False, True)
        events = [await anext(messages) for _ in range(20)]
        assert [text(event) for event in events] == [b"%d" % number for number in range(20)]
        assert not any(event.is_history for event in events if isinstance(event, Message))
        await say(anna, b"20")
        assert await hear(messages, 1) == [b"20"]


async def test_who_waits_with_a_history_is_told_all_of_it(pump: TopicPump, anna: Topics, ben: Topics) -> None:
    for topics in (anna, ben):
        await say(topics, *(b"%d" % number for number in range(30)))
    async with subscription(ben, pump, since=60, size=4) as messages:
        assert sorted(await hear(messages, 60)) == sorted(2 * [b"%d" % number for number in range(30)])


async def test_what_was_too_old_to_be_told_is_too_old_for_who_goes_on_by_the_cursor(
    pump: TopicPump, ben: Topics
) -> None:
    async with subscription(ben, pump, since=60) as messages:
        for number, one in ((0, series(2)), (0, series(1)), (1, series(1)), (2, series(1))):
            created = int(messages._began) - (0 if one == series(2) or number == 2 else 3_600)
            old = Message(one, number, MessageId(bytes(20)), created, 0, b"%d" % number, 0, is_history=True)
            messages._on_event(old, at(1))
        assert await hear(messages, 2) == [b"0", b"2"]
        cursor = decode_cursor(messages.cursor, messages._channel.topic)
    window = cursor.get(series(1))
    assert window is not None
    assert all(window.is_over(number) for number in range(3))


async def test_the_cursor_of_who_does_not_ask_for_gaps_knows_what_is_awaited_however_many_strangers_spoke(
    pump: TopicPump, ben: Topics
) -> None:
    def heard(one: Series, index: int = 0) -> Message:
        return Message(one, index, MessageId(bytes(20)), 0, 0, b"", 0)

    async with subscription(ben, pump) as messages:
        messages._on_event(heard(series(1)), at(1))
        messages._on_event(Gap(series(1), Span(1, 2)), at(1))
        await anext(messages)
        for number in range(2 * CURSOR_SERIES_MAX):
            messages._on_event(heard(series(100 + number)), at(1))
            await anext(messages)
        cursor = decode_cursor(messages.cursor, messages._channel.topic)

    window = cursor.get(series(1))
    assert window is not None
    assert window.due == 1


async def test_a_sender_that_begins_anew_for_each_message_is_told_once_to_who_has_room_for_few(
    pump: TopicPump, ben: Topics
) -> None:
    anna = Person(Holders())
    for number in range(80):  # as `yz pub` from cron
        await say(topics_of(anna, pump), b"%d" % number)
    async with subscription(ben, pump, since=3_600, size=20) as messages:
        told = await hear(messages, 80)
        assert sorted(told, key=int) == [b"%d" % number for number in range(80)]
        await turns(20)
        assert not messages._events


async def test_who_drops_has_the_newest_and_a_count(pump: TopicPump, anna: Topics, ben: Topics) -> None:
    async with subscription(ben, pump, overflow="drop", size=3) as messages:
        await say(anna, *(b"%d" % number for number in range(10)))
        assert await hear(messages, 3) == [b"7", b"8", b"9"]
        assert messages.dropped == 7
        cursor = messages.cursor
    await say(anna, b"10")
    async with subscription(ben, pump, since=cursor) as messages:
        assert await hear(messages, 1) == [b"10"]


async def test_who_would_rather_end_has_what_there_was_room_for_and_goes_on_by_its_cursor(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    async with subscription(ben, pump, overflow="raise", size=2) as messages:
        await say(anna, *(b"%d" % number for number in range(5)))
        assert await hear(messages, 3) == [b"0", b"1", b"2"]
        for _ in range(2):
            with pytest.raises(SubscriptionOverflow):
                await anext(messages)
        cursor = messages.cursor
    async with subscription(ben, pump, since=cursor) as messages:
        assert await hear(messages, 2) == [b"3", b"4"]


@pytest.mark.parametrize("overflow", ["wait", "drop", "raise"])
async def test_what_the_application_is_not_told_takes_no_room(
    pump: TopicPump, ben: Topics, overflow: Overflow
) -> None:
    async with subscription(ben, pump, overflow=overflow, size=2) as messages:
        one = series(1)
        for number in range(100):
            messages._on_event(Refused(one, 2 * number, RefusalReason.UNREADABLE), at(1))
            lost = Span(2 * number + 1, 2 * number + 2)
            messages._on_event(Lost(one, lost, LossReason.NOBODY_HAS_IT), at(1))
        assert (len(messages._events), messages._failure, messages.dropped) == (0, None, 0)
        assert messages.is_connected


async def test_a_disk_that_cannot_be_read_as_it_goes_on_costs_no_message_and_is_told_after_it(
    pump: TopicPump, anna: Topics, ben: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with subscription(ben, pump, size=2) as messages:
        await say(anna, b"1", b"2", b"3")
        assert messages.is_full

        def listen(*_: object) -> Feed:
            raise StoreError("the disk is gone")

        monkeypatch.setattr(pump, "listen", listen)
        assert await hear(messages, 2) == [b"1", b"2"]
        with pytest.raises(StoreError):
            await anext(messages)
        cursor = messages.cursor
    monkeypatch.undo()
    async with subscription(ben, pump, since=cursor) as messages:
        assert await hear(messages, 1) == [b"3"]


# Its end


async def test_after_its_end_what_waits_is_handed_out_and_nothing_is_listened_to(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    async with subscription(ben, pump, size=2) as messages:
        await say(anna, b"1", b"2", b"3")
    assert [text(event) async for event in messages] == [b"1", b"2"]
    assert len(pump._engine._alarms) == 0
    with pytest.raises(UsageError, match="once"):
        await messages.__aenter__()


async def test_who_waits_for_a_message_is_told_when_the_process_stops(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    async with subscription(ben, pump) as messages:
        task = asyncio.create_task(anext(messages, None))
        await turns(2)
        pump.stop()
        async with asyncio.timeout(10):
            assert await task is None
    with pytest.raises(UsageError):
        await anna.publish("news", b"x")
    with pytest.raises(UsageError):
        await subscription(ben, pump).__aenter__()


async def test_giving_up_while_it_begins_leaves_nothing_behind(clock: Time, ben: Topics) -> None:
    pump = lonely_node(clock, is_reached=False)  # no host is found
    messages = subscription(ben, pump)
    task = asyncio.create_task(messages.__aenter__())
    await until(lambda: len(pump._engine._alarms) > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(pump._engine._alarms) == 0
    assert pump._listeners == set()


async def test_who_asks_for_messages_while_it_begins_waits_and_hears_that_it_ended(
    pump: TopicPump, ben: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def no_node(*_: object) -> object:
        await reached.wait()
        raise NoNode("no node could be reached")

    monkeypatch.setattr(ben, "channel", no_node)
    messages = subscription(ben, pump)
    beginning = asyncio.create_task(messages.__aenter__())
    await turns(1)
    asking = asyncio.create_task(messages.__anext__())
    await turns(1)
    reached.set()
    with pytest.raises(NoNode):
        await beginning
    with pytest.raises(StopAsyncIteration):
        await asking


async def test_a_subscription_has_to_be_begun(pump: TopicPump, ben: Topics) -> None:
    messages = subscription(ben, pump)
    with pytest.raises(UsageError, match="begun"):
        await anext(messages)
    with pytest.raises(UsageError, match="begun"):
        messages.cursor  # noqa: B018 - that is the test


# Groups


@pytest.fixture
def holders() -> Holders:
    return Holders()


@pytest.fixture
async def pair(holders: Holders) -> tuple[Member, Member]:
    """Anna, the admin of a group, and Ben, who is in it."""
    admin, member = Member(holders), Member(holders)
    await admin.records.groups.create("team")
    await member.records.people.publish()
    await admin.records.groups.add("team", member.key)
    await member.records.groups.adopt("team", admin.records.groups.group_key("team"))
    return admin, member


async def test_messages_of_a_new_epoch_are_told_to_all_who_listen_after_the_one_look_that_may_be_made(
    pair: tuple[Member, Member], pump: TopicPump
) -> None:
    admin, member = pair
    speaker, listener = topics_of(admin, pump), topics_of(member, pump)
    async with (
        subscription(listener, pump, group="team") as first,
        subscription(listener, pump, group="team") as second,
    ):
        await say(speaker, b"1", group="team")
        await admin.records.groups.rotate("team")
        await say(speaker, b"2", b"3", group="team")
        assert [await hear(one, 3) for one in (first, second)] == 2 * [[b"1", b"2", b"3"]]


async def test_who_was_away_over_three_epochs_is_told_what_was_said_in_each(
    pair: tuple[Member, Member], pump: TopicPump
) -> None:
    admin, member = pair
    speaker, listener = topics_of(admin, pump), topics_of(member, pump)
    async with subscription(listener, pump, group="team") as messages:
        await say(speaker, b"0", group="team")
        assert await hear(messages, 1) == [b"0"]
        cursor = messages.cursor
    for data in (b"1", b"2", b"3"):
        await admin.records.groups.rotate("team")
        await say(speaker, data, group="team")
    async with subscription(listener, pump, group="team", since=cursor) as messages:
        assert await hear(messages, 3) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("history", [True, False])
async def test_who_is_added_with_history_and_nobody_else_is_told_what_was_said_before(
    holders: Holders,
    pump: TopicPump,
    history: bool,  # noqa: FBT001 - parametrized
) -> None:
    admin, joiner = Member(holders), Member(holders)
    await admin.records.groups.create("team", history=history)
    speaker = topics_of(admin, pump)
    await say(speaker, b"1", group="team")
    await admin.records.groups.rotate("team")
    await say(speaker, b"2", group="team")
    await joiner.records.people.publish()
    await admin.records.groups.add("team", joiner.key)
    await say(speaker, b"3", group="team")

    await joiner.records.groups.adopt("team", key_of(admin))

    known = joiner.records.known_groups.message_epochs("team")
    assert [epoch.epoch for epoch in known] == ([3, 2, 1] if history else [3])
    if history:
        async with subscription(topics_of(joiner, pump), pump, group="team", since=DAY_S) as messages:
            assert await hear(messages, 3) == [b"1", b"2", b"3"]


def key_of(member: Member) -> PublicKey:
    return member.records.groups.group_key("team")


async def test_whoever_is_added_meanwhile_is_heard(
    holders: Holders, pair: tuple[Member, Member], pump: TopicPump
) -> None:
    admin, member = pair
    third = Member(holders)
    await third.records.people.publish()
    async with subscription(topics_of(member, pump), pump, group="team") as messages:
        await admin.records.groups.add("team", third.key)
        await third.records.groups.adopt("team", key_of(admin))
        await say(topics_of(third, pump), b"hello", group="team")
        assert await hear(messages, 1) == [b"hello"]


async def test_whoever_is_removed_is_heard_no_more_and_told_so_itself(
    pair: tuple[Member, Member], pump: TopicPump
) -> None:
    admin, member = pair
    speaker, removed = topics_of(admin, pump), topics_of(member, pump)
    async with (
        subscription(speaker, pump, group="team") as at_admin,
        subscription(removed, pump, group="team") as at_member,
    ):
        await say(removed, b"1", group="team")
        assert [await hear(one, 1) for one in (at_admin, at_member)] == 2 * [[b"1"]]
        await admin.records.groups.remove("team", member.key)
        await speaker.renew(await speaker.channel("news", "team"), is_wanted=True)
        await say(removed, b"2", group="team")  # it has not heard of it yet
        await say(speaker, b"3", group="team")
        assert await hear(at_admin, 1) == [b"3"]
        assert await hear(at_member, 1) == [b"2"]
        with pytest.raises(NotAMember):
            async with asyncio.timeout(10):
                await anext(at_member)
    with pytest.raises(NotAMember):
        await subscription(removed, pump, group="team").__aenter__()


async def test_a_group_that_is_forgotten_ends_its_subscriptions(
    clock: Time, pair: tuple[Member, Member], pump: TopicPump
) -> None:
    member = pair[1]
    async with subscription(topics_of(member, pump), pump, group="team") as messages:
        member.records.known_groups.forget("team")
        task = asyncio.create_task(messages.__anext__())
        await turns(3)
        await clock.advance(SUBSCRIPTION_LOOK_S)
        with pytest.raises(NoSuchGroup):
            async with asyncio.timeout(10):
                await task


async def test_gaps_are_told_where_they_are_wanted(pump: TopicPump, anna: Topics, ben: Topics) -> None:
    async with subscription(ben, pump, gaps=True) as messages, subscription(ben, pump) as other:
        await say(anna, b"1")
        assert await hear(messages, 1) == await hear(other, 1) == [b"1"]
        (run,) = anna._runs.values()
        run.next += 2  # two that were sealed and never brought
        await say(anna, b"4")
        event = await anext(messages)
        assert isinstance(event, Gap)
        assert event.span == (1, 3)
        assert not other._events


async def test_what_came_and_is_not_told_is_counted_and_told_where_gaps_are(
    clock: Time, pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    clock._wall_offset_s -= REPLAY_KEPT_S + 60
    await say(anna, b"by a slow clock")
    clock._wall_offset_s += REPLAY_KEPT_S + 60
    async with (
        subscription(ben, pump, gaps=True, since=7 * DAY_S) as messages,
        subscription(ben, pump, since=7 * DAY_S) as other,
    ):
        async with asyncio.timeout(10):
            event = await anext(messages)
        assert isinstance(event, Refused)
        assert (event.sender, event.index) == (anna._identity.public_key, 0)
        assert event.reason is RefusalReason.TOO_OLD
        assert not other._events
    assert pump._counters.get("topic_refused", "too_old") == 2


def gaps_counted(pump: TopicPump) -> dict[str, int]:
    return pump._counters.labels("topic_gaps")


async def test_a_gap_is_counted_once_though_it_is_found_again_after_a_rest(
    pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    carl = topics_of(Person(Holders()), pump)
    async with subscription(ben, pump, size=1) as messages:
        await say(anna, b"1")
        assert await hear(messages, 1) == [b"1"]
        (run,) = anna._runs.values()
        run.next += 2
        await say(anna, b"4")
        assert gaps_counted(pump) == {"found": 1}
        for _ in range(3):
            await say(carl, b"it rests")
            assert await hear(messages, 1) == [b"it rests"]
            await until(lambda: messages._subscriber.waiting > 0)
        assert gaps_counted(pump) == {"found": 1}
        run.next = 1
        await say(anna, b"2")
        assert await hear(messages, 1) == [b"2"]
        await say(anna, b"3")
        assert await hear(messages, 2) == [b"3", b"4"]
        assert gaps_counted(pump) == {"filled": 1, "found": 1}


async def test_a_gap_that_nobody_fills_is_counted_as_lost_and_so_are_its_messages_by_reason(
    clock: Time, pump: TopicPump, anna: Topics, ben: Topics
) -> None:
    async with subscription(ben, pump, gaps=True) as messages:
        await say(anna, b"1")
        (run,) = anna._runs.values()
        run.next += 2
        await say(anna, b"4")
        for _ in range(10):
            await clock.advance(GAP_GIVE_UP_S / 5)
            await turns(3)
        assert [type(event) for event in messages._events] == [Message, Gap, Lost, Message]
    assert gaps_counted(pump) == {"found": 1, "lost": 1}
    assert pump._counters.labels("topic_lost") == {"nobody_has_it": 2}

"""What one identity publishes: places that are never used twice, what becomes of what nobody took, who may read and write."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Member
from tests.sessions.kit import Time, turns
from tests.test_records import NET, Person
from tests.topic_homes import Hosts
from yzdht.access import Reading
from yzdht.errors import (
    NoNode,
    NoSuchGroup,
    NotAMember,
    PublishFailed,
    TooManyMessages,
    UsageError,
)
from yzdht.limits import (
    GROUP_LOOK_AGAIN_S,
    GROUP_LOOK_S,
    PUBSUB_DATA_BYTES_MAX,
    TOPICS_PUBLISHED_MAX,
    UNSETTLED_PER_TOPIC_MAX,
    WANTS_EPOCHS_EVERY_S,
)
from yzdht.pubsub.events import UnknownEpoch
from yzdht.pubsub.publisher import PublishResult
from yzdht.store.entropy import SystemRng
from yzdht.topics import Topics
from yzdht.wire.pubsub import INDEX_MAX, Mode, PubsubMessage
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.ids import Target


FAILED = PublishResult(1, 3)


@pytest.fixture
async def hosts() -> Hosts:
    return Hosts(Time())


@pytest.fixture
def topics(hosts: Hosts) -> Topics:
    return topics_of(Person(Holders()), hosts)


def topics_of(person: Person, hosts: Hosts) -> Topics:
    return Topics(person.identity, NET, person.records.known_groups, hosts, SystemRng())


def places(hosts: Hosts) -> list[tuple[bytes, int]]:
    return [(envelope.session, envelope.index) for envelope in hosts.sent]


async def test_messages_of_a_topic_are_counted_and_topics_cannot_be_linked(
    hosts: Hosts, topics: Topics
) -> None:
    for topic in ("one", "two", "one"):
        await topics.publish(topic, b"x")

    (first, a), (second, b), (third, c) = places(hosts)
    assert (a, b, c) == (0, 0, 1)
    assert first == third != second


async def test_a_result_says_where_the_message_is(hosts: Hosts, topics: Topics) -> None:
    published = await topics.publish("news", b"hello", type_=7)
    (sent,) = hosts.sent
    assert (published.id, published.session, published.index) == (sent.id, sent.session, 0)
    assert (published.stored, published.hosts) == (2, 3)
    channel = await topics.channel("news")
    assert channel.open(sent) == PubsubMessage(published.created, 7, b"hello")


async def test_messages_published_at_once_take_places_of_their_own(hosts: Hosts, topics: Topics) -> None:
    hosts.holding = asyncio.Event()
    tasks = [asyncio.create_task(topics.publish("news", b"%d" % number)) for number in range(200)]
    await turns(3)
    hosts.holding.set()
    await asyncio.gather(*tasks)
    assert sorted(index for _, index in places(hosts)) == list(range(200))
    assert len({session for session, _ in places(hosts)}) == 1


async def test_what_is_refused_before_it_is_sealed_takes_no_place(hosts: Hosts, topics: Topics) -> None:
    with pytest.raises(UsageError):
        await topics.publish("news", bytes(PUBSUB_DATA_BYTES_MAX + 1))
    with pytest.raises(UsageError):
        await topics.publish("", b"x")
    hosts.has_room = False
    with pytest.raises(TooManyMessages):
        await topics.publish("news", b"x")
    hosts.has_room = True
    assert (await topics.publish("news", b"x")).index == 0


async def test_what_no_majority_took_goes_with_the_next_message(hosts: Hosts, topics: Topics) -> None:
    hosts.says.append(FAILED)
    with pytest.raises(PublishFailed) as failed:
        await topics.publish("news", b"lost")
    assert (failed.value.answered, failed.value.asked, failed.value.needed) == (1, 3, 2)
    await topics.publish("news", b"next")
    await hosts.settled()

    assert [index for _, index in places(hosts)] == [0, 1, 0]
    assert hosts.sent[0].raw == hosts.sent[2].raw
    await topics.publish("news", b"third")
    await hosts.settled()
    assert len(hosts.sent) == 4  # it was taken


async def test_what_the_caller_gave_up_waiting_for_goes_with_the_next_message(
    hosts: Hosts, topics: Topics
) -> None:
    hosts.holding = asyncio.Event()
    task = asyncio.create_task(topics.publish("news", b"x"))
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hosts.holding = None
    assert (await topics.publish("news", b"y")).index == 1
    await hosts.settled()
    assert [index for _, index in places(hosts)] == [0, 1, 0]


async def test_no_gap_is_left_by_what_is_given_up(hosts: Hosts, topics: Topics) -> None:
    hosts.says.extend([FAILED] * 10_000)
    for number in range(UNSETTLED_PER_TOPIC_MAX):
        with pytest.raises(PublishFailed):
            await topics.publish("news", b"%d" % number)
        hosts.begun, cancelled = set(), hosts.begun
        await asyncio.gather(*cancelled)
    before = {session for session, _ in places(hosts)}
    for _ in range(2):
        with pytest.raises(PublishFailed):
            await topics.publish("news", b"one too many")
        await hosts.settled()
    hosts.says.clear()
    published = await topics.publish("news", b"another run")

    assert len(before) == 1
    assert published.session not in before


async def test_after_a_message_that_no_host_would_ever_take_another_run_begins(
    hosts: Hosts, topics: Topics
) -> None:
    bad = PublishResult(0, 3, Status.EQUIVOCATION)
    hosts.says.append(bad)
    with pytest.raises(PublishFailed, match="equivocation"):
        await topics.publish("news", b"x")
    hosts.says.extend([PublishResult(2, 3), bad])
    first = await topics.publish("news", b"y")
    await hosts.settled()
    second = await topics.publish("news", b"z")
    assert second.session != first.session
    assert second.index == 0


async def test_no_host_at_all_is_no_node(hosts: Hosts, topics: Topics) -> None:
    hosts.says.append(PublishResult(0, 0))
    with pytest.raises(NoNode):
        await topics.publish("news", b"x")


async def test_a_run_ends_before_its_numbers_do(topics: Topics) -> None:
    first = await topics.publish("news", b"x")
    (run,) = topics._runs.values()
    run.next = INDEX_MAX - 1
    last = await topics.publish("news", b"x")
    after = await topics.publish("news", b"x")
    assert (last.session, last.index) == (first.session, INDEX_MAX - 1)
    assert after.session != first.session
    assert after.index == 0


async def test_a_topic_that_was_forgotten_begins_another_run(topics: Topics) -> None:
    first = await topics.publish("0", b"x")
    for number in range(1, TOPICS_PUBLISHED_MAX + 1):
        topics._run((await topics.channel(str(number))).topic)
    again = await topics.publish("0", b"x")
    assert again.session != first.session
    assert len(topics._runs) == TOPICS_PUBLISHED_MAX


async def test_of_too_many_topics_one_with_nothing_to_send_along_is_forgotten_first(
    hosts: Hosts, topics: Topics
) -> None:
    hosts.says.append(FAILED)
    with pytest.raises(PublishFailed):
        await topics.publish("0", b"not taken")
    for number in range(1, TOPICS_PUBLISHED_MAX + 1):
        topics._run((await topics.channel(str(number))).topic)
    first, second = [(await topics.channel(number)).topic for number in ("0", "1")]
    assert first in topics._runs
    assert second not in topics._runs
    assert len(topics._runs) == TOPICS_PUBLISHED_MAX
    (run,) = [run for run in topics._runs.values() if run.unsettled]
    for other in topics._runs.values():
        other.unsettled = run.unsettled
    topics._run((await topics.channel("one more")).topic)
    assert first not in topics._runs, "all have something to send along: the oldest goes"


# Groups


@pytest.fixture
def holders() -> Holders:
    return Holders()


@pytest.fixture
async def pair(holders: Holders) -> tuple[Member, Member]:
    """Anna, the admin of a group, and Ben, who is in it."""
    anna, ben = Member(holders), Member(holders)
    await anna.records.groups.create("team")
    await ben.records.people.publish()
    await anna.records.groups.add("team", ben.key)
    await ben.records.groups.adopt("team", anna.records.groups.group_key("team"))
    return anna, ben


async def test_a_group_reads_what_its_members_publish_and_nobody_else_does(
    hosts: Hosts, pair: tuple[Member, Member]
) -> None:
    anna, ben = (topics_of(member, hosts) for member in pair)
    await anna.publish("plans", b"tonight", "team")
    (sent,) = hosts.sent
    channel = await ben.channel("plans", "team")
    assert sent.mode is Mode.GROUP
    assert b"tonight" not in sent.raw
    assert channel.topic == sent.topic != (await ben.channel("plans")).topic
    opened = channel.open(sent)
    assert isinstance(opened, PubsubMessage)
    assert opened.data == b"tonight"
    assert channel.is_member(pair[0].key)
    assert not channel.is_member(Person(Holders()).identity.public_key)
    with pytest.raises(NoSuchGroup):
        await anna.channel("plans", "other")


async def test_after_a_rotation_both_epochs_are_read_by_all_who_follow_once_one_has_looked(
    hosts: Hosts, holders: Holders, pair: tuple[Member, Member]
) -> None:
    anna, ben = (topics_of(member, hosts) for member in pair)
    followed = await ben.channel("plans", "team")
    told: list[bool] = []
    ben.follow(followed, lambda: told.append(True))
    await anna.publish("plans", b"before", "team")
    await pair[0].records.groups.rotate("team")
    await anna.publish("plans", b"after", "team")
    before, after = hosts.sent
    assert isinstance(followed.open(after), UnknownEpoch)

    holders.wall += GROUP_LOOK_AGAIN_S
    await ben.renew(await ben.channel("other", "team"), is_wanted=True)
    assert told == [True]
    assert [getattr(followed.open(e), "data", None) for e in (before, after)] == [b"before", b"after"]

    ben.leave(followed)
    await pair[0].records.groups.rotate("team")
    holders.wall += GROUP_LOOK_AGAIN_S
    await ben.renew(followed, is_wanted=True)
    assert told == [True]


class SlowHolders(Holders):
    """Replicas of which a read waits for an event, if one is there for it."""

    def __init__(self) -> None:
        super().__init__()
        self.holding: deque[asyncio.Event] = deque()

    async def read(self, targets: Sequence[Target], paths: int = 1) -> list[list[Reading]]:
        if self.holding:
            await self.holding.popleft().wait()
        return await super().read(targets, paths)


async def test_messages_published_at_once_to_a_group_have_their_places_in_the_order_of_the_calls(
    hosts: Hosts,
) -> None:
    holders = SlowHolders()
    anna = Member(holders)
    await anna.records.groups.create("team")
    topics = topics_of(anna, hosts)
    holders.wall += GROUP_LOOK_S
    slow = asyncio.Event()
    holders.holding.append(slow)
    first = asyncio.create_task(topics.publish("plans", b"0", "team"))
    await turns(3)
    others = [asyncio.create_task(topics.publish("plans", b"%d" % n, "team")) for n in range(1, 20)]
    elsewhere = await topics.publish("other", b"x", "team")
    await turns(20)
    assert (elsewhere.index, len(hosts.sent)) == (0, 1)
    slow.set()
    done = await asyncio.gather(first, *others)

    assert [published.index for published in done] == list(range(20))


async def test_who_looks_in_vain_holds_up_no_others_for_longer_than_they_wait(hosts: Hosts) -> None:
    holders = SlowHolders()
    anna = Member(holders)
    await anna.records.groups.create("team")
    topics = topics_of(anna, hosts)
    holders.wall += GROUP_LOOK_S
    holders.holding.append(asyncio.Event())
    first = asyncio.create_task(topics.publish("plans", b"0", "team"))
    await turns(3)
    with pytest.raises(NoNode):
        await topics.publish("plans", b"1", "team", timeout_s=0.01)
    first.cancel()
    await asyncio.wait((first,))
    assert (await topics.publish("plans", b"2", "team")).index == 0


async def test_a_group_that_no_node_can_show_yet_is_looked_for_again_for_as_long_as_is_wanted(
    hosts: Hosts, holders: Holders, pair: tuple[Member, Member]
) -> None:
    topics = topics_of(pair[0], hosts)
    holders.wall += GROUP_LOOK_S
    holders.is_reachable = False
    with pytest.raises(NoNode):
        await topics.publish("plans", b"x", "team", timeout_s=7.0)
    assert (hosts.paused_s, hosts.sent) == (6.0, [])
    waiting = asyncio.create_task(topics.publish("plans", b"x", "team", timeout_s=3_600.0))
    await turns(5)
    holders.is_reachable = True
    assert (await waiting).index == 0
    assert 3_500 < hosts.patience_s < 3_600


async def test_a_newer_state_is_looked_for_ever_more_seldom_until_one_is_found(
    hosts: Hosts, holders: Holders, pair: tuple[Member, Member]
) -> None:
    """Who makes up kids has a group looked at once a minute; two epochs that follow each other soon are both seen."""
    ben = topics_of(pair[1], hosts)
    channel = await ben.channel("plans", "team")
    known = pair[1].records.known_groups
    state = known.state_slot(known.kept("team").group_key).target

    async def looks(seconds: int) -> list[int]:
        """When it is looked for, if a message asks for it every second."""
        found = []
        for second in range(seconds):
            before = holders.reads.count(state)
            await ben.renew(channel, is_wanted=True)
            if holders.reads.count(state) > before:
                found.append(second)
            holders.wall += 1
        return found

    holders.wall += GROUP_LOOK_AGAIN_S
    seldom = [0, 10, 30, 70, 130, 190]  # WANTS_EPOCHS_EVERY_S doubled, up to GROUP_LOOK_AGAIN_S
    assert await looks(200) == seldom

    await pair[0].records.groups.rotate("team")
    holders.wall += GROUP_LOOK_AGAIN_S
    assert await looks(40) == [0, WANTS_EPOCHS_EVERY_S, WANTS_EPOCHS_EVERY_S + 10, WANTS_EPOCHS_EVERY_S + 30]
    assert known.kept("team").state.epoch == 3


@pytest.mark.parametrize("is_reachable", [True, False])
async def test_a_look_that_too_few_nodes_answer_or_none_is_not_one_in_vain(
    hosts: Hosts,
    holders: Holders,
    pair: tuple[Member, Member],
    is_reachable: bool,  # noqa: FBT001 - parametrized
) -> None:
    ben = topics_of(pair[1], hosts)
    channel = await ben.channel("plans", "team")
    known = pair[1].records.known_groups
    holders.wall += GROUP_LOOK_AGAIN_S
    holders.is_reachable = is_reachable
    holders.shown[known.state_slot(known.kept("team").group_key).target] = [Reading((), 1, 4)]
    for _ in range(5):
        await ben.renew(channel, is_wanted=True)
        holders.wall += WANTS_EPOCHS_EVERY_S
    holders.is_reachable = True
    holders.shown.clear()
    await pair[0].records.groups.rotate("team")
    await ben.renew(channel, is_wanted=True)

    assert known.kept("team").state.epoch == 3


async def test_whoever_was_removed_publishes_no_more(
    hosts: Hosts, holders: Holders, pair: tuple[Member, Member]
) -> None:
    topics = topics_of(pair[1], hosts)
    await topics.publish("plans", b"x", "team")
    await pair[0].records.groups.remove("team", pair[1].key)
    holders.wall += GROUP_LOOK_S
    with pytest.raises(NotAMember):
        await topics.publish("plans", b"y", "team")
    assert len(hosts.sent) == 1


async def test_what_no_node_can_show_goes_on_working(
    hosts: Hosts, holders: Holders, pair: tuple[Member, Member]
) -> None:
    topics = topics_of(pair[1], hosts)
    channel = await topics.channel("plans", "team")
    holders.is_reachable = False
    holders.wall += GROUP_LOOK_S
    await topics.renew(channel, is_wanted=True)
    assert channel.is_member(pair[0].key)
    pair[1].records.known_groups.forget("team")
    with pytest.raises(NoSuchGroup):
        await topics.renew(channel, is_wanted=True)

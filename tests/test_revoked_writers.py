"""Revoked members and owners: what they sign is told no more, though they are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.group_homes import Holders, Member
from tests.sessions.kit import Time, turns, until
from tests.test_records import NET, Person
from tests.topic_homes import lonely_node, subscription, topics_of
from yzdht.ids import PublicKey
from yzdht.limits import MOVE_LOOKED_UP_S, WRITER_LOOK_S, WRITERS_LOOKED_UP_MAX
from yzdht.pubsub.events import Message
from yzdht.revoked_writers import RevokedWriters
from yzdht.store.entropy import SystemRng
from yzdht.topics import Topics


if TYPE_CHECKING:
    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Subscription
    from yzdht.topic_pump import TopicPump


@pytest.fixture
def holders() -> Holders:
    return Holders()


@pytest.fixture
async def clock() -> Time:
    return Time()


@pytest.fixture
async def pump(clock: Time) -> TopicPump:
    return lonely_node(clock)


async def pair(holders: Holders) -> tuple[Member, Member]:
    """A group of two, that both know."""
    admin, member = Member(holders), Member(holders)
    await admin.records.groups.create("team")
    await member.records.people.publish()
    await admin.records.groups.add("team", member.key)
    await member.records.groups.adopt("team", admin.records.groups.group_key("team"))
    return admin, member


def told(messages: Subscription[Heard]) -> list[bytes]:
    return [event.data for event in messages._events if isinstance(event, Message)]


def key_of(person: Person) -> PublicKey:
    return person.identity.public_key


async def test_messages_of_a_revoked_member_are_told_no_more(
    holders: Holders, pump: TopicPump, clock: Time
) -> None:
    admin, member = await pair(holders)
    listener, speaker = topics_of(admin, pump), topics_of(member, pump)
    async with subscription(listener, pump, group="team") as messages:
        await speaker.publish("news", b"before", "team")
        await until(lambda: told(messages) == [b"before"])
        await member.records.moves.revoke()
        holders.wall += MOVE_LOOKED_UP_S
        await clock.advance(WRITER_LOOK_S)
        await until(lambda: listener.is_revoked(key_of(member)))
        await speaker.publish("news", b"stolen", "team")
        await listener.publish("news", b"after", "team")
        await until(lambda: b"after" in told(messages))

        assert told(messages) == [b"before", b"after"]
    again = topics_of(admin, pump)  # it is kept
    assert again.is_revoked(key_of(member))


async def test_oneself_is_told_though_revoked_and_in_topics_of_everybody_nobody_is_looked_up(
    holders: Holders, pump: TopicPump
) -> None:
    anna, ben = Person(holders), Person(holders)
    await anna.records.moves.revoke()
    own, other = topics_of(anna, pump), topics_of(ben, pump)
    async with subscription(other, pump) as messages:
        await own.publish("news", b"hello")
        await until(lambda: told(messages) == [b"hello"])

    assert not own.is_revoked(key_of(anna))
    assert isinstance(other._revoked, RevokedWriters)
    assert not other._revoked._looked


async def test_list_of_a_revoked_owner_counts_no_more(holders: Holders, pump: TopicPump) -> None:
    anna, ben, carol = Person(holders), Person(holders), Person(holders)

    def owned(person: Person) -> Topics:
        records = person.records
        policies = records.topic_policies(lambda _topic, _raw: None)
        topics = Topics(person.identity, NET, records.known_groups, pump, SystemRng(), policies)
        topics.heed(records.moves)
        return topics

    await owned(anna).set_policy("news", [key_of(ben)])
    before = await owned(carol).channel("news", owner=key_of(anna))
    await anna.records.moves.revoke()
    holders.wall += MOVE_LOOKED_UP_S
    reader = owned(carol)
    reader.is_revoked(key_of(anna))
    await until(lambda: reader.is_revoked(key_of(anna)))
    after = await reader.channel("news", owner=key_of(anna))

    assert before.members == {key_of(anna), key_of(ben)}
    assert after.members == frozenset()


async def test_without_nodes_what_is_known_counts_and_little_is_remembered(
    holders: Holders, pump: TopicPump
) -> None:
    anna = Person(holders)
    holders.is_reachable = False
    revoked = RevokedWriters(key_of(Person(holders)), anna.records.moves, pump)
    for number in range(2 * WRITERS_LOOKED_UP_MAX):
        assert not revoked.has(PublicKey(b"\2" + number.to_bytes(32)))
    await turns(3)

    assert len(revoked._looked) == WRITERS_LOOKED_UP_MAX
    assert len(revoked._wanted) <= WRITERS_LOOKED_UP_MAX

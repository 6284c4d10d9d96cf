"""Who writes to a topic with an owner: found in records that nodes show, set by its owner, and held to by subscribers."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.test_records import NET, WALL, Person, Replicas, refused
from yzdht import Client, Node
from yzdht.access import Reading
from yzdht.crypto.naming import mutable_target
from yzdht.crypto.sealing import Public, RecordDraft, seal_record, tombstone
from yzdht.crypto.topic_policy import owned_topic, policy_tag, topic_tag
from yzdht.crypto.topics import MessagePlace, public_message, sign_envelope
from yzdht.errors import NotAWriter, PublishFailed, UsageError, WriteQuorumFailed
from yzdht.ids import SendSession
from yzdht.limits import DAY_S, POLICIES_KNOWN_MAX, POLICY_LOOK_S, RECORD_LIFE_S_MAX, TOPIC_WRITERS_MAX
from yzdht.pubsub.events import Gap, Lost, RefusalReason, Refused
from yzdht.topic_policies import Owned, TopicPolicies
from yzdht.wire.holdings import Span
from yzdht.wire.pubsub import PubsubMessage, decode_envelope
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Kind
from yzdht.wire.topic_policy import PolicyPayload, encode_topic_policy


if TYPE_CHECKING:
    from yzdht.ids import PublicKey, Target, TopicId
    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Subscription


TAG = topic_tag(NET, "news")


class Home:
    """One identity, and what of policies it shows to hosts."""

    def __init__(self, replicas: Replicas) -> None:
        self.person = Person(replicas)
        self.shown: list[tuple[TopicId, bytes]] = []
        self.policies: TopicPolicies = self.person.records.topic_policies(self._show)

    def _show(self, topic: TopicId, raw: bytes) -> None:
        self.shown.append((topic, raw))

    @property
    def key(self) -> PublicKey:
        return self.person.identity.public_key

    @property
    def owned(self) -> Owned:
        return Owned(self.key, TAG)

    @property
    def target(self) -> Target:
        return mutable_target(NET, self.key, policy_tag(NET, TAG))

    def draft(self, seq: int, *, is_tombstone: bool = False) -> RecordDraft:
        tag = policy_tag(NET, TAG)
        return RecordDraft(Kind.MUTABLE, int(WALL), int(WALL) + DAY_S, seq, tag, is_tombstone)

    def signed(self, seq: int, *writers: PublicKey) -> bytes:
        payload = encode_topic_policy(PolicyPayload(TAG, tuple(sorted(writers))))
        return seal_record(self.draft(seq), payload, Public(), self.person.author, b"")


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


@pytest.fixture
def owner(replicas: Replicas) -> Home:
    return Home(replicas)


@pytest.fixture
def reader(replicas: Replicas) -> Home:
    return Home(replicas)


# Reading


async def test_where_there_is_no_policy_the_owner_alone_writes(reader: Home, owner: Home) -> None:
    assert await reader.policies.current(owner.owned) is None
    assert reader.shown == []


async def test_what_the_owner_sets_others_find_and_show_to_hosts(owner: Home, reader: Home) -> None:
    receipt = await owner.policies.set(owner.owned, [reader.key, reader.key, owner.key])
    policy = await reader.policies.current(owner.owned)

    assert policy is not None
    assert policy.writers == {reader.key}
    assert receipt.expires == int(WALL) + RECORD_LIFE_S_MAX
    assert reader.shown == owner.shown == [(policy.topic, policy.raw)]


async def test_it_is_read_again_after_a_while_and_when_that_is_wanted(
    owner: Home, reader: Home, replicas: Replicas
) -> None:
    await reader.policies.current(owner.owned)
    await owner.policies.set(owner.owned, [reader.key])
    early = await reader.policies.current(owner.owned)
    wanted = await reader.policies.current(owner.owned, is_wanted=True)
    await owner.policies.set(owner.owned, [])
    replicas.wall += POLICY_LOOK_S
    later = await reader.policies.current(owner.owned)
    await owner.policies.set(owner.owned, [reader.key])
    reader.policies.doubt(owner.owned)
    doubted = await reader.policies.current(owner.owned)

    assert early is None
    assert wanted is not None
    assert wanted.may_write(reader.key)
    assert later is not None
    assert not later.may_write(reader.key)
    assert doubted is not None
    assert doubted.may_write(reader.key)


async def test_an_old_policy_that_nodes_show_again_is_not_believed(
    owner: Home, reader: Home, replicas: Replicas
) -> None:
    removed = Home(replicas).key
    old, new = owner.signed(1, removed), owner.signed(2)
    replicas.held[owner.target] = new
    await reader.policies.current(owner.owned)
    replicas.shown[owner.target] = [Reading((old,), 4, 4)]
    policy = await reader.policies.current(owner.owned, is_wanted=True)
    another_run = reader.person.records.topic_policies(lambda _topic, _raw: None)

    assert policy is not None
    assert policy.raw == new
    assert await another_run.current(owner.owned) is None  # this home knows that it is old


async def test_what_nodes_forge_and_what_cannot_be_read_changes_nothing(
    owner: Home, reader: Home, replicas: Replicas
) -> None:
    stranger = Home(replicas)
    replicas.held[owner.target] = raw = owner.signed(1, reader.key)
    await reader.policies.current(owner.owned)
    for forged in (stranger.signed(9, stranger.key), raw[:-1] + bytes((raw[-1] ^ 1,)), b"x"):
        replicas.shown[owner.target] = [Reading((forged,), 4, 4)]
        policy = await reader.policies.current(owner.owned, is_wanted=True)
        assert policy is not None
        assert policy.raw == raw
    replicas.is_reachable = False
    policy = await reader.policies.current(owner.owned, is_wanted=True)
    assert policy is not None
    assert policy.raw == raw


async def test_a_policy_that_was_deleted_or_is_none_lists_nobody(
    owner: Home, reader: Home, replicas: Replicas
) -> None:
    replicas.held[owner.target] = owner.signed(1, reader.key)
    await reader.policies.current(owner.owned)
    replicas.held[owner.target] = seal_record(owner.draft(2), b"none", Public(), owner.person.author, b"")
    senseless = await reader.policies.current(owner.owned, is_wanted=True)
    replicas.held[owner.target] = owner.signed(3, reader.key)
    sensible = await reader.policies.current(owner.owned, is_wanted=True)
    replicas.held[owner.target] = tombstone(owner.draft(4, is_tombstone=True), owner.person.author)
    deleted = await reader.policies.current(owner.owned, is_wanted=True)

    assert senseless is None
    assert sensible is not None
    assert deleted is None


async def test_so_many_topics_are_remembered_and_no_more(
    reader: Home, owner: Home, replicas: Replicas
) -> None:
    for number in range(POLICIES_KNOWN_MAX + 1):
        await reader.policies.current(Owned(owner.key, topic_tag(NET, f"topic {number}")))
    reads = len(replicas.reads)
    await reader.policies.current(Owned(owner.key, topic_tag(NET, f"topic {POLICIES_KNOWN_MAX}")))
    kept = len(replicas.reads)
    await reader.policies.current(Owned(owner.key, topic_tag(NET, "topic 0")))

    assert (kept, len(replicas.reads)) == (reads, reads + 1)


# Setting


async def test_too_many_writers_are_refused_before_anything_is_written(
    owner: Home, replicas: Replicas
) -> None:
    many = [Person(replicas).identity.public_key for _ in range(TOPIC_WRITERS_MAX + 1)]
    with pytest.raises(UsageError):
        await owner.policies.set(owner.owned, many)

    assert replicas.writes == []


async def test_the_owner_renews_it_once_half_of_its_time_has_passed(owner: Home, replicas: Replicas) -> None:
    writer = Home(replicas).key
    await owner.policies.set(owner.owned, [writer])
    first = await owner.policies.current(owner.owned)
    assert first is not None
    early = owner.policies.is_renewal_due(first)
    replicas.wall += RECORD_LIFE_S_MAX / 2 + 1
    due = owner.policies.is_renewal_due(first)
    replicas.verdicts.append(refused(Status.BUSY))
    await owner.policies.renew(owner.owned)
    still_due = owner.policies.is_renewal_due(first)
    await owner.policies.renew(owner.owned)
    renewed = await owner.policies.current(owner.owned)

    assert (early, due, still_due) == (False, True, True)
    assert renewed is not None
    assert renewed.writers == {writer}
    assert not owner.policies.is_renewal_due(renewed)


async def test_a_policy_that_no_quorum_took_is_not_gone_by(owner: Home, replicas: Replicas) -> None:
    replicas.verdicts.append(refused(Status.BUSY))
    with pytest.raises(WriteQuorumFailed):
        await owner.policies.set(owner.owned, [])

    assert owner.shown == []


# On real nodes


def node(*bootstrap: Node) -> Node:
    urls = [f"tcp://127.0.0.1:{one.port}" for one in bootstrap]
    return Node(port=0, host="127.0.0.1", allow_private=True, bootstrap=urls)


def key_of(dht: Node | Client) -> PublicKey:
    return dht.records.identity.public_key


async def took(messages: Subscription[Heard], count: int) -> list[bytes]:
    async with asyncio.timeout(20):
        return [(await anext(messages)).data for _ in range(count)]  # type: ignore[union-attr] # gaps are not told


async def both_host(one: Node, other: Node) -> None:
    """Until each of two nodes takes both for the hosts of every topic."""
    async with asyncio.timeout(20):
        for dht in (one, other):
            for number in count():
                if (await dht.publish(f"a topic that nobody knows {number}", b"")).hosts == 2:
                    break


async def test_listed_writers_are_heard_and_others_refused_before_and_after() -> None:
    async with (
        node() as anna,
        node(anna) as bert,
        Client.connect(f"tcp://127.0.0.1:{bert.port}") as carl,
    ):
        await both_host(anna, bert)
        owner = key_of(anna)
        async with bert.subscribe("news", owner=owner) as messages:
            with pytest.raises(NotAWriter):
                await carl.publish("news", b"too early", owner=owner)
            await anna.set_topic_policy("news", writers=[key_of(carl)])
            await anna.publish("news", b"one", owner=owner)
            await carl.publish("news", b"two", owner=owner)
            heard = await took(messages, 2)
            await anna.set_topic_policy("news")
            await anna.publish("news", b"three", owner=owner)  # both hosts know the newest policy now
            with pytest.raises((NotAWriter, PublishFailed)):
                await carl.publish("news", b"four", owner=owner)
            with pytest.raises(NotAWriter):  # after that refusal it looked for a newer one
                await carl.publish("news", b"five", owner=owner)
            await anna.publish("news", b"six", owner=owner)
            last = await took(messages, 2)

    assert sorted(heard) == [b"one", b"two"]
    assert last == [b"three", b"six"]


async def test_what_waits_for_an_earlier_message_of_who_is_listed_no_more_is_not_told() -> None:
    async with node() as anna, node(anna) as bert:
        await both_host(anna, bert)
        owner = key_of(anna)
        await anna.set_topic_policy("news", writers=[key_of(bert)])
        async with anna.subscribe("news", owner=owner, gaps=True) as messages, asyncio.timeout(20):
            await bert.publish("news", b"one", owner=owner)
            assert await took(messages, 1) == [b"one"]
            run = next(reversed(bert._topics()[0]._runs.values()))
            run.next += 1  # one that was sealed and never brought
            await bert.publish("news", b"three", owner=owner)
            gap = await anext(messages)
            assert isinstance(gap, Gap)
            await anna.set_topic_policy("news")
            messages._subscriber.on_lost(gap.series, gap.span, anna.topics.now())
            events = [await anext(messages) for _ in range(2)]

    assert events == [Lost(gap.series, Span(1, 2)), Refused(gap.series, 2, RefusalReason.NO_WRITER)]


async def test_a_stranger_whose_message_hosts_took_is_not_told() -> None:
    async with node() as anna, node(anna) as bert:
        stranger, owner = bert.records.identity, key_of(anna)
        topic = owned_topic(NET, owner, topic_tag(NET, "news"))
        place = MessagePlace(topic, stranger.public_key, SendSession(b"stranger"), 0)
        unsigned = public_message(place, PubsubMessage(int(anna.topics.now().wall), 0, b"forged"))
        raw = sign_envelope(unsigned, stranger.signer, NET)
        taken = await bert.topics.publish(decode_envelope(raw))  # hosts know of no policy yet
        async with bert.subscribe("news", owner=owner, since=3600.0) as messages:
            await anna.publish("news", b"true", owner=owner)
            heard = await took(messages, 1)

    assert taken.is_accepted
    assert heard == [b"true"]


async def test_a_client_publishes_to_a_topic_whose_owner_lists_it() -> None:
    async with node() as anna, node(anna) as bert:
        await both_host(anna, bert)
        owner = key_of(anna)
        async with (
            Client.connect(f"tcp://127.0.0.1:{bert.port}") as client,
            Client.connect(f"tcp://127.0.0.1:{bert.port}") as other,
            anna.subscribe("news", owner=owner) as messages,
        ):
            await anna.set_topic_policy("news", writers=[key_of(client)])
            done = await client.publish("news", b"listed", owner=owner)
            with pytest.raises(NotAWriter):
                await other.publish("news", b"not listed", owner=owner)
            heard = await took(messages, 1)

    assert done.stored == done.hosts == 2
    assert heard == [b"listed"]


async def test_a_topic_has_a_group_or_an_owner_and_keys_are_keys() -> None:
    async with node() as anna:
        with pytest.raises(UsageError):
            await anna.publish("news", b"x", group="friends", owner=key_of(anna))
        with pytest.raises(UsageError):
            await anna.publish("news", b"x", owner=b"short")  # type: ignore[arg-type] # what callers without types may do
        with pytest.raises(UsageError):
            anna.subscribe("news", owner=b"short")  # type: ignore[call-overload] # the same
        with pytest.raises(UsageError):
            await anna.set_topic_policy("news", writers=[b"short"])  # type: ignore[list-item] # the same

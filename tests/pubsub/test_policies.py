"""Topics with an owner: which policy a process goes by, what hosts refuse, whom publishers show it, what remembering it costs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from tests.pubsub import kit_publisher
from tests.pubsub.kit_host import (
    HOSTING,
    WALL,
    Author,
    Neighbourhood,
    Verifier,
    World,
    contact,
    memory,
    node_id,
    peer,
    target_of,
)
from tests.pubsub.kit_policies import OwnedTopic
from tests.pubsub.kit_publisher import STORED, TARGET, Desk, at, refused
from tests.vectors.golden import NETWORK
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.topic_policy import PolicyChecks
from yzdht.errors import CryptoError, WireError
from yzdht.limits import (
    DAY_S,
    POLICIES_BYTES_MAX,
    POLICIES_SHOWN_MAX,
    POLICY_SHOWN_EVERY_S,
    PUBLISH_DEADLINE_S,
    TOPIC_POLICY_BYTES_MAX,
    TOPIC_WRITERS_MAX,
)
from yzdht.ports import Now
from yzdht.pubsub.delegating import Delegating
from yzdht.pubsub.engine import Hosting, PubsubEngine
from yzdht.pubsub.hosts import HostFinder
from yzdht.pubsub.policies import Policies
from yzdht.pubsub.ports import Surroundings
from yzdht.pubsub.publisher import Publisher
from yzdht.rpc.engine import Answer, Find, Reply
from yzdht.wire.history import Bringer
from yzdht.wire.rpc import Method, Publish, Published, Status, TopicSync


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.pubsub.publisher import PublishResult
    from yzdht.wire.pubsub import PubsubEnvelope


NOW = Now(7.0, WALL)
ANNA, BERT = Bringer(b"a" * 8), Bringer(b"b" * 8)
HOST = node_id(1)
BESIDE = peer(2, HOSTING)


def later(seconds: float) -> Now:
    return Now(NOW.mono + seconds, NOW.wall + seconds)


def known(*policies: bytes, of: OwnedTopic) -> Policies:
    policy_table = Policies(PolicyChecks(NETWORK))
    for raw in policies:
        policy_table.learn(raw, of.topic, ANNA, NOW)
    return policy_table


def flipped(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


# Which one counts


def test_a_topic_of_which_no_policy_is_known_is_everybodys() -> None:
    assert Policies().may_write(OwnedTopic().topic, Author().public_key)


def test_the_owner_and_those_listed_write_and_nobody_else() -> None:
    place, listed, stranger = OwnedTopic(), Author().public_key, Author().public_key
    policies = known(place.policy(writers=[listed]), of=place)

    assert policies.may_write(place.topic, place.owner)
    assert policies.may_write(place.topic, listed)
    assert not policies.may_write(place.topic, stranger)
    assert policies.may_write(OwnedTopic().topic, stranger)


@settings(max_examples=25, deadline=None)
@given(seqs=st.permutations([1, 2, 3, 4]))
def test_the_newest_counts_in_whatever_order_they_are_shown(seqs: list[int]) -> None:
    place = OwnedTopic()
    writers = {seq: Author().public_key for seq in seqs}
    policies = known(*(place.policy(seq, [writers[seq]]) for seq in seqs), of=place)

    assert [policies.may_write(place.topic, writers[seq]) for seq in (1, 2, 3, 4)] == [
        False,
        False,
        False,
        True,
    ]


def test_one_that_is_past_is_not_taken_up_and_goes_on_counting_where_it_was() -> None:
    place, stranger = OwnedTopic(), Author().public_key
    raw = place.policy()
    fresh = Policies(PolicyChecks(NETWORK))
    fresh.learn(raw, place.topic, ANNA, later(DAY_S))
    old = known(raw, of=place)
    old.learn(raw, place.topic, ANNA, later(DAY_S))

    assert fresh.may_write(place.topic, stranger)
    assert not old.may_write(place.topic, stranger)
    assert old.to_show(place.topic, HOST, later(DAY_S)) == b""


# Hostile records


def test_nobody_else_says_who_writes() -> None:
    place, other = OwnedTopic(), OwnedTopic()
    for raw in (other.policy(), OwnedTopic("sport", place.key).policy()):
        with pytest.raises(CryptoError):
            known(raw, of=place)


@settings(max_examples=60, deadline=None)
@given(bit=st.integers(0, 10_000))
def test_a_policy_of_which_a_bit_was_changed_does_not_count(bit: int) -> None:
    place, stranger = OwnedTopic(), Author().public_key
    raw = place.policy()
    policies = known(of=place)
    with suppress(WireError, CryptoError):  # one that seems to be past is passed over
        policies.learn(flipped(raw, bit % len(raw)), place.topic, ANNA, NOW)

    assert policies.may_write(place.topic, stranger)


def test_what_is_no_policy_is_refused() -> None:
    place = OwnedTopic()
    policies = known(of=place)
    hostile = [
        b"",
        b"x",
        place.record(b"no array"),
        place.record(b""),
        place.policy() + b"\0",
        place.policy(created=WALL + 2 * DAY_S),
        place.record(b"x" * TOPIC_POLICY_BYTES_MAX),
    ]
    for raw in hostile:
        with pytest.raises((WireError, CryptoError)):
            policies.learn(raw, place.topic, ANNA, NOW)
    assert policies.get(place.topic) is None


def test_who_has_no_use_for_policies_takes_none() -> None:
    place = OwnedTopic()
    with pytest.raises(WireError):
        Policies().learn(place.policy(), place.topic, ANNA, NOW)


# What remembering costs


def test_who_shows_many_policies_pays_with_its_own() -> None:
    place, author = OwnedTopic(), Author().public_key
    policies = known(place.policy(), of=place)
    writers = [PrivateKey.generate().public_key for _ in range(TOPIC_WRITERS_MAX)]
    key = PrivateKey.generate()
    first = OwnedTopic("flood 0", key)
    size = 0
    for number in range(1_000):
        flood = OwnedTopic(f"flood {number}", key)
        policies.learn(flood.policy(writers=writers), flood.topic, BERT, NOW)
        if policies.size < size or number == 999:
            break
        size = policies.size

    assert policies.size <= POLICIES_BYTES_MAX
    assert policies.get(first.topic) is None
    assert not policies.may_write(place.topic, author)


# Shown to hosts


def test_a_host_is_shown_a_policy_at_first_and_once_a_minute() -> None:
    place = OwnedTopic()
    raw = place.policy()
    policies = known(raw, of=place)

    assert policies.to_show(place.topic, HOST, NOW) == raw
    assert policies.to_show(place.topic, HOST, later(POLICY_SHOWN_EVERY_S - 1)) == b""
    assert policies.to_show(place.topic, node_id(2), NOW) == raw
    assert policies.to_show(place.topic, HOST, later(POLICY_SHOWN_EVERY_S)) == raw


def test_a_host_is_shown_it_again_after_a_refusal_and_when_it_changes() -> None:
    place = OwnedTopic()
    first, newer = place.policy(1), place.policy(2)
    policies = known(first, of=place)
    policies.to_show(place.topic, HOST, NOW)
    policies.show_again(place.topic, HOST)
    again = policies.to_show(place.topic, HOST, NOW)
    policies.learn(newer, place.topic, ANNA, NOW)

    assert again == first
    assert policies.to_show(place.topic, HOST, NOW) == newer


def test_so_many_hosts_are_remembered_and_no_more() -> None:
    place = OwnedTopic()
    raw = place.policy()
    policies = known(raw, of=place)
    for number in range(POLICIES_SHOWN_MAX + 1):
        policies.to_show(place.topic, node_id(number), NOW)

    assert policies.to_show(place.topic, node_id(0), NOW) == raw
    assert policies.to_show(place.topic, node_id(POLICIES_SHOWN_MAX), NOW) == b""


# At hosts


def test_a_host_that_knows_the_policy_refuses_strangers() -> None:
    world, place = World(), OwnedTopic()
    host, writer, stranger = world.host(1), Author(), Author()
    shown = host.publish(writer.envelope(of=place.topic), policy=place.policy(writers=[writer.public_key]))
    asked = host.publish(stranger.envelope(of=place.topic))
    known_now = host.publish(writer.envelope(1, of=place.topic))
    world.run(1.0)

    assert (shown.status, asked.status, known_now.status) == (Status.OK, Status.REFUSED, Status.OK)
    assert host.holds(writer, place.topic) == [0, 1]
    assert host.holds(stranger, place.topic) == []


def test_an_old_policy_that_is_shown_again_lets_nobody_back_in() -> None:
    world, place = World(), OwnedTopic()
    host, removed, writer = world.host(1), Author(), Author()
    old = place.policy(1, [removed.public_key, writer.public_key])
    host.publish(removed.envelope(of=place.topic), policy=old)
    host.publish(writer.envelope(of=place.topic), policy=place.policy(2, [writer.public_key]))
    asked = host.publish(removed.envelope(1, of=place.topic), policy=old)
    world.run(1.0)

    assert asked.status is Status.REFUSED
    assert host.holds(removed, place.topic) == [0]


def test_a_policy_that_does_not_hold_is_answered_and_nothing_is_kept() -> None:
    world, place = World(), OwnedTopic()
    host, author = world.host(1), Author()
    envelope = author.envelope(of=place.topic)
    raw = place.policy(writers=[author.public_key])

    assert host.publish(envelope, policy=b"x").status is Status.BAD_REQUEST
    assert host.publish(envelope, policy=flipped(raw, len(raw) - 1)).status is Status.BAD_SIGNATURE
    assert host.publish(envelope, policy=OwnedTopic().policy()).status is Status.BAD_SIGNATURE
    world.run(1.0)
    assert host.host.topics == 0
    assert host.publish(envelope, policy=raw).is_answered is False
    world.run(1.0)
    assert host.holds(author, place.topic) == [0]


def test_what_strangers_wrote_at_a_host_that_did_not_know_is_not_fetched_from_it() -> None:
    world, place = World(), OwnedTopic()
    one, two, writer, stranger = world.host(1), world.host(2), Author(), Author()
    two.publish(stranger.envelope(of=place.topic))
    two.publish(writer.envelope(of=place.topic))
    one.publish(writer.envelope(1, of=place.topic), policy=place.policy(writers=[writer.public_key]))
    world.run(1.0)
    one.on_neighbourhood([2])
    one.ask(BESIDE, TopicSync(place.topic, two.store.holdings(place.topic).rows()))
    world.run(10.0)

    assert two.holds(stranger, place.topic) == [0]
    assert one.holds(stranger, place.topic) == []
    assert one.holds(writer, place.topic) == [0, 1]


# At nodes that do it for clients


CLIENT = peer(101)


class Relay:
    """A node's engine, which is alone, and a client that hands it messages."""

    def __init__(self) -> None:
        own = contact(1)
        surroundings = Surroundings(
            Neighbourhood(own),
            Verifier(),
            target_of,
            lambda _peer: False,
            lambda _name: None,
            policies=Policies(PolicyChecks(NETWORK)),
        )
        hosting = Hosting(peer(1, HOSTING), memory(), bytes(32))
        self.engine = PubsubEngine(own, surroundings, lambda _named, _namer: [], hosting)

    def publish(self, envelope: PubsubEnvelope, policy: bytes) -> Status | None:
        """What it answers at once; None if it brings the message to the hosts."""
        body = Publish(envelope.raw, delegate=True, policy=policy)
        self.engine.on_request(1, CLIENT, Method.PUBLISH, body, NOW)
        out = self.engine.take_outgoing()
        replies = [item.status for item in out if isinstance(item, Reply)]
        assert bool(replies) is not any(isinstance(item, Find) for item in out)
        return replies[0] if replies else None


def test_a_node_brings_hosts_only_what_the_policy_lets_its_client_write() -> None:
    place, writer, stranger = OwnedTopic(), Author(), Author()
    raw = place.policy(writers=[writer.public_key])
    relay = Relay()

    assert relay.publish(writer.envelope(of=place.topic), b"x") is Status.BAD_REQUEST
    assert relay.publish(writer.envelope(of=place.topic), OwnedTopic().policy()) is Status.BAD_SIGNATURE
    assert relay.publish(stranger.envelope(of=place.topic), raw) is Status.REFUSED
    assert relay.publish(stranger.envelope(1, of=place.topic), b"") is Status.REFUSED
    assert relay.publish(writer.envelope(of=place.topic), raw) is None


# At publishers


class Publishing:
    """A publisher, or a client's, and the hosts or nodes that it asks."""

    def __init__(self, place: OwnedTopic, *, is_client: bool = False) -> None:
        self.desk = Desk()
        self.place = place
        self.policies = Policies(PolicyChecks(NETWORK))
        self.results: list[PublishResult] = []
        own = kit_publisher.contact(1_000)
        finder = HostFinder(own, self.desk.outbox, lambda _topic: TARGET)
        self.publisher: Publisher | Delegating
        if is_client:
            self.publisher = Delegating(self.desk.outbox, finder, self.policies)
        else:
            self.publisher = Publisher(own.node_id, self.desk.outbox, finder, _at_home, self.policies)

    def publish(self, envelope: PubsubEnvelope, mono: float = 0.0) -> None:
        assert self.publisher.publish(envelope, lambda result, _: self.results.append(result), at(mono))
        self.desk.look()
        if self.desk.finds:
            self.desk.found([kit_publisher.contact(number) for number in (1, 2, 3)], at(mono))

    def shown(self, number: int) -> bytes:
        """What a node is shown with the message that it is asked to take."""
        self.desk.look()
        body = self.desk.calls[kit_publisher.contact(number).node_id].body
        assert isinstance(body, Publish)
        return body.policy

    def refuse_until_it_ends(self) -> float:
        """When it gave up."""
        now = at(0.0)
        while not self.results:
            while asked := self.desk.asked():
                self.desk.answer(asked[0], refused(Status.REFUSED), now)
                self._find(now)
            if not self.results:
                due = self.publisher.next_timer()
                assert due is not None
                now = at(due)
                self.publisher.handle_timer(now)
                self._find(now)
        return now.mono

    def _find(self, now: Now) -> None:
        self.desk.look()
        while self.desk.finds:
            self.desk.found([kit_publisher.contact(number) for number in (1, 2, 3)], now)
            self.desk.look()


def _at_home(_envelope: PubsubEnvelope, _then: Callable[[Answer, Now], None], _now: Now) -> None:
    raise AssertionError("it is no host")


@pytest.mark.parametrize("is_client", [False, True], ids=["a node", "a client"])
def test_the_policy_goes_with_the_first_message_and_not_with_the_next(is_client: bool) -> None:  # noqa: FBT001 - a parameter
    place, author = OwnedTopic(), Author()
    raw = place.policy(writers=[author.public_key])
    publishing = Publishing(place, is_client=is_client)
    publishing.policies.learn(raw, place.topic, ANNA, at(0))
    publishing.publish(author.envelope(of=place.topic))
    first = publishing.shown(1)
    while asked := publishing.desk.asked():
        stored = Answer(Status.OK, Published(3, 3)) if is_client else STORED
        publishing.desk.answer(asked[0], stored, at(0.1))
    publishing.publish(author.envelope(1, of=place.topic), 0.2)

    assert publishing.results[0].is_accepted
    assert first == raw
    assert publishing.shown(1) == b""


@pytest.mark.parametrize("is_client", [False, True], ids=["a node", "a client"])
def test_who_is_refused_with_the_policy_shown_again_is_told_long_before_the_deadline(
    is_client: bool,  # noqa: FBT001 - a parameter
) -> None:
    place, author = OwnedTopic(), Author()
    publishing = Publishing(place, is_client=is_client)
    publishing.policies.learn(place.policy(writers=[author.public_key]), place.topic, ANNA, at(0))
    publishing.publish(author.envelope(of=place.topic))
    ended = publishing.refuse_until_it_ends()

    assert ended < PUBLISH_DEADLINE_S / 2
    assert publishing.results[0].refusal is Status.REFUSED
    assert not publishing.results[0].is_accepted


@pytest.mark.parametrize("is_client", [False, True], ids=["a node", "a client"])
def test_where_a_topic_has_no_owner_a_refusal_is_tried_again_until_the_deadline(is_client: bool) -> None:  # noqa: FBT001 - a parameter
    publishing = Publishing(OwnedTopic(), is_client=is_client)
    publishing.publish(Author().envelope())

    assert publishing.refuse_until_it_ends() >= PUBLISH_DEADLINE_S

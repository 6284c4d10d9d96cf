"""Topics with an owner: names as in the golden values, and policies that do not belong to their topic."""

from __future__ import annotations

import pytest

from tests.pubsub.kit_host import WALL
from tests.pubsub.kit_policies import OwnedTopic
from tests.vectors.golden import KEY_A, KEY_B, NETWORK, load
from yzdht.crypto.naming import network_id
from yzdht.crypto.topic_policy import PolicyChecks, owned_topic, policy_tag, read_policy, topic_tag
from yzdht.crypto.topics import public_topic
from yzdht.errors import CryptoError, LifetimeRefused, UsageError, WireError, WrongTarget
from yzdht.limits import CLOCK_SKEW_S, DAY_S
from yzdht.wire.record import decode_record
from yzdht.wire.slot import Kind
from yzdht.wire.topic_policy import PolicyPayload, encode_topic_policy


OURS = load("project-v1.json")["pubsub"]["owned"]


def test_the_golden_names_reproduce() -> None:
    tag = topic_tag(NETWORK, OURS["topic"])

    assert tag.hex() == OURS["topic_tag"]
    assert owned_topic(NETWORK, KEY_A.public_key, tag).hex() == OURS["topic16"]
    assert policy_tag(NETWORK, tag).hex() == OURS["policy_tag"]


def test_a_topic_with_an_owner_is_another_than_everybodys_and_other_owners() -> None:
    tag = topic_tag(NETWORK, "news")
    names = {
        public_topic(NETWORK, "news"),
        owned_topic(NETWORK, KEY_A.public_key, tag),
        owned_topic(NETWORK, KEY_B.public_key, tag),
        owned_topic(network_id("other"), KEY_A.public_key, tag),
    }

    assert len(names) == 4
    with pytest.raises(UsageError):
        topic_tag(NETWORK, "")


def test_a_policy_says_who_writes() -> None:
    place = OwnedTopic()
    policy = read_policy(decode_record(place.policy(5, [KEY_B.public_key])), NETWORK)

    assert (policy.topic, policy.owner, policy.order[0]) == (place.topic, place.owner, 5)
    assert policy.may_write(place.owner)
    assert policy.may_write(KEY_B.public_key)
    assert not policy.may_write(KEY_A.public_key)


def test_a_policy_under_another_tag_or_of_another_kind_is_none() -> None:
    place = OwnedTopic()
    payload = encode_topic_policy(PolicyPayload(place.tag))
    with pytest.raises(WrongTarget):
        read_policy(
            decode_record(place.record(payload, tag=policy_tag(NETWORK, topic_tag(NETWORK, "x")))), NETWORK
        )
    with pytest.raises(WireError):
        read_policy(decode_record(place.record(payload, kind=Kind.MULTI)), NETWORK)


def test_a_policy_is_its_topics_alone() -> None:
    place, checks = OwnedTopic(), PolicyChecks(NETWORK)

    assert checks.read(place.policy(), place.topic).topic == place.topic
    with pytest.raises(WrongTarget):
        checks.read(place.policy(), OwnedTopic().topic)


def test_a_policy_is_verified_in_its_network_and_in_its_time() -> None:
    place, checks = OwnedTopic(), PolicyChecks(NETWORK)
    policy = checks.read(place.policy(), place.topic)
    checks.verify(policy, WALL)

    with pytest.raises(CryptoError):
        PolicyChecks(network_id("other")).verify(policy, WALL)
    for wall in (WALL + DAY_S, WALL - CLOCK_SKEW_S - 1):
        with pytest.raises(LifetimeRefused):
            checks.verify(policy, wall)

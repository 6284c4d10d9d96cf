"""Public topics with an owner: their names, and the record that says who writes to them (PROTOCOL.md section 11).

Pure. Refuses a policy that its topic does not follow from, and one that its owner did not sign. Which of two policies counts, and for
how long, is judged by who keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yzdht.crypto.naming import dh, mutable_target, normalise_name
from yzdht.crypto.signing import RecordChecks, check_times
from yzdht.errors import WireError, WrongTarget
from yzdht.ids import PublicKey, Tag, TopicId
from yzdht.wire.pubsub import TOPIC_BYTES
from yzdht.wire.record import Readers, decode_record, order_key
from yzdht.wire.slot import Kind
from yzdht.wire.topic_policy import decode_topic_policy


if TYPE_CHECKING:
    from yzdht.ids import NetworkId, RecordHash
    from yzdht.wire.record import Record


def topic_tag(network: NetworkId, topic: str) -> Tag:
    """tag32 of a public topic's name.

    Raises:
        UsageError: As of `normalise_name`.

    """
    return Tag(dh("yz1 pubtopic", network, normalise_name(topic).encode()))


def owned_topic(network: NetworkId, owner: PublicKey, tag: Tag) -> TopicId:
    """topic16 of a public topic that has an owner."""
    return TopicId(dh("yz1 ownedtopic", network, owner, tag)[:TOPIC_BYTES])


def policy_tag(network: NetworkId, tag: Tag) -> Tag:
    """Under which the owner keeps the policy of a topic."""
    return Tag(dh("yz1 topicpolicy", network, tag))


@dataclass(frozen=True, slots=True)
class TopicPolicy:
    """Who writes to a topic.

    Attributes:
        topic: 16 bytes.
        owner: Who signed it.
        writers: Beside the owner, TOPIC_WRITERS_MAX at most.
        order: Of two policies of a topic the larger counts (section 8, Order).
        expires: Unix seconds.
        raw: The record.

    """

    topic: TopicId
    owner: PublicKey
    writers: frozenset[PublicKey]
    order: tuple[int, int, RecordHash]
    expires: int
    raw: bytes = field(repr=False)

    def may_write(self, sender: PublicKey) -> bool:
        """True for the owner, and for whom the owner lists."""
        return sender == self.owner or sender in self.writers


def read_policy(record: Record, network: NetworkId) -> TopicPolicy:
    """What a policy's record says; its signature is not looked at.

    Raises:
        WireError: It is no such record, or its payload is refused.
        WrongTarget: It does not lie where the policy of its topic does.

    """
    is_plain = record.kind is Kind.MUTABLE and record.readers is Readers.PUBLIC and not record.is_tombstone
    if not is_plain:
        raise WireError("a topic's policy is a public mutable record")
    tag, writers = decode_topic_policy(record.payload)
    if record.tag != policy_tag(network, tag):
        raise WrongTarget("a topic's policy lies under the tag of another topic")
    owner = PublicKey(record.publisher)
    topic = owned_topic(network, owner, tag)
    return TopicPolicy(topic, owner, frozenset(writers), order_key(record), record.expires, record.raw)


class PolicyChecks:
    """Reads and checks policies that peers show; each distinct signature once.

    Args:
        network: NET.

    """

    def __init__(self, network: NetworkId) -> None:
        self._network = network
        self._records = RecordChecks(network)

    def read(self, raw: bytes, topic: TopicId) -> TopicPolicy:
        """What a record says of a topic; its signature and times are not checked.

        Raises:
            WireError: It is no policy.
            WrongTarget: It is the policy of another topic.

        """
        policy = read_policy(decode_record(raw), self._network)
        if policy.topic != topic:
            raise WrongTarget("the policy is another topic's")
        return policy

    def verify(self, policy: TopicPolicy, wall_now: float) -> None:
        """Check the times and the signature.

        Raises:
            LifetimeRefused: It was created in the future, is past its `expires`, or lives for too long.
            CryptoError: Its owner did not sign it.

        """
        record = decode_record(policy.raw)
        check_times(record, wall_now, self._network)
        self._records.verify_record(record, mutable_target(self._network, policy.owner, record.tag))

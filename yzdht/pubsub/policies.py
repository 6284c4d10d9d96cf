"""Policies of topics with an owner, as one process knows them: shown by publishers, shown on to hosts (PROTOCOL.md section 11).

Owns which policy of a topic counts, and who pays for remembering it. Everything is in memory: what is forgotten is shown again. A topic
of which no policy is known is everybody's here; subscribers do not rely on that.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import WireError
from yzdht.ids import PUBLIC_KEY_BYTES
from yzdht.limits import POLICIES_BYTES_MAX, POLICIES_SHOWN_MAX, POLICY_SHOWN_EVERY_S, TOPIC_POLICY_BYTES_MAX


if TYPE_CHECKING:
    from yzdht.crypto.topic_policy import PolicyChecks, TopicPolicy
    from yzdht.ids import NodeId, PublicKey, TopicId
    from yzdht.ports import Now
    from yzdht.wire.history import Bringer


_WRITER_BYTES = 4 * PUBLIC_KEY_BYTES  # as an object in a set
_POLICY_BYTES = 1_024  # what lies around it


class _Known(NamedTuple):
    """A policy, and on whose account it is remembered."""

    policy: TopicPolicy
    bringer: Bringer

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return _POLICY_BYTES + len(self.policy.raw) + _WRITER_BYTES * len(self.policy.writers)


class _Account:
    """What one bringer's policies take, the one brought longest ago first."""

    __slots__ = ("size", "topics")

    def __init__(self) -> None:
        self.size = 0
        self.topics: OrderedDict[TopicId, None] = OrderedDict()


class Policies:
    """Of one process.

    Args:
        checks: Reads and verifies them; None where nobody shows any.

    """

    def __init__(self, checks: PolicyChecks | None = None) -> None:
        self._checks = checks
        self._known: dict[TopicId, _Known] = {}
        self._accounts: dict[Bringer, _Account] = {}
        self._size = 0
        self._shown: OrderedDict[tuple[TopicId, NodeId], tuple[bytes, float]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that all of them take, about; POLICIES_BYTES_MAX at most."""
        return self._size

    def get(self, topic: TopicId) -> TopicPolicy | None:
        """The newest that is known of a topic."""
        known = self._known.get(topic)
        return None if known is None else known.policy

    def may_write(self, topic: TopicId, sender: PublicKey) -> bool:
        """True for everybody, or for those whom the topic's policy names."""
        known = self._known.get(topic)
        return known is None or known.policy.may_write(sender)

    # Shown by others

    def learn(self, raw: bytes, topic: TopicId, bringer: Bringer, now: Now) -> None:
        """Take note of a policy that somebody shows; one that is past, or older than what is known, is passed over.

        Args:
            raw: Its record.
            topic: Whose it is to be.
            bringer: Who shows it, and pays for it.
            now: The present.

        Raises:
            WireError: It is no policy, or its times are refused.
            CryptoError: It is another topic's, or its owner did not sign it.

        """
        known = self._known.get(topic)
        if known is not None and known.policy.raw == raw:
            self._accounts[known.bringer].topics.move_to_end(topic)
            return
        if self._checks is None or len(raw) > TOPIC_POLICY_BYTES_MAX:
            raise WireError("no policies are known here, or it is longer than any can be")
        policy = self._checks.read(raw, topic)
        if policy.expires <= now.wall or (known is not None and policy.order <= known.policy.order):
            return
        self._checks.verify(policy, now.wall)
        self._keep(_Known(policy, bringer))

    def _keep(self, known: _Known) -> None:
        topic = known.policy.topic
        self._drop(topic)
        self._known[topic] = known
        account = self._accounts.setdefault(known.bringer, _Account())
        account.topics[topic] = None
        account.size += known.size
        self._size += known.size
        while self._size > POLICIES_BYTES_MAX:
            most = max(self._accounts.values(), key=lambda one: one.size)
            self._drop(next(iter(most.topics)))

    def _drop(self, topic: TopicId) -> None:
        known = self._known.pop(topic, None)
        if known is None:
            return
        account = self._accounts[known.bringer]
        del account.topics[topic]
        account.size -= known.size
        self._size -= known.size
        if not account.topics:
            del self._accounts[known.bringer]

    # Shown to others

    def to_show(self, topic: TopicId, node_id: NodeId, now: Now) -> bytes:
        """What a node that is sent a message is to be shown with it; empty if it saw that a moment ago, or there is none."""
        policy = self.get(topic)
        if policy is None or policy.expires <= now.wall:
            return b""
        shown = self._shown.get((topic, node_id))
        if shown is not None and shown[0] == policy.order[2] and now.mono < shown[1] + POLICY_SHOWN_EVERY_S:
            return b""
        self._shown[topic, node_id] = policy.order[2], now.mono
        self._shown.move_to_end((topic, node_id))
        if len(self._shown) > POLICIES_SHOWN_MAX:
            self._shown.popitem(last=False)
        return policy.raw

    def show_again(self, topic: TopicId, node_id: NodeId) -> None:
        """A node refused a message, or did not answer: perhaps it does not know the policy."""
        self._shown.pop((topic, node_id), None)

"""Who writes to public topics that have an owner, as one identity finds it in the network, and sets it (PROTOCOL.md section 11).

A policy is read like any other record of its owner: nodes are not trusted, and an older one than this home has seen is not believed. Where
none is found the owner alone writes.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.naming import mutable_target
from yzdht.crypto.sealing import Public
from yzdht.crypto.topic_policy import owned_topic, policy_tag, read_policy
from yzdht.errors import CryptoError, LookupFailed, WireError, YzError
from yzdht.limits import POLICIES_KNOWN_MAX, POLICY_LOOK_S, RECORD_LIFE_S_MAX
from yzdht.slot_writer import Intent, receipt_of
from yzdht.slots import Slot
from yzdht.wire.topic_policy import PolicyPayload, encode_topic_policy


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yzdht.access import Access
    from yzdht.crypto.topic_policy import TopicPolicy
    from yzdht.ids import NetworkId, PublicKey, Tag, TopicId
    from yzdht.slot_writer import Receipt, SlotWriter
    from yzdht.slots import SlotReader
    from yzdht.wire.record import Record


class Owned(NamedTuple):
    """A public topic that has an owner.

    Attributes:
        owner: Whose it is.
        tag: Its name, blinded, 32 bytes.

    """

    owner: PublicKey
    tag: Tag


class _Looked(NamedTuple):
    """What was found last, and when, in monotonic seconds."""

    policy: TopicPolicy | None
    at: float


class TopicPolicies:
    """Of one identity in one network.

    Args:
        network: NET.
        access: The present.
        slots: Reads, and knows what this home has seen.
        writer: Writes as the identity.
        show: Told of every policy that was found: hosts are shown it.

    """

    def __init__(
        self,
        network: NetworkId,
        access: Access,
        slots: SlotReader,
        writer: SlotWriter,
        show: Callable[[TopicId, bytes], None],
    ) -> None:
        self._network = network
        self._access = access
        self._slots = slots
        self._writer = writer
        self._show = show
        self._renewing: set[TopicId] = set()
        self._looked: OrderedDict[TopicId, _Looked] = OrderedDict()

    def topic(self, owned: Owned) -> TopicId:
        """Its topic16."""
        return owned_topic(self._network, owned.owner, owned.tag)

    async def current(self, owned: Owned, *, is_wanted: bool = False) -> TopicPolicy | None:
        """The newest policy that was seen; None if there is none, so that the owner alone writes.

        Args:
            owned: Of which topic.
            is_wanted: True to look now, also if that was done a moment ago.

        """
        topic, now = self.topic(owned), self._access.now()
        looked = self._looked.get(topic)
        if looked is None or is_wanted or now.mono >= looked.at + POLICY_LOOK_S:
            policy = None if looked is None else looked.policy
            # Without a node, and where nodes show an older one, what is known goes on working.
            with suppress(LookupFailed, CryptoError, WireError):
                seen = await self._slots.read(self._slot(owned))
                policy = policy if seen is None else self._said(seen.record)
            self._remember(topic, policy)
        self._looked.move_to_end(topic)
        policy = self._looked[topic].policy
        if policy is not None:
            self._show(topic, policy.raw)
        return policy

    async def set(self, owned: Owned, writers: Iterable[PublicKey]) -> Receipt:
        """Say who writes to an own topic beside its owner, for 30 days.

        Raises:
            UsageError: Too many writers, or what is no key.
            Conflict, WriteQuorumFailed, NoNode: As of `QuorumWriter.write`.

        """
        payload = PolicyPayload(owned.tag, tuple(sorted(set(writers) - {owned.owner})))
        intent = Intent(
            self._slot(owned), encode_topic_policy(payload), Public(), int(RECORD_LIFE_S_MAX), None
        )
        written = await self._writer.write_record(intent)
        policy = read_policy(written.record, self._network)
        self._remember(policy.topic, policy)
        self._show(policy.topic, policy.raw)
        return receipt_of(intent, written)

    def doubt(self, owned: Owned) -> None:
        """Hosts went by another policy, perhaps: it is looked for the next time."""
        topic = self.topic(owned)
        if (looked := self._looked.get(topic)) is not None:
            self._looked[topic] = looked._replace(at=float("-inf"))

    def is_renewal_due(self, policy: TopicPolicy) -> bool:
        """True once half of its time has passed; its owner writes it anew then, so that who comes later finds it."""
        left_s = policy.expires - self._access.now().wall
        return left_s < RECORD_LIFE_S_MAX / 2 and policy.topic not in self._renewing

    async def renew(self, owned: Owned) -> None:
        """Write the policy of an own topic anew as it is; where that fails it is tried again."""
        topic = self.topic(owned)
        looked = self._looked.get(topic)
        if topic in self._renewing or looked is None or looked.policy is None:
            return
        self._renewing.add(topic)
        try:
            with suppress(YzError):
                await self.set(owned, looked.policy.writers)
        finally:
            self._renewing.discard(topic)

    def _slot(self, owned: Owned) -> Slot:
        tag = policy_tag(self._network, owned.tag)
        return Slot(owned.owner, tag, mutable_target(self._network, owned.owner, tag))

    def _said(self, record: Record) -> TopicPolicy | None:
        """What its owner says last; a tombstone, and what is no policy, lists nobody."""
        try:
            return read_policy(record, self._network)
        except (WireError, CryptoError):
            return None

    def _remember(self, topic: TopicId, policy: TopicPolicy | None) -> None:
        looked = self._looked.get(topic)
        if policy is not None and looked is not None and looked.policy is not None:
            policy = max(policy, looked.policy, key=lambda one: one.order)  # one was set while this was read
        self._looked[topic] = _Looked(policy, self._access.now().mono)
        self._looked.move_to_end(topic)
        if len(self._looked) > POLICIES_KNOWN_MAX:
            self._looked.popitem(last=False)

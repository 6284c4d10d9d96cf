"""One topic as one identity reads and writes it: who may, and how a message is built and opened (PROTOCOL.md section 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.topics import public_message, read_public
from yzdht.errors import NotAMember, NotAWriter, UnknownEpoch
from yzdht.limits import READY_AFTER_S
from yzdht.pubsub.events import UnknownEpoch as EpochIsUnknown


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.crypto.topics import MessageKeys, MessagePlace
    from yzdht.ids import PublicKey, TopicId
    from yzdht.topic_policies import Owned
    from yzdht.wire.pubsub import PubsubEnvelope, PubsubMessage


class KnownOfGroup(NamedTuple):
    """What a home knows of a group.

    Attributes:
        keys: Of the epochs in which its messages are opened.
        members: In the newest state.
        is_removed: True if a newer state does not list this home's identity.

    """

    keys: MessageKeys
    members: frozenset[PublicKey]
    is_removed: bool


class Channel:
    """One topic as this identity reads and writes it: in public, or for a group.

    Args:
        topic: 16 bytes.
        group: The group's name in this home; None for a public topic.
        owned: Whose the topic is, if it is public and has an owner.

    """

    def __init__(self, topic: TopicId, group: str | None, owned: Owned | None = None) -> None:
        self.topic = topic
        self.group = group
        self.owned = owned
        self._keys: MessageKeys | None = None
        self._members: frozenset[PublicKey] = frozenset()
        self._is_removed = False
        self._is_readying = False

    def learn(self, known: KnownOfGroup) -> bool:
        """Take up what is known of the group now; True if that is something else than before."""
        before = self._keys, self._members, self._is_removed
        self._keys, self._members, self._is_removed = known
        return before != known

    @property
    def members(self) -> frozenset[PublicKey]:
        """Of the group, in the newest state that is known; whom an owner lets write; empty where everybody may."""
        return self._members

    @property
    def may_change(self) -> bool:
        """True if it is not for good who writes."""
        return self.group is not None or self.owned is not None

    def learn_writers(self, writers: frozenset[PublicKey]) -> bool:
        """Take up whom the owner lets write; True if these are others than before."""
        before, self._members = self._members, writers
        return before != writers

    def check_membership(self, me: PublicKey) -> None:
        """See that this identity reads and writes here.

        Raises:
            NotAMember: It was removed from the group.

        """
        if self.group is not None and (self._is_removed or not self.is_member(me)):
            raise NotAMember("you are no member of this group any more", hint="ask an admin to add you again")

    def check_writer(self, me: PublicKey) -> None:
        """See that this identity writes here.

        Raises:
            NotAMember: It was removed from the group.
            NotAWriter: The owner of the topic does not list it.

        """
        self.check_membership(me)
        if not self.is_member(me):
            raise NotAWriter("the owner of this topic does not let you write to it")

    def is_member(self, sender: PublicKey) -> bool:
        """True for who may write: everybody, or the members of the newest state, or those in the newest policy, that is known."""
        return not self.may_change or sender in self._members

    def build(self, place: MessagePlace, message: PubsubMessage) -> bytes:
        """An envelope up to its signature.

        Raises:
            UsageError: The data is too long, or a number is out of range.

        """
        if self.group is None:
            return public_message(place, message)
        assert self._keys is not None
        return self._keys.seal(place, message)

    def make_ready(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """Have done what of sealing and opening the next message can be done before it is there, once others have had the processor.

        A message goes to many processes at once, which perhaps share a machine: what one does at once after it was told has others wait.

        Args:
            later: Has something done after so many seconds.

        """
        if self._keys is not None and not self._is_readying:
            self._is_readying = True
            later(READY_AFTER_S, self._make_ready)

    def _make_ready(self) -> None:
        self._is_readying = False
        if self._keys is not None:
            self._keys.make_ready()

    def open(self, envelope: PubsubEnvelope) -> PubsubMessage | EpochIsUnknown:
        """What a verified envelope says.

        Raises:
            WireError: It is of the other mode, or its padding is refused.
            DecryptionFailed: It does not open.

        """
        if self.group is None:
            return read_public(envelope)
        assert self._keys is not None
        try:
            return self._keys.open(envelope)[0]
        except UnknownEpoch:
            return EpochIsUnknown()

"""The history of a topic at one of its hosts: what is asked of whoever keeps it, and what it answers (section 11).

Pure, like `slot.py` for records; who keeps histories is `ports.TopicStore`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from yzdht.wire.holdings import Series
from yzdht.wire.slot import OverQuota, StoreBroken


if TYPE_CHECKING:
    from yzdht.ids import MessageId, PublicKey, SendSession, TopicId


Bringer = NewType("Bringer", bytes)
"""Who brought a message, to be charged for it; opaque, the same as long as the store lives, never empty.

8 bytes name who brought it himself; a zero and 8 bytes name the host of the topic that it was fetched from.
"""

BRINGER_BYTES = 8
OTHER_HOSTS = Bringer(bytes(1))
"""All hosts that messages are fetched from, as one bringer of a topic's history."""


def fetched_from(host: bytes) -> Bringer:
    """Names a host, of BRINGER_BYTES bytes, that messages are fetched from."""
    return Bringer(OTHER_HOSTS + host)


def account_of(bringer: Bringer) -> Bringer:
    """Who pays within the history of one topic.

    All other hosts together: who brings to each of them something else has his part at each, and their parts here if each counted for
    itself. Of all histories together each host has a part of its own, or a new host could not fetch what belongs to it.
    """
    return OTHER_HOSTS if len(bringer) > BRINGER_BYTES else bringer


# What is asked


@dataclass(frozen=True, slots=True)
class TopicWrite:
    """A message on its way into the history of its topic; its signature is verified.

    Attributes:
        topic: Which history.
        sender: Who signed it.
        session: The run of the sender's process.
        index: Counts within that, u32.
        id: Names the message.
        envelope: The whole envelope.
        received: Unix seconds at which it came.
        bringer: Who brought it.

    """

    topic: TopicId
    sender: PublicKey
    session: SendSession
    index: int
    id: MessageId
    envelope: bytes
    received: int
    bringer: Bringer

    @property
    def series(self) -> Series:
        """Of which series it is."""
        return Series(self.sender, self.session)


@dataclass(frozen=True, slots=True)
class ForgetBefore:
    """Drop one page of the messages that came before a time, the oldest first, and of the floors that nobody needs any more.

    In a series what comes before a dropped message goes with it, whenever it came: its sender sent it earlier.

    Attributes:
        wall: Unix seconds.

    """

    wall: int


@dataclass(frozen=True, slots=True)
class ForgetTopic:
    """Drop the whole history of a topic, floors included."""

    topic: TopicId


TopicChange = TopicWrite | ForgetBefore | ForgetTopic


# What is answered


@dataclass(frozen=True, slots=True)
class Kept:
    """The message is durable.

    Attributes:
        dropped: What it pushed out, in the order in which it left: mostly nothing, or one.

    """

    dropped: tuple[tuple[Series, int], ...] = ()


@dataclass(frozen=True, slots=True)
class KnownAlready:
    """This very message is kept already."""


@dataclass(frozen=True, slots=True)
class Conflicting:
    """Its sender signed another message under the same index, which is kept (status 409)."""

    id: MessageId


@dataclass(frozen=True, slots=True)
class Over:
    """It lies below the floor, or would leave at once: it was kept and had its time, or comes too late."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a ForgetBefore or a ForgetTopic dropped.

    Attributes:
        messages: How many.
        has_more: True if another page is to be dropped.

    """

    messages: int
    has_more: bool = False


TopicVerdict = Kept | KnownAlready | Conflicting | Over | OverQuota | Forgotten | StoreBroken

"""What a subscriber is told of a topic (PROTOCOL.md section 11)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from yzdht.ids import MessageId, PublicKey
    from yzdht.wire.holdings import Series, Span


@dataclass(frozen=True, slots=True)
class Message:
    """One message, told once; those of a series in order, but for the late ones.

    Attributes:
        series: Whose, and of which run of the sender's process.
        index: Its place in the series.
        id: Names it, 20 bytes.
        created: Unix seconds, by the sender's clock.
        type: The application's, 0 to 255.
        data: What it says, up to PUBSUB_DATA_BYTES_MAX bytes.
        received: Unix seconds.
        is_history: True if it is older than the subscription, or may be.
        is_late: True if it was declared lost before, and later ones were told.

    """

    series: Series
    index: int
    id: MessageId
    created: int
    type: int
    data: bytes
    received: int
    is_history: bool = False
    is_late: bool = False

    @property
    def sender(self) -> PublicKey:
        """Whose key signed it."""
        return self.series.sender


@dataclass(frozen=True, slots=True)
class Begins:
    """The messages of a series are told from this index on.

    Attributes:
        series: Whose, and of which run of the sender's process.
        index: Its place in the series.
        at: Unix seconds: what lies below was written before.

    """

    series: Series
    index: int
    at: int


@dataclass(frozen=True, slots=True)
class _OfSpan:
    """Something about messages that follow each other.

    Attributes:
        series: Whose, and of which run of the sender's process.
        span: Their places in the series.

    """

    series: Series
    span: Span

    @property
    def sender(self) -> PublicKey:
        """Whose messages they are."""
        return self.series.sender

    @property
    def count(self) -> int:
        """How many they are."""
        return self.span.to - self.span.start


@dataclass(frozen=True, slots=True)
class Gap(_OfSpan):
    """Messages are missing, and looked for; what comes after them in the series waits."""


@dataclass(frozen=True, slots=True)
class Filled(_OfSpan):
    """All of a gap has come, or the rest of one of which some are lost."""


class LossReason(StrEnum):
    """Why messages are lost."""

    NOBODY_HAS_IT = "no host has it"
    NO_ROOM = "too much waited for it"
    NO_KEY = "its epoch stayed unknown"


@dataclass(frozen=True, slots=True)
class Lost(_OfSpan):
    """Messages of a series are given up, and it goes on after them. One that comes all the same is told as late."""

    reason: LossReason = LossReason.NOBODY_HAS_IT


class RefusalReason(StrEnum):
    """Why a message is not told."""

    UNREADABLE = "it does not open"
    TOO_OLD = "it is older than what is remembered"
    FORGOTTEN = "it may have been told before"
    NO_WRITER = "its sender may not write any more"


@dataclass(frozen=True, slots=True)
class Refused:
    """A message came that is not told; the series goes on after it.

    Attributes:
        series: Whose, and of which run of the sender's process.
        index: Its place in the series.
        reason: Why it is not told.

    """

    series: Series
    index: int
    reason: RefusalReason

    @property
    def sender(self) -> PublicKey:
        """Whose key signed it."""
        return self.series.sender


@dataclass(frozen=True, slots=True)
class WantsEpochs:
    """A message came of an epoch that is not known: look for a newer state of the group."""

    kid: bytes


Heard = Message | Gap | Filled | Lost | Refused
"""What an application is told."""

Event = Message | Begins | Gap | Filled | Lost | Refused | WantsEpochs


@dataclass(frozen=True, slots=True)
class UnknownEpoch:
    """What an opener says of an envelope whose epoch is none of those that it knows."""

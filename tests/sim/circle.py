"""A group in a simulated network: its epochs, who is a member in which, and who knows of it when.

Its states are in no records here: each member learns of a new one a while after it was made, and sooner where it meets what it
cannot open, or somebody it does not know.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from tests.sim.authors import key
from yzdht.channel import Channel, KnownOfGroup
from yzdht.crypto.topics import MessageEpoch, MessageKeys
from yzdht.ids import EpochSecret, GroupId, PublicKey, RecordHash
from yzdht.limits import WANTS_EPOCHS_EVERY_S


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.sim.topics import TopicWorld
    from yzdht.ids import TopicId


LEARNT_AFTER_S = 20.0
_GROUP = GroupId(bytes(16))
_READERS_FROM = 20_000


def reader_key(number: int) -> PublicKey:
    """Of who listens and writes nothing."""
    return key(_READERS_FROM + number).public_key


class State(NamedTuple):
    """One state of a group."""

    epoch: MessageEpoch
    members: frozenset[PublicKey]


class Circle:
    """A group that talks about one topic.

    Attributes:
        states: All of them, the first one first; their epochs count from 1.

    """

    def __init__(self, world: TopicWorld, topic: TopicId, members: Iterable[PublicKey]) -> None:
        self.world = world
        self.topic = topic
        self.states: list[State] = []
        self._fellows: list[Fellow] = []
        self.change(members)

    @property
    def members(self) -> frozenset[PublicKey]:
        """In the newest state."""
        return self.states[-1].members

    def change(self, members: Iterable[PublicKey]) -> int:
        """Begin an epoch with these members and new secrets; its number."""
        number = len(self.states) + 1
        digest = sha256(b"epoch %d" % number).digest()
        epoch = MessageEpoch(_GROUP, number, RecordHash(digest[:20]), EpochSecret(digest))
        self.states.append(State(epoch, frozenset(members)))
        for fellow in self._fellows:
            self.world.after(self.world.random.uniform(0, LEARNT_AFTER_S), fellow.look)
        return number

    def fellow(self, public_key: PublicKey) -> Fellow:
        """What somebody who is a member now knows of it."""
        fellow = Fellow(self, public_key)
        self._fellows.append(fellow)
        return fellow


class Fellow:
    """What one member knows; nothing from before it joined, and nothing of later states once it is removed.

    Attributes:
        channel: Its keys, and who is a member as far as it knows.
        learnt_at: When it learnt of each epoch or of a later one, in the world's monotonic seconds.
        on_news: Told that it knows more; whether somebody is a member now who was not.

    """

    def __init__(self, circle: Circle, public_key: PublicKey) -> None:
        self._circle = circle
        self._public_key = public_key
        self.channel = Channel(circle.topic, "the circle")
        self.learnt_at: dict[int, float] = {}
        self.on_news: Callable[[bool], None] = lambda _are_more_wanted: None
        self._looks_at = 0.0
        self.look()

    @property
    def epoch(self) -> int:
        """The newest that it knows."""
        return max(self.learnt_at)

    def is_member(self, sender: PublicKey) -> bool:
        """True for a member as far as it knows; it looks after anybody else."""
        is_member = self.channel.is_member(sender)
        if not is_member:
            self.look_soon()
        return is_member

    def look_soon(self) -> None:
        """There is perhaps a newer state."""
        world = self._circle.world
        if world.now.mono >= self._looks_at:
            self._looks_at = world.now.mono + WANTS_EPOCHS_EVERY_S
            world.after(world.random.uniform(0.1, WANTS_EPOCHS_EVERY_S), self.look)

    def look(self) -> None:
        """Learn of the newest state, unless it is sealed to others alone."""
        states = self._circle.states
        newest = states[-1]
        if self._public_key not in newest.members or newest.epoch.epoch in self.learnt_at:
            return
        epochs = [state.epoch for state in reversed(states) if self._public_key in state.members]
        for epoch in epochs:
            self.learnt_at.setdefault(epoch.epoch, self._circle.world.now.mono)
        before = self.channel.members
        self.channel.learn(KnownOfGroup(MessageKeys(epochs), newest.members, is_removed=False))
        self.on_news(not newest.members <= before)

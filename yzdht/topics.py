"""Topics as one identity uses them: its messages sealed, signed and published, those of others opened (PROTOCOL.md section 11).

Owns the counts of this run: which session and index each message has, so that none is used twice; each topic has a session of its own. What no majority of the hosts took is
kept, and sent along with the next message of its topic, since subscribers would miss it there.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from yzdht.channel import Channel, KnownOfGroup
from yzdht.crypto.topic_policy import topic_tag
from yzdht.crypto.topics import (
    MessageKeys,
    MessagePlace,
    group_topic,
    public_topic,
    sign_envelope,
)
from yzdht.errors import NoNode, PublishFailed, UsageError, YzError
from yzdht.ids import SendSession
from yzdht.limits import (
    GROUP_LOOK_AGAIN_S,
    GROUP_LOOK_UNREAD_S,
    GROUPS_KEPT_MAX,
    PUBLISH_DEADLINE_S,
    PUBLISH_RETRY_S_MAX,
    PUBLISH_RETRY_S_MIN,
    TOPICS_PUBLISHED_MAX,
    UNSETTLED_PER_TOPIC_MAX,
    WANTS_EPOCHS_EVERY_S,
)
from yzdht.pubsub.publisher import is_final
from yzdht.revoked_writers import RevokedWriters
from yzdht.topic_policies import Owned
from yzdht.wire.pubsub import INDEX_MAX, SEND_SESSION_BYTES, PubsubMessage, decode_envelope
from yzdht.wire.rpc import Status


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from yzdht.crypto.identity import IdentityKeys
    from yzdht.crypto.kept_group import KeptGroup
    from yzdht.ids import MessageId, NetworkId, PublicKey, TopicId
    from yzdht.known_groups import KnownGroups
    from yzdht.moves import Moves
    from yzdht.ports import Now, Rng
    from yzdht.pubsub.publisher import PublishResult
    from yzdht.slot_writer import Receipt
    from yzdht.topic_policies import TopicPolicies
    from yzdht.wire.pubsub import PubsubEnvelope


ChannelKey = tuple[str, str | None, "PublicKey | None"]
"""A topic's name, and whose it is."""


class Turn(Protocol):
    """A place in a line, which is left at the end of `with`."""

    async def turn(self, within_s: float) -> bool:
        """Wait until everybody before has left; False if that takes longer."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class TopicAccess(Protocol):
    """The way to the hosts of topics."""

    def now(self) -> Now:
        """The present."""
        ...

    def check_room(self) -> None:
        """See that a message can be begun: `publish`, called before anything else happens, does not raise then.

        Raises:
            TooManyMessages: Too many are on their way.
            UsageError: This process has stopped.

        """
        ...

    def join(self, key: ChannelKey) -> Turn:
        """Stand at the end of a line of messages that are made ready; raises as `check_room`."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait."""
        ...

    async def publish(
        self, envelope: PubsubEnvelope, patience_s: float = PUBLISH_DEADLINE_S
    ) -> PublishResult:
        """Bring a message to the hosts of its topic, for so long at the most; raises as `check_room`."""
        ...

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do something that no caller waits for."""
        ...

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after a while."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """What came of publishing.

    Attributes:
        id: Names the message, 20 bytes.
        session: The run of this process, 8 bytes.
        index: Its place among the messages of that run to the topic, from 0.
        created: Unix seconds.
        stored: Hosts of the topic that have it on disk, as far as was waited for: more than half.
        hosts: How many hosts the topic has.

    """

    id: MessageId
    session: SendSession
    index: int
    created: int
    stored: int
    hosts: int


class Topics:
    """Of one identity in one network, in one run of a process.

    Args:
        identity: Who publishes.
        network: NET.
        groups: Those of its home.
        access: The way to the hosts.
        rng: For the name of this run.
        policies: Of public topics that have an owner; None where there are none.

    Attributes:
        access: As above.

    """

    def __init__(
        self,
        identity: IdentityKeys,
        network: NetworkId,
        groups: KnownGroups,
        access: TopicAccess,
        rng: Rng,
        policies: TopicPolicies | None = None,
    ) -> None:
        self._identity = identity
        self._network = network
        self._groups = groups
        self.access = access
        self._rng = rng
        self._policies = policies
        self._revoked: RevokedWriters | None = None
        self._runs: OrderedDict[TopicId, _Run] = OrderedDict()
        self._known: dict[str, KnownOfGroup] = {}
        self._pauses: dict[str, float] = {}  # seconds between looks at a group that a message asked for
        self._followers: dict[Channel, Callable[[], None]] = {}
        self._written: OrderedDict[tuple[str, str], tuple[KeptGroup, Channel]] = OrderedDict()

    # Channels

    async def channel(self, topic: str, group: str | None = None, owner: PublicKey | None = None) -> Channel:
        """A topic in public, of an owner with the newest policy, or of a group in its newest state.

        Args:
            topic: 1 to 1,024 bytes of UTF-8.
            group: What this home calls it.
            owner: Whose public topic it is; None for everybody's.

        Raises:
            UsageError: The topic's name is none, or it is to have both a group and an owner.
            NoSuchGroup: This home knows no such group.
            NoNode: No node could be reached.

        """
        if owner is not None:
            return await self._owned_channel(topic, group, owner)
        if group is None:
            return Channel(public_topic(self._network, topic), None)
        return self._channel_of(await self._groups.current(group), topic, group)

    def _channel_of(self, kept: KeptGroup, topic: str, group: str) -> Channel:
        channel = Channel(group_topic(kept.state.name_secret, self._network, topic), group)
        channel.learn(self._learn(group))
        return channel

    async def _owned_channel(self, topic: str, group: str | None, owner: PublicKey) -> Channel:
        if group is not None:
            raise UsageError("a topic is a group's, or a public one with an owner", hint="give one of them")
        owned = Owned(owner, topic_tag(self._network, topic))
        channel = Channel(self._rules.topic(owned), None, owned)
        channel.learn_writers(await self._writers(owned, is_wanted=False))
        return channel

    @property
    def _rules(self) -> TopicPolicies:
        if self._policies is None:
            raise UsageError("topics have no owners here")
        return self._policies

    async def _writers(self, owned: Owned, *, is_wanted: bool) -> frozenset[PublicKey]:
        """Whom the newest policy of a topic lets write; all who follow the topic are told where that is new."""
        policy = await self._rules.current(owned, is_wanted=is_wanted)
        is_own = owned.owner == self._identity.public_key
        if is_own and policy is not None and self._rules.is_renewal_due(policy):
            self.access.start(self._rules.renew(owned))
        writers = frozenset((owned.owner,)) | (frozenset() if policy is None else policy.writers)
        if self.is_revoked(owned.owner):  # nothing that is signed by it counts, its list neither
            writers = frozenset()
        for channel, tell in list(self._followers.items()):
            if channel.owned == owned and channel.learn_writers(writers):
                tell()
        return writers

    async def set_policy(self, topic: str, writers: Iterable[PublicKey]) -> Receipt:
        """Say who writes to an own public topic beside oneself; it holds until one says something else.

        Args:
            topic: 1 to 1,024 bytes of UTF-8.
            writers: TOPIC_WRITERS_MAX at most.

        Raises:
            UsageError: The topic's name is none, there are too many writers, or one is no key.
            Conflict, WriteQuorumFailed, NoNode: As of `QuorumWriter.write`.

        """
        owned = Owned(self._identity.public_key, topic_tag(self._network, topic))
        receipt = await self._rules.set(owned, writers)
        await self._writers(owned, is_wanted=False)
        return receipt

    async def _channel_to_write(self, topic: str, group: str | None, owner: PublicKey | None) -> Channel:
        """As `channel`, for publishing: of a group that is as it was, the one that has its keys derived already."""
        if owner is not None:
            return await self._owned_channel_to_write(topic, group, owner)
        if group is None:
            return await self.channel(topic)
        kept = await self._groups.current(group)
        last = self._written.get((topic, group))
        if last is None or last[0] is not kept:
            last = self._written[topic, group] = kept, self._channel_of(kept, topic, group)
            if len(self._written) > TOPICS_PUBLISHED_MAX:
                self._written.popitem(last=False)
        self._written.move_to_end((topic, group))
        return last[1]

    async def _owned_channel_to_write(self, topic: str, group: str | None, owner: PublicKey) -> Channel:
        """As `channel`; the owner lists this identity, or nothing is published."""
        channel = await self._owned_channel(topic, group, owner)
        if not channel.is_member(self._identity.public_key):
            await self.renew(channel, is_wanted=True)  # it was added a moment ago, perhaps
            channel.check_writer(self._identity.public_key)
        return channel

    def _learn(self, group: str) -> KnownOfGroup:
        """Take up what this home knows of a group; all who follow it are told where that is new."""
        epochs, before = self._groups.message_epochs(group), self._known.get(group)
        keys = before.keys if before is not None and before.keys.epochs == epochs else MessageKeys(epochs)
        known = KnownOfGroup(keys, self._groups.member_keys(group), self._groups.kept(group).is_removed)
        self._known[group] = known
        while len(self._known) > GROUPS_KEPT_MAX:
            del self._known[next(iter(self._known))]
        for channel, tell in list(self._followers.items()):
            if channel.group == group and channel.learn(known):
                tell()
        return known

    def heed(self, moves: Moves) -> None:
        """Have nothing told of those who are revoked, from now on."""
        self._revoked = RevokedWriters(self._identity.public_key, moves, self.access)

    def is_revoked(self, writer: PublicKey) -> bool:
        """True for who is known to be revoked; it is looked for beside that, so that it may be known later."""
        return self._revoked is not None and self._revoked.has(writer)

    def follow(self, channel: Channel, on_news: Callable[[], None]) -> None:
        """Have a channel know what any caller of this home finds out about its group, until `leave`."""
        self._followers[channel] = on_news

    def leave(self, channel: Channel) -> None:
        """End that."""
        self._followers.pop(channel, None)

    def check_membership(self, channel: Channel) -> None:
        """See that this identity reads and writes a channel; raises NotAMember."""
        channel.check_membership(self._identity.public_key)

    async def renew(self, channel: Channel, *, is_wanted: bool) -> None:
        """Look whether the group has a newer state: hourly, or since something does not fit the one that is known.

        All who follow the group learn what is found.

        Raises:
            NoSuchGroup: It was forgotten meanwhile.
            StoreError, DecryptionFailed: What this home keeps of it cannot be read.

        """
        group, owned = channel.group, channel.owned
        if owned is not None:
            channel.learn_writers(await self._writers(owned, is_wanted=is_wanted))
        if group is None:
            return
        with suppress(YzError):  # without a node what is known goes on working
            await (self._look_again(group) if is_wanted else self._groups.current(group))
        self._learn(group)

    async def _look_again(self, group: str) -> None:
        """Look for a newer state, sooner where the last look found one; one who makes up kids has it looked for once a minute."""
        pause_s = self._pauses.get(group, WANTS_EPOCHS_EVERY_S)
        before = self._groups.message_epochs(group)
        if await self._groups.look_again(group, pause_s) is None:
            return
        if self._groups.message_epochs(group) != before:
            pause_s = WANTS_EPOCHS_EVERY_S
        else:  # nodes that cannot answer say nothing about the kid
            most_s = GROUP_LOOK_UNREAD_S if self._groups.is_unread(group) else GROUP_LOOK_AGAIN_S
            pause_s = max(pause_s, min(2 * pause_s, most_s))
        self._pauses[group] = pause_s
        while len(self._pauses) > GROUPS_KEPT_MAX:
            del self._pauses[next(iter(self._pauses))]

    # Publishing

    async def publish(
        self,
        topic: str,
        data: bytes,
        group: str | None = None,
        type_: int = 0,
        owner: PublicKey | None = None,
        timeout_s: float = PUBLISH_DEADLINE_S,
    ) -> Published:
        """Publish a message; those of a topic have their places in the order of the calls.

        Args:
            topic: 1 to 1,024 bytes of UTF-8.
            data: At most PUBSUB_DATA_BYTES_MAX bytes.
            group: For whom, by the name that this home gives the group; None for everybody.
            type_: The application's, 0 to 255.
            owner: Whose public topic it is; None for everybody's.
            timeout_s: How long it is tried, more than 0 and PUBLISH_TIMEOUT_S_MAX at the most.

        Returns:
            Its place, and how many hosts have it.

        Raises:
            UsageError: The topic's name is none, or the data is too long.
            NoSuchGroup: This home knows no such group.
            NotAMember: This identity was removed from it.
            NotAWriter: The owner of the topic does not list this identity.
            PublishFailed: No majority of the hosts has it, as far as is known.
            NoNode: No node could be reached, or none that hosts topics.
            TooManyMessages: Too many are on their way; nothing began.
            DecryptionFailed, StoreError: What this home keeps of the group cannot be read.

        """
        deadline = self.access.now().mono + timeout_s
        with self.access.join((topic, group, owner)) as place:
            channel = await self._reached_channel(topic, group, owner, deadline)
            if not await place.turn(self._left_s(deadline)):  # those before look who may write still
                raise NoNode("no node could be reached")
            self.access.check_room()  # before a place is taken: what is not sent would make a gap of it
            run = self._run(channel.topic)
            envelope, created = self._build(channel, run, data, type_)
        self._send_along(run)
        try:
            result = await self.access.publish(envelope, self._left_s(deadline))
        except BaseException:  # also where the caller gives up waiting
            run.keep(envelope)
            raise
        channel.make_ready(self.access.later)
        if not result.is_accepted:
            run.keep(envelope)
            is_refused = channel.owned is not None and result.refusal is Status.REFUSED
            if channel.owned is not None and is_refused:
                self._rules.doubt(channel.owned)
            if not result.asked and not is_refused:
                raise NoNode("no host of the topic answered in time")
            raise PublishFailed(result.stored, result.asked, _why(result.refusal))
        return Published(envelope.id, envelope.session, envelope.index, created, result.stored, result.asked)

    def _left_s(self, deadline: float) -> float:
        """Until then, and long enough to try once."""
        return max(PUBLISH_RETRY_S_MIN, deadline - self.access.now().mono)

    async def _reached_channel(
        self, topic: str, group: str | None, owner: PublicKey | None, deadline: float
    ) -> Channel:
        """As `_channel_to_write`, tried again while no node can be reached."""
        while True:
            try:
                return await self._channel_to_write(topic, group, owner)
            except NoNode:
                if self.access.now().mono + PUBLISH_RETRY_S_MAX >= deadline:
                    raise
            await self.access.pause(PUBLISH_RETRY_S_MAX)

    def _run(self, topic: TopicId) -> _Run:
        """The count of a topic; of one that was not used for longest it begins anew under another name."""
        run = self._runs.get(topic)
        if run is None or run.is_over or run.next >= INDEX_MAX:
            before = run
            run = _Run(SendSession(self._rng.token(SEND_SESSION_BYTES)))
            if before is not None:
                run.unsettled = before.unsettled
            elif len(self._runs) >= TOPICS_PUBLISHED_MAX:
                self._forget_run()
            self._runs[topic] = run
        self._runs.move_to_end(topic)
        return run

    def _forget_run(self) -> None:
        """Forget the one that was not used for longest, where there is one of those that have nothing to send along."""
        settled = (topic for topic, run in self._runs.items() if not run.unsettled)
        del self._runs[next(settled, next(iter(self._runs)))]

    def _build(self, channel: Channel, run: _Run, data: bytes, type_: int) -> tuple[PubsubEnvelope, int]:
        """An envelope in the next place of its topic, which is taken from then on."""
        me = self._identity.public_key
        channel.check_writer(me)
        created = int(self.access.now().wall)
        place = MessagePlace(channel.topic, me, run.session, run.next)
        unsigned = channel.build(place, PubsubMessage(created, type_, data))
        run.next += 1
        return decode_envelope(sign_envelope(unsigned, self._identity.signer, self._network)), created

    def _send_along(self, run: _Run) -> None:
        """Bring what no majority took before: a later message makes a gap of it."""
        for envelope in list(run.unsettled.values()):
            del run.unsettled[envelope.id]
            self.access.start(self._bring_again(run, envelope))

    async def _bring_again(self, run: _Run, envelope: PubsubEnvelope) -> None:
        try:
            result = await self.access.publish(envelope)
        except YzError:
            run.keep(envelope)
            return
        if not result.is_accepted and is_final(result.refusal):
            run.is_over = run.is_over or envelope.session == run.session
        elif not result.is_accepted:
            run.keep(envelope)


def _why(refusal: Status) -> str:
    """What most of the hosts that refused said."""
    if refusal is Status.SEQ_TOO_LOW:
        return "they keep newer messages alone of this run"
    return "" if refusal is Status.OK else refusal.name.lower().replace("_", " ")


@dataclass(slots=True, eq=False)
class _Run:
    """The messages of this run to one topic.

    Attributes:
        session: Their name: random, and of this topic alone, so that it links no two.
        next: The index of the next.
        unsettled: Those that no majority of the hosts took, as far as is known, of the run before it, too.
        is_over: True once one of them was given up: where it is missing subscribers would wait for it, so that the next
            message begins another run.

    """

    session: SendSession
    next: int = 0
    unsettled: OrderedDict[MessageId, PubsubEnvelope] = field(default_factory=OrderedDict)
    is_over: bool = False

    def keep(self, envelope: PubsubEnvelope) -> None:
        """Nobody knows whether it is stored; of too many the oldest is given up."""
        self.unsettled[envelope.id] = envelope
        if len(self.unsettled) > UNSETTLED_PER_TOPIC_MAX:
            _, given_up = self.unsettled.popitem(last=False)
            self.is_over = self.is_over or given_up.session == self.session

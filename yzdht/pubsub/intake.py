"""Envelopes that reach a host: judged, passed on to subscribers, kept, and only then answered for (PROTOCOL.md section 11).

Cheap tests come first, the signature last; subscribers do not wait for the disk, whoever published does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from yzdht.errors import CryptoError, StoreError, WireError
from yzdht.rpc.engine import Answer
from yzdht.wire.history import (
    Conflicting,
    Forgotten,
    Kept,
    KnownAlready,
    Over,
    TopicWrite,
)
from yzdht.wire.pubsub import INDEX_MAX
from yzdht.wire.rpc import Published, Refusal, Status
from yzdht.wire.slot import OverQuota, StoreBroken


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import MessageId, TopicId
    from yzdht.ports import Now, TopicStore
    from yzdht.pubsub.fanout import FanOut
    from yzdht.pubsub.hosted import Hosted, Topics
    from yzdht.pubsub.keeping import Keeping
    from yzdht.pubsub.policies import Policies
    from yzdht.pubsub.ports import Surroundings
    from yzdht.wire.history import Bringer, TopicVerdict
    from yzdht.wire.pubsub import PubsubEnvelope

    Then = Callable[[Answer, Now], None]


STORED = Answer(Status.OK, Published(1, 1))
NO_WRITER = Answer(Status.REFUSED, Refusal())
FORGED = Answer(Status.BAD_SIGNATURE, Refusal())
_BUSY = Answer(Status.BUSY, Refusal())
_NO_ROOM = Answer(Status.OVER_QUOTA, Refusal())
_MALFORMED = Answer(Status.BAD_REQUEST, Refusal())


class Intake:
    """Takes envelopes in.

    Args:
        topics: What is held.
        store: Where it is.
        keeping: Has it written.
        fan_out: Passes it on.
        surroundings: Checks signatures, counts.

    """

    def __init__(
        self,
        topics: Topics,
        store: TopicStore,
        keeping: Keeping,
        fan_out: FanOut,
        surroundings: Surroundings,
    ) -> None:
        self._topics = topics
        self._store = store
        self._keeping = keeping
        self._fan_out = fan_out
        self._verifier = surroundings.verifier
        self._count = surroundings.count
        self._policies = surroundings.policies

    def take(
        self,
        envelope: PubsubEnvelope,
        hosted: Hosted,
        bringer: Bringer,
        then: Then,
        now: Now,
        *,
        is_pushed: bool = True,
    ) -> bool:
        """Take one envelope of a topic that is hosted.

        Args:
            envelope: Its signature is not checked yet.
            hosted: Its topic.
            bringer: On whose account it is kept.
            then: Told the answer, once it is on disk or refused; perhaps before this returns.
            now: The present.
            is_pushed: False for what was fetched from another host: all subscribers are told of it, and sent nothing.

        Returns:
            False if it is not genuine.

        Raises:
            StoreError: The disk cannot be read; nothing was told, and nothing taken.

        """
        if envelope.index >= INDEX_MAX:  # one more could not be counted
            then(_MALFORMED, now)
            return False
        if not self._policies.may_write(envelope.topic, envelope.sender):
            self._count("pubsub_no_writers")
            then(NO_WRITER, now)
            return True
        series = envelope.series
        held = self._topics.holdings(hosted.topic).of(series)
        if envelope.index < held.floor:
            then(_over(held.floor), now)
            return True
        # What is known under this id may have had other bytes: an id leaves out the signature.
        try:
            self._verifier.verify(envelope)
        except CryptoError:
            self._count("pubsub_forged")
            then(FORGED, now)
            return False
        is_new = envelope.index not in held
        known = None if is_new else self._topics.message_id(hosted.topic, series, envelope.index)
        if known is not None and known != envelope.id:
            then(_conflict(envelope, known), now)
            return True
        if not self._store.has_room(bringer):
            then(_BUSY, now)
            return True
        self._keep(envelope, bringer, then, now)  # what is known, too: it is perhaps not on disk yet
        if is_new:
            self._pass_on(envelope, hosted, now, is_pushed=is_pushed)
        return True

    def _keep(self, envelope: PubsubEnvelope, bringer: Bringer, then: Then, now: Now) -> None:
        write = TopicWrite(
            envelope.topic,
            envelope.sender,
            envelope.session,
            envelope.index,
            envelope.id,
            envelope.raw,
            self._keeping.wall(now),
            bringer,
        )
        self._keeping.submit(write, lambda verdict, at: self._stored(envelope, then, verdict, at))

    def _pass_on(self, envelope: PubsubEnvelope, hosted: Hosted, now: Now, *, is_pushed: bool) -> None:
        holdings = self._topics.holdings(hosted.topic)
        holdings.add(envelope.series, envelope.index)
        is_known = holdings.of(envelope.series).has_more_than(envelope.index)
        hosted.active_at = now.mono
        hosted.forget_at = None
        self._fan_out.pass_on(envelope, hosted, now, is_pushed=is_pushed, is_known=is_known)

    def _stored(self, envelope: PubsubEnvelope, then: Then, verdict: TopicVerdict, now: Now) -> None:
        """A write is on disk, or was refused."""
        match verdict:
            case Kept(dropped):
                self._topics.over(envelope.topic, dropped)
                self._count("pubsub_kept")
                then(STORED, now)
            case KnownAlready():
                then(STORED, now)
            case Over():
                self._topics.reread(envelope.topic)
                then(self._over_since(envelope), now)
            case Conflicting(known):
                then(_conflict(envelope, known), now)
            case OverQuota():
                self._topics.reread(envelope.topic)
                self._topics.no_room(envelope.topic)
                self._count("pubsub_over_quota")
                then(_NO_ROOM, now)
            case StoreBroken() | Forgotten():
                self._topics.reread(envelope.topic)
                then(_BUSY, now)
            case _:
                assert_never(verdict)

    def _over_since(self, envelope: PubsubEnvelope) -> Answer:
        try:
            return _over(self._topics.holdings(envelope.topic).of(envelope.series).floor)
        except StoreError:  # from where on something would be taken is not known
            return _BUSY


def _over(floor: int) -> Answer:
    """What lies below is refused: nothing says whether it was ever here, and nobody will have it from here."""
    return Answer(Status.SEQ_TOO_LOW, Refusal(floor))


def _conflict(envelope: PubsubEnvelope, known: MessageId) -> Answer:
    return Answer(Status.EQUIVOCATION, Refusal(envelope.index, known))


def learn_policy(policies: Policies, raw: bytes, topic: TopicId, bringer: Bringer, now: Now) -> Answer | None:
    """Take note of a policy that came with a message; why the message is refused, if it does not hold."""
    try:
        policies.learn(raw, topic, bringer, now)
    except WireError:
        return _MALFORMED
    except CryptoError:
        return FORGED
    return None

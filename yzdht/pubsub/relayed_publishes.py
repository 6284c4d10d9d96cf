"""What clients publish through a node: judged as a host would, brought to the hosts, and answered with what came of it (section 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.errors import InvalidSignature, WireError
from yzdht.limits import EDGE_PUBLISHES_MAX
from yzdht.pubsub.intake import learn_policy
from yzdht.pubsub.pauses import limited
from yzdht.pubsub.shares import Shares
from yzdht.rpc.engine import Answer, Reply
from yzdht.wire.pubsub import INDEX_MAX, decode_envelope
from yzdht.wire.rpc import Published, Refusal, Status


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ports import Now
    from yzdht.pubsub.outbox import Outbox
    from yzdht.pubsub.ports import Surroundings
    from yzdht.pubsub.publisher import PublishResult
    from yzdht.pubsub.rates import Bringers, Rates
    from yzdht.rpc.engine import Peer
    from yzdht.wire.history import Bringer
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import Publish

    Begin = Callable[[PubsubEnvelope, Callable[[PublishResult, Now], None], Now], bool]


class RelayedPublishes:
    """Of one node.

    Args:
        outbox: Where answers go.
        surroundings: Checks signatures, counts, knows who writes to topics that have an owner.
        bringers: Names with whom a client shares what there is room for.
        rates: What clients may bring.
        begin: Brings one message to its hosts; False if there is no room.

    """

    def __init__(
        self, outbox: Outbox, surroundings: Surroundings, bringers: Bringers, rates: Rates, begin: Begin
    ) -> None:
        self._outbox = outbox
        self._verifier = surroundings.verifier
        self._count = surroundings.count
        self._policies = surroundings.policies
        self._bringers = bringers
        self._rates = rates
        self._begin = begin
        self._shares = Shares(EDGE_PUBLISHES_MAX)

    def publish(self, request: int, peer: Peer, body: Publish, now: Now) -> None:
        """Do what a client asks; it is answered once."""
        if wait_s := self._rates.bring(peer, len(body.envelope) + len(body.policy), now):
            answer = limited(wait_s)
            self._outbox.put(Reply(request, answer.status, answer.body))
            return
        bringer = self._bringers.of_peer(peer)
        if not self._shares.has_room(bringer):
            self._refuse(request, Status.BUSY)
            return
        envelope = self._genuine(request, peer, body.envelope, now)
        if envelope is not None and self._may_write(request, peer, envelope, body.policy, now):
            self._bring(request, bringer, envelope, now)

    def _bring(self, request: int, bringer: Bringer, envelope: PubsubEnvelope, now: Now) -> None:
        def told(result: PublishResult, _at: Now) -> None:
            self._shares.give_back(bringer)
            if result.stored or result.refusal is Status.OK:
                self._outbox.put(Reply(request, Status.OK, Published(result.stored, result.asked)))
            else:
                self._refuse(request, result.refusal)

        self._shares.take(bringer)
        if not self._begin(envelope, told, now):
            self._shares.give_back(bringer)
            self._refuse(request, Status.BUSY)

    def _refuse(self, request: int, status: Status) -> None:
        self._outbox.put(Reply(request, status, Refusal()))

    def _may_write(self, request: int, peer: Peer, envelope: PubsubEnvelope, policy: bytes, now: Now) -> bool:
        """Learn the policy that a client shows, for hosts to be shown it; who may not write goes no farther."""
        bringer = self._bringers.of_peer(peer)
        refusal: Answer | None = None
        if policy:
            refusal = learn_policy(self._policies, policy, envelope.topic, bringer, now)
        if refusal is not None:
            self._outbox.put(Reply(request, refusal.status, refusal.body))
            self._rates.punish(peer, now)
            return False
        if not self._policies.may_write(envelope.topic, envelope.sender):
            self._refuse(request, Status.REFUSED)
            return False
        return True

    def _genuine(self, request: int, peer: Peer, raw: bytes, now: Now) -> PubsubEnvelope | None:
        """What a client hands in; what hosts would refuse, and hold against this node, goes no farther."""
        try:
            envelope = decode_envelope(raw)
            self._verifier.verify(envelope)
        except WireError:
            self._refuse(request, Status.BAD_REQUEST)
        except InvalidSignature:
            self._refuse(request, Status.BAD_SIGNATURE)
        else:
            if envelope.index < INDEX_MAX:
                return envelope
            self._refuse(request, Status.BAD_REQUEST)
        self._count("pubsub_forged")
        self._rates.punish(peer, now)
        return None

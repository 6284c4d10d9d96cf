"""What a topic host asks of the node that it is part of; the shell, and tests, supply it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from yzdht.limits import LINK_UNSENT_BYTES_HIGH
from yzdht.pubsub.policies import Policies


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import Target, TopicId
    from yzdht.ports import Now
    from yzdht.rpc.engine import Peer
    from yzdht.wire.address import Contact
    from yzdht.wire.pubsub import PubsubEnvelope
    from yzdht.wire.rpc import WireContact


class Neighbourhood(Protocol):
    """Which nodes host topics, as this node's table has it."""

    def hosts(self, target: Target, count: int) -> Sequence[Contact]:
        """The known nodes with capability PUBSUB nearest to a point, nearest first; this node is one of them if it has it."""
        ...

    def shown(self, contacts: Sequence[Contact], peer: Peer) -> tuple[WireContact, ...]:
        """Those of them that a peer can use, as it can use them, in the same order."""
        ...


class EnvelopeVerifier(Protocol):
    """Checks the signature of each distinct envelope once."""

    def verify(self, envelope: PubsubEnvelope) -> None:
        """Check it.

        Raises:
            InvalidSignature: The sender did not sign it.

        """
        ...

    def know(self, envelope: PubsubEnvelope) -> None:
        """This process signed it a moment ago: it is not to be checked when it comes back."""
        ...


class Observe(Protocol):
    """Takes figures."""

    def __call__(self, name: str, value: float, label: str = "", /) -> None:
        """Take one: to how many a message was sent, how long publishing took."""
        ...


def _unseen(_name: str, _value: float, _label: str = "", /) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The node that a topic host is part of.

    Attributes:
        neighbourhood: Who hosts topics beside it.
        verifier: Checks signatures.
        target_of: The point of a topic near which its hosts are.
        is_congested: True if a peer does not read what it is sent.
        count: Counts what happens, by name.
        observe: Told figures, by name.
        policies: Who writes to topics that have an owner.
        passed_on: Told, of each message that is to be sent to subscribers, when it came.
        unsent_bytes: How much waits to be sent to a peer.

    """

    neighbourhood: Neighbourhood
    verifier: EnvelopeVerifier
    target_of: Callable[[TopicId], Target]
    is_congested: Callable[[Peer], bool]
    count: Callable[[str], None]
    observe: Observe = _unseen
    policies: Policies = field(default_factory=Policies)
    passed_on: Callable[[Now], None] = lambda _came: None
    unsent_bytes: Callable[[Peer], int] = lambda _peer: LINK_UNSENT_BYTES_HIGH

"""The interface between engines and the shell: what goes out, what comes in.

An engine never sees request ids, frames or socket addresses. `call`, `op` and `request` are opaque numbers, unique per
engine; the shell routes by (engine, number). There is no Dial: a Call to a contact without a session makes the shell
dial. HOUSE: closed unions, matched with assert_never.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from yzdht.ids import NodeId, PublicKey, SessionId, Target
    from yzdht.ports import Now
    from yzdht.wire.address import Contact
    from yzdht.wire.frame import Caps, RecordType
    from yzdht.wire.history import TopicChange
    from yzdht.wire.rpc import Body, Method, Status
    from yzdht.wire.slot import Verdict, Write


@dataclass(frozen=True, slots=True)
class Peer:
    """A node, or a client, with a live session.

    Attributes:
        node_id: Proved by the handshake.
        public_key: Its identity key.
        caps: Capability bits it showed.
        session: Tells apart several processes of one client identity.
        host: IP at which it is reached; empty where there is none.
        prefix: Its public /24 or /48, None for anything not public.
        is_proxied: True if the operator says that its address is a proxy's: others stand there beside it.
        is_hidden: True if it came through such a proxy, which does not say from where.

    """

    node_id: NodeId
    public_key: PublicKey
    caps: Caps
    session: SessionId
    host: str
    prefix: str | None
    is_proxied: bool = False
    is_hidden: bool = False

    @property
    def namer_host(self) -> str:
        """Its own IP, near which it may name addresses; a proxy's would open the network that the proxy stands in."""
        return "" if self.is_hidden else self.host

    @property
    def group(self) -> str:
        """With whom it shares what one address may take."""
        return self.host if self.is_proxied or self.prefix is None else self.prefix

    @property
    def has_own_part(self) -> bool:
        """False if it may have all that its address has: it may be the one program that this node is for."""
        return self.is_proxied or self.prefix is not None


# What an engine wants done


@dataclass(frozen=True, slots=True)
class Call:
    """Send a request; `on_answer` brings what came of it, within `deadline_s`."""

    call: int
    contact: Contact
    method: Method
    body: Body
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """The answer of a call is no longer wanted."""

    call: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a request."""

    request: int
    status: Status
    body: Body


@dataclass(frozen=True, slots=True)
class Push:
    """Send a message that has no answer."""

    peer: Peer
    record_type: RecordType
    data: bytes


@dataclass(frozen=True, slots=True)
class Persist:
    """Write a record durably; `on_stored` brings the verdict."""

    op: int
    write: Write


@dataclass(frozen=True, slots=True)
class Keep:
    """Change the history of a topic durably; the engine of topics is told the verdict."""

    op: int
    change: TopicChange


@dataclass(frozen=True, slots=True)
class Find:
    """Find the nodes nearest to a target; the shell passes it to the kad engine."""

    op: int
    target: Target
    count: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the session of a peer that misbehaved."""

    peer: Peer
    reason: str


Outgoing = Call | Cancel | Reply | Push | Persist | Keep | Find | Drop


# What an engine is told


class Answer(NamedTuple):
    """A response arrived, of whatever status.

    Attributes:
        status: As the peer sent it.
        body: The method's response body if status is 0, else a Refusal.
        expected_s: Seconds within which this peer usually answers.

    """

    status: Status
    body: Body
    expected_s: float = 0.0


class FailReason(Enum):
    """Why a call has no answer."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    WRONG_ID = "wrong_id"
    BUSY = "busy"
    GARBAGE = "garbage"
    UNINVITED = "uninvited"


@dataclass(frozen=True, slots=True)
class Failed:
    """A call has no answer."""

    reason: FailReason


@dataclass(frozen=True, slots=True)
class Up:
    """A session with a peer began."""

    url: str | None
    """The address that was dialled; None when the peer dialled."""


GOODBYE = "goodbye"
"""Why a session ended that the peer closed with a sealed record; a channel that just breaks is none."""

PARTED = "parted"
"""Why a session ended that one end needed the place of: both go on, and may dial each other again."""


NOT_INVITED = "this network asks for an invite"
"""Why a session ended whose peer, of a closed network, serves its members only; for people, too."""

NO_MEMBER = "the other end is no member of this network"
"""Why a session ended whose peer is none, or is none any more, of this end's closed network."""

TURNED_AWAY = "turned away"
"""Why a session ended that the dialled end had no place for: it does not know who dialled, and is to be tried again."""


@dataclass(frozen=True, slots=True)
class Down:
    """The last session with a peer ended."""

    reason: str

    @property
    def is_goodbye(self) -> bool:
        """True if the peer closed it: a leaving node does, and authenticated (PROTOCOL.md section 4)."""
        return self.reason == GOODBYE

    @property
    def is_parting(self) -> bool:
        """True if it was closed for its place alone: nothing is known against the peer."""
        return self.reason == PARTED


class Engine(Protocol):
    """What the shell drives. Every method is synchronous; time is an argument."""

    def on_request(self, request: int, peer: Peer, method: Method, body: Body, now: Now) -> None:
        """A peer asks; answer with Reply, now or later."""
        ...

    def on_answer(self, call: int, outcome: Answer | Failed, now: Now) -> None:
        """A call ended; called exactly once for each that was not cancelled."""
        ...

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes, now: Now) -> None:
        """A peer sent a message that has no answer."""
        ...

    def on_link(self, peer: Peer, change: Up | Down, now: Now) -> None:
        """A session with a peer began or ended."""
        ...

    def on_stored(self, op: int, verdict: Verdict, now: Now) -> None:
        """A Persist is durable or was refused."""
        ...

    def on_found(self, op: int, contacts: list[Contact], now: Now) -> None:
        """A Find ended."""
        ...

    def handle_timer(self, now: Now) -> None:
        """Do what is due."""
        ...

    def next_timer(self) -> float | None:
        """Monotonic seconds at which handle_timer is wanted; None for never."""
        ...

    def take_outgoing(self) -> list[Outgoing]:
        """What to do, in order; empties the list."""
        ...

    def stop(self, now: Now) -> None:
        """Give up everything under way, with notices."""
        ...

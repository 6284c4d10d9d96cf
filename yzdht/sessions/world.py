"""What the sessions of a process stand on, and whom they tell what happens."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from yzdht.sessions.admission import SessionBounds


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.crypto.handshake import Credentials
    from yzdht.ids import NodeId
    from yzdht.ports import Transport
    from yzdht.rpc.engine import Answer, Down, Failed, Peer, Up
    from yzdht.sessions.clock import Clock
    from yzdht.sessions.connection import Connection
    from yzdht.sessions.membership import ClosedNetwork
    from yzdht.telemetry import Counters
    from yzdht.wire.frame import Caps, RecordType
    from yzdht.wire.rpc import Body, Method


class SessionsSink(Protocol):
    """Whoever owns the sessions is told what happens on them."""

    def on_link(self, peer: Peer, change: Up | Down) -> None:
        """A first session with a peer began, or its last one ended."""
        ...

    def on_request(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        """A peer asks; answer with `connection.reply(number, …)`."""
        ...

    def on_answer(self, call: int, outcome: Answer | Failed) -> None:
        """A call ended."""
        ...

    def on_push(self, peer: Peer, record_type: RecordType, data: bytes) -> None:
        """A message without an answer."""
        ...

    def on_client_gone(self, peer: Peer) -> None:
        """A session ended that a client had dialled; of those `on_link` says nothing."""
        ...


@dataclass(slots=True)
class Papers:
    """What this end shows of itself that may change: papers of a closed network, 176 bytes each, None for nothing.

    Attributes:
        membership: Shown to everybody: it is signed over this end's id, and of no use to others.
        invite: Shown to whoever is dialled while there is no membership; its secret is not in it.
        caps: Shown to everybody instead of the credentials' capabilities; None for these.

    """

    membership: bytes | None = None
    invite: bytes | None = None
    caps: Caps | None = None


@dataclass(frozen=True, slots=True)
class World:
    """What sessions stand on.

    Attributes:
        credentials: This end's half of every handshake.
        transports: Ways to dial and listen.
        clock: The present.
        counters: Where to count.
        is_private_allowed: `--allow-private`.
        bounds: How much they may take.
        is_known: True for a node of the routing table.
        papers: What this end shows; may change.
        closed: The closed network whose members alone are served; None for an open one.
        families: Whether this machine has an IPv4 and an IPv6 address to dial others from; asked now and then.
        tls_cost: As how many a TLS handshake with the present key counts.

    """

    credentials: Credentials
    transports: Sequence[Transport]
    clock: Clock
    counters: Counters
    is_private_allowed: bool = False
    bounds: SessionBounds = field(default_factory=SessionBounds)
    is_known: Callable[[NodeId], bool] = lambda _node_id: False
    papers: Papers = field(default_factory=Papers)
    closed: ClosedNetwork | None = None
    families: Callable[[], tuple[bool, bool]] = lambda: (True, True)
    tls_cost: Callable[[], float] = lambda: 1.0

    def credentials_to_dial(self) -> Credentials:
        """This end's half of a handshake that it begins."""
        return self._showing(self.papers.membership or self.papers.invite)

    def credentials_to_answer(self) -> Credentials:
        """This end's half of a handshake that another began."""
        return self._showing(self.papers.membership)

    def _showing(self, token: bytes | None) -> Credentials:
        caps = self.papers.caps
        if token is None and caps is None:
            return self.credentials
        return replace(
            self.credentials, token=token, caps=int(self.credentials.caps if caps is None else caps)
        )

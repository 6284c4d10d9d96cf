"""Connections whose peer is proved, without any network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.ports import Endpoint, Now
from yzdht.rpc.engine import Peer
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.connection import Connection
from yzdht.transport.bounds import LinkBounds
from yzdht.transport.memory import MemoryLink
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from yzdht.loop_turns import LoopTurns
    from yzdht.rpc.session import Event
    from yzdht.sessions.request_turns import RequestTurns


class Nobody:
    def on_event(self, connection: Connection, event: Event) -> None:
        raise AssertionError("nothing happens here")

    def is_busy(self, topic: bytes) -> bool:
        raise AssertionError("nobody asks here")

    def on_weight(self, connection: Connection, held: int) -> None:
        raise AssertionError("nothing is held here")

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        raise AssertionError("nothing is carried here")

    @property
    def handshake_turns(self) -> LoopTurns[Connection]:
        raise AssertionError("nobody knocks here")

    @property
    def request_turns(self) -> RequestTurns[Connection]:
        raise AssertionError("nobody asks here")

    def on_gone(self, connection: Connection) -> None:
        raise AssertionError("nothing goes here")


class Quiet(SystemClock):
    """A clock at zero: what `used_at` says is set by the test."""

    def now(self) -> Now:
        return Now(0.0, 0.0)


def connection(host: str, number: int = 1, *, used_at: float = 0.0, caps: Caps = Caps.ALWAYS) -> Connection:
    """One that the other end dialled and whose peer, of that number, is proved."""
    here = Endpoint("here", 0, "memory")
    link, _ = MemoryLink.pair(here, Endpoint(host, 0, "memory"), LinkBounds())
    made = Connection(link, Quiet(), asyncio.get_running_loop(), Nobody())
    node_id = NodeId(number.to_bytes(32))
    made.used_at = used_at
    made.peer = Peer(node_id, PublicKey(bytes(33)), caps, SessionId(bytes(16)), host, None)
    return made

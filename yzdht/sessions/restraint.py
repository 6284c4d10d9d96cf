"""What peers with a session may ask, hold and send; each bound alone is in pace.py, ledger.py and bandwidth.py.

Owns the consequences: a request that is refused, a link that is not read for a while, a link that is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import BANDWIDTH_BURST_S, PUSHES_PER_CHARGE, REST_S
from yzdht.rpc.bucket import Rate
from yzdht.sessions.bandwidth import Meter
from yzdht.sessions.ledger import Ledger
from yzdht.sessions.pace import RequestPace
from yzdht.wire.rpc import Empty, Refusal, Status


if TYPE_CHECKING:
    from yzdht.rpc.session import Spent
    from yzdht.sessions.connection import Connection
    from yzdht.sessions.world import World


class Restraint:
    """Judges what connections do, all of them together.

    Args:
        world: Its bounds, clock and counters.

    """

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._counters = world.counters
        self._pace = RequestPace(world.is_known, world.bounds.prefix_of)
        self._ledger = Ledger(world.bounds.held_bytes_max)
        self._shed: set[Connection] = set()  # aborted for holding too much, and not gone yet
        line = world.bounds.bandwidth_bytes_per_s
        self._meter = (
            None if line is None else Meter(Rate(line, line * BANDWIDTH_BURST_S), world.clock.now().mono)
        )

    @property
    def held_bytes(self) -> int:
        """Bytes that connections hold for their peers, as last weighed."""
        return self._ledger.total

    @property
    def is_metering(self) -> bool:
        """True if there is a bound of what all links carry."""
        return self._meter is not None

    def may_ask(self, connection: Connection, number: int) -> bool:
        """True if a request may be served; otherwise it is answered here, and its peer not read if it asks too much."""
        assert connection.peer is not None
        connection.used_at = mono = self._clock.now().mono
        wait_s = self._pace.take(connection.peer, mono)
        if wait_s:
            wait_s = self._have_rest(connection, wait_s)
            connection.reply(number, Status.RATE_LIMITED, Refusal(int(wait_s * 1000) + 1))
            return False
        if self._ledger.is_over_its_part(connection):
            self._counters.add("rate_limited", "memory")
            connection.reply(number, Status.BUSY, Empty())
            return False
        return True

    def spent(self, connection: Connection, event: Spent) -> None:
        """A peer sent what is served by nobody: that costs it what a request does, but is no use of its session."""
        assert connection.peer is not None
        if event.status is not None:
            method = "unknown" if event.method is None else event.method.name.lower()
            self._counters.add("rpc_served", f"{method}/{event.status.name.lower()}")
        if wait_s := self._pace.take(connection.peer, self._clock.now().mono):
            self._have_rest(connection, wait_s)

    def pushed(self, connection: Connection) -> None:
        """A peer said something unasked: that costs it what a request does, charged for some at once."""
        assert connection.peer is not None
        connection.unpaid_pushes += 1
        if connection.unpaid_pushes < PUSHES_PER_CHARGE:
            return
        mono = self._clock.now().mono
        if not self._pace.take(connection.peer, mono, PUSHES_PER_CHARGE):
            connection.unpaid_pushes -= PUSHES_PER_CHARGE
        elif wait_s := self._pace.take(
            connection.peer, mono
        ):  # what many share may hold less than that for long
            self._have_rest(connection, wait_s)
        else:
            connection.unpaid_pushes -= 1

    def _have_rest(self, connection: Connection, wait_s: float) -> float:
        """Do not read a peer for a while; return the seconds after which it is worth another try."""
        self._counters.add("rate_limited", "requests")
        wait_s = max(wait_s, REST_S[0])
        connection.rest(min(wait_s, REST_S[1]))
        return wait_s

    def weigh(self, connection: Connection, held: int) -> None:
        """A connection holds so many bytes now; if all hold too much, the greediest goes."""
        if connection in self._shed:
            return
        self._ledger.weigh(connection, held)
        greediest = self._ledger.greediest()
        if greediest is not None:
            self._counters.add("rate_limited", "memory_shed")
            self._shed.add(greediest)
            greediest.link.abort()

    def carried(self, connection: Connection, taken: int, given: int) -> None:
        """Who sends more than the line may carry is not read for a while, once it is proved."""
        assert self._meter is not None
        rest_s = self._meter.carried(taken, given, self._clock.now().mono)
        if rest_s and taken and connection.peer is not None:
            self._counters.add("rate_limited", "bandwidth")
            connection.rest(rest_s)

    def forget(self, connection: Connection) -> None:
        """It is gone; what it owes is charged to who may come again."""
        if connection.unpaid_pushes and connection.peer is not None:
            owed = min(connection.unpaid_pushes, PUSHES_PER_CHARGE)
            self._pace.take(connection.peer, self._clock.now().mono, owed)
        self._ledger.weigh(connection, 0)
        self._shed.discard(connection)

"""The door of a closed network: who has a session there, until when, and what a guest is answered (PROTOCOL.md section 12).

Owns what membership.py decides over time: memberships end and are revoked while their sessions last. In an open network
everybody is let in, and nothing here costs anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.limits import SESSION_S_MAX
from yzdht.sessions.membership import STRANGER, Guests, Pass, Standing
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    import asyncio

    from yzdht.crypto.handshake import Established
    from yzdht.ids import PublicKey
    from yzdht.sessions.admission import Refusal
    from yzdht.sessions.connection import Connection
    from yzdht.sessions.world import World
    from yzdht.wire.rpc import Body, Method


_ANYBODY = Pass(Standing.MEMBER)
_OF_A_ROUTER = Caps.STORAGE | Caps.ROUTING


class Entrance:
    """Judges proved peers, and looks at them again when their time is up.

    Args:
        world: Its closed network, if it is one; its clock.
        loop: For timers.

    """

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self._closed = world.closed
        self._clock = world.clock
        self._loop = loop
        self._guests = Guests()
        self._inside: dict[Connection, tuple[Pass, asyncio.TimerHandle | None]] = {}
        self._papers: dict[Connection, tuple[PublicKey, bytes | None]] = {}  # by whom, and what, was shown

    @property
    def guests(self) -> int:
        """Sessions of guests."""
        return len(self._guests)

    def judge(self, connection: Connection, established: Established) -> Pass:
        """How a peer stands that is proved; whoever was dialled and is no member is a stranger."""
        if self._closed is None:
            return _ANYBODY
        self._papers[connection] = established.peer_key, established.shown
        return self._judge_again(connection)

    def _judge_again(self, connection: Connection) -> Pass:
        assert self._closed is not None
        found = self._closed.judge(*self._papers[connection], self._clock.now().wall)
        return STRANGER if found.standing is Standing.GUEST and connection.is_initiator else found

    def enter(self, connection: Connection, found: Pass) -> Refusal | Connection | None:
        """Let in whoever is no stranger, until `leave`.

        Returns:
            A Refusal if there are too many guests; else whose session ends for it, mostly nobody's.

        """
        assert found.standing is not Standing.STRANGER
        verdict: Refusal | Connection | None = None
        if found.rights is not None:
            verdict = self._guests.enter(connection, found.rights.invite, self._clock.now().mono)
            if isinstance(verdict, tuple):
                return verdict
        if self._closed is not None:
            self._keep(connection, found)
        return verdict

    def leave(self, connection: Connection) -> None:
        """A session ended; a no-op for one that was not let in."""
        self._guests.leave(connection)
        self._papers.pop(connection, None)
        _, timer = self._inside.pop(connection, (None, None))
        if timer is not None:
            timer.cancel()

    def may_ask(self, connection: Connection, method: Method, body: Body) -> bool:
        """Whether a request is for whoever asks."""
        if self._closed is None:
            return True
        found, _ = self._inside.get(connection, (STRANGER, None))
        return found.standing is Standing.MEMBER or (
            found.rights is not None and found.rights.cover(method, body)
        )

    def look_again(self) -> None:
        """Part from everybody whose membership or invite does not count any more: the revocation list is another one."""
        for connection in list(self._inside):
            self._look_at(connection)

    def _keep(self, connection: Connection, found: Pass) -> None:
        timer: asyncio.TimerHandle | None = None
        left_s = found.ends_at - self._clock.now().wall
        if left_s < SESSION_S_MAX:  # else the session ends before
            timer = self._loop.call_later(max(0.0, left_s) + 1.0, self._time_is_up, connection)
        self._inside[connection] = (found, timer)

    def _time_is_up(self, connection: Connection) -> None:
        found, _ = self._inside[connection]
        if found.standing is Standing.GUEST:  # its time does not begin anew
            connection.turn_away()
        else:
            self._look_at(connection)

    def _look_at(self, connection: Connection) -> None:
        """Judge again what was shown when the session began; the clock may have been set, too."""
        before, timer = self._inside[connection]
        found = self._judge_again(connection)
        if found.standing is not before.standing:
            connection.turn_away()
        elif found.standing is Standing.MEMBER:
            if timer is not None:
                timer.cancel()
            self._keep(connection, found)


def caps_of(established: Established, found: Pass) -> Caps:
    """What a peer can do, as the engines hear it: a guest only asks, whatever it says."""
    caps = Caps(established.peer_caps)
    return (caps | Caps.CLIENT) & ~_OF_A_ROUTER if found.standing is Standing.GUEST else caps

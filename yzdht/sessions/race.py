"""One peer dialled at several addresses: which may be begun, which has won, what the others say of the peer.

PROTOCOL.md section 6. No I/O: the dialler opens links and runs handshakes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from yzdht.errors import DialledTooOften, ReachedAnother, UsageError
from yzdht.limits import HANDSHAKE_PATIENCE_S
from yzdht.rpc.engine import FailReason
from yzdht.staggered import UNTIL_ANOTHER_ENDS
from yzdht.wire.address import parse_url


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.errors import DialFailed
    from yzdht.ids import NodeId
    from yzdht.sessions.connection import Connection


class Attempt:
    """One dial of one address.

    Args:
        url: As it was typed or heard.
        expected: Who must answer; None for anybody.
        race: What it is part of; None for one that stands alone.

    Attributes:
        outcome: The session to use, once there is one.
        connections: What was opened for it.
        linked_at: Monotonic seconds at which its link was open; None until then.

    """

    def __init__(self, url: str, expected: NodeId | None, race: Race | None = None) -> None:
        self.url = url
        self.expected = expected
        self.outcome: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.connections: list[Connection] = []
        self.linked_at: float | None = None
        self._race = race

    @property
    def is_lost(self) -> bool:
        """True once another address of the race has won."""
        return self._race is not None and self._race.winner not in (None, self)

    def linked(self, connection: Connection, mono: float) -> None:
        """A link is open, and its handshake begins."""
        self.connections.append(connection)
        self.linked_at = mono

    def won(self, serving: Connection) -> None:
        """The peer is proved; the handshakes at its other addresses end before they can prove it again.

        They must end at once: this end would be done with a second one before the peer is, and which of two sessions
        goes on would be another one at either end.
        """
        if not self.outcome.done():
            self.outcome.set_result(serving)
        if self._race is not None:
            self._race.end(self)

    def begin_again(self) -> None:
        """No session came of the link; another is opened."""
        self.outcome = asyncio.get_running_loop().create_future()
        self.linked_at = None

    def lost(self, error: DialFailed) -> None:
        """The session ended."""
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def hang_up(self) -> None:
        """End what is half open; the outcome is that there is no session. Idempotent."""
        for connection in self.connections:
            if connection.peer is None:
                connection.close()

    def give_up(self) -> None:
        """The dial is over: end what is half open, and ask for no outcome any more."""
        self.hang_up()
        if not self.outcome.cancel() and not self.outcome.cancelled():
            self.outcome.exception()  # looked at, though the dial may have ended before it


class Race:
    """The dials of one peer at its several addresses.

    Args:
        node_id: Who must answer at each.
        replaced: The session that the new one replaces; None if there is none.

    Attributes:
        tried: Every address that was begun.
        under_way: The attempts that have not ended.
        winner: The one whose peer is proved.

    """

    def __init__(self, node_id: NodeId, replaced: Connection | None = None) -> None:
        self.node_id = node_id
        self.replaced = replaced
        self.tried: list[str] = []
        self.under_way: list[Attempt] = []
        self.winner: Attempt | None = None
        self._dead: set[tuple[str, int]] = set()
        self._has_reached_another = False
        self._is_put_off = False

    @property
    def reason(self) -> FailReason:
        """What to say of the peer if nothing has won: nothing bad, if it was not tried at every address."""
        if self._is_put_off:
            return FailReason.BUSY
        return FailReason.WRONG_ID if self._has_reached_another else FailReason.UNREACHABLE

    def wait_s(self, url: str, mono: float) -> float | None:
        """How long an address must wait that could be begun; None if it would not be reached.

        Two protocols at one host and port share its fate: they are never tried at once, and not both where no TCP
        connection comes about. Who has opened a link is given time to answer on it: a peer that is slow because many
        dial it must not be dialled twice as often for that.
        """
        place = _place_of(url)
        if place is not None and place in self._dead:
            return None
        is_taken = place is not None and any(place == _place_of(a.url) for a in self.under_way)
        if self.winner is not None or is_taken:
            return UNTIL_ANOTHER_ENDS
        linked = [a.linked_at for a in self.under_way if a.linked_at is not None]
        return max(0.0, *(at + HANDSHAKE_PATIENCE_S - mono for at in linked)) if linked else 0.0

    @contextlib.contextmanager
    def begin(self, url: str) -> Iterator[Attempt]:
        """An attempt, under way until the block ends."""
        attempt = Attempt(url, self.node_id, self)
        self.tried.append(url)
        self.under_way.append(attempt)
        try:
            yield attempt
        finally:
            self.under_way.remove(attempt)

    def failed(self, attempt: Attempt, error: DialFailed) -> None:
        """No session came of an attempt."""
        self._has_reached_another = self._has_reached_another or isinstance(error, ReachedAnother)
        if isinstance(error, DialledTooOften):
            self._is_put_off = True
        elif attempt.url.startswith("tcp:") and attempt.linked_at is None:
            place = _place_of(attempt.url)
            if place is not None:
                self._dead.add(place)

    def end(self, winner: Attempt) -> None:
        """One has won; the others are given up."""
        self.winner = winner
        for attempt in self.under_way:
            if attempt is not winner:
                attempt.hang_up()


def _place_of(url: str) -> tuple[str, int] | None:
    """Host and port; None for an address of a transport within this process."""
    try:
        parsed = parse_url(url)
    except UsageError:
        return None
    return parsed.host, parsed.port

"""Who of those that write to topics is revoked, as one identity knows it: nothing that they signed is told (PROTOCOL.md section 11).

What this home knows counts at once; the network is asked beside that, of each writer who was heard and once a day, so that messages
do not wait for it.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from yzdht.errors import PublisherRevoked, YzError
from yzdht.limits import WRITER_LOOK_S, WRITERS_LOOKED_UP_AT_ONCE_MAX, WRITERS_LOOKED_UP_MAX


if TYPE_CHECKING:
    from collections.abc import Coroutine

    from yzdht.ids import PublicKey
    from yzdht.moves import Moves
    from yzdht.ports import Now


class Surroundings(Protocol):
    """What it needs of its process."""

    def now(self) -> Now:
        """The present."""
        ...

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do something that no caller waits for."""
        ...


class _Looked(NamedTuple):
    """What is known of a writer, and since when, in monotonic seconds."""

    is_revoked: bool
    at: float


class RevokedWriters:
    """Of one identity in one network.

    Args:
        own: Its key: of oneself everything is told.
        moves: What the home knows, and how it asks.
        access: The present, and who does what nobody waits for.

    """

    def __init__(self, own: PublicKey, moves: Moves, access: Surroundings) -> None:
        self._own = own
        self._moves = moves
        self._access = access
        self._looked: OrderedDict[PublicKey, _Looked] = OrderedDict()
        self._wanted: dict[PublicKey, None] = {}
        self._is_looking = False

    def has(self, writer: PublicKey) -> bool:
        """True for who is known to be revoked; the network is asked if that was not done for an hour."""
        looked = self._looked.get(writer)
        if writer == self._own or (looked is not None and looked.is_revoked):
            return writer != self._own
        if looked is not None and self._access.now().mono < looked.at + WRITER_LOOK_S:
            return False
        self._note(writer)
        self._want(writer)
        return self._looked[writer].is_revoked

    def _note(self, writer: PublicKey) -> None:
        is_revoked = False
        with suppress(YzError):  # the disk, at worst: it is looked at again
            try:
                self._moves.check_publisher(writer)
            except PublisherRevoked:
                is_revoked = True
        self._looked[writer] = _Looked(is_revoked, self._access.now().mono)
        self._looked.move_to_end(writer)
        if len(self._looked) > WRITERS_LOOKED_UP_MAX:
            self._looked.popitem(last=False)

    def _want(self, writer: PublicKey) -> None:
        if len(self._wanted) < WRITERS_LOOKED_UP_MAX:
            self._wanted[writer] = None
        if not self._is_looking:
            self._is_looking = True
            self._access.start(self._look())

    async def _look(self) -> None:
        try:
            while self._wanted:
                writers = list(self._wanted)[:WRITERS_LOOKED_UP_AT_ONCE_MAX]
                for writer in writers:
                    del self._wanted[writer]
                with suppress(YzError):  # without a node what is known counts
                    await self._moves.read([], writers)
                for writer in writers:
                    self._note(writer)
        finally:
            self._is_looking = False

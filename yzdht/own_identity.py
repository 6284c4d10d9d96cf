"""A node's own identity record: signed, kept where peers ask for it first, stored in the network, made anew in time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from yzdht.errors import StoreError
from yzdht.identity_record import About, sign_identity_record
from yzdht.ids import Target
from yzdht.kad.write import Draft
from yzdht.limits import CLOCK_SKEW_S, NODE_IDENTITY_RENEW_S
from yzdht.wire.rpc import Status
from yzdht.wire.slot import Write


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.alarms import ClockAlarm
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId
    from yzdht.ports import RecordStore
    from yzdht.pump import Pump
    from yzdht.sessions.clock import Clock
    from yzdht.wire.address import IdentityPayload
    from yzdht.wire.record import Record


class Means(NamedTuple):
    """What a node does it with.

    Attributes:
        store: Its records.
        pump: Its way to the others.
        clock: The present.
        alarm: Told what others think of this clock.

    """

    store: RecordStore
    pump: Pump
    clock: Clock
    alarm: ClockAlarm


class OwnIdentity:
    """The record of one run of a node.

    Args:
        identity: The node's.
        network: NET.
        about: What the record says, as it is now.
        means: What it is signed, kept and stored with.

    Attributes:
        record: As it was signed last.
        payload: What it says.
        is_published: True once the network has it.

    Raises:
        StoreError: The seq that it must exceed cannot be read.

    """

    record: Record
    payload: IdentityPayload

    def __init__(
        self, identity: IdentityKeys, network: NetworkId, about: Callable[[], About], means: Means
    ) -> None:
        self._identity = identity
        self._network = network
        self._about = about
        self._store, self._pump, self._clock, self._alarm = means
        self._sign()

    def _sign(self) -> None:
        stored = self._store.head(Target(self._identity.node_id), self._identity.public_key)
        least_seq = stored.seq + 1 if stored is not None else 0
        wall = self._clock.now().wall
        self.payload, self.record = sign_identity_record(
            self._identity, self._network, self._about(), wall, least_seq
        )
        self.is_published = False

    def keep(self) -> None:
        """Put it into the own store: peers ask a node for its own record, which must be there before anybody does.

        Nobody waits for the verdict: it is kept again while the disk refuses, and made anew at each start.
        """
        record = self.record
        write = Write(
            target=Target(self._identity.node_id),
            publisher=record.publisher,
            kind=record.kind,
            seq=record.seq,
            hash=record.hash,
            created=record.created,
            expires=record.expires,
            body=record.raw,
            cas=None,
            keep_until=0,
            stored_by=b"",
            is_pinned=True,
            wall_now=self._clock.now().wall,
        )
        self._store.submit(0, write)

    async def publish(self) -> None:
        """Store it in the network, if that has not got it; a write without a quorum is for another time."""
        if self.is_published:
            return
        record = self.record
        done = await self._pump.put(Draft(Target(self._identity.node_id), record.raw))
        if done.accepted >= done.needed:
            self.is_published = record is self.record
            self._alarm.accepted()
        elif done.refusal is Status.BAD_LIFETIME:
            self._alarm.refused(done.detail.number, self._clock.now())

    def renew(self) -> None:
        """Make it anew if it is old, or of another time than this, as when the clock was set back."""
        age_s = self._clock.now().wall - self.record.created
        if -CLOCK_SKEW_S <= age_s < NODE_IDENTITY_RENEW_S:
            return
        with suppress(StoreError):  # told where it was found, and tried again
            self._sign()
            self.keep()

    def follow(self) -> bool:
        """Make it anew if it says something else than what is so by now; True if it did."""
        about = self._about()
        if (about.addresses, int(about.caps)) == (self.payload.addresses, self.payload.caps):
            return False
        with suppress(StoreError):
            self._sign()
            self.keep()
        return True

"""Knowing everybody: discovery by lookups, and dialling those that were only heard of (PROTOCOL.md section 9, Join).

A small network is complete when lookups for oneself and for random points name nobody new.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from yzdht.ids import ID_BYTES, NodeId, Target
from yzdht.limits import (
    CONTACTS_HEARD_MAX,
    DISCOVERY_EVERY_S,
    DISCOVERY_EVERY_S_YOUNG,
    DISCOVERY_LOOKUPS_MAX,
    DISCOVERY_QUIET_LOOKUPS,
    DISCOVERY_SOON_S,
    DISCOVERY_YOUNG_S,
    HEARD_AGAIN_S,
    HEARD_CALLS_IN_FLIGHT_MAX,
)


if TYPE_CHECKING:
    from yzdht.ports import Now, Rng
    from yzdht.wire.address import Contact


class Discovery:
    """Decides when to look up what, until nobody new is named.

    Args:
        own_id: The first target.
        rng: For the others.

    """

    def __init__(self, own_id: NodeId, rng: Rng) -> None:
        self._own_id = own_id
        self._rng = rng
        self._born_at: float | None = None
        self._next_at: float | None = None
        self._lookups = 0
        self._quiet = 0
        self._is_running = False
        self.is_complete = False

    @property
    def is_running(self) -> bool:
        """True while a round of lookups is under way."""
        return self._is_running

    def trigger(self, now: Now) -> None:
        """Somebody new is here: look around at once before the first round is done, soon after it.

        The newcomer finds everybody by its own lookups; ours only serve the rare case that it joins two networks, so
        many arrivals share one round.
        """
        if self._born_at is None:
            self._born_at = now.mono
        if self._is_running:
            return
        if not self.is_complete or self._next_at is None:
            self._next_at = now.mono
        else:
            self._next_at = min(self._next_at, now.mono + self._rng.uniform(*DISCOVERY_SOON_S))

    def next_timer(self) -> float | None:
        """When `next_target` may have something."""
        return None if self._is_running else self._next_at

    def next_target(self, now: Now) -> Target | None:
        """The point to look up now, None if nothing is due."""
        if self._is_running or self._next_at is None or now.mono < self._next_at:
            return None
        self._is_running = True
        self._lookups += 1
        return Target(self._own_id) if self._lookups == 1 else Target(self._rng.token(ID_BYTES))

    def finished(self, new_contacts: int, now: Now) -> bool:
        """A lookup ended; True if it completed the round."""
        self._is_running = False
        self._quiet = 0 if new_contacts else self._quiet + 1
        if self._quiet < DISCOVERY_QUIET_LOOKUPS and self._lookups < DISCOVERY_LOOKUPS_MAX:
            self._next_at = now.mono
            return False
        self._lookups = self._quiet = 0
        assert self._born_at is not None
        is_young = now.mono - self._born_at < DISCOVERY_YOUNG_S
        every_s = DISCOVERY_EVERY_S_YOUNG if is_young else DISCOVERY_EVERY_S
        self._next_at = now.mono + every_s * self._rng.uniform(0.75, 1.25)
        self.is_complete = True
        return True


class Hearsay:
    """Contacts that others named and nobody has met: a bounded queue of those to dial.

    A contact that could not be reached is not tried again for HEARD_AGAIN_S, however often it is named.

    Attributes:
        heard: How many new ones were named so far.

    """

    def __init__(self) -> None:
        self.heard = 0
        self._waiting: OrderedDict[NodeId, Contact] = OrderedDict()
        self._failed_at: OrderedDict[NodeId, float] = OrderedDict()
        self._in_flight: set[NodeId] = set()

    def hear(self, contact: Contact, mono: float) -> bool:
        """Queue a contact; True if it is new here."""
        failed_at = self._failed_at.get(contact.node_id)
        if failed_at is not None and mono < failed_at + HEARD_AGAIN_S:
            return False
        if contact.node_id in self._waiting or contact.node_id in self._in_flight:
            return False
        if len(self._waiting) >= CONTACTS_HEARD_MAX:
            return False
        self._waiting[contact.node_id] = contact
        self.heard += 1
        return True

    def take(self) -> list[Contact]:
        """Contacts to dial now; at most HEARD_CALLS_IN_FLIGHT_MAX are under way."""
        taken = []
        while self._waiting and len(self._in_flight) < HEARD_CALLS_IN_FLIGHT_MAX:
            node_id, contact = self._waiting.popitem(last=False)
            self._in_flight.add(node_id)
            taken.append(contact)
        return taken

    def ended(self, node_id: NodeId, mono: float, *, is_reached: bool) -> None:
        """A dial ended."""
        self._in_flight.discard(node_id)
        if is_reached:
            self._failed_at.pop(node_id, None)
            return
        self._failed_at[node_id] = mono
        self._failed_at.move_to_end(node_id)
        if len(self._failed_at) > CONTACTS_HEARD_MAX:
            self._failed_at.popitem(last=False)

    def met(self, node_id: NodeId) -> None:
        """The contact is a peer now."""
        self._waiting.pop(node_id, None)
        self._failed_at.pop(node_id, None)

    @property
    def is_idle(self) -> bool:
        """True when nobody is left to dial."""
        return not self._waiting and not self._in_flight

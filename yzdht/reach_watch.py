"""Finds out whether others reach this node, and tells its owner: after joining, every hour, and when its addresses change.

Asks peers of different networks where they see the node (WHOAMI) and to dial it there (DIAL_BACK); `reachability` judges.
A node that is not reached becomes a client (section 6), and a holder again once it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from yzdht.addresses import PLAIN, urls_at
from yzdht.asking import Asking
from yzdht.crypto.handshake import Credentials
from yzdht.errors import DialFailed, ReachedAnother
from yzdht.limits import (
    ADDRESSES_MAX,
    DIAL_BACK_S_MAX,
    DIAL_BACK_TIMEOUT_S,
    DIAL_TIMEOUT_S,
    PROBERS_PER_ROUND_MAX,
    REACH_AGAIN_MAPPED_S,
    REACH_AGAIN_S_MIN,
    REACH_LOOK_EVERY_S,
    REACH_ROUND_S,
    REACH_ROUND_S_TROUBLED,
)
from yzdht.reachability import Place, Reach, Reachability, Word, places_for, why, word_of
from yzdht.rpc.engine import NOT_INVITED, Answer
from yzdht.sessions.world import World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.wire.address import is_loopback, scope_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import DialBack, DialledBack, Empty, Method, WhoAmI


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import NodeId
    from yzdht.kad.bucket import Entry
    from yzdht.kad.engine import KadEngine
    from yzdht.port_mapping import PortMapping
    from yzdht.ports import Rng
    from yzdht.pump import Pump


log = logging.getLogger(__name__)

CLIENT_CAPS = Caps.ALWAYS | Caps.CLIENT
"""Of a node that nobody reaches."""

REACH_HINT = "see which address and what helps with: yz status"
"""For who runs a node that others do not reach."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a node looks at itself with.

    Attributes:
        pump: Its way to others.
        engine: Whom it knows.
        world: What its sessions stand on.
        rng: Chooses whom to ask.
        own_urls: Every address that it has, those included that are withdrawn.
        typed_urls: Those of them that an operator named.
        port: Where it listens.
        router: Maps that port, if the node may ask for it; None where it may not.
        on_settled: Called after each round.

    """

    pump: Pump
    engine: KadEngine
    world: World
    rng: Rng
    own_urls: Callable[[], Sequence[str]]
    typed_urls: Sequence[str]
    port: Callable[[], int]
    router: PortMapping | None
    on_settled: Callable[[], None]


class AddressView(NamedTuple):
    """What an operator is shown of an address.

    Attributes:
        url: It.
        reach: Whether others reach it.
        is_advertised: True if others are told of it.
        why: Why others do not reach it; empty if they do or nobody knows.
        hint: What helps.

    """

    url: str
    reach: Reach
    is_advertised: bool
    why: str
    hint: str


class ReachWatch:
    """Asks others, round after round.

    Args:
        outlook: What it looks with.

    Attributes:
        judge: What was found.

    """

    def __init__(self, outlook: Outlook) -> None:
        self.judge = Reachability()
        self._look = outlook
        self._came_in: dict[NodeId, float] = {}
        self._again_s = REACH_AGAIN_S_MIN
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        outlook.pump.on_pinged = self._pinged

    @property
    def router(self) -> PortMapping | None:
        """The router, as it was asked to forward the port; None where it may not be asked."""
        return self._look.router

    async def watch(self) -> None:
        """Look for ever."""
        await self._look.pump.joined.wait()
        while True:
            before = self._places()
            has_heard = await self.look_once()
            if await self._keep_mapping():
                await asyncio.sleep(REACH_AGAIN_MAPPED_S)  # whom it asked is not to be asked again at once
                continue
            pause_s = self._pause_s(has_heard=has_heard) * self._look.rng.uniform(0.9, 1.1)
            await self._rest(self._mono() + pause_s, before)

    def look_soon(self) -> None:
        """Something has changed: begin the next round at once."""
        self._changed.set()

    async def end(self) -> None:
        """Take back what the router was asked for."""
        if self._look.router is not None:
            await self._look.router.end()

    async def _rest(self, until: float, places: Sequence[Place]) -> None:
        """Wait until some monotonic second, or until the node's addresses are others."""
        self._changed.clear()
        while (left_s := until - self._mono()) > 0 and self._places() == places:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(REACH_LOOK_EVERY_S, left_s)):
                    await self._changed.wait()
                    return
            if self._look.router is not None and await self._look.router.look_again():
                return

    # What follows for others

    def to_advertise(self, urls: Sequence[str]) -> list[str]:
        """Which addresses to tell others.

        Not those that others do not reach. The one at which they see the node, once that was dialled back, unless an
        operator named some and one of these is left.

        Args:
            urls: All that the node has.

        """
        kept = [url for url in urls if not self.judge.is_withdrawn(url)]
        return kept if kept and self._look.typed_urls else [*self._seen_urls(kept, Reach.REACHABLE), *kept]

    def views(self) -> list[AddressView]:
        """Every address, those included that are withdrawn, and those at which others see the node in vain."""
        urls = list(self._look.own_urls())
        told = set(self.to_advertise(urls))
        seen = [*self._seen_urls(urls, Reach.REACHABLE), *self._seen_urls(urls, Reach.UNREACHABLE)]
        return [self._view(url, is_advertised=url in told) for url in [*urls, *seen][:ADDRESSES_MAX]]

    def _view(self, url: str, *, is_advertised: bool) -> AddressView:
        finding = self.judge.finding(url)
        fact, hint = why(finding, Place.of(url), self.judge.seen)
        return AddressView(url, finding.reach, is_advertised, fact, hint)

    def _seen_urls(self, beside: Sequence[str], reach: Reach) -> list[str]:
        known = {Place.of(url) for url in beside}
        places = (Place(host, port) for host in self.judge.seen for port in self._ports())
        urls = urls_at([place for place in places if place not in known], PLAIN.protocols, ADDRESSES_MAX)
        return [url for url in urls if self.judge.finding(url).reach is reach]

    # A round

    async def look_once(self) -> bool:
        """One round; False if it is not known after it either whether others reach the node."""
        async with self._one_at_a_time:
            return await self._look_round()

    async def _look_round(self) -> bool:
        judge, places = self.judge, self._places()
        judge.begin()
        seen: dict[Place, None] = {}
        asked = False
        for probers in self._probers():
            heard: list[str] = []
            for entry in probers[:PROBERS_PER_ROUND_MAX]:
                if judge.has_heard_enough(heard):
                    break
                if await self._ask(entry, places, seen):
                    heard.append(group_of(entry))
            asked = asked or bool(heard)
        self._note_who_came()
        typed = {Place.of(url) for url in self._look.typed_urls}
        for place in judge.to_try_itself(places, typed):
            judge.tried_itself(place, is_reached=await self._try_itself(place))
        before = judge.node
        judge.settle(list(dict.fromkeys([*places, *seen])), self._mono())
        if judge.node is not before:
            log.info("reachability changed from=%s to=%s seen=%s", before, judge.node, ",".join(judge.seen))
        self._stand_as(is_client=judge.node is Reach.UNREACHABLE)
        self._look.on_settled()
        return (
            asked and judge.node is not Reach.UNKNOWN
        )  # one that was heard may have been the only one met so far

    def _ports(self) -> list[int]:
        """Where others may find the node at the address at which they see it."""
        router, port = self._look.router, self._look.port()
        mapped = None if router is None else router.mapping
        return [port] if mapped is None or mapped.port == port else [mapped.port, port]

    async def _keep_mapping(self) -> bool:
        """Have the router forward the port, once others do not reach the node without; True if that is new."""
        router = self._look.router
        if router is None or (not router.is_wanted and self.judge.node is not Reach.UNREACHABLE):
            return False
        was_mapped = router.mapping is not None
        return await router.keep() is not None and not was_mapped

    def _stand_as(self, *, is_client: bool) -> None:
        """Be what the verdict allows: a node that nobody reaches keeps nothing for others and is in no table.

        Peers learn it from new handshakes: their sessions end with a goodbye, and this node dials again as it needs them.
        """
        engine, papers = self._look.engine, self._look.world.papers
        if is_client is (not engine.is_storing):
            return
        log.warning("node stands now as=%s", "client" if is_client else "holder")
        engine.is_storing = not is_client
        papers.caps = CLIENT_CAPS if is_client else None
        self._look.pump.sessions.begin_anew()

    def _note_who_came(self) -> None:
        """Nodes that dialled this one since the last hour: who asks may be lied to, who is called is reached."""
        since = self._mono() - REACH_ROUND_S
        for connection, opened_at in self._look.pump.sessions.open_connections():
            peer = connection.peer
            if peer is None or connection.is_initiator or connection.is_client or opened_at < since:
                continue
            if not is_loopback(peer.host):
                self.judge.came_in(peer.group, peer.host)

    def _places(self) -> list[Place]:
        places = (Place.of(url) for url in self._look.own_urls())
        return list(dict.fromkeys(place for place in places if place is not None))

    def _pause_s(self, *, has_heard: bool) -> float:
        if not has_heard:
            pause_s, self._again_s = self._again_s, min(2 * self._again_s, REACH_ROUND_S)
            return pause_s
        self._again_s = REACH_AGAIN_S_MIN
        router = self._look.router
        if (
            router is not None and router.mapping is not None
        ):  # renewed in time, whatever a router says of that
            return min(REACH_ROUND_S, max(REACH_AGAIN_MAPPED_S, router.mapping.life_s / 2))
        is_troubled = self.judge.node is Reach.UNREACHABLE or any(
            map(self.judge.is_withdrawn, self._look.own_urls())
        )
        return REACH_ROUND_S_TROUBLED if is_troubled else REACH_ROUND_S

    def _mono(self) -> float:
        return self._look.world.clock.now().mono

    def _probers(self) -> list[list[Entry]]:
        """Whom to ask, for each IP version: in a random order, of each network one before any second."""
        shuffled = sorted(self._look.engine.table.known(), key=lambda _entry: self._look.rng.uniform(0, 1))
        usable = [e for e in shuffled if self._can_tell(e)]
        return [_of_many_networks([e for e in usable if (":" in e.host) == is_v6]) for is_v6 in (False, True)]

    def _can_tell(self, entry: Entry) -> bool:
        if scope_of(entry.host) is None or self._look.world.bounds.is_proxy(entry.host):
            return False
        return self._look.world.is_private_allowed or not is_loopback(entry.host)

    def _pinged(self, node_id: NodeId, opened_at: float) -> None:
        if node_id in self._came_in:
            self._came_in[node_id] = max(opened_at, self._came_in[node_id])

    async def _ask(self, entry: Entry, places: Sequence[Place], seen: dict[Place, None]) -> bool:
        """Ask one peer; False if it said nothing of use."""
        pump, contact, group = self._look.pump, entry.contact(), group_of(entry)
        answer = await pump.ask(contact, Method.WHOAMI, Empty(), DIAL_TIMEOUT_S)
        if not isinstance(answer, Answer) or not isinstance(answer.body, WhoAmI):
            return False
        host = answer.body.host
        if scope_of(host) is None:
            return False
        self.judge.saw(group, host)
        here = [Place(host, port) for port in self._ports()]
        wanted = places_for(list(dict.fromkeys([*here, *places])), host)
        strangers = {
            p: Word.NOT_YOURS for p in places if not p.is_name and p.host != host and _is_like(p.host, host)
        }
        began_at = self._mono()
        self._came_in[contact.node_id] = float("-inf")
        try:
            words = await self._dialled_back(entry, wanted)
        finally:
            is_proved = self._came_in.pop(contact.node_id) >= began_at
        if words is None:
            return False
        seen.update(dict.fromkeys(here))
        self.judge.heard(group, entry.host, {**strangers, **words}, is_proved=is_proved)
        return True

    async def _dialled_back(self, entry: Entry, places: Sequence[Place]) -> dict[Place, Word] | None:
        """What a peer says of some places; None for nothing."""
        urls = tuple(self._url_of(place) for place in places)
        answer = await self._look.pump.ask(
            entry.contact(), Method.DIAL_BACK, DialBack(urls), DIAL_BACK_TIMEOUT_S
        )
        if not isinstance(answer, Answer) or not isinstance(answer.body, DialledBack):
            return None
        return {
            place: word_of(result.error, is_reachable=result.is_reachable)
            for place, result in zip(places, answer.body.results, strict=False)
        }

    def _url_of(self, place: Place) -> str:
        """An address of the node at a place, as it is advertised there; else the plainest."""
        own = (url for url in self._look.own_urls() if Place.of(url) == place)
        return next(own, urls_at([place], PLAIN.protocols, ADDRESSES_MAX)[0])

    async def _try_itself(self, place: Place) -> bool:
        """Dial an address of one's own as somebody else would; a name of a day for that: nobody meets itself."""
        world = self._look.world
        somebody = Credentials(
            Identity.generate().signer,
            world.credentials.network,
            CLIENT_CAPS,
            world.credentials.psk,
        )
        asking = Asking(World(somebody, world.transports, world.clock, Counters(), is_private_allowed=True))
        try:
            async with asyncio.timeout(DIAL_BACK_S_MAX):
                await asking.dial(self._url_of(place), self._look.engine.own_id)
        except ReachedAnother:
            return False
        except DialFailed as error:
            return NOT_INVITED in str(error)  # it was this node that said so: its id was proved before
        except TimeoutError:
            return False
        finally:
            with contextlib.suppress(TimeoutError):
                await asking.close()
        return True


def group_of(entry: Entry) -> str:
    """With whom a peer shares a voice: its public prefix, else its address; on one machine each has its own."""
    if is_loopback(entry.host):
        return entry.node_id.hex()
    return entry.prefix or entry.host


def _of_many_networks(entries: Sequence[Entry]) -> list[Entry]:
    first = {group_of(entry): entry for entry in reversed(entries)}
    return [entry for entry in entries if first[group_of(entry)] is entry]


def _is_like(host: str, other: str) -> bool:
    """True for two addresses of one IP version."""
    return (":" in host) == (":" in other)

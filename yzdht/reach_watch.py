"""Finds out whether others reach this node, and tells its owner: after joining, every hour, and when its addresses change.

Asks peers of different networks where they see the node (WHOAMI) and to dial it there (DIAL_BACK); `reachability` judges.
A node that is not reached hands over what it keeps and becomes a client (section 6), and a holder again once it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from yzdht.addresses import NOTHING_FOUND, PLAIN, Found, urls_at
from yzdht.dial_back import is_harmless
from yzdht.leaving import step_down
from yzdht.limits import (
    ADDRESSES_MAX,
    CAME_IN_GROUPS_MAX,
    PROBERS_PER_ROUND_MAX,
    REACH_AGAIN_MAPPED_S,
    REACH_AGAIN_S_MIN,
    REACH_LOOK_EVERY_S,
    REACH_ROUND_S,
    REACH_ROUND_S_TROUBLED,
    REACH_SECOND_LOOK_S,
)
from yzdht.reach_probes import CLIENT_CAPS, Probes, probers_over
from yzdht.reachability import Reach, Reachability, Version, Word, host_of, is_name, why
from yzdht.wire.address import address_of, is_loopback, parse_url, scope_of


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from yzdht.ids import NodeId
    from yzdht.kad.bucket import Entry
    from yzdht.kad.engine import KadEngine
    from yzdht.port_mapping import PortMapping
    from yzdht.ports import Endpoint, Rng
    from yzdht.pump import Pump
    from yzdht.reach_probes import Prober
    from yzdht.reachability import Finding
    from yzdht.rpc.engine import Peer
    from yzdht.sessions.world import World


log = logging.getLogger(__name__)

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
        own_urls: The addresses that it has, with what was found of them.
        typed_urls: Those of them that an operator named.
        own_hosts: IP addresses of this machine.
        listening: Where it listens; the port of the first is the node's.
        router: Maps that port, if the node may ask for it; None where it may not.
        on_settled: Called after each round.
        was_client: True if it was a client when it stopped last: it begins as one, and takes in nothing that it would drop.

    """

    pump: Pump
    engine: KadEngine
    world: World
    rng: Rng
    own_urls: Callable[[Found], Sequence[str]]
    typed_urls: Sequence[str]
    own_hosts: Callable[[], Collection[str]]
    listening: Callable[[], Sequence[Endpoint]]
    router: PortMapping | None
    on_settled: Callable[[], None]
    was_client: bool = False


class AddressView(NamedTuple):
    """What an operator is shown of an address.

    Attributes:
        url: It.
        reach: Whether others reach it.
        over: The same for each version of IP by which it was tried.
        is_advertised: True if others are told of it.
        why: Why others do not reach it; empty if they do or nobody knows.
        hint: What helps.

    """

    url: str
    reach: Reach
    over: Mapping[Version, Reach]
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
        self.judge = Reachability(Reach.UNREACHABLE if outlook.was_client else Reach.UNKNOWN)
        self._look = outlook
        self._probes = Probes(outlook.pump, outlook.world)
        self._typed = frozenset(address_of(url).url for url in outlook.typed_urls)
        self._came_in: dict[NodeId, float] = {}
        self._own_hosts: Collection[str] = ()  # as of this round
        self._again_s = REACH_AGAIN_S_MIN
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._dialled_us: OrderedDict[str, tuple[float, str]] = (
            OrderedDict()
        )  # by group: when last, from where
        outlook.pump.on_pinged = self._pinged
        outlook.pump.on_dialled = self._dialled
        if outlook.was_client:
            self._show(is_client=True)

    @property
    def router(self) -> PortMapping | None:
        """The router, as it was asked to forward the port; None where it may not be asked."""
        return self._look.router

    async def watch(self) -> None:
        """Look for ever."""
        await self._look.pump.joined.wait()
        while True:
            self._changed.clear()  # what changes from now on this round may miss
            before = self._urls()
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

    async def _rest(self, until: float, urls: Sequence[str]) -> None:
        """Wait until some monotonic second, or until the node's addresses are others, or something else changed."""
        while (left_s := until - self._mono()) > 0 and self._urls() == urls:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(REACH_LOOK_EVERY_S, left_s)):
                    await self._changed.wait()
                    return
            if self._look.router is not None and await self._look.router.look_again():
                return

    # What follows for others

    def to_advertise(self) -> list[str]:
        """Which addresses to tell others.

        Not those that others do not reach. The one at which they see the node, once that was dialled back, unless an
        operator named some and one of these is left.
        """
        places = [place for place in self._seen_places() if self._is_reached_at(place)]
        own = {*self._urls(), *self._typed}

        def is_left_out(url: str) -> bool:
            reach = self.judge.finding(url).reach
            return reach is Reach.UNREACHABLE or (reach is not Reach.REACHABLE and url not in own)

        kept = list(self._look.own_urls(Found(places, is_left_out)))
        if kept or not self._typed:
            return kept
        return [url for url in urls_at(places, PLAIN.protocols, ADDRESSES_MAX) if not is_left_out(url)]

    def views(self) -> list[AddressView]:
        """Every address, those included that are withdrawn, and those at which others see the node in vain."""
        told = self.to_advertise()
        shown = dict.fromkeys([*self._urls(), *told])
        if not self._typed or self.judge.node is not Reach.REACHABLE:
            shown |= dict.fromkeys(url for url in self._urls_in_vain() if self.judge.is_withdrawn(url))
        return [self._view(url, is_advertised=url in told) for url in list(shown)[:ADDRESSES_MAX]]

    def _view(self, url: str, *, is_advertised: bool) -> AddressView:
        finding = self.judge.finding(url)
        fact, hint = self._why(finding, url)
        over = {version: self.judge.finding_over(url, version) for version in Version}
        for version, found in over.items():
            if (
                finding.reach is Reach.REACHABLE and found.reach is Reach.UNREACHABLE
            ):  # a name, over the other
                fact, hint = self._why(found, url, version)
                fact = f"over IPv{version}: {fact}"
        reach_over = {version: found.reach for version, found in over.items() if found.at is not None}
        return AddressView(url, finding.reach, reach_over, is_advertised, fact, hint)

    def _why(self, finding: Finding, url: str, over: Version | None = None) -> tuple[str, str]:
        is_tried = bool(host_of(url)) and is_harmless(parse_url(url))
        return why(finding, url, self.judge.seen, over, is_tried=is_tried, is_mapped=self._is_mapped(url))

    def _seen_places(self) -> list[tuple[str, int]]:
        return [(host, port) for host in self.judge.seen for port in self._ports()]

    def _seen_urls(self) -> list[str]:
        return urls_at(self._seen_places(), PLAIN.protocols, ADDRESSES_MAX)

    def _urls_in_vain(self) -> list[str]:
        """Where others see the node, of each host at one port: over IPv4 the one that the router forwards.

        Of a host that they reach at another port only what they reach at the same.
        """
        ports = self._ports()
        reached = {place for place in self._seen_places() if self._is_reached_at(place)}
        hosts = {host for host, _ in reached}
        places = [(host, ports[-1] if ":" in host else ports[0]) for host in self.judge.seen]
        shown = [place for place in places if place in reached or place[0] not in hosts]
        return urls_at(shown, PLAIN.protocols, ADDRESSES_MAX)

    def _is_mapped(self, url: str) -> bool:
        """Whether the router says that it forwards that very port; others see the node there."""
        router = self._look.router
        if router is None or router.mapping is None:
            return False
        places = [(host, router.mapping.port) for host in self.judge.seen]
        return url in urls_at(places, PLAIN.protocols, ADDRESSES_MAX)

    def _is_reached_at(self, place: tuple[str, int]) -> bool:
        urls = urls_at([place], PLAIN.protocols, ADDRESSES_MAX)
        return any(self.judge.finding(url).reach is Reach.REACHABLE for url in urls)

    def _urls(self) -> list[str]:
        """All that the node has."""
        return list(self._look.own_urls(NOTHING_FOUND))

    # A round

    async def look_once(self) -> bool:
        """One round; False if it is not known after it either whether others reach the node."""
        async with self._one_at_a_time:
            return await self._look_round()

    async def _look_round(self) -> bool:
        judge, urls = self.judge, self._urls()
        own_hosts = self._own_hosts = self._look.own_hosts()
        judge.begin()
        beside: dict[str, None] = {}
        asked = False
        for version, probers in self._probers().items():
            heard: list[str] = []
            for prober in probers[:PROBERS_PER_ROUND_MAX]:
                if judge.has_heard_enough(version, heard):
                    break
                if await self._ask(prober, urls, beside):
                    heard.append(prober.group)
            asked = asked or bool(heard)
        self._note_who_came()
        for url in judge.to_try_itself(urls, self._typed, own_hosts.__contains__):
            judge.tried_itself(url, await self._probes.try_itself(url, self._look.engine.own_id, own_hosts))
        before = judge.node
        judge.settle(list(dict.fromkeys([*urls, *beside, *self._seen_urls()])), self._mono(), own_hosts)
        if judge.node is not before:
            log.info("reachability changed from=%s to=%s seen=%s", before, judge.node, ",".join(judge.seen))
        await self._stand_as(is_client=judge.node is Reach.UNREACHABLE)
        self._look.on_settled()
        # One that was heard may have been the only one met so far.
        return asked and judge.node is not Reach.UNKNOWN and not judge.is_in_doubt

    def _ports(self) -> list[int]:
        """Where others may find the node at the address at which they see it."""
        router, port = self._look.router, self._look.listening()[0].port
        mapped = None if router is None else router.mapping
        return [port] if mapped is None or mapped.port == port else [mapped.port, port]

    async def _keep_mapping(self) -> bool:
        """Have the router forward the port, once others do not reach the node without; True if that is new."""
        router = self._look.router
        if router is None or (not router.is_wanted and not self.judge.is_denied):
            return False
        was_mapped = router.mapping is not None
        return await router.keep() is not None and not was_mapped

    async def _stand_as(self, *, is_client: bool) -> None:
        """Be what the verdict allows: a node that nobody reaches keeps nothing for others and is in no table.

        What it kept it hands over first. Peers learn what it is from new handshakes: their sessions end with a goodbye,
        and this node dials again as it needs them.
        """
        engine = self._look.engine
        if is_client is (not engine.is_storing):
            return
        if is_client:
            await step_down(self._look.pump, engine)
        else:
            self._look.pump.stay()
        log.warning("node stands now as=%s", "client" if is_client else "holder")
        self._show(is_client=is_client)
        self._look.pump.sessions.begin_anew()

    def _show(self, *, is_client: bool) -> None:
        self._look.engine.is_storing = not is_client
        self._look.world.papers.caps = CLIENT_CAPS if is_client else None

    def _note_who_came(self) -> None:
        """Nodes that dialled this one since the last hour: who asks may be lied to, who is called is reached."""
        since = self._mono() - REACH_ROUND_S
        for group, (came_at, host) in self._dialled_us.items():
            if came_at >= since and not self._is_this_machine(host):
                self.judge.came_in(group, host)

    def _dialled(self, peer: Peer) -> None:
        """Somebody dialled this node of himself; remembered although the session may have ended by the next round."""
        self._dialled_us[peer.group] = (self._mono(), peer.host)
        self._dialled_us.move_to_end(peer.group)
        if len(self._dialled_us) > CAME_IN_GROUPS_MAX:
            self._dialled_us.popitem(last=False)

    def _pause_s(self, *, has_heard: bool) -> float:
        if has_heard and self.judge.wants_second_look:
            return REACH_SECOND_LOOK_S
        if self.judge.has_untried:
            return REACH_AGAIN_MAPPED_S  # a peer is asked again after a minute
        if not has_heard:
            pause_s, self._again_s = self._again_s, min(2 * self._again_s, REACH_ROUND_S)
            return pause_s
        self._again_s = REACH_AGAIN_S_MIN
        router = self._look.router
        if (
            router is not None and router.mapping is not None
        ):  # renewed in time, whatever a router says of that
            return min(REACH_ROUND_S, max(REACH_AGAIN_MAPPED_S, router.mapping.life_s / 2))
        is_troubled = self.judge.node is Reach.UNREACHABLE or any(map(self.judge.is_withdrawn, self._urls()))
        return REACH_ROUND_S_TROUBLED if is_troubled else REACH_ROUND_S

    def _mono(self) -> float:
        return self._look.world.clock.now().mono

    def _probers(self) -> dict[Version, list[Prober]]:
        """Whom to ask, for each IP version, in a random order."""
        shuffled: list[Entry] = sorted(
            self._look.engine.table.known(), key=lambda _entry: self._look.rng.uniform(0, 1)
        )
        dialling = dict(zip(Version, self._look.world.families(), strict=True))
        return {
            version: probers_over(version, shuffled, self._can_tell, is_dialling=dialling[version])
            for version in Version
        }

    def _can_tell(self, host: str) -> bool:
        if scope_of(host) is None or self._look.world.bounds.is_proxy(host):
            return False
        return self._look.world.is_private_allowed or not self._is_this_machine(host)

    def _is_this_machine(self, host: str) -> bool:
        """Whether it is this machine's own: what goes there passes no router and no firewall, whichever address it names."""
        return is_loopback(host) or host in self._own_hosts

    def _pinged(self, node_id: NodeId, opened_at: float) -> None:
        if node_id in self._came_in:
            self._came_in[node_id] = max(opened_at, self._came_in[node_id])

    async def _ask(self, prober: Prober, urls: Sequence[str], beside: dict[str, None]) -> bool:
        """Ask one peer; False if it said nothing of use."""
        async with self._probes.line_to(prober) as ask:
            host = None if ask is None else await self._probes.where_seen(ask)
            if ask is None or host is None or Version.of(host) is not Version.of(prober.host):
                return False
            self.judge.saw(prober.group, host)
            here = self._beside(host)
            wanted = self.judge.to_try(urls, here, host)
            words = dict.fromkeys(_elsewhere(urls, host), Word.NOT_YOURS)
            began_at, node_id = self._mono(), prober.contact.node_id
            self._came_in[node_id] = float("-inf")
            try:
                tried = await self._probes.dialled_back(ask, wanted) if wanted else None
            finally:
                is_proved = self._came_in.pop(node_id) >= began_at
        if tried is None and wanted:
            return False
        beside.update(dict.fromkeys(here))
        self.judge.heard(prober.group, prober.host, words | (tried or {}), is_proved=is_proved)
        return tried is not None

    def _beside(self, host: str) -> list[str]:
        """Where others may find the node at an address at which they see it.

        Nowhere, if that is an address of this machine at which the node does not listen: it sends from one address and
        listens at another, and that nobody answers there says nothing.
        """
        listening = [endpoint.host for endpoint in self._look.listening()]
        is_listened_at = any(at == host or _is_wildcard_over(at, host) for at in listening)
        if host in self._look.own_hosts() and not is_listened_at:
            return []
        return urls_at([(host, port) for port in self._ports()], PLAIN.protocols, ADDRESSES_MAX)


def _elsewhere(urls: Sequence[str], host: str) -> list[str]:
    """Those of some addresses that are of the same version of IP as a host, and not there."""
    hosts = {url: host_of(url) for url in urls}
    return [
        url
        for url, at in hosts.items()
        if at and not is_name(at) and at != host and Version.of(at) is Version.of(host)
    ]


def _is_wildcard_over(at: str, host: str) -> bool:
    """Whether what listens at `at` listens at a host, too; `::` takes IPv4 as well."""
    return ip_address(at).is_unspecified and Version.of(at) >= Version.of(host)

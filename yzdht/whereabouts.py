"""What a node tells others of itself while it runs: where it is, whether it keeps anything for them, as that changes.

Joins the watch over its reachability, its own identity record and its certificate. Decides nothing of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.addresses import NOTHING_FOUND, Found, Served, advertised, interface_hosts
from yzdht.identity_record import About
from yzdht.limits import ADDRESSES_MAX, NODE_IDENTITY_LIFE_S
from yzdht.own_identity import Means, OwnIdentity
from yzdht.port_mapping import PortMapping
from yzdht.reach_probes import CLIENT_CAPS
from yzdht.reach_watch import REACH_HINT, Outlook, ReachWatch
from yzdht.wire.address import address_of


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.alarms import ClockAlarm
    from yzdht.background import Background
    from yzdht.certificates import TlsMeans
    from yzdht.config import NodeConfig
    from yzdht.kad.engine import KadEngine
    from yzdht.ports import Listener, RecordStore, Rng
    from yzdht.pump import Pump
    from yzdht.saved_peers import SavedPeers
    from yzdht.sessions.world import World
    from yzdht.store.keyfile import Identity
    from yzdht.wire.frame import Caps


class Ground(NamedTuple):
    """What it stands on.

    Attributes:
        config: What the operator said.
        identity: The node's.
        pump: Its way to others.
        engine: Whom it knows; keeps records for others or does not.
        world: What its sessions stand on.
        rng: Chooses whom to ask.
        store: Its records.
        peers: Remembers over a restart whether it was a client.
        background: Publishes.
        time: Told what others think of this clock.
        on_trouble: Told what is wrong, and what to do about it.

    """

    config: NodeConfig
    identity: Identity
    pump: Pump
    engine: KadEngine
    world: World
    rng: Rng
    store: RecordStore
    peers: SavedPeers
    background: Background
    time: ClockAlarm
    on_trouble: Callable[[str, str], None]


class Whereabouts:
    """Those of one run of a node.

    Args:
        ground: What it stands on.
        listener: Where it listens.
        tls: Its certificate.
        caps: What it can do as long as others reach it.

    Attributes:
        reach: Whether others reach it.
        own: Its identity record.

    Raises:
        StoreError: What it was when it stopped last cannot be read.

    """

    def __init__(self, ground: Ground, listener: Listener, tls: TlsMeans, caps: Caps) -> None:
        self._ground, self._listener, self._tls, self._caps = ground, listener, tls, caps
        config = ground.config
        outlook = Outlook(
            ground.pump,
            ground.engine,
            ground.world,
            ground.rng,
            self.own_urls,
            config.public_addresses,
            lambda: frozenset(interface_hosts("::")),
            lambda: listener.endpoints,
            PortMapping(listener.endpoints[0].port, ground.rng) if config.may_map_ports else None,
            self._on_reach_settled,
            ground.peers.was_client(),
        )
        self.reach = ReachWatch(outlook)
        means = Means(ground.store, ground.pump, ground.world.clock, ground.time)
        self.own = OwnIdentity(ground.identity, config.network_id, self._about, means)

    def own_urls(self, found: Found = NOTHING_FOUND) -> list[str]:
        """The addresses that the node has, but for what is known to be wrong with them."""
        config = self._ground.config
        own = advertised(
            config.host,
            self._listener.endpoints[0].port,
            config.public_addresses,
            is_private_allowed=config.is_private_allowed,
            served=Served(tls_names=self._tls.names),
            found=found,
        )
        return [address.url for address in own]

    def changed(self) -> None:
        """It has other names than before: tell others, and have them tried."""
        self._follow()
        self.reach.look_soon()

    def _about(self) -> About:
        addresses = tuple(map(address_of, self.reach.to_advertise()[:ADDRESSES_MAX]))
        caps = self._caps if self._ground.engine.is_storing else CLIENT_CAPS
        return About(self._ground.config.type, addresses, caps, NODE_IDENTITY_LIFE_S)

    def _on_reach_settled(self) -> None:
        """Others reach this node, or they do not, there or elsewhere: say so."""
        ground = self._ground
        if not ground.engine.is_storing:
            ground.on_trouble("others do not reach this node, so it keeps nothing for them", REACH_HINT)
        ground.peers.save(ground.world.clock.now())
        self._follow()

    def _follow(self) -> None:
        if self.own.follow():
            self._ground.background.start(self.own.publish())

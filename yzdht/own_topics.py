"""A node's part in topics: what it hosts for others, relays for its clients, and publishes and hears for its own user.

Joins the pubsub engine with the table of nodes, the store and the sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from yzdht.crypto.naming import kdf, node_id_of
from yzdht.crypto.topic_policy import PolicyChecks
from yzdht.crypto.topics import EnvelopeChecks, topic_host_target
from yzdht.errors import InvalidKey
from yzdht.ids import SessionId
from yzdht.pubsub.engine import Hosting, PubsubEngine
from yzdht.pubsub.hosts import hosts_among
from yzdht.pubsub.policies import Policies
from yzdht.pubsub.ports import Surroundings
from yzdht.rpc.engine import Peer
from yzdht.topic_pump import TopicPump
from yzdht.wire.address import ClientType, Contact, scope_of
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.ids import NetworkId, NodeId, Target
    from yzdht.kad.engine import KadEngine
    from yzdht.ports import Now, TopicStore
    from yzdht.sessions import Clock
    from yzdht.store.keyfile import Identity
    from yzdht.telemetry import Counters, Telemetry
    from yzdht.wire.rpc import WireContact


_KEY_BYTES = 32


class NoNeighbourhood:
    """That of a client, which hosts nothing."""

    def hosts(self, _target: Target, _count: int) -> Sequence[Contact]:
        """None."""
        return ()

    def shown(self, _contacts: Sequence[Contact], _peer: Peer) -> tuple[WireContact, ...]:
        """None."""
        return ()


class TableNeighbourhood:
    """Which nodes host topics, as the routing table has it (`pubsub.ports.Neighbourhood`).

    Args:
        own: This node, with the capabilities that it has while others reach it.
        engine: Its table; says whether others reach it.

    """

    def __init__(self, own: Contact, engine: KadEngine) -> None:
        self._own = own
        self._engine = engine

    def hosts(self, target: Target, count: int) -> Sequence[Contact]:
        """The known nodes that host topics nearest to a point, nearest first."""
        own = (self._own,) if self._engine.is_storing else ()
        near = self._nearest(target, 2 * count)
        if len(near) < count:  # some host nothing: look farther
            near = self._nearest(target, len(self._engine.table))
        return hosts_among((*own, *near), target, count)

    def _nearest(self, target: Target, count: int) -> list[Contact]:
        entries = self._engine.table.closest(target, count)
        return [entry.contact() for entry in entries if entry.caps & Caps.PUBSUB]

    def shown(self, contacts: Sequence[Contact], peer: Peer) -> tuple[WireContact, ...]:
        """Those of them that a peer can use, as it can use them; this node is none of them, whom it knows."""
        client_type = ClientType.BROWSER if peer.caps & Caps.BROWSER else ClientType.PYTHON
        near = scope_of(peer.namer_host)
        entries = (self._engine.table.get(contact.node_id) for contact in contacts)
        shown = (entry.wire_contact(client_type, near) for entry in entries if entry is not None)
        return tuple(contact for contact in shown if contact.urls)

    def usable(self, contacts: tuple[WireContact, ...], namer: NodeId) -> list[Contact]:
        """Of contacts that a node named those that may be dialled and host topics."""
        known = []
        for heard in contacts:
            try:
                entry = self._engine.table.get(node_id_of(heard.public_key))
            except InvalidKey:
                continue
            if entry is not None:
                known.append(entry.contact())
        found = [*known, *self._engine.usable(contacts, namer)]
        return [contact for contact in found if contact.caps & Caps.PUBSUB]


def client_topics(
    own: Contact,
    network: NetworkId,
    clock: Clock,
    counters: Counters,
    search: Callable[[Target, int, Callable[[list[Contact]], None]], None],
) -> TopicPump:
    """The topics of a client, whose nodes do everything for it.

    Args:
        own: The client.
        network: NET.
        clock: The present.
        counters: Where things are counted.
        search: Names the client's nodes, whatever point is asked for.

    """
    surroundings = Surroundings(
        NoNeighbourhood(),
        EnvelopeChecks(network),
        lambda topic: topic_host_target(topic, network),
        lambda _peer: False,
        counters.add,
        policies=Policies(PolicyChecks(network)),
    )
    return TopicPump(PubsubEngine(own, surroundings, lambda _named, _namer: []), clock, counters, search)


class Site(NamedTuple):
    """Where a node's topics are.

    Attributes:
        identity: The node's.
        own: What it shows of itself while others reach it.
        network: NET.
        engine: Its table.
        store: Keeps histories.

    """

    identity: Identity
    own: Contact
    network: NetworkId
    engine: KadEngine
    store: TopicStore


def own_topics(
    site: Site,
    clock: Clock,
    telemetry: Telemetry,
    search: Callable[[Target, int, Callable[[list[Contact]], None]], None],
) -> TopicPump:
    """The topics of a node, which begin when its sessions are there.

    Args:
        site: Where they are.
        clock: The present.
        telemetry: Where things are counted and measured.
        search: Finds the nodes nearest to a point.

    """
    identity, own, network, engine, store = site
    neighbourhood = TableNeighbourhood(own, engine)
    pump: TopicPump

    def is_congested(peer: Peer) -> bool:
        return peer.node_id != own.node_id and pump.is_congested(peer)

    def unsent_bytes(peer: Peer) -> int:
        return pump.unsent_bytes(peer)

    def passed_on(came: Now) -> None:
        pump.passed_on(came)

    surroundings = Surroundings(
        neighbourhood,
        EnvelopeChecks(network),
        lambda topic: topic_host_target(topic, network),
        is_congested,
        telemetry.add,
        telemetry.observe,
        Policies(PolicyChecks(network)),
        passed_on,
        unsent_bytes,
    )
    itself = Peer(own.node_id, own.public_key, own.caps, SessionId(bytes(16)), "", None)
    bringer_key = kdf(identity.self_key, b"", "yz1 bringers", b"", _KEY_BYTES)
    pubsub = PubsubEngine(
        own,
        surroundings,
        neighbourhood.usable,
        Hosting(itself, store, bringer_key, lambda: engine.is_storing),
    )
    pump = TopicPump(pubsub, clock, telemetry, search, store)
    pump.observe = telemetry.observe
    return pump

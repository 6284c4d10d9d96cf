"""Contacts: what others name is judged before it is dialled; see test_engine.py for their way through the engine."""

from __future__ import annotations

from dataclasses import replace

from tests.vectors.golden import OFF_CURVE
from yzdht.crypto.naming import network_id, node_id_of
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.signing import RecordChecks
from yzdht.ids import SessionId, Target
from yzdht.kad.contacts import Contacts, Own
from yzdht.kad.strangers import Strangers
from yzdht.kad.table import Entry, Table
from yzdht.kad.upkeep import Hearsay
from yzdht.rpc.engine import Peer
from yzdht.wire.address import Contact, address_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import WireContact


CAPS = Caps.ALWAYS | Caps.STORAGE | Caps.ROUTING
KEYS = [PrivateKey.generate().public_key for _ in range(4)]


class Desk:
    def __init__(self, namer_host: str, *, is_private_allowed: bool = False) -> None:
        own = Contact(node_id_of(KEYS[0]), KEYS[0], (), CAPS)
        self.table = Table(own.node_id)
        self.hearsay = Hearsay()
        self.counted: list[str] = []
        self.contacts = Contacts(
            Own(own, is_private_allowed, frozenset({"198.51.100.7"})),
            self.table,
            self.hearsay,
            Strangers(),
            RecordChecks(network_id("main")),
            self.counted.append,
        )
        self.namer = node_id_of(KEYS[1])
        entry = Entry(self.namer, KEYS[1], int.from_bytes(self.namer), CAPS)
        entry.reached(None, namer_host, None)
        assert self.table.admit(entry) is entry

    def urls(self, *named: str, caps: Caps = CAPS) -> tuple[str, ...]:
        usable = self.contacts.usable((WireContact(KEYS[2], named, caps),), self.namer)
        return usable[0].urls if usable else ()


def test_a_public_peer_names_only_public_addresses() -> None:
    desk = Desk("8.8.8.8")

    assert desk.urls("ws://9.9.9.9:1", "ws://127.0.0.1:2", "ws://10.0.0.1:3") == ("ws://9.9.9.9:1",)


def test_a_peer_on_this_machine_may_name_its_loopback_and_its_interfaces() -> None:
    desk = Desk("127.0.0.1")

    named = ("ws://127.0.0.1:2", "ws://198.51.100.7:3", "ws://198.51.100.8:4")
    assert desk.urls(*named) == ("ws://127.0.0.1:2", "ws://198.51.100.7:3")


def test_a_public_peer_may_not_name_this_machines_interfaces() -> None:
    assert Desk("8.8.8.8").urls("ws://198.51.100.7:3") == ()


def test_private_addresses_are_taken_where_the_operator_allows_them() -> None:
    assert Desk("8.8.8.8", is_private_allowed=True).urls("ws://10.0.0.1:3") == ("ws://10.0.0.1:3",)


def test_clients_and_those_already_known_are_no_contacts() -> None:
    desk = Desk("127.0.0.1")
    known = WireContact(KEYS[1], ("ws://127.0.0.1:9",), CAPS)

    assert desk.urls("ws://127.0.0.1:2", caps=CAPS | Caps.CLIENT) == ()
    assert desk.contacts.usable((known,), desk.namer) == []


def test_a_key_off_the_curve_is_counted_and_skipped() -> None:
    desk = Desk("127.0.0.1")
    forged = WireContact(OFF_CURVE, ("ws://127.0.0.1:2",), CAPS)
    honest = WireContact(KEYS[3], ("ws://127.0.0.1:3",), CAPS)

    assert [c.public_key for c in desk.contacts.usable((forged, honest), desk.namer)] == [KEYS[3]]
    assert desk.counted == ["bad_contacts"]
    assert desk.hearsay.heard == 1


def test_nobody_is_named_to_itself_or_without_an_address_the_asker_can_use() -> None:
    desk = Desk("127.0.0.1")
    for key, addresses in ((KEYS[2], (address_of("ws://127.0.0.1:2"),)), (KEYS[3], ())):
        node_id = node_id_of(key)
        desk.table.admit(Entry(node_id, key, int.from_bytes(node_id), CAPS, addresses))
    asker = Peer(desk.namer, KEYS[1], CAPS, SessionId(bytes(16)), "127.0.0.1", None)
    browser = Peer(desk.namer, KEYS[1], CAPS | Caps.BROWSER, SessionId(bytes(16)), "127.0.0.1", None)
    target = Target(bytes(32))

    assert [c.public_key for c in desk.contacts.nearest_for(asker, target, 20)] == [KEYS[2]]
    assert [c.public_key for c in desk.contacts.closer_for(asker, target)] == [KEYS[2]]
    assert desk.contacts.nearest_for(browser, target, 20) == ()


def test_to_who_hides_behind_a_proxy_the_network_of_the_proxy_is_not_near() -> None:
    desk = Desk("127.0.0.1")
    near, public = "ws://10.0.0.2:2", "ws://8.8.8.8:2"
    node_id = node_id_of(KEYS[2])
    addresses = (address_of(near), address_of(public))
    desk.table.admit(Entry(node_id, KEYS[2], int.from_bytes(node_id), CAPS, addresses))
    neighbour = Peer(desk.namer, KEYS[1], CAPS, SessionId(bytes(16)), "10.0.0.9", None)
    hidden = replace(neighbour, is_proxied=True, is_hidden=True)

    [for_neighbour] = desk.contacts.nearest_for(neighbour, Target(bytes(32)), 20)
    [for_hidden] = desk.contacts.nearest_for(hidden, Target(bytes(32)), 20)

    assert for_neighbour.urls == (near, public)
    assert for_hidden.urls == (public, near)

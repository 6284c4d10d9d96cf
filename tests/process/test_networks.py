"""Two networks on one machine, bootstrapped at each other, stay two networks."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import Fleet, NodeProcess, Spec, ask
from tests.process.needles import files_below
from yzdht import Client, Identity, NoNode, NotFound
from yzdht.crypto.naming import mutable_target, network_id
from yzdht.ids import Tag, Target
from yzdht.wire.rpc import FindValue, FoundValue, Method


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


pytestmark = pytest.mark.process


@dataclass(frozen=True, slots=True)
class Realm:
    """A network: its name, and its key if it is private."""

    name: str
    network: str
    key: bytes | None = None

    def flags(self, folder: Path) -> list[str]:
        flags = ["--network", self.network]
        if self.key is not None:
            path = folder / f"{self.name}.key"
            path.write_text(self.key.hex() + "\n")
            path.chmod(0o600)
            flags += ["--network-key", str(path)]
        return flags

    def client(self, *nodes: NodeProcess, identity: Identity | None = None) -> Client:
        urls = [node.url for node in nodes]
        return Client.connect(*urls, identity=identity, network=self.network, network_key=self.key)


async def start_pair(fleet: Fleet, realm: Realm, more: Sequence[NodeProcess] = ()) -> list[NodeProcess]:
    """Two nodes of a realm; the second is sent to the first, and to the nodes of others too."""
    flags = realm.flags(fleet.folder)
    first = await fleet.start(Spec(f"{realm.name}1", flags))
    urls = [first.url, *(node.url for node in more)]
    second = await fleet.start(Spec(f"{realm.name}2", flags, bootstrap=urls))
    assert second.ready["bootstrap"] == {"tried": len(urls), "joined": 1}
    return [first, second]


async def tables(fleet: Fleet, realm: Realm, nodes: Sequence[NodeProcess]) -> list[set[bytes]]:
    fleet.network, fleet.network_key = realm.network, realm.key
    return [set(await fleet.table_of(node)) for node in nodes]


async def prove_apart(fleet: Fleet, here: Realm, there: Realm) -> None:
    here1, here2 = await start_pair(fleet, here)
    there1, there2 = await start_pair(fleet, there, [here1, here2])
    # Only strangers to join through: it keeps trying, and stays alone.
    flags = here.flags(fleet.folder)
    lonely = await fleet.start(Spec("lonely", flags, bootstrap=[there1.url, there2.url]))
    await lonely.event("bootstrap", lambda event: event["retryInS"] > 1.5)  # it has tried twice

    identity = Identity.generate()
    name = f"name {secrets.token_hex(8)}"
    async with here.client(here1, identity=identity) as dht:
        await dht.store(name, b"value")
        slot = dht.records._own_slot(name)
    async with here.client(here2, identity=identity) as dht:
        assert (await dht.get(name)).data == b"value"
    for node in (there1, there2):
        async with there.client(node, identity=identity) as dht:
            with pytest.raises(NotFound):
                await dht.get(name)
            answer = await ask(dht, node, Method.FIND_VALUE, FindValue(Target(slot.target)))
            assert isinstance(answer.body, FoundValue)
            assert answer.body.records == ()
        with pytest.raises(NoNode):
            async with here.client(node):
                pass
        assert bytes(slot.target) not in b"".join(files_below(node.data).values())
    assert bytes(slot.target) in b"".join(files_below(here1.data).values())

    assert await tables(fleet, here, [here1, here2, lonely]) == [{here2.node_id}, {here1.node_id}, set()]
    assert await tables(fleet, there, [there1, there2]) == [{there2.node_id}, {there1.node_id}]
    for dialler in (there2, lonely):
        counters = (await dialler.stop())["counters"]
        assert counters["sessions_faulted:handshake"] >= 2, counters


async def test_two_networks_that_are_sent_to_each_other_never_merge(fleet: Fleet) -> None:
    await prove_apart(fleet, Realm("a", "alpha"), Realm("b", "beta"))


async def test_two_keys_under_one_name_make_two_networks(fleet: Fleet) -> None:
    key, other = secrets.token_bytes(32), secrets.token_bytes(32)
    await prove_apart(fleet, Realm("a", "private", key), Realm("b", "private", other))


async def test_nodes_with_a_key_and_nodes_without_never_merge(fleet: Fleet) -> None:
    await prove_apart(fleet, Realm("a", "main", secrets.token_bytes(32)), Realm("b", "main"))


def test_one_slot_has_another_target_in_another_network() -> None:
    identity = Identity.generate()
    targets = {mutable_target(network_id(n), identity.public_key, Tag(bytes(32))) for n in ("alpha", "beta")}
    assert len(targets) == 2

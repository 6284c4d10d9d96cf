"""Real nodes behind a real nginx, and who comes to them through it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from websockets.client import ClientProtocol

from tests.conftest import IS_SOAK
from tests.nginx.cluster import BLOCK, FRONT, Cluster, cluster
from tests.nginx.front import names_lead_to
from tests.nginx.load import Load
from tests.process.fleet import WITH_HTTP, Fleet, Spec, until
from tests.process.internet import own_internet
from tests.transport.authority import Authority
from yzdht import Client, Identity, Public
from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import Empty, Method, WhoAmI


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import Figures


pytestmark = [pytest.mark.process, pytest.mark.timeout(1_800 if IS_SOAK else 600)]

NAMES = 60 if IS_SOAK else 6
SPLIT = 60 if IS_SOAK else 12
"""More than a table holds of one prefix that it does not trust."""
LOADED = 12 if IS_SOAK else 6
LOAD_S = 600.0 if IS_SOAK else 0.0
STRANGER = "11.5.5.5"
LIE = "8.8.8.8"


@pytest.fixture
def internet() -> Iterator[None]:
    with own_internet():
        yield


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Fleet(tmp_path) as made:
        yield made
    assert made.errors() == []


async def id_at(client: Client, url: str) -> bytes:
    nodes = client._nodes
    assert nodes is not None
    contact = await nodes._contact(url)
    assert contact is not None, url
    return contact.node_id


async def whom_it_sees(client: Client, url: str) -> WhoAmI:
    nodes = client._nodes
    assert nodes is not None
    outcome = await nodes.call(url, Method.WHOAMI, Empty())
    assert isinstance(outcome, Answer), outcome
    assert isinstance(outcome.body, WhoAmI)
    return outcome.body


@pytest.mark.usefixtures("internet")
async def test_each_name_behind_one_nginx_reaches_its_node_and_what_one_stores_another_shows(
    fleet: Fleet, authority: Authority
) -> None:
    async with cluster(fleet, authority, NAMES) as behind:
        async with behind.client(1) as client:
            reached = [await id_at(client, behind.nginx.url(n)) for n in range(1, NAMES + 1)]
        assert reached == [node.node_id for node in behind.nodes]

        writer = Identity.generate()
        for number in range(1, NAMES + 1):
            async with behind.client(number, identity=writer) as client:
                await client.store(f"greeting {number}", b"%d" % number, readers=Public())
        for number in range(1, NAMES + 1):
            async with behind.client(NAMES + 1 - number) as client:
                found = await client.get(f"greeting {number}", publisher=writer.public_key)
                assert found.data == b"%d" % number


@pytest.mark.usefixtures("internet")
async def test_a_fleet_behind_one_address_is_no_crowd_to_itself(fleet: Fleet, authority: Authority) -> None:
    async with cluster(fleet, authority, SPLIT) as behind:
        ids = {node.node_id for node in behind.nodes}
        for node in behind.nodes:
            assert await fleet.table_of(node, ids) == ids - {node.node_id}


@pytest.mark.usefixtures("internet")
@pytest.mark.parametrize("is_spoofing", [False, True], ids=["honest", "spoofing"])
async def test_a_node_sees_who_is_behind_nginx_whatever_he_says_of_himself(
    fleet: Fleet, authority: Authority, monkeypatch: pytest.MonkeyPatch, *, is_spoofing: bool
) -> None:
    if is_spoofing:
        spoof(monkeypatch)
    async with cluster(fleet, authority, 1, WITH_HTTP) as behind:
        with names_lead_to(STRANGER):  # who connects to it there comes from there
            async with behind.client(1) as client:
                seen = await whom_it_sees(client, behind.nginx.url(1))
                _, shown = await behind.nodes[0].page("/peers.json")
        assert seen == WhoAmI(STRANGER, 0, "ws")
        assert [(peer["host"], peer["proxy"]) for peer in shown["peers"]] == [(STRANGER, "127.0.0.1")]
        # Nor is anybody warned of who looked at its table from this machine.
        assert "who is behind a proxy" not in behind.nodes[0].stderr()


@pytest.mark.usefixtures("internet")
async def test_who_speaks_to_a_node_directly_is_not_believed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await fleet.start(Spec("node", ["--trusted-proxy", FRONT], host="0.0.0.0"))
    spoof(monkeypatch)
    for host, believed in ((STRANGER, STRANGER), (FRONT, LIE)):
        url = f"ws://{host}:{node.port}"
        async with Client.connect(url) as client:
            assert (await whom_it_sees(client, url)).host == believed


def spoof(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, whatever this process dials is told that it is somebody else."""
    honest = ClientProtocol.connect

    def connect(self: ClientProtocol) -> object:
        request = honest(self)
        request.headers["X-Forwarded-For"] = LIE
        request.headers["Forwarded"] = f"for={LIE}"
        request.headers["X-Real-IP"] = LIE
        return request

    monkeypatch.setattr(ClientProtocol, "connect", connect)


async def all_meet(behind: Cluster) -> bool:
    """Whether every node has a session with another, through nginx."""
    views = [(await node.page("/peers.json"))[1]["peers"] for node in behind.nodes]
    return all(
        any(not peer["isClient"] and (peer["road"] == "wss" or peer["host"] == FRONT) for peer in peers)
        for peers in views
    )


async def shown_hosts(behind: Cluster) -> set[str]:
    """Where the nodes see those who are connected to them."""
    views = [(await node.page("/peers.json"))[1]["peers"] for node in behind.nodes]
    return {peer["host"] for view in views for peer in view}


@pytest.mark.usefixtures("internet")
async def test_nginx_restarted_and_reloaded_under_load_of_liars_loses_nothing_that_was_acknowledged(
    fleet: Fleet, authority: Authority, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    spoof(monkeypatch)
    async with cluster(fleet, authority, LOADED, ["--trusted-prefix", BLOCK, *WITH_HTTP]) as behind:
        load = Load(
            lambda writer, who: behind.client(writer % LOADED + 1, (writer + 1) % LOADED + 1, identity=who)
        )
        await load.more(20)
        rounds, until_s = 0, time.monotonic() + LOAD_S
        while rounds == 0 or time.monotonic() < until_s:
            rounds += 1
            behind.nginx.stop()
            behind.nginx.start()
            await load.more(20)
            await until(lambda: all_meet(behind), "sessions are back after a restart")
            await behind.nginx.reload()
            await load.more(20)
            await until(lambda: all_meet(behind), "sessions are back after a reload")
            assert LIE not in await shown_hosts(behind)
        await load.stop()

        async with behind.client(3) as client:
            assert await load.missing(client) == []
        await fleet.settle(behind.nodes)
    figures(f"{LOADED} nodes, {rounds} restarts and as many reloads: {load.summary()}")


@pytest.mark.usefixtures("internet")
async def test_a_node_behind_nginx_learns_that_others_reach_it(fleet: Fleet, authority: Authority) -> None:
    async with cluster(fleet, authority, 4, ["--trusted-prefix", BLOCK, *WITH_HTTP]) as behind:

        async def is_one_reached() -> bool:
            views = [(await node.page("/status.json"))[1]["addresses"] for node in behind.nodes]
            return any(
                {each["url"]: each["reachable"] for each in view} == {behind.nginx.url(number): "reachable"}
                for number, view in enumerate(views, 1)
            )

        await until(is_one_reached, "a node is reached")

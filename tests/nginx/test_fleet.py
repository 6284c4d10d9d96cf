"""Real nodes behind a real nginx, and who comes to them through it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from websockets.client import ClientProtocol

from tests.conftest import IS_SOAK
from tests.nginx.cluster import BLOCK, FRONT, Cluster, cluster
from tests.nginx.front import names_lead_to
from tests.process.fleet import WITH_HTTP, Fleet, Spec, until
from tests.process.internet import own_internet
from tests.transport.authority import Authority
from yzdht import Client, Identity, Public
from yzdht.errors import LookupFailed, YzError
from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import Empty, Method, WhoAmI


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import Figures


pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

NAMES = 60 if IS_SOAK else 6
SPLIT = 12
"""More than a table holds of one prefix that it does not trust."""
STRANGER = "11.5.5.5"
WRITERS = 4


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
        async with behind.client(2, identity=writer) as client:
            await client.store("greeting", b"hello", readers=Public())
        async with behind.client(NAMES) as client:
            assert (await client.get("greeting", publisher=writer.public_key)).data == b"hello"


@pytest.mark.usefixtures("internet")
async def test_a_fleet_behind_one_address_is_no_crowd_to_itself(fleet: Fleet, authority: Authority) -> None:
    async with cluster(fleet, authority, SPLIT) as behind:
        for node in behind.nodes:
            assert len(await fleet.table_of(node)) == SPLIT - 1


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


@pytest.mark.usefixtures("internet")
async def test_who_speaks_to_a_node_directly_is_not_believed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await fleet.start(Spec("node", ["--trusted-proxy", FRONT], host="0.0.0.0"))
    spoof(monkeypatch)
    for host, believed in ((STRANGER, STRANGER), (FRONT, "8.8.8.8")):
        url = f"ws://{host}:{node.port}"
        async with Client.connect(url) as client:
            assert (await whom_it_sees(client, url)).host == believed


def spoof(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, whatever this process dials is told that it is somebody else."""
    honest = ClientProtocol.connect

    def connect(self: ClientProtocol) -> object:
        request = honest(self)
        request.headers["X-Forwarded-For"] = "8.8.8.8"
        request.headers["Forwarded"] = "for=8.8.8.8"
        request.headers["X-Real-IP"] = "8.8.8.8"
        return request

    monkeypatch.setattr(ClientProtocol, "connect", connect)


async def all_meet(behind: Cluster) -> bool:
    """Whether every node has a session with another, through nginx."""
    views = [(await node.page("/peers.json"))[1]["peers"] for node in behind.nodes]
    return all(
        any(not peer["isClient"] and (peer["road"] == "wss" or peer["host"] == FRONT) for peer in peers)
        for peers in views
    )


class Load:
    """People who write all the time, and what was acknowledged."""

    def __init__(self, behind: Cluster) -> None:
        self._behind = behind
        self.identities = [Identity.generate() for _ in range(WRITERS)]
        self.written: dict[tuple[int, str], bytes] = {}
        self.failures: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(WRITERS)]

    async def _write(self, writer: int) -> None:
        count = len(self._behind.nodes)
        through = [(writer + step) % count + 1 for step in range(2)]
        number = 0
        while True:
            try:
                async with self._behind.client(*through, identity=self.identities[writer]) as client:
                    while True:
                        number += 1
                        name, value = f"note {number % 20}", b"%d" % number
                        await client.store(name, value, readers=Public())
                        self.written[writer, name] = value
                        self._changed.set()
            except (LookupFailed, YzError) as error:
                self.failures[type(error).__name__] += 1
                await asyncio.sleep(0.05)

    async def more(self, count: int) -> None:
        """Wait for so many further acknowledgements."""
        for _ in range(count):
            self._changed.clear()
            async with asyncio.timeout(60):
                await self._changed.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


@pytest.mark.usefixtures("internet")
async def test_nginx_restarted_and_reloaded_under_load_loses_nothing_that_was_acknowledged(
    fleet: Fleet, authority: Authority, figures: Figures
) -> None:
    async with cluster(fleet, authority, 6, ["--trusted-prefix", BLOCK, *WITH_HTTP]) as behind:
        load = Load(behind)
        await load.more(20)
        behind.nginx.stop()
        behind.nginx.start()
        await load.more(20)
        await until(lambda: all_meet(behind), "sessions are back after a restart")
        await behind.nginx.reload()
        await load.more(20)
        await until(lambda: all_meet(behind), "sessions are back after a reload")
        await load.stop()

        async with behind.client(3) as client:
            for (writer, name), value in load.written.items():
                found = await client.get(name, publisher=load.identities[writer].public_key)
                assert int(found.data) >= int(value)
        await fleet.settle(behind.nodes)
    figures(f"acknowledged in {len(load.written)} slots, writes that failed: {dict(load.failures)}")


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

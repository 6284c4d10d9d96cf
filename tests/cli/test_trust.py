"""What a reader is told when nodes are behind, forge, disagree or are too few."""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.cli.programs import NodeProcess, Person
from yzdht import Client, Identity, Node
from yzdht.crypto.sealing import Self
from yzdht.records import Keeps, Records
from yzdht.store.entropy import SystemRng
from yzdht.store.groups import SqliteGroups
from yzdht.store.marks import MemoryMarks
from yzdht.wire.rpc import Body, Get, Got, Method, Status


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from yzdht.ports import Now
    from yzdht.sessions.connection import Connection


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Another network of one node, which knows nothing of the first."""
    with NodeProcess(tmp_path_factory.mktemp("second") / "data") as process:
        yield process.ready()


def test_a_value_older_than_one_seen_before_is_stale(
    offline: Person, node: NodeProcess, second: NodeProcess
) -> None:
    old = offline.at(second.url).yz("--json", "put", "name", stdin=b"old").object["seq"]
    new = offline.at(node.url).yz("--json", "put", "name", stdin=b"new").object["seq"]

    stale = offline.at(second.url).yz("--json", "get", "name")

    assert (stale.code, stale.stdout) == (4, b"")
    assert (stale.error["seq"], stale.error["seenSeq"]) == (old, new)
    assert offline.at(second.url, node.url).yz("get", "name").stdout == b"new"


class _SameInstant:
    """The way through a client, with a clock that stands still: two writes get one seq."""

    def __init__(self, client: Client, now: Now) -> None:
        assert client._nodes is not None
        self.read = client._nodes.read
        self.write = client._nodes.write
        self.start = client._nodes.start
        self.count = client._nodes.count
        self.compute = client._nodes.compute
        self.now = lambda: now


async def test_two_values_with_one_seq_are_warned_of(
    offline: Person, node: NodeProcess, second: NodeProcess
) -> None:
    identity = Identity.create(offline.home / "identity.key")
    now: Now | None = None
    for url, value in ((node.url, b"one"), (second.url, b"two")):
        async with Client.connect(url, identity=identity) as client:
            assert client._nodes is not None
            now = now or client._nodes.now()
            access = _SameInstant(client, now)
            records = Records(
                identity, client._network, access, Keeps(MemoryMarks(), SqliteGroups(None)), SystemRng()
            )
            await records.store("name", value, Self())

    got = offline.at(node.url, second.url).yz("get", "name")
    again = offline.at(node.url, second.url).yz("--json", "get", "name")

    assert got.code == 0
    assert got.stdout in (b"one", b"two")
    assert "yz: warning: two values carry seq " in got.stderr
    assert (again.object["conflict"], again.stderr) == (True, "")


class Forger(Node):
    """A node that changes what it was given to keep."""

    async def start(self) -> None:
        await super().start()
        self._serve = self._pump.on_request
        self._pump.on_request = self._forge  # type: ignore[method-assign] # that is what makes it a liar

    def _forge(self, connection: Connection, number: int, method: Method, body: Body) -> None:
        if not isinstance(body, Get):
            self._serve(connection, number, method, body)
            return
        stored = self.store_of_records.get(body.target, 0)
        forged = tuple(record.body[:-1] + bytes((record.body[-1] ^ 1,)) for record in stored)
        connection.reply(number, Status.OK, Got(forged, 1, 1))


async def test_a_record_that_was_tampered_with_is_refused(offline: Person) -> None:
    async with Forger(0, host="127.0.0.1") as forger:
        person = offline.at(f"ws://127.0.0.1:{forger.port}")
        assert (await asyncio.to_thread(person.yz, "put", "name", stdin=b"value")).code == 0
        refused = await asyncio.to_thread(person.yz, "--json", "get", "name")

    assert (refused.code, refused.stdout) == (5, b"")
    assert refused.error["exitCode"] == 5


def test_too_few_nodes_are_told_with_how_many_answered(tmp_path: Path) -> None:
    person = Person(tmp_path / "home")
    with NodeProcess(tmp_path / "a") as first:
        bootstrap = ["--bootstrap", f"{first.ready().url}#{first.node_id}"]
        with NodeProcess(tmp_path / "b", *bootstrap) as b, NodeProcess(tmp_path / "c", *bootstrap) as c:
            for process in (b.ready(), c.ready()):
                assert process.view["bootstrap"] == {"tried": 1, "joined": 1}
                assert process.event()["event"] == "joined"
            put = person.at(first.url).yz("put", "name", stdin=b"value")
            assert (put.code, "of 3 nodes" in put.stderr) == (0, True)
            for process in (b, c):  # silent, not gone: who is gone is soon counted no more
                process.process.send_signal(signal.SIGSTOP)
            refused = person.at(first.url).yz("--json", "put", "name", stdin=b"value")
            unread = person.at(first.url).yz("get", "nothing")
            for process in (b, c):
                process.end(signal.SIGKILL)

    assert refused.code == 6
    assert (refused.error["answered"], refused.error["needed"]) == (1, 2)
    assert unread.code == 6
    assert "nodes answered, " in unread.stderr


def test_a_copied_home_is_the_same_person(person: Person, tmp_path: Path) -> None:
    person.yz("put", "name", stdin=b"value")
    shutil.copytree(person.home, tmp_path / "copy")

    assert Person(tmp_path / "copy", person.options).yz("get", "name").stdout == b"value"

"""Nobody but its readers sees a value, a name, a passphrase or the name of a private network.

Everything that any of them sent over a WebSocket is kept by wiretaps, in front of every node, through which all clients
and all other nodes have to go. That and every file of every node is searched for the secrets in eleven forms. The same
search finds a public value in the files, and on the wire what was planted there raw.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.process.fleet import Fleet, NodeProcess, Spec, until
from tests.process.needles import files_below, found_in
from tests.process.wiretap import Wiretap, masked_frame
from yzdht import Client, Public


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.process.conftest import Note


pytestmark = pytest.mark.process

NODES = 5
OPENING = (
    b"GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be seen, and what must."""

    value: str
    name: str
    network: str
    passphrase: str
    canary: str

    @classmethod
    def draw(cls) -> Secrets:
        return cls(
            *(f"{word}-{secrets.token_hex(12)}" for word in ("Wert?>ÿ", "Name", "net", "pass", "canary"))
        )

    @property
    def all_but_canary(self) -> list[str]:
        return [self.value, self.name, self.network, self.passphrase]


@dataclass(slots=True)
class Tapped:
    """Nodes with a wiretap in front of each."""

    fleet: Fleet
    secrets: Secrets
    home: Path
    taps: list[Wiretap]
    nodes: list[NodeProcess]

    def client(self, *through: int) -> Client:
        urls = [self.nodes[number].url for number in through]
        return Client.connect(
            *urls, home=self.home, passphrase=self.secrets.passphrase, network=self.secrets.network
        )

    def files(self) -> dict[str, bytes]:
        """Every file of every node: its data folder, and what it said on stderr at the most talkative level."""
        return {
            f"{node.spec.name}/{path}": content
            for node in self.nodes
            for path, content in files_below(node.folder).items()
        }

    def wires(self) -> dict[str, bytes]:
        return {
            f"{node.spec.name}, {place}": content
            for node, tap in zip(self.nodes, self.taps, strict=True)
            for place, content in tap.heard().items()
        }


@pytest.fixture
async def tapped(fleet: Fleet, tmp_path: Path) -> AsyncIterator[Tapped]:
    drawn = Secrets.draw()
    async with contextlib.AsyncExitStack() as stack:
        taps = [await stack.enter_async_context(Wiretap()) for _ in range(NODES)]
        nodes = []
        for number, tap in enumerate(taps):
            flags = ["--public-address", tap.url, "--network", drawn.network, "--log-level", "debug"]
            bootstrap = [taps[0].url] if number else []
            spec = Spec(f"n{number}", flags, bootstrap=bootstrap, passphrase=drawn.passphrase)
            nodes.append(await fleet.start(spec))
            tap.node_port = nodes[-1].port
        fleet.network = drawn.network
        await fleet.settle(nodes)
        yield Tapped(fleet, drawn, tmp_path / "home", taps, nodes)


async def use(tapped: Tapped, count: int) -> None:
    """Everything that a person does with secrets: store, overwrite, read from elsewhere, fail to read, delete."""
    drawn = tapped.secrets
    names = [f"{'x' * (number % 3)}{drawn.name}/{number}" for number in range(count)]
    async with tapped.client(0, 1) as dht:
        for number, name in enumerate(names):
            value = f"{'y' * (number % 3)}{drawn.value}" * (1 + number % 40)
            await dht.store(name, value.encode())
            await dht.store(name, value.encode("utf-16-le"))
        await dht.store(f"{drawn.name} of the canary", drawn.canary.encode(), readers=Public())
    async with tapped.client(2, 3) as dht:
        for name in names:
            assert (await dht.get(name)).seq
        await dht.get(f"{drawn.name}, never stored", default=None)
        for name in names[::4]:
            await dht.delete(name)


async def plant(tapped: Tapped) -> None:
    """A stranger who sends the canary in a WebSocket frame of its own, in clear but masked."""
    port = int(tapped.taps[0].url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(OPENING)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(masked_frame(f"here: {tapped.secrets.canary}".encode(), secrets.token_bytes(4)))
    await reader.read()  # the node hangs up
    writer.close()


def strangers_to_the_taps(tapped: Tapped) -> list[str]:
    """Connections of the nodes that go through no wiretap."""
    known = {talk.own_port for tap in tapped.taps for talk in tap.conversations}
    doors = {int(tap.url.rpartition(":")[2]) for tap in tapped.taps}
    return [
        f"{node.spec.name}: {c.laddr} {c.raddr}"
        for node in tapped.nodes
        for c in psutil.Process(node.pid).net_connections("inet")
        if c.raddr and c.raddr.port not in (known if c.laddr.port == node.port else doors)
    ]


async def prove_secrecy(tapped: Tapped, note: Note, count: int) -> None:
    drawn = tapped.secrets
    await use(tapped, count)
    assert strangers_to_the_taps(tapped) == []
    talks = sum(len(tap.conversations) for tap in tapped.taps)
    assert talks >= NODES * (NODES - 1) // 2 + 4  # each pair of nodes, and two clients at two nodes each
    wires = tapped.wires()
    assert found_in(wires, [*drawn.all_but_canary, drawn.canary]) == []

    await plant(tapped)

    async def is_recorded() -> bool:
        return bool(found_in(tapped.wires(), [drawn.canary]))

    await until(is_recorded, "the wiretap saw the planted canary")
    shown = found_in(tapped.wires(), [drawn.canary])
    assert all("unmasked" in line and "utf-8" in line for line in shown), shown

    files = tapped.files()
    assert found_in(files, drawn.all_but_canary) == []
    shown = found_in(files, [drawn.canary])
    assert len({line.rpartition(" in ")[2].partition("/")[0] for line in shown}) == NODES, (
        shown
    )  # every node stores it
    assert any(name.endswith("records.sqlite-wal") for name in files)

    for node in tapped.nodes:
        await node.stop()
    files = tapped.files()  # now the log is folded into the file, and the state is written
    assert found_in(files, drawn.all_but_canary) == []
    assert found_in(files, [drawn.canary])
    assert {"state", "node.key", "records.sqlite"} <= {name.rpartition("/")[2] for name in files}
    assert found_in(files_below(tapped.home), drawn.all_but_canary) == []
    wire_bytes = sum(len(content) for place, content in wires.items() if "unmasked" not in place)
    file_bytes = sum(len(content) for content in files.values())
    note(f"searched {wire_bytes:,} B of {talks} connections and {file_bytes:,} B of files, {count} names")


async def test_no_wire_and_no_file_of_a_node_shows_a_value_or_a_name(tapped: Tapped, note: Note) -> None:
    await prove_secrecy(tapped, note, 24)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_no_wire_and_no_file_shows_one_of_a_thousand_values(tapped: Tapped, note: Note) -> None:
    await prove_secrecy(tapped, note, 1_000)

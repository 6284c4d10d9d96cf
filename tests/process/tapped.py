"""Nodes behind wiretaps, through which all clients and all other nodes have to go, and what is never to be seen of them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from tests.process.fleet import Fleet, NodeProcess, Spec
from tests.process.needles import files_below
from tests.process.wiretap import Wiretap, masked_frame
from yzdht import Client


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


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


@contextlib.asynccontextmanager
async def tap(fleet: Fleet, home: Path) -> AsyncIterator[Tapped]:
    """Nodes of a network with a drawn name and passphrase, each behind a wiretap."""
    drawn = Secrets.draw()
    async with contextlib.AsyncExitStack() as stack:
        taps = [await stack.enter_async_context(Wiretap()) for _ in range(NODES)]
        nodes = []
        for number, wiretap in enumerate(taps):
            flags = ["--public-address", wiretap.url, "--network", drawn.network, "--log-level", "debug"]
            bootstrap = [taps[0].url] if number else []
            spec = Spec(f"n{number}", flags, bootstrap=bootstrap, passphrase=drawn.passphrase)
            nodes.append(await fleet.start(spec))
            wiretap.node_port = nodes[-1].port
        fleet.network = drawn.network
        await fleet.settle(nodes)
        yield Tapped(fleet, drawn, home, taps, nodes)


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

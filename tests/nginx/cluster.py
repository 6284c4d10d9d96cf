"""Nodes that know each other only by their names behind one nginx, at one public address of an Internet of the test's own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.nginx.front import Nginx, name_of, names_lead_to
from tests.process.fleet import PATIENCE_S, Fleet, NodeProcess, Spec, steady_port
from yzdht import Client


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.transport.authority import Authority
    from yzdht import Identity


FRONT: Final = "11.1.1.1"
"""Where the names lead."""
BLOCK: Final = "11.1.1.0/24"
_WITH_NAMES: Final = 'mount --bind "$0" /etc/hosts && exec "$@"'


@dataclass(slots=True)
class Cluster:
    """One nginx and the nodes behind it, node 1 first.

    Attributes:
        fleet: Ends them with the test.
        nginx: In front of them, at every address of this Internet.
        ca: The authority of its certificate.
        nodes: They.

    """

    fleet: Fleet
    nginx: Nginx
    ca: Path
    nodes: list[NodeProcess]

    def add(self, number: int, place: str, flags: Sequence[str] = ()) -> NodeProcess:
        """A node that is not started yet."""
        hosts = self.fleet.folder / "hosts"
        if not hosts.exists():
            lines = [f"{FRONT} {name_of(each)}\n" for each in range(1, 100)]
            hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))
        spec = Spec(
            f"node{number}",
            ["--ca", str(self.ca), "--trusted-proxy", "127.0.0.1", "--public-address", self.nginx.url(number), *flags],
            port=int(place.rpartition(":")[2]),
            bootstrap=[self.nginx.url(1)] if number > 1 else [],
            before=["unshare", "--mount", "sh", "-c", _WITH_NAMES, str(hosts)],
        )  # fmt: skip
        self.nodes.append(self.fleet.add(spec))
        return self.nodes[-1]

    def client(self, *numbers: int, identity: Identity | None = None) -> Client:
        """Somebody who knows the names of some nodes."""
        return Client.connect(*(self.nginx.url(each) for each in numbers), ca=self.ca, identity=identity)

    async def start(self) -> None:
        """Start all, the first before the others, until everybody knows everybody."""
        await self.nodes[0].start()
        await asyncio.gather(*(node.start() for node in self.nodes[1:]))
        await self.fleet.settle(self.nodes, max(PATIENCE_S, 5.0 * len(self.nodes)))


@asynccontextmanager
async def cluster(
    fleet: Fleet, authority: Authority, count: int, flags: Sequence[str] = ("--trusted-prefix", BLOCK)
) -> AsyncIterator[Cluster]:
    """So many nodes, started; within `own_internet`."""
    places = {number: f"127.0.0.1:{steady_port()}" for number in range(1, count + 1)}
    with (
        names_lead_to(FRONT),
        Nginx(fleet.folder / "nginx", authority, places, listen="0.0.0.0") as nginx,
    ):
        made = Cluster(fleet, nginx, authority.ca, [])
        for number, place in places.items():
            made.add(number, place, flags)
        await made.start()
        yield made

"""The networks that are measured: yzdht, durable or not, and the kademlia package; one or more nodes of one of them."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kademlia.network import Server

from yzdht import Identity, Node
from yzdht.errors import YzError
from yzdht.store.sqlite import SqliteStore


if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


HOST = "127.0.0.1"
VALUE = os.urandom(1024)
SETTLES_S_MAX = 60.0
_LOOKS_EVERY_S = 0.1
_QUIET_S = 1.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One kind of network.

    Attributes:
        name: As the tables show it.
        ksize: Of the kademlia package; 0 for yzdht.
        is_durable: yzdht keeps its records in SQLite.
        is_synced: SQLite waits for the disk at each commit (`synchronous=FULL`), as it always does outside of this bench.

    """

    name: str
    ksize: int = 0
    is_durable: bool = False
    is_synced: bool = False


SYNCED = Contender("yzdht, fsync", is_durable=True, is_synced=True)
UNSYNCED = Contender("yzdht, no fsync", is_durable=True)
MEMORY = Contender("yzdht, memory")
CLASSIC_8 = Contender("kademlia, ksize 8", ksize=8)
CLASSIC_20 = Contender("kademlia, ksize 20", ksize=20)
CONTENDERS = (SYNCED, UNSYNCED, MEMORY, CLASSIC_8, CLASSIC_20)


class Nodes(Protocol):
    """Some nodes of one network, in this process; which of them is a number from 0."""

    async def start(self, count: int, bootstrap: Sequence[str]) -> list[str]:
        """Add nodes; the addresses at which they can be joined."""
        ...

    async def settle(self, network: int) -> None:
        """Wait until they know the whole network of so many nodes, or for SETTLES_S_MAX."""
        ...

    async def put(self, node: int, key: str) -> bool: ...

    async def get(self, node: int, key: str) -> bool: ...

    async def kill(self, node: int) -> None:
        """End one as SIGKILL would: its sockets close, and it says nothing."""
        ...


class YzdhtNodes:
    """Values are sealed for their owner; one person is at every node, so that any can read what another put.

    Args:
        contender: Its name and its store.
        person: Whose values.
        folder: For records.

    """

    def __init__(self, contender: Contender, person: Identity, folder: Path) -> None:
        self._contender = contender
        self._person = person
        self._folder = folder
        self._nodes: list[Node] = []

    async def start(self, count: int, bootstrap: Sequence[str]) -> list[str]:
        bootstrap = list(bootstrap)
        for _ in range(count):
            data = self._folder / f"{os.getpid()}-{len(self._nodes)}"
            node = Node(
                0,
                host=HOST,
                bootstrap=bootstrap,
                data=data if self._contender.is_durable else None,
                identity=self._person,
                allow_private=True,
            )
            await node.start()
            store = node.store_of_records
            if isinstance(store, SqliteStore) and not self._contender.is_synced:
                store._writing.execute("PRAGMA synchronous=OFF")
            self._nodes.append(node)
            bootstrap = bootstrap or [_url(node)]
        return [_url(node) for node in self._nodes]

    async def settle(self, network: int) -> None:
        """Wait until they know everybody and the care that newcomers cause has begun and ended."""
        for _ in range(int(SETTLES_S_MAX / _LOOKS_EVERY_S)):
            if all(len(node.engine.table) == network - 1 for node in self._nodes):
                break
            await asyncio.sleep(_LOOKS_EVERY_S)
        await asyncio.sleep(_QUIET_S)

    async def put(self, node: int, key: str) -> bool:
        try:
            await self._nodes[node].store(key, VALUE)
        except YzError:
            return False
        return True

    async def get(self, node: int, key: str) -> bool:
        try:
            return (await self._nodes[node].get(key)).data == VALUE
        except YzError:
            return False

    async def kill(self, node: int) -> None:
        sessions = self._nodes[node].sessions
        for connection, _ in sessions.open_connections():
            connection.link.abort()
        await sessions.close()  # what it would say it has no link to say over; it dials nobody any more


def _url(node: Node) -> str:
    return f"ws://{HOST}:{node.port}"


class KademliaNodes:
    """The kademlia package: values in plaintext, in memory."""

    def __init__(self, contender: Contender) -> None:
        logging.getLogger("kademlia").setLevel(logging.CRITICAL)
        logging.getLogger("rpcudp").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")
        self._ksize = contender.ksize
        self._servers: list[Any] = []  # an untyped package

    async def start(self, count: int, bootstrap: Sequence[str]) -> list[str]:
        bootstrap = list(bootstrap)
        for _ in range(count):
            server = Server(ksize=self._ksize)
            await server.listen(0, interface=HOST)
            self._servers.append(server)
            await server.bootstrap([(HOST, int(port)) for port in bootstrap])
            bootstrap = bootstrap or [_port(server)]
        return [_port(server) for server in self._servers]

    async def settle(self, network: int) -> None:
        """Nothing to wait for: a newcomer has met whom it will know."""

    async def put(self, node: int, key: str) -> bool:
        return bool(await self._servers[node].set(key, VALUE))

    async def get(self, node: int, key: str) -> bool:
        return bool(await self._servers[node].get(key) == VALUE)

    async def kill(self, node: int) -> None:
        self._servers[node].stop()


def _port(server: Any) -> str:  # noqa: ANN401 - an untyped package
    return str(server.transport.get_extra_info("sockname")[1])


def nodes_of(contender: Contender, person: Identity, folder: Path) -> Nodes:
    """Nodes of that kind, none yet."""
    return KademliaNodes(contender) if contender.ksize else YzdhtNodes(contender, person, folder)

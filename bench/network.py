"""CPU of the whole network per put and get at 12 nodes, ours sealed and signed beside the kademlia package in plaintext.

Both networks live in this process, so its CPU seconds are those of the whole network, client included. Rounds of the
two alternate; the figures are medians over the rounds and ratios within the run. Ours is shown durable (SQLite,
synchronous=FULL) and in memory; kademlia keeps its values in memory. Writers and readers go round all nodes, so that
two gets in three fall on a node that holds the value: kademlia answers those from its own memory, ours still asks a
read quorum, since another holder may have something newer. Run: make bench, or python bench/network.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import itertools
import json
import logging
import os
import pstats
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import uvloop

from yzdht import Identity, Node


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


NODES = 12
VALUE = os.urandom(1024)
KSIZE = 8


class Network(Protocol):
    """A network of 12 nodes in this process."""

    async def put(self, key: str) -> None: ...

    async def get(self, key: str) -> None: ...


class Ours:
    """yzdht: encrypted, signed, quorum of 5 of 8."""

    def __init__(self, stack: contextlib.AsyncExitStack, *, is_durable: bool) -> None:
        self._stack = stack
        self._is_durable = is_durable
        self._nodes: list[Node] = []

    async def start(self) -> None:
        bootstrap: list[str] = []
        person = Identity.generate()  # one person at every node, so that any can read what another put
        for _ in range(NODES):
            data = (
                Path(self._stack.enter_context(tempfile.TemporaryDirectory())) if self._is_durable else None
            )
            node = Node(0, host="127.0.0.1", bootstrap=bootstrap, data=data, identity=person)
            self._nodes.append(await self._stack.enter_async_context(node))
            bootstrap = [self._nodes[0].addresses[0].url]
        self._writers = itertools.cycle(self._nodes)
        self._readers = itertools.cycle(self._nodes[5:] + self._nodes[:5])

    async def put(self, key: str) -> None:
        await next(self._writers).store(key, VALUE)

    async def get(self, key: str) -> None:
        assert (await next(self._readers).get(key)).data == VALUE


class Classic:
    """The kademlia package, plaintext, ksize 8."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self._servers: list[Any] = []  # an untyped package

    async def start(self) -> None:
        from kademlia.network import Server  # noqa: PLC0415 - only this side of the comparison needs it

        logging.getLogger("kademlia").setLevel(logging.CRITICAL)
        logging.getLogger("rpcudp").setLevel(logging.CRITICAL)
        first = 0
        for _ in range(NODES):
            server = Server(ksize=KSIZE)
            await server.listen(0, interface="127.0.0.1")
            self._stack.callback(server.stop)
            port = server.transport.get_extra_info("sockname")[1]
            if first:
                await server.bootstrap([("127.0.0.1", first)])
            first = first or port
            self._servers.append(server)
        self._writers = itertools.cycle(self._servers)
        self._readers = itertools.cycle(self._servers[5:] + self._servers[:5])

    async def put(self, key: str) -> None:
        assert await next(self._writers).set(key, VALUE)

    async def get(self, key: str) -> None:
        assert await next(self._readers).get(key) == VALUE


async def _measure(work: Callable[[str], Awaitable[None]], count: int) -> tuple[float, float]:
    """CPU ms and wall ms per operation; what goes on in the background afterwards is waited for and counted."""
    cpu, wall = time.process_time(), time.perf_counter()
    for index in range(count):
        await work(f"bench/{index}")
    took = time.perf_counter() - wall
    await asyncio.sleep(0.3)
    return (time.process_time() - cpu) / count * 1e3, took / count * 1e3


async def _profile(network: Network, count: int) -> None:
    """Microseconds per RPC by module, under the profiler (which costs about as much again)."""
    for name, work in (("put", network.put), ("get", network.get)):
        profile = cProfile.Profile()
        profile.enable()
        for index in range(count):
            await work(f"bench/{index}")
        profile.disable()
        by_module: dict[str, float] = {}
        requests = 0
        for (file, _, function), (calls, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined] # typeshed leaves `stats` out
            module = _module_of(file)
            by_module[module] = by_module.get(module, 0.0) + own
            if function == "_receive_request":
                requests += calls
        total = sum(by_module.values())
        print(
            f"\n{name}: {requests / count:.1f} RPCs each, {total / max(requests, 1) * 1e6:.0f} us per RPC (profiled)"
        )
        for module, own in sorted(by_module.items(), key=lambda item: -item[1])[:10]:
            print(f"  {own / max(requests, 1) * 1e6:7.1f} us  {own / total:5.1%}  {module}")


def _module_of(file: str) -> str:
    for package in ("yzdht", "websockets", "asyncio", "msgspec", "cryptography"):
        if f"/{package}/" in file:
            tail = file.rsplit(f"/{package}/", 1)[1]
            return f"{package}/{tail}" if package == "yzdht" else package
    return "built-in" if file.startswith(("~", "<")) else "standard library"


async def _run(rounds: int, count: int, *, profile: bool) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, list[float]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        durable, memory = Ours(stack, is_durable=True), Ours(stack, is_durable=False)
        classic = Classic(stack)
        networks = {"yzdht, durable": durable, "yzdht, memory": memory, "kademlia, ksize 8": classic}
        for network in networks.values():
            await network.start()
        for network in networks.values():
            await _measure(network.put, 20)  # caches and connections as in steady use
        for _ in range(rounds):
            for name, network in networks.items():
                row = figures.setdefault(name, {})
                for verb, work in (("put", network.put), ("get", network.get)):
                    cpu, wall = await _measure(work, count)
                    row.setdefault(f"{verb} cpu ms", []).append(cpu)
                    row.setdefault(f"{verb} wall ms", []).append(wall)
        if profile:
            await _profile(durable, count)
    return {n: {k: statistics.median(v) for k, v in row.items()} for n, row in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100, help="operations a round")
    parser.add_argument("--no-profile", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = uvloop.run(
        _run(options.rounds, options.count, profile=not options.no_profile and not options.json)
    )
    if options.json:
        print(json.dumps(table))
        return
    base = table["kademlia, ksize 8"]
    print(f"\n{NODES} nodes in one process, 1 KiB, medians of {options.rounds} rounds of {options.count}")
    print(f"{'':20}" + "".join(f"{k:>14}" for k in base) + f"{'put ratio':>12}{'get ratio':>12}")
    for name, row in table.items():
        ratios = (row["put cpu ms"] / base["put cpu ms"], row["get cpu ms"] / base["get cpu ms"])
        cells = "".join(f"{v:14.2f}" for v in row.values())
        print(f"{name:20}{cells}{ratios[0]:12.2f}{ratios[1]:12.2f}")


if __name__ == "__main__":
    main()

"""Networks whose nodes live in forked processes, and what is asked of them.

A network is one process with all nodes, or a process for each node; what is asked of it is the same. Operations go one
after the other unless they are to go at once, and each is timed where it is carried out.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.kit.contenders import nodes_of
from bench.kit.crypto_clock import CryptoClock
from bench.kit.forks import Host, cpu_s_of, fork, profiled


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.kit.contenders import Contender, Nodes
    from yzdht import Identity
    from yzdht.cli.children import Children


QUIET_SHARE = 0.03
_LOOKS_EVERY_S = 0.5
QUIET_S_MAX = 40.0
STARTING_AT_ONCE = 4


class Did(NamedTuple):
    """What operations came to: seconds of each that succeeded, and how many failed."""

    took_s: list[float]
    failed: int


class _Serving:
    """Some nodes of one network, in a forked process."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._clock: CryptoClock | None = None

    async def do(self, what: str, **more: Any) -> object:  # noqa: ANN401 - decoded from JSON
        match what:
            case "start":
                return await self._nodes.start(more["count"], more["bootstrap"])
            case "settle":
                return await self._nodes.settle(more["network"])
            case "kill":
                for node in more["nodes"]:
                    await self._nodes.kill(node)
                return None
            case "crypto":
                self._clock = self._clock or CryptoClock()
                return self._clock.seconds()
            case _:
                return await self._operate(what, more["work"], is_at_once=more["is_at_once"])

    async def _operate(self, verb: str, work: Sequence[tuple[int, str]], *, is_at_once: bool) -> Did:
        operation = self._nodes.put if verb == "put" else self._nodes.get
        took_s: list[float] = []

        async def one(node: int, key: str) -> None:
            began = time.perf_counter()
            if await operation(node, key):
                took_s.append(time.perf_counter() - began)

        if is_at_once:
            await asyncio.gather(*(one(*each) for each in work))
        else:
            for each in work:
                await one(*each)
        return Did(took_s, len(work) - len(took_s))


# In the parent


class Ground(NamedTuple):
    """What all networks of a run share.

    Attributes:
        children: Forks.
        person: Whose values.
        folder: For records.

    """

    children: Children
    person: Identity
    folder: Path


class Network:
    """One network: its processes and what is asked of them.

    Args:
        contender: What kind.
        hosts: Its processes.

    """

    def __init__(self, contender: Contender, hosts: list[Host]) -> None:
        self.contender = contender
        self._hosts = hosts
        self._alive: list[tuple[Host, int]] = []
        self._turn = 0

    @classmethod
    def fork(cls, contender: Contender, processes: int, ground: Ground) -> Network:
        """Have processes for it; no node runs yet."""
        return cls(contender, [_fork(contender, ground) for _ in range(processes)])

    @property
    def nodes(self) -> int:
        """How many live."""
        return len(self._alive)

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [host.child.pid for host in self._hosts]

    def starting(self, count: int) -> Iterator[None]:
        """Start so many nodes in steps, so that several networks can start side by side; end with all of them known."""
        each = count // len(self._hosts)
        urls = yield from _answers([self._hosts[0]], "start", count=each, bootstrap=[])
        for at in range(1, len(self._hosts), STARTING_AT_ONCE):
            some = self._hosts[at : at + STARTING_AT_ONCE]
            yield from _answers(some, "start", count=each, bootstrap=urls[:1])
        yield from _answers(self._hosts, "settle", network=count)
        for host in self._hosts:
            host.count = each
        self._alive = [(host, node) for host in self._hosts for node in range(each)]

    def cpu_s(self) -> float:
        """Seconds of CPU that its processes have used."""
        return sum(host.cpu_s() for host in self._hosts)

    def operate(self, verb: str, keys: Sequence[str], *, offset: int = 0, is_at_once: bool = False) -> Did:
        """Put or get values through one node after the other.

        Args:
            verb: `put` or `get`.
            keys: One operation for each.
            offset: So many nodes past that which would be next.
            is_at_once: All of them side by side.

        """
        by_host: dict[Host, list[tuple[int, str]]] = {}
        for number, key in enumerate(keys):
            host, node = self._alive[(self._turn + offset + number) % len(self._alive)]
            by_host.setdefault(host, []).append((node, key))
        self._turn += len(keys)
        if is_at_once:
            for host, work in by_host.items():
                host.tell(verb, work=work, is_at_once=True)
            dids = [host.hear() for host in by_host]
        else:
            dids = [host.ask(verb, work=work, is_at_once=False) for host, work in by_host.items()]
        return Did([s for took_s, _ in dids for s in took_s], sum(failed for _, failed in dids))

    def crypto_s(self) -> list[dict[str, float]]:
        """Seconds by kind that each process has spent in cryptography since this was called first."""
        return [host.ask("crypto") for host in self._hosts]

    def next_host(self, offset: int = 0) -> int:
        """Which process has the node that the next operation goes through."""
        host, _ = self._alive[(self._turn + offset) % len(self._alive)]
        return self._hosts.index(host)

    def kill(self, share: float) -> int:
        """End that share of the nodes at once, evenly spread; how many that are."""
        dead = {int(number / share) for number in range(round(share * len(self._alive)))}
        doomed = [self._alive[number] for number in dead]
        self._alive = [each for number, each in enumerate(self._alive) if number not in dead]
        if len(self._hosts) == 1:
            self._hosts[0].ask("kill", nodes=[node for _, node in doomed])
        for host, _ in doomed if len(self._hosts) > 1 else []:
            os.kill(host.child.pid, signal.SIGKILL)
        return len(dead)

    def profiled(self, work: Callable[[], object]) -> dict[str, float]:
        """Seconds by module that all processes spend on some work, under the profiler."""
        return profiled(self._hosts, work)


def _fork(contender: Contender, ground: Ground) -> Host:
    return fork(ground.children, lambda: _Serving(nodes_of(contender, ground.person, ground.folder)))


def _answers(hosts: Sequence[Host], what: str, **more: object) -> Any:  # noqa: ANN401 - decoded from JSON
    """Tell all of them, let others be told, then hear the answers; returns the first one."""
    for host in hosts:
        host.tell(what, **more)
    yield
    first, *_ = [host.hear() for host in hosts]
    return first


def wait_until_quiet(pids: Sequence[int]) -> None:
    """Wait until processes use next to nothing, QUIET_S_MAX at most: who just joined looks around for a while."""
    give_up_at = time.monotonic() + QUIET_S_MAX
    is_quiet = False
    while not is_quiet and time.monotonic() < give_up_at:
        before_s = sum(map(cpu_s_of, pids))
        time.sleep(_LOOKS_EVERY_S)
        is_quiet = sum(map(cpu_s_of, pids)) - before_s <= QUIET_SHARE * _LOOKS_EVERY_S


def start_all(networks: Sequence[Network], count: int) -> None:
    """Start networks side by side, so many nodes each."""
    steps = [network.starting(count) for network in networks]
    while steps:
        steps = [step for step in steps if next(step, "ended") is None]
    for network in networks:
        wait_until_quiet(network.pids)

"""Strangers flood one node of four, and whoever uses it is served as before.

All run in a network where every process has a public prefix of its own choice (internet.py). Attackers come from many
prefixes, and from one in which an honest client lives too. What the node, and the clients, do under each flood stands
beside what they do in quiet, measured just before and after it. Attackers get what CPU the others leave (SCHED_IDLE).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.process.fleet import POLL_S, Spec, quantile, steady_port, through, until
from tests.process.flood import Attackers, Plan
from tests.process.honest import Honest
from tests.process.internet import own_internet
from tests.transport.authority import Authority
from yzdht import Identity
from yzdht.limits import (
    HELD_BYTES_MAX,
    HELD_BYTES_STEP,
    IDLE_SESSION_BYTES,
    OPENING_BYTES_MAX,
    STORE_QUEUE_BYTES_MAX,
    TLS_LINK_BYTES,
    VALUE_BYTES_MAX,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess
    from tests.process.honest import Deed


pytestmark = pytest.mark.process

NODES = 4
STREET = [f"11.100.0.{number}" for number in range(10, 18)]
"""Addresses of attackers in the prefix where the honest client lives that is called the neighbour."""
NEIGHBOUR, FAR = "11.100.0.99", "11.200.0.1"
CROWD = [f"11.{110 + number // 250}.{number % 250}.1" for number in range(1_000)]
"""Attackers in as many prefixes."""
STORAGE_BYTES_MAX = 8 << 20
SLOWER_MAX = 5.0
SLOWEST = 8
"""So many are noted with the time at which they began: a stall shows as several of one moment."""
SLACK_BYTES = 48 << 20
"""Caches of records and keys that fill while somebody asks for them, SQLite's pages, and what malloc keeps."""
WITH_SESSIONS = {"requests", "slow", "stores"}
OPEN_PART = 0.95
OPENING_S_MAX = 120.0
CLIENTS_AT_REST = 4
"""The two honest ones, and a new one of each."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large and long.

    Attributes:
        strangers: Connections of a flood of connections, from the crowd; and a fifth of these from the street.
        identities: Of floods that need sessions.
        per_s: Connections opened per second, or requests sent.
        large_per_s: The same where each is large.
        quiet_s: How long it is watched without a flood: before, and in the long form after it too.
        flood_s: And with one.
        is_timed: Whether times are compared.

    """

    strangers: int
    identities: int
    per_s: float
    large_per_s: float
    quiet_s: float
    flood_s: float
    is_timed: bool = False


SHORT = Scale(strangers=400, identities=30, per_s=800, large_per_s=100, quiet_s=0.5, flood_s=1.0)
LONG = Scale(
    strangers=5_000, identities=1_000, per_s=2_000, large_per_s=200, quiet_s=15, flood_s=30, is_timed=True
)


@dataclass(frozen=True, slots=True)
class Case:
    """One flood: its kind, who many take part, and how fast.

    Attributes:
        kind: Of flood.FLOODS.
        crowd: Connections from many prefixes.
        street: From one prefix.
        per_s: Of both together.

    """

    name: str
    kind: str
    crowd: int
    street: int
    per_s: float

    def plans(self, port: int, targets: list[str]) -> list[Plan]:
        both = (CROWD, self.crowd), (STREET, self.street)
        total = self.crowd + self.street
        return [
            Plan(self.kind, hosts, port, count, self.per_s * count / total, targets)
            for hosts, count in both
            if count
        ]

    @property
    def memory_bytes_max(self) -> int:
        """What the node may grow by."""
        each = IDLE_SESSION_BYTES + HELD_BYTES_STEP + OPENING_BYTES_MAX
        each += TLS_LINK_BYTES if self.kind == "tls_hello" else 0
        return (self.crowd + self.street) * each + HELD_BYTES_MAX + STORE_QUEUE_BYTES_MAX + SLACK_BYTES


def cases(scale: Scale) -> list[Case]:
    many, few, some = scale.strangers, scale.strangers // 5, scale.identities
    return [
        Case("connections", "silent", many, few, scale.per_s),
        Case("half open", "half_open", many, few, scale.per_s),
        Case("Hellos", "hello", many, few, scale.per_s),
        Case("TLS hellos", "tls_hello", many, few, scale.per_s),
        Case("garbage", "garbage", some, some // 5, scale.per_s),
        Case("huge frames", "huge", some, some // 5, scale.large_per_s),
        Case("requests of one identity", "requests", 0, 1, scale.per_s),
        Case("requests of many identities", "requests", some, some // 5, scale.per_s),
        Case("slow readers", "slow", some // 10, some // 30, scale.large_per_s),
        Case("STOREs of one identity", "stores", 0, 1, scale.large_per_s),
        Case("STOREs of many identities", "stores", some // 5, some // 10, scale.large_per_s),
    ]


@dataclass(slots=True)
class Watched:
    """What happened within some time.

    Attributes:
        cores: Used by the node.
        rss: Its resident memory at the peak, and at the end.
        deeds: Of each honest client.

    """

    cores: float
    rss: tuple[int, int]
    deeds: dict[str, list[Deed]]

    def took_s(self, what: str, name: str) -> list[float]:
        return sorted(deed.took_s for deed in self.deeds[name] if deed.what == what and not deed.error)

    def shown(self) -> str:
        parts = [f"{self.cores:.2f} cores, {self.rss[0] / 2**20:.0f} MiB, then {self.rss[1] / 2**20:.0f}"]
        for name in self.deeds:
            for what in ("get", "put", "visit"):
                took = self.took_s(what, name)
                figures = f"{quantile(took, 0.5) * 1e3:.1f}/{quantile(took, 0.99) * 1e3:.1f} of {len(took)}"
                parts.append(f"{name} {what} {figures}")
        return ", ".join(parts)

    def errors(self) -> Counter[str]:
        return Counter(
            f"{name} {deed.what} {deed.error}"
            for name, deeds in self.deeds.items()
            for deed in deeds
            if deed.error
        )


@dataclass(slots=True)
class Siege:
    """The node that is flooded, and who uses it meanwhile."""

    victim: NodeProcess
    honest: list[Honest]
    targets: list[str]
    note: Note
    attackers: Attackers
    quiet: Watched | None = None
    problems: list[str] = field(default_factory=list)

    async def watch(self, seconds: float, is_over: Callable[[], Awaitable[bool]] | None = None) -> Watched:
        """Watch it for a while, and until that is over."""
        since, cpu_s, peak = time.monotonic(), self.victim.cpu_s(), 0
        give_up_at = since + seconds + OPENING_S_MAX
        while time.monotonic() < since + seconds or (is_over is not None and not await is_over()):
            assert time.monotonic() < give_up_at, "the attackers never had their sessions"
            peak = max(peak, self.victim.rss_bytes())
            await asyncio.sleep(POLL_S)
        until_ = time.monotonic()
        used = (self.victim.cpu_s() - cpu_s) / (until_ - since)
        await until(lambda: self._are_done(until_), "the honest clients did what they had begun")
        deeds = {each.name: each.within(since, until_) for each in self.honest}
        slowest = sorted((deed for each in deeds.values() for deed in each), key=lambda deed: -deed.took_s)[
            :SLOWEST
        ]
        self.note(
            "  slowest: "
            + ", ".join(f"{d.what} {d.took_s * 1e3:.0f} at {d.began - since:.2f} s" for d in slowest)
        )
        return Watched(used, (peak, self.victim.rss_bytes()), deeds)

    async def _has_sessions(self, count: int) -> bool:
        """Nearly all of them are there: some are refused, and come again."""
        sessions: int = (await self.status())["sessions"]["clients"]
        return sessions >= OPEN_PART * count

    async def _are_done(self, since: float) -> bool:
        """Each has ended something of each kind since then, so that nothing is left of before."""
        return all(
            any(deed.what == what and deed.began + deed.took_s > since for deed in each.deeds[::-1])
            for each in self.honest
            for what in ("get", "put", "visit")
        )

    async def status(self) -> dict[str, Any]:
        parts = urlsplit(self.victim.ready["http"])
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(f"GET /status.json HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        status: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return status

    def descriptors(self) -> int:
        count: int = psutil.Process(self.victim.pid).num_fds()
        return count

    async def rests(self, descriptors: int) -> bool:
        sessions = (await self.status())["sessions"]
        return (
            sessions["clients"] <= CLIENTS_AT_REST
            and sessions["halfOpen"] <= len(self.honest)
            and self.descriptors() <= descriptors + 2 * len(self.honest) + 1
        )

    async def prove(self, case: Case, scale: Scale) -> None:
        """Flood it once."""
        before = self.quiet or await self.watch(scale.quiet_s)
        descriptors, counted = self.descriptors(), refused(await self.status())
        opening: Watched | None = None
        async with self.attackers.flooding(case.plans(self.victim.port, self.targets)) as tally:
            if (
                case.kind in WITH_SESSIONS and scale.is_timed
            ):  # so many handshakes are a flood of their own: the Hellos
                opening = await self.watch(0, lambda: self._has_sessions(case.crowd + case.street))
            flooded = await self.watch(scale.flood_s)
            at_work = (await self.status())["sessions"]
            open_then = self.descriptors()
        await until(lambda: self.rests(descriptors), f"at rest after {case.name}")
        self.quiet = after = await self.watch(scale.quiet_s) if scale.is_timed else before
        found = refused(await self.status()) - counted
        self.note(f"{case.name}: {case.crowd} + {case.street} at once, {case.per_s:.0f}/s")
        for name, watched in (("quiet", before), ("opening", opening), ("flood", flooded), ("after", after)):
            if watched is not None:
                self.note(f"  {name}: {watched.shown()}")
        self.note(f"  sessions {at_work}, {open_then} descriptors; refused {dict(found)}")
        self.note(f"  attackers {dict(tally)}")
        self._judge(case, scale, (before, flooded, after))

    def _judge(self, case: Case, scale: Scale, watched: tuple[Watched, Watched, Watched]) -> None:
        before, flooded, after = watched
        for each in watched:
            errors = each.errors()
            if each is flooded:  # identities are free: nothing tells a newcomer from the attackers beside it
                away = [error for error in errors if error.startswith(f"{self.honest[0].name} visit NoNode")]
                turned_away = sum(errors.pop(error) for error in away)
                self.note(f"  newcomers from the attackers' own prefix that gave up: {turned_away}")
            if errors:
                self.problems.append(f"{case.name}: {dict(errors)}")
        grown = flooded.rss[0] - before.rss[1]
        if grown > case.memory_bytes_max:
            self.problems.append(f"{case.name}: memory grew by {grown:,} B, over {case.memory_bytes_max:,}")
        if not scale.is_timed:
            return
        for honest in self.honest:
            for what in ("get", "put"):
                quiet_s = max(quantile(w.took_s(what, honest.name), 0.99) for w in (before, after))
                took_s = quantile(flooded.took_s(what, honest.name), 0.99)
                if took_s > SLOWER_MAX * quiet_s:
                    self.problems.append(
                        f"{case.name}: p99 of {what} of {honest.name} {took_s:.3f} s, quiet {quiet_s:.3f}"
                    )


def refused(status: dict[str, Any]) -> Counter[str]:
    return Counter(status["limits"]["refused"]) + Counter(status["rejected"])


async def start_network(fleet: Fleet) -> list[NodeProcess]:
    """Nodes whose addresses are public, the first of them with a status page."""
    nodes: list[NodeProcess] = []
    for number in range(NODES):
        port = steady_port()
        flags = ["--public-address", f"ws://11.0.{number}.1:{port}", "--type", "infrastructure"]
        flags += ["--trusted-prefix", "11.0.0.0/16"]  # who connects to 11.0.0.1 comes from there, too
        if not number:
            certificate, key = Authority(fleet.folder).sign("flooded", ("flooded.test",))
            flags += ["--http", "--http-port", "0", "--max-storage", str(STORAGE_BYTES_MAX)]
            flags += ["--tls-cert", str(certificate), "--tls-key", str(key)]
        bootstrap = [node.url for node in nodes]
        nodes.append(fleet.add(Spec(f"n{number}", flags, port, "0.0.0.0", bootstrap)))
        await nodes[-1].start()
    await fleet.settle(nodes)
    return nodes


async def large_targets(victim: NodeProcess) -> list[str]:
    """Slots that hold what is large."""
    identity = Identity.generate()
    async with through(victim, identity) as dht:
        for number in range(4):
            await dht.store(f"large {number}", bytes(VALUE_BYTES_MAX))
        return [dht.records._own_slot(f"large {number}").target.hex() for number in range(4)]


@contextlib.asynccontextmanager
async def siege(fleet: Fleet, note: Note) -> AsyncIterator[Siege]:
    nodes = await start_network(fleet)
    port = nodes[0].port
    async with (
        Honest("neighbour", [f"ws://{NEIGHBOUR}:{port}", f"ws://11.100.0.{{}}:{port}"]) as neighbour,
        Honest("far", [f"ws://{FAR}:{port}", f"ws://11.201.{{}}.1:{port}"]) as far,
        Attackers(2) as attackers,
    ):
        yield Siege(nodes[0], [neighbour, far], await large_targets(nodes[0]), note, attackers)
    await fleet.settle(nodes)
    await nodes[0].stop()


@pytest.fixture
def internet() -> Iterator[None]:
    with own_internet():
        yield


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("internet")
async def test_whoever_floods_a_node_the_honest_are_served(fleet: Fleet, note: Note) -> None:
    async with siege(fleet, note) as besieged:
        for case in cases(SHORT):
            await besieged.prove(case, SHORT)
        assert besieged.problems == []


@pytest.mark.soak
@pytest.mark.timeout(3_000)
@pytest.mark.usefixtures("internet")
@pytest.mark.parametrize("number", range(len(cases(LONG))), ids=[case.name for case in cases(LONG)])
async def test_a_flood_of_thousands_slows_the_honest_down_by_less_than_five_times(
    fleet: Fleet, note: Note, number: int
) -> None:
    async with siege(fleet, note) as besieged:
        await besieged.prove(cases(LONG)[number], LONG)
        assert besieged.problems == []

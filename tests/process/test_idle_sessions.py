"""What sessions cost a node that nobody asks for anything: memory for each, and the CPU of keeping all of them alive.

The node is started with a file limit below what it needs and raises it by itself. Every client has an identity of its
own, and all of them live in other processes.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.process.fleet import Spec, through, until
from tests.process.idlers import Idlers
from tests.process.vitals import fetch, smaps
from yzdht import Identity
from yzdht.limits import HANDSHAKES_PER_S, IDLE_SESSION_BYTES, SESSIONS_RESERVED_PART


if TYPE_CHECKING:
    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

WARM_UP = 50
"""Sessions that come first: what a node loads and makes once is not theirs."""
HANDSHAKES_PART = 0.8
"""Of the handshakes that a node allows all of loopback together; what it refuses comes again and would count twice."""
PATIENCE_S_PER_SESSION = 0.5
ALLOCATOR_BYTES = 1 << 20
"""What the allocator may take at once, whatever for: in the short form a fifth of what is measured."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a test is.

    Attributes:
        sessions: That are measured.
        processes: Of clients.
        soft_files: The file limit that the node is started with.
        rest_s: How long it is watched at rest.
        is_exact: Whether the average is asserted without room for the allocator.

    """

    sessions: int
    processes: int
    soft_files: int
    rest_s: float
    is_exact: bool = False

    @property
    def sessions_max(self) -> int:
        """`--max-sessions`, of which strangers may have all but the reserved part."""
        return (self.sessions + WARM_UP + 10) * SESSIONS_RESERVED_PART // (SESSIONS_RESERVED_PART - 1) + 1


SCALES = (
    pytest.param(Scale(200, 2, soft_files=128, rest_s=1.0), id="200"),
    pytest.param(
        Scale(10_000, 4, soft_files=1_024, rest_s=60.0, is_exact=True),
        id="10000",
        marks=(pytest.mark.soak, pytest.mark.timeout(3_600)),
    ),
)


def memory(node: NodeProcess) -> dict[str, int]:
    """Rss and Pss, bytes."""
    return smaps((Path("/proc") / str(node.pid) / "smaps_rollup").read_text())


async def clients_of(node: NodeProcess) -> int:
    """Sessions with clients, as its status page says."""
    clients: int = json.loads((await fetch(node, "/status.json")).body)["sessions"]["clients"]
    return clients


@pytest.mark.parametrize("scale", SCALES)
async def test_idle_sessions_cost_little_memory_and_little_work(
    fleet: Fleet, note: Note, scale: Scale
) -> None:
    flags = ["--http", "--http-port", "0", "--type", "infrastructure"]
    flags += ["--max-sessions", str(scale.sessions_max), "--log-level", "warning"]
    before = ["prlimit", f"--nofile={scale.soft_files}:"]
    node = await fleet.start(Spec("crowded", flags, before=before))
    per_s = HANDSHAKES_PART * HANDSHAKES_PER_S
    async with Idlers(node.websocket_url) as idlers:
        await idlers.grow(WARM_UP, 1, per_s)
        assert await clients_of(node) == WARM_UP
        empty, used_s, began = memory(node), node.cpu_s(), time.monotonic()
        patience_s = 60 + scale.sessions * PATIENCE_S_PER_SESSION
        await idlers.grow(scale.sessions, scale.processes, per_s, patience_s)
        await until(
            lambda: are_open(node, WARM_UP + scale.sessions), "all have a session, and nobody has two"
        )
        full, opened_s = memory(node), time.monotonic() - began
        opening_s = node.cpu_s() - used_s
        rest_began, rest_used_s = time.monotonic(), node.cpu_s()
        await asyncio.sleep(scale.rest_s)
        rested_s, rest_s = time.monotonic() - rest_began, node.cpu_s() - rest_used_s
        settled = memory(node)
        files, _ = psutil.Process(node.pid).rlimit(psutil.RLIMIT_NOFILE)
        async with through(node, Identity.generate()) as newcomer:  # whoever comes now is served
            await newcomer.store("a", b"value")
            assert (await newcomer.get("a")).data == b"value"
        assert await clients_of(node) >= WARM_UP + scale.sessions
        assert await idlers.leave() == WARM_UP + scale.sessions, "a session was lost at rest"

    each = {name: (settled[name] - empty[name]) / scale.sessions for name in ("Rss", "Pss")}
    note(
        f"{scale.sessions} idle sessions of as many identities, --max-sessions {scale.sessions_max}: a session costs"
        f" {each['Rss'] / 1e3:.1f} kB RSS, {each['Pss'] / 1e3:.1f} kB PSS"
        f" ({(full['Pss'] - empty['Pss']) / scale.sessions / 1e3:.1f} kB right after they opened);"
        f" the node {settled['Rss'] / 1e6:.1f} MB RSS, {settled['Pss'] / 1e6:.1f} MB PSS"
    )
    note(
        f"at rest for {rested_s:.0f} s: {1e3 * rest_s / rested_s:.1f} ms of CPU a second; to open one took"
        f" {1e3 * opening_s / scale.sessions:.2f} ms of CPU, all {opened_s:.0f} s; file limit {scale.soft_files},"
        f" raised to {files}"
    )
    slack = 0 if scale.is_exact else ALLOCATOR_BYTES / scale.sessions
    assert each["Pss"] <= IDLE_SESSION_BYTES + slack
    await until(lambda: is_empty(node), "everybody is gone")


async def are_open(node: NodeProcess, sessions: int) -> bool:
    """True once it has so many: of one whose opening took too long for its client the node hears a little later."""
    return await clients_of(node) == sessions


async def is_empty(node: NodeProcess) -> bool:
    """True once all sessions ended."""
    return await clients_of(node) == 0

"""What nodes take: memory of one alone, with and without HTTP, and of 60 of `yz testnet`; how soon these are ready.

RSS is of a `yz-node` process by itself. PSS is of the 60 forked nodes, the parent apart, after so many records of 1 KiB
were stored and the network is quiet again: what they share with each other is divided among them. Of a node alone
that is too large, what is mapped is shown. Run: make bench, or python bench/footprint.py.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop

from bench.kit.aims import Aim, show_aims
from bench.kit.forks import cpu_s_of
from bench.kit.hosts import wait_until_quiet
from yzdht import Client, Identity


if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Sequence


RSS_MB_MAX, RSS_MB_MAX_NO_HTTP, PSS_MB_MAX, READY_S_MAX = 60.0, 45.0, 15.0, 10.0
VALUE = os.urandom(1024)
AT_ONCE = 16
SETTLES_S = 2.0
_BIN = Path(sys.executable).parent
_MEGABYTE = 1e6
_MAPPED_SHOWN = 12


class Fleet(NamedTuple):
    """What 60 nodes took.

    Attributes:
        ready_s: Until all were ready, as the command says.
        pss_mb: Of each, once quiet.
        parent_mb: PSS of the process that forked them.
        cpu_s: Of all of them, until they were ready.

    """

    ready_s: float
    pss_mb: list[float]
    parent_mb: float
    cpu_s: float


@contextlib.asynccontextmanager
async def running(command: Sequence[str]) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """A command of ours and the first event it tells, `ready`; ended with SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        str(_BIN / command[0]), *command[1:], stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def node_alone(flags: Sequence[str]) -> tuple[float, Counter[str]]:
    """RSS in MB of a node that knows nobody, and how many files of which packages it has mapped or loaded."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "data")
        command = ["yz-node", "--json", "--port", "0", "--host", "127.0.0.1", "--data", data, *flags]
        async with running(command) as (process, _):
            await asyncio.sleep(SETTLES_S)
            return memory_mb(process.pid, "status", "VmRSS"), mapped_packages(process.pid)


def memory_mb(pid: int, file: str, field: str) -> float:
    """One figure that the kernel gives in kB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / _MEGABYTE


def mapped_packages(pid: int) -> Counter[str]:
    """Kilobytes of each shared object that is resident, by its package."""
    sizes: Counter[str] = Counter()
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)", line):
            package = re.search(r"site-packages/([^/]+)", match[1])
            name = package[1] if package else Path(match[1]).name or "anonymous"
        elif match := re.match(r"Rss: +(\d+) kB", line):
            sizes[name] += int(match[1])
    return sizes


async def fleet(nodes: int, records: int, flags: Sequence[str]) -> Fleet:
    """Run `yz testnet`, store through a few of its nodes, and weigh them."""
    async with running(["yz", "--json", "testnet", str(nodes), *flags]) as (process, ready):
        pids = [node["pid"] for node in ready["nodes"]]
        used_s = sum(map(cpu_s_of, pids))
        urls = [node["url"] for node in ready["nodes"]][:3]
        async with Client.connect(*urls, identity=Identity.generate()) as client:
            room = asyncio.Semaphore(AT_ONCE)

            async def store(number: int) -> None:
                async with room:
                    await client.store(f"footprint/{number}", VALUE)

            await asyncio.gather(*(store(number) for number in range(records)))
        await asyncio.to_thread(wait_until_quiet, pids)
        pss = [memory_mb(pid, "smaps_rollup", "Pss") for pid in pids]
        return Fleet(ready["seconds"], pss, memory_mb(process.pid, "smaps_rollup", "Pss"), used_s)


async def measure(options: argparse.Namespace) -> list[Aim]:
    aims = []
    for flags, most in (([], RSS_MB_MAX), (["--no-http"], RSS_MB_MAX_NO_HTTP)):
        rss_mb, mapped = await node_alone(flags)
        aim = Aim(" ".join(["RSS of a node alone", *flags]), rss_mb, most, "MB")
        aims.append(aim)
        if options.profile or not aim.is_met:
            print(f"{aim.what}, by what is mapped (kB):")
            for name, size in mapped.most_common(_MAPPED_SHOWN):
                print(f"  {size:7}  {name}")
    many = await fleet(options.nodes, options.records, ["--no-http"] if options.no_http else [])
    print(
        f"{options.nodes} nodes of yz testnet, {options.records} records: PSS {min(many.pss_mb):.1f} to "
        f"{max(many.pss_mb):.1f} MB, the parent's {many.parent_mb:.1f} MB; {many.cpu_s:.1f} s of CPU until all were ready"
    )
    aims += [
        Aim(
            f"PSS of each of {options.nodes} forked nodes, mean",
            statistics.mean(many.pss_mb),
            PSS_MB_MAX,
            "MB",
        ),
        Aim(f"yz testnet {options.nodes}, all ready", many.ready_s, READY_S_MAX, "s"),
    ]
    return show_aims(aims)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--records", type=int, default=1_000)
    parser.add_argument("--no-http", action="store_true", help="the 60 without their status pages")
    parser.add_argument(
        "--profile", action="store_true", help="show what is mapped also where no aim is missed"
    )
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()

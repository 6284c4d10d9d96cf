"""One trial of all contenders in one layout: puts and gets in rounds, then the same after 30 % were killed at once.

The rounds of the contenders alternate, so that ratios within a run mean something on a busy machine as well; the
figures are medians over rounds. Every operation stores or reads 1 KiB under a name of its own, through one node after the
other, one at a time; a value is read through another node than it was stored through. CPU is that of all processes of a
network until 0.3 s after the last operation, the readers' and writers' own work and what goes on in the background
included.

With 60 nodes a get falls on a holder in 8 cases of 60, or as many as ksize says; kademlia then answers from its own
memory, ours asks a read quorum all the same, since another holder may have something newer. Kademlia's values are
plaintext.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.kit.aims import Aim, percentile, show_aims, show_profile
from bench.kit.contenders import CONTENDERS, Contender
from bench.kit.hosts import Ground, Network, start_all
from yzdht import Identity
from yzdht.cli.children import Children


CPU_MS_MAX = {"put": 6.0, "get": 2.0}
GET_P50_MS_MAX = 3.0
KILLED_SHARE = 0.3
KILLED_MS_MAX = {"get p50": 25.0, "get p99": 300.0, "put p50": 150.0}
_AFTERWARDS_S = 0.3
_KILLED_ROUNDS = 10
_VERBS = ("put", "get")


class Options(NamedTuple):
    """How much is measured.

    Attributes:
        nodes: Of each network.
        rounds: Of each contender.
        count: Puts a round, and as many gets.
        killed_gets: Gets after the kill, of yzdht; a fifth as many puts.
        classic_gets: The same for kademlia, all at once since each waits for seconds; half as many puts. 0 for none.
        is_profiled: Always show the profile, not only where an aim is missed.
        is_json: Print JSON alone.
        contenders: Which.

    """

    nodes: int
    rounds: int
    count: int
    killed_gets: int
    classic_gets: int
    is_profiled: bool
    is_json: bool
    contenders: tuple[Contender, ...]


@dataclass(slots=True)
class Row:
    """What one contender came to.

    Attributes:
        cpu_ms: CPU of the whole network per operation, by verb, of each round.
        took_ms: Of each operation, by verb.
        killed_ms: The same after the kill.
        failed: Operations that failed, before and after it.

    """

    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: {verb: [] for verb in _VERBS})
    took_ms: dict[str, list[float]] = field(default_factory=lambda: {verb: [] for verb in _VERBS})
    killed_ms: dict[str, list[float]] = field(default_factory=lambda: {verb: [] for verb in _VERBS})
    failed: dict[str, int] = field(default_factory=lambda: {"before": 0, "killed": 0})

    def cpu(self, verb: str) -> float:
        return statistics.median(self.cpu_ms[verb])


def parse_options(text: str, *, rounds: int, count: int) -> Options:
    """From the command line; `rounds` and `count` are the defaults."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--count", type=int, default=count, help="puts a round, and as many gets")
    parser.add_argument("--killed-gets", type=int, default=400, help="after the kill; a fifth as many puts")
    parser.add_argument(
        "--classic-gets", type=int, default=10, help="kademlia's; half as many puts; 0 for none"
    )
    parser.add_argument("--profile", action="store_true", help="also where no aim is missed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--only",
        action="append",
        choices=[c.name for c in CONTENDERS],
        help="can be repeated; all if left out",
    )
    given = parser.parse_args()
    return Options(
        given.nodes, given.rounds, given.count, given.killed_gets, given.classic_gets, given.profile, given.json,
        tuple(c for c in CONTENDERS if given.only is None or c.name in given.only),
    )  # fmt: skip


def run(layout: str, options: Options, *, is_forked: bool) -> dict[str, Row]:
    """Measure and print.

    Args:
        layout: What it is called.
        options: How much.
        is_forked: A process for each node, instead of one for each network.

    """
    _allow_descriptors()
    with tempfile.TemporaryDirectory() as folder, Children() as children:
        ground = Ground(children, Identity.generate(), Path(folder))
        processes = options.nodes if is_forked else 1
        networks = [Network.fork(contender, processes, ground) for contender in options.contenders]
        start_all(networks, options.nodes)
        rows = {network.contender.name: Row() for network in networks}
        for number in range(-1, options.rounds):
            for network in networks:
                _measure(network, f"{number}", options, rows[network.contender.name])
        missed = _report(layout, options, rows, _sync_ms(Path(folder)))
        if missed or options.is_profiled:
            _show_profiles(networks, options)
        _kill(networks, options, rows)
    _report_killed(options, rows)
    if options.is_json:
        print(json.dumps({name: asdict(row) for name, row in rows.items()}))
    return rows


def _allow_descriptors() -> None:
    """Sixty nodes in one process have 3,540 sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _measure(network: Network, name: str, options: Options, row: Row) -> None:
    """One round, the one before the first only to fill caches."""
    keys = [f"{name}/{number}" for number in range(options.count)]
    for verb in _VERBS:
        before_s = network.cpu_s()
        took_s, failed = network.operate(verb, keys, offset=7 if verb == "get" else 0)
        time.sleep(_AFTERWARDS_S)
        used_s = network.cpu_s() - before_s
        row.failed["before"] += failed
        if name != "-1":
            row.cpu_ms[verb].append(used_s / len(keys) * 1e3)
            row.took_ms[verb] += [s * 1e3 for s in took_s]


def _kill(networks: list[Network], options: Options, rows: dict[str, Row]) -> None:
    """End a part of every network, and measure at once."""
    keys = [f"{r}/{n}" for r in range(options.rounds) for n in range(options.count)]
    for network in networks:
        if not network.contender.ksize:
            _measure_killed(network, keys, options, rows[network.contender.name])
    classic = [network for network in networks if network.contender.ksize]
    if classic and options.classic_gets:
        with ThreadPoolExecutor(len(classic)) as threads:  # nothing is forked any more
            list(
                threads.map(
                    lambda n: _measure_killed_classic(n, keys, options, rows[n.contender.name]), classic
                )
            )


def _measure_killed(network: Network, keys: list[str], options: Options, row: Row) -> None:
    gets = max(1, options.killed_gets // _KILLED_ROUNDS)
    network.kill(KILLED_SHARE)
    for number in range(_KILLED_ROUNDS):
        read = [keys[(number * gets + n) % len(keys)] for n in range(gets)]
        written = [f"killed/{number}/{n}" for n in range(max(1, gets // 5))]
        for verb, names in (("get", read), ("put", written)):
            _keep_killed(row, verb, *network.operate(verb, names))


def _measure_killed_classic(network: Network, keys: list[str], options: Options, row: Row) -> None:
    network.kill(KILLED_SHARE)
    written = [f"killed/{n}" for n in range(max(1, options.classic_gets // 2))]
    for verb, names in (("get", keys[: options.classic_gets]), ("put", written)):
        _keep_killed(row, verb, *network.operate(verb, names, is_at_once=True))


def _keep_killed(row: Row, verb: str, took_s: list[float], failed: int) -> None:
    row.killed_ms[verb] += [s * 1e3 for s in took_s]
    row.failed["killed"] += failed


def _sync_ms(folder: Path) -> float:
    """What fdatasync costs here, where the records are: without it nobody knows what a commit is to cost."""
    took_s = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took_s.append(time.perf_counter() - began)
    return statistics.median(took_s) * 1e3


# What is printed


def _report(layout: str, options: Options, rows: dict[str, Row], sync_ms: float) -> list[Aim]:
    """Print the table; the aims that are missed."""
    if options.is_json:
        return []
    print(
        f"{options.nodes} nodes, {layout}, 1 KiB, medians of {options.rounds} rounds of {options.count}; "
        f"fdatasync takes {sync_ms:.2f} ms here"
    )
    classic = [rows[c.name] for c in options.contenders if c.ksize]
    heads = [f"{verb} {what}" for verb in _VERBS for what in ("cpu ms", "p50 ms", "p99 ms")]
    beside = [f"{verb} cpu / k {c.ksize}" for c in options.contenders if c.ksize for verb in _VERBS]
    print(
        f"{'':20}"
        + "".join(f"{head:>12}" for head in heads)
        + "".join(f"{b:>18}" for b in beside)
        + "  failed"
    )
    for name, row in rows.items():
        cells = "".join(
            f"{figure:12.2f}"
            for verb in _VERBS
            for figure in (
                row.cpu(verb),
                percentile(row.took_ms[verb], 0.5),
                percentile(row.took_ms[verb], 0.99),
            )
        )
        ratios = "".join(f"{row.cpu(verb) / other.cpu(verb):18.2f}" for other in classic for verb in _VERBS)
        print(f"{name:20}{cells}{ratios}{row.failed['before']:8}")
    ours = [c.name for c in options.contenders if not c.ksize]
    return show_aims(
        aim
        for name in ours
        for aim in (
            *(
                Aim(f"{name}: CPU of the network per {v}", rows[name].cpu(v), CPU_MS_MAX[v], "ms")
                for v in _VERBS
            ),
            Aim(f"{name}: get p50", percentile(rows[name].took_ms["get"], 0.5), GET_P50_MS_MAX, "ms"),
        )
    )


def _show_profiles(networks: list[Network], options: Options) -> None:
    """Of the first network of ours; this is what an aim that is missed is worth looking at for."""
    network = next((n for n in networks if not n.contender.ksize), None)
    if network is None or options.is_json:
        return
    keys = [f"profile/{number}" for number in range(options.count)]
    for verb in _VERBS:
        by_module = network.profiled(lambda verb=verb: network.operate(verb, keys))  # type: ignore[misc] # called at once
        show_profile(f"{network.contender.name}, {verb}", by_module, len(keys))


def _report_killed(options: Options, rows: dict[str, Row]) -> None:
    if options.is_json:
        return
    print(f"\n{KILLED_SHARE:.0%} of the nodes killed at once; operations begin within milliseconds of that")
    print(
        f"{'':20}{'gets':>8}{'p50 ms':>12}{'p99 ms':>12}{'puts':>8}{'p50 ms':>12}{'p99 ms':>12}{'failed':>8}"
    )
    for name, row in rows.items():
        cells = "".join(
            f"{len(took):8}{percentile(took, 0.5):12.2f}{percentile(took, 0.99):12.2f}"
            for took in (row.killed_ms["get"], row.killed_ms["put"])
        )
        print(f"{name:20}{cells}{row.failed['killed']:8}")
    ours = [c.name for c in options.contenders if not c.ksize]
    show_aims(
        Aim(
            f"{name}, 30 % killed: {what}",
            percentile(rows[name].killed_ms[what[:3]], int(what[-2:]) / 100),
            most,
            "ms",
        )
        for name in ours
        for what, most in KILLED_MS_MAX.items()
    )

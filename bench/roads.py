"""What each road costs on which sessions travel, and what their handshake costs beside others; one table for each.

Every road has two processes on loopback, on uvloop: one listens as a node does, one dials. Measured are sessions as a node has
them, handshake, sealed records and requests included, without what a node does with a request; and beside them the bare
channel, which carries as many bytes for nobody in particular. Roads take turns within a round, and medians of the rounds are
shown: ratios within one run mean something on a busy machine as well. CPU is that of each whole process, kernel included.

Round trips until the first request may be sent are seen over a detour that delays every byte, TCP's own counted as one. Bytes
over the payload are those that the kernel counts for a connection, TCP and below left out. An idle session's memory is
what the process that listens grows by, which has all that a node has of sessions, each with a client of its own.

    python bench/roads.py [--rounds N] [--count N] [--full] [--only ROAD] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.footprint import memory_mb
from bench.kit import handshakes
from bench.kit.aims import Aim, percentile, show_aims, show_profile
from bench.kit.forks import cpu_s_of, fork, profiled
from bench.kit.road_traffic import BULK_AT_ONCE, REQUEST_BYTES, STORED_BYTES
from bench.kit.roads import CHANNELS, NODE, ROADS, SESSIONS, TCP, WS, DiallingEnd, ListeningEnd, Papers, Road
from bench.kit.slow_road import HOST
from tests.nginx.front import Nginx, name_of
from tests.transport.authority import Authority
from yzdht.cli.children import Children
from yzdht.limits import RECORD_OVERHEAD_BYTES


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.kit.forks import Host
    from bench.kit.handshakes import Shaken


CPU_US_MAX = {TCP.name: 40.0, WS.name: 70.0}
IDLE_MB_MAX, IDLE_FULL = 300.0, 10_000
KINDS = (SESSIONS, CHANNELS)
TCP_BYTES_OVER = RECORD_OVERHEAD_BYTES + 2
_WARM_UP_SESSIONS = 50
_TURNS_TRIES = 3
_OVERHEAD_TRIPS = 100
_MEGABYTE = 1e6
_SPIN = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"


class Options(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: Of each road.
        trips: Round trips a round; a tenth as many values in bulk.
        set_ups: Sessions opened a round.
        idle: Sessions whose memory is measured.
        handshakes: Of each kind.
        roads: Which.
        is_profiled: Show where the time goes also where no aim is missed.
        is_json: Print JSON alone.
        is_awake: Keep the cores from sleeping.

    """

    rounds: int
    trips: int
    set_ups: int
    idle: int
    handshakes: int
    roads: tuple[Road, ...]
    is_profiled: bool
    is_json: bool
    is_awake: bool


@dataclass(slots=True)
class Row:
    """What one road came to for sessions or for bare channels; a figure for each round, or for each round trip.

    Attributes:
        took_us: Of each round trip.
        cpu_us: CPU of each side per round trip.
        mb_s: Megabytes per second in bulk.
        cpu_ms_mb: CPU of each side per megabyte.
        set_up_ms: Of each set-up.
        set_up_cpu_us: CPU of each side per set-up, closing included.
        turns: Round trips until the first request, by each try.
        overhead: Bytes over the payload of a request and of an answer.
        idle_kb: Memory of an idle session by side, an identity for each included where they are dialled.
        idle_mb: Of the process that listens and has them all.

    """

    took_us: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    mb_s: list[float] = field(default_factory=list)
    cpu_ms_mb: dict[str, list[float]] = field(default_factory=dict)
    set_up_ms: list[float] = field(default_factory=list)
    set_up_cpu_us: dict[str, list[float]] = field(default_factory=dict)
    turns: list[float] = field(default_factory=list)
    overhead: tuple[float, float] | None = None
    idle_kb: dict[str, float] = field(default_factory=dict)
    idle_mb: float | None = None

    def both_us(self) -> float:
        """CPU of both ends and of what is between them, per round trip."""
        return sum(map(statistics.median, self.cpu_us.values()))


Rows = dict[tuple[str, str], Row]

_LEGEND = f"""
  set-up      turns: round trips until the first request may be sent, TCP's own among them; ms: the same as time, on loopback; cpu us: of
              each side for a session opened and closed
  round trip  one request of {REQUEST_BYTES} bytes and an answer as long, one under way at a time; cpu us: of each side for one; beside tcp: CPU
              of both sides and nginx, for one of a session over tcp
  in bulk     values of {STORED_BYTES} bytes, {BULK_AT_ONCE} under way at a time; megabytes of values a second, and CPU of each side for one
  bytes over  what a request and its answer take on the wire beyond their own bytes, TCP and below left out. A sealed record is
              {RECORD_OVERHEAD_BYTES} longer than its data, with the length in front of it {TCP_BYTES_OVER} (PROTOCOL.md section 4): all that tcp adds. A frame of
              WebSocket of this size has 8 there and 4 back, TLS 22 each way
  idle        kB by which each side grows for a session that nobody uses; the kernel's part is not in it"""


class Pair:
    """The two ends of one road.

    Args:
        road: Which.
        children: Forks.
        papers: For TLS.

    """

    def __init__(self, road: Road, children: Children, papers: Papers) -> None:
        self.road = road
        self.listening = fork(children, lambda: ListeningEnd(papers))
        self.dialling = fork(children, lambda: DiallingEnd(papers))
        self._places: dict[str, tuple[str, int]] = {}
        self._nginx: Nginx | None = None

    def listen(self, kind: str, sessions: int = 0) -> None:
        self._places[kind] = HOST, self.listening.ask("listen", kind=kind, sessions=sessions)

    def put_behind_nginx(self, folder: Path, authority: Authority) -> Nginx:
        """From now on all that listens is dialled by its name at nginx, with the project's own configuration."""
        numbers = {kind: number for number, kind in enumerate(self._places, 1)}
        nodes = {numbers[kind]: f"{host}:{port}" for kind, (host, port) in self._places.items()}
        self._nginx = Nginx(folder, authority, nodes)
        self._places = {kind: (name_of(number), self._nginx.port) for kind, number in numbers.items()}
        return self._nginx

    def url(self, kind: str) -> str:
        return self.road.url(*self._places[kind])

    def turns(self, kind: str) -> float:
        host, port = self._places[kind]
        turns: float = self.dialling.ask("turns", road=self.road, host=host, port=port)
        return turns

    def sides(self) -> dict[str, Host]:
        return {"client": self.dialling, "server": self.listening}

    def _cpu_s(self) -> dict[str, float]:
        used_s = {side: host.cpu_s() for side, host in self.sides().items()}
        if self._nginx is not None:
            used_s["nginx"] = sum(map(cpu_s_of, self._nginx.workers()))
        return used_s

    def memory_mb(self) -> dict[str, float]:
        return {side: memory_mb(host.child.pid, "status", "VmRSS") for side, host in self.sides().items()}

    def cpu_us(self, work: Callable[[], object], count: int) -> Iterator[tuple[str, float]]:
        """CPU of each side per piece of work."""
        before = self._cpu_s()
        work()
        for side, used_s in self._cpu_s().items():
            yield side, (used_s - before[side]) / count * 1e6


# Measuring


def measure(options: Options) -> Rows:
    rows: Rows = {(road.name, kind): Row() for road in options.roads for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder, Children() as children, ExitStack() as stack:
        authority = Authority(Path(folder))
        papers = papers_of(authority)
        pairs = [Pair(road, children, papers) for road in options.roads]
        for pair in pairs:
            for kind in KINDS:
                pair.listen(kind)
            if pair.road.is_through_nginx:
                stack.enter_context(pair.put_behind_nginx(Path(folder) / "nginx", authority))
            for kind in KINDS:
                pair.dialling.ask("connect", kind=kind, url=pair.url(kind))
        for number in range(-1, options.rounds):
            for pair in pairs:
                for kind in KINDS:
                    row = rows[pair.road.name, kind] if number >= 0 else Row()  # the first one fills caches
                    _measure(pair, kind, options, row)
        for pair in pairs:
            _look_closer(pair, rows)
        _measure_idle(options, children, papers, rows)
        is_missed = any(missed_us(name, rows) > 0 for name in CPU_US_MAX)
        if (options.is_profiled or is_missed) and not options.is_json:
            _show_profiles(pairs, options)
    return rows


def papers_of(authority: Authority) -> Papers:
    return Papers(*authority.sign("node"), authority.ca)


def _measure(pair: Pair, kind: str, options: Options, row: Row) -> None:
    """One round of one road."""
    dialling, count = pair.dialling, options.trips
    for side, us in pair.cpu_us(lambda: dialling.ask("go", kind=kind, count=count), count):
        row.cpu_us.setdefault(side, []).append(us)
    row.took_us += [s * 1e6 for s in dialling.ask("took")]
    values = max(1, count // 10)
    megabytes = values * STORED_BYTES / _MEGABYTE
    seconds: list[float] = []
    for side, us in pair.cpu_us(
        lambda: seconds.append(dialling.ask("carry", kind=kind, count=values)), values
    ):
        row.cpu_ms_mb.setdefault(side, []).append(us * values / megabytes / 1e3)
    row.mb_s.append(megabytes / seconds[0])
    if kind == SESSIONS:
        set_ups, url = options.set_ups, pair.url(kind)
        for side, us in pair.cpu_us(lambda: dialling.ask("set up", url=url, count=set_ups), set_ups):
            row.set_up_cpu_us.setdefault(side, []).append(us)
        row.set_up_ms += [s * 1e3 for s in dialling.ask("took")]


def _look_closer(pair: Pair, rows: Rows) -> None:
    """What is the same in every round: bytes, and round trips."""
    for kind in KINDS:
        out, back = pair.dialling.ask("bytes", kind=kind, count=_OVERHEAD_TRIPS)
        rows[pair.road.name, kind].overhead = out - REQUEST_BYTES, back - REQUEST_BYTES
    rows[pair.road.name, SESSIONS].turns = [pair.turns(SESSIONS) for _ in range(_TURNS_TRIES)]


def _measure_idle(options: Options, children: Children, papers: Papers, rows: Rows) -> None:
    """Of new processes, so that nothing is there that sessions could move into; nginx changes nothing for them."""
    for road in options.roads:
        if road.is_through_nginx or not options.idle:
            continue
        pair = Pair(road, children, papers)
        pair.listen(NODE, options.idle + _WARM_UP_SESSIONS)
        url, row = pair.url(NODE), rows[road.name, SESSIONS]
        pair.dialling.ask("idle", url=url, count=_WARM_UP_SESSIONS)
        before_mb = pair.memory_mb()
        pair.dialling.ask("idle", url=url, count=options.idle)
        after_mb = pair.memory_mb()
        row.idle_mb = after_mb["server"]
        row.idle_kb = {side: (mb - before_mb[side]) / options.idle * 1e3 for side, mb in after_mb.items()}


def missed_us(name: str, rows: Rows) -> float:
    """By how much the busier side of a road misses its aim, below 0 if it does not."""
    row = rows.get((name, SESSIONS))
    return 0.0 if row is None else max(map(statistics.median, row.cpu_us.values())) - CPU_US_MAX[name]


def shake(options: Options, papers: Papers) -> dict[str, list[Shaken]]:
    """All kinds of handshakes, turn by turn."""
    kinds: dict[str, Callable[[], Shaken]] = {
        OURS: handshakes.ours,
        TLS: handshakes.MutualTls(papers),
        "mutual TLS 1.3, P-256 exchange": handshakes.MutualTls(papers, "prime256v1"),
        "Noise XX 25519 AESGCM SHA256": handshakes.noise,
    }
    shaken: dict[str, list[Shaken]] = {name: [] for name in kinds}
    for number in range(-max(1, options.handshakes // 10), options.handshakes):
        for name, once in kinds.items():
            result = once()
            if number >= 0:
                shaken[name].append(result)
    return shaken


OURS, TLS = "yzdht", "mutual TLS 1.3"


# What is printed


def report(options: Options, rows: Rows, shaken: dict[str, list[Shaken]]) -> None:
    if options.is_json:
        found = {f"{road}, {kind}": asdict(row) for (road, kind), row in rows.items()}
        print(json.dumps({"roads": found, "handshakes": shaken}))
        return
    print(
        f"Round trips of {REQUEST_BYTES} bytes each way, values of {STORED_BYTES}; medians of {options.rounds} rounds of "
        f"{options.trips} and {max(1, options.trips // 10)}; client / server / nginx; {options.idle} idle sessions"
    )
    print(
        f"{'':24}{'set-up':>31}{'round trip':>49}{'in bulk':>25}{'bytes over':>15}{'idle':>12}\n"
        f"{'':24}{'turns':>7}{'ms':>6}{'cpu us':>18}{'p50 us':>8}{'p99 us':>8}{'cpu us':>21}{'beside tcp':>12}"
        f"{'MB/s':>8}{'cpu ms/MB':>17}{'there/back':>15}{'kB':>12}"
    )
    one = rows.get((TCP.name, SESSIONS))
    for (road, kind), row in rows.items():
        beside = f"{row.both_us() / one.both_us():.2f}x" if one else "-"
        print(
            f"{road + ', ' + kind:24}{_turns(row):>7}{_median(row.set_up_ms, 1):>6}"
            f"{_sides(row.set_up_cpu_us, 0):>18}"
            f"{percentile(row.took_us, 0.5):8.0f}{percentile(row.took_us, 0.99):8.0f}{_sides(row.cpu_us, 1):>21}"
            f"{beside:>12}{_median(row.mb_s, 0):>8}{_sides(row.cpu_ms_mb, 2):>17}"
            f"{_overhead(row):>15}{_idle(row):>12}"
        )
    print(_LEGEND)
    _report_handshakes(shaken)
    show_aims(_aims(options, rows, shaken))


def _turns(row: Row) -> str:
    return f"{min(row.turns):.0f}" if row.turns else "-"  # what holds it up adds to it


def _median(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def _sides(by_side: dict[str, list[float]], digits: int) -> str:
    return "/".join(_median(values, digits) for values in by_side.values()) or "-"


def _overhead(row: Row) -> str:
    return "-" if row.overhead is None else "/".join(f"{over:.1f}" for over in row.overhead)


def _idle(row: Row) -> str:
    return "/".join(f"{kb:.1f}" for kb in row.idle_kb.values()) or "-"


def _report_handshakes(shaken: dict[str, list[Shaken]]) -> None:
    print(
        f"\nHandshakes, both ends computed in one thread, us of CPU, medians of {len(shaken[OURS])}\n"
        f"{'':34}{'dials':>9}{'answers':>9}{'both':>9}{'beside ours':>13}{'bytes there':>13}{'back':>7}"
    )
    ours_us = _both_us(shaken[OURS])
    for name, results in shaken.items():
        dials_us, answers_us, there, back = (
            statistics.median(column) for column in zip(*results, strict=True)
        )
        both_us = _both_us(results)
        print(
            f"{name:34}{dials_us:9.0f}{answers_us:9.0f}{both_us:9.0f}{both_us / ours_us:12.2f}x{there:13.0f}{back:7.0f}"
        )


def _both_us(results: Sequence[Shaken]) -> float:
    return statistics.median(result.both_us for result in results)


def _aims(options: Options, rows: Rows, shaken: dict[str, list[Shaken]]) -> Iterator[Aim]:
    for name, most_us in CPU_US_MAX.items():
        if (row := rows.get((name, SESSIONS))) is not None:
            for side, values in row.cpu_us.items():
                yield Aim(
                    f"{name}: CPU of the {side} per round trip", statistics.median(values), most_us, "us"
                )
    if one := rows.get((TCP.name, SESSIONS)):
        assert one.overhead is not None
        yield Aim("tcp: bytes over those of a message, section 4", max(one.overhead), TCP_BYTES_OVER, "B")
    yield Aim("handshake: CPU of both ends beside TLS", _both_us(shaken[OURS]), _both_us(shaken[TLS]), "us")
    ws = rows.get((WS.name, SESSIONS))
    if ws is not None and ws.idle_mb is not None:
        all_mb = ws.idle_mb + (IDLE_FULL - options.idle) * ws.idle_kb["server"] / 1e3
        how = "" if options.idle == IDLE_FULL else f", from {options.idle}"
        yield Aim(f"RSS with {IDLE_FULL} idle ws sessions{how}", all_mb, IDLE_MB_MAX, "MB")


def _show_profiles(pairs: Sequence[Pair], options: Options) -> None:
    for pair in pairs:
        if pair.road.name in CPU_US_MAX:
            hosts = list(pair.sides().values())
            by_module = profiled(
                hosts,
                lambda dialling=pair.dialling: dialling.ask("go", kind=SESSIONS, count=options.trips),  # type: ignore[misc] # called at once
            )
            show_profile(f"{pair.road.name}, both sides", by_module, options.trips)


def parse_options() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=3_000, help="round trips a round")
    parser.add_argument("--set-ups", type=int, default=30, help="sessions opened a round")
    parser.add_argument(
        "--idle", type=int, default=1_000, help="sessions whose memory is measured; 0 for none"
    )
    parser.add_argument("--full", action="store_true", help=f"{IDLE_FULL} of them")
    parser.add_argument("--handshakes", type=int, default=500)
    parser.add_argument(
        "--only", action="append", choices=[road.name for road in ROADS], help="can be repeated"
    )
    parser.add_argument("--profile", action="store_true", help="also where no aim is missed")
    parser.add_argument(
        "--awake",
        action="store_true",
        help="keep the cores from sleeping: falling asleep and waking up are charged to whoever waits, and cost more than a message",
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    return Options(
        given.rounds, given.count, given.set_ups, IDLE_FULL if given.full else given.idle, given.handshakes,
        tuple(road for road in ROADS if given.only is None or road.name in given.only),
        given.profile, given.json, given.awake,
    )  # fmt: skip


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Give each core something to do that gives way to everything else."""
    spinners = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def main() -> None:
    options = parse_options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with awake() if options.is_awake else contextlib.nullcontext():
        rows = measure(options)
    with tempfile.TemporaryDirectory() as folder:
        shaken = shake(options, papers_of(Authority(Path(folder))))
    report(options, rows, shaken)


if __name__ == "__main__":
    main()

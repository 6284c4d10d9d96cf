"""What it takes to have a message everywhere: from one publisher to 10 subscribers beside OpenDHT's `listen`, and to 1,000 through one node.

First table: eleven nodes, a process each; one publishes 1 KiB, ten listen. Ours are on disk, and the hosts of the topic, three of the
eleven, acknowledge a message once it is synced. Ours is measured for a group, sealed and signed, and in public, signed; OpenDHT carries
plaintext, in memory, without its rate limit. Each in turn in every round, in a network made for it and ended before the next begins: what
one goes on doing after its messages costs no other, and each round has other hosts. How long delivery takes is from before `publish`
until the application has it. Three parts: one message after the other, the next as soon as `publish` has returned; one by one with
20 ms between, in which the cores of the machine go to sleep and lose what a node needs from their caches; and many at once, which
gives the rate, from the first `publish` to the last delivery. CPU is that of all eleven processes per 1,000 messages published, of the
third part. Medians of the rounds.

Second table: one node relays to 1,000 clients (`delegate`), which live in four other processes, as the publisher and the other nodes do: that
node's own CPU for each message, kernel included; the next is published once all have one. How long delivery takes there is mostly what the
clients themselves take to verify and read a thousand messages on the cores of this machine.

    python bench/pubsub.py [--rounds N] [--full] [--count N] [--subscribers N] [--clients N] [--only TABLE] [--ours] [--json] [--profile]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from bench.kit.aims import Aim, percentile, show_aims, show_profile
from bench.kit.forks import fork, profiled
from bench.kit.talkers import GROUP, Ours, Theirs
from yzdht.cli.children import Children


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.kit.forks import Host, Servant


SUBSCRIBERS = 10
CLIENTS = 1_000
AT_ONCE = 32
_QUIET_S = 0.02
_PATIENCE_S = 30.0
_LOOKS_EVERY_S = 0.02
_NODES_BESIDE = 4
_WARM_UP = 100
_CLIENT_PROCESSES = 4

P50_MS_MAX = 2.4
DELIVERIES_PER_S_MIN = 3_000.0
EDGE_MS_MAX = 100.0


class Contender(NamedTuple):
    """What is measured in the first table."""

    name: str
    make: Callable[[str], Servant]  # of a folder, which it may keep files in
    is_group: bool = False

    @property
    def is_ours(self) -> bool:
        return self.make is not Theirs


CONTENDERS = (
    Contender("yzdht, group", partial(Ours, GROUP), is_group=True),
    Contender("yzdht, public", partial(Ours, None)),
    Contender("OpenDHT", Theirs),
)


class Options(NamedTuple):
    """How much is measured."""

    rounds: int
    slow: int
    fast: int
    edge: int
    clients: int = CLIENTS
    subscribers: int = SUBSCRIBERS
    warm_up: int = _WARM_UP


@dataclass(slots=True)
class Row:
    """What one contender came to; a figure for each round.

    Attributes:
        p50_ms: Of delivery, one message after the other.
        p99_ms: Likewise.
        steady_per_s: Deliveries a second then.
        rested_ms: Median of delivery, each message after a rest.
        rested_p99_ms: Its p99.
        per_s: Deliveries a second, many messages at once.
        busy_ms: Median of delivery then.
        cpu_s: CPU of all processes per 1,000 messages.
        lost: Deliveries that never came, in all rounds.
        twice: Deliveries that came again.
        failed: Publishes that were refused.

    """

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    steady_per_s: list[float] = field(default_factory=list)
    rested_ms: list[float] = field(default_factory=list)
    rested_p99_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    failed: int = 0


class Part(NamedTuple):
    """What came of some messages."""

    took_ms: list[float]
    seconds: float
    lost: int
    twice: int
    failed: int


def all_of(hosts: Sequence[Host], what: str, **more: object) -> list[object]:
    """Have all of them do something at once."""
    for host in hosts:
        host.tell(what, **more)
    return [host.hear() for host in hosts]


class Talk:
    """One publisher, and processes that listen, each so many times."""

    def __init__(self, publisher: Host, listeners: Sequence[Host], each: int = 1) -> None:
        self._publisher = publisher
        self._listeners = listeners
        self._each = each

    def publish(self, count: int, at_once: int, every_s: float) -> Part:
        began = self._publisher.ask("publish", count=count, at_once=at_once, every_s=every_s)
        wanted = count * self._each * len(self._listeners)
        give_up_at = time.monotonic() + _PATIENCE_S
        while sum(all_of(self._listeners, "came")) < wanted and time.monotonic() < give_up_at:  # type: ignore[arg-type]
            time.sleep(_LOOKS_EVERY_S)
        heard = all_of(self._listeners, "heard")
        took_ms = [ms for one in heard for ms in one["took_ms"]]  # type: ignore[index]
        last_ns = max(one["last_ns"] for one in heard)  # type: ignore[index]
        came = sum(min(times, self._each) for one in heard for times in one["times"])  # type: ignore[index]
        return Part(
            took_ms,
            (last_ns - began["began_ns"]) / 1e9,
            wanted - came,
            len(took_ms) - came,
            began["failed"],
        )


def network(contender: Contender, nodes: int, folder: str, children: Children) -> list[Host]:
    """Nodes that know each other, a process each; members of one group where that is wanted."""
    hosts = [fork(children, partial(contender.make, folder)) for _ in range(nodes)]
    first = hosts[0].ask("start", bootstrap=[])
    for host in hosts[1:]:
        host.ask("start", bootstrap=[first])
    all_of(hosts, "settle", network=nodes)
    if contender.is_group:
        key = hosts[0].ask("found", members=[host.ask("member") for host in hosts[1:]])
        all_of(hosts[1:], "adopt", key=key)
    return hosts


def measure(options: Options, contenders: Sequence[Contender]) -> dict[str, Row]:
    """The first table."""
    rows = {contender.name: Row() for contender in contenders}
    for number in range(options.rounds):
        for contender in contenders:
            print(f"round {number + 1} of {options.rounds}: {contender.name}", file=sys.stderr)
            with TemporaryDirectory() as folder, Children() as children:
                hosts = network(contender, 1 + options.subscribers, folder, children)
                _round(rows[contender.name], hosts, options)
    return rows


def _round(row: Row, hosts: Sequence[Host], options: Options) -> None:
    all_of(hosts[1:], "listen")
    talk = Talk(hosts[0], hosts[1:])
    talk.publish(options.warm_up, 1, _QUIET_S)
    steady = talk.publish(options.slow, 1, 0.0)
    rested = talk.publish(options.slow, 1, _QUIET_S)
    before_s = sum(host.cpu_s() for host in hosts)
    fast = talk.publish(options.fast, AT_ONCE, 0.0)
    row.cpu_s.append((sum(host.cpu_s() for host in hosts) - before_s) / options.fast * 1_000)
    row.p50_ms.append(percentile(steady.took_ms, 0.5))
    row.p99_ms.append(percentile(steady.took_ms, 0.99))
    row.steady_per_s.append(len(steady.took_ms) / steady.seconds)
    row.rested_ms.append(percentile(rested.took_ms, 0.5))
    row.rested_p99_ms.append(percentile(rested.took_ms, 0.99))
    row.busy_ms.append(percentile(fast.took_ms, 0.5))
    row.per_s.append(len(fast.took_ms) / fast.seconds)
    for part in (steady, rested, fast):
        row.lost += part.lost
        row.twice += part.twice
        row.failed += part.failed


@dataclass(slots=True)
class Edge:
    """What relaying came to; a figure for each round.

    Attributes:
        cpu_ms: Of the node that relays, per message.
        p50_ms: Of delivery.
        p99_ms: Likewise.
        lost: Deliveries that never came.

    """

    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    lost: int = 0


def measure_edge(options: Options, *, is_profiled: bool = False) -> Edge:
    """The second table."""
    edge = Edge()
    with TemporaryDirectory() as folder, Children() as children:
        make = partial(Ours, None, folder)
        hosts = [fork(children, make) for _ in range(1 + _NODES_BESIDE)]
        urls = [hosts[0].ask("start", bootstrap=[])]
        urls += [host.ask("start", bootstrap=urls) for host in hosts[1:]]
        all_of(hosts, "settle", network=len(hosts))
        relay, publisher = hosts[-1], hosts[0]
        crowd = [fork(children, make) for _ in range(_CLIENT_PROCESSES)]
        each = options.clients // len(crowd)
        all_of(crowd, "connect", urls=[urls[-1]], count=each)
        talk = Talk(publisher, crowd, each)
        talk.publish(3, 1, 0.0)
        for _ in range(options.rounds):
            before_s = relay.cpu_s()
            parts = [talk.publish(1, 1, 0.0) for _ in range(options.edge)]  # the next once it is everywhere
            edge.cpu_ms.append((relay.cpu_s() - before_s) / options.edge * 1e3)
            took_ms = [ms for part in parts for ms in part.took_ms]
            edge.p50_ms.append(percentile(took_ms, 0.5))
            edge.p99_ms.append(percentile(took_ms, 0.99))
            edge.lost += sum(part.lost for part in parts)
        if is_profiled:
            by_module = profiled([relay], lambda: [talk.publish(1, 1, 0.0) for _ in range(options.edge)])
            show_profile("the node that relays", by_module, options.edge)
    return edge


def report(rows: dict[str, Row], subscribers: int) -> None:
    print(f"\n1 to {subscribers} subscribers, 1 KiB, a node and a process each, medians")
    print(f"{'':14}{'one after the other':^30}{'20 ms between':^18}{'many at once':^34}")
    print(
        f"{'':14}{'p50 ms':>8}{'p99 ms':>9}{'deliv./s':>10}   {'p50 ms':>8}{'p99 ms':>9}"
        f"{'deliv./s':>11}{'p50 ms':>9}{'cpu s/1,000':>13}{'lost':>7}{'twice':>7}{'failed':>8}"
    )
    for name, row in rows.items():
        p50, p99, steady, rested, rested_p99, per_s, busy, cpu = (
            statistics.median(of)
            for of in (
                row.p50_ms,
                row.p99_ms,
                row.steady_per_s,
                row.rested_ms,
                row.rested_p99_ms,
                row.per_s,
                row.busy_ms,
                row.cpu_s,
            )
        )
        print(
            f"{name:14}{p50:8.2f}{p99:9.2f}{steady:10,.0f}   {rested:8.2f}{rested_p99:9.2f}"
            f"{per_s:11,.0f}{busy:9.1f}{cpu:13.2f}{row.lost:7}{row.twice:7}{row.failed:8}"
        )


def aims(rows: dict[str, Row], edge: Edge | None) -> list[Aim]:
    found = []
    for name, row in rows.items():
        if name.startswith("yzdht"):
            for part, took_ms in (("one after the other", row.p50_ms), ("20 ms between", row.rested_ms)):
                what = f"{name}: p50 of delivery, {part}"
                found.append(Aim(what, statistics.median(took_ms), P50_MS_MAX, "ms"))
            per_delivery_us = 1e6 / statistics.median(row.per_s)
            found.append(
                Aim(f"{name}: time for each delivery", per_delivery_us, 1e6 / DELIVERIES_PER_S_MIN, "us")
            )
            found.append(Aim(f"{name}: deliveries lost", row.lost, 0, ""))
    if edge is not None:
        found.append(Aim("relay: own CPU per message", statistics.median(edge.cpu_ms), EDGE_MS_MAX, "ms"))
        found.append(Aim("relay: deliveries lost", edge.lost, 0, ""))
    return found


def report_edge(edge: Edge, clients: int) -> None:
    print(f"\n1 to {clients:,} clients through one node, 1 KiB, signed, medians")
    cpu, p50, p99 = (statistics.median(of) for of in (edge.cpu_ms, edge.p50_ms, edge.p99_ms))
    print(
        f"  its own CPU per message {cpu:.1f} ms, delivery p50 {p50:.1f} ms, p99 {p99:.1f} ms, lost {edge.lost}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--full", action="store_true", help="more rounds of more messages")
    parser.add_argument("--count", type=int, help="messages of each part of a round")
    parser.add_argument("--subscribers", type=int, default=SUBSCRIBERS, help="of the first table")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="of the second table, a multiple of 4")
    parser.add_argument("--only", choices=("listen", "relay"), help="one of the tables")
    parser.add_argument("--ours", action="store_true", help="leave OpenDHT out")
    parser.add_argument(
        "--profile", action="store_true", help="show where the time of the relaying node goes"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    options = Options(9, 500, 2_000, 30) if given.full else Options(5, 150, 500, 10)
    if given.count:
        options = Options(options.rounds, given.count, given.count, given.count, warm_up=given.count)
    options = options._replace(
        rounds=given.rounds or options.rounds, clients=given.clients, subscribers=given.subscribers
    )
    contenders = [c for c in CONTENDERS if c.is_ours or not given.ours]
    rows = {} if given.only == "relay" else measure(options, contenders)
    if rows and not given.json:
        report(rows, options.subscribers)
    edge = None if given.only == "listen" else measure_edge(options, is_profiled=given.profile)
    if given.json:
        print(json.dumps({"listen": {n: asdict(r) for n, r in rows.items()}, "relay": edge and asdict(edge)}))
        return
    if edge is not None:
        report_edge(edge, options.clients)
    show_aims(aims(rows, edge))


if __name__ == "__main__":
    main()

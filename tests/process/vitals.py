"""What a node takes of its machine, looked at again and again, and whether that grows.

Growth is told from medians: that of the last quarter of all looks beside that of the second. The first quarter, in which
caches fill, and single looks, in which something is under way, say nothing. A slope is the median of those between all
pairs of looks.
"""

from __future__ import annotations

import re
import time
from dataclasses import astuple, dataclass, fields
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

from tests.http.kit import exchange, parsed
from yzdht.limits import VERIFIED_CACHE_ENTRIES


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.http.kit import Reply
    from tests.process.fleet import NodeProcess


KIB = 1_024
MIB = KIB * KIB
_QUARTERS = 4
_SHOWN = re.compile(
    rb"^(yz_tasks|yz_stored_records|yz_sessions\{kind=\"\w+\"\}|yz_record_verifications_total\{result=\"checked\"\})"
    rb" ([0-9.e+]+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at a process and its data folder.

    Attributes:
        at_s: Seconds of `time.monotonic`.
        rss: Bytes.
        pss: Bytes, by smaps_rollup: what is shared counts in parts.
        descriptors: Open ones.
        threads: Of the process.
        tasks: Of its event loop.
        sessions: With nodes, clients and who is about to be one of these.
        records: That it keeps.
        verified: Hashes of records whose signatures it remembers as good, a cache that takes hours to fill.
        database: Bytes of its records' file.
        log: Bytes of the write-ahead log beside it.
        files: In its data folder.

    """

    at_s: float
    rss: int
    pss: int
    descriptors: int
    threads: int
    tasks: int
    sessions: int
    records: int
    verified: int
    database: int
    log: int
    files: int


MEASURES = tuple(field.name for field in fields(Vitals))[1:]
_UNITS = dict.fromkeys(("rss", "pss", "database", "log"), (MIB, "MiB"))


def page_port(node: NodeProcess) -> int:
    """Where its status page is."""
    return int(node.ready["http"].rpartition(":")[2])


def request_of(path: str) -> bytes:
    """As a browser says it."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def fetch(node: NodeProcess, path: str) -> Reply:
    """One page of a node."""
    return parsed(await exchange(page_port(node), request_of(path)))


def smaps(text: str) -> dict[str, int]:
    """Bytes by name, of what the kernel says of a process's memory."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].removesuffix(":"): int(row[1]) * KIB for row in rows if row[-1] == "kB"}


def shown(metrics: bytes) -> dict[str, int]:
    """Tasks, records and the like of what Prometheus would read; sessions of every kind together."""
    found = {"yz_tasks": 0, "yz_sessions": 0, "yz_stored_records": 0, "yz_record_verifications_total": 0}
    for name, value in _SHOWN.findall(metrics):
        found[name.decode().partition("{")[0]] += int(float(value))
    return found


async def look(node: NodeProcess) -> Vitals:
    """Look at a node now."""
    reply = await fetch(node, "/metrics")
    assert reply.status == 200, reply.text
    counts = shown(reply.body)
    assert counts["yz_tasks"] > 0, "the number of tasks is not shown"
    proc, process = Path(f"/proc/{node.pid}"), psutil.Process(node.pid)
    memory = smaps((proc / "smaps_rollup").read_text())
    database = node.data / "records.sqlite"
    return Vitals(
        at_s=time.monotonic(),
        rss=memory["Rss"],
        pss=memory["Pss"],
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        tasks=counts["yz_tasks"],
        sessions=counts["yz_sessions"],
        records=counts["yz_stored_records"],
        verified=min(counts["yz_record_verifications_total"], VERIFIED_CACHE_ENTRIES),
        database=database.stat().st_size,
        log=_size(database.with_name("records.sqlite-wal")),
        files=sum(1 for _ in node.data.rglob("*")),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class History:
    """All looks at one node, oldest first.

    Args:
        name: Of the node.

    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.looks: list[Vitals] = []

    def series(self, measure: str) -> list[float]:
        """One measure over time."""
        return [float(getattr(look, measure)) for look in self.looks]

    def quarters(self, measure: str) -> list[float]:
        """The median of each quarter; fewer if there are fewer looks."""
        series = self.series(measure)
        size = max(1, -(-len(series) // _QUARTERS))
        return [median(series[start : start + size]) for start in range(0, len(series), size)]

    def growth(self, measure: str) -> float:
        """The median of the last quarter less that of the second."""
        quarters = self.quarters(measure)
        return quarters[-1] - quarters[min(1, len(quarters) - 1)]

    def slope_per_h(self, measure: str) -> float:
        """How much it grows an hour, over the second half."""
        half = self.looks[len(self.looks) // 2 :]
        times, values = [look.at_s for look in half], self.series(measure)[-len(half) :]
        points = list(zip(times, values, strict=True))
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0]]
        return 3_600 * median(slopes) if slopes else 0.0

    def table(self) -> list[str]:
        """One line for each measure: its quarters, its growth and its slope."""
        lines = [f"{self.name}, medians of quarters of {len(self.looks)} looks:"]
        for measure in MEASURES:
            unit, name = _UNITS.get(measure, (1, ""))
            quarters = " ".join(f"{value / unit:9.2f}" for value in self.quarters(measure))
            grown, slope = self.growth(measure) / unit, self.slope_per_h(measure) / unit
            lines.append(
                f"  {measure:<11} {quarters} {name:<3}  last less second {grown:+8.2f}, slope {slope:+8.2f} per hour"
            )
        return lines


def row(minute: float, nodes: Sequence[Vitals]) -> str:
    """What several nodes took at one time, on average; the largest in brackets."""
    parts = []
    for measure, values in zip(MEASURES, list(zip(*map(astuple, nodes), strict=True))[1:], strict=True):
        unit, name = _UNITS.get(measure, (1, ""))
        parts.append(f"{measure} {sum(values) / len(values) / unit:.1f} ({max(values) / unit:.1f}){name}")
    return f"minute {minute:5.1f}: " + ", ".join(parts)

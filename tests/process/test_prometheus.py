"""Debian's Prometheus scrapes two running nodes and finds nothing to complain of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.process.fleet import PATIENCE_S, Spec, _die_with_parent, through, until
from tests.process.vitals import fetch
from tests.test_metrics import lint
from yzdht import Identity


if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from pathlib import Path

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

CONFIG = """
global:
  scrape_interval: {interval}
  scrape_timeout: {interval}
scrape_configs:
- job_name: yz
  static_configs:
  - targets: {targets}
"""
LISTENING = "Listening on"
READY = "Server is ready to receive web requests."
SCRAPES = 3
MANY = 10
HTTP = ("--http", "--http-port", "0", "--allow-private")


@dataclass(slots=True)
class Prometheus:
    """A Prometheus of its own on a free port of loopback.

    Attributes:
        folder: Its configuration and its data.
        targets: `HOST:PORT` of what it scrapes.
        interval: How often, as it writes that.
        said: Its log, oldest first.

    """

    folder: Path
    targets: Sequence[str]
    interval: str = "1s"
    said: list[dict[str, Any]] = field(default_factory=list)
    _process: Process | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        command = shutil.which("prometheus")
        assert command is not None, "the command prometheus is missing: make debian-packages"
        config = self.folder / "prometheus.yml"
        config.write_text(CONFIG.format(interval=self.interval, targets=json.dumps(list(self.targets))))
        self._process = await asyncio.create_subprocess_exec(
            command,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            "--web.listen-address=127.0.0.1:0",
            "--log.format=json",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        async with asyncio.timeout(PATIENCE_S):
            await self._ready.wait()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._process is not None
        assert self._reading is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._reading

    async def _read(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.said.append(json.loads(line))
            if self.said[-1].get("msg") == READY:
                self._ready.set()
        self._ready.set()  # it ended; whoever waits finds no address

    @property
    def url(self) -> str:
        """Where it answers."""
        found = [said["address"] for said in self.said if said.get("msg") == LISTENING]
        assert found, f"it did not start: {self.said[-3:]}"
        return f"http://{found[0]}"

    def complaints(self) -> list[dict[str, Any]]:
        """What it warned of, or worse."""
        return [said for said in self.said if said["level"] not in ("info", "debug")]

    async def text(self, path: str) -> str:
        """One of its pages."""

        def read() -> str:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as reply:
                answer: bytes = reply.read()
            return answer.decode()

        return await asyncio.to_thread(read)

    async def api(self, path: str, **arguments: str) -> Any:
        """What its API answers; it must have been a success without warnings."""
        view = json.loads(await self.text(f"/api/v1/{path}?{urllib.parse.urlencode(arguments)}"))
        assert view["status"] == "success", view
        assert not view.get("warnings"), view
        return view["data"]

    async def query(self, expression: str) -> dict[str, float]:
        """The value of an expression now, by node: `HOST:PORT`, or nothing for a sum of all."""
        data = await self.api("query", query=expression)
        return {row["metric"].get("instance", ""): float(row["value"][1]) for row in data["result"]}

    async def fallen(self) -> set[str]:
        """Counters of nodes that went down though nobody was started anew."""
        names = await self.api(
            "label/__name__/values", **{"match[]": '{__name__=~"yz_.+_(total|count|sum|bucket)"}'}
        )
        assert len(names) > MANY
        sums = await asyncio.gather(*(self.query(f"sum(resets({name}[1m]))") for name in names))
        return {name for name, found in zip(names, sums, strict=True) if found != {"": 0.0}}

    async def troubles(self) -> dict[str, float]:
        """What it counts of scrapes that were not clean."""
        rows = (line.rpartition(" ") for line in (await self.text("/metrics")).splitlines())
        counted = {
            name: float(value) for name, _, value in rows if name.startswith("prometheus_target_scrapes_")
        }
        assert counted
        return {name: value for name, value in counted.items() if value}


def place_of(node: NodeProcess) -> str:
    """Where Prometheus finds it."""
    return str(node.ready["http"]).removeprefix("http://")


async def test_prometheus_scrapes_two_nodes_and_finds_their_metrics_clean(
    fleet: Fleet, note: Note, tmp_path: Path
) -> None:
    first = await fleet.start(Spec("first", HTTP))
    second = await fleet.start(Spec("second", HTTP, bootstrap=[first.url]))
    nodes = [place_of(first), place_of(second)]
    async with Prometheus(tmp_path, nodes) as prometheus, through(first, Identity.generate()) as dht:
        await dht.store("name", b"value")
        assert (await dht.get("name")).data == b"value"
        await until(lambda: has_scraped(prometheus, nodes), "two nodes were scraped some times")

        targets = (await prometheus.api("targets"))["activeTargets"]
        assert {(t["labels"]["instance"], t["health"], t["lastError"]) for t in targets} == {
            (node, "up", "") for node in nodes
        }
        assert await prometheus.query("up") == dict.fromkeys(nodes, 1)
        assert await prometheus.query('yz_sessions{kind="node"}') == dict.fromkeys(nodes, 1)
        assert await prometheus.query("sum by (instance) (yz_table_nodes)") == dict.fromkeys(nodes, 1)
        stored = await prometheus.query("yz_stored_records")
        assert min(stored.values()) >= 1
        carried = await prometheus.query('sum by (instance) (yz_traffic_bytes_total{direction="in"})')
        assert min(carried.values()) > 1_000
        writes = await prometheus.query('sum by (instance) (yz_operation_seconds_count{kind="write"})')
        assert writes[nodes[0]] >= 1
        late = await prometheus.query(
            "histogram_quantile(0.9, sum(rate(yz_loop_lag_seconds_bucket[1m])) by (le))"
        )
        assert set(late) == {""}
        assert await prometheus.fallen() == set()
        kinds = await prometheus.api("targets/metadata")
        untold = {of["metric"] for of in kinds if of["type"] in ("unknown", "untyped") or not of["help"]}
        assert untold == set()
        series = await prometheus.query('count by (instance) ({__name__=~"yz_.+"})')
        took_s = await prometheus.query("scrape_duration_seconds")
        assert await prometheus.troubles() == {}
        assert prometheus.complaints() == []

    for node in (first, second):
        exposition = await fetch(node, "/metrics")
        assert exposition.status == 200
        assert lint(exposition.body) == ""
    note(
        f"series of a node: {max(series.values()):.0f}, a scrape of them took"
        f" {1e3 * max(took_s.values()):.0f} ms at most, nothing to complain of"
    )


async def has_scraped(prometheus: Prometheus, nodes: Sequence[str]) -> bool:
    """True once each node was scraped SCRAPES times."""
    scrapes = await prometheus.query("count_over_time(up[1m])")
    return all(scrapes.get(node, 0) >= SCRAPES for node in nodes)

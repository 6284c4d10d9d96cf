"""Real `yz-node` processes: started, watched, killed, started again, and all gone at the end.

Every node has a folder of its own for its data and for what it said on stderr. Its stdout is read as events, one JSON
object a line, as `--json` prints them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import http.client
import json
import math
import os
import secrets
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psutil

from yzdht import Client, Identity, NoNode
from yzdht.crypto.naming import node_id_of
from yzdht.ids import NodeId, Target
from yzdht.rpc.engine import Answer, Failed, FailReason
from yzdht.wire.rpc import Body, FindNode, FoundNodes, Method
from yzdht.wire.text import decode_node_id


if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Iterable, Sequence


PATIENCE_S = 60.0  # only a failing test waits so long
POLL_S = 0.05
POLL_S_PER_NODE = 0.01  # a look at sixty tables costs cores that the nodes need
YZ_NODE = str(Path(sys.executable).with_name("yz-node"))  # the commands as they are installed
YZ = str(Path(sys.executable).with_name("yz"))
_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_STDERR_SHOWN = 4_000
_PORTS_BELOW_THE_KERNELS = range(20_000, 32_000)

WITH_HTTP = ("--http", "--http-port", "0")

_given: set[int] = set()

Event = dict[str, Any]


@dataclass(slots=True)
class Spec:
    """How a node is started.

    Attributes:
        name: Of its folder.
        flags: Further flags.
        port: 0 for a free one at each start. A node that is to be found again at its address needs `steady_port()`.
        host: Where it listens.
        bootstrap: `URL[#NODE_ID]` each.
        passphrase: Handed over through a pipe.
        before: A command in front of the node's, as strace.

    """

    name: str
    flags: Sequence[str] = ()
    port: int = 0
    host: str = "127.0.0.1"
    bootstrap: Sequence[str] = ()
    passphrase: str | None = None
    before: Sequence[str] = ()


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _die_with_parent() -> None:
    _LIBC.prctl(_PDEATHSIG, signal.SIGKILL)


class NodeProcess:
    """One node: the same spec and data folder, in one process after the other."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.data = folder / "data"
        self.stderr_path = folder / "stderr"
        self.events: list[Event] = []
        self.starts = 0
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._has_ended = False

    # What it says of itself

    @property
    def ready(self) -> Event:
        """The first line of its stdout."""
        return self.events[0]

    @property
    def node_id(self) -> NodeId:
        return decode_node_id(self.ready["nodeId"])

    @property
    def port(self) -> int:
        port: int = self.ready["port"]
        return port

    @property
    def urls(self) -> list[str]:
        """What it advertises."""
        return [address["url"] for address in self.ready["addresses"]]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def websocket_url(self) -> str:
        """The first of its addresses that is WebSocket without TLS."""
        return next(url for url in self.urls if url.startswith("ws://"))

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._has_ended

    @property
    def pid(self) -> int:
        """Of the node itself, also behind a command in front of it."""
        assert self._process is not None
        pid: int = self.ready["pid"] if self.events else self._process.pid
        return pid

    def rss_bytes(self) -> int:
        """Resident memory now."""
        rss: int = psutil.Process(self.pid).memory_info().rss
        return rss

    def cpu_s(self) -> float:
        """Seconds of CPU that this life has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def stderr(self) -> str:
        """What it said on stderr, in all its lives."""
        return self.stderr_path.read_text(errors="replace") if self.stderr_path.exists() else ""

    # Life

    async def spawn(self) -> None:
        """Start the process; it need not become ready."""
        assert not self.is_running
        self.folder.mkdir(parents=True, exist_ok=True)
        self.events = []
        self._has_ended = False
        self.starts += 1
        command = [*self.spec.before, YZ_NODE, *self._flags()]
        pipe = self._passphrase_pipe()
        if pipe is not None:
            command += ["--passphrase-fd", str(pipe)]
        with self.stderr_path.open("ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                pass_fds=() if pipe is None else (pipe,),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        if pipe is not None:
            os.close(pipe)
        self._reading = asyncio.create_task(self._read_events(self._process))

    async def start(self) -> Event:
        """Start the process and wait until it is ready."""
        await self.spawn()
        return await self.event("ready")

    def _flags(self) -> list[str]:
        spec = self.spec
        flags = ["--json", "--port", str(spec.port), "--host", spec.host, "--data", str(self.data)]
        flags += ["--no-http"]  # a status page would take the port that another node was promised
        for url in spec.bootstrap:
            flags += ["--bootstrap", url]
        return [*flags, *spec.flags]

    def _passphrase_pipe(self) -> int | None:
        if self.spec.passphrase is None:
            return None
        reading, writing = os.pipe()
        os.write(writing, self.spec.passphrase.encode() + b"\n")
        os.close(writing)
        return reading

    async def run_in_words(self) -> tuple[int, str]:
        """Start it as people do, without --json, and wait for its end: the exit code, and all that it said."""
        command = [*self.spec.before, YZ_NODE, *(flag for flag in self._flags() if flag != "--json")]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def page(self, path: str) -> tuple[int, Event]:
        """A page of its status server, which needs the flags of `WITH_HTTP`: the status, and the JSON."""

        def fetch() -> tuple[int, bytes]:
            with contextlib.closing(
                http.client.HTTPConnection(*_host_and_port(self.ready["http"]), timeout=PATIENCE_S)
            ) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()

        status, body = await asyncio.to_thread(fetch)
        return status, json.loads(body)

    async def _read_events(self, process: Process) -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                async with self._changed:
                    self.events.append(json.loads(line))
                    self._changed.notify_all()
        finally:
            await process.wait()
            async with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    async def event(self, name: str, holds: Callable[[Event], bool] = lambda _event: True) -> Event:
        """Wait for the first event of this life with that name for which `holds` is true."""

        def find() -> Event | None:
            return next((e for e in self.events if e["event"] == name and holds(e)), None)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: self._has_ended or find() is not None)
        found = find()
        assert found is not None, f"{self.spec.name} never said {name!r}: {self.events} {self._last_words()}"
        return found

    async def ended(self) -> int:
        """Wait for the end; its exit code."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            async with self._changed:
                await self._changed.wait_for(lambda: self._has_ended)
            return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> Event:
        """Ask it to end; its last event. It must end with exit code 0."""
        self.send(number)
        code = await self.ended()
        assert code == 0, f"{self.spec.name} ended with {code} {self._last_words()}"
        last = self.events[-1]
        assert last["event"] == "stopped", self.events
        assert "task_failures" not in last["counters"], self._last_words()
        return last

    async def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def remove(self) -> None:
        """End it whatever state it is in, and whatever runs in front of it."""
        if self._process is None or self._reading is None:
            return
        if not self._has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.wait([self._reading])

    def _last_words(self) -> str:
        return f"\nstderr of {self.spec.name}:\n{self.stderr()[-_STDERR_SHOWN:]}"


@dataclass(slots=True)
class Fleet:
    """The nodes of one test.

    Attributes:
        folder: Where theirs are.
        network: Of clients that look at tables.
        network_key: Of the same.

    """

    folder: Path
    network: str = "main"
    network_key: bytes | None = None
    nodes: list[NodeProcess] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await asyncio.gather(*(node.remove() for node in self.nodes))

    def add(self, spec: Spec) -> NodeProcess:
        """A node that is not started yet."""
        node = NodeProcess(spec, self.folder / spec.name)
        assert all(node.folder != other.folder for other in self.nodes)
        self.nodes.append(node)
        return node

    async def start(self, spec: Spec) -> NodeProcess:
        """A node that is ready."""
        node = self.add(spec)
        await node.start()
        return node

    async def grow(
        self, count: int, flags: Sequence[str] = (), patience_s: float = PATIENCE_S
    ) -> list[NodeProcess]:
        """Nodes that know each other, joined through the first; each keeps its port over restarts."""
        first = await self.start(Spec("n0", flags, port=steady_port()))
        others = [
            self.add(Spec(f"n{i}", flags, port=steady_port(), bootstrap=[first.url])) for i in range(1, count)
        ]
        await asyncio.gather(*(node.start() for node in others))
        nodes = [first, *others]
        await self.settle(nodes, patience_s)
        return nodes

    async def settle(self, nodes: Sequence[NodeProcess], patience_s: float = PATIENCE_S) -> None:
        """Wait until each of these has exactly the others in its table, and names them."""
        ids = {node.node_id for node in nodes}
        every_s = max(POLL_S, POLL_S_PER_NODE * len(nodes))

        async def settle_one(node: NodeProcess) -> None:
            async def is_settled() -> bool:
                return await self.table_of(node, ids) == ids - {node.node_id}

            await until(is_settled, f"{node.spec.name} knows the others", patience_s, every_s)

        await asyncio.gather(*(settle_one(node) for node in nodes))

    async def table_of(self, node: NodeProcess, about: Iterable[NodeId] = ()) -> set[NodeId]:
        """Whom a node names: its table, as long as that has at most 20 entries.

        Of a larger one it names those near itself, and near each of the nodes that it is asked about.
        """
        client = Client.connect(
            f"ws://127.0.0.1:{node.port}", network=self.network, network_key=self.network_key
        )
        named: set[NodeId] = set()
        try:
            async with client as dht:
                named |= await _named_near(dht, node, Target(node.node_id))
                for node_id in about:
                    if node_id not in named and node_id != node.node_id:
                        named |= await _named_near(dht, node, Target(node_id))
        except NoNode:
            return set()
        return named

    def errors(self) -> list[str]:
        """Lines of a traceback in what the nodes said on stderr: there are none, ever."""
        return [
            f"{node.spec.name}: {node.stderr()[-_STDERR_SHOWN:]}"
            for node in self.nodes
            if "Traceback" in node.stderr() or "internal error" in node.stderr()
        ]


async def kill_all(nodes: Sequence[NodeProcess]) -> None:
    """kill -9, all of them at the same moment."""
    for node in nodes:
        node.send(signal.SIGKILL)
    await asyncio.gather(*(node.ended() for node in nodes))


async def start_all(nodes: Sequence[NodeProcess]) -> None:
    """Start all of them at the same moment, and wait until all are ready."""
    await asyncio.gather(*(node.start() for node in nodes))


async def _named_near(dht: Client, node: NodeProcess, target: Target) -> set[NodeId]:
    answer = await ask(dht, node, Method.FIND_NODE, FindNode(target, 20))
    assert isinstance(answer.body, FoundNodes)
    return {node_id_of(contact.public_key) for contact in answer.body.contacts}


async def ask(dht: Client, node: NodeProcess, method: Method, body: Body) -> Answer:
    """One request to one node over a client's session; one whose places are all in use is asked again."""
    nodes = dht._nodes
    assert nodes is not None
    outcome: Answer | Failed = Failed(FailReason.CLOSED)

    async def is_served() -> bool:
        nonlocal outcome
        outcome = await nodes.call(f"ws://127.0.0.1:{node.port}", method, body)
        return outcome != Failed(FailReason.CLOSED)

    await until(is_served, f"{node.spec.name} serves a client")
    assert isinstance(outcome, Answer), outcome
    return outcome


def through(node: NodeProcess, identity: Identity, network: str = "main") -> Client:
    """A client of one node; it remembers nothing, so that what it reads is what the nodes show."""
    return Client.connect(node.url, identity=identity, network=network)


async def until(
    holds: Callable[[], Awaitable[bool]],
    what: str,
    patience_s: float = PATIENCE_S,
    every_s: float = POLL_S,
) -> None:
    """Ask again and again until it holds."""
    give_up_at = time.monotonic() + patience_s
    while not await holds():
        assert time.monotonic() < give_up_at, f"not within {patience_s} s: {what}"
        await asyncio.sleep(every_s)


async def run_yz(*arguments: str, stdin: bytes = b"", before: Sequence[str] = ()) -> tuple[int, bytes, str]:
    """The `yz` command, behind others if they stand in front; its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *before,
        YZ,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_die_with_parent,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(stdin)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, out, err.decode()


def steady_port() -> int:
    """A free port that the kernel gives to no outgoing connection while its node is down."""
    for _ in range(100):
        port = secrets.choice(_PORTS_BELOW_THE_KERNELS)
        if port in _given:
            continue
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError("no free port between 20000 and 32000")


def quantile(ordered: Sequence[float], part: float) -> float:
    """What so large a part of these is not over; not a number if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else math.nan


def percentiles(seconds: Iterable[float]) -> str:
    """Milliseconds, for the report."""
    ordered = sorted(seconds)
    if not ordered:
        return "nothing measured"
    p50, p99 = (quantile(ordered, part) for part in (0.5, 0.99))
    return f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, max {ordered[-1] * 1e3:.1f} ms of {len(ordered)}"

"""Strangers that flood a node, in processes of their own; the kernel gives them what CPU nobody else wants.

Each plan is one way to flood. An attacker reopens whatever the node closes and goes on until it is told to end; then it
prints what it counted. What it sends is paced, so that the question is what the node does with so much of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import resource
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.process.fleet import PATIENCE_S, _die_with_parent
from tests.transport.strangers import client_hello
from yzdht import Identity
from yzdht.crypto.handshake import Credentials, Initiator
from yzdht.crypto.naming import mutable_target, network_id, own_tag
from yzdht.crypto.sealing import Author, RecordDraft, Self as OnlySelf, seal_record
from yzdht.errors import YzError
from yzdht.ids import Target
from yzdht.limits import CALLS_IN_FLIGHT_MAX, DAY_S
from yzdht.rpc.engine import Answer
from yzdht.rpc.session import Answered, Session, State
from yzdht.sessions import SystemClock
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.rpc import Empty, FindNode, FindValue, Get, Method, Put, Store
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from yzdht.ports import Link
    from yzdht.wire.rpc import Body


DIAL_S = 10.0
NETWORK = network_id("main")
CLOCK = SystemClock()
HELLO_S = 0.5
"""Long enough for the node to have answered, then it begins anew."""
WINDOW = 64
"""Requests that one attacker has under way."""
TOP = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
REQUEST = TOP + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
MASK = bytes(4)
CLIENT_HELLO = client_hello()


@dataclass(frozen=True, slots=True)
class Plan:
    """One flood by one process.

    Attributes:
        kind: Of FLOODS.
        hosts: Addresses of this machine that it comes from, and at which the node listens.
        port: The node's.
        at_once: Connections.
        per_s: Connections opened, or requests sent, per second; all together.
        targets: Slots to ask for, in hex.
        topics: To publish to or to listen to, in hex; another one each time if there are none.
        size: Bytes of a message.

    """

    kind: str
    hosts: list[str]
    port: int
    at_once: int
    per_s: float
    targets: list[str] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    size: int = 0


class Pace:
    """Lets so many begin in a second."""

    def __init__(self, per_s: float) -> None:
        self._every_s = 1 / per_s
        self._next = 0.0

    async def turn(self) -> None:
        now = CLOCK.now().mono
        self._next = max(self._next + self._every_s, now - self._every_s)
        await asyncio.sleep(max(0.0, self._next - now))


class Raider:
    """One session of an attacker; a handler of links."""

    def __init__(
        self, link: Link, tally: Counter[str], identity: Identity, caps: int = Caps.ALWAYS | Caps.CLIENT
    ) -> None:
        self.link = link
        self.identity = identity
        self.opened = asyncio.Event()
        self.gone = asyncio.Event()
        self.room = asyncio.Semaphore(WINDOW)
        self.is_silent = False
        self._tally = tally
        self._calls = itertools.count(1)
        credentials = Credentials(identity.signer, NETWORK, caps)
        self.session = Session(Initiator(credentials, None), CLOCK.now())

    def on_message(self, message: bytes) -> None:
        self.session.receive(message, CLOCK.now())
        self.pump()

    def on_writable(self) -> None:
        """What it sends is not held back."""

    def on_closed(self, reason: str) -> None:
        self._tally[f"lost: {reason}"] += 1
        self.session.on_channel_closed(reason)
        self.opened.set()
        self.gone.set()

    def pump(self) -> None:
        """Send what is to be sent and count what came."""
        for event in self.session.take_events():
            if isinstance(event, Answered):
                outcome = event.outcome
                self._tally[outcome.status.name if isinstance(outcome, Answer) else outcome.reason.name] += 1
                self.room.release()
        for message in self.session.take_outgoing():
            self.link.send(message)
        if self.session.state is State.OPEN:
            self.opened.set()
        elif self.session.state is State.ENDED:
            self.link.abort()

    async def ask(self, method: Method, body: Body) -> None:
        """Ask once fewer than WINDOW are under way."""
        await self.room.acquire()
        self.ask_now(method, body)

    def ask_now(self, method: Method, body: Body) -> int:
        call = next(self._calls)
        self._tally["asked"] += 1
        self.session.call(call, method, body, DIAL_S, CLOCK.now())
        self.pump()
        return call


class Flood:
    """What one process does by one plan.

    Args:
        plan: It.
        attack: What each attacker does.

    """

    def __init__(self, plan: Plan, attack: Attack) -> None:
        self.plan = plan
        self._attack = attack
        self.tally: Counter[str] = Counter()
        self.pace = Pace(plan.per_s)
        self.targets = [Target(bytes.fromhex(target)) for target in plan.targets]
        self._transport = WebSocketTransport()

    async def run(self) -> None:
        """Flood with as many at once as planned, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.at_once):
                group.create_task(self._again_and_again(number))

    async def _again_and_again(self, number: int) -> None:
        host = self.plan.hosts[number % len(self.plan.hosts)]
        while True:
            await self.pace.turn()
            try:
                async with asyncio.timeout(60):
                    await self._attack(self, host, number)
                self.tally["done"] += 1
            except (OSError, EOFError, YzError) as error:
                self.tally[type(error).__name__] += 1

    @contextlib.asynccontextmanager
    async def socket(self, host: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(host, self.plan.port)
        self.tally["connected"] += 1
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def websocket(self, host: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """An open WebSocket whose frames one writes by hand."""
        async with self.socket(host) as (reader, writer):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            self.tally["upgraded"] += 1
            yield reader, writer

    @contextlib.asynccontextmanager
    async def raider(
        self, host: str, identity: Identity | None = None, caps: int = Caps.ALWAYS | Caps.CLIENT
    ) -> AsyncIterator[Raider]:
        """A link on which a handshake may begin."""
        made: list[Raider] = []

        def accept(link: Link) -> Raider:
            made.append(Raider(link, self.tally, identity or Identity.generate(), caps))
            return made[0]

        link = await self._transport.dial(f"ws://{host}:{self.plan.port}", accept, DIAL_S)
        try:
            yield made[0]
        finally:
            link.abort()

    @contextlib.asynccontextmanager
    async def session(
        self, host: str, identity: Identity | None = None, caps: int = Caps.ALWAYS | Caps.CLIENT
    ) -> AsyncIterator[Raider]:
        """An open session."""
        async with self.raider(host, identity, caps) as raider:
            raider.pump()
            async with asyncio.timeout(DIAL_S):
                await raider.opened.wait()
            if raider.session.state is not State.OPEN:
                raise ConnectionAbortedError
            self.tally["sessions"] += 1
            yield raider


# One attacker each: until the node has had enough


async def silent(flood: Flood, host: str, _number: int) -> None:
    """A connection on which nothing is said."""
    async with flood.socket(host) as (reader, _):
        await reader.read()


async def half_open(flood: Flood, host: str, _number: int) -> None:
    """A WebSocket on which no handshake begins."""
    async with flood.websocket(host) as (reader, _):
        await reader.read()


async def hello(flood: Flood, host: str, _number: int) -> None:
    """The first message of a handshake, which costs the node a key exchange and a signature; then nothing more."""
    async with flood.raider(host) as raider:
        for message in raider.session.take_outgoing():
            raider.link.send(message)
        raider.link.pause_reading()
        with contextlib.suppress(TimeoutError):  # as below
            async with asyncio.timeout(HELLO_S):
                await raider.gone.wait()


async def tls_hello(flood: Flood, host: str, _number: int) -> None:
    """The first message of TLS, which costs the node a key exchange and a signature; then nothing more."""
    async with flood.socket(host) as (reader, writer):
        writer.write(CLIENT_HELLO)
        if await reader.read(1):
            flood.tally["answered"] += 1
        with contextlib.suppress(TimeoutError):  # wait_for of Python 3.11 can lose a cancellation
            async with asyncio.timeout(HELLO_S):
                await reader.read()


async def garbage(flood: Flood, host: str, number: int) -> None:
    """Random bytes in place of HTTP, of a handshake, and of a record."""
    noise = os.urandom(4_000)
    match number % 3:
        case 0:
            async with flood.socket(host) as (reader, writer):
                writer.write(noise)
                await reader.read()
        case 1:
            async with flood.websocket(host) as (reader, writer):
                writer.write(frame(noise))
                await reader.read()
        case _:
            async with flood.session(host) as raider:
                raider.link.send(noise)
                await raider.gone.wait()


async def huge(flood: Flood, host: str, number: int) -> None:
    """Frames that are said to be 2**40 bytes long, of 1 MiB, in fragments without end, and records without end."""
    if number % 4 == 3:
        async with flood.session(host) as raider:
            while not raider.gone.is_set():
                await flood.pace.turn()
                raider.session._send_record(RecordType.REQUEST, bytes(16_000), CLOCK.now().mono, more=True)
                raider.pump()
            return
    async with flood.websocket(host) as (reader, writer):
        match number % 4:
            case 0:
                writer.write(b"\x82\xff" + (1 << 40).to_bytes(8) + MASK)
                writer.write(bytes(1 << 16))
            case 1:
                writer.write(frame(bytes(1 << 20)))
            case _:
                writer.write(b"\x02\x81" + MASK + b"x")
                while not reader.at_eof():
                    writer.write((b"\x00\x80" + MASK) * 200 + b"\x00\x81" + MASK + b"x")
                    await writer.drain()
                    await flood.pace.turn()
        await reader.read()


async def requests(flood: Flood, host: str, number: int) -> None:
    """Valid requests of every kind, as fast as they are answered."""
    async with flood.session(host) as raider:
        for turn in itertools.count(number):
            target = flood.targets[turn % len(flood.targets)]
            method, body = request_of(turn, target)
            await flood.pace.turn()
            if raider.gone.is_set():
                return
            await raider.ask(method, body)


async def slow(flood: Flood, host: str, number: int) -> None:
    """Ask for what is large and read nothing."""
    async with flood.session(host) as raider:
        raider.link.pause_reading()
        body = FindValue(flood.targets[number % len(flood.targets)], (), 1 << 16)
        while not raider.gone.is_set():
            for _ in range(CALLS_IN_FLIGHT_MAX // 4):
                raider.session.cancel(raider.ask_now(Method.FIND_VALUE, body))
            await flood.pace.turn()
            if raider.link.held_bytes > 1 << 20:
                raider.link.resume_reading()  # a link that is paused does not see that it was dropped
                await asyncio.sleep(0.01)
                raider.link.pause_reading()


async def stores(flood: Flood, host: str, number: int) -> None:
    """Valid records, each under a name of its own, to this node and through it to others."""
    identity = Identity.generate()
    async with flood.session(host, identity) as raider:
        for turn in itertools.count():
            await flood.pace.turn()
            if raider.gone.is_set():
                return
            target, record = record_of(identity, f"{number}/{turn}")
            if turn % 4 == 0:
                await raider.ask(Method.PUT, Put(target, record))
            else:
                await raider.ask(Method.STORE, Store(target, record))


Attack = Callable[[Flood, str, int], Awaitable[None]]

FLOODS: dict[str, Attack] = {
    each.__name__: each
    for each in (silent, half_open, hello, tls_hello, garbage, huge, requests, slow, stores)
}


def frame(data: bytes) -> bytes:
    """A whole binary frame of a client."""
    if len(data) < 1 << 16:
        return b"\x82\xfe" + len(data).to_bytes(2) + MASK + data
    return b"\x82\xff" + len(data).to_bytes(8) + MASK + data


def request_of(turn: int, slot: Target) -> tuple[Method, Body]:
    match turn % 4:
        case 0:
            return Method.FIND_VALUE, FindValue(slot, (), 1 << 16)
        case 1:
            return Method.FIND_NODE, FindNode(slot)
        case 2:
            return Method.GET, Get(slot)
        case _:
            return Method.PING, Empty()


def record_of(identity: Identity, name: str) -> tuple[Target, bytes]:
    """A valid private record, and where it belongs."""
    now = int(CLOCK.now().wall)
    tag = own_tag(identity.name_key, NETWORK, name)
    draft = RecordDraft(Kind.MUTABLE, now, now + DAY_S, now, tag)
    author = Author(identity.signer, identity.self_key, NETWORK)
    record = seal_record(draft, bytes(12_000), OnlySelf(), author, os.urandom(24))
    return mutable_target(NETWORK, identity.public_key, tag), record


# Seen by a test


@dataclass(slots=True)
class Attackers:
    """Processes that wait for plans and then flood, until this is left.

    Attributes:
        count: How many.
        program: The module that they run, which calls `serve`.

    """

    count: int = 1
    program: str = "tests.process.flood"
    _processes: list[Process] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        for _ in range(self.count):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                preexec_fn=_die_with_parent,
            )
            self._processes.append(process)
        for process in self._processes:
            assert await _line(process) == "waits"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            assert await process.wait() == 0

    @contextlib.asynccontextmanager
    async def flooding(self, plans: list[Plan]) -> AsyncIterator[Counter[str]]:
        """Flood meanwhile; what they counted is in the tally at the end."""
        tally: Counter[str] = Counter()
        for number, process in enumerate(self._processes):
            _order(process, [asdict(plan) for plan in plans[number :: len(self._processes)]])
        try:
            yield tally
        finally:
            for process in self._processes:
                _order(process, "end")
            for process in self._processes:
                tally.update(await _line(process))


def _order(process: Process, what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")


async def _line(process: Process) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return json.loads(await process.stdout.readline())


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - read by the test


async def _serve(attacks: dict[str, Attack]) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    _say("waits")
    while line := await orders.readline():
        plans = [Plan(**plan) for plan in json.loads(line)]
        floods = [Flood(plan, attacks[plan.kind]) for plan in plans]
        tasks = [asyncio.create_task(flood.run()) for flood in floods]
        ended = asyncio.create_task(orders.readline())
        await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await ended
        _say(sum((flood.tally for flood in floods), Counter()))


def serve(attacks: dict[str, Attack]) -> None:
    """Flood as stdin says, until it ends."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(_serve(attacks))


if __name__ == "__main__":
    serve(FLOODS)

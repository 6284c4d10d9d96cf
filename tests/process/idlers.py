"""Clients that open a session and then want nothing, in processes of their own: what they cost is theirs.

Run as a program, this is one such process: it opens sessions, each with an identity of its own, prints a line once all
are open, and ends with its stdin, after a line of how many are open still.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import uvloop

from tests.process.fleet import PATIENCE_S, _die_with_parent
from yzdht import Identity
from yzdht.crypto.handshake import Credentials, Initiator
from yzdht.crypto.naming import network_id
from yzdht.errors import DialFailed
from yzdht.loop_turns import LoopTurns
from yzdht.rpc.session import Ended, Opened
from yzdht.sessions import SystemClock
from yzdht.sessions.connection import Connection
from yzdht.sessions.request_turns import RequestTurns
from yzdht.transport.websocket import WebSocketTransport
from yzdht.wire.frame import Caps


if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from yzdht.ports import Link
    from yzdht.rpc.session import Event


ROOT: Final = Path(__file__).parents[2]
AT_ONCE: Final = 8
AGAIN_S: Final = 0.2
OPEN_S: Final = 10.0
_CAPS = Caps.ALWAYS | Caps.CLIENT


class Visitor:
    """The owner of one client's session."""

    def __init__(self) -> None:
        self.is_open = False
        self.settled = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.handshake_turns = LoopTurns(loop, 1, Connection.hear_early)
        self.request_turns = RequestTurns(loop, Connection.serve_next)
        self._clock = SystemClock()
        self._credentials = Credentials(Identity.generate().signer, network_id("main"), _CAPS)

    def accept(self, link: Link) -> Connection:
        """Begin the session on a link that was dialled."""
        connection = Connection(link, self._clock, asyncio.get_running_loop(), self)
        connection.begin(Initiator(self._credentials, None))
        return connection

    def on_event(self, _connection: Connection, event: Event) -> None:
        """It opened, or ended."""
        if isinstance(event, Opened | Ended):
            self.is_open = isinstance(event, Opened)
            self.settled.set()

    def is_busy(self, _topic: bytes) -> bool:
        """Nobody asks."""
        return False

    def on_weight(self, connection: Connection, held: int) -> None:
        """Nobody cares."""

    def on_carried(self, connection: Connection, taken: int, given: int) -> None:
        """Nobody cares."""

    def on_gone(self, _connection: Connection) -> None:
        """The link is closed."""
        self.is_open = False
        self.settled.set()


async def visit(url: str, transport: WebSocketTransport) -> Visitor:
    """Open a session, however often the node says that it has had enough handshakes for now."""
    while True:
        visitor = Visitor()
        with contextlib.suppress(DialFailed, TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await transport.dial(url, visitor.accept, OPEN_S)
                await visitor.settled.wait()
        if visitor.is_open:
            return visitor
        await asyncio.sleep(AGAIN_S)


async def stay(url: str, count: int, per_s: float) -> None:
    """Open so many sessions, so many a second; keep them until there is a line on stdin, or its end."""
    loop, transport, room = asyncio.get_running_loop(), WebSocketTransport(), asyncio.Semaphore(AT_ONCE)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    began = loop.time()

    async def one(number: int) -> Visitor:
        await asyncio.sleep(began + number / per_s - loop.time())
        async with room:
            return await visit(url, transport)

    visitors = await asyncio.gather(*(one(number) for number in range(count)))
    print("open", flush=True)  # noqa: T201 - this is a program
    await reader.readline()
    print(sum(visitor.is_open for visitor in visitors), flush=True)  # noqa: T201 - as above


@dataclass(slots=True)
class Idlers:
    """Processes of idle clients.

    Attributes:
        url: Of the node that they have sessions with.
        processes: One after the other was started.

    """

    url: str
    processes: list[Process] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def grow(self, count: int, processes: int, per_s: float, patience_s: float = PATIENCE_S) -> None:
        """Open `count` more sessions, `per_s` a second, in so many more processes; return once they are open."""
        shares = [len(range(number, count, processes)) for number in range(processes)]
        new = [await self._spawn(share, per_s / processes) for share in shares]
        self.processes += new
        async with asyncio.timeout(patience_s):
            for process in new:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"open\n"

    async def _spawn(self, count: int, per_s: float) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.process.idlers",
            self.url,
            str(count),
            str(per_s),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )

    async def leave(self) -> int:
        """End all of them; how many of their sessions were open until then."""
        left = 0
        for process in self.processes:
            async with asyncio.timeout(PATIENCE_S):
                out, _ = await process.communicate(b"\n")
            assert process.returncode == 0
            left += int(out)
        return left


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its parent
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(stay(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))

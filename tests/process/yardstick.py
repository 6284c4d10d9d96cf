"""How long the machine lets a trivial request wait, so that a slow get can be told from a busy machine.

A process with nothing of this project in it echoes a byte over loopback, again and again while something is measured.
Many processes share few cores: a get that took long while the echo took long waited for its turn, not for a peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


ECHO_EVERY_S = 0.02
TURNS_OF_A_GET = 4
"""A get goes from the client to a node, to a holder and back: each waits for its turn. An echo waits twice."""
_ECHO = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
connection, _ = server.accept()
while piece := connection.recv(16):
    connection.sendall(piece)
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """Something that took time; `began` in seconds of `time.perf_counter`."""

    began: float
    took_s: float

    def overlaps(self, other: Timed) -> bool:
        """True if some instant belongs to both."""
        return self.began <= other.began + other.took_s and other.began <= self.began + self.took_s


@contextlib.contextmanager
def timed(into: list[Timed]) -> Iterator[None]:
    """Keep how long a block took that did not raise."""
    began = time.perf_counter()
    yield
    into.append(Timed(began, time.perf_counter() - began))


@dataclass(slots=True)
class Yardstick:
    """Echoes while it is entered.

    Attributes:
        echoes: What they took.

    """

    echoes: list[Timed] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _ECHO, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        port = int(await self._process.stdout.readline())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self._task = asyncio.create_task(self._echo(reader, writer))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None
        assert self._process is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._process.wait()  # its end of the connection is closed

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                with timed(self.echoes):
                    writer.write(b".")
                    await reader.readexactly(1)
                await asyncio.sleep(ECHO_EVERY_S)
        finally:
            writer.close()

    def own_s(self, work: Timed) -> float:
        """What a get took beyond the turns that it may have waited for, as the slowest echo beside it shows them."""
        slowest = max((e.took_s for e in self.echoes if e.overlaps(work)), default=0.0)
        return max(0.0, work.took_s - TURNS_OF_A_GET / 2 * slowest)

    def over(self, limit_s: float, works: Iterable[Timed]) -> list[Timed]:
        """Those that took longer than the limit of themselves."""
        return [work for work in works if work.took_s > limit_s and self.own_s(work) > limit_s]

"""An honest client in a process of its own: it reads, writes and comes anew all the time, and says how long each took.

Started with a URL; prints one JSON line when it has stored what it reads, and then one for each thing done. It ends when
its stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.process.fleet import PATIENCE_S, _die_with_parent
from yzdht import Client, Identity, NoNode
from yzdht.errors import YzError


if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable


NAMES = 20
VALUE = b"honest " * 128
GET_PAUSE_S = 0.02
PUT_PAUSE_S = 0.05
VISIT_TRIES = 6
VISIT_AGAIN_S = 0.5
VISITORS = range(100, 250)
VISIT_PAUSE_S = 0.4


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that an honest client did.

    Attributes:
        what: `get`, `put` or `visit`: a new client that connects and gets.
        began: Of time.monotonic, which all processes share.
        took_s: Until it was done.
        error: What came instead; empty if it went well.

    """

    what: str
    began: float
    took_s: float
    error: str = ""


@dataclass(slots=True)
class Honest:
    """The client's process as a test sees it.

    Attributes:
        name: Where it is.
        url: Of the node, at the address that this client is to come from.
        visited: The same for its visits, with `{}` in place of a number: each is somebody else's first.
        deeds: So far.

    """

    name: str
    url: str
    visited: str
    deeds: list[Deed] = field(default_factory=list)
    _process: Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.process.honest",
            self.url,
            self.visited,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            assert await self._process.stdout.readline() == b'"ready"\n', self.name
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reading is not None
        self._process.stdin.close()
        await asyncio.wait([self._reading])
        assert await self._process.wait() == 0

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.deeds.append(Deed(**json.loads(line)))

    def within(self, since: float, until: float) -> list[Deed]:
        """What it began in that time."""
        return [deed for deed in self.deeds if since <= deed.began < until]


def _say(line: object) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - read by the test


async def _again_and_again(what: str, pause_s: float, do: Callable[[int], Awaitable[None]]) -> None:
    number = 0
    while True:
        began, error = time.monotonic(), ""
        try:
            await do(number)
        except YzError as problem:
            error = f"{type(problem).__name__}: {problem}"
        _say({"what": what, "began": began, "took_s": time.monotonic() - began, "error": error})
        number += 1
        await asyncio.sleep(pause_s)


async def _visit(url: str, identity: Identity) -> None:
    """A newcomer is in the same crowd as the attackers; who is sent away comes again, and its time counts."""
    for tries_left in reversed(range(VISIT_TRIES)):
        try:
            async with Client.connect(url, identity=identity) as newcomer:
                assert (await newcomer.get("n0")).data == VALUE
        except NoNode:
            if not tries_left:
                raise
            await asyncio.sleep(VISIT_AGAIN_S)
        else:
            return


async def _live(url: str, visited: str) -> None:
    identity = Identity.generate()

    async def visit(number: int) -> None:
        await _visit(visited.format(VISITORS[number % len(VISITORS)]), identity)

    async with Client.connect(url, identity=identity) as dht:

        async def get(number: int) -> None:
            assert (await dht.get(f"n{number % NAMES}")).data == VALUE

        async def put(number: int) -> None:
            await dht.store(f"written {number % NAMES}", b"%d" % number)

        for number in range(NAMES):
            await dht.store(f"n{number}", VALUE)
        _say("ready")
        works = (
            _again_and_again("get", GET_PAUSE_S, get),
            _again_and_again("put", PUT_PAUSE_S, put),
            _again_and_again("visit", VISIT_PAUSE_S, visit),
        )
        tasks = [asyncio.create_task(work) for work in works]
        done = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        await asyncio.wait([*tasks, done], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await done


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(_live(*sys.argv[1:]))

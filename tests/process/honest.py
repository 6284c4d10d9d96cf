"""An honest client in a process of its own: it reads, writes and comes anew all the time, and says how long each took.

Started with the URL of the node, at the address that it is to come from, and the same for its visits, with `{}` in place of
a number: each is somebody else's first. It prints one JSON line when it has stored what it reads, and then one for each thing
done. It ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

from tests.process.fleet import PATIENCE_S, _die_with_parent
from yzdht import Client, Identity, NoNode
from yzdht.errors import YzError


if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence


NAMES = 20
VALUE = b"honest " * 128
GET_PAUSE_S = 0.02
PUT_PAUSE_S = 0.05
VISIT_TRIES = 6
END_S_MAX = 200.0
VISIT_AGAIN_S = 0.5
VISITORS = range(100, 250)
VISIT_PAUSE_S = 0.4


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that an honest client did.

    Attributes:
        what: `get`, `put` or `visit`: a new client that connects and gets; others.py says what it does.
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
        args: What it is told when it starts.
        program: The module that it runs.
        deeds: So far.

    """

    name: str
    args: Sequence[str]
    program: str = "tests.process.honest"
    deeds: list[Deed] = field(default_factory=list)
    _process: Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.program,
            *self.args,
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
        async with asyncio.timeout(END_S_MAX):
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


def say(line: object) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - read by the test


def tell(deed: Deed) -> None:
    say(asdict(deed))


async def again_and_again(what: str, pause_s: float, do: Callable[[int], Awaitable[None]]) -> None:
    """Do it, say how long it took, and do it again after a pause."""
    for number in itertools.count():
        began, error = time.monotonic(), ""
        try:
            await do(number)
        except YzError as problem:
            error = f"{type(problem).__name__}: {problem}"
        tell(Deed(what, began, time.monotonic() - began, error))
        await asyncio.sleep(pause_s)


async def until_told_to_end(*works: Awaitable[None]) -> None:
    """Work until stdin ends."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([*tasks, done], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await done


@contextlib.asynccontextmanager
async def arrived(url: str, identity: Identity | None = None) -> AsyncIterator[Client]:
    """Somebody comes to a node. A newcomer is in the same crowd as the attackers: who is sent away comes again, and its time counts."""
    async with contextlib.AsyncExitStack() as stack:
        yield await _enter(stack, url, identity or Identity.generate(), VISIT_TRIES)


async def _enter(stack: contextlib.AsyncExitStack, url: str, identity: Identity, tries: int) -> Client:
    try:
        return await stack.enter_async_context(Client.connect(url, identity=identity))
    except NoNode:
        if tries <= 1:
            raise
    await asyncio.sleep(VISIT_AGAIN_S)
    return await _enter(stack, url, identity, tries - 1)


async def _live(url: str, visited: str) -> None:
    identity = Identity.generate()

    async def visit(number: int) -> None:
        async with arrived(visited.format(VISITORS[number % len(VISITORS)]), identity) as newcomer:
            assert (await newcomer.get("n0")).data == VALUE

    async with Client.connect(url, identity=identity) as dht:

        async def get(number: int) -> None:
            assert (await dht.get(f"n{number % NAMES}")).data == VALUE

        async def put(number: int) -> None:
            await dht.store(f"written {number % NAMES}", b"%d" % number)

        for number in range(NAMES):
            await dht.store(f"n{number}", VALUE)
        say("ready")
        await until_told_to_end(
            again_and_again("get", GET_PAUSE_S, get),
            again_and_again("put", PUT_PAUSE_S, put),
            again_and_again("visit", VISIT_PAUSE_S, visit),
        )


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(_live(*sys.argv[1:]))

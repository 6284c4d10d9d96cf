"""What `yz pub` sends, and what it says of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from yzdht.cli.screen import error_view
from yzdht.cli.streams import read_lines
from yzdht.errors import NoNode, PublishFailed, TooManyMessages, ValueTooLarge, YzError
from yzdht.limits import LINES_END_S, LINES_LATE_S, LINES_ON_THE_WAY_MAX, PUBSUB_DATA_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.cli.screen import Screen
    from yzdht.client import Client
    from yzdht.ids import PublicKey
    from yzdht.topics import Published

    _OnTheWay = asyncio.Task[Published] | ValueTooLarge | None


def published_view(topic: str, done: Published) -> dict[str, object]:
    """What came of a message, as an object."""
    return {
        "topic": topic,
        "id": done.id.hex(),
        "session": done.session.hex(),
        "index": done.index,
        "created": done.created,
        "stored": done.stored,
        "hosts": done.hosts,
    }


class Lines:
    """The lines of stdin, each a message: in their order, some of them on their way at once.

    Args:
        screen: Where is said what came of them.
        topic: Where to.
        group: For whom; None for everybody.
        find_owner: Whose public topic it is.
        timeout_s: For how long each is tried.

    """

    def __init__(
        self,
        screen: Screen,
        topic: str,
        group: str | None,
        find_owner: Callable[[Client], Awaitable[PublicKey | None]],
        timeout_s: float,
    ) -> None:
        self._screen = screen
        self._topic = topic
        self._group = group
        self._find_owner = find_owner
        self._timeout_s = timeout_s
        self._owner: PublicKey | None = None
        self._stored = self._failed = 0
        self._failure: YzError | None = None
        self._is_late = False
        self._on_the_way: asyncio.Queue[_OnTheWay] = asyncio.Queue(LINES_ON_THE_WAY_MAX)

    async def publish(self, client: Client) -> None:
        """Publish until stdin ends; who ends it sooner has what is on its way waited for, for LINES_END_S at most."""
        self._owner = await self._find_owner(client)
        reading = asyncio.create_task(self._read(client))
        telling = asyncio.create_task(self._tell())
        try:
            await asyncio.wait((reading, telling), return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await self._end(reading, telling)
            self._sum_up()
        for task in (reading, telling):
            if not task.cancelled():
                task.result()

    async def _end(self, reading: asyncio.Task[None], telling: asyncio.Task[None]) -> None:
        """Read no more, and wait a little for what is on its way."""
        reading.cancel()
        await asyncio.wait((reading,))
        if not telling.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(LINES_END_S):
                    await self._on_the_way.put(None)
                    await asyncio.wait((telling,))
        telling.cancel()
        await asyncio.wait((telling,))
        while not self._on_the_way.empty():
            if isinstance(task := self._on_the_way.get_nowait(), asyncio.Task):
                task.cancel()
                self._failed += 1

    async def _read(self, client: Client) -> None:
        is_first = True
        async with aclosing(read_lines(PUBSUB_DATA_BYTES_MAX)) as lines:
            async for line in lines:
                if not isinstance(line, bytes):
                    await self._on_the_way.put(line)
                    continue
                task = asyncio.create_task(self._publish(client, line))
                await self._on_the_way.put(task)
                if is_first:  # which looks who may write: the others need not all do
                    is_first = False
                    await asyncio.wait((task,))
        await self._on_the_way.put(None)

    async def _publish(self, client: Client, line: bytes) -> Published:
        return await client.publish(
            self._topic, line, group=self._group, owner=self._owner, timeout=self._timeout_s
        )

    async def _tell(self) -> None:
        """What came of each, in their order."""
        number = 0
        while (line := await self._on_the_way.get()) is not None:
            number += 1
            if isinstance(line, ValueTooLarge):
                self._fail(number, line)
                continue
            await self._tell_if_late(number, line)
            try:
                done = await line
            except (PublishFailed, NoNode, TooManyMessages) as error:  # nodes come back
                self._fail(number, error)
                continue
            except YzError:
                self._failed += 1
                raise
            self._stored += 1
            self._is_late = False
            if self._screen.is_json:
                self._screen.object(published_view(self._topic, done))

    async def _tell_if_late(self, number: int, line: asyncio.Task[Published]) -> None:
        """Once for all that wait: something goes on."""
        if self._is_late:
            return
        await asyncio.wait((line,), timeout=LINES_LATE_S)
        if not line.done():
            self._is_late = True
            self._screen.warn(
                f"line {number} waits for hosts of the topic", "each line is tried as long as --timeout says"
            )

    def _fail(self, number: int, error: YzError) -> None:
        self._failed += 1
        self._failure = error
        if self._screen.is_json:
            self._screen.object({"topic": self._topic, "line": number, **error_view(error)})
        else:
            self._screen.warn(f"line {number}: {error}", error.hint)

    def _sum_up(self) -> None:
        """Say what came of all of them."""
        count = self._stored + self._failed
        self._screen.say(f"published {self._stored} of {count} message{'' if count == 1 else 's'}")

    def check(self) -> None:
        """Raises what the last one that failed did."""
        if self._failure is not None:
            raise self._failure

"""What `yz pub` sends, and what it says of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from yzdht.cli.screen import error_view
from yzdht.cli.streams import first_of, read_lines
from yzdht.errors import NoNode, PublishFailed, TooManyMessages
from yzdht.limits import LINES_ON_THE_WAY_MAX, PUBSUB_DATA_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.cli.screen import Screen
    from yzdht.client import Client
    from yzdht.errors import LookupFailed
    from yzdht.ids import PublicKey
    from yzdht.topics import Published


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

    """

    def __init__(
        self,
        screen: Screen,
        topic: str,
        group: str | None,
        find_owner: Callable[[Client], Awaitable[PublicKey | None]],
    ) -> None:
        self._screen = screen
        self._topic = topic
        self._group = group
        self._find_owner = find_owner
        self._owner: PublicKey | None = None
        self._stored = self._failed = 0
        self._failure: LookupFailed | None = None

    async def publish(self, client: Client) -> None:
        """Publish until stdin ends."""
        self._owner = await self._find_owner(client)
        on_the_way: asyncio.Queue[asyncio.Task[Published] | None] = asyncio.Queue(LINES_ON_THE_WAY_MAX)
        telling = asyncio.create_task(self._tell(on_the_way))

        async def read() -> None:
            await self._read(client, on_the_way)
            await telling  # of what is on its way still

        try:
            await first_of(read(), telling)
        finally:
            while not on_the_way.empty():
                if (task := on_the_way.get_nowait()) is not None:
                    task.cancel()

    async def _read(self, client: Client, on_the_way: asyncio.Queue[asyncio.Task[Published] | None]) -> None:
        async with aclosing(read_lines(PUBSUB_DATA_BYTES_MAX)) as lines:
            async for line in lines:
                task = asyncio.create_task(
                    client.publish(self._topic, line, group=self._group, owner=self._owner)
                )
                await on_the_way.put(task)
                if (
                    self._group is not None or self._owner is not None
                ):  # a later one could overtake it, which looks who may
                    await asyncio.wait((task,))
        await on_the_way.put(None)

    async def _tell(self, on_the_way: asyncio.Queue[asyncio.Task[Published] | None]) -> None:
        """What came of each, in their order."""
        number = 0
        while (task := await on_the_way.get()) is not None:
            number += 1
            try:
                done = await task
            except (PublishFailed, NoNode, TooManyMessages) as error:  # nodes come back
                self._fail(number, error)
                continue
            self._stored += 1
            if self._screen.is_json:
                self._screen.object(published_view(self._topic, done))

    def _fail(self, number: int, error: LookupFailed) -> None:
        self._failed += 1
        self._failure = error
        if self._screen.is_json:
            self._screen.object({"topic": self._topic, "line": number, **error_view(error)})
        else:
            self._screen.warn(f"line {number}: {error}", error.hint)

    def sum_up(self) -> None:
        """Say what came of all of them.

        Raises:
            LookupFailed: That of the last one that failed.

        """
        count = self._stored + self._failed
        self._screen.say(f"published {self._stored} of {count} message{'' if count == 1 else 's'}")
        if self._failure is not None:
            raise self._failure

"""What `yz sub` shows, and the file in which it keeps how far it came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yzdht.cli.get import write_whole
from yzdht.cli.messages import by_time, gap_line, gap_view, message_view, text_of
from yzdht.cli.streams import Output
from yzdht.limits import (
    CURSOR_BYTES_MAX,
    CURSOR_KEPT_EVERY_S,
    HISTORY_CALM_S,
    HISTORY_MESSAGES_MAX,
    HOSTS_LOST_S,
)
from yzdht.pubsub.events import Message
from yzdht.store.files import read_file


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.cli.messages import GapEvent, Names
    from yzdht.cli.screen import Screen
    from yzdht.ids import PublicKey
    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Subscription


class Bookmark:
    """The file of a cursor. A process that is killed shows the last messages again when it goes on, and leaves none out.

    Args:
        path: Where it is.

    Attributes:
        is_halfway: True while something that the cursor has taken already is still being shown.

    """

    def __init__(self, path: Path) -> None:
        self.is_halfway = False
        self._path = path
        self._kept: bytes | None = None
        self._kept_at = 0.0

    def read(self) -> bytes | None:
        """What it holds; None if it is not there.

        Raises:
            StoreError: It cannot be read, or is too long for a cursor.

        """
        self._kept = read_file(self._path, CURSOR_BYTES_MAX)
        return self._kept

    async def follow(self, subscription: Subscription[Heard]) -> None:
        """Keep the cursor now and then, and at the end; raises as `keep`."""
        try:
            while True:
                self.keep(subscription)
                await asyncio.sleep(CURSOR_KEPT_EVERY_S)
        finally:
            self.keep(subscription)

    def keep_now_and_then(self, subscription: Subscription[Heard], mono: float) -> None:
        """Keep it if that is due, between two messages; raises as `keep`."""
        if mono >= self._kept_at + CURSOR_KEPT_EVERY_S:
            self._kept_at = mono
            self.keep(subscription)

    def keep(self, subscription: Subscription[Heard]) -> None:
        """Write it, whole or not at all, if it is another one than before and everything in it was shown.

        Raises:
            StoreError: It cannot be written.

        """
        if self.is_halfway:
            return
        cursor = subscription.cursor
        if cursor != self._kept:
            write_whole(self._path, cursor)
            self._kept = cursor


class Shown:
    """Messages on stdout; what was published before comes first, all senders together in the order of its time.

    Args:
        screen: What is beside them.
        names: Of people.

    """

    def __init__(self, screen: Screen, names: Names) -> None:
        self._screen = screen
        self._names = names
        self._output = Output(screen)
        self._sender: PublicKey | None = None
        self._before: list[Message] = []
        self._left: int | None = None
        self._is_over = False

    async def show_all(
        self, subscription: Subscription[Heard], count: int | None, bookmark: Bookmark | None = None
    ) -> None:
        """Show what comes.

        Args:
            subscription: Where it comes from.
            count: After so many messages it ends; None for never.
            bookmark: Where is kept how far it is.

        """
        clock = asyncio.get_running_loop().time
        self._left = count
        # A cursor says what was taken: one who ends in the middle cannot take more than is shown.
        may_wait = count is None or bookmark is None
        while self._left != 0:
            event = await self._next(subscription)
            if bookmark is not None:
                bookmark.is_halfway = True
            await self._hear(event, may_wait=may_wait)
            if bookmark is not None and not self._before:
                bookmark.is_halfway = False
                bookmark.keep_now_and_then(subscription, clock())
            if self._is_over:
                return

    async def tell_of_hosts(self, subscription: Subscription[Heard]) -> None:
        """Say when no host answers any more, and when one does again."""
        was_lost, is_told = False, not subscription.is_connected
        while True:
            await asyncio.sleep(HOSTS_LOST_S)
            is_lost = not (subscription.is_connected or subscription.is_full)
            if is_lost and was_lost and not is_told:
                is_told = True
                self._screen.warn(
                    "no host of the topic answers any more", "they are looked for until one does"
                )
            elif is_told and not is_lost:
                is_told = False
                self._screen.say("a host of the topic answers again")
            was_lost = is_lost

    async def _next(self, subscription: Subscription[Heard]) -> Heard | None:
        """What comes next; None if nothing more of what was published before does."""
        try:
            if not self._before:
                return await anext(subscription)
            async with asyncio.timeout(HISTORY_CALM_S):
                return await anext(subscription)
        except TimeoutError:
            return None
        except StopAsyncIteration:
            self._is_over = True
            return None

    async def _hear(self, event: Heard | None, *, may_wait: bool) -> None:
        if not isinstance(event, Message | None):
            await self._show_gap(event)
        elif event is not None and event.is_history and may_wait and len(self._before) < HISTORY_MESSAGES_MAX:
            self._before.append(event)
        else:
            before, self._before = self._before, []
            for message in by_time(before):
                await self._show_message(message)
            if event is not None:
                await self._show_message(event)

    async def _show_message(self, message: Message) -> None:
        if self._left is not None:
            if not self._left:
                return
            self._left -= 1
        if self._screen.is_json:
            await self._output.object(message_view(message, self._names))
            return
        if message.sender != self._sender:
            self._sender = message.sender
            self._screen.say(f"from {self._names.shown(self._sender)}:")
        await self._output.line(text_of(message.data))

    async def _show_gap(self, event: GapEvent) -> None:
        """Show that messages are missing, have come or are lost."""
        if self._screen.is_json:
            await self._output.object(gap_view(event, self._names))
        else:
            self._screen.warn(gap_line(event, self._names))

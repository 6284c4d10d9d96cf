"""A chat of a group: what is said, what was said before, and who is there.

What is said is published under one topic of the group, and who is there under another: else words of presence would push
out of the history what was said. `yz pub` and `yz sub` of the topic `chat` take part, too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from yzdht.cli.messages import GapEvent, by_time, gap_line, gap_view, message_view, text_of
from yzdht.cli.presence import HERE, LEAVES, Presence, Whereabouts
from yzdht.cli.streams import Output, read_lines, while_read
from yzdht.errors import LookupFailed, NoSuchGroup, YzError
from yzdht.limits import (
    CHAT_BEAT_S,
    CHAT_GONE_S,
    CHAT_LEAVE_S,
    CHAT_PATIENCE_S,
    HISTORY_CALM_S,
    HISTORY_MESSAGES_MAX,
    PUBSUB_DATA_BYTES_MAX,
)
from yzdht.pubsub.events import Message
from yzdht.sessions import SystemClock
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from yzdht.cli.messages import Names
    from yzdht.cli.presence import Change
    from yzdht.cli.screen import Screen
    from yzdht.client import Client
    from yzdht.ids import PublicKey
    from yzdht.pubsub.events import Event, Heard
    from yzdht.subscription import Subscription


TALK_TOPIC, TALK_TYPE = "chat", 0
PRESENCE_TOPIC, PRESENCE_TYPE = "chat/presence", 1


class Chat:
    """One run of the command.

    Args:
        screen: What is beside what is said.
        client: Connected.
        group: What this home calls it.
        names: Of people.

    """

    def __init__(self, screen: Screen, client: Client, group: str, names: Names) -> None:
        self._screen = screen
        self._output = Output(screen)
        self._clock = SystemClock()
        self._client = client
        self._group = group
        self._names = names
        self._presence = Presence()
        self._own_words: Counter[bytes] = Counter()  # on their way to ourselves
        self._before: list[Message] = []
        self._found: dict[PublicKey, Change] = {}  # who is there by what was said before

    async def run(self, since_s: int) -> None:
        """Talk until stdin ends.

        Args:
            since_s: What was said so many seconds before is shown first.

        """
        group = self._group
        async with (
            self._client.subscribe(TALK_TOPIC, group=group, since=since_s, gaps=True) as talk,
            self._client.subscribe(PRESENCE_TOPIC, group=group, since=CHAT_GONE_S) as presence,
        ):
            self._screen.say(f"you are in {group}; say something, end with Ctrl-D")
            if not talk.is_connected:
                self._screen.warn("no host has answered yet", "they are looked for until one does")
            try:
                await while_read(
                    self._say_lines(), self._listen(talk), self._watch(presence), self._beat(), self._expire()
                )
            finally:
                await self._leave()

    # What is said here

    async def _say_lines(self) -> None:
        async with aclosing(read_lines(PUBSUB_DATA_BYTES_MAX)) as lines:
            async for line in lines:
                if not isinstance(line, bytes):
                    self._screen.warn(str(line), line.hint)
                elif line.strip():
                    await self._say(line)
        await self._show_before()

    async def _say(self, line: bytes) -> None:
        self._own_words[line] += 1
        try:
            await self._client.publish(
                TALK_TOPIC, line, group=self._group, type=TALK_TYPE, timeout=CHAT_PATIENCE_S
            )
        except NoSuchGroup:
            raise
        except LookupFailed as error:  # nodes come back
            self._take_own(line)
            self._screen.warn(str(error), error.hint)

    async def _beat(self) -> None:
        """Say that one is there, every minute."""
        while True:
            with suppress(LookupFailed):  # whoever says something is told of it
                await self._client.publish(PRESENCE_TOPIC, HERE, group=self._group, type=PRESENCE_TYPE)
            await asyncio.sleep(CHAT_BEAT_S)

    async def _leave(self) -> None:
        with suppress(YzError, TimeoutError):
            async with asyncio.timeout(CHAT_LEAVE_S):
                await self._client.publish(PRESENCE_TOPIC, LEAVES, group=self._group, type=PRESENCE_TYPE)

    # What others say

    async def _listen(self, talk: Subscription[Heard]) -> None:
        """Show what is said: first what was said before, in the order of its time."""
        while True:
            event = await _next(talk, has_history=bool(self._before))
            if event is None:
                await self._show_before()
            else:
                await self._hear(event)

    async def _hear(self, event: Event) -> None:
        if isinstance(event, Message):
            if event.is_history and len(self._before) < HISTORY_MESSAGES_MAX:
                self._before.append(event)
                return
            await self._show_before()
            await self._show(event)
        elif isinstance(event, GapEvent):
            if self._screen.is_json:
                await self._output.object(gap_view(event, self._names))
            else:
                self._screen.warn(gap_line(event, self._names))

    async def _show_before(self) -> None:
        before, self._before = self._before, []
        for message in by_time(before):
            await self._show(message)

    async def _show(self, message: Message) -> None:
        if message.type != TALK_TYPE or self._is_own(message):
            return
        if self._screen.is_json:
            await self._output.object(message_view(message, self._names))
            return
        late = " (late)" if message.is_late else ""
        who = self._names.shown(message.series.sender)
        await self._output.line(f"{_clock(message)} {who}{late}: {text_of(message.data)}")

    def _is_own(self, message: Message) -> bool:
        """True for what was said here; what another program of this identity said is news."""
        return message.series.sender == self._names.own and self._take_own(message.data)

    def _take_own(self, line: bytes) -> bool:
        """Forget one line that was on its way; False if there is none such."""
        was_there = line in self._own_words
        self._own_words -= Counter((line,))  # which leaves out what comes to none
        return was_there

    # Who is there

    async def _watch(self, presence: Subscription[Heard]) -> None:
        """Tell who comes and goes, and first who is there: who came and left before that is not told."""
        while True:
            event = await _next(presence, has_history=bool(self._found))
            if event is None:
                await self._tell_found()
            elif isinstance(event, Message) and event.type == PRESENCE_TYPE:
                await self._hear_of(event)

    async def _hear_of(self, event: Message) -> None:
        heard_at = min(event.created, event.received) if event.is_history else event.received
        change = self._presence.hear(event.series, event.data, heard_at)
        if not event.is_history:
            await self._tell_found()
            await self._tell(change)
        elif change is not None and change.whereabouts is Whereabouts.HERE:
            self._found[change.person] = change
        elif change is not None and self._found.pop(change.person, None) is None:
            await self._tell(change)

    async def _tell_found(self) -> None:
        found, self._found = self._found, {}
        for change in found.values():
            await self._tell(change)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(CHAT_BEAT_S / 4)
            for change in self._presence.expire(self._clock.now().wall):
                await self._tell(change)

    async def _tell(self, change: Change | None) -> None:
        if change is None or change.person == self._names.own:
            return
        person, whereabouts = change
        if self._screen.is_json:
            await self._output.object(
                {
                    "presence": whereabouts.value,
                    "sender": encode_public_key(person),
                    "name": self._names.name(person),
                }
            )
            return
        is_here = whereabouts is Whereabouts.HERE
        self._screen.say(f"* {self._names.shown(person)} {'is here' if is_here else 'left'}")


async def _next(heard: Subscription[Heard], *, has_history: bool) -> Heard | None:
    """What is told next; None if nothing is for a moment, once there is history to be shown."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HISTORY_CALM_S if has_history else None):
            return await anext(heard)
    return None


def _clock(message: Message) -> str:
    """When it was said, in local time; with the day if that was not today."""
    said, now = (
        datetime.fromtimestamp(at).astimezone()
        for at in (min(message.created, message.received), message.received)  # a sender may say anything
    )
    return said.strftime("%H:%M" if said.date() == now.date() else "%Y-%m-%d %H:%M")

"""Honest people in a process of their own, who use topics that nobody floods, and say how long each thing took.

Two publish to a topic and listen to it, each as a client of one node; newcomers come all the time, have the history of
another topic, and begin a new one. Started with one JSON object, the fields of `Where`; prints one JSON line when all is set up, and then one for
each thing done: `publish`, `heard`, `history` and `begin`. When its stdin ends, whatever was acknowledged must have come to both, in
order and once, and must come to who is late; then it ends with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tests.process.broadcast import Hearer, Speakers, Topic
from tests.process.honest import (
    VISITORS,
    Deed,
    Honest,
    again_and_again,
    arrived,
    say,
    tell,
    until_told_to_end,
)
from yzdht import Client, Identity
from yzdht.limits import DAY_S, HISTORY_MESSAGES_MAX
from yzdht.pubsub.events import Message


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht import Node
    from yzdht.pubsub.events import Heard
    from yzdht.topics import Published


DEEDS = ("publish", "heard", "history", "begin")
EVERY_S = 0.1
VISIT_PAUSE_S = 0.5
HEARD_S_MAX = 60.0
LOOK_EVERY_S = 0.005
RECENT = HISTORY_MESSAGES_MAX // 2
"""Messages that are in the history of a topic to which more were published."""
OLD = 50
"""Messages in the history that a newcomer has."""


@dataclass(frozen=True, slots=True)
class Where:
    """Nodes, each as a URL with the address that who uses it is to come from.

    Attributes:
        people: Of those that publish and listen.
        visited: Of newcomers, with `{}` in place of a number: each is somebody else's first.
        late: Of who comes when it is over.
        usual: The topic to which they publish all the time.
        old: A topic with a history.

    """

    people: list[str]
    visited: str
    late: str
    usual: str
    old: str

    def process(self) -> Honest:
        """To be started."""
        return Honest("others", [json.dumps(asdict(self))], "tests.process.others")


@dataclass(slots=True)
class Told(Topic):
    """A topic of which each publish is told."""

    async def publish(
        self, dht: Client | Node, group: str | None = None, data: bytes | None = None
    ) -> Published | None:
        began = time.monotonic()
        published = await Topic.publish(self, dht, group, data)
        error = "" if published else self.failures[-1]
        tell(Deed("publish", began, time.monotonic() - began, error))
        return published


@dataclass(slots=True)
class Listener(Hearer):
    """Who tells what it hears."""

    def take(self, event: Heard) -> None:
        Hearer.take(self, event)
        if isinstance(event, Message):
            sent = self.topic.sent[event.data]
            tell(Deed("heard", sent, time.monotonic() - sent))


@dataclass(slots=True)
class Newcomers:
    """One after the other."""

    where: Where
    old: Topic
    _number: int = field(default=0)

    def _url(self) -> str:
        self._number += 1
        return self.where.visited.format(VISITORS[self._number % len(VISITORS)])

    async def have_history(self, _number: int) -> None:
        """Connect, and be told all that was said."""
        hearer = Hearer("newcomer", self.old)
        async with arrived(self._url()) as dht:
            await hearer.listen(dht, DAY_S)
            await all_heard([hearer])
            await hearer.rest()
        hearer.check()

    async def begin(self, number: int) -> None:
        """Connect, and hear oneself in a topic that nobody knew."""
        topic = Topic(f"{self.old.name} {number}")
        hearer = Hearer("newcomer", topic)
        async with arrived(self._url()) as dht:
            await hearer.listen(dht)
            assert await topic.publish(dht), topic.failures
            await all_heard([hearer])
            await hearer.rest()


async def all_heard(hearers: Sequence[Hearer]) -> None:
    """Wait until none of them lacks anything."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEARD_S_MAX):
            while any(hearer.missing() for hearer in hearers):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(LOOK_EVERY_S)
    for hearer in hearers:
        assert not hearer.missing(), hearer._about_missing()


async def _live(where: Where) -> None:
    usual, old = Told(where.usual), Topic(where.old)
    newcomers = Newcomers(where, old)
    async with contextlib.AsyncExitStack() as stack:
        people = [
            await stack.enter_async_context(Client.connect(url, identity=Identity.generate()))
            for url in where.people
        ]
        for _ in range(OLD):
            assert await old.publish(people[0]), old.failures
        listeners = [Listener(f"listener {number}", usual) for number in range(len(people))]
        for listener, dht in zip(listeners, people, strict=True):
            await listener.listen(dht)
        say("ready")
        async with Speakers(usual, [(dht, None) for dht in people], EVERY_S, sys.maxsize):
            await until_told_to_end(
                again_and_again("history", VISIT_PAUSE_S, newcomers.have_history),
                again_and_again("begin", VISIT_PAUSE_S, newcomers.begin),
            )
        await all_heard(listeners)
        for listener in listeners:
            await listener.rest()
            listener.check()
    late = Hearer("late", usual, begun=usual.sent[usual.acked[-RECENT:][0]])
    async with arrived(where.late) as dht:
        await late.listen(dht, DAY_S)
        await all_heard([late])
        await late.rest()
    late.check()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(_live(Where(**json.loads(sys.argv[1]))))

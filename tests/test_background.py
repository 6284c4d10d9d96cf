"""Work that nobody waits for."""

from __future__ import annotations

import asyncio

from tests.sessions.kit import turns
from yzdht.background import Background


class Owner:
    """Remembers how its tasks ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.background = Background(self._guard)

    def _guard(self, task: asyncio.Task[None]) -> None:
        self.ended.append("cancelled" if task.cancelled() else repr(task.exception()))


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def fail() -> None:
    raise ZeroDivisionError


async def test_whoever_begins_something_goes_on_at_once() -> None:
    owner, event = Owner(), asyncio.Event()

    owner.background.start(wait_for(event))
    await turns(3)
    assert (len(owner.background), owner.ended) == (1, [])
    event.set()
    await turns(3)

    assert (len(owner.background), owner.ended) == (0, ["None"])


async def test_what_fails_is_handed_to_the_guard() -> None:
    owner = Owner()

    owner.background.start(fail())
    await owner.background.finish(60)

    assert owner.ended == ["ZeroDivisionError()"]


async def test_whoever_gives_up_waiting_for_the_end_leaves_nothing_behind() -> None:
    owner = Owner()
    owner.background.start(wait_for(asyncio.Event()))
    finishing = asyncio.ensure_future(owner.background.finish(60))
    await turns(3)

    finishing.cancel()
    await asyncio.wait([finishing])
    await turns(3)

    assert owner.ended == ["cancelled"]


async def test_the_end_waits_for_what_was_begun_and_gives_up_the_rest() -> None:
    owner, event = Owner(), asyncio.Event()
    owner.background.start(wait_for(event))
    owner.background.start(wait_for(asyncio.Event()))
    asyncio.get_running_loop().call_soon(event.set)

    await owner.background.finish(0.01)

    assert sorted(owner.ended) == ["None", "cancelled"]
    assert len(owner.background) == 0
    await owner.background.finish(0)
